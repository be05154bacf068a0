/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Weighted semaphore: at most `size` units held at once, waiters served in strict arrival order.
 *
 * Rules of use:
 *
 * - Most callers should use `withPermit`, or `permit` with `using`: the units come back however the block is left.
 * - `acquire` and `release` are for units that change hands. Release in `finally`, as many as were acquired.
 * - To shed load instead of queueing, `tryAcquire`.
 *
 * ```ts
 * import { context, semaphore } from "gopark";
 *
 * const sem = new semaphore.Weighted(2);
 * const ctx = context.background();
 * let running = 0;
 * let most = 0;
 * const work = () =>
 *   sem.withPermit(ctx, async () => {
 *     most = Math.max(most, ++running);
 *     await Promise.resolve();
 *     running--;
 *   });
 * await Promise.all([work(), work(), work()]);
 * console.log(most);
 * // Output:
 * // 2
 * ```
 *
 * Ports golang.org/x/sync/semaphore. Differences from Go:
 *
 * - `acquire` of more than `size` units rejects at once with RangeError. Go waits until the context ends, which with
 *   `background()` is never.
 * - `release` of more than is held throws and changes nothing. Go panics with the count left negative.
 * - A grant is final: after `release(); cancel()` in one turn the acquire resolves. Go may give the units back.
 * - Permits, which release themselves at the end of a block.
 */
import { type Cancel, refused } from "./internal/cancel.ts";
import { disposable } from "./internal/dispose.ts";
import { callable, count } from "./internal/errors.ts";
import { List } from "./internal/list.ts";
import { type Owner, Park } from "./internal/park.ts";
import { close, type Entry, isFull, Kind, record } from "./internal/tracker.ts";
import { charge, completed, deferred } from "./internal/turn.ts";

const ACQUIRE = new Kind("semaphore acquire");
const PERMIT = new Kind("semaphore permit");
const UNITS = new Kind("semaphore unit");

/** Units held, to be released once. Made by {@link Weighted.permit}. */
export class Permit {
  /** How many units. */
  readonly n: number;

  // Undefined once released.
  private sem: Weighted | undefined;
  private readonly entry: Entry | undefined;

  /** @internal */
  constructor(sem: Weighted, n: number) {
    this.sem = sem;
    this.n = n;
    this.entry = isFull() ? record(UNITS, n, this) : undefined;
  }

  /** Gives the units back. Does nothing the second time. */
  release(): void {
    const { sem } = this;
    if (sem === undefined) return;
    this.sem = undefined;
    if (this.entry !== undefined) close(this.entry);
    giveBack(sem, this.n);
  }

  /** Gives the units back at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.release);
  }
}

// For permits, which live outside the class. Set by its static block.
let giveBack: (sem: Weighted, n: number) => void;

export class Weighted {
  // Between any two calls:
  //   0 <= #held <= size;
  //   if anyone waits, the front waiter does not fit: front.value > size - #held. (One of 0 units, when all are held, may
  //   have come to the front by the cancel of the one before it; as in Go it waits for the next release.)
  #held = 0;
  readonly #waiters = new List<Park<never, number>>();

  // When a cancel takes away the front waiter, those behind it may fit.
  readonly #line: Owner = {
    abandoned: () => {
      if (this.#held < this.size) this.#admit();
    },
  };

  // Under full tracking, what was acquired without a permit and where, oldest first; else empty.
  readonly #records: { readonly entry: Entry; n: number }[] = [];

  /** How many units there are. */
  readonly size: number;

  /** Throws RangeError unless `size` is a whole number from 0 to 2⁵³−1. */
  constructor(size: number) {
    this.size = count(size, "semaphore size");
  }

  /**
   * Takes n units, waiting until they are free and every earlier caller has been served.
   *
   * The units count as held from the moment `release` grants them, before the awaiting code resumes, so nobody can slip
   * in between; a cancel after the grant comes too late.
   *
   * Rejects, holding nothing, with
   * - the context's error or the signal's reason, if it has ended (even if units are free) or ends while waiting;
   * - RangeError, if n is not a whole number from 0 to `size`.
   */
  acquire(ctx: Cancel, n = 1): Promise<void> {
    const refusal = this.#refuse(ctx, n);
    if (refusal !== undefined) return refusal;
    if (this.#fits(n)) {
      this.#take(n);
      return completed();
    }
    return this.#park(ACQUIRE, ctx, n);
  }

  /**
   * As {@link acquire}, and answers with a permit that gives the units back:
   * `using permit = await sem.permit(ctx, 2)`.
   */
  permit(ctx: Cancel, n = 1): Promise<Permit> {
    const refusal = this.#refuse(ctx, n);
    if (refusal !== undefined) return refusal;
    if (this.#fits(n)) {
      // In this order the engine knows the permit's shape at the promise, and does not look for a `then` in it: a third less.
      if (!charge()) return deferred(this.#permit(n));
      return Promise.resolve(this.#permit(n));
    }
    return this.#park(PERMIT, ctx, n);
  }

  /**
   * Runs `fn` holding n units, 1 if left out, and resolves or rejects as it does. The units come back when `fn` has
   * really ended, even if it throws. Rejects as {@link acquire} does, without running `fn`, and with TypeError if `fn`
   * is no function.
   */
  withPermit<R>(ctx: Cancel, fn: () => R | PromiseLike<R>): Promise<R>;
  withPermit<R>(ctx: Cancel, n: number, fn: () => R | PromiseLike<R>): Promise<R>;
  async withPermit<R>(ctx: Cancel, n: number | (() => R | PromiseLike<R>), fn?: () => R | PromiseLike<R>): Promise<R> {
    if (typeof n === "function") return this.withPermit(ctx, 1, n);
    const task = callable(fn, "withPermit's function") as () => R | PromiseLike<R>;
    const permit = await this.permit(ctx, n);
    try {
      return await task();
    } finally {
      permit.release();
    }
  }

  /**
   * Takes n units if they are free and nobody waits; says whether it did. Throws RangeError if n is not a whole number
   * from 0 to 2⁵³−1; more than `size` is simply false.
   */
  tryAcquire(n = 1): boolean {
    count(n, "semaphore units");
    if (!this.#fits(n)) return false;
    this.#take(n);
    return true;
  }

  /**
   * Gives n units back and admits those waiters, in order, whom they suffice for. O(waiters admitted).
   *
   * Throws, with nothing changed, an Error if fewer than n are held, and RangeError if n is not a whole number from 0.
   */
  release(n = 1): void {
    count(n, "semaphore units");
    if (n > this.#held) throw new Error("semaphore: released more than held");
    if (this.#records.length > 0) this.#forget(n);
    this.#give(n);
  }

  /** How many units are held. */
  held(): number {
    return this.#held;
  }

  /** How many callers wait. */
  waiting(): number {
    return this.#waiters.size;
  }

  #refuse(ctx: Cancel, n: number): Promise<never> | undefined {
    if (!(Number.isSafeInteger(n) && n >= 0 && n <= this.size)) return this.#outOfRange(n);
    return refused(ctx);
  }

  async #outOfRange(n: number): Promise<never> {
    count(n, "semaphore units");
    throw new RangeError(`cannot acquire ${n} units of a semaphore of size ${this.size}`);
  }

  #fits(n: number): boolean {
    return n <= this.size - this.#held && this.#waiters.size === 0;
  }

  #park(kind: Kind, ctx: Cancel, n: number): Promise<never> {
    const waiter = new Park<never, number>(kind, ctx, n, this.#line);
    this.#waiters.push(waiter);
    return waiter.promise;
  }

  #hold(n: number): void {
    this.#held += n;
    UNITS.live += n;
  }

  #permit(n: number): Permit {
    const permit = new Permit(this, n);
    this.#hold(permit.n);
    return permit;
  }

  #take(n: number): void {
    this.#hold(n);
    if (isFull() && n > 0) this.#records.push({ entry: record(UNITS, n), n });
  }

  #give(n: number): void {
    this.#held -= n;
    UNITS.live -= n;
    if (this.#waiters.size > 0) this.#admit();
  }

  /** Closes the records of n units, oldest first: `release` does not say whose units come back. */
  #forget(n: number): void {
    let left = n;
    for (let first = this.#records[0]; first !== undefined && left > 0; first = this.#records[0]) {
      const part = Math.min(left, first.n);
      first.n -= part;
      left -= part;
      if (first.n > 0) return;
      close(first.entry);
      this.#records.shift();
    }
  }

  #admit(): void {
    for (let w = this.#waiters.front; w !== undefined; w = this.#waiters.front) {
      const n = w.value;
      // Stop at the first waiter that does not fit, though a smaller one behind it might. Take a semaphore used as a
      // read-write lock: readers acquire 1, the writer acquires `size`. If readers could overtake, there would always
      // be a unit out and the writer would wait forever.
      if (n > this.size - this.#held) return;
      this.#waiters.remove(w);
      if (w.kind === PERMIT) {
        w.resolve(this.#permit(n) as never);
      } else {
        this.#take(n);
        w.resolve(undefined as never);
      }
    }
  }

  static {
    giveBack = (sem, n) => sem.#give(n);
  }
}
