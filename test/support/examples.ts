/**
 * The code blocks of README, docs and doc comments, as programs: found, written to a folder and type-checked.
 *
 * A block of the language `ts` is one whole program, with its imports. `ts no-run` is type-checked only. What a program
 * prints stands in its last lines, as in Go: `// Output:`, then a comment for each line.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

/** Inside the repository, so that `gopark` resolves to the package itself. */
export const FOLDER: string = join(ROOT, ".build/examples");

export interface Example {
  /** Its path from the root of the repository. */
  readonly file: string;
  /** The line of its fence, counted from 1. */
  readonly line: number;
  readonly code: string;
  readonly run: boolean;
  /** The expected output. */
  readonly output: readonly string[];
  /** The file that {@link write} writes. */
  readonly path: string;
}

/** The allowed languages of a fence. `ts` is executed; no other is TypeScript or JavaScript. */
const LANGUAGES = ["ts", "ts no-run", "go", "sh", "text"];

/** Every example in README.md, CONTRIBUTING.md, docs and the doc comments of src. */
export function findExamples(): Example[] {
  const markdown = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ...filesUnder("docs", ".md")];
  const examples = markdown.flatMap((file) => inMarkdown(file, readFileSync(join(ROOT, file), "utf8")));
  for (const file of filesUnder("src", ".ts")) {
    examples.push(...inMarkdown(file, commentsOf(readFileSync(join(ROOT, file), "utf8"))));
  }
  return examples;
}

/** Not those of packages, one of which is a link to the repository. */
function filesUnder(folder: string, extension: string): string[] {
  const found = readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) return path.endsWith(extension) ? [path] : [];
    return entry.name === "node_modules" ? [] : filesUnder(path, extension);
  });
  return found.sort();
}

/** The text of the doc comments, without their stars; every other line is blank, so that line numbers stay. */
export function commentsOf(source: string): string {
  let inside = false;
  const lines = source.split("\n").map((line) => {
    if (inside) {
      inside = !line.includes("*/");
      return line.replace(/^\s*\*\/?\s?/, "");
    }
    inside = /^\s*\/\*\*/.test(line) && !line.includes("*/");
    return "";
  });
  return lines.join("\n");
}

/**
 * The examples of a markdown text. Throws for a fence that is not closed, or of a language not in {@link LANGUAGES}.
 */
export function inMarkdown(file: string, text: string): Example[] {
  const examples: Example[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const fence = /^( *)```(.*)$/.exec(lines[i] as string);
    if (fence === null) continue;
    const indent = fence[1] as string;
    const language = (fence[2] as string).trim();
    if (!LANGUAGES.includes(language)) {
      throw new Error(
        `${file}:${i + 1}: code block of the language "${language}", want one of: ${LANGUAGES.join(", ")}`,
      );
    }
    const end = lines.indexOf(`${indent}\`\`\``, i + 1);
    if (end === -1) throw new Error(`${file}:${i + 1}: the code block is not closed`);
    if (language.startsWith("ts")) {
      const body = lines.slice(i + 1, end).map((line) => line.slice(indent.length));
      examples.push({
        file,
        line: i + 1,
        code: body.join("\n"),
        run: language === "ts",
        output: outputOf(body),
        path: join(FOLDER, `${file.replaceAll(/[^\w.]/g, "_")}.${i + 1}.ts`),
      });
    }
    i = end;
  }
  return examples;
}

/** The comment lines after the last `// Output:`. */
export function outputOf(body: readonly string[]): string[] {
  const start = body.lastIndexOf("// Output:");
  if (start === -1) return [];
  const lines = body.slice(start + 1);
  const stray = lines.find((line) => !line.startsWith("//"));
  if (stray !== undefined) throw new Error(`"// Output:" must end its code block, but this follows: ${stray}`);
  return lines.map((line) => line.slice(2).trim());
}

/** Writes the examples to {@link FOLDER}, each moved down to the line it has in its own file. */
export function write(examples: readonly Example[]): void {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  for (const { path, line, code } of examples) writeFileSync(path, `${"\n".repeat(line)}${code}\n`);
  const config = {
    extends: "../../tsconfig.json",
    // An example may show a declaration without using it.
    compilerOptions: { noUnusedLocals: false, noUnusedParameters: false, moduleDetection: "force" },
    include: ["."],
  };
  writeFileSync(join(FOLDER, "tsconfig.json"), JSON.stringify(config));
}

/**
 * Type-checks what {@link write} wrote, in one run of the compiler. Returns its errors, with the places in the docs.
 */
export function typeErrors(examples: readonly Example[]): string[] {
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, "-p", FOLDER, "--pretty", "false"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  if (status === 0) return [];
  const files = new Map(examples.map((e) => [relative(ROOT, e.path), e.file]));
  return `${stdout}${stderr}`
    .trim()
    .split("\n")
    .map((line) => line.replace(/^[^(]+/, (path) => files.get(path) ?? path));
}
