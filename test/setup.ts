/** Every test runs under full tracking and leaves nothing behind: no wait, task, timer, unit or live context. */
import { afterEach, beforeEach, expect, vi } from "vitest";
import { alarms, held } from "../src/internal/timers.ts";
import { current, type Snapshot, track, verifyNone } from "../src/leak.ts";

track("full");

// What a failed test left behind is that test's, not the next one's.
let before: Snapshot;
let waits: number[];

// A pool's alarm, a plain object, is armed for what is idle in it, and none of the waits.
const waiting = () => [[...alarms()].filter((alarm) => alarm.constructor !== Object).length, held()];

beforeEach(() => {
  before = current();
  waits = waiting();
});

afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  await verifyNone({ ignore: before });
  // What is over must not stay among the alarms, nor keep the process alive.
  expect(waiting(), "armed alarms, and waits that keep the process alive").toEqual(waits);
});
