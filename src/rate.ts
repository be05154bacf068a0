/**
 * Token-bucket rate limiter: `limit` events a second on average, up to `burst` at once.
 *
 * Rules of use:
 *
 * - Most callers should use `wait`, which paces. Use `allow` to drop what exceeds the rate; `reserve` to learn the
 *   delay and decide.
 * - `wait` fails at once if the context's deadline would pass first: nobody queues for what will come too late.
 * - The bucket starts full. A limit of `Inf` allows everything, even with a burst of 0; one of 0 allows no more than
 *   the first burst.
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
 * - Durations are milliseconds: `every(100)`, `reservation.delay()`. Inside, time is whole nanoseconds, as in Go.
 * - `Limit` is a number of events a second; the instant is the last argument and may be left out.
 * - Counts are checked: negative, fractional and NaN ones throw RangeError, as do limits below 0 and NaN, and instants
 *   that are not finite.
 * - A wait that is cancelled gives back exactly what it took where nothing came after it. Go computes that, and on a
 *   real clock loses part of it.
 * - A wait that would outlast the deadline rejects with an error whose cause is DeadlineExceeded. Go's has none.
 */
import { callable, count, duration, finiteInstant, show } from "./internal/data/args.ts";
import { withoutStack } from "./internal/host/errors.ts";
import { now } from "./internal/time/clock.ts";
import { completed, failedBy, failedWith } from "./internal/time/turn.ts";
import { Kind } from "./internal/track/tracker.ts";
import { DeadlineExceeded } from "./internal/wait/endings.ts";
import { isContext, sourceOf } from "./internal/wait/foreign.ts";
import type { Cancel } from "./internal/wait/source.ts";
import { TimedWaiters } from "./internal/wait/timed.ts";

/** Events a second. */
export type Limit = number;

/** The limit that allows everything. */
export const Inf: Limit = Number.POSITIVE_INFINITY;

/** The limit of one event in `ms` milliseconds; {@link Inf} for zero or less. Throws RangeError if `ms` is NaN. */
export function every(ms: number): Limit {
  return duration(ms, "interval") <= 0 ? Inf : 1 / seconds(Math.round(ms * 1e6));
}

const WAIT = new Kind("rate wait", "wait", () => [Limiter.prototype.wait]);

// The longest that a time.Duration can be, 292 years of nanoseconds: Go's InfDuration. From there on we say Infinity.
const LONGEST_DURATION = 2 ** 63;

/** Nanoseconds as seconds, with Go's rounding: whole seconds and the rest apart. */
function seconds(ns: number): number {
  if (!Number.isFinite(ns)) return ns;
  const whole = Math.trunc(ns / 1e9);
  return whole + (ns - whole * 1e9) / 1e9;
}

/** The tokens that come in `ns` nanoseconds. */
function tokensIn(ns: number, limit: Limit): number {
  return ns === 0 || limit === 0 ? 0 : seconds(ns) * limit; // Infinity must not meet 0.
}

/** How long, in whole nanoseconds, `tokens` take to come; Infinity if for ever. */
function timeFor(tokens: number, limit: Limit): number {
  const ns = (tokens / limit) * 1e9;
  return ns > LONGEST_DURATION ? Number.POSITIVE_INFINITY : Math.trunc(ns);
}

/** The promise of a number of events at a time to come. Made by {@link Limiter.reserve}. */
export class Reservation {
  /** False if the events can never happen: more than the burst. Nothing was reserved then. */
  readonly ok: boolean;

  readonly #limiter: Limiter;
  readonly #tokens: number;
  readonly #limit: Limit;
  readonly #timeToAct: number;

  /** @internal `timeToAct` is in the limiter's nanoseconds, `limit` what it was at the time. */
  constructor(limiter: Limiter, ok: boolean, tokens: number, limit: Limit, timeToAct: number) {
    this.ok = ok;
    this.#limiter = limiter;
    this.#tokens = tokens;
    this.#limit = limit;
    this.#timeToAct = timeToAct;
  }

  /**
   * How many milliseconds after `at` the holder must wait before acting: 0 if it may act at once, Infinity if it never
   * may.
   */
  delay(at: number | Date = now()): number {
    if (!this.ok) return Number.POSITIVE_INFINITY;
    return Math.max(this.#timeToAct - toNanos(this.#limiter, at), 0) / 1e6;
  }

  /**
   * Says that the holder will not act, and gives the tokens back as far as later reservations allow. Does nothing once
   * the time to act has passed.
   */
  cancel(at: number | Date = now()): void {
    const t = toNanos(this.#limiter, at);
    if (this.ok) giveBack(this.#limiter, t, this.#tokens, this.#limit, this.#timeToAct);
  }
}

/** What a wait took from the bucket, and what is needed to give it back. */
interface Claim {
  /** Counts the claims of one limiter. */
  readonly sequence: number;
  readonly tokens: number;
  readonly limit: Limit;
  readonly timeToAct: number;
  /** The limiter's last event before this one. */
  readonly previousEvent: number;
}

// For reservations, which live outside the class. Set by its static block.
let toNanos: (limiter: Limiter, at: number | Date) => number;
let giveBack: (limiter: Limiter, t: number, tokens: number, limit: Limit, timeToAct: number) => void;

export class Limiter {
  // Times are whole nanoseconds from #base, the first instant the limiter saw: nanoseconds of the epoch do not fit a
  // double. Between any two calls:
  //   #tokens, which may be negative, is what the bucket held at #last, NaN before anything happened to it;
  //   #lastEvent is the latest time to act of all reservations.
  #base = Number.NaN;
  #limit: Limit;
  #burst: number;
  #tokens: number;
  #last = Number.NaN;
  #lastEvent = Number.NEGATIVE_INFINITY;

  // The waits that have been cancelled and not given back yet. Empty between any two calls.
  #cancelled: Claim[] = [];
  #claims = 0;

  readonly #waiters = new TimedWaiters<Claim>(WAIT, {
    cancelled: (wait) => {
      this.#cancelled.push(wait.value.value);
    },
    abandoned: () => this.#giveBackCancelled(),
  });

  /**
   * Allows `limit` events a second and bursts of `burst`. Throws RangeError unless `limit` is a number from 0 to
   * {@link Inf} and `burst` a whole number from 0 to 2⁵³−1.
   */
  constructor(limit: Limit, burst: number) {
    this.#limit = validLimit(limit);
    this.#burst = count(burst, "burst");
    this.#tokens = burst;
  }

  limit(): Limit {
    return this.#limit;
  }

  burst(): number {
    return this.#burst;
  }

  /** The tokens there are at the instant `at`; negative while reservations are ahead of it. */
  tokens(at: number | Date = now()): number {
    return this.#advance(this.#nanos(at));
  }

  /** Whether n events may happen at the instant `at`; if so, they count as having happened. */
  allow(n = 1, at: number | Date = now()): boolean {
    count(n, "events");
    const t = this.#nanos(at);
    return this.#limit === Inf || this.#take(n, t, 0) >= 0;
  }

  /**
   * Reserves n events. The answer says whether they can happen, and how long to wait first; whoever does not wait calls
   * its `cancel`. A reservation that is not `ok` (n exceeds the burst) has changed nothing.
   */
  reserve(n = 1, at: number | Date = now()): Reservation {
    count(n, "events");
    return this.#reserve(n, this.#nanos(at), Number.POSITIVE_INFINITY);
  }

  /**
   * Waits until n events may happen. Each caller waits for the instant that was reserved at its call: that is the order
   * of the calls, unless a limit is changed or a wait is cancelled in between.
   *
   * Rejects, its tokens given back, with
   * - RangeError, if n exceeds the burst of a finite limit, or is no whole number from 0;
   * - the context's error or the signal's reason, if it has ended or ends while waiting;
   * - Error, at once and without waiting, if the wait would outlast the context's deadline. Its cause is a
   *   DeadlineExceeded: `context.is(err, context.DeadlineExceeded)`.
   *
   * Waits that are cancelled together, or the newest first, leave the bucket as if they had never waited. Any other
   * gives back what the reservations after it have not been promised, as {@link Reservation.cancel} does.
   */
  wait(ctx: Cancel, n = 1, at: number | Date = now()): Promise<void> {
    if (!(Number.isSafeInteger(n) && n >= 0)) return failedBy(() => count(n, "events"));
    try {
      const ms = finiteInstant(at, "at");
      const source = sourceOf(ctx);
      const deadline = isContext(ctx) ? ctx.deadline() : undefined;
      const t = this.#nanos(ms);
      if (n > this.#burst && this.#limit !== Inf) {
        throw new RangeError(`rate: Wait(n=${n}) exceeds limiter's burst ${this.#burst}`);
      }
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
      const most = deadline === undefined ? Number.POSITIVE_INFINITY : this.#nanosOf(deadline) - t;
      const previousEvent = this.#lastEvent;
      const reservation = this.#reserve(n, t, most);
      if (!reservation.ok) {
        const cause = withoutStack(() => new DeadlineExceeded());
        throw new Error(`rate: Wait(n=${n}) would exceed context deadline`, { cause });
      }
      const delay = reservation.delay(ms);
      if (delay === 0) return completed();
      const sequence = this.#claims++;
      const claim = { sequence, tokens: n, limit: this.#limit, timeToAct: this.#lastEvent, previousEvent };
      return this.#waiters.parkUntil(ms + delay, source, claim);
    } catch (error) {
      return failedWith(error);
    }
  }

  /** Changes the limit from the instant `at` on; what came in until then came at the old one. */
  setLimit(limit: Limit, at: number | Date = now()): void {
    const valid = validLimit(limit);
    this.#settle(this.#nanos(at));
    this.#limit = valid;
  }

  /** Changes the burst from the instant `at` on. Tokens above a smaller burst are lost. */
  setBurst(burst: number, at: number | Date = now()): void {
    const valid = count(burst, "burst");
    this.#settle(this.#nanos(at));
    this.#burst = valid;
  }

  #nanos(at: number | Date): number {
    const ms = finiteInstant(at, "at");
    if (Number.isNaN(this.#base)) this.#base = ms;
    return this.#nanosOf(ms);
  }

  #nanosOf(ms: number): number {
    return Math.round((ms - this.#base) * 1e6);
  }

  /** The tokens at t. Time that goes back adds none. */
  #advance(t: number): number {
    const elapsed = t > this.#last ? t - this.#last : 0;
    return Math.min(this.#tokens + tokensIn(elapsed, this.#limit), this.#burst);
  }

  #settle(t: number): void {
    this.#tokens = this.#advance(t);
    this.#last = t;
  }

  /**
   * Takes n tokens at t, of a finite limit. Returns the wait in nanoseconds; −1, with nothing changed, if over `most`.
   */
  #take(n: number, t: number, most: number): number {
    const tokens = this.#advance(t) - n;
    const wait = tokens < 0 ? timeFor(-tokens, this.#limit) : 0;
    if (n > this.#burst || wait > most) return -1;
    this.#last = t;
    this.#tokens = tokens;
    this.#lastEvent = t + wait;
    return wait;
  }

  #reserve(n: number, t: number, most: number): Reservation {
    // Without a limit nothing is taken. Should one be set before the cancel, all n come back: at 0, none is spent
    // since.
    if (this.#limit === Inf) return new Reservation(this, true, n, 0, t);
    const wait = this.#take(n, t, most);
    return new Reservation(this, wait >= 0, n, this.#limit, t + wait);
  }

  #giveBack(t: number, reserved: number, limit: Limit, timeToAct: number): void {
    if (this.#limit === Inf || reserved === 0 || timeToAct < t) return;
    const newest = timeToAct === this.#lastEvent;
    if (!this.#restore(t, reserved, limit, timeToAct) || !newest) return;
    const previous = timeToAct - timeFor(reserved, limit);
    if (previous >= t) this.#lastEvent = previous;
  }

  /** Puts tokens back at t, as far as later reservations allow; says whether there were any to put back. */
  #restore(t: number, reserved: number, limit: Limit, timeToAct: number): boolean {
    // Later reservations were promised their times on the strength of these tokens: what came in between stays spent.
    const after = timeToAct === Number.POSITIVE_INFINITY ? 0 : this.#lastEvent - timeToAct;
    const restored = reserved - tokensIn(after, limit);
    if (restored <= 0) return false;
    this.#tokens = Math.min(this.#advance(t) + restored, this.#burst);
    this.#last = t;
    return true;
  }

  /**
   * Gives back what cancelled waits took. The newest first: then the one before it is the newest, and so on. Unlike a
   * reservation's holder, a wait that was cancelled has certainly not acted, even where its time has come; and what the
   * last event was before it is remembered, not computed.
   */
  #giveBackCancelled(): void {
    if (this.#cancelled.length === 0) return;
    const t = this.#nanos(now());
    const claims = this.#cancelled.sort((a, b) => b.sequence - a.sequence);
    this.#cancelled = [];
    for (const { tokens, limit, timeToAct, previousEvent } of claims) {
      const newest = timeToAct === this.#lastEvent;
      if (this.#limit === Inf || (timeToAct < t && !newest)) continue;
      if (this.#restore(t, tokens, limit, timeToAct) && newest) this.#lastEvent = previousEvent;
    }
  }

  static {
    toNanos = (limiter, at) => limiter.#nanos(at);
    giveBack = (limiter, t, tokens, limit, timeToAct) => limiter.#giveBack(t, tokens, limit, timeToAct);
  }
}

function validLimit(limit: Limit): Limit {
  if (typeof limit !== "number") throw new TypeError(`limit must be a number of events a second, got ${show(limit)}`);
  if (!(limit >= 0)) throw new RangeError(`limit must be a number of events a second, 0 or more, got ${limit}`);
  return limit;
}

/** When a {@link Sometimes} acts. Any of the three is enough. */
export interface SometimesOptions {
  /** The first so many calls. */
  readonly first?: number;
  /** Every n-th call, counted from the first. */
  readonly every?: number;
  /**
   * A call at least so many milliseconds after the last that acted. Counted from its end, or from its `at` if given.
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

  /** A rule of zero or less is none. Throws RangeError unless `first` and `every` are whole and `interval` a number. */
  constructor({ first = 0, every = 0, interval = 0 }: SometimesOptions = {}) {
    this.#first = count(first, "first", Number.MIN_SAFE_INTEGER);
    this.#every = count(every, "every", Number.MIN_SAFE_INTEGER);
    this.#interval = duration(interval, "interval");
  }

  /** Calls `fn` if it is time. If `fn` throws, so does this, and the call does not count. */
  do(fn: () => void, at?: number | Date): void {
    callable(fn, "do's function");
    const t = finiteInstant(at ?? now(), "at");
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
