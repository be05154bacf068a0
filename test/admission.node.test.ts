/** nodeHandler over real connections: what it admits, when a request has ended, and when its client has gone. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect as connectH2, createServer as createH2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import {
  type Check,
  ClientGoneError,
  contextOf,
  deadline,
  nodeHandler,
  type Step,
  shed,
  type Verdict,
} from "gopark/admission";
import { Canceled, type Context, cause, DeadlineExceeded, withTimeout } from "gopark/context";
import { sleep } from "gopark/time";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Client, close, listen, request, until } from "./support/sockets.ts";
import { unhandledDuring } from "./support/unhandled.ts";

let server: Server | undefined;
let clients: Client[] = [];
// What handlers and checks have failed with.
let reported: unknown[] = [];
const report = (error: unknown) => void reported.push(error);
afterEach(async () => {
  reported = [];
  for (const client of clients) client.destroy();
  clients = [];
  vi.useRealTimers();
  if (server !== undefined) await close(server);
  server = undefined;
});

type Handler = (req: IncomingMessage, res: ServerResponse) => unknown;

async function serve(steps: readonly Step[], handler: Handler): Promise<number> {
  server = createServer(nodeHandler(steps, handler, { report }));
  return listen(server);
}

async function clientOf(port: number): Promise<Client> {
  const client = await Client.to(port);
  clients.push(client);
  return client;
}

/** A check that admits, and notes how each request ended. */
function noting(ends: boolean[]): Check {
  return { check: () => ({ admit: true, done: (ok) => ends.push(ok) }) };
}

const within = deadline({ timeout: 60_000 });

describe("the end of a request", () => {
  test("the context is alive after the body of a POST was read, and ends with the answer", async () => {
    let ctx: Context | undefined;
    const port = await serve([within], async (req, res) => {
      ctx = contextOf(req);
      let body = "";
      for await (const chunk of req) body += chunk;
      await sleep(5, ctx); // The `close` of the request comes before that.
      res.end(`${body} ${req.destroyed} ${ctx.err()}`);
    });
    const client = await clientOf(port);
    expect((await client.ask(request("POST /", {}, "body"))).body).toBe("body true undefined");
    await until(() => ctx?.err() !== undefined);
    expect(ctx?.err()).toBeInstanceOf(Canceled);
    expect(cause(ctx)).toBe(ctx?.err());
  });

  test("a client that breaks off after its body ends the context, with ClientGoneError as the cause", async () => {
    let ctx: Context | undefined;
    const ends: boolean[] = [];
    const port = await serve([within, noting(ends)], async (req) => {
      for await (const _ of req);
      ctx = contextOf(req);
    });
    const client = await clientOf(port);
    client.send(request("POST /", {}, "body"));
    await until(() => ctx !== undefined);
    expect(ctx?.err()).toBeUndefined();
    client.destroy();
    await until(() => ctx?.err() !== undefined);
    expect(ctx?.err()).toBeInstanceOf(Canceled);
    expect(cause(ctx)).toBeInstanceOf(ClientGoneError);
    expect(String(cause(ctx))).toBe("ClientGoneError: the client has gone");
    expect(ends).toEqual([false]);
  });

  test("a client that breaks off in its upload does too", async () => {
    let ctx: Context | undefined;
    let failed: unknown;
    const port = await serve([within], async (req) => {
      ctx = contextOf(req);
      try {
        for await (const _ of req);
      } catch (error) {
        failed = error;
      }
    });
    const client = await clientOf(port);
    client.send(request("POST /", { "Content-Length": "100" }, "body"));
    await until(() => ctx !== undefined);
    client.destroy();
    await until(() => ctx?.err() !== undefined && failed !== undefined);
    expect(cause(ctx)).toBeInstanceOf(ClientGoneError);
    expect(String(failed)).toBe("Error: aborted");
  });

  test("also where the handler answers the upload that has broken off", async () => {
    let ctx: Context | undefined;
    const ends: boolean[] = [];
    const port = await serve([within, noting(ends)], (req, res) => {
      ctx = contextOf(req);
      req.on("aborted", () => res.writeHead(400).end());
      req.on("error", () => {});
    });
    const client = await clientOf(port);
    client.send(request("POST /", { "Content-Length": "100" }, "body"));
    await until(() => ctx !== undefined);
    client.destroy();
    await until(() => ctx?.err() !== undefined);
    expect(cause(ctx)).toBeInstanceOf(ClientGoneError);
    expect(ends).toEqual([false]);
  });

  // The second request has been read while the first one runs, and its response has no connection yet.
  test.each([
    ["GET", request("GET /"), 2],
    ["POST whose body was read", request("POST /", {}, "abc"), 3],
    ["POST that is still being sent", request("POST /", { "Content-Length": "9" }, "abc"), 2],
  ])("so does one with a pipelined second %s", async (_, second, reads) => {
    const contexts: Context[] = [];
    const ends: boolean[] = [];
    let read = 0;
    const port = await serve([within, noting(ends)], async (req) => {
      contexts.push(contextOf(req));
      req.on("error", () => {});
      req.on("data", () => read++);
      req.on("end", () => read++);
    });
    const client = await clientOf(port);
    client.send(request("GET /first") + second);
    await until(() => contexts.length === 2 && read === reads); // All that is there of the bodies has been read.
    client.destroy();
    await until(() => ends.length === 2);
    for (const ctx of contexts) expect(cause(ctx)).toBeInstanceOf(ClientGoneError);
    expect(ends).toEqual([false, false]);
  });

  test("pipelined requests that are answered leave no listener on the connection", async () => {
    const ends: boolean[] = [];
    const held: ServerResponse[] = [];
    const sockets = new Set<IncomingMessage["socket"]>();
    const port = await serve([within, noting(ends)], (req, res) => {
      sockets.add(req.socket);
      held.push(res);
    });
    const client = await clientOf(port);
    const ask = async (n: number) => {
      client.send(request("GET /").repeat(n));
      await until(() => held.length === n);
      for (const res of held.splice(0)) res.end("x");
      const before = ends.length;
      await until(() => ends.length === before + n);
    };
    await ask(1);
    const [socket] = sockets as Iterable<IncomingMessage["socket"]>;
    const listeners = socket?.listenerCount("close");
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    await ask(3);
    await ask(40); // More than the listeners that Node takes without a warning.
    expect(warned).not.toHaveBeenCalled();
    expect(ends).toEqual(new Array(44).fill(true));
    expect(sockets.size).toBe(1);
    expect(socket?.listenerCount("close")).toBe(listeners);
  });

  test("each request of a kept connection has a context of its own, and adds no listener to the connection", async () => {
    const contexts: Context[] = [];
    const counts: number[] = [];
    const port = await serve([within, shed({ maxLoopDelay: Number.POSITIVE_INFINITY })], (req, res) => {
      contexts.push(contextOf(req));
      const names = req.socket.eventNames();
      counts.push(names.reduce((sum, name) => sum + req.socket.listenerCount(name), 0));
      res.end();
    });
    const client = await clientOf(port);
    for (let i = 0; i < 20; i++) await client.ask(request("GET /"));
    await until(() => contexts.every((ctx) => ctx.err() !== undefined));
    expect(new Set(contexts).size).toBe(20);
    expect(new Set(counts).size).toBe(1);
  });

  test("an answer of 500 and above is not ok, nor one that was not sent whole", async () => {
    const ends: boolean[] = [];
    const port = await serve([noting(ends)], (req, res) => {
      res.statusCode = Number(req.url?.slice(1));
      if (res.statusCode === 299) res.writeHead(200, { "Content-Length": "1000" }).write("part");
      else res.end();
    });
    const client = await clientOf(port);
    for (const status of [200, 404, 499, 500, 503]) await client.ask(request(`GET /${status}`));
    expect(ends).toEqual([true, true, true, false, false]);
    client.send(request("GET /299"));
    await until(() => client.socket.bytesRead > 0 && server?.listening === true);
    client.destroy();
    await until(() => ends.length === 6);
    expect(ends[5]).toBe(false);
  });

  test("an answer of HTTP/2 that was cut off is not ok", async () => {
    const ends: boolean[] = [];
    const contexts: Context[] = [];
    const h2 = createH2Server(
      nodeHandler([within, noting(ends)], (req, res) => {
        contexts.push(contextOf(req));
        if (req.url === "/whole") res.end("x");
      }),
    );
    await new Promise<void>((resolve) => h2.listen(0, "127.0.0.1", resolve));
    const session = connectH2(`http://127.0.0.1:${(h2.address() as AddressInfo).port}`);
    const whole = session.request({ ":path": "/whole" }).resume();
    await new Promise((resolve) => whole.on("close", resolve));
    const cut = session.request({ ":path": "/cut" });
    await until(() => contexts.length === 2);
    cut.close(8);
    await until(() => ends.length === 2);
    expect(ends).toEqual([true, false]);
    expect(cause(contexts[1])).toBeInstanceOf(ClientGoneError);
    session.close();
    await new Promise<void>((resolve) => h2.close(() => resolve()));
  });
});

describe("the steps", () => {
  test("of a request whose client has gone already hold nothing, and the handler is not called", async () => {
    let go: (() => void) | undefined;
    const ends: boolean[] = [];
    const handler = vi.fn();
    const inner = nodeHandler([within, noting(ends)], handler);
    const requests: [IncomingMessage, ServerResponse][] = [];
    const port = await serve([], async (req, res) => {
      requests.push([req, res]);
      req.resume().on("error", () => {});
      await new Promise<void>((resolve) => (go = resolve)); // As a middleware that waits.
      inner(req, res);
    });
    const client = await clientOf(port);
    client.send(request("POST /", {}, "abc") + request("POST /", {}, "abc"));
    await until(() => requests.length === 2 && requests.every(([req]) => req.complete));
    client.destroy();
    await until(() => requests.every(([req]) => req.socket.destroyed));
    for (const [req, res] of requests) {
      inner(req, res);
      expect(() => contextOf(req)).not.toThrow();
      expect(contextOf(req).err()).toBeInstanceOf(Canceled);
    }
    expect(handler).not.toHaveBeenCalled();
    expect(ends).toEqual([]);
    go?.();
  });

  test("of a request whose client has gone already answer nothing", () => {
    const answered: string[] = [];
    const res = { ...fakeResponse(answered), destroyed: true };
    const handler = vi.fn();
    const wrapped = nodeHandler([within, { check: () => ({ admit: false }) }], handler);
    wrapped({ headers: {}, socket: fakeSocket } as never, res as never);
    expect(answered).toEqual([]);
    expect(handler).not.toHaveBeenCalled();
  });

  test("a refusal with a header that is none fails the request, and what was taken is given back", async () => {
    const ends: boolean[] = [];
    const bad: Check = { check: ({ url }) => ({ admit: false, headers: { "bad name": url } }) };
    const slowly: Check = { check: async (r) => bad.check(r) };
    for (const check of [bad, slowly]) {
      const answered: string[] = [];
      const wrapped = nodeHandler([noting(ends), check], () => {}, { report });
      wrapped({ headers: {}, socket: fakeSocket } as never, fakeResponse(answered) as never);
      await until(() => answered.length === 1);
      expect(answered).toEqual(["500 Internal Server Error\n"]);
    }
    expect(reported.map((error) => (error as Error).message)).toEqual(
      new Array(2).fill('Header name must be a valid HTTP token ["bad name"]'),
    );
    expect(ends).toEqual([false, false]);
  });

  test("run in their order; the first that refuses answers, and those after it are not asked", async () => {
    const asked: string[] = [];
    const named = (name: string, verdict: { admit: boolean; status?: number }): Check => ({
      check: ({ method, url }) => {
        asked.push(`${name} ${method} ${url}`);
        return { ...verdict, headers: { "X-Step": name } };
      },
    });
    const port = await serve(
      [named("a", { admit: true }), named("b", { admit: false, status: 429 }), named("c", { admit: true })],
      () => {
        throw new Error("not to be called");
      },
    );
    const client = await clientOf(port);
    const { status, headers, body } = await client.ask(request("GET /path?query"));
    expect({ status, body, steps: headers["x-step"] }).toEqual({
      status: 429,
      body: "Too Many Requests\n",
      steps: "a, b",
    });
    expect(headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(asked).toEqual(["a GET /path?query", "b GET /path?query"]);
  });

  test("a status without a text of its own is its own text; without a status it is 503", async () => {
    const port = await serve(
      [{ check: ({ url }) => (url === "/" ? { admit: false } : { admit: false, status: 418 }) }],
      () => {},
    );
    const client = await clientOf(port);
    expect(await client.ask(request("GET /"))).toMatchObject({ status: 503, body: "Service Unavailable\n" });
    expect(await client.ask(request("GET /tea"))).toMatchObject({ status: 418, body: "418\n" });
  });

  test("what an earlier step holds is given back when a later one refuses, before the answer", async () => {
    const ends: boolean[] = [];
    let held: Context | undefined;
    const later: Check = {
      check: () => {
        expect(ends).toEqual([]);
        return { admit: false, status: 429 }; // Below 500: at the end of the answer it would count as ok.
      },
    };
    const early: Check = {
      check: (r) => {
        held = r.ctx;
        return { admit: true, done: (ok) => ends.push(ok) };
      },
    };
    const port = await serve([early, noting(ends), later], () => {});
    await (await clientOf(port)).ask(request("GET /"));
    expect(ends).toEqual([false, false]);
    expect(held?.err()).toBeInstanceOf(Canceled);
  });

  test("a check may wait; the handler is called when it has admitted", async () => {
    const order: string[] = [];
    const slow: Check = {
      check: async () => {
        await sleep(1);
        order.push("slow");
        return { admit: true, headers: { "X-Slow": "1" }, done: (ok) => order.push(`slow ended ${ok}`) };
      },
    };
    const port = await serve([slow, { check: () => ({ admit: order.push("next") > 0 }) }], (_, res) => {
      order.push("handler");
      res.end();
    });
    const { headers } = await (await clientOf(port)).ask(request("GET /"));
    await until(() => order.length === 4);
    expect(order).toEqual(["slow", "next", "handler", "slow ended true"]);
    expect(headers["x-slow"]).toBe("1");
  });

  test("a client that goes while a check waits: the handler is not called, and what the check has taken is given back", async () => {
    const ends: boolean[] = [];
    let ctx: Context | undefined;
    let admit: (() => void) | undefined;
    const slow: Check = {
      check: async (r) => {
        ctx = r.ctx;
        await new Promise<void>((resolve) => (admit = resolve));
        return { admit: true, done: (ok) => ends.push(ok) };
      },
    };
    const handler = vi.fn();
    const next = vi.fn(() => ({ admit: true }));
    const port = await serve([noting(ends), slow, { check: next }], handler);
    const client = await clientOf(port);
    client.send(request("GET /"));
    await until(() => admit !== undefined);
    client.destroy();
    await until(() => ctx?.err() !== undefined);
    expect(ends).toEqual([false]);
    admit?.();
    await until(() => ends.length === 2);
    expect(ends).toEqual([false, false]);
    expect(next).not.toHaveBeenCalled();
    expect(handler).not.toHaveBeenCalled();
  });

  test("a client that goes while the only check waits, which has taken nothing: the handler is not called", async () => {
    let admit: (() => void) | undefined;
    const slow: Check = {
      check: async () => {
        await new Promise<void>((resolve) => {
          admit = resolve;
        });
        return { admit: true };
      },
    };
    const handler = vi.fn((_: IncomingMessage, res: ServerResponse) => res.end());
    const port = await serve([slow], handler);
    const client = await clientOf(port);
    client.send(request("GET /"));
    await until(() => admit !== undefined);
    client.destroy();
    let connections = 1;
    await until(() => {
      server?.getConnections((_, count) => {
        connections = count;
      });
      return connections === 0;
    });
    admit?.();
    admit = undefined;
    const asking = (await clientOf(port)).ask(request("GET /"));
    await until(() => admit !== undefined);
    expect(handler).not.toHaveBeenCalled();
    (admit as (() => void) | undefined)?.();
    await asking;
    expect(handler).toHaveBeenCalledTimes(1);
  });

  test("a check that waits under the context, and rejects with its error when the client goes, is no failure", async () => {
    let waiting = false;
    let ended: Context | undefined;
    const slow: Check = {
      check: async (r) => {
        ended = r.ctx;
        waiting = true;
        await sleep(60_000, r.ctx);
        return { admit: true };
      },
    };
    const port = await serve([slow], () => {});
    const unhandled = await unhandledDuring(async () => {
      const client = await clientOf(port);
      client.send(request("GET /"));
      await until(() => waiting);
      client.destroy();
      await until(() => ended?.err() !== undefined);
    });
    expect([...unhandled, ...reported]).toEqual([]);
  });

  test("a done that throws is reported, and the others are called", async () => {
    const ends: boolean[] = [];
    const reported: unknown[] = [];
    const before = (globalThis as { reportError?: unknown }).reportError;
    (globalThis as { reportError?: unknown }).reportError = (error: unknown) => reported.push(error);
    try {
      const fails = (message: string): Check => ({
        check: () => ({
          admit: true,
          done: () => {
            throw new Error(message);
          },
        }),
      });
      const port = await serve([fails("first"), fails("second"), noting(ends)], (_, res) => res.end());
      await (await clientOf(port)).ask(request("GET /"));
      await until(() => ends.length === 1);
    } finally {
      (globalThis as { reportError?: unknown }).reportError = before;
    }
    expect(reported.map(String)).toEqual(["Error: first", "Error: second"]);
  });
});

describe("a deadline", () => {
  test("ends the context; a handler that fails with that is answered for with 504", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    let ctx: Context | undefined;
    const port = await serve([deadline({ timeout: 1000 })], async (req) => {
      ctx = contextOf(req);
      await sleep(60_000, ctx);
    });
    const client = await clientOf(port);
    const asking = client.ask(request("GET /"));
    await until(() => ctx !== undefined);
    await vi.advanceTimersByTimeAsync(999);
    expect(ctx?.err()).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    const answer = await asking;
    expect(answer).toMatchObject({ status: 504, body: "Gateway Timeout\n" });
    expect(ctx?.err()).toBeInstanceOf(DeadlineExceeded);
  });

  test("a second one is below the first, in one adapter and in two that are nested", async () => {
    const seen: (number | undefined)[] = [];
    const inner = nodeHandler([deadline({ timeout: 1e6 })], (req: IncomingMessage, res: ServerResponse) => {
      seen.push(contextOf(req).deadline());
      res.end();
    });
    const port = await serve([deadline({ timeout: 1000 }), deadline({ timeout: 1e6 })], (req, res) => {
      seen.push(contextOf(req).deadline());
      inner(req, res);
    });
    await (await clientOf(port)).ask(request("GET /"));
    expect(seen[0]).toBeTypeOf("number");
    expect(seen[1]).toBe(seen[0]);
  });

  test("comes from the header of the caller, if that is a whole number and less", async () => {
    const given: Check & { left: number[] } = {
      left: [],
      check(r) {
        this.left.push(
          Math.round(
            ((r.ctx.deadline() ?? Number.POSITIVE_INFINITY) - performance.timeOrigin - performance.now()) / 1000,
          ),
        );
        return { admit: true };
      },
    };
    const port = await serve([deadline({ timeout: 50_000, header: "X-Timeout" }), given], (_, res) => res.end());
    const client = await clientOf(port);
    const values = ["20000", "60000", "-1", "1e3", "2.5", "", "soon", "9".repeat(11), "0020000", "constructor"];
    for (const value of values) await client.ask(request("GET /", { "x-timeout": value }));
    expect(given.left).toEqual([20, 50, 50, 50, 50, 50, 50, 50, 20, 50]);
  });

  test("a caller that has no time left is answered with 504, and nothing runs for it", async () => {
    const handler = vi.fn();
    const next = vi.fn(() => ({ admit: true }));
    const port = await serve([deadline({ timeout: 50, header: "x-timeout" }), { check: next }], handler);
    const answer = await (await clientOf(port)).ask(request("GET /", { "x-timeout": "0" }));
    expect(answer.status).toBe(504);
    expect(next).not.toHaveBeenCalled();
    expect(handler).not.toHaveBeenCalled();
  });

  test("a scope whose context has ended otherwise is answered with 503", async () => {
    const [stopped, stop] = withTimeout(undefined, 1e6);
    stop();
    const port = await serve([{ open: () => withTimeout(stopped, 1e6) }], () => {});
    expect((await (await clientOf(port)).ask(request("GET /"))).status).toBe(503);
  });

  test("contextOf says what is missing", async () => {
    const said: string[] = [];
    const port = await serve([shed(), { check: (r) => ({ admit: r.ctx.err() === undefined }) }], (req, res) => {
      try {
        contextOf(req);
      } catch (error) {
        said.push(String(error));
      }
      res.end();
    });
    await (await clientOf(port)).ask(request("GET /"));
    expect(said).toEqual(["Error: contextOf: no context for this request: install admission.deadline first"]);
    for (const nothing of [undefined, null, 7, {}])
      expect(() => contextOf(nothing as never)).toThrow(said[0]?.slice(7));
  });
});

describe("a check that does not answer", () => {
  test("is not waited for beyond the deadline: 504, and a verdict that comes later is given back", async () => {
    const ends: boolean[] = [];
    let answer: (verdict: Verdict) => void = () => {};
    const hangs: Check = { check: () => new Promise<Verdict>((resolve) => (answer = resolve)) };
    const handler = vi.fn();
    const port = await serve([deadline({ timeout: 30 }), noting(ends), hangs], handler);
    expect((await (await clientOf(port)).ask(request("GET /"))).status).toBe(504);
    expect(ends).toEqual([false]);
    answer({ admit: true, done: (ok) => ends.push(ok) });
    await sleep(1);
    expect(ends).toEqual([false, false]);
    expect(handler).not.toHaveBeenCalled();
    expect(reported).toEqual([]);
  });

  test("but waits under the request's context says itself what its end means", async () => {
    const waits: Check = {
      check: (r) =>
        sleep(60_000, r.ctx).then(
          () => ({ admit: true }),
          () => ({ admit: false, status: 429 }),
        ),
    };
    const port = await serve([deadline({ timeout: 30 }), waits], () => {});
    expect((await (await clientOf(port)).ask(request("GET /"))).status).toBe(429);
  });
});

describe("a handler that fails", () => {
  test.each([
    ["with a step that looks for the end", [within]],
    ["without", []],
  ])("with the error of an upload that has broken off is no failure, %s", async (_, steps) => {
    let [began, failed] = [false, false];
    const port = await serve(steps, async (req) => {
      began = true;
      try {
        for await (const _ of req);
      } finally {
        failed = true;
      }
    });
    const unhandled = await unhandledDuring(async () => {
      const client = await clientOf(port);
      client.send(request("POST /", { "Content-Length": "100" }, "body"));
      await until(() => began);
      client.destroy();
      await until(() => failed);
    });
    expect([...unhandled, ...reported]).toEqual([]);
  });

  test("because its upload broke off, whatever it makes of that, is no failure", async () => {
    let wrapped = false;
    let began = false;
    const port = await serve([], async (req) => {
      began = true;
      try {
        for await (const _ of req);
      } catch (cause) {
        wrapped = true;
        throw new Error("bad body", { cause });
      }
    });
    const client = await clientOf(port);
    client.send(request("POST /", { "Content-Length": "100" }, "body"));
    await until(() => began);
    client.destroy();
    await until(() => wrapped);
    await sleep(1);
    expect(reported).toEqual([]);
  });

  test("is answered for with 500, and its error is reported", async () => {
    const port = await serve([shed()], async () => {
      await sleep(1);
      throw new Error("boom");
    });
    const answer = await (await clientOf(port)).ask(request("GET /"));
    expect(answer).toMatchObject({ status: 500, body: "Internal Server Error\n" });
    expect(reported.map(String)).toEqual(["Error: boom"]);
  });

  test("at once: the same", () => {
    const ended: string[] = [];
    const fail = () => {
      throw new Error("boom");
    };
    const handler = nodeHandler([], fail, { report });
    handler({ headers: {}, socket: fakeSocket } as never, fakeResponse(ended) as never);
    expect(ended).toEqual(["500 Internal Server Error\n"]);
    expect(reported.map(String)).toEqual(["Error: boom"]);
  });

  test("without `report`, errors are warnings of the process, one in ten seconds", () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    try {
      const fail = () => {
        throw new Error("boom");
      };
      const handler = nodeHandler([], fail);
      for (let i = 0; i < 3; i++) handler({ headers: {}, socket: fakeSocket } as never, fakeResponse([]) as never);
      expect(warned.mock.calls.map(([warning]) => String(warning))).toEqual(["Error: boom"]);
    } finally {
      warned.mockRestore();
    }
  });

  test("after its answer, with the end of its context, is no failure, and the answer is whole", async () => {
    let failed = false;
    const port = await serve([within], async (req, res) => {
      res.end("ok");
      await sleep(60_000, contextOf(req)).finally(() => {
        failed = true;
      });
    });
    expect(await (await clientOf(port)).ask(request("GET /"))).toMatchObject({ status: 200, body: "ok" });
    await until(() => failed);
    await sleep(1);
    expect(reported).toEqual([]);
  });

  test("after its answer has begun: the answer is cut off", async () => {
    const port = await serve([], async (_, res) => {
      res.writeHead(200, { "Content-Length": "10" });
      res.write("part");
      await sleep(1);
      throw new DeadlineExceeded();
    });
    await expect((await clientOf(port)).ask(request("GET /"))).rejects.toThrow("closed without an answer");
  });

  test("with Canceled after its client has gone is no failure; with another error it is", async () => {
    let ctx: Context | undefined;
    const port = await serve([within], async (req) => {
      ctx = contextOf(req);
      await sleep(60_000, contextOf(req)).catch((error) => {
        throw req.url === "/other" ? new Error("other") : new Error("wrapped", { cause: error });
      });
    });
    for (const [url, wanted] of [
      ["/", []],
      ["/other", ["Error: other"]],
    ] as const) {
      ctx = undefined;
      reported = [];
      const client = await clientOf(port);
      client.send(request(`GET ${url}`));
      await until(() => ctx !== undefined);
      client.destroy();
      await until(() => ctx?.err() !== undefined);
      await sleep(1);
      expect(reported.map(String)).toEqual(wanted);
    }
  });

  test.each([
    [
      "throws",
      (): never => {
        throw new Error("broken");
      },
      "Error: broken",
    ],
    ["rejects", () => Promise.reject(new Error("broken")), "Error: broken"],
    ["returns nothing", () => undefined as never, "TypeError: check: must return { admit: boolean }, got undefined"],
    [
      "resolves to nonsense",
      () => Promise.resolve({ admit: "yes" } as never),
      "TypeError: check: must return { admit: boolean }, got an object (Object)",
    ],
    [
      "refuses with no status",
      () => ({ admit: false, status: 99 }),
      "RangeError: check: status must be from 200 to 599, got 99",
    ],
    [
      "gives a header that is none",
      () => ({ admit: true, headers: { "bad name": "x" } }),
      'TypeError [ERR_INVALID_HTTP_TOKEN]: Header name must be a valid HTTP token ["bad name"]',
    ],
  ] as const)(
    "a check that %s fails the request, and what was taken before is given back",
    async (_, check, wanted) => {
      const ends: boolean[] = [];
      const ended: string[] = [];
      const handler = vi.fn();
      const wrapped = nodeHandler([noting(ends), { check }], handler, { report });
      wrapped({ headers: {}, socket: fakeSocket } as never, fakeResponse(ended) as never);
      await sleep(1);
      expect(reported.map(String)).toEqual([wanted]);
      expect(ended).toEqual(["500 Internal Server Error\n"]);
      expect(ends).toEqual([false]);
      expect(handler).not.toHaveBeenCalled();
    },
  );
});

const fakeSocket = { on() {}, off() {} };

/** A response that notes how it is ended, with the header checks of node:http. */
function fakeResponse(ended: string[]) {
  return {
    statusCode: 200,
    headersSent: false,
    writableEnded: false,
    writableFinished: false,
    socket: {},
    getHeader: () => undefined,
    setHeader(name: string) {
      if (/ /.test(name)) {
        throw Object.assign(new TypeError(`Header name must be a valid HTTP token ["${name}"]`), {
          name: "TypeError [ERR_INVALID_HTTP_TOKEN]",
        });
      }
    },
    on() {},
    end(text: string) {
      ended.push(`${this.statusCode} ${text}`);
    },
  };
}
