/** Frames of stacks as V8 and JavaScriptCore write them, read into function, file, line and column. */
import { describe, expect, test } from "vitest";
import { framesOf, parseFrame } from "../src/internal/track/frames.ts";

const frame = (fn: string, file: string, line = 0, column = 0) => ({ fn, file, line, column });

describe("a line of V8", () => {
  test.each([
    ["    at wait (/app/a.js:3:14)", frame("wait", "/app/a.js", 3, 14)],
    ["    at wait (file:///app/a%20b.js:3:14)", frame("wait", "file:///app/a%20b.js", 3, 14)],
    ["at wait (C:\\app\\a.js:3:14)", frame("wait", "C:\\app\\a.js", 3, 14)],
    ["    at /app/a.js:3:14", frame("(anonymous)", "/app/a.js", 3, 14)],
    ["    at http://localhost:3000/a.js:3:14", frame("(anonymous)", "http://localhost:3000/a.js", 3, 14)],
    ["    at async inner (/app/a.js:3:14)", frame("inner", "/app/a.js", 3, 14)],
    ["    at async /app/a.js:3:14", frame("(anonymous)", "/app/a.js", 3, 14)],
    ["    at new Job (/app/a.js:3:14)", frame("new Job", "/app/a.js", 3, 14)],
    ["    at Object.run [as go] (/app/a.js:3:14)", frame("Object.run [as go]", "/app/a.js", 3, 14)],
    ["    at Array.map (<anonymous>)", frame("Array.map", "<anonymous>")],
    ["    at <anonymous>", frame("(anonymous)", "<anonymous>")],
    ["    at node:internal/timers:573:17", frame("(anonymous)", "node:internal/timers", 573, 17)],
    ["    at wait (/app/copy (1)/a.js:3:14)", frame("wait", "/app/copy (1)/a.js", 3, 14)],
    ["    at /app/copy (1)/a.js:3:14", frame("(anonymous)", "/app/copy (1)/a.js", 3, 14)],
    [
      "    at eval (eval at run (/app/a.js:1:2), <anonymous>:3:14)",
      frame("eval", "eval at run (/app/a.js:1:2), <anonymous>", 3, 14),
    ],
    ["    at add (wasm://wasm/1a2b:wasm-function[3]:0x1f)", frame("add", "wasm://wasm/1a2b:wasm-function[3]:0x1f")],
    [
      "    at wait (/app/node_modules/@scope/p@1.0.0/a.js:3:14)",
      frame("wait", "/app/node_modules/@scope/p@1.0.0/a.js", 3, 14),
    ],
    ["    at wait (/app/a.js:3)", frame("wait", "/app/a.js", 3)],
    ["    at async Promise.run (/app/a.js:3:14)", frame("Promise.run", "/app/a.js", 3, 14)],
  ])("%s", (line, wanted) => expect(parseFrame(line)).toEqual(wanted));
});

describe("a line of JavaScriptCore", () => {
  test.each([
    ["wait@/app/a.js:3:14", frame("wait", "/app/a.js", 3, 14)],
    ["wait@file:///app/a.js:3:14", frame("wait", "file:///app/a.js", 3, 14)],
    ["@https://host/a.js:3:14", frame("(anonymous)", "https://host/a.js", 3, 14)],
    ["https://host/a.js:3:14", frame("(anonymous)", "https://host/a.js", 3, 14)],
    ["https://host/p@1.0.0/a.js:3:14", frame("(anonymous)", "https://host/p@1.0.0/a.js", 3, 14)],
    ["/app/@scope/a.js:3:14", frame("(anonymous)", "/app/@scope/a.js", 3, 14)],
    ["wait@/app/node_modules/@scope/a.js:3:14", frame("wait", "/app/node_modules/@scope/a.js", 3, 14)],
    ["module code@/app/a.js:3:14", frame("module code", "/app/a.js", 3, 14)],
    ["async wait@/app/a.js:3:14", frame("wait", "/app/a.js", 3, 14)],
    ["async*wait@/app/a.js:3:14", frame("wait", "/app/a.js", 3, 14)],
    ["asyncWait@/app/a.js:3:14", frame("asyncWait", "/app/a.js", 3, 14)],
    ["map@[native code]", frame("map", "[native code]")],
    ["[native code]", frame("(anonymous)", "[native code]")],
    ["wait@", frame("wait", "<anonymous>")],
  ])("%s", (line, wanted) => expect(parseFrame(line)).toEqual(wanted));
});

test.each([
  "",
  "Error: boom",
  "    at async Promise.all (index 0)",
  "    at async Promise.allSettled (index 12)",
  "    at Promise.any (index 1)",
  "    (and 3 more waits)",
])("%o is no frame", (line) => {
  expect(parseFrame(line)).toBeUndefined();
  expect(parseFrame(line)).toBeUndefined(); // From the cache.
});

test("a line is read once, while few are known", () => {
  const line = "    at once (/app/once.js:1:1)";
  const first = parseFrame(line);
  expect(parseFrame(line)).toBe(first);
  for (let i = 0; i < 20_001; i++) parseFrame(`    at f${i} (/app/many.js:${i}:1)`);
  expect(parseFrame(line)).toEqual(first);
  expect(parseFrame(line)).not.toBe(first); // It was dropped, so memory is bounded.
});

test("a stack is read line by line, without what is no frame", () => {
  const stack = "Error: boom\n    at f (/a.js:1:2)\n    at async Promise.all (index 0)\n    at async g (/a.js:3:4)";
  expect(framesOf(stack)).toEqual([frame("f", "/a.js", 1, 2), frame("g", "/a.js", 3, 4)]);
  expect(framesOf("")).toEqual([]);
});

test("a long line is read", () => {
  const line = `    at f (${":1".repeat(100_000)}x)`;
  expect(parseFrame(line)).toMatchObject({ fn: "f", line: 0 });
});
