/** What a {@link Heap} orders: by `when`, earliest first. `index` is its place in the heap, −1 while it is in none. */
export interface HeapItem {
  when: number;
  index: number;
}

/** Binary min-heap whose items know their place, so that any one of them is removed in O(log n). */
export class Heap<T extends HeapItem> {
  // Between any two calls: items[i].index === i, and no item is earlier than its parent items[(i - 1) >> 1].
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** The earliest item. Among equals, any. */
  get front(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const i = this.#items.length;
    this.#items.push(item);
    this.#up(item, i);
  }

  /** Removes item; false, with nothing changed, if it is not in the heap. */
  remove(item: T): boolean {
    const i = item.index;
    if (this.#items[i] !== item) return false;
    const last = this.#items.pop() as T;
    item.index = -1;
    if (last !== item) {
      if (i > 0 && last.when < (this.#items[(i - 1) >> 1] as T).when) this.#up(last, i);
      else this.#down(last, i);
    }
    return true;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    yield* this.#items;
  }

  #up(item: T, from: number): void {
    const items = this.#items;
    let i = from;
    while (i > 0) {
      const above = (i - 1) >> 1;
      const parent = items[above] as T;
      if (parent.when <= item.when) break;
      items[i] = parent;
      parent.index = i;
      i = above;
    }
    items[i] = item;
    item.index = i;
  }

  #down(item: T, from: number): void {
    const items = this.#items;
    let i = from;
    for (;;) {
      let below = 2 * i + 1;
      if (below >= items.length) break;
      let child = items[below] as T;
      const right = items[below + 1];
      if (right !== undefined && right.when < child.when) {
        child = right;
        below++;
      }
      if (item.when <= child.when) break;
      items[i] = child;
      child.index = i;
      i = below;
    }
    items[i] = item;
    item.index = i;
  }
}
