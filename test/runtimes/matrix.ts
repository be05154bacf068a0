/**
 * The library's own tests in each runtime, each file in a process or page of its own.
 *
 *   npm run runtimes                      all
 *   npm run runtimes -- Bun channel       in Bun, the files with "channel" in their names
 *
 * A file that a runtime does not run, and a test that it does not pass, is listed in leftout.ts with the reason. If
 * their number changes, that is a failure here, so the list stays true. Exits with 1 if anything else fails.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ROOT } from "../support/examples.ts";
import { build, type Program } from "./bundles.ts";
import { closePages, hosts, missing } from "./hosts.ts";
import { FAILS, isLeftOut, testFiles } from "./leftout.ts";
import type { Outcome } from "./standin/run.ts";

const FOLDERS = { page: join(ROOT, ".build/runtimes/page"), host: join(ROOT, ".build/runtimes/host") };

interface Count {
  files: number;
  passed: number;
  skipped: number;
  /** Tests that fail as listed. */
  failing: number;
  /** Files that are left out. */
  left: number;
  wrong: number;
}

const args = process.argv.slice(2);
// Not the one that runs this, which is one of the others.
const names = Object.keys(hosts).slice(1);
const isHost = (arg: string) => names.some((host) => host.startsWith(arg));
const parts = args.filter((arg) => !isHost(arg));
const files = testFiles(parts);
const chosen = names.filter(
  (host) => !(host in missing) && (!args.some(isHost) || args.some((arg) => isHost(arg) && host.startsWith(arg))),
);
if (files.length === 0) throw new Error(`no test file with ${parts.join(" or ")} in its name`);

const built = {
  page: await build(files, FOLDERS.page, true),
  host: await build(files, FOLDERS.host, false),
};

const counts = new Map<string, Count>();
const began = Date.now();

async function outcomeOf(host: string, { path }: Program, folder: string): Promise<Outcome> {
  try {
    const out = await (hosts[host] as (typeof hosts)[string])(folder, path.slice(folder.length + 1));
    return JSON.parse(out.trimEnd().split("\n").at(-1) ?? "") as Outcome;
  } catch (error) {
    return { passed: 0, skipped: 0, failed: [{ test: "the file", error: String(error) }] };
  }
}

async function check(host: string, file: string): Promise<void> {
  const kind = host === "Chromium" ? "page" : "host";
  const count = counts.get(host) as Count;
  const program = built[kind].get(file) as Program;
  if (isLeftOut(host, file, program.modules)) {
    count.left++;
    return;
  }
  const { passed, skipped, failed } = await outcomeOf(host, program, FOLDERS[kind]);
  const listed = Object.entries(FAILS[host]?.[file] ?? {});
  const unexpected = failed.filter(({ test }) => !listed.some(([name]) => test.startsWith(name)));
  const tests = [...new Set(failed.map(({ test }) => test))];
  count.files++;
  count.passed += passed;
  count.skipped += skipped;
  count.wrong += unexpected.length;
  for (const { test, error } of unexpected) {
    console.log(`FAILED  ${host}, ${file}: ${test}: ${error.slice(0, 300).split("\n")[0]}`);
  }
  for (const [name, [n, why]] of listed) {
    const failing = tests.filter((test) => test.startsWith(name)).length;
    count.failing += failing;
    if (failing === n) continue;
    count.wrong++;
    console.log(`FAILED  ${host}, ${file}: ${failing} tests fail and not ${n} (${why}): ${name}`);
  }
}

const jobs = chosen.flatMap((host) => files.map((file) => ({ host, file })));
let ended = 0;

async function worker(): Promise<void> {
  for (let job = jobs[ended]; job !== undefined; job = jobs[ended]) {
    ended++;
    if (ended % 50 === 0) {
      const seconds = Math.round((Date.now() - began) / 1000);
      console.log(`${job.host}: ${ended} of ${jobs.length} files, ${seconds} s`);
    }
    await check(job.host, job.file);
  }
}

for (const host of chosen) counts.set(host, { files: 0, passed: 0, skipped: 0, failing: 0, left: 0, wrong: 0 });
await Promise.all(Array.from({ length: availableParallelism() }, worker));
await closePages();

for (const [host, { files, passed, skipped, failing, left, wrong }] of counts) {
  const others = [
    [skipped, "tests skipped"],
    [failing, "tests fail as listed"],
    [left, "files left out as listed"],
    [wrong, "WRONG"],
  ].flatMap(([n, what]) => (n === 0 ? [] : `, ${n} ${what}`));
  console.log(`${host}: ${passed} tests of ${files} files passed${others.join("")}`);
}
for (const [host, from] of Object.entries(missing)) console.log(`LEFT OUT: ${host} (apt-get install ${from})`);
process.exitCode = [...counts.values()].some(({ wrong }) => wrong > 0) ? 1 : 0;
