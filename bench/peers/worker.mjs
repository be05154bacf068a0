/**
 * A contender of the benchmark: runs the rows with other packages.
 *
 * Prints one line of JSON when it starts; then, for each line `<row> <peer> <ms>` on standard input, runs that row with
 * that peer for about so many milliseconds and prints one line with the mean of its calls in nanoseconds per operation.
 * Ends when its input does. Each call checks its own result.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { measure } from "../../.build/bench/support/measure.js";

const rows = [];
const absent = {};
for (const file of ["channels", "limits", "pools", "effects", "host"]) {
  try {
    rows.push(...(await import(`./rows/${file}.mjs`)).rows);
  } catch (error) {
    absent[file] = String(error);
  }
}

const manifest = (path) => JSON.parse(readFileSync(new URL(`${path}package.json`, import.meta.url), "utf8"));
// What is installed, which is not what is asked for where the folder was last installed for an older lock file.
const versions = {};
for (const name of Object.keys(manifest("./").dependencies)) {
  try {
    versions[name] = manifest(`./node_modules/${name}/`).version;
  } catch (error) {
    absent[name] = String(error);
  }
}
const offered = {};
for (const { row, peer } of rows) {
  offered[row] ??= [];
  offered[row].push(peer);
}
console.log(JSON.stringify({ contender: "peers", node: process.version, versions, rows: offered, absent }));

const proven = new Set();

async function measurePeer({ run, ops, prove }, ms) {
  if (prove !== undefined && !proven.has(run)) await prove();
  proven.add(run);
  await run();
  return measure(run, ops, ms);
}

for await (const line of createInterface({ input: process.stdin })) {
  const [row, peer, ms] = line.split(" ");
  const answer = { row, peer };
  try {
    const found = rows.find((r) => r.row === row && r.peer === peer);
    if (found === undefined) throw new Error("no such row");
    answer.ns = await measurePeer(found, Number(ms));
  } catch (error) {
    answer.error = String(error);
  }
  console.log(JSON.stringify(answer));
}
process.exit(0); // A pool of theirs may keep the process alive.
