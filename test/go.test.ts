/** `go`: a task of its own, counted while it runs, whose error is handled by the caller or reported. */
import { AsyncLocalStorage } from "node:async_hooks";
import { Channel } from "gopark/channel";
import { background, type Context, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { counters } from "gopark/leak";
import { describe, expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const boom = new Error("boom");
const throwing = () => {
  throw boom;
};

/** How many tasks run now. */
const tasks = () => counters().task ?? 0;

describe("running", () => {
  test("the task starts after its caller's current step, and before any timer or I/O", async () => {
    const log: string[] = [];
    setImmediate(() => log.push("macrotask"));
    const task = go(() => log.push("task"));
    log.push("caller");
    await task;
    await turn();
    expect(log).toEqual(["caller", "task", "macrotask"]);
  });

  test("tasks start in the order of their go calls", async () => {
    const order: number[] = [];
    await Promise.all([0, 1, 2].map((i) => go(() => order.push(i))));
    expect(order).toEqual([0, 1, 2]);
  });

  test("its promise has the task's answer, now or later, promise or not", async () => {
    const thenable: PromiseLike<string> = { then: (resolve) => Promise.resolve("thenable").then(resolve) };
    expect(await go(() => 1)).toBe(1);
    expect(await go(async () => 2)).toBe(2);
    expect(await go(() => thenable)).toBe("thenable");
    expect(await go(() => undefined)).toBeUndefined();
  });

  test("the task runs in its caller's async context, even if others start tasks in the same turn", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const task = async () => {
      seen.push(tenant.getStore());
      await turn();
      seen.push(tenant.getStore());
    };
    await Promise.all([tenant.run("a", () => go(task)), tenant.run("b", () => go(task)), go(task)]);
    expect(seen).toEqual(["a", "b", undefined, "a", "b", undefined]);
  });
});

describe("arguments", () => {
  test("are handed to the task, in order and as they are", async () => {
    const object = {};
    const task = (...args: unknown[]) => args;
    expect(await go(task, 1, "two", undefined, null, object)).toEqual([1, "two", undefined, null, {}]);
    expect((await go(task, object))[0]).toBe(object);
    expect(await go(task)).toEqual([]);
  });

  test("are evaluated at the call, even if the variables change", async () => {
    const read = async (name: string, list: readonly number[]) => [name, ...list];
    let name = "before";
    let list = [1];
    const task = go(read, name, list);
    name = "after";
    list = [2];
    expect(await task).toEqual(["before", 1]);
    expect([name, list]).toEqual(["after", [2]]);
  });

  test("are evaluated in order, before the task begins, once", async () => {
    const log: string[] = [];
    const arg = (name: string) => {
      log.push(name);
      return name;
    };
    const task = go((a, b) => log.push(`task ${a} ${b}`), arg("a"), arg("b"));
    log.push("caller");
    await task;
    expect(log).toEqual(["a", "b", "caller", "task a b"]);
  });

  test("belong to each call of a loop, as in Go", async () => {
    const tasks: Promise<number>[] = [];
    let i = 0;
    for (; i < 3; i++) tasks.push(go((n: number) => 10 * n, i));
    expect(await Promise.all(tasks)).toEqual([0, 10, 20]);
    expect(i).toBe(3);
  });

  test("a promise among them is handed over, not awaited", async () => {
    const never = new Promise<never>(() => {});
    expect(await go((p: unknown) => p === never, never)).toBe(true);
  });

  test("a method is called without its object, as any function handed over", async () => {
    const self = await go(function (this: unknown) {
      return this;
    });
    expect(self).toBeUndefined();
  });

  test("an error of the task after them rejects the promise", async () => {
    const fails = async (err: Error) => {
      throw err;
    };
    await expect(go(fails, boom)).rejects.toBe(boom);
    await expect(go(undefined as unknown as (n: number) => void, 1)).rejects.toThrow(TypeError);
  });

  // Go's classic, line by line: `go Filter(ch, ch1, prime); ch = ch1`. A task that saw the later `ch` would read from
  // itself.
  test("the prime sieve works with one reassigned variable", async () => {
    async function generate(ctx: Context, ch: Channel<number>) {
      for (let i = 2; ; i++) await ch.send(i, ctx);
    }
    async function filter(ctx: Context, from: Channel<number>, to: Channel<number>, prime: number) {
      for await (const i of from.values(ctx)) if (i % prime !== 0) await to.send(i, ctx);
    }
    const [ctx, cancel] = withCancel(background());
    const tasks: Promise<unknown>[] = [];
    // A task that fails ends them all, and the test with them.
    const ended = (err: unknown) => cancel(err);

    const primes: number[] = [];
    let ch = new Channel<number>();
    tasks.push(go(generate, ctx, ch).catch(ended));
    while (primes.length < 10) {
      const { value } = await ch.receive(ctx);
      const prime = value as number;
      primes.push(prime);
      const ch1 = new Channel<number>();
      tasks.push(go(filter, ctx, ch, ch1, prime).catch(ended));
      ch = ch1;
    }
    cancel();
    await Promise.all(tasks);
    expect(primes).toEqual([2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
  });
});

describe("counting", () => {
  test("a task counts from the call to its end, however it ends", async () => {
    let open = () => {};
    const before = tasks();
    const waiting = go(() => new Promise<void>((resolve) => (open = resolve)));
    const failing = watch(go(throwing));
    expect(tasks()).toBe(before + 2);
    await turn();
    expect(failing.reason).toBe(boom);
    expect(tasks()).toBe(before + 1);
    open();
    await waiting;
    expect(tasks()).toBe(before);
  });
});

describe("errors", () => {
  test.each([
    ["throws", throwing],
    ["rejects", async () => throwing()],
  ])("a task that %s rejects the promise, never the caller's stack", async (_, fn) => {
    await expect(go(fn)).rejects.toBe(boom);
  });

  test("an unhandled error is reported once, like any unhandled rejection", async () => {
    const seen = await unhandledDuring(async () => {
      void go(throwing);
      await turn();
    });
    expect(seen).toEqual([boom]);
  });

  test("a handled error is not", async () => {
    const seen = await unhandledDuring(async () => {
      watch(go(throwing));
      await turn();
    });
    expect(seen).toEqual([]);
  });

  test("an argument that is not a function is a rejection with TypeError, and no task", async () => {
    const before = tasks();
    await expect(go(undefined as unknown as () => void)).rejects.toThrow(
      new TypeError("go: fn must be a function, got undefined"),
    );
    await expect(go("fn" as unknown as () => void)).rejects.toThrow(/"fn"/);
    expect(tasks()).toBe(before);
  });
});
