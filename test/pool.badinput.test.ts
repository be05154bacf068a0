/** Bad arguments to a pool: the documented error, at once, and nothing changes. */
import { counters } from "gopark/leak";
import { Pool, type PoolOptions } from "gopark/pool";
import { describe, expect, test, vi } from "vitest";

const good = { create: () => ({}), reset: () => {} };

/** Passes what the types forbid. */
const wrong = <T>(value: unknown): T => value as T;

describe("options", () => {
  test.each([undefined, null, {}])("%o are refused: create is missing", (options) => {
    expect(() => new Pool(wrong<PoolOptions<object>>(options))).toThrow(TypeError);
    expect(() => new Pool(wrong<PoolOptions<object>>(options))).toThrow(
      "Pool: create must be a function, got undefined",
    );
  });

  test.each([undefined, null, 5, "create", {}])("%o is neither a create nor a reset", (value) => {
    expect(() => new Pool({ ...good, create: wrong<() => object>(value) })).toThrow(
      "Pool: create must be a function, got",
    );
    expect(() => new Pool({ ...good, reset: wrong<() => void>(value) })).toThrow("Pool: reset must be a function, got");
  });

  test.each([-1, 1.5, Number.NaN, Number.NEGATIVE_INFINITY, 2 ** 53])("a maxIdle of %d is out of range", (maxIdle) => {
    expect(() => new Pool({ ...good, maxIdle })).toThrow(RangeError);
    expect(() => new Pool({ ...good, maxIdle })).toThrow(`got ${maxIdle}`);
  });

  test.each([0, -1, Number.NEGATIVE_INFINITY, Number.NaN])("an idleMs of %d is out of range", (idleMs) => {
    expect(() => new Pool({ ...good, idleMs })).toThrow(RangeError);
    expect(() => new Pool({ ...good, idleMs })).toThrow(`got ${idleMs}`);
  });

  test.each(["1", null, {}, 1n])("%o is no number", (value) => {
    expect(() => new Pool({ ...good, maxIdle: wrong(value) })).toThrow(TypeError);
    expect(() => new Pool({ ...good, idleMs: wrong(value) })).toThrow(TypeError);
  });
});

describe("create", () => {
  test.each([undefined, null, 5, "text", 1n, Symbol("s"), true])("that gives %o is refused", (value) => {
    using pool = new Pool({ ...good, create: () => wrong<object>(value) });
    expect(() => pool.get()).toThrow(TypeError);
    expect(() => pool.lease()).toThrow(`Pool: create must return an object, got`);
    expect([pool.out(), pool.idle()]).toEqual([0, 0]);
  });

  test("that gives a promise is refused: get does not wait", () => {
    using pool = new Pool<object>({ ...good, create: async () => ({}) });
    expect(() => pool.get()).toThrow("Pool: create must return an object, got an object (Promise)");
    expect(pool.out()).toBe(0);
  });

  test("that gives an object of a pool, this or another, is refused: it would have two owners", () => {
    const one = {};
    using pool = new Pool({ ...good, create: () => one });
    using other = new Pool({ ...good, create: () => one });
    expect(pool.get()).toBe(one);
    for (const p of [pool, other]) {
      expect(() => p.get()).toThrow(TypeError);
      expect(() => p.get()).toThrow("Pool: create must return a new object, not one that is or was in a pool");
    }
    expect([pool.out(), other.out()]).toEqual([1, 0]);
    pool.put(one);
    expect(() => other.get()).toThrow("is or was in a pool");
  });

  test("is not called as a method: it sees nothing of the pool", () => {
    const seen: unknown[] = [];
    function spy(this: unknown): object {
      seen.push(this);
      return {};
    }
    using pool = new Pool({ create: spy, reset: spy as () => void });
    pool.put(pool.get());
    expect(seen).toEqual([undefined, undefined]);
  });
});

describe("reset", () => {
  test("that gives a promise is refused, and its object dropped: it may still be dirty", () => {
    using pool = new Pool<object>({ ...good, reset: async () => {} });
    const object = pool.get();
    expect(() => pool.put(object)).toThrow(TypeError);
    expect(() => pool.put(object)).toThrow("pool: object put twice");
    expect([pool.out(), pool.idle()]).toEqual([0, 0]);
    expect(() => pool.lease().release()).toThrow("Pool: reset must not return a promise");
    expect([pool.out(), pool.idle()]).toEqual([0, 0]);
  });

  test("may return anything else", () => {
    for (const answer of [0, null, "text", {}, []]) {
      using pool = new Pool<object>({ ...good, reset: () => answer });
      pool.put(pool.get());
      expect(pool.idle()).toBe(1);
    }
  });
});

describe("put", () => {
  test.each([undefined, null, 5, "text", 1n, {}, () => {}])(
    "of %o, which is no object of the pool, is refused",
    (value) => {
      using pool = new Pool(good);
      expect(() => pool.put(wrong(value))).toThrow(TypeError);
      expect(() => pool.put(wrong(value))).toThrow("put: object must be made by this pool, got ");
      expect([pool.out(), pool.idle()]).toEqual([0, 0]);
    },
  );

  test("of another pool's object is refused, and leaves it where it was", () => {
    using pool = new Pool(good);
    using other = new Pool(good);
    const object = other.get();
    expect(() => pool.put(object)).toThrow(TypeError);
    expect([pool.idle(), other.out()]).toEqual([0, 1]);
    other.put(object);
  });

  test("of a proxy of the object, or of an object derived from it, is rejected: it is another object", () => {
    using pool = new Pool(good);
    const object = pool.get();
    for (const guise of [new Proxy(object, {}), Object.create(object), structuredClone(object)]) {
      expect(() => pool.put(guise)).toThrow(TypeError);
    }
    pool.put(object);
  });

  test("of a leased object is refused: the lease gives it back", () => {
    using pool = new Pool(good);
    const lease = pool.lease();
    const object = lease.value;
    expect(() => pool.put(object)).toThrow("pool: put of an object that is leased; release the lease instead");
    expect([pool.out(), pool.idle()]).toEqual([1, 0]);
    lease.release();
    expect(() => pool.put(object)).toThrow("pool: object put twice");
    expect(pool.idle()).toBe(1);
  });
});

describe("the error shows what was given", () => {
  test.each([
    [null, "null"],
    ["text", '"text"'],
    [Symbol("s"), "Symbol(s)"],
  ])("%o as %s, wherever it is given", async (value, shown) => {
    using pool = new Pool(good);
    const calls: [act: () => unknown, message: string][] = [
      [() => new Pool({ ...good, create: wrong(value) }), "Pool: create must be a function, got "],
      [() => new Pool<object>({ ...good, reset: wrong(value) }), "Pool: reset must be a function, got "],
      [() => new Pool({ ...good, maxIdle: wrong(value) }), "Pool: maxIdle must be a whole number, got "],
      [() => new Pool({ ...good, idleMs: wrong(value) }), "Pool: idleMs must be a number of milliseconds, got "],
      [
        () => new Pool<object>({ ...good, create: () => wrong(value) }).get(),
        "Pool: create must return an object, got ",
      ],
      [() => pool.put(wrong(value)), "put: object must be made by this pool, got "],
    ];
    for (const [act, message] of calls) expect(act).toThrow(new TypeError(message + shown));
    await expect(pool.use(wrong(value))).rejects.toThrow(new TypeError(`use: fn must be a function, got ${shown}`));
  });

  test.each([
    [[], "an object (Array)"],
    [Object.create(null), "an object (no constructor)"],
    [function named() {}, "function named"],
  ])("%o, put, as %s", (value, shown) => {
    using pool = new Pool(good);
    expect(() => pool.put(wrong(value))).toThrow(new TypeError(`put: object must be made by this pool, got ${shown}`));
  });
});

describe("a refused put", () => {
  test("resets nothing and counts nothing, whatever the error", () => {
    const reset = vi.fn<(object: object) => void>();
    using pool = new Pool<object>({ ...good, reset });
    using other = new Pool<object>({ ...good, reset });
    const [idle, out, foreign] = [pool.get(), pool.get(), other.get()];
    const lease = pool.lease();
    pool.put(idle);
    reset.mockClear();

    for (const object of [idle, foreign, lease.value, {}, undefined]) {
      expect(() => pool.put(wrong(object))).toThrow();
    }

    expect(reset).not.toHaveBeenCalled();
    expect([pool.idle(), pool.out(), other.idle(), other.out()]).toEqual([1, 2, 0, 1]);
    expect(counters()["pool object"]).toBe(3);
    lease.release();
    pool.put(out);
    other.put(foreign);
    expect(pool.idle()).toBe(3);
  });

  test("does not lengthen the life of an idle object", () => {
    vi.useFakeTimers();
    using pool = new Pool({ ...good, idleMs: 100 });
    const object = pool.get();
    pool.put(object);
    vi.advanceTimersByTime(150);
    expect(() => pool.put(object)).toThrow("pool: object put twice");
    vi.advanceTimersByTime(50);
    expect(pool.idle()).toBe(0);
  });

  test("of an object that a disposed pool did not make is a TypeError still, and of one put before, put twice", () => {
    const pool = new Pool(good);
    const [object, lease] = [pool.get(), pool.lease()];
    pool.put(object);
    pool.dispose();
    expect(() => pool.put({})).toThrow(TypeError);
    expect(() => pool.put(object)).toThrow("pool: object put twice");
    expect(() => pool.put(lease.value)).toThrow("pool: put of an object that is leased");
    lease.release();
    expect(pool.out()).toBe(0);
  });
});

describe("use", () => {
  test.each([undefined, null, 5, "fn", {}])("of %o is a rejection, with nothing taken", async (value) => {
    using pool = new Pool(good);
    const used = pool.use(wrong(value));
    await expect(used).rejects.toThrow(TypeError);
    await expect(used).rejects.toThrow("use: fn must be a function, got");
    expect([pool.out(), pool.idle()]).toEqual([0, 0]);
  });

  test("whose create fails is a rejection", async () => {
    using pool = new Pool<object>({
      ...good,
      create: () => {
        throw new Error("no memory");
      },
    });
    await expect(pool.use(() => 1)).rejects.toThrow("no memory");
    expect(pool.out()).toBe(0);
  });
});

test("put of an object that throws at every look is a TypeError of the pool's", () => {
  using pool = new Pool({ create: () => ({}), reset: () => {} });
  const trap = () => {
    throw new Error("trap");
  };
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const hostile = [
    new Proxy({}, { get: trap }),
    revoked.proxy,
    Object.defineProperty({}, "constructor", { get: trap }),
    { constructor: { name: Symbol("s") } },
    Object.defineProperty(() => {}, "name", { value: Symbol("s") }),
  ];
  for (const object of hostile) {
    expect(() => pool.put(object)).toThrow(TypeError);
    expect(() => pool.put(object)).toThrow("put: object must be made by this pool, got ");
  }
});
