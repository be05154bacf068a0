/** What of Hono is needed. */
import { isObject } from "../data/args.ts";
import type { NodeRequest, NodeResponse } from "./node.ts";

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
