/** The table of sizes in docs/size.md. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";

test("says what the modules of the build weigh", () => {
  const args = [join(ROOT, "scripts/sizes.mjs"), "--check"];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect(stderr).toBe("");
  expect(status).toBe(0);
});
