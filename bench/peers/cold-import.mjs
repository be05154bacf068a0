/**
 * Prints, as one line of JSON, the milliseconds of a cold import of each package: the median of five fresh processes.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const RUNS = 5;
const cwd = new URL(".", import.meta.url);
const manifest = (path) => JSON.parse(readFileSync(new URL(`${path}package.json`, cwd), "utf8"));
const packages = Object.keys(manifest("./").dependencies).filter((name) => name !== "tinybench");

function importTime(specifier) {
  const code = `const t = performance.now(); await import(${JSON.stringify(specifier)}); console.log(performance.now() - t)`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
    cwd,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr.trim().split("\n").at(-1));
  return Number(stdout);
}

const ms = {};
const errors = {};
for (const [name, specifier] of [["(an empty module)", "data:text/javascript,"], ...packages.map((p) => [p, p])]) {
  try {
    importTime(specifier); // The files may not be in the system's cache yet.
    const times = Array.from({ length: RUNS }, () => importTime(specifier)).sort((a, b) => a - b);
    ms[name] = times[(RUNS - 1) / 2];
  } catch (error) {
    errors[name] = String(error);
  }
}
console.log(JSON.stringify({ node: process.version, ms, errors }));
