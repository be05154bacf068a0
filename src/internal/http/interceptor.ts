/**
 * The limits of a caller for undici's own API: an interceptor of its dispatchers.
 *
 * A handler comes in one of two styles: undici 7 and 8 call `onRequestStart` and what follows it with a controller;
 * undici 6 calls `onConnect` with a function that aborts. A handler learns how to abort only when its request starts.
 * `fetch` has no other way to end one that waits. So it is started at once, with a controller of ours; when undici
 * starts the request, later, ours passes on to undici's.
 */

import type { InterceptorOptions } from "../../http.ts";
import { isObject, optionsOf, show } from "../data/args.ts";
import type { Element } from "../data/list.ts";
import { guarded, reaction } from "../host/async.ts";
import type { Ending } from "../wait/endings.ts";
import { sourceOf } from "../wait/foreign.ts";
import type { Dependent } from "../wait/source.ts";
import { type Phase as EndPhase, PHASE_ABORT } from "../wait/waitable.ts";
import { Call } from "./call.ts";
import type { Phase, Sent } from "./errors.ts";
import { type Entry, Gate } from "./gate.ts";
import { type Host, NOT_COUNTED } from "./hosts.ts";
import { failureOf, isOfConnection, isOfProgram, networkError } from "./network.ts";
import { LimitPolicy } from "./options.ts";
import { isStream, Upload } from "./upload.ts";

/** Undici's controller of a request that has started. */
interface Controller {
  abort(reason: unknown): void;
  pause?(): void;
  resume?(): void;
  readonly rawHeaders?: unknown;
  readonly rawTrailers?: unknown;
}

/** A handler of either style. */
interface Handler {
  onRequestStart?(controller: OwnController, context: object): void;
  onRequestUpgrade?(controller: OwnController, ...rest: unknown[]): void;
  onResponseStart?(controller: OwnController, status: number, ...rest: unknown[]): void;
  onResponseData?(controller: OwnController, chunk: unknown): void;
  onResponseEnd?(controller: OwnController, trailers: unknown): void;
  onResponseError?(controller: OwnController, error: unknown): void;
  onConnect?(abort: (reason?: unknown) => void, context: object): void;
  onUpgrade?(...args: unknown[]): void;
  onHeaders?(status: number, ...rest: unknown[]): boolean;
  onData?(chunk: unknown): boolean;
  onComplete?(trailers: unknown): void;
  onError?(error: unknown): void;
  onBodySent?(...args: unknown[]): unknown;
  onRequestSent?(...args: unknown[]): unknown;
  onResponseStarted?(...args: unknown[]): unknown;
}

type Dispatch = (options: DispatchOptions, handler: object) => boolean;

interface DispatchOptions {
  readonly origin?: string | URL;
  readonly path?: string;
  readonly method?: string;
  readonly body?: unknown;
}

/**
 * What a request is counted under. A client or a pool has one origin, which its requests do not name: `own` stands for
 * it. The path goes as it is, and cannot change the host: `//b` is a path, and so are `*` and `http://b/`.
 */
function urlOf({ origin, path = "/" }: DispatchOptions, own: string): URL {
  let url = new URL(own);
  try {
    const given = new URL(origin ?? own);
    if (given.host !== "") url = given;
  } catch {
    // Undici refuses it, or has an origin of its own and does not look at it.
  }
  const [pathname = "", ...search] = String(path).split("?");
  url.pathname = pathname;
  url.search = search.join("?");
  return url;
}

/** What `interceptor` returns. */
export function interceptorOf(options: InterceptorOptions | undefined): (dispatch: Dispatch) => Dispatch {
  const policy = new LimitPolicy(optionsOf(options, "interceptor: options"), "interceptor");
  const gate = new Gate(policy);
  let composed = 0;
  return (dispatch) => {
    const own = `http://client-${++composed}.invalid`;
    return (request, handler) => {
      if (!isObject(handler)) throw new TypeError(`interceptor: handler must be an object, got ${show(handler)}`);
      const url = urlOf(request, own);
      const call = { method: request.method ?? "GET", url };
      const upload = isStream(request.body) ? new Upload(request.body) : undefined;
      const sent = upload === undefined || upload.body === request.body ? request : { ...request, body: upload.body };
      const exchange = new Exchange(handler as Handler, gate.hosts.at(url), call, policy.timeout, upload);
      void exchange.run(gate, (inner) => dispatch(sent, inner));
      return true;
    };
  };
}

/** What the handler aborts and pauses its request by, before undici has started it and after. */
class OwnController implements Controller {
  paused = false;
  aborted = false;
  reason: unknown = null;

  // Undici's, once the request has started.
  private real: Controller | undefined = undefined;
  private readonly onAbort: (reason: unknown) => void;

  constructor(onAbort: (reason: unknown) => void) {
    this.onAbort = onAbort;
  }

  get rawHeaders(): unknown {
    return this.real?.rawHeaders ?? null;
  }

  get rawTrailers(): unknown {
    return this.real?.rawTrailers ?? null;
  }

  abort(reason?: unknown): void {
    this.onAbort(reason ?? new DOMException("The operation was aborted.", "AbortError"));
  }

  pause(): void {
    this.paused = true;
    this.real?.pause?.();
  }

  resume(): void {
    this.paused = false;
    this.real?.resume?.();
  }

  /** Aborts undici's request, now or as soon as it starts. */
  stop(reason: unknown): void {
    this.aborted = true;
    this.reason = reason;
    this.real?.abort(reason);
  }

  /** Undici has started the request, perhaps again. */
  passOnTo(real: Controller): void {
    this.real = real;
    if (this.aborted) real.abort(this.reason);
    else if (this.paused) real.pause?.();
  }

  hasStarted(): boolean {
    return this.real !== undefined;
  }
}

/** One request: what its handler sees of it, and what it holds. */
class Exchange implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  private readonly handler: Handler;
  private readonly controller = new OwnController((reason) => this.stop(reason, NOT_COUNTED));
  private readonly context: object = {};
  private readonly stopLater = reaction(() => this.stopByContext());

  private readonly host: Host;
  private readonly call: Call;
  private readonly upload: Upload | undefined;

  // From the gate to the end of the request in undici.
  private entry: Entry | undefined = undefined;
  private status = 0;

  // Whether the handler has been told the end.
  private over = false;

  // What the handler has thrown: undici ends the request with it.
  private thrown: { readonly error: unknown } | undefined = undefined;

  constructor(handler: Handler, host: Host, request: Call["request"], timeout: number, upload: Upload | undefined) {
    this.handler = handler;
    this.host = host;
    this.call = new Call(host.key, request, [], timeout);
    this.upload = upload;
  }

  /** Starts the request, and hands it on when it has been let through. Never rejects. */
  async run(gate: Gate, dispatch: (handler: object) => void): Promise<void> {
    const { call, handler, controller } = this;
    sourceOf(call.ctx).link(this);
    try {
      if (handler.onRequestStart !== undefined) handler.onRequestStart(controller, this.context);
      else handler.onConnect?.((reason) => controller.abort(reason), this.context);
      this.entry = await gate.enter(call, this.host, 1);
      if (this.over) this.finish(NOT_COUNTED);
      else dispatch(handler.onRequestStart === undefined ? this.oldStyle() : this.newStyle());
    } catch (error) {
      this.finish(NOT_COUNTED);
      this.fail(error);
    }
  }

  // As what depends on the context of the call: its deadline.

  ended(_: Ending): EndPhase {
    return PHASE_ABORT;
  }

  afterEnd(_: Ending, byCaller: boolean): void {
    if (byCaller) this.stopByContext();
    else this.stopLater();
  }

  private stopByContext(): void {
    if (this.over) return;
    const error = this.call.endError(...this.progress());
    this.stop(error, error);
  }

  private progress(): [Phase, Sent] {
    if (this.entry === undefined) return ["queue", "no"];
    if (this.status > 0) return ["body", "yes"];
    return this.controller.hasStarted() ? ["headers", "maybe"] : ["connect", "no"];
  }

  /** Ends the request early; `end` is what the breaker is told. Its slot stays taken until undici has ended it. */
  private stop(reason: unknown, end: unknown): void {
    if (this.over) return;
    this.count(end);
    this.controller.stop(reason);
    this.fail(reason);
    this.call.finish();
  }

  /** Tells the handler the end, once. */
  private fail(error: unknown): void {
    if (this.over) return;
    this.over = true;
    const { handler, controller } = this;
    guarded(() => {
      if (handler.onRequestStart === undefined) handler.onError?.(error);
      else handler.onResponseError?.(controller, error);
    });
  }

  /** Undici has ended the request, or never got it. */
  private finish(end: unknown): void {
    this.count(end);
    const { entry } = this;
    this.entry = undefined;
    entry?.slot.release();
    sourceOf(this.call.ctx).unlink(this);
    this.call.finish();
  }

  /** Undici has ended the request with an error. */
  private failed(error: unknown): void {
    if (this.over) {
      this.finish(NOT_COUNTED);
      return;
    }
    const [shown, end] = this.judge(error);
    this.finish(end);
    this.fail(shown);
  }

  /** What the handler gets for undici's error, and what the breaker is told. */
  private judge(error: unknown): [shown: unknown, end: unknown] {
    const { thrown, controller } = this;
    if (controller.aborted) return [controller.reason, NOT_COUNTED]; // Undici has heeded it at once.
    try {
      if ((thrown !== undefined && thrown.error === error) || isOfProgram(error)) return [error, NOT_COUNTED];
      const status = statusOf(error);
      if (status !== undefined) return [error, status >= 500 ? error : undefined];
    } catch {
      // A foreign one that throws when it is looked at.
    }
    const shown = networkError(this.call, ...this.progress(), failureOf(error), error);
    return [shown, this.isOfUpload(error) ? NOT_COUNTED : shown];
  }

  /** Whether the body that was to be sent has failed by itself. Undici destroys that of Node with its own error. */
  private isOfUpload(error: unknown): boolean {
    const { upload } = this;
    return upload?.hasFailed(error) === true && !(upload.isOfNode() && isOfConnection(error));
  }

  /** Calls the handler. */
  private passOn<T>(fn: () => T): T {
    try {
      return fn();
    } catch (error) {
      this.thrown = { error };
      throw error;
    }
  }

  private count(end: unknown): void {
    const counted = this.entry?.counted;
    if (this.entry === undefined || counted === undefined) return;
    this.entry = { ...this.entry, counted: undefined };
    this.host.count(counted, end);
  }

  private answered(status: number): void {
    if (status >= 200) this.status = status; // Not a provisional answer.
    if (status >= 500) this.count(status);
  }

  private newStyle(): Handler {
    const { handler, controller } = this;
    return {
      onRequestStart: (real, context) => {
        Object.assign(this.context, context);
        controller.passOnTo(real);
      },
      onRequestUpgrade: (_, ...rest) => {
        this.finish(undefined);
        this.over = true;
        handler.onRequestUpgrade?.(controller, ...rest);
      },
      onResponseStart: (_, status, ...rest) => {
        this.answered(status);
        this.passOn(() => handler.onResponseStart?.(controller, status, ...rest));
      },
      onResponseData: (_, chunk) => this.passOn(() => handler.onResponseData?.(controller, chunk)),
      onResponseEnd: (_, trailers) => {
        this.finish(undefined);
        this.over = true;
        handler.onResponseEnd?.(controller, trailers);
      },
      onResponseError: (_, error) => this.failed(error),
      ...this.both(),
    };
  }

  private oldStyle(): Handler {
    const { handler, controller } = this;
    return {
      onConnect: (abort, context) => {
        Object.assign(this.context, context);
        controller.passOnTo({ abort });
      },
      onUpgrade: (...args) => {
        this.finish(undefined);
        this.over = true;
        handler.onUpgrade?.(...args);
      },
      onHeaders: (status, ...rest) => {
        this.answered(status);
        return this.passOn(() => handler.onHeaders?.(status, ...rest)) ?? true;
      },
      onData: (chunk) => this.passOn(() => handler.onData?.(chunk)) ?? true,
      onComplete: (trailers) => {
        this.finish(undefined);
        this.over = true;
        handler.onComplete?.(trailers);
      },
      onError: (error) => this.failed(error),
      ...this.both(),
    };
  }

  /** What handlers of both styles may have. */
  private both(): Handler {
    const { handler } = this;
    return {
      onBodySent: (...args) => handler.onBodySent?.(...args),
      onRequestSent: (...args) => handler.onRequestSent?.(...args),
      onResponseStarted: (...args) => handler.onResponseStarted?.(...args),
    };
  }
}

/** The status of an answer that another of undici's interceptors has made an error of. */
function statusOf(error: unknown): number | undefined {
  const status = (error as { readonly statusCode?: unknown } | null | undefined)?.statusCode;
  return typeof status === "number" ? status : undefined;
}
