/**
 * One point of a growth: a process that measures the series, the side (`ours` or `floor`) and the size it is given, and
 * prints nanoseconds per operation. Each point has a process of its own, or what waits for one would be in the heap of
 * the other: with 100 000 waiters beside it, a release to the only one seemed to take twice as long.
 */
import { growths } from "./growths.ts";
import { measure } from "./support/measure.ts";
import { median } from "./support/stats.ts";

const WARM_MS = 150;
const ROUNDS = 5;
const MS = 20;
/** After so long there are no more rounds, but one. */
const SHARE_MS = 1_500;

const [series, side, size] = process.argv.slice(2);
const growth = growths[Number(series)];
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
