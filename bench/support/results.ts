/** The results of a run, as stored in `bench/results/bench.json` and `docs/performance.json`. */
import type { Series } from "./growth.ts";
import type { LevelRow } from "./measureLevels.ts";
import type { NextBest, Row } from "./row.ts";
import { figure, type Ratio, ratio, type SetRounds } from "./stats.ts";
import type { TickRow } from "./ticks.ts";

/** A bound of ours ÷ another contender, and whether it holds. */
export interface Target {
  readonly against: string;
  readonly most: number;
  readonly found: number;
  readonly met: boolean;
}

export interface RowResult {
  readonly id: string;
  readonly what: string;
  readonly floorIs?: string;
  /** The row that does a part of this one's work. */
  readonly beyond?: string;
  /** Nanoseconds per operation of each contender: `ours`, `floor`, `go1`, `goN`, and the peers by name. */
  readonly ns: Readonly<Record<string, number>>;
  /** Ours ÷ each of the others. */
  readonly ratios: Readonly<Record<string, Ratio>>;
  readonly targets: readonly Target[];
  /** The bounds set where a target is out of reach, and why it is. */
  readonly next?: { readonly targets: readonly Target[]; readonly why: string };
  readonly errors: Readonly<Record<string, string>>;
}

export interface MemoryResult {
  readonly id: string;
  readonly what: string;
  readonly bytes: Readonly<Record<string, number>>;
  /** The upper bound of ours. */
  readonly most?: number;
  readonly errors: Readonly<Record<string, string>>;
}

export interface ModuleCost {
  readonly name: string;
  /** Of a cold import in a fresh process. */
  readonly importMs: number;
  /** Bundled, minified and compressed with gzip. */
  readonly gzip?: number;
}

/** A step from the bare hand-off to the channel. */
export interface StepCost {
  readonly adds: string;
  /** Of an unbuffered stream. */
  readonly value: StepFigure;
  /** Of a ping-pong. */
  readonly roundTrip: StepFigure;
}

export interface StepFigure {
  readonly ns: number;
  /** Divided by the first step, with the quartiles of all rounds. */
  readonly ratio?: Ratio;
}

export interface Results {
  readonly quick: boolean;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: string;
  readonly method: { readonly sets: number; readonly rounds: number; readonly ms: number };
  /** The contenders that could not run, and why. */
  readonly absent: Readonly<Record<string, string>>;
  readonly rows: readonly RowResult[];
  readonly memory: readonly MemoryResult[];
  readonly growth: readonly Series[];
  readonly steps: readonly StepCost[];
  /** Absent from results of before there were levels. */
  readonly levels?: readonly LevelRow[];
  readonly ticks: readonly TickRow[];
  readonly modules: readonly ModuleCost[];
}

/** `again` is ours in a second process. */
const NOT_PEERS = ["ours", "again", "floor", "go1", "goN"];

/** The fastest of the peers, if there is one. */
export function bestPeer(ns: Readonly<Record<string, number>>): string | undefined {
  const peers = Object.keys(ns).filter((name) => !NOT_PEERS.includes(name));
  return peers.sort((a, b) => (ns[a] as number) - (ns[b] as number))[0];
}

/** Computes a row's figures from the rounds of all sets of processes. */
export function summarize(row: Row, sets: readonly SetRounds[], errors: Record<string, string>): RowResult {
  const ns: Record<string, number> = {};
  const ratios: Record<string, Ratio> = {};
  for (const name of new Set(sets.flatMap((set) => Object.keys(set)))) {
    ns[name] = figure(sets, name);
    const over = name === "ours" ? undefined : ratio(sets, "ours", name);
    if (over !== undefined) ratios[name] = over;
  }
  const { id, what, floorIs, beyond, next } = row;
  const best = bestPeer(ns);
  return {
    id,
    what,
    ...(floorIs && { floorIs }),
    ...(beyond && { beyond }),
    ns,
    ratios,
    // The row's own bounds, and one more: ours is no slower than the best peer.
    targets: checkBounds({ ...row.targets, ...(best && !(best in (row.targets ?? {})) && { [best]: 1 }) }, ratios),
    ...(next && { next: { targets: checkBounds(next.targets, ratios), why: next.why } }),
    errors,
  };
}

/** Checks the bounds. Those against contenders that did not run are left out. */
function checkBounds(bounds: NextBest["targets"], ratios: RowResult["ratios"]): Target[] {
  return Object.entries(bounds).flatMap(([against, most]) => {
    const found = ratios[against === "go" ? "go1" : against]?.median;
    return found === undefined ? [] : [{ against, most, found, met: found <= most }];
  });
}
