/** The observer of the tracker: it sees each wait park and end, with its token, and runs tasks; it disturbs nothing. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { Group } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Once, WaitGroup } from "gopark/sync";
import { Workers } from "gopark/workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  addObserver,
  currentOrigin,
  isObserved,
  type Kind,
  type Observer,
  onBehalfOf,
  runToEnd,
  toWatch,
} from "../src/internal/track/tracker.ts";
import { collectReported } from "./support/reported.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();

let removeObserver: (() => void) | undefined;

// What ends the other observers of a test.
const ends: (() => void)[] = [];

/** The only observer from now on; none for undefined. */
function setObserver(observer: Observer | undefined): void {
  removeObserver?.();
  removeObserver = observer === undefined ? undefined : addObserver(observer);
}

beforeEach(() => track("counters"));

afterEach(() => {
  setObserver(undefined);
  for (const end of ends.splice(0)) end();
  track("full");
});

/** What an observer sees, in order: `+kind token` where a wait parks, `-kind token` where it ends. */
function log(): string[] {
  const seen: string[] = [];
  let tokens = 0;
  setObserver({
    parked(kind: Kind) {
      seen.push(`+${kind.name} ${++tokens}`);
      return tokens;
    },
    unparked(kind, token, canceled) {
      seen.push(`-${kind.name} ${token}${canceled ? " canceled" : ""}`);
    },
  });
  return seen;
}

describe("an observer, without full tracking", () => {
  test("sees each wait park, and end, with what it answered when it parked", async () => {
    const seen = log();
    const ch = new Channel<number>();
    const sem = new Weighted(1);
    const [ctx, cancel] = withCancel(bg);
    const waits = [watch(ch.receive()), watch(ch.receive(ctx)), watch(select({ ch }))];
    await sem.acquire(bg);
    waits.push(watch(sem.acquire(ctx)), watch(sem.acquire(bg)));
    cancel();
    ch.trySend(1);
    ch.trySend(2);
    sem.release();
    await turn();
    expect(waits.map(({ state }) => state)).toEqual(["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"]);
    expect(seen).toEqual([
      "+chan receive 1",
      "+chan receive 2",
      "+select 3",
      "+semaphore acquire 4",
      "+semaphore acquire 5",
      "-chan receive 2 canceled",
      "-semaphore acquire 4 canceled",
      "-chan receive 1",
      "-select 3",
      "-semaphore acquire 5",
    ]);
    sem.release();
  });

  test("sees nothing of what completes at once, and nothing after it is taken away", async () => {
    const seen = log();
    const ch = new Channel<number>(1);
    await ch.send(1);
    await ch.receive();
    const parked = watch(ch.receive());
    setObserver(undefined);
    expect(toWatch()).toBeUndefined();
    const later = watch(ch.receive());
    ch.close();
    await turn();
    expect([parked.state, later.state]).toEqual(["fulfilled", "fulfilled"]);
    expect(seen).toEqual(["+chan receive 1", "-chan receive 1"]); // The end of what it saw park.
  });

  test("may claim the wait while it is shown to it", async () => {
    const seen: string[] = [];
    const ch = new Channel<number>();
    setObserver({
      parked(kind) {
        seen.push(`+${kind.name}`);
        ch.close();
      },
      unparked: (kind) => seen.push(`-${kind.name}`),
    });
    expect(await ch.receive()).toEqual({ value: undefined, ok: false });
    expect(seen).toEqual(["+chan receive", "-chan receive"]);
  });

  test("that throws disturbs no wait; its errors are reported", async () => {
    const boom = new Error("boom");
    const throwing = () => {
      throw boom;
    };
    setObserver({ parked: throwing, unparked: throwing });
    const ch = new Channel<number>();
    const errors = collectReported();
    const waiting = ch.receive();
    await ch.send(7);
    expect(await waiting).toEqual({ value: 7, ok: true });
    await turn();
    expect(errors).toEqual([boom, boom]);
  });

  test("runs tasks; what it throws is the task's error", async () => {
    const ran: string[] = [];
    setObserver({
      task(fn) {
        ran.push("task");
        return fn();
      },
    });
    expect(isObserved()).toBe(true);
    await go(() => ran.push("go"));
    const group = new Group();
    await group.go(() => ran.push("group"));
    await group.wait();
    expect(ran).toEqual(["task", "go", "task", "group"]);
    ran.length = 0;
    await new ShardMap<string, number>().update("k", () => ran.push("update"));
    await new Once().do(() => ran.push("once"));
    await new ShardMap<string, number>().getOrLoad("k", () => ran.push("load"));
    await new Flights<string, number>().do("k", () => ran.push("work"));
    await new WaitGroup().go(() => ran.push("waitgroup"));
    await new Workers(1).submit(() => ran.push("workers"));
    expect(ran).toEqual(["update", "once", "load", "work", "waitgroup", "workers"].flatMap((name) => ["task", name]));
    const boom = new Error("boom");
    setObserver({
      task() {
        throw boom;
      },
    });
    await expect(go(() => {})).rejects.toBe(boom);
    await expect(new ShardMap<string, number>().update("k", () => 1)).rejects.toBe(boom);
    await expect(new Once().do(() => {})).rejects.toBe(boom);
    await expect(new Flights<string, number>().do("k", () => 1)).rejects.toBe(boom);
    setObserver({});
    expect(isObserved()).toBe(false);
    expect(await go(() => 1)).toBe(1);
  });
});

test("each of two observers sees which waits were cancelled, and once", async () => {
  const seen = log();
  const second: string[] = [];
  const end = addObserver({
    parked: () => "second",
    unparked: (kind, token, canceled) => second.push(`${kind.name} ${token} ${canceled}`),
  });
  track("full");
  const ch = new Channel<number>();
  const [ctx, cancel] = withCancel(bg);
  const waits = [watch(ch.receive(ctx)), watch(ch.receive())];
  cancel();
  ch.close();
  await turn();
  end();
  expect(waits.map(({ state }) => state)).toEqual(["rejected", "fulfilled"]);
  expect(seen.slice(2)).toEqual(["-chan receive 1 canceled", "-chan receive 2"]);
  expect(second).toEqual(["chan receive second true", "chan receive second false"]);
});

test("each of several observers that runs tasks runs them, the last one added outermost; others are passed over", async () => {
  const ran: string[] = [];
  const runner = (name: string): Observer => ({
    task(fn, record) {
      ran.push(`${name} begins ${record?.kind.name}`);
      const result = fn();
      ran.push(`${name} ends`);
      return result;
    },
  });
  const none: Observer = { parked: () => undefined };
  ends.push(addObserver(none), addObserver(none));
  expect(isObserved()).toBe(false);
  expect(await go(() => 1)).toBe(1);
  ends.push(addObserver(runner("a")));
  expect(isObserved()).toBe(true);
  ends.push(addObserver(runner("b")));
  track("full");
  expect(await go(() => ran.push("task"))).toBe(3);
  expect(ran).toEqual(["b begins task", "a begins task", "task", "a ends", "b ends"]);
  const boom = new Error("boom");
  ends.push(
    addObserver({
      task() {
        throw boom;
      },
    }),
  );
  await expect(go(() => ran.push("never"))).rejects.toBe(boom);
  expect(ran).not.toContain("never");
  const seen: string[] = [];
  ends.push(addObserver({ parked: (kind) => seen.push(kind.name), unparked: (kind) => seen.push(kind.name) }));
  const ch = new Channel<number>();
  const waiting = ch.receive();
  ch.close();
  await waiting;
  expect(seen).toEqual(["chan receive", "chan receive"]);
  for (const end of ends.splice(0)) end();
  expect(isObserved()).toBe(false);
});

test("where nothing is recorded, each wait and task is shown, without a record", async () => {
  const records: unknown[] = [];
  setObserver({
    parked: (_, record) => records.push(record),
    task(fn, record) {
      records.push(record);
      return fn();
    },
  });
  for (let i = 0; i < 20; i++) {
    const ch = new Channel<number>();
    const waiting = go(() => ch.receive());
    await turn();
    ch.close();
    await waiting;
  }
  expect(records).toEqual(Array(40).fill(undefined));
});

describe("what an observer runs to its end ends", () => {
  const ended: string[] = [];
  const end = () => ended.push("ended");

  beforeEach(() => {
    ended.length = 0;
  });

  test("with its call, if that returns no object, or throws", () => {
    expect(runToEnd(() => 7, end)).toBe(7);
    expect(ended).toEqual(["ended"]);
    const boom = new Error("boom");
    expect(() =>
      runToEnd(() => {
        throw boom;
      }, end),
    ).toThrow(boom);
    expect(ended).toEqual(["ended", "ended"]);
  });

  test.each([
    ["a promise", (value: Promise<number>) => value],
    ["a foreign one", (value: Promise<number>) => ({ then: value.then.bind(value) })],
  ])("with %s that it returns, fulfilled or rejected", async (_, made) => {
    const [open, failing] = [new Channel<number>(), new Channel<number>()];
    const fulfilled = runToEnd(() => made(open.receive().then(() => 1)), end);
    const rejected = runToEnd(() => made(failing.receive().then(() => Promise.reject(new Error("boom")))), end);
    await turn();
    expect(ended).toEqual([]);
    open.close();
    expect(await fulfilled).toBe(1);
    expect(ended).toEqual(["ended"]);
    failing.close();
    await expect(rejected).rejects.toThrow("boom");
    expect(ended).toEqual(["ended", "ended"]);
  });

  test("at once, if what it returns cannot be asked for its `then`", async () => {
    const hostile = Object.defineProperty({}, "then", {
      get() {
        throw new Error("boom");
      },
    });
    await expect(runToEnd(() => hostile as Promise<number>, end)).rejects.toThrow("boom");
    expect(ended).toEqual(["ended"]);
  });
});

test("code that works on behalf of nobody known goes on to work for the call outside of it", () => {
  const seen = onBehalfOf("outer", () => [
    onBehalfOf(undefined, currentOrigin),
    onBehalfOf("inner", currentOrigin),
    currentOrigin(),
  ]);
  expect([...seen, currentOrigin()]).toEqual(["outer", "inner", "outer", undefined]);
  expect(() =>
    onBehalfOf("outer", () => {
      throw new Error("boom");
    }),
  ).toThrow("boom");
  expect(currentOrigin()).toBeUndefined();
});

test("one observer that was added twice is two: what removes it, called twice, leaves the other", async () => {
  let parked = 0;
  const observer: Observer = { parked: () => parked++ };
  const both = [addObserver(observer), addObserver(observer)] as const;
  both[0]();
  both[0]();
  const ch = new Channel<number>();
  const waiting = ch.receive();
  both[1]();
  expect(parked).toBe(1);
  expect(toWatch()).toBeUndefined();
  ch.close();
  await waiting;
});

test("an observer that another one ends while it is told of a wait sees that wait, and no later one", async () => {
  const seen: string[] = [];
  let end = () => {};
  setObserver({ parked: () => end() });
  end = addObserver({ parked: () => seen.push("parked"), unparked: () => seen.push("unparked") });
  const ch = new Channel<number>();
  const waits = [ch.receive(), ch.receive()];
  ch.close();
  await Promise.all(waits);
  expect(seen).toEqual(["parked", "unparked"]);
});

test("with full tracking too, a wait has a record and a token", async () => {
  track("full");
  const seen = log();
  const ch = new Channel<number>();
  const waiting = watch(ch.receive());
  ch.close();
  await turn();
  expect([waiting.state, seen]).toEqual(["fulfilled", ["+chan receive 1", "-chan receive 1"]]);
  setObserver(undefined);
  expect(toWatch()).toBeDefined();
});
