/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Weighted semaphore: at most `size` units are held at once, and waiters are served in the order of their calls.
 *
 * Rules of use:
 *
 * - Most callers should use `withPermit`, or `permit` with `using`: the units are released however the block is left.
 * - Use `acquire` and `release` where one function takes the units and another gives them back. Release in `finally`,
 *   as many units as were acquired.
 * - Use `tryAcquire` or `tryPermit` to refuse work instead of queueing it, or `maxWaiting` to queue only so much of it.
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
 * - `release` of more units than are held without a permit throws an Error with Go's text and changes nothing. Go
 *   panics, with the count left negative.
 * - A grant is final: after `release(); cancel()` in one turn of the event loop, the acquire resolves. In Go it may
 *   give the units back and fail.
 * - Counts are checked: negative, fractional and NaN ones are refused with RangeError, other types with TypeError. Zero
 *   is as in Go: it waits for those before it and takes nothing.
 * - `permit`, `tryPermit`, `withPermit`, `held`, `waiting`, `size`, `setSize`, `maxWaiting` and `name` are additions.
 *   Units held by a permit are released by that permit alone, and once, however often it is released.
 */
import { noGenerator, optionsOf, wholeNumber } from "./internal/data/args.ts";
import { Ring } from "./internal/data/ring.ts";
import { disposable } from "./internal/host/dispose.ts";
import { QueueFullError, withoutStack } from "./internal/host/errors.ts";
import {
  chargeOperation,
  completed,
  deferred,
  failedWith,
  notAFunction,
  rejectedByCheck,
} from "./internal/time/turn.ts";
import { giveName } from "./internal/track/named.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import { isDue, isFull, Kind, makeRecord, type PublicFunction } from "./internal/track/tracker.ts";
import { sourceOf } from "./internal/wait/foreign.ts";
import { Slots, type UnitRequest } from "./internal/wait/slots.ts";
import type { Cancel } from "./internal/wait/source.ts";

export { QueueFullError } from "./internal/host/errors.ts";

// The public functions at which the stack of a record begins.
const entryPoints = (): PublicFunction[] => {
  const { withPermit, permit, tryPermit, acquire, tryAcquire } = Weighted.prototype;
  return [withPermit, permit, tryPermit, acquire, tryAcquire];
};
const ACQUIRE = new Kind("semaphore acquire", "wait", entryPoints);
const PERMIT = new Kind("semaphore permit", "wait", entryPoints);
const UNITS = new Kind("semaphore unit", "resource", entryPoints, { sampledInPart: true });

/** Units that are held until {@link release}. Made by {@link Weighted.permit} and {@link Weighted.tryPermit}. */
export class Permit {
  /** How many units. */
  readonly n: number;

  readonly #slots: Slots<unknown>;

  // Whether the units are held: set when they are granted, cleared when they are released.
  #held = false;

  // The record of the units while they are held, under full tracking.
  #record: LeakRecord | undefined = undefined;

  /** @internal */
  constructor(slots: Slots<unknown>, n: number) {
    this.#slots = slots;
    this.n = n;
  }

  /** @internal Called once, when the units have been taken. A parked `permit` resolves to what this returns. */
  granted(stack?: string): this {
    this.#held = true;
    UNITS.live += this.n;
    if (this.n > 0 && isDue()) this.#record = makeRecord(UNITS, this.n, this, entryPoints, stack);
    return this;
  }

  /** Gives the units back. Does nothing the second time. Costs as {@link Weighted.release} does. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    UNITS.live -= this.n;
    this.#record?.erase();
    this.#slots.give(this.n);
  }

  /** Gives the units back at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.release);
  }
}

/** What a parked `acquire` asks for: units without a permit. */
class AcquireRequest implements UnitRequest<void> {
  readonly n: number;
  private readonly onGrant: (n: number, stack?: string) => void;

  constructor(n: number, onGrant: (n: number, stack?: string) => void) {
    this.n = n;
    this.onGrant = onGrant;
  }

  granted(stack?: string): void {
    this.onGrant(this.n, stack);
  }
}

/** How a {@link Weighted} queues, and what it is called. */
export interface WeightedOptions {
  /** How many callers may wait, a whole number from 0 or Infinity; Infinity if left out. */
  readonly maxWaiting?: number | undefined;

  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
}

/** A semaphore of `size` units. Waiters are served in the order of their calls: nobody overtakes. */
export class Weighted {
  // Between any two calls: 0 <= #acquired <= #slots.held. The units beyond #acquired are held by permits. Slots grants
  // the units.
  readonly #slots: Slots<unknown>;

  // How many units are held without a permit: those of `acquire` and `tryAcquire`, less those of `release`.
  #acquired = 0;

  // Under full tracking, the records of units held without a permit, oldest first. Units that were acquired before full
  // tracking was turned on have none.
  readonly #records = new Ring<LeakRecord>();

  // The size of #slots, for a check that reads no other object.
  #size: number;

  // Undefined if any number may wait: an acquire that parks then compares no numbers.
  readonly #maxWaiting: number | undefined;

  // Made when a caller is first refused; shared, so that refusing stays cheap under load.
  #queueFull: QueueFullError | undefined = undefined;

  /**
   * Throws RangeError unless `size` is a whole number from 0 to 2⁵³−1, `maxWaiting` one or Infinity, and `name`
   * well-formed; TypeError if one of them has another type.
   */
  constructor(size: number, options?: WeightedOptions) {
    const { maxWaiting = Number.POSITIVE_INFINITY, name } = optionsOf(options, "Weighted: options");
    this.#size = wholeNumber(size, "Weighted: size");
    this.#slots = new Slots<unknown>(ACQUIRE, this.#size);
    const unbounded = maxWaiting === Number.POSITIVE_INFINITY;
    this.#maxWaiting = unbounded ? undefined : wholeNumber(maxWaiting, "Weighted: maxWaiting");
    giveName("semaphore", this, name, "Weighted: name");
  }

  /**
   * Takes n units, waiting until they are free and every earlier caller has been served.
   *
   * The units count as held from the moment they are granted, before the awaiting code resumes: nobody can take them in
   * between, and a cancel after the grant comes too late.
   *
   * Rejects, holding nothing, with
   * - the context's error or the signal's reason, if `ctx` has ended (even if units are free) or ends while waiting;
   * - RangeError, if n is not a whole number from 0 to the size, or TypeError, if it is not a number; RangeError also
   *   if {@link setSize} makes the size less than n while waiting;
   * - {@link QueueFullError}, at once, if it would have to wait and `maxWaiting` callers do.
   */
  acquire(ctx: Cancel | undefined, n = 1): Promise<void> {
    if (!this.#canHold(n)) return this.#badCount("acquire", n);
    const source = sourceOf(ctx);
    const ending = source.poll();
    if (ending !== undefined) return failedWith(ending.error());
    const slots = this.#slots;
    if (n <= slots.free) {
      slots.take(n);
      this.#addAcquired(n);
      return completed();
    }
    if (n > this.#size) return this.#badCount("acquire", n); // Foreign code in the poll may have lowered it.
    if (this.#maxWaiting !== undefined && slots.waiters.size >= this.#maxWaiting)
      return this.#refusal(this.#maxWaiting);
    return slots.park(source, new AcquireRequest(n, this.#onGrant)) as Promise<void>;
  }

  /**
   * Takes n units as {@link acquire} does, and resolves to a permit that gives them back:
   * `using permit = await sem.permit(ctx, 2)`. Rejects as `acquire` does.
   *
   * Only the permit releases its units: {@link release} does not count them.
   */
  permit(ctx: Cancel | undefined, n = 1): Promise<Permit> {
    if (!this.#canHold(n)) return this.#badCount("permit", n);
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
    if (n > this.#size) return this.#badCount("permit", n); // As in `acquire`.
    if (this.#maxWaiting !== undefined && slots.waiters.size >= this.#maxWaiting)
      return this.#refusal(this.#maxWaiting);
    return slots.park(source, permit, PERMIT) as Promise<Permit>;
  }

  /**
   * Takes n units, 1 if left out, calls `fn`, and gives them back when `fn` has thrown or what it returned has settled.
   * Resolves or rejects as `fn` does.
   *
   * Rejects, with `fn` not called, as {@link acquire} does, and with TypeError if `fn` is not a function. It also
   * rejects with TypeError if `fn` returns a generator, since the body of one would run after the units are given back.
   */
  withPermit<R>(ctx: Cancel | undefined, fn: () => R | PromiseLike<R>): Promise<R>;
  withPermit<R>(ctx: Cancel | undefined, n: number, fn: () => R | PromiseLike<R>): Promise<R>;
  withPermit<R>(
    ctx: Cancel | undefined,
    n: number | (() => R | PromiseLike<R>),
    fn?: () => R | PromiseLike<R>,
  ): Promise<R> {
    return typeof n === "function" ? this.#withPermit(ctx, 1, n) : this.#withPermit(ctx, n, fn);
  }

  async #withPermit<R>(ctx: Cancel | undefined, n: number, fn: (() => R | PromiseLike<R>) | undefined): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "withPermit: fn");
    if (!this.#canHold(n)) return this.#badCount("withPermit", n);
    const permit = await this.permit(ctx, n);
    try {
      return noGenerator(await fn(), "withPermit: fn");
    } finally {
      permit.release();
    }
  }

  /**
   * Takes n units if they are free and nobody waits; reports whether it did. False for more than `size`.
   *
   * Throws RangeError if n is not a whole number from 0 to 2⁵³−1, TypeError if it is not a number.
   */
  tryAcquire(n = 1): boolean {
    wholeNumber(n, "tryAcquire: n");
    if (n > this.#slots.free) return false;
    this.#slots.take(n);
    this.#addAcquired(n);
    return true;
  }

  /**
   * Takes n units as {@link tryAcquire} does, and returns a permit that gives them back; undefined if it took none.
   * Throws as `tryAcquire` does.
   */
  tryPermit(n = 1): Permit | undefined {
    wholeNumber(n, "tryPermit: n");
    if (n > this.#slots.free) return undefined;
    this.#slots.take(n);
    return new Permit(this.#slots, n).granted();
  }

  /**
   * Gives back n units that `acquire` or `tryAcquire` took, and serves the waiters, in order, up to the first that does
   * not fit. O(1), and O(1) more for each waiter served.
   *
   * Throws, with nothing changed, an Error if fewer than n units are held without a permit, RangeError if n is not a
   * whole number from 0 to 2⁵³−1, and TypeError if it is not a number.
   */
  release(n = 1): void {
    wholeNumber(n, "release: n");
    if (n > this.#acquired) throw new Error("semaphore: released more than held");
    if (this.#records.size > 0) this.#eraseRecords(n);
    this.#acquired -= n;
    UNITS.live -= n;
    this.#slots.give(n);
  }

  /** How many units there are. */
  size(): number {
    return this.#size;
  }

  /**
   * Sets how many units there are. With more, waiters are served at once. With fewer, nothing is taken back: units
   * beyond the size are held until they are released, and waiters that ask for more than the size reject with
   * RangeError. While more is held than the size, even a request for nothing waits. O(1) to make it larger, O(waiting)
   * to make it smaller, and O(1) more for each waiter served or rejected.
   *
   * Throws, with nothing changed, RangeError unless `size` is a whole number from 0 to 2⁵³−1, TypeError if it is not a
   * number.
   */
  setSize(size: number): void {
    const smaller = wholeNumber(size, "setSize: size") < this.#size;
    this.#size = size;
    this.#slots.resize(size, smaller ? (request) => withoutStack(() => tooLarge(request, size)) : undefined);
  }

  /** How many units are held, with and without a permit. */
  held(): number {
    return this.#slots.held;
  }

  /** How many callers wait. */
  waiting(): number {
    return this.#slots.waiters.size;
  }

  #canHold(n: number): boolean {
    return Number.isSafeInteger(n) && n >= 0 && n <= this.#size;
  }

  /** Rejects a call whose n {@link #canHold} has refused. */
  #badCount(method: string, n: number): Promise<never> {
    return rejectedByCheck(() => {
      wholeNumber(n, `${method}: n`);
      throw badCount(method, n, this.#size);
    });
  }

  #refusal(maxWaiting: number): Promise<never> {
    this.#queueFull ??= withoutStack(() => new QueueFullError(maxWaiting));
    return failedWith(this.#queueFull);
  }

  /** Counts n units that have been taken without a permit. */
  #addAcquired(n: number, stack?: string): void {
    this.#acquired += n;
    UNITS.live += n;
    if (isFull() && n > 0) this.#records.push(makeRecord(UNITS, n, undefined, entryPoints, stack));
  }

  // Shared by all parked acquires, so that none allocates a closure.
  readonly #onGrant = (n: number, stack?: string): void => this.#addAcquired(n, stack);

  /** Erases the records of n units, oldest first: `release` does not say which units it gives back. */
  #eraseRecords(n: number): void {
    for (let left = n; left > 0 && this.#records.size > 0; ) {
      const first = this.#records.front;
      const { units } = first;
      first.eraseUnits(left);
      if (units > left) return;
      left -= units;
      this.#records.shift();
    }
  }
}

/** The error of a parked call that asks for more than the new size. */
function tooLarge(request: UnitRequest<unknown>, size: number): RangeError {
  return badCount(request instanceof Permit ? "permit" : "acquire", request.n, size);
}

function badCount(method: string, n: number, size: number): RangeError {
  return new RangeError(`${method}: n must be at most ${size}, the size of the semaphore, got ${n}`);
}
