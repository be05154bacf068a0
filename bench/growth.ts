/**
 * One point of a growth: a process that measures the series, the side (`ours` or `floor`) and the size it is given, and
 * prints nanoseconds per operation. Each point has a process of its own. Otherwise the waiters of one point would be in
 * the heap of the next and slow it down.
 */
import { growthSeries } from "./growthSeries.ts";
import { measure } from "./support/measure.ts";
import { median } from "./support/stats.ts";

const WARM_MS = 150;
const ROUNDS = 5;
const MS = 20;
/** After this time no further round starts. The first always runs. */
const SHARE_MS = 1_500;

const [series, side, size] = process.argv.slice(2);
const growth = growthSeries[Number(series)];
const make = side === "ours" ? growth?.ours : growth?.floor;
if (make === undefined) throw new Error(`nothing to measure for "${series} ${side}"`);
const { ops, run } = make(Number(size));

const begin = performance.now();
await measure(run, ops, WARM_MS); // Compiles, and parks the waiters.
const rounds: number[] = [];
do rounds.push(await measure(run, ops, MS));
while (rounds.length < ROUNDS && performance.now() - begin < SHARE_MS);
console.log(median(rounds));
process.exit(); // Receivers stay parked.
