/** One measurement of one contender of our own process. */
import { Bench } from "tinybench";
import type { Run } from "./row.ts";

/**
 * Nanoseconds per operation: the mean over the calls of `ms` milliseconds. Not their median, which has the collector in it
 * or has not, as it happens to run in more than half of the calls or in fewer. Each call begins in a fresh turn of the
 * event loop, so that what one leaves to the host between turns is not the next one's to pay.
 */
export async function measure(run: Run, ops: number, ms: number): Promise<number> {
  const bench = new Bench({ time: ms, iterations: 1, warmup: false, throws: true });
  // Said to be asynchronous, or tinybench would call it once more to find out.
  bench.add("run", run, {
    async: true,
    beforeEach: () => new Promise<void>((resolve) => setImmediate(resolve)),
  });
  const [task] = await bench.run();
  const result = task?.result;
  if (result === undefined || !("latency" in result)) throw new Error("the benchmark has not run");
  return (result.latency.mean * 1e6) / ops;
}
