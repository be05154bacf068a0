/** Metrics: what is counted, as instruments, as Prometheus' text, and through clients that look like the real ones. */
import { CircuitBreaker, type Settings, TwoStepCircuitBreaker } from "gopark/breaker";
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { contentType, type Instrument, instruments, observe, prometheusText, register } from "gopark/metrics";
import { Pool } from "gopark/pool";
import { Inf, KeyedLimiter, Limiter } from "gopark/rate";
import { Weighted } from "gopark/semaphore";
import { Workers } from "gopark/workers";
import { afterEach, describe, expect, test, vi } from "vitest";
import { allKinds, PROVED } from "../src/internal/track/tracker.ts";
import { gate } from "./support/gate.ts";

const bg = background();

// What a test names must be there until its end, and have no other test's name.
const kept: object[] = [];
afterEach(() => void kept.splice(0));
let tests = 0;
const newName = (): string => `test ${++tests}`;
function keep<T extends object>(thing: T): T {
  kept.push(thing);
  return thing;
}

/** The value of an instrument for these labels; undefined if there is none. */
function measured(instrument: string, labels: Record<string, string> = {}): number | undefined {
  const found = instruments().find(({ name }) => name === instrument) as Instrument;
  const same = found
    .read()
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value));
  expect(same.length, `${instrument} ${JSON.stringify(labels)}`).toBeLessThan(2);
  return same[0]?.value;
}

/** The values of all instruments that begin so, for things of this name: `size` for `gopark_semaphore_size`. */
function valuesOf(prefix: string, name: string): Record<string, number | undefined> {
  const named = instruments().filter((it) => it.name.startsWith(prefix) && it.labels.join() === "name");
  return Object.fromEntries(named.map((it) => [it.name.slice(prefix.length), measured(it.name, { name })]));
}

const newPool = (name: string) => keep(new Pool({ create: () => ({}), reset: () => {}, name }));

describe("instruments", () => {
  test("have a name, a help and labels that a Prometheus takes; the list is stable", () => {
    const names = instruments().map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, help, type, labels } of instruments()) {
      expect(name).toMatch(/^gopark_[a-z_]+[a-z]$/);
      expect(name.endsWith("_total")).toBe(type === "counter");
      expect(help).toMatch(/^[A-Z][^\n\\]+\.$/);
      for (const label of labels) expect(label).toMatch(/^[a-z]+$/);
    }
    instruments().pop();
    expect(instruments().map(({ name }) => name)).toEqual(names);
  });

  test("each sample has the instrument's labels, and no two the same", () => {
    for (const named of [newName(), newName(), newName()]) {
      for (let i = 0; i < 2; i++) {
        keep(new Weighted(1, { name: named }));
        keep(new CircuitBreaker({ name: named }));
      }
    }
    for (const { name, labels, read } of instruments()) {
      const samples = read();
      for (const sample of samples) expect(Object.keys(sample.labels), name).toEqual(labels);
      expect(new Set(samples.map((sample) => JSON.stringify(sample.labels))).size, name).toBe(samples.length);
    }
  });

  test("count tasks, parked waits and what is held, by kind", async () => {
    const kind = (name: string) => ({ kind: name });
    const before = [
      measured("gopark_tasks", kind("task")),
      measured("gopark_waits", kind("chan receive")),
      measured("gopark_resources", kind("context")),
    ] as number[];
    const now = () => [
      measured("gopark_tasks", kind("task")) as number,
      measured("gopark_waits", kind("chan receive")) as number,
      measured("gopark_resources", kind("context")) as number,
    ];
    const ch = new Channel<number>();
    const [ctx, cancel] = withCancel(bg);
    const tasks = [go(() => ch.receive(ctx)), go(() => ch.receive(ctx)), go(() => {})];
    await tasks[2];
    expect(now()).toEqual([2, 2, 1].map((n, i) => n + (before[i] as number)));
    cancel();
    await Promise.allSettled(tasks);
    expect(now()).toEqual(before);
  });

  test("show each kind in the gauge of its class alone", () => {
    const gauges = { gopark_waits: "wait", gopark_tasks: "task", gopark_resources: "resource" };
    for (const [name, kindClass] of Object.entries(gauges)) {
      const kinds = allKinds().filter((kind) => kind.class === kindClass && kind !== PROVED);
      const samples =
        instruments()
          .find((it) => it.name === name)
          ?.read() ?? [];
      expect(samples.map(({ labels }) => labels.kind)).toEqual(kinds.map((kind) => kind.name));
    }
  });

  test("show a kind that is at zero, and proved leaks as a counter of their own alone", () => {
    expect(measured("gopark_waits", { kind: "chan send" })).toBe(0);
    expect(measured("gopark_waits", { kind: PROVED.name })).toBeUndefined();
    const before = PROVED.live;
    PROVED.live += 3;
    expect(measured("gopark_proved_leaks_total")).toBe(before + 3);
    PROVED.live = before;
  });
});

describe("what has a name has metrics of its own", () => {
  test("a semaphore", async () => {
    const name = newName();
    const sem = keep(new Weighted(3, { name }));
    await sem.acquire(bg, 2);
    const waiting = sem.acquire(bg, 2);
    expect(valuesOf("gopark_semaphore_", name)).toEqual({ size: 3, held: 2, waiting: 1 });
    sem.setSize(4);
    await waiting;
    expect(valuesOf("gopark_semaphore_", name)).toEqual({ size: 4, held: 4, waiting: 0 });
    sem.release(4);
  });

  test("a limiter, and reading it changes nothing", () => {
    vi.useFakeTimers({ now: 1_700_000_000_000 });
    const name = newName();
    const limiter = keep(new Limiter(10, 5, { name }));
    expect(valuesOf("gopark_limiter_", name)).toEqual({ limit: 10, burst: 5, tokens: 5 });
    // Instants of a clock of the caller's own keep their nanoseconds, as if nobody had looked by another.
    expect(limiter.allow(5, 0)).toBe(true);
    expect(limiter.tokens(0.000_001)).toBeCloseTo(1e-8, 12);
    const other = { name: newName() };
    const reserved = keep(new Limiter(10, 5, other));
    reserved.allow(5);
    reserved.reserve(2);
    expect(measured("gopark_limiter_tokens", other)).toBe(-2);
    vi.advanceTimersByTime(300);
    expect(measured("gopark_limiter_tokens", other)).toBe(1);
    keep(new Limiter(Inf, 0, { name }));
    expect(measured("gopark_limiter_limit", { name })).toBe(Number.POSITIVE_INFINITY);
  });

  test("a limiter for each key", () => {
    const name = newName();
    const limiter = keep(new KeyedLimiter(10, 5, { name }));
    limiter.allow("ada");
    limiter.allow("bob");
    expect(valuesOf("gopark_keyed_limiter_", name)).toEqual({ limit: 10, burst: 5, keys: 2 });
  });

  test("a pool of objects", () => {
    const name = newName();
    const pool = newPool(name);
    const [first, second] = [pool.get(), pool.get()];
    pool.put(first);
    expect(valuesOf("gopark_pool_", name)).toEqual({ idle: 1, out: 1 });
    pool.put(second);
    pool.dispose();
  });

  test("workers, even without a limit", async () => {
    const name = newName();
    const pool = keep(new Workers(1, { name }));
    const { promise, open } = gate();
    const tasks = [pool.submit(() => promise), pool.submit(() => {})];
    expect(valuesOf("gopark_workers_", name)).toEqual({ size: 1, running: 1, waiting: 1 });
    open();
    await Promise.all(tasks);
    const unlimited = newName();
    keep(new Workers(Number.POSITIVE_INFINITY, { name: unlimited }));
    expect(valuesOf("gopark_workers_", unlimited)).toEqual({
      size: Number.POSITIVE_INFINITY,
      running: 0,
      waiting: 0,
    });
  });

  test("a breaker of either class: its state and its counts", async () => {
    for (const cls of [CircuitBreaker, TwoStepCircuitBreaker]) {
      const name = newName();
      const cb = keep(new cls({ name, readyToTrip: ({ totalFailures }) => totalFailures > 1 }));
      const fail = () =>
        cb instanceof CircuitBreaker
          ? cb.execute(() => Promise.reject(new Error("down"))).catch(() => {})
          : cb.allow()(new Error("down"));
      await fail();
      expect(valuesOf("gopark_breaker_", name)).toEqual({ requests: 1, failures: 1 });
      expect(statesOf(name)).toEqual({ closed: 1, "half-open": 0, open: 0 });
      await fail();
      expect(valuesOf("gopark_breaker_", name)).toEqual({ requests: 0, failures: 0 });
      expect(statesOf(name)).toEqual({ closed: 0, "half-open": 0, open: 1 });
    }
  });

  test("several of one name are added, and their states counted", () => {
    const name = newName();
    for (const size of [2, 3]) keep(new Weighted(size, { name })).tryAcquire(size - 1);
    expect(valuesOf("gopark_semaphore_", name)).toEqual({ size: 5, held: 3, waiting: 0 });
    for (const it of kept) (it as Weighted).release((it as Weighted).held());
    const trips: Settings = { name, readyToTrip: () => true };
    for (const failing of [true, false, true]) {
      const cb = keep(new TwoStepCircuitBreaker(trips));
      if (failing) cb.allow()(new Error("down"));
    }
    expect(statesOf(name)).toEqual({ closed: 1, "half-open": 0, open: 2 });
  });

  test("one of another family with the same name is another", () => {
    const name = newName();
    keep(new Weighted(2, { name }));
    newPool(name);
    expect(valuesOf("gopark_semaphore_", name)).toEqual({ size: 2, held: 0, waiting: 0 });
    expect(valuesOf("gopark_pool_", name)).toEqual({ idle: 0, out: 0 });
  });

  const statesOf = (name: string) =>
    Object.fromEntries(
      ["closed", "half-open", "open"].map((state) => [state, measured("gopark_breaker_state", { name, state })]),
    );
});

describe("the state of a breaker", () => {
  const stateOf = (name: string) =>
    ["closed", "half-open", "open"].filter((state) => measured("gopark_breaker_state", { name, state }) === 1).join();

  test("is what state() would find, and the read calls no hook and changes nothing", () => {
    const name = newName();
    const changes: string[] = [];
    let at = 0;
    const cb = keep(
      new TwoStepCircuitBreaker({
        name,
        timeout: 1000,
        probeTimeout: 100,
        readyToTrip: () => true,
        onStateChange: (_, from, to) => changes.push(`${from} ${to}`),
        now: () => at,
      }),
    );
    cb.allow()(new Error("down"));
    expect([stateOf(name), changes]).toEqual(["open", ["closed open"]]);
    at = 1000;
    expect(stateOf(name)).toBe("open");
    at = 1001;
    expect([stateOf(name), changes.length]).toEqual(["half-open", 1]);
    cb.allow(); // A probe that never ends.
    expect(changes).toHaveLength(2);
    at = 1101;
    expect(stateOf(name)).toBe("half-open");
    at = 1102;
    expect(stateOf(name)).toBe("open");
    at = 2101;
    expect(stateOf(name)).toBe("open");
    at = 2102;
    expect([stateOf(name), changes.length]).toEqual(["half-open", 2]);
    expect(cb.state()).toBe("half-open");
    expect(changes.slice(2)).toEqual(["half-open open", "open half-open"]);
  });

  test("agrees with state() at every step of a random walk", () => {
    const name = newName();
    let at = 0;
    let seed = 7;
    const random = (n: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * n);
    };
    const cb = keep(
      new TwoStepCircuitBreaker({
        name,
        timeout: 5,
        probeTimeout: 3,
        maxRequests: 2,
        interval: 20,
        readyToTrip: ({ consecutiveFailures }) => consecutiveFailures > 1,
        now: () => at,
      }),
    );
    const open: ((err?: unknown) => void)[] = [];
    const seen = new Set<string>();
    for (let i = 0; i < 2000; i++) {
      at += random(4);
      const [peeked, found] = [stateOf(name), cb.state()];
      expect(peeked, `step ${i}`).toBe(found);
      seen.add(found);
      try {
        if (random(2) === 0) open.push(cb.allow());
      } catch {
        // Refused.
      }
      if (random(2) === 0) open.shift()?.(random(2) === 0 ? new Error("down") : undefined);
    }
    expect([...seen].sort()).toEqual(["closed", "half-open", "open"]);
  });

  test("is the last one known where the clock throws", () => {
    const name = newName();
    let broken = false;
    const cb = keep(
      new TwoStepCircuitBreaker({
        name,
        readyToTrip: () => true,
        now: () => {
          if (broken) throw new Error("no clock");
          return 0;
        },
      }),
    );
    cb.allow()(new Error("down"));
    broken = true;
    expect(stateOf(name)).toBe("open");
    expect(() => cb.state()).toThrow("no clock");
  });
});

describe("a name", () => {
  const makers: Record<string, (name: never) => unknown> = {
    Weighted: (name) => new Weighted(1, { name }),
    Limiter: (name) => new Limiter(1, 1, { name }),
    KeyedLimiter: (name) => new KeyedLimiter(1, 1, { name }),
    CircuitBreaker: (name) => new CircuitBreaker({ name }),
    TwoStepCircuitBreaker: (name) => new TwoStepCircuitBreaker({ name }),
    Pool: (name) => new Pool({ create: () => ({}), reset: () => {}, name }),
    Workers: (name) => new Workers(1, { name }),
  };

  test.each(Object.entries(makers))("of %s that is bad is refused, and nothing is added", (what, make) => {
    const before = prometheusText();
    for (const [bad, shown] of [
      [1, "1"],
      [null, "null"],
      [{}, "an object (Object)"],
      [Symbol("s"), "Symbol(s)"],
    ]) {
      expect(() => make(bad as never)).toThrow(new TypeError(`${what}: name must be a string, got ${shown as string}`));
    }
    for (const half of ["\ud800", "a\udc00b", "\udc00\ud800"]) {
      expect(() => make(half as never)).toThrow(RangeError);
      expect(() => make(half as never)).toThrow(`${what}: name must be well-formed Unicode, got "`);
    }
    expect(prometheusText()).toBe(before);
  });

  test.each(Object.entries(makers))("of %s that is left out or empty adds nothing", (_, make) => {
    const before = prometheusText();
    keep(make(undefined as never) as object);
    keep(make("" as never) as object);
    expect(prometheusText()).toBe(before);
  });

  test.each(Object.entries(makers))("of %s may have anything else in it", (_, make) => {
    for (const name of ['a"b', "a\\b\nc", "😀", "  ", "ε".repeat(1000), "__proto__"]) {
      keep(make(name as never) as object);
      expect(prometheusText()).toContain(
        `{name="${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`,
      );
    }
  });

  test("comes last: a thing that is refused for something else is not added", () => {
    const before = prometheusText();
    const name = newName();
    expect(() => new Weighted(-1, { name })).toThrow(RangeError);
    expect(() => new Weighted(1, { maxWaiting: -1, name })).toThrow(RangeError);
    expect(() => new Limiter(-1, 1, { name })).toThrow(RangeError);
    expect(() => new KeyedLimiter(1, 1, { maxKeys: 0, name })).toThrow(RangeError);
    expect(() => new CircuitBreaker({ name, probeTimeout: 0 })).toThrow(RangeError);
    expect(() => new Pool({ create: () => ({}), reset: () => {}, idleMs: 0, name })).toThrow(RangeError);
    expect(() => new Workers(1, { panicHandler: 1 as never, name })).toThrow(TypeError);
    expect(prometheusText()).toBe(before);
  });

  test("keeps nothing alive", async () => {
    const name = newName();
    for (let i = 0; i < 50; i++) for (const make of Object.values(makers)) make(name as never);
    expect(prometheusText()).toContain(name);
    for (let i = 0; i < 20 && prometheusText().includes(name); i++) {
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc?.();
    }
    expect(prometheusText()).not.toContain(name);
  });
});

describe("prometheusText", () => {
  test("has help, type and samples of each instrument that has a value, in the order of instruments()", () => {
    const name = newName();
    keep(new Weighted(3, { name })).tryAcquire(2);
    keep(new CircuitBreaker({ name }));
    const text = prometheusText();
    expect(text.endsWith("\n")).toBe(true);
    expect(text).toContain(
      `# HELP gopark_semaphore_held Units of the semaphore that are held.\n# TYPE gopark_semaphore_held gauge\n`,
    );
    expect(text).toContain(`\ngopark_semaphore_held{name="${name}"} 2\n`);
    expect(text).toContain(`\ngopark_breaker_state{name="${name}",state="closed"} 1\n`);
    expect(text).toMatch(/\n# TYPE gopark_proved_leaks_total counter\ngopark_proved_leaks_total \d+\n/);
    const types = [...text.matchAll(/^# TYPE (\w+)/gm)].map((match) => match[1]);
    const withValues = instruments().filter(({ read }) => read().length > 0);
    expect(types).toEqual(withValues.map((it) => it.name));
    for (const line of text.trimEnd().split("\n")) {
      expect(line).toMatch(/^(# (HELP|TYPE) gopark_\w+ .+|gopark_\w+(\{\w+="[^"\n]*"(,\w+="[^"\n]*")*\})? \S+)$/);
    }
    (kept[0] as Weighted).release(2);
  });

  test("writes Infinity as Prometheus does", () => {
    const name = newName();
    keep(new Workers(Number.POSITIVE_INFINITY, { name }));
    expect(prometheusText()).toContain(`gopark_workers_size{name="${name}"} +Inf\n`);
    expect(contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
  });
});

/** A client with the part of prom-client's interface that is used. `failAt` is how many metrics it takes. */
class Client {
  readonly metrics = new Map<string, { readonly config: Config; readonly values: [object, number][]; set: string }>();
  failAt = Number.POSITIVE_INFINITY;
  readonly register = {
    registerMetric: () => {},
    removeSingleMetric: (name: string) => void this.metrics.delete(name),
  };
  readonly #metric = (set: "set" | "inc") => {
    const { metrics } = this;
    const full = () => metrics.size >= this.failAt;
    return class {
      readonly values: [object, number][] = [];
      constructor(config: Config) {
        if (full()) throw new Error("already registered");
        metrics.set(config.name, { config, values: this.values, set });
        Object.defineProperty(this, set, {
          value: (labels: object, value: number) => this.values.push([labels, value]),
        });
      }
      reset() {
        this.values.length = 0;
      }
    };
  };
  readonly Gauge = this.#metric("set") as never;
  readonly Counter = this.#metric("inc") as never;

  collect(name: string): [object, number][] {
    const { config, values } = this.metrics.get(name) as never as { config: Config; values: [object, number][] };
    config.collect();
    return values;
  }
}

interface Config {
  readonly name: string;
  readonly help: string;
  readonly labelNames: string[];
  readonly registers: object[];
  readonly collect: () => void;
}

describe("register", () => {
  test("adds a metric for each instrument, which starts anew whenever the client collects", () => {
    const client = new Client();
    const unregister = register(client);
    expect([...client.metrics.keys()]).toEqual(instruments().map(({ name }) => name));
    for (const { name, help, type, labels } of instruments()) {
      expect(client.metrics.get(name)?.set).toBe(type === "counter" ? "inc" : "set");
      expect(client.metrics.get(name)?.config).toMatchObject({
        help,
        labelNames: labels,
        registers: [client.register],
      });
    }
    const name = newName();
    const sem = keep(new Weighted(3, { name }));
    const held = () => client.collect("gopark_semaphore_held").filter(([labels]) => (labels as Named).name === name);
    expect(held()).toEqual([[{ name }, 0]]);
    sem.tryAcquire(2);
    expect(held()).toEqual([[{ name }, 2]]);
    sem.release(2);
    for (let i = 0; i < 2; i++) expect(client.collect("gopark_proved_leaks_total")).toEqual([[{}, PROVED.live]]);
    unregister();
    expect(client.metrics.size).toBe(0);
  });

  test("takes a registry, and unregisters from it, once", () => {
    const client = new Client();
    const removed: string[] = [];
    const registry = { registerMetric: () => {}, removeSingleMetric: (name: string) => void removed.push(name) };
    const unregister = register(client, registry);
    for (const { config } of client.metrics.values()) expect(config.registers).toEqual([registry]);
    unregister();
    unregister();
    expect(removed).toEqual(instruments().map(({ name }) => name));
  });

  test("registers nothing if the client refuses one", () => {
    const client = new Client();
    client.failAt = 5;
    expect(() => register(client)).toThrow("already registered");
    expect(client.metrics.size).toBe(0);
  });

  test.each([undefined, null, 1, "prom-client", {}, { Gauge: class {} }, { Gauge: 1, Counter: 1 }])(
    "refuses %o as a client",
    (client) => {
      expect(() => register(client as never)).toThrow(TypeError);
      expect(() => register(client as never)).toThrow(
        "register: client must be prom-client or @prometheus-io/client, got ",
      );
    },
  );

  test.each([null, 1, {}, { registerMetric: () => {} }])("refuses %o as a registry", (registry) => {
    const client = new Client();
    expect(() => register(client, registry as never)).toThrow(TypeError);
    expect(() => register(client, registry as never)).toThrow(
      "register: registry must be a registry of the client, got ",
    );
    expect(client.metrics.size).toBe(0);
  });

  interface Named {
    readonly name: string;
  }
});

/** A meter with the part of OpenTelemetry's interface that is used. */
function meter(failAt = Number.POSITIVE_INFINITY) {
  const callbacks = new Map<string, (result: object) => void>();
  const made: [type: string, name: string, description: string | undefined][] = [];
  const create = (type: string) => (name: string, options?: { description?: string }) => {
    if (made.length >= failAt) throw new Error("no more");
    made.push([type, name, options?.description]);
    return {
      addCallback: (callback: (result: never) => void) => void callbacks.set(name, callback as never),
      removeCallback: (callback: unknown) => void (callbacks.get(name) === callback && callbacks.delete(name)),
    };
  };
  return {
    made,
    callbacks,
    createObservableGauge: create("gauge"),
    createObservableCounter: create("counter"),
    read(name: string): [number, object][] {
      const seen: [number, object][] = [];
      callbacks.get(name)?.({ observe: (value: number, labels: object) => seen.push([value, labels]) });
      return seen;
    },
  };
}

describe("observe", () => {
  test("makes an observable of each instrument", () => {
    const it = meter();
    const end = observe(it);
    expect(it.made).toEqual(instruments().map(({ name, type, help }) => [type, name, help]));
    const name = newName();
    keep(new Weighted(3, { name }));
    expect(it.read("gopark_semaphore_size")).toContainEqual([3, { name }]);
    expect(it.read("gopark_proved_leaks_total")).toEqual([[PROVED.live, {}]]);
    end();
    expect(it.callbacks.size).toBe(0);
    end();
  });

  test("observes nothing if the meter throws", () => {
    const it = meter(4);
    expect(() => observe(it)).toThrow("no more");
    expect(it.callbacks.size).toBe(0);
  });

  test.each([undefined, null, 1, {}, { createObservableGauge: () => {} }])("refuses %o as a meter", (bad) => {
    expect(() => observe(bad as never)).toThrow(TypeError);
    expect(() => observe(bad as never)).toThrow("observe: meter must be a meter of OpenTelemetry, got ");
  });
});
