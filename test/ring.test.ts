/** The internal ring: random programs against an array; and the memory it gives back. */
import { describe, expect, test } from "vitest";
import { Ring } from "../src/internal/data/ring.ts";
import { MISTAKEN, remaining } from "./support/heap.ts";
import { random, seeds } from "./support/random.ts";

/** The slots, which the memory tests look into. */
function slots<T>(ring: Ring<T>): (T | undefined)[] {
  return (ring as unknown as { slots: (T | undefined)[] }).slots;
}

/** Counts how often the slots are replaced, or get more or fewer in place. */
class Watch {
  changes = 0;
  moved = 0;
  private slots: unknown[] = [];
  private length = 0;
  private readonly ring: Ring<number>;

  constructor(ring: Ring<number>) {
    this.ring = ring;
    this.look();
    this.changes = this.moved = 0;
  }

  /** Says whether something changed since the last look. */
  look(): boolean {
    const now = slots(this.ring);
    if (now === this.slots && now.length === this.length) return false;
    this.slots = now;
    this.length = now.length;
    this.changes++;
    this.moved += this.ring.size;
    return true;
  }
}

function filled(n: number): Ring<number> {
  const ring = new Ring<number>();
  for (let i = 0; i < n; i++) ring.push(i);
  return ring;
}

/** For a condition that is looked at very often. */
function check(holds: boolean, step: number): void {
  if (!holds) expect.unreachable(`the ring and the array differ at step ${step}`);
}

test.each(seeds(20))("a ring gives the same as an array, whatever its size, SEED=%d", (seed) => {
  const { int, pick } = random(seed);
  const ring = new Ring<number | undefined>();
  const model: (number | undefined)[] = [];
  let next = 0;
  for (let step = 0; step < 60; step++) {
    const fewer = pick([0, 1, 3, 100, 1000, 3000]);
    if (step % 2 === 0) {
      for (let n = int(0, pick([1, 5, 100, 1500, 6000])); n > 0; n--) {
        const value = next++ % 7 === 0 ? undefined : next;
        ring.push(value);
        model.push(value);
      }
    } else {
      let taken = 0;
      while (model.length - taken > fewer) check(ring.shift() === model[taken++], step);
      model.splice(0, taken);
    }
    check(ring.size === model.length, step);
    // No slot holds what is not in the ring.
    const count = (values: unknown[]) => values.filter((value) => value !== undefined).length;
    check(count(slots(ring)) === count(model), step);
  }
  const rest: unknown[] = [];
  while (ring.size > 0) rest.push(ring.shift());
  expect(rest).toEqual(model);
});

describe("memory", () => {
  test("the engine gets the memory back", () => {
    const used = () => {
      (globalThis as unknown as { gc(): void }).gc();
      return process.memoryUsage().heapUsed;
    };
    const before = used();
    const ring = filled(2 ** 20);
    const full = used() - before;
    while (ring.size > 0) ring.shift();
    const drained = used() - before;
    expect(full).toBeGreaterThan(2 ** 22);
    expect(drained).toBeLessThan(full / 8);
    expect(ring.size).toBe(0);
  });

  test("an empty ring is small, and a large one that is drained gets small again", () => {
    const ring = filled(100_000);
    expect(slots(ring)).toHaveLength(131_072);
    for (let i = 0; i < 100_000; i++) {
      check(ring.shift() === i, i);
      check(slots(ring).length <= Math.max(1024, 8 * ring.size), i);
    }
    expect(ring.size).toBe(0);
    expect(slots(ring).length).toBeLessThanOrEqual(1024);
    expect(slots(new Ring())).toHaveLength(4);
  });

  test("up to 1024 slots stay, so that filling and draining again allocates nothing", () => {
    const ring = filled(1024);
    const before = slots(ring);
    for (let round = 0; round < 5; round++) {
      while (ring.size > 0) ring.shift();
      for (let i = 0; i < 1024; i++) ring.push(i);
      expect(slots(ring)).toBe(before);
    }
    expect(before).toHaveLength(1024);
  });

  test.each([1024, 1025, 2048, 2049, 4096, 5000, 16_384])(
    "a size that goes up and down around %d does not allocate each time",
    (n) => {
      const ring = filled(n + 8);
      const watch = new Watch(ring);
      for (let i = 0; i < 1000; i++) {
        for (let k = 0; k < 8; k++) ring.shift();
        watch.look();
        for (let k = 0; k < 8; k++) ring.push(i);
        watch.look();
      }
      expect(watch.changes).toBe(0);
      // Where it has just been cut, too.
      while (!watch.look() && ring.size > 0) ring.shift();
      watch.changes = 0;
      for (let i = 0; i < 1000; i++) {
        ring.push(i);
        watch.look();
        ring.shift();
        watch.look();
      }
      expect(watch.changes).toBe(0);
    },
  );

  test("moving costs at most a few steps for each element that is pushed and taken", () => {
    const ring = new Ring<number>();
    const watch = new Watch(ring);
    let calls = 0;
    const { int } = random(1);
    const look = () => {
      calls++;
      watch.look();
    };
    for (let round = 0; round < 30; round++) {
      for (let n = int(0, 20_000); n > 0; n--) {
        ring.push(n);
        look();
      }
      for (let n = int(0, ring.size); n > 0; n--) {
        ring.shift();
        look();
      }
    }
    expect(watch.moved).toBeGreaterThan(0);
    expect(watch.moved).toBeLessThan(2 * calls);
  });

  test("nothing keeps a removed element, whether the ring was wrapped, grown or shrunk", async () => {
    const ring = new Ring<object>();
    const gone: WeakRef<object>[] = [];
    const take = () => gone.push(new WeakRef(ring.shift()));
    (() => {
      for (let i = 0; i < 3; i++) ring.push({ i });
      take();
      take();
      for (let i = 0; i < 5000; i++) ring.push({ i });
      for (let i = 0; i < 3000; i++) take();
      for (let i = 0; i < 4000; i++) ring.push({ i });
      while (ring.size > 10) take();
    })();
    expect(slots(ring).filter((slot) => slot !== undefined)).toHaveLength(10);
    expect(await remaining(gone)).toBeLessThanOrEqual(MISTAKEN);
    expect(gone.length).toBeGreaterThan(8000);
  });
});
