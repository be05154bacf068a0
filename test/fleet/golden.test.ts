/**
 * Replays what golang.org/x/time/rate did, by the scripts on a server whose clock the test sets.
 *
 * The tokens and the waits that the scripts answer are compared exactly, and so are errors. The delay of a reservation
 * by the clock of the process may differ by 500 ns: its instants are milliseconds in a double. Cases marked `big`, in
 * which Go's own arithmetic leaves 2^53, are compared with a tolerance of a billionth. What differs on purpose, and is
 * counted:
 *
 * - changed: our limiters have no `setLimit` and `setBurst`. The replay does by hand what Go does to the bucket, and
 *   goes on with another limiter.
 * - reserved before: a reservation that is cancelled after such a change gives back by the limit and burst of its own
 *   limiter. From there on the buckets differ, and the rest of the case is left.
 * - clamped: Go gives back more than was taken if a later reservation is due earlier. Ours never does.
 * - twice: a reservation that is cancelled a second time gives back again in Go, and nothing in ours.
 * - never: what could never act, at the limit 0, is reserved by Go, and refused by ours.
 * - unlimited: at the limit Infinity ours asks nobody, and there is nothing to compare.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { EPOCH } from "../../src/internal/redis/scripts.ts";
import { track } from "../../src/leak.ts";
import { connect, Limiter, type Link, type Reservation } from "../../src/redis.ts";
import { Deadlined, number, rateTraces, type Step } from "../support/ratetraces.ts";
import { turn } from "../support/turn.ts";
import { watch } from "../support/watch.ts";
import { bucketAt, setBucket } from "./support/bucket.ts";
import { hasRedis, Server } from "./support/server.ts";

const data = rateTraces;
const t0 = data.meta.t0ms;

/** The rest of a case says nothing. */
class Leave extends Error {
  readonly why: "reserved before" | "clamped" | "twice" | "never" | "unlimited";

  constructor(why: Leave["why"]) {
    super(why);
    this.why = why;
  }
}

const seconds = (ns: number) => Math.trunc(ns / 1e9) + (ns - Math.trunc(ns / 1e9) * 1e9) / 1e9;

describe.runIf(hasRedis)("x/time/rate", () => {
  let server: Server;
  beforeAll(async () => {
    track("counters");
    server = await Server.start();
  });
  afterAll(async () => {
    vi.useRealTimers();
    track("full");
    await server.end();
  });

  test("the scripts do what Go's limiter did", { timeout: 180_000 }, async () => {
    const redis = server.client();
    await redis.ping();
    const counts = { changed: 0, steps: 0, left: 0, cases: 0 };
    const leaves = { "reserved before": 0, clamped: 0, twice: 0, never: 0, unlimited: 0 };

    // What the server has answered last, and how many calls are out.
    let answer: number[] = [];
    let out = 0;
    const counted = async (call: Promise<unknown>) => {
      out++;
      try {
        answer = (await call) as number[];
        return answer;
      } finally {
        out--;
      }
    };
    const link: Link = connect({
      evalsha: (sha: string, n: number, ...args: string[]) => counted(redis.evalsha(sha, n, ...args)),
      eval: (script: string, n: number, ...args: string[]) => counted(redis.eval(script, n, ...args)),
    });
    const settled = async () => {
      // Two turns: a foreign context calls back a little later, and what is to be sent is sent in the turn after.
      do {
        await turn();
        await turn();
      } while (out > 0);
    };
    let micros = 0;
    link.serverClock = () => `=${micros}`;
    const setClocks = (t: number) => {
      micros = (t0 + t - EPOCH) * 1000;
      vi.useRealTimers();
      vi.useFakeTimers({ now: t0 + t, toFake: ["performance", "setTimeout", "clearTimeout"] });
    };

    for (const c of data.cases) {
      const name = String(c.i);
      const key = `{gopark:rate:${name}}`;
      let [limit, burst] = [number(c.limit), c.burst];
      let limiter = new Limiter(link, name, limit, burst);
      const reservations: { limiter: Limiter; reservation: Reservation; taken: number; wait: number; over?: true }[] =
        [];
      const contexts: Deadlined[] = [];
      let what = "";
      const equal = (ours: unknown, gos: unknown) => {
        if (ours !== gos) expect(ours, what).toBe(gos);
      };
      const close = (ours: number, gos: number, by: number) => {
        if (!(Math.abs(ours - gos) <= by)) expect(ours, what).toBeCloseTo(gos, 12);
      };
      const nanos = (ours: number, gos: number) => {
        if (c.big === true) close(ours, gos, 1 + gos * 1e-9);
        else equal(ours, gos);
      };
      /** The bucket as Go would have it at t. */
      const bucketNow = async () => {
        const state = await bucketAt(redis, key);
        if (state === undefined) return { tokens: burst, event: -1e300 };
        const [tokens, last, event] = state as [number, number, number];
        const gained = limit === 0 ? 0 : seconds(Math.max(micros - last, 0) * 1000) * limit;
        return { tokens: Math.min(tokens + gained, burst), event: event - (micros - last) * 1000 };
      };
      const tokens = async (gos: number) => {
        const { tokens } = await bucketNow();
        if (c.big === true) close(tokens, gos, 1e-9 * Math.max(1, Math.abs(gos)));
        else equal(tokens, gos);
      };
      const change = async (nextLimit: number, nextBurst: number) => {
        const { tokens, event } = await bucketNow();
        await setBucket(redis, key, [tokens, micros, event, nextBurst]);
        [limit, burst] = [nextLimit, nextBurst];
        limiter = new Limiter(link, name, limit, burst);
        counts.changed++;
      };
      const step = async (s: Step): Promise<void> => {
        if (limit === Number.POSITIVE_INFINITY) throw new Leave("unlimited");
        switch (s[0]) {
          case "allow": {
            const [, t, n, ok, tk] = s;
            setClocks(t);
            equal(await limiter.allow(n), ok);
            return tokens(tk);
          }
          case "reserve": {
            const [, id, t, n, ok, delay, tk] = s;
            setClocks(t);
            const reservation = await limiter.reserve(n);
            if (ok && number(delay) > 9e18) {
              equal(reservation.ok, false);
              throw new Leave("never");
            }
            equal(reservation.ok, ok);
            reservations[id] = { limiter, reservation, taken: micros, wait: answer[1] as number };
            if (ok) {
              nanos(answer[1] as number, number(delay));
              close(reservation.delay() * 1e6, number(delay), 500 + number(delay) * 1e-9);
            }
            return tokens(tk);
          }
          case "delay": {
            const [, id, t, delay, tk] = s;
            setClocks(t);
            const ours = reservations[id]?.reservation.delay() as number;
            if (number(delay) > 9e18) equal(ours, Number.POSITIVE_INFINITY);
            else close(ours * 1e6, number(delay), 500 + number(delay) * 1e-9);
            return tokens(tk);
          }
          case "cancel": {
            const [, id, t, tk] = s;
            setClocks(t);
            const it = reservations[id];
            if (it === undefined) throw new Error("no reservation");
            const mine = (it.taken - micros) * 1000 + it.wait;
            const { event } = await bucketNow();
            it.reservation.cancel();
            await settled();
            if (it.over && (await bucketNow()).tokens !== tk) throw new Leave("twice");
            it.over = true;
            if (it.reservation.ok && mine >= 0) {
              if (it.limiter !== limiter) throw new Leave("reserved before");
              if (event < mine && (await bucketNow()).tokens !== tk) throw new Leave("clamped");
            }
            return tokens(tk);
          }
          case "setLimit":
            setClocks(s[1]);
            await change(number(s[2]), burst);
            if (limit === Number.POSITIVE_INFINITY) throw new Leave("unlimited");
            return tokens(s[3]);
          case "setBurst":
            setClocks(s[1]);
            await change(limit, s[2]);
            return tokens(s[3]);
          case "tokens":
            setClocks(s[1]);
            return tokens(s[2]);
          case "wait": {
            const [, t, n, deadline, cancel, error, delay, tk] = s;
            setClocks(t);
            const ctx = new Deadlined(deadline);
            contexts.push(ctx);
            if (cancel === "pre") ctx.scope.cancel();
            const waiting = watch(limiter.wait(ctx, n));
            await settled();
            if (delay !== null && number(delay) > 9e18) {
              equal(waiting.state, "rejected");
              throw new Leave("never");
            }
            if (delay !== null) {
              nanos(answer[1] as number, number(delay));
              equal(waiting.state, "pending");
              if (error !== null) {
                const taken = micros;
                micros = (t0 + (cancel as number) - EPOCH) * 1000;
                vi.advanceTimersByTime((cancel as number) - t);
                const { event } = await bucketNow();
                ctx.scope.cancel();
                await settled();
                if (event < (taken - micros) * 1000 + number(delay)) throw new Leave("clamped");
              } else {
                vi.advanceTimersByTime(Math.ceil(number(delay) * (1 + 1e-9) * 1e-6) + 1);
                await turn();
              }
            }
            equal(waiting.state, error === null ? "fulfilled" : "rejected");
            if (error !== null) equal((waiting.reason as Error).message, error);
            setClocks(t);
            return tokens(tk);
          }
        }
      };

      counts.cases++;
      for (const [j, s] of c.steps.entries()) {
        what = `case ${c.i}, step ${j} ${s[0]}`;
        try {
          await step(s);
          counts.steps++;
        } catch (error) {
          if (!(error instanceof Leave)) throw error;
          leaves[error.why]++;
          counts.left += c.steps.length - j;
          break;
        }
      }
      for (const ctx of contexts) ctx.scope.cancel();
      await settled();
    }
    vi.useRealTimers();
    await link.close();

    expect(counts).toEqual({ cases: 3000, steps: 32_543, left: 5421, changed: 3473 });
    expect(leaves).toEqual({ "reserved before": 252, clamped: 74, twice: 134, never: 30, unlimited: 216 });
  });
});
