/**
 * Runs the demo service of docs/examples/order-api, and what loads it.
 *
 *   npm run demo              starts the service and its upstreams
 *   npm run demo -- load      in another terminal: loads it for twelve seconds
 *
 * Fastify is in a package of its own there, which the first run installs.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

const FOLDER = "docs/examples/order-api";
const [program = "main"] = process.argv.slice(2);
if (!["main", "load"].includes(program)) {
  console.error(`usage: npm run demo, or npm run demo -- load; got ${program}`);
  process.exit(1);
}

const run = (command, cwd = ".") => spawnSync(command, { shell: true, stdio: "inherit", cwd }).status === 0;

// Ctrl-C is for the service, which ends in good order; this process ends with it.
process.on("SIGINT", () => {});
const ok =
  (existsSync(`${FOLDER}/node_modules/fastify`) || run("npm ci --no-audit --no-fund", FOLDER)) &&
  run("npm run --silent build") &&
  run(`npx tsc -p ${FOLDER}`) &&
  run(`node ${FOLDER}/.build/${program}.js`);
process.exitCode = ok ? 0 : 1;
