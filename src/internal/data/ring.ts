/** First-in, first-out queue on a circular array that doubles when full: O(1) at both ends, no shifting. */
export class Ring<T> {
  // Between any two calls: the slots' number is a power of two; the elements are slots[head], slots[head + 1], ...
  // wrapping round, `size` of them; every other slot is undefined, so that nothing taken out is kept alive.
  private readonly slots: (T | undefined)[] = [undefined, undefined, undefined, undefined];
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
    const value = this.slots[this.head] as T;
    this.slots[this.head] = undefined;
    this.head = (this.head + 1) & (this.slots.length - 1);
    this.size--;
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
}
