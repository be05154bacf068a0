/** Sharded map: getOrLoad runs one load for all callers, and stores its result. */
import { AsyncLocalStorage } from "node:async_hooks";
import { background, Canceled, withCancel } from "gopark/context";
import { counters } from "gopark/leak";
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { type Load, loads } from "./support/loads.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const counted = (): (number | undefined)[] => [counters()["shardmap load"], counters()["shardmap loader"]];

describe("one load for all", () => {
  test("a value that is there is resolved to, undefined too, and nothing is loaded", async () => {
    const map = new ShardMap<string, number | null | undefined>([
      ["a", 1],
      ["u", undefined],
      ["n", null],
    ]);
    const { load, begun } = loads<string, number | null | undefined>();
    const values = [map.getOrLoad("a", load), map.getOrLoad("u", load), map.getOrLoad("n", load)];
    expect(await Promise.all(values)).toEqual([1, undefined, null]);
    expect(begun).toEqual([]);
  });

  test("all callers during a load get its result, which is stored", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const early = [map.getOrLoad("a", load), map.getOrLoad("a", load)];
    await turn();
    const late = map.getOrLoad("a", load);
    expect([begun.length, begun[0]?.key, map.has("a")]).toEqual([1, "a", false]);
    expect(counted()).toEqual([3, 1]);

    begun[0]?.open(7);
    expect(await Promise.all([...early, late])).toEqual([7, 7, 7]);
    expect([map.get("a"), await map.getOrLoad("a", load), begun.length]).toEqual([7, 7, 1]);
    expect(counted()).toEqual([0, 0]);
  });

  test("the value is there when the first of the callers goes on", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const found = map.getOrLoad("a", load).then((value) => [value, map.get("a")]);
    await turn();
    begun[0]?.open(7);
    expect(await found).toEqual([7, 7]);
  });

  test("each key has a load of its own, and no load waits for another", async () => {
    const map = new ShardMap<unknown, unknown>();
    const { load, begun } = loads<unknown, unknown>();
    const keys = ["1", 1, 1n, null, undefined, Number.NaN, 0, {}];
    const calls = keys.map((key) => map.getOrLoad(key, load));
    const same = [map.getOrLoad(-0, load), map.getOrLoad(Number.NaN, load)];
    await turn();
    expect(begun.map(({ key }) => key)).toEqual(keys);
    for (const each of begun.toReversed()) each.open(each.key);
    expect(await Promise.all(calls)).toEqual(keys);
    expect(await Promise.all(same)).toEqual([0, Number.NaN]);
    expect(map.size).toBe(keys.length);
  });

  test("the first caller's loader is the one that runs", async () => {
    const map = new ShardMap<string, string>();
    const calls = ["first", "second"].map((name) => map.getOrLoad("a", () => name));
    expect(await Promise.all(calls)).toEqual(["first", "first"]);
  });

  test("the loader runs after the call, before any timer or I/O, with the key and a signal", async () => {
    const map = new ShardMap<string, number>();
    const calls: [key: string, signal: AbortSignal, ...rest: unknown[]][] = [];
    const load = (...args: [key: string, signal: AbortSignal, ...rest: unknown[]]) => {
      calls.push(args);
      return 1;
    };
    const call = map.getOrLoad("a", load);
    expect(calls).toEqual([]);
    await turn();
    expect(calls).toEqual([["a", expect.any(AbortSignal)]]);
    expect(await call).toBe(1);
    await turn();
    expect(calls.map(([, signal]) => signal.aborted)).toEqual([false]);
  });

  test("a loader may answer with a value or any thenable, undefined too", async () => {
    const map = new ShardMap<string, number | undefined>();
    const thenable: PromiseLike<number> = { then: (resolve) => Promise.resolve(7).then(resolve) };
    expect(await map.getOrLoad("a", () => 5)).toBe(5);
    expect(await map.getOrLoad("b", () => thenable)).toBe(7);
    expect(await map.getOrLoad("c", () => undefined)).toBeUndefined();
    expect([map.get("a"), map.get("b"), map.has("c")]).toEqual([5, 7, true]);
  });

  test("a loader may load other keys", async () => {
    const map = new ShardMap<number, number>();
    const fibonacci = async (n: number): Promise<number> =>
      n < 2 ? n : (await map.getOrLoad(n - 1, fibonacci)) + (await map.getOrLoad(n - 2, fibonacci));
    expect(await map.getOrLoad(50, fibonacci)).toBe(12_586_269_025);
    expect(map.size).toBe(51);
  });

  test("two maps do not share loads", async () => {
    const [a, b] = [new ShardMap<string, string>(), new ShardMap<string, string>()];
    expect(await Promise.all([a.getOrLoad("k", () => "a"), b.getOrLoad("k", () => "b")])).toEqual(["a", "b"]);
  });
});

describe("failure", () => {
  const boom = new Error("boom");
  const failing: [string, () => PromiseLike<number>][] = [
    [
      "throws",
      () => {
        throw boom;
      },
    ],
    ["rejects", () => Promise.reject(boom)],
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

  test.each(failing)("a loader that %s fails all waiting callers, and nothing is stored", async (_, fail) => {
    const map = new ShardMap<string, number>();
    let runs = 0;
    const load = () => {
      runs++;
      return fail();
    };
    const seen = await unhandledDuring(async () => {
      const settled = await Promise.allSettled([map.getOrLoad("a", load), map.getOrLoad("a", load)]);
      expect(settled.map((each) => each.status === "rejected" && each.reason)).toEqual([boom, boom]);
    });
    expect(seen).toEqual([]);
    expect([runs, map.has("a"), map.size]).toEqual([1, false, 0]);
    expect(await map.getOrLoad("a", () => 5)).toBe(5);
  });

  test("a caller right after the failure starts a new load", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const retried = map.getOrLoad("a", load).catch(() => map.getOrLoad("a", load));
    await turn();
    begun[0]?.fail(boom);
    await turn();
    expect(begun).toHaveLength(2);
    begun[1]?.open(2);
    expect([await retried, map.get("a")]).toEqual([2, 2]);
  });

  test("a loader's rejection is passed on as it is, undefined too", async () => {
    const map = new ShardMap<string, number>();
    for (const reason of [undefined, null, "text", { any: "thing" }]) {
      await expect(map.getOrLoad("a", () => Promise.reject(reason))).rejects.toBe(reason);
    }
  });
});

describe("cancel", () => {
  test("one caller's cancel rejects that caller only", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const scope = withCancel(background());
    const controller = new AbortController();
    const first = watch(map.getOrLoad("a", load, scope.ctx));
    const second = watch(map.getOrLoad("a", load));
    const third = watch(map.getOrLoad("a", load, controller.signal));
    await turn();

    scope.cancel();
    controller.abort("why");
    expect(counted()).toEqual([1, 1]);
    await turn();
    expect([first.reason, second.state, third.reason]).toEqual([scope.ctx.err(), "pending", "why"]);
    expect(first.reason).toBeInstanceOf(Canceled);
    expect(begun[0]?.signal.aborted).toBe(false);

    begun[0]?.open(7);
    await turn();
    expect([second.value, map.get("a"), begun.length]).toEqual([7, 7, 1]);
  });

  test("when the last caller leaves, the signal aborts with that caller's error, and the result is dropped", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const scopes = [withCancel(background()), withCancel(background())] as const;
    const calls = scopes.map(({ ctx }) => watch(map.getOrLoad("a", load, ctx)));
    await turn();
    const [{ signal, open }] = begun as [Load<string, number>];

    scopes[1].cancel();
    await turn();
    expect(signal.aborted).toBe(false);
    scopes[0].cancel(new Error("cause"));
    await turn();

    expect([signal.aborted, signal.reason]).toEqual([true, scopes[0].ctx.err()]);
    expect(signal.reason).toBe(scopes[0].ctx.err());
    expect(calls.map(({ reason }) => reason)).toEqual(scopes.map(({ ctx }) => ctx.err()));
    expect(counted()).toEqual([0, 1]);
    open(7);
    await turn();
    expect([map.has("a"), ...counted()]).toEqual([false, 0, 0]);
  });

  test("callers that leave together abort it once; an aborted signal's reason is passed on as it is", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const controller = new AbortController();
    const reason = { any: "reason" };
    const calls = [1, 2, 3].map(() => watch(map.getOrLoad("a", load, controller.signal)));
    await turn();
    let aborts = 0;
    begun[0]?.signal.addEventListener("abort", () => aborts++);
    controller.abort(reason);
    await turn();
    expect([aborts, begun[0]?.signal.reason]).toEqual([1, reason]);
    expect(calls.every((call) => call.reason === reason)).toBe(true);
    begun[0]?.open(1);
  });

  test("a caller in the same turn in which the last one left starts a new load", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const scope = withCancel(background());
    const left = watch(map.getOrLoad("a", load, scope.ctx));
    await turn();
    scope.cancel();
    const anew = watch(map.getOrLoad("a", load));
    await turn();

    expect([left.state, anew.state, begun.length]).toEqual(["rejected", "pending", 2]);
    expect(begun.map(({ signal }) => signal.aborted)).toEqual([true, false]);
    begun[0]?.open(1);
    await turn();
    expect([anew.state, map.has("a")]).toEqual(["pending", false]);
    begun[1]?.open(2);
    await turn();
    expect([anew.value, map.get("a")]).toEqual([2, 2]);
  });

  test("a load that fails because all callers left rejects no call", async () => {
    const seen = await unhandledDuring(async () => {
      const map = new ShardMap<string, number>();
      const { load, begun } = loads<string, number>();
      const scope = withCancel(background());
      const call = watch(map.getOrLoad("a", load, scope.ctx));
      await turn();
      scope.cancel();
      await turn();
      begun[0]?.fail(new Error("aborted"));
      await turn();
      expect([call.reason, map.size, ...counted()]).toEqual([scope.ctx.err(), 0, 0, 0]);
    });
    expect(seen).toEqual([]);
  });

  test("the late failure of a load that was left does not touch the next one", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const scope = withCancel(background());
    const left = watch(map.getOrLoad("a", load, scope.ctx));
    await turn();
    scope.cancel();
    const next = watch(map.getOrLoad("a", load));
    await turn();
    begun[0]?.fail(new Error("late"));
    await turn();
    const joined = watch(map.getOrLoad("a", load));
    begun[1]?.open(2);
    await turn();
    expect([left.state, next.value, joined.value, map.get("a"), begun.length]).toEqual(["rejected", 2, 2, 2, 2]);
  });

  test("a done cancel rejects, loads nothing, and leaves a load in progress alone", async () => {
    const map = new ShardMap<string, number>([["there", 1]]);
    const { load, begun } = loads<string, number>();
    const scope = withCancel(background());
    scope.cancel();
    await expect(map.getOrLoad("a", load, scope.ctx)).rejects.toBe(scope.ctx.err());
    await expect(map.getOrLoad("there", load, AbortSignal.abort("why"))).rejects.toBe("why");
    expect(begun).toEqual([]);

    const call = watch(map.getOrLoad("a", load));
    await turn();
    await expect(map.getOrLoad("a", load, scope.ctx)).rejects.toBe(scope.ctx.err());
    expect([call.state, begun.length, begun[0]?.signal.aborted]).toEqual(["pending", 1, false]);
    begun[0]?.open(2);
    await turn();
    expect(call.value).toBe(2);
  });

  test("a cancel after the load is over changes nothing", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const scope = withCancel(background());
    const call = map.getOrLoad("a", load, scope.ctx);
    await turn();
    begun[0]?.open(7);
    expect(await call).toBe(7);
    scope.cancel();
    await turn();
    expect([map.get("a"), begun[0]?.signal.aborted]).toEqual([7, false]);
  });
});

describe("async context", () => {
  const tenant = new AsyncLocalStorage<string>();

  test("the loader runs in the first caller's, and each caller goes on in its own", async () => {
    const map = new ShardMap<string, string>();
    const load = async () => {
      await turn();
      return `${tenant.getStore()}`;
    };
    const ask = async () => `${await map.getOrLoad("a", load)} for ${tenant.getStore()}`;
    const calls = ["alice", "bob", "carol"].map((name) => tenant.run(name, ask));
    expect(await Promise.all(calls)).toEqual(["alice for alice", "alice for bob", "alice for carol"]);
  });

  test("abort listeners run in the loader's, not in that of the last caller to leave", async () => {
    const map = new ShardMap<string, string>();
    const scope = withCancel(background());
    const stopped: unknown[] = [];
    const load = (_: string, signal: AbortSignal) =>
      new Promise<string>((resolve) => {
        signal.onabort = () => {
          stopped.push(tenant.getStore());
          resolve("too late");
        };
      });
    const calls = ["alice", "bob"].map((name) => watch(tenant.run(name, () => map.getOrLoad("a", load, scope.ctx))));
    await turn();
    tenant.run("mallory", () => scope.cancel());
    await turn();
    expect([stopped, calls.map(({ state }) => state), map.size]).toEqual([["alice"], ["rejected", "rejected"], 0]);
  });
});

test("the loader is given 0 for -0, as the key will be", async () => {
  const map = new ShardMap<number, string>();
  const seen: number[] = [];
  await map.getOrLoad(-0, (key) => {
    seen.push(key);
    return "zero";
  });
  expect(seen).toEqual([0]);
});
