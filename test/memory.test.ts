/** Ended work leaves nothing on the heap: rounds of every kind of wait, and structures that were large once. */
import { CircuitBreaker } from "gopark/breaker";
import { Channel, type ReceiveChannel } from "gopark/channel";
import {
  afterFunc,
  background,
  type Cancel,
  type Context,
  fromSignal,
  merge,
  withCancel,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { forEach, Group, map, scope, withContext } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import * as pipeline from "gopark/pipeline";
import { Pool } from "gopark/pool";
import { KeyedLimiter, Limiter } from "gopark/rate";
import { retry } from "gopark/retry";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Cond, KeyedMutex, Mutex, Once, RWMutex, WaitGroup } from "gopark/sync";
import { after, sleep, Ticker, Timer } from "gopark/time";
import { Workers } from "gopark/workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Heap, type HeapItem } from "../src/internal/data/heap.ts";
import { bytesInUse, bytesPerRound, costRatio } from "./support/heap.ts";
import { turn } from "./support/turn.ts";

const HOUR = 3_600_000;

/** One round of something that is over when the round is, and what ends what all of them share. */
interface Case {
  readonly round: () => unknown;
  readonly end?: () => unknown;
}

/** A user's implementation of the interface, which signals its end by a channel. */
class Foreign implements Context {
  readonly #done = new Channel<never>();
  readonly #controller = new AbortController();
  readonly signal: AbortSignal = this.#controller.signal;
  #error: Error | undefined;
  deadline(): undefined {}
  done(): ReceiveChannel<never> {
    return this.#done;
  }
  err(): Error | undefined {
    return this.#error;
  }
  value(): undefined {}
  cancel(): void {
    this.#error = new Error("foreign context ended");
    this.#done.close();
    this.#controller.abort(this.#error);
  }
}

/** One that signals it by a callback. */
class Calling extends Foreign {
  readonly #called = new Set<() => void>();
  afterFunc(fn: () => void): () => boolean {
    this.#called.add(fn);
    return () => this.#called.delete(fn);
  }
}

/** Everything that waits can be given, living as long as the test, and what ends it. */
const longLived: Record<string, () => readonly [cancel: Cancel, end: () => unknown]> = {
  "a context": () => withCancel(background()),
  "a context with a deadline": () => withTimeout(background(), HOUR),
  "a context's signal": () => {
    const { ctx, cancel } = withCancel(background());
    return [ctx.signal, cancel];
  },
  "a foreign signal": () => {
    const controller = new AbortController();
    return [controller.signal, () => controller.abort()];
  },
  "the context of a foreign signal": () => {
    const controller = new AbortController();
    return [fromSignal(controller.signal), () => controller.abort()];
  },
  "a foreign context": () => {
    const ctx = new Foreign();
    return [ctx, () => ctx.cancel()];
  },
  "a foreign context that calls back": () => {
    const ctx = new Calling();
    return [ctx, () => ctx.cancel()];
  },
};

/** Uses under them, repeated many times. */
const uses: Record<string, (cancel: Cancel) => Case> = {
  "a receive that is granted": (cancel) => {
    const ch = new Channel<number>();
    return {
      round: () => {
        const received = ch.receive(cancel);
        ch.trySend(1);
        return received;
      },
    };
  },
  "a send that is granted": (cancel) => {
    const ch = new Channel<number>();
    return {
      round: () => {
        const sent = ch.send(1, cancel);
        ch.tryReceive();
        return sent;
      },
    };
  },
  "a value of an iterator": (cancel) => {
    const ch = new Channel<number>();
    const values = ch.values(cancel);
    return {
      round: () => {
        const next = values.next();
        ch.trySend(1);
        return next;
      },
      end: () => values.return?.(),
    };
  },
  "an iterator that is left": (cancel) => {
    const ch = new Channel<number>();
    return {
      round: async () => {
        const values = ch.values(cancel);
        const next = values.next();
        await values.return?.();
        await next;
      },
    };
  },
  "an acquire that is granted": (cancel) => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    return {
      round: () => {
        const acquired = sem.acquire(cancel);
        sem.release();
        return acquired;
      },
      end: () => sem.release(),
    };
  },
  "a permit that is granted": (cancel) => {
    const sem = new Weighted(1);
    return {
      round: async () => {
        const first = await sem.permit(cancel);
        const second = sem.permit(cancel);
        first.release();
        (await second).release();
      },
    };
  },
  "a select that another case ends": (cancel) => {
    const ch = new Channel<number>();
    const idle = new Channel<number>();
    return {
      round: () => {
        const selected = select({ cancel, ch, idle, late: after(HOUR) });
        ch.trySend(1);
        return selected;
      },
    };
  },
  "a select on its idle done channel": (cancel) => {
    const ch = new Channel<number>();
    const done = fromCancel(cancel).done();
    return {
      round: () => {
        const selected = select({ done, ch, again: fromCancel(cancel).done() });
        ch.trySend(1);
        return selected;
      },
    };
  },
  "a task that waits for its slot": (cancel) => {
    const g = new Group();
    g.setLimit(1);
    return {
      round: async () => {
        await g.go(() => {}, cancel);
        await g.go(() => {}, cancel);
        await g.wait(cancel);
      },
    };
  },
  "a scope": (cancel) => ({ round: () => scope(cancel, (g) => g.go(() => {})) }),
  "a map over items": (cancel) => ({ round: () => map(cancel, [1, 2], (n) => n, { limit: 1 }) }),
  "an update that waits in line": (cancel) => {
    const counts = new ShardMap<string, number>();
    const add = (n = 0) => n + 1;
    return { round: () => Promise.all([counts.update("a", add, cancel), counts.update("a", add, cancel)]) };
  },
  "a load": (cancel) => {
    const cache = new ShardMap<string, number>();
    return { round: () => cache.getOrLoad("a", () => 1, cancel).then(() => cache.delete("a")) };
  },
  "a single flight": (cancel) => {
    const group = new Flights<string, number>();
    return { round: () => group.do("a", () => 1, cancel) };
  },
  "a lock that is handed over": (cancel) => {
    const mu = new Mutex();
    return {
      round: async () => {
        await mu.lock(cancel);
        const next = mu.guard(cancel);
        mu.unlock();
        (await next).unlock();
      },
    };
  },
  "a lock that is shared, and one of a key": (cancel) => {
    const rw = new RWMutex();
    const keyed = new KeyedMutex<number>();
    let key = 0;
    return {
      round: async () => {
        await rw.lock(cancel);
        const reads = [rw.rLock(cancel), rw.rLock(cancel)];
        rw.unlock();
        await Promise.all(reads);
        rw.rUnlock();
        rw.rUnlock();
        await keyed.withLock(key++, () => {}, cancel);
      },
    };
  },
  "waits of a WaitGroup, a Once and a Cond": (cancel) => {
    const wg = new WaitGroup();
    const mu = new Mutex();
    const cond = new Cond(mu);
    return {
      round: async () => {
        wg.add(1);
        const waited = wg.wait(cancel);
        wg.done();
        await waited;
        const once = new Once();
        await Promise.all([once.do(() => turn(), cancel), once.do(() => {}, cancel)]);
        await mu.lock(cancel);
        const signalled = cond.wait(cancel);
        cond.signal();
        await signalled;
        mu.unlock();
      },
    };
  },
  "a task of a worker pool that waits for its slot": (cancel) => {
    const workers = new Workers(1);
    return {
      round: async () => {
        const tasks = [0, 1].map((priority) => workers.submit(() => 1, { priority, cancel }));
        await Promise.all([...tasks, workers.idle(cancel)]);
      },
    };
  },
  "a wait for a key's limiter": (cancel) => {
    const limiter = new KeyedLimiter<number>(1e9, 1, { maxKeys: 10 });
    let key = 0;
    return {
      round: async () => {
        key++;
        await Promise.all([limiter.wait(cancel, key), limiter.wait(cancel, key)]);
      },
    };
  },
  "a retry": (cancel) => {
    const fail = new Error("failed");
    const budget = new retry.Budget({ min: 1e6 });
    return {
      round: () => retry(cancel, (_, n) => (n < 2 ? Promise.reject(fail) : n), { base: 0, budget }),
    };
  },
  "a pipeline that is read to its end, and one that is left": (cancel) => ({
    round: async () => {
      const doubled = pipeline.map(cancel, pipeline.from(cancel, [1, 2, 3]), (n) => n * 2, { concurrency: 2 });
      await pipeline.collect(cancel, pipeline.batch(cancel, doubled, 2, HOUR));
      const [left] = pipeline.tee(cancel, pipeline.merge(cancel, [1, 2], [3]), 1);
      for await (const _ of left as pipeline.Stage<number>) break;
    },
  }),
  "a merged context that is cancelled": (cancel) => {
    const other = withCancel(background());
    return { round: () => merge(other.ctx, cancel).cancel(), end: () => other.cancel() };
  },
  "a child that is cancelled": (cancel) => ({ round: () => withCancel(cancel).cancel() }),
  "a child with a deadline that is cancelled": (cancel) => ({ round: () => withTimeout(cancel, HOUR / 2).cancel() }),
  "a child that was asked for its signal and its done channel": (cancel) => ({
    round: () => {
      const child = withCancel(withValue(cancel, "key", 1));
      child.ctx.done();
      void child.ctx.signal;
      child.cancel();
    },
  }),
  "children of a child that is cancelled": (cancel) => ({
    round: () => {
      const child = withCancel(cancel);
      void withCancel(child.ctx).ctx.signal;
      withCancel(withValue(child.ctx, "key", 1));
      child.cancel();
    },
  }),
  "an abandoned child that only carries a value": (cancel) => ({
    round: () => {
      const ctx = withValue(cancel, "key", new Array(10));
      ctx.err();
      ctx.done();
      void ctx.signal;
    },
  }),
  "an abandoned child without its end": (cancel) => ({
    round: () => {
      const ctx = withoutCancel(cancel);
      void ctx.signal;
      const child = withCancel(ctx);
      child.ctx.done();
      child.cancel();
    },
  }),
  "an afterFunc that is taken back": (cancel) => ({ round: () => afterFunc(cancel, () => {})() }),
};

function fromCancel(cancel: Cancel): Context {
  return cancel instanceof AbortSignal ? fromSignal(cancel) : cancel;
}

/** Lets a task that has been given its slot start, and an attempt that has failed begin to wait. */
async function letStart(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

/** Uses that are cancelled or dropped, repeated many times. */
const endings: Record<string, () => Case> = {
  "things that had a name": () => ({
    round: async () => {
      new Weighted(1, { name: "gone" }).tryAcquire(0);
    },
  }),
  "workers that share one iterator": () => {
    const ch = new Channel<number>();
    const values = ch.values();
    let older = values.next();
    let newer = values.next();
    return {
      round: async () => {
        ch.trySend(1);
        await older;
        older = newer;
        newer = values.next();
      },
      end: () => values.return?.(),
    };
  },
  "workers that share one iterator whose nexts wait in turns": () => {
    const ch = new Channel<number>(8);
    const values = ch.values();
    const pending = Array.from({ length: 5 }, () => values.next());
    return {
      round: async () => {
        ch.trySend(1);
        ch.trySend(1);
        await pending.shift();
        pending.push(values.next());
        await pending.shift();
        pending.push(values.next());
      },
      end: () => values.return?.(),
    };
  },
  "a receive that is cancelled": () => {
    const ch = new Channel<number>();
    return {
      round: () => {
        const { ctx, cancel } = withCancel(background());
        const received = ch.receive(ctx).catch(() => {});
        cancel();
        return received;
      },
    };
  },
  "an acquire that is cancelled": () => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    return {
      round: () => {
        const { ctx, cancel } = withCancel(background());
        const acquired = sem.acquire(ctx).catch(() => {});
        cancel();
        return acquired;
      },
      end: () => sem.release(),
    };
  },
  "a wait for a limiter that is cancelled": () => {
    const limiter = new Limiter(1 / HOUR, 1);
    limiter.allow();
    return {
      round: () => {
        const { ctx, cancel } = withCancel(background());
        const waited = limiter.wait(ctx).catch(() => {});
        cancel();
        return waited;
      },
    };
  },
  "locks and other waits that are cancelled": () => {
    const rw = new RWMutex();
    const keyed = new KeyedMutex<string>();
    const wg = new WaitGroup();
    const mu = new Mutex();
    const cond = new Cond(mu);
    rw.tryLock();
    mu.tryLock();
    keyed.tryLock("a");
    wg.add(1);
    return {
      round: () => {
        const { ctx, cancel } = withCancel(background());
        const waits = [rw.lock(ctx), rw.rLock(ctx), keyed.lock("a", ctx), wg.wait(ctx), cond.wait(ctx)];
        cancel();
        return Promise.allSettled(waits);
      },
      end: () => {
        rw.unlock();
        mu.unlock();
        keyed.unlock("a");
      },
    };
  },
  "a submit that is cancelled, waiting or running": () => {
    const workers = new Workers(1);
    return {
      round: async () => {
        const { ctx, cancel } = withCancel(background());
        let end: () => void = () => {};
        const task = () => new Promise<void>((resolve) => (end = resolve));
        const waits = Promise.allSettled([1, 2].map((priority) => workers.submit(task, { priority, cancel: ctx })));
        await letStart();
        cancel();
        await waits;
        end();
        await workers.idle();
      },
    };
  },
  "a wait for a key's limiter that is cancelled": () => {
    const limiter = new KeyedLimiter<number>(1 / HOUR, 1, { maxKeys: 2 });
    limiter.allow(1);
    let key = 2;
    return {
      round: () => {
        const { ctx, cancel } = withCancel(background());
        const waits = [limiter.wait(ctx, 1), limiter.wait(ctx, key++).then(() => limiter.wait(ctx, key))];
        const ended = Promise.allSettled(waits);
        cancel();
        return ended;
      },
    };
  },
  "a retry that is cancelled": () => ({
    round: async () => {
      const { ctx, cancel } = withCancel(background());
      const retried = retry(ctx, () => Promise.reject(new Error("failed")), { base: HOUR, cap: HOUR }).catch(() => {});
      await letStart();
      cancel();
      await retried;
    },
  }),
  "a pipeline that fails": () => ({
    round: () => {
      const fail = () => Promise.reject(new Error("failed"));
      return pipeline.collect(background(), pipeline.map(background(), [1, 2, 3], fail)).catch(() => {});
    },
  }),
  "calls of a breaker that opens and closes": () => {
    let at = 0;
    const breaker = new CircuitBreaker({
      timeout: 1,
      probeTimeout: 5,
      maxRequests: 2,
      readyToTrip: () => true,
      now: () => at,
    });
    return {
      round: async () => {
        await breaker.execute(() => Promise.reject(new Error("failed"))).catch(() => {});
        await breaker.execute(() => 1).catch(() => {});
        at += 2;
        await Promise.all([breaker.execute(() => 1), breaker.execute(() => 1)]);
        if (breaker.state() !== "closed") throw new Error("the breaker is not closed");
      },
    };
  },
  "a load that is abandoned": () => {
    const cache = new ShardMap<number, number>();
    let key = 0;
    return {
      round: async () => {
        const { ctx, cancel } = withCancel(background());
        const ended = new Promise<void>((resolve) => {
          const load = (_: number, signal: AbortSignal) =>
            new Promise<number>((_, reject) => {
              signal.addEventListener("abort", () => {
                reject(signal.reason);
                resolve();
              });
              cancel();
            });
          cache.getOrLoad(key++, load, ctx).catch(() => {});
        });
        await ended;
      },
    };
  },
  "a single flight that is abandoned": () => {
    const group = new Flights<number, void>();
    let key = 0;
    return {
      round: async () => {
        const { ctx, cancel } = withCancel(background());
        const ended = new Promise<void>((resolve) => {
          const work = async (own: Context) => {
            cancel();
            await sleep(HOUR, own).catch(() => {});
            resolve();
          };
          group.do(key++, work, ctx).catch(() => {});
        });
        await ended;
      },
    };
  },
  "a timer and a ticker that are stopped": () => ({
    round: () => {
      new Timer(HOUR).stop();
      new Ticker(HOUR).stop();
    },
  }),
  "a group whose task failed": () => ({
    round: () => {
      const [g] = withContext(background());
      void g.go(() => Promise.reject(new Error("failed")));
      return g.wait().catch(() => {});
    },
  }),
  "a loop over items that fails": () => ({
    round: () => {
      const fail = () => Promise.reject(new Error("failed"));
      return forEach(background(), [1, 2, 3], fail, { limit: 2 }).catch(() => {});
    },
  }),
};

/**
 * Rounds of a use, and what each of them may leave: less than a pointer, with enough rounds that noise does not matter.
 */
const ROUNDS = 3000;
const NOTHING = 24;

// Full tracking takes a stack for each wait, and has tests of its own below.
beforeEach(() => track("counters"));
afterEach(() => track("full"));

test.each(Object.entries(longLived))("under %s that lives on, nothing is kept of what is over", async (_, make) => {
  const [cancel, cancelIt] = make();
  const cases = Object.entries(uses).map(([name, use]) => ({ name, ...use(cancel) }));
  const all = async () => {
    for (const { round } of cases) await round();
  };
  let kept = await bytesPerRound(all, ROUNDS / 4);
  // The first measurement in a process may see the engine compile. What is really kept is kept again.
  if (kept >= 4 * NOTHING) kept = await bytesPerRound(all, ROUNDS / 4);
  // Only where something was kept is each use measured by itself.
  const keeping: Record<string, number> = {};
  if (kept >= 4 * NOTHING) {
    for (const { name, round } of cases) {
      const bytes = await bytesPerRound(round, ROUNDS);
      if (bytes >= NOTHING) keeping[name] = Math.round(bytes);
    }
  }
  for (const { end } of cases) await end?.();
  cancelIt();
  expect([kept, keeping]).toEqual([expect.toSatisfy((bytes: number) => bytes < 4 * NOTHING), {}]);
});

test.each(Object.entries(endings))("nothing is kept of %s", async (_, make) => {
  const { round, end } = make();
  const kept = await bytesPerRound(round, ROUNDS);
  await end?.();
  expect(kept).toBeLessThan(NOTHING);
});

describe("under full tracking", () => {
  const { stackTraceLimit } = Error;
  beforeEach(() => {
    track("full");
    Error.stackTraceLimit = 1; // The size of a record does not matter here.
  });
  afterEach(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });

  const ctx = background();
  const tracked: Record<string, () => Case> = {
    "an object that a pool gives out again and again": () => {
      const pool = new Pool({ create: () => ({}), reset: () => {} });
      return { round: () => pool.put(pool.get()), end: () => pool.dispose() };
    },
    "an object that is leased again and again": () => {
      const pool = new Pool({ create: () => ({}), reset: () => {} });
      return { round: () => pool.lease().release(), end: () => pool.dispose() };
    },
    "a value that several pools' users pass through": () => {
      const pool = new Pool({ create: () => ({}), reset: () => {} });
      return { round: () => pool.use(() => {}), end: () => pool.dispose() };
    },
    "units that are acquired and released": () => {
      const sem = new Weighted(3);
      return {
        round: async () => {
          await sem.acquire(ctx, 2);
          (await sem.permit(ctx)).release();
          sem.release(2);
        },
      };
    },
    "a wait": () => {
      const ch = new Channel<number>();
      return {
        round: () => {
          const received = ch.receive();
          ch.trySend(1);
          return received;
        },
      };
    },
    "a context": () => ({ round: () => withCancel(ctx).cancel() }),
    "a task": () => ({ round: () => go(() => {}) }),
    "a timer that is set again": () => {
      const timer = new Timer(HOUR);
      return { round: () => timer.reset(HOUR), end: () => timer.stop() };
    },
    "a group that is used again": () => {
      const g = new Group();
      return { round: () => g.go(() => {}).then(() => g.wait()) };
    },
    "an update and a load": () => {
      const shared = new ShardMap<string, number>();
      return {
        round: async () => {
          await shared.update("a", () => 1);
          shared.delete("a");
          await shared.getOrLoad("a", () => 1);
          shared.delete("a");
        },
      };
    },
  };

  test.each(Object.entries(tracked))("nothing is kept of %s", async (_, make) => {
    const { round, end } = make();
    const kept = await bytesPerRound(round, ROUNDS / 2);
    await end?.();
    expect(kept).toBeLessThan(2 * NOTHING);
  });

  test("a release costs the same however many units are held", () => {
    const released = (n: number) => () => {
      const sem = new Weighted(n);
      for (let i = 0; i < n; i++) sem.tryAcquire();
      return () => {
        for (let i = 0; i < n; i++) sem.release();
        expect(sem.held()).toBe(0);
      };
    };
    // Four times as many: 4 where a release costs the same, 16 where it walks over what is held.
    expect(costRatio(released(10_000), released(40_000), 9)).toBeLessThan(9);
  });
});

describe("structures that were large are small again when their work has ended:", () => {
  const MEGABYTE = 2 ** 20;
  const MANY = 240_000;

  const peaks: Record<string, () => Promise<object>> = {
    "a channel whose close woke many": async () => {
      const ch = new Channel<number>();
      let woken = 0;
      for (let i = 0; i < MANY; i++) void ch.receive().then(() => woken++);
      ch.close();
      while (woken < MANY) await turn();
      return ch;
    },
    "a channel that buffered many": async () => {
      const ch = new Channel<number>(MANY);
      for (let i = 0; i < MANY; i++) ch.trySend(i);
      for (let i = 0; i < MANY; i++) ch.tryReceive();
      expect(ch.trySend(1)).toBe(true);
      expect(ch.tryReceive()).toEqual({ value: 1, ok: true });
      return ch;
    },
    "a context that many waited on": async () => {
      const { ctx, cancel } = withCancel(background());
      const ch = new Channel<number>();
      let ended = 0;
      for (let i = 0; i < MANY / 3; i++) ch.receive(ctx).catch(() => ended++);
      cancel();
      while (ended < MANY / 3) await turn();
      return [ctx, ch];
    },
    "the deadlines of many contexts": async () => {
      const cancels = Array.from({ length: MANY / 3 }, (_, i) => withTimeout(background(), HOUR + i).cancel);
      for (const cancel of cancels) cancel();
      return {};
    },
    "a limiter that many waited for": async () => {
      const limiter = new Limiter(1 / HOUR, 1);
      const { ctx, cancel } = withCancel(background());
      limiter.allow();
      let ended = 0;
      for (let i = 0; i < MANY / 3; i++) limiter.wait(ctx).catch(() => ended++);
      cancel();
      while (ended < MANY / 3) await turn();
      return limiter;
    },
    "a semaphore that many waited for": async () => {
      const sem = new Weighted(1);
      sem.tryAcquire();
      let granted = 0;
      for (let i = 0; i < MANY / 3; i++) void sem.acquire(background()).then(() => granted++);
      for (let i = 0; i < MANY / 3; i++) sem.release();
      while (granted < MANY / 3) await turn();
      sem.release();
      return sem;
    },
    "locks that many waited for": async () => {
      const rw = new RWMutex();
      const keyed = new KeyedMutex<number>();
      const { ctx, cancel } = withCancel(background());
      rw.tryLock();
      let ended = 0;
      const one = () => ended++;
      for (let i = 0; i < MANY / 6; i++) {
        keyed.tryLock(i);
        keyed.lock(i, ctx).catch(one);
        (i % 2 === 0 ? rw.lock(ctx) : rw.rLock(ctx)).catch(one);
      }
      cancel();
      while (ended < MANY / 3) await turn();
      rw.unlock();
      for (let i = 0; i < MANY / 6; i++) keyed.unlock(i);
      return [rw, keyed];
    },
    "a worker pool that many waited for": async () => {
      const workers = new Workers(1);
      const { ctx, cancel } = withCancel(background());
      workers.pause();
      let ended = 0;
      const one = () => ended++;
      for (let i = 0; i < MANY / 6; i++) {
        void workers.submit(() => {}, { priority: i }).then(one);
        workers.submit(() => {}, { priority: -i, cancel: ctx }).catch(one);
      }
      cancel();
      workers.resume();
      while (ended < MANY / 3) await turn();
      return workers;
    },
    "a single flight of many keys and callers": async () => {
      const flights = new Flights<number, number>();
      let ended = 0;
      for (let i = 0; i < MANY / 3; i++) void flights.do(i % 1000 === 0 ? i : 1, () => i).then(() => ended++);
      while (ended < MANY / 3) await turn();
      return flights;
    },
    "a limiter by key that many waited for": async () => {
      const limiter = new KeyedLimiter<number>(1 / HOUR, 1, { maxKeys: 1000 });
      const { ctx, cancel } = withCancel(background());
      let ended = 0;
      for (let i = 0; i < MANY / 3; i++) {
        limiter.wait(ctx, i).then(
          () => ended++,
          () => ended++,
        );
      }
      cancel();
      while (ended < MANY / 3) await turn();
      return limiter;
    },
    "a pool that kept many": async () => {
      const pool = new Pool({ create: () => ({}), reset: () => {}, maxIdle: Number.POSITIVE_INFINITY });
      const out = Array.from({ length: MANY / 3 }, () => pool.get());
      for (const object of out) pool.put(object);
      pool.dispose();
      return pool;
    },
    "a map that held many": async () => {
      const shards = new ShardMap<number, number>();
      for (let i = 0; i < MANY; i++) shards.set(i, i);
      shards.clear();
      return shards;
    },
  };

  test.each(Object.entries(peaks))("%s", async (_, peak) => {
    // Once before, so that what the engine compiles and the library keeps for good exists already.
    await turn();
    const before = await bytesInUse();
    const after = await peak();
    const kept = (await bytesInUse()) - before;
    expect(after).toBeDefined(); // It is alive until here.
    expect(kept).toBeLessThan(MEGABYTE);
  });
});

describe("clearing a map", () => {
  const CLEARS = 100;

  /** Clears of a map with one entry, over and over, after `before` has made of it what it was. */
  const clears = (before: (shards: ShardMap<unknown, number>) => void) => () => {
    const shards = new ShardMap<unknown, number>();
    before(shards);
    shards.clear();
    return () => {
      for (let i = 0; i < CLEARS; i++) {
        shards.set(i, i);
        shards.clear();
      }
      expect(shards.size).toBe(0);
    };
  };
  const fresh = clears(() => {});

  test("costs the same after it held many entries", () => {
    const held = clears((shards) => {
      for (let i = 0; i < 400_000; i++) shards.set(i, i);
    });
    expect(costRatio(fresh, held, 5)).toBeLessThan(5);
  });

  test("costs the same after it held keys with similar hashes", () => {
    // The fourth characters differ in their upper bytes only.
    const held = clears((shards) => {
      for (let i = 0; i < 9000; i++) {
        const odd = [i % 21, Math.floor(i / 21) % 21, Math.floor(i / 441)];
        shards.set(odd.map((high) => `aaa${String.fromCharCode(0x41 + 0x100 * high)}`).join(""), i);
      }
      expect(shards.size).toBe(9000);
    });
    expect(costRatio(fresh, held, 5)).toBeLessThan(5);
  });
});

test("a heap that was large gives its arrays back to the engine", async () => {
  const items: HeapItem[] = Array.from({ length: 1_000_000 }, (_, when) => ({ when, index: -1 }));
  const before = await bytesInUse();
  const heap = new Heap<HeapItem>();
  for (const item of items) heap.push(item);
  const full = (await bytesInUse()) - before;
  for (const item of items) heap.remove(item);
  const drained = (await bytesInUse()) - before;
  expect(full).toBeGreaterThan(1_000_000 * 24);
  expect(drained).toBeLessThan(full / 5);
  expect([heap.size, items.length]).toEqual([0, 1_000_000]);
});
