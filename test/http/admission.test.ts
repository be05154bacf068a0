/** gopark/admission in the frameworks that it has adapters for. What is asserted here holds in all of them. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { serve } from "@hono/node-server";
import expressApp from "express";
import fastifyApp from "fastify";
import { Hono, type Handler as HonoHandler } from "hono";
import { parseList } from "structured-headers";
import { afterEach, describe, expect, test, vi } from "vitest";
import {
  type Check,
  ClientGoneError,
  contextOf,
  deadline,
  express,
  fastify,
  hono,
  nodeHandler,
  rateLimit,
  type Step,
  shed,
} from "../../src/admission.ts";
import { Canceled, type Context, cause } from "../../src/context.ts";
import { sleep } from "../../src/time.ts";
import { type Answer, Client, close, listen, request, until } from "../support/sockets.ts";

/** What a handler is given, the same in all frameworks. */
interface Call {
  readonly ctx: () => Context;
  readonly path: string;
  readonly body: string;
}

type Handler = (call: Call) => string | Promise<string>;

/** A server with the steps before a handler, which answers with what the handler returns; and how to stop it. */
type Framework = (steps: readonly Step[], handler: Handler) => Promise<[port: number, stop: () => Promise<void>]>;

async function started(server: Server): Promise<[number, () => Promise<void>]> {
  return [await listen(server), () => close(server)];
}

const frameworks: Record<string, Framework> = {
  "node:http": (steps, handler) =>
    started(
      createServer(
        nodeHandler(steps, async (req: IncomingMessage, res: ServerResponse) => {
          let body = "";
          for await (const chunk of req) body += chunk;
          res.end(await handler({ ctx: () => contextOf(req), path: req.url ?? "", body }));
        }),
      ),
    ),
  express: (steps, handler) => {
    const app = expressApp();
    app.use(express(...steps));
    app.use(expressApp.text({ type: () => true }));
    app.use(async (req, res) => {
      res.send(await handler({ ctx: () => contextOf(req), path: req.url, body: req.body ?? "" }));
    });
    return started(createServer(app));
  },
  "express, each step by itself, in a router": (steps, handler) => {
    const app = expressApp();
    const router = expressApp.Router();
    for (const step of steps) router.use(express(step));
    router.use(expressApp.text({ type: () => true }));
    router.use(async (req, res) => {
      res.send(await handler({ ctx: () => contextOf(req), path: req.originalUrl, body: req.body ?? "" }));
    });
    app.use("/", router);
    return started(createServer(app));
  },
  fastify: async (steps, handler) => {
    const app = fastifyApp();
    app.addHook("onRequest", fastify(...steps));
    app.addContentTypeParser("*", { parseAs: "string" }, (_, body, done) => done(null, body));
    app.all("/*", async (req) =>
      handler({ ctx: () => contextOf(req), path: req.url, body: (req.body as string) ?? "" }),
    );
    await app.listen({ port: 0, host: "127.0.0.1" });
    return [
      (app.server.address() as { port: number }).port,
      async () => {
        app.server.closeAllConnections();
        await app.close();
      },
    ];
  },
  hono: async (steps, handler) => {
    const app = new Hono();
    app.use(hono(...steps));
    app.all("/*", async (c) =>
      c.text(await handler({ ctx: () => contextOf(c), path: c.req.path, body: await c.req.text() })),
    );
    const server = await new Promise<Server>((resolve) => {
      const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }, () => resolve(server as Server));
    });
    return [(server.address() as { port: number }).port, () => close(server)];
  },
};

let stops: (() => Promise<void>)[] = [];
let clients: Client[] = [];
afterEach(async () => {
  for (const client of clients) client.destroy();
  for (const stop of stops) await stop();
  clients = [];
  stops = [];
});

async function clientOf(port: number): Promise<Client> {
  const client = await Client.to(port);
  clients.push(client);
  return client;
}

function noting(ends: boolean[]): Check {
  return { check: () => ({ admit: true, done: (ok) => ends.push(ok) }) };
}

const within = deadline({ timeout: 60_000 });

describe.each(Object.entries(frameworks))("%s", (name, framework) => {
  const start = async (steps: readonly Step[], handler: Handler): Promise<number> => {
    const [port, stop] = await framework(steps, handler);
    stops.push(stop);
    return port;
  };

  test("a POST whose body was read: the context is alive in the handler, and ends with the answer", async () => {
    let seen: Context | undefined;
    const ends: boolean[] = [];
    const port = await start([within, noting(ends)], async ({ ctx, path, body }) => {
      seen = ctx();
      await sleep(5, seen);
      return `${path} ${body} ${seen.err()}`;
    });
    const answer = await (await clientOf(port)).ask(request("POST /a", { "Content-Type": "text/plain" }, "body"));
    expect([answer.status, answer.body]).toEqual([200, "/a body undefined"]);
    await until(() => ends.length === 1);
    expect(ends).toEqual([true]);
    expect(seen?.err()).toBeInstanceOf(Canceled);
    expect(cause(seen)).toBe(seen?.err());
  });

  test("a client that breaks off after its body: the context ends, and the slot is given back", async () => {
    let seen: Context | undefined;
    const ends: boolean[] = [];
    const port = await start([within, noting(ends)], async ({ ctx }) => {
      seen = ctx();
      await sleep(60_000, seen).catch(() => {});
      return "";
    });
    const client = await clientOf(port);
    client.send(request("POST /", { "Content-Type": "text/plain" }, "body"));
    await until(() => seen !== undefined);
    client.destroy();
    await until(() => ends.length === 1);
    expect(ends).toEqual([false]);
    expect(cause(seen)).toBeInstanceOf(ClientGoneError);
  });

  test("a client that breaks off in its upload: the slot is given back", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {}); // Hono's handler of errors.
    const ends: boolean[] = [];
    let seen: Context | undefined;
    const open: Check = {
      check: (r) => {
        seen = r.ctx;
        return { admit: true };
      },
    };
    const port = await start([within, open, noting(ends)], () => "");
    const client = await clientOf(port);
    client.send(request("POST /", { "Content-Type": "text/plain", "Content-Length": "100" }, "part"));
    await until(() => seen !== undefined);
    client.destroy();
    await until(() => ends.length === 1);
    expect(ends).toEqual([false]);
    expect(cause(seen)).toBeInstanceOf(ClientGoneError);
  });

  test("a client that breaks off with a second request pipelined: both are noticed", async () => {
    const ends: boolean[] = [];
    const seen: Context[] = [];
    const port = await start([within, noting(ends)], async ({ ctx }) => {
      seen.push(ctx());
      await sleep(60_000, ctx()).catch(() => {});
      return "";
    });
    const client = await clientOf(port);
    const post = request("POST /", { "Content-Type": "text/plain" }, "body");
    client.send(post + post);
    await until(() => seen.length === 2);
    client.destroy();
    await until(() => ends.length === 2);
    for (const ctx of seen) expect(cause(ctx)).toBeInstanceOf(ClientGoneError);
  });

  test("requests of a kept connection have contexts of their own", async () => {
    const seen = new Set<Context>();
    const port = await start([within, shed({ maxLoopDelay: Number.POSITIVE_INFINITY })], ({ ctx }) => {
      seen.add(ctx());
      return `${ctx().err()}`;
    });
    const client = await clientOf(port);
    for (let i = 0; i < 5; i++) expect((await client.ask(request("GET /"))).body).toBe("undefined");
    expect(seen.size).toBe(5);
  });

  test("rateLimit: 429 with valid header fields, on other answers too; a forged header changes nothing", async () => {
    const handler = vi.fn(() => "ok");
    const policies = [rateLimit({ limit: 2, window: 60_000 }), rateLimit({ limit: 9, window: 1500, name: 'a "b"' })];
    const port = await start(policies, handler);
    const client = await clientOf(port);
    const answers: Answer[] = [];
    for (let i = 0; i < 3; i++) answers.push(await client.ask(request("GET /", { "X-Forwarded-For": `9.9.9.${i}` })));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429]);
    expect(answers.map(({ body }) => body)).toEqual(["ok", "ok", "Too Many Requests\n"]);
    expect(handler).toHaveBeenCalledTimes(2);
    const items = (text = "") => parseList(text).map(([item, params]) => [item, Object.fromEntries(params)]);
    for (const { status, headers } of answers) {
      // The step that refuses is the first one, so that the second has not been asked.
      const names = status === 200 ? ["default", 'a "b"'] : ["default"];
      const policy = items(headers["ratelimit-policy"]);
      expect(policy).toEqual(
        [
          ["default", { q: 2, w: 60 }],
          ['a "b"', { q: 9, w: 2 }],
        ].slice(0, names.length),
      );
      const state = items(headers.ratelimit);
      expect(state.map(([item]) => item)).toEqual(names);
      for (const [, params] of state) expect(params).toEqual({ r: expect.any(Number), t: expect.any(Number) });
      const after = headers["retry-after"];
      expect(after !== undefined).toBe(status === 429);
      if (after !== undefined) expect(state).toEqual([["default", { r: 0, t: Number(after) }]]);
    }
  });

  test("rateLimit: a refusal has the items of the steps before it, too", async () => {
    const policies = [rateLimit({ limit: 9, window: 60_000 }), rateLimit({ limit: 1, window: 60_000, name: "b" })];
    const client = await clientOf(await start(policies, () => "ok"));
    expect((await client.ask(request("GET /"))).status).toBe(200);
    const { status, headers } = await client.ask(request("GET /"));
    expect(status).toBe(429);
    expect(parseList(headers["ratelimit-policy"] ?? "").map(([item]) => item)).toEqual(["default", "b"]);
    expect(parseList(headers.ratelimit ?? "").map(([item]) => item)).toEqual(["default", "b"]);
  });

  test("trust: the client behind the proxy counts", async () => {
    const port = await start([rateLimit({ limit: 1, window: 60_000, trust: ["127.0.0.0/8"] })], () => "ok");
    const client = await clientOf(port);
    const statuses: number[] = [];
    for (const list of ["9.9.9.1", "9.9.9.2", "6.6.6.6, 9.9.9.1", "xx", "xx"]) {
      statuses.push((await client.ask(request("GET /", { "X-Forwarded-For": list }))).status);
    }
    expect(statuses).toEqual([200, 200, 429, 200, 429]);
  });

  test("shed: 503 to what is too much, and the handler runs as often as there are slots", async () => {
    let running = 0;
    let most = 0;
    const finish: (() => void)[] = [];
    const check = shed({
      max: 2,
      queue: 1,
      queueTimeout: 60_000,
      adaptive: false,
      maxLoopDelay: Number.POSITIVE_INFINITY,
    });
    const port = await start([check], async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => finish.push(resolve));
      running--;
      return "ok";
    });
    const all = await Promise.all(Array.from({ length: 5 }, () => clientOf(port)));
    for (const client of all) client.send(request("GET /"));
    await until(() => all.filter((client) => client.answers()[0]?.status === 503).length === 2);
    for (let i = 0; i < 3; i++) {
      await until(() => finish.length > 0);
      finish.shift()?.();
    }
    await until(() => all.every((client) => client.answers().length === 1));
    expect(all.map((client) => client.answers()[0]?.status).sort()).toEqual([200, 200, 200, 503, 503]);
    expect(most).toBe(2);
    const refused = all.find((client) => client.answers()[0]?.status === 503)?.answers()[0];
    expect(refused?.headers["retry-after"]).toMatch(/^[123]$/);
    expect(refused?.body).toBe("Service Unavailable\n");
  });

  test("a client that goes in the queue: its request is never handled", async () => {
    const check = shed({ max: 1, adaptive: false, queueTimeout: 60_000, maxLoopDelay: Number.POSITIVE_INFINITY });
    const asked: Context[] = [];
    const noteContext: Check = { check: (r) => ({ admit: asked.push(r.ctx) > 0 }) };
    const paths: string[] = [];
    let finish: (() => void) | undefined;
    const port = await start([noteContext, check], async ({ path }) => {
      paths.push(path);
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return "ok";
    });
    const [first, second] = [await clientOf(port), await clientOf(port)];
    first.send(request("GET /first"));
    await until(() => paths.length === 1);
    second.send(request("GET /second"));
    await until(() => asked.length === 2);
    second.destroy();
    await until(() => asked[1]?.err() !== undefined);
    finish?.();
    await until(() => first.answers().length === 1);
    first.send(request("GET /third"));
    await until(() => paths.length === 2);
    finish?.();
    await until(() => first.answers().length === 2);
    expect(paths).toEqual(["/first", "/third"]);
  });

  test("what a check throws is the framework's own failure", async () => {
    const ends: boolean[] = [];
    const error = Object.assign(new Error("broken"), { expose: false });
    const broken: Check = {
      check: async () => {
        throw error;
      },
    };
    if (name === "node:http") return; // An unhandled rejection there; see admission.node.test.ts.
    vi.spyOn(console, "error").mockImplementation(() => {});
    const port = await start([noting(ends), broken], () => "ok");
    const answer = await (await clientOf(port)).ask(request("GET /"));
    expect(answer.status).toBe(500);
    expect(ends).toEqual([false]);
  });

  // Express and Fastify go on for some of these.
  test.each([undefined, null, false, 0, "", "route", "router"])(
    "a check that throws %j lets nothing through",
    async (it) => {
      if (name === "node:http") return; // An unhandled rejection there; see admission.node.test.ts.
      vi.spyOn(console, "error").mockImplementation(() => {});
      const handler = vi.fn(() => "ok");
      const checks: Check[] = [
        {
          check: async () => {
            throw it;
          },
        },
        {
          check: () => {
            throw it;
          },
        },
      ];
      for (const check of checks) {
        const port = await start([check], handler);
        const answer = await (await clientOf(port)).ask(request("GET /"));
        expect(answer.status).toBe(500);
      }
      expect(handler).not.toHaveBeenCalled();
    },
  );
});

describe("hono without Node", () => {
  const appOf = (steps: readonly Step[], handler: HonoHandler) => {
    const app = new Hono();
    app.use(hono(...steps));
    app.get("/", handler);
    app.onError((error, c) => c.text(error.message, 500));
    return app;
  };
  const deno = { remoteAddr: { hostname: "1.2.3.4" } };

  test("the end is that of the body; headers are added beside the handler's own", async () => {
    const ends: boolean[] = [];
    let ctx: Context | undefined;
    const app = appOf([within, noting(ends), rateLimit({ limit: 1, window: 60_000 })], (c) => {
      ctx = contextOf(c);
      return new Response("body", { headers: { "x-own": "1" } });
    });
    const answer = await app.request("/", {}, deno);
    expect([answer.headers.get("x-own"), answer.headers.get("ratelimit")]).toEqual(["1", '"default";r=0;t=60']);
    expect([ends, ctx?.err()]).toEqual([[], undefined]);
    expect(await answer.text()).toBe("body");
    expect(ends).toEqual([true]);
    expect(ctx?.err()).toBeInstanceOf(Canceled);
    const refused = await app.request("/", {}, deno);
    expect([refused.status, refused.headers.get("retry-after"), await refused.text()]).toEqual([
      429,
      "60",
      "Too Many Requests\n",
    ]);
  });

  test("a handler that fails ends the exchange", async () => {
    const ends: boolean[] = [];
    const app = appOf([noting(ends)], () => {
      throw new Error("boom");
    });
    const answer = await app.request("/", {}, deno);
    expect([answer.status, await answer.text()]).toEqual([500, "boom"]);
    expect(ends).toEqual([false]);
    const odd = appOf([noting(ends)], () => Promise.reject("no error"));
    await expect((async () => odd.request("/", {}, deno))()).rejects.toBe("no error");
    expect(ends).toEqual([false, false]);
  });
});

test("fastify.inject: slots are given back", async () => {
  const app = fastifyApp();
  const check = shed({ max: 1, queue: 0, adaptive: false, maxLoopDelay: Number.POSITIVE_INFINITY });
  app.addHook("onRequest", fastify(deadline({ timeout: 60_000 }), check));
  app.post("/", async (req) => String(contextOf(req).err()));
  for (let i = 0; i < 3; i++) {
    const answer = await app.inject({ method: "POST", url: "/", payload: {} });
    expect([answer.statusCode, answer.body]).toEqual([200, "undefined"]);
  }
  await app.close();
});

test("fastify: headers of the steps are the reply's, so that hooks see them", async () => {
  const app = fastifyApp();
  app.addHook("onRequest", fastify(rateLimit({ limit: 5, window: 60_000 })));
  let seen: unknown;
  app.addHook("onSend", async (_, reply) => {
    seen = reply.getHeader("ratelimit");
  });
  app.get("/", { onRequest: fastify(rateLimit({ limit: 2, window: 60_000, name: "route" })) }, async () => "ok");
  const answer = await app.inject("/");
  expect(answer.headers.ratelimit).toBe('"default";r=4;t=48, "route";r=1;t=30');
  expect(seen).toBe(answer.headers.ratelimit);
  await app.close();
});
