/**
 * Workers: runs the tasks that are submitted, at most `size` of them at once. The others wait in a queue, by priority
 * and, among equals, in the order of their calls.
 *
 * Rules of use:
 *
 * - One pool for each thing that must not be overloaded, shared by all its users. Bound its queue by `maxWaiting`: a
 *   queue without a bound turns an overload into a delay that grows.
 * - Await what `submit` returns: it resolves or rejects as the task does.
 * - `cancel` of a `submit` ends the wait for a slot, and the caller's wait for the answer. It does not stop a task that
 *   runs, and the task is not given it. A task that is to stop uses the context itself:
 *   `submit(() => fetch(url, { signal: ctx.signal }), { cancel: ctx })`.
 * - A task holds its slot until it has ended, even if its caller has been answered before.
 * - A task must not await a task that it submits to its own pool. When all slots are held by such tasks, each waits for
 *   a slot that none gives back.
 * - To shut down, await `release(ctx)`.
 *
 * ```ts
 * import { time, workers } from "gopark";
 *
 * const pool = new workers.Workers(2, { maxWaiting: 100 });
 * const work = (name: string) => async () => {
 *   console.log("begin", name);
 *   await time.sleep(1);
 *   return name.toUpperCase();
 * };
 * const answers = [
 *   pool.submit(work("a")),
 *   pool.submit(work("b")),
 *   pool.submit(work("c")),
 *   pool.submit(work("d"), { priority: 1 }),
 * ];
 * console.log(pool.running(), pool.waiting());
 * console.log(await Promise.all(answers));
 * await pool.release();
 * // Output:
 * // 2 2
 * // begin a
 * // begin b
 * // begin d
 * // begin c
 * // [ 'A', 'B', 'C', 'D' ]
 * ```
 *
 * Ports github.com/panjf2000/ants/v2, its `Pool`. Differences from Go:
 *
 * - There is no goroutine to reuse, so there are no idle workers: `running` counts the tasks that hold a slot, and
 *   `free` the other slots. PreAlloc, ExpiryDuration, DisablePurge and the `MultiPool` have no counterpart, nor has
 *   `PoolWithFunc`: a task is a closure.
 * - `submit` returns a promise of the task's result. In Go it blocks until the task has been handed to a worker.
 * - A task that throws or rejects rejects that promise. With a `panicHandler` the error goes there too and counts as
 *   handled. Of a task whose caller has been answered before, it goes to the handler alone; without one it is dropped,
 *   because most often the same cancel made it. In Go a panic goes to the handler or the log.
 * - An error that a panic handler throws is reported as an uncaught one, and the caller is answered all the same.
 * - A size without a limit is `Infinity`. A size below 1, which means the same in Go, is refused with RangeError.
 * - Waiting tasks of one priority start in the order of their calls. In Go any of them may be next.
 * - `tune` to fewer holds for every task that has no slot yet. In Go, idle workers above the new size still take tasks.
 * - `maxWaiting` is Infinity if left out. 0 lets none wait; in Go `MaxBlockingTasks` of 0 is no limit.
 * - `ErrPoolOverload` and `ErrPoolClosed` are the classes `QueueFullError` and `PoolClosedError`. They have no stack.
 * - `release` returns a promise that waits for the tasks that run, as ReleaseContext does.
 * - `priority`, `cancel`, `trySubmit`, `pause`, `resume`, `idle` and `name` are additions.
 */
import { callable, noGenerator, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { guarded } from "./internal/host/async.ts";
import { brand, QueueFullError, withoutStack } from "./internal/host/errors.ts";
import { completed, failedWith, notAFunction } from "./internal/time/turn.ts";
import { giveName } from "./internal/track/named.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import { enter, exit, Kind, type PublicFunction, runTask, TASK } from "./internal/track/tracker.ts";
import { Answer, type AnswerWait } from "./internal/wait/answer.ts";
import { optionalSource } from "./internal/wait/foreign.ts";
import { PriorityWaiters } from "./internal/wait/priorities.ts";
import { type Cancel, NEVER, type Source } from "./internal/wait/source.ts";
import { Wait, type Waiter, Waiters } from "./internal/wait/wait.ts";

export { QueueFullError } from "./internal/host/errors.ts";

// The public functions at which the stack of a record begins.
const entryPoints = (): PublicFunction[] => [Workers.prototype.submit, Workers.prototype.trySubmit];
const SUBMIT = new Kind("workers submit", "wait", entryPoints);
const IDLE = new Kind("workers idle", "wait", () => [Workers.prototype.idle]);
const RELEASE = new Kind("workers release", "wait", () => [Workers.prototype.release]);

/** What a pool runs. It is called without arguments. */
export type Task<R> = () => R | PromiseLike<R>;

/** The pool has been released: it takes no more tasks, and those that waited are dropped. */
export class PoolClosedError extends Error {
  static {
    brand(this, "PoolClosedError");
  }

  constructor() {
    super("pool closed");
  }
}

/** How a pool queues, what becomes of its errors, and what it is called. Everything may be left out. */
export interface WorkersOptions {
  /** How many tasks may wait, a whole number from 0 or Infinity; Infinity if left out. */
  readonly maxWaiting?: number | undefined;

  /** Whether no task may wait, whatever `maxWaiting` says. False if left out. */
  readonly nonblocking?: boolean | undefined;

  /**
   * Gets the error of each task that fails, after its slot has been given back and before its caller is answered, in
   * the async context of its `submit`.
   */
  readonly panicHandler?: ((error: unknown) => void) | undefined;

  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
}

/** How a task is submitted. */
export interface SubmitOptions {
  /** Any number but NaN; 0 if left out. Waiting tasks of a higher priority start first. */
  readonly priority?: number | undefined;

  /** Ends the waiting, and the caller's wait for the answer; a task that runs goes on. */
  readonly cancel?: Cancel | undefined;
}

/** The promise of a call of `#run`, for that call: a panic handler makes its rejection count as handled. */
interface Own<R> {
  promise: Promise<R> | undefined;
}

/** A pool in which at most `size` tasks run at once. Others wait, by priority and then in the order of their calls. */
export class Workers {
  // Between any two calls:
  //   #running counts the tasks that hold a slot: they have been admitted and have not ended. It is over #size only
  //     after `tune`;
  //   if any task waits, the pool is paused or #running >= #size;
  //   if the pool is closed, no task waits;
  //   if anyone waits for the pool to be idle, a task runs or waits. Exception: from a cancel to `afterCancels`.
  #running = 0;
  #size: number;
  #paused = false;

  // The error of those that the pool refuses. Set while the pool is closed.
  #closed: PoolClosedError | undefined = undefined;

  // A wait without an answer ends with the grant of the slot: it resolves to where it was parked, if that is known.
  readonly #queue: PriorityWaiters<unknown, Answer | undefined>;

  // Those that wait for the pool to be idle, by `idle` or `release`.
  readonly #idlers = new Waiters<void>(IDLE);

  readonly #maxWaiting: number;
  readonly #panicHandler: ((error: unknown) => void) | undefined;

  // Made for the first call that is refused, and shared: refusing stays cheap under load.
  #queueFull: QueueFullError | undefined = undefined;

  /**
   * `size` is a whole number from 1, or Infinity.
   *
   * Throws RangeError if `size` or `maxWaiting` is out of its range or `name` is not well-formed, TypeError if an
   * argument has another type.
   */
  constructor(size: number, options?: WorkersOptions) {
    const {
      maxWaiting = Number.POSITIVE_INFINITY,
      nonblocking = false,
      panicHandler,
      name,
    } = optionsOf(options, "Workers: options");
    this.#size = countOrInfinity(size, "Workers: size", 1);
    const most = countOrInfinity(maxWaiting, "Workers: maxWaiting", 0);
    if (typeof nonblocking !== "boolean") {
      throw new TypeError(`Workers: nonblocking must be a boolean, got ${show(nonblocking)}`);
    }
    this.#maxWaiting = nonblocking ? 0 : most;
    if (panicHandler !== undefined) callable(panicHandler, "Workers: panicHandler");
    this.#panicHandler = panicHandler;
    this.#queue = new PriorityWaiters(SUBMIT, () => this.#wakeIfIdle());
    giveName("workers", this, name, "Workers: name");
  }

  /**
   * Runs `task` when a slot is free and every waiting task of its priority or a higher one has started, and resolves or
   * rejects as it does. A task starts in a microtask, never inside this call, and runs in the caller's async context.
   *
   * Rejects, with `task` not run and nothing changed,
   * - with the context's error or the signal's reason, if `cancel` has ended (even if a slot is free), ends while the
   *   task waits, or ends before it has started;
   * - with PoolClosedError, if the pool is closed, or is released while the task waits;
   * - with QueueFullError at once, if there is no slot and `maxWaiting` tasks wait;
   * - with TypeError or RangeError, if `task` is not a function, or an option is not what {@link SubmitOptions} says.
   *
   * If `cancel` ends while the task runs, it rejects at once with the same error. The task goes on, and holds its slot
   * until it has ended. A task that never ends holds it for ever.
   *
   * Rejects with TypeError also if `task` returns a generator, since the body of one would run after the slot is given
   * back.
   *
   * O(log p), with p different priorities among the waiting tasks.
   */
  submit<R>(task: Task<R>, options?: SubmitOptions): Promise<R> {
    if (typeof task !== "function") return notAFunction(task, "submit: task");
    let priority = 0;
    let source: Source | undefined;
    if (options !== undefined) {
      try {
        const { cancel, priority: given } = optionsOf(options, "submit: options");
        priority = checkPriority(given);
        source = optionalSource(cancel);
      } catch (error) {
        return failedWith(error); // An option out of its range, or a getter that throws.
      }
      const ending = source?.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    if (this.#closed !== undefined) return failedWith(this.#closed);
    const hasSlot = this.#hasSlot();
    if (!hasSlot && this.#queue.size >= this.#maxWaiting) return failedWith(this.#refusal());
    if (source !== undefined && source !== NEVER) return this.#startFor(task, source, hasSlot, priority);
    if (hasSlot) this.#running++;
    return this.#start(task, hasSlot ? undefined : this.#queue.park(undefined, undefined, priority));
  }

  /**
   * Runs `task` as {@link submit} does if a slot is free and the pool is not paused; otherwise returns undefined.
   *
   * Rejects, with `task` not run, with PoolClosedError if the pool is closed, and with TypeError if `task` is not a
   * function.
   */
  trySubmit<R>(task: Task<R>): Promise<R> | undefined {
    if (typeof task !== "function") return notAFunction(task, "trySubmit: task");
    if (this.#closed !== undefined) return failedWith(this.#closed);
    if (!this.#hasSlot()) return undefined;
    this.#running++;
    return this.#start(task, undefined);
  }

  /**
   * Lets at most n tasks run at once from now on. With more, waiting tasks start. With fewer, those that run go on, and
   * {@link free} is negative until enough of them have ended.
   *
   * Does nothing, as in Go, if n is 0 or less, or if the size is Infinity. Throws, with nothing changed, RangeError if
   * n is not a whole number, and TypeError if it is not a number.
   */
  tune(n: number): void {
    if (typeof n !== "number") throw new TypeError(`tune: n must be a whole number, got ${show(n)}`);
    if (!Number.isSafeInteger(n)) throw new RangeError(`tune: n must be a whole number, got ${n}`);
    if (n <= 0 || this.#size === Number.POSITIVE_INFINITY) return;
    this.#size = n;
    this.#admit();
  }

  /** From now on no task gets a slot, and those that are submitted wait. Those that have one go on. */
  pause(): void {
    this.#paused = true;
  }

  /** Ends a {@link pause}: waiting tasks start, as many as there are slots. */
  resume(): void {
    this.#paused = false;
    this.#admit();
  }

  /**
   * Waits until no task runs and none waits. In a paused pool, waiting tasks keep it waiting.
   *
   * Rejects with the context's error or the signal's reason, if `cancel` has ended or ends while waiting.
   */
  idle(cancel?: Cancel): Promise<void> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    return ending === undefined ? this.#waitUntilIdle(source, IDLE) : failedWith(ending.error());
  }

  /**
   * Closes the pool, and waits until no task runs. Waiting tasks are dropped: each `submit` rejects with
   * PoolClosedError, and so does every later one, until {@link reboot}. A pool that is closed already stays so.
   *
   * Rejects with the context's error or the signal's reason, if `cancel` has ended or ends while waiting. The pool is
   * closed in both cases. Rejects with TypeError, with nothing changed, if `cancel` is neither a context nor a signal.
   */
  release(cancel?: Cancel): Promise<void> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending?.failed) return failedWith(ending.error());
    this.#close();
    return ending === undefined ? this.#waitUntilIdle(source, RELEASE) : failedWith(ending.error());
  }

  /**
   * Opens a pool that was released; does nothing otherwise. It has the size it had. If it was paused, it still is.
   * Tasks from before that still run hold their slots, and a `release` that still waits waits for the new tasks too.
   */
  reboot(): void {
    this.#closed = undefined;
  }

  /** How many tasks hold a slot: those that run, and those that are about to start. */
  running(): number {
    return this.#running;
  }

  /** How many tasks wait for a slot. */
  waiting(): number {
    return this.#queue.size;
  }

  /** How many slots no task holds. Negative after {@link tune} to fewer than are held. A pause does not change it. */
  free(): number {
    return this.#size - this.#running;
  }

  #hasSlot(): boolean {
    return this.#running < this.#size && !this.#paused;
  }

  #refusal(): QueueFullError {
    this.#queueFull ??= withoutStack(() => new QueueFullError(this.#maxWaiting));
    return this.#queueFull;
  }

  /** Runs a task whose caller has no `cancel`: it has its slot, or gets it by `granted`. */
  #start<R>(task: Task<R>, granted: Promise<unknown> | undefined): Promise<R> {
    if (this.#panicHandler === undefined) return this.#run(task, granted, undefined);
    const own: Own<R> = { promise: undefined };
    own.promise = this.#run(task, granted, own);
    return own.promise;
  }

  async #run<R>(task: Task<R>, granted: Promise<unknown> | undefined, own: Own<R> | undefined): Promise<R> {
    let record: LeakRecord | undefined;
    if (granted === undefined) {
      record = this.#enter(undefined);
      await completed();
    } else {
      record = this.#enter((await granted) as string | undefined);
    }
    let result: R;
    try {
      result = noGenerator(await runTask(task, record), "submit: task");
    } catch (error) {
      this.#done(record);
      this.#report(error, own?.promise);
      throw error;
    }
    this.#done(record);
    return result;
  }

  /** Runs a task whose caller has a `cancel`. One wait stands for the caller, in the queue and while the task runs. */
  #startFor<R>(task: Task<R>, source: Source, hasSlot: boolean, priority: number): Promise<R> {
    const answer = new Answer();
    const wait: AnswerWait = new Wait<unknown, Answer | undefined>(SUBMIT, source, answer);
    if (hasSlot) {
      this.#running++;
      answer.push(wait);
    } else {
      this.#queue.push(wait, priority);
    }
    void this.#runFor(task, source, wait, answer, hasSlot);
    wait.dependent?.listen();
    return wait.promise as Promise<R>;
  }

  async #runFor<R>(task: Task<R>, source: Source, wait: AnswerWait, answer: Answer, hasSlot: boolean): Promise<void> {
    let record: LeakRecord | undefined;
    if (hasSlot) {
      record = this.#enter(undefined);
      answer.startAs(record, wait);
      await completed();
    } else {
      await answer.granted;
      record = this.#enter(wait.dependent?.stack);
      answer.startAs(record, wait);
    }
    source.poll();
    // If the source has ended, in the meantime or by this poll, that has claimed the wait.
    if (wait.list !== answer) return this.#done(record);
    let result: R;
    try {
      result = noGenerator(await runTask(task, record), "submit: task");
    } catch (error) {
      this.#done(record);
      const answered = !answer.remove(wait);
      this.#report(error, answered ? undefined : wait.promise);
      if (!answered) wait.reject(error);
      return;
    }
    this.#done(record);
    if (answer.remove(wait)) wait.resolve(result);
  }

  /** Counts a task that has its slot. `stack` is where it was submitted, if it waited and that was recorded. */
  #enter(stack: string | undefined): LeakRecord | undefined {
    const record = enter(TASK, undefined, entryPoints, stack);
    if (record !== undefined) this.#queue.holder.records.add(record);
    return record;
  }

  /** Hands a task's error to the panic handler, if there is one; then the rejection of `promise` counts as handled. */
  #report(error: unknown, promise: Promise<unknown> | undefined): void {
    const handler = this.#panicHandler;
    if (handler === undefined) return;
    promise?.catch(() => {});
    guarded(() => handler(error));
  }

  /** A task has ended: gives its slot back. */
  #done(record: LeakRecord | undefined): void {
    exit(TASK, record);
    if (record !== undefined) this.#queue.holder.records.delete(record);
    this.#running--;
    this.#admit();
    this.#wakeIfIdle();
  }

  /** Grants the free slots to the tasks that wait. */
  #admit(): void {
    while (this.#queue.size > 0 && this.#hasSlot()) {
      const wait = this.#queue.shift() as Waiter<unknown, Answer | undefined>;
      this.#running++;
      if (wait.value === undefined) wait.resolve((wait as AnswerWait).dependent?.stack);
      else wait.value.grant(wait as AnswerWait);
    }
  }

  #close(): void {
    if (this.#closed !== undefined) return;
    this.#closed = withoutStack(() => new PoolClosedError());
    this.#queue.rejectAll(this.#closed);
    this.#wakeIfIdle();
  }

  #isIdle(): boolean {
    return this.#running === 0 && this.#queue.size === 0;
  }

  #waitUntilIdle(source: Source | undefined, kind: Kind): Promise<void> {
    return this.#isIdle() ? completed() : this.#idlers.park(source, undefined, kind);
  }

  #wakeIfIdle(): void {
    if (this.#idlers.size > 0 && this.#isIdle()) this.#idlers.wakeAll(undefined);
  }
}

function checkPriority(priority = 0): number {
  if (typeof priority !== "number") throw new TypeError(`submit: priority must be a number, got ${show(priority)}`);
  if (Number.isNaN(priority)) throw new RangeError("submit: priority must be a number, got NaN");
  return priority;
}

function countOrInfinity(n: number, what: string, least: number): number {
  return n === Number.POSITIVE_INFINITY ? n : wholeNumber(n, what, least);
}
