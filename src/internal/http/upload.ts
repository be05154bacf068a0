/**
 * A stream that a request sends as its body, and whether it has failed by itself: that is no fault of the server.
 *
 * The stream is not replaced by one that watches it, which would have to pass on its pressure and its cancel, and would
 * hide what hosts look at. Node says of its streams and of the web's whether they have failed. Only what is no more
 * than an async iterable is replaced, by one that takes note. On other hosts a failure of a web stream is not known.
 */
import { builtin } from "../host/host.ts";
import { isCausedBy } from "./network.ts";

interface Streams {
  isErrored?(stream: unknown): boolean;
  isDisturbed?(stream: unknown): boolean;
}

const streams = (): Streams | undefined => builtin<Streams>("node:stream");

/** The body of a request, which is a stream. */
export class Upload {
  /** What is sent. */
  readonly body: object;

  // Set when an iterable has thrown.
  private hasThrown = false;

  constructor(stream: object) {
    const isOther = has(stream, "getReader") || has(stream, "pipe");
    this.body = isOther ? stream : this.noting(stream as AsyncIterable<unknown>);
  }

  /** Whether it has failed by itself. `error` is what the request ended with before an answer, if it did. */
  hasFailed(error?: unknown): boolean {
    try {
      if (this.hasThrown) return true;
      if (streams()?.isErrored?.(this.body) !== true) return false;
      // Clients cannot make a web stream fail. One of Node they may destroy, with the error of the network.
      if (error === undefined || !this.isOfNode()) return true;
      return isAbort(error) || isCausedBy(error, (this.body as { errored?: unknown }).errored);
    } catch {
      return false; // A foreign error may throw when it is looked at.
    }
  }

  /** Whether it is a stream of Node. */
  isOfNode(): boolean {
    return has(this.body, "pipe");
  }

  private noting(given: AsyncIterable<unknown>): AsyncIterable<unknown> {
    const iterate = () => {
      const iterator = given[Symbol.asyncIterator]();
      const next = async () => {
        try {
          return await iterator.next();
        } catch (error) {
          this.hasThrown = true;
          throw error;
        }
      };
      return { next, return: async () => (await iterator.return?.()) ?? { done: true as const, value: undefined } };
    };
    return { [Symbol.asyncIterator]: iterate };
  }
}

/** Whether a body is a stream, which can be sent once. */
export function isStream(body: unknown): body is object {
  if (typeof body !== "object" || body === null) return false;
  return has(body, "getReader") || has(body, "pipe") || has(body, Symbol.asyncIterator);
}

/** Whether a stream has been read, or has a reader, so that `fetch` does not take it, as far as the host says. */
export function isUsed(body: unknown): boolean {
  if (!isStream(body)) return false;
  return (body as { locked?: unknown }).locked === true || streams()?.isDisturbed?.(body) === true;
}

function has(stream: object, method: PropertyKey): boolean {
  return typeof (stream as Record<PropertyKey, unknown>)[method] === "function";
}

/** Undici says no more of a body that has failed with an AbortError. An abort of the call's own does not come here. */
function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
