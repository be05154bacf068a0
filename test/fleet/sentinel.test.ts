/** Clients that find the server by a sentinel: what a link does with them, and a failover that the sentinel decides. */
import { Redis } from "ioredis";
import { Redis as Iovalkey } from "iovalkey";
import { createSentinel } from "redis";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { connect, Limiter, Mutex } from "../../src/redis.ts";
import { turn } from "../support/turn.ts";
import { check, isFreeOnceAnswered, type Pair } from "./support/check.ts";
import { hasRedis, Sentinel, Server } from "./support/server.ts";

const NAME = "main";

let main: Server;
let replica: Server;
let sentinel: Sentinel;

/** Two clients of one package, which `newClient` makes. */
async function pairOf(newClient: () => Redis | Iovalkey): Promise<Pair> {
  const [client, subscriber] = [newClient(), newClient()];
  for (const it of [client, subscriber]) it.on("error", () => {});
  return { client, subscriber, end: () => [client, subscriber].map((it) => it.disconnect()) };
}

/** Where ioredis and iovalkey find the server. */
const found = () => ({ sentinels: [{ host: "127.0.0.1", port: sentinel.port }], name: NAME });

/** A client and a subscriber of each package. */
const pairs: Record<string, () => Promise<Pair>> = {
  ioredis: () => pairOf(() => new Redis(found())),
  iovalkey: () => pairOf(() => new Iovalkey(found())),
  async redis() {
    const client = createSentinel({
      name: NAME,
      sentinelRootNodes: [{ host: "127.0.0.1", port: sentinel.port }],
      scanInterval: 100,
    });
    client.on("error", () => {});
    await client.connect();
    return { client, subscriber: client, end: () => client.destroy() };
  },
};

describe.runIf(hasRedis)("behind a sentinel", () => {
  beforeEach(async () => {
    main = await Server.start();
    replica = await Server.start("--replicaof", "127.0.0.1", String(main.port));
    sentinel = await Sentinel.start(NAME, main, 500);
    const asked = main.clientAt(sentinel.port);
    // Until it knows the replica, it has none to promote.
    while (!String(await asked.call("SENTINEL", "REPLICAS", NAME)).includes(String(replica.port))) await turn();
  });
  afterEach(async () => {
    await sentinel.end();
    await replica.end();
    await main.end();
  });

  test.each(Object.keys(pairs))("%s: all that a link does", async (name) => {
    await check(await (pairs[name] as () => Promise<Pair>)(), name);
  });

  // iovalkey has the same code for it as ioredis.
  test.each(["ioredis", "redis"])("%s: after a failover a lease is still held, and the fence rises", async (name) => {
    const { client, subscriber, end } = await (pairs[name] as () => Promise<Pair>)();
    const link = connect(client, { timeout: 1000, retry: 20, ...(subscriber !== undefined && { subscriber }) });
    const lock = new Mutex(link, name, { lease: 60_000 });
    const limiter = new Limiter(link, name, 1e-3, 3);
    const lease = await lock.lock();
    expect(await limiter.allow(2)).toBe(true);
    const direct = main.client();
    await direct.set("last", "1");
    expect(await direct.wait(1, 60_000)).toBe(1); // The replica has that, and with it all before.

    await main.kill();
    expect([await isFreeOnceAnswered(lock), lease.valid()]).toEqual([false, true]);
    expect(await limiter.allow(2)).toBe(false);
    expect(await lease.release()).toBe(true);
    const next = await lock.lock();
    expect(next.fence).toBeGreaterThan(lease.fence);
    expect(await next.release()).toBe(true);
    await link.close();
    await end();
  });
});
