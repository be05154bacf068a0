/**
 * Spans as trace events, in the format that chrome://tracing has defined and Perfetto reads.
 *
 * 1. A task is an async slice, `b` to `e`, under a category and an id of its own.
 * 2. A wait is nested in its task's: under the same category and id, between the task's `b` and `e`. Slices of one id
 *    must nest. So a wait that is not over when the next one of its task begins (under `Promise.all`), or when the task
 *    ends, makes that next one, or itself, a slice under an id of its own. So is a wait without a task.
 * 3. An arrow leads from the task that ended a wait to the task that waited. Arrows connect slices of threads only, so
 *    each end gets a slice without a length, in a thread that stands for the task.
 * 4. A counter is a track for each kind.
 *
 * The events are not sorted by time: readers do that, and keep the order of those of one instant. So those of one id
 * stand in order, and the end of an arrow stands behind the slice that it is bound to.
 */
import { type Kind, PROVED } from "../track/tracker.ts";

/** One event. Times are microseconds since the recording began. */
export interface TraceEvent {
  /**
   * What it is: `b` and `e`, the begin and the end of an async slice; `X`, a slice of a thread; `s` and `f`, the begin
   * and the end of an arrow; `C`, a counter; `M`, a name.
   */
  readonly ph: "b" | "e" | "X" | "s" | "f" | "C" | "M";
  readonly name: string;
  readonly cat: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  /** Of `X`: its length. */
  readonly dur?: number;
  /** Of `b`, `e`, `s`, `f`: with `cat`, what belongs together. */
  readonly id?: string;
  /** Of `f`: the arrow ends in the slice around it. */
  readonly bp?: "e";
  /** What else is known: a task's id, the place where it was made (`at`), ... */
  readonly args?: Readonly<Args>;
}

/** What runs outside of all tasks, as an id of a task and as a thread. */
export const MAIN = 1;

const PID = 1;

/** Something that begins and ends. Times are microseconds. */
abstract class Span {
  readonly start: number;
  /** Set when it ends. */
  end: number | undefined = undefined;
  /** Where it was made; undefined if that is not recorded. */
  readonly stack: string | undefined;

  constructor(start: number, stack: string | undefined) {
    this.start = start;
    this.stack = stack;
  }
}

export class TaskSpan extends Span {
  /** From MAIN + 1. */
  readonly id: number;
  /** The id of the task that started it. */
  readonly parent: number;

  constructor(start: number, stack: string | undefined, id: number, parent: number) {
    super(start, stack);
    this.id = id;
    this.parent = parent;
  }
}

export class WaitSpan extends Span {
  readonly kind: Kind;
  /** The task that waits, if it is known. */
  readonly task: TaskSpan | undefined;
  /** Set with `end`: the id of the task that ended it. */
  endedBy: number = MAIN;
  /** Set with `end`: whether it ended as its context had. */
  canceled = false;

  constructor(start: number, stack: string | undefined, kind: Kind, task: TaskSpan | undefined) {
    super(start, stack);
    this.kind = kind;
    this.task = task;
  }
}

/** How many of a kind there were from this moment on. */
export interface Level {
  readonly at: number;
  readonly kind: Kind;
  readonly live: number;
}

/** The events of spans, in the order of their starts, and of levels. What is open ends at `stopped`. */
export function eventsOf(spans: Iterable<TaskSpan | WaitSpan>, levels: Iterable<Level>, stopped: number): TraceEvent[] {
  const waitsOf = new Map<TaskSpan | undefined, WaitSpan[]>([[undefined, []]]);
  for (const span of spans) {
    const task = span instanceof TaskSpan ? span : span.task;
    let waits = waitsOf.get(task);
    if (waits === undefined) {
      waits = [];
      waitsOf.set(task, waits);
    }
    if (span instanceof WaitSpan) waits.push(span);
  }
  const events = new Events(stopped);
  for (const [task, waits] of waitsOf) {
    if (task === undefined) for (const wait of waits) events.addApart(wait);
    else events.addTask(task, waits);
  }
  for (const { at, kind, live } of levels) events.addLevel(at, kind, live);
  return events.withNames();
}

class Events {
  private readonly stopped: number;
  private readonly events: TraceEvent[] = [];
  // The tasks that have a thread.
  private readonly threads = new Set([MAIN]);
  // How many waits are slices of their own, and how many arrows there are.
  private apart = 0;
  private arrows = 0;

  constructor(stopped: number) {
    this.stopped = stopped;
  }

  /** A task, with those of its waits inside that nest. `waits` are in the order of their starts. */
  addTask(task: TaskSpan, waits: readonly WaitSpan[]): void {
    const id = `${task.id}`;
    const end = this.endOf(task);
    const others: WaitSpan[] = [];
    let nestedUntil = task.start;
    this.begin("task", "task", id, task, { task: task.id, parent: task.parent });
    for (const wait of waits) {
      if (wait.start < nestedUntil || this.endOf(wait) > end) {
        others.push(wait);
      } else {
        this.addWait(wait, "task", id);
        nestedUntil = this.endOf(wait);
      }
    }
    this.end("task", "task", id, task);
    for (const wait of others) this.addApart(wait);
  }

  /** A wait, as a slice of its own. */
  addApart(wait: WaitSpan): void {
    this.apart++;
    this.addWait(wait, "wait", `${this.apart}`);
  }

  private addWait(wait: WaitSpan, cat: string, id: string): void {
    const { name } = wait.kind;
    const args: Args = { task: wait.task?.id ?? MAIN };
    if (wait.canceled) args.canceled = true;
    this.begin(name, cat, id, wait, args);
    this.end(name, cat, id, wait);
    if (wait.end !== undefined) this.addArrow(wait, wait.end);
  }

  addLevel(ts: number, kind: Kind, live: number): void {
    const name = kind === PROVED ? "leaks" : `${kind.class}s`;
    this.events.push({ ph: "C", name, cat: "gopark", pid: PID, tid: MAIN, ts, args: { [kind.name]: live } });
  }

  /** All events, with those that name the process and the threads in front. */
  withNames(): TraceEvent[] {
    const name = (of: string, tid: number, name: string): TraceEvent => {
      return { ph: "M", name: of, cat: "__metadata", pid: PID, tid, ts: 0, args: { name } };
    };
    const threads = [...this.threads].map((id) => name("thread_name", id, id === MAIN ? "main" : `task ${id}`));
    return [name("process_name", MAIN, "gopark"), ...threads].concat(this.events);
  }

  /** From the task that ended the wait to the one that waited; none if that is the same. */
  private addArrow({ kind, task, endedBy: by, canceled }: WaitSpan, ts: number): void {
    const waited = task?.id ?? MAIN;
    if (by === waited) return;
    const cat = canceled ? "cancel" : "hand-off";
    const id = `${++this.arrows}`;
    this.threads.add(by).add(waited);
    this.point(canceled ? "cancels" : "wakes", cat, by, ts, { task: waited });
    this.events.push({ ph: "s", name: cat, cat, id, pid: PID, tid: by, ts });
    this.point(kind.name, cat, waited, ts, { by });
    this.events.push({ ph: "f", name: cat, cat, id, pid: PID, tid: waited, ts, bp: "e" });
  }

  /** A slice without a length, in a thread. */
  private point(name: string, cat: string, tid: number, ts: number, args: Args): void {
    this.events.push({ ph: "X", name, cat, pid: PID, tid, ts, dur: 0, args });
  }

  private begin(name: string, cat: string, id: string, span: Span, args: Args): void {
    if (span.end === undefined) args.open = true;
    const at = span.stack?.split("\n", 1)[0]?.trim();
    if (at !== undefined && at !== "") args.at = at;
    this.events.push({ ph: "b", name, cat, id, pid: PID, tid: MAIN, ts: span.start, args });
  }

  private end(name: string, cat: string, id: string, span: Span): void {
    this.events.push({ ph: "e", name, cat, id, pid: PID, tid: MAIN, ts: this.endOf(span) });
  }

  private endOf({ end }: Span): number {
    return end ?? this.stopped;
  }
}

type Args = Record<string, string | number | boolean>;
