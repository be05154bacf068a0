/** The limit that finds itself: in a simulated service, and step by step. */
import { type Check, shed, type Verdict } from "gopark/admission";
import { background } from "gopark/context";
import { prometheusText } from "gopark/metrics";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Interval, type Phase, seeded, simulate } from "../bench/http/simulation.ts";
import { AdaptiveLimit } from "../src/internal/admission/adaptive.ts";
import { requestOf } from "./support/requests.ts";

const MINUTE = 60_000;

/** A service of 10 lanes of 20 ms: 500 requests a second. What was seen in each second. */
function run(seed: number, ...phases: Phase[]): Interval[] {
  const limit = new AdaptiveLimit(20, 4, 1000, 2, seeded(seed));
  return simulate(limit, phases, { lanes: 10, every: 1000, random: seeded(seed + 1) });
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const served = (seen: readonly Interval[]) => mean(seen.map((interval) => interval.served));

describe.each([1, 2, 3])("a simulated service of 500 requests a second, seed %i", (seed) => {
  test("six times the load: it serves what it can, fast, and is as before afterwards", () => {
    const calm = { lasts: MINUTE / 2, rate: 200, takes: 20 };
    const seen = run(seed, calm, { ...calm, rate: 3000 }, calm);
    const surge = seen.slice(31, 60);
    expect(served(surge)).toBeGreaterThan(480);
    expect(Math.max(...surge.map((s) => s.p99))).toBeLessThan(100);
    expect(seen.slice(61).every((s) => s.served > 0.95 * s.offered)).toBe(true);
  });

  test("ten minutes of three times the load: the limit does not drift", () => {
    const seen = run(seed, { lasts: 10 * MINUTE, rate: 1500, takes: 20 });
    const last = seen.slice(-120);
    expect(served(seen)).toBeGreaterThan(480);
    expect(Math.max(...last.map((s) => s.limit))).toBeLessThan(40);
    expect(mean(last.map((s) => s.p99))).toBeLessThan(80);
  });

  test("three times as slow for good: at least 80 % of what it can do now, from the first ten seconds on", () => {
    const fast = { lasts: MINUTE, rate: 600, takes: 20 };
    const seen = run(seed, fast, { ...fast, lasts: 2 * MINUTE, takes: 60 }, fast);
    const able = 1000 / 6;
    for (let at = 70; at < 180; at += 10) expect(served(seen.slice(at, at + 10))).toBeGreaterThan(0.8 * able);
    expect(served(seen.slice(-30))).toBeGreaterThan(480);
  });

  test("little load: the limit stays where it was, and nothing is refused", () => {
    const seen = run(seed, { lasts: 2 * MINUTE, rate: 50, takes: 20 });
    expect(seen.every((s) => s.limit === 20 && s.served >= s.offered - 20)).toBe(true);
  });
});

describe("step by step", () => {
  const newLimit = (random = () => 0.5, options: [number, number, number, number] = [20, 4, 1000, 2]) => {
    const limit = new AdaptiveLimit(...options, random);
    limit.add(t, t, 0, false); // No sample, but its first window and its pause begin.
    return limit;
  };

  /** A window: so many samples of this latency within 250 ms. Returns the limit after it. */
  let t = 0;
  const window = (limit: AdaptiveLimit, took: number, running = limit.value, samples = 10, ok = true) => {
    for (let i = 1; i <= samples; i++) limit.add(t + (250 * i) / samples - took, t + (250 * i) / samples, running, ok);
    t += 250;
    return limit.value;
  };
  beforeEach(() => {
    t = 1e6;
  });

  test("a window has at least 10 samples, and lasts at least 250 ms", () => {
    const limit = newLimit();
    window(limit, 10, 20, 9);
    expect(limit.value).toBe(20);
    limit.add(t, t + 10, 20, true);
    expect(limit.value).toBe(22);
    t += 10;
    for (let i = 0; i < 1000; i++) limit.add(t - 10 + i / 4, t + i / 4, 20, true);
    expect(limit.value).toBe(22);
    limit.add(t + 240, t + 250, 20, true);
    expect(limit.value).toBe(24);
  });

  test("up by the half of the root, at least by 1, and only if 80 % were used", () => {
    const limit = newLimit(undefined, [4, 4, 400, 2]);
    expect(window(limit, 10)).toBe(5);
    expect(window(limit, 10, 3)).toBe(5);
    expect(window(limit, 10, 4)).toBe(6);
    const large = newLimit(undefined, [100, 4, 104, 2]);
    expect(window(large, 10, 79)).toBe(100);
    expect(window(large, 10, 80)).toBe(104); // 105, but for max.
  });

  test("the fraction of a step counts", () => {
    const limit = newLimit(undefined, [20, 4, 1000, 2]);
    const values = [1, 2, 3, 4].map(() => window(limit, 10));
    expect(values).toEqual([22, 24, 27, 29]); // 2.24, 2.36, 2.48, 2.60.
  });

  test("down by the root of what is too much, at least by 0.7, never below min", () => {
    const limit = newLimit(undefined, [100, 60, 1000, 2]);
    window(limit, 10, 60);
    expect(window(limit, 20, 60)).toBe(100); // Twice the baseline is not too much.
    expect(window(limit, 22, 60)).toBe(95); // 100 × √(20/22).
    expect(window(limit, 1000, 60)).toBe(66); // 0.7 of that.
    expect(window(limit, 1000, 60)).toBe(60);
  });

  test("not down while less than half of it is used", () => {
    const limit = newLimit();
    window(limit, 10, 12);
    expect(window(limit, 1000, 9)).toBe(20);
    expect(window(limit, 1000, 10)).toBe(14);
  });

  test("another tolerance", () => {
    const limit = newLimit(undefined, [100, 4, 1000, 5]);
    window(limit, 10, 60);
    expect(window(limit, 50, 60)).toBe(100);
    expect(window(limit, 60, 60)).toBe(91); // 100 × √(50/60).
  });

  test("the median counts, not the mean nor the extremes", () => {
    const limit = newLimit();
    const of = (...took: number[]) => {
      for (const [i, ms] of took.entries()) limit.add(t + 25 * i + 25 - ms, t + 25 * i + 25, 12, true);
      t += 250;
      return limit.value;
    };
    expect(of(10, 10, 10, 10, 10, 10, 10, 10, 10, 10)).toBe(20);
    expect(of(1000, 1000, 1000, 1000, 10, 10, 10, 10, 10, 10)).toBe(20);
    expect(of(1, 1, 1, 12, 10, 10, 10, 10, 10, 10)).toBe(20);
    expect(of(20, 20, 20, 20, 20, 20, 20, 20, 20, 20)).toBe(20); // So the baseline is 10 and not 1.
    expect(of(1000, 1000, 1000, 1000, 1000, 1000, 10, 10, 10, 10)).toBe(14);
  });

  test("of many samples the last 256 count", () => {
    const limit = newLimit();
    window(limit, 10, 12, 10);
    for (let i = 0; i < 1000; i++) limit.add(t, t + 100, 12, true);
    for (let i = 0; i < 129; i++) limit.add(t + 240, t + 250 - 1e-3, 12, true);
    limit.add(t, t + 250, 12, true);
    expect(limit.value).toBe(20);
    t += 250;
    for (let i = 0; i < 1000; i++) limit.add(t, t + 100, 12, true);
    for (let i = 0; i < 127; i++) limit.add(t + 240, t + 250 - 1e-3, 12, true);
    limit.add(t, t + 250, 12, true);
    expect(limit.value).toBe(14);
  });

  test("the baseline is the least of the last 400 medians", () => {
    const limit = newLimit(() => 1e9);
    window(limit, 10, 12);
    for (let i = 0; i < 399; i++) window(limit, 19, 12);
    expect(window(limit, 37, 12)).toBe(20); // The first one has gone, so that 38 is not too much.
    const other = newLimit(() => 1e9);
    window(other, 10, 12);
    for (let i = 0; i < 398; i++) window(other, 19, 12);
    expect(window(other, 37, 12)).toBe(14);
  });

  test("failures count only where they took too long", () => {
    const limit = newLimit();
    window(limit, 10, 12);
    for (let i = 0; i < 20; i++) window(limit, 1, 12, 10, false);
    expect(window(limit, 20, 12)).toBe(20); // The baseline is still 10.
    expect(window(limit, 20, 12, 10, false)).toBe(20);
    expect(window(limit, 40, 12, 10, false)).toBe(14);
    expect(newLimit().value).toBe(20);
  });

  test("failures before there is a baseline count nothing", () => {
    const limit = newLimit();
    window(limit, 1000, 12, 10, false);
    window(limit, 10, 12);
    expect(window(limit, 20, 12)).toBe(20);
  });

  describe("a probe", () => {
    /** Fills windows until a probe begins; returns after how many milliseconds that was. */
    const untilProbe = (limit: AdaptiveLimit): number => {
      const start = t;
      for (let before = 0; limit.value >= before; ) {
        if (t > start + 60_000) throw new Error("there is no probe");
        before = limit.value;
        window(limit, 10);
      }
      return t - start;
    };

    test.each([
      [0, 30_000],
      [0.5, 35_000],
      [0.999, 40_000],
    ])("begins after 30 to 40 seconds, at random (%f): a quarter of the limit", (random, ms) => {
      const limit = newLimit(() => random, [40, 40, 43, 2]);
      expect(untilProbe(limit)).toBe(ms);
      expect(limit.value).toBe(10);
    });

    test("lets through 4 at least, or all that the limit is", () => {
      const small = newLimit(() => 0, [8, 8, 8, 2]);
      untilProbe(small);
      expect(small.value).toBe(4);
      const one = newLimit(() => 0, [2, 2, 2, 2]);
      for (let i = 0; i < 130; i++) expect(window(one, 10)).toBe(2);
    });

    test("does not begin while the limit is not used", () => {
      const limit = newLimit(() => 0, [40, 4, 40, 2]);
      for (let i = 0; i < 480; i++) expect(window(limit, 10, 31)).toBe(40);
      expect(window(limit, 10, 32)).toBe(10);
    });

    test("measures what began after no more ran than it lets through, and that is the new baseline", () => {
      const limit = newLimit(() => 0, [40, 4, 40, 2]);
      untilProbe(limit);
      // What had begun before, and what began while that still ran, counts nothing.
      for (let i = 0; i < 30; i++) limit.add(t - 90, t + i, 40 - i, true);
      for (let i = 0; i < 20; i++) limit.add(t + 39, t + 50 + i, 11, true);
      limit.add(t - 90, t + 100, 10, true);
      for (let i = 0; i < 20; i++) limit.add(t + 99, t + 500 + i, 10, true);
      expect(limit.value).toBe(10);
      t += 100;
      for (let i = 0; i < 9; i++) limit.add(t, t + 30, 10, true);
      limit.add(t + 219, t + 249, 10, true);
      expect(limit.value).toBe(10);
      limit.add(t + 220, t + 250, 10, true);
      expect(limit.value).toBe(40);
      t += 250;
      expect(window(limit, 60, 24)).toBe(40); // The baseline is 30.
      expect(window(limit, 75, 24)).toBe(35); // 40 × √(60/75).
    });

    test("restores the limit that was, and the next one comes 30 to 40 seconds after its end", () => {
      const limit = newLimit(() => 0, [40, 40, 40, 2]);
      untilProbe(limit);
      expect(window(limit, 10, 10)).toBe(10); // The first sample says from when on they count.
      expect(window(limit, 10, 10)).toBe(40);
      expect(untilProbe(limit)).toBe(30_000);
    });

    test("is given up after ten seconds, with the baseline as it was", () => {
      const limit = newLimit(() => 0, [40, 4, 40, 2]);
      untilProbe(limit);
      const began = t;
      for (; t < began + 10_000; t += 100) limit.add(began - 100, t, 40, true);
      expect(limit.value).toBe(10);
      limit.add(began - 100, t, 40, true);
      expect(limit.value).toBe(40);
      expect(window(limit, 21, 24)).toBe(39); // 40 × √(20/21).
    });
  });
});

describe("in shed", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const now = (check: Check) => check.check(requestOf({ ctx: background() })) as Verdict;

  /** Fills all slots, and ends what runs after `took`. Returns how many there were. */
  const fill = async (check: Check, took: number) => {
    const running: Verdict[] = [];
    for (let verdict = now(check); verdict.admit; verdict = now(check)) running.push(verdict);
    await vi.advanceTimersByTimeAsync(took);
    for (const verdict of running) verdict.done?.(true);
    return running.length;
  };

  test("the slots follow: up while they are used and answers are fast, down when they are slow, up to max", async () => {
    const check = shed({ queue: 0, max: 25, adaptive: { initial: 12, min: 10 }, name: "following" });
    const sizes: number[] = [];
    for (const took of [250, 250, 250, 250, 250, 250, 250, 250, 600, 1e4, 1e4]) sizes.push(await fill(check, took));
    // The samples of one fill end at one instant: the first of them ends the window that those before it have filled.
    expect(sizes).toEqual([12, 13, 15, 17, 19, 21, 24, 25, 25, 25, 22]);
    expect(prometheusText()).toContain('gopark_semaphore_size{name="following"} 15\n');
  });

  test("a slot that is added goes to one that waits", async () => {
    const check = shed({ queue: 5, queueTimeout: 1e6, adaptive: { initial: 10, min: 10 } });
    const running = Array.from({ length: 10 }, () => now(check));
    let admitted = 0;
    const waiting = [1, 2, 3].map(async () => {
      const verdict = await check.check(requestOf({ ctx: background() }));
      admitted++;
      return verdict;
    });
    await vi.advanceTimersByTimeAsync(250);
    for (const verdict of running.slice(0, 9)) verdict.done?.(false); // No sample, nine slots: all three.
    await vi.advanceTimersByTimeAsync(0);
    expect(admitted).toBe(3);
    running[9]?.done?.(true);
    for (const verdict of await Promise.all(waiting)) verdict.done?.(true);
  });
});
