/** `go`: a task of its own, counted while it runs, whose error is somebody's or everybody's. */
import { AsyncLocalStorage } from "node:async_hooks";
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

  test("the task runs in its caller's async context, whoever else starts tasks in the same turn", async () => {
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

  test("an error that nobody handles is reported once, as any unhandled rejection", async () => {
    const seen = await unhandledDuring(async () => {
      void go(throwing);
      await turn();
    });
    expect(seen).toEqual([boom]);
  });

  test("an error that somebody handles is not", async () => {
    const seen = await unhandledDuring(async () => {
      watch(go(throwing));
      await turn();
    });
    expect(seen).toEqual([]);
  });

  test("what is no function is a rejection with TypeError, and no task", async () => {
    const before = tasks();
    await expect(go(undefined as unknown as () => void)).rejects.toThrow(TypeError);
    await expect(go("fn" as unknown as () => void)).rejects.toThrow(/"fn"/);
    expect(tasks()).toBe(before);
  });
});
