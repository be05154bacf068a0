/**
 * What is alive in the library: counters that are always on, and records with stacks that a switch turns on.
 *
 * A counter costs an increment and a decrement. Full tracking makes a {@link LeakRecord} for each thing, which says
 * where it was made; that costs a formatted stack, some microseconds, so it is for tests and development.
 *
 * A record is referenced strongly, the thing that it describes never: a registry that held parked waits would keep
 * alive what the collector would otherwise free, and no leak could ever be proved. When the collector takes a thing
 * whose record is still there, nothing could reach it any more, so nothing could ever have ended it: the leak is
 * proved.
 */

import { guarded } from "../host/async.ts";
import { setStack } from "../host/errors.ts";
import { realNow } from "../host/host.ts";
import { callerStack, type PublicFunction } from "./stack.ts";

export type { PublicFunction } from "./stack.ts";
export { registerOuter } from "./stack.ts";

/** What sort of thing a kind counts: something that waits, something that runs, or something held. For observers. */
export type KindClass = "wait" | "task" | "resource";

/** A sort of thing that can be left behind. */
export class Kind {
  /**
   * How many were made and have not ended. One that the collector took counts here for ever; under full tracking, if it
   * was recorded with its object, it counts as {@link PROVED} instead.
   */
  live = 0;

  readonly name: string;
  readonly class: KindClass;

  /** The public functions that make one, the outer ones first: where a stack begins. Called when a record is made. */
  readonly entryPoints: () => readonly PublicFunction[];

  constructor(name: string, kindClass: KindClass, entryPoints: () => readonly PublicFunction[] = () => []) {
    this.name = name;
    this.class = kindClass;
    this.entryPoints = entryPoints;
    kinds.push(this);
  }
}

const kinds: Kind[] = [];

/** The functions that `go`, groups, a WaitGroup's `go`, workers, and the stages `map` and `filter` run. */
export const TASK: Kind = new Kind("task", "task");

/**
 * What the collector has proved to be leaked, of any class. It stays counted here, so that a gauge does not show less
 * under full tracking. Its own class says nothing.
 */
export const PROVED: Kind = new Kind("proved leak", "wait");

/** Every kind known so far. A module's kinds appear when the module is loaded. */
export function allKinds(): readonly Kind[] {
  return kinds;
}

/** The record of one thing of a kind, from its making to its end. */
export interface LeakRecord {
  readonly kind: Kind;
  /** How many of the kind it stands for. */
  units: number;
  /** When it was made, by the real clock: {@link ageOf}. */
  readonly madeAt: number;
  /**
   * Formatted at once: an unformatted Error keeps the receivers of its frames alive, and the proof would never come.
   */
  readonly stack: string;
  /** Whether the collector has taken its cancel function, so that only something else can still end it. */
  lostCancel: boolean;
  /** For a wait: the holder of what it waits for, where that is known. */
  holder: Holder | undefined;
}

/**
 * The holder of what a wait waits for: of a lock, or the running call of a `Once`. Records of waits refer to the
 * holder, so it must not refer to the lock: the collector could then never prove a leak.
 */
export interface Holder {
  /** Where the lock was taken, or `do` was called; undefined while there is no holder, or that is not recorded. */
  readonly stack: string | undefined;
}

/** The age of a record in milliseconds, by the real clock. */
export function ageOf(record: LeakRecord): number {
  return realNow() - record.madeAt;
}

/**
 * Sees every wait that parks and every {@link TASK} that runs. For the observers of a later version: sampling,
 * profiles, traces, virtual time. Nothing in this one sets it. There is at most one. An error that `parked` or
 * `unparked` throws is reported and changes nothing.
 */
export interface Observer {
  /** A wait of the kind has parked. The result is handed to `unparked`. */
  parked?(kind: Kind): unknown;
  /** That wait is being claimed, and its promise is not settled yet. Must not call the library. */
  unparked?(kind: Kind, token: unknown): void;
  /** Runs a task's function; called instead of it. An error that it throws counts as the task's. */
  task?<R>(fn: () => R): R;
}

let observer: Observer | undefined;
let full = false;
let watching = false;

export function setFull(on: boolean): void {
  full = on;
  watching = full || observer !== undefined;
}

export function setObserver(next: Observer | undefined): void {
  observer = next;
  watching = full || observer !== undefined;
}

/** Whether records are kept of everything that is made from now on. */
export function isFull(): boolean {
  return full;
}

/**
 * Whether a wait is to be shown to {@link watch}: records are kept, or there is an observer. With neither, this is the
 * only test that a wait pays for.
 */
export function isWatching(): boolean {
  return watching;
}

/** What `watch` keeps for `unwatch`. */
export interface Watch {
  readonly record: LeakRecord | undefined;
  readonly observer: Observer | undefined;
  readonly token: unknown;
}

/** Begins to watch a wait; see {@link isWatching}. `holder` holds what it waits for. */
export function watch(kind: Kind, wait: WeakKey, holder?: Holder): Watch | undefined {
  if (!watching) return undefined;
  const record = full ? makeRecord(kind, 1, wait) : undefined;
  if (record !== undefined) record.holder = holder;
  let token: unknown;
  guarded(() => {
    token = observer?.parked?.(kind);
  });
  return { record, observer, token };
}

/** The wait has been claimed. */
export function unwatch(kind: Kind, { record, observer, token }: Watch): void {
  if (record !== undefined) erase(record);
  if (observer !== undefined) guarded(() => observer.unparked?.(kind, token));
}

/** Whether an observer wants to run tasks itself, by {@link runTask}. */
export function isObserved(): boolean {
  return observer?.task !== undefined;
}

/** Runs a task's function, as the observer wants it run. */
export function runTask<R>(fn: () => R): R {
  return observer?.task === undefined ? fn() : observer.task(fn);
}

const records = new Set<LeakRecord>();

// Proved leaks that `verifyNone` has not reported yet, so that they are still reported after the collector took the
// objects. Of more than MAX_PROVED the oldest are dropped; the listeners see all.
const proved: LeakRecord[] = [];
const MAX_PROVED = 1000;

const listeners = new Set<(record: LeakRecord) => void>();

const registry = new FinalizationRegistry<LeakRecord>((record) => {
  if (!records.delete(record)) return;
  record.kind.live -= record.units;
  PROVED.live += record.units;
  if (proved.push(record) > MAX_PROVED) proved.shift();
  for (const listener of [...listeners]) guarded(() => listener(record));
});

// The cancel functions of things that something else can end, too.
const cancels = new FinalizationRegistry<LeakRecord>((record) => {
  record.lostCancel = true;
});

/** Sets the record's `lostCancel` when the collector takes `cancel`. */
export function noteLostCancel(record: LeakRecord, cancel: WeakKey): void {
  cancels.register(cancel, record, record);
}

/**
 * Counts one more of the kind. Under full tracking, returns the record to hand to {@link exit}; `thing` is what the
 * collector must take to prove the leak, where it can be proved so; `entryPoints` are the public functions that may
 * have been called, where the kind does not name them; `stack` is where one of them was called, if that was earlier.
 */
export function enter(
  kind: Kind,
  thing?: WeakKey,
  entryPoints?: () => readonly PublicFunction[],
  stack?: string,
): LeakRecord | undefined {
  kind.live++;
  return full ? makeRecord(kind, 1, thing, entryPoints, stack) : undefined;
}

/** Counts one less, and erases the record. (One whose thing the collector took is not counted any more.) */
export function exit(kind: Kind, record: LeakRecord | undefined): void {
  if (record === undefined || erase(record)) kind.live--;
}

// Set by `onBehalfOf` while it runs.
let origin: string | undefined;

/**
 * Calls `fn`. A record that it makes gets this stack if its own shows nothing of the program: only frames of the
 * library and the host. (In a bundle, where the library's frames look like the program's, it always gets this one.) For
 * a loop of ours that works for a call which has returned. `stack` is from {@link stackOfCall}.
 */
export function onBehalfOf<R>(stack: string | undefined, fn: () => R): R {
  if (stack === undefined) return fn();
  const outer = origin;
  origin = stack;
  try {
    return fn();
  } finally {
    origin = outer;
  }
}

/** Where one of the public functions is being called; undefined unless records are kept. */
export function stackOfCall(entryPoints: () => readonly PublicFunction[]): string | undefined {
  return full ? callerStack(entryPoints(), origin) : undefined;
}

/** Makes the record of units that the caller counts. To be called under full tracking only: see {@link isFull}. */
export function makeRecord(
  kind: Kind,
  units: number,
  thing?: WeakKey,
  entryPoints: () => readonly PublicFunction[] = kind.entryPoints,
  stack: string = callerStack(entryPoints(), origin),
): LeakRecord {
  const record = { kind, units, madeAt: realNow(), stack, lostCancel: false, holder: undefined };
  records.add(record);
  if (thing !== undefined) registry.register(thing, record, record);
  return record;
}

/** Erases a record that {@link makeRecord} made; false if the collector has been there first. */
export function erase(record: LeakRecord): boolean {
  registry.unregister(record);
  cancels.unregister(record);
  return records.delete(record);
}

/** The records, oldest first. */
export function allRecords(): Iterable<LeakRecord> {
  return records;
}

/** The proved leaks that {@link takeProved} has not taken yet. */
export function provedRecords(): readonly LeakRecord[] {
  return proved;
}

/** Returns the proved leaks and clears their list. */
export function takeProved(): LeakRecord[] {
  return proved.splice(0);
}

/** Calls `listener` for each proved leak from now on; returns what ends that. */
export function onProvedRecord(listener: (record: LeakRecord) => void): () => void {
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
  };
}

// Of the errors that waits were rejected with under full tracking: the first wait's stack, and how many more there
// were.
const places = new WeakMap<Error, { readonly stack: string; more: number }>();

/** Lets the stack of a shared error, which has none of its own, show the first wait that it rejected. */
export function showWaitStack(error: Error, record: LeakRecord): void {
  const place = places.get(error);
  if (place === undefined) {
    places.set(error, { stack: record.stack, more: 0 });
    setStack(error, record.stack);
  } else {
    place.more++;
    setStack(error, `${place.stack}\n    (and ${place.more} more ${place.more === 1 ? "wait" : "waits"})`);
  }
}
