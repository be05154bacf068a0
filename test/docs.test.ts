/**
 * The parts of the docs that are copied from elsewhere are up to date, and the script that copies them copies well. And
 * what the docs list by hand is complete.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { leak } from "gopark";
import "gopark/http";
import "gopark/pprof";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";

function docs(cwd: string, ...args: string[]): { printed: string; status: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(ROOT, "scripts/docs.mjs"), ...args], {
    cwd,
    encoding: "utf8",
  });
  return { printed: `${stdout}${stderr}`.trim(), status };
}

test("differences from Go, figures of the benchmark and paragraphs are what `npm run docs` writes", () => {
  expect(docs(ROOT, "--check")).toEqual({ printed: "", status: 0 });
});

test("docs/leak.md names every kind that is counted, and no other", () => {
  const page = readFileSync(join(ROOT, "docs/leak.md"), "utf8");
  const table = page.slice(page.indexOf("| module | waits |")).split("\n\n")[0] as string;
  const cells = table.split("\n").flatMap((line) => line.split("|").slice(2));
  const named = cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]));
  expect([...new Set(named)].sort()).toEqual(Object.keys(leak.counters()).sort());
});

describe("npm run docs", () => {
  let root: string;
  const read = (file: string) => readFileSync(join(root, file), "utf8");
  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  };
  const begin = "<!-- differences from Go: begin -->\n";
  const end = "<!-- differences from Go: end -->\n";
  const header = (text: string) => `/// <reference lib="a" />\n/**\n * A.\n *\n${text}\n */\nimport "b";\n/** No. */\n`;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "gopark-docs-"));
    const rows = [
      { id: "a.x", what: "an x", ns: { ours: 95.84, floor: 1999, go1: 12_345_678, goN: 1, slow: 80, fast: 70.5 } },
      { id: "a.y", what: "a y", ns: { ours: 5 } },
    ];
    write("package.json", JSON.stringify({ exports: { ".": {}, "./a": {}, "./package.json": "./package.json" } }));
    write("docs/performance.json", JSON.stringify({ rows }));
    write("src/a.ts", header(" * Ports a. Differences from Go:\n *\n * - One."));
    write("docs/a.md", `# A\n\n${begin}${end}`);
    for (const file of ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]) write(file, "# B\n");
  });

  afterEach(() => rmSync(root, { recursive: true, force: true }));

  test("copies the list of a header, filled, without what follows it", () => {
    const long = "word ".repeat(30).trim();
    write(
      "src/a.ts",
      header(
        ` * Ports a. Differences from\n * Go:\n *\n * - One {@link A.b},\n *   and more.\n *\n * - ${long}\n *\n * What it is for.`,
      ),
    );

    expect(docs(root)).toEqual({ printed: "docs/a.md written", status: 0 });

    const words = (n: number) => "word ".repeat(n).trim();
    expect(read("docs/a.md")).toBe(`# A\n\n${begin}- One \`A.b\`, and more.\n- ${words(23)}\n  ${words(7)}\n${end}`);
    expect(docs(root, "--check")).toEqual({ printed: "", status: 0 });
  });

  test("copies a paragraph where the header has no list", () => {
    write("src/a.ts", header(" * Ports a. Differences from Go: the one,\n * and the other."));
    docs(root);
    expect(read("docs/a.md")).toBe(`# A\n\n${begin}The one, and the other.\n${end}`);
  });

  test("names the page that is out of date, says what to run, and changes nothing", () => {
    docs(root);
    const page = read("docs/a.md");
    write("src/a.ts", header(" * Ports a. Differences from Go:\n *\n * - Another."));
    expect(docs(root, "--check")).toEqual({ printed: "docs/a.md is out of date: run `npm run docs`", status: 1 });
    expect(read("docs/a.md")).toBe(page);
  });

  test("fails for a header without differences, and for a page without their place", () => {
    write("src/a.ts", header(" * Ports a."));
    expect(docs(root)).toEqual({
      printed: 'src/a.ts: its header must have a list after "Differences from Go:"',
      status: 1,
    });
    write("docs/a.md", "# A\n");
    expect(docs(root).printed).toContain("docs/a.md: put <!-- differences from Go: begin -->");
  });

  test("links to the differences of each module, from where the page stands", () => {
    const links = "<!-- links to the differences: begin -->\n<!-- links to the differences: end -->\n";
    write("README.md", links);
    write("docs/map.md", links);
    docs(root);
    expect(read("README.md")).toContain("\n[a](docs/a.md#differences-from-go).\n");
    expect(read("docs/map.md")).toContain("\n[a](a.md#differences-from-go).\n");
  });

  test("writes rows of the benchmark, with the columns in which there is something", () => {
    write("README.md", "<!-- bench rows: begin a.x a.y -->\n<!-- bench rows: end -->\n");
    docs(root);
    expect(read("README.md").split("\n")).toEqual([
      "<!-- bench rows: begin a.x a.y -->",
      "| row | one operation | gopark | floor | Go, 1 processor | fastest other |",
      "| --- | --- | ---: | ---: | ---: | ---: |",
      "| `a.x` | an x | 95.8 ns | 2.00 µs | 12.3 ms | 70.5 ns (fast) |",
      "| `a.y` | a y | 5.00 ns |  |  |  |",
      "<!-- bench rows: end -->",
      "",
    ]);
    write("README.md", "<!-- bench rows: begin a.y -->\n<!-- bench rows: end -->\n");
    docs(root);
    expect(read("README.md")).toContain("| row | one operation | gopark |\n| --- | --- | ---: |\n| `a.y` | a y |");
    write("README.md", "<!-- bench rows: begin a.z -->\n<!-- bench rows: end -->\n");
    expect(docs(root)).toEqual({ printed: "README.md: docs/performance.json has no row a.z", status: 1 });
  });

  test("fills paragraphs and items, and leaves code, tables and figures of other scripts alone", () => {
    const kept = [
      "```text",
      "a",
      "b",
      "```",
      "| a |",
      "| b |",
      "<!-- figures:begin -->",
      "a",
      "b",
      "<!-- figures:end -->",
    ];
    write("README.md", [...kept, "", "a", "b", "- c", "  d", "- e", "  ```sh", "  f", "  g", "  ```", ""].join("\n"));
    docs(root);
    expect(read("README.md")).toBe(
      [...kept, "", "a b", "- c d", "- e", "  ```sh", "  f", "  g", "  ```", ""].join("\n"),
    );
  });

  test("begins no line with what would make a list of it", () => {
    write("README.md", `${"x".repeat(117)} 90. More.\n`);
    docs(root);
    expect(read("README.md")).toBe(`${"x".repeat(117)} 90.\nMore.\n`);
  });
});
