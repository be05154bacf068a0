/** Sampled tracking: which things are recorded, and what is made of the records: places, with counts that add up. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { counters, find, onLostCancel, onProved, places, track, verifyNone } from "gopark/leak";
import { Weighted } from "gopark/semaphore";
import { Mutex, RWMutex } from "gopark/sync";
import { Timer } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { addObserver, allKinds, currentLevel } from "../src/internal/track/tracker.ts";
import { collectUntil } from "./support/unhandled.ts";

afterEach(() => track("full"));

const bg = background();

/** Lets each throw of `Math.random` be one of these, again and again. */
function thrown(...values: readonly number[]): void {
  let i = 0;
  vi.spyOn(Math, "random").mockImplementation(() => values[i++ % values.length] as number);
}

/** How many waits of a channel are recorded of `n` that are parked, one by one. */
function recordedOf(n: number): boolean[] {
  const ch = new Channel<number>();
  const recorded: boolean[] = [];
  for (let i = 0; i < n; i++) {
    const before = find().length;
    void ch.receive();
    // Those without a record are together, as one.
    recorded.push(find().filter(({ stack }) => stack !== undefined).length > 0 && find().length !== before);
    ch.trySend(1);
  }
  return recorded;
}

describe("with one of two recorded", () => {
  beforeEach(() => {
    thrown(0.5); // A gap of one: floor(log(0.5) / log(0.5)).
    track("sampled", { every: 2 });
  });

  test("waits are recorded as the throws say", () => {
    const ch = new Channel<number>();
    for (let i = 0; i < 6; i++) void ch.receive();
    const found = find();
    expect(found.filter(({ stack }) => stack !== undefined)).toHaveLength(3);
    expect(found.find(({ stack }) => stack === undefined)).toMatchObject({ kind: "chan receive", count: 3 });
    expect(counters()["chan receive"]).toBe(6);
    ch.close();
    expect(find()).toEqual([]);
  });

  test("things of all kinds are counted together", () => {
    const made = [withCancel(bg), withCancel(bg), withCancel(bg), withCancel(bg)];
    const timers = [new Timer(60_000), new Timer(60_000)];
    expect(find().filter(({ stack }) => stack !== undefined)).toMatchObject([
      { kind: "context" },
      { kind: "context" },
      { kind: "timer" },
    ]);
    for (const [, cancel] of made) cancel();
    for (const timer of timers) timer.stop();
  });

  test("an observer sees every wait, and the records stay one of two", () => {
    let seen = 0;
    const recorded: boolean[] = [];
    const end = addObserver({
      parked(_, record) {
        seen++;
        recorded.push(record !== undefined);
      },
    });
    const ch = new Channel<number>();
    for (let i = 0; i < 6; i++) void ch.receive();
    end();
    void ch.receive();
    void ch.receive();
    expect(seen).toBe(6);
    expect(recorded).toEqual([false, true, false, true, false, true]);
    expect(find().filter(({ stack }) => stack !== undefined)).toHaveLength(4);
    ch.close();
  });

  test("units without a permit and readers without a guard are counted, not recorded: nobody knows which one ends", async () => {
    const sem = new Weighted(10);
    for (let i = 0; i < 4; i++) await sem.acquire(bg);
    const rw = new RWMutex();
    await rw.rLock();
    await rw.rLock();
    expect(find()).toEqual([
      expect.objectContaining({ kind: "semaphore unit", count: 4, stack: undefined }),
      expect.objectContaining({ kind: "held lock", count: 2, stack: undefined }),
    ]);
    sem.release(4);
    rw.rUnlock();
    rw.rUnlock();
  });

  test("permits, guards and exclusive locks are recorded", async () => {
    const sem = new Weighted(10);
    const permits = [await sem.permit(bg), await sem.permit(bg, 3)];
    const locks = [new Mutex(), new Mutex()];
    for (const lock of locks) await lock.lock();
    expect(find().filter(({ stack }) => stack !== undefined)).toMatchObject([
      { kind: "semaphore unit", count: 3 },
      { kind: "held lock", count: 1 },
    ]);
    for (const permit of permits) permit.release();
    for (const lock of locks) lock.unlock();
    expect(find()).toEqual([]);
  });
});

test("one of one is all of them", () => {
  track("sampled", { every: 1 });
  expect(recordedOf(5)).toEqual([true, true, true, true, true]);
});

test("one of 8192 is recorded by default, with stacks of eight frames", () => {
  track("sampled");
  expect(currentLevel()).toEqual({ name: "sampled", every: 8192, frames: 8 });
});

test("gaps are random: one of `every` on average, of each of two sorts that take turns", () => {
  let seed = 1;
  vi.spyOn(Math, "random").mockImplementation(() => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  });
  track("sampled", { every: 10, frames: 1 });
  const ch = new Channel<number>();
  // Two sorts in turn. With a fixed step of 10 one would always be recorded, the other never.
  let timers = 0;
  let waits = 0;
  const recorded = () => find().filter(({ stack }) => stack !== undefined).length;
  for (let i = 0; i < 5000; i++) {
    const before = recorded();
    void ch.receive();
    const between = recorded();
    const timer = new Timer(60_000);
    waits += between - before;
    timers += recorded() - between;
    timer.stop();
    ch.trySend(1);
  }
  expect(waits).toBeGreaterThan(400);
  expect(waits).toBeLessThan(600);
  expect(timers).toBeGreaterThan(400);
  expect(timers).toBeLessThan(600);
});

describe("places", () => {
  const ch = new Channel<number>();
  const here = () => void ch.receive();
  const there = () => void ch.receive();
  const countsAt = () =>
    places()
      .filter(({ kind }) => kind === "chan receive")
      .map(({ stack, count }) => [/\b(here|there)\b/.exec(stack ?? "")?.[0], count]);

  test("under full tracking each has its own, the most numerous first", () => {
    for (let i = 0; i < 3; i++) here();
    for (let i = 0; i < 5; i++) there();
    expect(countsAt()).toEqual([
      ["there", 5],
      ["here", 3],
    ]);
    for (const { oldestMs } of places()) expect(oldestMs).toBeGreaterThanOrEqual(0);
    for (let i = 0; i < 8; i++) ch.trySend(1);
    expect(countsAt()).toEqual([]);
  });

  test("a place is as old as the oldest of it", () => {
    for (let i = 0; i < 2; i++) {
      const began = performance.now();
      while (performance.now() < began + 20);
      here();
    }
    const found = places().filter(({ kind }) => kind === "chan receive");
    expect(found).toMatchObject([{ count: 2 }]);
    expect(found[0]?.oldestMs).toBeGreaterThanOrEqual(20);
    for (let i = 0; i < 2; i++) ch.trySend(1);
  });

  test("what full tracking has recorded stands for itself alone, under sampling too", () => {
    for (let i = 0; i < 5; i++) here();
    thrown(0.5);
    track("sampled", { every: 2 });
    there(); // Passed over.
    expect(countsAt()).toEqual([
      ["here", 5],
      [undefined, 1],
    ]);
    for (let i = 0; i < 6; i++) ch.trySend(1);
  });

  test("what is not sampled any more is not counted at a place that was", () => {
    thrown(0.5);
    track("sampled", { every: 2 });
    for (let i = 0; i < 4; i++) here();
    track("counters");
    for (let i = 0; i < 3; i++) there();
    expect(countsAt()).toEqual([
      ["here", 4],
      [undefined, 3],
    ]);
    for (let i = 0; i < 7; i++) ch.trySend(1);
  });

  test("without records a kind is one place, without a stack and an age", () => {
    track("counters");
    here();
    there();
    expect(places()).toEqual([{ kind: "chan receive", stack: undefined, count: 2, oldestMs: undefined }]);
    ch.trySend(1);
    ch.trySend(1);
  });

  test("what was made before full tracking stands apart", () => {
    track("counters");
    here();
    here();
    track("full");
    there();
    expect(countsAt()).toEqual([
      [undefined, 2],
      ["there", 1],
    ]);
    for (let i = 0; i < 3; i++) ch.trySend(1);
  });

  test("under sampled tracking counts are estimates, and add up to the exact one", () => {
    thrown(0.5);
    track("sampled", { every: 2 });
    // Recorded are every second: 2 here, 1 there, of 7.
    for (let i = 0; i < 4; i++) here();
    for (let i = 0; i < 3; i++) there();
    expect(countsAt()).toEqual([
      ["here", 5],
      ["there", 2],
    ]);
    for (let i = 0; i < 7; i++) ch.trySend(1);
  });

  test("what was there before the sampling is not counted at a place that it records", () => {
    track("counters");
    for (let i = 0; i < 90; i++) here();
    thrown(0.5);
    track("sampled", { every: 2 });
    for (let i = 0; i < 4; i++) there();
    expect(countsAt()).toEqual([
      [undefined, 90],
      ["there", 4],
    ]);
    for (let i = 0; i < 94; i++) ch.trySend(1);
  });

  test("a record counts as many as it was made for, whatever the level is now", () => {
    for (let i = 0; i < 5; i++) here();
    thrown(0.5);
    track("sampled", { every: 2 });
    for (let i = 0; i < 20; i++) there();
    const counts = [
      ["there", 20],
      ["here", 5],
    ];
    expect(countsAt()).toEqual(counts);
    for (const level of ["counters", "full"] as const) {
      track(level);
      expect(countsAt()).toEqual(counts);
    }
    for (let i = 0; i < 25; i++) ch.trySend(1);
  });

  test("what an earlier sampling has passed over is counted at the places that it has recorded", () => {
    thrown(0.5);
    track("sampled", { every: 2 });
    // Four are recorded, which stand for eight: the ninth is known to have been passed over.
    for (let i = 0; i < 9; i++) here();
    track("sampled", { every: 2 });
    for (let i = 0; i < 4; i++) there();
    expect(countsAt()).toEqual([
      ["here", 9],
      ["there", 4],
    ]);
    for (let i = 0; i < 13; i++) ch.trySend(1);
  });

  test("of three of which one is recorded and taken, the other two are counted nowhere else", async () => {
    thrown(0.6); // A gap of two: floor(log(0.4) / log(2 / 3)).
    track("sampled", { every: 3 });
    const earlier = counters()["proved leak"] as number;
    (function forget() {
      for (let i = 0; i < 30; i++) void new Channel<number>().receive();
    })();
    for (let i = 0; i < 61; i++) there();
    try {
      await collectUntil(() => counters()["proved leak"] === earlier + 10);
      for (let i = 0; i < 54; i++) ch.trySend(1);
      expect(countsAt()).toEqual([
        [undefined, 20],
        ["there", 7],
      ]);
      for (let i = 0; i < 7; i++) ch.trySend(1);
      await expect(verifyNone({ timeout: 0 })).rejects.toThrow("30 chan receive");
    } finally {
      // Nothing can end the others: they would stay counted.
      for (const kind of allKinds()) if (kind.name === "chan receive") kind.live -= 20;
    }
  });

  test("what the collector has taken without a record is not counted at other places", async () => {
    thrown(0.5);
    track("sampled", { every: 2 });
    const earlier = counters()["proved leak"] as number;
    (function forget() {
      for (let i = 0; i < 40; i++) void new Channel<number>().receive();
    })();
    for (let i = 0; i < 4; i++) there();
    await collectUntil(() => counters()["proved leak"] === earlier + 20);
    expect(countsAt()).toEqual([
      [undefined, 20],
      ["there", 4],
    ]);
    for (let i = 0; i < 4; i++) ch.trySend(1);
    await expect(verifyNone({ timeout: 0 })).rejects.toThrow("40 chan receive");
    // Nothing can end the others: they would stay counted.
    for (const kind of allKinds()) if (kind.name === "chan receive") kind.live -= 20;
  });

  test("for kinds that are sampled in part, one record stands for `every` at most", async () => {
    thrown(0.5);
    track("sampled", { every: 2 });
    const sem = new Weighted(100);
    const permits = [await sem.permit(bg), await sem.permit(bg)];
    await sem.acquire(bg, 90);
    expect(places().filter(({ kind }) => kind === "semaphore unit")).toMatchObject([
      { stack: undefined, count: 90 },
      { stack: expect.any(String), count: 2 },
    ]);
    for (const permit of permits) permit.release();
    sem.release(90);
  });

  test("what is proved to be leaked has a place, which stays", async () => {
    const proved = new Promise<void>((resolve) => {
      const end = onProved(() => {
        end();
        resolve();
      });
    });
    const before = places().filter(({ kind }) => kind === "proved leak");
    (function forget() {
      void new Channel<number>().receive();
    })();
    const counted = () => counters()["proved leak"];
    const earlier = counted() as number;
    await collectUntil(() => counted() === earlier + 1);
    await proved;
    const now = places().filter(({ kind }) => kind === "proved leak");
    const sum = (all: readonly { readonly count: number }[]) => all.reduce((total, { count }) => total + count, 0);
    expect(sum(now) - sum(before)).toBe(1);
    expect(now.find(({ stack }) => stack?.includes("forget"))?.count).toBeGreaterThanOrEqual(1);
    await expect(verifyNone({ timeout: 0 })).rejects.toThrow("1 chan receive");
  });
});

test("frames: as many lines of the program as asked", () => {
  const ch = new Channel<number>();
  const lines = () => find().at(-1)?.stack?.split("\n").length;
  for (const frames of [1, 3]) {
    track("full", { frames });
    void ch.receive();
    expect(lines()).toBe(frames);
    track("sampled", { every: 1, frames });
    void ch.receive();
    expect(lines()).toBe(frames);
  }
  track("sampled", { every: 1 });
  void ch.receive();
  expect(lines()).toBeLessThanOrEqual(8);
  ch.close();
});

test("frames: one place has as many as asked each time, and many places have their own", async () => {
  const ch = new Channel<number>();
  const shown = () => find().at(-1)?.stack ?? "";
  const park = () => void ch.receive();
  const inner = () => park();
  const outer = () => inner();
  for (const frames of [3, 1, 2]) {
    track("full", { frames });
    // From a turn of its own, with nothing above it.
    await new Promise<void>((resolve) => {
      setTimeout(() => {
        outer();
        resolve();
      }, 0);
    });
    expect(shown().split("\n")).toHaveLength(frames);
  }
  const parks = Array.from({ length: 500 }, (_, i) => {
    return new Function("ch", `return function place${i}() { void ch.receive(); }`)(ch) as () => void;
  });
  // Of stacks as they were captured only some are kept. They have the library's own frames.
  let kept = 0;
  const { set } = Map.prototype;
  vi.spyOn(Map.prototype, "set").mockImplementation(function (this: Map<unknown, unknown>, key, value) {
    set.call(this, key, value);
    if (typeof key === "string" && key.includes("internal/track/stack")) kept = Math.max(kept, this.size);
    return this;
  });
  for (const _ of [1, 2]) {
    for (const [i, park] of parks.entries()) {
      park();
      expect(shown()).toContain(`place${i} `);
    }
  }
  vi.restoreAllMocks();
  expect(kept).toBe(200);
  ch.close();
});

test("a lost cancel is told at run time, once the collector has taken the cancel function", async () => {
  const [parent, end] = withCancel(bg);
  const seen: unknown[] = [];
  const stop = onLostCancel((leak) => seen.push(leak));
  const contexts = [
    (function lose() {
      return withCancel(parent)[0];
    })(),
  ];
  const [kept, cancelKept] = withCancel(parent);
  expect(await collectUntil(() => seen.length > 0)).toBe(true);
  expect(seen).toMatchObject([{ kind: "context", count: 1, lostCancel: true, proved: false }]);
  expect(seen[0]).toMatchObject({ stack: expect.stringContaining("lose") });
  stop();
  contexts.push(withCancel(parent)[0]);
  await collectUntil(() => false);
  expect(seen).toHaveLength(1);
  expect(kept.err()).toBeUndefined();
  cancelKept();
  end();
  expect(contexts).toHaveLength(2);
});

test.each<[unknown, string]>([
  [{ every: 0 }, "track: every must be a whole number from 1 to 2^53-1, got 0"],
  [{ every: 1.5 }, "track: every must be a whole number from 1 to 2^53-1, got 1.5"],
  [{ frames: 0 }, "track: frames must be a whole number from 1 to 2^53-1, got 0"],
  [{ frames: "8" }, 'track: frames must be a whole number, got "8"'],
  [1, "track: options must be an object, got 1"],
])("bad options change nothing: %j", (options, message) => {
  track("counters");
  for (const level of ["sampled", "full"] as const) {
    expect(() => track(level, options as never)).toThrow(message);
  }
  const ch = new Channel<number>();
  void ch.receive();
  expect(find()).toMatchObject([{ stack: undefined }]);
  ch.close();
});

test("a stack is the same string for all that is made at a place, and forgotten with the last", () => {
  const ch = new Channel<number>();
  for (let i = 0; i < 2; i++) void ch.receive();
  const [first, second] = find();
  expect(first?.stack).toBe(second?.stack);
  const alive = () => places().filter(({ kind }) => kind !== "proved leak");
  ch.trySend(1);
  expect(alive()).toMatchObject([{ count: 1 }]);
  ch.trySend(1);
  expect(alive()).toEqual([]);
});
