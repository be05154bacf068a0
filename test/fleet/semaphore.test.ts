/** The semaphore across processes, with a server. */

import type { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { background, cause, withCancel } from "../../src/context.ts";
import { connect, type Lease, type Link, LostError, Mutex, Weighted } from "../../src/redis.ts";
import { turn } from "../support/turn.ts";
import { watch } from "../support/watch.ts";
import { Member, mostHeld } from "./support/fleet.ts";
import { hasRedis, Server } from "./support/server.ts";

describe.runIf(hasRedis)("a semaphore", () => {
  let server: Server;
  let client: Redis;
  const links: Link[] = [];

  /** A link as another process would have it. */
  function linked(timeout = 250): Link {
    const link = connect(server.client(), { subscriber: server.client(), timeout });
    links.push(link);
    return link;
  }

  beforeAll(async () => {
    server = await Server.start();
    client = server.client();
  });
  beforeEach(async () => {
    await client.flushall();
  });
  afterEach(async () => {
    for (const link of links.splice(0)) await link.close();
  });
  afterAll(() => server.end());

  /** How many wait in the queue of the server. */
  const queued = (key: string) => client.zcard(`{gopark:semaphore:${key}}:waiters`);

  /** Waits until that many wait there. */
  async function untilQueued(key: string, n: number): Promise<void> {
    while ((await queued(key)) !== n);
  }

  test.each([
    ["units of one", 5, 1],
    ["units of 1 to 4", 7, 4],
  ])("8 processes × 1000, %s: never above the size, and all finish", { timeout: 120_000 }, async (_, size, largest) => {
    const job = { name: "semaphore", port: server.port, key: "many", size, rounds: 1000, largest, hold: 0 };
    const members = Array.from({ length: 8 }, (_, i) => new Member({ ...job, step: 1 + i }));
    await Promise.all(members.map((member) => member.ended));
    expect(members.map((member) => member.exitCode)).toEqual(Array(8).fill(0));
    expect(members.flatMap((member) => member.holds())).toHaveLength(8000);
    expect(members.flatMap((member) => member.events()).filter(({ what }) => what === "lost" || what === "!")).toEqual(
      [],
    );
    expect(mostHeld(members)).toBeLessThanOrEqual(size);
    expect(mostHeld(members)).toBeGreaterThan(1);
    expect(await client.hget("{gopark:semaphore:many}:state", "held")).toBe("0");
    // Nothing else is left: the hash goes away in a day.
    expect(await client.keys("*")).toEqual(["{gopark:semaphore:many}:state"]);
    expect(await client.pttl("{gopark:semaphore:many}:state")).toBeGreaterThan(0);
  });

  test("without a subscriber: never above the size, and all finish", { timeout: 120_000 }, async () => {
    const job = { name: "semaphore", port: server.port, key: "polled", size: 3, rounds: 50, largest: 2, hold: 1 };
    const members = Array.from({ length: 6 }, (_, i) => new Member({ ...job, step: 1 + i, alone: true }));
    await Promise.all(members.map((member) => member.ended));
    expect(members.flatMap((member) => member.holds())).toHaveLength(300);
    expect(mostHeld(members)).toBeLessThanOrEqual(3);
  });

  test("kill -9 of 3 of 8 that hold or wait: never above the size, and the others finish", async () => {
    const job = {
      name: "semaphore",
      port: server.port,
      key: "kill",
      size: 5,
      largest: 2,
      hold: 2,
      lease: 1000,
      timeout: 500,
    };
    const members = Array.from({ length: 8 }, (_, i) => new Member({ ...job, step: 1 + i, rounds: 200 }));
    for (const [i, member] of members.slice(0, 3).entries()) {
      await member.says("+", 20 * (i + 1));
      await member.kill();
    }
    const others = members.slice(3);
    await Promise.all(others.map((member) => member.ended));
    expect(others.flatMap((member) => member.holds())).toHaveLength(1000);
    expect(mostHeld(members)).toBeLessThanOrEqual(5);
    expect(others.flatMap((member) => member.events()).filter(({ what }) => what === "lost")).toEqual([]);
  });

  test("SIGSTOP past the lease: valid and release say false, and the new holder is untouched", async () => {
    const stopped = new Member({ name: "holder", port: server.port, key: "stop", size: 1, lease: 600, timeout: 300 });
    await stopped.says("+");
    stopped.child.kill("SIGSTOP");
    const link = linked();
    const sem = new Weighted(link, "stop", 1);
    await using lease = await sem.permit(background()); // When the lease of the other has expired.
    stopped.child.stdin?.write("go on\n");
    stopped.child.kill("SIGCONT");
    expect(await stopped.says("valid=")).toBe("valid=false released=false cause=LostError");
    expect(lease.valid()).toBe(true);
    expect(await sem.tryPermit()).toBeUndefined();
    await stopped.ended;
  });

  test("a waiter that is killed: its place goes when the server has not heard of it for a lease", async () => {
    const job = { name: "holder", port: server.port, key: "dead", size: 2, n: 2, lease: 600, timeout: 300 };
    const sem = new Weighted(linked(), "dead", 2, { lease: 600 });
    await using lease = await sem.permit(background());
    const waiter = new Member(job);
    await untilQueued("dead", 1);
    const behind = sem.permit(background());
    await untilQueued("dead", 2);
    await waiter.kill();
    await using next = await behind;
    expect([lease.valid(), next.valid()]).toEqual([true, true]);
  });

  test("an answer that is lost, and the request asked twice: one lease", async () => {
    let lost = 0;
    const real = server.client();
    const lossy = {
      async evalsha(sha: string, keyCount: number, ...rest: string[]) {
        const answer = (await real.evalsha(sha, keyCount, ...rest)) as unknown[];
        if (answer.length > 1 && lost++ < 1) throw new Error("the connection is closed");
        return answer;
      },
      eval: (script: string, keyCount: number, ...rest: string[]) => real.eval(script, keyCount, ...rest),
    };
    const link = connect(lossy, { timeout: 1000 });
    links.push(link);
    const sem = new Weighted(linked(), "twice", 2);
    await (await sem.permit(background())).release(); // The server knows the scripts.
    const lease = await new Weighted(link, "twice", 2).permit(background());
    expect([lost, lease.valid()]).toEqual([2, true]);
    expect(await client.zcard("{gopark:semaphore:twice}:leases")).toBe(1);
    expect(await client.hget("{gopark:semaphore:twice}:state", "held")).toBe("1");
    expect(await lease.release()).toBe(true);
    expect(await client.hget("{gopark:semaphore:twice}:state", "held")).toBe("0");
  });

  test("a cancelled waiter at the front lets the next one in", async () => {
    const [a, b] = [new Weighted(linked(), "front", 2), new Weighted(linked(), "front", 2)];
    const held = await a.permit(background());
    const [ctx, cancel] = withCancel(background());
    const large = watch(a.permit(ctx, 2));
    await untilQueued("front", 1);
    const small = b.permit(background());
    await untilQueued("front", 2);
    cancel();
    await using lease = await small;
    expect(lease.valid()).toBe(true);
    expect(large.state).toBe("rejected");
    expect(await held.release()).toBe(true);
  });

  test("one release with 500 waiters: one call, and one of them is woken", async () => {
    const [holder, others] = [linked(), linked(5000)];
    const lease = await new Weighted(holder, "herd", 1).permit(background());
    const sem = new Weighted(others, "herd", 1, { lease: 600_000 });
    const [ctx, cancel] = withCancel(background());
    const granted: Lease[] = [];
    const waiting = Array.from({ length: 500 }, () =>
      sem.permit(ctx).then(
        (lease) => granted.push(lease),
        () => {},
      ),
    );
    await untilQueued("herd", 500);
    // Once they have been told that the subscription is there, they ask no more for minutes.
    while (!others.tells()) await turn();
    await sem.tryPermit();
    const calls = [holder.calls(), others.calls()];
    expect(await lease.release()).toBe(true);
    while (granted.length === 0) await turn();
    expect([holder.calls() - (calls[0] as number), others.calls() - (calls[1] as number)]).toEqual([1, 0]);
    expect(granted).toHaveLength(1);
    cancel();
    await Promise.all(waiting);
    expect(await granted[0]?.release()).toBe(true);
  });

  test("in the order of the calls across processes; a large weight is not starved by small ones", async () => {
    const sems = [0, 1, 2].map(() => new Weighted(linked(), "order", 3));
    const holders = await Promise.all([0, 1, 2].map(() => (sems[0] as Weighted).permit(background())));
    const order: string[] = [];
    const all: Promise<unknown>[] = [];
    for (const [i, n] of [1, 3, 1, 1, 2, 1].entries()) {
      const sem = sems[i % 3] as Weighted;
      all.push(
        sem.withPermit(background(), n, async () => {
          order.push(`${i}: ${n}`);
        }),
      );
      await untilQueued("order", i + 1);
    }
    // Somebody who asks without waiting does not overtake either.
    await holders[0]?.release();
    for (const holder of holders) {
      expect(await sems[1]?.tryPermit()).toBeUndefined();
      await holder.release();
    }
    await Promise.all(all);
    expect(order.slice(0, 2)).toEqual(["0: 1", "1: 3"]);
    expect([...order.slice(2)].sort()).toEqual(["2: 1", "3: 1", "4: 2", "5: 1"]);
  });

  test("differing sizes during a deploy: each is judged by its own, and never above the largest", async () => {
    const job = { name: "semaphore", port: server.port, key: "deploy", rounds: 300, largest: 1, step: 1, hold: 1 };
    const members = [3, 3, 3, 6, 6, 6, 6].map((size) => new Member({ ...job, size }));
    await Promise.all(members.map((member) => member.ended));
    expect(members.map((member) => member.holds().length)).toEqual(Array(7).fill(300));
    expect(mostHeld(members)).toBeLessThanOrEqual(6);

    const [small, large] = [new Weighted(linked(), "two", 1), new Weighted(linked(), "two", 2)];
    await using first = await large.permit(background());
    expect(await small.tryPermit()).toBeUndefined();
    await using second = await large.tryPermit();
    expect([first.valid(), second?.valid()]).toEqual([true, true]);
    expect(await large.tryPermit()).toBeUndefined();
  });

  test("a mutex: fences rise from lease to lease, across links", async () => {
    const locks = [new Mutex(linked(), "fence"), new Mutex(linked(), "fence")];
    const fences: number[] = [];
    for (let i = 0; i < 6; i++) await locks[i % 2]?.withLock(background(), (_, { fence }) => fences.push(fence));
    expect(fences).toEqual([...new Set(fences)].sort((a, b) => a - b));
    expect(fences).toHaveLength(6);
  });

  test("a lease that is not known any more: its holder is told when it renews it", async () => {
    const sem = new Weighted(linked(), "gone", 1, { lease: 600 });
    const lease = await sem.permit(background());
    await client.flushall();
    while (lease.ctx.err() === undefined) await turn();
    expect(cause(lease.ctx)).toBeInstanceOf(LostError);
    expect((cause(lease.ctx) as Error).message).toBe("redis: the lease is not known to the server any more");
    expect([lease.valid(), await lease.release(), sem.held()]).toEqual([false, false, 0]);
  });

  test("a lease outlives many times its length while its process renews it", async () => {
    const sem = new Weighted(linked(), "long", 1, { lease: 500 });
    const other = new Weighted(linked(), "long", 1, { lease: 500 });
    await using lease = await sem.permit(background());
    const began = performance.now();
    while (performance.now() - began < 1500) expect(await other.tryPermit()).toBeUndefined();
    expect(lease.valid()).toBe(true);
  });

  test("every key has an expiry: whoever is killed, nothing is left for ever", async () => {
    const job = { name: "holder", port: server.port, key: "ttl", size: 1, lease: 600, timeout: 300 };
    const members = [new Member(job), new Member(job)];
    await untilQueued("ttl", 1);
    const parts = ["leases", "waiters", "alive", "state"].map((part) => `{gopark:semaphore:ttl}:${part}`);
    const expiries = () => Promise.all(parts.map((key) => client.pttl(key)));
    expect(Math.min(...(await expiries()))).toBeGreaterThan(86_000_000);
    // Renewals, and questions of the waiter, set them again.
    for (const key of parts) await client.pexpire(key, 50_000);
    while (Math.min(...(await expiries())) < 86_000_000) await turn();
    for (const member of members) await member.kill();
  });

  test("the leases alone are deleted by hand: the units are free, and the holder is told", async () => {
    const [sem, other] = [new Weighted(linked(), "reset", 2, { lease: 600 }), new Weighted(linked(), "reset", 2)];
    const lease = await sem.permit(background(), 2);
    await client.del("{gopark:semaphore:reset}:leases");
    await using next = await other.permit(background());
    while (lease.ctx.err() === undefined) await turn();
    expect([lease.valid(), await lease.release(), next.valid()]).toEqual([false, false, true]);
    expect(await client.hget("{gopark:semaphore:reset}:state", "held")).toBe("1");
  });

  test("the hash alone is deleted: what a release writes does not stay for ever", async () => {
    const sem = new Weighted(linked(), "hash", 1);
    const lease = await sem.permit(background());
    await client.del("{gopark:semaphore:hash}:state");
    expect(await lease.release()).toBe(true);
    expect(await client.keys("*")).toEqual(["{gopark:semaphore:hash}:state"]);
    expect(await client.pttl("{gopark:semaphore:hash}:state")).toBeGreaterThan(0);
    expect(await (await sem.permit(background())).release()).toBe(true);
  });
});
