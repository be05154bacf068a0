/** map and forEach where nothing fails: sources, results, when an item is pulled, how many run at once. */
import { AsyncLocalStorage } from "node:async_hooks";
import { Readable } from "node:stream";
import { Channel } from "gopark/channel";
import { background, type Context, contextKey, withCancel, withValue } from "gopark/context";
import { forEach, map } from "gopark/errgroup";
import { describe, expect, test } from "vitest";
import { counted, HandSource, runners, Work } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const ctx = background();

/** The numbers from 0 below n. */
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

function* generate<T>(items: Iterable<T>) {
  yield* items;
}

async function* generateLater<T>(items: Iterable<T>) {
  for (const item of items) {
    await turn();
    yield item;
  }
}

/** A closed channel that still holds the items. */
function filled<T>(items: readonly T[]): Channel<T> {
  const ch = new Channel<T>(items.length);
  for (const item of items) ch.trySend(item);
  ch.close();
  return ch;
}

describe("sources", () => {
  const sources: Record<string, () => Iterable<unknown> | AsyncIterable<unknown>> = {
    "an array": () => ["a", "b", "c"],
    "a set": () => new Set(["a", "b", "c"]),
    "a string, by code points": () => "a😀c",
    "a map's entries": () => new Map([["a", 1]]),
    "a typed array": () => new Uint8Array([1, 2, 3]),
    "an array with holes and nothings": () => Object.assign(Array(4), { 1: null, 3: 0 }),
    "a generator": () => generate(["a", "b", "c"]),
    "an async generator": () => generateLater(["a", "b", "c"]),
    "a channel": () => filled(["a", "b", "c"]),
    "a channel's values": () => filled(["a", "b", "c"]).values(),
    "a stream": () => Readable.from(["a", "b", "c"]),
    "an empty array": () => [],
    "an empty string": () => "",
    "an empty async generator": () => generateLater([]),
    "an empty closed channel": () => filled([]),
  };

  test.each(Object.keys(sources))("%s: each item once, with its index", async (name) => {
    const open = sources[name] as () => Iterable<unknown>;
    const items: unknown[] = [];
    for await (const item of open()) items.push(item);
    const want = items.map((item, index) => [item, index]);

    for (const limit of [1, 2, Number.POSITIVE_INFINITY]) {
      const calls: unknown[] = [];
      const fn = (item: unknown, _: unknown, index: number) => {
        calls.push([item, index]);
        return [item, index];
      };
      expect(await map(ctx, open(), fn, { limit })).toEqual(want);
      expect(calls.splice(0)).toEqual(want);
      expect(await forEach(ctx, open(), fn, { limit })).toBeUndefined();
      expect(calls).toEqual(want);
    }
  });

  test("one that is both is taken as the async source it is, as for await does", async () => {
    const both = {
      [Symbol.iterator]: () => generate(["sync"]),
      [Symbol.asyncIterator]: () => generateLater(["async"]),
    };
    expect(await map(ctx, both, (item) => item, { limit: 1 })).toEqual(["async"]);
  });

  test("an async iterator may answer without a promise, and say done by anything truthy", async () => {
    const answers: unknown[] = [{ value: "a" }, { value: "b", done: 0 }, {}, { value: "end", done: "yes" }];
    const source = {
      [Symbol.asyncIterator]: () => ({ next: () => answers.shift() }),
    } as unknown as AsyncIterable<string>;
    expect(await map(ctx, source, (item) => item, { limit: 2 })).toEqual(["a", "b", undefined]);
  });

  test("a channel that is fed while the work goes on ends it by its close", async () => {
    const ch = new Channel<number>();
    const squares = watch(map(ctx, ch.values(), (n) => n * n, { limit: 2 }));
    for (const n of [3, 4, 5]) await ch.send(n);
    await turn();
    expect(squares.state).toBe("pending");
    ch.close();
    await turn();
    expect(squares.value).toEqual([9, 16, 25]);
  });

  test("an empty source is asked once, and fn never", async () => {
    const [source, use] = counted<number>([]);
    let calls = 0;
    expect(await map(ctx, source, () => calls++, { limit: 3 })).toEqual([]);
    expect(await forEach(ctx, source, () => calls++, { limit: 3 })).toBeUndefined();
    expect([calls, use.opened, use.nexts, use.returns]).toEqual([0, 2, 2, 0]);
  });
});

describe("results", () => {
  test.each([
    { order: [0, 1, 2, 3, 4] },
    { order: [4, 3, 2, 1, 0] },
    { order: [2, 0, 4, 1, 3] },
    { order: [3, 4, 0, 2, 1] },
  ])("stand in the order of the items, which end in the order $order", async ({ order }) => {
    const work = new Work<string, string>();
    const mapped = watch(map(ctx, "abcde", work.fn, { limit: 5 }));
    await turn();
    for (const [n, index] of order.entries()) {
      expect([work.running.length, mapped.state]).toEqual([5 - n, "pending"]);
      work.finish(index, `${work.items[index]}${index}`);
      await turn();
    }
    expect(mapped.value).toEqual(["a0", "b1", "c2", "d3", "e4"]);
  });

  test("a slow first item keeps its place while all others pass it", async () => {
    const work = new Work<number, string>();
    const mapped = watch(map(ctx, upTo(6), work.fn, { limit: 2 }));
    for (const index of [1, 2, 3, 4, 5]) {
      await turn();
      expect(work.running).toEqual([0, index]);
      work.finish(index, `${index}`);
    }
    await turn();
    expect(mapped.state).toBe("pending");
    work.finish(0, "last");
    await turn();
    expect(mapped.value).toEqual(["last", "1", "2", "3", "4", "5"]);
  });

  test("undefined is a result like any other: no holes, and the full length", async () => {
    const results = await map(ctx, upTo(3), () => undefined, { limit: 2 });
    expect([results.length, Object.keys(results)]).toEqual([3, ["0", "1", "2"]]);
  });

  test("a value, a promise and a thenable count alike", async () => {
    const thenable = { then: (resolve: (value: string) => void) => resolve("thenable") } as PromiseLike<string>;
    const fns = [() => "value", () => Promise.resolve("promise"), () => thenable, async () => thenable];
    expect(await map(ctx, fns, (fn) => fn(), { limit: 1 })).toEqual(["value", "promise", "thenable", "thenable"]);
  });

  test("forEach has none, whatever fn returns", async () => {
    expect(await forEach(ctx, upTo(3), async (n) => n, { limit: 2 })).toBeUndefined();
  });
});

const names = ["map", "forEach"] as const;

describe.each(names)("%s pulls", (name) => {
  const run = runners[name];

  test.each([
    { what: "sync", source: () => generate(upTo(5)) },
    { what: "async", source: () => generateLater(upTo(5)) },
  ])("from a $what source no item before there is a slot for it", async ({ source }) => {
    const [items, use] = counted(source());
    const work = new Work<number, void>();
    const done = watch(run(ctx, items, work.fn, { limit: 2 }));
    await turns(10);
    expect([use.nexts, work.running]).toEqual([2, [0, 1]]);

    work.finish(1);
    await turns(10);
    expect([use.nexts, work.running]).toEqual([3, [0, 2]]);

    work.finish(0);
    work.finish(2);
    await turns(10);
    expect([use.nexts, work.running]).toEqual([5, [3, 4]]);

    // The end, too, is found by a call that has a slot.
    work.finish(3);
    await turns(10);
    expect([use.nexts, work.running, done.state]).toEqual([6, [4], "pending"]);

    work.finish(4);
    await turns(10);
    expect(done.state).toBe("fulfilled");
    expect(use).toEqual({ opened: 1, nexts: 6, returns: 0, pending: 0, overlaps: 0 });
  });

  test("limit 1: pull, run, pull, run", async () => {
    const log: string[] = [];
    function* source() {
      for (const n of [0, 1]) {
        log.push(`pull ${n}`);
        yield n;
      }
      log.push("end");
    }
    const fn = async (n: number) => {
      log.push(`start ${n}`);
      await turn();
      log.push(`finish ${n}`);
    };
    await run(ctx, source(), fn, { limit: 1 });
    expect(log).toEqual(["pull 0", "start 0", "finish 0", "pull 1", "start 1", "finish 1", "end"]);
  });

  test("never while another pull is pending, however many slots are free", async () => {
    const source = new HandSource<string>();
    const work = new Work<string, void>();
    const done = watch(run(ctx, source, work.fn, { limit: 5 }));
    for (const [n, item] of ["a", "b", "c"].entries()) {
      await turn();
      expect([source.nexts, source.pending, work.running.length]).toEqual([n + 1, 1, n]);
      source.give(item);
    }
    await turn();
    expect([source.nexts, source.pending, work.items]).toEqual([4, 1, ["a", "b", "c"]]);

    // Slots that become free in between pull no further item.
    work.finish(0);
    work.finish(2);
    await turn();
    expect([source.nexts, source.pending]).toEqual([4, 1]);

    source.end();
    await turn();
    expect([source.nexts, done.state]).toEqual([4, "pending"]);
    work.finish(1);
    await turn();
    expect([source.nexts, source.returns, done.state]).toEqual([4, 0, "fulfilled"]);
  });

  test("never two at a time from an async source whose answers and work are shuffled in time", async () => {
    async function* source() {
      for (const n of upTo(60)) {
        await turns(n % 3);
        yield n;
      }
    }
    const [items, use] = counted(source());
    await run(ctx, items, (n) => turns((n * 7) % 5), { limit: 4 });
    expect(use).toEqual({ opened: 1, nexts: 61, returns: 0, pending: 0, overlaps: 0 });
  });

  test("and starts the work as soon as its item is there", async () => {
    const source = new HandSource<number>();
    const work = new Work<number, void>();
    const done = watch(run(ctx, source, work.fn, { limit: 2 }));
    await turn();
    source.give(1);
    await turn();
    expect(work.running).toEqual([0]);
    source.end();
    work.finish(0);
    await turn();
    expect(done.state).toBe("fulfilled");
  });
});

describe.each(names)("%s runs", (name) => {
  const run = runners[name];

  test.each([1, 2, 7, 29, 30, 31])("as many as the limit of %d allows, and never more", async (limit) => {
    for (const source of [upTo(30), generateLater(upTo(30))]) {
      let running = 0;
      let most = 0;
      const fn = async (n: number) => {
        most = Math.max(most, ++running);
        await turns(40 + (n % 3));
        running--;
      };
      await run(ctx, source, fn, { limit });
      expect([running, most]).toEqual([0, Math.min(limit, 30)]);
    }
  });

  test("all at once without a limit", async () => {
    const work = new Work<number, void>();
    const [items, use] = counted(upTo(1000));
    const done = watch(run(ctx, items, work.fn, { limit: Number.POSITIVE_INFINITY }));
    // That many starts may be spread over some turns.
    for (let i = 0; i < 100 && work.running.length < 1000; i++) await turn();
    expect([work.running.length, use.nexts]).toEqual([1000, 1001]);
    for (const index of work.running) work.finish(index);
    for (let i = 0; i < 100 && done.state === "pending"; i++) await turn();
    expect(done.state).toBe("fulfilled");
  });

  test("inside itself: each call has slots of its own", async () => {
    const seen: string[] = [];
    const inner = (outer: number) => (item: number) => turn().then(() => void seen.push(`${outer}${item}`));
    const outer = (n: number, ctx: Context) => run(ctx, upTo(2), inner(n), { limit: 1 });
    await run(ctx, upTo(3), outer, { limit: 1 });
    expect(seen).toEqual(["00", "01", "10", "11", "20", "21"]);
  });
});

describe.each(names)("%s gives fn", (name) => {
  const run = runners[name];

  test("a context below the caller's, which is alive until the work is over", async () => {
    const user = contextKey<string>("user");
    const [parent, cancel] = withCancel(withValue(ctx, user, "alice"));
    const work = new Work<number, void>();
    const done = watch(run(parent, [1], work.fn, { limit: 1 }));
    await turn();
    expect([work.contexts[0]?.value(user), work.contexts[0]?.err()]).toEqual(["alice", undefined]);
    work.finish(0);
    await turn();
    expect([done.state, work.contexts[0]?.err() === undefined, parent.err()]).toEqual(["fulfilled", false, undefined]);
    cancel();
  });

  test("its caller's async context, not in that of the call that frees the slot or sends the item", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const gates: (() => void)[] = [];
    const fn = async () => {
      seen.push(tenant.getStore());
      await new Promise<void>((open) => gates.push(open));
      seen.push(tenant.getStore());
    };
    const source = new HandSource<number>();
    const done = tenant.run("alice", () => [
      watch(run(ctx, upTo(3), fn, { limit: 1 })),
      watch(run(ctx, source, fn, { limit: 1 })),
    ]);
    for (let i = 0; i < 3; i++) {
      await turn();
      tenant.run("bob", () => {
        source.give(i);
      });
      await turn();
      tenant.run("bob", () => {
        for (const open of gates.splice(0)) open();
      });
    }
    await turn();
    source.end();
    await turn();
    expect(done.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled"]);
    expect(seen).toEqual(Array(12).fill("alice"));
  });
});
