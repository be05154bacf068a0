/**
 * The clock: epoch milliseconds that only move forward, whatever happens to the system's clock.
 *
 * The host's clock is looked up at each reading, so that fake timers installed later are obeyed.
 */
import { host } from "./host.ts";

const realDate = Date;
const realNow = host.performance.now;

// The performance object last seen and its origin: reading timeOrigin each time would double the price of a reading.
let performance = host.performance;
let origin = performance.timeOrigin;

export function now(): number {
  if (host.performance !== performance) {
    performance = host.performance;
    origin = performance.timeOrigin;
  }
  // node:test's mock timers move Date alone; a Date that is not the host's, beside a clock that is, means they are on.
  if (globalThis.Date !== realDate && performance.now === realNow) return globalThis.Date.now();
  return origin + performance.now();
}
