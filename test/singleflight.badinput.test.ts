/**
 * Single flight: bad arguments are refused at once and change nothing. Hostile contexts and functions harm no other
 * call.
 */
import { background, type Context, withCancel } from "gopark/context";
import { counters } from "gopark/leak";
import { Group } from "gopark/singleflight";
import { describe, expect, test, vi } from "vitest";
import { type ForeignContext, foreign } from "./support/foreign.ts";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const boom = new Error("boom");
const thrower = (): never => {
  throw boom;
};
const counted = (): unknown[] => [counters()["singleflight do"], counters()["singleflight work"]];
const notFunctions: unknown[] = [undefined, null, 5, "fn", {}, Promise.resolve()];
const notCancels: unknown[] = [null, 5, "ctx", {}, withCancel, new AbortController(), { ctx: background() }];

describe("arguments", () => {
  test.each(notFunctions)("fn %o is refused by a rejection, and joins nothing", async (no) => {
    const group = new Group<string, number>();
    await expect(group.do("key", no as () => number)).rejects.toThrow(TypeError);
    expect(counted()).toEqual([0, 0]);
    const call = group.do("key", () => turn().then(() => 1));
    await expect(group.do("key", no as () => number)).rejects.toThrow("do: fn must be a function, got ");
    expect(await call).toEqual({ value: 1, shared: false });
  });

  test.each(notCancels)("cancel %o is refused by a rejection, and joins nothing", async (no) => {
    const group = new Group<string, number>();
    const work = vi.fn(() => 2);
    await expect(group.do("key", work, no as Context)).rejects.toThrow("expected a Context or an AbortSignal, got ");
    const call = group.do("key", () => turn().then(() => 1));
    await expect(group.do("key", work, no as Context)).rejects.toThrow(TypeError);
    expect(await call).toEqual({ value: 1, shared: false });
    expect(work).not.toHaveBeenCalled();
  });

  test("a context and a function that are both bad: the function is named", async () => {
    const group = new Group<string, number>();
    await expect(group.do("key", 5 as never, 5 as never)).rejects.toThrow("do: fn must be a function, got 5");
  });

  test("nothing is thrown in the call; what is not awaited is an unhandled rejection", async () => {
    const seen = await unhandledDuring(async () => {
      const group = new Group<string, number>();
      void group.do("key", undefined as never);
      void group.do("key", () => 1, null as never);
      void group.do("key", thrower);
      await turn();
    });
    expect(seen.map((reason) => reason instanceof TypeError)).toEqual([true, true, false]);
  });
});

/** A foreign context that calls `onLook` whenever its `err` is looked for, with how many looks there were. */
function looked(onLook: (look: number) => void): ForeignContext {
  let looks = 0;
  const ctx = foreign();
  const { err } = ctx;
  return Object.defineProperty(ctx, "err", {
    get() {
      onLook(++looks);
      return err;
    },
  });
}

// A call looks that often at least.
const LOOKS = [1, 2, 3, 4, 5];

describe("hostile contexts", () => {
  test("one that throws when asked is refused, and leaves the work as it is", async () => {
    const group = new Group<string, number>();
    const hostile = foreign({ err: thrower });
    const call = group.do("key", () => turn().then(() => 7));
    await expect(group.do("key", () => 8, hostile)).rejects.toBe(boom);
    await expect(group.do("other", () => 8, hostile)).rejects.toBe(boom);
    expect(await call).toEqual({ value: 7, shared: false });
    expect(counted()).toEqual([0, 0]);
  });

  test("one that cannot be listened to rejects its caller: alone the work does not start", async () => {
    const group = new Group<string, number>();
    const work = vi.fn(() => 1);
    await expect(group.do("key", work, foreign({ afterFunc: thrower }))).rejects.toBe(boom);
    await turn();
    expect(work).not.toHaveBeenCalled();
    const call = group.do("key", () => turn().then(() => 7));
    await expect(group.do("key", work, foreign({ afterFunc: thrower }))).rejects.toBe(boom);
    expect(await call).toEqual({ value: 7, shared: true });
  });

  test("one that calls back into the group while it is listened to: its call joins", async () => {
    const group = new Group<string, number>();
    let inner: Promise<unknown> | undefined;
    const ctx = foreign({
      afterFunc: () => {
        group.forget("other");
        inner ??= group.do("key", () => 2);
        return () => true;
      },
    });
    expect(await group.do("key", () => 1, ctx)).toEqual({ value: 1, shared: true });
    expect(await inner).toEqual({ value: 1, shared: true });
  });

  test("one that forgets the key while it is listened to: its work runs, and the next caller's too", async () => {
    const group = new Group<string, number>();
    const ctx = foreign({
      afterFunc: () => {
        group.forget("key");
        return () => true;
      },
    });
    const calls = [group.do("key", () => 1, ctx), group.do("key", () => 2)];
    expect((await Promise.all(calls)).map(({ value }) => value)).toEqual([1, 2]);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])("one that throws from look %d on harms no other caller", async (from) => {
    const group = new Group<string, number>();
    let looks = 0;
    const ctx = Object.defineProperty(foreign(), "err", {
      get() {
        if (++looks >= from) throw boom;
        return () => undefined;
      },
    });
    const [first, joined] = [watch(group.do("key", () => 1, ctx)), watch(group.do("key", () => 2))];
    await turns(3);
    expect(first.state === "fulfilled" || first.reason === boom).toBe(true);
    expect(joined.state).toBe("fulfilled");
  });

  test.each(LOOKS)(
    "one that throws at look %d alone: its call fails, or its work gets the whole context",
    async (at) => {
      const group = new Group<string, unknown>();
      const ctx = looked((look) => {
        if (look === at) throw boom;
      });
      const call = watch(group.do("key", (own) => own.value("any"), ctx));
      await turns(3);
      expect(call.state === "fulfilled" || call.reason === boom).toBe(true);
      expect(counted()).toEqual([0, 0]);
    },
  );

  test.each(LOOKS)("one that calls back into the group at look %d: the work of the key runs once", async (at) => {
    const group = new Group<string, number>();
    const work = vi.fn(() => turn().then(() => 1));
    let inner: Promise<unknown> | undefined;
    const ctx = looked((look) => {
      if (look === at) inner = group.do("key", work);
    });
    const calls = [group.do("key", work, ctx), inner];
    expect(await Promise.all(calls)).toEqual(Array(2).fill({ value: 1, shared: true }));
    expect(work).toHaveBeenCalledTimes(1);
  });

  test.each(LOOKS)("one that ends at look %d, as another operation sees: the work does not start", async (at) => {
    const group = new Group<string, number>();
    const work = vi.fn(() => 1);
    let other: Promise<unknown> | undefined;
    const ctx = looked((look) => {
      if (look !== at) return;
      ctx.end(boom);
      other = group.do("other", work, ctx).catch((error: unknown) => error);
    });
    await expect(group.do("key", work, ctx)).rejects.toBe(boom);
    expect([await other, work.mock.calls.length]).toEqual([boom, 0]);
    expect(counted()).toEqual([0, 0]);
  });

  test("one whose values throw: the work that asks for them gets the error", async () => {
    const group = new Group<string, unknown>();
    let ready = false;
    const ctx = foreign({ value: () => (ready ? thrower() : undefined) });
    const call = group.do("key", (own) => own.value("any"), ctx);
    ready = true;
    await expect(call).rejects.toBe(boom);
    expect(await group.do("key", () => 1)).toEqual({ value: 1, shared: false });
  });

  test("one that ends cancels its caller, and the work of that caller alone", async () => {
    const group = new Group<string, number>();
    const ctx = foreign();
    let own: Context | undefined;
    const call = watch(
      group.do(
        "key",
        (given) => {
          own = given;
          return new Promise<number>((resolve) => given.signal.addEventListener("abort", () => resolve(1)));
        },
        ctx,
      ),
    );
    await turn();
    ctx.end(boom);
    await turns(2);
    expect([call.reason, own?.err() !== undefined, ...counted()]).toEqual([boom, true, 0, 0]);
  });
});

describe("hostile functions", () => {
  test("work that never settles: its callers can leave, and the key is free", async () => {
    const group = new Group<string, number>();
    const scope = withCancel(background());
    let end = (_: number) => {};
    const call = watch(group.do("key", () => new Promise<number>((resolve) => (end = resolve)), scope.ctx));
    await turn();
    scope.cancel();
    expect(await group.do("key", () => 2)).toEqual({ value: 2, shared: false });
    expect([call.reason, ...counted()]).toEqual([scope.ctx.err(), 0, 1]);
    end(1);
    await turn();
    expect(counted()).toEqual([0, 0]);
  });

  test("abort listeners of the work may call back in", async () => {
    const group = new Group<string, number>();
    const scope = withCancel(background());
    let inner: Promise<unknown> | undefined;
    const call = watch(
      group.do(
        "key",
        (ctx) =>
          new Promise<number>((_, reject) => {
            ctx.signal.onabort = () => {
              group.forget("key");
              inner = group.do("key", () => 2);
              reject(ctx.err());
            };
          }),
        scope.ctx,
      ),
    );
    await turn();
    scope.cancel();
    await turn();
    expect(await inner).toEqual({ value: 2, shared: false });
    expect([call.reason, ...counted()]).toEqual([scope.ctx.err(), 0, 0]);
  });

  test("the work may cancel its only caller, and go on", async () => {
    const group = new Group<string, number>();
    const scope = withCancel(background());
    let err: unknown;
    const call = watch(
      group.do(
        "key",
        (ctx) => {
          scope.cancel();
          err = ctx.err();
          return 1;
        },
        scope.ctx,
      ),
    );
    await turn();
    expect(call.reason).toBe(scope.ctx.err());
    expect(err).toMatchObject({ message: "context canceled", cause: scope.ctx.err() });
    expect(counted()).toEqual([0, 0]);
  });

  test("a caller may change its result, and no other sees it", async () => {
    const group = new Group<string, number>();
    const [a, b] = await Promise.all([group.do("key", () => 1), group.do("key", () => 1)]);
    Object.assign(a as object, { value: 2, shared: false });
    expect(b).toEqual({ value: 1, shared: true });
  });

  test("a result with a then of its own inside is not asked again", async () => {
    const group = new Group<string, unknown>();
    let asked = 0;
    const value = {
      get then() {
        asked++;
        return undefined;
      },
    };
    const calls = await Promise.all([group.do("key", () => value), group.do("key", () => value)]);
    expect(calls.map((call) => call.value)).toEqual([value, value]);
    expect(asked).toBe(1);
  });

  test("do and forget need their group", () => {
    const { do: run, forget } = new Group<string, number>();
    expect(() => run("key", () => 1)).toThrow(TypeError);
    expect(() => forget("key")).toThrow(TypeError);
  });
});
