/** `npm run check` refuses what it does not know, before it runs anything. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";

test.each([
  [["nothing"], "npm run check: no src/nothing.ts; give a module's name, or a path like internal/data/heap"],
  [
    ["semaphore", "nothing"],
    "npm run check: no src/nothing.ts; give a module's name, or a path like internal/data/heap",
  ],
  [["--tests"], "npm run check: no option --tests, only --no-tests"],
])("%j", (args, message) => {
  const script = join(ROOT, "scripts/check.mjs");
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { cwd: ROOT, encoding: "utf8" });
  expect([status, stdout, stderr.trim()]).toEqual([1, "", message]);
});
