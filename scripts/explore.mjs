/**
 * Runs the explorers' random programs by the ten thousand: `npm run explore`, or `npm run explore -- channels` for one.
 * FROM=20001 begins at that seed. `SEED=7 npm run explore -- channels` runs one program, and if it fails, looks for a
 * beginning of it that fails too; each try is a process of its own, as a failure may leave the library in any state.
 */
import { spawnSync } from "node:child_process";

const { SEED, STEPS } = process.env;
const names = process.argv.slice(2);
const files = names.length === 0 ? ["test/explore/"] : names.map((name) => `test/explore/${name}.test.ts`);

/** Whether the programs pass; `steps`, if given, is how much of each is run, silently. */
function run(steps) {
  const env = { ...process.env, EXPLORE: "full", ...(steps !== undefined && { STEPS: String(steps) }) };
  const stdio = steps === undefined ? "inherit" : "ignore";
  const command = `npx vitest run ${files.join(" ")} --disable-console-intercept`;
  return spawnSync(command, { shell: true, stdio, env }).status === 0;
}

const passed = run();
process.exitCode = passed ? 0 : 1;
if (!passed && SEED !== undefined && STEPS === undefined) shorten();

/** Doubles the steps until the program fails, and halves what is between. */
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
