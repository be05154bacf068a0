/** The runtimes: how each runs a program to its end, and what it printed. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { gunzipSync } from "node:zlib";
import { type Browser, chromium } from "playwright-core";
import { ROOT } from "../support/examples.ts";

const BIN = new URL("./node_modules/", import.meta.url).pathname;
// Far beyond what any of these programs needs.
const HUNG = 150_000;

/** Runs the module `file` in `folder`, and resolves to what it printed. Rejects if it fails or hangs. */
export type Run = (folder: string, file: string) => Promise<string>;

function command(path: string, ...flags: string[]): Run {
  return (folder, file) => {
    const child = spawn(path, [...flags, file], { cwd: folder, timeout: HUNG, killSignal: "SIGKILL" });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (err += chunk));
    return new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status, signal) => {
        if (status === 0) resolve(out);
        else reject(new Error(`${path} ${file} ended with ${status ?? signal}\n${out}${err}`));
      });
    });
  };
}

const CHROMIUM = "/usr/bin/chromium";
const ORIGIN = "http://gopark.test/";

let browser: Promise<Browser> | undefined;

/**
 * Runs a module in a page of its own, whose files are those of the folder, with the traces of Go, until it prints a
 * line of JSON.
 */
async function page(folder: string, file: string): Promise<string> {
  browser ??= chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--js-flags=--expose-gc"] });
  const context = await (await browser).newContext();
  try {
    const tab = await context.newPage();
    await tab.route(`${ORIGIN}**`, (route) => {
      const path = new URL(route.request().url()).pathname.slice(1);
      if (path === "") return route.fulfill({ contentType: "text/html", body: "<!doctype html>" });
      if (!path.endsWith(".gz")) return route.fulfill({ contentType: "text/javascript", path: join(folder, path) });
      return route.fulfill({ contentType: "application/json", body: gunzipSync(readFileSync(join(ROOT, path))) });
    });
    await tab.goto(ORIGIN);
    const printed = new Promise<string>((resolve, reject) => {
      tab.on("console", (message) => {
        if (/^[[{]/.test(message.text())) resolve(message.text());
      });
      tab.on("pageerror", reject);
      setTimeout(() => reject(new Error(`${file} has printed nothing`)), HUNG).unref();
    });
    printed.catch(() => {}); // Awaited below.
    await tab.addScriptTag({ type: "module", url: `/${relative(folder, join(folder, file))}` });
    return await printed;
  } finally {
    await context.close();
  }
}

/** Closes the browser. */
export async function closePages(): Promise<void> {
  await (await browser)?.close();
  browser = undefined;
}

/** Those that load modules and packages by themselves. */
export const programs: Record<string, Run> = {
  "Node, the one that runs the tests": command(process.execPath, "--expose-gc"),
  "Node 22": command(`${BIN}node22/bin/node`, "--expose-gc"),
  "Node 24": command(`${BIN}node24/bin/node`, "--expose-gc"),
  "Node 26": command(`${BIN}node26/bin/node`, "--expose-gc"),
  Bun: command(`${BIN}.bin/bun`, "run"),
  Deno: command(
    `${BIN}.bin/deno`,
    "run",
    "--allow-all",
    "--node-modules-dir=manual",
    "--quiet",
    "--v8-flags=--expose-gc",
  ),
};

/** All. A page runs modules that import none of Node's. */
export const hosts: Record<string, Run> = { ...programs, Chromium: page };

/** What is not there, with the package of Debian that has it. */
export const missing: Record<string, string> = existsSync(CHROMIUM) ? {} : { Chromium: "chromium" };
