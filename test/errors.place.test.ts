/**
 * The stack of an error: under full tracking, that of the wait that it rejected. Without, there are no frames, because
 * they cost too much where many waits fail at once.
 */
import { Channel, ClosedChannelError, type ReceiveChannel } from "gopark/channel";
import {
  background,
  type Cancel,
  Canceled,
  type CancelScope,
  type Context,
  withCancel,
  withTimeout,
} from "gopark/context";
import { Group } from "gopark/errgroup";
import { track } from "gopark/leak";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { sleep } from "gopark/time";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { node, type Project, project } from "./support/hosts.ts";

beforeEach(() => track("full"));
afterEach(() => track("full"));

const bg = background();

type Wait = (cancel: Cancel) => Promise<unknown>;

/** The functions that wait, by whose names a stack shows which of them it is. */
function firstWaits(wait: Wait, cancel: Cancel): Promise<unknown> {
  return wait(cancel);
}
function secondWaits(wait: Wait, cancel: Cancel): Promise<unknown> {
  return wait(cancel);
}
function thirdWaits(wait: Wait, cancel: Cancel): Promise<unknown> {
  return wait(cancel);
}

const receive: Wait = (cancel) => new Channel().receive(cancel);

/** The error a promise rejects with. */
async function reasonOf(promise: Promise<unknown>): Promise<Error> {
  const [outcome] = await Promise.allSettled([promise]);
  if (outcome?.status !== "rejected") throw new Error("the promise was not rejected");
  return outcome.reason as Error;
}

/**
 * The parts of a stack: its first line, those of the functions above that are in it, and the lines below the frames.
 */
function shown(err: Error | undefined) {
  const [title, ...lines] = (err?.stack ?? "").split("\n");
  const frames = lines.filter((line) => /^\s+at /.test(line));
  const rest = lines.slice(frames.length).map((line) => line.trim());
  return {
    title,
    ours: frames[0]?.includes("errors.place.test.ts") ?? false,
    through: frames.flatMap((frame) => /\b(first|second|third)Waits\b/.exec(frame)?.[0] ?? []),
    rest,
  };
}

const CANCELED = "AbortError: context canceled";
const EXCEEDED = "TimeoutError: context deadline exceeded";

describe("the shared error of a context, under full tracking", () => {
  test("shows the wait it rejected", async () => {
    const [ctx, cancel] = withCancel(bg);
    const waiting = reasonOf(firstWaits(receive, ctx));
    cancel(new Error("why"));
    expect(await waiting).toBe(ctx.err());
    expect(shown(ctx.err())).toEqual({ title: CANCELED, ours: true, through: ["firstWaits"], rest: [] });
  });

  test("shows the first of several waits, and counts the others", async () => {
    const [ctx, cancel] = withCancel(bg);
    const waiting = [firstWaits, secondWaits, thirdWaits].map((waits) => reasonOf(waits(receive, ctx)));
    cancel();
    const reasons = await Promise.all(waiting);
    expect(new Set(reasons)).toEqual(new Set([ctx.err()]));
    const wanted = { title: CANCELED, ours: true, through: ["firstWaits"], rest: ["(and 2 more waits)"] };
    expect(shown(ctx.err())).toEqual(wanted);
  });

  test("counts one other wait, as one", async () => {
    const [ctx, cancel] = withCancel(bg);
    const waiting = [firstWaits, secondWaits].map((waits) => reasonOf(waits(receive, ctx)));
    cancel();
    await Promise.all(waiting);
    expect(shown(ctx.err())).toMatchObject({ through: ["firstWaits"], rest: ["(and 1 more wait)"] });
  });

  test("counts the waits of the whole tree", async () => {
    const [ctx, cancel] = withCancel(bg);
    const below = withCancel(withCancel(ctx).ctx);
    const beside = withTimeout(ctx, 60_000);
    const waiting = [
      reasonOf(firstWaits(receive, ctx)),
      reasonOf(secondWaits(receive, below.ctx)),
      reasonOf(thirdWaits(receive, beside.ctx)),
      reasonOf(thirdWaits(receive, beside.ctx)),
    ];
    cancel();
    await Promise.all(waiting);
    expect(below.ctx.err()).toBe(ctx.err());
    expect(shown(below.ctx.err())).toMatchObject({ title: CANCELED, ours: true, rest: ["(and 3 more waits)"] });
  });

  test("shows the waits that it rejected, none that ended before or belong to another context", async () => {
    const [ctx, cancel] = withCancel(bg);
    const other = withCancel(bg);
    const ch = new Channel<number>();
    const over = firstWaits((c) => ch.receive(c), ctx);
    const others = reasonOf(secondWaits(receive, other.ctx));
    const waiting = reasonOf(thirdWaits(receive, ctx));
    await ch.send(1);
    await over;
    cancel();
    other.cancel();
    await Promise.all([waiting, others]);
    expect(shown(ctx.err())).toMatchObject({ through: ["thirdWaits"], rest: [] });
    expect(shown(other.ctx.err())).toMatchObject({ through: ["secondWaits"], rest: [] });
  });

  test("shows the wait that a deadline ended", async () => {
    vi.useFakeTimers();
    const { ctx } = withTimeout(bg, 1000);
    const waiting = [firstWaits, secondWaits, thirdWaits].map((waits) => reasonOf(waits(receive, ctx)));
    vi.advanceTimersByTime(1000);
    await Promise.all(waiting);
    const wanted = { title: EXCEEDED, ours: true, through: ["firstWaits"], rest: ["(and 2 more waits)"] };
    expect(shown(ctx.err())).toEqual(wanted);
  });

  test("shows no frames where there was no wait", () => {
    const [ctx, cancel] = withCancel(bg);
    cancel();
    expect(ctx.err()?.stack).toBe(CANCELED);
  });

  const waits: Record<string, Wait> = {
    receive,
    send: (cancel) => new Channel().send(1, cancel),
    "an iterator's next": (cancel) => new Channel().values(cancel).next(),
    acquire: (cancel) => taken.acquire(cancel),
    permit: (cancel) => taken.permit(cancel),
    withPermit: (cancel) => taken.withPermit(cancel, () => {}),
    sleep: (cancel) => sleep(60_000, cancel),
    "a limiter's wait": (cancel) => empty.wait(cancel),
    "a group's go": (cancel) => full.go(() => {}, cancel),
    "a group's wait": (cancel) => running.wait(cancel),
    "an update": (cancel) => map.update("locked", () => 1, cancel),
    "a load": (cancel) => map.getOrLoad("slow", () => busy, cancel),
    "a flight": (cancel) => new Flights<string, number>().do("slow", () => busy, cancel),
  };

  // The sources of the waits above, and their ends.
  let taken: Weighted;
  let empty: Limiter;
  let full: Group;
  let running: Group;
  let map: ShardMap<string, number>;
  let busy: Promise<number>;
  let end: (n: number) => void;
  let locked: Promise<number>;

  beforeEach(() => {
    busy = new Promise((resolve) => {
      end = resolve;
    });
    taken = new Weighted(1);
    taken.tryAcquire();
    empty = new Limiter(1e-6, 1);
    empty.allow();
    full = new Group();
    full.setLimit(0);
    running = new Group();
    running.tryGo(() => busy);
    map = new ShardMap();
    locked = map.update("locked", () => busy);
  });
  afterEach(async () => {
    taken.release();
    end(1);
    await Promise.all([running.wait(), locked]);
  });

  test.each(Object.keys(waits))("shows the frame of any wait: %s", async (name) => {
    const [ctx, cancel] = withCancel(bg);
    const waiting = reasonOf(firstWaits(waits[name] as Wait, ctx));
    cancel();
    expect(await waiting).toBe(ctx.err());
    expect(shown(ctx.err())).toEqual({ title: CANCELED, ours: true, through: ["firstWaits"], rest: [] });
  });
});

test("the reason of a bare signal and the cause of a context belong to others, and stay as they are", async () => {
  const controller = new AbortController();
  const [ctx, cancel] = withCancel(bg);
  const reason = new Error("reason");
  const cause = new Error("cause");
  const before = [reason.stack, cause.stack];
  const waiting = [controller.signal, controller.signal, ctx, ctx].map((c) => reasonOf(firstWaits(receive, c)));
  controller.abort(reason);
  cancel(cause);
  expect(await Promise.all(waiting)).toEqual([reason, reason, ctx.err(), ctx.err()]);
  expect([reason.stack, cause.stack]).toEqual(before);
  expect(ctx.err()?.cause).toBe(cause);
});

test("an error that a foreign context throws keeps its stack, whatever wait it rejects", async () => {
  const thrown = new Error("thrown");
  const before = thrown.stack;
  let callBack = () => {};
  let broken = false;
  const foreign: Context = {
    deadline: () => undefined,
    done: () => new Channel<never>(),
    err: () => {
      if (broken) throw thrown;
      return undefined;
    },
    value: () => undefined,
    signal: new AbortController().signal,
    afterFunc: (fn) => {
      callBack = fn;
      return () => true;
    },
  };
  const done = withCancel(foreign).ctx.done() as ReceiveChannel<never>;
  const waiting = [reasonOf(done.receive()), reasonOf(select({ done })), reasonOf(done.values().next())];
  broken = true;
  callBack();
  expect(await Promise.all(waiting)).toEqual([thrown, thrown, thrown]);
  expect(thrown.stack).toBe(before);
});

/** Ways to be refused by a channel that is closed under the wait, or was before. */
const refusals: Record<string, (ch: Channel<number>) => Promise<unknown>> = {
  "a send": (ch) => ch.send(1),
  "a send with a context": (ch) => ch.send(1, bg),
  "a select": (ch) => select({ sent: ch.sending(1) }),
  "a select among others": (ch) => select({ never: new Channel(), sent: ch.sending(1), off: null }),
};

describe("ClosedChannelError", () => {
  const CLOSED = "ClosedChannelError: send on closed channel";

  function firstSends(refused: (ch: Channel<number>) => Promise<unknown>, ch: Channel<number>) {
    return firstWaits(() => refused(ch), bg);
  }
  function secondSends(refused: (ch: Channel<number>) => Promise<unknown>, ch: Channel<number>) {
    return secondWaits(() => refused(ch), bg);
  }

  test.each(Object.keys(refusals))("is made for each wait and shows its own, under full tracking: %s", async (name) => {
    const refused = refusals[name] as (typeof refusals)[string];
    const ch = new Channel<number>();
    const waiting = [reasonOf(firstSends(refused, ch)), reasonOf(secondSends(refused, ch))];
    ch.close();
    const [one, two] = await Promise.all(waiting);
    expect(one).toBeInstanceOf(ClosedChannelError);
    expect(one).not.toBe(two);
    expect(shown(one)).toEqual({ title: CLOSED, ours: true, through: ["firstWaits"], rest: [] });
    expect(shown(two)).toEqual({ title: CLOSED, ours: true, through: ["secondWaits"], rest: [] });
  });

  test.each(Object.keys(refusals))("shows the call, where the channel was closed before: %s", async (name) => {
    const ch = new Channel<number>();
    ch.close();
    const err = await reasonOf(firstSends(refusals[name] as (typeof refusals)[string], ch));
    expect(shown(err)).toEqual({ title: CLOSED, ours: true, through: ["firstWaits"], rest: [] });
  });

  test.each(Object.keys(refusals))("without full tracking, has no frames: %s", async (name) => {
    track("counters");
    const refused = refusals[name] as (typeof refusals)[string];
    const ch = new Channel<number>();
    const waiting = reasonOf(firstSends(refused, ch));
    ch.close();
    expect((await waiting).stack).toBe(CLOSED);
    expect((await reasonOf(firstSends(refused, ch))).stack).toBe(CLOSED);
  });
});

test("without full tracking, a context's error has no frames", async () => {
  track("counters");
  vi.useFakeTimers();
  const ended = async ({ ctx }: CancelScope, end: () => void) => {
    const waiting = [firstWaits, secondWaits].map((waits) => reasonOf(waits(receive, ctx)));
    end();
    return (await Promise.all(waiting)).map((err) => err.stack);
  };
  const canceled = withCancel(bg);
  expect(await ended(canceled, canceled.cancel)).toEqual([CANCELED, CANCELED]);
  expect(await ended(withTimeout(bg, 5), () => vi.advanceTimersByTime(5))).toEqual([EXCEEDED, EXCEEDED]);
});

test("an error that a program makes itself has the stack of where it was made", () => {
  function userMakes() {
    return [new Canceled(), new ClosedChannelError(1)];
  }
  for (const err of userMakes()) expect(err.stack?.split("\n")[1]).toMatch(/\buserMakes\b/);
});

describe("an unhandled error is printed with the wait, under full tracking", () => {
  let home: Project;
  beforeAll(() => {
    home = project();
  });
  afterAll(() => home.remove());

  const IMPORT =
    'import { Channel, context, leak } from "gopark"; leak.track("full"); const bg = context.background();';

  test.each([
    [
      "a cancel",
      `const [ctx, cancel] = context.withCancel(bg);
      function userWaits() { void new Channel().receive(ctx); }
      userWaits();
      cancel();`,
      "context canceled",
    ],
    [
      "a deadline",
      `const { ctx } = context.withTimeout(bg, 1000); // However busy the machine, the wait parks before.
      function userWaits() { void new Channel().receive(ctx); }
      userWaits();`,
      "context deadline exceeded",
    ],
    [
      "a closed channel",
      `const ch = new Channel();
      function userWaits() { void ch.send(1); }
      userWaits();
      ch.close();`,
      "send on closed channel",
    ],
  ])("%s", async (_, program, message) => {
    const { status, err } = await node(home.path, home.write("user.mjs", `${IMPORT}\n${program}`));
    expect(status).toBe(1);
    expect(err).toMatch(new RegExp(`: ${message}$`, "m")); // Node writes both the class and the name before it.
    expect(err).toMatch(/^ +at userWaits \(.*user\.mjs:\d+:\d+\)/m);
  });
});
