/** Streams of the web and of Node as inputs and outputs, and channels as outputs. */
import { Readable } from "node:stream";
import { pipeline as runStreams } from "node:stream/promises";
import { background, withCancel } from "gopark/context";
import { Group, withContext } from "gopark/errgroup";
import { collect, from, map, toChannel, toNodeStream, toWebStream } from "gopark/pipeline";
import { describe, expect, test } from "vitest";
import { collectReported } from "./support/reported.ts";
import { counted, Work } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const ctx = background();
const doom = new Error("doomed");
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** A stream of the web that counts, and whose pulls the test can hold. */
function webStream(items: readonly unknown[], quiet = false) {
  const use = { pulls: 0, canceled: undefined as unknown, cancels: 0 };
  let n = 0;
  const stream = new ReadableStream<unknown>(
    {
      pull(controller) {
        use.pulls++;
        if (n < items.length) controller.enqueue(items[n++]);
        else if (!quiet) controller.close();
      },
      cancel(reason) {
        use.cancels++;
        use.canceled = reason;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, use };
}

describe("a web stream as an input", () => {
  test("gives its chunks, and is unlocked at its end", async () => {
    const { stream, use } = webStream([1, 2, 3]);
    expect(
      await collect(
        ctx,
        map(ctx, stream, (n) => n),
      ),
    ).toEqual([1, 2, 3]);
    expect([stream.locked, use.cancels]).toEqual([false, 0]);
    expect(await collect(ctx, webStream(["a"]).stream)).toEqual(["a"]);
  });

  test("needs no async iterator of its own", async () => {
    const { stream } = webStream([1, 2]);
    const bare = { getReader: () => stream.getReader() } as unknown as ReadableStream<number>;
    expect(await collect(ctx, from(ctx, bare))).toEqual([1, 2]);
  });

  test("is pulled no further than the stage is ahead", async () => {
    const { stream, use } = webStream(upTo(20));
    const iterator = from(ctx, stream)[Symbol.asyncIterator]();
    await iterator.next();
    await turns(3);
    expect(use.pulls).toBe(2);
    await iterator.return?.();
  });

  test("is cancelled by return, even while a read is pending", async () => {
    for (const quiet of [true, false]) {
      const { stream, use } = webStream([1], quiet);
      const iterator = from(ctx, stream)[Symbol.asyncIterator]();
      await iterator.next();
      const second = watch(iterator.next());
      await turn();
      await iterator.return?.();
      expect([second.value, use.cancels, stream.locked]).toEqual([
        { value: undefined, done: true },
        quiet ? 1 : 0,
        false,
      ]);
    }
  });

  test("that errors is the error of the stage, and is unlocked", async () => {
    const stream = new ReadableStream({
      pull() {
        throw doom;
      },
    });
    await expect(collect(ctx, from(ctx, stream))).rejects.toBe(doom);
    expect(stream.locked).toBe(false);
  });

  test("that is locked is the error of the stage", async () => {
    const { stream } = webStream([1]);
    const reader = stream.getReader();
    await expect(collect(ctx, from(ctx, stream))).rejects.toThrow(TypeError);
    reader.releaseLock();
  });

  test("ends with the context", async () => {
    const { stream, use } = webStream([], true);
    const [parent, cancel] = withCancel(ctx);
    const all = watch(
      collect(
        parent,
        map(ctx, stream, (n) => n),
      ),
    );
    await turn();
    cancel();
    await turns(2);
    expect([all.reason, use.cancels]).toEqual([parent.err(), 1]);
  });
});

test("the return of a stage waits until its stream has been cancelled or destroyed, with a read pending", async () => {
  let open = () => {};
  const gate = () => new Promise<void>((resolve) => (open = resolve));
  const web = new ReadableStream<number>({ pull: () => new Promise(() => {}), cancel: gate });
  const node = new Readable({
    read() {},
    destroy(_, callback) {
      void gate().then(() => callback(null));
    },
  });
  for (const stream of [web, node]) {
    const iterator = from<unknown>(ctx, stream)[Symbol.asyncIterator]();
    const next = watch(iterator.next());
    await turns(2);
    const stopped = watch(iterator.return?.() as Promise<unknown>);
    await turns(2);
    expect([next.state, stopped.state]).toEqual(["pending", "pending"]);
    open();
    await turns(2);
    expect([next.state, stopped.state]).toEqual(["fulfilled", "fulfilled"]);
  }
});

describe("a node stream as an input", () => {
  test("gives its chunks", async () => {
    expect(
      await collect(
        ctx,
        map(ctx, Readable.from(["a", "b", "c"]), (c) => c),
      ),
    ).toEqual(["a", "b", "c"]);
  });

  test("is destroyed by return, even while a read is pending", async () => {
    for (const items of [0, 1]) {
      const stream = new Readable({ objectMode: true, read() {} });
      for (const n of upTo(items)) stream.push(n);
      const iterator = map(ctx, stream, (n) => n)[Symbol.asyncIterator]();
      const first = watch(iterator.next());
      await turns(2);
      await iterator.return?.();
      expect([stream.destroyed, first.state]).toEqual([true, "fulfilled"]);
    }
  });

  test("that fails is the error of the stage", async () => {
    const stream = new Readable({
      read() {
        this.destroy(doom);
      },
    });
    await expect(collect(ctx, from(ctx, stream))).rejects.toBe(doom);
  });

  test("ends with the context", async () => {
    const stream = new Readable({ read() {} });
    const [parent, cancel] = withCancel(ctx);
    const all = watch(collect(parent, from(ctx, stream)));
    await turn();
    cancel();
    await turns(3);
    expect([all.reason, stream.destroyed]).toEqual([parent.err(), true]);
  });
});

describe("toWebStream", () => {
  test("carries the results, undefined and null among them", async () => {
    const stream = toWebStream(from(ctx, [1, undefined, null]));
    const got: unknown[] = [];
    for await (const chunk of stream) got.push(chunk);
    expect(got).toEqual([1, undefined, null]);
  });

  test("takes nothing before it is read, and then as much as the stage is ahead", async () => {
    const [source, use] = counted(upTo(20));
    const stream = toWebStream(from(ctx, source));
    await turns(3);
    expect(use.opened).toBe(0);
    const reader = stream.getReader();
    await reader.read();
    await turns(3);
    expect(use.nexts).toBe(2);
    await reader.cancel();
    expect(use.returns).toBe(1);
  });

  test("is stopped by cancel, which waits for the calls, also while a read is pending", async () => {
    const work = new Work<number, number>();
    const reader = toWebStream(map(ctx, upTo(5), work.fn, { concurrency: 2 })).getReader();
    const read = watch(reader.read());
    await turn();
    const canceled = watch(reader.cancel(doom));
    await turn();
    expect([canceled.state, work.contexts[0]?.err() === undefined]).toEqual(["pending", false]);
    for (const index of work.running) work.finish(index, 0);
    await turn();
    expect([canceled.state, read.value]).toEqual(["fulfilled", { value: undefined, done: true }]);
  });

  test("errors with the error of the stage", async () => {
    const reader = toWebStream(map(ctx, [1], () => Promise.reject(doom))).getReader();
    await expect(reader.read()).rejects.toBe(doom);
  });

  test("there and back again", async () => {
    expect(await collect(ctx, toWebStream(from(ctx, upTo(9))))).toEqual(upTo(9));
  });
});

describe("toNodeStream", () => {
  test("carries the results", async () => {
    const got: unknown[] = [];
    for await (const chunk of toNodeStream(from(ctx, ["a", { b: 1 }, undefined]), Readable)) got.push(chunk);
    expect(got).toEqual(["a", { b: 1 }, undefined]);
  });

  test("takes nothing before it is read, and little ahead", async () => {
    const [source, use] = counted(upTo(50));
    const stream = toNodeStream(from(ctx, source), Readable);
    await turns(3);
    expect(use.opened).toBe(0);
    await stream[Symbol.asyncIterator]().next();
    await turns(5);
    expect(use.nexts).toBeLessThanOrEqual(4);
    stream.destroy();
    await turns(3);
    expect(use.returns).toBe(1);
  });

  test("is stopped by destroy, which waits for the calls before `close`", async () => {
    const work = new Work<number, number>();
    const stream = toNodeStream(map(ctx, upTo(5), work.fn), Readable);
    let closed = false;
    stream.on("close", () => {
      closed = true;
    });
    stream.resume();
    await turns(2);
    stream.destroy();
    await turns(2);
    expect([closed, work.contexts[0]?.err() === undefined]).toEqual([false, false]);
    work.finish(0, 0);
    await turns(2);
    expect(closed).toBe(true);
  });

  test("fails with the error of the stage, and destroy's own error is the stream's", async () => {
    const failing = toNodeStream(
      map(ctx, [1], () => Promise.reject(doom)),
      Readable,
    );
    await expect(failing.toArray()).rejects.toBe(doom);
    const [source, use] = counted(upTo(5));
    const stream = toNodeStream(from(ctx, source), Readable);
    const error = new Promise((resolve) => stream.on("error", resolve));
    await stream[Symbol.asyncIterator]().next();
    stream.destroy(doom);
    expect(await error).toBe(doom);
    expect(use.returns).toBe(1);
  });

  test("stands in a pipeline of Node's own", async () => {
    const got: number[] = [];
    await runStreams(toNodeStream(from(ctx, upTo(5)), Readable), async (input) => {
      for await (const n of input as AsyncIterable<number>) got.push(n);
    });
    expect(got).toEqual(upTo(5));
  });
});

describe("toChannel", () => {
  test("sends the results and closes the channel", async () => {
    const [group, inner] = withContext(ctx);
    const results = toChannel(
      group,
      map(inner, upTo(5), (n) => n * 2),
    );
    const got: number[] = [];
    for await (const n of results) got.push(n);
    expect(got).toEqual([0, 2, 4, 6, 8]);
    await group.wait();
  });

  test("closes the channel at an error, which is the group's", async () => {
    const [group, inner] = withContext(ctx);
    const results = toChannel(
      group,
      map(inner, [1], () => Promise.reject(doom)),
    );
    expect(await results.receive()).toEqual({ value: undefined, ok: false });
    await expect(group.wait()).rejects.toBe(doom);
    expect(inner.err()).toBeDefined();
  });

  test("is held back by its receiver and its capacity, and ends with the stage's context", async () => {
    for (const capacity of [0, 2]) {
      const [parent, cancel] = withCancel(ctx);
      const [source, use] = counted(upTo(20));
      const group = new Group();
      const results = toChannel(group, from(parent, source), capacity);
      await turns(3);
      expect([results.cap(), use.nexts]).toEqual([capacity, capacity + 2]);
      cancel();
      await expect(group.wait()).rejects.toBe(parent.err());
      expect(use.returns).toBe(1);
      for (let i = 0; i < capacity; i++) expect((await results.receive()).ok).toBe(true);
      expect((await results.receive()).ok).toBe(false);
    }
  });

  test("counts as the iteration of the stage, and waits for a slot of the group until the context ends", async () => {
    const [parent, cancel] = withCancel(ctx);
    const [source, use] = counted([1]);
    const group = new Group();
    group.setLimit(0);
    const stage = from(parent, source);
    const results = toChannel(group, stage);
    expect(() => stage[Symbol.asyncIterator]()).toThrow("single-use");
    const received = watch(results.receive());
    await turn();
    expect(received.state).toBe("pending");
    cancel();
    await turn();
    expect([received.value, use.opened]).toEqual([{ value: undefined, ok: false }, 0]);
    await group.wait();
  });
});

test("a pipeline from a node stream to a web stream leaves nothing behind when its reader goes", async () => {
  const unhandled = await unhandledDuring(async () => {
    const input = new Readable({ objectMode: true, read() {} });
    input.push(1);
    input.push(2);
    const reader = toWebStream(
      map(
        ctx,
        map(ctx, input, (n) => n, { concurrency: 4 }),
        (n) => n,
      ),
    ).getReader();
    expect((await reader.read()).value).toBe(1);
    await reader.cancel();
    expect(input.destroyed).toBe(true);
  });
  expect(unhandled).toEqual([]);
});

test("a stream of Node whose destroy fails before it is read disturbs nobody", async () => {
  const reported = collectReported();
  const scope = withCancel(ctx);
  const stream = new Readable({ read() {}, destroy: (_, callback) => callback(doom) });
  const next = watch(
    map(scope.ctx, stream, (x) => x)
      [Symbol.asyncIterator]()
      .next(),
  );
  scope.cancel();
  await turns(5);
  expect([next.reason, stream.destroyed, reported]).toEqual([scope.ctx.err(), true, []]);
});
