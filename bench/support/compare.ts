/**
 * Benchmarks side by side: each row runs its contenders alternately in one process, so that the drift of the machine
 * cancels, and reports the medians and their ratio. Every contender checks its own result.
 */
import { Bench } from "tinybench";

/** One contender: does `ops` operations per call and throws if their result is wrong. */
export type Run = () => void | Promise<void>;

export interface Row {
  readonly name: string;
  /** Operations per call of a contender. */
  readonly ops: number;
  /** The same work with bare promises, or with the host's own means. */
  readonly floor?: Run;
  readonly ours: Run;
  /** The budget's upper bound of ours ÷ floor, if it has one. */
  readonly most?: number;
  /** Go's figure in nanoseconds, as DESIGN.md's first measurement had it, and the budget's bound of ours ÷ Go. */
  readonly go?: readonly [ns: number, most: number];
}

const ROUNDS = 9;

export async function compare(title: string, rows: readonly Row[]): Promise<void> {
  const only = process.argv[2] ?? "";
  console.log(title);
  console.log(
    `${"operation".padEnd(46)}${"ours".padStart(10)}${"floor".padStart(10)}   ratio (target)       of Go's (target)`,
  );
  for (const row of rows) {
    if (!row.name.includes(only)) continue;
    const ours: number[] = [];
    const floor: number[] = [];
    const ratios: number[] = [];
    for (let round = 0; round <= ROUNDS; round++) {
      const a = row.floor === undefined ? Number.NaN : await once(row.floor, row.ops);
      const b = await once(row.ours, row.ops);
      if (round === 0) continue; // Warm-up: the first round compiles.
      floor.push(a);
      ours.push(b);
      ratios.push(b / a);
    }
    const ns = median(ours);
    const ratio = row.floor === undefined ? "" : `${median(ratios).toFixed(2)} (${row.most ?? "–"})`;
    const go = row.go === undefined ? "" : `${(ns / row.go[0]).toFixed(2)} (${row.go[1]})`;
    const base = row.floor === undefined ? "" : median(floor).toFixed(1);
    console.log(`${row.name.padEnd(46)}${ns.toFixed(1).padStart(10)}${base.padStart(10)}   ${ratio.padEnd(20)} ${go}`);
  }
}

/**
 * Nanoseconds per operation: the median of what a short tinybench run of the contender saw. Each call begins in a fresh
 * turn of the event loop, so that what one leaves to the host between turns, the collector's tasks above all, is not the
 * next one's to pay.
 */
async function once(run: Run, ops: number): Promise<number> {
  const bench = new Bench({ time: 60, iterations: 5, warmup: false, throws: true });
  bench.add("run", run, {
    beforeEach: () => new Promise<void>((resolve) => setImmediate(resolve)),
  });
  const [task] = await bench.run();
  const result = task?.result;
  if (result === undefined || !("latency" in result)) throw new Error("the benchmark has not run");
  return (result.latency.p50 * 1e6) / ops;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** Throws unless a contender's result is right. */
export function check(got: number, want: number): void {
  if (got !== want) throw new Error(`wrong result: ${got} instead of ${want}`);
}
