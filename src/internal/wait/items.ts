/**
 * The items of any iterable, taken one at a time and not before they are wanted; with an exit from the wait for one,
 * and the iterator told when no more are.
 */
import { show } from "../data/args.ts";
import { Kind } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { Waiters } from "./wait.ts";

const NEXT = new Kind("iterator next", "wait");

export class Items<T> {
  readonly isAsync: boolean;
  private readonly iterator: Iterator<T> | AsyncIterator<T>;

  // Whether the iterator gives no more: set when it is asked, cleared when it answers with an item.
  private over = false;

  // Whether an async `next` still owes its answer, which may be after the wait for it.
  private owing = false;

  // The wait for what is to come, while there is one.
  private readonly waits: Waiters<unknown> = new Waiters(NEXT);

  /** Opens the iterable. Throws TypeError if it is none. */
  constructor(items: Iterable<T> | AsyncIterable<T>) {
    const opened = Object(items) as Partial<AsyncIterable<T> & Iterable<T>>;
    const later = opened[Symbol.asyncIterator] ?? undefined;
    const open: (() => Iterator<T> | AsyncIterator<T>) | undefined = later ?? opened[Symbol.iterator];
    if (typeof open !== "function") throw new TypeError(`items must be iterable, got ${show(items)}`);
    this.isAsync = later !== undefined;
    this.iterator = open.call(items as Iterable<T>);
  }

  /** The next item of an iterator that is not async. Throws what the iterator throws. */
  next(): IteratorResult<T> {
    this.over = true;
    return this.read((this.iterator as Iterator<T>).next());
  }

  /**
   * The next item of an async iterator, if it comes before the source ends, which has not ended. Rejects with what the
   * iterator throws.
   */
  nextLater(source: Source): Promise<IteratorResult<T>> {
    const next = this.waits.park(source, undefined) as Promise<IteratorResult<T>>;
    void this.pull();
    return next;
  }

  /** What a promise among the items resolves to, if that is before the source ends. Rejects as the promise does. */
  settled(item: PromiseLike<T>, source: Source): Promise<T> {
    const settled = this.waits.park(source, undefined) as Promise<T>;
    void (async () => {
      try {
        this.waits.wakeOne(await item);
      } catch (error) {
        this.waits.failAll(error);
      }
    })();
    return settled;
  }

  /** Tells the iterator that no more is wanted, and waits for it to finish unless it still owes an answer. */
  async close(): Promise<void> {
    if (this.over && !this.owing) return;
    try {
      const returned = this.iterator.return?.();
      if (this.owing) Promise.resolve(returned).catch(() => {});
      else await returned;
    } catch {
      // As in `for await`: what stopped the loop is the error to report.
    }
  }

  private async pull(): Promise<void> {
    this.over = this.owing = true;
    try {
      this.waits.wakeOne(this.read(await this.iterator.next()));
    } catch (error) {
      this.waits.failAll(error);
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
