/** A semaphore whose size changes, and one whose queue is bounded. */
import { background, withCancel } from "gopark/context";
import { QueueFullError, Weighted } from "gopark/semaphore";
import { QueueFullError as WorkersQueueFullError } from "gopark/workers";
import { describe, expect, test } from "vitest";
import { foreign } from "./support/foreign.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();

describe("setSize", () => {
  test("larger: serves the waiters that fit now, in order", async () => {
    const sem = new Weighted(1);
    await sem.acquire(bg);
    const waits = [2, 1, 3, 1].map((n) => watch(sem.acquire(bg, n).catch((error) => Promise.reject(error))));
    expect(waits[0]?.state).toBe("pending");
    await turn();
    expect(waits.map(({ state }) => state)).toEqual(["rejected", "pending", "rejected", "pending"]); // Over the size.
    sem.setSize(2);
    await turn();
    expect(waits.map(({ state }) => state)).toEqual(["rejected", "fulfilled", "rejected", "pending"]);
    sem.setSize(9);
    await turn();
    expect([waits[3]?.state, sem.size(), sem.held(), sem.waiting()]).toEqual(["fulfilled", 9, 3, 0]);
    sem.release(3);
  });

  test("smaller: takes nothing back, and grants nothing until enough is released", async () => {
    const sem = new Weighted(4);
    await sem.acquire(bg, 3);
    using permit = await sem.permit(bg);
    sem.setSize(2);
    expect([sem.size(), sem.held(), sem.tryAcquire(), sem.tryAcquire(0)]).toEqual([2, 4, false, false]);
    const waiting = watch(sem.acquire(bg));
    sem.release();
    sem.release();
    await turn();
    expect([waiting.state, sem.held()]).toEqual(["pending", 2]);
    permit.release();
    await turn();
    expect([waiting.state, sem.held()]).toEqual(["fulfilled", 2]);
    sem.release(2);
  });

  test("smaller: waiters that ask for more than the size reject, wherever they stand; the others stay", async () => {
    const sem = new Weighted(5);
    await sem.acquire(bg, 5);
    const [big, small, huge, last] = [3, 2, 5, 1].map((n) => watch(sem.acquire(bg, n)));
    const permit = watch(sem.permit(bg, 4));
    sem.setSize(2);
    await turn();
    const message = (n: number, method = "acquire") =>
      `${method}: n must be at most 2, the size of the semaphore, got ${n}`;
    expect(big?.reason).toEqual(new RangeError(message(3)));
    expect(huge?.reason).toEqual(new RangeError(message(5)));
    expect(permit.reason).toEqual(new RangeError(message(4, "permit")));
    // No stack is captured for the waiters, who may be many.
    expect((permit.reason as Error).stack).toBe(`RangeError: ${message(4, "permit")}`);
    expect([small?.state, last?.state, sem.waiting()]).toEqual(["pending", "pending", 2]);
    await expect(sem.acquire(bg, 3)).rejects.toThrow(message(3));
    sem.release(5);
    await turn();
    expect([small?.state, last?.state, sem.held()]).toEqual(["fulfilled", "pending", 2]);
    sem.release(2);
    await turn();
    expect(last?.state).toBe("fulfilled");
    sem.release();
  });

  test("to 0 and back: nobody is served in between", async () => {
    const sem = new Weighted(1);
    sem.setSize(0);
    expect(sem.tryAcquire(0)).toBe(true);
    await expect(sem.acquire(bg)).rejects.toThrow(RangeError);
    sem.setSize(1);
    expect([sem.tryAcquire(), sem.held()]).toEqual([true, 1]);
    sem.release();
  });

  test("smaller, by a foreign context that is asked: the call that asks for more than the size rejects", async () => {
    for (const call of ["acquire", "permit"] as const) {
      const sem = new Weighted(5);
      const outside = foreign({ err: () => void sem.setSize(2) });
      await expect(sem[call](outside, 5)).rejects.toThrow(
        `${call}: n must be at most 2, the size of the semaphore, got 5`,
      );
      await sem.acquire(bg, 2); // Nobody is before it.
      sem.release(2);
    }
  });

  test.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "3", undefined])(
    "refuses %s, with nothing changed",
    (size) => {
      const sem = new Weighted(2);
      expect(() => sem.setSize(size as number)).toThrow(/^setSize: size must be a whole number/);
      expect(sem.size()).toBe(2);
    },
  );
});

describe("maxWaiting", () => {
  test("callers beyond it are refused at once, by one error without frames", async () => {
    const sem = new Weighted(1, { maxWaiting: 2 });
    await sem.acquire(bg);
    const [ctx, cancel] = withCancel(bg);
    const waiting = watch(sem.acquire(ctx));
    const permitted = sem.permit(bg);
    const refused = await Promise.all([
      sem.acquire(bg).catch((error) => error),
      sem.permit(bg).catch((error) => error),
      sem.withPermit(bg, () => "ran").catch((error) => error),
    ]);
    expect(refused[0]).toBeInstanceOf(QueueFullError);
    expect([refused[0].name, refused[0].message]).toEqual(["QueueFullError", "queue full: maxWaiting is 2"]);
    expect(refused[0].stack).toBe("QueueFullError: queue full: maxWaiting is 2");
    expect(new Set(refused).size).toBe(1);
    expect([sem.tryAcquire(), sem.waiting()]).toEqual([false, 2]);
    cancel();
    const place = watch(sem.acquire(bg));
    await turn();
    expect([place.state, sem.waiting()]).toEqual(["pending", 2]);
    sem.release();
    await turn();
    const permit = await permitted;
    expect(waiting.state).toBe("rejected");
    permit.release();
    await turn();
    expect(place.state).toBe("fulfilled");
    sem.release();
  });

  test("of 0: nobody waits; what is free is still granted", async () => {
    const sem = new Weighted(1, { maxWaiting: 0 });
    await sem.acquire(bg);
    await expect(sem.acquire(bg)).rejects.toBeInstanceOf(QueueFullError);
    sem.release();
    expect(await sem.withPermit(bg, () => "ran")).toBe("ran");
  });

  test("an ended context and a bad count come first", async () => {
    const sem = new Weighted(1, { maxWaiting: 0 });
    await sem.acquire(bg);
    const [ctx, cancel] = withCancel(bg);
    cancel();
    await expect(sem.acquire(ctx)).rejects.toBe(ctx.err());
    await expect(sem.acquire(bg, 2)).rejects.toThrow(RangeError);
    sem.release();
  });

  test("options that are null are left out", () => {
    expect(new Weighted(1, null as never).tryAcquire(0)).toBe(true);
  });

  test("is the class of workers too", () => {
    expect(QueueFullError).toBe(WorkersQueueFullError);
  });

  test.each([-1, 0.5, Number.NaN, "1", null])("%s is refused", (maxWaiting) => {
    expect(() => new Weighted(1, { maxWaiting: maxWaiting as number })).toThrow(
      /^Weighted: maxWaiting must be a whole number/,
    );
  });
});
