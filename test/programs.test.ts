/**
 * The programs of docs/examples run, and print their stated output, under fake time, and whichever of its ready
 * cases a select chooses. The set-up verifies that they leave nothing behind.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "node:util";
// Loaded before any clock is faked: it takes the event loop's setImmediate when it is loaded.
import "gopark";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { outputOf, ROOT } from "./support/examples.ts";

const FOLDER = join(ROOT, "docs/examples");
const programs = readdirSync(FOLDER).filter((name) => name.endsWith(".ts"));
const source = (program: string) => readFileSync(join(FOLDER, program), "utf8");

/** The values of Math.random, and which of several ready cases a select chooses with it. */
const PICKS = { first: 1 - Number.EPSILON, last: 0 };

describe("prints its output", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.setTimerTickMode("nextTimerAsync");
  });

  for (const program of programs) {
    test.each(Object.entries(PICKS))(
      `${program}, a select taking the %s ready case`,
      async (pick, random) => {
        vi.spyOn(Math, "random").mockReturnValue(random);
        const lines: string[] = [];
        vi.spyOn(console, "log").mockImplementation((...args) => {
          lines.push(...format(...args).split("\n"));
        });
        const wanted = outputOf(source(program).trimEnd().split("\n"));

        // By a name of its own, so that it is loaded and run again.
        await import(/* @vite-ignore */ `${join(FOLDER, program)}?${pick}`);

        expect(wanted).not.toEqual([]);
        expect(lines.map((line) => line.trim())).toEqual(wanted);
      },
      5_000,
    );
  }
});

test.each(programs)("the header of %s says how to run it", (program) => {
  const header = source(program).split("*/")[0];
  expect(header).toContain(`\n * \`npm run example ${program.replace(/\.ts$/, "")}\` runs it.\n`);
});

describe("the table of README.md", () => {
  const rows = new Map(
    Array.from(
      readFileSync(join(FOLDER, "README.md"), "utf8").matchAll(/^\| \[(.+)\]\((.+)\) \| .+ \| (.+) \|$/gm),
      ([, name, link, modules]) => [name, { link, modules }],
    ),
  );

  test("has a row for every program, with a link to it", () => {
    expect(programs).not.toEqual([]);
    expect([...rows.keys()].sort()).toEqual([...programs].sort());
    for (const [name, { link }] of rows) expect(link).toBe(name);
  });

  test.each(programs)("names the modules that %s imports", (program) => {
    expect(rows.get(program)?.modules).toBe(modulesOf(source(program)).join(", "));
  });
});

/** Names that are exported by a module of another name. */
const MODULES: Record<string, string> = { after: "time", Channel: "channel", trySelect: "select" };

/** The modules a program takes values from, sorted. */
function modulesOf(code: string): string[] {
  const modules = new Set(
    Array.from(code.matchAll(/^import \{ .+ \} from "gopark\/(\w+)";$/gm), ([, module]) => module),
  );
  const root = /^import \{ (.+) \} from "gopark";$/m.exec(code)?.[1] ?? "";
  for (const name of root.split(", ")) modules.add(MODULES[name] ?? name);
  return [...modules].filter((module) => module !== undefined).sort();
}
