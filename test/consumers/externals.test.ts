/** What leaves the package outside of a bundle: server builds that externalise, and what traces the files to deploy. */
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { nodeFileTrace } from "@vercel/nft";
import * as vite from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answer, CJS, ESM, lastOf, NODES, type Project, project, run, WANTED } from "./projects.ts";

let home: Project;

beforeAll(() => {
  home = project();
  home.write("program.mjs", ESM);
  home.write("program.cjs", CJS);
});
afterAll(() => home.remove());

// Vite's server build leaves packages outside, as the frameworks on top of it do.
test.each(["es", "cjs"] as const)("a server build by Vite: %s", async (format) => {
  const name = format === "es" ? "server.mjs" : "server.cjs";
  const answers = (await vite.build({
    configFile: false,
    root: home.path,
    logLevel: "error",
    build: {
      ssr: join(home.path, "program.mjs"),
      outDir: join(home.path, "server"),
      emptyOutDir: false,
      rollupOptions: { output: { format, entryFileNames: name } },
    },
  })) as { output: { code?: string; imports?: string[] }[] };
  expect(answers.output.flatMap(({ imports = [] }) => imports)).toContain("gopark/semaphore");
  for (const { path } of Object.values(NODES)) {
    expect(lastOf(await run(home.path, path, join("server", name)))).toEqual(WANTED);
  }
});

// Next and Nitro deploy what this finds. It does not know that Node sets `module-sync` from 20.19: before Node 22 it
// must be told to take the files of that condition along.
const moduleSyncCatchall = Number.parseInt(process.versions.node, 10) < 22;

describe.each(["program.mjs", "program.cjs"])("the files traced for %s", (name) => {
  test("are enough, and not the whole package", async () => {
    const options = { base: home.path, moduleSyncCatchall };
    const { fileList, warnings } = await nodeFileTrace([join(home.path, name)], options);
    expect([...warnings]).toEqual([]);
    const folder = join(home.path, "deployed", name);
    for (const file of fileList) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      cpSync(join(home.path, file), join(folder, file));
    }
    writeFileSync(join(folder, "package.json"), "{}");
    expect(existsSync(join(folder, "node_modules/gopark/README.md"))).toBe(false);
    expect(await answer(folder, name)).toEqual(WANTED);
  });
});
