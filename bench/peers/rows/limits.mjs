/** async-sema, async-mutex, p-limit, p-map and limiter. */
import { Semaphore } from "async-mutex";
import { Sema } from "async-sema";
import { RateLimiter } from "limiter";
import pLimit from "p-limit";
import pMap from "p-map";
import { check, N } from "./row.mjs";

async function semaAcquire() {
  const sem = new Sema(10);
  let n = 0;
  for (let i = 0; i < N; i++) {
    await sem.acquire();
    n++;
    sem.release();
  }
  check(n, N);
}

async function mutexAcquire() {
  const sem = new Semaphore(10);
  let n = 0;
  for (let i = 0; i < N; i++) {
    const [, release] = await sem.acquire();
    n++;
    release();
  }
  check(n, N);
}

async function mutexExclusive() {
  const sem = new Semaphore(10);
  let n = 0;
  for (let i = 0; i < N; i++) await sem.runExclusive(() => n++);
  check(n, N);
}

/** 100 tasks at 10 units, each yielding while it holds one. `acquire` resolves to what gives the unit back. */
async function contend(acquire) {
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / 100; i++) {
      const release = await acquire();
      if (++running > 10) throw new Error("too many at once");
      await undefined;
      running--;
      release();
      done++;
    }
  };
  await Promise.all(Array.from({ length: 100 }, task));
  check(done, N);
}

function semaContend() {
  const sem = new Sema(10);
  const release = () => sem.release();
  return contend(async () => {
    await sem.acquire();
    return release;
  });
}

function mutexContend() {
  const sem = new Semaphore(10);
  return contend(async () => (await sem.acquire())[1]);
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

const items = Array.from({ length: 100_000 }, (_, i) => i);

function checkDoubled(results) {
  check(results.length, items.length);
  check(results[99_999], 199_998);
}

async function mapAll() {
  checkDoubled(await pMap(items, async (n) => n * 2, { concurrency: 10 }));
}

async function limitAll() {
  const limit = pLimit(10);
  checkDoubled(await Promise.all(items.map((n) => limit(async () => n * 2))));
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
  { row: "group.hundred", peer: "p-limit", ops: GROUPS, run: hundred },
  { row: "group.map100k", peer: "p-map", ops: items.length, run: mapAll },
  { row: "group.map100k", peer: "p-limit", ops: items.length, run: limitAll },
  { row: "rate.allow", peer: "limiter", ops: N, run: allow },
];
