/**
 * Assertions that cost nothing while they hold: in a random program there are thousands, and `expect` takes
 * microseconds.
 */
import { expect } from "vitest";

/** Fails unless the two are the same by Object.is. */
export function same(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) expect(actual, what).toBe(expected);
}

export function holds(truth: boolean, what: string): void {
  if (!truth) expect.fail(what);
}
