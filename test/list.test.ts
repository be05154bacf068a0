/** The internal list: random programs against an array. */
import { expect, test } from "vitest";
import { type Element, List, unlink } from "../src/internal/data/list.ts";
import { random, seeds } from "./support/random.ts";

class Item implements Element {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly id: number;

  constructor(id: number) {
    this.id = id;
  }
}

const id = (e: Element | undefined) => (e as Item | undefined)?.id;

function forwards(list: List<Item>): unknown[] {
  const ids: unknown[] = [];
  for (let e: Element | undefined = list.front; e !== undefined; e = e.next) ids.push(id(e));
  return ids;
}

test.each(seeds(50))(
  "a list has the elements of an array, in both directions, and keeps no reference to removed ones, SEED=%d",
  (seed) => {
    const { pick, int, bool } = random(seed);
    const list = new List<Item>();
    const other = new List<Item>();
    const items = Array.from({ length: 8 }, (_, i) => new Item(i));
    let model: Item[] = [];
    for (let step = 0; step < 200; step++) {
      const item = pick(items);
      const linked = model.includes(item);
      if (bool(0.2)) expect(id(list.shift())).toBe(id(model.shift()));
      else if (bool(0.5) && !linked) {
        list.push(item);
        model.push(item);
      } else {
        expect(other.remove(item)).toBe(false);
        expect(int(0, 1) ? list.remove(item) : unlink(item)).toBe(linked);
        model = model.filter((other) => other !== item);
      }
      expect(forwards(list)).toEqual(model.map(id));
      expect(list.size).toBe(model.length);
      expect(model.map((e) => id(e.prev))).toEqual([undefined, ...model.map(id)].slice(0, model.length));
      expect(model.every((e) => e.list === list)).toBe(true);
      // A link that stayed would keep alive what comes after, and mislead the next list.
      for (const e of items.filter((e) => !model.includes(e))) {
        expect([e.list, e.prev, e.next]).toEqual([undefined, undefined, undefined]);
      }
    }
  },
);
