/** Weighted semaphore: known mistakes of ports and similar packages. */
import { background, DeadlineExceeded, withCancel, withTimeout } from "gopark/context";
import { Weighted } from "gopark/semaphore";
import { expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

test("a waiter whose deadline passes leaves the queue at once and lets smaller ones behind it through", async () => {
  vi.useFakeTimers();
  const sem = new Weighted(4);
  await sem.acquire(background(), 3);
  using scope = withTimeout(background(), 100);
  const big = watch(sem.acquire(scope.ctx, 2));
  const small = watch(sem.acquire(background(), 1));
  await vi.advanceTimersByTimeAsync(99);
  expect([big.state, small.state, sem.waiting()]).toEqual(["pending", "pending", 2]);

  await vi.advanceTimersByTimeAsync(1);

  expect(big.reason).toBeInstanceOf(DeadlineExceeded);
  expect([small.state, sem.waiting(), sem.held()]).toEqual(["fulfilled", 0, 4]);
  sem.release(4);
});

test("an aborted waiter lets smaller ones through too, all that fit and no more", async () => {
  const sem = new Weighted(4);
  await sem.acquire(background(), 2);
  const controller = new AbortController();
  const big = watch(sem.acquire(controller.signal, 3));
  const rest = [1, 1, 1].map((n) => watch(sem.acquire(background(), n)));
  await turn();

  controller.abort();
  expect([sem.held(), sem.waiting()]).toEqual([4, 1]);
  await turn();

  expect(big.state).toBe("rejected");
  expect(rest.map((w) => w.state)).toEqual(["fulfilled", "fulfilled", "pending"]);
  sem.release(4);
  await turn();
  sem.release(1);
});

test("one cancel that ends front and second waiter together grants neither, and frees those behind both", async () => {
  const sem = new Weighted(4);
  await sem.acquire(background(), 2);
  using scope = withCancel(background());
  const big = watch(sem.acquire(scope.ctx, 4));
  const doomed = watch(sem.acquire(scope.ctx, 2));
  const behind = watch(sem.acquire(background(), 2));
  await turn();

  scope.cancel();
  await turn();

  expect([big.state, doomed.state, behind.state]).toEqual(["rejected", "rejected", "fulfilled"]);
  expect(sem.held()).toBe(4);
  sem.release(4);
});

test("a release of 2^26 units is one step: counts are numbers, not lists of units", async () => {
  const sem = new Weighted(2 ** 26);
  await sem.acquire(background(), sem.size());
  const waiter = watch(sem.acquire(background(), sem.size()));

  sem.release(sem.size());
  await turn();
  expect(waiter.state).toBe("fulfilled");
  // A loop over the units would take minutes here.
  for (let i = 0; i < 1000; i++) {
    sem.release(sem.size());
    sem.tryAcquire(sem.size());
  }

  expect(sem.held()).toBe(sem.size());
  sem.release(sem.size());
});

test("aborting a queued waiter gives back no unit, as it never held one", async () => {
  const sem = new Weighted(2);
  await sem.acquire(background(), 2);
  const controller = new AbortController();
  const queued = watch(sem.permit(controller.signal));

  controller.abort();
  await turn();

  expect(queued.state).toBe("rejected");
  expect(sem.held()).toBe(2);
  expect(sem.tryAcquire()).toBe(false);
  sem.release(2);
});

test("disposing a permit twice frees one", async () => {
  const sem = new Weighted(2);
  const first = await sem.permit(background());
  const second = await sem.permit(background());

  first[Symbol.dispose]();
  first[Symbol.dispose]();

  expect(sem.held()).toBe(1);
  second.release();
});

test("200 small acquires do not overtake a queued big one", async () => {
  const sem = new Weighted(10);
  await sem.acquire(background(), 1);
  const order: string[] = [];
  const enter = async (name: string, n: number) => {
    using _ = await sem.permit(background(), n);
    order.push(name);
    await turn();
  };
  const tasks = [enter("big", 10)];
  for (let i = 0; i < 200; i++) {
    expect(sem.tryAcquire(1)).toBe(false);
    tasks.push(enter("small", 1));
  }

  await turn();
  expect(order).toEqual([]);
  sem.release(1);
  await Promise.all(tasks);

  expect(order[0]).toBe("big");
  expect(order).toHaveLength(201);
});

test("2000 waits that come and go on one context leave nothing in the queue and nothing on the context", async () => {
  const sem = new Weighted(1);
  await sem.acquire(background());
  using longLived = withCancel(background());
  for (let i = 0; i < 20; i++) {
    const waits = Array.from({ length: 100 }, () => sem.acquire(longLived.ctx));
    for (const wait of waits) {
      sem.release();
      await wait;
    }
    expect(sem.waiting()).toBe(0);
  }
  longLived.cancel();
  expect(sem.held()).toBe(1);
  sem.release();
});
