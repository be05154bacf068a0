/**
 * Leak checks: finds the waits, tasks, timers, held locks, units and objects, and contexts that are still there, and
 * says where they were made.
 *
 * Rules of use, for tests:
 *
 * - Turn full tracking on before the tests: `track("full")`.
 * - Give each test a scope of its own: `scoped(test)`. For vitest, `gopark/leak/vitest` does both.
 * - Where tests run one after another, a snapshot does it too: `before = current()` before each test, and
 *   `verifyNone({ ignore: before })` after it. Then things that one test leaves behind, or keeps on purpose, do not
 *   make the next one fail.
 *
 * For production: export `counters()` to your monitoring, and let `watch` tell you of what is many and grows.
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
 * - A wait that the garbage collector has freed is reported too, if it is recorded. That proves that nothing could
 *   have ended it. In Go such a goroutine stays for ever. Here its memory is free, and the harm is the `finally` that
 *   never ran.
 * - Counters are always on, so a leak is found without full tracking too. Only its age and stack are missing then.
 * - goleak ignores by the function at the top of a goroutine's stack, or by the one that created it. Here a stack is
 *   that of the making, so `creators` does both.
 * - A test can have a scope of its own, so that tests that run at the same time are told apart. goleak cannot do that.
 * - `watch` and `places` do what Uber's LeakProf does with the profiles of a fleet, for one process.
 */
import { callable, duration, isObject, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { type AsyncStorage, asyncStorage, guarded } from "./internal/host/async.ts";
import { brand } from "./internal/host/errors.ts";
import { MAX_DELAY, realClearTimeout, realNow, realSetTimeout, realUnref } from "./internal/host/host.ts";
import { type FunctionName, functionsLeftOut, isLeftOut, kindNames } from "./internal/track/functions.ts";
import { placesNow } from "./internal/track/places.ts";
import {
  ageOf,
  allRecords,
  type LeakRecord,
  onLostCancelRecord,
  onProvedRecord,
  provedRecords,
  setLevel,
  setScopes,
  takeProved,
  unrecordedOf,
} from "./internal/track/records.ts";
import { areTasksByDefault, blockerOf, blockerText, setTasks } from "./internal/track/tasks.ts";
import { allKinds, isFull, PROVED, timesLowered } from "./internal/track/tracker.ts";

export type { FunctionName } from "./internal/track/functions.ts";

/** Something that was left behind; or several of a kind. */
export interface Leak {
  /** What it is: "chan receive", "select", "task", "timer", "semaphore unit", "context", ... */
  readonly kind: string;
  /**
   * How many. More than one for units that were taken together, and for things without a record, which are not told
   * apart.
   */
  readonly count: number;
  /** How long ago it was made, in milliseconds; `undefined` if it is not recorded. */
  readonly ageMs: number | undefined;
  /** Where it was made; `undefined` if it is not recorded. */
  readonly stack: string | undefined;
  /** Whether the collector has taken it, which proves that nothing could have ended it. */
  readonly proved: boolean;
  /** For a context: whether its cancel function was collected, so that only its parent or its deadline can end it. */
  readonly lostCancel: boolean;
  /**
   * For a wait that another call blocks: the stack of that call, of the oldest if there are several. It is the call
   * that took the lock; or whose `update`, loader, work or function of a `Once` runs; or that started a task which has
   * a slot of the group or of the workers, or whose end is waited for. `undefined` if it is not recorded, and for all
   * else.
   */
  readonly heldAt: string | undefined;
  /**
   * Whether it waits for what its own task holds, and so for itself. Known with the identity of tasks: see
   * {@link track}.
   */
  readonly heldByItself: boolean;
}

/** What was there at some moment, to be handed to `ignore`. Made by {@link current}. */
export interface Snapshot {
  /** How many of each kind there were without a record. */
  readonly unrecorded: ReadonlyMap<string, number>;
  /** The records that there were. */
  readonly entries: ReadonlySet<object>;
  /** The proved leaks that had not been reported yet. */
  readonly proved: ReadonlySet<object>;
}

/** Something was left behind. Its message shows leaks of one kind and one place together, the oldest first. */
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

/** Which leaks a check leaves out, as goleak's options do. */
export interface FindOptions {
  /** What was there earlier. */
  readonly ignore?: Snapshot | undefined;
  /** Kinds, by their names. */
  readonly kinds?: readonly string[] | undefined;
  /** What one of these functions has made: the first of the stack. */
  readonly creators?: readonly FunctionName[] | undefined;
  /** What was made while one of these functions was on the stack. */
  readonly anyFunction?: readonly FunctionName[] | undefined;
  /** Everything that was not made in this scope, and everything without a record. */
  readonly scope?: Scope | undefined;
}

/** Options of {@link verifyNone} and {@link scoped}. */
export interface VerifyOptions extends FindOptions {
  /** For how long to look again, in milliseconds of the real clock, at least 0; 500 by default. */
  readonly timeout?: number | undefined;
}

/** Options of {@link track}. */
export interface TrackOptions {
  /** For "sampled": one of how many is recorded, on average; a whole number from 1. 8192 by default. */
  readonly every?: number | undefined;
  /**
   * How many lines of the program a stack has; a whole number from 1. 8 by default for "sampled", for "full" as many as
   * `Error.stackTraceLimit` says.
   */
  readonly frames?: number | undefined;
  /**
   * For "full": whether tasks have an identity, so that a lock that is waited for by its own holder is reported as
   * that. If left out, false, or what the environment asks for: true with `GOPARK_TRACK=tasks` and `gopark/deadlock`.
   *
   * Costs little beside the stacks that "full" takes: a channel stream takes 1.23 times as long on Node 20, 1.02 on 22,
   * 1.04 on 24. What makes no stacks pays more up to Node 22, where the host slows down every promise in the process.
   * Needs a host with AsyncLocalStorage (Node from 20.16, Bun, Deno); throws Error where there is none.
   */
  readonly tasks?: boolean | undefined;
}

/**
 * Sets how much is recorded of what is made from now on. What was made under "counters" has no record, even after
 * another level is set. Throws TypeError or RangeError for bad arguments.
 *
 * - "counters", the default: how many there are of each kind. Costs an increment and a decrement for each.
 * - "sampled", for production: also when and where some were made, and whether the collector takes them: one of
 *   `every`, chosen at random. Costs 20 to 30 microseconds for each of them. Not recorded are units of a semaphore
 *   without a permit, and locks of readers without a guard.
 * - "full", for tests and development: when and where each was made, and whether the collector takes it. Costs some
 *   microseconds for each.
 */
export function track(level: "counters" | "sampled" | "full", options?: TrackOptions): void {
  const { every = 8192, frames, tasks = areTasksByDefault() } = optionsOf(options, "track: options");
  wholeNumber(every, "track: every", 1);
  if (frames !== undefined) wholeNumber(frames, "track: frames", 1);
  if (typeof tasks !== "boolean") throw new TypeError(`track: tasks must be a boolean, got ${show(tasks)}`);
  if (level !== "counters" && level !== "sampled" && level !== "full") {
    throw new TypeError(`track: level must be "counters", "sampled" or "full", got ${show(level)}`);
  }
  setTasks(tasks && level === "full");
  if (level === "counters") setLevel({ name: level });
  else if (level === "sampled") setLevel({ name: level, every, frames: frames ?? 8 });
  else setLevel({ name: level, frames });
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
  const unrecorded = new Map<string, number>();
  for (const kind of allKinds()) {
    if (kind !== PROVED) unrecorded.set(kind.name, (unrecorded.get(kind.name) ?? 0) + unrecordedOf(kind));
  }
  return unrecorded;
}

/**
 * First the leaks that the collector has proved since the last {@link verifyNone}, in the order of the proofs; at most
 * the newest 1000. Then the things that are there now: those with a record, oldest first, and after them, by kind,
 * those without one. Leaves out what the options say.
 */
export function find(options?: FindOptions): Leak[] {
  return [...leaksNow(checked(options, "find"))];
}

/** The leaks, one by one: to learn whether there are any takes only the first. */
function* leaksNow({ ignore, kinds, scope, ...functions }: FindOptions): Generator<Leak, void> {
  const isLeak = (record: LeakRecord) => {
    if (ignore?.entries.has(record) || (scope !== undefined && !isWithin(record.scope, scope))) return false;
    return !kinds?.includes(record.kind.name) && !isLeftOut(record.stack, functions);
  };
  const now = realNow();
  // A record that the snapshot has is ignored, even if the collector has taken its object since.
  for (const record of provedRecords()) {
    if (!ignore?.proved.has(record) && isLeak(record)) yield leakOf(record, true, now);
  }
  for (const record of allRecords()) if (isLeak(record)) yield leakOf(record, false, now);
  if (scope !== undefined) return;
  for (const [kind, unrecorded] of unrecordedNow()) {
    const count = unrecorded - (ignore?.unrecorded.get(kind) ?? 0);
    if (count > 0 && !kinds?.includes(kind)) yield { ...UNRECORDED, kind, count };
  }
}

function checked(options: VerifyOptions | undefined, name: string): VerifyOptions {
  const found = optionsOf(options, `${name}: options`);
  const { ignore, scope, timeout } = found;
  if (ignore !== undefined && !isSnapshot(ignore)) {
    throw new TypeError(`${name}: ignore must be a Snapshot, which current() returns, got ${show(ignore)}`);
  }
  const kinds = kindNames(found.kinds, `${name}: kinds`);
  const functions = functionsLeftOut(found, `${name}: `);
  if (scope !== undefined && !(scope instanceof Scope)) {
    throw new TypeError(`${name}: scope must be a Scope, got ${show(scope)}`);
  }
  if (timeout !== undefined && duration(timeout, `${name}: timeout`) < 0) {
    throw new RangeError(`${name}: timeout must be at least 0, got ${timeout}`);
  }
  return { ignore, kinds, ...functions, scope, timeout };
}

function isSnapshot(value: unknown): value is Snapshot {
  if (!isObject(value)) return false;
  const { unrecorded, entries, proved } = value as Partial<Snapshot>;
  return unrecorded instanceof Map && entries instanceof Set && proved instanceof Set;
}

/**
 * Resolves if nothing is there but what the options leave out. Otherwise looks again, with growing pauses on real
 * timers, for `timeout` milliseconds in all, as what is there may be about to end, and then rejects with
 * {@link LeakError}. Each proved leak is reported once: a later call does not report it again. Rejects with TypeError
 * or RangeError for bad options.
 */
export async function verifyNone(options?: VerifyOptions): Promise<void> {
  await verify(checked(options, "verifyNone"));
}

async function verify(options: VerifyOptions): Promise<void> {
  const { timeout = 500, scope } = options;
  let pause = 0.001;
  for (let left = timeout; left > 0 && !leaksNow(options).next().done; left -= pause) {
    pause = Math.min(2 * pause, 100, left);
    await new Promise<void>((resolve) => {
      realSetTimeout(resolve, pause);
    });
  }
  const leaks = [...leaksNow(options)];
  takeProved((record) => scope === undefined || isWithin(record.scope, scope));
  if (leaks.length > 0) throw new LeakError(leaks);
}

// The scope in which code runs. Made by the first scope.
let scopes: AsyncStorage<Scope> | undefined;

/**
 * A part of the program whose leaks are found apart from those of all else: what is made in calls that `run` has begun,
 * across their awaits, timers and events. In a scope within it, too. Needs full tracking to find anything, and a host
 * with AsyncLocalStorage (Node from 20.16, Bun, Deno); the constructor throws Error where there is none.
 */
export class Scope {
  /** The scope in which this one was made. */
  readonly parent: Scope | undefined;

  constructor() {
    if (scopes === undefined) {
      const storage = asyncStorage<Scope>("leak: a scope");
      setScopes(() => storage.getStore());
      scopes = storage;
    }
    this.parent = scopes.getStore();
  }

  /** Calls `fn` in the scope, and returns what it returns. */
  run<R>(fn: () => R): R {
    return (scopes as AsyncStorage<Scope>).run(this, callable(fn, "run: fn"));
  }
}

/** Whether a scope is `outer`, or within it. */
function isWithin(scope: object | undefined, outer: Scope): boolean {
  for (let at = scope as Scope | undefined; at !== undefined; at = at.parent) if (at === outer) return true;
  return false;
}

/**
 * Calls `fn` in a scope of its own, waits for what it returns, and verifies that nothing made there is left, as
 * {@link verifyNone} does. Resolves with the result of `fn`. Rejects with the error of `fn`, without a check, or with
 * LeakError. Needs full tracking all the time: rejects with Error, before it calls `fn`, if that is off, and at the
 * end, if nothing was found and {@link track} has been called with another level meanwhile, in `fn` or by others.
 */
export async function scoped<R>(fn: () => R | PromiseLike<R>, options?: VerifyOptions): Promise<R> {
  callable(fn, "scoped: fn");
  const verified = checked(options, "scoped");
  if (!isFull()) throw new Error('scoped: not everything is recorded: call leak.track("full") first');
  const lowered = timesLowered();
  const scope = new Scope();
  // An async function, so that also the `then` of a promise that is not the host's is called in the scope.
  const result = await scope.run(async () => await fn());
  await verify({ ...verified, scope });
  if (timesLowered() === lowered) return result;
  throw new Error(
    'scoped: not everything was recorded: track() has been called meanwhile, with another level than "full"',
  );
}

/**
 * Calls `fn` with each leak that the collector proves from now on. Needs a record: full tracking, or sampled for some.
 * An error that `fn` throws is reported as an uncaught one. Returns a function that ends the calls.
 */
export function onProved(fn: (leak: Leak) => void): () => void {
  callable(fn, "onProved: fn");
  return onProvedRecord((record) => fn(leakOf(record, true)));
}

/**
 * Calls `fn` with each *lost cancel* from now on, as `go vet` calls it: a context that is alive, and whose cancel
 * function the collector has taken, so that only its parent or its deadline can still end it. Needs a record: full
 * tracking, or sampled for some. An error that `fn` throws is reported as an uncaught one. Returns a function that ends
 * the calls.
 */
export function onLostCancel(fn: (leak: Leak) => void): () => void {
  callable(fn, "onLostCancel: fn");
  return onLostCancelRecord((record) => fn(leakOf(record, false)));
}

/** How many of a kind there are that were made at one place. */
export interface Place {
  readonly kind: string;
  /** Where they were made; `undefined` for those of which no record says it. */
  readonly stack: string | undefined;
  /** How many. Under sampled tracking an estimate, whose sum over the places of a kind is exact. */
  readonly count: number;
  /** The age of the oldest one that is recorded, in milliseconds; `undefined` without a record. */
  readonly oldestMs: number | undefined;
}

/**
 * What is alive now, by kind and place, the most numerous first. What the collector has proved to be leaked has the
 * kind "proved leak", and stays. Costs a step for each place and one for each record.
 */
export function places(): Place[] {
  const now = realNow();
  return placesNow()
    .map(({ kind, stack, count, oldestAt }) => {
      return { kind: kind.name, stack, count, oldestMs: oldestAt === undefined ? undefined : now - oldestAt };
    })
    .sort((a, b) => b.count - a.count);
}

/** A place that {@link watch} suspects. */
export interface Suspect extends Place {
  /** How much the count has grown since the last look, for each second. */
  readonly growth: number;
}

/** Options of {@link watch}. */
export interface WatchOptions {
  /** How often to look, in milliseconds of the real clock, more than 0; 10 000 by default, at most 2^31-1. */
  readonly every?: number | undefined;
  /** A place is suspected if it has more than this, at least 0; 10 000 by default. */
  readonly over?: number | undefined;
  /** And if it has grown by more than this for each second since the last look, at least 0; 100 by default. */
  readonly growth?: number | undefined;
  /** Called at each look with the places that are suspected, if there are any. What it throws is reported. */
  readonly onSuspect: (suspects: readonly Suspect[]) => void;
}

/**
 * Looks at all places from time to time, and calls `onSuspect` with those that have many and get more. With the level
 * "counters" a place is a kind, without a stack. The first look suspects nothing, as nothing is known to have grown.
 * The timer does not keep the process alive. Returns a function that ends the watch. Throws TypeError or RangeError for
 * bad options.
 */
export function watch(options: WatchOptions): () => void {
  const { every = 10_000, over = 10_000, growth = 100, onSuspect } = optionsOf(options, "watch: options");
  const notify = callable(onSuspect, "watch: onSuspect");
  if (duration(every, "watch: every") <= 0) throw new RangeError(`watch: every must be more than 0, got ${every}`);
  limit(over, "watch: over");
  limit(growth, "watch: growth");
  const pause = Math.min(every, MAX_DELAY);
  let stopped = false;
  let timer: unknown;
  let counts = new Map<string, number>();
  let lookedAt = Number.NEGATIVE_INFINITY;
  const look = () => {
    const at = realNow();
    const seconds = (at - lookedAt) / 1000;
    lookedAt = at;
    const before = counts;
    const all = places();
    counts = new Map(all.map((place) => [keyOf(place), place.count]));
    const suspects = all
      .map((place) => ({ ...place, growth: (place.count - (before.get(keyOf(place)) ?? 0)) / seconds }))
      .filter((place) => place.count > over && place.growth > growth);
    if (suspects.length > 0) guarded(() => notify(suspects));
    if (stopped) return; // By `onSuspect`.
    timer = realSetTimeout(look, pause);
    realUnref(timer);
  };
  look();
  return () => {
    stopped = true;
    realClearTimeout(timer);
  };
}

/** Throws TypeError or RangeError unless `n` is a number of at least 0. */
function limit(n: number, what: string): void {
  if (typeof n !== "number") throw new TypeError(`${what} must be a number, got ${show(n)}`);
  if (!(n >= 0)) throw new RangeError(`${what} must be at least 0, got ${n}`);
}

const keyOf = ({ kind, stack }: Place) => `${kind}\n${stack ?? ""}`;

const UNRECORDED = {
  ageMs: undefined,
  stack: undefined,
  proved: false,
  lostCancel: false,
  heldAt: undefined,
  heldByItself: false,
};

function leakOf(record: LeakRecord, proved: boolean, now?: number): Leak {
  const { kind, units, stack } = record;
  const lostCancel = record.lostCancel && !proved;
  const blocker = blockerOf(record);
  const held = { heldAt: blocker?.stack, heldByItself: blocker?.isOwn ?? false };
  return { kind: kind.name, count: units, ageMs: ageOf(record, now), stack, proved, lostCancel, ...held };
}

/** How many groups of leaks a message shows in full. */
const DETAILED = 10;

function messageOf(leaks: readonly Leak[]): string {
  const counts = new Map<string, number>();
  for (const { kind, count } of leaks) counts.set(kind, (counts.get(kind) ?? 0) + count);
  const summary = [...counts].map(([kind, n]) => `${n} ${kind}`).join(", ");
  const groups = byPlace(leaks).sort((a, b) => (b.ageMs ?? 0) - (a.ageMs ?? 0));
  const details = groups.slice(0, DETAILED).map(({ kind, count, ageMs, stack, ...leak }) => {
    if (stack === undefined) {
      return `${count} ${kind}: made without full tracking; to see where, call leak.track("full") before it is made`;
    }
    let note = "";
    if (leak.proved) note = ", proved: collected, so nothing could have ended it";
    if (leak.lostCancel) note = ", lost cancel: its cancel function was dropped";
    const { heldAt, heldByItself: isOwn } = leak;
    const by = heldAt === undefined ? "" : `\n${blockerText({ stack: heldAt, isOwn })}`;
    return `${count} ${kind}, for ${Math.round(ageMs ?? 0)} ms${note}, made at\n${stack}${by}`;
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
  // Numbers stand for the stacks, which are few and long: keys with the stacks in them would be long, and many.
  const numbers = new Map<string | undefined, number>();
  const numberOf = (stack: string | undefined) => {
    const n = numbers.get(stack) ?? numbers.size;
    numbers.set(stack, n);
    return n;
  };
  for (const leak of leaks) {
    const { kind, stack, proved, lostCancel, heldAt, heldByItself } = leak;
    const key = `${numberOf(stack)} ${numberOf(heldAt)} ${proved} ${lostCancel} ${heldByItself} ${kind}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, leak);
    else {
      const oldest = (group.ageMs ?? 0) >= (leak.ageMs ?? 0) ? group : leak;
      groups.set(key, { ...oldest, count: group.count + leak.count });
    }
  }
  return [...groups.values()];
}
