/** Measures what each level of tracking costs, each in processes of its own, in turn. */
import { spawnSync } from "node:child_process";
import type { leak } from "gopark";
import { median, type Ratio, ratio, type SetRounds } from "./stats.ts";

interface Level {
  readonly name: "counters" | "sampled" | "full";
  readonly options?: leak.TrackOptions;
  /** The most that a row may take, as a multiple of what it takes under "counters". */
  readonly most?: number;
}

export type LevelName = Level["name"];

export const LEVELS: Readonly<Record<LevelName, Level>> = {
  counters: { name: "counters" },
  sampled: { name: "sampled", most: 1.05 },
  full: { name: "full" },
};

const ROWS = { "chan.stream": "a value through a channel", "sem.contend": "a unit of a semaphore that is waited for" };

/** What a row takes under one level. */
export interface LevelCost {
  readonly level: string;
  readonly ns: number;
  /** To the same row under "counters". */
  readonly ratio?: Ratio;
  readonly most?: number;
}

export interface LevelRow {
  readonly what: string;
  readonly costs: readonly LevelCost[];
}

const ROUNDS = 9;

function cost(level: string, row: string): number {
  const args = [".build/bench/levels.js", level, row];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${row} could not be measured under "${level}": ${stderr}`);
  return Number(stdout);
}

export function levelCosts(say: (what: string) => void): LevelRow[] {
  const names = Object.keys(LEVELS);
  return Object.entries(ROWS).map(([row, what]) => {
    const rounds: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round++) {
      say(`  levels, round ${round + 1} of ${ROUNDS}: ${row}`);
      for (const name of round % 2 === 0 ? names : names.toReversed()) rounds[name]?.push(cost(name, row));
    }
    return { what, costs: Object.entries(LEVELS).map(([name, level]) => costOf(name, level, rounds)) };
  });
}

function costOf(name: string, { most }: Level, rounds: SetRounds): LevelCost {
  const over = name === "counters" ? undefined : ratio([rounds], name, "counters");
  return {
    level: name,
    ns: median(rounds[name] ?? []),
    ...(over && { ratio: over }),
    ...(most !== undefined && { most }),
  };
}
