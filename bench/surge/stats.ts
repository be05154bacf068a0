/** Exact statistics over recorded values: the runs are short enough to keep every latency. */

/** The q-quantile by nearest rank; NaN when there is no value. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

/** The greatest value, 0 when there is none. Not `Math.max(...values)`, which fails beyond some 100 000 values. */
export function peak(values: Iterable<number>): number {
  let max = 0;
  for (const value of values) if (value > max) max = value;
  return max;
}

/** How many items there are of each kind. */
export function tally<K extends string>(kinds: Iterable<K>): Map<K, number> {
  const counts = new Map<K, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}
