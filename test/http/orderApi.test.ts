/** The demo service of docs/examples/order-api, over sockets. */
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { orderApi } from "../../docs/examples/order-api/api.ts";
import { type Upstream, upstreams } from "../../docs/examples/order-api/upstreams.ts";

// What the upstreams throw dice with: 0.5 is no fault.
let dice: () => number;
let api: ReturnType<typeof orderApi>;
let both: { warehouse: Upstream; payments: Upstream };
let url: string;

beforeEach(async () => {
  dice = () => 0.5;
  both = await upstreams(() => dice());
  api = orderApi({ warehouse: both.warehouse.url, payments: both.payments.url });
  await api.app.listen({ port: 0, host: "127.0.0.1" });
  url = `http://127.0.0.1:${(api.app.server.address() as AddressInfo).port}/orders`;
});

afterEach(async () => {
  await api.app.close();
  await api.caller.close();
  both.warehouse.close();
  both.payments.close();
});

async function order(body: object, client = "10.0.0.1"): Promise<{ status: number; body: Record<string, unknown> }> {
  const headers = { "content-type": "application/json", "x-forwarded-for": client };
  const res = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: res.status, body: (await res.json().catch(() => ({}))) as Record<string, unknown> };
}

describe("the order API", () => {
  it("prices, reserves and pays an order", async () => {
    expect(await order({ sku: "tea", qty: 2 })).toEqual({
      status: 200,
      body: { order: expect.stringMatching(/^[0-9a-f-]{36}$/), cents: 3980 },
    });
  });

  it("refuses an order that is none", async () => {
    expect((await order({ sku: "tea", qty: 0 })).status).toBe(400);
    expect((await order({ sku: "../pay?", qty: 1 })).status).toBe(400);
  });

  it("answers 504 when an upstream never answers, and holds nothing", async () => {
    dice = () => 0.001;
    expect((await order({ sku: "tea", qty: 1 })).status).toBe(504);
    expect(api.caller.stats().running).toBe(0);
  });

  it("answers 502 when an upstream fails and fails again", async () => {
    dice = () => 0.02;
    expect((await order({ sku: "tea", qty: 1 })).status).toBe(502);
  });

  it("carries an order out though an upstream has failed once", async () => {
    const throws = [0.5, 0.5, 0.02, 0.02];
    dice = () => throws.shift() ?? 0.5;
    expect((await order({ sku: "tea", qty: 1 })).status).toBe(200);
  });

  it("answers 429 to one client, and 200 to another", async () => {
    const began = performance.now();
    const answers = await Promise.all(Array.from({ length: 200 }, () => order({ sku: "tea", qty: 1 })));
    const seconds = (performance.now() - began) / 1000;
    const statuses = answers.map(({ status }) => status);
    const admitted = statuses.filter((status) => status !== 429).length;
    expect(admitted).toBeGreaterThanOrEqual(20);
    expect(admitted).toBeLessThanOrEqual(Math.min(20 + 20 * seconds, 199));
    expect((await order({ sku: "tea", qty: 1 }, "10.0.0.2")).status).toBe(200);
  });

  it("refuses what is too much while an upstream hangs, and serves again after it", async () => {
    dice = () => 0.001;
    const crowd = Array.from({ length: 200 }, (_, i) => order({ sku: `article-${i}`, qty: 1 }, `10.0.1.${i}`));
    const statuses = (await Promise.all(crowd)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([503, 504]));
    expect(api.caller.stats()).toMatchObject({ running: 0, queued: 0 });

    dice = () => 0.5;
    // The breaker lets a probe through after two seconds.
    const again = async () => (await order({ sku: "tea", qty: 1 }, "10.0.0.3")).status;
    await expect.poll(again, { timeout: 30_000, interval: 200 }).toBe(200);
  });
});
