/** Where a leak was made, in other runtimes: the stack begins with the user's own frame there, too. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundle, type Project, project } from "../support/hosts.ts";
import { firstFrame, KINDS, PROGRAM, type Report, WRAPPED, whole, wrong } from "../support/stacks.ts";
import { closePages, hosts, missing, programs, type Run } from "./hosts.ts";

let home: Project;

beforeAll(async () => {
  home = project();
  home.write("package.json", '{ "type": "module", "dependencies": { "gopark": "*" } }');
  home.write("user.mjs", PROGRAM);
  const wrapped = home.write("wrapped.mjs", WRAPPED);
  await bundle(wrapped, join(home.path, "bundle.mjs"), "esm");
  await bundle(wrapped, join(home.path, "bundle.cjs"), "cjs");
});
afterAll(async () => {
  home.remove();
  await closePages();
});

async function report(run: Run, file: string): Promise<Report> {
  return JSON.parse(await run(home.path, file)) as Report;
}

describe("the stack begins with the user's frame", () => {
  test.each(Object.entries(programs))("in the installed package: %s", async (_, run) => {
    const found = await report(run, "user.mjs");
    expect(wrong(found, firstFrame)).toEqual([]);
    expect(Object.keys(found)).toHaveLength(KINDS.length + 1);
  });

  describe.each(Object.entries(hosts))("in one file with the library: %s", (host, run) => {
    const files = host === "Chromium" ? ["bundle.mjs"] : ["bundle.mjs", "bundle.cjs"];
    // JavaScriptCore has no frame for a function that has returned what another call returns. Without that of the
    // public function, the library's frames cannot be told from the user's where both are in one file: all are shown.
    const part = host === "Bun" ? whole : firstFrame;
    test.skipIf(host in missing).each(files)("%s", async (file) => {
      expect(wrong(await report(run, file), part)).toEqual([]);
    });
  });
});
