/**
 * Circuit breaker: stops calling what keeps failing, and tries it again after a while.
 *
 * A breaker is in one of three states. *Closed*: calls go through, and their results are counted, until
 * `readyToTrip` says that too many have failed. *Open*: calls are refused at once, for `timeout` milliseconds.
 * *Half-open*: up to `maxRequests` calls, the probes, go through; if all of them succeed the breaker closes, and if one
 * fails it opens again.
 *
 * Rules of use:
 *
 * - One breaker for each service that can fail by itself, shared by all of its callers.
 * - Most callers should use `execute`. Use `TwoStepCircuitBreaker` where the result of a call is known elsewhere than
 *   where the call began.
 * - Give the function that is called a deadline. A call that never ends is never counted. While the breaker is
 *   half-open such a call keeps its place for ever, unless there is a `probeTimeout`.
 * - A cancelled call says nothing about the service: exclude it by
 *   `isExcluded: (err) => context.is(err, context.Canceled)`.
 *
 * ```ts
 * import { breaker } from "gopark";
 *
 * let at = 0;
 * const cb = new breaker.CircuitBreaker({
 *   timeout: 1000,
 *   readyToTrip: (counts) => counts.consecutiveFailures >= 2,
 *   now: () => at,
 * });
 * const fail = () => Promise.reject(new Error("down"));
 * for (let i = 0; i < 3; i++) await cb.execute(fail).catch((err: Error) => console.log(err.message, cb.state()));
 * at = 1001;
 * console.log(cb.state(), await cb.execute(() => "up"), cb.state());
 * // Output:
 * // down closed
 * // down open
 * // circuit breaker is open open
 * // half-open up closed
 * ```
 *
 * Ports github.com/sony/gobreaker/v2. Differences from Go:
 *
 * - States are the strings "closed", "half-open" and "open". Durations are milliseconds.
 * - `ErrOpenState` and `ErrTooManyRequests` are the classes `OpenStateError` and `TooManyRequestsError`, with Go's
 *   texts. They have no stack, and one object serves all calls that are refused until the state changes, so that
 *   refusing stays cheap under load.
 * - A function that throws has failed as one that rejects has: `isExcluded` and `isSuccessful` are asked about its
 *   error. In Go a panic is always a failure.
 * - A function that rejects with `undefined` or `null` has failed. `isExcluded` and `isSuccessful` see an Error
 *   instead, because for them `undefined` is a success.
 * - `allow` throws where Go returns an error. A second call of the function that it returns does nothing. In Go it is
 *   counted.
 * - `probeTimeout` is an addition: a probe that has not ended by then has failed. In Go a probe that never ends keeps
 *   the breaker half-open for ever.
 * - `now` is an addition. While the breaker is closed without an `interval`, or half-open without a `probeTimeout`, the
 *   clock is not read until the state changes.
 * - `onStateChange` is called after the change, inside the call that found it, and may call the breaker. An error that
 *   it throws is reported as an uncaught error, and that call goes on.
 * - An error that `readyToTrip`, `isSuccessful` or `isExcluded` throws rejects the call whose result it was asked
 *   about, which counts as failed. So does the TypeError for a promise that one of them returns.
 * - Settings are checked. Numbers that are NaN are refused with RangeError, as are a negative or fractional
 *   `maxRequests`, a `probeTimeout` of 0 or less, and more than 65 536 buckets. Other types are refused with TypeError.
 * - There is no distributed breaker.
 */

import { Machine, type Request } from "./internal/breaker/machine.ts";
import { noGenerator } from "./internal/data/args.ts";
import type { Counts } from "./internal/data/rollingcounts.ts";
import { budgetWait, failedWith, notAFunction } from "./internal/time/turn.ts";
import { giveName } from "./internal/track/named.ts";

export { OpenStateError, TooManyRequestsError } from "./internal/breaker/machine.ts";
export type { Counts } from "./internal/data/rollingcounts.ts";

/** Whether calls go through (closed), are refused (open), or go through as probes, a few of them (half-open). */
export type State = "closed" | "half-open" | "open";

/** When a breaker opens, and when it closes again. Everything may be left out. */
export interface Settings {
  /**
   * For `onStateChange`, and a label of its metrics (`gopark/metrics`). Well-formed Unicode. Empty if left out: then it
   * has no metrics of its own.
   */
  readonly name?: string | undefined;

  /**
   * How many probes are let through while the breaker is half-open; all of them must succeed to close it. A whole
   * number; 0 means 1, as does leaving it out.
   */
  readonly maxRequests?: number | undefined;

  /**
   * While the breaker is closed, the counts are cleared after this many milliseconds. With 0 or less, with Infinity, or
   * left out, they are not cleared before the state changes.
   */
  readonly interval?: number | undefined;

  /**
   * With a `bucketPeriod`, the counts of a closed breaker are those of the last `interval` milliseconds, rounded up to
   * whole buckets of this many milliseconds each; the counts of the oldest bucket are forgotten together. With 0 or
   * less, or left out, all counts are cleared together after an `interval`. Without an `interval` it has no effect. An
   * `interval` of more than 65 536 times this is refused, and so is one of Infinity.
   */
  readonly bucketPeriod?: number | undefined;

  /** How many milliseconds the breaker stays open. 60 000 if left out, or 0 or less. Infinity is for ever. */
  readonly timeout?: number | undefined;

  /**
   * A probe that has not ended after this many milliseconds counts as failed: the breaker opens, as of that instant.
   * Its function is not stopped, and its result is not counted any more. Above 0; Infinity if left out.
   */
  readonly probeTimeout?: number | undefined;

  /**
   * Asked when a call has failed while the breaker is closed: whether to open it. If left out, it opens when more than
   * 5 calls have failed in a row. Must not return a promise.
   */
  readonly readyToTrip?: ((counts: Counts) => boolean) | undefined;

  /** Called after each change of the state. */
  readonly onStateChange?: ((name: string, from: State, to: State) => void) | undefined;

  /**
   * Whether a call that ended with `err` was a success. `err` is `undefined` if the call did not fail. If left out,
   * every call that did not fail was one. Must not return a promise.
   */
  readonly isSuccessful?: ((err: unknown) => boolean) | undefined;

  /**
   * Whether a call that ended with `err` counts as neither a success nor a failure. `err` is `undefined` if the call
   * did not fail. A probe that is excluded gives its place to another. Asked before `isSuccessful`. If left out, no
   * call is excluded. Must not return a promise.
   */
  readonly isExcluded?: ((err: unknown) => boolean) | undefined;

  /** The clock, in milliseconds from any origin. The clock of `gopark/time` if left out. */
  readonly now?: (() => number) | undefined;
}

/** A breaker around functions. One for each service; any number of callers. */
export class CircuitBreaker {
  readonly #machine: Machine;

  /**
   * Throws RangeError for a number outside its range or a name that is not well-formed, TypeError for a setting of
   * another type.
   */
  constructor(settings?: Settings) {
    this.#machine = new Machine(settings, "CircuitBreaker");
    giveName("breaker", this.#machine, this.#machine.name, "CircuitBreaker: name");
  }

  /** The name that the settings gave it. */
  get name(): string {
    return this.#machine.name;
  }

  /**
   * Calls `fn` if the breaker lets it through, and counts how it ends. Resolves or rejects as `fn` does.
   *
   * `fn` is called before `execute` returns, and the call is counted from then on. Its result is counted when what `fn`
   * returned has settled, and dropped if the state has changed in between, or the counts of that time were cleared.
   *
   * Rejects, with `fn` not called, at once with
   * - {@link OpenStateError}, if the breaker is open;
   * - {@link TooManyRequestsError}, if it is half-open and `maxRequests` probes have been let through, not counting
   *   excluded ones;
   * - TypeError, if `fn` is not a function.
   *
   * Rejects, after `fn` has ended, with TypeError if `fn` returned a generator, whose body has not run, and with what
   * `readyToTrip`, `isSuccessful` or `isExcluded` throws. Both count as a failure.
   */
  execute<T>(fn: () => T | PromiseLike<T>): Promise<T> {
    if (typeof fn !== "function") return notAFunction(fn, "execute: fn");
    const machine = this.#machine;
    let request: Request;
    try {
      const refusal = machine.findRefusal();
      if (refusal !== undefined) return failedWith(refusal);
      request = machine.begin();
    } catch (error) {
      return failedWith(error); // Of the clock.
    }
    return run(machine, request, fn);
  }

  /**
   * The state now. Finds what has become due: an open breaker whose `timeout` has passed becomes half-open by this
   * call.
   */
  state(): State {
    return this.#machine.state();
  }

  /** The counts, as the last call left them: unlike {@link state}, this does not look at the clock. */
  counts(): Counts {
    return this.#machine.counts();
  }
}

async function run<T>(machine: Machine, request: Request, fn: () => T | PromiseLike<T>): Promise<T> {
  let result: T;
  try {
    result = noGenerator(await fn(), "execute: fn");
  } catch (error) {
    machine.end(request, error ?? new Error(`execute: fn rejected with ${error}`));
    const turn = budgetWait();
    if (turn !== undefined) await turn;
    throw error;
  }
  machine.end(request, undefined);
  const turn = budgetWait();
  if (turn !== undefined) await turn;
  return result;
}

/** Reports how a call ended: with its error, or with `undefined` or `null` if it did not fail. */
export type Done = (err?: unknown) => void;

/** A breaker for calls that do not end where they began. {@link CircuitBreaker} is simpler to use. */
export class TwoStepCircuitBreaker {
  readonly #machine: Machine;

  /** Throws as the constructor of {@link CircuitBreaker} does. */
  constructor(settings?: Settings) {
    this.#machine = new Machine(settings, "TwoStepCircuitBreaker");
    giveName("breaker", this.#machine, this.#machine.name, "TwoStepCircuitBreaker: name");
  }

  /** The name that the settings gave it. */
  get name(): string {
    return this.#machine.name;
  }

  /**
   * Lets a call through, and returns the function to report its end with. Call it on every path; a second call does
   * nothing. It throws what `readyToTrip`, `isSuccessful` or `isExcluded` throws, and the call has then failed.
   *
   * Throws {@link OpenStateError} if the breaker is open, {@link TooManyRequestsError} if it is half-open and
   * `maxRequests` probes have been let through, not counting excluded ones.
   */
  allow(): Done {
    const machine = this.#machine;
    const refusal = machine.findRefusal();
    if (refusal !== undefined) throw refusal;
    let request: Request | undefined = machine.begin();
    return (err) => {
      if (request === undefined) return;
      const ended = request;
      request = undefined;
      machine.end(ended, err);
    };
  }

  /** As {@link CircuitBreaker.state}. */
  state(): State {
    return this.#machine.state();
  }

  /** As {@link CircuitBreaker.counts}. */
  counts(): Counts {
    return this.#machine.counts();
  }
}
