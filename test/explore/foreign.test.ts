/**
 * Foreign contexts and signals that throw, call back in, lie or never answer, beside some that behave: random programs,
 * checked by what must hold for everything else.
 *
 * - A call without foreign contexts runs no foreign code. Functions that stop listening are never called inside a call.
 * - A function that returns a promise does not throw. A wait without a foreign context rejects with its own errors
 *   only.
 * - Every value that was sent is received once; channels are first in, first out; no receive waits while a value is
 *   there.
 * - Units are granted and given back; sleeps end when they are due; a cancel ends all below it, once.
 * - A wait ends if its foreign context throws when the wait begins to listen. One that behaves ends its waits.
 * - An error of foreign code that is called to stop listening is reported once, and no other error is.
 */
import { Channel, ClosedChannelError } from "gopark/channel";
import { afterFunc, background, type Cancel, type Context, withCancel, withTimeout, withValue } from "gopark/context";
import { type Selectable, select, trySelect } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { now, sleep } from "gopark/time";
import { expect, vi } from "vitest";
import type { Random } from "../support/random.ts";
import { turn } from "../support/turn.ts";
import { explore, type Program } from "./explore.ts";

/** The library's purpose in calling a foreign function. */
type Phase = "asks" | "begins" | "stops";

/** An error that foreign code throws. */
class Planted extends Error {
  readonly mustBeReported: boolean;

  constructor(message: string, mustBeReported: boolean) {
    super(message);
    this.mustBeReported = mustBeReported;
  }
}

/** How foreign code behaves. */
interface Character {
  readonly name: string;
  readonly behaves: boolean;
  readonly habit: "throws" | "calls back" | "lies" | "any" | "never answers";
  /** For how many calls it behaves at first. */
  patience: number;
}

/** A foreign context or signal. */
interface Foreign {
  readonly name: string;
  readonly real: Cancel;
  readonly behaves: boolean;
  ended: boolean;
  end(): void;
  /** The error with which a wait on it rejects, once it has ended. */
  error(): unknown;
}

/** A context of the library's. */
interface Own {
  readonly name: string;
  readonly ctx: Context;
  readonly cancel: () => void;
  readonly parent: Own | undefined;
  /** The foreign code above it. */
  readonly foreign: Foreign | undefined;
  readonly deadline: number;
  cancelled: boolean;
  /** Whether it has an afterFunc, and how often that ran. */
  hooked: boolean;
  ran: number;
}

/** A call and its outcome. */
interface Call {
  readonly id: number;
  readonly name: string;
  /** The channels it receives from and sends on, the units it acquires, the instant of its end. */
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly units: number;
  readonly until: number;
  readonly own: Own | undefined;
  readonly foreign: Foreign | undefined;
  /** The ticks at which it began and returned. Acts of foreign code in between are neither before nor after it. */
  readonly began: number;
  returned: number;
  /** The error with which foreign code refused to call back. */
  refused: unknown;
  state: "pending" | "done" | "failed";
  error: unknown;
}

/** A value that went through a channel. */
interface Passage {
  sent: Call | undefined;
  received: Call | undefined;
  readonly ch: number;
}

/** The size of the semaphore. */
const SIZE = 3;

/** The greatest nesting of foreign code that calls back in, and the depth from which it behaves. */
const DEEPEST = 2;
const CALM = 3;

class World {
  private readonly rnd: Random;
  private readonly program: Program;
  private readonly caps: number[];
  private readonly channels: Channel<number>[];
  private readonly closed: boolean[];
  private readonly sem = new Weighted(SIZE);
  private granted = 0;
  private readonly foreigns: Foreign[] = [];
  private readonly owns: Own[] = [];
  private readonly calls: Call[] = [];
  private readonly passages = new Map<number, Passage>();
  private readonly planted: Planted[] = [];
  private readonly violations: string[] = [];

  // The calls that are on the stack, innermost last; how deep foreign code has called back in; and the ticks.
  private readonly stack: Call[] = [];
  private depth = 0;
  private ticks = 0;
  private made = 0;

  constructor(rnd: Random, program: Program) {
    this.rnd = rnd;
    this.program = program;
    this.caps = [0, rnd.int(0, 2)];
    this.channels = this.caps.map((capacity) => new Channel(capacity));
    this.closed = this.caps.map(() => false);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    program.log(`channels of capacity ${this.caps}`);
    for (let i = 0; i < 2; i++) this.meet();
    this.derive();
  }

  async step(): Promise<void> {
    const { rnd } = this;
    switch (rnd.int(0, 9)) {
      case 0:
        this.meet();
        break;
      case 1:
        this.endForeign();
        break;
      case 2: {
        const ms = rnd.pick([1, 2, 5, 10]);
        this.log(`advance by ${ms}`);
        vi.advanceTimersByTime(ms);
        break;
      }
      default:
        this.act();
    }
    if (rnd.bool(0.4)) await this.check();
  }

  /** Ends everything. */
  async tearDown(): Promise<void> {
    this.log("the end");
    this.depth = CALM;
    for (const foreign of this.foreigns) foreign.end();
    for (const own of this.owns) this.cancel(own);
    for (const ch of this.channels.keys()) {
      this.close(ch);
      while (this.receiveNow(ch) !== undefined);
    }
    vi.advanceTimersByTime(1000);
    await this.check();
    while (this.granted > 0) {
      this.release();
      await this.check();
    }
    const pending = this.calls.filter(({ state }) => state === "pending").map(({ name }) => name);
    equal(pending.length, 0, `calls that nothing ends: ${pending}`);
    for (const [value, { sent, received }] of this.passages) {
      if (sent === undefined || received === undefined) {
        expect.fail(`value ${value} was ${sent ? "sent" : "not sent"} and ${received ? "received" : "not received"}`);
      }
    }
    this.checkOrder();
    this.checkReported();
  }

  /** The checks when everything has run that can. */
  async check(): Promise<void> {
    await turn();
    await turn();
    equal(this.violations.length, 0, this.violations.join("\n"));
    const pending = this.calls.filter(({ state }) => state === "pending");
    for (const ch of this.channels.keys()) this.checkChannel(ch, pending);
    equal(this.sem.held(), this.granted, "units held");
    const waiting = pending.filter(({ units }) => units > 0);
    equal(this.sem.waiting(), waiting.length, "how many wait for units");
    // The first waiter does not fit.
    const fits = waiting.length > 0 && waiting.every(({ units }) => units <= SIZE - this.granted);
    equal(fits, false, "all that wait for units fit");
    const met = this.calls.find(({ foreign, error }) => error instanceof Planted && foreign === undefined);
    if (met !== undefined) expect.fail(`${met.name} met the error of foreign code`);
    for (const call of pending) {
      if (call.until <= now()) expect.fail(`${call.name} sleeps on`);
      if (call.own?.cancelled) expect.fail(`${call.name} waits on under a cancelled context`);
      if (call.foreign?.behaves && call.foreign.ended)
        expect.fail(`${call.name} waits on: ${call.foreign.name} has ended`);
      if (call.refused !== undefined) expect.fail(`${call.name} still waits: no callback will come`);
    }
    const { depth } = this;
    this.depth = CALM;
    for (const own of this.owns) this.checkContext(own);
    this.depth = depth;
  }

  private checkChannel(ch: number, pending: readonly Call[]): void {
    const receivers = pending.filter(({ from }) => from.includes(ch));
    const senders = pending.filter(({ to }) => to.includes(ch));
    const len = (this.channels[ch] as Channel<number>).len();
    const meet = receivers.some((r) => senders.some((s) => s !== r));
    if (receivers.length > 0) equal(len > 0 || this.closed[ch] || meet, false, `${receivers[0]?.name} could receive`);
    if (senders.length > 0)
      equal(len < (this.caps[ch] as number) || this.closed[ch], false, `${senders[0]?.name} could send`);
    const inside = [...this.passages.values()].filter((p) => p.ch === ch && p.received === undefined);
    equal(len, inside.length, `values in channel ${ch}`);
  }

  private checkContext(own: Own): void {
    const { name, ctx, hooked, ran } = own;
    const err = ctx.err();
    let cancelled = false;
    for (let o: Own | undefined = own; o !== undefined; o = o.parent) {
      if (o.cancelled || o.deadline <= now()) cancelled = true;
    }
    if (cancelled) equal(err !== undefined, true, `${name} has ended`);
    else if (own.foreign === undefined) equal(err, undefined, `the error of ${name}`);
    else if (own.foreign.behaves)
      equal(err !== undefined, own.foreign.ended, `${name} has ended as ${own.foreign.name} has`);
    if (cancelled || own.foreign === undefined || own.foreign.behaves) {
      equal(ran, err === undefined || !hooked ? 0 : 1, `times that the afterFunc of ${name} ran`);
    } else equal(ran <= 1, true, `the afterFunc of ${name} ran once at most`);
  }

  /** Of two values in one channel, the one that was sent first is received first. */
  private checkOrder(): void {
    const before = (a: Call, b: Call) => a.returned < b.began;
    const passages = [...this.passages.values()] as { sent: Call; received: Call; ch: number }[];
    for (const a of passages) {
      for (const b of passages) {
        if (a.ch !== b.ch || !before(a.sent, b.sent) || !before(b.received, a.received)) continue;
        expect.fail(`${a.sent.name} before ${b.sent.name}, but ${b.received.name} before ${a.received.name}`);
      }
    }
  }

  private checkReported(): void {
    const reported = this.program.reported.splice(0);
    for (const error of this.planted) {
      if (error.mustBeReported) equal(reported.filter((e) => e === error).length, 1, `reports of: ${error.message}`);
    }
    const others = reported.filter((error) => !(error instanceof Planted));
    if (others.length > 0) throw others[0];
  }

  // The steps.

  /** A step that may be taken anywhere, even by foreign code inside a call. */
  private act(): void {
    const { rnd } = this;
    const ch = rnd.int(0, this.channels.length - 1);
    const channel = this.channels[ch] as Channel<number>;
    switch (rnd.int(0, 14)) {
      case 0:
      case 1:
        this.wait("receive", { from: [ch] }, (cancel, call) =>
          channel.receive(cancel).then(({ value, ok }) => this.received(ch, ok ? value : undefined, call)),
        );
        break;
      case 2:
      case 3:
        this.wait("send", { to: [ch] }, (cancel, call) =>
          channel.send(call.id, cancel).then(() => this.sent(ch, call)),
        );
        break;
      case 4:
        this.now("trySend", undefined, (call) => {
          if (!this.closed[ch] && channel.trySend(call.id)) this.sent(ch, call);
        });
        break;
      case 5:
        this.receiveNow(ch);
        break;
      case 6:
        this.wait("next", { from: [ch] }, (cancel, call) =>
          channel
            .values(cancel)
            .next()
            .then(({ value, done }) => this.received(ch, done ? undefined : value, call)),
        );
        break;
      case 7:
      case 8:
        this.select(ch);
        break;
      case 9:
        this.wait("acquire", { units: rnd.int(1, SIZE) }, (cancel, { units }) =>
          this.sem.acquire(cancel ?? background(), units).then(() => {
            this.granted += units;
          }),
        );
        break;
      case 10:
        this.release();
        break;
      case 11: {
        const ms = rnd.pick([1, 2, 5, 10]);
        this.wait("sleep", { until: now() + ms }, (cancel) => sleep(ms, cancel));
        break;
      }
      case 12:
        this.derive();
        break;
      case 13:
        if (this.owns.length > 0) this.cancel(rnd.pick(this.owns));
        break;
      case 14:
        if (rnd.bool(0.1)) this.close(ch);
        break;
    }
  }

  /** A call that may wait, under some context. */
  private wait(
    what: string,
    wants: Partial<Pick<Call, "from" | "to" | "units" | "until">>,
    make: (cancel: Cancel | undefined, call: Call) => Promise<unknown>,
    { cancel, own, foreign } = this.someCancel(),
  ): void {
    const under = (own ?? foreign)?.name;
    const call = this.begin(`${what}${under === undefined ? "" : ` under ${under}`}`, wants, own, foreign);
    call.state = "pending";
    let promise: Promise<unknown>;
    try {
      promise = make(cancel, call);
    } catch (error) {
      this.violations.push(`${call.name} threw: ${error}`);
      promise = Promise.resolve();
    }
    this.end(call);
    promise.then(
      () => {
        call.state = "done";
      },
      (error) => {
        call.state = "failed";
        call.error = error;
        this.checkRejected(call);
      },
    );
  }

  private checkRejected({ name, own, foreign, to, error }: Call): void {
    const closed = to.some((ch) => this.closed[ch]) && error instanceof ClosedChannelError;
    const cancelled = own !== undefined && error === own.ctx.err();
    const ended = foreign !== undefined && (!foreign.behaves || (foreign.ended && error === foreign.error()));
    if (!closed && !cancelled && !ended) this.violations.push(`${name} rejected: ${error}`);
  }

  /** A call that does not wait. Unless it is under foreign code, it must not throw. */
  private now<R>(what: string, foreign: Foreign | undefined, fn: (call: Call) => R): R | undefined {
    const call = this.begin(what, {}, undefined, foreign);
    try {
      return fn(call);
    } catch (error) {
      if (foreign === undefined || foreign.behaves) this.violations.push(`${call.name} threw: ${error}`);
      return undefined;
    } finally {
      this.end(call);
    }
  }

  private begin(
    what: string,
    { from = [], to = [], units = 0, until = Number.POSITIVE_INFINITY }: Partial<Call>,
    own: Own | undefined,
    foreign: Foreign | undefined,
  ): Call {
    const id = this.calls.length;
    const name = `${id} = ${what}${from.map((ch) => `, from ${ch}`).join("")}${to.map((ch) => `, to ${ch}`).join("")}`;
    const call: Call = {
      ...{ id, name, from, to, units, until, own, foreign, began: this.ticks++, returned: Number.POSITIVE_INFINITY },
      ...{ refused: undefined, state: "done", error: undefined },
    };
    this.log(name);
    this.calls.push(call);
    this.stack.push(call);
    return call;
  }

  private end(call: Call): void {
    call.returned = this.ticks++;
    this.stack.pop();
  }

  private select(ch: number): void {
    const { rnd } = this;
    const other = rnd.int(0, this.channels.length - 1);
    const sends = rnd.bool(0.4) && !this.closed[other];
    const some = this.someCancel();
    const wants = { from: [ch], to: sends ? [other] : [] };
    const cases = (id: number): Record<string, Selectable> => ({
      received: this.channels[ch] as Channel<number>,
      sent: sends ? (this.channels[other] as Channel<number>).sending(id) : null,
      stop: some.cancel,
    });
    const answered = (answer: { case: string; value?: unknown; ok?: boolean } | undefined, call: Call): void => {
      if (answer?.case === "sent") this.sent(other, call);
      if (answer?.case === "received") this.received(ch, answer.ok ? (answer.value as number) : undefined, call);
    };
    if (rnd.bool(0.3)) this.now("trySelect", some.foreign, (call) => answered(trySelect(cases(call.id)), call));
    else this.wait("select", wants, (_, call) => select(cases(call.id)).then((s) => answered(s, call)), some);
  }

  private receiveNow(ch: number): number | undefined {
    return this.now("tryReceive", undefined, (call) => {
      const received = (this.channels[ch] as Channel<number>).tryReceive();
      if (received?.ok) this.received(ch, received.value, call);
      return received?.value;
    });
  }

  private release(): void {
    if (this.granted === 0) return;
    const units = this.rnd.int(1, this.granted);
    this.granted -= units;
    this.now(`release ${units}`, undefined, () => this.sem.release(units));
  }

  private close(ch: number): void {
    if (this.closed[ch]) return;
    this.closed[ch] = true;
    this.now(`close ${ch}`, undefined, () => (this.channels[ch] as Channel<number>).close());
  }

  private cancel(own: Own): void {
    own.cancelled = true;
    this.now(`cancel ${own.name}`, undefined, () => own.cancel());
  }

  /** A context of the library's, without a parent, below another, or below a foreign one. */
  private derive(): void {
    const { rnd } = this;
    const { cancel, own, foreign } = this.someCancel();
    const name = `context ${this.made++}`;
    const ms = rnd.bool(0.3) ? rnd.pick([1, 5, 10]) : undefined;
    const at = ms === undefined ? Number.POSITIVE_INFINITY : now() + ms;
    const under = (own ?? foreign)?.name ?? "background";
    this.now(`${name} of ${under}${ms === undefined ? "" : `, timeout ${ms}`}`, foreign, () => {
      const parent = cancel !== undefined && rnd.bool(0.2) ? withValue(cancel, "key", 1) : (cancel ?? background());
      const scope = ms === undefined ? withCancel(parent) : withTimeout(parent, ms);
      // An earlier foreign deadline applies instead, if it is true.
      const deadline = foreign === undefined || foreign.behaves ? at : Number.POSITIVE_INFINITY;
      const made: Own = {
        ...{ name, ctx: scope.ctx, cancel: () => scope.cancel(new Error(name)), parent: own, foreign, deadline },
        ...{ cancelled: false, hooked: false, ran: 0 },
      };
      this.owns.push(made);
      const throws = rnd.bool(0.1);
      afterFunc(scope.ctx, () => {
        made.ran++;
        if (this.stack.length > 0) this.violations.push(`the afterFunc of ${name} ran inside ${this.stack[0]?.name}`);
        this.callBack(`after ${name}`);
        if (throws) throw this.plant(`the afterFunc of ${name}`, true);
      });
      made.hooked = true;
      if (rnd.bool(0.3)) {
        scope.ctx.signal.addEventListener("abort", () => this.callBack(`heard of ${name}`));
      }
    });
  }

  private endForeign(): void {
    const foreign = this.rnd.pick(this.foreigns);
    this.log(`${foreign.name} ends`);
    foreign.end();
  }

  private someCancel(): { cancel: Cancel | undefined; own: Own | undefined; foreign: Foreign | undefined } {
    const { rnd } = this;
    if (this.owns.length > 0 && rnd.bool(0.4)) {
      const own = rnd.pick(this.owns.slice(-4));
      return { cancel: own.ctx, own, foreign: own.foreign };
    }
    if (this.foreigns.length === 0 || rnd.bool(0.4)) return { cancel: undefined, own: undefined, foreign: undefined };
    const foreign = rnd.pick(this.foreigns.slice(-4));
    return { cancel: foreign.real, own: undefined, foreign };
  }

  private sent(ch: number, call: Call): void {
    this.passage(ch, call.id).sent = call;
  }

  private received(ch: number, value: number | undefined, call: Call): void {
    if (value === undefined) return;
    const passage = this.passage(ch, value);
    if (passage.received !== undefined) this.violations.push(`value ${value} was received twice`);
    passage.received = call;
  }

  private passage(ch: number, value: number): Passage {
    const passage = this.passages.get(value) ?? { sent: undefined, received: undefined, ch };
    this.passages.set(value, passage);
    return passage;
  }

  // Foreign code.

  /** Takes a step inside the current call. */
  private callBack(where: string): void {
    if (this.depth >= DEEPEST) return;
    this.depth++;
    this.log(`${where}:`);
    this.act();
    this.depth--;
  }

  private plant(where: string, mustBeReported: boolean): Planted {
    const error = new Planted(`${where} threw ${this.planted.length}`, mustBeReported);
    this.log(error.message);
    this.planted.push(error);
    return error;
  }

  /** The body of every foreign function: checks that it may be called here, and behaves unless it is to misbehave. */
  private play<R>(phase: Phase, who: Character, method: string, rightly: () => R, ...lies: (() => unknown)[]): R {
    const { rnd } = this;
    const call = this.stack.at(-1);
    const where = `${method} of ${who.name}`;
    if (call !== undefined && (phase === "stops" || call.foreign === undefined)) {
      this.violations.push(`${where} was called inside ${call.name}`);
    }
    if (who.behaves || this.depth >= CALM || who.patience-- > 0 || rnd.bool(0.6)) return rightly();
    const habit = who.habit === "any" ? rnd.pick(["throws", "calls back", "lies"] as const) : who.habit;
    if (habit === "throws") {
      const error = this.plant(where, phase === "stops");
      if (phase === "begins" && call !== undefined && call.state === "pending") call.refused = error;
      throw error;
    }
    if (habit === "lies" && lies.length > 0) {
      this.log(`${where} lies`);
      return rnd.pick(lies)() as R;
    }
    if (habit === "calls back") this.callBack(where);
    return rightly();
  }

  /** Makes a foreign context or signal. */
  private meet(): void {
    const { rnd } = this;
    const behaves = rnd.bool(0.35);
    const sort = rnd.pick(["afterFunc", "done", "wrapper", "derived", "signal", "host's signal"] as const);
    const name = `${behaves ? "good" : "bad"} ${sort} ${this.foreigns.length}`;
    const habit = rnd.pick(["throws", "throws", "calls back", "lies", "any", "never answers"] as const);
    const who = { name, behaves, habit, patience: rnd.int(0, 5) };
    this.log(behaves ? name : `${name}: ${habit}`);
    if (sort === "signal") this.foreigns.push(this.makeSignal(who));
    else if (sort === "host's signal") this.foreigns.push(this.spoilSignal(who));
    else if (sort === "wrapper" || sort === "derived") this.foreigns.push(this.wrap(who, sort));
    else this.foreigns.push(this.makeContext(who, sort === "afterFunc"));
  }

  private makeContext(who: Character, withAfterFunc: boolean): Foreign {
    const done = new Channel<never>();
    const listeners = new Set<() => void>();
    let error: Error | undefined;
    const ctx: Context = {
      deadline: () =>
        this.play(
          ...([
            "asks",
            who,
            "deadline",
            () => undefined,
            () => Number.NaN,
            () => 0,
            () => "soon",
            () => now() + 3,
          ] as const),
        ),
      done: () =>
        this.play(
          "asks",
          who,
          "done",
          () => done,
          () => null,
          () => new Channel(),
          () => ({ receive: 1 }),
        ),
      err: () =>
        this.play(
          "asks",
          who,
          "err",
          () => error,
          () => undefined,
          () => new Error("a lie"),
          () => "no error",
        ),
      value: () =>
        this.play(
          "asks",
          who,
          "value",
          () => undefined,
          () => 1,
          () => this.owns[0]?.ctx,
          () => done,
        ),
      get signal(): AbortSignal {
        return new AbortController().signal;
      },
    };
    if (withAfterFunc) {
      ctx.afterFunc = (fn) => {
        const register = () => {
          listeners.add(fn);
          return () =>
            this.play(
              "stops",
              who,
              "stop",
              () => listeners.delete(fn),
              () => false,
              () => fn(),
            );
        };
        const atOnce = (): unknown => {
          fn();
          return register();
        };
        return this.play(
          "begins",
          who,
          "afterFunc",
          register,
          () => () => true,
          () => 1,
          atOnce,
          () => void register(),
        );
      };
    }
    return this.foreign(
      who,
      ctx,
      () => error,
      () => {
        error = new Error(`the end of ${who.name}`);
        if (!who.behaves && who.habit === "never answers") return;
        done.close();
        for (const fn of [...listeners]) fn();
      },
    );
  }

  /** A context around one of the library's: with methods that call its, or made from it as from a prototype. */
  private wrap(who: Character, sort: "wrapper" | "derived"): Foreign {
    const [inner, cancel] = withCancel(background());
    const methods: Partial<Context> = {
      deadline: () =>
        this.play(
          "asks",
          who,
          "deadline",
          () => inner.deadline(),
          () => 0,
          () => Number.NaN,
        ),
      done: () =>
        this.play(
          "asks",
          who,
          "done",
          () => inner.done(),
          () => null,
          () => new Channel(),
        ),
      err: () =>
        this.play(
          "asks",
          who,
          "err",
          () => inner.err(),
          () => undefined,
          () => new Error("a lie"),
        ),
      value: (key: unknown) =>
        this.play(
          "asks",
          who,
          "value",
          () => inner.value(key),
          () => undefined,
          () => inner,
        ),
    };
    const ctx: Context = Object.create(sort === "derived" ? inner : {});
    for (const [method, fn] of Object.entries(methods)) {
      if (sort === "wrapper" || this.rnd.bool(0.3)) Object.defineProperty(ctx, method, { value: fn });
    }
    if (sort === "wrapper") Object.defineProperty(ctx, "signal", { get: () => inner.signal });
    return this.foreign(
      who,
      ctx,
      () => inner.err(),
      () => cancel(new Error(`the end of ${who.name}`)),
    );
  }

  /** An object with the part of a signal that the library uses. */
  private makeSignal(who: Character): Foreign {
    const listeners = new Set<() => void>();
    const play = this.play.bind(this) as World["play"];
    let aborted = false;
    const reason = new Error(`the end of ${who.name}`);
    const signal = {
      get aborted(): boolean {
        return play(
          "asks",
          who,
          "aborted",
          () => aborted,
          () => true,
          () => false,
        );
      },
      reason,
      addEventListener: (_: string, fn: () => void): void =>
        play(
          "begins",
          who,
          "addEventListener",
          () => void listeners.add(fn),
          () => {},
          () => {
            fn();
            listeners.add(fn);
          },
        ),
      removeEventListener: (_: string, fn: () => void): void =>
        play(
          "stops",
          who,
          "removeEventListener",
          () => void listeners.delete(fn),
          () => {},
          () => fn(),
        ),
    };
    return this.foreign(
      who,
      signal as unknown as AbortSignal,
      () => reason,
      () => {
        aborted = true;
        if (!who.behaves && who.habit === "never answers") return;
        for (const fn of [...listeners]) fn();
      },
    );
  }

  /**
   * A signal of the host's whose methods have been replaced, or that has a listener which stops the event for all
   * others.
   */
  private spoilSignal(who: Character): Foreign {
    const controller = new AbortController();
    const { signal } = controller;
    const { addEventListener, removeEventListener } = AbortSignal.prototype;
    if (who.behaves && this.rnd.bool(0.5)) signal.addEventListener("abort", (e) => e.stopImmediatePropagation());
    else {
      const replace = (method: string, phase: Phase, rightly: (...args: never[]) => void) =>
        Object.defineProperty(signal, method, {
          value: (...args: never[]) =>
            this.play(
              phase,
              who,
              method,
              () => Reflect.apply(rightly, signal, args),
              () => {},
              () => {
                (args[1] as unknown as () => void)();
                Reflect.apply(rightly, signal, args);
              },
            ),
        });
      replace("addEventListener", "begins", addEventListener as never);
      replace("removeEventListener", "stops", removeEventListener as never);
    }
    return this.foreign(
      who,
      signal,
      () => signal.reason,
      () => controller.abort(new Error(`the end of ${who.name}`)),
    );
  }

  private foreign({ name, behaves }: Character, real: Cancel, error: () => unknown, end: () => void) {
    const foreign: Foreign = {
      ...{ name, real, behaves, ended: false, error },
      end: () => {
        if (foreign.ended) return;
        foreign.ended = true;
        end();
      },
    };
    return foreign;
  }

  private log(line: string): void {
    this.program.log("  ".repeat(this.depth % CALM) + line);
  }
}

/** Like expect's toBe, which is slow. */
function equal(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) expect(actual, what).toBe(expected);
}

explore(
  "foreign contexts and signals",
  async (_, rnd, program) => {
    const world = new World(rnd, program);
    for (let steps = program.length(rnd.int(1, 40)); steps > 0; steps--) await world.step();
    await world.tearDown();
  },
  { quick: 300, full: 40_000 },
);
