/**
 * Groups, scopes, map and forEach: random programs with hostile tasks and sources and cancels anywhere, against a list
 * of the running tasks and of the possible first errors.
 */
import { EventEmitter, once, setMaxListeners } from "node:events";
import { background, type Context, cause, withCancel } from "gopark/context";
import { Group, scope, withContext } from "gopark/errgroup";
import { expect, vi } from "vitest";
import { anyExit, type Exit, reasonOf } from "../support/exit.ts";
import type { Random } from "../support/random.ts";
import { holds, same } from "../support/same.ts";
import { runners } from "../support/source.ts";
import { turns } from "../support/turn.ts";
import { type Watched, watch } from "../support/watch.ts";
import { explore, type Program } from "./explore.ts";

/** Whether an error is a context's error, or was made from it. */
function comesFrom(error: unknown, end: unknown): boolean {
  for (let e = error, left = 10; left > 0; left--) {
    if (e === end) return true;
    if (!(e instanceof Error)) return false;
    e = e.cause;
  }
  return false;
}

/** The errors that may be the first. If several come in one turn, the first of them is not specified. */
class First {
  readonly #candidates: { readonly what: string; readonly is: (error: unknown) => boolean }[] = [];
  #round = 0;
  #known: { readonly error: unknown } | undefined;

  get any(): boolean {
    return this.#candidates.length > 0;
  }

  /** Whether only one error is possible. */
  get isOne(): boolean {
    return this.#candidates.length === 1;
  }

  /** Whether one came in an earlier turn, so that no later one can be first. */
  isOver(round: number): boolean {
    return this.any && this.#round !== round;
  }

  add(round: number, what: string, is: (error: unknown) => boolean): void {
    if (this.isOver(round)) return;
    this.#round = round;
    this.#candidates.push({ what, is });
  }

  /** Fails unless the error is one that may be the first, and the same each time. */
  check(error: unknown, where: string): void {
    if (this.#known !== undefined) same(error, this.#known.error, where);
    else if (!this.#candidates.some(({ is }) => is(error))) {
      expect.fail(`${where}: got ${String(error)}, expected ${this.#candidates.map((c) => c.what).join(" or ")}`);
    }
    this.#known = { error };
  }
}

// --- Tasks ---

type Plan =
  | "held"
  | "value"
  | "promise"
  | "thenable"
  | "throw"
  | "reject"
  | "thenThrows"
  | "thenRejects"
  /** Those that end when the context does: with its error, with its cause, and as Node's own functions do. */
  | "err"
  | "cause"
  | "native";

const PLANS: readonly Plan[] = ["value", "promise", "thenable", "throw", "reject", "thenThrows", "thenRejects"];

/** Errors of tasks: the program's, undefined, and errors of other contexts. */
function anyError(rnd: Random, id: number): unknown {
  const foreign = () => {
    const [ctx, cancel] = withCancel(background());
    cancel(new Error("foreign"));
    return rnd.bool(0.5) ? ctx.err() : new DOMException("foreign", "AbortError");
  };
  return rnd.pick([() => new Error(`failure ${id}`), () => new Error(`failure ${id}`), () => undefined, foreign])();
}

interface Job {
  readonly id: number;
  readonly plan: Plan;
  readonly error: unknown;
  runs: number;
  /** In the reference: waits to start, runs, or has ended. */
  state: "waiting" | "running" | "over" | "never";
  /** In the reference: whether it holds a slot. */
  slot: boolean;
  readonly exit: Exit | undefined;
  watched: Watched;
  resolve: () => void;
  reject: (error: unknown) => void;
}

function newJob(id: number, plan: Plan, error: unknown, exit?: Exit): Job {
  return {
    id,
    plan,
    error,
    exit,
    runs: 0,
    state: "never",
    slot: false,
    watched: { state: "pending", value: undefined, reason: undefined },
    resolve: () => {},
    reject: () => {},
  };
}

/** The behaviour of a task. */
function work(job: Job, ctx: Context | undefined): unknown {
  job.runs++;
  const { error } = job;
  switch (job.plan) {
    case "held":
      return new Promise<void>((resolve, reject) => {
        job.resolve = resolve;
        job.reject = reject;
      });
    case "value":
      return job.id;
    case "promise":
      return Promise.resolve(job.id);
    case "thenable":
      return {
        then: (resolve: (value: unknown) => void) => {
          resolve(job.id);
          resolve("again");
          throw new Error("too late to matter");
        },
      };
    case "throw":
      throw error;
    case "reject":
      return Promise.reject(error);
    case "thenThrows":
      return {
        get then() {
          throw error;
        },
      };
    case "thenRejects":
      return { then: (_: unknown, reject: (error: unknown) => void) => reject(error) };
    case "err":
    case "cause":
    case "native": {
      const given = ctx as Context;
      const emitter = new EventEmitter();
      setMaxListeners(0, given.signal);
      job.resolve = () => emitter.emit("go on");
      job.reject = (reason) => emitter.emit("error", reason);
      const answer = once(emitter, "go on", { signal: given.signal });
      if (job.plan === "native") return answer;
      return answer.catch((reason) => {
        throw given.signal.aborted ? (job.plan === "err" ? given.err() : cause(given)) : reason;
      });
    }
  }
}

const fails = (plan: Plan) => plan === "throw" || plan === "reject" || (plan.startsWith("then") && plan !== "thenable");
const isHeld = (plan: Plan) => plan === "held" || isDerived(plan);
const isDerived = (plan: Plan) => plan === "err" || plan === "cause" || plan === "native";

/** The reference for a group. */
class Model {
  limit = Number.POSITIVE_INFINITY;
  round = 0;
  readonly first = new First();
  readonly running = new Set<Job>();
  waiting: Job[] = [];
  /** The waits for the end. */
  waiters: { readonly watched: Watched; readonly exit: Exit | undefined }[] = [];
  /** The waits that have been settled, to be checked when all is quiet. */
  settled: { readonly watched: Watched; readonly ok: boolean }[] = [];
  failureDelivered = false;
  /** The error that ended the context. */
  ended: "parent" | "failure" | "wait" | "dispose" | "body" | undefined;
  readonly ctx: Context | undefined;

  constructor(ctx: Context | undefined) {
    this.ctx = ctx;
  }

  get slots(): number {
    return [...this.running].filter((job) => job.slot).length;
  }

  start(job: Job): void {
    job.state = "running";
    job.slot = this.limit !== Number.POSITIVE_INFINITY;
    this.running.add(job);
  }

  admit(): void {
    while (this.slots < this.limit) {
      const job = this.waiting.shift();
      if (job === undefined) return;
      this.start(job);
    }
  }

  /** A task ends, with an error if there is one. */
  end(job: Job, error?: { readonly what: string; readonly is: (error: unknown) => boolean }): void {
    job.state = "over";
    this.running.delete(job);
    if (error !== undefined) {
      this.first.add(this.round, error.what, error.is);
      this.ended ??= "failure";
    }
    this.admit();
    if (this.running.size === 0) for (const waiter of this.waiters.splice(0)) this.settleWait(waiter.watched);
  }

  settleWait(watched: Watched): void {
    this.settled.push({ watched, ok: !this.first.any });
    this.failureDelivered ||= this.first.any;
    this.ended ??= "wait";
  }

  /** Ends the tasks that end by themselves or with the context. */
  settle(): void {
    const { ctx } = this;
    for (let moved = true; moved; ) {
      moved = false;
      for (const job of [...this.running]) {
        if (!isHeld(job.plan)) {
          const { error } = job;
          this.end(job, fails(job.plan) ? { what: String(error), is: (e) => Object.is(e, error) } : undefined);
        } else if (isDerived(job.plan) && this.ended !== undefined) {
          // The cause of the context's end came before, so an error that results from the end is not the first.
          const is = (e: unknown) => job.plan === "cause" || comesFrom(e, ctx?.err());
          this.end(job, this.ended === "failure" ? undefined : { what: `${job.plan} of the context`, is });
        } else continue;
        moved = true;
      }
    }
  }
}

async function groupProgram(_seed: number, rnd: Random, program: Program): Promise<void> {
  vi.useFakeTimers();
  const { log } = program;
  const parent = anyExit(rnd);
  const [group, ctx] = rnd.bool(0.8) ? withContext(parent.cancel) : [new Group(), undefined];
  const model = new Model(ctx);
  const jobs: Job[] = [];
  const exits: Exit[] = [];
  let failRate = rnd.pick([0, 0.1, 0.4]);
  const derivedRate = rnd.pick([0, 0, 0.3]);
  const order: Job[] = [];
  const expectedOrder: Job[] = [];
  log(`a group ${ctx === undefined ? "without a context" : "with a context"}`);

  const exit = (): Exit | undefined => {
    if (rnd.bool(0.5)) return undefined;
    const known = exits.length > 0 && rnd.bool(0.5) ? rnd.pick(exits) : anyExit(rnd);
    if (!exits.includes(known)) exits.push(known);
    return known;
  };

  const makeJob = (by: Exit | undefined): Job => {
    const id = jobs.length;
    const derived = ctx !== undefined && model.ended === undefined && rnd.bool(derivedRate);
    const settled: Plan = rnd.pick(PLANS.filter((p) => !fails(p) || rnd.bool(failRate)).concat("value"));
    const plan = derived ? rnd.pick(["err", "cause", "native"] as const) : rnd.bool(0.6) ? "held" : settled;
    const job = newJob(id, plan, anyError(rnd, id), by);
    jobs.push(job);
    return job;
  };
  const task = (job: Job, inCall: { on: boolean }) => () => {
    holds(!inCall.on, `task ${job.id} ran inside the call`);
    order.push(job);
    return work(job, ctx);
  };

  const go = (): void => {
    const by = exit();
    const job = makeJob(by);
    log(`go ${job.id} ${job.plan}${by === undefined ? "" : by.ended ? ", exit ended" : ", exit"}`);
    const inCall = { on: true };
    const promise = group.go(task(job, inCall), ...(by === undefined ? [] : [by.cancel]));
    inCall.on = false;
    job.watched = watch(promise);
    if (by?.ended) return;
    if (model.slots < model.limit) model.start(job);
    else {
      job.state = "waiting";
      model.waiting.push(job);
      expectedOrder.push(job);
    }
  };

  const tryGo = (): void => {
    const job = makeJob(undefined);
    log(`tryGo ${job.id} ${job.plan}`);
    const inCall = { on: true };
    const free = model.slots < model.limit;
    same(group.tryGo(task(job, inCall)), free, "tryGo");
    inCall.on = false;
    job.watched = watch(Promise.resolve());
    if (free) model.start(job);
  };

  const finish = (): void => {
    const held = [...model.running].filter((job) => isHeld(job.plan) && job.runs > 0);
    if (held.length === 0) return;
    const job = rnd.pick(held);
    if (isDerived(job.plan) && model.ended !== undefined) return;
    const { error } = job;
    if (rnd.bool(failRate)) {
      log(`task ${job.id} fails: ${String(error)}`);
      job.reject(error);
      // Its end comes some microtasks later. The reference may settle it now: nothing else looks before the turn is
      // over.
      ending.push(() => model.end(job, { what: String(error), is: (e) => Object.is(e, error) }));
    } else {
      log(`task ${job.id} ends`);
      job.resolve();
      ending.push(() => model.end(job));
    }
  };
  let finalError: { readonly error: unknown } | undefined;
  let ending: (() => void)[] = [];

  const wait = (by: Exit | undefined): void => {
    log(`wait${by === undefined ? "" : by.ended ? ", exit ended" : ", exit"}`);
    const watched = watch(group.wait(...(by === undefined ? [] : [by.cancel])));
    if (by?.ended) checks.push(() => same(watched.state === "rejected" && watched.reason, reasonOf(by.cancel), "wait"));
    else if (model.running.size === 0) model.settleWait(watched);
    else model.waiters.push({ watched, exit: by });
  };
  let checks: (() => void)[] = [];

  const end = (by: Exit): void => {
    if (by.ended) return;
    by.ended = true;
    const reason = rnd.bool(0.3) ? new Error("a reason") : undefined;
    by.end(reason);
    log(by === parent ? "the parent ends" : "an exit ends");
    if (by === parent) {
      if (ctx !== undefined) model.ended ??= "parent";
      return;
    }
    for (const job of model.waiting.filter((j) => j.exit === by)) job.state = "never";
    model.waiting = model.waiting.filter((j) => j.exit !== by);
    for (const { watched } of model.waiters.filter((w) => w.exit === by)) {
      checks.push(() => same(watched.state === "rejected" && watched.reason, reasonOf(by.cancel), "wait: reason"));
    }
    model.waiters = model.waiters.filter((w) => w.exit !== by);
  };

  const setLimit = (): void => {
    const n = rnd.pick([-1, 0, 1, 1, 2, 3]);
    const refused = n >= 0 && model.slots > 0;
    log(`limit ${n}${refused ? ", refused" : ""}`);
    const text = `errgroup: modify limit while ${model.slots} goroutines in the group are still active`;
    if (refused) {
      expect(() => group.setLimit(n)).toThrow(text);
      return;
    }
    group.setLimit(n);
    model.limit = n < 0 ? Number.POSITIVE_INFINITY : n;
    model.admit();
  };

  const quiet = async (): Promise<void> => {
    await turns(3);
    for (const one of ending) one();
    ending = [];
    model.settle();
    for (const check of checks) check();
    checks = [];
    for (const { watched, ok } of model.settled) {
      same(watched.state, ok ? "fulfilled" : "rejected", "wait");
      if (!ok) model.first.check(watched.reason, "wait");
    }
    model.settled = [];
    for (const { watched } of model.waiters) same(watched.state, "pending", "wait");
    for (const job of jobs) {
      const name = `task ${job.id} ${job.plan}`;
      const { state, watched } = job;
      same(job.runs, state === "running" || state === "over" ? 1 : 0, `${name}: runs`);
      const refused = state === "never" && job.exit?.ended;
      const pending = state === "waiting";
      same(watched.state, pending ? "pending" : refused ? "rejected" : "fulfilled", `${name}: go`);
      if (refused) same(watched.reason, job.exit && reasonOf(job.exit.cancel), `${name}: reason`);
    }
    if (ctx !== undefined) {
      same(ctx.err() !== undefined, model.ended !== undefined, "whether the context has ended");
      if (model.ended === "failure") {
        const why = cause(ctx);
        // With an error of undefined the cause is the context's own error.
        if (why !== ctx.err()) model.first.check(why, "the cause of the context");
      }
      if (model.ended === "parent" && !("aborted" in parent.cancel)) same(ctx.err(), parent.cancel.err(), "err");
    }
    // The tasks that waited for a slot have started in order.
    const waited = order.filter((job) => expectedOrder.includes(job));
    const started = expectedOrder.filter((job) => job.state === "running" || job.state === "over");
    for (let i = 0; i < Math.max(waited.length, started.length); i++) {
      same(waited[i]?.id, started[i]?.id, `start ${i} of those that waited`);
    }
  };

  if (rnd.bool(0.6)) setLimit();
  for (let left = program.length(15); left > 0; left--) {
    for (let ops = rnd.int(1, 4); ops > 0; ops--) {
      const what = rnd.int(0, 15);
      if (what < 6) go();
      else if (what < 8) tryGo();
      else if (what < 11) {
        // Another event in that turn might come before the task's end or after it.
        finish();
        break;
      } else if (what < 12) wait(exit());
      else if (what < 13) setLimit();
      else if (what < 15 && exits.length > 0) end(rnd.pick(exits));
      else if (rnd.bool(0.3)) end(parent);
    }
    await quiet();
  }

  // The end: no limit, and either a wait or a dispose.
  if (rnd.bool(0.5)) {
    group.setLimit(-1);
    model.limit = Number.POSITIVE_INFINITY;
    model.admit();
  } else for (const by of exits) end(by);
  for (const job of model.waiting.splice(0)) {
    // Under a limit of 0 they would never run.
    group.setLimit(-1);
    model.limit = Number.POSITIVE_INFINITY;
    model.waiting.unshift(job);
    model.admit();
  }
  await quiet();
  const disposed = ctx !== undefined && rnd.bool(0.6);
  log(disposed ? "dispose" : "the last wait");
  // Without an exit: an error that no wait has rejected with would be reported once the group is collected.
  if (!disposed) wait(undefined);
  failRate = rnd.pick([failRate, 0.6]);
  const { any } = model.first;
  const before = model.ended;
  const delivered = model.failureDelivered;
  const last = disposed ? watch(group[Symbol.asyncDispose]()) : undefined;
  if (disposed) model.ended ??= "dispose";
  await quietAfter();
  while (model.running.size > 0) {
    if (last !== undefined) same(last.state, "pending", "dispose while a task runs");
    finish();
    await quietAfter();
  }
  if (last !== undefined) {
    if (last.state === "rejected") model.first.check(last.reason, "dispose");
    // Its own cancel ended the context, and made the tasks fail.
    const ours = !any && model.first.any && comesFrom(ctxErrorOf(), ctx?.err());
    if (any) same(last.state, delivered ? "fulfilled" : "rejected", "dispose of a group that had failed");
    else if (!model.first.any) same(last.state, "fulfilled", "dispose of a group without an error");
    else if (ours && before === undefined) same(last.state, "fulfilled", "dispose, whose cancel the tasks failed with");
    else if (!ours) same(last.state, "rejected", "dispose, with an error that its cancel did not make");
  } else same(model.waiters.length, 0, "waits");
  for (const by of exits) end(by);
  end(parent);
  await turns(3);

  function ctxErrorOf(): unknown {
    return finalError?.error;
  }

  /** Like `quiet`, then reads the group's error, which stays. */
  async function quietAfter(): Promise<void> {
    await quiet();
    if (model.running.size > 0 || last === undefined) return;
    finalError = await group.wait().then(
      () => undefined,
      (error) => ({ error }),
    );
    same(finalError !== undefined, model.first.any, "whether the group has an error");
    if (finalError !== undefined) model.first.check(finalError.error, "the group's error");
  }
}

explore("errgroup", groupProgram, { quick: 200 });

// --- Scope ---

type Body = "held" | "value" | "throw" | "wait" | "err" | "cause" | "native";

async function scopeProgram(_seed: number, rnd: Random, program: Program): Promise<void> {
  const { log } = program;
  const parent = anyExit(rnd);
  const kind = rnd.pick<Body>(["held", "held", "value", "throw", "wait", "err", "cause", "native"]);
  const failRate = rnd.pick([0, 0.3, 0.6]);
  const jobs: Job[] = [];
  const bodyError = anyError(rnd, -1);
  let model = undefined as unknown as Model;
  let group = undefined as unknown as Group;
  let open: (value: string) => void = () => {};
  let fail: (error: unknown) => void = () => {};
  log(`body ${kind}`);

  const start = (): void => {
    const id = jobs.length;
    const plan = rnd.bool(0.8)
      ? rnd.pick<Plan>(["held", "err", "cause", "native"])
      : rnd.pick(PLANS.filter((p) => !fails(p) || rnd.bool(failRate)).concat("value"));
    const job = newJob(id, plan, anyError(rnd, id));
    jobs.push(job);
    log(`go ${id} ${plan}`);
    job.watched = watch(group.go(() => work(job, model.ctx)));
    model.start(job);
  };

  const body = (g: Group, ctx: Context): unknown => {
    model = new Model(ctx);
    group = g;
    for (let n = rnd.int(0, 4); n > 0; n--) start();
    switch (kind) {
      case "held":
        return new Promise<string>((resolve, reject) => {
          open = resolve;
          fail = reject;
        });
      case "value":
        return "answer";
      case "throw":
        throw bodyError;
      case "wait":
        return g.wait().then(() => "answer");
      default: {
        const emitter = new EventEmitter();
        open = () => emitter.emit("go on");
        fail = (error) => emitter.emit("error", error);
        const answer = once(emitter, "go on", { signal: ctx.signal }).then(() => "answer");
        if (kind === "native") return answer;
        return answer.catch((error) => {
          throw ctx.err() === undefined ? error : kind === "err" ? ctx.err() : cause(ctx);
        });
      }
    }
  };
  const done = watch(scope(parent.cancel, body));

  /** How the body ended, if it has. */
  let over: "value" | "error" | "wait" | "derived" | undefined;
  let endedBefore: Model["ended"];
  if (kind === "value") over = "value";
  if (kind === "throw") {
    over = "error";
    model.ended ??= "body";
  }

  const quiet = async (): Promise<void> => {
    await turns(3);
    model.settle();
    const { ended, running, first, ctx } = model;
    if (kind === "wait" && running.size === 0 && over === undefined) {
      over = first.any ? "wait" : "value";
      model.ended ??= "wait";
    }
    if (over === undefined && ended !== undefined && (kind === "err" || kind === "cause" || kind === "native")) {
      over = "derived";
      endedBefore = ended;
    }
    for (const job of jobs) same(job.runs, 1, `task ${job.id}: runs`);
    const pending = over === undefined || running.size > 0;
    same(done.state === "pending", pending, `the scope is pending, body ${over}, ${running.size} run`);
    if (pending) same(ctx?.err() !== undefined, model.ended !== undefined, "whether the context has ended");
    if (pending) return;
    same(ctx?.err() !== undefined, true, "the context has ended");
    if (over === "value") {
      same(done.state, first.any ? "rejected" : "fulfilled", "the scope");
      if (first.any) first.check(done.reason, "the scope");
      else same(done.value, "answer", "the scope's value");
      return;
    }
    same(done.state, "rejected", "the scope");
    if (over === "error") same(done.reason, bodyError, "the body's error");
    else if (over === "wait" || endedBefore === "failure") first.check(done.reason, "the task's error");
    // If the parent ended, the body's error and those of tasks are made from the parent's.
    else if (kind !== "cause" && !first.any) holds(comesFrom(done.reason, ctx?.err()), "the end of the context");
  };

  await quiet();
  for (let left = program.length(12); left > 0 && done.state === "pending"; left--) {
    const held = [...model.running].filter((job) => isHeld(job.plan));
    model.round++;
    if (held.length > 0 && rnd.bool(0.5)) {
      const job = rnd.pick(held);
      const { error } = job;
      if (rnd.bool(failRate)) {
        log(`task ${job.id} fails: ${String(error)}`);
        job.reject(error);
        model.end(job, { what: String(error), is: (e) => Object.is(e, error) });
      } else {
        log(`task ${job.id} ends`);
        job.resolve();
        model.end(job);
      }
    } else if (rnd.bool(0.3) && over === undefined) start();
    else if (rnd.bool(0.2) && !parent.ended) {
      log("the parent ends");
      parent.ended = true;
      parent.end();
      model.ended ??= "parent";
    } else if (over === undefined && kind !== "wait") {
      log("the body ends");
      const ok = rnd.bool(0.5);
      over = ok ? "value" : "error";
      if (ok) open("answer");
      else {
        fail(bodyError);
        model.ended ??= "body";
      }
    }
    await quiet();
  }
  model.round++;
  log("everything ends");
  parent.ended = true;
  parent.end();
  model.ended ??= "parent";
  for (const job of [...model.running].filter((j) => j.plan === "held")) {
    job.resolve();
    model.end(job);
  }
  if (over === undefined && kind === "held") {
    open("answer");
    over = "value";
  }
  await quiet();
  same(done.state === "pending", false, "the scope is pending at the end");
}

explore("scope", scopeProgram, { quick: 150 });

// --- map and forEach ---

/** A call of fn. */
interface Call extends Job {
  readonly item: unknown;
  readonly ctx: Context;
}

async function eachProgram(_seed: number, rnd: Random, program: Program): Promise<void> {
  const { log } = program;
  const parent = anyExit(rnd);
  const name = rnd.pick(["map", "forEach"] as const);
  const isAsync = rnd.bool(0.5);
  const limit = rnd.pick([1, 1, 2, 3, 5, Number.POSITIVE_INFINITY]);
  const length = rnd.pick([0, 3, 8, 8, Number.POSITIVE_INFINITY]);
  const failRate = rnd.pick([0, 0, 0.05, 0.2]);
  const cancelRate = rnd.pick([0, 0, 0.02, 0.1]);
  const heldRate = rnd.pick([0.3, 0.9]);
  const first = new First();
  let round = 0;
  let stopRound: number | undefined;
  const calls: Call[] = [];
  const expected: unknown[] = [];
  const sourceError = rnd.pick([new Error("the source failed"), undefined]);
  log(`${name} limit ${limit} over ${isAsync ? "async" : "sync"} source of ${length}`);

  /** An event that may stop the work. Events after the parent's end do not. */
  const stop = (what: string, is: (error: unknown) => boolean): void => {
    if (parent.ended && what !== "the parent") return;
    stopRound ??= round;
    first.add(round, what, is);
  };
  const stopWith = (error: unknown): void => stop(String(error), (e) => Object.is(e, error));
  const endParent = (where: string): void => {
    if (parent.ended) return;
    log(`the parent ends in ${where}`);
    parent.ended = true;
    stop("the parent", (e) => e === reasonOf(parent.cancel));
    parent.end(rnd.bool(0.5) ? new Error("a reason") : undefined);
  };
  const perhapsCancel = (where: string): void => {
    if (rnd.bool(cancelRate)) endParent(where);
  };

  // The source: its calls, and the answers that it owes.
  let nexts = 0;
  let returns = 0;
  let over = false;
  let overRound = -1;
  /** Whether it ended in a way for which it is not specified whether return() follows. */
  let either = false;
  let owed: { give(value: unknown): void; end(): void; fail(error: unknown): void } | undefined;
  let heldReturn: (() => void) | undefined;
  let returning = false;
  /** Whether it owed an answer when its return() was called; unknown where the answer came in that turn. */
  let owedThen: boolean | undefined;
  let answeredRound = -1;
  let askedRound = -1;
  /** Whether next() itself failed. */
  let threw = false;
  const returnKind = rnd.pick(["none", "ok", "ok", "throws", "rejects", "getter", "held", "number"] as const);

  const ended = (): void => {
    over = true;
    overRound = round;
  };
  const broken = (error: unknown): void => {
    ended();
    stopWith(error);
  };
  const unfinished = () => calls.filter((call) => call.state !== "over").length;
  /** Items that the source has given; not all of them have reached fn yet. */
  const item = (): unknown => {
    const value = rnd.bool(0.1) ? undefined : `item ${expected.length}`;
    expected.push(value);
    return value;
  };
  const isTypeError = () => stop("a TypeError", (e) => e instanceof TypeError);

  const ask = (): void => {
    holds(owed === undefined, "next() while it owes an answer");
    holds(!over, "next() after the end");
    holds(stopRound === undefined || stopRound === round, "next() after the work was stopped");
    holds(expected.length - calls.filter((c) => c.state === "over").length < limit, "next() without a slot");
    nexts++;
    perhapsCancel("next()");
  };

  const nextSync = (): unknown => {
    ask();
    if (expected.length >= length) {
      ended();
      return { done: true, value: "not an item" };
    }
    const broke = rnd.bool(failRate);
    const what = broke
      ? rnd.pick(["throw", "number", "done", "value", "rejects", "thenableRejects"])
      : rnd.pick(["value", "value", "promise", "held", "thenable"]);
    log(`next: ${what}`);
    switch (what) {
      case "throw":
        broken(sourceError);
        threw = !parent.ended;
        throw sourceError;
      case "number":
        ended();
        either = true;
        isTypeError();
        return 42;
      case "done":
        broken(sourceError);
        either = true;
        return {
          get done() {
            throw sourceError;
          },
        };
      case "value":
        if (!broke) return { done: rnd.bool(0.5) ? false : undefined, value: item() };
        broken(sourceError);
        either = true;
        return {
          done: false,
          get value() {
            throw sourceError;
          },
        };
      case "promise":
        return { done: false, value: Promise.resolve(item()) };
      case "thenable": {
        const value = item();
        return { done: false, value: { then: (resolve: (value: unknown) => void) => resolve(value) } };
      }
      case "rejects":
      case "thenableRejects": {
        broken(sourceError);
        either = true;
        const value = Promise.reject(sourceError);
        if (what === "rejects" && !parent.ended) return { done: false, value };
        value.catch(() => {});
        return { done: false, value: { then: value.then.bind(value) } };
      }
      default: {
        const value = new Promise((resolve, reject) => {
          owed = {
            give: (v) => resolve(v),
            end: () => resolve(item()),
            fail: (error) => {
              either = true;
              reject(error);
            },
          };
        });
        // An item that comes after the end, and was never waited for, belongs to no task.
        if (parent.ended) value.catch(() => {});
        return { done: false, value };
      }
    }
  };

  const nextAsync = (): unknown => {
    ask();
    askedRound = round;
    if (expected.length >= length) {
      ended();
      return rnd.bool(0.5) ? { done: true, value: 1 } : Promise.resolve({ done: true, value: undefined });
    }
    const broke = rnd.bool(failRate);
    const what = broke
      ? rnd.pick(["throw", "reject", "number", "done", "value", "thenableRejects"])
      : rnd.pick(["value", "answer", "promise", "thenable", "held", "held"]);
    log(`next: ${what}`);
    switch (what) {
      case "throw":
        broken(sourceError);
        threw = !parent.ended;
        throw sourceError;
      case "reject":
        broken(sourceError);
        threw = !parent.ended;
        return Promise.reject(sourceError);
      case "thenableRejects":
        broken(sourceError);
        return { then: (_: unknown, reject: (error: unknown) => void) => reject(sourceError) };
      case "number":
        ended();
        either = true;
        isTypeError();
        return Promise.resolve(42);
      case "done":
      case "value":
        if (!broke) return Promise.resolve({ done: false, value: item() });
        broken(sourceError);
        either = true;
        return Promise.resolve({
          done: false,
          get [what]() {
            throw sourceError;
          },
        });
      case "answer":
        return { done: false, value: item() };
      case "promise": {
        // A custom async iterator's promise is an item like any other.
        const value = Promise.resolve("not awaited");
        expected.push(value);
        return Promise.resolve({ done: false, value });
      }
      case "thenable": {
        const answer = { done: false, value: item() };
        return { then: (resolve: (answer: unknown) => void) => resolve(answer) };
      }
      default:
        return new Promise((resolve, reject) => {
          owed = {
            give: (value) => resolve({ done: false, value }),
            end: () => {
              ended();
              resolve({ done: true, value: undefined });
            },
            fail: (error) => reject(error),
          };
        });
    }
  };

  const iterator: { next(): unknown; return?: () => unknown } = { next: isAsync ? nextAsync : nextSync };
  const onReturn = (): unknown => {
    returns++;
    log(`return: ${returnKind}`);
    perhapsCancel("return()");
    switch (returnKind) {
      case "throws":
        throw new Error("return threw");
      case "rejects":
        return Promise.reject(new Error("return rejected"));
      case "held":
        returning = true;
        // An answer of this round may be on its way: some microtasks decide.
        owedThen = answeredRound === round || askedRound === round ? undefined : owed !== undefined;
        return new Promise((resolve) => {
          heldReturn = () => {
            returning = false;
            heldReturn = undefined;
            resolve({ done: true, value: undefined });
          };
        });
      case "number":
        return 42;
      default:
        return { done: true, value: undefined };
    }
  };
  if (returnKind === "getter") {
    Object.defineProperty(iterator, "return", {
      get() {
        returns++;
        throw new Error("return cannot be read");
      },
    });
  } else if (returnKind !== "none") iterator.return = onReturn;

  let opened = 0;
  const openKind = rnd.bool(0.03) ? rnd.pick(["getter", "throws"] as const) : "ok";
  const open = (): unknown => {
    opened++;
    perhapsCancel("open");
    if (openKind === "throws") throw sourceError;
    return iterator;
  };
  const source = Object.defineProperty({}, isAsync ? Symbol.asyncIterator : Symbol.iterator, {
    get() {
      if (openKind === "getter") throw sourceError;
      return open;
    },
  });

  const fn = (given: unknown, ctx: Context, index: number): unknown => {
    same(index, calls.length, "index");
    holds(index < expected.length, "a call without an item");
    same(given, expected[index], `item ${index}`);
    const plan = rnd.bool(heldRate)
      ? rnd.pick<Plan>(["held", "held", "err", "cause", "native"])
      : rnd.pick(PLANS.filter((p) => !fails(p) || rnd.bool(failRate)).concat("value"));
    const call: Call = { ...newJob(index, plan, anyError(rnd, index)), item: given, ctx, state: "running" };
    log(`call ${index} ${plan}`);
    calls.push(call);
    holds(stopRound === undefined || stopRound === round, "a call after the work was stopped");
    perhapsCancel("fn");
    if (!isHeld(plan)) {
      call.state = "over";
      if (fails(plan) && ctx.err() === undefined) stopWith(call.error);
    } else if (isDerived(plan) && ctx.err() !== undefined) call.state = "over";
    return work(call, ctx);
  };

  const early = rnd.bool(0.03);
  if (early) endParent("advance");
  const done = watch(runners[name](parent.cancel, source as Iterable<unknown>, fn, { limit }));
  holds(calls.length === 0, "fn ran inside the call");
  if (!early && openKind !== "ok") stopWith(sourceError);

  const quiet = async (): Promise<void> => {
    await turns(3);
    const stopped = stopRound !== undefined;
    // Tasks that end with their context have ended with it.
    for (const call of calls) if (stopped && isDerived(call.plan)) call.state = "over";
    const rest = unfinished();
    if (early || openKind !== "ok") {
      if (early) same(opened, 0, "opened");
      same(done.state, "rejected", name);
      first.check(done.reason, name);
      return;
    }
    holds(rest <= limit, "more calls than the limit");
    if (!stopped) {
      same(calls.length, expected.length, "calls");
      holds(over || owed !== undefined || rest === limit, "nothing is asked of the source though there is a slot");
      same(returns, 0, "return() without a stop");
    } else if (returnKind !== "none") {
      const unsure = either || (overRound === stopRound && !(threw && first.isOne));
      if (over && overRound <= (stopRound ?? round) && !unsure) same(returns, 0, "return() after the end");
      else if (unsure) holds(returns <= 1, "return() twice");
      else same(returns, 1, "return()");
    }
    for (const { ctx } of calls) {
      if (done.state === "pending") same(ctx.err() !== undefined, stopped, "whether the context has ended");
      else holds(ctx.err() !== undefined, "the context lives on");
    }
    const settled = rest === 0 && (stopped || over);
    // A return() that is not answered is waited for, unless the source owes an answer.
    if (settled && returning) {
      if (owedThen === false) same(done.state, "pending", `${name} while return() is not answered`);
      else if (owedThen && isAsync)
        holds(done.state !== "pending", `${name} waits for return() of a source that owes an answer`);
    } else same(done.state === "pending", !settled, `${name} is pending`);
    if (done.state === "pending") return;
    same(done.state, stopped ? "rejected" : "fulfilled", name);
    if (stopped) first.check(done.reason, name);
    else if (name === "forEach") same(done.value, undefined, "forEach's value");
    else {
      const results = done.value as unknown[];
      same(results.length, calls.length, "results");
      for (const { id, plan } of calls) {
        if (plan === "err" || plan === "cause" || plan === "native") continue;
        same(results[id], plan === "held" ? undefined : id, `result ${id}`);
      }
    }
  };

  const finish = (): void => {
    // Calls that end with their context have ended by now if it has.
    const isOpen = (call: Call) => call.plan === "held" || (isDerived(call.plan) && stopRound === undefined);
    const held = calls.filter((call) => call.state === "running" && isOpen(call));
    if (held.length === 0) return;
    const call = rnd.pick(held);
    call.state = "over";
    if (rnd.bool(failRate * 2)) {
      log(`call ${call.id} fails`);
      call.reject(call.error);
      if (stopRound === undefined || stopRound === round) stopWith(call.error);
    } else {
      log(`call ${call.id} ends`);
      call.resolve();
    }
  };
  const answer = (): void => {
    const answered = owed;
    if (answered === undefined) return;
    owed = undefined;
    answeredRound = round;
    if (rnd.bool(failRate * 2)) {
      log("the source fails");
      ended();
      if (stopRound === undefined || stopRound === round) stopWith(sourceError);
      answered.fail(sourceError);
    } else if (rnd.bool(0.1)) {
      log("the source ends, or answers");
      answered.end();
    } else {
      log("the source answers");
      const value = `item ${expected.length}`;
      expected.push(value);
      answered.give(value);
    }
  };

  await quiet();
  for (let left = program.length(25); left > 0 && done.state === "pending"; left--) {
    round++;
    for (let ops = rnd.pick([1, 1, 2, 3]); ops > 0; ops--) {
      const what = rnd.int(0, 9);
      if (what < 5) finish();
      else if (what < 8) answer();
      else if (what < 9) heldReturn?.();
      else if (rnd.bool(0.2 + cancelRate)) endParent("a turn");
    }
    await quiet();
  }
  for (let left = 400; done.state === "pending"; left--) {
    holds(left > 0, "the program has no end");
    round++;
    if (length === Number.POSITIVE_INFINITY) endParent("the end");
    finish();
    answer();
    heldReturn?.();
    await quiet();
  }
  // Late answers change nothing.
  round++;
  const settled = { ...done };
  const asked = nexts;
  answer();
  await turns(3);
  same(done.state, settled.state, "state");
  same(nexts, asked, "next() after the end");
  parent.ended = true;
  parent.end();
}

explore("map and forEach", eachProgram, { quick: 400 });
