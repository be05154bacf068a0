/**
 * The package in bundles: four bundlers, three forms, for Node and for browsers. Each bundle is run where it belongs.
 */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { nodeResolve } from "@rollup/plugin-node-resolve";
import * as esbuild from "esbuild";
import { type Browser, chromium } from "playwright-core";
import { rollup } from "rollup";
import * as vite from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import webpack from "webpack";
import { answer, CJS, ESM, lastOf, type Project, project, WANTED } from "./projects.ts";

type Form = "esm" | "cjs" | "iife";
type Platform = "node" | "browser";

/** Bundles `entry` into `file`; minified or not. */
type Bundler = (entry: string, file: string, form: Form, platform: Platform, minify: boolean) => Promise<unknown>;

const bundlers: Record<string, Bundler> = {
  esbuild: (entry, file, format, platform, minify) =>
    esbuild.build({ entryPoints: [entry], outfile: file, bundle: true, format, platform, minify, logLevel: "error" }),

  async Rollup(entry, file, form, platform) {
    const built = await rollup({
      input: entry,
      external: /^node:/,
      plugins: [nodeResolve(platform === "browser" ? { browser: true } : { exportConditions: ["node"] })],
      onwarn: (warning) => {
        throw new Error(warning.message);
      },
    });
    await built.write({ file, format: form });
    await built.close();
  },

  Vite: (entry, file, form, platform, minify) =>
    vite.build({
      configFile: false,
      root: dirname(entry),
      logLevel: "error",
      build: {
        minify,
        emptyOutDir: false,
        outDir: dirname(file),
        ...(platform === "node"
          ? { ssr: entry }
          : {
              lib: { entry, formats: [form === "esm" ? "es" : form], name: "program", fileName: () => basename(file) },
            }),
        rollupOptions: { output: { format: form === "esm" ? "es" : form, entryFileNames: basename(file) } },
      },
      ssr: { noExternal: true },
    }),

  webpack: (entry, file, form, platform, minify) =>
    new Promise<void>((resolve, reject) => {
      const options: webpack.Configuration = {
        mode: "production",
        target: platform === "node" ? "node20" : "web",
        entry,
        optimization: { minimize: minify },
        performance: false,
        experiments: { outputModule: form === "esm" },
        output: {
          path: dirname(file),
          filename: basename(file),
          ...(form === "esm" && { module: true, library: { type: "module" } }),
          ...(form === "cjs" && { library: { type: "commonjs2" } }),
        },
      };
      webpack(options, (error, stats) => {
        const wrong = error ?? (stats?.hasErrors() || stats?.hasWarnings() ? new Error(stats.toString()) : undefined);
        if (wrong === undefined) resolve();
        else reject(wrong);
      });
    }),
};

const CHROMIUM = "/usr/bin/chromium";
let browser: Browser | undefined;

/** Runs a bundle in a page of its own, and resolves to what it prints. */
async function inPage(file: string, form: Form): Promise<unknown> {
  browser ??= await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  const page = await browser.newPage();
  try {
    const printed = new Promise<string>((resolve, reject) => {
      page.on("console", (message) => resolve(message.text()));
      page.on("pageerror", reject);
    });
    printed.catch(() => {}); // Awaited below.
    await page.goto("about:blank");
    await page.addScriptTag({ path: file, type: form === "esm" ? "module" : "text/javascript" });
    return lastOf(await printed);
  } finally {
    await page.close();
  }
}

let home: Project;
let esm: string;
let cjs: string;

beforeAll(() => {
  home = project();
  esm = home.write("program.mjs", ESM);
  cjs = home.write("program.cjs", CJS);
});
afterAll(async () => {
  await browser?.close();
  home.remove();
});

const place = (...names: string[]) => join(home.path, "built", ...names);
const extension = (form: Form) => (form === "esm" ? "mjs" : "cjs");

const built = new Map<string, Promise<string>>();

/** Bundles the program once, and resolves to the file. */
function bundleOf(name: string, form: Form, platform: Platform): Promise<string> {
  const file = place(name, `${platform}.${form}.${extension(form)}`);
  const bundle = bundlers[name] as Bundler;
  const made = built.get(file) ?? bundle(esm, file, form, platform, false).then(() => file);
  built.set(file, made);
  return made;
}

describe.each(Object.keys(bundlers))("%s", (name) => {
  test.each(["esm", "cjs", "iife"] as const)("for Node: %s", async (form) => {
    expect(await answer(home.path, await bundleOf(name, form, "node"))).toEqual(WANTED);
  });

  test.each(["esm", "cjs", "iife"] as const)("for browsers, in Node: %s", async (form) => {
    expect(await answer(home.path, await bundleOf(name, form, "browser"))).toEqual(WANTED);
  });

  // A page has no `require`.
  test.skipIf(!existsSync(CHROMIUM)).each(["esm", "iife"] as const)("for browsers, in Chromium: %s", async (form) => {
    expect(await inPage(await bundleOf(name, form, "browser"), form)).toEqual(WANTED);
  });
});

test.each(["esbuild", "Vite", "webpack"])("minified by %s", async (name) => {
  const file = place(name, "small.mjs");
  await (bundlers[name] as Bundler)(esm, file, "esm", "node", true);
  // Its functions have other names.
  expect(await answer(home.path, file)).toEqual({ ...WANTED, first: expect.any(String) });
});

describe.each(["esbuild", "webpack"])("a program that requires, by %s", (name) => {
  test.each(["node", "browser"] as const)("for %s", async (platform) => {
    const file = place(name, `required.${platform}.cjs`);
    await (bundlers[name] as Bundler)(cjs, file, "cjs", platform, false);
    expect(await answer(home.path, file)).toEqual(WANTED);
  });
});
