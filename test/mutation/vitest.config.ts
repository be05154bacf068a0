/**
 * The tests that Stryker runs, on its copy of the repository, where src holds every mutant at once behind switches.
 *
 * The switch is in the worker's memory, so a mutant is active in this process only. `dist` is the build of the source
 * as it is: a test that runs a child process passes, and says nothing about a mutant.
 */
import { existsSync, readdirSync } from "node:fs";
import base from "../../vitest.config.ts";
import { Runs } from "./runs.ts";

/** The files of tests that are left out, and why. A file with one such test among others may stay in. */
const LEFT_OUT: Record<string, string> = {
  "bench.test.ts": "tests the benchmark; the copy has no bench",
  "bundles.test.ts": "bundles the package, and runs that in child processes",
  "copies.test.ts": "runs two copies of the package",
  "deadlines.process.test.ts": "all in child processes",
  "deadlock.process.test.ts": "all in child processes",
  "docs.test.ts": "reads the text of src",
  "examples.test.ts": "reads the text of src, and runs the examples in child processes",
  "faults.test.ts": "runs the examples of faults in child processes",
  "foreign.process.test.ts": "all in child processes",
  "hosts.test.ts": "all in child processes",
  "imports.test.ts": "reads the text of src",
  "leak.planted.test.ts": "all in child processes",
  "leak.vitest.test.ts": "all in child processes",
  "leak.stacks.host.test.ts": "all in child processes",
  "lines.test.ts": "reads the text of src",
  "memory.test.ts": "measures the heap, which the switches of the mutants fill",
  "mutate.test.ts": "tests the judgement of mutants, nothing of src",
  "package.test.ts": "reads the text of src and of dist",
  "pprof.bundles.test.ts": "bundles the package, and runs that in child processes",
  "pprof.go.test.ts": "all in child processes",
  "process.test.ts": "all in child processes",
  "programs.test.ts":
    "runs docs/examples, whole programs of several modules: slow, and the modules' own tests say more",
  "storm.test.ts": "a hundred thousand operations a mutant: slow, and what it finds must have a test of its own",
  "surge.test.ts": "tests the surge replay; the copy has no bench",
  "synctest.hosts.test.ts": "all in child processes",
  "turn.fairness.test.ts": "hundreds of milliseconds of work a test, beside the machine's clock",
};

for (const file of Object.keys(LEFT_OUT)) {
  if (!existsSync(`test/${file}`))
    throw new Error(`test/mutation/vitest.config.ts leaves out test/${file}: no such file`);
}

// The names of --tests: of folders, or of files up to a dot: `context` is all of the module's, `context.test` one file.
// Without it, all tests.
const { TESTS = "" } = process.env;
const wanted = TESTS === "" ? [] : TESTS.split(",");
const all = readdirSync("test", { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".test.ts"));
for (const name of wanted) {
  if (!all.some((file) => file === `${name}.ts` || file.startsWith(`${name}.`) || file.startsWith(`${name}/`)))
    throw new Error(`--tests: no test called ${name}`);
}
const include =
  wanted.length === 0
    ? ["test/**/*.test.ts"]
    : wanted.flatMap((name) => ["", ".test", ".*.test", "/**/*.test"].map((rest) => `test/${name}${rest}.ts`));

export default {
  // Not in node_modules, which is a link to the repository's own.
  cacheDir: ".build/vite",
  resolve: base.resolve,
  ssr: base.ssr,
  test: {
    include,
    exclude: [
      "**/node_modules/**",
      "test/observe/**",
      "test/runtimes/**",
      ...Object.keys(LEFT_OUT).map((file) => `test/${file}`),
    ],
    setupFiles: ["test/mutation/setup.ts", "test/support/mapstacks.ts", "test/setup.ts"],
    sequence: { sequencer: Runs },
    // Stryker's runner allows no other.
    pool: "threads",
  },
};
