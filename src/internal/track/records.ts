/**
 * Records with stacks: what is alive, where it was made, and whether it was proved to be leaked.
 *
 * A record is referenced strongly, the thing that it describes never: a registry that held parked waits would keep
 * alive what the collector would otherwise free, and no leak could ever be proved. When the collector takes a thing
 * whose record is still there, nothing could reach it any more, so nothing could ever have ended it: the leak is
 * proved. Records of one kind that were made at one place share a {@link Site}, so a profile by place needs no walk
 * through the records.
 *
 * This is loaded by what turns recording on (`gopark/leak`, for example), and by nothing else: {@link setLevel} hands
 * the functions that make records to tracker.ts. What happens to a record later is in its methods, so who has one
 * needs no import of this file.
 */
import { guarded } from "../host/async.ts";
import { setStack } from "../host/errors.ts";
import { realNow } from "../host/host.ts";
import { callerStack, setFrames } from "./stack.ts";
import type { Task } from "./tasks.ts";
import {
  allKinds,
  currentLevel,
  currentOrigin,
  type Holder,
  type Kind,
  type Level,
  PROVED,
  type PublicFunction,
  type Recorder,
  setRecording,
} from "./tracker.ts";

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
    const level = currentLevel();
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

  /** Whether what it is of has not ended, and has not been taken by the collector. */
  isAlive(): boolean {
    return records.has(this);
  }

  /** Erases it, as what it is of has ended. False if the collector has been there first. */
  erase(): boolean {
    registry.unregister(this);
    cancels.unregister(this);
    this.above?.below?.delete(this);
    if (!records.delete(this)) return false;
    leaveSite(this, this.units);
    return true;
  }

  /** Erases `n` of its units, at most all that it has. */
  eraseUnits(n: number): void {
    if (n >= this.units) {
      this.erase();
      return;
    }
    leaveSite(this, n);
    this.units -= n;
  }

  /**
   * Sets `lostCancel` when the collector takes `cancel`, while `thing` is there, which something else can end. If that
   * is one other thing alone, `above` is the record of it, where it has one: when that is proved, so is this one, now
   * or when its `cancel` is taken.
   */
  noteLostCancel(cancel: WeakKey, thing: WeakKey, above?: LeakRecord): void {
    cancels.register(cancel, { record: this, thing: new WeakRef(thing) }, this);
    if (above === undefined) return;
    this.above = above;
    above.below ??= new Set();
    above.below.add(this);
  }

  /** Lets the stack of a shared error, which has none of its own, show the first wait that it rejected. */
  showWaitStack(error: Error): void {
    const place = places.get(error);
    if (place === undefined) {
      places.set(error, { stack: this.stack, more: 0 });
      setStack(error, this.stack);
    } else {
      place.more++;
      setStack(error, `${place.stack}\n    (and ${place.more} more ${place.more === 1 ? "wait" : "waits"})`);
    }
  }
}

// Of the errors that waits were rejected with under full tracking: the first wait's stack, and how many more there
// were.
const places = new WeakMap<Error, { readonly stack: string; more: number }>();

/** The age of a record in milliseconds, by the real clock. */
export function ageOf(record: LeakRecord, now: number = realNow()): number {
  return now - record.madeAt;
}

const records = new Set<LeakRecord>();

/** The records, oldest first. */
export function allRecords(): Iterable<LeakRecord> {
  return records;
}

const RECORDER: Recorder = {
  record(kind, units, thing, entryPoints, stack = stackNow(entryPoints)) {
    const site = atSite(kind.sites, kind, stack);
    const record = new LeakRecord(site, units, currentScope());
    site.units += units;
    site.estimate += units * record.each;
    if (taskOf !== undefined) record.task = taskOf(record, kind);
    records.add(record);
    if (thing !== undefined) registry.register(thing, record, record);
    return record;
  },
  stackNow,
};

/** Sets how much is recorded of what is made from now on. */
export function setLevel(next: Level): void {
  if (next.name === "sampled" && currentLevel().name !== "sampled") {
    for (const kind of allKinds()) kind.unsampled = unrecordedOf(kind);
  }
  setFrames(next.name === "counters" ? undefined : next.frames);
  setRecording(next, RECORDER);
}

/** Where one of the public functions is being called, whatever is recorded. Costs some microseconds. */
export function stackNow(entryPoints: () => readonly PublicFunction[]): string {
  return callerStack(entryPoints(), currentOrigin());
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

/** The places at which recorded things were made that are alive, by kind. */
export function sitesOf(kind: Kind): Iterable<Site> {
  return kind.sites.values();
}

/** How many of a kind are alive without a record. Costs a step for each place. */
export function unrecordedOf(kind: Kind): number {
  let n = kind.live;
  for (const { units } of kind.sites.values()) n -= units;
  return n;
}

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
    if (!record.erase()) continue;
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

/** The places at which what was proved to be leaked had been made, with how many. Never forgotten. */
export function sitesOfProved(): Iterable<Site> {
  return provedSites.values();
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
