/**
 * Generator functions where a function is to be run: nothing would run it, and what it holds would come back too early.
 */
import { background } from "gopark/context";
import { counters } from "gopark/leak";
import { Pool } from "gopark/pool";
import { Weighted } from "gopark/semaphore";
import { describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";

let ran = false;

/** Functions whose call runs nothing of them. */
const generators: Record<string, () => unknown> = {
  "a generator function": function* () {
    ran = true;
    yield 1;
  },
  "an async generator function": async function* () {
    ran = true;
    yield 1;
  },
  "a method that is one": {
    async *each() {
      ran = true;
      yield 1;
    },
  }.each,
  "one that is bound": async function* () {
    ran = true;
    yield 1;
  }.bind(null),
};

const held = () => [counters()["pool object"], counters()["semaphore unit"]];

describe.each(Object.entries(generators))("%s", (_, fn) => {
  test("is refused by a pool's use, and the object comes back", async () => {
    const pool = new Pool({ create: () => ({}), reset: () => {} });
    await expect(pool.use(fn)).rejects.toThrow("use: fn must not be a generator function");
    await turn();
    expect([ran, pool.out(), held()]).toEqual([false, 0, [0, 0]]);
    const object = pool.get();
    pool.put(object);
    await expect(pool.use(fn)).rejects.toThrow(TypeError);
    expect([pool.out(), pool.idle()]).toEqual([0, 1]);
    expect(await pool.use((same) => same === object)).toBe(true);
    pool.dispose();
  });

  test("is refused by a semaphore's withPermit, and the units come back", async () => {
    const sem = new Weighted(2);
    await expect(sem.withPermit(background(), fn)).rejects.toThrow(TypeError);
    await expect(sem.withPermit(background(), 2, fn)).rejects.toThrow(TypeError);
    await turn();
    expect([ran, sem.held(), held()]).toEqual([false, 0, [0, 0]]);
    expect(await sem.withPermit(background(), 2, () => "runs")).toBe("runs");
  });
});

describe("a pool that is disposed by", () => {
  /** A pool whose `create` disposes of it. */
  function suicidal(): Pool<object> {
    const pool: Pool<object> = new Pool<object>({
      create: () => {
        pool.dispose();
        return {};
      },
      reset: () => {},
    });
    return pool;
  }

  const nothing = (pool: Pool<object>) =>
    expect([pool.out(), pool.idle(), counters()["pool object"]]).toEqual([0, 0, 0]);

  test("its own create gives nothing out, and nothing counts as out", async () => {
    const takes: ((pool: Pool<object>) => unknown)[] = [(pool) => pool.get(), (pool) => pool.lease()];
    for (const take of takes) {
      const pool = suicidal();
      expect(() => take(pool)).toThrow("pool: get after dispose");
      nothing(pool);
    }
    const pool = suicidal();
    const used = vi.fn();
    await expect(pool.use(used)).rejects.toThrow("pool: get after dispose");
    expect(used).not.toHaveBeenCalled();
    nothing(pool);
  });

  test("its own reset keeps nothing", () => {
    const pool: Pool<object> = new Pool<object>({ create: () => ({}), reset: () => pool.dispose() });
    const object = pool.get();
    pool.put(object);
    nothing(pool);
    expect(() => pool.get()).toThrow("pool: get after dispose");
  });

  test("the function that uses its object takes that one back, and gives no more out", async () => {
    const pool = new Pool<object>({ create: () => ({}), reset: () => {} });
    await pool.use(() => pool.dispose());
    nothing(pool);
  });
});
