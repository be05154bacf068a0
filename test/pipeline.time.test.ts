/** Stages that wait for time: batch, debounce, throttle. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { batch, collect, debounce, from, type Stage, throttle } from "gopark/pipeline";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { counted, HandSource } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const ctx = background();
const doom = new Error("doomed");
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

beforeEach(() => {
  vi.useFakeTimers();
});

/** Moves the time on, and lets run what that makes ready. */
async function pass(ms: number): Promise<void> {
  await turn();
  await vi.advanceTimersByTimeAsync(ms);
  await turn();
}

/** A consumer that takes results as they come. */
function consume<T>(stage: Stage<T>) {
  const got: T[] = [];
  const end = watch(
    (async () => {
      for await (const result of stage) got.push(result);
    })(),
  );
  return { got, end };
}

function iterate<T>(stage: Stage<T>) {
  const iterator = stage[Symbol.asyncIterator]();
  return {
    next: () => iterator.next(),
    stop: () => (iterator.return as () => Promise<IteratorResult<T>>)(),
  };
}

describe("batch", () => {
  test("cuts the input into arrays, the last of them smaller, none empty", async () => {
    for (let length = 0; length < 8; length++) {
      const got = await collect(ctx, batch(ctx, upTo(length), 3));
      expect(got.flat()).toEqual(upTo(length));
      expect(got.map((b) => b.length)).toEqual([3, 3, 3].slice(0, length / 3).concat(length % 3 || []));
    }
    expect(vi.getTimerCount()).toBe(0);
  });

  test("hands out a smaller one when its first item has waited long enough, and arms no timer without an item", async () => {
    const ch = new Channel<number>();
    const { got, end } = consume(batch(ctx, ch, 3, 100));
    await pass(1000);
    expect([got, vi.getTimerCount()]).toEqual([[], 0]);
    await ch.send(1);
    await pass(60);
    await ch.send(2);
    await pass(39);
    expect(got).toEqual([]);
    await pass(1);
    expect([got, vi.getTimerCount()]).toEqual([[[1, 2]], 0]);
    for (const n of [3, 4, 5, 6]) await ch.send(n);
    await turn();
    expect(got).toEqual([
      [1, 2],
      [3, 4, 5],
    ]);
    await pass(100);
    expect(got[2]).toEqual([6]);
    await ch.send(7);
    ch.close();
    await turn();
    expect([got[3], end.state, vi.getTimerCount()]).toEqual([[7], "fulfilled", 0]);
  });

  test("fills one while another waits for the consumer, and holds the input back then", async () => {
    const [source, use] = counted(upTo(20));
    const { next, stop } = iterate(batch(ctx, source, 3, 50));
    expect(await next()).toEqual({ value: [0, 1, 2], done: false });
    await pass(1000);
    // Two arrays, and one item that the taker holds.
    expect(use.nexts).toBe(3 + 6 + 1);
    expect(await next()).toEqual({ value: [3, 4, 5], done: false });
    await stop();
    expect(use.returns).toBe(1);
  });

  test("drops what it has at an error, and disarms its timer", async () => {
    const source = new HandSource<number>();
    const { next } = iterate(batch(ctx, source, 3, 50));
    const first = watch(next());
    await turn();
    source.give(1);
    await turn();
    expect(vi.getTimerCount()).toBe(1);
    source.fail(doom);
    await turn();
    expect([first.reason, vi.getTimerCount()]).toEqual([doom, 0]);
  });

  test("ends with its context, or when it is left, whatever it waits for", async () => {
    for (const items of [0, 1, 5]) {
      for (const how of ["cancel", "return"]) {
        const [parent, cancel] = withCancel(ctx);
        const ch = new Channel<number>(10);
        for (const n of upTo(items)) ch.trySend(n);
        const { next, stop } = iterate(batch(parent, ch, 2, 50));
        const first = watch(next());
        await turn();
        if (how === "cancel") cancel();
        else await stop();
        await turn();
        if (items < 2)
          expect(first).toMatchObject(how === "cancel" ? { reason: parent.err() } : { value: { done: true } });
        else expect(first.value).toEqual({ value: [0, 1], done: false });
        if (how === "cancel" && items >= 2) await expect(next()).rejects.toBe(parent.err());
        expect(vi.getTimerCount()).toBe(0);
        cancel();
      }
    }
  });
});

describe("debounce", () => {
  test("hands out the last item of each burst when it has been quiet for long enough", async () => {
    const ch = new Channel<string>();
    const { got, end } = consume(debounce(ctx, ch, 100));
    for (const item of ["a", "b", "c"]) {
      await ch.send(item);
      await pass(99);
    }
    expect(got).toEqual([]);
    await pass(1);
    expect([got, vi.getTimerCount()]).toEqual([["c"], 0]);
    await ch.send("d");
    await pass(100);
    expect(got).toEqual(["c", "d"]);
    await ch.send("e");
    ch.close();
    await turn();
    expect([got, end.state, vi.getTimerCount()]).toEqual([["c", "d", "e"], "fulfilled", 0]);
  });

  test("of an input that ends at once gives its last item, and of an empty one nothing", async () => {
    expect(await collect(ctx, debounce(ctx, [1, 2, 3], 100))).toEqual([3]);
    expect(await collect(ctx, debounce(ctx, [], 100))).toEqual([]);
    expect(await collect(ctx, debounce(ctx, [1, undefined], 100))).toEqual([undefined]);
  });

  test("an item that replaces one that was not taken begins a period of its own", async () => {
    const ch = new Channel<number>();
    const { next, stop } = iterate(throttle(ctx, ch, 200));
    const first = watch(next());
    await ch.send(0);
    await pass(250);
    await ch.send(1); // Handed out, and not taken.
    await pass(180);
    await ch.send(2); // Replaces it, 20 ms before the end of its period.
    await turn();
    expect([first.value, await next()]).toEqual([
      { value: 0, done: false },
      { value: 2, done: false },
    ]);
    const last = watch(next());
    await ch.send(3);
    await pass(199);
    expect(last.state).toBe("pending");
    await pass(1);
    expect(last.value).toEqual({ value: 3, done: false });
    await stop();
  });

  test("never holds its input back: what the consumer has not taken is dropped for what is newer", async () => {
    const ch = new Channel<number>();
    const { next } = iterate(debounce(ctx, ch, 100));
    const first = watch(next());
    await ch.send(1);
    await pass(100);
    expect(first.value).toEqual({ value: 1, done: false });
    await ch.send(2);
    await pass(100);
    await ch.send(3); // While 2 waits for the consumer.
    await turn();
    const second = watch(next());
    await turn();
    expect(second.state).toBe("pending");
    await pass(100);
    expect(second.value).toEqual({ value: 3, done: false });
    await ch.send(4);
    await pass(100);
    ch.close();
    await turn();
    expect([(await next()).value, (await next()).done]).toEqual([4, true]);
  });

  test("drops what it has at an error, a cancel or a return, and disarms its timer", async () => {
    for (const how of ["fail", "cancel", "return"]) {
      const [parent, cancel] = withCancel(ctx);
      const source = new HandSource<number>();
      const { next, stop } = iterate(debounce(parent, source, 50));
      const first = watch(next());
      await turn();
      source.give(1);
      await turn();
      expect(vi.getTimerCount()).toBe(1);
      if (how === "fail") source.fail(doom);
      else if (how === "cancel") cancel();
      else await stop();
      await turn();
      expect([first.state, vi.getTimerCount()]).toEqual([how === "return" ? "fulfilled" : "rejected", 0]);
      cancel();
    }
  });
});

describe("throttle", () => {
  test("hands out the first item at once, and the last of each period", async () => {
    const ch = new Channel<number>();
    const { got, end } = consume(throttle(ctx, ch, 100));
    await ch.send(1);
    await turn();
    expect(got).toEqual([1]);
    for (const n of [2, 3, 4]) {
      await ch.send(n);
      await pass(30);
    }
    expect(got).toEqual([1]);
    await pass(10);
    expect(got).toEqual([1, 4]);
    await pass(99);
    await ch.send(5);
    await turn();
    expect(got).toEqual([1, 4]);
    await pass(1);
    expect(got).toEqual([1, 4, 5]);
    await pass(100);
    expect(vi.getTimerCount()).toBe(0);
    await pass(1000);
    await ch.send(6);
    await turn();
    expect(got).toEqual([1, 4, 5, 6]);
    await ch.send(7);
    ch.close();
    await turn();
    expect([got.length, end.state]).toEqual([4, "pending"]);
    await pass(100);
    expect([got, end.state]).toEqual([[1, 4, 5, 6, 7], "fulfilled"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("of an input that is all there gives its first and its last item", async () => {
    const all = watch(collect(ctx, throttle(ctx, [1, 2, 3], 100)));
    await pass(100);
    expect(all.value).toEqual([1, 3]);
    expect(await collect(ctx, throttle(ctx, [1], 100))).toEqual([1]);
    expect(await collect(ctx, throttle(ctx, [], 100))).toEqual([]);
  });

  test("never holds its input back: what the consumer has not taken is replaced", async () => {
    const ch = new Channel<number>();
    const { next, stop } = iterate(throttle(ctx, ch, 100));
    const first = watch(next());
    await ch.send(1);
    await turn();
    expect(first.value).toEqual({ value: 1, done: false });
    for (const n of [2, 3]) await ch.send(n);
    await pass(100);
    for (const n of [4, 5, 6]) await ch.send(n);
    await turn();
    expect(await next()).toEqual({ value: 6, done: false });
    await stop();
  });

  test("ends with its context and when it is left, with a period that runs", async () => {
    for (const how of ["fail", "cancel", "return"]) {
      const [parent, cancel] = withCancel(ctx);
      const source = new HandSource<number>();
      const { next, stop } = iterate(throttle(parent, source, 50));
      const first = watch(next());
      await turn();
      source.give(1);
      await turns(2);
      source.give(2);
      await turn();
      const second = watch(next());
      expect([first.value, vi.getTimerCount()]).toEqual([{ value: 1, done: false }, 1]);
      if (how === "fail") source.fail(doom);
      else if (how === "cancel") cancel();
      else await stop();
      await turn();
      expect([second.state, vi.getTimerCount()]).toEqual([how === "return" ? "fulfilled" : "rejected", 0]);
      cancel();
    }
  });
});

describe.each([2 ** 31, 2 ** 40])("%d ms, over what a host's timer can wait", (ms) => {
  test.each([
    ["batch", (input: Channel<number>) => batch(ctx, input, 5, ms), [[1]]],
    ["debounce", (input: Channel<number>) => debounce(ctx, input, ms), [1]],
  ] as const)("%s waits as long", async (_, make, wanted) => {
    const ch = new Channel<number>();
    const { got, end } = consume<unknown>(make(ch));
    await ch.send(1);
    await pass(ms - 1);
    expect(got).toEqual([]);
    await pass(1);
    expect(got).toEqual(wanted);
    ch.close();
    await turn();
    expect(end.state).toBe("fulfilled");
  });

  test("throttle waits as long", async () => {
    const ch = new Channel<number>();
    const { got, end } = consume(throttle(ctx, ch, ms));
    await ch.send(1);
    await ch.send(2);
    await pass(ms - 1);
    expect(got).toEqual([1]);
    await pass(1);
    expect(got).toEqual([1, 2]);
    ch.close();
    await turn();
    expect(end.state).toBe("fulfilled");
  });
});

test("with Infinity, a batch and a debounce hand out at the end of the input, and arm no timer", async () => {
  const { POSITIVE_INFINITY: never } = Number;
  const ch = new Channel<number>();
  const batches = consume(batch(ctx, ch, 5, never));
  const other = new Channel<number>();
  const lasts = consume(debounce(ctx, other, never));
  for (const n of [1, 2]) await Promise.all([ch.send(n), other.send(n)]);
  await pass(2 ** 40);
  expect([batches.got, lasts.got, vi.getTimerCount()]).toEqual([[], [], 0]);
  ch.close();
  other.close();
  await turn();
  expect([batches.got, lasts.got]).toEqual([[[1, 2]], [2]]);
});

test("they stand behind one another", async () => {
  const ch = new Channel<number>();
  const { got, end } = consume(batch(ctx, throttle(ctx, debounce(ctx, from(ctx, ch), 10), 50), 2, 500));
  for (const n of upTo(6)) {
    await ch.send(n);
    await pass(20);
  }
  ch.close();
  await pass(1000);
  expect(end.state).toBe("fulfilled");
  expect(got.flat()[0]).toBe(0);
  expect(got.flat().at(-1)).toBe(5);
});
