/** effect: each run is one program, as effect is meant to be used. */
import { Effect, Fiber, Queue, Semaphore } from "effect";
import { atMost, check, checkDoubled, DONE, items, LIMIT, N, SUM, TASKS } from "./row.mjs";

const buffered = Effect.gen(function* () {
  const queue = yield* Queue.bounded(128);
  const fiber = yield* Effect.forkChild(
    Effect.gen(function* () {
      let sum = 0;
      for (let i = 0; i < N; i++) sum += yield* Queue.take(queue);
      return sum;
    }),
  );
  for (let i = 0; i < N; i++) yield* Queue.offer(queue, i);
  return yield* Fiber.join(fiber);
});

async function stream() {
  check(await Effect.runPromise(buffered), SUM);
}

const scoped = Effect.gen(function* () {
  const sem = yield* Semaphore.make(LIMIT);
  let n = 0;
  const once = Semaphore.withPermits(sem, 1)(Effect.sync(() => n++));
  for (let i = 0; i < N; i++) yield* once;
  return n;
});

const taken = Effect.gen(function* () {
  const sem = yield* Semaphore.make(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) {
    yield* sem.take(1);
    n++;
    yield* sem.release(1);
  }
  return n;
});

const contended = Effect.gen(function* () {
  const sem = yield* Semaphore.make(LIMIT);
  const state = { running: 0, done: 0 };
  const yielding = Effect.promise(() => DONE);
  const task = Effect.gen(function* () {
    for (let i = 0; i < N / TASKS; i++) {
      yield* sem.take(1);
      if (++state.running > LIMIT) throw new Error("too many at once");
      yield* yielding;
      state.running--;
      yield* sem.release(1);
      state.done++;
    }
  });
  yield* Effect.all(Array(TASKS).fill(task), { concurrency: "unbounded", discard: true });
  return state.done;
});

const GROUPS = 20;

async function hundred() {
  let n = 0;
  const task = Effect.promise(async () => n++);
  const group = Effect.all(Array(100).fill(task), { concurrency: 100, discard: true });
  for (let i = 0; i < GROUPS; i++) await Effect.runPromise(group);
  check(n, GROUPS * 100);
}

const mapWith = (all, fn) =>
  Effect.runPromise(Effect.forEach(all, (n) => Effect.promise(() => fn(n)), { concurrency: LIMIT }));

async function map() {
  checkDoubled(await mapWith(items, async (n) => n * 2));
}

export const rows = [
  { row: "chan.buffered", peer: "effect", ops: N, run: stream },
  { row: "sem.acquire", peer: "effect", ops: N, run: async () => check(await Effect.runPromise(taken), N) },
  { row: "sem.contend", peer: "effect", ops: N, run: async () => check(await Effect.runPromise(contended), N) },
  { row: "group.hundred", peer: "effect", ops: GROUPS, run: hundred },
  { row: "sem.permit", peer: "effect", ops: N, run: async () => check(await Effect.runPromise(scoped), N) },
  { row: "group.map100k", peer: "effect", ops: items.length, run: map, checkOnce: () => atMost(LIMIT, mapWith) },
];
