/**
 * The items of any iterable, taken one at a time and not before they are wanted; with an exit from the wait for one, and
 * the iterator told when no more are.
 */
import type { Context } from "../context.ts";
import { show } from "./errors.ts";
import { List } from "./list.ts";
import { Park } from "./park.ts";
import { Kind } from "./tracker.ts";

const NEXT = new Kind("iterator next");

export class Items<T> {
  readonly isAsync: boolean;
  private readonly iterator: Iterator<T> | AsyncIterator<T>;

  // Whether the iterator must not be told to return: it has come to its end, or it threw.
  private over = false;

  // The wait for an async `next`, while there is one.
  private readonly pending = new List<Park<IteratorResult<T>>>();

  // Whether an async `next` still owes its answer, which may be after the wait for it.
  private owing = false;

  /** Opens the iterable. Throws TypeError if it is none. */
  constructor(items: Iterable<T> | AsyncIterable<T>) {
    const source = Object(items) as Partial<AsyncIterable<T> & Iterable<T>>;
    const later = source[Symbol.asyncIterator] ?? undefined;
    const open: (() => Iterator<T> | AsyncIterator<T>) | undefined = later ?? source[Symbol.iterator];
    if (typeof open !== "function") throw new TypeError(`items must be iterable, got ${show(items)}`);
    this.isAsync = later !== undefined;
    this.iterator = open.call(items as Iterable<T>);
  }

  /** The next item of an iterator that is not async. */
  next(): IteratorResult<T> {
    try {
      const next = (this.iterator as Iterator<T>).next();
      this.over = next.done === true;
      return next;
    } catch (error) {
      this.over = true;
      throw error;
    }
  }

  /** The next item of an async iterator, if it comes before the context ends. */
  nextLater(ctx: Context): Promise<IteratorResult<T>> {
    const wait = new Park<IteratorResult<T>>(NEXT, ctx);
    this.pending.push(wait);
    this.owing = true;
    new Promise<IteratorResult<T>>((resolve) => resolve(this.iterator.next())).then(
      (next) => {
        this.owing = false;
        this.over = next.done === true;
        if (this.pending.remove(wait)) wait.resolve(next);
      },
      (error) => {
        this.owing = false;
        this.over = true;
        if (this.pending.remove(wait)) wait.reject(error);
      },
    );
    return wait.promise;
  }

  /** Tells the iterator that no more is wanted, and waits for it to finish unless it still owes an answer. */
  async close(): Promise<void> {
    if (this.over) return;
    try {
      const returned = this.iterator.return?.();
      if (this.owing) Promise.resolve(returned).catch(() => {});
      else await returned;
    } catch {
      // As in `for await`: what stopped the loop is the error to tell.
    }
  }
}
