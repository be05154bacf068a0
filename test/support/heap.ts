/** Measures what work leaves on the heap. For tests under --expose-gc. */
import { turn } from "./turn.ts";

/** The bytes in use after collections, and turns in which finalizers and deferred completions run. */
export async function bytesInUse(): Promise<number> {
  const gc = globalThis.gc;
  if (gc === undefined) throw new Error("run with --expose-gc");
  for (let i = 0; i < 3; i++) {
    gc();
    await turn();
  }
  gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/**
 * How many of these are still there after collections, each in a turn of its own. JavaScriptCore keeps whatever looks
 * like a pointer on the stack: there a few may stay that nothing refers to.
 */
export async function remaining(refs: readonly WeakRef<object>[]): Promise<number> {
  const gc = globalThis.gc;
  if (gc === undefined) throw new Error("run with --expose-gc");
  let there = refs.length;
  for (let i = 0; i < 10 && there > 0; i++) {
    await turn();
    gc();
    there = refs.filter((ref) => ref.deref() !== undefined).length;
  }
  return there;
}

/** How many of the things that nothing refers to `remaining` may still find: more than were ever seen. */
export const MISTAKEN = "Bun" in globalThis ? 3 : 0;

/**
 * How many bytes a round leaves behind: after a stretch of rounds to warm up, the least that each of three more
 * stretches adds. One-time allocations of the engine, such as compiled code, fall into one of them; a leak is in all.
 */
export async function bytesPerRound(round: () => unknown, rounds: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  let before = 0;
  for (let stretch = 0; stretch < 4; stretch++) {
    for (let i = 0; i < rounds; i++) await round();
    const after = await bytesInUse();
    if (stretch > 0) least = Math.min(least, after - before);
    before = after;
  }
  return least / rounds;
}

/** The processor time that `work` takes, in microseconds. */
function cost(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/**
 * The processor time of `large` over that of `small`: the least of up to five ratios, each of two measurements made one
 * after the other, and the first that is below `enough`. Each work is prepared again by the function that returns it.
 */
export function costRatio(small: () => () => void, large: () => () => void, enough: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5 && least >= enough; i++) {
    const [a, b] = [small(), large()];
    globalThis.gc?.();
    const first = Math.max(cost(a), 1);
    least = Math.min(least, cost(b) / first);
  }
  return least;
}
