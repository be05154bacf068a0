/** Every code block in README, docs and doc comments is type-checked and run, and prints its stated output. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "node:util";
import { describe, expect, test, vi } from "vitest";
import { commentsOf, findExamples, inMarkdown, ROOT, typeErrors, write } from "./support/examples.ts";

const examples = findExamples();
write(examples);

/** The examples that are not run, by file. A number that grows needs a reason: the rule is that examples run. */
const NOT_RUN: Record<string, number> = {
  "docs/deadlock.md": 2, // they end in deadlocks: deadlock.process.test.ts runs them
  "docs/go-to-typescript.md": 1, // imports alone
  "docs/http.md": 2, // with undici, which is not installed here
  "docs/leak.md": 2, // set-ups of vitest, node:test and jest
  "docs/redis.md": 1, // with a client, which is not installed here
  "docs/synctest.md": 1, // a test of vitest
  "src/leak/vitest.ts": 1, // a set-up file of vitest
};

test("every example type-checks", { timeout: 60_000 }, () => {
  expect(typeErrors(examples)).toEqual([]);
});

test("every example runs, except those listed here", () => {
  const notRun: Record<string, number> = {};
  for (const e of examples) if (!e.run) notRun[e.file] = (notRun[e.file] ?? 0) + 1;
  expect(notRun).toEqual(NOT_RUN);
});

test("README, every page of a module and every module's header have an example", () => {
  const files = new Set(examples.filter((e) => e.run).map((e) => e.file));
  const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const modules = Object.keys(exports).flatMap((subpath) => /^\.\/(\w+)$/.exec(subpath)?.[1] ?? []);
  expect(modules).toContain("channel");
  const wanted = ["README.md", ...modules.flatMap((m) => [`docs/${m}.md`, `src/${m}.ts`])];
  expect(wanted.filter((file) => !files.has(file))).toEqual([]);
});

describe("prints its output", () => {
  for (const example of examples.filter((e) => e.run)) {
    test(`${example.file}:${example.line}`, async () => {
      const lines: string[] = [];
      const log = vi.spyOn(console, "log").mockImplementation((...args) => {
        lines.push(...format(...args).split("\n"));
      });
      try {
        await import(/* @vite-ignore */ example.path);
      } finally {
        log.mockRestore();
      }
      expect(lines.map((line) => line.trim())).toEqual(example.output);
    });
  }
});

describe("the search for examples", () => {
  test("finds blocks at their line, indented ones too, with what they print", () => {
    const text = [
      "# A",
      "",
      "```ts",
      "console.log(1);",
      "// Output:",
      "// 1",
      "```",
      "- b",
      "",
      "  ```ts no-run",
      "  let a;",
      "  ```",
    ];
    const [first, second] = inMarkdown("docs/a.md", text.join("\n"));
    expect(first).toMatchObject({ line: 3, run: true, output: ["1"] });
    expect(second).toMatchObject({ line: 10, run: false, output: [], code: "let a;" });
  });

  test("refuses a block of another language, one that is not closed, and code after the output", () => {
    expect(() => inMarkdown("a.md", "```js\nx\n```")).toThrow('a.md:1: code block of the language "js"');
    expect(() => inMarkdown("a.md", "```\nx\n```")).toThrow("code block of the language");
    expect(() => inMarkdown("a.md", "\n```ts\nx")).toThrow("a.md:2: the code block is not closed");
    expect(() => inMarkdown("a.md", "```ts\n// Output:\n// 1\nx();\n```")).toThrow("must end its code block");
  });

  test("reads doc comments only, and keeps the lines where they were", () => {
    const source = [
      "/** one line */",
      "/**",
      " * ```ts",
      " *   a();",
      " * ```",
      " */",
      "const s = 1; // ```ts",
      "  /** x",
      "   * y */",
    ];
    expect(commentsOf(source.join("\n")).split("\n")).toEqual(["", "", "```ts", "  a();", "```", "", "", "", "y */"]);
  });
});
