/** Limiters: what cancelled waits give back on a clock that never stands still, and invalid instants. */
import { background, type CancelScope, withCancel } from "gopark/context";
import { every, Limiter, Sometimes } from "gopark/rate";
import { now } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const T0 = 1_700_000_000_000;

/** Instants that fall on no whole nanosecond, a little later each. */
const STEP = 0.0371;

let scopes: CancelScope[] = [];

afterEach(async () => {
  for (const { cancel } of scopes) cancel();
  scopes = [];
  await turn();
});

/** Parks n waits, each at its own instant, all under one context, and returns what cancels it. */
function queue(limiter: Limiter, n: number, at: () => number, events = 1): () => void {
  const scope = withCancel(bg);
  scopes.push(scope);
  for (let i = 0; i < n; i++) watch(limiter.wait(scope.ctx, events, at()));
  return () => scope.cancel();
}

/** Both limiters have the same tokens, and promise the next event after the same time. */
function alike(limiter: Limiter, twin: Limiter, t: number): void {
  expect(limiter.tokens(t)).toBeCloseTo(twin.tokens(t), 6);
  const [a, b] = [limiter.reserve(1, t), twin.reserve(1, t)];
  expect(a.delay(t)).toBeCloseTo(b.delay(t), 3);
  const [c, d] = [limiter.reserve(1, t), twin.reserve(1, t)];
  expect(c.delay(t)).toBeCloseTo(d.delay(t), 3);
}

const limits: [limit: number, burst: number][] = [
  [10, 1],
  [10, 5],
  [3, 1],
  [0.7, 2],
  [every(333), 1],
  [50.5, 3],
];

/** So slow that no stall of the machine lets an event happen. */
const slow: typeof limits = [
  [0.001, 1],
  [0.0007, 3],
  [every(3_333_333), 2],
];

/** Clocks of a test: fake, and moving a little at each reading, as the real one does. */
const clocks: [what: string, limits: typeof slow, start: () => void][] = [
  [
    "a clock that moves at each reading",
    limits,
    () => {
      vi.useFakeTimers({ now: T0 });
      const read = performance.now.bind(performance);
      let moved = 0;
      vi.spyOn(performance, "now").mockImplementation(() => {
        moved += STEP;
        return read() + moved;
      });
    },
  ],
  ["the real clock", slow, () => {}],
];

describe.each(clocks)("on %s", (_, limits, start) => {
  beforeEach(start);

  describe.each(limits)("%d a second, burst %d: the bucket is as if there had been no wait", (limit, burst) => {
    /** A limiter whose burst has been taken, and a twin without waits. */
    function twins(): [Limiter, Limiter] {
      const pair: [Limiter, Limiter] = [new Limiter(limit, burst), new Limiter(limit, burst)];
      const t = now();
      for (const each of pair) expect(each.allow(burst, t)).toBe(true);
      return pair;
    }

    test.each([1, 2, 20, 50])("%d waits cancelled together", (n) => {
      const [limiter, twin] = twins();
      queue(limiter, n, now)();
      alike(limiter, twin, now());
    });

    test("waits of several events cancelled together", () => {
      const [limiter, twin] = twins();
      queue(limiter, 20, now, burst)();
      alike(limiter, twin, now());
    });

    test("waits cancelled one by one, the newest first", () => {
      const [limiter, twin] = twins();
      const cancels = Array.from({ length: 20 }, () => queue(limiter, 1, now));
      for (const cancel of cancels.reverse()) cancel();
      alike(limiter, twin, now());
    });

    test("waits cancelled group by group, the newest first", () => {
      const [limiter, twin] = twins();
      const cancels = [5, 1, 9].map((n) => queue(limiter, n, now));
      for (const cancel of cancels.reverse()) cancel();
      alike(limiter, twin, now());
    });

    test("waits cancelled by an ancestor of their contexts", () => {
      const [limiter, twin] = twins();
      const root = withCancel(bg);
      for (let i = 0; i < 20; i++) watch(limiter.wait(withCancel(root.ctx).ctx));
      root.cancel();
      alike(limiter, twin, now());
    });

    test("waits cancelled by a signal", () => {
      const [limiter, twin] = twins();
      const controller = new AbortController();
      for (let i = 0; i < 20; i++) watch(limiter.wait(controller.signal));
      controller.abort();
      alike(limiter, twin, now());
    });

    test("over and over", () => {
      const [limiter, twin] = twins();
      for (let i = 0; i < 30; i++) queue(limiter, 1 + (i % 3), now)();
      alike(limiter, twin, now());
    });

    test("except for remaining waits, which keep their places", () => {
      const [limiter, twin] = twins();
      const instants = [now(), now(), now()];
      for (const each of [limiter, twin]) for (const t of instants) queue(each, 1, () => t);
      queue(limiter, 20, now)();
      alike(limiter, twin, now());
    });

    test("except for earlier reservations", () => {
      const [limiter, twin] = twins();
      const t = now();
      for (const each of [limiter, twin]) expect(each.reserve(burst, t).ok).toBe(true);
      queue(limiter, 20, now)();
      alike(limiter, twin, now());
    });
  });
});

describe("with instants as arguments, on a clock that is moved by hand", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: T0 });
  });

  test("20 waits for 10 a second, one cancel: the next event is 100 ms away", () => {
    const limiter = new Limiter(10, 1);
    let t = now();
    expect(limiter.allow(1, t)).toBe(true);
    const cancel = queue(limiter, 20, () => {
      t += STEP;
      return t;
    });
    vi.advanceTimersByTime(1);
    cancel();
    expect(limiter.reserve(1, T0 + 1).delay(T0)).toBeCloseTo(now() - (T0 + 1) + 100, 1);
  });

  test("waits that were served count, those cancelled after them do not", async () => {
    const [limiter, twin] = [new Limiter(10, 1), new Limiter(10, 1)];
    const start = now();
    for (const each of [limiter, twin]) each.allow(1, start);
    const instants = [0.1, 0.2, 0.3].map((ms) => start + ms);
    const served = instants.flatMap((t) => [limiter, twin].map((each) => watch(each.wait(bg, 1, t))));
    const cancel = queue(limiter, 10, () => start + 0.4);
    vi.advanceTimersByTime(350);
    await turn();
    expect(served.map(({ state }) => state)).toEqual(Array(6).fill("fulfilled"));
    cancel();
    alike(limiter, twin, start + 350);
  });

  test("a cancelled wait for no event leaves no trace either", () => {
    const limiter = new Limiter(1, 1);
    expect(limiter.allow(1, T0)).toBe(true);
    const reservation = limiter.reserve(1, T0);
    limiter.setLimit(0.5, T0);
    queue(limiter, 1, () => T0, 0)();
    reservation.cancel(T0);
    expect(limiter.tokens(T0)).toBe(0);
  });

  test("a wait never gives back more than it took, though a later one is due earlier", () => {
    const limiter = new Limiter(1, 10);
    expect(limiter.allow(10, T0)).toBe(true);
    const cancelFirst = queue(limiter, 1, () => T0, 10);
    const cancelSecond = queue(limiter, 1, () => T0, 1); // Due after 11 seconds.
    cancelFirst(); // 9 tokens come back.
    expect(limiter.tokens(T0)).toBe(-2);
    const cancelLast = queue(limiter, 1, () => T0, 1); // Due after 3 seconds.
    cancelSecond();
    expect(limiter.tokens(T0)).toBe(-2);
    cancelLast();
  });

  test.each(seeds(150))("random: newest first, for any counts at any instants, seed %d", (seed) => {
    const rnd = random(seed);
    const [limit, burst] = [rnd.next() / 10 + 0.001, rnd.int(1, 4)];
    const [limiter, twin] = [new Limiter(limit, burst), new Limiter(limit, burst)];
    const start = now();
    let t = start;
    for (const each of [limiter, twin]) each.allow(burst, start);
    const kept = rnd.int(0, 4);
    const cancels: (() => void)[] = [];
    // Slow enough that none is served in between: an event takes ten seconds at least.
    for (let i = 0; i < kept + rnd.int(1, 8); i++) {
      t += rnd.next() * 3;
      const events = rnd.int(1, burst);
      const cancel = queue(limiter, 1, () => t, events);
      if (i < kept) queue(twin, 1, () => t, events);
      else cancels.push(cancel);
    }
    vi.advanceTimersByTime(Math.ceil(t - start));
    for (const cancel of cancels.reverse()) {
      cancel();
      if (rnd.bool(0.5)) vi.advanceTimersByTime(rnd.int(1, 5));
    }
    alike(limiter, twin, now());
  });
});

describe.each([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("the instant %d is refused", (at) => {
  const t = T0;

  /** Each gives a limiter an instant. */
  const calls: Record<string, (limiter: Limiter) => unknown> = {
    tokens: (limiter) => limiter.tokens(at),
    allow: (limiter) => limiter.allow(1, at),
    reserve: (limiter) => limiter.reserve(1, at),
    wait: (limiter) => limiter.wait(bg, 1, at),
    setLimit: (limiter) => limiter.setLimit(1, at),
    setBurst: (limiter) => limiter.setBurst(1, at),
  };

  const refused = async (call: () => unknown) => {
    await expect((async () => call())()).rejects.toThrow(RangeError);
  };

  test.each(Object.entries(calls))("by %s, as the first, with nothing changed", async (_, call) => {
    const limiter = new Limiter(10, 2);
    await refused(() => call(limiter));
    expect([limiter.limit(), limiter.burst()]).toEqual([10, 2]);
    expect([limiter.allow(2, t), limiter.allow(1, t), limiter.allow(1, t + 100)]).toEqual([true, false, true]);
  });

  test.each(Object.entries(calls))("by %s, later, with nothing changed", async (_, call) => {
    const limiter = new Limiter(10, 2);
    expect(limiter.allow(2, t)).toBe(true);
    await refused(() => call(limiter));
    expect([limiter.limit(), limiter.burst(), limiter.tokens(t)]).toEqual([10, 2, 0]);
    expect([limiter.allow(1, t + 50), limiter.allow(1, t + 100), limiter.allow(1, t + 100)]).toEqual([
      false,
      true,
      false,
    ]);
  });

  test("by a limiter without a limit too", async () => {
    for (const call of Object.values(calls)) {
      const limiter = new Limiter(Number.POSITIVE_INFINITY, 2);
      await refused(() => call(limiter));
      limiter.setLimit(10, t);
      expect([limiter.allow(2, t), limiter.allow(1, t)]).toEqual([true, false]);
    }
  });

  test("by a reservation, which stays as it is", async () => {
    const limiter = new Limiter(10, 1);
    limiter.allow(1, t);
    const reservation = limiter.reserve(1, t);
    await refused(() => reservation.delay(at));
    await refused(() => reservation.cancel(at));
    expect(reservation.delay(t)).toBe(100);
    expect(limiter.tokens(t)).toBe(-1);
  });

  test("or does no harm to Sometimes", () => {
    const sometimes = new Sometimes({ interval: 1000 });
    const ran: number[] = [];
    try {
      sometimes.do(() => {}, at);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
    }
    for (const ms of [0, 1000, 2000, 2500]) sometimes.do(() => ran.push(ms), t + ms);
    expect(ran.slice(-2)).toEqual([1000, 2000]);
  });
});

describe("the interval of Sometimes", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: T0 });
  });

  test("runs from the end of the function, where no instant is given", () => {
    const sometimes = new Sometimes({ interval: 1000 });
    const ran: string[] = [];
    const slow = (name: string) => () => {
      ran.push(name);
      vi.advanceTimersByTime(600);
    };
    sometimes.do(slow("first"));
    vi.advanceTimersByTime(400);
    sometimes.do(slow("1000 after the start of the first"));
    vi.advanceTimersByTime(599);
    sometimes.do(slow("999 after its end"));
    vi.advanceTimersByTime(1);
    sometimes.do(slow("1000 after its end"));
    expect(ran).toEqual(["first", "1000 after its end"]);
  });

  test("runs from the instant that is given", () => {
    const sometimes = new Sometimes({ interval: 1000 });
    const ran: number[] = [];
    for (const ms of [0, 999, 1000, 1999, 2000]) {
      const slow = () => {
        ran.push(ms);
        vi.advanceTimersByTime(600);
      };
      sometimes.do(slow, T0 + ms);
    }
    expect(ran).toEqual([0, 1000, 2000]);
  });
});

describe("a wait that is cancelled after its time, before the host's timer has come to it,", () => {
  /** Waits for two events, then for one; 50 ms after the time of one of them it is cancelled, or neither is. */
  function tokensAfter(cancelled: "first" | "second" | "neither"): number {
    vi.useFakeTimers({ now: T0 });
    const limiter = new Limiter(10, 2);
    limiter.allow(2);
    const scopesOf = { first: withCancel(bg), second: withCancel(bg), neither: withCancel(bg) };
    scopes.push(...Object.values(scopesOf));
    watch(limiter.wait(scopesOf.first.ctx, 2));
    watch(limiter.wait(scopesOf.second.ctx, 1));
    const late = performance.now() + (cancelled === "second" ? 350 : 250);
    vi.spyOn(performance, "now").mockReturnValue(late);
    scopesOf[cancelled].cancel();
    return Math.round(limiter.tokens() * 1e6) / 1e6;
  }

  test("gives all back if it is the newest", () => {
    expect([tokensAfter("neither"), tokensAfter("second")]).toEqual([-0.5, 1.5]);
  });

  test("gives nothing back otherwise", () => {
    expect(tokensAfter("first")).toBe(tokensAfter("neither"));
  });
});
