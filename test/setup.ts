/** Every test runs under full tracking and leaves nothing behind: no wait, task, timer, unit or live context. */
import { afterEach, beforeEach, vi } from "vitest";
import { current, type Snapshot, track, verifyNone } from "../src/leak.ts";

track("full");

// What a failed test left behind is that test's, not the next one's.
let before: Snapshot;

beforeEach(() => {
  before = current();
});

afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  await verifyNone({ ignore: before });
});
