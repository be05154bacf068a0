/**
 * Replays what ants v2 did, every case and every step.
 *
 * Differences on purpose, counted:
 *
 * - `size`: a case whose size is 0 or less, without a limit in Go. Here such a size is a RangeError, and the case runs
 *   with Infinity.
 * - `refused`: a case that Go refuses because the size is 0 or less and its workers are made in advance. Here it is the
 *   same RangeError.
 * - `preAlloc`: a `tune` of a pool whose workers are made in advance. Go does nothing; here there is no such pool, and
 *   the step is not issued.
 * - `idle`: a step after which Go has idle workers. Go counts them as running; here only tasks are counted.
 * - `surplus`: a submit that Go hands to an idle worker above the size, which has been tuned down. Here it would wait;
 *   the replay tunes up for the time of the submit.
 */
import { track } from "gopark/leak";
import { PoolClosedError, QueueFullError, Workers } from "gopark/workers";
import { beforeAll, expect, test } from "vitest";
import totals from "./golden/totals.json" with { type: "json" };
import { golden } from "./support/golden.ts";
import { turn } from "./support/turn.ts";

// Tens of thousands of steps: counted is enough.
beforeAll(() => track("counters"));

type Op = ["submit" | "finish" | "panic" | "release" | "reboot"] | ["tune", n: number];
type Event = "start" | "end" | "ok" | "overload" | "closed" | "panicHandler";

interface Step {
  op: Op;
  s: [running: number, waiting: number, free: number, cap: number, executing: number, isClosed: boolean];
  ev?: Partial<Record<Event, number>>;
}

interface Case {
  i: number;
  size: number;
  nonblocking: boolean;
  maxBlockingTasks: number;
  preAlloc: boolean;
  newErr?: string;
  steps?: Step[];
}

const { cases } = golden<{ cases: Case[] }>("ants");
const adapted = { size: 0, refused: 0, preAlloc: 0, idle: 0, surplus: 0 };

/** A pool as a case drives it. */
class Replay {
  events: Partial<Record<Event, number>> = {};
  closed = false;
  readonly pool: Workers;
  readonly infinite: boolean;
  private readonly gates: { open: () => void; fail: (error: unknown) => void }[] = [];

  constructor({ size, nonblocking, maxBlockingTasks }: Case) {
    this.infinite = size <= 0;
    this.pool = new Workers(this.infinite ? Number.POSITIVE_INFINITY : size, {
      nonblocking,
      maxWaiting: maxBlockingTasks === 0 ? Number.POSITIVE_INFINITY : maxBlockingTasks,
      panicHandler: () => this.note("panicHandler"),
    });
  }

  private note(event: Event): void {
    this.events[event] = (this.events[event] ?? 0) + 1;
  }

  issue(op: Op): void {
    const { pool, gates } = this;
    if (op[0] === "submit") this.submit();
    else if (op[0] === "finish") gates.shift()?.open();
    else if (op[0] === "panic") gates.shift()?.fail(new Error("panic"));
    else if (op[0] === "tune") pool.tune(op[1]);
    else if (op[0] === "release") {
      this.closed = true;
      void pool.release();
    } else {
      this.closed = false;
      pool.reboot();
    }
  }

  private submit(): void {
    const task = () => {
      this.note("start");
      this.note("ok");
      return new Promise<void>((open, fail) => {
        this.gates.push({ open, fail });
      }).then(() => this.note("end"));
    };
    this.pool.submit(task).catch((error: unknown) => {
      if (error instanceof QueueFullError) this.note("overload");
      else if (error instanceof PoolClosedError) this.note("closed");
    });
  }

  /** What has happened since the last call, and the state; where it is without a limit, as Go shows it. */
  look(): unknown {
    const { pool, infinite } = this;
    const free = infinite ? -1 : pool.free();
    const cap = infinite ? -1 : pool.free() + pool.running();
    const events = this.events;
    this.events = {};
    return [pool.running(), pool.waiting(), free, cap, this.gates.length, this.closed, sorted(events)];
  }

  /** Ends what the case has left running or waiting. */
  async end(): Promise<void> {
    const released = this.pool.release();
    while (this.gates.length > 0) {
      this.gates.shift()?.open();
      await turn();
    }
    await released;
    expect([this.pool.running(), this.pool.waiting()]).toEqual([0, 0]);
  }
}

function sorted(events: Partial<Record<Event, number>>): unknown {
  return Object.entries(events).sort(([a], [b]) => (a < b ? -1 : 1));
}

async function replay(c: Case): Promise<void> {
  if (c.newErr !== undefined) {
    expect(() => new Workers(c.size)).toThrow(RangeError);
    adapted.refused++;
    return;
  }
  if (c.size <= 0) {
    expect(() => new Workers(c.size)).toThrow(RangeError);
    adapted.size++;
  }
  const r = new Replay(c);
  let idle = 0;
  for (const [j, { op, s, ev = {} }] of (c.steps ?? []).entries()) {
    const [running, waiting, , cap, executing, isClosed] = s;
    if (op[0] === "tune" && c.preAlloc) adapted.preAlloc++;
    else if (op[0] === "submit" && ev.start === 1 && r.pool.free() <= 0) {
      expect(idle, `case ${c.i}, step ${j}`).toBeGreaterThan(0);
      adapted.surplus++;
      r.pool.tune(r.pool.running() + 1);
      r.issue(op);
      r.pool.tune(cap);
    } else r.issue(op);
    await turn();
    idle = running - executing;
    if (idle > 0) adapted.idle++;
    const free = cap === -1 ? -1 : cap - executing;
    const ours = JSON.stringify(r.look());
    const gos = JSON.stringify([executing, waiting, free, cap, executing, isClosed, sorted(ev)]);
    if (ours !== gos) expect(ours, `case ${c.i}, step ${j} ${op}`).toBe(gos);
  }
  await r.end();
}

test("the pool does what Go's did", { timeout: 60_000 }, async () => {
  for (const c of cases) await replay(c);
});

test("totals", () => {
  const steps = cases.reduce((sum, c) => sum + (c.steps?.length ?? 0), 0);
  expect({ cases: cases.length, steps, adapted }).toEqual(totals.ants);
});
