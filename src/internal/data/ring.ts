/** Rings of up to this many slots keep them: one that fills and drains again and again does not allocate each time. */
const KEPT = 1024;

/**
 * First-in, first-out queue on a circular array: O(1) at both ends, no shifting. The array doubles when full, and is
 * cut to a quarter when seven eighths of it are empty. To a quarter, as V8 gives no memory back while an array has half
 * the length it has room for.
 */
export class Ring<T> {
  // Between any two calls: the slots' number is a power of two; the elements are slots[head], slots[head + 1], ...
  // wrapping round, `size` of them; every other slot is undefined, so that nothing taken out is kept alive. There are
  // at most KEPT slots, or fewer than eight for each element.
  private slots: (T | undefined)[] = [undefined, undefined, undefined, undefined];
  private head = 0;

  /** How many elements there are. Written by the ring alone. */
  size = 0;

  push(value: T): void {
    if (this.size === this.slots.length) this.grow();
    this.slots[(this.head + this.size) & (this.slots.length - 1)] = value;
    this.size++;
  }

  /** The oldest element. The ring must not be empty. */
  get front(): T {
    return this.slots[this.head] as T;
  }

  /** Takes the oldest element. The ring must not be empty. */
  shift(): T {
    const { slots } = this;
    const value = slots[this.head] as T;
    slots[this.head] = undefined;
    this.head = (this.head + 1) & (slots.length - 1);
    this.size--;
    if (slots.length > KEPT && 8 * this.size <= slots.length) this.shrink();
    return value;
  }

  private grow(): void {
    const { slots, head } = this;
    // The circle twice over has the elements in a row from `head` on. The rest is cleared.
    const { length } = slots;
    this.slots = slots
      .concat(slots)
      .fill(undefined, 0, head)
      .fill(undefined, head + length);
  }

  private shrink(): void {
    const { slots, head, size } = this;
    const length = slots.length / 4;
    // In place: each element goes to its index modulo the new length, where no other is, as there are fewer.
    for (let i = head; i < head + size; i++) slots[i & (length - 1)] = slots[i & (slots.length - 1)];
    slots.length = length;
    this.head = head & (length - 1);
  }
}
