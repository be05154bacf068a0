/** What a run does, by its arguments. */
import type { Effort } from "./rounds.ts";
import type { Row } from "./row.ts";

export interface Plan {
  readonly quick: boolean;
  readonly guard: boolean;
  /**
   * A prefix of rows' ids or of their files, or `memory`, `growth`, `steps`, `ticks`, `modules`; everything if it is
   * empty.
   */
  readonly only: string;
  readonly effort: Effort;
  /** No further process set is begun that would end after so long. */
  readonly limitMs: number;
}

const FULL: Effort = { sets: 3, rounds: 7, ms: 25, warmMs: 150, shareMs: 2_000 };
const QUICK: Effort = { sets: 1, rounds: 3, ms: 12, warmMs: 60, shareMs: 350 };

/** Reads the arguments. Throws if there is one that it does not know, or a second filter. */
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

/** What a comparison with another tree does, by its arguments. */
export interface AgainstPlan {
  /** The other tree. */
  readonly tree: string;
  /** Prefixes of rows' ids or of their files; everything if there are none. */
  readonly only: readonly string[];
  /** How many processes of each tree run a row. */
  readonly processes: number;
}

const AGAINST_USAGE = "usage: npm run bench -- --against <tree> [row or file...] [--processes N]";

/** Reads the arguments of `--against`. Throws if there is one that it does not know. */
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
  if (tree === undefined || tree.startsWith("-")) throw new Error(`which tree? ${AGAINST_USAGE}`);
  if (!Number.isSafeInteger(processes) || processes < 2) {
    throw new Error(`an interval takes 2 processes of each tree at least; ${AGAINST_USAGE}`);
  }
  return { tree, only, processes };
}

/** Whether the comparison with another tree has the row of this file. */
export function wantsAgainst({ only }: AgainstPlan, file: string, { id, slow }: Row): boolean {
  if (only.length === 0) return slow !== true;
  return only.some((prefix) => file.startsWith(prefix) || id.startsWith(prefix));
}

/** Whether the plan has the row of this file. */
export function wants({ only, quick, guard }: Plan, file: string, { id, slow }: Row): boolean {
  if (slow && (quick || guard) && only === "") return false;
  return file.startsWith(only) || id.startsWith(only);
}
