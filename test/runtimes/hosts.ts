/** The runtimes: how each runs a program to its end, and what it printed. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const BIN = new URL("./node_modules/", import.meta.url).pathname;
// Far beyond what any of these programs needs.
const HUNG = 60_000;

/** Runs `file`, in its folder, and resolves to what it printed. Rejects if it fails or hangs. */
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
      child.on("close", (status) => {
        if (status === 0) resolve(out);
        else reject(new Error(`${path} ${file} ended with ${status}\n${out}${err}`));
      });
    });
  };
}

/** Runs a bundle of ESM in a page of its own, until it prints its first line. */
const page: Run = async (folder, file) => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  try {
    const tab = await browser.newPage();
    const printed = new Promise<string>((resolve, reject) => {
      tab.on("console", (message) => resolve(message.text()));
      tab.on("pageerror", reject);
    });
    const [line] = await Promise.all([
      printed,
      tab.addScriptTag({ type: "module", content: await readFile(join(folder, file), "utf8") }),
    ]);
    return line;
  } finally {
    await browser.close();
  }
};

const CHROMIUM = "/usr/bin/chromium";

/** Those that load modules and packages by themselves. */
export const programs: Record<string, Run> = {
  "Node, the one that runs the tests": command(process.execPath),
  "Node 22": command(`${BIN}node22/bin/node`),
  "Node 24": command(`${BIN}node24/bin/node`),
  "Node 26": command(`${BIN}node26/bin/node`),
  Bun: command(`${BIN}.bin/bun`, "run"),
  Deno: command(`${BIN}.bin/deno`, "run", "--allow-all", "--node-modules-dir=manual", "--quiet"),
};

/** Those that run bundles. */
export const bundles: Record<string, Run> = { ...programs, Chromium: page };

/** What is not there, with the package of Debian that has it. */
export const missing: Record<string, string> = existsSync(CHROMIUM) ? {} : { Chromium: "chromium" };
