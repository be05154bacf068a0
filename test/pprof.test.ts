/** Profiles of what the library counts: waits, tasks, proved leaks, how long waits took; encoded, and as text. */
import { Channel } from "gopark/channel";
import { background, Canceled, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { counters, track } from "gopark/leak";
import { type ProfileName, profile, recordBlocking, type TextName, text } from "gopark/pprof";
import { Weighted } from "gopark/semaphore";
import { Mutex, RWMutex } from "gopark/sync";
import { sleep } from "gopark/time";
import { afterEach, describe, expect, test, vi } from "vitest";
import { apportion } from "../src/internal/track/places.ts";
import { allRecords, provedRecords, setLevel, takeProved } from "../src/internal/track/records.ts";
import { currentLevel, isObserved, toWatch } from "../src/internal/track/tracker.ts";
import { type Read, type ReadSample, readProfile } from "./support/profile.ts";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const bg = background();

const take = async (name: ProfileName): Promise<Read> => readProfile(await profile(name));

async function textOf(level: 1 | 2, name?: TextName): Promise<string> {
  let all = "";
  for await (const piece of text(level, name)) {
    expect(piece).not.toBe("");
    all += piece;
  }
  return all;
}

/** The samples whose innermost function is `fn`. */
const at = (samples: readonly ReadSample[], fn: string) =>
  samples.filter(({ stack }) => stack[0]?.startsWith(`${fn} `));

const sum = (samples: readonly ReadSample[], value = 0) => samples.reduce((n, s) => n + (s.values[value] as number), 0);

function receiveHere(ch: Channel<number>): Promise<unknown> {
  return ch.receive();
}

/** What `make` returns when it is called n times, from one place. */
function times<T>(n: number, make: () => T): T[] {
  return Array.from({ length: n }, () => make());
}

function receiveThere(ch: Channel<number>): Promise<unknown> {
  return ch.receive();
}

afterEach(() => track("full"));

describe("goroutine", () => {
  test("counts the waits at each stack, with their kind and age", async () => {
    const ch = new Channel<number>();
    const sem = new Weighted(1);
    const [ctx, cancel] = withCancel(bg);
    await sem.acquire(ctx);
    const waits = [...times(2, () => receiveHere(ch)), receiveThere(ch), sem.acquire(ctx)];
    const { types, defaultType, period, samples, mappings, timeNanos, durationNanos } = await take("goroutine");

    expect({ types, defaultType, period, durationNanos }).toEqual({
      types: ["goroutine/count"],
      defaultType: "goroutine",
      period: "1 goroutine/count",
      durationNanos: 0,
    });
    expect(Math.abs(timeNanos / 1e6 - Date.now())).toBeLessThan(600_000);
    // One mapping: has_functions, has_filenames, has_line_numbers.
    expect(mappings).toEqual([{ 1: 1, 5: expect.any(Number), 7: 1, 8: 1, 9: 1 }]);
    const [here, ...others] = at(samples, "receiveHere");
    expect(others).toEqual([]);
    expect(here).toMatchObject({ values: [2], labels: { kind: "chan receive", age: "0 s" } });
    expect(here?.stack[0]).toMatch(/^receiveHere \/.*\/test\/pprof\.test\.ts:\d+:\d+$/);
    expect(at(samples, "receiveThere")).toMatchObject([{ values: [1] }]);
    expect(samples.filter(({ labels }) => labels.kind === "semaphore acquire")).toMatchObject([{ values: [1] }]);

    ch.close();
    cancel();
    sem.release();
    await Promise.allSettled(waits);
    expect(at((await take("goroutine")).samples, "receiveHere")).toEqual([]);
  });

  test("follows awaits: callers stand behind, and locations are shared", async () => {
    const ch = new Channel<number>();
    const inner = async () => await ch.receive();
    const outer = async () => await inner();
    const waits = [outer(), inner()];
    await turn();
    const { samples, locations, functions } = await take("goroutine");
    const stacks = at(samples, "inner").map(({ stack }) => stack.map((frame) => frame.split(" ")[0]));
    expect(stacks.map((stack) => stack[1])).toContain("outer");
    const used = new Set(samples.flatMap(({ stack }) => stack));
    expect(locations).toBe(used.size);
    expect(functions).toBe(new Set([...used].map((frame) => frame.replace(/:\d+:\d+$/, ""))).size);
    ch.close();
    await Promise.all(waits);
  });

  test("tells ages apart", async () => {
    const ch = new Channel<number>();
    const ages = [0, 999, 1000, 9_999, 10_000, 60_000, 599_000, 600_000, 3_600_000, 86_400_000, 1e9];
    const before = new Set(allRecords());
    const waits = ages.map(() => receiveHere(ch));
    const made = [...allRecords()].filter((record) => !before.has(record));
    // A margin of half a second, as time goes on, except below a second.
    for (const [i, record] of made.entries()) {
      const age = ages[i] as number;
      (record as { madeAt: number }).madeAt -= age + (age % 1000 === 0 && age > 0 ? 500 : 0);
    }
    const found = at((await take("goroutine")).samples, "receiveHere");
    const byAge = Object.fromEntries(found.map(({ labels, values }) => [labels.age, values[0]]));
    expect(Object.keys(byAge)).toEqual(["0 s", "1 s", "10 s", "60 s", "600 s", "3600 s", "86400 s"]);
    expect(sum(found)).toBe(ages.length);
    expect([byAge["60 s"], byAge["600 s"], byAge["86400 s"]]).toEqual([2, 1, 2]);
    ch.close();
    await Promise.all(waits);
  });

  test("says of waits without a record that tracking was off", async () => {
    track("counters");
    const ch = new Channel<number>();
    const waits = times(2, () => receiveHere(ch));
    track("full");
    waits.push(receiveHere(ch));
    const { samples } = await take("goroutine");
    expect(at(samples, "receiveHere")).toMatchObject([{ values: [1] }]);
    const untracked = samples.filter(({ stack }) => stack[0]?.startsWith("[no stack: made while tracking was off]"));
    expect(untracked).toMatchObject([{ values: [2], labels: { kind: "chan receive" } }]);
    expect(untracked[0]?.labels).not.toHaveProperty("age");
    ch.close();
    await Promise.all(waits);
  });

  test("under sampled tracking each kind has its exact number, divided as its samples are", async () => {
    setLevel({ name: "sampled", every: 10, frames: 8 });
    const [ch, sem] = [new Channel<number>(), new Weighted(1)];
    const [ctx, cancel] = withCancel(bg);
    await sem.acquire(ctx);
    const waits = Array.from({ length: 3000 }, (_, i) => (i % 3 === 0 ? receiveThere(ch) : receiveHere(ch)));
    const acquires = times(7, () => sem.acquire(ctx));
    const { samples } = await take("goroutine");
    expect(sum(samples.filter(({ labels }) => labels.kind === "chan receive"))).toBe(counters()["chan receive"]);
    expect(sum(samples.filter(({ labels }) => labels.kind === "semaphore acquire"))).toBe(7);
    // 2000 of 3000, from 300 samples on average: further away than this is once in many millions.
    expect(Math.abs(sum(at(samples, "receiveHere")) - 2000)).toBeLessThan(500);
    cancel();
    sem.release();
    ch.close();
    await Promise.allSettled([...waits, ...acquires]);
  });

  test("says of a kind of which none was sampled that it was not", async () => {
    setLevel({ name: "sampled", every: 1e9, frames: 8 });
    const ch = new Channel<number>();
    const waits = [receiveHere(ch)];
    const [sample, ...others] = (await take("goroutine")).samples;
    expect(sample?.stack).toEqual(["[no stack: not sampled] :0:0"]);
    expect([sample?.values, others]).toEqual([[1], []]);
    ch.close();
    await Promise.all(waits);
  });

  test("is exact though waits come and go while it is taken", async () => {
    const ch = new Channel<number>();
    const waits = times(40_000, () => watch(receiveHere(ch)));
    let running = true;
    const churn = (async () => {
      while (running) {
        for (let i = 0; i < 500; i++) {
          waits.push(watch(receiveThere(ch)));
          ch.trySend(1); // Ends the oldest.
        }
        await turn();
      }
    })();
    const totals: number[] = [];
    for (let i = 0; i < 3; i++) {
      const { samples } = await take("goroutine");
      totals.push(sum(samples.filter(({ labels }) => labels.kind === "chan receive")));
    }
    running = false;
    await churn;
    expect(totals).toEqual([40_000, 40_000, 40_000]);
    ch.close();
    await turn();
  });
});

describe("task", () => {
  test("counts running tasks where they were started, and no waits", async () => {
    const ch = new Channel<number>();
    const start = () => go(() => ch.receive());
    const tasks = times(2, start);
    const { types, samples } = await take("task");
    expect(types).toEqual(["task/count"]);
    expect(at(samples, "start")).toMatchObject([{ values: [2], labels: { kind: "task", age: "0 s" } }]);
    expect(samples.every(({ labels }) => labels.kind === "task")).toBe(true);
    expect(at((await take("goroutine")).samples, "start")).toEqual([]);
    ch.close();
    await Promise.all(tasks);
  });
});

describe("goroutineleak", () => {
  test("counts what the collector has proved, of any class; goroutine shows such waits too", async () => {
    const proofs = counters()["proved leak"] as number;
    function leakWait() {
      void new Channel<number>().receive();
    }
    function leakContext() {
      withCancel(bg);
    }
    times(2, leakWait);
    leakContext();
    expect(await collectUntil(() => (counters()["proved leak"] as number) >= proofs + 3)).toBe(true);
    const { types, defaultType, samples } = await take("goroutineleak");
    expect([types, defaultType]).toEqual([["goroutineleak/count"], "goroutineleak"]);
    expect(at(samples, "leakWait")).toMatchObject([{ values: [2], labels: { kind: "chan receive", leak: "proved" } }]);
    expect(at(samples, "leakContext")).toMatchObject([{ values: [1], labels: { kind: "context", leak: "proved" } }]);

    const goroutine = (await take("goroutine")).samples;
    expect(at(goroutine, "leakWait")).toMatchObject([
      { values: [2], labels: { kind: "chan receive", leak: "proved" } },
    ]);
    expect(at(goroutine, "leakContext")).toEqual([]);
    expect(provedRecords()).toHaveLength(3);
    takeProved(() => true);
  });
});

describe("block and mutex", () => {
  test("count the waits that have ended since recordBlocking, and how long they were parked", async () => {
    vi.useFakeTimers();
    const ch = new Channel<number>();
    const before = watch(ch.receive());
    const stop = recordBlocking();
    function receiveSlowly() {
      return ch.receive();
    }
    const slow = times(2, receiveSlowly);
    await vi.advanceTimersByTimeAsync(250);
    expect(at((await take("block")).samples, "receiveSlowly")).toEqual([]); // They are still parked.
    ch.trySend(1); // For the wait that is not recorded.
    ch.trySend(2);
    await vi.advanceTimersByTimeAsync(750);
    ch.trySend(3);
    await Promise.all(slow);
    expect(before.state).toBe("fulfilled");

    const { types, defaultType, period, samples } = await take("block");
    expect({ types, defaultType, period }).toEqual({
      types: ["contentions/count", "delay/nanoseconds"],
      defaultType: "delay",
      period: "1 contentions/count",
    });
    expect(at(samples, "receiveSlowly")).toMatchObject([{ values: [2, 1_250e6], labels: { kind: "chan receive" } }]);

    stop();
    const late = receiveSlowly();
    await vi.advanceTimersByTimeAsync(1000);
    ch.trySend(4);
    await late;
    expect(at((await take("block")).samples, "receiveSlowly")).toMatchObject([{ values: [2, 1_250e6] }]); // It stays.
  });

  test("mutex shows locks and semaphores alone, where they waited", async () => {
    vi.useFakeTimers();
    const stop = recordBlocking();
    const [mutex, sem, rw] = [new Mutex(), new Weighted(1), new RWMutex()];
    await Promise.all([mutex.lock(), sem.acquire(bg), rw.lock()]);
    function contend() {
      return [mutex.lock(), sem.acquire(bg), rw.rLock(), sleep(10)];
    }
    const waits = contend();
    await vi.advanceTimersByTimeAsync(10);
    mutex.unlock();
    sem.release();
    rw.unlock();
    await Promise.all(waits);
    mutex.unlock();
    sem.release();
    rw.rUnlock();
    stop();
    const kinds = (samples: readonly ReadSample[]) => at(samples, "contend").map(({ labels }) => labels.kind);
    const locks = ["mutex lock", "semaphore acquire", "rwmutex rLock"];
    expect(kinds((await take("mutex")).samples).sort()).toEqual([...locks].sort());
    expect(kinds((await take("block")).samples).sort()).toEqual([...locks, "sleep"].sort());
    expect(at((await take("mutex")).samples, "contend").map(({ values }) => values)).toEqual(
      locks.map(() => [1, 10_000_000]),
    );
  });

  test("are recorded without tracking, until each call has been ended once", async () => {
    track("counters");
    expect(toWatch()).toBeUndefined();
    const [first, second] = [recordBlocking(), recordBlocking()];
    expect(toWatch()).toBeDefined();
    first();
    first(); // Does nothing: the second call is not ended by it.
    expect(toWatch()).toBeDefined();
    const ch = new Channel<number>();
    function receiveUntracked() {
      return ch.receive();
    }
    const wait = receiveUntracked();
    second();
    expect(toWatch()).toBeUndefined();
    ch.close();
    await wait; // It parked while it was on, so its end is counted.
    expect(at((await take("block")).samples, "receiveUntracked")).toMatchObject([{ values: [1, expect.any(Number)] }]);
    expect(isObserved()).toBe(false);
  });

  test("a clock that is set back in between counts as no time", async () => {
    vi.useFakeTimers({ now: 1_000_000 });
    const stop = recordBlocking();
    const ch = new Channel<number>();
    function receiveBackwards() {
      return ch.receive();
    }
    const wait = receiveBackwards();
    vi.useFakeTimers({ now: 1000 });
    ch.close();
    await wait;
    stop();
    expect(at((await take("block")).samples, "receiveBackwards")).toMatchObject([{ values: [1, 0] }]);
  });
});

describe("text(1)", () => {
  test("has the total, then each stack with its labels, the most first", async () => {
    const ch = new Channel<number>();
    const waits = [receiveThere(ch), ...times(2, () => receiveHere(ch))];
    const [head, ...blocks] = (await textOf(1)).split(/(?<=\n)(?=\d+ @)/);
    const total = sum((await take("goroutine")).samples);
    expect(head).toBe(`goroutine profile: total ${total}\n`);
    const mine = blocks.filter((block) => block.includes("#\treceive"));
    expect(mine[0]).toMatch(
      /^2 @\n# labels: \{"kind":"chan receive","age":"from 0 s"\}\n#\treceiveHere\t\S*pprof\.test\.ts:\d+:\d+\n/,
    );
    expect(mine[1]).toMatch(/^1 @\n(.*\n)#\treceiveThere\t/);
    ch.close();
    await Promise.all(waits);
  });

  test("of block names both totals", async () => {
    expect(await textOf(1, "block")).toMatch(/^block profile: total \d+, delay \d+ nanoseconds\n/);
  });

  test("of nothing is its first line", async () => {
    track("counters");
    expect(await textOf(1, "task")).toMatch(/^task profile: total \d+\n/);
  });
});

describe("text(2)", () => {
  test("has each wait, the oldest first, as Go's dump: kind, age, stack", async () => {
    const ch = new Channel<number>();
    const before = new Set(allRecords());
    const waits = [receiveThere(ch), receiveHere(ch), receiveHere(ch), receiveHere(ch)];
    const made = [...allRecords()].filter((record) => !before.has(record));
    for (const [i, age] of [125_000, 60_500, 1_500].entries()) (made[i] as { madeAt: number }).madeAt -= age;
    const blocks = (await textOf(2)).split("\n\n");
    const mine = blocks.filter((block) => block.includes("receiveHere") || block.includes("receiveThere"));
    expect(mine.map((block) => block.split("\n").slice(0, 2))).toEqual([
      [expect.stringMatching(/^goroutine \d+ \[chan receive, 2 minutes\]:$/), "receiveThere()"],
      [expect.stringMatching(/^goroutine \d+ \[chan receive, 1 minute\]:$/), "receiveHere()"],
      [expect.stringMatching(/^goroutine \d+ \[chan receive, 1 second\]:$/), "receiveHere()"],
      [expect.stringMatching(/^goroutine \d+ \[chan receive\]:$/), "receiveHere()"],
    ]);
    expect(mine[0]?.split("\n")[2]).toMatch(/^\t\S*pprof\.test\.ts:\d+:\d+$/);
    const numbers = mine.map((block) => Number(/^goroutine (\d+)/.exec(block)?.[1]));
    expect(numbers).toEqual(numbers.map((_, i) => (numbers[0] as number) + i));
    ch.close();
    await Promise.all(waits);
  });

  test("shows where a lock is held from", async () => {
    const mutex = new Mutex();
    function holdIt() {
      return mutex.lock();
    }
    await holdIt();
    function wantIt() {
      return mutex.lock();
    }
    const wait = wantIt();
    const block = (await textOf(2)).split("\n\n").find((it) => it.includes("wantIt"));
    expect(block).toMatch(/\[mutex lock\]:\nwantIt\(\)\n[\s\S]*\nblocked by the call at\nholdIt\(\)\n/);
    mutex.unlock();
    await wait;
    mutex.unlock();
  });

  test("counts what has no record", async () => {
    track("counters");
    const ch = new Channel<number>();
    const waits = times(2, () => receiveHere(ch));
    track("full");
    expect(await textOf(2)).toContain("\n2 without a record [chan receive]\n".slice(1));
    ch.close();
    await Promise.all(waits);
  });

  test("of tasks has each task; of the others it is what 1 is", async () => {
    const ch = new Channel<number>();
    const start = () => go(() => ch.receive());
    const tasks = times(2, start);
    expect((await textOf(2, "task")).split("\n\n").filter((it) => it.includes("[task]:\nstart()"))).toHaveLength(2);
    expect(await textOf(2, "mutex")).toBe(await textOf(1, "mutex"));
    ch.close();
    await Promise.all(tasks);
  });

  test("comes in pieces with turns in between, and ends when it is not asked any more", async () => {
    const ch = new Channel<number>();
    const waits = times(30_000, () => receiveHere(ch));
    let turns = 0;
    let counting = true;
    void (async () => {
      for (; counting; turns++) await turn();
    })();
    let pieces = 0;
    let all = "";
    for await (const piece of text(2)) {
      pieces++;
      all += piece;
    }
    expect(all.match(/receiveHere\(\)/g)).toHaveLength(30_000);
    expect(pieces).toBeGreaterThan(1);
    expect(turns).toBeGreaterThanOrEqual(pieces - 1);

    const given = text(2);
    await given.next();
    expect(await given.return()).toEqual({ value: undefined, done: true });
    expect(await given.next()).toEqual({ value: undefined, done: true });
    counting = false;
    ch.close();
    await Promise.all(waits);
  });
});

describe("a signal or context", () => {
  test("that has ended rejects the call", async () => {
    const [ctx, cancel] = withCancel(bg);
    cancel();
    await expect(profile("goroutine", { signal: ctx })).rejects.toBeInstanceOf(Canceled);
    const reason = new Error("gone");
    await expect(profile("block", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test("that ends while a long list is read rejects it", async () => {
    const ch = new Channel<number>();
    const waits = times(30_000, () => receiveHere(ch));
    const [ctx, cancel] = withCancel(bg);
    const taken = profile("goroutine", { signal: ctx });
    cancel();
    await expect(taken).rejects.toBeInstanceOf(Canceled);
    ch.close();
    await Promise.all(waits);
  });
});

describe("bad arguments", () => {
  test.each([
    [() => profile("threads" as never), TypeError, /^profile: name must be one of goroutine, .*, got "threads"$/],
    [() => profile("toString" as never), TypeError, /name must be one of/],
    [() => profile(undefined as never), TypeError, /name must be one of .*, got undefined$/],
    [() => profile("heap", { seconds: "1" as never }), TypeError, /^profile: seconds must be a number, got "1"$/],
    ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY].map(
      (n) =>
        [() => profile("profile", { seconds: n }), RangeError, /^profile: seconds must be above 0 and finite/] as const,
    ),
    [() => profile("task", { seconds: 1 }), RangeError, /^profile: seconds is for heap and profile, got task$/],
    [() => profile("task", { signal: 5 as never }), TypeError, /5/],
  ] as const)("%s", async (call, type, message) => {
    const taken = call();
    expect(taken).toBeInstanceOf(Promise);
    const error = await taken.catch((it: unknown) => it);
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });

  test.each([
    [() => text(0 as never), /^text: level must be 1 or 2, got 0$/],
    [() => text("1" as never), /^text: level must be 1 or 2, got "1"$/],
    [
      () => text(1, "heap" as never),
      /^text: name must be one of goroutine, task, goroutineleak, block, mutex, got "heap"$/,
    ],
  ] as const)("%s", (call, message) => {
    expect(call).toThrow(TypeError);
    expect(call).toThrow(message);
  });
});

test("a stack that the host does not give is said to be missing", async () => {
  const limit = Error.stackTraceLimit;
  const { prepareStackTrace } = Error;
  const ch = new Channel<number>();
  Error.prepareStackTrace = () => "";
  let wait: Promise<unknown>;
  try {
    wait = receiveHere(ch);
  } finally {
    Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
    Error.stackTraceLimit = limit;
  }
  const { samples } = await take("goroutine");
  expect(samples.map(({ stack }) => stack[0])).toContain("[no stack: the host gave none] :0:0");
  ch.close();
  await wait;
});

describe("apportion", () => {
  test.each([
    [10, [1, 1], [5, 5]],
    [3, [3], [3]],
    [3, [1, 2], [1, 2]],
    [0, [1, 2], [0, 0]],
    [1, [1, 1, 1], [0, 1, 0]],
    [7, [], []],
  ])("%i among %j", (total, weights, parts) => expect(apportion(total, weights)).toEqual(parts));

  test("always gives away the total, each as near to its share as one", () => {
    for (let seed = 1; seed < 200; seed++) {
      const weights = Array.from({ length: (seed % 17) + 1 }, (_, i) => ((seed * 7919 + i * 104_729) % 1000) + 1);
      const total = (seed * 48_271) % 1_000_003;
      const parts = apportion(total, weights);
      const all = weights.reduce((a, b) => a + b, 0);
      expect(parts.reduce((a, b) => a + b, 0)).toBe(total);
      for (const [i, part] of parts.entries()) {
        expect(Math.abs(part - (total * (weights[i] as number)) / all)).toBeLessThanOrEqual(1);
      }
    }
  });
});

test("the level stays as it was", async () => {
  await take("goroutine");
  expect(currentLevel()).toEqual({ name: "full", frames: undefined });
});
