/** SafeCaller: slots, the queue, the deadline, what cancels a call, closing; with a fetch that is answered by hand. */
import { AsyncLocalStorage } from "node:async_hooks";
import { background, DeadlineExceeded, is, withCancel, withTimeout } from "gopark/context";
import {
  CallCanceledError,
  CallError,
  CallTimeoutError,
  QueueFullError,
  QueueTimeoutError,
  SafeCaller,
  type SafeCallerOptions,
} from "gopark/http";
import { QueueFullError as QueueFullOfSemaphore } from "gopark/semaphore";
import { now } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { counters, track } from "../src/leak.ts";
import { turn } from "./support/turn.ts";
import { errorOf, Upstream } from "./support/upstream.ts";

const URL = "http://stock.example/tea";

function made(options: SafeCallerOptions = {}): { caller: SafeCaller; upstream: Upstream } {
  const upstream = new Upstream();
  return { upstream, caller: new SafeCaller({ fetch: upstream.fetch, ...options }) };
}

/** Answers all requests that have arrived, and reads the bodies of the calls. */
async function finish(upstream: Upstream, calls: Promise<Response>[]): Promise<void> {
  upstream.script = (request) => request.answer();
  for (const request of upstream.arrived) request.answer();
  for (const call of calls) await (await call).text();
}

describe("slots", () => {
  test("at most `perHost` requests run to a host, and the rest wait in order", async () => {
    const { caller, upstream } = made({ perHost: 2 });
    const calls = ["a", "b", "c", "d"].map((path) => caller.fetch(`http://stock.example/${path}`));
    await turn();
    expect(upstream.arrived.map(({ url }) => url.at(-1))).toEqual(["a", "b"]);
    expect(caller.stats()).toEqual({
      running: 2,
      queued: 2,
      hosts: { "stock.example": { running: 2, queued: 2, breaker: undefined } },
    });
    upstream.arrived[1]?.answer(null);
    await calls[1];
    await turn();
    expect(upstream.arrived.map(({ url }) => url.at(-1))).toEqual(["a", "b", "c"]);
    await finish(upstream, calls);
    expect(upstream.arrived.map(({ url }) => url.at(-1))).toEqual(["a", "b", "c", "d"]);
    expect(caller.stats()).toMatchObject({ running: 0, queued: 0 });
  });

  test("of 200 calls to a host that hangs, 32 are sent, 64 wait and the rest is refused in the same turn", async () => {
    const { caller, upstream } = made();
    const controller = new AbortController();
    const errors: unknown[] = [];
    const calls = Array.from({ length: 200 }, () =>
      caller.fetch(URL, { signal: controller.signal }).catch((error: unknown) => errors.push(error)),
    );
    await Promise.resolve();
    await turn();
    expect([upstream.arrived.length, errors.length]).toEqual([32, 104]);
    for (const error of errors) expect(error).toBeInstanceOf(QueueFullError);
    controller.abort();
    await Promise.all(calls);
    expect(upstream.arrived.length).toBe(32);
    expect(caller.stats()).toMatchObject({ running: 0, queued: 0 });
  });

  test("a call that is refused by a full queue is no dial, and says so within microtasks", async () => {
    const { caller, upstream } = made({ perHost: 1, queue: 0 });
    const first = caller.fetch(URL);
    let refused: unknown;
    caller.fetch(URL).catch((error: unknown) => {
      refused = error;
    });
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(refused).toBeInstanceOf(QueueFullError);
    expect(refused).toBeInstanceOf(QueueFullOfSemaphore);
    expect(refused).toBeInstanceOf(CallError);
    expect(refused).toMatchObject({
      name: "QueueFullError",
      host: "stock.example",
      phase: "queue",
      sent: "no",
      attempt: 1,
    });
    expect(upstream.arrived.length).toBe(1);
    await finish(upstream, [first]);
  });

  test("all hosts together have `concurrency` slots; a host that hangs holds no more of them than its own", async () => {
    const { caller, upstream } = made({ perHost: 2, concurrency: 3 });
    const hung = [1, 2, 3, 4].map(() => caller.fetch("http://hung.example/"));
    const others = [1, 2].map(() => caller.fetch("http://other.example/"));
    await turn();
    expect(upstream.arrived.map(({ url }) => url)).toEqual([
      "http://hung.example/",
      "http://hung.example/",
      "http://other.example/",
    ]);
    expect(caller.stats().hosts["other.example"]).toMatchObject({ running: 1, queued: 1 });
    upstream.arrived[2]?.answer(null);
    await others[0];
    await turn();
    expect(upstream.arrived.at(-1)?.url).toBe("http://other.example/");
    await finish(upstream, [...hung, ...others]);
  });

  test("a heavy call takes as many slots as its weight, and one above the size is refused", async () => {
    const { caller, upstream } = made({ perHost: 4 });
    const heavy = caller.fetch(URL, { weight: 3 });
    const second = caller.fetch(URL, { weight: 2 });
    await turn();
    expect(upstream.arrived.length).toBe(1);
    expect(caller.stats()).toMatchObject({ running: 1, queued: 1 });
    const error = await errorOf(caller.fetch(URL, { weight: 5 }));
    expect(error).toBeInstanceOf(RangeError);
    await finish(upstream, [heavy, second]);
  });

  test("a slot is free in the same turn in which the body has ended", async () => {
    const { caller, upstream } = made();
    for (const body of ["text", null]) {
      const call = caller.fetch(URL);
      await turn();
      upstream.last.answer(body, { status: body === null ? 204 : 200 });
      const response = await call;
      expect(caller.stats().running).toBe(body === null ? 0 : 1);
      if (body !== null) await response.text();
      expect(caller.stats().running).toBe(0);
    }
  });
});

test("`concurrency` is 256 if left out, or `perHost` if that is more; it may be less than the `perHost` left out", async () => {
  for (const [options, running] of [
    [{ perHost: 300 }, 300],
    [{ perHost: 256 }, 256],
    [{ concurrency: 2 }, 2],
    [{ perHost: 2, concurrency: 2 }, 2],
  ] as const) {
    const { caller } = made({ ...options, queue: Number.POSITIVE_INFINITY });
    const [ctx, cancel] = withCancel(background());
    const calls = Array.from({ length: 310 }, () => errorOf(caller.fetch(URL, { ctx })));
    expect(caller.stats()).toMatchObject({ running, queued: 310 - running });
    cancel();
    await Promise.all(calls);
  }
  const { caller, upstream } = made();
  const [ctx, cancel] = withCancel(background());
  const calls = Array.from({ length: 8 * 32 }, (_, i) => errorOf(caller.fetch(`http://bad${i % 8}.example/`, { ctx })));
  calls.push(errorOf(caller.fetch("http://good.example/", { ctx })));
  await turn();
  expect([upstream.arrived.length, caller.stats().hosts["good.example"]]).toMatchObject([256, { queued: 1 }]);
  cancel();
  await Promise.all(calls);
});

describe("the deadline", () => {
  test("covers the wait for the headers", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ timeout: 1000 });
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(999);
    expect(caller.stats().running).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    const error = await call;
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error).toMatchObject({ name: "TimeoutError", phase: "headers", sent: "maybe", attempt: 1, elapsed: 1000 });
    expect(is(error, DeadlineExceeded)).toBe(true);
    expect(upstream.last.signal.reason).toBe(error);
    expect(caller.stats().running).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("covers the queue, of which a wait may last half of it", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ perHost: 1, timeout: 1000 });
    const first = errorOf(caller.fetch(URL));
    const second = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(500);
    const error = await second;
    expect(error).toBeInstanceOf(QueueTimeoutError);
    expect(error).toMatchObject({ phase: "queue", sent: "no", elapsed: 500 });
    expect(caller.stats()).toMatchObject({ running: 1, queued: 0 });
    expect(upstream.arrived.length).toBe(1);
    await vi.advanceTimersByTimeAsync(500);
    expect(await first).toBeInstanceOf(CallTimeoutError);
  });

  test("counts the time in the queue: the request has the rest", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ perHost: 1, timeout: 1000 });
    const first = caller.fetch(URL);
    const second = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(400);
    upstream.last.answer(null);
    await first;
    await vi.advanceTimersByTimeAsync(599);
    expect(upstream.arrived.length).toBe(2);
    expect(caller.stats().running).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(await second).toMatchObject({ name: "TimeoutError", phase: "headers", elapsed: 1000 });
  });

  test("a queueTimeout of its own; one beyond the deadline never comes", async () => {
    vi.useFakeTimers();
    for (const [queueTimeout, name, elapsed] of [
      [100, "QueueTimeoutError", 100],
      [5000, "TimeoutError", 1000],
    ] as const) {
      const { caller } = made({ perHost: 1, timeout: 1000, queueTimeout });
      const first = errorOf(caller.fetch(URL, { timeout: 2000 }));
      const second = errorOf(caller.fetch(URL));
      await vi.advanceTimersByTimeAsync(2000);
      expect(await second).toMatchObject({ name, phase: "queue", sent: "no", elapsed });
      await first;
    }
  });

  test("is the caller's own if that is earlier, by a context or by a signal", async () => {
    vi.useFakeTimers();
    const { caller } = made({ timeout: 1000 });
    using scope = withTimeout(background(), 100);
    const late = new AbortController();
    const calls = [
      caller.fetch(URL, { ctx: scope.ctx }),
      caller.fetch(URL, { signal: scope.ctx.signal }),
      caller.fetch(URL, { signal: late.signal }),
    ].map(errorOf);
    await vi.advanceTimersByTimeAsync(100);
    const reason = new DOMException("too late", "TimeoutError");
    late.abort(reason);
    for (const error of await Promise.all(calls)) {
      expect(error).toBeInstanceOf(CallTimeoutError);
      expect(is(error, DeadlineExceeded)).toBe(true);
      expect(error).toMatchObject({ elapsed: 100 });
    }
  });

  test("that has passed is the cause, even if the caller cancels in the same turn", async () => {
    vi.useFakeTimers();
    const { caller } = made({ timeout: 1000 });
    const [ctx, cancel] = withCancel(background());
    const call = errorOf(caller.fetch(URL, { ctx }));
    await turn();
    vi.advanceTimersByTime(1000);
    cancel();
    const error = await call;
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error.cause).toBeInstanceOf(DeadlineExceeded);
  });

  test("of one call leaves the others alone", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made();
    const short = errorOf(caller.fetch(URL, { timeout: 10 }));
    const long = caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(10);
    expect(await short).toBeInstanceOf(CallTimeoutError);
    expect(upstream.arrived.map(({ signal }) => signal.aborted)).toEqual([true, false]);
    expect(caller.stats().running).toBe(1);
    upstream.last.answer(null);
    expect((await long).status).toBe(200);
  });

  test("may be none, or beyond what a host's timer takes", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ timeout: Number.POSITIVE_INFINITY });
    const none = caller.fetch(URL);
    await turn();
    expect(vi.getTimerCount()).toBe(0);
    const long = errorOf(caller.fetch(URL, { timeout: 2 ** 31 + 1000 }));
    await vi.advanceTimersByTimeAsync(2 ** 31 + 999);
    expect(caller.stats().running).toBe(2);
    await vi.advanceTimersByTimeAsync(1);
    expect(await long).toBeInstanceOf(CallTimeoutError);
    upstream.arrived[0]?.answer(null);
    await none;
  });

  test("is over at the first look after it, even if the event loop was blocked", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ timeout: 1000 });
    const call = errorOf(caller.fetch(URL));
    await turn();
    vi.setSystemTime(now() + 2000);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await call).toBeInstanceOf(CallTimeoutError);
    expect(upstream.last.signal.aborted).toBe(true);
  });

  test("a fetch that ignores its signal keeps its slot, and its caller is answered on time", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ timeout: 1000 });
    upstream.heeds = false;
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(1000);
    expect(await call).toBeInstanceOf(CallTimeoutError);
    expect(caller.stats().running).toBe(1);
    expect(counters().context).toBe(0);
    const body = new ReadableStream({ cancel: (reason) => void canceled.push(reason) });
    const canceled: unknown[] = [];
    upstream.last.answer(body);
    await turn();
    expect(caller.stats().running).toBe(0);
    expect(canceled.length).toBe(1);
  });

  test("the same where it fails late: nobody hears of it", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ timeout: 1000 });
    upstream.heeds = false;
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(1000);
    await call;
    upstream.last.fail(new Error("late"));
    await turn();
    expect(caller.stats().running).toBe(0);
  });
});

describe("a cancel", () => {
  test("by the end of the scope whose context the call was given: reading the body says what is wrong", async () => {
    const { caller, upstream } = made();
    upstream.script = (request) => request.answer("body");
    const get = async (): Promise<Response> => {
      const [ctx, cancel] = withCancel(background());
      try {
        return await caller.fetch(URL, { ctx });
      } finally {
        cancel();
      }
    };
    const error = await errorOf((await get()).text());
    expect(error).toMatchObject({ name: "AbortError", phase: "body", sent: "yes" });
    expect(error.message).toMatch(/ ms, in phase body: a body must be read before the context of its call ends$/);
  });

  test("before the body says nothing of it", async () => {
    const { caller } = made();
    const [ctx, cancel] = withCancel(background());
    const call = errorOf(caller.fetch(URL, { ctx }));
    cancel();
    expect((await call).message).toMatch(/ ms, in phase headers$/);
  });

  test("in the queue takes the call out, and those behind it stay in order", async () => {
    const { caller, upstream } = made({ perHost: 1, queue: 3 });
    const controller = new AbortController();
    const first = caller.fetch("http://stock.example/1");
    const second = errorOf(caller.fetch("http://stock.example/2", { signal: controller.signal }));
    const rest = [3, 4].map((n) => caller.fetch(`http://stock.example/${n}`));
    await turn();
    const reason = new Error("no longer wanted");
    controller.abort(reason);
    const error = await second;
    expect(error).toBeInstanceOf(CallCanceledError);
    expect(error).toMatchObject({ name: "AbortError", phase: "queue", sent: "no", cause: reason });
    expect(caller.stats()).toMatchObject({ running: 1, queued: 2 });
    await finish(upstream, [first, ...rest]);
    expect(upstream.arrived.map(({ url }) => url.at(-1))).toEqual(["1", "3", "4"]);
  });

  test.each([{ perHost: 1 }, { concurrency: 1 }])(
    "that comes after the grant of a slot, in the same turn, gives the slot back (%o)",
    async (options) => {
      const { caller, upstream } = made(options);
      const first = caller.fetch(URL);
      const [ctx, cancel] = withCancel(background());
      const second = errorOf(caller.fetch(URL, { ctx }));
      await turn();
      upstream.last.answer("x");
      const { body } = await first;
      void body?.cancel();
      cancel();
      expect(await second).toMatchObject({ name: "AbortError", phase: "queue", sent: "no" });
      expect([upstream.arrived.length, caller.stats().running, counters()["semaphore unit"]]).toEqual([1, 0, 0]);
    },
  );

  test("before the headers aborts the request, inside the cancel", async () => {
    const { caller, upstream } = made();
    const [ctx, cancel] = withCancel(background());
    const call = errorOf(caller.fetch(URL, { ctx }));
    await turn();
    cancel(new Error("gone"));
    expect(upstream.last.signal.aborted).toBe(true);
    const error = await call;
    expect(error).toMatchObject({ name: "AbortError", phase: "headers", sent: "maybe" });
    expect(error.cause).toBe(ctx.err());
    expect(error.cause).toMatchObject({ cause: { message: "gone" } });
    expect(is(error, DeadlineExceeded)).toBe(false);
  });

  test("of a sibling that timed out is no time-out of this call", async () => {
    const { caller } = made();
    const [ctx, cancel] = withCancel(background());
    const call = errorOf(caller.fetch(URL, { ctx }));
    await turn();
    cancel(new DeadlineExceeded());
    const error = await call;
    expect(error).toBeInstanceOf(CallCanceledError);
    expect(is(error, DeadlineExceeded)).toBe(false);
  });

  test("that has come already wins at the call: nothing is sent", async () => {
    const { caller, upstream } = made();
    const reason = new Error("gone");
    const error = await errorOf(caller.fetch(URL, { signal: AbortSignal.abort(reason) }));
    expect(error).toMatchObject({ name: "AbortError", phase: "queue", sent: "no", cause: reason });
    const request = new Request(URL, { signal: AbortSignal.abort(reason) });
    expect(await errorOf(caller.fetch(request))).toMatchObject({ name: "AbortError" });
    expect(upstream.arrived).toEqual([]);
    expect(counters().context).toBe(0);
  });

  test("comes from a context, a signal or a Request, whichever is first", async () => {
    for (const which of ["ctx", "signal", "request"]) {
      const { caller, upstream } = made();
      const [ctx, cancel] = withCancel(background());
      const controller = new AbortController();
      const init = which === "request" ? {} : { signal: controller.signal };
      const input = which === "request" ? new Request(URL, { signal: controller.signal }) : URL;
      const call = errorOf(caller.fetch(input, { ctx, ...init }));
      await turn();
      if (which === "ctx") cancel("why");
      else controller.abort("why");
      const error = await call;
      expect(error).toBeInstanceOf(CallCanceledError);
      expect(error.cause).toBe(which === "ctx" ? ctx.err() : "why");
      expect(upstream.last.signal.aborted).toBe(true);
      cancel();
      expect(counters().context).toBe(0);
    }
  });

  test("with both, a deadline in the body leaves no context of either", async () => {
    vi.useFakeTimers();
    const { caller, upstream } = made({ timeout: 1000 });
    const [ctx, cancel] = withCancel(background());
    const call = caller.fetch(URL, { ctx, signal: new AbortController().signal });
    await turn();
    upstream.last.answer("never read");
    await call;
    await vi.advanceTimersByTimeAsync(1000);
    expect([caller.stats().running, counters().context]).toEqual([0, 1]); // The caller's own.
    cancel();
  });

  test("10 000 calls on one signal add one listener, and leave none", async () => {
    track("counters"); // A stack for each would take most of the time.
    const { caller, upstream } = made({ perHost: 10_000, concurrency: 10_000, timeout: Number.POSITIVE_INFINITY });
    const { signal } = new AbortController();
    let listeners = 0;
    let most = 0;
    vi.spyOn(signal, "addEventListener").mockImplementation(() => {
      most = Math.max(most, ++listeners);
    });
    vi.spyOn(signal, "removeEventListener").mockImplementation(() => {
      listeners--;
    });
    const calls = Array.from({ length: 10_000 }, () => caller.fetch(URL, { signal }));
    await turn();
    expect(upstream.arrived.length).toBe(10_000);
    for (const { answer } of upstream.arrived) answer(null);
    await Promise.all(calls);
    await turn();
    expect([most, listeners]).toEqual([1, 0]);
    track("full");
  });
});

describe("close", () => {
  test("rejects what waits at once, waits for what runs, and lets no call in", async () => {
    const { caller, upstream } = made({ perHost: 1 });
    const first = caller.fetch(URL);
    const second = errorOf(caller.fetch(URL));
    await turn();
    let isClosed = false;
    const closed = caller.close(background()).then(() => {
      isClosed = true;
    });
    expect(await second).toMatchObject({
      name: "AbortError",
      phase: "queue",
      sent: "no",
      cause: expect.any(TypeError),
    });
    const late = await errorOf(caller.fetch(URL));
    expect(late).toBeInstanceOf(TypeError);
    expect(late.message).toBe("SafeCaller is closed");
    expect(isClosed).toBe(false);
    upstream.last.answer("body");
    const response = await first;
    await turn();
    expect(isClosed).toBe(false);
    await response.text();
    await closed;
    await caller.close();
  });

  test("gives up with its context, and what runs goes on", async () => {
    const { caller, upstream } = made();
    const first = caller.fetch(URL);
    await turn();
    const [ctx, cancel] = withCancel(background());
    const closed = errorOf(caller.close(ctx));
    cancel();
    expect(await closed).toBe(ctx.err());
    expect(await errorOf(caller.close(ctx))).toBe(ctx.err());
    upstream.last.answer(null);
    expect((await first).ok).toBe(true);
  });
});

test("close with a context that has ended closes all the same; with what is none, it does not", async () => {
  const { caller, upstream } = made({ perHost: 1 });
  const first = caller.fetch(URL);
  const second = errorOf(caller.fetch(URL));
  await turn();
  expect(await errorOf(caller.close(5 as never))).toBeInstanceOf(TypeError);
  expect(caller.stats()).toMatchObject({ running: 1, queued: 1 });
  const [ctx, cancel] = withCancel(background());
  cancel();
  expect(await errorOf(caller.close(ctx))).toBe(ctx.err());
  expect(await second).toMatchObject({ name: "AbortError", phase: "queue", sent: "no" });
  expect((await errorOf(caller.fetch(URL))).message).toBe("SafeCaller is closed");
  upstream.last.answer(null);
  expect((await first).ok).toBe(true);
  await caller.close();
});

test("every error says which call it was, without its query; it has no stack but its first line", async () => {
  const { caller, upstream } = made({ perHost: 1, queue: 0 });
  upstream.script = (request) => request.fail(new TypeError("fetch failed"));
  const url = "http://stock.example/tea/green?key=secret";
  const failed = await errorOf(caller.fetch(url, { method: "post" }));
  expect(failed).toMatchObject({ name: "NetworkError", method: "POST", path: "/tea/green" });
  const request = new Request(url, { method: "PUT" });
  expect(await errorOf(caller.fetch(request))).toMatchObject({ method: "PUT", path: "/tea/green" });
  upstream.script = undefined;
  const [ctx, cancel] = withCancel(background());
  const call = errorOf(caller.fetch(url, { ctx }));
  const full = await errorOf(caller.fetch("http://stock.example"));
  expect(full).toMatchObject({ name: "QueueFullError", method: "GET", path: "/" });
  cancel();
  expect(await call).toMatchObject({ name: "AbortError", method: "GET", path: "/tea/green" });
  for (const error of [failed, full, await call]) {
    expect(error.stack).toBe(`${error.name}: ${error.message}`);
    expect(JSON.stringify(error)).not.toContain("secret");
  }
});

describe("the function fetch", () => {
  test("is bound, and has the type of the host's", async () => {
    const { caller, upstream } = made();
    const itself: typeof fetch = caller.fetch;
    upstream.script = (request) => request.answer("hello");
    expect(await (await itself(URL)).text()).toBe("hello");
  });

  test("passes on the request as it was given, without its own options", async () => {
    const { caller, upstream } = made();
    upstream.script = (request) => request.answer(null);
    const headers = { a: "b" };
    await caller.fetch(URL, {
      method: "POST",
      headers,
      body: "x",
      timeout: 60_000,
      idempotent: true,
      weight: 1,
      ctx: background(),
    });
    expect(upstream.last.init).toEqual({ method: "POST", headers, body: "x", signal: expect.any(AbortSignal) });
    await caller.fetch(new globalThis.URL(URL), undefined);
    expect(upstream.last.url).toBe(URL);
    const init = new Request("http://other.example/", {
      method: "DELETE",
      headers,
      signal: new AbortController().signal,
    });
    await caller.fetch(URL, Object.assign(init, { timeout: 60_000 }));
    const { method, url } = upstream.last.input as Request;
    expect([method, url, (upstream.last.input as Request).headers.get("a")]).toEqual(["DELETE", URL, "b"]);
  });

  test("calls the host's fetch of the moment if it has none of its own", async () => {
    const caller = new SafeCaller();
    const fake = vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response("fake"));
    expect(await (await caller.fetch(URL)).text()).toBe("fake");
    expect(fake).toHaveBeenCalledTimes(1);
  });

  test("calls fetch in the caller's async context, also after a wait", async () => {
    const storage = new AsyncLocalStorage<number>();
    const seen: unknown[] = [];
    const { caller, upstream } = made({ perHost: 1 });
    upstream.script = () => seen.push(storage.getStore());
    const calls = [1, 2].map((n) => storage.run(n, () => caller.fetch(URL)));
    await turn();
    upstream.arrived[0]?.answer(null);
    await calls[0];
    await turn();
    expect(seen).toEqual([1, 2]);
    upstream.arrived[1]?.answer(null);
    await calls[1];
  });

  test("counts by the host and port, whatever the case, without a trailing dot", async () => {
    const { caller, upstream } = made();
    upstream.script = (request) => request.answer(null);
    for (const url of [
      "http://A.example/x",
      "http://a.example./y",
      "https://a.example:443/",
      "http://a.example:8080/",
    ]) {
      await caller.fetch(url);
    }
    expect(Object.keys(caller.stats().hosts)).toEqual(["a.example", "a.example:8080"]);
  });
});
