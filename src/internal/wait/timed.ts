/** Waits for an instant: sleeps, and waits for a limiter. */
import { type Alarm, arm, disarm, refTimer, unrefTimer } from "../time/timers.ts";
import type { Kind } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { type CancelHooks, Wait, Waiters, type WaitQueue } from "./wait.ts";

/** The alarm that ends a timed wait. */
export class WaitAlarm<V> implements Alarm {
  readonly when: number;
  readonly data: V;
  index = -1;

  /** Written when the wait is linked. */
  wait: Wait<void, WaitAlarm<V>> | undefined = undefined;

  constructor(when: number, data: V) {
    this.when = when;
    this.data = data;
  }

  fire(): void {
    const wait = this.wait as Wait<void, WaitAlarm<V>>;
    (wait.list as TimedWaiters<V>).remove(wait);
    wait.resolve();
  }
}

/**
 * Waits that end at an instant. The heap of alarms keeps their order, so this stores none of them: a wait stands here
 * while its `list` is this. A wait that is to end at a finite instant keeps the process alive.
 */
export class TimedWaiters<V = undefined> implements WaitQueue<Wait<void, WaitAlarm<V>>> {
  readonly kind: Kind;
  readonly hooks: CancelHooks<Wait<void, WaitAlarm<V>>> | undefined;

  constructor(kind: Kind, hooks?: CancelHooks<Wait<void, WaitAlarm<V>>>) {
    this.kind = kind;
    this.hooks = hooks;
  }

  /** Parks a wait until `when`; at Infinity it ends by its source alone. */
  parkUntil(when: number, source: Source | undefined, data: V): Promise<void> {
    const alarm = new WaitAlarm(when, data);
    const wait = new Wait<void, WaitAlarm<V>>(this.kind, source, alarm);
    alarm.wait = wait;
    wait.list = this;
    arm(alarm);
    if (when !== Number.POSITIVE_INFINITY) refTimer();
    wait.dependent?.listen();
    return wait.promise;
  }

  remove(wait: Wait<void, WaitAlarm<V>>): void {
    wait.list = undefined;
    const alarm = wait.value;
    disarm(alarm);
    if (alarm.when !== Number.POSITIVE_INFINITY) unrefTimer();
  }
}

/** A queue whose waiters keep the process alive after `setRef(true)`: an alarm that will end them is armed. */
export class RefWaiters<T> extends Waiters<T> {
  private refs = false;

  /** Sets whether their waits are for an alarm that is armed. To be called when that changes, or nobody waits. */
  setRef(on: boolean): void {
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
