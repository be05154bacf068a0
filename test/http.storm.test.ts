/** SafeCaller under thousands of calls with faults of all kinds at random, in fake time; and the outage of a server. */
import { background, withCancel, withTimeout } from "gopark/context";
import { CallError, QueueFullError, SafeCaller, type SafeCallerOptions } from "gopark/http";
import { sleep } from "gopark/time";
import { afterEach, describe, expect, test, vi } from "vitest";
import { counters, track } from "../src/leak.ts";
import { type Random, random } from "./support/random.ts";
import { turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { fetchFailed } from "./support/upstream.ts";

afterEach(() => {
  track("full");
});

const HOSTS = ["a", "b", "c"];
const PER_HOST = 4;

/** An upstream with faults. Counts the fetches that have not settled, by host. */
class Faulty {
  readonly running = new Map<string, number>();
  most = 0;
  private readonly rnd: Random;

  constructor(rnd: Random) {
    this.rnd = rnd;
  }

  readonly fetch = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const { host } = new URL(input instanceof Request ? input.url : input);
    this.count(host, 1);
    try {
      return await this.answer(init.signal as AbortSignal);
    } finally {
      this.count(host, -1);
    }
  };

  private count(host: string, by: number): void {
    const now = (this.running.get(host) ?? 0) + by;
    this.running.set(host, now);
    this.most = Math.max(this.most, now);
  }

  private async answer(signal: AbortSignal): Promise<Response> {
    const { rnd } = this;
    const heeded = rnd.bool(0.9) ? signal : undefined; // Some ignore it.
    await sleep(rnd.bool(0.05) ? 60_000 : rnd.int(0, 300), heeded);
    switch (rnd.int(0, 9)) {
      case 0:
        throw fetchFailed(rnd.pick(["ECONNREFUSED", "ECONNRESET", "UND_ERR_SOCKET", "ENOTFOUND"]));
      case 1:
        return new Response("busy", { status: 503, headers: rnd.bool(0.3) ? { "retry-after": "1" } : {} });
      case 2:
        return new Response(null, { status: rnd.pick([200, 204, 304]) });
      case 3:
        return new Response("broken", { status: rnd.pick([500, 404, 429]) });
      default:
        return new Response(this.body(heeded));
    }
  }

  private body(signal: AbortSignal | undefined): ReadableStream {
    const { rnd } = this;
    let chunks = rnd.int(0, 3);
    return new ReadableStream({
      type: "bytes",
      pull: async (controller) => {
        try {
          await sleep(rnd.bool(0.03) ? 60_000 : rnd.int(0, 100), signal);
          if (rnd.bool(0.05)) throw fetchFailed("ECONNRESET");
          if (chunks-- > 0) controller.enqueue(new Uint8Array(10));
          else {
            controller.close();
            controller.byobRequest?.respond(0);
          }
        } catch (error) {
          controller.error(error);
        }
      },
    });
  }
}

/** What a caller may do with a Response. */
const USES: ((response: Response, rnd: Random) => Promise<unknown>)[] = [
  (response) => response.text(),
  (response) => response.arrayBuffer(),
  (response) => response.json(),
  (response) => Promise.all([response.clone().text(), response.text()]),
  async (response) => {
    for await (const _ of (response.body ?? []) as AsyncIterable<unknown>);
  },
  async (response, rnd) => {
    for await (const _ of (response.body ?? []) as AsyncIterable<unknown>) if (rnd.bool(0.5)) break;
  },
  async (response) => response.body?.cancel(),
  async () => {}, // Never read.
];

const variants: [string, SafeCallerOptions][] = [
  ["plain", {}],
  ["retries", { retry: { attempts: 3, base: 20 } }],
  ["hedges", { hedge: { after: 150, max: 2 }, retry: { base: 20 } }],
  ["a breaker and a rate", { breaker: { timeout: 500 }, rate: { limit: 100, burst: 20 } }],
];

describe.each(variants)("with %s", (_, options) => {
  test.each([1, 2, 3])("every call ends, within its limits, and nothing is left (seed %d)", async (seed) => {
    vi.useFakeTimers();
    track("counters");
    const rnd = random(seed);
    const upstream = new Faulty(rnd);
    const caller = new SafeCaller({
      fetch: upstream.fetch,
      timeout: 1000,
      perHost: PER_HOST,
      concurrency: 9,
      ...options,
    });
    const [ctx, cancel] = withCancel(background());
    let ended = 0;

    async function one(): Promise<void> {
      const controller = new AbortController();
      using scope = withTimeout(ctx, rnd.int(1, 3000));
      if (rnd.bool(0.2)) void sleep(rnd.int(0, 500)).then(() => controller.abort("gone"));
      const url = `http://${rnd.pick(HOSTS)}.example/`;
      const method = rnd.pick(["GET", "GET", "PUT", "POST"]);
      const input = rnd.bool(0.2) ? new Request(url, { method }) : url;
      const init = { method, ...(rnd.bool(0.5) ? { ctx: scope.ctx } : {}), signal: controller.signal };
      try {
        const response = await caller.fetch(input, rnd.bool(0.1) ? { ...init, timeout: rnd.int(1, 400) } : init);
        await rnd.pick(USES)(response, rnd);
      } catch (error) {
        if (!(error instanceof CallError || error instanceof SyntaxError)) throw error;
      }
      ended++;
    }

    const unhandled = await unhandledDuring(async () => {
      const calls: Promise<void>[] = [];
      for (let i = 0; i < 400; i++) {
        for (let n = rnd.int(0, 4); n > 0; n--) calls.push(one());
        await vi.advanceTimersByTimeAsync(rnd.int(0, 20));
        for (const { running, queued } of Object.values(caller.stats().hosts)) {
          expect(running).toBeLessThanOrEqual(PER_HOST);
          // Second attempts go into a full queue: as many of them as the budget has had tokens.
          const further = options.retry === undefined ? 0 : 10 + calls.length / 10;
          expect(queued).toBeLessThanOrEqual(2 * PER_HOST + further);
        }
        expect(caller.stats().running).toBeLessThanOrEqual(9);
      }
      await vi.advanceTimersByTimeAsync(70_000);
      await Promise.all(calls);
      expect(ended).toBe(calls.length);
      // An upstream that ignores its signal may sleep for a minute at each of its steps, of which there are five.
      await vi.advanceTimersByTimeAsync(400_000);
    });
    expect(unhandled).toEqual([]);
    expect(upstream.most).toBeLessThanOrEqual(PER_HOST);
    expect(upstream.most).toBeGreaterThan(1);
    expect(caller.stats()).toMatchObject({ running: 0, queued: 0 });
    cancel();
    const { context, sleep: sleeping, timer, "semaphore unit": units, "semaphore permit": waiting } = counters();
    expect({ context, sleeping, timer, units, waiting }).toEqual({
      context: 0,
      sleeping: 0,
      timer: 0,
      units: 0,
      waiting: 0,
    });
    await caller.close();
  });
});

describe("an outage of 60 seconds", () => {
  /**
   * A server that answers within 20 ms, and with 503 while it is down, and callers that make 60 calls a second. Returns
   * how many requests were sent and wanted during the outage, and how many calls were served in each second after it.
   */
  async function outage(options: SafeCallerOptions): Promise<{ sent: number; wanted: number; after: number[] }> {
    vi.useFakeTimers();
    track("counters");
    let isDown = false;
    let sent = 0;
    const fetch = async (_: unknown, init: RequestInit = {}): Promise<Response> => {
      sent++;
      await sleep(20, init.signal ?? undefined);
      return new Response(null, { status: isDown ? 503 : 200 });
    };
    const caller = new SafeCaller({ fetch, timeout: 2000, perHost: 500, concurrency: 500, ...options });
    let served = 0;
    const after: number[] = [];
    const second = async (): Promise<void> => {
      served = 0;
      for (let i = 0; i < 60; i++) {
        caller.fetch("http://a.example/").then(
          ({ ok }) => (served += ok ? 1 : 0),
          () => {},
        );
        await vi.advanceTimersByTimeAsync(1000 / 60);
      }
    };
    for (let s = 0; s < 30; s++) await second();
    isDown = true;
    sent = 0;
    for (let s = 0; s < 60; s++) await second();
    const during = sent;
    isDown = false;
    for (let s = 0; s < 20; s++) {
      await second();
      after.push(served);
    }
    await vi.advanceTimersByTimeAsync(5000);
    expect(caller.stats()).toMatchObject({ running: 0, queued: 0 });
    return { sent: during, wanted: 60 * 60, after };
  }

  test("with retries and their budget, the server gets at most a tenth more than without, and serves all again", async () => {
    const { sent, wanted, after } = await outage({ retry: { attempts: 4, base: 100, cap: 1000 } });
    expect(sent / wanted).toBeLessThanOrEqual(1.1);
    expect(sent).toBeGreaterThan(wanted);
    expect(after.at(-1)).toBeGreaterThanOrEqual(55);
  });

  test("the same where the budget is unlimited: four times as much", async () => {
    const { sent, wanted } = await outage({
      retry: { attempts: 4, base: 100, cap: 1000, budget: { ratio: 1, min: 1_000_000 } },
    });
    expect(sent / wanted).toBeGreaterThan(3.5);
  });

  test("with a breaker, the server gets a few probes", async () => {
    const { sent, wanted, after } = await outage({ breaker: { timeout: 5000 } });
    expect(sent / wanted).toBeLessThan(0.02);
    expect(after.at(-1)).toBeGreaterThanOrEqual(55);
  });
});

test("what is refused at once is no loop that starves the event loop", async () => {
  let answer = (_: Response): void => {};
  const fetch = (): Promise<Response> =>
    new Promise((resolve) => {
      answer = resolve;
    });
  const caller = new SafeCaller({ perHost: 1, queue: 0, fetch });
  const first = caller.fetch("http://a.example/");
  let refused = 0;
  let isOver = false;
  void turns(3).then(() => {
    isOver = true;
  });
  while (!isOver) {
    await caller.fetch("http://a.example/").catch((error: unknown) => {
      if (error instanceof QueueFullError) refused++;
    });
  }
  expect(refused).toBeGreaterThan(0);
  answer(new Response(null));
  await first;
});
