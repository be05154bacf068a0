/** Cond: who is woken, and that the caller of `wait` holds the lock however it ends. */
import { background, Canceled, withCancel } from "gopark/context";
import { Cond, type Locker, Mutex, RWMutex } from "gopark/sync";
import { describe, expect, test, vi } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

/** Starts n tasks that take the lock, wait, note their number, and give the lock back. */
function sleepers(n: number, cond: Cond, awake: number[], pause = 0): Promise<void>[] {
  return Array.from({ length: n }, async (_, i) => {
    await cond.l.lock();
    await cond.wait();
    awake.push(i);
    await turns(pause);
    cond.l.unlock();
  });
}

const lockers = { Mutex: () => new Mutex(), RWMutex: () => new RWMutex(), RLocker: () => new RWMutex().rLocker() };

describe.each(Object.entries(lockers))("on a %s", (_, make) => {
  test("CondSignal: each signal wakes one, in the order of the calls", async () => {
    const cond = new Cond(make());
    const awake: number[] = [];
    const all = sleepers(5, cond, awake);
    await turn();
    expect(awake).toEqual([]);
    for (let n = 1; n <= 5; n++) {
      cond.signal();
      await turn();
      expect(awake).toEqual([0, 1, 2, 3, 4].slice(0, n));
    }
    cond.signal();
    await Promise.all(all);
  });

  test("CondBroadcast: wakes all that wait, each with the lock", async () => {
    const cond = new Cond(make());
    for (let round = 0; round < 3; round++) {
      const awake: number[] = [];
      const all = sleepers(8, cond, awake, 1);
      await turns(2);
      cond.broadcast();
      await Promise.all(all);
      expect(awake).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    }
  });
});

test("CondSignalGenerations: one that waits again is behind those that waited before", async () => {
  const mu = new Mutex();
  const cond = new Cond(mu);
  const awake: number[] = [];
  const all = Array.from({ length: 20 }, async (_, i) => {
    await mu.lock();
    for (let round = 0; round < 5; round++) {
      await cond.wait();
      awake.push(i);
    }
    mu.unlock();
  });
  await turn();
  for (let n = 0; n < 100; n++) {
    cond.signal();
    await turn();
  }
  await Promise.all(all);
  expect(awake).toEqual(Array.from({ length: 100 }, (_, n) => n % 20));
});

test("a signal with nobody waiting is lost, and needs no lock", async () => {
  const mu = new Mutex();
  const cond = new Cond(mu);
  cond.signal();
  cond.broadcast();
  await mu.lock();
  const wait = watch(cond.wait());
  await turn();
  expect(wait.state).toBe("pending");
  cond.signal();
  await turn();
  expect(wait.state).toBe("fulfilled");
  mu.unlock();
});

test("the lock is free from the call on, and held again before the wait resolves", async () => {
  const mu = new Mutex();
  const cond = new Cond(mu);
  await mu.lock();
  const wait = watch(cond.wait());
  expect(mu.tryLock()).toBe(true);
  cond.signal();
  await turn();
  expect(wait.state, "woken, and waiting for the lock").toBe("pending");
  mu.unlock();
  await turn();
  expect([wait.state, mu.tryLock()]).toEqual(["fulfilled", false]);
  mu.unlock();
});

test("a condition that a task changes under the lock is not missed", async () => {
  const mu = new Mutex();
  const cond = new Cond(mu);
  const queue: number[] = [];
  const take = async () => {
    await mu.lock();
    while (queue.length === 0) await cond.wait();
    const item = queue.shift() as number;
    await turn();
    mu.unlock();
    return item;
  };
  const taken = Promise.all(Array.from({ length: 10 }, take));
  for (let i = 0; i < 10; i++) {
    await mu.lock();
    queue.push(i);
    if (i % 3 === 0) await turn();
    cond.signal();
    mu.unlock();
  }
  expect((await taken).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

describe("a cancel", () => {
  test("ends the wait when the lock has been taken again, not earlier", async () => {
    const mu = new Mutex();
    const cond = new Cond(mu);
    const { ctx, cancel } = withCancel(background());
    await mu.lock();
    const wait = watch(cond.wait(ctx));
    await mu.lock();
    cancel();
    await turns(2);
    expect(wait.state).toBe("pending");
    mu.unlock();
    await turn();
    expect(wait.reason).toBeInstanceOf(Canceled);
    expect(mu.tryLock(), "the caller holds it").toBe(false);
    mu.unlock();
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  });

  test("that is done at the call leaves the lock where it is", async () => {
    const mu = new Mutex();
    const cond = new Cond(mu);
    await mu.lock();
    const next = watch(mu.lock());
    const reason = new Error("why");
    await expect(cond.wait(AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(next.state).toBe("pending");
    mu.unlock();
    await turn();
    expect(next.state).toBe("fulfilled");
    mu.unlock();
  });

  test("before a signal leaves the signal to the next; after it, it comes too late", async () => {
    const mu = new Mutex();
    const cond = new Cond(mu);
    const controllers = [new AbortController(), new AbortController()];
    const outcomes: string[] = [];
    const sleeper = async (name: string, signal?: AbortSignal) => {
      await mu.lock();
      await cond.wait(signal).then(
        () => outcomes.push(`${name} woken`),
        () => outcomes.push(`${name} cancelled`),
      );
      mu.unlock();
    };
    const all = [sleeper("a", controllers[0]?.signal), sleeper("b", controllers[1]?.signal), sleeper("c")];
    await turn();
    controllers[0]?.abort();
    cond.signal();
    controllers[1]?.abort();
    await turn();
    expect(outcomes).toEqual(["a cancelled", "b woken"]);
    cond.signal();
    await Promise.all(all);
    expect(outcomes).toEqual(["a cancelled", "b woken", "c woken"]);
  });

  test("does not end the wait for the lock", async () => {
    const mu = new Mutex();
    const cond = new Cond(mu);
    const { ctx, cancel } = withCancel(background());
    await mu.lock();
    const wait = watch(cond.wait(ctx));
    await mu.lock();
    cond.signal();
    await turn();
    cancel();
    await turn();
    expect(wait.state).toBe("pending");
    mu.unlock();
    await turn();
    expect(wait.state).toBe("fulfilled");
    mu.unlock();
  });
});

describe.each(Object.entries({ Mutex: () => new Mutex(), RWMutex: () => new RWMutex() }))(
  "inside a guard of a %s",
  (_, make) => {
    test("the wait gives the guard's lock back and takes it again for the guard", async () => {
      const mu = make();
      const cond = new Cond(mu);
      const waiting = mu.withLock(async () => {
        await cond.wait();
        expect(() => mu.unlock(), "the guard has it again").toThrow("a guard holds the lock");
        await cond.wait();
        return mu.tryLock();
      });
      for (let i = 0; i < 2; i++) {
        await turn();
        expect(mu.tryLock()).toBe(true);
        cond.signal();
        await turn();
        mu.unlock(); // It waits for the lock now.
      }
      expect(await waiting).toBe(false);
      expect(mu.tryLock()).toBe(true);
      mu.unlock();
    });

    test("a cancelled wait rejects with the guard's lock held, and the block gives it back", async () => {
      const mu = make();
      const cond = new Cond(mu);
      const controller = new AbortController();
      const wait = async () => {
        using _guard = await mu.guard();
        await cond.wait(controller.signal).catch(() => {});
        return mu.tryLock();
      };
      const waited = wait();
      await turn();
      controller.abort();
      expect(await waited).toBe(false);
      expect(mu.tryLock()).toBe(true);
      mu.unlock();
    });

    test.each(["while it waits for a signal", "while it waits for the lock"])(
      "a guard that is unlocked %s leaves the lock to whoever called wait",
      async (when) => {
        const mu = make();
        const cond = new Cond(mu);
        const guard = await mu.guard();
        const wait = watch(cond.wait());
        await mu.lock();
        if (when === "while it waits for a signal") guard.unlock();
        cond.signal();
        await turn();
        guard.unlock();
        expect(mu.tryLock()).toBe(false);
        mu.unlock();
        await turn();
        expect([wait.state, mu.tryLock()]).toEqual(["fulfilled", false]);
        mu.unlock();
        expect(mu.tryLock()).toBe(true);
        mu.unlock();
      },
    );
  },
);

test("wait without the lock rejects with Go's text, and nobody waits", async () => {
  const mu = new Mutex();
  const cond = new Cond(mu);
  await expect(cond.wait()).rejects.toThrow(new Error("sync: unlock of unlocked mutex"));
  const rw = new RWMutex();
  await expect(new Cond(rw).wait()).rejects.toThrow("sync: Unlock of unlocked RWMutex");
  await expect(new Cond(rw.rLocker()).wait()).rejects.toThrow("sync: RUnlock of unlocked RWMutex");
  await rw.rLock();
  await expect(new Cond(rw).wait(), "held to read only").rejects.toThrow("sync: Unlock of unlocked RWMutex");
  rw.rUnlock();
  const guard = await mu.guard();
  guard.unlock();
  await expect(cond.wait(), "after a guard has given it back").rejects.toThrow("sync: unlock of unlocked mutex");
  expect(mu.tryLock()).toBe(true);
  mu.unlock();
});

test("a Cond calls the methods of a locker that has its own, though it is derived from a Mutex", async () => {
  const calls: string[] = [];
  class Loud extends Mutex {
    override async lock(): Promise<void> {
      calls.push("lock");
      await super.lock();
    }
    override unlock(): void {
      calls.push("unlock");
      super.unlock();
    }
  }
  const loud = new Loud();
  const cond = new Cond(loud);
  await loud.lock();
  const waiting = cond.wait();
  cond.signal();
  await waiting;
  loud.unlock();
  expect(calls).toEqual(["lock", "unlock", "lock", "unlock"]);
});

test("a Cond of an RLocker gives back no guard's lock: its wait rejects at once", async () => {
  const rw = new RWMutex();
  const cond = new Cond(rw.rLocker());
  const guard = await rw.rGuard();
  await expect(cond.wait()).rejects.toThrow("a guard holds the lock");
  expect(rw.tryLock(), "held still").toBe(false);
  guard.unlock();
  expect(rw.tryLock()).toBe(true);
  rw.unlock();
});

describe("a locker of another kind", () => {
  const boom = new Error("boom");

  test("that signals in its unlock is heard", async () => {
    const held: boolean[] = [];
    const l: Locker = {
      lock: async () => void held.push(true),
      unlock: () => cond.signal(),
    };
    const cond = new Cond(l);
    await cond.wait();
    expect(held).toEqual([true]);
  });

  test("whose unlock throws: the wait rejects, and takes no later signal", async () => {
    const lock = vi.fn(async () => {});
    let fail = true;
    const cond = new Cond({
      lock,
      unlock: () => {
        if (fail) throw boom;
      },
    });
    await expect(cond.wait()).rejects.toBe(boom);
    expect(lock).not.toHaveBeenCalled();
    fail = false;
    const next = watch(cond.wait());
    cond.signal();
    await turn();
    expect(next.state).toBe("fulfilled");
  });

  test("whose unlock throws after it has cancelled or signalled: the wait rejects with what it threw", async () => {
    const { ctx, cancel } = withCancel(background());
    for (const call of [cancel, () => cond.signal()]) {
      calls.push(call);
    }
    const cond: Cond = new Cond({
      lock: async () => {},
      unlock: () => {
        calls.shift()?.();
        throw boom;
      },
    });
    await expect(cond.wait(ctx)).rejects.toBe(boom);
    await expect(cond.wait()).rejects.toBe(boom);
    await turn();
  });
  const calls: (() => void)[] = [];

  test("whose lock fails: its error is the wait's, even of one that is cancelled", async () => {
    const cond = new Cond({ lock: () => Promise.reject(boom), unlock: () => {} });
    const { ctx, cancel } = withCancel(background());
    const waits = [cond.wait(), cond.wait(ctx)].map(watch);
    cancel();
    cond.signal();
    await turn();
    expect(waits.map((w) => w.reason)).toEqual([boom, boom]);
  });
});
