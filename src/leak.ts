/**
 * Leak checks: finds what is parked, running, armed, held or not cancelled, and says where it was made.
 *
 * Rules of use, for tests:
 *
 * - Turn full tracking on before the tests: `track("full")`.
 * - Take a snapshot before each test, `before = current()`, and verify after it: `verifyNone({ ignore: before })`. So
 *   what one test leaves behind, or lives longer on purpose, does not fail the next one.
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
 * Ports go.uber.org/goleak. Differences from it:
 *
 * - It finds not only tasks, but also waits, timers, units of semaphores and contexts that nobody cancelled.
 * - The collector's proofs: a wait that nobody could ever have ended is reported even after it has been collected. In
 *   Go such a goroutine stays for ever; here its memory is freed, and the harm is the `finally` that never ran.
 * - Counters are always on, so a leak is found without tracking too; only the stack is missing then.
 */
import { realSetTimeout } from "./internal/host/host.ts";
import {
  ageOf,
  allKinds,
  type Entry,
  entries,
  onProvedEntry,
  PROVED,
  provedEntries,
  setFull,
  takeProved,
} from "./internal/track/tracker.ts";

/** Something left behind. */
export interface Leak {
  /** What it is: "chan receive", "select", "task", "timer", "semaphore unit", "context", ... */
  readonly kind: string;
  /** How many; more than one where no record tells them apart. */
  readonly count: number;
  /** How long ago it was made, in milliseconds; `undefined` without full tracking. */
  readonly ageMs: number | undefined;
  /** Where it was made; `undefined` without full tracking. */
  readonly stack: string | undefined;
  /** Whether the collector has proved that nobody could have ended it any more. */
  readonly proved: boolean;
  /** Whether its cancel function was dropped: only its parent or its deadline can end it now. */
  readonly lostCancel: boolean;
}

/** What was alive at some moment. Made by {@link current}. */
export interface Snapshot {
  readonly counts: ReadonlyMap<string, number>;
  readonly entries: ReadonlySet<object>;
  readonly proved: ReadonlySet<object>;
}

/** Something was left behind. */
export class LeakError extends Error {
  readonly leaks: readonly Leak[];

  constructor(leaks: readonly Leak[]) {
    super(report(leaks));
    this.name = "LeakError";
    this.leaks = leaks;
  }
}

/**
 * Sets what is known of the living. "counters", the default: how many of each kind, for an increment and a decrement.
 * "full": also when and where each was made, for some microseconds each, and the collector's proofs. What was made
 * under "counters" stays without a record.
 */
export function track(level: "counters" | "full"): void {
  if (level !== "counters" && level !== "full") {
    throw new TypeError(`level must be "counters" or "full", got ${JSON.stringify(level)}`);
  }
  setFull(level === "full");
}

/**
 * How many of each kind are alive now, for gauges: waits by what they wait for, tasks, armed timers, contexts, units,
 * objects of pools. What the collector has proved lost is counted as "proved leak" from then on.
 */
export function counters(): Record<string, number> {
  return Object.fromEntries(allKinds().map(({ name, live }) => [name, live]));
}

/** What is alive now, to be left out later: `verifyNone({ ignore: before })`. */
export function current(): Snapshot {
  const counts = new Map(allKinds().map(({ name, live }) => [name, live]));
  return { counts, entries: new Set(entries()), proved: new Set(provedEntries()) };
}

/** What the collector has proved lost since the last {@link verifyNone}, then what is alive now; each oldest first. */
export function find(options: { readonly ignore?: Snapshot } = {}): Leak[] {
  const { ignore } = options;
  // What the snapshot knew is nobody's fault since, also once the collector has taken it.
  const leaks = provedEntries()
    .filter((entry) => !ignore?.entries.has(entry) && !ignore?.proved.has(entry))
    .map((entry) => leakOf(entry, true));
  const recorded = new Map<string, number>();
  for (const entry of entries()) {
    recorded.set(entry.kind.name, (recorded.get(entry.kind.name) ?? 0) + entry.units);
    if (!ignore?.entries.has(entry)) leaks.push(leakOf(entry, false));
  }
  for (const kind of allKinds()) {
    if (kind === PROVED) continue; // Reported above, once.
    const { name, live } = kind;
    let unrecorded = live - (recorded.get(name) ?? 0);
    if (ignore !== undefined) unrecorded -= unrecordedIn(ignore, name);
    if (unrecorded > 0)
      leaks.push({
        kind: name,
        count: unrecorded,
        ageMs: undefined,
        stack: undefined,
        proved: false,
        lostCancel: false,
      });
  }
  return leaks;
}

/**
 * Resolves if nothing is alive, or only what `ignore` knows; rejects with {@link LeakError} otherwise. What is about to
 * end is given the time to: 20 looks, half a second in all. Proved leaks are told once.
 */
export async function verifyNone(options: { readonly ignore?: Snapshot } = {}): Promise<void> {
  for (let look = 0; look < 20 && find(options).length > 0; look++) {
    await new Promise<void>((resolve) => {
      realSetTimeout(resolve, Math.min(2 ** look / 1000, 100));
    });
  }
  const leaks = find(options);
  takeProved();
  if (leaks.length > 0) throw new LeakError(leaks);
}

/** Calls `fn` with each leak that the collector proves from now on, under full tracking; returns what ends that. */
export function onProved(fn: (leak: Leak) => void): () => void {
  return onProvedEntry((entry) => fn(leakOf(entry, true)));
}

function leakOf(entry: Entry, proved: boolean): Leak {
  const { kind, units, stack, lost } = entry;
  return { kind: kind.name, count: units, ageMs: ageOf(entry), stack, proved, lostCancel: lost && !proved };
}

/** How many of the kind the snapshot counted without a record. */
function unrecordedIn(snapshot: Snapshot, name: string): number {
  let n = snapshot.counts.get(name) ?? 0;
  for (const entry of snapshot.entries as ReadonlySet<Entry>) if (entry.kind.name === name) n -= entry.units;
  return n;
}

/** How many groups of leaks a report shows in full. */
const DETAILED = 10;

function report(leaks: readonly Leak[]): string {
  const counts = new Map<string, number>();
  for (const { kind, count } of leaks) counts.set(kind, (counts.get(kind) ?? 0) + count);
  const summary = [...counts].map(([kind, n]) => `${n} ${kind}`).join(", ");
  const groups = grouped(leaks);
  const details = groups.slice(0, DETAILED).map(({ kind, count, ageMs, stack, proved, lostCancel }) => {
    if (stack === undefined) return `${count} ${kind}: made without full tracking, so it is not known where`;
    let fate = "";
    if (proved) fate = ", lost: collected, so nobody could have ended it";
    if (lostCancel) fate = ", lost cancel: its cancel function was dropped";
    return `${count} ${kind}, for ${Math.round(ageMs ?? 0)} ms${fate}, made at\n${stack}`;
  });
  if (groups.length > DETAILED) {
    const more = groups.slice(DETAILED).reduce((sum, { count }) => sum + count, 0);
    details.push(`and ${more} more: see the error's \`leaks\``);
  }
  return [`found unexpected leaks: ${summary}`, ...details].join("\n\n");
}

/** Leaks of one kind, made at one place, as one: the oldest, with how many there are. */
function grouped(leaks: readonly Leak[]): Leak[] {
  const groups = new Map<string, Leak>();
  for (const leak of leaks) {
    const key = JSON.stringify([leak.kind, leak.stack, leak.proved, leak.lostCancel]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, leak);
    else {
      const oldest = (group.ageMs ?? 0) >= (leak.ageMs ?? 0) ? group : leak;
      groups.set(key, { ...oldest, count: group.count + leak.count });
    }
  }
  return [...groups.values()];
}
