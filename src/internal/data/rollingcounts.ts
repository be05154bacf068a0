/** The counts of requests and of their results, of which the oldest are forgotten bucket by bucket. */

/** How many requests there were, and how they ended. */
export interface Counts {
  /** Requests that were let through. */
  readonly requests: number;
  readonly totalSuccesses: number;
  readonly totalFailures: number;
  /** Requests that ended as neither a success nor a failure. */
  readonly totalExclusions: number;
  /** Successes since the last failure. */
  readonly consecutiveSuccesses: number;
  /** Failures since the last success. */
  readonly consecutiveFailures: number;
}

/** How a request ended. */
export type Outcome = "success" | "failure" | "exclusion";

class Tally implements Counts {
  requests = 0;
  totalSuccesses = 0;
  totalFailures = 0;
  totalExclusions = 0;
  consecutiveSuccesses = 0;
  consecutiveFailures = 0;

  add(outcome: Outcome): void {
    if (outcome === "success") {
      this.totalSuccesses++;
      this.consecutiveSuccesses++;
      this.consecutiveFailures = 0;
    } else if (outcome === "failure") {
      this.totalFailures++;
      this.consecutiveFailures++;
      this.consecutiveSuccesses = 0;
    } else {
      this.totalExclusions++;
    }
  }

  /** Takes out what is in `bucket`, but for the consecutive ones: they depend on the buckets that stay. */
  subtract(bucket: Counts): void {
    this.requests -= bucket.requests;
    this.totalSuccesses -= bucket.totalSuccesses;
    this.totalFailures -= bucket.totalFailures;
    this.totalExclusions -= bucket.totalExclusions;
  }
}

/**
 * Counts over a window of `size` buckets; with a size of 1, counts that are forgotten by {@link clear} alone, and no
 * buckets.
 *
 * The caller numbers the buckets by their age: the first is 0, and `age` is the newest. A result is counted in the
 * bucket in which its request began, and dropped if that is in the window no more.
 */
export class RollingCounts {
  // Between any two calls, with a size above 1: each count except the consecutive ones is the sum of that count over
  // the buckets; the bucket of age a is #buckets[a mod size], for the `size` ages up to `age`.
  private total = new Tally();
  private buckets: Tally[] = [];
  private readonly size: number;

  /** The age of the newest bucket. */
  age = 0;

  constructor(size: number) {
    this.size = size;
    this.clear();
  }

  /** The counts as they are now. The object does not change later. */
  snapshot(): Counts {
    return { ...this.total };
  }

  /** The counts themselves. They change with the next call. */
  get current(): Counts {
    return this.total;
  }

  /** Counts a request, in the newest bucket. */
  request(): void {
    this.total.requests++;
    if (this.size > 1) this.bucketOf(this.age).requests++;
  }

  /** Counts how a request ended that began in the bucket `age`. */
  result(outcome: Outcome, age: number): void {
    if (this.age - age >= this.size) return;
    this.total.add(outcome);
    if (this.size > 1) this.bucketOf(age).add(outcome);
  }

  /** Begins the buckets up to `age`, and forgets those that leave the window. An age that goes back changes nothing. */
  advanceTo(age: number): void {
    if (age - this.age >= this.size) {
      this.clear();
      this.age = age;
    }
    while (this.age < age) {
      this.age++;
      this.forgetOldest();
    }
  }

  /** Sets all counts, and the age, to 0. */
  clear(): void {
    this.age = 0;
    this.total = new Tally();
    if (this.size > 1) this.buckets = Array.from({ length: this.size }, () => new Tally());
  }

  private bucketOf(age: number): Tally {
    return this.buckets[age % this.size] as Tally;
  }

  /** The newest bucket takes the place of the oldest. */
  private forgetOldest(): void {
    const { total, buckets } = this;
    const place = this.age % this.size;
    const oldest = buckets[place] as Tally;
    buckets[place] = new Tally();
    total.subtract(oldest);
    // Which of the consecutive ones were in the oldest bucket is not recorded. As in Go: if there are as many of them
    // as there can be, all that the other buckets hold and the last ones of the oldest, then these are forgotten with
    // it.
    const { consecutiveSuccesses: successes, consecutiveFailures: failures } = oldest;
    if (total.consecutiveSuccesses === total.totalSuccesses + successes) total.consecutiveSuccesses -= successes;
    if (total.consecutiveFailures === total.totalFailures + failures) total.consecutiveFailures -= failures;
  }
}
