/** Bad arguments: an error at once, with nothing opened; contexts that are hostile. */
import { Readable } from "node:stream";
import { background, type Cancel } from "gopark/context";
import { Group } from "gopark/errgroup";
import * as pipeline from "gopark/pipeline";
import { describe, expect, test, vi } from "vitest";
import { foreign } from "./support/foreign.ts";
import { counted } from "./support/source.ts";
import { turns } from "./support/turn.ts";

const ctx = background();

/** A value that the types forbid. */
const wrong = <T>(value: unknown): T => value as T;

type Make = (ctx: Cancel | undefined, input: Iterable<number>) => unknown;

/** Every function that takes a context and an input. */
const makers: Record<string, Make> = {
  from: pipeline.from,
  map: (c, input) => pipeline.map(c, input, (n) => n),
  filter: (c, input) => pipeline.filter(c, input, () => true),
  batch: (c, input) => pipeline.batch(c, input, 2, 10),
  debounce: (c, input) => pipeline.debounce(c, input, 10),
  throttle: (c, input) => pipeline.throttle(c, input, 10),
  tee: (c, input) => pipeline.tee(c, input),
  broadcast: (c, input) => pipeline.broadcast(c, input),
  merge: (c, input) => pipeline.merge(c, input),
};

describe.each(Object.keys(makers))("%s", (name) => {
  const make = makers[name] as Make;

  test.each([null, 42, "ctx", {}, { aborted: true }])("throws TypeError for the context %o", (bad) => {
    const [source, use] = counted([1]);
    expect(() => make(wrong(bad), source as Iterable<number>)).toThrow("expected a Context or an AbortSignal, got");
    expect(use.opened).toBe(0);
  });

  test("says what to pass for the holder of a context or signal", () => {
    expect(() => make(wrong({ ctx }), [])).toThrow("pass scope.ctx");
    expect(() => make(wrong(new AbortController()), [])).toThrow("pass controller.signal");
  });

  test.each([undefined, null, 42, {}, { length: 1, 0: 1 }, () => {}])("throws TypeError for the input %o", (bad) => {
    expect(() => make(ctx, wrong(bad))).toThrow(TypeError);
    expect(() => make(ctx, wrong(bad))).toThrow(
      `${name}: ${name === "merge" ? "each input" : "input"} must be iterable or a stream, got`,
    );
  });
});

describe.each(["map", "filter"] as const)("%s", (name) => {
  const make = name === "map" ? pipeline.map : (pipeline.filter as typeof pipeline.map);

  test.each([undefined, null, 42, {}, "fn"])("throws TypeError for the function %o", (bad) => {
    expect(() => make(ctx, [1], wrong<() => 1>(bad))).toThrow(`${name}: fn must be a function, got`);
  });

  test.each([
    { concurrency: 0, error: RangeError },
    { concurrency: -1, error: RangeError },
    { concurrency: 1.5, error: RangeError },
    { concurrency: Number.NaN, error: RangeError },
    { concurrency: Number.NEGATIVE_INFINITY, error: RangeError },
    { concurrency: 2 ** 53, error: RangeError },
    { concurrency: null, error: TypeError },
    { concurrency: "2", error: TypeError },
  ])("throws $error.name for a concurrency of $concurrency", ({ concurrency, error }) => {
    const [source, use] = counted([1]);
    const refused = () => make(ctx, source, (n) => n, { concurrency: wrong(concurrency) });
    expect(refused).toThrow(error);
    expect(refused).toThrow(`${name}: concurrency must be a whole number`);
    expect(use.opened).toBe(0);
  });

  test("throws TypeError for other bad options", () => {
    for (const bad of [42, "x"]) expect(() => make(ctx, [1], (n) => n, wrong(bad))).toThrow("must be an object");
    for (const bad of [null, 0, "no"]) {
      expect(() => make(ctx, [1], (n) => n, { ordered: wrong(bad) })).toThrow(`${name}: ordered must be a boolean`);
    }
  });
});

describe("numbers", () => {
  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("%d is no size: RangeError", (n) => {
    expect(() => pipeline.batch(ctx, [], n)).toThrow(RangeError);
    expect(() => pipeline.tee(ctx, [], n)).toThrow(RangeError);
    expect(() => pipeline.broadcast(ctx, []).subscribe({ buffer: n })).toThrow(RangeError);
  });

  test.each([null, "2", {}, 2n])("%o is no size: TypeError", (n) => {
    expect(() => pipeline.batch(ctx, [], wrong(n))).toThrow("batch: n must be a whole number");
    expect(() => pipeline.tee(ctx, [], wrong(n))).toThrow("tee: n must be a whole number");
    expect(() => pipeline.broadcast(ctx, []).subscribe({ buffer: wrong(n) })).toThrow("subscribe: buffer must be");
  });

  test("NaN and other types are no time", () => {
    for (const make of [pipeline.debounce, pipeline.throttle]) {
      expect(() => make(ctx, [], Number.NaN)).toThrow(RangeError);
      expect(() => make(ctx, [], wrong("10"))).toThrow(TypeError);
    }
    expect(() => pipeline.batch(ctx, [], 1, Number.NaN)).toThrow("batch: ms must be");
    expect(() => pipeline.batch(ctx, [], 1, wrong("1"))).toThrow(TypeError);
  });
});

test.each([null, 42, "drop", "DROPOLDEST", true])(
  "subscribe throws TypeError for slow: %o, and subscribes nobody",
  async (slow) => {
    const hub = pipeline.broadcast(ctx, [1, 2]);
    expect(() => hub.subscribe({ slow: wrong(slow) })).toThrow('subscribe: slow must be "block", "dropOldest"');
    expect(() => hub.subscribe(wrong(42))).toThrow("subscribe: options must be an object");
    expect(await pipeline.collect(ctx, hub.subscribe())).toEqual([1, 2]);
  },
);

test("what takes a stage takes nothing else, and what takes a group or a class neither", () => {
  const group = new Group();
  for (const bad of [undefined, null, 42, [1], {}]) {
    expect(() => pipeline.toChannel(group, wrong<pipeline.Stage<1>>(bad))).toThrow(
      "toChannel: stage must be a stage of this module",
    );
    expect(() => pipeline.toWebStream(wrong<pipeline.Stage<1>>(bad))).toThrow(
      "toWebStream: stage must be a stage of this module",
    );
    expect(() => pipeline.toNodeStream(wrong<pipeline.Stage<1>>(bad), Readable)).toThrow("toNodeStream: stage must be");
  }
  const stage = pipeline.from(ctx, [1]);
  expect(() => pipeline.toChannel(wrong(undefined), stage)).toThrow("toChannel: group must be an errgroup.Group");
  expect(() => pipeline.toNodeStream(stage, wrong<typeof Readable>(undefined))).toThrow(
    "toNodeStream: Readable.from must be a function",
  );
  expect(() => pipeline.toChannel(group, stage, -1)).toThrow(RangeError);
  stage[Symbol.asyncIterator](); // It has not been iterated by any of them.
});

test("toWebStream says when the host has no streams", () => {
  vi.stubGlobal("ReadableStream", undefined);
  try {
    expect(() => pipeline.toWebStream(pipeline.from(ctx, [1]))).toThrow("this host has no ReadableStream");
  } finally {
    vi.unstubAllGlobals();
  }
});

test("collect rejects where the others throw", async () => {
  await expect(pipeline.collect(wrong(null), [])).rejects.toThrow(TypeError);
  await expect(pipeline.collect(ctx, wrong<number[]>(42))).rejects.toThrow(
    "collect: input must be iterable or a stream, got 42",
  );
});

test("an iterable whose iterator is none is the error of next", async () => {
  for (const iterator of [undefined, 42, {}]) {
    const source = { [Symbol.iterator]: () => iterator } as never;
    await expect(pipeline.collect(ctx, pipeline.from(ctx, source))).rejects.toThrow(TypeError);
  }
});

describe("a context of another implementation", () => {
  test("that ends, ends the stage", async () => {
    const outside = foreign();
    const [source, use] = counted([1, 2, 3]);
    const iterator = pipeline.from(outside, source)[Symbol.asyncIterator]();
    await iterator.next();
    const error = new Error("over");
    outside.end(error);
    await turns(2);
    await expect(iterator.next()).rejects.toBe(error);
    expect(use.returns).toBe(1);
  });

  test("has no listener any more when the stage has ended", async () => {
    const outside = foreign();
    for await (const n of pipeline.from(outside, [1, 2, 3])) if (n === 2) break;
    await turns(1);
    expect(outside.listeners.size).toBe(0);
  });

  test("that throws when it is asked is the error of next, and nothing is opened", async () => {
    const boom = new Error("boom");
    const outside = foreign({
      err() {
        throw boom;
      },
    });
    const [source, use] = counted([1, 2, 3]);
    const iterator = pipeline.from(outside, source)[Symbol.asyncIterator]();
    await expect(iterator.next()).rejects.toBe(boom);
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
    expect(use.opened).toBe(0);
  });

  test("that calls back in when it is asked starts the stage once", async () => {
    for (const call of ["next", "return"] as const) {
      const [source, use] = counted([1, 2, 3]);
      let inner: Promise<unknown> | undefined;
      const outside = foreign({
        err() {
          if (inner === undefined) {
            inner = Promise.resolve(); // As the call asks it again.
            inner = iterator[call]?.();
          }
          return undefined;
        },
      });
      const iterator = pipeline.from(outside, source)[Symbol.asyncIterator]();
      const outer = await iterator.next();
      const done = { value: undefined, done: true };
      expect([await inner, outer]).toEqual(
        call === "next"
          ? [
              { value: 1, done: false },
              { value: 2, done: false },
            ]
          : [done, done],
      );
      expect(use.opened).toBe(call === "next" ? 1 : 0);
      await iterator.return?.();
    }
  });

  describe("whose deadline has passed, and which calls back in when it is asked again,", () => {
    /** It says that it has not ended, and runs `hook.run`, once, when it is asked. */
    function late(): [outside: Cancel, hook: { run: (() => unknown) | undefined }] {
      const hook: { run: (() => unknown) | undefined } = { run: undefined };
      const outside = foreign({
        deadline: () => 0,
        err() {
          const { run } = hook;
          hook.run = undefined;
          run?.();
          return undefined;
        },
      });
      return [outside, hook];
    }

    test("may take the results that a next is about to take", async () => {
      const [outside, hook] = late();
      const iterator = pipeline.map(outside, [1, 2, 3], (n) => n, { concurrency: 3 })[Symbol.asyncIterator]();
      const results = [await iterator.next()];
      await turns(2);
      let inner: Promise<unknown>[] = [];
      hook.run = () => {
        inner = [iterator.next(), iterator.next()];
      };
      const outer = iterator.next();
      expect([...results, ...(await Promise.all(inner)), await outer]).toEqual([
        { value: 1, done: false },
        { value: 2, done: false },
        { value: 3, done: false },
        { value: undefined, done: true },
      ]);
    });

    test("may return the stage while a call of fn fails: the error is dropped", async () => {
      const [outside, hook] = late();
      let fail: (() => void) | undefined;
      const fn = (n: number) =>
        n === 1 ? n : new Promise<number>((_, reject) => (fail = () => reject(new Error("too late"))));
      const iterator = pipeline.map(outside, [1, 2], fn, { concurrency: 2 })[Symbol.asyncIterator]();
      expect(await iterator.next()).toEqual({ value: 1, done: false });
      await turns(2);
      let returned: Promise<unknown> | undefined;
      hook.run = () => {
        returned = iterator.return?.();
      };
      fail?.();
      await turns(2);
      expect(hook.run).toBe(undefined);
      expect([await returned, await iterator.next()]).toEqual([
        { value: undefined, done: true },
        { value: undefined, done: true },
      ]);
    });
  });

  test("that throws when it is listened to stops the stage", async () => {
    const boom = new Error("boom");
    const outside = foreign({
      afterFunc() {
        throw boom;
      },
    });
    const [source, use] = counted([1, 2, 3]);
    const iterator = pipeline.map(outside, source, () => turns(1))[Symbol.asyncIterator]();
    const results: unknown[] = [];
    for (let i = 0; i < 3; i++) results.push(await iterator.next().catch((error: unknown) => error));
    expect(results).toContain(boom);
    expect(use.returns).toBe(1);
    await iterator.return?.();
  });
});
