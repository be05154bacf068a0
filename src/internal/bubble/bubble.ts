/**
 * Bubbles: a function and the tasks that it starts, in virtual time.
 *
 * All of the thread shares the bubble's clock, so only one runs at a time. What belongs to it is known by async
 * context: the function runs in one that names its {@link Task}, and so does each task that it starts. An observer of
 * the tracker sees the tasks, and their waits.
 *
 * The bubble is driven by a loop of macrotasks:
 *
 * 1. Let the tasks run. A completion that is deferred, or a timer that is due, is handed out, one in each macrotask; if
 *    the bubble has a seed, one chosen at random. Go on when nothing has changed for CALM_TURNS.
 * 2. If a task is still running (see tasks.ts), or the process has begun I/O, wait for it in real time.
 * 3. Now all are durably blocked. If a task has called `wait`, it goes on.
 * 4. If the function has ended, time stands still. The bubble ends, well if no task and no wait are left.
 * 5. Otherwise the clock goes to the next instant for which a timer is set. If there is none, this is a deadlock.
 */
import { noGenerator } from "../data/args.ts";
import { randomFrom } from "../data/random.ts";
import { Ring } from "../data/ring.ts";
import { type AsyncStorage, asyncStorage, guarded, inRootContext } from "../host/async.ts";
import { host, realNow, realSetImmediate, realSetTimeout } from "../host/host.ts";
import { setVirtualNow } from "../time/clock.ts";
import { fireDue, firstAlarm, separateAlarms, timerRefs } from "../time/timers.ts";
import { type Completions, hasDeferred, macrotask, RESOLVED, takeOver } from "../time/turn.ts";
import type { LeakRecord } from "../track/records.ts";
import { addObserver, type Observer, runToEnd } from "../track/tracker.ts";
import { replaceGlobals, type VirtualTime, type VirtualTimer } from "./globals.ts";
import { deadlockMessage, stuckMessage } from "./report.ts";
import { type Task, TaskTree, type TaskWait } from "./tasks.ts";

/** When every bubble begins: midnight UTC 2000-01-01, as in Go. */
const START = 946_684_800_000;

/** After so many macrotasks in which nothing has changed, nothing will by itself: microtasks have all run before. */
const CALM_TURNS = 2;

/** How long a pause is while something outside the bubble is waited for, in real milliseconds. */
const PAUSE = 1;

/** How much of a pause counts at most: one that took longer, as the process was held up, says nothing of the bubble. */
const MAX_PAUSE = 50;

/** After so many steps of the clock in which intervals ran and nothing changed, nothing will. */
const MAX_IDLE_STEPS = 100_000;

// The async context that says which task is running. Made when it is first needed.
let storage: AsyncStorage<Task> | undefined;

// The bubble that is running.
let current: Bubble | undefined;

/** The bubble of the code that is running, if that is still going on. */
export function currentBubble(): Bubble | undefined {
  return current?.currentTask() === undefined ? undefined : current;
}

// The end of the last bubble that was asked for. Two copies of the library share it, as they share the host's clock.
const QUEUE: unique symbol = Symbol.for("gopark.v1.bubbles") as never;

/** Calls `run` when all earlier bubbles of the thread have ended. */
export function queued<R>(run: () => Promise<R>): Promise<R> {
  const thread = globalThis as { [QUEUE]?: Promise<unknown> };
  const running = (thread[QUEUE] ?? RESOLVED).then(run);
  const ended = () => {};
  thread[QUEUE] = running.then(ended, ended);
  return running;
}

export interface BubbleOptions {
  readonly seed: number | undefined;
  /** How long it may wait for what is outside of it, in real milliseconds. */
  readonly stuckMs: number;
  /** Makes the error of a deadlock. */
  readonly deadlock: (message: string) => Error;
}

/** A call of `wait`. */
interface Waiter {
  readonly task: Task;
  resolve(): void;
  reject(error: unknown): void;
}

export class Bubble implements VirtualTime {
  readonly #options: BubbleOptions;
  readonly #tree = new TaskTree();
  readonly #resources = resourcesBefore();
  readonly #refsBefore = timerRefs();
  #time = START;

  /** Whether it has ended. */
  over = false;

  // The timers of the host that are due.
  readonly #due = new Ring<VirtualTimer>();

  // How many timers of the host are pending and ref'd, and how many of these are intervals.
  #timers = 0;
  #intervals = 0;

  // With a seed: where the completions come from, those that were taken, and what chooses among them.
  #completions: Completions | undefined = undefined;
  readonly #taken: (() => void)[] = [];
  #random = () => 0;

  // The call of `wait` that has not gone on.
  #waiter: Waiter | undefined = undefined;

  // How its function has ended; or the first error of a callback.
  #ended = false;
  #failure: { readonly error: unknown } | undefined = undefined;
  #crashed = false;

  constructor(options: BubbleOptions) {
    this.#options = options;
  }

  /** Runs `fn` and all that it starts, to the end. Called once, while no other bubble runs. */
  async run<T>(fn: () => T | PromiseLike<T>): Promise<T> {
    storage ??= asyncStorage("synctest: a bubble");
    const undo: (() => void)[] = [];
    let replaced: string[] = [];
    let result: T | undefined;
    try {
      undo.push(separateAlarms());
      const restore = this.#replaceGlobals();
      undo.push(() => {
        replaced = restore();
      });
      setVirtualNow(() => this.#time);
      undo.push(() => setVirtualNow(undefined));
      undo.push(addObserver(this.#observer()));
      if (this.#options.seed !== undefined) {
        this.#completions = takeOver();
        undo.push(() => this.#giveBack());
      }
      current = this;
      const root = this.#tree.begin(undefined, undefined);
      const running = storage.run(root, async () => noGenerator(await fn(), "test: fn"));
      running.then(
        (value) => {
          result = value;
          this.#end(root);
        },
        (error) => {
          this.#failure ??= { error };
          this.#end(root);
        },
      );
      await inRootContext(() => this.#drive());
    } finally {
      this.over = true;
      current = undefined;
      for (const step of undo.reverse()) guarded(step);
      storage.disable();
      this.#takeWaiter()?.reject(new Error("synctest.wait: the bubble has ended"));
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    if (replaced.length > 0) {
      throw new Error(`synctest: replaced inside the bubble, and not put back: ${replaced.join(", ")}`);
    }
    return result as T;
  }

  now(): number {
    return this.#time;
  }

  currentTask(): Task | undefined {
    const task = storage?.getStore();
    return task?.tree === this.#tree ? task : undefined;
  }

  count(timer: VirtualTimer, task: Task, n: 1 | -1): void {
    this.#timers += n;
    if (timer.repeats) this.#intervals += n;
    this.#tree.addPending(task, n);
  }

  due(timer: VirtualTimer): void {
    this.#due.push(timer);
  }

  failed(error: unknown): void {
    this.#failure ??= { error };
    this.#crashed = true;
  }

  /** See `wait` of synctest.ts. */
  wait(): Promise<void> {
    if (this.#waiter !== undefined) return Promise.reject(new Error("synctest.wait: wait already in progress"));
    const task = this.currentTask() as Task;
    return new Promise((resolve, reject) => {
      this.#tree.addPending(task, 1);
      this.#waiter = { task, resolve, reject };
    });
  }

  #takeWaiter(): Waiter | undefined {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter !== undefined) this.#tree.addPending(waiter.task, -1);
    return waiter;
  }

  #end(root: Task): void {
    this.#ended = true;
    this.#tree.end(root);
  }

  #replaceGlobals(): () => string[] {
    const { seed } = this.#options;
    if (seed === undefined) return replaceGlobals(this, START);
    this.#random = randomFrom(seed);
    // A generator of its own: what the program draws must not change the order in which its tasks go on.
    return replaceGlobals(this, START, randomFrom(Math.floor(this.#random() * 2 ** 32)));
  }

  #observer(): Observer {
    return {
      parked: (kind, record) => {
        const task = this.currentTask();
        return task === undefined ? undefined : this.#tree.park(task, kind, record, this.#time);
      },
      unparked: (_, wait) => {
        if (wait !== undefined) this.#tree.unpark(wait as TaskWait);
      },
      task: (fn, record) => this.#runTask(fn, record),
    };
  }

  #runTask<R>(fn: () => R, record: LeakRecord | undefined): R {
    const startedBy = this.currentTask();
    if (startedBy === undefined) return fn();
    const task = this.#tree.begin(startedBy, record);
    return runToEnd(
      () => (storage as AsyncStorage<Task>).run(task, fn),
      () => this.#tree.end(task),
    );
  }

  async #drive(): Promise<void> {
    const tree = this.#tree;
    let seen = -1;
    let calm = 0;
    let paused = 0;
    let idleSteps = 0;
    let changesBefore = -1;
    for (;;) {
      await nextTurn();
      if (this.#crashed) return;
      const handedOut = this.#handOut();
      if (handedOut || tree.changes !== seen || hasDeferred()) {
        seen = tree.changes;
        calm = paused = 0;
        continue;
      }
      if (++calm < CALM_TURNS) continue;
      if (this.#failure !== undefined && this.#ended) return;

      const begun = this.#begunResources();
      if (tree.running > 0 || begun.length > 0) {
        if (paused >= this.#options.stuckMs) throw new Error(stuckMessage(paused, tree, begun));
        paused += await pause();
        continue;
      }

      const waiter = this.#takeWaiter();
      if (waiter !== undefined) {
        waiter.resolve();
        continue;
      }
      if (this.#ended && tree.alive.size === 0 && tree.waits.size === 0) return;

      idleSteps = this.#hasOnlyIntervals() && tree.changes === changesBefore ? idleSteps + 1 : 0;
      changesBefore = tree.changes;
      if (this.#ended || idleSteps > MAX_IDLE_STEPS || !this.#advance()) {
        throw this.#options.deadlock(deadlockMessage(tree, this.#ended, this.#time));
      }
      calm = 0;
    }
  }

  /** Hands out one completion, or runs one timer of the host that is due; false if there is neither. */
  #handOut(): boolean {
    const taken = this.#taken;
    for (let next = this.#completions?.take(); next !== undefined; next = this.#completions?.take()) taken.push(next);
    // Of the timers only the first: a host runs them in order.
    const last = taken.length - 1;
    const choices = taken.length + (this.#due.size > 0 ? 1 : 0);
    if (choices === 0) return false;
    const choice = Math.floor(this.#random() * choices);
    if (choice > last) {
      this.#due.shift().run();
      return true;
    }
    const chosen = taken[choice] as () => void;
    taken[choice] = taken[last] as () => void;
    taken.pop();
    chosen();
    return true;
  }

  #giveBack(): void {
    for (const settle of this.#taken) settle();
    this.#completions?.giveBack();
  }

  /** Moves the clock to the next instant, and fires what is due then; false if nothing waits for time. */
  #advance(): boolean {
    const next = firstAlarm();
    if (next === undefined || (this.#timers === 0 && timerRefs() <= this.#refsBefore)) return false;
    this.#time = Math.max(this.#time, next.when);
    fireDue();
    return true;
  }

  #hasOnlyIntervals(): boolean {
    return this.#timers === this.#intervals && timerRefs() <= this.#refsBefore;
  }

  /** What keeps the process alive, and did not when the bubble began. */
  #begunResources(): string[] {
    return [...activeResources()].flatMap(([name, n]) => (n > (this.#resources.get(name) ?? 0) ? name : []));
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    macrotask(resolve);
  });
}

/** Pauses, and resolves to how much of it counts. */
async function pause(): Promise<number> {
  const began = realNow();
  await new Promise<void>((resolve) => {
    realSetTimeout(resolve, PAUSE);
  });
  return Math.min(realNow() - began, MAX_PAUSE);
}

/** The active resources at the start of a bubble. */
function resourcesBefore(): Map<string, number> {
  // The first console.log opens a stream that stays open: not one that the bubble has to wait for.
  guarded(() => void [host.process?.stdout, host.process?.stderr]);
  return activeResources();
}

/** What keeps the process alive, with how many; nothing where the host does not say. */
function activeResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of host.process?.getActiveResourcesInfo?.() ?? []) {
    // Not real timers: test runners have some, and start others at any time. Nor what may be of a turn of ours.
    const isOurs = name === "MessagePort" && realSetImmediate === undefined;
    if (name !== "Timeout" && !isOurs) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}
