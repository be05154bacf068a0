/** Stages that drop items: random programs of items, readers and time against arrays. */
import { background } from "gopark/context";
import { track } from "gopark/leak";
import { broadcast, debounce, type Stage, throttle } from "gopark/pipeline";
import { beforeAll, expect, test, vi } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { HandSource } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

const ctx = background();
const MS = 10;
const END = "end";
type Result = number | typeof END;

/** A reader of a stage: what it has asked for, and got. */
class Reader {
  readonly got: Result[] = [];
  readonly #iterator: AsyncIterator<number>;

  constructor(stage: Stage<number>) {
    this.#iterator = stage[Symbol.asyncIterator]();
  }

  next(): void {
    void this.#iterator.next().then(({ value, done }) => this.got.push(done ? END : value));
  }

  async leave(): Promise<void> {
    await this.#iterator.return?.();
  }
}

/** The reference of a reader: up to `buffer` items wait for it. */
class ReaderModel {
  readonly got: Result[] = [];
  readonly waiting: number[] = [];
  asked = 0;
  ended = false;

  next(): void {
    if (this.waiting.length > 0) this.got.push(this.waiting.shift() as number);
    else if (this.ended) this.got.push(END);
    else this.asked++;
  }

  give(item: number): void {
    if (this.asked > 0) {
      this.asked--;
      this.got.push(item);
    } else this.waiting.push(item);
  }

  end(): void {
    this.ended = true;
    for (; this.asked > 0; this.asked--) this.got.push(END);
  }
}

/** A stage with a single place for its reader, and what happens when an item comes and when its time is over. */
abstract class TimeModel {
  readonly reader = new ReaderModel();
  protected last: number | undefined;
  protected due = Number.POSITIVE_INFINITY;
  private closed = false;

  abstract item(item: number, at: number): void;
  protected abstract over(at: number): void;
  protected abstract end(): void;

  advanceTo(at: number): void {
    while (this.due <= at) this.over(this.due);
    this.settle();
  }

  close(): void {
    this.closed = true;
    this.end();
    this.settle();
  }

  private settle(): void {
    if (this.closed && this.last === undefined) this.reader.end();
  }

  protected handOut(): void {
    if (this.last !== undefined) this.reader.give(this.last);
    this.last = undefined;
  }

  /** Takes back the item that the reader has not taken. */
  protected retract(): boolean {
    return this.reader.waiting.pop() !== undefined;
  }
}

class Debounce extends TimeModel {
  item(item: number, at: number): void {
    this.retract();
    this.last = item;
    this.due = at + MS;
  }

  protected over(): void {
    this.handOut();
    this.due = Number.POSITIVE_INFINITY;
  }

  protected end(): void {
    this.over();
  }
}

class Throttle extends TimeModel {
  item(item: number, at: number): void {
    const atOnce = this.retract() || this.due === Number.POSITIVE_INFINITY;
    this.last = item;
    if (!atOnce) return;
    this.handOut();
    this.due = at + MS;
  }

  protected over(at: number): void {
    this.due = this.last === undefined ? Number.POSITIVE_INFINITY : at + MS;
    this.handOut();
  }

  protected end(): void {}
}

async function timed(rnd: Random, stageOf: typeof debounce, model: TimeModel): Promise<void> {
  vi.useFakeTimers();
  const source = new HandSource<number>();
  const reader = new Reader(stageOf(ctx, source, MS));
  const both = [reader, model.reader];
  let now = 0;
  let item = 0;
  const pass = async (ms: number) => {
    now += ms;
    vi.advanceTimersByTime(ms);
    await turns(2);
    model.advanceTo(now);
  };
  for (const each of both) each.next(); // It begins.
  await turn();
  for (let i = 0; i < 60; i++) {
    switch (rnd.int(0, 3)) {
      case 0:
      case 1:
        source.give(++item);
        model.item(item, now);
        break;
      case 2:
        for (const each of both) each.next();
        break;
      default:
        // One step at a time: with larger ones, the next period would begin late.
        for (let ms = rnd.pick([1, 4, MS, 2 * MS + 1]); ms > 0; ms--) await pass(1);
    }
    await turns(2);
    expect(reader.got, `step ${i}`).toEqual(model.reader.got);
  }
  source.end();
  model.close();
  for (let ms = 0; ms <= MS; ms++) await pass(1);
  for (let i = 0; i < 3; i++) for (const each of both) each.next();
  await turns(2);
  expect(reader.got).toEqual(model.reader.got);
  expect([reader.got.at(-1), vi.getTimerCount()]).toEqual([END, 0]);
}

test.each(seeds(40))("debounce does what an array does, SEED=%d", (seed) =>
  timed(random(seed), debounce, new Debounce()),
);
test.each(seeds(40))("throttle does what an array does, SEED=%d", (seed) =>
  timed(random(seed), throttle, new Throttle()),
);

test.each(seeds(60))("subscribers of a broadcast get what arrays do, SEED=%d", async (seed) => {
  const rnd = random(seed);
  const source = new HandSource<number>();
  const hub = broadcast(ctx, source);
  interface Subscriber {
    readonly reader: Reader;
    readonly model: ReaderModel;
    give(item: number): void;
  }
  const all: Subscriber[] = [];
  const subscribe = () => {
    const [slow, buffer] = [rnd.pick(["dropOldest", "dropNewest"] as const), rnd.int(1, 3)];
    const model = new ReaderModel();
    const give = (item: number) => {
      if (model.waiting.length < buffer) model.give(item);
      else if (slow === "dropOldest") {
        model.waiting.shift();
        model.give(item);
      }
    };
    all.push({ reader: new Reader(hub.subscribe({ slow, buffer })), model, give });
  };
  const read = ({ reader, model }: Subscriber) => {
    reader.next();
    model.next();
  };
  subscribe();
  read(all[0] as Subscriber); // It begins.
  await turn();
  for (let item = 0; item < 80; item++) {
    switch (rnd.int(0, 4)) {
      case 0:
      case 1:
        source.give(item);
        for (const each of all) each.give(item);
        break;
      case 2:
      case 3:
        read(rnd.pick(all));
        break;
      default:
        if (all.length < 5) subscribe();
        else {
          const [left] = all.splice(rnd.int(0, 4), 1) as [Subscriber];
          await left.reader.leave();
          left.model.end();
          await turn();
          expect(left.reader.got).toEqual(left.model.got);
        }
    }
    await turns(2);
    for (const { reader, model } of all) expect(reader.got, `item ${item}`).toEqual(model.got);
  }
  source.end();
  await turns(2);
  for (const each of all) {
    each.model.end();
    for (let i = 0; i < 4; i++) read(each);
  }
  await turns(2);
  for (const { reader, model } of all) expect([reader.got, reader.got.at(-1)]).toEqual([model.got, END]);
});
