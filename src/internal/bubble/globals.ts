/// <reference lib="esnext.disposable" preserve="true" />
/** The host's globals that spend time or tell it, as they are in a bubble. */
import { callable } from "../data/args.ts";
import { reaction } from "../host/async.ts";
import { disposable } from "../host/dispose.ts";
import { MAX_DELAY, realDate } from "../host/host.ts";
import { type Alarm, arm, disarm } from "../time/timers.ts";
import type { Task } from "./tasks.ts";

/** What the virtual globals need of their bubble. */
export interface VirtualTime {
  /** Whether the bubble has ended. Then they do what the host's own do. */
  readonly over: boolean;
  /** Epoch milliseconds. */
  now(): number;
  /** The task that is calling; undefined for a caller that is not of the bubble. */
  currentTask(): Task | undefined;
  /** Counts a timer of a task as pending and ref'd, or takes that back. */
  count(timer: VirtualTimer, task: Task, n: 1 | -1): void;
  /** A timer is due: its `run` is to be called soon. */
  due(timer: VirtualTimer): void;
  /** A callback has thrown. */
  failed(error: unknown): void;
}

type Callback = (...args: unknown[]) => unknown;

// The pending timers that were used as numbers, by number, until the bubble ends. Far from the numbers of a host.
const numbered = new Map<number, VirtualTimer>();
let numbers = 2 ** 40;

/**
 * What `setTimeout` and `setInterval` return in a bubble, with the methods of Node's Timeout. It is armed among the
 * library's alarms, so that all fire in the order of their instants. One of a caller outside the bubble is unref'd.
 */
export class VirtualTimer implements Alarm {
  when = 0;
  index = -1;
  readonly #time: VirtualTime;
  readonly #delay: number;
  readonly repeats: boolean;
  readonly #task: Task | undefined;
  readonly #run: () => void;

  // Runs the callback once, in the async context of the call that made the timer.
  #trigger: () => void;

  // Whether the callback is to run: the timer is armed, or due.
  #pending = false;
  #ref: boolean;
  #number: number | undefined = undefined;

  constructor(time: VirtualTime, callback: Callback, delay: unknown, repeats: boolean, args: readonly unknown[]) {
    const ms = Number(delay);
    this.#time = time;
    // As hosts do: too long, less than 1, or NaN is 1.
    this.#delay = ms >= 1 && ms <= MAX_DELAY ? ms : 1;
    this.repeats = repeats;
    this.#task = time.currentTask();
    this.#ref = this.#task !== undefined;
    this.#run = () => {
      this.#trigger = reaction(this.#run);
      try {
        callback.apply(this, args as unknown[]);
      } catch (error) {
        time.failed(error);
      }
    };
    this.#trigger = reaction(this.#run);
    this.#start();
  }

  fire(): void {
    this.#time.due(this);
  }

  /** Triggers the callback of a timer that was due, unless it has been cleared or set anew since. */
  run(): void {
    if (!this.#pending || this.index >= 0) return;
    if (this.repeats) this.#start();
    else this.#setPending(false);
    this.#trigger();
  }

  close(): this {
    disarm(this);
    this.#setPending(false);
    return this;
  }

  refresh(): this {
    disarm(this);
    this.#start();
    return this;
  }

  ref(): this {
    return this.#setRef(true);
  }

  unref(): this {
    return this.#setRef(false);
  }

  hasRef(): boolean {
    return this.#ref;
  }

  [Symbol.toPrimitive](): number {
    this.#number ??= numbers++;
    if (this.#pending) numbered.set(this.#number, this);
    return this.#number;
  }

  /** Clears it at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  #start(): void {
    if (this.#time.over) return;
    this.when = this.#time.now() + this.#delay;
    arm(this);
    this.#setPending(true);
  }

  #setPending(pending: boolean): void {
    if (this.#pending === pending) return;
    this.#pending = pending;
    if (!pending && this.#number !== undefined) numbered.delete(this.#number);
    if (this.#ref) this.#count(pending);
  }

  #setRef(ref: boolean): this {
    if (this.#ref === ref) return this;
    this.#ref = ref;
    if (this.#pending) this.#count(ref);
    return this;
  }

  #count(on: boolean): void {
    if (this.#task !== undefined) this.#time.count(this, this.#task, on ? 1 : -1);
  }

  static {
    disposable(this.prototype, function () {
      this.close();
    });
  }
}

/** A global, or a method of one, and what stands in its place. */
interface Replacement {
  readonly target: object;
  readonly key: string;
  readonly value: unknown;
}

type Clear = (timer: unknown) => void;
type Globals = Record<"setTimeout" | "setInterval", (callback: Callback, ms?: unknown, ...args: unknown[]) => unknown> &
  Record<"clearTimeout" | "clearInterval", Clear> & { readonly Math: object; readonly performance: { now(): number } };

/**
 * Puts virtual ones in the place of the host's `setTimeout`, `setInterval`, their clears, `Date` and
 * `performance.now`; with `random`, also of `Math.random`. Returns what puts the host's back, and says which of them
 * had been replaced by others in the meantime, whose replacements are lost.
 *
 * If one cannot be replaced, throws, with none of them replaced. Code that keeps one of the virtual ones and calls it
 * after the bubble gets what the host's does.
 */
export function replaceGlobals(time: VirtualTime, origin: number, random?: () => number): () => string[] {
  const host = globalThis as unknown as Globals;
  const { performance } = host;
  const hostNow = performance.now;
  const now = () => (time.over ? hostNow.call(performance) : time.now() - origin);
  const date = virtualDate(time);
  const replacements: Replacement[] = [
    ...(["setTimeout", "setInterval"] as const).map((key) => ({ target: host, key, value: setter(time, key) })),
    ...(["clearTimeout", "clearInterval"] as const).map((key) => ({ target: host, key, value: clearer(host[key]) })),
    { target: host, key: "Date", value: date },
    { target: realDate.prototype, key: "constructor", value: date },
    { target: performance, key: "now", value: now },
    { target: performance, key: "timeOrigin", value: origin },
  ];
  if (random !== undefined) replacements.push({ target: host.Math, key: "random", value: random });

  const done: (() => string | undefined)[] = [];
  const restore = () => {
    numbered.clear();
    return done.splice(0).flatMap((undo) => undo() ?? []);
  };
  try {
    for (const replacement of replacements) done.push(replace(replacement));
  } catch (error) {
    restore();
    throw error;
  }
  return restore;
}

/** Replaces one; returns what undoes that, and returns its name if it was replaced again. */
function replace({ target, key, value }: Replacement): () => string | undefined {
  const before = Object.getOwnPropertyDescriptor(target, key);
  const enumerable = before?.enumerable ?? false;
  Object.defineProperty(target, key, { value, writable: true, configurable: true, enumerable });
  return () => {
    const isOurs = (target as Record<string, unknown>)[key] === value;
    if (before === undefined) delete (target as Record<string, unknown>)[key];
    else Object.defineProperty(target, key, before);
    return isOurs ? undefined : key;
  };
}

/** Node's `util.promisify` looks for a function under it. */
const PROMISIFY = Symbol.for("nodejs.util.promisify.custom");

function setter(time: VirtualTime, name: "setTimeout" | "setInterval"): unknown {
  const original = (globalThis as unknown as Globals)[name];
  const set = (callback: Callback, ms?: unknown, ...args: unknown[]) =>
    time.over
      ? original(callback, ms, ...args)
      : new VirtualTimer(time, callable(callback, `${name}: callback`), ms, name === "setInterval", args);
  if (name === "setTimeout") {
    const promisified = (ms: unknown, value: unknown) =>
      new Promise((resolve) => {
        set(resolve, ms, value);
      });
    Object.defineProperty(set, PROMISIFY, { value: promisified });
  }
  return set;
}

function clearer(original: Clear): Clear {
  return (timer) => {
    const isNumber = typeof timer === "number" || typeof timer === "string";
    const virtual = timer instanceof VirtualTimer ? timer : numbered.get(isNumber ? Number(timer) : Number.NaN);
    if (virtual === undefined) original(timer);
    else virtual.close();
  };
}

/** A Date that shares the prototype of the host's, so that `instanceof` knows the objects of both. */
function virtualDate(time: VirtualTime): unknown {
  const now = () => (time.over ? realDate.now() : Math.floor(time.now()));
  function VirtualDate(...args: unknown[]): unknown {
    if (new.target === undefined) return new realDate(now()).toString();
    const newTarget = new.target === VirtualDate ? realDate : new.target;
    return Reflect.construct(realDate, args.length === 0 ? [now()] : args, newTarget);
  }
  Object.setPrototypeOf(VirtualDate, realDate); // `parse` and `UTC`.
  return Object.defineProperties(VirtualDate, {
    name: { value: "Date" },
    now: { value: now, writable: true, configurable: true },
    prototype: { value: realDate.prototype },
  });
}
