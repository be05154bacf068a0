/** Sharded map: keys chosen by an attacker spread like others, and hashing a key takes time linear in its length. */
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { child } from "./support/child.ts";
import { costRatio } from "./support/heap.ts";

const N = 40_000;
const GOLDEN = 0x9e3779b1;

/**
 * How many of the keys are in each of the map's shards. A shard is a Map, so each `get` of the map ends in a `get` of
 * the shard that has the key.
 */
function shardsOf(keys: readonly unknown[]): number[] {
  const map = new ShardMap<unknown, number>();
  for (const [i, key] of keys.entries()) map.set(key, i);
  expect(map.size, "the keys repeat themselves").toBe(keys.length);
  const shards: Map<unknown, unknown>[] = [];
  const counts: number[] = [];
  const real = Map.prototype.get;
  let last: Map<unknown, unknown> | undefined;
  Map.prototype.get = function (key) {
    last = this;
    return real.call(this, key);
  };
  try {
    for (const [i, key] of keys.entries()) {
      last = undefined;
      const value = map.get(key);
      if (value !== i || last === undefined) throw new Error(`key ${i} is in no Map`);
      let at = shards.indexOf(last);
      if (at === -1) at = shards.push(last) - 1;
      counts[at] = (counts[at] ?? 0) + 1;
    }
  } finally {
    Map.prototype.get = real;
  }
  return counts;
}

/** Numbers of three digits to a base, for keys of three parts. */
const parts = (i: number, base: number) => [i % base, Math.floor(i / base) % base, Math.floor(i / base ** 2)];

/** The number of which Murmur's finalizer makes h: each of its steps undone. */
function unmixed(h: number): number {
  let x = h ^ (h >>> 16);
  x = Math.imul(x, 0x7ed1b41d);
  x ^= (x >>> 13) ^ (x >>> 26);
  x = Math.imul(x, 0xa5cb9243);
  return x ^ (x >>> 16);
}

const words = new Uint32Array(2);
const float = new Float64Array(words.buffer);

/** Families of different keys that an unseeded hash, or one that drops bits, puts into one place. */
const families: Record<string, (i: number) => unknown> = {
  // As 8-bit characters moved by 24 bits, the upper byte of the last of four falls off.
  "strings whose fourth characters differ in the upper byte": (i) =>
    parts(i, 35)
      .map((high) => `aaa${String.fromCharCode(0x41 + 0x100 * high)}`)
      .join(""),
  // As 16-bit characters moved by 8 bits, each overlaps the next: what one adds, the other takes away.
  "strings whose neighbouring characters make up for each other": (i) =>
    parts(i, 35)
      .map((d) => `${String.fromCharCode(0x61 ^ (d << 8), 0x61 ^ d)}aa`)
      .join(""),
  "registered symbols of such strings": (i) =>
    Symbol.for(
      parts(i, 35)
        .map((high) => `aaa${String.fromCharCode(0x41 + 0x100 * high)}`)
        .join(""),
    ),
  "integers whose mixed bits begin alike": (i) => unmixed((0x5eed_0000 | i) >>> 0),
  "floats whose two words make up for each other": (i) => {
    words[1] = 0x3ff0_0000 + i;
    words[0] = 0x1234_5678 ^ Math.imul(words[1], GOLDEN);
    return float[0];
  },
  "bigints whose two words make up for each other": (i) => {
    let h = Math.imul(6 ^ i, GOLDEN);
    h ^= h >>> 15;
    return (BigInt((h ^ 0x1234_5678) >>> 0) << 32n) | BigInt(i);
  },
  "bigints of either sign": (i) => (i % 2 === 0 ? BigInt(i + 2) : -BigInt(i + 1)),
};

describe("no shard has over twice the mean of", () => {
  test.each(Object.entries(families))("%s", (_, family) => {
    const counts = shardsOf(Array.from({ length: N }, (_, i) => family(i)));
    expect(counts.length).toBeGreaterThan(3);
    expect(Math.max(...counts)).toBeLessThanOrEqual((2 * N) / counts.length);
  });
});

test("keys that differ in one bit of one character are apart somewhere", () => {
  // 16 bits of each of nine places: if one were dropped, an attacker could use it to stay in one shard.
  for (let place = 0; place < 9; place++) {
    const keys = Array.from({ length: 20_000 }, (_, i) => {
      const codes = Array<number>(9).fill(0x20);
      codes[place] = i;
      return String.fromCharCode(...codes);
    });
    const counts = shardsOf(keys);
    expect(Math.max(...counts), `place ${place}`).toBeLessThanOrEqual((2 * keys.length) / counts.length);
  }
});

describe("two processes place the same keys differently:", () => {
  test.each([
    ["strings", "'key ' + i"],
    ["integers", "i"],
    ["fractions", "i + 0.5"],
    ["bigints", "BigInt(i) * 3n"],
    ["registered symbols", "Symbol.for('key ' + i)"],
  ])("%s", async (_, key) => {
    const code = `
      const map = new shardmap.ShardMap();
      for (let i = 0; i < 20_000; i++) map.set(${key}, i);
      console.log([...map.values()].slice(0, 100).join());`;
    const [first, second] = [await child(code), await child(code)];
    expect(first[0]?.split(",")).toHaveLength(100);
    expect(second).not.toEqual(first);
  });
});

describe("a key four times as long costs about four times as much:", () => {
  /** A map with enough entries that it uses the hashes of its keys. */
  const filled = new ShardMap<unknown, number>();
  for (let i = 0; i < 20_000; i++) filled.set(i, i);

  const digits = 50_000;
  const long: Record<string, (n: number) => unknown> = {
    "a bigint": (n) => BigInt(`0x${"7".repeat(n)}`),
    "a negative bigint": (n) => -BigInt(`0x${"7".repeat(n)}`),
    "a string": (n) => "7".repeat(n),
    "a registered symbol": (n) => Symbol.for("7".repeat(n)),
  };

  test.each(Object.entries(long))("%s", (_, make) => {
    const look = (n: number) => () => {
      const keys = Array.from({ length: 40 }, () => make(n));
      filled.has(keys[0]);
      return () => {
        for (const key of keys) expect(filled.has(key)).toBe(false);
      };
    };
    // 16 times as much, if each step walks over the whole key.
    expect(costRatio(look(digits), look(4 * digits), 10)).toBeLessThan(10);
  });
});
