/**
 * Sharded map: a Map of any size that grows a part at a time, with the atomic operations of sync.Map, and with two more
 * that stay atomic across awaits.
 *
 * Rules of use:
 *
 * - Use `update` for a change across an `await` that depends on the old value: for each key, one runs at a time, in the
 *   order of the calls.
 * - Use `getOrLoad` to fill a cache: callers of one key share one load.
 * - Every other method runs without an await, so no other task comes between its steps. (A function that it is given
 *   may write to the map itself; `getOrInsertComputed` then overwrites that.) It does not wait for an `update` in
 *   progress, which later overwrites what it wrote.
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
 * - Short pauses. A shard that has filled up is split in two. A Map hashes all its entries again when it grows, in one
 *   pause.
 * - No cap. A Map of V8 throws at 2²⁴ entries.
 * - `update` and `getOrLoad`, atomic for each key. This has nothing to do with shards.
 *
 * What it costs: the order of insertion, and the hash of the key once there is more than one shard. It does not relieve
 * contention for a lock, as there is none. A small map is one shard, which is a Map, and no faster than one.
 *
 * Ports sync.Map, and does the job of sharded maps such as orcaman/concurrent-map. Differences from Go:
 *
 * - `Load` and `Store` are `get` and `set`. `get` returns `undefined` where there is no entry; where `undefined` is a
 *   value, `has` tells the two apart.
 * - Keys and compared values are equal if a Map takes them for the same key: `NaN` equals `NaN`. In Go it does not.
 * - `compareAndSwap` and `compareAndDelete` compare anything. Go panics for values that cannot be compared.
 * - `Range` is `forEach` or `for ... of`. As in Go, no key comes twice, whatever is written meanwhile.
 * - The number of shards cannot be chosen. It grows with the number of entries, and shrinks only by `clear`.
 * - `getOrInsert`, `getOrInsertComputed`, `update` and `getOrLoad` are additions, and so are the other methods of Map.
 */
import { callable, isObject, show } from "./internal/data/args.ts";
import { Shards } from "./internal/data/shards.ts";
import { reaction } from "./internal/host/async.ts";
import { completed, completedWith, failedWith, notAFunction } from "./internal/time/turn.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import { enter, exit, isObserved, Kind, type PublicFunction, runTaskWith } from "./internal/track/tracker.ts";
import { Flight, Flights } from "./internal/wait/flight.ts";
import { optionalSource, sourceOf } from "./internal/wait/foreign.ts";
import type { Cancel, Source } from "./internal/wait/source.ts";
import { Wait, Waiters } from "./internal/wait/wait.ts";

// The public functions at which the stack of a record begins.
const updateEntryPoints = (): PublicFunction[] => [ShardMap.prototype.update];
const loadEntryPoints = (): PublicFunction[] => [ShardMap.prototype.getOrLoad];
const UPDATE_WAIT = new Kind("shardmap update", "wait", updateEntryPoints);
const UPDATE_TASK = new Kind("shardmap updater", "task", updateEntryPoints, { callerWaits: true });
const LOAD_WAIT = new Kind("shardmap load", "wait", loadEntryPoints);
const LOAD_TASK = new Kind("shardmap loader", "task", loadEntryPoints);

const NONE: unique symbol = Symbol("no key");

/** The value that a key had, and whether it had one. */
export type Loaded<V> =
  | { readonly value: V; readonly loaded: true }
  | { readonly value: undefined; readonly loaded: false };

/** Computes what {@link ShardMap.update} stores from the value that is there; `ok` is false if there is none. */
export type Updater<V> = (value: V | undefined, ok: boolean) => V | PromiseLike<V>;

/** Loads what {@link ShardMap.getOrLoad} stores. The signal aborts when no caller waits for the load any more. */
export type Loader<K, V> = (key: K, signal: AbortSignal) => V | PromiseLike<V>;

/** A load for a key. Its end is a signal, which is aborted with what the last caller was rejected with. */
class LoadFlight<K, V> extends Flight<K, V, V> {
  private readonly shards: Shards<K, V>;
  private readonly load: Loader<K, V>;

  // Set when the load begins.
  private controller: AbortController | undefined = undefined;

  // Aborts the signal from the async context of the first caller, not from that of the one that is cancelled last.
  private abortLater: (() => void) | undefined = undefined;
  private abortReason: unknown = undefined;

  constructor(flights: Flights<K, V, V>, key: K, shards: Shards<K, V>, load: Loader<K, V>) {
    super(flights, key);
    this.shards = shards;
    this.load = load;
  }

  protected override begin(): V | PromiseLike<V> {
    const { load } = this;
    const controller = new AbortController();
    this.controller = controller;
    this.abortLater = reaction(() => controller.abort(this.abortReason));
    return load(normal(this.key), controller.signal);
  }

  protected override cancelWork(reason: unknown): void {
    this.abortReason = reason;
    this.abortLater?.();
  }

  protected override endsWithWork(source: Source): boolean {
    return this.controller !== undefined && source === sourceOf(this.controller.signal);
  }

  protected override store(value: V): void {
    this.shards.set(this.key, value);
  }

  protected override answer(value: V): V {
    return value;
  }
}

/** A map of any size. Keys are compared as those of a Map are. */
export class ShardMap<K, V> {
  readonly #shards = new Shards<K, V>();

  // The keys that are being updated, but for `#only`, each with the queue of callers that wait to update it. The queue
  // is made for the first of them, or for the first recorded updater; until then the value is null.
  readonly #updates = new Map<K, Waiters<void> | null>();

  // The key of the only update, as long as there is no other and no queue: then `#updates` is empty. For updates that
  // come one by one: a Map whose entries come and go makes its table anew every few times, which costs as much as an
  // await.
  #only: K | typeof NONE = NONE;

  // The loads whose results are to be stored. Every write to a key takes its load out: the load may have read what was
  // there before the write.
  readonly #loads = new Flights<K, V, V>(LOAD_WAIT, LOAD_TASK);

  /** Takes entries as `Map` does. Throws TypeError if they are not iterable, or one of them is not an object. */
  constructor(entries?: Iterable<readonly [K, V]> | null) {
    if (entries === undefined || entries === null) return;
    for (const entry of entries) {
      if (typeof entry !== "object" || entry === null) {
        throw new TypeError(`ShardMap: entries must be pairs, got ${show(entry)}`);
      }
      this.#shards.set(entry[0], entry[1]);
    }
  }

  /** The value of the key; `undefined` if there is none. */
  get(key: K): V | undefined {
    return this.#shards.of(key).get(key);
  }

  /** Whether there is an entry for the key. */
  has(key: K): boolean {
    return this.#shards.of(key).has(key);
  }

  /** Adds or overwrites the entry. If that fills a shard, the shard's entries are moved into two. */
  set(key: K, value: V): this {
    this.#shards.set(key, value);
    this.#loads.forget(key);
    return this;
  }

  /** Removes the entry; reports whether there was one. */
  delete(key: K): boolean {
    this.#loads.forget(key);
    return this.#shards.of(key).delete(key);
  }

  /** Removes all entries, in a time that does not depend on how many there are. */
  clear(): void {
    this.#shards.clear();
    this.#loads.clear();
  }

  /** How many entries there are. Asks every shard. */
  get size(): number {
    return this.#shards.size;
  }

  /**
   * The entries, in no order that can be relied on. An entry that is added or removed during the iteration may come or
   * not; a value is the one that the entry has when it comes. No key comes twice, even if it is deleted and set again,
   * and a key that is there all the time comes once. Copies the keys of one shard at a time.
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

  /**
   * Calls `fn` for each entry, as {@link entries} gives them. Throws what `fn` throws, TypeError if it is not a
   * function.
   */
  forEach(fn: (value: V, key: K, map: ShardMap<K, V>) => void, thisArg?: unknown): void {
    callable(fn, "forEach: fn");
    for (const [key, value] of this.#shards.entries()) fn.call(thisArg, value, key, this);
  }

  /** Returns the value of the key. If it has none, first sets it to `value`. */
  getOrInsert(key: K, value: V): V {
    return this.loadOrStore(key, value).value;
  }

  /**
   * Returns the value of the key. If it has none, first sets it to what `fn` returns. If `fn` throws, throws the same
   * and sets nothing. Throws TypeError if `fn` is not a function.
   *
   * A promise that `fn` returns would be stored, and stay if it rejects. Use {@link getOrLoad} for those.
   */
  getOrInsertComputed(key: K, fn: (key: K) => V): V {
    callable(fn, "getOrInsertComputed: fn");
    const found = this.#find(key);
    if (found.loaded) return found.value;
    const value = fn(normal(key));
    this.set(key, value);
    return value;
  }

  /** Returns the value of the key if it has one, with `loaded` true. Otherwise sets it to `value` and returns that. */
  loadOrStore(key: K, value: V): { readonly value: V; readonly loaded: boolean } {
    const found = this.#find(key);
    if (found.loaded) return found;
    this.set(key, value);
    return { value, loaded: false };
  }

  /** Removes the entry and returns what was there. */
  loadAndDelete(key: K): Loaded<V> {
    const found = this.#find(key);
    this.delete(key);
    return found;
  }

  /** Sets the key to `value` and returns what was there. */
  swap(key: K, value: V): Loaded<V> {
    const found = this.#find(key);
    this.set(key, value);
    return found;
  }

  /**
   * Sets the key to `value` if its value is `old`; reports whether it did. False for a key that has no value, even if
   * `old` is undefined. Values are compared as keys are: NaN equals NaN, 0 equals -0.
   */
  compareAndSwap(key: K, old: V, value: V): boolean {
    const found = this.#find(key);
    if (!found.loaded || !same(found.value, old)) return false;
    this.set(key, value);
    return true;
  }

  /** Removes the entry if its value is `old`, compared as by {@link compareAndSwap}; reports whether it did. */
  compareAndDelete(key: K, old: V): boolean {
    const found = this.#find(key);
    return found.loaded && same(found.value, old) && this.delete(key);
  }

  /**
   * Sets the key to what `fn` computes from its value, and resolves to that. The calls of one key run one at a time, in
   * order, however long `fn` takes; other keys do not wait. `fn` runs in the caller's async context, and never inside
   * this call. An `fn` that calls `update` for its own key and awaits it waits for itself.
   *
   * If `fn` throws or rejects, so does `update`; the entry is left as it is, and the next call of the key runs.
   *
   * Rejects, with `fn` not called, with the context's error or the signal's reason, if `cancel` has ended or ends while
   * waiting for earlier calls, and with TypeError if `fn` is not a function. An `fn` that has begun is not interrupted.
   */
  async update(key: K, fn: Updater<V>, cancel?: Cancel): Promise<V> {
    if (typeof fn !== "function") return notAFunction(fn, "update: fn");
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    let record: LeakRecord | undefined;
    if (this.#only !== NONE) {
      // From now on it is not the only one.
      this.#updates.set(this.#only, null);
      this.#only = NONE;
    }
    const isOnly = this.#updates.size === 0;
    const queue = isOnly ? undefined : this.#updates.get(key);
    if (queue === undefined) {
      if (isOnly) this.#only = key;
      else this.#updates.set(key, null);
      record = this.#beginUpdate(key);
      await completed();
    } else {
      const wait = new Wait<void>(UPDATE_WAIT, source, undefined);
      (queue ?? this.#makeQueue(key)).push(wait);
      wait.dependent?.listen();
      await wait.promise;
      record = this.#beginUpdate(key, wait.dependent?.stack);
    }
    try {
      const { value, loaded } = this.#find(key);
      const result = isObserved() ? runTaskWith(record, fn, value, loaded) : fn(value, loaded);
      // No await for a value that cannot be a promise.
      const next = isObject(result) ? await result : result;
      this.set(key, next);
      return next;
    } finally {
      exit(UPDATE_TASK, record);
      if (this.#only === NONE) {
        const waiting = this.#updates.get(key);
        waiting?.removeHolder(record);
        if (waiting?.wakeOne(undefined) !== true) this.#updates.delete(key);
      } else {
        this.#only = NONE;
      }
    }
  }

  /**
   * Resolves to the value of the key. If it has none, calls `load`, sets the key to what that resolves to, and resolves
   * to it. Callers that come while `load` runs wait for the same load. `load` runs in the async context of the first
   * caller, and never inside this call.
   *
   * If `load` throws or rejects, so do all calls that wait for it. Nothing is set, and the next caller starts a new
   * load. A load that never ends blocks its key as long as callers keep coming, so give it a deadline of its own. A
   * `load` that awaits `getOrLoad` for its own key waits for itself.
   *
   * Rejects with the context's error or the signal's reason, if `cancel` has ended or ends while waiting; other callers
   * go on waiting. When the last of them has left in this way, the signal that `load` was given aborts with the same
   * reason, and its result is dropped. Rejects with TypeError if `load` is not a function.
   *
   * A write to the key during the load makes its result outdated, and so does a `delete` that finds no entry. The
   * callers that wait still get the result, but it is not stored, and the next caller finds what was written or starts
   * a new load.
   */
  getOrLoad(key: K, load: Loader<K, V>, cancel?: Cancel): Promise<V> {
    if (typeof load !== "function") return notAFunction(load, "getOrLoad: load");
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    const { value, loaded } = this.#find(key);
    if (loaded) return completedWith(value);
    const running = this.#loads.get(key);
    if (running !== undefined) return running.join(source);
    return this.#loads.start(new LoadFlight(this.#loads, key, this.#shards, load), source);
  }

  #find(key: K): Loaded<V> {
    const map = this.#shards.of(key);
    const value = map.get(key);
    if (value === undefined && !map.has(key)) return { value: undefined, loaded: false };
    return { value: value as V, loaded: true };
  }

  /** Counts an updater of the key, which has none. `stack` is where it was asked for, if it waited and was recorded. */
  #beginUpdate(key: K, stack?: string): LeakRecord | undefined {
    const record = enter(UPDATE_TASK, undefined, undefined, stack);
    if (record !== undefined) (this.#updates.get(key) ?? this.#makeQueue(key)).addHolder(record);
    return record;
  }

  /** Makes the queue of callers that wait to update the key. */
  #makeQueue(key: K): Waiters<void> {
    const queue = new Waiters<void>(UPDATE_WAIT);
    this.#only = NONE; // The key has a queue now.
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
