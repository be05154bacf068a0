/**
 * The receiving half of channels: iterators over any of them, and channels on which the library alone sends.
 */
import type { ReceiveChannel, Received } from "../../channel.ts";
import { type Element, unlink } from "../data/list.ts";
import { completedWith, failedWith } from "../time/turn.ts";
import { Kind, type PublicFunction } from "../track/tracker.ts";
import { sourceOf } from "./foreign.ts";
import type { Cancel, Source } from "./source.ts";
import { RefWaiters } from "./timed.ts";
import { Wait, type Waiter, Waiters } from "./wait.ts";
import { DEQUEUE, ENQUEUE, type Outcome, type Parked, READY, TAKE, type Waitable } from "./waitable.ts";

// The public functions that receive: where the stack of a parked receive begins.
const receiving: PublicFunction[] = [];

export const RECEIVE: Kind = new Kind("chan receive", "wait", () => receiving);

export function receivedBy(fn: PublicFunction): void {
  receiving.push(fn);
}

/** A queue of those who wait for a value: a receive, an iterator's `next`, or a select's receive case. */
export type Receivers<T> = Waiters<Received<T>>;

/** A channel that nobody but the library sends on or closes. */
export abstract class InternalChannel<T> implements ReceiveChannel<T>, Waitable {
  protected readonly receivers: RefWaiters<Received<T>> = new RefWaiters(RECEIVE);

  /** Receives what is there, as far as is known inside; `undefined` if nothing is. Runs no user code. */
  abstract take(): Received<T> | undefined;

  /** Receives if that needs no waiting; `undefined` if it would have to wait. */
  tryReceive(): Received<T> | undefined {
    this.poll();
    return this.take();
  }

  /** Looks at what is outside, as select does before it looks at any of its cases. */
  poll(): void {}

  /** Whether {@link take} would receive. */
  protected abstract ready(): boolean;

  receive(cancel?: Cancel): Promise<Received<T>> {
    this.poll();
    let source: Source | undefined;
    if (cancel !== undefined) {
      source = sourceOf(cancel);
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    const received = this.take();
    return received === undefined ? this.receivers.park(source, undefined) : completedWith(received);
  }

  len(): number {
    return 0;
  }

  cap(): number {
    return 0;
  }

  values(cancel?: Cancel): AsyncIterableIterator<T> {
    return new Values(this, this.receivers, cancel);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return this.values();
  }

  /** @internal */
  [READY](): boolean {
    return this.ready();
  }

  /** @internal */
  [TAKE](key: string): Outcome {
    const { value, ok } = this.take() as Received<T>;
    return { case: key, value, ok };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    this.receivers.push(parked as never);
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    this.receivers.remove(parked as never);
  }

  static {
    receivedBy(this.prototype.receive);
  }
}

/** A parked `next` of an iterator: its place among the receivers. Its wait stands among those of the iterator. */
class Next<T> implements Waiter<Received<T>> {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly value: undefined = undefined;

  /** Written by the iterator, which makes it. */
  wait!: Wait<IteratorResult<T, undefined>, Next<T>>;

  resolve(received: Received<T>): void {
    unlink(this.wait);
    this.wait.resolve(resultOf(received));
  }

  reject(reason: unknown): void {
    unlink(this.wait);
    this.wait.reject(reason);
  }
}

/** What was received, as iterators say it. */
function resultOf<T>({ value, ok }: Received<T>): IteratorResult<T, undefined> {
  return ok ? { value, done: false } : { value: undefined, done: true };
}

/** %AsyncIteratorPrototype%, which every async iterator of the language inherits. */
const AsyncIteratorPrototype: object = Object.getPrototypeOf(
  Object.getPrototypeOf(async function* () {}.prototype),
) as object;

/**
 * The values of a channel as they come. Not an async generator: the `return` of one waits for a parked `next`, which
 * may never end.
 */
export class Values<T> implements AsyncIterableIterator<T, undefined> {
  #over = false;
  readonly #channel: ReceiveChannel<T>;
  readonly #receivers: Receivers<T>;
  readonly #cancel: Cancel | undefined;

  // The waits of the `next`s that are parked, oldest first. Most iterators have one at a time.
  readonly #parked: Waiters<IteratorResult<T, undefined>, Next<T>>;

  constructor(channel: ReceiveChannel<T>, receivers: Receivers<T>, cancel: Cancel | undefined) {
    this.#channel = channel;
    this.#receivers = receivers;
    this.#cancel = cancel;
    this.#parked = new Waiters(RECEIVE, {
      cancelled: (wait) => {
        this.#over = true;
        unlink(wait.value);
      },
    });
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#over) return completedWith({ value: undefined, done: true });
    const channel = this.#channel;
    const internal = channel instanceof InternalChannel;
    if (internal) channel.poll();
    let source: Source | undefined;
    if (this.#cancel !== undefined) {
      source = sourceOf(this.#cancel);
      const ending = source.poll();
      if (ending !== undefined) {
        this.#over = true;
        return failedWith(ending.error());
      }
    }
    const received = internal ? channel.take() : channel.tryReceive();
    if (received !== undefined) return completedWith(resultOf(received));
    const next = new Next<T>();
    this.#receivers.push(next);
    const wait = new Wait<IteratorResult<T, undefined>, Next<T>>(RECEIVE, source, next);
    next.wait = wait;
    this.#parked.push(wait);
    wait.link?.start();
    return wait.promise;
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#end();
    return completedWith({ value: undefined, done: true });
  }

  throw(error: unknown): Promise<never> {
    this.#end();
    return failedWith(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #end(): void {
    this.#over = true;
    for (let wait = this.#parked.shift(); wait !== undefined; wait = this.#parked.shift()) {
      unlink(wait.value);
      wait.resolve({ value: undefined, done: true });
    }
  }

  static {
    Object.setPrototypeOf(this.prototype, AsyncIteratorPrototype);
    receivedBy(this.prototype.next);
  }
}
