/** The link: when calls are sent, how each settles, and what a silent server changes. */
import { AsyncLocalStorage } from "node:async_hooks";
import { background, withCancel, withTimeout } from "gopark/context";
import { prometheusText } from "gopark/metrics";
import { KeyedLimiter, Limiter as LocalLimiter } from "gopark/rate";
import { connect, Limiter, type LinkOptions, UnavailableError, Weighted } from "gopark/redis";
import { now } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { EPOCH, Script } from "../src/internal/redis/scripts.ts";
import { FakeRedis, serverTime } from "./support/fakeredis.ts";
import { turn, turns } from "./support/turn.ts";
import { collectUntil, unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const T0 = EPOCH + 50_000_000_000.5;

beforeEach(() => {
  vi.useFakeTimers({ now: T0 });
});

function made(options: LinkOptions = {}) {
  const redis = new FakeRedis();
  const link = connect(redis, options);
  return { redis, link, limiter: new Limiter(link, "stock", 10, 5) };
}

/** A link that knows the server's clock. */
async function known(options: LinkOptions = {}) {
  const it = made(options);
  it.redis.script = () => [0];
  expect(await it.limiter.allow()).toBe(true);
  it.redis.script = undefined;
  it.redis.calls.length = 0;
  return it;
}

describe("a call", () => {
  test("the first asks for the clock: it is refused as too late, and sent again", async () => {
    const { redis, limiter, link } = made();
    const allowed = watch(limiter.allow());
    await turns(2);
    expect(redis.calls.map(({ name, notAfter }) => [name, notAfter < -1e299])).toEqual([
      ["take", true],
      ["take", false],
    ]);
    expect(redis.calls[1]?.notAfter).toBe(serverTime() + 250_000);
    redis.last("take").answer(0);
    await turn();
    expect(allowed.value).toBe(true);
    expect([link.calls(), link.failures()]).toEqual([2, 0]);
  });

  test("is sent in the next macrotask, with the hash, and with the text where the server does not know that", async () => {
    const { redis, limiter } = await known();
    const allowed = watch(limiter.allow(2));
    await Promise.resolve();
    expect(redis.calls).toEqual([]);
    await turn();
    expect(redis.last("take")).toMatchObject({
      by: "hash",
      keys: ["{gopark:rate:stock}"],
      args: ["10", "5", "2", "0"],
    });
    redis.last("take").fail(new Error("NOSCRIPT No matching script."));
    await turn();
    expect(redis.calls.map(({ by }) => by)).toEqual(["hash", "text"]);
    redis.last("take").answer(-1);
    await turn();
    expect(allowed.value).toBe(false);
  });

  test("runs in no async context of a caller, and its answer resumes the caller in its own", async () => {
    const { redis, limiter } = await known();
    const store = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    redis.script = () => {
      seen.push(store.getStore());
      return [0];
    };
    await store.run("request", async () => {
      await limiter.allow();
      seen.push(store.getStore());
    });
    expect(seen).toEqual([undefined, "request"]);
  });

  test("calls of one turn for one key and rate are one; each gets its own answer, in order", async () => {
    const { redis, link, limiter } = await known();
    const same = new Limiter(link, "stock", 10, 5);
    const asked = [limiter.allow(1), limiter.allow(2), same.allow(3)].map(watch);
    const others = [
      limiter.at("a").allow(),
      new Limiter(link, "stock", 20, 5).allow(),
      new Limiter(link, "stock", 10, 6).allow(),
    ].map(watch);
    await turn();
    expect(redis.calls.map(({ args }) => args)).toEqual([
      ["10", "5", "1", "0", "2", "0", "3", "0"],
      ["10", "5", "1", "0"],
      ["20", "5", "1", "0"],
      ["10", "6", "1", "0"],
    ]);
    expect(redis.calls[1]?.key).toBe("{gopark:rates:5:stock:a}");
    redis.calls[0]?.answer(0, -1, 7);
    await turn();
    expect(asked.map(({ value }) => value)).toEqual([true, false, true]);
    for (const call of redis.calls.slice(1)) call.answer(0);
    await turn();
    expect(others.map(({ value }) => value)).toEqual([true, true, true]);
  });

  test("257 requests are two calls", async () => {
    const { redis, limiter } = await known();
    const asked = Promise.all(Array.from({ length: 257 }, () => limiter.allow()));
    await turn();
    expect(redis.calls.map(({ args }) => args.length)).toEqual([2 + 512, 4]);
    redis.calls[0]?.answer(...Array<number>(256).fill(0));
    redis.calls[1]?.answer(-1);
    expect((await asked).filter(Boolean)).toHaveLength(256);
  });

  test("without an answer settles after `timeout`, not a millisecond earlier", async () => {
    const { redis, limiter, link } = await known({ timeout: 100 });
    const calls = [limiter.allow(), limiter.reserve(), limiter.wait(background())].map(watch);
    await turn();
    expect(redis.calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(99);
    await turn();
    expect(calls.map(({ state }) => state)).toEqual(Array(3).fill("pending"));
    expect(link.available()).toBe(true);
    await vi.advanceTimersByTimeAsync(1);
    await turn();
    expect(calls.map(({ reason }) => String(reason))).toEqual(
      Array(3).fill("UnavailableError: redis: no answer within 100 ms"),
    );
    expect([link.available(), link.failures()]).toEqual([false, 1]);
  });

  test("an answer that waits to be read when the timer comes, as after a long block, counts", async () => {
    const { redis, limiter, link } = await known({ timeout: 100 });
    const allowed = watch(limiter.allow());
    await turn();
    vi.advanceTimersByTime(5000); // The timer has fired, and I/O comes after it.
    redis.last("take").answerWith([serverTime(), 0]);
    await turns(2);
    expect([allowed.value, link.available()]).toEqual([true, true]);
  });

  test("that was executed in time and answered late: what it took is given back, though the link is silent", async () => {
    const { redis, limiter, link } = await known({ timeout: 100 });
    const calls = [limiter.allow(2), limiter.reserve(1), limiter.allow(1)].map(watch);
    await turn();
    const call = redis.last("take");
    const at = serverTime();
    await vi.advanceTimersByTimeAsync(100);
    await turn();
    expect(calls.every(({ reason }) => reason instanceof UnavailableError)).toBe(true);
    call.answerWith([at, 0, 50_000_000, -1]);
    await turns(2);
    expect(link.available()).toBe(false);
    expect(redis.calls.slice(1).map(({ name, args }) => [name, ...args])).toEqual([
      ["giveBack", "10", "5", "2", String(at), "0", "1"],
      ["giveBack", "10", "5", "1", String(at), "50000000", "1"],
    ]);
    for (const it of redis.calls.slice(1)) it.answer(1);
    await turn();
    expect(link.available()).toBe(true);
  });

  test("that is executed too late takes nothing, and nothing is given back", async () => {
    const { redis, limiter } = await known({ timeout: 100 });
    const allowed = watch(limiter.allow());
    await turn();
    const call = redis.last("take");
    await vi.advanceTimersByTimeAsync(101);
    await turn();
    call.answer(0);
    await turns(2);
    expect(allowed.reason).toBeInstanceOf(UnavailableError);
    expect(redis.names()).toEqual(["take"]);
  });

  test("a server's clock that is set forward costs one more round trip, one that is set back none", async () => {
    const { redis, limiter, link } = await known();
    const hour = 3_600_000_000;
    const allowed = watch(limiter.allow());
    await turn();
    redis.last("take").answerWith([serverTime() + hour]); // By its clock it is too late.
    await turn();
    expect(redis.last("take").notAfter).toBe(serverTime() + hour + 250_000);
    redis.last("take").answerWith([serverTime() + hour, 0]);
    await turn();
    expect(allowed.value).toBe(true);
    const next = watch(limiter.allow());
    await turn();
    redis.last("take").answerWith([serverTime() - hour, 0]);
    await turn();
    expect([next.value, link.calls()]).toEqual([true, 5]);
    void limiter.allow().catch(() => {});
    await turn();
    expect(redis.last("take").notAfter).toBe(serverTime() - hour + 250_000);
    redis.last("take").answerWith([serverTime() - hour, 0]);
    await turn();
  });
});

describe("errors", () => {
  test.each([
    [new Error("WRONGTYPE Operation"), "redis: WRONGTYPE Operation"],
    ["closed", "redis: closed"],
    [undefined, "redis: undefined"],
  ])(
    "the client rejects with %s: UnavailableError with that cause, and the link is not silent",
    async (cause, message) => {
      const { redis, limiter, link } = await known();
      const allowed = watch(limiter.allow());
      await turn();
      redis.last("take").fail(cause);
      await turn();
      const error = allowed.reason as UnavailableError;
      expect([error.name, error.message, error.cause]).toEqual(["UnavailableError", message, cause]);
      expect([link.available(), link.failures()]).toEqual([true, 1]);
    },
  );

  test("the client throws: the same", async () => {
    const link = connect({
      evalsha() {
        throw new Error("not connected");
      },
      eval: async () => [],
    });
    await expect(new Limiter(link, "k", 1, 1).allow()).rejects.toThrow("redis: not connected");
  });

  test.each([[null], ["OK"], [[]], [["x"]], [[1, Number.NaN]], [[1, null]], [[1, ""]], [{}]])(
    "an answer of another kind, %j, is one too",
    async (reply) => {
      const { redis, limiter } = await known();
      const allowed = watch(limiter.allow());
      await turn();
      redis.last("take").answerWith(reply);
      await turn();
      expect(String(allowed.reason)).toBe("UnavailableError: redis: the client's answer is not that of the script");
    },
  );

  test("numbers may come as text, as with ioredis' stringNumbers", async () => {
    const { redis, limiter } = await known();
    const allowed = limiter.allow();
    await turn();
    redis.last("take").answerWith([String(serverTime()), "0"]);
    expect(await allowed).toBe(true);
  });
});

describe("a silent link", () => {
  async function silent(options: LinkOptions = {}) {
    const it = await known({ timeout: 100, retry: 300, ...options });
    const first = watch(it.limiter.allow());
    await turn();
    await vi.advanceTimersByTimeAsync(100);
    await turn();
    expect(first.state).toBe("rejected");
    it.redis.calls.length = 0;
    return it;
  }

  test("sends one call in each `retry`, and the others fail at once; an answer in time ends it", async () => {
    const { redis, limiter, link } = await silent();
    const message = "UnavailableError: redis: not asked, as a call before had no answer within 100 ms";
    const refused = [limiter.allow(), limiter.wait(background())].map(watch);
    await turn();
    expect([redis.calls.length, ...refused.map(({ reason }) => String(reason))]).toEqual([0, message, message]);

    await vi.advanceTimersByTimeAsync(299);
    const early = watch(limiter.allow());
    await turn();
    expect([redis.calls.length, early.state]).toEqual([0, "rejected"]);

    await vi.advanceTimersByTimeAsync(1);
    const probe = watch(limiter.allow());
    await turn();
    const other = watch(limiter.at("other").allow());
    await turn();
    expect([redis.calls.length, probe.state, String(other.reason)]).toEqual([1, "pending", message]);
    await vi.advanceTimersByTimeAsync(100);
    await turn();
    expect(probe.state).toBe("rejected");

    await vi.advanceTimersByTimeAsync(199);
    expect(await limiter.allow().catch((error) => String(error))).toBe(message);
    await vi.advanceTimersByTimeAsync(1);
    const next = watch(limiter.allow());
    await turn();
    redis.last("take").answer(0);
    await turn();
    expect([next.value, link.available()]).toEqual([true, true]);
    redis.script = () => [0, 0];
    expect(await Promise.all([limiter.allow(), limiter.allow()])).toEqual([true, true]);
  });

  test("an answer that comes too late does not end it", async () => {
    const { redis, limiter, link } = await silent();
    await vi.advanceTimersByTimeAsync(300);
    const probe = watch(limiter.allow());
    await turn();
    const call = redis.last("take");
    await vi.advanceTimersByTimeAsync(100);
    await turn();
    call.answerWith([serverTime(), -1]);
    await turn();
    expect([probe.state, link.available()]).toEqual(["rejected", false]);
  });

  test("shows in the metrics, by its name", async () => {
    const { link } = await silent({ name: "limits" });
    const text = prometheusText();
    expect(text).toContain('gopark_redis_up{name="limits"} 0\n');
    expect(link.available()).toBe(false);
    expect(text).toContain(`gopark_redis_calls_total{name="limits"} ${link.calls()}\n`);
    expect(text).toContain(`gopark_redis_failures_total{name="limits"} ${link.failures()}\n`);
    expect([link.calls() > 0, link.failures() > 0]).toEqual([true, true]);
  });

  test("what its counters have counted stays when it is gone, and is added to", async () => {
    const text = () => prometheusText().match(/gopark_redis_\w+_total\{name="again"\} \d+/g);
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const alone = async () => {
      const redis = new FakeRedis();
      redis.script = () => [0];
      const link = connect(redis, { name: "again" });
      expect(await new Limiter(link, "stock", 1, 5).allow()).toBe(true);
      await link.close();
      registry.register(link, undefined);
      return link.calls();
    };
    const calls = await alone();
    expect(await collectUntil(() => collected === 1)).toBe(true);
    const more = await alone();
    expect(text()).toEqual([
      `gopark_redis_calls_total{name="again"} ${calls + more}`,
      'gopark_redis_failures_total{name="again"} 0',
    ]);
  });
});

describe("fallbacks", () => {
  async function down(fallback: ConstructorParameters<typeof Limiter>[4]) {
    const redis = new FakeRedis();
    redis.script = () => {
      throw new Error("down");
    };
    const limiter = new Limiter(connect(redis), "stock", 1, 5, fallback);
    return { redis, limiter };
  }

  test("open: everything is allowed", async () => {
    const { limiter } = await down({ fallback: "open" });
    const reservation = await limiter.reserve(2);
    expect([await limiter.allow(), reservation.ok, reservation.delay(), await limiter.wait(background())]).toEqual([
      true,
      true,
      0,
      undefined,
    ]);
    reservation.cancel();
  });

  test("closed: everything is refused, and a wait fails as unavailable", async () => {
    const { limiter } = await down({ fallback: "closed" });
    const reservation = await limiter.reserve(2);
    expect([await limiter.allow(), reservation.ok, reservation.delay()]).toEqual([
      false,
      false,
      Number.POSITIVE_INFINITY,
    ]);
    reservation.cancel();
    const error = await limiter.wait(background()).catch((error) => error);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error.message).toBe("redis: cannot be asked, and the fallback is closed");
  });

  test("a limiter of the process: one for all keys", async () => {
    const { limiter } = await down({ fallback: new LocalLimiter(1, 2) });
    expect([await limiter.allow(), await limiter.at("a").allow(), await limiter.at("b").allow()]).toEqual([
      true,
      true,
      false,
    ]);
    expect((await limiter.reserve()).delay()).toBe(1000);
    const waiting = watch(limiter.wait(background()));
    await turns(2);
    await vi.advanceTimersByTimeAsync(1999);
    expect(waiting.state).toBe("pending");
    await vi.advanceTimersByTimeAsync(1);
    expect(waiting.state).toBe("fulfilled");
  });

  test("a KeyedLimiter: one for each key", async () => {
    const { limiter } = await down({ fallback: new KeyedLimiter(1, 1) });
    const [a, b] = [limiter.at("a"), limiter.at("b")];
    expect([await a.allow(), await b.allow(), await limiter.allow(), await a.allow()]).toEqual([
      true,
      true,
      true,
      false,
    ]);
    expect((await b.reserve()).delay()).toBe(1000);
    const waiting = watch(a.wait(background()));
    await turns(2);
    await vi.advanceTimersByTimeAsync(1000);
    expect(waiting.state).toBe("fulfilled");
  });

  test("a reservation of a limiter of the process is cancelled once, as all are", async () => {
    const { limiter } = await down({ fallback: new LocalLimiter(1, 5) });
    expect(await limiter.allow(5)).toBe(true);
    const reservation = await limiter.reserve(3);
    expect([reservation.ok, reservation.delay()]).toEqual([true, 3000]);
    reservation.cancel();
    reservation.cancel();
    expect(await limiter.allow()).toBe(false);
  });

  test("maxWait bounds their waits, too, and what it refuses takes nothing", async () => {
    for (const fallback of [new LocalLimiter(1, 2), new KeyedLimiter(1, 2)]) {
      const { redis } = await down({});
      const limiter = new Limiter(connect(redis), "stock", 1, 5, { maxWait: 1000, fallback });
      await limiter.wait(background(), 2);
      const refused = watch(limiter.wait(background(), 2));
      const waiting = watch(limiter.wait(background()));
      await turns(2);
      expect([String(refused.reason), waiting.state]).toEqual([
        "Error: rate: Wait(n=2) would exceed maxWait, 1000 ms",
        "pending",
      ]);
      await vi.advanceTimersByTimeAsync(1000);
      expect(waiting.state).toBe("fulfilled");
      await expect(limiter.wait(background(), 3)).rejects.toThrow("rate: Wait(n=3) exceeds limiter's burst 2");
    }
    const { redis } = await down({});
    const closed = new Limiter(connect(redis), "stock", 1, 5, { maxWait: 1000, fallback: "closed" });
    await expect(closed.wait(background())).rejects.toThrow("the fallback is closed");
  });

  test("are asked for nothing but UnavailableError, and Redis decides again once it answers", async () => {
    const { redis, limiter } = await down({ fallback: "open" });
    const { ctx, cancel } = withCancel(background());
    cancel();
    await expect(limiter.wait(ctx)).rejects.toThrow("context canceled");
    expect(await limiter.allow()).toBe(true);
    redis.script = () => [-1];
    expect(await limiter.allow()).toBe(false);
    await expect(limiter.wait(background())).rejects.toThrow("rate: Wait(n=1) would never end");
  });
});

describe("waits", () => {
  test("last as long as the server says, counted from the answer; then the next is not delayed", async () => {
    const { redis, limiter } = await known();
    const waiting = watch(limiter.wait(background(), 2));
    await turn();
    expect(redis.last("take").args).toEqual(["10", "5", "2", "9000000000000000000"]);
    await vi.advanceTimersByTimeAsync(40);
    redis.last("take").answerWith([serverTime() - 40_000, 100_000_000]);
    await turn();
    await vi.advanceTimersByTimeAsync(99);
    expect(waiting.state).toBe("pending");
    await vi.advanceTimersByTimeAsync(1);
    expect(waiting.state).toBe("fulfilled");
    expect(redis.names()).toEqual(["take"]);
  });

  test("ask for no more than the deadline leaves, or maxWait, in nanoseconds", async () => {
    const { redis, link } = await known();
    const limiter = new Limiter(link, "stock", 10, 5, { maxWait: 70 });
    const { ctx, cancel } = withTimeout(background(), 60);
    const waits = [limiter.wait(ctx), limiter.wait(background()), limiter.wait(ctx.signal)].map(watch);
    await turn();
    expect(redis.last("take").args.slice(2)).toEqual(["1", "60000000", "1", "70000000", "1", "70000000"]);
    redis.last("take").answer(-1, -1, -1);
    await turn();
    expect(waits.map(({ reason }) => (reason as Error).message)).toEqual([
      "rate: Wait(n=1) would exceed context deadline",
      "rate: Wait(n=1) would exceed maxWait, 70 ms",
      "rate: Wait(n=1) would exceed maxWait, 70 ms",
    ]);
    cancel();
  });

  test("with a maxWait that passes before Redis is asked: take what is there", async () => {
    const { redis, link } = await known();
    const none = watch(new Limiter(link, "stock", 10, 5, { maxWait: 0 }).wait(background()));
    const { ctx, cancel } = withTimeout(background(), 5);
    const late = watch(new Limiter(link, "stock", 10, 5, { maxWait: 3 }).wait(ctx));
    vi.advanceTimersByTime(4); // Nothing is sent before the next turn.
    await turn();
    expect(redis.last("take").args.slice(2)).toEqual(["1", "0", "1", "0"]);
    redis.last("take").answer(0, -1);
    await turn();
    expect([none.state, String(late.reason)]).toEqual([
      "fulfilled",
      "Error: rate: Wait(n=1) would exceed maxWait, 3 ms",
    ]);
    cancel();
  });

  test("end at once with their context: before the call is sent, while it is out, and after it", async () => {
    const { redis, limiter } = await known();
    const scopes = [1, 2, 3].map(() => withCancel(background()));
    const [a, b, c] = scopes.map(({ ctx }, i) => watch(limiter.wait(ctx, i + 1)));
    scopes[0]?.cancel();
    await turn();
    expect([a?.state, redis.last("take").args.slice(2)]).toEqual([
      "rejected",
      ["2", "9000000000000000000", "3", "9000000000000000000"],
    ]);
    scopes[1]?.cancel();
    await turn();
    expect([b?.state, c?.state, redis.names()]).toEqual(["rejected", "pending", ["take"]]);
    const at = serverTime();
    redis.last("take").answer(100_000_000, 300_000_000);
    await turns(2);
    expect(redis.last("giveBack").args).toEqual(["10", "5", "2", String(at), "100000000", "1"]);
    expect(redis.last("giveBack").notAfter).toBeGreaterThan(1e299);
    scopes[2]?.cancel();
    await turns(2);
    expect(c?.state).toBe("rejected");
    expect(redis.last("giveBack").args).toEqual(["10", "5", "3", String(at), "300000000", "1"]);
    for (const call of redis.calls.slice(1)) call.answer(1);
    await turn();
  });

  test("that are cancelled together are given back with the newest first", async () => {
    const { redis, limiter } = await known();
    const { ctx, cancel } = withCancel(background());
    const waits = [1, 2, 3].map((n) => watch(limiter.wait(ctx, n)));
    await turn();
    redis.last("take").answer(100_000_000, 300_000_000, 600_000_000);
    await turn();
    cancel();
    expect(redis.names()).toEqual(["take"]);
    await turns(2);
    expect(waits.map(({ state }) => state)).toEqual(Array(3).fill("rejected"));
    expect(redis.calls.slice(1).map(({ args }) => args[2])).toEqual(["3", "2", "1"]);
    for (const call of redis.calls.slice(1)) call.answer(1);
    await turn();
  });

  test("whose context ends in any microtask after the answer give back what was taken, once", async () => {
    for (let depth = 0; depth < 20; depth++) {
      const { redis, limiter } = await known();
      const { ctx, cancel } = withCancel(background());
      const waiting = watch(limiter.wait(ctx));
      await turn();
      redis.last("take").answer(100_000_000);
      for (let i = 0; i < depth; i++) await Promise.resolve();
      cancel();
      await turns(2);
      expect([depth, waiting.state, redis.names()]).toEqual([depth, "rejected", ["take", "giveBack"]]);
      redis.last("giveBack").fail(new Error("gone"));
      await turn();
    }
  });
});

describe("reservations", () => {
  test("say how long to wait, and give back once", async () => {
    const { redis, limiter } = await known();
    const reserving = limiter.reserve(3);
    await turn();
    const at = serverTime();
    redis.last("take").answer(250_000_000);
    const reservation = await reserving;
    expect([
      reservation.ok,
      reservation.delay(),
      reservation.delay(now() + 100),
      reservation.delay(now() + 999),
    ]).toEqual([true, 250, 150, 0]);
    expect(() => reservation.delay(Number.NaN)).toThrow(RangeError);
    reservation.cancel();
    reservation.cancel();
    await turn();
    expect(redis.names()).toEqual(["take", "giveBack"]);
    expect(redis.last("giveBack").args).toEqual(["10", "5", "3", String(at), "250000000", "0"]);
    redis.last("giveBack").answer(1);
    await turn();
  });

  test("of nothing give nothing back", async () => {
    const { redis, limiter } = await known();
    redis.script = () => [0];
    (await limiter.reserve(0)).cancel();
    await turn();
    expect(redis.names()).toEqual(["take"]);
  });
});

test("no promise of a link is ever rejected without a handler", async () => {
  const seen = await unhandledDuring(async () => {
    const { redis, limiter, link } = await known({ timeout: 100 });
    const sem = new Weighted(link, "s", 1);
    const { ctx, cancel } = withCancel(background());
    const all = [limiter.wait(ctx), sem.permit(ctx), limiter.allow(), sem.tryPermit()].map(watch);
    await turns(2);
    cancel();
    for (const call of redis.calls) call.fail(new Error("cut"));
    await turns(2);
    await vi.advanceTimersByTimeAsync(1000);
    for (const call of redis.calls) call.fail(new Error("cut"));
    await turns(3);
    await link.close();
    expect(all.map(({ state }) => state)).toEqual(Array(4).fill("rejected"));
  });
  expect(seen).toEqual([]);
});

test("a script knows its hash, and keeps all digits of a number", () => {
  const script = new Script(" return ", "1 ");
  expect([script.text, script.sha]).toEqual(["return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"]);
  expect(script.sha).toBe(script.sha);
});
