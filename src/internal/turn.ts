/**
 * The cooperative budget: tasks that only hand values to one another run in microtasks alone, and the event loop would
 * get no turn for timers, I/O and deadlines. So each completion the library hands out is charged; when a turn's budget
 * is spent, completions wait in one queue, in order, for the next macrotask.
 *
 * Only the resolution of the promise waits. Who gets what was decided before, synchronously, and stays decided.
 */
import { host } from "./host.ts";
import { Ring } from "./ring.ts";

/**
 * Completions per turn. Yielding costs a macrotask, 2–6 µs on Node: at 2048 that is 2 % of a loop that does nothing but
 * await (at 64 it was more than the loop itself), and one turn of such a loop lasts 200 µs.
 *
 * Nothing tells when a turn ends. So half way through, the macrotask that renews the budget is asked for: a turn that
 * ends before it has spent the rest never defers, and one that does not finds the macrotask on its way.
 */
const HALF = 1024;

/** A completion that no wait was needed for. Shared: awaiting it is the cheapest way to continue. */
export const DONE: Promise<void> = Promise.resolve();

// What is left of the current half, and whether it is the second, with the macrotask asked for.
let left = HALF;
let second = false;

// The completions over budget: resolve functions and what to call them with, alternately. While there are any, the
// macrotask is on its way.
const late = new Ring<unknown>();

/** Charges one completion; false if it must be handed to {@link defer} instead of being resolved now. */
export function charge(): boolean {
  return --left >= 0 || more();
}

/** Out of line, so that charging is a decrement and a comparison: the half is spent. */
function more(): boolean {
  if (second) return false;
  second = true;
  left = HALF - 1;
  macrotask(renew);
  return true;
}

/** Calls `resolve(value)` in a later turn, after everything deferred before. */
export function defer<T>(resolve: (value: T) => void, value: T): void {
  late.push(resolve);
  late.push(value);
}

/** An operation that completed at once, charged. */
export function completed(): Promise<void> {
  return charge() ? DONE : deferred(undefined);
}

/** An operation that completed at once with a value, charged. */
export function completedWith<T>(value: T): Promise<T> {
  return charge() ? Promise.resolve(value) : deferred(value);
}

function deferred<T>(value: T): Promise<T> {
  return new Promise<T>((resolve) => defer(resolve as (value: T) => void, value));
}

/** Renews the budget, and hands out as many deferred completions as one turn may have. */
function renew(): void {
  second = false;
  left = HALF;
  while (late.size > 0 && charge()) {
    const resolve = late.shift() as (value: unknown) => void;
    resolve(late.shift());
  }
}

// Taken once, at loading: yielding to the event loop is not a matter of time, so fake timers must not hold it up.
const macrotask = pickMacrotask();

function pickMacrotask(): (fn: () => void) => void {
  if (host.setImmediate !== undefined) return host.setImmediate;
  // Browsers: a message comes after the timers and events that are due; setTimeout would be held back to 4 ms.
  const { port1, port2 } = new host.MessageChannel();
  let next: (() => void) | undefined;
  port1.onmessage = () => {
    const fn = next;
    next = undefined;
    fn?.();
  };
  return (fn) => {
    next = fn;
    port2.postMessage(undefined);
  };
}
