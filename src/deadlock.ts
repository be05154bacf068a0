/**
 * The deadlock report: a process that ends while something still waits says so, says what waits, and exits with 2.
 * Node only.
 *
 * Rules of use:
 *
 * - `node --import gopark/deadlock app.js` installs it, in the workers of the process too. So does `import
 *   "gopark/deadlock"` at the beginning of the program. There is nothing to call.
 * - `GOPARK_TRACK=full` turns on full tracking, so that the report has stacks. `GOPARK_TRACK=tasks` turns on task
 *   identity as well, so that it names who waits for whom. It stays on when the program itself calls
 *   `leak.track("full")`.
 * - A wait that is meant to last as long as the process is reported like any other. End it by a context, or
 *   {@link install} with `ignore`.
 * - Start the tasks by `go`, a group or workers: code outside of all tasks has no identity, so no cycle that it takes
 *   part in is found. The flows of one task that run side by side, as under `Promise.all`, are one task.
 *
 * ```ts
 * import { Channel, go } from "gopark";
 * import * as deadlock from "gopark/deadlock";
 *
 * const answers = new Channel<number>();
 * const waiting = go(() => answers.receive());
 * await new Promise((resolve) => setTimeout(resolve, 0));
 * console.log(/goroutine.* \[chan receive/.test(deadlock.dump()));
 * answers.close();
 * await waiting;
 * // Output:
 * // true
 * ```
 *
 * Ports the deadlock detector of Go's runtime, and its dump of all goroutines. Differences from Go:
 *
 * - It reports when the process ends because its event loop is empty, and a wait of this library is still parked. A
 *   timer, a server or a socket keeps the loop going, unless it is unref'd, and nothing is reported meanwhile.
 * - The end of the main module ends nothing. A wait that is left then, of which Go would take no notice, is reported.
 * - `process.exit`, an uncaught error, and any exit code but 0 end the process as they always do, with no report.
 * - A promise that is not the library's is invisible, and so is a task that waits for one. If a top-level `await` waits
 *   for one, and nothing waits in the library, Node's own exit code 13 stays, and there is no report.
 * - Waits are listed, not goroutines: those of one place together, with the age of the oldest.
 * - Stacks need full tracking, the numbers of goroutines need task identity. Without them, kinds and counts are listed.
 * - SIGQUIT does not dump. SIGUSR2 does, if {@link install} is told so, and the process goes on.
 * - `cycles` is an addition. So are `ignore` and `exitCode`.
 */
import { optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { builtin, host } from "./internal/host/host.ts";
import { type CycleEdge, findCycles } from "./internal/track/cycles.ts";
import { type FunctionName, functionsLeftOut, isLeftOut, kindNames, type LeftOut } from "./internal/track/functions.ts";
import {
  ageOf,
  allRecords,
  type LeakRecord,
  type Site,
  setLevel,
  sitesOfProved,
  unrecordedOf,
} from "./internal/track/records.ts";
import { callersOf } from "./internal/track/stack.ts";
import { areTasksOn, blockerOf, blockerText, setTasksByDefault, type Task } from "./internal/track/tasks.ts";
import { allKinds, type Kind, PROVED } from "./internal/track/tracker.ts";

export type { FunctionName } from "./internal/track/functions.ts";

/**
 * Waits that are not reported. One that fits any list is left out. A wait whose stack is not recorded has no functions.
 */
export interface Ignore {
  /** Kinds, as `leak.counters()` names them: "chan receive", "select", ... */
  readonly kinds?: readonly string[] | undefined;
  /** What one of these functions has begun: the first of the stack. */
  readonly creators?: readonly FunctionName[] | undefined;
  /** What was begun while one of these functions was on the stack. */
  readonly anyFunction?: readonly FunctionName[] | undefined;
}

/** Options of {@link install}. What is left out has its default. */
export interface InstallOptions {
  /** The waits that are not reported; none if left out. {@link dump} and {@link cycles} show them all the same. */
  readonly ignore?: Ignore | undefined;
  /**
   * The exit code after a report, a whole number from 0 to 255; 2 if left out, as in Go. 0 leaves the code as it is.
   */
  readonly exitCode?: number | undefined;
  /**
   * The signal at which {@link dump} is written to stderr; none if left out, since some tools send it to restart a
   * process.
   */
  readonly dumpOn?: "SIGUSR2" | undefined;
}

/** A task waits for what another one holds, or has to end. */
export interface CycleWait {
  /** The number of the task. Tasks are numbered from 1, in the order in which they were made. */
  readonly task: number;
  /** What it waits for: "mutex lock", ...; "call" if that is a function that it has given to the library. */
  readonly kind: string;
  /** How long it has waited, in milliseconds. */
  readonly ageMs: number;
  /** Where it began to wait. */
  readonly stack: string;
  /** The number of the task that holds it: the next of the cycle, or the first. */
  readonly heldBy: number;
  /** Where that one took it, or began. */
  readonly heldAt: string;
}

/** As much of Node's `process` as is used here. */
interface Process {
  exitCode?: number | string | undefined;
  readonly env: { readonly [name: string]: string | undefined };
  readonly stderr: { write(text: string): unknown };
  on(event: string, listener: (code: number) => void): unknown;
  off(event: string, listener: (code: number) => void): unknown;
  emit(...args: unknown[]): boolean;
}

interface Settings {
  readonly kinds: readonly string[];
  readonly functions: LeftOut;
  readonly exitCode: number;
  readonly dumpOn: "SIGUSR2" | undefined;
}

const DEFAULTS: Settings = { kinds: [], functions: {}, exitCode: 2, dumpOn: undefined };

/** How many places, and how many cycles, a text shows. */
const SHOWN = 100;

/** A pipe that is full is tried again this often, with a pause of so many milliseconds, before the rest is dropped. */
const TRIES = 100;
const PAUSE = 10;

const { process } = host as unknown as { process: Process };

let settings = DEFAULTS;

// Set when the event loop is empty, even if it goes on after that.
let hasRunEmpty = false;

start();

function start(): void {
  if (typeof process?.on !== "function") throw new Error("gopark/deadlock: for Node, or a host with its `process`");
  startTracking(process.env.GOPARK_TRACK);
  process.on("beforeExit", () => {
    hasRunEmpty = true;
  });
  process.on("exit", (code) => {
    // 13 is Node's code for a top-level await that is left pending.
    if (hasRunEmpty && (code === 0 || code === 13) && !isExitCalled()) reportWaits();
  });
}

/**
 * Whether process.exit emits `exit`, and not Node itself. That `beforeExit` has come is not enough: its listeners may
 * start something, and call process.exit when that has ended.
 */
function isExitCalled(): boolean {
  // Node's async hooks put one function of theirs between Node and what it calls.
  return callersOf(process.emit).some((frame) => !frame.includes("callbackTrampoline"));
}

function startTracking(level: string | undefined): void {
  if (level === undefined || level === "" || level === "counters") return;
  if (level !== "full" && level !== "tasks") {
    throw new RangeError(`GOPARK_TRACK must be "counters", "full" or "tasks", got ${show(level)}`);
  }
  if (level === "tasks") setTasksByDefault();
  setLevel({ name: "full", frames: undefined });
}

/**
 * Sets the options, all of them. The report itself is there since the module was loaded.
 *
 * Throws, with nothing changed, TypeError if an option has another type, and RangeError if `exitCode` is out of its
 * range or `dumpOn` another signal.
 */
export function install(options?: InstallOptions): void {
  const { ignore, exitCode = DEFAULTS.exitCode, dumpOn } = optionsOf(options, "install: options");
  const ignored = optionsOf(ignore, "install: ignore");
  if (dumpOn !== undefined && dumpOn !== "SIGUSR2") {
    throw new RangeError(`install: dumpOn must be "SIGUSR2", got ${show(dumpOn)}`);
  }
  if (wholeNumber(exitCode, "install: exitCode") > 255) {
    throw new RangeError(`install: exitCode must be a whole number from 0 to 255, got ${exitCode}`);
  }
  const next = {
    kinds: kindNames(ignored.kinds, "install: ignore.kinds"),
    functions: functionsLeftOut(ignored, "install: ignore."),
    exitCode,
    dumpOn,
  };
  if (dumpOn !== settings.dumpOn) {
    if (dumpOn === undefined) process.off("SIGUSR2", writeDump);
    else process.on(dumpOn, writeDump);
  }
  settings = next;
}

/**
 * What is parked now, as a text of several lines: how many of each kind are counted, then the waits of each place with
 * the age of the oldest, at most 100 places, and the cycles. The report at the end looks the same. Costs a walk through
 * the records, under full tracking; otherwise it does not depend on how many waits there are.
 */
export function dump(): string {
  const counted = allKinds().flatMap(({ name, live }) => (live > 0 ? [`${name}: ${live}`] : []));
  return textOf(counted.length > 0 ? counted.join(", ") : "nothing is counted", places(DEFAULTS));
}

/**
 * The cycles of tasks in which each waits for what the next one holds: locks, the turn in an `update` of a key, the run
 * of a Once, single flight's work, the slots of a group or of workers, and the end of a group's or a WaitGroup's tasks.
 * A task that waits for itself is a cycle of one. Semaphores and channels are left out, since a task need not give back
 * what it took.
 *
 * A task that has several flows, as under `Promise.all`, is in a cycle only if none of its waits in the library can
 * end. Each cycle is listed once, those with the oldest waits first.
 *
 * Throws an Error if tasks have no identity. Costs a walk through the records.
 */
export function cycles(): CycleWait[][] {
  if (!areTasksOn()) {
    throw new Error('cycles: tasks have no identity: run with GOPARK_TRACK=tasks, or track("full", { tasks: true })');
  }
  return findCycles().map((edges) => edges.map(cycleWait));
}

function cycleWait({ task, wait, hold }: CycleEdge): CycleWait {
  const waiting = wait ?? hold;
  return {
    task: task.id,
    kind: wait?.kind.name ?? "call",
    ageMs: ageOf(waiting),
    stack: waiting.stack,
    heldBy: (hold.task as NonNullable<typeof hold.task>).id,
    heldAt: hold.stack,
  };
}

/** Waits of one kind and one place; under task identity, of one task. */
interface Place {
  readonly kind: Kind;
  count: number;
  /** Where they wait, if that is recorded. */
  readonly stack?: string;
  /** The record of the oldest, unless the collector has taken it. */
  readonly record?: LeakRecord;
}

/** The places of waits that are not ignored: those that are recorded, the oldest first, and then the others. */
function places({ kinds, functions }: Settings): Place[] {
  const ignores = (kind: Kind, stack = "") =>
    kind.class !== "wait" || kinds.includes(kind.name) || isLeftOut(stack, functions);
  const found: Place[] = [];
  const bySite = new Map<Site, Map<unknown, Place>>();
  for (const record of allRecords()) {
    const { kind, site, stack, task, holder } = record;
    if (ignores(kind, stack)) continue;
    let atSite = bySite.get(site);
    if (atSite === undefined) {
      atSite = new Map();
      bySite.set(site, atSite);
    }
    const blockedBy = task ?? holder?.stack;
    let place = atSite.get(blockedBy);
    if (place === undefined) {
      place = { kind, count: 0, stack, record };
      atSite.set(blockedBy, place);
      found.push(place);
    }
    place.count++;
  }
  for (const kind of allKinds()) {
    const count = kind === PROVED ? 0 : unrecordedOf(kind);
    if (count > 0 && !ignores(kind)) found.push({ kind, count });
  }
  for (const { kind, stack, units } of sitesOfProved()) {
    if (!ignores(kind, stack)) found.push({ kind, count: units, stack });
  }
  return found;
}

/** A report: its first line, the places, the cycles, and what to do to see more. */
function textOf(head: string, shown: readonly Place[]): string {
  const parts = [head, ...shown.slice(0, SHOWN).map(placeText)];
  if (shown.length > SHOWN) parts.push(`and ${shown.length - SHOWN} more places`);
  if (areTasksOn()) parts.push(...findCycles().slice(0, SHOWN).map(cycleText));
  if (shown.some(({ stack }) => stack === undefined)) {
    parts.push("To see where each of them waits, run with GOPARK_TRACK=full");
  } else if (!areTasksOn() && shown.length > 0) {
    parts.push("To see which of them wait for each other, run with GOPARK_TRACK=tasks");
  }
  return `${parts.join("\n\n")}\n`;
}

function placeText({ kind, count, stack, record }: Place): string {
  const who = count > 1 ? `${count} goroutines` : nameOf(record?.task);
  if (stack === undefined) return `${who} [${kind.name}]`;
  if (record === undefined) return `${who} [${kind.name}, collected: nothing could have ended it]:\n${stack}`;
  const blocker = blockerOf(record);
  const by = blocker === undefined ? "" : `\n${blockerText(blocker)}`;
  return `${who} [${waitText(record)}]:\n${stack}${by}`;
}

function waitText(wait: LeakRecord): string {
  return `${wait.kind.name}, ${Math.round(ageOf(wait))} ms`;
}

function cycleText(edges: readonly CycleEdge[]): string {
  const lines = edges.map(({ task, wait, hold }) => {
    const holder = hold.task === task ? "itself" : nameOf(hold.task);
    return wait === undefined
      ? `${nameOf(task)} is blocked by ${holder}, which it has called`
      : `${nameOf(task)} [${waitText(wait)}] is blocked by ${holder}`;
  });
  return ["cycle:", ...lines].join("\n");
}

function nameOf(task: Task | undefined): string {
  return task === undefined ? "goroutine" : `goroutine ${task.id}`;
}

function reportWaits(): void {
  const waits = places(settings);
  if (waits.length === 0) return;
  writeNow(textOf("fatal error: all goroutines are asleep - deadlock!", waits));
  if (settings.exitCode > 0) process.exitCode = settings.exitCode;
}

function writeDump(): void {
  writeNow(dump());
}

/** Writes to stderr, and returns when that is done: the process, or the worker, may be about to end. Never throws. */
function writeNow(text: string): void {
  const { writeSync } = builtin<{ writeSync(fd: number, bytes: Uint8Array, from: number): number }>("node:fs") ?? {};
  if (writeSync === undefined) {
    process.stderr.write(text); // Node before 20.16.
    return;
  }
  const bytes = new TextEncoder().encode(text);
  let written = 0;
  for (let tries = 0; written < bytes.length && tries < TRIES; tries++) {
    try {
      written += writeSync(2, bytes, written);
      tries = 0;
    } catch (error) {
      if ((error as { code?: unknown }).code !== "EAGAIN") return; // Nobody can read it any more.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);
    }
  }
}
