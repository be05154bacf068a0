/** Whatever takes options refuses at once what is not an object, and takes null for none, as undefined. */
import { deadline, rateLimit, shed } from "gopark/admission";
import { CircuitBreaker, TwoStepCircuitBreaker } from "gopark/breaker";
import { background } from "gopark/context";
import { forEach, map, scope } from "gopark/errgroup";
import { SafeCaller } from "gopark/http";
import { find, verifyNone } from "gopark/leak";
import * as pipeline from "gopark/pipeline";
import { Pool } from "gopark/pool";
import * as pprof from "gopark/pprof";
import { listen, nodeHandler } from "gopark/pprof/node";
import { KeyedLimiter, Limiter, Sometimes } from "gopark/rate";
import { connect } from "gopark/redis";
import { Budget, retry } from "gopark/retry";
import { Weighted } from "gopark/semaphore";
import { Workers } from "gopark/workers";
import { describe, expect, test } from "vitest";

const ctx = background();

/** Each uses these options, and disposes of what it made. */
const users: Record<string, (options: never) => unknown> = {
  CircuitBreaker: (settings) => new CircuitBreaker(settings),
  TwoStepCircuitBreaker: (settings) => new TwoStepCircuitBreaker(settings),
  Limiter: (options) => new Limiter(1, 1, options),
  KeyedLimiter: (options) => new KeyedLimiter(1, 1, options),
  Sometimes: (options) => new Sometimes(options),
  Budget: (options) => new Budget(options),
  Weighted: (options) => new Weighted(1, options),
  Workers: (options) => new Workers(1, options),
  Pool: (options) => new Pool(options),
  retry: (options) => retry(ctx, () => 1, options),
  scope: (options) => scope(ctx, () => 1, options),
  "errgroup.map": (options) => map(ctx, [1], () => 1, options),
  forEach: (options) => forEach(ctx, [1], () => 1, options),
  submit: (options) => new Workers(1).submit(() => 1, options),
  "pipeline.map": (options) => pipeline.map(ctx, [1], () => 1, options),
  filter: (options) => pipeline.filter(ctx, [1], () => 1, options),
  subscribe: (options) => pipeline.broadcast(ctx, [1]).subscribe(options),
  find: (options) => find(options),
  verifyNone: (options) => verifyNone(options),
  profile: (options) => pprof.profile("goroutine", options),
  recordHeap: async (options) => (await pprof.recordHeap(options))(),
  handler: (options) => pprof.handler(options),
  nodeHandler: (options) => nodeHandler(options),
  listen: async (options) => (await listen(0, options)).close(),
};

/** Those that cannot do without. */
const required = ["Pool", "errgroup.map", "forEach", "handler", "nodeHandler"];

const outcome = async (use: (options: never) => unknown, options: unknown) => {
  try {
    await use(options as never);
    return "accepted";
  } catch (error) {
    return String(error);
  }
};

describe.each(Object.entries(users))("%s", (name, use) => {
  test.each([5, "limit", true, 5n, Symbol("s"), () => {}])("refuses %o", async (options) => {
    expect(await outcome(use, options)).toMatch(/^TypeError: (\w+: )?(options|settings) must be an object, got /);
  });

  test("takes null as undefined", async () => {
    const without = await outcome(use, undefined);
    expect(await outcome(use, null)).toBe(without);
    if (!required.includes(name)) expect(without).toBe("accepted");
  });
});

// The types allow it with `exactOptionalPropertyTypes` too, under which this project is compiled.
const none = undefined;
const breaker = {
  ...{ name: none, maxRequests: none, interval: none, bucketPeriod: none, timeout: none, probeTimeout: none },
  ...{ readyToTrip: none, onStateChange: none, isSuccessful: none, isExcluded: none, now: none },
};
const pool = { create: () => ({}), reset: () => {}, destroy: none, maxIdle: none, idleMs: none, name: none };
const shedding = { name: none, max: none, queue: none, queueTimeout: none, adaptive: none, maxLoopDelay: none };
const limiting = {
  ...{ name: none, key: none, trust: none, ipv6Prefix: none, maxKeys: none, onError: none, report: none, limits: none },
};
const link = { timeout: none, retry: none, subscriber: none, name: none };
const retries = {
  ...{ attempts: none, base: none, cap: none, total: none, retryIf: none, budget: none, onRetry: none, random: none },
};
const refused = () => Promise.reject(new Error("refused"));

test.each<[string, () => unknown]>([
  ["CircuitBreaker", () => new CircuitBreaker(breaker)],
  ["TwoStepCircuitBreaker", () => new TwoStepCircuitBreaker(breaker)],
  ["Limiter", () => new Limiter(1, 1, { name: none })],
  ["KeyedLimiter", () => new KeyedLimiter(1, 1, { maxKeys: none, name: none })],
  ["Sometimes", () => new Sometimes({ first: none, every: none, interval: none })],
  ["Budget", () => new Budget({ ratio: none, min: none, max: none })],
  ["Weighted", () => new Weighted(1, { maxWaiting: none, name: none })],
  ["Workers", () => new Workers(1, { maxWaiting: none, nonblocking: none, panicHandler: none, name: none })],
  ["submit", () => new Workers(1).submit(() => 1, { priority: none })],
  ["Pool", () => new Pool(pool)],
  ["retry", () => retry(ctx, () => 1, retries)],
  ["scope", () => scope(ctx, () => 1, { limit: none })],
  ["pipeline.map", () => pipeline.map(ctx, [1], () => 1, { concurrency: none, ordered: none })],
  ["subscribe", () => pipeline.broadcast(ctx, [1]).subscribe({ buffer: none, slow: none })],
  ["rateLimit", () => rateLimit({ limit: 1, window: 1000, ...limiting })],
  ["shed", () => shed(shedding)],
  ["shed, adaptive", () => shed({ adaptive: { initial: none, min: none, tolerance: none } })],
  ["deadline", () => deadline({ timeout: 1000, header: none })],
  ["SafeCaller", () => new SafeCaller({ breaker, retry: { budget: { ratio: none, min: none } }, hedge: none })],
  ["redis.connect", () => connect({ evalsha: refused, eval: refused }, link).close()],
])("%s takes an option that is undefined for one that is left out", async (_, use) => {
  await use();
});
