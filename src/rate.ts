/**
 * Token-bucket rate limiter: `limit` events a second on average, up to `burst` at once.
 *
 * Rules of use:
 *
 * - Most callers should use `wait`, which paces. Use `allow` to drop what exceeds the rate, and `reserve` to learn the
 *   delay and decide.
 * - `wait` rejects at once if it would last beyond the context's deadline.
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
 * - `Sometimes` takes its settings as an object, and `do` takes an instant. If one is given, the interval is counted
 *   from it, otherwise from the end of the function, as in Go.
 */
import { callable, duration, finiteInstant, show, wholeNumber } from "./internal/data/args.ts";
import { withoutStack } from "./internal/host/errors.ts";
import { now } from "./internal/time/clock.ts";
import { completed, failedWith, rejectedByCheck } from "./internal/time/turn.ts";
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

const WAIT = new Kind("rate wait", "wait", () => [Limiter.prototype.wait]);

// Go's InfDuration, the longest time.Duration, in nanoseconds: 292 years. A longer time counts as Infinity here.
const LONGEST_DURATION = 2 ** 63;

/** Nanoseconds as seconds, with Go's rounding: whole seconds and the rest apart. */
function seconds(ns: number): number {
  if (!Number.isFinite(ns)) return ns;
  const whole = Math.trunc(ns / 1e9);
  return whole + (ns - whole * 1e9) / 1e9;
}

/** The tokens that come in `ns` nanoseconds. */
function tokensIn(ns: number, limit: Limit): number {
  return ns === 0 || limit === 0 ? 0 : seconds(ns) * limit; // Apart, because Infinity * 0 is NaN.
}

/** How long `tokens` take to come, in whole nanoseconds; Infinity if they never do. */
function timeFor(tokens: number, limit: Limit): number {
  const ns = (tokens / limit) * 1e9;
  return ns > LONGEST_DURATION ? Number.POSITIVE_INFINITY : Math.trunc(ns);
}

/** Events that may happen after a delay. Made by {@link Limiter.reserve}. */
export class Reservation {
  /** False if the events are more than the burst. Then nothing was reserved. */
  readonly ok: boolean;

  readonly #limiter: Limiter;
  readonly #tokens: number;
  readonly #limit: Limit;
  readonly #timeToAct: number;

  /** @internal `timeToAct` is in the limiter's nanoseconds; `limit` is the limiter's at the time of the reservation. */
  constructor(limiter: Limiter, ok: boolean, tokens: number, limit: Limit, timeToAct: number) {
    this.ok = ok;
    this.#limiter = limiter;
    this.#tokens = tokens;
    this.#limit = limit;
    this.#timeToAct = timeToAct;
  }

  /**
   * How many milliseconds after `at` the holder may act: 0 if at once, Infinity if never. Throws RangeError if `at` is
   * not finite.
   */
  delay(at: number | Date = now()): number {
    if (!this.ok) return Number.POSITIVE_INFINITY;
    return Math.max(this.#timeToAct - toNanos(this.#limiter, at, "delay: at"), 0) / 1e6;
  }

  /**
   * Says that the holder will not act. Gives back the tokens that later reservations do not depend on. Does nothing
   * once the time to act has passed. To be called once: as in Go, a second call gives tokens back again. Throws
   * RangeError, with nothing changed, if `at` is not finite.
   */
  cancel(at: number | Date = now()): void {
    const t = toNanos(this.#limiter, at, "cancel: at");
    if (this.ok) giveBack(this.#limiter, t, this.#tokens, this.#limit, this.#timeToAct);
  }
}

/** What a parked wait has reserved, and what is needed to give it back. */
interface Reserved {
  /** Waits of one limiter are numbered in the order of their calls. */
  readonly sequence: number;
  readonly tokens: number;
  readonly limit: Limit;
  readonly timeToAct: number;
  /** The limiter's `#lastEvent` before this call. */
  readonly previousEvent: number;
}

// For reservations, which live outside the class. Set by its static block.
let toNanos: (limiter: Limiter, at: number | Date, what: string) => number;
let giveBack: (limiter: Limiter, t: number, tokens: number, limit: Limit, timeToAct: number) => void;

/**
 * A bucket of up to `burst` tokens that gains `limit` tokens a second. Each event takes one.
 *
 * Methods take an instant as their last argument: epoch milliseconds or a Date, now if left out. Counts and instants of
 * another type are refused with TypeError.
 */
export class Limiter {
  // Times are whole nanoseconds from #base, the first instant the limiter saw: a double cannot hold nanoseconds of the
  // epoch exactly. (From #base they are exact for 104 days.) Between any two calls:
  //   #tokens is what the bucket held at #last, before it was cut to #burst; it is negative while tokens to come are
  //   reserved; #last is the instant of the last change, NaN before the first; #lastEvent is the time to act of the
  //   newest call that was allowed at a finite limit, even for 0 events, and did not give its tokens back, −Infinity
  //   before the first. (Where `Reservation.cancel` gives back the newest, it computes the one before it, as Go does.)
  #base = Number.NaN;
  #limit: Limit;
  #burst: number;
  #tokens: number;
  #last = Number.NaN;
  #lastEvent = Number.NEGATIVE_INFINITY;

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

  /**
   * Allows `limit` events a second and bursts of `burst`. Throws RangeError unless `limit` is from 0 to {@link Inf} and
   * `burst` a whole number from 0 to 2⁵³−1, TypeError if one of them is not a number.
   */
  constructor(limit: Limit, burst: number) {
    this.#limit = validLimit(limit, "Limiter: limit");
    this.#burst = wholeNumber(burst, "Limiter: burst");
    this.#tokens = burst;
  }

  /** The limit, in events a second. */
  limit(): Limit {
    return this.#limit;
  }

  /** How many events may happen at once. */
  burst(): number {
    return this.#burst;
  }

  /**
   * How many tokens there are at the instant `at`, fractions included; negative while tokens to come are reserved.
   * Throws RangeError if `at` is not finite.
   */
  tokens(at: number | Date = now()): number {
    return this.#tokensAt(this.#nanos(at, "tokens: at"));
  }

  /**
   * Whether n events may happen at the instant `at`. If so, their tokens are taken; if not, nothing has changed.
   *
   * Throws RangeError, with nothing changed, if n is not a whole number from 0 to 2⁵³−1 or `at` is not finite.
   */
  allow(n = 1, at: number | Date = now()): boolean {
    wholeNumber(n, "allow: n");
    const t = this.#nanos(at, "allow: at");
    return this.#limit === Inf || this.#take(n, t, 0) >= 0;
  }

  /**
   * Reserves n events, at `at` or as soon after it as they may happen. The answer says how long to wait before acting.
   * If you decide not to wait, call its `cancel`. If n is more than the burst, it is not `ok`, and nothing has changed.
   *
   * Throws RangeError, with nothing changed, if n is not a whole number from 0 to 2⁵³−1 or `at` is not finite.
   */
  reserve(n = 1, at: number | Date = now()): Reservation {
    wholeNumber(n, "reserve: n");
    return this.#reserve(n, this.#nanos(at, "reserve: at"), Number.POSITIVE_INFINITY);
  }

  /**
   * Waits until n events may happen. Each caller waits for the instant that was reserved at its call. These instants
   * follow the order of the calls, unless a limit is changed, a wait is cancelled, or `at` goes back in between.
   *
   * Rejects with
   * - RangeError, if n is more than the burst of a finite limit, n is not a whole number from 0 to 2⁵³−1, or `at` is
   *   not finite;
   * - the context's error or the signal's reason, if `ctx` has ended or ends while waiting;
   * - Error, at once, if the wait would last beyond the deadline of `ctx`. Its cause is a DeadlineExceeded:
   *   `context.is(err, context.DeadlineExceeded)`. A bare signal has no deadline.
   *
   * A call that rejects at once takes no token. Waits that are cancelled together, or the newest first, leave the
   * bucket as if they had never waited. Any other cancelled wait gives back the tokens that later reservations do not
   * depend on, but never more than it took.
   */
  wait(ctx: Cancel, n = 1, at: number | Date = now()): Promise<void> {
    if (!(Number.isSafeInteger(n) && n >= 0)) return rejectedByCheck(() => wholeNumber(n, "wait: n"));
    try {
      const ms = finiteInstant(at, "wait: at");
      const source = sourceOf(ctx);
      const deadline = isContext(ctx) ? ctx.deadline() : undefined;
      const t = this.#nanosOf(ms);
      const ending = source.poll();
      if (n > this.#burst && this.#limit !== Inf) {
        throw new RangeError(`rate: Wait(n=${n}) exceeds limiter's burst ${this.#burst}`);
      }
      if (ending !== undefined) return failedWith(ending.error());
      const longest = deadline === undefined ? Number.POSITIVE_INFINITY : this.#nanosOf(deadline) - t;
      const previousEvent = this.#lastEvent;
      const reservation = this.#reserve(n, t, longest);
      if (!reservation.ok) {
        const cause = withoutStack(() => new DeadlineExceeded());
        throw new Error(`rate: Wait(n=${n}) would exceed context deadline`, { cause });
      }
      const delay = reservation.delay(ms);
      if (delay === 0) return completed();
      // The reservation just made is the last event.
      const timeToAct = this.#lastEvent;
      const reserved = { sequence: this.#nextSequence++, tokens: n, limit: this.#limit, timeToAct, previousEvent };
      return this.#waiters.parkUntil(ms + delay, source, reserved);
    } catch (error) {
      return failedWith(error);
    }
  }

  /**
   * Changes the limit from the instant `at` on. Tokens that came before it came at the old limit, and reservations keep
   * their times. Throws RangeError, with nothing changed, unless `limit` is from 0 to {@link Inf} and `at` finite.
   */
  setLimit(limit: Limit, at: number | Date = now()): void {
    const valid = validLimit(limit, "setLimit: limit");
    this.#advanceTo(this.#nanos(at, "setLimit: at"));
    this.#limit = valid;
  }

  /**
   * Changes the burst from the instant `at` on. Tokens above a smaller burst are lost. Throws RangeError, with nothing
   * changed, unless `burst` is a whole number from 0 to 2⁵³−1 and `at` finite.
   */
  setBurst(burst: number, at: number | Date = now()): void {
    const valid = wholeNumber(burst, "setBurst: burst");
    this.#advanceTo(this.#nanos(at, "setBurst: at"));
    this.#burst = valid;
  }

  /** An instant in nanoseconds from #base. Throws, calling it `what`, if it is not finite. */
  #nanos(at: number | Date, what: string): number {
    return this.#nanosOf(finiteInstant(at, what));
  }

  #nanosOf(ms: number): number {
    if (Number.isNaN(this.#base)) this.#base = ms;
    return Math.round((ms - this.#base) * 1e6);
  }

  /** The tokens at t. Time that goes back adds none. */
  #tokensAt(t: number): number {
    const elapsed = t > this.#last ? t - this.#last : 0;
    return Math.min(this.#tokens + tokensIn(elapsed, this.#limit), this.#burst);
  }

  /** Adds the tokens that have come until t. */
  #advanceTo(t: number): void {
    this.#tokens = this.#tokensAt(t);
    this.#last = t;
  }

  /**
   * Takes n tokens at t, of a finite limit. Returns how long to wait for them, in nanoseconds. If that is over
   * `longest`, or n over the burst, returns −1 with nothing changed.
   */
  #take(n: number, t: number, longest: number): number {
    const tokens = this.#tokensAt(t) - n;
    const wait = tokens < 0 ? timeFor(-tokens, this.#limit) : 0;
    if (n > this.#burst || wait > longest) return -1;
    this.#last = t;
    this.#tokens = tokens;
    this.#lastEvent = t + wait;
    return wait;
  }

  #reserve(n: number, t: number, longest: number): Reservation {
    // At the limit Inf nothing is taken. As in Go, such a reservation has the limit 0: if it is cancelled after a
    // finite limit was set, all n tokens are added, because at 0 no later reservation can have used any of them.
    if (this.#limit === Inf) return new Reservation(this, true, n, 0, t);
    const wait = this.#take(n, t, longest);
    return new Reservation(this, wait >= 0, n, this.#limit, t + wait);
  }

  /** What {@link Reservation.cancel} does, as Go does it. */
  #giveBack(t: number, reserved: number, limit: Limit, timeToAct: number): void {
    if (this.#limit === Inf || reserved === 0 || timeToAct < t) return;
    const isNewest = timeToAct === this.#lastEvent;
    if (!this.#restore(t, reserved - tokensIn(this.#timeAfter(timeToAct), limit)) || !isNewest) return;
    const previous = timeToAct - timeFor(reserved, limit);
    if (previous >= t) this.#lastEvent = previous;
  }

  /** From `timeToAct` to the last event. The tokens that come in this time are promised to later reservations. */
  #timeAfter(timeToAct: number): number {
    // A reservation that can never act has none after it; Infinity - Infinity would be NaN.
    return timeToAct === Number.POSITIVE_INFINITY ? 0 : this.#lastEvent - timeToAct;
  }

  /** Adds tokens at t; says whether there were any. */
  #restore(t: number, tokens: number): boolean {
    if (tokens <= 0) return false;
    this.#tokens = Math.min(this.#tokensAt(t) + tokens, this.#burst);
    this.#last = t;
    return true;
  }

  /**
   * Gives back what cancelled waits reserved, the newest first: then each of them is the last event in its turn.
   *
   * A cancelled wait differs from a cancelled reservation in three ways. It has certainly not acted: the newest gives
   * its tokens back even if its time has come. The last event before it was remembered, not computed. And it never
   * gives back more than it took. Go gives back more if a later reservation is due earlier, as happens once a wait
   * between the two was cancelled or the limit was raised.
   */
  #giveBackCancelled(): void {
    if (this.#cancelled.length === 0) return;
    const t = this.#nanosOf(now());
    const cancelled = this.#cancelled.sort((a, b) => b.sequence - a.sequence);
    this.#cancelled = [];
    for (const { tokens, limit, timeToAct, previousEvent } of cancelled) {
      // Of two that are due at one instant, as they may be once the limit has changed, each counts as the newest.
      const isNewest = timeToAct === this.#lastEvent;
      if (this.#limit === Inf || (timeToAct < t && !isNewest)) continue;
      const promised = tokensIn(Math.max(this.#timeAfter(timeToAct), 0), limit);
      this.#restore(t, tokens - promised);
      if (isNewest) this.#lastEvent = previousEvent;
    }
  }

  static {
    toNanos = (limiter, at, what) => limiter.#nanos(at, what);
    giveBack = (limiter, t, tokens, limit, timeToAct) => limiter.#giveBack(t, tokens, limit, timeToAct);
  }
}

function validLimit(limit: Limit, what: string): Limit {
  if (typeof limit !== "number") throw new TypeError(`${what} must be a number of events a second, got ${show(limit)}`);
  if (!(limit >= 0)) throw new RangeError(`${what} must be a number of events a second, 0 or more, got ${limit}`);
  return limit;
}

/**
 * Which calls of a {@link Sometimes} act: a call that any of the three names. Each is off if left out, 0 or negative.
 */
export interface SometimesOptions {
  /** The first `first` calls. */
  readonly first?: number;
  /** Calls 1, 1 + `every`, 1 + 2 · `every`, and so on. */
  readonly every?: number;
  /**
   * A call at least `interval` milliseconds after the last one that acted: after its end, or after its `at` if that was
   * given.
   */
  readonly interval?: number;
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
  constructor({ first = 0, every = 0, interval = 0 }: SometimesOptions = {}) {
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
