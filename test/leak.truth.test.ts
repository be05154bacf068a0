/**
 * Leak checks are right: what is called proved is unreachable, totals add up, ages are real, and each leak has its own
 * stack.
 */
import { Channel } from "gopark/channel";
import {
  background,
  type CancelFunc,
  type Context,
  merge,
  withCancel,
  withDeadline,
  withTimeout,
  withValue,
} from "gopark/context";
import { counters, current, find, type Leak, LeakError, onProved, track, verifyNone } from "gopark/leak";
import { Pool } from "gopark/pool";
import { Weighted } from "gopark/semaphore";
import { now } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { child } from "./support/child.ts";
import { collectUntil } from "./support/unhandled.ts";

beforeEach(() => track("full"));
afterEach(() => track("full"));

const bg = background();
const HOUR = 3_600_000;

/** Drops something by `drop`, collects, and returns what was proved. */
async function proved(drop: () => void): Promise<Leak[]> {
  const seen: Leak[] = [];
  const stop = onProved((leak) => seen.push(leak));
  drop();
  await collectUntil(() => seen.length > 0);
  stop();
  return seen;
}

/** Of every kind together. */
function total(): number {
  return Object.values(counters()).reduce((sum, n) => sum + n, 0);
}

describe("a dropped cancel function", () => {
  /** Parents that can end what is made from them, and what ends them. */
  const parents: Record<string, () => [parent: Context | AbortSignal, end: () => unknown]> = {
    "a context": () => withCancel(bg) as never,
    "a child of a context that only carries a value": () => {
      const { ctx, cancel } = withCancel(bg);
      return [withValue(ctx, "key", 1), cancel];
    },
    "a signal": () => {
      const controller = new AbortController();
      return [controller.signal, () => controller.abort()];
    },
    "a context of others": () => {
      const { ctx, cancel } = withCancel(bg);
      const foreign: Context = {
        deadline: () => undefined,
        done: () => ctx.done(),
        err: () => ctx.err(),
        value: () => undefined,
        signal: ctx.signal,
      };
      return [foreign, cancel];
    },
  };

  /** Contexts made from them, dropped at once. */
  const children: Record<string, (parent: Context | AbortSignal) => void> = {
    withCancel: (parent) => void withCancel(parent),
    withTimeout: (parent) => void withTimeout(parent, HOUR),
    "withTimeout, kept without its cancel function": (parent) => void kept.push(withTimeout(parent, HOUR).ctx),
    "withCancel, kept without its cancel function": (parent) => void kept.push(withCancel(parent).ctx),
  };
  let kept: Context[] = [];
  let ends: (() => unknown)[] = [];
  afterEach(() => {
    kept = [];
    for (const end of ends) end(); // Again, or because the test has failed.
    ends = [];
  });

  describe.each(Object.entries(parents))("under %s", (_, make) => {
    test.each(Object.entries(children))("is not proved, but its cancel is lost: %s", async (_, drop) => {
      const [parent, end] = make();
      ends.push(end);
      const before = total();
      expect(await proved(() => drop(parent))).toEqual([]);
      // A foreign context may be watched by a wait of the library's own.
      expect(total()).toBeGreaterThan(before);
      expect(find().some(({ proved }) => proved)).toBe(false);
      const error = await verifyNone({ timeout: 20 }).then(
        () => undefined,
        (err: LeakError) => err,
      );
      expect(error?.message).toMatch(/lost cancel/i);
      expect(error?.leaks.map(({ proved }) => proved)).not.toContain(true);
      await end();
      await verifyNone();
    });
  });

  test("with a deadline is not proved: the deadline ends it", async () => {
    vi.useFakeTimers();
    const before = total();
    expect(
      await proved(() => {
        withTimeout(bg, 1000);
        withDeadline(bg, now() + 2000);
      }),
    ).toEqual([]);
    expect(total()).toBe(before + 2);
    vi.advanceTimersByTime(2000);
    expect(total()).toBe(before);
  });

  test("under a parent with a deadline is not proved", async () => {
    const parent = withTimeout(bg, HOUR);
    ends.push(parent.cancel);
    expect(await proved(() => void withCancel(parent.ctx))).toEqual([]);
    parent.cancel();
  });

  test("where nothing above can end the context is proved", async () => {
    const seen = await proved(() => void withCancel(withValue(bg, "key", 1)));
    expect(seen).toMatchObject([{ kind: "context", count: 1, proved: true }]);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow(LeakError);
  });
});

describe("a context under one that nothing can end any more is proved", () => {
  let kept: Context[] = [];
  afterEach(() => {
    kept = [];
  });

  /** Keeps a context, without its cancel function. */
  function keep(ctx: Context): Context {
    kept.push(ctx);
    return ctx;
  }

  /** Drops something, and collects until so many contexts are proved. */
  async function provesContexts(n: number, drop: () => void): Promise<void> {
    const seen: string[] = [];
    const end = onProved(({ kind }) => seen.push(kind));
    const ignore = current();
    const before = total();
    drop();
    const made = total() - before;
    await collectUntil(() => seen.length >= n);
    end();
    expect([seen.length, new Set(seen)]).toEqual([n, new Set(["context"])]);
    const kept = Math.min(n, 1000); // Of more, the oldest are not listed any more.
    expect(find({ ignore }).filter(({ proved, lostCancel }) => proved && !lostCancel)).toHaveLength(kept);
    expect(total() - before).toBe(made);
    await expect(verifyNone({ ignore, timeout: 0 })).rejects.toThrow(`found unexpected leaks: ${kept} context`);
  }

  test("with it, if both are dropped", () =>
    provesContexts(2, () => {
      withCancel(withCancel(bg).ctx);
    }));

  test("in a chain, with values in it, that is dropped", () =>
    provesContexts(100, () => {
      let { ctx } = withCancel(bg);
      for (let i = 1; i < 100; i++) ctx = withCancel(withValue(ctx, "key", i)).ctx;
    }));

  test("if the signal above is dropped too", () =>
    provesContexts(2, () => {
      withCancel(withCancel(new AbortController().signal).ctx);
    }));

  test("if both are kept, and their cancel functions dropped", () =>
    provesContexts(2, () => {
      keep(withCancel(keep(withCancel(bg).ctx)).ctx);
    }));

  test("in a chain that is kept, from its top on, of any depth", () =>
    provesContexts(20_000, () => {
      const { prepareStackTrace } = Error;
      Error.prepareStackTrace = () => "at app (/app.js:1:2)"; // Faster than the test runner's.
      let { ctx } = withCancel(bg);
      for (let i = 1; i < 20_000; i++) ctx = withCancel(ctx).ctx;
      keep(ctx);
      Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
    }));

  test("as soon as its own cancel function is dropped as well, and not before", async () => {
    const cancels: CancelFunc[] = [];
    const seen = await proved(() => {
      const { ctx, cancel } = withCancel(keep(withCancel(bg).ctx));
      keep(ctx);
      cancels.push(cancel);
    });
    expect(seen).toHaveLength(1);
    expect(await proved(() => {})).toEqual([]);
    expect(await proved(() => cancels.pop())).toMatchObject([{ kind: "context", proved: true }]);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow(LeakError);
  });

  test("though it was made later", async () => {
    await provesContexts(1, () => {
      keep(withCancel(bg).ctx);
    });
    await provesContexts(1, () => {
      withCancel(kept[0]);
    });
  });

  test("and not if it has a deadline, or another parent", async () => {
    const live = withCancel(bg);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
    const seen = await proved(() => {
      const top = keep(withCancel(bg).ctx);
      keep(withTimeout(top, HOUR).ctx);
      keep(merge(top, live.ctx).ctx);
    });
    expect(seen).toHaveLength(1);
    expect(await proved(() => {})).toEqual([]);
    expect(find().map(({ proved, lostCancel }) => [proved, lostCancel])).toEqual([
      [true, false],
      [false, false],
      [false, true],
      [false, true],
    ]);
    live.cancel();
    vi.advanceTimersByTime(HOUR);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow("found unexpected leaks: 1 context");
  });
});

describe("a proved leak", () => {
  const drops: Record<string, () => void> = {
    "a wait": () => void new Channel<number>().receive(),
    "a context": () => void withCancel(bg),
    "a permit of two units": () => void new Weighted(2).permit(bg, 2),
    "an object of a pool": () => void new Pool({ create: () => ({}), reset: () => {} }).get(),
    "a lease": () => void new Pool({ create: () => ({}), reset: () => {} }).lease(),
  };

  test.each(Object.entries(drops))("stays counted, and is reported once: %s", async (_, drop) => {
    const before = total();
    drop();
    const alive = total() - before;
    expect(alive).toBeGreaterThan(0);
    await proved(() => {});
    expect(total() - before).toBe(alive);
    await expect(verifyNone({ timeout: 20 })).rejects.toThrow(LeakError);
    await verifyNone();
    expect(total() - before).toBe(alive);
  });

  test("makes no total smaller than it is without tracking", async () => {
    const program = (level: string) => `
      leak.track("${level}");
      const bg = context.background();
      const parent = context.withCancel(bg);
      const drop = () => {
        void new Channel().receive();
        void new Channel().send(1);
        void select({ never: new Channel() });
        context.withCancel(bg);
        context.withCancel(parent.ctx);
        void new semaphore.Weighted(3).permit(bg, 3);
        new pool.Pool({ create: () => ({}), reset: () => {} }).get();
        new pool.Pool({ create: () => ({}), reset: () => {} }).lease();
        void new errgroup.Group().go(() => new Promise(() => {}));
        void go(() => new Promise(() => {}));
        void new shardmap.ShardMap().getOrLoad("a", () => new Promise(() => {}));
      };
      for (let i = 0; i < 3; i++) drop();
      await turn();
      let rounds = 0;
      await collectUntil(() => ++rounds > 10);
      console.log(Object.values(leak.counters()).reduce((sum, n) => sum + n, 0));`;
    const [full, counted] = [await child(program("full")), await child(program("counters"))];
    expect(Number(counted[0])).toBeGreaterThan(30);
    expect(full).toEqual(counted);
  });
});

describe("a snapshot", () => {
  /** Runs the lines, and prints the results of verifyNone and find while they ignore the snapshot. */
  const judged = (lines: string) =>
    child(`
      leak.track("full");
      const bg = context.background();
      let proved = 0;
      leak.onProved(() => proved++);
      ${lines}
      const said = await leak.verifyNone({ ignore: before }).then(() => "nothing", (err) => err.message.split("\\n")[0]);
      console.log(proved, found, said);`);

  test("is not reported when the collector takes it", async () => {
    const said = await judged(`
      void new Channel().receive();
      context.withCancel(bg);
      void new semaphore.Weighted(1).permit(bg);
      const before = leak.current();
      await collectUntil(() => proved === 3);
      const found = leak.find({ ignore: before }).length;`);
    expect(said).toEqual(["3 0 nothing"]);
  });

  test("is not reported when the collector took it before", async () => {
    const said = await judged(`
      void new Channel().receive();
      await collectUntil(() => proved === 1);
      const before = leak.current();
      const found = leak.find({ ignore: before }).length;`);
    expect(said).toEqual(["1 0 nothing"]);
  });

  test("hides nothing that came later, if a part of what it knew is gone", async () => {
    const sem = new Weighted(4);
    sem.tryAcquire(3);
    const before = current();
    sem.release();
    track("counters");
    sem.tryAcquire();
    expect(find({ ignore: before }).map(({ kind, count }) => [kind, count])).toEqual([["semaphore unit", 1]]);
    sem.release(3);
    track("full");
  });

  test("hides nothing that came later, collected or not", async () => {
    const said = await judged(`
      void new Channel().receive();
      const before = leak.current();
      (() => void new Channel().send(1))();
      await collectUntil(() => proved === 2);
      const kept = new Channel();
      void kept.send(2);
      const found = leak.find({ ignore: before }).reduce((sum, { count }) => sum + count, 0);`);
    expect(said).toEqual(["2 2 found unexpected leaks: 2 chan send"]);
  });
});

describe("ages are measured on the real clock", () => {
  // The host's own clock, whatever a test puts in its place.
  const realNow = performance.now.bind(performance);

  /** Leaves a wait behind under one clock, and returns its age under the other. */
  function age(make: () => void, look: () => void): [age: number, real: number] {
    make();
    const started = realNow();
    const ch = new Channel<number>();
    void ch.receive();
    look();
    const found = find().filter(({ kind }) => kind === "chan receive");
    const real = realNow() - started;
    ch.close();
    expect(found).toHaveLength(1);
    return [found[0]?.ageMs as number, real];
  }

  const clocks: Record<string, [make: () => void, look: () => void]> = {
    "made under a fake one of long ago, seen under the real": [
      () => vi.useFakeTimers({ now: 0 }),
      () => vi.useRealTimers(),
    ],
    "made under a fake one of the far future, seen under the real": [
      () => vi.useFakeTimers({ now: 4e12 }),
      () => vi.useRealTimers(),
    ],
    "made under the real, seen under a fake one of long ago": [() => {}, () => vi.useFakeTimers({ now: 0 })],
    "made under the real, seen under a fake one of the far future": [() => {}, () => vi.useFakeTimers({ now: 4e12 })],
    "made under a fake one that is advanced by an hour": [() => vi.useFakeTimers(), () => vi.advanceTimersByTime(HOUR)],
    "made and seen under the real": [() => {}, () => {}],
  };

  test.each(Object.entries(clocks))("%s", (_, [make, look]) => {
    const [measured, real] = age(make, look);
    // Both clocks are read within the same stretch of real time.
    expect(measured).toBeGreaterThanOrEqual(0);
    expect(measured).toBeLessThanOrEqual(real + 1);
  });
});

describe("nothing that is nothing is reported:", () => {
  const sem = () => new Weighted(1);

  test("a permit of no units that is not released", async () => {
    const permit = await sem().permit(bg, 0);
    expect(find()).toEqual([]);
    await verifyNone();
    permit.release();
    expect(counters()["semaphore unit"]).toBe(0);
  });

  test("one that waited for its turn", async () => {
    const full = sem();
    full.tryAcquire();
    const one = full.permit(bg);
    const none = full.permit(bg, 0);
    full.release();
    (await one).release();
    const permit = await none;
    expect(find()).toEqual([]);
    permit.release();
  });

  test("no units acquired without a permit", async () => {
    const one = sem();
    await one.acquire(bg, 0);
    expect(one.tryAcquire(0)).toBe(true);
    expect(find()).toEqual([]);
    await verifyNone();
  });

  test("a permit of no units that was dropped", async () => {
    expect(await proved(() => void sem().permit(bg, 0))).toEqual([]);
    await verifyNone();
  });
});

test("many leaks of a few lines are reported by line, with the number of each", async () => {
  const ch = new Channel<number>();
  function oneLine() {
    void ch.receive();
  }
  function anotherLine() {
    void ch.receive();
  }
  for (let i = 0; i < 40; i++) oneLine();
  for (let i = 0; i < 30; i++) anotherLine();
  const error = (await verifyNone({ timeout: 20 }).catch((err: unknown) => err)) as LeakError;
  ch.close();
  expect(error.message).toMatch(/^found unexpected leaks: 70 chan receive\n/);
  for (const [line, n] of [
    ["oneLine", 40],
    ["anotherLine", 30],
  ]) {
    expect(error.message.split(`at ${line} `).length - 1, `how often ${line} is shown`).toBe(1);
    expect(error.message).toMatch(new RegExp(`^${n} chan receive`, "m"));
  }
  expect(error.message).not.toMatch(/and \d+ more/);
  expect(error.leaks.reduce((sum, { count }) => sum + count, 0)).toBe(70);
});

test.each(["acquire", "permit"] as const)(
  "units granted after a wait show the %s that waited, not the release",
  async (how) => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    function theCaller() {
      return sem[how](background());
    }
    const granted = theCaller();
    function theReleaser() {
      sem.release();
    }
    theReleaser();
    const permit = await granted;
    const [unit, ...others] = find().filter(({ kind }) => kind === "semaphore unit");
    expect(others).toEqual([]);
    expect(unit?.stack).toContain("theCaller");
    expect(unit?.stack).not.toContain("theReleaser");
    if (permit === undefined) sem.release();
    else permit.release();
  },
);
