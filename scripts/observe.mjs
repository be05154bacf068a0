/**
 * Tests the modules for watching a program with the clients and tools that people use with them.
 *
 *   npm run observe
 *
 * The clients are a package of its own in test/observe, which the first run installs. Tools that are not installed are
 * named, and the tests with them are left out.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

const PACKAGE = "test/observe";

/** The programs that the tests run, with the package of Debian that has them. */
const TOOLS = { promtool: "prometheus", prometheus: "prometheus" };

function run(command, args, cwd = ".") {
  return spawnSync(command, args, { cwd, stdio: "inherit" }).status === 0;
}

function isInstalled() {
  const { devDependencies } = JSON.parse(readFileSync(`${PACKAGE}/package.json`, "utf8"));
  return Object.entries(devDependencies).every(([name, version]) => {
    const manifest = `${PACKAGE}/node_modules/${name}/package.json`;
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).version === version;
  });
}

const missing = Object.entries(TOOLS).filter(([tool]) => spawnSync(tool, ["--version"]).error !== undefined);

const ok =
  (isInstalled() || run("npm", ["ci", "--no-audit", "--no-fund"], PACKAGE)) &&
  run("npx", ["tsc", "-p", PACKAGE]) &&
  run("npx", ["vitest", "run", "--config", `${PACKAGE}/vitest.config.ts`, ...process.argv.slice(2)]);

for (const [tool, name] of missing) console.log(`LEFT OUT: the tests with ${tool} (apt-get install ${name})`);
process.exitCode = ok ? 0 : 1;
