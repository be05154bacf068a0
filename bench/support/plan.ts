/** What a run does, by its arguments. */
import type { Effort } from "./rounds.ts";

export interface Plan {
  readonly quick: boolean;
  readonly guard: boolean;
  /** A prefix of rows' ids or of their files, or `memory`, `growth`, `steps`, `modules`; everything if it is empty. */
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

/** Whether the plan has the row of this file. */
export function wants({ only }: Plan, file: string, id: string): boolean {
  return file.startsWith(only) || id.startsWith(only);
}
