/** What counts as durably blocked, on the tree of tasks; deadlocks, and bubbles that are stuck, and what they say. */
import { readFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { setTimeout as realTimer } from "node:timers/promises";
import { promisify } from "node:util";
import { deflate } from "node:zlib";
import { Channel } from "gopark/channel";
import { background, withCancel, withTimeout } from "gopark/context";
import { Group } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { map } from "gopark/pipeline";
import { Limiter } from "gopark/rate";
import { retry } from "gopark/retry";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Cond, KeyedMutex, Mutex, Once, RWMutex, WaitGroup } from "gopark/sync";
import { test as bubble, DeadlockError, wait } from "gopark/synctest";
import { after, now, sleep, Ticker, Timer } from "gopark/time";
import { Workers } from "gopark/workers";
import { afterEach, describe, expect, test } from "vitest";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const hostSetTimeout = setTimeout;
const bg = background();
const START = Date.UTC(2000, 0, 1);

afterEach(() => track("full"));

/**
 * What a task waits for, and then ends, when `end` resolves in the bubble, if that makes it end. Otherwise it ends by
 * itself, after some time of the bubble.
 */
type Situation = (end: Promise<void>, ended: AbortSignal) => Promise<unknown>;

/** Waits in vain until it is cancelled. */
const untilCancelled = (waiting: Promise<unknown>) => waiting.catch(() => {});

const BLOCKED: Record<string, Situation> = {
  "a receive": (_, ended) => untilCancelled(new Channel().receive(ended)),
  "a send": (_, ended) => untilCancelled(new Channel().send(1, ended)),
  "an iteration of a channel": (_, ended) => untilCancelled(new Channel().values(ended).next()),
  "a select": (_, ended) => select({ a: new Channel(), b: null, ended }),
  "a sleep": () => sleep(5),
  "a timeout of a select": () => select({ late: after(5) }),
  "a timer": () => new Timer(5).c.receive(),
  "a deadline": () => untilCancelled(new Channel().receive(withTimeout(bg, 5)[0])),
  "the end of a context": (_, ended) => select({ ended }),
  "a semaphore": (_, ended) => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    return untilCancelled(sem.acquire(ended)).then(() => sem.release());
  },
  "a mutex": (_, ended) => {
    const m = new Mutex();
    m.tryLock();
    return untilCancelled(m.lock(ended)).then(() => m.unlock());
  },
  "a read lock": (_, ended) => {
    const m = new RWMutex();
    m.tryLock();
    return untilCancelled(m.rLock(ended)).then(() => m.unlock());
  },
  "a lock of a key": async (_, ended) => {
    const m = new KeyedMutex<string>();
    await m.withLock("k", () => untilCancelled(m.withLock("k", () => {}, ended)));
  },
  "a condition": async (end) => {
    const m = new Mutex();
    const cond = new Cond(m);
    void end.then(() => cond.broadcast());
    await m.lock();
    await cond.wait();
    m.unlock();
  },
  "a wait group": (_, ended) => {
    const wg = new WaitGroup();
    wg.add(1);
    return untilCancelled(wg.wait(ended)).then(() => wg.done());
  },
  "a once that another runs": async () => {
    const once = new Once();
    await Promise.all([once.do(() => sleep(5)), go(() => once.do(() => {}))]);
  },
  "a limiter": () => {
    const limiter = new Limiter(1, 1);
    limiter.allow();
    return limiter.wait(bg);
  },
  "the next attempt": () => untilCancelled(retry(bg, () => Promise.reject(new Error("again")), { attempts: 2 })),
  "a shared load": () => {
    const flights = new Flights<string, void>();
    return Promise.all([1, 2].map(() => go(() => flights.do("k", () => sleep(5)))));
  },
  "an update of a key": () => {
    const map = new ShardMap<string, number>();
    const add = async (n = 0) => {
      await sleep(5);
      return n + 1;
    };
    return Promise.all([1, 2].map(() => go(() => map.update("k", add))));
  },
  "a worker": async () => {
    const workers = new Workers(1);
    await Promise.all([1, 2].map(() => workers.submit(() => sleep(5))));
    await workers.release();
  },
  "a stage": async () => {
    for await (const _n of map(bg, [1, 2], () => sleep(5))) await sleep(1);
  },
  "a group": async () => {
    const group = new Group();
    group.setLimit(1);
    for (let i = 0; i < 3; i++) await group.go(() => sleep(5));
    await group.wait();
  },
  setTimeout: () => new Promise((resolve) => setTimeout(resolve, 5)),
  setInterval: () =>
    new Promise<void>((resolve) => {
      const interval = setInterval(() => {
        clearInterval(interval);
        resolve();
      }, 5);
    }),
  "tasks that it has started": () => Promise.all([go(() => sleep(5)), go(() => sleep(6))]),
  "the second of its tasks, when the first has ended": () => Promise.all([go(() => 1), go(() => sleep(6))]),
  "a task's task, when the task has ended before that began": async () => {
    let inner: Promise<void> | undefined;
    await go(() => {
      inner = go(() => sleep(5));
    });
    await inner;
  },
  "a task's task, when the task has ended after that began": async () => {
    let inner: Promise<void> | undefined;
    await go(async () => {
      inner = go(() => sleep(5));
      await sleep(1);
    });
    await inner;
  },
  "bare promises that its task resolves": () =>
    new Promise<void>((resolve) => {
      void go(() => sleep(5)).then(resolve);
    }),
  // Documented: such work cannot be seen beside a wait.
  "compression beside a wait": async (_, ended) => {
    const waiting = untilCancelled(new Channel().receive(ended));
    await promisify(deflate)(Buffer.alloc(1000));
    await waiting;
  },
};

describe("a task is durably blocked while it waits for", () => {
  test.each(Object.entries(BLOCKED))("%s", async (name, situation) => {
    for (const seed of [undefined, 1]) {
      await bubble(
        async () => {
          const controller = new AbortController();
          let finish = () => {};
          const end = new Promise<void>((resolve) => {
            finish = resolve;
          });
          const task = watch(go(() => situation(end, controller.signal)));
          await wait();
          expect([task.state, now()], name).toEqual(["pending", START]);
          controller.abort();
          finish();
          await sleep(3000); // Beyond what any of them takes.
          expect(task.state, name).toBe("fulfilled");
        },
        { stuckMs: 1000, ...(seed !== undefined && { seed }) },
      );
    }
  });
});

/** With what the bubble says if it gets stuck on it. */
const RUNNING: Record<string, () => Promise<unknown>> = {
  "a file": () => readFile(new URL(import.meta.url)),
  "a file beside a wait": async () => {
    const [ctx, cancel] = withCancel(bg);
    const waiting = untilCancelled(new Channel().receive(ctx));
    await readFile(new URL(import.meta.url));
    cancel();
    await waiting;
  },
  "a connection beside a wait": async () => {
    const [ctx, cancel] = withCancel(bg);
    const waiting = untilCancelled(new Channel().receive(ctx));
    const server = createServer((socket) => socket.end("hello"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const socket = connect(port, "127.0.0.1");
    for await (const _ of socket);
    await new Promise((resolve) => server.close(resolve));
    cancel();
    await waiting;
  },
  "a real timer": () => realTimer(5),
  setImmediate: () => turns(20),
  compression: () => promisify(deflate)(Buffer.alloc(1000)),
  "a module": () => import(`data:text/javascript,export default ${Math.random()}`),
};

describe("a task is not durably blocked, and time stands still, while it waits for", () => {
  test.each(Object.entries(RUNNING))("%s", async (_, work) => {
    await bubble(
      async () => {
        const slept = watch(go(() => sleep(1)));
        const task = watch(go(work));
        await wait();
        expect([task.state, slept.state, now()]).toEqual(["fulfilled", "pending", START]);
        await sleep(1);
      },
      { stuckMs: 10_000 },
    );
  });

  test("nothing more: real timers that the program sets meanwhile are none of the bubble's I/O", async () => {
    let timers: NodeJS.Timeout[] = [];
    const work = () => {
      timers = Array.from({ length: 20 }, () => hostSetTimeout(() => {}, 100_000));
      return sleep(5).then(now);
    };
    expect(await bubble(work, { stuckMs: 50 })).toBe(START + 5);
    for (const timer of timers) clearTimeout(timer);
  });

  test("the promise of a task that it did not start; the bubble says so, and which", async () => {
    const [ctx, cancel] = withCancel(bg);
    const stuck = bubble(
      async () => {
        const other = go(() => sleep(1000, ctx)).catch(() => {});
        await go(() => other);
      },
      { stuckMs: 3 },
    );
    await expect(stuck).rejects.toThrow(
      /^synctest: stuck for \d+ ms on what is not of the bubble\n\n1 task, made at\n.*synctest\.blocked\.test\.ts:\d+:\d+/,
    );
    await expect(stuck).rejects.not.toBeInstanceOf(DeadlockError);
    cancel();
  });

  test("nothing: the function of the bubble itself", async () => {
    let end = () => {};
    const forever = () =>
      new Promise<void>((resolve) => {
        end = resolve;
      });
    await expect(bubble(forever, { stuckMs: 1 })).rejects.toThrow(/of the bubble\n\n1 function of the bubble$/);
    end();
  });

  test("many things one after the other: the limit is for a stretch in which nothing goes on", async () => {
    const many = async () => {
      // For each the bubble pauses at least a millisecond, so for longer than the limit in all.
      for (let i = 0; i < 400; i++) {
        await turns(4);
        await sleep(1);
      }
      return now();
    };
    expect(await bubble(many, { stuckMs: 300 })).toBe(START + 400);
  });

  test("I/O that does not end, which the bubble names", async () => {
    const server = createServer();
    const listening = bubble(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)), {
      stuckMs: 20,
    });
    await expect(listening).rejects.toThrow(
      /^synctest: stuck for .*\n\nthe process has begun, and not ended: TCPServerWrap$/,
    );
    // What was there before is not counted.
    expect(await bubble(() => sleep(7).then(now))).toBe(START + 7);
    await new Promise((resolve) => server.close(resolve));
  });
});

interface Stoppable {
  stop?(): void;
  readonly timer?: unknown;
}

describe("a deadlock", () => {
  test("is named: each kind and place, how long it has waited, and who holds what it waits for", async () => {
    const [ctx, cancel] = withCancel(bg);
    const deadlocked = bubble(async () => {
      const ch = new Channel<void>();
      const m = new Mutex();
      await m.lock();
      await sleep(1500);
      await Promise.all([
        go(() => ch.receive(ctx)),
        ...[1, 2].map(() => go(() => m.lock(ctx))),
        go(() => sleep(500).then(() => ch.receive(ctx))),
      ]).finally(() => m.unlock());
    });
    const error: Error = await deadlocked.then(
      () => expect.unreachable(),
      (err) => err,
    );
    expect(error).toBeInstanceOf(DeadlockError);
    expect(error.name).toBe("DeadlockError");
    const paragraphs = error.message.split("\n\n").map((text) => text.split("\n").map((line) => line.trim()));
    expect(paragraphs.map(([head]) => head)).toEqual([
      "deadlock: all goroutines in bubble are blocked",
      "1 chan receive, for 500 ms, made at",
      "2 mutex lock, for 500 ms, made at",
      "1 chan receive, for 0 ms, made at",
    ]);
    expect(paragraphs[1]?.[1]).toMatch(/synctest\.blocked\.test\.ts:\d+:\d+/);
    expect(paragraphs[2]).toContain("blocked by the call at");
    cancel();
  });

  test("is named without stacks too, and the message says how to get them", async () => {
    track("counters");
    const ch = new Channel<number>();
    const deadlocked = bubble(() => ch.receive());
    await expect(deadlocked).rejects.toThrow(
      new DeadlockError(
        "deadlock: all goroutines in bubble are blocked\n\n" +
          '1 chan receive, for 0 ms: to see where it was made, call leak.track("full") before',
      ),
    );
    ch.close();
  });

  test("of many is a short message", async () => {
    const ch = new Channel<number>();
    const places = Array.from(
      { length: 12 },
      (_, line) => new Function("go", "ch", `${"\n".repeat(line)}return go(() => ch.receive())`),
    );
    const deadlocked = bubble(async () => {
      track("full");
      await Promise.all(places.flatMap((start) => Array.from({ length: 20 }, () => start(go, ch))));
    });
    const error: Error = await deadlocked.catch((err) => err);
    const paragraphs = error.message.split("\n\n");
    expect(paragraphs).toHaveLength(12);
    expect(paragraphs[1]).toMatch(/^20 chan receive, for 0 ms, made at\n/);
    expect(paragraphs.at(-1)).toBe("and 40 more");
    ch.close();
  });

  test.each<[string, () => Stoppable]>([
    ["a ticker that nobody receives from", () => new Ticker(10)],
    ["a timer that is unref'd", () => ({ timer: setTimeout(() => {}, 10).unref() })],
    ["an interval that changes nothing", () => ({ timer: setInterval(() => {}, 10) })],
    ["a deadline that nothing waits for", () => ({ stop: withTimeout(bg, 10)[1] })],
  ])("is found beside %s, and beside a sleep of the program", async (name, start) => {
    const [outside, wake] = withCancel(bg);
    const slept = sleep(3_600_000, outside).catch(() => {});
    const ch = new Channel<void>();
    let started: Stoppable | undefined;
    const deadlocked = bubble(async () => {
      started = start();
      await ch.receive();
    });
    const forHow = name === "an interval that changes nothing" ? /for \d+ ms/ : /for 0 ms/;
    const error: Error = await deadlocked.catch((err) => err);
    expect(error.message).toMatch(/^deadlock: all goroutines in bubble are blocked\n\n1 chan receive, for \d+ ms/);
    expect(error.message).toMatch(forHow);
    started?.stop?.();
    ch.close();
    wake();
    await slept;
  });

  test("is not seen where an interval or a timer still ends the wait", async () => {
    await bubble(async () => {
      const ch = new Channel<void>();
      let ticks = 0;
      const interval = setInterval(() => {
        if (++ticks < 5000) return;
        clearInterval(interval);
        ch.close();
      }, 10);
      await ch.receive();
      expect(now() - START).toBe(50_000);
      setTimeout(() => setTimeout(() => next.close(), 10).ref(), 10)
        .unref()
        .ref();
      const next = new Channel<void>();
      await next.receive();
    });
  });
});

test("twenty thousand tasks are blocked, and found to be", async () => {
  track("counters");
  await bubble(async () => {
    const ch = new Channel<void>();
    const tasks = Array.from({ length: 20_000 }, () => go(() => ch.receive()));
    await wait();
    await sleep(1000);
    ch.close();
    await Promise.all(tasks);
  });
});
