/**
 * The published package: it builds, its public types equal the snapshot, and the tarball has exactly the listed files.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { ROOT } from "./support/examples.ts";

const modules = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.startsWith("internal"))
  .sort();

test("the package builds", () => {
  expect(inject("buildErrors")).toBe("");
});

/** A declaration file without comments and blank lines. */
function declarations(text: string): string {
  return text
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/^\s*\/\/.*$/gm, "")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .join("\n");
}

// Written by `npm run api`. A line that changes here is a change for users: mention it in CHANGELOG.md.
test("the public API equals the snapshot", async () => {
  const api = modules.map((name) => {
    const stem = name.slice(0, -3);
    const subpath = stem === "index" ? "gopark" : `gopark/${stem}`;
    return `// ${subpath}\n\n${declarations(readFileSync(join(ROOT, `dist/${stem}.d.ts`), "utf8"))}\n`;
  });
  await expect(api.join("\n")).toMatchFileSnapshot("api.snapshot.txt");
});

test("the tarball holds the build, the sources and four documents", { timeout: 60_000 }, () => {
  // The scripts are left out: the build is there, and what they print would spoil the JSON.
  const npm = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const stdout = execFileSync("npm", npm, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const packed = (JSON.parse(stdout) as { files: { path: string }[] }[])[0]?.files.map((file) => file.path);
  const sources = (readdirSync(join(ROOT, "src"), { recursive: true }) as string[]).filter((n) => n.endsWith(".ts"));
  const built = sources.flatMap((name) => {
    const stem = `dist/${name.slice(0, -3)}`;
    return [`${stem}.js`, `${stem}.js.map`, `${stem}.d.ts`, `${stem}.d.ts.map`];
  });
  expect(packed?.sort(), "if dist has a file left from a source that is gone, delete dist").toEqual(
    ["CHANGELOG.md", "LICENSE", "README.md", "package.json", ...sources.map((n) => `src/${n}`), ...built].sort(),
  );
});

test("the maps in dist lead to sources that are in the tarball", () => {
  const maps = (readdirSync(join(ROOT, "dist"), { recursive: true }) as string[]).filter((n) => n.endsWith(".map"));
  expect(maps.length).toBeGreaterThan(modules.length);
  for (const name of maps) {
    const path = join(ROOT, "dist", name);
    const { sources } = JSON.parse(readFileSync(path, "utf8")) as { sources: string[] };
    for (const source of sources) expect(existsSync(join(path, "..", source)), `${name}: ${source}`).toBe(true);
  }
});
