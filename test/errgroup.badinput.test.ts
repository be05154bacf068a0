/** Groups: bad arguments and throwing tasks are rejected or reported, and cost no slot. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { Group, scope, withContext } from "gopark/errgroup";
import { describe, expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { collectUntil, unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const boom = new Error("boom");
const throwing = () => {
  throw boom;
};

describe("arguments", () => {
  test.each([Number.NaN, 0.5, -1.5, Number.NEGATIVE_INFINITY])(
    "a limit of %d is refused, and the old one stays",
    async (limit) => {
      const g = new Group();
      g.setLimit(1);
      expect(() => g.setLimit(limit)).toThrow(
        new RangeError(`setLimit: n must be a whole number or Infinity, got ${limit}`),
      );
      expect([g.tryGo(turn), g.tryGo(turn)]).toEqual([true, false]);
      await g.wait();
    },
  );

  test.each<[limit: unknown, shown: string]>([
    ["2", '"2"'],
    [null, "null"],
    [undefined, "undefined"],
    [2n, "2"],
  ])("a limit of %o is a TypeError, and the old one stays", async (limit, shown) => {
    const g = new Group();
    g.setLimit(1);
    expect(() => g.setLimit(limit as number)).toThrow(
      new TypeError(`setLimit: n must be a whole number or Infinity, got ${shown}`),
    );
    expect([g.tryGo(turn), g.tryGo(turn)]).toEqual([true, false]);
    await g.wait();
  });

  test("an argument that is not a function is a TypeError, and takes no slot", async () => {
    const g = new Group();
    g.setLimit(1);
    const nothing = undefined as unknown as () => void;
    await expect(g.go(nothing)).rejects.toThrow(new TypeError("go: task must be a function, got undefined"));
    expect(() => g.tryGo(nothing)).toThrow(new TypeError("tryGo: task must be a function, got undefined"));
    await expect(scope(background(), nothing)).rejects.toThrow(
      new TypeError("scope: body must be a function, got undefined"),
    );
    expect(g.tryGo(() => {})).toBe(true);
    await g.wait();
  });

  test("no parent, no context", async () => {
    const missing = null as unknown as ReturnType<typeof background>;
    expect(() => withContext(missing)).toThrow("cannot create context from nil parent");
    await expect(scope(missing, async () => "ran")).rejects.toThrow("cannot create context from nil parent");
  });

  test("under a done context tasks still run: it is theirs to look at it", async () => {
    const [parent, cancel] = withCancel(background());
    cancel();
    const [g, ctx] = withContext(parent);
    const seen: unknown[] = [];
    await g.go(() => void seen.push(ctx.err()));
    await g.wait();
    expect(seen).toEqual([parent.err()]);
  });
});

describe("slots", () => {
  test.each([
    { how: "throws synchronously", fn: throwing, error: boom },
    { how: "rejects", fn: () => turn().then(throwing), error: boom },
    { how: "returns a non-promise", fn: () => 42, error: undefined },
    { how: "returns a promise", fn: turn, error: undefined },
  ])("a task that $how gives its slot back", async ({ fn, error }) => {
    const g = new Group();
    g.setLimit(1);
    const ran: string[] = [];
    await g.go(fn);
    await g.go(() => void ran.push("after go"));
    expect(await g.wait().catch((reason) => reason)).toBe(error);

    expect(g.tryGo(fn)).toBe(true);
    await g.wait().catch(() => {});
    expect(g.tryGo(() => void ran.push("after tryGo"))).toBe(true);
    await g.wait().catch(() => {});
    expect(ran).toEqual(["after go", "after tryGo"]);
  });

  test.each([
    [0, RangeError, "scope: limit must be a whole number from 1 to 2^53-1, got 0"],
    [1.5, RangeError, "scope: limit must be a whole number from 1 to 2^53-1, got 1.5"],
    [Number.NaN, RangeError, "scope: limit must be a whole number from 1 to 2^53-1, got NaN"],
    ["2", TypeError, 'scope: limit must be a whole number or Infinity, got "2"'],
    [null, TypeError, "scope: limit must be a whole number or Infinity, got null"],
  ])("scope refuses the limit %s, and does not call its body", async (limit, cls, message) => {
    let called = false;
    const body = () => {
      called = true;
    };
    const refused = scope(background(), body, { limit: limit as number });
    await expect(refused).rejects.toThrow(cls);
    await expect(refused).rejects.toThrow(message);
    expect(called).toBe(false);
  });

  test("a limit lifted between a slot's grant and the task's start leaves no slot taken", async () => {
    const g = new Group();
    g.setLimit(0);
    const parked = watch(g.go(() => {}));
    g.setLimit(1);
    g.setLimit(-1);
    await turn();
    expect(parked.state).toBe("fulfilled");
    await g.wait();

    g.setLimit(1);
    expect([g.tryGo(turn), g.tryGo(turn)]).toEqual([true, false]);
    await g.wait();
  });

  test("tryGo never throws what its task throws", async () => {
    const g = new Group();
    expect(g.tryGo(throwing)).toBe(true);
    await expect(g.wait()).rejects.toBe(boom);
  });

  test("a task may throw anything, undefined too: the group has failed", async () => {
    const [g, ctx] = withContext(background());
    await g.go(() => Promise.reject(undefined));
    const waited = watch(g.wait());
    await turn();
    expect([waited.state, waited.reason]).toEqual(["rejected", undefined]);
    expect(ctx.err()).toBeDefined();
  });
});

describe("which wait rejects with an error", () => {
  test("a task that fails before wait() is called is not an unhandled rejection", async () => {
    const g = new Group();
    const [withCtx] = withContext(background());
    const seen = await unhandledDuring(async (seen) => {
      for (const group of [g, withCtx]) {
        await group.go(throwing);
        expect(group.tryGo(async () => throwing())).toBe(true);
      }
      expect(await collectUntil(() => seen.length > 0)).toBe(false);
    });
    expect(seen).toEqual([]);
    await expect(g.wait()).rejects.toBe(boom);
    await expect(withCtx.wait()).rejects.toBe(boom);
  });

  test("the error of a group neither awaited nor disposed is reported once the group is collected", async () => {
    const abandon = () => {
      const g = new Group();
      g.tryGo(throwing);
      g.tryGo(() => turn().then(() => Promise.reject(new Error("later ones are dropped"))));
    };
    const seen = await unhandledDuring(async (seen) => {
      abandon();
      await turn();
      expect(await collectUntil(() => seen.length > 0)).toBe(true);
    });
    expect(seen).toEqual([boom]);
  });

  test("so is that of a group with a context", async () => {
    const abandon = () => {
      const [g] = withContext(background());
      g.tryGo(throwing);
    };
    const seen = await unhandledDuring(async (seen) => {
      abandon();
      await turn();
      expect(await collectUntil(() => seen.length > 0)).toBe(true);
    });
    expect(seen).toEqual([boom]);
  });

  test("a wait that was cancelled before the end got no error: it is reported", async () => {
    const abandon = async () => {
      const g = new Group();
      const gate = new Channel<void>();
      await g.go(() => gate.receive());
      const [caller, cancel] = withCancel(background());
      const waited = watch(g.wait(caller));
      g.tryGo(throwing);
      await turn();
      cancel();
      gate.close();
      await turn();
      expect(waited.reason).toBe(caller.err());
    };
    const seen = await unhandledDuring(async (seen) => {
      await abandon();
      expect(await collectUntil(() => seen.length > 0)).toBe(true);
    });
    expect(seen).toEqual([boom]);
  });

  test("an error that wait() or disposal has passed on is not reported again", async () => {
    const handled = async () => {
      const groups = Array.from({ length: 4 }, () => new Group());
      for (const g of groups) g.tryGo(throwing);
      const [first, second, third, fourth] = groups as [Group, Group, Group, Group];
      const told = [watch(first.wait()), watch(second[Symbol.asyncDispose]())];
      await turn(); // The others are asked after their task has failed.
      told.push(watch(third.wait()), watch(fourth[Symbol.asyncDispose]()));
      await turn();
      expect(told.map((end) => end.reason)).toEqual(Array(4).fill(boom));
    };
    const seen = await unhandledDuring(async (seen) => {
      await handled();
      expect(await collectUntil(() => seen.length > 0)).toBe(false);
    });
    expect(seen).toEqual([]);
  });
});

describe("scope", () => {
  test.each([
    ["synchronously", throwing],
    ["asynchronously", () => turn().then(throwing)],
  ])("a body that throws %s rejects with its error, its tasks ended", async (_, body) => {
    let ended = false;
    const failing = scope(background(), (g, ctx) => {
      g.tryGo(async () => {
        await ctx.done()?.receive();
        ended = true;
      });
      return body();
    });
    await expect(failing).rejects.toBe(boom);
    expect(ended).toBe(true);
  });
});
