/**
 * Where a leak was made, as full tracking records it: the stack begins with the user's own frame, whatever the entry
 * point, the host's settings, and the files of library and user.
 */
import { rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";
import { answer, bundle, type Project, project } from "./support/hosts.ts";
import { firstFrame, KINDS, PROGRAM, type Report, WRAPPED, whole, wrong } from "./support/stacks.ts";

// All that a path may hold which looks different in a URL, in a regular expression, or like the place in a frame.
const ODD = "Ordner für (1) a+b [x] 100%25 Übung:2:3 (2)";

let home: Project;
let odd: Project;
let linked: Project;

beforeAll(() => {
  home = project();
  odd = project(ODD);
  linked = project();
  // As `npm link` does it.
  rmSync(join(linked.path, "node_modules/gopark"), { recursive: true });
  symlinkSync(ROOT, join(linked.path, "node_modules/gopark"));
  for (const { write } of [home, odd, linked]) {
    write("user.mjs", PROGRAM);
    write("wrapped.mjs", WRAPPED);
    write("required.cjs", WRAPPED.replaceAll(/^import (.*) from "gopark";$/gm, 'const $1 = require("gopark");'));
    write("without.mjs", "delete Error.captureStackTrace;");
    write("sites.mjs", "Error.prepareStackTrace = (_, sites) => sites;");
  }
});
afterAll(() => {
  home.remove();
  odd.remove();
  linked.remove();
});

const WITHOUT = ["--import", "./without.mjs"];
const SITES = ["--import", "./sites.mjs"];

// Several tests look at one run.
const runs = new Map<string, Promise<Report>>();

/** Runs a program of the project, once. */
function runOnce(where: Project, args: readonly string[]): Promise<Report> {
  const key = JSON.stringify([where.path, args]);
  const report = runs.get(key) ?? answer<Report>(where.path, ...args);
  runs.set(key, report);
  return report;
}

/** Runs the program unchanged. */
function run(where: Project, flags: readonly string[] = [], ...args: string[]): Promise<Report> {
  return runOnce(where, [...flags, "user.mjs", ...args]);
}

/** Runs the program as CommonJS, on the library's build for a host that requires no ES module. */
function runRequired(where: Project, flags: readonly string[] = []): Promise<Report> {
  return runOnce(where, ["--no-experimental-require-module", ...flags, "required.cjs"]);
}

/** Runs the program and the library from one file. */
async function runBundle(where: Project, format: "cjs" | "esm", flags: readonly string[] = [], ...args: string[]) {
  const file = format === "cjs" ? "bundle.cjs" : "bundle.mjs";
  await bundle(join(where.path, "wrapped.mjs"), join(where.path, file), format);
  return runOnce(where, [...flags, file, ...args]);
}

/** Runs the program and the library from one minified file. */
async function runMinified(where: Project, format: "cjs" | "esm", flags: readonly string[] = [], ...args: string[]) {
  const file = format === "cjs" ? "small.cjs" : "small.mjs";
  await bundle(join(where.path, "wrapped.mjs"), join(where.path, file), format, "names stay");
  return runOnce(where, [...flags, file, ...args]);
}

describe("the stack begins with the user's frame", () => {
  test.each<[string, () => Promise<Report>]>([
    ["in the installed package", () => run(home)],
    ["where source maps name the library's frames otherwise", () => run(home, ["--enable-source-maps"])],
    ["where a stack has five frames", () => run(home, [], "5")],
    ["where a stack has one frame", () => run(home, [], "1")],
    ["where the host started with stacks of five frames", () => run(home, ["--stack-trace-limit=5"])],
    ["where the host cannot cut stacks", () => run(home, WITHOUT)],
    ["where the host cannot cut stacks, with source maps", () => run(home, [...WITHOUT, "--enable-source-maps"])],
    ["where a stack is an array of call sites", () => run(home, SITES)],
    ["in the installed package, required", () => runRequired(home)],
    ["required, with source maps", () => runRequired(home, ["--enable-source-maps"])],
    ["required, where the host cannot cut stacks", () => runRequired(home, WITHOUT)],
    ["required, in a folder with an odd name", () => runRequired(odd)],
    ["in a folder with an odd name", () => run(odd)],
    ["in a folder with an odd name, where the host cannot cut stacks", () => run(odd, WITHOUT)],
    ["in a folder with an odd name, with source maps", () => run(odd, ["--enable-source-maps"])],
    ["in a package that is a link", () => run(linked)],
    ["in a package that is a link and stays one", () => run(linked, ["--preserve-symlinks"])],
    ["in one file of ESM with the library", () => runBundle(home, "esm")],
    ["in one file of CommonJS with the library", () => runBundle(home, "cjs")],
    ["in one minified file of ESM with the library", () => runMinified(home, "esm")],
    ["in one minified file of CommonJS with the library", () => runMinified(home, "cjs")],
    ["in one minified file with the library, where a stack has one frame", () => runMinified(home, "cjs", [], "1")],
    ["in one file with the library, where a stack has one frame", () => runBundle(home, "cjs", [], "1")],
    ["in one file with the library, where a stack is an array of call sites", () => runBundle(home, "cjs", SITES)],
    ["in one file with the library, in a folder with an odd name", () => runBundle(odd, "cjs")],
  ])("%s", async (_, program) => {
    const report = await program();
    expect(wrong(report, firstFrame)).toEqual([]);
    expect(Object.keys(report)).toHaveLength(KINDS.length + 1);
  });
});

describe("the user's frames are not cut away", () => {
  test.each(["esm", "cjs"] as const)(
    "in one file with the library, where the host cannot cut stacks: %s",
    async (f) => {
      const report = await runBundle(home, f, WITHOUT);
      expect(wrong(report, whole)).toEqual([]);
    },
  );

  // Frames that a host leaves out are lost: with ten frames, ten of the user's.
  test.each<[string, () => Promise<Report>, number]>([
    ["in the installed package", () => run(home), 10],
    ["with source maps", () => run(home, ["--enable-source-maps"]), 10],
    ["in one file with the library", () => runBundle(home, "cjs"), 10],
    ["where a stack has five frames", () => run(home, [], "5"), 5],
    ["where a stack has thirty frames", () => run(home, [], "30"), 30],
  ])("by the library's own: %s", async (_, program, most) => {
    const { user_deep: deep } = await program();
    const frames = deep?.[0]?.stack.split("\n") ?? [];
    expect(frames).toHaveLength(most);
    expect(frames.filter((frame) => !/\bat user_deep\b/.test(frame))).toEqual([]);
  });
});
