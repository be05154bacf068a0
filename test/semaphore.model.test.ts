/** Weighted semaphore: random programs against a queue in an array. */
import { background, Canceled, type CancelScope, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { QueueFullError, Weighted } from "gopark/semaphore";
import { beforeAll, expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

type Outcome = "granted" | "cancelled" | "refused" | "full";

/** The reference: one array, scanned from the front after whatever frees units. */
class Model {
  held = 0;
  queue: { id: number; n: number; ctx: number }[] = [];
  readonly outcomes = new Map<number, Outcome>();
  size: number;
  readonly maxWaiting: number;

  constructor(size: number, maxWaiting: number) {
    this.size = size;
    this.maxWaiting = maxWaiting;
  }

  acquire(id: number, n: number, ctx: number): void {
    if (n > this.size) this.outcomes.set(id, "refused");
    else if (this.tryAcquire(n)) this.outcomes.set(id, "granted");
    else if (this.queue.length >= this.maxWaiting) this.outcomes.set(id, "full");
    else this.queue.push({ id, n, ctx });
  }

  tryAcquire(n: number): boolean {
    const ok = this.queue.length === 0 && this.held + n <= this.size;
    if (ok) this.held += n;
    return ok;
  }

  release(n: number): boolean {
    if (n > this.held) return false;
    this.held -= n;
    this.admit();
    return true;
  }

  setSize(size: number): void {
    this.size = size;
    for (const w of this.queue) if (w.n > size) this.outcomes.set(w.id, "refused");
    this.queue = this.queue.filter((w) => w.n <= size);
    this.admit();
  }

  cancel(ctx: number): void {
    for (const w of this.queue) if (w.ctx === ctx) this.outcomes.set(w.id, "cancelled");
    this.queue = this.queue.filter((w) => w.ctx !== ctx);
    // As Go: where nothing is free, not even a request for nothing is looked at.
    if (this.held < this.size) this.admit();
  }

  private admit(): void {
    for (let w = this.queue[0]; w !== undefined && this.held + w.n <= this.size; w = this.queue[0]) {
      this.queue.shift();
      this.held += w.n;
      this.outcomes.set(w.id, "granted");
    }
  }
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof QueueFullError) return "full";
  return error instanceof Canceled ? "cancelled" : "refused";
}

/** Runs some operations per turn, many turns, and compares after each operation and each turn. */
async function program(rnd: Random): Promise<void> {
  const size = rnd.int(1, 8);
  const maxWaiting = rnd.pick([0, 1, 3, 10, Number.POSITIVE_INFINITY]);
  const sem = new Weighted(size, { maxWaiting });
  const model = new Model(size, maxWaiting);
  const outcomes = new Map<number, Outcome>();
  // Several waits share a context, so that one cancel ends front, middle and back of the queue together.
  const scopes: CancelScope[] = Array.from({ length: 3 }, () => withCancel(background()));
  let ids = 0;

  const step = (): void => {
    const n = rnd.int(0, rnd.bool(0.1) ? size + 2 : Math.min(size, 4));
    switch (rnd.int(0, 7)) {
      case 0:
      case 1:
      case 2: {
        const id = ids++;
        const which = rnd.int(0, 2);
        const scope = scopes[which] as CancelScope;
        model.acquire(id, n, which);
        sem.acquire(rnd.bool(0.5) ? scope.ctx : scope.ctx.signal, n).then(
          () => outcomes.set(id, "granted"),
          (error) => outcomes.set(id, outcomeOf(error)),
        );
        break;
      }
      case 3:
        expect(sem.tryAcquire(n)).toBe(model.tryAcquire(n));
        break;
      case 4:
      case 5:
        if (model.release(n)) sem.release(n);
        else expect(() => sem.release(n)).toThrow("semaphore: released more than held");
        break;
      case 7: {
        const to = rnd.int(0, size + 2);
        model.setSize(to);
        sem.setSize(to);
        break;
      }
      case 6: {
        const which = rnd.int(0, 2);
        model.cancel(which);
        scopes[which]?.cancel();
        scopes[which] = withCancel(background());
        break;
      }
    }
    expect([sem.size(), sem.held(), sem.waiting()]).toEqual([model.size, model.held, model.queue.length]);
  };

  for (let round = 0; round < 30; round++) {
    for (let ops = rnd.int(1, 4); ops > 0; ops--) step();
    await turn();
    expect(outcomes).toEqual(model.outcomes);
  }
  for (const scope of scopes) scope.cancel();
  await turn();
  sem.release(sem.held());
}

test.each(seeds(60))("a random program ends as the model does, SEED=%d", (seed) => program(random(seed)));
