/**
 * A contender of the benchmark: runs the rows with other packages.
 *
 * Prints one line of JSON when it starts. Then, for each line `<row> <peer> <ms>` on standard input, it runs that row
 * with that peer for about `ms` milliseconds and prints one line with the mean of its calls in nanoseconds per
 * operation. It exits when its input ends. Each call checks its own result.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { measure } from "../../.build/bench/support/measure.js";

const rows = [];
const absent = {};
for (const file of ["channels", "limits", "queues", "guards", "pools", "effects", "host"]) {
  try {
    rows.push(...(await import(`./rows/${file}.mjs`)).rows);
  } catch (error) {
    absent[file] = String(error);
  }
}

const manifest = (path) => JSON.parse(readFileSync(new URL(`${path}package.json`, import.meta.url), "utf8"));
// The installed versions. They differ from package.json if the folder was installed with an older lock file.
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

const checked = new Set();

async function measurePeer({ run, ops, checkOnce }, ms) {
  if (checkOnce !== undefined && !checked.has(run)) await checkOnce();
  checked.add(run);
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
process.exit(0); // A peer's pool may keep the process alive.
