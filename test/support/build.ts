/** Builds dist once before the tests, so that those about the package and about whole processes find it up to date. */
import { spawnSync } from "node:child_process";
import type { TestProject } from "vitest/node";
import { ROOT } from "./examples.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** What the compiler complained of; empty if the build is sound. A test says so: the others run all the same. */
    buildErrors: string;
  }
}

export function setup(project: TestProject): void {
  const tsc = ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json", "--pretty", "false"];
  const { status, stdout, stderr } = spawnSync(process.execPath, tsc, { cwd: ROOT, encoding: "utf8" });
  project.provide("buildErrors", status === 0 ? "" : `exit code ${status}\n${stdout}${stderr}`);
}
