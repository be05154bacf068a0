/**
 * The cooperative budget: tasks that only hand values to one another run in microtasks alone, and the event loop would
 * get no turn for timers, I/O and deadlines. So each completion the library hands out is charged; when a turn's budget
 * is spent, completions wait in one queue, in order, for the next macrotask.
 *
 * Only the resolution of the promise waits. Who gets what was decided before, synchronously, and stays decided.
 */
import { callable } from "../data/args.ts";
import { Ring } from "../data/ring.ts";
import { inRootContext } from "../host/async.ts";
import { host, realNow, realSetImmediate, realSetTimeout, timersAreMocked } from "../host/host.ts";

// A turn goes on for TURN milliseconds; then the next macrotask is asked for, and the turn goes on for GRACE more at
// most. Shorter turns cost throughput: between two turns V8 runs the collector's tasks, which wake its threads.
const TURN = 3;
const GRACE = 2;

// Looking at the clock costs about as much as a completion. So completions are charged in slices, and the clock is
// looked at between two. A slice is sized by the pace of the last one to take a quarter of a turn, and has MOST at
// most.
const MOST = 64;

// After so many microtasks a task that was resumed has mostly come to its work, a few functions up.
const HOPS = 3;

// While the timers are mocked, or a test asks for it, a turn is two slices of this many completions, whatever the clock
// says: then nothing depends on the speed of the machine.
const COUNTED = 256;
let counting = false;

/** For tests: whether turns are counted instead of timed. */
export function countTurns(on: boolean): void {
  counting = on;
}

function areCounted(): boolean {
  return counting || timersAreMocked();
}

/** A completion that no wait was needed for. Shared: awaiting it is the cheapest way to continue. */
export const DONE: Promise<void> = Promise.resolve();

// Of the slice: its size, how many completions are left of it, and when the clock was last looked at.
let slice = 1;
let left = MOST;
let lookedAt = Number.NEGATIVE_INFINITY;

// Of the turn: when it began, as far as is known, and whether the macrotask that ends it has been asked for. Nothing
// reports the end of a turn but that macrotask. So the first look after a pause finds a turn that seems long, asks for
// the macrotask early, and leaves the turn its GRACE, which it mostly does not need.
let beganAt = Number.NEGATIVE_INFINITY;
let ending = false;

// The completions over budget: resolve functions and what to call them with, alternately. While `deferring`, every
// completion joins them, so that none overtakes; then either `drain` or the macrotask that begins the next turn is on
// its way.
const deferrals = new Ring<unknown>();
let deferring = false;

// Whether a microtask has run since the slice began. If not, what it granted was granted in one go, by a `close` or a
// `release` of many, and nobody has been resumed yet.
let resumed = true;

const markResumed = () => {
  resumed = true;
};

/** Charges the completion of a wait; false if it must be handed to {@link defer} instead of being resolved now. */
export function charge(): boolean {
  return --left >= 0 || nextSlice(!resumed);
}

/** Charges an operation that completed without a wait, as {@link charge} does. */
export function chargeOperation(): boolean {
  return --left >= 0 || nextSlice(false);
}

/** Out of line, so that charging is a decrement and a comparison. */
function nextSlice(burst: boolean): boolean {
  if (deferring) return false;
  if (burst) {
    // The clock could not see what the work of the resumed costs. The rest is handed out when they have run.
    deferring = true;
    drainLater(HOPS);
    return false;
  }
  if (!beginSlice()) {
    deferring = true;
    return false;
  }
  open();
  left--;
  return true;
}

/** Lets a slice of completions go. */
function open(): void {
  left = slice;
  resumed = false;
  void DONE.then(markResumed);
}

/** A slice is over. Begins the next one, if there is another in this turn; otherwise the macrotask is on its way. */
function beginSlice(): boolean {
  if (areCounted()) {
    slice = COUNTED;
    if (ending) return false;
    endTurn();
    return true;
  }
  const t = realNow();
  const took = t - lookedAt;
  lookedAt = t;
  slice = Math.max(1, Math.min(MOST, 2 * slice, Math.floor((slice * TURN) / 4 / took)));
  if (t - beganAt < (ending ? GRACE : TURN)) return true;
  if (ending) return false;
  beganAt = t;
  endTurn();
  return true;
}

/** Asks for the macrotask that ends this turn. */
function endTurn(): void {
  ending = true;
  inRootContext(() => macrotask(beginTurn));
}

/** Renews the budget, and hands out what was deferred. */
function beginTurn(): void {
  ending = false;
  beganAt = lookedAt = realNow();
  if (areCounted()) slice = COUNTED;
  open();
  if (deferring) drain();
}

/**
 * Resolves a slice of the deferred completions, and the rest after those who were resumed have run, so that the clock
 * sees what their work costs.
 */
function drain(): void {
  for (; left > 0 && deferrals.size > 0; left--) {
    const resolve = deferrals.shift() as (value: unknown) => void;
    resolve(deferrals.shift());
  }
  if (deferrals.size === 0) deferring = false;
  else drainLater(HOPS);
}

/** Goes on with {@link drain} some microtasks later, if this turn has another slice; otherwise the next turn does. */
function drainLater(hops: number): void {
  void DONE.then(() => {
    if (hops > 1) drainLater(hops - 1);
    else if (deferring && beginSlice()) {
      open();
      drain();
    }
  });
}

/** Calls `resolve(value)` in a later turn, after everything deferred before. */
export function defer<T>(resolve: (value: T) => void, value: T): void {
  deferrals.push(resolve);
  deferrals.push(value);
}

/** An operation that completed at once, charged. */
export function completed(): Promise<void> {
  return chargeOperation() ? DONE : deferred(undefined);
}

/** An operation that completed at once with a value, charged. */
export function completedWith<T>(value: T): Promise<T> {
  return chargeOperation() ? Promise.resolve(value) : deferred(value);
}

/** An operation that failed at once, charged: a loop that only fails must not starve the event loop either. */
export function failedWith(reason: unknown): Promise<never> {
  if (chargeOperation()) return Promise.reject(reason);
  return new Promise<never>((_, reject) => defer(reject, reason));
}

/** An operation refused by a check of its arguments that throws. */
export function failedBy(check: () => unknown): Promise<never> {
  try {
    check();
  } catch (error) {
    return failedWith(error);
  }
  throw new Error("gopark: internal error: the check did not throw");
}

/**
 * An operation refused because `fn` is no function. Apart from the callers, who would allocate what a closure captures.
 */
export function notAFunction(fn: unknown, what: string): Promise<never> {
  return failedBy(() => callable(fn, what));
}

/**
 * Charges the completion of an async function, before it returns: undefined, or what it is to await first. Awaiting
 * nothing would cost a microtask.
 */
export function overBudget(): Promise<void> | undefined {
  return chargeOperation() ? undefined : deferred(undefined);
}

/** A completion over budget, for where {@link charge} has said so. */
export function deferred<T>(value: T): Promise<T> {
  return new Promise<T>((resolve) => defer(resolve as (value: T) => void, value));
}

/**
 * Calls `fn` in a macrotask: after the timers and events that are due.
 *
 * Where there is no setImmediate, a message does it: setTimeout would be held back to 4 ms by browsers. Each time a
 * channel of its own, closed at once: an open port keeps a Node process alive, and one that is used again and again is
 * served before the timers.
 */
function macrotask(fn: () => void): void {
  if (realSetImmediate !== undefined) {
    realSetImmediate(fn);
  } else if (host.MessageChannel !== undefined) {
    const { port1, port2 } = new host.MessageChannel();
    port1.onmessage = () => {
      port1.close();
      fn();
    };
    port2.postMessage(undefined);
  } else {
    realSetTimeout(fn, 0);
  }
}
