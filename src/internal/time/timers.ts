/**
 * All deadlines of the library: one heap, one host timer.
 *
 * Arming and disarming touch the heap alone. The host timer is armed anew when an earlier instant comes, and left alone
 * otherwise: when it fires for an instant that was disarmed, it is armed for the earliest that is left. While the
 * host's timers are mocked it follows every change of the earliest instant instead, so that a test counts what it
 * expects to.
 *
 * Never early: an alarm fires only once `now()` has reached its instant. Hosts fire early by up to a millisecond (Node
 * truncates fractions), so the delay is rounded up, checked on firing, and armed again if need be.
 *
 * In order: of equal instants, the one that was armed first fires first.
 *
 * Keeping the process alive: an armed alarm alone does not. `refTimer()` says that some wait depends on an alarm; from
 * the first such call to the last `unrefTimer()` the host timer is ref'd.
 */

import { Heap, type HeapItem } from "../data/heap.ts";
import { inRootContext, report } from "../host/async.ts";
import { host, realSetTimeout, timersAreMocked } from "../host/host.ts";
import { now } from "./clock.ts";

/** Something to happen at an instant. `fire` is called once, already disarmed, and must not run user code. */
export interface Alarm extends HeapItem {
  fire(): void;
}

/** The longest delay that hosts take; they fire at once when given more. */
const LONGEST_DELAY = 2 ** 31 - 1;

const heap = new Heap<Alarm>();
let refs = 0;

// The host timer, the instant it is armed for (Infinity while none is armed), and the host function that made it. One
// made by a mock is never trusted to be still there: tests clear all timers at once.
let timer: unknown;
let timerAt = Number.POSITIVE_INFINITY;
let maker: Host["setTimeout"] | undefined;

// A real timer that was armed when the host's timers were mocked, if any: what waits for it is still waiting when the
// mock is gone, and nothing else might tell us of that.
let leftBehind: unknown;

/** How often a timer that was left behind looks whether the mock is gone, in milliseconds. */
const LOOK_AGAIN = 20;

// While alarms are being fired, arming and disarming leave the host timer alone; it is armed at the end.
let firing = false;

type Host = typeof host;

/** How many alarms are armed. */
export function armed(): number {
  return heap.size;
}

/** The armed alarms. */
export function alarms(): Iterable<Alarm> {
  return heap;
}

/** How many waits depend on an armed alarm. */
export function timerRefs(): number {
  return refs;
}

/** Arms an alarm, which is not armed, for its `when`. One at Infinity never fires and is not kept. */
export function arm(alarm: Alarm): void {
  if (alarm.when === Number.POSITIVE_INFINITY) return;
  heap.push(alarm);
  if (alarm.when < timerAt || maker !== realSetTimeout || timersAreMocked()) schedule();
}

/** Disarms an alarm; false if it was not armed. */
export function disarm(alarm: Alarm): boolean {
  if (alarm.index < 0) return false;
  const mocked = maker !== realSetTimeout;
  const first = mocked && heap.front === alarm;
  const disarmed = heap.remove(alarm);
  if (first) schedule();
  return disarmed;
}

/** Fires an armed alarm that is due, without waiting for the host timer. */
export function fireNow(alarm: Alarm): void {
  if (disarm(alarm)) alarm.fire();
}

/** Says that n more waits depend on some armed alarm: the process stays alive for them. */
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

function schedule(): void {
  if (firing) return;
  cancelTimer();
  if (leftBehind !== undefined && !timersAreMocked()) {
    host.clearTimeout(leftBehind);
    leftBehind = undefined;
  }
  const first = heap.front;
  if (first === undefined) return;
  const { when } = first;
  const delay = Math.min(Math.max(Math.ceil(when - now()), 0), LONGEST_DELAY);
  timer = inRootContext(() => host.setTimeout(timersAreMocked() ? expire : expireReal, delay));
  timerAt = when;
  maker = host.setTimeout;
  if (refs === 0) setRef(false);
}

function cancelTimer(): void {
  if (timer === undefined) return;
  // A fake clearTimeout complains of a timer it did not make.
  if (maker === host.setTimeout) host.clearTimeout(timer);
  else if (maker === realSetTimeout && leftBehind === undefined) leftBehind = timer;
  timer = undefined;
  timerAt = Number.POSITIVE_INFINITY;
}

/** A real timer has fired. While the host's timers are mocked it is the mock's time that counts. */
function expireReal(): void {
  if (!timersAreMocked()) {
    expire();
    return;
  }
  if (maker === realSetTimeout) {
    timer = undefined;
    timerAt = Number.POSITIVE_INFINITY;
  }
  leftBehind = inRootContext(() => realSetTimeout(expireReal, LOOK_AGAIN));
  if (refs === 0) setRefOf(leftBehind, false);
}

function expire(): void {
  if (firing) return; // A mock that calls back at once.
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
    schedule();
  }
}

function setRef(on: boolean): void {
  setRefOf(timer, on);
  setRefOf(leftBehind, on);
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
