/** Stages with several inputs or readers: merge, tee, broadcast. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { broadcast, collect, from, map, merge, type Stage, tee } from "gopark/pipeline";
import { describe, expect, test } from "vitest";
import { counted, HandSource, Work } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const ctx = background();
const doom = new Error("doomed");
const DONE = { value: undefined, done: true };
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

function iterate<T>(stage: Stage<T>) {
  const iterator = stage[Symbol.asyncIterator]();
  return {
    next: () => iterator.next(),
    stop: () => (iterator.return as () => Promise<IteratorResult<T>>)(),
  };
}

function* forever(use?: { closed: boolean }) {
  try {
    for (let n = 0; ; n++) yield n;
  } finally {
    if (use !== undefined) use.closed = true;
  }
}

describe("merge", () => {
  test("gives all items of all inputs, those of each in their order", async () => {
    const inputs = [
      upTo(10),
      new Set(upTo(3).map((n) => n + 100)),
      from(
        ctx,
        upTo(5).map((n) => n + 200),
      ),
    ];
    const all = await collect(ctx, merge(ctx, ...inputs));
    expect(all.filter((n) => n < 100)).toEqual(upTo(10));
    expect(all.filter((n) => n >= 100 && n < 200)).toEqual([100, 101, 102]);
    expect(all.filter((n) => n >= 200)).toEqual([200, 201, 202, 203, 204]);
    expect(all).toHaveLength(18);
  });

  test("of nothing ends at once, and of one input is that", async () => {
    expect(await collect(ctx, merge(ctx))).toEqual([]);
    expect(await collect(ctx, merge(ctx, [1, 2]))).toEqual([1, 2]);
  });

  test("a quiet input holds no other back, and a quick one does not run ahead while others have something", async () => {
    const quiet = new HandSource<string>();
    const [quick, use] = counted(upTo(10).map(String));
    const { next, stop } = iterate(merge(ctx, quiet, quick));
    for (let n = 0; n < 5; n++) expect(await next()).toEqual({ value: `${n}`, done: false });
    await turns(2);
    expect(use.nexts).toBe(6);
    quiet.give("late");
    await turns(2);
    expect(use.nexts).toBe(6);
    expect([await next(), await next()].map(({ value }) => value)).toEqual(["5", "late"]);
    const stopped = watch(stop());
    await turn();
    expect([stopped.state, use.returns, quiet.returns]).toEqual(["fulfilled", 1, 1]);
  });

  test("stops all inputs at the first error, and rejects when all are closed", async () => {
    const bad = new HandSource<number>();
    const work = new Work<number, number>();
    const [source, use] = counted(upTo(5));
    const { next } = iterate(merge(ctx, bad, map(ctx, source, work.fn)));
    const first = watch(next());
    await turn();
    bad.fail(doom);
    await turn();
    expect([first.state, use.returns]).toEqual(["pending", 1]);
    work.finish(0, 1);
    await turn();
    expect(first.reason).toBe(doom);
    expect(await next()).toEqual(DONE);
  });

  test("goes on with the others when an input ends", async () => {
    const [a, b] = [new Channel<number>(), new Channel<number>()];
    const all = watch(collect(ctx, merge(ctx, a, b)));
    await a.send(1);
    a.close();
    await b.send(2);
    await b.send(3);
    await turn();
    expect(all.state).toBe("pending");
    b.close();
    await turn();
    expect(all.value).toEqual([1, 2, 3]);
  });
});

describe("tee", () => {
  test("gives every reader every item", async () => {
    const [a, b] = tee(ctx, upTo(20));
    expect(await Promise.all([collect(ctx, a), collect(ctx, b)])).toEqual([upTo(20), upTo(20)]);
    const four = tee(ctx, from(ctx, upTo(5)), 4);
    expect(await Promise.all(four.map((stage) => collect(ctx, stage)))).toEqual(Array(4).fill(upTo(5)));
    expect(await Promise.all(tee(ctx, [1], 1).map((stage) => collect(ctx, stage)))).toEqual([[1]]);
  });

  test("opens its input with the first next of any, and goes at the pace of the slowest", async () => {
    const [source, use] = counted(upTo(10));
    const [a, b] = tee(ctx, source).map(iterate) as [ReturnType<typeof iterate>, ReturnType<typeof iterate>];
    await turns(2);
    expect(use.opened).toBe(0);
    expect(await a.next()).toEqual({ value: 0, done: false });
    const second = watch(a.next());
    await turns(3);
    // The second item is not handed to b while the first waits for it. For the slower reader, one is taken ahead.
    expect([use.nexts, second.value]).toEqual([2, { value: 1, done: false }]);
    const third = watch(a.next());
    await turns(3);
    expect([use.nexts, third.state]).toEqual([2, "pending"]);
    expect(await b.next()).toEqual({ value: 0, done: false });
    await turns(3);
    expect([use.nexts, third.value]).toEqual([3, { value: 2, done: false }]);
    const stopped = [watch(a.stop()), watch(b.stop())];
    await turn();
    expect([stopped.map(({ state }) => state), use.returns]).toEqual([["fulfilled", "fulfilled"], 1]);
  });

  test("with one reader gone goes on for the other", async () => {
    for (const begun of [true, false]) {
      const [source, use] = counted(upTo(6));
      const [a, b] = tee(ctx, source);
      const first = iterate(a);
      const rest = watch(collect(ctx, b));
      if (begun) await first.next();
      await turns(2);
      expect(rest.state).toBe("pending");
      expect(await first.stop()).toEqual(DONE);
      await turns(5);
      expect(rest.value).toEqual(upTo(6));
      expect(use.returns).toBe(0);
    }
  });

  test("closes its input when the last reader has gone, and that one waits for it", async () => {
    const work = new Work<number, number>();
    const use = { closed: false };
    const [a, b] = tee(ctx, map(ctx, forever(use), work.fn)).map(iterate) as [
      ReturnType<typeof iterate>,
      ReturnType<typeof iterate>,
    ];
    const next = watch(a.next());
    await turn();
    expect(await b.stop()).toEqual(DONE);
    const stopped = watch(a.stop());
    await turn();
    expect([stopped.state, use.closed]).toEqual(["pending", true]);
    work.finish(0, 0);
    await turn();
    expect([stopped.value, next.value]).toEqual([DONE, DONE]);
  });

  test("of which no reader is iterated opens nothing", async () => {
    const [source, use] = counted(upTo(6));
    for (const stage of tee(ctx, source, 3)) await stage[Symbol.asyncDispose]();
    expect(use.opened).toBe(0);
  });

  test("rejects every reader with the error of the input", async () => {
    const source = new HandSource<number>();
    const [a, b] = tee(ctx, source).map(iterate) as [ReturnType<typeof iterate>, ReturnType<typeof iterate>];
    const nexts = [watch(a.next()), watch(b.next())];
    await turn();
    source.fail(doom);
    await turn();
    expect(nexts.map(({ reason }) => reason)).toEqual([doom, doom]);
    expect([await a.next(), await b.next()]).toEqual([DONE, DONE]);
  });

  test("ends with its context, for every reader, waiting or away", async () => {
    const [parent, cancel] = withCancel(ctx);
    const use = { closed: false };
    const [a, b] = tee(parent, forever(use)).map(iterate) as [ReturnType<typeof iterate>, ReturnType<typeof iterate>];
    await a.next();
    await b.next();
    await turn();
    cancel();
    await turn();
    expect(use.closed).toBe(true);
    await expect(a.next()).rejects.toBe(parent.err());
    await expect(b.next()).rejects.toBe(parent.err());
  });
});

describe("broadcast", () => {
  test("gives a subscriber what comes from its subscription on", async () => {
    const ch = new Channel<number>();
    const hub = broadcast(ctx, ch);
    const first = watch(collect(ctx, hub.subscribe()));
    await ch.send(1);
    await turn();
    const second = watch(collect(ctx, hub.subscribe()));
    await ch.send(2);
    await ch.send(3);
    ch.close();
    await turn();
    expect([first.value, second.value]).toEqual([
      [1, 2, 3],
      [2, 3],
    ]);
    expect(await collect(ctx, hub.subscribe())).toEqual([]);
  });

  test.each([
    { slow: "dropOldest", buffer: 1, kept: [9] },
    { slow: "dropNewest", buffer: 1, kept: [0] },
    { slow: "dropOldest", buffer: 3, kept: [7, 8, 9] },
    { slow: "dropNewest", buffer: 3, kept: [0, 1, 2] },
  ] as const)(
    "a subscriber that is away keeps $kept of ten under $slow of $buffer, and holds nobody back",
    async ({ slow, buffer, kept }) => {
      const hub = broadcast(ctx, upTo(10));
      const away = hub.subscribe({ slow, buffer });
      expect(await collect(ctx, hub.subscribe())).toEqual(upTo(10));
      expect(await collect(ctx, away)).toEqual(kept);
    },
  );

  test("under block, the slow one holds all back by its buffer", async () => {
    const [source, use] = counted(upTo(10));
    const hub = broadcast(ctx, source);
    const slow = iterate(hub.subscribe({ buffer: 3, slow: "block" }));
    const quick = watch(collect(ctx, hub.subscribe()));
    await turns(10);
    expect([use.nexts, quick.state]).toEqual([4, "pending"]);
    await slow.next();
    await turns(10);
    expect(use.nexts).toBe(5);
    await slow.stop();
    await turns(10);
    expect(quick.value).toEqual(upTo(10));
  });

  test("one that is waiting misses nothing under any policy", async () => {
    for (const slow of ["block", "dropOldest", "dropNewest"] as const) {
      async function* later() {
        for (const n of upTo(8)) {
          await turns(2);
          yield n;
        }
      }
      const hub = broadcast(ctx, later());
      expect(await collect(ctx, hub.subscribe({ slow }))).toEqual(upTo(8));
    }
  });

  test("an endless ready input with subscribers that only drop leaves the event loop its turns", async () => {
    const use = { closed: false };
    const hub = broadcast(ctx, forever(use));
    const one = iterate(hub.subscribe({ slow: "dropNewest" }));
    await one.next();
    await turns(2);
    await one.stop();
    expect(use.closed).toBe(true);
  });

  test("rejects a subscriber that is iterated after the error of the input, and one that comes later ends at once", async () => {
    const source = new HandSource<number>();
    const hub = broadcast(ctx, source);
    const late = iterate(hub.subscribe({ buffer: 5 }));
    const first = watch(collect(ctx, hub.subscribe()));
    await turn();
    source.give(1);
    await turn();
    source.fail(doom);
    await turn();
    expect(first.reason).toBe(doom);
    expect(await late.next()).toEqual({ value: 1, done: false });
    await expect(late.next()).rejects.toBe(doom);
    expect(await collect(ctx, hub.subscribe())).toEqual([]);
  });

  test("has ended when the last subscriber has left", async () => {
    const [source, use] = counted(upTo(10));
    const hub = broadcast(ctx, source);
    const first = iterate(hub.subscribe());
    await first.next();
    for await (const _ of hub.subscribe()) break;
    const third = iterate(hub.subscribe());
    await turn();
    expect(await first.stop()).toEqual(DONE);
    expect(use.returns).toBe(0);
    expect(await third.stop()).toEqual(DONE);
    expect(use.returns).toBe(1);
    expect(await collect(ctx, hub.subscribe())).toEqual([]);
  });
});
