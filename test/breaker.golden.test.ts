/**
 * Replays what sony/gobreaker/v2 did, every case and every step, through the two-step breaker, and then through
 * `execute`. There are no differences on purpose in what was recorded.
 */
import {
  CircuitBreaker,
  type Counts,
  type Done,
  type Settings,
  type State,
  TwoStepCircuitBreaker,
} from "gopark/breaker";
import { track } from "gopark/leak";
import { beforeAll, expect, test } from "vitest";
import totals from "./golden/totals.json" with { type: "json" };
import { golden } from "./support/golden.ts";

// Tens of thousands of steps: counted is enough.
beforeAll(() => track("counters"));

type Ending = "ok" | "hard" | "soft" | "excl";
type Trip = ["default"] | ["consecutive" | "total", k: number] | ["ratio", k: number, ratio: number];

interface Step {
  op: ["allow", id: number] | ["done", id: number, ending: Ending] | ["advance", ms: number] | ["state"];
  r?: string | null;
  c?: [number, number, number, number, number, number];
  chg?: [from: State, to: State][];
}

interface Case {
  i: number;
  set: {
    maxRequests: number;
    intervalMs: number;
    bucketMs: number;
    timeoutMs: number;
    trip: Trip;
    softIsSuccess: boolean;
    exclIsExcluded: boolean;
  };
  steps: Step[];
}

const { cases } = golden<{ cases: Case[] }>("breaker");

function readyToTrip(trip: Trip): Settings["readyToTrip"] {
  switch (trip[0]) {
    case "default":
      return undefined;
    case "consecutive":
      return (counts) => counts.consecutiveFailures >= trip[1];
    case "total":
      return (counts) => counts.totalFailures >= trip[1];
    case "ratio":
      return (counts) => counts.requests >= trip[1] && counts.totalFailures / counts.requests >= trip[2];
  }
}

/** The settings of a case, with what its functions note, and its clock. */
class Recorder {
  at = 1_700_000_000_000;
  changes: [State, State][] = [];
  readonly settings: Settings;

  constructor({ set }: Case) {
    const trips = readyToTrip(set.trip);
    this.settings = {
      name: "cb",
      maxRequests: set.maxRequests,
      interval: set.intervalMs,
      bucketPeriod: set.bucketMs,
      timeout: set.timeoutMs,
      ...(trips === undefined ? {} : { readyToTrip: trips }),
      ...(set.softIsSuccess ? { isSuccessful: (err) => err === undefined || err === "soft" } : {}),
      ...(set.exclIsExcluded ? { isExcluded: (err) => err === "excl" } : {}),
      onStateChange: (name, from, to) => {
        if (name !== "cb") throw new Error(`called for ${name}`);
        this.changes.push([from, to]);
      },
      now: () => this.at,
    };
  }
}

function listed(counts: Counts): number[] {
  const { requests, totalSuccesses, totalFailures, totalExclusions, consecutiveSuccesses, consecutiveFailures } =
    counts;
  return [requests, totalSuccesses, totalFailures, totalExclusions, consecutiveSuccesses, consecutiveFailures];
}

const errorOf = (ending: Ending): unknown => (ending === "ok" ? undefined : ending);

/** How a request is let through and ended, by one of the two classes. */
interface Driver {
  allow(id: number): string | null | Promise<string | null>;
  done(id: number, ending: Ending): void | Promise<void>;
  state(): State;
  counts(): Counts;
}

function twoStep(settings: Settings): Driver {
  const cb = new TwoStepCircuitBreaker(settings);
  const requests = new Map<number, Done>();
  return {
    allow(id) {
      try {
        requests.set(id, cb.allow());
        return null;
      } catch (error) {
        return (error as Error).message;
      }
    },
    done: (id, ending) => requests.get(id)?.(errorOf(ending)),
    state: () => cb.state(),
    counts: () => cb.counts(),
  };
}

function executing(settings: Settings): Driver {
  const cb = new CircuitBreaker(settings);
  const requests = new Map<number, { end: (ending: Ending) => void; ended: Promise<unknown> }>();
  return {
    async allow(id) {
      const called = { end: undefined as ((ending: Ending) => void) | undefined };
      const executed = cb.execute(
        () =>
          new Promise<void>((resolve, reject) => {
            called.end = (ending) => (ending === "ok" ? resolve() : reject(ending));
          }),
      );
      const ended = executed.catch((error: unknown) => error);
      if (called.end === undefined) return ((await ended) as Error).message;
      requests.set(id, { end: called.end, ended });
      return null;
    },
    async done(id, ending) {
      const request = requests.get(id);
      request?.end(ending);
      expect(await request?.ended).toBe(errorOf(ending));
    },
    state: () => cb.state(),
    counts: () => cb.counts(),
  };
}

async function replay(c: Case, drive: (settings: Settings) => Driver): Promise<void> {
  const recorder = new Recorder(c);
  const driver = drive(recorder.settings);
  let counts = [0, 0, 0, 0, 0, 0];
  for (const [j, { op, r, c: changed, chg = [] }] of c.steps.entries()) {
    let answer: string | null | undefined;
    if (op[0] === "allow") answer = await driver.allow(op[1]);
    else if (op[0] === "done") await driver.done(op[1], op[2]);
    else if (op[0] === "advance") recorder.at += op[1];
    else answer = driver.state();
    counts = changed ?? counts;
    const ours = JSON.stringify([answer, listed(driver.counts()), recorder.changes.splice(0)]);
    const gos = JSON.stringify([r, counts, chg]);
    if (ours !== gos) expect(ours, `case ${c.i}, step ${j} ${op}`).toBe(gos);
  }
}

test("the two-step breaker does what Go's did", { timeout: 30_000 }, async () => {
  for (const c of cases) await replay(c, twoStep);
});

test("the breaker around functions does what Go's two-step breaker did", { timeout: 60_000 }, async () => {
  for (const c of cases) await replay(c, executing);
});

test("totals", () => {
  const steps = cases.reduce((sum, c) => sum + c.steps.length, 0);
  expect({ cases: cases.length, steps, adapted: {} }).toEqual(totals.breaker);
});
