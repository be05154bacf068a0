/**
 * How late the event loop is: how long it has kept a timer waiting.
 *
 * A timer ticks while there are users. The delay is how much later than due it came, or, before it has come, how much
 * later than due it is already: a check that runs inside a long block, or right after it and before the timers, sees
 * the block too. (A histogram of `monitorEventLoopDelay` is written when the timer comes, so that it misses this one.)
 * Without users there is no timer.
 */

import { now } from "../time/clock.ts";
import { type Alarm, arm, disarm } from "../time/timers.ts";

/** Every so many milliseconds the timer ticks, and for so long a delay that has been seen counts. */
export const TICK = 20;

export class LoopDelay implements Alarm {
  when = 0;
  index = -1;

  // Between any two calls: the alarm is armed if and only if there are users.
  private users = 0;

  // The greatest delay that was seen, and when it was last seen.
  private seen = 0;
  private seenAt = Number.NEGATIVE_INFINITY;

  /** One user more, at t. */
  enter(t: number): void {
    if (this.users++ > 0) return;
    this.when = t + TICK;
    arm(this);
  }

  /** One user less, at t. */
  leave(t: number): void {
    this.look(t);
    if (--this.users === 0) disarm(this);
  }

  /** The delay at t, in milliseconds; 0 if nothing is known. */
  delay(t: number): number {
    this.look(t);
    return t - this.seenAt <= TICK ? this.seen : 0;
  }

  fire(): void {
    const t = now();
    this.look(t);
    this.when = t + TICK;
    arm(this);
  }

  private look(t: number): void {
    const late = this.users === 0 ? 0 : t - this.when;
    if (late <= 0 || (late < this.seen && t - this.seenAt <= TICK)) return;
    this.seen = late;
    this.seenAt = t;
  }
}
