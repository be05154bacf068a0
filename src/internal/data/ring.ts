/** Rings of up to this many slots keep them: one that fills and drains again and again does not allocate each time. */
const KEPT = 1024;

/**
 * First-in, first-out queue on a circular array: O(1) at both ends, no shifting. The array doubles when full, and is
 * halved when three quarters of it are empty.
 */
export class Ring<T> {
  // Between any two calls: the slots' number is a power of two; the elements are slots[head], slots[head + 1], ...
  // wrapping round, `size` of them; every other slot is undefined, so that nothing taken out is kept alive. There are at
  // most KEPT slots, or fewer than four for each element.
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
    if (slots.length > KEPT && 4 * this.size <= slots.length) this.shrink();
    return value;
  }

  private grow(): void {
    const slots = this.slots;
    const length = slots.length;
    // Unwrap in place: the elements before `head` move behind the old end.
    for (let i = 0; i < this.head; i++) {
      slots.push(slots[i]);
      slots[i] = undefined;
    }
    while (slots.length < 2 * length) slots.push(undefined);
  }

  /** Moves the elements to an array of half the length. */
  private shrink(): void {
    const { slots, head, size } = this;
    const { length } = slots;
    const end = head + size;
    const fewer = slots.slice(head, Math.min(end, length));
    for (let i = 0; i < end - length; i++) fewer.push(slots[i]);
    while (fewer.length < length / 2) fewer.push(undefined);
    this.slots = fewer;
    this.head = 0;
  }
}
