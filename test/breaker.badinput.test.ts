/** Circuit breaker: bad settings are refused, and functions that misbehave harm no call but their own. */
import { CircuitBreaker, type Settings, TwoStepCircuitBreaker } from "gopark/breaker";
import { describe, expect, test } from "vitest";
import { collectReported, reportsDue } from "./support/reported.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const down = new Error("down");
const fail = (cb: CircuitBreaker): Promise<unknown> => cb.execute(() => Promise.reject(down)).catch((e: unknown) => e);

async function failTimes(cb: CircuitBreaker, n: number): Promise<void> {
  for (let i = 0; i < n; i++) await fail(cb);
}

describe("settings", () => {
  const { NaN: nan } = Number;
  const one = "1" as never;
  const wrong: [settings: Settings, error: Error][] = [
    [{ maxRequests: -1 }, new RangeError("X: maxRequests must be a whole number from 0 to 2^53-1, got -1")],
    [{ maxRequests: 0.5 }, new RangeError("X: maxRequests must be a whole number from 0 to 2^53-1, got 0.5")],
    [{ maxRequests: nan }, new RangeError("X: maxRequests must be a whole number from 0 to 2^53-1, got NaN")],
    [{ maxRequests: one }, new TypeError('X: maxRequests must be a whole number, got "1"')],
    [{ interval: nan }, new RangeError("X: interval must be a number of milliseconds, got NaN")],
    [{ interval: one }, new TypeError('X: interval must be a number of milliseconds, got "1"')],
    [{ bucketPeriod: nan }, new RangeError("X: bucketPeriod must be a number of milliseconds, got NaN")],
    [{ bucketPeriod: one }, new TypeError('X: bucketPeriod must be a number of milliseconds, got "1"')],
    [
      { interval: 65_537, bucketPeriod: 1 },
      new RangeError("X: interval must be at most 65536 times bucketPeriod, got 65537 and 1"),
    ],
    [
      { interval: Number.POSITIVE_INFINITY, bucketPeriod: 1 },
      new RangeError("X: interval must be at most 65536 times bucketPeriod, got Infinity and 1"),
    ],
    [
      { interval: Number.POSITIVE_INFINITY, bucketPeriod: Number.POSITIVE_INFINITY },
      new RangeError("X: interval must be at most 65536 times bucketPeriod, got Infinity and Infinity"),
    ],
    [{ timeout: nan }, new RangeError("X: timeout must be a number of milliseconds, got NaN")],
    [{ timeout: one }, new TypeError('X: timeout must be a number of milliseconds, got "1"')],
    [{ probeTimeout: nan }, new RangeError("X: probeTimeout must be a number of milliseconds, got NaN")],
    [{ probeTimeout: one }, new TypeError('X: probeTimeout must be a number of milliseconds, got "1"')],
    [{ probeTimeout: 0 }, new RangeError("X: probeTimeout must be above 0, got 0")],
    [{ probeTimeout: -1 }, new RangeError("X: probeTimeout must be above 0, got -1")],
    [{ name: 1 as never }, new TypeError("X: name must be a string, got 1")],
    [{ readyToTrip: one }, new TypeError('X: readyToTrip must be a function, got "1"')],
    [{ onStateChange: one }, new TypeError('X: onStateChange must be a function, got "1"')],
    [{ isSuccessful: one }, new TypeError('X: isSuccessful must be a function, got "1"')],
    [{ isExcluded: null as never }, new TypeError("X: isExcluded must be a function, got null")],
    [{ now: one }, new TypeError('X: now must be a function, got "1"')],
  ];

  test.each(wrong)("%o is refused", (settings, { name, message }) => {
    for (const cls of [CircuitBreaker, TwoStepCircuitBreaker]) {
      let error: unknown;
      try {
        new cls(settings);
      } catch (e) {
        error = e;
      }
      expect([(error as Error).name, (error as Error).message]).toEqual([name, message.replace("X", cls.name)]);
    }
  });

  test("that are undefined or null are none", () => {
    expect(new CircuitBreaker(null as never).state()).toBe("closed");
    expect(new TwoStepCircuitBreaker(undefined).state()).toBe("closed");
  });

  test("as many buckets as may be are made", () => {
    expect(new CircuitBreaker({ interval: 65_536, bucketPeriod: 1 }).state()).toBe("closed");
  });
});

describe("what execute is given", () => {
  test.each([undefined, null, 1, {}, Promise.resolve()])("%s is refused, and not counted", async (fn) => {
    const cb = new CircuitBreaker();
    await expect(cb.execute(fn as never)).rejects.toThrow(TypeError);
    await expect(cb.execute(fn as never)).rejects.toThrow("execute: fn must be a function, got ");
    expect(cb.counts().requests).toBe(0);
  });

  test("a generator function is refused, and that is a failure", async () => {
    const cb = new CircuitBreaker();
    let ran = false;
    const generator = function* () {
      ran = true;
      yield 1;
    };
    await expect(cb.execute(generator)).rejects.toThrow(new TypeError("execute: fn must not be a generator function"));
    expect([ran, cb.counts().totalFailures]).toEqual([false, 1]);
  });

  test("a thenable is awaited, and counted once, whatever it does", async () => {
    const cb = new CircuitBreaker();
    const then = (ok: (v: number) => void, no: (e: unknown) => void) => {
      ok(1);
      ok(2);
      no(down);
    };
    const twice = Object.defineProperty({}, "then", { value: then });
    expect(await cb.execute(() => twice as never)).toBe(1);
    const throwing = {
      get then(): never {
        throw down;
      },
    };
    await expect(cb.execute(() => throwing as never)).rejects.toBe(down);
    expect(cb.counts()).toMatchObject({ requests: 2, totalSuccesses: 1, totalFailures: 1 });
  });

  test("one that never ends keeps no other call waiting", async () => {
    const cb = new CircuitBreaker();
    const hung = watch(cb.execute(() => new Promise(() => {})));
    expect(await cb.execute(() => 1)).toBe(1);
    expect([hung.state, cb.counts().requests]).toEqual(["pending", 2]);
  });

  test("one that calls the breaker again is counted as two", async () => {
    const cb = new CircuitBreaker();
    expect(await cb.execute(() => cb.execute(() => cb.execute(() => "in")))).toBe("in");
    expect(cb.counts()).toMatchObject({ requests: 3, totalSuccesses: 3 });
  });

  test("a probe that calls the breaker again takes the next place, or is refused", async () => {
    let at = 0;
    const cb = new CircuitBreaker({ now: () => at, maxRequests: 1 });
    await failTimes(cb, 6);
    at += 60_001;
    const inner = await cb.execute(() => cb.execute(() => "in").catch((e: Error) => e.name));
    expect([inner, cb.state()]).toEqual(["TooManyRequestsError", "closed"]);
  });
});

describe("functions of the settings that throw", () => {
  const oops = new Error("oops");
  const throwing = (): never => {
    throw oops;
  };

  test.each(["isExcluded", "isSuccessful"] as const)("%s: the call rejects with that, and has failed", async (name) => {
    const cb = new CircuitBreaker({ [name]: throwing });
    await expect(cb.execute(() => 1)).rejects.toBe(oops);
    expect(await fail(cb)).toBe(oops);
    expect(cb.counts()).toMatchObject({ requests: 2, totalSuccesses: 0, totalFailures: 2, consecutiveFailures: 2 });
    await failTimes(cb, 4);
    expect(cb.state()).toBe("open");
  });

  test.each(["isExcluded", "isSuccessful"] as const)("%s, about a probe: the breaker opens", async (name) => {
    let at = 0;
    const cb = new CircuitBreaker({ [name]: throwing, now: () => at, probeTimeout: 1 });
    await failTimes(cb, 6);
    at += 60_001;
    await expect(cb.execute(() => 1)).rejects.toBe(oops);
    expect(cb.state()).toBe("open");
  });

  test("readyToTrip: the failed call rejects with that, and the breaker stays closed", async () => {
    const cb = new CircuitBreaker({ readyToTrip: throwing });
    expect(await fail(cb)).toBe(oops);
    expect(await cb.execute(() => 1)).toBe(1);
    expect([cb.state(), cb.counts().totalFailures]).toEqual(["closed", 1]);
  });

  test("onStateChange: reported, and the state has changed for everybody", async () => {
    const reported = collectReported();
    const cb = new CircuitBreaker({ onStateChange: throwing });
    await failTimes(cb, 5);
    expect(await fail(cb)).toBe(down);
    expect(cb.state()).toBe("open");
    await reportsDue();
    expect(reported).toEqual([oops]);
  });

  test("of a two-step breaker: the function that allow returned throws that, once", () => {
    const cb = new TwoStepCircuitBreaker({ isSuccessful: throwing });
    const done = cb.allow();
    expect(() => done()).toThrow(oops);
    done();
    expect(cb.counts()).toMatchObject({ requests: 1, totalFailures: 1 });
  });

  test("now: the call rejects with that, its function not called, and nothing has changed", async () => {
    let broken = false;
    const cb = new CircuitBreaker({ interval: 1000, now: () => (broken ? throwing() : 0) });
    await fail(cb);
    broken = true;
    let called = false;
    const call = cb.execute(() => {
      called = true;
    });
    await expect(call).rejects.toBe(oops);
    expect(() => cb.state()).toThrow(oops);
    expect([called, cb.counts().requests]).toEqual([false, 1]);
    broken = false;
    expect(cb.state()).toBe("closed");
  });

  test("now, at a probe: no place is taken", async () => {
    let at = 0;
    let broken = false;
    const cb = new CircuitBreaker({ probeTimeout: 10, now: () => (broken ? throwing() : at) });
    await failTimes(cb, 6);
    at += 60_001;
    expect(cb.state()).toBe("half-open");
    broken = true;
    await expect(cb.execute(() => 1)).rejects.toBe(oops);
    expect(cb.counts().requests).toBe(0);
    broken = false;
    expect(await cb.execute(() => 1)).toBe(1);
    expect(cb.state()).toBe("closed");
  });
});

describe("functions of the settings that answer with promises", () => {
  test.each(["isExcluded", "isSuccessful", "readyToTrip"] as const)(
    "%s is refused, and does not count as true",
    async (name) => {
      const cb = new CircuitBreaker({ [name]: () => Promise.resolve(false) });
      const error = await fail(cb);
      expect(error).toEqual(new TypeError(`${name} must not return a promise`));
      expect([cb.state(), cb.counts().totalFailures]).toEqual(["closed", 1]);
    },
  );

  test("onStateChange is not waited for, and its rejection is an unhandled one", async () => {
    const oops = new Error("oops");
    const cb = new CircuitBreaker({ onStateChange: () => Promise.reject(oops) as never });
    const seen = await unhandledDuring(async () => {
      await failTimes(cb, 6);
      await turn();
    });
    expect([cb.state(), seen]).toEqual(["open", [oops]]);
  });
});

describe("functions of the settings that call the breaker", () => {
  test("onStateChange finds the new state, and may take the probe's place", async () => {
    let at = 0;
    const seen: unknown[] = [];
    let probe: Promise<string> | undefined;
    const cb: CircuitBreaker = new CircuitBreaker({
      now: () => at,
      onStateChange: (_, from, to) => {
        seen.push([from, to, cb.state(), cb.counts().requests]);
        if (to === "half-open") probe = cb.execute(() => "probe");
      },
    });
    await failTimes(cb, 6);
    at += 60_001;
    // The call that found the breaker half-open is second.
    await expect(cb.execute(() => "second")).rejects.toThrow("too many requests");
    expect(await probe).toBe("probe");
    expect(seen).toEqual([
      ["closed", "open", "open", 0],
      ["open", "half-open", "half-open", 0],
      ["half-open", "closed", "closed", 0],
    ]);
  });

  test("an isSuccessful that opens the breaker meanwhile: the result belongs to the time before", async () => {
    const changes: string[] = [];
    const cb: TwoStepCircuitBreaker = new TwoStepCircuitBreaker({
      readyToTrip: () => true,
      onStateChange: (_, from, to) => changes.push(`${from} to ${to}`),
      isSuccessful: (err) => {
        if (err === "outer") cb.allow()("inner");
        return false;
      },
    });
    cb.allow()("outer");
    expect([cb.state(), cb.counts()]).toMatchObject(["open", { requests: 0, totalFailures: 0 }]);
    expect(changes).toEqual(["closed to open"]);
  });

  test("a readyToTrip that opens the breaker meanwhile does not open it twice", async () => {
    const changes: string[] = [];
    let depth = 0;
    const cb: TwoStepCircuitBreaker = new TwoStepCircuitBreaker({
      onStateChange: (_, from, to) => changes.push(`${from} to ${to}`),
      readyToTrip: () => {
        if (depth++ === 0) cb.allow()(down);
        return true;
      },
    });
    cb.allow()(down);
    expect([cb.state(), changes]).toEqual(["open", ["closed to open"]]);
  });
});
