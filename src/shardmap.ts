/**
 * Sharded map: a Map of any size that never stops the world to grow, with Go's atomic verbs, and with two more that stay
 * atomic across awaits.
 *
 * Rules of use:
 *
 * - Change across an `await` what depends on the old value with `update`: one at a time for a key, in order.
 * - Fill a cache with `getOrLoad`: one load for all who ask meanwhile.
 * - Everything else is over when the call returns, so nobody comes between. It does not wait for an `update` in progress,
 *   which will write over it.
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
 * What it costs: the order of insertion, and the hash of the key once there is more than one shard. What it does not do:
 * relieve contention for a lock. There is none; below a few thousand entries it is one Map and no faster than that.
 *
 * Ports sync.Map and the 256-way shard map of Go services (orcaman/concurrent-map). Differences from Go: the number of
 * shards follows the number of entries; keys are compared as Map's are; `range` is iteration, which yields a key at most
 * once, even if it is deleted and put back meanwhile.
 */
import { type Cancel, refused } from "./internal/cancel.ts";
import { callable, show } from "./internal/errors.ts";
import { List } from "./internal/list.ts";
import { type Owner, Park } from "./internal/park.ts";
import { Shards } from "./internal/shards.ts";
import { closed, Kind, opened } from "./internal/tracker.ts";
import { completed, completedWith, DONE } from "./internal/turn.ts";

const UPDATE = new Kind("shardmap update");
const LOAD = new Kind("shardmap load");
const LOADER = new Kind("shardmap loader");

/** What was there: comma-ok, as in Go. */
export type Loaded<V> =
  | { readonly value: V; readonly loaded: true }
  | { readonly value: undefined; readonly loaded: false };

/** Computes what {@link ShardMap.update} stores from what is there; `ok` is false if nothing is. */
export type Updater<V> = (value: V | undefined, ok: boolean) => V | PromiseLike<V>;

/** Loads what {@link ShardMap.getOrLoad} stores. The signal aborts when nobody waits for it any more. */
export type Loader<K, V> = (key: K, signal: AbortSignal) => V | PromiseLike<V>;

/** One load, and those who wait for it. */
class Flight<V> implements Owner {
  readonly waiters = new List<Park<V>>();

  /** Nobody waits any more. Called by the last to leave, and by those who left with it; once is enough. */
  abandon!: (reason: unknown) => void;

  // Of the last to leave so far.
  private reason: unknown;

  cancelled(reason: unknown): void {
    this.reason = reason;
  }

  abandoned(): void {
    if (this.waiters.size === 0) this.abandon(this.reason);
  }
}

export class ShardMap<K, V> {
  readonly #shards = new Shards<K, V>();

  // The keys that are being updated, each with those who wait for their turn.
  readonly #updates = new Map<K, List<Park<void>>>();

  // The loads whose results are to be stored. Any write to its key takes a load out: what it read is older than that.
  readonly #loads = new Map<K, Flight<V>>();

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
    this.#outdate(key);
    return this;
  }

  /** Removes the entry; says whether there was one. */
  delete(key: K): boolean {
    this.#outdate(key);
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
   * The value of the key, which is set to what `fn` returns first if it has none. If `fn` throws, nothing is set. Not for
   * a `fn` that returns a promise and may fail: see {@link getOrLoad}.
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
   * Sets the key to `value` if its value is `old`; says whether it did. False for a key that has no value, even if `old`
   * is undefined. Values are compared as keys are: NaN is NaN, 0 is -0.
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
    callable(fn, "update's function");
    await this.#turn(key, cancel);
    try {
      const { value, loaded } = this.#load(key);
      const next = await fn(value, loaded);
      this.set(key, next);
      return next;
    } finally {
      const next = this.#updates.get(key)?.shift();
      if (next === undefined) this.#updates.delete(key);
      else next.resolve();
    }
  }

  /**
   * Resolves to the value of the key. If it has none, runs `load`, once for all who ask meanwhile, sets the key to what
   * that resolves to, and resolves to it. `load` runs in the async context of the first who asked, never inside the call.
   *
   * If `load` throws or rejects, so does this, for all of them; nothing is set, and who asks next loads anew.
   *
   * Rejects with the context's error or the signal's reason, if `cancel` is done or ends while waiting; the others go on
   * waiting. When the last of them leaves so, the signal that `load` was given aborts with the same reason, and its result
   * is dropped.
   *
   * A write to the key while it loads, a `delete` of nothing too, is newer than what `load` has read: those who wait
   * still get that, but it is not set, and who asks next finds what was written or loads anew.
   */
  getOrLoad(key: K, load: Loader<K, V>, cancel?: Cancel): Promise<V> {
    const refusal = this.#refuse(load, cancel);
    if (refusal !== undefined) return refusal;
    const { value, loaded } = this.#load(key);
    if (loaded) return completedWith(value);
    let flight = this.#loads.get(key);
    if (flight === undefined) {
      flight = new Flight();
      this.#loads.set(key, flight);
      void this.#fly(flight, key, load);
    }
    const waiter = new Park<V>(LOAD, cancel, undefined, flight);
    flight.waiters.push(waiter);
    return waiter.promise;
  }

  #load(key: K): Loaded<V> {
    const map = this.#shards.of(key);
    const value = map.get(key);
    if (value === undefined && !map.has(key)) return { value: undefined, loaded: false };
    return { value: value as V, loaded: true };
  }

  /** Keeps a load of the key that is in progress from being stored. */
  #outdate(key: K): void {
    if (this.#loads.size > 0) this.#loads.delete(key);
  }

  /** Waits until it is the caller's turn to update the key. */
  #turn(key: K, cancel: Cancel | undefined): Promise<void> {
    const refusal = cancel === undefined ? undefined : refused(cancel);
    if (refusal !== undefined) return refusal;
    const line = this.#updates.get(key);
    if (line === undefined) {
      this.#updates.set(key, new List());
      return completed();
    }
    const park = new Park<void>(UPDATE, cancel);
    line.push(park);
    return park.promise;
  }

  #refuse(load: Loader<K, V>, cancel: Cancel | undefined): Promise<never> | undefined {
    if (typeof load !== "function") return this.#notALoader(load);
    return cancel === undefined ? undefined : refused(cancel);
  }

  async #notALoader(load: unknown): Promise<never> {
    return callable(load, "getOrLoad's loader") as never;
  }

  async #fly(flight: Flight<V>, key: K, load: Loader<K, V>): Promise<void> {
    const controller = new AbortController();
    // The reaction is registered here, so that abort listeners run in the context of who loads, not of who leaves.
    void new Promise((resolve) => {
      flight.abandon = (reason) => {
        if (this.#loads.get(key) === flight) this.#loads.delete(key);
        resolve(reason);
      };
    }).then((reason) => controller.abort(reason));

    const entry = opened(LOADER);
    let settle: (waiter: Park<V>) => void;
    try {
      await DONE;
      const value = await load(normal(key), controller.signal);
      settle = (waiter) => waiter.resolve(value);
      if (this.#loads.get(key) === flight) this.#shards.set(key, value);
    } catch (error) {
      settle = (waiter) => waiter.reject(error);
    } finally {
      closed(LOADER, entry);
    }
    if (this.#loads.get(key) === flight) this.#loads.delete(key);
    for (let w = flight.waiters.shift(); w !== undefined; w = flight.waiters.shift()) settle(w);
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
