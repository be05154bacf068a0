/**
 * Builds `dist` from `src`:
 *
 *   dist/*.js         for bundlers: one file per module, so that they take what a program uses; types beside them
 *   dist/node/*.js    for Node and other hosts: one file with the core, and a stub per module, so that few are read
 *   dist/cjs/*.cjs    the same as CommonJS, for hosts that cannot `require` an ES module; types beside them
 *
 * The core is what the root of the package exports and all that it needs. It is in one file of each of the two folders,
 * and every other file there takes it from that one, so that a process has one core whatever it imports.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { ESM_ONLY, modules } from "./manifest.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

/** The file with the core, beside the stubs. src/internal/track/stack.ts looks for the name in stacks. */
const CORE = "gopark-core";

// What turns recording on imports it. In a file of its own it would be one more to read.
const RECORDS = join(dist, "internal/track/records.js");

/** Reads what was compiled together with its map, so that the maps of the bundles lead to `src`. */
const mapped = {
  name: "mapped",
  load(id) {
    const map = JSON.parse(readFileSync(`${id}.map`, "utf8"));
    const sources = map.sources.map((source) => join(dirname(id), source));
    return { code: readFileSync(id, "utf8"), map: { ...map, sources } };
  },
};

rmSync(dist, { recursive: true, force: true });
compile();
const declarations = filesOf(dist, ".d.ts");
for (const name of declarations) writeDeclarations(name);
await bundle("es", join(dist, "node"), "js", modules());
await bundle(
  "cjs",
  join(dist, "cjs"),
  "cjs",
  modules().filter((name) => !ESM_ONLY.includes(name)),
);

function compile() {
  const args = [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json", "--pretty", "false"];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(1);
}

/** The files below a folder whose names end so, as paths from it, sorted. */
function filesOf(folder, ending) {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .sort();
}

/**
 * Declarations name the files that they import by the extensions of the sources. Here they get those of what was built;
 * and a copy for CommonJS is written, as the extension says which kind of module a declaration describes.
 */
function writeDeclarations(name) {
  const path = join(dist, name);
  const text = readFileSync(path, "utf8");
  const importing = /((?:\bfrom|\bimport)\s*\(?\s*)"(\.{1,2}\/[^"]*)\.ts"/g;
  writeFileSync(path, text.replaceAll(importing, '$1"$2.js"'));

  const stem = name.slice(0, -".d.ts".length);
  if (ESM_ONLY.includes(stem)) return;
  const copy = join(dist, "cjs", `${stem}.d.cts`);
  mkdirSync(dirname(copy), { recursive: true });
  const map = `${stem.split("/").at(-1)}.d.cts.map`;
  const commonjs = text.replaceAll(importing, '$1"$2.cjs"').replace(/(sourceMappingURL=).*/, `$1${map}`);
  writeFileSync(copy, commonjs);
  const { sources, ...rest } = JSON.parse(readFileSync(`${path}.map`, "utf8"));
  const moved = sources.map((source) => relative(dirname(copy), join(dirname(path), source)));
  writeFileSync(`${copy}.map`, JSON.stringify({ ...rest, file: `${stem.split("/").at(-1)}.d.cts`, sources: moved }));
}

async function bundle(format, folder, extension, names) {
  const input = Object.fromEntries(names.map((name) => [name, join(dist, `${name}.js`)]));
  const built = await rolldown({
    input,
    platform: "neutral",
    external: /^(node:|vitest$)/,
    onLog: (level, log) => {
      if (level === "warn") throw new Error(log.message);
    },
    plugins: [mapped],
  });
  const { output } = await built.write({
    format,
    dir: folder,
    entryFileNames: `[name].${extension}`,
    chunkFileNames: ({ name }) => (name === CORE ? `${CORE}.${extension}` : `shared/[name].${extension}`),
    exports: "named",
    sourcemap: true,
    comments: { legal: false, jsdoc: false, annotation: true },
    minifyInternalExports: false,
    keepNames: true,
    // The root, and with it all that it imports, directly or not; and the records, which it does not import.
    codeSplitting: {
      groups: [
        { name: CORE, test: (id) => id === input.index || id === RECORDS, includeDependenciesRecursively: true },
      ],
    },
  });
  await built.close();
  for (const { type, fileName, map } of output) {
    if (type !== "chunk") continue;
    // The sources are in the package: their text need not be in the maps as well.
    const slim = { ...map, sourcesContent: undefined };
    if (map !== null) writeFileSync(join(folder, `${fileName}.map`), JSON.stringify(slim));
  }
}
