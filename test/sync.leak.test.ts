/** Locks and the like under the leak check: what is counted, and where a report says that a lock is held from. */
import { background, DeadlineExceeded, withCancel, withTimeout } from "gopark/context";
import { counters, current, find, type Leak, onProved, track, verifyNone } from "gopark/leak";
import { Cond, type Guard, KeyedMutex, Mutex, Once, onceValue, RWMutex, WaitGroup } from "gopark/sync";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { aliveSince } from "./support/alive.ts";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const bg = background();
let before: Record<string, number>;

beforeEach(() => {
  track("full");
  before = counters();
});

afterEach(() => track("full"));

/** The name of the function, of those given, that stands first in a stack. */
function firstOf(stack: string | undefined, names: readonly string[]): string | undefined {
  return new RegExp(`\\b(${names.join("|")})\\b`).exec(stack ?? "")?.[1];
}

/** Of each wait that is reported, its kind, and the functions of this file in which it waits and its lock was taken. */
function waits(...names: string[]): unknown[] {
  return find()
    .filter(({ kind }) => kind !== "held lock" && kind !== "once function" && kind !== "context")
    .map(({ kind, stack, heldAt }) => [kind, firstOf(stack, names), firstOf(heldAt, names)]);
}

describe.each(["full", "counters"] as const)("tracking %s, it is counted", (level) => {
  beforeEach(() => track(level));

  test("what is held, with and without a guard, and what waits", async () => {
    const mu = new Mutex();
    const rw = new RWMutex();
    const keyed = new KeyedMutex<string>();
    await mu.lock();
    const guard = await rw.rGuard();
    await rw.rLock();
    expect(keyed.tryLock("a")).toBe(true);
    const { ctx, cancel } = withCancel(bg);
    const all = [mu.lock(ctx), rw.lock(ctx), rw.rLock(ctx), keyed.guard("a", ctx)].map(watch);
    expect(aliveSince(before)).toEqual({
      context: 1,
      "held lock": 4,
      "keyedmutex lock": 1,
      "mutex lock": 1,
      "rwmutex lock": 1,
      "rwmutex rLock": 1,
    });
    cancel();
    await turn();
    expect(all.map((w) => w.state)).toEqual(Array(4).fill("rejected"));
    mu.unlock();
    guard.unlock();
    guard.unlock();
    rw.rUnlock();
    keyed.unlock("a");
    expect(aliveSince(before)).toEqual({});
    await verifyNone();
  });

  test("a lock that is handed over is held all the time", async () => {
    const mu = new Mutex();
    await mu.lock();
    const next = mu.guard();
    mu.unlock();
    expect(aliveSince(before)).toEqual({ "held lock": 1 });
    (await next).unlock();
    expect(aliveSince(before)).toEqual({});
  });

  test("waits of WaitGroup, Once and Cond, and the function of a Once", async () => {
    const wg = new WaitGroup();
    const once = new Once();
    const mu = new Mutex();
    const cond = new Cond(mu);
    wg.add(1);
    await mu.lock();
    let end: () => void = () => {};
    const running = once.do(
      () =>
        new Promise<void>((resolve) => {
          end = resolve;
        }),
    );
    const all = [wg.wait(), once.do(() => {}), cond.wait(), running];
    expect(aliveSince(before)).toEqual({ "cond wait": 1, "once do": 1, "once function": 1, "waitgroup wait": 1 });
    wg.done();
    end();
    cond.signal();
    await Promise.all(all);
    expect(aliveSince(before)).toEqual({ "held lock": 1 });
    mu.unlock();
  });

  test("a task of a WaitGroup", async () => {
    const wg = new WaitGroup();
    const task = wg.go(turn);
    expect(aliveSince(before)).toEqual({ task: 1 });
    await task;
    expect(aliveSince(before)).toEqual({});
    await expect(wg.go(() => Promise.reject(new Error("boom")))).rejects.toThrow("boom");
    expect(aliveSince(before)).toEqual({});
  });
});

describe("the report of a wait for a lock shows where the lock is held from", () => {
  const outer = (mu: Mutex) => mu.lock();
  const inner = (mu: Mutex, cancel: AbortSignal) => mu.lock(cancel);

  test("of a re-entry: both calls", async () => {
    const mu = new Mutex();
    const controller = new AbortController();
    await outer(mu);
    const again = watch(inner(mu, controller.signal));
    expect(waits("outer", "inner")).toEqual([["mutex lock", "inner", "outer"]]);
    const report = await verifyNone({ timeout: 20 }).catch((error: Error) => error.message);
    expect(report).toMatch(/1 mutex lock, for \d+ ms, made at\n.*inner[\s\S]*\nblocked by the call at\n.*outer/);
    controller.abort();
    await turn();
    expect(again.state).toBe("rejected");
    mu.unlock();
  });

  test("of waits of one place for locks that were taken at two: each", async () => {
    const locks = [new Mutex(), new Mutex()] as const;
    const here = () => locks[0].lock();
    const there = () => locks[1].lock();
    await Promise.all([here(), there()]);
    const all = Promise.all(locks.map((mu) => mu.lock()));
    const report = await verifyNone({ timeout: 20 }).catch((error: Error) => error.message);
    expect(report).toMatch(/1 mutex lock, [\s\S]*blocked by the call at\n.*here/);
    expect(report).toMatch(/1 mutex lock, [\s\S]*blocked by the call at\n.*\bthere/);
    for (const mu of locks) mu.unlock();
    await all;
    for (const mu of locks) mu.unlock();
  });

  test("of withLock inside withLock, of tryLock, and of guards", async () => {
    const mu = new Mutex();
    const controller = new AbortController();
    const { signal } = controller;
    const update = () => mu.withLock(save);
    const save = () => mu.withLock(() => {}, signal);
    const updated = watch(update());
    await turn();
    expect(waits("update", "save")).toEqual([["mutex lock", "save", "update"]]);
    controller.abort();
    await turn();
    expect(updated.state).toBe("rejected");

    const second = new AbortController();
    const tried = () => mu.tryLock();
    const guarded = () => mu.guard(second.signal);
    tried();
    void guarded().catch(() => {});
    expect(waits("tried", "guarded")).toEqual([["mutex lock", "guarded", "tried"]]);
    second.abort();
    await turn();
    mu.unlock();
  });

  test("as it is when the report is made: the holder changes while others wait", async () => {
    const mu = new Mutex();
    const first = () => mu.lock();
    const second = () => mu.guard();
    const third = () => mu.lock();
    void first();
    const guard = second();
    const last = third();
    const names = ["first", "second", "third"];
    expect(waits(...names)).toEqual([
      ["mutex lock", "second", "first"],
      ["mutex lock", "third", "first"],
    ]);
    mu.unlock();
    expect(waits(...names), "where it was asked for, not where it was granted").toEqual([
      ["mutex lock", "third", "second"],
    ]);
    (await guard).unlock();
    await last;
    expect(find().map(({ kind, stack }) => [kind, firstOf(stack, names)])).toEqual([["held lock", "third"]]);
    mu.unlock();
  });

  test("of a shared lock: the first that still holds it", async () => {
    const rw = new RWMutex();
    const early = () => rw.rLock();
    const late = () => rw.rGuard();
    const writer = () => rw.lock();
    const reader = () => rw.rLock();
    await early();
    const guard = await late();
    const write = writer();
    const read = reader();
    const names = ["early", "late", "writer", "reader"];
    expect(waits(...names)).toEqual([
      ["rwmutex lock", "writer", "early"],
      ["rwmutex rLock", "reader", "early"],
    ]);
    rw.rUnlock();
    expect(waits(...names)[0]).toEqual(["rwmutex lock", "writer", "late"]);
    guard.unlock();
    await write;
    expect(waits(...names)).toEqual([["rwmutex rLock", "reader", "writer"]]);
    rw.unlock();
    await read;
    rw.rUnlock();
  });

  test("of a key's lock, and of no other key's", async () => {
    const keyed = new KeyedMutex<string>();
    const holdA = () => keyed.lock("a");
    const holdB = () => keyed.lock("b");
    const waitB = () => keyed.lock("b");
    await holdA();
    await holdB();
    const wait = waitB();
    expect(waits("holdA", "holdB", "waitB")).toEqual([["keyedmutex lock", "waitB", "holdB"]]);
    keyed.unlock("b");
    await wait;
    keyed.unlock("b");
    keyed.unlock("a");
  });

  test("of a Once: the call whose function runs", async () => {
    const once = new Once();
    const controller = new AbortController();
    const outside = () => once.do(inside);
    const inside = () => once.do(() => {}, controller.signal);
    const doing = watch(outside());
    expect(waits("outside", "inside")).toEqual([["once do", "inside", "outside"]]);
    controller.abort();
    await turn();
    expect(doing.state).toBe("rejected");
  });

  test("of a wait of a Cond that waits for its lock", async () => {
    const mu = new Mutex();
    const cond = new Cond(mu);
    const sleeper = async () => {
      await mu.lock();
      await cond.wait();
      mu.unlock();
    };
    const holder = () => mu.lock();
    const slept = sleeper();
    await turn();
    await holder();
    expect(waits("sleeper", "holder")).toEqual([["cond wait", "sleeper", undefined]]);
    cond.signal();
    await turn();
    expect(waits("sleeper", "holder")).toEqual([["mutex lock", "sleeper", "holder"]]);
    mu.unlock();
    await slept;
  });

  test("not where the lock was taken without full tracking, and not of other waits", async () => {
    const mu = new Mutex();
    track("counters");
    await mu.lock();
    track("full");
    const wait = mu.lock();
    const wg = new WaitGroup();
    wg.add(1);
    const other = wg.wait();
    expect(find().map(({ heldAt }) => heldAt)).toEqual([undefined, undefined, undefined]);
    mu.unlock();
    wg.done();
    await Promise.all([wait, other]);
    mu.unlock();
  });

  test("even where tracking is turned off and on while it is held", async () => {
    const mu = new Mutex();
    const rw = new RWMutex();
    await mu.lock();
    await rw.rLock();
    track("counters");
    await rw.rLock();
    mu.unlock();
    await mu.lock();
    rw.rUnlock();
    track("full");
    const wait = watch(mu.lock());
    expect(find().map(({ kind, heldAt }) => [kind, heldAt])).toContainEqual(["mutex lock", undefined]);
    mu.unlock();
    await turn();
    expect(wait.state).toBe("fulfilled");
    mu.unlock();
    rw.rUnlock();
    expect(aliveSince(before)).toEqual({});
  });
});

test("a guard's lock is recorded where it is due: when it is taken, or taken again by a Cond", async () => {
  const mu = new Mutex();
  const cond = new Cond(mu);
  const held = () => find().filter(({ kind }) => kind === "held lock");
  track("counters");
  const guard = await mu.guard();
  expect(held().map(({ stack, count }) => [stack, count])).toEqual([[undefined, 1]]);
  track("full");
  const waiting = cond.wait();
  cond.signal();
  await waiting;
  expect(held().map(({ stack, count }) => [stack === undefined, count])).toEqual([[false, 1]]);
  guard.unlock();
  expect(aliveSince(before)).toEqual({});
});

test("the error of a deadline shows the wait that it ended", async () => {
  vi.useFakeTimers();
  const mu = new Mutex();
  await mu.lock();
  using scope = withTimeout(bg, 10);
  const impatient = () => mu.lock(scope.ctx);
  const wait = watch(impatient());
  await vi.advanceTimersByTimeAsync(10);
  expect(wait.reason).toBeInstanceOf(DeadlineExceeded);
  expect((wait.reason as Error).stack).toMatch(/^TimeoutError: context deadline exceeded\n.*impatient/);
  mu.unlock();
});

describe("the collector proves", () => {
  /** The proved leaks among the things that `drop` makes. Others are there, too. */
  async function proved(drop: () => unknown, n: number): Promise<Leak[]> {
    const seen: Leak[] = [];
    const end = onProved((leak) => seen.push(leak));
    await drop();
    await collectUntil(() => seen.length >= n);
    end();
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow("found unexpected leaks");
    return seen;
  }

  const byKind = (leaks: readonly Leak[]) => leaks.map(({ kind }) => kind).sort();

  test("that a task waits for a lock that it holds, when nothing else has the lock", async () => {
    const reenter = async () => {
      const mu = new Mutex();
      await mu.lock();
      await mu.lock();
    };
    const seen = await proved(() => void reenter(), 2);
    expect(byKind(seen)).toEqual(["held lock", "mutex lock"]);
    const wait = seen.find(({ kind }) => kind === "mutex lock");
    expect([/reenter/.test(wait?.stack ?? ""), /reenter/.test(wait?.heldAt ?? "")]).toEqual([true, true]);
  });

  test("that a guard was dropped, though its lock is there", async () => {
    const locks = [new Mutex(), new RWMutex()] as const;
    const seen = await proved(async () => {
      await Promise.all([locks[0].guard(), locks[1].rGuard()]);
    }, 2);
    expect(byKind(seen)).toEqual(["held lock", "held lock"]);
    expect(locks[0].tryLock()).toBe(false);
  });

  test("nothing of a guard that is in use, or lent to a wait of a Cond", async () => {
    const mu = new Mutex();
    const cond = new Cond(mu);
    const ignore = current();
    const held: Guard[] = [await new Mutex().guard()];
    const waiting = mu.withLock(() => cond.wait());
    await turn();
    await collectUntil(() => find({ ignore }).some((leak) => leak.proved));
    expect(find({ ignore }).filter((leak) => leak.proved)).toEqual([]);
    cond.signal();
    await waiting;
    for (const guard of held) guard.unlock();
  });
});

test("onceValue and a function of it that never ends: both are there to be found", async () => {
  let end: (value: number) => void = () => {};
  const value = onceValue(
    () =>
      new Promise<number>((resolve) => {
        end = resolve;
      }),
  );
  const both = [value(), value()];
  await turn();
  expect(aliveSince(before)).toEqual({ "once do": 1, "once function": 1 });
  end(7);
  expect(await Promise.all(both)).toEqual([7, 7]);
});
