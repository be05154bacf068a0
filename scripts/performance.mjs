/**
 * Writes docs/performance.md, its charts, and the figures that `npm run bench -- --guard` compares with, from the last
 * full run.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { chart } from "../.build/bench/support/chart.js";
import { page } from "../.build/bench/support/doc.js";
import { growthChart } from "../.build/bench/support/growthChart.js";

const [from = "bench/results/bench.json", to = "docs"] = process.argv.slice(2);
const results = JSON.parse(readFileSync(from, "utf8"));
if (results.quick) throw new Error("the last run was a quick one: run `npm run bench` first");

writeFileSync(`${to}/performance.md`, page(results));
writeFileSync(`${to}/performance.svg`, chart(results.rows));
writeFileSync(`${to}/growth.svg`, growthChart(results.growth));
writeFileSync(`${to}/performance.json`, JSON.stringify(results));
spawnSync(`npx biome format --write ${to}/performance.json`, { shell: true, stdio: "ignore" });
