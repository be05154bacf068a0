/**
 * The gate: runs every check, each to its end, and prints which failed. `--no-tests` leaves out the tests, for use
 * right after them.
 *
 * The tests include the table of imports, the examples, the API snapshot and the contents of the package.
 */
import { spawnSync } from "node:child_process";

const checks = [
  ["format and lint", "npx biome ci ."],
  ["types of src, test, bench and docs/examples", "npx tsc -p ."],
  ["tests", "npm test"],
  ["the packed package, as a consumer", "node scripts/packed.mjs"],
].filter(([name]) => name !== "tests" || !process.argv.includes("--no-tests"));

const failed = checks.filter(([name, command]) => {
  console.log(`\n== ${name}: ${command}`);
  return spawnSync(command, { shell: true, stdio: "inherit" }).status !== 0;
});

console.log();
for (const check of checks) console.log(`${failed.includes(check) ? "FAILED" : "passed"}  ${check[0]}`);
console.log(`checks: ${checks.length - failed.length} passed, ${failed.length} failed`);
process.exitCode = failed.length === 0 ? 0 : 1;
