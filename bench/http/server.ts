/**
 * A server of `node:http` in a process of its own: `node server.js <what>`. Says on which port it listens, and, when it
 * is asked, how much processor time it has used, in microseconds.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { deadline, nodeHandler, rateLimit, type Step, shed } from "gopark/admission";

export type What =
  | "bare"
  | "again"
  | "empty"
  | "noop"
  | "done"
  | "shedfix"
  | "shednoloop"
  | "shedloop"
  | "rglobal"
  | "headers"
  | "rateLimit"
  | "shed"
  | "both"
  | "deadline"
  | "all";

const limited = () => rateLimit({ limit: 100_000, window: 1000 });
const slots = () => shed({ maxLoopDelay: 10_000 }); // A busy machine may keep the loop waiting.
const steps: Partial<Record<What, Step[]>> = {
  rateLimit: [limited()],
  empty: [],
  noop: [{ check: () => ({ admit: true }) }],
  done: [{ check: () => ({ admit: true, done() {} }) }],
  shedfix: [shed({ adaptive: false, maxLoopDelay: Number.POSITIVE_INFINITY })],
  shednoloop: [shed({ maxLoopDelay: Number.POSITIVE_INFINITY })],
  shedloop: [shed({ adaptive: false, maxLoopDelay: 10000 })],
  rglobal: [rateLimit({ limit: 1e9, window: 60_000, key: "global" })],
  shed: [slots()],
  both: [limited(), slots()],
  deadline: [deadline({ timeout: 10_000 })],
  all: [deadline({ timeout: 10_000 }), limited(), slots()],
};

const what = process.argv[2] as What;
const answer = (_: IncomingMessage, res: ServerResponse) => res.end("ok");
const withHeaders = (req: IncomingMessage, res: ServerResponse) => {
  res.setHeader("RateLimit-Policy", '"default";q=100000;w=1');
  res.setHeader("RateLimit", '"default";r=99999;t=1');
  answer(req, res);
};
const own = steps[what];
const server = createServer(own === undefined ? (what === "headers" ? withHeaders : answer) : nodeHandler(own, answer));
server.keepAliveTimeout = 60_000;

process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ used: user + system });
});
process.on("disconnect", () => process.exit());
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as { port: number }).port }));
