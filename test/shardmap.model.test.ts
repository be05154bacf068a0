/** Sharded map: random programs of synchronous calls against a plain Map, with iterations in progress. */
import { ShardMap } from "gopark/shardmap";
import { expect, test } from "vitest";
import { FULL } from "../src/internal/data/shards.ts";
import { type Random, random, seeds } from "./support/random.ts";

type Key = unknown;

const pool: Key[] = [
  ...[0, -0, 1, -1, 0.5, 1e300, Number.NaN, 2 ** 32, Number.POSITIVE_INFINITY],
  ...["", "0", "1", "NaN", "__proto__", "constructor", "x".repeat(100)],
  ...[0n, 1n, 2n ** 64n, undefined, null, true, false],
  ...[Symbol("a"), Symbol("a"), Symbol.for("a"), {}, {}, Object.freeze([]), () => {}],
];
const values: unknown[] = [undefined, null, 0, -0, Number.NaN, "", 1, "1"];

/** As Map.prototype.has and get, but for values. */
function same(a: unknown, b: unknown): boolean {
  return a === b || Object.is(a, b);
}

/** An iteration in progress, and what it owes: the keys that have been there since it began. */
class Walk {
  readonly #iterator: Iterator<[Key, unknown]>;
  readonly #seen = new Set<Key>();
  readonly #owed: Set<Key>;
  over = false;

  constructor(map: ShardMap<Key, unknown>, model: Map<Key, unknown>) {
    this.#iterator = map.entries();
    this.#owed = new Set(model.keys());
  }

  /** A key that was away in between is owed no more, but may still come once. */
  deleted(key: Key): void {
    this.#owed.delete(key);
  }

  step(model: Map<Key, unknown>): void {
    const next = this.#iterator.next();
    if (next.done === true) {
      this.over = true;
      if (this.#owed.size > 0) expect.unreachable(`${this.#owed.size} keys did not come`);
      return;
    }
    const [key, value] = next.value;
    if (this.#seen.has(key)) expect.unreachable(`${String(key)} came twice`);
    if (!model.has(key)) expect.unreachable(`${String(key)} came though it is not there`);
    if (!Object.is(model.get(key), value)) expect.unreachable(`${String(key)} came with an old value`);
    this.#seen.add(key);
    this.#owed.delete(key);
  }
}

class Program {
  readonly #rnd: Random;
  readonly #map = new ShardMap<Key, unknown>();
  readonly #model = new Map<Key, unknown>();
  readonly #walks = new Set<Walk>();
  #bulk = 0;

  constructor(rnd: Random) {
    this.#rnd = rnd;
  }

  /** Adds numbered keys till shards are about to split. */
  grow(n: number): void {
    for (const end = this.#bulk + n; this.#bulk < end; this.#bulk++) this.#set(`bulk ${this.#bulk}`, this.#bulk);
  }

  #set(key: Key, value: unknown): void {
    this.#map.set(key, value);
    this.#model.set(key, value);
  }

  #remove(key: Key): void {
    this.#model.delete(key);
    for (const walk of this.#walks) walk.deleted(key);
  }

  #key(): Key {
    return this.#bulk > 0 && this.#rnd.bool(0.5) ? `bulk ${this.#rnd.int(0, this.#bulk)}` : this.#rnd.pick(pool);
  }

  step(clearing: number): void {
    const map = this.#map;
    const model = this.#model;
    const rnd = this.#rnd;
    const key = this.#key();
    const value = rnd.pick(values);
    const there = model.has(key);
    const before = model.get(key);
    const old = rnd.bool(0.5) ? before : rnd.pick(values);
    const matches = there && same(before, old);
    switch (rnd.int(0, 12)) {
      case 0:
        expect(map.get(key)).toBe(before);
        break;
      case 1:
        expect(map.has(key)).toBe(there);
        break;
      case 2:
        this.#set(key, value);
        break;
      case 3:
        expect(map.delete(key)).toBe(there);
        this.#remove(key);
        break;
      case 4:
        expect(map.getOrInsert(key, value)).toBe(there ? before : value);
        if (!there) model.set(key, value);
        break;
      case 5: {
        let calls = 0;
        const compute = () => {
          calls++;
          return value;
        };
        expect(map.getOrInsertComputed(key, compute)).toBe(there ? before : value);
        expect(calls).toBe(there ? 0 : 1);
        if (!there) model.set(key, value);
        break;
      }
      case 6:
        expect(map.loadOrStore(key, value)).toEqual({ value: there ? before : value, loaded: there });
        if (!there) model.set(key, value);
        break;
      case 7:
        expect(map.loadAndDelete(key)).toEqual({ value: before, loaded: there });
        this.#remove(key);
        break;
      case 8:
        expect(map.swap(key, value)).toEqual({ value: before, loaded: there });
        model.set(key, value);
        break;
      case 9:
        expect(map.compareAndSwap(key, old, value)).toBe(matches);
        if (matches) model.set(key, value);
        break;
      case 10:
        expect(map.compareAndDelete(key, old)).toBe(matches);
        if (matches) this.#remove(key);
        break;
      case 11:
        if (this.#walks.size < 4) this.#walks.add(new Walk(map, model));
        break;
      case 12:
        if (!rnd.bool(clearing)) break;
        map.clear();
        for (const each of [...model.keys()]) this.#remove(each);
        break;
    }
    for (const walk of this.#walks) {
      for (let steps = rnd.int(0, 3); steps > 0 && !walk.over; steps--) walk.step(model);
      if (walk.over) this.#walks.delete(walk);
    }
    expect(map.size).toBe(model.size);
  }

  /** Compares everything, and ends the iterations. */
  check(): void {
    const entries = [...this.#map];
    expect(entries).toHaveLength(this.#model.size);
    const wrong = entries.filter(
      ([key, value]) => !this.#model.has(key) || !Object.is(this.#model.get(key), value) || Object.is(key, -0),
    );
    expect(wrong).toEqual([]);
    for (const walk of this.#walks) while (!walk.over) walk.step(this.#model);
    this.#walks.clear();
  }
}

test.each(seeds(60))("a random program on a small map answers as a Map does, SEED=%d", (seed) => {
  const program = new Program(random(seed));
  for (let round = 0; round < 10; round++) {
    for (let steps = 0; steps < 60; steps++) program.step(0.2);
    program.check();
  }
});

test.each(seeds(12))("a random program on a map that splits answers as a Map does, SEED=%d", (seed) => {
  const rnd = random(seed);
  const program = new Program(rnd);
  for (let round = 0; round < 8; round++) {
    // The last few keys before a split come one by one, among the program's own.
    program.grow(rnd.pick([FULL - 20, FULL / 2, 5]));
    for (let steps = 0; steps < 200; steps++) {
      program.step(0.02);
      if (rnd.bool(0.3)) program.grow(rnd.pick([1, 1, 1, 100]));
    }
    program.check();
  }
});
