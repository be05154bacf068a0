/** Token bucket limiter: bad arguments, done contexts and races cost no token. */
import { background, Canceled, type Context, withCancel, withTimeout } from "gopark/context";
import { every, Inf, Limiter, Sometimes } from "gopark/rate";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { watch } from "./support/watch.ts";

const t0 = 1_700_000_000_000;

beforeEach(() => {
  vi.useFakeTimers({ now: t0 });
});

describe("arguments", () => {
  test.each([Number.NaN, -1, -0.001, Number.NEGATIVE_INFINITY])("a limit of %d is refused", (limit) => {
    const limiter = new Limiter(10, 2);
    expect(() => new Limiter(limit, 1)).toThrow(RangeError);
    expect(() => limiter.setLimit(limit)).toThrow(RangeError);
    expect(limiter.limit()).toBe(10);
  });

  const badCounts = [Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY, 2 ** 53];

  test.each(badCounts)("a burst of %d is refused", (burst) => {
    const limiter = new Limiter(10, 2);
    expect(() => new Limiter(10, burst)).toThrow(RangeError);
    expect(() => limiter.setBurst(burst)).toThrow(RangeError);
    expect([limiter.burst(), limiter.tokens()]).toEqual([2, 2]);
  });

  test.each(badCounts)("%d events are refused, and change nothing", async (n) => {
    const limiter = new Limiter(10, 2);
    limiter.allow(1);
    expect(() => limiter.allow(n)).toThrow(RangeError);
    expect(() => limiter.reserve(n)).toThrow(RangeError);
    await expect(limiter.wait(background(), n)).rejects.toThrow(RangeError);
    expect(limiter.tokens()).toBe(1);
  });

  test("an invalid instant is rejected, and changes nothing", () => {
    const limiter = new Limiter(10, 2);
    const reservation = limiter.reserve(1);
    for (const at of [Number.NaN, new Date(Number.NaN)]) {
      expect(() => limiter.allow(1, at)).toThrow(RangeError);
      expect(() => limiter.reserve(1, at)).toThrow(RangeError);
      expect(() => limiter.tokens(at)).toThrow(RangeError);
      expect(() => limiter.setLimit(5, at)).toThrow(RangeError);
      expect(() => limiter.setBurst(5, at)).toThrow(RangeError);
      expect(() => reservation.delay(at)).toThrow(RangeError);
      expect(() => reservation.cancel(at)).toThrow(RangeError);
    }
    expect([limiter.limit(), limiter.burst(), limiter.tokens()]).toEqual([10, 2, 1]);
  });

  test("an argument that is not a number is a TypeError", async () => {
    const limiter = new Limiter(10, 2);
    const one = "1" as unknown as number;
    expect(() => new Limiter(one, 1)).toThrow(TypeError);
    expect(() => new Limiter(1, one)).toThrow(TypeError);
    expect(() => limiter.allow(one)).toThrow(TypeError);
    expect(() => limiter.allow(1, one)).toThrow(TypeError);
    expect(() => every(one)).toThrow(TypeError);
    await expect(limiter.wait(background(), one)).rejects.toThrow(TypeError);
    await expect(limiter.wait(null as unknown as Context)).rejects.toThrow(TypeError);
    expect(limiter.tokens()).toBe(2);
  });

  test("an error names the function and the parameter", async () => {
    const limiter = new Limiter(10, 2);
    const reservation = limiter.reserve();
    const one = "1" as unknown as number;
    const calls: [act: () => unknown, message: string][] = [
      [() => every(one), "every: ms must be a number of milliseconds"],
      [() => new Limiter(one, 1), "Limiter: limit must be a number of events a second"],
      [() => new Limiter(1, one), "Limiter: burst must be a whole number"],
      [() => limiter.setLimit(one), "setLimit: limit must be a number of events a second"],
      [() => limiter.setLimit(1, one), "setLimit: at must be epoch milliseconds or a Date"],
      [() => limiter.setBurst(one), "setBurst: burst must be a whole number"],
      [() => limiter.setBurst(1, one), "setBurst: at must be epoch milliseconds or a Date"],
      [() => limiter.tokens(one), "tokens: at must be epoch milliseconds or a Date"],
      [() => limiter.allow(one), "allow: n must be a whole number"],
      [() => limiter.allow(1, one), "allow: at must be epoch milliseconds or a Date"],
      [() => limiter.reserve(one), "reserve: n must be a whole number"],
      [() => limiter.reserve(1, one), "reserve: at must be epoch milliseconds or a Date"],
      [() => reservation.delay(one), "delay: at must be epoch milliseconds or a Date"],
      [() => reservation.cancel(one), "cancel: at must be epoch milliseconds or a Date"],
      [() => new Sometimes({ first: one }), "Sometimes: first must be a whole number"],
      [() => new Sometimes({ every: one }), "Sometimes: every must be a whole number"],
      [() => new Sometimes({ interval: one }), "Sometimes: interval must be a number of milliseconds"],
      [() => new Sometimes().do(one as never), "do: fn must be a function"],
      [() => new Sometimes().do(() => {}, one), "do: at must be epoch milliseconds or a Date"],
    ];
    for (const [act, message] of calls) expect(act).toThrow(new TypeError(`${message}, got "1"`));
    await expect(limiter.wait(background(), one)).rejects.toThrow('wait: n must be a whole number, got "1"');
    await expect(limiter.wait(background(), 1, one)).rejects.toThrow("wait: at must be epoch milliseconds or a Date");
  });

  test("an interval of NaN is refused; one of Infinity is a limit of nothing", () => {
    expect(() => every(Number.NaN)).toThrow(RangeError);
    expect(every(Number.POSITIVE_INFINITY)).toBe(0);
  });

  test("an instant may be a Date", () => {
    const limiter = new Limiter(10, 1);
    expect(limiter.allow(1, new Date(t0))).toBe(true);
    expect(limiter.reserve(1, new Date(t0)).delay(new Date(t0 + 40))).toBe(60);
  });
});

describe("extremes", () => {
  test("a burst of 0 allows nothing, unless there is no limit", async () => {
    const none = new Limiter(10, 0);
    expect([none.allow(), none.reserve().ok, none.allow(0)]).toEqual([false, false, true]);
    await expect(none.wait(background())).rejects.toThrow("rate: Wait(n=1) exceeds limiter's burst 0");
    const all = new Limiter(Inf, 0);
    expect([all.allow(1000), all.reserve(1000).delay()]).toEqual([true, 0]);
    await all.wait(background(), 1000);
  });

  test("a reservation that can never be served is ok and infinitely late, and can be cancelled", () => {
    const limiter = new Limiter(0, 2);
    expect(limiter.allow(2)).toBe(true);
    vi.advanceTimersByTime(1);
    const never = limiter.reserve(2);
    expect([never.ok, never.delay(), limiter.tokens()]).toEqual([true, Number.POSITIVE_INFINITY, -2]);
    never.cancel();
    expect(limiter.tokens()).toBe(0);
  });

  test("a wait that can never be served parks without a timer, and a deadline refuses it at once", async () => {
    const limiter = new Limiter(0, 1);
    limiter.allow();
    using scope = withTimeout(background(), 1e9);
    await expect(limiter.wait(scope.ctx)).rejects.toThrow("rate: Wait(n=1) would exceed context deadline");

    const [ctx, cancel] = withCancel(background());
    const waiting = watch(limiter.wait(ctx));
    await vi.advanceTimersByTimeAsync(1e10);
    expect([waiting.state, vi.getTimerCount()]).toEqual(["pending", 0]);
    cancel();
    await vi.advanceTimersByTimeAsync(0);
    expect(waiting.reason).toBe(ctx.err());
  });

  test("years of idling fill the bucket to its burst and no further", () => {
    const limiter = new Limiter(1e6, 3);
    limiter.allow(3);
    vi.advanceTimersByTime(1e12);
    expect(limiter.tokens()).toBe(3);
  });
});

describe("done contexts and aborted signals", () => {
  test("a done context costs no token, and its error is the context's own", async () => {
    const limiter = new Limiter(10, 2);
    const [ctx, cancel] = withCancel(background());
    cancel(new Error("why"));
    await expect(limiter.wait(ctx)).rejects.toBe(ctx.err());
    expect(limiter.tokens()).toBe(2);
  });

  test("more than the burst is refused before the context is looked at, as in Go", async () => {
    const [ctx, cancel] = withCancel(background());
    cancel();
    await expect(new Limiter(10, 2).wait(ctx, 3)).rejects.toThrow("exceeds limiter's burst 2");
  });

  test("an aborted signal rejects with its reason, and the tokens come back", async () => {
    const limiter = new Limiter(10, 1);
    await expect(limiter.wait(AbortSignal.abort("reason"))).rejects.toBe("reason");
    expect(limiter.allow()).toBe(true);
    const controller = new AbortController();
    const waiting = watch(limiter.wait(controller.signal));
    expect(limiter.tokens()).toBe(-1);
    controller.abort("reason");
    expect(limiter.tokens()).toBe(0);
    await vi.advanceTimersByTimeAsync(0);
    expect(waiting.reason).toBe("reason");
  });
});

describe("serving and cancelling in one turn: the first claim is final", () => {
  test("served, then cancelled: the wait resolves and its tokens stay spent", async () => {
    const limiter = new Limiter(10, 1);
    limiter.allow();
    const [ctx, cancel] = withCancel(background());
    const waiting = watch(limiter.wait(ctx));
    vi.advanceTimersByTime(100);
    cancel();
    expect(limiter.tokens()).toBe(0);
    await vi.advanceTimersByTimeAsync(0);
    expect(waiting.state).toBe("fulfilled");
  });

  test("cancelled, then its time comes: the wait rejects and its tokens are back", async () => {
    const limiter = new Limiter(10, 2);
    limiter.allow(2);
    const [ctx, cancel] = withCancel(background());
    const waiting = watch(limiter.wait(ctx));
    vi.advanceTimersByTime(99);
    cancel();
    vi.advanceTimersByTime(1);
    await vi.advanceTimersByTimeAsync(0);
    expect(waiting.reason).toBeInstanceOf(Canceled);
    expect(limiter.tokens()).toBe(1);
  });
});

describe("Sometimes", () => {
  test.each([Number.NaN, 0.5])("a first or every of %d is refused", (n) => {
    expect(() => new Sometimes({ first: n })).toThrow(RangeError);
    expect(() => new Sometimes({ every: n })).toThrow(RangeError);
  });

  test("an interval of NaN is refused", () => {
    expect(() => new Sometimes({ interval: Number.NaN })).toThrow(RangeError);
  });

  test("an argument that is not a function is a TypeError, and does not count as the first call", () => {
    const once = new Sometimes({});
    expect(() => once.do(undefined as unknown as () => void)).toThrow(TypeError);
    const ran = vi.fn();
    once.do(ran);
    expect(ran).toHaveBeenCalledOnce();
  });
});
