/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Leases of a semaphore that a fleet shares, as one process sees them.
 *
 * A {@link Request} asks until it has been granted. With a subscriber it has a place in the server's queue. It is told
 * of the grant by a message, and asks, too, in a third of the time for which a waiter counts as alive, in ten seconds,
 * or when the next lease expires if it is the first: messages may be lost. Without one it has no place, and asks again
 * and again.
 *
 * Asking, renewing and releasing are idempotent by the id of the request. So a call whose answer was lost is simply
 * made again.
 *
 * A {@link Holding} is what has been granted. It is renewed until it is released or lost. By the clock of this process
 * it always ends before it does by that of the server: it is counted from before the call was sent that made or renewed
 * it. (That holds as long as the two clocks run equally fast.)
 */
import { type CancelFunc, type Context, withCancel, withoutCancel } from "../../context.ts";
import { asyncDisposable } from "../host/dispose.ts";
import { withoutStack } from "../host/errors.ts";
import { now } from "../time/clock.ts";
import { type Alarm, arm, disarm, refTimer, unrefTimer } from "../time/timers.ts";
import { completedWith, failedWith, RESOLVED } from "../time/turn.ts";
import type { LeakRecord } from "../track/records.ts";
import { isDue, type Kind, makeRecord, onBehalfOf, type PublicFunction } from "../track/tracker.ts";
import { sourceOf } from "../wait/foreign.ts";
import type { Cancel } from "../wait/source.ts";
import { type CancelHooks, Wait, Waiters } from "../wait/wait.ts";
import { LostError } from "./errors.ts";
import type { Answer, Closable, Granted, Link } from "./link.ts";
import { ACQUIRE, RELEASE, RENEW } from "./scripts.ts";

/** A waiter asks, and a lease is renewed, this many times in the time of a lease. */
const TIMES_A_LEASE = 3;

/** A waiter asks at the latest after so many milliseconds: a message may have been lost, and a lease may be an hour. */
const LONGEST_PAUSE_IN_QUEUE = 10_000;

/** Without a subscriber: how long to wait at least and at most before asking again, in milliseconds. */
const FIRST_PAUSE = 8;
const LONGEST_PAUSE = 256;

/** Units that are held until {@link release}, as long as they can be renewed. */
export class Lease {
  /** How many units. */
  readonly n: number;

  /**
   * Ends when the lease is lost, with a {@link LostError} as its cause, or has been released. It has the values of the
   * context with which the lease was asked for, and does not end with that: `context.merge(ctx, lease.ctx)` ends with
   * either.
   */
  readonly ctx: Context;

  readonly #holding: Holding;

  /** @internal */
  constructor(holding: Holding, ctx: Context) {
    this.#holding = holding;
    this.n = holding.n;
    this.ctx = ctx;
  }

  /**
   * Whether the units are held. Reads the clock: a process that was stopped, or blocked, for longer than the lease
   * knows it by this at once, before any timer.
   */
  valid(): boolean {
    return this.#holding.isValid();
  }

  /**
   * Gives the units back, and ends `ctx`. Resolves to false if the lease had been lost, so that others may have held
   * the units at the same time. Never rejects: where Redis cannot be asked, the lease's own clock decides, and the
   * units are given back later, at the latest when the lease ends on the server. The second call does nothing, and
   * resolves to the same.
   */
  release(): Promise<boolean> {
    return this.#holding.release();
  }

  /** Gives the units back at the end of an `await using` block. */
  declare readonly [Symbol.asyncDispose]: () => Promise<void>;

  static {
    asyncDisposable(this.prototype, async function (this: Lease) {
      await this.release();
    });
  }
}

/** What a semaphore and a lock are made of. */
export interface LeasesOptions {
  readonly link: Link;
  /** The name of the keys, which all have. */
  readonly key: string;
  /** How many units there are. */
  readonly size: number;
  /** How long a lease lasts that is not renewed, in milliseconds. */
  readonly lease: number;
  readonly acquireKind: Kind;
  readonly leaseKind: Kind;
  /** The public functions at which the stack of a record begins. */
  readonly entryPoints: () => readonly PublicFunction[];
  readonly make: (holding: Holding, ctx: Context, fence: number) => Lease;
}

/** The requests and the leases of one semaphore in this process. */
export class Leases implements CancelHooks<Wait<Lease | undefined, Request>> {
  readonly options: LeasesOptions;
  readonly keys: string[];

  /** How many units this process holds. */
  held = 0;

  readonly waiters: Waiters<Lease | undefined, Request>;

  constructor(options: LeasesOptions) {
    this.options = options;
    // In braces, by which a cluster chooses the slot.
    this.keys = ["leases", "waiters", "alive", "state"].map((part) => `{${options.key}}:${part}`);
    this.waiters = new Waiters<Lease | undefined, Request>(options.acquireKind, this);
  }

  /** Waits for a lease. `n` has been checked. */
  acquire(ctx: Cancel | undefined, n: number): Promise<Lease> {
    return this.park(ctx, n, true) as Promise<Lease>;
  }

  /** Takes a lease if it is there: resolves to undefined if not. */
  tryAcquire(n: number): Promise<Lease | undefined> {
    return this.park(undefined, n, false);
  }

  private park(ctx: Cancel | undefined, n: number, waits: boolean): Promise<Lease | undefined> {
    const source = sourceOf(ctx);
    const ending = source.poll();
    if (ending !== undefined) return failedWith(ending.error());
    let request: Request;
    try {
      this.options.link.checkOpen();
      request = new Request(this, n, withoutCancel(ctx), waits);
    } catch (error) {
      return failedWith(error);
    }
    const wait = new Wait<Lease | undefined, Request>(this.options.acquireKind, source, request);
    this.waiters.push(wait);
    request.begin(wait);
    wait.dependent?.listen();
    return wait.promise;
  }

  onCancel(wait: Wait<Lease | undefined, Request>): void {
    wait.value.leave();
  }
}

/** One that asks for a lease. The alarm is when it asks again. */
export class Request implements Alarm, Granted {
  // While it is waiting, it is in `leases.waiters` and known to the link, and either a call is out or posted, or the
  // alarm is armed. It is granted when it has its lease, and has left when it wants none any more.
  private state: "waiting" | "granted" | "left" = "waiting";

  when = 0;
  index = -1;

  private readonly leases: Leases;
  private readonly id: string;
  private readonly n: number;
  private readonly values: Context;

  // False for one that takes what is there, or nothing.
  private readonly waits: boolean;

  // Set by `begin`.
  private wait!: Wait<Lease | undefined, Request>;

  // Whether a call is out or posted.
  private asking = false;

  // Whether the server may have a place or a lease for this.
  private known = false;

  // Until when failures are borne: for the first call as long as that may take; after an answer as long as the server
  // counts this as alive.
  private until: number;
  private answered = false;

  private pause = FIRST_PAUSE;

  // Once it is granted.
  private holding: Holding | undefined = undefined;

  /** `values` is a context that never ends, with the values that those of the lease is to have. */
  constructor(leases: Leases, n: number, values: Context, waits: boolean) {
    const { link } = leases.options;
    this.leases = leases;
    this.n = n;
    this.values = values;
    this.waits = waits;
    this.id = link.nextId();
    this.until = now() + link.timeout;
  }

  begin(wait: Wait<Lease | undefined, Request>): void {
    this.wait = wait;
    this.leases.options.link.waiting.set(this.id, this);
    refTimer();
    this.ask();
  }

  fire(): void {
    this.ask();
  }

  askSoon(): void {
    if (this.asking) return;
    disarm(this);
    this.ask();
  }

  private ask(): void {
    const { link, size, lease } = this.leases.options;
    this.asking = true;
    link.post(() => {
      if (this.state !== "waiting") {
        this.asking = false;
        if (this.state === "left" && this.known) this.forget(); // An earlier call was sent.
        return;
      }
      const channel = this.waits ? link.channel() : undefined;
      const wasKnown = this.known;
      this.known ||= channel !== undefined;
      const micros = String(lease * 1000);
      const args = [this.id, String(this.n), String(size), micros, micros, channel ?? ""];
      const sentAt = now();
      const until = this.answered ? sentAt + link.timeout : this.until;
      const late = (answer: Answer, at: number) => this.onAnswer(answer, at);
      link.call(ACQUIRE, this.leases.keys, args, { until, late }).then(
        (answer) => {
          this.asking = false;
          this.onAnswer(answer, sentAt);
        },
        (error) => {
          this.asking = false;
          // Unless it was not even sent, it may have been executed, and the answer lost.
          this.known = wasKnown || !link.isRefusal(error);
          this.onFailure(error);
        },
      );
    });
  }

  /** The server has answered a call that was sent at that instant. */
  private onAnswer([, isGranted, value = 0]: Answer, sentAt: number): void {
    const { lease } = this.leases.options;
    // A lease that has ended by now: the call may have been executed after its release, as by another connection of a
    // pool, or when it was sent again. Then it has made another lease, or a place.
    if (this.state === "left" || (this.state === "granted" && this.holding?.hasEnded())) {
      if (isGranted === 1 || this.known) this.forget();
    } else if (this.state === "granted") {
      return;
    } else if (isGranted === 1) {
      const expiresAt = sentAt + lease;
      if (expiresAt > now()) this.grant(value, expiresAt);
      else this.askSoon(); // The answer was under way for longer than the lease. Asking again renews it.
    } else if (!this.waits) {
      this.endWaiting();
      this.wait.resolve(undefined);
    } else {
      this.answered = true;
      this.until = sentAt + lease;
      if (!this.asking) this.askAfter(this.pauseUntil(value));
    }
  }

  /** How long to wait before asking again. The next lease expires in `next` microseconds; -1 if that is not known. */
  private pauseUntil(next: number): number {
    const { link, lease } = this.leases.options;
    if (link.channel() === undefined) {
      const longest = this.pause;
      this.pause = Math.min(2 * longest, LONGEST_PAUSE);
      return longest * (0.5 + Math.random() / 2);
    }
    const longest = Math.min(lease / TIMES_A_LEASE, LONGEST_PAUSE_IN_QUEUE);
    const pause = link.tells() ? longest : Math.min(longest, link.retry);
    return next < 0 ? pause : Math.min(pause, next / 1000 + 1);
  }

  private onFailure(error: unknown): void {
    const { link } = this.leases.options;
    if (this.state === "granted") return;
    if (this.state === "left") {
      if (this.known) this.forget();
      return;
    }
    const left = this.until - now();
    if (!this.waits || left <= 0 || !(this.answered || link.available())) {
      this.leave();
      this.wait.reject(error);
      return;
    }
    this.askAfter(Math.min(link.available() ? link.retry / 10 : link.retry, left));
  }

  private askAfter(ms: number): void {
    disarm(this);
    this.when = now() + ms;
    arm(this);
  }

  /** The server has told of a grant. */
  pushed(fence: number, expiresAt: number): void {
    const t = now();
    if (this.state !== "waiting" || !(expiresAt > t)) return;
    this.grant(fence, Math.min(expiresAt, t + this.leases.options.lease));
  }

  private grant(fence: number, expiresAt: number): void {
    this.endWaiting();
    this.state = "granted";
    this.holding = new Holding(this.leases, this.id, this.n, expiresAt);
    this.wait.resolve(this.holding.open(this.values, fence, this.wait.dependent?.stack));
  }

  private endWaiting(): void {
    this.state = "left";
    disarm(this);
    unrefTimer();
    this.leases.options.link.waiting.delete(this.id);
    this.leases.waiters.remove(this.wait);
  }

  /** Ends the waiting. The server is told, or will be when it has answered the call that is out. */
  leave(): void {
    if (this.state !== "waiting") return;
    this.endWaiting();
    if (this.known && !this.asking) this.forget();
  }

  /** Tells the server that this wants nothing. */
  private forget(): void {
    const { link } = this.leases.options;
    link.post(() => {
      // If Redis cannot be asked: a place ends when it does not hear of this for a while, a lease by itself.
      link.call(RELEASE, this.leases.keys, [this.id], { anyTime: true }).catch(() => {});
    });
  }

  close(error: Error): void {
    if (this.state !== "waiting") return;
    this.leave();
    this.wait.reject(error);
  }
}

/**
 * What has been granted. It refers to the {@link Lease} weakly: if the program has dropped that without releasing it,
 * it is not renewed any more, so that the fleet gets the units back.
 */
export class Holding implements Alarm, Closable {
  // held: counted in `leases`, and the alarm is armed, for the next renewal or for the end. lost and released: final.
  // Once it has been released, the alarm is armed if the server is still to be told.
  private state: "held" | "lost" | "released" = "held";

  when = 0;
  index = -1;

  readonly n: number;
  private readonly options: LeasesOptions;
  private readonly leases: Leases;
  private readonly id: string;

  // By the clock of this process.
  private expiresAt: number;
  private renewAt: number;
  private renewing = false;

  // Set by `open`.
  private lease!: WeakRef<Lease>;
  private cancel!: CancelFunc;
  private record: LeakRecord | undefined = undefined;

  private releasing: Promise<boolean> | undefined = undefined;

  constructor(leases: Leases, id: string, n: number, expiresAt: number) {
    this.leases = leases;
    this.options = leases.options;
    this.id = id;
    this.n = n;
    this.expiresAt = expiresAt;
    // Counted back from the end: that of a grant which was told may be later than now by a part of the lease only.
    this.renewAt = expiresAt - this.options.lease * (1 - 1 / TIMES_A_LEASE);
  }

  /** Begins to count and to renew it. Called once. `stack` is where the lease was asked for, if that was recorded. */
  open(values: Context, fence: number, stack: string | undefined): Lease {
    const { link, leaseKind, entryPoints, make } = this.options;
    const { ctx, cancel } = onBehalfOf(stack, () => withCancel(values));
    const lease = make(this, ctx, fence);
    this.cancel = cancel;
    this.lease = new WeakRef(lease);
    this.leases.held += this.n;
    leaseKind.live += this.n;
    if (isDue()) this.record = makeRecord(leaseKind, this.n, lease, entryPoints, stack);
    link.holding.add(this);
    this.schedule();
    return lease;
  }

  isValid(): boolean {
    return this.state === "held" && now() < this.expiresAt;
  }

  /** Whether it has been released, or lost. */
  hasEnded(): boolean {
    return this.state !== "held";
  }

  private schedule(): void {
    disarm(this);
    this.when = this.renewing ? this.expiresAt : Math.min(this.renewAt, this.expiresAt);
    arm(this);
  }

  fire(): void {
    if (this.state === "released") {
      // A silent link is asked by others: each call might be kept by the client until there is a connection.
      if (this.options.link.available()) this.tellReleased();
      else this.tellLater();
      return;
    }
    if (this.lease.deref() === undefined) {
      this.lose("was dropped without being released");
    } else if (now() >= this.expiresAt) {
      this.lose("could not be renewed in time");
    } else {
      this.renew();
      this.schedule();
    }
  }

  private renew(): void {
    const { link, lease } = this.options;
    this.renewing = true;
    link.post(() => {
      if (this.state !== "held") return;
      const sentAt = now();
      const onAnswer = ([, isKnown]: Answer, at: number) => {
        if (this.state !== "held") return;
        if (isKnown !== 1) {
          this.lose("is not known to the server any more");
          return;
        }
        this.expiresAt = Math.max(this.expiresAt, at + lease);
        this.renewAt = at + lease / TIMES_A_LEASE;
        this.schedule();
      };
      const args = [this.id, String(lease * 1000)];
      link.call(RENEW, this.leases.keys, args, { holds: false, late: onAnswer }).then(
        (answer) => {
          this.renewing = false;
          onAnswer(answer, sentAt);
        },
        () => {
          this.renewing = false;
          if (this.state !== "held") return;
          this.renewAt = now() + Math.min(link.retry, lease / 10);
          this.schedule();
        },
      );
    });
  }

  /** The lease has ended by itself. */
  private lose(why: string): void {
    this.end("lost");
    const error = withoutStack(() => new LostError(`redis: the lease ${why}`));
    // In a microtask: abort listeners run inside the cancel, and this may be the stack of a timer.
    void RESOLVED.then(() => this.cancel(error));
  }

  private end(state: "lost" | "released"): void {
    const { link, leaseKind } = this.options;
    this.state = state;
    disarm(this);
    link.holding.delete(this);
    this.leases.held -= this.n;
    // One whose lease the collector has taken is counted as a proved leak.
    if (this.record === undefined || this.record.erase()) leaseKind.live -= this.n;
  }

  release(): Promise<boolean> {
    if (this.releasing === undefined) {
      if (this.state === "lost") return completedWith(false);
      const wasValid = this.isValid();
      this.end("released");
      this.cancel();
      this.releasing = new Promise((resolve) => {
        this.tellReleased((wasKnown) => resolve(wasKnown ?? wasValid));
      });
    }
    return this.releasing;
  }

  /** Tells the server, again and again until the lease has expired, and `answered` of the first answer, if any. */
  private tellReleased(answered?: (wasKnown: boolean | undefined) => void): void {
    const { link } = this.options;
    link.post(() => {
      link.call(RELEASE, this.leases.keys, [this.id], { anyTime: true, holds: answered !== undefined }).then(
        ([, isKnown]) => answered?.(isKnown === 1),
        () => {
          answered?.(undefined);
          this.tellLater();
        },
      );
    });
  }

  private tellLater(): void {
    const { link } = this.options;
    this.when = now() + link.retry;
    if (this.when < this.expiresAt && !link.isClosed()) arm(this);
  }

  close(): void {
    this.lose("was given back, as its link was closed");
    this.tellReleased();
  }
}
