import {
  afterFunc,
  background,
  Canceled,
  type Context,
  cause,
  contextKey,
  DeadlineExceeded,
  fromSignal,
  is,
  todo,
  withCancel,
  withDeadline,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { find } from "gopark/leak";
import { trySelect } from "gopark/select";
import { now } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { armed } from "../src/internal/time/timers.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

const liveContexts = (): number => find().filter((leak) => leak.kind === "context").length;

function expectAlive(ctx: Context): void {
  expect([ctx.err(), cause(ctx), ctx.done() && trySelect({ done: ctx.done() })]).toEqual([
    undefined,
    undefined,
    ctx.done() && undefined,
  ]);
}

function expectEnded(ctx: Context, type: new () => Error = Canceled): void {
  expect(ctx.err()).toBeInstanceOf(type);
  expect(trySelect({ done: ctx.done() })).toEqual({ case: "done", value: undefined, ok: false });
}

describe("the roots", () => {
  test.each([
    ["Background", background(), "context.Background"],
    ["TODO", todo(), "context.TODO"],
  ])("%s never ends and has nothing", (_, ctx, name) => {
    expect([ctx.deadline(), ctx.done(), ctx.err(), ctx.value("key"), cause(ctx), String(ctx)]).toEqual([
      undefined,
      null,
      undefined,
      undefined,
      undefined,
      name,
    ]);
    expect(ctx.signal.aborted).toBe(false);
    expect(ctx.signal).toBe(ctx.signal);
  });
});

describe("withCancel", () => {
  test("WithCancel: the end spreads before cancel returns", () => {
    const { ctx: parent, cancel } = withCancel(background());
    const child = withValue(withCancel(parent).ctx, "k", "v");
    expectAlive(child);
    const done = child.done();
    cancel();
    for (const ctx of [parent, child]) expectEnded(ctx);
    expect(child.err()).toBe(parent.err());
    expect(child.done()).toBe(done);
    cancel();
    expectEnded(parent);
  });

  test("ParentFinishesChild and ChildFinishesFirst: a child's end leaves the parent, and the parent forgets it", () => {
    const { ctx: parent, cancel } = withCancel(background());
    const first = withCancel(parent);
    const second = withCancel(parent);
    first.cancel();
    expectEnded(first.ctx);
    expectAlive(parent);
    expectAlive(second.ctx);
    expect(liveContexts()).toBe(2);
    cancel();
    expectEnded(second.ctx);
    expect(liveContexts()).toBe(0);
  });

  test("WithCancelCanceledParent: a child of an ended parent is born ended, with its error and cause", () => {
    const { ctx: parent, cancel } = withCancel(background());
    const why = new Error("why");
    cancel(why);
    const { ctx } = withTimeout(parent, 1000);
    expect([ctx.err(), cause(ctx), armed(), liveContexts()]).toEqual([parent.err(), why, 0, 0]);
  });

  test("a chain of any depth, and a parent of any width, end at once", () => {
    const { ctx: root, cancel } = withCancel(background());
    let deep = root;
    for (let i = 0; i < 10_000; i++) deep = withCancel(withValue(deep, i, i)).ctx;
    const wide = Array.from({ length: 10_000 }, () => withCancel(root).ctx);
    expect(deep.value(0)).toBe(0);
    cancel();
    expectEnded(deep);
    expect(wide.every((ctx) => ctx.err() === root.err())).toBe(true);
  });

  test("is a pair, an object and disposable; disposing twice is harmless", () => {
    const scope = withCancel(background());
    const [ctx, cancel] = scope;
    expect([scope.ctx, scope.cancel, scope.length]).toEqual([ctx, cancel, 2]);
    scope[Symbol.dispose]();
    scope[Symbol.dispose]();
    expectEnded(ctx);
  });
});

describe("deadlines", () => {
  test("Deadline, Timeout and the layers above: DeadlineExceeded at the instant, and not before", () => {
    using layer = withCancel(background());
    for (const make of [
      () => withDeadline(background(), now() + 50),
      () => withDeadline(background(), new Date(Math.ceil(now() + 50))),
      () => withTimeout(background(), 50),
      () => withTimeout(layer.ctx, 50),
      () => withDeadline(withTimeout(background(), 50).ctx, now() + 1000),
    ]) {
      const { ctx, cancel } = make();
      const child = withValue(ctx, "k", "v");
      expectAlive(child);
      expect(child.deadline()).toBe(ctx.deadline());
      vi.advanceTimersByTime(51);
      expectEnded(child, DeadlineExceeded);
      cancel();
      expect(child.err()).toBeInstanceOf(DeadlineExceeded);
    }
  });

  test("CanceledTimeout: a cancel before the deadline gives Canceled, and disarms", () => {
    const { ctx, cancel } = withTimeout(background(), 50, new Error("too slow"));
    cancel();
    expect([armed(), cause(ctx) === ctx.err()]).toEqual([0, true]);
    vi.advanceTimersByTime(100);
    expectEnded(ctx);
  });

  test("one that has passed is born ended", () => {
    for (const ms of [0, -1, Number.NEGATIVE_INFINITY]) {
      const { ctx } = withTimeout(background(), ms, "late");
      expectEnded(ctx, DeadlineExceeded);
      expect(cause(ctx)).toBe("late");
    }
  });

  test("of Infinity is none, and one after the parent's is the parent's", () => {
    using never = withTimeout(background(), Number.POSITIVE_INFINITY);
    expect([never.ctx.deadline(), armed()]).toEqual([undefined, 0]);
    using parent = withTimeout(background(), 10);
    using child = withTimeout(parent.ctx, 20);
    expect([child.ctx.deadline(), armed()]).toEqual([parent.ctx.deadline(), 1]);
  });

  test("of 2^31 ms and more last that long", () => {
    using scope = withTimeout(background(), 2 ** 31);
    vi.advanceTimersByTime(2 ** 31 - 1);
    expect(scope.ctx.err()).toBeUndefined();
    vi.advanceTimersByTime(1);
    expectEnded(scope.ctx, DeadlineExceeded);
  });

  test("DeadlineExceededSupportsTimeout: the names that users of fetch test for, and Go's words", () => {
    const late = new DeadlineExceeded();
    expect([late.name, late.message, late.timeout(), late.temporary()]).toEqual([
      "TimeoutError",
      "context deadline exceeded",
      true,
      true,
    ]);
    const canceled = new Canceled();
    expect([canceled.name, canceled.message]).toEqual(["AbortError", "context canceled"]);
  });

  test.each([Canceled, DeadlineExceeded])("%o has a cause if one is given, and no such property otherwise", (error) => {
    for (const none of [new error(), new error(undefined), new error(null)]) expect("cause" in none).toBe(false);
    for (const cause of [new Error("why"), "why", 0, false]) expect(new error(cause).cause).toBe(cause);
  });
});

describe("values", () => {
  test("Values: the nearest one for the key, and undefined for others; keys of one name are different keys", () => {
    const a = contextKey<string>("key");
    const b = contextKey<string>("key");
    const one = withValue(background(), a, "one");
    using layer = withCancel(one);
    const two = withValue(layer.ctx, b, "two");
    const three = withValue(two, a, "three");
    expect([one.value(a), one.value(b), two.value(a), two.value(b), three.value(a), three.value(b)]).toEqual([
      "one",
      undefined,
      "one",
      "two",
      "three",
      "two",
    ]);
    expect(String(one)).toBe("context.Background.WithValue(key, one)");
  });

  test("WithoutCancel keeps the values and drops the rest", () => {
    const { ctx: parent, cancel } = withTimeout(withValue(background(), "k", "v"), 10);
    const ctx = withoutCancel(parent);
    cancel(new Error("why"));
    expect([ctx.value("k"), ctx.deadline(), ctx.done(), ctx.err(), cause(ctx)]).toEqual([
      "v",
      undefined,
      null,
      undefined,
      undefined,
    ]);
    const { ctx: child, cancel: end } = withCancel(ctx);
    expectAlive(child);
    end();
    expect(ctx.signal.aborted).toBe(false);
  });
});

describe("signals", () => {
  test("ctx.signal is aborted with err() as its reason, at once, and fromSignal leads back", () => {
    const { ctx, cancel } = withCancel(background());
    const { signal } = ctx;
    expect([fromSignal(signal) === ctx, signal.aborted]).toEqual([true, false]);
    let reason: unknown;
    signal.addEventListener("abort", () => {
      reason = signal.reason;
    });
    cancel(new Error("why"));
    expect([signal.aborted, reason === ctx.err()]).toEqual([true, true]);
    expect(ctx.signal).toBe(signal);
    const ended = withCancel(background());
    ended.cancel();
    expect(ended.ctx.signal.aborted).toBe(true);
  });

  test("fromSignal ends with the signal, even without a listener; one context for one signal", () => {
    const controller = new AbortController();
    const ctx = fromSignal(controller.signal);
    expect(fromSignal(controller.signal)).toBe(ctx);
    const { ctx: child } = withCancel(controller.signal);
    const why = new Error("why");
    controller.abort(why);
    expect(ctx.err()).toBeInstanceOf(Canceled);
    expect([cause(ctx), child.err(), cause(child)]).toEqual([why, ctx.err(), why]);
  });

  test("an abort listener that sees another's end late still sees it: err() asks the signal itself", () => {
    const controller = new AbortController();
    let seen: unknown;
    const ctx = fromSignal(controller.signal);
    controller.signal.addEventListener("abort", () => {
      seen = ctx.err();
    });
    controller.abort();
    expect(seen).toBeInstanceOf(Canceled);
  });
});

describe("is", () => {
  test("looks through causes, knows subclasses, and ends in a circle", () => {
    const late = new DeadlineExceeded();
    const wrapped = new Error("outer", { cause: new Error("inner", { cause: late }) });
    expect([is(wrapped, DeadlineExceeded), is(wrapped, Canceled), is(undefined, Canceled), is("x", Canceled)]).toEqual([
      true,
      false,
      false,
      false,
    ]);
    class Special extends Canceled {}
    expect([is(new Special(), Canceled), is(new Canceled(), Special)]).toEqual([true, false]);
    const circle = new Error("circle");
    circle.cause = circle;
    expect(is(circle, Canceled)).toBe(false);
  });
});

describe("bad input", () => {
  test("InvalidDerivedFail: a missing parent, and one of another type", () => {
    for (const derive of [
      withCancel,
      withoutCancel,
      (p: Context) => withTimeout(p, 1),
      (p: Context) => withValue(p, 1, 1),
    ]) {
      expect(() => derive(null as never)).toThrow(new TypeError("cannot create context from nil parent"));
      expect(() => derive({} as never)).toThrow("expected a Context or an AbortSignal, got an object (Object)");
    }
  });

  test.each([undefined, null])("a key that is %s", (key) => {
    expect(() => withValue(background(), key, 1)).toThrow(new TypeError("nil key"));
  });

  test("a deadline that is not a valid instant arms nothing", () => {
    expect(() => withTimeout(background(), Number.NaN)).toThrow(RangeError);
    expect(() => withTimeout(background(), "10" as never)).toThrow("withTimeout: ms must be a number of milliseconds");
    expect(() => withDeadline(background(), Number.NaN)).toThrow(RangeError);
    expect(() => withDeadline(background(), new Date(Number.NaN))).toThrow(
      "withDeadline: at must be an instant, got Invalid Date",
    );
    expect([armed(), liveContexts()]).toEqual([0, 0]);
  });

  test.each([0, 1, 1000])("a deadline %d ms ago arms nothing", (ago) => {
    vi.useFakeTimers();
    const [ctx] = withDeadline(background(), now() - ago, "why");
    expect([armed(), ctx.err() instanceof DeadlineExceeded, cause(ctx)]).toEqual([0, true, "why"]);
  });

  test("an afterFunc that is not a function, and a signal that is not a signal", () => {
    expect(() => afterFunc(background(), 1 as never)).toThrow(TypeError);
    expect(() => fromSignal({} as never)).toThrow("signal must be an AbortSignal, got an object (Object)");
  });
});
