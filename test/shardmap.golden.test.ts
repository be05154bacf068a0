/**
 * Replays what Go's sync.Map and orcaman/concurrent-map did, every case and every step, on the verbs of ShardMap.
 *
 * Adapted, and counted:
 *
 * - nothing: Go answers for a missing key with the zero value, null or 0; here it is undefined.
 * - load, get: comma-ok; composed of `get` and `has`.
 * - upsert: composed by `update`, which answers after an await.
 * - setIfAbsent: composed by `loadOrStore`, whose answer is the opposite.
 * - removeCb: composed of `has`, `get` and `compareAndDelete`.
 * - mset, isEmpty, keys, json: composed of `set`, `size`, `keys` and `entries`.
 * - fnv32: 500 rows of a hash that this library does not have. Their strings are keys here, their numbers only values.
 */
import { ShardMap } from "gopark/shardmap";
import { expect, test } from "vitest";
import { golden } from "./support/golden.ts";

type Value = string | number | boolean | null;

type SyncOp =
  | ["load" | "loadAndDelete" | "delete", key: Value]
  | ["store" | "loadOrStore" | "swap" | "compareAndDelete", key: Value, value: Value]
  | ["compareAndSwap", key: Value, old: Value, value: Value]
  | ["range" | "clear"];

type CountOp =
  | ["get" | "has" | "remove" | "pop", key: string]
  | ["set" | "setIfAbsent" | "upsert", key: string, value: number]
  | ["removeCb", key: string, want: boolean]
  | ["mset", entries: Record<string, number>]
  | ["count" | "isEmpty" | "keys" | "json" | "clear"];

interface Case<Op> {
  i: number;
  steps: [op: Op, result?: unknown][];
}

/** Tallies by kind. */
class Tally {
  readonly counts: Record<string, number> = {};

  add(kind: string, n = 1): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + n;
  }
}

type Found<V> = { readonly value: V | undefined; readonly loaded: boolean };

/** As Go answers: the value and whether there was one, with `zero` for none. */
function commaOk<V>({ value, loaded }: Found<V>, zero: V, adapted: Tally): [V, boolean] {
  if (loaded) return [value as V, true];
  adapted.add("nothing");
  expect(value).toBeUndefined();
  return [zero, false];
}

function lookUp<K, V>(map: ShardMap<K, V>, key: K): Found<V> {
  return { value: map.get(key), loaded: map.has(key) };
}

function byText([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : Number(a > b);
}

/** The entries, sorted by what `text` makes of their keys. */
function sorted<K, V>(map: ShardMap<K, V>, text: (key: K) => string): [K, V][] {
  return [...map]
    .map((entry): [string, [K, V]] => [text(entry[0]), entry])
    .sort(byText)
    .map(([, entry]) => entry);
}

function runSync(map: ShardMap<Value, Value>, op: SyncOp, adapted: Tally): unknown {
  switch (op[0]) {
    case "load":
      adapted.add("load");
      return commaOk(lookUp(map, op[1]), null, adapted);
    case "loadAndDelete":
      return commaOk(map.loadAndDelete(op[1]), null, adapted);
    case "delete":
      map.delete(op[1]);
      return undefined;
    case "store":
      map.set(op[1], op[2]);
      return undefined;
    case "loadOrStore": {
      const { value, loaded } = map.loadOrStore(op[1], op[2]);
      return [value, loaded];
    }
    case "swap":
      return commaOk(map.swap(op[1], op[2]), null, adapted);
    case "compareAndDelete":
      return map.compareAndDelete(op[1], op[2]);
    case "compareAndSwap":
      return map.compareAndSwap(op[1], op[2], op[3]);
    case "range":
      return sorted(map, (key) => JSON.stringify(key));
    case "clear":
      map.clear();
      return undefined;
  }
}

async function runCounts(map: ShardMap<string, number>, op: CountOp, adapted: Tally): Promise<unknown> {
  switch (op[0]) {
    case "get":
      adapted.add("get");
      return commaOk(lookUp(map, op[1]), 0, adapted);
    case "has":
      return map.has(op[1]);
    case "remove":
      map.delete(op[1]);
      return undefined;
    case "pop":
      return commaOk(map.loadAndDelete(op[1]), 0, adapted);
    case "set":
      map.set(op[1], op[2]);
      return undefined;
    case "setIfAbsent":
      adapted.add("setIfAbsent");
      return !map.loadOrStore(op[1], op[2]).loaded;
    case "upsert": {
      adapted.add("upsert");
      const [, key, value] = op;
      let seen: unknown;
      const result = await map.update(key, (old, exist) => {
        const [before] = commaOk({ value: old, loaded: exist }, 0, adapted);
        seen = [exist, before, value];
        return before * 10 + value;
      });
      return [seen, result];
    }
    case "removeCb": {
      adapted.add("removeCb");
      const [, key, want] = op;
      const [value, exists] = commaOk(lookUp(map, key), 0, adapted);
      if (want) expect(map.compareAndDelete(key, value)).toBe(exists);
      return [[value, exists], want];
    }
    case "mset":
      adapted.add("mset");
      for (const [key, value] of Object.entries(op[1])) map.set(key, value);
      return undefined;
    case "count":
      return map.size;
    case "isEmpty":
      adapted.add("isEmpty");
      return map.size === 0;
    case "keys":
      adapted.add("keys");
      return [...map.keys()].sort();
    case "json":
      adapted.add("json");
      return JSON.stringify(Object.fromEntries(sorted(map, (key) => key)));
    case "clear":
      map.clear();
      return undefined;
  }
}

test("it does what Go's sync.Map did", () => {
  const { cases } = golden<{ cases: Case<SyncOp>[] }>("syncmap");
  const adapted = new Tally();
  const ran = new Tally();
  for (const { i, steps } of cases) {
    const map = new ShardMap<Value, Value>();
    for (const [j, [op, result]] of steps.entries()) {
      ran.add(op[0]);
      const ours = runSync(map, op, adapted);
      expect(ours, `case ${i}, step ${j}, ${JSON.stringify(op)}`).toEqual(result);
    }
  }

  expect(cases).toHaveLength(1500);
  expect(ran.counts).toEqual({
    load: 2953,
    store: 2884,
    loadOrStore: 2912,
    loadAndDelete: 2935,
    delete: 2956,
    swap: 2915,
    compareAndSwap: 2983,
    compareAndDelete: 2897,
    range: 2858,
    clear: 584,
  });
  expect(adapted.counts).toEqual({ load: 2953, nothing: 6457 });
});

test("it does what Go's concurrent-map did", async () => {
  const { cases } = golden<{ cases: Case<CountOp>[] }>("cmap");
  const adapted = new Tally();
  const ran = new Tally();
  for (const { i, steps } of cases) {
    const map = new ShardMap<string, number>();
    for (const [j, [op, result]] of steps.entries()) {
      ran.add(op[0]);
      const ours = await runCounts(map, op, adapted);
      expect(ours, `case ${i}, step ${j}, ${JSON.stringify(op)}`).toEqual(result);
    }
  }

  expect(cases).toHaveLength(1000);
  expect(ran.counts).toEqual({
    set: 1073,
    setIfAbsent: 1112,
    upsert: 1109,
    get: 1086,
    has: 1097,
    remove: 1131,
    removeCb: 1076,
    pop: 1066,
    count: 1088,
    isEmpty: 1138,
    keys: 1181,
    json: 1076,
    mset: 1098,
    clear: 282,
  });
  expect(adapted.counts).toEqual({
    get: 1086,
    setIfAbsent: 1112,
    upsert: 1109,
    removeCb: 1076,
    mset: 1098,
    isEmpty: 1138,
    keys: 1181,
    json: 1076,
    nothing: 3334,
  });
});

test("the strings of concurrent-map's hash table are keys like others, their hashes are not ours", () => {
  const { fnv32 } = golden<{ fnv32: [string, number, number][] }>("cmap");
  const map = new ShardMap(fnv32.map(([text, hash]) => [text, hash]));

  expect(fnv32).toHaveLength(500);
  expect(fnv32.filter(([text, hash]) => map.get(text) === hash)).toHaveLength(500);
  expect(map.size).toBe(new Set(fnv32.map(([text]) => text)).size);
});
