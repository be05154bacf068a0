/** Builds dist once before the tests, for those about the package and about whole processes. */
import { spawnSync } from "node:child_process";
import type { TestProject } from "vitest/node";
import { ROOT } from "./examples.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The build's errors; empty if the build succeeded. One test checks it, so that the others run anyway. */
    buildErrors: string;
  }
}

export function setup(project: TestProject): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["scripts/build.mjs"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  project.provide("buildErrors", status === 0 ? "" : `exit code ${status}\n${stdout}${stderr}`);
}
