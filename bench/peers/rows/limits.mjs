/** async-sema, async-mutex, p-limit, p-map and limiter. */
import { Mutex, Semaphore } from "async-mutex";
import { Sema } from "async-sema";
import { RateLimiter } from "limiter";
import pLimit from "p-limit";
import pMap from "p-map";
import { atMost, check, checkDoubled, DONE, items, LIMIT, N, TASKS } from "./row.mjs";

async function semaAcquire() {
  const sem = new Sema(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) {
    await sem.acquire();
    n++;
    sem.release();
  }
  check(n, N);
}

async function mutexAcquire() {
  const sem = new Semaphore(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) {
    const [, release] = await sem.acquire();
    n++;
    release();
  }
  check(n, N);
}

async function mutexExclusive() {
  const sem = new Semaphore(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) await sem.runExclusive(() => n++);
  check(n, N);
}

// 100 tasks at 10 units, each yielding while it holds one. Call the package directly from the loop: an async function
// in between would cost each unit more microtasks.

async function semaContend() {
  const sem = new Sema(LIMIT, { capacity: TASKS });
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      await sem.acquire();
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

async function mutexContend() {
  const sem = new Semaphore(LIMIT);
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      const [, release] = await sem.acquire();
      if (++running > LIMIT) throw new Error("too many at once");
      await DONE;
      running--;
      release();
      done++;
    }
  };
  await Promise.all(Array.from({ length: TASKS }, task));
  check(done, N);
}

const GROUPS = 20;

async function hundred() {
  let n = 0;
  for (let group = 0; group < GROUPS; group++) {
    const limit = pLimit(100);
    await Promise.all(Array.from({ length: 100 }, () => limit(async () => n++)));
  }
  check(n, GROUPS * 100);
}

const mapWith = (all, fn) => pMap(all, fn, { concurrency: LIMIT });

function limitWith(all, fn) {
  const limit = pLimit(LIMIT);
  return Promise.all(all.map((item) => limit(fn, item)));
}

const double = async (n) => n * 2;

async function mapAll() {
  checkDoubled(await mapWith(items, double));
}

async function mutexLock() {
  const mu = new Mutex();
  let n = 0;
  for (let i = 0; i < N; i++) {
    const release = await mu.acquire();
    n++;
    release();
  }
  check(n, N);
}

async function mutexLockContend() {
  const mu = new Mutex();
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      const release = await mu.acquire();
      if (++running > 1) throw new Error("too many at once");
      await DONE;
      running--;
      release();
      done++;
    }
  };
  await Promise.all(Array.from({ length: TASKS }, task));
  check(done, N);
}

async function limitAll() {
  checkDoubled(await limitWith(items, double));
}

const ample = new RateLimiter({ tokensPerInterval: 1e9, interval: "second" });
const scant = new RateLimiter({ tokensPerInterval: 1, interval: "day" });
scant.tryRemoveTokens(1);

/** Granted and denied in turn. */
function allow() {
  let granted = 0;
  for (let i = 0; i < N; i++) if ((i & 1 ? ample : scant).tryRemoveTokens(1)) granted++;
  check(granted, N / 2);
}

export const rows = [
  { row: "sem.acquire", peer: "async-sema", ops: N, run: semaAcquire },
  { row: "sem.acquire", peer: "async-mutex", ops: N, run: mutexAcquire },
  { row: "sem.permit", peer: "async-mutex", ops: N, run: mutexExclusive },
  { row: "sem.contend", peer: "async-sema", ops: N, run: semaContend },
  { row: "sem.contend", peer: "async-mutex", ops: N, run: mutexContend },
  { row: "sync.lock", peer: "async-mutex", ops: N, run: mutexLock },
  { row: "sync.contend", peer: "async-mutex", ops: N, run: mutexLockContend },
  { row: "group.hundred", peer: "p-limit", ops: GROUPS, run: hundred },
  { row: "group.map100k", peer: "p-map", ops: items.length, run: mapAll, checkOnce: () => atMost(LIMIT, mapWith) },
  {
    row: "group.map100k",
    peer: "p-limit",
    ops: items.length,
    run: limitAll,
    checkOnce: () => atMost(LIMIT, limitWith),
  },
  { row: "rate.allow", peer: "limiter", ops: N, run: allow },
];
