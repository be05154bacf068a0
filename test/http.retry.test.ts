/** SafeCaller: retries, their waits and their budget; hedges. With a fetch that is answered by hand, in fake time. */
import { background, withCancel } from "gopark/context";
import {
  BreakerOpenError,
  CallCanceledError,
  CallTimeoutError,
  NetworkError,
  SafeCaller,
  type SafeCallerOptions,
} from "gopark/http";
import { Limiter } from "gopark/rate";
import { now } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { counters } from "../src/leak.ts";
import { turn } from "./support/turn.ts";
import { type Arrived, errorOf, fetchFailed, Upstream } from "./support/upstream.ts";

const URL = "http://stock.example/tea";
const START = 1_700_000_000_000;

beforeEach(() => {
  vi.useFakeTimers({ now: START });
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** A caller whose upstream answers by this script, request by request; the last entry repeats. */
function scripted(answers: ((request: Arrived) => void)[], options: SafeCallerOptions = {}) {
  const upstream = new Upstream();
  const at: number[] = [];
  const begin = now();
  upstream.script = (request, n) => {
    at.push(Math.round(now() - begin));
    (answers[n - 1] ?? (answers.at(-1) as (request: Arrived) => void))(request);
  };
  return { upstream, at, caller: new SafeCaller({ fetch: upstream.fetch, retry: {}, ...options }) };
}

const ok = (request: Arrived): void => request.answer("ok");
const status =
  (code: number, headers: Record<string, string> = {}) =>
  (request: Arrived): void =>
    request.answer(`status ${code}`, { status: code, headers });
const fails =
  (code: string, more: object = {}) =>
  (request: Arrived): void =>
    request.fail(fetchFailed(code, more));

/** Lets time pass until the promise has settled. */
async function settled<T>(promise: Promise<T>): Promise<T> {
  let over = false;
  const end = () => {
    over = true;
  };
  promise.then(end, end);
  for (let i = 0; i < 1000 && !over; i++) {
    await turn();
    if (!over) await vi.advanceTimersToNextTimerAsync();
  }
  return promise;
}

describe("what is tried again", () => {
  test.each([429, 502, 503, 504])("an answer of %d, once, and then the caller gets it with its body", async (code) => {
    const { caller, at } = scripted([status(code)]);
    const response = await settled(caller.fetch(URL));
    expect([response.status, await response.text(), at]).toEqual([code, `status ${code}`, [0, 50]]);
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });

  test.each([400, 404, 500, 501])("not an answer of %d", async (code) => {
    const { caller, at } = scripted([status(code)]);
    expect(await (await caller.fetch(URL)).text()).toBe(`status ${code}`);
    expect(at).toEqual([0]);
  });

  test("what `statuses` says", async () => {
    const { caller, at } = scripted([status(500), ok], { retry: { statuses: [500] } });
    expect(await (await settled(caller.fetch(URL))).text()).toBe("ok");
    expect(at).toEqual([0, 50]);
  });

  test.each(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "put"])("a network error of a %s", async (method) => {
    const { caller, at } = scripted([fails("ECONNRESET"), (request) => request.answer(null)]);
    await settled(caller.fetch(URL, { method }));
    expect(at).toEqual([0, 50]);
  });

  test("not one of a POST or PATCH, unless it says that it is idempotent", async () => {
    for (const [method, idempotent, times] of [
      ["POST", undefined, 1],
      ["PATCH", undefined, 1],
      ["POST", true, 2],
      ["GET", false, 1],
    ] as const) {
      const { caller, at } = scripted([fails("UND_ERR_SOCKET")]);
      const init = idempotent === undefined ? { method } : { method, idempotent };
      const error = await errorOf(settled(caller.fetch(URL, init)));
      expect(error).toMatchObject({ name: "NetworkError", attempt: times, sent: "maybe" });
      expect(at.length).toBe(times);
    }
    const { caller, at } = scripted([status(503)]);
    expect((await settled(caller.fetch(URL, { method: "POST" }).then((r) => r.text().then(() => r)))).status).toBe(503);
    expect(at).toEqual([0]);
  });

  test.each([
    ["ECONNREFUSED", {}],
    ["ENOTFOUND", {}],
    ["EAI_AGAIN", {}],
    ["UND_ERR_CONNECT_TIMEOUT", {}],
    ["EHOSTUNREACH", { syscall: "connect" }],
    ["CERT_HAS_EXPIRED", {}],
    ["ETIMEDOUT", { errors: [{ syscall: "connect" }, { syscall: "connect" }] }],
  ])("a POST that was surely not sent: %s %o", async (code, more) => {
    for (const redirect of ["error", "manual"] as const) {
      const { caller, at } = scripted([fails(code, more), ok]);
      const init = { method: "POST", body: "x", redirect };
      expect(await (await settled(caller.fetch(URL, init))).text()).toBe("ok");
      expect(at).toEqual([0, 50]);
    }
    const { caller, at } = scripted([fails(code, more), ok]);
    const request = new Request(URL, { method: "POST", body: "x", redirect: "error" });
    expect(await (await settled(caller.fetch(request))).text()).toBe("ok");
    expect(at).toEqual([0, 50]);
  });

  test("not a POST whose connection failed, if it may have been that of a redirect", async () => {
    for (const init of [{}, { redirect: "follow" as const }]) {
      const { caller, at } = scripted([fails("ECONNREFUSED")]);
      const error = await errorOf(caller.fetch(URL, { ...init, method: "POST" }));
      expect(error).toMatchObject({ code: "ECONNREFUSED", phase: "connect", sent: "maybe", attempt: 1 });
      expect(at).toEqual([0]);
    }
  });

  test.each([
    ["ECONNRESET", { syscall: "read" }],
    ["EPIPE", { syscall: "write" }],
    ["ETIMEDOUT", { errors: [{ syscall: "connect" }, { syscall: "read" }] }],
    ["ETIMEDOUT", { errors: [] }],
  ])("not a POST that was perhaps sent: %s %o", async (code, more) => {
    const { caller } = scripted([fails(code, more)]);
    expect(await errorOf(caller.fetch(URL, { method: "POST" }))).toMatchObject({ code, sent: "maybe", attempt: 1 });
  });

  test("a Request, which is cloned first, with its body", async () => {
    const bodies: string[] = [];
    const fetch = async (input: unknown, init?: RequestInit) => {
      bodies.push(await new Request(input as Request, init).text());
      if (bodies.length < 3) throw fetchFailed("ECONNRESET");
      return new Response(null);
    };
    const caller = new SafeCaller({ fetch, retry: { attempts: 3 } });
    await settled(caller.fetch(new Request(URL, { method: "PUT", body: "all of it" })));
    expect(bodies).toEqual(["all of it", "all of it", "all of it"]);
  });

  test.each([
    ["a stream", () => new ReadableStream()],
    ["an async iterable", async function* () {}],
  ])("not %s, which cannot be sent twice", async (_, body) => {
    const { caller, at } = scripted([fails("ECONNREFUSED")]);
    const init = { method: "PUT", body: body() as never, duplex: "half" as const, redirect: "error" as const };
    expect(await errorOf(caller.fetch(URL, init))).toMatchObject({ attempt: 1, sent: "no" });
    expect(at).toEqual([0]);
  });

  test.each(["text", new Uint8Array(2), new ArrayBuffer(2), new URLSearchParams("a=1"), new Blob(["x"])])(
    "a body that can be sent twice: %o",
    async (body) => {
      const { caller, at } = scripted([fails("ECONNRESET"), ok]);
      await (await settled(caller.fetch(URL, { method: "PUT", body }))).text();
      expect(at).toEqual([0, 50]);
    },
  );

  test("not what an attempt ran out of time for, nor what is refused", async () => {
    const { caller, at } = scripted([() => {}], { timeout: 100, perHost: 1, queue: 0 });
    const first = errorOf(settled(caller.fetch(URL)));
    expect(await errorOf(caller.fetch(URL))).toMatchObject({ name: "QueueFullError", attempt: 1 });
    expect(await first).toBeInstanceOf(CallTimeoutError);
    expect(at).toEqual([0]);
  });

  test("nothing without `retry`, and nothing after a bad argument", async () => {
    const { caller, at } = scripted([fails("ECONNREFUSED")], { retry: false });
    expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(NetworkError);
    expect(at).toEqual([0]);
    const { caller: second, at: seen } = scripted([(request) => request.fail(new TypeError("bad init"))]);
    expect((await errorOf(second.fetch(URL, { method: "GET", body: "x" }))).message).toBe("bad init");
    expect(seen).toEqual([0]);
  });
});

describe("sent", () => {
  const reset = fails("ECONNRESET");

  test.each([
    ["an error", reset, "maybe"],
    ["an answer", status(503), "yes"],
  ])("is that of all attempts: the second is refused after %s", async (_, first, sent) => {
    const { caller, at } = scripted([first], { rate: new Limiter(0, 1), retry: { attempts: 3 } });
    const error = await errorOf(settled(caller.fetch(URL)));
    expect(error).toMatchObject({ name: "RateLimitedError", attempt: 2, sent, phase: "queue" });
    expect(at).toEqual([0]);
  });

  test("is that of all attempts: an error of the second, a time-out in its queue, and a wait", async () => {
    const { caller } = scripted([status(503), fails("ECONNREFUSED")]);
    expect(await errorOf(settled(caller.fetch(URL, { redirect: "error" })))).toMatchObject({ attempt: 2, sent: "yes" });

    const queued = scripted([reset, () => {}], { perHost: 1, queueTimeout: 60_000 });
    const call = errorOf(queued.caller.fetch(URL, { timeout: 500 }));
    await turn();
    const other = errorOf(queued.caller.fetch(URL));
    expect(await settled(call)).toMatchObject({ name: "TimeoutError", phase: "queue", attempt: 2, sent: "maybe" });
    await settled(other);

    const between = scripted([reset, fails("ECONNREFUSED")], { retry: { attempts: 3 } });
    const [ctx, cancel] = withCancel(background());
    const third = errorOf(between.caller.fetch(URL, { ctx, redirect: "error" }));
    await vi.advanceTimersByTimeAsync(60);
    cancel();
    expect(await third).toMatchObject({ name: "AbortError", phase: "backoff", attempt: 2, sent: "maybe" });
  });

  test("is no if no attempt was sent", async () => {
    const { caller } = scripted([fails("ECONNREFUSED")]);
    const init = { method: "POST", redirect: "error" } as const;
    expect(await errorOf(settled(caller.fetch(URL, init)))).toMatchObject({ attempt: 2, sent: "no" });
  });

  test("of a hedge is the greatest of all its attempts", async () => {
    const { caller, upstream } = scripted([() => {}], { retry: false, hedge: { after: 100 } });
    const call = errorOf(caller.fetch(URL, { redirect: "error" }));
    await vi.advanceTimersByTimeAsync(100);
    upstream.arrived[1]?.fail(fetchFailed("ECONNREFUSED"));
    await turn();
    upstream.arrived[0]?.fail(fetchFailed("ECONNRESET"));
    expect(await call).toMatchObject({ code: "ECONNRESET", sent: "maybe" });
  });
});

describe("a decision that fails", () => {
  test("rejects the call, and gives the slot of the answer back", async () => {
    let broken = false;
    const clock = () => {
      if (broken) throw new Error("no clock");
      return 1;
    };
    const { caller } = scripted(
      [
        (request) => {
          broken = true;
          request.answer("busy", { status: 503 });
        },
      ],
      { breaker: { interval: 1000, now: clock } },
    );
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    expect((await errorOf(caller.fetch(URL))).message).toBe("no clock");
    expect(warned).toHaveBeenCalledTimes(1); // The breaker could not count it either.
    broken = false;
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });

  test("an answer that some test has made of parts: without headers, it asks for no wait", async () => {
    const answers = [
      { status: 503, body: new ReadableStream() },
      { status: 200, body: new ReadableStream() },
    ];
    const caller = new SafeCaller({ fetch: async () => answers.shift() as never, retry: {} });
    expect((await settled(caller.fetch(URL))).status).toBe(200);
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });
});

describe("the wait", () => {
  test("doubles, and is a random part of that, up to the cap", async () => {
    const { caller, at } = scripted([status(503)], { retry: { attempts: 5, base: 100, cap: 300 } });
    await (await settled(caller.fetch(URL))).text();
    expect(at).toEqual([0, 50, 150, 300, 450]);
  });

  const date = (ms: number) => new Date(ms).toUTCString();

  test.each([
    ["120", 120_000],
    ["0", 0],
    [date(START + 7000), 7000],
    [date(START - 7000), 0],
    ["Tuesday, 14-Nov-23 22:13:27 GMT", 7000],
    ["Tue Nov 14 22:13:27 2023", 7000],
    ["-5", 0],
    ["1.5", 0],
    ["1e3", 0],
    ["soon", 0],
    ["", 0],
    ["12345678901", 0],
  ])("Retry-After %j is %d ms more", async (value, ms) => {
    const { caller, at } = scripted([status(503, { "retry-after": value }), ok], { timeout: 200_000 });
    await (await settled(caller.fetch(URL))).text();
    expect(at).toEqual([0, 50 + ms]);
  });

  test("Retry-After as a date is GMT, wherever the process runs", async () => {
    const zone = process.env.TZ;
    process.env.TZ = "America/New_York";
    try {
      const { caller, at } = scripted([status(503, { "retry-after": "Tue Nov 14 22:13:27 2023" }), ok]);
      await (await settled(caller.fetch(URL))).text();
      expect(at).toEqual([0, 7050]);
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });

  test.each([date(253_402_300_799_000), "120", "10"])(
    "Retry-After %j is over the time left: the 503 with its body",
    async (value) => {
      const { caller, at } = scripted([status(503, { "retry-after": value })]);
      const response = await caller.fetch(URL);
      expect([response.status, await response.text(), at]).toEqual([503, "status 503", [0]]);
    },
  );

  test("Retry-After beyond maxRetryAfter is not waited for", async () => {
    for (const [maxRetryAfter, times] of [
      [999, 1],
      [1000, 2],
    ] as const) {
      const { caller, at } = scripted([status(503, { "retry-after": "1" })], { retry: { maxRetryAfter } });
      await (await settled(caller.fetch(URL))).text();
      expect(at.length).toBe(times);
    }
  });

  test("the body of an answer that is tried again is cancelled before the wait, and its slot is free in it", async () => {
    const canceled: unknown[] = [];
    const body = new ReadableStream({ cancel: (reason) => void canceled.push(reason) });
    const { caller, upstream } = scripted([(request) => request.answer(body, { status: 503 }), ok]);
    const call = caller.fetch(URL);
    await turn();
    expect([canceled.length, caller.stats().running, upstream.arrived.length]).toEqual([1, 0, 1]);
    expect(await (await settled(call)).text()).toBe("ok");
  });

  test("a cancel in it is seen at once", async () => {
    const { caller } = scripted([fails("ECONNREFUSED")]);
    const [ctx, cancel] = withCancel(background());
    const call = errorOf(caller.fetch(URL, { ctx, redirect: "error" }));
    await turn();
    cancel();
    const error = await call;
    expect(error).toBeInstanceOf(CallCanceledError);
    expect(error).toMatchObject({ phase: "backoff", attempt: 1, sent: "no", cause: ctx.err(), elapsed: 0 });
    expect(vi.getTimerCount()).toBe(0);
    expect([counters().context, counters().sleep]).toEqual([0, 0]);
  });

  test("so is closing the caller", async () => {
    const { caller } = scripted([status(503)]);
    const call = errorOf(caller.fetch(URL));
    await turn();
    await caller.close();
    expect(await call).toMatchObject({ name: "AbortError", phase: "backoff", sent: "yes" });
    expect(vi.getTimerCount()).toBe(0);
  });

  test("an attempt after it goes into a queue that is full, and the answer of the first is not lost", async () => {
    const { caller, upstream } = scripted([status(503), () => {}, ok], { perHost: 1, queue: 0 });
    const first = caller.fetch(URL);
    await turn();
    const second = caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(50);
    expect([upstream.arrived.length, caller.stats()]).toMatchObject([2, { running: 1, queued: 1 }]);
    expect(await errorOf(caller.fetch(URL))).toMatchObject({ name: "QueueFullError", attempt: 1 });
    upstream.last.answer("second");
    expect(await (await second).text()).toBe("second");
    expect(await (await settled(first)).text()).toBe("ok");
  });

  test("a time-out of the queue says how long the call waited there", async () => {
    const { caller } = scripted([fails("ECONNRESET"), () => {}], { perHost: 1, queueTimeout: 70, timeout: 1000 });
    const first = errorOf(caller.fetch(URL));
    await turn();
    const second = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(200);
    const error = await first;
    expect(error.message).toBe("call to stock.example waited 70 ms for a slot");
    expect(error).toMatchObject({ name: "QueueTimeoutError", elapsed: 120, attempt: 2, sent: "maybe" });
    await settled(second);
  });

  test("each attempt waits for a slot of its own", async () => {
    const { caller, upstream } = scripted([fails("ECONNRESET"), () => {}, ok], { perHost: 1 });
    const first = caller.fetch(URL);
    await turn();
    const second = errorOf(caller.fetch(URL, { timeout: 500 }));
    await vi.advanceTimersByTimeAsync(50);
    expect([upstream.arrived.length, caller.stats().queued]).toEqual([2, 1]);
    await vi.advanceTimersByTimeAsync(450);
    await second;
    expect(await (await settled(first)).text()).toBe("ok");
  });
});

describe("the budget", () => {
  test("is 10 and a tenth of what succeeds, for all calls of the caller", async () => {
    const { caller, at } = scripted([status(503)], { perHost: 200 });
    for (let i = 0; i < 30; i++) await (await settled(caller.fetch(URL))).text();
    expect(at.length).toBe(40);
  });

  test("an answer that is not tried any more earns nothing; one that succeeds does", async () => {
    const { caller, upstream, at } = scripted([status(503)], { retry: { budget: { ratio: 0.5, min: 0 } } });
    for (let i = 0; i < 5; i++) await (await caller.fetch(URL)).text();
    expect(at.length).toBe(5);
    upstream.script = ok;
    for (let i = 0; i < 2; i++) await (await caller.fetch(URL)).text();
    upstream.script = (request) => request.answer("", { status: 503 });
    const before = upstream.arrived.length;
    for (let i = 0; i < 3; i++) await (await settled(caller.fetch(URL))).text();
    expect(upstream.arrived.length - before).toBe(4);
  });

  test("a breaker that has opened ends the retries: the answer is the caller's", async () => {
    const { caller, at } = scripted([status(503)], { breaker: { readyToTrip: () => true }, retry: { attempts: 5 } });
    const response = await settled(caller.fetch(URL));
    expect([response.status, await response.text(), at]).toEqual([503, "status 503", [0]]);
    expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(BreakerOpenError);
  });
});

describe("a hedge", () => {
  const hedge = { after: 100 };

  test("is sent while the first goes unanswered; the loser is aborted", async () => {
    const { caller, at, upstream } = scripted([() => {}, ok], { retry: false, hedge });
    const response = await settled(caller.fetch(URL));
    expect(at).toEqual([0, 100]);
    expect(upstream.arrived.map(({ signal }) => signal.aborted)).toEqual([true, false]);
    expect(upstream.arrived[0]?.signal.reason).toBeInstanceOf(CallCanceledError);
    expect(caller.stats().running).toBe(1);
    expect(await response.text()).toBe("ok");
    expect([caller.stats().running, vi.getTimerCount(), counters().context, counters().timer]).toEqual([0, 0, 0, 0]);
  });

  test("is not sent if the first is answered or fails before, and then leaves no timer", async () => {
    for (const answer of [ok, fails("ECONNRESET")]) {
      const { caller, at } = scripted([answer], { retry: false, hedge });
      await caller.fetch(URL).then(
        (response) => response.text(),
        () => {},
      );
      expect([at, vi.getTimerCount()]).toEqual([[0], 0]);
    }
  });

  test("loses if the first is answered meanwhile, and its late answer is dropped", async () => {
    const { caller, upstream } = scripted([() => {}], { retry: false, hedge });
    upstream.heeds = false;
    const call = caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(100);
    expect(caller.stats().running).toBe(2);
    upstream.arrived[0]?.answer("first");
    expect(await (await call).text()).toBe("first");
    expect(caller.stats().running).toBe(1);
    const canceled: unknown[] = [];
    upstream.arrived[1]?.answer(new ReadableStream({ cancel: (reason) => void canceled.push(reason) }));
    await turn();
    expect([canceled.length, caller.stats().running]).toEqual([1, 0]);
  });

  test("loses if both are answered in one turn: its body is cancelled", async () => {
    const { caller, upstream } = scripted([() => {}], { retry: false, hedge });
    const call = caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(100);
    const canceled: unknown[] = [];
    upstream.arrived[0]?.answer("first");
    upstream.arrived[1]?.answer(new ReadableStream({ cancel: (reason) => void canceled.push(reason) }));
    expect(await (await call).text()).toBe("first");
    expect([canceled.length, caller.stats().running]).toEqual([1, 0]);
  });

  test.each(["POST", "PUT", "DELETE"])("is never sent for a %s", async (method) => {
    const { caller, at } = scripted([() => {}], { retry: false, hedge, timeout: 1000 });
    for (const idempotent of [true, false]) {
      expect(await errorOf(settled(caller.fetch(URL, { method, idempotent })))).toBeInstanceOf(CallTimeoutError);
    }
    expect(at).toEqual([0, 1000]);
  });

  test("a failure does not win while another attempt runs; of two failures the call has the last", async () => {
    for (const [second, wanted] of [
      [ok, 200],
      [status(502), 502],
    ] as const) {
      const { caller, upstream } = scripted([() => {}], { retry: false, hedge });
      const call = caller.fetch(URL);
      await vi.advanceTimersByTimeAsync(100);
      upstream.arrived[0]?.answer("broken", { status: 503 });
      await turn();
      expect(caller.stats().running).toBe(2);
      second(upstream.arrived[1] as Arrived);
      const response = await call;
      expect(response.status).toBe(wanted);
      await response.text();
      expect(caller.stats().running).toBe(0);
    }
  });

  test("an answer that would be tried again does not win over a good one, with retries and without", async () => {
    for (const [retry, code, wanted] of [
      [false, 429, 200],
      [{}, 429, 200],
      [{ statuses: [409] }, 409, 200],
      [{ statuses: [409] }, 429, 429],
      [false, 404, 404],
    ] as const) {
      const { caller, upstream } = scripted([() => {}], { retry, hedge });
      const call = caller.fetch(URL);
      await vi.advanceTimersByTimeAsync(100);
      upstream.arrived[1]?.answer("too many", { status: code });
      await turn();
      if (wanted === 200) upstream.arrived[0]?.answer("good");
      const response = await call;
      expect(response.status).toBe(wanted);
      await response.text();
      expect([caller.stats().running, vi.getTimerCount()]).toEqual([0, 0]);
    }
  });

  test("an error does not end the call while another attempt runs; of two errors the call has the first", async () => {
    const { caller, upstream } = scripted([() => {}], { retry: false, hedge });
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(100);
    upstream.arrived[1]?.fail(fetchFailed("ECONNREFUSED"));
    await turn();
    expect(caller.stats().running).toBe(1);
    upstream.arrived[0]?.fail(fetchFailed("ECONNRESET"));
    expect(await call).toMatchObject({ code: "ECONNREFUSED" });
  });

  test("`max` says how many, each `after` later", async () => {
    const { caller, at } = scripted([() => {}], { retry: false, hedge: { after: 100, max: 3 }, timeout: 1000 });
    expect(await errorOf(settled(caller.fetch(URL)))).toBeInstanceOf(CallTimeoutError);
    expect(at).toEqual([0, 100, 200, 300]);
    expect([caller.stats().running, counters().timer]).toEqual([0, 0]);
  });

  test("is paid from a budget of its own: 10, and a tenth of what succeeds", async () => {
    const { caller, at } = scripted([() => {}], { retry: false, hedge, timeout: 1000 });
    for (let i = 0; i < 20; i++) await errorOf(settled(caller.fetch(URL)));
    expect(at.length).toBe(30);
    const { caller: second, upstream } = scripted([ok], {
      retry: false,
      hedge: { after: 100, budget: { min: 0, ratio: 0.1 } },
    });
    for (let i = 0; i < 100; i++) await (await second.fetch(URL)).text();
    upstream.script = () => {};
    for (let i = 0; i < 20; i++) await errorOf(settled(second.fetch(URL, { timeout: 200 })));
    expect(upstream.arrived.length).toBe(100 + 20 + 10);
  });

  test("is not sent where there is no slot, and its token is given back", async () => {
    const { caller, at } = scripted([() => {}], {
      retry: false,
      perHost: 1,
      timeout: 1000,
      hedge: { after: 100, budget: { min: 1, ratio: 0 } },
    });
    await errorOf(settled(caller.fetch(URL)));
    expect(at).toEqual([0]);
    const wide = scripted([() => {}], {
      perHost: 2,
      retry: false,
      timeout: 1000,
      hedge: { after: 100, budget: { min: 1, ratio: 0 } },
    });
    await errorOf(settled(wide.caller.fetch(URL, { weight: 2 })));
    await errorOf(settled(wide.caller.fetch(URL)));
    expect(wide.at).toEqual([0, 1000, 1100]);
  });

  test("that finds no slot, or no token of a budget or a rate, is due again after as long", async () => {
    const { caller, at, upstream } = scripted([() => {}], { retry: false, perHost: 2, hedge: { after: 100, max: 2 } });
    const other = caller.fetch(URL, { method: "POST" });
    const call = caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(250);
    expect(at).toEqual([0, 0]);
    upstream.arrived[0]?.answer(null);
    await other;
    await vi.advanceTimersByTimeAsync(50);
    expect(at).toEqual([0, 0, 300]);
    upstream.last.answer(null);
    await call;
    expect([vi.getTimerCount(), counters().context]).toEqual([0, 0]);

    const rated = scripted([() => {}], { retry: false, rate: { limit: 4, burst: 1 }, hedge, timeout: 1000 });
    await errorOf(settled(rated.caller.fetch(URL)));
    expect(rated.at).toEqual([0, 300]);
  });

  test("that is due at once is due once", async () => {
    const { caller, at } = scripted([() => {}], { retry: false, perHost: 1, hedge: { after: 0 }, timeout: 1000 });
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(1);
    expect([vi.getTimerCount(), counters().timer]).toEqual([1, 0]); // That of the deadline.
    await vi.advanceTimersByTimeAsync(999);
    await call;
    expect(at).toEqual([0]);
  });

  /** A limit whose answers a test gives. */
  function asked<T>() {
    const answers: { resolve(value: T): void; reject(error: unknown): void }[] = [];
    const ask = () => new Promise<T>((resolve, reject) => void answers.push({ resolve, reject }));
    return { answers, ask };
  }

  test("waits for what a limiter says that has to be asked", async () => {
    for (const allowed of [true, false, "error"] as const) {
      const { answers, ask } = asked<boolean>();
      const budget = { min: 1, ratio: 0 };
      const { caller, at, upstream } = scripted([() => {}], {
        retry: false,
        rate: { allow: ask },
        hedge: { after: 100, budget },
      });
      const call = caller.fetch(URL);
      answers[0]?.resolve(true);
      await vi.advanceTimersByTimeAsync(130);
      expect([at, answers.length]).toEqual([[0], 2]);
      if (allowed === "error") answers[1]?.reject(new Error("no limiter"));
      else answers[1]?.resolve(allowed);
      await turn();
      expect(at).toEqual(allowed === true ? [0, 130] : [0]);
      expect(caller.stats().running).toBe(allowed === true ? 2 : 1);
      // The token of the budget was given back, so there is one for the next turn.
      await vi.advanceTimersByTimeAsync(100);
      expect(answers.length).toBe(allowed === true ? 2 : 3);
      upstream.arrived[0]?.answer(null);
      await call;
      expect([caller.stats().running, counters().context, vi.getTimerCount()]).toEqual([0, 0, 0]);
    }
  });

  test("waits for permits of one's own", async () => {
    const { answers, ask } = asked<{ release(): void }>();
    let released = 0;
    const permit = { release: () => void released++ };
    for (const options of [{ concurrency: { permit: ask } }, { perHost: () => ({ permit: ask }) }]) {
      answers.length = 0;
      released = 0;
      const { caller, at, upstream } = scripted([() => {}], { retry: false, hedge, ...options });
      const call = caller.fetch(URL);
      await turn();
      answers[0]?.resolve(permit);
      await vi.advanceTimersByTimeAsync(150);
      expect([at, answers.length]).toEqual([[0], 2]);
      answers[1]?.resolve(permit);
      await turn();
      expect(at).toEqual([0, 150]);
      upstream.last.answer(null);
      await call;
      expect([released, caller.stats().running, counters().context]).toEqual([2, 0, 0]);
    }
  });

  test("that still waits when the call is over is not sent, and gives back what comes", async () => {
    for (const how of ["limiter", "permits"] as const) {
      const { answers, ask } = asked<never>();
      let released = 0;
      const permit = { release: () => void released++ };
      const { caller, at, upstream } = scripted([() => {}], {
        retry: false,
        hedge: { after: 100, budget: { min: 1, ratio: 0 } },
        ...(how === "limiter" ? { rate: { allow: ask } } : { concurrency: { permit: ask } }),
      });
      const answer = (n: number) => answers[n]?.resolve((how === "limiter" ? true : permit) as never);
      for (const first of [0, 2]) {
        const call = caller.fetch(URL);
        await turn();
        answer(first);
        await vi.advanceTimersByTimeAsync(100);
        expect(answers.length).toBe(first + 2);
        upstream.last.answer(null);
        await call;
        await turn();
        expect([caller.stats().running, counters().context, counters()["semaphore unit"]]).toEqual([0, 0, 0]);
        answer(first + 1);
        await turn();
      }
      expect(at.length).toBe(2);
      expect(released).toBe(how === "limiter" ? 0 : 4);
      expect(counters()["semaphore unit"]).toBe(0);
    }
  });

  test("that may be sent as the call ends is sent or not, and holds nothing", async () => {
    let notSent = 0;
    for (let microtasks = 0; microtasks < 12; microtasks++) {
      const { answers, ask } = asked<boolean>();
      const { caller, at, upstream } = scripted([() => {}], {
        retry: false,
        rate: { allow: ask },
        breaker: {},
        hedge: { after: 100, budget: { min: 1, ratio: 0 } },
      });
      const call = caller.fetch(URL);
      answers[0]?.resolve(true);
      await vi.advanceTimersByTimeAsync(100);
      upstream.arrived[0]?.answer(null);
      for (let i = 0; i < microtasks; i++) await undefined;
      answers[1]?.resolve(true);
      await call;
      await turn();
      expect([caller.stats().running, counters().context, counters()["semaphore unit"]]).toEqual([0, 0, 0]);
      if (at.length === 1) notSent++;
    }
    expect(notSent).toBeGreaterThan(0);
  });

  test("goes with retries: an attempt of two that fail is tried again", async () => {
    const { caller, upstream, at } = scripted([() => {}, () => {}, ok], { hedge });
    const call = caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(100);
    for (const { fail } of upstream.arrived) fail(fetchFailed("ECONNRESET"));
    expect(await (await settled(call)).text()).toBe("ok");
    expect(at).toEqual([0, 100, 150]);
  });
});
