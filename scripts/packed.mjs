/**
 * Installs the package from its tarball, without a network, into an empty project, and uses it as a consumer does:
 * imports every subpath, and compiles and runs test/consumer with several settings of the compiler.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const tsc = join(root, "node_modules/typescript/bin/tsc");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const strict = { strict: true, skipLibCheck: false, target: "es2022", outDir: "out", rootDir: "." };
const settings = {
  "Node, module nodenext": { ...strict, module: "nodenext", lib: ["es2022"], types: ["node"] },
  "browser, module resolution bundler": {
    ...strict,
    module: "esnext",
    moduleResolution: "bundler",
    lib: ["es2022", "dom"],
    types: [],
  },
  "every strict option": {
    ...strict,
    module: "nodenext",
    lib: ["es2022", "dom"],
    types: [],
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    verbatimModuleSyntax: true,
    isolatedModules: true,
  },
};

const folder = mkdtempSync(join(tmpdir(), "gopark-packed-"));
try {
  run(process.execPath, ["scripts/build.mjs"], root);
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(folder, packed.filename)], folder);
  mkdirSync(join(folder, "node_modules/@types"), { recursive: true });
  for (const types of ["@types/node", "undici-types"]) {
    symlinkSync(join(root, "node_modules", types), join(folder, "node_modules", types), "junction");
  }

  // Imports an optional peer, which is not there. test/leak.vitest.test.ts runs it.
  const needsPeer = ["./leak/vitest"];
  const subpaths = Object.keys(manifest.exports).filter(
    (subpath) => subpath !== "./package.json" && !needsPeer.includes(subpath),
  );
  for (const subpath of subpaths) {
    const specifier = subpath.replace(".", manifest.name);
    const program = `const m = await import(${JSON.stringify(specifier)}); console.log(Object.keys(m).length)`;
    if (Number(node(program)) === 0) throw new Error(`${specifier} exports nothing`);
  }
  console.log(`imported ${subpaths.length} subpaths from the installed tarball`);

  copyFileSync(join(root, "test/consumer/consumer.ts"), join(folder, "consumer.ts"));
  const wanted = /\n\/\/ (\{.*\})\n$/.exec(readFileSync(join(folder, "consumer.ts"), "utf8"))[1];
  for (const [name, compilerOptions] of Object.entries(settings)) {
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
    // Without Node's types, `console` is declared in `dom` only.
    run(process.execPath, [tsc, "-p", folder], folder);
    const printed = run(process.execPath, [join(folder, "out/consumer.js")], folder).trim();
    if (printed !== wanted) throw new Error(`${name}: the consumer printed\n${printed}\nwant\n${wanted}`);
    console.log(`compiled and ran a consumer: ${name}`);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function node(program) {
  return run(process.execPath, ["--input-type=module", "--eval", program], folder);
}

/** Runs a program and returns its output. If it fails, throws an error with its output. */
function run(file, args, cwd) {
  try {
    return execFileSync(file, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    throw new Error(`${[file, ...args].join(" ")}\n${error.stdout}${error.stderr}`);
  }
}
