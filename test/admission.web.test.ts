/** web: the steps before a function from Request to Response, and when its answer has ended. */
import {
  type Check,
  ClientGoneError,
  contextOf,
  deadline,
  type HonoContext,
  hono,
  rateLimit,
  type Step,
  shed,
  web,
} from "gopark/admission";
import { Canceled, type Context, cause, DeadlineExceeded } from "gopark/context";
import { test as bubble } from "gopark/synctest";
import { sleep } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";

const url = "http://test/path?query#part";
const get = () => new Request(url);
const within = deadline({ timeout: 60_000 });

function noting(ends: boolean[]): Check {
  return { check: () => ({ admit: true, done: (ok) => ends.push(ok) }) };
}

/** A body of pieces that come when they are asked for, and what becomes of it. */
function streamed(pieces: readonly string[], fails = false): { body: ReadableStream<Uint8Array>; canceled: unknown[] } {
  const left = pieces.map((piece) => new TextEncoder().encode(piece));
  const canceled: unknown[] = [];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = left.shift();
      if (piece !== undefined) controller.enqueue(piece);
      else if (fails) controller.error(new Error("broken"));
      else controller.close();
    },
    cancel: (reason) => void canceled.push(reason),
  });
  return { body, canceled };
}

describe("what a check sees", () => {
  test("method, path and query, headers, and the address that the option finds", async () => {
    const seen: unknown[] = [];
    const step: Check = {
      check: (r) => {
        seen.push(r.method, r.url, r.address, r.header("X-Some"), r.header("x-none"));
        return { admit: true };
      },
    };
    const serve = web([step], (_: Request, who: string) => new Response(who), { address: (_, who) => `${who}.2.3.4` });
    const answer = await serve(new Request(url, { method: "POST", headers: { "x-some": "a" } }), "1");
    expect(await answer.text()).toBe("1");
    expect(seen).toEqual(["POST", "/path?query", "1.2.3.4", "a", undefined]);
  });

  test.each([
    ["http://host", "/"],
    ["http://host?a=/b", "/?a=/b"],
    ["http://host:1/a/b?c#d", "/a/b?c"],
    ["http://host/a#b?c", "/a"],
  ])("the path of %s is %s", async (given, path) => {
    const urls: string[] = [];
    await web([{ check: (r) => ({ admit: urls.push(r.url) > 0 }) }], () => new Response())(new Request(given));
    expect(urls).toEqual([path]);
  });

  test.each([
    ["Deno's information", { remoteAddr: { hostname: "1.1.1.1", port: 1 } }, "1.1.1.1"],
    ["Bun's server", { requestIP: () => ({ address: "2.2.2.2", port: 1 }) }, "2.2.2.2"],
    ["Bun's server in an environment", { server: { requestIP: () => ({ address: "3.3.3.3" }) } }, "3.3.3.3"],
    ["Bun's server of a socket that has none", { requestIP: () => null }, ""],
    ["another object", { remoteAddr: "x" }, ""],
    ["nothing", undefined, ""],
  ])("the address from %s", async (_, beside, address) => {
    const seen: string[] = [];
    const serve = web(
      [{ check: (r) => ({ admit: seen.push(r.address) > 0 }) }],
      (_: Request, __: unknown) => new Response(),
    );
    await serve(get(), beside);
    expect(seen).toEqual([address]);
  });
});

test("in virtual time: a deadline of a second, while the timer of shed ticks", async () => {
  await bubble(async () => {
    const serve = web([within, deadline({ timeout: 1000 }), shed()], async (request) => {
      await sleep(60_000, contextOf(request));
      return new Response();
    });
    const start = performance.now();
    expect((await serve(get())).status).toBe(504);
    expect(performance.now() - start).toBe(1000);
  });
});

describe("answers", () => {
  test("with no steps, and with steps that add nothing and wait for no end, the response is the handler's own", async () => {
    const response = new Response("x");
    expect(await web([], () => response)(get())).toBe(response);
    expect(await web([{ check: () => ({ admit: true }) }], async () => response)(get())).toBe(response);
  });

  test("have the headers of the steps beside their own, also where those cannot be changed", async () => {
    const steps = [
      rateLimit({ limit: 5, window: 1000, name: "a", key: "global" }),
      rateLimit({ limit: 9, window: 1000, key: "global" }),
    ];
    const response = Response.redirect("http://other/", 307);
    const answer = await web(steps, () => response)(get());
    expect(answer.status).toBe(307);
    expect(answer.headers.get("location")).toBe("http://other/");
    expect(answer.headers.get("ratelimit-policy")).toBe('"a";q=5;w=1, "default";q=9;w=1');
  });

  test("a refusal: status, text and headers, with those of the steps before", async () => {
    const steps: Step[] = [
      { check: () => ({ admit: true, headers: { "X-A": "1" } }) },
      { check: () => ({ admit: false, status: 429, headers: { "X-A": "2", "Retry-After": "3" } }) },
    ];
    const handler = vi.fn();
    const answer = await web(steps, handler)(get());
    expect([answer.status, await answer.text(), Object.fromEntries(answer.headers)]).toEqual([
      429,
      "Too Many Requests\n",
      { "content-type": "text/plain; charset=utf-8", "x-a": "1, 2", "retry-after": "3" },
    ]);
    expect(handler).not.toHaveBeenCalled();
  });

  test.each([
    ["DeadlineExceeded", new DeadlineExceeded(), 504],
    ["an error that it caused", new Error("call", { cause: new DeadlineExceeded() }), 504],
  ])("a handler that fails with %s is answered with %i", async (_, error, status) => {
    const ends: boolean[] = [];
    const answer = await web([noting(ends)], () => Promise.reject(error))(get());
    expect([answer.status, ends]).toEqual([status, [false]]);
  });

  test("another failure of the handler, a check or the address rejects, and gives back what was taken", async () => {
    const ends: boolean[] = [];
    const fail = () => {
      throw new Error("boom");
    };
    await expect(web([noting(ends)], fail)(get())).rejects.toThrow("boom");
    await expect(web([noting(ends), { check: fail }], () => new Response())(get())).rejects.toThrow("boom");
    await expect(web([noting(ends)], () => new Response(), { address: fail })(get())).rejects.toThrow("boom");
    await expect(web([noting(ends)], () => undefined as never)(get())).rejects.toThrow(TypeError);
    expect(ends).toEqual([false, false, false]);
  });
});

describe("the end", () => {
  test("is that of the body, which is handed on as it is", async () => {
    const ends: boolean[] = [];
    let ctx: Context | undefined;
    const { body } = streamed(["one ", "two ", "three"]);
    const serve = web([within, noting(ends)], async (request) => {
      ctx = contextOf(request);
      await sleep(1, ctx);
      return new Response(body, { status: 201, headers: { "x-own": "1" } });
    });
    const answer = await serve(new Request(url, { method: "POST", body: "body" }));
    const reader = answer.body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe("one ");
    await turn();
    expect([ends, ctx?.err()]).toEqual([[], undefined]);
    let rest = "";
    for (let next = await reader?.read(); next?.done === false; next = await reader?.read()) {
      rest += new TextDecoder().decode(next.value);
    }
    expect([answer.status, answer.headers.get("x-own"), rest]).toEqual([201, "1", "two three"]);
    expect(ends).toEqual([true]);
    expect(ctx?.err()).toBeInstanceOf(Canceled);
    expect(cause(ctx)).toBe(ctx?.err());
  });

  test.each([
    ["without a body", "GET", new Response(null, { status: 204 }), true],
    ["to HEAD, whose body is not read", "HEAD", new Response("body"), true],
    ["of a failure without a body", "GET", new Response(null, { status: 500 }), false],
    ["of an error of the network", "GET", Response.error(), true],
  ])("of an answer %s is at once", async (_, method, response, ok) => {
    const ends: boolean[] = [];
    const answer = await web([noting(ends)], () => response)(new Request(url, { method }));
    expect([answer.status, ends]).toEqual([response.status, [ok]]);
  });

  test("of an answer of 500 with a body is not ok", async () => {
    const ends: boolean[] = [];
    const answer = await web([noting(ends)], () => new Response("x", { status: 500 }))(get());
    expect([await answer.text(), ends]).toEqual(["x", [false]]);
  });

  test("a host that stops reading: the client has gone, and the handler's body is told why", async () => {
    const ends: boolean[] = [];
    let ctx: Context | undefined;
    const { body, canceled } = streamed(["one", "two"]);
    const answer = await web([within, noting(ends)], (request) => {
      ctx = contextOf(request);
      return new Response(body);
    })(get());
    await answer.body?.cancel("left");
    expect([ends, canceled]).toEqual([[false], ["left"]]);
    expect(cause(ctx)).toBeInstanceOf(ClientGoneError);
  });

  test("a body that fails: not ok, and the reader sees the error", async () => {
    const ends: boolean[] = [];
    const answer = await web([noting(ends)], () => new Response(streamed(["one"], true).body))(get());
    await expect(answer.text()).rejects.toThrow("broken");
    expect(ends).toEqual([false]);
  });

  test("an aborted request: the context ends, what was taken is given back, and no listener stays", async () => {
    const ends: boolean[] = [];
    const controller = new AbortController();
    const request = new Request(url, { signal: controller.signal });
    const removed = vi.spyOn(request.signal, "removeEventListener");
    let ctx: Context | undefined;
    const answering = web([within, noting(ends)], async (request) => {
      ctx = contextOf(request);
      await sleep(60_000, ctx);
      return new Response();
    })(request);
    await turn();
    controller.abort();
    await expect(answering).rejects.toThrow("context canceled");
    expect(ends).toEqual([false]);
    expect(cause(ctx)).toBeInstanceOf(ClientGoneError);
    expect(removed).toHaveBeenCalledTimes(1);
  });

  test("a request that was aborted before: the steps end, and the handler is not called", async () => {
    const ends: boolean[] = [];
    const handler = vi.fn();
    const answer = await web([noting(ends), within], handler)(new Request(url, { signal: AbortSignal.abort() }));
    expect([answer.status, ends]).toEqual([499, [false]]);
    expect(handler).not.toHaveBeenCalled();
  });

  test("one that is aborted in the queue leaves it, and settles", async () => {
    const check = shed({ max: 1, adaptive: false, queueTimeout: 60_000 });
    let finish: (() => void) | undefined;
    const handler = vi.fn(() => new Promise<Response>((resolve) => (finish = () => resolve(new Response()))));
    const serve = web([check], handler);
    const first = serve(get());
    const controller = new AbortController();
    const second = serve(new Request(url, { signal: controller.signal }));
    await turn();
    controller.abort();
    expect((await second).status).toBe(499);
    finish?.();
    expect((await first).status).toBe(200);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  test("one that is aborted while a check of one's own waits under its context: no failure", async () => {
    const waits: Check = {
      check: async (r) => {
        await sleep(60_000, r.ctx);
        return { admit: true };
      },
    };
    const fails: Check = {
      check: async (r) => {
        await sleep(60_000, r.ctx).catch(() => {});
        throw new Error("other");
      },
    };
    const answers = [waits, fails].map(async (step) => {
      const controller = new AbortController();
      const answer = web([step], () => new Response())(new Request(url, { signal: controller.signal }));
      await turn();
      controller.abort();
      return answer;
    });
    expect((await answers[0])?.status).toBe(499);
    await expect(answers[1]).rejects.toThrow("other");
  });

  test("a request that is only limited is not listened to", async () => {
    const request = get();
    const added = vi.spyOn(request.signal, "addEventListener");
    await web([rateLimit({ limit: 1, window: 1000, key: "global" })], () => new Response("x"))(request);
    expect(added).not.toHaveBeenCalled();
  });
});

test("a body that nobody reads gives its slot back at the deadline", () =>
  bubble(async () => {
    const ends: boolean[] = [];
    const serve = web([deadline({ timeout: 30 }), noting(ends), shed({ max: 1, queue: 0 })], () => new Response("x"));
    const unread = await serve(get());
    expect((await serve(get())).status).toBe(503);
    await sleep(30);
    expect(ends).toEqual([false, false]);
    expect(await (await serve(get())).text()).toBe("x");
    await unread.body?.cancel();
  }));

test("hono: what was taken is given back though the answer cannot be handed on", async () => {
  const ends: boolean[] = [];
  const res = new Response(streamed(["x"]).body);
  const reader = res.body?.getReader(); // It is locked from now on.
  const c: HonoContext = { req: { raw: get() }, env: {}, res };
  await expect(hono(noting(ends))(c, async () => {})).rejects.toThrow("locked");
  expect(ends).toEqual([false]);
  await reader?.cancel();
});
