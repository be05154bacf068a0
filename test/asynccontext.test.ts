/**
 * A user's function runs in the async context of the call that passed it, and never on the stack of the call that
 * cancelled, released or fired: the trace of one request must not reach another.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { Channel } from "gopark/channel";
import { afterFunc, background, withCancel, withTimeout } from "gopark/context";
import { Group, scope } from "gopark/errgroup";
import { go } from "gopark/go";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { Mutex, WaitGroup } from "gopark/sync";
import { sleep } from "gopark/time";
import { Workers } from "gopark/workers";
import { expect, test, vi } from "vitest";
import { turns } from "./support/turn.ts";

const tenant = new AsyncLocalStorage<string>();
const trace = new AsyncLocalStorage<number>();

const alice = <T>(fn: () => T): T => tenant.run("alice", () => trace.run(1, fn));
const bob = <T>(fn: () => T): T => tenant.run("bob", () => trace.run(2, fn));
const where = (): string => `${tenant.getStore()} ${trace.getStore()}`;

const ctx = background();

/** A function that alice passes, which records its async context, and the call of bob's that triggers it. */
const handovers: Record<string, (ran: () => void) => () => unknown> = {
  "afterFunc, by a cancel": (ran) => {
    const { ctx: c, cancel } = withCancel(ctx);
    afterFunc(c, ran);
    return cancel;
  },
  "afterFunc, by a deadline": (ran) => {
    vi.useFakeTimers();
    const { ctx: c } = withTimeout(ctx, 10);
    afterFunc(c, ran);
    return () => vi.advanceTimersByTime(10);
  },
  "afterFunc on a signal, by its abort": (ran) => {
    const controller = new AbortController();
    afterFunc(controller.signal, ran);
    return () => controller.abort();
  },
  "a group's task that waits for a slot, by the end of another": (ran) => {
    const g = new Group();
    g.setLimit(1);
    const gate = new Channel<void>();
    void bob(() => g.go(() => gate.receive()));
    void g.go(ran);
    return () => gate.close();
  },
  "a task of workers that waits for a slot, by the end of another": (ran) => {
    const pool = new Workers(1);
    const gate = new Channel<void>();
    void bob(() => pool.submit(() => gate.receive()));
    void pool.submit(ran);
    return () => gate.close();
  },
  "the same with a cancel, by a resume": (ran) => {
    const pool = new Workers(1);
    pool.pause();
    void pool.submit(ran, { cancel: new AbortController().signal });
    return () => pool.resume();
  },
  "a panic handler of workers, by the end of a task": (ran) => {
    const pool = new Workers(1, { panicHandler: ran });
    const gate = new Channel<void>();
    void pool.submit(async () => {
      await gate.receive();
      throw new Error("boom");
    });
    return () => gate.close();
  },
  "withPermit's function, by a release": (ran) => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    void sem.withPermit(ctx, ran);
    return () => sem.release();
  },
  "withLock's function, by an unlock": (ran) => {
    const mu = new Mutex();
    mu.tryLock();
    void mu.withLock(ran);
    return () => mu.unlock();
  },
  "a wait group's task, and what follows its wait, by a done": (ran) => {
    const wg = new WaitGroup();
    wg.add(1);
    void wg.wait().then(() => wg.go(ran));
    return () => wg.done();
  },
  "what follows a receive, by a send": (ran) => {
    const ch = new Channel<number>();
    void ch.receive().then(ran);
    return () => ch.trySend(1);
  },
  "what follows a select, by a close": (ran) => {
    const ch = new Channel<number>();
    void select({ ch }).then(ran);
    return () => ch.close();
  },
  "what follows a sleep": (ran) => {
    vi.useFakeTimers();
    void sleep(10).then(ran);
    return () => vi.advanceTimersByTime(10);
  },
  "what follows a limiter's wait": (ran) => {
    vi.useFakeTimers();
    const limiter = new Limiter(100, 1);
    limiter.allow();
    void limiter.wait(ctx).then(ran);
    return () => vi.advanceTimersByTime(10);
  },
  "what follows a cancelled wait": (ran) => {
    const { ctx: c, cancel } = withCancel(ctx);
    new Channel<number>().receive(c).catch(ran);
    return cancel;
  },
};

test.each(Object.keys(handovers))("%s", async (name) => {
  let seen: string | undefined;
  let setOff: () => unknown = () => {};
  alice(() => {
    setOff = (handovers[name] as (typeof handovers)[string])(() => {
      seen = where();
    });
  });
  await turns(2);
  expect(seen, "before anything happened").toBeUndefined();

  bob(() => {
    setOff();
    expect(seen, "on the stack of the call that set it off").toBeUndefined();
  });
  await turns(3);
  expect(seen).toBe("alice 1");
});

test("a completion that was deferred over the budget still resumes in its own async context", async () => {
  const sem = new Weighted(5000);
  await sem.acquire(ctx, 5000);
  const seen = new Set<string>();
  const waits = alice(() => Array.from({ length: 5000 }, () => sem.acquire(ctx).then(() => seen.add(where()))));
  bob(() => sem.release(5000));
  await Promise.all(waits);
  expect([...seen]).toEqual(["alice 1"]);
  sem.release(5000);
});

test("a task and a scope's body begin in their caller's async context, after the call", async () => {
  const order: string[] = [];
  await alice(async () => {
    const task = go(() => order.push(`task ${where()}`));
    order.push("after go");
    await task;
    await scope(ctx, async (g) => {
      await g.go(() => order.push(`member ${where()}`));
    });
  });
  expect(order).toEqual(["after go", "task alice 1", "member alice 1"]);
});
