/**
 * A limiter's wait that would pass the deadline of its context: it fails early, and its error is a deadline
 * error.
 */
import {
  background,
  Canceled,
  type CancelScope,
  DeadlineExceeded,
  is,
  withDeadline,
  withTimeout,
  withValue,
} from "gopark/context";
import { Limiter } from "gopark/rate";
import { now } from "gopark/time";
import { afterEach, describe, expect, test, vi } from "vitest";
import { watch } from "./support/watch.ts";

const bg = background();

// Ended after the test, however it ends.
const scopes: CancelScope[] = [];
afterEach(() => {
  for (const { cancel } of scopes.splice(0)) cancel();
});

/** A context whose deadline is the instant `at`. */
function until(at: number, parent = bg): CancelScope {
  const scope = withDeadline(parent, at);
  scopes.push(scope);
  return scope;
}

/** A limiter of one event a second whose bucket is empty, and the instant. The clock does not move. */
function emptied(burst = 1): { limiter: Limiter; t0: number } {
  vi.useFakeTimers();
  const limiter = new Limiter(1, burst);
  const t0 = now();
  limiter.allow(burst, t0);
  return { limiter, t0 };
}

/** The error of a wait that rejects at once: in microtasks, while the clock does not move. */
async function refusal(wait: Promise<void>): Promise<Error> {
  const watched = watch(wait);
  for (let i = 0; i < 10; i++) await Promise.resolve();
  if (watched.state !== "rejected") throw new Error(`the wait is ${watched.state}`);
  return watched.reason as Error;
}

describe("a wait that would pass the deadline", () => {
  test("rejects at once, with Go's message, and is a DeadlineExceeded", async () => {
    const { limiter, t0 } = emptied();
    const { ctx } = until(t0 + 999);
    const err = await refusal(limiter.wait(ctx));
    expect(err).toBeInstanceOf(Error);
    expect(err.message).toBe("rate: Wait(n=1) would exceed context deadline");
    expect([is(err, DeadlineExceeded), is(err, Canceled)]).toEqual([true, false]);
  });

  test("is one even where the caller has wrapped the error", async () => {
    const { limiter, t0 } = emptied();
    const { ctx } = until(t0 + 500);
    const err = new Error("upstream", { cause: await refusal(limiter.wait(ctx)) });
    expect(is(err, DeadlineExceeded)).toBe(true);
    expect(is(new AggregateError([err]), DeadlineExceeded)).toBe(true);
  });

  test.each([1, 2, 3])("names how many events: %i", async (n) => {
    const { limiter, t0 } = emptied(3);
    const { ctx } = until(t0 + 500);
    const err = await refusal(limiter.wait(ctx, n));
    expect(err.message).toBe(`rate: Wait(n=${n}) would exceed context deadline`);
    expect(is(err, DeadlineExceeded)).toBe(true);
  });

  test("takes no tokens, and leaves the context alive", async () => {
    const { limiter, t0 } = emptied();
    const { ctx } = until(t0 + 500);
    for (let i = 0; i < 10; i++) await refusal(limiter.wait(ctx));
    expect([limiter.tokens(t0), ctx.err()]).toEqual([0, undefined]);
    expect(limiter.allow(1, t0 + 1000)).toBe(true);
  });

  test.each([
    ["a parent", (at: number) => until(at + 1, until(at).ctx).ctx],
    ["a parent behind values", (at: number) => withValue(withValue(until(at).ctx, "a", 1), "b", 2)],
    ["its own, earlier than its parent's", (at: number) => until(at, until(at + 60_000).ctx).ctx],
  ])("goes by the deadline of %s", async (_, contextOf) => {
    const { limiter, t0 } = emptied();
    const ctx = contextOf(t0 + 999);
    const err = await refusal(limiter.wait(ctx));
    expect(is(err, DeadlineExceeded)).toBe(true);
  });
});

test("a wait that ends before the deadline is granted", async () => {
  const { limiter, t0 } = emptied();
  const { ctx } = until(t0 + 1001);
  const wait = watch(limiter.wait(ctx));
  await vi.advanceTimersByTimeAsync(1000);
  expect(wait.state).toBe("fulfilled");
});

describe("other errors are not deadline errors", () => {
  test("more events than the burst: RangeError, whatever the deadline", async () => {
    const { limiter, t0 } = emptied();
    const { ctx } = until(t0 + 1);
    const err = await refusal(limiter.wait(ctx, 2));
    expect(err).toBeInstanceOf(RangeError);
    expect([is(err, DeadlineExceeded), is(err, Canceled)]).toEqual([false, false]);
  });

  test("a context that has ended: its own error", async () => {
    const { limiter, t0 } = emptied();
    const past = withTimeout(bg, 0).ctx;
    const { ctx, cancel } = until(t0 + 500);
    cancel();
    expect(await refusal(limiter.wait(past))).toBe(past.err());
    expect(await refusal(limiter.wait(ctx))).toBe(ctx.err());
    expect([is(past.err(), DeadlineExceeded), is(ctx.err(), Canceled)]).toEqual([true, true]);
  });

  test("a context that is cancelled while the wait could still be granted: its own error", async () => {
    const { limiter, t0 } = emptied();
    const { ctx, cancel } = until(t0 + 5000);
    const wait = limiter.wait(ctx);
    cancel();
    expect(await refusal(wait)).toBe(ctx.err());
    expect(is(ctx.err(), DeadlineExceeded)).toBe(false);
  });
});
