/**
 * The load generator: open loop, constant arrival rate.
 *
 * Orders are sent when the plan says, whether or not earlier ones were answered, and each latency counts from the
 * moment its order should have been sent. A generator that waits for answers, or counts from the moment it managed to
 * send, slows down together with what it measures, and the surge does not show in its figures (coordinated omission).
 * How late each order was sent is recorded too, so that a generator that could not keep up is noticed.
 */
import { Agent, type IncomingMessage, request } from "node:http";
import { arrivals, connections, type Plan } from "./config.ts";
import { type Outcome, type Progress, type Sent, sendReport, serve } from "./ipc.ts";
import { orderOf, type Receipt, readBody, trueTotal } from "./order.ts";
import { clock } from "./probe.ts";

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 1024 });

/** Sends a GET and discards the answer. */
function get(port: number, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const req = request({ agent, host: "127.0.0.1", port, path }, (res) => {
      res.resume();
      res.on("end", resolve);
    });
    req.on("error", reject);
    req.end();
  });
}

/** Opens the connections: sends as many health checks at once, and the agent keeps the connections alive. */
async function connect(port: number): Promise<null> {
  await Promise.all(Array.from({ length: connections }, () => get(port, "/health")));
  return null;
}

class Load {
  readonly #seed: number;
  readonly #patienceMs: number;
  readonly #port: number;
  readonly #start: number;
  readonly #due: number[];
  readonly #sent: Sent[] = [];
  readonly #progress: Progress = { sent: 0, waiting: 0, served: 0, rejected: 0, lost: 0 };
  #finished: () => void = () => {};

  constructor(plan: Plan, port: number, start: number) {
    this.#seed = plan.seed;
    this.#patienceMs = plan.patienceMs;
    this.#port = port;
    this.#start = start;
    this.#due = [plan.warmUp, ...plan.phases].flatMap(arrivals);
  }

  /** Sends all orders. Resolves when each has its answer or its client has given up. */
  async run(): Promise<Sent[]> {
    const progress = setInterval(() => sendReport("progress", { ...this.#progress }), 250);
    await new Promise<void>((resolve) => {
      this.#finished = resolve;
      this.#sendDue();
    });
    clearInterval(progress);
    return this.#sent;
  }

  #sendDue(): void {
    const now = clock() - this.#start;
    while (this.#progress.sent < this.#due.length && (this.#due[this.#progress.sent] ?? 0) <= now) {
      this.#send(this.#progress.sent++);
    }
    const next = this.#due[this.#progress.sent];
    if (next !== undefined) setTimeout(() => this.#sendDue(), Math.max(1, next - now));
  }

  #send(i: number): void {
    const order = orderOf(this.#seed, i);
    const at = this.#due[i] ?? 0;
    const late = clock() - this.#start - at;
    this.#progress.waiting++;
    let open = true;
    const end = (outcome: Outcome): void => {
      if (!open) return;
      open = false;
      clearTimeout(patience);
      this.#sent[i] = { at, late, took: clock() - this.#start - at, outcome };
      this.#progress.waiting--;
      if (outcome === "served") this.#progress.served++;
      else if (outcome === "rejected") this.#progress.rejected++;
      else if (outcome !== "soldOut") this.#progress.lost++;
      if (this.#progress.waiting === 0 && this.#progress.sent === this.#due.length) this.#finished();
    };
    const req = request(
      { agent, host: "127.0.0.1", port: this.#port, method: "POST", path: "/orders" },
      async (res) => {
        try {
          end(judge(res, await readBody(res), order.id, trueTotal(order)));
        } catch {
          end("broken");
        }
      },
    );
    req.on("error", () => end("broken"));
    req.end(JSON.stringify(order));
    const patience = setTimeout(
      () => {
        end("gaveUp");
        req.destroy();
      },
      Math.max(0, this.#patienceMs - late),
    );
  }
}

function judge(res: IncomingMessage, body: string, id: string, cents: number): Outcome {
  switch (res.statusCode) {
    case 200: {
      const receipt = JSON.parse(body) as Receipt;
      return receipt.id === id && receipt.cents === cents ? "served" : "wrong";
    }
    case 409:
      return "soldOut";
    case 429:
    case 503:
      return res.headers["retry-after"] === undefined ? "failed" : "rejected";
    case 504:
      return "deadline";
    default:
      return "failed";
  }
}

/** Calls per second that the upstream serves to `callers`, each of which calls again as soon as it is answered. */
async function calibrate(port: number, callers: number, ms: number): Promise<number> {
  const warm = clock() + ms * 0.25;
  const stop = warm + ms;
  let calls = 0;
  let sent = 0;
  const caller = async (): Promise<void> => {
    while (clock() < stop) {
      await get(port, `/inventory?order=${sent++}&sku=sku-1`);
      if (clock() >= warm && clock() < stop) calls++;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return (calls * 1000) / ms;
}

serve({
  connect: ({ port }) => connect(port),
  run: ({ plan, port, start }) => new Load(plan, port, start).run(),
  calibrate: ({ port, callers, ms }) => calibrate(port, callers, ms),
});
