/** What a call sends, and whether it may be sent again. */
import type { SafeInit } from "../../http.ts";
import { show } from "../data/args.ts";
import type { Cancel } from "../wait/source.ts";
import { copyOfBody, copyOfHeaders } from "./copies.ts";
import { isOfArguments } from "./network.ts";
import { isStream, isUsed, Upload } from "./upload.ts";

// Those that do nothing, and those that may be done twice (RFC 9110, section 9.2).
const SAFE = ["GET", "HEAD", "OPTIONS", "TRACE"];
const IDEMPOTENT = [...SAFE, "PUT", "DELETE"];

/** The arguments of `fetch` as they were at the call, for one or more attempts. */
export class Outgoing {
  readonly url: URL;
  readonly method: string;

  /** Whether it may be sent again although the server may have seen it. */
  readonly isIdempotent: boolean;

  /** Whether two may be under way at once. */
  readonly isSafe: boolean;

  /** Whether it can be sent again: a stream cannot. */
  readonly isReplayable: boolean;

  /** Whether one attempt may become several requests, of which the first servers have been reached. */
  readonly followsRedirects: boolean;

  // The arguments of the next attempt. A Request is cloned while further attempts may need it.
  private input: string | URL | Request;
  private readonly init: RequestInit;

  /** The body of the newest attempt, if it is a stream. */
  upload: Upload | undefined = undefined;

  // Whether the body of the newest attempt had been used before.
  private isBodyUsed = false;

  /** Throws TypeError for an invalid URL, and for an `idempotent` that is no boolean. */
  constructor(given: string | URL | Request, own: SafeInit) {
    const { ctx, timeout, idempotent, weight, ...init } = own;
    const request = isRequest(given) ? given : undefined;
    this.input = request ?? String(given);
    this.url = new URL(request?.url ?? (this.input as string), base());
    this.isReplayable = !isStream(init.body);
    // Those of a Request may change too; it has its body for itself.
    const headers = init.headers === undefined ? request?.headers : init.headers;
    if (headers !== undefined && headers !== null) init.headers = copyOfHeaders(headers);
    if (this.isReplayable && init.body !== undefined && init.body !== null) init.body = copyOfBody(init.body);
    this.init = init;
    this.method = (init.method ?? request?.method ?? "GET").toUpperCase();
    if (idempotent !== undefined && typeof idempotent !== "boolean") {
      throw new TypeError(`fetch: idempotent must be a boolean, got ${show(idempotent)}`);
    }
    this.isIdempotent = idempotent ?? IDEMPOTENT.includes(this.method);
    this.isSafe = SAFE.includes(this.method) && idempotent !== false;
    this.followsRedirects = (init.redirect ?? request?.redirect ?? "follow") === "follow";
  }

  /** The arguments of an attempt. `isLast`: there will be no other. Throws the host's TypeError for a used Request. */
  next(signal: AbortSignal, isLast: boolean): [input: string | URL | Request, init: RequestInit] {
    const { input, init } = this;
    const request = isRequest(input) ? input : undefined;
    const given = init.body ?? undefined;
    this.isBodyUsed = given === undefined ? request?.bodyUsed === true || isUsed(request?.body) : isUsed(given);
    if (request !== undefined && !isLast) this.input = request.clone();
    const body = given ?? request?.body; // After the clone, which has given the Request another.
    this.upload = isStream(body) && !this.isBodyUsed ? new Upload(body) : undefined;
    if (given === undefined || this.upload === undefined) return [input, { ...init, signal }];
    return [input, { ...init, body: this.upload.body as never, signal }];
  }

  /**
   * Whether an error that `fetch` rejected with is about its arguments, such as a GET with a body, a body that has been
   * used, or a URL that it takes nothing from. Where nothing else says so, a Request of the same arguments fails too.
   */
  refuses(error: unknown): boolean {
    try {
      // Inside: a foreign error may throw when it is looked at.
      if (!(error instanceof TypeError)) return false;
      if (error.cause !== undefined) return isOfUrl(error.cause) || isOfArguments(error.cause);
      const { input, init } = this;
      if (this.isBodyUsed) return true;
      // Another stream: the one that was sent is used by now.
      const body = isStream(init.body)
        ? new ReadableStream()
        : init.body === undefined || init.body === null
          ? null
          : "";
      new Request(isRequest(input) ? input.url : input, { ...init, body });
      return false;
    } catch (thrown) {
      return thrown instanceof TypeError;
    }
  }
}

/**
 * The call's own init. One that is not a plain object, such as a Request, has properties that a copy of it would lose.
 */
export function plainInit(input: string | URL | Request, init: SafeInit | undefined): [typeof input, SafeInit] {
  if (init === undefined || init === null) return [input, {}];
  const proto = Object.getPrototypeOf(init);
  if (proto === null || Object.getPrototypeOf(proto) === null) return [input, init];
  const { ctx, timeout, idempotent, weight } = init;
  const own = Object.entries({ ctx, timeout, idempotent, weight }).filter(([, value]) => value !== undefined);
  return [new Request(input, init), Object.fromEntries(own)];
}

/** What ends the call besides its deadline: its context, and the signal of its init or of its Request. */
export function sourcesOf(input: string | URL | Request, { ctx, signal }: SafeInit): Cancel[] {
  const theirs = signal === undefined && isRequest(input) ? input.signal : signal;
  return [ctx, theirs ?? undefined].filter((source) => source !== undefined);
}

function isRequest(input: string | URL | Request): input is Request {
  return typeof input === "object" && !(input instanceof URL) && typeof input?.url === "string";
}

/** Whether `fetch` says by this cause that it has no such scheme, or does not call such a port. */
function isOfUrl(cause: unknown): boolean {
  return cause instanceof Error && ["unknown scheme", "bad port"].includes(cause.message);
}

/** What a relative URL is resolved against, on a page. */
function base(): string | undefined {
  return (globalThis as { location?: { href?: string } }).location?.href;
}
