/** Of equal instants the one that was armed first comes first, whatever its kind. And what a timer's channel shows. */
import { Channel } from "gopark/channel";
import { background, type CancelScope, cause, withCancel, withDeadline } from "gopark/context";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { after, now, sleep, Ticker, Timer } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

/** Waits that end 10 ms from now. */
const sorts: Record<string, () => Promise<unknown>> = {
  sleeps: () => sleep(10),
  contexts: () => new Channel<number>().receive(withDeadline(background(), now() + 10).ctx).catch(() => {}),
  timers: () => new Timer(10).c.receive(),
  "waits of limiters": () => {
    const limiter = new Limiter(100, 1);
    limiter.allow();
    return limiter.wait(background());
  },
  "timeouts of selects": () => select({ late: after(10) }),
};

describe("equal instants come in the order in which they were armed", () => {
  test.each(Object.keys(sorts))("%s", async (sort) => {
    for (const n of [2, 8, 100, 1000]) {
      const order: number[] = [];
      for (const i of upTo(n)) void (sorts[sort] as () => Promise<unknown>)().then(() => order.push(i));
      await vi.advanceTimersByTimeAsync(10);
      await turns(n / 100); // More than one turn may have.
      expect(order).toEqual(upTo(n));
    }
  });

  test("sleeps, timers and limiters in turn", async () => {
    const order: number[] = [];
    const mixed = ["sleeps", "timers", "waits of limiters"].map((sort) => sorts[sort] as () => Promise<unknown>);
    for (const i of upTo(60)) void mixed[i % mixed.length]?.().then(() => order.push(i));
    await vi.advanceTimersByTimeAsync(10);
    expect(order).toEqual(upTo(60));
  });

  test("those that were armed around others which were cancelled", async () => {
    const order: number[] = [];
    const cancelled: CancelScope[] = [];
    for (const i of upTo(64)) {
      if (i % 3 === 0) {
        const scope = withCancel(background());
        sleep(10, scope.ctx).catch(() => {});
        cancelled.push(scope);
      } else void sleep(10).then(() => order.push(i));
    }
    for (const { cancel } of cancelled.reverse()) cancel();
    await vi.advanceTimersByTimeAsync(10);
    expect(order).toEqual(upTo(64).filter((i) => i % 3 !== 0));
  });

  test("instants that are equal though the durations are not", async () => {
    const order: number[] = [];
    const at = now() + 50;
    const begin = (i: number) =>
      new Channel<number>().receive(withDeadline(background(), at).ctx).catch(() => order.push(i));
    for (const i of upTo(4)) {
      void begin(i);
      await vi.advanceTimersByTimeAsync(10);
    }
    for (const i of [4, 5, 6]) void begin(i);
    expect(order).toEqual([]);
    await vi.advanceTimersByTimeAsync(10);
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  /** The alarms that a select can wait for, at an instant. */
  const cases = {
    timer: (at: number) => {
      const timer = new Timer(at - now());
      return { it: timer.c, clear: () => timer.stop() };
    },
    context: (at: number) => {
      const { ctx, cancel } = withDeadline(background(), at);
      return { it: ctx, clear: cancel };
    },
    ticker: (at: number) => {
      const ticker = new Ticker(at - now());
      return { it: ticker.c, clear: () => ticker.stop() };
    },
  };

  const pairs = Object.keys(cases).flatMap((a) => Object.keys(cases).map((b) => [a, b] as const));

  test.each(pairs)("a select is won by the %s that was armed first, not by the %s behind it", async (a, b) => {
    for (const firstIsLastCase of [false, true]) {
      const at = now() + 10;
      const first = cases[a as keyof typeof cases](at);
      const second = cases[b as keyof typeof cases](at);
      const selected = watch(
        firstIsLastCase
          ? select({ second: second.it, first: first.it })
          : select({ first: first.it, second: second.it }),
      );
      await vi.advanceTimersByTimeAsync(10);
      expect(selected.value).toMatchObject({ case: "first" });
      first.clear();
      second.clear();
    }
  });
});

describe("the channel of a timer or ticker", () => {
  test.each([
    ["timer", () => new Timer(10)],
    ["ticker", () => new Ticker(10)],
  ])("%s: its len() and cap() are 0, before it fires and after", async (_, make) => {
    const it = make();
    const lengths = () => [it.c.len(), it.c.cap()];
    expect(lengths()).toEqual([0, 0]);
    await vi.advanceTimersByTimeAsync(10);
    expect(lengths()).toEqual([0, 0]);
    expect(it.c.tryReceive()).toMatchObject({ ok: true });
    expect(lengths()).toEqual([0, 0]);
    it.stop();
    expect(lengths()).toEqual([0, 0]);
  });
});

test("a poll of a child at the instant of its parent ends the parent, and the child with it", () => {
  const at = now() + 10;
  const [parent] = withDeadline(background(), at, "the parent's");
  const [middle] = withCancel(parent);
  const [child] = withDeadline(middle, at, "the child's");
  // The event loop is blocked beyond the instant: no timer has fired.
  vi.spyOn(performance, "now").mockReturnValue(performance.now() + 20);
  expect([cause(child), child.err() === parent.err(), middle.err() === parent.err()]).toEqual([
    "the parent's",
    true,
    true,
  ]);
});
