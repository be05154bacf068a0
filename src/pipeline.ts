/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Pipelines: stages that take items, work on them, and hand results on, each at the pace of the one behind it.
 *
 * A *stage* is an async iterable that can be iterated once. It is lazy: nothing runs until its first `next`, and a
 * stage that is never iterated has opened nothing. Its input is an iterable, an async iterable, a channel, a stream of
 * the web or of Node, or another stage. The *consumer* is what iterates it: a `for await` loop, the next stage, a
 * stream.
 *
 * A stage stops at the first of these: its input ends; an error of its input or of a function that it calls; the end of
 * its context; the consumer's `return`, which is how a `for await` loop is left early. Then its functions are cancelled
 * by the context that they were given, its input is closed, results that the consumer has not taken are dropped, and
 * all that runs is waited for. Only then does the consumer's `next` reject, or its `return` resolve. So the code
 * after the loop finds nothing of the pipeline left, its first stages included.
 *
 * Rules of use:
 *
 * - Iterate a stage, or pass it on: a stage that was begun and is then neither read on nor returned waits until its
 *   context ends. `for await` and every function here do it right.
 * - A stage that ends before its first item, as its context had ended or it was returned, ends the stages that it was
 *   given. A stream that it was given stays yours to close.
 * - Hand the context that a function gets to whatever it calls. A call that ignores it is waited for.
 * - To take items from a generator of your own, give the generator's waits the same context. A `return` of a generator
 *   has to wait for a pending `next`. So a stage that stops waits for neither, and the `next` goes on until what it
 *   waits for ends.
 *
 * ```ts
 * import { context, pipeline } from "gopark";
 *
 * const ctx = context.background();
 * const even = pipeline.filter(ctx, [1, 2, 3, 4], (n) => n % 2 === 0);
 * const squares = pipeline.map(ctx, even, async (n) => n * n, { concurrency: 2 });
 * for await (const square of squares) console.log(square);
 * // Output:
 * // 4
 * // 16
 * ```
 *
 * Does what the Go blog's article "Go Concurrency Patterns: Pipelines and cancellation" builds from channels.
 * Differences from Go:
 *
 * - A stage is an async iterable, not a channel. Go's stages start when they are made; these start when they are
 *   iterated. `toChannel` makes a channel of one.
 * - A stage that is left early stops the stages before it. In Go each stage has to watch a `done` channel or a context
 *   for that.
 * - An error goes down the pipeline by itself, to the consumer's `next`. In Go each stage sends a struct that has a
 *   field for it, or the stages share an errgroup.
 * - Results come in the order of the items, unless `ordered` is false. In Go they come as they are ready.
 */
import { Channel, type ReceiveChannel } from "./channel.ts";
import { background, type Cancel, type Context, withCancel } from "./context.ts";
import type { Group } from "./errgroup.ts";
import { callable, duration, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { asyncDisposable } from "./internal/host/dispose.ts";
import { Calls, type Choice, type EachFunction } from "./internal/pipeline/calls.ts";
import { Flow, UNBOUNDED } from "./internal/pipeline/flow.ts";
import { Hub } from "./internal/pipeline/hub.ts";
import { checkInput, takeEach } from "./internal/pipeline/inputs.ts";
import { budgetWait, failedWith } from "./internal/time/turn.ts";
import { onBehalfOf, type PublicFunction, registerOuter, stackOfCall } from "./internal/track/tracker.ts";
import { isContext, isSignal, notCancel, sourceOf } from "./internal/wait/foreign.ts";
import { END_UNOPENED, endUnopened } from "./internal/wait/items.ts";
import type { Source } from "./internal/wait/source.ts";
import { select } from "./select.ts";
import { type After, after } from "./time.ts";

// The public functions that begin to take the results of a stage.
const entryPoints = (): PublicFunction[] => [collect, toChannel, toWebStream, toNodeStream];
registerOuter(() => [
  ...[from, map, filter, merge, batch, debounce, throttle, tee, broadcast, collect],
  ...[Flow.prototype.next, Flow.prototype.return],
]);

/** What a stage takes its items from. Promises among the items of an iterable that is not async are awaited. */
export type Input<T> = AsyncIterable<T> | Iterable<T | PromiseLike<T>> | ReadableStream<T>;

/** A stage of a pipeline. */
export interface Stage<out T> extends AsyncIterable<T> {
  /**
   * Iterates the stage. Throws an Error if that has been done before.
   *
   * `next` rejects with the error that stopped the stage, once; after that, and at the end, it answers `done`. `return`
   * stops the stage, and waits until nothing of it runs. An error of a function that is cancelled by that is dropped,
   * and so is one that no `next` has rejected with. Calls of `next` may overlap; they are answered in their order.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T>;
  /** Stops the stage as the iterator's `return` does, whether or not it was iterated. */
  [Symbol.asyncDispose](): Promise<void>;
}

// For functions outside the class. Set by its static block.
let parentOf: (stage: Stage<unknown>, name: string) => Cancel;

class FlowStage<T> implements Stage<T> {
  readonly #flow: Flow<T>;
  #isIterated = false;

  constructor(flow: Flow<T>) {
    this.#flow = flow;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    if (this.#isIterated) throw new Error("a stage is single-use: this one has been iterated before");
    this.#isIterated = true;
    return this.#flow;
  }

  declare readonly [Symbol.asyncDispose]: () => Promise<void>;

  /** @internal */
  [END_UNOPENED](): Promise<unknown> | undefined {
    if (this.#isIterated) return undefined;
    this.#isIterated = true;
    return this.#flow.return();
  }

  static {
    parentOf = (stage, name) => {
      if (typeof stage === "object" && stage !== null && #flow in stage) return stage.#flow.parent;
      throw new TypeError(`${name}: stage must be a stage of this module, got ${show(stage)}`);
    };
    asyncDisposable(this.prototype, async function () {
      await this.#flow.return();
    });
  }
}

/** Options of {@link map} and {@link filter}. */
export interface MapOptions {
  /**
   * How many items the stage has in hand at once: those that a call runs for, and those whose results the consumer has
   * not taken. A whole number from 1, or Infinity; 1 if left out. With Infinity nothing holds the input back.
   */
  readonly concurrency?: number | undefined;

  /** Whether results come in the order of the items, which is the default; if false, as they are ready. */
  readonly ordered?: boolean | undefined;
}

/**
 * The items of `input`, as they are. Makes a stage of anything, which ends with `ctx`. It takes an item ahead of the
 * consumer.
 *
 * Throws TypeError if `ctx` is not a context or a signal (`undefined` means `background()`), or `input` neither
 * iterable nor a stream. This holds for all functions that make a stage.
 */
export function from<T>(ctx: Cancel | undefined, input: Input<T>): Stage<T> {
  checkInput(input, "from: input");
  return stage(ctx, 1, [input], async (flow) => {
    await takeEach(flow, input, (item) => {
      flow.deliver(item);
      return undefined;
    });
  });
}

/**
 * The results of `fn` for the items of `input`. `fn` gets the item, a context that ends when the stage stops, and the
 * item's index. It runs in the async context of the first `next`.
 *
 * The stage works ahead: it keeps `concurrency` items in hand, running or waiting for the consumer, and takes the next
 * item only when the consumer takes a result. With `ordered`, results wait for those before them. `fn` may return a
 * value or a promise; if it fails, the stage stops with its error, even if results before it have not been taken.
 *
 * Throws TypeError if `fn` is not a function or `concurrency` not a number, and RangeError if `concurrency` is out of
 * its range.
 */
export function map<T, R>(
  ctx: Cancel | undefined,
  input: Input<T>,
  fn: (item: T, ctx: Context, index: number) => R | PromiseLike<R>,
  options?: MapOptions,
): Stage<R> {
  return callStage(ctx, input, fn, options, "map", "result");
}

/**
 * The items of `input` for which `fn` returns true, or a promise of true: anything truthy. As {@link map} otherwise. An
 * item that is left out counts as in hand until the results before it have been handed out.
 */
export function filter<T>(
  ctx: Cancel | undefined,
  input: Input<T>,
  fn: (item: T, ctx: Context, index: number) => unknown,
  options?: MapOptions,
): Stage<T> {
  return callStage(ctx, input, fn, options, "filter", "item if the result is truthy");
}

/**
 * The items of all inputs, as they come; those of one input in their order. It takes as many items ahead of the
 * consumer as there are inputs, and of a quiet input none. It ends when all inputs have ended, and stops at the first
 * error of any.
 */
export function merge<T>(ctx: Cancel | undefined, ...inputs: readonly Input<T>[]): Stage<T> {
  for (const input of inputs) checkInput(input, "merge: each input");
  // A slot for each input: it is taken before the item, so that a quiet input keeps its own.
  return stage(ctx, Math.max(inputs.length, 1), inputs, async (flow) => {
    const deliver = (item: T) => {
      flow.deliver(item);
      return undefined;
    };
    // The first to fail stops the flow, which ends the others.
    await Promise.all(inputs.map((input) => takeEach(flow, input, deliver).catch(() => {})));
  });
}

/**
 * The items of `input` in arrays of n. A smaller one is handed out `ms` milliseconds after its first item has come, and
 * at the end of the input; none is empty. While one waits for the consumer, the next one is filled.
 *
 * An error drops the arrays that nobody has taken, the one that is being filled too. Throws RangeError unless n is a
 * whole number from 1, and if `ms` is NaN; TypeError if they are not numbers. With Infinity, which it is if left out,
 * time does not count.
 */
export function batch<T>(
  ctx: Cancel | undefined,
  input: Input<T>,
  n: number,
  ms: number = Number.POSITIVE_INFINITY,
): Stage<T[]> {
  checkInput(input, "batch: input");
  wholeNumber(n, "batch: n", 1);
  duration(ms, "batch: ms");
  return stage(ctx, 1, [input], (flow) =>
    throughChannel(flow, input, async (items) => {
      for (;;) {
        const first = await onBehalfOf(flow.stack, () => items.receive(flow.ctx));
        if (!first.ok) return;
        const filled = [first.value];
        const late = after(ms);
        while (filled.length < n) {
          const s = await onBehalfOf(flow.stack, () => select({ item: items, late, stop: flow.ctx }));
          if (s.case === "stop") throw s.value;
          if (s.case === "late" || !s.ok) break;
          filled.push(s.value);
        }
        await flow.reserve();
        flow.deliver(filled);
      }
    }),
  );
}

/**
 * The last item of each burst: an item is handed out when no other has come for `ms` milliseconds, or the input has
 * ended; the others are dropped. The input is never held back: an item that the consumer has not taken is dropped, too,
 * when the next one comes.
 *
 * Throws RangeError if `ms` is NaN, TypeError if it is not a number.
 */
export function debounce<T>(ctx: Cancel | undefined, input: Input<T>, ms: number): Stage<T> {
  checkInput(input, "debounce: input");
  duration(ms, "debounce: ms");
  return stage(ctx, 1, [input], (flow) =>
    throughChannel(flow, input, async (items) => {
      // The last item, unless it has been handed out, and the end of its quiet time.
      let last: { readonly item: T } | undefined;
      let quiet: After | null = null;
      for (;;) {
        const s = await onBehalfOf(flow.stack, () => select({ item: items, quiet, stop: flow.ctx }));
        if (s.case === "stop") throw s.value;
        if (s.case === "item" && s.ok) {
          flow.retract();
          last = { item: s.value };
          quiet = after(ms);
          continue;
        }
        if (last !== undefined) await handOut(flow, last.item);
        last = undefined;
        quiet = null;
        if (s.case === "item") return;
      }
    }),
  );
}

/**
 * At most one item in `ms` milliseconds: the first one at once, and of those that come within `ms` of an item that was
 * handed out, the last one when that time is over. The others are dropped. The input is never held back: an item that
 * the consumer has not taken is replaced by the next one. To delay items instead of dropping them, wait for a limiter
 * in a {@link map}.
 *
 * Throws RangeError if `ms` is NaN, TypeError if it is not a number. With Infinity the second item waits for the end of
 * `ctx`.
 */
export function throttle<T>(ctx: Cancel | undefined, input: Input<T>, ms: number): Stage<T> {
  checkInput(input, "throttle: input");
  duration(ms, "throttle: ms");
  return stage(ctx, 1, [input], (flow) =>
    throughChannel(flow, input, async (items) => {
      // While `pause` is set, an item has been handed out less than `ms` ago; `last` is the last one since then.
      let last: { readonly item: T } | undefined;
      let pause: After | null = null;
      let open: ReceiveChannel<T> | null = items;
      while (open !== null || last !== undefined) {
        const s = await onBehalfOf(flow.stack, () => select({ item: open, pause, stop: flow.ctx }));
        if (s.case === "stop") throw s.value;
        if (s.case === "item") {
          if (!s.ok) open = null;
          else if (flow.retract() || pause === null) {
            await handOut(flow, s.value);
            pause = after(ms);
          } else last = { item: s.value };
        } else {
          pause = last === undefined ? null : after(ms);
          if (last !== undefined) await handOut(flow, last.item);
          last = undefined;
        }
      }
    }),
  );
}

/** Hands out an item in a slot of its own, which is free if the consumer has taken the last one. */
async function handOut<T>(flow: Flow<T>, item: T): Promise<void> {
  await flow.reserve();
  flow.deliver(item);
}

/**
 * n stages, 2 if left out, each of which gives every item of `input`. They go at the pace of the slowest: an item is
 * taken when all items before it have been handed to all of them. So the slowest stage is an item ahead of its
 * consumer, and the input two. Iterate all of them at the same time. One that is returned is not waited for
 * any more; when all are, the input is closed.
 *
 * Throws RangeError unless n is a whole number from 1, TypeError if it is not a number.
 */
export function tee<T>(ctx: Cancel | undefined, input: Input<T>): [Stage<T>, Stage<T>];
export function tee<T>(ctx: Cancel | undefined, input: Input<T>, n: number): Stage<T>[];
export function tee<T>(ctx: Cancel | undefined, input: Input<T>, n = 2): Stage<T>[] {
  checkInput(input, "tee: input");
  wholeNumber(n, "tee: n", 1);
  const hub = new Hub(cancelOf(ctx), withCancel, input);
  return Array.from({ length: n }, () => new FlowStage(hub.subscribe(1, "block")));
}

/** Options of {@link Broadcast.subscribe}. */
export interface SubscribeOptions {
  /** How many items may wait for the subscriber: a whole number from 1; 1 if left out. */
  readonly buffer?: number | undefined;

  /**
   * What becomes of an item when as many wait: "block", the default, holds back the input, and so all subscribers;
   * "dropOldest" drops the one that has waited longest, "dropNewest" the item itself.
   */
  readonly slow?: "block" | "dropOldest" | "dropNewest" | undefined;
}

/** An input that has any number of readers. Made by {@link broadcast}. */
export interface Broadcast<out T> {
  /**
   * A stage that gives every item from now on, except those that `slow` drops. Iterate it, or dispose of it: under
   * "block", a stage that is neither iterated nor disposed of holds the others back. One that comes after the end ends
   * at once; after a failure it may reject with that.
   *
   * Throws RangeError if `buffer` is out of its range, and TypeError if it is not a number or `slow` none of the three.
   */
  subscribe(options?: SubscribeOptions): Stage<T>;
}

/**
 * Gives the items of `input` to all that subscribe. The input is opened by the first subscriber that is iterated. If it
 * fails, or `ctx` ends, every subscriber's `next` rejects with that. It is closed when the last subscriber has left,
 * and the broadcast has then ended.
 */
export function broadcast<T>(ctx: Cancel | undefined, input: Input<T>): Broadcast<T> {
  checkInput(input, "broadcast: input");
  const hub = new Hub(cancelOf(ctx), withCancel, input);
  return {
    subscribe(options) {
      const { buffer = 1, slow = "block" } = optionsOf(options, "subscribe: options");
      wholeNumber(buffer, "subscribe: buffer", 1);
      if (slow !== "block" && slow !== "dropOldest" && slow !== "dropNewest") {
        throw new TypeError(`subscribe: slow must be "block", "dropOldest" or "dropNewest", got ${show(slow)}`);
      }
      return new FlowStage(hub.subscribe(buffer, slow));
    },
  };
}

/**
 * All items of `input`, in an array. Rejects with the error of the input, and with the context's error or the signal's
 * reason if `ctx` has ended, or ends before the input has. The input is closed then; if `ctx` had ended before the
 * call, nothing is opened, and only a stage is closed. Rejects with TypeError for a bad `ctx` or `input`.
 */
export async function collect<T>(ctx: Cancel | undefined, input: Input<T>): Promise<T[]> {
  let source: Source;
  try {
    checkInput(input, "collect: input");
    source = sourceOf(cancelOf(ctx));
  } catch (error) {
    return failedWith(error);
  }
  const stack = stackOfCall(entryPoints);
  const ending = source.poll();
  if (ending !== undefined) {
    await endUnopened(input, stack);
    return failedWith(ending.error());
  }
  const items: T[] = [];
  try {
    await takeEach({ source, stack }, input, (item) => {
      items.push(item);
      return budgetWait();
    });
  } catch (error) {
    return failedWith(error);
  }
  // There may have been no item.
  const room = budgetWait();
  if (room !== undefined) await room;
  return items;
}

/**
 * Takes the items of an input, and sends them to `loop` on a channel, so that `loop` can wait for other things too. The
 * channel is closed at the end of the input.
 */
async function throughChannel<T>(
  flow: Pick<Flow<unknown>, "source" | "ctx" | "fail" | "stack">,
  input: Input<T>,
  loop: (items: ReceiveChannel<T>) => Promise<void>,
): Promise<void> {
  const { source, ctx, stack } = flow;
  const items = new Channel<T>();
  const taker = { source, stack, fail: (error: unknown) => flow.fail(error) };
  const send = (item: T) => onBehalfOf(stack, () => items.send(item, ctx));
  const taking = takeEach(taker, input, send).then(
    () => items.close(),
    () => {}, // The flow has failed with it, and that has ended the loop.
  );
  try {
    await loop(items);
  } catch (error) {
    flow.fail(error);
  }
  await taking;
}

/**
 * The results of a stage, sent on a channel by a task of `group`. The channel buffers `capacity` values. It is closed
 * when the stage has ended, with an error or not; the error is the group's. A receiver that leaves early must end the
 * context of the stage: otherwise the task waits in `send` for ever. If that context has ended before the call, or ends
 * before the task has a slot of a limited group, the channel is closed, and the group has no error of it.
 *
 * Throws TypeError if `group` is not a group or `stage` not a stage, an Error if the stage has been iterated before,
 * and for `capacity` what a channel does.
 */
export function toChannel<T>(group: Group, stage: Stage<T>, capacity = 0): ReceiveChannel<T> {
  if (typeof (group as Partial<Group> | undefined)?.go !== "function") {
    throw new TypeError(`toChannel: group must be an errgroup.Group, got ${show(group)}`);
  }
  const parent = parentOf(stage, "toChannel");
  const results = new Channel<T>(capacity);
  const stack = stackOfCall(entryPoints);
  const iterator = iteratorOf(stage, stack);
  const started = group.go(async () => {
    try {
      for await (const result of iterator) await onBehalfOf(stack, () => results.send(result, parent));
    } finally {
      results.close();
    }
  }, parent);
  started.catch(async () => {
    results.close();
    await iterator.return();
  });
  return results;
}

/**
 * The results of a stage as a stream of the web. The stage starts when the stream is first read, and then works ahead
 * of it as of any consumer; the stream itself holds no result. An error of the stage errors the stream; cancelling the
 * stream stops the stage, and waits for it.
 *
 * Throws TypeError if `stage` is not a stage, or the host has no ReadableStream, and an Error if the stage has been
 * iterated before.
 */
export function toWebStream<T>(stage: Stage<T>): ReadableStream<T> {
  parentOf(stage, "toWebStream");
  if (typeof ReadableStream !== "function") throw new TypeError("toWebStream: this host has no ReadableStream");
  const iterator = iteratorOf(stage, stackOfCall(entryPoints));
  let isCanceled = false;
  const underlying = {
    async pull(controller: { enqueue(value: T): void; close(): void }): Promise<void> {
      const { value, done } = await iterator.next();
      if (isCanceled) return;
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel(): Promise<void> {
      isCanceled = true;
      await iterator.return();
    },
  };
  // No queue of its own: the stage works ahead.
  return new ReadableStream<T>(underlying, { highWaterMark: 0 });
}

/** The class `Readable` of `node:stream`, as far as it is used here. */
export interface ReadableClass<S> {
  from(iterable: AsyncIterable<unknown>, options: { readonly objectMode: boolean; readonly highWaterMark: number }): S;
}

/**
 * The results of a stage as a readable stream of Node, in object mode: `toNodeStream(stage, Readable)`, with the class
 * from `node:stream`, which this module does not import. The stream holds one result, and the stage works ahead of it.
 * An error of the stage destroys the stream; destroying the stream stops the stage, and waits for it before `close`. A
 * stream cannot carry `null`: such a result is an error of the stream.
 *
 * Throws TypeError if `stage` is not a stage or `Readable` not that class, and an Error if the stage has been iterated
 * before.
 */
export function toNodeStream<T, S>(stage: Stage<T>, Readable: ReadableClass<S>): S {
  parentOf(stage, "toNodeStream");
  callable((Readable as Partial<ReadableClass<S>> | undefined)?.from, "toNodeStream: Readable.from");
  return Readable.from(iteratorOf(stage, stackOfCall(entryPoints)), { objectMode: true, highWaterMark: 1 });
}

type StageIterator<T> = AsyncIterableIterator<T> & Required<AsyncIterator<T>>;

/** The iterator of a stage, for a loop of ours or of the host: its waits were asked for at `stack`. */
function iteratorOf<T>(stage: Stage<T>, stack: string | undefined): StageIterator<T> {
  const iterator = stage[Symbol.asyncIterator]() as StageIterator<T>;
  if (stack === undefined) return iterator;
  return {
    next: () => onBehalfOf(stack, () => iterator.next()),
    return: () => onBehalfOf(stack, () => iterator.return()),
    throw: (error) => onBehalfOf(stack, () => iterator.throw(error)),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The stage of {@link map} or {@link filter}. */
function callStage<T, R>(
  ctx: Cancel | undefined,
  input: Input<T>,
  fn: EachFunction<T>,
  options: MapOptions | undefined,
  name: string,
  choice: Choice,
): Stage<R> {
  checkInput(input, `${name}: input`);
  callable(fn, `${name}: fn`);
  const { concurrency = 1, ordered = true } = optionsOf(options, `${name}: options`);
  const slots =
    concurrency === Number.POSITIVE_INFINITY ? UNBOUNDED : wholeNumber(concurrency, `${name}: concurrency`, 1);
  if (typeof ordered !== "boolean") throw new TypeError(`${name}: ordered must be a boolean, got ${show(ordered)}`);
  return stage(ctx, slots, [input], (flow) =>
    new Calls(flow as unknown as Flow<unknown>, fn, choice, ordered).run(input),
  );
}

function stage<T>(
  ctx: Cancel | undefined,
  slots: number,
  inputs: readonly unknown[],
  body: (flow: Flow<T>) => Promise<void>,
): Stage<T> {
  return new FlowStage(new Flow({ parent: cancelOf(ctx), withCancel, slots, inputs, body }));
}

/** Returns `ctx`, or `background()` if it is undefined. Throws TypeError if it is no context or signal. */
function cancelOf(ctx: Cancel | undefined): Cancel {
  if (ctx === undefined) return background();
  if (isContext(ctx) || isSignal(ctx)) return ctx;
  throw notCancel(ctx);
}
