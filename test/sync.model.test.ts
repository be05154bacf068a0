/** Locks, WaitGroup and Cond: random programs against arrays that are scanned from the front. */
import { background, type Cancel, type CancelScope, withCancel } from "gopark/context";
import { counters, track } from "gopark/leak";
import { Cond, type Guard, KeyedMutex, Mutex, RWMutex, WaitGroup } from "gopark/sync";
import { beforeAll, describe, expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { same } from "./support/same.ts";
import { turn } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

type Mode = "write" | "read";
type Outcome = "got" | "cancelled";

/** How a lock is asked for: for a guard or without one. */
interface Request {
  readonly id: number;
  readonly mode: Mode;
  readonly ctx: number;
  readonly byGuard: boolean;
}

/** The reference: who holds the lock, and one array of all that wait. */
class Model {
  holders: Request[] = [];
  queue: Request[] = [];
  readonly outcomes = new Map<number, Outcome>();

  private holds(mode: Mode): boolean {
    return this.holders.some((h) => h.mode === mode);
  }

  private waits(mode: Mode): boolean {
    return this.queue.some((w) => w.mode === mode);
  }

  isFree(mode: Mode): boolean {
    if (mode === "read") return !this.holds("write") && !this.waits("write");
    return this.holders.length === 0 && this.queue.length === 0;
  }

  take(request: Request): void {
    if (this.isFree(request.mode)) this.grant(request);
    else this.queue.push(request);
  }

  private grant(request: Request): void {
    this.holders.push(request);
    this.outcomes.set(request.id, "got");
  }

  release(holder: Request): void {
    this.holders.splice(this.holders.indexOf(holder), 1);
    if (this.holders.length > 0) return;
    if (holder.mode === "write" && this.waits("read")) this.admitReaders();
    else this.admitWriter();
  }

  cancel(ctx: number): void {
    const gone = this.queue.filter((w) => w.ctx === ctx);
    for (const { id } of gone) this.outcomes.set(id, "cancelled");
    this.queue = this.queue.filter((w) => w.ctx !== ctx);
    if (!this.holds("write") && !this.waits("write")) this.admitReaders();
  }

  private admitReaders(): void {
    const readers = this.queue.filter((w) => w.mode === "read");
    this.queue = this.queue.filter((w) => w.mode === "write");
    for (const reader of readers) this.grant(reader);
  }

  private admitWriter(): void {
    const i = this.queue.findIndex((w) => w.mode === "write");
    for (const writer of i === -1 ? [] : this.queue.splice(i, 1)) this.grant(writer);
  }
}

/** A lock of the library, as the programs use it. */
interface Lock {
  readonly modes: readonly Mode[];
  lock(mode: Mode, cancel: Cancel): Promise<void>;
  guard(mode: Mode, cancel: Cancel): Promise<Guard>;
  tryLock(mode: Mode): boolean;
  unlock(mode: Mode): void;
}

function mutex(): Lock {
  const mu = new Mutex();
  return {
    modes: ["write"],
    lock: (_, cancel) => mu.lock(cancel),
    guard: (_, cancel) => mu.guard(cancel),
    tryLock: () => mu.tryLock(),
    unlock: () => mu.unlock(),
  };
}

function rwMutex(): Lock {
  const rw = new RWMutex();
  return {
    modes: ["write", "read", "read", "read"],
    lock: (mode, cancel) => (mode === "write" ? rw.lock(cancel) : rw.rLock(cancel)),
    guard: (mode, cancel) => (mode === "write" ? rw.guard(cancel) : rw.rGuard(cancel)),
    tryLock: (mode) => (mode === "write" ? rw.tryLock() : rw.tryRLock()),
    unlock: (mode) => (mode === "write" ? rw.unlock() : rw.rUnlock()),
  };
}

function keyLock(keyed: KeyedMutex<number>, key: number): Lock {
  return {
    modes: ["write"],
    lock: (_, cancel) => keyed.lock(key, cancel),
    guard: (_, cancel) => keyed.guard(key, cancel),
    tryLock: () => keyed.tryLock(key),
    unlock: () => keyed.unlock(key),
  };
}

const MISUSE = /^sync: (unlock of unlocked mutex|Unlock of unlocked RWMutex|RUnlock of unlocked RWMutex|a guard holds)/;

/** Some operations in each turn, on locks that share contexts; compares after each operation and each turn. */
async function lockProgram(rnd: Random, locks: readonly Lock[], check?: (models: Model[]) => void): Promise<void> {
  const models = locks.map(() => new Model());
  const outcomes = locks.map(() => new Map<number, Outcome>());
  const guards = new Map<number, Guard>();
  // Several waits share a context, so that one cancel ends front, middle and back of the queues together.
  const scopes: CancelScope[] = Array.from({ length: 3 }, () => withCancel(background()));
  let ids = 0;

  const release = (which: number, holder: Request): void => {
    const guard = guards.get(holder.id);
    if (holder.byGuard && guard === undefined) return; // Granted in this turn: its caller has not resumed yet.
    (models[which] as Model).release(holder);
    if (guard === undefined) locks[which]?.unlock(holder.mode);
    else guard.unlock();
  };

  const step = (): void => {
    const which = rnd.int(0, locks.length - 1);
    const lock = locks[which] as Lock;
    const model = models[which] as Model;
    const mode = rnd.pick(lock.modes);
    switch (rnd.int(0, 9)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const request: Request = { id: ids++, mode, ctx: rnd.int(0, 2), byGuard: rnd.bool(0.4) };
        const { id } = request;
        const { ctx } = scopes[request.ctx] as CancelScope;
        const cancel = rnd.bool(0.5) ? ctx : ctx.signal;
        model.take(request);
        const got = request.byGuard
          ? lock.guard(mode, cancel).then((guard) => guards.set(id, guard))
          : lock.lock(mode, cancel);
        got.then(
          () => outcomes[which]?.set(id, "got"),
          () => outcomes[which]?.set(id, "cancelled"),
        );
        break;
      }
      case 4: {
        const free = model.isFree(mode);
        same(lock.tryLock(mode), free, "tryLock");
        if (free) model.take({ id: ids, mode, ctx: -1, byGuard: false });
        if (free) outcomes[which]?.set(ids++, "got");
        break;
      }
      case 5:
      case 6:
      case 7:
        if (model.holders.length > 0) release(which, rnd.pick(model.holders));
        break;
      case 8:
        if (!model.holders.some((h) => h.mode === mode && !h.byGuard)) {
          expect(() => lock.unlock(mode)).toThrow(MISUSE);
        }
        break;
      case 9: {
        const ended = rnd.int(0, 2);
        for (const m of models) m.cancel(ended);
        scopes[ended]?.cancel();
        scopes[ended] = withCancel(background());
        break;
      }
    }
    same(counters()["held lock"], base + models.reduce((sum, m) => sum + m.holders.length, 0), "held");
    check?.(models);
  };

  const base = counters()["held lock"] as number;
  for (let round = 0; round < 30; round++) {
    for (let ops = rnd.int(1, 4); ops > 0; ops--) step();
    await turn();
    expect(outcomes).toEqual(models.map((m) => m.outcomes));
  }
  for (const [i, scope] of scopes.entries()) {
    for (const model of models) model.cancel(i);
    scope.cancel();
  }
  await turn();
  for (const [which, model] of models.entries())
    while (model.holders.length > 0) release(which, model.holders[0] as Request);
  same(counters()["held lock"], base, "held at the end");
  for (const lock of locks) {
    same(lock.tryLock("write"), true, "free at the end");
    lock.unlock("write");
  }
}

describe("a random program of locks ends as the model does", () => {
  test.each(seeds(40))("Mutex, SEED=%d", (seed) => lockProgram(random(seed), [mutex(), mutex()]));
  test.each(seeds(60))("RWMutex, SEED=%d", (seed) => lockProgram(random(seed), [rwMutex()]));
  test.each(seeds(40))("KeyedMutex, SEED=%d", (seed) => {
    const keyed = new KeyedMutex<number>();
    return lockProgram(
      random(seed),
      [0, 1, 2].map((key) => keyLock(keyed, key)),
      (models) => same(keyed.len(), models.filter((m) => m.holders.length > 0).length, "keys"),
    );
  });
});

test.each(seeds(30))("a random program of a WaitGroup ends as the model does, SEED=%d", async (seed) => {
  const rnd = random(seed);
  const wg = new WaitGroup();
  const outcomes = new Map<number, Outcome>();
  const expected = new Map<number, Outcome>();
  let n = 0;
  let waiting: { id: number; ctx: number }[] = [];
  let ids = 0;
  const scopes = [withCancel(background()), withCancel(background())];
  const add = (delta: number): void => {
    if (n + delta < 0) {
      expect(() => wg.add(delta)).toThrow("sync: negative WaitGroup counter");
      return;
    }
    wg.add(delta);
    n += delta;
    if (n > 0) return;
    for (const { id } of waiting) expected.set(id, "got");
    waiting = [];
  };
  for (let round = 0; round < 60; round++) {
    for (let ops = rnd.int(1, 3); ops > 0; ops--) {
      const which = rnd.int(0, 1);
      switch (rnd.int(0, 4)) {
        case 0:
        case 1:
          add(rnd.int(-3, 3));
          break;
        case 2:
        case 3: {
          const id = ids++;
          if (n === 0) expected.set(id, "got");
          else waiting.push({ id, ctx: which });
          wg.wait(scopes[which]?.ctx).then(
            () => outcomes.set(id, "got"),
            () => outcomes.set(id, "cancelled"),
          );
          break;
        }
        case 4:
          scopes[which]?.cancel();
          scopes[which] = withCancel(background());
          for (const { id, ctx } of waiting) if (ctx === which) expected.set(id, "cancelled");
          waiting = waiting.filter(({ ctx }) => ctx !== which);
          break;
      }
    }
    await turn();
    expect(outcomes).toEqual(expected);
  }
  add(-n);
  for (const { cancel } of scopes) cancel();
});

test.each(seeds(40))("a random program of a Cond ends as the model does, SEED=%d", async (seed) => {
  const rnd = random(seed);
  const mu = new Mutex();
  const cond = new Cond(mu);
  const events: string[] = [];
  const expected: string[] = [];
  const ends = new Map<number, () => void>();
  const releases = new Map<number, () => void>();
  // The model: who holds the lock, who waits for it and with which outcome then, and who waits for a signal. Each step
  // is followed by a turn, so what a signal wakes waits for the lock before the next step.
  let holder: number | undefined;
  const forLock: [id: number, then: string][] = [];
  let forSignal: number[] = [];
  const grant = (): void => {
    const next = forLock.shift();
    holder = next?.[0];
    if (next !== undefined) expected.push(`${next[0]} ${next[1]}`);
  };
  const want = (id: number, then: string): void => {
    forLock.push([id, then]);
    if (holder === undefined) grant();
  };
  /** Takes the lock, with or without a guard, waits, and holds the lock until it is told to give it back. */
  const sleeper = async (id: number, byGuard: boolean): Promise<void> => {
    const { ctx, cancel } = withCancel(background());
    ends.set(id, cancel);
    const guard = byGuard ? await mu.guard() : await mu.lock();
    events.push(`${id} in`);
    const waited = cond.wait(ctx).then(
      () => "woken",
      () => "cancelled",
    );
    events.push(`${id} ${await waited}`);
    cancel();
    await new Promise<void>((resolve) => releases.set(id, resolve));
    if (guard === undefined) mu.unlock();
    else guard.unlock();
  };
  const all: Promise<void>[] = [];
  const enter = (id: number): void => {
    all.push(sleeper(id, rnd.bool(0.5)));
    forLock.push([id, "in"]);
  };
  const settle = (): void => {
    // One that gets in gives the lock back at once, and waits for a signal.
    for (;;) {
      if (holder === undefined) grant();
      if (holder === undefined || !(expected.at(-1) as string).endsWith(" in")) return;
      forSignal.push(holder);
      holder = undefined;
    }
  };
  const wake = (ids: number[], then: string): void => {
    forSignal = forSignal.filter((id) => !ids.includes(id));
    for (const id of ids) want(id, then);
  };
  const free = (): void => {
    if (holder === undefined) return;
    releases.get(holder)?.();
    holder = undefined;
  };
  let ids = 0;
  const steps = [
    () => enter(ids++),
    () => enter(ids++),
    () => {
      cond.signal();
      wake(forSignal.slice(0, 1), "woken");
    },
    () => {
      if (!rnd.bool(0.3)) return;
      cond.broadcast();
      wake([...forSignal], "woken");
    },
    () => {
      if (forSignal.length === 0) return;
      const id = rnd.pick(forSignal);
      ends.get(id)?.();
      wake([id], "cancelled");
    },
    free,
    free,
  ];
  for (let i = 0; i < 60; i++) {
    rnd.pick(steps)();
    settle();
    await turn();
    expect(events).toEqual(expected);
  }
  while (holder !== undefined || forSignal.length > 0) {
    cond.broadcast();
    wake([...forSignal], "woken");
    settle();
    await turn();
    free();
    settle();
    await turn();
  }
  expect(events).toEqual(expected);
  await Promise.all(all);
});
