/**
 * Select: waits for whichever of several operations can go ahead first, and lets exactly that one happen.
 *
 * A case is a channel (receive), `ch.sending(v)` (send), a context or an abort signal (its end), `after(ms)` (a
 * timeout), a promise (its result), or `null` (never ready: use it to switch a case off). If several are ready, one is
 * chosen uniformly at random, so that no case can starve another. If none is, select parks on all of them.
 *
 * Rules of use:
 *
 * - A losing case has no effect: the select is claimed before a value is taken, so none is lost.
 * - A context is one case among others. To let its end win over ready channels, ask `ctx.err()` first.
 * - `trySelect` is the select with a `default`: it never waits.
 * - Pass the channel, not `ch.receive()`. A promise that loses stands for work that goes on, and a receive that goes
 *   on takes a value that nobody gets.
 * - A promise counts as handled once a select has seen it, as with `Promise.race`: if it is rejected and never wins,
 *   the host reports nothing. Later selects over it, and other code that awaits it, still get the rejection.
 *
 * ```ts
 * import { after, Channel, select } from "gopark";
 *
 * const jobs = new Channel<string>(1);
 * await jobs.send("build");
 *
 * const s = await select({ job: jobs, late: after(500) });
 * switch (s.case) {
 *   case "job":
 *     console.log(s.ok ? `got ${s.value}` : "no more jobs");
 *     break;
 *   case "late":
 *     console.log("nothing to do");
 * }
 * // Output:
 * // got build
 * ```
 *
 * Ports the select statement (runtime/select.go). Differences from Go:
 *
 * - Cases are named, and the result says which one it was: `s.case`.
 * - A context, an AbortSignal or `after(ms)` is a case itself; it needs no channel.
 * - A promise is a case itself, and its result answers every select that waits for it. In Go a task sends its result on
 *   a channel, and one select receives it.
 * - A send case whose channel is closed rejects (Go panics); in `trySelect` it throws.
 */

import type { ReceiveChannel, Received, SendCase } from "./channel.ts";
import type { Context } from "./context.ts";
import { show } from "./internal/data/args.ts";
import type { Element } from "./internal/data/list.ts";
import { completedWith, failedWith } from "./internal/time/turn.ts";
import { Kind, registerOuter } from "./internal/track/tracker.ts";
import type { Ending } from "./internal/wait/endings.ts";
import { hintFor, isContext, isSignal, sourceOf } from "./internal/wait/foreign.ts";
import { hintForThenable, isReceiving, waitableOfPromise } from "./internal/wait/promises.ts";
import { type Cancel, type Dependent, Source } from "./internal/wait/source.ts";
import { Wait } from "./internal/wait/wait.ts";
import {
  type CaseResult,
  DEQUEUE,
  ENQUEUE,
  type Parked,
  PHASE_NONE,
  type Phase,
  READY,
  TAKE,
  type Waitable,
} from "./internal/wait/waitable.ts";
import type { After } from "./time.ts";

/** What can stand in a case; `null` and `undefined` are never ready. */
export type Selectable = NoPromise | Promise<unknown>;

type NoPromise = ReceiveChannel<unknown> | SendCase<unknown> | Cancel | After | null | undefined;

/** The result of a select over cases of type C: a union told apart by `case`. */
export type Selected<C> = C extends unknown
  ? { [K in keyof C & (string | number)]: Answer<`${K}`, C[K]> }[keyof C & (string | number)]
  : never;

type Answer<K, V> = V extends null | undefined
  ? never
  : V extends ReceiveChannel<infer T>
    ?
        | { readonly case: K; readonly value: T; readonly ok: true }
        | { readonly case: K; readonly value: undefined; readonly ok: false }
    : V extends SendCase<unknown>
      ? { readonly case: K }
      : V extends After
        ? { readonly case: K; readonly value: number }
        : V extends Context
          ? { readonly case: K; readonly value: Error }
          : V extends Promise<infer T>
            ? { readonly case: K; readonly value: T }
            : { readonly case: K; readonly value: unknown };

/** Cases, of which none may be a `ch.receive()`. */
export type WithoutReceives<C> = { readonly [K in keyof C]: WithoutReceive<C[K]> };

type WithoutReceive<V> =
  V extends Promise<infer T> ? (IsReceived<T> extends true ? "pass the channel, not ch.receive()" : V) : V;

// `any` and `never` extend everything.
type IsReceived<T> = 0 extends 1 & T
  ? false
  : [T] extends [never]
    ? false
    : [T] extends [Received<unknown>]
      ? true
      : false;

registerOuter(() => [select, trySelect]);

const SELECT = new Kind("select", "wait", () => [select]);
const SELECT_NOTHING = new Kind("select (no cases)", "wait", () => [select]);

/**
 * Waits until one of the cases can go ahead, lets that one take effect, and resolves to its name and result:
 *
 * - a receive: `{ case, value, ok }`;
 * - a send: `{ case }`;
 * - a context or signal: `{ case, value }`, its error or reason;
 * - `after`: `{ case, value }`, the instant at which it was chosen, in epoch milliseconds, not before the one it was
 *   set for;
 * - a promise: `{ case, value }`. It is ready from the microtask after the select that first saw it, at the earliest.
 *
 * With no case, or only `null` ones, it waits for ever. A select has no `cancel`: give it a context as a case.
 *
 * Rejects, with no case having taken effect, with
 * - ClosedChannelError, if the chosen case is a send and its channel is closed, or becomes closed while waiting;
 * - the reason, if the chosen case is a promise that was rejected, or is rejected while waiting;
 * - TypeError, if `cases` is not an object, or is itself a channel, context, signal, promise or iterable, or if one of
 *   its values cannot be a case: a thenable that is not a native promise, and under full tracking a `ch.receive()` that
 *   waits;
 * - what a getter of `cases`, a context of another implementation, or the constructor of a promise's class throws when
 *   it is asked.
 */
export function select<C extends Readonly<Record<keyof C, NoPromise>>>(cases: C): Promise<Selected<C>>;
export function select<C extends Readonly<Record<keyof C, Selectable>>>(
  cases: C & WithoutReceives<C>,
): Promise<Selected<C>>;
export function select(cases: { readonly [name: string]: Selectable }): Promise<CaseResult> {
  try {
    const first = read(cases);
    const result = takeReady(first);
    return result === undefined ? parkOnAll(first) : completedWith(result);
  } catch (error) {
    return failedWith(error);
  }
}

/**
 * Lets one of the cases go ahead if any can without waiting, and returns what {@link select} resolves to; `undefined`
 * if none can. Throws as select rejects. A promise that no select has seen before is not ready, whatever its state.
 */
export function trySelect<C extends Readonly<Record<keyof C, NoPromise>>>(cases: C): Selected<C> | undefined;
export function trySelect<C extends Readonly<Record<keyof C, Selectable>>>(
  cases: C & WithoutReceives<C>,
): Selected<C> | undefined;
export function trySelect(cases: { readonly [name: string]: Selectable }): CaseResult | undefined {
  return takeReady(read(cases));
}

/**
 * One case that can ever be ready, and, if the select parks, its place in the queue of what it waits for. The first to
 * be claimed claims the select, and takes all of its cases out of their queues.
 */
class Case implements Parked, Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  value: unknown = undefined;

  /** With `value` and `waitable`, what the case is; the three may change places with those of a twin. */
  name: string;
  waitable: Waitable;

  /** The next case of the select: a chain, as arrays would cost more than the cases. */
  sibling: Case | undefined = undefined;

  /** The select's wait, if it parks. The wait's `value` is the first case. */
  selection: Wait<CaseResult, Case | undefined> | undefined = undefined;

  constructor(name: string, waitable: Waitable) {
    this.name = name;
    this.waitable = waitable;
  }

  resolve(received: { readonly value: unknown; readonly ok: boolean } | undefined): void {
    this.win(
      received === undefined ? { case: this.name } : { case: this.name, value: received.value, ok: received.ok },
    );
  }

  reject(error: unknown): void {
    this.claimSelect().reject(error);
  }

  /** As that of a {@link Wait}: a channel that is closed asks where its senders were parked. */
  get dependent(): { readonly stack: string | undefined } | undefined {
    return this.selection?.dependent;
  }

  fire(at: number): void {
    this.win({ case: this.name, value: at });
  }

  ended(ending: Ending): Phase {
    if (ending.failed === true) this.claimSelect().reject(ending.error());
    else this.win({ case: this.name, value: ending.error() });
    return PHASE_NONE;
  }

  private win(result: CaseResult): void {
    this.claimSelect().resolve(result);
  }

  private claimSelect(): Wait<CaseResult, Case | undefined> {
    const selection = this.selection as Wait<CaseResult, Case | undefined>;
    for (let c = selection.value; c !== undefined; c = c.sibling) c.waitable[DEQUEUE](c);
    return selection;
  }
}

// Not Object.hasOwn: the engine knows that this one answers true in a for-in loop, and leaves the call out.
const hasOwn = Object.prototype.hasOwnProperty;

/**
 * Pass 1: reads each case, once and in order, and returns the first of them. Getters and foreign contexts are user
 * code; none runs after this pass, until everything is linked.
 */
function read(cases: { readonly [name: string]: Selectable }): Case | undefined {
  if (typeof cases !== "object" || cases === null || isOneCase(cases)) {
    throw new TypeError(`select: cases must be an object, as in select({ name: channel }), got ${show(cases)}`);
  }
  let first: Case | undefined;
  let last: Case | undefined;
  // for-in, not Object.keys: the engine reads the property of an enumerated name without looking it up.
  for (const name in cases) {
    if (!hasOwn.call(cases, name)) continue;
    const it = cases[name];
    if (it === null || it === undefined) continue;
    const next = new Case(name, toWaitable(it, name));
    if (last === undefined) first = next;
    else last.sibling = next;
    last = next;
  }
  return first;
}

/** Whether a promise or thenable was passed. (A case may be called `then`; a function cannot be one.) */
function isPromise(cases: object): boolean {
  return typeof (cases as { readonly then?: unknown }).then === "function";
}

/** Whether a case, or a list of them, was passed instead of an object of named cases. */
function isOneCase(cases: object): boolean {
  return READY in cases || Symbol.iterator in cases || isSignal(cases) || isContext(cases) || isPromise(cases);
}

/**
 * Pass 2: lets one of the cases that are ready take effect. Each gets the same chance: the k-th to be found ready
 * replaces the choice with a chance of 1/k.
 */
function takeReady(first: Case | undefined): CaseResult | undefined {
  let ready = 0;
  let chosen: Case | undefined;
  for (let c = first; c !== undefined; c = c.sibling) {
    if (c.waitable[READY]() && (++ready === 1 || Math.random() * ready < 1)) chosen = c;
  }
  return chosen?.waitable[TAKE](chosen.name);
}

function parkOnAll(first: Case | undefined): Promise<CaseResult> {
  const kind = first === undefined ? SELECT_NOTHING : SELECT;
  const selection = new Wait<CaseResult, Case | undefined>(kind, undefined, first);
  // Pass 3: parks on all of the cases, of which none is ready.
  let listens = false;
  let twins: Twins | undefined;
  for (let c = first; c !== undefined; c = c.sibling) {
    c.selection = selection;
    c.waitable[ENQUEUE](c);
    if (c.prev !== undefined && (c.prev as Partial<Case>).selection === selection) {
      twins ??= new Map();
      mix(c, twins);
    }
    if (c.waitable.listen !== undefined) listens = true;
  }
  // Pass 4: listens, where something foreign can end a case. That may call back and claim the select.
  selection.dependent?.listen();
  if (listens) {
    for (let c = first; c !== undefined; c = c.sibling) {
      if (c.list !== undefined) c.waitable.listen?.();
    }
  }
  return selection.promise;
}

/** The cases of a select that stand in one queue, by queue, where there are several. */
type Twins = Map<object | undefined, Case[]>;

/**
 * Of several cases in one queue (twins) the first would always win. So each twin that joins the others changes places
 * with one of them, or with itself, each with the same chance.
 */
function mix(newest: Case, twins: Twins): void {
  let all = twins.get(newest.list);
  if (all === undefined) {
    all = [newest.prev as Case];
    twins.set(newest.list, all);
  }
  all.push(newest);
  const chosen = all[Math.floor(Math.random() * all.length)] as Case;
  const { name, value, waitable } = chosen;
  chosen.name = newest.name;
  chosen.value = newest.value;
  chosen.waitable = newest.waitable;
  newest.name = name;
  newest.value = value;
  newest.waitable = waitable;
}

/** The waitable of a case, polled. An object made by Object.create(ctx) stands for its context. */
function toWaitable(it: NonNullable<Selectable>, name: string): Waitable {
  if ((it as Partial<Waitable>)[READY] !== undefined) {
    const waitable = it as unknown as Waitable;
    if (waitable.poll === undefined) return waitable;
    if (!(waitable instanceof Source)) {
      const ending = waitable.poll();
      if (ending?.failed === true) throw ending.error();
      return waitable;
    }
  } else if (!isContext(it) && !isSignal(it)) {
    if (isReceiving(it)) throw new TypeError(`select: case "${name}": pass the channel, not ch.receive()`);
    const waitable = waitableOfPromise(it);
    if (waitable !== undefined) return waitable;
    const wanted = "a channel, a send, a context, an AbortSignal, after(ms) or a promise";
    throw new TypeError(
      `select: case "${name}" must be ${wanted}, got ${show(it)}${hintFor(it)}${hintForThenable(it)}`,
    );
  }
  const source = sourceOf(it as Cancel);
  const ending = source.poll();
  if (ending?.failed === true) throw ending.error();
  return source;
}
