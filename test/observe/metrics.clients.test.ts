/** gopark/metrics with the real clients: prom-client, @prometheus-io/client, OpenTelemetry's API and SDK. */
import { metrics as api } from "@opentelemetry/api";
import { type CollectionResult, DataPointType, MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import * as successor from "@prometheus-io/client";
import defaultImport, * as promClient from "prom-client";
import { afterEach, describe, expect, test } from "vitest";
import { PROVED } from "../../src/internal/track/tracker.ts";
import { instruments, observe, type PromClient, prometheusText, register } from "../../src/metrics.ts";
import { Weighted } from "../../src/semaphore.ts";
import { Workers } from "../../src/workers.ts";

const kept: object[] = [];
afterEach(() => void kept.splice(0));

/** Named things whose values no client writes by itself. */
function nameThings(): void {
  kept.push(new Weighted(3, { name: 'a "quoted" \\ name\nof two lines 😀' }));
  kept.push(new Workers(Number.POSITIVE_INFINITY, { name: "unlimited" }));
}

/** The lines of a text without the empty ones that prom-client puts between metrics. */
const linesOf = (text: string) => text.split("\n").filter((line) => line !== "");

/** A text without metrics that have no value: the clients show their help and type all the same. */
function withValues(text: string): string[] {
  const used = instruments().filter(({ read }) => read().length > 0);
  return linesOf(text).filter((line) => used.some((it) => new RegExp(`\\b${it.name}\\b`).test(line)));
}

describe.each([
  ["prom-client", promClient],
  ["prom-client, its default import", defaultImport],
  ["@prometheus-io/client", successor],
])("%s", (_, client) => {
  const newRegistry = () => new (client.Registry as unknown as typeof promClient.Registry)();
  const add = (registry: object) => register(client as unknown as PromClient, registry as never);

  test("serves the text that prometheusText does", async () => {
    nameThings();
    const registry = newRegistry();
    add(registry);
    expect(withValues(await registry.metrics())).toEqual(linesOf(prometheusText()));
  });

  test("shows what is there when it collects, and no more what has ended", async () => {
    const registry = newRegistry();
    add(registry);
    const sem = new Weighted(3, { name: "stock" });
    kept.push(sem);
    const held = async () => /^gopark_semaphore_held\{name="stock"\} (\d+)$/m.exec(await registry.metrics())?.[1];
    expect(await held()).toBe("0");
    sem.tryAcquire(2);
    expect(await held()).toBe("2");
    sem.release(2);
    PROVED.live += 2;
    for (let i = 0; i < 2; i++)
      expect(await registry.metrics()).toContain(`gopark_proved_leaks_total ${PROVED.live}\n`);
    PROVED.live -= 2;
    expect(await registry.metrics()).toContain(`gopark_proved_leaks_total ${PROVED.live}\n`);
  });

  test("is left as it was by a second register, and by unregister", async () => {
    const registry = newRegistry();
    const unregister = add(registry);
    const before = await registry.metrics();
    expect(() => add(registry)).toThrow("already been registered");
    expect(await registry.metrics()).toBe(before);
    unregister();
    expect(await registry.getMetricsAsJSON()).toEqual([]);
    new client.Gauge({ name: "gopark_pool_idle", help: "Another's.", registers: [registry as never] });
    expect(() => add(registry)).toThrow("already been registered");
    expect((await registry.getMetricsAsJSON()).map((it) => it.name)).toEqual(["gopark_pool_idle"]);
  });

  test("has a default registry, which is used if none is given", async () => {
    const registry = client.register as typeof promClient.register;
    const unregister = register(client as unknown as PromClient);
    expect(await registry.metrics()).toContain("\ngopark_tasks{");
    unregister();
    expect(await registry.metrics()).not.toContain("gopark");
  });
});

/** A reader that collects when it is asked to. */
class Reader extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

describe("OpenTelemetry", () => {
  const values = ({ resourceMetrics, errors }: CollectionResult) => {
    expect(errors).toEqual([]);
    const found = resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics);
    return found.map(({ descriptor, dataPointType, dataPoints }) => ({
      name: descriptor.name,
      help: descriptor.description,
      type: dataPointType === DataPointType.SUM ? "counter" : "gauge",
      samples: dataPoints.map(({ attributes, value }) => ({ labels: attributes, value })),
    }));
  };

  test("observes each instrument with its values, until that is ended", async () => {
    nameThings();
    const reader = new Reader();
    const provider = new MeterProvider({ readers: [reader] });
    const end = observe(provider.getMeter("gopark"));
    const wanted = instruments().map(({ name, help, type, read }) => ({ name, help, type, samples: read() }));
    expect(values(await reader.collect())).toEqual(wanted.filter(({ samples }) => samples.length > 0));
    const [sem] = kept as [Weighted];
    const held = async () => {
      const found = values(await reader.collect()).find((it) => it.name === "gopark_semaphore_held");
      return found?.samples.find(({ labels }) => `${labels.name}`.startsWith("a "))?.value;
    };
    sem.tryAcquire(1);
    const before = await held();
    end();
    sem.tryAcquire(1);
    expect([before, await held()]).toEqual([1, 1]); // The SDK goes on exporting the last value that it was given.
    sem.release(2);
    await provider.shutdown();
  });

  test("takes the meter of the API, which without an SDK does nothing", () => {
    expect(observe(api.getMeter("gopark"))()).toBeUndefined();
  });
});
