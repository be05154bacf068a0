/**
 * All deadlines of the library: one heap, one host timer.
 *
 * Arming and disarming touch the heap alone. The host timer is armed for the earliest deadline when that comes nearer,
 * and left alone otherwise: when it fires too early, because its deadline was disarmed, it is armed again for what is
 * earliest then.
 *
 * Never early: a timer fires only once `now()` has reached its instant. Hosts fire early by up to a millisecond (Node
 * truncates fractions), so the delay is rounded up, checked on firing, and armed again if need be.
 *
 * Keeping the process alive: an armed timer alone does not. `hold()` says that some wait depends on a deadline; from
 * the first hold to the last `drop()` the host timer is ref'd.
 */
import { now } from "./clock.ts";
import { Heap, type HeapItem } from "./heap.ts";
import { host } from "./host.ts";
import { type Element, List } from "./list.ts";

/** Something to happen at an instant. `fire` runs on the event loop's stack and must not call user code. */
export interface Alarm extends HeapItem {
  fire(): void;
}

/** The longest delay that hosts take; they fire at once when given more. */
const LONGEST = 2 ** 31 - 1;

const heap = new Heap<Alarm>();
let holds = 0;

// The host timer, and the host function it was made with: when fake timers replace that function, a timer made before
// the change is worth nothing after it. `target` is the instant it was armed for, Infinity while none is armed, and
// −Infinity while alarms are being fired: what they arm is seen to afterwards.
let timer: unknown;
let maker: unknown;
let target = Number.POSITIVE_INFINITY;

/** How many alarms are armed. */
export function armed(): number {
  return heap.size;
}

/** The armed alarms. */
export function alarms(): Iterable<Alarm> {
  return heap;
}

/** How many waits depend on an armed alarm. */
export function held(): number {
  return holds;
}

/** Arms an alarm that is not armed for its `when`. One at Infinity never fires and is not kept. */
export function arm(alarm: Alarm): void {
  if (alarm.when === Number.POSITIVE_INFINITY) return;
  heap.push(alarm);
  if (alarm.when < target || maker !== host.setTimeout) schedule();
}

/** Disarms an alarm; false if it was not armed. */
export function disarm(alarm: Alarm): boolean {
  return alarm.index >= 0 && heap.remove(alarm);
}

/** Says that a wait depends on some armed alarm: the process stays alive for it. */
export function hold(): void {
  if (++holds === 1) setRef(true);
}

/** Ends one {@link hold}. */
export function drop(): void {
  if (--holds === 0) setRef(false);
}

/** A queue of waits that an alarm is going to end: the process stays alive while anyone is in it. */
export class HoldingList<T extends Element> extends List<T> {
  override push(e: T): void {
    super.push(e);
    hold();
  }

  override remove(e: T): boolean {
    const removed = super.remove(e);
    if (removed) drop();
    return removed;
  }
}

function schedule(): void {
  if (target === Number.NEGATIVE_INFINITY) return;
  // Fake clearTimeout complains of a timer it did not make; one that is left behind finds nothing due.
  if (maker === host.setTimeout) host.clearTimeout(timer);
  else setRef(false);
  target = Number.POSITIVE_INFINITY;
  const first = heap.front;
  if (first === undefined) return;
  maker = host.setTimeout;
  timer = host.setTimeout(expire, Math.min(Math.max(Math.ceil(first.when - now()), 0), LONGEST));
  target = first.when;
  if (holds === 0) setRef(false);
}

function expire(): void {
  target = Number.NEGATIVE_INFINITY;
  const t = now();
  for (let first = heap.front; first !== undefined && first.when <= t; first = heap.front) {
    heap.remove(first);
    first.fire();
  }
  target = Number.POSITIVE_INFINITY;
  schedule();
}

/** Refs or unrefs the host timer, where the host knows the difference. */
function setRef(on: boolean): void {
  if (target === Number.POSITIVE_INFINITY) return;
  if (typeof timer === "number") {
    if (on) host.Deno?.refTimer(timer);
    else host.Deno?.unrefTimer(timer);
  } else if (on) (timer as Partial<Refable> | undefined)?.ref?.();
  else (timer as Partial<Refable> | undefined)?.unref?.();
}

interface Refable {
  ref(): void;
  unref(): void;
}
