/** The circuit breaker, compared with the same call through one async function. */
import { breaker } from "gopark";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const down = new Error("down");

async function work(): Promise<number> {
  return 1;
}

async function wrapper<T>(fn: () => Promise<T>): Promise<T> {
  return await fn();
}

async function closed(): Promise<void> {
  const cb = new breaker.CircuitBreaker();
  let n = 0;
  for (let i = 0; i < N; i++) n += await cb.execute(work);
  check(n, N);
}

async function rolling(): Promise<void> {
  const cb = new breaker.CircuitBreaker({ interval: 60_000, bucketPeriod: 1000 });
  let n = 0;
  for (let i = 0; i < N; i++) n += await cb.execute(work);
  check(n, N);
}

async function wrapped(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) n += await wrapper(work);
  check(n, N);
}

async function open(): Promise<void> {
  const cb = new breaker.CircuitBreaker({ readyToTrip: () => true });
  await cb.execute(() => Promise.reject(down)).catch(() => {});
  let refused = 0;
  for (let i = 0; i < N; i++) {
    try {
      await cb.execute(work);
    } catch {
      refused++;
    }
  }
  check(refused, N);
}

async function rejected(): Promise<void> {
  let refused = 0;
  for (let i = 0; i < N; i++) {
    try {
      await Promise.reject(down);
    } catch {
      refused++;
    }
  }
  check(refused, N);
}

function allow(): void {
  const cb = new breaker.TwoStepCircuitBreaker();
  for (let i = 0; i < N; i++) cb.allow()();
  check(cb.counts().totalSuccesses, N);
}

export const rows: readonly Row[] = [
  {
    id: "breaker.closed",
    what: "await execute of an async function, the breaker closed, without an interval: one call",
    ops: N,
    ours: closed,
    floor: wrapped,
    floorIs: "the same call through one async function",
    targets: { floor: 1.3 },
    next: {
      targets: { floor: 1.6 },
      why: "A call is counted when it begins and when it ends, and its completion is charged, so that a loop of calls gives the turn back.",
    },
  },
  {
    id: "breaker.rolling",
    what: "the same with a window of 60 buckets: one call",
    ops: N,
    ours: rolling,
    floor: wrapped,
    floorIs: "the same call through one async function",
  },
  {
    id: "breaker.open",
    what: "await execute at an open breaker, which refuses: one call",
    ops: N,
    ours: open,
    floor: rejected,
    floorIs: "await of a promise that rejects",
  },
  {
    id: "breaker.allow",
    what: "allow of the two-step breaker, and the report of a success: one call",
    ops: N,
    ours: allow,
  },
];
