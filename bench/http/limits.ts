/**
 * The limit of `gopark/admission` compared with others that find themselves, on the same simulated service under the
 * same load. The others are written here by their published descriptions, with the settings of Netflix's
 * concurrency-limits: AIMD with a latency that it is told, Vegas, and Gradient2.
 */
import { AdaptiveLimit } from "../../src/internal/admission/adaptive.ts";
import { type Interval, type Limit, type Phase, seeded, simulate } from "./simulation.ts";

const MAX = 1000;
const INITIAL = 20;
const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** Additive increase, multiplicative decrease, at every sample: down where a latency is over what it is told. */
class Aimd implements Limit {
  private limit = INITIAL;
  private readonly bound: number;

  constructor(bound: number) {
    this.bound = bound;
  }

  get value(): number {
    return Math.floor(this.limit);
  }

  add(start: number, end: number, running: number): void {
    if (end - start > this.bound) this.limit *= 0.9;
    else if (2 * running >= this.limit) this.limit += 1;
    this.limit = Math.min(MAX, Math.max(INITIAL, this.limit));
  }
}

/** TCP Vegas: how many wait inside is estimated from the least latency so far, which a probe forgets now and then. */
class Vegas implements Limit {
  private limit = INITIAL;
  private least = Number.POSITIVE_INFINITY;
  private samples = 0;
  private jitter: number;
  private readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
    this.jitter = 0.5 + random() / 2;
  }

  get value(): number {
    return Math.floor(this.limit);
  }

  add(start: number, end: number, running: number): void {
    const took = end - start;
    if (++this.samples >= this.jitter * 30 * this.limit) {
      this.samples = 0;
      this.jitter = 0.5 + this.random() / 2;
      this.least = took;
      return;
    }
    this.least = Math.min(this.least, took);
    if (2 * running < this.limit) return;
    const waiting = Math.ceil(this.limit * (1 - this.least / took));
    const step = Math.max(1, Math.log10(this.limit));
    if (waiting <= step) this.limit += 6 * step;
    else if (waiting < 3 * step) this.limit += step;
    else if (waiting > 6 * step) this.limit -= step;
    this.limit = Math.min(MAX, Math.max(1, this.limit));
  }
}

/** Gradient2: the mean latency of a window, compared with an average over the last 600 windows. */
class Gradient2 implements Limit {
  private limit = INITIAL;
  private long = Number.NaN;
  private sum = 0;
  private count = 0;
  private peak = 0;
  private beganAt = 0;

  get value(): number {
    return Math.floor(this.limit);
  }

  add(start: number, end: number, running: number): void {
    this.sum += end - start;
    this.count++;
    this.peak = Math.max(this.peak, running);
    if (this.count < 10 || end - this.beganAt < SECOND) return;
    const short = this.sum / this.count;
    const { peak } = this;
    this.sum = this.count = this.peak = 0;
    this.beganAt = end;
    this.long = Number.isNaN(this.long) ? short : this.long + (2 / 601) * (short - this.long);
    if (this.long > 2 * short) this.long *= 0.95;
    if (2 * peak < this.limit) return;
    const gradient = Math.max(0.5, Math.min(1, (1.5 * this.long) / short));
    this.limit = Math.min(MAX, Math.max(INITIAL, 0.8 * this.limit + 0.2 * (gradient * this.limit + 4)));
  }
}

/** A part of the run, with what it shows. */
export interface Part extends Phase {
  readonly name: string;
}

/** The service can do 500 requests a second: 10 at once, 20 ms each. While it is slow, 167. */
export const PARTS: readonly Part[] = [
  { name: "normal load", lasts: MINUTE, rate: 250, takes: 20 },
  { name: "six times the load", lasts: MINUTE, rate: 1500, takes: 20 },
  { name: "normal load", lasts: MINUTE, rate: 250, takes: 20 },
  { name: "three times as slow", lasts: 2 * MINUTE, rate: 250, takes: 60 },
  { name: "normal load", lasts: MINUTE, rate: 250, takes: 20 },
  { name: "ten minutes of overload", lasts: 10 * MINUTE, rate: 1500, takes: 20 },
];

export interface Run {
  readonly name: string;
  readonly kind: string;
  readonly seen: readonly Interval[];
}

export function simulateLimits(): Run[] {
  const limits: [string, string, Limit][] = [
    ["shed", "ours", new AdaptiveLimit(INITIAL, 4, MAX, 2, seeded(1))],
    ["AIMD, told 200 ms", "floor", new Aimd(200)],
    ["Vegas", "go", new Vegas(seeded(2))],
    ["Gradient2", "peer", new Gradient2()],
  ];
  return limits.map(([name, kind, limit]) => {
    const seen = simulate(limit, PARTS, { lanes: 10, every: SECOND, random: seeded(3) });
    return { name, kind, seen };
  });
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * What each limit did in each part that is not normal: served a second, mean P99 of the seconds, and the last limit.
 */
export function limitTable(runs: readonly Run[]): string[] {
  let at = 0;
  const parts = PARTS.map((part) => {
    const from = at;
    at += part.lasts / SECOND;
    return { ...part, from, to: at };
  });
  const shown = parts.filter(({ name }) => name !== "normal load");
  return [
    `| limit | ${shown.map(({ name, takes }) => `${name}: served of ${Math.round(10_000 / takes)} a second, P99, limit`).join(" | ")} |`,
    `| --- | ${shown.map(() => "---:").join(" | ")} |`,
    ...runs.map(({ name, seen }) => {
      const cells = shown.map(({ from, to }) => {
        const of = seen.slice(from, to);
        const p99 = mean(of.map((s) => s.p99));
        return `${mean(of.map((s) => s.served)).toFixed(0)}, ${p99.toFixed(0)} ms, ${of.at(-1)?.limit}`;
      });
      return `| ${name} | ${cells.join(" | ")} |`;
    }),
  ];
}
