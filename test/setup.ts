/** Every test runs under full tracking and leaves nothing behind: no wait, task, timer, unit or live context. */
import { afterEach, beforeEach, expect, vi } from "vitest";
import { alarms, timerRefs } from "../src/internal/time/timers.ts";
import { countTurns } from "../src/internal/time/turn.ts";
import { current, type Snapshot, track, verifyNone } from "../src/leak.ts";

/**
 * Vitest maps each stack to the sources, which takes most of the time of a test with many records. The stacks of one
 * place are mapped once here.
 */
function mapOnce(map: NonNullable<typeof Error.prepareStackTrace>): typeof Error.prepareStackTrace {
  // No Map: a test watches what the Maps of the library keep.
  let seen: Record<string, string> = {};
  let places = 0;
  return (error, sites) => {
    const place = sites.join("\n");
    let frames = seen[place];
    if (frames === undefined) {
      if (places++ % 1000 === 0) seen = {};
      frames = (map(new Error(), sites) as string).replace(/^Error: /, "");
      seen[place] = frames;
    }
    return `${error.name || "Error"}: ${error.message || ""}${frames}`;
  };
}

if (Error.prepareStackTrace !== undefined) Error.prepareStackTrace = mapOnce(Error.prepareStackTrace);

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
