/** How contexts end: the two errors, what carries them, and how an error is traced back to them. */
import { brand, withoutStack } from "../host/errors.ts";

/** How a source ended. One object for the source and everything below it. */
export interface Ending {
  /** What waits reject with: a context's `err()`, a signal's `reason`. */
  error(): unknown;
  /** A context's cause. */
  cause(): unknown;
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

  timeout(): boolean {
    return true;
  }

  temporary(): boolean {
    return true;
  }
}

/** The end of a context by its cancel function or deadline. The error is built when first asked for. */
export class Cancellation implements Ending {
  readonly #make: typeof Canceled | typeof DeadlineExceeded;
  readonly #cause: unknown;
  #error: Error | undefined = undefined;

  constructor(make: typeof Canceled | typeof DeadlineExceeded, cause: unknown) {
    this.#make = make;
    this.#cause = cause;
  }

  error(): Error {
    this.#error ??= withoutStack(() => new this.#make(this.#cause));
    return this.#error;
  }

  cause(): unknown {
    return this.#cause ?? this.error();
  }
}

/**
 * Foreign code, or an argument that is no `Cancel`, threw this error where we asked it: no end of anything, but of one
 * wait.
 */
export class Failed implements Ending {
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

/** Whether an error is the error of a context that ended. It may be another copy's. */
export function isContextError(err: unknown): boolean {
  return err instanceof Canceled || err instanceof DeadlineExceeded;
}

/**
 * The cause of an ending, as far as its error tells: the cause that an error of a context carries, or else the error.
 */
export function causeOf(err: unknown): unknown {
  return isContextError(err) ? ((err as Error).cause ?? err) : err;
}

/**
 * Looks for an error that `match` accepts, in `err` and what is behind it: its `cause`, and the `errors` of an
 * AggregateError. It does not look behind the error of a context: that one's cause is why another thing happened.
 */
export function findError(err: unknown, match: (e: Error) => boolean): boolean {
  const seen = new Set<unknown>(); // Causes may go round in a circle.
  const open: unknown[] = [err];
  for (const e of open) {
    if (!(e instanceof Error) || seen.has(e)) continue;
    seen.add(e);
    if (match(e)) return true;
    if (isContextError(e)) continue;
    open.push(e.cause);
    if (e instanceof AggregateError && Array.isArray(e.errors)) open.push(...e.errors);
  }
  return false;
}
