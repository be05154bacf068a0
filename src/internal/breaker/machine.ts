/**
 * The state machine of a circuit breaker, after gobreaker v2: the three states, their generations, and which requests
 * they let through.
 */
import type { Settings, State } from "../../breaker.ts";
import { callable, duration, isThenable, optionsOf, validName, wholeNumber } from "../data/args.ts";
import { type Counts, type Outcome, RollingCounts } from "../data/rollingcounts.ts";
import { guarded } from "../host/async.ts";
import { brand, withoutStack } from "../host/errors.ts";
import { now as libraryNow } from "../time/clock.ts";

/** The call was refused because the breaker is open. */
export class OpenStateError extends Error {
  static {
    brand(this, "OpenStateError");
  }

  constructor() {
    super("circuit breaker is open");
  }
}

/**
 * The call was refused because the breaker is half-open, and `maxRequests` probes, not counting excluded ones, have
 * been let through already.
 */
export class TooManyRequestsError extends Error {
  static {
    brand(this, "TooManyRequestsError");
  }

  constructor() {
    super("too many requests");
  }
}

/**
 * A request that has been let through, by where it began. All that began in one bucket share it, except probes under a
 * `probeTimeout`: each has its own.
 */
export class Request {
  // The generation and the bucket in which it began.
  readonly generation: number;
  readonly bucket: number;

  // When a probe began; only kept if there is a `probeTimeout`.
  readonly startedAt: number;

  constructor(generation: number, bucket: number, startedAt: number) {
    this.generation = generation;
    this.bucket = bucket;
    this.startedAt = startedAt;
  }
}

const MAX_BUCKETS = 65_536;

/** The state machine, which both classes of breakers hold. */
export class Machine {
  // Between any two calls:
  //   tally has the requests of this generation alone. A new one begins with each change of the state and, while closed
  //     with a fixed window, after each interval;
  //   since is when the generation began, if the window rolls;
  //   expiry is when it ends by itself, other than by a probe that takes too long; Infinity if it does not;
  //   timed says whether anything can become due in this generation. If not, the clock is not read;
  //   probes has the probes that have not ended, oldest first. It is empty unless half-open with a probeTimeout.
  // Only `advance` does what has become due meanwhile. Each public call that depends on it begins with `advance`.
  private current: State = "closed";
  private generation = 0;
  private since = 0;
  private expiry = Number.POSITIVE_INFINITY;
  private timed = false;
  private readonly probes = new Set<Request>();
  private readonly tally: RollingCounts;

  // What the requests of the current bucket share. Made for the first, cleared with the bucket and the generation.
  private shared: Request | undefined = undefined;

  // The error of the calls that this generation refuses. Made for the first, cleared with the generation.
  private refusal: Error | undefined = undefined;

  readonly name: string;
  private readonly maxRequests: number;
  private readonly interval: number;
  private readonly bucketPeriod: number;
  private readonly rolls: boolean;
  private readonly timeout: number;
  private readonly probeTimeout: number;
  private readonly readyToTrip: ((counts: Counts) => boolean) | undefined;
  private readonly onStateChange: Settings["onStateChange"];
  private readonly isSuccessful: ((err: unknown) => boolean) | undefined;
  private readonly isExcluded: ((err: unknown) => boolean) | undefined;
  private readonly now: () => number;

  /** `what` is the class's name, for errors. */
  constructor(given: Settings | undefined, what: string) {
    const settings = optionsOf(given, `${what}: settings`);
    const { name = "", maxRequests = 1, interval = 0, bucketPeriod = 0, timeout = 0 } = settings;
    const { probeTimeout = Number.POSITIVE_INFINITY, now = libraryNow } = settings;
    this.name = validName(name, `${what}: name`);
    this.maxRequests = wholeNumber(maxRequests, `${what}: maxRequests`) || 1;
    const period = Math.max(duration(bucketPeriod, `${what}: bucketPeriod`), 0);
    const window = Math.max(duration(interval, `${what}: interval`), 0);
    // At least one: the quotient may be 0, as that of a finite interval and Infinity is.
    const buckets = window > 0 && period > 0 ? Math.max(Math.ceil(window / period), 1) : 1;
    if (!(buckets <= MAX_BUCKETS)) {
      throw new RangeError(
        `${what}: interval must be at most ${MAX_BUCKETS} times bucketPeriod, got ${window} and ${period}`,
      );
    }
    this.interval = window > 0 && period > 0 ? buckets * period : window;
    this.bucketPeriod = period;
    this.rolls = buckets > 1;
    this.timeout = duration(timeout, `${what}: timeout`) > 0 ? timeout : 60_000;
    this.probeTimeout = duration(probeTimeout, `${what}: probeTimeout`);
    if (probeTimeout <= 0) throw new RangeError(`${what}: probeTimeout must be above 0, got ${probeTimeout}`);
    this.readyToTrip = optionalCallable(settings.readyToTrip, `${what}: readyToTrip`);
    this.onStateChange = optionalCallable(settings.onStateChange, `${what}: onStateChange`);
    this.isSuccessful = optionalCallable(settings.isSuccessful, `${what}: isSuccessful`);
    this.isExcluded = optionalCallable(settings.isExcluded, `${what}: isExcluded`);
    this.now = callable(now, `${what}: now`);
    this.tally = new RollingCounts(buckets);
    this.renew(this.interval > 0 ? this.readClock() : 0);
  }

  state(): State {
    this.advance();
    return this.current;
  }

  /**
   * The state that {@link state} would find, with nothing changed and no hook called. If the clock throws, the state
   * that the last call left: the next call throws that error to its caller.
   */
  peekState(): State {
    if (!this.timed) return this.current;
    let t: number;
    try {
      t = this.readClock();
    } catch {
      return this.current;
    }
    let { current, expiry } = this;
    const overdueAt = this.oldestProbeEnds();
    if (overdueAt < t) {
      current = "open";
      expiry = overdueAt + this.timeout;
    }
    return current === "open" && expiry < t ? "half-open" : current;
  }

  counts(): Counts {
    return this.tally.snapshot();
  }

  /** When an open breaker becomes half-open, as the last call left it; undefined if it is not open. */
  retryAt(): number | undefined {
    return this.current === "open" ? this.expiry : undefined;
  }

  /** The error for a call that is refused now; undefined if a request may begin. (Returned, as a throw costs more.) */
  findRefusal(): Error | undefined {
    this.advance();
    if (this.current === "closed") return undefined;
    if (this.current === "open") {
      this.refusal ??= withoutStack(() => new OpenStateError());
      return this.refusal;
    }
    const { requests, totalExclusions } = this.tally.current;
    if (requests - totalExclusions < this.maxRequests) return undefined;
    this.refusal ??= withoutStack(() => new TooManyRequestsError());
    return this.refusal;
  }

  /** Lets a request through. {@link findRefusal} has just returned undefined. */
  begin(): Request {
    if (this.current === "half-open" && this.probeTimeout !== Number.POSITIVE_INFINITY) return this.beginProbe();
    this.tally.request();
    this.shared ??= new Request(this.generation, this.tally.newest, 0);
    return this.shared;
  }

  private beginProbe(): Request {
    const startedAt = this.readClock(); // First: it may throw.
    const probe = new Request(this.generation, this.tally.newest, startedAt);
    this.tally.request();
    this.probes.add(probe);
    this.timed = true;
    return probe;
  }

  /**
   * Counts how a request ended, if it belongs to this generation. Throws what the functions of the settings throw; the
   * request has then failed.
   */
  end(request: Request, err: unknown): void {
    this.advance();
    if (request.generation !== this.generation) return;
    if (this.current !== "closed") this.probes.delete(request);
    if (this.isExcluded === undefined && this.isSuccessful === undefined) {
      this.record(request, err == null ? "success" : "failure");
    } else {
      this.judge(request, err);
    }
  }

  /** Asks the functions of the settings how the request ended, and counts that. */
  private judge(request: Request, err: unknown): void {
    let outcome: Outcome = "failure";
    try {
      outcome = this.outcomeOf(err);
    } finally {
      // The functions may have called the breaker, and begun another generation.
      if (request.generation === this.generation) this.record(request, outcome);
    }
  }

  private outcomeOf(err: unknown): Outcome {
    const { isExcluded, isSuccessful } = this;
    if (isExcluded !== undefined && verdict(isExcluded(err), "isExcluded")) return "exclusion";
    const succeeded = isSuccessful === undefined ? err == null : verdict(isSuccessful(err), "isSuccessful");
    return succeeded ? "success" : "failure";
  }

  private record(request: Request, outcome: Outcome): void {
    if (this.current === "closed") {
      this.tally.result(outcome, request.bucket);
      // readyToTrip may have called the breaker, and begun another generation.
      if (outcome === "failure" && this.trips() && request.generation === this.generation) {
        this.change("open", this.readClock());
      }
    } else if (outcome === "failure") {
      this.change("open", this.readClock());
    } else {
      this.tally.result(outcome, request.bucket);
      if (this.tally.current.consecutiveSuccesses < this.maxRequests) return;
      this.change("closed", this.interval > 0 ? this.readClock() : 0);
    }
  }

  private trips(): boolean {
    const { readyToTrip } = this;
    if (readyToTrip === undefined) return this.tally.current.consecutiveFailures > 5;
    return verdict(readyToTrip(this.tally.snapshot()), "readyToTrip");
  }

  /** Does what has become due. */
  private advance(): void {
    if (this.timed) this.advanceTo(this.readClock());
  }

  /** Does what has become due at t. As in Go, that is what lies strictly before t. */
  private advanceTo(t: number): void {
    if (this.current === "closed") {
      if (this.rolls) this.roll(t);
      else if (this.expiry < t) this.renew(t);
      return;
    }
    // The oldest probe may have failed so long ago that the time of being open is over too.
    const overdueAt = this.oldestProbeEnds();
    if (overdueAt < t) this.change("open", overdueAt);
    if (this.current === "open" && this.expiry < t) this.change("half-open", t);
  }

  /** When the oldest probe has failed if it has not ended before; Infinity if there is none. */
  private oldestProbeEnds(): number {
    const [oldest] = this.probes;
    return oldest === undefined ? Number.POSITIVE_INFINITY : oldest.startedAt + this.probeTimeout;
  }

  private roll(t: number): void {
    const bucket = Math.floor((t - this.since) / this.bucketPeriod);
    if (bucket <= this.tally.newest) return;
    this.tally.advanceTo(bucket);
    this.shared = undefined;
  }

  private readClock(): number {
    const { now } = this;
    return now();
  }

  private change(to: State, at: number): void {
    const from = this.current;
    this.current = to;
    this.renew(at);
    const { onStateChange } = this;
    if (onStateChange !== undefined) guarded(() => onStateChange(this.name, from, to));
  }

  /** Begins a generation at the instant `at`. */
  private renew(at: number): void {
    this.generation++;
    this.since = at;
    this.shared = undefined;
    this.refusal = undefined;
    this.probes.clear();
    this.tally.clear();
    this.expiry = Number.POSITIVE_INFINITY;
    if (this.current === "open") this.expiry = at + this.timeout;
    else if (this.current === "closed" && this.interval > 0 && !this.rolls) this.expiry = at + this.interval;
    this.timed = this.expiry !== Number.POSITIVE_INFINITY || (this.rolls && this.current === "closed");
  }
}

function optionalCallable<F>(fn: F | undefined, what: string): F | undefined {
  return fn === undefined ? undefined : callable(fn, what);
}

/** Returns the answer of a function of the settings; throws TypeError if it is a promise, which would count as true. */
function verdict(answer: unknown, what: string): boolean {
  if (isThenable(answer)) throw new TypeError(`${what} must not return a promise`);
  return Boolean(answer);
}
