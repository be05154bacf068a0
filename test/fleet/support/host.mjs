/**
 * A limiter, a semaphore and a lock in another host, with ioredis and with node-redis: `BUN_OR_DENO host.mjs PREFIX
 * PORT`. Prints a line for each client, of what came out.
 */
import { Redis } from "ioredis";
import { createClient } from "redis";
import { connect, Limiter, Mutex, Weighted } from "../../../dist/node/redis.js";

const [prefix, port] = process.argv.slice(-2);

async function use(name, client, subscriber) {
  const link = connect(client, { subscriber, timeout: 5000 });
  const key = `${prefix} ${name}`;
  const limiter = new Limiter(link, key, 1e-3, 2);
  const allowed = await Promise.all([1, 2, 3].map(() => limiter.allow()));

  const semaphore = new Weighted(link, key, 2, { lease: 60_000 });
  const all = await semaphore.permit(undefined, 2);
  const order = [];
  const waiting = [1, 2].map((n) => semaphore.permit().then((lease) => [order.push(n), lease]));
  while (link.calls() < 4) await new Promise((resolve) => setTimeout(resolve, 1));
  const released = [await all.release()];
  for (const [, lease] of await Promise.all(waiting)) released.push(await lease.release());

  const hasFence = await new Mutex(link, key).withLock(undefined, (_, { fence }) => fence > 0);
  console.log(JSON.stringify({ name, allowed, order, released, hasFence, failures: link.failures() }));
  await link.close();
}

const ioredis = [new Redis(Number(port)), new Redis(Number(port))];
for (const client of ioredis) await client.ping();
await use("ioredis", ...ioredis);
for (const client of ioredis) client.disconnect();

const url = `redis://127.0.0.1:${port}`;
const nodeRedis = [await createClient({ url }).connect(), await createClient({ url }).connect()];
await use("node-redis", ...nodeRedis);
for (const client of nodeRedis) client.destroy();
