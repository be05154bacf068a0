/** Hashes of keys: spread evenly whatever the keys have in common, under any seed, even when the keys were crafted. */
import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ROOT } from "./support/examples.ts";
import { type Family, families } from "./support/keys.ts";
import { random } from "./support/random.ts";

type Hash = (key: unknown) => number;

const SHARDS = 256;

afterEach(() => {
  vi.unstubAllGlobals();
});

/** The hash of the module, loaded again: with a seed and a numbering of objects of its own. */
async function load(): Promise<Hash> {
  vi.resetModules();
  return (await import("../src/internal/data/hash.ts")).processHash();
}

/** The same, with a host whose randomness follows from this seed. */
async function seeded(seed: number): Promise<Hash> {
  const rnd = random(seed);
  vi.stubGlobal("crypto", {
    getRandomValues: (array: Int32Array) => array.set(Array.from(array, () => rnd.next() * 2 ** 32)),
  });
  const hash = await load();
  vi.unstubAllGlobals();
  return hash;
}

// No test depends on luck: these are the seeds, each time.
const hashes = [await seeded(1), await seeded(2), await seeded(3)];
const [hash, other] = hashes as [Hash, Hash];

/** How many keys are in the fullest of the shards, by the first bits of their hashes and by the last. */
function fullest(hash: Hash, keys: readonly unknown[]): [first: number, last: number] {
  const first = new Uint32Array(SHARDS);
  const last = new Uint32Array(SHARDS);
  for (const key of keys) {
    const h = hash(key);
    first[h >>> 24] = (first[h >>> 24] as number) + 1;
    last[h & 255] = (last[h & 255] as number) + 1;
  }
  return [Math.max(...first), Math.max(...last)];
}

/** The first n keys of a family, which must be different ones. */
function members(family: Family, n: number): unknown[] {
  const keys = Array.from({ length: n }, (_, i) => family(i));
  // V8 hashes bigints by their low 64 bits: a Set of bigints that differ above takes minutes.
  const apart = new Set(keys.map((key) => (typeof key === "bigint" ? `${key}n` : key)));
  expect(apart.size, "the family repeats itself").toBe(n);
  return keys;
}

describe.each([100_000, 10_000])("no shard of 256 has over twice the mean of %d", (n) => {
  const rows = Object.entries(families).filter(([name]) => n < 50_000 || name !== "emoji");
  test.each(rows)("%s", (_, family) => {
    const keys = members(family, n);
    for (const hash of hashes.slice(0, n < 50_000 ? 3 : 1)) {
      const [first, last] = fullest(hash, keys);
      expect(first).toBeLessThanOrEqual((2 * n) / SHARDS);
      expect(last).toBeLessThanOrEqual((2 * n) / SHARDS);
    }
  });
});

const GOLDEN = 0x9e3779b1;

/** The factor that undoes an odd one, modulo 2 to the 32. */
function inverse(factor: number): number {
  let x = factor;
  for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(factor, x));
  return x;
}

/** Undoes `h ^ (h >>> by)`. */
function unshift(bits: number, by: number): number {
  let h = bits;
  for (let i = by; i < 32; i += by) h = bits ^ (h >>> by);
  return h;
}

/** Undoes the finalizer of MurmurHash3. */
function unmix(bits: number): number {
  let h = Math.imul(unshift(bits, 16), inverse(0xc2b2ae35));
  h = Math.imul(unshift(h, 13), inverse(0x85ebca6b));
  return unshift(h, 16) | 0;
}

function ofWords(low: number, high: number): number {
  return new Float64Array(new Uint32Array([low, high]).buffer)[0] as number;
}

/** A string of 14 blocks, each the one or the other by a bit of i. */
function blocks(i: number, zero: string, one: string): string {
  return Array.from({ length: 14 }, (_, at) => ((i >> at) & 1 ? one : zero)).join("");
}

const CRAFTED: Record<string, Family> = {
  "units that differ above their low byte only": (i) => blocks(i, "aaaA", "aaa\u0141"),
  "units whose bytes overlap when shifted together": (i) => blocks(i, "\u0100\0\0\0", "\0\u0001\0\0"),
  "units that differ in the top bit": (i) => blocks(i, "a", "\u8061"),
  "pairs of units that differ in the top bit": (i) => blocks(i, "aa", "\u8061\u8061"),
  "units a lane apart that differ in the top bit": (i) => blocks(i, "abcd", "\u8061b\u8063d"),
  "a top bit and the sign of the next unit": (i) => blocks(i, "axb", "\u8061x\uff9e"),
  "units in another order": (i) => blocks(i, "ab", "ba"),
  "units in another order within a lane": (i) => blocks(i, "axbx", "bxax"),
  "two units in any order": (i) => blocks(i, "\0", "\u0001"),
  "zeros of any number": (i) => "\0".repeat(i % 1024) + String.fromCharCode(1 + (i >> 10)),
  "zeros of any number after": (i) => String.fromCharCode(1 + (i >> 10)) + "\0".repeat(i % 1024),
  "integers with the same place under a public finalizer": (i) => unmix(i),
  "integers of the high bits only": (i) => (i << 18) | 1,
  "integers of the sign and the low bits": (i) => (i & 1 ? 0x8000_0000 | (i >> 1) : i >> 1) | 0,
  "floats whose words cancel under a public multiplier": (i) => ofWords(Math.imul(i, GOLDEN), i),
  "floats that differ in the lowest bits": (i) => ofWords(i, 0x3ff8_0000),
  "floats that differ in the bits 16 to 30": (i) => ofWords(i << 16, 0x3ff8_0000),
  "floats that differ in the bits 32 to 46": (i) => ofWords(1, 0x3ff0_0000 + i),
  "floats that differ in the sign, the exponent and the lowest bits": (i) =>
    ofWords((i & 7) + 1, (((i >> 3) & 1023) << 20) | ((i >> 13) << 31)),
  "bigints whose words cancel under a public multiplier": (i) => {
    let h = Math.imul(6 ^ i, GOLDEN);
    h ^= h >>> 15;
    return BigInt(i) + (BigInt((h ^ 0x1234_5678) >>> 0) << 32n);
  },
  "bigints of one sign and the other": (i) => (i & 1 ? -1n : 1n) * (1n << 64n) * BigInt((i >> 1) + 1),
};

// A flip of the top bit passes a multiplication as it is, whatever the multiplier. If two units made a word of 32 bits,
// and the word's bits were then shifted right and added, it would arrive as two bits that the lane's next word cancels.
for (const units of [2, 4]) {
  for (const high of [0, 1]) {
    for (const by of [13, 14, 15, 16, 17]) {
      const one = Array.from("abcdefgh".slice(0, 2 * units), (unit) => unit.charCodeAt(0));
      const flip = (at: number, bit: number) => {
        const place = at + (bit > 15 ? high : 1 - high);
        one[place] = (one[place] as number) ^ (1 << (bit & 15));
      };
      flip(0, 31);
      flip(units, 31);
      flip(units, 31 - by);
      CRAFTED[`words of two units, the ${high + 1}. on top, that cancel ${units} units on, shifted by ${by}`] = (i) =>
        blocks(i, "abcdefgh".slice(0, 2 * units), String.fromCharCode(...one));
    }
  }
}

describe("crafted keys spread under every seed", () => {
  test.each(Object.entries(CRAFTED))("%s", (_, family) => {
    const n = 2 ** 14;
    const keys = members(family, n);
    for (const hash of hashes) {
      const [first, last] = fullest(hash, keys);
      expect(first).toBeLessThanOrEqual((2 * n) / SHARDS);
      expect(last).toBeLessThanOrEqual((2 * n) / SHARDS);
      // Of so few keys, one pair in thirty sets of random hashes is alike.
      expect(new Set(keys.map(hash)).size).toBeGreaterThanOrEqual(n - 1);
    }
  });

  test("no two keys have one hash under two seeds", () => {
    const units = ["\0", "\u0001", "\u0002", "a", "\u00ff", "\u0100", "\u7fff", "\u8000", "\u8001", "\uff00", "\uffff"];
    const texts: string[] = [""];
    for (let length = 1, from = 0; length <= 4; length++) {
      const end = texts.length;
      for (; from < end; from++) for (const unit of units) texts.push((texts[from] as string) + unit);
    }
    const floats: number[] = [];
    for (const text of texts.filter((text) => text.length === 4)) {
      const [a, b, c, d] = [0, 1, 2, 3].map((at) => text.charCodeAt(at)) as [number, number, number, number];
      const n = ofWords(a + (b << 16), c + (d << 16));
      if (!Number.isNaN(n)) floats.push(n);
    }
    const integers = Array.from({ length: 20_000 }, (_, i) => (i % 2 ? i : -i) * (i > 10_000 ? 65_537 : 1));
    const keys = new Set<unknown>([
      ...[...texts, ...floats, ...integers, null, undefined, true, false, Number.NaN],
      ...texts.map((text) => Symbol.for(text)),
      ...integers.map((n) => BigInt(n)),
      ...integers.map((n) => n.toString(16)),
      ...integers.map(() => ({})),
    ]);
    expect(keys.size).toBeGreaterThan(100_000);
    const byHash = new Map<number, unknown[]>();
    for (const key of keys) {
      const group = byHash.get(hash(key));
      if (group === undefined) byHash.set(hash(key), [key]);
      else group.push(key);
    }
    const alike = [...byHash.values()].filter((group) => group.length > 1);
    expect(alike.length).toBeLessThan(20);
    for (const group of alike) expect(new Set(group.map(other)).size).toBe(group.length);
  });
});

/** Counts, for each bit of the hash, how often it changes when the key does. */
class Changes {
  readonly counts = new Uint32Array(32);
  pairs = 0;

  add(hash: Hash, a: unknown, b: unknown): void {
    const difference = hash(a) ^ hash(b);
    this.pairs++;
    for (let bit = 0; bit < 32; bit++) this.counts[bit] = (this.counts[bit] as number) + ((difference >>> bit) & 1);
  }

  check(what: string): void {
    expect(this.pairs).toBeGreaterThan(100);
    const shares = [...this.counts].map((count) => count / this.pairs);
    expect(Math.min(...shares), what).toBeGreaterThan(0.25);
    expect(Math.max(...shares), what).toBeLessThan(0.75);
  }
}

describe("each bit of a key moves each bit of the hash", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 17])("strings of %d units", (length) => {
    const rnd = random(length);
    const text = () => Array.from({ length }, () => String.fromCharCode(rnd.int(0, 0xffff)));
    for (let at = 0; at < length; at++) {
      for (let bit = 0; bit < 16; bit++) {
        const changes = new Changes();
        for (let i = 0; i < 150; i++) {
          const units = text();
          const flipped = units.with(at, String.fromCharCode((units[at] as string).charCodeAt(0) ^ (1 << bit)));
          changes.add(hashes[i % 3] as Hash, units.join(""), flipped.join(""));
        }
        changes.check(`bit ${bit} of unit ${at}`);
      }
    }
  });

  test("integers", () => {
    const rnd = random(1);
    for (let bit = 0; bit < 32; bit++) {
      const changes = new Changes();
      for (let i = 0; i < 300; i++) {
        const n = (rnd.next() * 2 ** 32) | 0;
        changes.add(hashes[i % 3] as Hash, n, n ^ (1 << bit));
      }
      changes.check(`bit ${bit}`);
    }
  });

  test("floats", () => {
    const rnd = random(1);
    for (let bit = 0; bit < 64; bit++) {
      const changes = new Changes();
      for (let i = 0; i < 300; i++) {
        // Of a small exponent, so that no flip makes NaN or an integer.
        const words: [number, number] = [rnd.next() * 2 ** 32, rnd.next() * 2 ** 28];
        const before = ofWords(...words);
        words[bit >> 5] = (words[bit >> 5] as number) ^ (1 << (bit & 31));
        changes.add(hashes[i % 3] as Hash, before, ofWords(...words));
      }
      changes.check(`bit ${bit}`);
    }
  });

  test("bigints, and their sign", () => {
    const rnd = random(1);
    const big = () =>
      Array.from({ length: 5 }, () => rnd.int(0, 2 ** 32 - 1)).reduce((n, w) => (n << 32n) + BigInt(w), 0n);
    for (let bit = 0n; bit < 160n; bit += 7n) {
      const changes = new Changes();
      for (let i = 0; i < 150; i++) {
        const n = big();
        changes.add(hashes[i % 3] as Hash, n, n ^ (1n << bit));
      }
      changes.check(`bit ${bit}`);
    }
    const signs = new Changes();
    for (let i = 1; i < 300; i++) signs.add(hashes[i % 3] as Hash, BigInt(i), -BigInt(i));
    signs.check("the sign");
  });
});

describe("the seed", () => {
  const samples: Record<string, unknown> = {
    "an empty string": "",
    "a string": "user:1",
    "an integer": 1,
    zero: 0,
    "a float": 0.5,
    NaN: Number.NaN,
    "a bigint": 1n,
    "a registered symbol": Symbol.for("s"),
    "a symbol": Symbol("s"),
    "an object": {},
    null: null,
    undefined: undefined,
    true: true,
    false: false,
  };

  test.each(Object.entries(samples))("counts for %s", (_, key) => {
    expect(new Set(hashes.map((hash) => hash(key))).size).toBe(3);
  });

  test("every number of it counts, the last bit of a multiplier excepted", async () => {
    const keys = ["user:1", 1, 0.5, {}];
    const drawn = Int32Array.from({ length: 16 }, (_, i) => Math.imul(i + 1, GOLDEN));
    let wanted = 0;
    const under = async (seed: Int32Array) => {
      vi.stubGlobal("crypto", {
        getRandomValues: (array: Int32Array) => {
          wanted = array.length;
          array.set(seed.subarray(0, array.length));
        },
      });
      return keys.map(await load());
    };
    const before = await under(drawn);
    for (let i = 0; i < wanted; i++) {
      const after = await under(drawn.with(i, (drawn[i] as number) ^ 0x4000));
      expect(
        after.some((h, key) => h !== before[key]),
        `number ${i}`,
      ).toBe(true);
    }
    expect(wanted).toBeGreaterThanOrEqual(6);
  });

  test("is drawn once, and not by loading the module: a host takes longer to load its source of them", async () => {
    const getRandomValues = vi.fn((array: Int32Array) => array.fill(5));
    vi.stubGlobal("crypto", { getRandomValues });
    vi.resetModules();
    const { processHash } = await import("../src/internal/data/hash.ts");
    const { ShardMap } = await import("../src/shardmap.ts");
    const map = new ShardMap<number, number>().set(1, 1);
    expect(map.get(1)).toBe(1);
    expect(getRandomValues).not.toHaveBeenCalled();
    expect(processHash()).toBe(processHash());
    expect(getRandomValues).toHaveBeenCalledOnce();
  });

  test("an unlucky draw of zeros parts keys all the same", async () => {
    vi.stubGlobal("crypto", { getRandomValues: (array: Int32Array) => array.fill(0) });
    const hash = await load();
    expect(new Set(Array.from({ length: 1000 }, (_, i) => hash(i))).size).toBe(1000);
    expect(new Set(Array.from({ length: 1000 }, (_, i) => hash(i + 0.5))).size).toBeGreaterThan(1);
    expect(new Set(Array.from({ length: 1000 }, (_, i) => hash("\0".repeat(i)))).size).toBe(1000);
  });

  test.each([
    ["has no crypto", undefined],
    ["has another crypto", {}],
    [
      "refuses to give random values",
      {
        getRandomValues() {
          throw new Error("not in global scope");
        },
      },
    ],
  ])("comes from Math.random where the host %s", async (_, crypto) => {
    vi.stubGlobal("crypto", crypto);
    const rnd = random(7);
    const calls = vi.spyOn(Math, "random").mockImplementation(() => rnd.next());
    const hash = await load();
    expect(calls).toHaveBeenCalled();
    const others = await load();
    expect(hash("a")).not.toBe(others("a"));
    const keys = Array.from({ length: 10_000 }, (_, i) => `user:session:${i}`);
    expect(Math.max(...fullest(hash, keys))).toBeLessThanOrEqual((2 * 10_000) / SHARDS);
  });

  test("is another in every process, with crypto and without", () => {
    const code = (before: string) => `
      ${before};
      const { processHash } = await import("./dist/internal/data/hash.js");
      const hash = processHash();
      console.log(JSON.stringify(["", "a", 1, 0, 0.5, 1n, Symbol.for("s"), {}, null, undefined, true].map(hash)));`;
    const runs = ["", "", "delete globalThis.crypto", "delete globalThis.crypto"].map((before) => {
      const child = spawnSync(process.execPath, ["--input-type=module", "-e", code(before)], {
        cwd: ROOT,
        encoding: "utf8",
      });
      expect(child.stderr).toBe("");
      return JSON.parse(child.stdout) as number[];
    });
    const [first] = runs as [number[]];
    expect(first).toHaveLength(11);
    for (const i of first.keys()) expect(new Set(runs.map((hashes) => hashes[i])).size).toBe(runs.length);
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

  test("the first objects and symbols of a process have hashes of their own", async () => {
    const hash = await seeded(4);
    const keys = [null, undefined, true, false, {}, Symbol(), [], () => {}, {}, Symbol(), 0, 1, 2, 3, 4, 5];
    expect(new Set(keys.map(hash)).size).toBe(keys.length);
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

  test("objects of every kind have hashes, whether they can be extended or not", () => {
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    class Base {}
    const keys: object[] = [
      {},
      [],
      Object.create(null),
      Object.freeze({}),
      Object.seal([]),
      Object.preventExtensions(() => {}),
      new Proxy({}, {}),
      new Proxy(Object.freeze({}), {}),
      revoked.proxy,
      Base,
      new Base(),
      async function* () {},
      (function () {
        // biome-ignore lint/complexity/noArguments: an object of its kind
        return arguments;
      })(),
      new Date(0),
      /x/,
      new Map(),
      new WeakRef({}),
      new Uint8Array(1),
      Object.freeze(new Uint8Array(0)),
      new ArrayBuffer(1),
      Promise.resolve(),
      new Error("e"),
      globalThis,
      Math,
      Reflect,
      Object(1n),
      Object("s"),
      Object(Symbol.iterator),
      hostile(),
    ];
    const before = keys.map(hash);
    expect(new Set(before).size).toBe(keys.length);
    expect(keys.map(hash)).toEqual(before);
  });
});

/** An object with traps that all throw. */
function hostile(): object {
  return new Proxy(
    {},
    new Proxy(
      {},
      {
        get() {
          throw new Error("a trap was looked up");
        },
      },
    ),
  );
}

describe("on hosts that refuse", () => {
  afterEach(() => {
    vi.doUnmock("../src/internal/data/stamp.ts");
  });

  test("stamps on frozen objects, these are numbered all the same", async () => {
    vi.doMock("../src/internal/data/stamp.ts", () => ({
      Stamp: function (this: object, object: object) {
        if (Object.isFrozen(object)) throw new TypeError("frozen");
        return object;
      },
    }));
    const hash = await load();
    const keys = Array.from({ length: 1000 }, (_, i) => (i % 2 ? Object.freeze({}) : {}));
    const before = keys.map(hash);
    expect(new Set(before).size).toBe(1000);
    expect(keys.map(hash)).toEqual(before);
  });

  test("symbols as weak keys, these are hashed by their descriptions", async () => {
    const Real = WeakMap;
    vi.stubGlobal(
      "WeakMap",
      class extends Real<WeakKey, unknown> {
        override set(key: WeakKey, value: unknown): this {
          if (typeof key === "symbol") throw new TypeError("a symbol");
          return super.set(key, value);
        }
      },
    );
    const hash = await load();
    const keys = Array.from({ length: 1000 }, (_, i) => Symbol(i));
    const before = keys.map(hash);
    expect(new Set(before).size).toBe(1000);
    expect(keys.map(hash)).toEqual(before);
    expect(hash(Symbol())).toBe(hash(Symbol()));
  });
});
