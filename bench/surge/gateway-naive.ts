/**
 * The order gateway as it is often written. It is correct while the upstream is quick and nothing fails.
 *
 * Its seven faults are those of the post-mortem in their JavaScript form; each is marked where it stands. One thing it
 * has that such a gateway has not: it starts everything with `go`, so that it can be counted, and seen in the profile.
 */
import { setMaxListeners } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { go } from "gopark";
import { naivePaymentMs } from "./config.ts";
import { serve } from "./ipc.ts";
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
import { Probe } from "./probe.ts";

let upstream = "";
let stock = new Map<string, number>();
let probe: Probe;

const shutdown = new AbortController();
// Without this, Node warns of a possible leak of listeners.
setMaxListeners(0, shutdown.signal);

class TimeoutError extends Error {}

// Fault 1: fetch without a timeout and without a limit per host. Every waiting call holds one more socket, and a call
// that is never answered waits for ever.
async function call<T>(path: string, query: Record<string, string | number>, method = "GET"): Promise<T> {
  const url = `${upstream}${path}?${new URLSearchParams(query as Record<string, string>)}`;
  const res = await go(fetch, url, { method });
  if (!res.ok) throw new Error(`${path}: ${res.status}`);
  return (await res.json()) as T;
}

// Fault 2: the loser runs on. The timer stays armed when the work wins, and the work goes on (and charges the customer)
// when the timer wins.
function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  const timeout = new Promise<never>((_, reject) => setTimeout(() => reject(new TimeoutError()), ms));
  return Promise.race([work, go(() => timeout)]);
}

/** A bounded queue: put waits while it is full, take while it is empty. */
class Queue<T> {
  readonly #items: T[] = [];
  readonly #putters: (() => void)[] = [];
  readonly #takers: (() => void)[] = [];

  async put(item: T): Promise<void> {
    while (this.#items.length >= 1) await new Promise<void>((resolve) => this.#putters.push(resolve));
    this.#items.push(item);
    this.#takers.shift()?.();
  }

  async take(): Promise<T> {
    while (this.#items.length === 0) await new Promise<void>((resolve) => this.#takers.push(resolve));
    const item = this.#items.shift() as T;
    this.#putters.shift()?.();
    return item;
  }
}

/** Calls all sources and returns the cheapest total. */
async function bestPrice(order: Order, scratch: Scratch): Promise<number> {
  const queue = new Queue<Quote | Error>();
  const produce = async (source: string): Promise<void> => {
    try {
      const quotes = await call<Quote[]>("/price", { order: order.id, sku: order.sku, source });
      for (const quote of quotes) await queue.put(quote);
    } catch (err) {
      await queue.put(err as Error);
    }
  };
  for (const source of sources) void go(produce, source);
  for (let i = 0; i < sources.length * 3; i++) {
    const quote = await queue.take();
    // Fault 3: the consumer leaves on the first error and the other producer stays parked in put for ever.
    if (quote instanceof Error) throw quote;
    scratch.quotes.push(quote);
  }
  return cheapest(order, scratch.quotes);
}

const scratches: Scratch[] = [];

async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
  // Fault 7: a listener on a signal that lives as long as the process, and a timer, both holding this response, for
  // each order and never removed.
  shutdown.signal.addEventListener("abort", () => res.destroy());
  setTimeout(() => {
    if (!res.writableEnded) console.warn("slow order");
  }, 60_000);

  // Fault 5: a reused buffer. It is put back clean when the order is served, put back dirty when it failed (the next
  // order finds these quotes among its own), and not put back at all when it timed out or was sold out.
  const scratch = scratches.pop() ?? newScratch();
  probe.took(scratch);
  try {
    scratch.length = 0;
    const order = await readOrder(req, scratch);
    const left = stock.get(order.sku) ?? 0;
    if (left < order.qty) {
      answer(res, 409, { error: "sold out" });
      return;
    }
    // Fault 4: unbounded Promise.all. Each order starts all its calls at once, however many orders are in progress.
    const [cents] = await Promise.all([
      bestPrice(order, scratch),
      call("/inventory", { order: order.id, sku: order.sku, qty: order.qty }),
    ]);
    // Fault 6: check, then act. The stock was read before the await; orders taken since then are overwritten.
    probe.writes(left, stock.get(order.sku) ?? 0);
    stock.set(order.sku, left - order.qty);

    const payment = call<Receipt>("/payment", { order: order.id, sku: order.sku, qty: order.qty, cents }, "POST");
    answer(res, 200, await withTimeout(payment, naivePaymentMs));
    scratch.quotes.length = 0;
    scratches.push(scratch);
  } catch (err) {
    if (err instanceof TimeoutError) {
      answer(res, 504, { error: "payment timed out" });
      return;
    }
    scratches.push(scratch);
    answer(res, 502, { error: String(err) });
  }
}

probe = new Probe(parked);
let parkedAtStart = 0;

serve({
  listen: ({ plan, upstreamPort }) => {
    upstream = `http://127.0.0.1:${upstreamPort}`;
    stock = openingStock(plan.scarceStock);
    observe();
    parkedAtStart = parked();
    return listen((req, res) => void go(handle, req, res), serveObserved);
  },
  phase: () => probe.phase(),
  drain: () => ({ parkedAtStart, parkedAtEnd: parked(), kinds: unfinished(), leaks: null }),
});
