/** Which waits keep the process alive: those that an armed alarm will end. */
import { background, withCancel, withTimeout } from "gopark/context";
import { select } from "gopark/select";
import { sleep, Ticker, Timer } from "gopark/time";
import { beforeEach, expect, test, vi } from "vitest";
import { timerRefs } from "../src/internal/time/timers.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();

beforeEach(() => {
  vi.useFakeTimers();
});

test("receives from a timer, while it is armed", async () => {
  const timer = new Timer(10);
  expect(timerRefs()).toBe(0);
  const { ctx, cancel } = withCancel(bg);
  const [first, second] = [watch(timer.c.receive(ctx)), watch(timer.c.receive())];
  expect(timerRefs()).toBe(2);
  cancel();
  expect(timerRefs()).toBe(1);
  timer.stop();
  expect(timerRefs()).toBe(0);
  const third = watch(select({ c: timer.c }));
  expect(timerRefs()).toBe(0);
  timer.reset(10);
  expect(timerRefs()).toBe(2);
  vi.advanceTimersByTime(10);
  expect(timerRefs()).toBe(0); // The third still waits, and nothing is armed.
  timer.reset(5);
  expect(timerRefs()).toBe(1);
  vi.advanceTimersByTime(5);
  await turn();
  expect([first.state, second.state, third.state]).toEqual(["rejected", "fulfilled", "fulfilled"]);
  expect(timerRefs()).toBe(0);
});

test("a receive from a timer that was stopped twice, and from one that never fires, counts for none", async () => {
  const stopped = new Timer(10);
  const never = new Timer(Number.POSITIVE_INFINITY);
  const { ctx, cancel } = withCancel(bg);
  const waits = [watch(stopped.c.receive(ctx)), watch(never.c.receive(ctx))];
  expect(timerRefs()).toBe(1);
  expect([stopped.stop(), stopped.stop(), timerRefs()]).toEqual([true, false, 0]);
  stopped.reset(10);
  stopped.reset(20);
  expect(timerRefs()).toBe(1);
  cancel();
  await turn();
  expect([timerRefs(), ...waits.map(({ state }) => state)]).toEqual([0, "rejected", "rejected"]);
  stopped.stop();
  never.stop();
});

test("a sleep of Infinity that is cancelled disarms no other", async () => {
  const { ctx, cancel } = withCancel(bg);
  const sleeps = [10, 20, 30, 40].map((ms) => watch(sleep(ms)));
  const endless = watch(sleep(Number.POSITIVE_INFINITY, ctx));
  expect(timerRefs()).toBe(4);
  cancel();
  expect(timerRefs()).toBe(4);
  vi.advanceTimersByTime(40);
  await turn();
  expect([endless.state, ...sleeps.map(({ state }) => state)]).toEqual(["rejected", ...Array(4).fill("fulfilled")]);
  expect(timerRefs()).toBe(0);
});

test("receives from a ticker, until it is stopped", async () => {
  const ticker = new Ticker(10);
  const first = watch(ticker.c.receive());
  const second = watch(ticker.c.receive());
  expect(timerRefs()).toBe(2);
  vi.advanceTimersByTime(10);
  expect(timerRefs()).toBe(1);
  ticker.stop();
  expect(timerRefs()).toBe(0);
  ticker.reset(10);
  expect(timerRefs()).toBe(1);
  vi.advanceTimersByTime(10);
  ticker.stop();
  await turn();
  expect([first.state, second.state, timerRefs()]).toEqual(["fulfilled", "fulfilled", 0]);
});

test("sleeps, and waits under a deadline; not those under a context without one", async () => {
  const { ctx, cancel } = withTimeout(bg, 1000);
  const plain = withCancel(bg);
  const waits = [
    watch(sleep(10)),
    watch(sleep(Number.POSITIVE_INFINITY, plain.ctx)),
    watch((ctx.done() as NonNullable<ReturnType<typeof ctx.done>>).receive()),
    watch((plain.ctx.done() as NonNullable<ReturnType<typeof ctx.done>>).receive()),
    watch(sleep(10, ctx)),
  ];
  expect(timerRefs()).toBe(4); // The last one for its instant, and for the deadline.
  vi.advanceTimersByTime(10);
  expect(timerRefs()).toBe(1);
  cancel();
  expect(timerRefs()).toBe(0);
  plain.cancel();
  await turn();
  expect(waits.map(({ state }) => state)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled", "fulfilled"]);
});
