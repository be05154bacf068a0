/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Object pool: objects that are dear to make are reset when they are put back, and handed out again.
 *
 * Rules of use:
 *
 * - Most callers should use `use`, or `lease` with `using`: the object comes back exactly once, however the block is
 *   left.
 * - `get` and `put` are for objects that change hands. Put in `finally`, once, and forget the object: whoever holds on
 *   to it after `put` shares it with its next owner.
 * - `reset` wipes whatever the next owner must not see.
 *
 * ```ts
 * import { pool } from "gopark";
 *
 * interface Scratch {
 *   lines: string[];
 * }
 * const scratches = new pool.Pool<Scratch>({
 *   create: () => ({ lines: [] }),
 *   reset: (scratch) => void (scratch.lines.length = 0),
 * });
 * const report = await scratches.use((scratch) => {
 *   scratch.lines.push("total", "42");
 *   return scratch.lines.join(" ");
 * });
 * console.log(report);
 * console.log(await scratches.use((scratch) => scratch.lines.length)); // the same object, clean
 * // Output:
 * // total 42
 * // 0
 * ```
 *
 * Ports sync.Pool. Differences from Go:
 *
 * - `reset` belongs to the pool and runs on every put, so nobody forgets it. In Go it is for each caller to do.
 * - A pool takes back only what it made, and only once. Go takes anything, any number of times.
 * - Idle objects are let go by time instead of by the collector's cycles; the two generations are the same.
 * - An object that is not put back is counted and reported. Go does not care.
 * - `dispose`, because a pool may own more than memory.
 *
 * What it is for: objects whose making costs more than a put and a get. It is not a cache: an idle object may go at any
 * time, and who gets one does not choose which. It is not a connection pool: `get` never waits, and nothing limits how
 * many are out; take a semaphore for that.
 *
 * When it pays on V8 (`npm run bench -- pool`, Node 20): a get and a put take 21 ns, so it never pays for small
 * objects, which V8 makes and collects in less. Of zeroed Buffers, one of 64 bytes is as cheap new (109 ns; 94 from a
 * pool whose `reset` wipes it). From 256 bytes the pool wins: 0.1 µs instead of 0.7, at 16 kB 0.4 instead of 7, at 64
 * kB 1.4 instead of 24. The rate decides whether that matters: 16 kB a thousand times a second is half a percent of a
 * core, ten thousand times 5 %.
 */
import { callable, count, duration, isThenable, noGenerator, show } from "./internal/data/args.ts";
import { Stamp } from "./internal/data/stamp.ts";
import { disposable } from "./internal/host/dispose.ts";
import { now } from "./internal/time/clock.ts";
import { type Alarm, arm, disarm } from "./internal/time/timers.ts";
import { notAFunction, overBudget } from "./internal/time/turn.ts";
import { type Entry, enter, exit, Kind } from "./internal/track/tracker.ts";

const OBJECT = new Kind("pool object", "resource", () => {
  const { use, lease, get } = Pool.prototype;
  return [use, lease, get];
});

export interface PoolOptions<T extends object> {
  /** Makes an object when none is idle. Must not return a promise, or an object that a pool has already. */
  readonly create: () => T;

  /** Makes an object as good as new. Called by whoever puts it back, within that call; must not return a promise. */
  readonly reset: (object: T) => void;

  /** How many idle objects are kept, a whole number from 0 or Infinity; 256 if left out. More are dropped. */
  readonly maxIdle?: number;

  /**
   * Milliseconds, above 0; 60 000 if left out. An object that nobody takes is let go after one to two times as long.
   * Infinity keeps it for ever.
   */
  readonly idleMs?: number;
}

/** Where an object of a pool is. */
type Place = "inside" | "out" | "leased";

/** What a pool knows of one of its objects. The object carries it as a private field. */
class Slot<T extends object> {
  readonly pool: Pool<T>;
  readonly object: T;

  /** Once dropped, an object is "inside" for ever. */
  place: Place = "inside";

  /** The record of who has it, under full tracking. */
  entry: Entry | undefined = undefined;

  constructor(pool: Pool<T>, object: T) {
    this.pool = pool;
    this.object = object;
  }
}

/**
 * Finding out that an object was put twice must not cost more than the put: a Set of them would take 113 ns, this 2–5.
 */
class Pooled<T extends object> extends Stamp {
  readonly #slot: Slot<T>;

  constructor(slot: Slot<T>) {
    super(slot.object);
    this.#slot = slot;
  }

  static slotOf<T extends object>(object: T): Slot<T> | undefined {
    return #slot in object ? (object as unknown as Pooled<T>).#slot : undefined;
  }
}

/** An object out of a pool, to be given back once. Made by {@link Pool.lease}. */
export class Lease<T extends object> {
  // Undefined once released.
  #slot: Slot<T> | undefined;

  /** @internal */
  constructor(slot: Slot<T>) {
    this.#slot = slot;
    slot.place = "leased";
    slot.entry = enter(OBJECT, this);
  }

  /** The object. Throws an Error once it has been released: it may be somebody else's now. */
  get value(): T {
    if (this.#slot === undefined) throw new Error("pool: the lease has been released");
    return this.#slot.object;
  }

  /** Gives the object back, and throws what `reset` throws. Does nothing the second time. */
  release(): void {
    const slot = this.#slot;
    if (slot === undefined) return;
    this.#slot = undefined;
    takeBack(slot);
  }

  /** Gives the object back at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.release);
  }
}

// For leases, which live outside the class. Set by its static block.
let takeBack: <T extends object>(slot: Slot<T>) => void;

export class Pool<T extends object> {
  // Between any two calls:
  //   every idle slot is "inside", and its object has been reset;
  //   #idle.length + #older.length <= #maxIdle;
  //   the alarm is armed while something is idle, and then to the end of the period, unless #idleMs is Infinity.
  readonly #create: () => T;
  readonly #reset: (object: T) => void;
  readonly #maxIdle: number;
  readonly #idleMs: number;
  #out = 0;
  #disposed = false;

  // Two generations, the later put last. At each alarm what is still in #older has been idle for a whole period, and
  // goes; #idle takes its place.
  #idle: Slot<T>[] = [];
  #older: Slot<T>[] = [];
  readonly #alarm: Alarm = { when: 0, index: -1, fire: () => this.#age() };

  /** Throws TypeError for a missing or unusable option, and RangeError for a number outside its range. */
  constructor(options: PoolOptions<T>) {
    const { create, reset, maxIdle = 256, idleMs = 60_000 } = options ?? {};
    this.#create = callable(create, "pool's create");
    this.#reset = callable(reset, "pool's reset");
    this.#maxIdle = maxIdle === Number.POSITIVE_INFINITY ? maxIdle : count(maxIdle, "pool's maxIdle");
    this.#idleMs = duration(idleMs, "pool's idleMs");
    if (idleMs <= 0) throw new RangeError(`pool's idleMs must be above 0, got ${idleMs}`);
  }

  /**
   * Takes the object that was put last, or a new one if none is idle. It is for the caller to put back.
   *
   * Throws what `create` throws, TypeError if that returns what cannot be pooled, and an Error once the pool is
   * disposed, with nothing changed.
   */
  get(): T {
    const slot = this.#take();
    slot.place = "out";
    slot.entry = enter(OBJECT, slot.object);
    return slot.object;
  }

  /**
   * As {@link get}, with what gives the object back exactly once: `using lease = pool.lease()`. Throws as `get` does.
   */
  lease(): Lease<T> {
    return new Lease(this.#take());
  }

  /**
   * Resets an object that {@link get} gave out, and keeps it for the next, or drops it if `maxIdle` are kept already.
   *
   * Throws, with nothing changed, TypeError if it is no object of this pool, and an Error if it was put before or is
   * leased. Where another has got the object meanwhile, putting it a second time takes it from them, and no pool can
   * tell; a lease can.
   *
   * Throws, with the object dropped, what `reset` throws, TypeError if that returns a promise, and an Error if the pool
   * has been disposed.
   */
  put(object: T): void {
    const slot = isObject(object) ? Pooled.slotOf(object) : undefined;
    if (slot?.pool !== this) throw new TypeError(`pool: put of what this pool did not make: ${show(object)}`);
    if (slot.place === "leased") throw new Error("pool: put of an object that is leased; release the lease instead");
    if (slot.place === "inside") throw new Error("pool: object put twice");
    const late = this.#disposed;
    this.#takeBack(slot);
    if (late) throw new Error("pool: put after dispose");
  }

  /**
   * Runs `fn` with an object that is its own meanwhile, and resolves or rejects as it does. The object comes back when
   * `fn` has really ended, even if it throws.
   *
   * Rejects without running `fn` as {@link get} throws, and with TypeError if `fn` is no function, or a generator
   * function: what that does would come after the object is put back. Rejects with what
   * `reset` throws if `fn` did not fail; if both did, with the error of `fn`, and that of `reset` is reported as an
   * unhandled rejection.
   */
  async use<R>(fn: (object: T) => R | PromiseLike<R>): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "use's function");
    const lease = this.lease();
    let result: R;
    try {
      result = noGenerator(await fn(lease.value), "use's function");
    } catch (error) {
      try {
        lease.release();
      } catch (second) {
        void Promise.reject(second);
      }
      throw error;
    }
    lease.release();
    const turn = overBudget();
    if (turn !== undefined) await turn;
    return result;
  }

  /** How many objects are kept for the next to get. */
  idle(): number {
    return this.#idle.length + this.#older.length;
  }

  /** How many objects have been handed out and not given back. */
  out(): number {
    return this.#out;
  }

  /**
   * Lets all idle objects go. From now on the pool gives none out and keeps none: `get`, `lease`, `use` and `put` throw
   * or reject; a lease may still be released. Does nothing the second time.
   */
  dispose(): void {
    this.#disposed = true;
    this.#idle = [];
    this.#older = [];
    disarm(this.#alarm);
  }

  /** Disposes of the pool at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  #take(): Slot<T> {
    if (this.#disposed) throw new Error("pool: get after dispose");
    const slot = this.#idle.pop() ?? this.#older.pop() ?? this.#make();
    if (this.#disposed) throw new Error("pool: get after dispose"); // By `create`.
    this.#out++;
    return slot;
  }

  #make(): Slot<T> {
    const create = this.#create;
    const object = create();
    if (!isObject(object) || isThenable(object)) {
      throw new TypeError(`pool's create must return an object, got ${show(object)}`);
    }
    if (Pooled.slotOf(object) !== undefined) throw new TypeError("pool's create must return an object of no pool yet");
    const slot = new Slot(this, object);
    new Pooled(slot);
    return slot;
  }

  #takeBack(slot: Slot<T>): void {
    slot.place = "inside";
    exit(OBJECT, slot.entry);
    slot.entry = undefined;
    this.#out--;
    if (this.#disposed) return;
    const reset = this.#reset;
    const answer: unknown = reset(slot.object);
    if (answer !== undefined && isThenable(answer)) throw new TypeError("pool's reset must not return a promise");
    if (this.idle() >= this.#maxIdle || this.#disposed) return;
    this.#idle.push(slot);
    if (this.#alarm.index < 0 && this.#idleMs !== Number.POSITIVE_INFINITY) this.#arm();
  }

  #arm(): void {
    this.#alarm.when = now() + this.#idleMs;
    arm(this.#alarm);
  }

  #age(): void {
    this.#older = this.#idle;
    this.#idle = [];
    if (this.#older.length > 0) this.#arm();
  }

  static {
    disposable(this.prototype, this.prototype.dispose);
    takeBack = (slot) => slot.pool.#takeBack(slot);
  }
}

function isObject(value: unknown): boolean {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
