/** The growth of costs with size: fitted, and judged. */
import { type Fit, growth } from "./stats.ts";

export type Points = readonly (readonly [size: number, ns: number])[];

/** The cost of one operation at each size. */
export interface Series {
  readonly title: string;
  /** What is counted by the size. */
  readonly size: string;
  /** What is done once. */
  readonly operation: string;
  readonly ours: Points;
  readonly floor?: Points;
  readonly floorIs?: string;
}

export interface Judged {
  readonly fit: Fit;
  readonly floor: Fit | undefined;
  /** Whether the whole grows faster than its size. */
  readonly defect: boolean;
}

/** Above this the cost of one operation grows with the size; below lie logarithms and caches. */
export const MOST = 0.2;

/**
 * A defect is an exponent above {@link MOST} by more than twice its error, and above the floor's too: what a raw Map or
 * the collector costs with size is the machine's.
 */
export function judge(series: Series): Judged {
  const fit = growth(series.ours);
  const floor = series.floor === undefined ? undefined : growth(series.floor);
  const clearly = (bound: number) => fit.exponent - 2 * fit.error > bound;
  return { fit, floor, defect: clearly(MOST) && (floor === undefined || clearly(floor.exponent)) };
}
