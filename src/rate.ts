/**
 * Token-bucket rate limiter: `limit` events a second on average, up to `burst` at once.
 *
 * Rules of use:
 *
 * - Most callers should use `wait`, which paces. Use `allow` to drop what exceeds the rate, and `reserve` to learn the
 *   delay and decide.
 * - `wait` rejects at once if it would last beyond the context's deadline.
 * - For a limit for each client, use one `KeyedLimiter`. Its memory is bounded, and needs no sweep by the caller.
 * - The bucket starts full. A limit of `Inf` allows everything, even with a burst of 0. A limit of 0 allows the first
 *   burst and nothing after it.
 *
 * ```ts
 * import { rate } from "gopark";
 *
 * const limiter = new rate.Limiter(rate.every(100), 2); // 10 a second, 2 at once
 * const t = Date.now();
 * console.log(limiter.allow(1, t), limiter.allow(1, t), limiter.allow(1, t), limiter.allow(1, t + 100));
 * // Output:
 * // true true false true
 * ```
 *
 * Ports golang.org/x/time/rate. Differences from Go:
 *
 * - `AllowN`, `ReserveN`, `WaitN`, `SetLimitAt` and the like are the same methods with optional arguments:
 *   `allow(n, at)`. The instant comes last, and `wait` takes one too.
 * - `Limit` is a number of events a second, and `Inf` is Infinity. Durations are milliseconds: `every(100)`,
 *   `reservation.delay()`. The delay of events that may never happen is Infinity. Internally, finite times are whole
 *   nanoseconds, as in Go.
 * - `Reservation.ok` is a property.
 * - Arguments are checked. Counts that are negative, fractional or NaN are refused with RangeError, as are limits that
 *   are negative or NaN, and instants that are not finite. Other types are refused with TypeError.
 * - A `wait` for more than the burst rejects with RangeError that has Go's text.
 * - A `wait` that would last beyond the deadline rejects with an Error that has Go's text and a DeadlineExceeded as its
 *   cause. Go's error has none.
 * - A wait that is cancelled gives back exactly what it took if nothing was reserved after it, and never more. Go
 *   computes the amount: on a real clock it loses part of it, and it gives back too much if a later reservation is due
 *   earlier. `Reservation.cancel` computes it as Go does.
 * - `KeyedLimiter`, and the option `name` of a limiter, are additions.
 * - `Sometimes` takes its settings as an object, and `do` takes an instant. If one is given, the interval is counted
 *   from it, otherwise from the end of the function, as in Go.
 */
import { callable, duration, finiteInstant, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { Bucket, Rate, seconds, type Taken } from "./internal/data/bucket.ts";
import { withoutStack } from "./internal/host/errors.ts";
import { now } from "./internal/time/clock.ts";
import { fireDue, firstAlarm } from "./internal/time/timers.ts";
import { completed, failedWith, rejectedByCheck } from "./internal/time/turn.ts";
import { giveName } from "./internal/track/named.ts";
import { Kind } from "./internal/track/tracker.ts";
import { DeadlineExceeded } from "./internal/wait/endings.ts";
import { isContext, sourceOf } from "./internal/wait/foreign.ts";
import type { Cancel } from "./internal/wait/source.ts";
import { TimedWaiters } from "./internal/wait/timed.ts";

/** Events a second. */
export type Limit = number;

/** The limit that allows everything. */
export const Inf: Limit = Number.POSITIVE_INFINITY;

/**
 * The limit of one event in `ms` milliseconds, rounded to whole nanoseconds; {@link Inf} if that is zero or less.
 * Throws RangeError if `ms` is NaN, TypeError if it is not a number.
 */
export function every(ms: number): Limit {
  return duration(ms, "every: ms") <= 0 ? Inf : 1 / seconds(Math.round(ms * 1e6));
}

const WAIT = new Kind("rate wait", "wait", () => [Limiter.prototype.wait, KeyedLimiter.prototype.wait]);

/** Events that may happen after a delay. Made by {@link Limiter.reserve}. */
export class Reservation {
  /** False if the events are more than the burst. Then nothing was reserved. */
  readonly ok: boolean;

  readonly #bucket: Bucket;
  readonly #tokens: number;
  readonly #limit: Limit;
  readonly #timeToAct: number;

  /** @internal Takes n tokens of the bucket at t, in nanoseconds of its rate. */
  constructor(bucket: Bucket, n: number, t: number) {
    const { limit } = bucket.rate;
    // At the limit Inf nothing is taken. As in Go, such a reservation has the limit 0: if it is cancelled after a
    // finite limit was set, all n tokens are added, because at 0 no later reservation can have used any of them.
    const wait = limit === Inf ? 0 : bucket.take(n, t, Number.POSITIVE_INFINITY);
    this.ok = wait >= 0;
    this.#bucket = bucket;
    this.#tokens = n;
    this.#limit = limit === Inf ? 0 : limit;
    this.#timeToAct = t + wait;
  }

  /**
   * How many milliseconds after `at` the holder may act: 0 if at once, Infinity if never. Throws RangeError if `at` is
   * not finite.
   */
  delay(at: number | Date = now()): number {
    if (!this.ok) return Number.POSITIVE_INFINITY;
    return Math.max(this.#timeToAct - this.#bucket.rate.nanos(finiteInstant(at, "delay: at")), 0) / 1e6;
  }

  /**
   * Says that the holder will not act. Gives back the tokens that later reservations do not depend on. Does nothing
   * once the time to act has passed. To be called once: as in Go, a second call gives tokens back again. Throws
   * RangeError, with nothing changed, if `at` is not finite.
   */
  cancel(at: number | Date = now()): void {
    const t = this.#bucket.rate.nanos(finiteInstant(at, "cancel: at"));
    if (this.ok) this.#bucket.giveBack(t, this.#tokens, this.#limit, this.#timeToAct);
  }
}

/** A parked wait: what it has taken, and from which bucket. */
interface Reserved extends Taken {
  readonly bucket: Bucket;
  /** Waits are numbered in the order of their calls. */
  readonly sequence: number;
}

/** The waits for one or more buckets of a rate. */
class BucketWaits {
  readonly #rate: Rate;

  // The waits that have been cancelled and not given back yet. Empty but during a cancel: abort listeners run before
  // tokens are given back.
  #cancelled: Reserved[] = [];

  // The sequence number of the next wait that parks.
  #nextSequence = 0;

  readonly #waiters = new TimedWaiters<Reserved>(WAIT, {
    onCancel: (wait) => {
      this.#cancelled.push(wait.value.data);
    },
    afterCancels: () => this.#giveBackCancelled(),
  });

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** See {@link Limiter.wait}. `bucketAt` finds the bucket when all that may run foreign code has been done. */
  wait(ctx: Cancel | undefined, n: number, at: number | Date, bucketAt: (t: number) => Bucket): Promise<void> {
    if (!(Number.isSafeInteger(n) && n >= 0)) return rejectedByCheck(() => wholeNumber(n, "wait: n"));
    try {
      const ms = finiteInstant(at, "wait: at");
      const source = sourceOf(ctx);
      const deadline = isContext(ctx) ? ctx.deadline() : undefined;
      const t = this.#rate.nanos(ms);
      const ending = source.poll();
      const { limit, burst } = this.#rate;
      if (n > burst && limit !== Inf) {
        throw new RangeError(`rate: Wait(n=${n}) exceeds limiter's burst ${burst}`);
      }
      if (ending !== undefined) return failedWith(ending.error());
      if (limit === Inf) return completed();
      // Callers that came before, and whose time has come though the host's timer is late, go first.
      if (WAIT.live > 0 && (firstAlarm()?.when ?? Number.POSITIVE_INFINITY) <= ms) fireDue();
      const bucket = bucketAt(t);
      const previousEvent = bucket.lastEvent;
      const wait = bucket.take(
        n,
        t,
        deadline === undefined ? Number.POSITIVE_INFINITY : this.#rate.nanos(deadline) - t,
      );
      if (wait < 0) {
        const cause = withoutStack(() => new DeadlineExceeded());
        throw new Error(`rate: Wait(n=${n}) would exceed context deadline`, { cause });
      }
      if (wait === 0) return completed();
      const sequence = this.#nextSequence++;
      const reserved = { bucket, sequence, tokens: n, limit, timeToAct: t + wait, previousEvent };
      return this.#waiters.parkUntil(ms + wait / 1e6, source, reserved);
    } catch (error) {
      return failedWith(error);
    }
  }

  /** Gives back what cancelled waits took, the newest first. */
  #giveBackCancelled(): void {
    if (this.#cancelled.length === 0) return;
    const t = this.#rate.nanos(now());
    const cancelled = this.#cancelled.sort((a, b) => b.sequence - a.sequence);
    this.#cancelled = [];
    for (const reserved of cancelled) reserved.bucket.undo(reserved, t);
  }
}

/** What a {@link Limiter} is called. */
export interface LimiterOptions {
  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
}

/**
 * A bucket of up to `burst` tokens that gains `limit` tokens a second. Each event takes one.
 *
 * Methods take an instant as their last argument: epoch milliseconds or a Date, now if left out. Counts and instants of
 * another type are refused with TypeError.
 */
export class Limiter {
  readonly #rate: Rate;
  readonly #bucket: Bucket;
  readonly #waits: BucketWaits;

  /**
   * Allows `limit` events a second and bursts of `burst`. Throws RangeError unless `limit` is from 0 to {@link Inf},
   * `burst` a whole number from 0 to 2⁵³−1 and `name` well-formed, TypeError if one of them has another type.
   */
  constructor(limit: Limit, burst: number, options?: LimiterOptions) {
    const { name } = optionsOf(options, "Limiter: options");
    this.#rate = new Rate(validLimit(limit, "Limiter: limit"), wholeNumber(burst, "Limiter: burst"));
    this.#bucket = new Bucket(this.#rate);
    this.#waits = new BucketWaits(this.#rate);
    giveName("limiter", this, name, "Limiter: name");
  }

  /** The limit, in events a second. */
  limit(): Limit {
    return this.#rate.limit;
  }

  /** How many events may happen at once. */
  burst(): number {
    return this.#rate.burst;
  }

  /**
   * How many tokens there are at the instant `at`, fractions included; negative while tokens to come are reserved.
   * Changes nothing. Throws RangeError if `at` is not finite.
   */
  tokens(at: number | Date = now()): number {
    return this.#bucket.tokensAt(this.#rate.peekNanos(finiteInstant(at, "tokens: at")));
  }

  /**
   * Whether n events may happen at the instant `at`. If so, their tokens are taken; if not, nothing has changed.
   *
   * Throws RangeError, with nothing changed, if n is not a whole number from 0 to 2⁵³−1 or `at` is not finite.
   */
  allow(n = 1, at: number | Date = now()): boolean {
    wholeNumber(n, "allow: n");
    const t = this.#nanos(at, "allow: at");
    return this.#rate.limit === Inf || this.#bucket.take(n, t, 0) >= 0;
  }

  /**
   * Reserves n events, at `at` or as soon after it as they may happen. The reservation says how long to wait before
   * acting. If you decide not to wait, call its `cancel`. If n is more than the burst, it is not `ok`, and nothing has
   * changed.
   *
   * Throws RangeError, with nothing changed, if n is not a whole number from 0 to 2⁵³−1 or `at` is not finite.
   */
  reserve(n = 1, at: number | Date = now()): Reservation {
    wholeNumber(n, "reserve: n");
    return new Reservation(this.#bucket, n, this.#nanos(at, "reserve: at"));
  }

  /**
   * Waits until n events may happen. Each caller waits for the instant that was reserved at its call. These instants
   * follow the order of the calls, unless a limit is changed, a wait is cancelled, or `at` goes back in between. An
   * `at` that is yet to come is not waited for by itself: if the tokens are there at that instant, the call resolves at
   * once.
   *
   * Rejects with
   * - RangeError, if n is more than the burst of a finite limit, n is not a whole number from 0 to 2⁵³−1, or `at` is
   *   not finite;
   * - the context's error or the signal's reason, if `ctx` has ended or ends while waiting;
   * - Error, at once, if the wait would last beyond the deadline of `ctx`. Its cause is a DeadlineExceeded:
   *   `context.is(err, context.DeadlineExceeded)`. A signal has no deadline, not even `ctx.signal`.
   *
   * A call that rejects at once takes no token. Waits that are cancelled together, or the newest first, leave the
   * bucket as if they had never waited. Any other cancelled wait gives back the tokens that reservations after it do
   * not depend on, whether or not they have been cancelled meanwhile, but never more than it took.
   */
  wait(ctx: Cancel | undefined, n = 1, at: number | Date = now()): Promise<void> {
    return this.#waits.wait(ctx, n, at, () => this.#bucket);
  }

  /**
   * Changes the limit from the instant `at` on. Tokens that came before it came at the old limit, and reservations keep
   * their times. Throws RangeError, with nothing changed, unless `limit` is from 0 to {@link Inf} and `at` finite.
   */
  setLimit(limit: Limit, at: number | Date = now()): void {
    const valid = validLimit(limit, "setLimit: limit");
    this.#bucket.advanceTo(this.#nanos(at, "setLimit: at"));
    this.#rate.limit = valid;
  }

  /**
   * Changes the burst from the instant `at` on. Tokens above a smaller burst are lost. Throws RangeError, with nothing
   * changed, unless `burst` is a whole number from 0 to 2⁵³−1 and `at` finite.
   */
  setBurst(burst: number, at: number | Date = now()): void {
    const valid = wholeNumber(burst, "setBurst: burst");
    this.#bucket.advanceTo(this.#nanos(at, "setBurst: at"));
    this.#rate.burst = valid;
  }

  /** An instant in the nanoseconds of the rate. Throws, calling it `what`, if it is not finite. */
  #nanos(at: number | Date, what: string): number {
    return this.#rate.nanos(finiteInstant(at, what));
  }
}

/** How a {@link KeyedLimiter} is made, and what it is called. */
export interface KeyedLimiterOptions {
  /** How many keys have a bucket of their own at most: a whole number from 1 on. By default 65 536. */
  readonly maxKeys?: number | undefined;

  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
}

/** How many buckets a call that adds a key looks at, to find some that are full again. */
const LOOKS = 2;

/** How many more it looks at while all places are taken. */
const LOOKS_FOR_A_PLACE = 16;

/**
 * A limiter for each key: for each client, tenant or address. All have one limit and one burst, and a key's bucket is
 * as a {@link Limiter} is. Keys are compared as a Map does.
 *
 * The memory is bounded, and there is no timer. A bucket that is full again is as a new one, so it may be forgotten:
 * each call that adds a key looks at some buckets for such ones. While `maxKeys` keys have buckets and it finds none,
 * all other keys share one bucket. So a flood of keys neither resets the bucket of a key, nor gets more than `limit`
 * events a second for all keys beyond `maxKeys`. (Take the instants from one clock: a bucket that is full at the latest
 * of them may be forgotten.) But new keys cannot be told from the flood: choose `maxKeys` above the number of keys that
 * are busy at one time.
 *
 * A call for a key with a bucket costs a lookup in a Map more than one of a {@link Limiter}. A key takes about
 * 120 bytes.
 */
export class KeyedLimiter<K = string> {
  readonly #rate: Rate;
  readonly #waits: BucketWaits;
  readonly #maxKeys: number;

  // Between any two calls: at most #maxKeys buckets. A bucket that is not here and not #shared was full when it left.
  readonly #buckets = new Map<K, Bucket>();

  // The bucket of the keys that have no place. Made when it is first needed.
  #shared: Bucket | undefined = undefined;

  // Goes round and round through #buckets, in search of full ones. (An iterator of a Map skips what is deleted and
  // comes to what is added.)
  #hand: Iterator<[K, Bucket], undefined>;

  /**
   * Allows, for each key, `limit` events a second and bursts of `burst`. Throws RangeError unless `limit` is from 0 to
   * {@link Inf}, `burst` a whole number from 0 to 2⁵³−1, `maxKeys` one from 1 on and `name` well-formed, TypeError if
   * one of them has another type.
   */
  constructor(limit: Limit, burst: number, options?: KeyedLimiterOptions) {
    const { maxKeys = 65_536, name } = optionsOf(options, "KeyedLimiter: options");
    this.#rate = new Rate(validLimit(limit, "KeyedLimiter: limit"), wholeNumber(burst, "KeyedLimiter: burst"));
    this.#maxKeys = wholeNumber(maxKeys, "KeyedLimiter: maxKeys", 1);
    this.#waits = new BucketWaits(this.#rate);
    this.#hand = this.#buckets.entries();
    giveName("keyedLimiter", this, name, "KeyedLimiter: name");
  }

  /** The limit of each key, in events a second. */
  limit(): Limit {
    return this.#rate.limit;
  }

  /** How many events of one key may happen at once. */
  burst(): number {
    return this.#rate.burst;
  }

  /** How many keys have a bucket of their own. */
  keys(): number {
    return this.#buckets.size;
  }

  /** How many tokens a key has at the instant `at`: see {@link Limiter.tokens}. Adds no key. */
  tokens(key: K, at: number | Date = now()): number {
    const t = this.#rate.peekNanos(finiteInstant(at, "tokens: at"));
    const bucket = this.#buckets.get(key) ?? (this.#buckets.size < this.#maxKeys ? undefined : this.#shared);
    return bucket === undefined ? this.#rate.burst : bucket.tokensAt(t);
  }

  /** Whether n events of the key may happen at the instant `at`: see {@link Limiter.allow}. */
  allow(key: K, n = 1, at: number | Date = now()): boolean {
    wholeNumber(n, "allow: n");
    const t = this.#nanos(at, "allow: at");
    return this.#rate.limit === Inf || this.#bucketOf(key, t).take(n, t, 0) >= 0;
  }

  /** Reserves n events of the key, at `at` or as soon after it as they may happen: see {@link Limiter.reserve}. */
  reserve(key: K, n = 1, at: number | Date = now()): Reservation {
    wholeNumber(n, "reserve: n");
    const t = this.#nanos(at, "reserve: at");
    return new Reservation(this.#bucketOf(key, t), n, t);
  }

  /** Waits until n events of the key may happen: see {@link Limiter.wait}. */
  wait(ctx: Cancel | undefined, key: K, n = 1, at: number | Date = now()): Promise<void> {
    return this.#waits.wait(ctx, n, at, (t) => this.#bucketOf(key, t));
  }

  /** The bucket of a key at t. If it has none, it gets one, or the shared one. */
  #bucketOf(key: K, t: number): Bucket {
    const bucket = this.#buckets.get(key);
    return bucket ?? this.#newBucket(key, t);
  }

  #newBucket(key: K, t: number): Bucket {
    this.#forgetFull(LOOKS, t);
    if (this.#buckets.size >= this.#maxKeys) this.#forgetFull(LOOKS_FOR_A_PLACE, t);
    // At the limit Inf nothing is ever taken from a bucket.
    if (this.#buckets.size >= this.#maxKeys || this.#rate.limit === Inf) {
      this.#shared ??= new Bucket(this.#rate);
      return this.#shared;
    }
    const bucket = new Bucket(this.#rate);
    this.#buckets.set(key, bucket);
    return bucket;
  }

  /** Looks at the next `looks` buckets, and forgets those that are full at t. */
  #forgetFull(looks: number, t: number): void {
    for (let left = Math.min(looks, this.#buckets.size); left > 0; left--) {
      let next = this.#hand.next();
      if (next.done === true) {
        // Each look forgets one at most, so at least one is left.
        this.#hand = this.#buckets.entries();
        next = this.#hand.next();
      }
      const [key, bucket] = next.value as [K, Bucket];
      if (bucket.isFull(t)) this.#buckets.delete(key);
    }
  }

  #nanos(at: number | Date, what: string): number {
    return this.#rate.nanos(finiteInstant(at, what));
  }
}

function validLimit(limit: Limit, what: string): Limit {
  if (typeof limit !== "number") throw new TypeError(`${what} must be a number of events a second, got ${show(limit)}`);
  if (!(limit >= 0)) throw new RangeError(`${what} must be a number of events a second, 0 or more, got ${limit}`);
  return limit;
}

/**
 * Which calls of a {@link Sometimes} act: those that at least one of the three options selects. Each is off if left
 * out, 0 or negative.
 */
export interface SometimesOptions {
  /** The first `first` calls. */
  readonly first?: number | undefined;
  /** Calls 1, 1 + `every`, 1 + 2 · `every`, and so on. */
  readonly every?: number | undefined;
  /**
   * A call at least `interval` milliseconds after the last one that acted: after its end, or after its `at` if that was
   * given.
   */
  readonly interval?: number | undefined;
}

/** Acts on some of many calls: for logging from a hot path. The first call always acts. */
export class Sometimes {
  readonly #first: number;
  readonly #every: number;
  readonly #interval: number;
  #calls = 0;
  #last = Number.NEGATIVE_INFINITY;

  /**
   * Throws RangeError unless `first` and `every` are whole numbers and `interval` is not NaN, TypeError for other
   * types.
   */
  constructor(options?: SometimesOptions) {
    const { first = 0, every = 0, interval = 0 } = optionsOf(options, "Sometimes: options");
    this.#first = wholeNumber(first, "Sometimes: first", Number.MIN_SAFE_INTEGER);
    this.#every = wholeNumber(every, "Sometimes: every", Number.MIN_SAFE_INTEGER);
    this.#interval = duration(interval, "Sometimes: interval");
  }

  /**
   * Calls `fn` if this call is one that acts. If `fn` throws, `do` throws the same, and the call is not counted. Throws
   * TypeError if `fn` is not a function, RangeError if `at` is not finite.
   */
  do(fn: () => void, at?: number | Date): void {
    callable(fn, "do: fn");
    const t = finiteInstant(at ?? now(), "do: at");
    const due =
      this.#calls === 0 ||
      this.#calls < this.#first ||
      (this.#every > 0 && this.#calls % this.#every === 0) ||
      (this.#interval > 0 && t - this.#last >= this.#interval);
    if (due) {
      fn();
      if (this.#interval > 0) this.#last = at === undefined ? now() : t;
    }
    this.#calls++;
  }
}
