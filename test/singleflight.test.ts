/** Single flight: one run of the work for all callers of a key, each with its own cancel. */
import { AsyncLocalStorage } from "node:async_hooks";
import { Channel } from "gopark/channel";
import {
  afterFunc,
  background,
  Canceled,
  type Context,
  cause,
  contextKey,
  DeadlineExceeded,
  fromSignal,
  is,
  merge,
  withCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { counters } from "gopark/leak";
import { Group } from "gopark/singleflight";
import { sleep } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

/** Work that the test ends, and its runs. */
interface Run<V> {
  readonly ctx: Context;
  open(value: V): void;
  fail(error: unknown): void;
}

function works<V>(): { work: (ctx: Context) => Promise<V>; begun: Run<V>[] } {
  const begun: Run<V>[] = [];
  const work = (ctx: Context) =>
    new Promise<V>((open, fail) => {
      begun.push({ ctx, open, fail });
    });
  return { work, begun };
}

const counted = (): unknown[] => [counters()["singleflight do"], counters()["singleflight work"]];

describe("one run for all (the tests of x/sync)", () => {
  test("Do: a single call", async () => {
    const group = new Group<string, string>();
    expect(await group.do("key", () => "bar")).toEqual({ value: "bar", shared: false });
  });

  test("DoErr: the error as it is", async () => {
    const group = new Group<string, string>();
    const some = new Error("some error");
    await expect(group.do("key", () => Promise.reject(some))).rejects.toBe(some);
  });

  test("DoDupSuppress: callers before and during the run share it", async () => {
    const group = new Group<string, string>();
    const { work, begun } = works<string>();
    const early = Array.from({ length: 5 }, () => group.do("key", work));
    await turn();
    const late = Array.from({ length: 5 }, () => group.do("key", work));
    await turn();
    expect([begun.length, ...counted()]).toEqual([1, 10, 1]);
    begun[0]?.open("bar");
    for (const result of await Promise.all([...early, ...late])) expect(result).toEqual({ value: "bar", shared: true });
    expect(counted()).toEqual([0, 0]);
  });

  test("Forget: the next caller starts new work; the old callers get the old result", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const first = group.do("key", work);
    await turn();
    group.forget("key");
    const second = group.do("key", work);
    const third = group.do("key", work);
    await turn();
    expect(begun).toHaveLength(2);
    // The first must not delete the key of the second.
    begun[0]?.open(1);
    expect(await first).toEqual({ value: 1, shared: false });
    const fourth = group.do("key", work);
    await turn();
    expect(begun).toHaveLength(2);
    begun[1]?.open(2);
    expect(await Promise.all([second, third, fourth])).toEqual(Array(3).fill({ value: 2, shared: true }));
  });

  test("PanicDo: work that throws fails all callers, with the same object", async () => {
    const group = new Group<string, number>();
    const boom = { not: "an error" };
    let runs = 0;
    const settled = await Promise.allSettled(
      Array.from({ length: 5 }, () =>
        group.do("key", () => {
          runs++;
          throw boom;
        }),
      ),
    );
    for (const each of settled) expect(each.status === "rejected" && each.reason).toBe(boom);
    expect([runs, ...counted()]).toEqual([1, 0, 0]);
    expect(await group.do("key", () => 7)).toEqual({ value: 7, shared: false });
  });

  test("PanicErrorUnwrap: the thrown error is found by its class", async () => {
    class Special extends Error {}
    const group = new Group<string, number>();
    const call = group.do("key", () => {
      throw new Special("special");
    });
    await expect(call).rejects.toBeInstanceOf(Special);
  });
});

describe("the result", () => {
  test("is the same value for all, and an object of each caller's own around it", async () => {
    const group = new Group<string, object>();
    const value = { some: "thing" };
    const [a, b] = await Promise.all([group.do("key", () => value), group.do("key", () => value)]);
    expect(a?.value).toBe(value);
    expect(b?.value).toBe(value);
    expect(a).not.toBe(b);
  });

  test("is shared if another has joined, though it has left since", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const { ctx, cancel } = withCancel(background());
    const stays = group.do("key", work);
    const leaves = watch(group.do("key", work, ctx));
    await turn();
    cancel();
    begun[0]?.open(7);
    expect(await stays).toEqual({ value: 7, shared: true });
    expect(leaves.reason).toBe(ctx.err());
  });

  test("is shared for the one that stays when the first has left", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const { ctx, cancel } = withCancel(background());
    const leaves = watch(group.do("key", work, ctx));
    const stays = group.do("key", work);
    await turn();
    cancel();
    begun[0]?.open(7);
    expect(await stays).toEqual({ value: 7, shared: true });
    expect(leaves.state).toBe("rejected");
  });

  test("is not kept: the next caller starts new work, at once after the last", async () => {
    const group = new Group<string, number>();
    let runs = 0;
    const work = () => ++runs;
    const chained = group.do("key", work).then(() => group.do("key", work));
    expect(await chained).toEqual({ value: 2, shared: false });
  });

  test.each([undefined, null, 0, ""])("may be %s", async (value) => {
    const group = new Group<string, unknown>();
    expect(await group.do("key", () => value)).toEqual({ value, shared: false });
  });

  test("of a failure is passed on as it is, undefined too, and retried at once", async () => {
    const group = new Group<string, unknown>();
    for (const reason of [undefined, null, "text", { any: "thing" }]) {
      await expect(group.do("key", () => Promise.reject(reason))).rejects.toBe(reason);
    }
    const retried = group.do("key", () => Promise.reject(new Error("once"))).catch(() => group.do("key", () => 2));
    expect(await retried).toEqual({ value: 2, shared: false });
  });
});

describe("the work", () => {
  test("starts after the call, before any timer or I/O, with a context and nothing else", async () => {
    const group = new Group<string, number>();
    const work = vi.fn((..._: unknown[]) => 1);
    const call = group.do("key", work);
    expect(work).not.toHaveBeenCalled();
    await turn();
    expect(work.mock.calls).toEqual([[expect.objectContaining({ signal: expect.any(AbortSignal) })]]);
    expect(await call).toEqual({ value: 1, shared: false });
  });

  test("of the first caller is the one that runs", async () => {
    const group = new Group<string, string>();
    const calls = ["first", "second"].map((name) => group.do("key", () => name));
    expect((await Promise.all(calls)).map(({ value }) => value)).toEqual(["first", "first"]);
  });

  test("may return any thenable, and a hostile one fails all callers", async () => {
    const group = new Group<string, number>();
    const thenable: PromiseLike<number> = { then: (resolve) => Promise.resolve(7).then(resolve) };
    expect(await group.do("key", () => thenable)).toEqual({ value: 7, shared: false });
    const boom = new Error("boom");
    const hostile = {
      get then(): never {
        throw boom;
      },
    } as unknown as PromiseLike<number>;
    const calls = [group.do("key", () => hostile), group.do("key", () => hostile)];
    for (const each of await Promise.allSettled(calls)) expect(each).toEqual({ status: "rejected", reason: boom });
  });

  test("that answers twice, or throws after it has answered, has answered once", async () => {
    const group = new Group<string, number>();
    const twice = {
      then(resolve: (value: number) => void, reject: (error: Error) => void) {
        resolve(1);
        resolve(2);
        reject(new Error("late"));
        throw new Error("later");
      },
    } as unknown as PromiseLike<number>;
    expect(await group.do("key", () => twice)).toEqual({ value: 1, shared: false });
  });

  test("may do other keys, in a chain and of another group", async () => {
    const group = new Group<number, number>();
    const fibonacci = async (n: number): Promise<number> =>
      n < 2
        ? n
        : (await group.do(n - 1, () => fibonacci(n - 1))).value + (await group.do(n - 2, () => fibonacci(n - 2))).value;
    expect((await group.do(12, () => fibonacci(12))).value).toBe(144);
    const other = new Group<number, number>();
    expect((await group.do(1, async () => (await other.do(1, () => 5)).value)).value).toBe(5);
  });

  test("may forget its own key, and then do it", async () => {
    const group = new Group<string, string>();
    const result = await group.do("key", async (ctx) => {
      group.forget("key");
      const { value, shared } = await group.do("key", () => "inner", ctx);
      return `${value}, ${shared}`;
    });
    expect(result).toEqual({ value: "inner, false", shared: false });
  });
});

describe("keys", () => {
  test("are compared as those of a Map are", async () => {
    const group = new Group<unknown, unknown>();
    const { work, begun } = works<unknown>();
    const object = {};
    const keys = ["1", 1, 1n, null, undefined, Number.NaN, 0, object, {}, Symbol("a"), "__proto__", "constructor"];
    const calls = keys.map((key) => group.do(key, work));
    const same = [-0, Number.NaN, object].map((key) => group.do(key, work));
    await turn();
    expect(begun).toHaveLength(keys.length);
    for (const [i, run] of begun.entries()) run.open(i);
    expect((await Promise.all(calls)).map(({ value }) => value)).toEqual([...keys.keys()]);
    expect((await Promise.all(same)).map(({ value }) => value)).toEqual([6, 5, 7]);
    const two = [group.do(0, work), group.do(-0, work)];
    await turn();
    group.forget(-0);
    const anew = group.do(0, work);
    await turn();
    expect(begun).toHaveLength(keys.length + 2);
    begun.at(-2)?.open("old");
    begun.at(-1)?.open("new");
    expect((await Promise.all([...two, anew])).map(({ value }) => value)).toEqual(["old", "old", "new"]);
  });

  test("are each group's own, and two functions are two keys", async () => {
    const [a, b] = [new Group<unknown, string>(), new Group<unknown, string>()];
    const results = await Promise.all([
      a.do("key", () => "a"),
      b.do("key", () => "b"),
      a.do(
        () => {},
        () => "c",
      ),
      a.do(
        () => {},
        () => "d",
      ),
    ]);
    expect(results.map(({ value }) => value)).toEqual(["a", "b", "c", "d"]);
  });

  test("that do not run are forgotten without harm", () => {
    const group = new Group<unknown, string>();
    for (const key of ["key", undefined, Number.NaN]) expect(group.forget(key)).toBeUndefined();
  });
});

describe("a caller's cancel", () => {
  test("rejects that caller at once, with its own error; the others go on", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scope = withCancel(background());
    const controller = new AbortController();
    const first = watch(group.do("key", work, scope.ctx));
    const second = watch(group.do("key", work));
    const third = watch(group.do("key", work, controller.signal));
    await turn();

    scope.cancel();
    controller.abort("why");
    expect(counted()).toEqual([1, 1]);
    await turn();
    expect([first.reason, second.state, third.reason]).toEqual([scope.ctx.err(), "pending", "why"]);
    expect(first.reason).toBe(scope.ctx.err());
    expect(begun[0]?.ctx.err()).toBeUndefined();

    begun[0]?.open(7);
    await turn();
    expect([second.value, begun.length]).toEqual([{ value: 7, shared: true }, 1]);
  });

  test("by deadline: the caller has one, and the work has not", async () => {
    vi.useFakeTimers();
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    using scope = withTimeout(background(), 100);
    const first = watch(group.do("key", work, scope.ctx));
    const second = watch(group.do("key", work));
    await turn();
    expect(begun[0]?.ctx.deadline()).toBeUndefined();
    vi.advanceTimersByTime(101);
    await turn();
    expect([first.reason, second.state]).toEqual([scope.ctx.err(), "pending"]);
    expect(is(first.reason, DeadlineExceeded)).toBe(true);
    expect(begun[0]?.ctx.err()).toBeUndefined();
    begun[0]?.open(7);
    await turn();
    expect(second.value).toEqual({ value: 7, shared: true });
  });

  test("that has ended already rejects, starts nothing, and leaves running work alone", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scope = withCancel(background());
    scope.cancel();
    await expect(group.do("key", work, scope.ctx)).rejects.toBe(scope.ctx.err());
    await expect(group.do("key", work, AbortSignal.abort("why"))).rejects.toBe("why");
    await turn();
    expect(begun).toEqual([]);

    const call = watch(group.do("key", work));
    await turn();
    await expect(group.do("key", work, scope.ctx)).rejects.toBe(scope.ctx.err());
    expect([call.state, begun.length, begun[0]?.ctx.err()]).toEqual(["pending", 1, undefined]);
    begun[0]?.open(2);
    await turn();
    // It has not joined.
    expect(call.value).toEqual({ value: 2, shared: false });
  });

  test("after the work has ended changes nothing", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scope = withCancel(background());
    const call = group.do("key", work, scope.ctx);
    await turn();
    begun[0]?.open(7);
    expect(await call).toEqual({ value: 7, shared: false });
    scope.cancel();
    await turn();
    expect(begun[0]?.ctx.err()).toBeUndefined();
  });

  test("between the work's end and its answer leaves: nobody is answered twice", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scope = withCancel(background());
    const call = watch(group.do("key", work, scope.ctx));
    await turn();
    begun[0]?.open(7);
    scope.cancel();
    await turn();
    expect(call.reason).toBe(scope.ctx.err());
    expect(counted()).toEqual([0, 0]);
  });
});

describe("when the last caller leaves", () => {
  test("the work's context is cancelled at once, with that caller's error as its cause", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scopes = [withCancel(background()), withCancel(background())] as const;
    const calls = scopes.map(({ ctx }) => watch(group.do("key", work, ctx)));
    await turn();
    const { ctx, open } = begun[0] as Run<number>;

    scopes[1].cancel();
    expect(ctx.err()).toBeUndefined();
    scopes[0].cancel(new Error("why"));
    expect(ctx.err()).toBeInstanceOf(Canceled);
    expect(cause(ctx)).toBe(scopes[0].ctx.err());
    await turn();
    expect(calls.map(({ reason }) => reason)).toEqual(scopes.map((scope) => scope.ctx.err()));
    // It runs until it ends.
    expect(counted()).toEqual([0, 1]);
    open(7);
    await turn();
    expect(counted()).toEqual([0, 0]);
  });

  test("by its deadline, the work is cancelled, and has not timed out itself", async () => {
    vi.useFakeTimers();
    const group = new Group<string, void>();
    using scope = withTimeout(background(), 100);
    let ctx: Context | undefined;
    const call = watch(
      group.do(
        "key",
        (given) => {
          ctx = given;
          return sleep(60_000, given);
        },
        scope.ctx,
      ),
    );
    await turn();
    vi.advanceTimersByTime(101);
    await turn();
    expect(is(call.reason, DeadlineExceeded)).toBe(true);
    expect(is(ctx?.err(), DeadlineExceeded)).toBe(false);
    expect(is(cause(ctx as Context), DeadlineExceeded)).toBe(true);
  });

  test("all ways to see it: err, signal, done, a child, afterFunc, a wait", async () => {
    const group = new Group<string, void>();
    const { ctx: caller, cancel } = withCancel(background());
    const seen: unknown[] = [];
    const call = watch(
      group.do(
        "key",
        async (ctx) => {
          const child = withCancel(ctx);
          afterFunc(ctx, () => seen.push("afterFunc"));
          ctx.signal.addEventListener("abort", () => seen.push("abort"));
          void ctx
            .done()
            ?.receive()
            .then(() => seen.push("done"));
          await sleep(60_000, ctx).catch((error) => seen.push(error === ctx.err()));
          seen.push(child.ctx.err() === ctx.err(), ctx.signal.reason === ctx.err(), fromSignal(ctx.signal) === ctx);
        },
        caller,
      ),
    );
    const another = watch(group.do("key", () => {}, caller));
    await turn();
    cancel();
    await turns(2);
    expect([call.reason, another.reason]).toEqual([caller.err(), caller.err()]);
    expect(seen.map(String).sort()).toEqual(["abort", "afterFunc", "done", "true", "true", "true", "true"]);
  });

  test("together with others, the work is cancelled once; a signal's reason is the cause", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const controller = new AbortController();
    const reason = { any: "reason" };
    const calls = [1, 2, 3].map(() => watch(group.do("key", work, controller.signal)));
    await turn();
    let aborts = 0;
    begun[0]?.ctx.signal.addEventListener("abort", () => aborts++);
    controller.abort(reason);
    await turn();
    expect([aborts, cause(begun[0]?.ctx as Context)]).toEqual([1, reason]);
    expect(calls.every((call) => call.reason === reason)).toBe(true);
    begun[0]?.open(1);
  });

  test("an abort listener that joins in that moment keeps the work going", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scope = withCancel(background());
    const left = watch(group.do("key", work, scope.ctx));
    let joined: Promise<unknown> | undefined;
    scope.ctx.signal.addEventListener("abort", () => {
      joined = group.do("key", work);
    });
    await turn();
    scope.cancel();
    await turn();
    expect([left.reason, begun.length, begun[0]?.ctx.err()]).toEqual([scope.ctx.err(), 1, undefined]);
    begun[0]?.open(7);
    expect(await joined).toEqual({ value: 7, shared: true });
  });

  test("before the work has started, it does not start; another caller's does", async () => {
    const group = new Group<string, number>();
    const work = vi.fn(() => 1);
    const scope = withCancel(background());
    const left = watch(group.do("key", work, scope.ctx));
    scope.cancel();
    const next = group.do("key", () => 2);
    expect(await next).toEqual({ value: 2, shared: false });
    expect([left.reason, work.mock.calls.length, ...counted()]).toEqual([scope.ctx.err(), 0, 0, 0]);
  });

  test("a new caller starts new work beside the old, in the same turn too", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scope = withCancel(background());
    const left = watch(group.do("key", work, scope.ctx));
    await turn();
    scope.cancel();
    const anew = watch(group.do("key", work));
    await turn();
    expect([left.state, anew.state, begun.length]).toEqual(["rejected", "pending", 2]);
    expect(begun.map(({ ctx }) => ctx.err() !== undefined)).toEqual([true, false]);
    expect(counted()).toEqual([1, 2]);

    // The old work's result and key are its own.
    begun[0]?.open(1);
    await turn();
    const joined = watch(group.do("key", work));
    expect([anew.state, begun.length]).toEqual(["pending", 2]);
    begun[1]?.open(2);
    await turn();
    expect([anew.value, joined.value]).toEqual([
      { value: 2, shared: true },
      { value: 2, shared: true },
    ]);
  });

  test("of forgotten work, that work is cancelled and its successor is not", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const scope = withCancel(background());
    const old = watch(group.do("key", work, scope.ctx));
    await turn();
    group.forget("key");
    const next = watch(group.do("key", work));
    await turn();
    expect(begun[0]?.ctx.err()).toBeUndefined();
    scope.cancel();
    expect(begun.map(({ ctx }) => ctx.err() !== undefined)).toEqual([true, false]);
    begun[0]?.open(1);
    await turn();
    expect([old.reason, next.state]).toEqual([scope.ctx.err(), "pending"]);
    const joined = watch(group.do("key", work));
    begun[1]?.open(2);
    await turn();
    expect([next.value, joined.value, begun.length]).toEqual([
      { value: 2, shared: true },
      { value: 2, shared: true },
      2,
    ]);
  });

  test("the error of the work is nobody's, and is no unhandled rejection", async () => {
    const seen = await unhandledDuring(async () => {
      const group = new Group<string, number>();
      const { work, begun } = works<number>();
      const scope = withCancel(background());
      const call = watch(group.do("key", work, scope.ctx));
      await turn();
      scope.cancel();
      begun[0]?.fail(new Error("aborted"));
      await turn();
      expect([call.reason, ...counted()]).toEqual([scope.ctx.err(), 0, 0]);
    });
    expect(seen).toEqual([]);
  });

  test("the work ends itself, and what it holds back is let through afterwards", async () => {
    const group = new Group<string, number>();
    const ch = new Channel<number>();
    const scope = withCancel(background());
    const call = watch(group.do("key", async (ctx) => (await ch.receive(ctx)).value as number, scope.ctx));
    await turn();
    scope.cancel();
    // Its wait has been claimed within the call.
    expect(ch.trySend(1)).toBe(false);
    await turn();
    expect([call.state, ...counted()]).toEqual(["rejected", 0, 0]);
  });
});

describe("the work's context", () => {
  const user = contextKey<string>("user");

  test("has the first caller's values, those of a context's signal too, and not its end", async () => {
    const group = new Group<string, string | undefined>();
    const scope = withCancel(withValue(background(), user, "alice"));
    const work = async (ctx: Context) => {
      await turn();
      expect(ctx.err()).toBeUndefined();
      return ctx.value(user);
    };
    const first = watch(group.do("key", work, scope.ctx));
    const second = group.do("key", work, withValue(background(), user, "bob"));
    scope.cancel();
    expect((await second).value).toBe("alice");
    expect(first.reason).toBe(scope.ctx.err());

    using other = withCancel(withValue(background(), user, "carol"));
    expect((await group.do("key", work, other.ctx.signal)).value).toBe("carol");
    expect((await group.do("key", work, new AbortController().signal)).value).toBeUndefined();
    expect((await group.do("key", work)).value).toBeUndefined();
  });

  test("stays live when the work has ended: its value may go on using it", async () => {
    const group = new Group<string, Context>();
    const scope = withCancel(background());
    const { value: ctx } = await group.do("key", (ctx) => ctx, scope.ctx);
    scope.cancel();
    await turn();
    expect([ctx.err(), ctx.signal.aborted]).toEqual([undefined, false]);
  });

  test("says what it is made of", async () => {
    const group = new Group<string, string>();
    expect((await group.do("key", String)).value).toBe("context.Background.WithCancel");
    using scope = withCancel(background());
    const { value } = await group.do("key", String, scope.ctx);
    expect(value).toBe("context.Background.WithCancel.WithoutCancel.WithCancel");
  });

  test("is not counted as a context that someone must cancel", async () => {
    const group = new Group<string, number>();
    const { work, begun } = works<number>();
    const before = counters().context;
    const call = group.do("key", work);
    await turn();
    expect(counters().context).toBe(before);
    begun[0]?.open(1);
    await call;
  });
});

describe("work that does its own key", () => {
  type Ask = (group: Group<string, string>) => (ctx: Context) => Promise<string>;
  const resultOf = ({ value }: { value: string }) => value;
  const inner = () => "inner";

  const asks: Record<string, Ask> = {
    "under its context": (group) => (ctx) => group.do("key", inner, ctx).then(resultOf),
    "under its context's signal": (group) => (ctx) => group.do("key", inner, ctx.signal).then(resultOf),
    "under a derived context": (group) => async (ctx) => {
      using outer = withTimeout(withValue(ctx, "some", "value"), 3_600_000);
      using scope = withCancel(outer.ctx);
      return await group.do("key", inner, scope.ctx).then(resultOf);
    },
    "under a context merged with another one": (group) => async (ctx) => {
      using own = withCancel(background());
      using scope = merge(own.ctx, ctx);
      return await group.do("key", inner, scope.ctx).then(resultOf);
    },
    "under one derived from a merged context": (group) => async (ctx) => {
      using own = withCancel(background());
      using merged = merge(own.ctx, withValue(own.ctx, "some", "value"), withCancel(ctx).ctx);
      using scope = withCancel(merged.ctx);
      return await group.do("key", inner, scope.ctx).then(resultOf);
    },
    later: (group) => async (ctx) => {
      await turn();
      return await group.do("key", inner, ctx).then(resultOf);
    },
    "by the work of another key": (group) => (ctx) =>
      group.do("other", () => group.do("key", inner, ctx).then(resultOf), ctx).then(resultOf),
  };

  test.each(Object.keys(asks))("%s waits for itself until the callers have left", async (name) => {
    const group = new Group<string, string>();
    const scopes = [withCancel(background()), withCancel(background())];
    let given: Context | undefined;
    const ask = (asks[name] as Ask)(group);
    const work = (ctx: Context) => {
      given = ctx;
      return ask(ctx);
    };
    const calls = scopes.map(({ ctx }) => watch(group.do("key", work, ctx)));
    await turns(3);
    for (const { cancel } of scopes) {
      expect(given?.err()).toBeUndefined();
      cancel();
    }
    expect(given?.err()).toBeInstanceOf(Canceled);
    await turns(2);
    expect(calls.map(({ reason }) => reason)).toEqual(scopes.map(({ ctx }) => ctx.err()));
    expect(counted()).toEqual([0, 0]);
    expect((await group.do("key", () => "fresh")).value).toBe("fresh");
  });

  test("and stops waiting for itself leaves the work to its callers", async () => {
    const group = new Group<string, string>();
    const scope = withCancel(background());
    const call = group.do(
      "key",
      async (ctx) => {
        const own = withCancel(ctx);
        const inside = watch(group.do("key", inner, own.ctx));
        own.cancel();
        await turn();
        return `${inside.reason === own.ctx.err()}, ${ctx.err()}`;
      },
      scope.ctx,
    );
    expect(await call).toEqual({ value: "true, undefined", shared: true });
    scope.cancel();
  });

  test("without its context is a caller as any other", async () => {
    const group = new Group<string, string>();
    const scope = withCancel(background());
    const own = withCancel(background());
    let given: Context | undefined;
    const call = watch(
      group.do(
        "key",
        async (ctx) => {
          given = ctx;
          return (await group.do("key", inner, own.ctx)).value;
        },
        scope.ctx,
      ),
    );
    await turn();
    scope.cancel();
    await turn();
    expect([call.state, given?.err()]).toEqual(["rejected", undefined]);
    own.cancel();
    expect(given?.err()).toBeInstanceOf(Canceled);
    await turn();
    expect(counted()).toEqual([0, 0]);
  });

  test("and does not wait for it ends as any other; its own wait gets the answer", async () => {
    const group = new Group<string, string>();
    let own: Promise<unknown> | undefined;
    const call = group.do("key", async (ctx) => {
      own = group.do("key", inner, ctx);
      await turn();
      return "of the work";
    });
    expect(await call).toEqual({ value: "of the work", shared: true });
    expect(await own).toEqual({ value: "of the work", shared: true });
  });
});

describe("async context", () => {
  const tenant = new AsyncLocalStorage<string>();

  test("the work runs in the first caller's, and each caller goes on in its own", async () => {
    const group = new Group<string, string>();
    const work = async () => {
      const before = tenant.getStore();
      await turn();
      return `${before} ${tenant.getStore()}`;
    };
    const ask = async () => `${(await group.do("key", work)).value} for ${tenant.getStore()}`;
    const calls = ["alice", "bob", "carol"].map((name) => tenant.run(name, ask));
    expect(await Promise.all(calls)).toEqual(["alice alice for alice", "alice alice for bob", "alice alice for carol"]);
  });

  test("abort listeners and afterFuncs run in the work's, not in that of the last caller to leave", async () => {
    const group = new Group<string, string>();
    const scope = withCancel(background());
    const stopped: unknown[] = [];
    const work = (ctx: Context) =>
      new Promise<string>((resolve) => {
        ctx.signal.onabort = () => {
          stopped.push(tenant.getStore());
          resolve("too late");
        };
        afterFunc(ctx, () => stopped.push(tenant.getStore()));
      });
    const calls = ["alice", "bob"].map((name) => watch(tenant.run(name, () => group.do("key", work, scope.ctx))));
    await turn();
    tenant.run("mallory", () => scope.cancel());
    expect(stopped).toEqual([]);
    await turn();
    expect([stopped, calls.map(({ state }) => state)]).toEqual([
      ["alice", "alice"],
      ["rejected", "rejected"],
    ]);
  });
});

test("a chain of flights, each of which waits for the next, ends at once, of any depth", async () => {
  const DEPTH = 20_000; // The stack of a thread, four times that of a process, must not do for recursion.
  vi.useFakeTimers();
  const group = new Group<number, string>();
  const load =
    (depth: number) =>
    async (ctx: Context): Promise<string> => {
      if (depth > 0) return (await group.do(depth - 1, load(depth - 1), ctx)).value;
      await sleep(1000, ctx);
      return "loaded";
    };
  const { ctx, cancel } = withCancel(background());
  const call = watch(group.do(DEPTH, load(DEPTH), ctx));
  while (counters().sleep === 0) await turn();
  cancel();
  while (call.state === "pending" || counters()["singleflight work"] !== 0) await turn();
  expect(call.reason).toBe(ctx.err());
  expect([counters().sleep, counters()["singleflight do"]]).toEqual([0, 0]);
});
