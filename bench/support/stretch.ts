/** Calls that follow one another, and the turn of the event loop after them. */
import type { Run } from "./row.ts";

/** For so many milliseconds calls follow one another before the event loop turns: its own 4 µs must not count. */
const STRETCH = 1;

/** Calls for a millisecond, once at least, then lets the event loop turn. Resolves to the number of calls. */
export async function stretch(run: Run): Promise<number> {
  const end = performance.now() + STRETCH;
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
