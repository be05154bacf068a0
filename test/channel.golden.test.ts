/**
 * Replays what the channels and the select statement of the Go runtime did, every case and every step.
 *
 * A nil channel is a `null` case of a select: so is each send and receive on one here.
 *
 * Differences on purpose, counted where they are adapted:
 *
 * - closeNil: there is no nil channel that could be closed. Go panics.
 * - lenNil: there is no nil channel that has a length. Go's has 0 of 0.
 * - zero: what a closed channel gives is `undefined`, not a zero value. Counted where it cannot depend on chance.
 *
 * alternatives: steps at which several cases of a select were ready, and any one of them is right.
 */
import { Channel, type Received } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { type Selectable, select, trySelect } from "gopark/select";
import { beforeAll, expect, test } from "vitest";
import { golden } from "./support/golden.ts";
import { turn } from "./support/turn.ts";

// Tens of thousands of steps: counted is enough, a stack for each wait would take most of the time.
beforeAll(() => track("counters"));

type SelectCase = ["s", ch: number, value: number] | ["r", ch: number];
type Op =
  | ["send", id: number, ch: number, value: number]
  | ["recv", id: number, ch: number]
  | ["close" | "tryRecv" | "len", ch: number]
  | ["trySend", ch: number, value: number]
  | ["select", id: number, cases: SelectCase[], hasDefault: boolean];
type Completion = [id: number, outcome: unknown[]];

interface Step {
  op: Op;
  r?: unknown;
  done?: Completion[];
  alts?: Completion[][];
}

interface Case {
  i: number;
  caps: number[];
  steps: Step[];
}

const counted = { closeNil: 0, lenNil: 0, zero: 0, alternatives: 0 };

class Replay {
  readonly channels: Channel<number>[];
  done: Completion[] = [];
  // Ends the selects that have no other case.
  private readonly stop = withCancel(background());

  constructor(caps: number[]) {
    this.channels = caps.map((capacity) => new Channel(capacity));
  }

  /** Issues one operation; returns what it answers at once, in Go's terms, or null. */
  issue(op: Op): unknown {
    switch (op[0]) {
      case "send": {
        const [, id, ch, value] = op;
        const sent: Promise<unknown> = this.channels[ch]?.send(value) ?? this.never();
        this.complete(id, sent, () => ["sent"]);
        return null;
      }
      case "recv": {
        const [, id, ch] = op;
        const channel = this.channels[ch];
        if (channel === undefined) this.complete(id, this.never(), () => ["recv"]);
        else this.complete(id, channel.receive(), (received) => ["recv", ...this.inGo(received)]);
        return null;
      }
      case "close":
        return this.close(op[1]);
      case "trySend": {
        const channel = this.channels[op[1]];
        try {
          return channel === undefined ? trySelect({ nil: null }) !== undefined : channel.trySend(op[2]);
        } catch (error) {
          return ["panic", (error as Error).message];
        }
      }
      case "tryRecv": {
        const channel = this.channels[op[1]];
        const received = channel === undefined ? trySelect({ nil: null }) : channel.tryReceive();
        return received === undefined ? [false, 0, false] : [true, ...this.inGo(received)];
      }
      case "len": {
        const channel = this.channels[op[1]];
        if (channel !== undefined) return [channel.len(), channel.cap()];
        counted.lenNil++;
        return [0, 0];
      }
      case "select":
        this.select(op[1], op[2], op[3]);
        return null;
    }
  }

  close(ch: number): string | null {
    const channel = this.channels[ch];
    if (channel === undefined) {
      counted.closeNil++;
      return "close of nil channel";
    }
    try {
      channel.close();
      return null;
    } catch (error) {
      return (error as Error).message;
    }
  }

  select(id: number, cases: SelectCase[], hasDefault: boolean): void {
    const named: Record<string, Selectable> = {};
    for (const [i, [kind, ch, value]] of cases.entries()) {
      const channel = this.channels[ch];
      named[i] = kind === "s" ? channel?.sending(value) : channel;
    }
    const outcome = (s: { case: string }): unknown[] => {
      const i = Number(s.case);
      return cases[i]?.[0] === "s" ? ["sel", i] : ["sel", i, ...this.inGo(s as unknown as Received<number>)];
    };
    if (!hasDefault) {
      this.complete(id, select({ ...named, stop: this.stop.ctx }), outcome);
      return;
    }
    try {
      const s = trySelect(named);
      this.done.push([id, s === undefined ? ["sel", -1] : outcome(s)]);
    } catch (error) {
      this.done.push([id, ["panic", (error as Error).message]]);
    }
  }

  complete<T>(id: number, promise: Promise<T>, outcome: (answer: T) => unknown[]): void {
    promise.then(
      (answer) => this.done.push([id, outcome(answer)]),
      (error: Error) => this.done.push([id, ["panic", error.message]]),
    );
  }

  inGo({ value, ok }: Received<number>): [value: unknown, ok: boolean] {
    if (ok) return [value, true];
    if (value === undefined) counted.zero++;
    return [value === undefined ? 0 : value, false];
  }

  /** Waits for a nil channel. */
  never(): Promise<unknown> {
    return select({ nil: null, stop: this.stop.ctx });
  }

  /** Ends all that is parked. */
  async tearDown(): Promise<void> {
    this.stop.cancel();
    for (const i of this.channels.keys()) this.close(i);
    await turn();
  }
}

async function replay(c: Case): Promise<void> {
  const run = new Replay(c.caps);
  for (const [j, { op, r = null, done = [], alts }] of c.steps.entries()) {
    const { zero } = counted;
    const answer = run.issue(op);
    await turn();
    const ours = run.done.splice(0).sort(([a], [b]) => a - b);
    const where = `case ${c.i}, step ${j}: ${JSON.stringify(op)}`;
    if (alts === undefined) {
      expect({ answer, done: ours }, where).toEqual({ answer: r, done });
    } else {
      expect(alts, where).toContainEqual(ours);
      expect(j, where).toBe(c.steps.length - 1);
      counted.alternatives++;
      counted.zero = zero;
    }
  }
  const { zero } = counted;
  await run.tearDown();
  counted.zero = zero;
}

test("channels and select do what Go's did", { timeout: 30_000 }, async () => {
  const { cases } = golden<{ cases: Case[] }>("chan");
  for (const c of cases) await replay(c);

  expect(cases).toHaveLength(3600);
  expect(cases.reduce((sum, c) => sum + c.steps.length, 0)).toBe(54_266);
  expect(counted).toEqual({ closeNil: 44, lenNil: 48, zero: 3048, alternatives: 875 });
});
