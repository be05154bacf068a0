/**
 * Sharded map: each key at most once, whatever changes during the iteration; over one shard and over many that split.
 */
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { processHash } from "../src/internal/data/hash.ts";
import { FULL, Shards } from "../src/internal/data/shards.ts";

// One shard; and many, with more splits to come at the next insertions.
const sizes = [10, 4 * FULL];

function numbers(n: number, from = 0): number[] {
  return Array.from({ length: n }, (_, i) => from + i);
}

function filled(n: number): ShardMap<number, string> {
  return new ShardMap(numbers(n).map((i): [number, string] => [i, `v${i}`]));
}

/** The keys in order; fails at a key that came twice. */
function once(keys: Iterable<number>): number[] {
  const all = [...keys];
  expect(new Set(all).size).toBe(all.length);
  return all.sort((a, b) => a - b);
}

describe.each(sizes)("of %d entries", (n) => {
  test("all ways to iterate give every entry once, and agree on the order", () => {
    const map = filled(n);
    const entries = [...map.entries()];
    expect(once(map.keys())).toEqual(numbers(n));
    expect([...map]).toEqual(entries);
    expect([...map.keys()]).toEqual(entries.map(([key]) => key));
    expect([...map.values()]).toEqual(entries.map(([, value]) => value));
    expect(entries.every(([key, value]) => value === `v${key}`)).toBe(true);

    const called: [number, string][] = [];
    map.forEach((value, key) => {
      called.push([key, value]);
    });
    expect(called).toEqual(entries);
  });

  test("a key that is deleted before it is reached does not come", () => {
    const map = filled(n);
    const seen: number[] = [];
    for (const key of map.keys()) {
      seen.push(key);
      if (seen.length === 3) for (const other of numbers(n)) if (!seen.includes(other)) map.delete(other);
    }
    expect(seen).toHaveLength(3);
    expect(map.size).toBe(3);
  });

  test("a map that is cleared during the iteration gives no more entries, until it is filled again", () => {
    const map = filled(n);
    const seen: number[] = [];
    for (const [key] of map) {
      seen.push(key);
      map.clear();
    }
    expect(seen).toHaveLength(1);
    expect(map.size).toBe(0);
  });

  test.each([0, 0.1, 0.5, 0.9, 1])(
    "a map that is cleared and filled again at %d of the way gives no key twice",
    (part) => {
      const map = filled(n);
      const seen: number[] = [];
      const stop = Math.max(1, Math.floor(part * n));
      for (const [key, value] of map) {
        seen.push(key);
        if (seen.length > stop) expect(value).toBe(`new ${key}`);
        if (seen.length === stop) {
          map.clear();
          for (const each of numbers(n + 5)) map.set(each, `new ${each}`);
        }
      }
      const keys = once(seen);
      expect(keys.length).toBeGreaterThanOrEqual(stop);
      expect(keys.length).toBeLessThanOrEqual(n + 5);
      expect(once(map.keys())).toEqual(numbers(n + 5));
    },
  );

  test.each([0.1, 0.5, 0.9])(
    "a map that is cleared at %d of the way, and filled by and by, gives no key twice",
    (part) => {
      const map = filled(n);
      const seen: number[] = [];
      const all = numbers(3 * n);
      for (const [key] of map) {
        seen.push(key);
        if (seen.length === Math.ceil(part * n)) {
          map.clear();
          for (const each of seen) map.set(each, "again");
        }
        if (seen.length >= Math.ceil(part * n)) for (const each of all.splice(0, 4)) map.set(each, "added");
      }
      once(seen);
      for (const each of numbers(3 * n)) map.set(each, "all");
      expect(once(map.keys())).toEqual(numbers(3 * n));
    },
  );

  test("a map that is cleared again and again at each key, and gets all of them back, ends", () => {
    const map = filled(10);
    const seen: number[] = [];
    for (const [key] of map) {
      seen.push(key);
      map.clear();
      for (const each of numbers(10)) map.set(each, "again");
    }
    expect(once(seen)).toEqual(numbers(10));
  });

  test("a key that is deleted and set again at its turn comes once", () => {
    const map = filled(n);
    const seen: number[] = [];
    for (const [key, value] of map) {
      seen.push(key);
      map.delete(key);
      map.set(key, value);
    }
    expect(once(seen)).toEqual(numbers(n));
    expect(map.size).toBe(n);
  });

  test("a key that came before, is deleted and set again does not come again", () => {
    const map = filled(n);
    const seen: number[] = [];
    for (const [key] of map) {
      seen.push(key);
      const first = seen[0] as number;
      map.delete(first);
      map.set(first, "again");
    }
    expect(once(seen)).toEqual(numbers(n));
  });

  test("a value is read when its key is reached", () => {
    const map = filled(n);
    let first: number | undefined;
    for (const [key, value] of map) {
      if (first === undefined) {
        first = key;
        for (const each of numbers(n)) map.set(each, `new ${each}`);
      } else expect(value).toBe(`new ${key}`);
    }
    expect(map.size).toBe(n);
  });

  test("a value that is set to undefined during the iteration comes as undefined", () => {
    const map = new ShardMap<number, string | undefined>(filled(n));
    let reached = 0;
    for (const [, value] of map) {
      if (reached++ === 0) for (const each of numbers(n)) map.set(each, undefined);
      else expect(value).toBeUndefined();
    }
    expect(reached).toBe(n);
  });

  test("keys that are added during the iteration, until shards split, come at most once; earlier ones come", () => {
    const map = filled(n);
    const seen: number[] = [];
    let next = n;
    for (const [key] of map) {
      seen.push(key);
      if (seen.length > n + 8 * FULL) break;
      for (let more = n < FULL ? FULL / 2 : 2; more > 0 && next < n + 5 * FULL; more--, next++) map.set(next, "added");
    }
    expect(once(seen).slice(0, n)).toEqual(numbers(n));
    expect([map.size, next]).toEqual([n + 5 * FULL, n + 5 * FULL]);
    expect(once(map.keys())).toEqual(numbers(next));
  });

  test("adding at each step a key that was never there ends", () => {
    const map = filled(n);
    let next = n;
    for (const [key] of map) {
      if (next > 3 * n) break;
      if (key < n) map.set(next++, "added");
    }
    expect(map.size).toBe(2 * n);
  });

  test("deleting at each step the key that came leaves nothing", () => {
    const map = filled(n);
    expect(
      once(
        (function* () {
          for (const key of map.keys()) {
            yield key;
            map.delete(key);
          }
        })(),
      ),
    ).toEqual(numbers(n));
    expect(map.size).toBe(0);
  });

  test("two iterations at once do not disturb each other", () => {
    const map = filled(n);
    const [a, b] = [map.keys(), map.keys()];
    const seen: [number[], number[]] = [[], []];
    for (let i = 0; i < n; i++) {
      seen[0].push(a.next().value);
      if (i % 2 === 0) seen[1].push(b.next().value);
    }
    seen[1].push(...b);
    expect(a.next().done).toBe(true);
    expect([once(seen[0]), once(seen[1])]).toEqual([numbers(n), numbers(n)]);
  });

  test("an iteration that is left can be left anywhere", () => {
    const map = filled(n);
    for (const iterator of [map.keys(), map.values(), map.entries(), map[Symbol.iterator]()]) {
      iterator.next();
      expect(iterator.return?.()).toEqual({ done: true, value: undefined });
      expect(iterator.next().done).toBe(true);
    }
  });
});

test("an iterator is its own iterable, and stays at its end", () => {
  const map = new ShardMap([["a", 1]]);
  for (const iterator of [map.keys(), map.values(), map.entries(), map[Symbol.iterator]()]) {
    expect(iterator[Symbol.iterator]()).toBe(iterator);
    expect(iterator.next().done).toBe(false);
    expect(iterator.next()).toEqual({ done: true, value: undefined });
    map.set(`more ${map.size}`, 2);
    expect(iterator.next()).toEqual({ done: true, value: undefined });
    for (const key of [...map.keys()]) if (key !== "a") map.delete(key);
  }
});

test("forEach gives value, key and the map, on the given this", () => {
  const map = new ShardMap([["a", 1]]);
  const self = {};
  const calls: unknown[] = [];
  map.forEach(function (this: unknown, ...args: unknown[]) {
    calls.push(this, ...args);
  }, self);
  expect(calls).toHaveLength(4);
  expect(calls[0]).toBe(self);
  expect(calls.slice(1, 3)).toEqual([1, "a"]);
  expect(calls[3]).toBe(map);
  expect(map.forEach(() => {})).toBeUndefined();
});

test("an error of forEach's function is thrown at once", () => {
  const map = filled(10);
  const boom = new Error("boom");
  let calls = 0;
  expect(() =>
    map.forEach(() => {
      calls++;
      throw boom;
    }),
  ).toThrow(boom);
  expect(calls).toBe(1);
});

// Go's TestMapRangeNestedCall: inside a range, another range, and writes to the keys that both are walking over.
test("an iteration inside an iteration may write what both walk over", () => {
  const map = new ShardMap<number, string>(["hello", "world", "Go"].map((word, i) => [i, word]));
  const outer: number[] = [];
  map.forEach((_, key) => {
    outer.push(key);
    const inner: number[] = [];
    map.forEach((value, key) => {
      inner.push(key);
      expect(map.has(key)).toBe(true);
      expect(map.loadOrStore(key, "dummy")).toEqual({ value, loaded: true });
      expect(map.loadAndDelete(key)).toEqual({ value, loaded: true });
      map.set(key, value);
    });
    expect(once(inner)).toEqual([0, 1, 2]);
    map.delete(key);
    expect(map.loadOrStore(key, "dummy")).toEqual({ value: "dummy", loaded: false });
  });
  expect(once(outer)).toEqual([0, 1, 2]);
  expect([...map.values()]).toEqual(["dummy", "dummy", "dummy"]);
});

test("a map can be copied by its entries, into a Map and into itself", () => {
  const map = filled(3 * FULL);
  expect(new Map(map).size).toBe(3 * FULL);
  for (const [key, value] of map) map.set(key, value);
  expect(map.size).toBe(3 * FULL);
  const copy = new ShardMap(map);
  map.clear();
  expect([copy.size, copy.get(3 * FULL - 1)]).toEqual([3 * FULL, `v${3 * FULL - 1}`]);
});

test("after a clear, a walk goes on at the first hash that it has not passed", () => {
  const shards = new Shards<number, number>();
  for (let i = 0; i <= FULL; i++) shards.set(i, i);
  const [{ end }] = (shards as unknown as { directory: { end: number }[] }).directory as [{ end: number }];
  const hash = processHash();
  const place = (key: number) => hash(key) >>> 16;
  // Keys at the last places that will have been passed, and at the first that will not.
  const others: number[] = [];
  const have = (at: number) => others.some((key) => place(key) === at);
  for (let key = FULL + 1; !have(end - 1) || !have(end); key++) {
    if (Math.abs(place(key) - end) <= 2) others.push(key);
  }
  const walk = shards.entries();
  walk.next();
  shards.clear();
  for (const key of others) shards.set(key, key);
  expect([...walk].map(([key]) => key)).toEqual(others.filter((key) => place(key) >= end));
});
