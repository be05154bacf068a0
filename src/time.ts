/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Time: sleeping, timeouts, timers and tickers. Durations are milliseconds. Instants are epoch milliseconds on a clock
 * that only moves forward, and is not changed when the system's clock is set.
 *
 * Rules of use:
 *
 * - To wait a while, use `sleep(ms, ctx)`. To bound one select, use `after(ms)`. To bound a whole piece of work, use
 *   `context.withTimeout`.
 * - To run a function later, use `afterFunc(ms, fn)`: unlike `setTimeout`, leak checks see it.
 * - A `Ticker` must be stopped, by `stop()` or `using`, and so must a `Timer` that is no longer needed.
 * - Fake timers work: `setTimeout` and the clock are looked up when they are used. A fake must replace both: with
 *   node:test's mocks, enable `Date` as well as `setTimeout`. A clock that is replaced without `setTimeout` is ignored.
 *
 * ```ts
 * import { time } from "gopark";
 *
 * const started = time.now();
 * await time.sleep(5);
 * console.log(time.now() - started >= 5);
 * // Output:
 * // true
 * ```
 *
 * Ports the parts of the time package that wait, and Now. Differences from Go:
 *
 * - Durations are numbers of milliseconds, with fractions, beyond 2³¹−1 and up to Infinity. NaN is refused with
 *   RangeError. A sleep of Infinity ends only when its context or signal ends.
 * - `sleep` takes a context or a signal, and rejects when that ends. Go's `Sleep` cannot be interrupted.
 * - `after(ms)` is a case of a select, not a channel. Its instant is fixed at the call, as in Go, but the host's timer
 *   is armed only while a select is parked on it, so one that is not needed leaves nothing behind. It becomes ready
 *   once.
 * - The channel of a `Timer` and of a `Ticker` is the property `c`, which can only be received from. As since Go 1.23,
 *   its `len()` and `cap()` are 0, and after `stop` or `reset` nothing stale is received.
 * - A timer or ticker is not freed by the garbage collector while it is armed, so it must be stopped. Since Go 1.23 it
 *   is freed once nothing refers to it.
 * - `new Ticker(0)` throws RangeError, and so do negative periods and Infinity. Go panics for 0 and negative periods.
 * - `afterFunc` runs its function in the async context of the call that set it, and keeps the process alive until then.
 * - A timer, a ticker or an `after` that is due is seen before the event loop turns, by any operation that looks for
 *   it: `timer.c.tryReceive()`.
 * - A process stays alive while a function of `afterFunc` is to run, and while something waits for a finite instant. A
 *   deadline is one, except that of a context of another implementation. An armed timer or ticker that nothing waits
 *   for lets the process exit.
 */
import type { ReceiveChannel, Received } from "./channel.ts";
import { callable, duration } from "./internal/data/args.ts";
import { List } from "./internal/data/list.ts";
import { disposable } from "./internal/host/dispose.ts";
import { now } from "./internal/time/clock.ts";
import { type Alarm, arm, disarm, fireNow, refTimer, unrefTimer } from "./internal/time/timers.ts";
import { chargedReaction, completed, failedWith, rejectedByCheck } from "./internal/time/turn.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import { enter, exit, Kind } from "./internal/track/tracker.ts";
import { optionalSource } from "./internal/wait/foreign.ts";
import { InternalChannel } from "./internal/wait/receive.ts";
import type { Cancel } from "./internal/wait/source.ts";
import { TimedWaiters } from "./internal/wait/timed.ts";
import { type CaseResult, DEQUEUE, ENQUEUE, type Parked, READY, TAKE } from "./internal/wait/waitable.ts";

export { now } from "./internal/time/clock.ts";

const SLEEP = new Kind("sleep", "wait", () => [sleep]);
const TIMER = new Kind("timer", "resource", () => [
  Timer,
  Timer.prototype.reset,
  afterFunc,
  FunctionAlarm.prototype.reset,
]);
const TICKER = new Kind("ticker", "resource", () => [Ticker, Ticker.prototype.reset]);

const sleepers = new TimedWaiters<undefined>(SLEEP);

/**
 * Waits for `ms` milliseconds. Zero or less resolves at once. A finite sleep keeps the process alive.
 *
 * Rejects, its timer disarmed, with
 * - the context's error or the signal's reason, if `cancel` has ended (even for a sleep of 0) or ends while waiting;
 * - RangeError, if `ms` is NaN, or TypeError, if it is not a number.
 */
export function sleep(ms: number, cancel?: Cancel): Promise<void> {
  if (typeof ms !== "number" || Number.isNaN(ms)) return rejectedByCheck(() => duration(ms, "sleep: ms"));
  const source = optionalSource(cancel);
  const ending = source?.poll();
  if (ending !== undefined) return failedWith(ending.error());
  return ms <= 0 ? completed() : sleepers.parkUntil(now() + ms, source, undefined);
}

/** A timeout, as a case of a select. Made by {@link after}. */
export class After {
  /** When it becomes ready, in epoch milliseconds. */
  readonly when: number;

  /** @internal Its place among the alarms: armed exactly while a select is parked on it, unless `when` is Infinity. */
  index = -1;

  // The selects that are parked on it. Made for the first one, as most are never parked on.
  #parked: List<Parked> | undefined = undefined;

  // Set when a select has got the instant. It is never ready again.
  #taken = false;

  /** @internal */
  constructor(when: number) {
    this.when = when;
  }

  /** @internal Called when it is due while it is armed, so at least one select is parked on it. */
  fire(): void {
    this.#taken = true;
    // Any other select that is parked on it waits for its other cases alone from now on.
    const first = (this.#parked as List<Parked>).shift() as Parked;
    unrefTimer();
    first.fire(now());
  }

  /** @internal Fires it if it is due and a select is parked on it already: that select comes first. */
  poll(): undefined {
    if (this.index >= 0 && now() >= this.when) fireNow(this);
  }

  /** @internal False while a select is parked on it: that one comes first, and READY must not claim it. */
  [READY](): boolean {
    return !this.#taken && this.index < 0 && now() >= this.when;
  }

  /** @internal */
  [TAKE](key: string): CaseResult {
    this.#taken = true;
    return { case: key, value: now() };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    if (this.#taken) return;
    this.#parked ??= new List();
    this.#parked.push(parked);
    if (this.#parked.size > 1 || this.when === Number.POSITIVE_INFINITY) return;
    arm(this);
    refTimer();
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    if (this.#parked?.remove(parked) && this.#parked.size === 0 && disarm(this)) unrefTimer();
  }
}

/**
 * A case of a select that becomes ready once, `ms` milliseconds from this call. Used again in a later select it means
 * the same instant, so one `after` made before a loop bounds the whole loop. Of several selects that wait for it, the
 * one that parked first gets it.
 *
 * Throws RangeError if `ms` is NaN, TypeError if it is not a number. Infinity is never ready.
 */
export function after(ms: number): After {
  return new After(now() + duration(ms, "after: ms"));
}

/** The channel of a timer or ticker, and the alarm that sends on it. */
abstract class TimerChannel extends InternalChannel<number> implements Alarm {
  when = Number.POSITIVE_INFINITY;
  index = -1;

  // The instant that was sent when nobody waited, until it is received.
  private buffered: number | undefined = undefined;
  private readonly kind: Kind;

  // The record of the armed alarm, under full tracking.
  private record: LeakRecord | undefined = undefined;

  constructor(kind: Kind) {
    super();
    this.kind = kind;
  }

  abstract fire(): void;

  receiveNow(): Received<number> | undefined {
    if (!this.hasValue()) return undefined;
    const value = this.buffered as number;
    this.buffered = undefined;
    return { value, ok: true };
  }

  /** Arms the alarm, which is not armed, for `when`, and counts it. At Infinity it does neither. */
  start(when: number): void {
    this.when = when;
    arm(this);
    if (this.index < 0) return;
    this.record = enter(this.kind);
    this.receivers.setRef(true);
  }

  /** Disarms and drains; reports whether it was armed, or had sent an instant that nobody received. */
  stop(): boolean {
    const active = this.index >= 0 || this.buffered !== undefined;
    if (disarm(this)) this.uncount();
    this.buffered = undefined;
    return active;
  }

  /** Takes back what {@link start} counted, once the alarm is not armed any more. */
  protected uncount(): void {
    exit(this.kind, this.record);
    this.receivers.setRef(false);
  }

  /** Hands an instant to the first receiver, or else buffers it; drops it if one is buffered already. */
  protected deliver(at: number): void {
    if (!this.receivers.wakeOne({ value: at, ok: true })) this.buffered ??= at;
  }

  /** Looks at the clock: an instant that is due is sent now, though the host timer has not come to it. */
  override poll(): undefined {
    if (this.index >= 0 && now() >= this.when) fireNow(this);
  }

  protected override hasValue(): boolean {
    return this.buffered !== undefined;
  }
}

class OneShot extends TimerChannel {
  constructor() {
    super(TIMER);
  }

  fire(): void {
    this.uncount();
    this.deliver(now());
  }
}

class Periodic extends TimerChannel {
  period = 0;

  constructor() {
    super(TICKER);
  }

  fire(): void {
    const t = now();
    // Stay on the grid of the first tick: a late one does not delay those after it, and missed ones are dropped.
    this.when += this.period * (1 + Math.floor((t - this.when) / this.period));
    // A period may be less than the clock can tell apart: the next tick must be later than this one.
    this.when = Math.max(this.when, t + 0.001);
    arm(this);
    this.deliver(t);
  }
}

/**
 * A single event: `c` gets the instant once, `ms` milliseconds after the timer was made or last reset. After `stop` or
 * `reset` has returned, nothing stale is received.
 *
 * An armed timer is counted, and leak checks report it.
 */
export class Timer {
  readonly #channel = new OneShot();

  /** Zero or less is due at once, Infinity never. Throws RangeError if `ms` is NaN, TypeError if it is not a number. */
  constructor(ms: number) {
    this.#channel.start(now() + duration(ms, "Timer: ms"));
  }

  /** Gets the instant at which the timer fires, in epoch milliseconds. Not closed by `stop`. */
  get c(): ReceiveChannel<number> {
    return this.#channel;
  }

  /**
   * Disarms the timer and drops an instant that nobody has received; reports whether there was anything to stop. False
   * if the instant has been received, the timer was stopped before, or it was set to Infinity.
   */
  stop(): boolean {
    return this.#channel.stop();
  }

  /**
   * Stops the timer and sets it to fire `ms` milliseconds from now. Returns what {@link stop} would have. Throws, with
   * nothing changed, RangeError if `ms` is NaN, TypeError if it is not a number.
   */
  reset(ms: number): boolean {
    const when = now() + duration(ms, "reset: ms");
    const active = this.#channel.stop();
    this.#channel.start(when);
    return active;
  }

  /** Stops at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.stop);
  }
}

/** A function that is to run once: what {@link afterFunc} returns. */
export interface FuncTimer {
  /** Keeps the function from running; reports whether it did. False if it was triggered or stopped before. */
  stop(): boolean;

  /**
   * Stops the timer, and sets the function to run `ms` milliseconds from now, though it has run before. Returns what
   * {@link stop} would have. Throws, with nothing changed, RangeError if `ms` is NaN, TypeError if it is not a number.
   */
  reset(ms: number): boolean;

  /** Stops at the end of a `using` block. */
  readonly [Symbol.dispose]: () => void;
}

class FunctionAlarm implements FuncTimer, Alarm {
  when = Number.POSITIVE_INFINITY;
  index = -1;
  readonly #fn: () => unknown;

  // Runs the function, in the async context of the call that set it.
  #trigger!: () => void;

  // The record of the armed alarm, under full tracking.
  #record: LeakRecord | undefined = undefined;

  constructor(fn: () => unknown) {
    this.#fn = fn;
  }

  start(when: number): void {
    this.when = when;
    const fn = this.#fn;
    this.#trigger = chargedReaction(() => fn());
    arm(this);
    if (this.index < 0) return;
    this.#record = enter(TIMER);
    refTimer();
  }

  fire(): void {
    this.#uncount();
    this.#trigger();
  }

  stop(): boolean {
    const stopped = disarm(this);
    if (stopped) this.#uncount();
    return stopped;
  }

  reset(ms: number): boolean {
    const when = now() + duration(ms, "reset: ms");
    const stopped = this.stop();
    this.start(when);
    return stopped;
  }

  declare readonly [Symbol.dispose]: () => void;

  #uncount(): void {
    exit(TIMER, this.#record);
    unrefTimer();
  }

  static {
    disposable(this.prototype, this.prototype.stop);
  }
}

/**
 * Runs `fn` in `ms` milliseconds; in a later turn of the event loop for zero or less; never for Infinity. Returns what
 * stops or resets it.
 *
 * `fn` runs in a microtask, in the async context of this call or of the `reset`, and may be async. An error that it
 * throws is reported as an unhandled rejection. The armed timer is counted, and leak checks report it.
 *
 * Throws, with nothing changed, RangeError if `ms` is NaN, TypeError if it is not a number or `fn` not a function.
 */
export function afterFunc(ms: number, fn: () => unknown): FuncTimer {
  const when = now() + duration(ms, "afterFunc: ms");
  const alarm = new FunctionAlarm(callable(fn, "afterFunc: fn"));
  alarm.start(when);
  return alarm;
}

/**
 * Ticks: `c` gets the instant every `ms` milliseconds. A tick is dropped while the last one has not been received, so a
 * slow receiver skips ticks and never falls behind.
 *
 * A ticker stays armed until it is stopped; leak checks report it.
 */
export class Ticker {
  readonly #channel = new Periodic();

  /** Throws RangeError unless `ms` is positive and finite, TypeError if it is not a number. */
  constructor(ms: number) {
    this.#start(ms, "Ticker: ms");
  }

  /** Gets the instant of each tick, in epoch milliseconds. Not closed by `stop`. */
  get c(): ReceiveChannel<number> {
    return this.#channel;
  }

  /** Ends the ticking, and drops a tick that nobody has received. */
  stop(): void {
    this.#channel.stop();
  }

  /**
   * Ticks every `ms` milliseconds from now on, first in `ms`, whether or not the ticker was stopped. Throws, with
   * nothing changed, RangeError unless `ms` is positive and finite, TypeError if it is not a number.
   */
  reset(ms: number): void {
    this.#start(ms, "reset: ms");
  }

  /** Stops at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  #start(ms: number, what: string): void {
    duration(ms, what);
    if (!(ms > 0 && ms < Number.POSITIVE_INFINITY)) {
      throw new RangeError(`${what} must be positive and finite, got ${ms}`);
    }
    this.#channel.stop();
    this.#channel.period = ms;
    this.#channel.start(now() + ms);
  }

  static {
    disposable(this.prototype, this.prototype.stop);
  }
}
