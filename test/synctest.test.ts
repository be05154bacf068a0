/** Bubbles: virtual time, what is virtual in it and for how long, `wait`, and what a bubble leaves behind. */
import { AsyncLocalStorage } from "node:async_hooks";
import { promisify } from "node:util";
import { Channel } from "gopark/channel";
import { afterFunc, background, DeadlineExceeded, withCancel, withTimeout } from "gopark/context";
import { go } from "gopark/go";
import { counters, track } from "gopark/leak";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { test as bubble, DeadlockError, wait } from "gopark/synctest";
import * as time from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { alarms } from "../src/internal/time/timers.ts";
import { reportsDue } from "./support/reported.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const START = Date.UTC(2000, 0, 1);
const HOUR = 3_600_000;
const bg = background();
const GLOBALS = ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] as const;

/** The globals that a bubble replaces, with their descriptors. */
const globals = () => [
  ...GLOBALS.map((name) => Object.getOwnPropertyDescriptor(globalThis, name)),
  ...["now", "timeOrigin"].map((name) => Object.getOwnPropertyDescriptor(performance, name)),
  Object.getOwnPropertyDescriptor(Math, "random"),
];
const before = globals();

afterEach(() => {
  track("full");
  expect(globals(), "the host's globals, after the bubbles").toEqual(before);
});

const sleepTimer = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

describe("the clock of a bubble", () => {
  test("begins at midnight UTC of 2000-01-01, each time, and stands still while code runs", async () => {
    for (const seed of [undefined, 7]) {
      await bubble(
        async () => {
          expect([Date.now(), time.now(), performance.now(), performance.timeOrigin]).toEqual([START, START, 0, START]);
          for (let i = 0; i < 1000; i++) await go(() => i);
          await turns(5);
          expect([Date.now(), time.now(), performance.now()]).toEqual([START, START, 0]);
          expect(new Date().toISOString()).toBe("2000-01-01T00:00:00.000Z");
        },
        seed === undefined ? undefined : { seed },
      );
    }
  });

  test("goes to the instant of the next timer exactly, whoever set it, in their order", async () => {
    const seen: [string, number][] = [];
    const note = (what: string) => seen.push([what, time.now() - START]);
    await bubble(async () => {
      const [ctx, cancel] = withTimeout(bg, 0.25);
      await Promise.all([
        go(() => time.sleep(HOUR)).then(() => note("hour")),
        go(() => time.sleep(0.5)).then(() => note("half a millisecond")),
        go(() => sleepTimer(2)).then(() => note("setTimeout")),
        go(() => select({ late: time.after(1.75) })).then(() => note("after")),
        go(() => time.sleep(10, ctx)).catch((err) => note(err.message)),
        go(() => new Limiter(1, 1).wait(bg, 1).then(() => note("limiter"))),
      ]);
      cancel();
      note("end");
    });
    expect(seen).toEqual([
      ["limiter", 0],
      ["context deadline exceeded", 0.25],
      ["half a millisecond", 0.5],
      ["after", 1.75],
      ["setTimeout", 2],
      ["hour", HOUR],
      ["end", HOUR],
    ]);
  });

  test("goes as far as needed: a sleep of a thousand years, a thousand sleeps of an hour", async () => {
    const years = 1000 * 365 * 24 * HOUR + 0.125;
    const elapsed = await bubble(async () => {
      await time.sleep(years);
      for (let i = 0; i < 1000; i++) await time.sleep(HOUR);
      return [time.now() - START, performance.now(), new Date().getUTCFullYear()];
    });
    expect(elapsed).toEqual([years + 1000 * HOUR, years + 1000 * HOUR, 2999]);
  });

  test("timers of one instant fire in the order in which they were set, with the microtasks of each in between", async () => {
    const seen: string[] = [];
    await bubble(async () => {
      for (const name of ["a", "b"]) {
        setTimeout(() => {
          seen.push(name);
          queueMicrotask(() => seen.push(`${name} then`));
        }, 5);
        void time.sleep(5).then(() => seen.push(`sleep ${name}`));
      }
      await time.sleep(6);
    });
    expect(seen).toEqual(["sleep a", "sleep b", "a", "a then", "b", "b then"]);
  });

  test("a ticker and an interval tick on their grid", async () => {
    const ticks: number[] = [];
    const rings: number[] = [];
    await bubble(async () => {
      using ticker = new time.Ticker(100);
      const interval = setInterval(() => rings.push(performance.now()), 250);
      for (let i = 0; i < 5; i++) ticks.push(((await ticker.c.receive()).value as number) - START);
      await time.sleep(300);
      clearInterval(interval);
      await time.sleep(1000);
    });
    expect(ticks).toEqual([100, 200, 300, 400, 500]);
    expect(rings).toEqual([250, 500, 750]);
  });
});

describe("setTimeout and setInterval in a bubble", () => {
  test("pass their arguments, run in the async context of the call, and take what Node takes as 1 ms", async () => {
    const store = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    await bubble(async () => {
      store.run("mine", () => setTimeout((...args: unknown[]) => seen.push(store.getStore(), ...args), 3, "a", 2));
      store.run("other", () => {
        const interval = setInterval(() => {
          seen.push(store.getStore());
          if (seen.length > 4) clearInterval(interval);
        }, 4);
      });
      await time.sleep(100);
      for (const ms of [0, -1, Number.NaN, undefined, 2 ** 31, "x" as never]) {
        const t = performance.now();
        await new Promise<void>((resolve) => setTimeout(resolve, ms));
        expect(performance.now() - t, String(ms)).toBe(1);
      }
      const t = performance.now();
      await new Promise<void>((resolve) => setTimeout(resolve, 2 ** 31 - 1));
      expect(performance.now() - t).toBe(2 ** 31 - 1);
      expect(() => setTimeout("code" as never, 1)).toThrow(
        new TypeError('setTimeout: callback must be a function, got "code"'),
      );
    });
    expect(seen).toEqual(["mine", "a", 2, "other", "other"]);
  });

  test("return a Timeout: refresh, close, ref, unref, hasRef, a number, `using`", async () => {
    const fired: [string, number][] = [];
    const note = (name: string) => () => fired.push([name, performance.now()]);
    await bubble(async () => {
      const refreshed = setTimeout(note("refreshed"), 10);
      const closed = setTimeout(note("closed"), 10);
      const byNumber = setTimeout(note("by number"), 10);
      const again = setTimeout(note("again"), 10);
      const number = Number(byNumber);
      {
        using _used = setTimeout(note("used"), 10);
      }
      expect([refreshed.hasRef(), refreshed.unref().hasRef(), refreshed.ref().hasRef()]).toEqual([true, false, true]);
      expect(Number(byNumber)).toBe(number);
      await time.sleep(5);
      refreshed.refresh();
      closed.close();
      clearTimeout(number);
      clearTimeout(number);
      await time.sleep(20);
      again.refresh(); // After it has fired.
      await time.sleep(20);
    });
    expect(fired).toEqual([
      ["again", 10],
      ["refreshed", 15],
      ["again", 35],
    ]);
  });

  test("one that is cleared by another of the same instant does not run; an interval may clear itself", async () => {
    const ran: string[] = [];
    await bubble(async () => {
      setTimeout(() => {
        ran.push("first");
        clearTimeout(second);
        third.refresh();
      }, 10);
      const second = setTimeout(() => ran.push("second"), 10);
      const third = setTimeout(() => ran.push(`third at ${performance.now()}`), 10);
      const interval = setInterval(() => {
        ran.push("interval");
        clearInterval(interval);
      }, 10);
      await time.sleep(100);
    });
    expect(ran).toEqual(["first", "interval", "third at 20"]);
  });

  test("clear the host's own timers too, and ignore what is no timer", async () => {
    const real = setTimeout(() => expect.unreachable(), 1);
    await bubble(() => {
      clearTimeout(real);
      for (const odd of [undefined, null, 3, "x", {}, Symbol.iterator]) clearTimeout(odd as never);
    });
    await reportsDue();
  });

  test("are promisified as Node's is", async () => {
    expect(await bubble(async () => [await promisify(setTimeout)(30, "value"), performance.now()])).toEqual([
      "value",
      30,
    ]);
  });

  test("an error that a callback throws ends the bubble, which rejects with it", async () => {
    const boom = new Error("boom");
    const ch = new Channel<void>();
    const waiting = bubble(async () => {
      setTimeout(() => {
        throw boom;
      }, 10);
      await ch.receive();
    });
    await expect(waiting).rejects.toBe(boom);
    ch.close();
    expect(await bubble(() => 1)).toBe(1);
  });
});

describe("Date in a bubble", () => {
  test("is the host's, but for now", async () => {
    const outside = new Date(5);
    await bubble(async () => {
      await time.sleep(1.5);
      class Mine extends Date {}
      expect([Date.now(), Number(new Date(new Date().toISOString())), new Mine().getTime(), +new Mine(7)]).toEqual([
        START + 1,
        START + 1,
        START + 1,
        7,
      ]);
      expect([new Mine() instanceof Mine, new Mine() instanceof Date, new Date() instanceof Date]).toEqual([
        true,
        true,
        true,
      ]);
      expect([outside instanceof Date, Date.name, Date.UTC(1970, 0, 2), Date.parse("1970-01-02T00:00:00Z")]).toEqual([
        true,
        "Date",
        86_400_000,
        86_400_000,
      ]);
      expect([outside.constructor === Date, new Date().constructor === Date]).toEqual([true, true]);
      expect(Date()).toBe(new Date(START + 1).toString());
      expect(new Date(2001, 1).getMonth()).toBe(1);
      expect(new Date(Number.NaN).getTime()).toBeNaN();
    });
    expect(outside.constructor).toBe(Date);
  });
});

describe("a bubble ends", () => {
  test("with what the function returns, once it and all tasks have ended", async () => {
    const ended: string[] = [];
    const result = await bubble(async () => {
      const ch = new Channel<number>();
      void go(async () => {
        for await (const n of ch) ended.push(`got ${n}`);
        await turns(3);
        ended.push("task");
      });
      await ch.send(1);
      ch.close();
      return "result";
    });
    ended.push("bubble");
    expect([result, ended]).toEqual(["result", ["got 1", "task", "bubble"]]);
    expect(await bubble(() => 5)).toBe(5);
    expect(await bubble(() => ({ then: (resolve: (n: number) => void) => resolve(6) }) as PromiseLike<number>)).toBe(6);
  });

  test("when a task has ended whose function returned something odd, as it would outside", async () => {
    const odd = {
      promise: () => Object.assign(Promise.resolve(1), { then: () => expect.unreachable() }),
      thenable: () => ({ then: (resolve: (n: number) => void) => [1, 2].forEach(resolve) }),
      throwing: () => ({
        then() {
          throw new Error("then throws");
        },
      }),
      getter: () => ({
        get then() {
          throw new Error("no then");
        },
      }),
      thrown: () => {
        throw new Error("thrown");
      },
    };
    const results = Object.values(odd).map((fn) => () => Promise.resolve(go(fn as () => unknown)).catch(String));
    const seen = await bubble(() => Promise.all(results.map((result) => result())));
    expect(seen).toEqual([1, 1, "Error: then throws", "Error: no then", "Error: thrown"]);
    expect(await Promise.all(results.map((result) => result()))).toEqual(seen);
  });

  test("with the function's error, whatever other tasks do then", async () => {
    const boom = new Error("boom");
    const ch = new Channel<void>();
    const throwing = bubble(() => {
      void go(() => ch.receive());
      throw boom;
    });
    await expect(throwing).rejects.toBe(boom);
    await expect(bubble(() => Promise.reject(boom))).rejects.toBe(boom);
    await expect(bubble(() => go(() => Promise.reject(boom)))).rejects.toBe(boom);
    await expect(bubble(() => Promise.reject(undefined))).rejects.toBeUndefined();
    await expect(bubble(function* () {} as never)).rejects.toThrow(
      new TypeError("test: fn must not be a generator function"),
    );
    ch.close();
  });

  test("with an error if tasks are blocked when the function has ended: time stands still then", async () => {
    let woke = false;
    const [ctx, cancel] = withCancel(bg);
    const left = bubble(() => {
      void go(async () => {
        await time.sleep(1000, ctx);
        woke = true;
      }).catch(() => {});
    });
    await expect(left).rejects.toThrow(
      /^deadlock: main bubble goroutine has exited but blocked goroutines remain\n\n1 sleep, for 0 ms, made at\n.*synctest\.test\.ts/,
    );
    await expect(left).rejects.toBeInstanceOf(DeadlockError);
    cancel();
    await turn();
    expect(woke).toBe(false);
    let end = () => {};
    const timerLeft = bubble(() => {
      void go(() => {
        setTimeout(() => {}, 5);
        return new Promise<void>((resolve) => {
          end = resolve;
        });
      });
    });
    await expect(timerLeft).rejects.toThrow(/remain\n\n1 task that waits for a timer, made at\n.*synctest\.test\.ts/);
    end();
  });

  test("and timers that are still set never fire, though they can still be stopped", async () => {
    const fired: string[] = [];
    const baseline = [...alarms()].length;
    let stop = () => {};
    await bubble(() => {
      setTimeout(() => fired.push("setTimeout"), 10);
      setInterval(() => fired.push("setInterval"), 10);
      const fn = time.afterFunc(10, () => fired.push("afterFunc"));
      const ticker = new time.Ticker(10);
      const [ctx, cancel] = withTimeout(bg, 10);
      afterFunc(ctx, () => fired.push("context"));
      stop = () => {
        expect(fn.stop()).toBe(true);
        expect(fn.stop()).toBe(false);
        ticker.stop();
        cancel();
      };
    });
    await bubble(() => time.sleep(HOUR)); // Neither there,
    await time.sleep(1); // nor here.
    await reportsDue();
    expect(fired).toEqual([]);
    expect([...alarms()].length).toBe(baseline);
    expect([counters().timer, counters().ticker, counters().context]).toEqual([1, 1, 1]);
    stop();
    await turn();
    expect([counters().timer, counters().ticker, counters().context]).toEqual([0, 0, 0]);
    expect(fired).toEqual(["context"]);
  });

  test("and its functions, where they were kept, do what the host's do", async () => {
    const kept = await bubble(() => ({
      setTimeout,
      clearTimeout,
      Date,
      now: performance.now,
      timer: setTimeout(() => {}, 5),
    }));
    expect(await new Promise((resolve) => kept.setTimeout(resolve, 1, "real"))).toBe("real");
    expect(kept.Date.now()).toBeGreaterThan(START + HOUR * 24 * 365 * 20);
    expect(new kept.Date().getFullYear()).toBeGreaterThan(2020);
    const t = performance.now();
    expect(kept.now()).toBeGreaterThanOrEqual(t);
    kept.clearTimeout(kept.setTimeout(() => expect.unreachable(), 1));
    const armed = [...alarms()].length;
    kept.timer.refresh();
    expect([...alarms()].length).toBe(armed);
    kept.clearTimeout(kept.timer);
    await reportsDue();
  });
});

describe("timers of the program outside", () => {
  test("do not fire in a bubble, and do after it; they can be ended from inside", async () => {
    vi.useFakeTimers({ now: Date.UTC(2020, 0, 1) });
    const [ctx, cancel] = withTimeout(bg, 5);
    const cancelled = watch(time.sleep(HOUR, ctx));
    const stopped = new time.Timer(HOUR);
    const due = watch(time.sleep(2));
    const inside = await bubble(async () => {
      expect(ctx.err()).toBeUndefined();
      await time.sleep(100 * 365 * 24 * HOUR);
      expect(stopped.stop()).toBe(true);
      return [cancelled.state, due.state, Date.now() - START];
    });
    expect(inside).toEqual(["pending", "pending", 100 * 365 * 24 * HOUR]);
    expect([Date.now(), vi.getTimerCount(), counters().timer]).toEqual([Date.UTC(2020, 0, 1), 1, 0]);
    await vi.advanceTimersByTimeAsync(2);
    expect([due.state, cancelled.state]).toEqual(["fulfilled", "pending"]);
    await vi.advanceTimersByTimeAsync(3);
    expect(cancelled.reason).toBeInstanceOf(DeadlineExceeded);
    cancel();
    vi.useRealTimers();
  });

  test("are armed again on the host's own after it", async () => {
    const due = time.sleep(30);
    expect(await bubble(() => time.sleep(HOUR).then(() => Date.now()))).toBe(START + HOUR);
    await due;
  });
});

describe("fakes inside a bubble", () => {
  test("are an error if they are not put back, and the host's globals are", async () => {
    const forgot = bubble(() => {
      globalThis.setTimeout = (() => 0) as never;
      Math.random = () => 0; // Not the bubble's without a seed.
    });
    await expect(forgot).rejects.toThrow(
      new Error("synctest: replaced inside the bubble, and not put back: setTimeout"),
    );
    Object.defineProperty(Math, "random", before.at(-1) as PropertyDescriptor);
    expect(await bubble(() => vi.useFakeTimers() && vi.useRealTimers() && 1)).toBe(1);
  });
});

describe("wait", () => {
  test("resolves when all other tasks are blocked; time does not pass, and what they did is seen", async () => {
    await bubble(async () => {
      const ch = new Channel<number>();
      const got: number[] = [];
      const [ctx, cancel] = withCancel(bg);
      const tasks = [1, 2, 3].map(() =>
        go(async () => {
          for (;;) {
            const { value, ok } = await ch.receive();
            if (!ok) return;
            await turns(3);
            got.push(value as number);
            await time.sleep(10, ctx).catch(() => {});
          }
        }),
      );
      await wait();
      expect(counters()["chan receive"]).toBe(3);
      for (const n of [1, 2, 3]) await ch.send(n);
      await wait();
      expect([got, Date.now(), counters().sleep]).toEqual([[1, 2, 3], START, 3]);
      cancel();
      await wait();
      ch.close();
      await Promise.all(tasks);
    });
  });

  describe("on a host that does not list what is pending, too", () => {
    const { getActiveResourcesInfo } = process;

    beforeEach(() => {
      process.getActiveResourcesInfo = undefined as never;
    });
    afterEach(() => {
      process.getActiveResourcesInfo = getActiveResourcesInfo;
    });

    test("waits for thousands that were woken at once, whose promises settle in several turns", async () => {
      await bubble(async () => {
        const ch = new Channel<void>();
        let woken = 0;
        for (let i = 0; i < 5000; i++) void ch.receive().then(() => woken++);
        ch.close();
        await wait();
        expect(woken).toBe(5000);
      });
    });

    test("waits for two turns of the event loop, though the task has a wait", async () => {
      await bubble(async () => {
        const ch = new Channel<void>();
        let done = false;
        const task = go(async () => {
          const waiting = ch.receive();
          await turns(2);
          done = true;
          await waiting;
        });
        await wait();
        expect(done).toBe(true);
        ch.close();
        await task;
      });
    });
  });

  test("is refused outside of a bubble, and to a second task; nothing else changes", async () => {
    await expect(wait()).rejects.toThrow(new Error("synctest.wait: called outside of a bubble"));
    await bubble(async () => {
      const first = go(wait);
      await expect(go(wait)).rejects.toThrow(new Error("synctest.wait: wait already in progress"));
      await time.sleep(1);
      await first;
      await wait();
    });
    await expect(wait()).rejects.toThrow("outside of a bubble");
  });

  test("rejects when the bubble ends, so that cleaning up goes on", async () => {
    const cleaned: string[] = [];
    let end = () => {};
    const stuck = bubble(
      async () => {
        const other = go(
          () =>
            new Promise<void>((resolve) => {
              end = resolve;
            }),
        );
        try {
          await wait();
        } finally {
          cleaned.push("finally");
        }
        await other;
      },
      { stuckMs: 5 },
    );
    await expect(stuck).rejects.toThrow(/^synctest: stuck/);
    await turn();
    expect(cleaned).toEqual(["finally"]);
    end();
  });
});

describe("bubbles of one thread", () => {
  test("run one after the other, in the order of the calls, whatever becomes of one", async () => {
    const log: string[] = [];
    const run = (name: string) => async () => {
      log.push(`${name} begins at ${performance.now()}`);
      await time.sleep(10);
      log.push(`${name} ends`);
      if (name === "b") throw new Error("b fails");
      return name;
    };
    const all = await Promise.allSettled([bubble(run("a")), bubble(run("b"), { seed: 1 }), bubble(run("c"))]);
    expect(all.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(log).toEqual(["a", "b", "c"].flatMap((name) => [`${name} begins at 0`, `${name} ends`]));
  });

  test("cannot be nested", async () => {
    const inner = vi.fn();
    await expect(bubble(() => bubble(inner))).rejects.toThrow(new Error("synctest.test: called from within a bubble"));
    await bubble(async () => {
      await expect(go(() => bubble(inner))).rejects.toThrow("within a bubble");
    });
    expect(inner).not.toHaveBeenCalled();
  });

  test("keep the async context of the call", async () => {
    const store = new AsyncLocalStorage<number>();
    const seen = await Promise.all(
      [1, 2].map((n) => store.run(n, () => bubble(async () => [store.getStore(), await go(() => store.getStore())]))),
    );
    expect(seen).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  test("know their own tasks: what an earlier one left blocked is not waited for", async () => {
    const ch = new Channel<void>();
    const [ctx, cancel] = withCancel(bg);
    const first = bubble(() => {
      void go(async () => {
        await ch.receive();
        await time.sleep(1, ctx).catch(() => {});
      });
    });
    await expect(first).rejects.toThrow("blocked goroutines remain");
    await bubble(async () => {
      ch.close();
      await turns(2);
      await wait();
    });
    // It slept in the second one's time, which has ended.
    expect(counters().sleep).toBe(1);
    cancel();
    await turn();
  });
});
