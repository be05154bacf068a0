/**
 * Replays what golang.org/x/sync/semaphore did, every case and every step.
 *
 * Differences on purpose, counted where they are adapted:
 *
 * - tooBig: a request over `size` rejects with RangeError at once. Go parks it outside the queue until its context
 *   ends, which some of the cases then see (tooBigCancelled), some at the call itself (tooBigDone).
 * - overRelease: the throw leaves the count as it was. Go's count has gone negative, and its case ends there.
 * - granted: of two cancels in one turn the first lets the second's wait through, and the first claim is final. Go's
 *   waiter finds its context done and gives the units back. The replay does the same and continues.
 */
import { background, type CancelScope, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { Weighted } from "gopark/semaphore";
import { beforeAll, expect, test } from "vitest";
import { golden } from "./support/golden.ts";
import { turn } from "./support/turn.ts";

// Tens of thousands of steps: counted is enough, a stack for each wait would take most of the time.
beforeAll(() => track("counters"));

type Single =
  | ["acq" | "acqDone", id: number, n: number]
  | ["try", n: number, ok?: boolean]
  | ["rel" | "cancel", n: number];
type Completion = [id: number, error: string | null];

interface Step {
  op: Single | ["batch", Single[]];
  r?: boolean | string;
  done?: Completion[];
  cur: number;
  w: number;
}

interface Case {
  i: number;
  size: number;
  steps: Step[];
}

const adapted = { tooBig: 0, tooBigCancelled: 0, tooBigDone: 0, overRelease: 0, granted: 0 };

class Replay {
  readonly sem: Weighted;
  readonly scopes = new Map<number, CancelScope>();
  readonly units = new Map<number, number>();
  readonly tooBig = new Set<number>();
  done: Completion[] = [];

  constructor(size: number) {
    this.sem = new Weighted(size);
  }

  /** Issues one operation; returns what it answers at once, if it answers. */
  issue(op: Single): boolean | string | undefined {
    switch (op[0]) {
      case "acq":
        this.acquire(op[1], op[2], false);
        return undefined;
      case "acqDone":
        this.acquire(op[1], op[2], true);
        return undefined;
      case "try":
        return this.sem.tryAcquire(op[1]);
      case "rel":
        try {
          this.sem.release(op[1]);
          return undefined;
        } catch (error) {
          return (error as Error).message;
        }
      case "cancel":
        this.scopes.get(op[1])?.cancel();
        return undefined;
    }
  }

  acquire(id: number, n: number, cancelled: boolean): void {
    const scope = withCancel(background());
    this.scopes.set(id, scope);
    this.units.set(id, n);
    if (cancelled) scope.cancel();
    if (n > this.sem.size()) this.tooBig.add(id);
    this.sem.acquire(scope.ctx, n).then(
      () => this.done.push([id, null]),
      (error: Error) => this.done.push([id, error instanceof RangeError ? "RangeError" : error.message]),
    );
  }

  /** The operations that Go completed in the step, adapted by the differences on purpose. */
  expected({ op, done = [] }: Step): Completion[] {
    const completions = done.filter(([id]) => !this.tooBig.has(id));
    if ((op[0] === "acq" || op[0] === "acqDone") && this.tooBig.has(op[1])) {
      if (op[0] === "acq") adapted.tooBig++;
      else adapted.tooBigDone++;
      completions.push([op[1], "RangeError"]);
    } else {
      adapted.tooBigCancelled += done.length - completions.length;
    }
    return completions;
  }

  /** Gives back what the first of two cancels in one turn granted the second. */
  async giveBack({ op, done = [] }: Step): Promise<void> {
    if (op[0] !== "batch") return;
    const [first, second] = op[1];
    if (first?.[0] !== "cancel" || second?.[0] !== "cancel") return;
    const ours = this.done.find(([id]) => id === second[1]);
    const gos = done.find(([id]) => id === second[1]);
    if (ours === undefined || ours[1] !== null || gos === undefined || gos[1] === null) return;
    adapted.granted++;
    ours[1] = gos[1];
    this.sem.release(this.units.get(second[1]));
    await turn();
  }

  async tearDown(): Promise<void> {
    for (const scope of this.scopes.values()) scope.cancel();
    await turn();
    this.sem.release(this.sem.held());
    expect([this.sem.held(), this.sem.waiting()]).toEqual([0, 0]);
  }
}

async function replay(c: Case): Promise<void> {
  const run = new Replay(c.size);
  for (const [j, step] of c.steps.entries()) {
    const { op, r } = step;
    let { cur } = step;
    let tries: unknown[] = [];
    let answer: unknown;
    if (op[0] === "rel" && r !== undefined) {
      adapted.overRelease++;
      cur = run.sem.held();
    }
    if (op[0] === "batch") tries = op[1].map((part) => [part, run.issue(part)]).filter(([, ok]) => ok !== undefined);
    else answer = run.issue(op);
    await turn();
    await run.giveBack(step);

    const done = run.done.splice(0).sort(([a], [b]) => a - b);
    const ours = { answer, tries, done, cur: run.sem.held(), w: run.sem.waiting() };
    const wanted = op[0] === "batch" ? op[1].filter(([kind]) => kind === "try").map((part) => [part, part[2]]) : [];
    expect(ours, `case ${c.i}, step ${j}`).toEqual({
      answer: r,
      tries: wanted,
      done: run.expected(step),
      cur,
      w: step.w,
    });
  }
  await run.tearDown();
}

test("the semaphore does what Go's did", { timeout: 30_000 }, async () => {
  const { cases } = golden<{ cases: Case[] }>("semaphore");
  for (const c of cases) await replay(c);

  expect(cases).toHaveLength(2600);
  expect(cases.reduce((sum, c) => sum + c.steps.length, 0)).toBe(34_722);
  expect(adapted).toEqual({ tooBig: 1079, tooBigCancelled: 514, tooBigDone: 110, overRelease: 380, granted: 25 });
});
