/**
 * What is alive in the library: counters that are always on, and records with stacks that a switch turns on.
 *
 * Counters cost an increment and a decrement. Full tracking adds to every entry a record that says where it was made;
 * that costs a formatted stack, 4–9 µs, so it is for tests and development.
 *
 * A record is held strongly, the thing it describes never: a registry that held parked waits would keep alive what the
 * collector would otherwise free, and no leak could ever be proved. When the collector takes a thing whose record is
 * still open, nobody could have reached it any more, so nobody could ever have ended it: the leak is proved.
 */
import { now } from "./clock.ts";

/** A sort of thing that can be left behind. */
export class Kind {
  /** How many are alive now. */
  live = 0;

  readonly name: string;

  constructor(name: string) {
    this.name = name;
    kinds.push(this);
  }
}

const kinds: Kind[] = [];

/** What `go` and groups run. */
export const TASK: Kind = new Kind("task");

/** Every kind known so far. A module's kinds appear when the module is loaded. */
export function allKinds(): readonly Kind[] {
  return kinds;
}

/** One thing of a kind, from its making to its end. */
export interface Entry {
  readonly kind: Kind;
  /** How many of the kind it stands for. */
  readonly units: number;
  /** Epoch milliseconds. */
  readonly since: number;
  /** Formatted at once: an unformatted Error keeps the receivers of its frames alive, and the proof would never come. */
  readonly stack: string;
}

const open = new Set<Entry>();

// Proved leaks that nobody has asked for yet: what the collector took must still be reported. The oldest give way.
const lost: Entry[] = [];
const LOST_MOST = 1000;

const listeners = new Set<(entry: Entry) => void>();

const registry = new FinalizationRegistry<Entry>((entry) => {
  if (!open.delete(entry)) return;
  entry.kind.live -= entry.units;
  if (lost.push(entry) > LOST_MOST) lost.shift();
  for (const tell of listeners) tell(entry);
});

let full = false;

export function setFull(on: boolean): void {
  full = on;
}

export function isFull(): boolean {
  return full;
}

/**
 * Counts one more of the kind. Under full tracking, returns the entry to hand to {@link closed}; `thing` is what the
 * collector must take to prove the leak, where it can be proved so.
 */
export function opened(kind: Kind, thing?: WeakKey): Entry | undefined {
  kind.live++;
  return full ? record(kind, 1, thing) : undefined;
}

/** Counts one less, and closes the entry. What the collector took was counted then. */
export function closed(kind: Kind, entry: Entry | undefined): void {
  if (entry === undefined || open.delete(entry)) kind.live--;
}

/** Opens an entry for units that the caller counts. */
export function record(kind: Kind, units: number, thing?: WeakKey): Entry {
  const entry = { kind, units, since: now(), stack: callers() };
  open.add(entry);
  if (thing !== undefined) registry.register(thing, entry);
  return entry;
}

/** Closes an entry that {@link record} opened; false if the collector has been there first. */
export function close(entry: Entry): boolean {
  return open.delete(entry);
}

/** The open entries, oldest first. */
export function entries(): Iterable<Entry> {
  return open;
}

/** The proved leaks that {@link takeLost} has not taken yet. */
export function lostEntries(): readonly Entry[] {
  return lost;
}

/** Takes the proved leaks since the last call. */
export function takeLost(): Entry[] {
  return lost.splice(0);
}

/** Calls `tell` for each proved leak from now on; returns what ends that. */
export function onLost(tell: (entry: Entry) => void): () => void {
  listeners.add(tell);
  return () => {
    listeners.delete(tell);
  };
}

/** The stack of whoever called into the library, its own frames left out. */
function callers(): string {
  const frames = (new Error().stack ?? "").split("\n").slice(1);
  const first = frames.findIndex((frame) => !frame.includes(HERE));
  return (first === -1 ? frames : frames.slice(first)).join("\n");
}

// The library's folder, as stack frames show it.
const HERE = new URL("..", import.meta.url).href.replace(/^file:\/\//, "");
