/** Retrying, compared with the same call through one async function, and with a loop without waits. */
import { context, retry } from "gopark";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const down = new Error("down");
const ctx = context.withCancel(context.background()).ctx;

async function work(): Promise<number> {
  return 1;
}

async function wrapper<T>(fn: () => Promise<T>): Promise<T> {
  return await fn();
}

async function first(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) n += await retry(ctx, work);
  check(n, N);
}

async function budgeted(): Promise<void> {
  const options = { attempts: 4, budget: new retry.Budget() };
  let n = 0;
  for (let i = 0; i < N; i++) n += await retry(ctx, work, options);
  check(n, N);
}

async function wrapped(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) n += await wrapper(work);
  check(n, N);
}

async function third(): Promise<void> {
  const options = { base: 0 };
  let n = 0;
  for (let i = 0; i < N; i++) {
    n += await retry(ctx, (_, attempt) => (attempt < 3 ? Promise.reject(down) : Promise.resolve(1)), options);
  }
  check(n, N);
}

async function loop(fn: (attempt: number) => Promise<number>): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await fn(attempt);
    } catch (error) {
      if (attempt >= 3) throw error;
    }
  }
}

async function looped(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) {
    n += await loop((attempt) => (attempt < 3 ? Promise.reject(down) : Promise.resolve(1)));
  }
  check(n, N);
}

export const rows: readonly Row[] = [
  {
    id: "retry.first",
    what: "await retry of an async function that succeeds at once: one call",
    ops: N,
    ours: first,
    floor: wrapped,
    floorIs: "the same call through one async function",
  },
  {
    id: "retry.budget",
    what: "the same with options and a budget: one call",
    ops: N,
    ours: budgeted,
    floor: wrapped,
    floorIs: "the same call through one async function",
  },
  {
    id: "retry.third",
    what: "await retry of a function that succeeds at its third attempt, with a base of 0: one call",
    ops: N,
    ours: third,
    floor: looped,
    floorIs: "a loop of three attempts without waits",
  },
];
