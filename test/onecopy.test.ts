/**
 * However a process imports the package, it has one core: what one subpath gives is what every other one works with.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";
import { answer, type Project, project } from "./support/hosts.ts";

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { exports: Record<string, unknown> };
const subpaths = Object.keys(manifest.exports)
  // It imports vitest, which is not there.
  .filter((name) => !["./package.json", "./leak/vitest"].includes(name))
  .map((name) => name.replace(".", "gopark"));

// Prints the exports that differ between import and require, or of the same name between subpaths of the core.
const PROGRAM = `
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const differing = [];
let compared = 0;
for (const name of ${JSON.stringify(subpaths)}) {
  const [imported, required] = [await import(name), require(name)];
  for (const key of new Set([...Object.keys(imported), ...Object.keys(required)])) {
    compared++;
    if (imported[key] !== required[key]) differing.push(name + " " + key);
  }
}
const root = await import("gopark");
for (const [name, members] of Object.entries(root)) {
  if (typeof members !== "object") continue;
  const module = await import("gopark/" + name);
  for (const [key, value] of Object.entries(members)) {
    compared++;
    if (module[key] !== value) differing.push("gopark " + name + "." + key);
  }
}
// What watches counts what the core does.
const { counters } = require("gopark/leak");
const { prometheusText } = await import("gopark/metrics");
void new root.Channel().receive();
const seen = [counters()["chan receive"], /gopark_waits\\{kind="chan receive"\\} (\\d+)/.exec(prometheusText())?.[1]];
console.log(JSON.stringify({ differing, compared: compared > 200, seen }));
process.exit();
`;

let home: Project;

beforeAll(() => {
  home = project();
  home.write("program.mjs", PROGRAM);
});
afterAll(() => home.remove());

test.each(["", "module", "browser", "browser module", "development import"])(
  "import and require, with the conditions: %s",
  async (conditions) => {
    const flags = conditions.split(" ").flatMap((name) => (name === "" ? [] : [`--conditions=${name}`]));
    expect(await answer(home.path, ...flags, "program.mjs")).toEqual({ differing: [], compared: true, seen: [1, "1"] });
  },
);
