/**
 * Exchanges over the requests and responses of `node:http`, which Express, Fastify and Hono on Node hand on.
 *
 * The end of an answer is the `close` of the response. It comes after `finish` where the answer was sent whole, and
 * without it where the client has gone. The `close` of the request comes as soon as its body has been read, so it says
 * nothing. A response that waits for an earlier one of the same connection (pipelining) has no socket yet, and where
 * the client goes, it has no event on Node 20 and 22. Only for such a one the socket is listened to, until its end.
 */
import type { CancelScope, Context } from "../../context.ts";
import { isObject, show } from "../data/args.ts";
import { Exchange, type Refusal, type Step, UNANSWERED } from "./exchange.ts";

/** A request as `node:http` and `node:http2` hand it to a handler. */
export interface NodeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly socket: NodeSocket;
  /** What its body has failed with. */
  readonly errored?: Error | null;
}

/** The socket of a request. */
export interface NodeSocket {
  readonly remoteAddress?: string | undefined;
  readonly destroyed?: boolean;
  on(event: "close", listener: () => void): unknown;
  off(event: "close", listener: () => void): unknown;
}

/** The response to it. */
export interface NodeResponse {
  statusCode: number;
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  readonly writableFinished: boolean;
  readonly socket: unknown;
  readonly destroyed?: boolean;
  getHeader(name: string): unknown;
  setHeader(name: string, value: string): unknown;
  end(): unknown;
  end(text: string): unknown;
  on(event: "close", listener: () => void): unknown;
  destroy(): unknown;
}

export class NodeExchange extends Exchange {
  protected readonly handles: readonly object[];
  protected readonly req: NodeRequest;
  protected readonly res: NodeResponse;

  /** `handles`: the objects under which a handler knows the request. */
  constructor(
    newScope: (parent: Context | undefined) => CancelScope,
    req: NodeRequest,
    res: NodeResponse,
    handles: readonly object[],
  ) {
    super(newScope);
    this.req = req;
    this.res = res;
    this.handles = handles;
  }

  get method(): string {
    return this.req.method ?? "";
  }

  get url(): string {
    // Express cuts what a router has matched off `url`.
    return (this.req as { originalUrl?: string }).originalUrl ?? this.req.url ?? "";
  }

  get address(): string {
    return this.req.socket.remoteAddress ?? "";
  }

  header(name: string): string | undefined {
    const value = this.req.headers[name.toLowerCase()] as unknown;
    return typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : undefined;
  }

  protected watch(): void {
    const { res } = this;
    const { socket } = this.req;
    if (res.destroyed || socket.destroyed) {
      this.end(false, true); // It has gone before the steps, and its events have come.
      return;
    }
    res.on("close", () => {
      const whole = isWhole(res);
      this.end(whole && res.statusCode < 500, !whole);
    });
    if (res.socket !== null) return;
    const stop = onSocketClose(socket, () => this.end(false, true));
    res.on("close", stop);
  }

  protected addHeader(name: string, value: string): void {
    const { res } = this;
    if (!res.headersSent) res.setHeader(name, listOf(res.getHeader(name), value));
  }
}

/**
 * What waits for the close of a connection. One listener for all of it: a client may pipeline as many requests as it
 * likes, and Node warns of more than ten listeners.
 */
class SocketWaiters extends Set<() => void> {
  readonly onClose = (): void => {
    for (const fn of this) fn();
  };
}

const waitersOf = new WeakMap<NodeSocket, SocketWaiters>();

/** Calls `fn` when the socket is closed. Returns a function that takes that back. */
function onSocketClose(socket: NodeSocket, fn: () => void): () => void {
  let waiters = waitersOf.get(socket);
  if (waiters === undefined) {
    waiters = new SocketWaiters();
    waitersOf.set(socket, waiters);
  }
  const all = waiters;
  if (all.size === 0) socket.on("close", all.onClose);
  all.add(fn);
  return () => {
    all.delete(fn);
    if (all.size === 0) socket.off("close", all.onClose);
  };
}

/**
 * An exchange that goes on by itself after its steps, by one of three methods, or by none if nobody is there any more.
 */
export abstract class ServedExchange extends NodeExchange {
  protected abstract admitted(): void;
  protected abstract failed(error: unknown): void;

  protected refused(refusal: Refusal): void {
    refuse(this.res, refusal);
  }

  /** Runs the steps and goes on. What `admitted` and `failed` throw passes through if no step had to wait. */
  serve(steps: readonly Step[]): void {
    let decision: Refusal | undefined | Promise<Refusal | undefined>;
    try {
      decision = this.decide(steps);
    } catch (error) {
      this.failed(error);
      return;
    }
    if (decision === undefined) this.admitted();
    else if (decision instanceof Promise) this.goOnLater(decision);
    else this.goOn(decision);
  }

  private goOn(refusal: Refusal | undefined): void {
    if (refusal === undefined) {
      this.admitted();
    } else if (refusal !== UNANSWERED) {
      try {
        this.refused(refusal);
      } catch (error) {
        this.failed(error); // A header of a check that is none.
      }
    }
  }

  private goOnLater(decision: Promise<Refusal | undefined>): void {
    void decision.then(
      (refusal) => this.goOn(refusal),
      (error) => this.failed(error),
    );
  }
}

/**
 * What a check threw, as a framework takes for an error: Express goes on to the handler for a value that is falsy, and
 * for some texts, and Fastify for a value that is falsy.
 */
export function errorOf(thrown: unknown): Error {
  if (isObject(thrown)) return thrown as Error;
  return new Error(`a check threw ${show(thrown)}`, { cause: thrown });
}

/** Whether a response that is closed was sent to its end. */
function isWhole(res: NodeResponse): boolean {
  // One of HTTP/2 that was cut off is finished, and not ended. One that was ended on a connection that was broken
  // already, as by a handler of errors, is both. A response that was sent has left its socket.
  const { destroyed } = (res.socket ?? {}) as { destroyed?: boolean };
  return res.writableEnded && res.writableFinished && destroyed !== true;
}

/** A value after the one that is there, if any, as items of one list. */
export function listOf(before: unknown, value: string): string {
  return before === undefined ? value : `${before}, ${value}`;
}

const TEXTS: Readonly<Record<number, string>> = {
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** What stands in the body of a refusal. */
export function textOf(status: number): string {
  return `${TEXTS[status] ?? status}\n`;
}

export const TEXT_TYPE = "text/plain; charset=utf-8";

/** Answers a request that was refused, unless it has an answer. */
export function refuse(res: NodeResponse, { status, headers }: Refusal): void {
  if (res.headersSent || res.writableEnded) return;
  res.statusCode = status;
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, listOf(res.getHeader(name), value));
  res.setHeader("content-type", TEXT_TYPE);
  res.end(textOf(status));
}
