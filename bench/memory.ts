/**
 * Measures the memory of one row in this process, `node --expose-gc memory.js <row> <ours|floor>`, and prints bytes
 * each.
 */
import { Channel, context, rate } from "gopark";
import { check } from "./support/row.ts";

const COUNT = 100_000;
const HOUR = 3_600_000;

// Holds what is built. Its places are made before the first measurement, so that they do not count.
const kept: unknown[] = new Array(COUNT).fill(undefined);

function keep<T>(make: () => T): T[] {
  for (let i = 0; i < COUNT; i++) kept[i] = make();
  return kept as T[];
}

/** Builds and keeps `COUNT` objects; `end` frees them and checks that they worked. */
type Build = () => Promise<{ end(): Promise<void> | void }>;

async function waits(): ReturnType<Build> {
  const ch = new Channel<number>();
  let sum = 0;
  const tasks = keep(async () => {
    const { value } = await ch.receive();
    sum += value ?? 0;
  });
  return {
    async end() {
      for (let i = 0; i < COUNT; i++) await ch.send(1);
      await Promise.all(tasks);
      check(sum, COUNT);
    },
  };
}

async function waitsFloor(): ReturnType<Build> {
  const resolves: ((value: number) => void)[] = [];
  let sum = 0;
  const tasks = keep(async () => {
    const value = await new Promise<number>((resolve) => resolves.push(resolve));
    sum += value;
  });
  return {
    async end() {
      for (const resolve of resolves) resolve(1);
      await Promise.all(tasks);
      check(sum, COUNT);
    },
  };
}

async function contexts(): ReturnType<Build> {
  const [root, cancel] = context.withCancel(context.background());
  const scopes = keep(() => context.withCancel(root));
  return {
    end() {
      cancel();
      check(scopes.filter(([ctx]) => ctx.err() !== undefined).length, COUNT);
    },
  };
}

async function controllers(): ReturnType<Build> {
  const all = keep(() => {
    const controller = new AbortController();
    return { controller, signal: controller.signal }; // Node creates the signal when it is first read.
  });
  return {
    end() {
      for (const { controller } of all) controller.abort();
      check(all.filter(({ signal }) => signal.aborted).length, COUNT);
    },
  };
}

async function deadlines(): ReturnType<Build> {
  const [root, cancel] = context.withCancel(context.background());
  const scopes = keep(() => context.withTimeout(root, HOUR));
  return {
    end() {
      check(scopes.filter(([ctx]) => ctx.deadline() !== undefined).length, COUNT);
      cancel();
      check(scopes.filter(([ctx]) => ctx.err() !== undefined).length, COUNT);
    },
  };
}

async function hostTimers(): ReturnType<Build> {
  const all = keep(() => setTimeout(() => {}, HOUR));
  return {
    end() {
      check(all.filter((timer) => timer.hasRef()).length, COUNT);
      for (const timer of all) clearTimeout(timer);
    },
  };
}

function channels(capacity: number): Build {
  return async () => {
    const all = keep(() => new Channel<number>(capacity));
    return { end: () => check(all.filter((ch) => ch.cap() === capacity).length, COUNT) };
  };
}

/** The bucket of each key: none has its burst, so none is dropped. The keys are numbers, which take no room. */
async function keys(): ReturnType<Build> {
  const limiter = new rate.KeyedLimiter<number>(1e-9, 10, { maxKeys: COUNT });
  for (let i = 0; i < COUNT; i++) limiter.allow(i);
  return { end: () => check(limiter.allow(0) ? 1 : 0, 1) };
}

async function keysFloor(): ReturnType<Build> {
  const map = new Map<number, { n: number }>();
  for (let i = 0; i < COUNT; i++) map.set(i, { n: i });
  return { end: () => check(map.get(1)?.n ?? 0, 1) };
}

const builds: Readonly<Record<string, Readonly<Partial<Record<string, Build>>>>> = {
  "memory.wait": { ours: waits, floor: waitsFloor },
  "memory.ctx": { ours: contexts, floor: controllers },
  "memory.deadline": { ours: deadlines, floor: hostTimers },
  "memory.chan": { ours: channels(0) },
  "memory.keyed": { ours: keys, floor: keysFloor },
  "memory.chan16": { ours: channels(16) },
};

/** Measures after two turns and two collections: what the first frees may make more unreachable. */
async function inUse(): Promise<number> {
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const [id = "", side = ""] = process.argv.slice(2);
const build = builds[id]?.[side];
if (build === undefined || globalThis.gc === undefined) throw new Error(`cannot measure ${id} ${side}`);
const before = await inUse();
const built = await build();
const bytes = ((await inUse()) - before) / COUNT;
await built.end();
console.log(bytes);
