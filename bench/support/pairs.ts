/**
 * The comparison of two versions of the library by pairs of processes: the ratio, its confidence interval, and the
 * table.
 */
import type { Answer } from "./contender.ts";
import { median } from "./stats.ts";
import { columns, time } from "./table.ts";

export type Side = "old" | "new";

/** One sample of a row in one process: nanoseconds per operation. */
export interface Sample {
  /** Processor time, user and system, of all threads. */
  readonly cpu: number;
  readonly wall: number;
}

/** The samples of two processes, old and new, round by round. */
export type Pair = readonly Readonly<Record<Side, Sample>>[];

/** How a pair of processes is measured. */
export interface PairEffort {
  /** Processor time that each process spends before the first round. */
  readonly warmMs: number;
  /** Processor time that each spends in a round. */
  readonly ms: number;
  readonly rounds: number;
  /** After this wall time no further round starts, except the first three. */
  readonly shareMs: number;
}

export const EFFORT: PairEffort = { warmMs: 300, ms: 40, rounds: 7, shareMs: 1_500 };

export type Ask = (side: Side, ms: number) => Promise<Answer>;

/** Thrown where one side of a pair has no figure. */
export class SideError extends Error {
  readonly side: Side;

  constructor(side: Side, message: string) {
    super(message);
    this.side = side;
  }
}

/**
 * Lets two processes take turns, every second round in reverse order, so that what slows the machine down for a while
 * slows both. Rejects with SideError.
 */
export async function takeTurns(order: readonly Side[], ask: Ask, effort: PairEffort): Promise<Pair> {
  const round = async (sides: readonly Side[], ms: number) => {
    const taken: Partial<Record<Side, Sample & { readonly calls: number }>> = {};
    for (const side of sides) {
      const { cpu, wall, calls, error } = await ask(side, ms);
      if (cpu === undefined || wall === undefined || calls === undefined || !(cpu > 0)) {
        throw new SideError(side, error ?? `no figure, but ${cpu}`);
      }
      taken[side] = { cpu, wall, calls };
    }
    return taken as Required<typeof taken>;
  };
  const warm = await round(order, effort.warmMs);
  // One call took all of the warm-up time. It was compiled during it, and more calls would take too long.
  if (warm.old.calls === 1 && warm.new.calls === 1) return [warm];
  const began = performance.now();
  const pair: Record<Side, Sample>[] = [];
  do pair.push(await round(pair.length % 2 === 0 ? order : order.toReversed(), effort.ms));
  while (pair.length < 3 || (pair.length < effort.rounds && performance.now() - began < effort.shareMs));
  return pair;
}

/** New ÷ old, with the 95 % confidence interval. */
export interface Interval {
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}

/** The 97.5 % quantile of Student's t by degrees of freedom, from 1. */
const STUDENT = [
  12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
];

/**
 * The t interval of the mean of the logarithms of at least two ratios. With logarithms, twice as slow and twice as fast
 * are equally far from 1. For more ratios than the table of t covers, the interval is a little too wide.
 */
export function interval(ratios: readonly number[]): Interval {
  const logs = ratios.map(Math.log);
  const n = logs.length;
  const mean = logs.reduce((sum, x) => sum + x, 0) / n;
  const variance = logs.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
  const t = STUDENT[Math.min(n - 1, STUDENT.length) - 1] as number;
  const half = t * Math.sqrt(variance / n);
  return { ratio: Math.exp(mean), low: Math.exp(mean - half), high: Math.exp(mean + half) };
}

export interface Comparison {
  readonly id: string;
  /** The medians over pairs of the medians over rounds. */
  readonly old: Sample;
  readonly new: Sample;
  readonly cpu: Interval;
  readonly wall: Interval;
  readonly verdict: "worse" | "better" | "same";
}

/** A row is worse if its whole interval lies above this, better if it lies below the inverse. */
export const WORSE = 1.05;

/**
 * Computes a row's figures from at least two pairs. Processor time decides, because wall time includes other processes.
 */
export function compare(id: string, pairs: readonly Pair[]): Comparison {
  const over = (what: keyof Sample) =>
    interval(pairs.map((pair) => median(pair.map((round) => round.new[what] / round.old[what]))));
  const figure = (side: Side, what: keyof Sample) =>
    median(pairs.map((pair) => median(pair.map((round) => round[side][what]))));
  const cpu = over("cpu");
  return {
    id,
    old: { cpu: figure("old", "cpu"), wall: figure("old", "wall") },
    new: { cpu: figure("new", "cpu"), wall: figure("new", "wall") },
    cpu,
    wall: over("wall"),
    verdict: cpu.low > WORSE ? "worse" : cpu.high < 1 / WORSE ? "better" : "same",
  };
}

const bracketed = ({ ratio, low, high }: Interval): string =>
  `${ratio.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;

const HEADS = ["row", "old, processor", "new, processor", "new ÷ old, processor", "new ÷ old, wall", ""];

export function comparisonTable(rows: readonly Comparison[]): string {
  const marks = { worse: "WORSE", better: "better", same: "" };
  return columns(
    HEADS,
    rows.map(({ id, old, new: ours, cpu, wall, verdict }) => [
      id,
      time(old.cpu),
      time(ours.cpu),
      bracketed(cpu),
      bracketed(wall),
      marks[verdict],
    ]),
  );
}
