/**
 * Our side as a contender: a process that answers one line of JSON to each line of input.
 *
 * It starts by printing its name and its rows, `{"contender":"gopark","node":...,"rows":[...]}`. The input
 * `<row> <ours|floor> <ms>` runs that side of the row for about `ms` milliseconds and is answered
 * `{"row":...,"ns":...}`, or `{"row":...,"error":...}`. The processes of Go and of the peers use the same protocol,
 * with their own fields.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { rows } from "./rows.ts";
import { measure } from "./support/measure.ts";

async function answer(line: string): Promise<object> {
  const [id, side, ms] = line.split(" ");
  const row = rows.find((r) => r.id === id);
  const run = side === "ours" ? row?.ours : side === "floor" ? row?.floor : undefined;
  if (row === undefined || run === undefined) return { row: id, error: `nothing to run for "${line}"` };
  try {
    return { row: id, ns: await measure(run, row.ops, Number(ms)) };
  } catch (error) {
    return { row: id, error: String(error) };
  }
}

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.resolve("tinybench")), "utf8"));
const versions = { tinybench: version };
console.log(
  JSON.stringify({ contender: "gopark", node: process.versions.node, versions, rows: rows.map(({ id }) => id) }),
);
for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(await answer(line)));
process.exit(); // The receivers of some rows stay parked.
