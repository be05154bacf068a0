/**
 * Sharded map: a Map of any size that never stops the world to grow, with Go's atomic verbs, and with two more that
 * stay atomic across awaits.
 *
 * Rules of use:
 *
 * - Change across an `await` what depends on the old value with `update`: one at a time for a key, in order.
 * - Fill a cache with `getOrLoad`: one load for all who ask meanwhile.
 * - Everything else is over when the call returns, so nobody comes between. It does not wait for an `update` in
 *   progress, which will write over it.
 *
 * ```ts
 * import { shardmap } from "gopark";
 *
 * const stock = new shardmap.ShardMap([["sku-1", 10]]);
 * const sell = (units: number) =>
 *   stock.update("sku-1", async (left = 0) => {
 *     await Promise.resolve(); // the payment
 *     return left - units;
 *   });
 * await Promise.all([sell(1), sell(2), sell(3)]);
 * console.log(stock.get("sku-1"));
 * // Output:
 * // 4
 * ```
 *
 * What sharding buys in JavaScript (figures: docs/shardmap.md, by `npm run bench:large`):
 *
 * - No rehash stall. Growing to 8 million string keys, the longest pause of one `set`, beyond the collector's own, was
 *   19 ms where a Map's was 1677 ms: one shard of 8192 entries splits at a time, never the whole.
 * - No cap. A Map throws at 2²⁴ entries; 40 million integers work, at 47 bytes each.
 * - Atomicity across awaits, key by key: `update` and `getOrLoad`. This has nothing to do with shards.
 *
 * What it costs: the order of insertion, and the hash of the key once there is more than one shard. What it does not
 * do: relieve contention for a lock. There is none; below a few thousand entries it is one Map and no faster than that.
 *
 * Ports sync.Map and the 256-way shard map of Go services (orcaman/concurrent-map). Differences from Go: the number of
 * shards follows the number of entries; keys are compared as Map's are; `range` is iteration, which yields a key at
 * most once, even if it is deleted and put back meanwhile.
 */
import { callable, show } from "./internal/data/args.ts";
import { Shards } from "./internal/data/shards.ts";
import { completed, completedWith, failedWith, notAFunction } from "./internal/time/turn.ts";
import { type Entry, enter, exit, Kind, type PublicFunction } from "./internal/track/tracker.ts";
import { Flights } from "./internal/wait/flight.ts";
import { sourceOf } from "./internal/wait/foreign.ts";
import type { Cancel, Source } from "./internal/wait/source.ts";
import { Waiters } from "./internal/wait/wait.ts";

const updating = (): PublicFunction[] => [ShardMap.prototype.update];
const loading = (): PublicFunction[] => [ShardMap.prototype.getOrLoad];
const UPDATE = new Kind("shardmap update", "wait", updating);
const UPDATER = new Kind("shardmap updater", "task", updating);
const LOAD = new Kind("shardmap load", "wait", loading);
const LOADER = new Kind("shardmap loader", "task", loading);

/** What was there: comma-ok, as in Go. */
export type Loaded<V> =
  | { readonly value: V; readonly loaded: true }
  | { readonly value: undefined; readonly loaded: false };

/** Computes what {@link ShardMap.update} stores from what is there; `ok` is false if nothing is. */
export type Updater<V> = (value: V | undefined, ok: boolean) => V | PromiseLike<V>;

/** Loads what {@link ShardMap.getOrLoad} stores. The signal aborts when nobody waits for it any more. */
export type Loader<K, V> = (key: K, signal: AbortSignal) => V | PromiseLike<V>;

export class ShardMap<K, V> {
  readonly #shards = new Shards<K, V>();

  // The keys that are being updated, each with those who wait for their turn; null while nobody has.
  readonly #updates = new Map<K, Waiters<void> | null>();

  // The loads whose results are to be stored. Any write to its key makes it forgotten: what it read is older than that.
  readonly #loads = new Flights<K, V>(LOAD, LOADER, (key, value) => this.#shards.set(key, value));

  /** Takes entries as `Map` does. Throws TypeError if they are not iterable, or one of them is no object. */
  constructor(entries?: Iterable<readonly [K, V]> | null) {
    if (entries === undefined || entries === null) return;
    for (const entry of entries) {
      if (typeof entry !== "object" || entry === null)
        throw new TypeError(`an entry must be a pair, got ${show(entry)}`);
      this.#shards.set(entry[0], entry[1]);
    }
  }

  /** The value of the key; `undefined` if there is none. */
  get(key: K): V | undefined {
    return this.#shards.of(key).get(key);
  }

  has(key: K): boolean {
    return this.#shards.of(key).has(key);
  }

  set(key: K, value: V): this {
    this.#shards.set(key, value);
    this.#loads.forget(key);
    return this;
  }

  /** Removes the entry; says whether there was one. */
  delete(key: K): boolean {
    this.#loads.forget(key);
    return this.#shards.of(key).delete(key);
  }

  clear(): void {
    this.#shards.clear();
    this.#loads.clear();
  }

  /** How many entries there are. Asks every shard: there is one for about 10 000 entries. */
  get size(): number {
    return this.#shards.size;
  }

  /**
   * The entries, in no order that can be relied on. What changes meanwhile may be seen or not, but no key comes twice,
   * even if it is deleted and set again, and one that is there all the time comes once. Takes memory for the keys of a
   * shard at a time, 8 192 at most.
   */
  entries(): IterableIterator<[K, V]> {
    return this.#shards.entries();
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.#shards.entries();
  }

  /** The keys, as {@link entries} gives them. */
  *keys(): IterableIterator<K> {
    for (const [key] of this.#shards.entries()) yield key;
  }

  /** The values, as {@link entries} gives them. */
  *values(): IterableIterator<V> {
    for (const [, value] of this.#shards.entries()) yield value;
  }

  /** Calls `fn` for each entry, as {@link entries} gives them. */
  forEach(fn: (value: V, key: K, map: ShardMap<K, V>) => void, thisArg?: unknown): void {
    callable(fn, "forEach's function");
    for (const [key, value] of this.#shards.entries()) fn.call(thisArg, value, key, this);
  }

  /** The value of the key, which is set to `value` first if it has none. */
  getOrInsert(key: K, value: V): V {
    return this.loadOrStore(key, value).value;
  }

  /**
   * The value of the key, which is set to what `fn` returns first if it has none. If `fn` throws, nothing is set. Not
   * for a `fn` that returns a promise and may fail: see {@link getOrLoad}.
   */
  getOrInsertComputed(key: K, fn: (key: K) => V): V {
    callable(fn, "getOrInsertComputed's function");
    const found = this.#load(key);
    if (found.loaded) return found.value;
    const value = fn(normal(key));
    this.set(key, value);
    return value;
  }

  /** The value of the key if it has one; otherwise sets it to `value`, and that is the value. */
  loadOrStore(key: K, value: V): { readonly value: V; readonly loaded: boolean } {
    const found = this.#load(key);
    if (found.loaded) return found;
    this.set(key, value);
    return { value, loaded: false };
  }

  /** Removes the entry and answers with what was there. */
  loadAndDelete(key: K): Loaded<V> {
    const found = this.#load(key);
    this.delete(key);
    return found;
  }

  /** Sets the key to `value` and answers with what was there. */
  swap(key: K, value: V): Loaded<V> {
    const found = this.#load(key);
    this.set(key, value);
    return found;
  }

  /**
   * Sets the key to `value` if its value is `old`; says whether it did. False for a key that has no value, even if
   * `old` is undefined. Values are compared as keys are: NaN is NaN, 0 is -0.
   */
  compareAndSwap(key: K, old: V, value: V): boolean {
    const found = this.#load(key);
    if (!found.loaded || !same(found.value, old)) return false;
    this.set(key, value);
    return true;
  }

  /** Removes the entry if its value is `old`, compared as {@link compareAndSwap} does; says whether it did. */
  compareAndDelete(key: K, old: V): boolean {
    const found = this.#load(key);
    return found.loaded && same(found.value, old) && this.delete(key);
  }

  /**
   * Sets the key to what `fn` makes of its value, and resolves to that. One at a time for a key, in the order of the
   * calls, however long `fn` takes; other keys do not wait. `fn` runs in the caller's async context, never inside this
   * call. It must not call `update` for the same key and wait for it: that would wait for itself.
   *
   * If `fn` throws or rejects, so does this, the map is as it was, and the next in line goes on.
   *
   * Rejects without running `fn` with the context's error or the signal's reason, if `cancel` is done or ends while
   * waiting in line, and with TypeError if `fn` is no function. A `fn` that has begun is not interrupted.
   */
  async update(key: K, fn: Updater<V>, cancel?: Cancel): Promise<V> {
    if (typeof fn !== "function") return notAFunction(fn, "update's function");
    let source: Source | undefined;
    if (cancel !== undefined) {
      source = sourceOf(cancel);
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    let entry: Entry | undefined;
    const line = this.#updates.get(key);
    if (line === undefined) {
      this.#updates.set(key, null);
      entry = enter(UPDATER);
      await completed();
    } else {
      await (line ?? this.#queue(key)).park(source, undefined);
      entry = enter(UPDATER);
    }
    try {
      const { value, loaded } = this.#load(key);
      const next = await fn(value, loaded);
      this.set(key, next);
      return next;
    } finally {
      exit(UPDATER, entry);
      if (this.#updates.get(key)?.wakeOne(undefined) !== true) this.#updates.delete(key);
    }
  }

  /**
   * Resolves to the value of the key. If it has none, runs `load`, once for all who ask meanwhile, sets the key to what
   * that resolves to, and resolves to it. `load` runs in the async context of the first who asked, never inside the
   * call.
   *
   * If `load` throws or rejects, so does this, for all of them; nothing is set, and who asks next loads anew.
   *
   * Rejects with the context's error or the signal's reason, if `cancel` is done or ends while waiting; the others go
   * on waiting. When the last of them leaves so, the signal that `load` was given aborts with the same reason, and its
   * result is dropped.
   *
   * A write to the key while it loads, a `delete` of nothing too, is newer than what `load` has read: those who wait
   * still get that, but it is not set, and who asks next finds what was written or loads anew.
   */
  getOrLoad(key: K, load: Loader<K, V>, cancel?: Cancel): Promise<V> {
    if (typeof load !== "function") return notAFunction(load, "getOrLoad's loader");
    let source: Source | undefined;
    if (cancel !== undefined) {
      source = sourceOf(cancel);
      const ending = source.poll();
      if (ending !== undefined) return failedWith(ending.error());
    }
    const { value, loaded } = this.#load(key);
    if (loaded) return completedWith(value);
    return this.#loads.join(key, (signal) => load(normal(key), signal), source);
  }

  #load(key: K): Loaded<V> {
    const map = this.#shards.of(key);
    const value = map.get(key);
    if (value === undefined && !map.has(key)) return { value: undefined, loaded: false };
    return { value: value as V, loaded: true };
  }

  /** A queue for those who wait to update the key. */
  #queue(key: K): Waiters<void> {
    const queue = new Waiters<void>(UPDATE);
    this.#updates.set(key, queue);
    return queue;
  }
}

/** The key as a Map keeps it: 0 for -0. */
function normal<K>(key: K): K {
  return (key as unknown) === 0 ? (0 as K) : key;
}

/** Same-value-zero, as a Map compares its keys. */
function same(a: unknown, b: unknown): boolean {
  return a === b || Object.is(a, b);
}
