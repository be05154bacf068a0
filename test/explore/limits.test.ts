/**
 * Semaphore and rate limiter: random programs with cancels anywhere, against a queue in an array and against arithmetic
 * in whole nanoseconds.
 */
import {
  afterFunc,
  background,
  type Cancel,
  type Context,
  DeadlineExceeded,
  is,
  withCancel,
  withTimeout,
} from "gopark/context";
import { Inf, Limiter, type Reservation } from "gopark/rate";
import { type Permit, Weighted } from "gopark/semaphore";
import { now } from "gopark/time";
import { expect, vi } from "vitest";
import { reasonOf } from "../support/exit.ts";
import type { Random } from "../support/random.ts";
import { holds, same } from "../support/same.ts";
import { turns } from "../support/turn.ts";
import { type Watched, watch } from "../support/watch.ts";
import { explore, type Program } from "./explore.ts";

/** Something that ends waits, by any of its contexts and signals. */
interface Exit {
  readonly name: string;
  readonly cancels: Cancel[];
  readonly parent?: Exit;
  readonly end: () => void;
  readonly deadline?: number;
  ended: boolean;
}

function isUnder(exit: Exit | undefined, top: Exit): boolean {
  for (let e = exit; e !== undefined; e = e.parent) if (e === top) return true;
  return false;
}

/**
 * A tree of two contexts, a context with a signal made from its own, a foreign signal, and a context with a deadline.
 */
class Exits {
  all: Exit[] = [];
  readonly #rnd: Random;

  constructor(rnd: Random) {
    this.#rnd = rnd;
    this.renew();
  }

  /** Adds new exits to those that have not ended. */
  renew(): void {
    this.all = this.all.filter((exit) => !exit.ended);
    const has = (name: string) => this.all.some((exit) => exit.name === name);
    if (!has("root")) {
      const [ctx, end] = withCancel(background());
      this.all.push({ name: "root", cancels: [ctx], end, ended: false });
    }
    const root = this.all.find((exit) => exit.name === "root") as Exit;
    if (!has("child")) {
      const [ctx, end] = withCancel(root.cancels[0] as Cancel);
      this.all.push({ name: "child", cancels: [ctx], parent: root, end, ended: false });
    }
    if (!has("signal")) {
      const controller = new AbortController();
      const end = () => controller.abort();
      this.all.push({ name: "signal", cancels: [controller.signal], end, ended: false });
    }
    if (!has("any")) {
      const [ctx, end] = withCancel(background());
      this.all.push({ name: "any", cancels: [ctx], end, ended: false });
    }
    if (!has("deadline")) {
      const ms = this.#rnd.int(1, 40) * 50 + 0.25;
      const [ctx, end] = withTimeout(background(), ms);
      // Not now() + ms: a clock that moves has moved since.
      this.all.push({ name: "deadline", cancels: [ctx], end, deadline: ctx.deadline() as number, ended: false });
    }
  }

  /**
   * One of the exit's contexts and signals. A context's signal may be created while others wait for the context
   * already.
   */
  cancelOf(exit: Exit): Cancel {
    const [first] = exit.cancels as [Cancel];
    if (!("aborted" in first) && exit.cancels.length === 1 && exit.name !== "deadline" && this.#rnd.bool(0.3)) {
      exit.cancels.push(exit.name === "any" ? AbortSignal.any([first.signal]) : first.signal);
    }
    return this.#rnd.pick(exit.cancels);
  }

  /** Marks an exit and what is under it as ended, and returns all that were not before. */
  mark(top: Exit): Exit[] {
    const ended = this.all.filter((exit) => !exit.ended && isUnder(exit, top));
    for (const exit of ended) exit.ended = true;
    return ended;
  }
}

// --- Semaphore ---

/** How the function of a `withPermit` ends: when the program ends it, or by itself. */
type End = "held" | "value" | "throw" | "promise" | "reject" | "thenable" | "hostile" | "generator" | "asyncGenerator";

interface Ask {
  readonly id: number;
  readonly sort: "acquire" | "permit" | "with";
  readonly n: number;
  readonly exit: Exit;
  readonly cancel: Cancel;
  readonly end: End;
  watched: Watched;
  /** Whether it had to wait, and was called outside of any cancel: these are granted in order. */
  parked: boolean;
  /** Of a withPermit: how often its function ran, and whether it has ended. */
  runs: number;
  over: boolean;
}

/** The reference: one array, scanned from the front after each event that frees units. */
class Queue {
  byHand = 0;
  inPermits = 0;
  waiting: Ask[] = [];
  readonly granted: Ask[] = [];
  readonly cancelled: Ask[] = [];
  readonly size: number;

  constructor(size: number) {
    this.size = size;
  }

  get held(): number {
    return this.byHand + this.inPermits;
  }

  tryAcquire(n: number): boolean {
    const ok = this.waiting.length === 0 && this.held + n <= this.size;
    if (ok) this.byHand += n;
    return ok;
  }

  ask(ask: Ask): void {
    if (this.waiting.length === 0 && this.held + ask.n <= this.size) this.#grant(ask);
    else this.waiting.push(ask);
  }

  /** Units held by permits cannot be released with `release`. */
  release(n: number): boolean {
    if (n > this.byHand) return false;
    this.byHand -= n;
    this.#admit();
    return true;
  }

  releasePermit(n: number): void {
    this.inPermits -= n;
    this.#admit();
  }

  /** Removes all waits that end together. */
  take(exits: readonly Exit[]): number {
    const before = this.cancelled.length;
    this.cancelled.push(...this.waiting.filter((ask) => exits.includes(ask.exit)));
    this.waiting = this.waiting.filter((ask) => !exits.includes(ask.exit));
    return this.cancelled.length - before;
  }

  /**
   * Admits the waiters that cancelled waits held back. As in Go: if nothing is free, not even a request for 0 units.
   */
  afterCancel(): void {
    if (this.held < this.size) this.#admit();
  }

  /** The calls of `withPermit` whose function ends by itself, and has not ended in the reference. */
  busy(): Ask[] {
    return this.granted.filter((ask) => ask.sort === "with" && ask.end !== "held" && !ask.over);
  }

  #admit(): void {
    for (let w = this.waiting[0]; w !== undefined && this.held + w.n <= this.size; w = this.waiting[0]) {
      this.waiting.shift();
      this.#grant(w);
    }
  }

  #grant(ask: Ask): void {
    if (ask.sort === "acquire") this.byHand += ask.n;
    else this.inPermits += ask.n;
    this.granted.push(ask);
  }
}

const failed = new Error("the function failed");
const unwatched: Watched = { state: "pending", value: undefined, reason: undefined };

async function semaphoreProgram(_seed: number, rnd: Random, program: Program): Promise<void> {
  vi.useFakeTimers();
  const size = rnd.int(0, 6);
  const sem = new Weighted(size);
  const queue = new Queue(size);
  const exits = new Exits(rnd);
  const asks: Ask[] = [];
  const permits: { readonly permit: Permit; readonly ask: Ask; released: boolean }[] = [];
  const running = new Map<Ask, { resolve(value: unknown): void; reject(error: unknown): void }>();
  const order: Ask[] = [];
  const reactRate = rnd.pick([0, 0, 0.2, 0.6]);
  // Few exits in one program, so that many of the waits end together, with others queued between them.
  const focus = rnd.pick([
    ["any"],
    ["any", "signal"],
    ["root", "child", "signal"],
    ["root", "child", "any", "deadline"],
  ]);
  const { log } = program;

  const compare = (): void => {
    same(sem.held(), queue.held, "held");
    same(sem.waiting(), queue.waiting.length, "waiting");
  };

  const call = (ask: Ask, ctx: Cancel, n: number): Promise<unknown> => {
    const fn = (): unknown => {
      ask.runs++;
      switch (ask.end) {
        case "held":
          return new Promise((resolve, reject) => running.set(ask, { resolve, reject }));
        case "value":
          return ask.id;
        case "throw":
          throw failed;
        case "promise":
          return Promise.resolve(ask.id);
        case "reject":
          return Promise.reject(failed);
        case "thenable":
          return { then: (resolve: (id: number) => void) => resolve(ask.id) };
        case "hostile":
          return {
            get then() {
              throw failed;
            },
          };
        case "generator":
          return (function* () {
            yield ask.id;
          })();
        case "asyncGenerator":
          return (async function* () {
            yield ask.id;
          })();
      }
    };
    if (ask.sort === "acquire") return sem.acquire(ctx, n);
    if (ask.sort === "permit") return sem.permit(ctx, n);
    return n === 1 && rnd.bool(0.5) ? sem.withPermit(ctx, fn) : sem.withPermit(ctx, n, fn);
  };

  const ask = (where: "outside" | "reaction" | "listener", avoid?: Exit): void => {
    const able = exits.all.filter((e) => avoid === undefined || !isUnder(e, avoid));
    const focused = able.filter((e) => focus.includes(e.name));
    const exit = rnd.pick(focused.length > 0 && rnd.bool(0.9) ? focused : able);
    const cancel = exits.cancelOf(exit);
    // Not specified: whether a request for 0 units in a listener comes before or after the waiters that were held back.
    const least = where === "listener" ? 1 : 0;
    const n = rnd.int(least, Math.max(least, rnd.bool(0.06) && !exit.ended ? size + 2 : Math.min(size, 3)));
    const sort = rnd.pick(["acquire", "acquire", "permit", "permit", "with"] as const);
    const ends = ["value", "throw", "promise", "reject", "thenable", "hostile", "generator", "asyncGenerator"] as const;
    const end = where !== "outside" || rnd.bool(0.5) ? "held" : rnd.pick(ends);
    const made: Ask = {
      id: asks.length,
      sort,
      n,
      exit,
      cancel,
      end,
      watched: unwatched,
      parked: false,
      runs: 0,
      over: false,
    };
    asks.push(made);
    log(`${where}: ${made.id} ${sort} ${n} ${exit.name} ${"aborted" in cancel ? "signal" : "ctx"} ${end}`);
    const promise = call(made, cancel, n);
    made.watched = watch(promise);
    promise.then(
      (value) => {
        if (made.parked && sort !== "with") order.push(made);
        if (sort === "permit") permits.push({ permit: value as Permit, ask: made, released: false });
        react(`grant of ${made.id}`);
      },
      () => react(`end of ${made.id}`),
    );
    if (n > size) return;
    if (exit.ended) queue.cancelled.push(made);
    else {
      queue.ask(made);
      made.parked = where === "outside" && queue.waiting.includes(made);
    }
    if (where === "outside") compare();
  };

  const release = (): void => {
    const n = rnd.bool(0.7) ? rnd.int(0, queue.byHand) : rnd.int(queue.byHand, size + 2);
    log(`release ${n}`);
    if (queue.release(n)) sem.release(n);
    else expect(() => sem.release(n)).toThrow("semaphore: released more than held");
  };

  const releasePermit = (): void => {
    const open = permits.filter((p) => !p.released);
    const one = rnd.bool(0.9) && open.length > 0 ? rnd.pick(open) : permits.length > 0 ? rnd.pick(permits) : undefined;
    if (one === undefined) return;
    log(`permit of ${one.ask.id} released`);
    expect(one.permit.n).toBe(one.ask.n);
    if (!one.released) queue.releasePermit(one.ask.n);
    one.released = true;
    if (rnd.bool(0.5)) one.permit.release();
    else one.permit[Symbol.dispose]();
  };

  const end = (exit: Exit): void => {
    if (exit.ended) return;
    log(`${exit.name} ends`);
    queue.take(exits.mark(exit));
    exit.end();
    queue.afterCancel();
    compare();
  };

  /** A step right after a promise has settled. Functions that end by themselves may end between any two reactions. */
  const react = (where: string): void => {
    if (!rnd.bool(reactRate) || queue.busy().length > 0) return;
    log(`at the ${where}:`);
    const what = rnd.int(0, 3);
    if (what === 0) release();
    else if (what === 1) releasePermit();
    else if (what === 2) ask("reaction");
    else if (rnd.bool(0.3)) end(rnd.pick(exits.all));
    compare();
  };

  const listen = (): void => {
    const name = rnd.pick(["root", "child"]);
    const exit = exits.all.find((e) => e.name === name && !e.ended);
    if (exit === undefined) return;
    const [ctx] = exit.cancels as [Context];
    if (rnd.bool(0.3)) {
      afterFunc(ctx, () => react(`afterFunc of ${exit.name}`));
      return;
    }
    ctx.signal.addEventListener("abort", () => {
      log(`listener of ${exit.name}:`);
      const what = rnd.int(0, 5);
      if (what === 0) release();
      else if (what === 1) releasePermit();
      else if (what === 2) ask("listener", exits.all.find((e) => e.name === "root") ?? exit);
      else {
        const signal = exits.all.find((e) => e.name === "signal" && !e.ended);
        if (signal === undefined) return;
        log("signal ends");
        const cancelled = queue.take(exits.mark(signal));
        signal.end();
        // An end that cancels nothing here admits nothing either; the outer end has not come to it yet.
        if (cancelled > 0) queue.afterCancel();
      }
    });
  };

  const finish = (): void => {
    if (running.size === 0) return;
    const [one, { resolve, reject }] = rnd.pick([...running]);
    running.delete(one);
    log(`function of ${one.id} ends`);
    if (rnd.bool(0.7)) resolve(one.id);
    else reject(failed);
    one.over = true;
    queue.releasePermit(one.n);
  };

  const advance = (ms: number): void => {
    log(`${ms} ms pass`);
    const due = exits.all.find((e) => !e.ended && e.deadline !== undefined && e.deadline <= now() + ms);
    // The instant is not a whole millisecond: the timer comes up to one later.
    if (due?.deadline !== undefined && due.deadline > now() + ms - 1) return;
    if (due !== undefined) queue.take(exits.mark(due));
    vi.advanceTimersByTime(ms);
    queue.afterCancel();
    compare();
  };

  const step = (): void => {
    const what = rnd.int(0, 17);
    if (what < 7) ask("outside");
    else if (what < 8) {
      const n = rnd.int(0, size + 1);
      log(`tryAcquire ${n}`);
      expect(sem.tryAcquire(n), "tryAcquire").toBe(queue.tryAcquire(n));
    } else if (what < 10) release();
    else if (what < 13) releasePermit();
    else if (what < 14) end(rnd.pick(exits.all));
    else if (what < 16) listen();
    else if (what < 17) advance(rnd.int(1, 20) * 50);
    else exits.renew();
    compare();
  };

  /** Lets everything run that can, in the reference too, and compares. */
  const quiet = async (): Promise<void> => {
    await turns(3);
    for (let busy = queue.busy(); busy.length > 0; busy = queue.busy()) {
      for (const one of busy) {
        one.over = true;
        queue.releasePermit(one.n);
      }
    }
    compare();
    const expected = queue.granted.filter((one) => one.parked && one.sort !== "with");
    for (let i = 0; i < Math.max(order.length, expected.length); i++) same(order[i], expected[i], `grant ${i}`);
    for (const one of asks) judge(one);
  };

  const judge = (one: Ask): void => {
    const { watched, sort, end, id } = one;
    const name = `${id} ${sort} ${end}`;
    const by = (state: Watched["state"], runs: number) => {
      same(watched.state, state, `${name}: state`);
      same(one.runs, runs, `${name}: runs`);
    };
    if (one.n > size) {
      by("rejected", 0);
      same(watched.reason instanceof RangeError, true, `${name}: a RangeError`);
    } else if (queue.cancelled.includes(one)) {
      by("rejected", 0);
      same(watched.reason, reasonOf(one.cancel), `${name}: reason`);
    } else if (queue.waiting.includes(one)) by("pending", 0);
    else if (sort !== "with") by("fulfilled", 0);
    else if (!one.over) by("pending", 1);
    else if (end === "generator" || end === "asyncGenerator") {
      by("rejected", 1);
      same(watched.reason instanceof TypeError, true, `${name}: a TypeError`);
    } else if (end === "throw" || end === "reject" || end === "hostile") {
      by("rejected", 1);
      same(watched.reason, failed, `${name}: reason`);
    } else if (end !== "held") {
      by("fulfilled", 1);
      same(watched.value, id, `${name}: value`);
    } else same(watched.state === "pending", false, `${name}: pending`);
  };

  for (let left = program.length(18); left > 0; left--) {
    // The units of a function are freed some microtasks after its end, so nothing else happens in that turn.
    if (rnd.bool(0.25)) finish();
    else for (let ops = rnd.int(1, 5); ops > 0; ops--) step();
    await quiet();
  }

  for (const exit of exits.all) end(exit);
  await quiet();
  while (running.size > 0) {
    finish();
    await quiet();
  }
  for (const one of permits.filter((p) => !p.released)) {
    one.released = true;
    queue.releasePermit(one.ask.n);
    one.permit.release();
  }
  expect(() => sem.release(queue.byHand + 1)).toThrow("semaphore: released more than held");
  sem.release(queue.byHand);
  queue.release(queue.byHand);
  await quiet();
  expect([sem.held(), sem.waiting()]).toEqual([0, 0]);
}

explore("semaphore", semaphoreProgram, { quick: 250 });

// --- Rate limiter ---

/** The instant of an event that never comes. */
const FOREVER = 10n ** 30n;
const SECOND = 10n ** 9n;

/** Go's conversions. Durations are whole nanoseconds; seconds and tokens are doubles. */
function tokensIn(ns: bigint, limit: number): number {
  return ns === 0n || limit === 0 ? 0 : (Number(ns / SECOND) + Number(ns % SECOND) / 1e9) * limit;
}

function timeFor(tokens: number, limit: number): bigint {
  const ns = (tokens / limit) * 1e9;
  return ns > 2 ** 63 ? FOREVER : BigInt(Math.trunc(ns));
}

/** Something that has taken tokens. */
interface Taken {
  readonly n: number;
  readonly limit: number;
  readonly act: bigint;
  /** The newest before it, and the last event, which may be unknown. */
  readonly newest: Taken | undefined;
  readonly lastEvent: bigint | undefined;
}

/**
 * The reference: Go's formulas in whole nanoseconds from the first instant, and waits that give back what they took.
 */
class Bucket {
  limit: number;
  burst: number;
  tokens: number;
  last: bigint | undefined;
  newest: Taken | undefined;
  /** The latest time to act. Unknown where the contract does not specify it after a cancel. */
  lastEvent: bigint | undefined;
  #base: number | undefined;

  constructor(limit: number, burst: number) {
    this.limit = limit;
    this.burst = this.tokens = burst;
  }

  /** Instants are whole nanoseconds apart, all of them multiples of 1/64 ms. */
  nanos(at: number): bigint {
    this.#base ??= at;
    return BigInt(Math.round((at - this.#base) * 1e6));
  }

  advance(t: bigint): number {
    const elapsed = this.last !== undefined && t > this.last ? t - this.last : 0n;
    return Math.min(this.tokens + tokensIn(elapsed, this.limit), this.burst);
  }

  settle(t: bigint): void {
    this.tokens = this.advance(t);
    this.last = t;
  }

  /** Takes n tokens of a finite limit at t; undefined, with nothing changed, if the wait is over `most`. */
  take(n: number, t: bigint, most: bigint): Taken | undefined {
    const tokens = this.advance(t) - n;
    const wait = tokens < 0 ? timeFor(-tokens, this.limit) : 0n;
    if (n > this.burst || wait > most) return undefined;
    const act = wait === FOREVER ? FOREVER : t + wait;
    const taken = { n, limit: this.limit, act, newest: this.newest, lastEvent: this.lastEvent };
    this.last = t;
    this.tokens = tokens;
    this.newest = taken;
    this.lastEvent = act;
    return taken;
  }

  /** How many tokens Go gives back, before they are limited to the burst. */
  restored({ n, act, limit }: Taken, t: bigint): number {
    if (this.limit === Inf || n === 0 || act < t || this.lastEvent === undefined) return 0;
    return Math.max(n - tokensIn(this.lastEvent - act, limit), 0);
  }

  /** A reservation's cancel: Go's, to the bit. */
  cancel(taken: Taken, t: bigint): void {
    const restored = this.restored(taken, t);
    if (restored === 0) return;
    this.tokens = Math.min(this.advance(t) + restored, this.burst);
    this.last = t;
    if (taken.act !== this.lastEvent) return;
    // Another may have the same time to act, and is then not the last either.
    this.newest = undefined;
    const previous = taken.act - timeFor(taken.n, taken.limit);
    if (previous >= t) this.lastEvent = previous;
  }

  /**
   * Waits that one cancel ends at t, newest first. Those that are the newest of all leave no trace. The others give
   * back at least as much as in Go, but never more than they took. Returns how many tokens come back, and whether all
   * were the newest.
   */
  undo(waits: readonly Taken[], t: bigint): { least: number; most: number; clean: boolean } {
    let least = 0;
    let most = 0;
    let clean = true;
    for (const wait of waits) {
      if (wait === this.newest && this.limit !== Inf && wait.act >= t) {
        least += wait.n;
        most += wait.n;
        this.newest = wait.newest;
        this.lastEvent = wait.lastEvent;
      } else {
        const go = this.restored(wait, t);
        clean = false;
        // Go gives back more if a later reservation is due earlier.
        least += Math.min(go, wait.n);
        most += wait.n;
        this.newest = undefined;
        this.lastEvent = undefined;
      }
    }
    return { least, most, clean };
  }
}

/** A pending wait. */
interface Waiting {
  readonly id: number;
  readonly taken: Taken;
  readonly exit: Exit;
  readonly cancel: Cancel;
  readonly watched: Watched;
  /** Epoch milliseconds before which it must not resolve. */
  readonly when: number;
}

/**
 * The kind of numbers in a program. With exact ones every quantity is a multiple of a power of two, so that sums have
 * no error and the tokens after a cancelled wait are compared exactly. "rough" has any limits and instants, and
 * "moving" a clock that is a little later at each reading.
 */
type Sort = "exact" | "rough" | "moving";

async function limiterProgram(_seed: number, rnd: Random, program: Program): Promise<void> {
  const { log } = program;
  const sort = rnd.pick<Sort>(["exact", "rough", "moving"]);
  vi.useFakeTimers({ now: 1_700_000_000_000 + rnd.int(0, 1e9) });
  if (sort === "moving") {
    const { performance } = globalThis;
    const read = performance.now.bind(performance);
    let ahead = 0;
    performance.now = () => {
      ahead += rnd.int(0, 4) / 64;
      return read() + ahead;
    };
  }
  const tick = 125 / 64; // 1/512 s, and a whole number of nanoseconds.
  const limits =
    sort === "exact" ? [0.25, 1, 2, 8, 64, 512] : [0.1, 0.7, 3, 10, 10, 33, 100, 1000 / 7, 999.9, 12345.678];
  const anyLimit = () => (rnd.bool(0.12) ? rnd.pick([0, Inf]) : rnd.pick(limits));
  const anyBurst = () => rnd.pick([0, 1, 1, 2, 3, 5, 10, 40]);
  const limit = anyLimit();
  const burst = anyBurst();
  log(`${sort} clock, limit ${limit}, burst ${burst}`);
  const limiter = new Limiter(limit, burst);
  const bucket = new Bucket(limit, burst);
  const exits = new Exits(rnd);
  const reservations: { readonly id: number; readonly real: Reservation; readonly taken: Taken }[] = [];
  let waiting: Waiting[] = [];
  /** The checks when all is quiet. */
  let checks: (() => void)[] = [];
  let ids = 0;
  let cancelledAt = Number.NEGATIVE_INFINITY;
  // How far the clock may move between a reading and the operation.
  const edge = sort === "moving" ? 1 : 0;
  // How late a timer may be: it does not know how far the clock has moved since it was armed.
  const late = sort === "moving" ? 10 : 1e-3;

  /** The instant of an operation: now, or, where that is safe, some time before or after. */
  const instant = (): number => {
    const t = now();
    const scale = sort === "exact" ? tick : rnd.pick([0.25, 1, 3.5, 100]);
    if (rnd.bool(0.85)) return t;
    // Not before a cancel of a wait: whether the bucket remembers its instant is not specified.
    return Math.max(t + rnd.int(-20, waiting.length > 0 ? 0 : 20) * scale, cancelledAt);
  };
  /** Omitted where the limiter's own reading is the same. */
  const given = (at: number): [] | [number] => (sort !== "moving" && at === now() && rnd.bool(0.5) ? [] : [at]);

  const compare = (): void => {
    const at = now();
    same(limiter.tokens(...given(at)), bucket.advance(bucket.nanos(at)), "tokens");
    same(limiter.limit(), bucket.limit, "limit");
    same(limiter.burst(), bucket.burst, "burst");
  };

  const allow = (): void => {
    const n = rnd.int(waiting.length > 0 ? 1 : 0, 4);
    const at = instant();
    log(`allow ${n} at ${at}`);
    const t = bucket.nanos(at);
    const expected = bucket.limit === Inf || bucket.take(n, t, 0n) !== undefined;
    same(limiter.allow(n, ...given(at)), expected, "allow");
  };

  const reserve = (): void => {
    const n = rnd.int(waiting.length > 0 ? 1 : 0, rnd.bool(0.1) ? 45 : 5);
    const at = instant();
    const t = bucket.nanos(at);
    const id = ids++;
    log(`${id}: reserve ${n} at ${at}`);
    const real = limiter.reserve(n, ...given(at));
    const free = { n, limit: 0, act: t, newest: undefined, lastEvent: undefined };
    const taken = bucket.limit === Inf ? free : bucket.take(n, t, FOREVER);
    same(real.ok, taken !== undefined, "ok");
    const later = at + rnd.int(0, 30) * tick;
    for (const look of [at, later]) {
      const rest = taken === undefined || taken.act === FOREVER ? FOREVER : taken.act - bucket.nanos(look);
      const delay = rest === FOREVER ? Number.POSITIVE_INFINITY : Number(rest > 0n ? rest : 0n) / 1e6;
      same(real.delay(look), delay, "delay");
    }
    if (taken !== undefined) reservations.push({ id, real, taken });
    else real.cancel(); // Changes nothing.
  };

  const cancelReservation = (): void => {
    // Mostly newest first, which gives back the most.
    const at = rnd.bool(0.6) ? reservations.length - 1 : rnd.int(0, reservations.length - 1);
    const one = reservations[at];
    if (one === undefined || bucket.lastEvent === undefined) return;
    // How a reservation without a limit, or with a limit of 0, changes the last event is not specified.
    if (one.taken.limit === 0 && one.taken.act === bucket.lastEvent) return;
    const when = instant();
    log(`${one.id}: cancelled at ${when}`);
    bucket.cancel(one.taken, bucket.nanos(when));
    one.real.cancel(...given(when));
    if (rnd.bool(0.7)) reservations.splice(at, 1);
  };

  const wait = (): void => {
    const at = now();
    const t = bucket.nanos(at);
    // No wait where the clock has gone back: two instants would be possible for its cancel.
    if (bucket.last !== undefined && t < bucket.last) return;
    const n = rnd.int(1, rnd.bool(0.1) ? 45 : 4);
    const exit = rnd.pick(exits.all);
    const cancel = exits.cancelOf(exit);
    const id = ids++;
    log(`${id}: wait ${n} ${exit.name} ${"aborted" in cancel ? "signal" : "ctx"} at ${at}`);
    const watched = watch(limiter.wait(cancel, n, ...given(at)));
    const name = `wait ${id}`;
    if (n > bucket.burst && bucket.limit !== Inf) {
      checks.push(() => same(watched.reason instanceof RangeError, true, `${name}: a RangeError`));
      return;
    }
    if (exit.ended) {
      checks.push(() => same(watched.state === "rejected" && watched.reason, reasonOf(cancel), `${name}: reason`));
      return;
    }
    if (bucket.limit === Inf) {
      checks.push(() => same(watched.state, "fulfilled", name));
      return;
    }
    const deadline = exit.deadline === undefined ? FOREVER : bucket.nanos(exit.deadline) - t;
    const taken = bucket.take(n, t, deadline);
    if (taken === undefined) {
      checks.push(() => same(is(watched.reason, DeadlineExceeded), true, `${name}: is DeadlineExceeded`));
      return;
    }
    if (taken.act <= t) checks.push(() => same(watched.state, "fulfilled", name));
    else {
      const when = taken.act === FOREVER ? Number.POSITIVE_INFINITY : at + Number(taken.act - t) / 1e6;
      waiting.push({ id, taken, exit, cancel, watched, when });
    }
  };

  /** Lets time pass, up to a millisecond more than is due, because timers round up. */
  const advance = async (by: number): Promise<void> => {
    const unit = sort === "exact" ? tick : 1;
    let ms = by;
    const isNear = (at: number | undefined, t: number) =>
      at !== undefined && at <= t + 2 * edge && at > t - unit - 2 * edge;
    const anyNear = (t: number) =>
      waiting.some((w) => isNear(w.when, t)) || exits.all.some((e) => isNear(e.deadline, t));
    while (anyNear(now() + ms)) ms += unit;
    log(`${ms} ms pass`);
    for (const exit of exits.all) if (exit.deadline !== undefined && exit.deadline <= now() + ms) exits.mark(exit);
    vi.advanceTimersByTime(ms);
    await turns(3);
    const t = now();
    waiting = waiting.filter((w) => {
      // At the very instant of the deadline of its context, the one that was armed first has ended it.
      const isTie = w.exit.deadline !== undefined && Math.abs(w.exit.deadline - w.when) < 1e-3;
      if (isTie && w.when <= t && w.watched.state === "rejected") return false;
      if (w.when <= t - late) same(w.watched.state, "fulfilled", `wait ${w.id} of ${w.when} at ${t}`);
      else if (w.when > t + 1e-3) same(w.watched.state, "pending", `wait ${w.id} of ${w.when} at ${t}`);
      return w.watched.state === "pending";
    });
  };

  /** Ends an exit, unless one of its waits is due just now on a clock that moves. */
  const end = (exit: Exit): void => {
    if (exit.ended || waiting.some((w) => isUnder(w.exit, exit) && w.when <= now() + edge)) return;
    const ended = exits.mark(exit);
    const gone = waiting.filter((w) => ended.includes(w.exit));
    waiting = waiting.filter((w) => !gone.includes(w));
    log(`${exit.name} ends, with ${gone.map((w) => w.id).join(" ")}`);
    const t = bucket.nanos(now());
    exit.end();
    for (const { cancel, watched, id } of gone)
      checks.push(() => same(watched.state === "rejected" && watched.reason, reasonOf(cancel), `wait ${id}: reason`));
    if (gone.length === 0) return;
    const { least, most, clean } = bucket.undo(gone.map((w) => w.taken).reverse(), t);
    const at = now();
    cancelledAt = at;
    const { tokens } = bucket;
    // Go's formula may have left a number of tokens that is not a multiple of a power of two.
    if (sort === "exact" && clean && Number.isInteger(tokens * 2 ** 30)) {
      bucket.tokens = Math.min(tokens + most, bucket.burst);
      return;
    }
    // Sums of doubles, and instants that only the limiter has read: compared within rounding, then copied.
    const error = (bucket.burst + 1) * 1e-9 + (bucket.limit === Inf ? 0 : bucket.limit * 4e-9);
    for (const look of [at, at + 10, at + 1000]) {
      const held = limiter.tokens(look);
      const from = bucket.advance(bucket.nanos(look));
      const [low, high] = [Math.min(from + least, bucket.burst), Math.min(from + most, bucket.burst)];
      holds(held >= low - error && held <= high + error, `${held} tokens after a cancel, expected ${low} to ${high}`);
    }
    limiter.setLimit(bucket.limit, at);
    bucket.settle(bucket.nanos(at));
    bucket.tokens = limiter.tokens(at);
  };

  const step = async (): Promise<void> => {
    const what = rnd.int(0, 19);
    if (what < 2) allow();
    else if (what < 4) reserve();
    else if (what < 6) cancelReservation();
    else if (what < 12) for (let n = rnd.pick([1, 1, 2, 4]); n > 0; n--) wait();
    else if (what < 15) end(rnd.pick(exits.all));
    else if (what < 16) {
      const at = instant();
      const to = anyLimit();
      log(`limit ${to} at ${at}`);
      limiter.setLimit(to, ...given(at));
      bucket.settle(bucket.nanos(at));
      bucket.limit = to;
    } else if (what < 17) {
      const at = instant();
      const to = anyBurst();
      log(`burst ${to} at ${at}`);
      limiter.setBurst(to, ...given(at));
      bucket.settle(bucket.nanos(at));
      bucket.burst = to;
    } else if (what < 18) exits.renew();
    else await advance(rnd.int(1, 200) * (sort === "exact" ? tick : rnd.pick([0.25, 1, 3.5, 20])));
    compare();
  };

  const quiet = async (): Promise<void> => {
    await turns(3);
    for (const check of checks) check();
    checks = [];
    waiting = waiting.filter(({ watched, id, when }) => {
      // A later call has served it before the host's timer: its time has come on a clock that moves.
      if (watched.state === "fulfilled" && when <= now()) return false;
      same(watched.state, "pending", `wait ${id}`);
      return true;
    });
  };

  compare();
  for (let left = program.length(30); left > 0; left--) {
    for (let ops = rnd.int(1, 3); ops > 0; ops--) await step();
    await quiet();
  }
  for (const exit of rnd.shuffle([...exits.all])) {
    await advance(0);
    end(exit);
    same(exit.ended, true, "ended");
  }
  await quiet();
  compare();
}

explore("rate limiter", limiterProgram, { quick: 350 });
