/** A channel's iterator as other code uses it: generators that delegate to it, streams, and workers that share one. */
import { once } from "node:events";
import { Readable } from "node:stream";
import { Channel, type ReceiveChannel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { describe, expect, test } from "vitest";
import { foreign } from "./support/foreign.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const boom = new Error("boom");

/** A generator that hands on what the channel gives. */
async function* relay<T>(ch: ReceiveChannel<T>): AsyncGenerator<T> {
  yield* ch;
}

/** A channel that has buffered the values. */
function holding<T>(...values: T[]): Channel<T> {
  const ch = new Channel<T>(values.length);
  for (const value of values) ch.trySend(value);
  return ch;
}

/** Parks three nexts, and notes in which order they settle. */
function parked(ch: Channel<string>, cancel?: AbortSignal): [AsyncIterator<string>, string[]] {
  const values = ch.values(cancel);
  const order: string[] = [];
  for (const name of ["first", "second", "third"]) {
    values.next().then(
      ({ done, value }) => order.push(`${name} ${done ? "done" : value}`),
      () => order.push(`${name} rejected`),
    );
  }
  return [values, order];
}

test("it inherits what every async iterator inherits", () => {
  // %AsyncIteratorPrototype%, which has no name: above the prototype of all async generators.
  const AsyncIteratorPrototype: object = Object.getPrototypeOf(Object.getPrototypeOf(relay.prototype));
  const ch = new Channel<number>();
  for (const values of [ch.values(), ch[Symbol.asyncIterator](), ch.values(background())]) {
    expect(Object.prototype.isPrototypeOf.call(AsyncIteratorPrototype, values)).toBe(true);
    expect(values[Symbol.asyncIterator]()).toBe(values);
  }
});

describe("throw", () => {
  test("ends the iterator and rejects with the error; the channel stays open and keeps its values", async () => {
    const ch = holding(1, 2);
    const values = ch.values();
    expect(await values.next()).toEqual({ value: 1, done: false });
    await expect(values.throw?.(boom)).rejects.toBe(boom);
    expect(await values.next()).toEqual({ value: undefined, done: true });
    expect(ch.tryReceive()).toEqual({ value: 2, ok: true });
    expect(ch.trySend(3)).toBe(true);
  });

  test.each([undefined, null, "text"])("rejects with %o if that is what it is given", async (reason) => {
    const values = new Channel<number>().values();
    expect(await values.throw?.(reason).then(null, (error: unknown) => [error])).toEqual([reason]);
    expect((await values.next()).done).toBe(true);
  });

  test("rejects on an iterator that is over too", async () => {
    const values = new Channel<number>().values();
    await values.return?.();
    await expect(values.throw?.(boom)).rejects.toBe(boom);
  });

  test("ends parked nexts, oldest first, and leaves no place in the queue", async () => {
    const ch = new Channel<string>();
    const [values, order] = parked(ch);
    await expect(values.throw?.(boom)).rejects.toBe(boom);
    await turn();
    expect(order).toEqual(["first done", "second done", "third done"]);
    expect(ch.trySend("no receiver")).toBe(false);
  });
});

describe("parked nexts settle oldest first", () => {
  test("when the iterator is left", async () => {
    const ch = new Channel<string>();
    const [values, order] = parked(ch);
    await values.return?.();
    await turn();
    expect(order).toEqual(["first done", "second done", "third done"]);
    expect(ch.trySend("no receiver")).toBe(false);
  });

  test("when the iterator is left after some were served", async () => {
    const ch = new Channel<string>();
    const [values, order] = parked(ch);
    ch.trySend("a");
    void values.next().then(({ done }) => order.push(`fourth ${done ? "done" : "value"}`));
    await values.return?.();
    await turn();
    expect(order).toEqual(["first a", "second done", "third done", "fourth done"]);
  });

  test("when the channel is closed", async () => {
    const ch = new Channel<string>();
    const [, order] = parked(ch);
    ch.close();
    await turn();
    expect(order).toEqual(["first done", "second done", "third done"]);
  });

  test("when their signal is aborted", async () => {
    const ch = new Channel<string>();
    const { ctx, cancel } = withCancel(background());
    const [, order] = parked(ch, ctx.signal);
    cancel();
    await turn();
    expect(order).toEqual(["first rejected", "second rejected", "third rejected"]);
  });

  test("with nexts of other iterators between them, each iterator ends its own", async () => {
    const ch = new Channel<string>();
    const mine = ch.values();
    const other = ch.values();
    const nexts = [mine.next(), other.next(), mine.next(), other.next()].map(watch);
    await mine.return?.();
    await turn();
    expect(nexts.map(({ state }) => state)).toEqual(["fulfilled", "pending", "fulfilled", "pending"]);
    ch.trySend("a");
    ch.trySend("b");
    await turn();
    expect(nexts.map(({ value }) => (value as IteratorResult<string>).value)).toEqual([undefined, "a", undefined, "b"]);
  });
});

describe("a generator that delegates to it", () => {
  test("passes an error thrown into it through", async () => {
    const ch = holding(1, 2);
    const values = relay(ch);
    expect(await values.next()).toEqual({ value: 1, done: false });
    await expect(values.throw(boom)).rejects.toBe(boom);
    expect(await values.next()).toEqual({ value: undefined, done: true });
    expect(ch.tryReceive()).toEqual({ value: 2, ok: true });
  });

  test("may catch that error, and goes on after the loop", async () => {
    async function* patient() {
      try {
        yield* holding(1, 2);
      } catch (error) {
        yield error;
      }
    }
    const values = patient();
    await values.next();
    expect(await values.throw(boom)).toEqual({ value: boom, done: false });
    expect((await values.next()).done).toBe(true);
  });

  test("as the source of a stream keeps the error with which the stream is destroyed", async () => {
    const ch = holding(1, 2, 3, 4);
    const stream = Readable.from(relay(ch), { highWaterMark: 1 });
    await once(stream, "readable");
    const failed = once(stream, "error");
    stream.destroy(boom);
    expect(await failed).toEqual([boom]);
    expect(ch.len()).toBeGreaterThan(0);
  });

  test("as the source of a stream ends quietly when the stream is destroyed without an error", async () => {
    const stream = Readable.from(relay(holding(1, 2, 3, 4)), { highWaterMark: 1 });
    const errors: unknown[] = [];
    stream.on("error", (error) => errors.push(error));
    await once(stream, "readable");
    const closed = once(stream, "close");
    stream.destroy();
    await closed;
    expect(errors).toEqual([]);
  });
});

test("the iterator itself as the source of a stream keeps the error", async () => {
  const stream = Readable.from(holding(1, 2, 3, 4), { highWaterMark: 1 });
  await once(stream, "readable");
  const failed = once(stream, "error");
  stream.destroy(boom);
  expect(await failed).toEqual([boom]);
});

test("a foreign context that calls return while next polls it ends that next", async () => {
  const ch = new Channel<number>();
  let returned: Promise<unknown> | undefined;
  const ctx = foreign({
    err: () => {
      returned ??= values.return?.();
      return undefined;
    },
  });
  const values: AsyncIterator<number> = ch.values(ctx);
  const next = watch(values.next());
  await turn();
  expect([next.state, next.value]).toEqual(["fulfilled", { value: undefined, done: true }]);
  expect(await returned).toEqual({ value: undefined, done: true });
  expect(ch.trySend(1)).toBe(false);
});
