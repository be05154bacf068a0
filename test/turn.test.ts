/**
 * The event loop never starves: tasks that only hand values to one another run in microtasks alone, and still the
 * host's timers and I/O get their turns. Counted in turns of the loop, not in time.
 */
import { CircuitBreaker } from "gopark/breaker";
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { forEach, Group, map, scope } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { collect, from, map as pipelineMap } from "gopark/pipeline";
import { Pool } from "gopark/pool";
import { Inf, Limiter } from "gopark/rate";
import { retry } from "gopark/retry";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Cond, Mutex, Once, onceFunc, onceValue } from "gopark/sync";
import { sleep } from "gopark/time";
import { beforeEach, describe, expect, test } from "vitest";
import { countTurns, hasDeferred, takeOver } from "../src/internal/time/turn.ts";
import { turn } from "./support/turn.ts";

const OPERATIONS = 20_000;

const ignore = () => {};
const fail = () => {
  throw new Error("fails at once");
};
const PER_TURN = 2 * 256;

// In tests a turn is two slices of 256 completions, on any machine: see setup.ts.
beforeEach(() => track("counters"));

/** How many turns the event loop gets while `work` runs. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let working = true;
  const counting = (async () => {
    while (working) {
      await turn();
      turns++;
    }
  })();
  await work();
  working = false;
  await counting;
  return turns;
}

const ctx = background();

const workloads: Record<string, () => Promise<unknown>> = {
  "ping-pong": async () => {
    const ping = new Channel<number>();
    const pong = new Channel<number>();
    const echo = go(async () => {
      for (let i = 0; i < OPERATIONS; i++) await pong.send((await ping.receive()).value as number);
    });
    for (let i = 0; i < OPERATIONS; i++) {
      await ping.send(i);
      await pong.receive();
    }
    await echo;
  },
  "a buffer that never makes anyone wait": async () => {
    const ch = new Channel<number>(1);
    for (let i = 0; i < OPERATIONS; i++) {
      await ch.send(i);
      await ch.receive();
    }
  },
  iterators: async () => {
    const ch = new Channel<number>();
    const sending = go(async () => {
      for (let i = 0; i < OPERATIONS; i++) await ch.send(i);
      ch.close();
    });
    for await (const _ of ch);
    await sending;
  },
  "a semaphore nobody contends": async () => {
    const sem = new Weighted(1);
    for (let i = 0; i < OPERATIONS; i++) {
      await sem.acquire(ctx);
      sem.release();
    }
  },
  "permits nobody contends": async () => {
    const sem = new Weighted(1);
    for (let i = 0; i < OPERATIONS; i++) (await sem.permit(ctx)).release();
  },
  "a contended semaphore": async () => {
    const sem = new Weighted(1);
    const task = async () => {
      for (let i = 0; i < OPERATIONS / 4; i++) {
        await sem.acquire(ctx);
        await Promise.resolve();
        sem.release();
      }
    };
    await Promise.all([task(), task(), task(), task()]);
  },
  "select, ready at once": async () => {
    const ch = new Channel<number>(1);
    for (let i = 0; i < OPERATIONS; i++) {
      ch.trySend(i);
      await select({ ch, stop: ctx });
    }
  },
  "select, parked": async () => {
    const ch = new Channel<number>();
    const sending = go(async () => {
      for (let i = 0; i < OPERATIONS; i++) await select({ sent: ch.sending(i) });
    });
    for (let i = 0; i < OPERATIONS; i++) await select({ ch, never: null });
    await sending;
  },
  "tasks that start tasks": async () => {
    for (let i = 0; i < OPERATIONS; i++) await go(() => i);
  },
  "groups under a limit": async () => {
    const g = new Group();
    g.setLimit(1);
    for (let i = 0; i < OPERATIONS; i++) await g.go(() => i);
    await g.wait();
  },
  "operations that are refused": async () => {
    const ch = new Channel<number>();
    const { ctx: done, cancel } = withCancel(ctx);
    cancel();
    for (let i = 0; i < OPERATIONS; i++) await ch.receive(done).catch(() => {});
  },
  "sends to a closed channel": async () => {
    const ch = new Channel<number>();
    ch.close();
    for (let i = 0; i < OPERATIONS; i++) await (i % 2 ? ch.send(i) : select({ sent: ch.sending(i) })).catch(() => {});
  },
  "an iterator that is over": async () => {
    const values = new Channel<number>().values();
    await values.return?.();
    for (let i = 0; i < OPERATIONS; i++) await values.next();
  },
  "a limiter that lets everything through": async () => {
    const limiter = new Limiter(Inf, 0);
    for (let i = 0; i < OPERATIONS; i++) await limiter.wait(ctx);
  },
  "updates of a map": async () => {
    const map = new ShardMap<string, number>();
    for (let i = 0; i < OPERATIONS; i++) await map.update("n", (n = 0) => n + 1);
  },
  "values of a map that are there": async () => {
    const map = new ShardMap([["n", 1]]);
    for (let i = 0; i < OPERATIONS; i++) await map.getOrLoad("n", () => 2);
  },
  "uses of a pool": async () => {
    const pool = new Pool({ create: () => ({}), reset: () => {} });
    for (let i = 0; i < OPERATIONS; i++) await pool.use(() => i);
  },
  "uses of a pool that fail": async () => {
    const pool = new Pool({ create: () => ({}), reset: () => {} });
    for (let i = 0; i < OPERATIONS; i++) await pool.use(fail).catch(ignore);
  },
  "calls of a breaker that fail": async () => {
    const breaker = new CircuitBreaker({ readyToTrip: () => false });
    for (let i = 0; i < OPERATIONS; i++) await breaker.execute(fail).catch(ignore);
  },
  "retries that fail for good": async () => {
    for (let i = 0; i < OPERATIONS; i++) await retry(ctx, fail, { attempts: 1 }).catch(ignore);
  },
  "functions with a permit": async () => {
    const sem = new Weighted(1);
    for (let i = 0; i < OPERATIONS; i++) await sem.withPermit(ctx, () => i);
  },
  "sleeps of nothing": async () => {
    for (let i = 0; i < OPERATIONS; i++) await sleep(0);
  },
};

// Operations that are refused, fail, or have nothing to do, each at once.
const { ctx: ended, cancel } = withCancel(ctx);
cancel();
const once: Record<string, () => Promise<unknown>> = {
  "maps whose context has ended": () => map(ended, [1], fail, { limit: 1 }),
  "maps without a limit": () => map(ctx, [1], fail, {} as never),
  "forEachs of bad options": () => forEach(ctx, [1], fail, 4 as never),
  "maps of no context": () => map(7 as never, [1], fail, { limit: 1 }),
  "maps of nothing iterable": () => map(ctx, 7 as never, fail, { limit: 1 }),
  "scopes with a bad limit": () => scope(ctx, fail, { limit: 0 }),
  "scopes of bad options": () => scope(ctx, fail, 4 as never),
  "scopes of no context": () => scope(7 as never, fail),
  "collects of nothing": () => collect(ctx, []),
  "collects whose context has ended": () => collect(ended, [1]),
  "collects of an input that fails": () => collect(ctx, { [Symbol.iterator]: fail }),
  "collects of no input": () => collect(ctx, 7 as never),
  "collects of no context": () => collect(7 as never, []),
  "collects of stages that are returned": async () => {
    const stage = pipelineMap(ctx, from(ctx, [1]), fail);
    await stage[Symbol.asyncDispose]();
    await collect(ctx, stage);
  },
  "first calls of a Once": () => new Once().do(ignore),
  "first calls of a Once that fail": () => new Once().do(fail),
  "first calls of a Once that return a generator": () => new Once().do(function* () {}),
  "new onceValues": () => onceValue(() => 1)(),
  "new onceFuncs that fail": () => onceFunc(fail)(),
  "waits of a Cond without its lock": () => new Cond(new Mutex()).wait(),
  "waits of a Cond whose locker fails": () => new Cond({ lock: async () => {}, unlock: fail }).wait(),
  "retries with bad options": () => retry(ctx, fail, { attempts: 0 }),
  "retries of no context": () => retry(7 as never, fail),
  "retries of a generator": () => retry(ctx, function* () {}),
};
for (const [name, operation] of Object.entries(once)) {
  workloads[name] = async () => {
    for (let i = 0; i < OPERATIONS; i++) await operation().catch(ignore);
  };
}

describe("the event loop gets its turns beside", () => {
  test.each(Object.keys(workloads))("%s", async (name) => {
    const turns = await turnsDuring(workloads[name] as () => Promise<unknown>);
    expect(turns).toBeGreaterThanOrEqual(Math.floor(OPERATIONS / PER_TURN));
  });

  test("nothing else: without charging, a bare loop of awaits gets none", async () => {
    const done = Promise.resolve();
    const turns = await turnsDuring(async () => {
      for (let i = 0; i < OPERATIONS; i++) await done;
    });
    expect(turns).toBeLessThanOrEqual(1);
  });
});

describe("completions over the budget", () => {
  const MANY = 5_000;

  test("come in the order in which they were claimed", async () => {
    const sem = new Weighted(MANY);
    await sem.acquire(ctx, MANY);
    const order: number[] = [];
    const waits = Array.from({ length: MANY }, (_, i) => sem.acquire(ctx).then(() => order.push(i)));
    sem.release(MANY);
    await Promise.all(waits);
    expect(order).toEqual(Array.from({ length: MANY }, (_, i) => i));
    sem.release(MANY);
  });

  test("take more than one turn, and no granted wait can be cancelled any more", async () => {
    const [scope, cancel] = withCancel(ctx);
    const ch = new Channel<number>();
    let received = 0;
    const waits = Array.from({ length: MANY }, () =>
      ch.receive(scope).then(({ ok }) => {
        if (ok) received++;
      }),
    );
    for (let i = 0; i < MANY; i++) expect(ch.trySend(i)).toBe(true);
    cancel();
    await turn();
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(MANY);
    await Promise.all(waits);
    expect(received).toBe(MANY);
  });
});

describe("completions that are taken over", () => {
  test("settle when they are called, in any order, and those of operations that do not wait too", async () => {
    const completions = takeOver();
    const ch = new Channel<number>(1);
    const log: string[] = [];
    void ch.send(1).then(() => log.push("sent"));
    void go(() => log.push("task"));
    const [first, second] = [completions.take(), completions.take()];
    expect([completions.take(), hasDeferred()]).toEqual([undefined, false]);
    await turn();
    expect(log).toEqual([]);
    second?.();
    await turn();
    first?.();
    await turn();
    expect(log).toEqual(["task", "sent"]);
    // Also those that were begun before by a burst, and thousands.
    const waits = Array.from({ length: 5000 }, () => ch.receive());
    ch.close();
    expect(hasDeferred()).toBe(true);
    await turn();
    const ended = Promise.all(waits).then(() => log.push("all"));
    completions.take()?.();
    await turn();
    expect(log).toEqual(["task", "sent"]);
    completions.giveBack();
    await ended;
    expect(hasDeferred()).toBe(false);
    await ch.receive();
  });

  test.each([
    ["counted turns", 0, PER_TURN],
    ["counted turns", 300, PER_TURN / 2],
    ["timed turns", 0, 128], // At most two slices.
  ])("with %s, after %i operations, in the middle of a burst: none settles any more", async (turns, n, most) => {
    countTurns(turns === "counted turns");
    const busy = new Channel<number>(n);
    await turn();
    // With many, the next turn has been requested already.
    for (let i = 0; i < n; i++) await busy.send(i);
    const ch = new Channel<number>();
    const order: number[] = [];
    const waits = Array.from({ length: 2000 }, (_, i) => ch.receive().then(() => order.push(i)));
    ch.close();
    const completions = takeOver();
    await turn();
    const settled = order.length; // By the budget, before.
    for (let i = 0; i < 5; i++) await turn();
    expect(order.length).toBe(settled);
    expect(settled).toBeLessThanOrEqual(most);
    completions.take()?.();
    completions.giveBack();
    countTurns(true);
    await Promise.all(waits);
    expect(order).toEqual(waits.map((_, i) => i));
  });
});
