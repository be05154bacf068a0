/** p-limit and p-queue. */
import pLimit from "p-limit";
import PQueue from "p-queue";
import { atMost, check, DONE, LIMIT, N } from "./row.mjs";

async function task() {
  await DONE;
  return 1;
}

function sum(results) {
  let n = 0;
  for (let i = 0; i < results.length; i++) n += results[i];
  return n;
}

const limitWith = (limit) => {
  const run = pLimit(limit);
  return (fn) => run(fn);
};
const queueWith = (limit) => {
  const queue = new PQueue({ concurrency: limit });
  return (fn, options) => queue.add(fn, options);
};

async function submit(make) {
  const add = make(LIMIT);
  let n = 0;
  for (let i = 0; i < N; i++) n += await add(task);
  check(n, N);
}

async function queue(make, optionsOf = () => undefined) {
  const add = make(LIMIT);
  check(sum(await Promise.all(Array.from({ length: N }, (_, i) => add(task, optionsOf(i))))), N);
}

const controller = new AbortController();
const abortable = { signal: controller.signal };

const bounded = (make) => () =>
  atMost(LIMIT, (all, fn) => {
    const add = make(LIMIT);
    return Promise.all(all.map((item) => add(() => fn(item))));
  });

export const rows = [
  ["p-limit", limitWith],
  ["p-queue", queueWith],
].flatMap(([peer, make]) => [
  { row: "workers.submit", peer, ops: N, run: () => submit(make), checkOnce: bounded(make) },
  { row: "workers.queue", peer, ops: N, run: () => queue(make), checkOnce: bounded(make) },
]);

// p-limit has no priorities, and cannot cancel one of those that wait.
rows.push(
  { row: "workers.cancel", peer: "p-queue", ops: N, run: () => queue(queueWith, () => abortable) },
  {
    row: "workers.priorities",
    peer: "p-queue",
    ops: N,
    run: () => queue(queueWith, (i) => ({ priority: (i * 7919) % N })),
  },
);
