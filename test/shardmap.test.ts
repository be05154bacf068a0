/** Sharded map: Map's methods, the upsert methods of ES2026, Go's atomic verbs, and keys of every kind. */
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";

// Each pair is two different keys, for a Map and here, however alike they look.
const lookAlikes: [unknown, unknown][] = [
  [1, "1"],
  [1, 1n],
  [1, true],
  [0, ""],
  [0, false],
  [0, null],
  [null, undefined],
  [null, "null"],
  [undefined, "undefined"],
  [Number.NaN, "NaN"],
  [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  [2 ** 53, 2n ** 53n],
  [{}, {}],
  [[], []],
  [Symbol("s"), Symbol("s")],
  [Symbol.for("s"), "s"],
  [() => {}, () => {}],
  ["é", "e\u0301"],
  ["", "\0"],
  ["\ud800", "\ufffd"],
];

const keys: unknown[] = [
  ...lookAlikes.flat(),
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  0.1,
  -1,
  Number.MIN_VALUE,
  Number.MAX_VALUE,
  new Date(0),
  Object.create(null),
  Object.freeze({}),
  Symbol.iterator,
  new Proxy({}, {}),
];
const distinct = new Set(keys);

describe("Map's methods", () => {
  test("a new map has nothing; set, get, has, delete, size and clear do what Map's do", () => {
    const map = new ShardMap<string, number>();
    expect([map.size, map.get("a"), map.has("a"), map.delete("a")]).toEqual([0, undefined, false, false]);

    expect(map.set("a", 1).set("b", 2)).toBe(map);
    expect([map.size, map.get("a"), map.get("b"), map.has("a")]).toEqual([2, 1, 2, true]);

    map.set("a", 3);
    expect([map.size, map.get("a")]).toEqual([2, 3]);

    expect([map.delete("a"), map.delete("a"), map.size, map.has("a")]).toEqual([true, false, 1, false]);
    expect(map.clear()).toBeUndefined();
    expect([map.size, map.get("b"), [...map]]).toEqual([0, undefined, []]);
    map.set("b", 4);
    expect([...map]).toEqual([["b", 4]]);
  });

  test("it is created from the same arguments as a Map, and a later entry overwrites an earlier one", () => {
    const entries: [string, number][] = [
      ["a", 1],
      ["b", 2],
      ["a", 3],
    ];
    const generated = function* () {
      yield* entries;
    };
    for (const source of [entries, new Map(entries), new Set(entries), generated(), new ShardMap(entries)]) {
      expect(new Map(new ShardMap(source))).toEqual(new Map(entries));
    }
    expect([new ShardMap(null).size, new ShardMap(undefined).size, new ShardMap([]).size]).toEqual([0, 0, 0]);
  });

  test("two maps with one key have nothing to do with each other", () => {
    const key = {};
    const [a, b] = [new ShardMap([[key, "a"]]), new ShardMap([[key, "b"]])];
    a.delete(key);
    expect([a.has(key), b.get(key)]).toEqual([false, "b"]);
  });

  test("size cannot be set", () => {
    const map = new ShardMap([[1, 1]]);
    expect(() => {
      (map as { size: number }).size = 5;
    }).toThrow(TypeError);
    expect(map.size).toBe(1);
  });
});

describe("keys", () => {
  test.each(lookAlikes)("%o and %o are two keys", (one, other) => {
    const map = new ShardMap<unknown, string>([
      [one, "one"],
      [other, "other"],
    ]);
    expect([map.size, map.get(one), map.get(other)]).toEqual([2, "one", "other"]);
    map.delete(one);
    expect([map.size, map.has(one), map.get(other)]).toEqual([1, false, "other"]);
  });

  test("keys of every kind live together, and each finds its own value", () => {
    const map = new ShardMap<unknown, number>();
    let n = 0;
    for (const key of distinct) map.set(key, n++);

    expect(map.size).toBe(distinct.size);
    expect([...distinct].map((key) => map.get(key))).toEqual([...distinct].map((_, i) => i));
    expect(new Set(map.keys())).toEqual(distinct);
    for (const key of distinct) expect(map.delete(key)).toBe(true);
    expect(map.size).toBe(0);
  });

  test("NaN is one key, 0 and -0 are one, which is kept as 0", () => {
    const map = new ShardMap<number, string>([[-0, "zero"]]);
    map.set(Number.NaN, "a").set(Number.NaN, "b");

    expect([map.size, map.get(Number.NaN), map.get(0), map.get(-0)]).toEqual([2, "b", "zero", "zero"]);
    expect([...map.keys()].some((key) => Object.is(key, -0))).toBe(false);
    expect([map.delete(0), map.delete(Number.NaN), map.size]).toEqual([true, true, 0]);
  });

  test("names of Object.prototype are keys like others", () => {
    const map = new ShardMap<string, unknown>();
    expect([map.get("__proto__"), map.get("constructor"), map.has("toString")]).toEqual([undefined, undefined, false]);
    map.set("__proto__", { polluted: true });
    expect((map as { polluted?: boolean }).polluted).toBeUndefined();
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect([...map]).toEqual([["__proto__", { polluted: true }]]);
  });

  test("an object that changes stays the key it was, and is not looked into", () => {
    const key = { id: 1 };
    const untouchable = new Proxy(
      {},
      {
        get: () => expect.unreachable("a key's property was read"),
        ownKeys: () => expect.unreachable("a key's properties were listed"),
      },
    );
    const map = new ShardMap<object, string>([
      [key, "k"],
      [untouchable, "u"],
    ]);
    key.id = 2;
    expect([map.get(key), map.get(untouchable), map.get({ id: 2 })]).toEqual(["k", "u", undefined]);
  });

  test("undefined and null are values like others", () => {
    const map = new ShardMap<string, null | undefined>([
      ["u", undefined],
      ["n", null],
    ]);
    expect([map.size, map.has("u"), map.get("u"), map.has("n"), map.get("n")]).toEqual([
      2,
      true,
      undefined,
      true,
      null,
    ]);
    expect([...map.values()]).toEqual(expect.arrayContaining([undefined, null]));
    expect([...map.entries()]).toHaveLength(2);
  });
});

describe("upsert", () => {
  test("getOrInsert returns the stored value, or stores its argument", () => {
    const map = new ShardMap<string, number | undefined>([["u", undefined]]);
    expect([map.getOrInsert("a", 1), map.getOrInsert("a", 2), map.getOrInsert("u", 3)]).toEqual([1, 1, undefined]);
    expect(map.get("a")).toBe(1);
    expect(map.size).toBe(2);
  });

  test("getOrInsertComputed computes only missing values, from the key alone", () => {
    const map = new ShardMap<string, unknown>([["u", undefined]]);
    const calls: unknown[] = [];
    function compute(this: unknown, ...args: unknown[]): string {
      calls.push([this, ...args]);
      return `made of ${args[0]}`;
    }
    expect(map.getOrInsertComputed("a", compute)).toBe("made of a");
    expect(map.getOrInsertComputed("a", compute)).toBe("made of a");
    expect(map.getOrInsertComputed("u", compute)).toBeUndefined();
    expect(calls).toEqual([[undefined, "a"]]);
    expect(map.get("a")).toBe("made of a");
  });

  test("an error of getOrInsertComputed's function is thrown, and nothing is set", () => {
    const map = new ShardMap<string, number>();
    const boom = new Error("boom");
    const failing = () => {
      throw boom;
    };
    expect(() => map.getOrInsertComputed("a", failing)).toThrow(boom);
    expect([map.has("a"), map.size]).toEqual([false, 0]);
  });

  test("getOrInsertComputed's result overwrites what its function has set", () => {
    const map = new ShardMap<string, string>();
    const value = map.getOrInsertComputed("a", (key) => {
      map.set(key, "meanwhile").set("b", "aside");
      return "computed";
    });
    expect([value, map.get("a"), map.get("b"), map.size]).toEqual(["computed", "computed", "aside", 2]);
  });

  test("getOrInsertComputed's function is given 0 for -0, as the key will be", () => {
    const seen: number[] = [];
    new ShardMap<number, string>().getOrInsertComputed(-0, (key) => {
      seen.push(key);
      return "zero";
    });
    expect(seen).toEqual([0]);
  });
});

describe("Go's verbs", () => {
  test("loadOrStore says whether the value was there", () => {
    const map = new ShardMap<string, number | undefined>([["u", undefined]]);
    expect(map.loadOrStore("a", 1)).toEqual({ value: 1, loaded: false });
    expect(map.loadOrStore("a", 2)).toEqual({ value: 1, loaded: true });
    expect(map.loadOrStore("u", 3)).toEqual({ value: undefined, loaded: true });
    expect([map.get("a"), map.get("u")]).toEqual([1, undefined]);
  });

  test("loadAndDelete returns the deleted value", () => {
    const map = new ShardMap<string, number | undefined>([
      ["a", 1],
      ["u", undefined],
    ]);
    expect(map.loadAndDelete("a")).toEqual({ value: 1, loaded: true });
    expect(map.loadAndDelete("a")).toEqual({ value: undefined, loaded: false });
    expect(map.loadAndDelete("u")).toEqual({ value: undefined, loaded: true });
    expect(map.size).toBe(0);
  });

  test("swap returns the previous value", () => {
    const map = new ShardMap<string, number | undefined>();
    expect(map.swap("a", 1)).toEqual({ value: undefined, loaded: false });
    expect(map.swap("a", undefined)).toEqual({ value: 1, loaded: true });
    expect(map.swap("a", 2)).toEqual({ value: undefined, loaded: true });
    expect([...map]).toEqual([["a", 2]]);
  });

  test("compareAndSwap and compareAndDelete change only an entry with the expected value", () => {
    const map = new ShardMap([["a", 1]]);
    expect([map.compareAndSwap("a", 2, 3), map.get("a")]).toEqual([false, 1]);
    expect([map.compareAndSwap("a", 1, 3), map.get("a")]).toEqual([true, 3]);
    expect([map.compareAndDelete("a", 1), map.has("a")]).toEqual([false, true]);
    expect([map.compareAndDelete("a", 3), map.has("a")]).toEqual([true, false]);
  });

  // Go's TestCompareAndSwap_NonExistingKey.
  test("comparing a missing key is false, whatever the expected value", () => {
    const map = new ShardMap<object, unknown>();
    for (const old of [undefined, null, 0, Number.NaN]) {
      expect([map.compareAndSwap({}, old, 42), map.compareAndDelete({}, old)]).toEqual([false, false]);
    }
    expect(map.size).toBe(0);
  });

  test("values are compared as keys are: NaN is NaN, 0 is -0, an object only itself", () => {
    const object = {};
    const same: [unknown, unknown][] = [
      [Number.NaN, Number.NaN],
      [0, -0],
      [-0, 0],
      [undefined, undefined],
      [null, null],
      ["a", "a"],
      [1n, 1n],
      [object, object],
    ];
    for (const [value, old] of same) {
      const map = new ShardMap([["k", value]]);
      expect([map.compareAndSwap("k", old, value), map.compareAndDelete("k", old), map.size]).toEqual([true, true, 0]);
    }
    for (const [value, old] of lookAlikes) {
      const map = new ShardMap([["k", value]]);
      expect([map.compareAndSwap("k", old, "new"), map.compareAndDelete("k", old)]).toEqual([false, false]);
      expect(map.get("k")).toBe(value);
    }
  });

  // Go's TestMapMatchesRWMutex: the same calls on both, the same answers.
  test.each(seeds(50))("random calls of Go's verbs are answered as by a locked map, SEED=%d", (seed) => {
    const rnd = random(seed);
    const map = new ShardMap<string, number>();
    const locked = new Map<string, number>();
    for (let call = 0; call < 200; call++) {
      const [key, value, old] = [rnd.pick(["a", "b", "c"]), rnd.int(0, 3), rnd.int(0, 3)];
      const there = locked.has(key);
      const before = locked.get(key);
      switch (rnd.int(0, 6)) {
        case 0:
          expect([map.get(key), map.has(key)]).toEqual([before, there]);
          break;
        case 1:
          map.set(key, value);
          locked.set(key, value);
          break;
        case 2:
          expect(map.loadOrStore(key, value)).toEqual({ value: before ?? value, loaded: there });
          locked.set(key, before ?? value);
          break;
        case 3:
          expect(map.loadAndDelete(key)).toEqual({ value: before, loaded: there });
          locked.delete(key);
          break;
        case 4:
          expect(map.swap(key, value)).toEqual({ value: before, loaded: there });
          locked.set(key, value);
          break;
        case 5:
          expect(map.compareAndSwap(key, old, value)).toBe(before === old);
          if (before === old) locked.set(key, value);
          break;
        case 6:
          expect(map.compareAndDelete(key, old)).toBe(before === old);
          if (before === old) locked.delete(key);
          break;
      }
      expect(new Map(map)).toEqual(locked);
    }
  });

  // Go's TestConcurrentRange: writers and a reader take turns, and the reader sees each key once.
  test("tasks that take turns lose nothing that they wrote", async () => {
    const map = new ShardMap<number, number>(Array.from({ length: 512 }, (_, i) => [i, 0]));
    const writer = async (by: number) => {
      for (let n = 0; n < 512; n++) {
        map.swap(n, by * n);
        if (n % 64 === 0) await turn();
      }
    };
    const reader = async () => {
      const seen: number[] = [];
      for (const [key, value] of map) {
        seen.push(key);
        expect(value === 0 || value % key === 0).toBe(true);
        if (key % 64 === 0) await turn();
      }
      expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 512 }, (_, i) => i));
    };
    await Promise.all([writer(1), reader(), writer(2), reader()]);
    expect(map.size).toBe(512);
  });
});
