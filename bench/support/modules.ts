/** The cost of importing each module: the time of a cold import, and the size of its bundle. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { rolldown, VERSION } from "rolldown";
import type { ModuleCost } from "./results.ts";
import { median } from "./stats.ts";

const RUNS = 7;

/** The bytes of the module with all its imports, bundled, minified and compressed. */
async function sizeOf(file: string): Promise<number> {
  const bundle = await rolldown({ input: file });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  await bundle.close();
  return gzipSync(output.map((file) => (file.type === "chunk" ? file.code : "")).join("")).length;
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
  /** The version of the bundler; empty if nothing was bundled. */
  readonly bundler: string;
}

export async function moduleCosts(): Promise<ModuleCosts> {
  const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as {
    exports: Record<string, string | { module: string }>;
  };
  // The loader's own time, which all others include.
  const modules: ModuleCost[] = [{ name: "(an empty module)", importMs: importTime("data:text/javascript,") }];
  for (const [path, target] of Object.entries(exports)) {
    if (typeof target === "string") continue;
    const name = path.replace(/^\./, "gopark");
    modules.push({ name, importMs: importTime(name), gzip: await sizeOf(target.module) });
  }
  return { modules, bundler: VERSION };
}
