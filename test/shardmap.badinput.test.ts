/** Sharded map: bad arguments and misuse are errors, and change nothing. */
import { background, withCancel } from "gopark/context";
import { counters } from "gopark/leak";
import { ShardMap } from "gopark/shardmap";
import { describe, expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

type Fn = () => number;
type Entries = Iterable<readonly [string, number]>;

const notFunctions: unknown[] = [undefined, null, 1, "fn", {}, [], Promise.resolve(1), Symbol("fn"), true];
const notCancels: unknown[] = [null, 0, 1, "", "cancel", {}, [], () => {}, true, new AbortController()];

/** The map, as it must be after every refusal. */
function filled(): ShardMap<string, number> {
  return new ShardMap([["a", 1]]);
}

function expectUntouched(map: ShardMap<string, number>): void {
  expect([...map]).toEqual([["a", 1]]);
}

const parked = (): (number | undefined)[] =>
  ["shardmap update", "shardmap load", "shardmap loader"].map((kind) => counters()[kind]);

describe("entries", () => {
  test.each([1, true, {}, Symbol("s"), () => {}, 1n, { length: 1 }])("%o is not iterable", (entries) => {
    expect(() => new ShardMap(entries as Entries)).toThrow(TypeError);
  });

  test.each([
    { what: "a string", entries: "text", got: '"t"' },
    { what: "strings", entries: ["ab"], got: '"ab"' },
    { what: "numbers", entries: [1, 2], got: "1" },
    { what: "null", entries: [null], got: "null" },
    { what: "a Set of what is no pair", entries: new Set([1]), got: "1" },
  ])("$what: not entries, as Map says", ({ entries, got }) => {
    expect(() => new Map(entries as unknown as Entries)).toThrow(TypeError);
    expect(() => new ShardMap(entries as unknown as Entries)).toThrow(
      new TypeError(`ShardMap: entries must be pairs, got ${got}`),
    );
  });

  test("an iterable that throws passes its error on", () => {
    const boom = new Error("boom");
    const entries = function* (): Generator<[string, number]> {
      yield ["a", 1];
      throw boom;
    };
    expect(() => new ShardMap(entries())).toThrow(boom);
  });

  test("an iterable that holds something else is closed", () => {
    let closed = 0;
    const entries = function* () {
      try {
        yield 5;
      } finally {
        closed++;
      }
    };
    expect(() => new ShardMap(entries() as unknown as Entries)).toThrow(TypeError);
    expect(closed).toBe(1);
  });

  test("a map is made with new", () => {
    const call = ShardMap as unknown as () => void;
    expect(() => call()).toThrow(TypeError);
  });
});

describe("functions", () => {
  test.each(notFunctions)("%o is refused where a function is called at once", (no) => {
    const map = filled();
    const fn = no as Fn;
    expect(() => map.forEach(fn)).toThrow(TypeError);
    expect(() => new ShardMap<string, number>().forEach(fn)).toThrow(TypeError);
    expect(() => map.getOrInsertComputed("b", fn)).toThrow(TypeError);
    expect(() => map.getOrInsertComputed("a", fn)).toThrow(TypeError);
    expectUntouched(map);
  });

  test.each(notFunctions)("%o is refused by a rejection where a promise is the answer", async (no) => {
    const map = filled();
    const fn = no as Fn;
    const calls = [map.update("a", fn), map.update("b", fn), map.getOrLoad("a", fn), map.getOrLoad("b", fn)];
    for (const call of calls) await expect(call).rejects.toThrow(TypeError);
    expectUntouched(map);
    expect(parked()).toEqual([0, 0, 0]);
  });

  test("the message names what is wrong", async () => {
    const map = filled();
    await expect(map.update("a", "fn" as unknown as Fn)).rejects.toThrow('update: fn must be a function, got "fn"');
    await expect(map.getOrLoad("a", 5 as unknown as Fn)).rejects.toThrow("getOrLoad: load must be a function, got 5");
    expect(() => map.forEach(null as unknown as Fn)).toThrow("forEach: fn must be a function, got null");
    expect(() => map.getOrInsertComputed("a", {} as unknown as Fn)).toThrow(
      "getOrInsertComputed: fn must be a function, got an object",
    );
  });

  test("a refused call does not stand in line, nor join a load", async () => {
    const map = filled();
    const no = undefined as unknown as Fn;
    const first = map.update("a", () => turn().then(() => 1));
    const load = map.getOrLoad("b", () => turn().then(() => 2));
    await expect(map.update("a", no)).rejects.toThrow(TypeError);
    await expect(map.getOrLoad("b", no)).rejects.toThrow(TypeError);
    expect([await first, await load, await map.update("a", (n = 0) => n + 1)]).toEqual([1, 2, 2]);
  });
});

describe("cancels", () => {
  test.each(notCancels)("%o is not a cancel: a rejection, and fn does not run", async (no) => {
    const map = filled();
    const cancel = no as AbortSignal;
    let ran = 0;
    const fn = () => ++ran;
    for (const key of ["a", "b"]) {
      await expect(map.update(key, fn, cancel)).rejects.toThrow(TypeError);
      await expect(map.getOrLoad(key, fn, cancel)).rejects.toThrow(TypeError);
    }
    await turn();
    expect(ran).toBe(0);
    expectUntouched(map);
    expect(parked()).toEqual([0, 0, 0]);
  });

  test("nothing is thrown in the call, and an error that is not awaited is an unhandled rejection", async () => {
    const seen = await unhandledDuring(async () => {
      const map = filled();
      void map.update("a", undefined as unknown as Fn);
      void map.getOrLoad("b", undefined as unknown as Fn);
      await turn();
      await turn();
    });
    expect(seen.map((reason) => reason instanceof TypeError)).toEqual([true, true]);
  });

  test("a context that throws when asked refuses the call, and leaves the line and the load as they are", async () => {
    const map = filled();
    const boom = new Error("boom");
    const fail = () => {
      throw boom;
    };
    const hostile = { err: fail, done: fail, value: fail, deadline: fail } as unknown as AbortSignal;
    const [line, load] = [map.update("a", () => turn().then(() => 5)), map.getOrLoad("b", () => turn().then(() => 7))];
    const refused = [watch(map.update("a", () => 6, hostile)), watch(map.getOrLoad("b", () => 8, hostile))];
    await turn();
    expect(refused.map(({ reason }) => reason)).toEqual([boom, boom]);
    expect([await line, await map.update("a", (n = 0) => n + 1), await load]).toEqual([5, 6, 7]);
  });
});

describe("callbacks that misbehave", () => {
  test("forEach's function that throws leaves the map usable, in the middle of a write too", () => {
    const map = filled();
    const boom = new Error("boom");
    expect(() =>
      map.forEach((_, key) => {
        map.delete(key);
        throw boom;
      }),
    ).toThrow(boom);
    expect([map.size, [...map]]).toEqual([0, []]);
  });

  test("getOrInsertComputed's function may clear the map it is asked by", () => {
    const map = filled();
    const value = map.getOrInsertComputed("b", () => {
      map.clear();
      return 2;
    });
    expect([value, [...map]]).toEqual([2, [["b", 2]]]);
  });

  test("getOrInsertComputed's function may ask for its own key, and the outer result counts", () => {
    const map = new ShardMap<string, number>();
    expect(map.getOrInsertComputed("a", (key) => map.getOrInsertComputed(key, () => 1) + 1)).toBe(2);
    expect([...map]).toEqual([["a", 2]]);
  });

  test("a thenable that answers twice counts once", async () => {
    const map = new ShardMap<string, number>();
    const twice: PromiseLike<number> = {
      then(resolve) {
        resolve?.(1);
        resolve?.(2);
        return Promise.resolve() as never;
      },
    };
    expect([await map.update("a", () => twice), map.get("a")]).toEqual([1, 1]);
    expect([await map.getOrLoad("b", () => twice), map.get("b")]).toEqual([1, 1]);
  });

  test("a thenable whose then cannot be read is a failure like another", async () => {
    const map = filled();
    const boom = new Error("boom");
    const hostile = Object.defineProperty({}, "then", {
      get() {
        throw boom;
      },
    }) as PromiseLike<number>;
    await expect(map.update("a", () => hostile)).rejects.toBe(boom);
    await expect(map.getOrLoad("b", () => hostile)).rejects.toBe(boom);
    expectUntouched(map);
    expect(await map.update("a", (n = 0) => n)).toBe(1);
  });

  test("an update within an update of the same key, not waited for, comes after it", async () => {
    const map = filled();
    let inner: Promise<number> | undefined;
    const outer = map.update("a", (n = 0) => {
      inner = map.update("a", (n = 0) => n * 10);
      return n + 1;
    });
    expect([await outer, await inner, map.get("a")]).toEqual([2, 20, 20]);
  });

  test("an update within an update of the same key, waited for, is ended by its cancel, and the line is free", async () => {
    const map = filled();
    const scope = withCancel(background());
    const outer = watch(map.update("a", () => map.update("a", () => 5, scope.ctx)));
    await turn();
    expect([outer.state, ...parked()]).toEqual(["pending", 1, 0, 0]);
    scope.cancel();
    await turn();
    expect(outer.reason).toBe(scope.ctx.err());
    expectUntouched(map);
    expect(await map.update("a", (n = 0) => n + 1)).toBe(2);
  });

  test("an error in one method has no effect on another", async () => {
    const map = filled();
    await expect(map.update("b", () => Promise.reject(new Error("boom")))).rejects.toThrow("boom");
    expect([map.has("b"), await map.getOrLoad("b", () => 2), await map.update("b", (n = 0) => n + 1)]).toEqual([
      false,
      2,
      3,
    ]);
  });
});
