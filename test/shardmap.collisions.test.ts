/** Sharded map: keys whose hashes no split can separate, all of them or most. */
import { ShardMap } from "gopark/shardmap";
import { afterEach, expect, test, vi } from "vitest";
import { FULL, Shards } from "../src/internal/data/shards.ts";

const hashes = vi.hoisted(() => ({ of: (_key: unknown): number => 0 }));

vi.mock("../src/internal/data/hash.ts", () => ({ processHash: () => (key: unknown) => hashes.of(key) >>> 0 }));

afterEach(() => {
  hashes.of = () => 0;
});

const hostile: Record<string, (key: number) => number> = {
  "all hashes are 0": () => 0,
  "all hashes have every bit set": () => 0xffff_ffff,
  "all hashes are one number": () => 0xdead_beef,
  "hashes differ in the last bit only": (key) => 0x8000_0000 | (key & 1),
  "hashes differ in the last 16 bits only": (key) => 0x7fff_0000 | (key & 0xffff),
  "hashes differ in the first bit only": (key) => key << 31,
  "hashes differ in the sixteenth bit only": (key) => (key & 1) << 16,
  "two places at the ends of the table": (key) => (key % 2 === 0 ? 0 : 0xffff_ffff),
  "one key in a thousand is elsewhere": (key) => (key % 1000 === 0 ? key << 20 : 1),
  "hashes are the keys": (key) => key,
  "hashes are the keys, upside down": (key) => ~key,
};

test.each(Object.entries(hostile))("%s: nothing is lost, and nothing comes twice", (_, of) => {
  hashes.of = (key) => of(key as number);
  const n = 2 * FULL + 1000;
  const map = new ShardMap<number, string>();
  for (let key = 0; key < n; key++) map.set(key, `v${key}`);

  let right = 0;
  for (let key = 0; key < n; key++) if (map.get(key) === `v${key}`) right++;
  expect([map.size, right, map.has(n), map.get(-1)]).toEqual([n, n, false, undefined]);

  const seen = new Set<number>();
  let steps = 0;
  for (const [key] of map) {
    steps++;
    seen.add(key);
    if (steps % 100 === 0) map.set(-steps, "added").delete(-steps);
  }
  expect([steps - seen.size, [...seen].filter((key) => key < n).length]).toEqual([0, n]);

  let gone = 0;
  for (let key = 0; key < n; key += 2) if (map.delete(key)) gone++;
  expect([gone, map.size, [...map.keys()].every((key) => key % 2 === 1)]).toEqual([n / 2, n / 2, true]);
  map.clear();
  expect([map.size, [...map], map.has(1)]).toEqual([0, [], false]);
  map.set(1, "again");
  expect([...map]).toEqual([[1, "again"]]);
});

test("a split in the middle of an iteration, at any depth, gives each key once", () => {
  hashes.of = (key) => Math.imul(key as number, 0x9e37_79b1);
  const n = 2 * FULL;
  const map = new ShardMap<number, number>();
  for (let key = 0; key < n; key++) map.set(key, 0);
  const seen: number[] = [];
  let next = n;
  for (const key of map.keys()) {
    if (key < n) seen.push(key);
    // Fills the shards that come, and those that were, and the one that is being walked over.
    for (let more = 0; more < 5 && next < 8 * n; more++) map.set(next++, 0);
  }
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
  expect(map.size).toBe(8 * n);
});

/** The number of shards, and of their places in the directory. */
function inside(shards: Shards<number, number>): [shards: number, places: number] {
  const { directory } = shards as unknown as { directory: unknown[] };
  return [new Set(directory).size, directory.length];
}

test.each(Object.entries(hostile))("%s: the directory has few places for each shard", (_, of) => {
  const shards = new Shards<number, number>();
  // Nor does it after it had many shards.
  for (const before of [0, 30 * FULL]) {
    hashes.of = (key) => Math.imul(key as number, 0x9e37_79b1);
    for (let key = 0; key < before; key++) shards.set(key, key);
    shards.clear();
    hashes.of = (key) => of(key as number);
    for (let key = 0; key < 3 * FULL; key++) shards.set(key, key);
    const [count, places] = inside(shards);
    expect(places).toBeLessThanOrEqual(16 * count);
  }
});

test("no shard is split beyond the sixteenth bit", () => {
  hashes.of = (key) => (key as number) & 1;
  const shards = new Shards<number, number>();
  // As if there were enough shards for a full directory to matter little.
  (shards as unknown as { count: number }).count = 2 ** 20;
  for (let key = 0; key < 2 * FULL; key++) shards.set(key, key);
  expect(inside(shards)).toEqual([17, 2 ** 16]);
  expect(shards.size).toBe(2 * FULL);
  expect(new Set([...shards.entries()].map(([key]) => key)).size).toBe(2 * FULL);
});

test("a shard that could not be split is split when the others have caught up", () => {
  const spread = (key: number) => Math.imul(key, 0x9e37_79b1);
  // The first keys have their first eight bits in common.
  hashes.of = (key) => ((key as number) < 2 * FULL ? spread(key as number) >>> 8 : spread(key as number));
  const shards = new Shards<number, number>();
  for (let key = 0; key < 2 * FULL; key++) shards.set(key, key);
  expect(shards.of(0).size).toBeGreaterThan(FULL);
  for (let key = 2 * FULL; key < 60 * FULL; key++) shards.set(key, key);
  for (let key = 0; key < 2 * FULL; key++) shards.set(key, -key);
  expect(shards.of(0).size).toBeLessThanOrEqual(FULL);
  let right = 0;
  for (let key = 0; key < 60 * FULL; key++) if (shards.of(key).get(key) === (key < 2 * FULL ? -key : key)) right++;
  expect([right, shards.size]).toEqual([60 * FULL, 60 * FULL]);
});

test("hashes that are spread evenly are split at once: no shard is ever full", () => {
  hashes.of = (key) => Math.imul(key as number, 0x9e37_79b1);
  const shards = new Shards<number, number>();
  let fullest = 0;
  for (let key = 0; key < 40 * FULL; key++) {
    shards.set(key, key);
    fullest = Math.max(fullest, shards.of(key).size);
  }
  expect(fullest).toBeLessThan(FULL);
});

test("a cleared map costs nothing more: there is one shard, as at the start", () => {
  hashes.of = (key) => Math.imul(key as number, 0x9e37_79b1);
  const shards = new Shards<number, number>();
  for (let round = 0; round < 2; round++) {
    for (let key = 0; key < 10 * FULL; key++) shards.set(key, key);
    const [count] = inside(shards);
    expect(count).toBeGreaterThan(10);
    expect(shards.size).toBe(10 * FULL);
    shards.clear();
    expect([...inside(shards), shards.size, shards.of(1).has(1)]).toEqual([1, 1, 0, false]);
  }
  // As long as there is one shard, nothing is hashed.
  hashes.of = () => {
    throw new Error("hashed");
  };
  shards.set(1, 1);
  expect([...shards.entries()]).toEqual([[1, 1]]);
});
