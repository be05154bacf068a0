/** The series of the growth measurement: the cost of each primitive against its size. */
import { Channel, context, semaphore, shardmap } from "gopark";
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
];
