/**
 * Synctest: tests of concurrent code in virtual time, at full speed, and in orders that a seed determines.
 *
 * `test(fn)` runs `fn` and the tasks that it starts in a *bubble*. Its clock stands still while anything can go on, and
 * then moves at once to the next instant for which a timer is set. So an hour's sleep takes about a millisecond, and
 * what happens does not depend on the speed of the machine.
 *
 * Rules of use:
 *
 * - Await `test`. It resolves when `fn` and all tasks have ended.
 * - Start tasks with `go`, an errgroup and the like: the bubble has to know a task to know that it is blocked.
 * - Keep real I/O out of the bubble, and pass in a fake. The bubble waits for I/O in real time, at most `stuckMs`.
 * - To look at a state in between, call `wait`: it waits until the other tasks can do nothing more.
 * - To search for an order that breaks the program, call `explore`. To see that order again, call `test` with the seed.
 *
 * ```ts
 * import { context, time } from "gopark";
 * import { test, wait } from "gopark/synctest";
 *
 * await test(async () => {
 *   using scope = context.withTimeout(context.background(), 60_000);
 *   await time.sleep(59_999);
 *   await wait();
 *   console.log("before:", scope.ctx.err());
 *   await time.sleep(1);
 *   await wait();
 *   console.log("after:", scope.ctx.err()?.message);
 * });
 * // Output:
 * // before: undefined
 * // after: context deadline exceeded
 * ```
 *
 * Ports testing/synctest. Differences from Go:
 *
 * - `test` takes no T. It returns a promise, which resolves or rejects as `fn` does.
 * - All code of the thread shares the clock. So bubbles of one thread run one after the other, and other code that runs
 *   in the meantime has the bubble's time too. In Go they run side by side.
 * - Virtual are the clock and the timers of this library, `setTimeout`, `setInterval`, their clears, `Date` and
 *   `performance.now`. Not virtual are `setImmediate`, `process.nextTick`, `AbortSignal.timeout` and what is imported
 *   from `node:timers`.
 * - A task is durably blocked while it waits in this library, for whatever it be, or for a timer of the bubble; and
 *   while a task that it has started lives. In Go a goroutine that waits for a mutex, or on a channel from outside the
 *   bubble, is not.
 * - A task that awaits anything else, such as the promise of a task that it did not start, is not durably blocked. If
 *   nothing goes on for `stuckMs` of real time, `test` rejects, and names such tasks.
 * - A deadlock rejects with {@link DeadlockError}, which names each wait. Go panics. What was blocked stays so, and
 *   leak checks report it.
 * - An error that a callback of `setTimeout` or `setInterval` throws ends the bubble: `test` rejects with it. One that
 *   a task rejects with, and nobody handles, is reported by the host. In Go a panic ends the program.
 * - `seed` and {@link explore} are additions.
 */

import { Bubble, type BubbleOptions, currentBubble, queued } from "./internal/bubble/bubble.ts";
import { callable, duration, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { brand } from "./internal/host/errors.ts";

/** All tasks of a bubble were blocked for ever. Its message has a paragraph for each wait: kind, age and stack. */
export class DeadlockError extends Error {
  static {
    brand(this, "DeadlockError");
  }
}

/** A program has failed in the order that `seed` determines. `cause` is its error. */
export class ExploreError extends Error {
  /** Pass it to {@link test}, to run the program in this order again. */
  readonly seed: number;

  static {
    brand(this, "ExploreError");
  }

  constructor(seed: number, cause: unknown) {
    super(`with seed ${seed}: ${messageOf(cause)}`, { cause });
    this.seed = seed;
  }
}

/** The options of {@link test}. */
export interface TestOptions {
  /**
   * Determines the order in which tasks that can go on do so, which case a select chooses, and `Math.random`. A whole
   * number. If left out, tasks go on in the order in which they were woken, and the rest is random as always.
   */
  readonly seed?: number | undefined;

  /**
   * For how many milliseconds of real time the bubble waits for what is not of it, such as I/O, until it rejects. Above
   * 0, and may be Infinity. 2000 if left out.
   */
  readonly stuckMs?: number | undefined;
}

/** The options of {@link explore}. */
export interface ExploreOptions {
  /** How many seeds to try. At least 1. */
  readonly seeds: number;
  /** The first seed; the next ones follow it. 1 if left out. */
  readonly first?: number | undefined;
  /** As for {@link test}. */
  readonly stuckMs?: number | undefined;
}

/**
 * Runs `fn` in a bubble of its own, when all earlier bubbles have ended. Resolves with its result when `fn`, and all
 * tasks that it has started, have ended. The bubble begins at midnight UTC of 2000-01-01.
 *
 * When `fn` has ended, time stands still. Timers that are still set then never fire. A context or ticker that is left
 * stays counted, and leak checks report it.
 *
 * Rejects with
 * - what `fn` throws or rejects with; other tasks may still run then, and are not waited for;
 * - what the callback of a timer throws;
 * - {@link DeadlockError}, if all tasks are blocked and no timer is set, or if `fn` has ended and others are blocked;
 * - Error, if nothing goes on for `stuckMs`, if called inside a bubble, if `fn` has replaced a virtual function (as
 *   fake timers do) and not put it back, or if the host has no AsyncLocalStorage;
 * - TypeError or RangeError, with `fn` not called, for a bad argument.
 */
export async function test<T>(fn: () => T | PromiseLike<T>, options?: TestOptions): Promise<T> {
  callable(fn, "test: fn");
  const { seed, stuckMs } = optionsOf(options, "test: options");
  const settings: BubbleOptions = {
    seed: seed === undefined ? undefined : wholeNumber(seed, "test: seed"),
    stuckMs: limit(stuckMs, "test: stuckMs"),
    deadlock: (message) => new DeadlockError(message),
  };
  notInBubble("test");
  return queued(() => new Bubble(settings).run(fn));
}

/**
 * Waits until every other task of the bubble is durably blocked: it could only go on if time passed, or if this task
 * did something. Time does not pass meanwhile.
 *
 * Rejects with Error if called outside of a bubble, if another task waits so already, or if the bubble ends first.
 */
export async function wait(): Promise<void> {
  const bubble = currentBubble();
  if (bubble === undefined) throw new Error("synctest.wait: called outside of a bubble");
  await bubble.wait();
}

/**
 * Runs `fn` once for each seed, each time in a bubble of its own, until it fails. It must make all its state anew.
 *
 * In each run, all that can go on goes on one at a time, in an order that the seed determines. Which task gets a value
 * or a lock is not changed: first come, first served. So each order is one that can happen.
 *
 * Rejects with {@link ExploreError} when a run fails, and with TypeError or RangeError, with `fn` not called, for a bad
 * argument.
 */
export async function explore(fn: () => unknown, options: ExploreOptions): Promise<void> {
  callable(fn, "explore: fn");
  const { seeds, first = 1, stuckMs } = optionsOf(options, "explore: options");
  wholeNumber(first, "explore: first");
  const end = wholeNumber(first + wholeNumber(seeds as number, "explore: seeds", 1), "explore: first + seeds");
  limit(stuckMs, "explore: stuckMs");
  notInBubble("explore");
  for (let seed = first; seed < end; seed++) {
    try {
      await test(fn, { seed, stuckMs });
    } catch (error) {
      throw new ExploreError(seed, error);
    }
  }
}

function notInBubble(name: string): void {
  if (currentBubble() !== undefined) throw new Error(`synctest.${name}: called from within a bubble`);
}

function limit(stuckMs: number | undefined, what: string): number {
  const ms = stuckMs === undefined ? 2000 : duration(stuckMs, what);
  if (ms > 0) return ms;
  throw new RangeError(`${what} must be above 0, got ${ms}`);
}

function messageOf(error: unknown): string {
  try {
    if (error instanceof Error) return error.message;
  } catch {
    // A getter that throws.
  }
  return show(error);
}
