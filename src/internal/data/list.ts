/**
 * Intrusive doubly linked list, after Go's container/list: the element is its own list node, so linking allocates
 * nothing and unlinking from the middle is O(1).
 */

/**
 * What a {@link List} holds. An element is in at most one list at a time, and `list` says in which. The three fields
 * are written by the list alone. (Where no order is needed, something else may stand for the list: it writes `list`
 * alone.)
 *
 * An interface, so that the hottest class that implements it needs no base class: see Wait.
 */
export interface Element {
  list: object | undefined;
  prev: Element | undefined;
  next: Element | undefined;
}

/** A doubly linked list of elements, in the order in which they were pushed. */
export class List<T extends Element> {
  // Between any two calls: front.prev and back.next are undefined, every element's `list` is this list, and `back` is
  // undefined exactly while there are fewer than two elements. Most queues hold one waiter: it needs no `prev`, `next`
  // and `back`. Others read front and size, the list alone writes them.
  front: T | undefined = undefined;
  size = 0;
  private back: T | undefined = undefined;

  /** Appends an element that is in no list. */
  push(e: T): void {
    e.list = this;
    if (this.front === undefined) this.front = e;
    else {
      const last = this.back ?? this.front;
      last.next = e;
      e.prev = last;
      this.back = e;
    }
    this.size++;
  }

  /** Unlinks and returns the front element, by {@link remove}. */
  shift(): T | undefined {
    const e = this.front;
    if (e !== undefined) this.remove(e);
    return e;
  }

  /** Unlinks e; false, with nothing changed, if e is not in this list. */
  remove(e: T): boolean {
    if (e.list !== this) return false;
    const { prev, next } = e;
    e.list = undefined;
    this.size--;
    if (this.back === undefined) {
      this.front = undefined;
      return true;
    }
    if (prev === undefined) this.front = next as T;
    else prev.next = next;
    if (next === undefined) this.back = prev as T;
    else next.prev = prev;
    if (this.back === this.front) this.back = undefined;
    e.prev = e.next = undefined;
    return true;
  }
}

/** Unlinks e from the list it is in; false if it is in none. */
export function unlink(e: Element): boolean {
  return e.list !== undefined && (e.list as List<Element>).remove(e);
}
