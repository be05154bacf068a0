/** SafeCaller and interceptor: bad options and arguments are refused with a message, and change nothing. */
import { interceptor, SafeCaller } from "gopark/http";
import { describe, expect, test, vi } from "vitest";
import { counters } from "../src/leak.ts";
import { errorOf, Upstream } from "./support/upstream.ts";

const URL = "http://stock.example/tea";
const nan = Number.NaN;

const limits: [object, string, string][] = [
  [{ timeout: 0 }, "RangeError", "timeout must be above 0, got 0"],
  [{ timeout: -1 }, "RangeError", "timeout must be above 0, got -1"],
  [{ timeout: nan }, "RangeError", "timeout must be a number of milliseconds, got NaN"],
  [{ timeout: "1" }, "TypeError", 'timeout must be a number of milliseconds, got "1"'],
  [{ queueTimeout: 0 }, "RangeError", "queueTimeout must be above 0, got 0"],
  [{ concurrency: 0 }, "RangeError", "concurrency must be a whole number from 1 to 2^53-1, got 0"],
  [{ concurrency: "1" }, "TypeError", 'concurrency must be a whole number, got "1"'],
  [{ concurrency: {} }, "TypeError", "concurrency must be a whole number, got an object (Object)"],
  [{ concurrency: null }, "TypeError", "concurrency must be a whole number, got null"],
  [{ perHost: 0.5 }, "RangeError", "perHost must be a whole number from 1 to 2^53-1, got 0.5"],
  [
    { perHost: Number.POSITIVE_INFINITY },
    "RangeError",
    "perHost must be a whole number from 1 to 2^53-1, got Infinity",
  ],
  [{ perHost: 3, concurrency: 2 }, "RangeError", "perHost must be at most concurrency, got 3 and 2"],
  [{ queue: -1 }, "RangeError", "queue must be a whole number from 0 to 2^53-1, got -1"],
  [{ key: "host" }, "TypeError", 'key must be a function, got "host"'],
  [{ maxHosts: 0 }, "RangeError", "maxHosts must be a whole number from 1 to 2^53-1, got 0"],
  [{ breaker: true }, "TypeError", "breaker must be an object, got true"],
  [{ breaker: null }, "TypeError", "breaker must be an object, got null"],
  [{ breaker: { timeout: nan } }, "RangeError", "breaker: timeout must be a number of milliseconds, got NaN"],
  [{ rate: 5 }, "TypeError", "rate must be an object, got 5"],
  [{ rate: { limit: -1, burst: 1 } }, "RangeError", "limit must be"],
];

describe.each(["SafeCaller", "interceptor"] as const)("%s", (what) => {
  const make = (options: unknown) =>
    what === "SafeCaller" ? new SafeCaller(options as never) : interceptor(options as never);

  test.each(limits)("%o", (options, name, message) => {
    let error: Error | undefined;
    try {
      make(options);
    } catch (thrown) {
      error = thrown as Error;
    }
    expect(error?.name).toBe(name);
    expect(error?.message).toContain(message);
    expect(error?.message).toMatch(new RegExp(`^(${what}|KeyedLimiter): `));
  });

  test("options that are undefined or null are none; others that are no object are refused", () => {
    for (const none of [undefined, null, {}]) make(none);
    expect(() => make(5)).toThrow(new TypeError(`${what}: options must be an object, got 5`));
  });
});

const own: [object, string, string][] = [
  [{ fetch: 5 }, "TypeError", "SafeCaller: fetch must be a function, got 5"],
  [{ retry: true }, "TypeError", "SafeCaller: retry must be an object, got true"],
  [{ retry: null }, "TypeError", "SafeCaller: retry must be an object, got null"],
  [{ retry: { attempts: 0 } }, "RangeError", "SafeCaller: attempts must be a whole number from 1 to 2^53-1, got 0"],
  [{ retry: { base: -1 } }, "RangeError", "SafeCaller: base must be 0 or more, got -1"],
  [{ retry: { base: Number.POSITIVE_INFINITY } }, "RangeError", "SafeCaller: base must be finite, got Infinity"],
  [{ retry: { cap: nan } }, "RangeError", "SafeCaller: cap must be a number of milliseconds, got NaN"],
  [{ retry: { statuses: 503 } }, "TypeError", "SafeCaller: statuses must be an array, got 503"],
  [{ retry: { statuses: [5] } }, "RangeError", "SafeCaller: a status must be a whole number from 100 to 2^53-1, got 5"],
  [{ retry: { maxRetryAfter: -1 } }, "RangeError", "SafeCaller: maxRetryAfter must be 0 or more, got -1"],
  [{ retry: { budget: { ratio: 2 } } }, "RangeError", "Budget: ratio must be from 0 to 1, got 2"],
  [{ hedge: {} }, "TypeError", "SafeCaller: after must be a number of milliseconds, got undefined"],
  [{ hedge: { after: -1 } }, "RangeError", "SafeCaller: after must be 0 or more, got -1"],
  [{ hedge: { after: 1, max: 0 } }, "RangeError", "SafeCaller: max must be a whole number from 1 to 2^53-1, got 0"],
  [{ hedge: 5 }, "TypeError", "SafeCaller: hedge must be an object, got 5"],
  [{ phases: 1 }, "TypeError", "SafeCaller: phases must be a boolean, got 1"],
];

test("an option that is undefined is left out, also by its type", async () => {
  const none = undefined as number | undefined;
  const upstream = new Upstream();
  upstream.script = (request) => request.answer(null);
  const budget = { ratio: none, min: none };
  const caller = new SafeCaller({
    fetch: upstream.fetch,
    timeout: none,
    queueTimeout: none,
    concurrency: none,
    perHost: none,
    queue: none,
    key: undefined,
    maxHosts: none,
    breaker: undefined,
    rate: undefined,
    phases: undefined,
    retry: { attempts: none, base: none, cap: none, statuses: undefined, maxRetryAfter: none, budget },
    hedge: { after: 10, max: none, budget },
  });
  new SafeCaller({ fetch: undefined, retry: undefined, hedge: undefined });
  const init = { ctx: undefined, timeout: none, idempotent: undefined, weight: none };
  expect((await caller.fetch(URL, init)).ok).toBe(true);
});

test.each(own)("SafeCaller: %o", (options, name, message) => {
  expect(() => new SafeCaller(options as never)).toThrow(message);
  expect(() => new SafeCaller(options as never)).toThrow(name === "TypeError" ? TypeError : RangeError);
});

describe("fetch", () => {
  const calls: [unknown, unknown, string, string][] = [
    [undefined, {}, "TypeError", ""],
    ["no url", {}, "TypeError", ""],
    [5, {}, "TypeError", ""],
    [{}, {}, "TypeError", ""],
    [URL, 5, "TypeError", "fetch: init must be an object, got 5"],
    [URL, { timeout: 0 }, "RangeError", "fetch: timeout must be above 0, got 0"],
    [URL, { timeout: "1" }, "TypeError", "fetch: timeout must be a number of milliseconds"],
    [URL, { weight: 0 }, "RangeError", "fetch: weight must be a whole number from 1"],
    [URL, { weight: 1.5 }, "RangeError", "fetch: weight must be a whole number from 1"],
    [URL, { idempotent: "false" }, "TypeError", 'fetch: idempotent must be a boolean, got "false"'],
    [URL, { idempotent: null }, "TypeError", "fetch: idempotent must be a boolean, got null"],
    [URL, { ctx: {} }, "TypeError", "expected a Context or an AbortSignal"],
    [URL, { ctx: null }, "TypeError", ""],
    [URL, { signal: 5 }, "TypeError", "expected a Context or an AbortSignal"],
  ];

  test.each(calls)("of %o with %o rejects, and nothing is sent or held", async (input, init, name, message) => {
    const upstream = new Upstream();
    const caller = new SafeCaller({ fetch: upstream.fetch });
    const promise = caller.fetch(input as never, init as never);
    const error = await errorOf(promise);
    expect(error.name).toBe(name);
    expect(error.message).toContain(message);
    expect([upstream.arrived.length, caller.stats().running, counters().context]).toEqual([0, 0, 0]);
  });

  test("an init that is undefined or null is none, and a signal that is null too", async () => {
    const upstream = new Upstream();
    upstream.script = (request) => request.answer(null);
    const caller = new SafeCaller({ fetch: upstream.fetch });
    for (const init of [undefined, null, { signal: null }]) await caller.fetch(URL, init as never);
    expect(upstream.arrived.length).toBe(3);
  });

  test("an init whose getters throw, or that changes later, is read once", async () => {
    const upstream = new Upstream();
    upstream.script = (request) => request.fail(new TypeError("fetch failed", { cause: { code: "ECONNREFUSED" } }));
    const caller = new SafeCaller({ fetch: upstream.fetch, retry: { base: 0 } });
    const oops = new Error("oops");
    const throwing = {
      get method(): string {
        throw oops;
      },
    };
    expect(await errorOf(caller.fetch(URL, throwing))).toBe(oops);
    const method = vi.fn(() => "GET");
    await errorOf(caller.fetch(URL, Object.defineProperty({}, "method", { get: method, enumerable: true })));
    expect(method).toHaveBeenCalledTimes(1);
    expect([upstream.arrived.length, counters().context]).toEqual([2, 0]);
  });

  test("a fetch that throws, or returns no promise", async () => {
    const oops = new Error("oops");
    const throwing = new SafeCaller({
      fetch: () => {
        throw oops;
      },
    });
    expect(await errorOf(throwing.fetch(URL))).toMatchObject({ name: "NetworkError", cause: oops, code: undefined });
    const sync = new SafeCaller({ fetch: () => new Response("sync") as never });
    expect(await (await sync.fetch(URL)).text()).toBe("sync");
    const thenable = { then: (resolve: (response: Response) => void) => resolve(new Response("then")) };
    const then = new SafeCaller({ fetch: () => thenable as never });
    expect(await (await then.fetch(URL)).text()).toBe("then");
    expect(throwing.stats().running + sync.stats().running + then.stats().running).toBe(0);
  });

  const mistakes: [string, () => unknown][] = [
    ["ReferenceError", () => {}],
    ["TypeError", () => (undefined as never as { x: unknown }).x],
    ["TypeError", () => (5 as never as () => unknown)()],
    ["TypeError", () => new (5 as never as new () => unknown)()],
    ["TypeError", () => [...(5 as never as unknown[])]],
    ["SyntaxError", () => JSON.parse("<html>")],
    ["RangeError", () => new Array(-1)],
    ["URIError", () => decodeURIComponent("%")],
  ];

  test.each(mistakes)(
    "a fetch with a mistake in its code: a %s is passed on, not tried again, not counted",
    async (name, fn) => {
      for (const isAsync of [false, true]) {
        let times = 0;
        const fetch = (): never => {
          times++;
          fn();
          throw new ReferenceError("noSuchThing is not defined");
        };
        const caller = new SafeCaller({
          fetch: isAsync ? async () => fetch() : fetch,
          retry: { attempts: 3, base: 0 },
          breaker: { readyToTrip: () => true },
        });
        const error = await errorOf(caller.fetch(URL));
        expect([error.name, times]).toEqual([name, 1]);
        expect(caller.stats()).toMatchObject({ running: 0, hosts: { "stock.example": { breaker: "closed" } } });
        expect(counters().context).toBe(0);
      }
    },
  );

  test.each(["Failed to fetch", "NetworkError when attempting to fetch resource.", "Load failed", "fetch failed"])(
    "a TypeError of the network is none: %s",
    async (message) => {
      const caller = new SafeCaller({ fetch: () => Promise.reject(new TypeError(message)) });
      expect(await errorOf(caller.fetch(URL))).toMatchObject({ name: "NetworkError", sent: "maybe" });
      const cause = new Error("other side closed");
      const caused = new SafeCaller({ fetch: () => Promise.reject(new TypeError("x is undefined", { cause })) });
      expect(await errorOf(caused.fetch(URL))).toMatchObject({ name: "NetworkError" });
    },
  );

  test.each(["ftp://stock.example/", "http://127.0.0.1:6000/"])(
    "a URL that fetch takes nothing from: %s",
    async (url) => {
      const fetch = vi.fn((...args: Parameters<typeof globalThis.fetch>) => globalThis.fetch(...args));
      const caller = new SafeCaller({
        fetch: fetch as never,
        retry: { base: 0 },
        breaker: { readyToTrip: () => true },
      });
      const error = await errorOf(caller.fetch(url));
      expect([error.name, error.message, fetch.mock.calls.length]).toEqual(["TypeError", "fetch failed", 1]);
      expect(Object.values(caller.stats().hosts)).toMatchObject([{ running: 0, breaker: "closed" }]);
    },
  );

  test("a fetch that rejects with what is no error, or throws when it is looked at", async () => {
    const trap = (): never => {
      throw new Error("trap");
    };
    for (const reason of [undefined, null, "text", 5, new Proxy({}, { get: trap, getPrototypeOf: trap })]) {
      const caller = new SafeCaller({ fetch: () => Promise.reject(reason) });
      const error = await errorOf(caller.fetch(URL));
      expect([error.name, error.code, error.sent]).toEqual(["NetworkError", undefined, "maybe"]);
      expect([caller.stats().running, counters().context]).toEqual([0, 0]);
    }
  });
});

test("close takes a context or a signal, or nothing", async () => {
  const caller = new SafeCaller();
  expect(await errorOf(caller.close(5 as never))).toBeInstanceOf(TypeError);
  await caller.close();
});
