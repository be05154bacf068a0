/** Sources that count their calls or are answered by the test, and work that ends when the test says so. */
import type { Cancel, Context } from "gopark/context";
import { forEach, map } from "gopark/errgroup";

/** The calls of a source. */
export interface Use {
  opened: number;
  nexts: number;
  returns: number;
  /** Calls of next() that are not answered yet. */
  pending: number;
  /** Calls of next() made while another was pending. */
  overlaps: number;
}

type Items<T> = Iterable<T> | AsyncIterable<T>;

/** The same items, from a sync source if `items` is one, and counts of its calls. */
export function counted<T>(items: Items<T>): [source: Items<T>, use: Use] {
  const use: Use = { opened: 0, nexts: 0, returns: 0, pending: 0, overlaps: 0 };
  const ask = () => {
    use.nexts++;
    if (use.pending++ > 0) use.overlaps++;
  };
  if (Symbol.asyncIterator in items) {
    const open = (): AsyncIterator<T> => {
      use.opened++;
      const iterator = items[Symbol.asyncIterator]();
      return {
        next() {
          ask();
          return iterator.next().finally(() => use.pending--);
        },
        async return() {
          use.returns++;
          return (await iterator.return?.()) ?? { done: true, value: undefined };
        },
      };
    };
    return [{ [Symbol.asyncIterator]: open }, use];
  }
  const open = (): Iterator<T> => {
    use.opened++;
    const iterator = items[Symbol.iterator]();
    return {
      next() {
        ask();
        try {
          return iterator.next();
        } finally {
          use.pending--;
        }
      },
      return() {
        use.returns++;
        return iterator.return?.() ?? { done: true, value: undefined };
      },
    };
  };
  return [{ [Symbol.iterator]: open }, use];
}

type Fn<T> = (item: T, ctx: Context, index: number) => unknown;

/** The common part of map and forEach, for tests of both. */
export const runners: Record<
  "map" | "forEach",
  <T>(ctx: Cancel, items: Items<T>, fn: Fn<T>, options: { limit: number }) => Promise<unknown>
> = { map, forEach };

interface Answer<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(reason: unknown): void;
}

/** An async source that answers next() when the test says so, and return() by `onReturn`. */
export class HandSource<T> implements AsyncIterable<T> {
  nexts = 0;
  returns = 0;
  /** May throw, or return a promise that return() follows. */
  onReturn: () => unknown = () => {};
  readonly #asked: Answer<T>[] = [];

  /** Calls of next() that are not answered yet. */
  get pending(): number {
    return this.#asked.length;
  }

  give(value: T): void {
    this.#answer().resolve({ done: false, value });
  }

  end(): void {
    this.#answer().resolve({ done: true, value: undefined });
  }

  fail(reason: unknown): void {
    this.#answer().reject(reason);
  }

  #answer(): Answer<T> {
    const answer = this.#asked.shift();
    if (answer === undefined) throw new Error("next() was not called");
    return answer;
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return {
      next: () => {
        this.nexts++;
        return new Promise((resolve, reject) => this.#asked.push({ resolve, reject }));
      },
      return: () => {
        this.returns++;
        const returned = this.onReturn();
        return Promise.resolve(returned).then(() => ({ done: true, value: undefined }));
      },
    };
  }
}

/** Calls of one function, each of which ends when the test says so. A call is named by its index. */
export class Work<T, R> {
  /** The argument of each call. */
  readonly items: T[] = [];
  readonly contexts: Context[] = [];
  readonly indices: number[] = [];
  /** The greatest number of calls that ran at once. */
  most = 0;
  readonly #running = new Map<number, { resolve(result: R): void; reject(reason: unknown): void }>();

  /** The function to pass. */
  readonly fn = (item: T, ctx: Context, index: number): Promise<R> => {
    this.items.push(item);
    this.contexts.push(ctx);
    this.indices.push(index);
    return new Promise((resolve, reject) => {
      this.#running.set(index, { resolve, reject });
      this.most = Math.max(this.most, this.#running.size);
    });
  };

  /** The indices of the running calls. */
  get running(): number[] {
    return [...this.#running.keys()];
  }

  finish(index: number, result: R): void {
    this.#take(index).resolve(result);
  }

  fail(index: number, reason: unknown): void {
    this.#take(index).reject(reason);
  }

  #take(index: number) {
    const call = this.#running.get(index);
    if (call === undefined) throw new Error(`call ${index} does not run`);
    this.#running.delete(index);
    return call;
  }
}
