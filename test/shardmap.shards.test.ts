/** Sharded map: shards that split lose nothing, whatever the keys are. */
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { FULL } from "../src/internal/data/shards.ts";
import { families } from "./support/keys.ts";

describe("splitting", () => {
  test.each([FULL - 1, FULL, FULL + 1, 2 * FULL, 20 * FULL])("%d entries are all there, and can all go", (n) => {
    const map = new ShardMap<string, number>();
    for (let i = 0; i < n; i++) {
      map.set(`key ${i}`, i);
      if (i % 1021 === 0) expect(map.size).toBe(i + 1);
    }
    let right = 0;
    for (let i = 0; i < n; i++) if (map.get(`key ${i}`) === i && map.has(`key ${i}`)) right++;
    expect([map.size, right, [...map.keys()].length]).toEqual([n, n, n]);
    expect([map.has(`key ${n}`), map.get(`key ${n}`), map.delete(`key ${n}`)]).toEqual([false, undefined, false]);

    let gone = 0;
    for (let i = 0; i < n; i++) if (map.delete(`key ${i}`)) gone++;
    expect([map.size, gone, [...map]]).toEqual([0, n, []]);
    map.set("again", 1);
    expect([...map]).toEqual([["again", 1]]);
  });

  test.each([
    "UUIDs",
    "long strings that differ in the middle",
    "integers",
    "halves",
    "negative bigints",
    "objects of every kind",
    "symbols",
    "registered symbols",
  ])("a map of 40 000 %s finds each", (name) => {
    const keys = Array.from({ length: 40_000 }, (_, i) => families[name]?.(i));
    const map = new ShardMap(keys.map((key, i) => [key, i]));
    expect(map.size).toBe(40_000);
    expect(keys.filter((key, i) => map.get(key) === i)).toHaveLength(40_000);
    expect(new Set(map.keys())).toEqual(new Set(keys));
  });

  test("0, -0 and NaN are found after a split as before", () => {
    const map = new ShardMap<number, string>([
      [-0, "zero"],
      [Number.NaN, "none"],
    ]);
    for (let i = 1; i < 3 * FULL; i++) map.set(i + 0.25, "filling");
    expect([map.get(0), map.get(-0), map.get(Number.NaN)]).toEqual(["zero", "zero", "none"]);
    map.set(0, "new").set(Number.NaN, "new");
    expect([map.size, map.get(-0), map.get(Number.NaN)]).toEqual([3 * FULL + 1, "new", "new"]);
  });

  test("an overwriting set at the edge of a split adds nothing", () => {
    const map = new ShardMap<number, number>();
    for (let i = 0; i < FULL - 1; i++) map.set(i, i);
    for (let again = 0; again < 3; again++) map.set(0, again);
    expect([map.size, map.get(0)]).toEqual([FULL - 1, 2]);
    map.set(FULL, 1);
    for (let i = 0; i < FULL - 1; i++) map.set(i, -i);
    expect([map.size, map.get(5)]).toEqual([FULL, -5]);
  });

  test("the verbs answer the same over many shards", async () => {
    const map = new ShardMap<number, number>(Array.from({ length: 3 * FULL }, (_, i) => [i, i]));
    expect(map.swap(5, 50)).toEqual({ value: 5, loaded: true });
    expect(map.loadOrStore(-5, 7)).toEqual({ value: 7, loaded: false });
    expect(map.loadAndDelete(6)).toEqual({ value: 6, loaded: true });
    expect([map.compareAndSwap(7, 7, 70), map.compareAndDelete(8, 9)]).toEqual([true, false]);
    expect(await map.update(7, (n = 0) => n + 1)).toBe(71);
    expect(await map.getOrLoad(-6, () => -60)).toBe(-60);
    expect([map.size, map.get(-6), map.getOrInsert(6, 0)]).toEqual([3 * FULL + 1, -60, 0]);
  });
});
