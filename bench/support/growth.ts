/** The growth of costs with size: the fit, and the verdict. */
import { type Fit, growth } from "./stats.ts";

export type Points = readonly (readonly [size: number, ns: number])[];

/** The cost of one operation at each size. */
export interface Series {
  readonly title: string;
  /** What the size counts: `receivers parked`. */
  readonly size: string;
  /** One operation. */
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

/** Above this exponent the cost of one operation grows with the size. Logarithms and caches stay below. */
export const MAX_EXPONENT = 0.2;

/**
 * A defect is an exponent above {@link MAX_EXPONENT} by more than twice its standard error, and above the floor's as
 * clearly: the growing cost of a raw Map or of the collector is not ours.
 */
export function judge(series: Series): Judged {
  const fit = growth(series.ours);
  const floor = series.floor === undefined ? undefined : growth(series.floor);
  const clearly = (bound: number) => fit.exponent - 2 * fit.error > bound;
  return { fit, floor, defect: clearly(MAX_EXPONENT) && (floor === undefined || clearly(floor.exponent)) };
}
