/**
 * What a call costs, as a ratio to a bare PING on the same connection, in rounds that take turns: the median of the
 * rounds, and the quartiles. And how long the server works for an operation, and how many calls that makes. Writes the
 * table into docs/redis.md.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Redis } from "ioredis";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { Semaphore } from "redis-semaphore";
import { connect, Limiter, Weighted } from "../../dist/redis.js";
import { startRedis } from "./server.mjs";

const Bottleneck = createRequire(import.meta.url)("bottleneck");
const ROUNDS = 15;
const OPERATIONS = 1500;
const IN_FLIGHT = 64;

const redis = await startRedis();
const client = new Redis(redis.port);
const subscriber = new Redis(redis.port);
const watcher = new Redis(redis.port);

const link = connect(client, { subscriber, timeout: 5000 });
const limiter = new Limiter(link, "limiter", 1e9, 1e9);
const semaphore = new Weighted(link, "semaphore", 100, { lease: 60_000 });
const flexible = new RateLimiterRedis({ storeClient: client, points: 1e9, duration: 60 });
const bottleneck = new Bottleneck({
  id: "bench",
  datastore: "ioredis",
  connection: new Bottleneck.IORedisConnection({ client }),
  reservoir: 1e9,
});
await bottleneck.ready();

const ping = () => client.ping();
const rows = [
  ["gopark Limiter.allow", () => limiter.allow()],
  ["rate-limiter-flexible consume", () => flexible.consume("key")],
  ["bottleneck schedule", () => bottleneck.schedule(() => Promise.resolve())],
  ["gopark Weighted.permit, release", async () => (await semaphore.permit()).release()],
  [
    "redis-semaphore acquire, release",
    async () => {
      const it = new Semaphore(client, "peer", 100);
      await it.acquire();
      await it.release();
    },
  ],
];

/** Milliseconds for all operations, so many of them at one time. */
async function time(operation, inFlight, operations) {
  let left = operations;
  const loop = async () => {
    while (left-- > 0) await operation();
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: inFlight }, loop));
  return performance.now() - began;
}

/** How many commands the server ran for clients, and its microseconds for them. */
async function server() {
  const stats = await watcher.info("commandstats");
  let calls = 0;
  let micros = 0;
  for (const [, name, count, took] of stats.matchAll(/cmdstat_(\S+?):calls=(\d+),usec=(\d+)/g)) {
    if (!/^(evalsha|eval|ping|fcall)$/.test(name)) continue;
    calls += Number(count);
    micros += Number(took);
  }
  return { calls, micros };
}

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
const table = [];
for (const inFlight of [1, IN_FLIGHT]) {
  for (const [name, operation] of [["PING", ping], ...rows]) {
    const operations = name.startsWith("bottleneck") ? OPERATIONS / 10 : OPERATIONS;
    for (let i = 0; i < 2; i++) await time(operation, inFlight, operations); // Warm.
    const ratios = [];
    let micros = 0;
    const before = await server();
    let own = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const bare = await time(ping, inFlight, operations);
      const took = await time(operation, inFlight, operations);
      ratios.push(took / bare);
      micros += bare;
      own += operations;
    }
    const after = await server();
    ratios.sort((a, b) => a - b);
    // The PINGs beside it are one call each, of no weight.
    const calls = (after.calls - before.calls) / own - 1;
    table.push({
      "at one time": inFlight,
      operation: name,
      "× PING": quantile(ratios, 0.5).toFixed(2),
      quartiles: `${quantile(ratios, 0.25).toFixed(2)} to ${quantile(ratios, 0.75).toFixed(2)}`,
      "scripts each": calls.toFixed(2),
      "server µs for them": ((after.micros - before.micros) / own).toFixed(1),
      "PING µs": ((micros / own) * 1000).toFixed(0),
    });
  }
}
const head = Object.keys(table[0]);
const lines = [
  `Node ${process.versions.node} and one Redis on a shared machine of two cores, ${ROUNDS} rounds of ${OPERATIONS}:`,
  "",
  `| ${head.join(" | ")} |`,
  `|${head.map(() => "---").join("|")}|`,
  ...table.map((row) => `| ${Object.values(row).join(" | ")} |`),
];
console.log(lines.join("\n"));
const file = new URL("../../docs/redis.md", import.meta.url);
const page = readFileSync(file, "utf8");
const [from, to] = [page.indexOf("<!-- figures:begin -->"), page.indexOf("<!-- figures:end -->")];
if (from < 0 || to < 0) throw new Error("docs/redis.md has no place for the figures");
writeFileSync(file, `${page.slice(0, from)}<!-- figures:begin -->\n${lines.join("\n")}\n${page.slice(to)}`);

await link.close();
await bottleneck.disconnect(false);
for (const it of [client, subscriber, watcher]) it.disconnect();
redis.child.kill();
