/**
 * The steps of a release up to the tag. Publishing is CI's, from the tag, so that npm can show where the package was
 * built. Needs a build: `npm run release` makes one.
 *
 *   npm run release -- 0.2.0          checks, writes the version and the date, commits, tags
 *   npm run release -- --dry-run      checks, as CI does it, and changes nothing
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const LIST = "test/package.files.txt";
const VERSION = /^(\d+)\.(\d+)\.(\d+)$/;

const args = process.argv.slice(2);
const dry = args.includes("--dry-run");
const [version, ...more] = args.filter((arg) => arg !== "--dry-run");

try {
  release();
} catch (error) {
  console.error(`no release: ${error.message}`);
  process.exitCode = 1;
}

function release() {
  const manifest = JSON.parse(read("package.json"));
  if (more.length > 0 || (version === undefined && !dry)) throw new Error("give one version, for example 0.2.0");
  if (version !== undefined && !isAfter(version, manifest.version)) {
    throw new Error(`want a version x.y.z after ${manifest.version}, got ${version}`);
  }
  step("the changelog says what is new", unreleased);
  step("the files of the package are those of the list", comparePacked);
  if (dry) return console.log("dry run: nothing was changed");

  step("nothing is left to commit", () => {
    if (run("git", "status", "--porcelain") !== "") throw new Error("commit or remove what git status shows");
  });
  run("npm", "version", version, "--no-git-tag-version", "--ignore-scripts");
  run("npm", "run", "--silent", "manifest");
  const date = new Date().toISOString().slice(0, 10);
  const changelog = read("CHANGELOG.md").replace("## Unreleased\n", `## Unreleased\n\n## ${version} - ${date}\n`);
  writeFileSync("CHANGELOG.md", changelog);
  run("git", "commit", "--quiet", "--all", "--message", `release: ${version}`);
  run("git", "tag", "--annotate", `v${version}`, "--message", version);
  console.log(`tagged v${version}. Now: git push --follow-tags. CI publishes the tag by: npm publish`);
}

function step(what, check) {
  check();
  console.log(`ok  ${what}`);
}

function isAfter(version, current) {
  const [next, last] = [VERSION.exec(version), VERSION.exec(current)];
  if (next === null || last === null) return false;
  for (let i = 1; i <= 3; i++) if (next[i] !== last[i]) return Number(next[i]) > Number(last[i]);
  return false;
}

/** The part of the changelog on what was not released yet. */
function unreleased() {
  const part = /^## Unreleased\n([\s\S]*?)(?=^## |$(?![\s\S]))/m.exec(read("CHANGELOG.md"))?.[1] ?? "";
  if (!/^- /m.test(part)) throw new Error("CHANGELOG.md lists nothing under ## Unreleased");
}

function comparePacked() {
  const [{ files }] = JSON.parse(run("npm", "pack", "--dry-run", "--json", "--ignore-scripts"));
  const packed = files.map(({ path }) => path).sort();
  const listed = read(LIST).trim().split("\n");
  const added = packed.filter((path) => !listed.includes(path));
  const gone = listed.filter((path) => !packed.includes(path));
  if (added.length + gone.length === 0) return;
  const lines = [...added.map((path) => `+ ${path}`), ...gone.map((path) => `- ${path}`)];
  throw new Error(`the package differs from ${LIST}, which \`npm run api\` writes:\n${lines.join("\n")}`);
}

function read(file) {
  return readFileSync(file, "utf8");
}

function run(command, ...args) {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
