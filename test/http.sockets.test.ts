/** SafeCaller over sockets on the loopback, with the host's own fetch, against servers that fail in each phase. */
import { channel } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer } from "node:net";
import { background, DeadlineExceeded, is, withCancel } from "gopark/context";
import { CallCanceledError, CallError, CallTimeoutError, NetworkError, SafeCaller } from "gopark/http";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { errorOf, fetchFailed, misbehave, type Server, serve, serveRaw } from "./support/upstream.ts";

let server: Server;

beforeAll(async () => {
  server = await serve(misbehave);
});

afterAll(() => server[Symbol.asyncDispose]());

/** From now on time passes only when a test says so; sockets go on. */
function stopTime(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
}

/** Runs `fn`, and waits until a client has left its request unfinished. */
async function seeingOneLeave(fn: () => Promise<void>): Promise<void> {
  const { n } = server.leavers;
  await fn();
  await server.leavers.reaches(n + 1);
}

/** The error of a call, whose deadline passes when its request has arrived at the server. */
async function lateError(
  call: Promise<unknown>,
  { requests }: Server = server,
): Promise<Error & Record<string, unknown>> {
  const late = errorOf(call);
  await requests.reaches(requests.n + 1);
  await vi.advanceTimersByTimeAsync(TIMEOUT);
  return await late;
}

const TIMEOUT = 1000;

const at = (path: string): string => `${server.base}${path}`;

describe("before the headers", () => {
  test("a server that never answers: CallTimeoutError in headers, and the connection is closed", async () => {
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT });
    await seeingOneLeave(async () => {
      const error = await lateError(caller.fetch(at("/hang")));
      expect(error).toBeInstanceOf(CallTimeoutError);
      expect(error).toMatchObject({
        name: "TimeoutError",
        phase: "headers",
        sent: "maybe",
        host: `127.0.0.1:${server.port}`,
      });
      expect(is(error, DeadlineExceeded)).toBe(true);
      expect(caller.stats().running).toBe(0);
    });
  });

  test("with `phases`: the request was sent", async () => {
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT, phases: true });
    const error = await lateError(caller.fetch(at("/hang")));
    expect(error).toMatchObject({ name: "TimeoutError", phase: "headers", sent: "maybe" });
  });

  test("with `phases`: TLS that says nothing is the phase connect, and nothing was sent", async () => {
    await using silent = await serveRaw(() => {});
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT, phases: true });
    const error = await lateError(caller.fetch(`https://127.0.0.1:${silent.port}/`), silent);
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error).toMatchObject({ phase: "connect", sent: "no" });
    expect(caller.stats().running).toBe(0);
  });

  test("with `phases`: a redirect, of which the second hop hangs in its connection", async () => {
    await using silent = await serveRaw(() => {});
    await using first = await serve((_, res) => {
      res.writeHead(302, { location: `https://127.0.0.1:${silent.port}/` }).end();
    });
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT, phases: true });
    const error = await lateError(caller.fetch(first.base), silent);
    const host = `127.0.0.1:${first.port}`;
    expect(error).toMatchObject({ name: "TimeoutError", phase: "connect", sent: "maybe", host });
  });

  /** A port where nobody listens. */
  async function unusedPort(): Promise<number> {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address() as { port: number };
    probe.close();
    await once(probe, "close");
    return port;
  }

  test("a port where nobody listens: NetworkError in connect; surely not sent if no redirect is followed", async () => {
    const url = `http://127.0.0.1:${await unusedPort()}/`;
    for (const [options, redirect, sent] of [
      [{}, "follow", "maybe"],
      [{}, "error", "no"],
      [{}, "manual", "no"],
      [{ phases: true }, "follow", "no"],
    ] as const) {
      const error = await errorOf(new SafeCaller(options).fetch(url, { redirect }));
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ code: "ECONNREFUSED", phase: "connect", sent });
      expect(error.cause).toMatchObject({ name: "TypeError", message: "fetch failed" });
    }
  });

  test("a POST that was carried out, and whose redirect leads nowhere, is not sent again", async () => {
    const nobody = `http://127.0.0.1:${await unusedPort()}/`;
    const tls = `https://127.0.0.1:${server.port}/`;
    for (const phases of [false, true]) {
      for (const location of [nobody, "http://no-such-host.invalid/", tls]) {
        for (const status of [303, 307]) {
          let carriedOut = 0;
          await using first = await serve((req, res) => {
            carriedOut++;
            req.resume().on("end", () => res.writeHead(status, { location }).end());
          });
          const caller = new SafeCaller({ phases, retry: { attempts: 3, base: 1 } });
          const error = await errorOf(caller.fetch(first.base, { method: "POST", body: "order" }));
          expect(error).toMatchObject({ name: "NetworkError", sent: "maybe", attempt: 1 });
          expect(carriedOut).toBe(1);
        }
      }
    }
  });

  test("with `phases`: a further request follows an answer, though no headers were reported, as of HTTP/2", async () => {
    const created = channel("undici:request:create");
    for (const [requests, sent] of [
      [1, "no"],
      [2, "maybe"],
    ] as const) {
      const fetch = async (): Promise<Response> => {
        for (let i = 0; i < requests; i++) created.publish({ request: {} });
        throw fetchFailed("ECONNREFUSED");
      };
      const error = await errorOf(new SafeCaller({ fetch, phases: true }).fetch("http://stock.example/"));
      expect(error).toMatchObject({ phase: "connect", sent });
    }
  });

  test("a host that has no address: NetworkError in connect", async () => {
    const caller = new SafeCaller({ timeout: 60_000 });
    const error = await errorOf(caller.fetch("http://no-such-host.invalid/", { redirect: "error" }));
    expect(error).toMatchObject({ name: "NetworkError", phase: "connect", sent: "no" });
    expect(error.code).toMatch(/^(ENOTFOUND|EAI_AGAIN)$/);
  });

  test("a certificate that is not trusted, or no TLS at all", async () => {
    const error = await errorOf(new SafeCaller().fetch(`https://127.0.0.1:${server.port}/`));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ sent: "maybe" });
  });

  test.each(["/reset", "/garbage"])("%s: NetworkError, and perhaps it was sent", async (path) => {
    const caller = new SafeCaller();
    const error = await errorOf(caller.fetch(at(path)));
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ phase: "headers", sent: "maybe" });
    expect(error.cause).toMatchObject({ message: "fetch failed" });
    expect(caller.stats().running).toBe(0);
  });

  test("arguments that fetch refuses are TypeErrors as they are", async () => {
    const caller = new SafeCaller();
    for (const call of [
      () => caller.fetch("http://", {}),
      () => caller.fetch("no url"),
      () => caller.fetch(at("/"), { body: "x" }),
      () => caller.fetch(at("/"), { method: "a b" }),
      () => caller.fetch(at("/"), { headers: { "a b": "c" } }),
      () => caller.fetch(new Request(at("/")), { method: "GET", body: "x" }),
    ]) {
      const error = await errorOf(call());
      expect(error).toBeInstanceOf(TypeError);
      expect(error).not.toBeInstanceOf(CallError);
    }
    expect(caller.stats().running).toBe(0);
  });
});

describe("in the body", () => {
  const readers: Record<string, (response: Response) => Promise<unknown>> = {
    text: (response) => response.text(),
    reader: async (response) => {
      for await (const _ of response.body as AsyncIterable<Uint8Array>);
    },
    clone: (response) => Promise.all([response.clone().text(), response.text()]),
  };

  test.each(Object.keys(readers))("a body that stops: CallTimeoutError, by %s", async (name) => {
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT });
    const response = await caller.fetch(at("/stall"));
    await seeingOneLeave(async () => {
      const read = errorOf((readers[name] as (response: Response) => Promise<unknown>)(response));
      await turn();
      await vi.advanceTimersByTimeAsync(TIMEOUT);
      const error = await read;
      expect(error).toBeInstanceOf(CallTimeoutError);
      expect(error).toMatchObject({ phase: "body", sent: "yes" });
      expect(caller.stats().running).toBe(0);
    });
  });

  test.each(["/resetbody", "/short", "/badchunk"])("%s: NetworkError, and the slot is free", async (path) => {
    for (const read of Object.values(readers)) {
      const caller = new SafeCaller();
      const response = await caller.fetch(at(path));
      const error = await errorOf(read(response));
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ phase: "body", sent: "yes" });
      await turn(); // The other branch of a clone.
      expect(caller.stats().running).toBe(0);
    }
  });

  test("a cancel: CallCanceledError with the caller's reason, and the socket is destroyed", async () => {
    const caller = new SafeCaller();
    const [ctx, cancel] = withCancel(background());
    const response = await caller.fetch(at("/stall"), { ctx });
    await seeingOneLeave(async () => {
      const text = errorOf(response.text());
      cancel(new Error("gone"));
      const error = await text;
      expect(error).toBeInstanceOf(CallCanceledError);
      expect(error).toMatchObject({ phase: "body", sent: "yes", cause: { cause: { message: "gone" } } });
      expect(caller.stats().running).toBe(0);
    });
  });

  test("`break` out of a huge one destroys the socket", async () => {
    const caller = new SafeCaller();
    const response = await caller.fetch(at("/huge"));
    await seeingOneLeave(async () => {
      for await (const _ of response.body as AsyncIterable<Uint8Array>) break;
      expect(caller.stats().running).toBe(0);
    });
  });

  test("a small one that nobody reads gives its slot back at the deadline, and its socket is used again", async () => {
    await using own = await serve((_, res) => void res.end("small"));
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT });
    await caller.fetch(own.base);
    expect(caller.stats().running).toBe(1);
    await turns(10); // The body comes, though nobody reads it.
    await vi.advanceTimersByTimeAsync(TIMEOUT);
    expect(caller.stats().running).toBe(0);
    expect(await (await caller.fetch(own.base)).text()).toBe("small");
    expect(own.connections.n).toBe(1);
  });

  test("a huge one that nobody reads is cancelled at the deadline", async () => {
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT });
    const response = await caller.fetch(at("/huge"));
    await seeingOneLeave(() => vi.advanceTimersByTimeAsync(TIMEOUT).then(() => {}));
    expect(caller.stats().running).toBe(0);
    expect(await errorOf(response.text())).toBeInstanceOf(CallTimeoutError);
  });

  test("a huge one whose Response is collected is cancelled then", async () => {
    const caller = new SafeCaller();
    await seeingOneLeave(async () => {
      await (async () => void (await caller.fetch(at("/huge"))))();
      expect(await collectUntil(() => caller.stats().running === 0)).toBe(true);
    });
  });
});

describe("answers", () => {
  test.each([
    ["HEAD", "/json", 200],
    ["GET", "/204", 204],
    ["GET", "/304", 304],
  ])("%s %s ends the call with the headers", async (method, path, status) => {
    const caller = new SafeCaller();
    const response = await caller.fetch(at(path), { method });
    expect([response.status, response.body, caller.stats().running]).toEqual([status, null, 0]);
  });

  test("a Response keeps its URL, its type and its redirects", async () => {
    const response = await new SafeCaller().fetch(at("/redirect"));
    expect([response.url, response.redirected, response.type]).toEqual([at("/json"), true, "basic"]);
    expect(response).toBeInstanceOf(Response);
    expect(await new Response(response.body).json()).toEqual({ ok: true });
    const form = await (await new SafeCaller().fetch(at("/form"))).formData();
    expect([...form]).toEqual([
      ["a", "1"],
      ["b", "2"],
    ]);
  });

  test("a status is no error; what is not JSON is a SyntaxError, and the slot is free", async () => {
    const caller = new SafeCaller();
    const response = await caller.fetch(at("/500"));
    expect([response.status, await response.text()]).toEqual([500, "broken"]);
    const error = await errorOf((await caller.fetch(at("/notjson"))).json());
    expect(error.constructor).toBe(SyntaxError);
    expect(caller.stats().running).toBe(0);
  });

  test("a redirect to another host: one deadline, one slot, counted at the first host", async () => {
    await using second = await serve(() => {});
    await using first = await serve((_, res) => void res.writeHead(302, { location: `${second.base}/x` }).end());
    stopTime();
    const caller = new SafeCaller({ timeout: TIMEOUT });
    const call = caller.fetch(first.base);
    await turn();
    expect(Object.keys(caller.stats().hosts)).toEqual([`127.0.0.1:${first.port}`]);
    expect(caller.stats().running).toBe(1);
    const error = await lateError(call, second);
    expect(error).toMatchObject({ name: "TimeoutError", host: `127.0.0.1:${first.port}`, attempt: 1 });
    expect(second.requests.n).toBe(1);
    expect(caller.stats().running).toBe(0);
  });
});

describe("a race on a reused connection", () => {
  /** A server that answers the first request of a connection, and ends it when the second has come. */
  async function racing() {
    const seen: string[] = [];
    const raw = await serveRaw((socket) => {
      let n = 0;
      socket.on("data", (data) => {
        seen.push(String(data).split(" ", 1)[0] as string);
        if (++n === 1) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        else socket.destroy();
      });
    });
    return { raw, seen };
  }

  test.each([
    ["POST", {}, 1],
    ["POST", { idempotent: true }, 2],
    ["GET", {}, 2],
    ["GET", { idempotent: false }, 1],
  ] as const)("%s with %o is sent %d times", async (method, more, times) => {
    const { raw, seen } = await racing();
    await using _ = raw;
    const caller = new SafeCaller({ retry: { base: 0 } });
    await (await caller.fetch(raw.base)).text();
    await turns(10); // Until undici knows that the connection is free.
    const call = caller.fetch(raw.base, { method, ...(method === "POST" ? { body: "x" } : {}), ...more });
    if (times === 1) expect(await errorOf(call)).toMatchObject({ name: "NetworkError", sent: "maybe", attempt: 1 });
    else expect(await (await call).text()).toBe("ok");
    expect(seen.filter((line) => line === method).length).toBe(times + (method === "GET" ? 1 : 0));
    expect(caller.stats().running).toBe(0);
  });
});
