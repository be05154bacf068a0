/** Comments are wrapped, which the formatter does for code only. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const WIDTH = 120;

/** The files of a folder. Not those of packages, one of which is a link to the repository. */
function filesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) return /\.(ts|mjs)$/.test(entry.name) ? [path] : [];
    return entry.name === "node_modules" || entry.name.startsWith(".") ? [] : filesIn(path);
  });
}

const files = ["src", "test", "bench", "scripts", "docs"].flatMap(filesIn);

test("no line of a comment is longer than 120 columns", () => {
  const long = files.flatMap((file) =>
    readFileSync(join(ROOT, file), "utf8")
      .split("\n")
      .flatMap((line, i) => (line.length > WIDTH && /^\s*(\*|\/\/|\/\*)/.test(line) ? [`${file}:${i + 1}`] : [])),
  );
  expect(long).toEqual([]);
});
