/** What a context's string says of its deadline, its keys and its values. */
import {
  background,
  contextKey,
  fromSignal,
  withCancel,
  withDeadline,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { beforeEach, expect, test, vi } from "vitest";

const START = Date.UTC(2026, 0, 2, 3, 4, 5);

beforeEach(() => {
  vi.useFakeTimers({ now: START });
});

test("a deadline: the instant and what is left of it", () => {
  const [ctx, cancel] = withTimeout(background(), 1500);
  const at = "2026-01-02T03:04:06.500Z";
  expect(String(ctx)).toBe(`context.Background.WithDeadline(${at} [1500ms])`);
  vi.advanceTimersByTime(600);
  expect(String(withoutCancel(ctx))).toBe(`context.Background.WithDeadline(${at} [900ms]).WithoutCancel`);
  cancel();
});

test.each([
  [8.64e15, "+275760-09-13T00:00:00.000Z"], // The last instant of a Date.
  [8.64e15 + 2, "8640000000000002"],
])("a deadline at %d", (at, text) => {
  const [ctx, cancel] = withDeadline(background(), at);
  expect(String(ctx)).toBe(`context.Background.WithDeadline(${text} [${at - START}ms])`);
  cancel();
});

test("keys and values", () => {
  const [ctx, cancel] = withCancel(background());
  const strings = [
    withValue(ctx, contextKey<string>("user"), "ann"),
    withValue(ctx, "user", null),
    withValue(ctx, "user", undefined as never),
    withValue(ctx, Symbol("user") as never, 5),
    withValue(ctx, {} as never, { description: 5 }),
    withValue(ctx, 5 as never, [1]),
  ].map(String);
  cancel();
  expect(strings).toEqual([
    "context.Background.WithCancel.WithValue(user, ann)",
    "context.Background.WithCancel.WithValue(user, <nil>)",
    "context.Background.WithCancel.WithValue(user, <nil>)",
    "context.Background.WithCancel.WithValue(user, 5)",
    "context.Background.WithCancel.WithValue(an object (Object), an object (Object))",
    "context.Background.WithCancel.WithValue(5, an object (Array))",
  ]);
});

test("a signal", () => {
  const [ctx, cancel] = withCancel(new AbortController().signal);
  expect([String(fromSignal(new AbortController().signal)), String(ctx)]).toEqual([
    "context.fromSignal",
    "context.fromSignal.WithCancel",
  ]);
  cancel();
});
