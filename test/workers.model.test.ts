/** Workers: random programs against an array that is scanned for the first of the highest priority. */
import { background, type CancelScope, withCancel } from "gopark/context";
import { counters, track } from "gopark/leak";
import { PoolClosedError, QueueFullError, Workers } from "gopark/workers";
import { beforeAll, expect, test } from "vitest";
import { type Gate, gate } from "./support/gate.ts";
import { type Random, random, seeds } from "./support/random.ts";
import { same } from "./support/same.ts";
import { turn } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

type Outcome = "value" | "error" | "cancelled" | "closed" | "full";

interface Submission {
  readonly id: number;
  readonly priority: number;
  /** Which of the shared contexts may cancel it; −1 for none. */
  readonly ctx: number;
}

/** The reference: everything is looked for anew at each step. What needs a microtask is done by `settle`. */
class Model {
  size: number;
  paused = false;
  closed = false;
  queue: Submission[] = [];
  /** Those that hold a slot, in the order of the grants. */
  holding: Submission[] = [];
  readonly started: number[] = [];
  readonly outcomes = new Map<number, Outcome>();
  readonly handled: number[] = [];
  idlers: number[] = [];
  readonly idle: number[] = [];
  private readonly ending = new Map<number, "value" | "error">();
  private readonly maxWaiting: number;

  constructor(size: number, maxWaiting: number) {
    this.size = size;
    this.maxWaiting = maxWaiting;
  }

  get hasSlot(): boolean {
    return !this.paused && this.holding.length < this.size;
  }

  submit(s: Submission): void {
    if (this.closed) this.answer(s, "closed");
    else if (this.hasSlot) this.holding.push(s);
    else if (this.queue.length >= this.maxWaiting) this.answer(s, "full");
    else this.queue.push(s);
  }

  answer({ id }: Submission, outcome: Outcome): void {
    if (!this.outcomes.has(id)) this.outcomes.set(id, outcome);
  }

  finish(s: Submission, how: "value" | "error"): void {
    this.ending.set(s.id, how);
  }

  isEnding(s: Submission): boolean {
    return this.ending.has(s.id);
  }

  cancel(ctx: number): void {
    for (const s of [...this.queue, ...this.holding]) if (s.ctx === ctx) this.answer(s, "cancelled");
    this.queue = this.queue.filter((s) => s.ctx !== ctx);
    this.look();
  }

  release(): void {
    if (this.closed) return;
    this.closed = true;
    for (const s of this.queue) this.answer(s, "closed");
    this.queue = [];
    this.look();
  }

  admit(): void {
    while (this.hasSlot && this.queue.length > 0) {
      const most = Math.max(...this.queue.map((s) => s.priority));
      const i = this.queue.findIndex((s) => s.priority === most);
      this.holding.push(...this.queue.splice(i, 1));
    }
  }

  wait(id: number): void {
    this.idlers.push(id);
    this.look();
  }

  look(): void {
    if (this.holding.length + this.queue.length === 0) this.idle.push(...this.idlers.splice(0));
  }

  /** All microtasks: what has a slot starts, unless it has been cancelled; what has been told to end does. */
  settle(): void {
    for (let i = 0; i < this.holding.length; ) {
      const s = this.holding[i] as Submission;
      const how = this.ending.get(s.id);
      if (!this.started.includes(s.id)) {
        if (!this.outcomes.has(s.id)) {
          this.started.push(s.id);
          i++;
          continue;
        }
      } else if (how !== undefined) {
        if (how === "error") this.handled.push(s.id);
        this.answer(s, how);
      } else {
        i++;
        continue;
      }
      this.holding.splice(i, 1);
      this.admit();
      this.look();
    }
  }
}

async function program(rnd: Random): Promise<void> {
  const maxWaiting = rnd.pick([0, 1, 3, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  const size = rnd.int(1, 4);
  const model = new Model(size, maxWaiting);
  const handled: number[] = [];
  const hasHandler = rnd.bool(0.5);
  const pool = new Workers(size, {
    maxWaiting,
    ...(hasHandler ? { panicHandler: (id) => handled.push(id as number) } : {}),
  });
  const outcomes = new Map<number, Outcome>();
  const started: number[] = [];
  const idle: number[] = [];
  const gates = new Map<number, Gate<number>>();
  const scopes: CancelScope[] = Array.from({ length: 3 }, () => withCancel(background()));
  let ids = 0;

  const submit = (byTry: boolean): void => {
    const id = ids++;
    const ctx = byTry || rnd.bool(0.4) ? -1 : rnd.int(0, 2);
    const priority = byTry ? 0 : rnd.pick([0, 0, 0, 1, -1, 2.5]);
    const end = gate<number>();
    gates.set(id, end);
    const task = () => {
      started.push(id);
      return end.promise;
    };
    const scope = scopes[ctx];
    const cancel = scope === undefined || rnd.bool(0.7) ? scope?.ctx : scope.ctx.signal;
    const submitted = byTry ? pool.trySubmit(task) : pool.submit(task, { priority, cancel });
    if (byTry) {
      const wanted = model.closed || model.hasSlot;
      same(submitted !== undefined, wanted, "trySubmit");
      if (!wanted) return;
    }
    model.submit({ id, priority, ctx });
    submitted?.then(
      () => outcomes.set(id, "value"),
      (error: unknown) => {
        if (error === id) outcomes.set(id, "error");
        else if (error instanceof QueueFullError) outcomes.set(id, "full");
        else if (error instanceof PoolClosedError) outcomes.set(id, "closed");
        else outcomes.set(id, "cancelled");
      },
    );
  };

  const finish = (s: Submission | undefined, how: "value" | "error"): void => {
    if (s === undefined || !model.started.includes(s.id) || model.isEnding(s)) return;
    model.finish(s, how);
    if (how === "value") gates.get(s.id)?.open(s.id);
    else gates.get(s.id)?.fail(s.id);
  };

  const step = (): void => {
    const op = rnd.int(0, 19);
    if (op < 7) submit(false);
    else if (op < 8) submit(true);
    else if (op < 14) {
      if (model.holding.length > 0) finish(rnd.pick(model.holding), rnd.bool(0.7) ? "value" : "error");
    } else if (op < 15) {
      const ctx = rnd.int(0, 2);
      model.cancel(ctx);
      scopes[ctx]?.cancel();
      scopes[ctx] = withCancel(background());
    } else if (op < 16) {
      model.paused = true;
      pool.pause();
    } else if (op < 17) {
      model.paused = false;
      model.admit();
      pool.resume();
    } else if (op < 18) {
      const n = rnd.int(-1, 5);
      if (n > 0) model.size = n;
      model.admit();
      pool.tune(n);
    } else if (op < 19) {
      const id = ids++;
      model.wait(id);
      void pool.idle().then(() => idle.push(id));
    } else if (rnd.bool(0.4)) {
      const id = ids++;
      model.release();
      model.wait(id);
      void pool.release().then(() => idle.push(id));
    } else {
      model.closed = false;
      pool.reboot();
    }
    same(pool.running(), model.holding.length, "running");
    same(pool.waiting(), model.queue.length, "waiting");
    same(pool.free(), model.size - model.holding.length, "free");
  };

  const look = async (): Promise<void> => {
    await turn();
    model.settle();
    const theirs = { outcomes, started, idle: [...idle].sort(), handled: [...handled].sort() };
    const its = {
      outcomes: model.outcomes,
      started: model.started,
      idle: [...model.idle].sort(),
      handled: hasHandler ? [...model.handled].sort() : [],
    };
    expect(theirs).toEqual(its);
    same(pool.running(), model.holding.length, "running after a turn");
    same(pool.waiting(), model.queue.length, "waiting after a turn");
    same(counters().task, tasks + model.holding.length, "tasks");
  };

  const tasks = counters().task as number;
  for (let round = 0; round < 40; round++) {
    for (let ops = rnd.int(1, 4); ops > 0; ops--) step();
    await look();
  }
  model.paused = false;
  model.admit();
  pool.resume();
  for (let round = 0; model.holding.length > 0 && round < 1000; round++) {
    for (const s of [...model.holding]) finish(s, "value");
    await look();
  }
  await pool.release();
  for (const scope of scopes) scope.cancel();
}

test("random programs do what the model does", { timeout: 60_000 }, async () => {
  for (const seed of seeds(400)) {
    try {
      await program(random(seed));
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});
