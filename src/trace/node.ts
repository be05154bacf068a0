/**
 * Waits and tasks on channels of `node:diagnostics_channel`, for monitoring agents and for code of your own. Node only.
 *
 * Rules of use:
 *
 * - Call `bridge()` once, at start-up, if something subscribes. It costs every wait and every task some time, so leave
 *   it out otherwise.
 * - A subscriber is called inside of what it sees. It must be quick, and must not call the library. An error that it
 *   throws is reported by Node as an uncaught one, and disturbs no wait and no task.
 *
 * | channel | message |
 * |---|---|
 * | `gopark.wait.parked` | {@link WaitMessage}: a call has parked |
 * | `gopark.wait.unparked` | the same object: the wait is over |
 * | `tracing:gopark.task:start`, `:end`, `:asyncStart`, `:asyncEnd`, `:error` | {@link TaskMessage}: a task |
 *
 * Tasks are shown as every tracing channel of Node shows a call that returns a promise.
 *
 * ```ts
 * import { subscribe } from "node:diagnostics_channel";
 * import { Channel } from "gopark";
 * import { bridge, type WaitMessage } from "gopark/trace/node";
 *
 * subscribe("gopark.wait.unparked", (message) => {
 *   const { kind, canceled } = message as WaitMessage;
 *   console.log(kind, canceled);
 * });
 * const end = bridge();
 * const orders = new Channel<string>();
 * const order = orders.receive();
 * await orders.send("bread");
 * await order;
 * end();
 * // Output:
 * // chan receive false
 * ```
 */
import { builtin } from "../internal/host/host.ts";
import { addObserver, type Observer } from "../internal/track/tracker.ts";

/** A wait, on the channels `gopark.wait.parked` and `gopark.wait.unparked`. One object, from its park to its end. */
export interface WaitMessage {
  /** What it waits for: "chan receive", "semaphore acquire", ...: the names in docs/leak.md. */
  readonly kind: string;
  /** Where it was parked; undefined unless that is recorded, as it is under full tracking. */
  readonly stack: string | undefined;
  /** Whether it ended as its context or signal had; undefined while it is parked. */
  readonly canceled: boolean | undefined;
}

/** A task, on the channels of `tracing:gopark.task`. Node adds `result` or `error`. One object for each task. */
export interface TaskMessage {
  /** Where it was started; undefined unless that is recorded. */
  readonly stack: string | undefined;
}

interface DiagnosticChannel {
  readonly hasSubscribers: boolean;
  publish(message: object): void;
}

interface TaskChannels {
  tracePromise<R>(fn: () => R, message: object): R;
}

interface DiagnosticsChannel {
  channel(name: string): DiagnosticChannel;
  tracingChannel(name: string): TaskChannels & Record<TaskEvent, DiagnosticChannel>;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const TASK_EVENTS = ["start", "end", "asyncStart", "asyncEnd", "error"] as const;
type TaskEvent = (typeof TASK_EVENTS)[number];

/**
 * Publishes from now on each wait and each task; returns what ends that. Of the waits that it has published, the ends
 * are published after that too. A second call publishes all twice. Without a subscriber nothing is made and nothing is
 * published.
 *
 * Throws an Error if the host has no `diagnostics_channel`, or none that can be found: Node has
 * `process.getBuiltinModule` from 20.16.
 */
export function bridge(): () => void {
  const { channel, tracingChannel } = builtin<DiagnosticsChannel>("node:diagnostics_channel") ?? {};
  if (channel === undefined || tracingChannel === undefined) {
    throw new Error("bridge: node:diagnostics_channel with tracingChannel is not here; it needs Node 20.16 or later");
  }
  const parked = channel("gopark.wait.parked");
  const unparked = channel("gopark.wait.unparked");
  const task = tracingChannel("gopark.task");
  const observer: Observer = {
    parked(kind, record) {
      if (!parked.hasSubscribers && !unparked.hasSubscribers) return undefined;
      const message: WaitMessage = { kind: kind.name, stack: record?.stack, canceled: undefined };
      parked.publish(message);
      return message;
    },
    unparked(_, message, canceled) {
      if (message === undefined) return; // Nobody subscribed when it parked.
      const ended = message as Writable<WaitMessage>;
      ended.canceled = canceled;
      unparked.publish(ended);
    },
    task(fn, record) {
      if (!TASK_EVENTS.some((event) => task[event].hasSubscribers)) return fn();
      // Of a function that returns no promise, newer versions of Node would warn.
      return task.tracePromise(() => Promise.resolve(fn()), { stack: record?.stack }) as ReturnType<typeof fn>;
    },
  };
  return addObserver(observer);
}
