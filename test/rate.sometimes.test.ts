/** Sometimes: the behaviour pinned by x/time/rate's own tests and examples. */
import { Sometimes } from "gopark/rate";
import { beforeEach, expect, test, vi } from "vitest";

beforeEach(() => {
  vi.useFakeTimers();
});

/** Calls `do` once for each instant (ms from the start, ascending); returns the instants at which it ran. */
function runs(sometimes: Sometimes, instants: number[]): number[] {
  const ran: number[] = [];
  let elapsed = 0;
  for (const t of instants) {
    vi.advanceTimersByTime(t - elapsed);
    elapsed = t;
    sometimes.do(() => ran.push(t));
  }
  return ran;
}

test("SometimesZero: without a rule, only the first call runs", () => {
  expect(runs(new Sometimes({}), [0, 1, 2])).toEqual([0]);
  expect(runs(new Sometimes({ interval: 0 }), [0, 1, 2])).toEqual([0]);
});

test("SometimesMax: the longest interval there is lets the first call run, and no other", () => {
  expect(runs(new Sometimes({ interval: Number.POSITIVE_INFINITY }), [0, 2 ** 40])).toEqual([0]);
});

test("SometimesNegative: a negative rule is ignored", () => {
  expect(runs(new Sometimes({ interval: -1 }), [0, 1, 2])).toEqual([0]);
  expect(runs(new Sometimes({ first: -1, every: -1 }), [0, 1, 2])).toEqual([0]);
});

test("first: the first n calls run", () => {
  expect(runs(new Sometimes({ first: 2 }), [0, 1, 2, 3])).toEqual([0, 1]);
});

test("every: the first call runs, and each nth from there", () => {
  expect(runs(new Sometimes({ every: 2 }), [0, 1, 2, 3, 4])).toEqual([0, 2, 4]);
});

test("interval: a call runs if that long has passed since the last that ran", () => {
  const ran = runs(new Sometimes({ interval: 1000 }), [0, 999, 1000, 1999, 2500, 3400, 3500]);
  expect(ran).toEqual([0, 1000, 2500, 3500]);
});

test("the rules add up: a call runs if any of them lets it", () => {
  const mixed = new Sometimes({ first: 2, every: 2, interval: 2000 });
  // By first, by first, by every, by interval, by every, by none.
  expect(runs(mixed, [0, 1, 2, 2002, 2003, 2004])).toEqual([0, 1, 2, 2002, 2003]);
});

test("a function that throws has not run: its error passes through, and the next call runs in its place", () => {
  const once = new Sometimes({ first: 1 });
  const boom = new Error("boom");
  const throwing = () => {
    throw boom;
  };
  expect(() => once.do(throwing)).toThrow(boom);
  expect(runs(once, [0, 1])).toEqual([0]);
});

test("a Date stepped back an hour does not stop the interval", () => {
  const sometimes = new Sometimes({ interval: 1000 });
  const ran = vi.fn();
  sometimes.do(ran);
  vi.setSystemTime(Date.now() - 3_600_000);
  vi.advanceTimersByTime(1000);
  sometimes.do(ran);
  expect(ran).toHaveBeenCalledTimes(2);
});
