/** Measures how many ticks of an interval come beside busy tasks, each cell in a process of its own. */
import { spawnSync } from "node:child_process";

export const PERIOD_MS = 10;
export const SPAN_MS = 1_000;

/** Busy work for each item, in microseconds. */
export const BUSY_US = [0, 10, 100, 1_000, 5_000] as const;

const WORKS = {
  channel: { what: "an unbuffered channel, for await", least: 0.9 },
  select: { what: "select of two channels, a sender on each", least: 0.9 },
  semaphore: { what: "a semaphore of one unit, two tasks", least: 0.9 },
  errgroup: { what: "errgroup.map, 4 at once", least: 0.6 },
  immediate: { what: "no primitive: setImmediate after each item", least: undefined },
} as const;

export type TickWork = keyof typeof WORKS;

/** What a process counted. */
export interface TickCount {
  /** The ticks that came, of those that were due. */
  readonly share: number;
  /** The longest time between two ticks. */
  readonly longestMs: number;
  readonly items: number;
}

/** The counts of one work, one for each of {@link BUSY_US}. */
export interface TickRow {
  readonly what: string;
  /** The least share at {@link BOUND_US} of work for each item, if there is a bound. */
  readonly least?: number;
  readonly counts: readonly TickCount[];
}

/** The busy work for which the bounds hold. */
export const BOUND_US = 1_000;

function count(work: string, busyUs: number): TickCount {
  const args = [".build/bench/ticks.js", work, `${busyUs}`];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`the ticks beside "${work} ${busyUs}" could not be counted: ${stderr}`);
  return JSON.parse(stdout) as TickCount;
}

/** A cell with a smaller share is counted again, up to {@link PASSES} times in total. */
const ENOUGH = 0.9;
const PASSES = 3;

/**
 * Returns for each cell the count with the most ticks: other processes on the machine can only take ticks away, and
 * work that starves the event loop does so each time.
 */
export function tickCounts(say: (what: string) => void): TickRow[] {
  const best = new Map<string, TickCount>();
  for (let pass = 1; pass <= PASSES; pass++) {
    for (const work of Object.keys(WORKS)) {
      say(`  ticks, pass ${pass} of ${PASSES}: ${work}`);
      for (const busyUs of BUSY_US) {
        const cell = `${work} ${busyUs}`;
        const before = best.get(cell);
        if (before !== undefined && before.share >= ENOUGH) continue;
        const now = count(work, busyUs);
        if (before === undefined || now.share > before.share) best.set(cell, now);
      }
    }
  }
  return Object.entries(WORKS).map(([work, { what, least }]) => ({
    what,
    ...(least !== undefined && { least }),
    counts: BUSY_US.map((busyUs) => best.get(`${work} ${busyUs}`) as TickCount),
  }));
}
