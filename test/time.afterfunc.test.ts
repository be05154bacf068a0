/** `time.afterFunc`: a function that runs once, later, unless it is stopped. */
import { AsyncLocalStorage } from "node:async_hooks";
import { counters, find } from "gopark/leak";
import { afterFunc, sleep } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { timerRefs } from "../src/internal/time/timers.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

/** Lets time pass, and what it triggers run. */
async function pass(ms: number): Promise<void> {
  vi.advanceTimersByTime(ms);
  await turn();
}

test("runs the function once, when its time has come, after the timers' callbacks", async () => {
  const ran: string[] = [];
  afterFunc(10, () => ran.push("10"));
  afterFunc(5, () => ran.push("5"));
  vi.advanceTimersByTime(4);
  expect(ran).toEqual([]);
  vi.advanceTimersByTime(6);
  expect(ran).toEqual([]); // Not inside the host's callback.
  await turn();
  expect(ran).toEqual(["5", "10"]);
  await pass(1000);
  expect(ran).toHaveLength(2);
});

test.each([0, -1, Number.NEGATIVE_INFINITY])("for %d, at once, but not inside the call", async (ms) => {
  let ran = 0;
  afterFunc(ms, () => ran++);
  expect(ran).toBe(0);
  await pass(0);
  expect(ran).toBe(1);
});

test("for Infinity, never: nothing is armed", () => {
  const timer = afterFunc(Number.POSITIVE_INFINITY, () => {});
  expect([counters().timer, timerRefs(), timer.stop()]).toEqual([0, 0, false]);
});

test.each([2 ** 31, 2 ** 40])("for %d ms, then: hosts fire at once over 2^31-1", async (ms) => {
  let ran = 0;
  afterFunc(ms, () => ran++);
  await pass(ms - 1);
  expect(ran).toBe(0);
  await pass(1);
  expect(ran).toBe(1);
});

test("stop keeps it from running, and says whether it did", async () => {
  let ran = 0;
  const stopped = afterFunc(10, () => ran++);
  expect([stopped.stop(), stopped.stop()]).toEqual([true, false]);
  {
    using disposed = afterFunc(10, () => ran++);
    expect(disposed.stop).toBeTypeOf("function");
  }
  const late = afterFunc(10, () => ran++);
  vi.advanceTimersByTime(10);
  expect(late.stop()).toBe(false); // It is on its way.
  await turn();
  expect([ran, late.stop()]).toEqual([1, false]);
});

test("reset puts it off, or runs it once more", async () => {
  const ran: number[] = [];
  const begun = Date.now();
  const timer = afterFunc(10, () => ran.push(Date.now() - begun));
  await pass(9);
  expect(timer.reset(10)).toBe(true);
  await pass(9);
  expect(ran).toEqual([]);
  await pass(1);
  expect(timer.reset(5)).toBe(false);
  await pass(5);
  expect(ran).toEqual([19, 24]);
  expect(() => timer.reset(Number.NaN)).toThrow(new RangeError("reset: ms must be a number of milliseconds, got NaN"));
  timer.reset(10);
  expect(() => timer.reset("1" as never)).toThrow(TypeError);
  await pass(10); // What was set stays set.
  expect(ran).toEqual([19, 24, 34]);
});

test("a function may reset its own timer", async () => {
  const ran: string[] = [];
  const timer = afterFunc(10, () => {
    ran.push("again");
    if (ran.length < 3) timer.reset(10);
  });
  await pass(10);
  await pass(10);
  await pass(10);
  await pass(10);
  expect(ran).toEqual(["again", "again", "again"]);
});

test("it is counted, recorded, and keeps the process alive, while it is armed", async () => {
  function userSets() {
    return afterFunc(10, () => {});
  }
  const timer = userSets();
  expect([counters().timer, timerRefs()]).toEqual([1, 1]);
  expect(find().filter(({ kind }) => kind === "timer")[0]?.stack).toMatch(/^\s*at userSets /);
  timer.stop();
  expect([counters().timer, timerRefs()]).toEqual([0, 0]);
  timer.reset(1);
  expect([counters().timer, timerRefs()]).toEqual([1, 1]);
  await pass(1);
  expect([counters().timer, timerRefs()]).toEqual([0, 0]);
});

test("it runs in the async context of the call that set it", async () => {
  const request = new AsyncLocalStorage<string>();
  const ran: (string | undefined)[] = [];
  const timer = request.run("first", () => afterFunc(10, () => ran.push(request.getStore())));
  await request.run("other", () => pass(10));
  request.run("second", () => timer.reset(10));
  await pass(10);
  expect(ran).toEqual(["first", "second"]);
});

describe("an error is an unhandled rejection, and stops nothing else", () => {
  const boom = new Error("boom");

  test.each<[string, () => unknown]>([
    [
      "thrown",
      () => {
        throw boom;
      },
    ],
    ["of an async function", async () => Promise.reject(boom)],
  ])("%s", async (_, fn) => {
    let ran = false;
    const errors = await unhandledDuring(async () => {
      afterFunc(10, fn);
      const slept = sleep(10);
      afterFunc(10, () => {
        ran = true;
      });
      await pass(10);
      await slept;
    });
    expect([errors, ran]).toEqual([[boom], true]);
  });
});

test.each([
  [() => afterFunc(Number.NaN, () => {}), RangeError, "afterFunc: ms must be a number of milliseconds, got NaN"],
  [() => afterFunc("5" as never, () => {}), TypeError, 'afterFunc: ms must be a number of milliseconds, got "5"'],
  [() => afterFunc(5, "fn" as never), TypeError, 'afterFunc: fn must be a function, got "fn"'],
])("bad input arms nothing: %s", (call, cls, message) => {
  expect(call).toThrow(cls);
  expect(call).toThrow(message);
  expect(counters().timer).toBe(0);
});
