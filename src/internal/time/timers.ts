/**
 * All deadlines of the library: one heap, one host timer.
 *
 * Arming and disarming touch the heap alone. The host timer is armed again when an earlier instant comes, and left
 * alone otherwise: when it fires for an instant that was disarmed, it is armed for the earliest that is left. While
 * `setTimeout` is replaced (by fake timers, or by a wrapper), it is armed again whenever an alarm is armed or the
 * earliest is disarmed, so that a test counts the timers it expects.
 *
 * Never early: an alarm fires only once `now()` has reached its instant. Hosts fire early by up to a millisecond (Node
 * truncates fractions), so the delay is rounded up, and a timer that still fires early is armed again.
 *
 * In order, when the host timer fires: by instant, and equal instants in the order of arming. `fireNow` fires one alarm
 * alone, before earlier ones.
 *
 * While a bubble of virtual time runs, it has alarms of its own, and fires them itself: {@link separateAlarms}. Then no
 * host timer is armed.
 *
 * Keeping the process alive: an armed alarm alone does not. A wait asks for it by `refTimer()`; from the first such
 * call to the last `unrefTimer()` the host timer is ref'd, whichever alarm it is armed for.
 */

import { Heap, type HeapItem } from "../data/heap.ts";
import { inRootContext, report } from "../host/async.ts";
import { host, MAX_DELAY, realSetTimeout, timersAreReplaced } from "../host/host.ts";
import { clockIsReplaced, now } from "./clock.ts";

/**
 * Something to happen at an instant. `fire` is called once for each arming, disarmed. Only that of a pool runs user
 * code: the `destroy` of its idle objects.
 */
export interface Alarm extends HeapItem {
  fire(): void;
}

let heap = /* @__PURE__ */ new Heap<Alarm>();
let refs = 0;

// The program's alarms, while a bubble of virtual time has a heap of its own; else undefined.
let outerHeap: Heap<Alarm> | undefined;

// The host timer, the instant it is armed for (Infinity while none is armed), and the host function that made it. While
// that is a mock's, the timer is never trusted to be still there: tests clear all timers at once.
let timer: unknown;
let timerAt = Number.POSITIVE_INFINITY;
let timerMadeBy: Host["setTimeout"] | undefined;

// A real timer that was armed when the host's timers were mocked, which the mock cannot clear; after that one has
// fired, a real timer that checks every MOCK_CHECK milliseconds whether the mock is gone. Waits for the real clock are
// still parked then, and nothing else might notice.
let unclearedTimer: unknown;
const MOCK_CHECK = 20;

// While alarms are being fired, arming and disarming leave the host timer alone; it is armed at the end.
let firing = false;

type Host = typeof host;

/** For tests: how many alarms are armed. */
export function armed(): number {
  return heap.size;
}

/** For tests: the armed alarms. */
export function alarms(): Iterable<Alarm> {
  return heap;
}

/**
 * How many waits ask to keep the process alive. A wait under a foreign context with a deadline asks too, though there
 * is no alarm: it keeps the process alive only while another alarm is armed.
 */
export function timerRefs(): number {
  return refs;
}

/** Arms an alarm, which is not armed, for its `when`. One at Infinity never fires and is not kept. */
export function arm(alarm: Alarm): void {
  if (alarm.when === Number.POSITIVE_INFINITY) return;
  heap.push(alarm);
  if (alarm.when < timerAt || followsEveryChange()) rearm();
}

/** Disarms an alarm; false if it was not armed. */
export function disarm(alarm: Alarm): boolean {
  if (alarm.index < 0) return false;
  const mustRearm = followsEveryChange() && heap.front === alarm;
  // From inside a bubble it may be one of the program's. Else it was armed in a bubble that has ended.
  if (!heap.remove(alarm) && !outerHeap?.remove(alarm)) alarm.index = -1;
  if (mustRearm) rearm();
  return true;
}

/**
 * Puts the program's alarms aside, and begins with none. From now on nothing fires until {@link fireDue} is called.
 * Returns what brings the program's alarms back. Those that are armed then do not fire by themselves any more. Not to
 * be called again before that.
 */
export function separateAlarms(): () => void {
  cancelTimer();
  outerHeap = heap;
  heap = new Heap();
  return () => {
    heap = outerHeap as Heap<Alarm>;
    outerHeap = undefined;
    rearm();
  };
}

/** The alarm that fires next, if one is armed. */
export function firstAlarm(): Alarm | undefined {
  return heap.front;
}

/**
 * Whether the host timer must be armed again at every change: it was made by a mock, or the next one will be, or none
 * has been made yet.
 */
function followsEveryChange(): boolean {
  return timerMadeBy !== realSetTimeout || timersAreReplaced();
}

/** Fires an armed alarm that is due, without waiting for the host timer. */
export function fireNow(alarm: Alarm): void {
  if (disarm(alarm)) alarm.fire();
}

/** Says that the process is to stay alive for n more waits. */
export function refTimer(n = 1): void {
  if (n === 0) return;
  refs += n;
  if (refs === n) setRef(true);
}

/** Takes back {@link refTimer}. */
export function unrefTimer(n = 1): void {
  if (n === 0) return;
  refs -= n;
  if (refs === 0) setRef(false);
}

function rearm(): void {
  if (firing || outerHeap !== undefined) return;
  cancelTimer();
  if (unclearedTimer !== undefined && !timersAreReplaced()) {
    host.clearTimeout(unclearedTimer);
    unclearedTimer = undefined;
  }
  const first = heap.front;
  if (first === undefined) return;
  const { when } = first;
  const delay = Math.min(Math.max(Math.ceil(when - now()), 0), MAX_DELAY);
  timer = inRootContext(() => host.setTimeout(timersAreReplaced() ? fireDue : onRealTimer, delay));
  timerAt = when;
  timerMadeBy = host.setTimeout;
  if (refs === 0) setRef(false);
}

function cancelTimer(): void {
  if (timer === undefined) return;
  if (timerMadeBy === host.setTimeout) host.clearTimeout(timer);
  else if (timerMadeBy === realSetTimeout) unclearedTimer = timer;
  // One that was made by a mock that is gone needs nothing. (No `clearTimeout` of a mock is given a timer that it did
  // not make: sinon's complains.)
  timer = undefined;
  timerAt = Number.POSITIVE_INFINITY;
}

/**
 * A real timer has fired: the host timer, or the uncleared one. While the clock is a mock's nothing is fired. A wrapper
 * leaves the clock alone, and stays: a check whether it is gone would never end.
 */
function onRealTimer(): void {
  if (!clockIsReplaced()) {
    fireDue();
    return;
  }
  if (timerMadeBy === realSetTimeout) {
    timer = undefined;
    timerAt = Number.POSITIVE_INFINITY;
  }
  unclearedTimer = inRootContext(() => realSetTimeout(onRealTimer, MOCK_CHECK));
  if (refs === 0) setRefOf(unclearedTimer, false);
}

/** Fires every alarm that is due, in order. */
export function fireDue(): void {
  firing = true;
  try {
    const t = now();
    for (let first = heap.front; first !== undefined && first.when <= t; first = heap.front) {
      heap.remove(first);
      try {
        first.fire();
      } catch (error) {
        report(error); // A fault of ours must not keep later alarms from firing.
      }
    }
  } finally {
    firing = false;
    rearm();
  }
}

function setRef(on: boolean): void {
  setRefOf(timer, on);
  setRefOf(unclearedTimer, on);
}

/** Refs or unrefs a host timer, where the host knows the difference. */
function setRefOf(timer: unknown, on: boolean): void {
  if (timer === undefined) return;
  if (typeof timer === "number") {
    if (on) host.Deno?.refTimer(timer);
    else host.Deno?.unrefTimer(timer);
  } else if (on) (timer as Partial<Refable>).ref?.();
  else (timer as Partial<Refable>).unref?.();
}

interface Refable {
  ref(): void;
  unref(): void;
}
