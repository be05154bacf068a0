/**
 * Sources behind what is not ours: abort signals, and contexts of somebody else's making.
 *
 * Whatever they do is foreign code: it may throw, call back in, lie, or never answer. It is run at three places only.
 *
 * - *Asked* by `poll`, before an operation looks at its own state. What it throws is the error of that operation.
 * - *Listened to* by `listen`, after a wait has been linked wherever it belongs. What it throws ends the waits linked to
 *   it with that error: only this one and those begun inside the call, for an earlier one would be listened to already.
 * - *Stopped* by a reaction some microtasks after the last wait has left, if by then nobody waits again. So nothing
 *   foreign runs while waits are being claimed, and a loop of waits listens once. What it throws is reported.
 */
import type { Context } from "../../context.ts";
import { show } from "../data/args.ts";
import { guarded } from "../host/async.ts";
import { builtin } from "../host/host.ts";
import { DONE } from "../time/turn.ts";
import { causeOf, type Ending, Failed } from "./endings.ts";
import { type Cancel, type DeadlineSource, type Dependent, NEVER, SOURCE, Source, spread } from "./source.ts";
import type { Aftermath } from "./waitable.ts";

/** What an own context answers with its source when asked by `value`, through foreign wrappers too. */
export const ASK_SOURCE: object = { toString: () => "gopark.source" };

/** After so many microtasks a task that was woken has begun its next wait, a few functions up. */
const HOPS = 4;

/** A source that listens to something outside, and only while anything hangs on it. */
export abstract class Listening extends Source {
  // Set while we listen; `beginning` while that is being set up, `stopping` while a reaction is on its way to end it.
  private stop: (() => void) | undefined = undefined;
  private beginning = false;
  private stopping = false;

  /** How the outside ended, asked without listening. */
  protected abstract check(): Ending | undefined;

  /** Begins to listen: calls `heard` when the outside ends. Returns what ends the listening. */
  protected abstract begin(heard: () => void): () => void;

  override poll(): Ending | undefined {
    if (this.ending === undefined) {
      // The outside may have ended with nobody listening, or have other listeners that run before ours.
      let ending: Ending | undefined;
      try {
        ending = this.check();
      } catch (error) {
        return new Failed(error);
      }
      // Asking may have called back.
      if (ending !== undefined && this.ending === undefined) this.end(ending, false);
    }
    return this.ending;
  }

  override detach(d: Dependent): boolean {
    const detached = super.detach(d);
    if (this.size === 0) this.stopLater();
    return detached;
  }

  override listen(): void {
    if (this.stop !== undefined || this.beginning || this.ending !== undefined) return;
    this.beginning = true;
    try {
      const stop: unknown = this.begin(() => this.heard());
      if (this.ending !== undefined) return; // It has called back.
      if (typeof stop !== "function") {
        throw new TypeError(`a context's afterFunc must return a function, got ${show(stop)}`);
      }
      this.stop = stop as () => void;
    } catch (error) {
      spread(this, new Failed(error), false);
      return;
    } finally {
      this.beginning = false;
    }
    if (this.size === 0) this.stopLater();
    else this.poll(); // It may have ended since it was asked.
  }

  override ended(ending: Ending): Aftermath {
    this.stopLater();
    return super.ended(ending);
  }

  /** The outside has called back. */
  protected heard(): void {
    if (this.ending !== undefined) return;
    let ending: Ending | undefined;
    try {
      ending = this.check();
    } catch (error) {
      ending = new Failed(error);
    }
    if (ending === undefined || this.ending !== undefined) return;
    this.stop = undefined;
    this.end(ending, true);
  }

  /** Listens anew, where the outside has called back and will not do so again, although it has not ended. */
  protected relisten(): void {
    const { stop } = this;
    this.stop = undefined;
    if (stop !== undefined) guarded(stop);
    if (this.size > 0) this.listen();
  }

  private stopLater(hops = HOPS): void {
    if (hops === HOPS) {
      if (this.stop === undefined || this.stopping) return;
      this.stopping = true;
    }
    void DONE.then(() => {
      if (hops > 1) return this.stopLater(hops - 1);
      this.stopping = false;
      const { stop } = this;
      if (this.size > 0 || stop === undefined) return;
      this.stop = undefined;
      guarded(stop);
    });
  }
}

// Node's own way to hear an abort although an earlier listener has stopped the event.
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

  protected override begin(heard: () => void): () => void {
    const { signal } = this;
    if (addAbortListener !== undefined && typeof AbortSignal === "function" && signal instanceof AbortSignal) {
      addAbortListener(signal, heard);
    } else {
      signal.addEventListener("abort", heard);
    }
    return () => signal.removeEventListener("abort", heard);
  }

  protected override heard(): void {
    super.heard();
    if (this.ending === undefined) this.relisten(); // Somebody has dispatched an event of this name.
  }
}

/** A context of somebody else's making. */
class ForeignSource extends Listening implements DeadlineSource {
  readonly when: number;
  readonly aboveDeadline: undefined = undefined;
  private readonly ctx: Context;

  constructor(ctx: Context) {
    super();
    this.ctx = ctx;
    const deadline: unknown = ctx.deadline();
    this.when = typeof deadline === "number" ? deadline : Number.POSITIVE_INFINITY;
    if (this.when < Number.POSITIVE_INFINITY) this.deadlineSource = this;
  }

  // Asked anew each time: a context of ours above it may end later, and is then the cause for whoever comes after.
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
    const error = this.ctx.err();
    if (error === undefined) {
      if (this.ctx.done()?.tryReceive() === undefined) return undefined;
      throw missingError();
    }
    const inner = this.ctx.value(ASK_SOURCE);
    const cause = inner instanceof Source ? inner.poll()?.cause() : undefined;
    return { error: () => error, cause: () => cause ?? causeOf(error) };
  }

  // What it tells is heard in a later microtask: it may call back at once, or inside a call that is claiming waits.
  protected override begin(heard: () => void): () => void {
    const { ctx } = this;
    const hear = () => void DONE.then(heard);
    if (ctx.afterFunc !== undefined) return ctx.afterFunc(hear);
    const stopped = new AbortController();
    ctx
      .done()
      ?.receive(stopped.signal)
      .then(hear, (error) => {
        if (!stopped.signal.aborted && this.ending === undefined) this.end(new Failed(error), false);
      });
    return () => stopped.abort();
  }

  protected override heard(): void {
    super.heard();
    if (this.ending === undefined && this.size > 0) this.end(new Failed(missingError()), false);
  }
}

function missingError(): Error {
  return new Error("context: internal error: missing cancel error");
}

// Ephemeral on both sides: a source lives as long as its signal or context, or as what hangs on it.
const sources = new WeakMap<Cancel, Source>();

/** Makes `source` the one behind a signal that its context handed out. */
export function adopt(signal: AbortSignal, source: Source): void {
  sources.set(signal, source);
}

/**
 * The source behind `cancel`. Never throws: where `cancel` is neither a context nor a signal, or throws when asked what
 * it is, the answer is a source that has ended with that error.
 */
export function sourceOf(cancel: Cancel): Source {
  try {
    return (cancel as { [SOURCE]?: Source })[SOURCE] ?? foreignSource(cancel);
  } catch (error) {
    const failed = new Source();
    failed.ending = new Failed(cancel === undefined || cancel === null ? notCancel(cancel) : error);
    return failed;
  }
}

function foreignSource(cancel: Cancel): Source {
  const isObject = typeof cancel === "object" || typeof cancel === "function";
  if (!isObject || !(isContext(cancel) || isSignal(cancel))) throw notCancel(cancel);
  let source = sources.get(cancel);
  if (source !== undefined) return source;
  if (isContext(cancel)) {
    // A wrapper around one of ours is as good as what it wraps, unless it has a done channel of its own.
    const inner = cancel.value(ASK_SOURCE);
    if (inner instanceof Source && inner !== NEVER && (inner as unknown as Context).done() === cancel.done()) {
      return inner;
    }
    source = new ForeignSource(cancel);
  } else {
    source = new SignalSource(cancel);
  }
  sources.set(cancel, source);
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
