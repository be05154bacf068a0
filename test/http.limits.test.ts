/** SafeCaller: breakers, rates, permits of the caller's own, and how many hosts it knows. */
import { background, withCancel } from "gopark/context";
import * as errgroup from "gopark/errgroup";
import {
  BreakerOpenError,
  CallCanceledError,
  CallError,
  CallTimeoutError,
  type Permits,
  QueueFullError,
  QueueTimeoutError,
  RateLimitedError,
  SafeCaller,
  type SafeCallerOptions,
} from "gopark/http";
import { prometheusText } from "gopark/metrics";
import { Limiter } from "gopark/rate";
import { QueueFullError as PermitQueueFullError, Weighted } from "gopark/semaphore";
import { now } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { counters } from "../src/leak.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { errorOf, fetchFailed, Upstream } from "./support/upstream.ts";

const URL = "http://stock.example/tea";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
});

afterEach(() => {
  vi.restoreAllMocks();
});

function made(options: SafeCallerOptions = {}) {
  const upstream = new Upstream();
  return { upstream, caller: new SafeCaller({ fetch: upstream.fetch, ...options }) };
}

test("a name gives a caller metrics: what runs, what waits, and the hosts whose breaker is open", async () => {
  const { caller, upstream } = made({ name: "depot", perHost: 1, breaker: { readyToTrip: () => true } });
  const metrics = () => {
    const lines = prometheusText().matchAll(/^gopark_http_(\w+)\{name="depot"\} (\d+)$/gm);
    return Object.fromEntries(Array.from(lines, ([, metric, value]) => [metric, Number(value)]));
  };
  expect(metrics()).toEqual({ running: 0, queued: 0, hosts_down: 0 });
  const urls = [URL, URL, URL, "http://mail.example/"];
  const calls = urls.map((url) => caller.fetch(url).catch((error: Error) => error.name));
  await turn();
  expect(metrics()).toEqual({ running: 2, queued: 2, hosts_down: 0 });

  upstream.arrived[0]?.answer("x", { status: 500 });
  expect(await ((await calls[0]) as Response).text()).toBe("x");
  expect(await Promise.all(calls.slice(1, 3))).toEqual(["BreakerOpenError", "BreakerOpenError"]);
  expect(metrics()).toEqual({ running: 1, queued: 0, hosts_down: 1 });
  upstream.arrived[1]?.answer(null);
  await calls[3];
});

describe("a breaker", () => {
  const breaker = { readyToTrip: () => true, timeout: 1000 };
  const state = (caller: SafeCaller) => caller.stats().hosts["stock.example"]?.breaker;

  test("opens by time-outs, network errors and 5xx, and says when it lets calls through again", async () => {
    for (const how of ["timeout", "network", "500", "timeout in the body", "network in the body"]) {
      const { caller, upstream } = made({ breaker, timeout: 100 });
      const call = caller.fetch(URL).then((response) => response.text());
      call.catch(() => {});
      await turn();
      if (how === "network") upstream.last.fail(fetchFailed("ECONNRESET"));
      if (how === "500") upstream.last.answer("x", { status: 500 });
      const body = new ReadableStream({
        start: (controller) => {
          upstream.last.signal.addEventListener("abort", () => controller.error(upstream.last.signal.reason));
          if (how === "network in the body") controller.error(fetchFailed("ECONNRESET"));
        },
      });
      if (how.endsWith("body")) upstream.last.answer(body);
      await vi.advanceTimersByTimeAsync(100);
      await call.catch(() => {});
      expect([how, state(caller)]).toEqual([how, "open"]);
      const error = await errorOf(caller.fetch(URL));
      expect(error).toBeInstanceOf(BreakerOpenError);
      expect(error).toMatchObject({ phase: "queue", sent: "no", name: "BreakerOpenError" });
      const openedAt = now() - (how.startsWith("timeout") ? 0 : 100);
      expect(error.retryAt).toBe(openedAt + 1000);
      expect(upstream.arrived.length).toBe(1);
      expect(caller.stats().running).toBe(0);
    }
  });

  test("stays closed by 4xx, a cancel, refusals, and bodies that the caller does not want", async () => {
    const { caller, upstream } = made({ breaker, perHost: 1, queue: 0, timeout: 1000 });
    upstream.script = (request) => request.answer("x", { status: 404 });
    await (await caller.fetch(URL)).text();
    await (await caller.fetch(URL)).body?.cancel();
    await caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(1000); // Nobody has read it.
    upstream.script = undefined;
    const [ctx, cancel] = withCancel(background());
    const call = errorOf(caller.fetch(URL, { ctx }));
    await turn();
    expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(QueueFullError);
    cancel();
    expect(await call).toBeInstanceOf(CallCanceledError);
    upstream.script = (request) => request.answer("<html>");
    expect((await errorOf((await caller.fetch(URL)).json())).name).toBe("SyntaxError");
    expect(state(caller)).toBe("closed");
  });

  test("half-open: one probe, and the rest waits for what it finds; a success lets all through", async () => {
    const { caller, upstream } = made({ breaker });
    upstream.script = (request) => request.answer("x", { status: 503 });
    await (await caller.fetch(URL)).text();
    upstream.script = undefined;
    await vi.advanceTimersByTimeAsync(1001);
    const probe = caller.fetch(URL);
    await turn();
    expect(state(caller)).toBe("half-open");
    const waiting = [caller.fetch(URL), caller.fetch(URL)];
    await turn();
    expect([upstream.arrived.length, caller.stats()]).toMatchObject([2, { running: 1, queued: 2 }]);
    upstream.last.answer("fine");
    await (await probe).text();
    expect(state(caller)).toBe("closed");
    await turn();
    expect([upstream.arrived.length, caller.stats()]).toMatchObject([4, { running: 2, queued: 0 }]);
    for (const request of upstream.arrived.slice(2)) request.answer("fine");
    for (const response of await Promise.all(waiting)) await response.text();
  });

  test("half-open: those that wait for a probe that fails are refused, and open it is again", async () => {
    const { caller, upstream } = made({ breaker });
    upstream.script = (request) => request.answer("x", { status: 503 });
    await (await caller.fetch(URL)).text();
    upstream.script = undefined;
    await vi.advanceTimersByTimeAsync(1001);
    const probe = caller.fetch(URL);
    await turn();
    const waiting = [caller.fetch(URL), caller.fetch(URL)].map(errorOf);
    await turn();
    upstream.last.answer("x", { status: 500 });
    await (await probe).text();
    for (const error of await Promise.all(waiting)) {
      expect(error).toBeInstanceOf(BreakerOpenError);
      expect(error.retryAt).toBe(now() + 1000);
    }
    expect([upstream.arrived.length, caller.stats().queued]).toEqual([2, 0]);
  });

  test("half-open: the wait for a probe is one in the queue, with its length, its time and its end", async () => {
    const { caller, upstream } = made({ breaker, queue: 1, queueTimeout: 200 });
    upstream.script = (request) => request.answer("x", { status: 503 });
    await (await caller.fetch(URL)).text();
    upstream.script = undefined;
    await vi.advanceTimersByTimeAsync(1001);
    const probe = caller.fetch(URL).then((response) => response.text());
    await turn();
    const late = errorOf(caller.fetch(URL));
    await turn();
    expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(QueueFullError);
    await vi.advanceTimersByTimeAsync(200);
    const timedOut = await late;
    expect(timedOut).toBeInstanceOf(QueueTimeoutError);
    expect(timedOut.message).toBe("call to stock.example waited 200 ms for the probe of its circuit breaker");
    const [ctx, cancel] = withCancel(background());
    const cancelled = errorOf(caller.fetch(URL, { ctx }));
    await turn();
    cancel();
    expect(await cancelled).toBeInstanceOf(CallCanceledError);
    expect([upstream.arrived.length, caller.stats()]).toMatchObject([2, { running: 1, queued: 0 }]);
    upstream.last.answer("fine");
    await probe;
  });

  test("half-open: calls in groups, of which the failure of one cancels the others, close it", async () => {
    const { caller, upstream } = made({ breaker });
    upstream.script = (request) => request.answer("x", { status: 503 });
    await (await caller.fetch(URL)).text();
    await vi.advanceTimersByTimeAsync(1001);
    upstream.script = (request) => request.answer("fine");
    const page = errgroup.scope(background(), async (g, ctx) => {
      for (let i = 0; i < 3; i++) await g.go(async () => void (await (await caller.fetch(URL, { ctx })).text()));
    });
    await page;
    expect([state(caller), upstream.arrived.length]).toEqual(["closed", 4]);
  });

  test("a cancelled probe gives its place to the next call", async () => {
    const { caller, upstream } = made({ breaker });
    upstream.script = (request) => request.answer("x", { status: 503 });
    await (await caller.fetch(URL)).text();
    upstream.script = undefined;
    await vi.advanceTimersByTimeAsync(1001);
    for (let i = 0; i < 3; i++) {
      const [ctx, cancel] = withCancel(background());
      const probe = errorOf(caller.fetch(URL, { ctx }));
      await turn();
      cancel();
      expect(await probe).toBeInstanceOf(CallCanceledError);
    }
    expect([state(caller), upstream.arrived.length]).toEqual(["half-open", 4]);

    const [ctx, cancel] = withCancel(background());
    const probe = errorOf(caller.fetch(URL, { ctx }));
    const waiting = [caller.fetch(URL), caller.fetch(URL)].map((call) => call.then((response) => response.text()));
    await turn();
    cancel();
    expect(await probe).toBeInstanceOf(CallCanceledError);
    await turn();
    expect([state(caller), upstream.arrived.length, caller.stats().queued]).toEqual(["half-open", 6, 1]);
    upstream.script = (request) => request.answer("fine");
    upstream.last.answer("fine");
    await Promise.all(waiting);
    expect(state(caller)).toBe("closed");
  });

  test("a result from before it opened does not count", async () => {
    const { caller, upstream } = made({ breaker, timeout: 60_000 });
    const slow = [caller.fetch(URL), caller.fetch(URL)].map((call) => call.then((response) => response.text()));
    await turn();
    const failing = caller.fetch(URL).then((response) => response.text());
    await turn();
    upstream.last.answer("x", { status: 500 });
    await failing;
    await vi.advanceTimersByTimeAsync(1001);
    const probe = caller.fetch(URL);
    await turn();
    upstream.arrived[0]?.answer("late success");
    upstream.arrived[1]?.fail(fetchFailed("ECONNRESET"));
    await Promise.allSettled(slow);
    expect(state(caller)).toBe("half-open");
    upstream.last.answer(null);
    await probe;
    expect(state(caller)).toBe("closed");
  });

  test("a call that waited for a slot while it opened is refused, and its slot goes on", async () => {
    const { caller, upstream } = made({ breaker, perHost: 1 });
    const first = caller.fetch(URL);
    const waiting = [caller.fetch(URL), caller.fetch(URL)].map(errorOf);
    await turn();
    upstream.last.answer("x", { status: 500 });
    await (await first).text();
    for (const error of await Promise.all(waiting)) expect(error).toBeInstanceOf(BreakerOpenError);
    expect([upstream.arrived.length, caller.stats().running]).toEqual([1, 0]);
  });

  test("that is open refuses at once, before the rate and the queue are asked", async () => {
    const { caller, upstream } = made({ breaker, perHost: 2, queue: 0, rate: { limit: 0, burst: 3 } });
    const hung = caller.fetch(URL);
    const failing = caller.fetch(URL).then((response) => response.text());
    await turn();
    upstream.last.answer("x", { status: 500 });
    await failing;
    for (let i = 0; i < 5; i++) {
      expect(await errorOf(caller.fetch(URL, { weight: 2 }))).toBeInstanceOf(BreakerOpenError);
    }
    upstream.arrived[0]?.answer(null);
    await hung;
    await vi.advanceTimersByTimeAsync(1001);
    const probe = caller.fetch(URL);
    await turn();
    upstream.last.answer(null);
    expect((await probe).ok).toBe(true);
  });

  test("each host has one", async () => {
    const { caller, upstream } = made({ breaker });
    upstream.script = (request) => request.answer(null, { status: request.url.includes("bad") ? 500 : 200 });
    await caller.fetch("http://bad.example/");
    expect(await errorOf(caller.fetch("http://bad.example/"))).toBeInstanceOf(BreakerOpenError);
    expect((await caller.fetch("http://good.example/")).status).toBe(200);
  });

  test("what its functions throw is a warning of the process, and no call suffers", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const oops = new Error("oops");
    const readyToTrip = (): never => {
      throw oops;
    };
    const { caller, upstream } = made({ breaker: { readyToTrip } });
    upstream.script = (request) => request.answer("x", { status: 500 });
    expect(await (await caller.fetch(URL)).text()).toBe("x");
    expect(warned.mock.calls).toEqual([[oops]]);
    expect(caller.stats().running).toBe(0);
  });

  test("a clock that throws rejects the call, and nothing is held", async () => {
    let broken = false;
    const { caller, upstream } = made({
      breaker: {
        interval: 1000,
        now: () => {
          if (broken) throw new Error("no clock");
          return 1;
        },
      },
    });
    upstream.script = (request) => request.answer(null);
    await caller.fetch(URL);
    broken = true;
    expect((await errorOf(caller.fetch(URL))).message).toBe("no clock");
    expect([caller.stats().running, counters().context]).toEqual([0, 0]);
  });
});

describe("a rate", () => {
  test("refuses at once what exceeds it, for each host, and says when there is a token again", async () => {
    const { caller, upstream } = made({ rate: { limit: 2, burst: 2 } });
    upstream.script = (request) => request.answer(null);
    await caller.fetch(URL);
    await caller.fetch(URL);
    const error = await errorOf(caller.fetch(URL));
    expect(error).toBeInstanceOf(RateLimitedError);
    expect(error).toBeInstanceOf(CallError);
    expect(error).toMatchObject({ phase: "queue", sent: "no", retryAt: now() + 500 });
    expect((await caller.fetch("http://other.example/")).ok).toBe(true);
    await vi.advanceTimersByTimeAsync(500);
    expect((await caller.fetch(URL)).ok).toBe(true);
    expect(upstream.arrived.length).toBe(4);
  });

  test("counts no call that a full queue refuses, and gives its slot back where it refuses", async () => {
    const { caller, upstream } = made({ perHost: 1, queue: 1, rate: { limit: 0, burst: 3 } });
    const calls = [caller.fetch(URL), caller.fetch(URL)];
    for (let i = 0; i < 3; i++) expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(QueueFullError);
    upstream.script = (request) => request.answer(null);
    upstream.last.answer(null);
    await Promise.all(calls);
    expect((await caller.fetch(URL)).ok).toBe(true);
    expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(RateLimitedError);
    expect([caller.stats().running, counters()["semaphore unit"], upstream.arrived.length]).toEqual([0, 0, 3]);
  });

  test.each([
    [{ limit: 0, burst: 0 }, undefined],
    [{ limit: 0, burst: 1 }, undefined],
  ])("of %o has no next token", async (rate, retryAt) => {
    const { caller, upstream } = made({ rate });
    upstream.script = (request) => request.answer(null);
    for (let i = 0; i < rate.burst; i++) await caller.fetch(URL);
    expect((await errorOf(caller.fetch(URL))).retryAt).toBe(retryAt);
  });

  test("may be a limiter of the caller's own, which counts all calls; or one that has to be asked", async () => {
    for (const limits of [new Limiter(0, 1), { left: 1, allow: async (): Promise<boolean> => limitsLeft-- > 0 }]) {
      limitsLeft = 1;
      const { caller, upstream } = made({ rate: limits });
      upstream.script = (request) => request.answer(null);
      await caller.fetch(URL);
      const error = await errorOf(caller.fetch("http://other.example/"));
      expect(error).toBeInstanceOf(RateLimitedError);
      expect(error.retryAt).toBeUndefined();
      expect(upstream.arrived.length).toBe(1);
    }
  });
  let limitsLeft = 1;

  test("whose function ends the call: nothing is sent", async () => {
    for (const isLater of [false, true]) {
      const [ctx, cancel] = withCancel(background());
      const allow = () => {
        cancel();
        return isLater ? Promise.resolve(true) : true;
      };
      const { caller, upstream } = made({ rate: { allow }, breaker: {} });
      const error = await errorOf(caller.fetch(URL, { ctx }));
      expect(error).toMatchObject({ name: "AbortError", phase: "queue", sent: "no" });
      expect([upstream.arrived.length, caller.stats().running, counters().context]).toEqual([0, 0, 0]);
    }
  });

  test("that cannot be asked rejects the call with that error", async () => {
    const oops = new Error("no limiter");
    for (const allow of [
      () => {
        throw oops;
      },
      () => Promise.reject(oops),
    ]) {
      const { caller, upstream } = made({ rate: { allow } });
      expect(await errorOf(caller.fetch(URL))).toBe(oops);
      expect([upstream.arrived.length, counters().context, caller.stats().running]).toEqual([0, 0, 0]);
    }
  });

  test("that never answers is waited for until the deadline, or until the caller is closed", async () => {
    const seen = await unhandledDuring(async () => {
      const late: ((error: unknown) => void)[] = [];
      const { caller } = made({ timeout: 1000, rate: { allow: () => new Promise((_, reject) => late.push(reject)) } });
      const call = errorOf(caller.fetch(URL));
      await vi.advanceTimersByTimeAsync(1000);
      expect(await call).toBeInstanceOf(CallTimeoutError);
      const second = errorOf(caller.fetch(URL));
      await turn();
      await caller.close();
      expect(await second).toMatchObject({ name: "AbortError", phase: "queue", sent: "no" });
      expect(counters().context).toBe(0);
      for (const reject of late) reject(new Error("late"));
    });
    expect(seen).toEqual([]);
  });

  test("each attempt needs a token", async () => {
    const { caller, upstream } = made({ rate: new Limiter(0, 1), retry: { base: 0 } });
    upstream.script = (request) => request.fail(fetchFailed("ECONNREFUSED"));
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(1);
    expect(await call).toMatchObject({ name: "RateLimitedError", attempt: 2 });
    expect(upstream.arrived.length).toBe(1);
  });

  test("that will have no token after the wait: the answer or the error that there is counts", async () => {
    const { caller, upstream } = made({
      rate: { limit: 1, burst: 1 },
      retry: { base: 0, budget: { min: 1, ratio: 0 } },
    });
    upstream.script = (request) => request.answer("busy", { status: 503 });
    const response = await caller.fetch(URL);
    expect([response.status, await response.text(), upstream.arrived.length]).toEqual([503, "busy", 1]);
    await vi.advanceTimersByTimeAsync(1000);
    upstream.script = (request) => request.fail(fetchFailed("ECONNRESET"));
    expect(await errorOf(caller.fetch(URL))).toMatchObject({ name: "NetworkError", attempt: 1 });
    await vi.advanceTimersByTimeAsync(1000);
    // It has one by then, and the budget's token was given back.
    upstream.script = (request, n) =>
      n === 3 ? request.answer("busy", { status: 503, headers: { "retry-after": "1" } }) : request.answer("fine");
    const call = caller.fetch(URL);
    await vi.advanceTimersByTimeAsync(1000);
    expect([await (await call).text(), upstream.arrived.length]).toEqual(["fine", 4]);
  });

  test("whose token another call takes during the wait: the call is refused, and was sent", async () => {
    const { caller, upstream } = made({ rate: { limit: 1, burst: 1 }, retry: { base: 0 } });
    upstream.script = (request) => request.answer("busy", { status: 503, headers: { "retry-after": "2" } });
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(1500);
    upstream.script = (request) => request.answer(null);
    expect((await caller.fetch(URL)).ok).toBe(true);
    await vi.advanceTimersByTimeAsync(500);
    expect(await call).toMatchObject({ name: "RateLimitedError", attempt: 2, sent: "yes" });
    expect(upstream.arrived.length).toBe(2);
  });
});

describe("permits of the caller's own", () => {
  test("are shared with other code, for a host and for all", async () => {
    const all = new Weighted(2);
    const hosts: string[] = [];
    const { caller, upstream } = made({
      concurrency: all,
      perHost: (host) => {
        hosts.push(host);
        return new Weighted(2, { maxWaiting: 0 });
      },
    });
    await all.acquire(background());
    const first = caller.fetch(URL);
    const second = caller.fetch(URL);
    await turn();
    expect([upstream.arrived.length, hosts]).toEqual([1, ["stock.example"]]);
    const third: unknown = await errorOf(caller.fetch(URL));
    expect(third).toBeInstanceOf(CallError);
    expect(third).toBeInstanceOf(PermitQueueFullError);
    if (!(third instanceof QueueFullError)) throw third;
    expect([third.name, third.host, third.phase, third.sent]).toEqual([
      "QueueFullError",
      "stock.example",
      "queue",
      "no",
    ]);
    all.release();
    await turn();
    expect(upstream.arrived.length).toBe(2);
    for (const { answer } of upstream.arrived) answer(null);
    await Promise.all([first, second]);
    expect(all.held()).toBe(0);
  });

  /** Permits that a fleet might share: granted by hand, heeding nothing. */
  function byHand() {
    const asked: { grant: (permit?: unknown) => void; refuse: (error: unknown) => void; n: number | undefined }[] = [];
    let released = 0;
    const permit = { release: () => void released++ };
    const permits: Permits = {
      permit: (_, n) =>
        new Promise((resolve, reject) => {
          asked.push({ grant: (given = permit) => resolve(given as typeof permit), refuse: reject, n });
        }),
    };
    return { permits, asked, released: () => released };
  }

  test("are not compared with each other, nor with numbers", () => {
    function ofHost() {
      return new Weighted(1);
    }
    for (const concurrency of [1, new Weighted(1)]) made({ concurrency, perHost: ofHost });
    made({ concurrency: new Weighted(1), perHost: 300 });
  });

  test("an error of a semaphore itself is no QueueFullError of a call", async () => {
    const full = new Weighted(1, { maxWaiting: 0 });
    await full.acquire(background());
    const error = await errorOf(full.acquire(background()));
    expect(error).toBeInstanceOf(PermitQueueFullError);
    expect(error).not.toBeInstanceOf(QueueFullError);
    full.release();
  });

  test("are asked for the weight, and released once with the body", async () => {
    const { permits, asked, released } = byHand();
    const { caller, upstream } = made({ concurrency: permits });
    const call = caller.fetch(URL, { weight: 3 });
    await turn();
    expect([asked.length, asked[0]?.n, upstream.arrived.length, caller.stats().queued]).toEqual([1, 3, 0, 1]);
    asked[0]?.grant();
    await turn();
    upstream.last.answer("x");
    const response = await call;
    expect(released()).toBe(0);
    await response.text();
    expect([released(), caller.stats().running]).toEqual([1, 0]);
  });

  test("that heed no context: the call is answered on time, and units that come late are given back", async () => {
    const { permits, asked, released } = byHand();
    const { caller } = made({ concurrency: permits, timeout: 1000 });
    const call = errorOf(caller.fetch(URL));
    await vi.advanceTimersByTimeAsync(500);
    expect(await call).toBeInstanceOf(QueueTimeoutError);
    expect([caller.stats().queued, counters().context, counters()["semaphore unit"]]).toEqual([0, 0, 0]);
    asked[0]?.grant();
    await turn();
    expect(released()).toBe(1);
  });

  test("that throw, reject, or are none: the call rejects with that, and nothing is held", async () => {
    const oops = new Error("no permits");
    for (const permit of [
      () => {
        throw oops;
      },
      () => Promise.reject(oops),
    ]) {
      const { caller } = made({ concurrency: { permit } });
      expect(await errorOf(caller.fetch(URL))).toBe(oops);
    }
    const { caller } = made({ concurrency: { permit: async () => ({}) as never } });
    expect((await errorOf(caller.fetch(URL))).message).toBe(
      "permit must resolve to an object with release, got an object (Object)",
    );
    const { caller: second } = made({ perHost: () => 5 as never });
    expect(await errorOf(second.fetch(URL))).toBeInstanceOf(TypeError);
    const { caller: third } = made({
      perHost: () => {
        throw oops;
      },
    });
    expect(await errorOf(third.fetch(URL))).toBe(oops);
    expect([counters().context, counters()["semaphore unit"]]).toEqual([0, 0]);
  });

  test("whose release throws or rejects: that is a warning of the process, and the call goes on", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const oops = new Error("oops");
    for (const release of [
      (): never => {
        throw oops;
      },
      () => Promise.reject(oops),
      () => ({ then: (_: unknown, reject: (error: unknown) => void) => reject(oops) }) as never,
    ]) {
      const { caller, upstream } = made({ concurrency: { permit: async () => ({ release }) } });
      upstream.script = (request) => request.answer("x");
      expect(await (await caller.fetch(URL)).text()).toBe("x");
      expect(caller.stats().running).toBe(0);
    }
    await turn();
    expect(warned.mock.calls).toEqual([[oops], [oops], [oops]]);
  });
});

describe("hosts", () => {
  test("`key` says what a URL is counted under; what it throws, or another type, rejects the call", async () => {
    const { caller, upstream } = made({ key: (url) => url.pathname });
    upstream.script = (request) => request.answer(null);
    await caller.fetch("http://a.example/__proto__");
    await caller.fetch("http://b.example/__proto__");
    expect(Object.keys(caller.stats().hosts)).toEqual(["/__proto__"]);
    const oops = new Error("oops");
    const throwing = (): never => {
      throw oops;
    };
    expect(await errorOf(made({ key: throwing }).caller.fetch(URL))).toBe(oops);
    expect((await errorOf(made({ key: () => 5 as never }).caller.fetch(URL))).message).toBe(
      "SafeCaller: key must return a string, got 5",
    );
    expect(counters().context).toBe(0);
  });

  test("a key like a name of Object.prototype is a key", async () => {
    const { caller, upstream } = made({ key: () => "__proto__" });
    upstream.script = (request) => request.answer(null);
    await caller.fetch(URL);
    expect(Object.entries(caller.stats().hosts)).toEqual([
      ["__proto__", { running: 0, queued: 0, breaker: undefined }],
    ]);
  });

  test("of many thousand hosts only `maxHosts` are known, and those in use stay", async () => {
    const { caller, upstream } = made({ maxHosts: 100 });
    const held = caller.fetch("http://held.example/");
    await turn();
    upstream.script = (request) => request.answer(null);
    for (let i = 0; i < 5000; i++) await caller.fetch(`http://host${i}.example/`);
    const { hosts } = caller.stats();
    expect(Object.keys(hosts).length).toBeLessThanOrEqual(101);
    expect(hosts["held.example"]).toMatchObject({ running: 1 });
    upstream.arrived[0]?.answer(null);
    await held;
  });

  test("while all of them are in use, further ones share one host without a breaker", async () => {
    const { caller, upstream } = made({ maxHosts: 2, perHost: 1, queue: 0, breaker: { readyToTrip: () => true } });
    const held = ["a", "b"].map((name) => caller.fetch(`http://${name}.example/`));
    const third = caller.fetch("http://c.example/");
    await turn();
    expect(await errorOf(caller.fetch("http://d.example/"))).toMatchObject({
      name: "QueueFullError",
      host: "(others)",
    });
    upstream.last.answer(null, { status: 500 });
    await third;
    expect(caller.stats().hosts["(others)"]).toEqual({ running: 0, queued: 0, breaker: undefined });
    upstream.arrived[0]?.answer(null);
    upstream.arrived[1]?.answer(null);
    await Promise.all(held);
    upstream.script = (request) => request.answer(null);
    await caller.fetch("http://e.example/");
    expect(Object.keys(caller.stats().hosts)).toContain("e.example");
  });

  test("one whose breaker is open is not forgotten", async () => {
    const { caller, upstream } = made({ maxHosts: 2, breaker: { readyToTrip: () => true } });
    upstream.script = (request) => request.answer(null, { status: 500 });
    await caller.fetch("http://down.example/");
    upstream.script = (request) => request.answer(null);
    for (let i = 0; i < 50; i++) await caller.fetch(`http://host${i}.example/`);
    expect(await errorOf(caller.fetch("http://down.example/"))).toBeInstanceOf(BreakerOpenError);
  });
});
