/** What publint and "Are the types wrong?" say of the tarball. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checkPackage, createPackageFromTarballData, type Problem } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Project, project } from "./projects.ts";

let home: Project;
let tarball: Uint8Array<ArrayBuffer>;

beforeAll(() => {
  home = project();
  const [name] = readdirSync(home.path).filter((file) => file.endsWith(".tgz"));
  tarball = Uint8Array.from(readFileSync(join(home.path, name as string)));
});
afterAll(() => home.remove());

test("publint finds nothing", async () => {
  const { messages, pkg } = await publint({ pack: { tarball: tarball.buffer }, level: "suggestion", strict: true });
  expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([]);
});

/** What is known, by entry point and resolution, and why it stays. */
const KNOWN: Record<string, string> = {
  "CJSResolvesToESM ./leak/vitest node16-cjs": "vitest cannot be required, so neither can what it loads",
};

test("the types are not wrong, but for what is known", async () => {
  const result = await checkPackage(createPackageFromTarballData(tarball));
  if (result.types === false) throw new Error("no types were found");
  expect(Object.keys(result.entrypoints).length).toBeGreaterThan(25);
  const found = result.problems.map((problem: Problem) =>
    "entrypoint" in problem
      ? `${problem.kind} ${problem.entrypoint} ${problem.resolutionKind}`
      : `${problem.kind} ${JSON.stringify(problem)}`,
  );
  expect([...new Set(found)].sort()).toEqual(Object.keys(KNOWN).sort());
});
