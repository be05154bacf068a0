/** What a run does, from its arguments. */
import type { Effort } from "./rounds.ts";
import type { Row } from "./row.ts";

export interface Plan {
  readonly quick: boolean;
  readonly guard: boolean;
  /**
   * A prefix of row ids, of their files' names, or of `memory`, `growth`, `steps`, `levels`, `ticks`, `modules`.
   * Everything if it is empty.
   */
  readonly only: string;
  readonly effort: Effort;
  /** No further set of processes starts that would end later than this. */
  readonly limitMs: number;
}

const FULL: Effort = { sets: 3, rounds: 7, ms: 25, warmMs: 150, shareMs: 2_000 };
const QUICK: Effort = { sets: 1, rounds: 3, ms: 12, warmMs: 60, shareMs: 350 };

/** Reads the arguments. Throws on an unknown one, or a second filter. */
export function plan(args: readonly string[]): Plan {
  const flags = args.filter((arg) => arg.startsWith("-"));
  const [only = "", ...more] = args.filter((arg) => !arg.startsWith("-"));
  const unknown = [...flags.filter((flag) => flag !== "--quick" && flag !== "--guard"), ...more];
  if (unknown.length > 0) {
    throw new Error(`unknown: ${unknown.join(" ")}; usage: npm run bench -- [row or file] [--quick] [--guard]`);
  }
  const quick = flags.includes("--quick");
  return {
    quick,
    guard: flags.includes("--guard"),
    only,
    effort: quick ? QUICK : FULL,
    limitMs: quick ? 40_000 : 180_000,
  };
}

/** What a comparison with another tree does, from its arguments. */
export interface AgainstPlan {
  /** The other tree. */
  readonly tree: string;
  /** Prefixes of row ids or of their files' names. All rows but the slow ones if there are none. */
  readonly only: readonly string[];
  /** How many processes of each tree run a row. */
  readonly processes: number;
}

const AGAINST_USAGE = "usage: npm run bench -- --against <tree> [row or file...] [--processes N]";

/** Reads the arguments of a run with `--against`. Throws on an unknown one. */
export function againstPlan(args: readonly string[]): AgainstPlan {
  const only: string[] = [];
  let tree: string | undefined;
  let processes = 9;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    if (arg === "--against") tree = args[++i];
    else if (arg === "--processes") processes = Number(args[++i]);
    else if (arg.startsWith("-")) throw new Error(`unknown: ${arg}; ${AGAINST_USAGE}`);
    else only.push(arg);
  }
  if (tree === undefined || tree.startsWith("-")) throw new Error(`--against needs a tree; ${AGAINST_USAGE}`);
  if (!Number.isSafeInteger(processes) || processes < 2) {
    throw new Error(`--processes must be an integer of at least 2; ${AGAINST_USAGE}`);
  }
  return { tree, only, processes };
}

/** Whether the comparison with another tree includes the row of this file. */
export function wantsAgainst({ only }: AgainstPlan, file: string, { id, slow }: Row): boolean {
  if (only.length === 0) return slow !== true;
  return only.some((prefix) => file.startsWith(prefix) || id.startsWith(prefix));
}

/** Whether the plan includes the row of this file. */
export function wants({ only, quick, guard }: Plan, file: string, { id, slow }: Row): boolean {
  if (slow && (quick || guard) && only === "") return false;
  return file.startsWith(only) || id.startsWith(only);
}
