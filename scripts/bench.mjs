/**
 * Builds and runs the comparison with the floor, Go and the peers.
 *
 *   npm run bench                 everything, in under ten minutes; writes bench/results/bench.json
 *   npm run bench -- --quick      the rows alone, in under a minute
 *   npm run bench -- chan         the rows with that prefix, or of a file: `channel`; or one of the sections `memory`,
 *                                 `growth`, `steps`, `ticks`, `modules`
 *   npm run bench -- --guard      compares with docs/performance.json, fails on a regression beyond the noise
 *   npm run bench -- --against TREE [chan...] [--processes N]
 *                                 compares with another checkout, row by row, fails if a row has become slower
 */
import { spawnSync } from "node:child_process";

const run = (command, args, shell) => spawnSync(command, args, { shell, stdio: "inherit" }).status ?? 1;

process.exitCode =
  run("npm run --silent build:bench", [], true) ||
  run(process.execPath, [".build/bench/compare.js", ...process.argv.slice(2)], false);
