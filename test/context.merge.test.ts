/** `context.merge`: a context with several parents. */
import { isDeepStrictEqual } from "node:util";
import { Channel } from "gopark/channel";
import {
  afterFunc,
  background,
  Canceled,
  type CancelScope,
  type Context,
  cause,
  contextKey,
  DeadlineExceeded,
  fromSignal,
  merge,
  todo,
  withCancel,
  withDeadline,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { counters, current, find, verifyNone } from "gopark/leak";
import { now, sleep } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { sourceOf } from "../src/internal/wait/foreign.ts";
import { foreign } from "./support/foreign.ts";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const dependents = (ctx: Context) => sourceOf(ctx).size;

/** A merged context of `n` parents, which end by themselves. */
function family(n = 3): { parents: CancelScope[]; merged: CancelScope } {
  const parents = Array.from({ length: n }, () => withCancel(bg));
  const [first, ...others] = parents.map(({ ctx }) => ctx);
  return { parents, merged: merge(first, ...others) };
}

const endAll = (scopes: readonly CancelScope[]) => {
  for (const { cancel } of scopes) cancel();
};

describe("ends with whichever parent ends first", () => {
  test.each([0, 1, 2])("parent %d: with its error and its cause, and is linked to none any more", (which) => {
    const { parents, merged } = family();
    const child = withCancel(merged.ctx);
    const why = new Error("why");
    const order: string[] = [];
    const waiting = watch(new Channel().receive(child.ctx));
    merged.ctx.signal.addEventListener("abort", () => order.push(String(child.ctx.err())));
    afterFunc(child.ctx, () => order.push("afterFunc"));
    const done = merged.ctx.done() as NonNullable<ReturnType<Context["done"]>>;
    expect(parents.map(({ ctx }) => dependents(ctx))).toEqual([1, 1, 1]);
    parents[which]?.cancel(why);
    expect(merged.ctx.err()).toBe(parents[which]?.ctx.err());
    expect(child.ctx.err()).toBe(merged.ctx.err());
    expect([cause(merged.ctx), cause(child.ctx)]).toEqual([why, why]);
    expect(merged.ctx.signal.aborted).toBe(true);
    expect(done.tryReceive()).toEqual({ value: undefined, ok: false });
    expect(parents.map(({ ctx }) => dependents(ctx))).toEqual([0, 0, 0]);
    endAll(parents);
    expect(cause(merged.ctx)).toBe(why);
    return turn().then(() => {
      expect([waiting.reason, order]).toEqual([merged.ctx.err(), ["AbortError: context canceled", "afterFunc"]]);
    });
  });

  test("a deadline: with DeadlineExceeded, seen by a look before the loop turns", () => {
    vi.useFakeTimers();
    const late = withTimeout(bg, 100);
    const soon = withTimeout(bg, 50);
    const merged = merge(late.ctx, soon.ctx, bg);
    expect(merged.ctx.deadline()).toBe(soon.ctx.deadline());
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 60);
    expect(merged.ctx.err()).toBeInstanceOf(DeadlineExceeded);
    expect(soon.ctx.err()).toBe(merged.ctx.err());
    expect(late.ctx.err()).toBeUndefined();
    late.cancel();
  });

  test("parents that end together, by their own parent: once, with one error", () => {
    const root = withCancel(bg);
    const [a, b] = [withCancel(root.ctx), withCancel(root.ctx)];
    const merged = merge(a.ctx, b.ctx, root.ctx, a.ctx);
    const below = withCancel(merged.ctx);
    let aborts = 0;
    below.ctx.signal.addEventListener("abort", () => aborts++);
    root.cancel();
    expect([merged.ctx.err(), below.ctx.err(), aborts]).toEqual([root.ctx.err(), root.ctx.err(), 1]);
  });

  test("its own cancel function: alone", () => {
    const { parents, merged } = family();
    merged.cancel(new Error("done"));
    expect([merged.ctx.err(), parents.map(({ ctx }) => ctx.err())]).toEqual([
      expect.any(Canceled),
      [undefined, undefined, undefined],
    ]);
    expect(parents.map(({ ctx }) => dependents(ctx))).toEqual([0, 0, 0]);
    endAll(parents);
  });

  test("a parent that has ended before: at once, linked to none", () => {
    const { parents } = family();
    const late = withTimeout(bg, 1000);
    const ended = withDeadline(bg, now() - 1, new Error("late"));
    const merged = merge(late.ctx, parents[0]?.ctx, ended.ctx, parents[1]?.ctx);
    expect(merged.ctx.err()).toBe(ended.ctx.err());
    expect(String(cause(merged.ctx))).toBe("Error: late");
    expect(dependents(late.ctx)).toBe(0);
    endAll([...parents, late]);
  });

  test("a signal, or a context of another implementation", async () => {
    const controller = new AbortController();
    const live = withCancel(bg);
    const bySignal = merge(live.ctx, controller.signal);
    controller.abort(new Error("gone"));
    expect([bySignal.ctx.err(), String(cause(bySignal.ctx))]).toEqual([expect.any(Canceled), "Error: gone"]);

    for (const isFirst of [true, false]) {
      const other = foreign();
      const byForeign = isFirst ? merge(other, live.ctx) : merge(live.ctx, other);
      const error = new Error("ended");
      other.end(error);
      await turn();
      expect([byForeign.ctx.err(), dependents(live.ctx)]).toEqual([error, 0]);
    }
    live.cancel();
  });

  test("the context of a signal: what is below ends as that context does, not as the signal", () => {
    const controller = new AbortController();
    const live = withCancel(bg);
    const merged = merge(live.ctx, fromSignal(controller.signal));
    const child = withCancel(merged.ctx);
    controller.abort("reason");
    expect([child.ctx.err(), cause(child.ctx)]).toEqual([expect.any(Canceled), "reason"]);
    expect(child.ctx.err()).toBe(merged.ctx.err());
    live.cancel();
  });
});

test("it has the values of the first, and the earliest deadline of all", () => {
  const key = contextKey<string>("key");
  const other = contextKey<string>("other");
  const [a, b] = [withTimeout(bg, 2000), withTimeout(bg, 1000)];
  const merged = merge(withValue(a.ctx, key, "a"), withValue(withValue(b.ctx, key, "b"), other, "b"));
  expect([merged.ctx.value(key), merged.ctx.value(other)]).toEqual(["a", undefined]);
  expect([merged.ctx.deadline(), merge(b.ctx, a.ctx).ctx.deadline()]).toEqual([b.ctx.deadline(), b.ctx.deadline()]);
  const child = withTimeout(merged.ctx, 5000);
  expect(child.ctx.deadline()).toBe(b.ctx.deadline());
  endAll([a, b]);
});

test.each([0, 1, 2])(
  "a deadline of parent %d alone is its own, and is seen by a look before the loop turns",
  (which) => {
    vi.useFakeTimers();
    const soon = withTimeout(bg, 50);
    const [first, ...others] = [0, 1, 2].map((i) => (i === which ? soon.ctx : bg));
    const merged = merge(first, ...others);
    expect(merged.ctx.deadline()).toBe(soon.ctx.deadline());
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 60);
    expect(merged.ctx.err()).toBeInstanceOf(DeadlineExceeded);
    expect(soon.ctx.err()).toBe(merged.ctx.err());
  },
);

test.each(["a look", "the event loop"])(
  "of two deadlines at one instant it has the cause of the first, by %s",
  (by) => {
    vi.useFakeTimers();
    const at = now() + 50;
    const [a, b] = [withDeadline(bg, at, "a"), withDeadline(bg, at, "b")];
    const merged = merge(a.ctx, b.ctx);
    if (by === "a look") vi.spyOn(performance, "now").mockReturnValue(performance.now() + 60);
    else vi.advanceTimersByTime(60);
    expect(cause(merged.ctx)).toBe("a");
    endAll([a, b]);
  },
);

test("with one parent, or undefined, it is a child as any", () => {
  const parent = withCancel(bg);
  const merged = [merge(parent.ctx), merge(undefined, parent.ctx), merge(parent.ctx, undefined, todo())];
  parent.cancel();
  expect(merged.map(({ ctx }) => ctx.err())).toEqual(Array(3).fill(parent.ctx.err()));
});

test("nothing gathers on a parent that lives long", async () => {
  const server = withCancel(bg);
  for (let i = 0; i < 1000; i++) {
    const request = withCancel(bg);
    const merged = merge(request.ctx, server.ctx);
    void sleep(10, merged.ctx).catch(() => {});
    if (i % 2 === 0) request.cancel();
    else merged.cancel();
    request.cancel();
  }
  expect(dependents(server.ctx)).toBe(0);
  server.cancel();
  await turn();
});

test("it is counted once, with the caller's place, until it has ended", () => {
  const parents = [withCancel(bg), withCancel(bg)];
  const before = counters().context as number;
  function userMerges() {
    return merge(parents[0]?.ctx, parents[1]?.ctx);
  }
  const merged = userMerges();
  expect(counters().context).toBe(before + 1);
  expect(find().filter(({ stack }) => /^\s*at userMerges /.test(stack ?? ""))).toHaveLength(1);
  parents[1]?.cancel();
  expect([counters().context, merged.ctx.err()]).toEqual([before - 1, expect.any(Canceled)]);
  parents[0]?.cancel();
});

test("when its cancel function is lost, that is a proved leak only if no parent can end it", async () => {
  const live = withCancel(bg);
  const lose = (...parents: Context[]) => void merge(bg, ...parents);
  const ignore = current();
  lose(todo());
  lose(live.ctx);
  lose(live.ctx, todo());
  const found = () => find({ ignore }).map(({ kind, proved, lostCancel }) => ({ kind, proved, lostCancel }));
  const wanted = [
    { kind: "context", proved: true, lostCancel: false },
    { kind: "context", proved: false, lostCancel: true },
    { kind: "context", proved: false, lostCancel: true },
  ];
  await collectUntil(() => isDeepStrictEqual(found(), wanted));
  expect(found()).toEqual(wanted);
  live.cancel();
  await expect(verifyNone({ ignore })).rejects.toThrow("1 context");
});

test("its string names all parents", () => {
  const parent = withCancel(bg);
  const merged = merge(parent.ctx, todo(), withoutCancel(bg));
  expect(String(merged.ctx)).toBe(
    "context.Background.WithCancel.Merge(context.TODO, context.Background.WithoutCancel)",
  );
  parent.cancel();
});

describe("bad parents", () => {
  test("null and other things are refused, and nothing is linked", () => {
    const parent = withCancel(bg);
    for (const bad of [null, {}, 7, "ctx"]) {
      expect(() => merge(parent.ctx, bad as never)).toThrow(TypeError);
      expect(() => merge(bad as never, parent.ctx)).toThrow(TypeError);
    }
    expect(dependents(parent.ctx)).toBe(0);
    parent.cancel();
  });

  test("what a foreign one throws when it is asked is thrown, and nothing is linked", () => {
    const boom = new Error("boom");
    const parent = withCancel(bg);
    const throwing = foreign({
      err: () => {
        throw boom;
      },
    });
    expect(() => merge(parent.ctx, throwing)).toThrow(boom);
    expect([dependents(parent.ctx), throwing.listeners.size]).toEqual([0, 0]);
    parent.cancel();
  });

  test("one that ends another parent while it is asked, or listened to", async () => {
    for (const when of ["asked", "listened to"]) {
      const first = withCancel(bg);
      const evil = foreign(
        when === "asked"
          ? {
              err: () => {
                first.cancel();
                return undefined;
              },
            }
          : ({
              afterFunc: () => {
                first.cancel();
                return () => true;
              },
            } as never),
      );
      const last = withCancel(bg);
      const merged = merge(first.ctx, evil, last.ctx);
      expect([merged.ctx.err(), dependents(last.ctx)]).toEqual([first.ctx.err(), 0]);
      last.cancel();
      await turn();
    }
  });

  test("those behind one that ends the first, when it is listened to, are not listened to", () => {
    const first = withCancel(bg);
    const evil = foreign({
      afterFunc: () => {
        first.cancel();
        return () => true;
      },
    });
    const behind = vi.fn(() => () => true);
    expect(merge(first.ctx, evil, foreign({ afterFunc: behind })).ctx.err()).toBe(first.ctx.err());
    expect(behind).not.toHaveBeenCalled();
  });
});
