/**
 * What both gateways serve beside their orders: profiles under `/debug/pprof/`, and `/metrics`. In a service this is
 * all it takes to see what it waits for.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { leak } from "gopark";
import * as metrics from "gopark/metrics";
import { isLocal } from "gopark/pprof";
import { nodeHandler } from "gopark/pprof/node";

const serveProfiles = nodeHandler({ allow: isLocal });

/** Records the stack of one in twenty of all tasks, waits and resources from now on. */
export function observe(): void {
  // Of so few orders, one in 8192 would be none.
  leak.track("sampled", { every: 20 });
}

/** Answers a request for a profile or for metrics; false if it is for neither. */
export function serveObserved(req: IncomingMessage, res: ServerResponse): boolean {
  if (req.url === "/metrics") res.setHeader("content-type", metrics.contentType).end(metrics.prometheusText());
  else if (req.url?.startsWith("/debug/pprof/")) void serveProfiles(req, res);
  else return false;
  return true;
}

/** Tasks, waits, armed timers, contexts and held permits: everything unfinished, by kind. */
export const unfinished: () => Record<string, number> = leak.counters;

export function parked(): number {
  return Object.values(unfinished()).reduce((sum, count) => sum + count, 0);
}
