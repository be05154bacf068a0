/** The random cancellation storm with a million operations: `npm run storm`, or `npm run storm -- SEED`. */
import { spawnSync } from "node:child_process";

const env = { ...process.env, OPERATIONS: "1000000", SEED: process.argv[2] ?? String(Date.now() % 1e9) };
process.exitCode = spawnSync("npx vitest run test/storm.test.ts --disable-console-intercept", {
  shell: true,
  stdio: "inherit",
  env,
}).status;
