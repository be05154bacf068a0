/** notifyContext, and the drain of a server, in this process. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { contextOf, deadline, nodeHandler } from "gopark/admission";
import { background, Canceled, type Context, cause, withCancel } from "gopark/context";
import { type Drained, drain, notifyContext, SignalError } from "gopark/signal";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Client, listen, request, until } from "./support/sockets.ts";
import { turn } from "./support/turn.ts";

// It makes a certificate. Where it is missing, a test is skipped.
const openssl = spawnSync("openssl", ["version"]).status === 0;

const counts = (...names: string[]) => names.map((name) => process.listenerCount(name));

describe("notifyContext", () => {
  test("ends with the first of its signals, whose name is the cause", async () => {
    const before = counts("SIGUSR2", "SIGWINCH");
    const [ctx, stop] = notifyContext(undefined, "SIGUSR2", "SIGWINCH");
    expect(ctx.err()).toBeUndefined();
    process.kill(process.pid, "SIGWINCH");
    await until(() => ctx.err() !== undefined);
    expect(ctx.err()).toBeInstanceOf(Canceled);
    const error = cause(ctx) as SignalError;
    expect(error).toBeInstanceOf(SignalError);
    expect([error.name, error.message, error.signal]).toEqual(["SignalError", "SIGWINCH signal received", "SIGWINCH"]);
    // As in Go, further signals do nothing until stop is called.
    expect(counts("SIGUSR2", "SIGWINCH")).toEqual(before.map((n) => n + 1));
    stop();
    expect(counts("SIGUSR2", "SIGWINCH")).toEqual(before);
    expect(cause(ctx)).toBe(error);
  });

  test("stop ends the context with its cause, and twice is harmless; a scope stops at the end of its block", () => {
    const before = counts("SIGUSR2");
    const [ctx, stop] = notifyContext(undefined, "SIGUSR2");
    const why = new Error("why");
    stop(why);
    stop(new Error("other"));
    expect(cause(ctx)).toBe(why);
    let inner: Context;
    {
      using scope = notifyContext(undefined, "SIGUSR2");
      inner = scope.ctx;
      expect(counts("SIGUSR2")).toEqual(before.map((n) => n + 1));
      expect(scope.cancel).toBe(scope[1]);
    }
    expect(inner.err()).toBeInstanceOf(Canceled);
    expect(counts("SIGUSR2")).toEqual(before);
  });

  test("ends with its parent, and with one that has ended", () => {
    const [parent, cancel] = withCancel(undefined);
    const [ctx, stop] = notifyContext(parent, "SIGUSR2");
    cancel();
    expect(ctx.err()).toBe(parent.err());
    const [late, stopLate] = notifyContext(parent.signal, "SIGUSR2");
    expect(late.err()).toBe(parent.err());
    stop();
    stopLate();
  });

  test("without signals: SIGINT and SIGTERM", () => {
    const before = counts("SIGINT", "SIGTERM");
    const [, stop] = notifyContext(background());
    expect(counts("SIGINT", "SIGTERM")).toEqual(before.map((n) => n + 1));
    stop();
    expect(counts("SIGINT", "SIGTERM")).toEqual(before);
  });

  test.each([
    ["SIGKILL", RangeError],
    ["SIGSTOP", RangeError],
    ["SIGFOO", RangeError],
    ["exit", RangeError],
    ["constructor", RangeError],
    ["", RangeError],
    [15, TypeError],
    [undefined, TypeError],
  ])("%s is refused, and nothing is listened to", (name, error) => {
    const before = counts("SIGUSR2", String(name));
    expect(() => notifyContext(undefined, "SIGUSR2", name as string)).toThrow(error);
    expect(() => notifyContext(undefined, name as string)).toThrow("notifyContext: a signal must be");
    expect(counts("SIGUSR2", String(name))).toEqual(before);
  });

  test("a parent that is none is refused, and nothing is listened to", () => {
    const before = counts("SIGUSR2");
    expect(() => notifyContext(null as never, "SIGUSR2")).toThrow(TypeError);
    expect(() => notifyContext({} as never, "SIGUSR2")).toThrow(TypeError);
    expect(counts("SIGUSR2")).toEqual(before);
  });
});

type Handler = (req: IncomingMessage, res: ServerResponse) => unknown;

describe("drain", () => {
  const ended: (() => void)[] = [];
  afterEach(() => {
    for (const end of ended.splice(0)) end();
    vi.useRealTimers();
  });

  async function start(handler: Handler, grace?: number, server: Server = createServer()) {
    server.on("request", handler as never);
    server.keepAliveTimeout = 0; // No connection is closed by the server's own timer.
    const [ctx, cancel] = withCancel(undefined);
    const drained = drain(server, ctx, grace === undefined ? undefined : { grace });
    let result: Drained | undefined;
    void drained.then((it) => {
      result = it;
    });
    ended.push(
      () => cancel(),
      () => server.closeAllConnections(),
    );
    const port = await listen(server);
    return { server, port, cancel, drained, result: () => result };
  }

  async function clientOf(port: number): Promise<Client> {
    const client = await Client.to(port);
    ended.push(() => client.destroy());
    return client;
  }

  test("the server runs until the context ends; an idle one is closed at once, with connections that wait", async () => {
    const { server, port, cancel, drained, result } = await start((_, res) => res.end("x"));
    const client = await clientOf(port);
    await client.ask(request("GET /"));
    expect(result()).toBeUndefined();
    cancel();
    expect(await drained).toEqual({ cut: [], connections: 0 });
    await until(() => client.closed);
    expect(server.listening).toBe(false);
  });

  test("a connection that sends nothing is closed when it is five seconds old; one that sends in time is served", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    let connections = 0;
    const { server, port, cancel, drained, result } = await start((_, res) => res.end("x"), 60_000);
    server.on("connection", () => connections++);
    const old = await clientOf(port);
    await until(() => connections === 1);
    await vi.advanceTimersByTimeAsync(5000);
    const [silent, late] = [await clientOf(port), await clientOf(port)];
    await until(() => connections === 3);
    await vi.advanceTimersByTimeAsync(1000);
    cancel();
    await until(() => old.closed);
    await vi.advanceTimersByTimeAsync(3999);
    expect((await late.ask(request("GET /"))).headers.connection).toBe("close");
    expect([silent.closed, result()]).toEqual([false, undefined]);
    await vi.advanceTimersByTimeAsync(1);
    expect(await drained).toEqual({ cut: [], connections: 0 });
    await until(() => silent.closed && late.closed);
  });

  test("a connection that sends nothing is closed at the end of a grace that is shorter", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    let connections = 0;
    const { server, port, cancel, drained } = await start(() => {}, 1000);
    server.on("connection", () => connections++);
    const client = await clientOf(port);
    await until(() => connections === 1);
    cancel();
    await vi.advanceTimersByTimeAsync(1000);
    expect(await drained).toEqual({ cut: [], connections: 1 });
    await until(() => client.closed);
  });

  test("what runs ends by itself, with `Connection: close`; the drain waits for it", async () => {
    const held: ServerResponse[] = [];
    const { port, cancel, drained, result } = await start((_, res) => held.push(res));
    const client = await clientOf(port);
    client.send(request("GET /"));
    await until(() => held.length === 1);
    cancel();
    for (let i = 0; i < 10; i++) await turn();
    expect(result()).toBeUndefined();
    held[0]?.end("done");
    expect(await drained).toEqual({ cut: [], connections: 0 });
    await until(() => client.closed);
    expect(client.answers()[0]).toMatchObject({ body: "done", headers: { connection: "close" } });
  });

  test("an answer that had begun ends by itself too, and its connection is closed then", async () => {
    const held: ServerResponse[] = [];
    const { port, cancel, drained } = await start((_, res) => {
      res.writeHead(200, { "Content-Length": "4" }).write("do");
      held.push(res);
    });
    const client = await clientOf(port);
    client.send(request("GET /"));
    await until(() => held.length === 1);
    cancel();
    await turn();
    held[0]?.end("ne");
    expect(await drained).toEqual({ cut: [], connections: 0 });
    await until(() => client.closed);
    expect(client.answers()[0]).toMatchObject({ body: "done", headers: { connection: "keep-alive" } });
  });

  test("however many answers end in a turn, it does not look at all connections for each", async () => {
    const held: ServerResponse[] = [];
    const { server, port, cancel, drained } = await start((_, res) => held.push(res));
    for (let i = 0; i < 20; i++) (await clientOf(port)).send(request("GET /"));
    await until(() => held.length === 20);
    cancel();
    await turn();
    const looked = vi.spyOn(server, "closeIdleConnections");
    for (const res of held) res.emit("close");
    await until(() => looked.mock.calls.length > 0);
    await turn();
    expect(looked.mock.calls.length, "one, and perhaps that of the interval").toBeLessThan(3);
    for (const res of held) res.end();
    expect(await drained).toEqual({ cut: [], connections: 0 });
  });

  test("a request that comes on a connection on which another one runs is answered", async () => {
    const held: ServerResponse[] = [];
    const { port, cancel, drained } = await start((_, res) => held.push(res));
    const client = await clientOf(port);
    client.send(request("GET /1") + request("GET /2"));
    await until(() => held.length === 2);
    cancel();
    await turn();
    for (const res of held) res.end("x");
    expect((await drained).cut).toEqual([]);
    await until(() => client.closed);
    expect(client.answers().length).toBeGreaterThan(0);
  });

  test("after the grace, what is left is cut off, told, and its contexts end", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    const contexts: Context[] = [];
    const handler = nodeHandler([deadline({ timeout: 1e6 })], (req: IncomingMessage) => {
      contexts.push(contextOf(req));
    });
    const { port, cancel, drained, result } = await start(handler, 5000);
    const clients = [await clientOf(port), await clientOf(port)];
    clients[0]?.send(request("GET /first?q"));
    await until(() => contexts.length === 1);
    await vi.advanceTimersByTimeAsync(100);
    clients[1]?.send(request("POST /second", { "Content-Length": "10" }, "part"));
    await until(() => contexts.length === 2);
    cancel();
    await vi.advanceTimersByTimeAsync(4999);
    expect(result()).toBeUndefined();
    expect(contexts.map((ctx) => ctx.err())).toEqual([undefined, undefined]);
    await vi.advanceTimersByTimeAsync(1);
    expect(await drained).toEqual({
      cut: [
        { method: "GET", url: "/first?q", age: expect.closeTo(5100) },
        { method: "POST", url: "/second", age: expect.closeTo(5000) },
      ],
      connections: 2,
    });
    await until(() => contexts.every((ctx) => ctx.err() !== undefined) && clients.every((client) => client.closed));
  });

  test("the default grace is ten seconds, and 0 cuts off at once", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    for (const [grace, ms] of [
      [undefined, 10_000],
      [0, 0],
    ] as const) {
      let seen = 0;
      const { port, cancel, drained, result } = await start(() => seen++, grace);
      const client = await clientOf(port);
      client.send(request("GET /"));
      await until(() => seen === 1);
      cancel();
      await turn();
      if (ms > 0) {
        await vi.advanceTimersByTimeAsync(ms - 1);
        expect(result()).toBeUndefined();
        await vi.advanceTimersByTimeAsync(1);
      }
      expect((await drained).cut).toHaveLength(1);
      await until(() => client.closed);
    }
  });

  test("a connection that was taken over, as a WebSocket is, is closed at the end of the grace", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    const server = createServer();
    let upgraded = false;
    server.on("upgrade", (_, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
      upgraded = true;
    });
    const { port, cancel, drained, result } = await start(() => {}, 1000, server);
    const client = await clientOf(port);
    client.send(request("GET /", { Connection: "Upgrade", Upgrade: "x" }));
    await until(() => upgraded);
    cancel();
    await vi.advanceTimersByTimeAsync(999);
    expect(result()).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect(await drained).toEqual({ cut: [], connections: 1 });
    await until(() => client.closed);
  });

  test("connections from before its call: they are closed too, though nobody knows what ran on them", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    let seen = 0;
    const server = createServer(() => seen++);
    const port = await listen(server);
    const client = await clientOf(port);
    client.send(request("GET /"));
    await until(() => seen === 1);
    const [ctx, cancel] = withCancel(undefined);
    cancel();
    const drained = drain(server, ctx, { grace: 1000 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(await drained).toEqual({ cut: [], connections: 0 });
    await until(() => client.closed);
  });

  test("a socket that was taken over before its call does not keep it waiting for ever", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    const server = createServer();
    let upgraded = false;
    server.on("upgrade", () => (upgraded = true));
    const client = await clientOf(await listen(server));
    client.send(request("GET /", { Connection: "Upgrade", Upgrade: "x" }));
    await until(() => upgraded);
    const [ctx, cancel] = withCancel(undefined);
    cancel();
    const drained = drain(server, ctx, { grace: 0 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(await drained).toEqual({ cut: [], connections: 0 });
  });

  test("called when it is to stop, it ends soon after what was running then", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    let answer: (() => void) | undefined;
    const server = createServer((_, res) => {
      answer = () => res.end("late");
    });
    server.keepAliveTimeout = 0; // Node closes no idle connection by itself.
    const client = await clientOf(await listen(server));
    const answered = client.ask(request("GET /"));
    await until(() => answer !== undefined);
    const [ctx, cancel] = withCancel(undefined);
    cancel();
    const drained = drain(server, ctx, { grace: 60_000 });
    await vi.advanceTimersByTimeAsync(1000);
    answer?.();
    expect((await answered).body).toBe("late");
    await vi.advanceTimersByTimeAsync(250);
    expect(await drained).toEqual({ cut: [], connections: 0 });
  });

  test("a server that does not listen is drained", async () => {
    const [ctx, cancel] = withCancel(undefined);
    cancel();
    expect(await drain(createServer(), ctx)).toEqual({ cut: [], connections: 0 });
  });

  test("two of it at once", async () => {
    const { server, cancel, drained } = await start((_, res) => res.end());
    const [ctx, cancelOther] = withCancel(undefined);
    const other = drain(server, ctx);
    cancel();
    cancelOther();
    expect([await drained, await other]).toEqual(new Array(2).fill({ cut: [], connections: 0 }));
  });

  test("leaves no listener on the server", async () => {
    const server = createServer();
    const listeners = () => server.eventNames().map((name) => [name, server.listenerCount(name)]);
    const before = listeners();
    const [ctx, cancel] = withCancel(undefined);
    const drained = drain(server, ctx);
    expect(listeners()).not.toEqual(before);
    cancel();
    await drained;
    expect(listeners()).toEqual(before);
  });

  test.skipIf(!openssl)("TLS: the requests are told, and the connections are closed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gopark-tls-"));
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const args = [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-keyout",
      key,
      "-out",
      cert,
      "-days",
      "1",
      "-subj",
      "/CN=localhost",
    ];
    execFileSync("openssl", args, { stdio: "ignore" });
    const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) });
    rmSync(folder, { recursive: true });
    let seen = 0;
    const { port, cancel, drained } = await start(() => seen++, 0, server as never);
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.on("error", () => {});
    socket.write(request("GET /secret"));
    await until(() => seen === 1);
    cancel();
    const { cut, connections } = await drained;
    expect(cut.map(({ url }) => url)).toEqual(["/secret"]);
    expect(connections).toBe(1);
    await closed;
  });

  test.each([
    [
      "no server",
      [{}, "ctx"],
      TypeError,
      "drain: server must be one of node:http or node:https, got an object (Object)",
    ],
    ["nothing", [undefined, "ctx"], TypeError, "drain: server must be"],
    ["a context that never ends", ["server", undefined], TypeError, "drain: ctx must be a context that can end"],
    ["background", ["server", background()], TypeError, "drain: ctx must be a context that can end"],
    ["no context", ["server", {}], TypeError, ""],
    ["a negative grace", ["server", "ctx", { grace: -1 }], RangeError, "drain: grace must be 0 or more, got -1"],
    ["a grace that is no number", ["server", "ctx", { grace: "1" }], TypeError, "drain: grace must be a number"],
    ["NaN", ["server", "ctx", { grace: Number.NaN }], RangeError, "drain: grace"],
    ["options that are none", ["server", "ctx", 7], TypeError, "drain: options must be an object"],
  ])("rejects %s, with the server untouched", async (_, given, error, message) => {
    const server = createServer();
    const [ctx, cancel] = withCancel(undefined);
    const before = server.eventNames().length;
    const args = given.map((it) => (it === "server" ? server : it === "ctx" ? ctx : it)) as Parameters<typeof drain>;
    const failed = await drain(...args).catch((e: Error) => e);
    expect(failed).toBeInstanceOf(error);
    expect(String(failed)).toContain(message);
    expect(server.eventNames().length).toBe(before);
    cancel();
  });
});
