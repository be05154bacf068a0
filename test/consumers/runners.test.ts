/**
 * Test runners whose tests use the package: Jest as it is, with babel and as ES modules, and vitest; each with jsdom.
 */
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CJS_MAIN, ESM_MAIN, link, type Project, project, require, run, WANTED } from "./projects.ts";

/** A test file, given the program as a function. */
const testOf = (main: string, more = "", wanted = WANTED) => `
${main}
test("the program", async () => {
  expect(await main()).toEqual(${JSON.stringify(wanted)});
});
${more}
`;

/** Adds a test that the first frame of a leak is in the test file. */
const PLACE = `
test("the place of a leak", () => {
  const ch = new Channel();
  void ch.receive();
  expect(leak.find()[0].stack.split("\\n")[0]).toContain("program.test.js");
  ch.close();
});`;

let home: Project;

beforeAll(() => {
  home = project();
});
afterAll(() => home.remove());

describe("Jest", () => {
  const JEST = join(dirname(require.resolve("jest/package.json")), "bin/jest.js");
  const ENVIRONMENTS = { node: "node", jsdom: require.resolve("jest-environment-jsdom") };
  const BABEL = [
    require.resolve("babel-jest"),
    { presets: [[require.resolve("@babel/preset-env"), { targets: { node: "current" } }]] },
  ];

  async function jest(folder: string, environment: keyof typeof ENVIRONMENTS, config: object, ...flags: string[]) {
    home.write(`${folder}/jest.config.json`, { testEnvironment: ENVIRONMENTS[environment], ...config });
    const report = join(home.path, folder, "report.json");
    const output = ["--json", `--outputFile=${report}`];
    // In this process, so that it hangs if something keeps the process alive.
    const args = [...flags, JEST, "--rootDir", join(home.path, folder), "--runInBand", "--no-cache", ...output];
    await run(join(home.path, folder), process.execPath, ...args);
    const { numPassedTests, numTotalTests, openHandles } = require(report);
    return { numPassedTests, numTotalTests, openHandles };
  }

  const PASSED = { numPassedTests: 1, numTotalTests: 1, openHandles: [] };

  test.each(["node", "jsdom"] as const)("as it is, with require: %s", async (environment) => {
    const folder = `jest-plain-${environment}`;
    home.write(`${folder}/program.test.js`, testOf(CJS_MAIN));
    expect(await jest(folder, environment, { transform: {} })).toEqual(PASSED);
  });

  test.each(["node", "jsdom"] as const)("with babel: %s", async (environment) => {
    const folder = `jest-babel-${environment}`;
    // With source maps, Jest calls a frame after the call in it.
    home.write(`${folder}/program.test.js`, testOf(ESM_MAIN, PLACE, { ...WANTED, first: "receive" }));
    const passed = { ...PASSED, numPassedTests: 2, numTotalTests: 2 };
    expect(await jest(folder, environment, { transform: { "\\.js$": BABEL } })).toEqual(passed);
  });

  test.each(["node", "jsdom"] as const)("as ES modules: %s", async (environment) => {
    const folder = `jest-esm-${environment}`;
    home.write(`${folder}/program.test.mjs`, testOf(ESM_MAIN));
    const config = { transform: {}, testMatch: ["**/*.test.mjs"] };
    expect(await jest(folder, environment, config, "--experimental-vm-modules")).toEqual(PASSED);
  });
});

test.each(["program.test.mjs", "program.test.cjs"])("node:test: %s", async (name) => {
  const [imports, main] = name.endsWith("mjs")
    ? ['import { test } from "node:test";\nimport { deepEqual } from "node:assert";', ESM_MAIN]
    : ['const { test } = require("node:test");\nconst { deepEqual } = require("node:assert");', CJS_MAIN];
  const wanted = JSON.stringify(WANTED);
  home.write(name, `${imports}\n${main}\ntest("the program", async () => deepEqual(await main(), ${wanted}));\n`);
  expect(await run(home.path, process.execPath, "--test", "--test-reporter=tap", name)).toContain("# pass 1");
});

describe("vitest", () => {
  const VITEST = join(dirname(require.resolve("vitest/package.json")), "vitest.mjs");

  beforeAll(() => {
    link(home, "vitest");
    // A dependency of the project that uses the package, too.
    home.write("node_modules/dependency/package.json", { name: "dependency", type: "module", exports: "./index.js" });
    home.write("node_modules/dependency/index.js", 'export { Channel } from "gopark/channel";\n');
  });

  test.each(["node", "jsdom"])("%s, with the set-up file that finds leaks", async (environment) => {
    const folder = `vitest-${environment}`;
    home.write(
      `${folder}/program.test.js`,
      testOf(
        `import { Channel as Same } from "dependency";\n${ESM_MAIN}`,
        `test("a dependency has the same copy", () => expect(Same).toBe(Channel));
        test("a leak", () => void new Channel().receive());`,
      ),
    );
    home.write(
      `${folder}/vitest.config.mjs`,
      `export default { test: { environment: "${environment}", globals: true, setupFiles: ["gopark/leak/vitest"] } };`,
    );
    const report = join(home.path, folder, "report.json");
    const args = [VITEST, "run", "--root", join(home.path, folder), "--reporter=json", `--outputFile=${report}`];
    await expect(run(dirname(report), process.execPath, ...args)).rejects.toThrow("ended with 1");
    const { testResults } = require(report);
    const results = testResults[0].assertionResults.map((it: { title: string; failureMessages: string[] }) => [
      it.title,
      it.failureMessages.map((message) => message.split("\n")[0]),
    ]);
    expect(results).toEqual([
      ["the program", []],
      ["a dependency has the same copy", []],
      ["a leak", ["LeakError: found unexpected leaks: 1 chan receive"]],
    ]);
  });
});
