/** Traces: what a recording sees of tasks and waits, as events that keep the rules of the format. */
import { Channel } from "gopark/channel";
import { background, withCancel, withTimeout } from "gopark/context";
import { Group } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { map } from "gopark/pipeline";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { Mutex, WaitGroup } from "gopark/sync";
import { sleep } from "gopark/time";
import { type Recording, start, type TraceEvent, type TraceFile } from "gopark/trace";
import { Workers } from "gopark/workers";
import { afterEach, describe, expect, test, vi } from "vitest";
import { addObserver, isObserved, PROVED, toWatch } from "../src/internal/track/tracker.ts";
import { gate } from "./support/gate.ts";
import { collectReported, reportsDue } from "./support/reported.ts";
import { faultsOf } from "./support/traces.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();

// The clock of the recordings: a millisecond is a microsecond a thousand times.
let at = 0;
const now = () => at;
const running: Recording[] = [];

function record(options: { readonly max?: number } = {}): Recording {
  const recording = start({ now, ...options });
  running.push(recording);
  return recording;
}

afterEach(() => {
  for (const recording of running.splice(0)) recording.stop();
  at = 0;
});

/** Stops a recording whose events keep the rules. */
function stop(recording: Recording): TraceEvent[] {
  const { traceEvents } = recording.stop();
  expect(faultsOf(traceEvents)).toEqual([]);
  expect(JSON.parse(JSON.stringify(traceEvents))).toEqual(traceEvents);
  return [...traceEvents];
}

/** The slices, a line each, indented as they are nested: name, id, from and to in milliseconds, and what is said. */
function slices(events: readonly TraceEvent[]): string[] {
  const lines: string[] = [];
  let depth = 0;
  for (const [i, event] of events.entries()) {
    if (event.ph === "e") depth--;
    if (event.ph !== "b") continue;
    const end = endOf(events, i);
    const { task, parent, at: _, ...says } = event.args ?? {};
    const said = Object.keys(says).map((word) => ` ${word}`);
    lines.push(
      `${"  ".repeat(depth++)}${event.name} ${event.cat}|${event.id} ${event.ts / 1000}-${end.ts / 1000}${said.join("")}`,
    );
  }
  return lines;
}

function endOf(events: readonly TraceEvent[], begin: number): TraceEvent {
  const { cat, id } = events[begin] as TraceEvent;
  let depth = 0;
  for (const event of events.slice(begin)) {
    if (event.cat !== cat || event.id !== id) continue;
    depth += event.ph === "b" ? 1 : -1;
    if (depth === 0) return event;
  }
  throw new Error("not ended");
}

/** The arrows: what, from which task, to which, when in milliseconds. */
function arrows(events: readonly TraceEvent[]): string[] {
  return events
    .filter(({ ph }) => ph === "s")
    .map((begin) => {
      const end = events.find(({ ph, cat, id }) => ph === "f" && cat === begin.cat && id === begin.id) as TraceEvent;
      return `${begin.name} ${begin.tid}>${end.tid} ${begin.ts / 1000}`;
    });
}

describe("a recording", () => {
  test("shows a task, its waits inside of it, and what runs outside of all tasks beside", async () => {
    const recording = record();
    const ch = new Channel<number>();
    const sem = new Weighted(1);
    await sem.acquire(bg);
    at = 1;
    const task = go(async () => {
      await ch.receive();
      await sem.acquire(bg);
    });
    await turn();
    const outside = new Channel<number>();
    const waiting = outside.receive();
    at = 2;
    ch.trySend(1);
    await turn();
    at = 3;
    sem.release();
    await task;
    at = 4;
    outside.close();
    await waiting;
    at = 5;
    expect(slices(stop(recording))).toEqual([
      "chan receive wait|1 1-4",
      "task task|2 1-3",
      "  chan receive task|2 1-2",
      "  semaphore acquire task|2 2-3",
    ]);
    sem.release();
  });

  test("draws an arrow from the task that ends a wait, and tells a cancel", async () => {
    const recording = record();
    const ch = new Channel<number>();
    const [ctx, cancel] = withCancel(bg);
    const receiver = go(() => ch.receive());
    const canceled = watch(go(() => new Channel<number>().receive(ctx)));
    await turn();
    at = 1;
    await go(() => ch.send(1));
    at = 2;
    await go(() => cancel());
    await receiver;
    await turn();
    expect(canceled.state).toBe("rejected");
    const events = stop(recording);
    expect(arrows(events)).toEqual(["hand-off 4>2 1", "cancel 5>3 2"]);
    expect(slices(events)).toContain("  chan receive task|3 0-2 canceled");
    expect(slices(events)).toContain("  chan receive task|2 0-1");
    const threads = events.filter(({ ph, name }) => ph === "M" && name === "thread_name");
    expect(threads.map(({ tid, args }) => `${tid} ${args?.name}`)).toEqual([
      "1 main",
      "4 task 4",
      "2 task 2",
      "5 task 5",
      "3 task 3",
    ]);
    const ends = events.filter(({ ph }) => ph === "X");
    expect(ends.map(({ tid, name, args }) => `${tid} ${name} ${args?.task ?? args?.by}`)).toEqual([
      "4 wakes 2",
      "2 chan receive 4",
      "5 cancels 3",
      "3 chan receive 5",
    ]);
  });

  test("draws none for a task that ends its own wait, and none outside of all tasks", async () => {
    const recording = record();
    const ch = new Channel<number>();
    await go(async () => {
      const waiting = ch.receive();
      await ch.send(1);
      await waiting;
    });
    const waiting = ch.receive();
    await ch.send(1);
    await waiting;
    expect(arrows(stop(recording))).toEqual([]);
  });

  test("draws one from outside of all tasks: from a timer, and from the program", async () => {
    vi.useFakeTimers();
    const recording = record();
    const ch = new Channel<number>();
    const { ctx } = withTimeout(bg, 10);
    const tasks = [go(() => sleep(5)), go(() => ch.receive()), watch(go(() => new Channel().receive(ctx)))];
    await turn();
    ch.close();
    at = 7;
    await vi.advanceTimersByTimeAsync(20);
    await tasks[0];
    await tasks[1];
    expect(arrows(stop(recording))).toEqual(["hand-off 1>2 7", "hand-off 1>3 0", "cancel 1>4 7"]);
  });

  test("closes what is open at its end, and says so", async () => {
    const recording = record();
    const ch = new Channel<number>();
    const { promise, open } = gate();
    const tasks = [go(() => ch.receive()), go(() => promise)];
    await turn();
    at = 9;
    expect(slices(stop(recording))).toEqual([
      "task task|2 0-9 open",
      "  chan receive task|2 0-9 open",
      "task task|3 0-9 open",
    ]);
    ch.close();
    open();
    await Promise.all(tasks);
  });

  test("gives a wait of a task a place of its own where it would not nest", async () => {
    const recording = record();
    const [a, b, c] = [new Channel<number>(), new Channel<number>(), new Channel<number>()];
    let later: Promise<unknown> | undefined;
    const task = go(async () => {
      const both = [a.receive(), b.receive()];
      await Promise.all(both);
      later = c.receive(); // Not over when the task is.
    });
    await turn();
    at = 1;
    a.trySend(1);
    at = 2;
    b.trySend(1);
    await task;
    at = 3;
    c.close();
    await later;
    const events = stop(recording);
    expect(slices(events)).toEqual([
      "task task|2 0-2",
      "  chan receive task|2 0-1",
      "chan receive wait|1 0-2",
      "chan receive wait|2 2-3",
    ]);
    expect(events.filter(({ ph, cat }) => ph === "b" && cat === "wait").map(({ args }) => args?.task)).toEqual([2, 2]);
  });

  test("knows the task that started a task", async () => {
    const recording = record();
    await go(() => go(() => go(() => {})));
    await go(() => {});
    const tasks = stop(recording).filter(({ ph, cat }) => ph === "b" && cat === "task");
    expect(tasks.map(({ args }) => [args?.task, args?.parent])).toEqual([
      [2, 1],
      [3, 2],
      [4, 3],
      [5, 1],
    ]);
  });

  test("sees the tasks of groups, workers, wait groups and pipelines, and every sort of wait", async () => {
    const recording = record();
    const group = new Group();
    const mutex = new Mutex();
    const ch = new Channel<number>();
    await mutex.lock();
    await group.go(() => mutex.withLock(() => {}));
    await group.go(() => select({ ch }));
    const workers = new Workers(1);
    const wg = new WaitGroup();
    const others = [workers.submit(() => {}), wg.go(() => {})];
    for await (const n of map(bg, [1, 2], (n) => n * 2)) void n;
    await turn();
    mutex.unlock();
    ch.close();
    await Promise.all(others);
    await group.wait();
    const events = stop(recording).filter(({ ph }) => ph === "b");
    expect(events.filter(({ name }) => name === "task")).toHaveLength(6);
    expect(new Set(events.map(({ name }) => name))).toEqual(
      new Set(["task", "mutex lock", "select", "errgroup wait", "pipeline next", "pipeline room"]),
    );
  });

  test("shows where things were made, under full tracking", async () => {
    const recording = record();
    track("counters");
    await go(function untold() {});
    track("full");
    async function baker() {
      await Promise.resolve();
    }
    const ch = new Channel<number>();
    function waiter() {
      return ch.receive();
    }
    await go(baker);
    const waiting = waiter();
    ch.close();
    await waiting;
    const places = stop(recording)
      .filter(({ ph }) => ph === "b")
      .map(({ name, args }) => `${name} ${args?.at}`);
    expect(places).toEqual([
      expect.stringMatching(/^chan receive at waiter \(.*trace\.test\.ts:\d+:\d+\)$/),
      "task undefined",
      expect.stringMatching(/^task at .*trace\.test\.ts:\d+:\d+\)?$/),
    ]);
  });

  test("counts what there is, at its beginning, at most each ten milliseconds, and at its end", async () => {
    const before = new Channel<number>();
    const first = before.receive();
    const recording = record();
    const ch = new Channel<number>();
    const waits: Promise<unknown>[] = [];
    for (; at < 25; at += 5) waits.push(ch.receive());
    ch.close();
    before.close();
    await Promise.all([first, ...waits]);
    const counters = stop(recording).filter(({ ph, args }) => ph === "C" && "chan receive" in (args ?? {}));
    expect(counters.map(({ name, ts, args }) => [name, ts / 1000, args?.["chan receive"]])).toEqual([
      ["waits", 0, 1],
      ["waits", 10, 4],
      ["waits", 20, 6],
      ["waits", 25, 0],
    ]);
  });

  test("counts proved leaks apart", () => {
    const recording = record();
    PROVED.live += 2;
    const events = stop(recording);
    PROVED.live -= 2;
    const counters = events.filter(({ ph, args }) => ph === "C" && PROVED.name in (args ?? {}));
    expect(counters.map(({ name }) => name)).toEqual(["leaks"]);
  });
});

describe("memory", () => {
  const spans = ({ traceEvents }: TraceFile) => traceEvents.filter(({ ph }) => ph === "b");

  test("is bounded: the newest tasks and waits are kept, and what is dropped is counted", async () => {
    const recording = record({ max: 3 });
    const ch = new Channel<number>();
    const waits: Promise<unknown>[] = [];
    for (let i = 0; i < 10; i++) {
      at = i;
      waits.push(ch.receive());
    }
    ch.close();
    await Promise.all(waits);
    stop(recording);
    const file = recording.stop();
    expect(file.otherData).toEqual({ dropped: 7 });
    expect(spans(file).map(({ ts }) => ts / 1000)).toEqual([7, 8, 9]);
    expect(file.displayTimeUnit).toBe("ms");
  });

  test("keeps a task whose waits are kept, however old it is", async () => {
    const recording = record({ max: 2 });
    const ch = new Channel<number>();
    const task = go(async () => {
      while ((await ch.receive()).ok);
    });
    for (at = 1; at < 10; at++) {
      await turn();
      ch.trySend(at);
    }
    ch.close();
    await task;
    const events = stop(recording);
    expect(slices(events).filter((line) => line.startsWith("task"))).toEqual(["task task|2 1-10"]);
    expect(slices(events).length).toBeLessThanOrEqual(3);
    expect(recording.stop().otherData.dropped).toBeGreaterThan(5);
  });

  test("is bounded for counters too", async () => {
    const recording = record({ max: 5 });
    const ch = new Channel<number>();
    const waits: Promise<unknown>[] = [];
    for (; at < 1000; at += 10) waits.push(ch.receive());
    const counters = recording.stop().traceEvents.filter(({ ph }) => ph === "C");
    expect(counters.map(({ ts }) => ts / 1000)).toEqual([950, 960, 970, 980, 990]);
    ch.close();
    await Promise.all(waits);
  });

  test("a million waits", { timeout: 120_000 }, async () => {
    const recording = record({ max: 1000 });
    track("counters");
    const ch = new Channel<number>();
    const receiver = go(async () => {
      let sum = 0;
      for await (const n of ch) sum += n;
      return sum;
    });
    for (let i = 0; i < 1_000_000; i++) await ch.send(1);
    ch.close();
    expect(await receiver).toBe(1_000_000);
    track("full");
    stop(recording);
    const file = recording.stop();
    expect(spans(file).length).toBeLessThanOrEqual(1001);
    expect(file.otherData.dropped).toBeGreaterThan(900_000);
  });
});

describe("start and stop", () => {
  test("several recordings run at once, each with ids of its own", async () => {
    const first = record();
    await go(() => {});
    const second = record();
    at = 1;
    const ch = new Channel<number>();
    const waiting = go(() => ch.receive());
    await turn();
    at = 2;
    const events = stop(first);
    at = 3;
    ch.close();
    await waiting;
    expect(slices(events)).toEqual(["task task|2 0-0", "task task|3 1-2 open", "  chan receive task|3 1-2 open"]);
    expect(slices(stop(second))).toEqual(["task task|2 1-3", "  chan receive task|2 1-3"]);
    expect(isObserved()).toBe(false);
  });

  test("stop ends it: nothing is seen any more, and a second call returns the same", async () => {
    track("counters");
    const recording = record();
    const ch = new Channel<number>();
    const waiting = ch.receive();
    const task = go(() => ch.receive());
    await turn();
    const file = recording.stop();
    const text = JSON.stringify(file);
    expect([isObserved(), toWatch()]).toEqual([false, undefined]);
    at = 5;
    ch.close();
    await Promise.all([waiting, task, go(() => {})]);
    expect(recording.stop()).toBe(file);
    expect(JSON.stringify(file)).toBe(text);
    track("full");
  });

  test("is without effect on tasks: results, errors, foreign promises, async context", async () => {
    const recording = record();
    const boom = new Error("boom");
    let asked = 0;
    const foreign = {
      get then() {
        asked++;
        return (resolve: (value: number) => void) => resolve(7);
      },
    } as unknown as PromiseLike<number>;
    expect(await go(() => 5)).toBe(5);
    expect(await go(async () => 6)).toBe(6);
    expect(await go(() => foreign)).toBe(7);
    expect(asked).toBe(1);
    const object = { a: 1 };
    expect(await go(() => object)).toBe(object);
    await expect(go(() => Promise.reject(boom))).rejects.toBe(boom);
    await expect(
      go(() => {
        throw boom;
      }),
    ).rejects.toBe(boom);
    at = 1;
    const { AsyncLocalStorage } = await import("node:async_hooks");
    const own = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const look = async () => {
      seen.push(own.getStore());
      await turn();
      seen.push(own.getStore());
    };
    await own.run("mine", () => go(look));
    expect(seen).toEqual(["mine", "mine"]);
    const events = stop(recording);
    expect(slices(events).filter((line) => line.includes("open"))).toEqual([]);
    expect(slices(events)).toHaveLength(7);
  });

  test("disturbs no other observer", async () => {
    const seen: string[] = [];
    const end = addObserver({ parked: (kind) => seen.push(kind.name) });
    const recording = record();
    const ch = new Channel<number>();
    const waiting = ch.receive();
    ch.close();
    await waiting;
    end();
    expect(seen).toEqual(["chan receive"]);
    expect(slices(stop(recording))).toEqual(["chan receive wait|1 0-0"]);
  });

  test.each([
    [{ max: 0 }, new RangeError("start: max must be a whole number from 1 to 2^53-1, got 0")],
    [{ max: 1.5 }, new RangeError("start: max must be a whole number from 1 to 2^53-1, got 1.5")],
    [{ max: "1" }, new TypeError('start: max must be a whole number, got "1"')],
    [
      { max: Number.POSITIVE_INFINITY },
      new RangeError("start: max must be a whole number from 1 to 2^53-1, got Infinity"),
    ],
    [{ now: 5 }, new TypeError("start: now must be a function, got 5")],
    [5, new TypeError("start: options must be an object, got 5")],
  ])("refuses %o, and records nothing", (options, error) => {
    expect(() => start(options as never)).toThrow(error);
    expect(isObserved()).toBe(false);
  });

  test("has real time if none is given, even under fake timers", async () => {
    vi.useFakeTimers({ now: 0 });
    const recording = start();
    running.push(recording);
    await go(() => turn());
    const [task] = stop(recording).filter(({ ph }) => ph === "e");
    expect((task as TraceEvent).ts).toBeGreaterThan(0);
  });
});

describe("a clock", () => {
  test("that goes back, or shows no number, lets time stand still", async () => {
    const recording = record();
    const ch = new Channel<number>();
    for (const [begin, end] of [
      [5, 3],
      [4, 6],
      [Number.NaN, 7],
      [Number.POSITIVE_INFINITY, Number.NaN],
      [-1, 8],
    ]) {
      at = begin as number;
      const waiting = ch.receive();
      at = end as number;
      ch.trySend(1);
      await waiting;
    }
    expect(slices(stop(recording))).toEqual([
      "chan receive wait|1 5-5",
      "chan receive wait|2 5-6",
      "chan receive wait|3 6-7",
      "chan receive wait|4 7-7",
      "chan receive wait|5 7-8",
    ]);
  });

  test("that shows no number at the start counts from zero", () => {
    at = Number.NaN;
    const recording = record();
    at = 3;
    const ch = new Channel<number>();
    const waiting = ch.receive();
    ch.close();
    void waiting;
    expect(slices(stop(recording))).toEqual(["chan receive wait|1 3-3"]);
  });

  test("that throws is reported, and harms no wait and no task", async () => {
    let broken = false;
    const recording = start({
      now() {
        if (broken) throw new Error("no clock");
        return at;
      },
    });
    running.push(recording);
    const errors = collectReported();
    broken = true;
    const ch = new Channel<number>();
    const task = go(() => ch.receive());
    await turn();
    ch.trySend(1);
    expect(await task).toEqual({ value: 1, ok: true });
    await reportsDue();
    expect(errors.map(String)).toEqual(Array(4).fill("Error: no clock"));
    broken = false;
    expect(slices(stop(recording))).toEqual(["task task|2 0-0", "  chan receive task|2 0-0"]);
  });
});

describe("the rules", () => {
  const event = (ph: string, rest: object): TraceEvent =>
    ({ ph, name: "a", cat: "c", pid: 1, tid: 1, ts: 1, ...rest }) as unknown as TraceEvent;
  const named = event("M", { name: "thread_name", ts: 0, args: { name: "main" } });
  const [b, e] = [event("b", { id: "1" }), event("e", { id: "1" })];
  const x = event("X", { dur: 0 });
  const [s, f] = [event("s", { id: "1" }), event("f", { id: "1", bp: "e" })];

  test("are kept by a trace that does", () => {
    expect(faultsOf([])).toEqual([]);
    expect(faultsOf([named, b, e, x, s, f, event("C", { args: { n: 1 } })])).toEqual([]);
  });

  test.each<[string, TraceEvent[]]>([
    ["unknown phase", [event("Z", {})]],
    ["no name or category", [event("C", { name: "" })]],
    ["bad process or thread", [event("C", { tid: 0.5 })]],
    ["bad process or thread", [event("C", { pid: "1" })]],
    ["bad time", [event("C", { ts: -1 })]],
    ["bad time", [event("C", { ts: Number.NaN })]],
    ["an id where none is due", [event("C", { id: "1" })]],
    ["not ended", [b]],
    ["ends what is not innermost", [e]],
    ["ends what is not innermost", [b, { ...b, name: "inner" }, e]],
    ["ends what is not innermost", [b, { ...e, ts: 0 }]],
    ["bad length", [named, event("X", { dur: -1 })]],
    ["an arrow without a slice", [named, s, x, f]],
    ["an arrow without an end", [named, x, s]],
    ["an arrow that begins or ends twice", [named, x, f]],
    ["an arrow that begins or ends twice", [named, x, s, f, f]],
    ["bound to the next slice", [named, x, s, { ...f, bp: undefined } as never]],
    ["a counter without a number", [event("C", { args: { n: "1" } })]],
    ["a thread without a name", [x]],
  ])("find: %s", (fault, events) => {
    expect(faultsOf(events).join()).toContain(fault);
  });
});
