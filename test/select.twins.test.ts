/** Select: cases that become ready by one event are chosen alike. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { select } from "gopark/select";
import { after } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

const bg = background();

// A share beyond these is more than nine standard deviations off, for two of 900 trials.
const TRIALS = 900;
const LEAST = 0.35;

// A stack for each of thousands of parked selects would take longer than the rest.
beforeEach(() => track("counters"));
afterEach(() => track("full"));

/** Runs trials, and returns how often each case was chosen. */
async function shares(trial: (i: number) => Promise<{ readonly case: string }>): Promise<Record<string, number>> {
  const chosen: Record<string, number> = {};
  for (let i = 0; i < TRIALS; i++) {
    const { case: name } = await trial(i);
    chosen[name] = (chosen[name] ?? 0) + 1;
  }
  return chosen;
}

/** Each of the names was chosen about as often as the others, and nothing else. */
function even(chosen: Record<string, number>, ...names: string[]): void {
  expect(Object.keys(chosen).sort()).toEqual(names);
  for (const name of names) expect(chosen[name]).toBeGreaterThan((2 * LEAST * TRIALS) / names.length);
}

describe("a parked select with twins", () => {
  test("that receive: each about half", async () => {
    const ch = new Channel<number>();
    const chosen = await shares((i) => {
      const selected = select({ x: ch, y: ch });
      expect(ch.trySend(i)).toBe(true);
      return selected.then((s) => {
        expect([s.value, s.ok]).toEqual([i, true]);
        return s;
      });
    });
    even(chosen, "x", "y");
  });

  test("that receive, with others before, between and behind them", async () => {
    const ch = new Channel<number>();
    const idle = new Channel<number>();
    const chosen = await shares((i) => {
      const selected = select({ a: idle, x: ch, b: idle.sending(1), y: ch, c: bg, off: null });
      ch.trySend(i);
      return selected;
    });
    even(chosen, "x", "y");
    expect(idle.trySend(1)).toBe(false);
  });

  test("that are three: each about a third", async () => {
    const ch = new Channel<number>(1);
    const chosen = await shares((i) => {
      const selected = select({ x: ch, y: ch, z: ch });
      ch.trySend(i);
      return selected;
    });
    even(chosen, "x", "y", "z");
    expect(ch.len()).toBe(0);
  });

  test("that receive, served by a send that waits no more, and by a close", async () => {
    const chosen = await shares(async (i) => {
      const ch = new Channel<number>();
      const selected = select({ x: ch, y: ch });
      if (i % 2 === 0) await ch.send(i);
      else ch.close();
      return selected;
    });
    even(chosen, "x", "y");
  });

  test("that send: either value arrives about as often, and once", async () => {
    const ch = new Channel<string>();
    const values: Record<string, number> = {};
    const chosen = await shares((_) => {
      const selected = select({ x: ch.sending("x"), y: ch.sending("y") });
      const received = ch.tryReceive();
      values[String(received?.value)] = (values[String(received?.value)] ?? 0) + 1;
      expect(ch.tryReceive()).toBeUndefined();
      return selected.then((s) => {
        expect(s.case).toBe(received?.value);
        return s;
      });
    });
    even(chosen, "x", "y");
    expect(values).toEqual(chosen);
  });

  test("that wait for one context, or for its signal, its child without an end of its own, its done channel", async () => {
    const contexts = await shares((_) => {
      const { ctx, cancel } = withCancel(bg);
      const selected = select({ x: ctx, y: ctx });
      cancel();
      return selected;
    });
    even(contexts, "x", "y");
    const done = await shares((_) => {
      const { ctx, cancel } = withCancel(bg);
      const selected = select({ x: ctx.done(), y: ctx.done() });
      cancel();
      return selected;
    });
    even(done, "x", "y");
  });

  test("that wait for one signal", async () => {
    const chosen = await shares((_) => {
      const controller = new AbortController();
      const selected = select({ x: controller.signal, y: controller.signal });
      controller.abort();
      return selected;
    });
    even(chosen, "x", "y");
  });

  test("that wait for one instant", async () => {
    vi.useFakeTimers();
    const chosen = await shares((_) => {
      const late = after(1);
      const selected = select({ x: late, y: late });
      vi.advanceTimersByTime(1);
      return selected;
    });
    even(chosen, "x", "y");
  });
});

test("to mix twins costs a throw for each, however many there are", async () => {
  const ch = new Channel<number>();
  const thrown = vi.spyOn(Math, "random");
  const selected = select(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [i, ch])));
  expect(thrown.mock.calls.length).toBeLessThan(2000);
  ch.trySend(7);
  expect(await selected).toMatchObject({ value: 7, ok: true });
  thrown.mockRestore();
});

test("a parked select with twins leaves no twin behind in the queue", async () => {
  const ch = new Channel<number>();
  for (let i = 0; i < 100; i++) {
    const selected = select({ x: ch, y: ch, z: ch });
    ch.trySend(i);
    await selected;
    expect(ch.trySend(i)).toBe(false);
    const sent = select({ x: ch.sending(1), y: ch.sending(2) });
    ch.tryReceive();
    await sent;
    expect(ch.tryReceive()).toBeUndefined();
  }
});

test("selects with twins are served in their order all the same", async () => {
  const ch = new Channel<number>();
  const selects = [0, 1, 2, 3].map(() => select({ x: ch, y: ch }));
  for (const value of [0, 1, 2, 3]) expect(ch.trySend(value)).toBe(true);
  expect(ch.trySend(4)).toBe(false);
  expect((await Promise.all(selects)).map(({ value }) => value)).toEqual([0, 1, 2, 3]);
});
