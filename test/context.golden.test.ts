/**
 * Contexts do what Go's did, on its virtual clock: every case and every step of golden/context.json and, with contexts
 * of the user's own types in the tree, golden/context_custom.json.
 *
 * Nothing is adapted. Not compared is `kids`, the size of a Go context's own set of children, which ours does not show;
 * the armed timers are.
 */
import { Channel } from "gopark/channel";
import {
  afterFunc,
  background,
  type CancelFunc,
  type CancelScope,
  type Context,
  cause,
  withCancel,
  withDeadline,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { track } from "gopark/leak";
import { now } from "gopark/time";
import { expect, test, vi } from "vitest";
import { armed } from "../src/internal/time/timers.ts";
import { golden } from "./support/golden.ts";
import { turns } from "./support/turn.ts";

type Op = readonly [string, ...(string | number | null)[]];

interface Step {
  readonly op: Op;
  readonly new?: readonly [node: number, deadline: number | null, doneIsNil: boolean, text: string | null];
  readonly ch?: readonly (readonly [node: number, err: string | null, cause: string | null, kids: number | null])[];
  readonly ran?: readonly number[];
  readonly r?: unknown;
  readonly timers?: number;
}

interface Case {
  readonly i: number;
  readonly steps: readonly Step[];
}

/** A struct that embeds a context: a type of its own, with the same done channel. */
class Wrapper implements Context {
  protected readonly inner: Context;

  constructor(inner: Context) {
    this.inner = inner;
  }

  deadline(): number | undefined {
    return this.inner.deadline();
  }

  done() {
    return this.inner.done();
  }

  err(): Error | undefined {
    return this.inner.err();
  }

  value(key: unknown): undefined {
    return this.inner.value(key) as undefined;
  }

  get signal(): AbortSignal {
    return this.inner.signal;
  }
}

/** A context with an end of its own; deadline and values are the parent's. */
class Custom extends Wrapper {
  private readonly channel = new Channel<never>();
  private error: Error | undefined;

  override done() {
    return this.channel;
  }

  override err(): Error | undefined {
    return this.error;
  }

  /** Ends the context; false if it had ended. */
  end(error: Error): boolean {
    if (this.error !== undefined) return false;
    this.error = error;
    this.channel.close();
    return true;
  }
}

/** One with an AfterFunc method besides. */
class CustomAfterFunc extends Custom {
  private readonly fns = new Set<() => void>();

  afterFunc(fn: () => void): () => boolean {
    this.fns.add(fn);
    return () => this.fns.delete(fn);
  }

  override end(error: Error): boolean {
    const ended = super.end(error);
    for (const fn of this.fns) void Promise.resolve().then(fn);
    this.fns.clear();
    return ended;
  }
}

class Replay {
  private readonly epoch = now();
  private readonly nodes: Context[] = [background()];
  private readonly cancels = new Map<number, CancelFunc>();
  private readonly stops = new Map<number, () => boolean>();
  private readonly errors = new Map<string, Error>();
  private readonly seen = ["null null"];
  private readonly ran: number[] = [];
  private timers = 0;

  issue([name, ...args]: Op): unknown {
    const [a, b, c] = args;
    const parent = this.nodes[a as number] as Context;
    switch (name) {
      case "withCancel":
      case "withCancelCause":
        return this.addScope(withCancel(parent));
      case "withTimeout":
        return this.addScope(withTimeout(parent, b as number, this.error(c)));
      case "withDeadline":
        return this.addScope(withDeadline(parent, this.epoch + (b as number), this.error(c)));
      case "withValue":
        return this.add(withValue(parent, b, c ?? undefined));
      case "withoutCancel":
        return this.add(withoutCancel(parent));
      case "wrap":
        return this.add(new Wrapper(parent));
      case "custom":
        return this.add(new Custom(parent));
      case "customAF":
        return this.add(new CustomAfterFunc(parent));
      case "end":
        return (parent as Custom).end(this.error(b) as Error);
      case "afterFunc":
        this.stops.set(
          a as number,
          afterFunc(this.nodes[b as number] as Context, () => this.ran.push(a as number)),
        );
        return undefined;
      case "cancel":
        return this.cancels.get(a as number)?.(this.error(b));
      case "stop":
        return this.stops.get(a as number)?.();
      case "advance":
        vi.advanceTimersByTime(this.epoch + (a as number) - now());
        return undefined;
      case "value":
        return parent.value(b) ?? null;
      default:
        throw new Error(`unknown operation ${name}`);
    }
  }

  compare(step: Step): void {
    if (step.new !== undefined) expect(this.newest(step.new[3] !== null)).toEqual(step.new);

    const changed = this.changes();
    for (const [node, err, why] of step.ch ?? []) {
      // A step may list a node for its kids alone. Then its earlier values still hold.
      expect(`${node}: ${this.seen[node]}`).toBe(`${node}: ${err} ${why}`);
      changed.delete(node);
    }
    expect([...changed], "changed here and not in Go").toEqual([]);

    expect(this.ran.splice(0).sort((x, y) => x - y)).toEqual(step.ran ?? []);
    this.timers = step.timers ?? this.timers;
    expect(armed(), "armed timers").toBe(this.timers);
  }

  async tearDown(): Promise<void> {
    for (const cancel of this.cancels.values()) cancel();
    for (const node of this.nodes) if (node instanceof Custom) node.end(new Error("torn down"));
    await turns(2);
  }

  private addScope({ ctx, cancel }: CancelScope): undefined {
    this.cancels.set(this.nodes.length, cancel);
    this.add(ctx);
  }

  private add(ctx: Context): undefined {
    this.nodes.push(ctx);
    this.seen.push("");
  }

  /** The newest node, as the trace describes it. */
  private newest(named: boolean): Step["new"] {
    const ctx = this.nodes.at(-1) as Context;
    const deadline = ctx.deadline();
    const ms = deadline === undefined ? null : Math.round(deadline - this.epoch);
    return [this.nodes.length - 1, ms, ctx.done() === null, named ? String(ctx) : null];
  }

  /** The nodes whose error or cause has changed. */
  private changes(): Set<number> {
    const changed = new Set<number>();
    for (const [i, ctx] of this.nodes.entries()) {
      const state = `${ctx.err()?.message ?? null} ${(cause(ctx) as Error | undefined)?.message ?? null}`;
      if (state !== this.seen[i]) changed.add(i);
      this.seen[i] = state;
    }
    return changed;
  }

  /** One error for each name, as Go's errors.New in the recorder. */
  private error(name: unknown): Error | undefined {
    if (name === null || name === undefined) return undefined;
    const error = this.errors.get(name as string) ?? new Error(name as string);
    this.errors.set(error.message, error);
    return error;
  }
}

test.each([
  ["context", 2350, 38_068],
  ["context_custom", 1400, 21_804],
])("%s: a tree of contexts does what Go's did", async (file, wantCases, wantSteps) => {
  track("counters"); // Two thousand trees with a stack for each context would take a minute.
  const { cases } = golden<{ cases: Case[] }>(file);
  let steps = 0;
  for (const { i, steps: all } of cases) {
    vi.useFakeTimers();
    const replay = new Replay();
    for (const [j, step] of all.entries()) {
      const r = replay.issue(step.op);
      await turns(2); // One for what was issued, one for a foreign context's watcher.
      try {
        if ("r" in step) expect(r).toEqual(step.r);
        replay.compare(step);
      } catch (error) {
        throw new Error(`case ${i}, step ${j} ${JSON.stringify(step)}`, { cause: error });
      }
      steps++;
    }
    await replay.tearDown();
  }
  expect([cases.length, steps]).toEqual([wantCases, wantSteps]);
});
