/**
 * Random pipelines against arrays: what they give, in which order, with nothing lost or doubled; how many calls run at
 * once; and that nothing is left after an error, a cancel or an early return at any place.
 */
import { Channel } from "gopark/channel";
import { background, type Context, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { batch, filter, from, type Input, map, merge, type Stage, tee } from "gopark/pipeline";
import { beforeAll, expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { counted, type Use } from "./support/source.ts";
import { turns } from "./support/turn.ts";

// Thousands of tasks: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

/** What goes through the pipeline. */
type Item = number;

interface Step {
  readonly stage: Stage<Item>;
  /** The same, for an array. An error of the step stands as its own last result. */
  readonly apply: (items: readonly Item[]) => Item[];
  readonly ordered: boolean;
}

class Program {
  running = 0;
  readonly problems: string[] = [];
  readonly errors: Error[] = [];
  /** How often a function fails, once the program has begun to. */
  readonly failRate: number;
  readonly rnd: Random;
  readonly uses: Use[] = [];

  constructor(rnd: Random) {
    this.rnd = rnd;
    this.failRate = rnd.pick([0, 0, 0, 0.02, 0.1]);
  }

  /** A function for a step: pauses, checks how many of its calls run, and fails now and then. */
  fn<R>(concurrency: number, work: (item: Item) => R): (item: Item, ctx: Context, index: number) => R | Promise<R> {
    const { rnd } = this;
    let running = 0;
    let calls = 0;
    const kind = rnd.pick(["sync", "async", "mixed"]);
    return (item, ctx, index) => {
      if (index !== calls++) this.problems.push(`index ${index} at call ${calls}`);
      if (ctx.err() !== undefined) this.problems.push("called under an ended context");
      if (++running > concurrency) this.problems.push(`${running} calls at once, of ${concurrency}`);
      this.running++;
      const end = (): R => {
        running--;
        this.running--;
        if (rnd.bool(this.failRate)) {
          const error = new Error(`call ${index} failed`);
          this.errors.push(error);
          throw error;
        }
        return work(item);
      };
      if (kind === "sync" || (kind === "mixed" && rnd.bool(0.5))) return end();
      return turns(rnd.int(0, 3)).then(end);
    };
  }

  input(items: readonly Item[]): Input<Item> {
    const { rnd } = this;
    async function* later() {
      for (const item of items) {
        if (rnd.bool(0.3)) await turns(1);
        yield item;
      }
    }
    const channel = () => {
      const ch = new Channel<Item>(items.length);
      for (const item of items) ch.trySend(item);
      ch.close();
      return ch.values();
    };
    const open = rnd.pick([() => items, () => items.values(), later, channel]);
    const [input, use] = counted<Item>(open());
    this.uses.push(use);
    return input;
  }

  step(ctx: Context, input: Input<Item>, isOrdered: boolean): Step {
    const { rnd } = this;
    const wide = rnd.next();
    if (wide < 0.08) {
      const more = Array.from({ length: rnd.int(0, 10) }, () => rnd.int(0, 1000));
      return { stage: merge(ctx, input, this.input(more)), apply: (items) => [...items, ...more], ordered: false };
    }
    if (wide < 0.16) {
      const readers = rnd.int(1, 3);
      const stage = merge(ctx, ...tee(ctx, input, readers));
      return { stage, apply: (items) => Array(readers).fill(items).flat(), ordered: readers === 1 };
    }
    if (wide < 0.26 && isOrdered) {
      const n = rnd.int(1, 5);
      const sum = (batch: Item[]) => batch.reduce((a, b) => a + b, 0);
      const chunks = (items: readonly Item[]) =>
        Array.from({ length: Math.ceil(items.length / n) }, (_, i) => sum(items.slice(i * n, i * n + n)));
      return { stage: map(ctx, batch(ctx, input, n), sum), apply: chunks, ordered: true };
    }
    const concurrency = rnd.pick([1, 1, 2, 3, 8, Number.POSITIVE_INFINITY]);
    const ordered = rnd.bool(0.7);
    const options = { concurrency, ordered };
    const kind = rnd.pick(["from", "map", "map", "filter"]);
    if (kind === "from") return { stage: from(ctx, input), apply: (items) => [...items], ordered: true };
    if (kind === "map") {
      const add = rnd.int(1, 5);
      const fn = this.fn(concurrency, (item) => item + add);
      return { stage: map(ctx, input, fn, options), apply: (items) => items.map((i) => i + add), ordered };
    }
    const mod = rnd.int(2, 4);
    const keep = (item: Item) => item % mod !== 0;
    return {
      stage: filter(ctx, input, this.fn(concurrency, keep), options),
      apply: (items) => items.filter(keep),
      ordered: concurrency === 1 || ordered,
    };
  }
}

async function program(rnd: Random): Promise<void> {
  const run = new Program(rnd);
  const items = Array.from({ length: rnd.int(0, 40) }, () => rnd.int(0, 1000));
  const parent = withCancel(background());
  let want = [...items];
  let ordered = true;
  let stage: Input<Item> = run.input(items);
  const depth = rnd.int(1, 4);
  for (let i = 0; i < depth; i++) {
    const step = run.step(parent.ctx, stage, ordered);
    want = step.apply(want);
    ordered &&= step.ordered;
    stage = step.stage;
  }
  const leaveAt = rnd.bool(0.3) ? rnd.int(0, 20) : Number.POSITIVE_INFINITY;
  const cancelAt = rnd.bool(0.3) ? rnd.int(0, 20) : Number.POSITIVE_INFINITY;
  const cancelLater = rnd.bool(0.5) ? turns(rnd.int(0, 40)) : undefined;
  if (rnd.bool(0.2)) void cancelLater?.then(() => parent.cancel());

  const got: Item[] = [];
  let thrown: { readonly error: unknown } | undefined;
  let left = false;
  try {
    for await (const item of stage as Stage<Item>) {
      got.push(item);
      if (rnd.bool(0.3)) await turns(rnd.int(1, 3));
      if (got.length === cancelAt) parent.cancel();
      if (got.length >= leaveAt) {
        left = true;
        break;
      }
    }
  } catch (error) {
    thrown = { error };
  }
  // Nothing runs any more. A next of the input that was pending is not waited for.
  expect(run.problems).toEqual([]);
  expect(run.running).toBe(0);
  await turns(2);
  for (const use of run.uses) expect([use.pending, use.overlaps, use.returns <= 1]).toEqual([0, 0, true]);
  expect(run.running).toBe(0);

  const ended = parent.ctx.err();
  if (thrown !== undefined) {
    const causes: unknown[] = [...run.errors, ended];
    expect(causes).toContain(thrown.error);
    expect(thrown.error).toBeDefined();
  } else if (!left) {
    expect(got.length).toBe(want.length);
    expect(run.errors).toEqual([]);
  }
  // What was given is a part of what was wanted: the first of it, if the order is kept.
  if (ordered) {
    expect(got).toEqual(want.slice(0, got.length));
  } else {
    const rest = [...want];
    for (const item of got) {
      const at = rest.indexOf(item);
      expect(at, `${item} is lost or doubled`).toBeGreaterThanOrEqual(0);
      rest.splice(at, 1);
    }
  }
  await cancelLater;
  parent.cancel();
}

test.each(seeds(400))("a random pipeline does what arrays do, SEED=%d", (seed) => program(random(seed)));
