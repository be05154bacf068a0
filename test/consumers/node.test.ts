/** The package in Node, without a bundler: `import` and `require` in several versions. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CJS, ESM, lastOf, NODES, nodePath, type Project, project, run, WANTED } from "./projects.ts";

let home: Project;

// Imports the package and requires it, and tries what two copies must have in common.
const BOTH = `
import { createRequire } from "node:module";
import * as imported from "gopark";
const require = createRequire(import.meta.url);
const required = require("gopark");
const { Weighted } = require("gopark/semaphore");
const ch = new imported.Channel(1);
ch.trySend(7);
const got = await required.select({ ch });
const [ctx, cancel] = imported.context.withCancel(imported.context.background());
const waiting = new required.Channel().receive(ctx).catch((err) => err);
cancel();
const err = await waiting;
const closed = new required.Channel();
closed.close();
const refused = await closed.send(1).catch((err) => err);
console.log(JSON.stringify({
  copies: imported.Channel === required.Channel && Weighted === imported.semaphore.Weighted ? 1 : 2,
  crossing: [
    got.value === 7,
    err === ctx.err(),
    err instanceof required.context.Canceled && err instanceof imported.context.Canceled,
    refused instanceof imported.ClosedChannelError,
  ],
}));
`;

beforeAll(() => {
  home = project();
  home.write("program.mjs", ESM);
  home.write("program.cjs", CJS);
  home.write("both.mjs", BOTH);
});
afterAll(() => home.remove());

describe.each(Object.entries(NODES))("%s", (_, { path, requires }) => {
  test.each(["program.mjs", "program.cjs"])("%s runs, without a warning", async (file) => {
    const printed = await run(home.path, "sh", "-c", `"${path}" ${file} 2>&1`);
    expect(printed.trim().split("\n")).toHaveLength(1);
    expect(lastOf(printed)).toEqual(WANTED);
  });

  test(`require gives the ${requires}`, async () => {
    const file = requires === "CommonJS" ? "dist/cjs/index.cjs" : "dist/node/index.js";
    const printed = await run(home.path, path, "--print", 'require.resolve("gopark")');
    expect(printed.trim().replaceAll("\\", "/").endsWith(`node_modules/gopark/${file}`), printed).toBe(true);
  });

  test("import and require in one process", async () => {
    expect(lastOf(await run(home.path, path, "both.mjs"))).toEqual({
      copies: requires === "CommonJS" ? 2 : 1,
      crossing: [true, true, true, true],
    });
  });
});

// Node before 20.4 has no Symbol.dispose; docs/support.md says what to do there.
test.each([
  ["import", "using.mjs", ['import "./polyfill.cjs";', 'import { Weighted } from "gopark/semaphore";']],
  ["require", "using.cjs", ['require("./polyfill.cjs");', 'const { Weighted } = require("gopark/semaphore");']],
])("disposal in Node 20.0 with Symbol.dispose set before the %s", async (_, name, lines) => {
  home.write("polyfill.cjs", 'Symbol.dispose ??= Symbol("Symbol.dispose");\n');
  const rest = `
    const sem = new Weighted(1);
    sem.permit(undefined).then((permit) => {
      const held = sem.held();
      permit[Symbol.dispose]();
      console.log(JSON.stringify([held, sem.held()]));
    });`;
  home.write(name, lines.join("\n") + rest);
  expect(lastOf(await run(home.path, nodePath("Node 20.0"), name))).toEqual([1, 0]);
});
