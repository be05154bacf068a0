/**
 * Sleeps, deadlines, timers, tickers, `after` and limiter waits under fake clocks: random programs against one list of
 * what is armed, by instant and then in order of arming, which is scanned. Alarms fire in that order, never early, and
 * nothing armed is forgotten while the fakes are driven. Under a mocked clock every look sees at once what is due.
 */
import {
  afterFunc,
  background,
  Canceled,
  type Context,
  DeadlineExceeded,
  withCancel,
  withDeadline,
} from "gopark/context";
import { every, Limiter } from "gopark/rate";
import { type Selectable, select } from "gopark/select";
import { type After, after, now, sleep, Ticker, Timer } from "gopark/time";
import { expect, vi } from "vitest";
import type { Random } from "../support/random.ts";
import { turn } from "../support/turn.ts";
import { explore, type Program } from "./explore.ts";

/** An event at an instant. */
interface Alarm {
  when: number;
  /** Its place among the alarms of one instant, while it is armed. */
  order: number;
  /** Whether it was armed for longer than a host timer can run, which then fires in between. */
  far?: boolean;
  fire(t: number): void;
}

/** A context. */
interface Node {
  readonly name: string;
  readonly parent: Node | undefined;
  readonly ctx: Context;
  readonly cancel: () => void;
  /** The earliest deadline, here or above. */
  readonly deadline: number;
  /** Its own deadline, if that is the earliest. */
  readonly alarm: Alarm | undefined;
  ended: "no" | "by cancel" | "by deadline" | "by either";
  ran: number;
  heard: number;
  listened: boolean;
}

/** A Timer or Ticker: a channel with room for one instant. */
interface Clock {
  readonly name: string;
  readonly real: Timer | Ticker;
  readonly alarm: Alarm;
  period: number;
  sent: number | undefined;
}

/** A case of any number of selects, ready once. */
interface Timeout {
  readonly name: string;
  readonly real: After;
  readonly alarm: Alarm;
  taken: boolean;
}

/** A limiter that allows one event in each `interval`, and a second one with the same calls, for the instants. */
interface Pacer {
  readonly real: Limiter;
  readonly shadow: Limiter;
  /** A wait was cancelled or rejected: this explorer does not check what that gives back. */
  spoiled: boolean;
}

/** A wait, which ends by any of these. */
interface Wait {
  readonly id: number;
  readonly alarm?: Alarm;
  readonly clock?: Clock | undefined;
  readonly timeout?: Timeout | undefined;
  readonly pacer?: Pacer;
  /** The context that cancels it, or in a select is a case. */
  readonly node: Node | undefined;
  readonly stopped: "cancelled" | "stopped";
}

/** How a program uses the clock: drives it; also clears all timers; also replaces it, by the host's own too. */
type Mode = "driven" | "cleared" | "changed";

/** Far behind the host's own clock: alarms that are armed under fakes are not due under the host's timers. */
const START = Date.UTC(2100, 0, 1);

/** Longer than a host timer can run. */
const LONG = 3e9;

class Player {
  private readonly rnd: Random;
  private readonly program: Program;
  private readonly mode: Mode;

  // The armed alarms; the waits in order of arrival; and the settled waits, in groups, each of them in any order.
  private armed: Alarm[] = [];
  private waits: Wait[] = [];
  private settled: string[][] = [];
  private readonly really: string[] = [];
  private group: string[] | undefined;

  private readonly nodes: Node[] = [];
  private readonly clocks: Clock[] = [];
  private readonly timeouts: Timeout[] = [];
  private pacer: Pacer;
  private orders = 0;
  private ids = 0;

  // The time; that of the fakes, which continues when they are back; and whether the host timer may be gone, so that
  // nothing fires until the earliest instant changes.
  private time = START;
  private fakeTime = START;
  private faked = true;
  private dead = false;

  constructor(rnd: Random, program: Program, mode: Mode) {
    this.rnd = rnd;
    this.program = program;
    this.mode = mode;
    this.fake(START);
    this.pacer = this.pace();
    this.derive(undefined);
    this.derive(undefined);
  }

  async step(): Promise<void> {
    const { rnd } = this;
    if (!this.faked && rnd.bool(0.3)) this.fake(this.fakeTime + rnd.pick([0, 0, 1, 5, 1000, -1, -1000]));
    else if (this.mode === "changed" && rnd.bool(0.08)) this.change();
    else if (this.mode === "cleared" && rnd.bool(0.08)) this.clear();
    else if (this.faked && rnd.bool(0.25)) await this.drive();
    else this.use();
  }

  /** Ends and fires everything. */
  async tearDown(): Promise<void> {
    this.program.log("the end");
    if (!this.faked) this.fake(this.fakeTime);
    for (const node of this.nodes) this.cancel(node);
    for (const clock of this.clocks) this.stop(clock);
    if (this.armed.length > 0) {
      this.revive();
      const last = Math.max(this.time, ...this.armed.map(({ when }) => Math.ceil(when)));
      vi.advanceTimersByTime(last - this.time);
      this.advance(last);
    }
    await this.compare();
    expect([this.armed, this.waits], "what nothing ended").toEqual([[], []]);
  }

  /** The waits that have settled since the last comparison, in order, and the state of the contexts. */
  async compare(): Promise<void> {
    for (const node of this.nodes) if (this.distinct(node)) this.check(node);
    await turn();
    const { settled, really } = this;
    // The order in which one end settles several waits is not specified.
    const expected = settled.flatMap((group) => group.toSorted());
    const actual = settled.flatMap(({ length }) => really.splice(0, length).toSorted()).concat(really.splice(0));
    if (String(actual) !== String(expected)) expect(actual, "what settled").toEqual(expected);
    this.settled = [];
    for (const { name, ended, ran, heard, listened } of this.nodes) {
      const over = ended === "no" ? 0 : 1;
      if (ran !== over) expect(ran, `afterFuncs run of ${name}`).toBe(over);
      if (listened && heard !== over) expect(heard, `abort listeners of ${name} called`).toBe(over);
    }
    if (this.faked && !this.dead) {
      const timers = this.armed.length === 0 ? 0 : 1;
      if (vi.getTimerCount() !== timers) expect(vi.getTimerCount(), "fake timers").toBe(timers);
    }
  }

  /** Looks at a context. */
  private check(node: Node): void {
    this.look(node);
    const err = node.ctx.err();
    const kinds = {
      no: err === undefined,
      "by cancel": err instanceof Canceled,
      "by deadline": err instanceof DeadlineExceeded,
      "by either": err !== undefined,
    };
    if (!kinds[node.ended]) expect(err, `the error of ${node.name}, ended: ${node.ended}`).toBe(node.ended);
    equal(node.ctx.deadline(), node.deadline === Number.POSITIVE_INFINITY ? undefined : node.deadline, "the deadline");
  }

  // The clock.

  private fake(at: number): void {
    this.log(`fake timers at ${at - START}`);
    vi.useFakeTimers({
      now: at,
      ...(this.rnd.bool(0.5) && { toFake: ["setTimeout", "clearTimeout", "performance", "Date"] }),
    });
    this.dead = this.armed.length > 0;
    this.faked = true;
    this.time = at;
    for (const alarm of this.armed) this.measure(alarm);
  }

  private change(): void {
    this.fakeTime = this.faked ? this.time : this.fakeTime;
    if (this.rnd.bool(0.3)) {
      this.fake(this.fakeTime + this.rnd.pick([0, 1, 5, 1000, -1, -1000]));
      return;
    }
    this.log("real timers");
    vi.useRealTimers();
    this.faked = false;
    this.time = now();
  }

  private clear(): void {
    this.log("clear all timers");
    vi.clearAllTimers(); // Which also sets the clock back to its beginning.
    this.time = now();
    this.dead = this.armed.length > 0;
    for (const alarm of this.armed) this.measure(alarm);
  }

  private async drive(): Promise<void> {
    const { rnd } = this;
    if (this.dead) this.revive();
    // A ticker would tick all the time.
    const ticks = this.clocks.some(({ period, alarm }) => period > 0 && this.armed.includes(alarm));
    const ms = rnd.pick([0, 1, 1, 2, 3, 5, 10, 17, 50, ticks ? 100 : 1000, ticks ? 100 : LONG]);
    const first = this.first();
    switch (rnd.int(0, 5)) {
      case 0:
      case 1:
        this.log(`advance by ${ms}`);
        vi.advanceTimersByTime(ms);
        this.advance(this.time + ms);
        break;
      case 2:
        this.log(`advance by ${ms}, asynchronously`);
        await vi.advanceTimersByTimeAsync(ms);
        this.advance(this.time + ms);
        break;
      case 3:
      case 4: {
        this.log("advance to the next timer");
        if (rnd.bool(0.5)) vi.advanceTimersToNextTimer();
        else vi.runOnlyPendingTimers();
        const to = now();
        if (first === undefined) expect(to, "the time, with no timer").toBe(this.time);
        else if (!first.far) {
          expect(to, "the time of the next timer").toBe(Math.max(Math.ceil(first.when), this.time));
        }
        this.advance(to);
        break;
      }
      case 5: {
        const by = rnd.pick([-1e9, -1000, 1000, 1e9]);
        this.log(`the system's clock is set by ${by}`);
        vi.setSystemTime(Date.now() + by);
        break;
      }
    }
    expect(now(), "the time").toBe(this.time);
  }

  /** Changes the earliest instant, by a sleep that comes before everything that is not due. */
  private revive(): void {
    const first = this.first();
    const ms = first === undefined ? 1 : (first.when - this.time) / 2;
    this.sleep(ms > 0 ? ms : 1, undefined);
    this.dead = false;
  }

  private advance(to: number): void {
    for (let first = this.first(); first !== undefined && Math.ceil(first.when) <= to; first = this.first()) {
      this.time = Math.max(this.time, Math.ceil(first.when));
      this.disarm(first);
      first.fire(this.time);
    }
    this.time = to;
  }

  private first(): Alarm | undefined {
    let first: Alarm | undefined;
    for (const alarm of this.armed) {
      const { when, order } = alarm;
      if (first === undefined || when < first.when || (when === first.when && order < first.order)) first = alarm;
    }
    return first;
  }

  private arm(alarm: Alarm): void {
    if (alarm.when === Number.POSITIVE_INFINITY) return;
    alarm.order = this.orders++;
    this.measure(alarm);
    this.armed.push(alarm);
  }

  private measure(alarm: Alarm): void {
    alarm.far = alarm.when - this.time > 2 ** 31 - 1;
  }

  private disarm(alarm: Alarm | undefined): boolean {
    const { length } = this.armed;
    this.armed = this.armed.filter((a) => a !== alarm);
    return this.armed.length < length;
  }

  private due(alarm: Alarm | undefined): boolean {
    return alarm !== undefined && this.armed.includes(alarm) && alarm.when <= this.time;
  }

  // The steps.

  private use(): void {
    const { rnd } = this;
    if (!this.faked) this.time = now();
    const node = rnd.pick(this.nodes);
    const clock = this.clocks.length > 0 ? rnd.pick(this.clocks) : undefined;
    switch (rnd.int(0, 17)) {
      case 0:
      case 1:
      case 2:
        if (rnd.bool(0.5)) this.sleep(this.duration(), undefined);
        else if (this.distinct(node)) this.sleep(rnd.bool(0.1) ? Number.POSITIVE_INFINITY : this.duration(), node);
        break;
      case 3:
      case 4:
        if (this.distinct(node)) this.derive(node);
        break;
      case 5:
        if (rnd.bool(0.5)) this.cancel(node);
        break;
      case 6:
        if (this.distinct(node)) this.check(node);
        break;
      case 7:
        if (this.distinct(node)) this.pollDone(node);
        break;
      case 8:
        this.makeClock();
        break;
      case 9:
        if (clock !== undefined) this.stop(clock);
        break;
      case 10:
        if (clock !== undefined) this.reset(clock);
        break;
      case 11:
      case 12:
        if (clock !== undefined && this.distinct(node, clock)) this.receive(clock, node);
        break;
      case 13:
        if (clock !== undefined && this.distinct(node, clock)) this.tryReceive(clock);
        break;
      case 14:
      case 15:
        this.select(node, clock);
        break;
      case 16:
      case 17:
        // It paces by milliseconds: too soon for the host's own timers.
        if (this.faked) this.wait(rnd.bool(0.5) ? undefined : node);
        break;
    }
  }

  /**
   * Many are equal, and some are due between two milliseconds. No test runs until one of the host's own timers is due.
   */
  private duration(least = -1): number {
    if (!this.faked) return this.rnd.pick([Math.max(least, 0), Math.max(least, -1), 1e7, 2e7]);
    return this.rnd.pick([0, -1, 0.5, 1, 1.5, 2, 3, 5, 5, 5, 10, 10, 10, 20, 1000, LONG]);
  }

  private sleep(ms: number, node: Node | undefined): void {
    const id = this.ids++;
    this.log(`${id} = sleep ${ms}${node === undefined ? "" : ` under ${node.name}`}`);
    const t = this.time;
    if (this.refused(node)) this.settle(id, "cancelled");
    else if (ms <= 0) this.settle(id, "slept");
    else this.parkUntil(id, t + ms, "slept", { node });
    this.record(id, sleep(ms, node?.ctx), () => "slept");
  }

  private wait(node: Node | undefined): void {
    if (this.pacer.spoiled) this.pacer = this.pace();
    const { pacer } = this;
    if (node !== undefined && !this.distinct(node)) return;
    const id = this.ids++;
    this.log(`${id} = wait for the limiter${node === undefined ? "" : ` under ${node.name}`}`);
    if (this.refused(node)) this.settle(id, "cancelled");
    else {
      const delay = pacer.shadow.reserve(1, this.time).delay(this.time);
      if (delay > (node?.deadline ?? Number.POSITIVE_INFINITY) - this.time) {
        pacer.spoiled = true;
        this.settle(id, "refused");
      } else if (delay === 0) this.settle(id, "waited");
      else this.parkUntil(id, this.time + delay, "waited", { node, pacer });
    }
    this.record(id, pacer.real.wait(node?.ctx ?? background(), 1), () => "waited");
  }

  private pace(): Pacer {
    const interval = this.rnd.pick([4, 5, 10]);
    this.log(`a limiter of one event in ${interval}`);
    const make = () => new Limiter(every(interval), 2);
    return { real: make(), shadow: make(), spoiled: false };
  }

  private derive(parent: Node | undefined): void {
    const { rnd } = this;
    const name = `context ${this.nodes.length}`;
    const above = parent?.ctx ?? background();
    const ended = parent !== undefined && this.refused(parent) ? parent.ended : "no";
    const ms = rnd.bool(0.6) ? this.duration() : undefined;
    this.log(`${name} of ${parent?.name ?? "background"}${ms === undefined ? "" : `, timeout ${ms}`}`);
    const at = this.time + (ms ?? 0);
    const [ctx, cancel] = ms === undefined ? withCancel(above) : withDeadline(above, at);
    const own = ms !== undefined && !((parent?.deadline ?? Number.POSITIVE_INFINITY) < at);
    const node: Node = {
      name,
      parent,
      ctx,
      cancel,
      deadline: own ? at : (parent?.deadline ?? Number.POSITIVE_INFINITY),
      alarm: own ? { when: at, order: 0, fire: () => this.end(node, "by deadline") } : undefined,
      ended,
      ran: 0,
      heard: 0,
      listened: false,
    };
    this.nodes.push(node);
    if (node.alarm !== undefined && ended === "no") {
      if (at <= this.time) node.ended = "by deadline";
      else this.arm(node.alarm);
    }
    afterFunc(ctx, () => {
      node.ran++;
    });
    if (node.ended !== "no" || !rnd.bool(0.3)) return;
    node.listened = true;
    ctx.signal.addEventListener("abort", () => {
      node.heard++;
    });
  }

  private cancel(node: Node): void {
    this.log(`cancel ${node.name}`);
    if (node.ended === "no") this.end(node, this.dueOn(node).length > 0 ? "by either" : "by cancel");
    node.cancel();
  }

  private pollDone(node: Node): void {
    this.log(`poll done of ${node.name}`);
    this.look(node);
    const polled = node.ctx.done()?.tryReceive();
    expect(polled?.ok, "what is polled from done").toBe(node.ended === "no" ? undefined : false);
  }

  private makeClock(): void {
    const ms = this.duration(this.faked ? -1 : 1e7);
    // The host's clock stands between milliseconds, and so would the ticks.
    const ticks = this.faked && this.rnd.bool(0.4);
    const name = `${ticks ? "ticker" : "timer"} ${this.clocks.length}`;
    const period = Math.max(Math.ceil(ms), 1);
    this.log(`${name} of ${ticks ? period : ms}`);
    const clock: Clock = {
      name,
      real: ticks ? new Ticker(period) : new Timer(ms),
      alarm: { when: this.time + (ticks ? period : ms), order: 0, fire: (t) => this.ring(clock, t) },
      period: ticks ? period : 0,
      sent: undefined,
    };
    this.clocks.push(clock);
    this.arm(clock.alarm);
  }

  private stop(clock: Clock): void {
    this.log(`stop ${clock.name}`);
    const active = this.disarm(clock.alarm) || clock.sent !== undefined;
    clock.sent = undefined;
    const stopped = clock.real.stop();
    if (clock.period === 0) expect(stopped, "stop of a timer").toBe(active);
  }

  private reset(clock: Clock): void {
    if (clock.period > 0 && !this.faked) return;
    const ms = this.duration(this.faked ? -1 : 1e7);
    const active = this.disarm(clock.alarm) || clock.sent !== undefined;
    clock.sent = undefined;
    if (clock.period > 0) clock.period = Math.max(Math.ceil(ms), 1);
    const first = clock.period > 0 ? clock.period : ms;
    this.log(`reset ${clock.name} to ${first}`);
    clock.alarm.when = this.time + first;
    this.arm(clock.alarm);
    const was = clock.real.reset(first);
    if (clock.period === 0) expect(was, "reset of a timer").toBe(active);
  }

  private tryReceive(clock: Clock): void {
    this.log(`poll ${clock.name}`);
    this.lookAt(clock);
    const { sent } = clock;
    clock.sent = undefined;
    expect(clock.real.c.tryReceive()?.value, `what is polled from ${clock.name}`).toBe(sent);
  }

  private receive(clock: Clock, node: Node): void {
    const id = this.ids++;
    this.log(`${id} = receive from ${clock.name} under ${node.name}`);
    if (this.refused(node)) this.settle(id, "cancelled");
    else {
      this.lookAt(clock);
      if (clock.sent === undefined) this.waits.push({ id, clock, node, stopped: "cancelled" });
      else this.settle(id, `rung at ${clock.sent}`);
      clock.sent = undefined;
    }
    this.record(id, clock.real.c.receive(node.ctx), ({ value }) => `rung at ${value}`);
  }

  private select(node: Node, clock: Clock | undefined): void {
    const { rnd } = this;
    if (this.timeouts.length === 0 || rnd.bool(0.5)) this.makeTimeout();
    const timeout = rnd.pick(this.timeouts.slice(-3));
    const withClock = clock !== undefined && rnd.bool(0.5);
    if (!this.distinct(node, withClock ? clock : undefined, timeout.alarm)) return;
    // If it is due, but has not fired, it belongs to the select that waits for it.
    if (this.due(timeout.alarm)) return;
    const late = !timeout.taken && timeout.alarm.when <= this.time;
    const willRing =
      withClock && (this.due(clock.alarm) ? this.waiting(clock) === undefined : clock.sent !== undefined);
    const willStop = node.ended !== "no" || this.dueOn(node).length > 0;
    if (Number(late) + Number(willRing) + Number(willStop) > 1) return; // It chooses any.
    const id = this.ids++;
    this.log(`${id} = select of ${timeout.name}, ${withClock ? `${clock.name}, ` : ""}${node.name}`);
    const stop = this.refused(node);
    if (withClock) this.lookAt(clock);
    if (stop) this.settle(id, "stopped");
    else if (late) {
      timeout.taken = true;
      this.settle(id, `late at ${this.faked ? this.time : "real"}`);
    } else if (withClock && clock.sent !== undefined) {
      this.settle(id, `rung at ${clock.sent}`);
      clock.sent = undefined;
    } else {
      const waited = this.waits.some((wait) => wait.timeout === timeout);
      if (!waited && !timeout.taken) this.arm(timeout.alarm);
      this.waits.push({ id, timeout, clock: withClock ? clock : undefined, node, stopped: "stopped" });
    }
    const cases: Record<string, Selectable> = {
      late: timeout.real,
      rung: withClock ? clock.real.c : null,
      stop: node.ctx,
    };
    this.record(id, select(cases), (answer) => {
      if (answer.case === "stop") return "stopped";
      return `${answer.case} at ${answer.case === "late" && !this.faked ? "real" : (answer as { value: number }).value}`;
    });
  }

  private makeTimeout(): void {
    const ms = this.duration();
    const name = `after ${this.timeouts.length}`;
    this.log(`${name} of ${ms}`);
    const timeout: Timeout = {
      name,
      real: after(ms),
      alarm: { when: this.time + ms, order: 0, fire: (t) => this.timeOut(timeout, t) },
      taken: false,
    };
    this.timeouts.push(timeout);
  }

  // What follows from it.

  private parkUntil(id: number, when: number, what: string, wait: { node: Node | undefined; pacer?: Pacer }): void {
    const alarm: Alarm = {
      when,
      order: 0,
      fire: () => {
        this.waits = this.waits.filter((w) => w.id !== id);
        this.settle(id, what);
      },
    };
    this.arm(alarm);
    this.waits.push({ id, alarm, stopped: "cancelled", ...wait });
  }

  private ring(clock: Clock, t: number): void {
    if (clock.period > 0) {
      // On the grid of the first tick; what was missed is dropped.
      const { alarm, period } = clock;
      alarm.when += period * (1 + Math.floor((t - alarm.when) / period));
      this.arm(alarm);
    }
    const wait = this.waiting(clock);
    if (wait !== undefined) this.finish(wait, `rung at ${t}`);
    else clock.sent ??= t;
  }

  private timeOut(timeout: Timeout, t: number): void {
    timeout.taken = true;
    const wait = this.waits.find((w) => w.timeout === timeout);
    if (wait !== undefined) this.finish(wait, `late at ${t}`);
  }

  private end(node: Node, how: "by cancel" | "by deadline" | "by either"): void {
    const tree = this.nodes.filter((n) => this.path(n).includes(node) && n.ended === "no");
    this.group = [];
    for (const n of tree) {
      n.ended = how;
      this.disarm(n.alarm);
    }
    for (const wait of this.waits) {
      if (wait.node === undefined || !tree.includes(wait.node)) continue;
      if (wait.pacer !== undefined) wait.pacer.spoiled = true;
      this.finish(wait, wait.stopped);
    }
    if (this.group.length > 0) this.settled.push(this.group);
    this.group = undefined;
  }

  private finish(wait: Wait, what: string): void {
    this.waits = this.waits.filter((w) => w !== wait);
    const { alarm, timeout } = wait;
    this.disarm(alarm);
    if (timeout !== undefined && !this.waits.some((w) => w.timeout === timeout)) this.disarm(timeout.alarm);
    this.settle(wait.id, what);
  }

  private settle(id: number, what: string): void {
    if (this.group === undefined) this.settled.push([`${id} ${what}`]);
    else this.group.push(`${id} ${what}`);
  }

  private waiting(clock: Clock): Wait | undefined {
    return this.waits.find((wait) => wait.clock === clock);
  }

  // Looking.

  /** The context and those above it. */
  private path(node: Node): Node[] {
    const path: Node[] = [];
    for (let n: Node | undefined = node; n !== undefined; n = n.parent) path.push(n);
    return path;
  }

  private dueOn(node: Node): Node[] {
    return node.ended === "no" ? this.path(node).filter(({ alarm }) => this.due(alarm)) : [];
  }

  /** Whether no two things are due that a look would find: their order is not specified. */
  private distinct(node: Node, clock?: Clock, alarm?: Alarm): boolean {
    return this.dueOn(node).length + Number(this.due(clock?.alarm)) + Number(this.due(alarm)) <= 1;
  }

  private look(node: Node): void {
    for (const n of this.dueOn(node)) this.end(n, "by deadline");
  }

  private lookAt({ alarm }: Clock): void {
    if (!this.due(alarm)) return;
    this.disarm(alarm);
    alarm.fire(this.time);
  }

  /** Whether an operation under the context fails at once. */
  private refused(node: Node | undefined): boolean {
    if (node !== undefined) this.look(node);
    return node !== undefined && node.ended !== "no";
  }

  private record<T>(id: number, promise: Promise<T>, say: (answer: T) => string): void {
    promise.then(
      (answer) => this.really.push(`${id} ${say(answer)}`),
      (error) => {
        const ended = error instanceof Canceled || error instanceof DeadlineExceeded;
        const refused = String(error).includes("would exceed context deadline");
        this.really.push(`${id} ${refused ? "refused" : ended ? "cancelled" : error}`);
      },
    );
  }

  private log(line: string): void {
    this.program.log(line);
  }
}

/** Like expect's toBe, which is slow. */
function equal(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) expect(actual, what).toBe(expected);
}

const MODES: readonly Mode[] = ["driven", "cleared", "changed"];

explore(
  "sleeps, deadlines, timers, tickers and limiter waits under fake clocks",
  async (seed, rnd, program) => {
    const player = new Player(rnd, program, MODES[seed % MODES.length] as Mode);
    for (let steps = program.length(rnd.int(1, 50)); steps > 0; steps--) {
      await player.step();
      if (rnd.bool(0.3)) await player.compare();
    }
    await player.tearDown();
  },
  { quick: 300, full: 40_000 },
);
