/** What goes wrong: connections, the server, its data and its clock. */
import type { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { background, cause, withCancel } from "../../src/context.ts";
import * as rate from "../../src/rate.ts";
import { connect, Limiter, type Link, LostError, Mutex, UnavailableError, Weighted } from "../../src/redis.ts";
import { turn } from "../support/turn.ts";
import { watch } from "../support/watch.ts";
import { tokensOf } from "./support/bucket.ts";
import { isFreeOnceAnswered } from "./support/check.ts";
import { Member, mostHeld } from "./support/fleet.ts";
import { TcpProxy } from "./support/proxy.ts";
import { hasRedis, Server } from "./support/server.ts";

const HOUR = 3_600_000_000; // In microseconds.

describe.runIf(hasRedis)("faults", () => {
  let server: Server;
  let client: Redis;
  const links: Link[] = [];

  function linked(options: { timeout?: number; retry?: number } = {}): Link {
    const link = connect(server.client(), { subscriber: server.client(), timeout: 100, retry: 20, ...options });
    links.push(link);
    return link;
  }

  /** Starts the server of the test. */
  async function start(...options: string[]): Promise<void> {
    server = await Server.start(...options);
    client = server.client();
    await client.ping();
  }

  beforeEach(() => start());
  afterEach(async () => {
    for (const link of links.splice(0)) await link.close();
    await server.end();
  });

  /** Members that take units until they are told to end, and whether all have ended. */
  function running(key: string, port: number): { members: Member[]; isOver(): boolean } {
    const job = { name: "semaphore", port, key, size: 4, largest: 2, hold: 1, rounds: 150, lease: 1000, timeout: 500 };
    const members = Array.from({ length: 6 }, (_, i) => new Member({ ...job, step: 1 + i }));
    return { members, isOver: () => members.every((member) => member.exitCode !== null) };
  }

  /** All have done what they were to do, and never held more than the size. */
  async function checkEnded(members: readonly Member[]): Promise<void> {
    await Promise.all(members.map((member) => member.ended));
    expect(members.map((member) => member.holds().length)).toEqual(members.map(() => 150));
    expect(mostHeld(members)).toBeLessThanOrEqual(4);
  }

  test("scripts are flushed again and again", async () => {
    const { members, isOver } = running("flush", server.port);
    await Promise.all(members.map((member) => member.says("+")));
    let flushes = 0;
    for (; !isOver(); flushes++) {
      await client.script("FLUSH");
      await turn();
    }
    await checkEnded(members);
    expect(flushes).toBeGreaterThan(10);
  });

  test.each(["normal", "pubsub"])("the connections of type %s are killed again and again", async (type) => {
    const { members, isOver } = running("kill", server.port);
    await Promise.all(members.map((member) => member.says("+")));
    let killed = 0;
    while (!isOver()) {
      const lines = members.reduce((sum, member) => sum + member.lines.length, 0);
      killed += Number(await client.call("CLIENT", "KILL", "TYPE", type, "SKIPME", "yes"));
      // Some steps happen between two kills.
      while (!isOver() && members.reduce((sum, member) => sum + member.lines.length, 0) < lines + 60) await turn();
    }
    await checkEnded(members);
    expect(killed).toBeGreaterThan(5);
  });

  test("connections are cut on the way, where answers are lost: one lease for each request, and nobody is stuck", async () => {
    const proxy = await TcpProxy.start(server.port);
    const { members, isOver } = running("cut", proxy.port);
    await Promise.all(members.map((member) => member.says("+")));
    while (!isOver()) {
      const lines = members.reduce((sum, member) => sum + member.lines.length, 0);
      proxy.cut();
      while (!isOver() && members.reduce((sum, member) => sum + member.lines.length, 0) < lines + 60) await turn();
    }
    await checkEnded(members);
    await proxy.end();
    expect(await client.hget("{gopark:semaphore:cut}:state", "held")).toBe("0");
  });

  test("the server is stopped for longer than a lease: the bound holds, and all finish", async () => {
    const { members } = running("silent", server.port);
    await Promise.all(members.map((member) => member.says("+", 5)));
    server.signal("SIGSTOP");
    // Each is refused again and again for longer than a lease.
    await Promise.all(members.map((member) => member.says("!", 60)));
    server.signal("SIGCONT");
    await checkEnded(members);
  });

  test("the server is gone, and comes back with its data: the bound holds, and all finish", async () => {
    await server.end();
    await start("--appendonly", "yes", "--appendfsync", "always");
    const { members } = running("gone", server.port);
    await Promise.all(members.map((member) => member.says("+", 5)));
    await server.kill();
    await Promise.all(members.map((member) => member.says("!", 3)));
    await server.run();
    await checkEnded(members);
  });

  test("while it is silent, each call settles, and a context's end at once, also while a call is out", async () => {
    const link = linked();
    const [limiter, sem] = [new Limiter(link, "silent", 100, 10), new Weighted(link, "silent", 1)];
    expect(await limiter.allow()).toBe(true);
    server.signal("SIGSTOP");
    expect(link.available()).toBe(true);
    // With the server still stopped: so each of these settles by itself.
    const calls = [limiter.allow(), limiter.reserve(), limiter.wait(background()), sem.permit(background())];
    for (const settled of await Promise.allSettled([...calls, sem.tryPermit()])) {
      expect(settled).toMatchObject({ status: "rejected", reason: expect.any(UnavailableError) });
    }
    expect(link.available()).toBe(false);
    // One is sent to find out; the others are refused at once.
    const patient = linked({ timeout: 60_000 });
    const [ctx, cancel] = withCancel(background());
    const out = [
      new Limiter(patient, "silent", 100, 10).wait(ctx),
      new Weighted(patient, "silent", 1, { lease: 300_000 }).permit(ctx),
    ].map(watch);
    while (patient.calls() < 2) await turn();
    expect(out.map(({ state }) => state)).toEqual(["pending", "pending"]);
    cancel();
    await turn();
    expect(out.map(({ reason }) => String(reason))).toEqual(Array(2).fill("AbortError: context canceled"));
    server.signal("SIGCONT");
    while (!(await limiter.allow().catch(() => false)));
    expect(link.available()).toBe(true);
    await patient.close(); // What is out is answered.
  });

  test.each(["stopped", "dead"])(
    "calls that are given up while the server is %s take nothing after it",
    async (how) => {
      const link = linked({ timeout: 30, retry: 1 });
      const [limiter, sem] = [new Limiter(link, "stale", 0.001, 1000), new Weighted(link, "stale", 5)];
      // Scripts and clock are known.
      expect(await limiter.allow()).toBe(true);
      await (await sem.permit(background())).release();
      const sentBefore = link.calls();
      if (how === "stopped") server.signal("SIGSTOP");
      else await server.kill();
      let failed = 0;
      while (link.calls() < sentBefore + 20) {
        const calls = [limiter.allow(), limiter.reserve(), sem.tryPermit()];
        failed += (await Promise.allSettled(calls)).filter(({ status }) => status === "rejected").length;
      }
      expect(failed).toBeGreaterThan(20);
      if (how === "stopped") server.signal("SIGCONT");
      else await server.run();
      while (!(await limiter.allow().catch(() => false)));
      // Twice one token where the server has its data.
      const tokens = await tokensOf(client, "{gopark:rate:stale}");
      expect(Math.round(tokens)).toBe(how === "stopped" ? 998 : 999);
      expect(await client.zcard("{gopark:semaphore:stale}:leases")).toBe(0);
    },
  );

  test("the server starts again without data: holders are told, and the fence rises", async () => {
    const link = linked();
    const lock = new Mutex(link, "empty", { lease: 600 });
    const lease = await lock.lock();
    await server.kill();
    await server.run();
    while (lease.ctx.err() === undefined) await turn();
    expect(cause(lease.ctx)).toBeInstanceOf(LostError);
    expect(lease.valid()).toBe(false);
    let next = undefined as typeof lease | undefined;
    while (next === undefined) next = await lock.lock().catch(() => undefined);
    expect(next.fence).toBeGreaterThan(lease.fence);
    expect(await lease.release()).toBe(false);
    expect(next.valid()).toBe(true);
    expect(await next.release()).toBe(true);
  });

  test("the server starts again from its append-only file: the lease is still held", async () => {
    await server.end();
    await start("--appendonly", "yes", "--appendfsync", "always");
    const [link, other] = [linked(), linked()];
    const lease = await new Mutex(link, "kept", { lease: 60_000 }).lock();
    const limiter = new Limiter(link, "kept", 0.001, 3);
    expect(await limiter.allow(2)).toBe(true);
    await server.kill();
    await server.run();
    let next: boolean | undefined;
    while (next === undefined) {
      next = await new Mutex(other, "kept").tryLock().then(
        (it) => it !== undefined,
        () => undefined,
      );
    }
    expect(next).toBe(false);
    while (!link.available()) await limiter.allow(0).catch(() => {});
    expect(await limiter.allow(2)).toBe(false);
    expect([lease.valid(), await lease.release()]).toEqual([true, true]);
  });

  test("a replica takes over: what it has is held and counted on, waiters are let in, and the fence rises", async () => {
    const replica = await Server.start("--replicaof", "127.0.0.1", String(server.port));
    const proxy = await TcpProxy.start(server.port);
    onTestFinished(async () => {
      await proxy.end();
      await replica.end();
    });
    const through = () => server.clientAt(proxy.port);
    const link = connect(through(), { subscriber: through(), timeout: 1000, retry: 20 });
    const other = connect(through(), { subscriber: through(), timeout: 1000, retry: 20 });
    links.push(link, other);
    const lock = new Mutex(link, "failover", { lease: 60_000 });
    const limiter = new Limiter(link, "failover", 0.001, 3);
    const lease = await lock.lock();
    expect(await limiter.allow(2)).toBe(true);
    const waiting = new Mutex(other, "failover", { lease: 60_000 }).lock();
    while ((await client.zcard("{gopark:mutex:failover}:waiters")) === 0) await turn();
    await client.set("last", "1");
    expect(await client.wait(1, 60_000)).toBe(1); // The replica has that, and with it all before.

    await server.kill();
    await replica.client().replicaof("NO", "ONE");
    proxy.moveTo(replica.port);
    expect([await isFreeOnceAnswered(lock), lease.valid()]).toEqual([false, true]);
    expect(await limiter.allow(2)).toBe(false);
    expect(await lease.release()).toBe(true);
    const next = await waiting;
    expect(next.fence).toBeGreaterThan(lease.fence);
    expect(await next.release()).toBe(true);
  });

  test("the server's clock is set forward: the lease ends for others, and its holder is told", async () => {
    const link = linked();
    const sem = new Weighted(link, "forward", 1, { lease: 900 });
    const lease = await sem.permit(background());
    link.serverClock = () => String(HOUR);
    const other = linked();
    other.serverClock = link.serverClock;
    await using next = await new Weighted(other, "forward", 1).permit(background());
    while (lease.ctx.err() === undefined) await turn();
    expect(cause(lease.ctx)).toBeInstanceOf(LostError);
    expect([await lease.release(), next.valid()]).toEqual([false, true]);
  });

  test("the server's clock is set back or forward: nothing is granted early, and no call is refused as too late", async () => {
    const link = linked();
    const limiter = new Limiter(link, "clock", 0.1, 2);
    expect([await limiter.allow(), await limiter.allow(), await limiter.allow()]).toEqual([true, true, false]);
    link.serverClock = () => String(-HOUR);
    expect(await limiter.allow()).toBe(false);
    const reservation = await limiter.reserve();
    expect(reservation.delay()).toBeGreaterThan(0);
    expect(reservation.delay()).toBeLessThanOrEqual(10_000);
    // An hour later at once: the bucket is full, as it would be.
    link.serverClock = () => "";
    expect([await limiter.allow(), await limiter.allow(), await limiter.allow()]).toEqual([true, true, false]);
    expect(link.failures()).toBe(0);

    const sem = new Weighted(link, "clock", 1, { lease: 600 });
    const lease = await sem.permit(background());
    link.serverClock = () => String(-HOUR);
    expect(await sem.tryPermit()).toBeUndefined();
    expect([lease.valid(), await lease.release()]).toEqual([true, true]);
  });

  test("each fallback answers while there is no server, and Redis does again once there is", async () => {
    const link = linked();
    const made = (fallback: ConstructorParameters<typeof Limiter>[4]) =>
      new Limiter(link, "fallback", 1e-6, 3, fallback);
    const all = {
      fail: made({ fallback: "fail" }),
      open: made({ fallback: "open" }),
      closed: made({ fallback: "closed" }),
      local: made({ fallback: new rate.Limiter(1e-6, 2) }),
    };
    await server.kill();
    const answers = async () => {
      const asked = Object.values(all).map((limiter) => limiter.allow().catch((error) => error.name));
      return await Promise.all(asked);
    };
    expect(await answers()).toEqual(["UnavailableError", true, false, true]);
    expect(await answers()).toEqual(["UnavailableError", true, false, true]);
    expect(await answers()).toEqual(["UnavailableError", true, false, false]);
    await server.run();
    while (!link.available()) await all.fail.allow(0).catch(() => {});
    expect(await answers()).toEqual([true, true, true, false]);
  });

  test("the server has no memory left: leases and places are kept, and nothing new is granted", async () => {
    const link = linked({ timeout: 400 });
    const sem = new Weighted(link, "memory", 1, { lease: 800 });
    const lease = await sem.permit(background());
    const [ctx, cancel] = withCancel(background());
    const waiting = watch(sem.permit(ctx));
    while ((await client.zcard("{gopark:semaphore:memory}:waiters")) !== 1);
    await client.config("SET", "maxmemory", "1");
    const until = performance.now() + 1600; // Twice the lease.
    while (performance.now() < until) await turn();
    expect([lease.valid(), waiting.state]).toEqual([true, "pending"]);
    await expect(new Weighted(link, "memory too", 1).tryPermit()).rejects.toThrow("OOM");
    cancel();
    expect(await lease.release()).toBe(true);
    await client.config("SET", "maxmemory", "0");
  });

  test("an error of the server is the cause of an UnavailableError, and the link goes on", async () => {
    const link = linked();
    await client.lpush("{gopark:rate:list}", "x");
    const error = await new Limiter(link, "list", 1, 1).allow().catch((error) => error);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error.message).toMatch(/^redis: .*WRONGTYPE/);
    expect(error.cause.message).toContain("WRONGTYPE");
    expect(link.available()).toBe(true);

    await client.config("SET", "maxmemory", "1");
    expect(String(await new Limiter(link, "full", 1, 1).allow().catch((error) => error))).toMatch(
      /UnavailableError: redis: .*OOM/,
    );
  });
});
