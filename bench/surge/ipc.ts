/** Typed requests from the orchestrator to its child processes, and the reports that the children send unrequested. */
import { type ChildProcess, fork } from "node:child_process";
import { type Plan, scale, type Variant } from "./config.ts";

/** What was measured of a gateway process during one phase. Times in ms. */
export interface Vitals {
  peakParked: number;
  peakRss: number;
  gcP99: number;
  gcMax: number;
  loopP99: number;
  loopMax: number;
  /** Share of one core, 1 = all of it. */
  cpu: number;
  /** Orders that found another order's quotes in the scratch they were given. */
  dirtyScratches: number;
  /** Writes to the stock that overwrote what another order had written since the value was read. */
  lostUpdates: number;
}

/** A gateway process at one moment. `at` is epoch ms. */
export interface Sample {
  at: number;
  parked: number;
  rss: number;
  loopP99: number;
  cpu: number;
}

/** What was left in the gateway once every client had its answer or had hung up. */
export interface Drained {
  parkedAtStart: number;
  parkedAtEnd: number;
  /** What is unfinished, by kind. */
  kinds: Record<string, number>;
  /** The error of leak.verifyNone. undefined: nothing leaked; null: the variant has no such check. */
  leaks: string | undefined | null;
}

export type Outcome =
  | "served" // 200 with the right total
  | "wrong" // 200 with a wrong total
  | "soldOut" // 409
  | "rejected" // 429 or 503 with Retry-After, before any work
  | "deadline" // 504: cut off by the gateway's deadline; the payment's outcome is unknown
  | "failed" // any other answer
  | "gaveUp" // no answer within the client's patience
  | "broken"; // the connection broke

/** One order as the client saw it. Times in ms; `at` counts from the start of the run. */
export interface Sent {
  /** When it should have been sent. */
  at: number;
  /** How much later than that it was sent. */
  late: number;
  /** From the moment it should have been sent to its end. */
  took: number;
  outcome: Outcome;
}

/** What the upstream recorded. */
export interface Ledger {
  /** Ids of the orders whose payment it accepted. */
  accepted: string[];
  /** Payments requested again after they had been accepted; none was charged twice. */
  repeated: number;
  /** Units of the scarce article sold. */
  scarceSold: number;
  hung: number;
  failed: number;
  /** Calls dropped from its queue because the caller had hung up. */
  dropped: number;
  peakWaiting: number;
}

export interface Progress {
  sent: number;
  waiting: number;
  served: number;
  rejected: number;
  lost: number;
}

export interface Requests {
  /** To the upstream and the gateways: listen; the reply is the port. */
  listen: { body: { plan: Plan; upstreamPort: number; faults: boolean }; reply: number };
  /** To a gateway: a phase has ended; the reply is what was measured during it. */
  phase: { body: null; reply: Vitals };
  drain: { body: null; reply: Drained };
  ledger: { body: null; reply: Ledger };
  /** To any: the processor time that it has used, in ms. Answered by {@link serve}. */
  used: { body: null; reply: number };
  /** To the generator: open the connections to the gateway. */
  connect: { body: { port: number }; reply: null };
  /** To the generator: send the plan's orders, starting at the epoch ms `start`. */
  run: { body: { plan: Plan; port: number; start: number }; reply: Sent[] };
  /** To the generator: measure the calls per second that the upstream serves to `callers` closed-loop callers. */
  calibrate: { body: { port: number; callers: number; ms: number }; reply: number };
}

export interface Reports {
  sample: Sample;
  progress: Progress;
}

type Body<K extends keyof Requests> = Requests[K]["body"];
type Reply<K extends keyof Requests> = Requests[K]["reply"];
type AllHandlers = { [K in keyof Requests]?: (body: Body<K>) => Reply<K> | Promise<Reply<K>> };
type Handlers = Omit<AllHandlers, "used">;
type RequestMessage = { id: number; name: keyof Requests; body: never };
type ChildMessage = { replyTo: number; body?: unknown; error?: string } | { report: keyof Reports; body: never };

/** A child process of the replay. */
export class Child {
  readonly #child: ChildProcess;
  readonly #name: string;
  /** The requests without a reply so far, by id. */
  readonly #pending = new Map<number, { resolve: (body: never) => void; reject: (err: Error) => void }>();
  readonly #listeners: { [K in keyof Reports]?: (body: Reports[K]) => void } = {};
  #lastId = 0;
  #exited = false;

  constructor(name: string, file: URL) {
    this.#name = name;
    this.#child = fork(file, ["--scale", `${scale}`], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child.on("message", (message: ChildMessage) => {
      if ("report" in message) {
        this.#listeners[message.report]?.(message.body);
        return;
      }
      const pending = this.#pending.get(message.replyTo);
      this.#pending.delete(message.replyTo);
      if (message.error !== undefined) pending?.reject(new Error(`${this.#name}: ${message.error}`));
      else pending?.resolve(message.body as never);
    });
    this.#child.on("exit", (code, signal) => {
      this.#exited = true;
      for (const pending of this.#pending.values()) pending.reject(this.#exitError(code, signal));
      this.#pending.clear();
    });
    this.#child.on("error", (err) => console.error(`${this.#name}: ${err.message}`));
  }

  /**
   * Sends a request and resolves to its reply. Rejects if the child replies with an error or exits before it replies.
   */
  request<K extends keyof Requests>(name: K, body: Body<K>): Promise<Reply<K>> {
    if (this.#exited) return Promise.reject(this.#exitError(this.#child.exitCode, this.#child.signalCode));
    return new Promise<Reply<K>>((resolve, reject) => {
      const id = ++this.#lastId;
      this.#pending.set(id, { resolve, reject });
      this.#child.send({ id, name, body });
    });
  }

  on<K extends keyof Reports>(name: K, listener: (body: Reports[K]) => void): void {
    Object.assign(this.#listeners, { [name]: listener });
  }

  /** Ends the child at once and waits until it has exited. */
  async kill(): Promise<void> {
    if (this.#exited) return;
    const exit = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    this.#child.kill("SIGKILL");
    await exit;
  }

  #exitError(code: number | null, signal: string | null): Error {
    return new Error(`${this.#name} ended early (${signal ?? `exit code ${code}`})`);
  }
}

/** The processor time that this process has used, in ms. */
export function usedHere(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** In a child: replies to the orchestrator's requests, and exits when the orchestrator does. */
export function serve(handlers: Handlers): void {
  const all: AllHandlers = { ...handlers, used: usedHere };
  process.on("disconnect", () => process.exit(0));
  process.on("message", async ({ id, name, body }: RequestMessage) => {
    try {
      const handler = all[name];
      if (handler === undefined) throw new Error(`no handler for ${name}`);
      process.send?.({ replyTo: id, body: await handler(body) });
    } catch (err) {
      process.send?.({ replyTo: id, error: String(err) });
    }
  });
}

/** In a child: sends the orchestrator a report. */
export function sendReport<K extends keyof Reports>(name: K, body: Reports[K]): void {
  if (process.connected) process.send?.({ report: name, body });
}

/** The compiled file that runs a gateway. */
export function gatewayFile(variant: Variant): URL {
  return new URL(`./gateway-${variant}.js`, import.meta.url);
}
