/**
 * Replays what golang.org/x/sync/errgroup did, every case and every step. There is no difference on purpose: `go`
 * answers with a promise that resolves when Go's call would have returned.
 */
import { background, type Context, cause, withCancel } from "gopark/context";
import { Group, withContext } from "gopark/errgroup";
import { track } from "gopark/leak";
import { beforeAll, expect, test } from "vitest";
import { golden } from "./support/golden.ts";
import { turn } from "./support/turn.ts";

// Tens of thousands of steps: counted is enough, a stack for each wait would take most of the time.
beforeAll(() => track("counters"));

type Op =
  | ["go" | "tryGo" | "wait" | "setLimit", id: number]
  | ["open", id: number, error: string | null]
  | ["cancelParent", cause: string];
type Event = ["start" | "end" | "go", id: number] | ["wait", id: number, error: string | null];

interface Step {
  op: Op;
  r?: boolean | string | null;
  ev?: Event[];
  ctx?: [err: string, cause: string];
}

interface Case {
  i: number;
  ctx: boolean;
  steps: Step[];
}

class Replay {
  readonly parent = withCancel(background());
  readonly caller = withCancel(background());
  readonly group: Group;
  readonly ctx: Context | undefined;
  readonly gates = new Map<number, (error: string | null) => void>();
  events: Event[] = [];

  constructor(ctx: boolean) {
    if (ctx) [this.group, this.ctx] = withContext(this.parent.ctx);
    else this.group = new Group();
  }

  /** Issues one operation; returns what it answers at once. */
  issue(op: Op): boolean | string | null | undefined {
    switch (op[0]) {
      case "go":
        this.group.go(this.task(op[1]), this.caller.ctx).then(
          () => this.events.push(["go", op[1]]),
          () => {}, // Ended by the tear-down: Go's would wait on.
        );
        return undefined;
      case "tryGo":
        return this.group.tryGo(this.task(op[1]));
      case "open":
        this.gates.get(op[1])?.(op[2]);
        return undefined;
      case "wait":
        this.group.wait().then(
          () => this.events.push(["wait", op[1], null]),
          (error: Error) => this.events.push(["wait", op[1], error.message]),
        );
        return undefined;
      case "setLimit":
        try {
          this.group.setLimit(op[1]);
          return null;
        } catch (error) {
          return (error as Error).message;
        }
      case "cancelParent":
        this.parent.cancel(new Error(op[1]));
        return undefined;
    }
  }

  /** A task that waits at its gate, and returns or throws what it is opened with. */
  task(id: number): () => Promise<void> {
    const gate = new Promise<string | null>((open) => this.gates.set(id, open));
    return async () => {
      this.events.push(["start", id]);
      const error = await gate;
      this.events.push(["end", id]);
      if (error !== null) throw new Error(error);
    };
  }

  /** The context's error and cause in Go's words; undefined while it is alive. */
  ended(): [string, string] | undefined {
    const error = this.ctx?.err();
    return error && [error.message, (cause(this.ctx as Context) as Error).message];
  }

  async tearDown(): Promise<void> {
    this.caller.cancel();
    this.parent.cancel();
    for (const open of this.gates.values()) open(null);
    await this.group.wait().catch(() => {});
  }
}

async function replay(c: Case): Promise<void> {
  const run = new Replay(c.ctx);
  let ended: [string, string] | undefined;
  for (const [j, step] of c.steps.entries()) {
    const what = `case ${c.i}, step ${j}`;
    expect(run.issue(step.op), what).toBe(step.r);
    await turn();
    expect(run.events.splice(0).sort(), what).toEqual((step.ev ?? []).sort());
    ended ??= step.ctx;
    expect(run.ended(), what).toEqual(ended);
  }
  await run.tearDown();
}

test("the group does what Go's did", { timeout: 30_000 }, async () => {
  const { cases } = golden<{ cases: Case[] }>("errgroup");
  for (const c of cases) await replay(c);

  expect(cases).toHaveLength(3000);
  expect(cases.reduce((sum, c) => sum + c.steps.length, 0)).toBe(33_941);
});
