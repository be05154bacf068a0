/**
 * Locks and the like: bad arguments and misuse refuse loudly, at once, and change nothing. User functions do what they
 * like, and disturb nobody else.
 */
import { background, withCancel } from "gopark/context";
import { Cond, KeyedMutex, Mutex, Once, onceFunc, onceValue, RWMutex, WaitGroup } from "gopark/sync";
import { describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

describe("unlock of what is not locked throws Go's text", () => {
  test("Mutex", async () => {
    const mu = new Mutex();
    expect(() => mu.unlock()).toThrow(new Error("sync: unlock of unlocked mutex"));
    await mu.lock();
    mu.unlock();
    expect(() => mu.unlock()).toThrow("sync: unlock of unlocked mutex");
    expect([mu.tryLock(), mu.tryLock()]).toEqual([true, false]);
    mu.unlock();
  });

  test("KeyedMutex, even while another key is locked", () => {
    const keyed = new KeyedMutex<string>();
    keyed.tryLock("a");
    expect(() => keyed.unlock("b")).toThrow(new Error("sync: unlock of unlocked mutex"));
    expect(keyed.len()).toBe(1);
    keyed.unlock("a");
    expect(() => keyed.unlock("a")).toThrow("sync: unlock of unlocked mutex");
    expect(keyed.len()).toBe(0);
  });

  test("RWMutex, each side for itself", async () => {
    const rw = new RWMutex();
    expect(() => rw.unlock()).toThrow(new Error("sync: Unlock of unlocked RWMutex"));
    expect(() => rw.rUnlock()).toThrow(new Error("sync: RUnlock of unlocked RWMutex"));
    await rw.rLock();
    const write = watch(rw.lock());
    expect(() => rw.unlock()).toThrow("sync: Unlock of unlocked RWMutex");
    await turn();
    expect(write.state).toBe("pending");
    rw.rUnlock();
    expect(() => rw.rUnlock()).toThrow("sync: RUnlock of unlocked RWMutex");
    rw.unlock();
    await turn();
    expect(write.state).toBe("fulfilled");
    expect(rw.tryLock()).toBe(true);
    rw.unlock();
  });
});

test("add takes whole numbers, from the least to the most", async () => {
  const wg = new WaitGroup();
  for (const n of [0.5, Number.NaN, Number.POSITIVE_INFINITY, -Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 53)]) {
    expect(() => wg.add(n)).toThrow(new RangeError(`add: n must be a whole number, got ${n}`));
  }
  for (const n of ["1", undefined, null, 1n]) expect(() => wg.add(n as never)).toThrow(TypeError);
  expect(() => wg.add("1" as never)).toThrow(new TypeError('add: n must be a whole number, got "1"'));
  wg.add(Number.MAX_SAFE_INTEGER);
  expect(() => wg.add(1)).toThrow(new RangeError("add: the counter must be at most 2^53-1, got 9007199254740992"));
  await expect(wg.go(() => {})).rejects.toThrow(RangeError);
  wg.add(-Number.MAX_SAFE_INTEGER);
  wg.add(0);
  wg.add(-0);
  await wg.wait();
});

test("a function that is none is refused at once, with nothing taken or run", async () => {
  const mu = new Mutex();
  const rw = new RWMutex();
  const keyed = new KeyedMutex<string>();
  const wg = new WaitGroup();
  const once = new Once();
  const none = "fn" as never;
  const refused = (what: string) => new TypeError(`${what}: fn must be a function, got "fn"`);
  await expect(mu.withLock(none)).rejects.toThrow(refused("withLock"));
  await expect(rw.withLock(none)).rejects.toThrow(refused("withLock"));
  await expect(rw.withRLock(none)).rejects.toThrow(refused("withRLock"));
  await expect(keyed.withLock("a", none)).rejects.toThrow(refused("withLock"));
  await expect(wg.go(none)).rejects.toThrow(refused("go"));
  await expect(once.do(none)).rejects.toThrow(refused("do"));
  expect(() => onceFunc(none)).toThrow(refused("onceFunc"));
  expect(() => onceValue(none)).toThrow(refused("onceValue"));
  expect([mu.tryLock(), rw.tryLock(), keyed.len()]).toEqual([true, true, 0]);
  mu.unlock();
  rw.unlock();
  await wg.wait();
  const ran = vi.fn();
  await once.do(ran);
  expect(ran).toHaveBeenCalledTimes(1);
  await expect(once.do(none), "even when it is done").rejects.toThrow(TypeError);
});

test("a cancel that is none rejects, never throws, and takes nothing", async () => {
  const mu = new Mutex();
  const rw = new RWMutex();
  const keyed = new KeyedMutex<string>();
  const wg = new WaitGroup();
  const once = new Once();
  const cond = new Cond(mu);
  const ran = vi.fn();
  const func = onceFunc(ran);
  for (const none of [null, {}, 7, "ctx", new AbortController()] as never[]) {
    const calls = [
      ...[mu.lock(none), mu.guard(none), mu.withLock(ran, none)],
      ...[rw.lock(none), rw.guard(none), rw.withLock(ran, none)],
      ...[rw.rLock(none), rw.rGuard(none), rw.withRLock(ran, none)],
      ...[keyed.lock("a", none), keyed.guard("a", none), keyed.withLock("a", ran, none)],
      ...[wg.wait(none), once.do(ran, none), func(none), cond.wait(none)],
    ];
    for (const call of calls) await expect(call).rejects.toThrow("expected a Context or an AbortSignal");
  }
  expect(ran).not.toHaveBeenCalled();
  expect([mu.tryLock(), rw.tryLock(), keyed.len()]).toEqual([true, true, 0]);
  mu.unlock();
  rw.unlock();
});

test("Cond needs a locker", () => {
  const refused = "Cond: l must have the methods lock and unlock, got ";
  expect(() => new Cond(undefined as never)).toThrow(new TypeError(`${refused}undefined`));
  expect(() => new Cond(null as never)).toThrow(TypeError);
  expect(() => new Cond({ lock: async () => {} } as never)).toThrow(new TypeError(`${refused}an object (Object)`));
  expect(() => new Cond({ unlock: () => {} } as never)).toThrow(new TypeError(`${refused}an object (Object)`));
  expect(() => new Cond(new KeyedMutex<string>().lock as never)).toThrow(TypeError);
});

describe("functions that run under a lock", () => {
  const boom = new Error("boom");
  const locks = {
    "a Mutex": () => {
      const mu = new Mutex();
      return { run: (fn: () => unknown) => mu.withLock(fn) };
    },
    "an RWMutex, to write": () => {
      const rw = new RWMutex();
      return { run: (fn: () => unknown) => rw.withLock(fn) };
    },
    "an RWMutex, to read": () => {
      const rw = new RWMutex();
      return { run: (fn: () => unknown) => rw.withRLock(fn) };
    },
    "a KeyedMutex": () => {
      const keyed = new KeyedMutex<string>();
      return { run: (fn: () => unknown) => keyed.withLock("a", fn) };
    },
  };

  describe.each(Object.entries(locks))("%s", (_, make) => {
    test.each([
      {
        how: "throws",
        fn: () => {
          throw boom;
        },
      },
      { how: "rejects", fn: () => turn().then(() => Promise.reject(boom)) },
      {
        how: "returns a thenable that throws",
        fn: () => ({
          then() {
            throw boom;
          },
        }),
      },
    ])("one that $how gives the lock back", async ({ fn }) => {
      const { run } = make();
      await expect(run(fn)).rejects.toBe(boom);
      expect(await run(() => 7)).toBe(7);
    });

    test("a thenable is awaited, with the lock held", async () => {
      const { run } = make();
      let done: (value: number) => void = () => {};
      const first = watch(run(() => ({ then: (resolve: (value: number) => void) => (done = resolve) })));
      await turn();
      expect(first.state).toBe("pending");
      done(7);
      await turn();
      expect(first.value).toBe(7);
    });

    test("a generator is refused, and its body has not run", async () => {
      const { run } = make();
      const body = vi.fn();
      await expect(
        run(function* () {
          body();
          yield 1;
        }),
      ).rejects.toThrow(/with.*Lock: fn must not be a generator function/);
      await expect(
        run(async function* () {
          yield 1;
        }),
      ).rejects.toThrow(TypeError);
      expect(body).not.toHaveBeenCalled();
      expect(await run(() => 7)).toBe(7);
    });
  });

  test("one that never settles keeps the lock, and the others can leave", async () => {
    const mu = new Mutex();
    let end: () => void = () => {};
    const first = mu.withLock(
      () =>
        new Promise<void>((resolve) => {
          end = resolve;
        }),
    );
    const { ctx, cancel } = withCancel(background());
    const waits = [mu.lock(ctx), mu.withLock(() => 1, ctx)].map(watch);
    await turn();
    cancel();
    await turn();
    expect(waits.map((w) => w.state)).toEqual(["rejected", "rejected"]);
    end();
    await first;
  });

  test("one that locks again waits for itself, and its own cancel ends that", async () => {
    const mu = new Mutex();
    const controller = new AbortController();
    const outer = watch(mu.withLock(() => mu.withLock(() => 1, controller.signal)));
    await turn();
    expect(outer.state).toBe("pending");
    controller.abort(boom);
    await turn();
    expect([outer.reason, mu.tryLock()]).toEqual([boom, true]);
    mu.unlock();
  });

  test("one that unlocks without its guard is refused", async () => {
    const mu = new Mutex();
    await expect(mu.withLock(() => mu.unlock())).rejects.toThrow("a guard holds the lock");
    expect(mu.tryLock()).toBe(true);
    mu.unlock();
  });
});

describe("functions of a Once", () => {
  test("a generator is refused, and counts as done", async () => {
    const body = vi.fn();
    const generator = function* () {
      body();
      yield 1;
    };
    const once = new Once();
    await expect(once.do(generator)).rejects.toThrow(new TypeError("do: fn must not be a generator function"));
    await once.do(body);
    await expect(onceFunc(generator)()).rejects.toThrow("onceFunc: fn must not be a generator function");
    await expect(onceValue(generator)()).rejects.toThrow("onceValue: fn must not be a generator function");
    expect(body).not.toHaveBeenCalled();
  });

  test("one that calls back in waits for itself, and its own cancel ends that", async () => {
    const once = new Once();
    const controller = new AbortController();
    const outer = watch(once.do(() => once.do(() => {}, controller.signal)));
    await turn();
    expect(outer.state).toBe("pending");
    const reason = new Error("why");
    controller.abort(reason);
    await turn();
    expect(outer.reason).toBe(reason);
    await once.do(() => {});
  });

  test("one that calls back in without awaiting it does not run twice", async () => {
    const once = new Once();
    const ran = vi.fn();
    let inner: Promise<void> | undefined;
    await once.do(() => {
      ran();
      inner = once.do(ran);
    });
    await inner;
    expect(ran).toHaveBeenCalledTimes(1);
  });

  test("a thenable is awaited", async () => {
    let done: (value: number) => void = () => {};
    const value = onceValue(() => ({ then: (resolve: (value: number) => void) => (done = resolve) }) as never);
    const calls = [value(), value()].map(watch);
    await turn();
    expect(calls.map((c) => c.state)).toEqual(["pending", "pending"]);
    done(7);
    await turn();
    expect(calls.map((c) => c.value)).toEqual([7, 7]);
  });
});

describe("tasks of a WaitGroup", () => {
  test("a thenable is awaited, and counted once, whatever it does", async () => {
    const wg = new WaitGroup();
    const boom = new Error("boom");
    let answer: (value: number) => void = () => {};
    const later = { then: (resolve: (value: number) => void) => (answer = resolve) };
    const slow = wg.go(() => later as never);
    const hostile = {
      then(resolve: (value: number) => void, reject: (error: unknown) => void) {
        resolve(1);
        reject(boom);
        throw boom;
      },
    } as PromiseLike<number>;
    const broken = Object.defineProperty({}, "then", {
      get() {
        throw boom;
      },
    }) as PromiseLike<number>;
    expect(await wg.go(() => hostile)).toBe(1);
    await expect(wg.go(() => broken)).rejects.toBe(boom);
    const wait = watch(wg.wait());
    await turn();
    expect(wait.state).toBe("pending");
    answer(7);
    expect(await slow).toBe(7);
    await turn();
    expect(wait.state).toBe("fulfilled");
  });

  test("one that never settles keeps the counter, and those that wait can leave", async () => {
    const wg = new WaitGroup();
    let end: () => void = () => {};
    const task = wg.go(() => new Promise<void>((resolve) => (end = resolve)));
    expect(await wg.go(() => "another")).toBe("another");
    const { ctx, cancel } = withCancel(background());
    const wait = watch(wg.wait(ctx));
    await turn();
    cancel();
    await turn();
    expect(wait.reason).toBe(ctx.err());
    end();
    await task;
    await wg.wait();
  });

  test("one that calls back in: adds, starts tasks, and waits for itself until its own cancel ends that", async () => {
    const wg = new WaitGroup();
    const controller = new AbortController();
    const boom = new Error("boom");
    let inner: Promise<string> | undefined;
    const outer = watch(
      wg.go(async () => {
        wg.add(1);
        inner = wg.go(() => "inner");
        wg.done();
        await wg.wait(controller.signal);
      }),
    );
    await turn();
    expect([await inner, outer.state]).toEqual(["inner", "pending"]);
    controller.abort(boom);
    await turn();
    expect(outer.reason).toBe(boom);
    await wg.wait();
  });
});

test("a signal whose listener calls back in finds the lock in order", async () => {
  const mu = new Mutex();
  await mu.lock();
  const controller = new AbortController();
  const wait = watch(mu.lock(controller.signal));
  let tried: boolean | undefined;
  controller.signal.addEventListener("abort", () => {
    mu.unlock();
    tried = mu.tryLock();
  });
  controller.abort();
  await turn();
  expect([wait.state, tried]).toEqual(["rejected", true]);
  mu.unlock();
});

test("a foreign signal that calls back in while it is listened to", async () => {
  const mu = new Mutex();
  await mu.lock();
  const { signal } = new AbortController();
  const hostile = new Proxy(signal, {
    get(target, key) {
      if (key === "addEventListener") {
        return () => {
          mu.unlock(); // Grants the wait that is about to listen.
          throw new Error("boom");
        };
      }
      const value = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const wait = watch(mu.lock(hostile));
  await turn();
  expect(wait.state).toBe("fulfilled");
  mu.unlock();
  expect(mu.tryLock()).toBe(true);
  mu.unlock();
});
