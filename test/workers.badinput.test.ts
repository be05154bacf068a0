/** Workers: bad input is refused at once by the documented error, and nothing has changed; hostile functions. */
import { background, withCancel } from "gopark/context";
import { PoolClosedError, type SubmitOptions, Workers, type WorkersOptions } from "gopark/workers";
import { describe, expect, test, vi } from "vitest";
import { gate } from "./support/gate.ts";
import { collectReported, reportsDue } from "./support/reported.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const bad = <T>(value: unknown): T => value as T;
const state = (pool: Workers) => [pool.running(), pool.waiting(), pool.free()];

/** A pool with one task that runs and one that waits; `end` ends both. */
function busy(): { pool: Workers; end: () => Promise<void> } {
  const pool = new Workers(1);
  const task = gate();
  const both = [pool.submit(() => task.promise), pool.submit(() => {})];
  return {
    pool,
    end: async () => {
      task.open();
      await Promise.all(both);
    },
  };
}

describe("the constructor", () => {
  const cases: [number, WorkersOptions | undefined, typeof RangeError, string][] = [
    [0, undefined, RangeError, "Workers: size must be a whole number from 1 to 2^53-1, got 0"],
    [-1, undefined, RangeError, "Workers: size must be a whole number from 1 to 2^53-1, got -1"],
    [1.5, undefined, RangeError, "Workers: size must be a whole number from 1 to 2^53-1, got 1.5"],
    [Number.NaN, undefined, RangeError, "Workers: size must be a whole number from 1 to 2^53-1, got NaN"],
    [Number.NEGATIVE_INFINITY, undefined, RangeError, "got -Infinity"],
    [bad("4"), undefined, TypeError, 'Workers: size must be a whole number, got "4"'],
    [bad(undefined), undefined, TypeError, "Workers: size must be a whole number, got undefined"],
    [1, { maxWaiting: -1 }, RangeError, "Workers: maxWaiting must be a whole number from 0 to 2^53-1, got -1"],
    [1, { maxWaiting: 0.5 }, RangeError, "got 0.5"],
    [1, { maxWaiting: bad(null) }, TypeError, "Workers: maxWaiting must be a whole number, got null"],
    [1, { nonblocking: bad(1) }, TypeError, "Workers: nonblocking must be a boolean, got 1"],
    [1, { nonblocking: true, maxWaiting: -1 }, RangeError, "got -1"],
    [1, { panicHandler: bad("log") }, TypeError, 'Workers: panicHandler must be a function, got "log"'],
    [1, { panicHandler: bad(null) }, TypeError, "Workers: panicHandler must be a function, got null"],
    [1, bad(7), TypeError, "Workers: options must be an object, got 7"],
  ];
  test.each(cases)("refuses %s and %o", (size, options, error, message) => {
    const make = () => new Workers(size, options);
    expect(make).toThrow(error);
    expect(make).toThrow(message);
  });
});

describe("submit", () => {
  const boom = new Error("a getter");
  const cases: [string, unknown, unknown, unknown][] = [
    ["no function", undefined, undefined, /TypeError: submit: task must be a function, got undefined/],
    [
      "a promise",
      Promise.resolve(),
      undefined,
      /TypeError: submit: task must be a function, got an object \(Promise\)/,
    ],
    ["a number for options", () => {}, 7, /TypeError: submit: options must be an object, got 7/],
    ["a number for options", () => {}, 7, /TypeError: submit: options must be an object, got 7/],
    ["a string priority", () => {}, { priority: "1" }, /TypeError: submit: priority must be a number, got "1"/],
    ["a null priority", () => {}, { priority: null }, /TypeError: submit: priority must be a number, got null/],
    ["NaN for priority", () => {}, { priority: Number.NaN }, /RangeError: submit: priority must be a number, got NaN/],
    ["null for cancel", () => {}, { cancel: null }, /TypeError: .*got null/],
    ["a number for cancel", () => {}, { cancel: 7 }, /TypeError: .*got 7/],
  ];
  test.each(cases)("refuses %s", async (_, task, options, error) => {
    const { pool, end } = busy();
    const before = state(pool);
    const rejection = await pool.submit(bad<() => void>(task), bad<SubmitOptions>(options)).catch(String);
    expect(rejection).toMatch(error as RegExp);
    expect(state(pool)).toEqual(before);
    await end();
  });

  test("rejects with what a getter of its options throws", async () => {
    const { pool, end } = busy();
    const options = {
      get priority(): number {
        throw boom;
      },
    };
    await expect(pool.submit(() => {}, options)).rejects.toBe(boom);
    expect(state(pool)).toEqual([1, 1, 0]);
    await end();
  });

  test("a getter that closes the pool: the call sees it", async () => {
    const pool = new Workers(1);
    const options = {
      get priority(): number {
        void pool.release();
        return 1;
      },
    };
    await expect(pool.submit(() => {}, options)).rejects.toThrow(PoolClosedError);
  });
});

test("trySubmit refuses what is no function", async () => {
  const pool = new Workers(1);
  await expect(pool.trySubmit(bad<() => void>(7))).rejects.toThrow(
    new TypeError("trySubmit: task must be a function, got 7"),
  );
  expect(state(pool)).toEqual([0, 0, 1]);
});

test.each([
  [Number.NaN, RangeError, "tune: n must be a whole number, got NaN"],
  [1.5, RangeError, "tune: n must be a whole number, got 1.5"],
  [Number.POSITIVE_INFINITY, RangeError, "tune: n must be a whole number, got Infinity"],
  [bad<number>("3"), TypeError, 'tune: n must be a whole number, got "3"'],
  [bad<number>(3n), TypeError, "tune: n must be a whole number, got 3"],
])("tune refuses %s", async (n, error, message) => {
  const { pool, end } = busy();
  expect(() => pool.tune(n)).toThrow(error);
  expect(() => pool.tune(n)).toThrow(message);
  expect(state(pool)).toEqual([1, 1, 0]);
  await end();
});

test.each(["idle", "release"] as const)("%s refuses what is neither a context nor a signal", async (method) => {
  const { pool, end } = busy();
  await expect(pool[method](bad(7))).rejects.toThrow(TypeError);
  await expect(pool[method](bad(null))).rejects.toThrow(TypeError);
  expect(state(pool)).toEqual([1, 1, 0]);
  await end();
  expect(await pool.submit(() => 1)).toBe(1);
});

test("a signal that throws when it is asked: a release with it changes nothing", async () => {
  const { pool, end } = busy();
  const { signal } = new AbortController();
  Object.defineProperty(signal, "aborted", {
    get() {
      throw new Error("hostile");
    },
  });
  await expect(pool.release(signal)).rejects.toThrow("hostile");
  await expect(pool.submit(() => 1, { cancel: signal })).rejects.toThrow("hostile");
  expect(state(pool)).toEqual([1, 1, 0]);
  await end();
});

describe.each([
  ["without a cancel", undefined],
  ["with a cancel", new AbortController().signal],
])("a task %s", (_, cancel) => {
  const options: SubmitOptions = { cancel };

  test("that throws, rejects, or is thenable gives its slot back", async () => {
    const pool = new Workers(1);
    const error = new Error("boom");
    const thrower = (): number => {
      throw error;
    };
    const thenable = (settle: (resolve: (v: number) => void, reject: (e: unknown) => void) => void) => () =>
      ({ then: settle }) as PromiseLike<number>;
    const tasks: [() => number | PromiseLike<number>, "fulfilled" | "rejected", unknown][] = [
      [thrower, "rejected", error],
      [async () => thrower(), "rejected", error],
      [thenable((resolve) => resolve(7)), "fulfilled", 7],
      [thenable((_, reject) => reject(error)), "rejected", error],
      [
        thenable((resolve) => {
          resolve(8);
          resolve(9);
          throw error;
        }),
        "fulfilled",
        8,
      ],
      [
        thenable(() => {
          throw error;
        }),
        "rejected",
        error,
      ],
      [() => Promise.reject(undefined), "rejected", undefined],
    ];
    for (const [task, wanted, answer] of tasks) {
      const submitted = watch(pool.submit(task, options));
      const next = await pool.submit(() => "next");
      expect([submitted.state, submitted.value ?? submitted.reason, next]).toEqual([wanted, answer, "next"]);
    }
    expect(state(pool)).toEqual([0, 0, 1]);
  });

  test("whose `then` getter throws", async () => {
    const pool = new Workers(1);
    const hostile = {
      get then(): never {
        throw new Error("then");
      },
    };
    await expect(pool.submit(() => bad<number>(hostile), options)).rejects.toThrow("then");
    expect(await pool.submit(() => 1)).toBe(1);
  });

  test("that is a generator function is refused", async () => {
    const pool = new Workers(1);
    await expect(pool.submit(function* () {}, options)).rejects.toThrow(
      new TypeError("submit: task must not be a generator function"),
    );
    await expect(pool.submit(async function* () {}, options)).rejects.toThrow(TypeError);
    expect(state(pool)).toEqual([0, 0, 1]);
  });

  test("that calls back in: submits, tunes, pauses, releases and reboots", async () => {
    const pool = new Workers(1, { maxWaiting: 3 });
    const inner: unknown[] = [];
    const outer = pool.submit(() => {
      pool.submit(() => inner.push("submitted")).catch((error: Error) => inner.push(error.name));
      pool.pause();
      pool.tune(2);
      pool.resume();
      pool.submit(() => inner.push("second")).catch((error: Error) => inner.push(error.name));
      void pool.release();
      pool.reboot();
      return state(pool);
    }, options);
    expect(await outer).toEqual([2, 0, 0]);
    await pool.idle();
    expect(inner.sort()).toEqual(["PoolClosedError", "submitted"]);
    expect(state(pool)).toEqual([0, 0, 2]);
  });

  test("that releases its own pool and awaits it waits for itself, until a cancel", async () => {
    const pool = new Workers(1);
    const { ctx, cancel: end } = withCancel(bg);
    const outer = watch(pool.submit(() => pool.release(ctx), options));
    await turn();
    expect(outer.state).toBe("pending");
    end();
    await turn();
    expect(outer.reason).toBe(ctx.err());
  });

  test("that never ends keeps its slot, and the others go on", async () => {
    const pool = new Workers(2);
    const never = gate();
    const hung = watch(pool.submit(() => never.promise, options));
    for (let i = 0; i < 10; i++) expect(await pool.submit(() => i, options)).toBe(i);
    expect([hung.state, ...state(pool)]).toEqual(["pending", 1, 0, 1]);
    never.open();
    await pool.idle();
  });
});

describe("a panic handler", () => {
  test("that throws is reported, and the caller gets the task's error", async () => {
    const reported = collectReported();
    const pool = new Workers(1, {
      panicHandler: (error) => {
        throw new Error(`handler of ${error}`);
      },
    });
    const error = new Error("boom");
    await expect(pool.submit(() => Promise.reject(error))).rejects.toBe(error);
    await expect(pool.submit(() => Promise.reject(error), { cancel: new AbortController().signal })).rejects.toBe(
      error,
    );
    await reportsDue();
    expect(reported.map(String)).toEqual(["Error: handler of Error: boom", "Error: handler of Error: boom"]);
    expect(await pool.submit(() => 1)).toBe(1);
  });

  test("that calls back in", async () => {
    const answers: Promise<number>[] = [];
    const pool: Workers = new Workers(1, {
      panicHandler: () => {
        answers.push(pool.submit(() => 7));
        pool.tune(2);
      },
    });
    await expect(pool.submit(() => Promise.reject(1))).rejects.toBe(1);
    expect(await Promise.all(answers)).toEqual([7]);
    expect(state(pool)).toEqual([0, 0, 2]);
  });

  test("is called with the error alone, and what it returns is ignored", async () => {
    const panicHandler = vi.fn(() => 7);
    const pool = new Workers(1, { panicHandler });
    await expect(pool.submit(() => Promise.reject(1))).rejects.toBe(1);
    expect(panicHandler.mock.calls).toEqual([[1]]);
  });
});
