/**
 * Replays what golang.org/x/sync/singleflight did, every case and every step. Differences on purpose, counted: a
 * `DoChan` is a `do`; a panic is a rejection, whose error is not wrapped; a failed call does not say whether it was
 * shared.
 */
import { track } from "gopark/leak";
import { Group } from "gopark/singleflight";
import { beforeAll, expect, test } from "vitest";
import totals from "./golden/totals.json" with { type: "json" };
import { golden } from "./support/golden.ts";
import { turn } from "./support/turn.ts";

// Tens of thousands of steps: counted is enough.
beforeAll(() => track("counters"));

type Event =
  | ["run", id: number]
  | ["done", id: number, value: number | null, error: string | null, shared: boolean]
  | ["panic", id: number, text: string];

interface Step {
  op:
    | ["do" | "doChan", id: number, key: string]
    | ["forget", key: string]
    | ["open", id: number, value: number | null, error: string | null]
    | ["panic", id: number, text: string];
  ev?: Event[];
}

const { cases } = golden<{ cases: { i: number; steps: Step[] }[] }>("singleflight");

const adapted = { doChan: 0, panic: 0, failedShared: 0 };

/** An event of Go's without what a failed call does not say here. */
function adaptedEvent(event: Event): Event {
  if (event[0] !== "done" || event[3] === null) return event;
  adapted.failedShared++;
  return ["done", event[1], event[2], event[3], false];
}

class Panic extends Error {}

async function replay({ i, steps }: { i: number; steps: Step[] }): Promise<void> {
  const group = new Group<string, number>();
  const gates = new Map<number, { open: (value: number) => void; fail: (error: Error) => void }>();
  let events: Event[] = [];
  const call = (id: number, key: string): void => {
    const work = () =>
      new Promise<number>((open, fail) => {
        events.push(["run", id]);
        gates.set(id, { open, fail });
      });
    group.do(key, work).then(
      ({ value, shared }) => events.push(["done", id, value, null, shared]),
      (error: Error) => {
        const { message } = error;
        events.push(error instanceof Panic ? ["panic", id, message] : ["done", id, null, message, false]);
      },
    );
  };
  for (const [j, { op, ev = [] }] of steps.entries()) {
    switch (op[0]) {
      case "doChan":
        adapted.doChan++;
        call(op[1], op[2]);
        break;
      case "do":
        call(op[1], op[2]);
        break;
      case "forget":
        group.forget(op[1]);
        break;
      case "open": {
        const [, id, value, error] = op;
        if (error === null) gates.get(id)?.open(value as number);
        else gates.get(id)?.fail(new Error(error));
        gates.delete(id);
        break;
      }
      case "panic":
        adapted.panic++;
        gates.get(op[1])?.fail(new Panic(op[2]));
        gates.delete(op[1]);
    }
    await turn();
    const ours = events.sort((a, b) => a[1] - b[1]);
    const gos = ev.map(adaptedEvent).sort((a, b) => a[1] - b[1]);
    if (JSON.stringify(ours) !== JSON.stringify(gos)) expect(ours, `case ${i}, step ${j} ${op}`).toEqual(gos);
    events = [];
  }
  // Ends what the case has left running.
  for (const { open } of gates.values()) open(0);
  await turn();
}

test("the group does what Go's did", { timeout: 60_000 }, async () => {
  for (const c of cases) await replay(c);
});

test("totals", () => {
  const steps = cases.reduce((sum, c) => sum + c.steps.length, 0);
  expect({ cases: cases.length, steps, adapted }).toEqual(totals.singleflight);
});
