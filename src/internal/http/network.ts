/** What a failure of `fetch` says: which code it carries, whether it is one of connecting, or none of the network. */

import { show } from "../data/args.ts";
import type { Call } from "./call.ts";
import { NetworkError, type Phase, type Sent } from "./errors.ts";

/** What is known of a failure. */
export interface Failure {
  readonly code: string | undefined;
  /** The code, or else the message: for people. */
  readonly text: string;
  /** Whether no byte was written to the server that it is about. With a redirect that need not be the first. */
  readonly beforeSending: boolean;
}

// While connecting. An address that cannot be found; a port where nobody listens; undici's own time-out.
const NOT_CONNECTED = ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "UND_ERR_CONNECT_TIMEOUT"];

// A certificate that the client has refused: only the handshake does that.
const CERTIFICATE = /^(CERT_|DEPTH_ZERO_|ERR_TLS_CERT_|SELF_SIGNED_|UNABLE_TO_)/;

// What undici says of arguments that it does not take: a header, say, or a length that is not that of the body.
const OF_ARGUMENTS = [
  "UND_ERR_INVALID_ARG",
  "UND_ERR_INVALID_RETURN_VALUE",
  "UND_ERR_NOT_SUPPORTED",
  "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH",
  "ERR_INVALID_URL",
];

// What undici says where the program has closed or destroyed the dispatcher.
const OF_CLOSING = ["UND_ERR_CLOSED", "UND_ERR_DESTROYED"];

// What a socket fails in.
const OF_SOCKETS = ["connect", "getaddrinfo", "read", "write", "shutdown"];

// How deep to look for a code.
const MOST_CAUSES = 8;

interface SystemError {
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly cause?: unknown;
  readonly errors?: unknown;
}

/** Looks through the causes for a code. Never throws: a foreign error may be anything. */
export function failureOf(error: unknown): Failure {
  try {
    let e = error as SystemError | null | undefined;
    for (let i = 0; i < MOST_CAUSES && typeof e === "object" && e !== null; i++) {
      const { code } = e;
      if (typeof code === "string") return { code, text: code, beforeSending: isBeforeSending(e, code) };
      e = e.cause as typeof e;
    }
    return { code: undefined, text: error instanceof Error ? error.message : show(error), beforeSending: false };
  } catch {
    // An error whose getters throw says nothing.
    return { code: undefined, text: "unknown error", beforeSending: false };
  }
}

/** Whether `cause` is the error, or one of its causes. Throws what a foreign error does when it is looked at. */
export function isCausedBy(error: unknown, cause: unknown): boolean {
  let e = error as SystemError | null | undefined;
  for (let i = 0; i < MOST_CAUSES && typeof e === "object" && e !== null; i++) {
    if (e === cause) return true;
    e = e.cause as typeof e;
  }
  return false;
}

function isBeforeSending(error: SystemError, code: string): boolean {
  if (NOT_CONNECTED.includes(code) || CERTIFICATE.test(code)) return true;
  // Node tries the addresses of a host one after the other: an AggregateError of all failures.
  if (Array.isArray(error.errors)) return error.errors.length > 0 && error.errors.every(isOfConnecting);
  return isOfConnecting(error);
}

/** Whether the system call that failed is one of those that come before any byte is sent. */
function isOfConnecting(error: SystemError | null | undefined): boolean {
  return error?.syscall === "connect" || error?.syscall === "getaddrinfo";
}

/** Whether it is undici's error for an argument. Throws what a foreign error does when it is looked at. */
export function isOfArguments(error: unknown): boolean {
  return OF_ARGUMENTS.includes((error as SystemError | null | undefined)?.code as string);
}

/** Whether it is undici's error for what the program has done: for an argument, or a dispatcher that is closed. */
export function isOfProgram(error: unknown): boolean {
  return isOfArguments(error) || OF_CLOSING.includes((error as SystemError | null | undefined)?.code as string);
}

/** Whether it is an error of undici, or of its socket. */
export function isOfConnection(error: unknown): boolean {
  const { code, syscall } = (error ?? {}) as SystemError;
  return (typeof code === "string" && code.startsWith("UND_ERR_")) || OF_SOCKETS.includes(syscall as string);
}

/** The error of a call that has failed with `cause`, of which `failure` is what is known. */
export function networkError(call: Call, phase: Phase, sent: Sent, failure: Failure, cause: unknown): NetworkError {
  const message = `call to ${call.host} failed in phase ${phase}: ${failure.text}`;
  return call.error(phase, sent, (details) => new NetworkError(message, details, failure.code), cause);
}

// What engines say in a TypeError of code that takes a value for what it is not. `fetch` never says so.
const MISTAKE =
  /^Cannot (read|set) propert|\bis not (a function|a constructor|iterable|an object)\b|\bis (undefined|null)$/;

/** Whether the error is one of code: of a mistake in a `fetch` that is not the host's. Never throws. */
export function isMistake(error: unknown): boolean {
  try {
    if (error instanceof TypeError) return error.cause === undefined && MISTAKE.test(error.message);
    return [ReferenceError, RangeError, SyntaxError, EvalError, URIError].some((type) => error instanceof type);
  } catch {
    return false;
  }
}
