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
 * A turn goes on for this many milliseconds, looked at every SLICE completions, and for two slices at least. The
 * macrotask itself costs 2.5 µs on Node, a quarter of a percent. What comes with it is dearer: between turns V8 runs the
 * collector's tasks, which wake its threads, and a stream of values that turned the loop every millisecond took 10–20 %
 * longer by the clock, at the same processor time in user mode, whether a turn was one millisecond or four. Shorter ones
 * cost more. Where each completion has 10 µs of work behind it, a turn still ends within 6 ms.
 */
const TURN = 1;
const SLICE = 256;

/** A completion that no wait was needed for. Shared: awaiting it is the cheapest way to continue. */
export const DONE: Promise<void> = Promise.resolve();

// What is left of the slice; whether it is the turn's last, with the macrotask asked for; when the turn began, as far as
// is known: nothing tells when a turn ends but the macrotask that begins the next. A turn that nobody has seen begin seems
// long, asks for the macrotask early, and mostly ends before its last slice does: then it has deferred nothing.
let left = SLICE;
let last = false;
let began = Number.NEGATIVE_INFINITY;

// The completions over budget: resolve functions and what to call them with, alternately. While there are any, the
// macrotask is on its way.
const late = new Ring<unknown>();

/** Charges one completion; false if it must be handed to {@link defer} instead of being resolved now. */
export function charge(): boolean {
  return --left >= 0 || more();
}

/** Out of line, so that charging is a decrement and a comparison: the slice is spent. Is there another in this turn? */
function more(): boolean {
  if (last) return false;
  left = SLICE - 1;
  if (realNow() - began >= TURN) {
    last = true;
    macrotask(renew);
  }
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

/** An operation that failed at once, charged: a loop that only fails must not starve the event loop either. */
export function failedWith(reason: unknown): Promise<never> {
  if (charge()) return Promise.reject(reason);
  return new Promise<never>((_, reject) => defer(reject, reason));
}

/** A completion over budget, for where {@link charge} has said so. */
export function deferred<T>(value: T): Promise<T> {
  return new Promise<T>((resolve) => defer(resolve as (value: T) => void, value));
}

/** Renews the budget, and hands out as many deferred completions as one turn may have. */
function renew(): void {
  last = false;
  left = SLICE;
  began = realNow();
  while (late.size > 0 && charge()) {
    const resolve = late.shift() as (value: unknown) => void;
    resolve(late.shift());
  }
}

// Both taken once, at loading: fake timers must not hold up the event loop.
const macrotask = pickMacrotask();
const { performance } = host;

function realNow(): number {
  return performance.now();
}

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
