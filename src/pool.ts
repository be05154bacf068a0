/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Object pool: objects that are expensive to make are reset when they are put back, and handed out again.
 *
 * Rules of use:
 *
 * - Most callers should use `use`, or `lease` with `using`: the object comes back exactly once, however the block is
 *   left.
 * - Use `get` and `put` where one function takes the object and another puts it back. Put it once, in `finally`, and do
 *   not use it afterwards: the next caller may have it.
 * - `reset` wipes whatever the next caller must not see.
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
 * - `create` and `reset` belong to the pool and cannot be left out. `reset` runs on every put. In Go `New` may be
 *   missing, and each caller resets.
 * - A pool takes back only what it made, and not twice in a row. It refuses foreign objects, objects that were put
 *   already, and objects that a lease holds. Go takes anything, any number of times.
 * - `get` takes the object that was put last. Go may take any, or none.
 * - Idle objects are dropped after a time, not after a number of garbage collections, and at most `maxIdle` are kept.
 *   As in Go, they pass through two generations.
 * - An object that is not put back is counted, and leak checks report it. Go does not count it.
 * - `lease`, `use`, `destroy`, `idle`, `out`, `dispose` and `name` are additions.
 *
 * What it is for: objects that cost more to make than a get and a put. It is not a cache: an idle object may be dropped
 * at any time, and the caller does not choose which one it gets. It is not a connection pool: `get` never waits, and
 * nothing limits how many objects are out; use a semaphore for that.
 *
 * When it pays on V8: rarely for small objects, which V8 makes and collects in about the time of a get and a put. For
 * zeroed Buffers it pays from a few hundred bytes upwards, if they are needed often. The figures are in docs/pool.md,
 * measured by `npm run bench -- pool`.
 */
import {
  callable,
  duration,
  isObject,
  isThenable,
  noGenerator,
  optionsOf,
  show,
  wholeNumber,
} from "./internal/data/args.ts";
import { Stamp } from "./internal/data/stamp.ts";
import { guarded } from "./internal/host/async.ts";
import { disposable } from "./internal/host/dispose.ts";
import { now } from "./internal/time/clock.ts";
import { type Alarm, arm, disarm } from "./internal/time/timers.ts";
import { budgetWait, notAFunction } from "./internal/time/turn.ts";
import { giveName } from "./internal/track/named.ts";
import type { LeakRecord } from "./internal/track/records.ts";
import { enter, exit, Kind } from "./internal/track/tracker.ts";

const OBJECT = new Kind("pool object", "resource", () => {
  const { use, lease, get } = Pool.prototype;
  return [use, lease, get];
});

/** How a {@link Pool} makes and keeps its objects, and what it is called. */
export interface PoolOptions<T extends object> {
  /** Makes an object when none is idle. Must not return a promise, nor an object that is or was in a pool. */
  readonly create: () => T;

  /** Makes an object as good as new. Called inside `put` and `release`. Must not return a promise. */
  readonly reset: (object: T) => void;

  /**
   * Called with each object that the pool lets go: one of more than `maxIdle`, one that was idle too long, one whose
   * `reset` has failed, one that a lease has dropped, and all when the pool is disposed, then or when they come back.
   * The object is not in the pool any more. An error that it throws is reported as an uncaught one. A promise that it
   * returns is not waited for.
   */
  readonly destroy?: ((object: T) => unknown) | undefined;

  /** How many idle objects are kept, a whole number from 0 or Infinity; 256 if left out. More are dropped. */
  readonly maxIdle?: number | undefined;

  /**
   * Milliseconds, above 0; 60 000 if left out. An object that stays idle is dropped after `idleMs` to 2 · `idleMs`.
   * Infinity keeps it for ever.
   */
  readonly idleMs?: number | undefined;

  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
}

/**
 * Where an object of a pool is: "in" until it is first handed out, and again when it has come back, whether the pool
 * has kept it or dropped it; "out" after `get`; "leased" while a lease holds it.
 */
type State = "in" | "out" | "leased";

/** What a pool knows of one of its objects. The object carries it as a private field. */
class Member<T extends object> {
  readonly pool: Pool<T>;
  readonly object: T;
  state: State = "in";

  /** The record of the caller that took it, under full tracking. Set while the object is not "in". */
  record: LeakRecord | undefined = undefined;

  constructor(pool: Pool<T>, object: T) {
    this.pool = pool;
    this.object = object;
  }
}

/**
 * Adds a member to its object as a private field, by which `put` finds it. A Set of the objects that are out would cost
 * more than the rest of the put.
 */
class Pooled<T extends object> extends Stamp {
  readonly #member: Member<T>;

  constructor(member: Member<T>) {
    super(member.object);
    this.#member = member;
  }

  static memberOf<T extends object>(object: T): Member<T> | undefined {
    return #member in object ? (object as unknown as Pooled<T>).#member : undefined;
  }
}

/** An object that is out of a pool until {@link release}. Made by {@link Pool.lease}. */
export class Lease<T extends object> {
  // Undefined once released.
  #member: Member<T> | undefined;

  /** @internal */
  constructor(member: Member<T>) {
    this.#member = member;
    member.state = "leased";
    member.record = enter(OBJECT, this);
  }

  /** The object. Throws an Error once it has been released: another caller may have it. */
  get value(): T {
    if (this.#member === undefined) throw new Error("pool: the lease has been released");
    return this.#member.object;
  }

  /**
   * Resets the object and gives it back, or drops it if the pool has been disposed. Does nothing the second time.
   * Throws, with the object dropped, what `reset` throws, and TypeError if that returns a promise.
   */
  release(): void {
    const member = this.#member;
    if (member === undefined) return;
    this.#member = undefined;
    takeBack(member);
  }

  /**
   * Lets go of the object instead of giving it back: for one that is broken. It is not reset, and no other caller gets
   * it. Does nothing once the lease has been released or dropped.
   */
  drop(): void {
    const member = this.#member;
    if (member === undefined) return;
    this.#member = undefined;
    letGo(member);
  }

  /** Gives the object back at the end of a `using` block, unless it was dropped. */
  declare readonly [Symbol.dispose]: () => void;

  static {
    disposable(this.prototype, this.prototype.release);
  }
}

// For leases, which live outside the class. Set by its static block.
let takeBack: <T extends object>(member: Member<T>) => void;
let letGo: <T extends object>(member: Member<T>) => void;

/** A pool of objects that `create` makes and `reset` makes as good as new. */
export class Pool<T extends object> {
  // Between any two calls:
  //   every idle member is "in", and its object has been reset;
  //   #idle.length + #older.length <= #maxIdle;
  //   if anything is idle and #idleMs is finite, the alarm is armed for the end of the current period.
  readonly #create: () => T;
  readonly #reset: (object: T) => void;
  readonly #destroy: ((object: T) => unknown) | undefined;
  readonly #maxIdle: number;
  readonly #idleMs: number;
  #out = 0;
  #disposed = false;

  // The idle members in two generations, each in the order of the puts. At the end of a period those that are still in
  // #older have been idle for the whole of it and are dropped, and #idle becomes #older.
  #idle: Member<T>[] = [];
  #older: Member<T>[] = [];
  readonly #alarm: Alarm = { when: 0, index: -1, fire: () => this.#endPeriod() };

  /**
   * Throws TypeError for a missing or unusable option, and RangeError for a number outside its range or a name that is
   * not well-formed.
   */
  constructor(options: PoolOptions<T>) {
    const { create, reset, destroy, maxIdle = 256, idleMs = 60_000, name } = optionsOf(options, "Pool: options");
    this.#create = callable(create, "Pool: create");
    this.#reset = callable(reset, "Pool: reset");
    this.#destroy = destroy === undefined ? undefined : callable(destroy, "Pool: destroy");
    this.#maxIdle = maxIdle === Number.POSITIVE_INFINITY ? maxIdle : wholeNumber(maxIdle, "Pool: maxIdle");
    this.#idleMs = duration(idleMs, "Pool: idleMs");
    if (idleMs <= 0) throw new RangeError(`Pool: idleMs must be above 0, got ${idleMs}`);
    giveName("pool", this, name, "Pool: name");
  }

  /**
   * Takes the object that was put last, or a new one if none is idle. The caller puts it back by {@link put}. Never
   * waits.
   *
   * Throws, with nothing changed, what `create` throws, TypeError if `create` returns a promise, no object, or an
   * object that is or was in a pool, and an Error if the pool has been disposed.
   */
  get(): T {
    const member = this.#take();
    member.state = "out";
    member.record = enter(OBJECT, member.object);
    return member.object;
  }

  /**
   * Takes an object as {@link get} does, and returns a lease that gives it back once: `using lease = pool.lease()`.
   * Throws as `get` does.
   */
  lease(): Lease<T> {
    return new Lease(this.#take());
  }

  /**
   * Resets an object that {@link get} gave out, and keeps it for the next caller, or drops it if `maxIdle` are kept.
   *
   * Throws, with nothing changed, TypeError if the object is not one of this pool, and an Error if it is leased or has
   * been put already. A second put is noticed only until another caller gets the object: then it takes the object from
   * that caller, and the pool cannot know. Leases do not have this fault.
   *
   * Throws, with the object dropped, what `reset` throws, TypeError if `reset` returns a promise, and an Error, without
   * a call of `reset`, if the pool has been disposed.
   */
  put(object: T): void {
    const member = isObject(object) ? Pooled.memberOf(object) : undefined;
    if (member?.pool !== this) throw new TypeError(`put: object must be made by this pool, got ${show(object)}`);
    if (member.state === "leased") throw new Error("pool: put of an object that is leased; release the lease instead");
    if (member.state === "in") throw new Error("pool: object put twice");
    const wasDisposed = this.#disposed; // Not asked afterwards: `reset` may dispose of the pool.
    this.#takeBack(member);
    if (wasDisposed) throw new Error("pool: put after dispose");
  }

  /**
   * Takes an object, calls `fn` with it, and gives it back when `fn` has thrown or what it returned has settled.
   * Resolves or rejects as `fn` does.
   *
   * Rejects, with `fn` not called, with what {@link get} throws, and with TypeError if `fn` is not a function. It also
   * rejects with TypeError if `fn` returns a generator, since the body of one would run after the object is given back.
   *
   * If giving the object back fails as {@link Lease.release} does, rejects with that error; if `fn` has failed too,
   * with the error of `fn`, and the other one is reported as an unhandled rejection.
   */
  async use<R>(fn: (object: T) => R | PromiseLike<R>): Promise<R> {
    if (typeof fn !== "function") return notAFunction(fn, "use: fn");
    const lease = this.lease();
    let result: R;
    try {
      result = noGenerator(await fn(lease.value), "use: fn");
    } catch (error) {
      try {
        lease.release();
      } catch (second) {
        void Promise.reject(second);
      }
      const turn = budgetWait();
      if (turn !== undefined) await turn;
      throw error;
    }
    lease.release();
    const turn = budgetWait();
    if (turn !== undefined) await turn;
    return result;
  }

  /** How many objects the pool keeps for the next callers. */
  idle(): number {
    return this.#idle.length + this.#older.length;
  }

  /** How many objects have been handed out and not given back. */
  out(): number {
    return this.#out;
  }

  /**
   * Drops all idle objects. From now on the pool gives none out and keeps none: `get`, `lease` and `put` throw, `use`
   * rejects. A lease may still be released. Does nothing the second time.
   */
  dispose(): void {
    this.#disposed = true;
    const gone = [...this.#older, ...this.#idle];
    this.#idle = [];
    this.#older = [];
    disarm(this.#alarm);
    for (const { object } of gone) this.#destroyOne(object);
  }

  /** Disposes of the pool at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  #take(): Member<T> {
    if (this.#disposed) throw new Error("pool: get after dispose");
    const member = this.#idle.pop() ?? this.#older.pop() ?? this.#make();
    if (this.#disposed) {
      this.#destroyOne(member.object); // `create` has disposed of the pool.
      throw new Error("pool: get after dispose");
    }
    this.#out++;
    return member;
  }

  #make(): Member<T> {
    const create = this.#create;
    const object = create();
    if (!isObject(object) || isThenable(object)) {
      throw new TypeError(`Pool: create must return an object, got ${show(object)}`);
    }
    if (Pooled.memberOf(object) !== undefined) {
      throw new TypeError("Pool: create must return a new object, not one that is or was in a pool");
    }
    const member = new Member(this, object);
    new Pooled(member);
    return member;
  }

  #takeBack(member: Member<T>): void {
    this.#uncount(member);
    let kept = false;
    try {
      if (!this.#disposed) kept = this.#resetAndKeep(member);
    } finally {
      if (!kept) this.#destroyOne(member.object);
    }
  }

  /**
   * Reports whether the pool has kept the member: `maxIdle` may be kept already, or `reset` may dispose of the pool.
   */
  #resetAndKeep(member: Member<T>): boolean {
    const reset = this.#reset;
    const answer: unknown = reset(member.object);
    if (answer !== undefined && isThenable(answer)) throw new TypeError("Pool: reset must not return a promise");
    if (this.idle() >= this.#maxIdle || this.#disposed) return false;
    this.#idle.push(member);
    if (this.#alarm.index < 0 && this.#idleMs !== Number.POSITIVE_INFINITY) this.#arm();
    return true;
  }

  /** The member is out no more. */
  #uncount(member: Member<T>): void {
    member.state = "in";
    exit(OBJECT, member.record);
    member.record = undefined;
    this.#out--;
  }

  /** Hands an object that the pool has let go to `destroy`, which may call back in. */
  #destroyOne(object: T): void {
    const destroy = this.#destroy;
    if (destroy !== undefined) guarded(() => void destroy(object));
  }

  #arm(): void {
    this.#alarm.when = now() + this.#idleMs;
    arm(this.#alarm);
  }

  #endPeriod(): void {
    const gone = this.#older;
    this.#older = this.#idle;
    this.#idle = [];
    if (this.#older.length > 0) this.#arm();
    for (const { object } of gone) this.#destroyOne(object);
  }

  static {
    disposable(this.prototype, this.prototype.dispose);
    takeBack = (member) => member.pool.#takeBack(member);
    letGo = (member) => {
      member.pool.#uncount(member);
      member.pool.#destroyOne(member.object);
    };
  }
}
