/**
 * Runs the explorers' random programs, twenty thousand seeds of each: `npm run explore`, or
 * `npm run explore -- channels` for one explorer. FROM=20001 starts at that seed.
 *
 * `SEED=7 npm run explore -- channels` runs one program. If it fails, the script looks for a shorter beginning of it
 * that fails too. Each try is a process of its own, because a failure may leave the library in any state.
 */
import { spawnSync } from "node:child_process";

const { SEED, STEPS } = process.env;
const names = process.argv.slice(2);
const files = names.length === 0 ? ["test/explore/"] : names.map((name) => `test/explore/${name}.test.ts`);

/** Whether the programs pass. With `steps`, only that many steps of each run, and nothing is printed. */
function run(steps) {
  const env = { ...process.env, EXPLORE: "full", ...(steps !== undefined && { STEPS: String(steps) }) };
  const stdio = steps === undefined ? "inherit" : "ignore";
  const command = `npx vitest run ${files.join(" ")} --disable-console-intercept`;
  return spawnSync(command, { shell: true, stdio, env }).status === 0;
}

const passed = run();
process.exitCode = passed ? 0 : 1;
if (!passed && SEED !== undefined && STEPS === undefined) shorten();

/** Doubles the number of steps until the program fails, then bisects. */
function shorten() {
  const LONGEST = 256;
  let passes = 0;
  let fails = 1;
  while (fails <= LONGEST && run(fails)) {
    passes = fails;
    fails *= 2;
  }
  if (fails > LONGEST) return;
  while (fails - passes > 1) {
    const middle = (passes + fails) >> 1;
    if (run(middle)) passes = middle;
    else fails = middle;
  }
  console.log(`\nThe first ${fails} steps fail too: SEED=${SEED} STEPS=${fails} npm run explore -- ${names.join(" ")}`);
}
