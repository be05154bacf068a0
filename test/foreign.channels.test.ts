/**
 * User code cannot write to the channels that the library hands out for reading. And whatever fails while a deadline
 * fires, all other deadlines and timers still fire.
 */
import { Channel, type ReceiveChannel } from "gopark/channel";
import { background, withCancel, withTimeout } from "gopark/context";
import { trySelect } from "gopark/select";
import { sleep, Ticker, Timer } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

/** Channels for reading, with what ends them and what they answer then. */
const channels: Record<string, () => { c: ReceiveChannel<unknown>; happen(): void; clear(): void; ok: boolean }> = {
  "the done channel of a context": () => {
    const { ctx, cancel } = withCancel(background());
    return { c: ctx.done() as ReceiveChannel<never>, happen: cancel, clear: cancel, ok: false };
  },
  "the done channel of a deadline": () => {
    const { ctx, cancel } = withTimeout(background(), 5);
    const happen = () => void vi.advanceTimersByTime(5);
    return { c: ctx.done() as ReceiveChannel<never>, happen, clear: cancel, ok: false };
  },
  "a timer's channel": () => {
    const timer = new Timer(5);
    return { c: timer.c, happen: () => void vi.advanceTimersByTime(5), clear: () => void timer.stop(), ok: true };
  },
  "a ticker's channel": () => {
    const ticker = new Ticker(5);
    return { c: ticker.c, happen: () => void vi.advanceTimersByTime(5), clear: () => ticker.stop(), ok: true };
  },
};

const writes: Record<string, (c: Channel<unknown>) => unknown> = {
  close: (c) => c.close(),
  send: (c) => c.send(1),
  trySend: (c) => c.trySend(1),
  "a send in a select": (c) => trySelect({ sent: c.sending(1) }),
  "the close of another channel, applied to it": (c) => Channel.prototype.close.call(c),
  "the send of another channel, applied to it": (c) => Channel.prototype.trySend.call(c, 1),
};

describe.each(Object.keys(channels))("%s", (name) => {
  test.each(Object.keys(writes))("refuses %s, and nothing has changed", async (write) => {
    const { c, happen, clear, ok } = (channels[name] as (typeof channels)[string])();
    const waiting = watch(c.receive());
    try {
      await expect(async () =>
        (writes[write] as (c: Channel<unknown>) => unknown)(c as Channel<unknown>),
      ).rejects.toThrow();
      await turns(1);
      expect(waiting.state).toBe("pending");
      expect(c.tryReceive()).toBeUndefined();
      happen();
      await turns(1);
      expect(waiting.value).toMatchObject({ ok });
      // Time passes.
      const slept = watch(sleep(5));
      await vi.advanceTimersByTimeAsync(5);
      expect(slept.state).toBe("fulfilled");
    } finally {
      clear();
    }
  });
});

test("a clock that throws while deadlines fire stops no later ones", async () => {
  const slept = [1, 2, 3].map((ms) => watch(sleep(ms)));
  const broken = new Error("no time");
  const spies = [vi.spyOn(performance, "now"), vi.spyOn(Date, "now")];
  for (const spy of spies) {
    spy.mockImplementationOnce(() => {
      throw broken;
    });
  }
  let thrown: unknown;
  try {
    await vi.advanceTimersByTimeAsync(1);
  } catch (error) {
    thrown = error;
  }
  for (const spy of spies) spy.mockRestore();
  expect([undefined, broken]).toContain(thrown);
  const late = watch(sleep(4));
  await vi.advanceTimersByTimeAsync(10);
  expect([...slept, late].map(({ state }) => state)).toEqual(Array(4).fill("fulfilled"));
});
