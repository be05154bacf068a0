/** Circuit breaker: the states and what moves between them, the two windows, generations, and probes. */
import { AsyncLocalStorage } from "node:async_hooks";
import {
  CircuitBreaker,
  type Counts,
  OpenStateError,
  type Settings,
  type State,
  TooManyRequestsError,
  TwoStepCircuitBreaker,
} from "gopark/breaker";
import { background, Canceled, is, withCancel } from "gopark/context";
import { sleep } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const down = new Error("down");

/** A breaker on a clock of its own. */
class Bench {
  at = 1_000_000;
  readings = 0;
  readonly changes: string[] = [];
  readonly cb: CircuitBreaker;

  constructor(settings: Settings = {}) {
    this.cb = new CircuitBreaker({
      onStateChange: (name, from, to) => this.changes.push(`${name}: ${from} to ${to}`),
      now: () => {
        this.readings++;
        return this.at;
      },
      ...settings,
    });
  }

  succeed(): Promise<string> {
    return this.cb.execute(() => "up");
  }

  /** A call that fails; rejects only if it was refused. */
  async fail(n = 1): Promise<void> {
    for (let i = 0; i < n; i++) {
      const error = await this.cb.execute(() => Promise.reject(down)).catch((e: unknown) => e);
      if (error !== down) throw error;
    }
  }

  /** A call that goes on until it is ended. */
  begin(): { end: (error?: unknown) => Promise<void>; ended: Promise<unknown> } {
    let settle = (_?: unknown): void => {};
    const ended = this.cb
      .execute(
        () => new Promise<void>((resolve, reject) => (settle = (e) => (e === undefined ? resolve() : reject(e)))),
      )
      .catch((error: unknown) => error);
    return {
      ended,
      end: async (error) => {
        settle(error);
        await ended;
      },
    };
  }

  counts(): number[] {
    const c = this.cb.counts();
    return [
      c.requests,
      c.totalSuccesses,
      c.totalFailures,
      c.totalExclusions,
      c.consecutiveSuccesses,
      c.consecutiveFailures,
    ];
  }
}

const NONE = [0, 0, 0, 0, 0, 0];

describe("without settings", () => {
  test("a breaker is closed, has no name and no counts", () => {
    for (const cb of [new CircuitBreaker(), new TwoStepCircuitBreaker()]) {
      expect([cb.name, cb.state()]).toEqual(["", "closed"]);
      expect(Object.values(cb.counts())).toEqual(NONE);
    }
  });

  test("the sixth failure in a row opens it, for a minute, and one success closes it again", async () => {
    const b = new Bench();
    await b.fail(5);
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [5, 0, 5, 0, 0, 5]]);
    await b.succeed();
    expect(b.counts()).toEqual([6, 1, 5, 0, 1, 0]);
    await b.fail(5);
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [11, 1, 10, 0, 0, 5]]);
    await b.fail();
    expect([b.cb.state(), b.counts()]).toEqual(["open", NONE]);

    await expect(b.succeed()).rejects.toThrow(OpenStateError);
    expect(b.counts()).toEqual(NONE);
    b.at += 60_000;
    expect(b.cb.state()).toBe("open"); // Strictly after.
    b.at += 1;
    expect(b.cb.state()).toBe("half-open");

    await b.fail();
    expect([b.cb.state(), b.counts()]).toEqual(["open", NONE]);
    b.at += 60_001;
    expect(await b.succeed()).toBe("up");
    expect([b.cb.state(), b.counts()]).toEqual(["closed", NONE]);
    expect(b.changes).toEqual([
      ": closed to open",
      ": open to half-open",
      ": half-open to open",
      ": open to half-open",
      ": half-open to closed",
    ]);
  });
});

describe("with settings", () => {
  const custom = (): Bench =>
    new Bench({
      name: "cb",
      maxRequests: 3,
      interval: 30_000,
      timeout: 90_000,
      readyToTrip: (counts) => {
        const { requests, totalFailures } = counts;
        Object.assign(counts, { requests: 0, totalFailures: 0 }); // It is a copy.
        return requests >= 3 && totalFailures / requests >= 0.6;
      },
    });

  test("counts are cleared after each interval, and the ratio of failures opens it", async () => {
    const b = custom();
    expect(b.cb.name).toBe("cb");
    for (let i = 0; i < 5; i++) {
      await b.succeed();
      await b.fail();
    }
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [10, 5, 5, 0, 0, 1]]);
    b.at += 30_000;
    await b.succeed();
    expect(b.counts()).toEqual([11, 6, 5, 0, 1, 0]);
    b.at += 1;
    await b.fail();
    expect(b.counts()).toEqual([1, 0, 1, 0, 0, 1]);
    await b.succeed();
    await b.fail();
    expect([b.cb.state(), b.counts(), b.changes]).toEqual(["open", NONE, ["cb: closed to open"]]);
  });

  test("half-open lets through exactly maxRequests, and closes when so many have succeeded", async () => {
    const b = custom();
    await b.fail(3);
    b.at += 90_001;
    await b.succeed();
    await b.succeed();
    expect([b.cb.state(), b.counts()]).toEqual(["half-open", [2, 2, 0, 0, 2, 0]]);
    const third = b.begin();
    expect(b.counts()).toEqual([3, 2, 0, 0, 2, 0]);
    for (let i = 0; i < 10; i++) await expect(b.succeed()).rejects.toThrow(TooManyRequestsError);
    expect(b.counts()).toEqual([3, 2, 0, 0, 2, 0]);
    await third.end();
    expect([b.cb.state(), b.counts()]).toEqual(["closed", NONE]);
    expect(b.changes.at(-1)).toBe("cb: half-open to closed");
    // The interval begins anew.
    await b.succeed();
    b.at += 30_001;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", NONE]);
  });

  test("one failed probe opens it again, and the others do not count any more", async () => {
    const b = custom();
    await b.fail(3);
    b.at += 90_001;
    const probes = [b.begin(), b.begin(), b.begin()];
    await probes[0]?.end(down);
    expect(b.cb.state()).toBe("open");
    await probes[1]?.end();
    await probes[2]?.end(down);
    expect([b.cb.state(), b.counts()]).toEqual(["open", NONE]);
  });

  test("maxRequests of 0 is 1, and times of 0 or less are those of a breaker without settings", async () => {
    const b = new Bench({ maxRequests: 0, interval: -30_000, bucketPeriod: -1, timeout: -90_000 });
    await b.fail(6);
    b.at += 60_000;
    expect(b.cb.state()).toBe("open");
    b.at += 1;
    void b.begin();
    await expect(b.succeed()).rejects.toThrow("too many requests");
  });

  test("a timeout of Infinity keeps it open for ever, and an interval of Infinity clears nothing", async () => {
    const b = new Bench({ timeout: Number.POSITIVE_INFINITY, interval: Number.POSITIVE_INFINITY });
    await b.fail(5);
    b.at += 1e15;
    await b.fail();
    b.at += 1e15;
    expect(b.cb.state()).toBe("open");
  });
});

describe("a bucketPeriod far above the interval", () => {
  test.each([
    [1000, Number.POSITIVE_INFINITY],
    [Number.MIN_VALUE, 10],
  ])("is one bucket: interval %d, bucketPeriod %d", async (interval, bucketPeriod) => {
    const b = new Bench({ interval, bucketPeriod });
    await b.fail(5);
    expect(b.counts()).toEqual([5, 0, 5, 0, 0, 5]);
    await b.fail();
    expect(b.cb.state()).toBe("open");
  });
});

describe("what counts as a failure", () => {
  test("isSuccessful decides, even about what did not fail", async () => {
    const asked: unknown[] = [];
    const b = new Bench({
      isSuccessful: (err) => {
        asked.push(err);
        return err === down;
      },
    });
    await b.fail(6);
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [6, 6, 0, 0, 6, 0]]);
    for (let i = 0; i < 6; i++) await b.succeed();
    expect(b.cb.state()).toBe("open");
    expect(asked).toEqual([...Array(6).fill(down), ...Array(6).fill(undefined)]);
  });

  test("isExcluded is asked first, even about successes, and what it excludes counts as neither", async () => {
    const asked: string[] = [];
    let exclude = true;
    const b = new Bench({
      isExcluded: (err) => {
        asked.push(`excluded ${err}`);
        return exclude;
      },
      isSuccessful: (err) => {
        asked.push(`successful ${err}`);
        return err === undefined;
      },
    });
    await b.succeed();
    await b.fail();
    expect(b.counts()).toEqual([2, 0, 0, 2, 0, 0]);
    exclude = false;
    await b.succeed();
    expect(b.counts()).toEqual([3, 1, 0, 2, 1, 0]);
    expect(asked).toEqual(["excluded undefined", "excluded Error: down", "excluded undefined", "successful undefined"]);
  });

  test("an excluded failure breaks no run of failures, and asks nobody to trip", async () => {
    const trips = vi.fn(() => false);
    const b = new Bench({ isExcluded: (err) => is(err, Canceled), readyToTrip: trips });
    await b.fail(2);
    const { ctx, cancel } = withCancel(background());
    cancel();
    await expect(b.cb.execute(() => sleep(1, ctx))).rejects.toBe(ctx.err());
    expect([b.counts(), trips.mock.calls.length]).toEqual([[3, 0, 2, 1, 0, 2], 2]);
  });

  test("an excluded probe gives its place back", async () => {
    const b = new Bench({ isExcluded: (err) => err === "excluded" });
    await b.fail(6);
    b.at += 60_001;
    const probe = b.begin();
    await expect(b.succeed()).rejects.toThrow(TooManyRequestsError);
    await probe.end("excluded");
    expect(b.cb.state()).toBe("half-open");
    await b.succeed();
    expect(b.cb.state()).toBe("closed");
  });

  test("a function that throws has failed, and its caller gets the error", async () => {
    const b = new Bench();
    const thrown = b.cb.execute(() => {
      throw down;
    });
    await expect(thrown).rejects.toBe(down);
    expect(b.counts()).toEqual([1, 0, 1, 0, 0, 1]);
  });

  test.each([undefined, null])("a function that rejects with %s has failed", async (nothing) => {
    const seen: unknown[] = [];
    const b = new Bench({ isExcluded: (err) => seen.push(err) < 0, isSuccessful: (err) => err === undefined });
    const rejected = await b.cb
      .execute(() => Promise.reject(nothing))
      .then(
        () => "resolved",
        (error: unknown) => [error],
      );
    expect(rejected).toEqual([nothing]);
    expect(seen).toEqual([new Error(`execute: fn rejected with ${nothing}`)]);
    expect(b.counts()).toEqual([1, 0, 1, 0, 0, 1]);
  });
});

describe("generations", () => {
  test("a result from before the counts were cleared is dropped", async () => {
    const b = new Bench({ interval: 1000 });
    await b.succeed();
    const call = b.begin();
    expect(b.counts()).toEqual([2, 1, 0, 0, 1, 0]);
    b.at += 1001;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", NONE]);
    await call.end();
    expect(b.counts()).toEqual(NONE);
  });

  test.each([undefined, down])(
    "a result of %s from before a change of state neither closes nor opens it",
    async (error) => {
      const b = new Bench({ maxRequests: 2 });
      const [closed1, closed2] = [b.begin(), b.begin()];
      await b.fail(6);
      await closed1.end(error); // Open now.
      expect([b.cb.state(), b.counts()]).toEqual(["open", NONE]);
      b.at += 60_001;
      const probe = b.begin();
      await closed2.end(error); // Half-open now.
      expect([b.cb.state(), b.counts()]).toEqual(["half-open", [1, 0, 0, 0, 0, 0]]);
      await b.succeed();
      await probe.end();
      expect(b.cb.state()).toBe("closed");
    },
  );

  test("a late result finds what has become due, as in Go", async () => {
    const b = new Bench({ interval: 1000 });
    await b.fail(3);
    const call = b.begin();
    b.at += 1001;
    await call.end(down);
    expect(b.counts()).toEqual(NONE);
  });
});

describe("a rolling window", () => {
  const rolling = (): Bench =>
    new Bench({ interval: 2500, bucketPeriod: 1000, readyToTrip: (counts) => counts.totalFailures >= 4 });

  test("forgets bucket by bucket, even without calls, and never all at once", async () => {
    const b = rolling(); // Three buckets: the interval is rounded up.
    await b.fail();
    b.at += 1000;
    await b.fail();
    b.at += 1000;
    await b.fail();
    expect(b.counts()).toEqual([3, 0, 3, 0, 0, 3]);
    b.at += 999;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [3, 0, 3, 0, 0, 3]]);
    b.at += 1;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [2, 0, 2, 0, 0, 2]]);
    b.at += 1000;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [1, 0, 1, 0, 0, 1]]);
    b.at += 1e9;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", NONE]);
  });

  test("failures spread over more than the window do not open it, and within it they do", async () => {
    const b = rolling();
    for (let i = 0; i < 20; i++) {
      await b.fail();
      b.at += 1000;
    }
    expect(b.cb.state()).toBe("closed");
    await b.fail(2);
    expect(b.cb.state()).toBe("open");
  });

  test("a late result counts in the bucket in which its request began, or not at all", async () => {
    const b = rolling();
    const [early, late] = [b.begin(), b.begin()];
    b.at += 2000;
    await early.end(down);
    expect(b.counts()).toEqual([2, 0, 1, 0, 0, 1]);
    b.at += 1000;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", NONE]);
    await late.end(down);
    expect(b.counts()).toEqual(NONE);
  });

  test("a bucket as long as the interval, or longer, makes a fixed window of a bucket's length", async () => {
    const b = new Bench({ interval: 1000, bucketPeriod: 2000 });
    await b.fail();
    b.at += 2000;
    expect([b.cb.state(), b.counts()[0]]).toEqual(["closed", 1]);
    b.at += 1;
    expect([b.cb.state(), b.counts()[0]]).toEqual(["closed", 0]);
  });

  test("starts anew when the breaker closes", async () => {
    const b = rolling();
    await b.fail(4);
    b.at += 60_500;
    await b.succeed();
    await b.fail();
    b.at += 999;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", [1, 0, 1, 0, 0, 1]]);
    b.at += 2001;
    expect([b.cb.state(), b.counts()]).toEqual(["closed", NONE]);
  });
});

describe("probeTimeout", () => {
  test("without it, a probe that never ends keeps the breaker half-open", async () => {
    const b = new Bench();
    await b.fail(6);
    b.at += 60_001;
    void b.begin();
    b.at += 1e12;
    expect(b.cb.state()).toBe("half-open");
    await expect(b.succeed()).rejects.toThrow(TooManyRequestsError);
  });

  test("a probe that has not ended by then has failed: it opens, and its result does not count", async () => {
    const b = new Bench({ probeTimeout: 5000, maxRequests: 2 });
    await b.fail(6);
    b.at += 60_001;
    const probe = b.begin();
    b.at += 5000;
    expect(b.cb.state()).toBe("half-open"); // Strictly after.
    b.at += 1;
    expect(b.cb.state()).toBe("open");
    await expect(b.succeed()).rejects.toThrow(OpenStateError);
    await probe.end();
    expect([b.cb.state(), b.counts()]).toEqual(["open", NONE]);
  });

  test("it opens as of the instant at which the time was over, however late that is found", async () => {
    const b = new Bench({ probeTimeout: 5000, timeout: 1000 });
    await b.fail(6);
    b.at += 1001;
    void b.begin();
    b.at += 5999;
    expect(b.cb.state()).toBe("open");
    b.at += 2;
    expect(b.cb.state()).toBe("half-open");

    void b.begin();
    b.at += 1e9;
    expect(await b.succeed()).toBe("up");
    expect(b.changes.slice(-3)).toEqual([": half-open to open", ": open to half-open", ": half-open to closed"]);
  });

  test("the oldest probe counts, and one that ended in time does not", async () => {
    const b = new Bench({ probeTimeout: 1000, maxRequests: 4, isExcluded: (err) => err === "excluded" });
    await b.fail(6);
    b.at += 60_001;
    const ended = [b.begin(), b.begin()];
    b.at += 500;
    const second = b.begin();
    b.at += 500;
    await ended[0]?.end();
    await ended[1]?.end("excluded");
    b.at += 500;
    expect(b.cb.state()).toBe("half-open");
    b.at += 1;
    expect(b.cb.state()).toBe("open");
    await second.end();
  });

  test("probes of the time before do not count against those of now", async () => {
    const b = new Bench({ probeTimeout: 1000, maxRequests: 2, timeout: 500 });
    await b.fail(6);
    b.at += 501;
    const hung = b.begin();
    await b.fail();
    expect(b.cb.state()).toBe("open");
    b.at += 501;
    const probe = b.begin();
    b.at += 600;
    expect(b.cb.state()).toBe("half-open");
    await hung.end();
    await probe.end();
    expect(b.counts()).toEqual([1, 1, 0, 0, 1, 0]);
  });
});

describe("two steps", () => {
  test("the function that allow returned reports the end", () => {
    let at = 0;
    const cb = new TwoStepCircuitBreaker({ name: "two", now: () => at });
    expect(cb.name).toBe("two");
    for (let i = 0; i < 6; i++) cb.allow()(down);
    expect(cb.state()).toBe("open");
    expect(() => cb.allow()).toThrow(OpenStateError);
    at += 60_001;
    const done = cb.allow();
    expect(() => cb.allow()).toThrow(TooManyRequestsError);
    done();
    expect(cb.state()).toBe("closed");
  });

  test("null is no error either, as nodes of callbacks pass it", () => {
    const cb = new TwoStepCircuitBreaker();
    cb.allow()(null);
    expect(cb.counts().totalSuccesses).toBe(1);
  });

  test("a second report of one call does nothing", () => {
    const cb = new TwoStepCircuitBreaker({ maxRequests: 2 });
    const done = cb.allow();
    done();
    done();
    done(down);
    expect(cb.counts()).toMatchObject({ requests: 1, totalSuccesses: 1, totalFailures: 0 });
  });
});

describe("the clock", () => {
  test("is not read while closed without an interval", async () => {
    const b = new Bench({ bucketPeriod: 1000 });
    for (let i = 0; i < 5; i++) {
      await b.succeed();
      await b.fail();
      b.cb.state();
    }
    expect(b.readings).toBe(0);
    await b.fail(5);
    expect([b.cb.counts().requests, b.readings]).toEqual([0, 1]); // When it opened.
  });

  test("is not read while closed without an interval, whatever the probeTimeout", async () => {
    const b = new Bench({ probeTimeout: 1000 });
    await b.fail(5);
    await b.succeed();
    expect([b.cb.state(), b.readings]).toEqual(["closed", 0]);
  });

  test.each([undefined, 100])(
    "is not read while half-open without a probeTimeout, buckets of %s",
    async (bucketPeriod) => {
      const b = new Bench({ interval: 1000, maxRequests: 3, ...(bucketPeriod === undefined ? {} : { bucketPeriod }) });
      await b.fail(6);
      b.at += 60_001;
      expect(b.cb.state()).toBe("half-open");
      const { readings } = b;
      await b.succeed();
      await b.succeed();
      expect([b.cb.state(), b.readings]).toEqual(["half-open", readings]);
    },
  );

  test("is not read by counts", async () => {
    const b = new Bench({ interval: 1000 });
    await b.fail();
    const { readings } = b;
    b.at += 5000;
    expect([b.counts()[0], b.readings]).toEqual([1, readings]);
  });

  test("is the library's, so that fake timers move it, and no timer is ever armed", async () => {
    vi.useFakeTimers();
    const cb = new CircuitBreaker({ timeout: 1000, interval: 500, bucketPeriod: 100, probeTimeout: 50 });
    for (let i = 0; i < 6; i++) await cb.execute(() => Promise.reject(down)).catch(() => {});
    expect([cb.state(), vi.getTimerCount()]).toEqual(["open", 0]);
    vi.advanceTimersByTime(1001);
    expect(cb.state()).toBe("half-open");
    void cb.execute(() => new Promise(() => {}));
    vi.advanceTimersByTime(51);
    expect([cb.state(), vi.getTimerCount()]).toEqual(["open", 0]);
  });

  test("that goes back changes nothing, and forgets nothing", async () => {
    const b = new Bench({ interval: 1000, bucketPeriod: 100, timeout: 1000 });
    await b.fail(5);
    b.at -= 1e6;
    expect([b.cb.state(), b.counts()[2]]).toEqual(["closed", 5]);
    await b.fail();
    b.at -= 1e6;
    expect(b.cb.state()).toBe("open");
  });
});

describe("many callers", () => {
  test("ten tasks of a thousand calls each are all counted", async () => {
    const b = new Bench();
    const task = async () => {
      for (let i = 0; i < 1000; i++) await b.succeed();
    };
    await Promise.all(Array.from({ length: 10 }, task));
    expect(b.counts()).toEqual([10_000, 10_000, 0, 0, 10_000, 0]);
  });

  test("of a thousand calls at a half-open breaker, maxRequests get through", async () => {
    const b = new Bench({ maxRequests: 7 });
    await b.fail(6);
    b.at += 60_001;
    let running = 0;
    const calls = Array.from({ length: 1000 }, () =>
      b.cb.execute(async () => {
        running++;
        await turn();
      }),
    );
    expect(running).toBe(7);
    const ended = await Promise.allSettled(calls);
    expect(ended.filter((call) => call.status === "fulfilled")).toHaveLength(7);
    expect(b.cb.state()).toBe("closed");
  });

  test.each(["closed", "open"] as const)(
    "a loop that only calls a breaker that is %s gives the turn back",
    async (state) => {
      const b = new Bench();
      if (state === "open") await b.fail(6);
      let turned = false;
      void turn().then(() => (turned = true));
      let calls = 0;
      for (; !turned && calls < 10_000; calls++) await b.succeed().catch(() => {});
      expect(calls).toBeLessThan(10_000);
    },
  );
});

test("the function starts inside execute, and is counted from then on", async () => {
  const b = new Bench();
  const seen: number[][] = [];
  const call = b.cb.execute(() => seen.push(b.counts()));
  expect(seen).toEqual([[1, 0, 0, 0, 0, 0]]);
  await call;
});

test("the functions of the settings run in the async context of the call they are asked about", async () => {
  const tenant = new AsyncLocalStorage<string>();
  const seen: string[] = [];
  const note = (what: string, answer = false): boolean => {
    seen.push(`${what}: ${tenant.getStore()}`);
    return answer;
  };
  const cb = new CircuitBreaker({
    isExcluded: () => note("isExcluded"),
    isSuccessful: (err) => note("isSuccessful", err === undefined),
    readyToTrip: () => note("readyToTrip", true),
    onStateChange: () => void note("onStateChange"),
  });
  let fail = (_: Error): void => {};
  const called = tenant.run("alice", () =>
    cb.execute(() => new Promise<void>((_, reject) => (fail = reject))).catch(() => {}),
  );
  await tenant.run("bob", async () => {
    await cb.execute(() => turn());
    fail(down);
    await called;
  });
  const [bob, alice] = [seen.slice(0, 2), seen.slice(2)];
  expect(bob).toEqual(["isExcluded: bob", "isSuccessful: bob"]);
  expect(alice).toEqual(["isExcluded: alice", "isSuccessful: alice", "readyToTrip: alice", "onStateChange: alice"]);
});

test("errors have gobreaker's texts, the names of their classes, and no stack; until the state changes there is one", async () => {
  const open = new OpenStateError();
  const many = new TooManyRequestsError();
  expect([open.name, open.message]).toEqual(["OpenStateError", "circuit breaker is open"]);
  expect([many.name, many.message]).toEqual(["TooManyRequestsError", "too many requests"]);
  expect(open).not.toBeInstanceOf(TooManyRequestsError);

  const b = new Bench();
  await b.fail(6);
  const refused = watch(b.succeed());
  await turn();
  expect((refused.reason as Error).stack).toBe("OpenStateError: circuit breaker is open");
  expect(await b.succeed().catch((e: unknown) => e)).toBe(refused.reason);
  b.at += 60_001;
  void b.begin();
  const error = await b.succeed().catch((e: Error) => e);
  expect((error as Error).stack).toBe("TooManyRequestsError: too many requests");
});

test("a breaker says its state as a string, and its counts as numbers, by their types", () => {
  const cb = new CircuitBreaker({ name: "typed" });
  const state: State = cb.state();
  const counts: Counts = cb.counts();
  expect([state, counts.requests]).toEqual(["closed", 0]);
});
