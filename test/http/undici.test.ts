/** gopark/http with undici itself, each version: its fetch, its agents, its errors, its interceptors. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  CallCanceledError,
  CallTimeoutError,
  interceptor,
  NetworkError,
  QueueFullError,
  SafeCaller,
  type SafeCallerOptions,
} from "../../src/http.ts";
import { counters } from "../../src/leak.ts";
import { turn, turns } from "../support/turn.ts";
import { errorOf, misbehave, type Server, serve, serveRaw } from "../support/upstream.ts";

type Undici = typeof import("undici7");

const [major, minor] = process.versions.node.split(".").map(Number) as [number, number];
const versions: [string, Undici][] = [
  ["undici6", (await import("undici6")) as unknown as Undici],
  ["undici7", await import("undici7")],
];
// It needs a newer host.
if (major > 22 || (major === 22 && minor >= 19)) {
  versions.push(["undici8", (await import("undici8")) as unknown as Undici]);
}

let server: Server;
beforeAll(async () => {
  server = await serve(misbehave);
});
afterAll(() => server[Symbol.asyncDispose]());

const at = (path: string): string => `${server.base}${path}`;
const TIMEOUT = 1000;

function stopTime(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
}

/** Waits for one more request, and then lets the deadline pass. */
async function requestAndDeadline({ requests }: Server, fn: () => void): Promise<void> {
  const { n } = requests;
  fn();
  await requests.reaches(n + 1);
  await vi.advanceTimersByTimeAsync(TIMEOUT);
}

describe.each(versions)("%s", (_, undici) => {
  /** A caller over this version's fetch and an agent of its own, which is destroyed after the body. */
  async function withAgent(
    fn: (fetch: NonNullable<SafeCallerOptions["fetch"]>, agent: InstanceType<Undici["Agent"]>) => Promise<void>,
    options: object = {},
  ): Promise<void> {
    const agent = new undici.Agent(options);
    try {
      await fn((input, init) => undici.fetch(input as never, { ...init, dispatcher: agent } as never) as never, agent);
    } finally {
      await agent.destroy();
    }
  }

  test("fetch: answers, bodies, and what is the Response's own", async () => {
    await withAgent(async (fetch) => {
      const caller = new SafeCaller({ fetch });
      const response = await caller.fetch(at("/redirect"));
      expect([response.url, response.redirected]).toEqual([at("/json"), true]);
      expect(response).toBeInstanceOf(undici.Response);
      expect(caller.stats().running).toBe(1);
      expect(await response.json()).toEqual({ ok: true });
      expect(caller.stats().running).toBe(0);
      const copy = await caller.fetch(at("/json"));
      expect(await Promise.all([copy.clone().text(), copy.text()])).toEqual(['{"ok":true}', '{"ok":true}']);
      for await (const chunk of (await caller.fetch(at("/huge"))).body as AsyncIterable<Uint8Array>) {
        expect(chunk.byteLength).toBeGreaterThan(0);
        break;
      }
      expect([caller.stats().running, counters().context]).toEqual([0, 0]);
    });
  });

  test.each(["/reset", "/garbage", "/resetbody", "/short", "/badchunk"])(
    "fetch: %s is a NetworkError",
    async (path) => {
      await withAgent(async (fetch) => {
        const caller = new SafeCaller({ fetch });
        const error = await errorOf(caller.fetch(at(path)).then((response) => response.text()));
        expect(error).toBeInstanceOf(NetworkError);
        const isOfBody = /body|short|chunk/.test(path);
        expect(error).toMatchObject(isOfBody ? { phase: "body", sent: "yes" } : { phase: "headers", sent: "maybe" });
        expect([caller.stats().running, counters().context]).toEqual([0, 0]);
      });
    },
  );

  test("fetch: the deadline in the headers and in the body, a cancel, and their phases", async () => {
    await withAgent(async (fetch) => {
      stopTime();
      const caller = new SafeCaller({ fetch, timeout: TIMEOUT, phases: true });
      let error: unknown;
      await requestAndDeadline(server, () => {
        errorOf(caller.fetch(at("/hang"))).then((e) => {
          error = e;
        });
      });
      expect(error).toBeInstanceOf(CallTimeoutError);
      expect(error).toMatchObject({ phase: "headers", sent: "maybe" });
      const read = errorOf((await caller.fetch(at("/stall"))).text());
      await turn();
      await vi.advanceTimersByTimeAsync(TIMEOUT);
      expect(await read).toMatchObject({ name: "TimeoutError", phase: "body", sent: "yes" });
      const controller = new AbortController();
      const text = errorOf((await caller.fetch(at("/stall"), { signal: controller.signal })).text());
      controller.abort("enough");
      expect(await text).toBeInstanceOf(CallCanceledError);
      expect(caller.stats().running).toBe(0);
    });
  });

  test("fetch: with `phases`, a connection that is never made is the phase connect", async () => {
    await using silent = await serveRaw(() => {});
    await withAgent(async (fetch) => {
      stopTime();
      const caller = new SafeCaller({ fetch, timeout: TIMEOUT, phases: true });
      let error: unknown;
      await requestAndDeadline(silent, () => {
        errorOf(caller.fetch(`https://127.0.0.1:${silent.port}/`)).then((e) => {
          error = e;
        });
      });
      expect(error).toMatchObject({ name: "TimeoutError", phase: "connect", sent: "no" });
    });
  });

  test("fetch: with an Agent of n connections, n slots are n sockets, also after time-outs", async () => {
    await using own = await serve((req, res) => {
      if (req.url === "/hang") return;
      res.end("ok");
    });
    await withAgent(
      async (fetch) => {
        const caller = new SafeCaller({ fetch, perHost: 2, queue: 100 });
        for (let round = 0; round < 3; round++) {
          await Promise.all(Array.from({ length: 20 }, async () => await (await caller.fetch(`${own.base}/`)).text()));
        }
        expect(own.connections.n).toBeLessThanOrEqual(2);
        expect(own.requests.n).toBe(60);
      },
      { connections: 2 },
    );
  });

  test("interceptor: request, its limits and its errors", async () => {
    await withAgent(async (_fetch, agent) => {
      stopTime();
      const limited = agent.compose(interceptor({ perHost: 1, queue: 1, timeout: TIMEOUT }));
      const call = (path: string, options: object = {}) =>
        undici.request(at(path), { dispatcher: limited, ...options } as never).then(({ body }) => body.text());
      expect(await call("/json")).toBe('{"ok":true}');
      const before = server.requests.n;
      const hung = errorOf(call("/hang"));
      const queued = errorOf(call("/json"));
      const refused = await errorOf(call("/json"));
      expect(refused).toBeInstanceOf(QueueFullError);
      await server.requests.reaches(before + 1);
      await vi.advanceTimersByTimeAsync(TIMEOUT / 2);
      expect(await queued).toMatchObject({ name: "QueueTimeoutError" });
      await vi.advanceTimersByTimeAsync(TIMEOUT / 2);
      expect(await hung).toMatchObject({ name: "TimeoutError", phase: "headers", sent: "maybe" });
      const stalled = errorOf(call("/stall"));
      await server.requests.reaches(before + 2);
      await turns(20);
      await vi.advanceTimersByTimeAsync(TIMEOUT);
      expect(await stalled).toMatchObject({ name: "TimeoutError" });
      expect(await call("/json")).toBe('{"ok":true}');
      expect([counters().context, counters()["semaphore unit"]]).toEqual([0, 0]);
    });
  });

  test("interceptor: a caller that aborts in the queue is answered at once, by request and by fetch", async () => {
    await withAgent(async (_fetch, agent) => {
      const limited = agent.compose(interceptor({ perHost: 1 }));
      const { n } = server.requests;
      const blocker = new AbortController();
      const hung = errorOf(undici.request(at("/hang"), { dispatcher: limited, signal: blocker.signal } as never));
      await server.requests.reaches(n + 1);
      const reason = new Error("no longer wanted");
      for (const how of ["request", "fetch"] as const) {
        const controller = new AbortController();
        const call = errorOf(undici[how](at("/json"), { dispatcher: limited, signal: controller.signal } as never));
        await turns(3);
        controller.abort(reason);
        expect(await call).toBe(reason);
      }
      const last = undici.request(at("/json"), { dispatcher: limited } as never);
      blocker.abort(reason);
      expect(await hung).toBe(reason);
      expect(await (await last).body.text()).toBe('{"ok":true}');
      expect(server.requests.n).toBe(n + 2);
      expect([counters().context, counters()["semaphore unit"]]).toEqual([0, 0]);
    });
  });

  test("interceptor: under fetch, whose error has ours as its cause; and with undici's own interceptors", async () => {
    await withAgent(async (_fetch, agent) => {
      stopTime();
      const limited = agent.compose(interceptor({ timeout: TIMEOUT }), undici.interceptors.retry({ maxRetries: 0 }));
      let error: { cause?: unknown } = {};
      await requestAndDeadline(server, () => {
        errorOf(undici.fetch(at("/hang"), { dispatcher: limited } as never)).then((e) => {
          error = e;
        });
      });
      await turns(3);
      expect(error).toBeInstanceOf(TypeError);
      expect(error.cause).toBeInstanceOf(CallTimeoutError);
      const response = await undici.fetch(at("/redirect"), { dispatcher: limited } as never);
      expect([response.url, await response.text()]).toEqual([at("/json"), '{"ok":true}']);
      expect([counters().context, counters()["semaphore unit"]]).toEqual([0, 0]);
    });
  });

  test("interceptor: of a Client and a Pool, stream and pipeline, and a body that is paused", async () => {
    const limits = interceptor({ perHost: 2 });
    const client = new undici.Client(server.base);
    const pool = new undici.Pool(server.base);
    try {
      for (const dispatcher of [client.compose(limits), pool.compose(limits)]) {
        const { body } = await dispatcher.request({ path: "/huge", method: "GET" });
        for await (const chunk of body) {
          expect(chunk.length).toBeGreaterThan(0);
          break; // Destroys it.
        }
        const chunks: Buffer[] = [];
        await dispatcher.stream({ path: "/json", method: "GET", opaque: chunks }, ({ opaque }) => {
          const { Writable } = process.getBuiltinModule("node:stream");
          return new Writable({
            write: (chunk, __, done) => {
              (opaque as Buffer[]).push(chunk);
              done();
            },
          });
        });
        expect(Buffer.concat(chunks).toString()).toBe('{"ok":true}');
      }
    } finally {
      await client.destroy();
      await pool.destroy();
    }
    expect([counters().context, counters()["semaphore unit"]]).toEqual([0, 0]);
  });

  test("interceptor: a refused connection is a NetworkError, which undici's own retries outside of it understand", async () => {
    const closed = await serve(misbehave);
    await closed[Symbol.asyncDispose]();
    await withAgent(async (_fetch, agent) => {
      let times = 0;
      const limited = agent.compose(
        (dispatch) => (options, handler) => {
          times++;
          return dispatch(options, handler);
        },
        interceptor(),
        undici.interceptors.retry({ maxRetries: 2, minTimeout: 1, timeoutFactor: 1 }),
      );
      const error = await errorOf(undici.request(closed.base, { dispatcher: limited } as never));
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ code: "ECONNREFUSED", phase: "connect", sent: "no" });
      expect(error.cause).toMatchObject({ code: "ECONNREFUSED" });
      expect(times).toBe(3);
    });
  });

  test("interceptor: what is no failure of the server leaves the breaker closed", async () => {
    await withAgent(async (_fetch, agent) => {
      const limited = agent.compose(interceptor({ breaker: { readyToTrip: () => true } }));
      const call = (path: string, options: object = {}) =>
        undici.request(at(path), { dispatcher: limited, ...options } as never).then(({ body }) => body.text());
      const badHeader = await errorOf(call("/json", { headers: { "a b": "c" } }));
      expect(badHeader).toMatchObject({ name: "InvalidArgumentError", code: "UND_ERR_INVALID_ARG" });
      const { Readable } = process.getBuiltinModule("node:stream");
      const oops = new Error("broken off");
      const factory = () => {
        throw oops;
      };
      const options = { dispatcher: limited, method: "GET" };
      expect(await errorOf(undici.stream(at("/json"), options as never, factory))).toBe(oops);
      expect((await errorOf(undici.stream(at("/json"), options as never, () => 5 as never))).name).toBe(
        "InvalidReturnValueError",
      );
      const generator = async function* () {
        yield "part";
        throw oops;
      };
      const error = await errorOf(call("/hang", { method: "PUT", body: generator() }));
      expect(error).toMatchObject({ name: "NetworkError", cause: oops });
      let n = 0;
      const read = function (this: InstanceType<typeof Readable>): void {
        if (n++ === 0) this.push("part");
        else this.destroy(oops);
      };
      await errorOf(call("/hang", { method: "PUT", body: new Readable({ read }) }));
      expect(await call("/json")).toBe('{"ok":true}');
      // An upload that the server breaks off.
      const resets = new Readable({ read() {} });
      resets.push("part");
      await errorOf(call("/reset", { method: "PUT", body: resets }));
      expect((await errorOf(call("/json"))).name).toBe("BreakerOpenError");
      expect([counters().context, counters()["semaphore unit"]]).toEqual([0, 0]);
    });
  });

  test("interceptor: an upgrade", async () => {
    await using upgrading = await serveRaw((socket) => {
      socket.on("data", () =>
        socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
      );
    });
    await withAgent(async (_fetch, agent) => {
      const limited = agent.compose(interceptor());
      const { socket } = await undici.upgrade(upgrading.base, { dispatcher: limited, protocol: "x" } as never);
      expect([counters().context, counters()["semaphore unit"]]).toEqual([0, 0]);
      socket.destroy();
      await once(socket, "close");
    });
  });
});

test("the types fit without a cast, of each version", () => {
  // Compiled; not called.
  const typed = (six: typeof import("undici6"), seven: Undici, eight: typeof import("undici8")) => [
    new six.Agent().compose(interceptor()),
    new seven.Agent().compose(interceptor({ perHost: 4 }), seven.interceptors.retry()),
    new eight.Agent().compose(interceptor()),
    new SafeCaller({ fetch: six.fetch as typeof fetch }),
  ];
  expect(typeof typed).toBe("function");
});
