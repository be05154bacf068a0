/**
 * Objects in place of a context of ours: derived from it, a proxy of it, or a wrapper around it.
 */
import { Channel } from "gopark/channel";
import {
  afterFunc,
  background,
  Canceled,
  type Context,
  cause,
  contextKey,
  fromSignal,
  withCancel,
  withDeadline,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { Group } from "gopark/errgroup";
import { Limiter } from "gopark/rate";
import { select, trySelect } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { now, sleep } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { foreign } from "./support/foreign.ts";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

const KEY = contextKey<string>("key");
const why = new Error("why");

/** Contexts that end with the cause `why`. */
const finite: Record<string, () => { ctx: Context; end(): void }> = {
  withCancel: () => {
    const { ctx, cancel } = withCancel(withValue(background(), KEY, "value"));
    return { ctx, end: () => cancel(why) };
  },
  withTimeout: () => {
    const { ctx, cancel } = withTimeout(withValue(background(), KEY, "value"), 1000);
    return { ctx, end: () => cancel(why) };
  },
  withValue: () => {
    const { ctx, cancel } = withCancel(background());
    return { ctx: withValue(ctx, KEY, "value"), end: () => cancel(why) };
  },
  fromSignal: () => {
    const controller = new AbortController();
    return { ctx: withValue(fromSignal(controller.signal), KEY, "value"), end: () => controller.abort(why) };
  },
  "fromSignal itself": () => {
    const controller = new AbortController();
    return { ctx: fromSignal(controller.signal), end: () => controller.abort(why) };
  },
};

const shapes: Record<string, <T extends object>(of: T) => T> = {
  "an object derived from": (of) => Object.assign(Object.create(of), { requestId: 7 }),
  "an object derived twice from": (of) => Object.create(Object.create(of)),
  "a proxy of": (of) => new Proxy(of, {}),
};

describe.each(Object.keys(shapes))("%s", (shape) => {
  const shaped = (ctx: Context): Context => (shapes[shape] as (of: Context) => Context)(ctx);

  describe.each(Object.keys(finite))("%s", (kind) => {
    const made = () => (finite[kind] as () => { ctx: Context; end(): void })();

    test("answers as the context does, before and after the end", async () => {
      const { ctx, end } = made();
      const derived = shaped(ctx);
      const same = () => {
        expect(derived.err()).toBe(ctx.err());
        expect(derived.deadline()).toBe(ctx.deadline());
        expect(derived.value(KEY)).toBe(ctx.value(KEY));
        expect(cause(derived)).toBe(cause(ctx));
      };
      same();
      end();
      await turns(1);
      same();
      expect(derived.err()).toBeDefined();
    });

    test("has its done channel and its signal, in whichever order they are read", async () => {
      for (const first of ["derived", "context"]) {
        const { ctx, end } = made();
        const derived = shaped(ctx);
        const [a, b] = first === "derived" ? [derived, ctx] : [ctx, derived];
        expect(a.signal).toBe(b.signal);
        const done = a.done();
        expect(b.done()).toBe(done);
        const closed = watch(b.done()?.receive() as Promise<unknown>);
        end();
        await turns(1);
        expect(derived.signal.aborted).toBe(true);
        expect(closed.value).toEqual({ value: undefined, ok: false });
      }
    });

    test("ends a select that is the first to wait for it", async () => {
      const { ctx, end } = made();
      const derived = shaped(ctx);
      const selected = watch(select({ derived, never: new Channel() }));
      end();
      await turns(1);
      expect(selected.value).toEqual({ case: "derived", value: ctx.err() });
    });

    test("ends all that hangs on it", async () => {
      const { ctx, end } = made();
      const derived = shaped(ctx);
      const ran = vi.fn();
      const child = withCancel(derived);
      const below = withValue(child.ctx, "more", 1);
      const sem = new Weighted(1);
      sem.tryAcquire();
      const waiting = [
        new Channel<number>().receive(derived),
        new Channel<number>().send(1, child.ctx),
        sem.acquire(below),
        sleep(1000, derived),
      ].map(watch);
      const selected = watch(select({ derived, never: new Channel() }));
      afterFunc(derived, ran);
      end();
      await turns(2);
      expect(waiting.map(({ reason }) => reason)).toEqual(Array(4).fill(ctx.err()));
      expect(selected.value).toEqual({ case: "derived", value: ctx.err() });
      expect(trySelect({ derived })).toEqual({ case: "derived", value: ctx.err() });
      expect([child.ctx.err(), cause(child.ctx)]).toEqual([ctx.err(), why]);
      expect(ran).toHaveBeenCalledTimes(1);
      await expect(new Group().wait(derived)).rejects.toBe(ctx.err());
      sem.release();
    });
  });

  test.each([
    ["background", background()],
    ["withoutCancel", withoutCancel(withValue(background(), KEY, "value"))],
  ])("%s never ends, and has its values and its signal", (_, ctx) => {
    const derived = shaped(ctx);
    expect([derived.err(), derived.done(), derived.deadline()]).toEqual([undefined, null, undefined]);
    expect(derived.value(KEY)).toBe(ctx.value(KEY));
    expect(derived.signal).toBe(ctx.signal);
    expect(trySelect({ derived })).toBeUndefined();
    const { ctx: child, cancel } = withCancel(derived);
    expect(child.err()).toBeUndefined();
    cancel();
  });

  test("a deadline ends with it, and is the children's too", () => {
    const { ctx } = withTimeout(background(), 10);
    const derived = shaped(ctx);
    const child = withTimeout(derived, 1000);
    expect(child.ctx.deadline()).toBe(ctx.deadline());
    vi.advanceTimersByTime(10);
    expect([derived.err(), child.ctx.err()]).toEqual([ctx.err(), ctx.err()]);
    expect(ctx.err()).toBeDefined();
  });
});

/** A wrapper of a user's own, which hands out the inner done channel and has its own opinion on the deadline. */
class Wrapper implements Context {
  readonly inner: Context;
  readonly at: number | undefined;

  constructor(inner: Context, at: number | undefined) {
    this.inner = inner;
    this.at = at;
  }

  deadline(): number | undefined {
    return this.at;
  }

  done() {
    return this.inner.done();
  }

  err() {
    return this.inner.err();
  }

  value(key: unknown) {
    return this.inner.value(key);
  }

  get signal() {
    return this.inner.signal;
  }
}

describe("a wrapper with an error of its own has the cause of the context inside:", () => {
  const around = (ctx: Context): Context =>
    Object.assign(new Wrapper(ctx, undefined), { err: () => ctx.err() && new Error("its own") });

  test.each([why, undefined])("one that was cancelled with %s", (given) => {
    const { ctx, cancel } = withCancel(background());
    expect(cause(around(ctx))).toBeUndefined();
    cancel(given);
    expect(cause(around(ctx))).toBe(given ?? ctx.err());
  });

  test("that of a signal, aborted with a context's error", () => {
    expect(cause(around(fromSignal(AbortSignal.abort(new Canceled(why)))))).toBe(why);
  });

  test("one that ended by what a context above it threw: that error", async () => {
    const parent = foreign();
    const wrapper = around(withCancel(parent).ctx);
    parent.err = () => {
      throw why;
    };
    for (const callBack of parent.listeners) callBack();
    await turns(1);
    expect(cause(wrapper)).toBe(why);
  });
});

describe("a wrapper with a deadline of its own", () => {
  /** A limiter whose next event is a second away. */
  function spent(): Limiter {
    const limiter = new Limiter(1, 1);
    limiter.allow();
    return limiter;
  }

  const tooLate = "rate: Wait(n=1) would exceed context deadline";

  test("hands it down to its children and theirs", () => {
    const { ctx, cancel } = withTimeout(background(), 1000);
    const at = now() + 10;
    const wrapper = new Wrapper(ctx, at);
    const child = withCancel(wrapper);
    const grandchild = withCancel(withValue(child.ctx, "key", 1));
    expect([child.ctx.deadline(), grandchild.ctx.deadline()]).toEqual([at, at]);
    expect(withTimeout(grandchild.ctx, 500).ctx.deadline()).toBe(at);
    const earlier = withDeadline(child.ctx, at - 5);
    expect(earlier.ctx.deadline()).toBe(at - 5);
    cancel();
    expect([child.ctx.err(), grandchild.ctx.err()]).toEqual([ctx.err(), ctx.err()]);
  });

  test("is what a limiter asks, though the inner one has none or a later one", async () => {
    for (const inner of [withCancel(background()), withTimeout(background(), 100_000)]) {
      const wrapper = new Wrapper(inner.ctx, now() + 10);
      const limiter = spent();
      await expect(limiter.wait(wrapper)).rejects.toThrow(tooLate);
      const child = withCancel(wrapper);
      await expect(limiter.wait(child.ctx)).rejects.toThrow(tooLate);
      await expect(limiter.wait(withValue(wrapper, "key", 1))).rejects.toThrow(tooLate);
      expect(limiter.tokens()).toBe(0);
      inner.cancel();
    }
  });

  test("may be later than the inner one, or none: then a limiter waits, and the inner one's end ends the wait", async () => {
    for (const at of [undefined, now() + 100_000]) {
      const inner = withTimeout(background(), 10);
      const wrapper = new Wrapper(inner.ctx, at);
      const waiting = watch(spent().wait(wrapper));
      await turns(1);
      expect(waiting.state).toBe("pending");
      expect(withCancel(wrapper).ctx.deadline()).toBe(at);
      await vi.advanceTimersByTimeAsync(10);
      expect(waiting.reason).toBe(inner.ctx.err());
    }
  });
});
