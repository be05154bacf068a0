/**
 * Puts small faults (mutants) into a file of src, one at a time, and reports those that the tests do not notice.
 *
 *   npm run mutate -- semaphore               src/semaphore.ts
 *   npm run mutate -- semaphore rate          both in one run, which tests the code without a mutant only once
 *   npm run mutate -- internal/data           all files of src/internal/data
 *   npm run mutate -- leak.ts                 src/leak.ts, where src/leak is a folder
 *   npm run mutate -- semaphore:120-160       these lines alone
 *   npm run mutate -- semaphore --tests semaphore,sync,explore
 *                                             with the tests alone whose files are called so: quicker, and the score is
 *                                             at most that of all tests
 *   npm run mutate -- semaphore --survivors   details of the last run, without another
 *   npm run mutate -- --all                   every file of src, a run for each folder, with a summary
 *
 * Uses Stryker, from a package of its own in test/mutation, which the first run installs. Reports and the summary are
 * in .build/mutation. Exits with 1 if the tests kill too few mutants or an entry of survivors.json is stale, and with 2
 * if there is no verdict.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { checkExplanations, details, judge, mutantsOf, summary, words } from "../test/mutation/verdict.mjs";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

const PACKAGE = "test/mutation";
const OUT = ".build/mutation";
const REPORT = `${OUT}/last.json`;
const USAGE =
  "usage: npm run mutate -- MODULE[:FROM-TO]... [--tests NAME,...] [--survivors], or npm run mutate -- --all";

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));

/** What to mutate: files, all or some of their lines, and the paths of their reports. */
function targetsOf(argument) {
  const [, name, extension, lines] = /^(?:src\/)?(.+?)(\.ts)?(?::(\d+-\d+))?$/.exec(argument) ?? [];
  const folder = `src/${name}`;
  if (extension === undefined && existsSync(folder) && statSync(folder).isDirectory()) {
    return sourcesIn(folder).flatMap((file) => targetsOf(file));
  }
  const file = `src/${name}.ts`;
  if (!existsSync(file)) throw new Error(`no file ${file}\n${USAGE}`);
  const report = `${OUT}/${name.replaceAll("/", ".")}${lines === undefined ? "" : `.${lines}`}.json`;
  return [{ file, lines, report }];
}

/** The files of a folder that have something to mutate: index.ts has only re-exports. */
function sourcesIn(folder) {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".ts") && name !== "index.ts")
    .sort()
    .map((name) => `${folder}/${name}`);
}

function run(command, args, cwd = ".", env = {}) {
  const { status, error } = spawnSync(command, args, { cwd, env: { ...process.env, ...env }, stdio: "inherit" });
  if (error !== undefined) throw error;
  return status === 0;
}

/** Installs Stryker unless the version that test/mutation/package.json names is installed. */
function install() {
  const { devDependencies } = readJson(`${PACKAGE}/package.json`);
  const there = Object.entries(devDependencies).every(([name, version]) => {
    const manifest = `${PACKAGE}/node_modules/${name}/package.json`;
    return existsSync(manifest) && readJson(manifest).version === version;
  });
  if (there) return;
  console.log(`installing Stryker in ${PACKAGE}`);
  if (!run("npm", ["ci", "--no-audit", "--no-fund"], PACKAGE)) throw new Error(`cannot install ${PACKAGE}`);
}

function optionsFor(targets) {
  return {
    mutate: targets.map(({ file, lines }) => (lines === undefined ? file : `${file}:${lines}`)),
    testRunner: "vitest",
    plugins: ["@stryker-mutator/vitest-runner"],
    vitest: { configFile: `${PACKAGE}/vitest.config.ts`, related: false },
    coverageAnalysis: "perTest",
    // A mutant that runs while its module is loaded is tested with all tests.
    ignoreStatic: false,
    // More than there are processors: many mutants make a test wait, and die when its time is over.
    concurrency: 3 * availableParallelism(),
    // A runner's memory grows with every run.
    maxTestRunnerReuse: 50,
    // Generous: on a busy machine a slow test must not count as a mutant that hangs.
    timeoutMS: 30_000,
    timeoutFactor: 3,
    dryRunTimeoutMinutes: 30,
    // A file that does not exist: Stryker would rewrite it with the compiler's old API, which TypeScript 7 does not
    // have.
    tsconfigFile: "none",
    disableTypeChecks: false,
    // The copy needs src, test, dist and the manifests. node_modules is linked.
    ignorePatterns: [".build", "bench", "coverage"],
    tempDirName: `${OUT}/sandbox`,
    cleanTempDir: "always",
    allowConsoleColors: false,
    reporters: ["json", "progress-append-only"],
    jsonReporter: { fileName: REPORT },
  };
}

/** Runs Stryker and leaves a report for each target. */
function mutate(targets, tests = "") {
  mkdirSync(OUT, { recursive: true });
  for (const { report } of targets) rmSync(report, { force: true });
  rmSync(REPORT, { force: true });
  // Left by an interrupted run.
  rmSync(`${OUT}/sandbox`, { recursive: true, force: true });
  const config = `${OUT}/stryker.json`;
  writeFileSync(config, JSON.stringify(optionsFor(targets), undefined, 2));
  const began = Date.now();
  const stryker = `${PACKAGE}/node_modules/@stryker-mutator/core/bin/stryker.js`;
  const names = targets.map(({ file }) => file).join(",");
  if (!run(process.execPath, [stryker, "run", config], ".", { MUTATED: names, TESTS: tests }) || !existsSync(REPORT)) {
    throw new Error(`${names}: Stryker failed. Its first run, without a mutant, must pass; see above`);
  }
  const results = readJson(REPORT);
  for (const { file, report } of targets) {
    // A file of types or re-exports alone has no results.
    const files = { [file]: results.files[file] ?? { source: readFileSync(file, "utf8"), mutants: [] } };
    writeFileSync(report, JSON.stringify({ ...results, files }));
  }
  console.log(`${names}: ${Math.ceil((Date.now() - began) / 60_000)} min`);
}

function verdictOf({ file, lines, report }) {
  return judge(file, mutantsOf(readJson(report), file), explanations, lines !== undefined);
}

function all() {
  const folders = new Set(
    readdirSync("src", { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => join("src", dirname(name)).replaceAll("\\", "/")),
  );
  const verdicts = [];
  const broken = [];
  for (const folder of [...folders].sort()) {
    const targets = sourcesIn(folder).flatMap(targetsOf);
    console.log(`\n== ${folder}: ${targets.length} files`);
    try {
      mutate(targets);
      for (const target of targets) {
        verdicts.push(verdictOf(target));
        console.log(words(verdicts.at(-1)));
      }
    } catch (error) {
      broken.push(folder);
      console.error(error.message);
    }
    // After each folder, so that the results so far are kept if the run is interrupted.
    writeFileSync(`${OUT}/summary.md`, summary(verdicts));
  }
  const failed = verdicts.filter((v) => !v.ok).map((v) => v.file);
  console.log(`\n${verdicts.length} files judged, ${failed.length} failed; see ${OUT}/summary.md`);
  if (failed.length > 0) console.log(`failed: ${failed.join(", ")}`);
  if (broken.length > 0) throw new Error(`no verdict: ${broken.join(", ")}`);
  return failed.length === 0;
}

/** Whether every file in survivors.json exists. If a file is moved, its entries must be changed too. */
function allExplainedExist() {
  const lost = [...new Set(explanations.map(({ file }) => file))].filter((file) => !existsSync(file));
  if (lost.length > 0) console.log(`\nFAILED: stale in survivors.json, no such file: ${lost.join(", ")}`);
  return lost.length === 0;
}

let explanations;

function main() {
  const { values, positionals } = parseArgs({
    options: { all: { type: "boolean" }, survivors: { type: "boolean" }, tests: { type: "string" } },
    allowPositionals: true,
  });
  if (values.all ? positionals.length > 0 || values.survivors : positionals.length === 0) throw new Error(USAGE);
  explanations = readJson(join(PACKAGE, "survivors.json"));
  checkExplanations(explanations);
  const targets = positionals.flatMap(targetsOf);
  if (!values.survivors) {
    install();
    // For tests with a child process, which runs dist.
    if (!run("npm", ["run", "--silent", "build"])) throw new Error("the build failed");
    if (values.all) return [all(), allExplainedExist()].every(Boolean);
    mutate(targets, values.tests);
  }
  const verdicts = targets.map((target) => {
    if (!existsSync(target.report)) throw new Error(`no report of ${target.file}: run without --survivors first`);
    const source = readJson(target.report).files[target.file]?.source;
    if (source !== readFileSync(target.file, "utf8")) console.log(`${target.file} has changed since its last run\n`);
    const verdict = verdictOf(target);
    console.log(values.survivors ? details(verdict) : `\n${words(verdict)}`);
    if (values.survivors) console.log(words(verdict));
    return verdict;
  });
  return allExplainedExist() && verdicts.every(({ ok }) => ok);
}

try {
  process.exitCode = main() ? 0 : 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
