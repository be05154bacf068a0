/** Limiters by key: each key is as a limiter of its own, the memory is bounded, and a flood of keys resets none. */
import { background, Canceled, DeadlineExceeded, is, withCancel, withTimeout } from "gopark/context";
import { every, Inf, KeyedLimiter, Limiter, type Reservation } from "gopark/rate";
import { now } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { random, seeds } from "./support/random.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const T0 = 1_700_000_000_000;

/** Calls `allow` once for each of n new keys, and returns how many were allowed. */
function flood(limiter: KeyedLimiter, n: number, at: number, name = "flood"): number {
  let allowed = 0;
  for (let i = 0; i < n; i++) if (limiter.allow(`${name} ${i}`, 1, at)) allowed++;
  return allowed;
}

describe("each key", () => {
  test("has its own bucket", () => {
    const limiter = new KeyedLimiter(1, 2);
    const allowed = ["a", "a", "a", "b", "b", "b"].map((key) => limiter.allow(key, 1, T0));
    expect(allowed).toEqual([true, true, false, true, true, false]);
    expect([limiter.tokens("a", T0 + 500), limiter.tokens("c", T0)]).toEqual([0.5, 2]);
    expect([limiter.limit(), limiter.burst(), limiter.keys()]).toEqual([1, 2, 2]);
  });

  test("is compared as in a Map", () => {
    const limiter = new KeyedLimiter<unknown>(1, 1);
    const object = {};
    const keys = ["__proto__", "constructor", "", Number.NaN, 0, "0", null, undefined, object, {}, Symbol.iterator];
    expect(keys.map((key) => limiter.allow(key, 1, T0))).toEqual(keys.map(() => true));
    expect([...keys, -0].map((key) => limiter.allow(key, 1, T0))).toEqual([...keys, -0].map(() => false));
    expect(limiter.keys()).toBe(keys.length);
  });

  test("may have any number of events at the limit Inf, and no bucket", async () => {
    const limiter = new KeyedLimiter(Inf, 0);
    expect(limiter.allow("a", 1000)).toBe(true);
    expect([limiter.reserve("b", 5).ok, limiter.reserve("b", 5).delay()]).toEqual([true, 0]);
    await limiter.wait(bg, "c", 7);
    expect(limiter.keys()).toBe(0);
  });

  test.each(seeds(60))("does what a limiter of its own does, random program %d", async (seed) => {
    const rnd = random(seed);
    vi.useFakeTimers({ now: T0 });
    const limit = rnd.pick([0, 0.7, 1, 10, 1000, every(333)]);
    const burst = rnd.pick([0, 1, 2, 5]);
    const limiter = new KeyedLimiter<number>(limit, burst);
    const models = new Map<number, Limiter>();
    const modelOf = (key: number) => {
      if (!models.has(key)) models.set(key, new Limiter(limit, burst));
      return models.get(key) as Limiter;
    };
    const scopes = [0, 1, 2].map(() => withCancel(bg));
    const pairs: [Reservation, Reservation][] = [];
    const waits: [ReturnType<typeof watch>, ReturnType<typeof watch>][] = [];
    for (let i = 0; i < 120; i++) {
      const key = rnd.int(0, 40);
      const model = modelOf(key);
      const n = rnd.int(0, 3);
      const at = now();
      switch (rnd.int(0, 6)) {
        case 0:
        case 1:
          expect(limiter.allow(key, n, at)).toBe(model.allow(n, at));
          break;
        case 2: {
          const pair: [Reservation, Reservation] = [limiter.reserve(key, n, at), model.reserve(n, at)];
          expect([pair[0].ok, pair[0].delay(at)]).toEqual([pair[1].ok, pair[1].delay(at)]);
          pairs.push(pair);
          break;
        }
        case 3: {
          const pair = pairs.pop();
          for (const reservation of pair ?? []) reservation.cancel(at);
          break;
        }
        case 4: {
          const { ctx } = rnd.pick(scopes);
          waits.push([watch(limiter.wait(ctx, key, n, at)), watch(model.wait(ctx, n, at))]);
          break;
        }
        case 5:
          vi.advanceTimersByTime(rnd.pick([1, 7, 50, 400, 3000]));
          await turns(2);
          break;
        default:
          if (rnd.bool(0.2)) rnd.pick(scopes).cancel();
      }
      expect(limiter.tokens(key, now())).toBe(model.tokens(now()));
    }
    for (const { cancel } of scopes) cancel();
    await turns(3);
    for (const [ours, models] of waits) expect(ours.state).toBe(models.state);
    for (const [key, model] of models) expect(limiter.tokens(key, now())).toBe(model.tokens(now()));
  });
});

describe("the memory", () => {
  test("is bounded by maxKeys, and a flood resets no key", () => {
    const limiter = new KeyedLimiter(1, 3, { maxKeys: 100 });
    expect(limiter.allow("blocked", 3, T0)).toBe(true);
    for (let ms = 0; ms < 1000; ms += 100) {
      flood(limiter, 1000, T0 + ms, `flood of ${ms}`);
      expect(limiter.keys()).toBe(100);
      expect(limiter.allow("blocked", 1, T0 + ms)).toBe(false);
      expect(limiter.tokens("blocked", T0 + ms)).toBeCloseTo(ms / 1000, 6);
    }
    expect(limiter.allow("blocked", 1, T0 + 1000)).toBe(true);
  });

  test("keys beyond maxKeys share one bucket", async () => {
    const limiter = new KeyedLimiter(1, 2, { maxKeys: 10 });
    expect(flood(limiter, 1000, T0)).toBe(12);
    expect([limiter.tokens("new", T0), limiter.tokens("flood 0", T0), limiter.tokens("flood 10", T0)]).toEqual([
      0, 1, 0,
    ]);
    expect(limiter.reserve("new", 1, T0).delay(T0)).toBe(1000);
    expect(limiter.reserve("newer", 1, T0).delay(T0)).toBe(2000);
  });

  test("a key whose bucket is full again makes place, and no other", () => {
    const limiter = new KeyedLimiter(1, 1, { maxKeys: 10 });
    flood(limiter, 9, T0);
    limiter.allow("later", 1, T0 + 500);
    expect(flood(limiter, 100, T0 + 999, "none")).toBe(1); // By the bucket that the others share.
    expect(flood(limiter, 9, T0 + 1000, "new")).toBe(9);
    expect(limiter.keys()).toBe(10);
    expect(limiter.allow("later", 1, T0 + 1499)).toBe(false);
    expect(limiter.allow("later", 1, T0 + 1500)).toBe(true);
  });

  test("a place is found at once, wherever it is", () => {
    const limiter = new KeyedLimiter(1, 2, { maxKeys: 10 });
    for (let i = 0; i < 9; i++) limiter.allow(`busy ${i}`, 2, T0);
    limiter.allow("full after a second", 1, T0);
    expect(limiter.allow("new", 2, T0 + 1000)).toBe(true);
    expect([limiter.allow("newer", 2, T0 + 1000), limiter.keys()]).toEqual([true, 10]); // By the shared bucket.
    expect(limiter.tokens("new", T0 + 1500)).toBe(0.5);
  });

  test("the bucket that others share is not that of a key which would find a place", () => {
    const limiter = new KeyedLimiter(1, 2, { maxKeys: 2 });
    for (const key of ["a", "b"]) limiter.allow(key, 1, T0);
    expect(limiter.allow("c", 2, T0 + 500)).toBe(true);
    expect(limiter.tokens("d", T0 + 500)).toBe(0);
    expect(limiter.allow("d", 1, T0 + 1000)).toBe(true);
    expect([limiter.keys(), limiter.tokens("e", T0 + 1000)]).toEqual([1, 2]);
  });

  test("idle keys go away as others come", () => {
    const limiter = new KeyedLimiter(1, 1);
    flood(limiter, 1000, T0);
    expect(limiter.keys()).toBe(1000);
    flood(limiter, 500, T0 + 1000, "new");
    expect(limiter.keys()).toBeLessThan(600); // Each of the new keys has looked at two.
    flood(limiter, 600, T0 + 2000, "last");
    expect(limiter.keys()).toBeLessThan(700);
  });

  test("a new key looks at few of the others, however many they are", () => {
    const limiter = new KeyedLimiter(1, 1);
    flood(limiter, 1000, T0);
    limiter.allow("new", 1, T0 + 1000);
    expect(limiter.keys()).toBeGreaterThan(980);
  });

  test("a key with waits, or with a reservation to come, is not forgotten", async () => {
    vi.useFakeTimers({ now: T0 });
    const limiter = new KeyedLimiter(1, 1, { maxKeys: 2 });
    expect(limiter.allow("waits", 1)).toBe(true);
    const { ctx, cancel } = withCancel(bg);
    const waiting = watch(limiter.wait(ctx, "waits"));
    limiter.reserve("reserved", 1);
    limiter.reserve("reserved", 1);
    flood(limiter, 100, now() + 999);
    expect([limiter.tokens("waits"), limiter.tokens("reserved")]).toEqual([-1, -1]);
    cancel();
    await turn();
    expect(waiting.reason).toBeInstanceOf(Canceled);
    expect(limiter.tokens("waits")).toBe(0);
  });
});

describe("wait", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: T0 });
  });

  test("paces each key, in the order of the calls", async () => {
    const limiter = new KeyedLimiter(10, 1);
    const order: string[] = [];
    for (const key of ["a", "b", "a", "b", "a"])
      void limiter.wait(bg, key).then(() => order.push(`${key} ${now() - T0}`));
    await turn();
    for (let i = 0; i < 2; i++) {
      vi.advanceTimersByTime(100);
      await turn();
    }
    expect(order).toEqual(["a 0", "b 0", "a 100", "b 100", "a 200"]);
  });

  test("rejects at once beyond the deadline, for an ended context, and beyond the burst; the key has lost nothing", async () => {
    const limiter = new KeyedLimiter(1, 1);
    expect(limiter.allow("a")).toBe(true);
    const { ctx, cancel } = withTimeout(bg, 500);
    const late = await limiter.wait(ctx, "a").catch((error) => error);
    expect([late.message, is(late, DeadlineExceeded)]).toEqual(["rate: Wait(n=1) would exceed context deadline", true]);
    await expect(limiter.wait(bg, "a", 2)).rejects.toThrow(new RangeError("rate: Wait(n=2) exceeds limiter's burst 1"));
    cancel();
    await expect(limiter.wait(ctx, "b")).rejects.toBe(ctx.err());
    expect([limiter.tokens("a"), limiter.tokens("b")]).toEqual([0, 1]);
  });

  test("waits of several keys that are cancelled together leave their buckets as if they had never waited", async () => {
    const limiter = new KeyedLimiter(1, 1);
    const keys = ["a", "b", "c"];
    for (const key of keys) limiter.allow(key);
    const { ctx, cancel } = withCancel(bg);
    const waiting = [...keys, ...keys].map((key) => watch(limiter.wait(ctx, key)));
    expect(keys.map((key) => limiter.tokens(key))).toEqual([-2, -2, -2]);
    cancel();
    await turn();
    expect(waiting.map(({ reason }) => reason)).toEqual(waiting.map(() => ctx.err()));
    expect(keys.map((key) => limiter.tokens(key))).toEqual([0, 0, 0]);
  });

  test("a context that calls the limiter when it is asked takes its tokens first", async () => {
    const limiter = new KeyedLimiter(1, 1, { maxKeys: 1 });
    const { ctx, cancel } = withCancel(bg);
    const asked = Object.assign(Object.create(ctx), {
      deadline: () => {
        limiter.allow("a");
        return undefined;
      },
    });
    const waiting = watch(limiter.wait(asked, "a"));
    await turn();
    expect([waiting.state, limiter.tokens("a")]).toEqual(["pending", -1]);
    vi.advanceTimersByTime(1000);
    await turn();
    expect(waiting.state).toBe("fulfilled");
    cancel();
  });
});

describe("time", () => {
  test("no timer but for waits, and one for the waits of all keys", async () => {
    vi.useFakeTimers({ now: T0 });
    const limiter = new KeyedLimiter(1, 1, { maxKeys: 50 });
    flood(limiter, 200, now());
    limiter.reserve("flood 0");
    expect(vi.getTimerCount()).toBe(0);
    const waits = Array.from({ length: 50 }, (_, i) => watch(limiter.wait(bg, `flood ${i}`)));
    await turn();
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(2000);
    await turn();
    expect([vi.getTimerCount(), waits.every(({ state }) => state === "fulfilled")]).toEqual([0, true]);
  });

  test("Date.now stepped back or forward an hour changes nothing", () => {
    vi.useFakeTimers({ toFake: ["Date"], now: T0 });
    const limiter = new KeyedLimiter(1e-3, 2);
    expect([limiter.allow("a"), limiter.allow("a"), limiter.allow("a")]).toEqual([true, true, false]);
    for (const step of [-3_600_000, 7_200_000]) {
      vi.setSystemTime(Date.now() + step);
      expect(limiter.allow("a")).toBe(false);
      expect(limiter.tokens("a")).toBeCloseTo(0, 1);
    }
  });

  test("instants that go back take nothing from a key, and give it nothing", () => {
    const limiter = new KeyedLimiter(1, 2);
    expect(limiter.allow("a", 2, T0)).toBe(true);
    expect([limiter.allow("a", 1, T0 - 3_600_000), limiter.allow("a", 1, T0)]).toEqual([false, false]);
    expect(limiter.allow("a", 1, T0 + 1000)).toBe(true);
  });

  test("a wait longer than a host's timer can be neither ends early nor never", async () => {
    vi.useFakeTimers({ now: T0 });
    const ms = 2 ** 31 + 5;
    const limiter = new KeyedLimiter(every(ms), 1);
    limiter.allow("a");
    const wait = watch(limiter.wait(bg, "a"));
    await vi.advanceTimersByTimeAsync(ms - 1);
    expect(wait.state).toBe("pending");
    await vi.advanceTimersByTimeAsync(2);
    await turn();
    expect(wait.state).toBe("fulfilled");
  });
});

describe("bad input is refused at once, and changes nothing", () => {
  const limiter = new KeyedLimiter(1, 1, { maxKeys: 1 });

  test.each([
    [
      () => new KeyedLimiter(-1, 1),
      RangeError,
      "KeyedLimiter: limit must be a number of events a second, 0 or more, got -1",
    ],
    [
      () => new KeyedLimiter("1" as never, 1),
      TypeError,
      'KeyedLimiter: limit must be a number of events a second, got "1"',
    ],
    [
      () => new KeyedLimiter(1, 0.5),
      RangeError,
      "KeyedLimiter: burst must be a whole number from 0 to 2^53-1, got 0.5",
    ],
    [
      () => new KeyedLimiter(1, 1, { maxKeys: 0 }),
      RangeError,
      "KeyedLimiter: maxKeys must be a whole number from 1 to 2^53-1, got 0",
    ],
    [
      () => new KeyedLimiter(1, 1, { maxKeys: Number.POSITIVE_INFINITY }),
      RangeError,
      "KeyedLimiter: maxKeys must be a whole number from 1 to 2^53-1, got Infinity",
    ],
    [() => limiter.allow("a", -1), RangeError, "allow: n must be a whole number from 0 to 2^53-1, got -1"],
    [() => limiter.allow("a", 1, Number.NaN), RangeError, /^allow: at must be/],
    [() => limiter.reserve("a", 1.5), RangeError, "reserve: n must be a whole number from 0 to 2^53-1, got 1.5"],
    [() => limiter.reserve("a", 1, Number.POSITIVE_INFINITY), RangeError, /^reserve: at must be/],
    [() => limiter.tokens("a", Number.NaN), RangeError, /^tokens: at must be/],
  ])("%s", (call, cls, message) => {
    expect(call).toThrow(cls);
    expect(call).toThrow(message);
    expect(limiter.keys()).toBe(0);
  });

  test("but options that are null are left out", () => {
    expect(new KeyedLimiter(1, 1, null as never).allow("a")).toBe(true);
  });

  test("by wait, which rejects", async () => {
    await expect(limiter.wait(bg, "a", -1)).rejects.toThrow("wait: n must be a whole number");
    await expect(limiter.wait(bg, "a", 1, Number.NaN)).rejects.toThrow("wait: at must be");
    await expect(limiter.wait({} as never, "a")).rejects.toThrow(TypeError);
    expect(limiter.keys()).toBe(0);
  });
});
