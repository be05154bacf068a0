/**
 * The published package: it builds, its public types equal the snapshot, and the tarball has exactly the listed files.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { SourceMap, type SourceMapping } from "node:module";
import { join, relative } from "node:path";
import { rolldown } from "rolldown";
import { describe, expect, inject, test } from "vitest";
import { ROOT } from "./support/examples.ts";

const modules = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.startsWith("internal"))
  .sort();

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

let list: string[] | undefined;

/** The files of the tarball. */
function packed(): readonly string[] {
  // The scripts are left out: the build is there, and what they print would spoil the JSON.
  const npm = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  list ??= (
    JSON.parse(execFileSync("npm", npm, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })) as [
      { files: { path: string }[] },
    ]
  )[0].files
    .map(({ path }) => path)
    .sort();
  return list;
}

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

// Written by `npm run api`, too. What is in the list is published.
test("the tarball holds the files of the list", { timeout: 60_000 }, async () => {
  await expect(`${packed().join("\n")}\n`).toMatchFileSnapshot("package.files.txt");
});

test("every file that package.json names is in the tarball, and so is a declaration for each", () => {
  const files = new Set(packed().map((name) => `./${name}`));
  const { main, module, types, typesVersions, exports, sideEffects } = manifest;
  const named = targets([main, module, types, typesVersions, exports, sideEffects]);
  expect(named.length).toBeGreaterThan(100);
  expect(named.filter((name) => !files.has(name))).toEqual([]);
});

test("links in the documents of the tarball lead to what is in it", () => {
  const files = new Set(packed());
  const documents = [...files].filter((name) => name.endsWith(".md"));
  const dead = documents.flatMap((name) => {
    const text = readFileSync(join(ROOT, name), "utf8").replaceAll(/^ *```[\s\S]*?^ *```$|`[^`\n]*`/gm, "");
    const links = [...text.matchAll(/\]\(([^)#\s]+)/g)].map(([, link]) => link as string);
    return links
      .filter((link) => !/^[a-z]+:/.test(link) && !files.has(join(name, "..", link)))
      .map((l) => `${name}: ${l}`);
  });
  expect(documents.length).toBeGreaterThan(20);
  expect(dead).toEqual([]);
});

/** The files of dist whose names match. */
function built(names: RegExp): string[] {
  return (readdirSync(join(ROOT, "dist"), { recursive: true }) as string[]).filter((name) => names.test(name)).sort();
}

test("the maps in dist lead to sources that are in the tarball, and every file that is not a stub has one", () => {
  const files = new Set(packed());
  const maps = built(/\.map$/);
  expect(maps.length).toBeGreaterThan(4 * modules.length);
  for (const name of maps) {
    const { sources } = JSON.parse(readFileSync(join(ROOT, "dist", name), "utf8")) as { sources: string[] };
    const ours = sources.filter((source) => !source.includes("rolldown/runtime"));
    expect(ours.length, name).toBeGreaterThan(0);
    for (const source of ours) expect([...files], `${name}: ${source}`).toContain(join("dist", name, "..", source));
  }
  const unmapped = built(/(\.c?js|\.d\.c?ts)$/).filter((name) => !maps.includes(`${name}.map`));
  expect(unmapped.filter((name) => !isStub(name))).toEqual([]);
});

/** Whether a file of dist only hands on what another one exports. */
function isStub(name: string): boolean {
  const text = readFileSync(join(ROOT, "dist", name), "utf8");
  return text
    .split("\n")
    .every((line) =>
      /^(export \{.*\} from "\..*";|import ".*";|exports\.|const require_\w+ = require\(|Object\.define|)/.test(line),
    );
}

test.each(["node/gopark-core.js", "cjs/gopark-core.cjs", "semaphore.js"])("the map of %s leads to the line", (name) => {
  const path = join(ROOT, "dist", name);
  const lines = readFileSync(path, "utf8").split("\n");
  const line = lines.findIndex((text) => text.includes("class Weighted") || /\bWeighted = class\b/.test(text));
  const map = new SourceMap(JSON.parse(readFileSync(`${path}.map`, "utf8")));
  const { originalSource, originalLine } = map.findEntry(
    line,
    (lines[line] as string).indexOf("class"),
  ) as SourceMapping;
  const source = join(path, "..", originalSource);
  expect(relative(ROOT, source)).toBe("src/semaphore.ts");
  expect(readFileSync(source, "utf8").split("\n")[originalLine]).toContain("export class Weighted");
});

// Two copies of a file of src in one folder would be two cores.
test.each([
  ["node", "js"],
  ["cjs", "cjs"],
])("every file of src is in one file of dist/%s", (folder, extension) => {
  const places = new Map<string, string[]>();
  for (const name of built(new RegExp(`^${folder}/.*\\.${extension}\\.map$`))) {
    const { sources } = JSON.parse(readFileSync(join(ROOT, "dist", name), "utf8")) as { sources: string[] };
    for (const source of sources) {
      const file = relative(ROOT, join(ROOT, "dist", name, "..", source));
      places.set(file, [...(places.get(file) ?? []), name]);
    }
  }
  expect(places.get("src/semaphore.ts")).toEqual([`${folder}/gopark-core.${extension}.map`]);
  expect(places.size).toBeGreaterThan(80);
  expect([...places].filter(([, names]) => names.length > 1)).toEqual([]);
});

test("the functions and classes of the core have the names that they have in src", async () => {
  for (const stem of modules.map((name) => name.slice(0, -3)).filter((stem) => stem !== "leak/vitest")) {
    const module = (await import(join(ROOT, `dist/node/${stem}.js`))) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) {
      if (typeof value === "function") expect(value.name, `gopark/${stem}`).toBe(name);
    }
  }
});

test("hosts that know no `exports` get the CommonJS build", () => {
  const program = `console.log(new (require(${JSON.stringify(join(ROOT, manifest.main))}).Channel)(3).cap())`;
  const args = ["--no-experimental-require-module", "--input-type=commonjs", "--eval", program];
  expect(execFileSync(process.execPath, args, { encoding: "utf8" })).toBe("3\n");
});

// A bundler leaves out an import of a file without effects from which nothing is used.
describe.each([["module"], ["node", "module-sync"], ["require"]])(
  "bundled with the conditions %s %s",
  (...conditions) => {
    test.each([
      ["gopark/deadlock", true],
      ["gopark/semaphore", false],
      ["gopark/metrics", false],
      ["gopark", false],
    ])("an import of %s for its effects stays: %s", async (subpath, stays) => {
      const entry = "\0entry";
      const built = await rolldown({
        input: entry,
        platform: "neutral",
        external: /^node:/,
        resolve: { conditionNames: conditions },
        plugins: [
          {
            name: "entry",
            resolveId: (id) => (id === entry ? join(ROOT, "entry.js") : undefined),
            load: (id) => (id === join(ROOT, "entry.js") ? `import ${JSON.stringify(subpath)};` : undefined),
          },
        ],
      });
      const { output } = await built.generate({ format: "esm", minify: true });
      await built.close();
      expect(output[0].code.length > 1000).toBe(stays);
    });
  },
);

/** The strings in nested objects. */
function targets(value: unknown): string[] {
  return typeof value === "string" ? [value] : Object.values(value as object).flatMap(targets);
}
