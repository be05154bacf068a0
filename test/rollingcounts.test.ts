/** Counts over a window of buckets: a result goes to the bucket of its request, and leaves with it. */
import { expect, test } from "vitest";
import { type Counts, RollingCounts } from "../src/internal/data/rollingcounts.ts";

const ZERO: Counts = {
  requests: 0,
  totalSuccesses: 0,
  totalFailures: 0,
  totalExclusions: 0,
  consecutiveSuccesses: 0,
  consecutiveFailures: 0,
};

function expectCounts(rc: RollingCounts, wanted: Partial<Counts>): void {
  expect(rc.snapshot()).toEqual({ ...ZERO, ...wanted });
  expect({ ...rc.current }).toEqual({ ...ZERO, ...wanted });
}

test.each([1, 2, 5])("a new window of %d buckets has no counts", (size) => {
  const rc = new RollingCounts(size);
  expect(rc.newest).toBe(0);
  expectCounts(rc, {});
});

test("each result is counted, and a success ends a run of failures, and a failure one of successes", () => {
  const rc = new RollingCounts(1);
  rc.request();
  expectCounts(rc, { requests: 1 });
  rc.result("success", 0);
  expectCounts(rc, { requests: 1, totalSuccesses: 1, consecutiveSuccesses: 1 });
  rc.request();
  rc.result("success", 0);
  expectCounts(rc, { requests: 2, totalSuccesses: 2, consecutiveSuccesses: 2 });
  rc.request();
  rc.result("failure", 0);
  expectCounts(rc, { requests: 3, totalSuccesses: 2, totalFailures: 1, consecutiveFailures: 1 });
  rc.result("failure", 0);
  expectCounts(rc, { requests: 3, totalSuccesses: 2, totalFailures: 2, consecutiveFailures: 2 });
  rc.result("exclusion", 0);
  expectCounts(rc, { requests: 3, totalSuccesses: 2, totalFailures: 2, totalExclusions: 1, consecutiveFailures: 2 });
  rc.result("success", 0);
  const mixed = { requests: 3, totalSuccesses: 3, totalFailures: 2, totalExclusions: 1, consecutiveSuccesses: 1 };
  expectCounts(rc, mixed);
  rc.clear();
  expectCounts(rc, {});
});

test("a snapshot stays as it was", () => {
  const rc = new RollingCounts(2);
  const before = rc.snapshot();
  rc.request();
  expect(before).toEqual(ZERO);
});

test("the oldest bucket leaves with all that was counted in it", () => {
  const rc = new RollingCounts(2);
  rc.request();
  rc.result("success", 0);
  rc.request();
  rc.result("failure", 0);
  rc.request();
  rc.result("exclusion", 0);
  rc.advanceTo(1);
  const first = { requests: 3, totalSuccesses: 1, totalFailures: 1, totalExclusions: 1, consecutiveFailures: 1 };
  expectCounts(rc, first);
  rc.request();
  rc.result("success", 1);
  expectCounts(rc, { ...first, requests: 4, totalSuccesses: 2, consecutiveSuccesses: 1, consecutiveFailures: 0 });
  rc.advanceTo(2);
  expect(rc.newest).toBe(2);
  expectCounts(rc, { requests: 1, totalSuccesses: 1, consecutiveSuccesses: 1 });
});

test("a run of failures that began in the oldest bucket is shortened by those of that bucket", () => {
  const rc = new RollingCounts(3);
  rc.result("success", 0);
  rc.result("failure", 0);
  rc.result("failure", 0);
  rc.advanceTo(1);
  rc.result("failure", 1);
  rc.advanceTo(2);
  rc.result("failure", 2);
  expectCounts(rc, { totalSuccesses: 1, totalFailures: 4, consecutiveFailures: 4 });
  rc.advanceTo(3);
  expectCounts(rc, { totalFailures: 2, consecutiveFailures: 2 });
  rc.advanceTo(4);
  expectCounts(rc, { totalFailures: 1, consecutiveFailures: 1 });
});

test("a run of successes that began after the oldest bucket stays whole", () => {
  const rc = new RollingCounts(2);
  rc.result("success", 0);
  rc.result("failure", 0);
  rc.advanceTo(1);
  rc.result("success", 1);
  rc.result("success", 1);
  rc.advanceTo(2);
  expectCounts(rc, { totalSuccesses: 2, consecutiveSuccesses: 2 });
});

test("a run of successes that began in the oldest bucket is shortened too", () => {
  const rc = new RollingCounts(2);
  rc.result("success", 0);
  rc.advanceTo(1);
  rc.result("success", 1);
  rc.advanceTo(2);
  expectCounts(rc, { totalSuccesses: 1, consecutiveSuccesses: 1 });
});

test("a late result goes to the bucket of its request", () => {
  const rc = new RollingCounts(2);
  rc.request();
  rc.request();
  rc.advanceTo(1);
  rc.result("failure", 0);
  expectCounts(rc, { requests: 2, totalFailures: 1, consecutiveFailures: 1 });
  rc.advanceTo(2);
  expectCounts(rc, {});
});

test("a result whose bucket has left is dropped", () => {
  const rc = new RollingCounts(2);
  rc.request();
  rc.advanceTo(2);
  for (const outcome of ["success", "failure", "exclusion"] as const) rc.result(outcome, 0);
  expectCounts(rc, {});
});

test("an age that is the same or goes back changes nothing", () => {
  const rc = new RollingCounts(2);
  rc.advanceTo(1);
  rc.request();
  rc.advanceTo(1);
  rc.advanceTo(0);
  expect(rc.newest).toBe(1);
  expectCounts(rc, { requests: 1 });
});

test.each([2, 3, 1e15])("an age %d buckets ahead forgets all, however far it is", (by) => {
  const rc = new RollingCounts(2);
  rc.request();
  rc.result("failure", 0);
  rc.advanceTo(by);
  expect(rc.newest).toBe(by);
  expectCounts(rc, {});
  rc.request();
  rc.result("success", by);
  rc.advanceTo(by + 1);
  expectCounts(rc, { requests: 1, totalSuccesses: 1, consecutiveSuccesses: 1 });
});
