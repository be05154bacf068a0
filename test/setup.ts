/** Every test runs under full tracking and leaves nothing behind: no wait, task, timer, unit or live context. */
import { afterEach, beforeEach, expect, vi } from "vitest";
import { alarms, timerRefs } from "../src/internal/time/timers.ts";
import { countTurns } from "../src/internal/time/turn.ts";
import { current, type Snapshot, track, verifyNone } from "../src/leak.ts";

track("full");

// A test that waits for one turn of the event loop must not depend on the speed of the machine.
countTurns(true);

// What a failed test left behind must not fail the next one.
let before: Snapshot;
let waits: number[];

// A pool's alarm, a plain object, is armed for idle objects, not for a wait.
const waiting = () => [[...alarms()].filter((alarm) => alarm.constructor !== Object).length, timerRefs()];

beforeEach(() => {
  before = current();
  waits = waiting();
});

afterEach(async () => {
  // In this order: a spy on a fake function would put that back in the place of the real one.
  vi.restoreAllMocks();
  vi.useRealTimers();
  await verifyNone({ ignore: before });
  // Ended waits must not stay among the alarms, nor keep the process alive.
  expect(waiting(), "armed alarms, and waits that keep the process alive").toEqual(waits);
});
