/** The leak checks themselves: what is left behind is found, named, and shown with the line that made it. */
import { Channel } from "gopark/channel";
import { background, withCancel, withTimeout } from "gopark/context";
import { forEach, Group } from "gopark/errgroup";
import { go } from "gopark/go";
import { counters, current, find, type Leak, LeakError, onProved, track, verifyNone } from "gopark/leak";
import { Pool } from "gopark/pool";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { sleep, Ticker, Timer } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";

beforeEach(() => track("full"));
afterEach(() => track("full"));

const ctx = background();

/** Each leaves something behind, and returns what clears it away. */
const leaks: Record<string, () => () => unknown> = {
  "chan send": () => {
    const ch = new Channel<number>();
    void ch.send(1);
    return () => ch.tryReceive();
  },
  "chan receive": () => {
    const ch = new Channel<number>();
    void ch.receive();
    return () => ch.close();
  },
  select: () => {
    const ch = new Channel<number>();
    void select({ ch });
    return () => ch.close();
  },
  sleep: () => {
    const [scope, cancel] = withCancel(ctx);
    sleep(60_000, scope).catch(() => {});
    return cancel;
  },
  timer: () => {
    const timer = new Timer(60_000);
    return () => timer.stop();
  },
  ticker: () => {
    const ticker = new Ticker(60_000);
    return () => ticker.stop();
  },
  "semaphore acquire": () => {
    const sem = new Weighted(0);
    const [scope, cancel] = withCancel(ctx);
    sem.acquire(scope, 0);
    const full = new Weighted(1);
    full.tryAcquire();
    full.acquire(scope).catch(() => {});
    return () => {
      cancel();
      full.release();
    };
  },
  "semaphore permit": () => {
    const [scope, cancel] = withCancel(ctx);
    const full = new Weighted(1);
    full.tryAcquire();
    full.permit(scope).catch(() => {});
    return () => {
      cancel();
      full.release();
    };
  },
  "semaphore unit": () => {
    const sem = new Weighted(3);
    sem.tryAcquire(2);
    return () => sem.release(2);
  },
  "rate wait": () => {
    const limiter = new Limiter(0, 1);
    limiter.allow();
    const [scope, cancel] = withCancel(ctx);
    limiter.wait(scope).catch(() => {});
    return cancel;
  },
  "errgroup go": () => {
    const g = new Group();
    g.setLimit(0);
    void g.go(() => {});
    return () => g.setLimit(1);
  },
  "errgroup wait": () => {
    const g = new Group();
    let end = () => {};
    void g.go(() => new Promise<void>((resolve) => (end = resolve)));
    void g.wait();
    return async () => {
      await turn();
      end();
    };
  },
  task: () => {
    let end = () => {};
    void go(() => new Promise<void>((resolve) => (end = resolve)));
    return async () => {
      await turn();
      end();
    };
  },
  "iterator next": () => {
    const items = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
    const [scope, cancel] = withCancel(ctx);
    forEach(scope, items, () => {}, { limit: 1 }).catch(() => {});
    return cancel;
  },
  "pool object": () => {
    const pool = new Pool({ create: () => ({}), reset: () => {} });
    const object = pool.get();
    return () => pool.put(object);
  },
  "shardmap update": () => {
    const map = new ShardMap<string, number>();
    const [scope, cancel] = withCancel(ctx);
    let end = (_: number) => {};
    void map.update("a", () => new Promise<number>((resolve) => (end = resolve)));
    map.update("a", () => 1, scope).catch(() => {});
    return async () => {
      cancel();
      await turn();
      end(1);
    };
  },
  "shardmap updater": () => {
    const map = new ShardMap<string, number>();
    let end = (_: number) => {};
    void map.update("a", () => new Promise<number>((resolve) => (end = resolve)));
    return async () => {
      await turn();
      end(1);
    };
  },
  "shardmap load": () => {
    const map = new ShardMap<string, number>();
    const [scope, cancel] = withCancel(ctx);
    map.getOrLoad("a", (_, signal) => sleep(60_000, signal).then(() => 1), scope).catch(() => {});
    return cancel;
  },
  "shardmap loader": () => {
    const map = new ShardMap<string, number>();
    let end = (_: number) => {};
    void map.getOrLoad("a", () => new Promise<number>((resolve) => (end = resolve)));
    return async () => {
      await turn();
      end(1);
    };
  },
  "singleflight do": () => {
    const group = new Flights<string, void>();
    const [scope, cancel] = withCancel(ctx);
    group.do("a", (own) => sleep(60_000, own), scope).catch(() => {});
    return cancel;
  },
  "singleflight work": () => {
    const group = new Flights<string, void>();
    let end = () => {};
    void group.do("a", () => new Promise<void>((resolve) => (end = resolve)));
    return async () => {
      await turn();
      end();
    };
  },
  context: () => withCancel(ctx).cancel,
};

describe("verifyNone finds", () => {
  test.each(Object.keys(leaks))("%s, and the line that made it", async (kind) => {
    const clear = (leaks[kind] as () => () => unknown)();
    const found = find().filter((leak) => leak.kind === kind);
    expect(found).toHaveLength(1);
    expect(found[0]?.proved).toBe(false);
    expect(found[0]?.stack?.split("\n")[0]).toContain("leak.test.ts");
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow(`found unexpected leaks: `);
    await clear();
    await verifyNone();
  });

  test("every kind there is", () => {
    expect(new Set(Object.keys(counters()))).toEqual(
      new Set([...Object.keys(leaks), "select (no cases)", "proved leak"]),
    );
  });
});

test("work that is about to end gets the time to end", async () => {
  const ch = new Channel<number>();
  void ch.receive();
  void turn().then(() => ch.close());
  await verifyNone();
});

test("the error lists the leaks, by kind and by place, and no more than ten places in full", async () => {
  const ch = new Channel<number>();
  const places = Array.from({ length: 12 }, (_, i) => new Function("ch", `${"\n".repeat(i)}void ch.receive()`));
  for (const receive of [...places, ...places]) receive(ch);
  const error = (await verifyNone({ timeout: 20 }).catch((e) => e)) as LeakError;
  expect(error).toBeInstanceOf(LeakError);
  expect(error.leaks).toHaveLength(24);
  expect(error.message).toMatch(/^found unexpected leaks: 24 chan receive\n\n2 chan receive, for \d+ ms, made at\n/);
  expect(error.message).toContain("and 4 more");
  ch.close();
});

test("without tracking the counters still find it, and say that they do not know where", async () => {
  track("counters");
  const ch = new Channel<number>();
  void ch.receive();
  void ch.receive();
  expect(find()).toEqual([
    {
      kind: "chan receive",
      count: 2,
      ageMs: undefined,
      stack: undefined,
      proved: false,
      lostCancel: false,
      heldByItself: false,
    },
  ]);
  await expect(verifyNone({ timeout: 20 })).rejects.toThrow(
    '2 chan receive: made without full tracking; to see where, call leak.track("full") before it is made',
  );
  ch.close();
});

test.each(Object.keys(leaks))("without tracking, %s is counted up and down", async (kind) => {
  track("counters");
  expect(counters()[kind]).toBe(0);
  const clear = (leaks[kind] as () => () => unknown)();
  expect(counters()[kind]).toBeGreaterThan(0);
  await clear();
  await verifyNone();
  expect(counters()[kind]).toBe(0);
});

test("a snapshot is ignored, whether it was tracked or not; what came after it is not", async () => {
  const ch = new Channel<number>();
  void ch.receive();
  track("counters");
  void ch.receive();
  track("full");
  const before = current();
  await verifyNone({ ignore: before });
  void ch.receive();
  await expect(verifyNone({ ignore: before, timeout: 20 })).rejects.toThrow("found unexpected leaks: 1 chan receive");
  ch.close();
});

test("age is in milliseconds of the real clock, even if a clock was mocked in between", () => {
  vi.useFakeTimers();
  const ch = new Channel<number>();
  void ch.receive();
  vi.advanceTimersByTime(3_600_000);
  vi.setSystemTime(0);
  const age = find()[0]?.ageMs as number;
  expect(age).toBeGreaterThanOrEqual(0);
  expect(age).toBeLessThan(3_600_000);
  vi.useRealTimers();
  expect(find()[0]?.ageMs).toBeLessThan(3_600_000);
  ch.close();
});

test("units given back by another call close the oldest entries first, in part or in whole", () => {
  const sem = new Weighted(10);
  sem.tryAcquire(2);
  sem.tryAcquire(3);
  sem.release(4);
  expect(find().filter((leak) => leak.kind === "semaphore unit")).toHaveLength(1);
  sem.release();
  expect(find()).toEqual([]);
});

test("a level that does not exist is refused", () => {
  for (const [level, shown] of [
    ["half", '"half"'],
    [undefined, "undefined"],
    [1n, "1"],
  ]) {
    const message = `track: level must be "counters", "sampled" or "full", got ${shown}`;
    expect(() => track(level as never)).toThrow(new TypeError(message));
  }
});

describe("the collector proves", () => {
  /** Drops something by `drop`, collects, and returns what was proved. */
  async function proved(drop: () => void): Promise<Leak[]> {
    const seen: Leak[] = [];
    const stop = onProved((leak) => seen.push(leak));
    drop();
    await collectUntil(() => seen.length > 0);
    stop();
    return seen;
  }

  test("that a wait on an unreachable channel can never end; the next check reports it once", async () => {
    const seen = await proved(() => void new Channel<number>().receive());
    expect(seen).toMatchObject([{ kind: "chan receive", count: 1, proved: true }]);
    expect(seen[0]?.stack).toContain("leak.test.ts");
    expect(counters()["chan receive"]).toBe(0);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow("proved: collected, so nothing could have ended it");
    await verifyNone();
  });

  test("that a context whose cancel function was dropped will not be cancelled, if nothing above can end it", async () => {
    const seen = await proved(() => void withCancel(ctx));
    expect(seen).toMatchObject([{ kind: "context", proved: true }]);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow(LeakError);
  });

  test("nothing of a context that its parent or its deadline can still end; it stays counted", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const parent = withCancel(ctx);
    const seen = await proved(() => {
      withCancel(parent.ctx);
      withTimeout(ctx, 60_000);
    });
    expect(seen).toEqual([]);
    expect(counters().context).toBe(3);
    parent.cancel();
    vi.advanceTimersByTime(60_000);
  });

  test("that a dropped permit will not be released", async () => {
    const sem = new Weighted(2);
    const seen = await proved(() => void sem.permit(ctx, 2));
    expect(seen).toMatchObject([{ kind: "semaphore unit", count: 2, proved: true }]);
    expect(sem.held()).toBe(2);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow(LeakError);
  });

  test("nothing of a wait that a live context can still end", async () => {
    const [scope, cancel] = withCancel(ctx);
    const seen = await proved(() => {
      new Channel<number>().receive(scope).catch(() => {});
    });
    expect(seen).toEqual([]);
    expect(counters()["chan receive"]).toBe(1);
    cancel();
  });

  test("nothing of what has ended", async () => {
    const seen = await proved(() => {
      const ch = new Channel<number>();
      void ch.receive();
      ch.close();
      withCancel(ctx).cancel();
    });
    expect(seen).toEqual([]);
  });
});
