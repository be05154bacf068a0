/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Groups of tasks that work on one thing: the first error cancels the rest, and `wait` waits for all of them.
 *
 * Rules of use:
 *
 * - To do the same with many items, `map` or `forEach`: as many at once as you say, results in order.
 * - For everything else, most callers should use `scope`: nothing that was started in it outlives it.
 * - With `withContext`, pass the derived context to the tasks and call `wait` on every path.
 * - Await `g.go(...)` under a limit: it resolves when the task has been started, which is how the limit pushes back.
 *
 * ```ts
 * import { context, errgroup } from "gopark";
 *
 * const total = await errgroup.scope(context.background(), async (g) => {
 *   let sum = 0;
 *   for (const n of [1, 2, 3]) await g.go(async () => void (sum += n));
 *   await g.wait();
 *   return sum;
 * });
 * console.log(total);
 * // Output:
 * // 6
 * ```
 *
 * Ports golang.org/x/sync/errgroup. Differences from Go:
 *
 * - A task fails by throwing or rejecting; what it resolves to is ignored.
 * - `go` and `wait` are awaited, and take a `Cancel` of the caller's.
 * - `scope` ties the group to a block; `map` and `forEach` are what Go writes as a loop around `g.Go`.
 * - An error of a group that is dropped without being waited for is reported as an unhandled rejection once the
 *   collector has taken the group. Go loses it.
 */
import { type Cancel, type CancelScope, type Context, fromSignal, withCancel } from "./context.ts";
import { callable, count, isThenable, show } from "./internal/data/args.ts";
import { asyncDisposable } from "./internal/host/dispose.ts";
import { completed, failedWith, notAFunction } from "./internal/time/turn.ts";
import { callOthers, enter, exit, Kind, type PublicFunction, runTask, TASK } from "./internal/track/tracker.ts";
import { findError } from "./internal/wait/endings.ts";
import { isSignal, sourceOf } from "./internal/wait/foreign.ts";
import { Items } from "./internal/wait/items.ts";
import { type Asked, Slots } from "./internal/wait/slots.ts";
import type { Source } from "./internal/wait/source.ts";
import { Waiters } from "./internal/wait/wait.ts";

callOthers(() => [map, forEach, scope, withContext]);

const entries = (): PublicFunction[] => [Group.prototype.go, Group.prototype.tryGo];
const GO = new Kind("errgroup go", "wait", entries);
const WAIT = new Kind("errgroup wait", "wait", () => [Group.prototype.wait]);

/** What a group runs. */
export type Task = () => unknown;

// Reports the error of a group that was dropped before anybody asked for it.
const dropped = new FinalizationRegistry<Failure>(({ error }) => {
  void Promise.reject(error);
});

interface Failure {
  readonly error: unknown;
}

/**
 * Formats the stacks of an error and of its causes. Before that, a stack keeps the receivers of its frames alive: a
 * group whose task has made the error would never be collected.
 */
function formatStacks(error: unknown): void {
  findError(error, (e) => {
    void e.stack;
    return false;
  });
}

/** What {@link map} and {@link forEach} go through. */
export type Every<T> = Iterable<T> | AsyncIterable<T>;

type Work<T> = (item: T, ctx: Context, index: number) => unknown;

// For map and forEach, which live outside the class. Set by its static block.
let startEach: <T>(
  group: Group,
  ctx: Context,
  items: Every<T>,
  work: Work<T>,
  results: unknown[] | undefined,
) => Promise<void>;

/**
 * A group of tasks. Made by {@link withContext} it has a context that its first error cancels; made by `new` it has
 * none, no limit, and only collects.
 */
export class Group {
  // Between any two calls:
  //   0 <= #slots.held <= #running: of the running tasks, those that were started under a limit;
  //   if anyone waits for the end, #running > 0;
  //   #failure, once set, stays.
  #running = 0;
  readonly #slots = new Slots<boolean>(GO, Number.POSITIVE_INFINITY);
  readonly #waiters = new Waiters<void>(WAIT);
  #failure: Failure | undefined = undefined;
  #reported = false;
  readonly #scope: CancelScope | undefined;

  // What those who wait for a slot ask for: the task counts as running from the grant on.
  readonly #asked: Asked<boolean> = {
    n: 1,
    granted: () => {
      this.#running++;
      if (this.#isLimited()) return true;
      this.#slots.held--; // The limit has been removed.
      return false;
    },
  };

  constructor();
  /** @internal */
  constructor(scope: CancelScope);
  constructor(scope?: CancelScope) {
    this.#scope = scope;
  }

  /**
   * Runs `task` in the group. Resolves once it has been started, which under a limit may wait for a slot, after every
   * earlier caller; without one, that is at once. The task runs in the caller's async context.
   *
   * The first task to throw or reject gives the group its error and cancels its context; later errors are dropped. A
   * group whose context has ended still starts tasks: it is for them to look.
   *
   * Rejects, with `task` not run, with the context's error or the signal's reason if `cancel` is done or ends while
   * waiting for a slot, and with TypeError if `task` is no function.
   */
  go(task: Task, cancel?: Cancel): Promise<void> {
    if (typeof task !== "function") return notAFunction(task, "errgroup's task");
    let source: Source | undefined;
    if (cancel !== undefined) {
      source = sourceOf(cancel);
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    if (this.#slots.free < 1) return this.#startLater(task, source);
    void this.#start(task, this.#claim());
    return completed();
  }

  /** Runs `task` in the group if that needs no waiting for a slot; says whether it did. Throws TypeError as `go`. */
  tryGo(task: Task): boolean {
    callable(task, "errgroup's task");
    if (this.#slots.free < 1) return false;
    void this.#start(task, this.#claim());
    return true;
  }

  /**
   * Lets at most n tasks run at once from now on; a negative n removes the limit; 0 lets none start.
   *
   * Throws, with nothing changed, an Error while tasks that were started under a limit are running, and RangeError if n
   * is no whole number.
   */
  setLimit(n: number): void {
    if (typeof n !== "number") throw new TypeError(`limit must be a whole number, got ${show(n)}`);
    if (!Number.isSafeInteger(n)) throw new RangeError(`limit must be a whole number, got ${n}`);
    const { held } = this.#slots;
    if (n >= 0 && held > 0) {
      throw new Error(`errgroup: modify limit while ${held} goroutines in the group are still active`);
    }
    this.#slots.resize(n < 0 ? Number.POSITIVE_INFINITY : n);
  }

  /**
   * Waits until every task has ended, then cancels the group's context. Rejects with the first error of a task, if
   * there was one: each time, as the error stays. Tasks may be added again afterwards.
   *
   * Rejects also with the context's error or the signal's reason if `cancel` is done or ends while waiting; the group
   * goes on then.
   */
  wait(cancel?: Cancel): Promise<void> {
    let source: Source | undefined;
    if (cancel !== undefined) {
      source = sourceOf(cancel);
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    return this.#running === 0 ? this.#conclude() : this.#waiters.park(source, undefined);
  }

  /**
   * Cancels the group's context and waits until every task has ended. Rejects with the group's error if no `wait` has
   * told it, unless it is only what the tasks made of this cancel.
   */
  declare readonly [Symbol.asyncDispose]: () => Promise<void>;

  static {
    asyncDisposable(this.prototype, function () {
      return this.#dispose();
    });
    startEach = (group, ctx, items, work, results) => group.#startEach(ctx, items, work, results);
  }

  async #dispose(): Promise<void> {
    const before = this.#failure;
    const reported = this.#reported;
    const [ctx, cancel] = this.#scope ?? [];
    const running = ctx !== undefined && ctx.err() === undefined;
    cancel?.();
    try {
      await this.wait();
    } catch (error) {
      const ours = before === undefined && running && madeOf(error, ctx.err());
      if (!reported && !ours) throw error;
    }
  }

  #isLimited(): boolean {
    return this.#slots.size !== Number.POSITIVE_INFINITY;
  }

  /** Makes room for one more task; says whether it takes a slot, to be given back by {@link #done}. */
  #claim(): boolean {
    const limited = this.#isLimited();
    if (limited) this.#slots.take(1);
    this.#running++;
    return limited;
  }

  /**
   * Runs a task whose room has been claimed, and puts what it resolves to into `results[index]`. As `go` does it, whose
   * promise would only be waited for here.
   */
  async #start(task: Task, limited: boolean, results?: unknown[], index = 0): Promise<void> {
    const entry = enter(TASK, undefined, entries);
    try {
      await completed();
      const result = await runTask(task);
      if (results !== undefined) results[index] = result;
    } catch (error) {
      this.#fail(error);
    }
    exit(TASK, entry);
    this.#done(limited);
  }

  async #startLater(task: Task, source: Source | undefined): Promise<void> {
    // Start the task from here, not where its slot was given back: that is another task's stack and async context.
    void this.#start(task, await this.#slots.park(source, this.#asked));
    await completed();
  }

  /**
   * Runs a task for each item, which it takes only when there is a slot for it. Resolves when it has taken the last, or
   * has been stopped; what stopped it is an error of the group.
   */
  async #startEach<T>(ctx: Context, items: Every<T>, work: Work<T>, results: unknown[] | undefined): Promise<void> {
    const source = sourceOf(ctx);
    let taken: Items<T> | undefined;
    try {
      taken = new Items(items);
      for (let index = 0; ; index++) {
        const limited = this.#slots.free < 1 ? await this.#slots.park(source, this.#asked) : this.#claim();
        let next: IteratorResult<T>;
        try {
          check(ctx);
          next = taken.isAsync ? await taken.nextLater(source) : taken.next();
          if (!taken.isAsync && !next.done && isThenable(next.value)) {
            // As `for await` does it with the promises of an iterable that is not async.
            check(ctx);
            next = { done: false, value: await taken.settled(next.value as PromiseLike<T>, source) };
          }
          check(ctx);
        } catch (error) {
          this.#done(limited);
          throw error;
        }
        if (next.done) return this.#done(limited);
        const { value } = next;
        void this.#start(() => work(value, ctx, index), limited, results, index);
      }
    } catch (error) {
      this.#fail(error);
      await taken?.close();
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    formatStacks(error);
    dropped.register(this, this.#failure, this);
    this.#scope?.cancel(error);
  }

  #done(limited: boolean): void {
    this.#running--;
    if (limited) this.#slots.give(1);
    if (this.#running > 0 || this.#waiters.size === 0) return;
    this.#report();
    if (this.#failure === undefined) this.#waiters.wakeAll(undefined);
    else this.#waiters.failAll(this.#failure.error);
  }

  #conclude(): Promise<void> {
    this.#report();
    return this.#failure === undefined ? completed() : failedWith(this.#failure.error);
  }

  /** Somebody is about to learn of the end, with the error if there is one. */
  #report(): void {
    this.#scope?.cancel(this.#failure?.error);
    if (this.#failure === undefined) return;
    this.#reported = true;
    dropped.unregister(this);
  }
}

/**
 * Whether an error is what somebody made of a context's end: that context's very error, or one that was caused by it.
 */
function madeOf(error: unknown, ended: Error | undefined): boolean {
  return ended !== undefined && findError(error, (e) => e === ended);
}

/**
 * A group and a context derived from `parent`, which ends when a task fails, with the task's error as its cause, or
 * when `wait` has waited. Throws TypeError if `parent` is no context.
 */
export function withContext(parent: Cancel): [group: Group, ctx: Context] {
  const scope = withCancel(parent);
  return [new Group(scope), scope.ctx];
}

/**
 * Runs `body` with a group of its own and the group's context, and waits for all that it started.
 *
 * If `body` resolves, waits for the tasks and resolves to the same, or rejects with the group's error. If `body`
 * throws, cancels the context, waits for the tasks and rejects with what it threw; where that is only what `body` made
 * of the context's end, because a task had failed, with that task's error.
 */
export async function scope<T>(parent: Cancel, body: (group: Group, ctx: Context) => T | PromiseLike<T>): Promise<T> {
  if (typeof body !== "function") return notAFunction(body, "scope's body");
  const cancelScope = withCancel(parent);
  const [ctx, cancel] = cancelScope;
  const group = new Group(cancelScope);
  let result: T;
  try {
    result = await body(group, ctx);
  } catch (error) {
    const ended = ctx.err();
    cancel(error);
    try {
      await group.wait();
    } catch (first) {
      if (madeOf(error, ended)) throw first;
    }
    throw error;
  }
  await group.wait();
  return result;
}

/** How {@link map} and {@link forEach} go about it. */
export interface EachOptions {
  /** How many items at most are worked on at once: a whole number from 1, or Infinity. */
  readonly limit: number;
}

/**
 * Runs `fn` for each item, for `limit` of them at once, and resolves to its results in the order of the items.
 *
 * The items may come from any iterable, also an async one or an endless one. One is taken only when there is a slot for
 * it, and never two at a time, so a slow `fn` holds its source back. `fn` gets a context that ends when the work is to
 * stop, and runs in the caller's async context.
 *
 * The first error of `fn` cancels that context; so does the end of `ctx`, at any time before the last call has ended.
 * Then nothing more is taken, the iterator is told by its `return`, the running calls are waited for, and the promise
 * rejects with that error. What `return` itself throws is dropped, as `for await` drops it; a `next` that is still
 * pending then is not waited for. If the iterator throws, the promise rejects with its error, in the same way.
 *
 * Rejects at once, with nothing taken, if `ctx` has ended, with TypeError if `items` is not iterable, `fn` is no
 * function or `limit` is missing, and with RangeError if `limit` is out of its range.
 */
export async function map<T, R>(
  ctx: Cancel,
  items: Every<T>,
  fn: (item: T, ctx: Context, index: number) => R | PromiseLike<R>,
  options: EachOptions,
): Promise<R[]> {
  if (typeof fn !== "function") return notAFunction(fn, "map's function");
  const results: R[] = [];
  await each(ctx, items, fn, options, results);
  return results;
}

/** As {@link map}, for calls whose results do not matter: they are not kept. */
export async function forEach<T>(
  ctx: Cancel,
  items: Every<T>,
  fn: (item: T, ctx: Context, index: number) => unknown,
  options: EachOptions,
): Promise<void> {
  if (typeof fn !== "function") return notAFunction(fn, "forEach's function");
  await each(ctx, items, fn, options);
}

async function each<T>(
  ctx: Cancel,
  items: Every<T>,
  work: Work<T>,
  options: EachOptions,
  results?: unknown[],
): Promise<void> {
  const limit = limitOf(options);
  const source = sourceOf(ctx);
  const refusal = source.poll();
  if (refusal !== undefined) throw refusal.error();
  const parent = isSignal(ctx) ? fromSignal(ctx) : ctx;
  const inner = withCancel(parent);
  const group = new Group(inner);
  if (limit !== Number.POSITIVE_INFINITY) group.setLimit(limit);
  await startEach(group, inner.ctx, items, work, results);
  let failure: Failure | undefined;
  try {
    await group.wait();
  } catch (error) {
    failure = { error };
  }
  // Whatever ended the inner context first is the error. If it was the end of the caller's context, which the group
  // does not know if only the last calls ran, it is that one's error, or the signal's reason, instead of what a call
  // made of it.
  const ended = inner.ctx.err();
  if (ended !== undefined && ended === parent.err()) throw source.poll()?.error();
  if (failure !== undefined) throw failure.error;
}

function limitOf(options: EachOptions): number {
  const limit: unknown = (options as EachOptions | undefined)?.limit;
  if (typeof limit !== "number") throw new TypeError(`limit must be a whole number or Infinity, got ${show(limit)}`);
  return limit === Number.POSITIVE_INFINITY ? limit : count(limit, "limit", 1);
}

function check(ctx: Context): void {
  const error = ctx.err();
  if (error !== undefined) throw error;
}
