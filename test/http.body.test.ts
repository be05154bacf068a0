/** The body of a Response: what ends it, what it holds until then, and that it is the host's own all the same. */
import { background, withCancel } from "gopark/context";
import { CallCanceledError, CallTimeoutError, NetworkError, SafeCaller, type SafeCallerOptions } from "gopark/http";
import { describe, expect, test, vi } from "vitest";
import { counters } from "../src/leak.ts";
import { turn, turns } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { errorOf, fetchFailed } from "./support/upstream.ts";

const URL = "http://stock.example/tea";

/** A body that the test feeds, of bytes or of chunks of any kind. */
class Feed {
  canceled: unknown[] = [];
  pulls = 0;
  private controller!: ReadableStreamDefaultController | ReadableByteStreamController;
  readonly stream: ReadableStream;

  constructor(type?: "bytes") {
    const source = {
      start: (controller: Feed["controller"]) => {
        this.controller = controller;
      },
      pull: () => void this.pulls++,
      cancel: (reason: unknown) => void this.canceled.push(reason),
    };
    this.stream =
      type === "bytes"
        ? new ReadableStream({ ...source, type })
        : new ReadableStream(source as never, { highWaterMark: 0 });
  }

  send(text: string): void {
    this.controller.enqueue(new TextEncoder().encode(text) as never);
  }

  end(): void {
    this.controller.close();
    (this.controller as Partial<ReadableByteStreamController>).byobRequest?.respond(0);
  }

  fail(error: unknown): void {
    this.controller.error(error);
  }
}

/**
 * A caller whose fetch answers with these bodies, one after the other. An abort makes the body fail, as undici does.
 */
function made(bodies: (Feed | Response)[], options: SafeCallerOptions = {}): SafeCaller {
  const fetch = async (_: unknown, init: RequestInit = {}): Promise<Response> => {
    const body = bodies.shift() as Feed | Response;
    if (body instanceof Response) return body;
    const { signal } = init;
    signal?.addEventListener("abort", () => body.fail(signal.reason));
    return new Response(body.stream);
  };
  return new SafeCaller({ fetch, ...options });
}

/** A call whose body has been fed, and its caller. */
async function answered(text = "hello", options: SafeCallerOptions = {}) {
  const feed = new Feed("bytes");
  const caller = made([feed], options);
  const response = await caller.fetch(URL);
  if (text !== "") feed.send(text);
  return { feed, caller, response };
}

describe.each(["text", "arrayBuffer", "blob"] as const)("%s", (name) => {
  test("reads it, and ends the call with the body", async () => {
    const { feed, caller, response } = await answered();
    const read = response[name]();
    await turn();
    expect(caller.stats().running).toBe(1);
    feed.end();
    const got = await read;
    expect(caller.stats().running).toBe(0);
    expect(counters().context).toBe(0);
    expect(await new Response(got).text()).toBe("hello");
    expect(response.bodyUsed).toBe(true);
  });

  test("fails with a NetworkError where the body does", async () => {
    const { feed, caller, response } = await answered();
    const read = errorOf(response[name]());
    const cause = new TypeError("terminated", { cause: Object.assign(new Error(), { code: "UND_ERR_SOCKET" }) });
    feed.fail(cause);
    const error = await read;
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({ phase: "body", sent: "yes", code: "UND_ERR_SOCKET", cause });
    expect(caller.stats().running).toBe(0);
    expect(counters().context).toBe(0);
  });

  test("rejects at the deadline", async () => {
    vi.useFakeTimers();
    const { caller, response } = await answered("some", { timeout: 1000 });
    const read = errorOf(response[name]());
    await vi.advanceTimersByTimeAsync(1000);
    const error = await read;
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error).toMatchObject({ phase: "body", sent: "yes", elapsed: 1000 });
    expect(caller.stats().running).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    expect(await errorOf(response[name]())).not.toBe(undefined);
  });
});

describe("json and formData", () => {
  test("read it, and pass their own errors on as they are", async () => {
    const form = new URLSearchParams({ a: "1" });
    const caller = made([
      new Response('{"a":1}'),
      new Response("<html>"),
      new Response(form),
      new Response("no form", { headers: { "content-type": "text/plain" } }),
    ]);
    expect(await (await caller.fetch(URL)).json()).toEqual({ a: 1 });
    const error = await errorOf((await caller.fetch(URL)).json());
    expect(error.constructor).toBe(SyntaxError);
    expect([...(await (await caller.fetch(URL)).formData())]).toEqual([["a", "1"]]);
    expect((await errorOf((await caller.fetch(URL)).formData())).constructor).toBe(TypeError);
    expect(caller.stats().running).toBe(0);
  });

  test("a body that breaks off is a NetworkError for them too", async () => {
    for (const name of ["json", "formData"] as const) {
      const feed = new Feed("bytes");
      const caller = new SafeCaller({
        fetch: async () =>
          new Response(feed.stream, { headers: { "content-type": "application/x-www-form-urlencoded" } }),
      });
      const read = errorOf((await caller.fetch(URL))[name]());
      feed.send("{");
      feed.fail(fetchFailed("ECONNRESET"));
      expect(await read).toMatchObject({ name: "NetworkError", code: "ECONNRESET", phase: "body" });
      expect(caller.stats().running).toBe(0);
    }
  });
});

describe("a second reader", () => {
  test("gets the host's TypeError, and the first goes on", async () => {
    const { feed, caller, response } = await answered();
    const first = response.text();
    const error = await errorOf(response.text());
    expect(error.constructor).toBe(TypeError);
    expect(caller.stats().running).toBe(1);
    feed.end();
    expect(await first).toBe("hello");
    expect((await errorOf(response.json())).constructor).toBe(TypeError);
    expect(caller.stats().running).toBe(0);
  });

  test("gets it too where the stream has a reader, even one that has read nothing", async () => {
    const { feed, response } = await answered();
    const reader = response.body?.getReader();
    expect((await errorOf(response.text())).constructor).toBe(TypeError);
    expect(() => response.clone()).toThrow(TypeError);
    void feed;
    await reader?.cancel();
  });
});

describe("the stream", () => {
  test.each(["bytes", undefined] as const)(
    "is one object, and a look at it reads nothing and locks nothing (type %s)",
    async (type) => {
      const feed = new Feed(type);
      const caller = made([feed]);
      const response = await caller.fetch(URL);
      const { body } = response;
      expect(response.body).toBe(body);
      await turn();
      expect([feed.pulls, body?.locked, response.bodyUsed]).toEqual([0, false, false]);
      feed.send("hello");
      feed.end();
      expect(await response.text()).toBe("hello");
      expect([response.bodyUsed, response.body?.locked]).toEqual([true, false]);
      expect(caller.stats().running).toBe(0);
    },
  );

  test.each(["bytes", undefined] as const)("ends the call when it has been read to its end (type %s)", async (type) => {
    const feed = new Feed(type);
    const caller = made([feed]);
    const response = await caller.fetch(URL);
    const chunks: string[] = [];
    const read = (async () => {
      for await (const chunk of response.body as AsyncIterable<Uint8Array>)
        chunks.push(new TextDecoder().decode(chunk));
    })();
    for (const text of ["one", "two"]) {
      feed.send(text);
      await turn();
    }
    expect([chunks, caller.stats().running]).toEqual([["one", "two"], 1]);
    feed.end();
    await read;
    expect(caller.stats().running).toBe(0);
  });

  test("`break` in a for await cancels the body and ends the call", async () => {
    const { feed, caller, response } = await answered();
    for await (const _ of response.body as AsyncIterable<Uint8Array>) break;
    expect(feed.canceled.length).toBe(1);
    expect(caller.stats().running).toBe(0);
  });

  test("cancel without a read cancels the body and ends the call", async () => {
    const { feed, caller, response } = await answered();
    await response.body?.cancel("enough");
    expect(feed.canceled).toEqual(["enough"]);
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });

  test("cancel of a body that has failed rejects with a NetworkError, and ends the call", async () => {
    const { feed, caller, response } = await answered();
    feed.fail(fetchFailed("ECONNRESET"));
    const error = await errorOf((response.body as ReadableStream).cancel());
    expect(error).toMatchObject({ name: "NetworkError", code: "ECONNRESET", phase: "body" });
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });

  test("fails with a NetworkError, or with the error of the deadline or the cancel", async () => {
    vi.useFakeTimers();
    for (const how of ["network", "deadline", "cancel"]) {
      const feed = new Feed("bytes");
      const caller = made([feed], { timeout: 1000 });
      const [ctx, cancel] = withCancel(background());
      const { body } = await caller.fetch(URL, { ctx });
      const reader = (body as ReadableStream).getReader();
      const read = errorOf(reader.read());
      await turn();
      if (how === "network") feed.fail(fetchFailed("ECONNRESET"));
      else if (how === "cancel") cancel();
      else await vi.advanceTimersByTimeAsync(1000);
      const error = await read;
      const cls = { network: NetworkError, deadline: CallTimeoutError, cancel: CallCanceledError }[how];
      expect(error).toBeInstanceOf(cls);
      expect(error).toMatchObject({ phase: "body", sent: "yes" });
      expect(await errorOf(reader.closed)).toBe(error);
      expect(await errorOf(reader.read())).toBe(error);
      expect(caller.stats().running).toBe(0);
      cancel();
      expect(counters().context).toBe(0);
    }
  });

  test("lets a reader bring its own buffer", async () => {
    const { feed, caller, response } = await answered();
    const reader = (response.body as ReadableStream).getReader({ mode: "byob" });
    const { value } = await reader.read(new Uint8Array(3));
    expect(new TextDecoder().decode(value)).toBe("hel");
    feed.end();
    expect(new TextDecoder().decode((await reader.read(new Uint8Array(9))).value)).toBe("lo");
    expect((await reader.read(new Uint8Array(9))).done).toBe(true);
    expect(caller.stats().running).toBe(0);
  });

  test("can be the body of another Response, and be piped", async () => {
    const { feed, caller, response } = await answered();
    feed.end();
    expect(await new Response(response.body).text()).toBe("hello");
    expect(caller.stats().running).toBe(0);
    const second = await answered();
    second.feed.end();
    const upper = new TransformStream<string, string>({ transform: (s, c) => c.enqueue(s.toUpperCase()) });
    const decoded = (second.response.body as ReadableStream).pipeThrough(new TextDecoderStream()).pipeThrough(upper);
    let text = "";
    for await (const chunk of decoded) text += chunk;
    expect(text).toBe("HELLO");
    expect(second.caller.stats().running).toBe(0);
  });

  test("of a body that is being read by a method is the host's own: locked", async () => {
    const { feed, response } = await answered();
    const read = response.text();
    expect(response.body?.locked).toBe(true);
    feed.end();
    await read;
  });
});

describe("a body that ignores the signal", () => {
  test("answers its readers on time all the same", async () => {
    vi.useFakeTimers();
    for (const read of [
      (response: Response) => response.text(),
      async (response: Response) => (response.body as ReadableStream).getReader().read(),
    ]) {
      const { stream } = new Feed("bytes");
      const caller = new SafeCaller({ fetch: async () => new Response(stream), timeout: 1000 });
      const error = errorOf(read(await caller.fetch(URL)));
      await vi.advanceTimersByTimeAsync(1000);
      expect(await error).toBeInstanceOf(CallTimeoutError);
      expect(caller.stats().running).toBe(0);
    }
  });

  test("a part that comes too late is nobody's", async () => {
    vi.useFakeTimers();
    const feed = new Feed("bytes");
    const caller = new SafeCaller({ fetch: async () => new Response(feed.stream), timeout: 1000 });
    const reader = ((await caller.fetch(URL)).body as ReadableStream).getReader();
    const read = errorOf(reader.read());
    await vi.advanceTimersByTimeAsync(1000);
    await read;
    feed.send("late");
    await turn();
    expect(await errorOf(reader.read())).toBeInstanceOf(CallTimeoutError);
  });
});

describe("a clone", () => {
  test("holds the call until both branches have ended", async () => {
    const { feed, caller, response } = await answered();
    const copy = response.clone();
    feed.end();
    expect(await response.text()).toBe("hello");
    expect(caller.stats().running).toBe(1);
    const third = copy.clone();
    expect(await copy.text()).toBe("hello");
    expect(caller.stats().running).toBe(1);
    await third.body?.cancel();
    expect(caller.stats().running).toBe(0);
  });

  test("both branches see the deadline", async () => {
    vi.useFakeTimers();
    const { caller, response } = await answered("some", { timeout: 1000 });
    const copy = response.clone();
    const reads = [errorOf(response.text()), errorOf((copy.body as ReadableStream).pipeTo(new WritableStream()))];
    await vi.advanceTimersByTimeAsync(1000);
    const [one, two] = await Promise.all(reads);
    expect(one).toBeInstanceOf(CallTimeoutError);
    expect(two).toBe(one);
    expect(caller.stats().running).toBe(0);
  });

  test("that is made after the end of the call fails as the Response does", async () => {
    vi.useFakeTimers();
    const { caller, response } = await answered("some", { timeout: 1000 });
    await vi.advanceTimersByTimeAsync(1000);
    const copy = response.clone();
    const error = await errorOf(copy.text());
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(await errorOf(response.text())).toBe(error);
    expect(caller.stats().running).toBe(0);
  });

  test("that is made after the body has failed fails with a NetworkError too", async () => {
    const { feed, caller, response } = await answered();
    const copy = response.clone();
    const first = errorOf(copy.text());
    feed.fail(fetchFailed("ECONNRESET"));
    await first;
    const late = response.clone();
    expect(await errorOf(late.text())).toMatchObject({ name: "NetworkError", code: "ECONNRESET" });
    expect(await errorOf(response.text())).toMatchObject({ name: "NetworkError", code: "ECONNRESET" });
    expect(caller.stats().running).toBe(0);
  });

  test("after a look at the stream, which goes on with the branch", async () => {
    const { feed, caller, response } = await answered();
    const { body } = response;
    const copy = response.clone();
    feed.end();
    expect(await new Response(body).text()).toBe("hello");
    expect(caller.stats().running).toBe(1);
    expect(await copy.text()).toBe("hello");
    expect(caller.stats().running).toBe(0);
  });
});

describe("a body that nobody reads", () => {
  test("is let go at the deadline, and cancelled", async () => {
    vi.useFakeTimers();
    const { caller, response } = await answered("some", { timeout: 1000 });
    await vi.advanceTimersByTimeAsync(999);
    expect(caller.stats().running).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect([caller.stats().running, vi.getTimerCount(), counters().context]).toEqual([0, 0, 0]);
    const error = await errorOf(response.text());
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error).toMatchObject({ phase: "body" });
    expect(await errorOf((response.body as ReadableStream).getReader().read())).toBe(error);
  });

  test.each(["", "a look at the stream", "a clone", "a part read"])(
    "is let go when it is collected, after %s",
    async (how) => {
      const feed = new Feed("bytes");
      let reason: unknown;
      const fetch = async (_: unknown, init: RequestInit = {}) => {
        const signal = init.signal as AbortSignal;
        signal.addEventListener("abort", () => {
          reason = signal.reason;
        });
        return new Response(feed.stream);
      };
      const caller = new SafeCaller({ fetch });
      feed.send("some");
      await (async () => {
        const response = await caller.fetch(URL);
        if (how === "a look at the stream") void response.body;
        if (how === "a clone") response.clone();
        if (how === "a part read") await (response.body as ReadableStream).getReader().read();
      })();
      expect(caller.stats().running).toBe(1);
      expect(await collectUntil(() => caller.stats().running === 0)).toBe(true);
      expect(reason).toMatchObject({ name: "AbandonedBodyError", phase: "body", sent: "yes" });
      expect(counters().context).toBe(0);
    },
  );

  test("is not let go while a method reads it that does not keep the Response alive itself", async () => {
    let answer = (_: string): void => {};
    const text = new Promise<string>((resolve) => {
      answer = resolve;
    });
    const stream = new ReadableStream();
    class Light {
      readonly status = 200;
      readonly headers = new Headers();
      get body(): ReadableStream {
        return stream;
      }
      text(): Promise<string> {
        return text;
      }
    }
    let isCollected = false;
    const registry = new FinalizationRegistry(() => {
      isCollected = true;
    });
    const caller = new SafeCaller({
      fetch: async () => {
        const response = new Light();
        registry.register(response, undefined);
        return response as never;
      },
    });
    const [read] = await (async () => {
      const response = await caller.fetch(URL);
      await turns(2); // From now on the collector would tell that it has taken the Response.
      return [response.text()];
    })();
    expect(await collectUntil(() => isCollected)).toBe(true);
    await turns(2);
    expect(caller.stats().running).toBe(1);
    answer("late");
    expect(await read).toBe("late");
    expect(caller.stats().running).toBe(0);
  });

  test("is not let go while somebody reads it, though the Response was dropped", async () => {
    for (const read of [
      (response: Response) => response.text(),
      (response: Response) => new Response(response.body).text(),
    ]) {
      const feed = new Feed("bytes");
      const caller = made([feed]);
      const text = await (async () => {
        const response = await caller.fetch(URL);
        await turns(2); // From now on the collector would tell that it has taken the Response.
        return [read(response)];
      })();
      await turn();
      expect(await collectUntil(() => caller.stats().running === 0)).toBe(false);
      feed.send("hello");
      feed.end();
      expect(await text[0]).toBe("hello");
    }
  });
});

describe("no body", () => {
  test.each([
    ["a null body", () => new Response(null)],
    ["204", () => new Response(null, { status: 204 })],
    ["304", () => new Response(null, { status: 304 })],
    ["Content-Length: 0", () => new Response("", { headers: { "content-length": "0" } })],
  ])("%s ends the call with the headers", async (_, response) => {
    const caller = made([response()]);
    const got = await caller.fetch(URL);
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
    expect(await got.text()).toBe("");
  });
});

describe("what is no Response of the host", () => {
  test("an object of a test is handed on, and holds nothing", async () => {
    const fake = { status: 200, ok: true, json: async () => ({ a: 1 }) } as unknown as Response;
    const caller = new SafeCaller({ fetch: async () => fake });
    const response = await caller.fetch(URL);
    expect(response).toBe(fake);
    expect(await response.json()).toEqual({ a: 1 });
    expect(caller.stats().running).toBe(0);
  });

  test("nor does one that is frozen, or handed out twice", async () => {
    const frozen = Object.freeze(new Response("frozen"));
    const twice = new Response("twice");
    const caller = made([frozen, twice, twice]);
    expect(await (await caller.fetch(URL)).text()).toBe("frozen");
    const first = await caller.fetch(URL);
    expect(await caller.fetch(URL)).toBe(first);
    expect(await first.text()).toBe("twice");
    expect(caller.stats().running).toBe(0);
  });

  test("nor does one without headers, or whose fields throw", async () => {
    const trap = (): never => {
      throw new Error("trap");
    };
    const without = { status: 200, body: new ReadableStream() } as never;
    const throwing = Object.defineProperty({ status: 200 }, "body", { get: trap }) as never;
    for (const fake of [without, throwing]) {
      const caller = new SafeCaller({ fetch: async () => fake });
      expect(await caller.fetch(URL)).toBe(fake);
      expect([caller.stats().running, counters().context]).toEqual([0, 0]);
    }
    const caller = new SafeCaller({ fetch: async () => Object.defineProperty({}, "status", { get: trap }) as never });
    expect((await errorOf(caller.fetch(URL))).message).toBe("SafeCaller: fetch must resolve to a Response");
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });

  test.each([undefined, null, 5, "text", {}])("%o is refused", async (answer) => {
    const caller = new SafeCaller({ fetch: async () => answer as never });
    const error = await errorOf(caller.fetch(URL));
    expect(error.constructor).toBe(TypeError);
    expect(error.message).toBe("SafeCaller: fetch must resolve to a Response");
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });
});

test("the Response is the host's own: its class, its fields, and no property that shows in a loop", async () => {
  const { response, feed } = await answered();
  expect(response).toBeInstanceOf(Response);
  expect(response.constructor).toBe(Response);
  expect(String(response)).toBe("[object Response]");
  expect([Object.keys(response), Object.getOwnPropertyNames(response)]).toEqual([[], []]);
  expect([response.status, response.ok, response.type, response.redirected]).toEqual([200, true, "default", false]);
  feed.end();
  const again = new Response(response.body, response);
  expect([again.status, await again.text()]).toEqual([200, "hello"]);
});
