/**
 * A retry storm: what retries do to a server that is down for a while, and to its recovery. Simulated in virtual time,
 * with the real `SafeCaller` and a model of a server.
 *
 * The server carries 100 requests a second, one after the other, and works on each although its client may have left.
 * Beyond 200 waiting requests it answers 503 at once. From second 30 to 90 it stands still: requests still queue. Its
 * callers make 60 calls a second, each with 2 seconds of time.
 */
import { context, retry, time } from "gopark";
import { SafeCaller, type SafeCallerOptions } from "gopark/http";
import * as synctest from "gopark/synctest";

const CALLS = 60;
const SERVICE = 10;
const QUEUE = 200;
export const DOWN = { from: 30, to: 90 };
const SECONDS = 150;

// Every run draws the same chart.
const SEED = { seed: 1 };

/** What happened in each second. */
export interface Run {
  readonly name: string;
  /** Requests that the server got. */
  readonly sent: readonly number[];
  /** Calls that were answered in time. */
  readonly served: readonly number[];
  /** Requests during the outage, divided by the calls. */
  readonly load: number;
  /** How many seconds after the outage nine of ten calls are served again, and from then on; Infinity if never. */
  readonly recovery: number;
}

type Call = (url: string) => Promise<Response>;
type Fetch = (url: unknown, init?: RequestInit) => Promise<Response>;

/** As it is often written: each attempt has a time-out, and everything that fails is tried again. */
function naive(fetch: Fetch): Call {
  const ctx = context.background();
  return (url) =>
    retry(
      ctx,
      async () => {
        const [attempt, cancel] = context.withTimeout(ctx, 500);
        try {
          const response = await fetch(url, { signal: attempt.signal });
          if (!response.ok) throw new Error(`status ${response.status}`);
          return response;
        } finally {
          cancel();
        }
      },
      { attempts: 4, base: 100, cap: 1000 },
    );
}

function safe(options: SafeCallerOptions): (fetch: Fetch) => Call {
  return (fetch) => {
    const caller = new SafeCaller({ fetch, timeout: 2000, ...options });
    return (url) => caller.fetch(url);
  };
}

const attempts = { attempts: 4, base: 100, cap: 1000 };
const VARIANTS: Record<string, (fetch: Fetch) => Call> = {
  "time-out and 3 retries for each call": naive,
  "SafeCaller, retry without a budget": safe({
    perHost: 1000,
    concurrency: 1000,
    retry: { ...attempts, budget: { ratio: 1, min: 1e6 } },
  }),
  "SafeCaller, retry with its budget": safe({ retry: attempts }),
  "SafeCaller, budget and breaker": safe({ retry: attempts, breaker: { timeout: 5000 } }),
};

/** The model of the server. */
class Server {
  readonly sent: number[] = Array(SECONDS).fill(0);
  private readonly begin = time.now();
  // When it will have worked on all requests that have come.
  private freeAt = 0;

  second(): number {
    return Math.floor((time.now() - this.begin) / 1000);
  }

  readonly fetch: Fetch = async (_, init) => {
    const second = this.second();
    if (second < SECONDS) (this.sent[second] as number)++;
    const at = time.now();
    const standsStill = second >= DOWN.from && second < DOWN.to;
    this.freeAt = Math.max(this.freeAt, standsStill ? this.begin + DOWN.to * 1000 : at);
    const waiting = (this.freeAt - (standsStill ? this.begin + DOWN.to * 1000 : at)) / SERVICE;
    if (waiting > QUEUE) {
      await time.sleep(5, init?.signal ?? undefined);
      return new Response(null, { status: 503 });
    }
    this.freeAt += SERVICE;
    await time.sleep(this.freeAt - at, init?.signal ?? undefined);
    return new Response(null);
  };
}

function simulate(name: string, make: (fetch: Fetch) => Call): Promise<Run> {
  return synctest.test(async () => {
    const server = new Server();
    const call = make(server.fetch);
    const served: number[] = Array(SECONDS).fill(0);
    const calls: Promise<void>[] = [];
    for (let n = 0; n < CALLS * SECONDS; n++) {
      const second = server.second();
      calls.push(
        call("http://stock.example/").then(
          ({ ok }) => {
            if (ok && second < SECONDS) (served[second] as number)++;
          },
          () => {},
        ),
      );
      await time.sleep(1000 / CALLS);
    }
    await Promise.all(calls);
    const { sent } = server;
    const during = sent.slice(DOWN.from, DOWN.to).reduce((a, b) => a + b, 0);
    const good = served.map((n) => n >= 0.9 * CALLS);
    const lastBad = good.slice(0, -1).lastIndexOf(false); // The last second may be cut short.
    return {
      name,
      sent,
      served,
      load: during / ((DOWN.to - DOWN.from) * CALLS),
      recovery: lastBad >= SECONDS - 2 ? Number.POSITIVE_INFINITY : Math.max(lastBad + 1 - DOWN.to, 0),
    };
  }, SEED);
}

/** Simulates all variants. */
export async function storm(): Promise<Run[]> {
  const runs: Run[] = [];
  for (const [name, make] of Object.entries(VARIANTS)) runs.push(await simulate(name, make));
  return runs;
}
