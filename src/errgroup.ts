/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Groups of tasks that work on one thing. The first error ends the group's context, if it has one. `wait` waits for all
 * tasks, and rejects with the first error.
 *
 * Rules of use:
 *
 * - To do the same with many items, use `map` or `forEach`: at most `limit` at a time, results in the order of the
 *   items.
 * - For everything else, most callers should use `scope`: no task that was started in it outlives it.
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
 * - A task fails by throwing or rejecting. There is no `err` to return, and the result of a task is ignored.
 * - `go` returns a promise that resolves once the task has started: await it if there is a limit. The task's own error
 *   comes from `wait`.
 * - `go` and `wait` take an optional context or signal of the caller, which ends the waiting and not the tasks.
 * - `setLimit` of a number from 0 on, while tasks that were started under a limit are running, throws an Error with
 *   Go's text. Go panics. `setLimit(Infinity)` removes the limit, as a negative number does.
 * - An error that nobody has waited for is reported as an unhandled rejection once the garbage collector has freed the
 *   group. Go loses it.
 * - `scope`, `map`, `forEach` and `await using group` are additions.
 */
import { type Cancel, type CancelScope, type Context, withCancel } from "./context.ts";
import { callable, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { asyncDisposable } from "./internal/host/dispose.ts";
import { budgetWait, completed, failedWith, notAFunction } from "./internal/time/turn.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import {
  enter,
  exit,
  Kind,
  onBehalfOf,
  type PublicFunction,
  registerOuter,
  runTask,
  stackOfCall,
  TASK,
} from "./internal/track/tracker.ts";
import { someError } from "./internal/wait/endings.ts";
import { optionalSource, sourceOf } from "./internal/wait/foreign.ts";
import { endUnopened, Items } from "./internal/wait/items.ts";
import { contextOf } from "./internal/wait/signalcontext.ts";
import { Slots, type UnitRequest } from "./internal/wait/slots.ts";
import type { Source } from "./internal/wait/source.ts";
import { Waiters } from "./internal/wait/wait.ts";

registerOuter(() => [map, forEach, scope, withContext]);

// The public functions at which the stack of a record begins.
const entryPoints = (): PublicFunction[] => [Group.prototype.go, Group.prototype.tryGo];
const GO = new Kind("errgroup go", "wait", entryPoints);
const WAIT = new Kind("errgroup wait", "wait", () => [Group.prototype.wait]);

/** A function that a group runs. It fails by throwing or rejecting; its result is ignored. */
export type Task = () => unknown;

// Reports the error of a group that was collected before anybody waited for it.
const dropped = new FinalizationRegistry<Failure>(({ error }) => {
  void Promise.reject(error);
});

interface Failure {
  readonly error: unknown;
}

/** What a caller that has waited for a slot is granted. */
interface Admission {
  /** Whether the task holds a slot, to be given back. */
  readonly limited: boolean;
  /** Where the caller waited, if that was recorded. */
  readonly stack: string | undefined;
}

/**
 * Formats the stacks of an error and of those behind it. An unformatted stack keeps the receivers of its frames alive,
 * so the group would never be collected.
 */
function formatStacks(error: unknown): void {
  try {
    someError(error, (e) => {
      void e.stack;
      return false;
    });
  } catch {
    // A getter, or a prepareStackTrace, that throws: what is behind it stays as it is.
  }
}

/**
 * An iterable, async or not: {@link map} and {@link forEach} take their items from it. Promises among the items of an
 * iterable that is not async are awaited.
 */
export type AnyIterable<T> = AsyncIterable<T> | Iterable<T | PromiseLike<T>>;

type EachFunction<T> = (item: T, ctx: Context, index: number) => unknown;

// For map and forEach, which live outside the class. Set by its static block.
let startEach: <T>(
  group: Group,
  ctx: Context,
  items: AnyIterable<T>,
  work: EachFunction<T>,
  results: unknown[] | undefined,
  stack: string | undefined,
) => Promise<void>;

/**
 * A group of tasks, without a limit until {@link setLimit}. One made by {@link withContext} has a context that its
 * first error cancels. One made by `new` has none, and its first error cancels nothing.
 */
export class Group {
  // Between any two calls:
  //   #running counts the tasks that were admitted and have not ended, and one more while map or forEach take an item;
  //   #slots.held, at most #running, counts those of them that hold a slot: they were admitted under a limit;
  //   if anyone waits for the end, #running > 0;
  //   #failure, once set, stays.
  #running = 0;
  readonly #slots = new Slots<Admission>(GO, Number.POSITIVE_INFINITY);
  readonly #waiters = new Waiters<void>(WAIT);
  #failure: Failure | undefined = undefined;

  // Whether #failure has been handed to a wait.
  #reported = false;

  readonly #cancelScope: CancelScope | undefined;

  // What a caller that waits for a slot asks for. It is admitted when the slot is granted.
  readonly #slotRequest: UnitRequest<Admission> = {
    n: 1,
    granted: (stack) => {
      this.#running++;
      const limited = this.#isLimited();
      if (!limited) this.#slots.uncount(1); // The limit has been removed: nobody would give back what Slots counted.
      return { limited, stack };
    },
  };

  constructor();
  /** @internal */
  constructor(scope: CancelScope);
  constructor(scope?: CancelScope) {
    this.#cancelScope = scope;
  }

  /**
   * Runs `task` in the group. It starts in a microtask, never inside this call; under a limit, when a slot is free and
   * every earlier caller has been served. It runs in the caller's async context. The promise resolves once it has
   * started.
   *
   * The first task to throw or reject gives the group its error and cancels its context; later errors are dropped. A
   * group whose context has ended still starts tasks, which can ask the context themselves.
   *
   * Rejects, with `task` not run, with the context's error or the signal's reason if `cancel` has ended (even if a slot
   * is free) or ends while waiting for a slot, and with TypeError if `task` is not a function.
   */
  go(task: Task, cancel?: Cancel): Promise<void> {
    if (typeof task !== "function") return notAFunction(task, "go: task");
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    if (this.#slots.free < 1) return this.#startLater(task, source);
    void this.#start(task, this.#admit(), undefined);
    return completed();
  }

  /**
   * Runs `task` in the group if there is a slot for it and nobody waits for one; reports whether it does. `task` starts
   * in a microtask. Throws TypeError if it is not a function.
   */
  tryGo(task: Task): boolean {
    callable(task, "tryGo: task");
    if (this.#slots.free < 1) return false;
    void this.#start(task, this.#admit(), undefined);
    return true;
  }

  /**
   * Lets at most n tasks run at once from now on. Infinity or a negative n removes the limit; with 0, no task starts.
   *
   * Throws, with nothing changed, an Error if n does not remove the limit and tasks that were started under one are
   * running, RangeError if n is neither a whole number nor Infinity, and TypeError if it is not a number.
   */
  setLimit(n: number): void {
    if (typeof n !== "number") throw new TypeError(`setLimit: n must be a whole number or Infinity, got ${show(n)}`);
    const limit = n < 0 ? Number.POSITIVE_INFINITY : n;
    if (!Number.isSafeInteger(n) && n !== Number.POSITIVE_INFINITY) {
      throw new RangeError(`setLimit: n must be a whole number or Infinity, got ${n}`);
    }
    const { held } = this.#slots;
    if (limit !== Number.POSITIVE_INFINITY && held > 0) {
      throw new Error(`errgroup: modify limit while ${held} goroutines in the group are still active`);
    }
    this.#slots.resize(limit);
  }

  /**
   * Waits until no task is running, then cancels the group's context. Rejects with the first error of a task, if there
   * was one, and so does every later call. Tasks may be added again afterwards.
   *
   * It also rejects with the context's error or the signal's reason, if `cancel` has ended or ends while waiting. The
   * tasks go on then, and the group's context is not cancelled.
   */
  wait(cancel?: Cancel): Promise<void> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    if (this.#running > 0) return this.#waiters.park(source, undefined);
    this.#conclude();
    return this.#failure === undefined ? completed() : failedWith(this.#failure.error);
  }

  /**
   * Cancels the group's context and waits until no task is running. Rejects with the group's error, unless a `wait` has
   * rejected with it before or it comes from this cancel: it is the context's error, or has that as its cause.
   */
  declare readonly [Symbol.asyncDispose]: () => Promise<void>;

  static {
    asyncDisposable(this.prototype, function () {
      return this.#dispose();
    });
    startEach = (group, ...args) => group.#startEach(...args);
  }

  async #dispose(): Promise<void> {
    const wasReported = this.#reported;
    const ctx = this.#cancelScope?.ctx;
    // A group that has failed has ended its context.
    const wasLive = ctx !== undefined && ctx.err() === undefined;
    this.#cancelScope?.cancel();
    try {
      await this.wait();
    } catch (error) {
      const isFromThisCancel = wasLive && comesFrom(error, ctx.err());
      if (!wasReported && !isFromThisCancel) throw error;
    }
  }

  #isLimited(): boolean {
    return this.#slots.size !== Number.POSITIVE_INFINITY;
  }

  /** Counts one more task; reports whether it takes a slot, to be given back by {@link #done}. A slot is free. */
  #admit(): boolean {
    const limited = this.#isLimited();
    if (limited) this.#slots.take(1);
    this.#running++;
    return limited;
  }

  /**
   * Runs a task that has been admitted, and puts what it resolves to into `results[index]`. `stack` is where it was
   * asked for, if that was recorded earlier. It does what `go` of go.ts does; to call that would add a promise for each
   * task.
   */
  async #start(task: Task, limited: boolean, stack: string | undefined, results?: unknown[], index = 0): Promise<void> {
    const record = enter(TASK, undefined, entryPoints, stack);
    if (record !== undefined) this.#noteTask(record, limited);
    try {
      await completed();
      const result = await runTask(task, record);
      if (results !== undefined) results[index] = result;
    } catch (error) {
      this.#fail(error);
    }
    exit(TASK, record);
    if (record !== undefined) this.#forgetTask(record);
    this.#done(limited);
  }

  /** Says that the waits for the group's end, and for a slot if the task has one, wait for this task. */
  #noteTask(record: LeakRecord, limited: boolean): void {
    if (limited) this.#slots.waiters.addHolder(record, "one");
    this.#waiters.addHolder(record);
  }

  #forgetTask(record: LeakRecord): void {
    this.#slots.waiters.removeHolder(record);
    this.#waiters.removeHolder(record);
  }

  async #startLater(task: Task, source: Source | undefined): Promise<void> {
    // Start the task from here, not where its slot was given back: that is another task's stack and async context.
    const { limited, stack } = await this.#slots.park(source, this.#slotRequest);
    void this.#start(task, limited, stack);
    await completed();
  }

  /**
   * Runs a task for each item, and takes an item only when there is a slot for its task. Resolves when it has taken the
   * last item, or has stopped; the reason is then an error of the group. `stack` is where this was asked for, if that
   * is recorded.
   */
  async #startEach<T>(
    ctx: Context,
    items: AnyIterable<T>,
    work: EachFunction<T>,
    results: unknown[] | undefined,
    stack: string | undefined,
  ): Promise<void> {
    const source = sourceOf(ctx);
    const park = () => this.#slots.park(source, this.#slotRequest);
    const take = () => (input as Items<T>).take(source);
    const close = () => input?.close();
    let input: Items<T> | undefined;
    try {
      input = new Items(items);
      for (let index = 0; ; index++) {
        const limited = this.#slots.free < 1 ? (await onBehalfOf(stack, park)).limited : this.#admit();
        let next: IteratorResult<T>;
        try {
          throwIfEnded(ctx);
          const taken = onBehalfOf(stack, take);
          next = taken instanceof Promise ? await taken : taken;
          throwIfEnded(ctx);
        } catch (error) {
          this.#done(limited);
          throw error;
        }
        if (next.done) return this.#done(limited);
        const { value } = next;
        void this.#start(() => work(value, ctx, index), limited, stack, results, index);
        // Nothing else is waited for without a limit.
        const room = limited ? undefined : budgetWait();
        if (room !== undefined) await room;
      }
    } catch (error) {
      this.#fail(error);
      await onBehalfOf(stack, close);
    }
  }

  /** Makes the first error the group's, and cancels the context. */
  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    formatStacks(error);
    dropped.register(this, this.#failure, this);
    this.#cancelScope?.cancel(error);
  }

  /** Takes back the count of one task and its slot; if it was the last, ends the waits. */
  #done(limited: boolean): void {
    this.#running--;
    if (limited) this.#slots.give(1);
    if (this.#running > 0 || this.#waiters.size === 0) return;
    this.#conclude();
    if (this.#failure === undefined) this.#waiters.wakeAll(undefined);
    else this.#waiters.rejectAll(this.#failure.error);
  }

  /** To be called before a wait ends: cancels the context, and notes that the error is handed over. */
  #conclude(): void {
    this.#cancelScope?.cancel(this.#failure?.error);
    if (this.#failure === undefined) return;
    this.#reported = true;
    dropped.unregister(this);
  }
}

/** Whether an error comes from a context's end: it is `ended`, that context's error, or has it behind it. */
function comesFrom(error: unknown, ended: Error | undefined): boolean {
  return ended !== undefined && someError(error, (e) => e === ended);
}

/**
 * A group, and a context derived from `parent`. The context ends when a task fails, with the task's error as its cause,
 * or when `wait` has waited for all. Throws TypeError if `parent` is not a context or a signal.
 */
export function withContext(parent: Cancel | undefined): [group: Group, ctx: Context] {
  const scope = withCancel(parent);
  return [new Group(scope), scope.ctx];
}

/** Options of {@link scope}. */
export interface ScopeOptions {
  /**
   * How many tasks may run at once: a whole number from 1, or Infinity; Infinity if left out. See
   * {@link Group.setLimit}.
   */
  readonly limit?: number | undefined;
}

/**
 * Calls `body` with a group of its own and the group's context, and waits for all tasks that it started. `body` is
 * called even if `parent` has ended; it can ask the context.
 *
 * If `body` resolves, `scope` waits for the tasks and resolves to the same value, or rejects with the group's error.
 *
 * If `body` fails, `scope` cancels the context, waits for the tasks and rejects with the error of `body`. If a task has
 * failed and the error of `body` only comes from the end of the context (it is the context's error, or has that as its
 * cause), it rejects with the task's error instead.
 *
 * Rejects, with `body` not called, with TypeError if `body` is not a function, `parent` not a context or a signal or
 * `limit` not a number, and with RangeError if `limit` is neither a whole number from 1 nor Infinity.
 */
export async function scope<T>(
  parent: Cancel | undefined,
  body: (group: Group, ctx: Context) => T | PromiseLike<T>,
  options?: ScopeOptions,
): Promise<T> {
  if (typeof body !== "function") return notAFunction(body, "scope: body");
  let limit: number | undefined;
  let cancelScope: CancelScope;
  try {
    ({ limit } = optionsOf(options, "scope: options"));
    if (limit !== undefined) checkLimit(limit, "scope: limit");
    cancelScope = withCancel(parent);
  } catch (error) {
    return failedWith(error);
  }
  const [ctx, cancel] = cancelScope;
  const group = new Group(cancelScope);
  if (limit !== undefined) group.setLimit(limit);
  const stack = stackOfCall(entryPoints);
  let result: T;
  try {
    result = await body(group, ctx);
  } catch (error) {
    const ended = ctx.err();
    cancel(error);
    try {
      await waitFor(group, stack);
    } catch (first) {
      if (comesFrom(error, ended)) throw first;
    }
    throw error;
  }
  await waitFor(group, stack);
  return result;
}

/** Waits for the tasks of a group; `stack` is where that was asked for, if it is recorded. */
function waitFor(group: Group, stack: string | undefined): Promise<void> {
  return onBehalfOf(stack, () => group.wait());
}

/** Options of {@link map} and {@link forEach}. */
export interface EachOptions {
  /** How many calls may run at once: a whole number from 1, or Infinity. */
  readonly limit: number;
}

/**
 * Calls `fn` for each item, at most `limit` calls at once, and resolves to their results in the order of the items.
 *
 * The items may come from any iterable, async and endless ones included. An item is taken only when there is a slot for
 * its call, and one at a time, so a slow `fn` slows the iterable down. (With `limit: Infinity` there is always a slot.)
 * Promises among the items of an iterable that is not async are awaited. `fn` gets a context that ends when the work
 * stops, and runs in the caller's async context.
 *
 * The work stops at the first of three errors: one of `fn`; one of the iterator; that of `ctx`, which may end at any
 * time before the last call has ended. Then the context that `fn` got is cancelled, no more items are taken, the
 * iterator's `return` is called and waited for unless the iterator has ended or thrown, the calls that run are waited
 * for, and the promise rejects with that error. An error that `return` throws is dropped, as by `for await`. While a
 * `next` is pending, neither it nor `return` is waited for, unless the items are a stage of a pipeline. A stream that
 * is quiet then stays open until its next item comes: give it as `pipeline.from(ctx, stream)`, which closes it at once.
 *
 * Rejects at once, with no item taken, with the context's error or the signal's reason if `ctx` has ended, TypeError if
 * `items` is not iterable, `fn` not a function or `limit` not a number, and RangeError if `limit` is out of its range.
 * If `ctx` has ended and the items are a stage of a pipeline, the stage is closed first.
 */
export async function map<T, R>(
  ctx: Cancel | undefined,
  items: AnyIterable<T>,
  fn: (item: T, ctx: Context, index: number) => R | PromiseLike<R>,
  options: EachOptions,
): Promise<R[]> {
  if (typeof fn !== "function") return notAFunction(fn, "map: fn");
  const results: R[] = [];
  await runEach(ctx, items, fn, options, "map", results);
  return results;
}

/** As {@link map}, but the results are not kept. */
export async function forEach<T>(
  ctx: Cancel | undefined,
  items: AnyIterable<T>,
  fn: (item: T, ctx: Context, index: number) => unknown,
  options: EachOptions,
): Promise<void> {
  if (typeof fn !== "function") return notAFunction(fn, "forEach: fn");
  await runEach(ctx, items, fn, options, "forEach");
}

async function runEach<T>(
  ctx: Cancel | undefined,
  items: AnyIterable<T>,
  work: EachFunction<T>,
  options: EachOptions,
  name: string,
  results?: unknown[],
): Promise<void> {
  let limit: number;
  try {
    limit = checkLimit(optionsOf(options, `${name}: options`).limit, `${name}: limit`);
  } catch (error) {
    return failedWith(error);
  }
  const source = sourceOf(ctx);
  const stack = stackOfCall(entryPoints);
  const ending = source.poll();
  if (ending !== undefined) {
    await endUnopened(items, stack);
    return failedWith(ending.error());
  }
  const parent = contextOf(ctx);
  const parentSource = sourceOf(parent);
  const inner = withCancel(parent);
  const group = new Group(inner);
  if (limit !== Number.POSITIVE_INFINITY) group.setLimit(limit);
  await startEach(group, inner.ctx, items, work, results, stack);
  let failure: Failure | undefined;
  try {
    await waitFor(group, stack);
  } catch (error) {
    failure = { error };
  }
  // The inner context has ended, and whatever ended it came first. If that was `ctx`, it has the ending of `ctx`, and
  // the promise rejects with the error of `ctx`, or the signal's reason. The group's error would not do: there is none
  // if every call ignored the end of `ctx`, and it may be another one that a call made of it. Endings are compared, not
  // errors: a foreign context may make a new error at each call of `err`.
  if (sourceOf(inner.ctx).ending === parentSource.ending) throw source.poll()?.error();
  if (failure !== undefined) throw failure.error;
}

function checkLimit(limit: unknown, what: string): number {
  if (typeof limit !== "number") throw new TypeError(`${what} must be a whole number or Infinity, got ${show(limit)}`);
  return limit === Number.POSITIVE_INFINITY ? limit : wholeNumber(limit, what, 1);
}

function throwIfEnded(ctx: Context): void {
  const error = ctx.err();
  if (error !== undefined) throw error;
}
