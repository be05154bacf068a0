/**
 * Programs put together from several modules, in virtual time, each with many orders of its tasks. Whatever the order:
 * no value, unit or task is lost, no limit is passed, nobody is blocked for ever, and nothing is left behind. The
 * programs of docs/examples print what they always print.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "node:util";
import { CircuitBreaker, OpenStateError, TooManyRequestsError } from "gopark/breaker";
import { Channel, ClosedChannelError } from "gopark/channel";
import {
  background,
  Canceled,
  type Context,
  cause,
  DeadlineExceeded,
  is,
  withCancel,
  withTimeout,
} from "gopark/context";
import { map as eachOf, Group, scope, withContext } from "gopark/errgroup";
import { go } from "gopark/go";
import { batch, collect, map, merge } from "gopark/pipeline";
import { Pool } from "gopark/pool";
import { Limiter } from "gopark/rate";
import { Budget, retry } from "gopark/retry";
import { select } from "gopark/select";
import { QueueFullError, Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Cond, KeyedMutex, Mutex, RWMutex, WaitGroup } from "gopark/sync";
import { test as bubble } from "gopark/synctest";
import { after, afterFunc, now, sleep, Ticker } from "gopark/time";
import { Workers } from "gopark/workers";
import { expect, vi } from "vitest";
import { outputOf, ROOT } from "../support/examples.ts";
import type { Random } from "../support/random.ts";
import { explore } from "./explore.ts";

const bg = background();

/** Registers a program that runs in a bubble, in the order that its seed determines. */
function composed(name: string, program: (random: Random) => Promise<void>): void {
  explore(name, (seed, random) => bubble(() => program(random), { seed }), { quick: 20, full: 500 });
}

const sum = (numbers: Iterable<number>) => [...numbers].reduce((a, b) => a + b, 0);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/** Whether an error is the end of a context. */
const isEnd = (err: unknown) => is(err, Canceled) || is(err, DeadlineExceeded);

composed("a channel: what was sent was received or is still there, whoever gave up", async (random) => {
  const ch = new Channel<number>(random.int(0, 3));
  const [sent, received, refused]: [number[], number[], number[]] = [[], [], []];
  const [group] = withContext(bg);
  for (const n of upTo(20)) {
    const [ctx, cancel] = withTimeout(bg, random.int(1, 20));
    await group.go(async () => {
      await sleep(random.int(0, 15));
      await ch.send(n, ctx).then(
        () => sent.push(n),
        (err) => {
          if (!isEnd(err) && !(err instanceof ClosedChannelError)) throw err;
          refused.push(n);
        },
      );
      cancel();
    });
    await group.go(async () => {
      await sleep(random.int(0, 15));
      using late = withTimeout(bg, random.int(1, 20));
      const s = await select({ ch, late: late.ctx, later: after(random.int(1, 20)) });
      if (s.case === "ch" && s.ok) received.push(s.value);
    });
  }
  if (random.bool(0.3)) await group.go(() => sleep(10).then(() => ch.close()));
  await group.wait();
  for (let s = ch.tryReceive(); s?.ok; s = ch.tryReceive()) received.push(s.value);
  expect([...sent, ...refused].sort((a, b) => a - b)).toEqual(upTo(20));
  expect(received.sort((a, b) => a - b)).toEqual(sent.sort((a, b) => a - b));
});

composed("workers over a channel: each job is done once, and the first failure stops all", async (random) => {
  const jobs = new Channel<number>();
  const results = new Channel<number>(random.int(0, 4));
  const failing = random.bool(0.5) ? random.int(1, 30) : 0;
  const [group, ctx] = withContext(bg);
  const workers = new WaitGroup();
  let running = 0;
  await group.go(async () => {
    for (const job of upTo(30)) await jobs.send(job, ctx);
    jobs.close();
  });
  for (let w = 0; w < 3; w++) {
    workers.add(1);
    await group.go(async () => {
      try {
        for await (const job of jobs.values(ctx)) {
          expect(++running).toBeLessThanOrEqual(3);
          if (random.bool(0.5)) await sleep(random.int(1, 5), ctx).finally(() => running--);
          else running--;
          if (job === failing) throw new Error(`job ${job}`);
          await results.send(job * job, ctx);
        }
      } finally {
        workers.done();
      }
    });
  }
  await group.go(async () => {
    await workers.wait();
    results.close();
  });
  const got: number[] = [];
  for await (const result of results) got.push(result);
  const error = await group.wait().then(
    () => undefined,
    (err: Error) => err.message,
  );
  expect([error, running]).toEqual([failing === 0 ? undefined : `job ${failing}`, 0]);
  if (failing === 0) expect(sum(got)).toBe(9455);
  else expect(got).not.toContain(failing * failing);
});

composed("a gateway: limiter, semaphore, breaker and retries bound what reaches the service", async (random) => {
  const sem = new Weighted(3, { maxWaiting: 5 });
  const limiter = new Limiter(200, 5);
  const budget = new Budget({ ratio: 0.5, min: 3 });
  const cb = new CircuitBreaker({ timeout: 30, readyToTrip: ({ consecutiveFailures }) => consecutiveFailures > 3 });
  let [inside, most, calls] = [0, 0, 0];
  const outcomes = new Map<string, number>();
  const service = async (ctx: Context) => {
    calls++;
    most = Math.max(most, ++inside);
    try {
      await sleep(random.int(1, 30), ctx);
      if (random.bool(0.3)) throw new Error("unavailable");
    } finally {
      inside--;
    }
  };
  await Promise.all(
    upTo(25).map((n) =>
      go(async () => {
        await sleep(random.int(0, 60));
        using call = withTimeout(bg, random.int(20, 100));
        const attempt = () =>
          limiter.wait(call.ctx).then(() => cb.execute(() => sem.withPermit(call.ctx, () => service(call.ctx))));
        const outcome = await retry(call.ctx, attempt, { attempts: 3, base: 5, budget }).then(
          () => "answered",
          (err: Error) => {
            const known = [OpenStateError, TooManyRequestsError, QueueFullError].some((type) => err instanceof type);
            if (known || err.message === "unavailable") return err.name;
            if (isEnd(err) || err.message.startsWith("rate: Wait")) return "late";
            throw err;
          },
        );
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        expect(n).toBeGreaterThan(0);
      }),
    ),
  );
  expect(sum(outcomes.values())).toBe(25);
  expect([inside, sem.held(), sem.waiting()]).toEqual([0, 0, 0]);
  expect(most).toBeLessThanOrEqual(3);
  expect(calls).toBeGreaterThan(0);
});

composed("a cache: one load for many callers, and nobody gets what was invalidated before", async (random) => {
  const cache = new ShardMap<string, number>();
  const flights = new Flights<string, number>();
  const versions = new Map<string, number>();
  const versionOf = (key: string) => versions.get(key) ?? 0;
  let [loads, invalidations] = [0, 0];
  const load = async (key: string) => {
    loads++;
    const version = versionOf(key);
    await sleep(random.int(1, 10));
    return version;
  };
  let [shared, left] = [0, 0];
  const group = new Group();
  for (let i = 0; i < 20; i++) {
    const key = random.pick(["a", "b"]);
    await group.go(async () => {
      await sleep(random.int(0, 40));
      const version = versionOf(key);
      expect(await cache.getOrLoad(key, load)).toBeGreaterThanOrEqual(version);
    });
    await group.go(async () => {
      await sleep(random.int(0, 40));
      versions.set(key, versionOf(key) + 1);
      cache.delete(key);
      invalidations++;
    });
    await group.go(async () => {
      await sleep(random.int(0, 40));
      using patience = withTimeout(bg, random.int(2, 10));
      const answer = await flights
        .do(key, (ctx) => sleep(5, ctx).then(() => 7), patience.ctx)
        .catch((err) => {
          if (!isEnd(err)) throw err;
          left++;
          return { value: 7, shared: false };
        });
      if (answer.shared) shared++;
      expect(answer.value).toBe(7);
    });
  }
  await group.wait();
  expect(loads).toBeLessThanOrEqual(2 + invalidations);
  expect(shared + left).toBeLessThanOrEqual(20);
  expect(shared).not.toBe(1);
});

composed("locks: one writer or many readers, one for each key, and a condition is signalled to one", async (random) => {
  const book = new RWMutex();
  const keys = new KeyedMutex<number>();
  const held = new Set<number>();
  let [readers, writers] = [0, 0];
  const items: number[] = [];
  const m = new Mutex();
  const notEmpty = new Cond(m);
  const taken: number[] = [];
  await scope(bg, async (group, ctx) => {
    for (const n of upTo(12)) {
      await group.go(async () => {
        await sleep(random.int(0, 20), ctx);
        if (random.bool(0.3)) {
          await book.withLock(async () => {
            expect([readers, ++writers]).toEqual([0, 1]);
            await sleep(random.int(0, 3), ctx);
            writers--;
          }, ctx);
        } else {
          await book.withRLock(async () => {
            readers++;
            expect(writers).toBe(0);
            await sleep(random.int(0, 3), ctx);
            readers--;
          }, ctx);
        }
        await keys.withLock(n % 3, async () => {
          expect(held.has(n % 3)).toBe(false);
          held.add(n % 3);
          await sleep(random.int(0, 2), ctx);
          held.delete(n % 3);
        });
      });
      await group.go(async () => {
        await m.lock();
        while (items.length === 0) await notEmpty.wait();
        taken.push(items.shift() as number);
        m.unlock();
      });
      await group.go(async () => {
        await sleep(random.int(0, 20), ctx);
        await m.withLock(() => {
          items.push(n);
          notEmpty.signal();
        });
      });
    }
  });
  expect([readers, writers, held.size, items.length]).toEqual([0, 0, 0, 0]);
  expect(taken.sort((a, b) => a - b)).toEqual(upTo(12));
});

composed(
  "a pipeline: results in order, batches whole, and an error or an early end stops every stage",
  async (random) => {
    const objects = new Pool<{ n: number }>({ create: () => ({ n: 0 }), reset: (o) => Object.assign(o, { n: 0 }) });
    let running = 0;
    const stops = random.pick(["never", "by error", "early"] as const);
    const at = random.int(1, 40);
    const square = async (n: number, ctx: Context) => {
      running++;
      using lease = objects.lease();
      try {
        await sleep(random.int(0, 5), ctx);
        if (stops === "by error" && n === at) throw new Error(`item ${n}`);
        return n * n + lease.value.n;
      } finally {
        running--;
      }
    };
    const numbers = new Channel<number>();
    const feeding = go(async () => {
      using feed = withTimeout(bg, 1000);
      for (const n of upTo(40)) await numbers.send(n, feed.ctx).catch(() => {});
      numbers.close();
    });
    const squares = map(bg, numbers, square, { concurrency: random.int(1, 4) });
    const got: number[] = [];
    const consuming = (async () => {
      for await (const some of batch(bg, squares, random.int(1, 7), random.int(1, 10))) {
        got.push(...some);
        if (stops === "early" && got.length >= at) break;
      }
    })();
    const error = await consuming.then(
      () => undefined,
      (err: Error) => err.message,
    );
    expect([error, running, objects.out()]).toEqual([stops === "by error" ? `item ${at}` : undefined, 0, 0]);
    expect(got).toEqual(upTo(got.length).map((n) => n * n));
    if (stops === "never") expect(got).toHaveLength(40);
    const more = map(bg, upTo(5), (n) => n + 5);
    const both = await collect(bg, merge(bg, upTo(5), more));
    expect(both.sort((a, b) => a - b)).toEqual(upTo(10));
    for (let s = numbers.tryReceive(); s?.ok !== false; s = numbers.tryReceive()) await sleep(50);
    await feeding;
    objects.dispose();
  },
);

composed(
  "a pool of workers: never more than its size, by priority, through pauses, and a release ends it",
  async (random) => {
    const workers = new Workers(2, { maxWaiting: 8 });
    let running = 0;
    const outcomes: string[] = [];
    const work = async () => {
      expect(++running).toBeLessThanOrEqual(3);
      await sleep(random.int(1, 8));
      running--;
    };
    const submits = upTo(25).map((n) =>
      go(async () => {
        await sleep(random.int(0, 30));
        using patience = withTimeout(bg, random.int(1, 30));
        const options = random.bool(0.5) ? { cancel: patience.ctx, priority: n % 3 } : {};
        outcomes.push(
          await workers.submit(work, options).then(
            () => "done",
            (err: Error) => err.name,
          ),
        );
      }),
    );
    await sleep(random.int(0, 20));
    workers.pause();
    await sleep(random.int(0, 10));
    workers.tune(random.int(1, 3));
    workers.resume();
    await Promise.all(submits);
    await workers.idle();
    await workers.release();
    expect([running, workers.running(), workers.waiting()]).toEqual([0, 0, 0]);
    const known = ["done", "QueueFullError", "TimeoutError"];
    expect(outcomes.filter((outcome) => !known.includes(outcome))).toEqual([]);
    expect(outcomes).toHaveLength(25);
  },
);

composed("deadlines: whatever ends first, a task tree ends whole, with the right cause", async (random) => {
  const reasons: unknown[] = [];
  const [root, cancelRoot] = withCancel(bg);
  const boom = new Error("boom");
  let [alive, fired] = [0, 0];
  const branch = async (ctx: Context, depth: number): Promise<void> => {
    alive++;
    try {
      using mine = withTimeout(ctx, random.int(1, 60));
      using _timer = afterFunc(random.int(1, 60), () => fired++);
      if (depth === 0) await select({ end: mine.ctx, never: new Channel(), also: after(random.int(1, 60)) });
      else await eachOf(mine.ctx, [1, 2, 3], (_, ctx) => branch(ctx, depth - 1), { limit: random.int(1, 3) });
      if (mine.ctx.err() !== undefined) reasons.push(cause(mine.ctx));
    } catch (err) {
      if (!isEnd(err)) throw err;
    } finally {
      alive--;
    }
  };
  using ticker = new Ticker(7);
  const watching = go(async () => {
    let last = now();
    for (;;) {
      const s = await select({ tick: ticker.c, stop: root });
      if (s.case === "stop") return;
      expect((s.value as number) - last).toBe(7);
      last = s.value as number;
    }
  });
  const tree = go(branch, root, 2);
  await sleep(random.int(1, 50));
  cancelRoot(boom);
  await Promise.all([tree, watching]);
  expect(alive).toBe(0);
  expect(fired).toBeLessThanOrEqual(13);
  for (const reason of reasons) expect(reason === boom || is(reason, DeadlineExceeded)).toBe(true);
});

const FOLDER = join(ROOT, "docs/examples");

/** Of these, several tasks that can go on at once print something. So the order of their lines is not determined. */
const PRINT_IN_ANY_ORDER = ["graceful-drain.ts", "hedging.ts", "pipeline.ts", "worker-pool.ts"];

for (const program of readdirSync(FOLDER).filter((name) => name.endsWith(".ts"))) {
  const ordered = (lines: string[]) => (PRINT_IN_ANY_ORDER.includes(program) ? lines.sort() : lines);
  const wanted = ordered(outputOf(readFileSync(join(FOLDER, program), "utf8").trimEnd().split("\n")));
  explore(
    `the example ${program}`,
    async (seed) => {
      const lines: string[] = [];
      const log = vi.spyOn(console, "log").mockImplementation((...args) => {
        lines.push(...format(...args).split("\n"));
      });
      // By a name of its own, so that it is loaded and run again.
      await bubble(() => import(/* @vite-ignore */ `${join(FOLDER, program)}?seed=${seed}`), { seed }).finally(() =>
        log.mockRestore(),
      );
      expect(ordered(lines.map((line) => line.trim()))).toEqual(wanted);
    },
    { quick: 20, full: 500 },
  );
}
