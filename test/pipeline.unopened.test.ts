/** Stages that end before their first item: the stages that they were given end with them, and nothing else does. */
import { Readable } from "node:stream";
import { background, type Context, withCancel } from "gopark/context";
import * as errgroup from "gopark/errgroup";
import { track } from "gopark/leak";
import {
  batch,
  broadcast,
  collect,
  debounce,
  filter,
  from,
  map,
  merge,
  type Stage,
  tee,
  throttle,
  toChannel,
  toNodeStream,
  toWebStream,
} from "gopark/pipeline";
import { describe, expect, test } from "vitest";
import { counted, Work } from "./support/source.ts";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const ctx = background();
const ended = (() => {
  const [c, cancel] = withCancel(ctx);
  cancel();
  return c;
})();
const same = (n: number) => n;
const DONE = { value: undefined, done: true };

const stop = (stage: Stage<unknown>) => stage[Symbol.asyncIterator]().return?.();
const disposed = (stage: Stage<unknown>) => stage[Symbol.asyncDispose]();
const refused = (taking: Promise<unknown>) => expect(taking).rejects.toBe(ended.err());

/** Ways in which a stage, made of another, ends before its first item. */
const ways: Record<string, (input: Stage<number>) => PromiseLike<unknown> | undefined> = {
  "dispose of map": (input) => disposed(map(ctx, input, same)),
  "return of filter": (input) => stop(filter(ctx, input, same)),
  "throw of from": (input) =>
    from(ctx, input)
      [Symbol.asyncIterator]()
      .throw?.("x")
      .then(undefined, same as never),
  "dispose of merge": (input) => disposed(merge(ctx, [1], input)),
  "dispose of batch": (input) => disposed(batch(ctx, input, 2)),
  "dispose of debounce": (input) => disposed(debounce(ctx, input, 1)),
  "dispose of throttle": (input) => disposed(throttle(ctx, input, 1)),
  "dispose of every stage of tee": (input) => Promise.all(tee(ctx, input, 3).map(disposed)),
  "dispose of the only subscriber": (input) => disposed(broadcast(ctx, input).subscribe()),
  "dispose of several stages": (input) => disposed(map(ctx, filter(ctx, merge(ctx, from(ctx, input)), same), same)),
  "map, whose context has ended": (input) => refused(collect(ctx, map(ended, input, same))),
  "one stage of a tee whose context has ended": (input) => refused(collect(ctx, tee(ended, input)[0])),
  "a subscriber of a broadcast whose context has ended": (input) => {
    const hub = broadcast(ended, input);
    hub.subscribe();
    return refused(collect(ctx, hub.subscribe()));
  },
  "collect, whose context has ended": (input) => refused(collect(ended, input)),
  "collect of an iterator, whose context has ended": (input) => refused(collect(ended, input[Symbol.asyncIterator]())),
  "errgroup.map, whose context has ended": (input) => refused(errgroup.map(ended, input, same, { limit: 1 })),
  "errgroup.forEach, whose context has ended": (input) => refused(errgroup.forEach(ended, input, same, { limit: 1 })),
  "cancel of a stream of the web": (input) => toWebStream(map(ctx, input, same)).cancel(),
  "destroy of a stream of Node": async (input) => toNodeStream(map(ctx, input, same), Readable).destroy(),
  "toChannel, whose context has ended": (input) => toChannel(new errgroup.Group(), map(ended, input, same)).receive(),
  "toChannel, whose context ends before there is a slot": async (input) => {
    const group = new errgroup.Group();
    group.setLimit(0);
    const [c, cancel] = withCancel(ctx);
    const results = toChannel(group, map(c, input, same));
    cancel();
    await results.receive();
  },
};

describe.each(Object.keys(ways))("by %s", (name) => {
  const end = ways[name] as (typeof ways)[string];

  test("the other stages of a tee go on", async () => {
    const [a, b] = tee(ctx, [1, 2, 3, 4, 5]);
    const rest = watch(collect(ctx, b));
    await turns(3);
    await end(a);
    await turns(5);
    expect(rest.value).toEqual([1, 2, 3, 4, 5]);
  });

  test("the other subscribers of a broadcast go on", async () => {
    const hub = broadcast(ctx, [1, 2, 3, 4, 5]);
    const other = hub.subscribe();
    await end(hub.subscribe());
    expect(await collect(ctx, other)).toEqual([1, 2, 3, 4, 5]);
  });

  test("the stage before it is over", async () => {
    const input = from(ctx, [1]);
    await end(input);
    await turns(2);
    const again = await collect(ctx, input).catch(String);
    expect(again).toBe("Error: a stage is single-use: this one has been iterated before");
  });
});

test("the stage waits for what the stages before it wait for", async () => {
  const makes: ((parent: Context, input: Stage<unknown>) => Stage<unknown>)[] = [
    (parent, input) => map(parent, input, (x) => x),
    (parent, input) => merge(parent, [1], from(ctx, input)),
    (parent, input) => tee(parent, input, 1)[0] as Stage<unknown>,
  ];
  for (const make of makes) {
    for (const parent of [ctx, ended]) {
      const work = new Work<number, void>();
      const [a, b] = tee(ctx, map(ctx, [1, 2], work.fn)) as [Stage<unknown>, Stage<unknown>];
      const first = b[Symbol.asyncIterator]();
      void first.next();
      await turns(2);
      void first.return?.();
      const stage = make(parent, a)[Symbol.asyncIterator]();
      const over = watch((parent === ended ? stage.next() : stage.return?.()) as Promise<unknown>);
      await turns(3);
      expect([over.state, work.running]).toEqual(["pending", [0]]);
      work.finish(0);
      await turns(3);
      expect([over.value, over.reason]).toEqual(parent === ended ? [undefined, ended.err()] : [DONE, undefined]);
      expect(await stage.next()).toEqual(DONE);
    }
  }
});

test("collect and map wait for what the stage waits for, and reject with the context's error", async () => {
  for (const take of [
    (input: Stage<unknown>) => collect(ended, input),
    (input: Stage<unknown>) => errgroup.map(ended, input, String, { limit: 1 }),
  ]) {
    const work = new Work<number, void>();
    const stage = map(ctx, [1], work.fn)[Symbol.asyncIterator]() as AsyncIterableIterator<unknown>;
    void stage.next();
    await turns(2);
    const over = watch(take(stage as unknown as Stage<unknown>));
    await turns(2);
    expect(over.state).toBe("pending");
    work.finish(0);
    await turns(2);
    expect(over.reason).toBe(ended.err());
  }
});

test("a stage that something else iterates goes on", async () => {
  const input = from(ctx, [1, 2, 3]);
  const iterator = input[Symbol.asyncIterator]();
  expect(await iterator.next()).toEqual({ value: 1, done: false });
  await disposed(map(ctx, input, same));
  await refused(collect(ended, input));
  await refused(errgroup.map(ended, input, same, { limit: 1 }));
  expect(await collect(ctx, iterator)).toEqual([2, 3]);
});

test("arguments that are refused end no stage", async () => {
  const input = from(ctx, [1]);
  await expect(errgroup.map(ctx, input, same, { limit: 0 })).rejects.toThrow(RangeError);
  await expect(collect(7 as never, input)).rejects.toThrow(TypeError);
  expect(() => map(ctx, input, 7 as never)).toThrow(TypeError);
  expect(await collect(ctx, input)).toEqual([1]);
});

test("inputs of other kinds are neither opened nor closed", async () => {
  const [source, use] = counted([1, 2]);
  let returned = 0;
  const begun = {
    next: async () => ({ done: false as const, value: 1 }),
    return: async () => ({ done: true as const, value: returned++ }),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
  const stream = new ReadableStream<number>({ start: (controller) => controller.enqueue(7) });
  const { proxy, revoke } = Proxy.revocable([1], {});
  const stages = [source, begun, stream, proxy].map((input) => map(ctx, input as never, same));
  revoke();
  await Promise.all(stages.map(disposed));
  for (const input of [source, begun, stream]) await refused(collect(ended, input as typeof begun));
  await refused(errgroup.map(ended, null as never, same, { limit: 1 }));
  expect([use.opened, returned, stream.locked]).toEqual([0, 0, false]);
  expect(await stream.getReader().read()).toEqual({ value: 7, done: false });
});

test("an input of another copy whose end fails changes nothing", async () => {
  const foreign = {
    [Symbol.asyncIterator]: () => ({ next: async () => DONE as never }),
    [Symbol.for("gopark.v1.endUnopened")]() {
      throw new Error("a fault");
    },
  };
  await disposed(map(ctx, foreign, same));
  await refused(collect(ended, foreign));
});

test("a long chain takes no stack", async () => {
  track("counters");
  const [a, b] = tee(ctx, [1, 2]);
  let last: Stage<number> = a;
  for (let i = 0; i < 5_000; i++) last = map(ctx, last, same);
  const rest = collect(ctx, b);
  await disposed(last);
  expect(await rest).toEqual([1, 2]);
});
