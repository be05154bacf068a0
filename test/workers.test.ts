/** Workers: what runs when, what a cancel does, how a pool is paused, tuned, closed and opened again. */
import { background, Canceled, DeadlineExceeded, todo, withCancel, withTimeout } from "gopark/context";
import { track } from "gopark/leak";
import { PoolClosedError, QueueFullError, Workers } from "gopark/workers";
import { describe, expect, test, vi } from "vitest";
import { type Gate, gate } from "./support/gate.ts";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const bg = background();

/** Tasks by name, each with a gate, and the order in which they started. */
class Tasks {
  readonly started: string[] = [];
  readonly gates: Record<string, Gate<string>> = {};

  task(name: string): () => Promise<string> {
    this.gates[name] = gate<string>();
    return () => {
      this.started.push(name);
      return (this.gates[name] as Gate<string>).promise;
    };
  }

  async end(...names: string[]): Promise<void> {
    for (const name of names) {
      this.gates[name]?.open(name);
      await turn();
    }
  }
}

const state = (pool: Workers) => [pool.running(), pool.waiting(), pool.free()];

describe("submit", () => {
  test("resolves to the task's result, or rejects with its error", async () => {
    const pool = new Workers(2);
    expect(await pool.submit(() => 1)).toBe(1);
    expect(await pool.submit(async () => "two")).toBe("two");
    expect(await pool.submit(() => undefined)).toBeUndefined();
    const error = new Error("boom");
    await expect(pool.submit(() => Promise.reject(error))).rejects.toBe(error);
    expect(state(pool)).toEqual([0, 0, 2]);
  });

  test("calls the task without arguments, in a microtask", async () => {
    const pool = new Workers(1);
    const calls: unknown[][] = [];
    const submitted = pool.submit((...args: unknown[]) => calls.push(args));
    expect([calls, ...state(pool)]).toEqual([[], 1, 0, 0]);
    await submitted;
    expect(calls).toEqual([[]]);
  });

  test("runs at most `size` tasks at once, and the others in the order of their calls", async () => {
    const tasks = new Tasks();
    const pool = new Workers(2);
    const names = ["a", "b", "c", "d", "e"];
    const all = Promise.all(names.map((name) => pool.submit(tasks.task(name))));
    await turn();
    expect([tasks.started, ...state(pool)]).toEqual([["a", "b"], 2, 3, 0]);
    await tasks.end("b");
    expect(tasks.started).toEqual(["a", "b", "c"]);
    await tasks.end("a", "c", "d", "e");
    expect(tasks.started).toEqual(names);
    expect(await all).toEqual(names);
    expect(state(pool)).toEqual([0, 0, 2]);
  });

  test("counts the task as running from the grant, before it starts: nobody overtakes", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const first = pool.submit(tasks.task("a"));
    await turn();
    void pool.submit(tasks.task("b"));
    tasks.gates.a?.open("a");
    await first;
    expect(pool.trySubmit(tasks.task("c"))).toBeUndefined();
    expect(state(pool)).toEqual([1, 0, 0]);
    await turn();
    await tasks.end("b");
    expect(tasks.started).toEqual(["a", "b"]);
  });

  test("with a size of Infinity runs all", async () => {
    const tasks = new Tasks();
    const pool = new Workers(Number.POSITIVE_INFINITY, { maxWaiting: 0 });
    const names = Array.from({ length: 100 }, (_, i) => `t${i}`);
    const all = Promise.all(names.map((name) => pool.submit(tasks.task(name))));
    await turn();
    expect([tasks.started.length, ...state(pool)]).toEqual([100, 100, 0, Number.POSITIVE_INFINITY]);
    await tasks.end(...names);
    await all;
  });
});

describe("priorities", () => {
  test("higher ones start first, equal ones in the order of their calls", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const submit = (name: string, priority?: number) =>
      pool.submit(tasks.task(name), priority === undefined ? {} : { priority });
    const all = [
      submit("first", -5),
      submit("0a"),
      submit("1a", 1),
      submit("-1a", -1),
      submit("0b", -0),
      submit("1b", 1),
      submit("0.5", 0.5),
      submit("inf", Number.POSITIVE_INFINITY),
      submit("-inf", Number.NEGATIVE_INFINITY),
      submit("-1b", -1),
      submit("0c"),
    ];
    await turn();
    const order = ["first", "inf", "1a", "1b", "0.5", "0a", "0b", "0c", "-1a", "-1b", "-inf"];
    await tasks.end(...order);
    expect(tasks.started).toEqual(order);
    await Promise.all(all);
  });

  test("one that comes later goes before all lower ones that wait, and does not interrupt", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    void pool.submit(tasks.task("low"));
    void pool.submit(tasks.task("next"));
    await turn();
    void pool.submit(tasks.task("high"), { priority: 9 });
    await turn();
    expect(tasks.started).toEqual(["low"]);
    await tasks.end("low", "high", "next");
    expect(tasks.started).toEqual(["low", "high", "next"]);
  });

  test("a level that has become empty by a cancel holds nobody back, and may be used again", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    void pool.submit(tasks.task("a"));
    const cancelled = [2, 1, 2].map((priority) => watch(pool.submit(tasks.task("x"), { priority, cancel: ctx })));
    void pool.submit(tasks.task("b"), { priority: 1 });
    void pool.submit(tasks.task("c"));
    cancel();
    expect(pool.waiting()).toBe(2);
    void pool.submit(tasks.task("d"), { priority: 2 });
    await turn();
    expect(cancelled.map((w) => w.reason)).toEqual(Array(3).fill(ctx.err()));
    await tasks.end("a", "d", "b", "c");
    expect(tasks.started).toEqual(["a", "d", "b", "c"]);
  });
});

describe("a bounded queue", () => {
  test("refuses at once what finds it full, with one error and no stack", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1, { maxWaiting: 2 });
    for (const name of ["a", "b", "c"]) void pool.submit(tasks.task(name));
    const refused = [watch(pool.submit(tasks.task("d"))), watch(pool.submit(tasks.task("e"), { priority: 9 }))];
    expect(state(pool)).toEqual([1, 2, 0]);
    await turn();
    const { reason } = refused[0] as { reason: Error };
    expect(reason).toBeInstanceOf(QueueFullError);
    expect([reason.name, reason.message]).toEqual(["QueueFullError", "queue full: maxWaiting is 2"]);
    expect(reason.stack).toBe("QueueFullError: queue full: maxWaiting is 2");
    expect(refused[1]?.reason).toBe(reason);
    await tasks.end("a");
    const again = pool.submit(tasks.task("f"));
    await tasks.end("b", "c", "f");
    expect(await again).toBe("f");
    expect(tasks.started).toEqual(["a", "b", "c", "f"]);
  });

  test("a cancelled wait makes room", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1, { maxWaiting: 1 });
    const { ctx, cancel } = withCancel(bg);
    void pool.submit(tasks.task("a"));
    const gone = watch(pool.submit(tasks.task("b"), { cancel: ctx }));
    cancel();
    void pool.submit(tasks.task("c"));
    await turn();
    expect([gone.state, pool.waiting()]).toEqual(["rejected", 1]);
    await tasks.end("a", "c");
    expect(tasks.started).toEqual(["a", "c"]);
  });

  test.each([
    ["maxWaiting of 0", { maxWaiting: 0 }],
    ["nonblocking", { nonblocking: true }],
    ["nonblocking, before maxWaiting", { nonblocking: true, maxWaiting: 5 }],
  ])("with %s none waits", async (_, options) => {
    const tasks = new Tasks();
    const pool = new Workers(1, options);
    void pool.submit(tasks.task("a"));
    await expect(pool.submit(() => 1)).rejects.toThrow(QueueFullError);
    await expect(pool.submit(() => 1, { cancel: bg })).rejects.toThrow(QueueFullError);
    await tasks.end("a");
    pool.pause();
    await expect(pool.submit(() => 1)).rejects.toThrow(QueueFullError);
    pool.resume();
    expect(await pool.submit(() => 1)).toBe(1);
  });

  test("nonblocking: false says nothing", async () => {
    const pool = new Workers(1, { nonblocking: false });
    expect(await Promise.all([pool.submit(() => 1), pool.submit(() => 2)])).toEqual([1, 2]);
  });
});

describe("trySubmit", () => {
  test("runs a task if there is a slot, and otherwise returns undefined", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const submitted = pool.trySubmit(tasks.task("a"));
    expect(tasks.started, "not inside the call").toEqual([]);
    expect(pool.trySubmit(() => 1)).toBeUndefined();
    await turn();
    await tasks.end("a");
    expect(await submitted).toBe("a");
    await expect(pool.trySubmit(() => Promise.reject(new Error("boom")))).rejects.toThrow("boom");
    pool.pause();
    expect(pool.trySubmit(() => 1)).toBeUndefined();
    pool.resume();
    await pool.release();
    await expect(pool.trySubmit(() => 1)).rejects.toThrow(PoolClosedError);
    expect(tasks.started).toEqual(["a"]);
  });
});

describe("a cancel", () => {
  test.each([
    ["context", () => withCancel(bg)],
    [
      "signal",
      () => {
        const controller = new AbortController();
        return { ctx: controller.signal, cancel: () => controller.abort(new Error("mine")) };
      },
    ],
  ])("of a %s that has ended wins at the call, even if a slot is free", async (_, make) => {
    const pool = new Workers(1);
    const { ctx, cancel } = make();
    cancel();
    const reason = "aborted" in ctx ? ctx.reason : ctx.err();
    const ran = vi.fn();
    for (const wait of [() => pool.submit(ran, { cancel: ctx }), () => pool.idle(ctx)]) {
      await expect(wait()).rejects.toBe(reason);
    }
    expect([ran.mock.calls.length, ...state(pool)]).toEqual([0, 0, 0, 1]);
  });

  test("while the task waits: it leaves the queue at once and does not run", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    void pool.submit(tasks.task("a"));
    const gone = watch(pool.submit(tasks.task("b"), { cancel: ctx }));
    const next = pool.submit(tasks.task("c"), { cancel: todo() });
    await turn();
    cancel();
    expect(pool.waiting()).toBe(1);
    await turn();
    expect(gone.reason).toBe(ctx.err());
    await tasks.end("a", "c");
    expect(await next).toBe("c");
    expect(tasks.started).toEqual(["a", "c"]);
    expect(state(pool), "a wait that never had a slot gives none back").toEqual([0, 0, 1]);
  });

  test("while the task runs: the caller is answered at once, and the task keeps its slot until it has ended", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    let running = 0;
    let most = 0;
    const work = (name: string) => {
      const inner = tasks.task(name);
      return async () => {
        most = Math.max(most, ++running);
        await inner();
        running--;
      };
    };
    vi.useFakeTimers();
    const answers = Array.from({ length: 8 }, (_, i) => {
      const scope = withTimeout(bg, 10 * (i + 1));
      return watch(pool.submit(work(`t${i}`), { cancel: scope.ctx }).finally(() => scope.cancel()));
    });
    await vi.advanceTimersByTimeAsync(10);
    expect(answers.map((w) => w.state)).toEqual(["rejected", ...Array(7).fill("pending")]);
    expect(answers[0]?.reason).toBeInstanceOf(DeadlineExceeded);
    expect([tasks.started, ...state(pool)]).toEqual([["t0"], 1, 7, 0]);
    await vi.advanceTimersByTimeAsync(70);
    expect(answers.map((w) => w.state)).toEqual(Array(8).fill("rejected"));
    expect([most, ...state(pool)]).toEqual([1, 1, 0, 0]);
    await tasks.end("t0");
    expect([tasks.started, ...state(pool)]).toEqual([["t0"], 0, 0, 1]);
  });

  test("after a grant, but before the task has started: the task does not run, and its slot is free", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    const first = watch(pool.submit(tasks.task("a"), { cancel: ctx }));
    cancel();
    expect(state(pool)).toEqual([1, 0, 0]);
    await turn();
    expect([first.reason, tasks.started, ...state(pool)]).toEqual([ctx.err(), [], 0, 0, 1]);

    const again = withCancel(bg);
    pool.pause();
    const waited = watch(pool.submit(tasks.task("b"), { cancel: again.ctx }));
    const next = pool.submit(() => "c");
    pool.resume();
    again.cancel();
    expect(state(pool)).toEqual([1, 1, 0]);
    expect(await next).toBe("c");
    expect([waited.reason, tasks.started]).toEqual([again.ctx.err(), []]);
  });

  test("a deadline that is found when the task is about to start", async () => {
    vi.useFakeTimers();
    const pool = new Workers(1);
    const scope = withTimeout(bg, 10);
    const ran = vi.fn();
    const submitted = watch(pool.submit(ran, { cancel: scope.ctx }));
    vi.setSystemTime(Date.now() + 20);
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 20); // The timer has not fired.
    await turn();
    expect([submitted.reason, ran.mock.calls.length, pool.running()]).toEqual([scope.ctx.err(), 0, 0]);
    expect(scope.ctx.err()).toBeInstanceOf(DeadlineExceeded);
  });

  test("after the task has ended comes too late, and the first to end wins in one turn", async () => {
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    expect(await pool.submit(() => 7, { cancel: ctx })).toBe(7);
    const done = gate<number>();
    const submitted = watch(pool.submit(() => done.promise, { cancel: ctx }));
    await turn();
    done.open(8);
    cancel(); // Before the task's promise has been heard of.
    await turn();
    expect([submitted.state, submitted.reason]).toEqual(["rejected", ctx.err()]);
    expect(state(pool)).toEqual([0, 0, 1]);
  });

  test("of a context that is shared ends all of its waits, and what another wait holds goes on", async () => {
    const tasks = new Tasks();
    const pool = new Workers(2);
    const { ctx, cancel } = withCancel(bg);
    const names = ["a", "b", "c", "d", "e"];
    const all = names.map((name) => watch(pool.submit(tasks.task(name), name === "d" ? {} : { cancel: ctx })));
    await turn();
    cancel();
    await turn();
    expect(all.map((w) => w.state)).toEqual(["rejected", "rejected", "rejected", "pending", "rejected"]);
    expect(state(pool)).toEqual([2, 1, 0]);
    await tasks.end("a", "b", "d");
    expect(all[3]?.value).toBe("d");
  });

  test("undefined for a cancel is none", async () => {
    const pool = new Workers(1);
    expect(await pool.submit(() => 1, { cancel: undefined })).toBe(1);
    await pool.idle(undefined);
    await pool.release(undefined);
  });
});

describe("pause and resume", () => {
  test("what runs goes on, what is submitted waits", async () => {
    const tasks = new Tasks();
    const pool = new Workers(2);
    const running = pool.submit(tasks.task("a"));
    pool.pause();
    pool.pause();
    const waiting = [pool.submit(tasks.task("b")), pool.submit(tasks.task("c")), pool.submit(tasks.task("d"))];
    await turn();
    expect([tasks.started, ...state(pool)]).toEqual([["a"], 1, 3, 1]);
    await tasks.end("a");
    expect(await running).toBe("a");
    expect([tasks.started, ...state(pool)]).toEqual([["a"], 0, 3, 2]);
    pool.resume();
    pool.resume();
    await turn();
    expect([tasks.started, ...state(pool)]).toEqual([["a", "b", "c"], 2, 1, 0]);
    await tasks.end("b", "c", "d");
    expect(await Promise.all(waiting)).toEqual(["b", "c", "d"]);
  });
});

test.each([
  ["with a cancel", { cancel: new AbortController().signal }],
  ["without one", {}],
])("one call that starts more tasks than a turn's budget has starts all, in order: %s", async (_, options) => {
  track("counters");
  const pool = new Workers(Number.POSITIVE_INFINITY);
  pool.pause();
  const started: number[] = [];
  const all = Array.from({ length: 2_000 }, (_, i) => pool.submit(() => started.push(i), options));
  pool.resume();
  await turn();
  expect(started.length, "the event loop has its turn").toBeLessThan(2_000);
  expect(pool.running() + started.length).toBeGreaterThanOrEqual(2_000);
  await Promise.all(all);
  expect(started.every((task, i) => task === i)).toBe(true);
  expect(state(pool)).toEqual([0, 0, Number.POSITIVE_INFINITY]);
  track("full");
});

describe("tune", () => {
  test("up: waiting tasks start, as many as there are new slots", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    for (const name of ["a", "b", "c", "d"]) void pool.submit(tasks.task(name));
    pool.tune(3);
    await turn();
    expect([tasks.started, ...state(pool)]).toEqual([["a", "b", "c"], 3, 1, 0]);
    await tasks.end("a", "b", "c", "d");
  });

  test("down: nothing is taken back, free is negative, and none starts until fewer run", async () => {
    const tasks = new Tasks();
    const pool = new Workers(3);
    for (const name of ["a", "b", "c", "d"]) void pool.submit(tasks.task(name));
    await turn();
    pool.tune(1);
    expect(state(pool)).toEqual([3, 1, -2]);
    await tasks.end("a", "b");
    expect([tasks.started, ...state(pool)]).toEqual([["a", "b", "c"], 1, 1, 0]);
    expect(pool.trySubmit(() => 1)).toBeUndefined();
    await tasks.end("c");
    expect(tasks.started).toEqual(["a", "b", "c", "d"]);
    await tasks.end("d");
    expect(state(pool)).toEqual([0, 0, 1]);
  });

  test("to 0, less, or the same does nothing, nor does one of a pool without a limit", () => {
    const pool = new Workers(2);
    for (const n of [0, -1, 2]) pool.tune(n);
    expect(pool.free()).toBe(2);
    const unlimited = new Workers(Number.POSITIVE_INFINITY);
    unlimited.tune(3);
    expect(unlimited.free()).toBe(Number.POSITIVE_INFINITY);
  });

  test("while paused starts none, while closed is kept", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    pool.pause();
    const waiting = pool.submit(tasks.task("a"));
    pool.tune(4);
    expect(state(pool)).toEqual([0, 1, 4]);
    pool.resume();
    await turn();
    await tasks.end("a");
    await waiting;
    await pool.release();
    pool.tune(5);
    pool.reboot();
    expect(pool.free()).toBe(5);
  });
});

describe("idle", () => {
  test("resolves when no task runs and none waits", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    await pool.idle();
    for (const name of ["a", "b"]) void pool.submit(tasks.task(name));
    const idle = [watch(pool.idle()), watch(pool.idle(bg))];
    await turn();
    await tasks.end("a");
    expect(idle.map((w) => w.state)).toEqual(["pending", "pending"]);
    await tasks.end("b");
    expect(idle.map((w) => w.state)).toEqual(["fulfilled", "fulfilled"]);
  });

  test("waits for a task whose caller has been answered", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    const gone = watch(pool.submit(tasks.task("a"), { cancel: ctx }));
    await turn();
    cancel();
    const idle = watch(pool.idle());
    await turn();
    expect([gone.state, idle.state]).toEqual(["rejected", "pending"]);
    await tasks.end("a");
    expect(idle.state).toBe("fulfilled");
  });

  test("in a paused pool, waits for what waits: until it is resumed, cancelled or released", async () => {
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    pool.pause();
    const first = pool.submit(() => 1);
    const second = watch(pool.submit(() => 2, { cancel: ctx }));
    const idle = watch(pool.idle());
    await turn();
    expect(idle.state).toBe("pending");
    pool.resume();
    expect(await first).toBe(1);
    await turn();
    expect([idle.state, second.value]).toEqual(["fulfilled", 2]);

    pool.pause();
    const third = watch(pool.submit(() => 3, { cancel: ctx }));
    const again = watch(pool.idle());
    cancel();
    await turn();
    expect([third.state, again.state]).toEqual(["rejected", "fulfilled"]);

    const fourth = watch(pool.submit(() => 4));
    const last = watch(pool.idle());
    const released = watch(pool.release());
    await turn();
    expect([fourth.state, last.state, released.state]).toEqual(["rejected", "fulfilled", "fulfilled"]);
  });

  test("rejects when its own cancel ends, also by the end that cancels the last task that waits", async () => {
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    pool.pause();
    const submitted = watch(pool.submit(() => 1, { cancel: ctx }));
    const [mine, other] = [watch(pool.idle(ctx)), watch(pool.idle())];
    cancel();
    await turn();
    expect([submitted, mine, other].map((w) => w.state)).toEqual(["rejected", "rejected", "fulfilled"]);
    expect(mine.reason).toBe(ctx.err());
  });
});

describe("release and reboot", () => {
  test("drops what waits with PoolClosedError, and waits for what runs", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    const running = watch(pool.submit(tasks.task("a")));
    const waiting = [
      watch(pool.submit(tasks.task("b"))),
      watch(pool.submit(tasks.task("c"), { cancel: ctx, priority: 1 })),
    ];
    await turn();
    const released = [watch(pool.release()), watch(pool.release())];
    expect(state(pool)).toEqual([1, 0, 0]);
    await turn();
    for (const { reason } of waiting) {
      expect(reason).toBeInstanceOf(PoolClosedError);
      expect([(reason as Error).name, (reason as Error).message]).toEqual(["PoolClosedError", "pool closed"]);
      expect((reason as Error).stack).toBe("PoolClosedError: pool closed");
    }
    await expect(pool.submit(() => 1)).rejects.toThrow(PoolClosedError);
    expect(released.map((w) => w.state)).toEqual(["pending", "pending"]);
    await tasks.end("a");
    expect([running.value, ...released.map((w) => w.state)]).toEqual(["a", "fulfilled", "fulfilled"]);
    expect(tasks.started).toEqual(["a"]);
    cancel();
  });

  test("a cancel ends the waiting; the pool is closed all the same, even by one that has ended before", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    const running = pool.submit(tasks.task("a"));
    const released = watch(pool.release(ctx));
    await turn();
    cancel();
    await turn();
    expect(released.reason).toBe(ctx.err());
    await expect(pool.submit(() => 1)).rejects.toThrow(PoolClosedError);
    pool.reboot();
    const waiting = watch(pool.submit(tasks.task("b")));
    await expect(pool.release(ctx)).rejects.toThrow(Canceled);
    await turn();
    expect([(waiting.reason as Error).message, pool.running()]).toEqual(["pool closed", 1]);
    await tasks.end("a");
    await running;
  });

  test("a done context goes before a closed pool, and a closed pool before a full queue", async () => {
    const pool = new Workers(1, { maxWaiting: 0 });
    const { ctx, cancel } = withCancel(bg);
    cancel();
    await pool.release();
    await expect(pool.submit(() => 1, { cancel: ctx })).rejects.toBe(ctx.err());
    await expect(pool.submit(() => 1)).rejects.toThrow(PoolClosedError);
  });

  test("reboot opens it again; tasks from before hold their slots until they end", async () => {
    const tasks = new Tasks();
    const pool = new Workers(1);
    pool.reboot(); // Nothing to do.
    void pool.submit(tasks.task("old"));
    await turn();
    const released = watch(pool.release());
    pool.reboot();
    pool.reboot();
    const next = pool.submit(tasks.task("new"));
    await turn();
    expect([tasks.started, ...state(pool)]).toEqual([["old"], 1, 1, 0]);
    await tasks.end("old");
    expect([tasks.started, released.state]).toEqual([["old", "new"], "pending"]);
    await tasks.end("new");
    expect([await next, released.state]).toEqual(["new", "fulfilled"]);
  });

  test("of a paused pool: it is closed, and still paused after a reboot", async () => {
    const pool = new Workers(1);
    pool.pause();
    const waiting = watch(pool.submit(() => 1));
    await pool.release();
    await turn();
    expect(waiting.reason).toBeInstanceOf(PoolClosedError);
    pool.reboot();
    const next = watch(pool.submit(() => 2));
    await turn();
    expect([next.state, ...state(pool)]).toEqual(["pending", 0, 1, 1]);
    pool.resume();
    await turn();
    expect(next.value).toBe(2);
  });

  test("each release has its own error", async () => {
    const pool = new Workers(1);
    await pool.release();
    const first = watch(pool.submit(() => 1));
    pool.reboot();
    await pool.release();
    const second = watch(pool.submit(() => 1));
    await turn();
    expect(first.reason).not.toBe(second.reason);
  });
});

describe("a panic handler", () => {
  test("gets each task's error, and the rejection counts as handled", async () => {
    const errors: unknown[] = [];
    const seen = await unhandledDuring(async () => {
      const pool = new Workers(1, { panicHandler: (error) => errors.push([error, pool.running(), pool.waiting()]) });
      const { ctx, cancel } = withCancel(bg);
      void pool.submit(() => Promise.reject(1));
      void pool.submit(() => Promise.reject(2));
      void pool.submit(() => Promise.reject(3), { cancel: ctx });
      void pool.trySubmit(() => Promise.reject(0));
      await turns(2);
      await pool.idle();
      await expect(pool.submit(() => Promise.reject(4))).rejects.toBe(4);
      cancel();
    });
    expect(seen).toEqual([]);
    expect(errors, "after the slot has been given back").toEqual([
      [1, 1, 1],
      [2, 1, 0],
      [3, 0, 0],
      [4, 0, 0],
    ]);
  });

  test("gets no other error: a full queue, a closed pool and a cancel stay unhandled", async () => {
    const handler = vi.fn();
    const tasks = new Tasks();
    const pool = new Workers(1, { maxWaiting: 2, panicHandler: handler });
    const { ctx, cancel } = withCancel(bg);
    const seen = await unhandledDuring(async () => {
      void pool.submit(tasks.task("a"), { cancel: ctx });
      void pool.submit(tasks.task("b"), { cancel: ctx });
      void pool.submit(tasks.task("c"));
      void pool.submit(tasks.task("d"));
      await turn();
      cancel();
      const released = pool.release();
      await tasks.end("a");
      await released;
    });
    expect(seen.map((error) => (error as Error).name).sort()).toEqual([
      "AbortError",
      "AbortError",
      "PoolClosedError",
      "QueueFullError",
    ]);
    expect(handler).not.toHaveBeenCalled();
  });

  test("gets the error of a task whose caller has been answered; without one that error is dropped", async () => {
    const handler = vi.fn();
    const seen = await unhandledDuring(async () => {
      for (const pool of [new Workers(1, { panicHandler: handler }), new Workers(1)]) {
        const late = gate();
        const { ctx, cancel } = withCancel(bg);
        const submitted = watch(pool.submit(() => late.promise, { cancel: ctx }));
        await turn();
        cancel();
        await turn();
        expect(submitted.reason).toBe(ctx.err());
        late.fail(new Error("late"));
        await pool.idle();
      }
    });
    expect([seen, handler.mock.calls.map(([error]) => String(error))]).toEqual([[], ["Error: late"]]);
  });

  test("without one, an error that nobody awaits is an unhandled rejection", async () => {
    const error = new Error("lost");
    const pool = new Workers(1);
    const seen = await unhandledDuring(async () => {
      void pool.submit(() => Promise.reject(error));
      void pool.submit(() => Promise.reject(error), { cancel: new AbortController().signal });
      await pool.idle();
    });
    expect(seen).toEqual([error, error]);
  });
});

test("20 000 waiting tasks, in as many priorities or in one, start in order; as many that are cancelled leave", async () => {
  track("counters");
  for (const spread of [1, 0]) {
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    pool.pause();
    const n = 20_000;
    const started: number[] = [];
    const all = Array.from({ length: n }, (_, i) => pool.submit(() => started.push(i), { priority: -i * spread }));
    const gone = Array.from({ length: n }, (_, i) => pool.submit(() => {}, { cancel: ctx, priority: i * spread }));
    const settled = Promise.allSettled(gone);
    cancel();
    expect(pool.waiting()).toBe(n);
    expect((await settled).every(({ status }) => status === "rejected")).toBe(true);
    pool.resume();
    await Promise.all(all);
    expect(started.every((task, i) => task === i)).toBe(true);
  }
  track("full");
});
