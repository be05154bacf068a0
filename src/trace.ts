/**
 * Traces: records for a while which tasks run, where they wait and who wakes them, as a file that Perfetto
 * (https://ui.perfetto.dev) and chrome://tracing open.
 *
 * Rules of use:
 *
 * - `start()`, do what is to be seen, `stop()`, and write what that returns as JSON into a file.
 * - Record for seconds, not for hours: a recording slows every wait and every task down. It keeps the newest `max`
 *   tasks and waits, so its memory is bounded, and it may run until something has gone wrong.
 * - Under full tracking (`leak.track("full")`) each task and wait also shows where it was made.
 *
 * ```ts
 * import { Channel, go } from "gopark";
 * import * as trace from "gopark/trace";
 *
 * const recording = trace.start();
 * const orders = new Channel<string>();
 * const baker = go(() => orders.receive());
 * const waiter = go(() => orders.send("bread"));
 * await Promise.all([baker, waiter]);
 *
 * const { traceEvents } = recording.stop();
 * for (const { ph, name, args } of traceEvents) if (ph === "b") console.log(name, args?.task);
 * // Output:
 * // task 2
 * // chan receive 2
 * // task 3
 * ```
 *
 * Ports runtime/trace. Differences from Go:
 *
 * - The file is JSON in the format of trace events, which Perfetto opens. Go has a format and a viewer of its own.
 * - It has tasks, their waits, who ended a wait, and how many there are of each kind. It has no regions and no log, and
 *   nothing of the collector, of threads and of system calls: Node's inspector and `--trace-events-enabled` show these.
 * - A recording keeps its newest part, as Go's FlightRecorder does, and any number of recordings may run at once.
 * - A wait belongs to the task whose code called it, as far as the host's AsyncLocalStorage knows. Where there is none,
 *   as in browsers, waits stand beside the tasks and not in them, and have no arrows.
 */
import { callable, optionsOf, wholeNumber } from "./internal/data/args.ts";
import { Ring } from "./internal/data/ring.ts";
import { type AsyncStorage, findAsyncStorage, guarded } from "./internal/host/async.ts";
import { realNow } from "./internal/host/host.ts";
import { eventsOf, type Level, MAIN, TaskSpan, type TraceEvent, WaitSpan } from "./internal/trace/events.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import { addObserver, allKinds, type Kind, runToEnd } from "./internal/track/tracker.ts";

export type { TraceEvent } from "./internal/trace/events.ts";

/** How a recording is made. */
export interface TraceOptions {
  /**
   * How many tasks and waits are kept, and how many readings of the counters: a whole number from 1; 100 000 if left
   * out. If there are more, the oldest go, but a task stays as long as one of its waits does.
   */
  readonly max?: number | undefined;

  /** The clock, in milliseconds from any origin; the host's `performance.now` if left out, even under fake timers. */
  readonly now?: (() => number) | undefined;
}

/** A recording that runs. Made by {@link start}. */
export interface Recording {
  /**
   * Ends the recording, and returns what it has seen. What is still open ends now, and has `open: true` among its
   * `args`. A second call returns the same object. Blocks the event loop while it makes the events, up to six for each
   * task and wait that is kept.
   */
  stop(): TraceFile;
}

/** What a trace file contains: `writeFileSync("trace.json", JSON.stringify(file))`. */
export interface TraceFile {
  readonly traceEvents: readonly TraceEvent[];
  readonly displayTimeUnit: "ms";
  readonly otherData: {
    /** How many tasks and waits were recorded and not kept, as there were more than `max`. */
    readonly dropped: number;
  };
}

// The counters are read at most once in this many milliseconds, when something happens.
const LEVELS_EVERY = 10;

/**
 * Records from now on which tasks run, where they wait and who wakes them.
 *
 * A task that runs already is not seen, but its waits are. Throws, with nothing changed, RangeError or TypeError if an
 * option is not what {@link TraceOptions} says. An error that `now` throws is reported as an uncaught one, and the
 * instant before is taken.
 */
export function start(options?: TraceOptions): Recording {
  const { max = 100_000, now = realNow } = optionsOf(options, "start: options");
  const recorder = new Recorder(wholeNumber(max, "start: max", 1), callable(now, "start: now"));
  return { stop: () => recorder.stop() };
}

class Recorder {
  // The newest tasks and waits, in the order of their starts, and the newest readings of the counters.
  private readonly spans = new Ring<TaskSpan | WaitSpan>();
  private readonly levels = new Ring<Level>();
  private readonly max: number;
  private dropped = 0;

  // Knows the task whose code runs; undefined where the host has no such thing.
  private readonly storage: AsyncStorage<TaskSpan> | undefined;
  private lastTask = MAIN;

  // The last instant that the clock has shown, and that at which the recording began.
  private readonly clock: () => number;
  private last = Number.NEGATIVE_INFINITY;
  private readonly began: number;

  // When the counters were read, in microseconds, and what they showed.
  private levelsAt = Number.NEGATIVE_INFINITY;
  private readonly lastLevels = new Map<Kind, number>();

  private readonly removeObserver: () => void;
  private file: TraceFile | undefined = undefined;

  constructor(max: number, clock: () => number) {
    this.max = max;
    this.clock = clock;
    this.readClock();
    this.began = Number.isFinite(this.last) ? this.last : 0;
    this.last = this.began;
    this.storage = findAsyncStorage();
    this.readLevels(0);
    this.removeObserver = addObserver({
      parked: (kind, record) => this.parked(kind, record),
      unparked: (_, token, canceled) => this.unparked(token as WaitSpan, canceled),
      task: (fn, record) => this.runTask(fn, record),
    });
  }

  stop(): TraceFile {
    if (this.file !== undefined) return this.file;
    this.removeObserver();
    const stopped = this.now();
    this.readLevels(stopped);
    this.storage?.disable();
    const traceEvents = eventsOf(drained(this.spans), drained(this.levels), stopped);
    this.file = { traceEvents, displayTimeUnit: "ms", otherData: { dropped: this.dropped } };
    return this.file;
  }

  private parked(kind: Kind, record: LeakRecord | undefined): WaitSpan {
    const wait = new WaitSpan(this.now(), record?.stack, kind, this.storage?.getStore());
    this.add(wait);
    return wait;
  }

  private unparked(wait: WaitSpan, canceled: boolean): void {
    if (this.file !== undefined) return;
    wait.end = this.now();
    wait.endedBy = this.currentTask();
    wait.canceled = canceled;
  }

  /** Runs the function of a task, whose end is that of what the function returns. */
  private runTask<R>(fn: () => R, record: LeakRecord | undefined): R {
    const task = new TaskSpan(this.now(), record?.stack, ++this.lastTask, this.currentTask());
    this.add(task);
    return runToEnd(
      () => (this.storage === undefined ? fn() : this.storage.run(task, fn)),
      () => {
        task.end = this.now();
      },
    );
  }

  private currentTask(): number {
    return this.storage?.getStore()?.id ?? MAIN;
  }

  private add(span: TaskSpan | WaitSpan): void {
    this.spans.push(span);
    if (this.spans.size <= this.max) return;
    this.spans.shift();
    this.dropped++;
  }

  /** Microseconds since the recording began. Reads the counters too, if it is time to. */
  private now(): number {
    this.readClock();
    // To the nanosecond.
    const t = Math.round((this.last - this.began) * 1e6) / 1e3;
    if (t - this.levelsAt >= LEVELS_EVERY * 1e3) this.readLevels(t);
    return t;
  }

  /** Time never goes back: slices would end before they begin. */
  private readClock(): void {
    const { clock } = this;
    guarded(() => {
      const t = clock();
      if (t > this.last && Number.isFinite(t)) this.last = t;
    });
  }

  private readLevels(at: number): void {
    this.levelsAt = at;
    for (const kind of allKinds()) {
      const { live } = kind;
      if (live === (this.lastLevels.get(kind) ?? 0)) continue;
      this.lastLevels.set(kind, live);
      this.levels.push({ at, kind, live });
      if (this.levels.size > this.max) this.levels.shift();
    }
  }
}

/** Takes everything out of a ring. */
function* drained<T>(ring: Ring<T>): Iterable<T> {
  while (ring.size > 0) yield ring.shift();
}
