/**
 * What foreign contexts and signals are asked, when and how often, and what is made of their answers: also of those
 * that come late, twice, or against the rules.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { Channel, type ReceiveChannel } from "gopark/channel";
import {
  background,
  type Cancel,
  Canceled,
  type Context,
  cause,
  fromSignal,
  merge,
  withCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { now } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { timerRefs } from "../src/internal/time/timers.ts";
import { ForeignContext, foreign } from "./support/foreign.ts";
import { collectReported, reportsDue } from "./support/reported.ts";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const doom = new Error("doom");
const why = new Error("why");
const MISSING = "context: internal error: missing cancel error";

/** A wait that only `cancel` can end. */
const waitOn = (cancel: Cancel) => watch(new Channel<number>().receive(cancel));

beforeEach(() => {
  vi.useFakeTimers();
});

/** A signal that is no AbortSignal of the host's: all it has is plain properties. */
class PlainSignal {
  aborted = false;
  reason: unknown = undefined;
  readonly listeners = new Set<() => void>();

  addEventListener(...[type, fn, ...rest]: [string, () => void]): void {
    if (type !== "abort" || rest.length > 0) throw new Error("this signal knows one event, and no options");
    this.listeners.add(fn);
  }

  removeEventListener(type: string, fn: () => void): void {
    if (type === "abort") this.listeners.delete(fn);
  }

  /** Calls the listeners, of which each may take itself off. */
  dispatch(): void {
    for (const fn of [...this.listeners]) fn();
  }

  abort(reason: unknown): void {
    Object.assign(this, { aborted: true, reason });
    this.dispatch();
  }

  /** What a caller in TypeScript would pass. */
  get cancel(): AbortSignal {
    return this as unknown as AbortSignal;
  }
}

describe("a signal of another implementation", () => {
  test("ends a wait, and has no listener when none is left", async () => {
    const signal = new PlainSignal();
    const ch = new Channel<number>();
    const granted = watch(ch.receive(signal.cancel));
    ch.trySend(1);
    await turns(1);
    expect([granted.state, signal.listeners.size]).toEqual(["fulfilled", 0]);
    const waiting = waitOn(signal.cancel);
    await turns(1);
    expect(waiting.state).toBe("pending");
    signal.abort(why);
    await turns(1);
    expect(waiting.reason).toBe(why);
  });

  test("may be a function, as a mock is", async () => {
    const parts = new PlainSignal();
    const signal = Object.assign(() => {}, {
      aborted: false,
      reason: why,
      addEventListener: parts.addEventListener.bind(parts),
      removeEventListener: parts.removeEventListener.bind(parts),
    });
    const waiting = waitOn(signal as unknown as AbortSignal);
    signal.aborted = true;
    parts.dispatch();
    await turns(1);
    expect(waiting.reason).toBe(why);
  });

  test("that calls back at once ends the wait, and is not asked to stop", async () => {
    const signal = new PlainSignal();
    const stopped = vi.spyOn(signal, "removeEventListener");
    signal.addEventListener = (_, fn) => {
      Object.assign(signal, { aborted: true, reason: why });
      fn();
    };
    const waiting = waitOn(signal.cancel);
    await turns(1);
    expect(waiting.reason).toBe(why);
    expect(stopped).not.toHaveBeenCalled();
  });

  // `aborted` is read twice when a wait begins: to recognise a signal, and to ask it.
  test.each([
    ["it calls back", 1],
    ["a wait begins", 2],
  ])("that calls back while it is asked, as %s, ends once, with one reason for all", async (when, reading) => {
    const signal = new PlainSignal();
    let ended = false;
    let readings = 0;
    Object.defineProperties(signal, {
      aborted: {
        get() {
          if (!ended) return false;
          if (++readings === reading) signal.dispatch();
          return true;
        },
      },
      reason: { get: () => new Error("a new one each time") },
    });
    const first = waitOn(signal.cancel);
    ended = true;
    if (when === "it calls back") signal.dispatch();
    const later = [waitOn(signal.cancel), waitOn(signal.cancel)];
    await turns(1);
    expect(first.reason).toBeInstanceOf(Error);
    for (const { reason } of later) expect(reason === first.reason).toBe(true);
  });

  test("that sends an `abort` event while it is being listened to, and has not ended, goes on being listened to", async () => {
    const reported = collectReported();
    const signal = new PlainSignal();
    signal.addEventListener = (_, fn) => {
      signal.listeners.add(fn);
      signal.addEventListener = PlainSignal.prototype.addEventListener;
      fn();
    };
    const waiting = waitOn(signal.cancel);
    await reportsDue();
    expect([waiting.state, reported]).toEqual(["pending", []]);
    signal.abort(why);
    await turns(1);
    expect([waiting.reason, reported]).toEqual([why, []]);
  });
});

test("a signal that was aborted with null ends a context with an error", () => {
  const ctx = fromSignal(AbortSignal.abort(null));
  expect([ctx.err(), cause(ctx)]).toEqual([new Canceled(), ctx.err()]);
});

describe("an `abort` event that other code has dispatched", () => {
  test("ends nothing, and the abort that comes later ends the wait", async () => {
    const controller = new AbortController();
    const waiting = waitOn(controller.signal);
    controller.signal.dispatchEvent(new Event("abort"));
    await turns(1);
    expect(waiting.state).toBe("pending");
    controller.abort(why);
    await turns(1);
    expect(waiting.reason).toBe(why);
  });

  test("leaves no second listener, and none when the wait is over", async () => {
    const signal = new PlainSignal();
    const ch = new Channel<number>();
    const waiting = watch(ch.receive(signal.cancel));
    signal.dispatch();
    expect(signal.listeners.size).toBe(1);
    ch.trySend(1);
    signal.dispatch();
    expect(signal.listeners.size).toBe(0);
    await turns(1);
    expect(waiting.state).toBe("fulfilled");
  });

  test("does not take the listener off inside the event that comes after the end", async () => {
    const signal = new PlainSignal();
    const stopped = vi.spyOn(signal, "removeEventListener");
    const waiting = waitOn(signal.cancel);
    Object.assign(signal, { aborted: true, reason: why });
    const second = waitOn(signal.cancel); // Finds the end.
    signal.dispatch();
    expect(stopped).not.toHaveBeenCalled();
    await turns(1);
    expect([waiting.reason, second.reason, stopped.mock.calls.length]).toEqual([why, why, 1]);
  });
});

describe("a wait that leaves", () => {
  test.each(["a signal", "the context of a signal"])(
    "takes nobody's listener with it: another on %s ends with it",
    async (which) => {
      const signal = new PlainSignal();
      const cancel = which === "a signal" ? signal.cancel : fromSignal(signal.cancel);
      const ch = new Channel<number>();
      const [leaving, staying] = [watch(ch.receive(cancel)), waitOn(cancel)];
      ch.trySend(1);
      const between = watch(ch.receive(cancel));
      ch.trySend(2);
      await turns(1);
      expect([leaving.state, between.state, signal.listeners.size]).toEqual(["fulfilled", "fulfilled", 1]);
      signal.abort(why);
      await turns(1);
      expect(staying.reason).toEqual(which === "a signal" ? why : new Canceled(why));
    },
  );

  test("just before the next one comes: that one still ends with the signal", async () => {
    const signal = new PlainSignal();
    const ch = new Channel<number>();
    void ch.receive(signal.cancel);
    ch.trySend(1);
    const next = waitOn(signal.cancel);
    await turns(1);
    expect(signal.listeners.size).toBe(1);
    signal.abort(why);
    await turns(1);
    expect(next.reason).toBe(why);
  });

  test("just before the abort: nothing is reported", async () => {
    const reported = collectReported();
    const signal = new PlainSignal();
    const ch = new Channel<number>();
    const waiting = watch(ch.receive(signal.cancel));
    ch.trySend(1);
    signal.abort(why);
    await reportsDue();
    expect([waiting.state, reported]).toEqual(["fulfilled", []]);
  });

  test("lets its place be taken any number of times", async () => {
    const signal = new PlainSignal();
    for (let i = 0; i < 3; i++) {
      const ch = new Channel<number>();
      void ch.receive(signal.cancel);
      expect(signal.listeners.size).toBe(1);
      ch.trySend(1);
      await turns(1);
      expect(signal.listeners.size).toBe(0);
    }
  });
});

describe("what a foreign context answers", () => {
  test("is asked twice for a wait: before, and when it is being listened to", async () => {
    const ctx = foreign();
    const err = vi.spyOn(ctx, "err");
    const ch = new Channel<number>();
    const waiting = watch(ch.receive(ctx));
    expect(err).toHaveBeenCalledTimes(2);
    ch.trySend(1);
    await turns(1);
    expect(waiting.state).toBe("fulfilled");
  });

  test("counts, whether or not it has a done channel, and whether or not that is closed", async () => {
    const open = new Channel<never>();
    for (const done of [() => null, () => open]) {
      const ctx = foreign({ done });
      const ch = new Channel<number>();
      const [granted, waiting] = [ch.receive(ctx), ch.receive(ctx)].map(watch);
      ch.trySend(1);
      await turns(1);
      expect([granted?.state, waiting?.state]).toEqual(["fulfilled", "pending"]);
      ctx.err = () => doom;
      const late = waitOn(ctx);
      for (const callBack of ctx.listeners) callBack();
      await turns(1);
      expect([waiting?.reason, late.reason, withCancel(ctx).ctx.err()]).toEqual([doom, doom, doom]);
    }
  });

  test("that it has no done channel, and no afterFunc, is that it never ends", async () => {
    const ctx = Object.assign(foreign({ done: () => null }), { afterFunc: undefined });
    const ch = new Channel<number>();
    const waiting = watch(ch.receive(ctx));
    await turns(1);
    expect([waiting.state, ch.trySend(1)]).toEqual(["pending", true]);
    await turns(1);
    expect(waiting.state).toBe("fulfilled");
  });

  test("that it has ended stands, whatever it answers later", async () => {
    for (const later of [() => undefined, thrower]) {
      const ctx = foreign();
      const waiting = waitOn(ctx);
      ctx.end(doom);
      await turns(1);
      ctx.err = later;
      ctx.done = () => new Channel<never>();
      const next = waitOn(ctx);
      await turns(1);
      expect([waiting.reason, next.reason, withCancel(ctx).ctx.err()]).toEqual([doom, doom, doom]);
    }
  });

  test("by throwing when it has called back is its end, whatever it answers later", async () => {
    const ctx = foreign();
    const waiting = waitOn(ctx);
    ctx.err = thrower;
    for (const callBack of ctx.listeners) callBack();
    await turns(1);
    ctx.err = () => why;
    const next = waitOn(ctx);
    await turns(1);
    expect([waiting.reason, next.reason]).toEqual([doom, doom]);
  });

  test("about a context of ours above it may change: its cause is then the cause", () => {
    const { ctx: inner, cancel } = withCancel(background());
    const own = new Channel<never>();
    const wrapper = foreign({
      done: () => own,
      err: () => doom,
      value: (key: unknown) => inner.value(key) as undefined,
    });
    expect(cause(withCancel(wrapper).ctx)).toBe(doom);
    cancel(why);
    expect(cause(withCancel(wrapper).ctx)).toBe(why);
  });

  test("to a key of the library's has a name for its logs", () => {
    const keys: unknown[] = [];
    const ctx = foreign({
      value(key: unknown): undefined {
        keys.push(key);
      },
    });
    withCancel(ctx).cancel();
    expect(new Set(keys.map(String))).toEqual(new Set(["gopark.source"]));
  });

  function thrower(): never {
    throw doom;
  }
});

test("a foreign context that throws when withValue recognises it fails that call, and nothing else", async () => {
  let failing = true;
  const ctx = foreign({
    value: () => {
      if (failing) throw doom;
    },
  });
  expect(() => withValue(ctx, "key", 1)).toThrow(doom);
  failing = false;
  const below = withValue(ctx, "key", 1);
  const waiting = waitOn(below);
  await turns(1);
  expect([below.err(), waiting.state]).toEqual([undefined, "pending"]);
  ctx.end(why);
  await turns(1);
  expect([below.err(), waiting.reason]).toEqual([why, why]);
});

describe("the afterFunc of a foreign context", () => {
  test.each([undefined, true])("must return a function: with %o the wait is refused", async (stop) => {
    const ctx = foreign({ afterFunc: () => stop as never });
    await expect(new Channel<number>().receive(ctx)).rejects.toThrow(
      new TypeError(`a context's afterFunc must return a function, got ${stop}`),
    );
  });

  test("is called once, even if it begins another wait on the context", async () => {
    const ctx = foreign();
    let inner: ReturnType<typeof waitOn> | undefined;
    const afterFunc = vi.fn((fn: () => void) => {
      inner ??= waitOn(ctx);
      ctx.listeners.add(fn);
      return () => ctx.listeners.delete(fn);
    });
    ctx.afterFunc = afterFunc;
    const outer = waitOn(ctx);
    ctx.end(doom);
    await turns(1);
    expect([outer.reason, inner?.reason]).toEqual([doom, doom]);
    expect(afterFunc).toHaveBeenCalledTimes(1);
  });

  test("may grant the wait: it is taken back then, though nothing was waiting any more when it returned", async () => {
    const ch = new Channel<number>();
    const ctx = foreign();
    ctx.afterFunc = (fn) => {
      ch.trySend(1);
      return ForeignContext.prototype.afterFunc.call(ctx, fn);
    };
    const waiting = watch(ch.receive(ctx));
    expect(ctx.listeners.size).toBe(1);
    await turns(1);
    expect([waiting.state, ctx.listeners.size]).toEqual(["fulfilled", 0]);
  });

  test("may end the context without a word: the wait that has just begun ends", async () => {
    const ctx = foreign();
    ctx.afterFunc = () => {
      ctx.err = () => doom;
      return () => true;
    };
    const waiting = waitOn(ctx);
    await turns(1);
    expect(waiting.reason).toBe(doom);
  });

  test("that calls back without an end is an error of its author: it ends the waits on the context", async () => {
    const ctx = foreign();
    const waiting = waitOn(ctx);
    for (const callBack of ctx.listeners) callBack();
    await turns(1);
    expect(waiting.reason).toEqual(new Error(MISSING));
  });

  test("that does so when no wait is left ends nothing", async () => {
    const ctx = foreign();
    const ch = new Channel<number>();
    void ch.receive(ctx);
    const [callBack] = ctx.listeners;
    ch.trySend(1);
    callBack?.();
    await turns(1);
    const next = waitOn(ctx);
    await turns(1);
    expect(next.state).toBe("pending");
    ctx.end(doom);
    await turns(1);
    expect(next.reason).toBe(doom);
  });
});

describe("the done channel of a foreign context without an afterFunc", () => {
  /** A context whose done channel is received from by this function. */
  function receivedBy(receive: ReceiveChannel<never>["receive"]): ForeignContext {
    const done = Object.assign(new Channel<never>(), { receive });
    return Object.assign(foreign({ done: () => done }), { afterFunc: undefined });
  }

  test("may be received from by one wait after another", async () => {
    const ctx = Object.assign(foreign(), { afterFunc: undefined });
    const ch = new Channel<number>();
    for (let i = 0; i < 2; i++) {
      const waiting = watch(ch.receive(ctx));
      await turns(1);
      expect([ch.trySend(1), waiting.state]).toEqual([true, "pending"]);
      await turns(1);
      expect(waiting.state).toBe("fulfilled");
    }
  });

  test("that rejects ends the waits with its error, then and later", async () => {
    const ctx = receivedBy(() => Promise.reject(doom));
    const waiting = waitOn(ctx);
    await turns(1);
    const next = waitOn(ctx);
    await turns(1);
    expect([waiting.reason, next.reason]).toEqual([doom, doom]);
  });

  test("that rejects after the end was seen does not change that", async () => {
    let fail: (error: unknown) => void = () => {};
    const ctx = receivedBy(
      () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    );
    const waiting = waitOn(ctx);
    ctx.err = () => why;
    const second = waitOn(ctx);
    fail(doom);
    await turns(1);
    const third = waitOn(ctx);
    await turns(1);
    expect([waiting.reason, second.reason, third.reason]).toEqual([why, why, why]);
  });
});

describe("the deadline of a foreign context", () => {
  test("is that of a merged context, if it is the earliest, and not if it is no number", () => {
    const at = now() + 10;
    const { ctx: later, cancel } = withTimeout(background(), 1000);
    const deadlines = [at, undefined, null].map((deadline) =>
      merge(later, foreign({ deadline: () => deadline as undefined })).ctx.deadline(),
    );
    expect(deadlines).toEqual([at, later.deadline(), later.deadline()]);
    cancel();
  });

  test("does not hold a timeout below it back, if it is no number", () => {
    const above = foreign({ deadline: () => null as never });
    const { ctx, cancel } = withTimeout(above, 5);
    expect(ctx.deadline()).toBe(now() + 5);
    vi.advanceTimersByTime(5);
    expect(ctx.err()?.message).toBe("context deadline exceeded");
    cancel();
  });

  test("has a wait on it keep the process alive for it; without one no wait does", async () => {
    const ch = new Channel<number>();
    for (const [deadline, refs] of [
      [now() + 10, 1],
      [undefined, 0],
      [Number.POSITIVE_INFINITY, 0],
    ]) {
      const waiting = watch(ch.receive(foreign({ deadline: () => deadline })));
      expect(timerRefs()).toBe(refs);
      ch.trySend(1);
      await turns(1);
      expect([waiting.state, timerRefs()]).toEqual(["fulfilled", 0]);
    }
  });

  test("has it asked when the deadline has passed, by a look at a context below", () => {
    const ctx = foreign({ deadline: () => now() - 1 });
    const below = withCancel(withCancel(ctx).ctx).ctx;
    expect(below.err()).toBeUndefined();
    ctx.err = () => doom;
    expect(below.err()).toBe(doom);
  });
});

describe("the abort listeners of a context below a foreign one run", () => {
  const store = new AsyncLocalStorage<string>();

  /** A context below, what its listeners said, and the async context in which they said it. */
  function below(parent: Cancel): { ctx: Context; said: unknown[] } {
    const { ctx } = withCancel(parent);
    const said: unknown[] = [];
    store.run("reader", () => {
      ctx.signal.addEventListener("abort", () => said.push(store.getStore()));
    });
    return { ctx, said };
  }

  test("inside the abort event of a signal", () => {
    const controller = new AbortController();
    const { said } = below(controller.signal);
    store.run("caller", () => controller.abort(why));
    expect(said).toEqual(["caller"]);
  });

  test.each(["a context", "a signal", "the context of a signal"])(
    "not inside the look that finds that %s has ended",
    async (which) => {
      const signal = new PlainSignal();
      const parent = { "a context": foreign(), "a signal": signal.cancel }[which] ?? fromSignal(signal.cancel);
      const { ctx, said } = below(parent);
      Object.assign(signal, { aborted: true, reason: why });
      Object.assign(parent, { err: () => doom });
      const receive = store.run("caller", () => waitOn(parent));
      expect(said).toEqual([]);
      await turns(1);
      expect([said, receive.state, ctx.err() !== undefined]).toEqual([["reader"], "rejected", true]);
    },
  );

  test("not inside the wait that could not listen, and ends a context that was made meanwhile", async () => {
    const parent = foreign();
    let inner: ReturnType<typeof below> | undefined;
    parent.afterFunc = () => {
      inner = below(parent);
      throw doom;
    };
    const refused = store.run("caller", () => waitOn(parent));
    expect(inner?.said).toEqual([]);
    await turns(1);
    expect([inner?.said, inner?.ctx.err(), refused.reason]).toEqual([["reader"], doom, doom]);
  });

  test("in the reader's async context, where the done channel rejects or there is no error", async () => {
    const done = Object.assign(new Channel<never>(), { receive: () => Promise.reject(doom) });
    const rejecting = Object.assign(foreign({ done: () => done }), { afterFunc: undefined });
    const missing = foreign();
    const said = store.run("caller", () => [rejecting, missing].map((parent) => below(parent).said));
    store.run("caller", () => {
      for (const callBack of missing.listeners) callBack();
    });
    await turns(1);
    expect(said).toEqual([["reader"], ["reader"]]);
  });
});

test("a wait on the signal of a context adds no listener, and has ended when the abort listeners run", async () => {
  const { ctx, cancel } = withCancel(background());
  const ch = new Channel<number>();
  const added = vi.spyOn(ctx.signal, "addEventListener");
  let sent: boolean | undefined;
  ctx.signal.addEventListener("abort", () => {
    sent = ch.trySend(1);
  });
  const waiting = watch(ch.receive(ctx.signal));
  expect(added).toHaveBeenCalledTimes(1);
  cancel();
  await turns(1);
  expect([sent, waiting.reason]).toEqual([false, ctx.err()]);
});

test("what is nearly a context, or nearly a signal, is refused", async () => {
  const method = () => undefined;
  for (const nearly of [
    { done: method, value: method },
    { err: method, value: method },
    { err: method, done: method },
    { aborted: false },
    { addEventListener: method },
  ]) {
    await expect(new Channel<number>().receive(nearly as never)).rejects.toThrow(
      new TypeError("expected a Context or an AbortSignal, got an object (Object)"),
    );
  }
});
