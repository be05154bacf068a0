/**
 * Stages that stop early: by an error, by the end of the context, by the consumer's return. Nothing is left running.
 */
import { Channel } from "gopark/channel";
import { background, type Context, cause, withCancel, withTimeout } from "gopark/context";
import { collect, filter, from, type Input, map, merge, type Stage, tee } from "gopark/pipeline";
import { sleep } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { counted, HandSource, Work } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { collectUntil, unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const ctx = background();
const doom = new Error("doomed");
const DONE = { value: undefined, done: true };

function iterate<T>(stage: Stage<T>) {
  const iterator = stage[Symbol.asyncIterator]();
  return {
    iterator,
    next: () => iterator.next(),
    stop: () => (iterator.return as () => Promise<IteratorResult<T>>)(),
    throw: (error: unknown) => (iterator.throw as (error: unknown) => Promise<never>)(error),
  };
}

describe("an error of fn", () => {
  test.each([
    {
      how: "thrown",
      fail: () => {
        throw doom;
      },
    },
    { how: "by a promise", fail: () => Promise.reject(doom) },
    { how: "by a thenable", fail: () => ({ then: (_: unknown, no: (e: unknown) => void) => no(doom) }) as never },
    {
      how: "by a then that throws",
      fail: () =>
        ({
          then: () => {
            throw doom;
          },
        }) as never,
    },
  ])("$how rejects the consumer's next, once, and closes the input", async ({ fail }) => {
    const makes = [(input: Input<number>) => map(ctx, input, fail), (input: Input<number>) => filter(ctx, input, fail)];
    for (const make of makes) {
      const [source, use] = counted([1, 2, 3]);
      const { next } = iterate<unknown>(make(source));
      await expect(next()).rejects.toBe(doom);
      expect(await next()).toEqual(DONE);
      expect(use.returns).toBe(1);
    }
  });

  test("cancels the other calls, and rejects only when they have ended", async () => {
    const work = new Work<number, string>();
    const [source, use] = counted([1, 2, 3, 4]);
    const { next } = iterate(map(ctx, source, work.fn, { concurrency: 3 }));
    const first = watch(next());
    const second = watch(next());
    await turn();
    work.fail(1, doom);
    await turn();
    expect(work.contexts.map((c) => cause(c))).toEqual([doom, doom, doom]);
    expect([first.state, use.returns]).toEqual(["pending", 1]);
    work.finish(0, "too late");
    await turn();
    expect(first.state).toBe("pending");
    work.fail(2, new Error("another"));
    await turn();
    expect([first.reason, second.value, work.items]).toEqual([doom, DONE, [1, 2, 3]]);
  });

  test("drops what is ready and not taken", async () => {
    const work = new Work<number, string>();
    const { next } = iterate(map(ctx, [1, 2, 3], work.fn, { concurrency: 2 }));
    const first = watch(next());
    await turn();
    work.finish(0, "a");
    work.finish(1, "b");
    await turn();
    expect(first.value).toEqual({ value: "a", done: false });
    work.fail(2, doom);
    await turn();
    await expect(next()).rejects.toBe(doom);
  });

  test("with one call at a time comes after all results before it", async () => {
    const got: number[] = [];
    const loop = (async () => {
      const even = map(ctx, [2, 4, 5, 6], (n) => {
        if (n % 2 === 1) throw doom;
        return n;
      });
      for await (const n of filter(
        ctx,
        map(ctx, even, (n) => n),
        () => true,
      ))
        got.push(n);
    })();
    await expect(loop).rejects.toBe(doom);
    expect(got).toEqual([2, 4]);
  });

  test("that is undefined is an error, too", async () => {
    const { next } = iterate(map(ctx, [1], () => Promise.reject(undefined)));
    const first = watch(next());
    await turn();
    expect([first.state, first.reason]).toEqual(["rejected", undefined]);
    expect(await next()).toEqual(DONE);
  });

  test("that no next asks for is dropped by return, and is no unhandled rejection", async () => {
    const unhandled = await unhandledDuring(async () => {
      const { next, stop } = iterate(map(ctx, [1, 2], (n) => (n === 2 ? Promise.reject(doom) : n)));
      expect(await next()).toEqual({ value: 1, done: false });
      await turns(2);
      expect(await stop()).toEqual(DONE);
      expect(await next()).toEqual(DONE);
    });
    expect(unhandled).toEqual([]);
  });
});

describe("an error of the input", () => {
  test.each(["next", "open", "item"])(
    "in %s rejects the consumer's next, and return is not called after a throw",
    async (where) => {
      let returns = 0;
      const source = {
        [Symbol.iterator]() {
          if (where === "open") throw doom;
          return {
            next() {
              if (where === "next") throw doom;
              return { done: false, value: Promise.reject(doom) };
            },
            return() {
              returns++;
              return { done: true, value: undefined };
            },
          };
        },
      } as Iterable<unknown>;
      const { next } = iterate(from(ctx, source));
      await expect(next()).rejects.toBe(doom);
      expect(returns).toBe(where === "item" ? 1 : 0);
      expect(await next()).toEqual(DONE);
    },
  );

  test("cancels the calls that run", async () => {
    const source = new HandSource<number>();
    const work = new Work<number, string>();
    const { next } = iterate(map(ctx, source, work.fn, { concurrency: 2 }));
    const first = watch(next());
    await turn();
    source.give(1);
    await turn();
    source.fail(doom);
    await turn();
    expect([cause(work.contexts[0] as Context), first.state]).toEqual([doom, "pending"]);
    work.finish(0, "late");
    await turn();
    expect(first.reason).toBe(doom);
  });

  test("cancels the calls before the input is closed, which may take long", async () => {
    let open = () => {};
    const items = [1, Promise.reject(doom)];
    const source = {
      [Symbol.iterator]: () => ({
        next: () => ({ done: false, value: items.shift() }),
        return: () => new Promise<void>((resolve) => (open = resolve)),
      }),
    } as unknown as Iterable<number>;
    const work = new Work<number, string>();
    const { next } = iterate(map(ctx, source, work.fn, { concurrency: 2 }));
    const first = watch(next());
    await turn();
    expect([work.running, work.contexts.map((c) => cause(c)), first.state]).toEqual([[0], [doom], "pending"]);
    work.finish(0, "late");
    await turn();
    expect(first.state).toBe("pending");
    open();
    await turn();
    expect(first.reason).toBe(doom);
  });

  test("goes down the whole pipeline, and all of it ends", async () => {
    const source = new HandSource<number>();
    const a = from(ctx, source);
    const b = map(ctx, a, (n) => n, { concurrency: 2 });
    const c = filter(ctx, b, () => true, { concurrency: 2, ordered: false });
    const { next } = iterate(c);
    const first = watch(next());
    await turn();
    source.give(1);
    await turn();
    expect(first.value).toEqual({ value: 1, done: false });
    source.fail(doom);
    await expect(next()).rejects.toBe(doom);
  });
});

describe("return", () => {
  test("before the first next opens nothing, and ends the stage", async () => {
    const [source, use] = counted([1]);
    const { next, stop } = iterate(from(ctx, source));
    expect(await stop()).toEqual(DONE);
    expect(await next()).toEqual(DONE);
    expect(use.opened).toBe(0);
  });

  test("cancels the calls, closes the input, and waits until all have ended", async () => {
    const source = new HandSource<number>();
    let open = () => {};
    source.onReturn = () => new Promise<void>((resolve) => (open = resolve));
    const work = new Work<number, string>();
    const { next, stop } = iterate(map(ctx, source, work.fn, { concurrency: 1 }));
    const first = watch(next());
    await turn();
    source.give(1);
    await turn();
    const stopped = watch(stop());
    const again = watch(stop());
    await turn();
    expect([work.contexts[0]?.err() === undefined, source.returns]).toEqual([false, 1]);
    expect([first.state, stopped.state]).toEqual(["pending", "pending"]);
    open();
    await turn();
    expect([first.state, stopped.state]).toEqual(["pending", "pending"]);
    work.finish(0, "late");
    await turn();
    expect([first.value, stopped.value, again.value]).toEqual([DONE, DONE, DONE]);
    expect(await stop()).toEqual(DONE);
  });

  test("of the last stage stops every stage before it, whose nexts are pending, and waits for their functions", async () => {
    const source = new HandSource<number>();
    const work = new Work<number, number>();
    const log: string[] = [];
    async function* gen() {
      try {
        yield 1;
        yield 2;
        await sleep(60_000, inner);
      } finally {
        log.push("finally");
      }
    }
    const [inner, cancel] = withCancel(ctx);
    const a = map(ctx, gen(), work.fn, { concurrency: 2 });
    const b = map(ctx, a, (n) => n, { concurrency: 3 });
    const { next, stop } = iterate(from(ctx, b));
    const first = watch(next());
    await turn();
    work.finish(0, 10);
    await turn();
    expect([first.value, work.running]).toEqual([{ value: 10, done: false }, [1]]);
    const stopped = watch(stop());
    await turn();
    expect([stopped.state, work.contexts[1]?.err() === undefined]).toEqual(["pending", false]);
    work.finish(1, 20);
    await turn();
    expect([stopped.state, log]).toEqual(["fulfilled", []]); // The generator's own wait goes on: it has its own context.
    cancel();
    await turn();
    expect([log, source.nexts]).toEqual([["finally"], 0]);
  });

  test("does not wait for a next of a foreign input that never answers", async () => {
    const source = new HandSource<number>();
    const { next, stop } = iterate(from(ctx, source));
    const first = watch(next());
    await turn();
    expect(await stop()).toEqual(DONE);
    expect([first.value, source.returns, source.pending]).toEqual([DONE, 1, 1]);
    source.give(1); // Too late, and lost.
    await turn();
  });

  test("waits for the input's return if no next is pending; what it throws is dropped", async () => {
    const source = new HandSource<number>();
    source.onReturn = () => Promise.reject(doom);
    const { next, stop } = iterate(from(ctx, source));
    const first = next();
    await turn();
    source.give(1);
    await first;
    await turn();
    source.give(2);
    await turn();
    expect(await stop()).toEqual(DONE);
    expect(source.returns).toBe(1);
  });

  test("starts no call that has not begun", async () => {
    let calls = 0;
    const { next, stop } = iterate(map(ctx, [1, 2, 3], () => calls++, { concurrency: 3 }));
    void next();
    await stop();
    expect(calls).toBe(0);
  });

  test("an error of a call that it cancels is dropped", async () => {
    const unhandled = await unhandledDuring(async () => {
      const { next, stop } = iterate(map(ctx, [1], (_, c) => sleep(60_000, c)));
      const first = watch(next());
      await turn();
      expect(await stop()).toEqual(DONE);
      expect(first.value).toEqual(DONE);
    });
    expect(unhandled).toEqual([]);
  });

  test("is what a loop that is left early does, at whatever step it is left", async () => {
    for (let steps = 0; steps < 8; steps++) {
      const [source, use] = counted(Array.from({ length: 30 }, (_, i) => i));
      const work = { running: 0 };
      const slow = async (n: number) => {
        work.running++;
        await turns(n % 3);
        work.running--;
        return n;
      };
      let left = steps;
      for await (const _ of map(ctx, map(ctx, source, slow, { concurrency: 2 }), slow, { concurrency: 3 })) {
        if (left-- === 0) break;
      }
      expect([work.running, use.returns]).toEqual([0, 1]);
    }
  });

  test("and throw stop alike; throw rejects with its argument then", async () => {
    const work = new Work<number, number>();
    const stage = iterate(map(ctx, [1], work.fn));
    const first = watch(stage.next());
    await turn();
    const thrown = watch(stage.throw(doom));
    await turn();
    expect(thrown.state).toBe("pending");
    work.finish(0, 1);
    await turn();
    expect([first.value, thrown.reason]).toEqual([DONE, doom]);
    await expect(iterate(from(ctx, [1])).throw(doom)).rejects.toBe(doom);
  });

  test("await using stops a stage, iterated or not", async () => {
    const [source, use] = counted([1, 2, 3]);
    {
      await using stage = from(ctx, source);
      await stage[Symbol.asyncIterator]().next();
      await using _other = from(ctx, source);
    }
    expect(use).toMatchObject({ opened: 1, returns: 1 });
    {
      await using iterator = from(ctx, source)[Symbol.asyncIterator]() as AsyncIterableIterator<number> &
        AsyncDisposable;
      await iterator.next();
    }
    expect(use).toMatchObject({ opened: 2, returns: 2 });
  });
});

describe("the end of the context", () => {
  test("before the first next: rejects, and opens nothing", async () => {
    const [ended, cancel] = withCancel(ctx);
    cancel();
    const [source, use] = counted([1]);
    const { next } = iterate(map(ended, source, () => 1));
    await expect(next()).rejects.toBe(ended.err());
    expect(await next()).toEqual(DONE);
    await expect(collect(ended, source)).rejects.toBe(ended.err());
    expect(use.opened).toBe(0);
  });

  test("while a next is parked: rejects it when the calls have ended, whatever they make of it", async () => {
    const [parent, cancel] = withCancel(ctx);
    const work = new Work<number, string>();
    const [source, use] = counted([1, 2, 3]);
    const { next } = iterate(map(parent, source, work.fn, { concurrency: 2 }));
    const first = watch(next());
    await turn();
    cancel(doom);
    work.fail(1, new Error("made of it"));
    await turn();
    expect([first.state, use.returns]).toEqual(["pending", 1]);
    work.finish(0, "late");
    await turn();
    expect([first.reason, first.reason === parent.err()]).toEqual([parent.err(), true]);
    expect(await next()).toEqual(DONE);
  });

  test("in the turn in which a call ends wins over its result", async () => {
    const [parent, cancel] = withCancel(ctx);
    const work = new Work<number, string>();
    const { next } = iterate(map(parent, [1, 2], work.fn, { concurrency: 2 }));
    const first = watch(next());
    await turn();
    work.finish(0, "late");
    cancel();
    await turn();
    expect(first.state).toBe("pending");
    work.finish(1, "late");
    await turn();
    expect(first.reason).toBe(parent.err());
  });

  test("while the consumer is away: everything ends, and the next next rejects, though a result is ready", async () => {
    const [parent, cancel] = withCancel(ctx);
    const [source, use] = counted([1, 2, 3]);
    const { next } = iterate(map(parent, source, (n) => n, { concurrency: 2 }));
    expect(await next()).toEqual({ value: 1, done: false });
    await turns(2);
    cancel();
    await turns(2);
    expect(use.returns).toBe(1);
    await expect(next()).rejects.toBe(parent.err());
    expect(await next()).toEqual(DONE);
  });

  test("after the last item, before its result is taken: rejects", async () => {
    const [parent, cancel] = withCancel(ctx);
    const { next } = iterate(from(parent, [1, 2]));
    await next();
    await turns(2);
    cancel();
    await expect(next()).rejects.toBe(parent.err());
  });

  test("that comes when all has been taken changes nothing", async () => {
    const [parent, cancel] = withCancel(ctx);
    const { next } = iterate(from(parent, [1]));
    await next();
    await turn();
    cancel();
    expect(await next()).toEqual(DONE);
  });

  test("by a signal rejects with its reason", async () => {
    const controller = new AbortController();
    const { next } = iterate(map(controller.signal, [1], (_, c) => sleep(60_000, c)));
    const first = watch(next());
    await turn();
    controller.abort("enough");
    await turn();
    expect(first.reason).toBe("enough");
    await expect(collect(controller.signal, [1])).rejects.toBe("enough");
  });

  test("by a deadline is seen by a next before the timer comes to it", async () => {
    vi.useFakeTimers();
    const [parent, cancel] = withTimeout(ctx, 10);
    const { next } = iterate(from(parent, [1, 2, 3]));
    await next();
    await turn();
    vi.setSystemTime(Date.now() + 20);
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 20);
    const late = watch(next());
    await turn();
    expect([late.state, String(late.reason)]).toEqual(["rejected", "TimeoutError: context deadline exceeded"]);
    cancel();
  });

  test("is the stage's error even if the input then only ends", async () => {
    const [parent, cancel] = withCancel(ctx);
    const ch = new Channel<number>();
    const source = {
      async *[Symbol.asyncIterator]() {
        for await (const n of ch) yield n;
      },
    };
    const { next } = iterate(from(parent, source));
    const first = watch(next());
    await turn();
    cancel();
    ch.close();
    await turn();
    expect(first.reason).toBe(parent.err());
  });

  test("that comes with the end of the input counts, as what was given may not be all", async () => {
    const [parent, cancel] = withCancel(ctx);
    function* source() {
      yield 1;
      cancel();
    }
    const refused = await collect(parent, source()).catch((error: unknown) => error);
    expect(refused).toBe(parent.err());
  });

  test("stops a collect, and closes its input", async () => {
    const [parent, cancel] = withCancel(ctx);
    const work = new Work<number, number>();
    const all = watch(collect(parent, map(ctx, [1, 2], work.fn)));
    await turn();
    cancel();
    await turn();
    expect([all.state, work.contexts[0]?.err() === undefined]).toEqual(["pending", false]);
    work.finish(0, 1);
    await turn();
    expect(all.reason).toBe(parent.err());
  });
});

describe("hostile inputs", () => {
  test("whose next answers no object, or ends the context, or throws in return", async () => {
    const answers = [42, undefined, null];
    for (const answer of answers) {
      const source = { [Symbol.asyncIterator]: () => ({ next: async () => answer }) } as never;
      await expect(iterate(from(ctx, source)).next()).rejects.toThrow(TypeError);
    }
    const [parent, cancel] = withCancel(ctx);
    let returns = 0;
    const ending = {
      [Symbol.iterator]: () => ({
        next() {
          cancel();
          return { done: false, value: 1 };
        },
        return() {
          returns++;
          throw doom;
        },
      }),
    } as Iterable<number>;
    const refused = await iterate(from(parent, ending))
      .next()
      .catch((error: unknown) => error);
    expect(refused).toBe(parent.err());
    expect(returns).toBe(1);
  });

  test("whose next ends the context and gives a promise that never settles", async () => {
    const [parent, cancel] = withCancel(ctx);
    const source = {
      [Symbol.iterator]: () => ({
        next() {
          cancel();
          return { done: false, value: new Promise<number>(() => {}) };
        },
      }),
    } as unknown as Iterable<number>;
    const refused = watch(iterate(from(parent, source)).next());
    await turn();
    expect(refused.reason).toBe(parent.err());
  });

  test("whose next ends the context and gives a promise that rejects later: nothing is unhandled", async () => {
    const takers: ((parent: Context, input: Input<number>) => Promise<unknown>)[] = [
      collect,
      (parent, input) =>
        collect(
          ctx,
          map(parent, input, (n) => n),
        ),
      (parent, input) => collect(ctx, merge(parent, input, [])),
      (parent, input) => collect(ctx, tee(parent, input)[0]),
    ];
    const unhandled = await unhandledDuring(async () => {
      for (const take of takers) {
        const [parent, cancel] = withCancel(ctx);
        function* source() {
          cancel();
          yield turn().then(() => Promise.reject(doom));
        }
        const refused = watch(take(parent, source() as Iterable<never>));
        await turns(3);
        expect(refused.reason).toBe(parent.err());
      }
    });
    expect(unhandled).toEqual([]);
  });

  test("fn that stops its own stage, or calls its next", async () => {
    const log: unknown[] = [];
    const { iterator, next } = iterate(
      map(ctx, [1, 2, 3], (n) => {
        if (n === 2) void iterator.return?.().then((end) => log.push(end));
        if (n === 1) void iterator.next().then((result) => log.push(result));
        return n;
      }),
    );
    expect(await next()).toEqual({ value: 1, done: false });
    await turns(2);
    expect(log).toEqual([DONE, DONE]);
  });
});

describe("a channel as an input", () => {
  const inputs: Record<string, (ch: Channel<number>) => Input<number>> = {
    itself: (ch) => ch,
    "its iterator": (ch) => ch.values(),
    "its receiving view": (ch) => ({ [Symbol.asyncIterator]: () => ch[Symbol.asyncIterator]() }),
  };
  const takers: Record<string, (ctx: Context, input: Input<number>) => Promise<unknown>> = {
    from: (ctx, input) => iterate(from(ctx, input)).next(),
    map: (ctx, input) => iterate(map(ctx, input, (n) => n, { concurrency: 3 })).next(),
    merge: (ctx, input) => iterate(merge(ctx, input, [])).next(),
    tee: (ctx, input) => iterate(tee(ctx, input)[0]).next(),
    collect: (ctx, input) => collect(ctx, input),
  };

  test.each(Object.keys(takers).flatMap((taker) => Object.keys(inputs).map((input) => [taker, input] as const)))(
    "of %s, by %s: a value that is sent after the cancel is not taken",
    async (taker, input) => {
      const ch = new Channel<number>();
      const scope = withCancel(ctx);
      const make = inputs[input] as (ch: Channel<number>) => Input<number>;
      const taking = watch((takers[taker] as (typeof takers)[string])(scope.ctx, make(ch)));
      await turns(2);
      scope.cancel();
      expect(ch.trySend(1)).toBe(false);
      await turns(3);
      expect(taking.reason).toBe(scope.ctx.err());
    },
  );

  test("under a context of its own, which ends first, it is an error of the input", async () => {
    const own = withCancel(ctx);
    const { next } = iterate(from(ctx, new Channel<number>().values(own.ctx)));
    const taking = watch(next());
    await turns(2);
    own.cancel();
    await turns(3);
    expect(taking.reason).toBe(own.ctx.err());
  });
});

test("an endless input with nothing to hold it back leaves the event loop its turns", async () => {
  for (const ordered of [true, false]) {
    const scope = withCancel(ctx);
    setImmediate(scope.cancel);
    let n = 0;
    const input = (function* () {
      while (++n < 1_000_000) yield n;
    })();
    const all = collect(
      undefined,
      map(scope.ctx, input, (x) => x, { concurrency: Number.POSITIVE_INFINITY, ordered }),
    );
    await expect(all).rejects.toThrow("context canceled");
    expect(n).toBeLessThan(1_000_000);
  }
});

describe("the last leg of a tee, never iterated,", () => {
  /** A leg whose sibling has left, while the input's function runs. */
  async function lastLeg() {
    const scope = withCancel(ctx);
    const work = new Work();
    const [a, b] = tee(scope.ctx, map(ctx, [1, 2, 3], work.fn));
    const first = iterate(a as Stage<unknown>);
    void first.next().catch(() => {});
    await turns(2);
    expect(work.running).toEqual([0]);
    const left = first.stop();
    return { scope, work, left, leg: iterate(b as Stage<unknown>) };
  }

  test("rejects when the input's function has ended", async () => {
    const { scope, work, left, leg } = await lastLeg();
    scope.cancel();
    const next = watch(leg.next());
    await turns(3);
    expect([next.state, work.running]).toEqual(["pending", [0]]);
    work.finish(0, undefined);
    await turns(3);
    expect(next.reason).toBe(scope.ctx.err());
    await left;
  });

  test("is returned, however often, when the input's function has ended", async () => {
    const { scope, work, left, leg } = await lastLeg();
    const returned = [watch(leg.stop()), watch(leg.stop()), watch(leg.next())];
    await turns(3);
    expect(returned.map(({ state }) => state)).toEqual(["pending", "pending", "pending"]);
    work.finish(0, undefined);
    await turns(3);
    expect(returned.map(({ value }) => value)).toEqual([DONE, DONE, DONE]);
    await left;
    scope.cancel();
  });
});

test("a stage that has ended keeps neither its input nor its function", async () => {
  const freed: string[] = [];
  const registry = new FinalizationRegistry<string>((what) => freed.push(what));
  const ended = (() => {
    const input = [1, 2, 3];
    const fn = (n: number) => n;
    registry.register(input, "input");
    registry.register(fn, "function");
    return map(ctx, input, fn);
  })();
  await collect(ctx, ended);
  await collectUntil(() => freed.length === 2);
  expect(freed.sort()).toEqual(["function", "input"]);
  await ended[Symbol.asyncDispose]();
});
