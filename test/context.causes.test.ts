/** Go's table of errors and causes: those of a context and of its children, for each way of ending. */
import {
  background,
  Canceled,
  type Context,
  cause,
  DeadlineExceeded,
  fromSignal,
  todo,
  withCancel,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { beforeEach, expect, test, vi } from "vitest";

beforeEach(() => {
  vi.useFakeTimers();
});

/** The err and cause after each: Go's table. */
const parentCause = new Error("parent");
const childCause = new Error("child");
const lateCause = new Error("too slow");
const causes: [string, () => Context, new () => Error, unknown][] = [
  ["Background", background, undefined as never, undefined],
  ["TODO", todo, undefined as never, undefined],
  ["WithCancel", () => cancelled(withCancel(background())), Canceled, "err"],
  ["WithCancelCause", () => cancelled(withCancel(background()), parentCause), Canceled, parentCause],
  ["WithCancelCause nil", () => cancelled(withCancel(background()), null), Canceled, "err"],
  [
    "WithCancelCause: parent before child",
    () => {
      const parent = withCancel(background());
      const child = withCancel(parent.ctx);
      parent.cancel(parentCause);
      child.cancel(childCause);
      return child.ctx;
    },
    Canceled,
    parentCause,
  ],
  [
    "WithCancelCause: child before parent",
    () => {
      const parent = withCancel(background());
      const child = withCancel(parent.ctx);
      child.cancel(childCause);
      parent.cancel(parentCause);
      return child.ctx;
    },
    Canceled,
    childCause,
  ],
  [
    "WithCancel under WithCancelCause",
    () => {
      const parent = withCancel(background());
      const child = withCancel(parent.ctx);
      parent.cancel(parentCause);
      return child.ctx;
    },
    Canceled,
    parentCause,
  ],
  [
    "WithValue under WithCancelCause",
    () => withValue(cancelled(withCancel(background()), parentCause), "k", "v"),
    Canceled,
    parentCause,
  ],
  ["WithTimeout", () => withTimeout(background(), 0).ctx, DeadlineExceeded, "err"],
  ["WithTimeoutCause", () => withTimeout(background(), 0, lateCause).ctx, DeadlineExceeded, lateCause],
  ["WithTimeoutCause canceled", () => cancelled(withTimeout(background(), 1000, lateCause)), Canceled, "err"],
  [
    "WithTimeout under WithCancelCause",
    () => {
      const parent = withCancel(background());
      const child = withTimeout(parent.ctx, 1000, lateCause);
      parent.cancel(parentCause);
      return child.ctx;
    },
    Canceled,
    parentCause,
  ],
  [
    "WithTimeoutCause whose parent is earlier: the cause is dropped",
    () => {
      const parent = withTimeout(background(), 10);
      const child = withTimeout(parent.ctx, 1000, lateCause);
      vi.advanceTimersByTime(11);
      return child.ctx;
    },
    DeadlineExceeded,
    "err",
  ],
  [
    "WithTimeoutCause at the deadline of its parent: the cause is dropped",
    () => {
      const parent = withTimeout(background(), 10, parentCause);
      const child = withTimeout(parent.ctx, 10, lateCause);
      vi.advanceTimersByTime(11);
      return child.ctx;
    },
    DeadlineExceeded,
    parentCause,
  ],
  [
    "WithTimeoutCause that passes before its parent",
    () => {
      const parent = withTimeout(background(), 1000, parentCause);
      const child = withTimeout(parent.ctx, 10, lateCause);
      vi.advanceTimersByTime(11);
      parent.cancel();
      return child.ctx;
    },
    DeadlineExceeded,
    lateCause,
  ],
  [
    "an ended parent beats a deadline that has passed",
    () => withTimeout(cancelled(withCancel(background()), parentCause), 0, lateCause).ctx,
    Canceled,
    parentCause,
  ],
  [
    "WithoutCancel",
    () => withoutCancel(cancelled(withCancel(background()), parentCause)),
    undefined as never,
    undefined,
  ],
  [
    "WithCancelCause under WithoutCancel",
    () => cancelled(withCancel(withoutCancel(cancelled(withCancel(background()), parentCause))), childCause),
    Canceled,
    childCause,
  ],
  ["a signal", () => fromSignal(AbortSignal.abort(parentCause)), Canceled, parentCause],
  [
    "a signal's timeout",
    () => fromSignal(AbortSignal.abort(new DOMException("late", "TimeoutError"))),
    DeadlineExceeded,
    expect.objectContaining({ name: "TimeoutError" }),
  ],
];

function cancelled(scope: { ctx: Context; cancel: (cause?: unknown) => void }, why?: unknown): Context {
  scope.cancel(why);
  return scope.ctx;
}

test.each(causes)("Cause: %s", (_, make, type, want) => {
  const ctx = make();
  if (type === undefined) expect(ctx.err()).toBeUndefined();
  else expect(ctx.err()).toBeInstanceOf(type);
  expect(cause(ctx)).toEqual(want === "err" ? ctx.err() : want);
  if (want !== "err" && type !== undefined) expect(ctx.err()?.cause).toEqual(want);
});
