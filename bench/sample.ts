/**
 * Our side of the rows of one file, measured in processor time: a contender (`worker.ts` describes the protocol) that
 * is started as `node sample.js <file>`. The input `<row> <ms>` runs that row for `ms` milliseconds of processor time.
 * The answer has the processor time and the wall time of one operation in nanoseconds, and the number of calls:
 * `{"row":...,"cpu":...,"wall":...,"calls":...}`.
 *
 * It loads only that file: `gopark` may be an older version here, without what the other files import.
 */
import { createInterface } from "node:readline";
import type { Answer } from "./support/contender.ts";
import type { Row } from "./support/row.ts";
import { stretch, turn } from "./support/stretch.ts";

/** A sample ends early when its wall time is this many times the processor time it should take. */
const MAX_WALL = 5;

/** Processor time, user and system, of all threads: the collector's and the compiler's work is the library's too. */
const spentMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
};

async function sample({ id, ops, ours }: Row, ms: number): Promise<Answer> {
  await turn();
  const [began, before] = [performance.now(), spentMs()];
  let calls = 0;
  let [wall, cpu] = [0, 0];
  while (cpu < ms && wall < MAX_WALL * ms) {
    calls += await stretch(ours);
    [wall, cpu] = [performance.now() - began, spentMs() - before];
  }
  const scale = 1e6 / (calls * ops);
  return { row: id, cpu: cpu * scale, wall: wall * scale, calls };
}

async function answer(rows: readonly Row[], line: string): Promise<Answer> {
  const [id = "", ms] = line.split(" ");
  const row = rows.find((r) => r.id === id);
  if (row === undefined) return { row: id, error: `no row ${id}` };
  try {
    return await sample(row, Number(ms));
  } catch (error) {
    return { row: id, error: String(error) };
  }
}

async function load(file: string): Promise<{ rows: readonly Row[]; error?: string }> {
  try {
    return (await import(`./${file}.bench.js`)) as { rows: readonly Row[] };
  } catch (error) {
    return { rows: [], error: String(error) };
  }
}

const { rows, error } = await load(process.argv[2] ?? "");
console.log(JSON.stringify({ contender: "gopark", rows: rows.map(({ id }) => id), error }));
for await (const line of createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await answer(rows, line)));
process.exit(); // The receivers of some rows stay parked.
