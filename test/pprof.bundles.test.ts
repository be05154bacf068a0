/** Profiles in bundles, where library and program cannot be told apart by their files: the program's line is first. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { answer, bundle, type Format, type Project, project } from "./support/hosts.ts";

const PROGRAM = `
async function textOf(name) {
  let all = "";
  for await (const piece of lib.pprof.text(1, name)) all += piece;
  return all.split("\\n").filter((line) => line.startsWith("#\\t"))[0].split("\\t")[1];
}
async function main() {
  const ch = new lib.Channel();
  const stop = lib.pprof.recordBlocking();
  function userBlocks() {
    return ch.receive();
  }
  const blocked = userBlocks();
  await ch.send(1);
  await blocked;
  stop();
  const block = await textOf("block");

  lib.leak.track("full");
  function userWaits() {
    return ch.receive();
  }
  const waiting = userWaits();
  const goroutine = await textOf("goroutine");
  const { length } = await lib.pprof.profile("goroutine");
  ch.close();
  await waiting;
  return { block, goroutine, length: length > 100 };
}
`;

const WANTED = { block: "userBlocks", goroutine: "userWaits", length: true };

let home: Project;
let library: string;

beforeAll(() => {
  home = project();
  library = home.write("library.mjs", 'export * from "gopark"; export * as pprof from "gopark/pprof";\n');
});
afterAll(() => home.remove());

const PRINT = "main().then((answer) => console.log(JSON.stringify(answer)));";

test.each([
  ["cjs", "library.cjs", false],
  ["cjs", "minified.cjs", true],
] as const)("the library as %s, %s", async (format, name, minify) => {
  const file = await bundle(library, join(home.path, "built", name), format as Format, minify);
  const user = home.write(`user-${name}`, `const lib = require(${JSON.stringify(file)});${PROGRAM}${PRINT}`);
  expect(await answer(home.path, user)).toEqual(WANTED);
});

test("program and library in one file of ESM", async () => {
  const imports =
    'import * as gopark from "gopark"; import * as pprof from "gopark/pprof";const lib = { ...gopark, pprof };';
  const together = home.write("together.mjs", `${imports}${PROGRAM}${PRINT}`);
  const file = await bundle(together, join(home.path, "built/together.mjs"), "esm");
  expect(await answer(home.path, file)).toEqual(WANTED);
});

test("in a world with the globals of a browser and none of Node's", async () => {
  const script = readFileSync(await bundle(library, join(home.path, "built/browser.js"), "iife"), "utf8");
  const browser = {
    ...{ AbortController, AbortSignal, DOMException, Event, EventTarget, performance, queueMicrotask, MessageChannel },
    ...{ TextEncoder, Uint8Array },
    setTimeout: (fn: () => void, ms: number) => Number(setTimeout(fn, ms)),
    clearTimeout: (id: number) => clearTimeout(id),
  };
  createContext(browser);
  expect(await runInContext(`${script}\nconst lib = gopark;${PROGRAM}main()`, browser)).toEqual(WANTED);
});
