/** The guard's decision: whether a ratio has become worse than the last committed one by more than noise. */
import type { RowResult } from "./results.ts";
import type { Ratio } from "./stats.ts";

/** A guarded ratio: ours ÷ `against` in a row. */
export interface Watched {
  readonly id: string;
  readonly against: string;
  readonly before: Ratio;
  readonly now: Ratio;
  /** Ours ÷ ours, of two processes in the same rounds. */
  readonly self: Ratio;
}

export interface Verdict extends Watched {
  readonly allowed: number;
  readonly regressed: boolean;
}

/** A smaller increase is never a regression. */
const MIN_SLACK = 0.05;

/** The greater relative distance of the quartiles from `middle`. */
function deviation({ low, high }: Ratio, middle: number): number {
  return Math.max(Math.abs(low / middle - 1), Math.abs(high / middle - 1));
}

/** Allows the greatest of {@link MIN_SLACK}, twice the noise of this run, and the whole spread of the committed one. */
export function verdict(watched: Watched): Verdict {
  const { before, now, self } = watched;
  const slack = Math.max(MIN_SLACK, 2 * deviation(self, 1), deviation(before, before.median));
  const allowed = before.median * (1 + slack);
  return { ...watched, allowed, regressed: now.median > allowed };
}

/** The ratios that both runs have. The peers' are left out, because their versions change. */
export function watch(committed: readonly RowResult[], measured: readonly RowResult[]): Watched[] {
  return measured.flatMap(({ id, ratios }) => {
    const old = committed.find((row) => row.id === id)?.ratios;
    return ["floor", "go1"].flatMap((against) => {
      const [before, now, self] = [old?.[against], ratios[against], ratios.again];
      return before && now && self ? [{ id, against, before, now, self }] : [];
    });
  });
}
