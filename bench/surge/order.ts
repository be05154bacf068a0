/** Orders, as all processes see them: their shape, their true price, and shared helpers. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { scarceShare, scarceSku, skus } from "./config.ts";

export interface Order {
  id: string;
  sku: string;
  qty: number;
}

/** A unit price, valid from `qty` units on. */
export interface Quote {
  qty: number;
  cents: number;
}

export interface Receipt {
  id: string;
  cents: number;
}

export const sources = ["north", "south"] as const;

/** A number in [0, 1) that depends only on the text (FNV-1a, mixed), so that both variants get the same faults. */
export function chance(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}

/** The i-th order of a run. Ids and articles follow from the seed. */
export function orderOf(seed: number, i: number): Order {
  const key = `${seed}/${i}`;
  const scarce = chance(`scarce ${key}`) < scarceShare;
  const sku = scarce ? scarceSku : `sku-${1 + Math.floor(chance(`sku ${key}`) * (skus - 1))}`;
  return { id: `order-${i}`, sku, qty: scarce ? 1 : 1 + Math.floor(chance(`qty ${key}`) * 4) };
}

/** The quotes of a source for an article: three, cheaper for larger quantities. */
export function quotesOf(sku: string, source: string): Quote[] {
  const cents = 500 + Math.floor(chance(`${sku} ${source}`) * 5000);
  return [1, 2, 4].map((qty, tier) => ({ qty, cents: cents - tier * 40 }));
}

/** The cheapest total among the quotes that apply. */
export function cheapest(order: Order, quotes: Iterable<Quote>): number {
  let unit = Number.POSITIVE_INFINITY;
  for (const quote of quotes) if (quote.qty <= order.qty && quote.cents < unit) unit = quote.cents;
  return unit * order.qty;
}

/** The order's true price. The client checks its receipt against it. */
export function trueTotal(order: Order): number {
  return cheapest(
    order,
    sources.flatMap((source) => quotesOf(order.sku, source)),
  );
}

function parseOrder(text: string): Order {
  const { id, sku, qty } = JSON.parse(text) as Partial<Order>;
  if (typeof id !== "string" || typeof sku !== "string" || !Number.isSafeInteger(qty)) throw new Error("not an order");
  return { id, sku, qty: qty as number };
}

/**
 * Listens on a free port of the loopback and resolves to the port. Health checks are answered here, and so is what
 * `others` takes.
 */
export function listen(
  handle: (req: IncomingMessage, res: ServerResponse) => void,
  others: (req: IncomingMessage, res: ServerResponse) => boolean = () => false,
): Promise<number> {
  // An idle connection closed by the server at the moment its client uses it would look like a failed order.
  const server = createServer({ keepAliveTimeout: 120_000 }, (req, res) => {
    if (req.url === "/health") answer(res, 200, {});
    else if (!others(req, res)) handle(req, res);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", 4096, () => resolve((server.address() as AddressInfo).port));
  });
}

/** Memory for an order in progress: its body, and the quotes collected for it. */
export interface Scratch {
  readonly body: Buffer;
  length: number;
  readonly quotes: Quote[];
}

export function newScratch(): Scratch {
  return { body: Buffer.alloc(16 * 1024), length: 0, quotes: [] };
}

/** Reads an order into the scratch. */
export async function readOrder(req: IncomingMessage, scratch: Scratch): Promise<Order> {
  for await (const chunk of req) scratch.length += (chunk as Buffer).copy(scratch.body, scratch.length);
  return parseOrder(scratch.body.toString("utf8", 0, scratch.length));
}

export async function readBody(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

export function answer(res: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  if (res.writableEnded || res.destroyed) return;
  res.writeHead(status, { "content-type": "application/json", ...headers });
  res.end(JSON.stringify(body));
}

/** The stock at the start: plenty of everything but the scarce article. */
export function openingStock(scarce: number): Map<string, number> {
  const stock = new Map<string, number>([[scarceSku, scarce]]);
  for (let i = 1; i < skus; i++) stock.set(`sku-${i}`, 1_000_000);
  return stock;
}
