/** Calls without a pause, and the turn of the event loop after them. */
import type { Run } from "./row.ts";

/** How many milliseconds of calls come before a turn of the event loop, so that the turn's own time does not count. */
const STRETCH_MS = 1;

/** Calls `run` for a millisecond, at least once, then lets the event loop turn. Resolves to the number of calls. */
export async function stretch(run: Run): Promise<number> {
  const end = performance.now() + STRETCH_MS;
  let calls = 0;
  do {
    const running = run();
    if (running !== undefined) await running;
    calls++;
  } while (performance.now() < end);
  await turn();
  return calls;
}

export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
