/** The series of the growth measurement: the cost of each primitive against its size. */
import { Channel, context, pipeline, rate, semaphore, shardmap, singleflight, sync, workers } from "gopark";
import { wide } from "./context.bench.ts";
import { overChannels } from "./select.bench.ts";
import { BareSemaphore } from "./support/floor.ts";
import { check, type Run } from "./support/row.ts";
import { Tally } from "./support/tally.ts";
import { ParkedOnChannel, ParkedOnFloor, PER_CALL } from "./support/waiters.ts";
import { timers, timersFloor } from "./time.bench.ts";

/** The work at one size: `ops` operations per call. */
export interface Work {
  readonly ops: number;
  readonly run: Run;
}

/** A series: its two sides at its sizes. */
export interface Growth {
  readonly title: string;
  readonly size: string;
  readonly operation: string;
  readonly sizes: readonly number[];
  readonly ours: (size: number) => Work;
  readonly floor?: (size: number) => Work;
  readonly floorIs?: string;
}

const root = context.withCancel(context.background()).ctx;

interface Semaphore {
  acquire(): Promise<void>;
  release(): void;
}

function weighted(): Semaphore {
  const sem = new semaphore.Weighted(1);
  return { acquire: () => sem.acquire(root), release: () => sem.release() };
}

/**
 * Parks `waiters` acquires behind the task that holds the only unit. A call passes the unit on `PER_CALL` times: the
 * task that holds it releases it to the front waiter and queues again at the back. Between calls one task holds the
 * unit.
 */
function parkedAcquires(sem: Semaphore, waiters: number): Work {
  let left = 0;
  let paused = () => {};
  let resume = () => {};
  const task = async () => {
    for (;;) {
      await sem.acquire();
      if (left-- <= 0) {
        paused();
        await new Promise<void>((resolve) => {
          resume = resolve;
        });
      }
      sem.release();
    }
  };
  for (let i = 0; i <= waiters; i++) void task();
  return {
    ops: PER_CALL,
    run: () =>
      new Promise((resolve) => {
        paused = resolve;
        left = PER_CALL - 1;
        resume();
      }),
  };
}

function parkedReceivers(parked: ParkedOnChannel | ParkedOnFloor, receivers: number): Work {
  return { ops: PER_CALL, run: () => parked.serve(receivers) };
}

/** Parks receivers on one context, and cancels it. */
async function cancelling(receivers: number): Promise<void> {
  const [ctx, cancel] = context.withCancel(root);
  const ch = new Channel<number>();
  const rejected = new Tally(receivers);
  for (let i = 0; i < receivers; i++) ch.receive(ctx).then(undefined, rejected.one);
  cancel();
  await rejected.all;
}

/** Parks receivers on one channel, and closes it. */
async function closing(receivers: number): Promise<void> {
  const ch = new Channel<number>();
  const resolved = new Tally(receivers);
  for (let i = 0; i < receivers; i++) ch.receive().then(resolved.one);
  ch.close();
  await resolved.all;
}

/** Parks acquires behind the one that holds the only unit, then releases as many times, one after the other. */
async function releasing(sem: Semaphore, acquires: number): Promise<void> {
  await sem.acquire();
  const resolved = new Tally(acquires);
  for (let i = 0; i < acquires; i++) sem.acquire().then(resolved.one);
  for (let i = 0; i < acquires; i++) sem.release();
  await resolved.all;
  sem.release();
}

async function rejectingFloor(waits: number): Promise<void> {
  const parked: ((reason: unknown) => void)[] = [];
  const rejected = new Tally(waits);
  for (let i = 0; i < waits; i++) {
    new Promise<void>((_, reject) => parked.push(reject)).then(undefined, rejected.one);
  }
  for (const reject of parked) reject(waits);
  await rejected.all;
}

async function resolvingFloor(waits: number): Promise<void> {
  const parked: (() => void)[] = [];
  const resolved = new Tally(waits);
  for (let i = 0; i < waits; i++) new Promise<void>((resolve) => parked.push(resolve)).then(resolved.one);
  for (const resolve of parked) resolve();
  await resolved.all;
}

/** Parks locks of a mutex behind its holder, then cancels them all. */
async function cancellingLocks(locks: number): Promise<void> {
  const [ctx, cancel] = context.withCancel(root);
  const mu = new sync.Mutex();
  await mu.lock();
  const rejected = new Tally(locks);
  for (let i = 0; i < locks; i++) mu.lock(ctx).then(undefined, rejected.one);
  cancel();
  await rejected.all;
  mu.unlock();
}

/** Locks as many keys of a KeyedMutex, and then unlocks them. */
async function lockingKeys(keys: number): Promise<void> {
  const mu = new sync.KeyedMutex<number>();
  for (let i = 0; i < keys; i++) await mu.lock(i);
  for (let i = 0; i < keys; i++) mu.unlock(i);
  check(mu.len(), 0);
}

/** Submits tasks at once to 10 slots, and waits for all. */
async function submitting(tasks: number): Promise<void> {
  const pool = new workers.Workers(10);
  const resolved = new Tally(tasks);
  for (let i = 0; i < tasks; i++) pool.submit(nothing).then(resolved.one);
  await resolved.all;
}

async function nothing(): Promise<void> {}

/** One key and many callers, who all get the result of one call. */
async function sharing(callers: number): Promise<void> {
  const flights = new singleflight.Group<string, number>();
  const resolved = new Tally(callers);
  for (let i = 0; i < callers; i++) flights.do("key", async () => 1).then(resolved.one);
  await resolved.all;
}

/** Asks once for each key: the first call makes the buckets. */
function allowing(keys: number): Work {
  const limiter = new rate.KeyedLimiter<number>(1e-9, 2 ** 40, { maxKeys: keys });
  return {
    ops: keys,
    run: () => {
      let allowed = 0;
      for (let i = 0; i < keys; i++) if (limiter.allow((i * 40_503) % keys)) allowed++;
      check(allowed, keys);
    },
  };
}

function getting(keys: number): Work {
  const map = new Map<number, { n: number }>();
  for (let i = 0; i < keys; i++) map.set(i, { n: i });
  return {
    ops: keys,
    run: () => {
      let sum = 0;
      for (let i = 0; i < keys; i++) sum += map.get((i * 40_503) % keys)?.n ?? 0;
      check(sum, (keys * (keys - 1)) / 2);
    },
  };
}

/** Takes items through a stage that keeps 10 of them in hand. */
async function piping(items: number): Promise<void> {
  function* numbers() {
    for (let i = 0; i < items; i++) yield i;
  }
  let taken = 0;
  for await (const _ of pipeline.map(root, numbers(), (n) => n, { concurrency: 10 })) taken++;
  check(taken, items);
}

interface Keyed {
  get(key: string): number | undefined;
}

/** Looks up each key once, not in the order of insertion, so that the caches help a big map little. */
function lookups(build: (entries: [string, number][]) => Keyed, keys: number): Work {
  const names = Array.from({ length: keys }, (_, i) => `user:${i}`);
  const map = build(names.map((name, i) => [name, i]));
  const asked = names.map((_, i) => names[(i * 40_503) % keys] as string);
  return {
    ops: keys,
    run: () => {
      let sum = 0;
      for (let i = 0; i < keys; i++) sum += map.get(asked[i] as string) as number;
      check(sum, (keys * (keys - 1)) / 2);
    },
  };
}

const decades = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));

/** The sizes for waits that all end at once. */
const MANY = [10_000, 30_000, 100_000, 300_000, 1_000_000];
const FEW = [10_000, 100_000, 1_000_000];
const BARE = "bare promises in a list";

export const growthSeries: readonly Growth[] = [
  {
    title: "Receivers on a channel",
    size: "receivers parked",
    operation: "send to the front one",
    sizes: decades(0, 5),
    ours: (n) => parkedReceivers(new ParkedOnChannel(), n),
    floor: (n) => parkedReceivers(new ParkedOnFloor(), n),
    floorIs: BARE,
  },
  {
    title: "Select",
    size: "channels",
    operation: "one case of a select",
    sizes: [2, 4, 8, 16, 32, 64],
    ours: (n) => ({ ops: 1_000 * n, run: () => overChannels(n, 1_000) }),
  },
  {
    title: "Timers",
    size: "timeouts armed",
    operation: "arm and cancel one",
    sizes: decades(3, 6),
    ours: (n) => ({ ops: n, run: () => timers(n) }),
    floor: (n) => ({ ops: n, run: () => timersFloor(n) }),
    floorIs: "setTimeout",
  },
  {
    title: "Waiters on a semaphore",
    size: "acquires parked",
    operation: "release to the front one",
    sizes: decades(0, 5),
    ours: (n) => parkedAcquires(weighted(), n),
    floor: (n) => parkedAcquires(new BareSemaphore(1), n),
    floorIs: BARE,
  },
  {
    title: "Cancelling",
    size: "receivers parked on one context",
    operation: "park and cancel one",
    sizes: MANY,
    ours: (n) => ({ ops: n, run: () => cancelling(n) }),
    floor: (n) => ({ ops: n, run: () => rejectingFloor(n) }),
    floorIs: BARE,
  },
  {
    title: "Closing",
    size: "receivers parked on one channel",
    operation: "park one and close",
    sizes: MANY,
    ours: (n) => ({ ops: n, run: () => closing(n) }),
    floor: (n) => ({ ops: n, run: () => resolvingFloor(n) }),
    floorIs: BARE,
  },
  {
    title: "Releasing",
    size: "acquires parked",
    operation: "park one and release",
    sizes: MANY,
    ours: (n) => ({ ops: n, run: () => releasing(weighted(), n) }),
    floor: (n) => ({ ops: n, run: () => releasing(new BareSemaphore(1), n) }),
    floorIs: BARE,
  },
  {
    title: "Children of a context",
    size: "children",
    operation: "build and cancel one",
    sizes: decades(1, 5),
    ours: (n) => ({ ops: n, run: () => wide(n) }),
  },
  {
    title: "Keys of a ShardMap",
    size: "keys",
    operation: "get",
    sizes: decades(3, 6),
    ours: (n) => lookups((entries) => new shardmap.ShardMap(entries), n),
    floor: (n) => lookups((entries) => new Map(entries), n),
    floorIs: "a raw Map",
  },
  {
    title: "Cancelling locks",
    size: "lock calls parked on one context",
    operation: "park and cancel one",
    sizes: FEW,
    ours: (n) => ({ ops: n, run: () => cancellingLocks(n) }),
    floor: (n) => ({ ops: n, run: () => rejectingFloor(n) }),
    floorIs: BARE,
  },
  {
    title: "Keys of a KeyedMutex",
    size: "keys locked at once",
    operation: "lock and unlock one",
    sizes: FEW,
    ours: (n) => ({ ops: n, run: () => lockingKeys(n) }),
  },
  {
    title: "Tasks of a worker pool",
    size: "tasks submitted at once",
    operation: "submit and run one",
    sizes: FEW,
    ours: (n) => ({ ops: n, run: () => submitting(n) }),
    floor: (n) => ({ ops: n, run: () => resolvingFloor(n) }),
    floorIs: BARE,
  },
  {
    title: "Callers of a single flight",
    size: "callers of one key",
    operation: "join and answer one",
    sizes: FEW,
    ours: (n) => ({ ops: n, run: () => sharing(n) }),
    floor: (n) => ({ ops: n, run: () => resolvingFloor(n) }),
    floorIs: BARE,
  },
  {
    title: "Keys of a KeyedLimiter",
    size: "keys",
    operation: "allow",
    sizes: decades(3, 6),
    ours: allowing,
    floor: getting,
    floorIs: "a raw Map",
  },
  {
    title: "Items of a pipeline",
    size: "items",
    operation: "take one through a stage",
    sizes: FEW,
    ours: (n) => ({ ops: n, run: () => piping(n) }),
  },
];
