/** The profiles that V8 records, `heap` and `profile`: what becomes of its data, and who starts and stops it. */
import { Session } from "node:inspector/promises";
import { background, Canceled, withCancel } from "gopark/context";
import { handler, profile, recordHeap } from "gopark/pprof";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type CpuProfile, cpuSamples, type HeapProfile, heapSamples } from "../src/internal/pprof/inspector.ts";
import { node, type Project, project } from "./support/hosts.ts";
import { readProfile } from "./support/profile.ts";
import { turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";

const call = (functionName: string, lineNumber = -1, columnNumber = -1, url = "") => ({
  functionName,
  url,
  lineNumber,
  columnNumber,
});

const frame = (fn: string, line = 0, column = 0, file = "") => ({ fn, file, line, column });

/** A profile that fake timers end: begun, then let go on for so many seconds. */
async function takeFor(seconds: number, name: "heap" | "profile") {
  const taken = profile(name, { seconds });
  await turns(3);
  await vi.advanceTimersByTimeAsync(1000 * seconds);
  return readProfile(await taken);
}

const isSampled = async () => {
  const session = new Session();
  session.connect();
  try {
    await session.post("HeapProfiler.getSamplingProfile");
    return true;
  } catch {
    return false;
  } finally {
    session.disconnect();
  }
};

afterEach(async () => {
  vi.useRealTimers();
  expect(await isSampled()).toBe(false);
});

describe("the samples of the processor", () => {
  const nodes: CpuProfile["nodes"] = [
    { id: 1, callFrame: call("(root)"), children: [2, 5, 6] },
    { id: 2, callFrame: call("main", 9, 4, "/app/a.js"), children: [3, 4] },
    { id: 3, callFrame: call("", 19, 0, "/app/a.js") },
    { id: 4, callFrame: call("work", 29, 2, "/app/b.js") },
    { id: 5, callFrame: call("(idle)") },
    { id: 6, callFrame: call("(garbage collector)") },
  ];

  test("stand for the time until the next one, by stack; idle time is left out", () => {
    const samples = [3, 4, 4, 5, 3, 6, 1];
    const timeDeltas = [1000, 10, 20, 30, 40, 50, 60]; // The first is the time before the first sample.
    const found = cpuSamples({ nodes, samples, timeDeltas, startTime: 5000, endTime: 5000 + 1210 + 7 });
    const main = frame("main", 10, 5, "/app/a.js");
    expect(found).toEqual([
      { frames: [frame("(anonymous)", 20, 1, "/app/a.js"), main], values: [2, 60_000] },
      { frames: [frame("work", 30, 3, "/app/b.js"), main], values: [2, 50_000] },
      { frames: [frame("(garbage collector)")], values: [1, 60_000] },
    ]);
  });

  test("the last one stands for the time until the end", () => {
    const found = cpuSamples({ nodes, samples: [4], timeDeltas: [100], startTime: 0, endTime: 175 });
    expect(found.map(({ values }) => values)).toEqual([[1, 75_000]]);
  });

  test("one before its predecessor takes no time away", () => {
    const found = cpuSamples({ nodes, samples: [4, 4, 4], timeDeltas: [0, -5, 10], startTime: 0, endTime: 15 });
    expect(found.map(({ values }) => values)).toEqual([[3, 20_000]]);
  });

  test("none is nothing, and an unknown node is left out", () => {
    expect(cpuSamples({ nodes, samples: [], timeDeltas: [], startTime: 0, endTime: 10 })).toEqual([]);
    expect(cpuSamples({ nodes, samples: [99], timeDeltas: [0], startTime: 0, endTime: 10 })).toEqual([]);
  });
});

describe("the samples of the heap", () => {
  const head: HeapProfile["head"] = {
    id: 1,
    callFrame: call("(root)"),
    selfSize: 8,
    children: [
      {
        id: 2,
        callFrame: call("main", 9, 4, "/app/a.js"),
        selfSize: 0,
        children: [{ id: 3, callFrame: call("keep", 19, 2, "/app/a.js"), selfSize: 4096.4, children: [] }],
      },
      { id: 4, callFrame: call("(V8 API)"), selfSize: 100, children: [] },
    ],
  };

  test("are the bytes and the sampled objects, by stack", () => {
    const samples = [{ nodeId: 3 }, { nodeId: 3 }, { nodeId: 4 }];
    const wanted = [
      { frames: [frame("keep", 20, 3, "/app/a.js"), frame("main", 10, 5, "/app/a.js")], values: [2, 4096] },
      { frames: [frame("(V8 API)")], values: [1, 100] },
    ];
    expect(heapSamples({ head, samples })).toEqual(wanted);
    expect(heapSamples({ head }).map(({ values }) => values)).toEqual([
      [0, 4096],
      [0, 100],
    ]);
  });
});

describe("profile", () => {
  test("records what the thread does, for so many seconds", async () => {
    vi.useFakeTimers();
    const taken = profile("profile", { seconds: 10 });
    await turns(3);
    // Busy until V8 has taken samples of it, however long that is.
    function burnHere() {
      let x = 0;
      for (let i = 0; i < 20_000_000; i++) x = (x * 31 + i) % 1_000_003;
      return x;
    }
    for (let i = 0; i < 5; i++) burnHere();
    await vi.advanceTimersByTimeAsync(10_000);
    const { types, defaultType, period, samples, durationNanos } = readProfile(await taken);
    expect({ types, defaultType, period }).toEqual({
      types: ["samples/count", "cpu/nanoseconds"],
      defaultType: "cpu",
      period: "1000000 cpu/nanoseconds",
    });
    expect(durationNanos).toBeGreaterThan(0);
    const mine = samples.filter(({ stack }) => stack.some((it) => /^burnHere .*\/pprof\.recorded\.test\.ts:/.test(it)));
    expect(mine.length).toBeGreaterThan(0);
    expect(samples.every(({ stack, values }) => stack.length > 0 && values.length === 2)).toBe(true);
    expect(samples.flatMap(({ stack }) => stack).filter((it) => /^\((root|idle)\) /.test(it))).toEqual([]);
  });

  test("two at once are recorded apart", async () => {
    vi.useFakeTimers();
    const [long, short] = [profile("profile", { seconds: 20 }), profile("profile", { seconds: 10 })];
    await turns(3);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(readProfile(await short).types).toContain("cpu/nanoseconds");
    let ended = false;
    void long.then(() => {
      ended = true;
    });
    await turns(3);
    expect(ended).toBe(false);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(readProfile(await long).types).toContain("cpu/nanoseconds");
  });

  test("takes 30 seconds if that is left out", async () => {
    vi.useFakeTimers();
    let ended = false;
    const taken = profile("profile").then(() => {
      ended = true;
    });
    await turns(3);
    await vi.advanceTimersByTimeAsync(29_999);
    await turns(3);
    expect(ended).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await taken;
  });

  test.each(["heap", "profile"] as const)("a context that ends stops the recording of %s at once", async (name) => {
    const [ctx, cancel] = withCancel(background());
    const taken = profile(name, { seconds: 3600, signal: ctx });
    await turns(3);
    cancel();
    await expect(taken).rejects.toBeInstanceOf(Canceled);
    const reason = new Error("gone");
    const controller = new AbortController();
    const other = profile(name, { seconds: 3600, signal: controller.signal });
    controller.abort(reason);
    await expect(other).rejects.toBe(reason);
  });
});

describe("heap", () => {
  // Kept where the collector finds it.
  const kept: unknown[] = [];

  function keepHere(n: number) {
    for (let i = 0; i < n; i++) kept.push(new Array(2000).fill(i));
  }

  afterEach(() => {
    kept.length = 0;
  });

  test("without recordHeap shows what was allocated during some seconds, and stops", async () => {
    vi.useFakeTimers();
    const taken = profile("heap", { seconds: 5 });
    await turns(3);
    expect(await isSampled()).toBe(true);
    keepHere(1000); // 16 MB, of which one of 32 KiB is looked at.
    await vi.advanceTimersByTimeAsync(5000);
    const { types, defaultType, period, samples } = readProfile(await taken);
    expect({ types, defaultType, period }).toEqual({
      types: ["inuse_objects/count", "inuse_space/bytes"],
      defaultType: "inuse_space",
      period: "32768 space/bytes",
    });
    const mine = samples.filter(({ stack }) => stack.some((it) => /^keepHere .*\/pprof\.recorded\.test\.ts:/.test(it)));
    const bytes = mine.reduce((sum, { values }) => sum + (values[1] as number), 0);
    expect(bytes).toBeGreaterThan(8e6);
    expect(bytes).toBeLessThan(32e6);
    expect(mine.every(({ values }) => (values[0] as number) > 0)).toBe(true);
    expect(await isSampled()).toBe(false);
  });

  test("takes one second if that is left out", async () => {
    vi.useFakeTimers();
    let ended = false;
    const taken = profile("heap").then(() => {
      ended = true;
    });
    await turns(3);
    await vi.advanceTimersByTimeAsync(999);
    await turns(3);
    expect(ended).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await taken;
  });

  test("after recordHeap shows at once what was allocated since, and goes on", async () => {
    vi.useFakeTimers(); // Nothing advances them: the profiles do not wait.
    const stop = await recordHeap({ interval: 8192 });
    keepHere(500);
    for (let i = 0; i < 2; i++) {
      const { period, samples } = readProfile(await profile("heap", { seconds: 60 }));
      expect(period).toBe("8192 space/bytes");
      expect(samples.some(({ stack }) => stack.some((it) => it.startsWith("keepHere ")))).toBe(true);
    }
    expect(await isSampled()).toBe(true);
    stop();
    stop();
    await turns(2);
    expect(await isSampled()).toBe(false);
  });

  test("those who record at once share it: the last to end stops it", async () => {
    vi.useFakeTimers();
    const [long, short] = [profile("heap", { seconds: 20 }), profile("heap", { seconds: 10 })];
    await turns(3);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(readProfile(await short).defaultType).toBe("inuse_space");
    expect(await isSampled()).toBe(true);
    const [first, second] = await Promise.all([recordHeap(), recordHeap()]);
    await vi.advanceTimersByTimeAsync(10_000);
    await long;
    first();
    first();
    await turns(2);
    expect(await isSampled()).toBe(true);
    second();
    await turns(2);
    expect(await isSampled()).toBe(false);
  });

  test("reads a sampling that others have started, and leaves it on", async () => {
    const session = new Session();
    session.connect();
    await session.post("HeapProfiler.startSampling", { samplingInterval: 4096 });
    keepHere(500);
    vi.useFakeTimers();
    const { period, samples, durationNanos } = readProfile(await profile("heap", { seconds: 60 }));
    expect([period, durationNanos]).toEqual(["", 0]); // Neither is known.
    expect(samples.some(({ stack }) => stack.some((it) => it.startsWith("keepHere ")))).toBe(true);
    expect(await isSampled()).toBe(true);
    session.disconnect();
  });

  test.each([
    [0, RangeError, "recordHeap: interval must be a whole number from 1 to"],
    [1.5, RangeError, "recordHeap: interval must be a whole number from 1 to"],
    ["512", TypeError, 'recordHeap: interval must be a whole number, got "512"'],
  ])("refuses the interval %o", async (interval, type, message) => {
    const recording = recordHeap({ interval: interval as never });
    await expect(recording).rejects.toBeInstanceOf(type);
    await expect(recording).rejects.toThrow(message);
  });
});

describe("where the runtime cannot record", () => {
  const NEEDS = "needs node:inspector/promises over V8: Node 20.16 or later";

  /** Lets `node:inspector/promises` be this. */
  function inspectorIs(module: unknown): void {
    const real = process.getBuiltinModule;
    vi.spyOn(process, "getBuiltinModule").mockImplementation(((name: string) =>
      name === "node:inspector/promises" ? module : real(name)) as never);
  }

  class Refusing {
    connect() {}
    disconnect() {}
    post() {
      return Promise.reject(new Error("not implemented"));
    }
  }

  test.each([
    ["it has no inspector", undefined],
    ["its inspector has no sessions", {}],
    ["its sessions refuse", { Session: Refusing }],
  ])("because %s, it says so, and the others work", async (_, module) => {
    inspectorIs(module);
    const seen = await unhandledDuring(async () => {
      await expect(profile("profile")).rejects.toThrow(`profile: profile ${NEEDS}`);
      await expect(profile("heap")).rejects.toThrow(`profile: heap ${NEEDS}`);
      await expect(Promise.all([recordHeap(), recordHeap()])).rejects.toThrow(`profile: heap ${NEEDS}`);
      const answer = await handler({ allow: () => true })(new Request("http://localhost/debug/pprof/heap"));
      expect([answer.status, await answer.text()]).toEqual([501, `profile: heap ${NEEDS}\n`]);
      expect(readProfile(await profile("goroutine")).types).toEqual(["goroutine/count"]);
    });
    expect(seen).toEqual([]);
    vi.restoreAllMocks();
    vi.useFakeTimers();
    expect((await takeFor(1, "heap")).period).toBe("32768 space/bytes"); // Nothing of it is left.
  });

  test("because it is a page, whose program has no process", async () => {
    const home: Project = project();
    try {
      const file = home.write(
        "page.mjs",
        `globalThis.process = undefined;
        const { profile, text, handler } = await import("gopark/pprof");
        const { length } = await profile("goroutine");
        const err = await profile("heap").catch((err) => err);
        let all = "";
        for await (const piece of text(1)) all += piece;
        const answer = await handler({ allow: () => true })(new Request("http://localhost/debug/pprof/profile"));
        console.log(length > 0, err.message, all.trim(), answer.status);`,
      );
      expect(await node(home.path, file)).toEqual({
        status: 0,
        out: `true profile: heap ${NEEDS} goroutine profile: total 0 501\n`,
        err: "",
      });
    } finally {
      home.remove();
    }
  });
});
