/** What of Hono is needed. */
import { isObject } from "../data/args.ts";
import type { Refusal } from "./exchange.ts";
import { NodeExchange, type NodeRequest, type NodeResponse } from "./node.ts";
import { responseOf } from "./web.ts";

/** The context of a request of Hono, as far as it is needed. */
export interface HonoContext {
  readonly req: { readonly raw: Request };
  /** On Node, with @hono/node-server, it has the request and the response of `node:http`. */
  readonly env: unknown;
  get res(): Response;
  set res(res: Response | undefined);
}

/** The request and the response of Node under one of Hono; undefined elsewhere. */
export function nodeOf(env: unknown): { readonly incoming: NodeRequest; readonly outgoing: NodeResponse } | undefined {
  const { incoming, outgoing } = (isObject(env) ? env : {}) as { incoming?: NodeRequest; outgoing?: NodeResponse };
  return isObject(incoming) && isObject(outgoing) && typeof outgoing.on === "function"
    ? { incoming, outgoing }
    : undefined;
}

/** Hono on Node: a refusal is a Response, whose fields replace those that the steps have set. */
export class HonoNodeExchange extends NodeExchange {
  refusal(refusal: Refusal): Response {
    const fields = Object.keys(refusal.headers).map((name): [string, unknown] => [name, this.res.getHeader(name)]);
    const there = fields.filter(([, value]) => value !== undefined);
    return responseOf(refusal, Object.fromEntries(there.map(([name, value]) => [name, String(value)])));
  }
}
