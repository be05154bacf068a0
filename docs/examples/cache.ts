/**
 * A cache that loads each key once, however many callers ask for it, and serves a stale value while it loads a new one.
 *
 * The first callers of a key wait together for one load. After that no caller waits: the first one that finds the entry
 * stale starts a refresh, and all of them get the old value until the new one is there.
 *
 * Rules of thumb: claim before you await, so that only one task does the work. Write back only over your own claim, so
 * that a refresh never brings back what was deleted meanwhile. Give work in the background an owner that waits for it.
 *
 * `npm run example cache` runs it.
 */
import { context, errgroup, shardmap, time } from "gopark";
import type { Context } from "gopark/context";

type Load<V> = (key: string, signal: AbortSignal) => Promise<V>;

interface Entry<V> {
  readonly value: V;
  readonly staleAt: number;
}

class Cache<V> {
  readonly #entries = new shardmap.ShardMap<string, Entry<V>>();
  readonly #load: Load<V>;
  readonly #ttl: number;
  readonly #refreshes: errgroup.Group;
  readonly #life: Context;

  constructor(parent: Context, ttl: number, load: Load<V>) {
    this.#ttl = ttl;
    this.#load = load;
    [this.#refreshes, this.#life] = errgroup.withContext(parent);
  }

  async get(ctx: Context, key: string): Promise<V> {
    const load = async (key: string, signal: AbortSignal) => this.#entry(await this.#load(key, signal));
    const entry = await this.#entries.getOrLoad(key, load, ctx);
    if (time.now() >= entry.staleAt) await this.#refresh(key, entry);
    return entry.value;
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  /** Resolves once the refresh has been started, not when it has ended. */
  async #refresh(key: string, stale: Entry<V>): Promise<void> {
    // The claim: the same value, fresh for one more ttl. If the load fails, it is tried again after that.
    const claim = this.#entry(stale.value);
    if (!this.#entries.compareAndSwap(key, stale, claim)) return;
    await this.#refreshes.go(async () => {
      try {
        const value = await this.#load(key, this.#life.signal);
        this.#entries.compareAndSwap(key, claim, this.#entry(value));
      } catch (err) {
        if (this.#life.err() === undefined) console.log("refresh failed:", (err as Error).message);
      }
    });
  }

  #entry(value: V): Entry<V> {
    return { value, staleAt: time.now() + this.#ttl };
  }

  /** Ends the refreshes that are under way, and waits for them. */
  close(): Promise<void> {
    return this.#refreshes[Symbol.asyncDispose]();
  }
}

const TTL = 200;
const { ctx, cancel } = context.withTimeout(context.background(), 5000);
let loads = 0;
let down = false;
const cache = new Cache<string>(ctx, TTL, async (key, signal) => {
  const load = ++loads;
  await time.sleep(10, signal); // Stands for fetch(url, { signal }).
  if (down) throw new Error("the origin is down");
  return `${key} v${load}`;
});
const getTwice = async (what: string) =>
  console.log(`${what}:`, ...(await Promise.all([cache.get(ctx, "rate"), cache.get(ctx, "rate")])));

try {
  await getTwice("cold");
  await getTwice("warm");
  await time.sleep(TTL, ctx);
  await getTwice("stale");
  await time.sleep(TTL / 2, ctx);
  await getTwice("refreshed");
  down = true;
  await time.sleep(TTL, ctx);
  await getTwice("stale");
  await time.sleep(TTL / 2, ctx);
  await getTwice("still served");
  down = false;
  await time.sleep(TTL, ctx);
  await getTwice("stale");
  cache.delete("rate"); // While it is refreshed: the result of the refresh is dropped.
  await time.sleep(TTL / 2, ctx);
  await getTwice("deleted");
  console.log(`${loads} loads`);
} finally {
  await cache.close();
  cancel();
}
// Output:
// cold: rate v1 rate v1
// warm: rate v1 rate v1
// stale: rate v1 rate v1
// refreshed: rate v2 rate v2
// stale: rate v2 rate v2
// refresh failed: the origin is down
// still served: rate v2 rate v2
// stale: rate v2 rate v2
// deleted: rate v5 rate v5
// 5 loads
