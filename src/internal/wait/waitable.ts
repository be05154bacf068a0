/**
 * The protocol between `select` and what can stand in its cases. Channels, send cases, `after`, the sources behind
 * contexts and signals, and what stands for a promise implement it, so that `select` imports none of their modules.
 *
 * Select asks a waitable to `poll`, looks at its `READY`, and calls `TAKE` for the one case it chooses; or else it
 * calls `ENQUEUE` for each case, and then `listen`. The four calls by symbol are synchronous, run no user code, and
 * `READY` claims no wait. So the result of `READY` still holds when `TAKE` is called. `poll` may fire what is due.
 * `poll` and `listen` may run foreign code.
 *
 * The symbols are registered, so that the channels and contexts of one copy of the package work in the `select` of
 * another. With them, all names of {@link Waitable}, {@link Parked}, {@link CaseResult}, `Ending` and `Element` and the
 * numbers of {@link Phase} are the protocol. If one of them changes, change the names of the symbols too (v1 to v2).
 */
import type { Element } from "../data/list.ts";
import type { Ending } from "./endings.ts";

/** Whether the case could take effect now. */
export const READY: unique symbol = Symbol.for("gopark.v1.ready") as never;
/** Lets a ready case take effect and returns the select's result. Throws what the operation throws. */
export const TAKE: unique symbol = Symbol.for("gopark.v1.take") as never;
/** Links a parked case, which is not ready. */
export const ENQUEUE: unique symbol = Symbol.for("gopark.v1.enqueue") as never;
/** Unlinks a parked case, the winner too. Called once for each enqueued case, when the select is claimed. */
export const DEQUEUE: unique symbol = Symbol.for("gopark.v1.dequeue") as never;

/** What can stand in a case. */
export interface Waitable {
  [READY](): boolean;
  [TAKE](key: string): CaseResult;
  [ENQUEUE](parked: Parked): void;
  [DEQUEUE](parked: Parked): void;
  /** Polls what is foreign, if the waitable depends on it. A failed ending is an error of the select. */
  poll?(): Ending | undefined | void;
  /** Begins to listen to what is foreign, if that is not done yet. Called when all cases are enqueued. */
  listen?(): void;
}

/** The result of a select; `value` and `ok` as the sort of case has them. */
export interface CaseResult {
  readonly case: string;
  readonly value?: unknown;
  readonly ok?: boolean;
}

/**
 * One case of a parked select, in the queue of what it waits for. Each of its calls claims the select for this case.
 */
export interface Parked extends Element {
  /** What a send case sends. Written by its ENQUEUE. */
  value: unknown;
  /** As a receiver: gets a value, or `ok: false` when the channel is closed. As a sender: its value was taken. */
  resolve(received: { readonly value: unknown; readonly ok: boolean } | undefined): void;
  /** As a sender: the channel was closed. As a receiver: what would close the channel could not be listened to. */
  reject(error: unknown): void;
  /** As a timed wait: its instant has come. */
  fire(at: number): void;
  /**
   * As a dependent of a context or signal: that has ended or, with a failed ending, could not be listened to. As a case
   * of a promise: that was settled.
   */
  ended(ending: Ending): Phase;
}

/**
 * The phase, after a whole tree has been marked as ended, in which a dependent's `afterEnd` is called: first signals
 * are aborted, then the waiters behind a cancelled one are admitted, then reactions are queued. With PHASE_NONE it is
 * not called.
 */
export type Phase = 0 | 1 | 2 | 3;
export const PHASE_NONE: Phase = 0;
export const PHASE_ABORT: Phase = 1;
export const PHASE_ADMIT: Phase = 2;
export const PHASE_REACT: Phase = 3;
