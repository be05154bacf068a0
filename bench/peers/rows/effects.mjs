/** effect: each run is one program, as its users write them. */
import { Effect, Fiber, Queue, Semaphore } from "effect";
import { atMost, check, checkDoubled, items, LIMIT, N, SUM } from "./row.mjs";

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

const mapWith = (all, fn) =>
  Effect.runPromise(Effect.forEach(all, (n) => Effect.promise(() => fn(n)), { concurrency: LIMIT }));

async function map() {
  checkDoubled(await mapWith(items, async (n) => n * 2));
}

export const rows = [
  { row: "chan.buffered", peer: "effect", ops: N, run: stream },
  { row: "sem.permit", peer: "effect", ops: N, run: async () => check(await Effect.runPromise(scoped), N) },
  { row: "group.map100k", peer: "effect", ops: items.length, run: map, prove: () => atMost(LIMIT, mapWith) },
];
