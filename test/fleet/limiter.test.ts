/** The limiter across processes, with a server. */
import type { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { background, DeadlineExceeded, is, withCancel, withTimeout } from "../../src/context.ts";
import { GIVE_BACK } from "../../src/internal/redis/scripts.ts";
import { connect, Limiter, type Link } from "../../src/redis.ts";
import { turn } from "../support/turn.ts";
import { tokensOf } from "./support/bucket.ts";
import { Member } from "./support/fleet.ts";
import { hasRedis, Server } from "./support/server.ts";

describe.runIf(hasRedis)("a limiter", () => {
  let server: Server;
  let client: Redis;
  const links: Link[] = [];

  function linked(): Link {
    const link = connect(server.client(), { timeout: 1000 });
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

  /** The tokens that a key had when it was last changed. */
  const tokens = (key: string) => tokensOf(client, `{gopark:rate:${key}}`);

  test("8 processes: at most burst + limit × t are allowed", async () => {
    const job = { name: "limiter", port: server.port, key: "all", limit: 500, burst: 50, loops: 8, rounds: 20_000 };
    const began = process.hrtime.bigint();
    const members = Array.from({ length: 8 }, () => new Member(job));
    await Promise.all(members.map((member) => member.ended));
    const took = Number(process.hrtime.bigint() - began) / 1e9;
    expect(members.map((member) => member.exitCode)).toEqual(Array(8).fill(0));
    const allowed = members.flatMap((member) => member.events().map(({ at }) => at)).sort((a, b) => (a < b ? -1 : 1));
    expect(allowed.length).toBeLessThanOrEqual(50 + 500 * took);
    expect(allowed.length).toBeGreaterThan(50);
  });

  test("the grants of many links, by the clock of the server: never more than the bound in any interval", async () => {
    // The clock is faked, so that the instants of the grants are known.
    const clients = Array.from({ length: 4 }, () => new Limiter(linked(), "bound", 100, 7));
    let micros = 0;
    for (const link of links) link.serverClock = () => `=${micros}`;
    const granted: number[] = [];
    let seed = 1;
    for (let i = 0; i < 400; i++) {
      seed = (seed * 48_271) % 2_147_483_647;
      micros += seed % 20_000;
      const n = 1 + (seed % 3);
      const asked = clients.map((limiter) => limiter.allow(n));
      for (const isAllowed of await Promise.all(asked)) if (isAllowed) for (let k = 0; k < n; k++) granted.push(micros);
    }
    expect(granted.length).toBeGreaterThan(200);
    for (const [i, from] of granted.entries()) {
      for (const [k, to] of granted.slice(i).entries()) {
        if (k + 1 > 7 + ((to - from) / 1e6) * 100 + 1e-9) expect.fail(`${k + 1} from ${from} to ${to}`);
      }
    }
  });

  test("calls of one turn share a call, those of other keys and rates do not", async () => {
    const link = linked();
    const limiter = new Limiter(link, "turn", 1, 40);
    await limiter.allow(0); // The clock and the script are known from here on.
    const before = link.calls();
    const asked = [
      ...Array.from({ length: 60 }, () => limiter.allow()),
      limiter.at("a").allow(),
      limiter.at("a").allow(),
    ];
    const allowed = await Promise.all(asked);
    expect(allowed.filter(Boolean)).toHaveLength(42);
    expect(allowed.slice(0, 41)).toEqual([...Array(40).fill(true), false]);
    expect(link.calls() - before).toBe(2);
    const many = await Promise.all(Array.from({ length: 600 }, () => limiter.allow(0)));
    expect(many).toEqual(Array(600).fill(true));
    expect(link.calls() - before).toBe(5);
  });

  test("each key below has a bucket of its own, and no two keys are one", async () => {
    const link = linked();
    const [a, b] = [new Limiter(link, "a", 1e-6, 1), new Limiter(link, "a:b", 1e-6, 1)];
    const all = [a, b, a.at("b:c"), b.at("c"), a.at("b"), a.at("}"), a.at("{x}"), new Limiter(link, "}", 1e-6, 1)];
    for (const limiter of all) expect(await limiter.allow()).toBe(true);
    for (const limiter of all) expect(await limiter.allow()).toBe(false);
    expect(await client.dbsize()).toBe(all.length);
  });

  test("an idle key goes away when its bucket is full; one that never fills is kept", async () => {
    const link = linked();
    await new Limiter(link, "fast", 100, 10).allow(5);
    await new Limiter(link, "slow", 1e-3, 10).allow(2);
    await new Limiter(link, "never", 0, 10).allow(2);
    expect(await client.pttl("{gopark:rate:slow}")).toBeGreaterThan(1_999_000);
    expect(await client.pttl("{gopark:rate:slow}")).toBeLessThanOrEqual(2_000_001);
    expect(await client.pttl("{gopark:rate:never}")).toBe(-1);
    while ((await client.exists("{gopark:rate:fast}")) === 1);
    expect(await new Limiter(link, "fast", 100, 10).allow(10)).toBe(true);
  });

  test("a smaller burst, as during a deploy, does not fill the bucket for the larger, and comes into force", async () => {
    const link = linked();
    let micros = 0;
    link.serverClock = () => `=${micros}`;
    const [small, large] = [new Limiter(link, "deploy", 10, 10), new Limiter(link, "deploy", 10, 100)];
    expect(await large.allow(100)).toBe(true);
    let allowed = 0;
    for (micros = 0; micros < 60e6; micros += 250_000) {
      if (await small.allow(10)) allowed += 10;
      if (await large.allow(60)) allowed += 60;
    }
    expect(allowed).toBeLessThanOrEqual(10 * 60);
    expect(allowed).toBeGreaterThan(500);

    // By the real clock: the key lives until the bucket would be full by the larger.
    link.serverClock = undefined;
    await new Limiter(link, "life", 10, 100).allow(100);
    await new Limiter(link, "life", 10, 10).allow(0);
    expect(await client.pttl("{gopark:rate:life}")).toBeGreaterThan(8000);
  });

  test("waits are granted in the order of the calls, none too early", async () => {
    const limiter = new Limiter(linked(), "wait", 100, 1);
    const began = performance.now();
    const order: number[] = [];
    await Promise.all([0, 1, 2, 3, 4].map((i) => limiter.wait(background()).then(() => order.push(i))));
    expect(order).toEqual([0, 1, 2, 3, 4]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(40);
  });

  test("waits that are cancelled give back, together as if they had never waited", async () => {
    const limiter = new Limiter(linked(), "back", 1e-3, 5);
    await limiter.allow(5);
    const [ctx, cancel] = withCancel(background());
    const waiting = [1, 2, 3].map((n) => limiter.wait(ctx, n).catch((error) => String(error)));
    while ((await tokens("back")) > -5.9);
    cancel();
    expect(await Promise.all(waiting)).toEqual(Array(3).fill("AbortError: context canceled"));
    while ((await tokens("back")) < -0.1);
    const reservation = await limiter.reserve();
    expect(reservation.delay()).toBeGreaterThan(990_000);
    reservation.cancel();
    reservation.cancel();
    while ((await tokens("back")) < -0.1);
    expect(await tokens("back")).toBeLessThan(0.1);
  });

  test("a wait that is cancelled while the call is out gives back what the call has taken", async () => {
    const link = linked();
    const limiter = new Limiter(link, "out", 1e-3, 5);
    await limiter.allow(4);
    const [ctx, cancel] = withCancel(background());
    const calls = link.calls();
    const waiting = limiter.wait(ctx, 3).catch((error) => String(error));
    while (link.calls() === calls) await Promise.resolve().then(turn);
    cancel();
    expect(await waiting).toBe("AbortError: context canceled");
    while (link.calls() < calls + 2) await turn();
    while (Math.abs((await tokens("out")) - 1) > 0.1);
  });

  test("what is given back, and sent again as the answer was lost, is given back once", async () => {
    const real = server.client();
    let again = 0;
    const link = connect({
      // As a client does that was cut before the answer came.
      async evalsha(sha: string, keyCount: number, ...rest: string[]) {
        if (sha === GIVE_BACK.sha) await real.evalsha(sha, keyCount, ...rest);
        const answer = await real.evalsha(sha, keyCount, ...rest);
        if (sha === GIVE_BACK.sha) again++;
        return answer;
      },
      eval: (script: string, keyCount: number, ...rest: string[]) => real.eval(script, keyCount, ...rest),
    });
    links.push(link);
    const limiter = new Limiter(link, "resent", 0.01, 100);
    await client.script("LOAD", GIVE_BACK.text);
    await limiter.allow(100);
    const reservations = [await limiter.reserve(50), await limiter.reserve(20), await limiter.reserve(1)];
    const before = await tokens("resent");
    for (const reservation of reservations.slice(0, 2)) reservation.cancel();
    while (again < 2) await turn();
    await limiter.allow(0);
    expect((await tokens("resent")) - before).toBeCloseTo(29 + 19, 0);
  });

  test("a deadline that is too near, or maxWait, takes nothing", async () => {
    const limiter = new Limiter(linked(), "near", 1, 1, { maxWait: 5000 });
    await limiter.allow();
    const { ctx, cancel } = withTimeout(background(), 500);
    const error = await limiter.wait(ctx).catch((error) => error);
    expect([error.message, is(error, DeadlineExceeded)]).toEqual([
      "rate: Wait(n=1) would exceed context deadline",
      true,
    ]);
    cancel();
    const held = await limiter.reserve();
    const reservations = [held, await limiter.reserve(), await limiter.reserve(), await limiter.reserve()];
    reservations.push(await limiter.reserve());
    const late = await limiter.wait(background()).catch((error) => error);
    expect([late.message, is(late, DeadlineExceeded)]).toEqual(["rate: Wait(n=1) would exceed maxWait, 5000 ms", true]);
    expect(await tokens("near")).toBeGreaterThan(-5);
    for (const reservation of reservations.reverse()) reservation.cancel();
    while ((await tokens("near")) < -0.1);
  });
});
