/**
 * The items of any iterable, taken one at a time and not before they are wanted. A wait for an item can be cancelled.
 * The iterator is closed when no more items are wanted.
 */
import { isThenable, show } from "../data/args.ts";
import { completed, failedWith } from "../time/turn.ts";
import { Kind, onBehalfOf } from "../track/tracker.ts";
import { NEXT_UNTIL, type Source } from "./source.ts";
import { Waiters } from "./wait.ts";

const NEXT = new Kind("iterator next", "wait");

/**
 * A property, with the value true, of iterators whose `return` ends a pending `next`: such a `return` is always waited
 * for. The symbol is registered, for the iterators of another copy of the package.
 */
export const ENDS_NEXT: unique symbol = Symbol.for("gopark.v1.endsNext") as never;

/** The method that stages, and their iterators, have for {@link endUnopened}. Registered like {@link ENDS_NEXT}. */
export const END_UNOPENED: unique symbol = Symbol.for("gopark.v1.endUnopened") as never;

/**
 * Ends what will not be opened, if it is a stage of a pipeline that nobody else iterates: readers of the same input may
 * wait for it. Anything else holds nothing yet, and stays the caller's: undefined then. `stack` is where this was asked
 * for, if that was recorded. Never throws or rejects.
 */
export function endUnopened(items: unknown, stack: string | undefined): Promise<void> | undefined {
  try {
    const end = (items as { [END_UNOPENED]?(): unknown } | null | undefined)?.[END_UNOPENED];
    return typeof end === "function" ? endLater(() => onBehalfOf(stack, () => end.call(items))) : undefined;
  } catch {
    return undefined; // A getter, or a revoked proxy.
  }
}

/** Not at once: a long chain of stages, each of which ends the one before it, would take too much of the stack. */
async function endLater(end: () => unknown): Promise<void> {
  try {
    await completed();
    await end();
  } catch {
    // As an error of `return`: the caller gets the error for which nothing was opened.
  }
}

/** At most one item is waited for at a time. After a wait for one was cancelled, only `close` may be called. */
export class Items<T> {
  private readonly isAsync: boolean;
  private readonly iterator: Iterator<T> | AsyncIterator<T>;

  // Whether `return` must be called to close the iterator: no `next` has been called yet, or the last one gave an item.
  // It must also be called while a `next` is pending.
  private open = true;

  // Whether an async `next` is pending, which may last longer than the wait for it.
  private pending = false;

  // The wait for what is to come, while there is one.
  private readonly waits: Waiters<unknown> = new Waiters(NEXT);

  /** Opens the iterable. Throws TypeError if `items` is not iterable. */
  constructor(items: AsyncIterable<T> | Iterable<T | PromiseLike<T>>) {
    const iterable = Object(items) as Partial<AsyncIterable<T> & Iterable<T>>;
    const asyncMethod = iterable[Symbol.asyncIterator] ?? undefined;
    const method: (() => Iterator<T> | AsyncIterator<T>) | undefined = asyncMethod ?? iterable[Symbol.iterator];
    if (typeof method !== "function") throw new TypeError(`items must be iterable, got ${show(items)}`);
    this.isAsync = asyncMethod !== undefined;
    this.iterator = method.call(items as Iterable<T>);
  }

  /** The next item of an iterator that is not async. Throws what the iterator throws. */
  private next(): IteratorResult<T> {
    this.open = false;
    return this.read((this.iterator as Iterator<T>).next());
  }

  /**
   * The next item of an async iterator, if it comes before the source ends. `source` has not ended. Rejects with what
   * the iterator throws.
   */
  private nextLater(source: Source): Promise<IteratorResult<T>> {
    const next = this.waits.park(source, undefined) as Promise<IteratorResult<T>>;
    void this.pull(source);
    return next;
  }

  /**
   * The next item of any iterator, as a promise only where it must be waited for. A promise among the items of an
   * iterator that is not async is awaited, as by `for await`. The source has not ended; afterwards it may have. Throws
   * or rejects with what the iterator throws, or the end of the source if that is found before a wait.
   */
  take(source: Source): IteratorResult<T> | Promise<IteratorResult<T>> {
    if (this.isAsync) return this.nextLater(source);
    const next = this.next();
    return !next.done && isThenable(next.value) ? this.takeLater(next.value as PromiseLike<T>, source) : next;
  }

  /**
   * What a promise among the items resolves to, if that is before the source ends, which may have ended. Rejects as the
   * promise does.
   */
  private async takeLater(item: PromiseLike<T>, source: Source): Promise<IteratorResult<T>> {
    const ending = source.poll();
    const value = ending === undefined ? this.waits.park(source, undefined) : failedWith(ending.error());
    // Await the item even if nobody waits for it here: nobody else would handle its rejection.
    void this.awaitItem(item);
    return { done: false, value: (await value) as T };
  }

  private async awaitItem(item: PromiseLike<T>): Promise<void> {
    try {
      this.waits.wakeOne(await item);
    } catch (error) {
      this.waits.rejectAll(error);
    }
  }

  /**
   * Closes the iterator by its `return`, and waits for that, but not while a `next` is pending that `return` does not
   * end. Never rejects.
   */
  async close(): Promise<void> {
    if (!this.open && !this.pending) return;
    try {
      const returned = this.iterator.return?.();
      if (this.pending && !(ENDS_NEXT in this.iterator)) Promise.resolve(returned).catch(() => {});
      else await returned;
    } catch {
      // As in `for await`, the caller gets the error that stopped the loop, and not this one.
    }
  }

  private async pull(source: Source): Promise<void> {
    this.open = false;
    this.pending = true;
    try {
      const iterator = this.iterator as AsyncIterator<T> & {
        [NEXT_UNTIL]?(source: Source): Promise<IteratorResult<T>>;
      };
      // If only the wait here ended, a channel's receive would stay parked until `close`, and take a value for nobody.
      this.waits.wakeOne(this.read(await (iterator[NEXT_UNTIL]?.(source) ?? iterator.next())));
    } catch (error) {
      this.waits.rejectAll(error);
    } finally {
      this.pending = false;
    }
  }

  /** Reads an iterator's result, each part once: they may be getters. */
  private read(result: IteratorResult<T>): IteratorResult<T> {
    if (typeof result !== "object" || result === null) {
      throw new TypeError(`an iterator's next must give an object, got ${show(result)}`);
    }
    if (result.done) return { done: true, value: undefined };
    const { value } = result;
    this.open = true;
    return { done: false, value };
  }
}
