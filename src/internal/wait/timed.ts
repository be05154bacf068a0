/** Waits for an instant: sleeps, and waits for a limiter. */
import { type Alarm, arm, disarm, refTimer, unrefTimer } from "../time/timers.ts";
import type { Kind } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { type Resource, type Wait, Waiters } from "./wait.ts";

/** What a timed wait brings with it: the alarm that ends it. */
export class WaitAlarm<V> implements Alarm {
  readonly when: number;
  readonly value: V;
  index = -1;

  /** Written when the wait is linked. */
  wait: Wait<void, WaitAlarm<V>> | undefined = undefined;

  constructor(when: number, value: V) {
    this.when = when;
    this.value = value;
  }

  fire(): void {
    const wait = this.wait as Wait<void, WaitAlarm<V>>;
    (wait.list as TimedWaiters<V>).remove(wait);
    wait.resolve();
  }
}

/**
 * Waits that instants end. In no order but that of their alarms, so nothing is stored here: a wait counts as linked
 * while its `list` is this. A finite wait keeps the process alive.
 */
export class TimedWaiters<V = undefined> extends Waiters<void, WaitAlarm<V>> {
  constructor(kind: Kind, resource?: Resource<Wait<void, WaitAlarm<V>>>) {
    super(kind, resource);
  }

  /** Parks a wait until `when`; at Infinity it ends by its source alone. */
  parkUntil(when: number, source: Source | undefined, value: V): Promise<void> {
    return this.park(source, new WaitAlarm(when, value));
  }

  override push(wait: Wait<void, WaitAlarm<V>>): void {
    wait.list = this;
    this.size++;
    const alarm = wait.value;
    alarm.wait = wait;
    arm(alarm);
    if (alarm.when !== Number.POSITIVE_INFINITY) refTimer();
  }

  override remove(wait: Wait<void, WaitAlarm<V>>): boolean {
    if (wait.list !== this) return false;
    wait.list = undefined;
    this.size--;
    const alarm = wait.value;
    disarm(alarm);
    if (alarm.when !== Number.POSITIVE_INFINITY) unrefTimer();
    return true;
  }
}

/** A queue of waiters that an alarm is going to end, as long as it is armed: then the process stays alive for them. */
export class RefWaiters<T> extends Waiters<T> {
  private refs = false;

  /** Says whether what they wait for has an alarm that is armed. */
  setRef(on: boolean): void {
    if (on === this.refs) return;
    this.refs = on;
    if (on) refTimer(this.size);
    else unrefTimer(this.size);
  }

  override push(waiter: Parameters<Waiters<T>["push"]>[0]): void {
    super.push(waiter);
    if (this.refs) refTimer();
  }

  override remove(waiter: Parameters<Waiters<T>["remove"]>[0]): boolean {
    const removed = super.remove(waiter);
    if (removed && this.refs) unrefTimer();
    return removed;
  }
}
