/** map and forEach over items that are promises: awaited where `for await` awaits them. */
import { background, withCancel } from "gopark/context";
import { describe, expect, test } from "vitest";
import { counted, HandSource, runners } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const doom = new Error("doomed");

/** A promise, and what settles it. */
function promised<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** The results of `for await` over the same items. */
async function looped(items: Iterable<unknown> | AsyncIterable<unknown>): Promise<unknown[]> {
  const seen: unknown[] = [];
  for await (const item of items) seen.push(item);
  return seen;
}

/** A thenable that is not a promise. */
const thenable = (value: unknown) => ({ then: (resolve: (value: unknown) => void) => resolve(value) });

/** Items that fail when they are awaited. */
const rejectedLater: Record<string, () => PromiseLike<string>> = {
  "a promise": () => turn().then(() => Promise.reject(doom)),
  "a promise that has rejected": () => Promise.reject(doom),
  "a thenable": () => ({ then: (_: unknown, no: (error: unknown) => void) => no(doom) }) as never,
  "a thenable whose then throws": () =>
    ({
      then() {
        throw doom;
      },
    }) as never,
  "a thenable whose then can be read once": () => {
    let reads = 0;
    const then = () => {
      if (reads++ > 0) throw doom;
      return () => {};
    };
    return Object.defineProperty({}, "then", { get: then }) as never;
  },
};

const sources: Record<string, () => Iterable<unknown> | AsyncIterable<unknown>> = {
  "an array": () => [1, Promise.resolve(2), 3],
  "an array of promises": () => [Promise.resolve(1), turn().then(() => 2), Promise.resolve(3)],
  "thenables among them": () => [thenable(1), 2, thenable(3)],
  "promises of undefined": () => [Promise.resolve(undefined), undefined],
  "a set": () => new Set([Promise.resolve("a"), "b"]),
  "a generator": () =>
    (function* () {
      yield Promise.resolve(1);
      yield 2;
    })(),
  "an async generator": () =>
    (async function* () {
      yield Promise.resolve(1);
      yield 2;
    })(),
};

describe.each(["map", "forEach"] as const)("%s", (name) => {
  const run = runners[name];

  describe.each([1, 4])("limit %d", (limit) => {
    test.each(Object.entries(sources))("gives fn what `for await` gives: %s", async (_, make) => {
      const seen: unknown[] = [];
      const indices: number[] = [];
      const fn = (item: unknown, _ctx: unknown, index: number) => {
        seen[index] = item;
        indices.push(index);
      };
      await run(bg, make() as Iterable<unknown>, fn, { limit });
      expect(seen).toEqual(await looped(make()));
      expect(indices).toEqual(seen.map((_, i) => i));
    });

    test("a rejected promise among the items is the error, and what runs is waited for", async () => {
      const rejected = Promise.reject(doom);
      rejected.catch(() => {}); // Under a limit of 1 it is not taken at once, and would count as unhandled until then.
      const seen: unknown[] = [];
      let ended = 0;
      const fn = async (item: unknown) => {
        seen.push(item);
        await turn();
        ended++;
      };
      await expect(run(bg, [1, rejected, 3] as Iterable<unknown>, fn, { limit })).rejects.toBe(doom);
      expect([seen, ended]).toEqual([[1], 1]);
    });
  });

  test("no further item is taken while one is awaited", async () => {
    const first = promised<string>();
    const [source, use] = counted<unknown>([first.promise, "second"]);
    const seen: unknown[] = [];
    const done = watch(run(bg, source, (item) => void seen.push(item), { limit: 4 }));
    await turns(2);
    expect([use.nexts, seen]).toEqual([1, []]);
    first.resolve("first");
    await turns(2);
    expect([use.nexts, seen, done.state]).toEqual([3, ["first", "second"], "fulfilled"]);
  });

  test("the wait for one ends with the caller's context, and its later rejection is handled", async () => {
    const { ctx, cancel } = withCancel(bg);
    const never = promised<string>();
    const done = watch(run(ctx, [never.promise] as Iterable<unknown>, () => {}, { limit: 2 }));
    await turns(2);
    expect(done.state).toBe("pending");
    cancel();
    await turns(2);
    expect(done.reason).toBe(ctx.err());
    never.reject(doom); // Unhandled, it would fail the run.
    await turns(2);
  });

  test.each(Object.keys(rejectedLater))(
    "%s that is taken as the context ends is awaited, though nobody waits for it: its rejection is handled",
    async (what) => {
      const make = rejectedLater[what] as () => PromiseLike<string>;
      let returns = 0;
      const unhandled = await unhandledDuring(async () => {
        const { ctx, cancel } = withCancel(bg);
        const source = {
          [Symbol.iterator]: () => ({
            next() {
              cancel();
              return { done: false, value: make() };
            },
            return() {
              returns++;
              return { done: true, value: undefined };
            },
          }),
        } as Iterable<unknown>;
        await expect(run(ctx, source, () => {}, { limit: 2 })).rejects.toBe(ctx.err());
        await turns(3);
      });
      expect([unhandled, returns]).toEqual([[], 1]);
    },
  );

  test("the wait for one ends when a call fails", async () => {
    const never = promised<string>();
    const done = watch(run(bg, ["bad", never.promise] as Iterable<unknown>, () => Promise.reject(doom), { limit: 2 }));
    await turns(3);
    expect(done.reason).toBe(doom);
    never.resolve("late");
  });

  test("the wait for one is not begun if the source ends its own caller's context", async () => {
    const [ctx, cancel] = withCancel(bg);
    const never = promised<string>();
    function* items() {
      cancel();
      yield never.promise;
    }
    const done = watch(run(ctx, items(), () => {}, { limit: 1 }));
    await turns(3);
    expect(done.reason).toBe(ctx.err());
    never.resolve("late");
  });

  test("an item that cannot be: what is not iterable, and an iterator that gives no object", async () => {
    for (const [bad, shown] of [
      [7, "7"],
      [{}, "an object (Object)"],
      [{ [Symbol.iterator]: 7 }, "an object (Object)"],
      [null, "null"],
    ] as const) {
      await expect(run(bg, bad as never, () => {}, { limit: 1 })).rejects.toThrow(
        `items must be iterable, got ${shown}`,
      );
    }
    for (const given of [null, undefined, 7]) {
      for (const symbol of [Symbol.iterator, Symbol.asyncIterator]) {
        const items = { [symbol]: () => ({ next: () => given }) };
        await expect(run(bg, items as never, () => {}, { limit: 1 })).rejects.toThrow(
          `an iterator's next must give an object, got ${given}`,
        );
      }
    }
  });

  test("a promise that an async iterator answers with is handed on, as `for await` does it", async () => {
    const source = new HandSource<Promise<number>>();
    const given = Promise.resolve(1);
    const seen: unknown[] = [];
    const done = watch(run(bg, source as AsyncIterable<unknown>, (item) => seen.push(item), { limit: 1 }));
    await turn();
    source.give(given);
    await turn();
    expect(seen[0]).toBe(given);
    source.end();
    await turn();
    expect(done.state).toBe("fulfilled");
  });
});
