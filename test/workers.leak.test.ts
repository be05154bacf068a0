/** Workers under the leak check: what is counted, where it was made, and what the collector proves. */
import { background, DeadlineExceeded, withCancel, withTimeout } from "gopark/context";
import { counters, current, find, type Leak, onProved, track, verifyNone } from "gopark/leak";
import { Workers } from "gopark/workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { allRecords } from "../src/internal/track/records.ts";
import { exit, TASK } from "../src/internal/track/tracker.ts";
import { aliveSince } from "./support/alive.ts";
import { gate } from "./support/gate.ts";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const bg = background();
let before: Record<string, number>;

beforeEach(() => {
  track("full");
  before = counters();
});

afterEach(() => track("full"));

describe.each(["full", "counters"] as const)("tracking %s, it is counted", (level) => {
  beforeEach(() => track(level));

  test("a caller that was answered by its cancel is not counted again when its task fails", async () => {
    const pool = new Workers(1, { panicHandler: () => {} });
    const [ctx, cancel] = withCancel(bg);
    const end = gate();
    const submitted = watch(
      pool.submit(() => end.promise.then(() => Promise.reject(new Error("late"))), { cancel: ctx }),
    );
    await turn();
    cancel();
    await turn();
    expect([submitted.state, pool.running()]).toEqual(["rejected", 1]);
    end.open();
    await pool.idle();
    expect(aliveSince(before)).toEqual({});
  });

  test("what runs, what waits for a slot or an answer, for the end, and for the release", async () => {
    const pool = new Workers(2);
    const { signal } = new AbortController();
    const end = gate();
    const task = () => end.promise;
    const all = [pool.submit(task), pool.submit(task, { cancel: signal })];
    expect(aliveSince(before)).toEqual({ task: 2, "workers submit": 1 });
    all.push(pool.submit(task), pool.submit(task, { cancel: signal }), pool.idle());
    expect(aliveSince(before)).toEqual({ task: 2, "workers submit": 3, "workers idle": 1 });
    end.open();
    await turn();
    await Promise.all(all);
    expect(aliveSince(before)).toEqual({});

    const last = gate();
    const task2 = pool.submit(() => last.promise);
    const released = pool.release();
    expect(aliveSince(before)).toEqual({ task: 1, "workers release": 1 });
    last.open();
    await Promise.all([task2, released]);
    expect(aliveSince(before)).toEqual({});
    await verifyNone();
  });

  test("a caller whose cancel can never end, as one without", async () => {
    const pool = new Workers(1);
    const end = gate();
    const all = [1, 2].map(() => pool.submit(() => end.promise, { cancel: bg }));
    expect(aliveSince(before)).toEqual({ task: 1, "workers submit": 1 });
    end.open();
    await Promise.all(all);
    expect(aliveSince(before)).toEqual({});
  });

  test("a task whose caller has been answered, until it ends", async () => {
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    const end = gate();
    const [running, waiting] = [1, 2].map(() => watch(pool.submit(() => end.promise, { cancel: ctx })));
    await turn();
    cancel();
    expect(aliveSince(before)).toEqual({ task: 1 });
    await turn();
    expect([running?.state, waiting?.state]).toEqual(["rejected", "rejected"]);
    end.open();
    await pool.idle();
    expect(aliveSince(before)).toEqual({});
  });

  test("nothing after tasks that fail, that do not start, and a released queue", async () => {
    const pool = new Workers(1);
    const { ctx, cancel } = withCancel(bg);
    const all = [
      watch(pool.submit(() => Promise.reject(1))),
      watch(pool.submit(() => Promise.reject(1), { cancel: ctx })),
    ];
    await pool.idle();
    pool.pause();
    all.push(watch(pool.submit(() => {})), watch(pool.submit(() => {}, { cancel: ctx })));
    await pool.release();
    pool.reboot();
    pool.resume();
    all.push(watch(pool.submit(() => {}, { cancel: ctx })));
    cancel();
    await turn();
    expect(all.map((w) => w.state)).toEqual(Array(5).fill("rejected"));
    expect(aliveSince(before)).toEqual({});
  });
});

test("a report shows where a task was submitted, whether it waits or runs", async () => {
  const pool = new Workers(2);
  const { signal } = new AbortController();
  const [first, end] = [gate(), gate()];
  void pool.submit(() => first.promise);
  void pool.trySubmit(() => first.promise);
  const plain = () => pool.submit(() => end.promise);
  const cancellable = () => pool.submit(() => end.promise, { cancel: signal });
  const idler = () => pool.idle();
  const releaser = () => pool.release();
  const all = [plain(), cancellable(), idler()];
  const places = () =>
    find()
      .map(({ kind, stack }) => `${kind}: ${/plain|cancellable|idler|releaser/.exec(stack ?? "")?.[0]}`)
      .sort();
  expect(places()).toEqual([
    "task: undefined",
    "task: undefined",
    "workers idle: idler",
    "workers submit: cancellable",
    "workers submit: plain",
  ]);
  first.open();
  await turn();
  expect(places()).toEqual(["task: cancellable", "task: plain", "workers idle: idler", "workers submit: cancellable"]);
  const released = releaser();
  expect(places()).toContain("workers release: releaser");
  end.open();
  await Promise.all([...all, released]);
  await verifyNone();
});

test("tracking that is turned on or off while tasks wait and run changes no count", async () => {
  const pool = new Workers(1);
  const end = gate();
  const all = [pool.submit(() => end.promise), pool.submit(() => {})];
  track("counters");
  all.push(
    pool.submit(() => {}),
    pool.submit(() => {}, { cancel: new AbortController().signal }),
  );
  track("full");
  end.open();
  await Promise.all(all);
  expect(aliveSince(before)).toEqual({});
});

test("the error of a deadline shows the submit that it ended", async () => {
  vi.useFakeTimers();
  const pool = new Workers(1);
  using scope = withTimeout(bg, 10);
  const end = gate();
  const impatient = () => pool.submit(() => end.promise, { cancel: scope.ctx });
  const wait = watch(impatient());
  await vi.advanceTimersByTimeAsync(10);
  expect(wait.reason).toBeInstanceOf(DeadlineExceeded);
  expect((wait.reason as Error).stack).toMatch(/^TimeoutError: context deadline exceeded\n.*impatient/);
  end.open();
  await pool.idle();
});

describe("the collector proves", () => {
  async function proved(drop: () => unknown, n: number): Promise<Leak[]> {
    const seen: Leak[] = [];
    const end = onProved((leak) => seen.push(leak));
    await drop();
    await collectUntil(() => seen.length >= n);
    end();
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow("found unexpected leaks");
    return seen;
  }

  test("that a task waits for a task of its own pool, when nothing else has the pool", async () => {
    const reenter = () => {
      const pool = new Workers(1);
      pool.pause();
      return pool.submit(() => {});
    };
    const seen = await proved(() => void reenter(), 1);
    expect(seen.map(({ kind, stack }) => [kind, /reenter/.test(stack ?? "")])).toEqual([["workers submit", true]]);
  });

  test("that nothing can answer a caller whose task cannot end, though its pool is there", async () => {
    const pool = new Workers(1);
    const forgotten = () => {
      const { signal } = new AbortController();
      void pool.submit(() => new Promise(() => {}), { cancel: signal });
    };
    const ignore = current();
    const seen = await proved(async () => {
      forgotten();
      await turn();
    }, 1);
    expect(seen.map(({ kind, stack }) => [kind, /forgotten/.test(stack ?? "")])).toEqual([["workers submit", true]]);
    expect(find({ ignore }).map(({ kind }) => kind)).toEqual(["task"]);
    expect(pool.running(), "the slot is lost, and the counter says so").toBe(1);
    // Nothing can end it any more: take it out of the books, or the leak check of this test would find it.
    for (const record of allRecords()) if (record.kind === TASK) exit(TASK, record);
  });
});
