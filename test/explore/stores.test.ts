/**
 * Pools and sharded maps: random programs with factories, updaters and loaders that misbehave, and cancels anywhere,
 * against a stack, a Map and one list per key.
 */
import { counters } from "gopark/leak";
import { type Lease, Pool } from "gopark/pool";
import { ShardMap } from "gopark/shardmap";
import { now } from "gopark/time";
import { expect, vi } from "vitest";
import { anyExit, type Exit, reasonOf } from "../support/exit.ts";
import type { Random } from "../support/random.ts";
import { holds, same } from "../support/same.ts";
import { turns } from "../support/turn.ts";
import { type Watched, watch } from "../support/watch.ts";
import { explore, type Program } from "./explore.ts";

/** The error that a call throws; undefined if it does not throw. */
function thrownBy(fn: () => unknown): { readonly error: unknown } | undefined {
  try {
    fn();
  } catch (error) {
    return { error };
  }
  return undefined;
}

// --- Pool ---

/** An object of the pool, as the reference sees it. */
interface Thing {
  readonly id: number;
  place: "out" | "leased" | "idle" | "gone";
  /** When it was put last. */
  putAt: number;
  clean: boolean;
}

/** What the next create or reset does besides its work, or instead of it. */
type Act = "none" | "throw" | "promise" | "dispose" | "get" | "putOther" | "putSame" | "number" | "pooled";

class Dirt extends Error {}

const USES = ["value", "throw", "held", "held", "held", "thenable", "hostile", "generator", "asyncGenerator"] as const;

interface Use {
  readonly kind: (typeof USES)[number];
  thing: Thing | undefined;
  watched: Watched;
  end: (error?: unknown) => void;
}

const userError = new Error("the user failed");

/** What the function of a use does. */
function useOf(one: Use): unknown {
  switch (one.kind) {
    case "value":
      return "answer";
    case "throw":
      throw userError;
    case "held":
      return new Promise<string>((resolve, reject) => {
        one.end = (error) => (error === undefined ? resolve("answer") : reject(error));
      });
    case "thenable":
      return { then: (resolve: (value: string) => void) => resolve("answer") };
    case "hostile":
      return {
        get then() {
          throw userError;
        },
      };
    case "generator":
      return (function* () {
        yield one.thing;
      })();
    case "asyncGenerator":
      return (async function* () {
        yield one.thing;
      })();
  }
}

async function poolProgram(_seed: number, rnd: Random, program: Program): Promise<void> {
  vi.useFakeTimers();
  const { log } = program;
  const maxIdle = rnd.pick([0, 1, 2, 4, 256, Number.POSITIVE_INFINITY]);
  const idleMs = rnd.pick([100, 1000, 1000, Number.POSITIVE_INFINITY]);
  const hostile = rnd.pick([0, 0.1, 0.3]);
  const things: Thing[] = [];
  /** Kept for the next to get, the last put last. */
  let idle: Thing[] = [];
  let disposed = false;
  const counted = counters()["pool object"] ?? 0;
  const leases: { readonly lease: Lease<Thing>; readonly thing: Thing; released: boolean }[] = [];
  const uses: Use[] = [];
  let createAct: Act = "none";
  let resetAct: Act = "none";
  /** The nesting of calls of create and reset: nothing is compared inside them. */
  let depth = 0;
  log(`maxIdle ${maxIdle}, idleMs ${idleMs}`);

  const pool = new Pool<Thing>({
    create: () => {
      const act = createAct;
      createAct = "none";
      if (act !== "none") log(`create: ${act}`);
      depth++;
      try {
        switch (act) {
          case "throw":
            throw new Dirt("create");
          case "promise":
            return Promise.resolve(make()) as never;
          case "number":
            return 42 as never;
          case "pooled":
            return things.find((t) => t.place !== "gone") ?? (42 as never);
          case "dispose":
            dispose();
            break;
          case "get":
            get();
            break;
          case "putOther":
            put();
        }
        return make();
      } finally {
        depth--;
      }
    },
    reset: (thing) => {
      const act = resetAct;
      resetAct = "none";
      thing.place = "gone";
      thing.clean = true;
      if (act !== "none") log(`reset of ${thing.id}: ${act}`);
      depth++;
      try {
        switch (act) {
          case "throw":
            throw new Dirt("reset");
          case "promise":
            return Promise.resolve() as never;
          case "dispose":
            dispose();
            break;
          case "get":
            get();
            break;
          case "putOther":
            put();
            break;
          case "putSame":
            pool.put(thing); // Throws, and so does this reset.
        }
      } finally {
        depth--;
      }
    },
    maxIdle,
    idleMs,
  });

  const make = (): Thing => {
    const thing: Thing = { id: things.length, place: "gone", putAt: Number.NaN, clean: true };
    things.push(thing);
    return thing;
  };

  /** Drops the objects that the pool has dropped as idle: the oldest, none too early and none too late. */
  const sync = (): void => {
    const n = pool.idle();
    holds(n <= idle.length, `${n} are idle, of at most ${idle.length}`);
    for (const thing of idle.splice(0, idle.length - n)) {
      holds(now() - thing.putAt >= idleMs - 0.01, `${thing.id} went after ${now() - thing.putAt} ms`);
      thing.place = "gone";
    }
    for (const thing of idle) {
      // Timers round up, twice.
      holds(now() - thing.putAt <= 2 * idleMs + 3, `${thing.id} is idle for ${now() - thing.putAt} ms`);
    }
  };
  const compare = (): void => {
    if (depth > 0) return;
    sync();
    const out = things.filter((t) => t.place === "out" || t.place === "leased").length;
    same(pool.out(), out, "out");
    same((counters()["pool object"] ?? 0) - counted, out, "counted");
    holds(idle.length <= maxIdle, "more idle than maxIdle");
  };

  /** Takes an object by one of the pool's methods, and returns it; undefined if the method throws, as it should. */
  const take = (where: "out" | "leased", way: () => Thing): Thing | undefined => {
    if (depth === 0) sync();
    const top = idle.at(-1);
    const wasDisposed = disposed;
    const creating = top === undefined && !disposed;
    // An idle object is taken without a create, so that an act for create would remain for another call.
    const act: Act =
      creating && depth === 0 && rnd.bool(hostile)
        ? rnd.pick(["throw", "promise", "dispose", "get", "putOther", "number", "pooled"] as const)
        : "none";
    createAct = act;
    let taken: Thing | undefined;
    const failure = thrownBy(() => {
      taken = way();
    });
    createAct = "none";
    if (wasDisposed || (act === "dispose" && disposed)) {
      same((failure?.error as Error | undefined)?.message, "pool: get after dispose", "get of a disposed pool");
      return undefined;
    }
    if (act === "throw") holds(failure?.error instanceof Dirt, "create's error");
    else if (act === "promise" || act === "number") holds(failure?.error instanceof TypeError, "create's TypeError");
    else if (act === "pooled" && failure !== undefined) holds(failure.error instanceof TypeError, "create's TypeError");
    else same(failure?.error, undefined, "get's error");
    if (failure !== undefined) return undefined;
    const thing = taken as Thing;
    if (creating) same(thing.place, "gone", "the place of a new one");
    else same(thing.id, top?.id, "the object put last");
    if (!creating) idle.pop();
    same(thing.clean, true, "clean");
    thing.place = where;
    thing.clean = false;
    return thing;
  };

  const get = (): void => {
    log("get");
    take("out", () => pool.get());
    compare();
  };

  const lease = (): void => {
    log("lease");
    let made: Lease<Thing> | undefined;
    const thing = take("leased", () => {
      made = pool.lease();
      return made.value;
    });
    if (thing !== undefined && made !== undefined) leases.push({ lease: made, thing, released: false });
    compare();
  };

  const anyReset = (): Act =>
    rnd.bool(hostile) ? rnd.pick(["throw", "promise", "dispose", "get", "putOther", "putSame"] as const) : "none";

  /** Gives an object back by one of the pool's methods. Returns whether the error is the expected one. */
  const giveBack = (thing: Thing, way: () => void, byHand: boolean): void => {
    const wasDisposed = disposed;
    const act = disposed || depth > 0 ? "none" : anyReset();
    resetAct = act;
    if (depth === 0) sync();
    thing.place = "gone";
    const failure = thrownBy(way);
    resetAct = "none";
    checkBack(thing, act, failure, wasDisposed, byHand);
  };
  const checkBack = (
    thing: Thing,
    act: Act,
    failure: { readonly error: unknown } | undefined,
    wasDisposed: boolean,
    byHand: boolean,
  ): void => {
    if (wasDisposed) {
      if (byHand) same((failure?.error as Error | undefined)?.message, "pool: put after dispose", "put after dispose");
      else same(failure, undefined, "a release after dispose");
      return;
    }
    if (act === "throw") holds(failure?.error instanceof Dirt, "reset's error");
    else if (act === "promise") holds(failure?.error instanceof TypeError, "reset's TypeError");
    else if (act === "putSame") holds(/put twice|leased/.test(String(failure?.error)), "a put inside its reset");
    // Not specified: whether a put throws if its own reset disposes of the object.
    else if (act !== "dispose") same(failure?.error, undefined, "the error of giving back");
    if (failure === undefined) keep(thing);
  };

  /** Keeps an object that has been reset, if there is room. */
  const keep = (thing: Thing): void => {
    if (disposed || idle.length >= maxIdle) return;
    thing.place = "idle";
    thing.putAt = now();
    idle.push(thing);
  };

  const put = (): void => {
    const thing = things.length > 0 ? rnd.pick(things) : undefined;
    const out = things.filter((t) => t.place === "out");
    const one = rnd.bool(0.8) && out.length > 0 ? rnd.pick(out) : thing;
    if (one === undefined) {
      holds(thrownBy(() => pool.put({ id: -1 } as Thing))?.error instanceof TypeError, "put of a foreign object");
      return;
    }
    if (one.place === "gone" && Number.isNaN(one.putAt)) return; // It may never have got into the pool.
    log(`put ${one.id}, which is ${one.place}`);
    if (one.place === "out") giveBack(one, () => pool.put(one), true);
    else {
      const { error } = thrownBy(() => pool.put(one)) ?? {};
      const text = one.place === "leased" ? "leased" : "put twice";
      holds(error instanceof Error && error.message.includes(text), `put of what is ${one.place}: ${String(error)}`);
    }
    compare();
  };

  const release = (): void => {
    if (leases.length === 0) return;
    const one = rnd.pick(leases);
    log(`release ${one.thing.id}${one.released ? " again" : ""}`);
    const way = () => {
      if (rnd.bool(0.5)) one.lease.release();
      else one.lease[Symbol.dispose]();
    };
    if (one.released) {
      way();
      holds(thrownBy(() => one.lease.value)?.error instanceof Error, "the value of a released lease");
    } else {
      same(one.lease.value, one.thing, "the lease's value");
      one.released = true;
      giveBack(one.thing, way, false);
    }
    compare();
  };

  const use = async (): Promise<void> => {
    const kind = rnd.pick(USES);
    log(`use ${kind}`);
    sync();
    const wasDisposed = disposed;
    const top = idle.at(-1);
    const one: Use = { kind, thing: undefined, watched: undefined as never, end: () => {} };
    let runs = 0;
    if (kind !== "held") resetAct = anyReset();
    const act = resetAct;
    one.watched = watch(
      pool.use((thing) => {
        runs++;
        one.thing = thing;
        if (top !== undefined) same(thing, idle.pop(), "the object put last");
        same(thing.clean, true, "clean");
        thing.place = "leased";
        thing.clean = false;
        return useOf(one);
      }),
    );
    await turns(2);
    same(runs, wasDisposed ? 0 : 1, "runs of use's function");
    if (wasDisposed) {
      resetAct = "none";
      same((one.watched.reason as Error).message, "pool: get after dispose", "use of a disposed pool");
    } else if (kind === "held") uses.push(one);
    else judge(one, act, false);
    compare();
  };

  /** Ends a use that is held. */
  const endUse = async (): Promise<void> => {
    const one = uses.length > 0 ? uses.splice(rnd.int(0, uses.length - 1), 1)[0] : undefined;
    if (one === undefined) return;
    const ok = rnd.bool(0.6);
    log(`use of ${one.thing?.id} ${ok ? "ends" : "fails"}`);
    same(one.watched.state, "pending", "a use that is held");
    const wasDisposed = disposed;
    if (!disposed) resetAct = anyReset();
    const act = resetAct;
    one.end(ok ? undefined : userError);
    await turns(2);
    judge(one, act, wasDisposed, ok);
    compare();
  };

  /** The outcome of a use. */
  const judge = (one: Use, act: Act, wasDisposed: boolean, ok = one.kind === "value" || one.kind === "thenable") => {
    const { watched, kind } = one;
    resetAct = "none";
    const thing = one.thing as Thing;
    thing.place = "gone";
    const generator = kind === "generator" || kind === "asyncGenerator";
    const spoilt = !wasDisposed && (act === "throw" || act === "promise" || act === "putSame");
    same(watched.state, ok && !spoilt ? "fulfilled" : "rejected", `use ${kind}, reset ${act}`);
    const isReset = (error: unknown) =>
      error instanceof Dirt || error instanceof TypeError || /put twice/.test(`${error}`);
    if (ok && spoilt) holds(isReset(watched.reason), "reset's error");
    else if (ok) same(watched.value, "answer", "use's value");
    else if (generator) holds(watched.reason instanceof TypeError, "the TypeError for a generator");
    else same(watched.reason, userError, "use's error");
    if (!ok && spoilt) {
      const [error, ...more] = program.reported.splice(0);
      holds(isReset(error) && more.length === 0, "the error of a reset after an error, reported");
    }
    if (!spoilt) keep(thing);
  };

  const dispose = (): void => {
    log("dispose");
    pool.dispose();
    disposed = true;
    for (const thing of idle.splice(0)) thing.place = "gone";
  };

  for (let left = program.length(60); left > 0; left--) {
    const what = rnd.int(0, 21);
    if (what === 21) await endUse();
    else if (what === 20) await use();
    else if (what < 6) get();
    else if (what < 11) put();
    else if (what < 14) lease();
    else if (what < 17) release();
    else if (what < 19) vi.advanceTimersByTime(rnd.pick([1, 50, 99, 100, 500, 1000, 1999]));
    else if (rnd.bool(0.1)) dispose();
    compare();
  }
  while (uses.length > 0) await endUse();
  for (const one of leases.filter((l) => !l.released)) {
    one.released = true;
    giveBack(one.thing, () => one.lease.release(), false);
  }
  for (
    let out = things.find((t) => t.place === "out");
    out !== undefined;
    out = things.find((t) => t.place === "out")
  ) {
    const thing = out;
    giveBack(thing, () => pool.put(thing), true);
  }
  if (!disposed && idleMs !== Number.POSITIVE_INFINITY) {
    vi.advanceTimersByTime(2 * idleMs + 3);
    same(pool.idle(), 0, "idle at the end");
    same(vi.getTimerCount(), 0, "timers of a pool with nothing idle");
  }
  dispose();
  idle = [];
  compare();
}

explore("pool", poolProgram, { quick: 250 });

// --- Sharded map: synchronous methods ---

const symbol = Symbol("key");
const object = { key: true };
const KEYS: readonly unknown[] = [
  ...["", "a", "b", "1", "constructor", "\u{1f600}", 0, -0, 1, 1.5, -1, 2 ** 40, Number.NaN, Number.POSITIVE_INFINITY],
  ...[0n, 1n, -1n, 10n ** 30n, true, false, null, undefined, symbol, object, [], () => {}],
];
const VALUES: readonly unknown[] = [undefined, null, 0, -0, 1, Number.NaN, "a", object, Symbol("value")];

/** Same-value-zero, as a Map compares its keys. */
function equal(a: unknown, b: unknown): boolean {
  return a === b || Object.is(a, b);
}

/** An iteration that continues while the map changes. */
interface Walk {
  readonly kind: "entries" | "keys";
  readonly iterator: Iterator<unknown>;
  readonly seen: Set<unknown>;
  /** The keys that have been in the map all the time. */
  readonly always: Set<unknown>;
}

function mapProgram(_seed: number, rnd: Random, program: Program): void {
  const { log } = program;
  // Some maps grow over one shard's fill while the program runs, and some start there.
  const size = rnd.pick([0, 0, 0, 0, 0, 0, 10, 200, 8180]);
  const initial = Array.from({ length: size }, (_, i): [unknown, unknown] => [`k${i}`, i]);
  const model = new Map<unknown, unknown>(initial);
  const map = new ShardMap<unknown, unknown>(rnd.bool(0.5) ? initial : new Map(initial));
  let walks: Walk[] = [];
  let fresh = size;
  log(`a map of ${size}`);

  const anyKey = (): unknown => (rnd.bool(0.2) && size > 0 ? `k${rnd.int(0, fresh - 1)}` : rnd.pick(KEYS));
  const show = (v: unknown) => (typeof v === "object" && v !== null ? "an object" : String(v));
  const removed = (key: unknown): void => {
    for (const { always } of walks) always.delete(key);
  };

  const step = (key: unknown, value: unknown): void => {
    const has = model.has(key);
    const old = model.get(key);
    const what = rnd.int(0, 15);
    log(`${what}: ${show(key)} ${show(value)}`);
    switch (what) {
      case 0:
        same(map.set(key, value), map, "set");
        model.set(key, value);
        break;
      case 1:
      case 2:
        same(map.delete(key), model.delete(key), "delete");
        removed(key);
        break;
      case 3: {
        same(map.getOrInsert(key, value), has ? old : value, "getOrInsert");
        if (!has) model.set(key, value);
        break;
      }
      case 4: {
        const boom = new Error("computed");
        const act = rnd.pick(["value", "throw", "set", "delete"]);
        let runs = 0;
        const compute = (given: unknown): unknown => {
          runs++;
          // A Map stores 0 for -0, and fn gets 0 too.
          same(given, key === 0 ? 0 : key, "the key given");
          if (act === "throw") throw boom;
          if (act === "set") {
            map.set(key, "in between");
            model.set(key, "in between");
          }
          if (act === "delete") map.delete(key);
          return value;
        };
        if (!has && act === "throw")
          same(thrownBy(() => map.getOrInsertComputed(key, compute))?.error, boom, "its error");
        else {
          same(map.getOrInsertComputed(key, compute), has ? old : value, "getOrInsertComputed");
          if (!has) model.set(key, value);
        }
        same(runs, has ? 0 : 1, "runs");
        break;
      }
      case 5: {
        const { value: found, loaded } = map.loadOrStore(key, value);
        same(loaded, has, "loadOrStore: loaded");
        same(found, has ? old : value, "loadOrStore: value");
        if (!has) model.set(key, value);
        break;
      }
      case 6: {
        const { value: found, loaded } = map.loadAndDelete(key);
        same(loaded, has, "loadAndDelete: loaded");
        same(found, old, "loadAndDelete: value");
        model.delete(key);
        removed(key);
        break;
      }
      case 7: {
        const { value: found, loaded } = map.swap(key, value);
        same(loaded, has, "swap: loaded");
        same(found, old, "swap: value");
        model.set(key, value);
        break;
      }
      case 8: {
        const expected = rnd.bool(0.5) ? old : rnd.pick(VALUES);
        const fits = has && equal(expected, old);
        same(map.compareAndSwap(key, expected, value), fits, "compareAndSwap");
        if (fits) model.set(key, value);
        break;
      }
      case 9: {
        const expected = rnd.bool(0.5) ? old : rnd.pick(VALUES);
        const fits = has && equal(expected, old);
        same(map.compareAndDelete(key, expected), fits, "compareAndDelete");
        if (fits) {
          model.delete(key);
          removed(key);
        }
        break;
      }
      case 10:
        if (rnd.bool(0.9)) return;
        same(map.clear(), undefined, "clear");
        model.clear();
        for (const { always } of walks) always.clear();
        break;
      case 11: {
        // Over a shard's fill, and on.
        if (size < 8000) return;
        for (let n = rnd.int(0, 40); n > 0; n--) {
          map.set(`k${fresh}`, fresh);
          model.set(`k${fresh}`, fresh++);
        }
        break;
      }
      case 12: {
        const kind = rnd.pick(["entries", "keys"] as const);
        walks.push({ kind, iterator: map[kind](), seen: new Set(), always: new Set(model.keys()) });
        break;
      }
      case 13:
      case 14:
        if (walks.length > 0) walk(rnd.pick(walks), rnd.pick([1, 3, 20, 3000]));
        break;
      default:
        same(map.get(key), old, "get");
        same(map.has(key), has, "has");
    }
    if (model.size < 100 || rnd.bool(0.1)) same(map.size, model.size, "size");
  };

  const walk = (one: Walk, steps: number): void => {
    for (let left = steps; left > 0; left--) {
      const { done, value } = one.iterator.next();
      if (done) {
        for (const key of one.always) holds(one.seen.has(key), `the walk left ${show(key)} out`);
        walks = walks.filter((w) => w !== one);
        return;
      }
      const [key, held] = one.kind === "keys" ? [value, model.get(value)] : (value as [unknown, unknown]);
      holds(!one.seen.has(key), `the walk came to ${show(key)} twice`);
      holds(model.has(key), `the walk came to ${show(key)}, which is not there`);
      same(held, model.get(key), `the value of ${show(key)}`);
      one.seen.add(key);
    }
  };

  for (let left = program.length(80); left > 0; left--) step(anyKey(), rnd.pick(VALUES));
  for (const one of [...walks]) walk(one, Number.POSITIVE_INFINITY);

  // All entries, by all methods.
  const all = new Map(map);
  same(all.size, model.size, "entries");
  for (const [key, value] of model) same(all.get(key), value, `the value of ${show(key)}`);
  if (model.size < 1000) {
    const values = [...map.values()];
    same(values.length, model.size, "values");
    let calls = 0;
    const self = {};
    map.forEach(function (this: unknown, value, key, m) {
      same(this, self, "this");
      same(m, map, "the map");
      same(value, model.get(key), "forEach's value");
      same(value, values[calls++], "the order of values and forEach");
    }, self);
    same(calls, model.size, "forEach");
  }
}

explore("shardmap, what is over at once", mapProgram, { quick: 100 });

// --- Sharded map: asynchronous methods ---

type Plan = "held" | "value" | "promise" | "thenable" | "throw" | "reject" | "hostile" | "ownKey" | "aborts";

/** An update that runs or is queued, or a call of getOrLoad. */
interface Ask {
  readonly id: number;
  readonly key: string;
  readonly plan: Plan;
  readonly value: unknown;
  readonly error: unknown;
  readonly exit: Exit | undefined;
  watched: Watched;
  runs: number;
  /** Of an update: the argument of fn. */
  given: readonly [unknown, boolean] | undefined;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  /** How the program ended its function, if it has. */
  ended: { readonly ok: boolean } | undefined;
  /** Its outcome in the reference. */
  outcome: { readonly ok: boolean; readonly value: unknown } | undefined;
}

/** A load and the calls that wait for it. */
interface Flight {
  readonly key: string;
  /** The callers whose loader may run. One of them does. */
  readonly asks: Ask[];
  callers: Ask[];
  /** Whether its result is to be stored. */
  current: boolean;
  /** The caller that has started it. */
  by: Ask | undefined;
  signal: AbortSignal | undefined;
  /** Whether all callers have left. */
  left: { readonly reason: unknown } | undefined;
  /** The loader's own getOrLoad of the same key, with its own signal. */
  own: Watched | undefined;
}

async function awaitProgram(_seed: number, rnd: Random, program: Program): Promise<void> {
  const { log } = program;
  const map = new ShardMap<string, unknown>();
  const model = new Map<string, unknown>();
  const keys = ["a", "b", "c"].slice(0, rnd.int(1, 3));
  const lines = new Map<string, Ask[]>();
  const flights: Flight[] = [];
  const asks: Ask[] = [];
  const exits: Exit[] = [];
  const failRate = rnd.pick([0, 0.2, 0.5]);
  const total = () => Object.entries(counters()).reduce((sum, [kind, n]) => (kind === "context" ? sum : sum + n), 0);
  const counted = total();

  const exit = (): Exit | undefined => {
    if (rnd.bool(0.35)) return undefined;
    if (exits.length > 0 && rnd.bool(0.6)) return rnd.pick(exits);
    const made = anyExit(rnd);
    exits.push(made);
    return made;
  };

  const ask = (key: string, plan: Plan): Ask => {
    const id = asks.length;
    const made: Ask = {
      id,
      key,
      plan,
      value: rnd.bool(0.1) ? undefined : `value ${id}`,
      error: rnd.bool(0.2) ? undefined : new Error(`failure ${id}`),
      exit: exit(),
      watched: { state: "pending", value: undefined, reason: undefined },
      runs: 0,
      given: undefined,
      resolve: () => {},
      reject: () => {},
      ended: undefined,
      outcome: undefined,
    };
    asks.push(made);
    return made;
  };
  const anyPlan = (): Plan => {
    if (rnd.bool(0.5)) return "held";
    return rnd.bool(failRate) ? rnd.pick(["throw", "reject", "hostile"]) : rnd.pick(["value", "promise", "thenable"]);
  };

  const act = (one: Ask): unknown => {
    const { plan, value, error } = one;
    switch (plan) {
      case "value":
        return value;
      case "promise":
        return Promise.resolve(value);
      case "thenable":
        return { then: (resolve: (value: unknown) => void) => resolve(value) };
      case "throw":
        throw error;
      case "reject":
        return Promise.reject(error);
      case "hostile":
        return {
          get then() {
            throw error;
          },
        };
      default:
        return new Promise((resolve, reject) => {
          one.resolve = resolve;
          one.reject = reject;
        });
    }
  };
  const isHeld = ({ plan }: Ask) => plan === "held" || plan === "ownKey" || plan === "aborts";
  const isOk = (one: Ask) =>
    one.ended !== undefined ? one.ended.ok : one.plan === "value" || one.plan === "promise" || one.plan === "thenable";
  const outcomeOf = (one: Ask) => (isOk(one) ? { ok: true, value: one.value } : { ok: false, value: one.error });
  const refuse = (one: Ask) => {
    one.outcome = { ok: false, value: reasonOf((one.exit as Exit).cancel) };
  };

  /** A write to the key is newer than what a load of it has read. */
  const written = (key: string): void => {
    for (const flight of flights) if (flight.key === key) flight.current = false;
  };

  const update = (key: string): void => {
    const one = ask(key, anyPlan());
    log(
      `${one.id}: update ${key} ${one.plan}${one.exit === undefined ? "" : one.exit.ended ? ", exit ended" : ", exit"}`,
    );
    let inCall = true;
    const fn = (value: unknown, ok: boolean): unknown => {
      holds(!inCall, "an update ran inside the call");
      one.runs++;
      one.given = [value, ok];
      return act(one);
    };
    one.watched = watch(map.update(key, fn, ...(one.exit === undefined ? [] : [one.exit.cancel])));
    inCall = false;
    if (one.exit?.ended) refuse(one);
    else lines.set(key, [...(lines.get(key) ?? []), one]);
  };

  const load = (key: string): void => {
    const plan = rnd.bool(0.2) ? rnd.pick<Plan>(["ownKey", "aborts"]) : anyPlan();
    const one = ask(key, plan);
    log(`${one.id}: load ${key} ${plan}${one.exit === undefined ? "" : one.exit.ended ? ", exit ended" : ", exit"}`);
    let inCall = true;
    let flight: Flight | undefined;
    const loader = (given: string, signal: AbortSignal): unknown => {
      holds(!inCall, "a loader ran inside the call");
      same(given, key, "the loader's key");
      one.runs++;
      holds(flight !== undefined && flight.by === undefined, `load ${one.id} runs for nothing`);
      const own = flight as Flight;
      own.by = one;
      own.signal = signal;
      if (plan === "ownKey" && own.current) {
        own.own = watch(map.getOrLoad(key, () => expect.fail("a load of its own key began"), signal));
        return act(one);
      }
      if (plan === "aborts") {
        const answer = act(one);
        signal.addEventListener("abort", () => one.reject(signal.reason));
        return answer;
      }
      return act(one);
    };
    one.watched = watch(map.getOrLoad(key, loader, ...(one.exit === undefined ? [] : [one.exit.cancel])));
    inCall = false;
    if (one.exit?.ended) {
      refuse(one);
      return;
    }
    if (model.has(key)) {
      one.outcome = { ok: true, value: model.get(key) };
      return;
    }
    flight = flights.find((f) => f.key === key && f.current);
    if (flight === undefined) {
      flight = {
        key,
        asks: [],
        callers: [],
        current: true,
        by: undefined,
        signal: undefined,
        left: undefined,
        own: undefined,
      };
      flights.push(flight);
    }
    flight.asks.push(one);
    flight.callers.push(one);
  };

  const write = (key: string): void => {
    const value = rnd.pick(["x", "y", undefined]);
    const what = rnd.pick(["set", "delete", "swap", "clear", "compareAndSwap", "loadOrStore"] as const);
    log(`${what} ${key}`);
    switch (what) {
      case "set":
        map.set(key, value);
        model.set(key, value);
        written(key);
        break;
      case "delete":
        same(map.delete(key), model.delete(key), "delete");
        written(key);
        break;
      case "swap":
        same(map.swap(key, value).value, model.get(key), "swap");
        model.set(key, value);
        written(key);
        break;
      case "clear":
        if (rnd.bool(0.7)) return;
        map.clear();
        model.clear();
        for (const k of keys) written(k);
        break;
      case "compareAndSwap": {
        const fits = model.has(key) && model.get(key) === "x";
        same(map.compareAndSwap(key, "x", value), fits, "compareAndSwap");
        if (!fits) return;
        model.set(key, value);
        written(key);
        break;
      }
      case "loadOrStore":
        same(map.loadOrStore(key, value).loaded, model.has(key), "loadOrStore");
        if (model.has(key)) return;
        model.set(key, value);
        written(key);
    }
  };

  const end = (one: Exit): void => {
    if (one.ended) return;
    one.ended = true;
    one.end();
    log("an exit ends");
    for (const [key, line] of lines) {
      // The first runs, or is about to, and is not interrupted.
      for (const waiting of line.slice(1).filter((w) => w.exit === one)) refuse(waiting);
      lines.set(key, [...line.slice(0, 1), ...line.slice(1).filter((w) => w.exit !== one)]);
    }
    for (const flight of [...flights]) {
      const gone = flight.callers.filter((c) => c.exit === one);
      if (gone.length === 0) continue;
      for (const caller of gone) refuse(caller);
      flight.callers = flight.callers.filter((c) => c.exit !== one);
      if (flight.callers.length > 0) continue;
      flight.left = { reason: reasonOf(one.cancel) };
      flight.current = false;
      flights.splice(flights.indexOf(flight), 1);
      abandoned.push(flight);
    }
  };
  const abandoned: Flight[] = [];

  /** Ends a running function. */
  const finish = (one: Ask): void => {
    const ok = !rnd.bool(failRate);
    log(`the function of ${one.id} ${ok ? "ends" : "fails"}`);
    one.ended = { ok };
    if (ok) one.resolve(one.value);
    else one.reject(one.error);
  };

  const settleLine = (key: string): void => {
    for (let one = lines.get(key)?.[0]; one !== undefined; one = lines.get(key)?.[0]) {
      same(one.runs, 1, `update ${one.id}: runs`);
      if (one.given !== undefined && !started.has(one)) {
        same(one.given[0], model.get(key), `update ${one.id}: what is there`);
        same(one.given[1], model.has(key), `update ${one.id}: whether something is there`);
      }
      started.add(one);
      if (isHeld(one) && one.ended === undefined) return;
      one.outcome = outcomeOf(one);
      if (one.outcome.ok) {
        model.set(key, one.value);
        written(key);
      }
      lines.get(key)?.shift();
    }
  };
  const started = new Set<Ask>();

  const settleFlights = (): void => {
    for (const flight of [...flights]) {
      const runs = flight.asks.reduce((sum, one) => sum + one.runs, 0);
      same(runs, 1, `runs of the load of ${flight.key}`);
      const by = flight.by as Ask;
      same(flight.signal?.aborted, false, "the signal of a load that a call waits for");
      if (isHeld(by) && by.ended === undefined) continue;
      const outcome = outcomeOf(by);
      for (const caller of flight.callers) caller.outcome = outcome;
      if (outcome.ok && flight.current) model.set(flight.key, outcome.value);
      flight.current = false;
      flights.splice(flights.indexOf(flight), 1);
    }
    for (const { asks: askers, by, signal, left, own } of abandoned) {
      const runs = askers.reduce((sum, one) => sum + one.runs, 0);
      same(runs, by === undefined ? 0 : 1, "runs of a load without a waiting call");
      if (signal === undefined) continue;
      same(signal.aborted, true, "the signal of a load without a waiting call");
      same(signal.reason, left?.reason, "its reason");
      if (own !== undefined) same(own.state === "rejected" && own.reason, left?.reason, "the loader's own question");
    }
  };
  const quiet = async (): Promise<void> => {
    const unbegun = new Set(abandoned.filter((f) => f.by === undefined));
    await turns(3);
    for (const flight of unbegun) same(flight.by, undefined, "a load without a call");
    for (const key of keys) settleLine(key);
    settleFlights();
    for (const { id, watched, outcome } of asks) {
      const state = outcome === undefined ? "pending" : outcome.ok ? "fulfilled" : "rejected";
      same(watched.state, state, `${id}`);
      if (state !== "pending") same(state === "fulfilled" ? watched.value : watched.reason, outcome?.value, `${id}`);
    }
    for (const key of keys) {
      same(map.has(key), model.has(key), `has ${key}`);
      same(map.get(key), model.get(key), `get ${key}`);
    }
    // Everything that waits or runs is counted, running updates too.
    let least = 0;
    for (const line of lines.values()) least += line.length;
    for (const flight of flights) least += flight.callers.length;
    const seen = total() - counted;
    holds(seen >= least, `${seen} are counted, and at least ${least} run or wait`);
  };

  const block = (): void => {
    // The order in which updates and loads of one key end in one turn is not specified.
    const uses = new Map<string, "update" | "load">();
    const may = (key: string, use: "update" | "load"): boolean => {
      if ((uses.get(key) ?? use) !== use) return false;
      uses.set(key, use);
      return true;
    };
    for (let ops = rnd.int(1, 5); ops > 0; ops--) {
      const key = rnd.pick(keys);
      const what = rnd.int(0, 19);
      if (what < 4) {
        if (may(key, "update")) update(key);
      } else if (what < 10) {
        if (may(key, "load")) load(key);
      } else if (what < 12) {
        const one = lines.get(key)?.[0];
        if (one?.runs === 1 && isHeld(one) && one.ended === undefined && may(key, "update")) finish(one);
      } else if (what < 14) {
        const by = rnd.bool(0.7) ? flights.find((f) => f.key === key)?.by : abandoned.find((f) => f.key === key)?.by;
        if (by?.plan === "held" && by.ended === undefined && may(key, "load")) finish(by);
      } else if (what < 16) {
        if (exits.length > 0) end(rnd.pick(exits));
      } else write(key);
    }
  };

  for (let left = program.length(25); left > 0; left--) {
    block();
    await quiet();
  }

  log("the end");
  for (const one of exits) end(one);
  await quiet();
  for (let left = 200; ; left--) {
    holds(left > 0, "the program has no end");
    const running = [...lines.values()].flatMap((line) => line.slice(0, 1)).filter((one) => one.ended === undefined);
    const loading = [...flights, ...abandoned]
      .flatMap(({ by }) => by ?? [])
      .filter((o) => isHeld(o) && o.ended === undefined);
    if (running.length + loading.length === 0) break;
    for (const one of running) finish(one);
    await quiet();
    for (const one of loading) finish(one);
    await quiet();
  }
  holds(
    asks.every(({ watched }) => watched.state !== "pending"),
    "something is still pending",
  );
}

explore("shardmap, across awaits", awaitProgram, { quick: 300 });
