/**
 * What lets calls through: the rate, the queue for a slot, the breaker.
 *
 * 1. The host's breaker, if it is open, a full queue, where there is no slot, and the rate refuse at once. The rate
 *    counts calls here, though they may wait: it is asked last, so that a call which is refused takes no token.
 * 2. The call waits for a slot of its host, then for one of all hosts. In this order, so that calls to a host that
 *    hangs hold no slots that the others need.
 * 3. The breaker is asked again, now for a place: a probe must not wait in a queue.
 * 4. While a half-open breaker has no place, the call waits for what the probe finds. To refuse it would keep the
 *    breaker half-open for ever where calls are made in groups: the refusal of one cancels the others, of which one is
 *    the probe, and a cancelled probe finds nothing.
 */
import { afterFunc, type Context, withTimeout } from "../../context.ts";
import { QueueFullError as PermitQueueFullError, Weighted } from "../../semaphore.ts";
import type { Request as BreakerRequest } from "../breaker/machine.ts";
import { isThenable, show } from "../data/args.ts";
import { warn } from "../host/async.ts";
import { now } from "../time/clock.ts";
import { completed, failedWith } from "../time/turn.ts";
import { giveName } from "../track/named.ts";
import { Kind } from "../track/tracker.ts";
import { sourceOf } from "../wait/foreign.ts";
import type { Cancel } from "../wait/source.ts";
import { Waiters } from "../wait/wait.ts";
import type { Call } from "./call.ts";
import { BreakerOpenError, type CallError, QueueFullError, QueueTimeoutError, RateLimitedError } from "./errors.ts";
import { type Host, Hosts, NOT_COUNTED, type RateRefusal } from "./hosts.ts";
import type { Permits } from "./limits.ts";
import type { LimitPolicy } from "./options.ts";

const CLOSE = new Kind("http close", "wait");

type Permit = Awaited<ReturnType<Permits["permit"]>>;

/** A call that has been let through. */
export interface Entry {
  /** To be released once. */
  readonly slot: Slot;
  /** What its host's breaker is told the end of, if it has one. */
  readonly counted: BreakerRequest | undefined;
}

/** A slot of the host and one of all hosts, while a request holds them. */
export class Slot {
  private readonly gate: Gate;
  private readonly host: Host;
  private readonly ofHost: Permit;
  private readonly ofAll: Permit;

  constructor(gate: Gate, host: Host, ofHost: Permit, ofAll: Permit) {
    this.gate = gate;
    this.host = host;
    this.ofHost = ofHost;
    this.ofAll = ofAll;
    host.running++;
    gate.running++;
  }

  release(): void {
    this.host.running--;
    this.gate.running--;
    giveBack(this.ofAll);
    giveBack(this.ofHost);
    this.gate.wakeIfIdle();
  }
}

/** The limits of a caller, and the calls that they hold back. */
export class Gate {
  readonly hosts: Hosts;

  /** How many requests hold a slot. Changed by {@link Slot}. */
  running = 0;

  private readonly permits: Permits;
  private readonly queueTimeout: number | undefined;
  private readonly what: string;

  // The calls that hold no slot and wait for something.
  private readonly parked = new Set<Call>();

  // Why no call is let through any more. Set by `close`.
  private closing: TypeError | undefined = undefined;
  private readonly closes = new Waiters<void>(CLOSE);

  constructor(policy: LimitPolicy) {
    const { name, concurrency, queueTimeout, what } = policy;
    this.hosts = new Hosts(policy);
    this.permits = typeof concurrency === "number" ? new Weighted(concurrency) : concurrency;
    this.queueTimeout = queueTimeout;
    this.what = what;
    giveName("httpCalls", this, name, `${what}: name`);
  }

  /** How many calls wait for a slot. */
  waiting(): number {
    let n = 0;
    for (const host of this.hosts.all()) n += host.queued;
    return n;
  }

  /** How many hosts have an open breaker. */
  hostsDown(): number {
    let n = 0;
    for (const { breaker } of this.hosts.all()) if (breaker?.peekState() === "open") n++;
    return n;
  }

  isClosed(): boolean {
    return this.closing !== undefined;
  }

  /** Throws TypeError once it is closed. */
  checkOpen(): void {
    if (this.closing !== undefined) throw this.closing;
  }

  /** Says that a call waits between two attempts: closing ends that. Take it back by {@link unpark}. */
  park(call: Call): void {
    this.parked.add(call);
  }

  unpark(call: Call): void {
    this.parked.delete(call);
  }

  /**
   * Lets a further request of a call through beside another; undefined where it would have to wait for a slot, or is
   * refused. Limits that are not our own have to be asked: it waits for what they say. Rejects, holding nothing, when
   * `ctx` ends first, and with what they throw.
   */
  async tryEnter(ctx: Context, host: Host, n: number): Promise<Entry | undefined> {
    if (this.closing !== undefined || this.isOpen(host)) return undefined;
    const ofHost = await tryPermit(host.permits, ctx, n);
    if (ofHost === undefined) return undefined;
    let slot: Slot | undefined;
    try {
      const ofAll = await tryPermit(this.permits, ctx, n);
      if (ofAll !== undefined) slot = new Slot(this, host, ofHost, ofAll);
    } finally {
      if (slot === undefined) giveBack(ofHost);
    }
    if (slot === undefined) return undefined;
    let mayGo = false;
    try {
      const refusal = await orEnd(Promise.resolve(this.hosts.refusal(host)), ctx, () => ctx.err());
      mayGo = refusal === undefined && !this.isClosed();
    } finally {
      if (!mayGo) slot.release();
    }
    return mayGo ? this.begin(host, slot) : undefined;
  }

  /** Takes back what {@link tryEnter} has given, for a request that is not made. */
  leave(host: Host, { slot, counted }: Entry): void {
    if (counted !== undefined) host.count(counted, NOT_COUNTED);
    slot.release();
  }

  /**
   * Lets a request of the call through, at once where it can. The call may have ended meanwhile. Throws, or rejects,
   * holding nothing, with a CallError, and with what the functions of the options throw.
   */
  enter(call: Call, host: Host, n: number): Entry | Promise<Entry> {
    if (this.isOpen(host)) throw breakerOpen(call, host);
    const slot = this.trySlot(host, n);
    if (slot === undefined) this.checkQueue(call, host); // Before the rate counts the call.
    let limited: ReturnType<Hosts["refusal"]> | true = true;
    try {
      limited = this.hosts.refusal(host);
    } finally {
      if (limited !== undefined) slot?.release();
    }
    if (limited instanceof Promise) return this.enterLater(call, host, n, limited);
    if (limited !== undefined) throw rateLimited(call, limited.retryAt);
    const entry = slot === undefined ? undefined : this.begin(host, slot);
    return entry ?? this.enterLater(call, host, n, undefined);
  }

  private async enterLater(
    call: Call,
    host: Host,
    n: number,
    asked: Promise<RateRefusal | undefined> | undefined,
  ): Promise<Entry> {
    this.park(call);
    try {
      const limited = asked && (await orEnd(asked, call.ctx, () => call.endError("queue", "no")));
      if (limited !== undefined) throw rateLimited(call, limited.retryAt);
      for (;;) {
        const slot = this.trySlot(host, n) ?? (await this.waitForSlot(call, host, n));
        const entry = this.begin(host, slot);
        if (entry !== undefined) return entry;
        if (!this.isOpen(host)) await this.waitForProbe(call, host);
        if (this.isOpen(host)) throw breakerOpen(call, host);
      }
    } finally {
      this.unpark(call);
    }
  }

  /** Takes a place in the breaker, if there is one; otherwise gives the slot back. */
  private begin(host: Host, slot: Slot): Entry | undefined {
    const { breaker } = host;
    if (breaker === undefined) return { slot, counted: undefined };
    let counted: BreakerRequest | undefined;
    try {
      if (breaker.findRefusal() === undefined) counted = breaker.begin();
    } finally {
      if (counted === undefined) slot.release();
    }
    return counted === undefined ? undefined : { slot, counted };
  }

  private isOpen({ breaker }: Host): boolean {
    return breaker !== undefined && breaker.state() === "open";
  }

  private trySlot(host: Host, n: number): Slot | undefined {
    const { permits } = this;
    if (!(host.permits instanceof Weighted && permits instanceof Weighted)) return undefined;
    const ofHost = host.permits.tryPermit(n);
    const ofAll = ofHost === undefined ? undefined : permits.tryPermit(n);
    if (ofHost !== undefined && ofAll !== undefined) return new Slot(this, host, ofHost, ofAll);
    ofHost?.release();
    return undefined;
  }

  private waitForSlot(call: Call, host: Host, n: number): Promise<Slot> {
    return this.queued(call, host, "a slot", async (ctx) => {
      const ofHost = await permitOf(host.permits, ctx, n);
      try {
        return new Slot(this, host, ofHost, await permitOf(this.permits, ctx, n));
      } catch (error) {
        giveBack(ofHost);
        throw error;
      }
    });
  }

  private waitForProbe(call: Call, host: Host): Promise<void> {
    return this.queued(call, host, "the probe of its circuit breaker", async (ctx) => {
      const source = sourceOf(ctx);
      const ending = source.poll();
      if (ending !== undefined) throw ending.error();
      await host.probed.park(source, undefined);
    });
  }

  /** Throws if the call would wait, and its host's queue is full. */
  private checkQueue(call: Call, host: Host): void {
    // Not `maxWaiting` of the host's permits: calls that wait for one of all slots count too.
    // A call that has waited between two attempts goes in all the same: its answer is gone. The budget bounds those.
    if (host.queued >= host.queue && call.attempt === 1) throw queueFull(call, `${host.queue} calls wait already`);
  }

  /** Runs `wait`, a wait for `what`, as a place in the host's queue, for the time that a call may stay there. */
  private async queued<T>(call: Call, host: Host, what: string, wait: (ctx: Context) => Promise<T>): Promise<T> {
    this.checkQueue(call, host);
    const { ctx, cancel } = withTimeout(call.ctx, this.queueTimeout ?? call.timeLeft() / 2);
    const since = now();
    host.queued++;
    try {
      return await wait(ctx);
    } catch (error) {
      if (call.ctx.err() === undefined && ctx.err() !== undefined) throw queueTimeout(call, what, now() - since);
      throw queueError(call, error);
    } finally {
      host.queued--;
      cancel();
    }
  }

  /** See SafeCaller.close. */
  close(cancel: Cancel | undefined): Promise<void> {
    const source = sourceOf(cancel);
    const ending = source.poll();
    if (ending?.failed) return failedWith(ending.error()); // No context, and no signal.
    this.closing ??= new TypeError(`${this.what} is closed`);
    for (const call of this.parked) call.cancel(this.closing);
    if (ending !== undefined) return failedWith(ending.error());
    return this.running === 0 ? completed() : this.closes.park(source, undefined);
  }

  wakeIfIdle(): void {
    if (this.running === 0 && this.closes.size > 0) this.closes.wakeAll(undefined);
  }
}

/** Settles as `promise` does, but rejects when `ctx` ends first. */
function orEnd<T>(promise: Promise<T>, ctx: Context, endError: () => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = afterFunc(ctx, () => reject(endError()));
    promise.then(resolve, reject).finally(stop);
  });
}

/** Takes n units if they are free now; of permits that have to be asked, waits for them. */
function tryPermit(permits: Permits, ctx: Context, n: number): Permit | undefined | Promise<Permit> {
  return permits instanceof Weighted ? permits.tryPermit(n) : permitOf(permits, ctx, n);
}

/**
 * Takes n units; rejects when `ctx` ends, whether or not the permits heed it. Units that come later are given back.
 */
function permitOf(permits: Permits, ctx: Context, n: number): Promise<Permit> {
  if (permits instanceof Weighted) return permits.permit(ctx, n);
  return new Promise((resolve, reject) => {
    let isOver = false;
    const stop = afterFunc(ctx, () => {
      isOver = true;
      reject(ctx.err());
    });
    const settle = (fn: () => void) => {
      stop();
      fn();
    };
    // The call runs here, so that an error that it throws rejects.
    new Promise<Permit>((granted) => granted(permits.permit(ctx, n))).then(
      (permit) => {
        if (isOver) giveBack(permit);
        else if (typeof permit?.release === "function") settle(() => resolve(permit));
        else settle(() => reject(new TypeError(`permit must resolve to an object with release, got ${show(permit)}`)));
      },
      (error) => settle(() => reject(error)),
    );
  });
}

/** Releases a permit that may be foreign. */
function giveBack(permit: Permit): void {
  const failed = (error: unknown) => warn(error, "release of a permit");
  try {
    const released: unknown = permit.release();
    if (isThenable(released)) Promise.resolve(released).catch(failed);
  } catch (error) {
    failed(error);
  }
}

/** What a call rejects with whose wait in the queue has failed with `error`. */
function queueError(call: Call, error: unknown): unknown {
  if (call.ctx.err() !== undefined) return call.endError("queue", "no");
  return error instanceof PermitQueueFullError ? queueFull(call, error.message) : error;
}

function queueTimeout(call: Call, what: string, ms: number): CallError {
  return call.refusal(`waited ${Math.round(ms)} ms for ${what}`, (...args) => new QueueTimeoutError(...args));
}

function queueFull(call: Call, why: string): CallError {
  return call.refusal(`refused: ${why}`, (...args) => new QueueFullError(...args));
}

function breakerOpen(call: Call, { breaker }: Host): CallError {
  const retryAt = breaker?.retryAt();
  return call.refusal("refused: its circuit breaker is open", (...args) => new BreakerOpenError(...args, retryAt));
}

function rateLimited(call: Call, retryAt: number | undefined): CallError {
  return call.refusal("refused: rate exceeded", (...args) => new RateLimitedError(...args, retryAt));
}
