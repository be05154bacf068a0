/** One call: its deadline, what ends it early, and the errors that say where it was. */
import { type CancelScope, type Context, DeadlineExceeded, merge, withTimeout } from "../../context.ts";
import { withoutStack } from "../host/errors.ts";
import { now } from "../time/clock.ts";
import { isSignal, sourceOf } from "../wait/foreign.ts";
import type { Cancel } from "../wait/source.ts";
import {
  CallCanceledError,
  type CallDetails,
  type CallError,
  CallTimeoutError,
  type Phase,
  type Sent,
} from "./errors.ts";

// From the least to the greatest.
const SENT: readonly Sent[] = ["no", "maybe", "yes"];

/** From the call of `fetch` to the end of the body. */
export class Call {
  readonly host: string;
  readonly request: { readonly method: string; readonly url: URL };
  readonly startedAt: number = now();

  /** The number of the attempt, from 1. */
  attempt = 1;

  // Whether the server has seen one of the attempts so far, as far as details have said.
  private sent: Sent = "no";

  private readonly sources: readonly Cancel[];
  private readonly scope: CancelScope;

  // Joins the sources, if there are several.
  private readonly merged: CancelScope | undefined = undefined;

  /** Throws TypeError if a source is neither a context nor a signal. Call {@link finish} on every path. */
  constructor(host: string, request: Call["request"], sources: readonly Cancel[], timeout: number) {
    this.host = host;
    this.request = request;
    this.sources = sources;
    const [first, ...others] = sources;
    if (others.length > 0) this.merged = merge(first, ...others);
    this.scope = withTimeout(this.merged?.ctx ?? first, timeout);
  }

  /** Ends with the call. */
  get ctx(): Context {
    return this.scope.ctx;
  }

  /** Whether it has ended, as far as is known without a look at the clock. */
  hasEnded(): boolean {
    return sourceOf(this.ctx).ending !== undefined;
  }

  /** How many milliseconds are left; Infinity without a deadline. */
  timeLeft(): number {
    const deadline = this.ctx.deadline();
    return deadline === undefined ? Number.POSITIVE_INFINITY : deadline - now();
  }

  /** Ends what still runs of the call, for this cause. */
  cancel(cause: unknown): void {
    this.scope.cancel(cause);
  }

  /** The call has ended: nothing of it is armed or counted any more. May be called again. */
  finish(): void {
    this.scope.cancel();
    this.merged?.cancel();
  }

  /** Takes note that the server has seen a request of the call, or may have. */
  noteSent(sent: Sent): void {
    if (SENT.indexOf(sent) > SENT.indexOf(this.sent)) this.sent = sent;
  }

  /**
   * The error that `make` makes of the details, without a stack. `sent` is about this attempt; the details are about
   * all of them.
   */
  error<E extends CallError>(phase: Phase, sent: Sent, make: (details: CallDetails) => E, cause?: unknown): E {
    this.noteSent(sent);
    const { host, request, attempt } = this;
    const elapsed = Math.round(now() - this.startedAt);
    const { method, url } = request;
    const details = { host, method, path: url.pathname, phase, elapsed, attempt, sent: this.sent, cause };
    return withoutStack(() => make(details));
  }

  /** The error of a call that is let in no further; `why` completes "call to example.com". */
  refusal<E extends CallError>(why: string, make: (message: string, details: CallDetails) => E): E {
    return this.error("queue", "no", (details) => make(`call to ${this.host} ${why}`, details));
  }

  /** The error of a call whose context has ended. */
  endError(phase: Phase, sent: Sent): CallError {
    const error = this.ctx.err();
    const make = (details: CallDetails) => {
      const where = `after ${details.elapsed} ms, in phase ${phase}`;
      return error instanceof DeadlineExceeded
        ? new CallTimeoutError(`call to ${this.host} timed out ${where}`, details)
        : new CallCanceledError(`call to ${this.host} canceled ${where}${hint(phase)}`, details);
    };
    return this.error(phase, sent, make, this.reason(error));
  }

  /** Why the call was cancelled: the reason of the source that has ended, or what {@link cancel} was given. */
  private reason(error: Error | undefined): unknown {
    if (error instanceof DeadlineExceeded) return error;
    try {
      for (const source of this.sources) {
        if (!isSignal(source)) {
          const ended = source.err();
          if (ended !== undefined) return ended;
        } else if (source.aborted) {
          return source.reason;
        }
      }
    } catch {
      // A foreign one that throws when it is asked again.
    }
    return error?.cause ?? error;
  }
}

/** What the message says of a cancel that is often a mistake. */
function hint(phase: Phase): string {
  return phase === "body" ? ": a body must be read before the context of its call ends" : "";
}
