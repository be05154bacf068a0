/** The inputs of stages: anything iterable, and the streams of the web and of Node. */
import { show } from "../data/args.ts";
import { onBehalfOf } from "../track/tracker.ts";
import { ENDS_NEXT, Items } from "../wait/items.ts";
import type { Source } from "../wait/source.ts";

/** A stream of the web, as far as it is read here. */
export interface WebStream<T> {
  getReader(): WebReader<T>;
}

interface WebReader<T> {
  read(): Promise<{ readonly done: boolean; readonly value?: T | undefined }>;
  cancel(reason?: unknown): Promise<void>;
  releaseLock(): void;
}

/** A readable stream of Node, as far as it is used here. */
interface NodeStream<T> extends AsyncIterable<T> {
  destroy(): unknown;
  on(event: "error", listener: () => void): unknown;
}

export type AnyInput<T> = AsyncIterable<T> | Iterable<T | PromiseLike<T>> | WebStream<T>;

/** Returns `input` if it can be one. Throws TypeError if not. Opens nothing. */
export function checkInput<T>(input: AnyInput<T>, what: string): AnyInput<T> {
  const it = Object(input) as Partial<Iterable<T> & AsyncIterable<T>>;
  if (isWebStream(it)) return input;
  if (typeof (it[Symbol.asyncIterator] ?? it[Symbol.iterator]) === "function") return input;
  throw new TypeError(`${what} must be iterable or a stream, got ${show(input)}`);
}

/** Opens an input. Throws what it throws. */
function open<T>(input: AnyInput<T>): Items<T> {
  if (isWebStream<T>(input)) return new Items(readWebStream(input));
  return new Items(isNodeStream<T>(input) ? readNodeStream(input) : input);
}

function isWebStream<T>(value: unknown): value is WebStream<T> {
  return typeof (value as Partial<WebStream<T>>).getReader === "function";
}

function isNodeStream<T>(value: unknown): value is NodeStream<T> {
  const it = value as { readonly destroy?: unknown; readonly read?: unknown; readonly pipe?: unknown };
  return typeof it.destroy === "function" && typeof it.read === "function" && typeof it.pipe === "function";
}

/**
 * Not the stream's own iterator, which not every browser has: its `return` waits for a pending read, so it would not
 * cancel a stream that is quiet.
 */
function readWebStream<T>(stream: WebStream<T>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const reader = stream.getReader();
      return endsNext<T>({
        async next() {
          let isOver = true;
          try {
            const { done, value } = await reader.read();
            isOver = done;
            return done ? { done, value: undefined } : { done, value: value as T };
          } finally {
            if (isOver) reader.releaseLock();
          }
        },
        async return() {
          try {
            await reader.cancel();
          } finally {
            reader.releaseLock();
          }
          return { done: true, value: undefined };
        },
      });
    },
  };
}

/** Its own iterator, whose `return` waits for a pending `next`: so that is ended by destroying the stream. */
function readNodeStream<T>(stream: NodeStream<T>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = stream[Symbol.asyncIterator]();
      let isRead = false;
      return endsNext<T>({
        next() {
          isRead = true;
          return iterator.next();
        },
        async return() {
          // The iterator listens for errors from its first `next` on. An error of `destroy` must not end the process.
          if (!isRead) stream.on("error", () => {});
          stream.destroy();
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      });
    },
  };
}

function endsNext<T>(iterator: AsyncIterator<T>): AsyncIterator<T> {
  return Object.defineProperty(iterator, ENDS_NEXT, { value: true });
}

/** What takes the items of an input. */
export interface Taker {
  readonly source: Source;
  /** Where the taking was asked for, if that was recorded. */
  readonly stack?: string | undefined;
  /** Called before each item is taken, and waited for. */
  reserve?(): Promise<void> | undefined;
  /** Called when there was no item. */
  release?(): void;
  /** Called with what ended the taking early, before the input is closed. */
  fail?(error: unknown): void;
}

/**
 * Takes the items of an input, one at a time, and waits for what `use` returns. Rejects at the first error of the input
 * or of `use`, or when the source ends; the input is closed then.
 */
export async function takeEach<T>(
  taker: Taker,
  input: AnyInput<T>,
  use: (item: T) => Promise<unknown> | undefined,
): Promise<void> {
  const { source, stack } = taker;
  let items: Items<T> | undefined;
  const take = () => (items as Items<T>).take(source);
  const close = () => items?.close();
  try {
    items = open(input);
    for (;;) {
      const reserved = taker.reserve?.();
      if (reserved !== undefined) await reserved;
      check(source);
      const taken = onBehalfOf(stack, take);
      const next = taken instanceof Promise ? await taken : taken;
      check(source);
      if (next.done) break;
      const used = use(next.value);
      if (used !== undefined) await used;
    }
  } catch (error) {
    taker.fail?.(error);
    await onBehalfOf(stack, close);
    throw error;
  }
  taker.release?.();
}

function check(source: Source): void {
  const ending = source.poll();
  if (ending !== undefined) throw ending.error();
}
