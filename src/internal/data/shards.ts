/**
 * A table of entries in many small Maps, after extendible hashing: a shard that is full is split in two by one more bit
 * of its keys' hashes. So growing costs at once no more than moving one shard's entries, and now and then doubling the
 * directory of shards. (Keys whose hashes no bit separates share one shard, which grows as a Map does.)
 *
 * The first shard holds everything, and no key is hashed until it is split: a small table is a Map and one comparison.
 */
import { type Hash, processHash } from "./hash.ts";

/**
 * How many entries fill a shard. A size at which V8's own table is full, so that the split comes instead of a rehash.
 * With smaller shards, smaller maps would already pay for hashing, to shorten a pause that is short enough already: see
 * the steps in docs/performance.md.
 */
export const FULL: number = 2 ** 13;

/** At most 2 ** DEEPEST shards. One that deep grows as any Map does. */
const DEEPEST = 16;

/**
 * The directory doubles only while it has at most this many places for each shard. With evenly spread hashes it stays
 * far below this. Without the bound, keys that no split can separate would make it as deep as it can be.
 */
const PLACES = 8;

/** The entries whose hashes begin with the same `depth` bits. */
class Shard<K, V> {
  readonly map = new Map<K, V>();
  readonly depth: number;

  /** The stretch of the hashes that it has, by their first DEEPEST bits: from `first`, up to and without `end`. */
  readonly first: number;
  readonly end: number;

  constructor(depth: number, first: number) {
    this.depth = depth;
    this.first = first;
    this.end = first + 2 ** (DEEPEST - depth);
  }
}

/** The hash while there is one shard: all keys are in it. */
const unsplit: Hash = () => 0;

/** The table: a directory of shards, found by the first bits of a key's hash. */
export class Shards<K, V> {
  // Between any two calls: the directory has 2 ** depth places, and place i has the shard of the hashes that begin with
  // i's bits. A shard of a lesser depth stands in all the places it has, side by side. A shard that was divided or
  // cleared stands in none, and its map is stale.
  private directory: Shard<K, V>[] = [new Shard(0, 0)];
  private depth = 0;

  // The hash of this process from the first split on, and for good.
  private hash: Hash = unsplit;

  /** How many shards the directory has. */
  private count = 1;

  /** The Map that has the key's entry, if there is one. Entries may be removed and overwritten there, not added. */
  of(key: K): Map<K, V> {
    return this.shard(key).map;
  }

  /** Adds or overwrites an entry. */
  set(key: K, value: V): void {
    const shard = this.shard(key);
    shard.map.set(key, value);
    if (shard.map.size >= FULL && this.isDivisible(shard)) this.divide(shard);
  }

  /** How many entries there are; asks every shard. */
  get size(): number {
    let size = 0;
    for (let at = 0; at < 2 ** DEEPEST; ) {
      const shard = this.at(at);
      size += shard.map.size;
      at = shard.end;
    }
    return size;
  }

  /**
   * Removes every entry, in a time that does not depend on how many there are or were: it starts again with one shard.
   */
  clear(): void {
    this.directory = [new Shard(0, 0)];
    this.depth = 0;
    this.count = 1;
  }

  /**
   * Walks over the entries in the order of the hashes, a shard at a time. Of each shard it takes the keys as they are
   * when it comes there, and goes on where that shard ended, whatever has been split since; so it meets a key at most
   * once, and exactly once if the key is there all the time.
   */
  *entries(): Generator<[K, V], void, undefined> {
    for (let at = 0; at < 2 ** DEEPEST; ) {
      const shard = this.at(at);
      // After a clear, the next shard may begin before `at`. Its keys before `at` have been passed.
      const isPast = (key: K) => shard.first < at && this.hash(key) >>> (32 - DEEPEST) < at;
      for (const key of [...shard.map.keys()]) {
        const map = this.at(shard.first) === shard ? shard.map : this.of(key);
        const value = map.get(key);
        if ((value !== undefined || map.has(key)) && !isPast(key)) yield [key, value as V];
      }
      at = shard.end;
    }
  }

  private shard(key: K): Shard<K, V> {
    const { depth } = this;
    return this.directory[depth === 0 ? 0 : this.hash(key) >>> (32 - depth)] as Shard<K, V>;
  }

  /** The shard of the hashes that begin with these DEEPEST bits. */
  private at(bits: number): Shard<K, V> {
    return this.directory[bits >>> (DEEPEST - this.depth)] as Shard<K, V>;
  }

  private isDivisible(shard: Shard<K, V>): boolean {
    if (shard.depth < this.depth) return true;
    return shard.depth < DEEPEST && this.directory.length <= PLACES * this.count;
  }

  private divide(shard: Shard<K, V>): void {
    this.hash = processHash();
    // 1. Make the directory fine enough to tell the halves apart.
    if (shard.depth === this.depth) {
      this.directory = this.directory.flatMap((each) => [each, each]);
      this.depth++;
    }
    // 2. Move the entries. Maps of their own, both filled from empty: one that only lost half would keep the room of
    // the whole.
    const lower = new Shard<K, V>(shard.depth + 1, shard.first);
    const upper = new Shard<K, V>(shard.depth + 1, lower.end);
    const bit = 31 - shard.depth;
    for (const [key, value] of shard.map) ((this.hash(key) >>> bit) & 1 ? upper : lower).map.set(key, value);
    // 3. Put the halves where the whole was.
    const places = 2 ** (this.depth - shard.depth - 1);
    const from = shard.first >>> (DEEPEST - this.depth);
    this.directory.fill(lower, from, from + places).fill(upper, from + places, from + 2 * places);
    this.count++;
  }
}
