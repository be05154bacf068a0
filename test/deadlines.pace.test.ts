/**
 * How often a loop that looks at a deadline reads the clock, and how late it sees the deadline. The library is loaded
 * anew for each test, with a clock of the test's in place of the host's.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

/** The clock of the test, in milliseconds, and how often it was read. */
let time = 0;
let readings = 0;
let context: typeof import("gopark/context");

beforeEach(async () => {
  time = 0;
  vi.spyOn(performance, "now").mockImplementation(() => {
    readings++;
    return time;
  });
  vi.resetModules();
  context = await import("gopark/context");
});

afterEach(() => {
  vi.resetModules();
});

/** Looks, a look each `pace` milliseconds, until a deadline in `ms` is seen. */
function lookUntil(ms: number, pace: number): { looks: number; readings: number } {
  const { ctx } = context.withTimeout(context.background(), ms);
  readings = 0;
  let looks = 0;
  do {
    time += pace;
    looks++;
  } while (ctx.err() === undefined && looks * pace < 2 * ms);
  return { looks, readings };
}

describe("at a steady pace the first look at or after the deadline sees it, and the clock is read", () => {
  test.each([
    [0.001, 2, "at an eighth of the looks", 8],
    [0.1, 40, "at an eighth of the looks", 8],
    [0.3, 60, "at a third of the looks, once in a millisecond", 3],
    [0.7, 70, "at each look", 1],
    [5, 100, "at each look", 1],
  ])("a look each %d ms, a deadline in %d ms: %s", (pace, ms, _, looksPerReading) => {
    const { looks, readings } = lookUntil(ms, pace);
    const first = Math.ceil(ms / pace);
    // Sums of fractions may be a little less than the deadline.
    expect([first, first + 1]).toContain(looks);
    // The first looks, when the pace is not known, and the last, when little time is left, have more.
    expect(readings).toBeGreaterThanOrEqual(looks / looksPerReading);
    expect(readings).toBeLessThanOrEqual(looks / looksPerReading + 12);
  });
});

test("a loop that slows down suddenly sees the deadline at its eighth look at the latest", () => {
  const { ctx } = context.withTimeout(context.background(), 1000);
  for (let i = 0; i < 1000; i++) {
    time += 0.001;
    expect(ctx.err()).toBeUndefined();
  }
  let looks = 0;
  do {
    time += 1000;
    looks++;
  } while (ctx.err() === undefined && looks < 9);
  expect(looks).toBeLessThanOrEqual(8);
});

test("the pace of the looks at one deadline is not taken for that of another", () => {
  const { ctx, cancel } = context.withTimeout(context.background(), 1000);
  for (let i = 0; i < 100; i++) {
    time += 0.001;
    expect(ctx.err()).toBeUndefined();
  }
  time = 1;
  expect(lookUntil(3, 1).looks).toBe(3);
  cancel();
});

test("after fake timers in the middle of a loop, the host's clock counts from the first look on", () => {
  const day = 86_400_000;
  const { ctx } = context.withTimeout(context.background(), day);
  vi.useFakeTimers();
  for (let i = 0; i < 100; i++) expect(ctx.err()).toBeUndefined();
  vi.useRealTimers();
  time = day;
  expect(ctx.err()).toBeInstanceOf(context.DeadlineExceeded);
});

test("under fake timers that come in the middle of a loop, their clock counts from the first look on", () => {
  for (let before = 101; before <= 108; before++) {
    const { ctx } = context.withTimeout(context.background(), 60_000);
    for (let i = 0; i < before; i++) {
      time += 0.001;
      expect(ctx.err()).toBeUndefined();
    }
    vi.useFakeTimers();
    vi.advanceTimersByTime(3_600_000);
    expect(ctx.err()).toBeInstanceOf(context.DeadlineExceeded);
    vi.useRealTimers();
  }
});
