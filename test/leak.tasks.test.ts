/** The identity of tasks, as the leak check shows it: a task that waits for what it holds itself. */
import { background, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { find, track, verifyNone } from "gopark/leak";
import { ShardMap } from "gopark/shardmap";
import { KeyedMutex, Mutex } from "gopark/sync";
import { afterEach, expect, test } from "vitest";
import { areTasksOn } from "../src/internal/track/tasks.ts";
import { turn } from "./support/turn.ts";

afterEach(() => track("full"));

const waits = (kind: string) => find().filter((leak) => leak.kind === kind);

test("a lock that its own holder asks for is held by this same task, and the report says so", async () => {
  track("full", { tasks: true });
  const [ctx, cancel] = withCancel(background());
  const lock = new Mutex();
  const again = go(async function lockTwice() {
    await lock.lock();
    await lock.lock(ctx).catch(() => {});
    lock.unlock();
  });
  await turn();
  const other = go(() => lock.lock(ctx).catch(() => {}));
  await turn();
  expect(waits("mutex lock").map(({ heldByItself, heldAt }) => [heldByItself, heldAt?.includes("lockTwice")])).toEqual([
    [true, true],
    [false, true],
  ]);
  const error = (await verifyNone({ timeout: 0 }).catch((reason: unknown) => reason)) as Error;
  const [own, others] = error.message.split("\n\n").filter((group) => group.startsWith("1 mutex lock"));
  expect(own).toContain("\nblocked by its own task's call at\n");
  expect(others).toContain("\nblocked by the call at\n");
  cancel();
  await Promise.all([again, other]);
});

test("so is a key of a KeyedMutex, and of a ShardMap that an update updates again", async () => {
  track("full", { tasks: true });
  const [ctx, cancel] = withCancel(background());
  const locks = new KeyedMutex<string>();
  const map = new ShardMap<string, number>();
  const tasks = [
    go(() => locks.withLock("a", () => locks.lock("a", ctx).catch(() => {}))),
    // An update is a task by itself.
    map.update("a", () => map.update("a", () => 1, ctx).catch(() => 2)),
  ];
  await turn();
  for (const kind of ["keyedmutex lock", "shardmap update"]) {
    expect(waits(kind)).toMatchObject([{ heldByItself: true }]);
  }
  cancel();
  await Promise.all(tasks);
});

test("without a word from the environment, identity is off unless it is asked for, with every other call", () => {
  track("full", { tasks: true });
  expect(areTasksOn()).toBe(true);
  track("full");
  expect(areTasksOn()).toBe(false);
  track("full", { tasks: true });
  track("counters", { tasks: true });
  expect(areTasksOn()).toBe(false);
  expect(() => track("full", { tasks: 1 as never })).toThrow("track: tasks must be a boolean, got 1");
  expect(() => track("half" as never, { tasks: true })).toThrow(TypeError);
  expect(areTasksOn()).toBe(false);
});
