/**
 * Compares this tree of the library with another one:
 * `npm run bench -- --against <tree> [row or file...] [--processes N]`.
 *
 * The rows are this tree's. Each is run by pairs of fresh processes, one for each tree, that take turns. All rows get
 * their first pair before any gets its second, so that a slow minute of the machine spoils one pair of a row at most.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { files } from "./rows.ts";
import { Contender } from "./support/contender.ts";
import {
  type Comparison,
  compare,
  comparisonTable,
  EFFORT,
  type Pair,
  type Side,
  SideError,
  takeTurns,
  WORSE,
} from "./support/pairs.ts";
import { type AgainstPlan, againstPlan, wantsAgainst } from "./support/plan.ts";
import { removeStages, stage } from "./support/stage.ts";

/**
 * V8 collects and compiles on the main thread, so that its work does not depend on whether another processor is free.
 */
const ONE_THREAD = "--single-threaded";
const RESULTS = "bench/results/against.json";

type Folders = Readonly<Record<Side, string>>;

interface Compared {
  readonly file: string;
  readonly id: string;
  readonly pairs: Pair[];
  /** The side that failed, and its error. The row is not run again. */
  failure?: { readonly side: Side; readonly message: string };
}

const say = (text: string): boolean => process.stderr.write(`${text}\n`);

/** The command that keeps a process on one processor, empty if there is none: a process that moves loses its caches. */
function pinning(): readonly string[] {
  const pin = ["-c", `${cpus().length - 1}`];
  return spawnSync("taskset", [...pin, "true"]).status === 0 ? ["taskset", ...pin] : [];
}

async function start(side: Side, folders: Folders, file: string, pin: readonly string[]): Promise<Contender> {
  const [command = "", ...args] = [...pin, process.execPath, ONE_THREAD, `${folders[side]}/sample.js`, file];
  const contender = await Contender.start(command, args);
  const { error } = contender.hello;
  if (error === undefined) return contender;
  contender.stop();
  throw new SideError(side, error);
}

async function pair(row: Compared, folders: Folders, order: readonly Side[], pin: readonly string[]): Promise<void> {
  const processes: Partial<Record<Side, Contender>> = {};
  try {
    for (const side of order) processes[side] = await start(side, folders, row.file, pin);
    const ask = (side: Side, ms: number) => (processes[side] as Contender).ask(`${row.id} ${ms}`);
    row.pairs.push(await takeTurns(order, ask, EFFORT));
  } catch (error) {
    if (!(error instanceof SideError)) throw error;
    row.failure = { side: error.side, message: error.message };
  } finally {
    for (const side of order) processes[side]?.stop();
  }
}

async function measure(rows: readonly Compared[], { processes }: AgainstPlan, folders: Folders): Promise<void> {
  const pin = pinning();
  say(pin.length > 0 ? `on one processor: ${pin.join(" ")}` : "not kept on one processor: taskset is missing");
  const began = performance.now();
  const total = rows.length * processes;
  for (let i = 0; i < total; i++) {
    const [round, place] = [Math.floor(i / rows.length), i % rows.length];
    const row = rows[place] as Compared;
    const minutes =
      i === 0 ? "" : `, ${(((performance.now() - began) * (total / i - 1)) / 60_000).toFixed(1)} min left`;
    say(`pair ${round + 1} of ${processes}, row ${place + 1} of ${rows.length}: ${row.id}${minutes}`);
    const order: Side[] = (round + place) % 2 === 0 ? ["old", "new"] : ["new", "old"];
    if (row.failure === undefined) await pair(row, folders, order, pin);
  }
}

function report(rows: readonly Compared[], compared: readonly Comparison[], { processes }: AgainstPlan): void {
  if (compared.length > 0) console.log(comparisonTable(compared));
  for (const { id, failure } of rows) {
    if (failure?.side === "new") console.log(`FAILED: ${id}: ${failure.message}`);
    if (failure?.side === "old") console.log(`not compared, fails on the other tree: ${id}: ${failure.message}`);
  }
  const names = (verdict: Comparison["verdict"]) =>
    compared.flatMap((row) => (row.verdict === verdict ? [row.id] : [])).join(", ") || "none";
  console.log(`
${processes} pairs of processes for each row; in brackets the 95 % interval of the ratio
worse, the whole interval of processor time above ${WORSE}: ${names("worse")}
better, the whole interval below 1 ÷ ${WORSE}: ${names("better")}`);
}

/** Resolves to the exit code: 1 if a row has become worse, or fails on this tree. */
export async function against(args: readonly string[]): Promise<number> {
  const plan = againstPlan(args);
  const rows = Object.entries(files).flatMap(([file, all]) =>
    all.filter((row) => wantsAgainst(plan, file, row)).map(({ id }): Compared => ({ file, id, pairs: [] })),
  );
  if (rows.length === 0) throw new Error(`no row and no file begins with ${plan.only.join(" or ")}`);
  say(`building ${plan.tree} and this tree`);
  try {
    await measure(rows, plan, { old: stage("old", plan.tree), new: stage("new", ".") });
  } finally {
    removeStages();
  }
  const compared = rows.flatMap(({ id, pairs, failure }) => (failure === undefined ? [compare(id, pairs)] : []));
  report(rows, compared, plan);
  mkdirSync("bench/results", { recursive: true });
  writeFileSync(RESULTS, JSON.stringify({ tree: plan.tree, compared, rows }));
  const failed = rows.some(({ failure }) => failure?.side === "new");
  return failed || compared.some(({ verdict }) => verdict === "worse") ? 1 : 0;
}
