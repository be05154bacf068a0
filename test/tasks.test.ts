/** Task identity: which task a record belongs to, and what a task holds that it waits for itself. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { Group, map, scope } from "gopark/errgroup";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import * as pipeline from "gopark/pipeline";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Mutex, Once, RWMutex, WaitGroup } from "gopark/sync";
import { Workers } from "gopark/workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { allRecords, type LeakRecord } from "../src/internal/track/records.ts";
import { areTasksOn, currentTask, heldByItself, setTasks, type Task } from "../src/internal/track/tasks.ts";
import { isObserved } from "../src/internal/track/tracker.ts";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const bg = background();

beforeEach(() => setTasks(true));
afterEach(() => setTasks(false));

const recordsOf = (kind: string): LeakRecord[] => [...allRecords()].filter((record) => record.kind.name === kind);
const taskOf = (kind: string): Task | undefined => recordsOf(kind).at(-1)?.task;

/** Something that starts a function as a task, and the kind of the task's record. */
const STARTS: [name: string, kind: string, start: (fn: () => Promise<unknown>) => Promise<unknown>][] = [
  ["go", "task", (fn) => go(fn)],
  ["a group's go", "task", (fn) => inGroup((g) => g.go(fn))],
  ["a group's tryGo", "task", (fn) => inGroup((g) => g.tryGo(fn))],
  ["a WaitGroup's go", "task", (fn) => new WaitGroup().go(fn)],
  ["errgroup.map", "task", (fn) => map(bg, [1], fn, { limit: 1 })],
  ["workers", "task", (fn) => new Workers(1).submit(fn)],
  ["workers, with a cancel", "task", (fn) => withScope((cancel) => new Workers(1).submit(fn, { cancel }))],
  ["a stage", "task", (fn) => pipeline.collect(bg, pipeline.map(bg, [1], fn))],
  ["update", "shardmap updater", (fn) => new ShardMap().update(1, fn)],
  ["getOrLoad", "shardmap loader", (fn) => new ShardMap().getOrLoad(1, fn)],
  ["single flight", "singleflight work", (fn) => new Flights().do(1, fn)],
  ["a Once", "once function", (fn) => new Once().do(fn)],
];

async function inGroup(start: (group: Group) => unknown): Promise<void> {
  const group = new Group();
  await start(group);
  await group.wait();
}

async function withScope<R>(run: (ctx: ReturnType<typeof withCancel>["ctx"]) => Promise<R>): Promise<R> {
  const { ctx, cancel } = withCancel(bg);
  try {
    return await run(ctx);
  } finally {
    cancel();
  }
}

describe("a wait belongs to the task that waits", () => {
  test.each(STARTS)("in a function that %s runs", async (_, kind, start) => {
    const ch = new Channel<number>();
    const seen: (Task | undefined)[] = [];
    const running = start(async () => {
      seen.push(currentTask(), taskOf(kind));
      const first = ch.receive();
      seen.push(taskOf("chan receive"));
      await first;
      await turn();
      const second = ch.receive();
      seen.push(taskOf("chan receive"));
      await second;
      return 1;
    });
    await turn();
    ch.trySend(1);
    await turn();
    await turn();
    ch.trySend(2);
    await running;
    expect(seen[0]).toBeDefined();
    expect(new Set(seen).size).toBe(1);
  });

  test("of two calls of one function, to two tasks with numbers in the order of the calls", async () => {
    const ch = new Channel<number>();
    const tasks = [go(() => ch.receive()), go(() => ch.receive())];
    await turn();
    const [one, two] = recordsOf("chan receive").map(({ task }) => task?.id as number);
    expect(two).toBe((one as number) + 1);
    ch.close();
    await Promise.all(tasks);
  });

  test("outside of all tasks, to none", async () => {
    const ch = new Channel<number>();
    const waiting = ch.receive();
    expect([taskOf("chan receive"), currentTask()]).toEqual([undefined, undefined]);
    ch.close();
    await waiting;
  });

  test("for a slot, to the caller of go, and not to the task that has the slot", async () => {
    const gate = new Channel<void>();
    const seen: unknown[] = [];
    await scope(
      bg,
      async (g) => {
        await g.go(() => gate.receive());
        const caller = go(async () => {
          const waiting = g.go(() => seen.push(currentTask()));
          seen.push(taskOf("errgroup go") === currentTask());
          await waiting;
          seen.push(currentTask());
        });
        await turn();
        gate.close();
        await caller;
      },
      { limit: 1 },
    );
    expect(seen[0]).toBe(true);
    expect(seen[1]).toBeInstanceOf(Object);
    expect(new Set(seen).size).toBe(3); // The task is another than its caller.
  });
});

describe("a held lock belongs to the task that holds it", () => {
  const KINDS = {
    lock: async (mu: Mutex, held: () => Promise<unknown>) => {
      await mu.lock();
      await held();
      mu.unlock();
    },
    guard: async (mu: Mutex, held: () => Promise<unknown>) => {
      const guard = await mu.guard();
      await held();
      guard.unlock();
    },
    withLock: (mu: Mutex, held: () => Promise<unknown>) => mu.withLock(held),
  };

  test.each(Object.entries(KINDS))("by %s, at once or granted by another task", async (_, take) => {
    const mu = new Mutex();
    const gate = new Channel<void>();
    const seen: unknown[] = [];
    const both = [0, 1].map(() =>
      go(() =>
        take(mu, async () => {
          seen.push(currentTask(), taskOf("held lock"));
          await gate.receive();
        }),
      ),
    );
    await turn();
    gate.trySend();
    await turn();
    gate.trySend();
    await Promise.all(both);
    expect(seen[0]).toBeDefined();
    expect([seen[1], seen[3]]).toEqual([seen[0], seen[2]]);
    expect(seen[2]).not.toBe(seen[0]);
  });

  test("but units of a semaphore to none: who gives them back need not be the one who took them", async () => {
    const sem = new Weighted(1);
    await go(() => sem.acquire(bg));
    expect(recordsOf("semaphore unit").map(({ task }) => task)).toEqual([undefined]);
    sem.release();
  });

  test("granted to a wait that is not recorded, to none", async () => {
    const mu = new Mutex();
    await mu.lock();
    track("counters");
    const waiting = go(() => mu.lock());
    await turn();
    track("full");
    await go(() => mu.unlock());
    await waiting;
    expect(recordsOf("held lock").map(({ task }) => task)).toEqual([undefined]);
    mu.unlock();
  });

  test("of two readers, the one that gives it back has it no more", async () => {
    const rw = new RWMutex();
    const gates = [new Channel<void>(), new Channel<void>()];
    const readers = gates.map((gate) =>
      go(async () => {
        await rw.rLock();
        await gate.receive();
        rw.rUnlock();
      }),
    );
    await turn();
    const [first, second] = recordsOf("held lock");
    gates[1]?.close();
    await readers[1];
    expect([recordsOf("held lock"), second?.task === first?.task]).toEqual([[first], false]);
    gates[0]?.close();
    await readers[0];
  });

  test("a function under withLock is a task inside its caller's", async () => {
    const seen: (Task | undefined)[] = [];
    await go(async () => {
      seen.push(currentTask());
      await new Mutex().withLock(() => seen.push(currentTask()));
      seen.push(currentTask());
    });
    const [outer, inner, after] = seen as Task[];
    expect(after).toBe(outer);
    expect(inner).not.toBe(outer);
    expect([inner?.isWithin(outer as Task), outer?.isWithin(inner as Task)]).toEqual([true, false]);
  });
});

describe("heldByItself", () => {
  /** Whether the last wait of the kind is for what its own task holds. */
  const ownOf = (kind: string) => heldByItself(recordsOf(kind).at(-1) as LeakRecord);

  async function expectOwn(kind: string, heldKind: string, run: (cancel: AbortSignal) => Promise<unknown>) {
    const controller = new AbortController();
    const running = watch(go(() => run(controller.signal)));
    await turn();
    expect(ownOf(kind)?.kind.name).toBe(heldKind);
    controller.abort();
    await turn();
    expect(running.state).toBe("rejected");
  }

  test("a lock that is entered again, directly or inside of a call", async () => {
    const mu = new Mutex();
    await expectOwn("mutex lock", "held lock", (cancel) => mu.withLock(() => mu.lock(cancel)));
    await expectOwn("mutex lock", "held lock", async (cancel) => {
      using _ = await mu.guard();
      await new ShardMap().update(1, () => new Once().do(() => mu.lock(cancel)) as never);
    });
  });

  test("among several readers, its own hold", async () => {
    const rw = new RWMutex();
    await rw.rLock();
    await expectOwn("rwmutex lock", "held lock", async (cancel) => {
      using _ = await rw.rGuard();
      await rw.lock(cancel);
    });
    await expectOwn("rwmutex rLock", "held lock", async (cancel) => {
      using _ = await rw.rGuard();
      const writer = watch(rw.lock(cancel));
      await rw.rLock(cancel);
      await writer;
    });
    rw.rUnlock();
  });

  test("an unlock outside of all tasks gives back a hold of no task, though one of a task is older", async () => {
    const rw = new RWMutex();
    const gate = new Channel<void>();
    const reader = go(async () => {
      await rw.rLock();
      await gate.receive();
      rw.rUnlock();
    });
    await turn();
    await rw.rLock();
    const holders = () => recordsOf("held lock").map(({ task }) => task !== undefined);
    expect(holders()).toEqual([true, false]);
    rw.rUnlock();
    expect(holders()).toEqual([true]);
    gate.close();
    await reader;
    expect(holders()).toEqual([]);

    await rw.rLock();
    await go(async () => {
      await rw.rLock();
      rw.rUnlock();
    });
    expect(holders(), "and one in a task its own").toEqual([false]);
    rw.rUnlock();
  });

  test("not a lock of another task, nor one outside of all tasks", async () => {
    const mu = new Mutex();
    await mu.lock();
    const inTask = watch(go(() => mu.lock()));
    await turn();
    expect(ownOf("mutex lock")).toBeUndefined();
    const outside = watch(mu.lock());
    expect(ownOf("mutex lock")).toBeUndefined();
    for (let i = 0; i < 3; i++) {
      mu.unlock();
      await turn();
    }
    expect([inTask.state, outside.state]).toEqual(["fulfilled", "fulfilled"]);
  });

  test("not the lock of a call beside this one, in the same task", async () => {
    const mu = new Mutex();
    const gate = new Channel<void>();
    const task = go(() => Promise.all([mu.withLock(() => gate.receive()), mu.withLock(() => {})]));
    await turn();
    expect(ownOf("mutex lock")).toBeUndefined();
    gate.close();
    await task;
  });

  test("not a slot, while another task has one too", async () => {
    const gate = new Channel<void>();
    const g = new Group();
    g.setLimit(2);
    await g.go(() => gate.receive());
    await g.go(() => g.go(() => {}));
    await turn();
    expect(recordsOf("errgroup go").length).toBe(1);
    expect(ownOf("errgroup go")).toBeUndefined();
    gate.close();
    await g.wait();
  });
});

describe("what a wait is for", () => {
  test("a slot is that of a task under the limit, not one that started before there was a limit", async () => {
    const gates = [new Channel<void>(), new Channel<void>()] as const;
    const group = new Group();
    async function unlimited() {
      await group.go(() => gates[0].receive());
    }
    async function limited() {
      await group.go(() => gates[1].receive());
    }
    await unlimited();
    group.setLimit(1);
    await limited();
    const waiting = group.go(() => {});
    const holder = () => /unlimited|limited/.exec(recordsOf("errgroup go").at(-1)?.holder?.stack ?? "")?.toString();
    expect(holder()).toBe("limited");
    gates[0].close();
    await turn();
    expect(holder()).toBe("limited");
    gates[1].close();
    await waiting;
    await group.wait();
  });

  test("changes with its holder: the update that runs, the work, the task with the slot", async () => {
    setTasks(false);
    const gates = [new Channel<void>(), new Channel<void>()] as const;
    const shards = new ShardMap<string, unknown>();
    const group = new Group();
    group.setLimit(1);
    async function first() {
      await Promise.all([shards.update("k", () => gates[0].receive()), group.go(() => gates[0].receive())]);
    }
    async function second() {
      await Promise.all([shards.update("k", () => gates[1].receive()), group.go(() => gates[1].receive())]);
    }
    async function third() {
      await Promise.all([shards.update("k", () => 1), group.go(() => {})]);
    }
    const all = [first(), second(), third()];
    const heldAt = () =>
      ["shardmap update", "errgroup go"].map((kind) =>
        /first|second/.exec(recordsOf(kind).at(-1)?.holder?.stack ?? "")?.toString(),
      );
    await turn();
    expect(heldAt()).toEqual(["first", "first"]);
    gates[0].close();
    await turn();
    expect(heldAt()).toEqual(["second", "second"]);
    gates[1].close();
    await Promise.all([...all, group.wait()]);
  });

  test("is known of the first caller of a load too, and of a group's wait as long as a task runs", async () => {
    const gate = new Channel<void>();
    const shards = new ShardMap<string, unknown>();
    const group = new Group();
    const wg = new WaitGroup();
    const all = [
      shards.getOrLoad("k", () => gate.receive()),
      group.go(() => gate.receive()),
      wg.go(() => gate.receive()),
      group.wait(),
      wg.wait(),
    ];
    await turn();
    const holds = ["shardmap load", "errgroup wait", "waitgroup wait"].map((kind) => {
      return [...(recordsOf(kind)[0]?.holder?.records ?? [])].map((hold) => hold.kind.name);
    });
    expect(holds).toEqual([["shardmap loader"], ["task"], ["task"]]);
    const [loads, ends, counts] = ["shardmap load", "errgroup wait", "waitgroup wait"].map(
      (kind) => recordsOf(kind)[0]?.holder,
    );
    gate.close();
    await Promise.all(all);
    expect([loads, ends, counts].map((holder) => holder?.records.size)).toEqual([0, 0, 0]);
  });
});

describe("setTasks", () => {
  test("off: no more identities, and nothing is observed", async () => {
    expect([areTasksOn(), isObserved()]).toEqual([true, true]);
    const seen: unknown[] = [];
    const gate = new Channel<void>();
    const task = go(async () => {
      await gate.receive();
      seen.push(currentTask());
      await go(() => seen.push(currentTask()));
    });
    await turn();
    setTasks(false);
    setTasks(false);
    expect([areTasksOn(), isObserved()]).toEqual([false, false]);
    gate.close();
    await task;
    expect(seen).toEqual([undefined, undefined]);
  });

  test("on twice is on once", () => {
    setTasks(true);
    setTasks(false);
    expect(isObserved()).toBe(false);
  });

  test("where the host has no AsyncLocalStorage, an error, and nothing has changed", () => {
    setTasks(false);
    const spy = vi.spyOn(process, "getBuiltinModule").mockReturnValue(undefined as never);
    expect(() => setTasks(true)).toThrow(
      "tasks: the identity of tasks needs AsyncLocalStorage: Node from 20.16, Bun, or Deno",
    );
    expect([areTasksOn(), isObserved()]).toEqual([false, false]);
    setTasks(false);
    spy.mockRestore();
  });

  test("a task that was started without a record has no identity", async () => {
    const mu = new Mutex();
    const inside = go(async () => {
      track("counters"); // That turns identity off.
      setTasks(true);
      return [await go(() => currentTask()), await mu.withLock(() => currentTask())];
    });
    try {
      expect(await inside).toEqual([undefined, undefined]);
    } finally {
      track("full");
    }
  });

  test("on by default, as GOPARK_TRACK=tasks has it: full tracking turns it on, unless it says otherwise", async () => {
    vi.resetModules();
    const leak = await import("gopark/leak");
    const tasks = await import("../src/internal/track/tasks.ts");
    try {
      leak.track("full");
      expect([tasks.areTasksByDefault(), tasks.areTasksOn()]).toEqual([false, false]);
      tasks.setTasksByDefault();
      expect([tasks.areTasksByDefault(), tasks.areTasksOn()]).toEqual([true, true]);
      leak.track("counters");
      expect(tasks.areTasksOn()).toBe(false);
      leak.track("full");
      expect(tasks.areTasksOn()).toBe(true);
      leak.track("full", { tasks: false });
      expect(tasks.areTasksOn()).toBe(false);
    } finally {
      leak.track("counters");
      vi.resetModules();
    }
  });
});

test("a task that starts its successor, for ever, does not keep all of them", async () => {
  const shards = new ShardMap<number, unknown>();
  const gate = new Channel<void>();
  const collected: number[] = [];
  const registry = new FinalizationRegistry<number>((n) => collected.push(n));
  let last: Promise<unknown> | undefined;
  const next = (n: number): Promise<unknown> =>
    shards.update(n, () => {
      registry.register(currentTask() as Task, n);
      last = n < 20 ? next(n + 1) : gate.receive();
      return n < 20 ? n : last;
    });
  await next(0);
  for (let i = 0; i < 25; i++) await turn();
  expect(shards.size).toBe(20); // The last one still runs.
  expect(await collectUntil(() => collected.length >= 10)).toBe(true);
  gate.close();
  await last;
  await turn();
});
