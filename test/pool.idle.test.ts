/** The object pool: how long idle objects stay, what timer they need, and how many are kept by default. */
import { spawn } from "node:child_process";
import { Pool, type PoolOptions } from "gopark/pool";
import { sleep } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { armed } from "../src/internal/time/timers.ts";
import { ROOT } from "./support/examples.ts";

/** A pool with `n` idle objects. */
function filled(n: number, options: Partial<PoolOptions<object>> = {}): Pool<object> {
  const pool = new Pool<object>({ create: () => ({}), reset: () => {}, ...options });
  const objects = Array.from({ length: n }, () => pool.get());
  for (const object of objects) pool.put(object);
  return pool;
}

describe("left out", () => {
  test("maxIdle is 256", () => {
    using pool = filled(300);
    expect(pool.idle()).toBe(256);
  });

  test("idleMs is a minute: objects that are put at once stay for two periods, and are dropped at the end of the second", () => {
    vi.useFakeTimers();
    using pool = filled(3);
    vi.advanceTimersByTime(119_999);
    expect(pool.idle()).toBe(3);
    vi.advanceTimersByTime(1);
    expect(pool.idle()).toBe(0);
  });

  test("an option that is undefined is left out", () => {
    const options = { maxIdle: undefined, idleMs: undefined } as unknown as Partial<PoolOptions<object>>;
    using pool = filled(300, options);
    expect(pool.idle()).toBe(256);
  });
});

describe("an idle object", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  test.each([0, 1, 50, 99, 100, 101, 150, 199])(
    "put %d ms into the life of another stays for at least one idleMs and at most two",
    (after) => {
      using pool = filled(1, { idleMs: 100 });
      const [first, second] = [pool.get(), pool.get()];
      pool.put(first);
      vi.advanceTimersByTime(after);
      pool.put(second);
      vi.advanceTimersByTime(99);
      expect(pool.get()).toBe(second);
      pool.put(second);
      vi.advanceTimersByTime(200);
      expect(pool.idle()).toBe(0);
    },
  );

  test("that was taken and put back is as fresh as on its first day", () => {
    using pool = filled(1, { idleMs: 100 });
    vi.advanceTimersByTime(199);
    const object = pool.get();
    pool.put(object);
    vi.advanceTimersByTime(99);
    expect(pool.get()).toBe(object);
    pool.put(object);
  });

  test("of the younger generation is taken before one of the older", () => {
    using pool = filled(2, { idleMs: 100 });
    const [young, old] = [pool.get(), pool.get()];
    pool.put(old);
    vi.advanceTimersByTime(100);
    pool.put(young);
    expect([pool.get() === young, pool.get() === old]).toEqual([true, true]);
    pool.put(young);
    pool.put(old);
  });

  test("that was dropped no longer belongs to the pool: it is put twice, and another is created", () => {
    const create = vi.fn(() => ({}));
    using pool = filled(1, { create, idleMs: 10 });
    const gone = create.mock.results[0]?.value as object;
    vi.advanceTimersByTime(20);
    expect(() => pool.put(gone)).toThrow("pool: object put twice");
    const next = pool.get();
    expect([next === gone, create.mock.calls.length]).toEqual([false, 2]);
    pool.put(next);
  });

  test("goes after a fraction of a millisecond, if that is its time", () => {
    using pool = filled(1, { idleMs: 0.25 });
    vi.advanceTimersByTime(1);
    vi.advanceTimersByTime(1);
    expect(pool.idle()).toBe(0);
  });
});

describe("the timer", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  test("is one for all idle objects of a pool, and none for those that are out", () => {
    using pool = filled(0, { idleMs: 100 });
    const objects = Array.from({ length: 10 }, () => pool.get());
    expect(armed()).toBe(0);
    for (const object of objects) pool.put(object);
    expect(armed()).toBe(1);
  });

  test("is armed for the second period while something is idle in it, and for no third", () => {
    using pool = filled(2, { idleMs: 100 });
    vi.advanceTimersByTime(100);
    expect([pool.idle(), armed()]).toEqual([2, 1]);
    vi.advanceTimersByTime(100);
    expect([pool.idle(), armed()]).toEqual([0, 0]);
    vi.advanceTimersByTime(1000);
    pool.put(pool.get());
    expect([pool.idle(), armed()]).toEqual([1, 1]);
  });

  test("is not armed again once everything idle was taken, however long that is out", () => {
    using pool = filled(1, { idleMs: 100 });
    const object = pool.get();
    vi.advanceTimersByTime(100);
    expect([armed(), vi.getTimerCount()]).toEqual([0, 0]);
    pool.put(object);
    expect(armed()).toBe(1);
  });

  test("is not armed for what is dropped, whether for maxIdle, a failing reset or a dispose", () => {
    const failing = new Pool<object>({
      create: () => ({}),
      reset: () => {
        throw new Error("stuck");
      },
    });
    expect(() => failing.put(failing.get())).toThrow("stuck");
    using none = filled(1, { maxIdle: 0 });
    const disposed: Pool<object> = filled(0, { reset: () => disposed.dispose() });
    disposed.put(disposed.get());
    expect([failing.idle(), none.idle(), disposed.idle(), armed()]).toEqual([0, 0, 0, 0]);
  });

  test("ends with the pool", () => {
    {
      using _ = filled(3);
      expect(armed()).toBe(1);
    }
    expect(armed()).toBe(0);
  });
});

test("idle objects do not keep the process alive, not even after a wait that did", async () => {
  const code = `
    import { pool, time } from "gopark";
    const p = new pool.Pool({ create: () => ({}), reset: () => {}, idleMs: 3_600_000 });
    p.put(p.get());
    await time.sleep(20);
    p.put(p.get());
    console.log(p.idle());`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], { cwd: ROOT });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const status = await new Promise((resolve) => child.on("close", resolve));
  expect([status, output]).toEqual([0, "1\n"]);
});

test("a sleep beside idle objects ends when it should, and they when they should", async () => {
  vi.useFakeTimers();
  using pool = filled(1, { idleMs: 10 });
  const slept = sleep(15);
  await vi.advanceTimersByTimeAsync(15);
  await slept;
  expect(pool.idle()).toBe(1);
  await vi.advanceTimersByTimeAsync(5);
  expect(pool.idle()).toBe(0);
});
