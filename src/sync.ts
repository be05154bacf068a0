/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Locks and the like for tasks that wait: `Mutex`, `RWMutex`, `KeyedMutex`, `WaitGroup`, `Once` and `Cond`.
 *
 * Rules of use:
 *
 * - Code that does not await needs no lock: no other code runs between two awaits. Use one where state must stay the
 *   same across an `await`.
 * - Most callers should use `withLock`, or `guard` with `using`: the lock is given back however the block is left.
 * - Use `lock` and `unlock` where one function takes the lock and another gives it back. Unlock in `finally`.
 * - A lock is not re-entrant: a task that holds it and locks it again waits for itself. Under full tracking the leak
 *   report of the wait shows both calls.
 * - Call `wait` of a Cond in a loop that tests the condition, as in Go.
 *
 * ```ts
 * import { sync, time } from "gopark";
 *
 * const mu = new sync.Mutex();
 * let balance = 10;
 * const withdraw = (amount: number) =>
 *   mu.withLock(async () => {
 *     const before = balance;
 *     await time.sleep(1); // the booking
 *     balance = before - amount;
 *   });
 * await Promise.all([withdraw(3), withdraw(4)]);
 * console.log(balance);
 * // Output:
 * // 3
 * ```
 *
 * Ports sync, except for Pool and Map, which are modules of their own. Differences from Go:
 *
 * - A function that waits in Go returns a promise, and takes an optional context or signal that ends the waiting.
 * - Locks are handed over in the order of the calls. In Go a running goroutine may overtake the waiters. As in Go, all
 *   readers that wait during a write come before the next writer.
 * - To unlock what is not locked throws an Error with Go's text and changes nothing. Go ends the program.
 * - A lock that a guard holds is unlocked by that guard alone, and once, however often it is unlocked. `wait` of a Cond
 *   gives it back for a while all the same, except that of a Cond of an `rLocker`: that needs a reader without a guard.
 * - A grant is final: after `unlock(); cancel()` in one turn of the event loop, the lock that was granted is held.
 * - `add` below zero throws an Error with Go's text and leaves the counter as it was. Go panics, with the counter
 *   negative. Go's other panics of a WaitGroup, for `Add` concurrent with `Wait`, are for threads and cannot occur.
 * - `go` of a WaitGroup returns the promise of its task, as `go` does. Its failure is a rejection, and counts as done.
 * - `do` of a Once returns a promise, and waits for an async function. The first caller gets the error that the
 *   function fails with; others return as if it had not failed, as after a panic in Go. Once the function has begun,
 *   the first caller's context does not end that caller's waiting.
 * - The functions that `onceFunc` and `onceValue` make return promises. OnceValues is `onceValue` with a tuple.
 * - `wait` of a Cond that is cancelled takes the lock again and then rejects. Nothing ends the waiting for the lock.
 * - `guard`, `rGuard`, `withLock`, `withRLock` and `KeyedMutex` are additions.
 */
import { callable, noGenerator, show } from "./internal/data/args.ts";
import { disposable } from "./internal/host/dispose.ts";
import { budgetWait, completed, failedWith, notAFunction } from "./internal/time/turn.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import { enter, exit, Kind, onBehalfOf, type PublicFunction, runTask, TASK } from "./internal/track/tracker.ts";
import { optionalSource } from "./internal/wait/foreign.ts";
import { Hold, Lock, type Side } from "./internal/wait/lock.ts";
import type { Cancel, Source } from "./internal/wait/source.ts";
import { Wait, Waiters } from "./internal/wait/wait.ts";

// The public functions at which the stack of a record begins.
const lockEntryPoints = (): PublicFunction[] => {
  const m = Mutex.prototype;
  const rw = RWMutex.prototype;
  const keyed = KeyedMutex.prototype;
  const mutex = [m.withLock, m.guard, m.lock, m.tryLock];
  const rwMutexToWrite = [rw.withLock, rw.guard, rw.lock, rw.tryLock];
  const rwMutexToRead = [rw.withRLock, rw.rGuard, rw.rLock, rw.tryRLock, RLocker.prototype.lock];
  const keyedMutex = [keyed.withLock, keyed.guard, keyed.lock, keyed.tryLock];
  return [Cond.prototype.wait, ...mutex, ...rwMutexToWrite, ...rwMutexToRead, ...keyedMutex];
};
const HELD = new Kind("held lock", "resource", lockEntryPoints, { sampledInPart: true });
const MUTEX = {
  waitKind: new Kind("mutex lock", "wait", lockEntryPoints),
  heldKind: HELD,
  misuse: "sync: unlock of unlocked mutex",
};
const WRITE = {
  waitKind: new Kind("rwmutex lock", "wait", lockEntryPoints),
  heldKind: HELD,
  misuse: "sync: Unlock of unlocked RWMutex",
};
const READ = {
  waitKind: new Kind("rwmutex rLock", "wait", lockEntryPoints),
  heldKind: HELD,
  misuse: "sync: RUnlock of unlocked RWMutex",
};
const KEYED = {
  waitKind: new Kind("keyedmutex lock", "wait", lockEntryPoints),
  heldKind: HELD,
  misuse: MUTEX.misuse,
};
const WAITGROUP_WAIT = new Kind("waitgroup wait", "wait", () => [WaitGroup.prototype.wait]);
const ONCE_WAIT = new Kind("once do", "wait", () => [Once.prototype.do]);
const ONCE_TASK = new Kind("once function", "task", () => [Once.prototype.do], { callerWaits: true });
const COND_WAIT = new Kind("cond wait", "wait", () => [Cond.prototype.wait]);

// Set by the static block of Guard.
let holdOf: (guard: Guard) => Hold;

/** A lock that is held until {@link unlock}. Made by the methods `guard` and `rGuard`. */
export class Guard {
  readonly #hold: Hold;

  /** @internal */
  constructor(hold: Hold) {
    this.#hold = hold;
  }

  /** Gives the lock back. Does nothing the second time. Costs as the `unlock` of the lock does. */
  unlock(): void {
    this.#hold.unlock();
  }

  /** Gives the lock back at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.unlock);
    holdOf = (guard) => guard.#hold;
  }
}

/** What a {@link Cond} needs of a lock. */
export interface Locker {
  /** Takes the lock, waiting until it is free. */
  lock(): PromiseLike<void>;
  /** Gives it back. */
  unlock(): void;
}

// Each returns the side that `lock` of its class takes; undefined for other lockers. Filled by the static blocks.
const exclusiveSideOf: ((l: Locker) => Side | undefined)[] = [];

/** Whether a locker has the methods of this class: one of a derived class may have its own. */
function hasMethodsOf(l: Locker, { lock, unlock }: Locker): boolean {
  return l.lock === lock && l.unlock === unlock;
}

/** Takes the lock without a guard, unless `cancel` has ended. */
function take(side: Side, cancel: Cancel | undefined): Promise<void> {
  const source = optionalSource(cancel);
  const ending = source?.poll();
  return ending === undefined ? side.take(source) : failedWith(ending.error());
}

/** Takes the lock for a guard, unless `cancel` has ended. */
function takeGuard(side: Side, cancel: Cancel | undefined): Promise<Guard> {
  const source = optionalSource(cancel);
  const ending = source?.poll();
  return ending === undefined ? newGuard(side, source) : failedWith(ending.error());
}

function newGuard(side: Side, source: Source | undefined): Promise<Guard> {
  const hold = new Hold(side);
  return side.takeFor(source, hold, new Guard(hold));
}

/** Awaits the guard, calls `fn`, and unlocks. `what` is the name of `fn`, for errors. */
async function callHolding<R>(taken: Promise<Guard>, fn: () => R | PromiseLike<R>, what: string): Promise<R> {
  const guard = await taken;
  try {
    return noGenerator(await holdOf(guard).call(fn), what);
  } finally {
    guard.unlock();
  }
}

/**
 * A mutual exclusion lock: one task holds it at a time, and waiters get it in the order of their calls. It belongs to
 * no task: one may lock it and another unlock it.
 */
export class Mutex {
  readonly #lock = new Lock(MUTEX);

  static {
    exclusiveSideOf.push((l) => (#lock in l && hasMethodsOf(l, Mutex.prototype) ? l.#lock.write : undefined));
  }

  /**
   * Takes the lock, waiting until it is free and every earlier caller has had it. It is held from the moment that
   * `unlock` hands it over, before the awaiting code resumes: a cancel after that comes too late.
   *
   * Rejects, with the lock not taken, with the context's error or the signal's reason, if `cancel` has ended (even if
   * the lock is free) or ends while waiting.
   */
  lock(cancel?: Cancel): Promise<void> {
    return take(this.#lock.write, cancel);
  }

  /** Takes the lock if it is free; reports whether it did. */
  tryLock(): boolean {
    return this.#lock.write.tryTake();
  }

  /**
   * Gives the lock back, to the first waiter. O(1). Throws an Error, with nothing changed, if the lock is not held, or
   * if a guard holds it.
   */
  unlock(): void {
    this.#lock.write.giveBack();
  }

  /**
   * Takes the lock as {@link lock} does, calls `fn`, and gives the lock back when `fn` has thrown or what it returned
   * has settled. Resolves or rejects as `fn` does. An `fn` that locks the same mutex and awaits it waits for itself.
   *
   * Rejects, with `fn` not called, as {@link lock} does, and with TypeError if `fn` is not a function. It also rejects
   * with TypeError if `fn` returns a generator, since the body of one would run after the lock is given back.
   */
  withLock<R>(fn: () => R | PromiseLike<R>, cancel?: Cancel): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "withLock: fn");
    return callHolding(this.guard(cancel), fn, "withLock: fn");
  }

  /**
   * Takes the lock as {@link lock} does, and resolves to a guard that gives it back:
   * `using guard = await mu.guard(ctx)`. Rejects as `lock` does. Only the guard gives its lock back: {@link unlock}
   * throws meanwhile.
   */
  guard(cancel?: Cancel): Promise<Guard> {
    return takeGuard(this.#lock.write, cancel);
  }
}

/**
 * A lock held by one writer or by any number of readers. A waiting writer holds back later readers, so that it gets its
 * turn. After a write, all waiting readers come before the next writer. Writers get the lock in the order of their
 * calls.
 *
 * A reader must not take the lock to read again: if a writer has begun to wait in between, each waits for the other.
 */
export class RWMutex {
  readonly #lock = new Lock(WRITE, READ);

  static {
    exclusiveSideOf.push((l) => (#lock in l && hasMethodsOf(l, RWMutex.prototype) ? l.#lock.write : undefined));
  }

  get #read(): Side {
    return this.#lock.read as Side;
  }

  /** Takes the lock to write, waiting until nobody has it. Otherwise as {@link Mutex.lock}. */
  lock(cancel?: Cancel): Promise<void> {
    return take(this.#lock.write, cancel);
  }

  /** Takes the lock to write if nobody has it and no writer waits; reports whether it did. */
  tryLock(): boolean {
    return this.#lock.write.tryTake();
  }

  /**
   * Gives the lock back: to all waiting readers, or if there are none, to the first waiting writer. O(1), and O(1) more
   * for each of them. Throws an Error, with nothing changed, if the lock is not held to write, or if a guard holds it.
   */
  unlock(): void {
    this.#lock.write.giveBack();
  }

  /** As {@link Mutex.withLock}, to write. */
  withLock<R>(fn: () => R | PromiseLike<R>, cancel?: Cancel): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "withLock: fn");
    return callHolding(this.guard(cancel), fn, "withLock: fn");
  }

  /** As {@link Mutex.guard}, to write. */
  guard(cancel?: Cancel): Promise<Guard> {
    return takeGuard(this.#lock.write, cancel);
  }

  /**
   * Takes the lock to read, together with other readers. Waits while a writer holds it or waits for it. Otherwise as
   * {@link Mutex.lock}.
   */
  rLock(cancel?: Cancel): Promise<void> {
    return take(this.#read, cancel);
  }

  /** Takes the lock to read if no writer holds it or waits for it; reports whether it did. */
  tryRLock(): boolean {
    return this.#read.tryTake();
  }

  /**
   * Gives back what one {@link rLock} took; the last reader hands the lock to the first waiting writer. O(1). Throws an
   * Error, with nothing changed, if the lock is not held to read, or only by guards.
   */
  rUnlock(): void {
    this.#read.giveBack();
  }

  /** As {@link Mutex.withLock}, to read. */
  withRLock<R>(fn: () => R | PromiseLike<R>, cancel?: Cancel): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "withRLock: fn");
    return callHolding(this.rGuard(cancel), fn, "withRLock: fn");
  }

  /** As {@link Mutex.guard}, to read. */
  rGuard(cancel?: Cancel): Promise<Guard> {
    return takeGuard(this.#read, cancel);
  }

  /**
   * A locker whose `lock` and `unlock` are {@link rLock} and {@link rUnlock}: for a {@link Cond} of readers. They take
   * the lock by `rLock`: `wait` of such a Cond gives back no hold of a guard, since it cannot tell whose guard it is.
   */
  rLocker(): Locker {
    return new RLocker(this);
  }
}

class RLocker implements Locker {
  readonly #rw: RWMutex;

  constructor(rw: RWMutex) {
    this.#rw = rw;
  }

  lock(cancel?: Cancel): Promise<void> {
    return this.#rw.rLock(cancel);
  }

  unlock(): void {
    this.#rw.rUnlock();
  }
}

/**
 * A mutex for each key. Those of different keys do not wait for each other. The mutex of a key exists only while
 * a task holds it or waits for it, so any number of keys may come and go. Keys are compared as those of a Map are.
 */
export class KeyedMutex<K> {
  // Between any two calls: the locks that are held, by their keys.
  readonly #locks = new Map<K, Lock>();

  /** How many keys are locked. */
  len(): number {
    return this.#locks.size;
  }

  /** Takes the lock of the key, as {@link Mutex.lock} does. */
  lock(key: K, cancel?: Cancel): Promise<void> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    return ending === undefined ? this.#lockOf(key).write.take(source) : failedWith(ending.error());
  }

  /** Takes the lock of the key if it is free; reports whether it did. */
  tryLock(key: K): boolean {
    return !this.#locks.has(key) && this.#lockOf(key).write.tryTake();
  }

  /** Gives the lock of the key back, as {@link Mutex.unlock} does. */
  unlock(key: K): void {
    const lock = this.#locks.get(key);
    if (lock === undefined) throw new Error(KEYED.misuse);
    lock.write.giveBack();
  }

  /** As {@link Mutex.withLock}, with the lock of the key. */
  withLock<R>(key: K, fn: () => R | PromiseLike<R>, cancel?: Cancel): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "withLock: fn");
    return callHolding(this.guard(key, cancel), fn, "withLock: fn");
  }

  /** As {@link Mutex.guard}, with the lock of the key. */
  guard(key: K, cancel?: Cancel): Promise<Guard> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    return ending === undefined ? newGuard(this.#lockOf(key).write, source) : failedWith(ending.error());
  }

  /** The lock of the key; a new one is about to be taken. */
  #lockOf(key: K): Lock {
    let lock = this.#locks.get(key);
    if (lock === undefined) {
      lock = new KeyLock(this.#locks, key);
      this.#locks.set(key, lock);
    }
    return lock;
  }
}

class KeyLock<K> extends Lock {
  private readonly locks: Map<K, Lock>;
  private readonly key: K;

  constructor(locks: Map<K, Lock>, key: K) {
    super(KEYED);
    this.locks = locks;
    this.key = key;
  }

  protected override freed(): void {
    this.locks.delete(this.key);
  }
}

/**
 * A counter of what is still to be done, and a wait for its zero. It can be used again and again.
 *
 * To start tasks and get their errors, an errgroup does more: it ends the others when one fails.
 */
export class WaitGroup {
  // Between any two calls: #n >= 0; if anyone waits, #n > 0.
  #n = 0;
  readonly #waiters = new Waiters<void>(WAITGROUP_WAIT);

  /**
   * Adds n to the counter; n may be negative. At zero all waiters are woken, O(1) each.
   *
   * Throws, with nothing changed, an Error with Go's text if the counter would fall below zero, RangeError if n is not
   * a whole number or the counter would exceed 2⁵³−1, and TypeError if n is not a number.
   */
  add(n: number): void {
    if (typeof n !== "number") throw new TypeError(`add: n must be a whole number, got ${show(n)}`);
    const sum = this.#n + n;
    if (!Number.isSafeInteger(n)) throw new RangeError(`add: n must be a whole number, got ${n}`);
    if (sum > Number.MAX_SAFE_INTEGER) throw new RangeError(`add: the counter must be at most 2^53-1, got ${sum}`);
    if (sum < 0) throw new Error("sync: negative WaitGroup counter");
    this.#n = sum;
    if (sum === 0) this.#waiters.wakeAll(undefined);
  }

  /** Takes one from the counter, as `add(-1)` does, and throws as it does. */
  done(): void {
    this.add(-1);
  }

  /**
   * Adds one to the counter, runs `fn` as a task, and takes the one back when the task has ended, even if it has
   * failed. Resolves or rejects as `fn` does: an error that nobody handles is reported as any unhandled rejection. If
   * the task has succeeded but an extra `done` has already taken its one back, rejects with Go's text.
   *
   * `fn` starts in a microtask, never inside this call, and runs in the caller's async context. Rejects with TypeError,
   * with nothing changed, if `fn` is not a function.
   */
  async go<T>(fn: () => T | PromiseLike<T>): Promise<T> {
    if (typeof fn !== "function") return notAFunction(fn, "go: fn");
    this.add(1);
    const record = enter(TASK, undefined, () => [WaitGroup.prototype.go]);
    this.#waiters.addHolder(record);
    let result: T;
    try {
      await completed();
      result = await runTask(fn, record);
    } catch (error) {
      this.#exit(record);
      if (this.#n > 0) this.done(); // The task's error matters more than an extra `done`.
      throw error;
    }
    this.#exit(record);
    this.done();
    return result;
  }

  #exit(record: LeakRecord | undefined): void {
    exit(TASK, record);
    this.#waiters.removeHolder(record);
  }

  /**
   * Waits until the counter is zero. Rejects with the context's error or the signal's reason, if `cancel` has ended
   * (even if the counter is zero) or ends while waiting; the counter and the tasks are not touched.
   */
  wait(cancel?: Cancel): Promise<void> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    return this.#n === 0 ? completed() : this.#waiters.park(source, undefined);
  }
}

/** Runs one function, once. */
export class Once {
  // Between any two calls: if anyone waits, #state is "running".
  #state: "new" | "running" | "done" = "new";

  readonly #waiters = new Waiters<void>(ONCE_WAIT);

  /**
   * Calls `fn`, if no call has come before for this Once, and resolves when it has returned and what it returned has
   * settled. Every later call, whatever its function, waits for the end of the first and calls nothing.
   *
   * `fn` runs inside the first call, up to its first `await`. If it fails, that call rejects with its error, and it
   * counts as done: the others resolve. An `fn` that calls `do` of the same Once and awaits it waits for itself. An
   * `fn` that returns a generator is refused with TypeError, and counts as done.
   *
   * Rejects, with nothing changed, with the context's error or the signal's reason, if `cancel` has ended or ends while
   * waiting for the first call, and with TypeError if `fn` is not a function. An `fn` that has begun is not
   * interrupted.
   */
  do(fn: () => unknown, cancel?: Cancel): Promise<void> {
    if (typeof fn !== "function") return notAFunction(fn, "do: fn");
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    if (this.#state === "done") return completed();
    if (this.#state === "running") return this.#waiters.park(source, undefined);
    return this.#run(fn);
  }

  async #run(fn: () => unknown): Promise<void> {
    this.#state = "running";
    const record = enter(ONCE_TASK);
    this.#waiters.addHolder(record);
    try {
      noGenerator(await runTask(fn, record), "do: fn");
    } finally {
      exit(ONCE_TASK, record);
      this.#state = "done";
      this.#waiters.removeHolder(record);
      this.#waiters.wakeAll(undefined);
      const room = budgetWait();
      if (room !== undefined) await room;
    }
  }
}

/**
 * A function that calls `fn` the first time it is called, and never again. Each call resolves when `fn` has ended; if
 * `fn` fails, each call rejects with the same error. Calls wait, and end by their `cancel`, as those of
 * {@link Once.do}. Throws TypeError if `fn` is not a function.
 */
export function onceFunc(fn: () => unknown): (cancel?: Cancel) => Promise<void> {
  callable(fn, "onceFunc: fn");
  return callOnce(async () => {
    noGenerator(await fn(), "onceFunc: fn");
  });
}

/** As {@link onceFunc}; each call resolves to what `fn` returned. */
export function onceValue<T>(fn: () => T | PromiseLike<T>): (cancel?: Cancel) => Promise<T> {
  callable(fn, "onceValue: fn");
  return callOnce(async () => noGenerator(await fn(), "onceValue: fn"));
}

/** A function whose calls share one call of `fn` and its result. */
function callOnce<T>(fn: () => Promise<T>): (cancel?: Cancel) => Promise<T> {
  const runner = new Once();
  // Dropped when it is called, with all that it keeps alive, as in Go.
  let first: (() => Promise<T>) | undefined = fn;
  let result: { readonly value: T } | { readonly error: unknown } | undefined;
  const run = async () => {
    const running = (first as () => Promise<T>)();
    first = undefined;
    try {
      result = { value: await running };
    } catch (error) {
      result = { error };
    }
  };
  return async (cancel) => {
    await runner.do(run, cancel);
    const ended = result as NonNullable<typeof result>;
    if ("error" in ended) throw ended.error;
    return ended.value;
  };
}

/**
 * A condition variable: tasks wait for something to change under a lock, and are woken when it may have changed.
 *
 * Where a value is handed over, use a channel; where something ends once, a context.
 */
export class Cond {
  /** The lock. It is held when the condition is tested or changed. */
  readonly l: Locker;

  readonly #waiters = new Waiters<void>(COND_WAIT);

  // Of a Mutex or RWMutex. It is given back and taken again even for a guard that holds it. An RLocker has none, as the
  // holds of several readers cannot be told apart.
  readonly #side: Side | undefined = undefined;

  /** Throws TypeError if `l` has no methods `lock` and `unlock`. */
  constructor(l: Locker) {
    const { lock, unlock } = (l ?? {}) as Partial<Locker>;
    if (typeof lock !== "function" || typeof unlock !== "function") {
      throw new TypeError(`Cond: l must have the methods lock and unlock, got ${show(l)}`);
    }
    this.l = l;
    for (const sideOf of exclusiveSideOf) this.#side ??= sideOf(l);
  }

  /**
   * Gives the lock back, waits for {@link signal} or {@link broadcast}, and takes the lock again. Nobody can signal
   * between the giving back and the waiting. Signals wake the waiters in the order of their calls; other tasks may take
   * the lock first, so test the condition again: `while (!condition) await cond.wait()`.
   *
   * Rejects with the context's error or the signal's reason, if `cancel` has ended, or ends while waiting for a signal,
   * and only when the lock has been taken again: the caller holds the lock however `wait` ends. Nothing ends the wait
   * for the lock. A signal that wakes this call before its cancel comes is not passed on: the call resolves.
   *
   * Rejects at once, with nothing changed, with the error of `unlock` if the lock is not held. A locker of another kind
   * may fail to lock again: then its error is that of the call.
   */
  async wait(cancel?: Cancel): Promise<void> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    // Park before the unlock: another locker's `unlock` may signal.
    const wait = new Wait<void>(COND_WAIT, source, undefined);
    this.#waiters.push(wait);
    wait.dependent?.listen();
    let hold: Hold | undefined;
    const lockAgain = () => (this.#side === undefined ? this.l.lock() : this.#side.resume(hold));
    try {
      if (this.#side === undefined) this.l.unlock();
      else hold = this.#side.suspend();
    } catch (error) {
      if (this.#waiters.remove(wait)) wait.resolve();
      // It was signalled or cancelled meanwhile. A cancel must not be reported as an unhandled rejection.
      else wait.promise.catch(() => {});
      return failedWith(error);
    }
    try {
      await wait.promise;
    } finally {
      await onBehalfOf(wait.dependent?.stack, lockAgain);
    }
  }

  /** Wakes the first waiter, if there is one. The caller need not hold the lock. */
  signal(): void {
    this.#waiters.wakeOne(undefined);
  }

  /** Wakes all waiters. The caller need not hold the lock. */
  broadcast(): void {
    this.#waiters.wakeAll(undefined);
  }
}
