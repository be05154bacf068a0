/** What becomes of the objects that a pool lets go: `destroy`, and leases that drop a broken object. */
import { Pool, type PoolOptions } from "gopark/pool";
import { afterEach, describe, expect, test, vi } from "vitest";
import { collectReported } from "./support/reported.ts";
import { turn } from "./support/turn.ts";

interface Connection {
  readonly id: number;
}

let destroyed: number[] = [];

afterEach(() => {
  destroyed = [];
});

/** A pool of numbered objects, whose `destroy` notes the number. */
function pooled(options: Partial<PoolOptions<Connection>> = {}): Pool<Connection> {
  let made = 0;
  return new Pool<Connection>({
    create: () => ({ id: ++made }),
    reset: () => {},
    destroy: ({ id }) => destroyed.push(id),
    ...options,
  });
}

describe("destroy gets", () => {
  test("an object that is put when maxIdle are kept", () => {
    using pool = pooled({ maxIdle: 1 });
    const [first, second] = [pool.get(), pool.get()];
    pool.put(first);
    expect(destroyed).toEqual([]);
    pool.put(second);
    expect([destroyed, pool.idle(), pool.out()]).toEqual([[2], 1, 0]);
  });

  test("an object that stays idle, at the end of its second period, and not one that was taken", () => {
    vi.useFakeTimers();
    using pool = pooled({ idleMs: 100 });
    const [first, second] = [pool.get(), pool.get()];
    pool.put(first);
    pool.put(second);
    vi.advanceTimersByTime(100);
    expect(pool.get()).toBe(second);
    vi.advanceTimersByTime(100);
    expect([destroyed, pool.idle()]).toEqual([[1], 0]);
    pool.put(second);
  });

  test("an object whose reset fails; put throws that error", () => {
    const boom = new Error("boom");
    using pool = pooled({
      reset: () => {
        throw boom;
      },
    });
    expect(() => pool.put(pool.get())).toThrow(boom);
    const lease = pool.lease();
    expect(() => lease.release()).toThrow(boom);
    expect([destroyed, pool.idle(), pool.out()]).toEqual([[1, 2], 0, 0]);
  });

  test("all idle objects at dispose, and those out when they come back", () => {
    const pool = pooled();
    const [first, second, third] = [pool.get(), pool.get(), pool.get()];
    const lease = pool.lease();
    pool.put(first);
    pool.put(second);
    pool.dispose();
    pool.dispose();
    expect(destroyed).toEqual([1, 2]);
    expect(() => pool.put(third)).toThrow("pool: put after dispose");
    lease.release();
    expect([destroyed, pool.out()]).toEqual([[1, 2, 3, 4], 0]);
  });

  test("an object whose create, or reset, disposes of the pool", () => {
    const early: Pool<Connection> = pooled({
      create: () => {
        early.dispose();
        return { id: 7 };
      },
    });
    expect(() => early.get()).toThrow("pool: get after dispose");
    const late: Pool<Connection> = pooled({ reset: () => late.dispose() });
    late.put(late.get());
    expect(destroyed).toEqual([7, 1]);
  });

  test("nothing that is handed out or kept", () => {
    const pool = pooled();
    for (let i = 0; i < 3; i++) pool.put(pool.get());
    expect([destroyed, pool.idle()]).toEqual([[], 1]);
    pool.dispose();
  });
});

describe("a lease that drops its object", () => {
  test("has it destroyed without a reset, and out of the pool", () => {
    let resets = 0;
    using pool = pooled({ reset: () => resets++ });
    const lease = pool.lease();
    lease.drop();
    expect([destroyed, resets, pool.idle(), pool.out()]).toEqual([[1], 0, 0, 0]);
    expect(() => lease.value).toThrow("pool: the lease has been released");
    using next = pool.lease();
    expect(next.value.id).toBe(2);
  });

  test("does nothing more at the end of its block, nor when it is dropped or released again", () => {
    using pool = pooled();
    {
      using lease = pool.lease();
      using again = lease;
      again.drop();
      lease.drop();
      lease.release();
    }
    expect([destroyed, pool.idle(), pool.out()]).toEqual([[1], 0, 0]);
  });

  test("does nothing after its release: the next caller keeps the object", () => {
    using pool = pooled();
    const lease = pool.lease();
    lease.release();
    using next = pool.lease();
    lease.drop();
    expect([destroyed, next.value.id]).toEqual([[], 1]);
  });

  test("of a pool without destroy, and of one that is disposed", () => {
    const plain = new Pool({ create: () => ({}), reset: () => {} });
    plain.lease().drop();
    expect([plain.idle(), plain.out()]).toEqual([0, 0]);
    const pool = pooled();
    const lease = pool.lease();
    pool.dispose();
    lease.drop();
    expect(destroyed).toEqual([1]);
  });
});

describe("a destroy that", () => {
  const boom = new Error("boom");

  test("throws is reported, and disturbs nothing", () => {
    const reported = collectReported();
    const seen: number[] = [];
    const pool = pooled({
      maxIdle: 2,
      destroy: ({ id }) => {
        seen.push(id);
        throw boom;
      },
    });
    const objects = [pool.get(), pool.get(), pool.get()];
    for (const object of objects) pool.put(object);
    pool.lease().drop();
    pool.dispose();
    expect(seen).toEqual([3, 2, 1]);
    expect(reported).toEqual([boom, boom, boom]);
  });

  test("calls back in finds the pool as it is then", () => {
    const states: [number, number][] = [];
    const pool: Pool<Connection> = pooled({
      maxIdle: 1,
      destroy: ({ id }) => {
        states.push([pool.idle(), pool.out()]);
        if (id === 2) pool.put(pool.get());
        if (id === 1) pool.dispose();
      },
    });
    const [first, second] = [pool.get(), pool.get()];
    pool.put(first);
    pool.put(second);
    pool.dispose();
    expect(states).toEqual([
      [1, 0],
      [0, 0],
    ]);
  });

  test("returns a promise is not waited for", async () => {
    let closed = false;
    const pool = pooled({
      destroy: async () => {
        await turn();
        closed = true;
      },
    });
    pool.lease().drop();
    expect(closed).toBe(false);
    await turn();
    await turn();
    expect(closed).toBe(true);
    pool.dispose();
  });

  test("is not a function is refused", () => {
    expect(() => pooled({ destroy: 1 as never })).toThrow(new TypeError("Pool: destroy must be a function, got 1"));
  });
});
