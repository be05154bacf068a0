/**
 * The clock: epoch milliseconds that only move forward. It starts at the system's time and does not follow later
 * changes to it.
 *
 * While the host's timers are mocked, the mock's clock is used, so that timers and clock move together; it goes
 * wherever the test sets it. A clock that is mocked alone is not used, as nothing would fire any more. Timers that are
 * replaced alone change nothing here: a monitoring agent replaces them by wrappers.
 *
 * While a bubble of `synctest` runs, which replaces the host's timers too, the clock is the bubble's.
 */
import { host, realDate, realNow, realPerformance, timersAreReplaced } from "../host/host.ts";

const realOrigin = realPerformance.timeOrigin;
const realPerformanceNow = realPerformance.now;

export function now(): number {
  return timersAreReplaced() ? mockedNow() : realOrigin + realNow();
}

/** Whether the clock is a mock's, or that of a bubble, which replaces Date too. */
export function clockIsReplaced(): boolean {
  return timersAreReplaced() && (host.performance.now !== realPerformanceNow || Date !== realDate);
}

// The clock of a bubble, while one runs.
let virtualNow: (() => number) | undefined;

/** Sets the clock that counts while the host's timers are replaced; undefined for the mock's own. */
export function setVirtualNow(now: (() => number) | undefined): void {
  virtualNow = now;
}

function mockedNow(): number {
  if (virtualNow !== undefined) return virtualNow();
  const { performance } = host;
  // node:test mocks Date and leaves performance alone; sinon, in vitest and jest, mocks both.
  if (performance.now === realPerformanceNow) return Date === realDate ? realOrigin + realNow() : Date.now();
  return performance.timeOrigin + performance.now();
}
