/**
 * map and forEach: bad arguments are rejections that touch nothing; iterators that break their protocol end the work.
 */
import { background, type Context, cause } from "gopark/context";
import { describe, expect, test } from "vitest";
import { counted, runners, Work } from "./support/source.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const boom = new Error("boom");
const throwing = () => {
  throw boom;
};

/** A value that the types forbid. */
const wrong = <T>(value: unknown): T => value as T;

describe.each(["map", "forEach"] as const)("%s", (name) => {
  const run = runners[name];

  test.each([
    { limit: 0, error: RangeError },
    { limit: -1, error: RangeError },
    { limit: 1.5, error: RangeError },
    { limit: Number.NaN, error: RangeError },
    { limit: Number.NEGATIVE_INFINITY, error: RangeError },
    { limit: undefined, error: TypeError },
    { limit: null, error: TypeError },
  ])("rejects with $error.name for a limit of $limit, and opens nothing", async ({ limit, error }) => {
    const [source, use] = counted([1, 2]);
    let calls = 0;
    const refused = run(background(), source, () => calls++, { limit: wrong(limit) });
    const reason = await refused.catch((reason: unknown) => reason);
    expect(reason).toBeInstanceOf(error);
    expect((reason as Error).message).toContain(`${name}: limit must be a whole number`);
    expect([calls, use.opened]).toEqual([0, 0]);
  });

  test.each(["2", true, {}, [3], 2n])("never takes %o for a limit", async (limit) => {
    const [source, use] = counted([1, 2]);
    const reason = await run(background(), source, () => {}, { limit: wrong(limit) }).catch(
      (reason: unknown) => reason,
    );
    expect(reason instanceof TypeError || reason instanceof RangeError, String(reason)).toBe(true);
    expect(use.opened).toBe(0);
  });

  test.each([[undefined], [null], [{}]])("rejects with TypeError for the options %o", async (options) => {
    const [source, use] = counted([1, 2]);
    await expect(run(background(), source, () => {}, wrong(options))).rejects.toThrow(TypeError);
    expect(use.opened).toBe(0);
  });

  test.each([
    { what: "nothing", items: undefined },
    { what: "null", items: null },
    { what: "a number", items: 42 },
    { what: "a plain object", items: { a: 1 } },
    { what: "an array-like", items: { length: 2, 0: "a", 1: "b" } },
    { what: "an iterator that is not iterable", items: { next: () => ({ done: true }) } },
    { what: "a function", items: () => [1] },
    { what: "a promise of an array", items: Promise.resolve([1]) },
    { what: "an iterator method that is none", items: { [Symbol.iterator]: 42 } },
    { what: "an async iterator method that is none", items: { [Symbol.asyncIterator]: "x" } },
    { what: "an iterator that is no object", items: { [Symbol.iterator]: () => 42 } },
    { what: "an async iterator that is nothing", items: { [Symbol.asyncIterator]: () => undefined } },
    { what: "an iterator without next", items: { [Symbol.iterator]: () => ({}) } },
    { what: "an async iterator without next", items: { [Symbol.asyncIterator]: () => ({}) } },
  ])("rejects with TypeError for items that are $what", async ({ items }) => {
    let calls = 0;
    await expect(run(background(), wrong<number[]>(items), () => calls++, { limit: 2 })).rejects.toThrow(TypeError);
    expect(calls).toBe(0);
  });

  test("takes the sync iterator where the async one is undefined or null, as for await does", async () => {
    for (const none of [undefined, null]) {
      const seen: number[] = [];
      const items = { [Symbol.asyncIterator]: none, [Symbol.iterator]: () => [1, 2].values() };
      await run(background(), wrong<number[]>(items), (n) => void seen.push(n), { limit: 1 });
      expect(seen).toEqual([1, 2]);
    }
  });

  test.each<[fn: unknown, shown: string]>([
    [undefined, "undefined"],
    [null, "null"],
    [{}, "an object (Object)"],
    ["fn", '"fn"'],
  ])("rejects with TypeError for %o in place of fn", async (fn, shown) => {
    const [source, use] = counted([1, 2]);
    await expect(run(background(), source, wrong(fn), { limit: 2 })).rejects.toThrow(
      new TypeError(`${name}: fn must be a function, got ${shown}`),
    );
    expect(use.opened).toBe(0);
  });

  test.each([[null], [{}], [42]])("rejects with TypeError for %o in place of a context", async (parent) => {
    const [source, use] = counted([1, 2]);
    let calls = 0;
    await expect(run(wrong<Context>(parent), source, () => calls++, { limit: 2 })).rejects.toThrow(TypeError);
    expect([calls, use.opened]).toEqual([0, 0]);
  });

  test.each([
    { what: "that throws when opened", items: { [Symbol.iterator]: throwing } },
    { what: "that throws when opened, an async one", items: { [Symbol.asyncIterator]: throwing } },
    {
      what: "whose method cannot be read",
      items: {
        get [Symbol.asyncIterator]() {
          return throwing();
        },
      },
    },
  ])("rejects with the error of a source $what", async ({ items }) => {
    let calls = 0;
    await expect(run(background(), wrong<number[]>(items), () => calls++, { limit: 2 })).rejects.toBe(boom);
    expect(calls).toBe(0);
  });

  const broken = {
    "next() throws": throwing,
    "next() gives a number": () => 42,
    "next() gives nothing": () => undefined,
    "done cannot be read": () => ({
      get done() {
        return throwing();
      },
      value: 1,
    }),
    "value cannot be read": () => ({
      done: false,
      get value() {
        return throwing();
      },
    }),
    // Only an async iterator can do the following.
    "next() rejects": () => Promise.reject(boom),
    "next() resolves to null": () => Promise.resolve(null),
  };
  const cases = Object.keys(broken).flatMap((how) => [
    { how, kind: Symbol.asyncIterator, sort: "async" },
    ...(/rejects|resolves/.test(how) ? [] : [{ how, kind: Symbol.iterator, sort: "sync" }]),
  ]);

  test.each(cases)("ends where the second $how of a $sort iterator: its return() is not called", async (broke) => {
    const { how, kind } = broke;
    let nexts = 0;
    let returns = 0;
    const next = () => {
      if (++nexts === 1) return { done: false, value: "first" };
      return broken[how as keyof typeof broken]();
    };
    const source = wrong<string[]>({ [kind]: () => ({ next, return: () => ({ done: true, value: returns++ }) }) });
    const work = new Work<string, void>();

    const unhandled = await unhandledDuring(async () => {
      const done = watch(run(background(), source, work.fn, { limit: 3 }));
      await turn();
      // The first call's context is cancelled, and the call is waited for.
      expect([work.items, done.state, work.contexts[0]?.err() === undefined]).toEqual([["first"], "pending", false]);
      work.finish(0);
      await turn();
      expect(done.state).toBe("rejected");
      if (/number|nothing|null/.test(how)) expect(done.reason).toBeInstanceOf(TypeError);
      else expect(done.reason).toBe(boom);
      expect(cause(work.contexts[0] as Context)).toBe(done.reason);
    });
    expect([nexts, returns, unhandled]).toEqual([2, 0, []]);
  });

  const returns: Record<string, PropertyDescriptor> = {
    "is undefined": { value: undefined },
    "is null": { value: null },
    "is no function": { value: 42 },
    "cannot be read": { get: throwing },
    "gives no object": { value: () => 42 },
    throws: { value: throwing },
  };

  test.each(
    Object.keys(returns).flatMap((how) => [
      { how, kind: Symbol.iterator },
      { how, kind: Symbol.asyncIterator },
    ]),
  )("keeps fn's error where return $how, $kind", async ({ how, kind }) => {
    const error = new Error("fn's own");
    const iterator = Object.defineProperty(
      { next: () => ({ done: false, value: 1 }) },
      "return",
      returns[how] as object,
    );
    const source = wrong<number[]>({ [kind]: () => iterator });
    const unhandled = await unhandledDuring(async () => {
      await expect(run(background(), source, () => Promise.reject(error), { limit: 1 })).rejects.toBe(error);
    });
    expect(unhandled).toEqual([]);
  });

  test("a thenable result that throws or rejects is a failure like any other", async () => {
    const thens = [throwing, (_: unknown, reject: (reason: unknown) => void) => reject(boom)];
    for (const then of thens) await expect(run(background(), [1], () => ({ then }), { limit: 1 })).rejects.toBe(boom);
  });
});
