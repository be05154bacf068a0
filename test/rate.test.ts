/** Token bucket limiter: the behaviour pinned by x/time/rate's own tests, one test for each, on a fake clock. */
import { background, Canceled, DeadlineExceeded, withCancel, withTimeout } from "gopark/context";
import { every, Inf, Limiter, type Reservation } from "gopark/rate";
import { now } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { watch } from "./support/watch.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
});

/** 100 ms: what one token takes at 10 tokens per second. */
const d = 100;
const t0 = 1_700_000_000_000;
const at = (steps: number) => t0 + steps * d;

/** Requests n tokens at step t; each row says whether they are granted. */
function allows(limiter: Limiter, rows: [t: number, n: number, ok: boolean][]): void {
  for (const [i, [t, n, ok]] of rows.entries()) {
    expect(limiter.allow(n, at(t)), `row ${i}: allow(${n}) at step ${t}`).toBe(ok);
  }
}

/** Reserves n tokens at step t; expects leave to act at step `act`, or a refusal if that is null. */
function reserves(limiter: Limiter, t: number, n: number, act: number | null): Reservation {
  const reservation = limiter.reserve(n, at(t));
  expect(reservation.ok).toBe(act !== null);
  const delay = reservation.delay(at(t));
  if (act === null) expect(delay).toBe(Number.POSITIVE_INFINITY);
  else expect(delay).toBeCloseTo((act - t) * d, 3);
  return reservation;
}

describe("limits", () => {
  test("Limit: a number of events per second is not Inf", () => {
    expect(new Limiter(10, 1).limit()).not.toBe(Inf);
    expect(Inf).toBe(Number.POSITIVE_INFINITY);
  });

  test.each([
    [0, Inf],
    [-1e-6, Inf],
    [1e-6, 1e9],
    [1e-3, 1e6],
    [1, 1e3],
    [10, 100],
    [100, 10],
    [1000, 1],
    [2000, 0.5],
    [2500, 0.4],
    [4000, 0.25],
    [10_000, 0.1],
    [(2 ** 63 - 1) / 1e6, 1e9 / (2 ** 63 - 1)],
  ])("Every: one event in %d ms is a limit of %d", (ms, limit) => {
    if (limit === Inf) expect(every(ms)).toBe(Inf);
    else expect(every(ms) / limit).toBeCloseTo(1, 9);
  });
});

describe("allow", () => {
  test("LimiterBurst1", () => {
    allows(new Limiter(10, 1), [
      [0, 1, true],
      [0, 1, false],
      [0, 1, false],
      [1, 1, true],
      [1, 1, false],
      [1, 1, false],
      [2, 2, false], // more than the burst: never
      [2, 1, true],
      [2, 1, false],
    ]);
  });

  test("LimiterBurst3", () => {
    allows(new Limiter(10, 3), [
      [0, 2, true],
      [0, 2, false],
      [0, 1, true],
      [0, 1, false],
      [1, 4, false],
      [2, 1, true],
      [3, 1, true],
      [4, 1, true],
      [4, 1, true],
      [4, 1, false],
      [4, 1, false],
      [9, 3, true],
      [9, 0, true],
    ]);
  });

  test("LimiterJumpBackwards: time that goes back takes no token, and counts from where it went", () => {
    allows(new Limiter(10, 3), [
      [1, 1, true],
      [0, 1, true], // two were left
      [0, 1, true],
      [0, 1, false],
      [0, 1, false],
      [1, 1, true], // a step since the bucket was last used: one has come
      [1, 1, false],
      [1, 1, false],
      [2, 1, true],
      [2, 1, false],
      [2, 1, false],
    ]);
  });

  test("noTruncationErrors: a full bucket has its token, however odd the rate", () => {
    expect(new Limiter(0.7692307692307693, 1).allow()).toBe(true);
  });

  test("SimultaneousRequests: of 15 at once, the burst of 5 gets through", async () => {
    const limiter = new Limiter(1, 5);
    const answers = await Promise.all(Array.from({ length: 15 }, async () => limiter.allow()));
    expect(answers.filter(Boolean)).toHaveLength(5);
  });

  test("LongRunningQPS: over 5 s of too many requests, burst + rate × time get through", () => {
    const limiter = new Limiter(100, 100);
    let allowed = 0;
    for (let ms = 0; ms < 5000; ms += 2) {
      if (limiter.allow()) allowed++;
      vi.advanceTimersByTime(2);
    }
    expect(allowed).toBe(100 + 499);
  });

  test("ZeroLimit: the bucket starts full and is never filled again", () => {
    const limiter = new Limiter(0, 1);
    expect(limiter.allow()).toBe(true);
    vi.advanceTimersByTime(1e9);
    expect(limiter.allow()).toBe(false);
  });

  test("TinyLimit: a token in 300 years is not one now", () => {
    const limiter = new Limiter(1e-10, 1);
    expect(limiter.allow()).toBe(true);
    expect(limiter.allow()).toBe(false);
  });
});

describe("reserve", () => {
  test("SimpleReserve", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 2, 0);
    reserves(limiter, 0, 2, 2);
    reserves(limiter, 3, 2, 4);
  });

  test("Mix: allow sees what reservations have taken", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 3, null); // more than the burst
    reserves(limiter, 0, 2, 0);
    allows(limiter, [[1, 2, false]]);
    reserves(limiter, 1, 2, 2);
    allows(limiter, [
      [1, 1, false],
      [3, 1, true],
    ]);
  });

  test("ReserveJumpBack: a reservation in the past counts from there, and may exceed the limit", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 1, 2, 1);
    reserves(limiter, 0, 1, 1);
    reserves(limiter, 2, 2, 3);
  });

  test("ReserveSetLimit: reservations at the old rate stay, the new rate holds for the rest", () => {
    const limiter = new Limiter(5, 2);
    reserves(limiter, 0, 2, 0);
    reserves(limiter, 0, 2, 4);
    limiter.setLimit(10, at(2));
    expect(limiter.limit()).toBe(10);
    reserves(limiter, 2, 1, 4); // more than limit and burst allow, as Go documents
  });

  test("ReserveSetBurst", () => {
    const limiter = new Limiter(5, 2);
    reserves(limiter, 0, 2, 0);
    reserves(limiter, 0, 2, 4);
    limiter.setBurst(4, at(3));
    expect(limiter.burst()).toBe(4);
    reserves(limiter, 0, 4, 9); // more than limit and burst allow, as Go documents
  });

  test("ReserveMax: a wait too long for its deadline takes nothing", async () => {
    const limiter = new Limiter(10, 2);
    using scope = withTimeout(background(), 1.5 * d);
    await limiter.wait(scope.ctx, 2);
    const near = watch(limiter.wait(scope.ctx, 1));
    await expect(limiter.wait(scope.ctx, 1)).rejects.toThrow("rate: Wait(n=1) would exceed context deadline");
    expect(limiter.tokens()).toBe(-1);
    await vi.advanceTimersByTimeAsync(d);
    expect(near.state).toBe("fulfilled");
  });
});

describe("cancel", () => {
  test("CancelInvalid: a refused reservation gives nothing back", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 2, 0);
    const refused = reserves(limiter, 0, 3, null);
    refused.cancel(at(0));
    reserves(limiter, 0, 2, 2);
  });

  test("CancelLast: the last reservation gives all its tokens back", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 2, 0);
    const last = reserves(limiter, 0, 2, 2);
    last.cancel(at(1));
    reserves(limiter, 1, 2, 2);
  });

  test("CancelTooLate: once the time to act has passed, cancel does nothing", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 2, 0);
    const late = reserves(limiter, 0, 2, 2);
    late.cancel(at(3));
    reserves(limiter, 3, 2, 4);
  });

  test("Cancel0Tokens: tokens that later reservations build on are not given back", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 2, 0);
    const first = reserves(limiter, 0, 1, 1);
    reserves(limiter, 0, 1, 2);
    first.cancel(at(0));
    reserves(limiter, 0, 1, 3);
  });

  test("Cancel1Token: the part that no later reservation builds on is", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 2, 0);
    const first = reserves(limiter, 0, 2, 2);
    reserves(limiter, 0, 1, 3);
    first.cancel(at(2));
    reserves(limiter, 2, 2, 4);
  });

  test("CancelMulti: a cancelled follower counts as never made", () => {
    const limiter = new Limiter(10, 4);
    reserves(limiter, 0, 4, 0);
    const a = reserves(limiter, 0, 3, 3);
    reserves(limiter, 0, 1, 4);
    const c = reserves(limiter, 0, 1, 5);
    c.cancel(at(1));
    a.cancel(at(1));
    reserves(limiter, 1, 3, 5);
  });

  test("from the last to the first, everything comes back, until the very instant it is due", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 0, 2, 0);
    const a = reserves(limiter, 0, 2, 2);
    const b = reserves(limiter, 0, 2, 4);
    b.cancel(at(2));
    a.cancel(at(2));
    expect(limiter.tokens(at(2))).toBeCloseTo(2, 9);
  });

  test("ReserveJumpBackCancel", () => {
    const limiter = new Limiter(10, 2);
    reserves(limiter, 1, 2, 1);
    const r = reserves(limiter, 1, 2, 3);
    reserves(limiter, 1, 1, 4);
    r.cancel(at(0)); // one token back
    reserves(limiter, 1, 2, 4); // more than limit and burst allow
  });

  test("ReserveSetLimitCancel: tokens come back at the rate they were reserved at", () => {
    const limiter = new Limiter(5, 2);
    reserves(limiter, 0, 2, 0);
    const r = reserves(limiter, 0, 2, 4);
    limiter.setLimit(10, at(2));
    r.cancel(at(2));
    reserves(limiter, 2, 2, 3);
  });
});

describe("wait", () => {
  /** The steps of `d` a wait took, and its error. */
  async function timed(wait: Promise<void>): Promise<[steps: number, reason: unknown]> {
    const start = now();
    const watched = watch(wait);
    await vi.advanceTimersByTimeAsync(0);
    while (watched.state === "pending") await vi.advanceTimersByTimeAsync(1);
    return [Math.round((now() - start) / d), watched.reason];
  }

  test("WaitSimple: a done context and more than the burst fail; else it takes what it takes", async () => {
    const limiter = new Limiter(10, 3);
    const [cancelled, cancel] = withCancel(background());
    cancel();
    expect(await timed(limiter.wait(cancelled, 1))).toEqual([0, cancelled.err()]);
    const [steps, error] = await timed(limiter.wait(background(), 4));
    expect(error).toBeInstanceOf(RangeError);
    expect([steps, (error as Error).message]).toEqual([0, "rate: Wait(n=4) exceeds limiter's burst 3"]);

    expect(await timed(limiter.wait(background(), 2))).toEqual([0, undefined]);
    expect(await timed(limiter.wait(background(), 3))).toEqual([2, undefined]);
  });

  test("WaitCancel: a cancelled wait gives its tokens back at that moment", async () => {
    const limiter = new Limiter(10, 3);
    const [ctx, cancel] = withCancel(background());
    expect(await timed(limiter.wait(ctx, 2))).toEqual([0, undefined]);
    setTimeout(cancel, d);
    expect(await timed(limiter.wait(ctx, 3))).toEqual([1, expect.any(Canceled)]);
    expect(limiter.tokens()).toBeCloseTo(2, 9);
    expect(await timed(limiter.wait(background(), 2))).toEqual([0, undefined]);
  });

  test("WaitTimeout: a wait that would outlast its deadline fails at once", async () => {
    const limiter = new Limiter(10, 3);
    using scope = withTimeout(background(), d);
    expect(await timed(limiter.wait(scope.ctx, 2))).toEqual([0, undefined]);
    const [steps, error] = await timed(limiter.wait(scope.ctx, 3));
    expect([steps, (error as Error).message]).toEqual([0, "rate: Wait(n=3) would exceed context deadline"]);
    expect(error).not.toBeInstanceOf(DeadlineExceeded);
  });

  test("WaitInf: no limit, no burst to exceed", async () => {
    expect(await timed(new Limiter(Inf, 0).wait(background(), 3))).toEqual([0, undefined]);
  });

  test("SetAfterZeroLimit: an empty bucket that gets a rate fills from then on", async () => {
    const limiter = new Limiter(0, 1);
    expect([limiter.allow(), limiter.allow()]).toEqual([true, false]);
    limiter.setLimit(10);
    expect(await timed(limiter.wait(background(), 1))).toEqual([1, undefined]);
  });
});
