/**
 * What ends a wait early: the sources behind contexts and abort signals, and how an end spreads through them.
 *
 * Every `Cancel` leads to one {@link Source}. What hangs on it, parked waits and child contexts alike, is linked into
 * the source's list, so that joining and leaving are O(1), and a foreign signal carries one listener however many wait.
 */
import type { Context } from "../context.ts";
import { show } from "./errors.ts";
import { type Element, List } from "./list.ts";
import { drop, hold } from "./timers.ts";
import { DONE, failedWith } from "./turn.ts";
import { DEQUEUE, ENQUEUE, type Outcome, type Parked, READY, TAKE } from "./waitable.ts";

/** What can end a wait early, wherever one is taken. */
export type Cancel = Context | AbortSignal;

/** How a source ended. One object for the source and everything below it. */
export interface Ending {
  /** What waits reject with: a context's `err()`, a signal's `reason`. */
  error(): unknown;
  /** A context's cause. */
  cause(): unknown;
}

/** Something that hangs on a source. */
export interface Dependent extends Element {
  /**
   * Called once, already unlinked, when the source has ended. Others in the tree may not know it yet, so this calls no
   * user code and wakes nobody but its own wait. Returns true to have {@link settle} called when all of them know.
   */
  end(ending: Ending): boolean;

  /** Called after everything in the tree has ended, if `end` returned true. */
  settle?(ending: Ending): void;
}

/** The key of an own context's source. Foreign contexts and signals have none. */
export const SOURCE: unique symbol = Symbol("gopark.source");

/** What an own context answers with its source when asked by `value`, through foreign wrappers too. */
export const SOURCE_OF: object = { toString: () => "gopark.sourceOf" };

/** Something that can end, with what hangs on it. Being a dependent, it can hang on another: a child context. */
export class Source implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  // Empty once `ending` is set: nothing joins an ended source.
  private dependents: List<Dependent> | undefined = undefined;

  /** Set once, when the source ends. */
  ending: Ending | undefined = undefined;

  /** The earliest deadline here or above as epoch milliseconds; Infinity if there is none. */
  expiry: number = Number.POSITIVE_INFINITY;

  /** How the source ended; undefined while it has not. */
  poll(): Ending | undefined {
    return this.ending;
  }

  /** Links a wait, for which the process stays alive if a deadline is going to end it. */
  join(d: Dependent): void {
    this.attach(d);
    if (this.expiry !== Number.POSITIVE_INFINITY) hold();
  }

  /** Ends what {@link join} began, whether or not the source has ended. */
  leave(d: Dependent): void {
    this.detach(d);
    if (this.expiry !== Number.POSITIVE_INFINITY) drop();
  }

  /** Links a dependent. The source must not have ended. */
  attach(d: Dependent): void {
    this.dependents ??= new List();
    this.dependents.push(d);
  }

  /** Unlinks a dependent; false if it was not linked here. */
  detach(d: Dependent): boolean {
    return this.dependents?.remove(d) ?? false;
  }

  /** How many hang on this source. */
  get size(): number {
    return this.dependents === undefined ? 0 : this.dependents.size;
  }

  /** Ends this source, which has not ended, and everything below it. */
  finish(ending: Ending): void {
    this.end(ending);
    if (this.dependents === undefined) return;
    // 1. Tell everyone: mark every source, claim every wait. A worklist, not recursion: a chain may be of any depth.
    const sources: Source[] = [this];
    let unsettled: Dependent[] | undefined;
    for (const source of sources) {
      const list = source.dependents;
      if (list === undefined) continue;
      for (let d = list.shift(); d !== undefined; d = list.shift()) {
        if (d instanceof Source) sources.push(d);
        if (d.end(ending)) {
          unsettled ??= [];
          unsettled.push(d);
        }
      }
    }
    // 2. Only now wake others and tell the outside, who may look at any part of the tree. Admitting a waiter held back
    // by a cancelled one in pass 1 could grant it what it is about to be refused.
    if (unsettled !== undefined) for (const d of unsettled) d.settle?.(ending);
  }

  end(ending: Ending): boolean {
    this.ending = ending;
    return false;
  }

  // A source speaks the protocol of waitables: as a case it is ready when it has ended.

  /** @internal */
  [READY](): boolean {
    return this.poll() !== undefined;
  }

  /** @internal */
  [TAKE](key: string): Outcome {
    return { case: key, value: this.poll()?.error() };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    this.join(parked);
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    this.leave(parked);
  }
}

/** The source of what never ends. It keeps nothing, and so leaks nothing, of what is linked to it. */
class Never extends Source {
  // A dependent counts as linked while its `list` is this.
  override attach(d: Dependent): void {
    d.list = this;
  }

  override detach(d: Dependent): boolean {
    const attached = d.list === this;
    d.list = undefined;
    return attached;
  }
}

export const NEVER: Source = new Never();

/** A source that listens to something outside, and only while anything hangs on it. */
export abstract class Listening extends Source {
  private stop: (() => void) | undefined = undefined;

  /** How the outside ended, asked without listening. */
  protected abstract check(): Ending | undefined;

  /** Begins to listen: calls `heard` when the outside ends. Returns what ends the listening. */
  protected abstract listen(heard: () => void): () => void;

  override poll(): Ending | undefined {
    if (this.ending === undefined) {
      // The outside may have ended with nobody listening, or have other listeners that run before ours.
      const ending = this.check();
      if (ending !== undefined) this.finish(ending);
    }
    return this.ending;
  }

  override attach(d: Dependent): void {
    super.attach(d);
    this.stop ??= this.listen(() => this.poll());
  }

  override detach(d: Dependent): boolean {
    const detached = super.detach(d);
    if (this.size === 0) this.unlisten();
    return detached;
  }

  override end(ending: Ending): boolean {
    this.unlisten();
    return super.end(ending);
  }

  private unlisten(): void {
    const stop = this.stop;
    this.stop = undefined;
    stop?.();
  }
}

class SignalSource extends Listening {
  private readonly signal: AbortSignal;

  constructor(signal: AbortSignal) {
    super();
    this.signal = signal;
  }

  protected override check(): Ending | undefined {
    const signal = this.signal;
    return signal.aborted ? { error: () => signal.reason, cause: () => signal.reason } : undefined;
  }

  protected override listen(heard: () => void): () => void {
    const signal = this.signal;
    signal.addEventListener("abort", heard);
    return () => signal.removeEventListener("abort", heard);
  }
}

/** A context of somebody else's making. */
class ForeignSource extends Listening {
  private readonly ctx: Context;
  private broken = false;

  constructor(ctx: Context) {
    super();
    this.ctx = ctx;
    this.expiry = ctx.deadline() ?? Number.POSITIVE_INFINITY;
  }

  // Asked anew each time: a context of ours above it may end later, and is then the cause for whoever comes after.
  override poll(): Ending | undefined {
    const ending = super.poll();
    return ending === undefined || this.broken ? ending : (this.check() ?? ending);
  }

  // Asks nothing outside: whoever reads the cases of a select has polled, and no user code may run after that.
  /** @internal */
  override [READY](): boolean {
    return this.ending !== undefined;
  }

  protected override check(): Ending | undefined {
    const error = this.ctx.err();
    if (error === undefined) {
      if (this.ctx.done()?.tryReceive() === undefined) return undefined;
      throw new Error("context: internal error: missing cancel error");
    }
    const inner = this.ctx.value(SOURCE_OF);
    const cause = inner instanceof Source ? inner.poll()?.cause() : undefined;
    return { error: () => error, cause: () => cause ?? error };
  }

  // An implementation may call back at once, or throw. Neither may happen while a wait is being parked: what it tells is
  // heard in a later microtask, and an error of its own ends what hangs on it.
  protected override listen(heard: () => void): () => void {
    const { ctx } = this;
    const hear = () => {
      void DONE.then(heard).catch((error) => this.breakDown(error));
    };
    try {
      if (ctx.afterFunc !== undefined) return ctx.afterFunc(hear);
      const stop = new AbortController();
      ctx
        .done()
        ?.receive(stop.signal)
        .then(hear, () => {});
      return () => stop.abort();
    } catch (error) {
      void DONE.then(() => this.breakDown(error));
      return () => {};
    }
  }

  private breakDown(error: unknown): void {
    this.broken = true;
    if (this.ending === undefined) this.finish({ error: () => error, cause: () => error });
  }
}

// Ephemeral on both sides: a source lives as long as its signal or context, or as what hangs on it.
const sources = new WeakMap<Cancel, Source>();

/** Makes `source` the one behind a signal that its context handed out. */
export function adopt(signal: AbortSignal, source: Source): void {
  sources.set(signal, source);
}

/** The source behind `cancel`. Throws TypeError if `cancel` is neither a context nor a signal. */
export function sourceOf(cancel: Cancel): Source {
  if (typeof cancel === "object" && cancel !== null) {
    return (cancel as { [SOURCE]?: Source })[SOURCE] ?? foreign(cancel);
  }
  throw notCancel(cancel);
}

function foreign(cancel: Cancel): Source {
  if (isContext(cancel)) {
    // A wrapper around one of ours is as good as what it wraps, unless it has a done channel of its own.
    const inner = cancel.value(SOURCE_OF);
    if (inner instanceof Source && inner !== NEVER && (inner as unknown as Context).done() === cancel.done())
      return inner;
  } else if (!isSignal(cancel)) throw notCancel(cancel);
  let source = sources.get(cancel);
  if (source === undefined) {
    source = isSignal(cancel) ? new SignalSource(cancel) : new ForeignSource(cancel);
    sources.set(cancel, source);
  }
  return source;
}

export function isSignal(value: unknown): value is AbortSignal {
  const v = value as Partial<AbortSignal> | null | undefined;
  return typeof v?.aborted === "boolean" && typeof v.addEventListener === "function";
}

export function isContext(value: unknown): value is Context {
  const v = value as Partial<Context> | null | undefined;
  return typeof v?.err === "function" && typeof v.done === "function" && typeof v.value === "function";
}

function notCancel(value: unknown): TypeError {
  return new TypeError(`cancel must be a Context or an AbortSignal, got ${show(value)}`);
}

/** A rejected promise if `cancel` is done or no `Cancel` at all; undefined if the operation may go on. */
export function refused(cancel: Cancel): Promise<never> | undefined {
  const own = (cancel as { [SOURCE]?: Source } | null | undefined)?.[SOURCE];
  if (own === undefined) return refusedForeign(cancel);
  const ending = own.poll();
  return ending === undefined ? undefined : failedWith(ending.error());
}

// Apart, because looking up a foreign source may throw, and only the common way is to be inlined.
function refusedForeign(cancel: Cancel): Promise<never> | undefined {
  try {
    const ending = sourceOf(cancel).poll();
    return ending === undefined ? undefined : failedWith(ending.error());
  } catch (error) {
    return failedWith(error);
  }
}
