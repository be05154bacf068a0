/** Runs a program of docs/examples on the built package: `npm run example crawl`. Without a name, lists them. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";

const [name] = process.argv.slice(2);
const FOLDERS = ["", "faults/"];
const files = FOLDERS.flatMap((folder) => readdirSync(`docs/examples/${folder}`).map((file) => `${folder}${file}`));
const names = files.flatMap((file) => /^(.+)\.ts$/.exec(file)?.[1] ?? []).sort();

if (names.includes(name)) {
  // The types are checked by the gate.
  const flags = "--ignoreConfig --noCheck --target es2022 --module nodenext --types node --rootDir . --outDir .build";
  const { status } = run(`npx tsc ${flags} docs/examples/${name}.ts`);
  process.exitCode = status === 0 ? run(`node .build/docs/examples/${name}.js`).status : status;
} else {
  console.error(`usage: npm run example NAME, with one of: ${names.join(", ")}`);
  process.exitCode = 1;
}

function run(command) {
  return spawnSync(command, { shell: true, stdio: "inherit" });
}
