/** Contexts: the calls of functions at an end, the reasons of signals, and chains of any depth. */
import { Channel, type ReceiveChannel } from "gopark/channel";
import {
  afterFunc,
  background,
  Canceled,
  type Context,
  cause,
  DeadlineExceeded,
  fromSignal,
  is,
  withCancel,
  withDeadline,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { Group } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { Sometimes } from "gopark/rate";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const doom = new Error("doomed");

describe("a cancel function can be handed over as a function", () => {
  /** Each has the function called in the end. */
  const callers: Record<string, (fn: () => unknown) => unknown> = {
    "afterFunc of a context that is cancelled": (fn) => {
      const { ctx, cancel } = withCancel(bg);
      afterFunc(ctx, fn);
      cancel(doom);
    },
    "afterFunc of a child": (fn) => {
      const { ctx, cancel } = withCancel(bg);
      afterFunc(withCancel(withValue(ctx, "key", 1)).ctx, fn);
      cancel();
    },
    "afterFunc of a context that has ended": (fn) => {
      const { ctx, cancel } = withCancel(bg);
      cancel(doom);
      afterFunc(ctx, fn);
    },
    "afterFunc of a deadline": (fn) => {
      vi.useFakeTimers();
      afterFunc(withTimeout(bg, 10, doom).ctx, fn);
      vi.advanceTimersByTime(10);
      vi.useRealTimers();
    },
    "afterFunc of a signal": (fn) => {
      const controller = new AbortController();
      afterFunc(controller.signal, fn);
      controller.abort(doom);
    },
    "afterFunc of a context's signal": (fn) => {
      const { ctx, cancel } = withCancel(bg);
      afterFunc(ctx.signal, fn);
      cancel(doom);
    },
    go: (fn) => go(fn),
    "a group": (fn) => new Group().go(fn),
    "a group that is asked to try": (fn) => new Group().tryGo(fn),
    "a group with a limit": async (fn) => {
      const g = new Group();
      g.setLimit(1);
      await g.go(turn);
      await g.go(fn);
      await g.wait();
    },
    "a semaphore's withPermit": (fn) => new Weighted(1).withPermit(bg, fn),
    "Sometimes.do": (fn) => new Sometimes({ first: 1 }).do(fn),
  };

  test.each(Object.entries(callers))("%s calls it with no argument", async (_, call) => {
    const calls: unknown[][] = [];
    await call((...args: unknown[]) => void calls.push(args));
    await turns(2);
    expect(calls).toEqual([[]]);
  });

  test.each(Object.entries(callers))("%s ends a context by it, with no cause of its own", async (_, call) => {
    const { ctx, cancel } = withCancel(bg);
    await call(cancel);
    await turns(2);
    expect(ctx.err()?.message).toBe("context canceled");
    expect(cause(ctx)).toBe(ctx.err());
    expect(ctx.err()).not.toHaveProperty("cause");
  });
});

test("the done channel of a context that has ended is closed for every way to receive", async () => {
  const { ctx, cancel } = withCancel(background());
  const closed = { value: undefined, ok: false };
  cancel(doom);
  const done = ctx.done() as ReceiveChannel<never>;
  for (let i = 0; i < 2; i++) {
    expect(await done.receive()).toEqual(closed);
    expect(done.tryReceive()).toEqual(closed);
    expect(await select({ done })).toEqual({ case: "done", ...closed });
    for await (const _ of done) expect.unreachable();
  }
});

describe("a context made of a signal", () => {
  test("has no values", () => {
    expect(fromSignal(new AbortController().signal).value("key")).toBeUndefined();
  });

  test.each([new Canceled("why"), new DeadlineExceeded("why")])(
    "has the reason for its error if that is %s",
    (reason) => {
      const ctx = fromSignal(AbortSignal.abort(reason));
      expect(ctx.err()).toBe(reason);
      expect(cause(ctx)).toBe("why");
    },
  );

  test("is cancelled, not late, if its reason throws when its name is read", () => {
    const reason = {
      get name() {
        throw doom;
      },
    };
    const ctx = fromSignal(AbortSignal.abort(reason));
    expect([is(ctx.err(), Canceled), cause(ctx)]).toEqual([true, reason]);
  });
});

describe("the signal", () => {
  test("of a context that stands directly on a foreign signal is that signal, reason included", () => {
    const controller = new AbortController();
    const { signal } = controller;
    const contexts = [fromSignal(signal), withValue(signal, "key", 1), withValue(withValue(signal, "a", 1), "b", 2)];
    for (const ctx of contexts) expect(ctx.signal).toBe(signal);
    controller.abort(doom);
    for (const ctx of contexts) {
      expect(ctx.signal.reason).toBe(doom);
      expect([ctx.err()?.message, cause(ctx)]).toEqual(["context canceled", doom]);
    }
  });

  test("of a child of a foreign signal has the child's error as its reason", () => {
    const controller = new AbortController();
    const { ctx } = withCancel(controller.signal);
    const { signal } = ctx;
    controller.abort(doom);
    expect(signal.reason).toBe(ctx.err());
    expect(cause(ctx)).toBe(doom);
  });

  test("gives back, by fromSignal, the context whose end it is", () => {
    const { ctx, cancel } = withCancel(bg);
    expect(fromSignal(ctx.signal)).toBe(ctx);
    const valued = withValue(ctx, "key", 1);
    expect(fromSignal(valued.signal).signal).toBe(ctx.signal);
    cancel();
    expect(fromSignal(valued.signal).err()).toBe(ctx.err());
  });
});

/** Contexts of a hundred thousand generations, each made by the function from the one above. */
describe("a chain of any depth", () => {
  const DEPTH = 100_000;

  // A record of each context of the chain would take longer than the rest.
  beforeEach(() => track("counters"));
  afterEach(() => track("full"));

  /** The way each link derives a context, and its part of the string. */
  const links: Record<string, [make: (parent: Context) => Context, text: string]> = {
    withValue: [(parent) => withValue(parent, "key", "value"), ".WithValue(key, value)"],
    withCancel: [(parent) => withCancel(parent).ctx, ".WithCancel"],
    "withValue and withCancel": [
      (parent) => withCancel(withValue(parent, "key", "value")).ctx,
      ".WithValue(key, value).WithCancel",
    ],
    "a deadline that never comes": [(parent) => withTimeout(parent, Number.POSITIVE_INFINITY).ctx, ".WithCancel"],
  };

  function chain(root: Context, link: (parent: Context) => Context): Context {
    let ctx = root;
    for (let i = 0; i < DEPTH; i++) ctx = link(ctx);
    return ctx;
  }

  describe.each(Object.entries(links))("of %s", (_, [link, text]) => {
    test("answers everything while it lives", () => {
      vi.useFakeTimers({ now: 0 });
      const at = Date.now() + 1000;
      const { ctx: root, cancel } = withDeadline(withValue(bg, "root", 42), at);
      const ctx = chain(root, link);
      expect(ctx.err()).toBeUndefined();
      expect(ctx.deadline()).toBe(at);
      expect(ctx.done()?.tryReceive()).toBeUndefined();
      expect(ctx.signal.aborted).toBe(false);
      expect(ctx.value("root")).toBe(42);
      expect(ctx.value("nothing")).toBeUndefined();
      expect(cause(ctx)).toBeUndefined();
      expect(String(ctx) === String(root) + text.repeat(DEPTH)).toBe(true);
      cancel();
    });

    test("answers everything when it has ended, and its waits end with it", async () => {
      const { ctx: root, cancel } = withCancel(bg);
      const ctx = chain(root, link);
      const waits = [
        new Channel<void>().receive(ctx),
        new Channel<void>().receive(ctx.signal),
        select({ ctx }).then(({ value }) => Promise.reject(value)),
        ctx.done()?.receive(),
      ];
      let called = 0;
      afterFunc(ctx, () => called++);
      cancel(doom);
      expect(ctx.err()).toBe(root.err());
      expect(cause(ctx)).toBe(doom);
      expect(ctx.signal.reason).toBe(root.err());
      expect(ctx.done()?.tryReceive()).toEqual({ value: undefined, ok: false });
      const settled = await Promise.allSettled(waits);
      expect(settled.map((wait) => (wait.status === "rejected" ? wait.reason : wait.value))).toEqual([
        root.err(),
        root.err(),
        root.err(),
        { value: undefined, ok: false },
      ]);
      await turn();
      expect(called).toBe(1);
    });

    test("ends at the root's deadline", () => {
      vi.useFakeTimers({ now: 0 });
      const { ctx: root } = withTimeout(bg, 1000, doom);
      const ctx = chain(root, link);
      vi.advanceTimersByTime(1000);
      expect(ctx.err()).toBe(root.err());
      expect(ctx.err()?.message).toBe("context deadline exceeded");
      expect(cause(ctx)).toBe(doom);
    });

    test("stands on a foreign signal and on a context of others", () => {
      const controller = new AbortController();
      const onSignal = chain(fromSignal(controller.signal), link);
      const { ctx: inner, cancel } = withCancel(bg);
      const foreign: Context & { toString(): string } = {
        deadline: () => inner.deadline(),
        done: () => inner.done(),
        err: () => inner.err(),
        value: (key: unknown) => inner.value(key),
        signal: inner.signal,
        toString: () => "foreign",
      };
      const onForeign = chain(foreign, link);
      for (const ctx of [onSignal, onForeign]) {
        expect([ctx.err(), ctx.deadline(), cause(ctx)]).toEqual([undefined, undefined, undefined]);
        expect(ctx.done()?.tryReceive()).toBeUndefined();
        expect(ctx.signal.aborted).toBe(false);
        expect(String(ctx).endsWith(text)).toBe(true);
      }
      controller.abort(doom);
      cancel(doom);
      for (const ctx of [onSignal, onForeign]) {
        expect(ctx.err()?.message).toBe("context canceled");
        expect(cause(ctx)).toBe(doom);
        expect(ctx.signal.aborted).toBe(true);
      }
    });
  });

  test("of withoutCancel answers everything", () => {
    const { ctx: root, cancel } = withCancel(withValue(bg, "root", 42));
    const ctx = chain(root, withoutCancel);
    cancel();
    expect([ctx.err(), ctx.deadline(), ctx.done(), cause(ctx)]).toEqual([undefined, undefined, null, undefined]);
    expect([ctx.signal.aborted, ctx.value("root")]).toEqual([false, 42]);
    expect(String(ctx) === String(root) + ".WithoutCancel".repeat(DEPTH)).toBe(true);
  });

  test("of causes is walked to its end", () => {
    let error: Error = new RangeError("innermost");
    for (let i = 0; i < DEPTH; i++) error = new Error("outer", { cause: error });
    expect([is(error, RangeError), is(error, TypeError)]).toEqual([true, false]);
  });
});

test("abort listeners run before the waiters behind a cancelled one are admitted, and may cancel those", async () => {
  for (const first of ["the wait", "the signal"]) {
    const [ctx, cancel] = withCancel(background());
    const [other, cancelOther] = withCancel(background());
    const sem = new Weighted(2);
    sem.tryAcquire();
    const listen = () => ctx.signal.addEventListener("abort", () => cancelOther());
    if (first === "the signal") listen();
    const front = watch(sem.acquire(ctx, 2));
    const behind = watch(sem.acquire(other));
    if (first === "the wait") listen();
    cancel();
    await turns(1);
    expect([front.reason, behind.reason, sem.held()]).toEqual([ctx.err(), other.err(), 1]);
    sem.release();
  }
});
