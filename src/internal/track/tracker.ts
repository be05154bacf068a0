/**
 * What is alive in the library: counters that are always on, and the switch of what may be recorded besides.
 *
 * A counter costs an increment and a decrement. Full tracking makes a {@link LeakRecord} for each thing, which says
 * where it was made; that costs a formatted stack, some microseconds, so it is for tests and development. Sampled
 * tracking makes one for a few of them, chosen at random, which is cheap enough for production.
 *
 * Records and stacks are in records.ts. This file, which every module needs, knows of them only by their types: a
 * program that records nothing does not load them.
 */

import { isObject } from "../data/args.ts";
import { guarded } from "../host/async.ts";
import type { LeakRecord, Site } from "./records.ts";

/** A public function of any signature, to be compared by identity. */
// biome-ignore lint/complexity/noBannedTypes: nothing else is a supertype of all functions and classes.
export type PublicFunction = Function;

// The public functions that call other public functions. Things that the inner one makes count as made by the caller of
// the outer one.
const outer: (() => readonly PublicFunction[])[] = [];

/** Says that these functions call other public ones. If one of them calls another, the caller stands first. */
export function registerOuter(functions: () => readonly PublicFunction[]): void {
  outer.push(functions);
}

/** What {@link registerOuter} was told. */
export function outerEntryPoints(): PublicFunction[] {
  return outer.flatMap((functions) => functions());
}

/** What sort of thing a kind counts: something that waits, something that runs, or something held. For observers. */
export type KindClass = "wait" | "task" | "resource";

/** What is said of few kinds. */
interface KindOptions {
  readonly sampledInPart?: boolean;
  readonly callerWaits?: boolean;
}

/** A sort of thing that can be left behind. */
export class Kind {
  /**
   * How many were made and have not ended. One that the collector took counts here for ever. If it was recorded with
   * its object, it counts as {@link PROVED} instead.
   */
  live = 0;

  readonly name: string;
  readonly class: KindClass;

  /** The public functions that make one, the outer ones first: where a stack begins. Called when a record is made. */
  readonly entryPoints: () => readonly PublicFunction[];

  /**
   * Under sampled tracking, at most how many of `live` no record stands for. They were there without a record when it
   * began, or the record that stood for them is of a proved leak, as most likely they are too. Written in records.ts.
   */
  unsampled = 0;

  /** Where the recorded ones that are alive were made, by stack. */
  readonly sites: Map<string, Site> = new Map();

  /** Whether sampled tracking passes over some, for which it would not be known which one has ended. */
  readonly sampledInPart: boolean;

  /** For a task: whether the caller of the function that makes one waits for its end meanwhile. */
  readonly callerWaits: boolean;

  constructor(
    name: string,
    kindClass: KindClass,
    entryPoints: () => readonly PublicFunction[] = () => [],
    { sampledInPart = false, callerWaits = false }: KindOptions = {},
  ) {
    this.name = name;
    this.class = kindClass;
    this.entryPoints = entryPoints;
    this.sampledInPart = sampledInPart;
    this.callerWaits = callerWaits;
    kinds.push(this);
  }
}

const kinds: Kind[] = [];

/** The functions that `go`, groups, a WaitGroup's `go`, workers, and the stages `map` and `filter` run. */
export const TASK: Kind = new Kind("task", "task");

/**
 * What the collector has proved to be leaked, of any class. It stays counted here, so that a gauge does not show less
 * where it is recorded. Its own class says nothing.
 */
export const PROVED: Kind = new Kind("proved leak", "wait");

/** Every kind known so far. A module's kinds appear when the module is loaded. */
export function allKinds(): readonly Kind[] {
  return kinds;
}

/**
 * The holders of what a wait waits for: of a lock, of a group's slots; or what must end first: the running call of a
 * `Once`. Records of waits refer to it, so it must not refer to the lock: the collector could then never prove a leak.
 */
export class Holder {
  /** The records of those that are recorded, oldest first. */
  readonly records: Set<LeakRecord> = new Set();

  /** How many of them must let go to end a wait. */
  readonly enough: "one" | "all";

  constructor(enough: "one" | "all") {
    this.enough = enough;
  }

  /** Where the oldest took it, or began; undefined while there is none, or none is recorded. */
  get stack(): string | undefined {
    for (const { stack } of this.records) return stack;
    return undefined;
  }
}

/**
 * Sees every wait that parks, and every task that runs: a {@link TASK}, the function of an `update` or of a `Once`, the
 * work of a flight. For profiles, traces, virtual time. An error that `parked` or `unparked` throws is reported and
 * changes nothing.
 */
export interface Observer {
  /** A wait of the kind has parked; `record` is its record, if it has one. The result is handed to `unparked`. */
  parked?(kind: Kind, record: LeakRecord | undefined): unknown;
  /**
   * That wait is being claimed, and its promise is not settled yet. `canceled`: its context or signal has ended. Must
   * not call the library.
   */
  unparked?(kind: Kind, token: unknown, canceled: boolean): void;
  /** Runs a task's function; called instead of it. An error that it throws counts as the task's. */
  task?<R>(fn: () => R, record: LeakRecord | undefined): R;
}

/**
 * How much is recorded: nothing; about one of `every` things; or all. `frames` is how many frames of the program a
 * stack has; undefined is the host's limit.
 */
export type Level =
  | { readonly name: "counters" }
  | { readonly name: "sampled"; readonly every: number; readonly frames: number }
  | { readonly name: "full"; readonly frames: number | undefined };

/** What makes records, and stacks. */
export interface Recorder {
  /** Makes the record of units that the caller counts: see {@link makeRecord}. */
  record(
    kind: Kind,
    units: number,
    thing: WeakKey | undefined,
    entryPoints: () => readonly PublicFunction[],
    stack: string | undefined,
  ): LeakRecord;
  /** Where one of the public functions is being called. */
  stackNow(entryPoints: () => readonly PublicFunction[]): string;
}

let level: Level = { name: "counters" };
let full = false;

// There from the first call of `setRecording` on; so whenever something is to be recorded.
let recorder: Recorder | undefined;

// How often a level was set at which not everything is recorded.
let lowered = 0;

const observers: Observer[] = [];
let observer: Observer | undefined;

// How many things may be made before one is to be looked at. Counting them down is all that a wait pays for while
// nothing is recorded and nobody observes: then it starts again from UNWATCHED.
const UNWATCHED = 2 ** 30 - 1;
let unlooked = UNWATCHED;

// Under sampled tracking with an observer, where each wait is looked at: how many are not to be recorded first.
let unsampled = 0;

/** Sets how much is recorded of what is made from now on, and by what. */
export function setRecording(next: Level, by: Recorder): void {
  level = next;
  full = next.name === "full";
  if (!full) lowered++;
  recorder = by;
  startCount();
}

/** How much is recorded of what is made from now on. */
export function currentLevel(): Level {
  return level;
}

/** Whether everything that is made from now on is recorded. */
export function isFull(): boolean {
  return full;
}

/** Changes whenever a level is set at which not everything is recorded. */
export function timesLowered(): number {
  return lowered;
}

/**
 * Shows `added` what happens from now on, besides the other observers; returns what ends that. After it, `added` still
 * sees the end of each wait that it has seen park, and the wait that parks during the call, if another observer calls
 * it: what has parked without being seen by all would need a token that says so.
 */
export function addObserver(added: Observer): () => void {
  observers.push(added);
  observer = combined([...observers]);
  startCount();
  let removed = false;
  return () => {
    if (removed) return; // One that is there twice must not lose both.
    removed = true;
    observers.splice(observers.indexOf(added), 1);
    observer = combined([...observers]);
    startCount();
  };
}

/** One observer that stands for all; undefined for none. One that throws hides nothing from the others. */
function combined(all: readonly Observer[]): Observer | undefined {
  if (all.length < 2) return all[0];
  const runners = all.filter(({ task }) => task !== undefined);
  const several: Observer = {
    parked: (kind, record) => all.map((one) => parkedAt(one, kind, record)),
    unparked: (kind, tokens, canceled) => {
      for (const [i, one] of all.entries()) unparkedAt(one, kind, (tokens as unknown[])[i], canceled);
    },
  };
  if (runners.length === 0) return several;
  const task = <R>(fn: () => R, record: LeakRecord | undefined) =>
    runners.reduce<() => R>((inner, one) => () => (one.task as NonNullable<Observer["task"]>)(inner, record), fn)();
  return { ...several, task };
}

function parkedAt(one: Observer, kind: Kind, record: LeakRecord | undefined): unknown {
  let token: unknown;
  guarded(() => {
    token = one.parked?.(kind, record);
  });
  return token;
}

function unparkedAt(one: Observer, kind: Kind, token: unknown, canceled: boolean): void {
  guarded(() => one.unparked?.(kind, token, canceled));
}

/** What `watch` keeps for `unwatch`. */
export interface Watch {
  readonly record: LeakRecord | undefined;
  readonly observer: Observer | undefined;
  readonly token: unknown;
}

// What a wait has before it is watched: whether it is to be recorded. To `unwatch` both are nothing.
const TO_RECORD: Watch = { record: undefined, observer: undefined, token: undefined };
const TO_OBSERVE: Watch = { ...TO_RECORD };

function startCount(): void {
  unlooked = 0;
  if (level.name === "sampled") unsampled = gap(level.every);
  if (observer !== undefined || level.name === "full") return;
  unlooked = level.name === "sampled" ? unsampled : UNWATCHED;
}

/** Whether the thing that is being made is to be recorded. To be asked once for each thing. */
export function isDue(): boolean {
  return --unlooked < 0 && look() === TO_RECORD;
}

/** Whether a wait that is being made is to be watched: undefined if not, else what to hand to {@link watch}. */
export function toWatch(): Watch | undefined {
  return --unlooked < 0 ? look() : undefined;
}

/** Out of line, so that asking is a decrement and a comparison. */
function look(): Watch | undefined {
  if (observer === undefined && level.name !== "full") {
    startCount();
    return level.name === "sampled" ? TO_RECORD : undefined;
  }
  unlooked = 0;
  if (level.name === "full") return TO_RECORD;
  if (level.name === "counters" || --unsampled >= 0) return TO_OBSERVE;
  unsampled = gap(level.every);
  return TO_RECORD;
}

/**
 * How many things to pass over if one of `every` is to be recorded, on average. Geometric, as if each were chosen by a
 * throw of its own: with a fixed step, kinds that alternate in step with it would be recorded always or never.
 * With an `every` of 1 the divisor is -Infinity, and the gap 0.
 */
function gap(every: number): number {
  return Math.floor(Math.log(1 - Math.random()) / Math.log(1 - 1 / every));
}

/** Begins to watch a wait that {@link toWatch} has chosen. `holder` holds what it waits for. */
export function watch(due: Watch, kind: Kind, wait: WeakKey, holder?: Holder): Watch {
  const record = due === TO_RECORD ? makeRecord(kind, 1, wait) : undefined;
  if (record !== undefined) record.holder = holder;
  const seenBy = observer;
  return { record, observer: seenBy, token: seenBy === undefined ? undefined : parkedAt(seenBy, kind, record) };
}

/** The wait has been claimed. */
export function unwatch(kind: Kind, { record, observer, token }: Watch): void {
  record?.erase();
  if (observer !== undefined) unparkedAt(observer, kind, token, false);
}

/** The wait is about to be claimed, as its context or signal has ended. Returns what is left for {@link unwatch}. */
export function unwatchCanceled(kind: Kind, { record, observer, token }: Watch): Watch {
  if (observer !== undefined) unparkedAt(observer, kind, token, true);
  return { record, observer: undefined, token: undefined };
}

/** Whether an observer wants to run tasks itself, by {@link runTask}. */
export function isObserved(): boolean {
  return observer?.task !== undefined;
}

/** Runs a task's function, as the observer wants it run. */
export function runTask<R>(fn: () => R, record: LeakRecord | undefined): R {
  return observer?.task === undefined ? fn() : observer.task(fn, record);
}

/**
 * Runs a task's function with these arguments, as {@link runTask} does. For callers that would otherwise allocate a
 * closure at every call, though nobody observes.
 */
export function runTaskWith<A extends readonly unknown[], R>(
  record: LeakRecord | undefined,
  fn: (...args: A) => R,
  ...args: A
): R {
  return runTask(() => fn(...args), record);
}

/**
 * For observers: calls a task's function, and `ended` when the task has ended. That is when the function has thrown or
 * has returned no object, else when a promise of what it has returned is settled. Returns that promise then, so that a
 * foreign one has its `then` called only once.
 */
export function runToEnd<R>(fn: () => R, ended: () => void): R {
  let result: R;
  try {
    result = fn();
    if (isObject(result)) {
      const promise = Promise.resolve(result);
      Promise.prototype.then.call(promise, ended, ended);
      return promise as R;
    }
  } catch (error) {
    ended();
    throw error;
  }
  ended();
  return result;
}

/**
 * Counts one more of the kind. If it is to be recorded, returns the record to hand to {@link exit}; `thing` is what the
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
  return isDue() ? makeRecord(kind, 1, thing, entryPoints, stack) : undefined;
}

/** Counts one less, and erases the record. (One whose thing the collector took is not counted any more.) */
export function exit(kind: Kind, record: LeakRecord | undefined): void {
  if (record === undefined || record.erase()) kind.live--;
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

/** Where one of the public functions is being called; undefined unless all is recorded. */
export function stackOfCall(entryPoints: () => readonly PublicFunction[]): string | undefined {
  return full ? (recorder as Recorder).stackNow(entryPoints) : undefined;
}

/** The stack of the call on whose behalf the code runs that runs now: see {@link onBehalfOf}. */
export function currentOrigin(): string | undefined {
  return origin;
}

/** Makes the record of units that the caller counts, once {@link isDue} has said so: see {@link enter}. */
export function makeRecord(
  kind: Kind,
  units: number,
  thing?: WeakKey,
  entryPoints: () => readonly PublicFunction[] = kind.entryPoints,
  stack?: string,
): LeakRecord {
  return (recorder as Recorder).record(kind, units, thing, entryPoints, stack);
}
