/** Workers, beside one async function, or a counter and a queue of bare promises around it. */
import { context, workers } from "gopark";
import { BareSemaphore } from "./support/floor.ts";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const LIMIT = 10;
const ctx = context.withCancel(context.background()).ctx;
const DONE = Promise.resolve();

/** What each row submits: a task that yields once. */
async function task(): Promise<number> {
  await DONE;
  return 1;
}

function sum(results: readonly number[]): number {
  let n = 0;
  for (let i = 0; i < results.length; i++) n += results[i] as number;
  return n;
}

async function submit(): Promise<void> {
  const pool = new workers.Workers(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) n += await pool.submit(task);
  check(n, N);
}

async function submitFloor(): Promise<void> {
  const wrapped = async () => await task();
  let n = 0;
  for (let i = 0; i < N; i++) n += await wrapped();
  check(n, N);
}

async function queue(): Promise<void> {
  const pool = new workers.Workers(LIMIT);
  check(sum(await Promise.all(Array.from({ length: N }, () => pool.submit(task)))), N);
}

async function queueFloor(): Promise<void> {
  const units = new BareSemaphore(LIMIT);
  const run = async () => {
    await units.acquire();
    const result = await task();
    units.release();
    return result;
  };
  check(sum(await Promise.all(Array.from({ length: N }, run))), N);
}

async function cancellable(): Promise<void> {
  const pool = new workers.Workers(LIMIT);
  const options = { cancel: ctx };
  check(sum(await Promise.all(Array.from({ length: N }, () => pool.submit(task, options)))), N);
}

async function priorities(): Promise<void> {
  const pool = new workers.Workers(LIMIT);
  const options = Array.from({ length: N }, (_, i) => ({ priority: (i * 7919) % N }));
  check(sum(await Promise.all(options.map((o) => pool.submit(task, o)))), N);
}

export const rows: readonly Row[] = [
  {
    id: "workers.submit",
    what: "submit a task that yields once, and await it, a slot being free: one task",
    ops: N,
    ours: submit,
    floor: submitFloor,
    floorIs: "the same task through one async function",
    targets: { "p-limit": 1, "p-queue": 1 },
  },
  {
    id: "workers.queue",
    what: `submit ${N} such tasks at once to ${LIMIT} slots, and await all: one task`,
    ops: N,
    ours: queue,
    floor: queueFloor,
    floorIs: "a counter and a queue of bare promises",
    targets: { "p-limit": 1, "p-queue": 1 },
  },
  {
    id: "workers.cancel",
    what: "the same, each with a context that can be cancelled: one task",
    ops: N,
    ours: cancellable,
    targets: { "p-queue": 1 },
  },
  {
    id: "workers.priorities",
    what: `the same, with ${N} priorities in mixed order: one task`,
    ops: N,
    ours: priorities,
    targets: { "p-queue": 1 },
  },
];
