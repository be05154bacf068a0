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
 *   mocks, enable `Date` beside `setTimeout`.
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
 * - Durations past 2³¹−1 ms, and Infinity, work. A wait of Infinity ends by its `cancel` alone.
 * - A process stays alive while something waits for a finite instant; an armed timer that nobody waits for lets it exit.
 */
import { Channel, type ReceiveChannel } from "./channel.ts";
import { type Cancel, refused } from "./internal/cancel.ts";
import { now } from "./internal/clock.ts";
import { disposable } from "./internal/dispose.ts";
import { duration } from "./internal/errors.ts";
import { List } from "./internal/list.ts";
import { type Owner, Park } from "./internal/park.ts";
import { type Alarm, arm, disarm, drop, HoldingList, hold } from "./internal/timers.ts";
import { closed, type Entry, Kind, opened } from "./internal/tracker.ts";
import { completed } from "./internal/turn.ts";
import { DEQUEUE, ENQUEUE, type Outcome, type Parked, READY, TAKE } from "./internal/waitable.ts";

export { now } from "./internal/clock.ts";

const SLEEP = new Kind("sleep");
const TIMER = new Kind("timer");
const TICKER = new Kind("ticker");

/** A sleeper. A finite sleep keeps the process alive. */
class Sleep implements Alarm, Owner {
  readonly park: Park<void>;
  readonly when: number;
  index = -1;

  constructor(when: number, cancel: Cancel | undefined) {
    this.park = new Park(SLEEP, cancel, undefined, this);
    this.when = when;
    if (when !== Number.POSITIVE_INFINITY) hold();
    arm(this);
  }

  fire(): void {
    this.#end();
    this.park.resolve();
  }

  cancelled(): void {
    disarm(this);
    this.#end();
  }

  #end(): void {
    if (this.when !== Number.POSITIVE_INFINITY) drop();
  }
}

/**
 * Waits for `ms` milliseconds. Zero or less resolves at once.
 *
 * Rejects, its timer disarmed, with
 * - the context's error or the signal's reason, if `cancel` is done (even for a sleep of 0) or ends while waiting;
 * - RangeError, if `ms` is NaN.
 */
export function sleep(ms: number, cancel?: Cancel): Promise<void> {
  try {
    duration(ms, "sleep");
  } catch (error) {
    return Promise.reject(error);
  }
  const refusal = cancel === undefined ? undefined : refused(cancel);
  if (refusal !== undefined) return refusal;
  return ms <= 0 ? completed() : new Sleep(now() + ms, cancel).park.promise;
}

/** A timeout in a select's case. Made by {@link after}. */
export class After {
  /** When it becomes ready, in epoch milliseconds. */
  readonly when: number;

  /** @internal Its place among the alarms: armed exactly while a select is parked on it. */
  index = -1;

  // Made by the first select that parks on it: most never are.
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
    first?.fire(now());
  }

  /** @internal */
  [READY](): boolean {
    return !this.taken && now() >= this.when;
  }

  /** @internal */
  [TAKE](key: string): Outcome {
    this.taken = true;
    return { case: key, value: now() };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    if (this.taken) return;
    this.parked ??= this.when === Number.POSITIVE_INFINITY ? new List() : new HoldingList();
    if (this.parked.size === 0) arm(this);
    this.parked.push(parked);
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    if (this.parked?.remove(parked) && this.parked.size === 0) disarm(this);
  }
}

/**
 * A case of a select that becomes ready once, `ms` milliseconds from this call. Used again in a later select it means
 * the same instant, so one `after` made before a loop bounds the whole loop. Throws RangeError if `ms` is NaN.
 */
export function after(ms: number): After {
  return new After(now() + duration(ms, "after"));
}

/** A channel that gets instants, and what sends them. */
abstract class Clockwork implements Alarm {
  when = Number.POSITIVE_INFINITY;
  index = -1;
  readonly channel = new Channel<number>(1, new HoldingList());
  readonly #kind: Kind;
  #entry: Entry | undefined = undefined;

  constructor(kind: Kind) {
    this.#kind = kind;
  }

  abstract fire(): void;

  /** Arms for `when`; it is not armed. */
  start(when: number): void {
    this.when = when;
    arm(this);
    if (this.index >= 0) this.#entry = opened(this.#kind);
  }

  /** Disarms and drains; says whether it was armed, or had sent an instant that nobody received. */
  stop(): boolean {
    const armed = disarm(this);
    if (armed) this.ended();
    return this.channel.tryReceive() !== undefined || armed;
  }

  ended(): void {
    closed(this.#kind, this.#entry);
  }
}

class Once extends Clockwork {
  constructor() {
    super(TIMER);
  }

  fire(): void {
    this.ended();
    this.channel.trySend(now());
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
    arm(this);
    this.channel.trySend(t);
  }
}

/**
 * A single event: `c` gets the instant once, `ms` milliseconds after the making or the last `reset`.
 *
 * As since Go 1.23, nothing stale is received after `stop` or `reset` have returned.
 */
export class Timer {
  readonly #clockwork = new Once();

  /** Throws RangeError if `ms` is NaN. Zero or less fires in the next turn; Infinity never. */
  constructor(ms: number) {
    this.#clockwork.start(now() + duration(ms, "timer"));
  }

  /** Gets the instant of firing, in epoch milliseconds. */
  get c(): ReceiveChannel<number> {
    return this.#clockwork.channel;
  }

  /** Prevents the firing. False if the timer had fired, and its instant was received, or was stopped before. */
  stop(): boolean {
    return this.#clockwork.stop();
  }

  /** Fires `ms` from now instead. Returns what {@link stop} would have. Throws RangeError, changing nothing, for NaN. */
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
    return this.#clockwork.channel;
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
