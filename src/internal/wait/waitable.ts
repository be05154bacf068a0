/**
 * The protocol between `select` and what can stand in its cases. Channels, send cases, contexts, signals and `after`
 * speak it, so that `select` imports none of them. Its symbols are registered, so that the channels of one copy of the
 * package work in the `select` of another; a change of what they mean changes their names.
 *
 * All of it is synchronous and calls no user code, so what `READY` says still holds when `TAKE` is called.
 */
import type { Element } from "../data/list.ts";
import type { Ending } from "./endings.ts";

/** Whether the case could take effect now. */
export const READY: unique symbol = Symbol.for("gopark.v1.ready") as never;
/** Lets a ready case take effect and returns what select answers. Throws what the operation throws. */
export const TAKE: unique symbol = Symbol.for("gopark.v1.take") as never;
/** Links a parked case, which is not ready. */
export const ENQUEUE: unique symbol = Symbol.for("gopark.v1.enqueue") as never;
/** Unlinks a parked case, the winner too. Called exactly once for each case enqueued. */
export const DEQUEUE: unique symbol = Symbol.for("gopark.v1.dequeue") as never;

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
 * One case of a parked select, in the queue of what it waits for. Each of the calls claims the select, for this case.
 */
export interface Parked extends Element {
  /** What a send case sends. Written by its ENQUEUE. */
  value: unknown;
  /** As a receiver: is given a value, or the news that the channel is closed. As a sender: its value was taken. */
  resolve(received: { readonly value: unknown; readonly ok: boolean } | undefined): void;
  /** As a sender: the channel was closed. */
  reject(error: unknown): void;
  /** As one who waits for an instant: it has come. */
  fire(at: number): void;
  /** As a dependent of a context or signal: that has ended. */
  ended(ending: Ending): Aftermath;
}

/**
 * What remains to be done for a dependent when everything in a tree knows of the end: nothing, or its `settle`, in this
 * order: first the signals are aborted, then waiters held back are admitted, then what reacts is queued.
 */
export type Aftermath = 0 | 1 | 2 | 3;
export const NOTHING: Aftermath = 0;
export const ABORT: Aftermath = 1;
export const ADMIT: Aftermath = 2;
export const REACT: Aftermath = 3;
