/** `undefined` for a required context stands for `background()`, as optional signals of real code need it. */
import {
  afterFunc,
  background,
  type Cancel,
  cause,
  contextKey,
  merge,
  withCancel,
  withDeadline,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { forEach, map, scope, withContext } from "gopark/errgroup";
import * as pipeline from "gopark/pipeline";
import { KeyedLimiter, Limiter } from "gopark/rate";
import { retry } from "gopark/retry";
import { Weighted } from "gopark/semaphore";
import { now } from "gopark/time";
import { expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const calls: Record<string, (ctx: Cancel | undefined) => unknown> = {
  acquire: async (ctx) => {
    const sem = new Weighted(1);
    await sem.acquire(ctx);
    sem.release();
  },
  permit: async (ctx) => (await new Weighted(1).permit(ctx)).release(),
  withPermit: (ctx) => new Weighted(1).withPermit(ctx, () => 1),
  "withPermit with a number": (ctx) => new Weighted(2).withPermit(ctx, 2, () => 1),
  wait: (ctx) => new Limiter(1, 1).wait(ctx),
  "wait of a key": (ctx) => new KeyedLimiter(1, 1).wait(ctx, "a"),
  map: (ctx) => map(ctx, [1, 2], (n) => n + 1, { limit: 1 }),
  forEach: (ctx) => forEach(ctx, [1, 2], () => {}, { limit: 1 }),
  scope: (ctx) => scope(ctx, () => 1),
  retry: (ctx) => retry(ctx, () => 1),
  withContext: async (ctx) => withContext(ctx)[0].wait(),
  withCancel: (ctx) => withCancel(ctx).cancel(),
  withTimeout: (ctx) => withTimeout(ctx, 1000).cancel(),
  withDeadline: (ctx) => withDeadline(ctx, now() + 1000).cancel(),
  withValue: (ctx) => withValue(ctx, contextKey("k"), 1).err(),
  withoutCancel: (ctx) => withoutCancel(ctx).err(),
  afterFunc: (ctx) => afterFunc(ctx, () => {})(),
  cause: (ctx) => cause(ctx),
  "merge, the first": (ctx) => merge(ctx, background()).cancel(),
  "merge, another": (ctx) => merge(background(), ctx).cancel(),
  collect: (ctx) => pipeline.collect(ctx, [1]),
  from: (ctx) => pipeline.collect(ctx, pipeline.from(ctx, [1])),
  "map of a pipeline": (ctx) =>
    pipeline.collect(
      ctx,
      pipeline.map(ctx, [1], (n) => n),
    ),
  filter: (ctx) => pipeline.collect(ctx, pipeline.filter(ctx, [1], Boolean)),
  "merge of a pipeline": (ctx) => pipeline.collect(ctx, pipeline.merge(ctx, [1], [])),
  batch: (ctx) => pipeline.collect(ctx, pipeline.batch(ctx, [1], 2)),
  debounce: (ctx) => pipeline.collect(ctx, pipeline.debounce(ctx, [1], 0)),
  throttle: (ctx) => pipeline.collect(ctx, pipeline.throttle(ctx, [1], 0)),
  tee: (ctx) => Promise.all(pipeline.tee(ctx, [1]).map((stage) => pipeline.collect(ctx, stage))),
  broadcast: (ctx) => pipeline.collect(ctx, pipeline.broadcast(ctx, [1]).subscribe()),
};

test.each(Object.keys(calls))("%s does as with background()", async (name) => {
  const call = calls[name] as (ctx: Cancel | undefined) => unknown;
  expect(await call(undefined)).toEqual(await call(background()));
});

test.each(Object.keys(calls))("%s refuses null", async (name) => {
  const call = calls[name] as (ctx: Cancel | undefined) => unknown;
  await expect((async () => call(null as never))()).rejects.toThrow(TypeError);
});

test("a context that is made of it is one of background()'s", () => {
  const { ctx, cancel } = withCancel(undefined);
  expect(String(ctx)).toBe("context.Background.WithCancel");
  cancel();
});

test("a wait under it is counted, and ends by what it waits for", async () => {
  const sem = new Weighted(1);
  await sem.acquire(undefined);
  const waiting = watch(sem.acquire(undefined));
  sem.release();
  await turn();
  expect(waiting.state).toBe("fulfilled");
  sem.release();
});
