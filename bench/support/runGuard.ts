/** The guard: measures, and fails on a regression beyond the noise against the figures in docs/performance.json. */
import { existsSync, readFileSync } from "node:fs";
import { Contender } from "./contender.ts";
import { type Availability, Contenders, WORKER } from "./contenders.ts";
import { type Verdict, verdict, watch } from "./guard.ts";
import type { Plan } from "./plan.ts";
import { type Results, type RowResult, summarize } from "./results.ts";
import { measureRow, type RowContender, type RowRounds } from "./rounds.ts";
import type { Row } from "./row.ts";
import { digits } from "./table.ts";

const COMMITTED = "docs/performance.json";

/** Measures ours, ours in another process, the floor and Go. */
async function measure(rows: readonly Row[], available: Availability, { effort }: Plan): Promise<RowResult[]> {
  const sets: Record<string, RowRounds>[] = [];
  for (let i = 0; i < effort.sets; i++) {
    const processes = await Contenders.start({ ...available, peers: false });
    const again = await Contender.start(process.execPath, [WORKER]);
    const set: Record<string, RowRounds> = {};
    for (const row of rows) {
      process.stderr.write(`guard, set ${i + 1} of ${effort.sets}: ${row.id}\n`);
      const contenders: RowContender[] = processes.forRow(row).filter(({ name }) => name !== "goN");
      contenders.push({ name: "again", warm: true, ask: (ms) => again.ask(`${row.id} ours ${ms}`) });
      set[row.id] = await measureRow(contenders, effort);
    }
    sets.push(set);
    again.stop();
    processes.stop();
  }
  return rows.map((row) => {
    const errors = Object.assign({}, ...sets.map((set) => set[row.id]?.errors)) as Record<string, string>;
    return summarize(
      row,
      sets.map((set) => set[row.id]?.rounds ?? {}),
      errors,
    );
  });
}

function line({ id, against, before, now, self, allowed, regressed }: Verdict): string {
  const noise = `${digits(self.low)}–${digits(self.high)}`;
  const figures = `${digits(before.median)} before, ${digits(now.median)} now, ${digits(allowed)} allowed; ours ÷ ours ${noise}`;
  return `${regressed ? "WORSE" : "kept "}  ${id} ÷ ${against}: ${figures}`;
}

/**
 * Resolves to the exit code. A ratio that looks worse is measured again, and has regressed only if it is worse both
 * times.
 */
export async function guard(rows: readonly Row[], available: Availability, plan: Plan): Promise<number> {
  if (!existsSync(COMMITTED)) throw new Error(`${COMMITTED} is missing: there is nothing to compare with`);
  const committed = JSON.parse(readFileSync(COMMITTED, "utf8")) as Results;
  const compare = async (some: readonly Row[]): Promise<{ verdicts: Verdict[]; failed: string[] }> => {
    const now = await measure(some, available, plan);
    const failed = now.filter(({ errors }) => "ours" in errors).map(({ id, errors }) => `${id}: ${errors.ours}`);
    return { verdicts: watch(committed.rows, now).map(verdict), failed };
  };
  const first = await compare(rows);
  for (const v of first.verdicts) console.log(line(v));
  const watched = new Set(first.verdicts.map(({ id }) => id));
  const unwatched = rows.filter(({ id }) => !watched.has(id)).map(({ id }) => id);
  if (unwatched.length > 0) console.log(`not watched, without a ratio in both tables: ${unwatched.join(", ")}`);
  for (const failure of first.failed) console.log(`FAILED: ${failure}`);

  const suspects = first.verdicts.filter(({ regressed }) => regressed);
  if (suspects.length === 0) return first.failed.length === 0 ? 0 : 1;
  console.log("\nmeasuring again what looks worse:");
  const second = await compare(rows.filter(({ id }) => suspects.some((suspect) => suspect.id === id)));
  const worse = second.verdicts.filter(
    (v) => v.regressed && suspects.some(({ id, against }) => id === v.id && against === v.against),
  );
  for (const v of second.verdicts) console.log(line(v));
  console.log(worse.length === 0 ? "it was noise" : `regressions: ${worse.map(({ id }) => id).join(", ")}`);
  return worse.length === 0 && first.failed.length === 0 ? 0 : 1;
}
