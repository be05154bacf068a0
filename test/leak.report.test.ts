/**
 * What a report says of leaks; and, on a clock of the test's, how long a check looks again, and what growth a watch
 * reports.
 */
import { type Leak, LeakError, type Suspect, track } from "gopark/leak";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

/** A leak of a wait, at a place. */
function leak(place: string | undefined, ageMs: number | undefined, more: Partial<Leak> = {}): Leak {
  const stack = place === undefined ? undefined : `    at ${place} (/app/a.js:1:2)`;
  const none = { proved: false, lostCancel: false, heldAt: undefined, heldByItself: false };
  return { kind: "chan receive", count: 1, ageMs, stack, ...none, ...more };
}

/** The groups that the message shows, after its first line. */
const groupsOf = (...leaks: Leak[]) => new LeakError(leaks).message.split("\n\n").slice(1);

describe("a report", () => {
  test("says how many of each kind there are, and each place, the oldest first, with its age in whole milliseconds", () => {
    const leaks = [leak("a", 7.4), leak(undefined, undefined, { count: 3 }), leak("b", 20.6, { kind: "sleep" })];
    expect(new LeakError(leaks).message).toBe(
      [
        "found unexpected leaks: 4 chan receive, 1 sleep",
        "1 sleep, for 21 ms, made at\n    at b (/app/a.js:1:2)",
        "1 chan receive, for 7 ms, made at\n    at a (/app/a.js:1:2)",
        '3 chan receive: made without full tracking; to see where, call leak.track("full") before it is made',
      ].join("\n\n"),
    );
    expect(new LeakError(leaks).leaks).toBe(leaks);
    expect(new LeakError(leaks).name).toBe("LeakError");
  });

  test("shows those of one place together, with the age of the oldest, in whatever order they come", () => {
    for (const ages of [
      [1, 5, 3],
      [5, 3, 1],
      [3, 1, 5],
    ]) {
      const groups = groupsOf(...ages.map((ms) => leak("a", ms)), leak("b", 4));
      expect(groups.map((group) => group.split(",").slice(0, 2).join())).toEqual([
        "3 chan receive, for 5 ms",
        "1 chan receive, for 4 ms",
      ]);
    }
    expect(groupsOf(leak(undefined, undefined), leak(undefined, undefined))).toHaveLength(1);
  });

  test("keeps apart what differs in anything but its age", () => {
    const heldAt = "    at b (/app/a.js:3:4)";
    const leaks = [
      leak("a", 7),
      leak("a", 6, { kind: "sleep" }),
      leak("a", 5, { proved: true }),
      leak("a", 4, { lostCancel: true }),
      leak("a", 3, { heldAt }),
      leak("a", 2, { heldAt, heldByItself: true }),
    ];
    const made = "made at\n    at a (/app/a.js:1:2)";
    expect(groupsOf(...leaks, ...leaks)).toEqual([
      `2 chan receive, for 7 ms, ${made}`,
      `2 sleep, for 6 ms, ${made}`,
      `2 chan receive, for 5 ms, proved: collected, so nothing could have ended it, ${made}`,
      `2 chan receive, for 4 ms, lost cancel: its cancel function was dropped, ${made}`,
      `2 chan receive, for 3 ms, ${made}\nblocked by the call at\n${heldAt}`,
      `2 chan receive, for 2 ms, ${made}\nblocked by its own task's call at\n${heldAt}`,
    ]);
  });

  test("shows ten places, and how many things there are at the others", () => {
    const places = (n: number) => Array.from({ length: n }, (_, i) => leak(`f${i}`, 100 - i, { count: 2 }));
    expect(groupsOf(...places(10))).toHaveLength(10);
    const groups = groupsOf(...places(12));
    expect(groups).toHaveLength(11);
    expect(groups[9]).toContain("at f9 ");
    expect(groups[10]).toBe("and 4 more: see the error's `leaks`");
  });
});

describe("on a clock of the test's", () => {
  let now = 0;
  let timers: { readonly fn: () => void; readonly ms: number }[] = [];
  let leaks: typeof import("gopark/leak");
  let channels: typeof import("gopark/channel");

  beforeEach(async () => {
    now = 1000;
    timers = [];
    vi.stubGlobal("performance", { timeOrigin: 0, now: () => now });
    vi.stubGlobal("setTimeout", (fn: () => void, ms: number) => {
      timers.push({ fn, ms });
      return {};
    });
    vi.stubGlobal("clearTimeout", () => {});
    vi.resetModules();
    leaks = await import("gopark/leak");
    channels = await import("gopark/channel");
    vi.unstubAllGlobals();
    leaks.track("full");
  });

  afterEach(() => {
    vi.unstubAllGlobals();
    vi.resetModules();
    track("full");
  });

  /** Lets the timer that was set last run out, and gives the microtasks after it their turn. */
  async function runOut(): Promise<number> {
    const { fn, ms } = timers.pop() as (typeof timers)[number];
    now += ms;
    fn();
    for (let i = 0; i < 10; i++) await undefined;
    return ms;
  }

  test("a check looks again after pauses that double, up to 100 ms, for its timeout in all", async () => {
    const ch = new channels.Channel<number>();
    const waiting = ch.receive();
    expect(leaks.find()).toEqual([
      { ...leak("a", 0), stack: expect.stringContaining("leak.report.test"), kind: "chan receive" },
    ]);
    let reason: unknown;
    const verifying = leaks.verifyNone({ timeout: 300 }).catch((error: unknown) => {
      reason = error;
    });
    const pauses: number[] = [];
    while (timers.length > 0) pauses.push(await runOut());
    await verifying;
    expect(reason).toBeInstanceOf(leaks.LeakError);
    expect((reason as LeakError).message).toContain("1 chan receive, for 300 ms, made at");
    const doubled = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** (i + 1));
    expect(pauses.slice(0, 15)).toEqual(doubled);
    expect(pauses.slice(15, -1)).toEqual([65.536, 100]);
    expect(pauses.reduce((sum, ms) => sum + ms)).toBeCloseTo(300, 9);
    ch.close();
    await waiting;
    await leaks.verifyNone();
    expect(timers).toEqual([]);
  });

  test("a place's age is from when it was made, and a watch reports its growth in a second", async () => {
    const seen: Suspect[][] = [];
    const stop = leaks.watch({ every: 500, over: 2, growth: 9, onSuspect: (suspects) => seen.push([...suspects]) });
    const ch = new channels.Channel<number>();
    const grow = (n: number) => {
      for (let i = 0; i < n; i++) void ch.receive();
    };
    for (const n of [5, 4, 0]) {
      grow(n);
      expect(await runOut()).toBe(500);
    }
    stop();
    expect(timers).toHaveLength(1);
    expect(seen.flat().map(({ count, growth, oldestMs }) => ({ count, growth, oldestMs }))).toEqual([
      { count: 5, growth: 10, oldestMs: 500 },
    ]);
    ch.close();
  });
});
