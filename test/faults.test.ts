/**
 * The programs of docs/examples/faults, one for each fault of the post-mortem: each runs in a process of its own, on
 * the built package, and prints what its last lines say.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";
import { node } from "./support/hosts.ts";

const FOLDER = "docs/examples/faults";
const OUT = join(ROOT, ".build/faults");
const programs = readdirSync(join(ROOT, FOLDER)).filter((name) => name.endsWith(".ts"));
const source = (program: string) => readFileSync(join(ROOT, FOLDER, program), "utf8");

beforeAll(() => {
  // The types are checked by the gate.
  const flags =
    "--ignoreConfig --noCheck --target es2022 --module nodenext --types node --rootDir . --outDir .build/faults";
  const tsc = [join(ROOT, "node_modules/typescript/bin/tsc"), ...flags.split(" ")];
  const files = programs.map((program) => join(FOLDER, program));
  const { status, stdout } = spawnSync(process.execPath, [...tsc, ...files], { cwd: ROOT, encoding: "utf8" });
  if (status !== 0) throw new Error(`tsc ended with ${status}\n${stdout}`);
}, 60_000);

/** What a program prints, and what it writes to stderr, as its last lines say. */
function wanted(program: string): { readonly out: string; readonly err: string } {
  const lines = source(program).trimEnd().split("\n");
  const from = lines.lastIndexOf("// Output:");
  if (from === -1) throw new Error(`${program} does not say what it prints`);
  const said = lines.slice(from + 1).map((line) => line.replace(/^\/\/ ?/, ""));
  const errors = said.indexOf("On stderr:");
  const text = (part: readonly string[]) => `${part.join("\n").trim()}\n`;
  if (errors === -1) return { out: text(said), err: "" };
  return { out: text(said.slice(0, errors)), err: text(said.slice(errors + 1)) };
}

describe("each of the seven faults is shown by its tool, and cured", () => {
  test("there are seven", () => {
    expect(programs).toHaveLength(7);
    const numbers = programs.map((program) => /Fault (\d):/.exec(source(program))?.[1]);
    expect(numbers.sort()).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
  });

  test.each(programs)("%s", async (program) => {
    const { out, err } = wanted(program);
    const file = join(OUT, FOLDER, program.replace(/\.ts$/, ".js"));
    const status = err === "" ? 0 : 2;
    expect(await node(ROOT, file)).toEqual({ status, out, err });
  });

  test.each(programs)("the header of %s names the tool and the cure, and says how to run it", (program) => {
    const header = source(program).split("*/")[0] ?? "";
    expect(header).toContain(" * The tool: ");
    expect(header).toContain(" * The cure: ");
    expect(header).toContain(`\n * \`npm run example faults/${program.replace(/\.ts$/, "")}\` runs it.`);
  });
});
