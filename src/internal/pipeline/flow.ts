/**
 * A flow: a stage of a pipeline while it runs. Its *body* takes items from the input and hands out results; the
 * consumer takes them by the iterator's calls.
 *
 * It is in one of four states. *Idle*: nothing has run, and nothing is held. A flow that ends now ends the stages that
 * it would have taken its items from: others may wait for them. *Running*, from the first `next`.
 * *Stopping*, after an error, the end of the context, or `return`: the flow's own context has ended, results are
 * dropped, and the body and the tasks are waited for. *Ended*: nothing of the flow runs any more.
 *
 * A result takes a slot from before its item is taken until the consumer takes the result. So the number of slots
 * bounds how far the flow is ahead of its consumer. When the input has ended, the body parks for all slots, until the
 * consumer has taken everything: so a flow whose consumer is away always has a wait that the end of the context ends.
 */
import type { Cancel, CancelScope, Context } from "../../context.ts";
import { Ring } from "../data/ring.ts";
import { asyncDisposable } from "../host/dispose.ts";
import { completed, completedWith, failedWith } from "../time/turn.ts";
import { enter, exit, Kind, onBehalfOf, type PublicFunction, stackOfCall } from "../track/tracker.ts";
import { sourceOf } from "../wait/foreign.ts";
import { END_UNOPENED, ENDS_NEXT, endUnopened } from "../wait/items.ts";
import { AsyncIteratorPrototype } from "../wait/receive.ts";
import { Slots, type UnitRequest } from "../wait/slots.ts";
import type { Source } from "../wait/source.ts";
import { Waiters } from "../wait/wait.ts";

// The public functions that can start a flow, or wait for one.
const entryPoints = (): PublicFunction[] => [Flow.prototype.next, Flow.prototype.return, Flow.prototype.throw];
const STAGE = new Kind("pipeline stage", "task", entryPoints);
const NEXT = new Kind("pipeline next", "wait", entryPoints);
const ROOM = new Kind("pipeline room", "wait", entryPoints);
const END = new Kind("pipeline end", "wait", entryPoints);

/** The most slots that a flow can have. */
export const UNBOUNDED: number = Number.MAX_SAFE_INTEGER;

const ONE_SLOT: UnitRequest<void> = { n: 1, granted: () => {} };

const IDLE = 0;
const RUNNING = 1;
const STOPPING = 2;
const ENDED = 3;

/** What a flow is made of. */
export interface FlowPlan<T> {
  /** What ends the flow. */
  readonly parent: Cancel;
  /** `withCancel` of the context module. */
  readonly withCancel: (parent: Cancel) => CancelScope;
  /** How many results may be made or wait for the consumer. */
  readonly slots: number;
  /** What the body takes its items from. Stages among them are ended with a flow that ends before it has run. */
  readonly inputs: readonly unknown[];
  /** Takes the items and hands out the results. It waits for what it has started, or counts it by `taskStarted`. */
  readonly body: (flow: Flow<T>) => Promise<void>;
  /** Called by the first `next`, when the flow has started, or has ended as it could not. Must not throw. */
  readonly onStart?: () => void;
  /**
   * Called once, when the flow stops. Must not throw. The flow waits for what it returns, unless the body and all tasks
   * have ended by themselves.
   */
  readonly onStop?: () => Promise<unknown> | undefined;
}

interface Failure {
  readonly error: unknown;
}

export class Flow<T> implements AsyncIterableIterator<T, undefined> {
  // Between any two calls:
  //   #slots.held counts the results that are made or wait for the consumer, until the flow stops;
  //   if anyone waits in #nexts, #ready is empty, except from the end of the flow's context until the flow stops;
  //   #tasks > 0 or #inBody only while running or stopping;
  //   #failure is set while stopping and ended only, until a `next` has rejected with it or `return` has dropped it.
  #state: 0 | 1 | 2 | 3 = IDLE;
  #ready = new Ring<T>();
  #tasks = 0;
  #inBody = false;
  #failure: Failure | undefined = undefined;
  #stopped: Promise<unknown> | undefined = undefined;
  readonly #slots: Slots<void>;
  readonly #nexts = new Waiters<IteratorResult<T, undefined>>(NEXT);
  readonly #ends = new Waiters<void>(END);

  // Once the flow has ended, without what holds the input.
  #plan: FlowPlan<T>;

  /** Where the stage was made, if that was recorded: for the records of what runs in it. */
  readonly stack: string | undefined;

  // Set when the flow starts.
  #scope!: CancelScope;
  #source!: Source;

  constructor(plan: FlowPlan<T>) {
    this.#plan = plan;
    this.#slots = new Slots(ROOM, plan.slots);
    this.stack = stackOfCall(entryPoints);
  }

  // The consumer's side.

  /**
   * The next result. Rejects with the error that stopped the flow, once, when all that runs has ended. After that, and
   * at the end, it answers `done`.
   */
  next(): Promise<IteratorResult<T, undefined>> {
    this.start();
    if (this.#state === ENDED) return this.#answerEnd();
    // The poll may run foreign code, which may call back in and take what is ready: so the size is asked again.
    if (this.#ready.size > 0 && this.#source.poll() === undefined && this.#ready.size > 0) {
      const value = this.#ready.shift();
      this.#slots.give(1);
      return completedWith({ value, done: false });
    }
    return this.#nexts.park(undefined, undefined);
  }

  /**
   * Stops the flow. Answers `done` when all that runs has ended. An error that no `next` has rejected with is dropped.
   */
  return(): Promise<IteratorResult<T, undefined>> {
    return this.#finish(() => ({ value: undefined, done: true }));
  }

  /** As {@link return}, and then rejects with `error`. */
  throw(error: unknown): Promise<never> {
    return this.#finish(() => {
      throw error;
    });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** As {@link return}. */
  declare readonly [Symbol.asyncDispose]: () => Promise<void>;

  /** @internal */
  [END_UNOPENED](): Promise<unknown> {
    return this.return();
  }

  async #finish<R>(answer: () => R): Promise<R> {
    if (this.#state === IDLE) this.#endIdle();
    else if (this.#state === RUNNING) this.#stop();
    // A `next` that is parked still rejects with it.
    if (this.#nexts.size === 0) this.#failure = undefined;
    await (this.#state === ENDED ? completed() : this.#ends.park(undefined, undefined));
    return answer();
  }

  #answerEnd(): Promise<IteratorResult<T, undefined>> {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure === undefined ? completedWith({ value: undefined, done: true }) : failedWith(failure.error);
  }

  // The body's side.

  /** What ends the flow. */
  get parent(): Cancel {
    return this.#plan.parent;
  }

  /** Ends when the flow stops, and when it has ended. Set when it starts. */
  get ctx(): Context {
    return this.#scope.ctx;
  }

  get source(): Source {
    return this.#source;
  }

  /** Whether no slot is free. */
  get isFull(): boolean {
    return this.#slots.free < 1;
  }

  /** Starts the flow, unless that has been done. */
  start(): void {
    if (this.#state !== IDLE) return;
    const { parent, withCancel, onStart } = this.#plan;
    let scope: CancelScope;
    try {
      const ending = sourceOf(parent).poll();
      if (ending !== undefined) throw ending.error();
      scope = onBehalfOf(this.stack, () => withCancel(parent));
    } catch (error) {
      if (this.#state !== IDLE) return;
      this.#failure = { error };
      this.#endIdle();
      onStart?.();
      return;
    }
    if (this.#state !== IDLE) {
      // A context of another implementation has called back in, and started or returned the flow.
      scope.cancel();
      return;
    }
    this.#scope = scope;
    this.#source = sourceOf(scope.ctx);
    this.#state = RUNNING;
    this.#inBody = true;
    onStart?.();
    void this.#run();
  }

  /**
   * Takes a slot for a result, waiting until there is one. Undefined if that needs no waiting. Rejects or throws with
   * what ends `source`.
   */
  reserve(source: Source = this.#source): Promise<void> | undefined {
    const ending = source.poll();
    if (ending !== undefined) throw ending.error();
    if (this.#slots.free < 1) return onBehalfOf(this.stack, () => this.#slots.park(source, ONE_SLOT));
    this.#slots.take(1);
    return undefined;
  }

  /** Gives a slot back, as there is no result for it. */
  release(): void {
    this.#slots.give(1);
  }

  /**
   * Hands out a result, which has a slot: before the flow starts too, as to a subscriber. Dropped if the flow stops, or
   * is about to as its context has ended.
   */
  deliver(value: T): void {
    if (this.#state >= STOPPING || (this.#state === RUNNING && this.#source.poll() !== undefined)) return;
    if (this.#nexts.size === 0) {
      this.#ready.push(value);
      return;
    }
    this.#nexts.wakeOne({ value, done: false });
    this.#slots.give(1);
  }

  /** Takes back the oldest result that the consumer has not taken; says whether there was one. */
  retract(): boolean {
    if (this.#ready.size === 0) return false;
    this.#ready.shift();
    this.#slots.give(1);
    return true;
  }

  /** Stops the flow with an error, unless it is stopping. */
  fail(error: unknown): void {
    if (this.#state !== RUNNING) return;
    // If the flow's context has ended, that was by its parent: the parent's error came first, whatever was made of it.
    const ending = this.ctx.err() === undefined ? undefined : sourceOf(this.parent).poll();
    if (this.#state !== RUNNING) return; // A context of another implementation has called back in.
    this.#failure = { error: ending === undefined ? error : ending.error() };
    this.#stop(error);
  }

  /** Counts something that the flow waits for before it ends. */
  taskStarted(): void {
    this.#tasks++;
  }

  taskEnded(): void {
    this.#tasks--;
    this.#endIfOver();
  }

  /** Waits until the flow has ended. Rejects with its error, or with what ends `source` before. */
  whenEnded(source: Source): Promise<void> {
    const ending = source.poll();
    if (ending !== undefined) return failedWith(ending.error());
    if (this.#state !== ENDED) {
      return onBehalfOf(this.stack, () => this.#ends.park(source, undefined)).then(() => this.#throwFailure());
    }
    return completed().then(() => this.#throwFailure());
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #run(): Promise<void> {
    const record = onBehalfOf(this.stack, () => enter(STAGE));
    try {
      await completed();
      await this.#plan.body(this);
      const ending = this.#source.poll();
      if (ending !== undefined) throw ending.error();
      // Behind every slot: the consumer has taken everything then.
      const all: UnitRequest<void> = { n: this.#slots.size, granted: () => {} };
      if (this.#slots.held > 0) await onBehalfOf(this.stack, () => this.#slots.park(this.#source, all));
    } catch (error) {
      this.fail(error);
    }
    if (this.#stopped !== undefined) await this.#stopped;
    exit(STAGE, record);
    this.#inBody = false;
    this.#endIfOver();
  }

  /** Stops a flow that has not run. It has ended when that is done. */
  #endIdle(): void {
    this.#state = STOPPING;
    this.#dropResults();
    const { inputs, onStop } = this.#plan;
    const ends = [onStop?.(), ...inputs.map((input) => endUnopened(input, this.stack))];
    if (ends.every((end) => end === undefined)) this.#endIfOver();
    else void Promise.all(ends).then(() => this.#endIfOver());
  }

  #stop(cause?: unknown): void {
    this.#state = STOPPING;
    this.#scope.cancel(cause);
    this.#dropResults();
    this.#stopped = this.#plan.onStop?.();
  }

  /** Drops what is there, and what is still handed out. From now on there is a slot for everything. */
  #dropResults(): void {
    this.#ready = new Ring();
    this.#slots.resize(UNBOUNDED);
  }

  #endIfOver(): void {
    if (this.#inBody || this.#tasks > 0) return;
    if (this.#state === RUNNING) this.#stop();
    this.#state = ENDED;
    const nexts = this.#nexts;
    if (this.#failure !== undefined && nexts.size > 0) {
      nexts.shift()?.reject(this.#failure.error);
      this.#failure = undefined;
    }
    while (nexts.wakeOne({ value: undefined, done: true }));
    this.#ends.wakeAll(undefined);
    const { parent, withCancel, slots } = this.#plan;
    this.#plan = { parent, withCancel, slots, inputs: [], body: () => completed() };
  }

  static {
    Object.setPrototypeOf(this.prototype, AsyncIteratorPrototype);
    Object.defineProperty(this.prototype, ENDS_NEXT, { value: true });
    asyncDisposable(this.prototype, async function () {
      await this.return();
    });
  }
}
