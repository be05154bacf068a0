/**
 * The order API: what a service looks like whose every wait has an end.
 *
 * An order asks the warehouse for a price and reserves its units at the same time, then pays. One deadline covers all
 * of that, from the arrival of the request to the last byte of the last answer that it waits for; when its client
 * leaves, everything that was done for it stops.
 */
import { randomUUID } from "node:crypto";
import Fastify, { type FastifyError, type FastifyInstance } from "fastify";
import { context, errgroup, shardmap, time } from "gopark";
import { contextOf, deadline, fastify, rateLimit, shed } from "gopark/admission";
import type { Context } from "gopark/context";
import {
  BreakerOpenError,
  CallCanceledError,
  CallTimeoutError,
  NetworkError,
  QueueFullError,
  QueueTimeoutError,
  SafeCaller,
} from "gopark/http";

export interface Order {
  readonly sku: string;
  readonly qty: number;
}

export interface Receipt {
  readonly order: string;
  readonly cents: number;
}

/** Where the upstreams are. */
export interface Upstreams {
  readonly warehouse: string;
  readonly payments: string;
}

/** How long a price is good for. */
const PRICE_MS = 1000;

/** An upstream has answered with another status than 200. */
class UpstreamError extends Error {
  readonly status: number;

  constructor(status: number, url: string) {
    super(`${url} answered ${status}`);
    this.status = status;
  }
}

const BODY = {
  type: "object",
  required: ["sku", "qty"],
  properties: {
    sku: { type: "string", pattern: "^[\\w-]{1,50}$" },
    qty: { type: "integer", minimum: 1, maximum: 100 },
  },
};

/** Makes the API. Close `app` and then `caller` when it is no longer needed. */
export function orderApi({ warehouse, payments }: Upstreams): { app: FastifyInstance; caller: SafeCaller } {
  // At most 24 requests run to one upstream and 48 wait. A call that fails without having been carried out is repeated
  // once, as long as repeats are few; and an upstream that is down is left alone for a while.
  const caller = new SafeCaller({
    timeout: 800,
    perHost: 24,
    queue: 48,
    retry: { attempts: 2 },
    breaker: { timeout: 2000, readyToTrip: ({ consecutiveFailures }) => consecutiveFailures >= 20 },
  });

  async function ask<T>(ctx: Context, url: string, init: { method?: string; idempotent?: boolean } = {}): Promise<T> {
    const answer = await caller.fetch(url, { ctx, ...init });
    const body = await answer.text(); // Also that of a failure: an unread body holds its slot.
    if (!answer.ok) throw new UpstreamError(answer.status, url);
    return JSON.parse(body) as T;
  }

  // However many orders ask for a price, one call is made for it, and its answer serves all for a second. A failure is
  // not kept. (The price of an article that nobody orders again stays: there are as many as the warehouse has
  // articles.)
  const prices = new shardmap.ShardMap<string, { cents: number; until: number }>();
  async function priceOf(ctx: Context, sku: string): Promise<number> {
    const load = async (_: string, signal: AbortSignal) => {
      const { cents } = await ask<{ cents: number }>(context.fromSignal(signal), `${warehouse}/price/${sku}`);
      return { cents, until: time.now() + PRICE_MS };
    };
    const known = prices.get(sku);
    if (known !== undefined && known.until <= time.now()) prices.delete(sku);
    return (await prices.getOrLoad(sku, load, ctx)).cents;
  }

  async function place(ctx: Context, { sku, qty }: Order): Promise<Receipt> {
    const order = randomUUID();
    let cents = 0;
    await errgroup.scope(ctx, async (g, ctx) => {
      await g.go(() => ask(ctx, `${warehouse}/reserve/${sku}?order=${order}&qty=${qty}`, { method: "PUT" }));
      await g.go(async () => {
        cents = qty * (await priceOf(ctx, sku));
      });
    });
    // The payment bears the order's number, so it is safe to repeat.
    const pay = `${payments}/pay?order=${order}&cents=${cents}`;
    await ask(ctx, pay, { method: "POST", idempotent: true });
    return { order, cents };
  }

  const app = Fastify();
  app.get("/health", async () => ({ running: caller.stats().running }));
  app.register(async (orders) => {
    orders.addHook(
      "onRequest",
      fastify(
        deadline({ timeout: 1000, header: "x-timeout-ms" }),
        // One proxy stands in front: the load of the demo plays it.
        rateLimit({ limit: 20, window: 1000, trust: 1 }),
        shed({ max: 100, queue: 20 }),
      ),
    );
    orders.post<{ Body: Order }>("/orders", { schema: { body: BODY } }, (request) =>
      place(contextOf(request), request.body),
    );
  });
  app.setErrorHandler<FastifyError>((err, _, reply) => {
    const status = statusOf(err);
    if (status === 503) reply.header("retry-after", "1");
    return reply.code(status).send({ error: err.message });
  });
  return { app, caller };
}

/** What the client is told: who is to blame, and whether to come back. */
function statusOf(err: Error & { statusCode?: number }): number {
  // Ours is the deadline, or that of a call.
  if (err instanceof CallTimeoutError || context.is(err, context.DeadlineExceeded)) return 504;
  // Nothing was sent: the upstream has more to do than it can, or is down.
  if (err instanceof QueueFullError || err instanceof QueueTimeoutError || err instanceof BreakerOpenError) return 503;
  if (err instanceof NetworkError || err instanceof UpstreamError) return 502;
  // The client has gone, and nobody reads this.
  if (err instanceof CallCanceledError || context.is(err, context.Canceled)) return 499;
  return err.statusCode ?? 500;
}
