/**
 * Retrying: bad arguments are refused before the first attempt, and functions that misbehave end their own retry alone.
 */
import { background, type Context, withCancel } from "gopark/context";
import { Budget, type RetryOptions, retry } from "gopark/retry";
import { describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const down = new Error("down");
const never = (): Promise<never> => Promise.reject(down);
const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
const one = "1" as never;

describe("arguments", () => {
  const wrong: [options: RetryOptions, error: Error][] = [
    [{ attempts: 0 }, new RangeError("retry: attempts must be a whole number from 1 to 2^53-1, got 0")],
    [{ attempts: 1.5 }, new RangeError("retry: attempts must be a whole number from 1 to 2^53-1, got 1.5")],
    [{ attempts: nan }, new RangeError("retry: attempts must be a whole number from 1 to 2^53-1, got NaN")],
    [{ attempts: one }, new TypeError('retry: attempts must be a whole number, got "1"')],
    [{ base: -1 }, new RangeError("retry: base must be 0 or more, got -1")],
    [{ base: nan }, new RangeError("retry: base must be a number of milliseconds, got NaN")],
    [{ base: infinity }, new RangeError("retry: base must be finite, got Infinity")],
    [{ base: one }, new TypeError('retry: base must be a number of milliseconds, got "1"')],
    [{ cap: -1 }, new RangeError("retry: cap must be 0 or more, got -1")],
    [{ cap: nan }, new RangeError("retry: cap must be a number of milliseconds, got NaN")],
    [{ cap: one }, new TypeError('retry: cap must be a number of milliseconds, got "1"')],
    [{ total: -1 }, new RangeError("retry: total must be 0 or more, got -1")],
    [{ total: nan }, new RangeError("retry: total must be a number of milliseconds, got NaN")],
    [{ total: one }, new TypeError('retry: total must be a number of milliseconds, got "1"')],
    [{ retryIf: one }, new TypeError('retry: retryIf must be a function, got "1"')],
    [{ retryAfter: one }, new TypeError('retry: retryAfter must be a function, got "1"')],
    [{ onRetry: one }, new TypeError('retry: onRetry must be a function, got "1"')],
    [{ random: one }, new TypeError('retry: random must be a function, got "1"')],
    [
      { budget: { ratio: 1, min: 1 } as never },
      new TypeError("retry: budget must be a Budget, got an object (Object)"),
    ],
    [
      { budget: { spend: () => true, earn() {} } as never },
      new TypeError("retry: budget must be a Budget, got an object (Object)"),
    ],
    [{ budget: null as never }, new TypeError("retry: budget must be a Budget, got null")],
  ];

  test.each(wrong)("%o is refused, and nothing is called", async (options, error) => {
    const fn = vi.fn();
    const reason = await retry(background(), fn, options).catch((e: unknown) => e);
    expect(reason).toEqual(error);
    expect(reason).toBeInstanceOf(error.constructor);
    expect(fn).not.toHaveBeenCalled();
  });

  test.each([undefined, null, 1, {}])("%s is not a function to retry", async (fn) => {
    await expect(retry(background(), fn as never)).rejects.toThrow("retry: fn must be a function, got ");
    await expect(retry(background(), fn as never)).rejects.toThrow(TypeError);
  });

  test.each([null, 1, {}])("%s is not a context", async (ctx) => {
    const fn = vi.fn();
    await expect(retry(ctx as never, fn)).rejects.toThrow(TypeError);
    expect(fn).not.toHaveBeenCalled();
  });

  test("options that are undefined or null are none", async () => {
    expect(await retry(background(), () => 1, undefined)).toBe(1);
    expect(await retry(background(), () => 2, null as never)).toBe(2);
  });

  test.each<[options: object, error: Error]>([
    [{ ratio: -0.1 }, new RangeError("Budget: ratio must be from 0 to 1, got -0.1")],
    [{ ratio: 1.1 }, new RangeError("Budget: ratio must be from 0 to 1, got 1.1")],
    [{ ratio: nan }, new RangeError("Budget: ratio must be from 0 to 1, got NaN")],
    [{ ratio: one }, new TypeError('Budget: ratio must be a number, got "1"')],
    [{ min: -1 }, new RangeError("Budget: min must be a whole number from 0 to 2^53-1, got -1")],
    [{ min: one }, new TypeError('Budget: min must be a whole number, got "1"')],
    [{ min: 5, max: 4 }, new RangeError("Budget: max must be a whole number from 5 to 2^53-1, got 4")],
    [{ max: nan }, new RangeError("Budget: max must be a whole number from 10 to 2^53-1, got NaN")],
    [{ max: one }, new TypeError('Budget: max must be a whole number, got "1"')],
  ])("a budget of %o is refused", (options, error) => {
    let thrown: unknown;
    try {
      new Budget(options);
    } catch (e) {
      thrown = e;
    }
    expect(thrown).toEqual(error);
    expect(thrown).toBeInstanceOf(error.constructor);
  });
});

describe("functions that throw or answer nonsense", () => {
  const oops = new Error("oops");
  const throwing = (): never => {
    throw oops;
  };

  test.each(["retryIf", "retryAfter", "random", "onRetry"] as const)(
    "%s throws: the retry ends with that",
    async (name) => {
      const fn = vi.fn(never);
      const budget = new Budget({ min: 1 });
      await expect(retry(background(), fn, { [name]: throwing, budget })).rejects.toBe(oops);
      expect([fn.mock.calls.length, budget.tokens()]).toEqual([1, 1]);
    },
  );

  test("retryIf answers with a promise, which would count as yes", async () => {
    const fn = vi.fn(never);
    const retried = retry(background(), fn, { retryIf: () => Promise.resolve(false) as never });
    await expect(retried).rejects.toThrow(new TypeError("retry: retryIf must not return a promise"));
    expect(fn).toHaveBeenCalledOnce();
  });

  test("onRetry answers with a promise, which nobody would wait for", async () => {
    const budget = new Budget({ min: 1 });
    const retried = retry(background(), never, { onRetry: () => Promise.resolve() as never, budget });
    await expect(retried).rejects.toThrow(new TypeError("retry: onRetry must not return a promise"));
    expect(budget.tokens()).toBe(1);
  });

  test.each(["1", null, Promise.resolve(1), {}])("retryAfter answers %o", async (answer) => {
    const retried = retry(background(), never, { retryAfter: () => answer as never });
    await expect(retried).rejects.toThrow("retry: retryAfter must return a number of milliseconds or undefined, got ");
  });

  test.each([-0.1, 1.1, nan, "0.5", undefined])("random answers %s", async (answer) => {
    const retried = retry(background(), never, { random: () => answer as never });
    await expect(retried).rejects.toThrow("retry: random must return a number from 0 to 1, got ");
  });

  test("a context of another kind whose deadline throws ends the retry with that", async () => {
    const { ctx, cancel } = withCancel(background());
    const foreign: Context = {
      deadline: throwing,
      done: () => ctx.done(),
      err: () => ctx.err(),
      value: () => undefined,
      signal: ctx.signal,
    };
    await expect(retry(foreign, never)).rejects.toBe(oops);
    cancel();
  });
});

describe("the function that is retried", () => {
  test("a generator function is refused, and not retried", async () => {
    const fn = vi.fn(function* () {
      yield 1;
    });
    const budget = new Budget({ min: 1 });
    const retried = retry(background(), fn as never, { budget });
    await expect(retried).rejects.toThrow(new TypeError("retry: fn must not be a generator function"));
    expect([fn.mock.calls.length, budget.tokens()]).toEqual([1, 1]);
  });

  test("one that never settles holds its own retry alone", async () => {
    const hung = watch(retry(background(), () => new Promise(() => {})));
    expect(await retry(background(), () => 1)).toBe(1);
    expect(hung.state).toBe("pending");
  });

  test("a thenable is awaited, and one that throws is retried", async () => {
    let asked = 0;
    const thenable = Object.defineProperty({}, "then", {
      get() {
        if (++asked < 3) throw down;
        return (resolve: (v: string) => void) => resolve("done");
      },
    });
    expect(await retry(background(), () => thenable as never, { base: 0 })).toBe("done");
    expect(asked).toBe(3);
  });

  test("one that retries itself is counted by itself", async () => {
    let calls = 0;
    const inner = () => {
      calls++;
      return never();
    };
    const options = { attempts: 2, base: 0 };
    await expect(retry(background(), () => retry(background(), inner, options), options)).rejects.toBe(down);
    expect(calls).toBe(4);
  });

  test("one that cancels its own context and fails is not called again", async () => {
    const { ctx, cancel } = withCancel(background());
    const fn = vi.fn(() => {
      cancel(new Error("enough"));
      throw down;
    });
    await expect(retry(ctx, fn, { base: 0 })).rejects.toBe(down);
    await turn();
    expect(fn).toHaveBeenCalledOnce();
  });
});
