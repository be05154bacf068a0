/**
 * Processes of node beside the test: the package as a consumer installs it, bundles of it, and programs run to their
 * end.
 */
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type OutputOptions, rolldown } from "rolldown";
import { ROOT } from "./examples.ts";

export interface Ended {
  /** The exit code; null for a process that did not end by itself and was killed. */
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

// Far beyond what any of these programs needs. One that still runs then would not end.
const HUNG = 30_000;

/** Runs node to its end, or kills it if it hangs. */
export function node(cwd: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, args, { cwd, timeout: HUNG, killSignal: "SIGKILL" });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  return new Promise((resolve) => {
    child.on("close", (status) => resolve({ status, out, err }));
  });
}

/** Runs node to its end, and reads what it prints as JSON. Throws for a process that fails or hangs. */
export async function answer<T>(cwd: string, ...args: string[]): Promise<T> {
  const { status, out, err } = await node(cwd, ...args);
  if (status !== 0) throw new Error(`node ${args.join(" ")} ended with ${status}\n${out}${err}`);
  return JSON.parse(out) as T;
}

/** A folder for the programs of one test file, with the package installed. */
export interface Project {
  readonly path: string;
  /** Writes a file, and returns its path. */
  write(name: string, text: string): string;
  remove(): void;
}

/** Makes a project. `name` becomes part of its path, so that a test can use unusual characters in it. */
export function project(name = ""): Project {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "gopark-")));
  const path = join(folder, name);
  install(path);
  return {
    path,
    write: (file, text) => write(join(path, file), text),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/**
 * Copies the published files into the node_modules of a folder. A link would lead back to the files in the repository.
 */
export function install(folder: string): void {
  const place = join(folder, "node_modules/gopark");
  mkdirSync(place, { recursive: true });
  const { files } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { files: string[] };
  // What begins with "!" is left out: what the examples have installed.
  const published = (path: string) => !/[/\\](node_modules|\.build)$/.test(path.slice(ROOT.length));
  for (const part of ["package.json", ...files.filter((it) => !it.startsWith("!"))]) {
    cpSync(join(ROOT, part), join(place, part), { recursive: true, filter: published });
  }
}

function write(path: string, text: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

/** How a bundle is written: one file, except that `cjs-files` has a CommonJS file for each module. */
export type Format = "cjs" | "cjs-files" | "iife" | "esm";

/**
 * Bundles a module and all it imports into `file`. An IIFE is called `gopark`.
 * `minify`: "names stay" for a minified bundle whose functions have the names that a test looks for.
 */
export async function bundle(
  entry: string,
  file: string,
  format: Format,
  minify: boolean | "names stay" = false,
): Promise<string> {
  const built = await rolldown({ input: entry, platform: "neutral", logLevel: "silent" });
  const output: OutputOptions = {
    minify: minify === "names stay" ? { compress: true, mangle: false, codegen: true } : minify,
    name: "gopark",
    exports: "named",
  };
  if (format === "cjs-files") {
    const names = { entryFileNames: "[name].cjs", preserveModules: true };
    await built.write({ ...output, ...names, format: "cjs", dir: dirname(file) });
  } else {
    await built.write({ ...output, format, file });
  }
  await built.close();
  return file;
}
