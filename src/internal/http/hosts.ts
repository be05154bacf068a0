/** What a caller knows of each host: its slots, its breaker, and how many calls run and wait. */
import { KeyedLimiter } from "../../rate.ts";
import { Weighted } from "../../semaphore.ts";
import { Machine, type Request } from "../breaker/machine.ts";
import { show } from "../data/args.ts";
import { warn } from "../host/async.ts";
import { now } from "../time/clock.ts";
import { Kind } from "../track/tracker.ts";
import { Waiters } from "../wait/wait.ts";
import type { Permits } from "./limits.ts";
import { isLimits, isPermits, type LimitPolicy } from "./options.ts";

const PROBE = new Kind("http probe", "wait");

/** With this a call's end is excluded from the counts of its breaker. */
export const NOT_COUNTED: unique symbol = Symbol("not counted");

/** A host, or one of several that share a key. */
export class Host {
  readonly key: string;
  readonly permits: Permits;
  /** How many calls may wait; Infinity where permits of somebody else's say that. */
  readonly queue: number;
  readonly breaker: Machine | undefined;

  /** Calls that wait for what the probe of a half-open breaker finds. */
  readonly probed: Waiters<void> = new Waiters(PROBE);

  /** Calls to it that have not been answered. */
  users = 0;

  /** Requests to it that hold a slot, and calls that wait for one. */
  running = 0;
  queued = 0;

  constructor(key: string, policy: LimitPolicy, hasBreaker = true) {
    const { perHost, queue, breaker } = policy;
    this.key = key;
    const permits = typeof perHost === "number" ? new Weighted(perHost) : perHost(key);
    if (!isPermits(permits)) throw new TypeError(`${policy.what}: perHost must return permits, got ${show(permits)}`);
    this.permits = permits;
    this.queue = typeof perHost === "number" ? queue : Number.POSITIVE_INFINITY;
    this.breaker = breaker === undefined || !hasBreaker ? undefined : newBreaker(policy, breaker);
  }

  /** Tells the breaker how a request ended, and those that waited for that: undefined for a success. Never throws. */
  count(counted: Request, end: unknown): void {
    const { breaker, probed } = this;
    if (breaker === undefined) return;
    try {
      breaker.end(counted, end);
    } catch (error) {
      warn(error, "breaker"); // Of `readyToTrip`, or of its clock.
    }
    // A probe that has found nothing makes a place for one.
    if (probed.size === 0) return;
    if (breaker.peekState() === "half-open") probed.wakeOne(undefined);
    else probed.wakeAll(undefined);
  }

  /** Whether it may be forgotten: nobody uses it, and its breaker refuses nobody. */
  isIdle(): boolean {
    return this.users === 0 && this.running === 0 && this.breaker?.peekState() !== "open";
  }
}

function newBreaker({ what }: LimitPolicy, settings: NonNullable<LimitPolicy["breaker"]>): Machine {
  return new Machine({ ...settings, isExcluded: (err) => err === NOT_COUNTED }, `${what}: breaker`);
}

/** The key of the host that further ones share. */
const OTHERS = "(others)";

// How many hosts a call to a new one looks at, while all places are taken, to find some that are idle.
const LOOKS = 16;

/**
 * The hosts of a caller. While all places are taken by hosts that are in use, all further ones share one, which has no
 * breaker: one of them that is down would close the others off.
 */
export class Hosts {
  private readonly policy: LimitPolicy;
  private readonly byKey = new Map<string, Host>();
  private others: Host | undefined = undefined;

  // Goes round and round through `byKey`, in search of idle ones.
  private hand: Iterator<[string, Host], undefined>;

  private readonly limiter: KeyedLimiter | undefined;

  constructor(policy: LimitPolicy) {
    this.policy = policy;
    this.hand = this.byKey.entries();
    const { rate, breaker } = policy;
    if (breaker !== undefined) newBreaker(policy, breaker); // Checks the settings.
    if (rate !== undefined && !isLimits(rate)) {
      this.limiter = new KeyedLimiter(rate.limit, rate.burst, { maxKeys: policy.maxHosts });
    }
  }

  /** The host of a URL. Throws what the functions of the options throw. */
  at(url: URL): Host {
    const { key = hostOf } = this.policy;
    const found: unknown = key(url);
    if (typeof found !== "string")
      throw new TypeError(`${this.policy.what}: key must return a string, got ${show(found)}`);
    return this.byKey.get(found) ?? this.add(found);
  }

  /** Every host that there is now. */
  *all(): Iterable<Host> {
    yield* this.byKey.values();
    if (this.others !== undefined) yield this.others;
  }

  /** When the host's next call may be made, if not now; a promise if the limit is not our own to know. */
  refusal(host: Host): RateRefusal | undefined | Promise<RateRefusal | undefined> {
    const { limiter } = this;
    if (limiter !== undefined) return limiter.allow(host.key) ? undefined : { retryAt: nextToken(limiter, host.key) };
    const { rate } = this.policy;
    if (rate === undefined || !isLimits(rate)) return undefined;
    const allowed = rate.allow();
    return typeof allowed === "boolean" ? refusalOf(allowed) : Promise.resolve(allowed).then(refusalOf);
  }

  /** Whether the host will have a token in `ms` milliseconds, if no call takes it. True for limits not our own. */
  hasTokenIn({ key }: Host, ms: number): boolean {
    return this.limiter === undefined || this.limiter.tokens(key, now() + ms) >= 1;
  }

  private add(key: string): Host {
    const { maxHosts } = this.policy;
    if (this.byKey.size >= maxHosts) this.forgetIdle();
    if (this.byKey.size >= maxHosts) {
      this.others ??= new Host(OTHERS, this.policy, false);
      return this.others;
    }
    const host = new Host(key, this.policy);
    this.byKey.set(key, host);
    return host;
  }

  private forgetIdle(): void {
    for (let looks = Math.min(LOOKS, this.byKey.size); looks > 0; looks--) {
      let next = this.hand.next();
      if (next.done === true) {
        this.hand = this.byKey.entries();
        next = this.hand.next();
        if (next.done === true) return;
      }
      const [key, host] = next.value;
      if (host.isIdle()) this.byKey.delete(key);
    }
  }
}

/** A call that exceeds the rate. */
export interface RateRefusal {
  readonly retryAt: number | undefined;
}

function refusalOf(allowed: unknown): RateRefusal | undefined {
  return allowed === true ? undefined : { retryAt: undefined };
}

/** The instant at which a key has a token again. */
function nextToken(limiter: KeyedLimiter, key: string): number | undefined {
  const at = now();
  const ms = ((1 - limiter.tokens(key, at)) / limiter.limit()) * 1000;
  return limiter.burst() > 0 && Number.isFinite(ms) ? at + Math.max(Math.ceil(ms), 0) : undefined;
}

/** The host and port of a URL. A trailing dot names the same host. */
function hostOf(url: URL): string {
  const { host, hostname } = url;
  return hostname.endsWith(".") ? host.replace(hostname, hostname.slice(0, -1)) : host;
}
