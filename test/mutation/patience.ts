/** Timeouts that a busy machine does not use up. */
import { availableParallelism, loadavg } from "node:os";

/** As many milliseconds as `ms` on an idle machine. */
export function patience(ms: number): number {
  return Math.ceil(ms * Math.max(1, (loadavg()[0] ?? 0) / availableParallelism()));
}
