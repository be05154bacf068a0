/**
 * Leak checks: finds the waits, tasks, timers, held locks, units and objects, and contexts that are still there, and
 * says where they were made.
 *
 * Rules of use, for tests:
 *
 * - Turn full tracking on before the tests: `track("full")`.
 * - Take a snapshot before each test, `before = current()`, and verify after it: `verifyNone({ ignore: before })`. Then
 *   things that one test leaves behind, or keeps on purpose, do not make the next one fail.
 *
 * ```ts
 * import { Channel, leak } from "gopark";
 *
 * leak.track("full");
 * const results = new Channel<number>();
 * void results.receive(); // nobody will ever send
 *
 * await leak.verifyNone().catch((err: Error) => console.log(err.message.split("\n")[0]));
 * results.close();
 * await leak.verifyNone();
 * leak.track("counters");
 * // Output:
 * // found unexpected leaks: 1 chan receive
 * ```
 *
 * Ports go.uber.org/goleak. Differences from Go:
 *
 * - goleak looks at all goroutines of the process. This module sees what goes through the library: a bare
 *   `new Promise(() => {})` is invisible to it.
 * - It finds not only tasks, but also waits, timers, held locks, units of semaphores, objects of pools, and contexts
 *   that have not ended.
 * - A wait that the garbage collector has freed is reported too, under full tracking. That proves that nothing could
 *   have ended it. In Go such a goroutine stays for ever. Here its memory is free, and the harm is the `finally` that
 *   never ran.
 * - Counters are always on, so a leak is found without full tracking too. Only its age and stack are missing then.
 * - `ignore` is a snapshot of what was there earlier, made by `current()`, as by goleak's `IgnoreCurrent`. Nothing is
 *   ignored by name.
 */
import { optionsOf, show } from "./internal/data/args.ts";
import { brand } from "./internal/host/errors.ts";
import { realSetTimeout } from "./internal/host/host.ts";
import {
  ageOf,
  allKinds,
  allRecords,
  type LeakRecord,
  onProvedRecord,
  PROVED,
  provedRecords,
  setLevel,
  takeProved,
} from "./internal/track/tracker.ts";

/** Something that was left behind; or several of a kind. */
export interface Leak {
  /** What it is: "chan receive", "select", "task", "timer", "semaphore unit", "context", ... */
  readonly kind: string;
  /**
   * How many. More than one for units that were taken together, and for things without a record, which are not told
   * apart.
   */
  readonly count: number;
  /** How long ago it was made, in milliseconds; `undefined` without full tracking. */
  readonly ageMs: number | undefined;
  /** Where it was made; `undefined` without full tracking. */
  readonly stack: string | undefined;
  /** Whether the collector has taken it, which proves that nothing could have ended it. */
  readonly proved: boolean;
  /** For a context: whether its cancel function was collected, so that only its parent or its deadline can end it. */
  readonly lostCancel: boolean;
  /**
   * For a wait for a lock: the stack of the call that took the lock, of the first if several hold it; for a wait for a
   * `Once`, of the call whose function runs. `undefined` without full tracking, and for everything else.
   */
  readonly heldAt: string | undefined;
}

/** What was there at some moment, to be handed to `ignore`. Made by {@link current}. */
export interface Snapshot {
  /** How many of each kind there were without a record. */
  readonly unrecorded: ReadonlyMap<string, number>;
  /** The records that there were, under full tracking. */
  readonly entries: ReadonlySet<object>;
  /** The proved leaks that had not been reported yet. */
  readonly proved: ReadonlySet<object>;
}

/** Something was left behind. Its message shows leaks of one kind and one place together. */
export class LeakError extends Error {
  /** All of them, as {@link find} gives them. */
  readonly leaks: readonly Leak[];

  static {
    brand(this, "LeakError");
  }

  constructor(leaks: readonly Leak[]) {
    super(messageOf(leaks));
    this.leaks = leaks;
  }
}

/**
 * Sets how much is recorded of what is made from now on. Throws TypeError for another level.
 *
 * - "counters", the default: how many there are of each kind. Costs an increment and a decrement for each.
 * - "full": also when and where each was made, and whether the collector takes it. Costs some microseconds for each.
 *
 * Things made under "counters" have no record, even after "full" is set.
 */
export function track(level: "counters" | "full"): void {
  if (level !== "counters" && level !== "full") {
    throw new TypeError(`track: level must be "counters" or "full", got ${show(level)}`);
  }
  setLevel(level === "full" ? { name: "full", frames: undefined } : { name: "counters" });
}

/**
 * How many of each kind there are now, for gauges: waits by what they wait for, tasks, armed timers, contexts, held
 * locks, units of semaphores, objects of pools. A leak that the collector has proved counts as "proved leak" from then
 * on, and no longer as what it was. A kind appears when its module is loaded.
 */
export function counters(): Record<string, number> {
  return Object.fromEntries(allKinds().map(({ name, live }) => [name, live]));
}

/** A snapshot of what is there now, to be left out later: `verifyNone({ ignore: before })`. */
export function current(): Snapshot {
  return { unrecorded: unrecordedNow(), entries: new Set(allRecords()), proved: new Set(provedRecords()) };
}

/** How many of each kind have no record, except the proved leaks, which are reported separately. */
function unrecordedNow(): Map<string, number> {
  const unrecorded = new Map(allKinds().map(({ name, live }) => [name, live]));
  unrecorded.delete(PROVED.name);
  for (const { kind, units } of allRecords()) unrecorded.set(kind.name, (unrecorded.get(kind.name) ?? 0) - units);
  return unrecorded;
}

/**
 * First the leaks that the collector has proved since the last {@link verifyNone}, in the order of the proofs; at most
 * the newest 1000. Then the things that are there now: those with a record, oldest first, and after them, by kind,
 * those without one. Leaves out what `ignore` knows.
 */
export function find(options?: { readonly ignore?: Snapshot }): Leak[] {
  return findLeaks(options, "find");
}

function findLeaks(options: { readonly ignore?: Snapshot } | undefined, name: string): Leak[] {
  const { ignore } = optionsOf(options, `${name}: options`);
  // A record that the snapshot has is ignored, even if the collector has taken its object since.
  const leaks = provedRecords()
    .filter((record) => !ignore?.entries.has(record) && !ignore?.proved.has(record))
    .map((record) => leakOf(record, true));
  for (const record of allRecords()) if (!ignore?.entries.has(record)) leaks.push(leakOf(record, false));
  for (const [kind, unrecorded] of unrecordedNow()) {
    const count = unrecorded - (ignore?.unrecorded.get(kind) ?? 0);
    if (count > 0) leaks.push({ ...UNRECORDED, kind, count });
  }
  return leaks;
}

/**
 * Resolves if nothing is there, or only what `ignore` knows. Otherwise looks again up to 20 times, with growing pauses
 * of about half a second in all, as what is there may be about to end, and then rejects with {@link LeakError}. The
 * pauses are on real timers. Each proved leak is reported once: a later call does not report it again.
 */
export async function verifyNone(options?: { readonly ignore?: Snapshot }): Promise<void> {
  const left = () => findLeaks(options, "verifyNone");
  for (let look = 0; look < 20 && left().length > 0; look++) {
    await new Promise<void>((resolve) => {
      realSetTimeout(resolve, Math.min(2 ** look / 1000, 100));
    });
  }
  const leaks = left();
  takeProved();
  if (leaks.length > 0) throw new LeakError(leaks);
}

/**
 * Calls `fn` with each leak that the collector proves from now on. Proofs need full tracking. An error that `fn` throws
 * is reported as an uncaught one. Returns a function that ends the calls.
 */
export function onProved(fn: (leak: Leak) => void): () => void {
  return onProvedRecord((record) => fn(leakOf(record, true)));
}

const UNRECORDED = { ageMs: undefined, stack: undefined, proved: false, lostCancel: false, heldAt: undefined };

function leakOf(record: LeakRecord, proved: boolean): Leak {
  const { kind, units, stack, holder } = record;
  const lostCancel = record.lostCancel && !proved;
  return { kind: kind.name, count: units, ageMs: ageOf(record), stack, proved, lostCancel, heldAt: holder?.stack };
}

/** How many groups of leaks a message shows in full. */
const DETAILED = 10;

function messageOf(leaks: readonly Leak[]): string {
  const counts = new Map<string, number>();
  for (const { kind, count } of leaks) counts.set(kind, (counts.get(kind) ?? 0) + count);
  const summary = [...counts].map(([kind, n]) => `${n} ${kind}`).join(", ");
  const groups = byPlace(leaks);
  const details = groups.slice(0, DETAILED).map(({ kind, count, ageMs, stack, proved, lostCancel, heldAt }) => {
    if (stack === undefined) {
      return `${count} ${kind}: made without full tracking; to see where, call leak.track("full") before it is made`;
    }
    let note = "";
    if (proved) note = ", proved: collected, so nothing could have ended it";
    if (lostCancel) note = ", lost cancel: its cancel function was dropped";
    const holder = heldAt === undefined ? "" : `\nheld since the call at\n${heldAt}`;
    return `${count} ${kind}, for ${Math.round(ageMs ?? 0)} ms${note}, made at\n${stack}${holder}`;
  });
  if (groups.length > DETAILED) {
    const more = groups.slice(DETAILED).reduce((sum, { count }) => sum + count, 0);
    details.push(`and ${more} more: see the error's \`leaks\``);
  }
  return [`found unexpected leaks: ${summary}`, ...details].join("\n\n");
}

/** Puts leaks of one kind and one place together: the oldest of them, with how many there are. */
function byPlace(leaks: readonly Leak[]): Leak[] {
  const groups = new Map<string, Leak>();
  for (const leak of leaks) {
    const key = JSON.stringify([leak.kind, leak.stack, leak.proved, leak.lostCancel, leak.heldAt]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, leak);
    else {
      const oldest = (group.ageMs ?? 0) >= (leak.ageMs ?? 0) ? group : leak;
      groups.set(key, { ...oldest, count: group.count + leak.count });
    }
  }
  return [...groups.values()];
}
