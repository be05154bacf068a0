/**
 * Metrics: what the library counts, for Prometheus, its clients and OpenTelemetry.
 *
 * Rules of use:
 *
 * - If the program has a metrics library, hand it over once, at start-up: `register(client)` for prom-client and
 *   @prometheus-io/client, `observe(meter)` for OpenTelemetry. If it has none, serve `prometheusText()` as
 *   `/metrics`, with `contentType`.
 * - Give a `name` to the semaphores, limiters, breakers, pools, workers, callers of HTTP and links to Redis that are to
 *   have metrics of their own, when they are made. Each name is a time series: use a fixed, small set of names, never
 *   one for each request or user.
 * - The names of the metrics and of their labels are stable. docs/metrics.md lists them, and docs/alerts.yml has alert
 *   rules for Prometheus.
 *
 * ```ts
 * import { Channel, semaphore } from "gopark";
 * import * as metrics from "gopark/metrics";
 *
 * const orders = new Channel<string>();
 * const pump = new semaphore.Weighted(4, { name: "pump" });
 * await pump.acquire(undefined, 3);
 * const order = orders.receive();
 *
 * const lines = metrics.prometheusText().split("\n");
 * console.log(lines.filter((line) => /pump|chan receive/.test(line)).join("\n"));
 * pump.release(3);
 * orders.close();
 * await order;
 * // Output:
 * // gopark_waits{kind="chan receive"} 1
 * // gopark_semaphore_size{name="pump"} 4
 * // gopark_semaphore_held{name="pump"} 3
 * // gopark_semaphore_waiting{name="pump"} 0
 * ```
 *
 * Ports the part of Go's `runtime/metrics` and of client_golang's Go collector that counts goroutines. Differences from
 * Go:
 *
 * - Instead of one number of goroutines there are three families: tasks, parked waits and what is held, each by kind. A
 *   goroutine that waits is counted once in Go, a task that waits is counted as a task and as a wait.
 * - What has a name has metrics of its own. Values of several things with one name are added.
 * - Reading costs nothing between two reads: the counters are there anyway.
 */
import type { State } from "./breaker.ts";
import { isObject, show } from "./internal/data/args.ts";
import { allLinkTotals, type Families, type Family, type LinkTotals, namedOf } from "./internal/track/named.ts";
import { allKinds, type KindClass, PROVED } from "./internal/track/tracker.ts";

/** A value of an instrument now. */
export interface Sample {
  /** A value for each of the instrument's labels. */
  readonly labels: Record<string, string>;
  /** May be Infinity, as the size of a pool of workers without a limit is. */
  readonly value: number;
}

/** Something that is measured. */
export interface Instrument {
  /** Its name in Prometheus: "gopark_tasks". */
  readonly name: string;
  /** What it counts, in one sentence. */
  readonly help: string;
  /** Whether the value may fall. A counter only grows. */
  readonly type: "gauge" | "counter";
  /** The names of the labels that each sample has. */
  readonly labels: readonly string[];
  /**
   * The values now. No two have the same labels. Changes nothing, calls no hook, and does not throw, unless a subclass
   * of a named thing does.
   */
  read(): Sample[];
}

/** The content type of {@link prometheusText}. Prometheus 3 refuses an answer without one. */
export const contentType = "text/plain; version=0.0.4; charset=utf-8";

const INSTRUMENTS: readonly Instrument[] = [
  byKind("gopark_tasks", "Tasks that run, by kind.", "task"),
  byKind("gopark_waits", "Calls that are parked, by what they wait for.", "wait"),
  byKind("gopark_resources", "Units, locks, objects, timers and contexts that are held, by kind.", "resource"),
  {
    name: "gopark_proved_leaks_total",
    help: "Leaks that the garbage collector has proved; needs full or sampled tracking.",
    type: "counter",
    labels: [],
    read: () => [{ labels: {}, value: PROVED.live }],
  },
  byName("gopark_semaphore_size", "Units of the semaphore.", "semaphore", (it) => it.size()),
  byName("gopark_semaphore_held", "Units of the semaphore that are held.", "semaphore", (it) => it.held()),
  byName("gopark_semaphore_waiting", "Callers that wait for units.", "semaphore", (it) => it.waiting()),
  byName("gopark_limiter_limit", "Events a second that the limiter allows.", "limiter", (it) => it.limit()),
  byName("gopark_limiter_burst", "Events that the limiter allows at once.", "limiter", (it) => it.burst()),
  byName("gopark_limiter_tokens", "Tokens now; negative while some are reserved.", "limiter", (it) => it.tokens()),
  byName("gopark_keyed_limiter_limit", "Events a second of each key.", "keyedLimiter", (it) => it.limit()),
  byName("gopark_keyed_limiter_burst", "Events of each key at once.", "keyedLimiter", (it) => it.burst()),
  byName("gopark_keyed_limiter_keys", "Keys with a bucket of their own.", "keyedLimiter", (it) => it.keys()),
  {
    name: "gopark_breaker_state",
    help: "Breakers of the name that are in the state.",
    type: "gauge",
    labels: ["name", "state"],
    read() {
      const counts = new Map<string, Record<State, number>>();
      for (const [name, it] of namedOf("breaker")) {
        const ofName = counts.get(name) ?? { closed: 0, "half-open": 0, open: 0 };
        ofName[it.peekState()]++;
        counts.set(name, ofName);
      }
      return [...counts].flatMap(([name, ofName]) =>
        Object.entries(ofName).map(([state, value]) => ({ labels: { name, state }, value })),
      );
    },
  },
  byName("gopark_breaker_requests", "Requests in the window.", "breaker", (it) => it.counts().requests),
  byName("gopark_breaker_failures", "Failed requests in the window.", "breaker", (it) => it.counts().totalFailures),
  byName("gopark_pool_idle", "Objects that the pool keeps.", "pool", (it) => it.idle()),
  byName("gopark_pool_out", "Objects that have been handed out.", "pool", (it) => it.out()),
  byName("gopark_workers_size", "Tasks that may run at once.", "workers", (it) => it.free() + it.running()),
  byName("gopark_workers_running", "Tasks that hold a slot.", "workers", (it) => it.running()),
  byName("gopark_workers_waiting", "Tasks that wait for a slot.", "workers", (it) => it.waiting()),
  byName("gopark_http_running", "Requests that hold a slot.", "httpCalls", (it) => it.running),
  byName("gopark_http_queued", "Calls that wait for a slot.", "httpCalls", (it) => it.waiting()),
  byName("gopark_http_hosts_down", "Hosts whose breaker is open.", "httpCalls", (it) => it.hostsDown()),
  byName("gopark_redis_up", "Links to Redis that are answered in time.", "redisLink", (it) => Number(it.available())),
  linkTotal("gopark_redis_calls_total", "Calls sent to Redis.", (totals) => totals.calls),
  linkTotal("gopark_redis_failures_total", "Calls that failed.", (totals) => totals.failures),
];

/** A gauge of all kinds of a class. */
function byKind(name: string, help: string, kindClass: KindClass): Instrument {
  const read = () =>
    allKinds()
      .filter((kind) => kind.class === kindClass && kind !== PROVED)
      .map((kind) => ({ labels: { kind: kind.name }, value: kind.live }));
  return { name, help, type: "gauge", labels: ["kind"], read };
}

/** A gauge of the things of a family that have names. The values of those with one name are added. */
function byName<F extends Family>(
  name: string,
  help: string,
  family: F,
  measure: (it: Families[F]) => number,
): Instrument {
  const read = () => {
    const sums = new Map<string, number>();
    for (const [its, it] of namedOf(family)) sums.set(its, (sums.get(its) ?? 0) + measure(it));
    return [...sums].map(([its, value]) => ({ labels: { name: its }, value }));
  };
  return { name, help, type: "gauge", labels: ["name"], read };
}

/** A counter of the links to Redis that have names, those that are gone among them. */
function linkTotal(name: string, help: string, measure: (totals: LinkTotals) => number): Instrument {
  const read = () => [...allLinkTotals()].map(([its, totals]) => ({ labels: { name: its }, value: measure(totals) }));
  return { name, help, type: "counter", labels: ["name"], read };
}

/** Everything that is measured, always the same and in the same order. */
export function instruments(): Instrument[] {
  return [...INSTRUMENTS];
}

/**
 * All values now, in Prometheus' text format; to be served with {@link contentType}. What has no value is left out.
 * Costs O(kinds + named things).
 */
export function prometheusText(): string {
  const parts: string[] = [];
  for (const { name, help, type, read } of INSTRUMENTS) {
    const samples = read();
    if (samples.length === 0) continue;
    parts.push(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    for (const { labels, value } of samples) parts.push(`${name}${labelsText(labels)} ${valueText(value)}\n`);
  }
  return parts.join("");
}

function labelsText(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  if (!/[\\\n"]/.test(value)) return value;
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function valueText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? "+Inf" : "-Inf";
}

/** What {@link register} needs of a gauge or a counter of prom-client. */
interface PromMetric {
  reset(): void;
}

/** How prom-client makes a metric. */
export interface PromConfiguration {
  readonly name: string;
  readonly help: string;
  readonly labelNames: string[];
  /** The registry. `never`, as each client has a type of its own for it. */
  readonly registers: never[];
  readonly collect: () => void;
}

/** What {@link register} needs of a registry of prom-client. */
export interface PromRegistry {
  registerMetric(metric: never): void;
  removeSingleMetric(name: string): void;
}

/** What {@link register} needs of prom-client 15, or of @prometheus-io/client. */
export interface PromClient {
  readonly Gauge: new (
    configuration: PromConfiguration,
  ) => PromMetric & { set(labels: Record<string, string>, value: number): void };
  readonly Counter: new (
    configuration: PromConfiguration,
  ) => PromMetric & { inc(labels: Record<string, string>, value: number): void };
  readonly register: PromRegistry;
}

/**
 * Registers all instruments with prom-client 15 or its successor @prometheus-io/client: `register(client)`, with what
 * `import * as client from "prom-client"` gives. They are read when the client collects. `registry` is the client's
 * default one if left out. Returns a function that takes them out of the registry again.
 *
 * Throws TypeError if an argument has another shape, and what the client throws: an Error if the registry has a metric
 * of one of these names. Nothing is registered then.
 */
export function register(client: PromClient, registry?: PromRegistry): () => void {
  if (!has(client, "Gauge", "Counter")) {
    throw new TypeError(`register: client must be prom-client or @prometheus-io/client, got ${show(client)}`);
  }
  const target = registry === undefined ? client.register : registry;
  if (!has(target, "registerMetric", "removeSingleMetric")) {
    throw new TypeError(`register: registry must be a registry of the client, got ${show(target)}`);
  }
  return each((instrument) => {
    addTo(client, target, instrument);
    return () => target.removeSingleMetric(instrument.name);
  });
}

function addTo(client: PromClient, registry: PromRegistry, { name, help, type, labels, read }: Instrument): void {
  const configuration = { name, help, labelNames: [...labels], registers: [registry as never] };
  // Series that have ended must go, and a counter of the client only adds: so each collection starts anew.
  if (type === "counter") {
    const counter = new client.Counter({
      ...configuration,
      collect() {
        counter.reset();
        for (const sample of read()) counter.inc(sample.labels, sample.value);
      },
    });
  } else {
    const gauge = new client.Gauge({
      ...configuration,
      collect() {
        gauge.reset();
        for (const sample of read()) gauge.set(sample.labels, sample.value);
      },
    });
  }
}

/** What {@link observe} needs of the result that OpenTelemetry hands to a callback. */
export interface OtelResult {
  observe(value: number, attributes?: Record<string, string>): void;
}

/** What {@link observe} needs of an observable of OpenTelemetry. */
export interface OtelObservable {
  addCallback(callback: (result: OtelResult) => void): void;
  removeCallback(callback: (result: OtelResult) => void): void;
}

/** What {@link observe} needs of a meter of OpenTelemetry. */
export interface OtelMeter {
  createObservableGauge(name: string, options?: { description?: string }): OtelObservable;
  createObservableCounter(name: string, options?: { description?: string }): OtelObservable;
}

/**
 * Lets a meter of OpenTelemetry observe all instruments: a gauge as an observable gauge, a counter as an observable
 * counter, by the same names, with the labels as attributes. They are read when the meter collects. Returns a function
 * that ends that.
 *
 * Throws TypeError if `meter` has another shape, and what it throws itself. Nothing is observed then.
 */
export function observe(meter: OtelMeter): () => void {
  if (!has(meter, "createObservableGauge", "createObservableCounter")) {
    throw new TypeError(`observe: meter must be a meter of OpenTelemetry, got ${show(meter)}`);
  }
  return each(({ name, help, type, read }) => {
    const options = { description: help };
    const observable =
      type === "counter" ? meter.createObservableCounter(name, options) : meter.createObservableGauge(name, options);
    const callback = (result: OtelResult) => {
      for (const { labels, value } of read()) result.observe(value, labels);
    };
    observable.addCallback(callback);
    return () => observable.removeCallback(callback);
  });
}

/** Adds each instrument; returns what takes all of them away again, once. If `add` throws, none stays. */
function each(add: (instrument: Instrument) => () => void): () => void {
  const removers: (() => void)[] = [];
  const removeAll = () => {
    for (const remove of removers.splice(0)) remove();
  };
  try {
    for (const instrument of INSTRUMENTS) removers.push(add(instrument));
  } catch (error) {
    removeAll();
    throw error;
  }
  return removeAll;
}

/** Whether the value is an object that has these methods. */
function has(value: unknown, ...methods: string[]): boolean {
  return isObject(value) && methods.every((method) => typeof (value as Record<string, unknown>)[method] === "function");
}
