/** map and forEach: random programs against a reference that gets one event a turn. */
import { Channel } from "gopark/channel";
import { background, type Context, cause, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { beforeAll, expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { counted, HandSource, runners, type Use, Work } from "./support/source.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

// Thousands of tasks: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

/** How a call of fn ends: when the program ends it, at once, or by throwing at once. */
type Ending = "held" | "value" | "promise" | "throw";

interface Plan {
  readonly limit: number;
  readonly endings: readonly Ending[];
  /** How many items there are, and whether a throw follows them; undefined if the program answers next() itself. */
  readonly ready: { readonly items: number; readonly throws: boolean } | undefined;
  readonly slowReturn: boolean;
}

const sourceError = new Error("the source failed");

/** The reference. */
class Model {
  nexts = 0;
  returns = 0;
  pulled = 0;
  finished = 0;
  running: number[] = [];
  results: string[] = [];
  /** The first error, which may be undefined, and the cause that the calls' context then has. */
  stopped: { readonly error: unknown; readonly why: unknown } | undefined;
  /** Whether the source has ended or thrown. */
  ended = false;
  /** Whether a next() is pending. */
  asking = false;
  /** Whether a return() is waited for. */
  returning = false;
  readonly plan: Plan;

  constructor(plan: Plan) {
    this.plan = plan;
  }

  get state(): "pending" | "fulfilled" | "rejected" {
    if (this.running.length > 0 || this.returning) return "pending";
    if (this.stopped !== undefined) return "rejected";
    return this.ended ? "fulfilled" : "pending";
  }

  stop(error: unknown, why = error): void {
    if (this.stopped !== undefined) return;
    this.stopped = { error, why };
    if (this.ended) return;
    this.returns++;
    this.returning = this.plan.slowReturn && !this.asking;
  }

  finish(index: number): void {
    this.#over(index);
    this.results[index] = `result ${index}`;
    this.pull();
  }

  fail(index: number, error: unknown): void {
    this.#over(index);
    this.stop(error);
  }

  give(): void {
    this.asking = false;
    if (this.stopped !== undefined) return;
    this.#start();
    this.pull();
  }

  /** The source ends, or throws. */
  end(thrown?: unknown): void {
    this.asking = false;
    if (this.stopped !== undefined) return;
    this.ended = true;
    if (thrown !== undefined) this.stop(thrown);
  }

  pull(): void {
    const { limit, ready } = this.plan;
    while (this.stopped === undefined && !this.ended && !this.asking && this.running.length < limit) {
      this.nexts++;
      if (ready === undefined) this.asking = true;
      else if (this.pulled < ready.items) this.#start();
      else this.end(ready.throws ? sourceError : undefined);
    }
  }

  #over(index: number): void {
    this.running = this.running.filter((other) => other !== index);
    this.finished++;
  }

  #start(): void {
    const index = this.pulled++;
    switch (this.plan.endings[index]) {
      case "held":
        this.running.push(index);
        break;
      case "throw":
        this.finished++;
        this.stop(errorOf(index));
        break;
      default:
        this.finished++;
        this.results[index] = `result ${index}`;
    }
  }
}

const thrown = Array.from({ length: 100 }, (_, index) => new Error(`call ${index} threw`));
const errorOf = (index: number): unknown => thrown[index];

/** A source as the program handles it. */
interface Source {
  readonly items: Iterable<string> | AsyncIterable<string>;
  use(): { nexts: number; returns: number };
  give(item: string): void;
  end(): void;
  /** For those that can fail by hand. */
  fail?: (reason: unknown) => void;
  /** Whether answers that come too late can be given. */
  readonly late: boolean;
  /** For those whose return() can be slow. */
  openReturn?: () => void;
  close(): void;
}

const never = () => {
  throw new Error("this source answers by itself");
};

function readySource(rnd: Random, { items: n, throws }: { items: number; throws: boolean }): Source {
  const values = Array.from({ length: n }, (_, i) => `item ${i}`);
  function* generate() {
    yield* values;
    if (throws) throw sourceError;
  }
  async function* generateLater() {
    yield* generate();
  }
  const kinds = [generate, generateLater, ...(throws ? [] : [() => values, () => new Set(values)])];
  const [items, use] = counted<string>(rnd.pick(kinds)());
  return { items, use: () => use, give: never, end: never, late: false, close: () => {} };
}

function channelSource(): Source {
  const ch = new Channel<string>();
  const [items, use]: [AsyncIterable<string> | Iterable<string>, Use] = counted(ch.values());
  const give = (item: string) => {
    if (!ch.trySend(item)) throw new Error("no receiver");
  };
  let open = true;
  const close = () => {
    if (open) ch.close();
    open = false;
  };
  return { items, use: () => use, give, end: close, late: false, close };
}

function handSource(rnd: Random, slowReturn: boolean): Source {
  const items = new HandSource<string>();
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  if (slowReturn) items.onReturn = () => opened;
  else if (rnd.bool(0.3)) items.onReturn = () => Promise.reject(new Error("return failed"));
  return {
    items,
    use: () => items,
    give: (item) => items.give(item),
    end: () => items.end(),
    fail: (reason) => items.fail(reason),
    late: true,
    openReturn: open,
    close: () => {},
  };
}

async function program(rnd: Random): Promise<void> {
  const limit = rnd.pick([1, 1, 2, 3, 5, Number.POSITIVE_INFINITY]);
  const kind = rnd.pick(["ready", "ready", "channel", "hand", "hand"]);
  // With several slots, how far pulling is ahead of a call that throws at once is not specified.
  const endings: Ending[] =
    limit === 1 ? ["held", "held", "value", "promise", "throw"] : ["held", "held", "value", "promise"];
  const plan: Plan = {
    limit,
    endings: Array.from({ length: 100 }, () => (rnd.bool(0.6) ? "held" : rnd.pick(endings))),
    ready: kind === "ready" ? { items: rnd.int(0, 12), throws: rnd.bool(0.2) } : undefined,
    slowReturn: kind === "hand" && rnd.bool(0.5),
  };
  const source =
    plan.ready !== undefined
      ? readySource(rnd, plan.ready)
      : kind === "channel"
        ? channelSource()
        : handSource(rnd, plan.slowReturn);
  const model = new Model(plan);
  const work = new Work<string, string>();
  const parent = withCancel(background());
  const why = new Error("the caller gave up");
  const name = rnd.pick(["map", "forEach"] as const);
  const cancelRate = rnd.pick([0, 0.02, 0.1]);
  const failRate = rnd.pick([0, 0.05, 0.4]);

  const fn = (item: string, ctx: Context, index: number): unknown => {
    const call = work.fn(item, ctx, index);
    const ending = plan.endings[index];
    if (ending !== "held") work.finish(index, `result ${index}`);
    if (ending === "throw") throw errorOf(index);
    return ending === "value" ? `result ${index}` : call;
  };
  const done = watch(runners[name](parent.ctx, source.items, fn, { limit }));

  /** Ends a call, both here and in the reference. */
  const conclude = (index: number): void => {
    if (rnd.bool(failRate)) {
      const error = rnd.pick([new Error(`call ${index} failed`), undefined, null, 0, ""]);
      work.fail(index, error);
      model.fail(index, error);
    } else {
      work.finish(index, `result ${index}`);
      model.finish(index);
    }
  };
  /** Answers next(), both here and in the reference. */
  const answer = (endRate: number): void => {
    if (!model.asking || (model.stopped !== undefined && !source.late)) return;
    if (!rnd.bool(endRate)) {
      source.give(`item ${model.pulled}`);
      model.give();
    } else if (source.fail !== undefined && rnd.bool(0.3)) {
      source.fail(sourceError);
      model.end(sourceError);
    } else {
      source.end();
      model.end();
    }
  };
  const openReturn = (): void => {
    if (!model.returning) return;
    source.openReturn?.();
    model.returning = false;
  };
  const step = (): void => {
    if (rnd.bool(cancelRate)) {
      parent.cancel(why);
      model.stop(parent.ctx.err(), why);
    } else if (rnd.bool(0.2)) openReturn();
    else if (rnd.bool(0.5) && model.running.length > 0) conclude(rnd.pick(model.running));
    else answer(0.15);
  };

  const compare = (): void => {
    const { nexts, returns } = source.use();
    expect({
      nexts,
      returns,
      items: work.items,
      indices: work.indices,
      running: work.running.sort((a, b) => a - b),
      state: done.state,
    }).toEqual({
      nexts: model.nexts,
      returns: model.returns,
      items: Array.from({ length: model.pulled }, (_, i) => `item ${i}`),
      indices: Array.from({ length: model.pulled }, (_, i) => i),
      running: model.running,
      state: model.state,
    });
    expect(work.most).toBeLessThanOrEqual(limit);
    expect(model.pulled).toBeLessThanOrEqual(model.finished + limit);
    for (const ctx of work.contexts) {
      if (model.state === "pending") expect(ctx.err() !== undefined).toBe(model.stopped !== undefined);
      if (model.stopped?.why instanceof Error) expect(cause(ctx)).toBe(model.stopped.why);
    }
  };

  model.pull();
  for (let round = 0; round < 60 && model.state === "pending"; round++) {
    await turn();
    compare();
    step();
  }
  for (let round = 0; model.state === "pending"; round++) {
    await turn();
    compare();
    if (round > 200) throw new Error("the program has no end");
    const [index] = model.running;
    if (index !== undefined && rnd.bool(0.5)) conclude(index);
    else if (model.returning) openReturn();
    else answer(0.8);
  }
  await turn();
  compare();

  if (model.state === "fulfilled") expect(done.value).toEqual(name === "map" ? model.results : undefined);
  else expect(done.reason).toBe(model.stopped?.error);

  // Nothing moves afterwards, and what the source still owes changes nothing.
  const { state } = model;
  answer(0.5);
  await turn();
  compare();
  expect(model.state).toBe(state);
  source.close();
  parent.cancel();
}

test.each(seeds(150))("a random program goes as the model does, SEED=%d", (seed) => program(random(seed)));

test.each([1, 10, Number.POSITIVE_INFINITY])("a long source of short work takes no stack, limit %d", async (limit) => {
  const items = Array.from({ length: 20_000 }, (_, i) => i);
  const results = await runners.map(background(), items, (n) => n + 1, { limit });
  expect(results).toEqual(items.map((n) => n + 1));
  let calls = 0;
  const count = async () => {
    calls++;
  };
  await runners.forEach(background(), items.values(), count, { limit });
  expect(calls).toBe(20_000);
});
