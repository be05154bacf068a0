/** Sharded map: update is a lock for a key, across awaits. */
import { AsyncLocalStorage } from "node:async_hooks";
import { background, Canceled, withCancel } from "gopark/context";
import { counters } from "gopark/leak";
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

interface Gate<T> {
  readonly promise: Promise<T>;
  open(value: T): void;
  fail(error: unknown): void;
}

function gate<T>(): Gate<T> {
  let open!: (value: T) => void;
  let fail!: (error: unknown) => void;
  const promise = new Promise<T>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}

const parked = (): number | undefined => counters()["shardmap update"];

describe("the argument of fn and the stored value", () => {
  test("fn gets the value and whether there is one; its result is stored and resolved to", async () => {
    const map = new ShardMap<string, number | undefined>([
      ["a", 1],
      ["u", undefined],
    ]);
    const calls: unknown[][] = [];
    const note = (result: number | undefined) =>
      ((...args: unknown[]) => {
        calls.push(args);
        return result;
      }) as (value: number | undefined, ok: boolean) => number | undefined;

    expect(await map.update("a", note(2))).toBe(2);
    expect(await map.update("b", note(3))).toBe(3);
    expect(await map.update("u", note(4))).toBe(4);
    expect(await map.update("b", note(undefined))).toBeUndefined();

    expect(calls).toEqual([
      [1, true],
      [undefined, false],
      [undefined, true],
      [3, true],
    ]);
    expect(new Map(map)).toEqual(new Map(Object.entries({ a: 2, b: undefined, u: 4 })));
    expect(map.has("b")).toBe(true);
  });

  test("fn may answer with any thenable, and the map holds what that comes to", async () => {
    const map = new ShardMap<string, number>();
    const thenable: PromiseLike<number> = { then: (resolve) => Promise.resolve(7).then(resolve) };
    expect([await map.update("a", () => thenable), map.get("a")]).toEqual([7, 7]);
    expect([await map.update("a", async (n = 0) => n + 1), map.get("a")]).toEqual([8, 8]);
  });

  test("fn never runs inside the call, and runs before any timer or I/O if it is its turn", async () => {
    const map = new ShardMap<string, number>();
    let ran = false;
    const update = map.update("a", () => {
      ran = true;
      return 1;
    });
    expect(ran).toBe(false);
    await turn();
    expect(ran).toBe(true);
    await update;
  });

  test("until fn ends, the stored value is the old one", async () => {
    const map = new ShardMap([["a", 1]]);
    const answer = gate<number>();
    const update = map.update("a", () => answer.promise);
    await turn();
    expect([map.get("a"), map.size]).toEqual([1, 1]);
    answer.open(2);
    await update;
    expect(map.get("a")).toBe(2);
  });

  test("fn gets the value as it is when its turn comes, not when update was called", async () => {
    const map = new ShardMap([["a", 1]]);
    const seen: unknown[] = [];
    const update = map.update("a", (n) => {
      seen.push(n);
      return 3;
    });
    map.set("a", 2);
    await update;
    expect(seen).toEqual([2]);
  });
});

describe("one at a time", () => {
  test("no update is lost, however long each takes", async () => {
    const map = new ShardMap<string, number>();
    const calls = Array.from({ length: 100 }, (_, i) =>
      map.update("n", async (n = 0) => {
        await turns(i % 3);
        return n + 1;
      }),
    );
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    expect(map.get("n")).toBe(100);
    expect(parked()).toBe(0);
  });

  test("one begins when the one before has ended, in the order of the calls", async () => {
    const map = new ShardMap<string, string>();
    const log: string[] = [];
    const gates = [gate<void>(), gate<void>(), gate<void>()];
    const calls = gates.map(({ promise }, i) =>
      map.update("k", async (all = "") => {
        log.push(`begin ${i} with "${all}"`);
        await promise;
        log.push(`end ${i}`);
        return `${all}${i}`;
      }),
    );
    expect(parked()).toBe(2);

    gates[2]?.open();
    gates[1]?.open();
    await turn();
    expect(log).toEqual(['begin 0 with ""']);
    gates[0]?.open();
    expect(await Promise.all(calls)).toEqual(["0", "01", "012"]);

    expect(log).toEqual(['begin 0 with ""', "end 0", 'begin 1 with "0"', "end 1", 'begin 2 with "01"', "end 2"]);
    expect(parked()).toBe(0);
  });

  test("a call between the end of one and the start of the next queues behind", async () => {
    const map = new ShardMap<string, string>();
    const first = gate<string>();
    const late: Promise<string>[] = [];
    const calls = [
      map.update("k", () => first.promise).then(() => late.push(map.update("k", (all) => `${all}c`))),
      map.update("k", (all) => `${all}b`),
    ];
    await turn();
    first.open("a");
    await Promise.all(calls);
    await Promise.all(late);
    expect([late.length, map.get("k")]).toEqual([1, "abc"]);
  });

  test("other keys do not wait", async () => {
    const map = new ShardMap<unknown, string>();
    const first = gate<string>();
    const held = watch(map.update(1, () => first.promise));
    const behind = watch(map.update(1, () => "behind"));

    const others = ["1", 2, 1n, {}, Number.NaN, undefined, null, true];
    expect(await Promise.all(others.map((key) => map.update(key, () => "done")))).toEqual(others.map(() => "done"));
    expect([held.state, behind.state, parked()]).toEqual(["pending", "pending", 1]);

    first.open("first");
    await turn();
    expect([held.value, behind.value]).toEqual(["first", "behind"]);
  });

  test("keys that a Map takes for one are one line", async () => {
    const map = new ShardMap<number, number>();
    const calls = [0, -0, Number.NaN, Number.NaN].map((key) =>
      map.update(key, async (n = 0) => {
        await turn();
        return n + 1;
      }),
    );
    await Promise.all(calls);
    expect([map.get(0), map.get(Number.NaN), map.size]).toEqual([2, 2, 2]);
  });

  test("two maps with one key are two lines", async () => {
    const [a, b] = [new ShardMap<string, number>(), new ShardMap<string, number>()];
    const answer = gate<number>();
    const held = a.update("k", () => answer.promise);
    expect(await b.update("k", () => 2)).toBe(2);
    answer.open(1);
    expect(await held).toBe(1);
  });

  test("an update of another key inside fn goes through", async () => {
    const map = new ShardMap<string, number>();
    const move = await map.update("a", async (a = 10) => {
      await map.update("b", (b = 0) => b + a);
      return 0;
    });
    expect([move, map.get("a"), map.get("b")]).toEqual([0, 0, 10]);
  });

  test("everything else does not wait, and the running update writes over it", async () => {
    const map = new ShardMap([["a", 1]]);
    const answers = [gate<number>(), gate<number>(), gate<number>()];
    const calls = answers.map(({ promise }) => map.update("a", () => promise));
    await turn();

    map.set("a", 100);
    expect([map.get("a"), map.swap("a", 200)]).toEqual([100, { value: 100, loaded: true }]);
    answers[0]?.open(2);
    await calls[0];
    expect(map.get("a")).toBe(2);

    map.delete("a");
    expect(map.has("a")).toBe(false);
    answers[1]?.open(3);
    await calls[1];
    expect(map.get("a")).toBe(3);

    map.clear();
    expect(map.size).toBe(0);
    answers[2]?.open(4);
    await calls[2];
    expect([...map]).toEqual([["a", 4]]);
  });
});

describe("failure", () => {
  const boom = new Error("boom");
  const failing: [string, (value: number | undefined, ok: boolean) => number | PromiseLike<number>][] = [
    [
      "throws",
      () => {
        throw boom;
      },
    ],
    ["rejects at once", () => Promise.reject(boom)],
    ["rejects later", () => turn().then(() => Promise.reject(boom))],
    [
      "answers with a hostile thenable",
      () => ({
        then() {
          throw boom;
        },
      }),
    ],
  ];

  test.each(failing)("a fn that %s fails alone: the map is as it was, and the next goes on", async (_, fn) => {
    const map = new ShardMap([["a", 1]]);
    const calls = [map.update("a", fn), map.update("a", (n = 0) => n + 1), map.update("a", fn), map.update("new", fn)];
    const settled = await Promise.allSettled(calls);
    expect(settled).toEqual([
      { status: "rejected", reason: boom },
      { status: "fulfilled", value: 2 },
      { status: "rejected", reason: boom },
      { status: "rejected", reason: boom },
    ]);
    expect([...map]).toEqual([["a", 2]]);
    expect(await map.update("a", (n = 0) => n * 10)).toBe(20);
  });

  test("a value that was written while a failing fn ran stays", async () => {
    const map = new ShardMap([["a", 1]]);
    const answer = gate<number>();
    const update = watch(map.update("a", () => answer.promise));
    await turn();
    map.set("a", 5);
    answer.fail(boom);
    await turn();
    expect([update.reason, map.get("a")]).toEqual([boom, 5]);
  });

  test("only the caller's own promise rejects", async () => {
    const seen = await unhandledDuring(async () => {
      const map = new ShardMap<string, number>();
      const calls = failing.map(([, fn]) => map.update("a", fn));
      expect((await Promise.allSettled(calls)).every(({ status }) => status === "rejected")).toBe(true);
    });
    expect(seen).toEqual([]);
  });
});

describe("cancel", () => {
  test("it ends the wait in line: fn does not run, those behind move up", async () => {
    const map = new ShardMap<string, string>();
    const first = gate<string>();
    const ran: string[] = [];
    const controller = new AbortController();
    const reason = { any: "reason" };
    const scope = withCancel(background());
    const append = (letter: string) => (all?: string) => {
      ran.push(letter);
      return all + letter;
    };
    const held = watch(map.update("k", () => first.promise));
    const byContext = watch(map.update("k", append("x"), scope.ctx));
    const behind = watch(map.update("k", append("b")));
    const bySignal = watch(map.update("k", append("y"), controller.signal));
    await turn();
    expect(parked()).toBe(3);

    scope.cancel();
    controller.abort(reason);
    expect(parked()).toBe(1);
    await turn();
    expect([byContext.reason, bySignal.reason]).toEqual([scope.ctx.err(), reason]);
    expect(byContext.reason).toBeInstanceOf(Canceled);
    expect([held.state, behind.state]).toEqual(["pending", "pending"]);

    first.open("a");
    await turn();
    expect([held.value, behind.value, ran]).toEqual(["a", "ab", ["b"]]);
  });

  test("when all waiting calls are cancelled, the queue is empty after the running one", async () => {
    const map = new ShardMap<string, number>();
    const first = gate<number>();
    const scope = withCancel(background());
    const held = map.update("k", () => first.promise, scope.ctx);
    const waiting = [1, 2, 3].map((n) => watch(map.update("k", () => n, scope.ctx)));
    await turn();
    scope.cancel();
    first.open(10);
    expect(await held).toBe(10);
    expect(waiting.map(({ reason }) => reason)).toEqual(waiting.map(() => scope.ctx.err()));
    expect(await map.update("k", (n = 0) => n + 1)).toBe(11);
  });

  test("a fn that has begun is not interrupted, and its result counts", async () => {
    const map = new ShardMap<string, number>();
    const scope = withCancel(background());
    const answer = gate<number>();
    const update = watch(map.update("k", () => answer.promise, scope.ctx));
    await turn();
    scope.cancel();
    await turn();
    expect(update.state).toBe("pending");
    answer.open(1);
    await turn();
    expect([update.value, map.get("k")]).toEqual([1, 1]);
  });

  test("a done cancel rejects though no call is before it, and does not run fn", async () => {
    const map = new ShardMap<string, number>();
    const scope = withCancel(background());
    scope.cancel();
    let ran = 0;
    const fn = () => ++ran;
    await expect(map.update("k", fn, scope.ctx)).rejects.toBe(scope.ctx.err());
    await expect(map.update("k", fn, AbortSignal.abort("why"))).rejects.toBe("why");
    expect([ran, map.size, await map.update("k", fn)]).toEqual([0, 0, 1]);
  });

  test("its turn and its cancel in one go: the turn came first, so fn runs", async () => {
    const map = new ShardMap<string, number>();
    const scope = withCancel(background());
    const first = map.update("k", () => 1);
    const second = map.update("k", (n = 0) => n + 1, scope.ctx);
    await first;
    scope.cancel();
    expect([await second, map.get("k")]).toEqual([2, 2]);
  });
});

test("fn runs in the async context of its caller, not in that of the call that admits it", async () => {
  const tenant = new AsyncLocalStorage<string>();
  const map = new ShardMap<string, string>();
  const first = gate<string>();
  const where = () => `${tenant.getStore()}`;
  const held = tenant.run("bob", () => map.update("k", () => first.promise.then(where)));
  const alice = tenant.run("alice", () => map.update("k", (before) => `${before}, ${where()}`));
  const nobody = map.update("k", (before) => `${before}, ${where()}`);
  await turn();
  tenant.run("carol", () => first.open("go"));
  expect(await Promise.all([held, alice, nobody])).toEqual(["bob", "bob, alice", "bob, alice, undefined"]);
});
