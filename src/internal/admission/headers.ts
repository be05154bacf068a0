/** The header fields that say what a limit allows: draft-ietf-httpapi-ratelimit-headers-11. */
import { show, validName } from "../data/args.ts";

/** The greatest integer of a structured field (RFC 9651). */
export const MAX_INTEGER = 999_999_999_999_999;

/** The text as a string of a structured field. Throws RangeError if it has other characters than printable ASCII. */
export function fieldString(text: string, what: string): string {
  if (!/^[ -~]+$/.test(validName(text, what))) {
    throw new RangeError(`${what} must be printable ASCII, and not empty, got ${show(text)}`);
  }
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

/**
 * What a client is told of a bucket of `limit` tokens that is full again after `window` milliseconds without a call.
 */
export class RateFields {
  /** The value of `RateLimit-Policy`. Its window is rounded up to whole seconds, which promises less. */
  readonly policy: string;
  private readonly name: string;
  private readonly secondsPerToken: number;

  constructor(name: string, limit: number, window: number) {
    this.name = name;
    this.policy = `${name};q=${limit};w=${Math.ceil(window / 1000)}`;
    this.secondsPerToken = window / 1000 / limit;
  }

  /**
   * The value of `RateLimit`. With tokens left, `t` is the time in which so many come again: a client that spreads
   * `r` requests over `t` seconds is never refused. With none, it is the time until the next one comes.
   */
  state(tokens: number): string {
    const left = Math.max(Math.floor(tokens), 0);
    const seconds = left > 0 ? Math.max(Math.ceil(left * this.secondsPerToken), 1) : this.wait(tokens);
    return `${this.name};r=${left};t=${seconds}`;
  }

  /** After how many seconds, rounded up, a bucket that has less than one token has one. */
  wait(tokens: number): number {
    return Math.max(Math.ceil((1 - tokens) * this.secondsPerToken), 1);
  }
}
