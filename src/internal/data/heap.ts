/** What a {@link Heap} orders. */
export interface HeapItem {
  /** Read once, when the item is pushed. A later change does not move the item. */
  when: number;

  /** The item's place in the heap, −1 while it is in none. Written by the heap alone. */
  index: number;
}

/** The capacity of an empty heap. */
const SMALL = 16;

/**
 * Min-heap ordered by `when` and, among equals, by the order of the pushes. Items know their place, so any one of them
 * is removed in O(log n).
 *
 * Each node has four children: half the levels of a binary heap. The numbers compared stand side by side in a typed
 * array, so that comparing follows no pointer. Memory follows the number of items down as well as up.
 */
export class Heap<T extends HeapItem> {
  // Between any two calls:
  //   items[i].index === i;
  //   keys[2 * i] is what items[i].when was at its push, and keys[2 * i + 1] is the number of that push;
  //   no item comes before its parent, items[(i - 1) >> 2], by its pair of numbers;
  //   items.length <= capacity, and capacity < 8 * items.length unless it is SMALL; keys has room for `capacity` pairs.
  private items: T[] = [];
  private keys = new Float64Array(2 * SMALL);
  private capacity = SMALL;

  // The number of the next push. Starts again at 0 when the heap becomes empty.
  private pushes = 0;

  get size(): number {
    return this.items.length;
  }

  /** The earliest item. Among equals, the one that was pushed first. */
  get front(): T | undefined {
    return this.items[0];
  }

  /** Adds an item that is in no heap. */
  push(item: T): void {
    const i = this.items.length;
    if (i === this.capacity) this.resize(2 * i);
    this.items.push(item);
    this.keys[2 * i] = item.when;
    this.keys[2 * i + 1] = this.pushes++;
    this.up(item, i);
  }

  /** Removes item; false, with nothing changed, if it is not in the heap. */
  remove(item: T): boolean {
    const { items, keys } = this;
    const i = item.index;
    if (i < 0 || items[i] !== item) return false;
    const last = items.pop() as T;
    item.index = -1;
    const size = items.length;
    if (last !== item) {
      keys[2 * i] = keys[2 * size] as number;
      keys[2 * i + 1] = keys[2 * size + 1] as number;
      this.up(last, i);
      if (last.index === i) this.down(last, i);
    } else if (size === 0) this.pushes = 0;
    if (8 * size <= this.capacity && this.capacity > SMALL) {
      this.items = items.slice(); // An array does not give back the memory of what was popped.
      this.resize(this.capacity / 2);
    }
    return true;
  }

  /** The items, in no order that can be relied on. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.items.values();
  }

  // The moves take an item's numbers from its place `from`, where they stand already. As arguments they would be boxed.

  /** Moves the item towards the front, from `from` to where it belongs. */
  private up(item: T, from: number): void {
    const { items, keys } = this;
    const when = keys[2 * from] as number;
    const push = keys[2 * from + 1] as number;
    let i = from;
    while (i > 0) {
      const above = (i - 1) >> 2;
      const its = keys[2 * above] as number;
      if (its < when || (its === when && (keys[2 * above + 1] as number) < push)) break;
      const parent = items[above] as T;
      items[i] = parent;
      parent.index = i;
      keys[2 * i] = its;
      keys[2 * i + 1] = keys[2 * above + 1] as number;
      i = above;
    }
    items[i] = item;
    item.index = i;
    keys[2 * i] = when;
    keys[2 * i + 1] = push;
  }

  /** Moves the item away from the front, from `from` to where it belongs. */
  private down(item: T, from: number): void {
    const { items, keys } = this;
    const size = items.length;
    const when = keys[2 * from] as number;
    const push = keys[2 * from + 1] as number;
    let i = from;
    for (;;) {
      const first = 4 * i + 1;
      if (first >= size) break;
      const end = Math.min(first + 4, size);
      let least = first;
      let leastWhen = keys[2 * first] as number;
      let leastPush = keys[2 * first + 1] as number;
      for (let other = first + 1; other < end; other++) {
        const its = keys[2 * other] as number;
        if (its > leastWhen) continue;
        const itsPush = keys[2 * other + 1] as number;
        if (its < leastWhen || itsPush < leastPush) {
          least = other;
          leastWhen = its;
          leastPush = itsPush;
        }
      }
      if (when < leastWhen || (when === leastWhen && push < leastPush)) break;
      const child = items[least] as T;
      items[i] = child;
      child.index = i;
      keys[2 * i] = leastWhen;
      keys[2 * i + 1] = leastPush;
      i = least;
    }
    items[i] = item;
    item.index = i;
    keys[2 * i] = when;
    keys[2 * i + 1] = push;
  }

  private resize(capacity: number): void {
    const keys = new Float64Array(2 * capacity);
    keys.set(this.keys.subarray(0, 2 * this.items.length));
    this.keys = keys;
    this.capacity = capacity;
  }
}
