/**
 * Tests the library with programs of other projects.
 *
 *   npm run redis         gopark/redis with redis-server and the clients for it; its package is test/fleet
 *   npm run http          gopark/http and gopark/admission with HTTP clients and frameworks
 *   npm run observe       gopark/metrics with the clients and tools for watching a program
 *   npm run consumers     projects that install the package: compilers, bundlers, test runners, versions of Node
 *   npm run runtimes      other runtimes: Node's other versions, Bun, Deno, Chromium
 *
 * What is needed is a package of its own, test/observe for example, which the first run installs. Its package.json
 * names what has to be installed on the machine, too ("tools"). What is not is said, and the tests with it are left
 * out.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

const [name, ...args] = process.argv.slice(2);
const folder = `test/${name}`;
if (name === undefined || !existsSync(`${folder}/package.json`)) throw new Error(`no package ${folder}`);
const { devDependencies, tools = {} } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));

function run(command, args, cwd = ".") {
  return spawnSync(command, args, { cwd, stdio: "inherit" }).status === 0;
}

function isInstalled() {
  return Object.entries(devDependencies).every(([name, version]) => {
    const manifest = `${folder}/node_modules/${name}/package.json`;
    // A package under another name: "npm:node@22.1.0".
    return (
      existsSync(manifest) && version.replace(/^npm:.*@/, "") === JSON.parse(readFileSync(manifest, "utf8")).version
    );
  });
}

/** The programs that the tests run, with the packages of Debian that have them. */
const missing = Object.entries(tools).filter(([tool]) => spawnSync(tool, ["--version"]).error !== undefined);

const ok =
  (isInstalled() || run("npm", ["ci", "--no-audit", "--no-fund"], folder)) &&
  run("npx", ["tsc", "-p", folder]) &&
  run("npx", ["vitest", "run", "--config", `${folder}/vitest.config.ts`, ...args]) &&
  run("npm", ["run", "--silent", "--if-present", "matrix"], folder);

for (const [tool, from] of missing) console.log(`LEFT OUT: the tests with ${tool} (apt-get install ${from})`);
process.exitCode = ok ? 0 : 1;
