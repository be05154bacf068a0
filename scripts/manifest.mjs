/**
 * What the manifests say of the modules, made from the files in `src`: `exports`, `typesVersions`, `sideEffects` and
 * more in package.json, and all of jsr.json. `npm run manifest` writes them, `--check` compares.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** These act by being imported. */
const ACTING = ["deadlock", "leak/vitest"];

/** These have no CommonJS build: vitest itself cannot be required. */
export const ESM_ONLY = ["leak/vitest"];

/** The modules that can be imported, by their files in `src` without extension; "index" is the root. */
export function modules() {
  return readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.startsWith("internal"))
    .map((name) => name.slice(0, -".ts".length).replaceAll("\\", "/"))
    .sort((a, b) => (a === "index" ? -1 : b === "index" ? 1 : a < b ? -1 : 1));
}

const subpath = (module) => (module === "index" ? "." : `./${module}`);

/**
 * The first condition that matches wins:
 *
 * - `module` and `browser` are for bundlers. Jest with jsdom sets `browser`, too, and requires.
 * - `module-sync` is set by the versions of Node that can `require` an ES module. There `import` and `require` get the
 *   same one, and so the same core.
 * - `require` is left for older versions of Node, and for Jest.
 */
function conditions(module) {
  const [files, node] = [`./dist/${module}.js`, `./dist/node/${module}.js`];
  if (ESM_ONLY.includes(module)) {
    return { types: `./dist/${module}.d.ts`, module: files, browser: files, default: node };
  }
  const commonjs = `./dist/cjs/${module}.cjs`;
  return {
    types: { require: `./dist/cjs/${module}.d.cts`, default: `./dist/${module}.d.ts` },
    module: files,
    browser: { "module-sync": files, require: commonjs, default: files },
    "module-sync": node,
    require: commonjs,
    default: node,
  };
}

/** For `moduleResolution: node`, which knows no `exports`. */
function typesOf(module) {
  return ESM_ONLY.includes(module) ? `./dist/${module}.d.ts` : `./dist/cjs/${module}.d.cts`;
}

/** package.json with what is made here put in, in its place. */
export function manifest(current) {
  const names = modules();
  const built = names.flatMap((module) => (ACTING.includes(module) ? Object.values(flat(conditions(module))) : []));
  return {
    ...current,
    sideEffects: [
      ...new Set(built.filter((file) => !/\.d\.c?ts$/.test(file))),
      ...ACTING.map((module) => `./src/${module}.ts`),
    ],
    main: "./dist/cjs/index.cjs",
    module: "./dist/index.js",
    types: typesOf("index"),
    typesVersions: {
      "*": Object.fromEntries(names.slice(1).map((module) => [module, [typesOf(module)]])),
    },
    exports: {
      ...Object.fromEntries(names.map((module) => [subpath(module), conditions(module)])),
      "./package.json": "./package.json",
    },
  };
}

/** The targets of nested conditions. */
function flat(target) {
  return typeof target === "string" ? [target] : Object.values(target).flatMap(flat);
}

/** jsr.json, for the registry that takes the sources. */
export function jsr({ version, license, peerDependencies }) {
  return {
    name: "@gopark/gopark",
    version,
    license,
    exports: Object.fromEntries(modules().map((module) => [subpath(module), `./src/${module}.ts`])),
    imports: Object.fromEntries(
      Object.entries(peerDependencies).map(([name, range]) => [name, `npm:${name}@${range}`]),
    ),
    publish: { include: ["src", "docs", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md"] },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const made = manifest(read("package.json"));
  for (const [name, value] of [
    ["package.json", made],
    ["jsr.json", jsr(made)],
  ]) {
    const text = JSON.stringify(value, null, 2);
    // Of conditions the first that matches wins: the order counts.
    if (text === JSON.stringify(read(name), null, 2)) continue;
    if (process.argv[2] === "--check") {
      console.error(`${name} is not as src says: npm run manifest`);
      process.exitCode = 1;
    } else {
      writeFileSync(join(root, name), `${text}\n`);
    }
  }
}

function read(name) {
  const path = join(root, name);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
}
