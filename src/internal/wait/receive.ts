/** The receiving half of channels: iterators over any of them, and channels on which the library alone sends. */
import type { ReceiveChannel, Received } from "../../channel.ts";
import { type Element, unlink } from "../data/list.ts";
import { completedWith, failedWith } from "../time/turn.ts";
import { Kind, type PublicFunction } from "../track/tracker.ts";
import type { Ending } from "./endings.ts";
import { optionalSource } from "./foreign.ts";
import { type Cancel, NEXT_UNTIL, type Source } from "./source.ts";
import { RefWaiters } from "./timed.ts";
import { Wait, type Waiter, Waiters } from "./wait.ts";
import { type CaseResult, DEQUEUE, ENQUEUE, type Parked, READY, TAKE, type Waitable } from "./waitable.ts";

// The public functions at which the stack of a record begins. Each class registers its own.
const entryPoints: PublicFunction[] = [];

export const RECEIVE: Kind = new Kind("chan receive", "wait", () => entryPoints);

export function addReceiveEntryPoint(fn: PublicFunction): void {
  entryPoints.push(fn);
}

/** A queue of waiters for a value: receives, the `next`s of iterators, and receive cases of selects. */
export type Receivers<T> = Waiters<Received<T>>;

/** A channel on which the library alone sends, and which it alone closes. */
export abstract class InternalChannel<T> implements ReceiveChannel<T>, Waitable {
  protected readonly receivers: RefWaiters<Received<T>> = new RefWaiters(RECEIVE);

  /** Receives if that needs no waiting, by what is known without a poll; `undefined` if not. Runs no user code. */
  abstract receiveNow(): Received<T> | undefined;

  /** Receives if that needs no waiting; `undefined` if it would have to wait. */
  tryReceive(): Received<T> | undefined {
    void this.poll();
    return this.receiveNow();
  }

  /**
   * Brings the channel up to date: fires what is due, or asks something foreign, which may run foreign code. Returns a
   * failed ending if that could not be asked.
   */
  poll(): Ending | undefined {
    return undefined;
  }

  /** Whether {@link receiveNow} would receive. */
  protected abstract hasValue(): boolean;

  receive(cancel?: Cancel): Promise<Received<T>> {
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    // The poll may run foreign code, which may end the source.
    const failed = this.poll() ?? source?.ending;
    if (failed !== undefined) return failedWith(failed.error());
    const received = this.receiveNow();
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
    return this.hasValue();
  }

  /** @internal */
  [TAKE](key: string): CaseResult {
    const { value, ok } = this.receiveNow() as Received<T>;
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
    addReceiveEntryPoint(this.prototype.receive);
  }
}

/** A parked `next` of an iterator, in the queue of the receivers. Its wait stands in the iterator's own queue. */
class ParkedNext<T> implements Waiter<Received<T>> {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly value: undefined = undefined;

  /** Written by the iterator when it parks. */
  wait!: Wait<IteratorResult<T, undefined>, ParkedNext<T>>;

  resolve(received: Received<T>): void {
    unlink(this.wait);
    this.wait.resolve(resultOf(received));
  }

  reject(reason: unknown): void {
    unlink(this.wait);
    this.wait.reject(reason);
  }
}

/** The iterator's result for what was received. */
function resultOf<T>({ value, ok }: Received<T>): IteratorResult<T, undefined> {
  return ok ? { value, done: false } : { value: undefined, done: true };
}

/** %AsyncIteratorPrototype%, which every async iterator of the language inherits. */
export const AsyncIteratorPrototype: object = Object.getPrototypeOf(
  Object.getPrototypeOf(async function* () {}.prototype),
) as object;

/**
 * The values of a channel as they come. Not an async generator: the `return` of one waits for a parked `next`, which
 * may never end.
 */
export class Values<T> implements AsyncIterableIterator<T, undefined> {
  #finished = false;
  readonly #channel: ReceiveChannel<T>;
  readonly #receivers: Receivers<T>;
  readonly #cancel: Cancel | undefined;

  // The waits of the `next`s that are parked, oldest first. Usually there is one at a time.
  readonly #nextWaits: Waiters<IteratorResult<T, undefined>, ParkedNext<T>>;

  constructor(channel: ReceiveChannel<T>, receivers: Receivers<T>, cancel: Cancel | undefined) {
    this.#channel = channel;
    this.#receivers = receivers;
    this.#cancel = cancel;
    this.#nextWaits = new Waiters(RECEIVE, {
      onCancel: (wait) => {
        this.#finished = true;
        unlink(wait.value);
      },
    });
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.#next(undefined);
  }

  /** @internal */
  [NEXT_UNTIL](source: Source): Promise<IteratorResult<T, undefined>> {
    return this.#next(source);
  }

  #next(until: Source | undefined): Promise<IteratorResult<T, undefined>> {
    if (this.#finished) return completedWith({ value: undefined, done: true });
    const channel = this.#channel;
    const internal = channel instanceof InternalChannel;
    const source = optionalSource(this.#cancel) ?? until;
    const ending = source?.poll();
    if (ending !== undefined) {
      this.#finished = true;
      return failedWith(ending.error());
    }
    const failed = internal ? (channel.poll() ?? source?.ending) : undefined;
    if (failed !== undefined) {
      this.#finished = true;
      return failedWith(failed.error());
    }
    const received = internal ? channel.receiveNow() : channel.tryReceive();
    if (received !== undefined) return completedWith(resultOf(received));
    // A foreign context may have called `return` while it was polled.
    if (this.#finished) return completedWith({ value: undefined, done: true });
    const parked = new ParkedNext<T>();
    this.#receivers.push(parked);
    const wait = new Wait<IteratorResult<T, undefined>, ParkedNext<T>>(RECEIVE, source, parked);
    parked.wait = wait;
    this.#nextWaits.push(wait);
    wait.dependent?.listen();
    return wait.promise;
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#finish();
    return completedWith({ value: undefined, done: true });
  }

  throw(error: unknown): Promise<never> {
    this.#finish();
    return failedWith(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #finish(): void {
    this.#finished = true;
    for (let wait = this.#nextWaits.shift(); wait !== undefined; wait = this.#nextWaits.shift()) {
      unlink(wait.value);
      wait.resolve({ value: undefined, done: true });
    }
  }

  static {
    Object.setPrototypeOf(this.prototype, AsyncIteratorPrototype);
    addReceiveEntryPoint(this.prototype.next);
    addReceiveEntryPoint(this.prototype[NEXT_UNTIL] as PublicFunction);
  }
}
