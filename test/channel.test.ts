/** Go's own tests of channels. */
import { Channel, ClosedChannelError } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { select, trySelect } from "gopark/select";
import { afterEach, describe, expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

afterEach(() => track("full"));

describe("TestChan", () => {
  test.each([0, 1, 2, 10])(
    "capacity %d: blocks, keeps order, has the right length, drains after close",
    async (capacity) => {
      const ch = new Channel<number>(capacity);
      expect([ch.len(), ch.cap(), ch.tryReceive()]).toEqual([0, capacity, undefined]);

      const receive = watch(ch.receive());
      await turn();
      expect(receive.state).toBe("pending");
      expect(ch.trySend(0)).toBe(true);
      await turn();
      expect(receive.value).toEqual({ value: 0, ok: true });

      for (let i = 0; i < capacity; i++) expect(ch.trySend(i)).toBe(true);
      expect([ch.trySend(99), ch.len()]).toEqual([false, capacity]);
      const send = watch(ch.send(capacity));
      await turn();
      expect(send.state).toBe("pending");
      for (let i = 0; i <= capacity; i++) expect(ch.tryReceive()).toEqual({ value: i, ok: true });
      await turn();
      expect(send.state).toBe("fulfilled");

      for (let i = 0; i < capacity; i++) ch.trySend(i);
      ch.close();
      for (let i = 0; i < capacity; i++) expect(await ch.receive()).toEqual({ value: i, ok: true });
      for (let i = 0; i < 3; i++) expect(await ch.receive()).toEqual({ value: undefined, ok: false });
    },
  );

  test("fifo: values come out in the order in which they went in, through any number of waiters", async () => {
    const ch = new Channel<number>(3);
    const sends = Array.from({ length: 100 }, (_, i) => ch.send(i));
    for (let i = 0; i < 100; i++) expect((await ch.receive()).value).toBe(i);
    await Promise.all(sends);

    const received = Array.from({ length: 100 }, () => ch.receive());
    for (let i = 0; i < 100; i++) await ch.send(i);
    expect((await Promise.all(received)).map((r) => r.value)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  test("MultiConsumer: each value reaches one of many consumers, and none is lost", async () => {
    const queue = new Channel<number>(23);
    const results = new Channel<number>(23);
    let sum = 0;
    const consumers = Array.from({ length: 23 }, () =>
      go(async () => {
        for await (const v of queue) await results.send(v * 2);
      }),
    );
    const producing = go(async () => {
      for (let i = 1; i <= 1000; i++) {
        sum += i;
        await queue.send(i);
      }
      queue.close();
      await Promise.all(consumers);
      results.close();
    });
    let got = 0;
    for await (const v of results) got += v;
    await producing;
    expect(got).toBe(2 * sum);
  });

  test("goroutines: a value goes through a chain of 10 000 tasks", async () => {
    track("counters");
    const rightmost = new Channel<number>();
    let left = rightmost;
    for (let i = 0; i < 10_000; i++) {
      const right = new Channel<number>();
      const to = left;
      void go(async () => to.send(((await right.receive()).value as number) + 1));
      left = right;
    }
    void left.send(0);
    expect((await rightmost.receive()).value).toBe(10_000);
  });

  test("sieve1: the primes, by a chain of filters", async () => {
    const { ctx, cancel } = withCancel(background());
    const quiet = (task: () => Promise<void>) => void go(task).catch(() => {});
    let ch = new Channel<number>();
    const numbers = ch;
    quiet(async () => {
      for (let i = 2; ; i++) await numbers.send(i, ctx);
    });
    const primes: number[] = [];
    while (primes.length < 25) {
      const prime = (await ch.receive(ctx)).value as number;
      primes.push(prime);
      const from = ch;
      const to = new Channel<number>();
      quiet(async () => {
        for await (const n of from.values(ctx)) if (n % prime !== 0) await to.send(n, ctx);
      });
      ch = to;
    }
    cancel();
    await turn();
    expect(primes.at(-1)).toBe(97);
  });
});

describe("closedchan", () => {
  test.each([0, 1, 5])("every operation on a closed channel of capacity %d", async (capacity) => {
    const ch = new Channel<number>(capacity);
    ch.close();
    expect(await ch.receive()).toEqual({ value: undefined, ok: false });
    expect(ch.tryReceive()).toEqual({ value: undefined, ok: false });
    expect(await select({ ch })).toEqual({ case: "ch", value: undefined, ok: false });
    expect(trySelect({ ch })).toEqual({ case: "ch", value: undefined, ok: false });
    for await (const _ of ch) expect.unreachable();

    const error = (await ch.send(5).catch((e) => e)) as ClosedChannelError<number>;
    expect([error instanceof ClosedChannelError, error.name, error.message, error.value]).toEqual([
      true,
      "ClosedChannelError",
      "send on closed channel",
      5,
    ]);
    expect(() => ch.trySend(6)).toThrow(ClosedChannelError);
    await expect(select({ sent: ch.sending(7) })).rejects.toThrow("send on closed channel");
    expect(() => trySelect({ sent: ch.sending(8) })).toThrow("send on closed channel");
    expect(() => ch.close()).toThrow("close of closed channel");
    expect([ch.len(), ch.cap()]).toEqual([0, capacity]);
  });

  test("close ends all waits: receivers get ok false, senders their value back", async () => {
    const ch = new Channel<number>();
    const receives = [ch.receive(), select({ ch }), ch.values().next()];
    ch.close();
    expect(await Promise.all(receives)).toEqual([
      { value: undefined, ok: false },
      { case: "ch", value: undefined, ok: false },
      { value: undefined, done: true },
    ]);
    const full = new Channel<number>();
    const sends = [watch(full.send(1)), watch(select({ sent: full.sending(2) }))];
    full.close();
    await turn();
    expect(sends.map((s) => (s.reason as ClosedChannelError).value)).toEqual([1, 2]);
  });
});
