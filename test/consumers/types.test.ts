/** Projects in TypeScript: the oldest compiler that is promised and the newest, with `skipLibCheck` off. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "../support/examples.ts";
import { lastOf, link, nodePath, type Project, project, require, run } from "./projects.ts";

const COMPILERS: Record<string, string> = {
  "TypeScript 5.2": require.resolve("typescript5.2/lib/tsc.js"),
  "the newest TypeScript": join(ROOT, "node_modules/typescript/bin/tsc"),
};

const STRICT = { strict: true, skipLibCheck: false, target: "es2022", rootDir: ".", outDir: "out" };
const ONLY_NODE = { lib: ["es2022"], types: ["node"] };
const ONLY_DOM = { lib: ["es2022", "dom"], types: [] };
const EVERY_STRICT_OPTION = {
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noImplicitOverride: true,
  noPropertyAccessFromIndexSignature: true,
  verbatimModuleSyntax: true,
  isolatedModules: true,
};

/** An ES module. */
const program = readFileSync(join(ROOT, "test/consumer/consumer.ts"), "utf8");
const wanted: unknown = JSON.parse(/\n\/\/ (\{.*\})\n$/.exec(program)?.[1] as string);
/** The same without an `await` at its top, which CommonJS does not have, and without `using`, which needs Node 20.4. */
const wrapped = program
  .replace(/\nconst user = [\s\S]*$/, (rest) => `\nasync function main() {${rest}}\nvoid main();\n`)
  .replace(/\busing held = (.*)/, "const held = $1")
  .replace(/(if \(held.*)/, "$1\n  held.release();");

let esm: Project;
let commonjs: Project;

beforeAll(() => {
  esm = project({ type: "module" });
  commonjs = project();
  for (const home of [esm, commonjs]) for (const types of ["@types/node", "undici-types"]) link(home, types, ROOT);
  esm.write("consumer.ts", program);
  commonjs.write("consumer.ts", wrapped);
});
afterAll(() => {
  esm.remove();
  commonjs.remove();
});

/** Compiles the project's program, and returns what it prints in versions of Node. */
async function compiledAndRun(
  home: Project,
  tsc: string,
  compilerOptions: object,
  ...nodes: string[]
): Promise<unknown[]> {
  home.write("tsconfig.json", { compilerOptions: { ...STRICT, ...compilerOptions }, files: ["consumer.ts"] });
  expect(await run(home.path, process.execPath, tsc, "-p", home.path)).toBe("");
  const printed: unknown[] = [];
  for (const node of nodes) printed.push(lastOf(await run(home.path, nodePath(node), "out/consumer.js")));
  return printed;
}

const ES_MODULE: [string, object][] = [
  ["node16, without dom", { module: "node16", ...ONLY_NODE }],
  ["nodenext, with dom and @types/node", { module: "nodenext", lib: ["es2022", "dom"], types: ["node"] }],
  ["nodenext, without @types/node, every strict option", { module: "nodenext", ...ONLY_DOM, ...EVERY_STRICT_OPTION }],
  ["bundler, without dom", { module: "esnext", moduleResolution: "bundler", ...ONLY_NODE }],
];
const COMMONJS: [string, object][] = [
  ["node16, without dom", { module: "node16", ...ONLY_NODE }],
  [
    "nodenext, without @types/node, every strict option",
    { module: "nodenext", ...ONLY_DOM, ...EVERY_STRICT_OPTION, verbatimModuleSyntax: false },
  ],
];
/** TypeScript 7 has no such resolution. */
const UNTIL_TYPESCRIPT_6: [string, object][] = [
  ["commonjs, moduleResolution node, without dom", { module: "commonjs", moduleResolution: "node", ...ONLY_NODE }],
];

describe.each(Object.entries(COMPILERS))("%s", (name, tsc) => {
  const commonjsWays = name === "TypeScript 5.2" ? [...COMMONJS, ...UNTIL_TYPESCRIPT_6] : COMMONJS;

  test.each(ES_MODULE)("an ES module: %s", async (_, options) => {
    expect(await compiledAndRun(esm, tsc, options, "the Node that runs the tests")).toEqual([wanted]);
  });

  test.each(commonjsWays)("CommonJS: %s", async (_, options) => {
    const nodes = ["Node 20.0", "the Node that runs the tests"];
    expect(await compiledAndRun(commonjs, tsc, options, ...nodes)).toEqual([wanted, wanted]);
  });

  // Every subpath, also those that the program does not use.
  test("every subpath has types, in each kind of module", async () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { exports: object };
    const subpaths = Object.keys(exports).filter((name) => !["./package.json", "./leak/vitest"].includes(name));
    expect(subpaths.length).toBeGreaterThan(20);
    const text = subpaths.map(
      (path, i) =>
        `import * as m${i} from "gopark${path.slice(1)}";\nexport const k${i}: string[] = Object.keys(m${i});`,
    );
    const commonjsWay =
      name === "TypeScript 5.2" ? { module: "commonjs", moduleResolution: "node" } : { module: "nodenext" };
    const ways: [Project, object][] = [
      [esm, { module: "nodenext" }],
      [commonjs, commonjsWay],
    ];
    for (const [home, options] of ways) {
      home.write("all.ts", text.join("\n"));
      home.write("tsconfig.json", { compilerOptions: { ...STRICT, ...options, ...ONLY_NODE }, files: ["all.ts"] });
      expect(await run(home.path, process.execPath, tsc, "-p", home.path)).toBe("");
    }
  });
});
