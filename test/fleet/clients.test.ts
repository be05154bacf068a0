/** Each client that a link can use, a key prefix, and a cluster of three. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GlideClient, GlideClusterClient } from "@valkey/valkey-glide";
import { Cluster as IoredisCluster } from "ioredis";
import { Redis as Iovalkey, Cluster as IovalkeyCluster } from "iovalkey";
import { createClient, createClientPool, createCluster } from "redis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Client, connect, Limiter, UnavailableError } from "../../src/redis.ts";
import { ROOT } from "../support/examples.ts";
import { turn } from "../support/turn.ts";
import { check } from "./support/check.ts";
import { freePort, hasRedis, Server } from "./support/server.ts";

describe.runIf(hasRedis)("one server", () => {
  let server: Server;
  const ends: (() => unknown)[] = [];
  beforeAll(async () => {
    server = await Server.start();
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });
  afterAll(() => server.end());

  const nodeRedis = async (RESP: 2 | 3 = 2) => {
    const client = createClient({ url: `redis://127.0.0.1:${server.port}`, RESP });
    client.on("error", () => {});
    return client.connect();
  };
  const glide = () => GlideClient.createClient({ addresses: [{ host: "127.0.0.1", port: server.port }] });

  test("ioredis", () => check({ client: server.client(), subscriber: server.client(), end() {} }, "ioredis"));

  test("ioredis with a prefix of its keys", async () => {
    const options = { keyPrefix: "app:" };
    await check({ client: server.client(options), subscriber: server.client(options), end() {} }, "prefix");
    expect(await server.client().exists("app:{gopark:rate:prefix}")).toBe(1);
  });

  test("ioredis as a user who may do what the docs say, and nothing else", async () => {
    const page = readFileSync(join(ROOT, "docs/redis.md"), "utf8");
    const rules = /An ACL: `([^`]+)`/.exec(page.replaceAll(/\s+/g, " "))?.[1]?.split(" ") ?? [];
    expect(rules.length).toBeGreaterThan(20);
    await server.client().acl("SETUSER", "limits", "on", ">secret", "+info", "+client", ...rules);
    const options = { username: "limits", password: "secret" };
    await check({ client: server.client(options), subscriber: server.client(options), end() {} }, "acl");
  });

  test("iovalkey", async () => {
    const [client, subscriber] = [new Iovalkey(server.port), new Iovalkey(server.port)];
    await check({ client, subscriber, end: () => [client, subscriber].map((it) => it.disconnect()) }, "iovalkey");
  });

  test.each([2, 3] as const)("redis, RESP %i", async (RESP) => {
    const [client, subscriber] = [await nodeRedis(RESP), await nodeRedis(RESP)];
    await check({ client, subscriber, end: () => [client, subscriber].map((it) => it.destroy()) }, `redis${RESP}`);
  });

  test("redis, a pool", async () => {
    const pool = createClientPool({ url: `redis://127.0.0.1:${server.port}` });
    await pool.connect();
    const subscriber = await nodeRedis();
    await check({ client: pool, subscriber, end: () => [pool.destroy(), subscriber.destroy()] }, "pool");
  });

  test("valkey-glide, which asks again and again", async () => {
    const client = await glide();
    await check({ client, end: () => client.close() }, "glide");
  });

  test("valkey-glide with a subscriber of another client", async () => {
    const client = await glide();
    await check({ client, subscriber: server.client(), end: () => client.close() }, "both");
  });

  const clients = {
    async ioredis(): Promise<[Client, () => void]> {
      return [server.client(), () => {}];
    },
    async redis(): Promise<[Client, () => void]> {
      const client = await nodeRedis();
      return [client, () => client.destroy()];
    },
    async glide(): Promise<[Client, () => void]> {
      const client = await glide();
      return [client, () => client.close()];
    },
  };

  test.each(["ioredis", "redis", "glide"] as const)(
    "%s: scripts are flushed, and errors of the server",
    async (name) => {
      const [client, end] = await clients[name]();
      const link = connect(client, { timeout: 2000 });
      const limiter = new Limiter(link, "flushed", 1e-6, 100);
      expect(await limiter.allow()).toBe(true);
      await server.client().script("FLUSH");
      expect(await limiter.allow()).toBe(true);
      await server.client().lpush("{gopark:rate:list}", "x");
      const error = await new Limiter(link, "list", 1, 1).allow().catch((error) => error);
      expect(error).toBeInstanceOf(UnavailableError);
      expect(error.message).toMatch(/^redis: .*wrong.?type/i);
      await link.close();
      end();
    },
  );
});

describe.runIf(hasRedis)("a cluster of three", () => {
  let servers: Server[];
  beforeAll(async () => {
    servers = await Promise.all(
      [0, 1, 2].map(async (i) =>
        Server.start(
          "--cluster-enabled",
          "yes",
          "--cluster-config-file",
          `${i}.conf`,
          "--cluster-port",
          String(await freePort()),
        ),
      ),
    );
    const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
    const made = spawnSync("redis-cli", ["--cluster", "create", ...addresses, "--cluster-yes"], { encoding: "utf8" });
    if (made.status !== 0) throw new Error(`${made.stdout}${made.stderr}`);
    for (const server of servers) {
      const client = server.client();
      while (!String(await client.cluster("INFO")).includes("cluster_state:ok")) await turn();
    }
  }, 60_000);
  afterAll(async () => {
    for (const server of servers) await server.end();
  });

  const nodes = () => servers.map(({ port }) => ({ host: "127.0.0.1", port }));
  const nodeRedis = () => createCluster({ rootNodes: nodes().map((socket) => ({ socket })) });

  test("ioredis", async () => {
    const [client, subscriber] = [new IoredisCluster(nodes()), new IoredisCluster(nodes())];
    await check({ client, subscriber, end: () => [client, subscriber].map((it) => it.disconnect()) }, "ioredis");
  });

  test("iovalkey", async () => {
    const [client, subscriber] = [new IovalkeyCluster(nodes()), new IovalkeyCluster(nodes())];
    await check({ client, subscriber, end: () => [client, subscriber].map((it) => it.disconnect()) }, "iovalkey");
  });

  test("redis", async () => {
    const client = await nodeRedis().connect();
    await check({ client, subscriber: client, end: () => client.destroy() }, "redis");
  });

  test("valkey-glide", async () => {
    const client = await GlideClusterClient.createClient({ addresses: nodes() });
    await check({ client, end: () => client.close() }, "glide");
  });
});
