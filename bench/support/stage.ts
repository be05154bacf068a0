/**
 * Stages a tree of the library: copies its sources, builds the copy with its own `npm run build`, and puts the compiled
 * rows beside it, so that `gopark` resolves to that copy. The tree itself is only read, and can be edited while its
 * copy is measured.
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

// Of this run alone: another run at the same time must not rebuild what is being measured.
const STAGES = `.build/against/${process.pid}`;
const ROWS = ".build/bench";
/** Not needed to build the library. */
const LEFT_OUT = [".git", ".build", "dist", "node_modules", "coverage", "bench", "test", "docs"];

export function removeStages(): void {
  rmSync(STAGES, { recursive: true, force: true });
}

/** Returns the folder of the compiled rows. Throws if `tree` is not a checkout of gopark, or does not build. */
export function stage(name: string, tree: string): string {
  const manifest = join(tree, "package.json");
  if (!existsSync(manifest) || JSON.parse(readFileSync(manifest, "utf8")).name !== "gopark") {
    throw new Error(`${tree} is not a checkout of gopark`);
  }
  const folder = resolve(STAGES, name);
  const copy = join(folder, "gopark");
  mkdirSync(copy, { recursive: true });
  for (const entry of readdirSync(tree)) {
    if (!LEFT_OUT.includes(entry)) cpSync(join(tree, entry), join(copy, entry), { recursive: true });
  }
  const tools = join(tree, "node_modules");
  symlinkSync(resolve(existsSync(tools) ? tools : "node_modules"), join(copy, "node_modules"), "junction");
  const { status, stdout, stderr } = spawnSync("npm run --silent build", { cwd: copy, shell: true, encoding: "utf8" });
  if (status !== 0) throw new Error(`${tree} does not build:\n${stdout}${stderr}`);

  // A package of another name: in a package named gopark, `gopark` would resolve to the package itself.
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "rows", private: true, type: "module" }));
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(copy, join(folder, "node_modules/gopark"), "junction");
  const rows = join(folder, "bench");
  cpSync(ROWS, rows, { recursive: true });
  return rows;
}
