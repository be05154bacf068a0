/** The test files that do not run in other runtimes, and why. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../support/examples.ts";

const CHILDREN = "programs in child processes of Node";
const TEXT = "reads the repository's files, the same everywhere";
const BUNDLE = "bundles the package";
const LOADS = "loads modules anew, by means of vitest";

/** In no other runtime. */
export const EVERYWHERE: Record<string, string> = {
  "bench.test.ts": "tests the benchmark",
  "bundles.test.ts": BUNDLE,
  "copies.test.ts": BUNDLE,
  "deadlines.process.test.ts": CHILDREN,
  "deadlock.process.test.ts": CHILDREN,
  "docs.test.ts": TEXT,
  "errors.place.test.ts": CHILDREN,
  "examples.test.ts": TEXT,
  "fakeclocks.loading.test.ts": LOADS,
  "faults.test.ts": CHILDREN,
  "foreign.process.test.ts": CHILDREN,
  "hash.test.ts": LOADS,
  "hosts.test.ts": CHILDREN,
  "imports.test.ts": TEXT,
  "leak.planted.test.ts": CHILDREN,
  "leak.stacks.host.test.ts": CHILDREN,
  "leak.vitest.test.ts": CHILDREN,
  "lines.test.ts": TEXT,
  "mutate.test.ts": "tests the judgement of mutants",
  "package.test.ts": TEXT,
  "pprof.bundles.test.ts": BUNDLE,
  "pprof.go.test.ts": "needs Go's tool, which reads what Node's version writes",
  "process.test.ts": CHILDREN,
  "programs.test.ts": LOADS,
  "surge.test.ts": "tests the surge replay",
  "synctest.hosts.test.ts": CHILDREN,
};

/** Folders with tests of their own. */
const OTHERS = /^(http|mutation|observe|runtimes)\//;

/** All test files that other runtimes run, named from `test/`. */
export function testFiles(): string[] {
  const all = readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".test.ts") && !OTHERS.test(file));
  const gone = Object.keys(EVERYWHERE).filter((file) => !all.includes(file));
  if (gone.length > 0) throw new Error(`left out, and not there: ${gone.join(", ")}`);
  return all.filter((file) => !(file in EVERYWHERE)).sort();
}

/** Whole files that one runtime does not run. */
const NOT_RUN: Record<string, Record<string, string>> = {};

/** Whether a runtime leaves out a file, which imports these of Node's modules. */
export function isLeftOut(host: string, file: string, modules: readonly string[]): boolean {
  // A page has none of them.
  return (host === "Chromium" && modules.length > 0) || NOT_RUN[host]?.[file] !== undefined;
}

/** The tests that a runtime does not pass, by the beginnings of their names, and why. */
export const FAILS: Record<string, Record<string, Record<string, string>>> = {};
