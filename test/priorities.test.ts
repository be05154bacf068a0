/** The queue of waiters with priorities: what the tests of workers cannot see. */
import { background, withCancel } from "gopark/context";
import { expect, test } from "vitest";
import { Kind } from "../src/internal/track/tracker.ts";
import { sourceOf } from "../src/internal/wait/foreign.ts";
import { PriorityWaiters } from "../src/internal/wait/priorities.ts";
import { Wait } from "../src/internal/wait/wait.ts";

const WAIT = new Kind("test wait", "wait");

/** How many levels the queue keeps, and how many of them are in its heap. */
function levels(queue: PriorityWaiters<string, number>): [kept: number, ordered: number] {
  const { levels: kept, order } = queue as unknown as { levels: { size: number }; order: { size: number } };
  return [kept.size, order.size];
}

test("keeps no level but the usual one while nobody waits in it, however the last one left", async () => {
  let emptied = 0;
  const queue = new PriorityWaiters<string, number>(WAIT, () => emptied++);
  const { ctx, cancel } = withCancel(background());
  const source = sourceOf(ctx);
  const park = (priority: number, cancellable: boolean) =>
    queue.park(cancellable ? source : undefined, priority, priority).catch((error: Error) => error.name);
  const all = [3, 3, 2, 0, -1, -0].map((priority) => park(priority, false));
  const gone = [5, 2, 4].map((priority) => park(priority, true));
  expect([levels(queue), queue.size]).toEqual([[6, 6], 9]);
  cancel();
  expect([levels(queue), queue.size, emptied]).toEqual([[4, 4], 6, 3]);
  const served: unknown[] = [];
  for (let i = 0; i < 4; i++) {
    const waiter = queue.shift();
    served.push(waiter?.value);
    waiter?.resolve("served");
  }
  expect([served, levels(queue), queue.size]).toEqual([[3, 3, 2, 0], [2, 2], 2]);
  queue.rejectAll(new RangeError("closed"));
  expect([levels(queue), queue.size, queue.shift()]).toEqual([[1, 0], 0, undefined]);
  expect(await Promise.all(all)).toEqual(["served", "served", "served", "served", "RangeError", "RangeError"]);
  expect(await Promise.all(gone)).toEqual(Array(3).fill("AbortError"));
});

test("a wait that the caller made stands behind all of its priority", async () => {
  const queue = new PriorityWaiters<string, number>(WAIT, () => {});
  const first = queue.park(undefined, 1, 7);
  const wait = new Wait<string, number>(WAIT, undefined, 2);
  queue.push(wait, 7);
  const last = queue.park(undefined, 3, 6);
  const order = [queue.shift(), queue.shift(), queue.shift()];
  expect(order.map((w) => w?.value)).toEqual([1, 2, 3]);
  for (const w of order) w?.resolve("done");
  expect(await Promise.all([first, wait.promise, last])).toEqual(["done", "done", "done"]);
});
