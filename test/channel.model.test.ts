/**
 * Channels and select: random programs against one list of all waiting operations, in order of arrival, which is
 * scanned.
 */
import { Channel, ClosedChannelError, type Received } from "gopark/channel";
import { background, Canceled, type CancelScope, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { type Selectable, select, trySelect } from "gopark/select";
import { beforeAll, expect, test, vi } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

type Case = ["receive", ch: number] | ["send", ch: number, value: number] | ["stop", ctx: number] | ["null"];

/** The outcome of an operation, by the number of its case. A received `undefined` means that the channel is closed. */
type Outcome =
  | ["sent" | "stopped", number]
  | ["received", number, number | undefined]
  | ["refused", value: number]
  | ["cancelled" | "nothing"];

/** Every operation is a select: a plain one has a single case, and perhaps a context that cancels it. */
interface Wait {
  id: number;
  cases: Case[];
  cancel?: number | undefined;
  iterator?: Iterator | undefined;
}

interface Iterator {
  ch: number;
  cancel: number | undefined;
  over: boolean;
}

class Model {
  readonly buffers: number[][];
  readonly closed: boolean[];
  readonly ended = [false, false];
  readonly outcomes = new Map<number, Outcome>();
  waits: Wait[] = [];
  readonly caps: number[];

  constructor(caps: number[]) {
    this.caps = caps;
    this.buffers = caps.map(() => []);
    this.closed = caps.map(() => false);
  }

  /** The cases that can go ahead now. */
  ready(cases: Case[]): number[] {
    return [...cases.keys()].filter((i) => {
      const [kind, which] = cases[i] as Case;
      if (kind === "null") return false;
      if (kind === "stop") return this.ended[which];
      if (this.closed[which]) return true;
      const { length } = this.buffer(which);
      return kind === "receive"
        ? length > 0 || this.parked("send", which) !== undefined
        : length < (this.caps[which] as number) || this.parked("receive", which) !== undefined;
    });
  }

  /** Starts an operation: takes the chosen case, parks if there is none, or gives up if it must not wait. */
  start(wait: Wait, chosen: number | undefined, mayWait = true): void {
    const { id, cases, cancel, iterator } = wait;
    if (iterator?.over) this.outcomes.set(id, ["received", 0, undefined]);
    else if (cancel !== undefined && this.ended[cancel]) this.cancelled(wait);
    else if (chosen !== undefined) this.outcomes.set(id, this.take(cases, chosen));
    else if (mayWait) this.waits.push(wait);
    else this.outcomes.set(id, ["nothing"]);
  }

  close(ch: number): boolean {
    if (this.closed[ch]) return false;
    for (let p = this.parked("receive", ch); p !== undefined; p = this.parked("receive", ch)) {
      this.finish(p.wait, ["received", p.at, undefined]);
    }
    for (let p = this.parked("send", ch); p !== undefined; p = this.parked("send", ch)) {
      this.finish(p.wait, ["refused", p.value]);
    }
    this.closed[ch] = true;
    return true;
  }

  cancel(ctx: number): void {
    this.ended[ctx] = true;
    for (const wait of [...this.waits]) {
      const at = wait.cases.findIndex(([kind, which]) => kind === "stop" && which === ctx);
      if (at !== -1) this.finish(wait, ["stopped", at]);
      else if (wait.cancel === ctx) {
        this.waits = this.waits.filter((w) => w !== wait);
        this.cancelled(wait);
      }
    }
  }

  return(iterator: Iterator): void {
    iterator.over = true;
    for (const wait of [...this.waits]) {
      if (wait.iterator === iterator) this.finish(wait, ["received", 0, undefined]);
    }
  }

  private take(cases: Case[], at: number): Outcome {
    const [kind, which, value] = cases[at] as ["receive" | "send" | "stop", number, number];
    if (kind === "stop") return ["stopped", at];
    return kind === "send" ? this.send(at, which, value) : ["received", at, this.receive(which)];
  }

  private send(at: number, ch: number, value: number): Outcome {
    if (this.closed[ch]) return ["refused", value];
    const receiver = this.parked("receive", ch);
    if (receiver === undefined) this.buffer(ch).push(value);
    else this.finish(receiver.wait, ["received", receiver.at, value]);
    return ["sent", at];
  }

  private receive(ch: number): number | undefined {
    // A parked sender's value comes after the buffered ones, if there are any.
    const sender = this.parked("send", ch);
    if (sender !== undefined) {
      this.buffer(ch).push(sender.value);
      this.finish(sender.wait, ["sent", sender.at]);
    }
    return this.buffer(ch).shift();
  }

  /** The operation that has waited longest to do that on the channel, and which of its cases. */
  private parked(kind: "send" | "receive", ch: number): { wait: Wait; at: number; value: number } | undefined {
    for (const wait of this.waits) {
      const at = wait.cases.findIndex((c) => c[0] === kind && c[1] === ch);
      if (at !== -1) return { wait, at, value: wait.cases[at]?.[2] as number };
    }
    return undefined;
  }

  private finish(wait: Wait, outcome: Outcome): void {
    this.waits = this.waits.filter((w) => w !== wait);
    this.outcomes.set(wait.id, outcome);
  }

  private cancelled({ id, iterator }: Wait): void {
    this.outcomes.set(id, ["cancelled"]);
    if (iterator !== undefined) iterator.over = true;
  }

  private buffer(ch: number): number[] {
    return this.buffers[ch] as number[];
  }
}

/** The program's side of the model: the same operations on real channels, and what they came to. */
class Program {
  readonly outcomes = new Map<number, Outcome>();
  readonly channels: Channel<number>[];
  readonly model: Model;
  private readonly rnd: Random;
  private readonly scopes: CancelScope[] = [withCancel(background()), withCancel(background())];
  private readonly iterators: { model: Iterator; real: AsyncIterableIterator<number> }[] = [];
  private ids = 0;

  constructor(rnd: Random) {
    this.rnd = rnd;
    const caps = Array.from({ length: rnd.int(1, 3) }, () => rnd.int(0, 3));
    this.channels = caps.map((capacity) => new Channel(capacity));
    this.model = new Model(caps);
    for (let i = 0; i < 3; i++) this.iterate();
  }

  async step(): Promise<void> {
    const { rnd } = this;
    const ch = rnd.int(0, this.channels.length - 1);
    const channel = this.channel(ch);
    const id = this.ids++;
    switch (rnd.int(0, 13)) {
      case 0:
      case 1: {
        const cancel = this.someContext();
        this.start({ id, cases: [["send", ch, id]], cancel });
        this.record(id, channel.send(id, this.cancelOf(cancel)), () => ["sent", 0]);
        break;
      }
      case 2:
      case 3: {
        const cancel = this.someContext();
        this.start({ id, cases: [["receive", ch]], cancel });
        this.record(id, channel.receive(this.cancelOf(cancel)), ({ value }) => received(value));
        break;
      }
      case 4:
        this.start({ id, cases: [["send", ch, id]] }, false);
        this.attempt(id, () => (channel.trySend(id) ? ["sent", 0] : ["nothing"]));
        break;
      case 5: {
        this.start({ id, cases: [["receive", ch]] }, false);
        const answer = channel.tryReceive();
        this.outcomes.set(id, answer === undefined ? ["nothing"] : received(answer.value));
        break;
      }
      case 6:
      case 7:
      case 8:
        await this.select(id, this.someCases(id));
        break;
      case 9: {
        const cases = this.someCases(id);
        this.attempt(id, () => {
          const answer = trySelect(this.real(cases));
          return answer === undefined ? ["nothing"] : chosen(cases, answer);
        });
        this.choose({ id, cases }, false);
        break;
      }
      case 10:
      case 11: {
        const { model, real } = rnd.pick(this.iterators);
        const cases: Case[] = [["receive", model.ch]];
        this.start({ id, cases, cancel: model.cancel, iterator: model });
        this.record(id, real.next(), ({ value }) => received(value));
        break;
      }
      case 12:
        if (rnd.bool(0.5)) this.cancel(this.context());
        else this.return(id, rnd.int(0, 2));
        break;
      case 13:
        if (rnd.bool(0.15)) this.close(ch);
        break;
    }
  }

  /** Ends all that waits. */
  async tearDown(): Promise<void> {
    for (const [i, { cancel }] of this.scopes.entries()) {
      this.model.cancel(i);
      cancel();
    }
    for (const i of this.channels.keys()) this.close(i);
    await this.compare();
    expect(this.model.waits).toEqual([]);
  }

  /** The operations that have ended since the last comparison, and the buffered values. */
  async compare(): Promise<void> {
    await turn();
    expect(this.outcomes).toEqual(this.model.outcomes);
    expect(this.channels.map((c) => c.len())).toEqual(this.model.buffers.map((b) => b.length));
    this.outcomes.clear();
    this.model.outcomes.clear();
  }

  private close(ch: number): void {
    if (this.model.close(ch)) this.channel(ch).close();
    else expect(() => this.channel(ch).close()).toThrow("close of closed channel");
  }

  /** Cancels a context that several waits share; one that was cancelled before is followed by a fresh one. */
  private cancel(ctx: number): void {
    if (this.model.ended[ctx]) {
      this.model.ended.push(false);
      this.scopes.push(withCancel(background()));
    } else {
      this.model.cancel(ctx);
      this.scopes[ctx]?.cancel();
    }
  }

  private iterate(): void {
    const ch = this.rnd.int(0, this.channels.length - 1);
    const cancel = this.someContext();
    const real = this.channel(ch).values(this.cancelOf(cancel));
    this.iterators.push({ model: { ch, cancel, over: false }, real });
  }

  private return(id: number, which: number): void {
    const [{ model, real }] = this.iterators.splice(which, 1) as [(typeof this.iterators)[number]];
    this.model.return(model);
    this.model.outcomes.set(id, received(undefined));
    this.record(id, real.return?.() ?? Promise.reject(new Error("no return")), ({ value }) => received(value));
    this.start({ id: this.ids, cases: [["receive", model.ch]], cancel: model.cancel, iterator: model });
    this.record(this.ids++, real.next(), ({ value }) => received(value));
    this.iterate();
  }

  private async select(id: number, cases: Case[]): Promise<void> {
    const several = this.model.ready(cases).length > 1;
    if (!several) this.start({ id, cases });
    this.record(id, select(this.real(cases)), (answer) => chosen(cases, answer));
    if (!several) return;
    // Which of them it was shows in the answer alone.
    await turn();
    this.choose({ id, cases }, true);
  }

  /** Starts in the model what has an outcome already, with the case that was chosen, which must be a ready one. */
  private choose(wait: Wait, mayWait: boolean): void {
    const outcome = this.outcomes.get(wait.id);
    const ready = this.model.ready(wait.cases);
    let at: number | undefined;
    if (outcome?.[0] === "refused") at = wait.cases.findIndex(([kind, , v]) => kind === "send" && v === outcome[1]);
    else if (outcome !== undefined && outcome[0] !== "nothing") at = outcome[1];
    if (at === undefined) expect(ready).toEqual([]);
    else expect(ready).toContain(at);
    this.model.start(wait, at, mayWait);
  }

  private start(wait: Wait, mayWait = true): void {
    this.model.start(wait, this.model.ready(wait.cases)[0], mayWait);
  }

  private someContext(): number | undefined {
    return this.rnd.bool(0.7) ? this.context() : undefined;
  }

  /** One of the two newest. */
  private context(): number {
    return this.scopes.length - this.rnd.int(1, 2);
  }

  private cancelOf(ctx: number | undefined): CancelScope["ctx"] | AbortSignal | undefined {
    const scope = ctx === undefined ? undefined : this.scopes[ctx];
    return this.rnd.bool(0.5) ? scope?.ctx : scope?.ctx.signal;
  }

  /** Up to four cases, perhaps several on one channel; never only such as are never ready. */
  private someCases(id: number): Case[] {
    const { rnd } = this;
    const cases = Array.from({ length: rnd.int(1, 4) }, (_, i): Case => {
      const ch = rnd.int(0, this.channels.length - 1);
      const kind = rnd.int(0, 9);
      if (kind < 4) return ["receive", ch];
      if (kind < 8) return ["send", ch, id + (i + 1) / 10];
      return kind === 8 ? ["stop", this.context()] : ["null"];
    });
    // Of cases that wait for the same event any may win, at random: another test covers those. Here the first
    // remains.
    const single = cases.map(
      (c, i): Case => (cases.findIndex((d) => d[0] === c[0] && d[1] === c[1]) < i ? ["null"] : c),
    );
    return single.some(([kind]) => kind !== "null") ? single : [["stop", this.context()]];
  }

  private real(cases: Case[]): Record<string, Selectable> {
    return Object.fromEntries(
      cases.map(([kind, which, value], i) => {
        if (kind === "null") return [`case ${i}`, null];
        if (kind === "stop") return [`case ${i}`, this.cancelOf(which)];
        const channel = this.channel(which);
        return [`case ${i}`, kind === "send" ? channel.sending(value as number) : channel];
      }),
    );
  }

  private attempt(id: number, operation: () => Outcome): void {
    try {
      this.outcomes.set(id, operation());
    } catch (error) {
      this.outcomes.set(id, failed(error));
    }
  }

  private record<T>(id: number, promise: Promise<T>, outcome: (answer: T) => Outcome): void {
    promise.then(
      (answer) => this.outcomes.set(id, outcome(answer)),
      (error) => this.outcomes.set(id, failed(error)),
    );
  }

  private channel(ch: number): Channel<number> {
    return this.channels[ch] as Channel<number>;
  }
}

function received(value: number | undefined): Outcome {
  return ["received", 0, value];
}

function chosen(cases: Case[], answer: { case: string }): Outcome {
  const at = Number(answer.case.slice("case ".length));
  const kind = cases[at]?.[0];
  if (kind === "receive") return ["received", at, (answer as unknown as Received<number>).value];
  return [kind === "send" ? "sent" : "stopped", at];
}

function failed(error: unknown): Outcome {
  if (error instanceof ClosedChannelError) return ["refused", error.value as number];
  if (error instanceof Canceled) return ["cancelled"];
  throw error;
}

async function run(seed: number): Promise<void> {
  const rnd = random(seed);
  const program = new Program(rnd);
  // Of its own, because select draws only where several cases are ready.
  vi.spyOn(Math, "random").mockImplementation(random(-seed).next);
  for (let rounds = rnd.int(1, 10); rounds > 0; rounds--) {
    for (let ops = rnd.int(1, 5); ops > 0; ops--) await program.step();
    await program.compare();
  }
  await program.tearDown();
}

test("random programs end as the model does", async () => {
  for (const seed of seeds(2000)) {
    await run(seed).catch((cause: Error) => {
      throw new Error(`SEED=${seed}: ${cause.message}`, { cause });
    });
  }
});
