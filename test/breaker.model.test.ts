/**
 * Circuit breaker: random programs against a reference that keeps every request of the current generation in a list,
 * and counts anew each time.
 */
import { type Counts, type Done, type Settings, type State, TwoStepCircuitBreaker } from "gopark/breaker";
import { expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";

type Ending = "success" | "failure" | "exclusion";

/** A request, with the ordinal number of its result. */
interface Entry {
  readonly bucket: number;
  readonly at: number;
  ending?: Ending;
  ordinal?: number;
}

interface Program {
  readonly maxRequests: number;
  readonly interval: number;
  readonly bucketPeriod: number;
  readonly timeout: number;
  readonly probeTimeout: number;
  readonly trips: (counts: Counts) => boolean;
}

class Model {
  state: State = "closed";
  changes: string[] = [];
  private entries: Entry[] = [];
  private since: number;
  private results = 0;
  private readonly p: Program;

  constructor(p: Program, at: number) {
    this.p = p;
    this.since = at;
  }

  private get rolls(): boolean {
    return this.p.bucketPeriod > 0 && this.p.bucketPeriod < this.p.interval;
  }

  private enter(state: State, at: number): void {
    if (state !== this.state) this.changes.push(`${this.state} to ${state}`);
    this.state = state;
    this.since = at;
    this.entries = [];
  }

  look(at: number): void {
    const { interval, timeout, probeTimeout, bucketPeriod } = this.p;
    if (this.state === "closed" && interval > 0) {
      if (this.rolls) {
        const oldest = this.bucket(at) - Math.ceil(interval / bucketPeriod) + 1;
        this.entries = this.entries.filter((entry) => entry.bucket >= oldest);
      } else if (at > this.since + Math.max(interval, bucketPeriod)) {
        this.enter("closed", at);
      }
    }
    if (this.state === "half-open") {
      const started = this.entries.filter((entry) => entry.ending === undefined).map((entry) => entry.at);
      const due = Math.min(...started) + probeTimeout;
      if (due < at) this.enter("open", due);
    }
    if (this.state === "open" && at > this.since + timeout) this.enter("half-open", at);
  }

  private bucket(at: number): number {
    return this.rolls && this.state === "closed" ? Math.floor((at - this.since) / this.p.bucketPeriod) : 0;
  }

  allow(at: number): Entry | string {
    this.look(at);
    if (this.state === "open") return "circuit breaker is open";
    const { requests, totalExclusions } = this.counts();
    if (this.state === "half-open" && requests - totalExclusions >= this.p.maxRequests) return "too many requests";
    const entry: Entry = { bucket: this.bucket(at), at };
    this.entries.push(entry);
    return entry;
  }

  done(entry: Entry, ending: Ending, at: number): void {
    this.look(at);
    if (!this.entries.includes(entry)) {
      return;
    }
    entry.ending = ending;
    entry.ordinal = this.results++;
    if (this.state === "half-open") {
      if (ending === "failure") this.enter("open", at);
      else if (this.counts().consecutiveSuccesses >= this.p.maxRequests) this.enter("closed", at);
    } else if (ending === "failure" && this.p.trips(this.counts())) {
      this.enter("open", at);
    }
  }

  counts(): Counts {
    const of = (ending: Ending) => this.entries.filter((entry) => entry.ending === ending);
    const last = (ending: Ending) => Math.max(-1, ...of(ending).map((entry) => entry.ordinal as number));
    const run = (ending: Ending, since: number) =>
      of(ending).filter((entry) => (entry.ordinal as number) > since).length;
    return {
      requests: this.entries.length,
      totalSuccesses: of("success").length,
      totalFailures: of("failure").length,
      totalExclusions: of("exclusion").length,
      consecutiveSuccesses: run("success", last("failure")),
      consecutiveFailures: run("failure", last("success")),
    };
  }
}

/**
 * In a rolling window a late result may make Go's count of consecutive results differ from what they are: so programs
 * in which results come late trip by the totals, and their consecutive ones are not compared.
 */
function program(rnd: Random): void {
  let at = 1_000_000;
  const late = rnd.bool(0.5);
  const limit = rnd.int(1, 4);
  const trips = late
    ? (counts: Counts) => counts.totalFailures >= limit
    : (counts: Counts) => counts.consecutiveFailures >= limit;
  const p: Program = {
    maxRequests: rnd.int(1, 3),
    interval: rnd.pick([0, 100, 250, 1000]),
    bucketPeriod: rnd.pick([0, 0, 50, 100, 300]),
    timeout: rnd.pick([50, 200]),
    probeTimeout: rnd.pick([30, 150, Number.POSITIVE_INFINITY]),
    trips,
  };
  const changes: string[] = [];
  const settings: Settings = {
    ...p,
    readyToTrip: trips,
    isExcluded: (err) => err === "exclusion",
    onStateChange: (_, from, to) => changes.push(`${from} to ${to}`),
    now: () => at,
  };
  const cb = new TwoStepCircuitBreaker(settings);
  const model = new Model(p, at);
  const pending: [Done, Entry][] = [];

  const finish = (index: number): void => {
    const [request] = pending.splice(index, 1);
    if (request === undefined) return;
    const ending = rnd.pick(["success", "failure", "failure", "exclusion"] as const);
    request[0](ending === "success" ? undefined : ending);
    model.done(request[1], ending, at);
  };

  for (let step = 0; step < 200; step++) {
    const what = rnd.int(0, 9);
    if (what < 4) {
      const wanted = model.allow(at);
      try {
        const done = cb.allow();
        expect(typeof wanted).toBe("object");
        pending.push([done, wanted as Entry]);
      } catch (error) {
        expect((error as Error).message).toBe(wanted);
      }
      if (!late) finish(pending.length - 1);
    } else if (what < 7) {
      finish(rnd.int(0, pending.length));
    } else if (what < 9) {
      at += rnd.pick([0, 1, 10, 49, 50, 51, 99, 100, 101, 250, 1000]);
    } else {
      model.look(at);
      expect(cb.state()).toBe(model.state);
    }
    // The counts of a breaker that has not been called since are those of its last call, and so are the model's.
    const { consecutiveSuccesses, consecutiveFailures, ...totals } = model.counts();
    expect(cb.counts()).toMatchObject(late ? totals : { ...totals, consecutiveSuccesses, consecutiveFailures });
    expect(changes).toEqual(model.changes);
  }
}

test.each(seeds(300))("a random program ends as the model does, SEED=%d", (seed) => program(random(seed)));
