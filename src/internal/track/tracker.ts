/**
 * What is alive in the library: counters that are always on, and records with stacks that a switch turns on.
 *
 * A counter costs an increment and a decrement. Full tracking makes a {@link LeakRecord} for each thing, which says
 * where it was made; that costs a formatted stack, some microseconds, so it is for tests and development. Sampled
 * tracking makes one for a few of them, chosen at random, which is cheap enough for production. Records of one kind
 * that were made at one place share a {@link Site}, so a profile by place needs no walk through the records.
 *
 * A record is referenced strongly, the thing that it describes never: a registry that held parked waits would keep
 * alive what the collector would otherwise free, and no leak could ever be proved. When the collector takes a thing
 * whose record is still there, nothing could reach it any more, so nothing could ever have ended it: the leak is
 * proved.
 */

import { isObject } from "../data/args.ts";
import { guarded } from "../host/async.ts";
import { setStack } from "../host/errors.ts";
import { realNow } from "../host/host.ts";
import { callerStack, type PublicFunction, setFrames } from "./stack.ts";
import type { Task } from "./tasks.ts";

export type { PublicFunction } from "./stack.ts";
export { registerOuter } from "./stack.ts";

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
   * began, or the record that stood for them is of a proved leak, as most likely they are too. Written by
   * {@link setLevel} and by a proof.
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

/** A place at which things of one kind are made, while a recorded one is alive. */
export interface Site {
  readonly kind: Kind;
  /**
   * Formatted at once: an unformatted Error keeps the receivers of its frames alive, and the proof would never come.
   */
  readonly stack: string;
  /** How many of the kind its records are of. */
  units: number;
  /** How many its records stand for: a sampled one also for those that were passed over. As `units` if all are kept. */
  estimate: number;
}

/** The record of one thing of a kind, from its making to its end. */
export class LeakRecord {
  readonly site: Site;
  /** How many of the kind it is of. Changed by {@link eraseUnits} alone. */
  units: number;
  /** How many each of its units stands for: `every` of the sampling that made it, else 1. */
  readonly each: number;
  /** When it was made, by the real clock: {@link ageOf}. In whole milliseconds, which take no memory of their own. */
  readonly madeAt: number;
  /** The leak check's scope in which it was made: see {@link setScopes}. */
  readonly scope: object | undefined;
  /** Whether the collector has taken its cancel function, so that only something else can still end it. */
  lostCancel = false;
  /** Of a context: whether all else that could end it was proved to be leaked. Set by that proof. */
  endsByCancelAlone = false;
  /** Of a context: the record of the one thing that can end it besides its cancel function, where that is recorded. */
  above: LeakRecord | undefined = undefined;
  /** Those of which it is `above`, and which have not ended. Made for the first. */
  below: Set<LeakRecord> | undefined = undefined;
  /** For a wait: the holder of what it waits for, where that is known. */
  holder: Holder | undefined = undefined;
  /**
   * Under task identity: of a wait, the task that waits; of a task, that task; of a held lock, the task that holds it.
   * Undefined where that is not known, and for everything else.
   */
  task: Task | undefined = undefined;

  constructor(site: Site, units: number, scope: object | undefined) {
    this.site = site;
    this.units = units;
    this.each = level.name === "sampled" ? level.every : 1;
    this.madeAt = Math.floor(realNow());
    this.scope = scope;
  }

  get kind(): Kind {
    return this.site.kind;
  }

  get stack(): string {
    return this.site.stack;
  }
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

/** The age of a record in milliseconds, by the real clock. */
export function ageOf(record: LeakRecord, now: number = realNow()): number {
  return now - record.madeAt;
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

let level: Level = { name: "counters" };
let full = false;

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

export function setLevel(next: Level): void {
  if (next.name === "sampled" && level.name !== "sampled") {
    for (const kind of kinds) kind.unsampled = unrecordedOf(kind);
  }
  level = next;
  full = next.name === "full";
  if (!full) lowered++;
  setFrames(next.name === "counters" ? undefined : next.frames);
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
 */
function gap(every: number): number {
  return every === 1 ? 0 : Math.floor(Math.log(1 - Math.random()) / Math.log(1 - 1 / every));
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
  if (record !== undefined) erase(record);
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

const records = new Set<LeakRecord>();

// Proved leaks that `verifyNone` has not reported yet, so that they are still reported after the collector took the
// objects. Of more than MAX_PROVED the oldest are dropped; the listeners see all.
const proved: LeakRecord[] = [];
const MAX_PROVED = 1000;

// How many have been proved in all, by kind and place.
const provedSites = new Map<string, Site>();

const provedListeners = new Set<Listener>();
const lostCancelListeners = new Set<Listener>();

const registry = new FinalizationRegistry<LeakRecord>(prove);

/** Nothing can end what the record is of any more: a proved leak, unless it has ended before. */
function prove(first: LeakRecord): void {
  // A list, not recursion: a chain of contexts may be of any depth.
  const provable = [first];
  for (const record of provable) {
    if (!erase(record)) continue;
    const { kind, stack, units, each } = record;
    kind.live -= units;
    kind.unsampled += units * (each - 1);
    PROVED.live += units;
    const site = atSite(provedSites, kind, stack);
    site.units += units;
    site.estimate += units;
    if (proved.push(record) > MAX_PROVED) proved.shift();
    for (const below of record.below ?? []) {
      if (below.lostCancel) provable.push(below);
      else below.endsByCancelAlone = true;
    }
    tell(provedListeners, record);
  }
}

/** A thing with a cancel function, which was not the only way to end it when it was made. */
interface Cancelable {
  readonly record: LeakRecord;
  readonly thing: WeakRef<WeakKey>;
}

const cancels = new FinalizationRegistry<Cancelable>(({ record, thing }) => {
  if (record.endsByCancelAlone) {
    prove(record);
  } else if (thing.deref() !== undefined) {
    record.lostCancel = true;
    tell(lostCancelListeners, record);
  } // Otherwise the thing was taken with it, which proves the leak.
});

/**
 * Sets the record's `lostCancel` when the collector takes `cancel`, while `thing` is there, which something else can
 * end. If that is one other thing alone, `above` is the record of it, where it has one: when that is proved, so is this
 * one, now or when its `cancel` is taken.
 */
export function noteLostCancel(record: LeakRecord, cancel: WeakKey, thing: WeakKey, above?: LeakRecord): void {
  cancels.register(cancel, { record, thing: new WeakRef(thing) }, record);
  if (above === undefined) return;
  record.above = above;
  above.below ??= new Set();
  above.below.add(record);
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

/** Where one of the public functions is being called; undefined unless all is recorded. */
export function stackOfCall(entryPoints: () => readonly PublicFunction[]): string | undefined {
  return full ? stackNow(entryPoints) : undefined;
}

/** The same, whatever is recorded: for observers. Costs some microseconds. */
export function stackNow(entryPoints: () => readonly PublicFunction[]): string {
  return callerStack(entryPoints(), origin);
}

/** Makes the record of units that the caller counts: see {@link isDue}. */
export function makeRecord(
  kind: Kind,
  units: number,
  thing?: WeakKey,
  entryPoints: () => readonly PublicFunction[] = kind.entryPoints,
  stack: string = stackNow(entryPoints),
): LeakRecord {
  const site = atSite(kind.sites, kind, stack);
  const record = new LeakRecord(site, units, currentScope());
  site.units += units;
  site.estimate += units * record.each;
  if (taskOf !== undefined) record.task = taskOf(record, kind);
  records.add(record);
  if (thing !== undefined) registry.register(thing, record, record);
  return record;
}

function atSite(sites: Map<string, Site>, kind: Kind, stack: string): Site {
  const key = sites === kind.sites ? stack : `${kind.name}\n${stack}`;
  let site = sites.get(key);
  if (site === undefined) {
    site = { kind, stack, units: 0, estimate: 0 };
    sites.set(key, site);
  }
  return site;
}

function leaveSite({ site, each }: LeakRecord, units: number): void {
  site.units -= units;
  site.estimate -= units * each;
  if (site.units === 0 && site.kind.sites.get(site.stack) === site) site.kind.sites.delete(site.stack);
}

/** Erases a record that {@link makeRecord} made; false if the collector has been there first. */
export function erase(record: LeakRecord): boolean {
  registry.unregister(record);
  cancels.unregister(record);
  record.above?.below?.delete(record);
  if (!records.delete(record)) return false;
  leaveSite(record, record.units);
  return true;
}

/** Erases `n` units of a record, at most all that it has. */
export function eraseUnits(record: LeakRecord, n: number): void {
  if (n >= record.units) {
    erase(record);
    return;
  }
  leaveSite(record, n);
  record.units -= n;
}

/** The places at which recorded things were made that are alive, by kind. */
export function sitesOf(kind: Kind): Iterable<Site> {
  return kind.sites.values();
}

/** The places at which what was proved to be leaked had been made, with how many. Never forgotten. */
export function sitesOfProved(): Iterable<Site> {
  return provedSites.values();
}

/** How many of a kind are alive without a record. Costs a step for each place. */
export function unrecordedOf(kind: Kind): number {
  let n = kind.live;
  for (const { units } of kind.sites.values()) n -= units;
  return n;
}

let currentScope: () => object | undefined = () => undefined;

/** Sets what says in which scope a record is made. */
export function setScopes(scopeNow: () => object | undefined): void {
  currentScope = scopeNow;
}

let taskOf: ((record: LeakRecord, kind: Kind) => Task | undefined) | undefined;

/** Sets what says which task a record that is being made belongs to; undefined for no identity. */
export function setTaskOf(taskOfRecord: typeof taskOf): void {
  taskOf = taskOfRecord;
}

/** The records, oldest first. */
export function allRecords(): Iterable<LeakRecord> {
  return records;
}

/** Whether what the record is of has not ended, and has not been taken by the collector. */
export function isAlive(record: LeakRecord): boolean {
  return records.has(record);
}

/** The proved leaks that {@link takeProved} has not taken yet. */
export function provedRecords(): readonly LeakRecord[] {
  return proved;
}

/** Takes proved leaks off their list: those of which `taken` is true. */
export function takeProved(taken: (record: LeakRecord) => boolean): void {
  const left = proved.filter((record) => !taken(record));
  proved.splice(0, proved.length, ...left);
}

type Listener = (record: LeakRecord) => void;

/** Calls `listener` for each proved leak from now on; returns what ends that. */
export function onProvedRecord(listener: Listener): () => void {
  return added(listener, provedListeners);
}

/** Calls `listener` for each lost cancel from now on; returns what ends that. */
export function onLostCancelRecord(listener: Listener): () => void {
  return added(listener, lostCancelListeners);
}

function added(listener: Listener, to: Set<Listener>): () => void {
  // Two of the same function are two.
  const own: Listener = (record) => listener(record);
  to.add(own);
  return () => {
    to.delete(own);
  };
}

/** Calls those that are there now, except those that an earlier one ends. */
function tell(listeners: ReadonlySet<Listener>, record: LeakRecord): void {
  for (const listener of [...listeners]) if (listeners.has(listener)) guarded(() => listener(record));
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
