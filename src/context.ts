/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Context: carries deadlines, cancellation and request-scoped values down a tree of calls.
 *
 * A context is made from a parent. When a context is cancelled, every context made from it is cancelled too (except
 * those of `withoutCancel`), at once: before `cancel()` returns, every `err()` below says so and every wait on any of
 * them has been claimed. Contexts and waits below a context of another implementation follow in a later
 * microtask.
 *
 * Rules of use:
 *
 * - Pass a context as the first argument, named `ctx`; do not store it in an object.
 * - Call the cancel function on every path, with `using` or in `finally`: a context that is never cancelled is kept
 *   by its parent until the parent ends or its own deadline passes. (`background()`, `todo()` and contexts of
 *   `withoutCancel` keep none.) Leak checks report it.
 * - Keep values for what belongs to the request and crosses interfaces (a trace id), not for optional arguments.
 * - Hand `ctx.signal` to what takes an AbortSignal: `fetch(url, { signal: ctx.signal })`.
 *
 * ```ts
 * import { context, time } from "gopark";
 *
 * const [ctx, cancel] = context.withTimeout(context.background(), 20);
 * try {
 *   await time.sleep(60_000, ctx);
 * } catch (err) {
 *   console.log(context.is(err, context.DeadlineExceeded), String(err));
 * } finally {
 *   cancel();
 * }
 * // Output:
 * // true TimeoutError: context deadline exceeded
 * ```
 *
 * Ports the context package. Differences from Go:
 *
 * - `err()` and `cause()` return `undefined` where Go returns nil. `done()` returns `null` where Go returns a nil
 *   channel, which is what `null` means in a select.
 * - `withCancel`, `withTimeout`, `withDeadline` and `merge` return a pair that is also disposable. A cause is an
 *   optional argument of the cancel function, of `withTimeout` and of `withDeadline`. So there are no
 *   `WithCancelCause`, `WithTimeoutCause` and `WithDeadlineCause`.
 * - `ctx.signal` is an AbortSignal that is aborted when the context ends. `fromSignal` makes a context of an
 *   AbortSignal. Go has neither.
 * - Abort listeners run inside `cancel()`, before the waiters behind a cancelled one, say of a semaphore, are admitted;
 *   functions of `afterFunc` run later. After a deadline, abort listeners run a microtask later too, in the async
 *   context that first read `ctx.signal`.
 * - `undefined` for a parent or a context stands for `background()`, so that an optional signal can be passed on. For a
 *   nil parent Go panics; `null` is a TypeError here.
 * - `merge` is an addition: it makes a context that ends with the first of several.
 * - `is` looks through `cause` and `AggregateError.errors`, but not behind the error of a context.
 * - An operation that is given a context that has ended rejects, even if it could complete at once. In a select a
 *   context is one case among others, as in Go.
 * - A deadline that passes while the event loop is blocked is seen by `err()`, at the eighth call after that at the
 *   latest.
 */
import type { ReceiveChannel } from "./channel.ts";
import { callable, duration, instant, show } from "./internal/data/args.ts";
import { now } from "./internal/time/clock.ts";
import { chargedReaction } from "./internal/time/turn.ts";
import type { PublicFunction } from "./internal/track/tracker.ts";
import { BACKGROUND, CancelContext, DeadlineContext, Root, ValueContext } from "./internal/wait/contexts.ts";
import { AfterFuncCall } from "./internal/wait/dependents.ts";
import { Canceled, causeOf, DeadlineExceeded, isContextError, someError } from "./internal/wait/endings.ts";
import { isSignal, SOURCE_KEY, sourceOf } from "./internal/wait/foreign.ts";
import { MergedContext } from "./internal/wait/merged.ts";
import { contextOf, contextOfSignal } from "./internal/wait/signalcontext.ts";
import { type Cancel, SOURCE, Source } from "./internal/wait/source.ts";

export { Canceled, DeadlineExceeded } from "./internal/wait/endings.ts";
export type { Cancel } from "./internal/wait/source.ts";

/**
 * Deadline, cancellation and values, for a call and all it calls. Safe to pass to any number of tasks.
 *
 * Your own implementations work as parents and wherever a context is taken. One that wraps another and hands out the
 * same `done()` needs no listener of its own; one with an `afterFunc` method is listened to through it; any other
 * through `done()`.
 */
export interface Context {
  /** When the context ends by itself, in epoch milliseconds; `undefined` if it does not. */
  deadline(): number | undefined;
  /** Closed when the context ends; `null` if it never can. Always the same channel. */
  done(): ReceiveChannel<never> | null;
  /**
   * Why the context ended: {@link Canceled} or {@link DeadlineExceeded}, or what a context of another implementation
   * above it returns; `undefined` while it has not ended.
   */
  err(): Error | undefined;
  /** What {@link withValue} stored for the key here or above; `undefined` if nothing. */
  value<T>(key: ContextKey<T>): T | undefined;
  value(key: unknown): unknown;
  /**
   * Aborted, with `err()` as its reason, when the context ends. Made when first read. A context of {@link fromSignal}
   * returns the signal it was made from, which keeps its own reason; one of {@link withValue} returns its parent's.
   */
  readonly signal: AbortSignal;
  /** Where an implementation has it: runs `fn` after the end; the returned function takes that back. */
  afterFunc?(fn: () => void): () => boolean;
}

/** A key of {@link withValue} that knows its value's type. Made by {@link contextKey}. */
export interface ContextKey<T> {
  readonly description: string;
  /** Never there; carries the type. */
  readonly type?: T;
}

/** Ends a context, with a cause if one is given. Only the first call has an effect. */
export type CancelFunc = (cause?: unknown) => void;

/**
 * A context and the function that ends it: `const [ctx, cancel] = ...`, or `using scope = ...` and `scope.ctx`, which
 * ends it when the block is left.
 */
export type CancelScope = readonly [ctx: Context, cancel: CancelFunc] & {
  readonly ctx: Context;
  readonly cancel: CancelFunc;
  [Symbol.dispose](): void;
};

const TODO = new Root("context.TODO");

/** The root of all contexts: never ends, has no deadline and no values. For main, tests, and the top of a request. */
export function background(): Context {
  return BACKGROUND;
}

/** As {@link background}, for where it is not yet clear which context to use. */
export function todo(): Context {
  return TODO;
}

/**
 * A child of `parent` with a cancel function: it ends when that is called or when `parent` ends, whichever is first.
 * Where `parent` has ended, the child has ended when it is returned. A parent may be an AbortSignal.
 *
 * `cancel(cause)` sets the cause too (Go's WithCancelCause). Throws TypeError if `parent` is neither a context nor a
 * signal, and what a `parent` of another implementation throws when it is asked. For the cost compared with an
 * AbortController, see the row ctx.cancel of the benchmark.
 */
export function withCancel(parent: Cancel | undefined): CancelScope {
  return scopeOf(new CancelContext(parentOf(parent)));
}

/**
 * A child of `parent` that also ends `ms` milliseconds from now, with {@link DeadlineExceeded}. See
 * {@link withDeadline}.
 *
 * Infinity means no deadline; zero or less, one that has passed. Throws as {@link withCancel}, RangeError if `ms` is
 * NaN, and TypeError if it is not a number.
 */
export function withTimeout(parent: Cancel | undefined, ms: number, cause?: unknown): CancelScope {
  const t = now();
  return deadlineAt(parentOf(parent), t + duration(ms, "withTimeout: ms"), cause, t);
}

/**
 * A child of `parent` that also ends at the instant `at` (epoch milliseconds or a Date), with {@link DeadlineExceeded}
 * and the `cause`, if one is given. If the parent's deadline is not later, that one holds and `cause` is dropped.
 *
 * It is never early: once its own deadline has ended it, `time.now() >= at`. Throws as {@link withCancel}, RangeError
 * if `at` is NaN or an invalid Date, and TypeError if it is neither a number nor a Date.
 */
export function withDeadline(parent: Cancel | undefined, at: number | Date, cause?: unknown): CancelScope {
  return deadlineAt(parentOf(parent), instant(at, "withDeadline: at"), cause, now());
}

/** The child that ends at `when`, the time being t. */
function deadlineAt(parent: Context, when: number, cause: unknown, t: number): CancelScope {
  const above: unknown = parent.deadline(); // A foreign one may say anything.
  if (when === Number.POSITIVE_INFINITY || (typeof above === "number" && above < when)) {
    return scopeOf(new CancelContext(parent));
  }
  const ctx = new DeadlineContext(parent, when, cause);
  const scope = scopeOf(ctx);
  ctx.armOrExpire(t);
  return scope;
}

/**
 * A child of `parent` whose `value(key)` is `val`. Keys are compared by `===`; make them by {@link contextKey}, so that
 * packages cannot collide. Throws TypeError if `key` is undefined or null.
 */
export function withValue<K>(
  parent: Cancel | undefined,
  key: K,
  val: [K] extends [ContextKey<infer T>] ? T : unknown,
): Context {
  const ctx = parentOf(parent);
  if (key === undefined || key === null) throw new TypeError("nil key");
  return new ValueContext(ctx, key, val);
}

/**
 * A child of `ctx` that also ends when one of `others` does, whichever is first: with the error and the cause of that
 * one. It has the values of `ctx`, and the earliest deadline of all. Once it has ended it is linked to none of them, so
 * nothing gathers on one that lives long. For work that ends with its request or with the server.
 *
 * Where one of them has ended, the child has ended when it is returned. Throws as {@link withCancel}.
 */
export function merge(ctx: Cancel | undefined, ...others: readonly (Cancel | undefined)[]): CancelScope {
  const first = parentOf(ctx);
  return scopeOf(new MergedContext(first, others.map(parentOf)));
}

/** `parent`'s values without its end: never ends, has no deadline. For work that must outlive the request. */
export function withoutCancel(parent: Cancel | undefined): Context {
  return new Root(".WithoutCancel", parentOf(parent));
}

/**
 * Runs `fn` once `ctx` has ended, in a microtask if it has already. Returns a function that takes that back: true if it
 * kept `fn` from running; false if the context had ended (even if `fn` has not begun yet) or it was taken back before.
 *
 * `fn` never runs inside `cancel()`: it runs in a later microtask, in the async context of the call of `afterFunc`.
 * An error it throws is reported as an unhandled rejection. A call that is still to run does not keep the process
 * alive, even if `ctx` has a deadline. Throws TypeError if `fn` is not a function or `ctx` neither a context nor a
 * signal, and what a `ctx` of another implementation throws when it is asked.
 */
export function afterFunc(ctx: Cancel | undefined, fn: () => unknown): () => boolean {
  callable(fn, "afterFunc: fn");
  const source = sourceOf(contextOf(ctx));
  const ending = source.poll();
  if (ending?.failed === true) throw ending.error();
  const trigger = chargedReaction(() => fn());
  if (ending !== undefined) {
    trigger();
    return () => false;
  }
  const call = new AfterFuncCall(trigger);
  call.linkTo(source);
  return () => source.unlink(call);
}

/**
 * Why `ctx` ended: the cause that was given to the cancel function or deadline that ended it, its own or one above;
 * `ctx.err()` if none was given; `undefined` while it has not ended.
 */
export function cause(ctx: Cancel | undefined): unknown {
  const c = contextOf(ctx);
  const inner = c.value(SOURCE_KEY);
  const above = inner instanceof Source ? inner.poll()?.cause() : undefined;
  return above ?? causeOf(c.err()); // A foreign context between ours has its own error for a cause.
}

/** Makes a key for {@link withValue}. Two keys of one description are different keys. */
export function contextKey<T>(description: string): ContextKey<T> {
  return { description };
}

/**
 * The context that `signal` stands for. It ends when the signal is aborted: with the reason itself if that is an error
 * of a context; otherwise with {@link DeadlineExceeded} if the reason is a TimeoutError, or else {@link Canceled},
 * whose cause is the reason. For a signal that a context has made it returns that context: `fromSignal(ctx.signal) ===
 * ctx`. (The signal of a context of {@link withValue} is its parent's.)
 *
 * The signal carries one listener, while anything is linked to the context. There is nothing to cancel.
 */
export function fromSignal(signal: AbortSignal): Context {
  if (!isSignal(signal)) throw new TypeError(`fromSignal: signal must be an AbortSignal, got ${show(signal)}`);
  return contextOfSignal(signal);
}

/**
 * Whether `err` is of the class, or was caused by an error that is: `is(err, DeadlineExceeded)`. Go's errors.Is. Node's
 * own APIs wrap a signal's reason, so it looks through `cause`, and through the errors of an AggregateError; but not
 * behind a {@link Canceled} or {@link DeadlineExceeded}, whose cause is asked by {@link cause}: a task that was
 * cancelled because another one timed out has not itself timed out. A host's own AbortError counts as Canceled, and its
 * TimeoutError as DeadlineExceeded, unless an error of a context is its cause. Throws TypeError if `target` is
 * not a function.
 */
export function is(err: unknown, target: abstract new (...args: never[]) => Error): boolean {
  if (typeof target !== "function") {
    throw new TypeError(`is: target must be an error class, such as context.Canceled, got ${show(target)}`);
  }
  return someError(err, (e) => e instanceof target || isHostsOwn(e, target));
}

/** Whether `e` is what the host itself makes of an abort or time-out, and so counts as one of `target`. */
function isHostsOwn(e: Error, target: unknown): boolean {
  const name = target === Canceled ? "AbortError" : target === DeadlineExceeded ? "TimeoutError" : undefined;
  return name !== undefined && e.name === name && !isContextError(e) && !someError(e.cause, isContextError);
}

/** The parent of a new context. */
function parentOf(parent: Cancel | undefined): Context {
  if (parent === undefined) return BACKGROUND;
  if (parent === null) throw new TypeError("cannot create context from nil parent");
  // Asked first, as it is faster than to look for the methods of a context, and most parents are ours.
  return (parent as { readonly [SOURCE]?: Source })[SOURCE] !== undefined ? (parent as Context) : contextOf(parent);
}

// The public functions at which the stack of a record begins.
const entryPoints = (): PublicFunction[] => [withCancel, withTimeout, withDeadline, merge];

/** Links a new context to its parent and counts it. Returns the pair for the caller, which is its disposer too. */
function scopeOf(ctx: CancelContext): CancelScope {
  ctx.linkToParent();
  // A bound function takes fewer bytes than a closure.
  const cancel: CancelFunc = ctx.cancelByFunction.bind(ctx);
  ctx.count(cancel, entryPoints);
  // A true array: an iterable class, or a prototype of its own, would cost more than the context. Made here: in a
  // function of its own it would make `withTimeout` a fifth slower.
  const scope = [ctx, cancel] as unknown as { ctx: Context; cancel: CancelFunc; [Symbol.dispose]: () => void };
  scope.ctx = ctx;
  scope.cancel = cancel;
  if (Symbol.dispose !== undefined) scope[Symbol.dispose] = dispose;
  return scope as unknown as CancelScope;
}

// Not `cancel` itself, which is a bound function: `using` in Node 24 (V8 13.6) takes none.
function dispose(this: CancelScope): void {
  this.cancel();
}
