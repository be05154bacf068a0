/**
 * A deadline that has passed is seen by every look, even if the event loop has not turned since. Of equal instants the
 * one that was armed first comes first.
 */
import { Channel } from "gopark/channel";
import {
  afterFunc,
  background,
  type Context,
  cause,
  DeadlineExceeded,
  fromSignal,
  withCancel,
  withDeadline,
  withTimeout,
  withValue,
} from "gopark/context";
import { Group } from "gopark/errgroup";
import { Limiter } from "gopark/rate";
import { select, trySelect } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { after, now, sleep, Ticker, Timer } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { foreign } from "./support/foreign.ts";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

/** Starts a clock that the test moves by hand while no timer fires. */
function handClock(): (ms: number) => void {
  vi.useFakeTimers();
  const monotonic = vi.spyOn(performance, "now");
  const system = vi.spyOn(Date, "now");
  let at = [performance.now(), Date.now()] as const;
  const set = (ms: number) => {
    at = [at[0] + ms, at[1] + ms];
    monotonic.mockImplementation(() => at[0]);
    system.mockImplementation(() => at[1]);
  };
  set(0);
  return set;
}

const passed = expect.objectContaining({ name: "TimeoutError" });

describe("once the instant of a deadline has passed on the clock", () => {
  /** Contexts that end with the deadline, seen at once. */
  const looks: Record<string, (ctx: Context) => unknown> = {
    "err()": (ctx) => ctx.err(),
    "err() of a child": (ctx) => ctx.err(),
    "cause()": (ctx) => cause(ctx),
    "tryReceive of done()": (ctx) => ctx.done()?.tryReceive(),
    trySelect: (ctx) => trySelect({ never: new Channel(), ctx }),
    "a child made now": (ctx) => withCancel(ctx).ctx.err(),
    "a later deadline made now": (ctx) => withTimeout(ctx, 1000).ctx.err(),
  };

  const contexts: Record<string, (ctx: Context) => Context> = {
    itself: (ctx) => ctx,
    "a value below it": (ctx) => withValue(ctx, "key", 1),
    "a child": (ctx) => withCancel(ctx).ctx,
    "a grandchild with a later deadline": (ctx) => withTimeout(withCancel(ctx).ctx, 1000).ctx,
    "the context of its signal": (ctx) => fromSignal(ctx.signal),
  };

  describe.each(Object.keys(contexts))("%s", (which) => {
    test.each(Object.keys(looks))("%s sees it, the first time it looks", (look) => {
      const move = handClock();
      const scope = withTimeout(background(), 20);
      const ctx = (contexts[which] as (ctx: Context) => Context)(scope.ctx);
      move(19);
      expect(ctx.err()).toBeUndefined();
      expect(ctx.done()?.tryReceive()).toBeUndefined();
      move(1);
      const seen = (looks[look] as (ctx: Context) => unknown)(ctx);
      if (look === "tryReceive of done()") expect(seen).toEqual({ value: undefined, ok: false });
      else if (look === "trySelect") expect(seen).toEqual({ case: "ctx", value: passed });
      else expect(seen).toEqual(passed);
      expect(ctx.err()).toBeInstanceOf(DeadlineExceeded);
      scope.cancel();
    });
  });

  test("below a foreign context with the same deadline, which has not ended, polls see it", () => {
    const move = handClock();
    const at = now() + 20;
    const { ctx, cancel } = withDeadline(foreign({ deadline: () => at }), at);
    const child = withDeadline(ctx, at);
    move(20);
    for (const each of [child.ctx, ctx]) expect(each.err()).toEqual(passed);
    cancel();
  });

  /** Operations that could complete at once, and must not. */
  const operations: Record<string, (ctx: Context) => Promise<unknown>> = {
    "a receive": (ctx) => {
      const ch = new Channel<number>(1);
      ch.trySend(1);
      return ch.receive(ctx);
    },
    "a send": (ctx) => new Channel<number>(1).send(1, ctx),
    "an iterator's next": (ctx) => {
      const ch = new Channel<number>(1);
      ch.trySend(1);
      return ch.values(ctx).next();
    },
    "an acquire": (ctx) => new Weighted(1).acquire(ctx),
    "a permit": (ctx) => new Weighted(1).permit(ctx),
    "a sleep": (ctx) => sleep(0, ctx),
    "a limiter's wait": (ctx) => new Limiter(1, 1).wait(ctx),
    "a group's go": (ctx) => new Group().go(() => {}, ctx),
    "a group's wait": (ctx) => new Group().wait(ctx),
    "a map's update": (ctx) => new ShardMap<string, number>().update("key", () => 1, ctx),
    "a map's getOrLoad": (ctx) => new ShardMap<string, number>([["key", 1]]).getOrLoad("key", () => 1, ctx),
    "a singleflight group's do": (ctx) => new Flights<string, number>().do("key", () => 1, ctx),
    "a receive that would park": (ctx) => new Channel<number>().receive(ctx),
  };

  test.each(Object.keys(operations))("%s is refused", async (name) => {
    const move = handClock();
    const { ctx, cancel } = withTimeout(background(), 20);
    move(20);
    await expect((operations[name] as (ctx: Context) => Promise<unknown>)(ctx)).rejects.toBeInstanceOf(
      DeadlineExceeded,
    );
    cancel();
  });

  test("a select takes it for ready beside what else is ready", async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 100 && seen.size < 2; i++) {
      const move = handClock();
      const { ctx } = withTimeout(background(), 20);
      const ch = new Channel<number>(1);
      ch.trySend(1);
      move(20);
      seen.add((await select({ ch, ctx })).case);
      ctx.err();
      vi.restoreAllMocks();
      vi.useRealTimers();
    }
    expect([...seen].sort()).toEqual(["ch", "ctx"]);
  });

  test("a look claims its waits at once; its signal and its functions follow in the next microtask", async () => {
    const move = handClock();
    const { ctx } = withTimeout(background(), 20);
    const child = withCancel(ctx);
    const ch = new Channel<number>();
    const waiting = watch(ch.receive(child.ctx));
    const { signal } = ctx;
    const order: string[] = [];
    signal.addEventListener("abort", () => order.push("listener"));
    const stop = afterFunc(ctx, () => order.push("function"));
    move(20);
    expect(ctx.err()).toBeDefined();
    order.push("looked");
    expect(ch.trySend(1), "the wait is over").toBe(false);
    expect(child.ctx.err()).toBe(ctx.err());
    expect(stop()).toBe(false);
    for (let i = 0; i < 3; i++) await Promise.resolve();
    expect([order[0], ...order.slice(1).sort()]).toEqual(["looked", "function", "listener"]);
    expect([signal.aborted, signal.reason]).toEqual([true, ctx.err()]);
    await turns(1);
    expect(waiting.reason).toBe(ctx.err());
  });

  test("a look admits the waiters that the cancelled wait had held back", async () => {
    const move = handClock();
    const { ctx } = withTimeout(background(), 20);
    const sem = new Weighted(2);
    sem.tryAcquire();
    const large = watch(sem.acquire(ctx, 2));
    const small = watch(sem.acquire(background(), 1));
    move(20);
    expect(ctx.err()).toBeDefined();
    expect([sem.held(), sem.waiting()]).toEqual([2, 0]);
    await turns(1);
    expect([large.reason, small.state]).toEqual([ctx.err(), "fulfilled"]);
    sem.release(2);
  });

  test("timers and tickers have their instant ready, and a later look by the host adds none", async () => {
    const move = handClock();
    const timer = new Timer(20);
    const ticker = new Ticker(20);
    const late = after(20);
    expect([timer.c.tryReceive(), ticker.c.tryReceive()]).toEqual([undefined, undefined]);
    move(20);
    const at = now();
    expect(trySelect({ late })).toEqual({ case: "late", value: at });
    expect(timer.c.tryReceive()).toEqual({ value: at, ok: true });
    expect(ticker.c.tryReceive()).toEqual({ value: at, ok: true });
    expect([timer.c.tryReceive(), ticker.c.tryReceive()]).toEqual([undefined, undefined]);
    await vi.advanceTimersByTimeAsync(20);
    expect([timer.c.tryReceive(), ticker.c.tryReceive()]).toEqual([undefined, undefined]);
    timer.stop();
    ticker.stop();
  });

  test("a receive and a select from a timer need not park", async () => {
    const move = handClock();
    const timers = [new Timer(20), new Timer(20), new Timer(20)] as const;
    move(20);
    const received = watch(timers[0].c.receive());
    const selected = watch(select({ timer: timers[1].c, never: new Channel() }));
    expect(trySelect({ timer: timers[2].c })).toMatchObject({ case: "timer", ok: true });
    await turns(1);
    expect(received.value).toEqual({ value: now(), ok: true });
    expect(selected.value).toEqual({ case: "timer", value: now(), ok: true });
    for (const timer of timers) timer.stop();
  });
});

describe("on the machine's clock, in a loop that never lets the event loop turn", () => {
  const BOUND = 10_000;

  const polls: Record<string, () => () => boolean> = {
    "err()": () => {
      const { ctx } = withTimeout(background(), 5);
      return () => ctx.err() !== undefined;
    },
    "err() of a child": () => {
      const { ctx } = withCancel(withValue(withTimeout(background(), 5).ctx, "key", 1));
      return () => ctx.err() !== undefined;
    },
    "trySelect of a context": () => {
      const { ctx } = withTimeout(background(), 5);
      return () => trySelect({ ctx }) !== undefined;
    },
    "tryReceive of a done channel": () => {
      const { ctx } = withTimeout(background(), 5);
      return () => ctx.done()?.tryReceive() !== undefined;
    },
    "trySelect of a done channel": () => {
      const done = withTimeout(background(), 5).ctx.done();
      return () => trySelect({ done }) !== undefined;
    },
    "tryReceive of a timer": () => {
      const timer = new Timer(5);
      return () => timer.c.tryReceive() !== undefined;
    },
    "tryReceive of a ticker": () => {
      const ticker = new Ticker(5);
      return () => {
        const ticked = ticker.c.tryReceive() !== undefined;
        if (ticked) ticker.stop();
        return ticked;
      };
    },
  };

  test.each(Object.keys(polls))("%s sees that the instant has passed", async (name) => {
    const poll = (polls[name] as () => () => boolean)();
    const from = performance.now();
    let seen = false;
    while (!seen && performance.now() - from < BOUND) seen = poll();
    expect(seen).toBe(true);
    await turns(1);
  });

  test("the first look at a deadline sees it, however often another one has been looked at", () => {
    const other = withTimeout(background(), 60_000);
    const seen: boolean[] = [];
    for (let i = 0; i < 8; i++) {
      const { ctx } = withTimeout(background(), 1);
      const at = ctx.deadline() as number;
      while (now() < at) other.ctx.err();
      // Where the looks at the other one stand in their count differs from round to round.
      for (let j = 0; j < i; j++) other.ctx.err();
      seen.push(ctx.err() !== undefined);
    }
    other.cancel();
    expect(seen).toEqual(Array(8).fill(true));
  });

  test("when DeadlineExceeded is seen, the instant has passed", async () => {
    const { ctx } = withTimeout(background(), 5);
    const from = performance.now();
    while (ctx.err() === undefined && performance.now() - from < BOUND);
    expect(ctx.err()).toBeInstanceOf(DeadlineExceeded);
    expect(now()).toBeGreaterThanOrEqual(ctx.deadline() as number);
  });

  test("an acquire is refused soon, though units are free and the host's timer has not fired", async () => {
    const { ctx, cancel } = withTimeout(background(), 5);
    const sem = new Weighted(1);
    const from = performance.now();
    while (performance.now() - from < 30);
    let refused: unknown;
    // So few that the event loop does not turn in between.
    for (let i = 0; i < 100 && refused === undefined; i++) {
      await sem.acquire(ctx).then(
        () => sem.release(),
        (error) => {
          refused = error;
        },
      );
    }
    cancel();
    expect(refused).toBeInstanceOf(DeadlineExceeded);
  });
});

test("of one instant, the deadline of the context above holds for what is made below it", () => {
  const at = now() + 5;
  const above = withDeadline(background(), at, "above");
  for (let i = 0; i < 40; i++) above.ctx.err();
  const from = performance.now();
  while (performance.now() - from < 10); // No timer fires meanwhile, and nobody asks the library for the time.
  const below = withDeadline(above.ctx, at, "below");
  expect([cause(below.ctx), below.ctx.err() === above.ctx.err()]).toEqual(["above", true]);
});

test("callers of a limiter are served in their order, though the host's timer is late", async () => {
  const pass = handClock();
  const limiter = new Limiter(10, 2);
  limiter.allow(2);
  const order: string[] = [];
  const first = limiter.wait(background()).then(() => order.push("first"));
  pass(400); // No timer has fired.
  const second = limiter.wait(background()).then(() => order.push("second"));
  await Promise.all([first, second]);
  expect(order).toEqual(["first", "second"]);
});
