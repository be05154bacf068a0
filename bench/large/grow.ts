/**
 * In a process of its own: fills a Map or a ShardMap with string keys and reports the longest pause of a single `set`,
 * without the collector's part of it.
 */
import { PerformanceObserver, performance } from "node:perf_hooks";
import { shardmap } from "gopark";

const [kind = "", count = ""] = process.argv.slice(2);
const entries = Number(count);

/** A `set` that takes less is no pause. */
const leastMs = 0.5;

const collections: { from: number; to: number }[] = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) {
    collections.push({ from: startTime, to: startTime + duration });
  }
}).observe({ entryTypes: ["gc"] });

// Created beforehand, so that only the map is measured.
const keys = Array.from({ length: entries }, (_, i) => `user:${i}`);
const map: { set(key: string, value: number): unknown; readonly size: number } =
  kind === "Map" ? new Map() : new shardmap.ShardMap();

const slow: { from: number; to: number }[] = [];
const started = performance.now();
let from = started;
for (let i = 0; i < entries; i++) {
  map.set(keys[i] as string, i);
  const to = performance.now();
  if (to - from > leastMs) slow.push({ from, to });
  from = to;
}
// The observer gets the collections in later turns.
await new Promise((resolve) => setTimeout(resolve, 500));

/** The milliseconds of a span outside of collections. */
function outsideCollections(span: { from: number; to: number }): number {
  const overlap = (c: { from: number; to: number }) => Math.min(c.to, span.to) - Math.max(c.from, span.from);
  return collections.reduce((ms, c) => ms - Math.max(0, overlap(c)), span.to - span.from);
}

const pauses = slow.map(outsideCollections).sort((a, b) => b - a);
if (map.size !== entries) throw new Error(`${map.size} entries instead of ${entries}`);
process.send?.({ worstMs: pauses[0] ?? 0, totalMs: from - started });
