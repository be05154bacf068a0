/** Token bucket limiter: known mistakes of ports and similar packages. */
import { background, withCancel, withTimeout } from "gopark/context";
import { every, Limiter } from "gopark/rate";
import { now } from "gopark/time";
import { beforeEach, expect, test, vi } from "vitest";
import { watch } from "./support/watch.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
});

test("Date.now stepped back or forward an hour changes nothing", async () => {
  const limiter = new Limiter(10, 2);
  limiter.allow(2);
  const waiting = watch(limiter.wait(background(), 1));

  vi.setSystemTime(Date.now() - 3_600_000);
  await vi.advanceTimersByTimeAsync(99);
  expect(waiting.state).toBe("pending");
  expect(limiter.tokens()).toBeCloseTo(-0.01, 6);
  await vi.advanceTimersByTimeAsync(1);
  expect(waiting.state).toBe("fulfilled");

  vi.setSystemTime(Date.now() + 2 * 3_600_000);
  expect(limiter.tokens()).toBeCloseTo(0, 6);
  expect(limiter.allow()).toBe(false);
  await vi.advanceTimersByTimeAsync(100);
  expect(limiter.allow()).toBe(true);
});

test("draining, then waiting, gives exactly rate × time", async () => {
  const limiter = new Limiter(1000 / 7, 5);
  const start = now();
  const ends: number[] = [];
  const loop = (async () => {
    for (let i = 0; i < 5 + 100; i++) {
      await limiter.wait(background());
      ends.push(Math.round(now() - start));
    }
  })();

  await vi.advanceTimersByTimeAsync(700);

  await loop;
  expect(ends.slice(0, 5)).toEqual([0, 0, 0, 0, 0]);
  expect(ends.slice(5)).toEqual(Array.from({ length: 100 }, (_, i) => 7 * (i + 1)));
});

test("waits of many callers are spaced by the rate, in the order of the calls", async () => {
  const limiter = new Limiter(every(10), 1);
  const start = now();
  const ends: [number, number][] = [];
  for (let i = 0; i < 20; i++) void limiter.wait(background()).then(() => ends.push([i, Math.round(now() - start)]));

  await vi.advanceTimersByTimeAsync(190);

  expect(ends).toEqual(Array.from({ length: 20 }, (_, i) => [i, 10 * i]));
});

test("five interrupted waits do not delay the sixth", async () => {
  const limiter = new Limiter(10, 1);
  limiter.allow();
  for (let i = 0; i < 5; i++) {
    const [ctx, cancel] = withCancel(background());
    const waiting = watch(limiter.wait(ctx));
    cancel();
    await vi.advanceTimersByTimeAsync(0);
    expect(waiting.reason).toBe(ctx.err());
  }

  const sixth = watch(limiter.wait(background()));
  await vi.advanceTimersByTimeAsync(100);

  expect(sixth.state).toBe("fulfilled");
});

test("five waits interrupted together do not delay the sixth", async () => {
  const limiter = new Limiter(10, 1);
  limiter.allow();
  using scope = withCancel(background());
  const waits = Array.from({ length: 5 }, () => watch(limiter.wait(scope.ctx)));

  scope.cancel();
  await vi.advanceTimersByTimeAsync(0);
  expect(waits.map((w) => w.state)).toEqual(Array(5).fill("rejected"));
  expect(limiter.tokens()).toBeCloseTo(0, 9);

  const sixth = watch(limiter.wait(background()));
  await vi.advanceTimersByTimeAsync(100);
  expect(sixth.state).toBe("fulfilled");
});

test("a wait longer than a host timer can be neither ends early nor never", async () => {
  const month = 30 * 24 * 3_600_000;
  const limiter = new Limiter(every(month), 1);
  limiter.allow();
  const waiting = watch(limiter.wait(background()));
  await vi.advanceTimersByTimeAsync(month - 1);
  expect(waiting.state).toBe("pending");
  await vi.advanceTimersByTimeAsync(2);
  expect(waiting.state).toBe("fulfilled");
});

test("a deadline that cannot be met takes no token from other waits", async () => {
  const limiter = new Limiter(10, 1);
  limiter.allow();
  using scope = withTimeout(background(), 50);
  for (let i = 0; i < 5; i++) await expect(limiter.wait(scope.ctx)).rejects.toThrow("would exceed context deadline");

  const patient = watch(limiter.wait(background()));
  await vi.advanceTimersByTimeAsync(100);

  expect(patient.state).toBe("fulfilled");
});

test("a wait that ends leaves no timer behind", async () => {
  const limiter = new Limiter(10, 1);
  limiter.allow();
  const [ctx, cancel] = withCancel(background());
  const cancelled = watch(limiter.wait(ctx));
  const served = watch(limiter.wait(background()));
  cancel();
  await vi.advanceTimersByTimeAsync(200);
  expect([cancelled.state, served.state]).toEqual(["rejected", "fulfilled"]);
  expect(vi.getTimerCount()).toBe(0);
});
