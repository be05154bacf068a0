/** Locks, compared with one bare await, or a flag with a waiting line. */
import { context, sync } from "gopark";
import { BareSemaphore } from "./support/floor.ts";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const TASKS = 100;
const ctx = context.withCancel(context.background()).ctx;
const DONE = Promise.resolve();

async function oneAwait(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) {
    await DONE;
    n++;
  }
  check(n, N);
}

async function lock(): Promise<void> {
  const mu = new sync.Mutex();
  for (let i = 0; i < N; i++) {
    await mu.lock(ctx);
    mu.unlock();
  }
  check(mu.tryLock(), true);
  mu.unlock();
}

async function guard(): Promise<void> {
  const mu = new sync.Mutex();
  for (let i = 0; i < N; i++) {
    const held = await mu.guard(ctx);
    held.unlock();
  }
  check(mu.tryLock(), true);
  mu.unlock();
}

async function keyed(): Promise<void> {
  const locks = new sync.KeyedMutex<number>();
  for (let i = 0; i < N; i++) {
    await locks.lock(i, ctx);
    locks.unlock(i);
  }
  check(locks.len(), 0);
}

/** Calls `take` and `give` in turn, N times in all, from many tasks that yield in between. */
async function contended(take: () => Promise<void>, give: () => void): Promise<void> {
  let running = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      await take();
      if (++running > 1) throw new Error("too many at once");
      await DONE;
      running--;
      give();
      done++;
    }
  };
  await Promise.all(Array.from({ length: TASKS }, task));
  check(done, N);
}

function contend(): Promise<void> {
  const mu = new sync.Mutex();
  return contended(
    () => mu.lock(ctx),
    () => mu.unlock(),
  );
}

function contendFloor(): Promise<void> {
  const units = new BareSemaphore(1);
  return contended(
    () => units.acquire(),
    () => units.release(),
  );
}

async function readMostly(): Promise<void> {
  const rw = new sync.RWMutex();
  let reading = 0;
  let done = 0;
  const reader = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      await rw.rLock(ctx);
      reading++;
      await DONE;
      reading--;
      rw.rUnlock();
      done++;
    }
  };
  const writer = async () => {
    for (let i = 0; i < N / TASKS; i++) {
      await rw.lock(ctx);
      if (reading > 0) throw new Error("reads while it writes");
      await DONE;
      rw.unlock();
    }
  };
  await Promise.all([writer(), ...Array.from({ length: TASKS }, reader)]);
  check(done, N);
}

async function waitGroup(): Promise<void> {
  const wg = new sync.WaitGroup();
  let n = 0;
  for (let i = 0; i < N / TASKS; i++) {
    wg.add(TASKS);
    const waited = wg.wait(ctx);
    for (let j = 0; j < TASKS; j++) wg.done();
    await waited;
    n += TASKS;
  }
  check(n, N);
}

const floorIs = "one bare await";

export const rows: readonly Row[] = [
  {
    id: "sync.lock",
    what: "await lock, unlock, nobody waiting: one lock",
    ops: N,
    ours: lock,
    floor: oneAwait,
    floorIs,
    targets: { floor: 1.3 },
    next: {
      targets: { floor: 1.7 },
      why: "On a busy machine. A lock is counted for the gauge, and looks at its context and at both of its sides.",
    },
  },
  {
    id: "sync.guard",
    what: "await a guard, unlock it: one guard",
    ops: N,
    ours: guard,
    floor: oneAwait,
    floorIs,
    targets: { floor: 2 },
    next: {
      targets: { floor: 2.8 },
      why: "A guard is two objects: the one that the caller gets, and the one that the lock keeps. So the collector can prove that a guard was dropped.",
    },
  },
  {
    id: "sync.keyed",
    what: "lock and unlock a new key of a KeyedMutex each time: one key",
    ops: N,
    ours: keyed,
    floor: oneAwait,
    floorIs,
    targets: { floor: 3 },
    next: { targets: { floor: 5 }, why: "A lock and an entry of a Map are made and dropped for each key." },
  },
  {
    id: "sync.contend",
    what: `${TASKS} tasks at one mutex, each yielding while it holds it: one lock`,
    ops: N,
    ours: contend,
    floor: contendFloor,
    floorIs: "a counter and a waiting line of bare promises",
    targets: { floor: 1.9 },
    beyond: "sem.contend",
  },
  {
    id: "sync.rw",
    what: `1 writer among ${TASKS} readers, each yielding while it holds the lock: one read`,
    ops: N,
    ours: readMostly,
  },
  {
    id: "sync.waitgroup",
    what: `wait for ${TASKS} calls of done: one done`,
    ops: N,
    ours: waitGroup,
  },
];
