/** The cost of importing each module: the time of a cold import, and the size of its bundle. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import type { ModuleCost } from "./results.ts";
import { median } from "./stats.ts";

const RUNS = 7;

/** What is used of the bundler. */
interface Rolldown {
  readonly VERSION: string;
  rolldown(options: { input: string }): Promise<{
    generate(options: { format: "esm"; minify: boolean }): Promise<{ output: readonly { code: string }[] }>;
    close(): Promise<void>;
  }>;
}

/** The bundler that comes with vitest: no dependency of its own is needed. */
async function bundler(): Promise<Rolldown> {
  let from = import.meta.url;
  for (const name of ["vitest", "vite", "rolldown"]) from = pathToFileURL(createRequire(from).resolve(name)).href;
  return (await import(from)) as Rolldown;
}

/** The bytes of the module with all its imports, bundled, minified and compressed. */
async function sizeOf({ rolldown }: Rolldown, file: string): Promise<number> {
  const bundle = await rolldown({ input: file });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  await bundle.close();
  return gzipSync(output.map(({ code }) => code).join("")).length;
}

/** The median time of the import in a fresh process. */
function importTime(specifier: string): number {
  const code = `const t = performance.now(); await import(${JSON.stringify(specifier)}); console.log(performance.now() - t)`;
  const once = () => {
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
    return Number(stdout);
  };
  once(); // The file may not be in the system's cache yet.
  return median(Array.from({ length: RUNS }, once));
}

export interface ModuleCosts {
  readonly modules: readonly ModuleCost[];
  readonly bundler: string;
  /** Why there are no sizes, if there are none. */
  readonly noSizes?: string;
}

export async function moduleCosts(): Promise<ModuleCosts> {
  const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as {
    exports: Record<string, string | { default: string }>;
  };
  let rolldown: Rolldown | undefined;
  let noSizes: string | undefined;
  try {
    rolldown = await bundler();
  } catch (error) {
    noSizes = `no bundler: ${error}`;
  }
  // The loader's own time, which all others include.
  const modules: ModuleCost[] = [{ name: "(an empty module)", importMs: importTime("data:text/javascript,") }];
  for (const [path, target] of Object.entries(exports)) {
    if (typeof target === "string") continue;
    const gzip = rolldown === undefined ? undefined : await sizeOf(rolldown, target.default);
    const name = path.replace(/^\./, "gopark");
    modules.push({ name, importMs: importTime(name), ...(gzip === undefined ? {} : { gzip }) });
  }
  return { modules, bundler: rolldown?.VERSION ?? "", ...(noSizes === undefined ? {} : { noSizes }) };
}
