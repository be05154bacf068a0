/** Weighted semaphore: the behaviour pinned by x/sync's own tests, and what contention must not break. */
import { AsyncLocalStorage } from "node:async_hooks";
import { background, Canceled, DeadlineExceeded, withCancel, withTimeout } from "gopark/context";
import { withContext } from "gopark/errgroup";
import { Weighted } from "gopark/semaphore";
import { describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

describe("as upstream", () => {
  test("Weighted: tasks of every weight hammer it, and no more than its size is ever out", async () => {
    const size = 4;
    const sem = new Weighted(size);
    let out = 0;
    let most = 0;
    const hammer = async (n: number) => {
      for (let i = 0; i < 100; i++) {
        await sem.acquire(background(), n);
        out += n;
        most = Math.max(most, out);
        if (i % 3 === 0) await turn();
        out -= n;
        sem.release(n);
      }
    };

    await Promise.all([0, 1, 2, 3, 4, 1, 2].map(hammer));

    expect(most).toBe(size);
    expect(sem.held()).toBe(0);
    expect(sem.waiting()).toBe(0);
  });

  test("WeightedPanic: releasing what was not acquired throws", () => {
    const sem = new Weighted(1);
    expect(() => sem.release(1)).toThrow(new Error("semaphore: released more than held"));
  });

  test("WeightedTryAcquire: true while units are free, false when they are out", async () => {
    const sem = new Weighted(2);
    const tries: boolean[] = [];

    await sem.acquire(background(), 1);
    tries.push(sem.tryAcquire(1), sem.tryAcquire(1));
    sem.release(2);
    tries.push(sem.tryAcquire(1));
    await sem.acquire(background(), 1);
    tries.push(sem.tryAcquire(1));

    expect(tries).toEqual([true, false, true, false]);
    sem.release(2);
  });

  test("WeightedAcquire: a full semaphore lets the context's deadline end the wait", async () => {
    vi.useFakeTimers();
    const sem = new Weighted(2);
    const tryFor10ms = async () => {
      using scope = withTimeout(background(), 10);
      const acquired = watch(sem.acquire(scope.ctx, 1));
      await vi.advanceTimersByTimeAsync(10);
      if (acquired.state === "rejected") expect(acquired.reason).toBeInstanceOf(DeadlineExceeded);
      return acquired.state;
    };
    const tries: string[] = [];

    await sem.acquire(background(), 1);
    tries.push(await tryFor10ms(), await tryFor10ms());
    sem.release(2);
    tries.push(await tryFor10ms());
    await sem.acquire(background(), 1);
    tries.push(await tryFor10ms());

    expect(tries).toEqual(["fulfilled", "rejected", "fulfilled", "rejected"]);
    sem.release(2);
  });

  test("WeightedDoesntBlockIfTooBig: a request that can never fit does not block others", async () => {
    const size = 2;
    const sem = new Weighted(size);
    const tooBig = watch(sem.acquire(background(), size + 1));

    const [g, ctx] = withContext(background());
    for (let i = 0; i < size * 3; i++) {
      await g.go(async () => {
        await sem.acquire(ctx, 1);
        await turn();
        sem.release(1);
      });
    }
    await g.wait();

    // Go waits until the context ends, which here would be never; this port rejects at once.
    expect(tooBig.reason).toBeInstanceOf(RangeError);
    expect(sem.held()).toBe(0);
  });

  test("LargeAcquireDoesntStarve: tasks that swap single units do not keep all of them from another", async () => {
    const size = 4;
    const sem = new Weighted(size);
    let running = true;
    const swap = async () => {
      while (running) {
        await turn();
        sem.release(1);
        await sem.acquire(background(), 1);
      }
      sem.release(1);
    };
    const tasks: Promise<void>[] = [];
    for (let i = 0; i < size; i++) {
      await sem.acquire(background(), 1);
      tasks.push(swap());
    }

    await sem.acquire(background(), size);
    running = false;
    sem.release(size);
    await Promise.all(tasks);

    expect(sem.held()).toBe(0);
  });

  test("AllocCancelDoesntStarve: a cancelled front waiter lets through those it held back", async () => {
    const sem = new Weighted(10);
    await sem.acquire(background(), 1);
    using writer = withCancel(background());
    const big = watch(sem.acquire(writer.ctx, 10));
    const small = watch(sem.acquire(background(), 1));
    await turn();
    expect([big.state, small.state, sem.waiting()]).toEqual(["pending", "pending", 2]);

    writer.cancel();
    await turn();

    expect(big.reason).toBeInstanceOf(Canceled);
    expect(small.state).toBe("fulfilled");
    sem.release(2);
  });

  test("WeightedAcquireCanceled: a cancel before the release makes acquire fail and keeps no unit", async () => {
    const sem = new Weighted(2);
    await sem.acquire(background(), 1);
    const [ctx, cancel] = withCancel(background());
    const acquired = watch(sem.acquire(ctx, 2));
    await turn();

    cancel();
    sem.release(1);
    await turn();

    expect(acquired.reason).toBeInstanceOf(Canceled);
    expect(sem.tryAcquire(2)).toBe(true);
    sem.release(2);
    // Units are free, and still a done context gets none.
    await expect(sem.acquire(ctx, 1)).rejects.toBe(ctx.err());
    expect(sem.held()).toBe(0);
  });
});

describe("order", () => {
  test("waiters are served in order of arrival, whatever their size", async () => {
    const sem = new Weighted(3);
    await sem.acquire(background(), 3);
    const served: string[] = [];
    for (const [name, n] of Object.entries({ a: 1, b: 3, c: 1, d: 2 })) {
      void sem.acquire(background(), n).then(() => served.push(name));
    }

    const log: string[][] = [];
    for (const n of [1, 2, 1, 3]) {
      sem.release(n);
      await turn();
      log.push(served.splice(0));
    }

    expect(log).toEqual([["a"], [], ["b"], ["c", "d"]]);
    sem.release(3);
  });

  test("no call overtakes a waiter: not acquire, not tryAcquire, not a request for 0 units", async () => {
    const sem = new Weighted(2);
    await sem.acquire(background(), 1);
    const front = watch(sem.acquire(background(), 2));

    expect(sem.tryAcquire(1)).toBe(false);
    const late = watch(sem.acquire(background(), 1));
    const nothing = watch(sem.acquire(background(), 0));
    await turn();
    expect([front.state, late.state, nothing.state, sem.waiting()]).toEqual(["pending", "pending", "pending", 3]);

    sem.release(1);
    await turn();
    expect([front.state, late.state, nothing.state]).toEqual(["fulfilled", "pending", "pending"]);
    sem.release(2);
    await turn();
    expect([late.state, nothing.state]).toEqual(["fulfilled", "fulfilled"]);
    sem.release(1);
  });

  test("units count as held from the grant on, before the waiter resumes", async () => {
    const sem = new Weighted(1);
    await sem.acquire(background());
    const waiter = watch(sem.acquire(background()));

    sem.release();

    expect(sem.held()).toBe(1);
    expect(sem.tryAcquire()).toBe(false);
    await turn();
    expect(waiter.state).toBe("fulfilled");
    sem.release();
  });
});

describe("permits", () => {
  test("tryPermit takes units only where they are free and nobody waits, and its permit alone gives them back", async () => {
    const sem = new Weighted(3);
    const permit = sem.tryPermit(2);
    expect([permit?.n, sem.held()]).toEqual([2, 2]);
    expect(() => sem.release()).toThrow("semaphore: released more than held");
    expect(sem.tryPermit(2)).toBeUndefined();
    expect(sem.tryPermit(4)).toBeUndefined();
    const waiter = sem.permit(background(), 2);
    expect(sem.tryPermit()).toBeUndefined();
    permit?.release();
    permit?.release();
    expect(sem.held()).toBe(2);
    (await waiter).release();
    expect(sem.held()).toBe(0);
  });

  test("a permit carries its units and gives them back at the end of the block", async () => {
    const sem = new Weighted(3);
    {
      using permit = await sem.permit(background(), 2);
      expect(permit.n).toBe(2);
      expect(sem.held()).toBe(2);
    }
    expect(sem.held()).toBe(0);
  });

  test("withPermit holds its units exactly while fn runs, and answers what fn answers", async () => {
    const sem = new Weighted(3);
    let finish = (_: string) => {};
    const answer = sem.withPermit(background(), 2, () => new Promise<string>((resolve) => (finish = resolve)));
    await turn();
    expect(sem.held()).toBe(2);

    finish("done");

    await expect(answer).resolves.toBe("done");
    expect(sem.held()).toBe(0);
    await expect(sem.withPermit(background(), () => sem.held())).resolves.toBe(1);
  });

  test("fn runs in its caller's async context, not in that of the release that admitted it", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const sem = new Weighted(1);
    const seen: (string | undefined)[] = [];
    const enter = () =>
      sem.withPermit(background(), async () => {
        seen.push(tenant.getStore());
        await turn();
      });
    await Promise.all(["a", "b", "c"].map((name) => tenant.run(name, enter)));
    expect(seen).toEqual(["a", "b", "c"]);
  });

  test("a cancelled wait for a permit never runs fn", async () => {
    const sem = new Weighted(1);
    await sem.acquire(background());
    const [ctx, cancel] = withCancel(background());
    const fn = vi.fn();
    const waiting = watch(sem.withPermit(ctx, fn));

    cancel();
    sem.release();
    await turn();

    expect(waiting.reason).toBe(ctx.err());
    expect(fn).not.toHaveBeenCalled();
    expect(sem.held()).toBe(0);
  });
});

test("waiting is parked, not polled: no timer runs for a wait without a deadline", async () => {
  vi.useFakeTimers();
  const sem = new Weighted(1);
  await sem.acquire(background());
  const waiter = watch(sem.acquire(background()));

  await vi.advanceTimersByTimeAsync(60_000);

  expect(vi.getTimerCount()).toBe(0);
  expect(waiter.state).toBe("pending");
  sem.release();
  await vi.advanceTimersByTimeAsync(0);
  expect(waiter.state).toBe("fulfilled");
  sem.release();
});
