/**
 * Channels, select, iterators, contexts and signals: random programs against one list of all waiting operations, in
 * order of arrival, which is scanned. Some steps run inside abort listeners and afterFuncs. Model and library take each
 * step together.
 */
import { getEventListeners } from "node:events";
import { Channel, ClosedChannelError, type Received } from "gopark/channel";
import {
  afterFunc,
  background,
  type Cancel,
  Canceled,
  type Context,
  cause,
  contextKey,
  fromSignal,
  withCancel,
  withoutCancel,
  withValue,
} from "gopark/context";
import { type Selectable, select, trySelect } from "gopark/select";
import { expect } from "vitest";
import type { Random } from "../support/random.ts";
import { turn } from "../support/turn.ts";
import { explore, type Program } from "./explore.ts";

/** Something that can end. A context made by withValue shares its parent's. */
interface Ending {
  readonly parent: Ending | undefined;
  ended: boolean;
  /** The cause of the end, where it began here. */
  cause: unknown;
}

/** A context or signal of the library's or the host's, with its place in the model. */
interface Handle {
  readonly name: string;
  readonly real: Cancel;
  readonly ending: Ending;
  /** Ends it. Absent if only a context or signal above can. */
  readonly cancel?: ((cause: unknown) => void) | undefined;
}

type SendCase = { readonly kind: "send"; readonly ch: number };
type ReceiveCase = { readonly kind: "receive"; readonly ch: number };
type StopCase = { readonly kind: "stop"; readonly handle: Handle };
type DoneCase = { readonly kind: "done"; readonly handle: Handle };
type Case = SendCase | ReceiveCase | StopCase | DoneCase | { readonly kind: "null" };

interface Iterator {
  readonly ch: number;
  readonly handle: Handle | undefined;
  over: boolean;
}

/** Every operation is a select: a plain one has a single case, and perhaps a handle that cancels it. */
interface Wait {
  readonly id: number;
  readonly sort: "send" | "receive" | "next" | "select" | "try";
  readonly cases: readonly Case[];
  readonly handle?: Handle | undefined;
  readonly iterator?: Iterator;
}

/**
 * The outcome of an operation. Among several of one select, `order` is the event that ended it: operations that one
 * event ends settle in order of arrival.
 */
interface Settled {
  readonly outcome: string;
  readonly order: string;
}

class Model {
  readonly buffers: number[][];
  readonly closed: boolean[];
  readonly settled = new Map<number, Settled>();
  waits: Wait[] = [];
  readonly caps: readonly number[];

  constructor(caps: readonly number[]) {
    this.caps = caps;
    this.buffers = caps.map(() => []);
    this.closed = caps.map(() => false);
  }

  /** The cases that can go ahead now. */
  ready(cases: readonly Case[]): Case[] {
    return cases.filter((c) => {
      if (c.kind === "null") return false;
      if (c.kind === "stop" || c.kind === "done") return c.handle.ending.ended;
      if (this.closed[c.ch]) return true;
      const { length } = this.buffer(c.ch);
      return c.kind === "receive"
        ? length > 0 || this.parked("send", c.ch) !== undefined
        : length < (this.caps[c.ch] as number) || this.parked("receive", c.ch) !== undefined;
    });
  }

  /** Starts an operation: takes the chosen case, parks if there is none, or gives up if it must not wait. */
  start(wait: Wait, chosen: Case | undefined): void {
    const { iterator, handle } = wait;
    if (iterator?.over) this.settle(wait, "done", "over");
    else if (handle?.ending.ended) this.cancelled(wait, handle);
    else if (chosen !== undefined) this.take(wait, chosen);
    else if (wait.sort === "try") this.settle(wait, "nothing", "nothing");
    else this.waits.push(wait);
  }

  close(ch: number): boolean {
    if (this.closed[ch]) return false;
    for (let p = this.parked("receive", ch); p !== undefined; p = this.parked("receive", ch))
      this.closedOn(p.wait, p.c);
    for (let p = this.parked("send", ch); p !== undefined; p = this.parked("send", ch)) this.refuse(p.wait, ch);
    this.closed[ch] = true;
    return true;
  }

  end(ending: Ending, cause: unknown, all: readonly Ending[]): void {
    if (ending.ended) return;
    ending.cause = cause;
    const tree = all.filter((e) => under(e, ending));
    for (const e of tree) e.ended = true;
    for (const wait of [...this.waits]) {
      if (wait.handle !== undefined && tree.includes(wait.handle.ending)) this.cancelled(wait, wait.handle);
      const stop = wait.cases.find((c) => (c.kind === "stop" || c.kind === "done") && tree.includes(c.handle.ending));
      if (stop !== undefined) this.take(wait, stop);
    }
  }

  leave(iterator: Iterator): void {
    iterator.over = true;
    for (const wait of [...this.waits]) if (wait.iterator === iterator) this.settle(wait, "done", "left");
  }

  private take(wait: Wait, c: Case): void {
    if (c.kind === "send") this.send(wait, c);
    else if (c.kind === "receive") this.receive(wait, c);
    else this.settle(wait, sayCase(wait, c, "stopped"), `end of one of ${wait.id}'s`);
  }

  private send(wait: Wait, c: SendCase): void {
    if (this.closed[c.ch]) {
      this.refuse(wait, c.ch);
      return;
    }
    const receiver = this.parked("receive", c.ch);
    if (receiver === undefined) this.buffer(c.ch).push(wait.id);
    else this.settle(receiver.wait, sayCase(receiver.wait, receiver.c, `value ${wait.id}`), `channel ${c.ch}`);
    this.settle(wait, sayCase(wait, c, "sent"), `channel ${c.ch}`);
  }

  private receive(wait: Wait, c: ReceiveCase): void {
    // A parked sender's value comes after the buffered ones, if there are any.
    const sender = this.parked("send", c.ch);
    if (sender !== undefined) {
      this.buffer(c.ch).push(sender.wait.id);
      this.settle(sender.wait, sayCase(sender.wait, sender.c, "sent"), `channel ${c.ch}`);
    }
    const value = this.buffer(c.ch).shift();
    if (value === undefined) this.closedOn(wait, c);
    else this.settle(wait, sayCase(wait, c, `value ${value}`), `channel ${c.ch}`);
  }

  private closedOn(wait: Wait, c: ReceiveCase): void {
    const outcome = wait.sort === "next" ? "done" : sayCase(wait, c, "closed");
    this.settle(wait, outcome, `channel ${c.ch}`);
  }

  private refuse(wait: Wait, ch: number): void {
    this.settle(wait, "refused", `channel ${ch}`);
  }

  private cancelled(wait: Wait, handle: Handle): void {
    if (wait.iterator !== undefined) wait.iterator.over = true;
    this.settle(wait, "cancelled", `end of ${handle.name}`);
  }

  private settle(wait: Wait, outcome: string, order: string): void {
    this.waits = this.waits.filter((w) => w !== wait);
    this.settled.set(wait.id, { outcome, order: `${wait.sort} by ${order}` });
  }

  /** The operation that has waited longest to do that on the channel, and which of its cases. */
  private parked<K extends "send" | "receive">(
    kind: K,
    ch: number,
  ): { readonly wait: Wait; readonly c: K extends "send" ? SendCase : ReceiveCase } | undefined {
    for (const wait of this.waits) {
      const c = wait.cases.find((c) => c.kind === kind && c.ch === ch);
      if (c !== undefined) return { wait, c: c as K extends "send" ? SendCase : ReceiveCase };
    }
    return undefined;
  }

  private buffer(ch: number): number[] {
    return this.buffers[ch] as number[];
  }
}

function under(ending: Ending, top: Ending): boolean {
  for (let e: Ending | undefined = ending; e !== undefined; e = e.parent) if (e === top) return true;
  return false;
}

/**
 * The outcome of a select as it reports it, with its case. Of several cases for the same operation any may be chosen,
 * and any of several that one cancel ends.
 */
function sayCase({ sort, cases }: Wait, c: Case, outcome: string): string {
  if (sort !== "select" && sort !== "try") return outcome;
  if (c.kind === "stop" || c.kind === "done") return `${outcome} by an end`;
  return `${outcome} by case ${cases.findIndex((other) => other.kind === c.kind && (other as SendCase).ch === (c as SendCase).ch)}`;
}

/** The program's side: the same operations on the library, and their outcomes. */
class Player {
  readonly model: Model;
  private readonly rnd: Random;
  private readonly program: Program;
  private readonly channels: Channel<number>[];
  private readonly handles: Handle[] = [];
  private readonly roots: AbortController[] = [];
  private readonly iterators: { readonly model: Iterator; readonly real: AsyncIterableIterator<number> }[] = [];
  private readonly settled = new Map<number, string>();
  private readonly afterFuncs: {
    readonly ending: Ending;
    readonly stop: () => boolean;
    state: "waits" | "due" | "over";
  }[] = [];

  // It is not specified whether a done channel is closed before or after the listeners of its signal run. So a program
  // has either cases with a done channel or listeners that take steps.
  private readonly withDone: boolean;
  private ids = 0;

  // How deep in listeners and afterFuncs the step is, and whether a cancel is going on.
  private depth = 0;
  private cancelling = false;

  constructor(rnd: Random, program: Program) {
    this.rnd = rnd;
    this.program = program;
    const caps = Array.from({ length: rnd.int(1, 3) }, () => rnd.int(0, 3));
    this.channels = caps.map((capacity) => new Channel(capacity));
    this.model = new Model(caps);
    this.withDone = rnd.bool(0.5);
    program.log(`channels of capacity ${caps}`);
    this.derive(undefined);
    this.derive(undefined);
    for (let i = 0; i < 3; i++) this.iterate();
  }

  async step(): Promise<void> {
    if (this.rnd.bool(0.2)) await this.select();
    else this.syncStep();
  }

  /** A step whose outcome is known at once. */
  private syncStep(): void {
    const { rnd } = this;
    const ch = rnd.int(0, this.channels.length - 1);
    const channel = this.channels[ch] as Channel<number>;
    const id = this.ids++;
    switch (rnd.int(0, 17)) {
      case 0:
      case 1: {
        const handle = this.someHandle();
        this.log(`${id} = send on ${ch}${this.saying(handle)}`);
        this.start({ id, sort: "send", cases: [{ kind: "send", ch }], handle });
        this.record(id, channel.send(id, handle?.real), () => "sent", handle);
        break;
      }
      case 2:
      case 3: {
        const handle = this.someHandle();
        this.log(`${id} = receive on ${ch}${this.saying(handle)}`);
        this.start({ id, sort: "receive", cases: [{ kind: "receive", ch }], handle });
        this.record(id, channel.receive(handle?.real), sayReceived, handle);
        break;
      }
      case 4:
        this.log(`${id} = trySend on ${ch}`);
        this.start({ id, sort: "try", cases: [{ kind: "send", ch }] });
        this.attempt(id, () => (channel.trySend(id) ? "sent by case 0" : "nothing"));
        break;
      case 5:
        this.log(`${id} = tryReceive on ${ch}`);
        this.start({ id, sort: "try", cases: [{ kind: "receive", ch }] });
        this.attempt(id, () => {
          const received = channel.tryReceive();
          return received === undefined ? "nothing" : `${sayReceived(received)} by case 0`;
        });
        break;
      case 6:
      case 7: {
        const wait: Wait = { id, sort: "try", cases: this.someCases() };
        this.log(`${id} = trySelect of ${this.sayCases(wait.cases)}`);
        this.attempt(id, () => {
          const answer = trySelect(this.real(wait));
          return answer === undefined ? "nothing" : sayAnswer(wait, answer);
        });
        this.choose(wait);
        break;
      }
      case 8:
      case 9:
      case 10: {
        const at = rnd.int(0, this.iterators.length - 1);
        const { model, real } = this.iterators[at] as (typeof this.iterators)[number];
        this.log(`${id} = next of iterator ${at}`);
        this.start({
          id,
          sort: "next",
          cases: [{ kind: "receive", ch: model.ch }],
          handle: model.handle,
          iterator: model,
        });
        this.record(id, real.next(), ({ value, done }) => (done ? "done" : `value ${value}`), model.handle);
        break;
      }
      case 11:
        this.leave(id);
        break;
      case 12:
      case 13: {
        const handle = rnd.pick(this.handles);
        if (handle.cancel === undefined || !rnd.bool(0.6)) break;
        this.end(handle);
        break;
      }
      case 14:
        this.derive(rnd.pick(this.handles));
        break;
      case 15:
        this.listen();
        break;
      case 16:
        this.defer();
        break;
      case 17:
        if (rnd.bool(0.2)) this.close(ch);
        break;
    }
  }

  /** Ends all waits. */
  async tearDown(): Promise<void> {
    this.log("the end");
    this.depth = 1;
    for (const handle of this.handles) if (handle.cancel !== undefined) this.end(handle);
    for (const ch of this.channels.keys()) this.close(ch);
    await this.compare();
    expect(this.model.waits, "waits that nothing ended").toEqual([]);
    for (const { signal } of this.roots) expect(getEventListeners(signal, "abort"), "listeners left").toEqual([]);
  }

  /** The operations that have ended since the last comparison, in order, and the state of everything. */
  async compare(): Promise<void> {
    await turn();
    equal(
      Object.fromEntries(this.settled),
      Object.fromEntries([...this.model.settled].map(([id, { outcome }]) => [id, outcome])),
      "outcomes",
    );
    equal(this.orders(this.settled.keys()), this.orders(this.model.settled.keys()), "orders");
    equal(
      this.channels.map((c) => c.len()),
      this.model.buffers.map((b) => b.length),
      "how many are buffered",
    );
    for (const handle of this.handles) this.check(handle);
    for (const { signal } of this.roots) equal(getEventListeners(signal, "abort").length <= 1, true, "one listener");
    equal(
      this.afterFuncs.filter(({ state }) => state === "due"),
      [],
      "afterFuncs that did not run",
    );
    this.settled.clear();
    this.model.settled.clear();
  }

  /** The ids, by the event that settled them. */
  private orders(ids: Iterable<number>): Record<string, number[]> {
    const orders: Record<string, number[]> = {};
    for (const id of ids) {
      const { order } = this.model.settled.get(id) as Settled;
      orders[order] ??= [];
      orders[order].push(id);
    }
    return orders;
  }

  private check({ real, ending }: Handle): void {
    if (real instanceof AbortSignal) {
      equal(real.aborted, ending.ended, "aborted");
      return;
    }
    if (!ending.ended) {
      equal([real.err(), cause(real)], [undefined, undefined], "error and cause of a live context");
      return;
    }
    let top = ending;
    while (top.cause === undefined && top.parent !== undefined) top = top.parent;
    equal(real.err() instanceof Canceled, true, "an error that is Canceled");
    equal(cause(real) === (top.cause ?? real.err()), true, "the right cause");
  }

  private close(ch: number): void {
    this.log(`close ${ch}`);
    const channel = this.channels[ch] as Channel<number>;
    if (this.model.close(ch)) channel.close();
    else expect(() => channel.close()).toThrow("close of closed channel");
  }

  private end(handle: Handle): void {
    const reason = new Error(`reason of ${handle.name}`);
    this.log(`end ${handle.name}`);
    const live = this.afterFuncs.filter(({ ending }) => !ending.ended);
    // The first cause counts, not that of an ancestor that ends later.
    if (!handle.ending.ended) this.model.end(handle.ending, reason, this.allEndings());
    for (const f of live) if (f.ending.ended && f.state === "waits") f.state = "due";
    const outer = this.cancelling;
    this.cancelling = true;
    handle.cancel?.(reason);
    this.cancelling = outer;
  }

  private allEndings(): Ending[] {
    return [...new Set(this.handles.map(({ ending }) => ending))];
  }

  /** A new context or signal, with or without a parent. */
  private derive(parent: Handle | undefined): void {
    const { rnd } = this;
    const make = (real: Cancel, ending: Ending, cancel?: (cause: unknown) => void): void => {
      this.handles.push({ name: `handle ${this.handles.length}`, real, ending, cancel });
    };
    const below = (parent: Ending | undefined): Ending => ({ parent, ended: parent?.ended ?? false, cause: undefined });
    const named = `handle ${this.handles.length}`;
    switch (parent === undefined ? rnd.int(0, 1) : rnd.int(1, 6)) {
      case 0: {
        const controller = new AbortController();
        this.roots.push(controller);
        const ending = below(undefined);
        this.log(`${named} = a signal, and a context of it`);
        make(controller.signal, ending, (cause) => controller.abort(cause));
        make(fromSignal(controller.signal), ending);
        break;
      }
      case 1:
      case 2:
      case 3: {
        this.log(`${named} = withCancel of ${parent === undefined ? "background" : parent.name}`);
        const [ctx, cancel] = withCancel(parent?.real ?? background());
        make(ctx, below(parent?.ending), cancel);
        break;
      }
      case 4: {
        const { real, ending } = parent as Handle;
        if (real instanceof AbortSignal) break;
        this.log(`${named} = withValue of ${(parent as Handle).name}`);
        make(withValue(real, contextKey("key"), 1), ending);
        break;
      }
      case 5: {
        const { real, ending } = parent as Handle;
        if (real instanceof AbortSignal) break;
        this.log(`${named} = the signal of ${(parent as Handle).name}`);
        make(real.signal, ending);
        break;
      }
      case 6:
        this.log(`${named} = withoutCancel of ${(parent as Handle).name}`);
        make(withoutCancel((parent as Handle).real), below(undefined));
        break;
    }
  }

  /** Takes a step inside a cancel. Not on a signal of the host's own, whose other listeners may be called before. */
  private listen(): void {
    const handle = this.rnd.pick(this.handles);
    const { real } = handle;
    if (this.withDone || this.depth > 0 || handle.ending.ended || real instanceof AbortSignal) return;
    if (this.roots.some(({ signal }) => signal === real.signal)) return;
    this.log(`listen to ${handle.name}`);
    real.signal.addEventListener("abort", () => {
      expect(handle.ending.ended).toBe(true);
      expect(real.err()).toBe(real.signal.reason);
      this.nested(`heard of ${handle.name}`);
    });
  }

  /** Takes a step after the end of a context, or stops an afterFunc. */
  private defer(): void {
    const handle = this.rnd.pick(this.handles);
    if (this.rnd.bool(0.3) && this.afterFuncs.length > 0) {
      const f = this.rnd.pick(this.afterFuncs);
      this.log("stop an afterFunc");
      expect(f.stop(), "stop of an afterFunc").toBe(f.state === "waits");
      if (f.state === "waits") f.state = "over";
      return;
    }
    if (this.depth > 0) return;
    this.log(`afterFunc of ${handle.name}`);
    const stop = afterFunc(handle.real, () => {
      expect(f.state, "an afterFunc that runs").toBe("due");
      expect(this.cancelling, "an afterFunc inside a cancel").toBe(false);
      f.state = "over";
      this.nested(`after ${handle.name}`);
    });
    const f: (typeof this.afterFuncs)[number] = {
      ending: handle.ending,
      stop,
      state: handle.ending.ended ? "due" : "waits",
    };
    this.afterFuncs.push(f);
  }

  private nested(where: string): void {
    if (this.depth > 0) return;
    this.depth++;
    this.log(`${where}:`);
    for (let n = this.rnd.int(1, 2); n > 0; n--) this.syncStep();
    this.depth--;
  }

  private iterate(): void {
    const ch = this.rnd.int(0, this.channels.length - 1);
    const handle = this.someHandle();
    this.log(`iterator ${this.iterators.length} of ${ch}${this.saying(handle)}`);
    const real = (this.channels[ch] as Channel<number>).values(handle?.real);
    this.iterators.push({ model: { ch, handle, over: false }, real });
  }

  private leave(id: number): void {
    const at = this.rnd.int(0, this.iterators.length - 1);
    const { model, real } = this.iterators[at] as (typeof this.iterators)[number];
    const thrown = this.rnd.bool(0.5) ? new Error(`thrown ${id}`) : undefined;
    this.log(`${id} = ${thrown === undefined ? "return" : "throw"} of iterator ${at}`);
    this.model.leave(model);
    const outcome = thrown === undefined ? "done" : "thrown";
    this.model.settled.set(id, { outcome, order: outcome });
    const left = thrown === undefined ? real.return?.() : real.throw?.(thrown);
    expect(left, "a way to leave").toBeInstanceOf(Promise);
    (left as Promise<IteratorResult<number>>).then(
      ({ value, done }) => this.settled.set(id, done && value === undefined ? "done" : "not done"),
      (error) => this.settled.set(id, error === thrown ? "thrown" : String(error)),
    );
    if (this.depth === 0) this.iterate();
  }

  private async select(): Promise<void> {
    const wait: Wait = { id: this.ids++, sort: "select", cases: this.someCases() };
    // Only the result says which of several ready cases was chosen: nothing else may happen until then.
    if (this.model.ready(wait.cases).length > 1) await turn();
    const several = this.model.ready(wait.cases).length > 1;
    this.log(`${wait.id} = select of ${this.sayCases(wait.cases)}`);
    if (!several) this.start(wait);
    this.record(wait.id, select(this.real(wait)), (answer) => sayAnswer(wait, answer));
    if (!several) return;
    await turn();
    this.choose(wait);
  }

  /** Starts in the model an operation that has an outcome already, with the chosen case, which must be a ready one. */
  private choose(wait: Wait): void {
    const outcome = this.settled.get(wait.id);
    const ready = this.model.ready(wait.cases);
    const refused = (c: Case) => c.kind === "send" && this.model.closed[c.ch];
    const chosen =
      outcome === "refused" ? ready.find(refused) : ready.find((c) => outcome?.endsWith(sayCase(wait, c, "")));
    if (ready.length > 0) expect(chosen, `a ready case, not ${outcome}`).toBeDefined();
    this.model.start(wait, chosen);
  }

  private start(wait: Wait): void {
    this.model.start(wait, this.model.ready(wait.cases)[0]);
  }

  private someHandle(): Handle | undefined {
    return this.rnd.bool(0.7) ? this.recent() : undefined;
  }

  /** One of the newest, because most old ones have ended. */
  private recent(): Handle {
    return this.handles[Math.max(this.handles.length - this.rnd.int(1, 5), 0)] as Handle;
  }

  /** Up to four cases, perhaps several for one channel, and not all of them never ready. */
  private someCases(): Case[] {
    const { rnd } = this;
    const cases = Array.from({ length: rnd.int(1, 4) }, (): Case => {
      const ch = rnd.int(0, this.channels.length - 1);
      const sort = rnd.int(0, 10);
      if (sort < 4) return { kind: "receive", ch };
      if (sort < 8) return { kind: "send", ch };
      if (sort === 10) return { kind: "null" };
      const handle = this.recent();
      return { kind: this.withDone && !(handle.real instanceof AbortSignal) && sort === 9 ? "done" : "stop", handle };
    });
    return cases.some(({ kind }) => kind === "send" || kind === "receive") ? cases : [{ kind: "receive", ch: 0 }];
  }

  private real({ id, cases }: Wait): Record<string, Selectable> {
    return Object.fromEntries(
      cases.map((c, i) => {
        const name = `case ${i}`;
        if (c.kind === "null") return [name, null];
        if (c.kind === "stop") return [name, c.handle.real];
        if (c.kind === "done") return [name, (c.handle.real as Context).done()];
        const channel = this.channels[c.ch] as Channel<number>;
        return [name, c.kind === "send" ? channel.sending(id) : channel];
      }),
    );
  }

  private attempt(id: number, operation: () => string): void {
    try {
      this.settled.set(id, operation());
    } catch (error) {
      this.settled.set(id, sayFailed(error, id, undefined));
    }
  }

  private record<T>(id: number, promise: Promise<T>, say: (answer: T) => string, handle?: Handle): void {
    promise.then(
      (answer) => this.settled.set(id, say(answer)),
      (error) => this.settled.set(id, sayFailed(error, id, handle)),
    );
  }

  private log(line: string): void {
    this.program.log("  ".repeat(this.depth) + line);
  }

  private saying(handle: Handle | undefined): string {
    return handle === undefined ? "" : ` until ${handle.name}`;
  }

  private sayCases(cases: readonly Case[]): string {
    return cases.map((c) => (c.kind === "null" ? "null" : `${c.kind} ${"ch" in c ? c.ch : c.handle.name}`)).join(", ");
  }
}

function sayReceived({ value, ok }: Received<number>): string {
  return ok ? `value ${value}` : "closed";
}

function sayAnswer(wait: Wait, answer: { case: string; value?: unknown; ok?: boolean }): string {
  const c = wait.cases[Number(answer.case.slice("case ".length))] as Case;
  if (c.kind === "send") return sayCase(wait, c, "sent");
  if (c.kind === "receive") return sayCase(wait, c, sayReceived(answer as Received<number>));
  if (c.kind === "null" || !c.handle.ending.ended) return `by ${c.kind}, which has not ended`;
  const right = c.kind === "done" ? answer.ok === false : answer.value === reasonOf(c.handle.real);
  return sayCase(wait, c, right ? "stopped" : `stopped with ${answer.value}`);
}

function reasonOf(cancel: Cancel): unknown {
  return cancel instanceof AbortSignal ? cancel.reason : cancel.err();
}

function sayFailed(error: unknown, id: number, handle: Handle | undefined): string {
  if (error instanceof ClosedChannelError) return error.value === id ? "refused" : `refused ${error.value}`;
  if (handle?.ending.ended && error === reasonOf(handle.real)) return "cancelled";
  return `failed with ${error}`;
}

/** Like expect's toEqual, which is slow. JSON shows the compared values completely. */
function equal(actual: unknown, expected: unknown, what: string): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) expect(actual, what).toEqual(expected);
}

explore(
  "channels, select, iterators, contexts and signals",
  async (_, rnd, program) => {
    const player = new Player(rnd, program);
    for (let steps = program.length(rnd.int(1, 50)); steps > 0; steps--) {
      await player.step();
      if (rnd.bool(0.25)) await player.compare();
    }
    await player.tearDown();
  },
  { quick: 300, full: 40_000 },
);
