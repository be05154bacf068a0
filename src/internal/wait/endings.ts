/** How contexts end: the two errors, what carries them, and how an error is traced back to them. */
import { brand, withoutStack } from "../host/errors.ts";

/**
 * How a source ended. Everything below a source shares its ending, except the contexts of signals, which make a
 * context's error of the reason, and foreign contexts, which give a new one at each poll.
 */
export interface Ending {
  /** What waits reject with: a context's `err()`, a signal's `reason`. */
  error(): unknown;
  /** A context's cause. */
  cause(): unknown;
  /** Set for a {@link Failed}, which may be another copy's. */
  readonly failed?: true;
}

/** The error of a context that was cancelled. Its `name` is AbortError, which users of fetch test for. */
export class Canceled extends Error {
  static {
    brand(this, "Canceled", "AbortError");
  }

  /** Without a `cause` property unless a cause is given. */
  constructor(cause?: unknown) {
    super("context canceled", cause === undefined || cause === null ? undefined : { cause });
  }
}

/** The error of a context whose deadline has passed. Its `name` is TimeoutError, as with `AbortSignal.timeout`. */
export class DeadlineExceeded extends Error {
  static {
    brand(this, "DeadlineExceeded", "TimeoutError");
  }

  /** Without a `cause` property unless a cause is given. */
  constructor(cause?: unknown) {
    super("context deadline exceeded", cause === undefined || cause === null ? undefined : { cause });
  }

  /** As Go's net.Error: always true. */
  timeout(): boolean {
    return true;
  }

  /** As Go's net.Error: always true. */
  temporary(): boolean {
    return true;
  }
}

/** The end of a context by its cancel function or deadline. The error is built when first asked for. */
export class Cancellation implements Ending {
  readonly #errorClass: typeof Canceled | typeof DeadlineExceeded;
  readonly #cause: unknown;
  #error: Error | undefined = undefined;

  constructor(errorClass: typeof Canceled | typeof DeadlineExceeded, cause: unknown) {
    this.#errorClass = errorClass;
    this.#cause = cause;
  }

  error(): Error {
    this.#error ??= withoutStack(() => new this.#errorClass(this.#cause));
    return this.#error;
  }

  cause(): unknown {
    return this.#cause ?? this.error();
  }
}

/**
 * What foreign code threw, or the error of an argument that is not a `Cancel`.
 *
 * - As the result of a poll, it fails the operation that polled, and nothing else.
 * - Met while a source is being listened to, it ends the waits and child contexts that are linked to the source then.
 *   (The context of a signal does not end; it passes the failure on.) The source itself has not ended: a later wait
 *   listens again.
 * - Met when the outside calls back, it ends the source.
 */
export class Failed implements Ending {
  readonly failed: true = true;
  readonly #error: unknown;

  constructor(error: unknown) {
    this.#error = error;
  }

  error(): unknown {
    return this.#error;
  }

  cause(): unknown {
    return this.#error;
  }
}

/** Whether an error is the error of a context that ended. It may be another copy's. Never throws. */
export function isContextError(err: unknown): boolean {
  try {
    return err instanceof Canceled || err instanceof DeadlineExceeded;
  } catch {
    return false; // A proxy that throws when it is asked for its prototype.
  }
}

/** The cause that an error of a context carries; for any other error, the error itself. */
export function causeOf(err: unknown): unknown {
  return isContextError(err) ? ((err as Error).cause ?? err) : err;
}

/**
 * Whether `match` accepts `err` or an error behind it: its `cause`, and the `errors` of an AggregateError. Does not
 * look behind the error of a context, whose cause says why something else happened.
 */
export function someError(err: unknown, match: (e: Error) => boolean): boolean {
  const seen = new Set<unknown>(); // Causes may go round in a circle.
  const pending: unknown[] = [err];
  for (const e of pending) {
    if (!(e instanceof Error) || seen.has(e)) continue;
    seen.add(e);
    if (match(e)) return true;
    if (isContextError(e)) continue;
    try {
      pending.push(e.cause);
      if (e instanceof AggregateError && Array.isArray(e.errors)) for (const inner of e.errors) pending.push(inner);
    } catch {
      // A getter that throws shows nothing.
    }
  }
  return false;
}
