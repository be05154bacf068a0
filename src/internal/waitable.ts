/**
 * The protocol between `select` and what can stand in its cases. Channels, send cases, contexts, signals and `after`
 * speak it, so that `select` imports none of them.
 *
 * All of it is synchronous and calls no user code, so what `READY` says still holds when `TAKE` is called.
 */
import type { Dependent } from "./cancel.ts";

/** Whether the case could take effect now. */
export const READY: unique symbol = Symbol("gopark.ready");
/** Lets a ready case take effect and returns what select answers. Throws what the operation throws. */
export const TAKE: unique symbol = Symbol("gopark.take");
/** Links a parked case, which is not ready. */
export const ENQUEUE: unique symbol = Symbol("gopark.enqueue");
/** Unlinks a parked case, the winner too. Called exactly once for each case enqueued. */
export const DEQUEUE: unique symbol = Symbol("gopark.dequeue");

/** What can stand in a case. */
export interface Waitable {
  [READY](): boolean;
  [TAKE](key: string): Outcome;
  [ENQUEUE](parked: Parked): void;
  [DEQUEUE](parked: Parked): void;
}

/** What select answers; `value` and `ok` as the sort of case has them. */
export interface Outcome {
  readonly case: string;
  readonly value?: unknown;
  readonly ok?: boolean;
}

/**
 * One case of a parked select, in the queue of what it waits for. Each of the calls claims the select, for this case;
 * `end`, which dependents of a source have, does too.
 */
export interface Parked extends Dependent {
  /** What a send case sends. Written by its ENQUEUE. */
  value: unknown;
  /** As a receiver: is given a value, or the news that the channel is closed. As a sender: its value was taken. */
  resolve(received: { readonly value: unknown; readonly ok: boolean } | undefined): void;
  /** As a sender: the channel was closed. */
  reject(error: unknown): void;
  /** As one who waits for an instant: it has come. */
  fire(at: number): void;
}
