/** Groups: random programs against a group of plain arrays. */
import { background, type Context, cause, withCancel } from "gopark/context";
import { Group, withContext } from "gopark/errgroup";
import { track } from "gopark/leak";
import { beforeAll, expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

/** The reference: the running tasks, those that wait for a slot, the waits for the end, and the first error. */
class Model {
  limit = Number.POSITIVE_INFINITY;
  running: number[] = [];
  parked: number[] = [];
  waiters: number[] = [];
  first: string | undefined;
  /** What ended the group's context: the first error, the parent, or a wait that had ended. */
  ended: string | undefined;
  log: string[] = [];

  go(id: number): void {
    this.parked.push(id);
    this.settle();
  }

  tryGo(id: number): boolean {
    if (this.parked.length > 0 || this.running.length >= this.limit) return false;
    this.start(id);
    return true;
  }

  end(id: number, error: string | undefined): void {
    this.running = this.running.filter((task) => task !== id);
    this.log.push(`end ${id}`);
    if (error !== undefined) {
      this.first ??= error;
      this.ended ??= error;
    }
    this.settle();
  }

  wait(id: number): void {
    this.waiters.push(id);
    this.settle();
  }

  private start(id: number): void {
    this.running.push(id);
    this.log.push(`start ${id}`);
  }

  private settle(): void {
    while (this.parked.length > 0 && this.running.length < this.limit) {
      const id = this.parked.shift() as number;
      this.start(id);
      this.log.push(`go ${id}`);
    }
    if (this.running.length > 0 || this.waiters.length === 0) return;
    for (const id of this.waiters.splice(0)) this.log.push(`wait ${id} ${this.first}`);
    this.ended ??= "context canceled";
  }
}

async function program(rnd: Random): Promise<void> {
  const model = new Model();
  const log: string[] = [];
  const gates = new Map<number, (error: string | undefined) => void>();
  const parent = withCancel(background());
  const [g, ctx]: [Group, Context | undefined] = rnd.bool(0.7)
    ? [...withContext(parent.ctx)]
    : [new Group(), undefined];
  let ids = 0;

  const task = (id: number) => async () => {
    log.push(`start ${id}`);
    const error = await new Promise<string | undefined>((open) => gates.set(id, open));
    log.push(`end ${id}`);
    if (error !== undefined) throw new Error(error);
  };
  const step = (): void => {
    const id = ids++;
    switch (rnd.int(0, 9)) {
      case 0:
      case 1:
      case 2:
        model.go(id);
        void g.go(task(id)).then(() => log.push(`go ${id}`));
        break;
      case 3:
      case 4:
        expect(g.tryGo(task(id))).toBe(model.tryGo(id));
        break;
      case 5:
      case 6: {
        const ending = rnd.pick(model.running);
        const open = ending === undefined ? undefined : gates.get(ending);
        if (ending === undefined || open === undefined) break; // None runs, or it starts in this turn only.
        const error = rnd.bool(0.3) ? `error ${ending}` : undefined;
        gates.delete(ending);
        model.end(ending, error);
        open(error);
        break;
      }
      case 7:
        // While a go is parked, whether wait sees its task is undefined, as in Go.
        if (model.parked.length > 0) break;
        model.wait(id);
        g.wait().then(
          () => log.push(`wait ${id} undefined`),
          (error: Error) => log.push(`wait ${id} ${error.message}`),
        );
        break;
      case 8: {
        const limit = rnd.int(1, 4);
        if (model.running.length + model.parked.length > 0) {
          if (model.limit === Number.POSITIVE_INFINITY) break; // Undefined in Go.
          expect(() => g.setLimit(limit)).toThrow(`modify limit while ${model.running.length} goroutines`);
        } else {
          model.limit = limit;
          g.setLimit(limit);
        }
        break;
      }
      case 9:
        if (!rnd.bool(0.1)) break;
        model.ended ??= "parent gave up";
        parent.cancel(new Error("parent gave up"));
        break;
    }
  };

  for (let round = 0; round < 40; round++) {
    step();
    await turn();
    expect(log.splice(0).sort()).toEqual(model.log.splice(0).sort());
    if (ctx !== undefined) expect((cause(ctx) as Error | undefined)?.message).toBe(model.ended);
  }
  while (gates.size > 0 || model.parked.length > 0) {
    for (const [id, open] of gates) {
      gates.delete(id);
      model.end(id, undefined);
      open(undefined);
    }
    await turn();
  }
  await g.wait().catch(() => {});
  parent.cancel();
}

test.each(seeds(60))("a random program ends as the model does, SEED=%d", (seed) => program(random(seed)));
