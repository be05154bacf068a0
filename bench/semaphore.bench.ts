/** The weighted semaphore, beside one bare await and Go's figures. */
import { context, semaphore } from "gopark";
import { check, compare } from "./support/compare.ts";

const N = 5_000;
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

async function contend(): Promise<void> {
  const sem = new semaphore.Weighted(10);
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / 100; i++) {
      await sem.acquire(ctx);
      if (++running > 10) throw new Error("more than 10 at once");
      await DONE;
      running--;
      sem.release();
      done++;
    }
  };
  await Promise.all(Array.from({ length: 100 }, task));
  check(done, N);
}

await compare("semaphore", [
  {
    name: "acquire + release, awaited",
    ops: N,
    floor: oneAwait,
    ours: async () => {
      const sem = new semaphore.Weighted(10);
      for (let i = 0; i < N; i++) {
        await sem.acquire(ctx);
        sem.release();
      }
      check(sem.held(), 0);
    },
    most: 1.3,
    go: [26, 1.5],
  },
  {
    name: "permit, disposed",
    ops: N,
    floor: oneAwait,
    ours: async () => {
      const sem = new semaphore.Weighted(10);
      for (let i = 0; i < N; i++) {
        const permit = await sem.permit(ctx);
        permit.release();
      }
      check(sem.held(), 0);
    },
    most: 2,
  },
  {
    name: "tryAcquire + release",
    ops: N,
    ours: () => {
      const sem = new semaphore.Weighted(10);
      let n = 0;
      for (let i = 0; i < N; i++) {
        if (sem.tryAcquire()) n++;
        sem.release();
      }
      check(n, N);
    },
    go: [24, 0.4],
  },
  { name: "100 tasks contending, each yielding inside", ops: N, floor: oneAwait, ours: contend },
]);
