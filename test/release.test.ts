/** The steps of a release, in a small package of their own, and the dry run in this one. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "gopark-release-"));
  const manifest = { name: "small", version: "0.1.9", files: ["index.js"], scripts: { manifest: "echo > made.txt" } };
  write("package.json", JSON.stringify(manifest));
  write("index.js", "");
  write("made.txt", "");
  write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n- Something new.\n\n## 0.1.9 - 2026-01-01\n\n- Old.\n");
  mkdirSync(join(folder, "test"));
  write("test/package.files.txt", "index.js\npackage.json\n");
  git("init", "--quiet");
  git("config", "user.name", "A Tester");
  git("config", "user.email", "tester@example.com");
  commit();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
const read = (name: string) => readFileSync(join(folder, name), "utf8");
const git = (...args: string[]) => execFileSync("git", args, { cwd: folder, encoding: "utf8" });

function commit(): void {
  git("add", "--all");
  git("commit", "--quiet", "--message", "all");
}

function release(cwd: string, ...args: string[]): { status: number | null; said: string } {
  const script = join(ROOT, "scripts/release.mjs");
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { cwd, encoding: "utf8" });
  return { status, said: `${stdout}${stderr}`.trim() };
}

test("a release writes the version and the changelog, commits and tags", () => {
  const { status, said } = release(folder, "0.1.10");
  expect(said).toContain("tagged v0.1.10");
  expect(status).toBe(0);
  expect(JSON.parse(read("package.json")).version).toBe("0.1.10");
  expect(read("CHANGELOG.md")).toMatch(
    /^# Changelog\n\n## Unreleased\n\n## 0\.1\.10 - \d{4}-\d\d-\d\d\n\n- Something new\.\n\n## 0\.1\.9 /,
  );
  expect(read("made.txt")).toBe("\n"); // By `npm run manifest`.
  expect(git("status", "--porcelain")).toBe("");
  expect(git("log", "-1", "--format=%s %D").trim()).toMatch(/^release: 0\.1\.10 .*tag: v0\.1\.10/);
});

test.each<[string, string[], () => void, string]>([
  ["without a version", [], () => {}, "give one version, for example 0.2.0"],
  ["with two", ["0.2.0", "0.3.0"], () => {}, "give one version, for example 0.2.0"],
  ["with the same version", ["0.1.9"], () => {}, "want a version x.y.z after 0.1.9, got 0.1.9"],
  ["with an older one", ["0.1.10"], () => edit("0.1.9", "0.2.0"), "want a version x.y.z after 0.2.0, got 0.1.10"],
  ["with what is no version", ["v0.2"], () => {}, "want a version x.y.z after 0.1.9, got v0.2"],
  [
    "with nothing new",
    ["0.2.0"],
    () => write("CHANGELOG.md", "## Unreleased\n\n## 0.1.9\n\n- Old.\n"),
    "lists nothing",
  ],
  ["with a file that is not listed", ["0.2.0"], () => edit("index.js", "*.txt"), "+ made.txt"],
  ["with a listed file that is gone", ["0.2.0"], () => rmSync(join(folder, "index.js")), "- index.js"],
  ["with something to commit", ["0.2.0"], () => write("more.js", ""), "commit or remove what git status shows"],
])("no release %s, and nothing changes", (name, args, prepare, message) => {
  prepare();
  if (name !== "with something to commit") commitIfNeeded();
  const before = git("rev-parse", "HEAD");
  const { status, said } = release(folder, ...args);
  expect(said).toContain(`no release: `);
  expect(said).toContain(message);
  expect(status).toBe(1);
  expect([git("rev-parse", "HEAD"), git("tag"), git("diff", "HEAD")]).toEqual([before, "", ""]);
});

function edit(from: string, to: string): void {
  write("package.json", read("package.json").replace(from, to));
}

function commitIfNeeded(): void {
  if (git("status", "--porcelain") !== "") commit();
}

test("the dry run changes nothing, and passes here", () => {
  const before = git("rev-parse", "HEAD");
  expect(release(folder, "--dry-run")).toEqual({ status: 0, said: expect.stringContaining("nothing was changed") });
  expect([git("rev-parse", "HEAD"), git("status", "--porcelain")]).toEqual([before, ""]);
  expect(release(ROOT, "--dry-run")).toEqual({ status: 0, said: expect.stringContaining("nothing was changed") });
}, 60_000);
