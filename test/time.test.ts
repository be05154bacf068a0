/**
 * Time on a fake clock: sleeping, timeouts in selects, timers and tickers with the semantics of Go 1.23, and their
 * host.
 */
import { Channel } from "gopark/channel";
import { background, DeadlineExceeded, withCancel, withDeadline, withTimeout } from "gopark/context";
import { select, trySelect } from "gopark/select";
import * as time from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { armed } from "../src/internal/time/timers.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const { now, sleep, Ticker, Timer } = time;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.unstubAllGlobals();
});

/** Lets time pass, and runs everything that becomes due. */
async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

describe("sleep", () => {
  test("resolves when its time has come and not before", async () => {
    const s = watch(sleep(10));
    await pass(9);
    expect(s.state).toBe("pending");
    await pass(1);
    expect(s.state).toBe("fulfilled");
  });

  test("of nothing or less resolves at once; a done context wins even then", async () => {
    await sleep(0);
    await sleep(-5);
    await sleep(Number.NEGATIVE_INFINITY);
    const { ctx, cancel } = withCancel(background());
    cancel();
    await expect(sleep(0, ctx)).rejects.toBe(ctx.err());
  });

  test("ends with its context, and disarms", async () => {
    const { ctx, cancel } = withCancel(background());
    const s = watch(sleep(1000, ctx));
    expect(armed()).toBe(1);
    cancel();
    await turn();
    expect(s.reason).toBe(ctx.err());
    expect(armed()).toBe(0);
  });

  test.each([2 ** 31 - 1, 2 ** 31, 2 ** 40])("of %d ms lasts that long: hosts fire at once over 2^31-1", async (ms) => {
    const s = watch(sleep(ms));
    await pass(ms - 1);
    expect(s.state).toBe("pending");
    await pass(1);
    expect(s.state).toBe("fulfilled");
  });

  test("of Infinity arms nothing and ends by its context alone", async () => {
    const { ctx, cancel } = withCancel(background());
    const s = watch(sleep(Number.POSITIVE_INFINITY, ctx));
    expect(armed()).toBe(0);
    await pass(1e12);
    expect(s.state).toBe("pending");
    cancel();
    await turn();
    expect(s.state).toBe("rejected");
  });

  test("of NaN rejects with what was given; another type too", async () => {
    await expect(sleep(Number.NaN)).rejects.toThrow(
      new RangeError("sleep: ms must be a number of milliseconds, got NaN"),
    );
    await expect(sleep("5" as never)).rejects.toThrow(TypeError);
    await expect(sleep(5, 7 as never)).rejects.toThrow("expected a Context or an AbortSignal, got 7");
    expect(armed()).toBe(0);
  });
});

describe("a host that is early or late", () => {
  test("nothing fires before its instant, though the host fires a millisecond early", async () => {
    const fake = setTimeout;
    vi.stubGlobal("setTimeout", (fn: () => void, ms: number) => fake(fn, Math.max(ms - 1, 0)));
    const at = now() + 10.4;
    const { ctx } = withDeadline(background(), at);
    let seen = Number.NaN;
    void sleep(1000, ctx).catch(() => {
      seen = now();
    });
    for (let i = 0; i < 60 && Number.isNaN(seen); i++) await pass(0.25);
    expect(ctx.err()).toBeInstanceOf(DeadlineExceeded);
    expect(seen).toBeGreaterThanOrEqual(at);
  });

  test("one that fires late brings all that is due, in the order of the instants", async () => {
    const order: number[] = [];
    for (const ms of [30, 10, 20]) void sleep(ms).then(() => order.push(ms));
    await pass(100);
    expect(order).toEqual([10, 20, 30]);
  });

  test("all deadlines share one host timer, and while it is mocked it follows the earliest", () => {
    const scopes = [30, 10, 20].map((ms) => withTimeout(background(), ms));
    expect(vi.getTimerCount()).toBe(1);
    scopes[1]?.cancel();
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersToNextTimer();
    expect(scopes.map(({ ctx }) => ctx.err()?.name)).toEqual([undefined, "AbortError", "TimeoutError"]);
    scopes[0]?.cancel();
    expect(vi.getTimerCount()).toBe(0);
    expect(armed()).toBe(0);
  });

  test("a nearer deadline arms the host's timer again, and the farther one still fires", async () => {
    const far = watch(sleep(100));
    const near = watch(sleep(10));
    await pass(10);
    expect([near.state, far.state]).toEqual(["fulfilled", "pending"]);
    await pass(90);
    expect(far.state).toBe("fulfilled");
  });

  test("fake timers that come later are obeyed, though a real one was armed before", async () => {
    vi.useRealTimers();
    const { cancel } = withTimeout(background(), 3_600_000);
    vi.useFakeTimers();
    const s = watch(sleep(7_200_000));
    await pass(7_200_000);
    expect(s.state).toBe("fulfilled");
    cancel();
  });
});

describe("after", () => {
  test("is armed only while a select is parked on it", async () => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    const late = time.after(50);
    expect(armed()).toBe(0);
    expect(await select({ ch, late })).toMatchObject({ case: "ch", value: 1 });
    expect(armed()).toBe(0);

    const s = select({ ch, late });
    expect(armed()).toBe(1);
    ch.trySend(2);
    expect(armed()).toBe(0);
    expect((await s).case).toBe("ch");
  });

  test("means an instant fixed at the call: one made before a loop bounds the loop", async () => {
    const ch = new Channel<number>();
    const late = time.after(50);
    for (let i = 0; i < 4; i++) {
      const s = watch(select({ ch, late }));
      await pass(10);
      ch.trySend(i);
      await turn();
      expect(s.value).toMatchObject({ case: "ch", value: i });
    }
    const s = watch(select({ ch, late }));
    await pass(9);
    expect(s.state).toBe("pending");
    await pass(1);
    expect(s.value).toEqual({ case: "late", value: late.when });
  });

  test("is ready once, as the channel of Go's time.After has one value", async () => {
    const late = time.after(10);
    expect(trySelect({ late })).toBeUndefined();
    await pass(10);
    expect(trySelect({ late })).toEqual({ case: "late", value: now() });
    expect(trySelect({ late })).toBeUndefined();

    const { ctx, cancel } = withCancel(background());
    const s = watch(select({ late, ctx }));
    await pass(1000);
    expect(s.state).toBe("pending");
    cancel();
  });

  test("in two parked selects answers one of them", async () => {
    const late = time.after(10);
    const { ctx, cancel } = withCancel(background());
    const a = watch(select({ late, ctx }));
    const b = watch(select({ late, ctx }));
    await pass(10);
    expect([a.value, b.state]).toEqual([{ case: "late", value: now() }, "pending"]);
    cancel();
    await turn();
    expect(b.value).toMatchObject({ case: "ctx" });
  });

  test("is left armed by a select that ends, for another that is parked on it", async () => {
    const late = time.after(10);
    const { ctx, cancel } = withCancel(background());
    const first = watch(select({ late, ctx }));
    const second = watch(select({ late }));
    cancel();
    await pass(10);
    expect([first.value, second.value]).toEqual([
      { case: "ctx", value: ctx.err() },
      { case: "late", value: late.when },
    ]);
  });

  test("refuses NaN; Infinity is never ready and arms nothing", async () => {
    expect(() => time.after(Number.NaN)).toThrow(new RangeError("after: ms must be a number of milliseconds, got NaN"));
    const { ctx, cancel } = withCancel(background());
    const s = watch(select({ late: time.after(Number.POSITIVE_INFINITY), ctx }));
    expect(armed()).toBe(0);
    await pass(2 ** 33);
    expect(s.state).toBe("pending");
    cancel();
  });
});

describe("Timer", () => {
  test("sends its instant once", async () => {
    const timer = new Timer(10);
    const r = watch(timer.c.receive());
    await pass(10);
    expect(r.value).toEqual({ value: now(), ok: true });
    await pass(100);
    expect(timer.c.tryReceive()).toBeUndefined();
    expect(timer.stop()).toBe(false);
  });

  test("nothing stale is received after stop or reset, which return whether they came in time", async () => {
    const timer = new Timer(10);
    await pass(10); // Fired, and not received.
    expect(timer.reset(10)).toBe(true);
    expect(timer.c.tryReceive()).toBeUndefined();
    await pass(10);
    expect(timer.stop()).toBe(true);
    expect(timer.c.tryReceive()).toBeUndefined();
    expect(timer.stop()).toBe(false);
    expect(timer.reset(5)).toBe(false);
    await pass(5);
    expect(timer.c.tryReceive()).toEqual({ value: now(), ok: true });
  });

  test("is disposable, and refuses NaN with nothing changed", async () => {
    expect(() => new Timer(Number.NaN)).toThrow("Timer: ms must be a number of milliseconds, got NaN");
    const timer = new Timer(10);
    expect(() => timer.reset(Number.NaN)).toThrow("reset: ms must be a number of milliseconds, got NaN");
    await pass(10);
    expect([timer.c.len(), timer.c.cap()]).toEqual([0, 0]); // As since Go 1.23, though there is something to receive.
    timer[Symbol.dispose]();
    timer[Symbol.dispose]();
    expect(timer.c.tryReceive()).toBeUndefined();
  });
});

describe("Ticker", () => {
  test("ticks on its grid; a slow receiver skips ticks and is never sent a burst", async () => {
    const started = now();
    const ticker = new Ticker(10);
    const instants: number[] = [];
    const tick = async () => {
      const { value } = await ticker.c.receive();
      instants.push(Math.round((value as number) - started));
    };
    void tick();
    await pass(10);
    await pass(35); // Ticks at 20, 30 and 40: the first is kept, the others dropped.
    void tick();
    await pass(0);
    void tick();
    await pass(5);
    expect(instants).toEqual([10, 20, 50]);
    ticker.stop();
    await pass(100);
    expect(ticker.c.tryReceive()).toBeUndefined();
  });

  test("sends one tick after a stall of the host, and goes on along its grid", async () => {
    const ticker = new Ticker(10);
    const receives = Array.from({ length: 4 }, () => watch(ticker.c.receive()));
    const clock = vi.spyOn(performance, "now");
    const real = performance.now.bind(performance);
    const stalled = real() + 45; // Ticks at 10, 20, 30 and 40 are due when the host's timer fires.
    clock.mockImplementation(() => stalled);
    await pass(10);
    clock.mockRestore();
    expect(receives.map((r) => r.state)).toEqual(["fulfilled", "pending", "pending", "pending"]);
    await pass(39); // To 49.
    expect(receives.map((r) => r.state)).toEqual(["fulfilled", "pending", "pending", "pending"]);
    await pass(1);
    expect(receives.map((r) => r.state)).toEqual(["fulfilled", "fulfilled", "pending", "pending"]);
    await pass(20);
    expect(receives.map((r) => r.state)).toEqual(["fulfilled", "fulfilled", "fulfilled", "fulfilled"]);
    ticker.stop();
  });

  test("drops a tick that falls due before the last one is received, though the host's timer is late", async () => {
    const ticker = new Ticker(10);
    await pass(10);
    const first = now();
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 15);
    expect(ticker.c.tryReceive()?.value).toBe(first);
    expect(ticker.c.tryReceive()).toBeUndefined();
    ticker.stop();
  });

  test("reset begins a new grid and drops a tick not yet received", async () => {
    const ticker = new Ticker(10);
    await pass(15);
    ticker.reset(100);
    expect(ticker.c.tryReceive()).toBeUndefined();
    await pass(99);
    expect(ticker.c.tryReceive()).toBeUndefined();
    await pass(1);
    expect(ticker.c.tryReceive()).toEqual({ value: now(), ok: true });
    ticker[Symbol.dispose]();
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])("of %d ms is refused, with nothing changed", (ms) => {
    const message = Number.isNaN(ms) ? "must be a number of milliseconds" : "must be positive and finite";
    expect(() => new Ticker(ms)).toThrow(new RangeError(`Ticker: ms ${message}, got ${ms}`));
    using ticker = new Ticker(10);
    expect(() => ticker.reset(ms)).toThrow(new RangeError(`reset: ms ${message}, got ${ms}`));
    expect(armed()).toBe(1);
  });
});

test("a ticker whose period is below the clock's resolution does not delay the host's timer", async () => {
  const ticker = new Ticker(1e-4);
  await pass(1);
  expect(ticker.c.tryReceive()?.ok).toBe(true);
  ticker.stop();
});

test("an after that is due goes to the select that is parked on it, and to no other", async () => {
  const late = time.after(10);
  const parked = watch(select({ late }));
  vi.setSystemTime(Date.now());
  vi.spyOn(performance, "now").mockReturnValue(performance.now() + 11);
  expect(trySelect({ late })).toBeUndefined();
  vi.mocked(performance.now).mockRestore();
  await turn();
  expect(parked.state).toBe("fulfilled");
  await pass(20);
  expect(trySelect({ late })).toBeUndefined();
});

test("so does one that is due to the very millisecond, and one that falls due while the cases are read", async () => {
  vi.useRealTimers();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] }); // A clock of whole milliseconds.
  const ch = new Channel<number>();
  const late = time.after(10);
  const parked = watch(select({ late }));
  vi.setSystemTime(late.when - 1);
  const reading = {
    late,
    get ch() {
      vi.setSystemTime(late.when);
      return ch;
    },
  };
  expect(trySelect(reading)).toBeUndefined();
  await turn();
  expect(parked.state).toBe("pending");
  expect(trySelect({ late })).toBeUndefined();
  await turn();
  expect(parked.value).toEqual({ case: "late", value: late.when });
});

describe("now", () => {
  test("is the epoch's milliseconds on a clock that a change of the system's time does not move", () => {
    vi.useRealTimers();
    expect(Math.abs(now() - Date.now())).toBeLessThan(60_000);
    const before = now();
    vi.spyOn(Date, "now").mockReturnValue(0);
    expect(now()).toBeGreaterThanOrEqual(before);
  });
});
