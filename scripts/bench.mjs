/** Runs the benchmarks, each file in a process of its own: `npm run bench`, or `npm run bench -- channel`. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";

const run = (command) => spawnSync(command, { shell: true, stdio: "inherit" }).status === 0;
const [only = "", row = ""] = process.argv.slice(2);

let ok = run("npm run --silent build:bench");
for (const file of ok ? readdirSync(".build/bench") : []) {
  if (file.endsWith(".bench.js") && file.startsWith(only)) ok = run(`node .build/bench/${file} "${row}"`) && ok;
}
process.exitCode = ok ? 0 : 1;
