/**
 * Intrusive doubly linked list, after Go's container/list: the element is its own list node, so linking allocates
 * nothing and unlinking from the middle is O(1).
 */

/** What a {@link List} holds. An element is in at most one list at a time. */
export abstract class Element {
  // All three are written by List alone. `list` is undefined exactly while the element is in no list.
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
}

export class List<T extends Element> {
  // Between any two calls: front.prev and back.next are undefined, every element's `list` is this list, and both ends
  // are undefined exactly when the list is empty.
  // Others read them, the list alone writes them.
  front: T | undefined = undefined;
  back: T | undefined = undefined;
  size = 0;

  /** Appends an element that is in no list. */
  push(e: T): void {
    e.list = this;
    e.prev = this.back;
    if (this.back === undefined) this.front = e;
    else this.back.next = e;
    this.back = e;
    this.size++;
  }

  /** Unlinks and returns the front element. */
  shift(): T | undefined {
    const e = this.front;
    if (e === undefined) return undefined;
    const next = e.next as T | undefined;
    this.front = next;
    if (next === undefined) this.back = undefined;
    else next.prev = undefined;
    e.list = e.next = undefined;
    this.size--;
    return e;
  }

  /** Unlinks e; false, with nothing changed, if e is not in this list. */
  remove(e: T): boolean {
    if (e.list !== this) return false;
    const { prev, next } = e;
    if (prev === undefined) this.front = next as T | undefined;
    else prev.next = next;
    if (next === undefined) this.back = prev as T | undefined;
    else next.prev = prev;
    e.list = e.prev = e.next = undefined;
    this.size--;
    return true;
  }
}

/** Unlinks e from whatever list it is in; false if it is in none. */
export function unlink(e: Element): boolean {
  return e.list !== undefined && (e.list as List<Element>).remove(e);
}
