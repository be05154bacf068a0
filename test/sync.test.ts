/** Locks, WaitGroup and Once: who gets what, in which order, and how waits end. */
import { background, Canceled, DeadlineExceeded, withCancel, withTimeout } from "gopark/context";
import { go } from "gopark/go";
import { KeyedMutex, Mutex, Once, onceFunc, onceValue, RWMutex, WaitGroup } from "gopark/sync";
import { describe, expect, test, vi } from "vitest";
import { random } from "./support/random.ts";
import { turn, turns } from "./support/turn.ts";
import { collectUntil, unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

/** The locks that one at a time holds, as one interface. */
const exclusive = {
  Mutex: () => new Mutex(),
  "RWMutex, to write": () => new RWMutex(),
  "KeyedMutex, of one key": () => {
    const keyed = new KeyedMutex<string>();
    return {
      lock: (cancel?: AbortSignal) => keyed.lock("key", cancel),
      tryLock: () => keyed.tryLock("key"),
      unlock: () => keyed.unlock("key"),
      withLock: <R>(fn: () => R | PromiseLike<R>, cancel?: AbortSignal) => keyed.withLock("key", fn, cancel),
      guard: (cancel?: AbortSignal) => keyed.guard("key", cancel),
    };
  },
};

describe.each(Object.entries(exclusive))("%s", (_, make) => {
  test("lets one hold it at a time, in the order of the calls", async () => {
    const mu = make();
    const order: number[] = [];
    await mu.lock();
    const all = [0, 1, 2, 3].map((i) => mu.lock().then(() => order.push(i)));
    await turn();
    expect(order).toEqual([]);
    for (let i = 0; i < 4; i++) {
      mu.unlock();
      await turn();
      expect(order).toHaveLength(i + 1);
    }
    mu.unlock();
    await Promise.all(all);
    expect(order).toEqual([0, 1, 2, 3]);
  });

  test("tryLock takes it only if nobody has it, and hands it over like lock", async () => {
    const mu = make();
    expect([mu.tryLock(), mu.tryLock()]).toEqual([true, false]);
    const next = watch(mu.lock());
    mu.unlock();
    expect(mu.tryLock(), "granted already, before the awaiting code resumes").toBe(false);
    await turn();
    expect(next.state).toBe("fulfilled");
    mu.unlock();
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  });

  test("belongs to no task: another may unlock it", async () => {
    const mu = make();
    await mu.lock();
    await go(() => mu.unlock());
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  });

  test("withLock holds it while the function runs, and resolves as the function does", async () => {
    const mu = make();
    const inside = await mu.withLock(async () => {
      await turn();
      return mu.tryLock();
    });
    expect(inside).toBe(false);
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  });

  test("`using` gives it back at the end of the block, and a guard unlocks once", async () => {
    const mu = make();
    {
      using guard = await mu.guard();
      expect(mu.tryLock()).toBe(false);
      guard.unlock();
      expect(mu.tryLock()).toBe(true);
    }
    expect(mu.tryLock(), "the end of the block must not unlock what somebody else has locked").toBe(false);
    mu.unlock();
  });

  test("what a guard holds is unlocked by the guard alone", async () => {
    const mu = make();
    const guard = await mu.guard();
    const next = watch(mu.lock());
    expect(() => mu.unlock()).toThrow(new Error("sync: a guard holds the lock: it alone can unlock it"));
    await turn();
    expect(next.state).toBe("pending");
    guard.unlock();
    await turn();
    expect(next.state).toBe("fulfilled");
    mu.unlock();
  });

  test("a guard, a lock without one and a withLock wait in one line", async () => {
    const mu = make();
    const order: string[] = [];
    await mu.lock();
    const all = [
      mu.guard().then((guard) => {
        order.push("guard");
        guard.unlock();
      }),
      mu.lock().then(() => {
        order.push("lock");
        mu.unlock();
      }),
      mu.withLock(() => order.push("withLock")),
    ];
    mu.unlock();
    await Promise.all(all);
    expect(order).toEqual(["guard", "lock", "withLock"]);
  });

  test("a cancelled wait leaves the line at once, and those behind it keep their turn", async () => {
    const mu = make();
    await mu.lock();
    const controller = new AbortController();
    const waits = [mu.lock(), mu.guard(controller.signal), mu.lock(controller.signal), mu.lock()].map(watch);
    const ran = vi.fn();
    const withLock = watch(mu.withLock(ran, controller.signal));
    const reason = new Error("why");
    controller.abort(reason);
    await turn();
    expect(waits.map((w) => w.state)).toEqual(["pending", "rejected", "rejected", "pending"]);
    expect([waits[1]?.reason, waits[2]?.reason, withLock.reason]).toEqual([reason, reason, reason]);
    expect(ran).not.toHaveBeenCalled();
    mu.unlock();
    mu.unlock();
    await turn();
    expect(waits[3]?.state).toBe("fulfilled");
    mu.unlock();
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  });

  test("a done cancel wins at the call, though the lock is free", async () => {
    const mu = make();
    const reason = new Error("why");
    const signal = AbortSignal.abort(reason);
    const ran = vi.fn();
    await expect(mu.lock(signal)).rejects.toBe(reason);
    await expect(mu.guard(signal)).rejects.toBe(reason);
    await expect(mu.withLock(ran, signal)).rejects.toBe(reason);
    expect(ran).not.toHaveBeenCalled();
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  });

  test("of unlock and cancel in one turn the first decides", async () => {
    const mu = make();
    const controller = new AbortController();
    await mu.lock();
    const granted = watch(mu.lock(controller.signal));
    mu.unlock();
    controller.abort();
    await turn();
    expect(granted.state).toBe("fulfilled");

    const second = new AbortController();
    const cancelled = watch(mu.lock(second.signal));
    second.abort();
    mu.unlock();
    await turn();
    expect([cancelled.state, mu.tryLock()]).toEqual(["rejected", true]);
    mu.unlock();
  });

  test("a wait under a deadline ends with it", async () => {
    vi.useFakeTimers();
    const mu = make();
    await mu.lock();
    using scope = withTimeout(background(), 10);
    const wait = watch(mu.lock(scope.ctx.signal));
    await vi.advanceTimersByTimeAsync(10);
    expect(wait.reason).toBeInstanceOf(DeadlineExceeded);
    mu.unlock();
  });

  test("hammer: many tasks, one inside at a time, nothing lost", async () => {
    const mu = make();
    const rnd = random(7);
    let inside = 0;
    let count = 0;
    const pauses = Array.from({ length: 40 }, () => rnd.int(0, 2));
    const task = async (pause: number) => {
      for (let i = 0; i < 10; i++) {
        if (i % 3 === 0 && mu.tryLock()) mu.unlock();
        await mu.withLock(async () => {
          expect(++inside).toBe(1);
          const before = count;
          await turns(pause);
          count = before + 1;
          inside--;
        });
      }
    };
    await Promise.all(pauses.map(task));
    expect(count).toBe(400);
  });
});

describe("RWMutex", () => {
  test("lets many read at once", async () => {
    const rw = new RWMutex();
    await Promise.all([rw.rLock(), rw.rLock(), rw.rLock()]);
    expect([rw.tryRLock(), rw.tryLock()]).toEqual([true, false]);
    for (let i = 0; i < 4; i++) rw.rUnlock();
    expect(rw.tryLock()).toBe(true);
    expect([rw.tryRLock(), rw.tryLock()]).toEqual([false, false]);
    rw.unlock();
  });

  test("one that waits to write holds back those that come later to read", async () => {
    const rw = new RWMutex();
    await rw.rLock();
    const write = watch(rw.lock());
    const read = watch(rw.rLock());
    expect([rw.tryRLock(), rw.tryLock()]).toEqual([false, false]);
    await turn();
    expect([write.state, read.state]).toEqual(["pending", "pending"]);
    rw.rUnlock();
    await turn();
    expect([write.state, read.state]).toEqual(["fulfilled", "pending"]);
    rw.unlock();
    await turn();
    expect(read.state).toBe("fulfilled");
    rw.rUnlock();
  });

  test("after a write all that wait to read come before the next that writes", async () => {
    const rw = new RWMutex();
    await rw.lock();
    const write = watch(rw.lock());
    const reads = [rw.rLock(), rw.rLock()].map(watch);
    const later = watch(rw.lock());
    reads.push(watch(rw.rLock()));
    rw.unlock();
    await turn();
    expect(reads.map((r) => r.state)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
    expect([write.state, rw.tryRLock()]).toEqual(["pending", false]);
    for (let i = 0; i < 3; i++) rw.rUnlock();
    await turn();
    expect([write.state, later.state]).toEqual(["fulfilled", "pending"]);
    rw.unlock();
    await turn();
    expect(later.state).toBe("fulfilled");
    rw.unlock();
  });

  test("the last of the readers lets the writer in, not an earlier one", async () => {
    const rw = new RWMutex();
    await Promise.all([rw.rLock(), rw.rLock()]);
    const write = watch(rw.lock());
    rw.rUnlock();
    await turn();
    expect(write.state).toBe("pending");
    rw.rUnlock();
    await turn();
    expect(write.state).toBe("fulfilled");
    rw.unlock();
  });

  test("when the last wait to write is cancelled, those that it held back get in at once", async () => {
    const rw = new RWMutex();
    await rw.rLock();
    const [first, second] = [withCancel(background()), withCancel(background())];
    const writes = [rw.lock(first.ctx), rw.guard(second.ctx)].map(watch);
    const reads = [rw.rLock(), rw.rLock()].map(watch);
    first.cancel();
    await turn();
    expect([writes[0]?.state, reads[0]?.state]).toEqual(["rejected", "pending"]);
    second.cancel();
    expect(rw.tryRLock()).toBe(true);
    await turn();
    expect(writes[1]?.reason).toBeInstanceOf(Canceled);
    expect(reads.map((r) => r.state)).toEqual(["fulfilled", "fulfilled"]);
    for (let i = 0; i < 4; i++) rw.rUnlock();
    expect(rw.tryLock()).toBe(true);
    rw.unlock();
  });

  test("a cancel does not let in the readers that it ends itself", async () => {
    const rw = new RWMutex();
    await rw.rLock();
    const { ctx, cancel } = withCancel(background());
    const all = [rw.lock(ctx), rw.rLock(ctx), rw.rGuard(ctx)].map(watch);
    const other = watch(rw.rLock());
    cancel();
    await turn();
    expect(all.map((w) => w.state)).toEqual(["rejected", "rejected", "rejected"]);
    expect(other.state).toBe("fulfilled");
    rw.rUnlock();
    rw.rUnlock();
    expect(() => rw.rUnlock()).toThrow("sync: RUnlock of unlocked RWMutex");
  });

  test("a listener of the same cancel that locks and unlocks disturbs nothing", async () => {
    const rw = new RWMutex();
    await rw.rLock();
    const { ctx, cancel } = withCancel(background());
    const write = watch(rw.lock(ctx));
    const read = watch(rw.rLock());
    let another = watch(Promise.resolve());
    ctx.signal.addEventListener("abort", () => {
      // Nobody waits to write now, and those that wait to read are not admitted yet.
      another = watch(rw.lock());
      rw.rUnlock();
    });
    cancel();
    await turn();
    expect([write, read, another].map(({ state }) => state)).toEqual(["rejected", "pending", "fulfilled"]);
    rw.unlock();
    await turn();
    expect(read.state).toBe("fulfilled");
    rw.rUnlock();
    expect(rw.tryLock()).toBe(true);
    rw.unlock();
  });

  test("a cancelled wait to read changes nothing for others", async () => {
    const rw = new RWMutex();
    await rw.lock();
    const { ctx, cancel } = withCancel(background());
    const reads = [rw.rLock(ctx), rw.rLock()].map(watch);
    cancel();
    await turn();
    expect(reads.map((r) => r.state)).toEqual(["rejected", "pending"]);
    rw.unlock();
    await turn();
    expect(reads[1]?.state).toBe("fulfilled");
    rw.rUnlock();
  });

  test("guards and withRLock read together; what guards hold cannot be unlocked without them", async () => {
    const rw = new RWMutex();
    const guards = await Promise.all([rw.rGuard(), rw.rGuard()]);
    expect(await rw.withRLock(() => rw.tryLock())).toBe(false);
    await rw.rLock();
    rw.rUnlock();
    expect(() => rw.rUnlock()).toThrow("sync: a guard holds the lock");
    guards[0]?.unlock();
    guards[0]?.unlock();
    expect(rw.tryLock()).toBe(false);
    guards[1]?.unlock();
    expect(rw.tryLock()).toBe(true);
    rw.unlock();
  });

  test("RLocker: locks to read", async () => {
    const rw = new RWMutex();
    const locker = rw.rLocker();
    await locker.lock();
    await rw.rLocker().lock();
    expect(rw.tryLock()).toBe(false);
    const write = watch(rw.lock());
    locker.unlock();
    locker.unlock();
    await turn();
    expect(write.state).toBe("fulfilled");
    const read = watch(Promise.resolve(locker.lock()));
    await turn();
    expect(read.state).toBe("pending");
    rw.unlock();
    await turn();
    expect(read.state).toBe("fulfilled");
    locker.unlock();
  });

  test("hammer: readers beside readers, a writer alone", async () => {
    const rw = new RWMutex();
    const rnd = random(11);
    let readers = 0;
    let writers = 0;
    let most = 0;
    const read = async (pause: number) => {
      for (let i = 0; i < 10; i++) {
        using _guard = await rw.rGuard();
        most = Math.max(most, ++readers);
        expect(writers).toBe(0);
        await turns(pause);
        readers--;
      }
    };
    const write = async (pause: number) => {
      for (let i = 0; i < 10; i++) {
        await rw.lock();
        expect([++writers, readers]).toEqual([1, 0]);
        await turns(pause);
        writers--;
        rw.unlock();
      }
    };
    const tasks = Array.from({ length: 30 }, (_, i) => (i % 10 === 0 ? write : read)(rnd.int(0, 2)));
    await Promise.all(tasks);
    expect(most).toBeGreaterThan(1);
  });

  test("parallel readers do not wait for each other", async () => {
    const rw = new RWMutex();
    let inside = 0;
    const all = Array.from({ length: 10 }, () =>
      rw.withRLock(async () => {
        inside++;
        while (inside < 10) await turn();
      }),
    );
    await Promise.all(all);
    expect(inside).toBe(10);
  });
});

describe("KeyedMutex", () => {
  test("different keys do not wait for each other", async () => {
    const keyed = new KeyedMutex<unknown>();
    const keys = [1, "1", Number.NaN, undefined, null, "__proto__", "constructor", keyed];
    for (const key of keys) await keyed.lock(key);
    expect(keyed.len()).toBe(keys.length);
    for (const key of keys) expect(keyed.tryLock(key)).toBe(false);
    for (const key of keys) keyed.unlock(key);
    expect(keyed.len()).toBe(0);
  });

  test("keys are compared as those of a Map are", async () => {
    const keyed = new KeyedMutex<number>();
    await keyed.lock(0);
    expect(keyed.tryLock(-0)).toBe(false);
    keyed.unlock(-0);
    await keyed.lock(Number.NaN);
    expect(keyed.tryLock(Number.NaN)).toBe(false);
    keyed.unlock(Number.NaN);
    expect(keyed.len()).toBe(0);
  });

  test("a lock exists only while it is held or waited for", async () => {
    const keyed = new KeyedMutex<string>();
    expect(keyed.tryLock("a")).toBe(true);
    const waits = [keyed.lock("a"), keyed.guard("a")];
    const { ctx, cancel } = withCancel(background());
    const cancelled = watch(keyed.lock("a", ctx));
    keyed.unlock("a");
    await waits[0];
    expect(keyed.len()).toBe(1);
    cancel();
    keyed.unlock("a");
    const guard = await keyed.guard("b");
    expect(keyed.len()).toBe(2);
    guard.unlock();
    expect(keyed.len()).toBe(1);
    ((await waits[1]) as { unlock(): void }).unlock();
    expect([keyed.len(), cancelled.state]).toEqual([0, "rejected"]);
  });

  test("a done cancel, or a refused call, makes no lock", async () => {
    const keyed = new KeyedMutex<string>();
    const signal = AbortSignal.abort();
    await expect(keyed.lock("a", signal)).rejects.toThrow();
    await expect(keyed.guard("a", signal)).rejects.toThrow();
    await expect(keyed.withLock("a", () => {}, signal)).rejects.toThrow();
    await expect(keyed.withLock("a", 1 as never)).rejects.toThrow(TypeError);
    expect(keyed.len()).toBe(0);
  });

  test("a key that is locked again after it was let go has a new lock, and an old guard does not touch it", async () => {
    const keyed = new KeyedMutex<string>();
    const old = await keyed.guard("a");
    old.unlock();
    await keyed.lock("a");
    old.unlock();
    expect(keyed.tryLock("a")).toBe(false);
    keyed.unlock("a");
  });

  test("a key that an abort listener unlocks and locks again, while a wait for it is cancelled, stays locked", async () => {
    const keyed = new KeyedMutex<string>();
    await keyed.lock("a");
    const { ctx, cancel } = withCancel(background());
    const cancelled = watch(keyed.lock("a", ctx));
    let locked = false;
    ctx.signal.addEventListener("abort", () => {
      keyed.unlock("a");
      locked = keyed.tryLock("a");
    });
    cancel();
    await turn();
    expect([cancelled.state, locked]).toEqual(["rejected", true]);
    expect([keyed.len(), keyed.tryLock("a")]).toEqual([1, false]);
    keyed.unlock("a");
    expect(keyed.len()).toBe(0);
  });
});

describe("WaitGroup", () => {
  test("WaitGroup: all that wait are released at zero, not earlier, and it can be used again", async () => {
    const wg = new WaitGroup();
    for (let round = 0; round < 3; round++) {
      wg.add(3);
      const waits = [wg.wait(), wg.wait()].map(watch);
      wg.done();
      wg.add(-1);
      await turn();
      expect(waits.map((w) => w.state)).toEqual(["pending", "pending"]);
      wg.done();
      wg.add(1);
      await turn();
      expect(
        waits.map((w) => w.state),
        "released at zero, though it has been added to since",
      ).toEqual(["fulfilled", "fulfilled"]);
      wg.done();
    }
    await wg.wait();
  });

  test("WaitGroupMisuse: a done too many throws, and the counter stays", async () => {
    const wg = new WaitGroup();
    expect(() => wg.done()).toThrow(new Error("sync: negative WaitGroup counter"));
    await wg.wait();
    wg.add(2);
    expect(() => wg.add(-3)).toThrow("sync: negative WaitGroup counter");
    const wait = watch(wg.wait());
    wg.done();
    await turn();
    expect(wait.state).toBe("pending");
    wg.done();
    await turn();
    expect(wait.state).toBe("fulfilled");
  });

  test("go counts a task from the call until it has ended, and resolves as it does", async () => {
    const wg = new WaitGroup();
    let open = () => {};
    const task = wg.go(async () => {
      await new Promise<void>((resolve) => {
        open = resolve;
      });
      return 7;
    });
    const wait = watch(wg.wait());
    await turn();
    expect(wait.state).toBe("pending");
    open();
    expect(await task).toBe(7);
    await turn();
    expect(wait.state).toBe("fulfilled");
  });

  test("go starts its function in a microtask, never inside the call", async () => {
    const wg = new WaitGroup();
    const ran = vi.fn();
    const task = wg.go(ran);
    expect(ran).not.toHaveBeenCalled();
    await task;
    expect(ran).toHaveBeenCalledWith();
  });

  test.each([
    { how: "rejects", fn: () => Promise.reject(new Error("boom")) },
    {
      how: "throws",
      fn: () => {
        throw new Error("boom");
      },
    },
  ])("a task that $how counts as done, and nobody else hears of its error", async ({ fn }) => {
    const wg = new WaitGroup();
    const tasks = [wg.go(fn), wg.go(() => "fine")];
    const outcomes = Promise.allSettled(tasks);
    await wg.wait();
    expect((await outcomes).map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  });

  test("an error that nobody handles is reported as an unhandled rejection", async () => {
    const boom = new Error("boom");
    const seen = await unhandledDuring(async () => {
      const wg = new WaitGroup();
      void wg.go(() => Promise.reject(boom));
      await wg.wait();
    });
    expect(seen).toEqual([boom]);
  });

  test("a done too many during a task is the task's error, unless it has one of its own", async () => {
    const boom = new Error("boom");
    const wg = new WaitGroup();
    const fine = wg.go(() => wg.done());
    await expect(fine).rejects.toThrow("sync: negative WaitGroup counter");
    const failing = wg.go(() => {
      wg.done();
      throw boom;
    });
    await expect(failing).rejects.toBe(boom);
    await wg.wait();
  });

  test("a cancelled wait ends alone", async () => {
    const wg = new WaitGroup();
    await expect(wg.wait(AbortSignal.abort(new Error("why")))).rejects.toThrow("why");
    wg.add(1);
    const { ctx, cancel } = withCancel(background());
    const waits = [wg.wait(ctx), wg.wait()].map(watch);
    cancel();
    await turn();
    expect(waits.map((w) => w.state)).toEqual(["rejected", "pending"]);
    wg.done();
    await turn();
    expect(waits[1]?.state).toBe("fulfilled");
  });
});

describe("Once", () => {
  test("Once: the function of the first call runs, once, whatever function comes later", async () => {
    const once = new Once();
    const ran: string[] = [];
    const all = ["a", "b", "c"].map((name) => once.do(() => ran.push(name)));
    expect(ran, "inside the first call").toEqual(["a"]);
    await Promise.all(all);
    await once.do(() => ran.push("d"));
    expect(ran).toEqual(["a"]);
  });

  test("later calls wait until the function has ended", async () => {
    const once = new Once();
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const calls = [once.do(() => gate), once.do(vi.fn()), once.do(vi.fn())].map(watch);
    await turns(2);
    expect(calls.map((c) => c.state)).toEqual(["pending", "pending", "pending"]);
    open();
    await turn();
    expect(calls.map((c) => [c.state, c.value])).toEqual(Array(3).fill(["fulfilled", undefined]));
  });

  test.each(["throws", "rejects"])(
    "OncePanic: a function that %s counts as done; the first call alone fails",
    async (how) => {
      const once = new Once();
      const boom = new Error("boom");
      const fail = () => {
        if (how === "rejects") return Promise.reject(boom);
        throw boom;
      };
      const calls = [once.do(fail), once.do(fail)].map(watch);
      await turn();
      expect(calls.map((c) => [c.state, c.reason])).toEqual([
        ["rejected", boom],
        ["fulfilled", undefined],
      ]);
      const again = vi.fn();
      await once.do(again);
      expect(again).not.toHaveBeenCalled();
    },
  );

  test("a cancel ends the waiting, not the function; a done one wins, and runs nothing", async () => {
    const once = new Once();
    const ran = vi.fn();
    await expect(once.do(ran, AbortSignal.abort(new Error("why")))).rejects.toThrow("why");
    expect(ran).not.toHaveBeenCalled();
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { ctx, cancel } = withCancel(background());
    const calls = [once.do(() => gate, ctx), once.do(ran, ctx), once.do(ran)].map(watch);
    cancel();
    await turn();
    expect(calls.map((c) => c.state)).toEqual(["pending", "rejected", "pending"]);
    open();
    await turn();
    expect(calls.map((c) => c.state)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    await expect(once.do(ran, ctx), "done, and the cancel wins all the same").rejects.toBeInstanceOf(Canceled);
  });
});

describe("onceFunc and onceValue", () => {
  test("OnceFunc: one call, and nothing before the first", async () => {
    const fn = vi.fn(() => "dropped");
    const once = onceFunc(fn);
    expect(fn).not.toHaveBeenCalled();
    expect(await Promise.all([once(), once(), once()])).toEqual([undefined, undefined, undefined]);
    expect(await once()).toBe(undefined);
    expect(fn.mock.calls).toEqual([[]]);
  });

  test("OnceValue: one call, one value, even of an async function", async () => {
    const value = {};
    const fn = vi.fn(async () => {
      await turn();
      return value;
    });
    const once = onceValue(fn);
    const got = await Promise.all([once(), once()]);
    expect([...got, await once()].every((v) => v === value)).toBe(true);
    expect(fn).toHaveBeenCalledTimes(1);
  });

  test.each([undefined, null, 0, new Error("boom")])("a failure with %s comes again at each call", async (reason) => {
    for (const make of [onceFunc, onceValue]) {
      const fn = vi.fn(() => {
        throw reason;
      });
      const once = make(fn);
      const calls = [once(), once()].map(watch);
      await turn();
      calls.push(watch(once()));
      await turn();
      expect(calls.map((c) => [c.state, c.reason])).toEqual(Array(3).fill(["rejected", reason]));
      expect(fn).toHaveBeenCalledTimes(1);
    }
  });

  test("a value that is an error is a value", async () => {
    const error = new Error("a value");
    expect(await onceValue(() => error)()).toBe(error);
    const holder = { error: 1 };
    expect(await onceValue(() => holder)()).toBe(holder);
  });

  test("a call that is cancelled ends alone", async () => {
    const { ctx, cancel } = withCancel(background());
    let open: (value: number) => void = () => {};
    const once = onceValue(
      () =>
        new Promise<number>((resolve) => {
          open = resolve;
        }),
    );
    const calls = [once(), once(ctx), once()].map(watch);
    cancel();
    await turn();
    expect(calls.map((c) => c.state)).toEqual(["pending", "rejected", "pending"]);
    open(7);
    await turn();
    expect(calls.map((c) => c.value)).toEqual([7, undefined, 7]);
  });

  test("the function is dropped once it has been called", async () => {
    let dropped = false;
    const registry = new FinalizationRegistry<void>(() => {
      dropped = true;
    });
    const make = () => {
      const big = { value: 7 };
      registry.register(big, undefined);
      return onceValue(() => big.value);
    };
    const once = make();
    expect(await once()).toBe(7);
    expect(await collectUntil(() => dropped)).toBe(true);
    expect(await once()).toBe(7);
  });
});
