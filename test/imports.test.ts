/**
 * The table of which file may import which, checked against the import lines of src, and the exports of package.json.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";

/** The modules each module may import values from, besides `internal/`. Types are exempt. */
const MODULES: Record<string, readonly string[]> = {
  admission: ["context", "rate", "semaphore", "time"],
  time: [],
  channel: [],
  select: [],
  context: [],
  go: [],
  semaphore: [],
  rate: [],
  breaker: [],
  errgroup: ["context"],
  http: ["breaker", "context", "rate", "retry", "semaphore", "time"],
  pipeline: ["channel", "select", "context", "time"],
  pool: [],
  redis: ["context", "rate", "semaphore"],
  retry: ["context", "time"],
  shardmap: [],
  signal: ["context", "time"],
  singleflight: ["context"],
  sync: [],
  workers: [],
  leak: [],
  "leak/vitest": ["leak"],
  deadlock: [],
  metrics: [],
  pprof: [],
  "pprof/node": ["pprof"],
  synctest: [],
  trace: [],
  "trace/node": [],
};

/** For tests and production's watchers: no other module imports them. */
const IMPORTED_BY_NOBODY = [
  "deadlock",
  "leak",
  "leak/vitest",
  "metrics",
  "pprof",
  "pprof/node",
  "synctest",
  "trace",
  "trace/node",
];

/** Foreign modules, which whoever imports the file has: optional peers. */
const PEERS: Record<string, readonly string[]> = { "leak/vitest": ["vitest"] };

/**
 * The folders of internal/, and the folders that each may import values from, besides itself. The folder of a module,
 * which has its name, may also import what the module may.
 */
const LAYERS: Record<string, readonly string[]> = {
  host: [],
  data: ["host"],
  time: ["data", "host"],
  track: ["data", "host"],
  wait: ["data", "host", "time", "track"],
  breaker: ["data", "host", "time"],
  admission: ["data", "host", "time", "track", "wait"],
  pipeline: ["data", "host", "time", "track", "wait"],
  trace: ["track"],
  pprof: ["data", "host", "time", "track", "wait"],
  http: ["breaker", "data", "host", "time", "track", "wait"],
  bubble: ["data", "host", "time", "track"],
  redis: ["data", "host", "time", "track", "wait"],
};

interface Import {
  readonly from: string;
  /** No trace of it is left in the compiled file. */
  readonly typeOnly: boolean;
}

/** The imports and re-exports of a source text. */
function importsOf(source: string): Import[] {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
  const imports: Import[] = [];
  // Only a statement that starts with `type` goes away: `import { type A } from` stays as an import of nothing.
  for (const match of code.matchAll(/^(?:import|export)\b(\s+type\b)?(?:[\w\s{},*$]*?\bfrom)?\s*"([^"]+)"/gm)) {
    imports.push({ from: match[2] as string, typeOnly: match[1] !== undefined });
  }
  for (const match of code.matchAll(/\bimport\(\s*["'`]?([^"'`)]*)/g)) {
    imports.push({ from: match[1] as string, typeOnly: false });
  }
  return imports;
}

const SRC = join(ROOT, "src");
const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
const sources = new Map(files.map((name) => [name.slice(0, -3), readFileSync(join(SRC, name), "utf8")]));

/** The files of src that a file of src imports values from, without extension; foreign modules as they are written. */
function valueImports(file: string): string[] {
  return importsOf(sources.get(file) as string)
    .filter((i) => !i.typeOnly)
    .map(({ from }) =>
      from.startsWith(".") ? relative(SRC, join(SRC, dirname(file), from)).replace(/\.ts$/, "") : from,
    );
}

const modules = [...sources.keys()].filter((file) => !file.startsWith("internal/") && file !== "index");
const internals = [...sources.keys()].filter((file) => file.startsWith("internal/"));

describe("imports of values", () => {
  test("there are files to check", () => {
    expect(modules.length).toBeGreaterThan(0);
    expect(internals.length).toBeGreaterThan(0);
    expect(valueImports("channel")).toContain("internal/wait/wait");
  });

  test.each(modules)("%s imports internal/ and what the table allows", (file) => {
    expect(Object.keys(MODULES), "add the module to the table").toContain(file);
    const allowed = MODULES[file] as readonly string[];
    const strange = valueImports(file).filter(
      (i) => !i.startsWith("internal/") && !isNode(i) && !allowed.includes(i) && !PEERS[file]?.includes(i),
    );
    expect(strange).toEqual([]);
  });

  test.each(internals)("%s imports only what is below its folder", (file) => {
    const [, folder = ""] = file.split("/");
    expect(Object.keys(LAYERS), "add the folder to the table").toContain(folder);
    const allowed = [folder, ...(LAYERS[folder] as readonly string[])].map((name) => `internal/${name}/`);
    const modules = MODULES[folder] ?? [];
    const strange = valueImports(file).filter((i) => !allowed.some((p) => i.startsWith(p)) && !modules.includes(i));
    expect(strange).toEqual([]);
  });

  test("no file leads back to itself, and no module that the table names is missing", () => {
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      expect(path, "a cycle").not.toContain(file);
      if (done.has(file)) return;
      for (const next of valueImports(file)) if (sources.has(next)) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of sources.keys()) visit(file, []);
    expect(Object.keys(MODULES).filter((name) => !sources.has(name))).toEqual([]);
  });

  test("no module imports what is made for watching them", () => {
    const others = [...modules, ...internals].filter((f) => !IMPORTED_BY_NOBODY.includes(f));
    const importers = others.filter((f) => valueImports(f).some((i) => IMPORTED_BY_NOBODY.includes(i)));
    expect(importers).toEqual([]);
  });

  test("only files whose header says `Node only` import node:, and the root leads to none of them", () => {
    const nodeOnly = (file: string) => valueImports(file).some(isNode);
    const silent = [...sources.keys()].filter((f) => nodeOnly(f) && !headerOf(f).includes("Node only"));
    expect(silent).toEqual([]);

    const reached = new Set<string>(["index"]);
    for (const file of reached) for (const i of valueImports(file)) if (sources.has(i)) reached.add(i);
    expect([...reached].filter(nodeOnly)).toEqual([]);
    expect(reached.size).toBeGreaterThan(modules.length);
  });

  test("nothing is imported from outside but peers: there are no dependencies", () => {
    const isOurs = (i: string) => sources.has(i) || isNode(i);
    const foreign = [...sources.keys()].map((f) => [f, valueImports(f).filter((i) => !isOurs(i))] as const);
    expect(Object.fromEntries(foreign.filter(([, imports]) => imports.length > 0))).toEqual(PEERS);
  });
});

describe("package.json", () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const jsr = JSON.parse(readFileSync(join(ROOT, "jsr.json"), "utf8"));

  test("is as scripts/manifest.mjs makes it of src, and so is jsr.json", () => {
    const { status, stderr } = spawnSync(process.execPath, [join(ROOT, "scripts/manifest.mjs"), "--check"], {
      encoding: "utf8",
    });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });

  test("bundlers get a file per module, Node the core in one, and what cannot require that gets CommonJS", () => {
    // As text: of the conditions that are set the first wins.
    expect(JSON.stringify(manifest.exports["./semaphore"])).toBe(
      JSON.stringify({
        types: { require: "./dist/cjs/semaphore.d.cts", default: "./dist/semaphore.d.ts" },
        module: "./dist/semaphore.js",
        browser: {
          "module-sync": "./dist/semaphore.js",
          require: "./dist/cjs/semaphore.cjs",
          default: "./dist/semaphore.js",
        },
        "module-sync": "./dist/node/semaphore.js",
        require: "./dist/cjs/semaphore.cjs",
        default: "./dist/node/semaphore.js",
      }),
    );
  });

  test("exports every module under its own name, the root, and nothing else", () => {
    const wanted = ["index", ...modules].map((stem) => (stem === "index" ? "." : `./${stem}`));
    expect(Object.keys(manifest.exports).sort()).toEqual([...wanted, "./package.json"].sort());
    expect(Object.keys(manifest.typesVersions["*"]).sort()).toEqual([...modules].sort());
    expect(Object.keys(jsr.exports).sort()).toEqual(wanted.sort());
    expect([jsr.version, jsr.license]).toEqual([manifest.version, manifest.license]);
  });

  test("has no dependencies at run time", () => {
    for (const field of ["dependencies", "optionalDependencies", "bundledDependencies"]) {
      expect(manifest[field]).toBeUndefined();
    }
    const peers = [...new Set(Object.values(PEERS).flat())];
    expect(Object.keys(manifest.peerDependencies)).toEqual(peers);
    expect(manifest.peerDependenciesMeta).toEqual(Object.fromEntries(peers.map((name) => [name, { optional: true }])));
  });
});

test("the reader of import lines sees every form, and distinguishes types from values", () => {
  const source = `
    /** import { no } from "comment"; */
import a from "a";
import { b, type B } from "b";
import type { C } from "c";
import { type D } from "d";
import * as e from "e";
import "f";
import {
  g,
  h,
} from "g";
export * from "i";
export * as j from "j";
export type { K } from "k";
export { l } from "l";
// import m from "m";
const n = await import("n");
export const o = "o";
export function p(from: string) { return "p"; }
`;
  const seen = importsOf(source).map((i) => (i.typeOnly ? `${i.from} (type)` : i.from));
  expect(seen).toEqual(["a", "b", "c (type)", "d", "e", "f", "g", "i", "j", "k (type)", "l", "n"]);
});

function isNode(specifier: string): boolean {
  return specifier.startsWith("node:");
}

function headerOf(file: string): string {
  return /^\/\*\*[\s\S]*?\*\//.exec(sources.get(file) as string)?.[0] ?? "";
}
