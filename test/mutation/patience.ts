/** Timeouts that grow with the load of the machine. */
import { availableParallelism, loadavg } from "node:os";

/** `ms` milliseconds on an idle machine, more on a busy one. */
export function patience(ms: number): number {
  return Math.ceil(ms * Math.max(1, (loadavg()[0] ?? 0) / availableParallelism()));
}
