/** Random programs on a pool, compared after each step with a reference that scans all objects. */
import { Pool } from "gopark/pool";
import { expect, test, vi } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";

interface Thing {
  readonly id: number;
  /** Who has it, as those who have it believe. */
  owner: number | undefined;
  dirty: boolean;
}

interface Lease {
  readonly value: Thing;
  release(): void;
}

/** The pool as its page describes it, by looking through everything each time. */
class Reference {
  /** Idle objects, the last put last, and the period in which each was put. */
  idle: { id: number; period: number }[] = [];
  out = new Set<number>();
  made = 0;
  disposed = false;
  /** When the next period begins; none does while nothing is idle. */
  next: number | undefined;
  period = 0;

  private readonly maxIdle: number;
  private readonly idleMs: number;

  constructor(maxIdle: number, idleMs: number) {
    this.maxIdle = maxIdle;
    this.idleMs = idleMs;
  }

  advance(now: number): void {
    while (this.next !== undefined && this.next <= now) {
      this.idle = this.idle.filter((entry) => entry.period === this.period);
      this.period++;
      this.next = this.idle.length > 0 ? this.next + this.idleMs : undefined;
    }
  }

  take(): number {
    const id = this.idle.pop()?.id ?? ++this.made;
    this.out.add(id);
    return id;
  }

  giveBack(id: number, now: number, resetFails: boolean): void {
    this.out.delete(id);
    if (this.disposed || resetFails || this.idle.length >= this.maxIdle) return;
    this.idle.push({ id, period: this.period });
    this.next ??= now + this.idleMs;
  }

  dispose(): void {
    this.disposed = true;
    this.idle = [];
    this.next = undefined;
  }
}

function program(rnd: Random): void {
  const maxIdle = rnd.pick([0, 1, 2, 5, Number.POSITIVE_INFINITY]);
  const idleMs = rnd.pick([10, 25]);
  const reference = new Reference(maxIdle, idleMs);
  let createFails = false;
  let resetFails = false;
  let made = 0;
  const pool = new Pool<Thing>({
    create: () => {
      if (createFails) throw new Error("create fails");
      return { id: ++made, owner: undefined, dirty: false };
    },
    reset: (thing) => {
      if (resetFails) throw new Error("reset fails");
      thing.dirty = false;
    },
    maxIdle,
    idleMs,
  });
  let now = 0;
  let owners = 0;
  const held: Thing[] = [];
  const leases: Lease[] = [];
  const gone: Thing[] = [];
  const released: Lease[] = [];

  const own = (thing: Thing): void => {
    expect(thing.id).toBe(reference.take());
    expect([thing.dirty, thing.owner], "somebody else's, or dirty").toEqual([false, undefined]);
    thing.owner = ++owners;
    thing.dirty = rnd.bool(0.8);
  };

  /** What taking should throw now; undefined if it should go well. */
  const refusal = (): string | undefined => {
    if (reference.disposed) return "pool: get after dispose";
    return createFails && reference.idle.length === 0 ? "create fails" : undefined;
  };

  const attempt = (act: () => void, error: string | undefined): void => {
    if (error === undefined) act();
    else expect(act).toThrow(error);
  };

  const drop = <T>(from: T[]): T => from.splice(rnd.int(0, from.length - 1), 1)[0] as T;

  const steps: Record<string, () => void> = {
    get: () => {
      attempt(() => {
        const thing = pool.get();
        held.push(thing);
        own(thing);
      }, refusal());
    },
    lease: () => {
      attempt(() => {
        const lease = pool.lease();
        leases.push(lease);
        own(lease.value);
      }, refusal());
    },
    put: () => {
      if (held.length === 0) return;
      const thing = drop(held);
      thing.owner = undefined;
      const error = reference.disposed ? "pool: put after dispose" : resetFails ? "reset fails" : undefined;
      attempt(() => pool.put(thing), error);
      reference.giveBack(thing.id, now, resetFails);
      gone.push(thing);
    },
    release: () => {
      if (leases.length === 0) return;
      const lease = drop(leases);
      const { value } = lease;
      value.owner = undefined;
      attempt(() => lease.release(), resetFails && !reference.disposed ? "reset fails" : undefined);
      reference.giveBack(value.id, now, resetFails);
      released.push(lease);
    },
    putTwice: () => {
      const stale = gone.filter((thing) => !reference.out.has(thing.id));
      if (stale.length > 0) attempt(() => pool.put(rnd.pick(stale)), "pool: object put twice");
    },
    putLeased: () => {
      if (leases.length > 0) attempt(() => pool.put(rnd.pick(leases).value), "pool: put of an object that is leased");
    },
    putForeign: () => attempt(() => pool.put({ id: 1, owner: undefined, dirty: false }), "did not make"),
    releaseTwice: () => {
      if (released.length > 0) rnd.pick(released).release();
    },
    break: () => {
      createFails = rnd.bool(0.3);
      resetFails = rnd.bool(0.3);
    },
    advance: () => {
      const ms = rnd.int(1, 30);
      now += ms;
      vi.advanceTimersByTime(ms);
      reference.advance(now);
    },
    dispose: () => {
      if (rnd.bool(0.95)) return;
      pool.dispose();
      reference.dispose();
    },
  };
  const names = Object.keys(steps);
  const likely = ["get", "lease", "put", "release", "put", "advance"];
  for (let i = 0; i < 300; i++) {
    const step = rnd.bool(0.6) ? rnd.pick(likely) : rnd.pick(names);
    steps[step]?.();
    expect([pool.idle(), pool.out(), made], step).toEqual([reference.idle.length, reference.out.size, reference.made]);
  }
  createFails = resetFails = false;
  for (const lease of leases) lease.release();
  pool.dispose();
  for (const thing of held) expect(() => pool.put(thing)).toThrow("pool: put after dispose");
  expect([pool.idle(), pool.out()]).toEqual([0, 0]);
}

test.each(seeds(100))("a random program goes as the reference does, SEED=%d", (seed) => {
  vi.useFakeTimers();
  program(random(seed));
});
