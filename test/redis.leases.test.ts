/** Leases as a process sees them: asking, being told, renewing, losing and releasing. */
import { background, cause, contextKey, withCancel, withTimeout, withValue } from "gopark/context";
import { prometheusText } from "gopark/metrics";
import { connect, Lease, type LinkOptions, LostError, Mutex, UnavailableError, Weighted } from "gopark/redis";
import { now } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { EPOCH } from "../src/internal/redis/scripts.ts";
import { takeProved } from "../src/internal/track/records.ts";
import { counters } from "../src/leak.ts";
import { FakeRedis, serverTime } from "./support/fakeredis.ts";
import { turn, turns } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const T0 = EPOCH + 50_000_000_000;

beforeEach(() => {
  vi.useFakeTimers({ now: T0 });
});

function made(options: LinkOptions = {}, lease = 3000) {
  const redis = new FakeRedis();
  const link = connect(redis, { subscriber: redis, timeout: 100, retry: 200, ...options });
  return { redis, link, sem: new Weighted(link, "depot", 3, { lease, name: "depot" }) };
}

/** A link whose clock is known, and that is subscribed. */
async function subscribed(options: LinkOptions = {}, lease = 3000) {
  const it = made(options, lease);
  it.redis.script = ({ name }) => (name === "acquire" ? [1, 5] : [1]);
  await (await it.sem.permit(background())).release();
  await turns(2);
  it.redis.script = undefined;
  it.redis.calls.length = 0;
  return it;
}

/** Lets the time of a call pass, and what it leads to happen. */
async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await turns(3);
}

/** Time passes, and no timer fires, as while the process is stopped. */
function stop(ms: number): void {
  const at = performance.now() + ms;
  vi.spyOn(performance, "now").mockReturnValue(at);
}

/** A lease of 3000 ms, granted now. */
async function held(it: Awaited<ReturnType<typeof subscribed>>, n = 1) {
  const granting = it.sem.permit(background(), n);
  await turn();
  it.redis.last("acquire").answer(1, 7);
  const lease = await granting;
  it.redis.calls.length = 0;
  return lease;
}

async function released(redis: FakeRedis, lease: Lease): Promise<boolean> {
  const releasing = lease.release();
  await turn();
  redis.last("release").answer(1);
  return await releasing;
}

const idOf = (redis: FakeRedis) => redis.calls.findLast(({ name }) => name === "acquire")?.args[0] as string;

describe("a request", () => {
  test("asks with its id, the size, the times, and the channel", async () => {
    const it = await subscribed();
    const granting = it.sem.permit(background(), 2);
    await turn();
    const call = it.redis.last("acquire");
    expect(call.keys).toEqual(
      ["leases", "waiters", "alive", "state"].map((part) => `{gopark:semaphore:depot}:${part}`),
    );
    expect(call.args).toEqual([`${it.link.id}:2`, "2", "3", "3000000", "3000000", `gopark:${it.link.id}`]);
    expect(it.redis.channel).toBe(`gopark:${it.link.id}`);
    expect([it.sem.waiting(), it.sem.held()]).toEqual([1, 0]);
    call.answer(1, 7);
    const lease = await granting;
    expect([lease.n, lease.valid(), it.sem.waiting(), it.sem.held(), it.sem.size()]).toEqual([2, true, 0, 2, 3]);
    expect(prometheusText()).toContain('gopark_semaphore_held{name="depot"} 2\n');
    expect(await released(it.redis, lease)).toBe(true);
    expect(it.sem.held()).toBe(0);
  });

  test("that waits is told by a message, and its lease ends when the server says, or a lease from now", async () => {
    for (const [left, expected] of [
      [2000, 2000],
      [99_999, 3000],
    ] as const) {
      const it = await subscribed();
      const granting = watch(it.sem.permit(background()));
      await turn();
      it.redis.last("acquire").answer(0, -1);
      await turn();
      it.redis.tell("another", 1, 1000);
      it.redis.tell(idOf(it.redis), 1, 1000, "another channel");
      it.redis.tell(idOf(it.redis), 9, -1);
      await turn();
      expect(granting.state).toBe("pending");
      it.redis.tell(idOf(it.redis), 9, left);
      await turn();
      const lease = granting.value as Lease;
      expect(lease.valid()).toBe(true);
      vi.advanceTimersByTime(expected - 1);
      expect(lease.valid()).toBe(true);
      vi.advanceTimersByTime(1);
      expect(lease.valid()).toBe(false);
      await turns(2);
      it.redis.script = () => [0];
      expect(await lease.release()).toBe(false);
    }
  });

  test("that is told after the server's clock was set forward or back: its lease ends by the new clock", async () => {
    for (const shift of [3_600_000, -3_600_000]) {
      const it = await subscribed();
      const granting = watch(it.sem.permit(background()));
      await turn();
      it.redis.last("acquire").answerWith([serverTime() + shift * 1000, 0, -1]);
      await turn();
      it.redis.tell(idOf(it.redis), 9, shift + 500);
      await turn();
      const lease = granting.value as Lease;
      vi.advanceTimersByTime(499);
      expect([shift, lease.valid()]).toEqual([shift, true]);
      vi.advanceTimersByTime(1);
      expect([shift, lease.valid()]).toEqual([shift, false]);
      await turns(2);
    }
  });

  test("whose call is executed after its lease was released, as by a pool: what that made is given back", async () => {
    const it = await subscribed();
    for (const answer of [
      [1, 10],
      [0, -1],
    ]) {
      it.redis.calls.length = 0;
      const granting = watch(it.sem.permit(background()));
      await turn();
      const asked = it.redis.last("acquire");
      it.redis.tell(idOf(it.redis), 9, 1000);
      await turn();
      expect(await released(it.redis, granting.value as Lease)).toBe(true);
      asked.answer(...answer);
      await turns(2);
      expect([it.redis.names(), it.redis.calls[2]?.args]).toEqual([
        ["acquire", "release", "release"],
        asked.args.slice(0, 1),
      ]);
      it.redis.last("release").answer(1);
      await turn();
    }
    // While the lease is held, it is that which the call has renewed.
    const granting = watch(it.sem.permit(background()));
    await turn();
    const asked = it.redis.last("acquire");
    it.redis.tell(idOf(it.redis), 9, 1000);
    await turn();
    asked.answer(1, 9);
    await turns(2);
    expect(it.redis.last("acquire")).toBe(asked);
    expect(await released(it.redis, granting.value as Lease)).toBe(true);
  });

  test("that waits asks in a third of its time, or when the next lease expires if it is the first", async () => {
    const it = await subscribed();
    const granting = watch(it.sem.permit(background()));
    await turn();
    it.redis.last("acquire").answer(0, -1);
    await pass(999);
    expect(it.redis.calls).toHaveLength(1);
    await pass(1);
    expect(it.redis.calls).toHaveLength(2);
    expect(it.redis.calls[1]?.args).toEqual(it.redis.calls[0]?.args);
    it.redis.last("acquire").answer(0, 400_000);
    await pass(400);
    expect(it.redis.calls).toHaveLength(2);
    await pass(1);
    expect(it.redis.calls).toHaveLength(3);
    it.redis.last("acquire").answer(1, 3);
    await turn();
    await released(it.redis, granting.value as Lease);
  });

  test("that waits asks each 10 seconds at the latest, however long a lease lasts", async () => {
    const it = await subscribed({}, 3_600_000);
    const { ctx, cancel } = withCancel(background());
    const waiting = watch(it.sem.permit(ctx));
    await turn();
    it.redis.script = ({ name }) => (name === "acquire" ? [0, 3_000_000_000] : [0]);
    it.redis.last("acquire").answer(0, 3_000_000_000);
    await pass(9999);
    expect(it.redis.calls).toHaveLength(1);
    await pass(1);
    expect(it.redis.calls).toHaveLength(2);
    cancel();
    await turns(2);
    expect(waiting.state).toBe("rejected");
  });

  test("before the subscription is there it asks more often, and at once when that has begun", async () => {
    let begun!: () => void;
    const it = made();
    it.redis.subscription = new Promise<void>((resolve) => {
      begun = resolve;
    });
    it.redis.script = () => [0, -1];
    const granting = watch(it.sem.permit(background()));
    await turns(2);
    const calls = it.redis.calls.length;
    await pass(199);
    expect(it.redis.calls).toHaveLength(calls);
    await pass(1);
    expect(it.redis.calls).toHaveLength(calls + 1);
    begun();
    await turns(2);
    expect(it.redis.calls).toHaveLength(calls + 2);
    await pass(999);
    expect(it.redis.calls).toHaveLength(calls + 2);
    it.redis.script = () => [1, 3];
    await pass(1);
    it.redis.script = () => [1];
    expect(await (granting.value as Lease).release()).toBe(true);
  });

  test("a subscription that fails is tried again by a later request", async () => {
    const it = made();
    it.redis.subscription = Promise.reject(new Error("refused"));
    it.redis.subscription.catch(() => {});
    it.redis.script = () => [0, -1];
    const { ctx, cancel } = withCancel(background());
    const waiting = watch(it.sem.permit(ctx));
    await turns(3);
    expect(it.redis.channel).toBe("");
    expect(it.redis.listeners).toBe(0);
    it.redis.subscription = Promise.resolve();
    await pass(200);
    expect(it.redis.channel).not.toBe("");
    expect(it.redis.listeners).toBe(1);
    cancel();
    await turns(2);
    expect(waiting.state).toBe("rejected");
  });

  test("without a subscriber it has no place, asks after pauses that grow, and tells nothing when it leaves", async () => {
    const redis = new FakeRedis();
    const sem = new Weighted(connect(redis, { timeout: 100 }), "depot", 1, { lease: 3000 });
    redis.script = () => [0, 50_000];
    const { ctx, cancel } = withCancel(background());
    const waiting = watch(sem.permit(ctx));
    await turns(2);
    expect(redis.last("acquire").args[5]).toBe("");
    const times: number[] = [];
    for (let ms = 0; ms < 2000; ms++) {
      const before = redis.calls.length;
      await pass(1);
      if (redis.calls.length > before) times.push(now() - T0);
    }
    const pauses = times.slice(1).map((t, i) => t - (times[i] as number));
    expect(Math.max(...pauses)).toBeLessThanOrEqual(257);
    expect(Math.min(...pauses.slice(5))).toBeGreaterThanOrEqual(128);
    expect(times.length).toBeGreaterThan(8);
    cancel();
    await turns(2);
    expect([waiting.state, redis.names().includes("release")]).toEqual(["rejected", false]);
  });

  test("a first call without an answer: it rejects, and what may have been granted is given back", async () => {
    const it = await subscribed();
    const granting = watch(it.sem.permit(background()));
    await turn();
    const call = it.redis.last("acquire");
    const at = serverTime();
    await pass(100);
    expect(String(granting.reason)).toBe("UnavailableError: redis: no answer within 100 ms");
    expect(it.sem.waiting()).toBe(0);
    // Even a silent link tells that nobody wants it, and again when it learns that it was granted.
    expect(it.redis.names()).toEqual(["acquire", "release"]);
    it.redis.last("release").answer(0);
    call.answerWith([at, 1, 3]);
    await turns(2);
    expect(it.redis.names()).toEqual(["acquire", "release", "release"]);
    for (const { name, args } of it.redis.calls.slice(1)) expect([name, args]).toEqual(["release", [call.args[0]]]);
    it.redis.last("release").answer(1);
    await turn();
  });

  test("a connection that is cut at the first call: it asks again with its id for as long as a call may take", async () => {
    const it = await subscribed();
    const granting = watch(it.sem.permit(background()));
    await turn();
    const id = idOf(it.redis);
    it.redis.last("acquire").fail(new Error("cut"));
    await pass(20);
    expect(it.redis.names()).toEqual(["acquire", "acquire"]);
    expect(idOf(it.redis)).toBe(id);
    it.redis.last("acquire").answer(1, 4);
    await turn();
    await released(it.redis, granting.value as Lease);
    it.redis.calls.length = 0;

    it.redis.script = ({ name }) => {
      if (name === "acquire") throw new Error("cut");
      return [0];
    };
    const failing = watch(it.sem.permit(background()));
    await turns(2);
    await pass(99);
    expect(failing.state).toBe("pending");
    await pass(2);
    expect(String(failing.reason)).toBe("UnavailableError: redis: cut");
    expect(it.redis.last("release").args).toEqual([idOf(it.redis)]);
  });

  test("a waiter bears a server that is silent for as long as its place lasts", async () => {
    const it = await subscribed();
    const granting = watch(it.sem.permit(background()));
    await turn();
    it.redis.last("acquire").answer(0, -1);
    await pass(2990);
    expect([granting.state, it.link.available()]).toEqual(["pending", false]);
    await pass(210);
    expect(granting.reason).toBeInstanceOf(UnavailableError);

    // And goes on when it answers before that.
    await pass(1000);
    it.redis.script = ({ name }) => (name === "acquire" ? [0, -1] : [0]);
    const other = watch(it.sem.permit(background()));
    await turns(2);
    it.redis.script = undefined;
    await pass(1500);
    it.redis.script = ({ name }) => (name === "acquire" ? [1, 8] : [1]);
    await pass(1000);
    expect(other.state).toBe("fulfilled");
    expect(await (other.value as Lease).release()).toBe(true);
  });

  test("a link that is silent refuses the first call at once", async () => {
    const it = await subscribed();
    void it.sem.tryPermit().catch(() => {});
    await pass(100);
    await pass(100);
    it.redis.calls.length = 0;
    const granting = watch(it.sem.permit(background()));
    await turns(2);
    expect([granting.state, it.redis.names()]).toEqual(["rejected", []]);
    expect(String(granting.reason)).toContain("not asked");
  });

  test("is cancelled at once: before its call is sent, while it is out, and while it waits", async () => {
    const it = await subscribed();
    const scopes = [1, 2, 3, 4].map(() => withCancel(background()));
    const all = scopes.map(({ ctx }) => watch(it.sem.permit(ctx)));
    scopes[0]?.cancel();
    await turn();
    expect(it.redis.names()).toEqual(Array(3).fill("acquire"));
    const [granted, queued, waiting] = it.redis.calls;
    waiting?.answer(0, -1);
    await turn();
    for (const { cancel } of scopes) cancel();
    await turn();
    expect(all.map(({ reason }) => String(reason))).toEqual(Array(4).fill("AbortError: context canceled"));
    await turn();
    // The one whose call is not out is given up at once, the others when they are answered.
    expect(it.redis.names().slice(3)).toEqual(["release"]);
    granted?.answer(1, 3);
    queued?.answer(0, -1);
    await turns(2);
    expect(it.redis.calls.slice(3).map(({ name, args }) => [name, ...args])).toEqual([
      ["release", waiting?.args[0]],
      ["release", granted?.args[0]],
      ["release", queued?.args[0]],
    ]);
    for (const call of it.redis.calls.slice(3)) {
      expect(call.notAfter).toBeGreaterThan(1e299);
      call.answer(0);
    }
    await turn();
    expect([it.sem.held(), it.sem.waiting()]).toEqual([0, 0]);
    await expect(it.sem.permit(scopes[0]?.ctx)).rejects.toThrow("context canceled");
    const { ctx, cancel } = withTimeout(background(), 0);
    await expect(it.sem.permit(ctx)).rejects.toThrow("context deadline exceeded");
    cancel();
  });

  test("is cancelled while it is about to ask again: the server is told", async () => {
    const it = await subscribed();
    const { ctx, cancel } = withCancel(background());
    const waiting = watch(it.sem.permit(ctx));
    await turn();
    it.redis.last("acquire").answer(0, -1);
    await turn();
    vi.advanceTimersByTime(1000);
    cancel();
    await turns(3);
    expect([waiting.state, it.redis.names()]).toEqual(["rejected", ["acquire", "release"]]);
    it.redis.last("release").answer(0);
    await turn();
  });

  test("told and answered: one lease, whichever comes first", async () => {
    const it = await subscribed();
    const granting = watch(it.sem.permit(background()));
    await turn();
    it.redis.last("acquire").answer(0, -1);
    await pass(1000);
    it.redis.tell(idOf(it.redis), 9, 3000);
    await turn();
    it.redis.last("acquire").answer(1, 9);
    await turns(2);
    expect([granting.state, it.sem.held(), it.redis.names()]).toEqual(["fulfilled", 1, ["acquire", "acquire"]]);
    it.redis.tell(idOf(it.redis), 9, 3000);
    await turn();
    await released(it.redis, granting.value as Lease);
    expect(it.sem.held()).toBe(0);
  });

  test("tryPermit: undefined if there is none, with no place; an error if Redis cannot be asked", async () => {
    const it = await subscribed();
    it.redis.script = () => [0, -1];
    expect(await it.sem.tryPermit(2)).toBeUndefined();
    expect(it.redis.last("acquire").args.slice(1)).toEqual(["2", "3", "3000000", "3000000", ""]);
    it.redis.script = ({ name }) => {
      if (name === "acquire") throw new Error("cut");
      return [1];
    };
    await expect(it.sem.tryPermit()).rejects.toThrow("redis: cut");
    await turn();
    expect(it.redis.last("release").args).toEqual([idOf(it.redis)]);
  });
});

describe("a lease", () => {
  test("is renewed three times in its length, and ends a lease after the call that renewed it was sent", async () => {
    const it = await subscribed();
    const lease = await held(it, 2);
    await pass(999);
    expect(it.redis.calls).toEqual([]);
    await pass(1);
    expect(it.redis.last("renew").args).toEqual([`${it.link.id}:2`, "3000000"]);
    expect(it.redis.last("renew").notAfter).toBe(serverTime() + 100_000);
    await vi.advanceTimersByTimeAsync(50);
    it.redis.last("renew").answer(1);
    await turn();
    // Sent at 1000, answered at 1050: again at 2000, and until 4000.
    await pass(949);
    expect(it.redis.names()).toEqual(["renew"]);
    await pass(1);
    expect(it.redis.names()).toEqual(["renew", "renew"]);
    it.redis.script = () => {
      throw new Error("cut");
    };
    await vi.advanceTimersByTimeAsync(1999);
    expect(lease.valid()).toBe(true);
    await vi.advanceTimersByTimeAsync(1);
    expect(lease.valid()).toBe(false);
    await turns(2);
    expect(String(cause(lease.ctx))).toBe("LostError: redis: the lease could not be renewed in time");
    expect(cause(lease.ctx)).toBeInstanceOf(LostError);
    expect([await lease.release(), it.sem.held()]).toEqual([false, 0]);
  });

  test("is tried to be renewed again and again after a failure", async () => {
    const it = await subscribed();
    const lease = await held(it);
    it.redis.script = () => {
      throw new Error("cut");
    };
    await pass(1650);
    expect(it.redis.calls.length).toBeGreaterThanOrEqual(3);
    it.redis.script = () => [1];
    await pass(200);
    it.redis.script = undefined;
    const renewals = it.redis.calls.length;
    await pass(900);
    expect([it.redis.calls.length, lease.valid()]).toEqual([renewals, true]);
    it.redis.script = () => [1];
    expect(await lease.release()).toBe(true);
  });

  test("that the server does not know any more is lost at once", async () => {
    const it = await subscribed();
    const lease = await held(it);
    it.redis.script = () => [0];
    await pass(1000);
    expect(String(cause(lease.ctx))).toBe("LostError: redis: the lease is not known to the server any more");
    expect([lease.valid(), await lease.release(), it.sem.held()]).toEqual([false, false, 0]);
  });

  test("of a process that was stopped past it is not valid, before any timer", async () => {
    const it = await subscribed();
    const lease = await held(it);
    stop(100_000);
    expect([lease.valid(), lease.ctx.err()]).toEqual([false, undefined]);
    const releasing = lease.release();
    await turn();
    it.redis.last("release").answer(0);
    expect(await releasing).toBe(false);
  });

  test("releases once; the second release resolves to the same, and `await using` does it", async () => {
    const it = await subscribed();
    const lease = await held(it);
    const [a, b] = [lease.release(), lease.release()];
    expect(String(lease.ctx.err())).toBe("AbortError: context canceled");
    expect([lease.valid(), it.sem.held()]).toEqual([false, 0]);
    await turn();
    expect(it.redis.names()).toEqual(["release"]);
    it.redis.last("release").answer(1);
    expect([await a, await b, await lease.release()]).toEqual([true, true, true]);
    it.redis.script = ({ name }) => (name === "acquire" ? [1, 9] : [1]);
    {
      await using again = await it.sem.permit(background());
      expect(again).toBeInstanceOf(Lease);
    }
    expect([it.redis.names().at(-1), it.sem.held()]).toEqual(["release", 0]);
  });

  test("releases without Redis by its own clock, and tells the server later, until the lease has ended", async () => {
    const it = await subscribed();
    const lease = await held(it);
    it.redis.script = () => {
      throw new Error("cut");
    };
    expect(await lease.release()).toBe(true);
    await pass(650);
    expect(it.redis.names()).toEqual(Array(4).fill("release"));
    it.redis.script = () => [1];
    await pass(200);
    await pass(5000);
    expect(it.redis.names()).toEqual(Array(5).fill("release"));

    it.redis.calls.length = 0;
    it.redis.script = undefined;
    const late = await held(it);
    it.redis.script = () => {
      throw new Error("cut");
    };
    stop(3001);
    expect(await late.release()).toBe(false);
    const calls = it.redis.calls.length;
    await pass(5000);
    expect(it.redis.calls).toHaveLength(calls);
  });

  test("that is released while the link is silent is told to the server once the link is not", async () => {
    const it = await subscribed();
    const lease = await held(it);
    const releasing = watch(lease.release());
    await pass(100);
    expect([releasing.value, it.link.available(), it.redis.names()]).toEqual([true, false, ["release"]]);
    await pass(900);
    expect(it.redis.names()).toEqual(["release"]);
    it.redis.script = () => [0, -1];
    expect(await it.sem.tryPermit()).toBeUndefined();
    await pass(200);
    expect(it.redis.names()).toEqual(["release", "acquire", "release"]);
  });

  test("its context has the values of the caller's, and does not end with that", async () => {
    const it = await subscribed();
    const key = contextKey<string>("trace");
    const { ctx, cancel } = withCancel(withValue(background(), key, "abc"));
    it.redis.script = () => [1, 3];
    const lease = await it.sem.permit(ctx);
    cancel();
    expect([lease.ctx.value(key), lease.ctx.err()]).toEqual(["abc", undefined]);
    await lease.release();
    expect(lease.ctx.err()?.name).toBe("AbortError");
  });

  test("that is dropped without being released is proved to be leaked, and is not renewed any more", async () => {
    const it = await subscribed();
    await (async () => {
      await held(it, 2);
    })();
    const counted = () => counters()["redis semaphore unit"];
    expect(counted()).toBe(2);
    expect(await collectUntil(() => counted() === 0)).toBe(true);
    const proved: unknown[] = [];
    takeProved(({ kind, units }) => proved.push([kind.name, units]) > 0);
    expect(proved).toEqual([["redis semaphore unit", 2]]);
    await pass(10_000);
    expect([it.redis.calls, it.sem.held(), counted()]).toEqual([[], 0, 0]);
  });

  test("a lock has the fence that the server gave it", async () => {
    const it = await subscribed();
    const lock = new Mutex(it.link, "door", { lease: 3000 });
    const locking = lock.lock();
    await turn();
    expect(it.redis.last("acquire").key).toBe("{gopark:mutex:door}:leases");
    it.redis.last("acquire").answer(1, 60_000_000_000_001);
    const lease = await locking;
    expect([lease.fence, lease.n]).toEqual([60_000_000_000_001, 1]);
    await released(it.redis, lease);
    const waiting = lock.lock();
    await turn();
    it.redis.last("acquire").answer(0, -1);
    await turn();
    it.redis.tell(idOf(it.redis), 60_000_000_000_007, 3000);
    expect((await waiting).fence).toBe(60_000_000_000_007);
    await released(it.redis, await waiting);
    it.redis.script = () => [0, -1];
    expect(await lock.tryLock()).toBeUndefined();
  });
});

describe("withPermit and withLock", () => {
  test("call the function with a context that ends with either, and release however it ends", async () => {
    const it = await subscribed();
    it.redis.script = ({ name }) => (name === "acquire" ? [1, 9] : [1]);
    const { ctx, cancel } = withCancel(background());
    const result = it.sem.withPermit(ctx, 2, async (inner, lease) => {
      expect([lease.n, it.sem.held(), inner.err()]).toEqual([2, 2, undefined]);
      cancel();
      expect([String(inner.err()), lease.valid()]).toEqual(["AbortError: context canceled", true]);
      return "done";
    });
    expect(await result).toBe("done");
    expect(it.sem.held()).toBe(0);
    const failing = it.sem.withPermit(background(), () => Promise.reject(new Error("mine")));
    await expect(failing).rejects.toThrow("mine");
    const thrown = it.sem.withPermit(background(), () => {
      throw new Error("thrown");
    });
    await expect(thrown).rejects.toThrow("thrown");
    const generator = it.sem.withPermit(background(), function* () {
      yield 1;
    });
    await expect(generator).rejects.toThrow("withPermit: fn must not be a generator function");
    const lock = new Mutex(it.link, "door", { lease: 3000 });
    expect(await lock.withLock(background(), (_, { fence }) => fence)).toBe(9);
    expect([it.sem.held(), it.redis.names().filter((name) => name === "release").length]).toEqual([0, 5]);
  });

  test("the lease is lost meanwhile: the context says so, and the result does not count", async () => {
    const it = await subscribed();
    it.redis.script = ({ name }) => (name === "acquire" ? [1, 9] : [0]);
    let reason: unknown;
    const result = it.sem.withPermit(background(), async (ctx) => {
      await pass(1000);
      reason = cause(ctx);
      return "done";
    });
    await expect(result).rejects.toThrow("redis: the lease was lost before the function had ended");
    expect(reason).toBeInstanceOf(LostError);
    const failing = it.sem.withPermit(background(), async (ctx) => {
      await pass(1000);
      throw ctx.err();
    });
    await expect(failing).rejects.toThrow("context canceled");
  });
});

describe("close", () => {
  test("gives back what is held, ends what waits, unsubscribes, and waits for the answers", async () => {
    const it = await subscribed();
    const lease = await held(it);
    const waiting = watch(it.sem.permit(background()));
    await turn();
    it.redis.last("acquire").answer(0, -1);
    await turn();
    it.redis.calls.length = 0;
    const closing = watch(it.link.close());
    await turns(2);
    expect([String(waiting.reason), lease.valid(), closing.state]).toEqual([
      "TypeError: the link is closed",
      false,
      "pending",
    ]);
    expect(String(cause(lease.ctx))).toBe("LostError: redis: the lease was given back, as its link was closed");
    expect(it.redis.names()).toEqual(["release", "release"]);
    for (const call of it.redis.calls) call.answer(1);
    await turns(2);
    expect([closing.state, it.redis.unsubscribed, await lease.release()]).toEqual([
      "fulfilled",
      it.redis.channel,
      false,
    ]);
    expect(it.redis.listeners).toBe(0);
    await pass(10_000);
    expect(it.redis.calls).toHaveLength(2);
  });

  test("does not wait for a server that does not answer, and asks no more", async () => {
    const it = await subscribed();
    const lease = await held(it);
    const closing = watch(it.link.close());
    await pass(99);
    expect(closing.state).toBe("pending");
    await pass(1);
    expect([closing.state, lease.valid()]).toEqual(["fulfilled", false]);
    it.redis.script = () => [1];
    await pass(10_000);
    expect(it.redis.names()).toEqual(["release"]);
  });

  test("a request that is granted meanwhile: waits until that has been given back, too", async () => {
    const it = await subscribed();
    const waiting = watch(it.sem.permit(background()));
    await turn();
    const asked = it.redis.last("acquire");
    const closing = watch(it.link.close());
    await turns(2);
    expect([waiting.state, closing.state]).toEqual(["rejected", "pending"]);
    asked.answer(1, 9);
    await turns(2);
    expect(closing.state).toBe("pending");
    it.redis.last("release").answer(1);
    await turns(2);
    expect(closing.state).toBe("fulfilled");
  });

  test("a subscription that begins afterwards is taken back", async () => {
    let begun!: () => void;
    const it = made();
    it.redis.subscription = new Promise<void>((resolve) => {
      begun = resolve;
    });
    it.redis.script = ({ name }) => (name === "acquire" ? [1, 9] : [1]);
    await (await it.sem.permit(background())).release();
    await it.link.close();
    expect(it.redis.unsubscribed).toBe("");
    begun();
    await turns(2);
    expect([it.redis.unsubscribed, it.redis.listeners]).toEqual([it.redis.channel, 0]);
  });
});
