/**
 * The upstream: prices, inventory and payments behind one queue and a fixed number of slots.
 *
 * A call takes a slot for its service time. When all slots are taken it waits in arrival order. The more calls wait,
 * the slower every call gets. A few calls fail and a few are never answered. Payments are idempotent by order id.
 *
 * Capacity is kept by arithmetic, not by timers: a free slot starts the next waiting call at the instant its last call
 * was due to end. So a timer that fires late costs the upstream nothing, and it carries slots / service time on a busy
 * machine too.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { model, type Plan, scarceSku } from "./config.ts";
import { type Ledger, serve } from "./ipc.ts";
import { answer, chance, listen, quotesOf } from "./order.ts";
import { clock } from "./probe.ts";

interface Call {
  path: string;
  query: URLSearchParams;
  res: ServerResponse;
  arrived: number;
  /** When it is due to leave its slot; 0 while it waits. */
  ends: number;
  hangs: boolean;
  hungUp: boolean;
  timer: NodeJS.Timeout | undefined;
}

class Upstream {
  readonly #plan: Plan;
  readonly #faults: boolean;
  readonly #accepted = new Set<string>();
  readonly #ledger: Omit<Ledger, "accepted"> = {
    repeated: 0,
    scarceSold: 0,
    hung: 0,
    failed: 0,
    dropped: 0,
    peakWaiting: 0,
  };
  // Between any two events: some slot is idle only if no call waits whose caller has not hung up.
  #idle: number = model.slots;
  #queue: Call[] = [];
  #head = 0;

  constructor(plan: Plan, faults: boolean) {
    this.#plan = plan;
    this.#faults = faults;
  }

  ledger(): Ledger {
    return { ...this.#ledger, accepted: [...this.#accepted] };
  }

  accept(req: IncomingMessage, res: ServerResponse): void {
    const url = new URL(req.url ?? "/", "http://upstream");
    const call: Call = {
      path: url.pathname,
      query: url.searchParams,
      res,
      arrived: clock(),
      ends: 0,
      hangs: false,
      hungUp: false,
      timer: undefined,
    };
    req.resume();
    res.once("close", () => this.#hungUp(call));
    if (this.#idle > 0) {
      this.#idle--;
      this.#start(call, call.arrived);
      return;
    }
    this.#queue.push(call);
    this.#ledger.peakWaiting = Math.max(this.#ledger.peakWaiting, this.#waiting());
  }

  #waiting(): number {
    return this.#queue.length - this.#head;
  }

  #start(call: Call, at: number): void {
    const key = `${this.#plan.seed} ${call.path} ${call.query}`;
    const slowdown = 1 + Math.min(1, Math.max(0, this.#waiting() - model.slowFrom) / model.slowOver);
    let takes = model.serviceMs * (1 + model.jitter * (2 * chance(`takes ${key}`) - 1)) * slowdown;
    if (this.#faults && chance(`hangs ${key}`) < model.hang) {
      call.hangs = true;
      takes = model.hangMs;
      this.#ledger.hung++;
      // The worst kind of hang: the money is taken and the caller gets no answer.
      if (call.path === "/payment") this.#take(call);
    }
    call.ends = at + takes;
    call.timer = setTimeout(() => this.#end(call), Math.max(0, Math.ceil(call.ends - clock())));
  }

  #end(call: Call): void {
    if (!call.hangs) this.#answer(call);
    const next = this.#next();
    if (next === undefined) this.#idle++;
    else this.#start(next, Math.max(call.ends, next.arrived));
  }

  /** The next waiting call whose caller has not hung up. */
  #next(): Call | undefined {
    while (this.#head < this.#queue.length) {
      const call = this.#queue[this.#head++];
      if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
        this.#queue = this.#queue.slice(this.#head);
        this.#head = 0;
      }
      if (call !== undefined && !call.hungUp) return call;
      this.#ledger.dropped++;
    }
    return undefined;
  }

  #hungUp(call: Call): void {
    call.hungUp = true;
    if (!call.hangs || clock() >= call.ends) return;
    clearTimeout(call.timer);
    call.ends = clock();
    this.#end(call);
  }

  #answer(call: Call): void {
    const { path, query, res } = call;
    const fail = model.fail + (this.#waiting() > model.saturated ? model.failSaturated : 0);
    if (this.#faults && chance(`fails ${this.#plan.seed} ${path} ${query}`) < fail) {
      this.#ledger.failed++;
      answer(res, 500, { error: "upstream failed" });
    } else if (path === "/price") {
      answer(res, 200, quotesOf(query.get("sku") ?? "", query.get("source") ?? ""));
    } else if (path === "/inventory") {
      answer(res, 200, { sku: query.get("sku"), inStock: true });
    } else {
      this.#take(call);
      answer(res, 200, { id: query.get("order"), cents: Number(query.get("cents")) });
    }
  }

  /** Accepts the order, once. */
  #take({ query }: Call): void {
    const id = query.get("order") ?? "";
    if (this.#accepted.has(id)) {
      this.#ledger.repeated++;
      return;
    }
    this.#accepted.add(id);
    if (query.get("sku") === scarceSku) this.#ledger.scarceSold += Number(query.get("qty"));
  }
}

let upstream: Upstream | undefined;

serve({
  listen: ({ plan, faults }) => {
    const running = new Upstream(plan, faults);
    upstream = running;
    return listen((req, res) => running.accept(req, res));
  },
  ledger: () => {
    if (upstream === undefined) throw new Error("not listening");
    return upstream.ledger();
  },
});
