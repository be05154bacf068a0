/**
 * The demo and the benchmark of gopark/redis, each with a server of its own:
 *
 *   npm run fleet          four gateways with a common limit; one is killed, and Redis stops for a while
 *   npm run bench:redis    the cost of a call, compared with a PING on the same connection and with other packages
 *
 * The first run installs what they need. They need redis-server: apt-get install redis-server.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const { dependencies } = JSON.parse(readFileSync(`${folder}package.json`, "utf8"));
const isInstalled = Object.entries(dependencies).every(([name, version]) => {
  const manifest = `${folder}node_modules/${name}/package.json`;
  return existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).version === version;
});
if (!isInstalled) spawnSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: folder, stdio: "inherit" });

if (spawnSync("redis-server", ["--version"]).status !== 0) {
  console.log("redis-server is not installed: apt-get install redis-server");
  process.exitCode = 1;
} else {
  await import(`./${process.argv[2]}.mjs`);
}
