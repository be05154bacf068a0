/** The heap of deadlines: random programs against a sorted array; and the memory it gives back. */
import { describe, expect, test } from "vitest";
import { Heap, type HeapItem } from "../src/internal/data/heap.ts";
import { MISTAKEN, remaining } from "./support/heap.ts";
import { random, seeds } from "./support/random.ts";

class Item implements HeapItem {
  when: number;
  index = -1;
  /** Its instant and its number at the last push. */
  pushedWhen = Number.NaN;
  push = -1;

  constructor(when: number) {
    this.when = when;
  }
}

function isBefore(a: Item, b: Item): boolean {
  return a.pushedWhen < b.pushedWhen || (a.pushedWhen === b.pushedWhen && a.push < b.push);
}

/** The same calls on a sorted array. */
class Model {
  readonly items: Item[] = [];
  private pushes = 0;

  push(item: Item): void {
    item.pushedWhen = item.when;
    item.push = this.pushes++;
    const at = this.items.findIndex((other) => isBefore(item, other));
    this.items.splice(at === -1 ? this.items.length : at, 0, item);
  }

  remove(item: Item): boolean {
    const at = this.items.indexOf(item);
    if (at !== -1) this.items.splice(at, 1);
    return at !== -1;
  }
}

/** The private parts that the memory tests look into. */
interface Inside {
  readonly items: Item[];
  readonly keys: Float64Array;
}

function inside(heap: Heap<Item>): Inside {
  return heap as unknown as Inside;
}

function room(heap: Heap<Item>): number {
  return inside(heap).keys.length / 2;
}

function filled(n: number): [heap: Heap<Item>, items: Item[]] {
  const heap = new Heap<Item>();
  const items = Array.from({ length: n }, (_, i) => new Item((i * 7919) % 1000));
  for (const item of items) heap.push(item);
  return [heap, items];
}

/** For a condition that is looked at a million times. */
function check(holds: boolean, step: number): void {
  if (!holds) expect.unreachable(`the heap and the array differ at step ${step}`);
}

/** Takes the front until the heap is empty. */
function drained(heap: Heap<Item>): Item[] {
  const items: Item[] = [];
  for (let first = heap.front; first !== undefined; first = heap.front) {
    if (!heap.remove(first)) expect.unreachable("the front is not in the heap");
    items.push(first);
  }
  expect(heap.size).toBe(0);
  return items;
}

const INSTANTS: Record<string, (r: ReturnType<typeof random>) => number> = {
  "many equal": ({ int }) => int(0, 3),
  "all equal": () => 5,
  fractions: ({ next }) => 1.7e12 + next() * 10,
  "infinite ones too": ({ pick, int }) => pick([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, int(-2, 2), -0, 0]),
  "of any size": ({ next, bool }) => (bool(0.5) ? 1 : -1) * 2 ** (next() * 2000 - 1000),
};

describe.each(Object.entries(INSTANTS))("instants: %s", (_, instant) => {
  test.each(seeds(10))("the heap does what a sorted array does, SEED=%d", (seed) => {
    const rnd = random(seed);
    const { int, bool, pick } = rnd;
    const heap = new Heap<Item>();
    const model = new Model();
    const idle: Item[] = Array.from({ length: 150 }, () => new Item(0));
    for (let step = 0; step < 1500; step++) {
      // Long ups and downs, so that the heap has been large and becomes empty.
      const growing = step % 500 < 250;
      if (bool(growing ? 0.8 : 0.2) && idle.length > 0) {
        const [item] = idle.splice(int(0, idle.length - 1), 1) as [Item];
        item.when = instant(rnd);
        heap.push(item);
        model.push(item);
      } else if (model.items.length > 0) {
        const item = bool(0.3) ? (heap.front as Item) : pick(model.items);
        check(heap.remove(item) && model.remove(item), step);
        idle.push(item);
      }
      if (idle.length > 0) check(!heap.remove(pick(idle)), step);
      // Only the push reads `when`.
      if (model.items.length > 0) pick(model.items).when = instant(rnd);

      check(heap.front === model.items[0] && heap.size === model.items.length, step);
      if (step % 10 === 0) {
        const items = [...heap];
        check(items.length === heap.size && model.items.every((item) => items[item.index] === item), step);
        check(
          idle.every((item) => item.index === -1),
          step,
        );
      }
    }
    expect(drained(heap)).toEqual(model.items);
  });
});

describe("order", () => {
  test("equal instants come in the order of the pushes, even when others were removed between", () => {
    const [heap, items] = filled(3000);
    for (let i = 0; i < items.length; i += 3) heap.remove(items[i] as Item);
    const wanted = items
      .map((item, i) => ({ item, i }))
      .filter(({ i }) => i % 3 !== 0)
      .sort((a, b) => a.item.when - b.item.when || a.i - b.i)
      .map(({ item }) => item);
    expect(drained(heap)).toEqual(wanted);
  });

  test("an item that is pushed again comes after its equals", () => {
    const heap = new Heap<Item>();
    const [a, b, c] = [new Item(1), new Item(1), new Item(1)];
    for (const item of [a, b, c]) heap.push(item);
    heap.remove(a);
    heap.push(a);
    expect(drained(heap)).toEqual([b, c, a]);
  });

  test("an item that replaces a removed one rises if it has to", () => {
    // The last item, 12, hangs below 10; the removed one hangs below 100.
    const heap = new Heap<Item>();
    const whens = [1, 100, 10, 10, 10, 101, 102, 103, 104, 11, 12];
    const items = whens.map((when) => new Item(when));
    for (const item of items) heap.push(item);
    expect(items.map((item) => item.index)).toEqual(whens.map((_, i) => i));
    heap.remove(items[6] as Item);
    expect(drained(heap).map((item) => item.when)).toEqual([1, 10, 10, 10, 11, 12, 100, 101, 103, 104]);
  });

  test("`when` is read once, at the push", () => {
    let reads = 0;
    const item = {
      index: -1,
      get when() {
        reads++;
        return 5;
      },
    };
    const heap = new Heap<HeapItem>();
    heap.push({ when: 1, index: -1 });
    heap.push(item);
    expect(reads).toBe(1);
    for (const when of [3, 7, 5, 5, 1, 9]) heap.push({ when, index: -1 });
    for (let first = heap.front; first !== undefined; first = heap.front) heap.remove(first);
    expect(reads).toBe(1);
  });

  test("−Infinity is an instant before all others, Infinity one after them", () => {
    const heap = new Heap<Item>();
    const [late, early, now, early2] = [
      new Item(Number.POSITIVE_INFINITY),
      new Item(Number.NEGATIVE_INFINITY),
      new Item(-1e300),
      new Item(Number.NEGATIVE_INFINITY),
    ];
    for (const item of [late, early, now, early2]) heap.push(item);
    expect(drained(heap)).toEqual([early, early2, now, late]);
  });
});

describe("remove", () => {
  test("does nothing to an item that is in no heap, in another one, or at a place that is not its own", () => {
    const [heap, items] = filled(20);
    const [other] = filled(20);
    const outsider = new Item(0);
    expect(heap.remove(outsider)).toBe(false);
    outsider.index = 3;
    expect(heap.remove(outsider)).toBe(false);
    expect(outsider.index).toBe(3);
    expect(other.remove(items[5] as Item)).toBe(false);
    expect((items[5] as Item).index).toBeGreaterThanOrEqual(0);
    expect([heap.size, other.size]).toEqual([20, 20]);
    expect(drained(heap)).toHaveLength(20);
  });
});

describe("memory", () => {
  test("the numbers' room follows the number of items, up and down", () => {
    const [heap, items] = filled(10_000);
    const small = room(new Heap<Item>());
    for (const item of items) {
      heap.remove(item);
      if (room(heap) < heap.size || room(heap) > Math.max(small, 8 * heap.size)) {
        expect.unreachable(`room for ${room(heap)} when there are ${heap.size}`);
      }
    }
    expect(room(heap)).toBe(small);
    expect(small).toBeLessThanOrEqual(64);
  });

  test("a number of items that goes up and down moves nothing", () => {
    for (const n of [0, 1, 15, 16, 17, 127, 128, 129, 1024]) {
      const [heap] = filled(n);
      // The first time, it may have to grow.
      let keys: Float64Array | undefined;
      for (let i = 0; i < 100; i++) {
        const items = [new Item(i % 7), new Item(3)];
        for (const item of items) heap.push(item);
        keys ??= inside(heap).keys;
        for (const item of items) heap.remove(item);
        expect(inside(heap).keys).toBe(keys);
      }
    }
  });

  test("a removed item is kept by nothing, wherever it stood", async () => {
    const heap = new Heap<Item>();
    const kept: Item[] = [];
    const gone: WeakRef<Item>[] = [];
    (() => {
      const items = Array.from({ length: 300 }, (_, i) => new Item((i * 31) % 100));
      for (const item of items) heap.push(item);
      items.forEach((item, i) => {
        if (i % 10 === 0) kept.push(item);
        else {
          heap.remove(item);
          gone.push(new WeakRef(item));
        }
      });
    })();
    expect(await remaining(gone)).toBeLessThanOrEqual(MISTAKEN);
    expect(new Set(heap)).toEqual(new Set(kept));
    expect(inside(heap).items).toHaveLength(kept.length);
  });

  test("the numbers of the pushes restart when the heap becomes empty, not before", () => {
    const [heap, items] = filled(20);
    const pushes = () => (heap as unknown as { pushes: number }).pushes;
    for (const item of items.slice(1)) heap.remove(item);
    expect(pushes()).toBe(20);
    heap.remove(items[0] as Item);
    expect(pushes()).toBe(0);
  });
});
