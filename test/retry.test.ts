/** Retrying: which errors, how often, after which waits, until when, and from which budget. */
import { AsyncLocalStorage } from "node:async_hooks";
import {
  background,
  Canceled,
  type Context,
  DeadlineExceeded,
  is,
  withCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { find } from "gopark/leak";
import { Budget, permanent, type RetryOptions, retry } from "gopark/retry";
import { now } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const down = new Error("down");
const never = (): Promise<never> => Promise.reject(down);

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** The instants at which a function that always fails is called, from the first on, and how the retry ended. */
async function starts(options: RetryOptions, ctx: Context = background()): Promise<{ at: number[]; reason: unknown }> {
  const at: number[] = [];
  const begin = now();
  const retried = watch(
    retry(
      ctx,
      () => {
        at.push(Math.round(now() - begin));
        return never();
      },
      options,
    ),
  );
  while (retried.state === "pending") {
    await turn();
    if (retried.state === "pending") await vi.advanceTimersByTimeAsync(1);
  }
  return { at, reason: retried.reason };
}

const whole = { random: () => 1 };

describe("attempts", () => {
  test("the first that succeeds ends it, and nothing waits", async () => {
    const attempts: number[] = [];
    const result = await retry(background(), (_, attempt) => {
      attempts.push(attempt);
      return "done";
    });
    expect([result, attempts, vi.getTimerCount()]).toEqual(["done", [1], 0]);
  });

  test("three are made if nothing is said, and the last error itself is what it rejects with", async () => {
    const errors = [new Error("1"), new Error("2"), new Error("3"), new Error("4")];
    const retried = watch(retry(background(), (_, attempt) => Promise.reject(errors[attempt - 1])));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(retried.reason).toBe(errors[2]);
  });

  test.each([1, 2, 7])("%d are made if that is the number", async (attempts) => {
    expect((await starts({ attempts, base: 1 })).at).toHaveLength(attempts);
  });

  test("as many as it takes are made if the number is Infinity, even past the range of the exponent", async () => {
    const fn = (_: Context, attempt: number) => (attempt < 3000 ? never() : Promise.resolve(attempt));
    const retried = watch(retry(background(), fn, { attempts: Number.POSITIVE_INFINITY, base: 0, ...whole }));
    for (let i = 0; i < 100 && retried.state === "pending"; i++) await turn();
    expect(retried.value).toBe(3000);
  });

  test("a function that throws is retried as one that rejects", async () => {
    const retried = watch(
      retry(
        background(),
        (_, attempt) => {
          if (attempt === 1) throw down;
          return attempt;
        },
        { base: 0 },
      ),
    );
    await turn();
    expect(retried.value).toBe(2);
  });

  test("the first begins inside the call", () => {
    let began = false;
    void retry(background(), () => {
      began = true;
    });
    expect(began).toBe(true);
  });
});

describe("waits", () => {
  test("double from the base to the cap", async () => {
    const { at } = await starts({ attempts: 8, ...whole });
    const waits = at.slice(1).map((t, i) => t - (at[i] as number));
    expect(waits).toEqual([100, 200, 400, 800, 1600, 2000, 2000]);
  });

  test("are the base and the cap that are given", async () => {
    const { at } = await starts({ attempts: 5, base: 10, cap: 25, ...whole });
    expect(at).toEqual([0, 10, 30, 55, 80]);
  });

  test("are a random part of that, by Math.random if nothing else is given", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.25);
    expect((await starts({})).at).toEqual([0, 25, 75]);
    const parts = [0.5, 0];
    expect((await starts({ random: () => parts.shift() as number })).at).toEqual([0, 50, 50]);
  });

  test("a base of 0 does not wait, with any cap", async () => {
    expect((await starts({ base: 0, cap: Number.POSITIVE_INFINITY, ...whole })).at).toEqual([0, 0, 0]);
    expect((await starts({ cap: 0, ...whole })).at).toEqual([0, 0, 0]);
  });

  test("retryAfter is waited for in addition, and not limited by the cap", async () => {
    const asked: unknown[] = [];
    const retryAfter = (err: unknown) => {
      asked.push(err);
      return asked.length === 1 ? 5000 : undefined;
    };
    expect((await starts({ retryAfter, ...whole })).at).toEqual([0, 5100, 5300]);
    expect(asked).toEqual([down, down]);
  });

  test.each([0, -5, Number.NaN, undefined])("a retryAfter of %s says nothing", async (after) => {
    expect((await starts({ retryAfter: () => after, ...whole })).at).toEqual([0, 100, 300]);
  });

  test.each([
    ["base", { base: 2 ** 31, cap: Number.POSITIVE_INFINITY }, 2 ** 31],
    ["retryAfter", { base: 0, retryAfter: () => 2 ** 31 }, 2 ** 31],
    ["base", { base: 2 ** 40, cap: Number.POSITIVE_INFINITY }, 2 ** 40],
  ])("a %s of more than a host's timer can wait is waited for: %o", async (_, options, ms) => {
    const fn = vi.fn((_ctx: Context, attempt: number) => (attempt < 2 ? never() : Promise.resolve("up")));
    const retried = watch(retry(background(), fn, { ...options, ...whole }));
    await turn();
    await vi.advanceTimersByTimeAsync(ms - 1);
    expect([retried.state, fn.mock.calls.length]).toEqual(["pending", 1]);
    await vi.advanceTimersByTimeAsync(1);
    await turn();
    expect([retried.value, fn.mock.calls.length]).toEqual(["up", 2]);
  });

  test("a retryAfter of Infinity is never: it gives up", async () => {
    const { at, reason } = await starts({ retryAfter: () => Number.POSITIVE_INFINITY });
    expect([at, reason]).toEqual([[0], down]);
  });
});

describe("which errors", () => {
  const attemptsFor = async (error: unknown, options: RetryOptions = {}): Promise<[number, unknown]> => {
    let attempts = 0;
    const fn = () => {
      attempts++;
      throw error;
    };
    const retried = watch(retry(background(), fn, { base: 0, ...options }));
    await turn();
    await turn();
    expect(retried.state).toBe("rejected");
    return [attempts, retried.reason];
  };

  test.each([new RangeError("r"), new SyntaxError("s")])("%s is not retried", async (error) => {
    expect(await attemptsFor(error, { retryIf: () => true })).toEqual([1, error]);
  });

  test.each([new TypeError("fetch failed"), "a string", undefined, null, 0])("%s is retried", async (error) => {
    expect(await attemptsFor(error)).toEqual([3, error]);
  });

  test("a permanent error is not, and what it rejects with is the error that was wrapped", async () => {
    expect(await attemptsFor(permanent(down), { retryIf: () => true })).toEqual([1, down]);
    expect(await attemptsFor(retry.permanent(permanent(down)))).toEqual([1, down]);
    expect(await attemptsFor(permanent("gone"))).toEqual([1, "gone"]);
    const textless = Object.create(null);
    const throwing = Object.defineProperty(new Error("x"), "message", {
      get() {
        throw new Error("not now");
      },
    });
    for (const thrown of [textless, throwing]) expect((await attemptsFor(permanent(thrown)))[1]).toBe(thrown);
  });

  test("a permanent error outside of a retry is an Error that says the same", () => {
    const error = permanent(down);
    expect(error).toBeInstanceOf(Error);
    expect([error.name, error.message, error.cause]).toEqual(["PermanentError", "down", down]);
    expect(permanent(7).message).toBe("7");
    expect(permanent(Object.create(null)).message).toBe("an object (no constructor)");
    expect(error.stack).toBe("PermanentError: down");
  });

  test("of nested retries, a permanent error ends the inner one alone", async () => {
    let calls = 0;
    const inner = () =>
      retry(background(), () => {
        calls++;
        throw permanent(down);
      });
    const retried = watch(retry(background(), inner, { base: 0 }));
    await turn();
    expect([calls, retried.reason]).toEqual([3, down]);
  });

  test("retryIf is asked with the error and the number of the attempt, and not about the last", async () => {
    const asked: unknown[] = [];
    await attemptsFor(down, { retryIf: (err, attempt) => asked.push([err, attempt]) > 0 });
    expect(asked).toEqual([
      [down, 1],
      [down, 2],
    ]);
    expect(await attemptsFor(down, { retryIf: (_, attempt) => attempt < 2 })).toEqual([2, down]);
  });

  test("an attempt's own deadline is retried: only the end of the context counts", async () => {
    let attempts = 0;
    const fn = async (ctx: Context) => {
      attempts++;
      using call = withTimeout(ctx, 10);
      await new Promise<never>((_, reject) => call.ctx.signal.addEventListener("abort", () => reject(call.ctx.err())));
    };
    const retried = watch(retry(background(), fn, { base: 0 }));
    await vi.advanceTimersByTimeAsync(100);
    expect([attempts, is(retried.reason, DeadlineExceeded)]).toEqual([3, true]);
  });
});

describe("the context", () => {
  test("that has ended: its error, and the function is not called", async () => {
    const { ctx, cancel } = withCancel(background());
    cancel();
    const fn = vi.fn();
    await expect(retry(ctx, fn)).rejects.toBe(ctx.err());
    await expect(retry(AbortSignal.abort("reason"), fn)).rejects.toBe("reason");
    expect(fn).not.toHaveBeenCalled();
  });

  test("that ends during an attempt: the error of the attempt, and no other attempt", async () => {
    const { ctx, cancel } = withCancel(background());
    const fn = vi.fn(() => {
      cancel();
      return never();
    });
    await expect(retry(ctx, fn, { base: 0 })).rejects.toBe(down);
    expect(fn).toHaveBeenCalledOnce();
  });

  test("that ends during an attempt that succeeds: the result", async () => {
    const { ctx, cancel } = withCancel(background());
    const fn = () => {
      cancel();
      return "done";
    };
    expect(await retry(ctx, fn)).toBe("done");
  });

  test("that ends during a wait: its error at once, and no timer is left", async () => {
    const { ctx, cancel } = withCancel(background());
    const fn = vi.fn(never);
    const retried = watch(retry(ctx, fn, whole));
    await turn();
    expect([retried.state, vi.getTimerCount()]).toEqual(["pending", 1]);
    cancel();
    await turn();
    expect([retried.reason, vi.getTimerCount(), fn.mock.calls.length]).toEqual([ctx.err(), 0, 1]);
    expect(is(retried.reason, Canceled)).toBe(true);
  });

  test("a signal that ends during a wait: its reason", async () => {
    const controller = new AbortController();
    const retried = watch(retry(controller.signal, never));
    await turn();
    controller.abort("reason");
    await turn();
    expect(retried.reason).toBe("reason");
  });

  test("that ends in the turn in which the wait has ended: no other attempt", async () => {
    const { ctx, cancel } = withCancel(background());
    const fn = vi.fn(never);
    const budget = new Budget({ min: 1 });
    const retried = watch(retry(ctx, fn, { budget, ...whole }));
    await turn();
    vi.advanceTimersByTime(100);
    cancel();
    await turn();
    expect([retried.reason, fn.mock.calls.length, budget.tokens()]).toEqual([ctx.err(), 1, 1]);
  });

  test("whose deadline comes before the next attempt could begin: it gives up at once", async () => {
    using scope = withTimeout(background(), 300);
    const { at, reason } = await starts({ attempts: 9, ...whole }, scope.ctx);
    expect([at, reason, scope.ctx.err()]).toEqual([[0, 100], down, undefined]);
    using longer = withTimeout(background(), 301);
    expect((await starts({ attempts: 9, ...whole }, longer.ctx)).at).toEqual([0, 100, 300]);
  });

  test("is what the function gets, and of a signal the context of that signal", async () => {
    const key = {};
    const ctx = withValue(background(), key, 1);
    expect(await retry(ctx, (c) => c)).toBe(ctx);
    const { signal } = new AbortController();
    expect((await retry(signal, (c) => c)).signal).toBe(signal);
  });

  test("undefined is background()", async () => {
    expect(await retry(undefined, (c) => c)).toBe(background());
  });
});

describe("total", () => {
  test("no attempt begins when it is over", async () => {
    expect((await starts({ attempts: 9, total: 300, ...whole })).at).toEqual([0, 100]);
    expect((await starts({ attempts: 9, total: 301, ...whole })).at).toEqual([0, 100, 300]);
    expect((await starts({ attempts: 9, total: 0, base: 0 })).at).toEqual([0]);
  });

  test("counts the time that the attempts take, and ends none", async () => {
    let attempts = 0;
    const fn = () => {
      attempts++;
      return new Promise<never>((_, reject) => setTimeout(() => reject(down), 500));
    };
    const retried = watch(retry(background(), fn, { attempts: 9, total: 600, ...whole }));
    await vi.advanceTimersByTimeAsync(499);
    expect(attempts).toBe(1);
    await vi.advanceTimersByTimeAsync(2);
    expect([attempts, retried.reason]).toEqual([1, down]);
  });

  test("no attempt begins after a wait that ends too late, and its token is given back", async () => {
    const budget = new Budget({ min: 1 });
    let attempts = 0;
    const fn = () => {
      attempts++;
      return never();
    };
    const retried = watch(retry(background(), fn, { base: 5, total: 50, budget, ...whole }));
    await turn();
    // The event loop has been blocked: the timer fires 60 ms late.
    const { performance } = globalThis;
    const fakeNow = performance.now.bind(performance);
    vi.spyOn(performance, "now").mockImplementation(() => fakeNow() + 60);
    await vi.advanceTimersByTimeAsync(5);
    await turn();
    expect([retried.state, retried.reason]).toEqual(["rejected", down]);
    expect([attempts, budget.tokens()]).toEqual([1, 1]);
  });

  test("gives up where the service asks for more", async () => {
    const { at, reason } = await starts({ total: 1000, retryAfter: () => 5000 });
    expect([at, reason]).toEqual([[0], down]);
  });
});

describe("onRetry", () => {
  test("hears of each retry before its wait, and of no failure after which there is none", async () => {
    const heard: unknown[] = [];
    const begin = now();
    const { at } = await starts({ ...whole, onRetry: (...args) => heard.push([...args, Math.round(now() - begin)]) });
    expect(at).toEqual([0, 100, 300]);
    expect(heard).toEqual([
      [down, 1, 100, 0],
      [down, 2, 200, 100],
    ]);
  });

  test("is not called where the budget has no token, or the deadline leaves no time", async () => {
    const onRetry = vi.fn();
    await starts({ budget: new Budget({ min: 0 }), onRetry });
    await starts({ total: 50, ...whole, onRetry });
    expect(onRetry).not.toHaveBeenCalled();
  });
});

describe("a budget", () => {
  test("each retry takes a token, and without one it gives up with the last error", async () => {
    const budget = new Budget({ min: 3 });
    const run = () => starts({ attempts: 3, base: 0, budget });
    expect([(await run()).at.length, budget.tokens()]).toEqual([3, 1]);
    expect([(await run()).at.length, budget.tokens()]).toEqual([2, 0]);
    const { at, reason } = await run();
    expect([at.length, reason]).toEqual([1, down]);
  });

  test("each success earns its part of a token, exactly", async () => {
    const budget = new Budget({ ratio: 0.1, min: 0 });
    for (let i = 0; i < 9; i++) await retry(background(), () => i, { budget });
    expect([budget.tokens(), budget.spend()]).toEqual([0.9, false]);
    await retry(background(), () => 1, { budget });
    expect([budget.tokens(), budget.spend(), budget.tokens()]).toEqual([1, true, 0]);
  });

  test("a call that succeeds at its second attempt earns once", async () => {
    const budget = new Budget({ ratio: 0.5, min: 1 });
    await retry(background(), (_, attempt) => (attempt < 2 ? never() : 1), { budget, base: 0 });
    expect(budget.tokens()).toBe(0.5);
  });

  test("what is never retried takes no token", async () => {
    const budget = new Budget({ min: 1 });
    for (const error of [permanent(down), new RangeError("r")]) {
      await retry(background(), () => Promise.reject(error), { budget }).catch(() => {});
    }
    await starts({ attempts: 1, budget });
    await starts({ total: 1, budget, ...whole });
    await starts({ retryIf: () => false, budget });
    expect(budget.tokens()).toBe(1);
  });

  test("a retry that is cancelled during its wait gives its token back", async () => {
    const budget = new Budget({ min: 1 });
    const { ctx, cancel } = withCancel(background());
    const retried = watch(retry(ctx, never, { budget }));
    await turn();
    expect(budget.tokens()).toBe(0);
    cancel();
    await turn();
    expect([retried.state, budget.tokens()]).toEqual(["rejected", 1]);
  });

  test("holds 10 tokens at first and 100 at most, a tenth for each success, if nothing is said", () => {
    const budget = new Budget();
    expect(budget.tokens()).toBe(10);
    budget.earn();
    expect(budget.tokens()).toBe(10.1);
    for (let i = 0; i < 2000; i++) budget.earn();
    expect(budget.tokens()).toBe(100);
    budget.giveBack();
    expect(budget.tokens()).toBe(100);
    expect(new Budget({ min: 500 }).tokens()).toBe(500);
    const fixed = new Budget({ min: 1, ratio: 0 });
    fixed.earn();
    expect(fixed.tokens()).toBe(1);
    const small = new Budget({ min: 1, max: 1, ratio: 1 });
    small.earn();
    expect(small.tokens()).toBe(1);
  });

  test("keeps retries from multiplying an outage: of a thousand callers, only as many retry as there are tokens", async () => {
    const budget = new Budget();
    let calls = 0;
    const fn = () => {
      calls++;
      return never();
    };
    const all = Array.from({ length: 1000 }, () => watch(retry(background(), fn, { attempts: 4, budget })));
    await vi.advanceTimersByTimeAsync(20_000);
    expect([calls, all.every((one) => one.reason === down)]).toEqual([1010, true]);
    // It is back, and a tenth of the successes may be retried again.
    for (let i = 0; i < 50; i++) await retry(background(), () => "up", { budget });
    expect(budget.tokens()).toBe(5);
  });
});

test("many at once and one after the other give the turn back", async () => {
  let turned = false;
  void turn().then(() => (turned = true));
  let calls = 0;
  for (; !turned && calls < 10_000; calls++) await retry(background(), () => 1);
  expect(calls).toBeLessThan(10_000);
});

test("a retry that never waits long enough for a timer gives the turn back", async () => {
  let turned = false;
  void turn().then(() => (turned = true));
  const attempts = 10_000;
  let calls = 0;
  const fn = () => {
    calls++;
    return turned ? Promise.resolve() : never();
  };
  await retry(background(), fn, { attempts, base: 0 });
  expect(calls).toBeLessThan(attempts);
});

test("every attempt, and the functions of the options, run in the caller's async context", async () => {
  const tenant = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const note = () => seen.push(tenant.getStore());
  const options: RetryOptions = {
    retryIf: () => note() > 0,
    retryAfter: () => note() * 0,
    random: () => note() * 0 + 1,
  };
  const fn = (_: Context, attempt: number) => {
    note();
    return attempt < 3 ? never() : Promise.resolve();
  };
  const retried = tenant.run("alice", () => watch(retry(background(), fn, options)));
  await tenant.run("bob", () => vi.advanceTimersByTimeAsync(1000));
  expect([retried.state, new Set(seen), seen.length]).toEqual(["fulfilled", new Set(["alice"]), 9]);
});

test("under full tracking, a wait is reported with the place of the retry", async () => {
  const { ctx, cancel } = withCancel(background());
  async function caller(): Promise<void> {
    await retry(ctx, never);
  }
  const waiting = watch(caller());
  await turn();
  const [sleeping] = find().filter(({ kind }) => kind === "sleep");
  expect(sleeping?.stack).toMatch(/^ {4}at caller .*retry\.test\.ts/);
  cancel();
  await turn();
  expect(waiting.state).toBe("rejected");
});
