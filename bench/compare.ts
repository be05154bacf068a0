/**
 * The comparison: runs all contenders side by side and prints the table. `npm run bench -- [row or file] [--quick]`, or
 * `--guard` to compare with the last committed table.
 *
 * Each row's contenders take turns in processes that stand ready, so that what slows the machine down for a while slows
 * all of them. Then all rows run again with fresh processes, because a process may compile a row well or badly and keep
 * that code.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { arch, cpus, type } from "node:os";
import { against } from "./against.ts";
import { files } from "./rows.ts";
import { type Availability, Contenders, prepare } from "./support/contenders.ts";
import { growthCosts } from "./support/measureGrowth.ts";
import { levelCosts } from "./support/measureLevels.ts";
import { stepCosts } from "./support/measureSteps.ts";
import { memory } from "./support/memory.ts";
import { type ModuleCosts, moduleCosts } from "./support/modules.ts";
import { type Plan, plan, wants } from "./support/plan.ts";
import { type MemoryResult, type Results, type RowResult, summarize } from "./support/results.ts";
import { measureRow, type RowRounds } from "./support/rounds.ts";
import type { Row } from "./support/row.ts";
import { guard } from "./support/runGuard.ts";
import {
  excessLines,
  failures,
  growthTable,
  levelTable,
  memoryTable,
  stepTable,
  table,
  tickTable,
} from "./support/table.ts";
import { tickCounts } from "./support/ticks.ts";

/** The sections of a full run besides the rows. */
const SECTIONS = ["memory", "growth", "steps", "levels", "ticks", "modules"];
const RESULTS = "bench/results/bench.json";
const say = (text: string): boolean => process.stderr.write(`${text}\n`);

type Sets = readonly Readonly<Record<string, RowRounds>>[];
type Versions = Readonly<Record<string, string>>;

function versionsOf({ ours, goN, peers }: Contenders): Versions {
  const go = goN && { go: `${goN.hello.version} (all: ${goN.hello.maxprocs} processors)` };
  return { node: ours.hello.node ?? "", ...go, ...peers?.hello.versions, ...ours.hello.versions };
}

/** Runs the rows with several sets of fresh processes, one after the other. */
async function compare(
  rows: readonly Row[],
  available: Availability,
  { effort, limitMs }: Plan,
): Promise<[Sets, Versions]> {
  const begin = performance.now();
  const sets: Record<string, RowRounds>[] = [];
  let versions: Versions = {};
  for (let i = 0; i < effort.sets && rows.length > 0; i++) {
    // Assume that the next set takes as long as the average so far.
    if (i > 0 && (performance.now() - begin) * (1 + 1 / i) > limitMs) {
      say(`the machine is slow: ${i} sets of processes instead of ${effort.sets}`);
      break;
    }
    const contenders = await Contenders.start(available);
    versions = versionsOf(contenders);
    const set: Record<string, RowRounds> = {};
    for (const [place, row] of rows.entries()) {
      say(`set ${i + 1} of ${effort.sets}, row ${place + 1} of ${rows.length}: ${row.id}`);
      set[row.id] = await measureRow(contenders.forRow(row), effort);
    }
    sets.push(set);
    contenders.stop();
  }
  return [sets, versions];
}

async function measureMemory(available: Availability): Promise<MemoryResult[]> {
  say("memory");
  const contenders = await Contenders.start(available);
  const results = await memory(contenders);
  contenders.stop();
  return results;
}

async function main(): Promise<number> {
  const wanted = plan(process.argv.slice(2));
  const rows = Object.entries(files).flatMap(([file, all]) => all.filter((row) => wants(wanted, file, row)));
  const has = (section: string) => (wanted.only === "" ? !wanted.quick : section.startsWith(wanted.only));
  if (rows.length === 0 && !SECTIONS.some(has)) throw new Error(`no row and no file begins with "${wanted.only}"`);
  const available = prepare();
  for (const [name, why] of Object.entries(available.absent)) say(`without ${name}: ${why}`);
  if (wanted.guard) return guard(rows, available, wanted);

  const [ordinary, versions] = await compare(
    rows.filter(({ slow }) => !slow),
    available,
    wanted,
  );
  const [slow, slowVersions] = await compare(
    rows.filter((row) => row.slow),
    available,
    { ...wanted, effort: { ...wanted.effort, sets: 1 } },
  );
  const sets = [...ordinary, ...slow];
  const memoryResults = has("memory") ? await measureMemory(available) : [];
  if (has("growth")) say("growth");
  const series = has("growth") ? growthCosts(say) : [];
  if (has("steps")) say("from a bare promise to a channel");
  const steps = has("steps") ? stepCosts() : [];
  if (has("levels")) say("levels of tracking");
  const levels = has("levels") ? levelCosts(say) : [];
  if (has("ticks")) say("ticks of an interval beside busy tasks");
  const ticks = has("ticks") ? tickCounts(say) : [];
  if (has("modules")) say("import times and sizes of the modules");
  const costs: ModuleCosts = has("modules") ? await moduleCosts() : { modules: [], bundler: "" };

  const { ms } = wanted.effort;
  const results: Results = {
    quick: wanted.quick,
    versions: { ...slowVersions, ...versions, ...(costs.bundler && { rolldown: costs.bundler }) },
    machine: `${cpus().length} × ${cpus()[0]?.model ?? "?"}, ${type()} ${arch()}`,
    method: { sets: ordinary.length, rounds: wanted.effort.rounds, ms },
    absent: available.absent,
    rows: rows.map((row) => {
      const rounds = sets.map((set) => set[row.id]?.rounds ?? {});
      return summarize(row, rounds, Object.assign({}, ...sets.map((set) => set[row.id]?.errors)));
    }),
    memory: memoryResults,
    growth: series,
    steps,
    levels,
    ticks,
    modules: costs.modules,
  };
  if (rows.length > 0) console.log(table(results.rows));
  for (const line of excessLines(results.rows)) console.log(line);
  if (results.memory.length > 0) console.log(`\nbytes each\n${memoryTable(results.memory)}`);
  if (series.length > 0) console.log(`\ngrowth with size\n${growthTable(series)}`);
  if (steps.length > 0) console.log(`\nfrom a bare promise to a channel\n${stepTable(steps)}`);
  if (levels.length > 0) console.log(`\nwhat tracking costs\n${levelTable(levels)}`);
  if (ticks.length > 0) console.log(`\nticks of an interval, and its longest gap\n${tickTable(ticks)}`);
  for (const { name, importMs, gzip } of costs.modules) {
    console.log(`${name.padEnd(20)} import ${importMs.toFixed(1)} ms${gzip === undefined ? "" : `, ${gzip} bytes`}`);
  }
  const failed = [...failures(results.rows), ...failures(results.memory)];
  for (const line of failed) console.log(`FAILED: ${line}`);
  const missed = results.rows.filter(({ targets }) => targets.some(({ met }) => !met));
  const nextMissed = missed.filter(({ next }) => next === undefined || next.targets.some(({ met }) => !met));
  const names = (some: readonly RowResult[]) => (some.length === 0 ? "none" : some.map(({ id }) => id).join(", "));
  if (rows.length > 0) {
    console.log(
      `\ntargets missed: ${names(missed)}\nmissed the next best, which is set where a target is out of reach: ${names(nextMissed)}`,
    );
  }
  if (!wanted.quick && wanted.only === "") {
    mkdirSync("bench/results", { recursive: true });
    writeFileSync(RESULTS, JSON.stringify(results));
    console.log(`written to ${RESULTS}; "node scripts/performance.mjs" writes it into the docs`);
  }
  return failed.length === 0 ? 0 : 1;
}

const args = process.argv.slice(2);
process.exitCode = args.includes("--against") ? await against(args) : await main();
