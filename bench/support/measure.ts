/** One measurement of one contender, ours or a peer's. */
import { Bench } from "tinybench";
import type { Run } from "./row.ts";
import { stretch, turn } from "./stretch.ts";

/**
 * Nanoseconds per operation: the mean over the calls of `ms` milliseconds, and over the turns of the event loop between
 * them. Not the median, which includes the collector only if it happens to run in more than half of the calls. And not
 * the calls alone: V8 postpones collections to the next turn where it can. Then a contender that lets the loop turn
 * during its call would pay for its garbage, and one that does not would seem faster than it is.
 */
export async function measure(run: Run, ops: number, ms: number): Promise<number> {
  let calls = 0;
  const once = async (): Promise<void> => {
    calls += await stretch(run);
  };
  const bench = new Bench({ time: ms, iterations: 1, warmup: false, throws: true });
  // `async: true`, or tinybench would call it once more to find out.
  bench.add("run", once, { async: true, beforeAll: turn });
  const [task] = await bench.run();
  const result = task?.result;
  if (result === undefined || !("totalTime" in result)) throw new Error("the benchmark has not run");
  return (result.totalTime * 1e6) / (calls * ops);
}
