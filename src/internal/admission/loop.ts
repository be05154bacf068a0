/**
 * How late the event loop is: how long it has kept a timer waiting.
 *
 * A timer ticks while there are users. The delay is how much later than due it came, or, before it has come, how much
 * later than due it is already: a check that runs inside a long block, or right after it and before the timers, sees
 * the block too. (A histogram of `monitorEventLoopDelay` is written when the timer comes, so that it misses this one.)
 * Without users there is no timer, nor after a second in which none came or went.
 */
import { now } from "../time/clock.ts";
import { type Alarm, arm, disarm } from "../time/timers.ts";

/** Every so many milliseconds the timer ticks, and for so long a delay that has been seen counts. */
const TICK = 20;

/** After so many ticks in which no user came or went, it stops. */
const QUIET_TICKS = 50;

export class LoopDelay implements Alarm {
  when = 0;
  index = -1;

  private users = 0;

  // Whether the alarm is armed, or is firing.
  private ticking = false;
  private quietTicks = 0;

  // The greatest delay that was seen, and when it was last seen.
  private seen = 0;
  private seenAt = Number.NEGATIVE_INFINITY;

  /** One user more, at t. */
  enter(t: number): void {
    this.users++;
    this.quietTicks = 0;
    if (!this.ticking) this.tickAfter(t);
  }

  /** One user less, at t. */
  leave(t: number): void {
    this.look(t);
    this.quietTicks = 0;
    if (--this.users > 0) return;
    this.ticking = false;
    disarm(this);
  }

  /** The delay at t, in milliseconds; 0 if nothing is known. */
  delay(t: number): number {
    this.look(t);
    return t - this.seenAt <= TICK ? this.seen : 0;
  }

  fire(): void {
    const t = now();
    this.look(t);
    this.ticking = false;
    if (this.quietTicks++ < QUIET_TICKS) this.tickAfter(t);
  }

  private tickAfter(t: number): void {
    this.ticking = true;
    this.when = t + TICK;
    arm(this);
  }

  private look(t: number): void {
    const late = this.ticking ? t - this.when : 0;
    if (late <= 0 || (late < this.seen && t - this.seenAt <= TICK)) return;
    this.seen = late;
    this.seenAt = t;
  }
}
