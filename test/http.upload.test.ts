/** SafeCaller: bodies of requests that are streams, over the loopback: which of their failures are the server's. */
import { once } from "node:events";
import { createServer } from "node:net";
import { Readable } from "node:stream";
import { CallError, NetworkError, SafeCaller, type SafeCallerOptions, type SafeInit } from "gopark/http";
import { describe, expect, test } from "vitest";
import { counters } from "../src/leak.ts";
import { errorOf, type Server, serve } from "./support/upstream.ts";

const PART = new Uint8Array(1000);

/** A body of a part, and then of what `rest` rejects with. */
type Make = (rest: () => Promise<never>) => NonNullable<SafeInit["body"]> | Request;

function source(rest: () => Promise<never>) {
  let n = 0;
  return {
    pull: async (controller: { enqueue(part: Uint8Array<ArrayBuffer>): void }) => {
      if (n++ > 0) await rest();
      controller.enqueue(PART.slice());
    },
  };
}

const kinds: Record<string, Make> = {
  "a web stream": (rest) => new ReadableStream(source(rest)),
  "a web stream of bytes": (rest) => new ReadableStream({ type: "bytes", ...source(rest) }),
  "a stream of Node": (rest) => {
    let n = 0;
    const read = function (this: Readable): void {
      if (n++ === 0) this.push(PART);
      else rest().catch((error: Error) => this.destroy(error));
    };
    return new Readable({ read }) as never;
  },
  "an async iterable": (rest) =>
    (async function* () {
      yield PART;
      await rest();
    })() as never,
  "a Request": (rest) =>
    new Request("http://a.example", { method: "POST", duplex: "half", body: new ReadableStream(source(rest)) }),
};

/** Calls with the body; as PUT, so that it could be tried again if it were no stream. */
function put(caller: SafeCaller, url: string, body: ReturnType<Make>, init: SafeInit = {}): Promise<Response> {
  const more = { method: "PUT", duplex: "half", redirect: "error", ...init } as const;
  return body instanceof Request
    ? caller.fetch(new Request(url, body), { ...more, duplex: undefined as never })
    : caller.fetch(url, { ...more, body });
}

function made(options: SafeCallerOptions = {}): { caller: SafeCaller; breaker: () => (string | undefined)[] } {
  const caller = new SafeCaller({ breaker: { readyToTrip: () => true }, ...options });
  return { caller, breaker: () => Object.values(caller.stats().hosts).map((host) => host.breaker) };
}

/** Rejects with the error when the server has the request. */
async function afterRequest(server: Server, error: unknown): Promise<never> {
  await server.requests.reaches(1);
  throw error;
}

describe.each(Object.entries(kinds))("%s", (_, make) => {
  test.each([
    ["an Error", () => new Error("broken off")],
    ["an AbortError", () => new DOMException("aborted", "AbortError")],
    // As of the database that it reads from.
    ["an error of connecting", () => Object.assign(new Error("refused"), { code: "ECONNREFUSED", syscall: "connect" })],
  ])("that fails with %s: the server is not to blame, and may have seen the request", async (_, fail) => {
    for (const phases of [false, true]) {
      await using server = await serve((req) => void req.on("error", () => {}).resume());
      const { caller, breaker } = made({ phases });
      const error = await errorOf(
        put(
          caller,
          server.base,
          make(() => afterRequest(server, fail())),
        ),
      );
      expect(error).toBeInstanceOf(NetworkError);
      expect(error).toMatchObject({ phase: "headers", sent: "maybe", attempt: 1 });
      expect(breaker()).toEqual(["closed"]);
      expect([caller.stats().running, counters().context]).toEqual([0, 0]);
    }
  });

  test("that fails while the answer is read: the server is not to blame", async () => {
    await using server = await serve((req, res) => {
      req.on("error", () => {}).resume();
      res.write("some");
    });
    const { caller, breaker } = made();
    let fail = (): void => {};
    const failing = new Promise<never>((_, reject) => {
      fail = () => reject(new Error("broken off"));
    });
    const response = await put(
      caller,
      server.base,
      make(() => failing),
    );
    fail();
    expect(await errorOf(response.text())).toMatchObject({ name: "NetworkError", phase: "body", sent: "yes" });
    expect(breaker()).toEqual(["closed"]);
  });

  test("that the server breaks off: it is to blame", async () => {
    await using server = await serve((req) => {
      req.on("error", () => {}).once("data", () => req.socket.resetAndDestroy());
    });
    const { caller, breaker } = made();
    const error = await errorOf(
      put(
        caller,
        server.base,
        make(() => new Promise(() => {})),
      ),
    );
    expect(error).toMatchObject({ name: "NetworkError", phase: "headers", sent: "maybe" });
    expect(breaker()).toEqual(["open"]);
  });

  test("to a port where nobody listens: surely not sent, and the server is to blame", async () => {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address() as { port: number };
    probe.close();
    await once(probe, "close");
    const { caller, breaker } = made();
    const error = await errorOf(
      put(
        caller,
        `http://127.0.0.1:${port}`,
        make(() => new Promise(() => {})),
      ),
    );
    expect(error).toMatchObject({ code: "ECONNREFUSED", phase: "connect", sent: "no" });
    expect(breaker()).toEqual(["open"]);
  });

  test("is read as the server takes it, and to its end", async () => {
    let got = 0;
    await using server = await serve((req, res) => {
      req.on("data", (chunk: Buffer) => {
        got += chunk.length;
      });
      req.on("end", () => res.end("ok"));
    });
    const { caller } = made();
    const body = new Response(PART).body as ReadableStream;
    const given = make(() => new Promise(() => {}));
    // The same kind, of what ends.
    const whole =
      given instanceof ReadableStream
        ? body
        : given instanceof Readable
          ? Readable.fromWeb(body as never)
          : given instanceof Request
            ? new Request("http://a.example", { method: "POST", duplex: "half", body })
            : (async function* () {
                yield* body as AsyncIterable<unknown>;
              })();
    expect(await (await put(caller, server.base, whole as never)).text()).toBe("ok");
    expect([got, caller.stats().running]).toEqual([PART.length, 0]);
  });
});

test("an iterable whose request ends early is ended", async () => {
  await using server = await serve(() => {});
  const controller = new AbortController();
  let ended = (): void => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const body = (async function* () {
    try {
      yield PART;
      await server.requests.reaches(1);
      controller.abort();
      yield PART;
      yield PART;
    } finally {
      ended();
    }
  })();
  await errorOf(put(made().caller, server.base, body as never, { signal: controller.signal }));
  await end;
});

describe("a mistake in the arguments is the host's TypeError, is not tried again and not counted:", () => {
  const stream = () => new ReadableStream({ start: (controller) => controller.close() });
  const post = (body: unknown) => ({ method: "POST", body, duplex: "half" }) as RequestInit;

  test.each<[string, (url: string) => Promise<[string | Request, RequestInit?]>]>([
    ["a stream without `duplex`", async (url) => [url, { method: "POST", body: stream() }]],
    [
      "an iterable without `duplex`",
      async (url) => [url, { method: "POST", body: (async function* () {})() as never }],
    ],
    [
      "a locked stream",
      async (url) => {
        const body = stream();
        body.getReader();
        return [url, post(body)];
      },
    ],
    [
      "a stream that has been read",
      async (url) => {
        const body = stream();
        for await (const _ of body as AsyncIterable<unknown>);
        return [url, post(body)];
      },
    ],
    [
      "a stream of Node that has been read",
      async (url) => {
        const body = Readable.from(["x"]);
        for await (const _ of body);
        return [url, post(body)];
      },
    ],
    [
      "a Request that has been used",
      async (url) => {
        const request = new Request(url, { method: "PUT", body: "x" });
        await request.text();
        return [request];
      },
    ],
    [
      "a Request whose body is being read",
      async (url) => {
        const request = new Request(url, { method: "PUT", body: "x" });
        request.body?.getReader();
        return [request];
      },
    ],
    [
      "a header that undici does not send",
      async (url) => [url, { method: "PUT", body: "x", headers: { expect: "100-continue" } }],
    ],
  ])("%s", async (_, make) => {
    await using server = await serve((_, res) => void res.end());
    for (const retry of [false, { attempts: 3, base: 1 }] as const) {
      const { caller, breaker } = made({ retry });
      const [input, init] = await make(server.base);
      const error = await errorOf(caller.fetch(input, init));
      expect(error).toBeInstanceOf(TypeError);
      expect(error).not.toBeInstanceOf(CallError);
      expect([breaker(), caller.stats().running, counters().context]).toEqual([["closed"], 0, 0]);
    }
    expect(server.requests.n).toBe(0);
  });
});
