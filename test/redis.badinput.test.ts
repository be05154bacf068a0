/** What is refused: at once, with what was given, and with nothing asked. */
import { background } from "gopark/context";
import { KeyedLimiter } from "gopark/rate";
import { connect, Limiter, type Link, Mutex, Weighted } from "gopark/redis";
import { describe, expect, test } from "vitest";
import { FakeRedis } from "./support/fakeredis.ts";
import { turn } from "./support/turn.ts";

const bad = <T>(value: unknown) => value as T;

/** Name and message of what a function throws or rejects with. */
async function said(fn: () => unknown): Promise<string> {
  try {
    await fn();
  } catch (error) {
    return String(error);
  }
  return "nothing";
}

describe("connect", () => {
  const redis = new FakeRedis();

  test.each([
    [undefined, "undefined"],
    [null, "null"],
    ["redis://", '"redis://"'],
    [{}, "an object (Object)"],
    [{ evalsha() {} }, "an object (Object)"],
    [{ evalSha() {} }, "an object (Object)"],
  ])("a client that is %s", async (client, shown) => {
    const message = `TypeError: connect: client must be a client of ioredis, iovalkey, redis or valkey-glide, got ${shown}`;
    expect(await said(() => connect(bad(client)))).toBe(message);
  });

  test.each([
    [{ timeout: 0 }, "RangeError: connect: timeout must be above 0 and at most 60000 milliseconds, got 0"],
    [{ timeout: 60_001 }, "RangeError: connect: timeout must be above 0 and at most 60000 milliseconds, got 60001"],
    [{ timeout: "1" }, 'TypeError: connect: timeout must be a number of milliseconds, got "1"'],
    [{ timeout: Number.NaN }, "RangeError: connect: timeout must be a number of milliseconds, got NaN"],
    [{ retry: -1 }, "RangeError: connect: retry must be above 0 and at most 60000 milliseconds, got -1"],
    [{ retry: null }, "TypeError: connect: retry must be a number of milliseconds, got null"],
    [
      { subscriber: {} },
      "TypeError: connect: subscriber must be a connection of ioredis, iovalkey or redis, got an object (Object)",
    ],
    [
      { subscriber: null },
      "TypeError: connect: subscriber must be a connection of ioredis, iovalkey or redis, got null",
    ],
    [{ name: 1 }, "TypeError: connect: name must be a string, got 1"],
    [{ name: "\ud800" }, 'RangeError: connect: name must be well-formed Unicode, got "\\ud800"'],
    ["fast", 'TypeError: connect: options must be an object, got "fast"'],
  ])("options %j", async (options, message) => {
    expect(await said(() => connect(redis, bad(options)))).toBe(message);
  });

  test("asks nothing", async () => {
    connect(redis, { subscriber: redis });
    await turn();
    expect([redis.calls, redis.channel]).toEqual([[], ""]);
  });
});

describe("what is made by a link", () => {
  const redis = new FakeRedis();
  const link = connect(redis);

  test.each([
    [
      () => new Limiter(bad({}), "k", 1, 1),
      "TypeError: Limiter: link must be what connect returns, got an object (Object)",
    ],
    [
      () => new Limiter(bad(redis), "k", 1, 1),
      "TypeError: Limiter: link must be what connect returns, got an object (FakeRedis)",
    ],
    [() => new Limiter(link, "", 1, 1), "RangeError: Limiter: key must not be empty"],
    [() => new Limiter(link, bad(7), 1, 1), "TypeError: Limiter: key must be a string, got 7"],
    [() => new Limiter(link, "\ud800", 1, 1), 'RangeError: Limiter: key must be well-formed Unicode, got "\\ud800"'],
    [
      () => new Limiter(link, "k", -1, 1),
      "RangeError: Limiter: limit must be a number of events a second, 0 or more, got -1",
    ],
    [
      () => new Limiter(link, "k", Number.NaN, 1),
      "RangeError: Limiter: limit must be a number of events a second, 0 or more, got NaN",
    ],
    [
      () => new Limiter(link, "k", bad("1"), 1),
      'TypeError: Limiter: limit must be a number of events a second, got "1"',
    ],
    [
      () => new Limiter(link, "k", 1, 1.5),
      "RangeError: Limiter: burst must be a whole number from 0 to 2^53-1, got 1.5",
    ],
    [
      () => new Limiter(link, "k", 1, 1, { maxWait: -1 }),
      "RangeError: Limiter: maxWait must be 0 or more milliseconds, got -1",
    ],
    [
      () => new Limiter(link, "k", 1, 1, { maxWait: bad("1") }),
      'TypeError: Limiter: maxWait must be a number of milliseconds, got "1"',
    ],
    [
      () => new Limiter(link, "k", 1, 1, { fallback: bad("shut") }),
      'RangeError: Limiter: fallback must be "fail", "open", "closed" or a limiter, got "shut"',
    ],
    [
      () => new Limiter(link, "k", 1, 1, { fallback: bad({ allow() {} }) }),
      'TypeError: Limiter: fallback must be "fail", "open", "closed" or a limiter, got an object (Object)',
    ],
    [
      () => new Limiter(link, "k", 1, 1, { fallback: bad(null) }),
      'TypeError: Limiter: fallback must be "fail", "open", "closed" or a limiter, got null',
    ],
    [() => new Limiter(link, "k", 1, 1, bad(3)), "TypeError: Limiter: options must be an object, got 3"],
    [() => new Limiter(link, "k", 1, 1).at(""), "RangeError: at: key must not be empty"],
    [() => new Limiter(link, "k", 1, 1).at(bad(1)), "TypeError: at: key must be a string, got 1"],
    [() => new Limiter(link, "k", 1, 1).at("\udc00"), 'RangeError: at: key must be well-formed Unicode, got "\\udc00"'],
    [
      () => new Weighted(bad({}), "k", 1),
      "TypeError: Weighted: link must be what connect returns, got an object (Object)",
    ],
    [() => new Weighted(link, "", 1), "RangeError: Weighted: key must not be empty"],
    [() => new Weighted(link, "k", 0), "RangeError: Weighted: size must be a whole number from 1 to 2^53-1, got 0"],
    [() => new Weighted(link, "k", bad("1")), 'TypeError: Weighted: size must be a whole number, got "1"'],
    [
      () => new Weighted(link, "k", 1, { lease: 499 }),
      "RangeError: Weighted: lease must be from 500, twice the link's timeout, to 3600000 ms, got 499",
    ],
    [
      () => new Weighted(link, "k", 1, { lease: 3_600_001 }),
      "RangeError: Weighted: lease must be from 500, twice the link's timeout, to 3600000 ms, got 3600001",
    ],
    [
      () => new Weighted(link, "k", 1, { lease: 1000.5 }),
      "RangeError: Weighted: lease must be a whole number from 0 to 2^53-1, got 1000.5",
    ],
    [() => new Weighted(link, "k", 1, { name: bad(1) }), "TypeError: Weighted: name must be a string, got 1"],
    [() => new Mutex(bad(undefined), "k"), "TypeError: Mutex: link must be what connect returns, got undefined"],
    [() => new Mutex(link, ""), "RangeError: Mutex: key must not be empty"],
    [
      () => new Mutex(link, "k", { lease: 1 }),
      "RangeError: Mutex: lease must be from 500, twice the link's timeout, to 3600000 ms, got 1",
    ],
  ])("%s", async (make, message) => {
    expect(await said(make)).toBe(message);
  });

  test("calls with bad counts, functions and contexts", async () => {
    const limiter = new Limiter(link, "k", 1, 2);
    const sem = new Weighted(link, "k", 2);
    const lock = new Mutex(link, "k");
    const count = "must be a whole number from";
    const cases: [() => unknown, string][] = [
      [() => limiter.allow(-1), `RangeError: allow: n ${count} 0 to 2^53-1, got -1`],
      [() => limiter.allow(bad("1")), 'TypeError: allow: n must be a whole number, got "1"'],
      [() => limiter.reserve(0.5), `RangeError: reserve: n ${count} 0 to 2^53-1, got 0.5`],
      [() => limiter.wait(background(), Number.NaN), `RangeError: wait: n ${count} 0 to 2^53-1, got NaN`],
      [() => limiter.wait(background(), 3), "RangeError: rate: Wait(n=3) exceeds limiter's burst 2"],
      [() => limiter.wait(bad({})), "TypeError: expected a Context or an AbortSignal, got an object (Object)"],
      [() => sem.permit(background(), 3), "RangeError: permit: n must be at most 2, the size of the semaphore, got 3"],
      [() => sem.permit(background(), 0), `RangeError: permit: n ${count} 1 to 2^53-1, got 0`],
      [() => sem.permit(background(), bad("1")), 'TypeError: permit: n must be a whole number, got "1"'],
      [() => sem.permit(bad(null)), "TypeError: expected a Context or an AbortSignal, got null"],
      [() => sem.tryPermit(3), "RangeError: tryPermit: n must be at most 2, the size of the semaphore, got 3"],
      [() => sem.tryPermit(1.5), `RangeError: tryPermit: n ${count} 1 to 2^53-1, got 1.5`],
      [
        () => sem.withPermit(background(), bad<() => void>(undefined)),
        "TypeError: withPermit: fn must be a function, got undefined",
      ],
      [
        () => sem.withPermit(background(), 1, bad<() => void>("x")),
        'TypeError: withPermit: fn must be a function, got "x"',
      ],
      [
        () => sem.withPermit(background(), 5, () => 1),
        "RangeError: permit: n must be at most 2, the size of the semaphore, got 5",
      ],
      [() => lock.withLock(background(), bad<() => void>(1)), "TypeError: withLock: fn must be a function, got 1"],
      [() => lock.lock(bad(1)), "TypeError: expected a Context or an AbortSignal, got 1"],
    ];
    for (const [call, message] of cases) expect(await said(call)).toBe(message);
    await turn();
    expect(redis.calls).toEqual([]);
    expect([sem.held(), sem.waiting()]).toEqual([0, 0]);
  });

  test("more than the burst, and no limit at all, ask nobody", async () => {
    const [limiter, free] = [new Limiter(link, "k", 1, 2), new Limiter(link, "k", Number.POSITIVE_INFINITY, 0)];
    expect([await limiter.allow(3), (await limiter.reserve(3)).ok, (await limiter.reserve(3)).delay()]).toEqual([
      false,
      false,
      Number.POSITIVE_INFINITY,
    ]);
    expect([await free.allow(9), (await free.reserve(9)).delay(), await free.wait(background(), 9)]).toEqual([
      true,
      0,
      undefined,
    ]);
    expect([free.limit(), free.burst(), limiter.at("x").limit(), limiter.at("x").burst()]).toEqual([
      Number.POSITIVE_INFINITY,
      0,
      1,
      2,
    ]);
    expect(redis.calls).toEqual([]);
  });

  test("a closed link: every call is a TypeError, whatever the fallback", async () => {
    const closed: Link = connect(redis);
    const all = [
      () => new Limiter(closed, "k", 1, 1, { fallback: "open" }).allow(),
      () => new Limiter(closed, "k", 1, 1, { fallback: new KeyedLimiter(1, 1) }).reserve(),
      () => new Limiter(closed, "k", 1, 1).wait(background()),
      () => new Weighted(closed, "k", 1).permit(background()),
      () => new Weighted(closed, "k", 1).tryPermit(),
      () => new Mutex(closed, "k").withLock(background(), () => 1),
    ];
    await closed.close();
    for (const call of all) expect(await said(call)).toBe("TypeError: the link is closed");
    expect(closed.close()).toBe(closed.close());
    expect(redis.calls).toEqual([]);
  });
});
