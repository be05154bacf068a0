/** Weighted semaphore: bad arguments, misuse and races are errors, and lose no unit. */
import { background, Canceled, withCancel } from "gopark/context";
import { Weighted } from "gopark/semaphore";
import { describe, expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const badCounts = [Number.NaN, -1, 0.5, -0.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 53];

describe("counts", () => {
  test.each(badCounts)("a semaphore of size %d is refused", (size) => {
    expect(() => new Weighted(size)).toThrow(RangeError);
  });

  test.each(badCounts)("a count of %d is refused everywhere, and changes nothing", async (n) => {
    const sem = new Weighted(4);
    await sem.acquire(background(), 2);

    expect(() => sem.tryAcquire(n)).toThrow(RangeError);
    expect(() => sem.tryPermit(n)).toThrow(RangeError);
    expect(() => sem.release(n)).toThrow(RangeError);
    await expect(sem.acquire(background(), n)).rejects.toThrow(RangeError);
    await expect(sem.permit(background(), n)).rejects.toThrow(RangeError);
    await expect(sem.withPermit(background(), n, () => "ran")).rejects.toThrow(RangeError);

    expect([sem.held(), sem.waiting()]).toEqual([2, 0]);
    sem.release(2);
  });

  test("a count that is not a number is a TypeError that shows it", async () => {
    const sem = new Weighted(4);
    const two = "2" as unknown as number;
    expect(() => new Weighted(two)).toThrow(new TypeError('Weighted: size must be a whole number, got "2"'));
    const shown = 'n must be a whole number, got "2"';
    expect(() => sem.tryAcquire(two)).toThrow(new TypeError(`tryAcquire: ${shown}`));
    expect(() => sem.tryPermit(two)).toThrow(new TypeError(`tryPermit: ${shown}`));
    expect(() => sem.release(two)).toThrow(new TypeError(`release: ${shown}`));
    await expect(sem.acquire(background(), two)).rejects.toThrow(new TypeError(`acquire: ${shown}`));
    await expect(sem.permit(background(), two)).rejects.toThrow(new TypeError(`permit: ${shown}`));
    const withPermit = sem.withPermit(background(), two, () => "ran");
    await expect(withPermit).rejects.toThrow(new TypeError(`withPermit: ${shown}`));
    expect(sem.held()).toBe(0);
  });

  test("more than the size: acquire rejects at once, tryAcquire is false, however free the semaphore is", async () => {
    const sem = new Weighted(4);
    await expect(sem.acquire(background(), 5)).rejects.toThrow(
      new RangeError("acquire: n must be at most 4, the size of the semaphore, got 5"),
    );
    await expect(sem.withPermit(background(), 5, () => "ran")).rejects.toThrow("withPermit: n must be at most 4, ");
    await expect(sem.acquire(background(), Number.MAX_SAFE_INTEGER)).rejects.toThrow(RangeError);
    expect(sem.tryAcquire(5)).toBe(false);
    expect([sem.held(), sem.waiting()]).toEqual([0, 0]);
  });

  test("zero is a count: it takes nothing, gives nothing back, and works on a semaphore of size zero", async () => {
    const none = new Weighted(0);
    await none.acquire(background(), 0);
    expect(none.tryAcquire(0)).toBe(true);
    none.release(0);
    expect(none.held()).toBe(0);
    expect(none.tryAcquire(1)).toBe(false);
    await expect(none.acquire(background(), 1)).rejects.toThrow(RangeError);
  });

  test("acquire never throws synchronously", async () => {
    const sem = new Weighted(1);
    const missing = null as unknown as AbortSignal;
    for (const call of [sem.acquire(missing), sem.permit(missing), sem.withPermit(missing, turn)]) {
      await expect(call).rejects.toThrow(TypeError);
    }
    expect([sem.held(), sem.waiting()]).toEqual([0, 0]);
  });
});

describe("release", () => {
  test("over-release throws and changes nothing", async () => {
    const sem = new Weighted(4);
    await sem.acquire(background(), 3);
    const waiter = watch(sem.acquire(background(), 2));

    expect(() => sem.release(4)).toThrow(new Error("semaphore: released more than held"));
    await turn();

    expect([sem.held(), sem.waiting(), waiter.state]).toEqual([3, 1, "pending"]);
    sem.release(3);
    await turn();
    expect(waiter.state).toBe("fulfilled");
    sem.release(2);
    expect(() => sem.release(1)).toThrow("semaphore: released more than held");
    expect(sem.held()).toBe(0);
  });

  test("a permit released twice frees once, even if the units are held again by then", async () => {
    const sem = new Weighted(2);
    const first = await sem.permit(background(), 2);
    first.release();
    await sem.acquire(background(), 2);

    first.release();
    first[Symbol.dispose]();

    expect(sem.held()).toBe(2);
    sem.release(2);
  });
});

describe("done contexts and aborted signals", () => {
  test("a done context gets no unit though all are free, and its error is the context's own", async () => {
    const sem = new Weighted(2);
    const [ctx, cancel] = withCancel(background());
    cancel(new Error("why"));
    await expect(sem.acquire(ctx)).rejects.toBe(ctx.err());
    await expect(sem.permit(ctx)).rejects.toBe(ctx.err());
    await expect(sem.withPermit(ctx, () => "ran")).rejects.toBe(ctx.err());
    expect(sem.held()).toBe(0);
  });

  test("an aborted signal rejects with its reason, of any type", async () => {
    const sem = new Weighted(1);
    const reason = { any: "value" };
    await expect(sem.acquire(AbortSignal.abort(reason))).rejects.toBe(reason);
    await sem.acquire(background());

    const controller = new AbortController();
    const waiting = watch(sem.acquire(controller.signal));
    await turn();
    controller.abort(reason);
    await turn();

    expect(waiting.reason).toBe(reason);
    expect(sem.waiting()).toBe(0);
    sem.release();
  });
});

describe("callbacks that throw", () => {
  const boom = new Error("boom");
  const throwing = () => {
    throw boom;
  };

  test.each([
    { how: "synchronously", fn: throwing },
    { how: "asynchronously", fn: () => turn().then(throwing) },
  ])("fn throwing $how inside withPermit gives its units back and passes the error on", async ({ fn }) => {
    const sem = new Weighted(3);
    await expect(sem.withPermit(background(), 2, fn)).rejects.toBe(boom);
    expect([sem.held(), sem.waiting()]).toEqual([0, 0]);
  });

  test("a fn that is not a function is a TypeError, and takes no unit", async () => {
    const sem = new Weighted(1);
    await expect(sem.withPermit(background(), 1, "fn" as unknown as () => void)).rejects.toThrow(
      new TypeError('withPermit: fn must be a function, got "fn"'),
    );
    expect(sem.held()).toBe(0);
  });

  test("a generator function is a TypeError, and its units come back", async () => {
    const sem = new Weighted(1);
    const generator = function* () {
      yield 1;
    };
    await expect(sem.withPermit(background(), generator)).rejects.toThrow(
      new TypeError("withPermit: fn must not be a generator function"),
    );
    expect(sem.held()).toBe(0);
  });
});

describe("grant and cancel in one turn: the first claim is final", () => {
  test("release, then cancel: the acquire resolves and holds its units", async () => {
    const sem = new Weighted(2);
    await sem.acquire(background(), 2);
    const [ctx, cancel] = withCancel(background());
    const waiter = watch(sem.acquire(ctx, 2));
    const behind = watch(sem.acquire(background(), 1));
    await turn();

    sem.release(2);
    cancel();
    expect([sem.held(), sem.waiting()]).toEqual([2, 1]);
    await turn();

    expect([waiter.state, behind.state]).toEqual(["fulfilled", "pending"]);
    sem.release(2);
    await turn();
    expect(behind.state).toBe("fulfilled");
    sem.release(1);
  });

  test("cancel, then release: the acquire rejects and the next waiter gets the units", async () => {
    const sem = new Weighted(2);
    await sem.acquire(background(), 2);
    const [ctx, cancel] = withCancel(background());
    const waiter = watch(sem.acquire(ctx, 2));
    const behind = watch(sem.acquire(background(), 1));
    await turn();

    cancel();
    sem.release(2);
    expect([sem.held(), sem.waiting()]).toEqual([1, 0]);
    await turn();

    expect(waiter.reason).toBeInstanceOf(Canceled);
    expect(behind.state).toBe("fulfilled");
    sem.release(1);
  });

  test("release, then abort: a permit that was granted is delivered and can be given back", async () => {
    const sem = new Weighted(1);
    await sem.acquire(background());
    const controller = new AbortController();
    const permit = sem.permit(controller.signal);
    await turn();

    sem.release();
    controller.abort();

    (await permit).release();
    expect(sem.held()).toBe(0);
  });
});
