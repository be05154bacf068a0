/**
 * A storm of random cancellations: hundreds of tasks that send, receive, select, acquire, lock, lease, submit, update,
 * load, retry, wait, sleep and spawn, under contexts that are cancelled at random moments, on channels that are closed
 * and with workers that are released at random moments. Afterwards every value that was sent has been received exactly
 * once, every unit, lock, slot, token and pooled object is back, no update is lost, the breaker has heard of the end of
 * each call, and nothing is left behind.
 */
import { CircuitBreaker } from "gopark/breaker";
import { Channel, type ReceiveChannel } from "gopark/channel";
import { background, type CancelScope, type Context, merge, withCancel, withTimeout } from "gopark/context";
import { type Group, map, scope } from "gopark/errgroup";
import { go } from "gopark/go";
import * as pipeline from "gopark/pipeline";
import { Pool } from "gopark/pool";
import { KeyedLimiter, Limiter } from "gopark/rate";
import { retry } from "gopark/retry";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Cond, KeyedMutex, Mutex, RWMutex, WaitGroup } from "gopark/sync";
import { after, sleep } from "gopark/time";
import { Workers } from "gopark/workers";
import { random } from "./random.ts";

export interface Storm {
  /** The number of operations so far, by kind. */
  readonly done: ReadonlyMap<string, number>;
  /** Resolves when every task has ended and every channel is drained. */
  readonly over: Promise<Ledger>;
}

/** The record of the values: those sent successfully, and those received. */
export interface Ledger {
  readonly sent: ReadonlySet<number>;
  readonly received: readonly number[];
  readonly semaphores: readonly Weighted[];
  readonly desks: Pool<Desk>;
  readonly mutex: Mutex;
  readonly rw: RWMutex;
  readonly keyed: KeyedMutex<number>;
  readonly workers: Workers;
  /** It had `TOKENS` tokens, earned none, and paid for each retry. */
  readonly budget: InstanceType<typeof retry.Budget>;
  readonly retried: number;
  readonly breaker: CircuitBreaker;
  /** How often it has opened. */
  readonly trips: number;
  /** How many pieces have been put on the shelf and not been taken, and how many are there. */
  readonly shelf: { readonly left: number; readonly pieces: number };
  /** How many inputs of pipelines are open. */
  readonly inputs: number;
  /** How often each key was incremented, and the map's counts. */
  readonly updated: ReadonlyMap<number, number>;
  readonly counts: ShardMap<number, number>;
}

/** A pooled object: one task at a time sits at it, and its papers must be gone when the next one gets it. */
interface Desk {
  sitting: number;
  papers: number[];
}

/** What a lock guards: several readers or one writer may be in it. */
interface Room {
  readers: number;
  writers: number;
}

type Operation = readonly [what: string, run: (ctx: Context, depth: number) => unknown];

function repeat(weight: number, what: string, run: Operation[1]): Operation[] {
  return Array.from({ length: weight }, () => [what, run]);
}

const TASKS = 300;
const CONTEXTS = 24;
const WORKERS = 6;
const PROBES = 2;
export const TOKENS = 1e6;
const SLOW = ["block", "dropOldest", "dropNewest"] as const;

export function storm(seed: number, operations: number): Storm {
  const rnd = random(seed);
  const done = new Map<string, number>();
  const sent = new Set<number>();
  const received: number[] = [];
  const channels = [0, 0, 1, 1, 3, 8].map((capacity) => new Channel<number>(capacity));
  const semaphores = [new Weighted(1), new Weighted(5)];
  const limiter = new Limiter(2000, 20);
  const desks = new Pool<Desk>({
    create: () => ({ sitting: 0, papers: [] }),
    reset: (desk) => {
      desk.papers.length = 0;
    },
    maxIdle: 20,
    idleMs: 5,
  });
  const counts = new ShardMap<number, number>();
  const updated = new Map<number, number>();
  const cache = new ShardMap<number, number>();
  const flights = new Flights<number, number>();
  const room = (): Room => ({ readers: 0, writers: 0 });
  const mutex = new Mutex();
  const rw = new RWMutex();
  const keyed = new KeyedMutex<number>();
  const rooms = { mutex: room(), rw: room(), keyed: [room(), room(), room()] };
  const workers = new Workers(WORKERS, { maxWaiting: 20 });
  const keyedLimiter = new KeyedLimiter<number>(2000, 5, { maxKeys: 3 });
  const budget = new retry.Budget({ ratio: 0, min: TOKENS });
  let trips = 0;
  let probes = 0;
  let generation = 0;
  const breaker = new CircuitBreaker({
    maxRequests: PROBES,
    timeout: 2,
    readyToTrip: (counts) => counts.consecutiveFailures >= 2,
    isExcluded: (err) => err !== undefined && (err as Error).message !== "flaky",
    onStateChange: (_, __, to) => {
      generation++;
      probes = 0;
      if (to === "open") trips++;
    },
  });
  const shelfLock = new Mutex();
  const shelfChanged = new Cond(shelfLock);
  const shelf = { left: 0, pieces: 0 };
  const never = new Promise<never>(() => {});
  let working = 0;
  let retried = 0;
  let inputs = 0;
  const scopes: CancelScope[] = [];
  let values = 0;
  let left = operations;
  let running = 0;

  const channel = (): Channel<number> => rnd.pick(channels);

  /** A fresh context somewhere in the tree, with or without a deadline. */
  const derive = (): CancelScope => {
    const parent = scopes.length > 0 && rnd.bool(0.5) ? rnd.pick(scopes).ctx : background();
    if (scopes.length > 0 && rnd.bool(0.1)) return merge(parent, rnd.pick(scopes).ctx);
    return rnd.bool(0.3) ? withTimeout(parent, rnd.int(0, 5)) : withCancel(parent);
  };
  for (let i = 0; i < CONTEXTS; i++) scopes.push(derive());

  /** Cancels some context, perhaps with a tree below it, and puts a new one in its place. */
  const strike = (): void => {
    const i = rnd.int(0, CONTEXTS - 1);
    scopes[i]?.cancel(new Error(`strike ${i}`));
    scopes[i] = derive();
  };

  const drain = (ch: ReceiveChannel<number>): void => {
    for (let r = ch.tryReceive(); r?.ok; r = ch.tryReceive()) received.push(r.value);
  };

  /** Closes a channel while tasks use it; its buffered values must still come out. */
  const shut = (): void => {
    const i = rnd.int(0, channels.length - 1);
    const old = channels[i] as Channel<number>;
    channels[i] = new Channel(old.cap());
    old.close();
    drain(old);
  };

  const send = async (ctx: Context): Promise<void> => {
    const value = values++;
    await channel().send(value, rnd.bool(0.8) ? ctx : ctx.signal);
    sent.add(value);
  };

  const receive = async (ctx: Context): Promise<void> => {
    const r = await channel().receive(rnd.bool(0.8) ? ctx : ctx.signal);
    if (r.ok) received.push(r.value);
  };

  const trySend = (): void => {
    const value = values++;
    if (channel().trySend(value)) sent.add(value);
  };

  const tryReceive = (): void => {
    const r = channel().tryReceive();
    if (r?.ok) received.push(r.value);
  };

  const iterate = async (ctx: Context): Promise<void> => {
    let most = rnd.int(1, 5);
    for await (const value of channel().values(ctx)) {
      received.push(value);
      if (--most === 0) break;
    }
  };

  const choose = async (ctx: Context): Promise<void> => {
    const value = values++;
    const s = await select({
      a: channel(),
      b: rnd.bool(0.7) ? channel() : null,
      sent: rnd.bool(0.7) ? channel().sending(value) : null,
      stop: rnd.bool(0.8) ? ctx : ctx.signal,
      late: rnd.bool(0.3) ? after(rnd.int(0, 5)) : null,
      promise: rnd.bool(0.3) ? never : null,
      settled: rnd.bool(0.1) ? Promise.resolve() : null,
    });
    if (s.case === "sent") sent.add(value);
    else if ((s.case === "a" || s.case === "b") && s.ok) received.push(s.value);
  };

  const hold = async (ctx: Context): Promise<void> => {
    const sem = rnd.pick(semaphores);
    const n = rnd.int(0, sem.size());
    switch (rnd.int(0, 2)) {
      case 0:
        await sem.acquire(ctx, n);
        await operation(ctx, 0).finally(() => sem.release(n));
        break;
      case 1: {
        const permit = await sem.permit(ctx, n);
        await Promise.resolve();
        permit.release();
        break;
      }
      default:
        await sem.withPermit(ctx, n, () => operation(ctx, 0));
    }
  };

  /** Writes in a room in which nobody else may be. */
  const write = async (ctx: Context, room: Room): Promise<void> => {
    if (room.writers + room.readers > 0) throw new Error("the room is not empty");
    room.writers++;
    await (rnd.bool(0.5) ? operation(ctx, 0) : Promise.resolve()).finally(() => room.writers--);
  };

  /** Reads in a room in which no writer may be. */
  const peruse = async (ctx: Context, room: Room): Promise<void> => {
    if (room.writers > 0) throw new Error("a writer is in the room");
    room.readers++;
    await (rnd.bool(0.5) ? operation(ctx, 0) : Promise.resolve()).finally(() => room.readers--);
  };

  const lock = async (ctx: Context): Promise<void> => {
    const key = rnd.int(0, 2);
    const keyedRoom = rooms.keyed[key] as Room;
    switch (rnd.int(0, 7)) {
      case 0:
        await mutex.lock(ctx);
        await write(ctx, rooms.mutex).finally(() => mutex.unlock());
        break;
      case 1:
        if (mutex.tryLock()) await write(ctx, rooms.mutex).finally(() => mutex.unlock());
        break;
      case 2:
        await mutex.withLock(() => write(ctx, rooms.mutex), ctx.signal);
        break;
      case 3:
        await rw.withLock(() => write(ctx, rooms.rw), ctx);
        break;
      case 4: {
        const guard = await rw.rGuard(ctx);
        await peruse(ctx, rooms.rw).finally(() => guard.unlock());
        break;
      }
      case 5:
        await rw.withRLock(() => peruse(ctx, rooms.rw), ctx.signal);
        break;
      case 6: {
        const guard = await keyed.guard(key, ctx);
        await write(ctx, keyedRoom).finally(() => guard.unlock());
        break;
      }
      default:
        await keyed.withLock(key, () => write(ctx, keyedRoom), ctx);
    }
  };

  /** Submits a task, which may outlive the wait for its answer. */
  const submit = async (ctx: Context): Promise<void> => {
    const task = async (): Promise<void> => {
      if (++working > WORKERS) throw new Error(`${working} of ${WORKERS} workers work`);
      await operation(ctx, 0).finally(() => working--);
    };
    if (rnd.bool(0.2)) await workers.trySubmit(task);
    else await workers.submit(task, { priority: rnd.int(0, 2), cancel: rnd.bool(0.8) ? ctx : undefined });
  };

  /** Changes the workers' size, pauses them, or releases and reopens them, while tasks run and wait. */
  const manage = async (ctx: Context): Promise<void> => {
    switch (rnd.int(0, 2)) {
      case 0:
        workers.tune(rnd.int(1, WORKERS));
        break;
      case 1:
        workers.pause();
        await sleep(1, ctx).finally(() => workers.resume());
        break;
      default:
        await workers.release(ctx).finally(() => workers.reboot());
    }
  };

  /** Calls a flaky operation until it succeeds, and pays for each further attempt. */
  const persist = (ctx: Context): Promise<void> => {
    const attempt = async (ctx: Context, n: number): Promise<void> => {
      if (n > 1) retried++;
      await operation(ctx, 0);
      if (rnd.bool(0.5)) throw new Error("flaky");
    };
    return retry(ctx, attempt, { attempts: rnd.int(1, 4), base: 2, random: () => rnd.int(0, 10) / 10, budget });
  };

  /** Calls a flaky operation through the breaker. While that is half-open, only so many calls may run. */
  const protect = async (ctx: Context): Promise<void> => {
    const call = async (): Promise<void> => {
      const mine = generation;
      if (breaker.state() === "half-open" && ++probes > PROBES) throw new Error(`${probes} probes at once`);
      try {
        if (rnd.bool(0.7)) await operation(ctx, 0);
        if (rnd.bool(0.5)) throw new Error("flaky");
      } finally {
        if (mine === generation && breaker.state() === "half-open") probes--;
      }
    };
    await breaker.execute(call).finally(() => {
      const { requests, totalSuccesses, totalFailures, totalExclusions } = breaker.counts();
      const ended = totalSuccesses + totalFailures + totalExclusions;
      if (ended > requests) throw new Error(`of ${requests} calls through the breaker ${ended} have ended`);
    });
  };

  /** Puts a piece on the shelf, or waits until there is one and takes it. */
  const store = (ctx: Context): Promise<void> =>
    shelfLock.withLock(async () => {
      if (rnd.bool(0.5)) {
        shelf.left++;
        shelf.pieces++;
        if (rnd.bool(0.9)) shelfChanged.signal();
        else shelfChanged.broadcast();
        return;
      }
      while (shelf.pieces === 0) await shelfChanged.wait(ctx);
      const { pieces } = shelf;
      await Promise.resolve();
      shelf.pieces = pieces - 1;
      shelf.left--;
    }, ctx);

  /** Waits for tasks, perhaps not to their end. */
  const gather = async (ctx: Context): Promise<void> => {
    const wg = new WaitGroup();
    const tasks = Array.from({ length: rnd.int(1, 3) }, () => wg.go(() => operation(ctx, 0)));
    const outcomes = Promise.allSettled(tasks);
    await wg.wait(rnd.bool(0.5) ? ctx : undefined);
    await outcomes;
  };

  /** The input of a pipeline, which is closed however the pipeline ends. */
  async function* numbers(ctx: Context): AsyncGenerator<number> {
    inputs++;
    try {
      for (let n = 0, most = rnd.int(0, 6); n < most; n++) {
        if (rnd.bool(0.3)) await sleep(1, ctx);
        yield n;
      }
    } finally {
      inputs--;
    }
  }

  /** Reads numbers that must rise, perhaps not to their end. */
  const rise = async (stage: AsyncIterable<number>): Promise<void> => {
    let most = rnd.int(1, 8);
    let last = -1;
    for await (const n of stage) {
      if (n <= last) throw new Error(`the pipeline has ${n} after ${last}`);
      last = n;
      if (--most === 0) break;
    }
  };

  /** Reads a pipeline. None of its calls may run when the reader has left. */
  const flow = async (ctx: Context): Promise<void> => {
    let calls = 0;
    const work = async (n: number, inner: Context): Promise<number> => {
      calls++;
      await operation(inner, 0).finally(() => calls--);
      return n;
    };
    const chosen = pipeline.filter(ctx, numbers(ctx), (n) => n % 3 > 0);
    const worked = pipeline.map(rnd.bool(0.8) ? ctx : ctx.signal, chosen, work, { concurrency: rnd.int(1, 3) });
    const thinned = rnd.pick([
      worked,
      pipeline.debounce(ctx, worked, rnd.int(0, 2)),
      pipeline.throttle(ctx, worked, rnd.int(0, 2)),
    ]);
    const batches = pipeline.batch(ctx, thinned, rnd.int(1, 3), rnd.int(0, 3));
    const lasts = pipeline.map(ctx, batches, (batch) => batch.at(-1) as number);
    const outcome = await rise(lasts).catch((error: unknown) => ({ error }));
    if (calls > 0) throw new Error(`${calls} calls of a pipeline outlive it`);
    if (outcome !== undefined) throw outcome.error;
  };

  /** Several subscribers, who may be slow and may leave. */
  const publish = (ctx: Context): Promise<void> =>
    scope(ctx, async (g: Group, inner) => {
      const feed = pipeline.broadcast(inner, numbers(inner));
      const stages = SLOW.map((slow) => feed.subscribe({ slow, buffer: rnd.int(1, 2) }));
      for (const stage of stages) {
        const read = pipeline.map(inner, stage, (n) => (rnd.bool(0.3) ? sleep(1, inner).then(() => n) : n));
        await g.go(() => rise(read), inner);
      }
    });

  /** Several readers of the merged numbers, who go at the pace of the slowest and may leave. */
  const share = (ctx: Context): Promise<void> =>
    scope(ctx, async (g: Group, inner) => {
      const merged = pipeline.merge(inner, numbers(inner), numbers(inner));
      for (const stage of pipeline.tee(inner, merged, rnd.int(1, 3))) {
        await g.go(async () => {
          let most = rnd.int(1, 8);
          for await (const _ of stage) if (--most === 0) break;
        }, inner);
      }
    });

  /** Works at a desk that no other task may use meanwhile, and that must be clean. */
  const lease = (ctx: Context): Promise<void> =>
    desks.use(async (desk) => {
      if (desk.sitting !== 0 || desk.papers.length > 0) throw new Error("the desk is in use or dirty");
      desk.sitting++;
      desk.papers.push(values);
      try {
        await operation(ctx, 0);
      } finally {
        desk.sitting--;
      }
    });

  /** Increments a key, across awaits that may fail. */
  const update = async (ctx: Context): Promise<void> => {
    const key = rnd.int(0, 9);
    const countUp = async (count = 0): Promise<number> => {
      if (rnd.bool(0.5)) await operation(ctx, 0);
      return count + 1;
    };
    await counts.update(key, countUp, ctx);
    updated.set(key, (updated.get(key) ?? 0) + 1);
  };

  /** Reads a cache whose loads may fail, and whose entries are deleted at random. */
  const load = async (ctx: Context): Promise<void> => {
    const key = rnd.int(0, 5);
    if (rnd.bool(0.3)) cache.delete(key);
    const slowly = async (key: number, signal: AbortSignal): Promise<number> => {
      await sleep(rnd.int(0, 2), signal);
      return key * 10;
    };
    const value = await cache.getOrLoad(key, slowly, rnd.bool(0.8) ? ctx : ctx.signal);
    if (value !== key * 10) throw new Error(`the cache has ${value} for ${key}`);
  };

  /** Shares work under its own context, which may be forgotten while it runs. */
  const fly = async (ctx: Context): Promise<void> => {
    const key = rnd.int(0, 5);
    if (rnd.bool(0.1)) flights.forget(key);
    const slowly = async (own: Context): Promise<number> => {
      await sleep(rnd.int(0, 2), own);
      return key * 10;
    };
    const { value } = await flights.do(key, slowly, rnd.bool(0.8) ? ctx : ctx.signal);
    if (value !== key * 10) throw new Error(`the flight has ${value} for ${key}`);
  };

  const each = async (ctx: Context): Promise<void> => {
    const items = Array.from({ length: rnd.int(0, 5) }, (_, i) => i);
    const work = async (n: number, ctx: Context): Promise<number> => {
      await operation(ctx, 0);
      return n;
    };
    const results = await map(ctx, items, work, { limit: rnd.int(1, 3) });
    if (results.join() !== items.join()) throw new Error(`map gave ${results} for ${items}`);
  };

  /** A group whose tasks may fail, which cancels the rest. */
  const spawn = (ctx: Context, depth: number): Promise<void> =>
    scope(ctx, async (g: Group, inner) => {
      if (rnd.bool(0.5)) g.setLimit(rnd.int(1, 3));
      for (let tasks = rnd.int(1, 5); tasks > 0; tasks--) await g.go(() => operation(inner, depth - 1), inner);
    });

  // Each with its weight. The nesting ones hold something, or start further operations.
  const simple: Operation[] = [
    ...repeat(4, "send", send),
    ...repeat(4, "receive", receive),
    ...repeat(1, "trySend", trySend),
    ...repeat(1, "tryReceive", tryReceive),
    ...repeat(1, "iterate", iterate),
    ...repeat(4, "select", choose),
    ...repeat(1, "sleep", (ctx) => sleep(rnd.int(0, 3), ctx)),
    ...repeat(1, "wait", (ctx) => limiter.wait(ctx, rnd.int(1, 3))),
    ...repeat(1, "keyed wait", (ctx) => keyedLimiter.wait(ctx, rnd.int(0, 5), rnd.int(1, 3))),
    ...repeat(1, "load", load),
    ...repeat(1, "fly", fly),
  ];
  const nesting: Operation[] = [
    ...simple,
    ...repeat(1, "go", (ctx) => go(() => operation(ctx, 0))),
    ...repeat(2, "hold", hold),
    ...repeat(2, "lock", lock),
    ...repeat(1, "submit", submit),
    ...repeat(1, "manage", manage),
    ...repeat(1, "retry", persist),
    ...repeat(1, "pipeline", flow),
    ...repeat(1, "broadcast", publish),
    ...repeat(1, "tee", share),
    ...repeat(2, "breaker", protect),
    ...repeat(1, "cond", store),
    ...repeat(1, "waitgroup", gather),
    ...repeat(1, "lease", lease),
    ...repeat(1, "update", update),
    ...repeat(1, "map", each),
    ...repeat(1, "group", spawn),
  ];

  async function operation(ctx: Context, depth: number): Promise<void> {
    const [what, run] = rnd.pick(depth > 0 ? nesting : simple);
    done.set(what, (done.get(what) ?? 0) + 1);
    left--;
    await run(ctx, depth);
  }

  async function task(): Promise<void> {
    running++;
    try {
      while (left > 0) {
        const { ctx } = rnd.pick(scopes);
        await operation(ctx, 2).catch(expected);
        if (ctx.err() !== undefined) await Promise.resolve(); // A done context fails at once: let others run.
        if (rnd.bool(0.02)) strike();
        if (rnd.bool(0.001)) shut();
      }
    } catch (error) {
      left = 0; // The storm has failed.
      throw error;
    } finally {
      running--;
    }
  }

  const over = (async () => {
    const tasks = Array.from({ length: TASKS }, () => go(task));
    await go(async () => {
      // A task that is still parked when the work is done is parked under some context: cancel until all have ended.
      while (left > 0 || running > 0) {
        await sleep(1);
        strike();
      }
    });
    await Promise.all(tasks);
    for (const { cancel } of scopes) cancel();
    for (const ch of channels) {
      ch.close();
      drain(ch);
    }
    await workers.idle();
    desks.dispose();
    const locks = { mutex, rw, keyed };
    const calls = { workers, budget, retried, breaker, trips };
    return { sent, received, semaphores, desks, ...locks, ...calls, shelf, inputs, updated, counts };
  })();

  return { done, over };
}

const EXPECTED = [
  ...["AbortError", "TimeoutError", "ClosedChannelError", "QueueFullError", "PoolClosedError"],
  ...["OpenStateError", "TooManyRequestsError"],
];

/** The expected failures of a storm; any other ends it. */
function expected(error: unknown): void {
  const { name, message } = error as Error;
  if (EXPECTED.includes(name) || message === "flaky") return;
  if (message.startsWith("rate: Wait") && message.endsWith("would exceed context deadline")) return;
  throw error;
}
