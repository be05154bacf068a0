/** Full tracking in a program that changes how stacks are formatted, and with listeners to proofs that throw. */
import { AsyncLocalStorage } from "node:async_hooks";
import { EventEmitter } from "node:events";
import fs from "node:fs";
import { Channel } from "gopark/channel";
import { afterFunc, background, withCancel } from "gopark/context";
import { Group } from "gopark/errgroup";
import { go } from "gopark/go";
import { counters, current, find, type Leak, onProved, type Snapshot, track, verifyNone } from "gopark/leak";
import { Pool } from "gopark/pool";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Mutex, RWMutex } from "gopark/sync";
import { sleep, Ticker, Timer } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { onBehalfOf } from "../src/internal/track/tracker.ts";
import { aliveSince } from "./support/alive.ts";
import { collectReported, reportsDue } from "./support/reported.ts";
import { collectUntil } from "./support/unhandled.ts";

const { prepareStackTrace } = Error;
let before: Record<string, number>;

beforeEach(() => {
  track("full");
  before = counters();
});

afterEach(() => {
  Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
});

/** Values of `Error.prepareStackTrace` in programs. */
const formatters: Record<string, typeof Error.prepareStackTrace> = {
  "the call sites themselves": (_, sites) => sites,
  "the first call site": (_, sites) => sites[0],
  nothing: () => undefined,
  "an object without a prototype": () => Object.create(null),
  "an error": () => {
    throw new Error("no stack for you");
  },
  "a string of one line": () => "somewhere",
};

/** Things with a record of their own: each is made, and undone by what it returns. */
const recorded: Record<string, () => () => unknown> = {
  "a receive": () => {
    const ch = new Channel<number>();
    const received = ch.receive();
    ch.trySend(1);
    return () => received;
  },
  "a send": () => {
    const ch = new Channel<number>();
    const sent = ch.send(1);
    ch.tryReceive();
    return () => sent;
  },
  "an iterator's next": () => {
    const ch = new Channel<number>();
    const next = ch.values().next();
    ch.trySend(1);
    return () => next;
  },
  "a select": () => {
    const ch = new Channel<number>();
    const selected = select({ ch });
    ch.trySend(1);
    return () => selected;
  },
  "an acquire": () => {
    const sem = new Weighted(1);
    const acquired = [sem.acquire(background()), sem.acquire(background())];
    sem.release();
    return async () => {
      await Promise.all(acquired);
      sem.release();
    };
  },
  "a permit": () => {
    const permit = new Weighted(1).permit(background());
    return async () => (await permit).release();
  },
  "a context": () => {
    const { cancel } = withCancel(background());
    return cancel;
  },
  "an afterFunc": () => {
    const { ctx, cancel } = withCancel(background());
    const stop = afterFunc(ctx, () => {});
    cancel();
    return stop;
  },
  "a timer and a ticker": () => {
    const timer = new Timer(10_000);
    const ticker = new Ticker(10_000);
    return () => {
      timer.stop();
      ticker.stop();
    };
  },
  "a sleep": () => {
    const { ctx, cancel } = withCancel(background());
    const slept = sleep(10_000, ctx).catch(() => {});
    cancel();
    return () => slept;
  },
  "a limiter's wait": () => {
    const { ctx, cancel } = withCancel(background());
    const limiter = new Limiter(0.001, 1);
    limiter.allow();
    const waited = limiter.wait(ctx).catch(() => {});
    cancel();
    return () => waited;
  },
  "a task": () => {
    const task = go(() => 1);
    return () => task;
  },
  "a group": () => {
    const g = new Group();
    g.setLimit(1);
    const started = [g.go(() => {}), g.go(() => {})];
    return async () => {
      await Promise.all(started);
      await g.wait();
    };
  },
  "an update and a load": () => {
    const map = new ShardMap<string, number>();
    const all = [map.update("a", () => 1), map.update("a", () => 2), map.getOrLoad("b", () => 3)];
    return () => Promise.all(all);
  },
  "a single flight": () => {
    const group = new Flights<string, number>();
    const all = [group.do("a", () => 1), group.do("a", () => 2)];
    return () => Promise.all(all);
  },
  "locks and guards": () => {
    const mu = new Mutex();
    const rw = new RWMutex();
    const locks = [mu.lock(), mu.lock(), rw.rLock()];
    const guards = [rw.rGuard(), rw.guard()];
    mu.unlock();
    return async () => {
      await Promise.all(locks);
      mu.unlock();
      rw.rUnlock();
      for (const guard of guards) (await guard).unlock();
    };
  },
  "a pooled object": () => {
    const pool = new Pool({ create: () => ({}), reset: () => {} });
    const object = pool.get();
    return () => pool.put(object);
  },
};

describe.each(Object.keys(formatters))("where Error.prepareStackTrace answers %s", (answer) => {
  test.each(Object.keys(recorded))("%s works, and is counted right", async (name) => {
    let undo: () => unknown = () => {};
    Error.prepareStackTrace = formatters[answer] as typeof Error.prepareStackTrace;
    try {
      undo = (recorded[name] as () => () => unknown)();
    } finally {
      Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
    }
    await undo();
    expect(aliveSince(before)).toEqual({});
  });

  test("a leak is found all the same, and shown with a stack that is a string", async () => {
    const ignore = current();
    const ch = new Channel<number>();
    Error.prepareStackTrace = formatters[answer] as typeof Error.prepareStackTrace;
    try {
      void ch.receive();
    } finally {
      Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
    }
    expect(find({ ignore })).toMatchObject([{ kind: "chan receive", count: 1, stack: expect.any(String) }]);
    await expect(verifyNone({ ignore })).rejects.toThrow("found unexpected leaks: 1 chan receive");
    ch.close();
  });
});

test.each(Object.keys(recorded))("where Error.prepareStackTrace cannot be replaced, %s works", async (name) => {
  let undo: () => unknown = () => {};
  Object.defineProperty(Error, "prepareStackTrace", { value: () => 1, configurable: true, writable: false });
  try {
    undo = (recorded[name] as () => () => unknown)();
  } finally {
    Object.defineProperty(Error, "prepareStackTrace", { value: prepareStackTrace, writable: true });
  }
  await undo();
  expect(aliveSince(before)).toEqual({});
});

describe("a listener to proofs that throws", () => {
  const doom = new Error("doom");

  test("keeps no other listener from hearing of any proof, and its error is reported", async () => {
    const reported = collectReported();
    const heard: Leak[][] = [[], []];
    const ends = [
      onProved((leak) => heard[0]?.push(leak)),
      onProved(() => {
        throw doom;
      }),
      onProved((leak) => heard[1]?.push(leak)),
    ];
    // Nothing can ever end these.
    void new Channel<number>().receive();
    void new Channel<string>().send("lost");
    await collectUntil(() => heard[0]?.length === 2 && heard[1]?.length === 2);
    await reportsDue();
    for (const end of ends) end();
    const kinds = heard.map((leaks) => leaks.map(({ kind }) => kind).sort());
    expect(kinds).toEqual(Array(2).fill(["chan receive", "chan send"]));
    expect(reported).toEqual([doom, doom]);
    await expect(verifyNone()).rejects.toThrow("found unexpected leaks");
  });
});

describe("the frames of the host", () => {
  const stacksOf = (ignore: Snapshot) => new Set(find({ ignore, kinds: ["timer"] }).map(({ stack }) => stack));

  test("do not tell apart what one place has made, whatever part of the host has called it", async () => {
    const ignore = current();
    const ch = new Channel<number>();
    const emitter = new EventEmitter();
    async function inner() {
      await null;
      await ch.receive();
    }
    async function outer() {
      await inner();
    }
    emitter.on("event", () => void outer());
    const emit = () => new AsyncLocalStorage().run(1, () => emitter.emit("event"));
    setTimeout(emit, 1);
    setImmediate(emit);
    process.nextTick(emit);
    queueMicrotask(emit);
    fs.stat("/", emit);
    await expect.poll(() => find({ ignore }).length).toBe(5);
    const stacks = stacksOf(ignore);
    ch.close();
    expect(stacks.size).toBe(1);
    const functions = [...stacks][0]?.split("\n").map((frame) => /at (?:async )?(\S+)/.exec(frame)?.[1]);
    expect(functions?.slice(0, 2)).toEqual(["inner", "outer"]);
  });

  test("are all that is shown where there are no others", () => {
    const ignore = current();
    const ch = new Channel<number>();
    Error.prepareStackTrace = (error) =>
      `${error}\n    at run (node:internal/timers:1:2)\n    at Array.map (<anonymous>)`;
    try {
      void ch.receive();
    } finally {
      Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
    }
    const stacks = stacksOf(ignore);
    ch.close();
    expect(stacks).toEqual(new Set(["    at run (node:internal/timers:1:2)\n    at Array.map (<anonymous>)"]));
  });

  test("give way to the call on whose behalf it was, though they were shown before", () => {
    const ignore = current();
    const ch = new Channel<number>();
    const line = "    at mine (/app/app.js:1:2)";
    Error.prepareStackTrace = (error) => `${error}\n    at run (node:internal/timers:3:4)`;
    try {
      void ch.receive();
      onBehalfOf(line, () => void ch.receive());
    } finally {
      Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
    }
    const stacks = stacksOf(ignore);
    ch.close();
    expect(stacks).toEqual(new Set(["    at run (node:internal/timers:3:4)", line]));
  });

  test.each([
    ["a module whose text has the name of a host's module", "data:text/javascript,import'node:fs'"],
    ["a machine of that name", "http://node:8080/app.js"],
    ["a folder of that name", "/home/node:me/app.js"],
    ["a console", "<anonymous>"],
  ])("are not those of %s", (_, file) => {
    const ignore = current();
    const ch = new Channel<number>();
    const line = `    at mine (${file}:1:2)`;
    Error.prepareStackTrace = (error) => `${error}\n    at map (native:1:2)\n${line}\n    at ext:runtime/x.js:3:4`;
    try {
      void ch.receive();
    } finally {
      Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
    }
    const stacks = stacksOf(ignore);
    ch.close();
    expect(stacks).toEqual(new Set([line]));
  });
});

test("a listener to proofs that another one ends is not called any more, not even for the same proof", async () => {
  const heard: string[] = [];
  let endSecond = () => {};
  const endFirst = onProved(() => {
    heard.push("first");
    endSecond();
    // One that is added while a proof is told hears of the next one.
    endSecond = onProved(() => heard.push("added"));
  });
  endSecond = onProved(() => heard.push("second"));
  void new Channel<number>().receive();
  expect(await collectUntil(() => heard.length > 0)).toBe(true);
  endFirst();
  endSecond();
  expect(heard).toEqual(["first"]);
  await expect(verifyNone()).rejects.toThrow("found unexpected leaks");
});
