/** Clocks and timers that a test has replaced: all of them, only some, before the library was loaded, or in between. */
import { mock } from "node:test";
import { Channel } from "gopark/channel";
import { background, type CancelScope, DeadlineExceeded, withCancel, withDeadline, withTimeout } from "gopark/context";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { after, now, sleep, Ticker, Timer } from "gopark/time";
import { afterEach, describe, expect, test, vi } from "vitest";
import { fate } from "./support/fate.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const realDate = Date;

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  globalThis.Date = realDate;
});

describe("a clock that is replaced while the timers are the host's does not count", () => {
  const replaced: Record<string, () => void> = {
    "the system's time set": () => void vi.setSystemTime(0),
    "the system's time set far ahead": () => void vi.setSystemTime(4e12),
    "Date.now frozen": () => void vi.spyOn(Date, "now").mockReturnValue(1e12),
    "a Date of its own": () => {
      globalThis.Date = class extends realDate {
        static override now() {
          return 5;
        }
      } as DateConstructor;
    },
    "performance.now frozen": () => void vi.spyOn(performance, "now").mockReturnValue(performance.now()),
    "a performance of its own": () => vi.stubGlobal("performance", { now: () => 5, timeOrigin: 0 }),
  };

  /** Waits that a short time ends. */
  const short: Record<string, (clear: (end: () => void) => void) => Promise<unknown>> = {
    "a sleep": (clear) => {
      const { ctx, cancel } = withCancel(background());
      clear(cancel);
      return sleep(3, ctx);
    },
    "a deadline": (clear) => {
      const { ctx, cancel } = withTimeout(background(), 3);
      clear(cancel);
      return new Channel<number>().receive(ctx).catch(() => {});
    },
    "a timer": (clear) => {
      const timer = new Timer(3);
      const { ctx, cancel } = withCancel(background());
      clear(cancel);
      clear(() => timer.stop());
      return timer.c.receive(ctx);
    },
    "a limiter": (clear) => {
      const { ctx, cancel } = withCancel(background());
      clear(cancel);
      const limiter = new Limiter(500, 1);
      limiter.allow();
      return limiter.wait(ctx);
    },
  };

  describe.each(Object.keys(replaced))("%s", (how) => {
    test.each(Object.keys(short))("%s ends", async (what) => {
      const ends: (() => void)[] = [];
      (replaced[how] as () => void)();
      const ended = await fate((short[what] as (typeof short)[string])((end) => ends.push(end)));
      for (const end of ends) end();
      expect(ended).toBe("fulfilled");
    });

    test("now() goes on from where it was", () => {
      const before = now();
      (replaced[how] as () => void)();
      const later = now();
      expect(later).toBeGreaterThanOrEqual(before);
      expect(later - before).toBeLessThan(60_000);
    });
  });

  test("an armed deadline is not moved by it", async () => {
    const { ctx, cancel } = withTimeout(background(), 3);
    const waiting = new Channel<number>().receive(ctx).catch(() => {});
    vi.setSystemTime(0);
    const ended = await fate(waiting);
    cancel();
    expect(ended).toBe("fulfilled");
  });
});

/** Calls that arm one host timer for an instant `ms` from now, and the calls that end it. */
const arming: Record<string, (ms: number) => () => void> = {
  "a deadline": (ms) => withTimeout(background(), ms).cancel,
  "a sleep": (ms) => ended(({ ctx }) => sleep(ms, ctx)),
  "a timer": (ms) => {
    const timer = new Timer(ms);
    return () => timer.stop();
  },
  "a ticker": (ms) => {
    const ticker = new Ticker(ms);
    return () => ticker.stop();
  },
  "a select with a timeout": (ms) => ended(({ ctx }) => select({ ctx, late: after(ms) })),
  "a limiter's wait": (ms) => {
    const limiter = new Limiter(1000 / ms, 1);
    limiter.allow();
    return ended(({ ctx }) => limiter.wait(ctx));
  },
};

/** Begins a wait on a context; returns what cancels it. */
function ended(begin: (scope: CancelScope) => Promise<unknown>): () => void {
  const scope = withCancel(background());
  begin(scope).catch(() => {});
  return scope.cancel;
}

describe("under fake timers there is one host timer while anything is armed, and none when nothing is", () => {
  const names = Object.keys(arming);
  const arm = (name: string, ms: number) => (arming[name] as (ms: number) => () => void)(ms);

  test.each(names)("%s", async (name) => {
    vi.useFakeTimers();
    expect(vi.getTimerCount()).toBe(0);
    const end = arm(name, 100);
    expect(vi.getTimerCount()).toBe(1);
    end();
    expect(vi.getTimerCount()).toBe(0);
    await turn();
  });

  test("however many, in whichever order they come and go", () => {
    vi.useFakeTimers();
    const ends = [100, 50, 200, 25, 50].flatMap((ms) => names.map((name) => arm(name, ms)));
    expect(vi.getTimerCount()).toBe(1);
    while (ends.length > 0) {
      const middle = Math.floor(ends.length / 2);
      for (const end of ends.splice(middle, 1)) end();
      expect(vi.getTimerCount()).toBe(ends.length > 0 ? 1 : 0);
    }
  });

  test("it is armed for what is earliest now, not for what was", async () => {
    vi.useFakeTimers();
    const started = now();
    const near = withTimeout(background(), 10);
    const far = watch(sleep(100));
    near.cancel();
    vi.advanceTimersToNextTimer();
    expect(now() - started).toBe(100);
    await turn();
    expect(far.state).toBe("fulfilled");
    expect(vi.getTimerCount()).toBe(0);
  });

  test("after the last has fired there is none", async () => {
    vi.useFakeTimers();
    const slept = watch(sleep(10));
    const { ctx } = withTimeout(background(), 20);
    await vi.runAllTimersAsync();
    expect([slept.state, ctx.err() !== undefined, vi.getTimerCount()]).toEqual(["fulfilled", true, 0]);
  });
});

describe("timers that the test has cleared", () => {
  test("do not take along what is armed later", async () => {
    vi.useFakeTimers();
    withTimeout(background(), 1000).cancel();
    vi.clearAllTimers();
    const slept = watch(sleep(5000));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(slept.state).toBe("fulfilled");
  });

  test("come back with the next that is nearer", async () => {
    vi.useFakeTimers();
    const far = watch(sleep(1000));
    vi.clearAllTimers();
    const near = watch(sleep(10));
    await vi.advanceTimersByTimeAsync(10);
    expect([near.state, far.state]).toEqual(["fulfilled", "pending"]);
    await vi.advanceTimersByTimeAsync(990);
    expect(far.state).toBe("fulfilled");
  });

  test("of a deadline that has fired leave the next one whole", async () => {
    vi.useFakeTimers();
    const first = watch(sleep(10));
    await vi.advanceTimersByTimeAsync(10);
    vi.clearAllTimers();
    const second = watch(sleep(5));
    await vi.advanceTimersByTimeAsync(5);
    expect([first.state, second.state]).toEqual(["fulfilled", "fulfilled"]);
  });
});

describe("an instant of -Infinity is one that has passed", () => {
  const never = Number.NEGATIVE_INFINITY;
  const past: Record<string, () => unknown> = {
    "a timer that is stopped": () => new Timer(never).stop(),
    "a timer that is reset and stopped": () => {
      const timer = new Timer(1000);
      timer.reset(never);
      timer.stop();
    },
    "a timer that fires": () => {
      const timer = new Timer(never);
      vi.advanceTimersByTime(0);
      expect(timer.c.tryReceive()).toMatchObject({ ok: true });
      timer.stop();
    },
    "a timeout": () => expect(withTimeout(background(), never).ctx.err()).toBeDefined(),
    "a deadline": () => expect(withDeadline(background(), never).ctx.err()).toBeDefined(),
    "a select's timeout": () => select({ late: after(never) }),
    "a sleep": () => sleep(never),
  };

  test.each(Object.keys(past))("%s, and time goes on under fakes and after them", async (what) => {
    vi.useFakeTimers();
    await (past[what] as () => unknown)();
    const faked = watch(sleep(10));
    await vi.advanceTimersByTimeAsync(10);
    expect(faked.state).toBe("fulfilled");
    await (past[what] as () => unknown)();
    vi.useRealTimers();
    const { ctx, cancel } = withCancel(background());
    const real = await fate(sleep(1, ctx));
    cancel();
    expect(real).toBe("fulfilled");
  });
});

describe("a setTimeout that is wrapped, as monitoring agents wrap it, is not taken for a mocked clock", () => {
  const wrap = () => {
    const { setTimeout } = globalThis;
    vi.stubGlobal("setTimeout", (fn: () => void, ms: number) => setTimeout(fn, ms));
  };

  test("the clock does not follow the system's", () => {
    const before = now();
    wrap();
    vi.spyOn(Date, "now").mockReturnValue(0);
    expect(now()).toBeGreaterThanOrEqual(before);
    vi.restoreAllMocks();
  });

  test("sleeps and deadlines end", async () => {
    wrap();
    await sleep(1);
    const { ctx } = withTimeout(background(), 1);
    expect((await new Channel().receive(ctx).catch((err: Error) => err)) as Error).toBe(ctx.err());
    vi.unstubAllGlobals();
    await sleep(1);
  });
});

describe("the mock timers of node:test, which leave performance alone", () => {
  afterEach(() => mock.timers.reset());

  test("drive sleeps and deadlines, once they move Date too", async () => {
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1e12 });
    expect(now()).toBe(1e12);
    const slept = watch(sleep(50));
    const { ctx } = withTimeout(background(), 100);
    mock.timers.tick(99);
    await turn();
    expect([slept.state, ctx.err(), now()]).toEqual(["fulfilled", undefined, 1e12 + 99]);
    mock.timers.tick(1);
    expect(ctx.err()).toBeInstanceOf(DeadlineExceeded);
  });
});
