/**
 * The object pool: an object that is not given back is counted, found with the line that took it, and proved lost when
 * it is.
 */
import { counters, find, type Leak, LeakError, onProved, track, verifyNone } from "gopark/leak";
import { type Lease, Pool } from "gopark/pool";
import { afterEach, describe, expect, test } from "vitest";
import { collectUntil } from "./support/unhandled.ts";

afterEach(() => track("full"));

const boxes = () => new Pool<object>({ create: () => ({}), reset: () => {} });

const counted = () => counters()["pool object"];

/** Each takes an object, and returns what gives it back. */
const takes: Record<string, (pool: Pool<object>) => () => unknown> = {
  get: function takeByGet(pool) {
    const object = pool.get();
    return () => pool.put(object);
  },
  lease: function takeByLease(pool) {
    const lease = pool.lease();
    return () => lease.release();
  },
  use: function takeByUse(pool) {
    let end = () => {};
    const used = pool.use(
      () =>
        new Promise<void>((resolve) => {
          end = resolve;
        }),
    );
    return () => {
      end();
      return used;
    };
  },
};

describe.each(Object.entries(takes))("taken by %s", (_, take) => {
  test.each(["full", "counters"] as const)("an object is counted up and down, tracking %s", async (level) => {
    track(level);
    using pool = boxes();
    const back = take(pool);
    expect([counted(), pool.out()]).toEqual([1, 1]);
    await back();
    expect([counted(), pool.out()]).toEqual([0, 0]);
  });

  test("an object is found by verifyNone, with the stack of the call that took it and no frame of the library before", async () => {
    using pool = boxes();
    const back = take(pool);
    const found = find();
    expect(found).toMatchObject([{ kind: "pool object", count: 1, proved: false }]);
    expect(found[0]?.stack?.split("\n")[0]).toContain(take.name);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow("found unexpected leaks: 1 pool object");
    await back();
    await verifyNone();
  });

  test("the stack is that of the last call that took it, not of the call that created it", async () => {
    using pool = boxes();
    pool.put(pool.get());
    const back = take(pool);
    expect(find()[0]?.stack?.split("\n")[0]).toContain(take.name);
    await back();
  });

  test("an object taken before tracking began is given back all the same, and one taken before it ended", async () => {
    using pool = boxes();
    track("counters");
    const early = take(pool);
    track("full");
    const late = take(pool);
    await early();
    expect([counted(), find().length]).toEqual([1, 1]);
    track("counters");
    await late();
    expect([counted(), find()]).toEqual([0, []]);
  });
});

describe("the collector proves", () => {
  /** Drops something by `drop`, collects, and returns what was proved. */
  async function proved(drop: () => void): Promise<Leak[]> {
    const seen: Leak[] = [];
    const stop = onProved((leak) => seen.push(leak));
    drop();
    await collectUntil(() => seen.length > 0);
    stop();
    return seen;
  }

  test("that a dropped lease will not come back; the pool counts it as out for ever", async () => {
    using pool = boxes();
    const seen = await proved(() => void pool.lease());
    expect(seen).toMatchObject([{ kind: "pool object", count: 1, proved: true }]);
    expect(seen[0]?.stack).toContain("pool.leak.test.ts");
    expect([counted(), pool.out(), pool.idle()]).toEqual([0, 1, 0]);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow(LeakError);
    await verifyNone();
  });

  test("that a lease is lost though its object is not: the value alone gives nothing back", async () => {
    using pool = boxes();
    const kept: object[] = [];
    const seen = await proved(() => void kept.push(pool.lease().value));
    expect(seen).toMatchObject([{ kind: "pool object", proved: true }]);
    expect(() => pool.put(kept[0] as object)).toThrow("pool: put of an object that is leased");
    const other = pool.get();
    expect([other === kept[0], pool.out()]).toEqual([false, 2]);
    pool.put(other);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow("found unexpected leaks: 1 pool object");
  });

  test("nothing about an object that is still held", async () => {
    using pool = boxes();
    const held: (object | Lease<object>)[] = [];
    const seen = await proved(() => void held.push(pool.get(), pool.lease()));
    expect([seen, counted()]).toEqual([[], 2]);
    const [object, lease] = held as [object, Lease<object>];
    pool.put(object);
    lease.release();
  });
});
