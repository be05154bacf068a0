/** The package in bundles of other forms than its own: CommonJS, a script, one file of ESM, a `data:` module. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";
import { answer, bundle, type Format, type Project, project } from "./support/hosts.ts";

const SRC = join(ROOT, "src");
const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

/** A source file without its comments. */
function code(name: string): string {
  return readFileSync(join(SRC, name), "utf8")
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/^\s*\/\/.*$/gm, "");
}

// A bundle has no URL of its own, and bundlers of web pages treat a literal, `new URL("..", ...)`, as an asset.
test.each([
  ["import.meta", /\bimport\s*\.\s*meta\b/],
  ["new URL(literal", /\bnew\s+URL\s*\(\s*["'`]/],
])("no source file contains `%s`", (_, form) => {
  expect(files.length).toBeGreaterThan(10);
  expect(files.filter((name) => form.test(code(name)))).toEqual([]);
});

/** The output of a program with `gopark` in scope, simple enough for every host and module system. */
const PROGRAM = `
const { Channel, context, leak, select, time } = gopark;
async function main() {
  const ch = new Channel();
  const sent = ch.send("hello");
  const { value } = await ch.receive();
  await sent;

  const waiting = select({ ch });
  await ch.send("selected");
  const selected = await waiting;

  const { ctx } = context.withTimeout(context.background(), 1);
  const late = await time.sleep(60000, ctx).catch((err) => String(err));

  leak.track("full");
  function userWaits() {
    void ch.receive();
  }
  userWaits();
  const [waits, ...rest] = leak.find();
  ch.close();
  return { value, selected, late, kind: waits.kind, first: waits.stack.split("\\n")[0].trim(), rest: rest.length };
}
`;
const PRINT = "main().then((answer) => console.log(JSON.stringify(answer)));";

const WANTED = {
  value: "hello",
  selected: { case: "ch", value: "selected", ok: true },
  late: "TimeoutError: context deadline exceeded",
  kind: "chan receive",
  first: expect.stringMatching(/^at userWaits\b/),
  rest: 0,
};

let home: Project;
let library: string; // A module that is all of the package.
let together: string; // The program and all it imports.

beforeAll(() => {
  home = project();
  library = home.write("library.mjs", 'export * from "gopark";\n');
  together = home.write("together.mjs", `import * as gopark from "gopark";\n${PROGRAM}${PRINT}`);
});
afterAll(() => home.remove());

/** Bundles the library into a folder of its own. */
function libraryAs(format: Format, name: string, minify = false): Promise<string> {
  return bundle(library, join(home.path, "built", name), format, minify);
}

describe("the library in a bundle", () => {
  test.each([
    ["a CommonJS file", "cjs", "one/library.cjs", false],
    ["a minified CommonJS file", "cjs", "min/library.cjs", true],
  ] as const)("%s is required", async (_, format, name, minify) => {
    const file = await libraryAs(format, name, minify);
    const user = home.write(
      join("built", dirname(name), "user.cjs"),
      `const gopark = require(${JSON.stringify(file)});${PROGRAM}${PRINT}`,
    );
    expect(await answer(home.path, user)).toEqual(WANTED);
  });

  test("as CommonJS files, one for each module, as a test runner without ESM turns them", async () => {
    await libraryAs("cjs-files", "files/library.cjs");
    const built = readdirSync(join(home.path, "built/files"), { recursive: true, encoding: "utf8" });
    expect(built.filter((name) => name.endsWith(".cjs")).length).toBeGreaterThan(1);
    const user = home.write("built/files/user.cjs", `const gopark = require("./library.cjs");${PROGRAM}${PRINT}`);
    expect(await answer(home.path, user)).toEqual(WANTED);
  });

  test("a script that sets a global", async () => {
    const script = readFileSync(await libraryAs("iife", "script/library.js"), "utf8");
    const user = home.write("built/script/user.cjs", `${script}\n${PROGRAM}${PRINT}`);
    expect(await answer(home.path, user)).toEqual(WANTED);
  });

  test("a script in a world with the globals of a browser and none of Node's", async () => {
    const script = readFileSync(await libraryAs("iife", "browser/library.js"), "utf8");
    const browser = {
      ...{ AbortController, AbortSignal, DOMException, Event, EventTarget, performance, queueMicrotask },
      // Unbound, a browser's `performance.now` and timers throw; and there is no `setImmediate`.
      setTimeout: (fn: () => void, ms: number) => Number(setTimeout(fn, ms)),
      clearTimeout: (id: number) => clearTimeout(id),
    };
    createContext(browser);
    expect(await runInContext(`${script}\n${PROGRAM}main()`, browser)).toEqual(WANTED);
  });

  test("one file of ESM is imported", async () => {
    const file = await libraryAs("esm", "esm/library.mjs");
    const user = home.write("built/esm/user.mjs", `import * as gopark from "${file}";${PROGRAM}${PRINT}`);
    expect(await answer(home.path, user)).toEqual(WANTED);
  });

  test("one file of ESM is imported as a data: module", async () => {
    const text = readFileSync(await libraryAs("esm", "data/library.mjs"));
    const url = `data:text/javascript;base64,${text.toString("base64")}`;
    const user = home.write("built/data/user.mjs", `import * as gopark from "${url}";${PROGRAM}${PRINT}`);
    expect(await answer(home.path, user)).toEqual(WANTED);
  });
});

describe("a program bundled with the library into one file", () => {
  test.each([
    ["CommonJS", "cjs", "together.cjs"],
    ["a script", "iife", "together.iife.cjs"],
    ["ESM", "esm", "together.mjs"],
  ] as const)("%s", async (_, format, name) => {
    const file = await bundle(together, join(home.path, "built/together", name), format);
    expect(await answer(home.path, file)).toEqual(WANTED);
  });

  test("ESM, run as a data: module", async () => {
    const file = await bundle(together, join(home.path, "built/together/data.mjs"), "esm");
    const url = `data:text/javascript;base64,${readFileSync(file).toString("base64")}`;
    const user = home.write("built/together/user.mjs", `import "${url}";`);
    expect(await answer(home.path, user)).toEqual(WANTED);
  });
});

test("what watches a program, bundled with it and minified, sees the same library", async () => {
  const entry = home.write(
    "watched.mjs",
    `import { Channel, go, semaphore } from "gopark";
    import { prometheusText } from "gopark/metrics";
    import { start } from "gopark/trace";
    import { bridge } from "gopark/trace/node";
    import { subscribe } from "node:diagnostics_channel";
    const kinds = [];
    subscribe("gopark.wait.parked", ({ kind }) => kinds.push(kind));
    bridge();
    const recording = start();
    const sem = new semaphore.Weighted(3, { name: "stock" });
    const ch = new Channel();
    const task = go(() => ch.receive());
    await new Promise((resolve) => setImmediate(resolve));
    const lines = prometheusText().split("\\n").filter((line) => /stock|chan receive/.test(line));
    ch.close();
    await task;
    const slices = recording.stop().traceEvents.filter(({ ph }) => ph === "b").map(({ name, id }) => name + " " + id);
    console.log(JSON.stringify({ kinds, lines, slices, size: sem.size() }));`,
  );
  const file = await bundle(entry, join(home.path, "built/watched.mjs"), "esm", true);
  expect(await answer(home.path, file)).toEqual({
    kinds: ["chan receive"],
    lines: [
      'gopark_waits{kind="chan receive"} 1',
      'gopark_semaphore_size{name="stock"} 3',
      'gopark_semaphore_held{name="stock"} 0',
      'gopark_semaphore_waiting{name="stock"} 0',
    ],
    slices: ["task 2", "chan receive 2"],
    size: 3,
  });
});
