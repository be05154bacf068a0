/** Random programs on a pool, compared after each step with a reference that scans all objects. */
import { track } from "gopark/leak";
import { Pool } from "gopark/pool";
import { beforeAll, expect, test, vi } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { unhandledDuring } from "./support/unhandled.ts";

// Thousands of objects: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

interface Thing {
  readonly id: number;
  /** The holder, as the holders believe. */
  owner: number | undefined;
  dirty: boolean;
}

interface Lease {
  readonly value: Thing;
  release(): void;
}

/** A use whose fn has begun. */
interface Use {
  readonly value: Thing;
  readonly end: (fails: boolean) => void;
  /** How it ended: "done", or the error's message. */
  readonly ended: Promise<string>;
}

/** The pool as its page describes it, by looking through everything each time. */
class Reference {
  /** Idle objects, the last put last, with the period and the time in which each was put. */
  idle: { id: number; period: number; at: number }[] = [];
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
      const time = this.next;
      for (const { period, at } of this.idle) {
        if (period === this.period) continue;
        expect((time - at) / this.idleMs, "periods that it was idle").toBeGreaterThanOrEqual(1);
        expect((time - at) / this.idleMs, "periods that it was idle").toBeLessThanOrEqual(2);
      }
      this.idle = this.idle.filter(({ period }) => period === this.period);
      this.period++;
      this.next = this.idle.length > 0 ? time + this.idleMs : undefined;
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
    this.idle.push({ id, period: this.period, at: now });
    this.next ??= now + this.idleMs;
  }

  dispose(): void {
    this.disposed = true;
    this.idle = [];
    this.next = undefined;
  }
}

/** Returns how many errors of `reset` must have been reported as unhandled. */
async function program(rnd: Random): Promise<number> {
  const maxIdle = rnd.pick([0, 1, 2, 5, Number.POSITIVE_INFINITY]);
  const idleMs = rnd.pick([10, 25, Number.POSITIVE_INFINITY]);
  const reference = new Reference(maxIdle, idleMs);
  let createFails = false;
  let resetFails = false;
  let made = 0;
  const reset = (thing: Thing): void => {
    if (resetFails) throw new Error("reset fails");
    thing.dirty = false;
  };
  const pool = new Pool<Thing>({
    create: () => {
      if (createFails) throw new Error("create fails");
      return { id: ++made, owner: undefined, dirty: false };
    },
    reset,
    maxIdle,
    idleMs,
  });
  using elsewhere = new Pool<Thing>({ create: () => ({ id: 0, owner: undefined, dirty: false }), reset });
  const foreign = elsewhere.get();
  let now = 0;
  let owners = 0;
  let strays = 0;
  const held: Thing[] = [];
  const leases: Lease[] = [];
  const uses: Use[] = [];
  const gone: Thing[] = [];
  const released: Lease[] = [];

  const own = (thing: Thing): void => {
    expect(thing.id).toBe(reference.take());
    expect([thing.dirty, thing.owner], "held by another, or dirty").toEqual([false, undefined]);
    thing.owner = ++owners;
    thing.dirty = rnd.bool(0.8);
  };

  /** The error that a get should throw now; undefined if it should succeed. */
  const refusal = (): string | undefined => {
    if (reference.disposed) return "pool: get after dispose";
    return createFails && reference.idle.length === 0 ? "create fails" : undefined;
  };

  const attempt = (act: () => void, error: string | undefined): void => {
    if (error === undefined) act();
    else expect(act).toThrow(error);
  };

  /** Ends a use: fn's own error comes before that of reset, which is then reported. */
  const endUse = async ({ value, end, ended }: Use, fails: boolean): Promise<void> => {
    const stuck = resetFails && !reference.disposed;
    value.owner = undefined;
    end(fails);
    expect(await ended).toBe(fails ? "fn fails" : stuck ? "reset fails" : "done");
    reference.giveBack(value.id, now, resetFails);
    gone.push(value);
    if (fails && stuck) strays++;
  };

  const drop = <T>(from: T[]): T => from.splice(rnd.int(0, from.length - 1), 1)[0] as T;

  const steps: Record<string, () => void | Promise<void>> = {
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
    use: async () => {
      const error = refusal();
      const begun: Omit<Use, "ended">[] = [];
      const used = pool.use(
        (value) =>
          new Promise<void>((resolve, reject) => {
            begun.push({ value, end: (fails) => (fails ? reject(new Error("fn fails")) : resolve()) });
          }),
      );
      const ended = used.then(
        () => "done",
        ({ message }: Error) => message,
      );
      expect(begun).toHaveLength(error === undefined ? 1 : 0);
      for (const use of begun) {
        uses.push({ ...use, ended });
        own(use.value);
      }
      if (error !== undefined) expect(await ended).toBe(error);
    },
    endUse: async () => {
      if (uses.length > 0) await endUse(drop(uses), rnd.bool(0.3));
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
      const leased = [...leases, ...uses];
      if (leased.length > 0) attempt(() => pool.put(rnd.pick(leased).value), "pool: put of an object that is leased");
    },
    putForeign: () => {
      const thing = rnd.pick([foreign, { id: 1, owner: undefined, dirty: false }]);
      attempt(() => pool.put(thing), "must be made by this pool");
      expect(elsewhere.out()).toBe(1);
    },
    releaseTwice: () => {
      if (released.length === 0) return;
      const lease = rnd.pick(released);
      lease.release();
      attempt(() => void lease.value, "pool: the lease has been released");
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
  const likely = ["get", "lease", "use", "put", "release", "endUse", "put", "advance"];
  for (let i = 0; i < 300; i++) {
    const step = rnd.bool(0.6) ? rnd.pick(likely) : rnd.pick(names);
    await steps[step]?.();
    expect([pool.idle(), pool.out(), made], step).toEqual([reference.idle.length, reference.out.size, reference.made]);
  }
  createFails = resetFails = false;
  for (const lease of leases) lease.release();
  for (const use of uses) await endUse(use, false);
  elsewhere.put(foreign);
  pool.dispose();
  for (const thing of held) expect(() => pool.put(thing)).toThrow("pool: put after dispose");
  expect([pool.idle(), pool.out()]).toEqual([0, 0]);
  return strays;
}

test.each(seeds(100))("a random program goes as the reference does, SEED=%d", async (seed) => {
  vi.useFakeTimers();
  let strays = 0;
  const unhandled = await unhandledDuring(async () => {
    strays = await program(random(seed));
  });
  expect(unhandled.map(String)).toEqual(Array.from({ length: strays }, () => "Error: reset fails"));
});
