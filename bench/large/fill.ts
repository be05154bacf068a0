/**
 * In a process of its own, with `--expose-gc`: fills a Map or a ShardMap with integers and reports the memory per
 * entry.
 */
import { shardmap } from "gopark";

const [kind = "", count = ""] = process.argv.slice(2);
const entries = Number(count);
const collect = globalThis.gc;
if (collect === undefined) throw new Error("needs --expose-gc");

collect();
const before = process.memoryUsage().heapUsed;
const map: { set(key: number, value: number): unknown; get(key: number): unknown; readonly size: number } =
  kind === "Map" ? new Map() : new shardmap.ShardMap();
let refused: string | undefined;
try {
  for (let i = 0; i < entries; i++) map.set(i, i);
} catch (err) {
  refused = String(err);
}
collect();
const { size } = map;
const bytes = (process.memoryUsage().heapUsed - before) / size;
for (let i = 0; i < size; i++) if (map.get(i) !== i) throw new Error(`entry ${i} is ${map.get(i)}`);
process.send?.({ entries: size, bytes, refused });
