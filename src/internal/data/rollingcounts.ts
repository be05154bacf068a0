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

  /** Takes these counts out, except the consecutive ones, which depend on the buckets that stay. */
  subtract(counts: Counts): void {
    this.requests -= counts.requests;
    this.totalSuccesses -= counts.totalSuccesses;
    this.totalFailures -= counts.totalFailures;
    this.totalExclusions -= counts.totalExclusions;
  }
}

/**
 * Counts over a window of `size` buckets; with a size of 1, counts that are forgotten by {@link clear} alone, and no
 * buckets.
 *
 * The caller numbers the buckets from 0, and `newest` is the current one. A result is counted in the bucket in which
 * its request began, and dropped if that bucket has left the window.
 */
export class RollingCounts {
  // Between any two calls, with a size above 1: each count except the consecutive ones is the sum of that count over
  // the buckets; bucket b is buckets[b mod size], for the last `size` buckets up to `newest`.
  private total = new Tally();
  private buckets: Tally[] = [];
  private readonly size: number;

  /** The number of the newest bucket. */
  newest = 0;

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
    if (this.size > 1) this.tallyOf(this.newest).requests++;
  }

  /** Counts the result of a request that began in `bucket`. */
  result(outcome: Outcome, bucket: number): void {
    if (this.newest - bucket >= this.size) return;
    this.total.add(outcome);
    if (this.size > 1) this.tallyOf(bucket).add(outcome);
  }

  /**
   * Begins the buckets up to `bucket`, and forgets those that leave the window. A number that goes back changes
   * nothing. With a size of 1 it must not be called.
   */
  advanceTo(bucket: number): void {
    if (bucket - this.newest >= this.size) {
      this.clear();
      this.newest = bucket;
    }
    while (this.newest < bucket) {
      this.newest++;
      this.forgetOldest();
    }
  }

  /** Sets all counts, and the number of the newest bucket, to 0. */
  clear(): void {
    this.newest = 0;
    this.total = new Tally();
    if (this.size > 1) this.buckets = Array.from({ length: this.size }, () => new Tally());
  }

  private tallyOf(bucket: number): Tally {
    return this.buckets[bucket % this.size] as Tally;
  }

  /** The newest bucket takes the place of the oldest. */
  private forgetOldest(): void {
    const { total, buckets } = this;
    const place = this.newest % this.size;
    const oldest = buckets[place] as Tally;
    buckets[place] = new Tally();
    total.subtract(oldest);
    // Which of the consecutive ones were in the oldest bucket is not recorded. As in Go: if the run covers every
    // success (or failure) of the buckets that stay and the run at the end of the oldest, then it began there, and that
    // part of it is forgotten.
    const { consecutiveSuccesses: successes, consecutiveFailures: failures } = oldest;
    if (total.consecutiveSuccesses === total.totalSuccesses + successes) total.consecutiveSuccesses -= successes;
    if (total.consecutiveFailures === total.totalFailures + failures) total.consecutiveFailures -= failures;
  }
}
