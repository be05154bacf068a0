/**
 * The gate: runs every check, each to its end, and prints which failed. `--no-tests` leaves out the tests, for use
 * right after them.
 *
 *   npm run check                what CI runs; minutes
 *   npm run check -- semaphore   the inner loop: lint, types and tests of src/semaphore.ts; seconds
 *
 * The tests include the table of imports, the examples, the API snapshot and the contents of the package.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname } from "node:path";

const TIMES = ".build/check.json";

const args = process.argv.slice(2);
const names = args.filter((arg) => !arg.startsWith("--"));
const unknown = args.find((arg) => arg.startsWith("--") && arg !== "--no-tests");
if (unknown !== undefined) fail(`npm run check: no option ${unknown}, only --no-tests`);

const checks = (names.length > 0 ? names.map(ofModule).reduce(together) : ofAll()).filter(
  ([name]) => name !== "tests" || !args.includes("--no-tests"),
);

/** All checks, each with the seconds that it took on two quiet cores. */
function ofAll() {
  return [
    ["format and lint", "npx biome ci .", 5],
    ["types of src, test, bench and docs/examples", "npx tsc -p .", 10],
    ["tests", "npm test", 240],
    ["the packed package, as a consumer", "node scripts/packed.mjs", 20],
  ];
}

/** The checks of one module, or of an internal file by its path. */
function ofModule(module) {
  const source = `src/${module}.ts`;
  if (!existsSync(source)) fail(`npm run check: no ${source}; give a module's name, or a path like internal/data/heap`);
  const stem = module.replaceAll("/", ".").replace(/^internal\.\w+\./, "");
  const tests = readdirSync("test").filter((file) => file.startsWith(`${stem}.`) && file.endsWith(".test.ts"));
  const files = [source, `bench/${stem}.bench.ts`, ...tests.map((file) => `test/${file}`)].filter((f) => existsSync(f));
  return [
    ["format and lint", `npx biome check ${files.join(" ")}`, 2],
    ["types", "npx tsc -p .", 10],
    ["tests", tests.length > 0 ? `npx vitest run ${tests.map((file) => `test/${file}`).join(" ")}` : "true", 10],
  ];
}

/** The checks of several modules: their files together. */
function together(one, other) {
  return one.map(([name, command, seconds], i) => {
    const more = other[i][1].split(" ").filter((word) => !command.split(" ").includes(word));
    return [name, [command, ...more].join(" "), seconds];
  });
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const said = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${(seconds / 60).toFixed(1)} min`);

// How long each took the last time, on this machine.
const last = existsSync(TIMES) ? JSON.parse(readFileSync(TIMES, "utf8")) : {};
const expected = ([, command, seconds]) => last[command] ?? seconds;
const from = checks.every(([, command]) => command in last) ? "as the last time" : "on two quiet cores";
const whole = checks.reduce((sum, check) => sum + expected(check), 0);
console.log(`${checks.length} checks, about ${said(whole)} ${from} (${availableParallelism()} cores here)`);

const failed = checks.filter((check, i) => {
  const [name, command] = check;
  console.log(`\n== ${i + 1} of ${checks.length}, about ${said(expected(check))}: ${name}: ${command}`);
  const began = performance.now();
  const ok = spawnSync(command, { shell: true, stdio: "inherit" }).status === 0;
  const took = (performance.now() - began) / 1000;
  console.log(`== ${ok ? "passed" : "FAILED"} after ${said(took)}`);
  if (ok) last[command] = took;
  return !ok;
});
mkdirSync(dirname(TIMES), { recursive: true });
writeFileSync(TIMES, JSON.stringify(last));

console.log();
for (const check of checks) console.log(`${failed.includes(check) ? "FAILED" : "passed"}  ${check[0]}`);
console.log(`checks: ${checks.length - failed.length} passed, ${failed.length} failed`);
process.exitCode = failed.length === 0 ? 0 : 1;
