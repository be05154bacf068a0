/** The library loaded while a test's fake timers are on: it keeps none of them afterwards. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { fate } from "./support/fate.ts";
import { turn } from "./support/turn.ts";

/** A copy of the library that is loaded under fake timers. */
async function loadedUnderFakes() {
  vi.useFakeTimers();
  vi.resetModules();
  const copy = await import("gopark");
  return copy;
}

afterEach(() => {
  vi.useRealTimers();
  vi.resetModules();
});

describe("loaded under fake timers, and used after them", () => {
  test("a leak check comes to its end", async () => {
    const { Channel, leak } = await loadedUnderFakes();
    vi.useRealTimers();
    const ch = new Channel<number>();
    void ch.receive();
    expect(await fate(leak.verifyNone())).toBe("rejected");
    ch.close();
    expect(await fate(leak.verifyNone())).toBe("fulfilled");
  });

  test("sleeps and deadlines come", async () => {
    const { Channel, context, time } = await loadedUnderFakes();
    vi.useRealTimers();
    expect(await fate(time.sleep(1))).toBe("fulfilled");
    const { ctx } = context.withTimeout(context.background(), 1);
    expect(await fate(new Channel<number>().receive(ctx))).toBe("rejected");
    expect(Math.abs(time.now() - Date.now())).toBeLessThan(60_000);
  });

  test("turns of the event loop come, and completions over the budget with them", async () => {
    const { context, semaphore } = await loadedUnderFakes();
    vi.useRealTimers();
    const sem = new semaphore.Weighted(20_000);
    const ctx = context.background();
    const all = Promise.all(Array.from({ length: 20_000 }, () => sem.acquire(ctx)));
    expect(await fate(all)).toBe("fulfilled");
    sem.release(20_000);
  });

  test("timers that were armed under the fakes are armed again", async () => {
    const { Channel, context, time } = await loadedUnderFakes();
    const { ctx, cancel } = context.withTimeout(context.background(), 3_600_000);
    vi.useRealTimers();
    expect(await fate(time.sleep(1))).toBe("fulfilled");
    cancel();
    expect(await fate(new Channel<number>().receive(ctx))).toBe("rejected");
  });
});

describe("loaded under fake timers, and used under them", () => {
  test("sleeps and deadlines obey them", async () => {
    const { context, time } = await loadedUnderFakes();
    const started = time.now();
    let slept = Number.NaN;
    void time.sleep(50).then(() => {
      slept = time.now() - started;
    });
    const { ctx } = context.withTimeout(context.background(), 100);
    await vi.advanceTimersByTimeAsync(99);
    expect([slept, ctx.err()]).toEqual([50, undefined]);
    await vi.advanceTimersByTimeAsync(1);
    expect(ctx.err()).toBeInstanceOf(context.DeadlineExceeded);
  });

  test("a stream of values needs no more than turns of the fake event loop", async () => {
    const { Channel } = await loadedUnderFakes();
    const ch = new Channel<number>(1);
    let received = 0;
    const streaming = (async () => {
      for (let i = 0; i < 5_000; i++) {
        await ch.send(i);
        await ch.receive();
        received++;
      }
    })();
    for (let i = 0; i < 200 && received < 5_000; i++) {
      await vi.advanceTimersByTimeAsync(1);
      await turn();
    }
    await streaming;
    expect(received).toBe(5_000);
  });
});
