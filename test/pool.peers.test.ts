/** Known mistakes of pools, as tests. */
import { Pool } from "gopark/pool";
import { expect, test } from "vitest";
import { turn } from "./support/turn.ts";

interface Box {
  owner: string | undefined;
}

const boxes = (): Pool<Box> =>
  new Pool<Box>({
    create: () => ({ owner: undefined }),
    reset: (box) => {
      box.owner = undefined;
    },
  });

test("a double put is refused, and no two callers get the same object", () => {
  using pool = boxes();
  const box = pool.get();
  pool.put(box);
  expect(() => pool.put(box)).toThrow("pool: object put twice");
  expect(pool.idle()).toBe(1);
  const [a, b] = [pool.get(), pool.get()];
  expect(a).not.toBe(b);
  pool.put(a);
  pool.put(b);
});

test("a double put is refused with ten thousand idle objects as with one, wherever among them the object is", () => {
  using pool = new Pool<Box>({ create: () => ({ owner: undefined }), reset: () => {}, maxIdle: 20_000 });
  const many = Array.from({ length: 10_000 }, () => pool.get());
  for (const box of many) pool.put(box);
  for (const box of [many[0], many[5_000], many[9_999]]) expect(() => pool.put(box as Box)).toThrow("put twice");
  expect(pool.idle()).toBe(10_000);
});

test("a function that throws inside a lease returns it, so the pool does not run dry", async () => {
  using pool = boxes();
  for (let i = 0; i < 100; i++) {
    await pool
      .use((box) => {
        box.owner = "me";
        throw new Error("no");
      })
      .catch(() => {});
  }
  expect([pool.out(), pool.idle()]).toEqual([0, 1]);
});

test("the next request never sees what an earlier one left in an object, even after a failure", async () => {
  using pool = boxes();
  const seen: (string | undefined)[] = [];
  const request = (name: string, fails: boolean) =>
    pool.use(async (box) => {
      seen.push(box.owner);
      box.owner = name;
      await turn();
      if (box.owner !== name) throw new Error(`${name}'s box is ${box.owner}'s`);
      if (fails) throw new Error("no");
    });
  const results = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => request(`r${i}`, i % 3 === 0)));
  await Promise.allSettled(Array.from({ length: 50 }, (_, i) => request(`s${i}`, false)));
  expect(seen.filter((owner) => owner !== undefined)).toEqual([]);
  expect(results.filter(({ status }) => status === "rejected").length).toBe(17);
  expect([pool.out(), pool.idle()]).toEqual([0, 50]);
});

test("a failing create fails its caller, once, and does not spin", async () => {
  let calls = 0;
  let broken = true;
  using pool = new Pool<Box>({
    create: () => {
      calls++;
      if (broken) throw new Error("down");
      return { owner: undefined };
    },
    reset: () => {},
  });
  expect(() => pool.get()).toThrow("down");
  expect(() => pool.lease()).toThrow("down");
  await expect(pool.use(() => 1)).rejects.toThrow("down");
  await turn();
  expect([calls, pool.out(), pool.idle()]).toEqual([3, 0, 0]);
  broken = false;
  pool.put(pool.get());
  expect([calls, pool.idle()]).toEqual([4, 1]);
});

test("a failing create is called once for each get, and not at all while an object is idle", async () => {
  let calls = 0;
  let broken = false;
  using pool = new Pool<Box>({
    create: () => {
      calls++;
      if (broken) throw new Error("down");
      return { owner: undefined };
    },
    reset: () => {},
  });
  pool.put(pool.get());
  broken = true;
  const results = await Promise.allSettled(Array.from({ length: 100 }, () => pool.use(turn)));
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", ...Array.from({ length: 99 }, () => "rejected")]);
  expect([calls, pool.out(), pool.idle()]).toEqual([100, 0, 1]);
  await pool.use(turn);
  expect(calls).toBe(100);
});

test("an object whose reset failed half-way is never seen again, whichever way it came back", async () => {
  let failing = false;
  using pool = new Pool<Box>({
    create: () => ({ owner: undefined }),
    reset: (box) => {
      if (failing) throw new Error("half-way");
      box.owner = undefined;
    },
  });
  const dirty = new Set<Box>();
  const soil = (box: Box): Box => {
    box.owner = "me";
    dirty.add(box);
    return box;
  };
  failing = true;
  const [box, lease] = [soil(pool.get()), pool.lease()];
  soil(lease.value);
  expect(() => pool.put(box)).toThrow("half-way");
  expect(() => lease.release()).toThrow("half-way");
  await expect(pool.use(soil)).rejects.toThrow("half-way");

  failing = false;
  const clean = Array.from({ length: 10 }, () => pool.get());
  expect(clean.filter((box) => dirty.has(box) || box.owner !== undefined)).toEqual([]);
  expect([dirty.size, pool.out()]).toEqual([3, 10]);
  for (const box of clean) pool.put(box);
});

test("a stale put, or a lease released again, cannot take a leased object from its next owner", async () => {
  using pool = boxes();
  const stale = pool.get();
  pool.put(stale);
  const first = pool.lease();
  first.release();
  await pool.use(async (box) => {
    expect(box).toBe(stale);
    box.owner = "next";
    expect(() => pool.put(stale)).toThrow("pool: put of an object that is leased");
    first.release();
    await turn();
    const other = pool.lease();
    expect([other.value === box, box.owner]).toEqual([false, "next"]);
    other.release();
  });
  expect([pool.out(), pool.idle()]).toEqual([0, 2]);
});

test("200 tasks that take, wait and give back never share an object, and make no more than were out at once", async () => {
  using pool = boxes();
  const made = new Set<Box>();
  let [running, most] = [0, 0];
  const task = async (name: string, i: number): Promise<void> => {
    for (let t = i % 7; t > 0; t--) await turn();
    await pool.use(async (box) => {
      made.add(box);
      most = Math.max(most, ++running);
      expect(box.owner).toBeUndefined();
      box.owner = name;
      for (let t = i % 3; t >= 0; t--) await turn();
      expect(box.owner).toBe(name);
      running--;
    });
  };
  await Promise.all(Array.from({ length: 200 }, (_, i) => task(`t${i}`, i)));
  expect([made.size, pool.idle(), pool.out()]).toEqual([most, most, 0]);
  expect(most).toBeLessThan(200);
});
