/** The statistics of the comparison: medians, quartiles, ratios, and the exponent of a growth. */

/** The q-quantile, interpolated between two values. NaN without values. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const below = sorted[Math.floor(at)];
  const above = sorted[Math.ceil(at)];
  if (below === undefined || above === undefined) return Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The figures of one contender in one process, round by round. */
export type Rounds = readonly number[];

/** The rounds of each contender, by name, in one set of processes. */
export type SetRounds = Readonly<Record<string, Rounds>>;

/** The median over processes of the median over rounds. */
export function figure(sets: readonly SetRounds[], name: string): number {
  return median(sets.map((set) => median(set[name] ?? [])).filter((value) => !Number.isNaN(value)));
}

export interface Ratio {
  readonly median: number;
  /** The quartiles of all rounds. */
  readonly low: number;
  readonly high: number;
}

/**
 * `a` ÷ `b`, divided round by round, so that what slows the machine down for a while slows both: the median over
 * processes of the median over rounds. `undefined` where the two were never measured in one round.
 */
export function ratio(sets: readonly SetRounds[], a: string, b: string): Ratio | undefined {
  const bySet = sets.map((set) => {
    const [over, under] = [set[a] ?? [], set[b] ?? []];
    return over.slice(0, under.length).map((ns, round) => ns / (under[round] as number));
  });
  const all = bySet.flat();
  if (all.length === 0) return undefined;
  return {
    median: median(bySet.filter((ratios) => ratios.length > 0).map(median)),
    low: quantile(all, 0.25),
    high: quantile(all, 0.75),
  };
}

export interface Fit {
  /** The slope of log cost over log size: 0 is constant, 1 is linear. */
  readonly exponent: number;
  /** Its standard error. */
  readonly error: number;
}

/** Fits cost = c · size^exponent by least squares over the logarithms. */
export function growth(points: readonly (readonly [size: number, cost: number])[]): Fit {
  const logs = points.map(([size, cost]) => [Math.log(size), Math.log(cost)] as const);
  const meanX = mean(logs.map(([x]) => x));
  const meanY = mean(logs.map(([, y]) => y));
  const xx = sum(logs.map(([x]) => (x - meanX) ** 2));
  const exponent = sum(logs.map(([x, y]) => (x - meanX) * (y - meanY))) / xx;
  const residual = sum(logs.map(([x, y]) => (y - meanY - exponent * (x - meanX)) ** 2));
  return { exponent, error: Math.sqrt(residual / Math.max(1, logs.length - 2) / xx) };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}
