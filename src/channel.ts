/**
 * Channels: typed conduits between tasks, with Go's semantics.
 *
 * An unbuffered channel hands a value over only when sender and receiver meet. A buffered one holds up to `capacity`
 * values; a send waits while it is full, a receive while it is empty. Waiters are served in the order of their calls,
 * and a waiting receiver gets its value at the call of the sender: no other task can take it in between.
 *
 * Rules of use:
 *
 * - The sender closes, and closes once; receivers learn it from `ok`. A channel need not be closed for the garbage
 *   collector to free it.
 * - Give a `Cancel` to every operation that may wait longer than its caller: `ch.receive(ctx)`.
 * - `trySend` and `tryReceive` never wait and allocate no promise: try first where throughput counts.
 *
 * ```ts
 * import { Channel, go } from "gopark";
 *
 * const squares = new Channel<number>();
 * void go(async () => {
 *   for (const n of [1, 2, 3]) await squares.send(n * n);
 *   squares.close();
 * });
 * for await (const square of squares) console.log(square);
 * // Output:
 * // 1
 * // 4
 * // 9
 * ```
 *
 * Ports the chan type of the Go runtime (runtime/chan.go). Differences from Go:
 *
 * - A receive always resolves to `{ value, ok }`. The `value` of a closed channel is `undefined`, as there are no zero
 *   values.
 * - An operation that panics in Go rejects or throws here: a send on a closed channel with {@link ClosedChannelError},
 *   which carries the unsent value; a second close with an Error.
 * - There is no nil channel. In a select, `null` stands for one.
 * - A wait that was granted stays granted, even if its context ends before the task resumes.
 */
import { wholeNumber } from "./internal/data/args.ts";
import { Ring } from "./internal/data/ring.ts";
import { brand, setStack, withoutStack } from "./internal/host/errors.ts";
import { chargeOperation, completed, completedWith, deferred, failedWith } from "./internal/time/turn.ts";
import { Kind, stackOfCall } from "./internal/track/tracker.ts";
import { sourceOf } from "./internal/wait/foreign.ts";
import { addReceiveEntryPoint, RECEIVE, type Receivers, Values } from "./internal/wait/receive.ts";
import type { Cancel, Source } from "./internal/wait/source.ts";
import { Wait, Waiters } from "./internal/wait/wait.ts";
import {
  type CaseResult,
  DEQUEUE,
  ENQUEUE,
  type Parked,
  READY,
  TAKE,
  type Waitable,
} from "./internal/wait/waitable.ts";

export type { Cancel } from "./internal/wait/source.ts";

/** The result of a receive: a value, or the news that the channel is closed and drained. */
export type Received<T> = { readonly value: T; readonly ok: true } | { readonly value: undefined; readonly ok: false };

/**
 * The sending half of a channel, Go's `chan<- T`. A `Channel<string | number>` is a `SendChannel<string>`, and not the
 * other way round. (That is why these are function properties: TypeScript compares methods both ways.)
 */
export interface SendChannel<in T> {
  /** See {@link Channel.send}. */
  readonly send: (value: T, cancel?: Cancel) => Promise<void>;
  /** See {@link Channel.trySend}. */
  readonly trySend: (value: T) => boolean;
  /** See {@link Channel.sending}. */
  readonly sending: (value: T) => SendCase;
  /** See {@link Channel.close}. */
  close(): void;
  /** How many values are buffered. */
  len(): number;
  /** How many values can be buffered. */
  cap(): number;
}

/** The receiving half of a channel, Go's `<-chan T`. */
export interface ReceiveChannel<out T> extends AsyncIterable<T> {
  /** See {@link Channel.receive}. */
  receive(cancel?: Cancel): Promise<Received<T>>;
  /** See {@link Channel.tryReceive}. */
  tryReceive(): Received<T> | undefined;
  /** See {@link Channel.values}. */
  values(cancel?: Cancel): AsyncIterableIterator<T>;
  /** How many values are buffered. */
  len(): number;
  /** How many values can be buffered. */
  cap(): number;
  [Symbol.asyncIterator](): AsyncIterableIterator<T>;
}

/** A send, as a case of a select. Made by {@link Channel.sending}. */
export interface SendCase<out T = unknown> {
  readonly channel: SendChannel<never>;
  readonly value: T;
}

/** A send to a channel that is closed. */
export class ClosedChannelError<T = unknown> extends Error {
  static {
    brand(this, "ClosedChannelError");
  }

  /** What was not sent. */
  readonly value: T;

  constructor(value: T) {
    super("send on closed channel");
    this.value = value;
  }
}

const SEND = new Kind("chan send", "wait", () => [Channel.prototype.send]);

// For send cases, which live outside the class. Set by its static block.
let canSend: <T>(ch: Channel<T>) => boolean;
let isClosed: <T>(ch: Channel<T>) => boolean;
let sendersOf: <T>(ch: Channel<T>) => Waiters<void, T>;

// The buffer of every unbuffered channel: nothing is ever put into it.
const EMPTY = new Ring<never>();

/**
 * A channel of values of type T, unbuffered unless a capacity is given. Waiters are served in the order of their calls.
 */
export class Channel<T> implements SendChannel<T>, ReceiveChannel<T> {
  // Between any two calls:
  //   0 <= #buffer.size <= #capacity;
  //   if anyone waits to receive, the buffer is empty, and nobody waits to send, except a select that does both here;
  //   if anyone waits to send, the buffer is full;
  //   if the channel is closed, nobody waits.
  readonly #buffer: Ring<T>;
  readonly #senders: Waiters<void, T> = new Waiters<void, T>(SEND);
  readonly #receivers: Receivers<T> = new Waiters(RECEIVE);
  readonly #capacity: number;
  #closed = false;

  /**
   * Makes a channel that buffers up to `capacity` values. The buffer grows as it is used, so a large capacity costs
   * nothing by itself. Throws RangeError unless `capacity` is a whole number from 0 to 2⁵³−1, TypeError if it is not a
   * number.
   */
  constructor(capacity = 0) {
    this.#capacity = wholeNumber(capacity, "Channel: capacity");
    this.#buffer = capacity === 0 ? EMPTY : new Ring();
  }

  /**
   * Sends `value`, waiting until a receiver or a free place in the buffer takes it, after every earlier sender.
   *
   * Rejects, with `value` unsent, with
   * - the context's error or the signal's reason, if `cancel` has ended (even if a receiver waits) or ends while
   *   waiting;
   * - {@link ClosedChannelError}, if the channel is closed or is closed while waiting.
   */
  send(value: T, cancel?: Cancel): Promise<void> {
    // Not `optionalSource`: measured, the call makes a hand-off with a `cancel` slower.
    let source: Source | undefined;
    if (cancel !== undefined) {
      source = sourceOf(cancel);
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    if (this.#closed) return rejectClosed(value);
    if (this.#offer(value)) return completed();
    const sender = new Wait<void, T>(SEND, source, value);
    this.#senders.push(sender);
    sender.dependent?.listen();
    return sender.promise;
  }

  /**
   * Sends `value` if that needs no waiting; reports whether it did. Throws {@link ClosedChannelError} if the channel is
   * closed.
   */
  trySend(value: T): boolean {
    if (this.#closed) throw new ClosedChannelError(value);
    return this.#offer(value);
  }

  /** The send of `value` as a case of a select. It takes effect only if that case is chosen. */
  sending(value: T): SendCase<T> {
    return new Sending(this, value);
  }

  /**
   * Receives the next value, waiting until there is one, after every earlier receiver. Once the channel is closed and
   * its buffer drained, resolves to `ok: false`.
   *
   * Rejects, with nothing received, with the context's error or the signal's reason, if `cancel` has ended (even if a
   * value is there) or ends while waiting.
   */
  receive(cancel?: Cancel): Promise<Received<T>> {
    // Not `optionalSource`: measured, the call makes a hand-off with a `cancel` slower.
    let source: Source | undefined;
    if (cancel !== undefined) {
      source = sourceOf(cancel);
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    if (this.#buffer.size > 0) return completedReceive(this.#shift());
    const sender = this.#senders.shift();
    if (sender !== undefined) {
      sender.resolve(undefined);
      return completedReceive(sender.value);
    }
    if (this.#closed) return completedWith({ value: undefined, ok: false });
    const receiver = new Wait<Received<T>>(RECEIVE, source, undefined);
    this.#receivers.push(receiver);
    receiver.dependent?.listen();
    return receiver.promise;
  }

  /** Receives if that needs no waiting; `undefined` if it would have to wait. */
  tryReceive(): Received<T> | undefined {
    if (this.#buffer.size > 0) return { value: this.#shift(), ok: true };
    const sender = this.#senders.shift();
    if (sender !== undefined) {
      sender.resolve(undefined);
      return { value: sender.value, ok: true };
    }
    return this.#closed ? { value: undefined, ok: false } : undefined;
  }

  /**
   * Closes the channel: no more sends. Buffered values can still be received. Waiting receivers get `ok: false`,
   * waiting senders {@link ClosedChannelError}. Throws an Error if the channel is closed already.
   */
  close(): void {
    if (this.#closed) throw new Error("close of closed channel");
    this.#closed = true;
    // Not `wakeAll`: each receiver gets an object of its own, so that nothing that one does to it reaches another.
    for (let r = this.#receivers.shift(); r !== undefined; r = this.#receivers.shift()) {
      r.resolve({ value: undefined, ok: false });
    }
    for (let s = this.#senders.shift(); s !== undefined; s = this.#senders.shift()) {
      s.reject(closedError(s.value, (s as Partial<Wait<void, T>>).dependent?.stack));
    }
  }

  /** How many values are buffered. */
  len(): number {
    return this.#buffer.size;
  }

  /** How many values can be buffered. */
  cap(): number {
    return this.#capacity;
  }

  /**
   * The values as they come, until the channel is closed and drained. Leaving the loop early ends the iterator and
   * leaves the channel open. `return()` called while a `next` is parked ends that `next` at once.
   *
   * `next` rejects with the context's error or the signal's reason when `cancel` ends; the iterator is finished then.
   */
  values(cancel?: Cancel): AsyncIterableIterator<T> {
    return new Values(this, this.#receivers, cancel);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return this.values();
  }

  /** Gives `value` to a waiting receiver or the buffer; false if neither has room. The channel is open. */
  #offer(value: T): boolean {
    const receiver = this.#receivers.shift();
    if (receiver !== undefined) receiver.resolve({ value, ok: true });
    else if (this.#buffer.size < this.#capacity) this.#buffer.push(value);
    else return false;
    return true;
  }

  /** Takes the oldest value of the buffer, which is not empty. */
  #shift(): T {
    const value = this.#buffer.shift();
    // The longest-parked sender gets the place, behind what is buffered: order is kept.
    const sender = this.#senders.shift();
    if (sender !== undefined) {
      this.#buffer.push(sender.value);
      sender.resolve(undefined);
    }
    return value;
  }

  /** @internal */
  [READY](): boolean {
    return this.#buffer.size > 0 || this.#senders.size > 0 || this.#closed;
  }

  /** @internal */
  [TAKE](key: string): CaseResult {
    const { value, ok } = this.tryReceive() as Received<T>;
    return { case: key, value, ok };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    this.#receivers.push(parked as never);
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    this.#receivers.remove(parked as never);
  }

  static {
    addReceiveEntryPoint(this.prototype.receive);
    canSend = (ch) => ch.#closed || ch.#receivers.size > 0 || ch.#buffer.size < ch.#capacity;
    isClosed = (ch) => ch.#closed;
    sendersOf = (ch) => ch.#senders;
  }
}

// The object is made where the promise is, so that the engine knows its shape there and need not look for a `then` in
// it. Do not use objects from `tryReceive`: see the row chan.pingpong of the benchmark.
function completedReceive<T>(value: T): Promise<Received<T>> {
  return chargeOperation() ? Promise.resolve({ value, ok: true }) : deferred({ value, ok: true });
}

function rejectClosed(value: unknown): Promise<never> {
  return failedWith(errorAtCall(value));
}

/** The error of an operation that finds the channel closed. Under full tracking its stack is the call's. */
function errorAtCall(value: unknown): ClosedChannelError {
  return closedError(value, stackOfCall(SEND.entryPoints));
}

/** An error with this stack or none. A stack is not captured here, as that is slow and many may fail under load. */
function closedError(value: unknown, stack: string | undefined): ClosedChannelError {
  const error = withoutStack(() => new ClosedChannelError(value));
  if (stack !== undefined) setStack(error, stack);
  return error;
}

class Sending<T> implements SendCase<T>, Waitable {
  readonly channel: Channel<T>;
  readonly value: T;

  constructor(channel: Channel<T>, value: T) {
    this.channel = channel;
    this.value = value;
  }

  [READY](): boolean {
    return canSend(this.channel);
  }

  [TAKE](key: string): CaseResult {
    if (isClosed(this.channel)) throw errorAtCall(this.value);
    if (!this.channel.trySend(this.value)) throw new Error("gopark: internal error: a ready send found no receiver");
    return { case: key };
  }

  [ENQUEUE](parked: Parked): void {
    parked.value = this.value;
    sendersOf(this.channel).push(parked as never);
  }

  [DEQUEUE](parked: Parked): void {
    sendersOf(this.channel).remove(parked as never);
  }
}
