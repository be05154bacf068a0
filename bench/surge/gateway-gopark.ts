/**
 * The same gateway with timeouts, cancellation and limits.
 *
 * It does the same for an order as gateway-naive.ts: prices fanned in from two sources, at the same time the inventory
 * check, then the payment. Each difference is marked with the number of the fault that it cures.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Channel, context, errgroup, go, leak, pool, retry, shardmap, time } from "gopark";
import { contextOf, deadline, nodeHandler, rateLimit, shed } from "gopark/admission";
import type { Context } from "gopark/context";
import { SafeCaller } from "gopark/http";
import { limits } from "./config.ts";
import { type Drained, serve } from "./ipc.ts";
import { observe, parked, serveObserved, unfinished } from "./observed.ts";
import {
  answer,
  cheapest,
  listen,
  newScratch,
  type Order,
  openingStock,
  type Quote,
  type Receipt,
  readOrder,
  type Scratch,
  sources,
} from "./order.ts";
import { clock, Probe } from "./probe.ts";

let upstream = "";
let stock = new shardmap.ShardMap<string, number>();
let probe: Probe;

/** Cure 1: each try of a call has a timeout, and all calls together stay within one limit for this host. */
const caller = new SafeCaller({ timeout: limits.tryMs, perHost: limits.calls, queue: Number.POSITIVE_INFINITY });

/** Cure 5: a scratch is leased for a block, and reset before the next order can get it. */
const scratches = new pool.Pool<Scratch>({
  create: newScratch,
  reset: (scratch) => {
    scratch.length = 0;
    scratch.quotes.length = 0;
  },
});

/** The upstream answered that the call failed. After any other error of a call it is unknown what the upstream did. */
class UpstreamError extends Error {}

/**
 * Calls the upstream until it answers, at most `limits.tries` times. Safe to repeat: payments are idempotent by order.
 * Rejects with an UpstreamError only if the upstream answered every try.
 */
async function call<T>(ctx: Context, path: string, query: Record<string, string>, method = "GET"): Promise<T> {
  const url = `${upstream}${path}?${new URLSearchParams(query)}`;
  let doubt: unknown;
  const ask = async (ctx: Context, attempt: number): Promise<T> => {
    const res = await caller.fetch(`${url}&try=${attempt}`, { ctx, method });
    // Read the body of a failure too: an unread one keeps its slot.
    const body = await res.text();
    if (!res.ok) throw new UpstreamError(`${path}: ${res.status}`);
    return JSON.parse(body) as T;
  };
  try {
    return await retry(ctx, ask, {
      attempts: limits.tries,
      base: 0,
      retryIf: (err) => {
        if (!(err instanceof UpstreamError)) doubt ??= err;
        return true;
      },
    });
  } catch (err) {
    throw doubt ?? err;
  }
}

/**
 * Cure 3: a producer's send takes the group's context. When the consumer leaves, the context ends and the send rejects.
 */
async function bestPrice(ctx: Context, g: errgroup.Group, order: Order, quotes: Quote[]): Promise<number> {
  const queue = new Channel<Quote>(1);
  for (const source of sources) {
    await g.go(async () => {
      const quotes = await call<Quote[]>(ctx, "/price", { order: order.id, sku: order.sku, source });
      for (const quote of quotes) await queue.send(quote, ctx);
    });
  }
  while (quotes.length < sources.length * 3) {
    const { value, ok } = await queue.receive(ctx);
    if (ok) quotes.push(value);
  }
  return cheapest(order, quotes);
}

class SoldOut extends Error {}

/** Cure 6: an article's stock is changed by one order at a time. Rejects with SoldOut. */
async function takeFromStock(order: Order, units: number, ctx?: Context): Promise<void> {
  const { sku } = order;
  const take = (left = 0): number => {
    if (left < units) throw new SoldOut(sku);
    probe.writes(left, stock.get(sku) ?? 0);
    return left - units;
  };
  await stock.update(sku, take, ctx);
}

async function carryOut(ctx: Context, order: Order, quotes: Quote[]): Promise<Receipt> {
  const { id, sku } = order;
  const qty = String(order.qty);
  let cents: number;
  try {
    // Cure 4: the group is bounded by the limits on orders and calls, and ends as a whole: one failure cancels the
    // rest.
    cents = await errgroup.scope(ctx, async (g, ctx) => {
      await g.go(() => call(ctx, "/inventory", { order: id, sku, qty }));
      return bestPrice(ctx, g, order, quotes);
    });
  } catch (err) {
    // Nothing was paid. From the payment on, the units stay taken, because only the upstream knows whether it was paid.
    await takeFromStock(order, -order.qty);
    throw err;
  }
  // Cure 2: the deadline is not a race. When it comes, the call itself is cancelled.
  return call<Receipt>(ctx, "/payment", { order: id, sku, qty, cents: String(cents) }, "POST");
}

/**
 * Cures 4 and 7: what is too much is refused before any work, since an order that waits longer than its client is
 * wasted work. All timers, listeners and waits of an order belong to its own context, and end with it: when its answer
 * has been sent, its client has gone, or its time is up.
 */
const admission = [
  rateLimit({ limit: limits.burst, window: (limits.burst / limits.rate) * 1000, key: "global", name: "orders" }),
  deadline({ timeout: limits.deadlineMs }),
  shed({ max: limits.orders, queue: limits.queue, queueTimeout: limits.deadlineMs, adaptive: false, name: "orders" }),
];

async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const ctx = contextOf(req);
  try {
    using lease = scratches.lease();
    const scratch = lease.value;
    probe.took(scratch);
    const order = await read(ctx, req, scratch);
    await takeFromStock(order, order.qty, ctx);
    answer(res, 200, await carryOut(ctx, order, scratch.quotes));
  } catch (err) {
    if (err instanceof SoldOut) {
      answer(res, 409, { error: "sold out" });
      return;
    }
    // An order that was cut off may have been paid: answer that this is unknown, not that it failed. If a task of the
    // group failed, the group's context has the task's error as its cause.
    const failed = err instanceof UpstreamError || (err instanceof Error && err.cause instanceof UpstreamError);
    answer(res, failed ? 502 : 504, { error: String(err) });
  }
}

async function read(ctx: Context, req: IncomingMessage, scratch: Scratch): Promise<Order> {
  const stop = context.afterFunc(ctx, () => req.destroy());
  try {
    return await readOrder(req, scratch);
  } finally {
    stop();
  }
}

/** Waits until no order is in progress, and checks with the library whether anything was left behind. */
async function drain(): Promise<Drained> {
  const stop = clock() + 2 * limits.deadlineMs;
  while (parked() > parkedAtStart && clock() < stop) await time.sleep(20);
  let leaks: string | undefined;
  try {
    await leak.verifyNone();
  } catch (err) {
    leaks = String(err);
  }
  return { parkedAtStart, parkedAtEnd: parked(), kinds: unfinished(), leaks };
}

probe = new Probe(parked);
let parkedAtStart = 0;

serve({
  listen: ({ plan, upstreamPort }) => {
    upstream = `http://127.0.0.1:${upstreamPort}`;
    stock = new shardmap.ShardMap(openingStock(plan.scarceStock));
    observe();
    parkedAtStart = parked();
    return listen(
      nodeHandler(admission, (req: IncomingMessage, res: ServerResponse) => go(handle, req, res)),
      serveObserved,
    );
  },
  phase: () => probe.phase(),
  drain,
});
