/**
 * The cooperative budget. Tasks that do nothing but hand values to each other run in microtasks alone, and the event
 * loop would get no turn for timers, I/O and deadlines. So each completion that the library hands out is charged.
 * Completions over budget wait in one queue, in order.
 *
 * Only the settlement of the promise waits. Which task gets which value has been decided before, synchronously, and
 * does not change.
 *
 * 1. Completions are charged in slices: within one, charging is a decrement and a comparison.
 * 2. A slice that one call has used up, without a microtask in between (a `close` that wakes many): the rest is
 *    deferred, and handed out slice by slice as the tasks that were resumed come to their work.
 * 3. A slice that ends while the turn is young: the next slice begins.
 * 4. A slice that ends when the turn has lasted TURN ms: a macrotask is requested, and the next slice begins.
 * 5. A slice that ends GRACE ms after the request: completions are deferred until the macrotask begins the next turn.
 */
import { callable } from "../data/args.ts";
import { Ring } from "../data/ring.ts";
import { inRootContext, reaction } from "../host/async.ts";
import { host, realNow, realSetImmediate, realSetTimeout, timersAreReplaced } from "../host/host.ts";

// In milliseconds. A turn overruns them by one slice at most: the clock is read between slices only. Shorter turns cost
// throughput: between two turns V8 runs the collector's tasks, which wake its threads.
const TURN = 3;
const GRACE = 2;

// The most completions in a slice. Reading the clock costs too much to do it for each completion, so a slice is sized
// to take a quarter of a turn, by the pace of the last one, but is at most twice that one and at most this.
const MAX_SLICE = 64;

// After this many microtasks a resumed task has usually come to its work, a few functions up the stack.
const MICROTASKS_TO_WORK = 3;

/** After this many it has usually begun its next wait. */
export const MICROTASKS_TO_NEXT_WAIT: number = MICROTASKS_TO_WORK + 1;

// While `setTimeout` is replaced, or a test asks for it, a turn is two slices of this many completions, whatever the
// clock reads: nothing depends on the speed of the machine then.
const COUNTED_SLICE = 256;
let counting = false;

/** For tests: whether turns are counted instead of timed. */
export function countTurns(on: boolean): void {
  counting = on;
}

function areCounted(): boolean {
  return counting || timersAreReplaced();
}

/** A completion that no wait was needed for. Shared: awaiting it is the cheapest way to continue. */
export const RESOLVED: Promise<void> = Promise.resolve();

// The slice: its size, how many completions are left of it, and when the clock was last read. The first slice is whole.
// After it the size grows from 1, as the pace is not known yet.
let slice = 1;
let sliceLeft = MAX_SLICE;
let readAt = Number.NEGATIVE_INFINITY;

// The turn: when it began, and when the macrotask that begins the next one was requested, if it was. The end of a turn
// is not noticed without such a macrotask. So after a pause `turnBeganAt` is old, and the next slice requests a
// macrotask too early. That costs one macrotask; the turn still has its GRACE.
let turnBeganAt = Number.NEGATIVE_INFINITY;
let requestedAt: number | undefined;

// The completions over budget: settle functions and the values to call them with, alternately. While `deferring`, every
// completion joins them, so that none overtakes: `sliceLeft` is 0 or less then, but inside `drain`; and either a drain
// or the macrotask is on its way.
const deferrals = new Ring<unknown>();
let deferring = false;

// Whether every completion is deferred, and somebody else hands them out: see `takeOver`. Then `deferring` is set,
// `sliceLeft` is 0 or less, and nothing below settles one.
let takenOver = false;

// Whether a microtask has run since the slice began. If not, one call has granted all of it, and no task has resumed.
let resumed = true;

const markResumed = () => {
  resumed = true;
};

/** Charges the completion of a wait; false if it must be handed to {@link defer} instead of being settled now. */
export function charge(): boolean {
  return --sliceLeft >= 0 || chargeNextSlice(!resumed);
}

/** Charges an operation that completed without a wait, as {@link charge} does. */
export function chargeOperation(): boolean {
  return --sliceLeft >= 0 || chargeNextSlice(false);
}

/** Out of line, so that charging is a decrement and a comparison. `burst`: one call has used the slice up. */
function chargeNextSlice(burst: boolean): boolean {
  if (deferring) return false;
  if (burst) {
    // How much work the resumed tasks do is not known yet. The rest is handed out when they have come to it.
    deferring = true;
    drainLater();
    return false;
  }
  if (!allowsNextSlice()) {
    deferring = true;
    return false;
  }
  startSlice();
  sliceLeft--;
  return true;
}

function startSlice(): void {
  sliceLeft = slice;
  resumed = false;
  void RESOLVED.then(markResumed);
}

/** Whether this turn has another slice, whose size is then set. If not, the macrotask is on its way. */
function allowsNextSlice(): boolean {
  if (areCounted()) {
    slice = COUNTED_SLICE;
    if (requestedAt !== undefined) return false;
    requestNextTurn(readAt);
    return true;
  }
  const t = realNow();
  const took = t - readAt;
  readAt = t;
  slice = Math.max(1, Math.min(MAX_SLICE, 2 * slice, Math.floor((slice * TURN) / 4 / took)));
  if (requestedAt !== undefined) return t - requestedAt < GRACE;
  if (t - turnBeganAt >= TURN) requestNextTurn(t);
  return true;
}

/** Requests the macrotask that begins the next turn. */
function requestNextTurn(t: number): void {
  requestedAt = t;
  inRootContext(() => macrotask(beginTurn));
}

/** Renews the budget, and hands out what was deferred. */
function beginTurn(): void {
  requestedAt = undefined;
  turnBeganAt = readAt = realNow();
  if (takenOver) return;
  if (areCounted()) slice = COUNTED_SLICE;
  startSlice();
  drain();
}

/**
 * Settles a slice of the deferred completions; the rest when the tasks that were resumed have come to their work, so
 * that the clock shows what it costs.
 */
function drain(): void {
  for (; sliceLeft > 0 && deferrals.size > 0; sliceLeft--) {
    const settle = deferrals.shift() as (value: unknown) => void;
    settle(deferrals.shift());
  }
  if (deferrals.size === 0) deferring = false;
  else drainLater();
}

/** Goes on with {@link drain} some microtasks later, if this turn has another slice; if not, the next turn does. */
function drainLater(): void {
  afterMicrotasks(MICROTASKS_TO_WORK, () => {
    if (takenOver || !deferring || !allowsNextSlice()) return;
    startSlice();
    drain();
  });
}

/** Calls `fn` after n microtasks, each queued by the one before. */
export function afterMicrotasks(n: number, fn: () => void): void {
  void RESOLVED.then(() => (n > 1 ? afterMicrotasks(n - 1, fn) : fn()));
}

/** Whether a completion is deferred that has not been handed out yet. */
export function hasDeferred(): boolean {
  return deferrals.size > 0;
}

/** For a test that chooses the order itself: all completions, from {@link takeOver} to `giveBack`. */
export interface Completions {
  /** Takes the oldest completion, to be called once; undefined if there is none. */
  take(): (() => void) | undefined;
  /** Lets the budget decide again. What has not been taken is handed out later in this turn, or in the next. */
  giveBack(): void;
}

/**
 * Defers every completion from now on, those of operations that need no wait too, until it is taken and called. Only
 * one caller at a time may do so.
 */
export function takeOver(): Completions {
  takenOver = deferring = true;
  sliceLeft = 0;
  return {
    take() {
      if (deferrals.size === 0) return undefined;
      const settle = deferrals.shift() as (value: unknown) => void;
      const value = deferrals.shift();
      return () => settle(value);
    },
    giveBack() {
      takenOver = false;
      if (deferrals.size === 0) deferring = false;
      else if (requestedAt === undefined) requestNextTurn(realNow());
    },
  };
}

/** Queues `settle(value)` behind everything deferred: it is called later in this turn, or in the next. */
export function defer<T>(settle: (value: T) => void, value: T): void {
  deferrals.push(settle);
  deferrals.push(value);
}

/**
 * Returns what runs `fn` as a {@link reaction} does, charged: code that only triggers such functions must not starve
 * the event loop either.
 */
export function chargedReaction(fn: () => unknown): () => void {
  const run = reaction(fn);
  return () => (charge() ? run() : defer(run, undefined));
}

/** An operation that completed at once, charged. */
export function completed(): Promise<void> {
  return chargeOperation() ? RESOLVED : deferred(undefined);
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

/** Rejects with what `check` throws. The caller knows that it throws. */
export function rejectedByCheck(check: () => unknown): Promise<never> {
  try {
    check();
  } catch (error) {
    return failedWith(error);
  }
  throw new Error("gopark: internal error: the check did not throw");
}

/**
 * An operation refused because `fn` is not a function. A function of its own: inside its callers, the closure would
 * make every call allocate what it captures.
 */
export function notAFunction(fn: unknown, what: string): Promise<never> {
  return rejectedByCheck(() => callable(fn, what));
}

/**
 * Charges the completion of an async function, before it returns: undefined, or a promise to await first. Undefined,
 * since an await of nothing costs a microtask.
 */
export function budgetWait(): Promise<void> | undefined {
  return chargeOperation() ? undefined : deferred(undefined);
}

/** A completion with `value` that {@link charge} has found to be over budget. */
export function deferred<T>(value: T): Promise<T> {
  return new Promise<T>((resolve) => defer(resolve as (value: T) => void, value));
}

/**
 * Calls `fn` in a macrotask: after the timers and events that are due.
 *
 * Where there is no setImmediate, a message does it: browsers delay a setTimeout by 4 ms. Each call has its own
 * channel, which is closed when its message arrives: an open port keeps a Node process alive, and the messages of one
 * port would be served before the timers.
 */
export function macrotask(fn: () => void): void {
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
