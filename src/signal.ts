/**
 * Signals of the system, and what a server does when one comes: a context that ends with a signal, and a drain that
 * lets what runs end. Node only.
 *
 * Rules of use:
 *
 * - Make one context of the signals at the start of the program, and pass it on to all that is to stop with it.
 * - Call `drain(server, ctx)` once for each server, right after `createServer`: it knows the requests that come after
 *   its call.
 * - While a context of `notifyContext` has not been stopped, its signals do nothing else: a second Ctrl-C does not end
 *   the program. To have it do so: `context.afterFunc(ctx, stop)`.
 *
 * ```ts
 * import { createServer } from "node:http";
 * import { context } from "gopark";
 * import { drain, notifyContext } from "gopark/signal";
 *
 * using scope = notifyContext(undefined, "SIGTERM", "SIGUSR2");
 * const server = createServer((_, res) => {
 *   res.end("done");
 *   process.kill(process.pid, "SIGUSR2"); // Stands for an orchestrator.
 * });
 * const drained = drain(server, scope.ctx, { grace: 5000 });
 * await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
 *
 * const { port } = server.address() as { port: number };
 * console.log(await (await fetch(`http://127.0.0.1:${port}/`)).text());
 * const { cut } = await drained;
 * console.log(String(context.cause(scope.ctx)), cut.length);
 * // Output:
 * // done
 * // SignalError: SIGUSR2 signal received 0
 * ```
 *
 * Ports NotifyContext of os/signal, and the job of `http.Server.Shutdown`. Differences from Go:
 *
 * - The cause of the context is a SignalError, which names the signal.
 * - `notifyContext` without signals takes SIGINT and SIGTERM. In Go it takes all.
 * - The second value of the pair, Go's `stop`, takes a cause, and is the disposer of the scope.
 * - Waiting for a signal does not keep the process alive. In Go the program ends with `main`.
 * - `drain` is called when the server starts, and not when it is to stop: it waits for the end of its context by
 *   itself. `Shutdown` waits without a limit unless its context has a deadline, and leaves what still runs then.
 *   `drain` closes that after its `grace`, and says what it was.
 * - Connections that were taken over, such as WebSockets, are closed too, at the end of the grace. `Shutdown` leaves
 *   them.
 */
import { type Cancel, type CancelFunc, type CancelScope, withCancel, withTimeout } from "./context.ts";
import { duration, isObject, optionsOf, show } from "./internal/data/args.ts";
import { brand } from "./internal/host/errors.ts";
import { builtin, host } from "./internal/host/host.ts";
import { registerOuter } from "./internal/track/tracker.ts";
import { contextOf } from "./internal/wait/signalcontext.ts";
import { afterFunc, now } from "./time.ts";

// Contexts and waits that are made inside these functions were made by their callers.
registerOuter(() => [notifyContext, drain]);

/** The cause of a context that a signal has ended. */
export class SignalError extends Error {
  static {
    brand(this, "SignalError");
  }

  /** "SIGTERM", for example. */
  readonly signal: string;

  constructor(signal: string) {
    super(`${signal} signal received`);
    this.signal = signal;
  }
}

/** What is used of Node's process. */
interface Process {
  on(name: string, listener: (name: string) => void): unknown;
  off(name: string, listener: (name: string) => void): unknown;
}

const UNCATCHABLE = ["SIGKILL", "SIGSTOP"];

/**
 * A child of `parent` that also ends when one of the signals comes, with a {@link SignalError} as its cause. Without
 * signals, those are SIGINT and SIGTERM.
 *
 * `stop`, the second of the pair, ends the context and lets the signals do again what they did before. Until then they
 * end nothing but the context. Call it on every path, as that of `withCancel`; twice is harmless.
 *
 * Throws as `withCancel`, TypeError if a signal is not a string, RangeError if the system has no such signal, or does
 * not let programs catch it, and an Error where there is no process.
 */
export function notifyContext(parent: Cancel | undefined, ...signals: readonly string[]): CancelScope {
  const names = signals.length === 0 ? ["SIGINT", "SIGTERM"] : signals.map(validSignal);
  const process = host.process as Process | undefined;
  if (typeof process?.on !== "function") throw new Error("notifyContext: needs the process of Node");
  const scope = withCancel(parent);
  const { cancel } = scope;
  const onSignal = (name: string) => cancel(new SignalError(name));
  for (const name of names) process.on(name, onSignal);
  const stop: CancelFunc = (cause) => {
    for (const name of names) process.off(name, onSignal);
    cancel(cause);
  };
  // Its disposer calls its `cancel`, and so `stop`.
  return Object.assign(scope, { 1: stop, cancel: stop });
}

function validSignal(name: string): string {
  if (typeof name !== "string") throw new TypeError(`notifyContext: a signal must be a string, got ${show(name)}`);
  // Node before 20.16 does not say which there are.
  const signals = builtin<{ constants: { signals: object } }>("node:os")?.constants?.signals;
  const isThere = signals === undefined ? /^SIG[A-Z\d]+$/.test(name) : Object.hasOwn(signals, name);
  if (isThere && !UNCATCHABLE.includes(name)) return name;
  throw new RangeError(`notifyContext: a signal must be one that can be caught, such as "SIGTERM", got ${show(name)}`);
}

/** What {@link drain} needs of a server: those of `node:http` and `node:https` have it. */
export interface DrainableServer {
  close(closed: () => void): unknown;
  closeIdleConnections(): void;
  closeAllConnections(): void;
  on(event: "connection", listener: (socket: DrainableSocket) => void): unknown;
  prependListener(event: "request", listener: (req: DrainableRequest, res: DrainableResponse) => void): unknown;
  off(event: "connection", listener: (socket: DrainableSocket) => void): unknown;
  off(event: "request", listener: (req: DrainableRequest, res: DrainableResponse) => void): unknown;
}

/** What it needs of a connection. */
export interface DrainableSocket {
  readonly bytesRead: number;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  on(event: "close", listener: () => void): unknown;
  destroy(): unknown;
}

/** What it needs of a request. */
export interface DrainableRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly socket: DrainableSocket;
}

/** What it needs of a response. */
export interface DrainableResponse {
  readonly headersSent: boolean;
  setHeader(name: string, value: string): unknown;
  on(event: "close", listener: () => void): unknown;
}

/** How a server is drained. */
export interface DrainOptions {
  /** How many milliseconds what runs has to end. 0 or more; 10 000 if left out. Infinity waits for all. */
  readonly grace?: number | undefined;
}

/** A request that was cut off. */
export interface CutRequest {
  readonly method: string;
  /** Path and query, as the client sent them. */
  readonly url: string;
  /** How many milliseconds it had been running. */
  readonly age: number;
}

/** How a drain went. */
export interface Drained {
  /** The requests that were cut off at the end of the grace, the oldest first. Empty if all ended by themselves. */
  readonly cut: readonly CutRequest[];
  /** How many connections were closed then: those of the requests, and others, such as WebSockets. */
  readonly connections: number;
}

/** How long to wait for connections that have been closed, in milliseconds. */
const CLOSING = 1000;

/**
 * After how many milliseconds a connection that has not sent anything counts as one on which nothing runs, as in Go.
 */
const SILENT = 5000;

/** How often to look for connections on which nothing runs any more, of which this does not know, in milliseconds. */
const LOOK = 250;

/**
 * Lets a server run until `ctx` ends, and drains it then: now, if it has ended.
 *
 * To drain is: to accept no connection any more, to close those on which nothing runs, to answer what runs with
 * `Connection: close`, and after the `grace` to close what is left, which ends the contexts of those requests
 * (`gopark/admission`). A connection that has not sent anything yet may be about to: it has until it is five seconds
 * old, as in Go, and until then the idle ones stay open too. Resolves when all connections have been closed. It knows
 * the requests and the connections that came after its call. Of others it counts neither, and a WebSocket among them
 * stays open. A request with `Expect: 100-continue` that a listener of `checkContinue` answers by itself is not
 * known either: let it call `res.writeContinue()` and `server.emit("request", req, res)`.
 *
 * Rejects, with the server untouched, with TypeError if `server` is no HTTP server of Node, or `ctx` can never end, as
 * `undefined` cannot; and with RangeError or TypeError if `grace` is not 0 or more.
 */
export async function drain(server: DrainableServer, ctx: Cancel, options?: DrainOptions): Promise<Drained> {
  const { grace = 10_000 } = optionsOf(options, "drain: options");
  if (duration(grace, "drain: grace") < 0) throw new RangeError(`drain: grace must be 0 or more, got ${grace}`);
  if (!isObject(server) || typeof server.closeIdleConnections !== "function") {
    throw new TypeError(`drain: server must be one of node:http or node:https, got ${show(server)}`);
  }
  const done = contextOf(ctx).done();
  if (done === null) throw new TypeError("drain: ctx must be a context that can end, such as that of notifyContext");

  const traffic = new Traffic(server);
  try {
    await done.receive();
    const within = withTimeout(undefined, grace);
    try {
      traffic.drain(within.cancel);
      await within.ctx.done()?.receive();
    } finally {
      within.cancel();
    }
    if (traffic.isClosed) return { cut: [], connections: 0 };
    const closing = withTimeout(undefined, CLOSING);
    try {
      const drained = traffic.cut(closing.cancel);
      await closing.ctx.done()?.receive();
      return drained;
    } finally {
      closing.cancel();
    }
  } finally {
    traffic.unlisten();
  }
}

interface Served {
  readonly req: DrainableRequest;
  readonly res: DrainableResponse;
  readonly since: number;
}

/** A connection: since when it is known, and what runs on it. */
interface Connection {
  readonly since: number;
  readonly served: Set<Served>;
}

/** The connections of a server, and what runs on them. */
class Traffic {
  private readonly server: DrainableServer;

  // A connection is here until it is closed. One of TLS is here twice: by the socket of the system, and from its first
  // request on by its own.
  private readonly connections = new Map<DrainableSocket, Connection>();

  // Looks for connections to close. Armed during the drain.
  private looking: ReturnType<typeof afterFunc> | undefined = undefined;

  private isLookingSoon = false;
  private draining = false;
  private serverClosed = false;

  // What waits for the close of everything.
  private onClosed: (() => void) | undefined = undefined;

  constructor(server: DrainableServer) {
    this.server = server;
    server.on("connection", this.onConnection);
    server.prependListener("request", this.onRequest); // A handler may answer at once.
  }

  unlisten(): void {
    this.server.off("connection", this.onConnection);
    this.server.off("request", this.onRequest);
    this.draining = false;
    this.looking?.stop();
  }

  /** Whether the server and all connections are closed. */
  get isClosed(): boolean {
    return this.serverClosed && this.connections.size === 0;
  }

  /** Accepts nothing any more, and closes each connection when nothing runs on it. Calls `closed` when all are. */
  drain(closed: () => void): void {
    this.onClosed = closed;
    this.draining = true;
    this.closeServer();
    this.closeIdle();
    for (const { served } of this.connections.values()) for (const { res } of served) askToClose(res);
  }

  private closeServer(): void {
    const { server } = this;
    const own = Object.getOwnPropertyDescriptor(server, "closeIdleConnections");
    // `close` calls it, and in Node 26 that closes connections that have not sent anything yet, whose request may be on
    // its way. Here `closeIdle` says when; there is no other way to stop listening alone.
    Object.defineProperty(server, "closeIdleConnections", { value: () => {}, configurable: true });
    try {
      // It reports an error if the server is not listening: then it is closed.
      server.close(() => {
        this.serverClosed = true;
        this.settleIfClosed();
      });
    } finally {
      if (own === undefined) Reflect.deleteProperty(server, "closeIdleConnections");
      else Object.defineProperty(server, "closeIdleConnections", own);
    }
  }

  /**
   * Closes the connections on which nothing runs. To Node before version 26 one that has not sent anything is busy;
   * from there on it is idle, so all idle ones have to wait until the youngest such connection is old enough.
   */
  private closeIdle(): void {
    const at = now();
    let next = Number.POSITIVE_INFINITY;
    for (const [socket, { since, served }] of this.connections) {
      if (served.size > 0 || socket.bytesRead > 0) continue;
      if (at - since >= SILENT) socket.destroy();
      else next = Math.min(next, since + SILENT);
    }
    if (next === Number.POSITIVE_INFINITY) this.server.closeIdleConnections();
    this.looking?.stop();
    this.isLookingSoon = false;
    if (this.draining && !this.isClosed) this.looking = afterFunc(Math.min(next - at, LOOK), () => this.closeIdle());
  }

  /** Closes idle connections, once for all answers that end together: each look is at every connection. */
  private lookSoon(): void {
    if (this.isLookingSoon) return;
    this.isLookingSoon = true;
    this.looking?.stop();
    this.looking = afterFunc(0, () => this.closeIdle());
  }

  /** Closes what is left, and says what that is. */
  cut(closed: () => void): Drained {
    const left = [...this.connections.values()].flatMap(({ served }) => [...served]).sort((a, b) => a.since - b.since);
    const at = now();
    const cut = left.map(({ req, since }) => ({ method: req.method ?? "", url: req.url ?? "", age: at - since }));
    const connections = this.countConnections();
    this.onClosed = closed;
    this.server.closeAllConnections();
    for (const socket of this.connections.keys()) socket.destroy();
    this.settleIfClosed();
    return { cut, connections };
  }

  private countConnections(): number {
    const ports = [...this.connections.keys()].map(({ remoteAddress, remotePort }) => `${remoteAddress} ${remotePort}`);
    // One of TLS is there twice. Those of a socket of the file system have no address.
    const unnamed = ports.filter((it) => it === "undefined undefined").length;
    return new Set(ports).size + Math.max(unnamed - 1, 0);
  }

  private settleIfClosed(): void {
    if (this.isClosed) this.onClosed?.();
  }

  private readonly onConnection = (socket: DrainableSocket): void => {
    this.servedOn(socket);
  };

  private readonly onRequest = (req: DrainableRequest, res: DrainableResponse): void => {
    const served = this.servedOn(req.socket);
    const one = { req, res, since: now() };
    served.add(one);
    res.on("close", () => {
      served.delete(one);
      if (this.draining) this.lookSoon(); // Where the answer had begun without `Connection: close`.
    });
    if (this.draining) askToClose(res);
  };

  private servedOn(socket: DrainableSocket): Set<Served> {
    const known = this.connections.get(socket);
    if (known !== undefined) return known.served;
    const served = new Set<Served>();
    this.connections.set(socket, { since: now(), served });
    socket.on("close", () => {
      this.connections.delete(socket);
      this.settleIfClosed();
    });
    return served;
  }
}

/** Asks the client to close the connection after this answer. */
function askToClose(res: DrainableResponse): void {
  if (!res.headersSent) res.setHeader("Connection", "close");
}
