/** The token bucket of golang.org/x/time/rate, with Go's arithmetic to the nanosecond. */

// Go's InfDuration, the longest time.Duration, in nanoseconds: 292 years. A longer time counts as Infinity here.
const LONGEST_DURATION = 2 ** 63;

/** Nanoseconds as seconds, with Go's rounding: whole seconds and the rest apart. */
export function seconds(ns: number): number {
  if (!Number.isFinite(ns)) return ns;
  const whole = Math.trunc(ns / 1e9);
  return whole + (ns - whole * 1e9) / 1e9;
}

/** The tokens that come in `ns` nanoseconds. */
function tokensIn(ns: number, limit: number): number {
  return ns === 0 || limit === 0 ? 0 : seconds(ns) * limit; // Apart, because Infinity * 0 is NaN.
}

/** How long `tokens` take to come, in whole nanoseconds; Infinity if they never do. */
function timeFor(tokens: number, limit: number): number {
  const ns = (tokens / limit) * 1e9;
  return ns > LONGEST_DURATION ? Number.POSITIVE_INFINITY : Math.trunc(ns);
}

/** What one or more buckets gain and hold, and the clock that they share. */
export class Rate {
  /** Tokens a second, from 0 to Infinity. */
  limit: number;
  /** How many tokens a bucket holds at most. */
  burst: number;

  // The first instant that was asked for. A double cannot hold nanoseconds of the epoch exactly; counted from here they
  // are exact for 104 days.
  private base = Number.NaN;

  constructor(limit: number, burst: number) {
    this.limit = limit;
    this.burst = burst;
  }

  /** A finite instant in whole nanoseconds, as the methods of a bucket take it. */
  nanos(ms: number): number {
    if (Number.isNaN(this.base)) this.base = ms;
    return Math.round((ms - this.base) * 1e6);
  }

  /** As {@link nanos}, for a look that is not to count as the first: 0 before it, when every bucket is full. */
  peekNanos(ms: number): number {
    return Number.isNaN(this.base) ? 0 : this.nanos(ms);
  }
}

/** What a wait has taken from a bucket, and what is needed to give it back. */
export interface Taken {
  readonly tokens: number;
  readonly limit: number;
  readonly timeToAct: number;
  /** The bucket's `lastEvent` before the tokens were taken. */
  readonly previousEvent: number;
}

export class Bucket {
  readonly rate: Rate;

  // Between any two calls:
  //   tokens is what the bucket held at `last`: more than the burst if that was lowered since, negative while tokens to
  //   come are reserved;
  //   last is the instant of the last change, NaN before the first;
  //   lastEvent is the time to act of the newest call that was allowed at a finite limit, even for 0 events, and did
  //   not give its tokens back, −Infinity before the first. (Where `giveBack` gives back the newest, it computes the
  //   one before it, as Go does.)
  private tokens: number;
  private last = Number.NaN;
  lastEvent: number = Number.NEGATIVE_INFINITY;

  /** A full bucket. */
  constructor(rate: Rate) {
    this.rate = rate;
    this.tokens = rate.burst;
  }

  /** The tokens at t. Time that goes back adds none. */
  tokensAt(t: number): number {
    const { limit, burst } = this.rate;
    const elapsed = t > this.last ? t - this.last : 0;
    return Math.min(this.tokens + tokensIn(elapsed, limit), burst);
  }

  /** Whether the bucket holds at t all that it can, as a new one does. */
  isFull(t: number): boolean {
    return this.tokensAt(t) >= this.rate.burst;
  }

  /** Adds the tokens that have come until t. To be called before the rate changes. */
  advanceTo(t: number): void {
    this.tokens = this.tokensAt(t);
    this.last = t;
  }

  /**
   * Takes n tokens at t, of a finite limit. Returns how long to wait for them, in nanoseconds. If that is over
   * `longest`, or n over the burst, returns −1 with nothing changed.
   */
  take(n: number, t: number, longest: number): number {
    const { limit, burst } = this.rate;
    const tokens = this.tokensAt(t) - n;
    const wait = tokens < 0 ? timeFor(-tokens, limit) : 0;
    if (n > burst || wait > longest) return -1;
    this.last = t;
    this.tokens = tokens;
    this.lastEvent = t + wait;
    return wait;
  }

  /** Gives back at t what a reservation took, as Go does. */
  giveBack(t: number, reserved: number, limit: number, timeToAct: number): void {
    if (this.rate.limit === Number.POSITIVE_INFINITY || reserved === 0 || timeToAct < t) return;
    const isNewest = timeToAct === this.lastEvent;
    if (!this.restore(t, reserved - tokensIn(this.timeAfter(timeToAct), limit)) || !isNewest) return;
    const previous = timeToAct - timeFor(reserved, limit);
    if (previous >= t) this.lastEvent = previous;
  }

  /**
   * Gives back at t what a cancelled wait took. Of waits that are cancelled together the newest comes first: then each
   * of them is the last event in its turn.
   *
   * It differs from {@link giveBack} in three ways. A cancelled wait has certainly not acted: the newest gives its
   * tokens back even if its time has come. The last event before it was remembered, not computed. And it never gives
   * back more than it took. Go gives back more if a later reservation is due earlier, as happens once a wait between
   * the two was cancelled or the limit was raised.
   */
  undo({ tokens, limit, timeToAct, previousEvent }: Taken, t: number): void {
    // Of two that are due at one instant, as they may be once the limit has changed, each counts as the newest.
    const isNewest = timeToAct === this.lastEvent;
    if (this.rate.limit === Number.POSITIVE_INFINITY || (timeToAct < t && !isNewest)) return;
    this.restore(t, tokens - tokensIn(Math.max(this.timeAfter(timeToAct), 0), limit));
    if (isNewest) this.lastEvent = previousEvent;
  }

  /** From `timeToAct` to the last event. The tokens that come in this time are promised to later reservations. */
  private timeAfter(timeToAct: number): number {
    // A reservation that can never act has none after it; Infinity - Infinity would be NaN.
    return timeToAct === Number.POSITIVE_INFINITY ? 0 : this.lastEvent - timeToAct;
  }

  /** Adds tokens at t; reports whether there were any. */
  private restore(t: number, tokens: number): boolean {
    if (tokens <= 0) return false;
    this.tokens = Math.min(this.tokensAt(t) + tokens, this.rate.burst);
    this.last = t;
    return true;
  }
}
