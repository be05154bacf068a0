/** Typed questions from the orchestrator to its children, and what children tell unasked. */
import { type ChildProcess, fork } from "node:child_process";
import type { Plan, Variant } from "./config.ts";

/** What a gateway process was through one phase. Times in ms. */
export interface Vitals {
  peakParked: number;
  peakRss: number;
  gcP99: number;
  gcMax: number;
  loopP99: number;
  loopMax: number;
  /** Share of one core, 1 = all of it. */
  cpu: number;
  /** Orders that found another order's quotes in their scratch. */
  dirtyScratches: number;
  /** Writes to the stock that wrote over what another order had written since the value was read. */
  lostUpdates: number;
}

/** A moment of a gateway process. `at` is epoch ms. */
export interface Sample {
  at: number;
  parked: number;
  rss: number;
  loopP99: number;
  cpu: number;
}

/** What was left in the gateway when all clients had their answer or had gone. */
export interface Drained {
  parkedAtStart: number;
  parkedAtEnd: number;
  /** What is unfinished, by kind. */
  kinds: Record<string, number>;
  /** What leak.verifyNone said; undefined: nothing leaked, null: the variant has no such check. */
  leaks: string | undefined | null;
}

export type Outcome =
  | "served" // 200 with the right total
  | "wrong" // 200 with a wrong total
  | "soldOut" // 409
  | "rejected" // 429 or 503 with Retry-After, refused before any work
  | "deadline" // 504: cut off by the gateway's deadline, the payment's outcome unknown
  | "failed" // any other answer
  | "gaveUp" // no answer within the client's patience
  | "broken"; // the connection broke

/** One order as the client saw it. Times in ms; `at` counts from the start of the run. */
export interface Sent {
  /** When it should have been sent. */
  at: number;
  /** How much later it was sent. */
  late: number;
  /** From when it should have been sent to its end. */
  took: number;
  outcome: Outcome;
}

/** What the upstream saw. */
export interface Ledger {
  /** Ids of the orders whose payment it accepted. */
  accepted: string[];
  /** Payments asked for again after they had been accepted; none was charged twice. */
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

export interface Asks {
  /** To the upstream and the gateways: listen; the reply is the port. */
  listen: { body: { plan: Plan; upstreamPort: number; faults: boolean }; reply: number };
  /** To a gateway: a phase has ended; the reply is what it was. */
  phase: { body: null; reply: Vitals };
  drain: { body: null; reply: Drained };
  ledger: { body: null; reply: Ledger };
  /** To the generator: open the connections to the gateway. */
  connect: { body: { port: number }; reply: null };
  /** To the generator: send the plan's orders, starting at the epoch ms `start`. */
  run: { body: { plan: Plan; port: number; start: number }; reply: Sent[] };
  /** To the generator: calls per second the upstream does with `callers` closed-loop callers. */
  calibrate: { body: { port: number; callers: number; ms: number }; reply: number };
}

export interface Tells {
  sample: Sample;
  progress: Progress;
}

type Ask<K extends keyof Asks> = Asks[K]["body"];
type Reply<K extends keyof Asks> = Asks[K]["reply"];
type Handlers = { [K in keyof Asks]?: (body: Ask<K>) => Reply<K> | Promise<Reply<K>> };
type Question = { ask: number; name: keyof Asks; body: never };
type Message = { answer: number; body?: unknown; error?: string } | { tell: keyof Tells; body: never };

/** A child process of the replay. */
export class Child {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #open = new Map<number, { resolve: (body: never) => void; reject: (err: Error) => void }>();
  readonly #listeners: { [K in keyof Tells]?: (body: Tells[K]) => void } = {};
  #asked = 0;
  #gone = false;

  constructor(name: string, file: URL) {
    this.#name = name;
    this.#child = fork(file, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#child.on("message", (message: Message) => {
      if ("tell" in message) {
        this.#listeners[message.tell]?.(message.body);
        return;
      }
      const asked = this.#open.get(message.answer);
      this.#open.delete(message.answer);
      if (message.error !== undefined) asked?.reject(new Error(`${this.#name}: ${message.error}`));
      else asked?.resolve(message.body as never);
    });
    this.#child.on("exit", (code, signal) => {
      this.#gone = true;
      for (const asked of this.#open.values()) asked.reject(this.#exited(code, signal));
      this.#open.clear();
    });
    this.#child.on("error", (err) => console.error(`${this.#name}: ${err.message}`));
  }

  /** Asks and waits. Rejects when the child reports an error or exits before it answers. */
  ask<K extends keyof Asks>(name: K, body: Ask<K>): Promise<Reply<K>> {
    if (this.#gone) return Promise.reject(this.#exited(this.#child.exitCode, this.#child.signalCode));
    return new Promise<Reply<K>>((resolve, reject) => {
      const ask = ++this.#asked;
      this.#open.set(ask, { resolve, reject });
      this.#child.send({ ask, name, body });
    });
  }

  on<K extends keyof Tells>(name: K, listener: (body: Tells[K]) => void): void {
    Object.assign(this.#listeners, { [name]: listener });
  }

  /** Ends the child at once and waits until it is gone. */
  async kill(): Promise<void> {
    if (this.#gone) return;
    const gone = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    this.#child.kill("SIGKILL");
    await gone;
  }

  #exited(code: number | null, signal: string | null): Error {
    return new Error(`${this.#name} ended early (${signal ?? `exit code ${code}`})`);
  }
}

/** In a child: answers the orchestrator's questions, and ends when the orchestrator does. */
export function serve(handlers: Handlers): void {
  process.on("disconnect", () => process.exit(0));
  process.on("message", async ({ ask, name, body }: Question) => {
    try {
      const handler = handlers[name];
      if (handler === undefined) throw new Error(`cannot answer ${name}`);
      process.send?.({ answer: ask, body: await handler(body) });
    } catch (err) {
      process.send?.({ answer: ask, error: String(err) });
    }
  });
}

/** In a child: tells the orchestrator something unasked. */
export function tell<K extends keyof Tells>(name: K, body: Tells[K]): void {
  if (process.connected) process.send?.({ tell: name, body });
}

/** The compiled file that runs a gateway. */
export function gatewayFile(variant: Variant): URL {
  return new URL(`./gateway-${variant}.js`, import.meta.url);
}
