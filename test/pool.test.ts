/** The object pool: which object a call gets, in what state, and for how long an idle one is kept. */
import { counters, find, onProved, verifyNone } from "gopark/leak";
import { Pool, type PoolOptions } from "gopark/pool";
import { afterEach, describe, expect, test, vi } from "vitest";
import { collectUntil, unhandledDuring } from "./support/unhandled.ts";

interface Page {
  readonly id: number;
  lines: string[];
}

/** A pool of numbered pages, and how many have been made. */
function pages(options: Partial<PoolOptions<Page>> = {}): { pool: Pool<Page>; made: () => number } {
  let made = 0;
  const pool = new Pool<Page>({
    create: () => ({ id: ++made, lines: [] }),
    reset: (page) => {
      page.lines = [];
    },
    ...options,
  });
  pools.push(pool);
  return { pool, made: () => made };
}

const pools: Pool<Page>[] = [];

afterEach(() => {
  for (const pool of pools.splice(0)) pool.dispose();
});

const out = () => counters()["pool object"];

describe("get and put", () => {
  test("an object that was put is got again, clean; a new one is made only when none is idle", () => {
    const { pool, made } = pages();
    const first = pool.get();
    first.lines.push("secret");
    pool.put(first);
    expect(first.lines).toEqual([]);
    expect(pool.get()).toBe(first);
    const second = pool.get();
    expect([second.id, made()]).toEqual([2, 2]);
    pool.put(first);
    pool.put(second);
  });

  test("the last to be put is the first to be got: it is the likeliest to be in the processor's caches", () => {
    const { pool } = pages();
    const [a, b, c] = [pool.get(), pool.get(), pool.get()];
    for (const page of [b, a, c]) pool.put(page);
    const again = [pool.get(), pool.get(), pool.get()];
    expect(again).toEqual([c, a, b]);
    for (const page of again) pool.put(page);
  });

  test("idle and out count the objects", () => {
    const { pool } = pages();
    const a = pool.get();
    const lease = pool.lease();
    expect([pool.idle(), pool.out(), out()]).toEqual([0, 2, 2]);
    pool.put(a);
    expect([pool.idle(), pool.out(), out()]).toEqual([1, 1, 1]);
    lease.release();
    expect([pool.idle(), pool.out(), out()]).toEqual([2, 0, 0]);
  });

  test("more than maxIdle are dropped, after they were reset", () => {
    const reset = vi.fn();
    const { pool, made } = pages({ maxIdle: 1, reset });
    const [a, b] = [pool.get(), pool.get()];
    pool.put(a);
    pool.put(b);
    expect([pool.idle(), reset.mock.calls]).toEqual([1, [[a], [b]]]);
    const again = [pool.get(), pool.get()];
    expect([again[0] === a, again[1] !== b, made()]).toEqual([true, true, 3]);
    for (const page of again) pool.put(page);
  });

  test("with a maxIdle of 0 nothing is kept, with Infinity everything", () => {
    const none = pages({ maxIdle: 0 });
    none.pool.put(none.pool.get());
    none.pool.put(none.pool.get());
    expect([none.pool.idle(), none.made()]).toEqual([0, 2]);

    const all = pages({ maxIdle: Number.POSITIVE_INFINITY }).pool;
    const many = Array.from({ length: 1000 }, () => all.get());
    for (const page of many) all.put(page);
    expect(all.idle()).toBe(1000);
  });

  test("pools functions, buffers and frozen objects too", () => {
    for (const object of [() => {}, new Uint8Array(8), Object.freeze({})]) {
      using pool = new Pool<object>({ create: () => object, reset: () => {} });
      pool.put(pool.get());
      expect(pool.get()).toBe(object);
      pool.put(object);
    }
  });
});

describe("a lease", () => {
  test("gives back at the end of its block, even when that throws", () => {
    const { pool } = pages();
    const work = () => {
      using lease = pool.lease();
      lease.value.lines.push("a");
      throw new Error("no");
    };
    expect(work).toThrow("no");
    expect([pool.out(), pool.idle()]).toEqual([0, 1]);
    using again = pool.lease();
    expect(again.value.lines).toEqual([]);
  });

  test("gives back once; afterwards its value throws", () => {
    const { pool } = pages();
    const lease = pool.lease();
    const page = lease.value;
    lease.release();
    lease.release();
    expect([pool.idle(), pool.out()]).toEqual([1, 0]);
    expect(() => lease.value).toThrow("pool: the lease has been released");
    const next = pool.get();
    expect(next).toBe(page);
    lease[Symbol.dispose]();
    expect([pool.idle(), pool.out()]).toEqual([0, 1]);
    pool.put(next);
  });

  test("use holds an object until fn has really ended, and resolves as it does", async () => {
    const { pool } = pages();
    let finish = (_: string) => {};
    const used = pool.use((page) => {
      page.lines.push("a");
      return new Promise<string>((resolve) => {
        finish = resolve;
      });
    });
    expect(pool.out()).toBe(1);
    finish("done");
    expect(await used).toBe("done");
    expect([pool.out(), pool.idle()]).toEqual([0, 1]);
    expect(await pool.use((page) => page.lines.length)).toBe(0);
  });

  test("use gives back what a failing fn had, and fails as it does", async () => {
    const { pool } = pages();
    const sync = pool.use(() => {
      throw new Error("thrown");
    });
    await expect(sync).rejects.toThrow("thrown");
    await expect(pool.use(() => Promise.reject(new Error("rejected")))).rejects.toThrow("rejected");
    expect([pool.out(), pool.idle()]).toEqual([0, 1]);
  });
});

describe("reset", () => {
  test("runs before anyone can get the object: not even reset itself can, nor put it again", () => {
    let other: Page | undefined;
    const { pool } = pages({
      reset: (page) => {
        if (page === other) return;
        other = pool.get();
        expect([other === page, pool.idle()]).toEqual([false, 0]);
        expect(() => pool.put(page)).toThrow("pool: object put twice");
      },
    });
    const page = pool.get();
    pool.put(page);
    pool.put(other as Page);
    expect([pool.idle(), pool.out()]).toEqual([2, 0]);
  });

  test("may dispose of the pool: the object is then dropped with the others", () => {
    const { pool } = pages({ reset: () => pool.dispose() });
    pool.put(pool.get());
    expect([pool.idle(), pool.out()]).toEqual([0, 0]);
  });

  test("that throws drops the object, and put throws the error", () => {
    let broken = true;
    const { pool, made } = pages({
      reset: () => {
        if (broken) throw new Error("stuck");
      },
    });
    const page = pool.get();
    expect(() => pool.put(page)).toThrow("stuck");
    expect([pool.idle(), pool.out(), out()]).toEqual([0, 0, 0]);
    expect(() => pool.put(page)).toThrow("pool: object put twice");
    const lease = pool.lease();
    expect(() => lease.release()).toThrow("stuck");
    lease.release();
    expect([pool.idle(), pool.out(), made()]).toEqual([0, 0, 2]);
    broken = false;
    pool.put(pool.get());
    expect([pool.idle(), made()]).toEqual([1, 3]);
  });

  test("in use: fn's error comes first, and reset's is reported; alone, it is use's", async () => {
    const { pool } = pages({
      reset: () => {
        throw new Error("stuck");
      },
    });
    const unhandled = await unhandledDuring(async () => {
      await expect(pool.use(() => Promise.reject(new Error("fn's")))).rejects.toThrow("fn's");
      await expect(pool.use(() => 1)).rejects.toThrow("stuck");
    });
    expect(unhandled.map(String)).toEqual(["Error: stuck"]);
    expect([pool.out(), pool.idle()]).toEqual([0, 0]);
  });
});

describe("idle objects", () => {
  test("go after one to two times idleMs, in two generations", () => {
    vi.useFakeTimers();
    const { pool } = pages({ idleMs: 100 });
    const [a, b] = [pool.get(), pool.get()];
    pool.put(a); // arms the alarm, for 100
    vi.advanceTimersByTime(60);
    pool.put(b);
    vi.advanceTimersByTime(40); // at 100 both become the older generation
    expect(pool.idle()).toBe(2);
    vi.advanceTimersByTime(99);
    expect(pool.idle()).toBe(2);
    vi.advanceTimersByTime(1); // and at 200 they go
    expect(pool.idle()).toBe(0);
  });

  test("stay as long as they are used: those not needed go", () => {
    vi.useFakeTimers();
    const { pool, made } = pages({ idleMs: 100 });
    const three = [pool.get(), pool.get(), pool.get()];
    for (const page of three) pool.put(page);
    for (let i = 0; i < 10; i++) {
      vi.advanceTimersByTime(50);
      pool.put(pool.get());
    }
    using lease = pool.lease();
    expect([pool.idle(), made(), lease.value]).toEqual([0, 3, three[2]]);
  });

  test("are got from the older generation before one is made", () => {
    vi.useFakeTimers();
    const { pool, made } = pages({ idleMs: 100 });
    const page = pool.get();
    pool.put(page);
    vi.advanceTimersByTime(150);
    expect([pool.get(), made()]).toEqual([page, 1]);
    vi.advanceTimersByTime(1000);
    pool.put(page);
    expect(pool.idle()).toBe(1);
  });

  test("of both generations count towards maxIdle", () => {
    vi.useFakeTimers();
    const { pool } = pages({ idleMs: 100, maxIdle: 2 });
    const three = [pool.get(), pool.get(), pool.get()];
    for (const page of three.slice(0, 2)) pool.put(page);
    vi.advanceTimersByTime(100);
    pool.put(three[2] as Page);
    expect(pool.idle()).toBe(2);
  });

  test("have a timer only while there are any, and with an idleMs of Infinity none", () => {
    vi.useFakeTimers();
    const { pool } = pages({ idleMs: 100 });
    const page = pool.get();
    vi.advanceTimersByTime(1);
    expect(vi.getTimerCount()).toBe(0);
    pool.put(page);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(200);
    expect([pool.idle(), vi.getTimerCount()]).toEqual([0, 0]);

    const forever = pages({ idleMs: Number.POSITIVE_INFINITY }).pool;
    forever.put(forever.get());
    vi.advanceTimersByTime(1e9);
    expect([forever.idle(), vi.getTimerCount()]).toEqual([1, 0]);
  });
});

describe("dispose", () => {
  test("drops idle objects; a lease may still be released, and its object is dropped", () => {
    const reset = vi.fn();
    const { pool } = pages({ reset });
    const lease = pool.lease();
    pool.put(pool.get());
    pool.dispose();
    pool.dispose();
    expect([pool.idle(), pool.out(), reset.mock.calls.length]).toEqual([0, 1, 1]);
    lease.release();
    expect([pool.idle(), pool.out(), out(), reset.mock.calls.length]).toEqual([0, 0, 0, 1]);
  });

  test("leaves a use that runs alone: it ends as its fn does, and its object is dropped", async () => {
    const reset = vi.fn();
    const { pool } = pages({ reset });
    let finish = () => {};
    const used = pool.use((page) => new Promise<number>((resolve) => (finish = () => resolve(page.id))));
    pool[Symbol.dispose]();
    expect(pool.out()).toBe(1);
    finish();
    expect(await used).toBe(1);
    expect([pool.idle(), pool.out(), out(), reset.mock.calls]).toEqual([0, 0, 0, []]);
  });

  test("refuses what comes after it", async () => {
    const { pool, made } = pages();
    const page = pool.get();
    pool.dispose();
    expect(() => pool.get()).toThrow("pool: get after dispose");
    expect(() => pool.lease()).toThrow("pool: get after dispose");
    await expect(pool.use(() => 1)).rejects.toThrow("pool: get after dispose");
    expect(() => pool.put(page)).toThrow("pool: put after dispose");
    // The object is dropped, and no longer counts as out.
    expect([pool.idle(), pool.out(), out(), made()]).toEqual([0, 0, 0, 1]);
    expect(() => pool.put(page)).toThrow("pool: object put twice");
  });
});

describe("leaks", () => {
  test("an object that is not put back is reported, with the stack that took it", async () => {
    const { pool } = pages();
    const page = pool.get();
    const lease = pool.lease();
    expect(find().map(({ kind, count }) => [kind, count])).toEqual([
      ["pool object", 1],
      ["pool object", 1],
    ]);
    expect(find()[0]?.stack).toContain("pool.test.ts");
    pool.put(page);
    lease.release();
    await verifyNone();
  });

  test("the collector proves that a dropped lease, or object, will not come back", async () => {
    const { pool } = pages();
    for (const drop of [() => void pool.lease(), () => void pool.get()]) {
      const seen: unknown[] = [];
      const stop = onProved((leak) => seen.push(leak));
      drop();
      await collectUntil(() => seen.length > 0);
      stop();
      expect(seen).toMatchObject([{ kind: "pool object", count: 1, proved: true }]);
      await expect(verifyNone()).rejects.toThrow("1 pool object");
    }
    expect(out()).toBe(0);
  });

  test("nothing is proved of what is idle, dropped by the pool, or came back", async () => {
    const seen: unknown[] = [];
    const stop = onProved((leak) => seen.push(leak));
    (() => {
      const { pool } = pages({ maxIdle: 1 });
      const three = [pool.get(), pool.get(), pool.lease()] as const;
      pool.put(three[0]);
      pool.put(three[1]);
      three[2].release();
    })();
    pools.length = 0;
    await collectUntil(() => false);
    stop();
    expect(seen).toEqual([]);
  });
});
