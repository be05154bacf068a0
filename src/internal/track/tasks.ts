/**
 * Task identity: under it a record knows its task, and a wait can be found to be for what its own task holds.
 *
 * A task is what `go`, a group, a pool of workers, a WaitGroup's `go` or a stage runs, and also the work of a flight.
 * The functions of `update`, of `do` of a Once, and of `withLock` are tasks inside the task that called them, which
 * waits for them meanwhile. Code outside all of these has no identity, since there the callbacks of one caller cannot
 * be told from those of another. The flows of one task that run side by side, as under `Promise.all`, are one task.
 *
 * The async context says which task runs: the host slows down every promise for that. So it is a switch of its own.
 */
import { type AsyncStorage, asyncStorage } from "../host/async.ts";
import { type LeakRecord, setTaskOf } from "./records.ts";
import { addObserver, type Kind } from "./tracker.ts";

/** A task, as records refer to it. It refers to no object of the library: the proof of a leak would never come. */
export class Task {
  /** Counted from 1, in the order in which they were made. */
  readonly id: number;

  /** The task's own record; for the function of `withLock`, that of the held lock. */
  readonly record: LeakRecord;

  // Weak: a task that starts its successor, for ever, must not keep all of them.
  private readonly calledBy: WeakRef<Task> | undefined;

  constructor(record: LeakRecord, caller: Task | undefined) {
    this.id = ++made;
    this.record = record;
    this.calledBy = caller === undefined ? undefined : new WeakRef(caller);
  }

  /** The task inside of which it runs, and which waits for it. */
  get caller(): Task | undefined {
    return this.calledBy?.deref();
  }

  /** Whether this is `other`, or runs inside of it. */
  isWithin(other: Task): boolean {
    let at: Task | undefined = this;
    while (at !== undefined && at !== other) at = at.caller;
    return at === other;
  }
}

let made = 0;

// Set while identity is on.
let storage: AsyncStorage<Task> | undefined;
let removeObserver: (() => void) | undefined;

/**
 * Turns identity on or off, for what is made from now on. It is of use under full tracking only. Throws an Error, with
 * nothing changed, if it is to be on and the host has no AsyncLocalStorage that can be found.
 */
export function setTasks(on: boolean): void {
  if (on === areTasksOn()) return;
  if (!on) {
    removeObserver?.();
    setTaskOf(undefined);
    storage?.disable();
    storage = undefined;
    return;
  }
  const store = asyncStorage<Task>("tasks: the identity of tasks");
  storage = store;
  setTaskOf(taskOf);
  removeObserver = addObserver({
    task: (fn, record) => (record?.task === undefined ? fn() : store.run(record.task, fn)),
  });
}

// Whether identity is on under full tracking where nothing else is said.
let byDefault = false;

/** Turns identity on, and lets it be on under full tracking from now on unless it is turned off: `GOPARK_TRACK`. */
export function setTasksByDefault(): void {
  setTasks(true);
  byDefault = true;
}

/** Whether identity is to be on under full tracking where nothing else is said. */
export function areTasksByDefault(): boolean {
  return byDefault;
}

/** Whether tasks have an identity. */
export function areTasksOn(): boolean {
  return storage !== undefined;
}

/** The task that runs; undefined outside of all tasks, and without identity. */
export function currentTask(): Task | undefined {
  return storage?.getStore();
}

function taskOf(record: LeakRecord, kind: Kind): Task | undefined {
  if (kind.class === "resource") return undefined;
  return kind.class === "wait" ? currentTask() : new Task(record, kind.callerWaits ? currentTask() : undefined);
}

/** Calls `fn` as a task inside the one that runs, to which what `hold` records belongs from now on. */
export function runHolding<R>(fn: () => R, hold: LeakRecord | undefined): R {
  if (storage === undefined || hold === undefined) return fn();
  const task = new Task(hold, currentTask());
  hold.task = task;
  return storage.run(task, fn);
}

/** The call that a wait is blocked by. */
export interface Blocker {
  readonly stack: string;
  /** Whether the call is of the wait's own task, which so waits for itself. Known with identity. */
  readonly isOwn: boolean;
}

/**
 * The call that has to end, or to let go, before the wait of a record can end: one of its own task, if the task waits
 * for itself, else the oldest. Undefined if none is known.
 */
export function blockerOf(record: LeakRecord): Blocker | undefined {
  const own = heldByItself(record);
  const stack = (own ?? record.holder)?.stack;
  return stack === undefined ? undefined : { stack, isOwn: own !== undefined };
}

/** A blocker as reports show it. */
export function blockerText({ stack, isOwn }: Blocker): string {
  return `blocked by ${isOwn ? "its own task's" : "the"} call at\n${stack}`;
}

/**
 * Of a wait's record: the record of what the wait's own task holds. Undefined if it holds nothing of it, if others that
 * hold some can end the wait, and without identity.
 */
export function heldByItself({ task, holder }: LeakRecord): LeakRecord | undefined {
  if (task === undefined || holder === undefined) return undefined;
  let own: LeakRecord | undefined;
  for (const hold of holder.records) {
    const isOwn = hold.task !== undefined && task.isWithin(hold.task);
    if (isOwn) own ??= hold;
    else if (holder.enough === "one") return undefined;
  }
  return own;
}
