/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Limits for a fleet: a rate limiter, a weighted semaphore and a lock that hold for all processes together, on Redis or
 * Valkey from 6.2 on.
 *
 * Rules of use:
 *
 * - Make one link for the process, from the client that the program has: of ioredis, iovalkey, redis (node-redis) or
 *   valkey-glide. Give it a second connection as `subscriber` if you use semaphores or locks.
 * - Decide what is to happen while Redis cannot be asked. A limiter has a `fallback`: best a limit of this process, its
 *   share of the whole. Everything else rejects with UnavailableError, which is no refusal.
 * - What is held is held by a lease, which this renews while the process lives. A lease can be lost all the same: give
 *   `ctx` of the function to everything that it calls, or look at `lease.ctx` and `lease.valid()`.
 * - A semaphore bounds the load of what it protects. It does not make two writers impossible: a process that was
 *   stopped does not know that its lease is over. Where that matters, use a Mutex, and let what is written to refuse
 *   each `fence` that is lower than one it has seen.
 *
 * ```ts
 * import { rate } from "gopark";
 * import * as redis from "gopark/redis";
 *
 * // Instead of `new Redis(url)` of ioredis: nobody is there.
 * const refused = () => Promise.reject(new Error("connect ECONNREFUSED"));
 * const link = redis.connect({ evalsha: refused, eval: refused });
 *
 * const stock = new redis.Limiter(link, "stock", 100, 20);
 * await stock.allow().catch((err) => console.log(String(err)));
 *
 * const share = new redis.Limiter(link, "stock", 100, 20, { fallback: new rate.Limiter(25, 1) });
 * console.log(await share.allow(), await share.allow());
 * await link.close();
 * // Output:
 * // UnavailableError: redis: connect ECONNREFUSED
 * // true false
 * ```
 *
 * Ports golang.org/x/time/rate and golang.org/x/sync/semaphore to a fleet. Differences from Go, besides those of
 * `gopark/rate` and `gopark/semaphore`:
 *
 * - Everything that asks Redis returns a promise. The clock is that of Redis.
 * - Tokens are counted as Go does, to the bit, in whole microseconds of time. No limit is set later, and no instant is
 *   given: the limit and the burst are those that the asking process was given.
 * - A reservation that could never act, at the limit 0, is not `ok`. None gives back more than it took.
 * - Units are held by leases only, at least one by each. There are no `acquire` and `release` without one.
 * - A `wait` may be bounded by `maxWait` too, and is refused like one that would last beyond the deadline.
 */
import { type CancelFunc, type Context, merge } from "./context.ts";
import {
  duration,
  finiteInstant,
  isObject,
  noGenerator,
  optionsOf,
  show,
  validName,
  wholeNumber,
} from "./internal/data/args.ts";
import { withoutStack } from "./internal/host/errors.ts";
import type { Client } from "./internal/redis/client.ts";
import { LostError, UnavailableError } from "./internal/redis/errors.ts";
import { type Holding, Lease, Leases } from "./internal/redis/leases.ts";
import { Link, type LinkOptions } from "./internal/redis/link.ts";
import { type Bucket, giveBack, type Patience, type Taken, take } from "./internal/redis/tokens.ts";
import { now } from "./internal/time/clock.ts";
import { notAFunction, rejectedByCheck } from "./internal/time/turn.ts";
import { giveName } from "./internal/track/named.ts";
import { Kind, onBehalfOf, type PublicFunction, stackOfCall } from "./internal/track/tracker.ts";
import { DeadlineExceeded } from "./internal/wait/endings.ts";
import { isContext, sourceOf } from "./internal/wait/foreign.ts";
import type { Cancel } from "./internal/wait/source.ts";
import { TimedWaiters } from "./internal/wait/timed.ts";
import type { KeyedLimiter, Limiter as LocalLimiter } from "./rate.ts";

export type {
  Client,
  GlideClient,
  IoredisClient,
  IoredisSubscriber,
  NodeRedisClient,
  NodeRedisSubscriber,
  Subscriber,
} from "./internal/redis/client.ts";
export { LostError, UnavailableError } from "./internal/redis/errors.ts";
export { Lease } from "./internal/redis/leases.ts";
export { Link, type LinkOptions } from "./internal/redis/link.ts";

/**
 * Makes a link by a client of the program, which stays the program's: close the link first, then the client. Asks
 * nothing yet.
 *
 * Throws TypeError if the client or the subscriber has not the shape of one, RangeError or TypeError for an option
 * outside its range or of another type.
 */
export function connect(client: Client, options?: LinkOptions): Link {
  return new Link(client, options);
}

const limiterEntryPoints = (): PublicFunction[] => {
  const { allow, reserve, wait } = KeyLimiter.prototype;
  return [allow, reserve, wait];
};
const ASK = new Kind("redis limiter call", "wait", limiterEntryPoints);
const WAIT = new Kind("redis limiter wait", "wait", limiterEntryPoints);

/** Events that may happen after a delay. Made by `reserve` of a limiter. */
export interface Reservation {
  /** False if the events are more than the burst, or could never happen. Then nothing was reserved. */
  readonly ok: boolean;

  /** How many milliseconds after `at`, now if left out, the holder may act: 0 if at once, Infinity if never. */
  delay(at?: number | Date): number;

  /**
   * Says that the holder will not act. Gives back the tokens that later reservations do not depend on, and nothing once
   * the time to act has passed. Asks Redis later, and does nothing if that fails. The second call does nothing.
   */
  cancel(): void;
}

const NO_RESERVATION: Reservation = { ok: false, delay: () => Number.POSITIVE_INFINITY, cancel() {} };
const FREE_RESERVATION: Reservation = { ok: true, delay: () => 0, cancel() {} };

/** What a limiter does while Redis cannot be asked. */
export type Fallback = "fail" | "open" | "closed" | LocalLimiter | KeyedLimiter;

/** What a {@link Limiter} does while Redis cannot be asked, and how long its waits may be. */
export interface LimiterOptions {
  /**
   * What becomes of a call while Redis cannot be asked. "fail": it rejects with UnavailableError. "open": it is
   * allowed. "closed": it is refused; a `wait` rejects with UnavailableError. A limiter of `gopark/rate`: that decides,
   * one for all keys, or a KeyedLimiter for each. "fail" if left out.
   */
  readonly fallback?: Fallback | undefined;

  /**
   * How long a `wait` may last at most, in milliseconds, 0 or more, besides asking Redis; also that of a `fallback`.
   * With 0 a `wait` takes what is there, or rejects. Infinity if left out.
   */
  readonly maxWait?: number | undefined;
}

const NOW: Patience = { latest: Number.NEGATIVE_INFINITY, deadline: Number.POSITIVE_INFINITY };
const AT_ANY_TIME: Patience = { latest: Number.POSITIVE_INFINITY, deadline: Number.POSITIVE_INFINITY };

/** What answers instead of Redis. */
interface Substitute {
  allow(n: number): boolean;
  reserve(n: number, at?: number): Reservation & { cancel(at?: number): void };
  wait(ctx: Cancel | undefined, n: number): Promise<void>;
}

/** A wait that has taken its tokens. */
interface Reserved extends Taken {
  readonly bucket: Bucket;
}

// The waits that have been cancelled and have not given back yet. Empty but during a cancel.
let cancelled: Reserved[] = [];

const waits = new TimedWaiters<Reserved>(WAIT, {
  onCancel: (wait) => {
    cancelled.push(wait.value.data);
  },
  // The newest first: so those that are cancelled together leave the bucket as if they had never waited.
  afterCancels: () => {
    const reserved = cancelled.sort((a, b) => b.timeToAct - a.timeToAct);
    cancelled = [];
    for (const it of reserved) giveBack(it.bucket, it, true);
  },
});

/** The limiter of one key. Made by {@link Limiter.at}. */
export class KeyLimiter {
  readonly #bucket: Bucket;
  readonly #maxWait: number;
  readonly #substitute: Substitute | undefined;

  /** @internal */
  constructor(bucket: Bucket, maxWait: number, substitute: Substitute | undefined) {
    this.#bucket = bucket;
    this.#maxWait = maxWait;
    this.#substitute = substitute;
  }

  /** The limit, in events a second. */
  limit(): number {
    return this.#bucket.limit;
  }

  /** How many events may happen at once. */
  burst(): number {
    return this.#bucket.burst;
  }

  /**
   * Whether n events may happen now. If so, their tokens are taken; if not, nothing has changed. Calls of one turn of
   * the event loop for one key share a call to Redis.
   *
   * Rejects with
   * - RangeError or TypeError, if n is not a whole number from 0 to 2⁵³−1;
   * - {@link UnavailableError}, if Redis cannot be asked and the `fallback` is "fail". The tokens may have been taken
   *   if the answer was lost on its way;
   * - TypeError, if the link is closed.
   */
  async allow(n = 1): Promise<boolean> {
    wholeNumber(n, "allow: n");
    const { link, limit, burst } = this.#bucket;
    link.checkOpen();
    if (limit === Number.POSITIVE_INFINITY) return true;
    if (n > burst) return false;
    try {
      return (await take(this.#bucket, ASK, undefined, n, NOW)) !== undefined;
    } catch (error) {
      return this.#insteadOf(error).allow(n);
    }
  }

  /**
   * Reserves n events, now or as soon as they may happen. The reservation says how long to wait before acting. If you
   * decide not to wait, call its `cancel`. Rejects as {@link allow} does.
   */
  async reserve(n = 1): Promise<Reservation> {
    wholeNumber(n, "reserve: n");
    const bucket = this.#bucket;
    bucket.link.checkOpen();
    if (bucket.limit === Number.POSITIVE_INFINITY) return FREE_RESERVATION;
    if (n > bucket.burst) return NO_RESERVATION;
    try {
      const taken = await take(bucket, ASK, undefined, n, AT_ANY_TIME);
      return taken === undefined ? NO_RESERVATION : reservation(bucket, taken);
    } catch (error) {
      const reserved = this.#insteadOf(error).reserve(n);
      return { ok: reserved.ok, delay: (at) => reserved.delay(at), cancel: once(() => reserved.cancel()) };
    }
  }

  /**
   * Waits until n events may happen. The instants follow the order in which Redis was asked. A wait never ends too
   * early; a timer may be late, and two waits that end late may end together.
   *
   * Rejects, with nothing taken or what was taken given back, with
   * - RangeError, if n is more than the burst of a finite limit; RangeError or TypeError, if n is not a whole number
   *   from 0 to 2⁵³−1;
   * - the context's error or the signal's reason, if `ctx` has ended or ends while waiting, at once, even while Redis
   *   is being asked;
   * - Error, if the wait would last beyond the deadline of `ctx`, longer than `maxWait`, or for ever. Its cause is a
   *   DeadlineExceeded;
   * - {@link UnavailableError} and TypeError, as {@link allow} does.
   */
  async wait(ctx: Cancel | undefined, n = 1): Promise<void> {
    wholeNumber(n, "wait: n");
    const bucket = this.#bucket;
    const { limit, burst } = bucket;
    const stack = stackOfCall(limiterEntryPoints);
    const source = sourceOf(ctx);
    const deadline = (isContext(ctx) ? ctx.deadline() : undefined) ?? Number.POSITIVE_INFINITY;
    const ending = source.poll();
    bucket.link.checkOpen();
    if (n > burst && limit !== Number.POSITIVE_INFINITY) {
      throw new RangeError(`rate: Wait(n=${n}) exceeds limiter's burst ${burst}`);
    }
    if (ending !== undefined) throw ending.error();
    if (limit === Number.POSITIVE_INFINITY) return;
    const latest = now() + this.#maxWait;
    let taken: Taken | undefined;
    try {
      taken = await take(bucket, ASK, source, n, { latest, deadline });
    } catch (error) {
      const substitute = this.#insteadOf(error);
      if (this.#lasts(substitute, n) > Math.max(latest - now(), 0)) throw tooLong(n, deadline, latest, this.#maxWait);
      return substitute.wait(ctx, n);
    }
    if (taken === undefined) throw tooLong(n, deadline, latest, this.#maxWait);
    if (taken.wait === 0) return;
    const reserved: Reserved = { ...taken, bucket };
    // It may have ended since the answer came.
    const ended = source.poll();
    if (ended !== undefined) {
      giveBack(bucket, reserved, true);
      throw ended.error();
    }
    await onBehalfOf(stack, () => waits.parkUntil(reserved.timeToAct, source, reserved));
  }

  /** How long a wait of the substitute would last, if `maxWait` bounds it and the substitute allows it at all. */
  #lasts(substitute: Substitute, n: number): number {
    if (this.#maxWait === Number.POSITIVE_INFINITY) return 0;
    // Given back at the instant at which it was taken: so nothing has changed.
    const at = now();
    const reserved = substitute.reserve(n, at);
    const delay = reserved.ok ? reserved.delay(at) : 0;
    reserved.cancel(at);
    return delay;
  }

  /** What answers instead of Redis. Throws the error if that is to be thrown. */
  #insteadOf(error: unknown): Substitute {
    if (this.#substitute === undefined || !(error instanceof UnavailableError)) throw error;
    return this.#substitute;
  }
}

/** The error of a wait that would last longer than it may. */
function tooLong(n: number, deadline: number, latest: number, maxWait: number): Error {
  const bound = deadline <= latest ? "context deadline" : `maxWait, ${maxWait} ms`;
  const why = Math.min(deadline, latest) === Number.POSITIVE_INFINITY ? "would never end" : `would exceed ${bound}`;
  const cause = withoutStack(() => new DeadlineExceeded());
  return withoutStack(() => new Error(`rate: Wait(n=${n}) ${why}`, { cause }));
}

function reservation(bucket: Bucket, taken: Taken): Reservation {
  return {
    ok: true,
    delay: (at = now()) => Math.max(taken.timeToAct - finiteInstant(at, "delay: at"), 0),
    cancel: once(() => giveBack(bucket, taken, false)),
  };
}

/** What calls `fn` at the first call, and does nothing at others. */
function once(fn: () => void): () => void {
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    fn();
  };
}

/**
 * A bucket of up to `burst` tokens that gains `limit` tokens a second, shared by all processes that use its key: in any
 * time t, all together are allowed at most `burst` + `limit` × t events. Each event takes a token.
 *
 * One string in Redis for each key, which goes away when the bucket is full. A call costs one round trip, and calls of
 * one turn share it.
 */
export class Limiter extends KeyLimiter {
  readonly #at: (key: string) => KeyLimiter;

  /**
   * The limiter of `key`, a text that is not empty, in the fleet. All processes are to give the same limit and burst;
   * while they differ, as during a deploy, each request is judged by those of its own process, and the bucket holds no
   * more than the largest.
   *
   * Throws RangeError unless `limit` is from 0 to Infinity, `burst` a whole number from 0 to 2⁵³−1, and the options are
   * in their ranges, TypeError if one of them has another type.
   */
  constructor(link: Link, key: string, limit: number, burst: number, options?: LimiterOptions) {
    const { fallback = "fail", maxWait = Number.POSITIVE_INFINITY } = optionsOf(options, "Limiter: options");
    checkLink(link, "Limiter: link");
    validKey(key, "Limiter: key");
    if (typeof limit !== "number") {
      throw new TypeError(`Limiter: limit must be a number of events a second, got ${show(limit)}`);
    }
    if (!(limit >= 0)) {
      throw new RangeError(`Limiter: limit must be a number of events a second, 0 or more, got ${limit}`);
    }
    wholeNumber(burst, "Limiter: burst");
    if (duration(maxWait, "Limiter: maxWait") < 0) {
      throw new RangeError(`Limiter: maxWait must be 0 or more milliseconds, got ${maxWait}`);
    }
    const substituteOf = substitutes(fallback);
    // In braces, so that nothing of it but the whole chooses the slot in a cluster.
    super({ link, key: `{gopark:rate:${key}}`, limit, burst }, maxWait, substituteOf(key));
    // With the length, so that no other pair of texts has the same key.
    this.#at = (sub) =>
      new KeyLimiter(
        { link, key: `{gopark:rates:${key.length}:${key}:${sub}}`, limit, burst },
        maxWait,
        substituteOf(sub),
      );
  }

  /**
   * The limiter of a key below this one, with a bucket of its own: for each client, tenant or address. Costs an object;
   * there is nothing to release. Throws as the constructor does for its key.
   */
  at(key: string): KeyLimiter {
    return this.#at(validKey(key, "at: key"));
  }
}

/** Makes what answers instead of Redis, for a key. */
function substitutes(fallback: Fallback): (key: string) => Substitute | undefined {
  if (fallback === "fail") return () => undefined;
  if (fallback === "open") {
    const open: Substitute = { allow: () => true, reserve: () => FREE_RESERVATION, wait: async () => {} };
    return () => open;
  }
  if (fallback === "closed") {
    const closed: Substitute = {
      allow: () => false,
      reserve: () => NO_RESERVATION,
      wait: async () => {
        throw withoutStack(() => new UnavailableError("redis: cannot be asked, and the fallback is closed"));
      },
    };
    return () => closed;
  }
  if (
    isObject(fallback) &&
    isMethod(fallback, "allow") &&
    isMethod(fallback, "reserve") &&
    isMethod(fallback, "wait")
  ) {
    if (!isMethod(fallback, "keys")) {
      const local = fallback as LocalLimiter;
      return () => local;
    }
    const keyed = fallback as KeyedLimiter;
    return (key) => ({
      allow: (n) => keyed.allow(key, n),
      reserve: (n, at) => keyed.reserve(key, n, at),
      wait: (ctx, n) => keyed.wait(ctx, key, n),
    });
  }
  const message = `Limiter: fallback must be "fail", "open", "closed" or a limiter, got ${show(fallback)}`;
  throw typeof fallback === "string" ? new RangeError(message) : new TypeError(message);
}

function isMethod(it: object, name: string): boolean {
  return typeof (it as Record<string, unknown>)[name] === "function";
}

const semaphoreEntryPoints = (): PublicFunction[] => {
  const { withPermit, permit, tryPermit } = Weighted.prototype;
  return [withPermit, permit, tryPermit];
};
const PERMIT = new Kind("redis permit", "wait", semaphoreEntryPoints);
const UNITS = new Kind("redis semaphore unit", "resource", semaphoreEntryPoints, { sampledInPart: true });

/** How long the leases of a semaphore or a lock last. */
export interface LeaseOptions {
  /**
   * How long a lease lasts that is not renewed, in whole milliseconds: at least twice the `timeout` of the link, at
   * most an hour. 10 000 if left out. So long the units of a process that was killed are lost. Leases are renewed three
   * times as often.
   */
  readonly lease?: number | undefined;
}

/** How long the leases of a semaphore last, and what it is called. */
export interface WeightedOptions extends LeaseOptions {
  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
}

/**
 * A semaphore of `size` units that all processes share which use its key. Waiters are served in the order in which
 * Redis was asked: nobody overtakes. (Without a `subscriber` of the link they are served in no order, and after those
 * with one.)
 */
export class Weighted {
  readonly #size: number;
  readonly #leases: Leases;

  /**
   * The semaphore of `key`, a text that is not empty, in the fleet. All processes are to give the same size; while they
   * differ, as during a deploy, each request is judged by that of its own process.
   *
   * Throws RangeError unless `size` is a whole number from 1 to 2⁵³−1 and the options are in their ranges, TypeError if
   * one of them has another type.
   */
  constructor(link: Link, key: string, size: number, options?: WeightedOptions) {
    const { lease = DEFAULT_LEASE, name } = optionsOf(options, "Weighted: options");
    checkLink(link, "Weighted: link");
    this.#size = wholeNumber(size, "Weighted: size", 1);
    this.#leases = new Leases({
      link,
      key: `gopark:semaphore:${validKey(key, "Weighted: key")}`,
      size,
      lease: validLease(lease, link, "Weighted: lease"),
      acquireKind: PERMIT,
      leaseKind: UNITS,
      entryPoints: semaphoreEntryPoints,
      make: (holding, ctx) => new Lease(holding, ctx),
    });
    giveName("semaphore", this, name, "Weighted: name");
  }

  /**
   * Takes n units, waiting until they are free and every earlier caller of the fleet has been served. Resolves to a
   * lease, which is to be released: `await using lease = await sem.permit(ctx)`.
   *
   * Rejects, holding nothing, with
   * - the context's error or the signal's reason, if `ctx` has ended or ends while waiting, at once, even while Redis
   *   is being asked;
   * - RangeError, if n is not a whole number from 1 to the size, or TypeError, if it is not a number;
   * - {@link UnavailableError}, if Redis has not answered the first question within the link's `timeout`; later, if it
   *   has not answered for as long as a lease lasts, when the place in the queue is lost;
   * - TypeError, if the link is closed, or is closed while waiting.
   */
  permit(ctx: Cancel | undefined, n = 1): Promise<Lease> {
    return this.#canHold(n) ? this.#leases.acquire(ctx, n) : this.#badCount("permit", n);
  }

  /**
   * Takes n units if they are free and nobody waits; resolves to undefined otherwise. Rejects as {@link permit} does,
   * with UnavailableError if Redis has not answered within the link's `timeout`.
   */
  tryPermit(n = 1): Promise<Lease | undefined> {
    return this.#canHold(n) ? this.#leases.tryAcquire(n) : this.#badCount("tryPermit", n);
  }

  /**
   * Takes n units, 1 if left out, calls `fn`, and gives them back when `fn` has thrown or what it returned has settled.
   * Resolves or rejects as `fn` does. `fn` gets a context that ends with `ctx`, or when the lease is lost, with a
   * {@link LostError} as its cause; and the lease.
   *
   * Rejects, with `fn` not called, as {@link permit} does, and with TypeError if `fn` is not a function. Rejects, after
   * `fn` has succeeded, with LostError if the lease had been lost by then: others may have held the units at the same
   * time. It also rejects with TypeError if `fn` returns a generator.
   */
  withPermit<R>(ctx: Cancel | undefined, fn: Leased<Lease, R>): Promise<R>;
  withPermit<R>(ctx: Cancel | undefined, n: number, fn: Leased<Lease, R>): Promise<R>;
  withPermit<R>(ctx: Cancel | undefined, n: number | Leased<Lease, R>, fn?: Leased<Lease, R>): Promise<R> {
    const [units, body] = typeof n === "function" ? [1, n] : [n, fn];
    if (typeof body !== "function") return notAFunction(body, "withPermit: fn");
    return withLease(ctx, this.permit(ctx, units), body, "withPermit: fn");
  }

  /** How many units there are in the fleet, as this process was told. */
  size(): number {
    return this.#size;
  }

  /** How many units this process holds by this object. */
  held(): number {
    return this.#leases.held;
  }

  /** How many callers wait by this object. */
  waiting(): number {
    return this.#leases.waiters.size;
  }

  #canHold(n: number): boolean {
    return Number.isSafeInteger(n) && n >= 1 && n <= this.#size;
  }

  #badCount(method: string, n: number): Promise<never> {
    return rejectedByCheck(() => {
      wholeNumber(n, `${method}: n`, 1);
      throw new RangeError(`${method}: n must be at most ${this.#size}, the size of the semaphore, got ${n}`);
    });
  }
}

/** The lease of a {@link Mutex}. */
export class LockLease extends Lease {
  /**
   * A number that is higher than those of all leases of the lock before. Send it with what you write, and let the
   * receiver refuse what has a lower one than it has seen: then a holder that does not know that its lease is over does
   * no harm. It rises even if Redis has lost all data, as long as its clock is not set back meanwhile.
   */
  readonly fence: number;

  /** @internal */
  constructor(holding: Holding, ctx: Context, fence: number) {
    super(holding, ctx);
    this.fence = fence;
  }
}

const lockEntryPoints = (): PublicFunction[] => {
  const { withLock, lock, tryLock } = Mutex.prototype;
  return [withLock, lock, tryLock];
};
const LOCK = new Kind("redis lock", "wait", lockEntryPoints);
const HELD = new Kind("redis held lock", "resource", lockEntryPoints);

/** A lock that all processes share which use its key: as a {@link Weighted} of one unit, with a `fence`. */
export class Mutex {
  readonly #leases: Leases;

  /** The lock of `key` in the fleet. Throws as the constructor of {@link Weighted} does. */
  constructor(link: Link, key: string, options?: LeaseOptions) {
    const { lease = DEFAULT_LEASE } = optionsOf(options, "Mutex: options");
    checkLink(link, "Mutex: link");
    this.#leases = new Leases({
      link,
      key: `gopark:mutex:${validKey(key, "Mutex: key")}`,
      size: 1,
      lease: validLease(lease, link, "Mutex: lease"),
      acquireKind: LOCK,
      leaseKind: HELD,
      entryPoints: lockEntryPoints,
      make: (holding, ctx, fence) => new LockLease(holding, ctx, fence),
    });
  }

  /** Waits for the lock. Rejects as {@link Weighted.permit} does. */
  lock(ctx?: Cancel): Promise<LockLease> {
    return this.#leases.acquire(ctx, 1) as Promise<LockLease>;
  }

  /** Takes the lock if nobody holds it or waits. Otherwise as {@link Weighted.tryPermit}. */
  tryLock(): Promise<LockLease | undefined> {
    return this.#leases.tryAcquire(1) as Promise<LockLease | undefined>;
  }

  /** Calls `fn` while it holds the lock. Otherwise as {@link Weighted.withPermit}. */
  withLock<R>(ctx: Cancel | undefined, fn: Leased<LockLease, R>): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "withLock: fn");
    return withLease(ctx, this.lock(ctx), fn, "withLock: fn");
  }
}

/** What is called while a lease is held: with a context that ends when it is lost, and the lease. */
export type Leased<L, R> = (ctx: Context, lease: L) => R | PromiseLike<R>;

/** How long a lease lasts that is not renewed, if nothing else is said. */
const DEFAULT_LEASE = 10_000;
const LONGEST_LEASE = 3_600_000;

async function withLease<L extends Lease, R>(
  ctx: Cancel | undefined,
  waiting: Promise<L>,
  fn: Leased<L, R>,
  what: string,
): Promise<R> {
  const lease = await waiting;
  let cancel: CancelFunc = () => {};
  let wasHeld: boolean;
  let result: R;
  try {
    const scope = merge(ctx, lease.ctx);
    cancel = scope.cancel;
    result = noGenerator(await fn(scope.ctx, lease), what);
  } finally {
    cancel();
    wasHeld = await lease.release();
  }
  if (!wasHeld) throw new LostError("redis: the lease was lost before the function had ended");
  return result;
}

function checkLink(link: Link, what: string): void {
  if (!(link instanceof Link)) throw new TypeError(`${what} must be what connect returns, got ${show(link)}`);
}

function validKey(key: string, what: string): string {
  if (validName(key, what) === "") throw new RangeError(`${what} must not be empty`);
  return key;
}

function validLease(ms: number, { timeout }: Link, what: string): number {
  if (wholeNumber(ms, what) >= 2 * timeout && ms <= LONGEST_LEASE) return ms;
  const least = Math.ceil(2 * timeout);
  throw new RangeError(`${what} must be from ${least}, twice the link's timeout, to ${LONGEST_LEASE} ms, got ${ms}`);
}
