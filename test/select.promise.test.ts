/** Native promises as cases of a select. */
import { AsyncLocalStorage } from "node:async_hooks";
import { runInNewContext } from "node:vm";
import { Channel, ClosedChannelError, type ReceiveChannel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { counters, find, track, verifyNone } from "gopark/leak";
import { type Selectable, select, trySelect } from "gopark/select";
import { after } from "gopark/time";
import { afterEach, describe, expect, test, vi } from "vitest";
import { aliveSince } from "./support/alive.ts";
import { bytesInUse, bytesPerRound } from "./support/heap.ts";
import { random } from "./support/random.ts";
import { turn } from "./support/turn.ts";
import { collectUntil, unhandledDuring } from "./support/unhandled.ts";
import { type Watched, watch } from "./support/watch.ts";

afterEach(() => track("full"));

const boom = new Error("boom");

interface Settler<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

function pending<T = number>(): Settler<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** Lets a select see a promise that is settled: it is a ready case then. */
async function see(promise: Promise<unknown>): Promise<void> {
  expect(trySelect({ promise })).toBeUndefined();
  await null;
}

/** How often each of the names came up. */
async function tally(rounds: number, round: () => Promise<string>): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < rounds; i++) {
    const name = await round();
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

describe("a promise that is fulfilled", () => {
  test("answers a parked select with its value", async () => {
    const { promise, resolve } = pending();
    const waiting = watch(select({ promise, never: null }));
    await turn();
    expect(waiting.state).toBe("pending");
    resolve(7);
    await turn();
    expect(waiting.value).toEqual({ case: "promise", value: 7 });
    expect(Object.keys(waiting.value as object)).toEqual(["case", "value"]);
  });

  test.each([[undefined], [null], [0], [""], [{ ok: true }], [boom]])("with %s has it as the value", async (value) => {
    const p: Promise<unknown> = Promise.resolve(value);
    expect(await select({ p })).toEqual({ case: "p", value });
    expect(trySelect({ p })).toEqual({ case: "p", value });
  });

  test("before a select sees it is ready from the next microtask on", async () => {
    const p = Promise.resolve(1);
    expect(trySelect({ p })).toBeUndefined();
    expect(trySelect({ p })).toBeUndefined();
    await null;
    expect(trySelect({ p })).toEqual({ case: "p", value: 1 });
    expect(trySelect({ p })).toEqual({ case: "p", value: 1 });
  });

  test("and was not seen loses to a ready channel, and to what comes in the same turn", async () => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    expect(await select({ p: Promise.resolve(2), ch })).toEqual({ case: "ch", value: 1, ok: true });
    const waiting = select({ p: Promise.resolve(2), ch });
    ch.trySend(3);
    expect(await waiting).toEqual({ case: "ch", value: 3, ok: true });
  });

  test("and was seen is one ready case among others, each with the same chance", async () => {
    const ROUNDS = 2000;
    const p = Promise.resolve(1);
    await see(p);
    const ch = new Channel<number>(1);
    const counts = await tally(ROUNDS, async () => {
      ch.trySend(1);
      return (await select({ a: ch, p, b: ch, q: p })).case;
    });
    for (const name of ["a", "b", "p", "q"]) expect(counts[name]).toBeGreaterThan(ROUNDS / 6);
  });

  test("wins over what becomes ready after it, and the other case has no effect", async () => {
    const { promise, resolve } = pending();
    const ch = new Channel<number>();
    const waiting = select({ ch, promise, sent: ch.sending(1) });
    resolve(7);
    await null;
    expect(ch.trySend(1)).toBe(false);
    expect(ch.tryReceive()).toBeUndefined();
    expect(await waiting).toEqual({ case: "promise", value: 7 });
  });

  test("answers every select that waits for it, in their order, and those that come later", async () => {
    const { promise, resolve } = pending();
    const order: number[] = [];
    const selects = [1, 2, 3].map(async (n) => {
      const s = await select({ promise });
      order.push(n);
      return s.value;
    });
    resolve(7);
    expect(await Promise.all(selects)).toEqual([7, 7, 7]);
    expect(order).toEqual([1, 2, 3]);
    expect(await select({ promise })).toEqual({ case: "promise", value: 7 });
  });

  test("twice in one select wins by either name, parked or not", async () => {
    const ROUNDS = 1000;
    const ready = Promise.resolve(1);
    await see(ready);
    for (const make of [() => ready, () => Promise.resolve(1)]) {
      const counts = await tally(ROUNDS, async () => {
        const p = make();
        return (await select({ a: p, other: new Channel(), b: p })).case;
      });
      expect(counts.a).toBeGreaterThan(ROUNDS / 3);
      expect(counts.b).toBeGreaterThan(ROUNDS / 3);
    }
  });
});

describe("a promise that is rejected", () => {
  test("and wins rejects the select with its reason, untouched, and is handled", async () => {
    const { stack } = boom;
    const unhandled = await unhandledDuring(async () => {
      const { promise, reject } = pending();
      const waiting = watch(select({ promise, ch: new Channel() }));
      reject(boom);
      await turn();
      expect(waiting.reason).toBe(boom);
      await expect(select({ promise })).rejects.toBe(boom);
      expect(() => trySelect({ promise })).toThrow(boom);
    });
    expect(unhandled).toEqual([]);
    expect(boom.stack).toBe(stack);
  });

  test.each([[undefined], [null], [0]])("with %s rejects with that", async (reason) => {
    const p = Promise.reject(reason);
    expect(watch(select({ p })).state).toBe("pending");
    await expect(select({ p })).rejects.toBe(reason);
    const late = watch(select({ p }));
    await turn();
    expect([late.state, late.reason]).toEqual(["rejected", reason]);
  });

  test("and takes no other case's effect with it", async () => {
    const ch = new Channel<number>();
    const { promise, reject } = pending();
    const waiting = watch(select({ ch, sent: ch.sending(1), promise }));
    reject(boom);
    await turn();
    expect(waiting.reason).toBe(boom);
    expect(ch.trySend(1)).toBe(false);
    expect(ch.tryReceive()).toBeUndefined();
  });

  test("and is one ready case among others rejects about as often as they win", async () => {
    const ROUNDS = 1000;
    const p = Promise.reject(boom);
    await see(p);
    const ch = new Channel<number>(1);
    let received = 0;
    const counts = await tally(ROUNDS, async () => {
      ch.trySend(1);
      try {
        await select({ p, ch });
        received++;
        return "ch";
      } catch (error) {
        expect(error).toBe(boom);
        expect(ch.len()).toBe(1);
        return "p";
      }
    });
    expect(received).toBe(counts.ch);
    for (const name of ["p", "ch"]) expect(counts[name]).toBeGreaterThan(ROUNDS / 3);
  });

  test("rejects every select that waits for it, and each of those is reported if nobody handles it", async () => {
    const { promise, reject } = pending();
    const unhandled = await unhandledDuring(async () => {
      void select({ promise });
      void select({ promise });
      reject(boom);
      await turn();
    });
    expect(unhandled).toEqual([boom, boom]);
  });

  describe("and loses", () => {
    test("does not touch the select, and is not reported", async () => {
      const { promise, reject } = pending();
      const unhandled = await unhandledDuring(async () => {
        const ch = new Channel<number>();
        const waiting = select({ promise, ch });
        ch.trySend(1);
        reject(boom);
        expect(await waiting).toEqual({ case: "ch", value: 1, ok: true });
      });
      expect(unhandled).toEqual([]);
    });

    test("is not reported, as with Promise.race, even if no select ever waits for it again", async () => {
      const lose = async (race: (promise: Promise<number>, other: Promise<number>) => Promise<unknown>) => {
        const { promise, reject } = pending();
        await race(promise, Promise.resolve(1));
        await turn();
        reject(boom);
        await turn();
      };
      const bySelect = await unhandledDuring(() => lose((promise, other) => select({ promise, other })));
      const byRace = await unhandledDuring(() => lose((promise, other) => Promise.race([promise, other])));
      expect(bySelect).toEqual(byRace);
      expect(bySelect).toEqual([]);
    });

    test("is not swallowed: the next select has it, and so has other code, once each", async () => {
      const { promise, reject } = pending();
      const caught: unknown[] = [];
      const unhandled = await unhandledDuring(async () => {
        expect(trySelect({ promise })).toBeUndefined();
        promise.catch((error) => caught.push(error));
        reject(boom);
        await turn();
        expect(() => trySelect({ promise })).toThrow(boom);
        await expect(select({ promise })).rejects.toBe(boom);
        await expect(promise).rejects.toBe(boom);
      });
      expect([caught, unhandled]).toEqual([[boom], []]);
    });

    test("is reported through every other promise that was made of it", async () => {
      const { promise, reject } = pending();
      const unhandled = await unhandledDuring(async () => {
        trySelect({ promise });
        void promise.then(() => {});
        reject(boom);
        await turn();
      });
      expect(unhandled).toEqual([boom]);
    });
  });

  test("before any select saw it was reported then, and once", async () => {
    const { promise, reject } = pending();
    const unhandled = await unhandledDuring(async () => {
      reject(boom);
      await turn();
      trySelect({ promise });
      await turn();
      expect(() => trySelect({ promise })).toThrow(boom);
    });
    expect(unhandled).toEqual([boom]);
  });
});

describe("a select over a promise that never settles", () => {
  const { promise: never } = pending();

  test("ends by its context", async () => {
    const { ctx, cancel } = withCancel(background());
    const waiting = select({ never, ctx });
    cancel();
    expect(await waiting).toEqual({ case: "ctx", value: ctx.err() });
  });

  test("ends by its signal, by its time, and by a send that fails", async () => {
    const controller = new AbortController();
    const aborted = select({ never, signal: controller.signal });
    controller.abort("why");
    expect(await aborted).toEqual({ case: "signal", value: "why" });

    vi.useFakeTimers();
    const late = watch(select({ never, late: after(10) }));
    await vi.advanceTimersByTimeAsync(10);
    expect(late.value).toMatchObject({ case: "late" });

    const ch = new Channel<number>();
    const closed = watch(select({ never, sent: ch.sending(1) }));
    ch.close();
    await turn();
    expect(closed.reason).toBeInstanceOf(ClosedChannelError);
  });

  test("leaves nothing behind, however often", async () => {
    track("counters");
    const { promise } = pending();
    const ch = new Channel<number>();
    const round = () => {
      const waiting = select({ promise, again: promise, ch });
      ch.trySend(1);
      return waiting;
    };
    // 100 000 in all.
    expect(await bytesPerRound(round, 25_000)).toBeLessThan(24);
    expect(trySelect({ promise })).toBeUndefined(); // It is alive until here.
  });

  test("adds one reaction to it, in all", async () => {
    let reactions = 0;
    class Counted<T> extends Promise<T> {
      static override get [Symbol.species](): PromiseConstructor {
        reactions++; // Each reaction makes a promise.
        return Promise;
      }
    }
    let resolve!: (value: number) => void;
    const p = new Counted<number>((yes) => {
      resolve = yes;
    });
    const ch = new Channel<number>(1);
    for (let i = 0; i < 10; i++) {
      ch.trySend(i);
      await select({ p, ch });
      trySelect({ p });
    }
    const waiting = [select({ p }), select({ p })];
    resolve(1);
    await Promise.all(waiting);
    expect(reactions).toBe(1);
  });

  test("and that was given up is freed, and so is the promise", async () => {
    const { promise } = pending();
    const freed: string[] = [];
    const registry = new FinalizationRegistry<string>((name) => freed.push(name));
    await (async () => {
      const other = pending().promise;
      const ch = new Channel<object>();
      const waiting = select({ promise, other, ch });
      const value = {};
      for (const [name, it] of Object.entries({ other, ch, waiting, value })) registry.register(it, name);
      ch.trySend(value);
      await waiting;
    })();
    expect(await collectUntil(() => freed.length === 4)).toBe(true);
    expect(trySelect({ promise })).toBeUndefined();
  });

  test("keeps nothing of the async context of the select that saw it first", async () => {
    const storage = new AsyncLocalStorage<object>();
    const { promise } = pending();
    let freed = false;
    const registry = new FinalizationRegistry(() => {
      freed = true;
    });
    (() => {
      const store = {};
      registry.register(store, undefined);
      storage.run(store, () => trySelect({ promise }));
    })();
    expect(await collectUntil(() => freed)).toBe(true);
    expect(trySelect({ promise })).toBeUndefined();
  });
});

test("many selects that one promise answers leave the heap as it was", async () => {
  track("counters");
  await turn();
  const before = await bytesInUse();
  const { promise, resolve } = pending();
  let answered = 0;
  for (let i = 0; i < 50_000; i++) void select({ promise }).then(() => answered++);
  resolve(1);
  while (answered < 50_000) await turn();
  expect((await bytesInUse()) - before).toBeLessThan(2 ** 20);
  expect(await promise).toBe(1);
});

describe("which promises", () => {
  test("one of another realm", async () => {
    const other = runInNewContext(
      "({ fulfilled: Promise.resolve(1), rejected: Promise.reject('no'), thenable: { then() {} } })",
    ) as { fulfilled: Promise<number>; rejected: Promise<never>; thenable: Promise<never> };
    expect(other.fulfilled).not.toBeInstanceOf(Promise);
    expect(await select({ p: other.fulfilled })).toEqual({ case: "p", value: 1 });
    await expect(select({ p: other.rejected })).rejects.toBe("no");
    expect(() => trySelect({ p: other.thenable })).toThrow(TypeError);
    await expect(select(other.fulfilled as never)).rejects.toThrow("select: cases must be an object");
  });

  test("one of a subclass, whose `then` is not called", async () => {
    class Lazy<T> extends Promise<T> {
      override then(): never {
        throw new Error("then was called");
      }
    }
    expect(await select({ p: Lazy.resolve(1) })).toEqual({ case: "p", value: 1 });
    await expect(select({ p: Lazy.reject(boom) })).rejects.toBe(boom);
  });

  test("one with a `then` of its own, which is not called, and one that is frozen", async () => {
    const then = vi.fn();
    expect(await select({ p: Object.assign(Promise.resolve(1), { then }) })).toEqual({ case: "p", value: 1 });
    expect(then).not.toHaveBeenCalled();
    expect(await select({ p: Object.freeze(Promise.resolve(1)) })).toEqual({ case: "p", value: 1 });
  });

  test("one that has no prototype any more", async () => {
    const p = Object.setPrototypeOf(Promise.resolve(1), null) as Promise<number>;
    expect(await select({ p })).toEqual({ case: "p", value: 1 });
  });

  test("one of a subclass that cannot be constructed fails the select, each time, and parks nothing", async () => {
    class Picky<T> extends Promise<T> {
      constructor(executor: ConstructorParameters<typeof Promise<T>>[0]) {
        super(executor);
        if (picky) throw boom;
      }
    }
    let picky = false;
    const p = Picky.resolve(1);
    picky = true;
    const ch = new Channel<number>(1);
    ch.trySend(1);
    await expect(select({ ch, p })).rejects.toBe(boom);
    expect(() => trySelect({ ch, p })).toThrow(boom);
    expect(ch.len()).toBe(1);
    picky = false;
    expect(await select({ p })).toEqual({ case: "p", value: 1 });
  });

  test("one of a subclass whose constructor calls select with it: both are answered", async () => {
    let inner: Promise<unknown> | undefined;
    let nested = false;
    class Nested<T> extends Promise<T> {
      constructor(executor: ConstructorParameters<typeof Promise<T>>[0]) {
        super(executor);
        if (!nested) return;
        nested = false;
        inner = select({ p });
      }
    }
    const p: Promise<number> = Nested.resolve(1);
    nested = true;
    const outer = select({ p });
    expect(await Promise.all([outer, inner])).toEqual([
      { case: "p", value: 1 },
      { case: "p", value: 1 },
    ]);
  });

  test.each([
    ["a thenable", { then: (yes: (n: number) => void) => yes(1) }],
    ["a function with a then", Object.assign(() => {}, { then: () => {} })],
    ["what only inherits from Promise", Object.create(Promise.prototype) as object],
    ["a proxy of a promise", new Proxy(Promise.resolve(1), {})],
  ])("%s is none: TypeError, and no case takes effect", async (_, it) => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    const cases = { ch, odd: it as never };
    expect(() => trySelect(cases)).toThrow(TypeError);
    await expect(select(cases)).rejects.toThrow(TypeError);
    expect(ch.len()).toBe(1);
  });

  test("the error of a thenable says what to pass, and one whose `then` throws has no hint", () => {
    const wanted = "a channel, a send, a context, an AbortSignal, after(ms) or a promise";
    const error = (end: string) => new TypeError(`select: case "it" must be ${wanted}, got an object (Object)${end}`);
    const thenable = { then: () => {} };
    expect(() => trySelect({ it: thenable as never })).toThrow(error(": pass Promise.resolve(it)"));
    const hostile = Object.defineProperty({}, "then", {
      get: () => {
        throw boom;
      },
    });
    expect(() => trySelect({ it: hostile as never })).toThrow(error(""));
  });

  test("a case may be called `then`", async () => {
    expect(await select({ then: Promise.resolve(1) })).toEqual({ case: "then", value: 1 });
  });
});

describe("a receive in a case", () => {
  test("is refused under full tracking if it waits, and no case takes effect", async () => {
    const ch = new Channel<number>();
    const ready = new Channel<number>(1);
    ready.trySend(1);
    const received = ch.receive();
    const cases: Record<string, Selectable> = { ready, got: received };
    const message = 'select: case "got": pass the channel, not ch.receive()';
    expect(() => trySelect(cases)).toThrow(new TypeError(message));
    await expect(select(cases)).rejects.toThrow(new TypeError(message));
    expect(ready.len()).toBe(1);
    ch.trySend(7);
    expect(await received).toEqual({ value: 7, ok: true });
    expect(() => trySelect(cases)).toThrow(new TypeError(message));
  });

  test("is refused with a context, from a done channel, and as the `next` of an iterator", async () => {
    const { ctx, cancel } = withCancel(background());
    const ch = new Channel<number>();
    const waits: Promise<unknown>[] = [
      ch.receive(ctx),
      (ctx.done() as ReceiveChannel<never>).receive(),
      ch.values(ctx).next(),
    ];
    for (const it of waits) expect(() => trySelect({ it })).toThrow("pass the channel, not ch.receive()");
    cancel();
    await Promise.allSettled(waits);
  });

  test("is taken for any promise under counters, and other waits always are", async () => {
    const ch = new Channel<number>();
    const sent = ch.send(1);
    expect(trySelect({ sent })).toBeUndefined();
    expect(ch.tryReceive()).toEqual({ value: 1, ok: true });
    expect(await select({ sent })).toEqual({ case: "sent", value: undefined });

    const early: Promise<unknown> = ch.receive();
    track("counters");
    const late: Promise<unknown> = ch.receive();
    for (const received of [early, late]) {
      expect(trySelect({ received })).toBeUndefined();
      ch.trySend(2);
      expect(await select({ received })).toEqual({ case: "received", value: { value: 2, ok: true } });
    }
  });
});

describe("leaks", () => {
  test("a select that is parked on a promise counts as a `select`, with the place of the call", async () => {
    const before = counters();
    const { promise, resolve } = pending();
    const waiting = select({ promise });
    expect(aliveSince(before)).toEqual({ select: 1 });
    const leaks = find();
    expect(leaks.map((leak) => leak.kind)).toEqual(["select"]);
    expect(leaks[0]?.stack).toContain("select.promise.test.ts");
    resolve(1);
    await waiting;
    expect(aliveSince(before)).toEqual({});
  });

  test("trySelect leaves none, nor does a select that another case ends", async () => {
    const before = counters();
    const { promise } = pending();
    trySelect({ promise });
    const ch = new Channel<number>();
    const waiting = select({ promise, ch });
    ch.trySend(1);
    await waiting;
    expect(aliveSince(before)).toEqual({});
    expect(trySelect({ promise })).toBeUndefined();
  });

  test("one on a promise that nobody can settle is proved", async () => {
    void (() => void select({ promise: pending().promise }))();
    expect(await collectUntil(() => find().some((leak) => leak.proved))).toBe(true);
    await expect(verifyNone()).rejects.toThrow("found unexpected leaks: 1 select");
  });
});

test("each select resumes in its own async context, whoever settles the promise", async () => {
  const storage = new AsyncLocalStorage<string>();
  const { promise, resolve } = pending();
  const where = async () => {
    await select({ promise });
    return storage.getStore();
  };
  const resumed = ["alice", "bob"].map((name) => storage.run(name, where));
  storage.run("carol", () => resolve(1));
  expect(await Promise.all(resumed)).toEqual(["alice", "bob"]);
});

/**
 * What a naive reference knows: which promises are settled and how, and which selects are open, oldest first. A select
 * over a settled promise ends with the result of one of those, any other stays open until the channel serves it.
 */
test.each([1, 2, 3])(
  "model: random selects over promises and a channel agree with a reference, seed %d",
  async (seed) => {
    track("counters");
    const { int, bool } = random(seed);
    for (let program = 0; program < 150; program++) {
      const settlers = [0, 1, 2].map(() => pending<string>());
      const results: (string | undefined)[] = [undefined, undefined, undefined];
      const ch = new Channel<number>();
      let open: { readonly over: readonly number[]; readonly hasCh: boolean; readonly outcome: Watched }[] = [];
      for (let step = 0; step < 25; step++) {
        const action = int(0, 3);
        const over = [0, 1, 2].filter(() => bool(0.5));
        const hasCh = over.length === 0 || bool(0.5);
        if (action <= 1) {
          const cases: Record<string, Selectable> = hasCh ? { ch } : {};
          for (const i of over) cases[`p${i}`] = settlers[i]?.promise;
          open.push({ over, hasCh, outcome: watch(select(cases)) });
        } else if (action === 2) {
          const i = int(0, 2);
          if (results[i] === undefined) {
            results[i] = bool(0.5) ? `value of p${i}` : `reason of p${i}`;
            const { promise, resolve, reject } = settlers[i] as Settler<string>;
            promise.catch(() => {});
            if (results[i].startsWith("value")) resolve(results[i]);
            else reject(results[i]);
          }
        } else {
          const served = open.find((o) => o.hasCh);
          expect(ch.trySend(step)).toBe(served !== undefined);
          open = open.filter((o) => o !== served);
          await turn();
          if (served !== undefined) expect(served.outcome.value).toEqual({ case: "ch", value: step, ok: true });
        }
        await turn();
        open = open.filter(({ over, outcome }) => {
          const possible = over.map((i) => results[i]).filter((result) => result !== undefined);
          if (possible.length === 0) {
            expect(outcome.state).toBe("pending");
            return true;
          }
          const { value, reason } = outcome as { value: { case: string; value: string } | undefined; reason: unknown };
          expect(possible).toContain(value?.value ?? reason);
          if (value !== undefined) expect(value.value).toBe(`value of ${value.case}`);
          return false;
        });
      }
      ch.close();
      for (const { resolve } of settlers) resolve("value");
      await turn();
    }
  },
);
