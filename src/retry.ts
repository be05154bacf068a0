/**
 * Retrying: calls a function again until it succeeds, after waits that grow, and not for ever.
 *
 * Rules of use:
 *
 * - Retry only what may be done twice. A request that failed may have been carried out.
 * - Retry at one level. Three attempts at each of three levels are 27 calls.
 * - Give each attempt a deadline, from the context that it gets: a hung attempt is not retried.
 * - Share a `Budget` between the callers of one service. Without it, retries multiply the load at the very moment at
 *   which the service cannot bear it.
 * - Wrap an error that no retry can cure, such as a refusal, with `retry.permanent`: `throw retry.permanent(err)`.
 *
 * ```ts
 * import { context, retry } from "gopark";
 *
 * const answer = await retry(
 *   context.background(),
 *   async (_ctx, attempt) => {
 *     console.log("attempt", attempt);
 *     if (attempt < 3) throw new Error("not yet");
 *     return "done";
 *   },
 *   { base: 1 },
 * );
 * console.log(answer);
 * // Output:
 * // attempt 1
 * // attempt 2
 * // attempt 3
 * // done
 * ```
 *
 * Does the job of github.com/cenkalti/backoff, with another interface. Differences from Go:
 *
 * - One function with options. There are no `BackOff` objects. The notification of each retry is the option `onRetry`.
 * - A wait is a random part of the backoff, from 0 to the whole ("full jitter"). Go's is from 0.5 to 1.5 times
 *   the backoff.
 * - At most 3 attempts are made unless `attempts` says otherwise. Go goes on for 15 minutes.
 * - RangeError and SyntaxError are not retried: wrong arguments are still wrong the next time.
 * - It gives up at once, with the error of the last attempt, where the next one could only begin after the context's
 *   deadline.
 * - Only the end of the context counts, not the class of an error: an attempt that rejects with its own
 *   DeadlineExceeded is retried while `ctx` goes on.
 * - The time that `retryAfter` gives is waited in addition to the backoff, and not instead of it, so that callers that
 *   got the same time do not come back together.
 * - `Budget` is an addition.
 */
import type { Cancel, Context } from "./context.ts";
import { callable, duration, isThenable, noGenerator, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { brand, withoutStack } from "./internal/host/errors.ts";
import { budgetWait, failedWith, notAFunction } from "./internal/time/turn.ts";
import { onBehalfOf, type PublicFunction, stackOfCall } from "./internal/track/tracker.ts";
import { sourceOf } from "./internal/wait/foreign.ts";
import { contextOf } from "./internal/wait/signalcontext.ts";
import { now, sleep } from "./time.ts";

/** When {@link retry} tries again. Everything may be left out. */
export interface RetryOptions {
  /** How many attempts are made at most, the first included: a whole number from 1, or Infinity. 3 if left out. */
  readonly attempts?: number | undefined;

  /**
   * The wait after the first attempt is up to this many milliseconds, the one after the second up to twice as many, and
   * so on. Finite, 0 or more; 100 if left out.
   */
  readonly base?: number | undefined;

  /** The most milliseconds that a wait may last by `base`. 0 or more; 2000 if left out. */
  readonly cap?: number | undefined;

  /**
   * From this many milliseconds after the call on, no further attempt begins. Does not end an attempt that runs. 0 or
   * more; Infinity if left out.
   */
  readonly total?: number | undefined;

  /** Whether to try again after attempt number `attempt`, from 1, failed with `err`. Must not return a promise. */
  readonly retryIf?: ((err: unknown, attempt: number) => boolean) | undefined;

  /**
   * How many milliseconds the service asks to wait at least, by what `err` says of it. 0 or less, NaN or `undefined` if
   * it says nothing; Infinity for never. Not limited by `cap`.
   */
  readonly retryAfter?: (err: unknown) => number | undefined;

  /** What retries are paid from. Share it between the callers of one service. */
  readonly budget?: Budget | undefined;

  /**
   * Called when attempt number `attempt` has failed with `err` and there will be another, before the wait of `delay`
   * milliseconds: to release what the attempt holds, or to count. Must not return a promise.
   */
  readonly onRetry?: ((err: unknown, attempt: number, delay: number) => void) | undefined;

  /** A random number from 0 up to 1. `Math.random` if left out. */
  readonly random?: (() => number) | undefined;
}

/** The function {@link retry}, and what belongs to it. */
export interface Retry {
  /**
   * Calls `fn` until it succeeds, and resolves to its result. `fn` gets `ctx` as a context (`background()` if it is
   * undefined), and the number of the attempt, from 1. It is first called before `retry` returns, and runs in the
   * caller's async context.
   *
   * Gives up with the error of the last attempt itself if
   * - it was wrapped by {@link permanent}: then with the wrapped error;
   * - `ctx` has ended;
   * - as many attempts as `attempts` says have been made;
   * - it is a RangeError or SyntaxError, or `retryIf` says no;
   * - the next attempt could only begin when `total` is over, or at the deadline of `ctx` or later;
   * - the `budget` has no token.
   *
   * Rejects
   * - at once, with `fn` not called, with TypeError or RangeError for a bad argument or option, and with the context's
   *   error or the signal's reason if `ctx` has ended;
   * - with the context's error or the signal's reason if `ctx` ends during a wait. The token of the retry is given
   *   back;
   * - with what `retryIf`, `retryAfter`, `random` or `onRetry` throws, and with TypeError or RangeError for a result of
   *   another type or range. The token of the retry is given back;
   * - with TypeError if `fn` returns a generator, since its body has not run.
   */
  <T>(
    ctx: Cancel | undefined,
    fn: (ctx: Context, attempt: number) => T | PromiseLike<T>,
    options?: RetryOptions,
  ): Promise<T>;

  /** As the export of the same name. */
  readonly permanent: typeof permanent;

  /** As the export of the same name. */
  readonly Budget: typeof Budget;
}

/** What {@link permanent} returns. */
class PermanentError extends Error {
  static {
    brand(this, "PermanentError");
  }

  constructor(cause: unknown) {
    super(messageOf(cause), { cause });
  }
}

/** The message of an error, or what it says as text. Anything may be thrown, such as an object that has no text. */
function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return show(thrown);
  }
}

/**
 * Wraps an error so that {@link retry} does not try again, but rejects with `err` itself: `throw retry.permanent(err)`.
 * Outside a retry it is an Error with the same message, whose cause is `err`.
 */
export function permanent(err: unknown): Error {
  return err instanceof PermanentError ? err : withoutStack(() => new PermanentError(err));
}

/** How much a {@link Budget} allows. Everything may be left out. */
export interface BudgetOptions {
  /** The tokens that a success earns, from 0 to 1, counted in millionths. 0.1 if left out. */
  readonly ratio?: number | undefined;
  /** The tokens at the beginning, a whole number. 10 if left out. */
  readonly min?: number | undefined;
  /** The most tokens that are kept, a whole number from `min`. 100 if left out, or `min` if that is more. */
  readonly max?: number | undefined;
}

const MILLION = 1e6;

/**
 * Tokens that retries are paid from: each takes one, each success earns `ratio`. So while a service answers, up to that
 * share of the calls may be retried. When it does not, no more than `max` are, whatever the number of callers, and then
 * each caller makes one attempt. It does not read the clock.
 */
export class Budget {
  // In millionths of a token: whole numbers, so that ten times a tenth is one. Between any two calls: 0 <= #left <=
  // #max.
  #left: number;
  readonly #max: number;
  readonly #ratio: number;

  /** Throws RangeError for a number outside its range, TypeError for another type. */
  constructor(options?: BudgetOptions) {
    const { ratio = 0.1, min = 10, max = Math.max(100, min) } = optionsOf(options, "Budget: options");
    if (typeof ratio !== "number") throw new TypeError(`Budget: ratio must be a number, got ${show(ratio)}`);
    if (!(ratio >= 0 && ratio <= 1)) throw new RangeError(`Budget: ratio must be from 0 to 1, got ${ratio}`);
    this.#ratio = Math.round(ratio * MILLION);
    this.#left = wholeNumber(min, "Budget: min") * MILLION;
    this.#max = wholeNumber(max, "Budget: max", min) * MILLION;
  }

  /** How many tokens there are, fractions included. */
  tokens(): number {
    return this.#left / MILLION;
  }

  /**
   * Counts a success. {@link retry} does it for each call that succeeds; for those made otherwise, call it yourself.
   */
  earn(): void {
    this.#left = Math.min(this.#left + this.#ratio, this.#max);
  }

  /** Takes a token for a retry; false, with nothing changed, if there is less than one. */
  spend(): boolean {
    if (this.#left < MILLION) return false;
    this.#left -= MILLION;
    return true;
  }

  /** Gives back the token of a retry that was not made. */
  giveBack(): void {
    this.#left = Math.min(this.#left + MILLION, this.#max);
  }
}

/** Whether it has what `retry` calls: a budget may come from another copy of the package. */
function isBudget(value: unknown): boolean {
  const { spend, earn, giveBack } = (value ?? {}) as Partial<Budget>;
  return [spend, earn, giveBack].every((method) => typeof method === "function");
}

/** The options, checked. */
class Policy {
  readonly attempts: number;
  readonly retryIf: RetryOptions["retryIf"];
  readonly retryAfter: RetryOptions["retryAfter"];
  readonly budget: Budget | undefined;
  readonly onRetry: RetryOptions["onRetry"];
  readonly total: number;
  private readonly base: number;
  private readonly cap: number;
  private readonly random: () => number;

  constructor(options: RetryOptions) {
    const { attempts = 3, base = 100, cap = 2000, total = Number.POSITIVE_INFINITY } = options;
    const { retryIf, retryAfter, budget, onRetry, random = Math.random } = options;
    const isInfinite = attempts === Number.POSITIVE_INFINITY;
    this.attempts = isInfinite ? attempts : wholeNumber(attempts, "retry: attempts", 1);
    this.base = notNegative(base, "retry: base");
    if (base === Number.POSITIVE_INFINITY) throw new RangeError("retry: base must be finite, got Infinity");
    this.cap = notNegative(cap, "retry: cap");
    this.total = notNegative(total, "retry: total");
    this.retryIf = retryIf === undefined ? undefined : callable(retryIf, "retry: retryIf");
    this.retryAfter = retryAfter === undefined ? undefined : callable(retryAfter, "retry: retryAfter");
    if (budget !== undefined && !isBudget(budget)) {
      throw new TypeError(`retry: budget must be a Budget, got ${show(budget)}`);
    }
    this.budget = budget;
    this.onRetry = onRetry === undefined ? undefined : callable(onRetry, "retry: onRetry");
    this.random = callable(random, "retry: random");
  }

  /** Whether the error may be retried, if attempts, time and tokens are left. */
  allows(err: unknown, attempt: number): boolean {
    if (err instanceof RangeError || err instanceof SyntaxError) return false;
    const { retryIf } = this;
    if (retryIf === undefined) return true;
    const answer: unknown = retryIf(err, attempt);
    if (isThenable(answer)) throw new TypeError("retry: retryIf must not return a promise");
    return Boolean(answer);
  }

  /** Says that there will be another attempt, after `delay` milliseconds. */
  announce(err: unknown, attempt: number, delay: number): void {
    const { onRetry } = this;
    const answer: unknown = onRetry?.(err, attempt, delay);
    if (isThenable(answer)) throw new TypeError("retry: onRetry must not return a promise");
  }

  /** How long to wait after the attempt. */
  delay(err: unknown, attempt: number): number {
    const { random, retryAfter } = this;
    // The exponent stays below that of Infinity, because 0 * Infinity is NaN.
    const backoff = Math.min(this.cap, this.base * 2 ** Math.min(attempt - 1, 1000), Number.MAX_SAFE_INTEGER);
    const part = random();
    if (typeof part !== "number" || !(part >= 0 && part <= 1)) {
      throw new RangeError(`retry: random must return a number from 0 to 1, got ${show(part)}`);
    }
    const after: unknown = retryAfter?.(err);
    if (after !== undefined && typeof after !== "number") {
      throw new TypeError(`retry: retryAfter must return a number of milliseconds or undefined, got ${show(after)}`);
    }
    return part * backoff + (after !== undefined && after > 0 ? after : 0);
  }
}

function notNegative(ms: number, what: string): number {
  if (duration(ms, what) >= 0) return ms;
  throw new RangeError(`${what} must be 0 or more, got ${ms}`);
}

/**
 * Calls a function until it succeeds: see {@link Retry}.
 *
 * When the first attempt succeeds, the clock is needed only for a `total` or a deadline of `ctx`. For the cost, see the
 * retry rows of the benchmark.
 */
export const retry: Retry = /* @__PURE__ */ Object.assign(
  async function retry<T>(
    given: Cancel | undefined,
    fn: (ctx: Context, attempt: number) => T | PromiseLike<T>,
    options?: RetryOptions,
  ): Promise<T> {
    if (typeof fn !== "function") return notAFunction(fn, "retry: fn");
    let policy: Policy;
    try {
      policy = new Policy(optionsOf(options, "retry: options"));
    } catch (error) {
      return failedWith(error);
    }
    const source = sourceOf(given);
    const ended = source.poll();
    if (ended !== undefined) return failedWith(ended.error());
    const ctx = contextOf(given);
    const { total, budget } = policy;
    const stack = stackOfCall(entryPoints);
    const lastStart = total === Number.POSITIVE_INFINITY ? total : now() + total;
    for (let attempt = 1; ; attempt++) {
      let result: T;
      try {
        result = await fn(ctx, attempt);
      } catch (thrown) {
        const turn = budgetWait();
        if (turn !== undefined) await turn;
        if (thrown instanceof PermanentError) throw thrown.cause;
        if (source.poll() !== undefined || attempt >= policy.attempts || !policy.allows(thrown, attempt)) throw thrown;
        const delay = policy.delay(thrown, attempt);
        if (!canBeginIn(delay, Math.min(lastStart, ctx.deadline() ?? Number.POSITIVE_INFINITY))) throw thrown;
        if (budget !== undefined && !budget.spend()) throw thrown;
        try {
          policy.announce(thrown, attempt, delay);
          await sleepBetween(delay, given, stack);
          // It may have ended since the sleep did.
          const ending = source.poll();
          if (ending !== undefined) throw ending.error();
          // The sleep may have lasted longer than `delay`.
          if (!canBeginIn(0, lastStart)) throw thrown;
        } catch (error) {
          budget?.giveBack();
          throw error;
        }
        continue;
      }
      const turn = budgetWait();
      if (turn !== undefined) await turn;
      noGenerator(result, "retry: fn");
      budget?.earn();
      return result;
    }
  },
  { permanent, Budget },
);

// The public functions at which the stack of a record begins.
const entryPoints = (): PublicFunction[] => [retry];

/** Sleeps between two attempts; `stack` is where `retry` was called, if that is recorded. */
function sleepBetween(ms: number, cancel: Cancel | undefined, stack: string | undefined): Promise<void> {
  return onBehalfOf(stack, () => sleep(ms, cancel));
}

/** Whether an attempt that begins in `delay` milliseconds begins before `end`. */
function canBeginIn(delay: number, end: number): boolean {
  if (delay === Number.POSITIVE_INFINITY) return false;
  return end === Number.POSITIVE_INFINITY || now() + delay < end;
}
