/** The weighted semaphore, compared with one bare await, or a counter with a queue of promises. */
import { context, semaphore } from "gopark";
import { BareSemaphore } from "./support/floor.ts";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const TASKS = 100;
const LIMIT = 10;
const ctx = context.withCancel(context.background()).ctx;
const DONE = Promise.resolve();

async function oneAwait(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) {
    await DONE;
    n++;
  }
  check(n, N);
}

async function acquire(): Promise<void> {
  const sem = new semaphore.Weighted(LIMIT);
  for (let i = 0; i < N; i++) {
    await sem.acquire(ctx);
    sem.release();
  }
  check(sem.held(), 0);
}

async function permit(): Promise<void> {
  const sem = new semaphore.Weighted(LIMIT);
  for (let i = 0; i < N; i++) {
    const held = await sem.permit(ctx);
    held.release();
  }
  check(sem.held(), 0);
}

function tryAcquire(): void {
  const sem = new semaphore.Weighted(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) {
    if (sem.tryAcquire()) n++;
    sem.release();
  }
  check(n, N);
}

function tryAcquireFloor(): void {
  const units = new BareSemaphore(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) {
    if (units.tryAcquire()) n++;
    units.release();
  }
  check(n, N);
}

async function contend(): Promise<void> {
  const sem = new semaphore.Weighted(LIMIT);
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      await sem.acquire(ctx);
      if (++running > LIMIT) throw new Error("too many at once");
      await DONE;
      running--;
      sem.release();
      done++;
    }
  };
  await Promise.all(Array.from({ length: TASKS }, task));
  check(done, N);
}

async function contendFloor(): Promise<void> {
  const units = new BareSemaphore(LIMIT);
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      await units.acquire();
      if (++running > LIMIT) throw new Error("too many at once");
      await DONE;
      running--;
      units.release();
      done++;
    }
  };
  await Promise.all(Array.from({ length: TASKS }, task));
  check(done, N);
}

const floorIs = "one bare await";

export const rows: readonly Row[] = [
  {
    id: "sem.acquire",
    what: "await acquire, release, without other callers: one unit",
    ops: N,
    ours: acquire,
    floor: oneAwait,
    floorIs,
    targets: { floor: 1.3, go: 1.5 },
    next: {
      targets: { floor: 1.5 },
      why: "A bare await alone takes several times as long as Go's fast path. Our fast path is `tryAcquire`.",
    },
  },
  {
    id: "sem.permit",
    what: "await a permit, release it: one permit",
    ops: N,
    ours: permit,
    floor: oneAwait,
    floorIs,
    targets: { floor: 2 },
  },
  {
    id: "sem.try",
    what: "tryAcquire, release: one unit",
    ops: N,
    ours: tryAcquire,
    floor: tryAcquireFloor,
    floorIs: "a counter",
    targets: { go: 0.4 },
    next: { targets: { go: 0.6 }, why: "Both calls check their argument, and both update the counters of held units." },
  },
  {
    id: "sem.contend",
    what: `${TASKS} tasks at ${LIMIT} units, each yielding while it holds one: one unit`,
    ops: N,
    ours: contend,
    floor: contendFloor,
    floorIs: "a counter and a queue of bare promises",
    targets: { "async-sema": 0.8 },
    next: {
      targets: { floor: 1.9 },
      why: "Each wait can be cancelled, so it is linked to its context; async-sema's cannot be cancelled.",
    },
  },
];
