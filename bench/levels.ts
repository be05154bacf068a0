/**
 * A row under one level of tracking: a process that measures the row's own contender, `node levels.js <level> <row>`,
 * and prints nanoseconds. Each level has a process of its own, as V8 would compile the row for all of them.
 */
import { leak } from "gopark";
import { files } from "./rows.ts";
import { measure } from "./support/measure.ts";
import { LEVELS, type LevelName } from "./support/measureLevels.ts";

const MS = 150;

const [level = "", id] = process.argv.slice(2);
const row = Object.values(files)
  .flat()
  .find((it) => it.id === id);
if (row === undefined || !(level in LEVELS)) throw new Error(`no level "${level}", or no row "${id}"`);
const { name, options } = LEVELS[level as LevelName];
leak.track(name, options);
await measure(row.ours, row.ops, MS); // Until it is compiled.
console.log(await measure(row.ours, row.ops, 2 * MS));
