/**
 * A limit on how much runs at once that finds itself, from how long the work takes.
 *
 * What runs at once beyond what a service can do in parallel waits inside it: the latency grows and the throughput does
 * not. So the limit follows the latency. It is compared with a baseline, the latency of the service when nothing waits:
 *
 * 1. *Windows.* Latencies are gathered for at least WINDOW milliseconds and SAMPLES samples; then their median counts.
 *    (A mean follows the few slowest, a minimum the one that came from a cache.)
 * 2. *The baseline* is the least of the last HISTORY medians. (An average would follow an overload that lasts, and the
 *    limit would grow with it without end.)
 * 3. *Down, by a factor:* if the median is more than `tolerance` times the baseline, the limit is multiplied by the
 *    root of what it is too long by, but at least by LEAST_FACTOR. That is, if half of it was used: otherwise it is not
 *    the limit that lets wait, and where latencies vary much, a service with little to do would lose its limit by
 *    chance.
 * 4. *Up, by a step:* otherwise, if as much ran at once as SATURATED of the limit, it grows by the half of its root, at
 *    least by 1.
 * 5. *Probes.* A service may become slower for good. Then the old baseline is too low, and the limit would stay at its
 *    least. So every 30 to 40 seconds, if the limit is used, a quarter of it is let through until a window has been
 *    measured in which nothing waited, and that is the new baseline. The time is random, so that the processes of a
 *    fleet do not probe together.
 *
 * A sample that did not succeed counts only if it took too long already: a failure that comes at once, or a client that
 * leaves at once, must not lower the baseline.
 */

import { optionsOf, show, wholeNumber } from "../data/args.ts";

/** How an adaptive limit behaves. Everything may be left out. */
export interface AdaptiveOptions {
  /** The limit at the start: a whole number from 1. 20 if left out, or `max` if that is less. */
  readonly initial?: number | undefined;

  /** The limit never falls below this: a whole number from 1 to `max`. 4 if left out, or `max` if that is less. */
  readonly min?: number | undefined;

  /**
   * How many times as long as the baseline the median may take before the limit falls. Above 1; 2 if left out. More
   * gives more throughput where the work varies much, and longer waits inside the service.
   */
  readonly tolerance?: number | undefined;
}

/** In milliseconds. */
const WINDOW = 250;
const SAMPLES = 10;
const HISTORY = 400;
const LEAST_FACTOR = 0.7;
const SATURATED = 0.8;
const PROBE_EVERY = 30_000;
const PROBE_SPREAD = 10_000;
const PROBE_SHARE = 4;

/** What runs at once at least during a probe. */
const LEAST_PROBE = 4;

/** A probe that has not measured a window after so many milliseconds is given up. */
const PROBE_TIMEOUT = 10_000;

/** How many samples of a window are kept, the last ones: sorting them takes microseconds. */
const KEPT = 256;

export class AdaptiveLimit {
  // The limit outside of probes, with its fraction. Between any two calls: min <= limit <= max.
  private limit: number;
  private readonly min: number;
  private readonly max: number;
  private readonly tolerance: number;
  private readonly random: () => number;

  // The window: its samples, in a ring, how many there were, when it began, and how much ran at once at most.
  private readonly samples = new Float64Array(KEPT);
  private count = 0;
  private beganAt = Number.NaN;
  private peak = 0;

  // The medians of the last windows, the oldest first, and the least of them: Infinity before there is one.
  private readonly medians: number[] = [];
  private baseline = Number.POSITIVE_INFINITY;

  // The limit of the probe that is going on, when it began, and from when on what starts counts: since then no more
  // ran than the probe lets through. Undefined, and NaN.
  private probe: number | undefined = undefined;
  private probeBeganAt = Number.NaN;
  private cleanSince = Number.NaN;
  private nextProbeAt = Number.NaN;

  /** Checks the options of `shed`. */
  static of(options: AdaptiveOptions, max: number): AdaptiveLimit {
    const { initial = Math.min(20, max), min = Math.min(4, max), tolerance = 2 } = optionsOf(options, "shed: adaptive");
    for (const [name, value] of Object.entries({ min, initial })) {
      wholeNumber(value, `shed: adaptive.${name}`, 1);
      if (value > max) throw new RangeError(`shed: adaptive.${name} must be at most ${max}, the max, got ${value}`);
    }
    if (typeof tolerance !== "number") {
      throw new TypeError(`shed: adaptive.tolerance must be a number, got ${show(tolerance)}`);
    }
    if (!(tolerance > 1)) throw new RangeError(`shed: adaptive.tolerance must be above 1, got ${tolerance}`);
    return new AdaptiveLimit(Math.max(initial, min), min, max, tolerance, Math.random);
  }

  constructor(initial: number, min: number, max: number, tolerance: number, random: () => number) {
    this.limit = initial;
    this.min = min;
    this.max = max;
    this.tolerance = tolerance;
    this.random = random;
  }

  /** How much may run at once now: a whole number. */
  get value(): number {
    return this.probe ?? Math.floor(this.limit);
  }

  /**
   * Adds what ran from `start` to `end`, in milliseconds of one clock. `running`: how much ran at the end, this
   * included. `ok`: it succeeded.
   */
  add(start: number, end: number, running: number, ok: boolean): void {
    if (Number.isNaN(this.nextProbeAt)) this.nextProbeAt = this.afterPause(end);
    if (Number.isNaN(this.beganAt)) this.beganAt = start;
    if (this.probe !== undefined && !this.isClean(start, end, running)) return;
    this.peak = Math.max(this.peak, running);
    const took = end - start;
    if (!ok && !(took > this.tolerance * this.baseline)) return;
    this.samples[this.count++ % KEPT] = took;
    if (this.count < SAMPLES || end - this.beganAt < WINDOW) return;
    this.endWindow(this.median(), end);
  }

  private endWindow(median: number, at: number): void {
    const { peak } = this;
    const isUsed = peak >= SATURATED * this.value;
    if (this.probe !== undefined) {
      this.medians.length = 0;
      this.endProbe(at);
    }
    this.medians.push(median);
    if (this.medians.length > HISTORY) this.medians.shift();
    this.baseline = Math.min(...this.medians);
    this.newWindow(at);
    const bound = this.tolerance * this.baseline;
    if (median > bound) {
      if (peak < this.limit / 2) return;
      this.limit = Math.max(this.min, this.limit * Math.max(LEAST_FACTOR, Math.sqrt(bound / median)));
    } else if (isUsed) {
      this.limit = Math.min(this.max, this.limit + Math.max(1, Math.sqrt(this.limit) / 2));
    }
    if (isUsed && at >= this.nextProbeAt) this.beginProbe(at);
  }

  private newWindow(at: number): void {
    this.beganAt = at;
    this.count = 0;
    this.peak = 0;
  }

  private beginProbe(at: number): void {
    this.probe = Math.min(Math.max(LEAST_PROBE, Math.floor(this.limit / PROBE_SHARE)), Math.floor(this.limit));
    this.probeBeganAt = at;
    this.cleanSince = Number.NaN;
  }

  private endProbe(at: number): void {
    this.probe = undefined;
    this.nextProbeAt = this.afterPause(at);
  }

  /** Whether, during a probe, what ran from `start` to `end` met no more than the probe lets through. */
  private isClean(start: number, end: number, running: number): boolean {
    if (Number.isNaN(this.cleanSince) && running <= (this.probe as number)) {
      this.cleanSince = end;
      this.newWindow(end);
    }
    if (end - this.probeBeganAt >= PROBE_TIMEOUT) {
      this.endProbe(end);
      this.newWindow(end);
      return true;
    }
    return start >= this.cleanSince;
  }

  private afterPause(at: number): number {
    return at + PROBE_EVERY + PROBE_SPREAD * this.random();
  }

  private median(): number {
    const sorted = this.samples.slice(0, Math.min(this.count, KEPT)).sort();
    return sorted[sorted.length >> 1] as number;
  }
}
