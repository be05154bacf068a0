/** The errors of a call: each says to which host, in which phase, and whether the server may have seen the request. */
import { brand } from "../host/errors.ts";

/**
 * How far a call had come. *queue*: it had not been sent, and waited for a slot or was refused. *backoff*: it waited
 * between two attempts. *connect*: it was connecting. *headers*: the headers of the answer had not come. *body*: they
 * had, and the body had not ended. Without the option `phases`, a call that runs out of time while it is connecting is
 * in the phase *headers*.
 */
export type Phase = "queue" | "backoff" | "connect" | "headers" | "body";

/**
 * Whether the server has seen the request, in any attempt of the call: surely not, so that it may be sent again;
 * perhaps; or surely, because it has answered.
 */
export type Sent = "no" | "maybe" | "yes";

/** Where and when a call failed. */
export interface CallDetails {
  readonly host: string;
  readonly method: string;
  readonly path: string;
  readonly phase: Phase;
  readonly elapsed: number;
  readonly attempt: number;
  readonly sent: Sent;
  readonly cause?: unknown;
}

/**
 * What every error of a call has. It has no stack beyond its first line: capturing one would cost more than the call
 * under load, and would show the library's timers. {@link method} and {@link path} say which call it was.
 */
export class CallError extends Error {
  static {
    brand(this, "CallError");
  }

  /** What the call was counted under: the host and port of its first URL, or what the option `key` returned. */
  readonly host: string;
  /** The method of the request, in capitals. */
  readonly method: string;
  /** The path of the first URL, without its query, which may be secret. */
  readonly path: string;
  readonly phase: Phase;
  /** Milliseconds from the call to this error. */
  readonly elapsed: number;
  /** The number of the attempt, from 1. */
  readonly attempt: number;
  readonly sent: Sent;

  constructor(message: string, details: CallDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.host = details.host;
    this.method = details.method;
    this.path = details.path;
    this.phase = details.phase;
    this.elapsed = details.elapsed;
    this.attempt = details.attempt;
    this.sent = details.sent;
  }
}

/**
 * The call's deadline has passed: its own, or the caller's. `name` is TimeoutError, and
 * `context.is(err, context.DeadlineExceeded)` is true.
 */
export class CallTimeoutError extends CallError {
  static {
    brand(this, "CallTimeoutError", "TimeoutError");
  }
}

/**
 * The caller has cancelled, or `close` was called. `name` is AbortError. `cause` is the error of the `ctx` that ended,
 * whose own cause is its reason; the reason of `signal`; or the TypeError of a closed caller. In phase *body* the
 * context may have ended with its scope, before the body was read.
 */
export class CallCanceledError extends CallError {
  static {
    brand(this, "CallCanceledError", "AbortError");
  }
}

/** Makes the errors of {@link QueueFullError} instances of the class of that name in `gopark/semaphore` too. */
abstract class FullError extends CallError {
  static {
    brand(this, "QueueFullError");
  }
}

/**
 * As many calls wait for the host already as the option `queue` allows. A `QueueFullError` of `gopark/semaphore` too.
 */
export class QueueFullError extends FullError {
  static {
    brand(this, "CallQueueFullError", "QueueFullError");
  }
}

/**
 * The call has waited for a slot, or for the probe of a breaker, for as long as `queueTimeout` allows. This attempt was
 * not sent.
 */
export class QueueTimeoutError extends CallError {
  static {
    brand(this, "QueueTimeoutError");
  }
}

/** A call that may be made later: {@link retryAt} says when, if that is known. */
abstract class RefusedError extends CallError {
  /** In epoch milliseconds; undefined if it is not known. */
  readonly retryAt: number | undefined;

  constructor(message: string, details: CallDetails, retryAt: number | undefined) {
    super(message, details);
    this.retryAt = retryAt;
  }
}

/**
 * The host's circuit breaker is open, perhaps because the probe has failed that the call waited for. This attempt was
 * not sent.
 */
export class BreakerOpenError extends RefusedError {
  static {
    brand(this, "BreakerOpenError");
  }
}

/** The call would exceed the option `rate`. This attempt was not sent. */
export class RateLimitedError extends RefusedError {
  static {
    brand(this, "RateLimitedError");
  }
}

/**
 * The network has failed, or what came was not HTTP; or the stream that was sent has failed. `cause` is what `fetch`
 * rejected with.
 */
export class NetworkError extends CallError {
  static {
    brand(this, "NetworkError");
  }

  /** The host's code, such as ECONNREFUSED or UND_ERR_SOCKET; undefined if it gave none. */
  readonly code: string | undefined;

  constructor(message: string, details: CallDetails, code: string | undefined) {
    super(message, details);
    this.code = code;
  }
}

/**
 * The reason with which the signal of a call is aborted whose Response the garbage collector has taken, with a body
 * that had not ended. No promise rejects with it: nobody is left to wait for one.
 */
export class AbandonedBodyError extends CallError {
  static {
    brand(this, "AbandonedBodyError");
  }
}
