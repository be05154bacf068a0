/**
 * Loads the order API: two seconds at 60 orders a second, six at 600, four at 60. Open loop: an order is sent when it
 * is due, whether or not earlier ones were answered. Prints a line for each second.
 *
 *   npm run demo -- load
 */
import { context, time } from "gopark";

const ORDERS = "http://127.0.0.1:8080/orders";
const PHASES = [
  { seconds: 2, rate: 60 },
  { seconds: 6, rate: 600 },
  { seconds: 4, rate: 60 },
];
const CLIENTS = 200;
const PATIENCE = 2000;

interface Second {
  readonly took: number[];
  readonly counts: Map<string, number>;
}

const seconds: Second[] = [];
let sent = 0;

async function order(second: Second): Promise<void> {
  const began = time.now();
  const client = sent++ % CLIENTS;
  using scope = context.withTimeout(undefined, PATIENCE);
  let outcome: string;
  try {
    const res = await fetch(ORDERS, {
      method: "POST",
      headers: { "content-type": "application/json", "x-forwarded-for": `10.0.0.${client}` },
      body: JSON.stringify({ sku: `article-${client % 20}`, qty: 1 + (client % 3) }),
      signal: scope.ctx.signal,
    });
    await res.text();
    outcome = String(res.status);
    if (res.ok) second.took.push(time.now() - began);
  } catch (err) {
    outcome = context.is(err, context.DeadlineExceeded) ? "gave up" : "failed";
  }
  second.counts.set(outcome, (second.counts.get(outcome) ?? 0) + 1);
}

const all: Promise<void>[] = [];
for (const { seconds: length, rate } of PHASES) {
  for (let i = 0; i < length; i++) {
    const second: Second = { took: [], counts: new Map() };
    seconds.push(second);
    const ticker = new time.Ticker(1000 / 50);
    for (let tick = 1; tick <= 50; tick++) {
      for (let n = Math.floor(((tick - 1) * rate) / 50); n < Math.floor((tick * rate) / 50); n++)
        all.push(order(second));
      await ticker.c.receive();
    }
    ticker.stop();
    const at = seconds.length - 2;
    if (at >= 0) print(at);
  }
}
await Promise.all(all);
print(seconds.length - 1);

/** A second's orders; those that are still in progress are missing. */
function print(at: number): void {
  const { took, counts } = seconds[at] as Second;
  const sorted = took.toSorted((a, b) => a - b);
  const p99 = sorted[Math.ceil(sorted.length * 0.99) - 1];
  const shown = [...counts].sort().map(([outcome, n]) => `${outcome}: ${n}`);
  console.log(`second ${at + 1}: ${shown.join(", ")}${p99 === undefined ? "" : `; P99 of 200 ${p99.toFixed(0)} ms`}`);
}
