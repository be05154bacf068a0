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

  // Whether the iterator gives no more: set when it is asked, cleared when it answers with an item.
  private over = false;

  // Whether an async `next` still owes its answer, which may be after the wait for it; and that wait, while there is one.
  private owing = false;
  private readonly waits = new List<Park<IteratorResult<T>>>();

  /** Opens the iterable. Throws TypeError if it is none. */
  constructor(items: Iterable<T> | AsyncIterable<T>) {
    const source = Object(items) as Partial<AsyncIterable<T> & Iterable<T>>;
    const later = source[Symbol.asyncIterator] ?? undefined;
    const open: (() => Iterator<T> | AsyncIterator<T>) | undefined = later ?? source[Symbol.iterator];
    if (typeof open !== "function") throw new TypeError(`items must be iterable, got ${show(items)}`);
    this.isAsync = later !== undefined;
    this.iterator = open.call(items as Iterable<T>);
  }

  /** The next item of an iterator that is not async. Throws what the iterator throws. */
  next(): IteratorResult<T> {
    this.over = true;
    return this.read((this.iterator as Iterator<T>).next());
  }

  /** The next item of an async iterator, if it comes before the context ends. Rejects with what the iterator throws. */
  nextLater(ctx: Context): Promise<IteratorResult<T>> {
    const wait = new Park<IteratorResult<T>>(NEXT, ctx);
    this.waits.push(wait);
    void this.pull(wait);
    return wait.promise;
  }

  /** Tells the iterator that no more is wanted, and waits for it to finish unless it still owes an answer. */
  async close(): Promise<void> {
    if (this.over && !this.owing) return;
    try {
      const returned = this.iterator.return?.();
      if (this.owing) Promise.resolve(returned).catch(() => {});
      else await returned;
    } catch {
      // As in `for await`: what stopped the loop is the error to tell.
    }
  }

  private async pull(wait: Park<IteratorResult<T>>): Promise<void> {
    this.over = this.owing = true;
    try {
      const next = this.read(await this.iterator.next());
      if (this.waits.remove(wait)) wait.resolve(next);
    } catch (error) {
      if (this.waits.remove(wait)) wait.reject(error);
    } finally {
      this.owing = false;
    }
  }

  /** Reads an iterator's answer, each part once: they may be getters. */
  private read(answer: IteratorResult<T>): IteratorResult<T> {
    if (typeof answer !== "object" || answer === null) {
      throw new TypeError(`an iterator's next must give an object, got ${show(answer)}`);
    }
    if (answer.done) return { done: true, value: undefined };
    const { value } = answer;
    this.over = false;
    return { done: false, value };
  }
}
