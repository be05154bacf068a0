/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Time: sleeping, timeouts, timers and tickers. Durations are milliseconds, instants epoch milliseconds on a clock that
 * only moves forward, whatever happens to the system's.
 *
 * Rules of use:
 *
 * - To wait a while, `sleep(ms, ctx)`. To bound one select, `after(ms)`. To bound a whole piece of work, `withTimeout`.
 * - A `Ticker` must be stopped, by `stop()` or `using`; a `Timer` when it is no longer needed.
 * - Fake timers are obeyed: `setTimeout` and the clock are looked up when used. They must move both: with node:test's
 *   mocks, enable `Date` beside `setTimeout`. A clock that is replaced without `setTimeout` does not count.
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
 * Ports the time package. Differences from Go:
 *
 * - `after(ms)` is a case of a select and no channel. Its instant is fixed at the call, as in Go, but the host's timer
 *   is armed only while a select is parked on it, so one that is not needed leaves nothing behind.
 * - What is due is seen before the event loop turns, by whatever looks: `timer.c.tryReceive()`.
 * - Durations past 2³¹−1 ms, and Infinity, work. A wait of Infinity ends by its `cancel` alone.
 * - A process stays alive while something waits for a finite instant; an armed timer that nobody waits for lets it
 *   exit.
 */
import type { ReceiveChannel, Received } from "./channel.ts";
import { duration } from "./internal/data/args.ts";
import { List } from "./internal/data/list.ts";
import { disposable } from "./internal/host/dispose.ts";
import { now } from "./internal/time/clock.ts";
import { type Alarm, arm, disarm, fireNow, refTimer, unrefTimer } from "./internal/time/timers.ts";
import { completed, failedBy, failedWith } from "./internal/time/turn.ts";
import { type Entry, enter, exit, Kind } from "./internal/track/tracker.ts";
import { sourceOf } from "./internal/wait/foreign.ts";
import { InternalChannel } from "./internal/wait/receive.ts";
import type { Cancel, Source } from "./internal/wait/source.ts";
import { TimedWaiters } from "./internal/wait/timed.ts";
import { DEQUEUE, ENQUEUE, type Outcome, type Parked, READY, TAKE } from "./internal/wait/waitable.ts";

export { now } from "./internal/time/clock.ts";

const SLEEP = new Kind("sleep", "wait", () => [sleep]);
const TIMER = new Kind("timer", "resource", () => [Timer, Timer.prototype.reset]);
const TICKER = new Kind("ticker", "resource", () => [Ticker, Ticker.prototype.reset]);

const sleepers = new TimedWaiters<undefined>(SLEEP);

/**
 * Waits for `ms` milliseconds. Zero or less resolves at once. A finite sleep keeps the process alive.
 *
 * Rejects, its timer disarmed, with
 * - the context's error or the signal's reason, if `cancel` is done (even for a sleep of 0) or ends while waiting;
 * - RangeError, if `ms` is NaN.
 */
export function sleep(ms: number, cancel?: Cancel): Promise<void> {
  if (typeof ms !== "number" || Number.isNaN(ms)) return failedBy(() => duration(ms, "sleep"));
  let source: Source | undefined;
  if (cancel !== undefined) {
    source = sourceOf(cancel);
    const ending = source.poll();
    if (ending !== undefined) return failedWith(ending.error());
  }
  return ms <= 0 ? completed() : sleepers.parkUntil(now() + ms, source, undefined);
}

/** A timeout in a select's case. Made by {@link after}. */
export class After {
  /** When it becomes ready, in epoch milliseconds. */
  readonly when: number;

  /** @internal Its place among the alarms: armed exactly while a select is parked on it. */
  index = -1;

  // The selects that are parked on it. Made by the first one: most never are.
  private parked: List<Parked> | undefined = undefined;
  private taken = false;

  /** @internal */
  constructor(when: number) {
    this.when = when;
  }

  /** @internal */
  fire(): void {
    this.taken = true;
    const first = this.parked?.shift();
    // It is ready once: any other select that is parked on it waits for its other cases from now on.
    while (this.parked?.shift() !== undefined);
    if (first !== undefined) unrefTimer();
    first?.fire(now());
  }

  /** @internal */
  [READY](): boolean {
    if (this.taken || now() < this.when) return false;
    // A select that is parked on it was first, if the host timer has not come to it.
    if (this.index >= 0) fireNow(this);
    return !this.taken;
  }

  /** @internal */
  [TAKE](key: string): Outcome {
    this.taken = true;
    return { case: key, value: now() };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    if (this.taken) return;
    this.parked ??= new List();
    this.parked.push(parked);
    if (this.parked.size > 1 || this.when === Number.POSITIVE_INFINITY) return;
    arm(this);
    refTimer();
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    if (this.parked?.remove(parked) && this.parked.size === 0 && disarm(this)) unrefTimer();
  }
}

/**
 * A case of a select that becomes ready once, `ms` milliseconds from this call. Used again in a later select it means
 * the same instant, so one `after` made before a loop bounds the whole loop. Throws RangeError if `ms` is NaN.
 */
export function after(ms: number): After {
  return new After(now() + duration(ms, "after"));
}

/** The channel of a timer or ticker, and the alarm that sends on it. Receiving looks at the clock. */
abstract class Clockwork extends InternalChannel<number> implements Alarm {
  when = Number.POSITIVE_INFINITY;
  index = -1;

  // The instant that was sent and not received yet.
  private sent: number | undefined = undefined;
  private readonly kind: Kind;
  private entry: Entry | undefined = undefined;

  constructor(kind: Kind) {
    super();
    this.kind = kind;
  }

  abstract fire(): void;

  take(): Received<number> | undefined {
    if (!this.ready()) return undefined;
    const value = this.sent as number;
    this.sent = undefined;
    return { value, ok: true };
  }

  /** Arms for `when`; it is not armed. */
  start(when: number): void {
    this.when = when;
    arm(this);
    if (this.index < 0) return; // At Infinity.
    this.entry = enter(this.kind);
    this.receivers.setRef(true);
  }

  /** Disarms and drains; says whether it was armed, or had sent an instant that nobody received. */
  stop(): boolean {
    const active = this.index >= 0 || this.sent !== undefined;
    if (disarm(this)) this.disarmed();
    this.sent = undefined;
    return active;
  }

  /** It is not armed any more. */
  protected disarmed(): void {
    exit(this.kind, this.entry);
    this.receivers.setRef(false);
  }

  /** Hands an instant to a receiver, or keeps it for the next, unless the last one is still there. */
  protected deliver(at: number): void {
    if (!this.receivers.wakeOne({ value: at, ok: true })) this.sent ??= at;
  }

  protected override ready(): boolean {
    if (this.sent === undefined && this.index >= 0 && now() >= this.when) fireNow(this);
    return this.sent !== undefined;
  }
}

class Once extends Clockwork {
  constructor() {
    super(TIMER);
  }

  fire(): void {
    this.disarmed();
    this.deliver(now());
  }
}

class Periodic extends Clockwork {
  period = 0;

  constructor() {
    super(TICKER);
  }

  fire(): void {
    const t = now();
    // Stay on the grid of the first tick: a late one does not delay those after it, and missed ones are dropped.
    this.when += this.period * (1 + Math.floor((t - this.when) / this.period));
    // A period may be less than the clock can tell apart.
    this.when = Math.max(this.when, t + 0.001);
    arm(this);
    this.deliver(t);
  }
}

/**
 * A single event: `c` gets the instant once, `ms` milliseconds after the making or the last `reset`.
 *
 * As since Go 1.23, nothing stale is received after `stop` or `reset` have returned.
 */
export class Timer {
  readonly #clockwork = new Once();

  /** Throws RangeError if `ms` is NaN. Zero or less is due at once; Infinity never. */
  constructor(ms: number) {
    this.#clockwork.start(now() + duration(ms, "timer"));
  }

  /** Gets the instant of firing, in epoch milliseconds. */
  get c(): ReceiveChannel<number> {
    return this.#clockwork;
  }

  /** Prevents the firing. False if the timer had fired, and its instant was received, or was stopped before. */
  stop(): boolean {
    return this.#clockwork.stop();
  }

  /**
   * Fires `ms` from now instead. Returns what {@link stop} would have. Throws RangeError, changing nothing, for NaN.
   */
  reset(ms: number): boolean {
    const when = now() + duration(ms, "timer");
    const active = this.#clockwork.stop();
    this.#clockwork.start(when);
    return active;
  }

  /** Stops at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.stop);
  }
}

/**
 * Ticks: `c` gets the instant every `ms` milliseconds. A tick that finds the last one not yet received is dropped, so
 * a slow receiver skips ticks and never falls behind.
 *
 * An unstopped ticker stays armed; leak checks report it.
 */
export class Ticker {
  readonly #clockwork = new Periodic();

  /** Throws RangeError unless `ms` is positive and finite. */
  constructor(ms: number) {
    this.reset(ms);
  }

  /** Gets the instant of each tick, in epoch milliseconds. Not closed by `stop`. */
  get c(): ReceiveChannel<number> {
    return this.#clockwork;
  }

  /** Ends the ticking. A tick not yet received is dropped. */
  stop(): void {
    this.#clockwork.stop();
  }

  /** Ticks every `ms` from now on, first in `ms`. Throws RangeError, changing nothing, unless positive and finite. */
  reset(ms: number): void {
    duration(ms, "ticker period");
    if (!(ms > 0 && ms < Number.POSITIVE_INFINITY)) {
      throw new RangeError(`ticker period must be positive and finite, got ${ms}`);
    }
    this.#clockwork.stop();
    this.#clockwork.period = ms;
    this.#clockwork.start(now() + ms);
  }

  /** Stops at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.stop);
  }
}
