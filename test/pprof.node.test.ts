/** The server in Node: whom it answers, and what clients that break rules, or leave, do to it: nothing. */
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect as connect2, createServer as createServer2 } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { Channel } from "gopark/channel";
import { counters } from "gopark/leak";
import { listen, nodeHandler, type Server } from "gopark/pprof/node";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { readProfile } from "./support/profile.ts";
import { run } from "./support/run.ts";
import { turn, turns } from "./support/turn.ts";

let server: Server;

beforeEach(async () => {
  server = await listen(0);
});

afterEach(() => server.close());

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

/** Sends a request as a client that may set any header. */
function ask(path: string, headers: Record<string, string> = {}, method = "GET", port = server.port): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (res) => {
      const chunks: Buffer[] = [];
      res.on("data", (chunk: Buffer) => chunks.push(chunk));
      res.on("end", () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) }));
      res.on("error", reject);
    })
      .on("error", reject)
      .end();
  });
}

/** Sends bytes as they are; resolves to all that comes back until the connection is closed. */
function sendRaw(text: string, port = server.port): Promise<string> {
  return new Promise((resolve) => {
    let all = "";
    const socket = connect(port, "127.0.0.1", () => socket.end(text));
    socket.on("data", (chunk) => (all += chunk)).on("error", () => {});
    socket.on("close", () => resolve(all));
  });
}

/** Waits, by turns of the event loop, until something is so. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn();
}

const recordings = () => counters()["pprof recording"] as number;

describe("listen", () => {
  test("serves the page, profiles and texts to this machine", async () => {
    const ch = new Channel<number>();
    const wait = ch.receive();
    const page = await ask("/debug/pprof/");
    expect([page.status, page.headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
    const { samples } = readProfile((await ask("/debug/pprof/goroutine")).body);
    expect(samples).toMatchObject([{ values: [1], labels: { kind: "chan receive" } }]);
    expect(`${(await ask("/debug/pprof/goroutine?debug=2")).body}`).toMatch(/^goroutine 1 \[chan receive\]:\n/);
    expect((await ask("/debug/pprof/heap", {}, "HEAD")).status).toBe(200);
    expect((await ask("/debug/pprof/goroutine", { host: "localhost" })).status).toBe(200);
    expect((await ask("/")).status).toBe(404);
    ch.close();
    await wait;
  });

  test.each([
    ["another host", { host: "evil.example" }],
    ["another host with the port", { host: "evil.example:6060" }],
    ["a page of another site", { "sec-fetch-site": "cross-site" }],
  ])("refuses a request that names %s", async (_, headers) => {
    for (const path of ["/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/profile?seconds=60", "/x"]) {
      const answer = await ask(path, headers);
      expect([answer.status, `${answer.body}`]).toEqual([403, "forbidden\n"]);
    }
  });

  test.each([
    ["GET http://evil.example/debug/pprof/goroutine HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 403],
    ["GET //evil.example/debug/pprof/goroutine HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 403],
    ["GET /debug/pprof/ HTTP/1.1\r\nConnection: close\r\n\r\n", 400],
    ["GET /debug/pprof/ HTTP/1.0\r\n\r\n", 400],
    ["GET /debug/pprof/ HTTP/1.1\r\nHost: 127.0.0.1@evil.example\r\nConnection: close\r\n\r\n", 400],
    ["GET /debug/pprof/ HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", 400],
    ["GET /debug/pprof/ HTTP/1.1\r\nHost: 127.0.0.1:99999\r\nConnection: close\r\n\r\n", 400],
    ["GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400],
    ["TRACE /debug/pprof/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400],
    ["OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 405],
    ["nonsense\r\n\r\n", 400],
    [`GET /debug/pprof/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${"x".repeat(100_000)}\r\n\r\n`, 431],
  ])("answers a malformed request: %j", async (text, status) => {
    expect(await sendRaw(text)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect((await ask("/debug/pprof/")).status).toBe(200);
  });

  test("takes the place of a recording away when its client leaves", async () => {
    for (let i = 0; i < 3; i++) {
      const sockets = [0, 1].map(() => {
        const socket = connect(server.port, "127.0.0.1");
        socket.write("GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        return socket;
      });
      await until(() => recordings() === 2);
      expect((await ask("/debug/pprof/profile?seconds=60")).status).toBe(429);
      for (const socket of sockets) socket.destroy();
      await until(() => recordings() === 0);
    }
  });

  test("stops a text whose client leaves, also one that does not read", async () => {
    const ch = new Channel<number>();
    const waits = Array.from({ length: 40_000 }, () => ch.receive());
    const socket = connect(server.port, "127.0.0.1");
    socket.write("GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const [first] = await new Promise<[Buffer]>((resolve) => socket.once("data", (chunk) => resolve([chunk])));
    expect(`${first}`).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    socket.pause();
    await turns(50); // The server fills what the connection holds, and waits until there is room.
    socket.destroy();
    await turns(5);
    expect((await ask("/debug/pprof/goroutine")).status).toBe(200);
    ch.close();
    await Promise.all(waits);
  });

  test("close ends recordings and connections, and may be called twice", async () => {
    const socket = connect(server.port, "127.0.0.1");
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.on("error", () => {});
    socket.write("GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await until(() => recordings() === 1);
    await server.close();
    await closed;
    await until(() => recordings() === 0);
    await server.close();
    await expect(ask("/debug/pprof/")).rejects.toThrow("ECONNREFUSED");
  });

  test("rejects if the port is taken, and serves on one that is free", async () => {
    await expect(listen(server.port)).rejects.toMatchObject({ code: "EADDRINUSE" });
    expect(server.port).toBeGreaterThan(0);
  });

  test.each([
    ["6060", TypeError, 'listen: port must be a whole number, got "6060"'],
    [-1, RangeError, "listen: port must be a whole number from 0"],
    [1.5, RangeError, "listen: port must be a whole number from 0"],
    [65_536, RangeError, "listen: port must be at most 65535, got 65536"],
  ])("refuses the port %o", async (port, type, message) => {
    const listening = listen(port as never);
    await expect(listening).rejects.toBeInstanceOf(type);
    await expect(listening).rejects.toThrow(message);
  });

  test("takes the options of a handler", async () => {
    await expect(listen(0, { maxSeconds: -1 })).rejects.toThrow("handler: maxSeconds must be above 0");
    await expect(listen(0, { allow: 5 as never })).rejects.toThrow("handler: allow must be a function, got 5");
    const other = await listen(0, { allow: () => true, maxSeconds: 7 });
    const answer = await ask("/debug/pprof/profile?seconds=8", { host: "evil.example" }, "GET", other.port);
    expect([answer.status, `${answer.body}`]).toEqual([400, "seconds must be a number above 0, at most 7\n"]);
    await other.close();
  });

  test("does not keep the process alive", async () => {
    const code = `
      import { listen } from "gopark/pprof/node";
      const { port } = await listen(0);
      const answer = await fetch(\`http://127.0.0.1:\${port}/debug/pprof/task?debug=1\`);
      console.log((await answer.text()).trim());
      setTimeout(() => { console.log("kept alive"); process.exit(9); }, 30_000).unref();`;
    expect(await run(code)).toEqual({ status: 0, out: "task profile: total 0\n", err: "" });
  });

  test("says what it needs on a Node that cannot hand out its modules", async () => {
    vi.spyOn(process, "getBuiltinModule").mockReturnValue(undefined as never);
    await expect(listen(0)).rejects.toThrow("listen: needs process.getBuiltinModule: Node 20.16 or later");
  });
});

describe("nodeHandler", () => {
  type Handle = (req: IncomingMessage, res: ServerResponse) => unknown;

  async function serving<R>(handle: Handle, use: (port: number) => Promise<R>): Promise<R> {
    const own = createServer(handle);
    await new Promise<void>((resolve) => own.listen(0, "127.0.0.1", resolve));
    try {
      return await use((own.address() as AddressInfo).port);
    } finally {
      own.closeAllConnections();
      await new Promise((resolve) => own.close(resolve));
    }
  }

  test("asks allow about the request as it came", async () => {
    const asked: string[] = [];
    const handle = nodeHandler({
      allow: ({ url, method, headers }) => {
        asked.push(`${method} ${url} ${headers.get("authorization")} ${headers.get("x-two")}`);
        return headers.get("authorization") === "Bearer s";
      },
    });
    await serving(handle, async (port) => {
      const headers = { host: "orders.example", authorization: "Bearer s", "x-two": "1, 2" };
      expect((await ask("/debug/pprof/task", headers, "GET", port)).status).toBe(200);
      expect((await ask("/debug/pprof/task", { authorization: "Bearer t" }, "GET", port)).status).toBe(403);
      expect(asked).toEqual([
        "GET http://orders.example/debug/pprof/task Bearer s 1, 2",
        `GET http://127.0.0.1:${port}/debug/pprof/task Bearer t null`,
      ]);
    });
  });

  test("reads the path that express has cut off from originalUrl", async () => {
    const handle = nodeHandler({ allow: () => true });
    const mounted: Handle = (req, res) => {
      Object.assign(req, { originalUrl: req.url, url: "/" });
      return handle(req, res);
    };
    await serving(mounted, async (port) => {
      const { status, body } = await ask("/debug/pprof/task?debug=1", {}, "GET", port);
      expect([status, `${body}`]).toEqual([200, "task profile: total 0\n"]);
    });
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("no key");
      },
      "no key",
    ],
    ["rejects", () => Promise.reject(new Error("no key")), "no key"],
    [
      "throws what is no error",
      () => {
        throw "no key";
      },
      "pprof: no key",
    ],
  ])("answers 500 and warns if allow %s", async (_, allow, message) => {
    const warned = vi.spyOn(process, "emitWarning").mockReturnValue(undefined);
    await serving(nodeHandler({ allow }), async (port) => {
      const answer = await ask("/debug/pprof/", {}, "GET", port);
      expect([answer.status, `${answer.body}`]).toEqual([500, "internal error\n"]);
    });
    expect(warned.mock.calls.map(([warning]) => (warning as Error).message)).toEqual([message]);
  });

  test("breaks the answer off where its body fails in the middle, and warns", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockReturnValue(undefined);
    const ch = new Channel<number>();
    const waits = Array.from({ length: 40_000 }, () => ch.receive());
    let encoded = 0;
    vi.spyOn(TextEncoder.prototype, "encode").mockImplementation((text) => {
      if (encoded++ === 1) throw new Error("no room");
      return Buffer.from(text ?? "") as never;
    });
    await serving(nodeHandler({ allow: () => true }), async (port) => {
      await expect(ask("/debug/pprof/goroutine?debug=2", {}, "GET", port)).rejects.toThrow("aborted");
    });
    expect(warned.mock.calls.map(([warning]) => (warning as Error).message)).toEqual(["no room"]);
    ch.close();
    await Promise.all(waits);
  });

  test("serves HTTP/2, whose requests name their host elsewhere", async () => {
    const handle = nodeHandler({ allow: ({ url }) => url.startsWith("http://localhost:") });
    const own = createServer2((req, res) => void handle(req, res));
    await new Promise<void>((resolve) => own.listen(0, "127.0.0.1", resolve));
    const client = connect2(`http://localhost:${(own.address() as AddressInfo).port}`);
    const stream = client.request({ ":path": "/debug/pprof/task?debug=1" });
    let body = "";
    stream.setEncoding("utf8").on("data", (chunk) => (body += chunk));
    await new Promise((resolve) => stream.on("end", resolve));
    expect(body).toBe("task profile: total 0\n");
    client.destroy();
    await new Promise((resolve) => own.close(resolve));
  });

  test("throws as handler does", () => {
    expect(() => nodeHandler({} as never)).toThrow("handler: allow must be a function, got undefined");
  });
});
