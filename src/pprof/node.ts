/**
 * The profiles of `gopark/pprof`, served by Node's own HTTP server. Node only.
 *
 * Ports the side of net/http/pprof that serves; the differences from Go are listed in `gopark/pprof`.
 *
 * Rules of use:
 *
 * - `await listen(6060)` at the start of the program is all that most services need. It listens on 127.0.0.1, answers
 *   only to requests that name this machine, and does not keep the process alive.
 * - Use `nodeHandler` in a server of your own: `node:http`, express, fastify (with its raw request and response).
 *
 * ```ts
 * import { listen } from "gopark/pprof/node";
 *
 * const server = await listen(0); // 6060 in a service; 0 is any free port.
 * const answer = await fetch(`http://127.0.0.1:${server.port}/debug/pprof/goroutine?debug=1`);
 * console.log(answer.status);
 * await server.close();
 * // Output:
 * // 200
 * ```
 */

import { optionsOf, wholeNumber } from "../internal/data/args.ts";
import { warn } from "../internal/host/async.ts";
import { builtin } from "../internal/host/host.ts";
import { type HandlerOptions, handler, isLocal } from "../pprof.ts";

/** A request as `node:http` and `node:http2` hand it to a handler. */
export interface NodeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** Express: the path before the router has cut its own off. */
  readonly originalUrl?: string | undefined;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/** The response to it. */
export interface NodeResponse {
  statusCode: number;
  readonly headersSent: boolean;
  setHeader(name: string, value: string): unknown;
  write(chunk: Uint8Array): boolean;
  end(): unknown;
  end(text: string): unknown;
  on(event: "close" | "drain" | "error", listener: () => void): unknown;
  off(event: "close" | "drain" | "error", listener: () => void): unknown;
  destroy(): unknown;
}

/**
 * `handler` of `gopark/pprof`, for Node's servers. It takes the same options, throws the same errors and gives the same
 * answers. When the client leaves, a recording ends, and a text is not made any further.
 *
 * The function that it returns never rejects. If `allow` throws, the answer is 500, and the error is a warning of the
 * process (`process.on("warning")`, printed unless that is turned off).
 */
export function nodeHandler(options: HandlerOptions): (req: NodeRequest, res: NodeResponse) => Promise<void> {
  const answer = handler(options);
  return async (req, res) => {
    const left = new AbortController();
    res.on("close", () => left.abort());
    res.on("error", () => left.abort());
    try {
      const request = requestOf(req, left.signal);
      if (request === undefined) {
        res.statusCode = 400;
        res.end("malformed request\n");
      } else {
        await send(await answer(request), res, left.signal);
      }
    } catch (error) {
      warn(error, "pprof");
      if (res.headersSent) {
        res.destroy(); // Its end would look like that of a whole answer.
      } else {
        res.statusCode = 500;
        res.end("internal error\n");
      }
    }
  };
}

/** The request in the form of the web; undefined if its host, path or a header is malformed. */
function requestOf(req: NodeRequest, signal: AbortSignal): Request | undefined {
  const { method = "GET", headers: given } = req;
  try {
    const headers = new Headers();
    for (const [name, values] of Object.entries(given)) {
      if (name.startsWith(":")) continue; // HTTP/2 has no header `host`, and others of its own.
      for (const value of [values ?? []].flat()) headers.append(name, value);
    }
    const url = new URL(req.originalUrl ?? req.url ?? "", `http://${given.host ?? given[":authority"] ?? ""}`);
    return new Request(url, { method, headers, signal });
  } catch {
    return undefined;
  }
}

/** Sends an answer; returns when it has been handed over, or the client has left. */
async function send(answer: Response, res: NodeResponse, left: AbortSignal): Promise<void> {
  const body = answer.body?.getReader();
  try {
    if (left.aborted) return;
    res.statusCode = answer.status;
    for (const [name, value] of answer.headers) res.setHeader(name, value);
    for (;;) {
      const { value, done } = (await body?.read()) ?? { done: true };
      if (left.aborted) return;
      if (done) break;
      if (!res.write(value as Uint8Array)) await drained(res);
    }
    res.end();
  } finally {
    await body?.cancel();
  }
}

/** Resolves when more can be written, or the client has left. */
function drained(res: NodeResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      res.off("drain", done);
      res.off("close", done);
      resolve();
    };
    res.on("drain", done);
    res.on("close", done);
  });
}

/** A server that {@link listen} has started. */
export interface Server {
  /** The port that it listens on. */
  readonly port: number;
  /**
   * Stops it, ends what is being recorded for its clients, and closes their connections. Resolves when that is done.
   */
  close(): Promise<void>;
}

/**
 * Serves the profiles at `http://127.0.0.1:PORT/debug/pprof/`, to this machine alone. Without an `allow` of your own,
 * {@link isLocal} decides. The server does not keep the process alive.
 *
 * Resolves when it listens. Rejects with RangeError or TypeError for a port that is not a whole number up to 65 535 (0
 * is any free one) and as `nodeHandler` throws, with the system's error if it cannot listen (`EADDRINUSE`), and with an
 * Error that says so on a Node before 20.16.
 */
export async function listen(port: number, options?: Partial<HandlerOptions>): Promise<Server> {
  if (wholeNumber(port, "listen: port") > 65_535)
    throw new RangeError(`listen: port must be at most 65535, got ${port}`);
  const { allow = isLocal, maxSeconds } = optionsOf(options, "listen: options");
  const handle = nodeHandler({ allow, maxSeconds });
  const http = builtin<Http>("node:http");
  if (http?.createServer === undefined) throw new Error("listen: needs process.getBuiltinModule: Node 20.16 or later");
  const server = http.createServer(handle);
  await new Promise<void>((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  server.on("error", (error) => warn(error, "pprof")); // `accept` failed: too many open files.
  server.unref();
  return {
    port: server.address().port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The module `node:http`, as far as it is used here. */
interface Http {
  createServer(handle: (req: NodeRequest, res: NodeResponse) => unknown): HttpServer;
}

interface HttpServer {
  on(event: "error", listener: (error: unknown) => void): unknown;
  listen(port: number, hostname: string, listening: () => void): unknown;
  address(): { readonly port: number };
  unref(): unknown;
  close(closed: () => void): unknown;
  closeAllConnections(): void;
}
