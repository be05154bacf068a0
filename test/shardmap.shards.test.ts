/** Sharded map: keys spread over the shards whatever they have in common, and shards that split lose nothing. */
import { randomUUID } from "node:crypto";
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { hash } from "../src/internal/data/hash.ts";
import { FULL } from "../src/internal/data/shards.ts";
import { random } from "./support/random.ts";

const SHARDS = 256;

type Family = (i: number) => unknown;

/** 200 characters, with the number at the place. */
function long(i: number, at: number): string {
  const id = String(i).padStart(6, "0");
  return "x".repeat(at) + id + "y".repeat(200 - at - id.length);
}

const rnd = random(1);
const object: Family[] = [
  () => ({}),
  (i) => [i],
  (i) => () => i,
  () => Object.freeze({}),
  () => Object.create(null),
  () => new Date(0),
  () => new Proxy({}, {}),
];

const families: Record<string, Family> = {
  "strings with a common prefix": (i) => `user:session:${i}`,
  "strings with a common suffix": (i) => `${i}:user:session:active`,
  "strings with a common prefix and suffix": (i) => `tenant/${i}/profile.json`,
  "fixed-width ids": (i) => String(i).padStart(12, "0"),
  "fixed-width ids that end in zeros": (i) => `${String(i).padStart(8, "0")}00000000`,
  "plain decimal strings": (i) => String(i),
  "hexadecimal counters": (i) => i.toString(16),
  "hexadecimal counters of eight digits": (i) => i.toString(16).padStart(8, "0"),
  "counters in base 36": (i) => i.toString(36),
  UUIDs: () => randomUUID(),
  "UUIDs that differ in the first group": (i) => `${i.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`,
  "UUIDs that differ in the middle": (i) => `00000000-${i.toString(16).padStart(5, "0")}-4000-8000-000000000000`,
  "UUIDs that differ in the last group": (i) => `00000000-0000-4000-8000-${i.toString(16).padStart(12, "0")}`,
  "times of day of an ISO date": (i) => new Date(1_700_000_000_000 + i * 1000).toISOString(),
  "days of an ISO date": (i) => new Date(i * 86_400_000).toISOString().slice(0, 10),
  "URLs with an id in the middle": (i) => `https://api.example.com/v2/customers/${i}/orders?status=open&page=1`,
  "URLs with two ids": (i) => `https://example.com/u/${i % 317}/posts/${Math.floor(i / 317)}`,
  "IPv4 addresses": (i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
  "mail addresses": (i) => `user${i}@example.com`,
  "grid places": (i) => `${i % 400},${Math.floor(i / 400)}`,
  "long strings that differ at the start": (i) => long(i, 0),
  "long strings that differ in the middle": (i) => long(i, 97),
  "long strings that differ at the end": (i) => long(i, 194),
  "long strings that differ in length": (i) => "x".repeat((i % 500) + 1) + Math.floor(i / 500),
  "strings that differ at every fourth character": (i) => String(i).padStart(6, "0").replace(/./g, "key$&"),
  "strings that differ at every second character": (i) => String(i).padStart(6, "0").replace(/./g, "-$&"),
  "strings of two characters": (i) => String.fromCharCode(32 + (i % 317), 32 + Math.floor(i / 317)),
  "Chinese characters": (i) => `${String.fromCharCode(0x4e00 + (i % 20_000))}的${Math.floor(i / 20_000)}`,
  emoji: (i) => String.fromCodePoint(0x1f300 + (i % 256)) + String.fromCodePoint(0x1f300 + Math.floor(i / 256)),
  integers: (i) => i,
  "negative integers": (i) => -i - 1,
  "even integers": (i) => 2 * i,
  "multiples of 256": (i) => 256 * i,
  "multiples of 65 536": (i) => 65_536 * i,
  "multiples of 1000": (i) => 1000 * i,
  "integers past 32 bits": (i) => 2 ** 32 + i,
  "multiples of 2 to the 32": (i) => 2 ** 32 * (i + 1),
  milliseconds: (i) => 1_700_000_000_000 + i,
  snowflakes: (i) => 175_928_847_299_117_063n + (BigInt(i) << 22n),
  fractions: (i) => (i + 1) / 100_000,
  halves: (i) => i + 0.5,
  "tenths, as summed": (i) => i * 0.1,
  "random floats": () => rnd.next() + rnd.next() / 2 ** 32,
  reciprocals: (i) => 1 / (i + 2),
  "large floats": (i) => 1e200 * (i + 1),
  bigints: (i) => BigInt(i),
  "negative bigints": (i) => -BigInt(i) - 1n,
  "bigints of 128 bits, low part": (i) => (1n << 127n) + BigInt(i),
  "bigints of 128 bits, high part": (i) => (BigInt(i) << 100n) + 1n,
  "powers and more of bigints": (i) => BigInt(i) << 32n,
  objects: () => ({}),
  "frozen objects": () => Object.freeze({}),
  "objects of every kind": (i) => object[i % object.length]?.(i),
  symbols: (i) => Symbol(i % 10),
  "registered symbols": (i) => Symbol.for(`registered ${i}`),
};

/** How many keys are in the fullest of the shards, by the first bits of their hashes and by the last. */
function fullest(family: Family, n: number): [first: number, last: number] {
  const first = new Uint32Array(SHARDS);
  const last = new Uint32Array(SHARDS);
  const keys: unknown[] = []; // Objects that were collected would not be keys of one map.
  for (let i = 0; i < n; i++) {
    const key = family(i);
    const h = hash(key);
    keys.push(key);
    first[h >>> 24] = (first[h >>> 24] as number) + 1;
    last[h & 255] = (last[h & 255] as number) + 1;
  }
  // V8 tells bigints apart by their low 64 bits: a Set of those that differ above takes minutes.
  const apart = new Set(keys.map((key) => (typeof key === "bigint" ? `${key}n` : key)));
  expect(apart.size, "the family repeats itself").toBe(n);
  return [Math.max(...first), Math.max(...last)];
}

describe.each([100_000, 10_000])("no shard of 256 has over twice the mean of %d", (n) => {
  const rows = Object.entries(families).filter(([name]) => n < 50_000 || name !== "emoji");
  test.each(rows)("%s", (_, family) => {
    const [first, last] = fullest(family, n);
    expect(first).toBeLessThanOrEqual((2 * n) / SHARDS);
    expect(last).toBeLessThanOrEqual((2 * n) / SHARDS);
  });
});

describe("hashes", () => {
  const samples = ["", "a", "abcd", "abcde", "é", 0, -1, 0.5, 2 ** 40, 1n, -1n, 1n << 80n, true, null, undefined];

  test("every hash is a whole number of 32 bits, the same each time", () => {
    const keys = [...samples, {}, Symbol("s"), Symbol.for("s"), () => {}, Object.freeze([]), Number.NaN, -0, false];
    for (const key of keys) {
      const h = hash(key);
      expect(h).toBe(h >>> 0);
      expect(hash(key)).toBe(h);
    }
  });

  test("keys that a Map takes for one have one hash", () => {
    const floats = new Float64Array(1);
    new Uint32Array(floats.buffer).set([12_345, 0xfff8_0001]);
    const otherNaN = floats[0] as number;
    expect(otherNaN).toBeNaN();

    expect(hash(-0)).toBe(hash(0));
    expect(hash(otherNaN)).toBe(hash(Number.NaN));
    expect(hash(0 / 0)).toBe(hash(Number.NaN));
    expect(hash(1.5 + 1.5)).toBe(hash(3));
    expect(hash(2 ** 31 - 1 + 1)).toBe(hash(2_147_483_648));
    expect(hash(Symbol.for("one"))).toBe(hash(Symbol.for("one")));
    expect(hash((1n << 70n) - 1n + 1n)).toBe(hash(1n << 70n));
  });

  test("a string hashes by its characters, however it was put together", () => {
    const parts = ["user:", "42", ":profile", "é的😀"];
    const whole = "user:42:profileé的😀";
    const joined = parts.join("");
    const added = parts.reduce((sum, part) => sum + part, "");
    const cut = `<${whole}>`.slice(1, -1);
    for (const text of [joined, added, cut]) expect(hash(text)).toBe(hash(whole));
  });

  test("an object is not touched by being hashed", () => {
    const key = { a: 1 };
    hash(key);
    expect(Reflect.ownKeys(key)).toEqual(["a"]);
    expect(Object.isExtensible(key)).toBe(true);
    expect(structuredClone(key)).toEqual({ a: 1 });
  });

  test("a copy of a hashed object has a hash of its own", () => {
    const keys = Array.from({ length: 100 }, () => ({}));
    const copies = keys.map((key) => {
      hash(key);
      return { ...key };
    });
    expect(new Set([...keys, ...copies].map(hash)).size).toBe(200);
  });
});

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
