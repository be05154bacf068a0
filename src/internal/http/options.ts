/** The options of a caller, checked. */
import type { HedgeOptions, InterceptorOptions, RetryOptions, SafeCallerOptions } from "../../http.ts";
import { Budget } from "../../retry.ts";
import { callable, duration, isObject, optionsOf, show, validName, wholeNumber } from "../data/args.ts";
import type { Limits, Permits } from "./limits.ts";

/** How retries are made. */
export interface RetryPolicy {
  readonly attempts: number;
  readonly base: number;
  readonly cap: number;
  readonly maxRetryAfter: number;
  readonly budget: Budget;
}

/** When further requests are sent while the first goes unanswered. */
export interface HedgePolicy {
  readonly after: number;
  readonly max: number;
  readonly budget: Budget;
}

const DEFAULT_TIMEOUT = 10_000;
const DEFAULT_PER_HOST = 32;
const DEFAULT_CONCURRENCY = 256;

/** The options that limit calls: those that an interceptor has too. */
export class LimitPolicy {
  /** What takes the options, for errors. */
  readonly what: string;
  readonly name: string | undefined;
  readonly timeout: number;
  readonly queueTimeout: number | undefined;
  readonly concurrency: number | Permits;
  readonly perHost: number | ((host: string) => Permits);
  readonly queue: number;
  readonly key: ((url: URL) => string) | undefined;
  readonly maxHosts: number;
  readonly breaker: Exclude<InterceptorOptions["breaker"], false>;
  readonly rate: { readonly limit: number; readonly burst: number } | Limits | undefined;

  constructor(options: InterceptorOptions, what: string) {
    this.what = what;
    const { timeout = DEFAULT_TIMEOUT, perHost = DEFAULT_PER_HOST, maxHosts = 1000 } = options;
    const { name, queueTimeout, key, breaker, rate } = options;
    this.name = name === undefined ? undefined : validName(name, `${what}: name`);
    this.timeout = positive(timeout, `${what}: timeout`);
    this.queueTimeout = queueTimeout === undefined ? undefined : positive(queueTimeout, `${what}: queueTimeout`);
    this.perHost = typeof perHost === "function" ? perHost : wholeNumber(perHost, `${what}: perHost`, 1);
    const { concurrency = Math.max(DEFAULT_CONCURRENCY, typeof perHost === "number" ? perHost : 0) } = options;
    this.concurrency = isPermits(concurrency) ? concurrency : wholeNumber(concurrency, `${what}: concurrency`, 1);
    const areNumbers = typeof options.perHost === "number" && typeof concurrency === "number";
    if (areNumbers && options.perHost > concurrency) {
      throw new RangeError(`${what}: perHost must be at most concurrency, got ${perHost} and ${concurrency}`);
    }
    const { queue = 2 * (typeof perHost === "number" ? perHost : DEFAULT_PER_HOST) } = options;
    this.queue = queue === Number.POSITIVE_INFINITY ? queue : wholeNumber(queue, `${what}: queue`);
    this.key = key === undefined ? undefined : callable(key, `${what}: key`);
    this.maxHosts = wholeNumber(maxHosts, `${what}: maxHosts`, 1);
    this.breaker = breaker === false || breaker === undefined ? undefined : section(breaker, `${what}: breaker`);
    this.rate = rate === undefined ? undefined : section(rate, `${what}: rate`);
  }
}

/** All options of a caller. */
export class Policy extends LimitPolicy {
  readonly fetch: SafeCallerOptions["fetch"];
  readonly retry: RetryPolicy | undefined;
  /** The answers that are tried again, if there are retries. In a hedge they do not win. */
  readonly statuses: ReadonlySet<number>;
  readonly hedge: HedgePolicy | undefined;
  readonly phases: boolean;

  constructor(given: SafeCallerOptions | undefined) {
    const options = optionsOf(given, "SafeCaller: options");
    super(options, "SafeCaller");
    const { fetch, retry = false, hedge = false, phases = false } = options;
    this.fetch = fetch === undefined ? undefined : callable(fetch, "SafeCaller: fetch");
    this.retry = retry === false ? undefined : retryPolicy(section(retry, "SafeCaller: retry"));
    this.statuses = statusSet(retry === false ? undefined : retry.statuses);
    this.hedge = hedge === false ? undefined : hedgePolicy(section(hedge, "SafeCaller: hedge"));
    if (typeof phases !== "boolean") throw new TypeError(`SafeCaller: phases must be a boolean, got ${show(phases)}`);
    this.phases = phases;
  }
}

function retryPolicy(options: RetryOptions): RetryPolicy {
  const { attempts = 2, base = 100, cap = 2000, budget } = options;
  const { maxRetryAfter = Number.POSITIVE_INFINITY } = options;
  if (base === Number.POSITIVE_INFINITY) throw new RangeError("SafeCaller: base must be finite, got Infinity");
  return {
    attempts: wholeNumber(attempts, "SafeCaller: attempts", 1),
    base: notNegative(base, "SafeCaller: base"),
    cap: notNegative(cap, "SafeCaller: cap"),
    maxRetryAfter: notNegative(maxRetryAfter, "SafeCaller: maxRetryAfter"),
    budget: new Budget(budget),
  };
}

function statusSet(statuses: readonly number[] = [429, 502, 503, 504]): ReadonlySet<number> {
  if (!Array.isArray(statuses)) throw new TypeError(`SafeCaller: statuses must be an array, got ${show(statuses)}`);
  for (const status of statuses) wholeNumber(status, "SafeCaller: a status", 100);
  return new Set(statuses);
}

function hedgePolicy({ after, max = 1, budget }: HedgeOptions): HedgePolicy {
  return {
    after: notNegative(after, "SafeCaller: after"),
    max: wholeNumber(max, "SafeCaller: max", 1),
    budget: new Budget(budget),
  };
}

export function isPermits(value: unknown): value is Permits {
  return isObject(value) && typeof (value as Partial<Permits>).permit === "function";
}

export function isLimits(value: object): value is Limits {
  return typeof (value as Partial<Limits>).allow === "function";
}

/** Returns ms if it is above 0, Infinity included. */
export function positive(ms: number, what: string): number {
  if (duration(ms, what) > 0) return ms;
  throw new RangeError(`${what} must be above 0, got ${ms}`);
}

function notNegative(ms: number, what: string): number {
  if (duration(ms, what) >= 0) return ms;
  throw new RangeError(`${what} must be 0 or more, got ${ms}`);
}

function section<O extends object>(options: O, what: string): O {
  if (typeof options === "object" && options !== null) return options;
  throw new TypeError(`${what} must be an object, got ${show(options)}`);
}
