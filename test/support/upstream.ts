/** A `fetch` that a test answers by hand, and servers on the loopback that misbehave in each phase of a call. */
import { once } from "node:events";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** A request that has arrived, and has not been answered. */
export interface Arrived {
  readonly url: string;
  readonly input: string | URL | Request;
  readonly init: RequestInit;
  readonly signal: AbortSignal;
  answer(body?: ConstructorParameters<typeof Response>[0], init?: ResponseInit): void;
  fail(error: unknown): void;
}

/** A fake upstream. It heeds abort signals, unless it is told not to. */
export class Upstream {
  readonly arrived: Arrived[] = [];
  heeds = true;

  /** What answers the requests; undefined for by hand. */
  script: ((request: Arrived, n: number) => void) | undefined = undefined;

  readonly fetch = (input: string | URL | Request, init: RequestInit = {}): Promise<Response> =>
    new Promise((resolve, reject) => {
      const signal = init.signal as AbortSignal;
      if (this.heeds) signal.addEventListener("abort", () => reject(signal.reason));
      const request: Arrived = {
        url: input instanceof Request ? input.url : String(input),
        input,
        init,
        signal,
        answer: (body = "ok", given = {}) => resolve(new Response(body, given)),
        fail: reject,
      };
      this.arrived.push(request);
      this.script?.(request, this.arrived.length);
    });

  get last(): Arrived {
    return this.arrived.at(-1) as Arrived;
  }
}

/** As undici rejects: a TypeError whose cause has the code. */
export function fetchFailed(code: string, more: object = {}): TypeError {
  return new TypeError("fetch failed", { cause: Object.assign(new Error(code), { code }, more) });
}

/** What a promise rejects with. */
export async function errorOf(promise: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  try {
    await promise;
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error("it did not reject");
}

/** Counts events, and lets a test wait for so many of them. */
class Count {
  n = 0;
  private readonly waiting: (() => void)[] = [];

  add(): void {
    this.n++;
    for (const wake of this.waiting.splice(0)) wake();
  }

  async reaches(n: number): Promise<void> {
    while (this.n < n) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }
}

/** A server of `node:http`, and the base of its URLs. Close it by `await using`. */
export async function serve(handler: RequestListener): Promise<Server> {
  const requests = new Count();
  const leavers = new Count();
  const connections = new Count();
  const server = createHttpServer((req, res) => {
    res.on("close", () => {
      if (!res.writableFinished) leavers.add();
    });
    handler(req, res);
    requests.add();
  });
  server.on("connection", () => connections.add());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    base: `http://127.0.0.1:${port}`,
    port,
    connections,
    requests,
    leavers,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** A server of `node:net`: `handler` gets each connection. */
export async function serveRaw(handler: (socket: Socket) => void): Promise<Server> {
  const connections = new Count();
  const requests = new Count();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    socket.on("data", () => requests.add());
    handler(socket);
    connections.add();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    base: `http://127.0.0.1:${port}`,
    port,
    connections,
    requests,
    leavers: new Count(),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

export interface Server extends AsyncDisposable {
  readonly base: string;
  readonly port: number;
  readonly connections: Count;
  /** Requests that have arrived; of a raw server, chunks. */
  readonly requests: Count;
  /** Clients that left before the end of their answer. */
  readonly leavers: Count;
}

/** The path of a request picks how it is treated. */
export function misbehave(req: IncomingMessage, res: ServerResponse): void {
  const { pathname } = new URL(req.url ?? "/", "http://server");
  const behave = BEHAVIOURS[pathname];
  if (behave === undefined) res.end(`${req.method} ${pathname}`);
  else behave(req, res);
}

const BEHAVIOURS: Record<string, (req: IncomingMessage, res: ServerResponse) => void> = {
  // Phase headers.
  "/hang": () => {},
  "/reset": (req) => req.socket.resetAndDestroy(),
  "/garbage": (req) => void req.socket.end("not HTTP at all\r\n\r\n"),
  // Phase body.
  "/stall": (_, res) => void res.write("some"),
  "/resetbody": (req, res) => {
    res.writeHead(200, { "content-length": 100 });
    res.write("some", () => req.socket.resetAndDestroy());
  },
  "/short": (req, res) => {
    res.writeHead(200, { "content-length": 100 });
    res.write("some", () => req.socket.end());
  },
  "/badchunk": (req) =>
    void req.socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nxyz\r\n"),
  // Answers of all kinds.
  "/json": (_, res) => void res.end('{"ok":true}'),
  "/notjson": (_, res) => void res.end("<html>"),
  "/204": (_, res) => void res.writeHead(204).end(),
  "/304": (_, res) => void res.writeHead(304).end(),
  "/empty": (_, res) => void res.end(),
  "/500": (_, res) => void res.writeHead(500).end("broken"),
  "/503": (_, res) => void res.writeHead(503).end("busy"),
  "/redirect": (_, res) => void res.writeHead(302, { location: "/json" }).end(),
  "/form": (_, res) => void res.writeHead(200, { "content-type": "application/x-www-form-urlencoded" }).end("a=1&b=2"),
  "/huge": (req, res) => {
    const chunk = Buffer.alloc(65_536, "x");
    const write = () => {
      while (!req.socket.destroyed && res.write(chunk));
    };
    res.on("drain", write);
    write();
  },
};
