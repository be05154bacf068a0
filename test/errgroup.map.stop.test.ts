/** map and forEach where something fails: what is cancelled, what is waited for, and which error it is. */
import { Channel } from "gopark/channel";
import { background, type Context, cause, withCancel, withTimeout } from "gopark/context";
import { counters } from "gopark/leak";
import { describe, expect, test, vi } from "vitest";
import { counted, HandSource, runners, Work } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const doom = new Error("doomed");

/** All the whole numbers. */
function* numbers() {
  for (let n = 0; ; n++) yield n;
}

async function* numbersLater() {
  for (const n of numbers()) {
    await turn();
    yield n;
  }
}

const endless = [
  { what: "sync", items: () => counted(numbers()) },
  { what: "async", items: () => counted(numbersLater()) },
];

describe.each(["map", "forEach"] as const)("%s", (name) => {
  const run = runners[name];

  describe("when a call of fn fails", () => {
    test.each(endless)("cancels the others with its error as the cause, $what source", async ({ items }) => {
      const [source] = items();
      const work = new Work<number, void>();
      const done = watch(run(background(), source, work.fn, { limit: 3 }));
      await turns(5);
      expect(work.running).toEqual([0, 1, 2]);
      work.fail(1, doom);
      await turn();
      for (const ctx of work.contexts) {
        expect(ctx.err()?.message).toBe("context canceled");
        expect(cause(ctx)).toBe(doom);
      }
      work.finish(0);
      work.finish(2);
      await turns(2);
      expect(done.reason).toBe(doom);
    });

    test.each(endless)(
      "calls return() of a $what source once, and at once; takes nothing more from it",
      async ({ items }) => {
        const [source, use] = items();
        const work = new Work<number, void>();
        const done = watch(run(background(), source, work.fn, { limit: 3 }));
        await turns(5);
        work.fail(1, doom);
        await turn();
        expect(use).toEqual({ opened: 1, nexts: 3, returns: 1, pending: 0, overlaps: 0 });

        for (const index of [0, 2]) {
          work.finish(index);
          await turns(3);
          expect([work.items.length, use.nexts, use.returns]).toEqual([3, 3, 1]);
        }
        expect([done.state, done.reason]).toEqual(["rejected", doom]);
      },
    );

    test("waits for those that run", async () => {
      const work = new Work<number, void>();
      const done = watch(run(background(), numbers(), work.fn, { limit: 3 }));
      await turn();
      work.fail(0, doom);
      for (const index of [2, 1]) {
        await turns(3);
        expect(done.state).toBe("pending");
        work.finish(index);
      }
      await turn();
      expect(done.reason).toBe(doom);
    });

    test("keeps the first error, whatever the others end with", async () => {
      const work = new Work<number, void>();
      const [parent, cancel] = withCancel(background());
      const unhandled = await unhandledDuring(async () => {
        const done = watch(run(parent, numbers(), work.fn, { limit: 4 }));
        await turn();
        work.fail(2, doom);
        await turn();
        work.fail(0, new Error("later"));
        work.fail(1, (work.contexts[1] as Context).err());
        await turn();
        cancel(new Error("later still"));
        work.fail(3, undefined);
        await turn();
        expect([done.state, done.reason]).toEqual(["rejected", doom]);
      });
      expect(unhandled).toEqual([]);
    });

    test("in a source that has ended, its return() is not called", async () => {
      const [source, use] = counted(["a", "b"]);
      const work = new Work<string, void>();
      const done = watch(run(background(), source, work.fn, { limit: 3 }));
      await turn();
      expect(use.nexts).toBe(3);
      work.fail(0, doom);
      await turn();
      expect([cause(work.contexts[1] as Context), done.state]).toEqual([doom, "pending"]);
      work.finish(1);
      await turn();
      expect([done.reason, use.nexts, use.returns]).toEqual([doom, 3, 0]);
    });

    test("in the last call of all, that is the end of it", async () => {
      const work = new Work<number, void>();
      const done = watch(run(background(), [7], work.fn, { limit: 1 }));
      await turn();
      work.fail(0, doom);
      await turn();
      expect(done.reason).toBe(doom);
    });

    test("synchronously, it is the same: with one slot, nothing more is taken", async () => {
      const [source, use] = counted(numbers());
      const ran: number[] = [];
      const fn = (n: number) => {
        ran.push(n);
        if (n === 2) throw doom;
      };
      await expect(run(background(), source, fn, { limit: 1 })).rejects.toBe(doom);
      expect([ran, use.nexts, use.returns]).toEqual([[0, 1, 2], 3, 1]);
    });

    test.each([2, 3, 8])("synchronously, with %d slots, no more is taken than was at hand", async (limit) => {
      const [source, use] = counted(numbers());
      const ran: number[] = [];
      const fn = (n: number) => {
        ran.push(n);
        throw doom;
      };
      await expect(run(background(), source, fn, { limit })).rejects.toBe(doom);
      expect(use.nexts).toBeLessThanOrEqual(limit);
      expect(ran).toEqual(Array.from({ length: use.nexts }, (_, i) => i));
      expect(use.returns).toBe(1);
    });

    test.each([undefined, null, 0, "", false, Number.NaN, "no", Object.freeze({ code: 1 })])(
      "with %o, which is no Error, rejects with exactly that",
      async (reason) => {
        const hows = [() => Promise.reject(reason), () => turn().then(() => Promise.reject(reason))];
        const throwing = () => {
          throw reason;
        };
        const unhandled = await unhandledDuring(async () => {
          for (const fail of [...hows, throwing]) {
            const work = new Work<number, void>();
            const [source, use] = counted(numbers());
            const fn = (n: number, ctx: Context, index: number) => (n === 1 ? fail() : work.fn(n, ctx, index));
            const done = watch(run(background(), source, fn, { limit: 2 }));
            await turns(3);
            expect(work.contexts[0]?.err()).toBeDefined();
            work.finish(0);
            await turn();
            expect(done.state).toBe("rejected");
            expect(Object.is(done.reason, reason)).toBe(true);
            expect([use.nexts, use.returns]).toEqual([2, 1]);
          }
        });
        expect(unhandled).toEqual([]);
      },
    );
  });

  describe("when the caller's context ends", () => {
    test.each(endless)("before, opens nothing, $what source", async ({ items }) => {
      const [source, use] = items();
      let calls = 0;
      const [parent, cancel] = withCancel(background());
      cancel(doom);
      await expect(run(parent, source, () => calls++, { limit: 2 })).rejects.toBe(parent.err());
      const gone = new Error("client went away");
      await expect(run(AbortSignal.abort(gone), source, () => calls++, { limit: 2 })).rejects.toBe(gone);
      expect([calls, use.opened, use.nexts]).toEqual([0, 0, 0]);
    });

    test("before, rejects even where there is nothing to do", async () => {
      const [parent, cancel] = withCancel(background());
      cancel();
      await expect(run(parent, [], () => {}, { limit: 2 })).rejects.toBe(parent.err());
    });

    test.each(endless)("during, rejects with its error once all have ended, $what source", async ({ items }) => {
      const [source, use] = items();
      const work = new Work<number, void>();
      const [parent, cancel] = withCancel(background());
      const done = watch(run(parent, source, work.fn, { limit: 2 }));
      await turns(5);
      cancel(doom);
      await turn();
      expect(use).toEqual({ opened: 1, nexts: 2, returns: 1, pending: 0, overlaps: 0 });
      expect(work.contexts.map(cause)).toEqual([doom, doom]);

      work.finish(0);
      await turns(3);
      expect([work.items.length, use.nexts, done.state]).toEqual([2, 2, "pending"]);
      work.fail(1, new Error("later"));
      await turn();
      expect([done.state, done.reason]).toEqual(["rejected", parent.err()]);
      expect(use.returns).toBe(1);
    });

    test("that is a signal, during: rejects with the signal's reason", async () => {
      const work = new Work<number, void>();
      const controller = new AbortController();
      const done = watch(run(controller.signal, numbers(), work.fn, { limit: 2 }));
      await turn();
      controller.abort(doom);
      await turn();
      expect(work.contexts.map(cause)).toEqual([doom, doom]);
      work.fail(0, work.contexts[0]?.err());
      work.finish(1);
      await turn();
      expect([done.state, done.reason]).toEqual(["rejected", doom]);
    });

    test("by its deadline, it is the same", async () => {
      vi.useFakeTimers();
      const work = new Work<number, void>();
      const [source, use] = counted(numbers());
      using scope = withTimeout(background(), 50);
      const done = watch(run(scope.ctx, source, work.fn, { limit: 1 }));
      await turn();
      vi.advanceTimersByTime(50);
      await turn();
      expect([use.returns, work.contexts[0]?.err()]).toEqual([1, scope.ctx.err()]);
      work.finish(0);
      await turn();
      expect(done.reason).toBe(scope.ctx.err());
    });

    test.each([
      { limit: 1, returns: 1 },
      { limit: 2, returns: 0 },
    ])("while the last call runs, rejects, though it succeeds, limit $limit", async ({ limit, returns }) => {
      const [source, use] = counted(["a"]);
      const work = new Work<string, string>();
      const [parent, cancel] = withCancel(background());
      const done = watch(run(parent, source, work.fn, { limit }));
      await turn();
      cancel();
      work.finish(0, "A");
      await turn();
      // With a free slot the source was pulled again, and has ended.
      expect([done.state, done.reason, use.returns]).toEqual(["rejected", parent.err(), returns]);
    });

    test.each(["wraps one of ours", "is not made of ours"])(
      "that %s and makes a new error at each call: rejects, though the last call succeeds",
      async (shape) => {
        const inner = withCancel(background());
        const parent: Context = {
          deadline: () => undefined,
          done: () => inner.ctx.done(),
          err: () => inner.ctx.err() && new Error("ended", { cause: inner.ctx.err() }),
          value: (key: unknown) => (shape === "wraps one of ours" ? inner.ctx.value(key) : undefined),
          signal: inner.ctx.signal,
        };
        const work = new Work<string, string>();
        const running = watch(run(parent, ["a"], work.fn, { limit: 2 }));
        await turn();
        inner.cancel();
        await turn();
        expect(work.contexts[0]?.err()).toBeDefined();
        work.finish(0, "A");
        await turn();
        const reason = shape === "wraps one of ours" ? inner.ctx.err() : parent.err();
        expect([running.state, String(running.reason)]).toEqual(["rejected", String(reason)]);
      },
    );

    test.each([1, 2])(
      "while the last call runs, and it fails of something else: the result is its own error, limit %d",
      async (limit) => {
        const work = new Work<string, string>();
        const [parent, cancel] = withCancel(background());
        const done = watch(run(parent, ["a"], work.fn, { limit }));
        await turn();
        cancel(doom);
        work.fail(0, new Error("later"));
        await turn();
        expect([done.state, done.reason]).toEqual(["rejected", parent.err()]);
      },
    );

    test("by fn itself, with one slot: nothing more is taken", async () => {
      const [parent, cancel] = withCancel(background());
      const [source, use] = counted(numbers());
      const done = watch(run(parent, source, () => cancel(), { limit: 1 }));
      await turns(2);
      expect([done.state, done.reason, use.nexts, use.returns]).toEqual(["rejected", parent.err(), 1, 1]);
    });

    test("while next() is pending and nothing runs, rejects without waiting for it", async () => {
      const source = new HandSource<number>();
      const [parent, cancel] = withCancel(background());
      const work = new Work<number, void>();
      const done = watch(run(parent, source, work.fn, { limit: 2 }));
      await turn();
      cancel();
      await turn();
      expect([done.state, done.reason, source.returns]).toEqual(["rejected", parent.err(), 1]);
      source.give(1);
      await turn();
      expect([work.items, source.nexts, source.returns]).toEqual([[], 1, 1]);
    });

    test("and a channel's values were asked with it, no receive is left behind", async () => {
      const ch = new Channel<number>();
      const [parent, cancel] = withCancel(background());
      const work = new Work<number, void>();
      const done = watch(run(parent, ch.values(parent), work.fn, { limit: 2 }));
      await turn();
      expect(ch.trySend(1)).toBe(true);
      await turn();
      cancel();
      work.finish(0);
      await turns(2);
      expect([done.reason, ch.trySend(2)]).toEqual([parent.err(), false]);
    });
  });

  describe("when the source fails", () => {
    function* failing() {
      yield* [0, 1];
      throw doom;
    }
    async function* failingLater() {
      await turn();
      yield* failing();
    }

    test.each([
      { what: "sync", items: () => counted(failing()) },
      { what: "async", items: () => counted(failingLater()) },
    ])("cancels and waits for the calls that run, and rejects with its error: $what", async ({ items }) => {
      const [source, use] = items();
      const work = new Work<number, void>();
      const done = watch(run(background(), source, work.fn, { limit: 5 }));
      await turns(3);
      expect(work.running).toEqual([0, 1]);
      expect(work.contexts.map(cause)).toEqual([doom, doom]);
      work.fail(1, new Error("later"));
      await turns(2);
      expect(done.state).toBe("pending");
      work.finish(0);
      await turns(2);
      expect([done.state, done.reason]).toEqual(["rejected", doom]);
      // The return() of a source that has thrown is not called.
      expect([use.nexts, use.returns]).toEqual([3, 0]);
    });

    test.each([undefined, null, 0, ""])("with %o, rejects with exactly that", async (reason) => {
      const source = new HandSource<number>();
      const work = new Work<number, void>();
      const done = watch(run(background(), source, work.fn, { limit: 2 }));
      await turn();
      source.give(1);
      await turn();
      source.fail(reason);
      await turn();
      expect(work.contexts[0]?.err()).toBeDefined();
      work.fail(0, new Error("later"));
      await turn();
      expect([done.state, done.reason, source.returns]).toEqual(["rejected", reason, 0]);
    });

    test("at its first item, nothing has run", async () => {
      let calls = 0;
      const source = new HandSource<number>();
      const done = watch(run(background(), source, () => calls++, { limit: 2 }));
      await turn();
      source.fail(doom);
      await turn();
      expect([done.reason, calls, source.returns]).toEqual([doom, 0, 0]);
    });
  });
});

test("a stop leaves nothing behind, even where the calls listen to their context", async () => {
  const before = counters();
  const [parent, cancel] = withCancel(background());
  const gate = new Channel<void>();
  const done = watch(runners.map(parent, numbersLater(), (_, ctx) => gate.receive(ctx), { limit: 3 }));
  await turns(6);
  cancel(doom);
  await turns(2);
  expect(done.reason).toBe(parent.err());
  expect(counters()).toEqual(before);
});

test.each(Object.keys(runners) as (keyof typeof runners)[])(
  "%s over a channel takes no value that is sent after the cancel",
  async (name) => {
    const ch = new Channel<number>();
    const { ctx, cancel } = withCancel(background());
    const running = watch(runners[name](ctx, ch, () => {}, { limit: 2 }));
    await turns(2);
    cancel();
    expect(ch.trySend(1)).toBe(false);
    await turns(3);
    expect(running.reason).toBe(ctx.err());
  },
);

test("two maps that take from one iterator of a channel end each with its own context", async () => {
  const ch = new Channel<string>();
  const values = ch.values();
  const [first, second] = [withCancel(background()), withCancel(background())];
  const got: string[] = [];
  const take = (ctx: Context, who: string) =>
    watch(runners.map(ctx, values, (value) => void got.push(`${who} ${value}`), { limit: 1 }));
  const one = take(first.ctx, "one");
  await turns(2);
  const two = take(second.ctx, "two");
  await turns(2);
  await ch.send("x"); // The first one asks again, after both have begun.
  await turns(2);
  first.cancel();
  // What waits for the first map is gone, and the second one waits.
  expect([ch.trySend("a"), ch.trySend("b")]).toEqual([true, false]);
  await turns(3);
  expect([one.reason, got]).toEqual([first.ctx.err(), ["one x", "two a"]]);
  // The first one has returned the iterator: the second one comes to an end, and its context goes on.
  expect([two.state, second.ctx.err()]).toEqual(["fulfilled", undefined]);
  second.cancel();
});

test("the end of one of two maps over one iterator of a channel is not the error of the other", async () => {
  const ch = new Channel<string>();
  const values = ch.values();
  const [first, second] = [withCancel(background()), withCancel(background())];
  const one = watch(runners.map(first.ctx, values, () => {}, { limit: 1 }));
  const two = watch(runners.map(second.ctx, values, () => {}, { limit: 1 }));
  await ch.send("a"); // As above.
  await turns(3);
  second.cancel();
  await turns(3);
  expect([one.state, first.ctx.err(), two.reason]).toEqual(["fulfilled", undefined, second.ctx.err()]);
  first.cancel();
});

test("an endless iterable without a limit leaves the event loop its turns", async () => {
  const { ctx, cancel } = withCancel(background());
  setImmediate(cancel);
  let n = 0;
  const items = (function* () {
    while (++n < 1_000_000) yield n;
  })();
  await expect(runners.forEach(ctx, items, () => {}, { limit: Number.POSITIVE_INFINITY })).rejects.toThrow(
    "context canceled",
  );
  expect(n).toBeLessThan(1_000_000);
});
