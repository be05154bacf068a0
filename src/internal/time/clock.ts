/**
 * The clock: epoch milliseconds that only move forward, whatever happens to the system's clock.
 *
 * While the host's timers are mocked, the mock's clock counts, so that timers and clock move together. A clock that is
 * replaced alone does not count: nothing would fire any more.
 */
import { host, realNow, realPerformance, timersAreMocked } from "../host/host.ts";

const realOrigin = realPerformance.timeOrigin;
const realPerformanceNow = realPerformance.now;

export function now(): number {
  return timersAreMocked() ? mockedNow() : realOrigin + realNow();
}

function mockedNow(): number {
  const { performance } = host;
  // node:test mocks Date and leaves performance alone; sinon, in vitest and jest, mocks both.
  if (performance.now === realPerformanceNow) return Date.now();
  return performance.timeOrigin + performance.now();
}
