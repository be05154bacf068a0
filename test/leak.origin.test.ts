/**
 * Under full tracking every record shows where the program asked for it, though a loop of the library makes it later:
 * for a caller that waited, the items of a `map`, the stages of a pipeline, the attempts of a `retry`.
 */
import { Readable } from "node:stream";
import type { ReceiveChannel } from "gopark/channel";
import { background, type Context, withCancel } from "gopark/context";
import { forEach, Group, map, scope } from "gopark/errgroup";
import { counters, find, track } from "gopark/leak";
import * as pipeline from "gopark/pipeline";
import { retry } from "gopark/retry";
import { ShardMap } from "gopark/shardmap";
import { Cond, Mutex } from "gopark/sync";
import { sleep } from "gopark/time";
import { Workers } from "gopark/workers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { turn, turns } from "./support/turn.ts";

const FILE = "leak.origin.test.ts";
const NUMBERS = [1, 2, 3, 4, 5, 6, 7, 8, 9];

beforeEach(() => track("full"));
afterEach(() => track("counters"));

/** Waits for the end of `ctx`, and a little longer than a caller that is told at once. */
const hang = (_: unknown, ctx: Context) =>
  new Promise((resolve) => (ctx.done() as ReceiveChannel<never>).receive().then(resolve, resolve));
/** The first item passes; the others stay. */
const passFirst = (item: number, ctx: Context) => (item === 1 ? item : hang(item, ctx));

/** Stages whose calls ignore the end of their own context: so those that close them wait, until `ctx` ends. */
const stubborn = (ctx: Context) => pipeline.map(background(), NUMBERS, (item) => hang(item, ctx));

/** A context that ends soon, while the program still runs. */
function soonOver(): Context {
  const { ctx, cancel } = withCancel(background());
  void turns(3).then(() => cancel());
  return ctx;
}

type Program = (ctx: Context) => Promise<unknown>;

const first = async (stage: pipeline.Stage<unknown>) => {
  const iterator = stage[Symbol.asyncIterator]();
  await iterator.next();
  await iterator.next();
};

/** Each runs until its context ends. None is awaited where it is called: then no async stack would lead to it. */
const programs: Record<string, Program> = {
  "go that waited for a slot": async (ctx) => {
    const group = new Group();
    group.setLimit(1);
    void group.go(() => turn());
    void group.go(() => hang(0, ctx));
    group.go(() => {}, ctx).catch(() => {});
    await hang(0, ctx);
    await group.wait();
  },
  "map, beyond its limit": (ctx) => map(ctx, NUMBERS, passFirst, { limit: 2 }),
  "forEach of an async iterable": (ctx) => {
    async function* numbers() {
      for (const n of NUMBERS) {
        await turn();
        yield n;
      }
    }
    return forEach(ctx, numbers(), passFirst, { limit: 1 });
  },
  "map, after its last item": (ctx) => map(ctx, [1, 2], passFirst, { limit: 3 }),
  "map that closes a stage": (ctx) => map(soonOver(), stubborn(ctx), (item) => item, { limit: 2 }),
  "scope, after its body": (ctx) =>
    scope(ctx, async (group) => {
      await turn();
      await group.go(() => hang(0, ctx));
    }),
  "scope, after its body has failed": (ctx) =>
    scope(background(), async (group) => {
      await group.go(() => hang(0, ctx));
      throw new Error("no");
    }),
  "update that waited": async (ctx) => {
    const shardMap = new ShardMap<string, unknown>();
    void shardMap.update("key", () => turn());
    void shardMap.update("key", () => hang(0, ctx));
    shardMap.update("key", () => 3, ctx).catch(() => {});
    await hang(0, ctx);
  },
  "wait of a Cond, for its lock": async (ctx) => {
    const mutex = new Mutex();
    const cond = new Cond(mutex);
    await mutex.lock();
    const waiting = cond.wait();
    await mutex.lock();
    cond.signal();
    await hang(0, ctx);
    mutex.unlock();
    await waiting;
    mutex.unlock();
  },
  "wait of a Cond, with its lock": async (ctx) => {
    const mutex = new Mutex();
    const cond = new Cond(mutex);
    await mutex.lock();
    const waiting = cond.wait();
    cond.signal();
    await hang(0, ctx);
    await waiting;
    mutex.unlock();
  },
  "submit that waited": async (ctx) => {
    const pool = new Workers(1);
    void pool.submit(() => turn());
    void pool.submit(() => hang(0, ctx));
    await hang(0, ctx);
    await pool.release();
  },
  "a retry after its first attempt": (ctx) =>
    retry(
      ctx,
      () => {
        throw new Error("no");
      },
      { base: 1e9, cap: 1e9, random: () => 1 },
    ),
  "a retry after an attempt that waited": (ctx) =>
    retry(ctx, () => turn().then(() => Promise.reject(new Error("no"))), { base: 1e9, cap: 1e9, random: () => 1 }),
  "collect that closes a stage": (ctx) => pipeline.collect(soonOver(), stubborn(ctx)),
  "a stage that closes another": (ctx) => first(pipeline.filter(soonOver(), stubborn(ctx), () => true)),
  "broadcast that closes a stage": (ctx) => first(pipeline.broadcast(soonOver(), stubborn(ctx)).subscribe()),
  "collect of a stage": (ctx) => pipeline.collect(ctx, pipeline.map(ctx, NUMBERS, passFirst)),
  "from and map, with a consumer that is away": async (ctx) => {
    await first(pipeline.map(ctx, pipeline.from(ctx, NUMBERS), (n) => n, { concurrency: 3 }));
    await hang(0, ctx);
  },
  "filter of a filter": (ctx) =>
    first(
      pipeline.filter(
        ctx,
        pipeline.filter(ctx, NUMBERS, (n) => n > 1),
        passFirst,
      ),
    ),
  "merge of stages": (ctx) => first(pipeline.merge(ctx, pipeline.from(ctx, [1]), pipeline.map(ctx, NUMBERS, hang))),
  "batch of a stage": (ctx) => first(pipeline.batch(ctx, pipeline.map(ctx, NUMBERS, passFirst), 2, 1e9)),
  "debounce of a stage": (ctx) => first(pipeline.debounce(ctx, pipeline.map(ctx, NUMBERS, passFirst), 1e9)),
  "throttle of a stage": (ctx) => first(pipeline.throttle(ctx, pipeline.map(ctx, NUMBERS, passFirst), 1e9)),
  "tee of a stage, one leg taken": async (ctx) => {
    const [leg] = pipeline.tee(ctx, pipeline.from(ctx, NUMBERS));
    await first(leg);
    await hang(0, ctx);
  },
  "broadcast of a stage": async (ctx) => {
    const hub = pipeline.broadcast(ctx, pipeline.map(ctx, NUMBERS, passFirst));
    await Promise.all([first(hub.subscribe()), first(hub.subscribe({ buffer: 3 }))]);
  },
  "toChannel of a stage that waits": async (ctx) => {
    const group = new Group();
    pipeline.toChannel(group, pipeline.map(ctx, NUMBERS, hang));
    await group.wait();
  },
  "toWebStream of a stage that waits": async (ctx) => {
    const reader = pipeline.toWebStream(pipeline.map(ctx, NUMBERS, passFirst)).getReader();
    await reader.read();
    await reader.read();
  },
  "toNodeStream of a stage that waits": async (ctx) => {
    const stream = pipeline.toNodeStream(pipeline.map(ctx, NUMBERS, passFirst), Readable);
    stream.on("error", () => {}).resume();
    await hang(0, ctx);
  },
  "toChannel, with nobody to receive": async (ctx) => {
    const group = new Group();
    pipeline.toChannel(group, pipeline.from(ctx, NUMBERS));
    await hang(0, ctx);
    await group.wait();
  },
};

test.each(Object.entries(programs))("%s: every record leads to the program", async (_, program) => {
  const before = counters();
  const { ctx, cancel } = withCancel(background());
  const running = program(ctx).catch(() => {});
  await turns(20);
  const leaks = find();
  cancel();
  await running;
  await turns(20);

  // The context of this test is one of them.
  expect(leaks.length).toBeGreaterThan(1);
  expect(leaks.filter(({ stack }) => !stack?.includes(FILE)).map(({ kind, stack }) => `${kind}\n${stack}`)).toEqual([]);
  expect(counters()).toEqual(before);
});

test("a generator of the program that waits shows its own code, not the stage that takes from it", async () => {
  const { ctx, cancel } = withCancel(background());
  function* numbers() {
    yield 1;
    void waitInGenerator(ctx);
    yield 2;
  }
  const stage = pipeline.map(ctx, numbers(), (n) => n, { concurrency: 3 });
  const iterator = stage[Symbol.asyncIterator]();
  await iterator.next();
  await turns(20);
  const sleeping = find().find(({ kind }) => kind === "sleep");
  cancel();
  await iterator.return?.();

  expect(sleeping?.stack?.split("\n")[0]).toContain("waitInGenerator");
});

async function waitInGenerator(ctx: Context): Promise<void> {
  await sleep(1e9, ctx).catch(() => {});
}
