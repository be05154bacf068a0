/**
 * Replays what Go's sync.Mutex, RWMutex, WaitGroup and Cond did, every case and every step.
 *
 * One difference on purpose, counted: `belowZero`, where the counter of a WaitGroup would fall below zero. It throws
 * Go's text, and the counter is as it was; in Go it has gone negative, and the case ends.
 */
import { track } from "gopark/leak";
import { Cond, Mutex, RWMutex, WaitGroup } from "gopark/sync";
import { beforeAll, expect, test } from "vitest";
import totals from "./golden/totals.json" with { type: "json" };
import { golden } from "./support/golden.ts";
import { turn } from "./support/turn.ts";

// Tens of thousands of steps: counted is enough, a stack for each wait would take most of the time.
beforeAll(() => track("counters"));

type Op =
  | ["lock" | "rlock" | "wait", id: number]
  | ["unlock" | "runlock" | "tryLock" | "tryRLock" | "doneOne" | "signal" | "broadcast"]
  | ["add", n: number];

interface Step {
  op: Op;
  r?: boolean | string | null;
  done?: number[];
}

interface Case {
  i: number;
  kind: "mutex" | "rwmutex" | "waitgroup" | "cond";
  steps: Step[];
}

/** One of the four, as a case drives it. */
interface Replay {
  /** Issues an operation; returns what it answers at once. A wait calls `through` when it has got through. */
  issue(op: Op, through: () => void): unknown;
  /** Ends what the case has left waiting. */
  end(): Promise<void>;
}

function strange(op: Op): never {
  throw new Error(`strange operation ${op[0]}`);
}

/** Calls `step` until all `waiting` have got through. */
async function until(waiting: Set<number>, step: () => void): Promise<void> {
  for (let i = 0; waiting.size > 0 && i < 1000; i++) {
    step();
    await turn();
  }
  expect([...waiting]).toEqual([]);
}

function replayLock(mu: Mutex | RWMutex): Replay {
  const waiting = new Set<number>();
  const rw = mu instanceof RWMutex ? mu : undefined;
  let writing = false;
  let reading = 0;
  const issue = (op: Op, through: () => void): unknown => {
    switch (op[0]) {
      case "lock":
      case "rlock": {
        const [kind, id] = op;
        waiting.add(id);
        void (kind === "lock" ? mu.lock() : rw?.rLock())?.then(() => {
          waiting.delete(id);
          if (kind === "lock") writing = true;
          else reading++;
          through();
        });
        return undefined;
      }
      case "unlock":
        writing = false;
        return mu.unlock();
      case "runlock":
        reading--;
        return rw?.rUnlock();
      case "tryLock": {
        const ok = mu.tryLock();
        if (ok) writing = true;
        return ok;
      }
      case "tryRLock": {
        const ok = rw?.tryRLock();
        if (ok) reading++;
        return ok;
      }
      default:
        return strange(op);
    }
  };
  const end = async () => {
    const giveBack = () => {
      if (writing) issue(["unlock"], () => {});
      else if (reading > 0) issue(["runlock"], () => {});
    };
    await until(waiting, giveBack);
    while (writing || reading > 0) giveBack();
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  };
  return { issue, end };
}

const adapted = { belowZero: 0 };

function replayWaitGroup(): Replay {
  const wg = new WaitGroup();
  const waiting = new Set<number>();
  let n = 0;
  const add = (delta: number, call: () => void): unknown => {
    try {
      call();
      n += delta;
      return null;
    } catch (error) {
      adapted.belowZero++;
      return (error as Error).message;
    }
  };
  return {
    issue(op, through) {
      switch (op[0]) {
        case "add":
          return add(op[1], () => wg.add(op[1]));
        case "doneOne":
          return add(-1, () => wg.done());
        case "wait": {
          const [, id] = op;
          waiting.add(id);
          void wg.wait().then(() => {
            waiting.delete(id);
            through();
          });
          return undefined;
        }
        default:
          return strange(op);
      }
    },
    async end() {
      wg.add(-n);
      await until(waiting, () => {});
    },
  };
}

function replayCond(): Replay {
  const mu = new Mutex();
  const cond = new Cond(mu);
  const waiting = new Set<number>();
  const wait = async (id: number, through: () => void) => {
    await mu.lock();
    await cond.wait();
    waiting.delete(id);
    through();
    mu.unlock();
  };
  return {
    issue(op, through) {
      switch (op[0]) {
        case "wait":
          waiting.add(op[1]);
          void wait(op[1], through);
          return undefined;
        case "signal":
          return cond.signal();
        case "broadcast":
          return cond.broadcast();
        default:
          return strange(op);
      }
    },
    end: () => until(waiting, () => cond.broadcast()),
  };
}

const replays: Record<Case["kind"], () => Replay> = {
  mutex: () => replayLock(new Mutex()),
  rwmutex: () => replayLock(new RWMutex()),
  waitgroup: replayWaitGroup,
  cond: replayCond,
};

async function replay({ i, kind, steps }: Case): Promise<void> {
  const run = replays[kind]();
  let done: number[] = [];
  for (const [j, step] of steps.entries()) {
    const { op } = step;
    const answer = run.issue(op, () => done.push(op[1] as number));
    await turn();
    done.sort((a, b) => a - b);
    expect({ answer, done }, `${kind}, case ${i}, step ${j}`).toEqual({ answer: step.r, done: step.done ?? [] });
    done = [];
  }
  await run.end();
}

const { cases } = golden<{ cases: Case[] }>("sync");

test.each(Object.keys(replays))("every %s does what Go's did", async (kind) => {
  for (const c of cases) if (c.kind === kind) await replay(c);
});

test("totals", () => {
  const kinds: Record<string, number> = {};
  for (const { kind } of cases) kinds[kind] = (kinds[kind] ?? 0) + 1;
  const steps = cases.reduce((sum, c) => sum + c.steps.length, 0);
  expect({ cases: cases.length, kinds, steps, adapted }).toEqual(totals.sync);
});
