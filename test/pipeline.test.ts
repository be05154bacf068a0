/**
 * Stages that make and pass on items one by one: from, map, filter, collect. What they give, when, and how far ahead.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { Channel } from "gopark/channel";
import { background, contextKey, withCancel, withValue } from "gopark/context";
import { collect, filter, from, type Input, map } from "gopark/pipeline";
import { describe, expect, test } from "vitest";
import { counted, HandSource, Work } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const ctx = background();
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

async function* generateLater<T>(items: Iterable<T>) {
  for (const item of items) {
    await turn();
    yield item;
  }
}

/** Go's example of the article: gen, sq, sq, and a loop that prints. */
test("a pipeline of the article: numbers, squared twice", async () => {
  const sq = (input: Input<number>) => map(ctx, input, async (n) => n * n);
  const out: number[] = [];
  for await (const n of sq(sq(from(ctx, [2, 3])))) out.push(n);
  expect(out).toEqual([16, 81]);
});

describe("a stage", () => {
  test("runs nothing until it is iterated, and its first next opens the input", async () => {
    const [source, use] = counted([1, 2, 3]);
    let calls = 0;
    const stage = map(
      ctx,
      filter(ctx, from(ctx, source), () => true),
      () => calls++,
    );
    await turns(3);
    const iterator = stage[Symbol.asyncIterator]();
    await turns(3);
    expect([calls, use.opened]).toEqual([0, 0]);
    const first = iterator.next();
    expect([calls, use.opened]).toEqual([0, 0]); // Not on the caller's stack.
    expect(await first).toEqual({ value: 0, done: false });
    expect(use.opened).toBe(1);
    await iterator.return?.();
    expect(use.returns).toBe(1);
  });

  test("is single-use", async () => {
    const stage = from(ctx, [1]);
    expect(await collect(ctx, stage)).toEqual([1]);
    expect(() => stage[Symbol.asyncIterator]()).toThrow("a stage is single-use");
    // As an input of another stage, the error is that stage's.
    await expect(collect(ctx, stage)).rejects.toThrow("a stage is single-use");
    await expect(
      collect(
        ctx,
        map(ctx, stage, () => 1),
      ),
    ).rejects.toThrow("a stage is single-use");
  });

  test("is iterated through its iterator too, which is its own iterable", async () => {
    const iterator = from(ctx, [1, 2, 3])[Symbol.asyncIterator]();
    expect(await iterator.next()).toEqual({ value: 1, done: false });
    expect(await collect(ctx, iterator)).toEqual([2, 3]);
    expect(Object.prototype.toString.call(iterator)).toBe("[object Object]");
  });

  test("answers overlapping calls of next in their order", async () => {
    const source = new HandSource<string>();
    const iterator = from(ctx, source)[Symbol.asyncIterator]();
    const nexts = [iterator.next(), iterator.next(), iterator.next(), iterator.next()].map((next) => watch(next));
    for (const item of ["a", "b"]) {
      await turn();
      source.give(item);
    }
    await turn();
    expect(nexts.map(({ value }) => value)).toEqual([
      { value: "a", done: false },
      { value: "b", done: false },
      undefined,
      undefined,
    ]);
    source.end();
    await turn();
    expect(nexts.slice(2).map(({ value }) => value)).toEqual(Array(2).fill({ value: undefined, done: true }));
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
    expect(source.nexts).toBe(3);
  });

  test("passes undefined and null on like other values", async () => {
    const values = [undefined, null, 0, "", undefined];
    expect(await collect(ctx, from(ctx, values))).toEqual(values);
    expect(
      await collect(
        ctx,
        map(ctx, values, (v) => v, { concurrency: 3 }),
      ),
    ).toEqual(values);
    expect(
      await collect(
        ctx,
        filter(ctx, generateLater(values), () => true),
      ),
    ).toEqual(values);
  });

  test("takes undefined for background()", async () => {
    expect(
      await collect(
        undefined,
        map(undefined, from(undefined, [1, 2]), (n) => -n),
      ),
    ).toEqual([-1, -2]);
  });

  test("awaits the promises of an array, and does not look into what an async iterable yields", async () => {
    expect(await collect(ctx, from(ctx, [Promise.resolve(1), 2]))).toEqual([1, 2]);
    expect(await collect(ctx, [Promise.resolve(1), 2])).toEqual([1, 2]);
  });

  test("can be many, one behind the other", async () => {
    let stage = from(ctx, upTo(12));
    for (let i = 0; i < 20; i++) stage = i % 2 === 0 ? map(ctx, stage, (n) => n + 1) : filter(ctx, stage, () => true);
    expect(await collect(ctx, stage)).toEqual(upTo(12).map((n) => n + 10));
  });
});

describe("inputs", () => {
  function filled<T>(items: readonly T[]): Channel<T> {
    const ch = new Channel<T>(items.length);
    for (const item of items) ch.trySend(item);
    ch.close();
    return ch;
  }
  const inputs: Record<string, () => Input<unknown>> = {
    "an array": () => ["a", "b", "c"],
    "a string": () => "a😀c",
    "a map": () => new Map([["a", 1]]),
    "a generator": () => new Set([1, 2, 3]).values(),
    "an async generator": () => generateLater(["a", "b"]),
    "a channel": () => filled(["a", "b"]),
    "a channel's values": () => filled(["a", "b"]).values(),
    nothing: () => [],
    "a closed channel": () => filled([]),
  };

  test.each(Object.keys(inputs))("%s: every stage gives each item once, in order", async (name) => {
    const open = inputs[name] as () => Input<unknown>;
    const want: unknown[] = [];
    for await (const item of open() as AsyncIterable<unknown>) want.push(item);
    expect(await collect(ctx, open())).toEqual(want);
    expect(await collect(ctx, from(ctx, open()))).toEqual(want);
    for (const concurrency of [1, 2, 7, Number.POSITIVE_INFINITY]) {
      const seen: unknown[] = [];
      const keep = (item: unknown, _: unknown, index: number) => seen.push([item, index]);
      expect(
        await collect(
          ctx,
          map(ctx, open(), (item) => item, { concurrency }),
        ),
      ).toEqual(want);
      expect(await collect(ctx, filter(ctx, open(), keep, { concurrency }))).toEqual(want);
      expect(seen).toEqual(want.map((item, index) => [item, index]));
    }
  });
});

describe("map", () => {
  test("takes values, promises and thenables for results", async () => {
    const thenable = { then: (resolve: (value: string) => void) => resolve("thenable") } as PromiseLike<string>;
    const fns = [() => "value", () => Promise.resolve("promise"), () => thenable, async () => thenable];
    expect(
      await collect(
        ctx,
        map(ctx, fns, (fn) => fn()),
      ),
    ).toEqual(["value", "promise", "thenable", "thenable"]);
  });

  test("works ahead by its concurrency, counting what the consumer has not taken", async () => {
    const [source, use] = counted(upTo(10));
    const work = new Work<number, string>();
    const iterator = map(ctx, source, work.fn, { concurrency: 3 })[Symbol.asyncIterator]();
    const first = watch(iterator.next());
    await turns(5);
    expect([use.nexts, work.running, first.state]).toEqual([3, [0, 1, 2], "pending"]);

    // The second is ready, but stands behind the first: nothing more is taken.
    work.finish(1, "b");
    await turns(5);
    expect([use.nexts, work.running, first.state]).toEqual([3, [0, 2], "pending"]);

    // The first goes to the consumer that waits, which makes room for one.
    work.finish(0, "a");
    await turns(5);
    expect([use.nexts, work.running, first.value]).toEqual([4, [2, 3], { value: "a", done: false }]);

    // The second waits for the consumer.
    expect(await iterator.next()).toEqual({ value: "b", done: false });
    await turns(5);
    expect([use.nexts, work.running]).toEqual([5, [2, 3, 4]]);
    const stopped = iterator.return?.();
    for (const index of work.running) work.finish(index, "late");
    await stopped;
  });

  test("of one at a time makes one result ahead of its consumer, and takes no item before there is room", async () => {
    const log: string[] = [];
    function* source() {
      for (const n of [0, 1, 2]) {
        log.push(`take ${n}`);
        yield n;
      }
    }
    const run = async (n: number) => {
      log.push(`run ${n}`);
      return n;
    };
    for await (const n of map(ctx, source(), run)) {
      await turns(5);
      log.push(`got ${n}`);
    }
    const want = ["take 0", "run 0", "take 1", "run 1", "got 0", "take 2", "run 2", "got 1", "got 2"];
    expect(log).toEqual(want);
  });

  test("unordered gives results as they are ready, and a slow one holds nobody up", async () => {
    const work = new Work<number, number>();
    const iterator = map(ctx, upTo(5), work.fn, { concurrency: 2, ordered: false })[Symbol.asyncIterator]();
    const results: unknown[] = [];
    const loop = watch(
      (async () => {
        for await (const result of iterator) results.push(result);
      })(),
    );
    for (const index of [1, 2, 3, 4, 0]) {
      await turn();
      work.finish(index, index);
    }
    await turn();
    expect([loop.state, results, work.most]).toEqual(["fulfilled", [1, 2, 3, 4, 0], 2]);
  });

  test.each([1, 2, 7, 30, 31])(
    "runs as many calls at once as its concurrency of %d, and never more",
    async (concurrency) => {
      for (const ordered of [true, false]) {
        let running = 0;
        let most = 0;
        const fn = async (n: number) => {
          most = Math.max(most, ++running);
          await turns(40 + (n % 3));
          running--;
          return n;
        };
        const results = await collect(ctx, map(ctx, generateLater(upTo(30)), fn, { concurrency, ordered }));
        expect(results.sort((a, b) => a - b)).toEqual(upTo(30));
        expect(most).toBe(Math.min(concurrency, 30));
      }
    },
  );

  test("gives fn a context below the stage's, which ends when the stage has", async () => {
    const user = contextKey<string>("user");
    const work = new Work<number, string>();
    const iterator = map(withValue(ctx, user, "alice"), [1], work.fn)[Symbol.asyncIterator]();
    const next = iterator.next();
    await turn();
    expect([work.contexts[0]?.value(user), work.contexts[0]?.err()]).toEqual(["alice", undefined]);
    work.finish(0, "done");
    await next;
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
    expect(work.contexts[0]?.err()).toBeDefined();
  });

  test("runs fn in the async context of the first next", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const source = new HandSource<number>();
    const seen: unknown[] = [];
    const stage = tenant.run("maker", () => map(ctx, source, () => seen.push(tenant.getStore()), { concurrency: 2 }));
    const iterator = stage[Symbol.asyncIterator]();
    const first = tenant.run("alice", () => iterator.next());
    for (let i = 0; i < 3; i++) {
      await turn();
      tenant.run("bob", () => source.give(i));
      await turn();
      if (i > 0) await tenant.run("carol", () => iterator.next());
    }
    await first;
    expect(seen).toEqual(["alice", "alice", "alice"]);
    await iterator.return?.();
  });

  test("takes a signal for a context", async () => {
    const { signal } = new AbortController();
    expect(
      await collect(
        signal,
        map(signal, [1, 2], (n) => n * 2),
      ),
    ).toEqual([2, 4]);
  });
});

describe("filter", () => {
  test("keeps what fn answers something truthy for, or a promise of it", async () => {
    const answers: unknown[] = [true, false, 1, 0, "yes", "", null, Promise.resolve(true), Promise.resolve(0)];
    for (const ordered of [true, false]) {
      const kept = filter(ctx, upTo(answers.length), (n) => answers[n], { concurrency: 3, ordered });
      expect((await collect(ctx, kept)).sort((a, b) => a - b)).toEqual([0, 2, 4, 7]);
    }
  });

  test("an endless row of items that are left out leaves the event loop its turns, and can be stopped", async () => {
    function* forever() {
      for (;;) yield 1;
    }
    const [stop, cancel] = withCancel(ctx);
    const kept = watch(
      collect(
        ctx,
        filter(stop, forever(), () => false, { concurrency: 4 }),
      ),
    );
    await turns(3);
    cancel();
    await turns(2);
    expect(kept.reason).toBe(stop.err());
  });

  test("an item that is left out waits in its place, so that the stage is never further ahead", async () => {
    const [source, use] = counted(upTo(100));
    const work = new Work<number, boolean>();
    const iterator = filter(ctx, source, work.fn, { concurrency: 3 })[Symbol.asyncIterator]();
    const first = watch(iterator.next());
    await turn();
    work.finish(1, false);
    work.finish(2, false);
    await turns(3);
    expect([use.nexts, work.running]).toEqual([3, [0]]);
    work.finish(0, false);
    await turns(3);
    expect([use.nexts, work.running, first.state]).toEqual([6, [3, 4, 5], "pending"]);
    for (const index of [3, 4, 5]) work.finish(index, true);
    await turn();
    expect(first.value).toEqual({ value: 3, done: false });
    const stopped = iterator.return?.();
    for (const index of work.running) work.finish(index, false);
    await stopped;
  });
});

describe("collect", () => {
  test("of an endless row of ready items leaves the event loop its turns", async () => {
    const [stop, cancel] = withCancel(ctx);
    function* forever() {
      for (;;) yield 1;
    }
    const all = watch(collect(stop, forever()));
    await turns(3);
    cancel();
    await turns(2);
    expect(all.reason).toBe(stop.err());
  });

  test("rejects with the error of the input", async () => {
    const doom = new Error("doomed");
    function* source() {
      yield 1;
      throw doom;
    }
    await expect(collect(ctx, source())).rejects.toBe(doom);
    await expect(collect(ctx, [1, Promise.reject(doom)])).rejects.toBe(doom);
  });
});
