/**
 * The event loop gets its turns by the clock, whatever the work between two operations: an interval's ticks come in the
 * midst of a long loop. Counted in ticks; a busy machine only makes more of them due.
 */
import { Channel } from "gopark/channel";
import { afterFunc, background, withCancel, withTimeout } from "gopark/context";
import { forEach, Group, map, scope } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { Pool } from "gopark/pool";
import { Inf, Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { sleep } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { countTurns } from "../src/internal/time/turn.ts";

beforeEach(() => {
  track("counters");
  countTurns(false);
});

afterEach(() => countTurns(true));

const ctx = background();

/** How often an interval of the host's ticks while `work` runs, which can ask how often it has. */
async function ticksDuring(ms: number, work: (ticked: () => number) => Promise<unknown>): Promise<number> {
  let ticks = 0;
  const interval = setInterval(() => ticks++, ms);
  try {
    await work(() => ticks);
  } finally {
    clearInterval(interval);
  }
  return ticks;
}

/** A millisecond of work. */
function work(): void {
  const until = performance.now() + 1;
  while (performance.now() < until);
}

describe("with 1 ms of work per item, at least a third of the due ticks of a 10 ms interval come during", () => {
  const ITEMS = 600;

  const loops: Record<string, () => Promise<unknown>> = {
    "an iteration over a channel": async () => {
      const ch = new Channel<number>();
      const sending = go(async () => {
        for (let i = 0; i < ITEMS; i++) await ch.send(i);
        ch.close();
      });
      for await (const _ of ch) work();
      await sending;
    },
    "receives from a full buffer": async () => {
      const ch = new Channel<number>(ITEMS);
      for (let i = 0; i < ITEMS; i++) ch.trySend(i);
      for (let i = 0; i < ITEMS; i++) {
        await ch.receive();
        work();
      }
    },
    "hand-offs of two tasks": async () => {
      const ch = new Channel<number>();
      const sending = go(async () => {
        for (let i = 0; i < ITEMS; i++) await ch.send(i);
      });
      for (let i = 0; i < ITEMS; i++) {
        await ch.receive();
        work();
      }
      await sending;
    },
    "selects that are ready": async () => {
      const ch = new Channel<number>(ITEMS);
      for (let i = 0; i < ITEMS; i++) ch.trySend(i);
      for (let i = 0; i < ITEMS; i++) {
        await select({ ch, stop: ctx });
        work();
      }
    },
    "selects that park": async () => {
      const ch = new Channel<number>();
      const sending = go(async () => {
        for (let i = 0; i < ITEMS; i++) await select({ sent: ch.sending(i) });
      });
      for (let i = 0; i < ITEMS; i++) {
        await select({ ch, never: null });
        work();
      }
      await sending;
    },
    acquires: async () => {
      const sem = new Weighted(1);
      for (let i = 0; i < ITEMS; i++) {
        await sem.acquire(ctx);
        work();
        sem.release();
      }
    },
    "permits of four tasks": async () => {
      const sem = new Weighted(1);
      const task = async () => {
        for (let i = 0; i < ITEMS / 4; i++) await sem.withPermit(ctx, work);
      };
      await Promise.all([task(), task(), task(), task()]);
    },
    "a group under a limit": async () => {
      const g = new Group();
      g.setLimit(4);
      for (let i = 0; i < ITEMS; i++) await g.go(work);
      await g.wait();
    },
    "a map over many items": () => map(ctx, Array.from({ length: ITEMS }), work, { limit: 4 }),
    tasks: async () => {
      for (let i = 0; i < ITEMS; i++) await go(work);
    },
    "a limiter that lets everything through": async () => {
      const limiter = new Limiter(Inf, 0);
      for (let i = 0; i < ITEMS; i++) {
        await limiter.wait(ctx);
        work();
      }
    },
    "updates of a map": async () => {
      const counts = new ShardMap<string, number>();
      for (let i = 0; i < ITEMS; i++) {
        await counts.update("key", (n = 0) => {
          work();
          return n + 1;
        });
      }
    },
    "completions that one call has granted": async () => {
      // After a fast stretch, by whose pace many completions may be granted at once.
      const fast = new Channel<number>(1);
      for (let i = 0; i < 10_000; i++) {
        await fast.send(i);
        await fast.receive();
      }
      const ch = new Channel<number>();
      const receives = Array.from({ length: ITEMS }, () => ch.receive().then(work));
      ch.close();
      await Promise.all(receives);
    },
  };

  test.each(Object.keys(loops))("%s", async (name) => {
    const ticks = await ticksDuring(10, loops[name] as () => Promise<unknown>);
    expect(ticks).toBeGreaterThanOrEqual(ITEMS / 10 / 3);
  });
});

describe("every completion is charged: a 1 ms interval ticks several times during many rounds of", () => {
  const SEVERAL = 3;

  // Enough for a tenth of a second of processor time: errors with a stack cost the most, an iterator the least.
  const MANY = 1_000_000;
  const WITH_AN_ERROR = 20_000;

  const rounds: Record<string, () => () => PromiseLike<unknown>> = {
    "an afterFunc that a cancel runs": () => () =>
      new Promise<void>((resolve) => {
        const { ctx: c, cancel } = withCancel(ctx);
        afterFunc(c, resolve);
        cancel();
      }),
    "an afterFunc of what has ended": () => {
      const { ctx: c, cancel } = withCancel(ctx);
      cancel();
      return () => new Promise<void>((resolve) => afterFunc(c, resolve));
    },
    "an afterFunc of a deadline that has passed": () => () =>
      new Promise<void>((resolve) => afterFunc(withTimeout(ctx, 0).ctx, resolve)),
    "an iterator's return": () => {
      const ch = new Channel<number>();
      return () => ch.values().return?.() as Promise<unknown>;
    },
    "the wait of a group without tasks": () => {
      const g = new Group();
      return () => g.wait();
    },
    "the wait of a group that has failed": () => {
      const g = new Group();
      void g.go(() => Promise.reject(new Error("failed")));
      return () => g.wait().catch(() => {});
    },
    "a scope without tasks": () => () => scope(ctx, () => {}),
    "a map of nothing": () => () => map(ctx, [], () => {}, { limit: 1 }),
    "a forEach of nothing": () => () => forEach(ctx, [], () => {}, { limit: 1 }),
    "a task that is none": () => {
      const g = new Group();
      return () => g.go(5 as never).catch(() => {});
    },
    "a sleep that is refused for its argument": () => () => sleep(Number.NaN).catch(() => {}),
    "an acquire that is refused for its argument": () => {
      const sem = new Weighted(1);
      return () => sem.acquire(ctx, 2).catch(() => {});
    },
    "a wait that is refused for its argument": () => {
      const limiter = new Limiter(1, 1);
      return () => limiter.wait(ctx, 2).catch(() => {});
    },
    "a withPermit": () => {
      const sem = new Weighted(1);
      return () => sem.withPermit(ctx, () => {});
    },
    "an update that is refused for its argument": () => {
      const counts = new ShardMap<string, number>();
      return () => counts.update("key", 5 as never).catch(() => {});
    },
    "a value that is there": () => {
      const cache = new ShardMap<string, number>([["key", 1]]);
      return () => cache.getOrLoad("key", () => 1);
    },
    "a loader that is none": () => {
      const cache = new ShardMap<string, number>();
      return () => cache.getOrLoad("key", 5 as never).catch(() => {});
    },
    "a single flight": () => {
      const flights = new Flights<string, number>();
      return () => flights.do("key", () => 1);
    },
    "work that is none": () => {
      const flights = new Flights<string, number>();
      return () => flights.do("key", 5 as never).catch(() => {});
    },
    "a pooled object in use": () => {
      const pool = new Pool({ create: () => ({}), reset: () => {} });
      return () => pool.use(() => {});
    },
  };

  test.each(Object.keys(rounds))("%s", async (name) => {
    const round = (rounds[name] as () => () => PromiseLike<unknown>)();
    const most = / is none$| refused /.test(name) ? WITH_AN_ERROR : MANY;
    const ticks = await ticksDuring(1, async (ticked) => {
      for (let i = 0; i < most && ticked() < SEVERAL; i++) await round();
    });
    expect(ticks).toBeGreaterThanOrEqual(SEVERAL);
  });
});
