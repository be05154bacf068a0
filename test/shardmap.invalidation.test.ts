/** Sharded map: a write to a key while it loads is newer than what the load has read. */
import { background, withCancel } from "gopark/context";
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { loads } from "./support/loads.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

type Write = (map: ShardMap<string, number>) => unknown;

const leaving: Record<string, Write> = {
  set: (map) => map.set("a", 5),
  swap: (map) => map.swap("a", 5),
  loadOrStore: (map) => map.loadOrStore("a", 5),
  getOrInsert: (map) => map.getOrInsert("a", 5),
  getOrInsertComputed: (map) => map.getOrInsertComputed("a", () => 5),
  update: (map) => map.update("a", () => 5),
  "set, then compareAndSwap": (map) => map.set("a", 4).compareAndSwap("a", 4, 5),
};

const removing: Record<string, Write> = {
  "delete of nothing": (map) => map.delete("a"),
  "loadAndDelete of nothing": (map) => map.loadAndDelete("a"),
  clear: (map) => map.clear(),
  "set, then delete": (map) => map.set("a", 5).delete("a"),
  "set, then loadAndDelete": (map) => map.set("a", 5).loadAndDelete("a"),
  "set, then compareAndDelete": (map) => map.set("a", 5).compareAndDelete("a", 5),
  "set, then clear": (map) => map.set("a", 5).clear(),
};

const harmless: Record<string, Write> = {
  get: (map) => map.get("a"),
  has: (map) => map.has("a"),
  "a set of another key": (map) => map.set("b", 5),
  "a delete of another key": (map) => map.delete("b"),
  "an update of another key": (map) => map.update("b", () => 5),
  "compareAndSwap that finds nothing": (map) => map.compareAndSwap("a", 5, 6),
  "compareAndDelete that finds nothing": (map) => map.compareAndDelete("a", 5),
  "getOrInsertComputed that throws": (map) => {
    const fail = () => {
      throw new Error("boom");
    };
    expect(() => map.getOrInsertComputed("a", fail)).toThrow("boom");
  },
  "an update that fails": (map) => map.update("a", () => Promise.reject(new Error("boom"))).catch(() => {}),
  "an iteration": (map) => [...map],
};

describe.each(Object.entries(leaving))("%s while it loads", (_, write) => {
  test("stays, though the waiting callers get the loaded value", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const call = watch(map.getOrLoad("a", load));
    await turn();
    await write(map);
    const joined = watch(map.getOrLoad("a", load));
    await turn();
    expect([call.state, joined.value, begun.length]).toEqual(["pending", 5, 1]);

    begun[0]?.open(7);
    await turn();
    expect([call.value, map.get("a"), await map.getOrLoad("a", load), begun.length]).toEqual([7, 5, 5, 1]);
  });

  test("stays when the load fails or is left", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const scope = withCancel(background());
    const call = watch(map.getOrLoad("a", load, scope.ctx));
    await turn();
    await write(map);
    scope.cancel();
    await turn();
    expect([call.reason, begun[0]?.signal.aborted]).toEqual([scope.ctx.err(), true]);
    begun[0]?.fail(new Error("aborted"));
    await turn();
    expect(map.get("a")).toBe(5);
  });
});

describe.each(Object.entries(removing))("%s while it loads", (_, write) => {
  test("keeps the result out, and the next caller starts a new load", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const old = [watch(map.getOrLoad("a", load)), watch(map.getOrLoad("a", load))];
    await turn();
    await write(map);
    expect(begun[0]?.signal.aborted).toBe(false);
    begun[0]?.open(7);
    await turn();
    expect([old.map(({ value }) => value), map.has("a")]).toEqual([[7, 7], false]);

    const next = watch(map.getOrLoad("a", load));
    await turn();
    begun[1]?.open(8);
    await turn();
    expect([next.value, map.get("a"), begun.length]).toEqual([8, 8, 2]);
  });

  test.each(["old first", "new first"])(
    "a caller before the end of the old load gets the new one, %s",
    async (order) => {
      const map = new ShardMap<string, number>();
      const { load, begun } = loads<string, number>();
      const old = watch(map.getOrLoad("a", load));
      await turn();
      await write(map);
      const next = watch(map.getOrLoad("a", load));
      await turn();
      const joined = watch(map.getOrLoad("a", load));
      await turn();
      expect(begun).toHaveLength(2);

      const [first, second] = order === "old first" ? [0, 1] : [1, 0];
      begun[first]?.open(first);
      await turn();
      expect(map.get("a")).toBe(order === "old first" ? undefined : 1);
      begun[second]?.open(second);
      await turn();
      expect([old.value, next.value, joined.value, map.get("a"), begun.length]).toEqual([0, 1, 1, 1, 2]);
    },
  );

  test("before the loader has begun, in the same turn as the call", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const call = watch(map.getOrLoad("a", load));
    await write(map);
    await turn();
    begun[0]?.open(7);
    await turn();
    expect([call.value, map.has("a"), begun.length]).toEqual([7, false, 1]);
  });

  test("the old load's last caller leaves: its signal aborts, the new load goes on", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const scope = withCancel(background());
    const old = watch(map.getOrLoad("a", load, scope.ctx));
    await turn();
    await write(map);
    const next = watch(map.getOrLoad("a", load));
    await turn();
    scope.cancel();
    await turn();
    const joined = watch(map.getOrLoad("a", load));
    await turn();

    expect([old.state, next.state, begun.length]).toEqual(["rejected", "pending", 2]);
    expect(begun.map(({ signal }) => signal.aborted)).toEqual([true, false]);
    begun[1]?.open(8);
    begun[0]?.open(7);
    await turn();
    expect([next.value, joined.value, map.get("a")]).toEqual([8, 8, 8]);
  });

  test("the old load fails: its callers alone get the error", async () => {
    const map = new ShardMap<string, number>();
    const { load, begun } = loads<string, number>();
    const old = watch(map.getOrLoad("a", load));
    await turn();
    await write(map);
    const next = watch(map.getOrLoad("a", load));
    await turn();
    const boom = new Error("boom");
    begun[0]?.fail(boom);
    await turn();
    expect([old.reason, next.state]).toEqual([boom, "pending"]);
    begun[1]?.open(8);
    await turn();
    expect([next.value, map.get("a")]).toEqual([8, 8]);
  });
});

test.each(Object.entries(harmless))("%s while it loads keeps nothing out", async (_, write) => {
  const map = new ShardMap<string, number>();
  const { load, begun } = loads<string, number>();
  const call = watch(map.getOrLoad("a", load));
  await turn();
  await write(map);
  const joined = watch(map.getOrLoad("a", load));
  begun[0]?.open(7);
  await turn();
  expect([call.value, joined.value, map.get("a"), begun.length]).toEqual([7, 7, 7, 1]);
});

test("an update that is still running has not written: the load's result is kept till then", async () => {
  const map = new ShardMap<string, number>();
  const { load, begun } = loads<string, number>();
  let finish!: (value: number) => void;
  const answer = new Promise<number>((resolve) => {
    finish = resolve;
  });
  const call = watch(map.getOrLoad("a", load));
  const update = watch(map.update("a", () => answer));
  await turn();
  begun[0]?.open(7);
  await turn();
  expect([call.value, update.state, map.get("a")]).toEqual([7, "pending", 7]);
  finish(9);
  await turn();
  expect([update.value, map.get("a")]).toEqual([9, 9]);
});

test("a loader that writes its own key keeps its result out", async () => {
  const map = new ShardMap<string, number>();
  const value = await map.getOrLoad("a", async (key) => {
    await turn();
    map.set(key, 5);
    return 7;
  });
  expect([value, map.get("a")]).toEqual([7, 5]);
});

test("only the load of the key that was written is kept out", async () => {
  const map = new ShardMap<string | number, number>();
  const { load, begun } = loads<string | number, number>();
  const calls = ["1", 1, 0, Number.NaN].map((key) => watch(map.getOrLoad(key, load)));
  await turn();
  map.delete("1");
  map.delete(-0);
  map.delete(Number.NaN);
  for (const each of begun) each.open(7);
  await turn();
  expect(calls.map(({ value }) => value)).toEqual([7, 7, 7, 7]);
  expect([...map]).toEqual([[1, 7]]);
});
