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
 * - `release` of more than is held without a permit throws and changes nothing. Go panics with the count left negative.
 * - A grant is final: after `release(); cancel()` in one turn the acquire resolves. Go may give the units back.
 * - Permits, which release themselves at the end of a block.
 */
import { count, noGenerator } from "./internal/data/args.ts";
import { Ring } from "./internal/data/ring.ts";
import { disposable } from "./internal/host/dispose.ts";
import { chargeOperation, completed, deferred, failedBy, failedWith, notAFunction } from "./internal/time/turn.ts";
import { type Entry, erase, isFull, Kind, type PublicFunction, record } from "./internal/track/tracker.ts";
import { sourceOf } from "./internal/wait/foreign.ts";
import { type Asked, Slots } from "./internal/wait/slots.ts";
import type { Cancel } from "./internal/wait/source.ts";

const entries = (): PublicFunction[] => {
  const { withPermit, permit, acquire, tryAcquire } = Weighted.prototype;
  return [withPermit, permit, acquire, tryAcquire];
};
const ACQUIRE = new Kind("semaphore acquire", "wait", entries);
const PERMIT = new Kind("semaphore permit", "wait", entries);
const UNITS = new Kind("semaphore unit", "resource", entries);

/** Units held, to be released once. Made by {@link Weighted.permit}. */
export class Permit {
  /** How many units. */
  readonly n: number;

  // Undefined before they are granted, and once they are released.
  private slots: Slots<unknown> | undefined = undefined;
  private readonly of: Slots<unknown>;
  private entry: Entry | undefined = undefined;

  /** @internal */
  constructor(slots: Slots<unknown>, n: number) {
    this.of = slots;
    this.n = n;
  }

  /** @internal It is what a waiter asks for: called when the units have been taken for it. */
  granted(): this {
    this.slots = this.of;
    UNITS.live += this.n;
    if (isFull() && this.n > 0) this.entry = record(UNITS, this.n, this);
    return this;
  }

  /** Gives the units back. Does nothing the second time. */
  release(): void {
    const { slots } = this;
    if (slots === undefined) return;
    this.slots = undefined;
    UNITS.live -= this.n;
    if (this.entry !== undefined) erase(this.entry);
    slots.give(this.n);
  }

  /** Gives the units back at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.release);
  }
}

/** Units to be released by hand, asked for by an acquire that waits. */
class ByHand implements Asked<void> {
  readonly n: number;
  readonly #take: (n: number) => void;

  constructor(n: number, take: (n: number) => void) {
    this.n = n;
    this.#take = take;
  }

  granted(): void {
    this.#take(this.n);
  }
}

export class Weighted {
  // Between any two calls: 0 <= #byHand <= #slots.held, the rest being held by permits. Whose turn it is, Slots
  // decides.
  readonly #slots: Slots<unknown>;
  #byHand = 0;

  // Under full tracking, what was acquired without a permit and where, oldest first; else empty.
  readonly #records = new Ring<{ readonly entry: Entry; n: number }>();

  /** How many units there are. */
  readonly size: number;

  /** Throws RangeError unless `size` is a whole number from 0 to 2⁵³−1. */
  constructor(size: number) {
    this.size = count(size, "semaphore size");
    this.#slots = new Slots<unknown>(ACQUIRE, this.size);
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
    if (!this.#canHold(n)) return this.#tooMany(n);
    const source = sourceOf(ctx);
    const ending = source.poll();
    if (ending !== undefined) return failedWith(ending.error());
    const slots = this.#slots;
    if (n <= slots.free) {
      slots.take(n);
      this.#hold(n);
      return completed();
    }
    return slots.park(source, new ByHand(n, this.#granted)) as Promise<void>;
  }

  /**
   * As {@link acquire}, and answers with a permit that gives the units back:
   * `using permit = await sem.permit(ctx, 2)`.
   *
   * Units held by a permit are released by it alone: {@link release} does not count them.
   */
  permit(ctx: Cancel, n = 1): Promise<Permit> {
    if (!this.#canHold(n)) return this.#tooMany(n);
    const source = sourceOf(ctx);
    const ending = source.poll();
    if (ending !== undefined) return failedWith(ending.error());
    const slots = this.#slots;
    const permit = new Permit(slots, n);
    if (n <= slots.free) {
      slots.take(n);
      permit.granted();
      return chargeOperation() ? Promise.resolve(permit) : deferred(permit);
    }
    return slots.park(source, permit, PERMIT) as Promise<Permit>;
  }

  /**
   * Runs `fn` holding n units, 1 if left out, and resolves or rejects as it does. The units come back when `fn` has
   * really ended, even if it throws. Rejects as {@link acquire} does, without running `fn`, and with TypeError if `fn`
   * is no function, or a generator function: what that does would come after the permit.
   */
  withPermit<R>(ctx: Cancel, fn: () => R | PromiseLike<R>): Promise<R>;
  withPermit<R>(ctx: Cancel, n: number, fn: () => R | PromiseLike<R>): Promise<R>;
  withPermit<R>(ctx: Cancel, n: number | (() => R | PromiseLike<R>), fn?: () => R | PromiseLike<R>): Promise<R> {
    return typeof n === "function" ? this.#withPermit(ctx, 1, n) : this.#withPermit(ctx, n, fn);
  }

  async #withPermit<R>(ctx: Cancel, n: number, fn: (() => R | PromiseLike<R>) | undefined): Promise<R> {
    if (fn === undefined || typeof fn !== "function") return notAFunction(fn, "withPermit's function");
    const permit = await this.permit(ctx, n);
    try {
      return noGenerator(await fn(), "withPermit's function");
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
    if (n > this.#slots.free) return false;
    this.#slots.take(n);
    this.#hold(n);
    return true;
  }

  /**
   * Gives n units back and admits those waiters, in order, whom they suffice for. O(waiters admitted).
   *
   * Throws, with nothing changed, an Error if fewer than n are held without a permit, and RangeError if n is not a
   * whole number from 0.
   */
  release(n = 1): void {
    count(n, "semaphore units");
    if (n > this.#byHand) throw new Error("semaphore: released more than held");
    if (this.#records.size > 0) this.#forget(n);
    this.#byHand -= n;
    UNITS.live -= n;
    this.#slots.give(n);
  }

  /** How many units are held. */
  held(): number {
    return this.#slots.held;
  }

  /** How many callers wait. */
  waiting(): number {
    return this.#slots.waiters.size;
  }

  #canHold(n: number): boolean {
    return Number.isSafeInteger(n) && n >= 0 && n <= this.size;
  }

  #tooMany(n: number): Promise<never> {
    return failedBy(() => {
      count(n, "semaphore units");
      throw new RangeError(`cannot acquire ${n} units of a semaphore of size ${this.size}`);
    });
  }

  /** Counts n units that have been taken, to be released by hand. */
  #hold(n: number): void {
    this.#byHand += n;
    UNITS.live += n;
    if (isFull() && n > 0) this.#records.push({ entry: record(UNITS, n), n });
  }

  // One closure for all who wait.
  readonly #granted = (n: number): void => this.#hold(n);

  /** Erases the records of n units, oldest first: `release` does not say whose units come back. */
  #forget(n: number): void {
    for (let left = n; left > 0 && this.#records.size > 0; ) {
      const first = this.#records.front;
      const part = Math.min(left, first.n);
      first.n -= part;
      left -= part;
      if (first.n > 0) return;
      erase(first.entry);
      this.#records.shift();
    }
  }
}
