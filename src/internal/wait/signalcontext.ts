/** The context that an abort signal, or any `Cancel`, stands for. */
import type { ReceiveChannel } from "../../channel.ts";
import type { Context } from "../../context.ts";
import { BACKGROUND } from "./contexts.ts";
import { contextBySignal, DoneChannel } from "./dependents.ts";
import { Canceled, Cancellation, causeOf, DeadlineExceeded, type Ending, isContextError } from "./endings.ts";
import { isContext, isSignal, notCancel, recognised, SOURCE_KEY } from "./foreign.ts";
import { type Cancel, type Dependent, SOURCE, Source } from "./source.ts";
import { PHASE_NONE, type Phase } from "./waitable.ts";

/** The context behind a signal: the one that handed it out, or one that is made for it, once. */
export function contextOfSignal(signal: AbortSignal): Context {
  let ctx = contextBySignal.get(signal);
  if (ctx === undefined) {
    ctx = new SignalContext(signal);
    contextBySignal.set(signal, ctx);
  }
  return ctx;
}

/**
 * The context that `ctx` is or stands for, which for `undefined` is the background. Throws TypeError if it is neither a
 * context nor a signal.
 */
export function contextOf(ctx: Cancel | undefined): Context {
  if (ctx === undefined) return BACKGROUND;
  if (isContext(ctx)) return ctx;
  if (isSignal(ctx)) return contextOfSignal(ctx);
  throw notCancel(ctx);
}

/** A context made of a signal. It is linked to the signal's source only while something is linked to it. */
class SignalContext extends Source implements Context {
  readonly [SOURCE]: this = this;
  readonly signal: AbortSignal;
  private readonly signalSource: Source;
  lazyDone: ReceiveChannel<never> | undefined = undefined;

  constructor(signal: AbortSignal) {
    super();
    this.signal = signal;
    this.signalSource = recognised(signal);
  }

  override poll(): Ending | undefined {
    if (this.ending === undefined) {
      const ending = this.signalSource.poll();
      if (ending?.failed === true) return ending;
      // The poll may have called back.
      if (ending !== undefined && this.ending === undefined) this.end(ending, false);
    }
    return this.ending;
  }

  override link(d: Dependent): void {
    super.link(d);
    if (this.list === undefined) this.signalSource.link(this);
  }

  override unlink(d: Dependent): boolean {
    const unlinked = super.unlink(d);
    if (this.size === 0) this.signalSource.unlink(this);
    return unlinked;
  }

  override listen(): void {
    this.signalSource.listen();
  }

  override ended(ending: Ending): Phase {
    this.signalSource.unlink(this);
    // A signal that could not be listened to has not ended. A later wait listens again.
    return ending.failed === true ? PHASE_NONE : super.ended(endingOfReason(ending.error()));
  }

  deadline(): undefined {}

  done(): ReceiveChannel<never> {
    const ctx = this[SOURCE];
    ctx.lazyDone ??= new DoneChannel(ctx);
    return ctx.lazyDone;
  }

  err(): Error | undefined {
    return this[SOURCE].poll()?.error() as Error | undefined;
  }

  value(key: unknown): unknown {
    return key === SOURCE_KEY ? this[SOURCE] : undefined;
  }

  override toString(): string {
    return "context.fromSignal";
  }
}

/** How a context ends when its signal is aborted for this reason. */
function endingOfReason(reason: unknown): Ending {
  if (isContextError(reason)) return { error: () => reason, cause: () => causeOf(reason) };
  let timedOut = false;
  try {
    timedOut = (reason as { name?: unknown }).name === "TimeoutError";
  } catch {
    // A reason may be anything, even null, or an object whose `name` throws.
  }
  return new Cancellation(timedOut ? DeadlineExceeded : Canceled, reason);
}
