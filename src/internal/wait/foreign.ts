/**
 * Sources behind what is not ours: abort signals, and contexts of other implementations.
 *
 * Everything that they do is foreign code: it may throw, call back in, lie, or never answer. A wait runs it at five
 * places only. (A context of ours also asks a foreign parent when it is itself asked: `deadline`, `value` and
 * `toString` of any context, and every method of one of `withValue`.)
 *
 * - *Recognised* by `sourceOf`, at the beginning of an operation. An error that it throws is the error of that
 *   operation.
 * - *Asked* by `poll`: before an operation looks at its own state, when the outside calls back, and once more after
 *   subscribing. An error fails the operation that polled; if the outside had called back, it ends the source; after
 *   subscribing, and at a deadline, it is dropped ({@link Failed}).
 * - *Subscribed to* by `listen`, after a wait has been linked wherever it belongs. An error ends the waits that are
 *   linked to it.
 * - *Unsubscribed from* by a reaction, some microtasks after the last wait has left, if by then nothing waits again. So
 *   nothing foreign runs while waits are claimed, and a loop whose next wait begins soon subscribes once. An error is
 *   reported.
 * - *Read*, when the cause of an end is asked for.
 */
import type { Context } from "../../context.ts";
import { show } from "../data/args.ts";
import { guarded } from "../host/async.ts";
import { builtin } from "../host/host.ts";
import { afterMicrotasks, MICROTASKS_TO_NEXT_WAIT, RESOLVED } from "../time/turn.ts";
import { causeOf, type Ending, Failed } from "./endings.ts";
import { type Cancel, type DeadlineSource, type Dependent, NEVER, SOURCE, Source, spread } from "./source.ts";
import type { Phase } from "./waitable.ts";

/**
 * The key for which `value` returns the source of a context of ours, even through the wrappers of others. The roots,
 * which never end, return undefined.
 */
export const SOURCE_KEY: object = { toString: () => "gopark.source" };

/**
 * A source that listens to something foreign, the outside, and only while anything is linked to it.
 *
 * It is in one of four states: *idle*; *subscribing*, inside `subscribe`, which may call back; *subscribed*, with
 * `unsubscribe` set; *ended*. When nothing is linked to a subscribed source any more, or it ends without having been
 * called back, a reaction is scheduled that unsubscribes.
 */
export abstract class Listening extends Source {
  private unsubscribe: (() => void) | undefined = undefined;
  private subscribing = false;
  private unsubscribeScheduled = false;

  /** How the outside ended; undefined if it has not. */
  protected abstract check(): Ending | undefined;

  /** Begins to listen: from now on the outside calls `callBack` when it ends. Returns what takes that back. */
  protected abstract subscribe(callBack: () => void): () => void;

  override poll(): Ending | undefined {
    if (this.ending === undefined) {
      // The outside may have ended with nobody listening, or have other listeners that run before ours.
      let ending: Ending | undefined;
      try {
        ending = this.check();
      } catch (error) {
        return new Failed(error);
      }
      // `check` may have called back.
      if (ending !== undefined && this.ending === undefined) this.end(ending, false);
    }
    return this.ending;
  }

  override unlink(d: Dependent): boolean {
    const unlinked = super.unlink(d);
    if (this.size === 0) this.unsubscribeLater();
    return unlinked;
  }

  override listen(): void {
    if (this.unsubscribe !== undefined || this.subscribing) return;
    // 1. Subscribe. The outside may call back at once, and end this source.
    this.subscribing = true;
    try {
      const unsubscribe: unknown = this.subscribe(() => this.calledBack());
      if (this.ending !== undefined) return;
      if (typeof unsubscribe !== "function") {
        throw new TypeError(`a context's afterFunc must return a function, got ${show(unsubscribe)}`);
      }
      this.unsubscribe = unsubscribe as () => void;
    } catch (error) {
      // 2. Where that failed, end what is linked, with the error. It was linked for this attempt, or for an earlier one
      // that `resubscribe` repeats.
      spread(this, new Failed(error), false);
      return;
    } finally {
      this.subscribing = false;
    }
    // 3. The dependents may have left meanwhile. If not, the outside may have ended since it was polled.
    if (this.size === 0) this.unsubscribeLater();
    else this.poll();
  }

  override ended(ending: Ending): Phase {
    this.unsubscribeLater();
    return super.ended(ending);
  }

  /** The outside has called back. */
  protected calledBack(): void {
    let ending: Ending | undefined;
    try {
      ending = this.check();
    } catch (error) {
      ending = new Failed(error);
    }
    // It may have ended before, or `check` may have called back.
    if (ending === undefined || this.ending !== undefined) return;
    this.unsubscribe = undefined;
    this.end(ending, true);
  }

  /** Subscribes again, where the outside has called back although it has not ended, and will not do so again. */
  protected resubscribe(): void {
    const { unsubscribe } = this;
    this.unsubscribe = undefined;
    if (unsubscribe !== undefined) guarded(unsubscribe);
    if (this.size > 0) this.listen();
  }

  private unsubscribeLater(): void {
    if (this.unsubscribe === undefined || this.unsubscribeScheduled) return;
    this.unsubscribeScheduled = true;
    afterMicrotasks(MICROTASKS_TO_NEXT_WAIT, () => {
      this.unsubscribeScheduled = false;
      const { unsubscribe } = this;
      if (this.size > 0 || unsubscribe === undefined) return;
      this.unsubscribe = undefined;
      guarded(unsubscribe);
    });
  }
}

// Node's own means: its listener is called even if an earlier one has stopped the event.
const addAbortListener = builtin<{ addAbortListener(signal: AbortSignal, fn: () => void): unknown }>(
  "node:events",
)?.addAbortListener;

class SignalSource extends Listening {
  private readonly signal: AbortSignal;

  constructor(signal: AbortSignal) {
    super();
    this.signal = signal;
  }

  protected override check(): Ending | undefined {
    if (!this.signal.aborted) return undefined;
    const { reason } = this.signal;
    return { error: () => reason, cause: () => reason };
  }

  protected override subscribe(callBack: () => void): () => void {
    const { signal } = this;
    if (addAbortListener !== undefined && typeof AbortSignal === "function" && signal instanceof AbortSignal) {
      addAbortListener(signal, callBack);
    } else {
      signal.addEventListener("abort", callBack);
    }
    return () => signal.removeEventListener("abort", callBack);
  }

  protected override calledBack(): void {
    super.calledBack();
    if (this.ending === undefined) this.resubscribe(); // Other code dispatched an `abort` event.
  }
}

/** A context of another implementation. */
class ForeignSource extends Listening implements DeadlineSource {
  readonly when: number;
  readonly parentDeadline: undefined = undefined;
  private readonly ctx: Context;

  constructor(ctx: Context) {
    super();
    this.ctx = ctx;
    const deadline: unknown = ctx.deadline();
    this.when = typeof deadline === "number" ? deadline : Number.POSITIVE_INFINITY;
    if (this.when < Number.POSITIVE_INFINITY) this.nearestDeadline = this;
  }

  // Asked again at each poll: a context of ours above it may end later, and its cause is then the cause.
  override poll(): Ending | undefined {
    const ending = super.poll();
    if (ending === undefined || ending instanceof Failed) return ending;
    try {
      return this.check() ?? ending;
    } catch {
      return ending; // It has ended, whatever it says now.
    }
  }

  expire(): void {
    this.poll();
  }

  protected override check(): Ending | undefined {
    let error = this.ctx.err();
    if (error === undefined) {
      if (this.ctx.done()?.tryReceive() === undefined) return undefined;
      // It may have ended since it was asked, as by a deadline.
      error = this.ctx.err();
      if (error === undefined) throw missingError();
    }
    const inner = this.ctx.value(SOURCE_KEY);
    const cause = inner instanceof Source ? inner.poll()?.cause() : undefined;
    return { error: () => error, cause: () => cause ?? causeOf(error) };
  }

  // Calls back in a later microtask: the context may do it at once, or inside a call that is claiming waits.
  protected override subscribe(callBack: () => void): () => void {
    const { ctx } = this;
    const callBackLater = () => void RESOLVED.then(callBack);
    if (ctx.afterFunc !== undefined) return ctx.afterFunc(callBackLater);
    const unsubscribed = new AbortController();
    ctx
      .done()
      ?.receive(unsubscribed.signal)
      .then(callBackLater, (error) => {
        if (!unsubscribed.signal.aborted && this.ending === undefined) this.end(new Failed(error), false);
      });
    return () => unsubscribed.abort();
  }

  protected override calledBack(): void {
    super.calledBack();
    if (this.size > 0) this.end(new Failed(missingError()), false); // Nothing is linked to it if it has ended.
  }
}

function missingError(): Error {
  return new Error("context: internal error: missing cancel error");
}

// Each lives as long as its signal or context does, or as anything is linked to it.
const sourceOfForeign = new WeakMap<Cancel, Source>();

/** Makes `source` the one behind a signal, which its context is about to hand out. */
export function setSource(signal: AbortSignal, source: Source): void {
  sourceOfForeign.set(signal, source);
}

/**
 * The source behind `cancel`: that of what never ends, if it is undefined. Never throws: where `cancel` is neither a
 * context nor a signal, or throws when asked what it is, returns a source that has ended with that error.
 */
export function sourceOf(cancel: Cancel | undefined): Source {
  if (cancel === undefined) return NEVER;
  try {
    return (cancel as { [SOURCE]?: Source })[SOURCE] ?? findSource(cancel);
  } catch (error) {
    const failed = new Source();
    failed.ending = new Failed(cancel === null ? notCancel(cancel) : error);
    return failed;
  }
}

/** As {@link sourceOf}, for what keeps the source: throws the error of a source that has failed. */
export function recognised(cancel: Cancel): Source {
  const source = sourceOf(cancel);
  if (source.ending?.failed === true) throw source.ending.error();
  return source;
}

/** The source behind a `cancel` that may be left out; undefined if it is. */
export function optionalSource(cancel: Cancel | undefined): Source | undefined {
  return cancel === undefined ? undefined : sourceOf(cancel);
}

function findSource(cancel: Cancel): Source {
  if (!isContext(cancel) && !isSignal(cancel)) throw notCancel(cancel);
  let source = sourceOfForeign.get(cancel);
  if (source !== undefined) return source;
  if (isContext(cancel)) {
    // A wrapper around a context of ours has that one's source, unless it has a done channel of its own.
    const inner = cancel.value(SOURCE_KEY);
    // Only contexts that are their own source answer SOURCE_KEY.
    if (inner instanceof Source && (inner as unknown as Context).done() === cancel.done()) return inner;
    source = new ForeignSource(cancel);
  } else {
    source = new SignalSource(cancel);
  }
  sourceOfForeign.set(cancel, source);
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

/** The error for a value that is neither a context nor a signal. */
export function notCancel(value: unknown): TypeError {
  return new TypeError(`expected a Context or an AbortSignal, got ${show(value)}${hintFor(value)}`);
}

/** What to pass instead, where the object that holds a context or a signal was passed. */
export function hintFor(value: unknown): string {
  try {
    const holder = value as { readonly ctx?: unknown; readonly signal?: unknown };
    if (isContext(holder.ctx)) return ": pass scope.ctx";
    if (isSignal(holder.signal)) return ": pass controller.signal";
  } catch {
    // Of null, undefined and getters that throw: there is no hint then.
  }
  return "";
}
