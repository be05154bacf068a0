/** The module `deadlock` inside of a process that goes on: bad options, dumps, and the cycles of tasks. */
import { Channel } from "gopark/channel";
import { type CycleWait, cycles, dump, type InstallOptions, install } from "gopark/deadlock";
import { Group, scope } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { KeyedMutex, Mutex, Once, RWMutex, WaitGroup } from "gopark/sync";
import { sleep } from "gopark/time";
import { Workers } from "gopark/workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { currentTask, setTasks, type Task } from "../src/internal/track/tasks.ts";
import { random, seeds } from "./support/random.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

afterEach(() => setTasks(false));

describe("install", () => {
  const one = 1 as never;
  const wrong: [options: InstallOptions, error: Error][] = [
    [one, new TypeError("install: options must be an object, got 1")],
    [{ ignore: one }, new TypeError("install: ignore must be an object, got 1")],
    [
      { ignore: { kinds: "select" as never } },
      new TypeError('install: ignore.kinds must be an array of strings, got "select"'),
    ],
    [
      { ignore: { creators: [one] } },
      new TypeError("install: ignore.creators must be an array of strings and regular expressions, got 1"),
    ],
    [
      { ignore: { anyFunction: "main" as never } },
      new TypeError('install: ignore.anyFunction must be an array of strings and regular expressions, got "main"'),
    ],
    [{ exitCode: "2" as never }, new TypeError('install: exitCode must be a whole number, got "2"')],
    [{ exitCode: -1 }, new RangeError("install: exitCode must be a whole number from 0 to 2^53-1, got -1")],
    [{ exitCode: 0.5 }, new RangeError("install: exitCode must be a whole number from 0 to 2^53-1, got 0.5")],
    [{ exitCode: 256 }, new RangeError("install: exitCode must be a whole number from 0 to 255, got 256")],
    [{ dumpOn: "SIGTERM" as never }, new RangeError('install: dumpOn must be "SIGUSR2", got "SIGTERM"')],
    [{ dumpOn: true as never }, new RangeError('install: dumpOn must be "SIGUSR2", got true')],
  ];

  test.each(wrong)("%o is refused", (options, { name, message }) => {
    let error: unknown;
    try {
      install(options);
    } catch (e) {
      error = e;
    }
    expect([(error as Error).name, (error as Error).message]).toEqual([name, message]);
  });

  test("that throws has changed nothing; one that does not has set every option", () => {
    const listeners = () => process.listenerCount("SIGUSR2");
    const before = listeners();
    expect(() => install({ dumpOn: "SIGUSR2", exitCode: -1 })).toThrow(RangeError);
    const getter = {
      dumpOn: "SIGUSR2" as const,
      get ignore(): never {
        throw new Error("getter");
      },
    };
    expect(() => install(getter)).toThrow("getter");
    expect(listeners()).toBe(before);
    install({ dumpOn: "SIGUSR2", exitCode: 255 });
    install({ dumpOn: "SIGUSR2" });
    expect(listeners()).toBe(before + 1);
    install(null as never);
    expect(listeners()).toBe(before);
  });
});

/** A text with its ages replaced by `N ms`, and without the frames of stacks. */
const plain = (text: string) => text.replaceAll(/ \d+ ms/g, " N ms").replaceAll(/^ {4}at .*\n/gm, "");

describe("dump", () => {
  test("counts everything, and lists the waits", async () => {
    track("counters");
    const ch = new Channel<number>();
    const sem = new Weighted(1);
    const waits = [ch.receive(), ch.receive(), sem.acquire(undefined)];
    const before = dump();
    track("full");
    ch.close();
    await Promise.all(waits);
    expect(before).toContain("chan receive: 2");
    expect(before).toContain("semaphore unit: 1");
    expect(before).toContain("\n\n2 goroutines [chan receive]\n\n");
    expect(before).toMatch(/\n\nTo see where each of them waits, run with GOPARK_TRACK=full\n$/);
    sem.release();
  });

  test("with stacks: the places, the oldest first, each with the oldest age, and what blocks them", async () => {
    const ch = new Channel<number>();
    const mu = new Mutex();
    await mu.lock();
    const waits: Promise<unknown>[] = [];
    for (let i = 0; i < 3; i++) waits.push(i === 1 ? mu.lock() : ch.receive());
    const [, ...shown] = plain(dump()).trimEnd().split("\n\n");
    const hint = "To see which of them wait for each other, run with GOPARK_TRACK=tasks";
    expect(shown).toEqual([
      "2 goroutines [chan receive, N ms]:",
      "goroutine [mutex lock, N ms]:\nblocked by the call at",
      hint,
    ]);
    ch.close();
    mu.unlock();
    await Promise.all(waits);
    mu.unlock();
    expect(dump()).not.toContain("goroutine");
  });

  test("with identities: each wait by the number of its task, and the cycles", async () => {
    setTasks(true);
    const controller = new AbortController();
    const shards = new ShardMap<string, number>();
    const running = watch(shards.update("k", () => shards.update("k", () => 1, controller.signal)));
    await turn();
    const [[wait] = []] = cycles();
    const [, ...shown] = plain(dump()).trimEnd().split("\n\n");
    expect(shown).toEqual([
      `goroutine ${wait?.task} [shardmap update, N ms]:\nblocked by its own task's call at`,
      `cycle:\ngoroutine ${wait?.task} [shardmap update, N ms] is blocked by itself`,
    ]);
    controller.abort();
    await turn();
    expect(running.state).toBe("rejected");
  });
});

test("cycles without identities is an error that says what to do", () => {
  expect(() => cycles()).toThrow(
    'cycles: tasks have no identity: run with GOPARK_TRACK=tasks, or track("full", { tasks: true })',
  );
});

describe("cycles", () => {
  let controller: AbortController;
  let cancel: AbortSignal;
  let running: Promise<unknown>[];

  beforeEach(() => {
    setTasks(true);
    controller = new AbortController();
    cancel = controller.signal;
    running = [];
  });

  afterEach(async () => {
    controller.abort();
    await Promise.allSettled(running);
    expect(cycles()).toEqual([]);
  });

  /** Starts tasks, and returns the cycles when they have come to their waits: of each wait, what it is for. */
  async function kindsOf(...tasks: (() => Promise<unknown>)[]): Promise<string[][]> {
    running.push(...tasks.map((task) => go(task)));
    await turns(5);
    for (const cycle of cycles()) expectCircle(cycle);
    return cycles().map((cycle) => cycle.map(({ kind }) => kind));
  }

  function expectCircle(cycle: readonly CycleWait[]): void {
    for (const [i, { heldBy }] of cycle.entries()) expect(heldBy).toBe(cycle[(i + 1) % cycle.length]?.task);
  }

  /** Holds the lock while it waits for the next one. */
  const holding = (first: Mutex | RWMutex, next: () => Promise<unknown>) => async () => {
    await first.lock();
    try {
      await turn();
      await next();
    } finally {
      first.unlock();
    }
  };

  describe("names", () => {
    test("a circle of three locks, with the places of the waits and of what they are for", async () => {
      const locks = [new Mutex(), new Mutex(), new Mutex()] as const;
      const takers = [
        function takesA() {
          return holding(locks[0], () => locks[1].lock(cancel))();
        },
        function takesB() {
          return holding(locks[1], () => locks[2].lock(cancel))();
        },
        function takesC() {
          return holding(locks[2], () => locks[0].lock(cancel))();
        },
      ];
      expect(await kindsOf(...takers)).toEqual([["mutex lock", "mutex lock", "mutex lock"]]);
      const [cycle] = cycles() as [CycleWait[]];
      for (const { stack, heldAt, ageMs } of cycle) {
        expect([/deadlock\.test/.test(stack), /deadlock\.test/.test(heldAt)]).toEqual([true, true]);
        expect(ageMs).toBeGreaterThanOrEqual(0);
      }
      expect(cycle.map(({ task }) => task)).toEqual([...cycle.map(({ task }) => task)].sort((a, b) => a - b));
    });

    test("two circles apart, each once; a task that waits for one of them is in neither", async () => {
      const [a, b, c, d] = [new Mutex(), new Mutex(), new Mutex(), new Mutex()];
      const kinds = await kindsOf(
        holding(a, () => b.lock(cancel)),
        holding(b, () => a.lock(cancel)),
        holding(c, () => d.lock(cancel)),
        holding(d, () => c.lock(cancel)),
        () => a.lock(cancel),
      );
      expect(kinds).toEqual(Array(2).fill(["mutex lock", "mutex lock"]));
    });

    test("a task that reaches a circle of others, and comes first", async () => {
      const [a, b, c] = [new Mutex(), new Mutex(), new Mutex()];
      const kinds = await kindsOf(
        holding(c, () => a.lock(cancel)),
        holding(a, async () => {
          await turn();
          await b.lock(cancel);
        }),
        holding(b, async () => {
          await turn();
          await a.lock(cancel);
        }),
      );
      expect(kinds).toEqual([["mutex lock", "mutex lock"]]);
    });

    test.each<[string, string, () => Promise<unknown>]>([
      ["a mutex", "mutex lock", () => again(new Mutex())],
      ["a mutex, under withLock", "mutex lock", () => withLockAgain(new Mutex())],
      ["a keyed mutex", "keyedmutex lock", () => keyedAgain(new KeyedMutex())],
      ["a reader that wants to write", "rwmutex lock", () => upgrade(new RWMutex())],
      ["a reader that reads again behind a writer", "rwmutex rLock", () => readAgain(new RWMutex())],
      ["an update", "shardmap update", () => updateAgain(new ShardMap())],
      ["a loader", "shardmap load", () => loadAgain(new ShardMap())],
      ["single flight", "singleflight do", () => flyAgain(new Flights())],
      ["a Once", "once do", () => onceAgain(new Once())],
      ["a go at limit 1", "errgroup go", () => goAgain(new Group())],
      ["a group's end", "errgroup wait", () => waitInside(new Group())],
      ["a WaitGroup's end", "waitgroup wait", () => waitGroupInside(new WaitGroup())],
      ["a submit to a pool of 1", "workers submit", () => submitAgain(new Workers(1))],
    ])("a task that waits for itself: %s", async (_, kind, run) => {
      expect(await kindsOf(run)).toContainEqual([kind]);
      const own = cycles().find(([wait]) => wait?.kind === kind) as CycleWait[];
      expect(own[0]?.heldBy).toBe(own[0]?.task);
    });

    async function again(mu: Mutex) {
      await mu.lock();
      await mu.lock(cancel).finally(() => mu.unlock());
    }
    const withLockAgain = (mu: Mutex) => mu.withLock(() => mu.withLock(() => {}, cancel));
    const keyedAgain = (mu: KeyedMutex<string>) => mu.withLock("a", () => mu.withLock("a", () => {}, cancel));
    const upgrade = (rw: RWMutex) => rw.withRLock(() => rw.withLock(() => {}, cancel));
    async function readAgain(rw: RWMutex) {
      await rw.withRLock(async () => {
        running.push(go(() => rw.lock(cancel)));
        await turn();
        await rw.withRLock(() => {}, cancel);
      });
    }
    const updateAgain = (m: ShardMap<string, number>) => m.update("k", () => m.update("k", () => 1, cancel));
    const loadAgain = (m: ShardMap<string, number>) =>
      m.getOrLoad("k", () => m.getOrLoad("k", () => 1, cancel), cancel);
    const flyAgain = (f: Flights<number, unknown>) => f.do(1, () => f.do(1, () => 1, cancel), cancel);
    const onceAgain = (once: Once) => once.do(() => once.do(() => {}, cancel));
    async function goAgain(g: Group) {
      g.setLimit(1);
      await g.go(() => g.go(() => {}, cancel));
      await g.wait();
    }
    async function waitInside(g: Group) {
      await g.go(() => g.wait(cancel));
      await g.wait();
    }
    const waitGroupInside = (wg: WaitGroup) => wg.go(() => wg.wait(cancel));
    const submitAgain = (pool: Workers) => pool.submit(() => pool.submit(() => 1, { cancel }));

    test("works that ask for each other's keys, and callers of both", async () => {
      const flights = new Flights<string, unknown>();
      const work = (key: string, other: string) => () =>
        flights.do(
          key,
          async () => {
            await turn();
            await flights.do(other, () => 1, cancel);
          },
          cancel,
        );
      const kinds = await kindsOf(work("a", "b"), work("b", "a"), () => flights.do("a", () => 1, cancel));
      expect(kinds).toEqual([["singleflight do", "singleflight do"]]);
    });

    test("a task that waits, with a lock, for tasks that need it", async () => {
      const mu = new Mutex();
      const kinds = await kindsOf(holding(mu, () => scope(cancel, (g) => g.go(() => mu.lock(cancel)))));
      expect(kinds).toEqual([["mutex lock", "errgroup wait"]]);
    });

    test.each([1, 0])(
      "a task that waits, with a lock, for the answer of one that needs it; %d slots free",
      async (free) => {
        const mu = new Mutex();
        const pool = new Workers(2);
        running.push(pool.submit(() => sleep(60_000, cancel)));
        const gate = new Channel<void>();
        const first = free > 0 ? undefined : pool.submit(() => gate.receive());
        running.push(go(holding(mu, () => pool.submit(() => mu.lock(cancel), { cancel }))));
        await turns(3);
        gate.close();
        await first;
        const kinds = await kindsOf();
        expect(kinds.map((cycle) => cycle.sort())).toEqual([["mutex lock", "workers submit"]]);
      },
    );

    test("a submit to a pool of 1, after another task of the pool has ended", async () => {
      const pool = new Workers(1);
      await pool.submit(() => {});
      expect(await kindsOf(() => submitAgain(pool))).toContainEqual(["workers submit"]);
    });

    test("a call that needs the lock of its caller", async () => {
      const mu = new Mutex();
      const shards = new ShardMap<string, unknown>();
      expect(await kindsOf(holding(mu, () => shards.update("k", () => mu.lock(cancel))))).toEqual([
        ["call", "mutex lock"],
      ]);
      expect(plain(dump())).toMatch(/\ncycle:\ngoroutine (\d+) is blocked by goroutine (\d+), which it has called\n/);
    });

    test("slots, if all tasks that have one want another", async () => {
      const g = new Group();
      g.setLimit(2);
      const task = async () => {
        await turn();
        await g.go(() => {}, cancel);
      };
      running.push(g.go(task), g.go(task));
      expect(await kindsOf()).toEqual([["errgroup go"], ["errgroup go"]]);
      running.push(g.wait());
    });
  });

  describe("does not name", () => {
    test("tasks that wait for one that can go on", async () => {
      const [a, b] = [new Mutex(), new Mutex()];
      const ch = new Channel<void>();
      expect(
        await kindsOf(
          holding(a, () => ch.receive(cancel)),
          holding(b, () => a.lock(cancel)),
          () => b.lock(cancel),
        ),
      ).toEqual([]);
    });

    test("tasks that wait for one that can go on, each for another of its locks", async () => {
      const locks = [new Mutex(), new Mutex(), new Mutex()];
      const ch = new Channel<void>();
      const holder = async () => {
        for (const mu of locks) await mu.lock();
        await ch.receive(cancel).finally(() => {
          for (const mu of locks) mu.unlock();
        });
      };
      const waiters = locks.map((mu) => async () => {
        await turn();
        await mu.lock(cancel);
      });
      expect(await kindsOf(holder, ...waiters)).toEqual([]);
    });

    test("a task whose holder sleeps, or waits for something foreign", async () => {
      const [a, b] = [new Mutex(), new Mutex()];
      const foreign = new Promise<void>((resolve) => cancel.addEventListener("abort", () => resolve()));
      const kinds = await kindsOf(
        holding(a, () => sleep(60_000, cancel)),
        () => a.lock(cancel),
        holding(b, () => foreign),
        () => b.lock(cancel),
      );
      expect(kinds).toEqual([]);
    });

    test("a call beside the one that holds the lock, in the same task", async () => {
      const mu = new Mutex();
      const ch = new Channel<void>();
      const foreign = new Promise<void>((resolve) => cancel.addEventListener("abort", () => resolve()));
      expect(
        await kindsOf(
          () => Promise.all([mu.withLock(() => ch.receive(cancel)), mu.withLock(() => {}, cancel)]),
          () => Promise.all([new Mutex().withLock(() => foreign), mu.withLock(() => {}, cancel)]),
        ),
      ).toEqual([]);
    });

    test("a task one of whose flows waits for something else, though another waits for the task itself", async () => {
      const mu = new Mutex();
      const ch = new Channel<void>();
      expect(await kindsOf(holding(mu, () => Promise.all([ch.receive(cancel), mu.lock(cancel)])))).toEqual([]);
    });

    test("a slot, if a task that has another can end; nor a free one", async () => {
      const g = new Group();
      g.setLimit(2);
      const ch = new Channel<void>();
      running.push(
        g.go(() => ch.receive(cancel)),
        g.go(() => g.go(() => {}, cancel)),
      );
      expect(await kindsOf()).toEqual([]);
      running.push(g.wait());
    });

    test("a task with a slot of a pool, that waits for the answer of another", async () => {
      const pool = new Workers(2);
      const ch = new Channel<void>();
      running.push(pool.submit(() => pool.submit(() => ch.receive(cancel), { cancel })));
      expect(await kindsOf()).toEqual([]);
    });

    test("a task that got its slot after a wait, and whose caller waits for the answer", async () => {
      const pool = new Workers(1);
      const ch = new Channel<void>();
      const first = pool.submit(() => ch.receive());
      running.push(
        go(() => pool.submit(() => sleep(60_000, cancel), { cancel })),
        first,
      );
      await turn();
      ch.close();
      expect(await kindsOf()).toEqual([]);
    });

    test("a task that waits for a paused pool in which nothing runs", async () => {
      const pool = new Workers(1);
      pool.pause();
      expect(await kindsOf(() => pool.submit(() => {}, { cancel }))).toEqual([]);
    });

    test("a lock that was taken, or is waited for, outside of all tasks", async () => {
      const mu = new Mutex();
      await mu.lock();
      running.push(mu.lock(cancel));
      expect(await kindsOf(() => mu.lock(cancel))).toEqual([]);
      controller.abort();
      mu.unlock();
    });

    test("a wait that a call has left behind when it ended", async () => {
      const [a, b] = [new Mutex(), new Mutex()];
      const foreign = new Promise<void>((resolve) => cancel.addEventListener("abort", () => resolve()));
      const kinds = await kindsOf(
        holding(a, async () => {
          await b.withLock(() => void running.push(a.lock(cancel)));
          await foreign;
        }),
      );
      expect(kinds).toEqual([]);
    });
  });

  test("of tens of thousands of tasks that wait in a row: none, and one when it is closed", async () => {
    const n = 5000;
    const locks = Array.from({ length: n + 1 }, () => new Mutex());
    const gate = new Channel<void>();
    const tasks = locks.slice(0, n).map((mu, i) => async () => {
      await mu.lock();
      await turn();
      if (i + 1 === n) await gate.receive();
      await (locks[(i + 1) % n] as Mutex).lock(cancel).finally(() => mu.unlock());
    });
    await kindsOf(...tasks);
    await turns(200);
    expect(cycles()).toEqual([]);
    gate.close();
    await turns(200);
    expect(cycles().map((cycle) => cycle.length)).toEqual([n]);
  });
});

describe("cycles of random programs, compared with a search of all", () => {
  test.each(seeds(60))("seed %i", async (seed) => {
    setTasks(true);
    const rnd = random(seed);
    const controller = new AbortController();
    const locks = Array.from({ length: rnd.int(2, 5) }, () => new RWMutex());
    // What the program itself knows, by the numbers of its tasks: who holds what, and who waits for what.
    const holders = new Map(locks.map((lock) => [lock, new Set<number>()]));
    const waits = new Map<number, RWMutex>();
    const running = Array.from({ length: rnd.int(2, 7) }, () => {
      const steps = Array.from(
        { length: rnd.int(1, 3) },
        () => [rnd.pick(locks), rnd.bool(0.5), rnd.int(0, 2)] as const,
      );
      return go(async () => {
        const { id } = currentTask() as Task;
        const release: (() => void)[] = [];
        try {
          for (const [lock, toRead, pause] of steps) {
            await turns(pause);
            waits.set(id, lock);
            await (toRead ? lock.rLock(controller.signal) : lock.lock(controller.signal));
            waits.delete(id);
            holders.get(lock)?.add(id);
            release.push(() => (toRead ? lock.rUnlock() : lock.unlock()));
          }
          await new Promise<void>((resolve) => controller.signal.addEventListener("abort", () => resolve()));
        } finally {
          for (const give of release) give();
        }
      });
    });
    await turns(10);
    // The greatest set of tasks of which each waits for one of the set.
    let stuck = [...waits.keys()];
    const holdersFor = (id: number) => holders.get(waits.get(id) as RWMutex) as Set<number>;
    const isStuck = (id: number) => stuck.some((other) => holdersFor(id).has(other));
    while (!stuck.every(isStuck)) stuck = stuck.filter(isStuck);
    const found = cycles();
    expect(found.length > 0).toBe(stuck.length > 0);
    for (const cycle of found) {
      for (const [i, { task, heldBy }] of cycle.entries()) {
        expect([stuck.includes(task), holdersFor(task).has(heldBy)]).toEqual([true, true]);
        expect(heldBy).toBe(cycle[(i + 1) % cycle.length]?.task);
      }
    }
    const tasks = found.flat().map(({ task }) => task);
    expect(new Set(tasks).size).toBe(tasks.length);
    controller.abort();
    await Promise.allSettled(running);
    expect(cycles()).toEqual([]);
  });
});
