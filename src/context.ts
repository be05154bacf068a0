/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Context: carries deadlines, cancellation and request-scoped values down a tree of calls.
 *
 * A context is made from a parent. When a context is cancelled, everything made from it is cancelled too, at once:
 * before `cancel()` returns, every `err()` below says so and every wait on any of them has been claimed.
 *
 * Rules of use:
 *
 * - Pass a context as the first argument, named `ctx`; do not store it in an object.
 * - Call the cancel function on every path, best by `using` or in `finally`: a context that is never cancelled hangs on
 *   its parent as long as the parent lives. Leak checks report it.
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
 * - `err()` and `cause()` answer `undefined` where Go answers nil; `done()` answers `null`, a nil channel to `select`.
 * - `withCancel` and its kin return a pair that is also disposable; the cancel function takes the cause, so that
 *   `WithCancelCause`, `WithTimeoutCause` and `WithDeadlineCause` are arguments.
 * - `ctx.signal` is a way out to the web's world, `fromSignal` a way in.
 * - A context that is done wins at the call: operations on it reject even where they could complete.
 */
import { Channel, type ReceiveChannel } from "./channel.ts";
import {
  adopt,
  type Cancel,
  type Dependent,
  type Ending,
  isContext,
  isSignal,
  Listening,
  NEVER,
  SOURCE,
  SOURCE_OF,
  Source,
  sourceOf,
} from "./internal/cancel.ts";
import { now } from "./internal/clock.ts";
import { brand, callable, duration, instant, show, withoutStack } from "./internal/errors.ts";
import { type Element, List } from "./internal/list.ts";
import { type Alarm, arm, disarm, HoldingList } from "./internal/timers.ts";
import { closed, type Entry, Kind, opened } from "./internal/tracker.ts";

export type { Cancel } from "./internal/cancel.ts";

/**
 * Deadline, cancellation and values, for a call and all it calls. Safe to pass to any number of tasks.
 *
 * Own implementations work as parents and wherever a context is taken. One that wraps another and hands out the same
 * `done()` costs nothing extra; one with an `afterFunc` method is attached through it; any other is watched by `done()`.
 */
export interface Context {
  /** When the context ends by itself, in epoch milliseconds; `undefined` if it does not. */
  deadline(): number | undefined;
  /** Closed when the context ends; `null` if it never can. Always the same channel. */
  done(): ReceiveChannel<never> | null;
  /** Why the context ended, {@link Canceled} or {@link DeadlineExceeded}; `undefined` while it has not. */
  err(): Error | undefined;
  /** What {@link withValue} stored for the key here or above; `undefined` if nothing. */
  value<T>(key: ContextKey<T>): T | undefined;
  value(key: unknown): unknown;
  /** Aborted, with `err()` as its reason, when the context ends. Made when first read. */
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

/** The error of a context that was cancelled. Its `name` is AbortError, which users of fetch test for. */
export class Canceled extends Error {
  static {
    brand(this, "Canceled", "AbortError");
  }

  /** Without a `cause` property unless a cause is given. */
  constructor(cause?: unknown) {
    super("context canceled", cause === undefined || cause === null ? undefined : { cause });
  }
}

/** The error of a context whose deadline has passed. Its `name` is TimeoutError, as with `AbortSignal.timeout`. */
export class DeadlineExceeded extends Error {
  static {
    brand(this, "DeadlineExceeded", "TimeoutError");
  }

  /** Without a `cause` property unless a cause is given. */
  constructor(cause?: unknown) {
    super("context deadline exceeded", cause === undefined || cause === null ? undefined : { cause });
  }

  timeout(): boolean {
    return true;
  }

  temporary(): boolean {
    return true;
  }
}

const CONTEXT = new Kind("context");

/** The end of a context by its cancel function or deadline. The error is built when first asked for. */
class Cancellation implements Ending {
  readonly #make: typeof Canceled | typeof DeadlineExceeded;
  readonly #cause: unknown;
  #error: Error | undefined = undefined;

  constructor(make: typeof Canceled | typeof DeadlineExceeded, cause: unknown) {
    this.#make = make;
    this.#cause = cause;
  }

  error(): Error {
    this.#error ??= withoutStack(() => new this.#make(this.#cause));
    return this.#error;
  }

  cause(): unknown {
    return this.#cause ?? this.error();
  }
}

/** Runs something when its source has ended and everything below knows. */
class OnEnd implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly #fn: (ending: Ending) => void;

  constructor(fn: (ending: Ending) => void) {
    this.#fn = fn;
  }

  end(): boolean {
    return true;
  }

  settle(ending: Ending): void {
    this.#fn(ending);
  }
}

// The context behind each signal: the one that handed it out, or the one that fromSignal made of it.
const contexts = new WeakMap<AbortSignal, Context>();

/** A signal that tells the end of `source`. */
function signalOf(ctx: Context, source: Source): AbortSignal {
  const controller = new AbortController();
  const { signal } = controller;
  contexts.set(signal, ctx);
  adopt(signal, source);
  const ending = source.poll();
  if (ending !== undefined) controller.abort(ending.error());
  else source.attach(new OnEnd((e) => controller.abort(e.error())));
  return signal;
}

/** A channel that is closed when `source` ends. Whoever waits for that depends on its deadline. */
function doneOf(source: Source): ReceiveChannel<never> {
  const finite = source.expiry !== Number.POSITIVE_INFINITY;
  const done = new Channel<never>(0, finite ? new HoldingList() : new List());
  if (source.poll() !== undefined) done.close();
  else source.attach(new OnEnd(() => done.close()));
  return done;
}

/** Background and todo: never ends, has no deadline and no values. */
class Empty implements Context {
  readonly [SOURCE] = NEVER;
  readonly #name: string;
  #signal: AbortSignal | undefined = undefined;

  constructor(name: string) {
    this.#name = name;
  }

  deadline(): undefined {}

  done(): null {
    return null;
  }

  err(): undefined {}

  value(): undefined {}

  get signal(): AbortSignal {
    this.#signal ??= signalOf(this, NEVER);
    return this.#signal;
  }

  toString(): string {
    return this.#name;
  }
}

class CancelContext extends Source implements Context {
  readonly parent: Context;
  private readonly above: Source;
  private lazySignal: AbortSignal | undefined = undefined;
  private lazyDone: ReceiveChannel<never> | undefined = undefined;

  // Set by `open`, cleared at the end.
  private counted = false;
  private entry: Entry | undefined = undefined;

  constructor(parent: Context) {
    super();
    this.parent = parent;
    this.above = sourceOf(parent);
    this.expiry = this.above.expiry;
    this.ending = this.above.poll();
    if (this.ending === undefined) this.above.attach(this);
  }

  /** Counts the context as live from now to its end; without `cancel` nobody can bring that about by hand. */
  open(cancel: CancelFunc): void {
    if (this.ending !== undefined) return;
    this.counted = true;
    this.entry = opened(CONTEXT, cancel);
  }

  override end(ending: Ending): boolean {
    this.above.detach(this);
    if (this.counted) closed(CONTEXT, this.entry);
    this.counted = false;
    return super.end(ending);
  }

  get [SOURCE](): Source {
    return this;
  }

  deadline(): number | undefined {
    return this.expiry === Number.POSITIVE_INFINITY ? undefined : this.expiry;
  }

  done(): ReceiveChannel<never> {
    this.lazyDone ??= doneOf(this);
    return this.lazyDone;
  }

  err(): Error | undefined {
    return this.ending?.error() as Error | undefined;
  }

  value(key: unknown): unknown {
    return lookUp(this, key);
  }

  get signal(): AbortSignal {
    this.lazySignal ??= signalOf(this, this);
    return this.lazySignal;
  }

  override toString(): string {
    return `${this.parent}.WithCancel`;
  }
}

class DeadlineContext extends CancelContext implements Alarm {
  readonly when: number;
  index = -1;
  private readonly cause: unknown;

  constructor(parent: Context, when: number, cause: unknown, t: number) {
    super(parent);
    this.when = when;
    this.cause = cause;
    this.expiry = when;
    if (this.ending !== undefined) return;
    if (when <= t) this.fire();
    else arm(this);
  }

  fire(): void {
    this.finish(new Cancellation(DeadlineExceeded, this.cause));
  }

  override end(ending: Ending): boolean {
    disarm(this);
    return super.end(ending);
  }

  override toString(): string {
    const at = Math.abs(this.when) <= 8.64e15 ? new Date(this.when).toISOString() : this.when;
    return `${this.parent}.WithDeadline(${at} [${Math.round(this.when - now())}ms])`;
  }
}

/** A context made of a signal. It listens only while something hangs on it. */
class SignalContext extends Listening implements Context {
  readonly signal: AbortSignal;
  #done: ReceiveChannel<never> | undefined = undefined;

  constructor(signal: AbortSignal) {
    super();
    this.signal = signal;
  }

  get [SOURCE](): Source {
    return this;
  }

  protected override check(): Ending | undefined {
    const ending = sourceOf(this.signal).poll();
    if (ending === undefined) return undefined;
    const reason = ending.error();
    if (reason instanceof Canceled || reason instanceof DeadlineExceeded) {
      return { error: () => reason, cause: () => reason.cause ?? reason };
    }
    const late = (reason as { name?: unknown } | null | undefined)?.name === "TimeoutError";
    return new Cancellation(late ? DeadlineExceeded : Canceled, reason);
  }

  protected override listen(heard: () => void): () => void {
    const source = sourceOf(this.signal);
    const link = new OnEnd(heard);
    source.attach(link);
    return () => source.detach(link);
  }

  deadline(): undefined {}

  done(): ReceiveChannel<never> {
    this.#done ??= doneOf(this);
    return this.#done;
  }

  err(): Error | undefined {
    return this.poll()?.error() as Error | undefined;
  }

  value(key: unknown): unknown {
    return key === SOURCE_OF ? this : undefined;
  }

  override toString(): string {
    return "context.fromSignal";
  }
}

/** Everything as the parent's, and one value more. */
class ValueContext implements Context {
  readonly [SOURCE]: Source;
  readonly parent: Context;
  readonly key: unknown;
  readonly val: unknown;

  constructor(parent: Context, key: unknown, val: unknown) {
    this[SOURCE] = sourceOf(parent);
    this.parent = parent;
    this.key = key;
    this.val = val;
  }

  deadline(): number | undefined {
    return this.parent.deadline();
  }

  done(): ReceiveChannel<never> | null {
    return this.parent.done();
  }

  err(): Error | undefined {
    return this.parent.err();
  }

  value(key: unknown): unknown {
    return lookUp(this, key);
  }

  // The parent's: a signal of its own would hang on a parent that may live for ever, and nothing would take it off.
  get signal(): AbortSignal {
    return this.parent.signal;
  }

  toString(): string {
    return `${this.parent}.WithValue(${name(this.key)}, ${name(this.val)})`;
  }
}

/** The parent's values alone. */
class Detached implements Context {
  readonly [SOURCE] = NEVER;
  readonly parent: Context;
  #signal: AbortSignal | undefined = undefined;

  constructor(parent: Context) {
    this.parent = parent;
  }

  deadline(): undefined {}

  done(): null {
    return null;
  }

  err(): undefined {}

  value(key: unknown): unknown {
    return lookUp(this, key);
  }

  get signal(): AbortSignal {
    this.#signal ??= signalOf(this, NEVER);
    return this.#signal;
  }

  toString(): string {
    return `${this.parent}.WithoutCancel`;
  }
}

/** Walks up for a key, in a loop as far as the contexts are ours: a chain may be of any depth. */
function lookUp(from: Context, key: unknown): unknown {
  let ctx = from;
  for (;;) {
    if (ctx instanceof ValueContext) {
      if (ctx.key === key) return ctx.val;
      ctx = ctx.parent;
    } else if (ctx instanceof CancelContext) {
      if (key === SOURCE_OF) return ctx;
      ctx = ctx.parent;
    } else if (ctx instanceof Detached) {
      if (key === SOURCE_OF) return undefined;
      ctx = ctx.parent;
    } else return ctx.value(key);
  }
}

/** A key or value as a context's string shows it. */
function name(value: unknown): string {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return "<nil>";
  const { description } = value as Partial<ContextKey<unknown>>;
  return typeof description === "string" ? description : show(value);
}

const BACKGROUND = new Empty("context.Background");
const TODO = new Empty("context.TODO");

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
 * Where `parent` has ended, the child is born ended. A parent may be an AbortSignal.
 *
 * `cancel(cause)` sets the cause too (Go's WithCancelCause). Throws TypeError if `parent` is no context. Costs less than a
 * tenth of an AbortController.
 */
export function withCancel(parent: Cancel): CancelScope {
  return scopeOf(new CancelContext(contextOf(parent)));
}

/**
 * A child of `parent` that also ends `ms` milliseconds from now, with {@link DeadlineExceeded}. See {@link withDeadline}.
 *
 * Throws RangeError if `ms` is NaN. Infinity means no deadline; zero or less, one that has passed.
 */
export function withTimeout(parent: Cancel, ms: number, cause?: unknown): CancelScope {
  const t = now();
  return deadlineAt(contextOf(parent), t + duration(ms, "timeout"), cause, t);
}

/**
 * A child of `parent` that also ends at the instant `at` (epoch milliseconds or a Date), with {@link DeadlineExceeded}
 * and the `cause`, if one is given. If the parent's deadline is earlier, that one holds and `cause` is dropped.
 *
 * Whoever sees DeadlineExceeded finds `time.now() >= at`. Throws RangeError if `at` is NaN or an invalid Date.
 */
export function withDeadline(parent: Cancel, at: number | Date, cause?: unknown): CancelScope {
  return deadlineAt(contextOf(parent), instant(at, "deadline"), cause, now());
}

/** The child that ends at `when`, the time being t. */
function deadlineAt(parent: Context, when: number, cause: unknown, t: number): CancelScope {
  const above = parent.deadline();
  if (when === Number.POSITIVE_INFINITY || (above !== undefined && above < when)) {
    return scopeOf(new CancelContext(parent));
  }
  return scopeOf(new DeadlineContext(parent, when, cause, t));
}

/**
 * A child of `parent` that answers `val` for `key`. Keys are compared by `===`; make them by {@link contextKey}, so that
 * packages cannot collide. Throws TypeError if `key` is undefined or null.
 */
export function withValue<T>(parent: Cancel, key: ContextKey<T>, val: T): Context;
export function withValue(parent: Cancel, key: unknown, val: unknown): Context;
export function withValue(parent: Cancel, key: unknown, val: unknown): Context {
  const ctx = contextOf(parent);
  if (key === undefined || key === null) throw new TypeError("nil key");
  return new ValueContext(ctx, key, val);
}

/** `parent`'s values without its end: never ends, has no deadline. For work that must outlive the request. */
export function withoutCancel(parent: Cancel): Context {
  return new Detached(contextOf(parent));
}

/**
 * Runs `fn` once `ctx` has ended, at once if it has already. Returns a function that takes that back: true if it kept
 * `fn` from running; false if the context had ended (even if `fn` has not begun yet) or it was taken back before.
 *
 * `fn` never runs inside `cancel()`: it runs as a reaction of the caller of `afterFunc`, in that one's async context. An
 * error it throws is reported as an unhandled rejection.
 */
export function afterFunc(ctx: Cancel, fn: () => unknown): () => boolean {
  callable(fn, "afterFunc's function");
  const source = sourceOf(contextOf(ctx));
  let run: () => void = () => {};
  void new Promise<void>((resolve) => {
    run = resolve;
  }).then(fn);
  if (source.poll() !== undefined) {
    run();
    return () => false;
  }
  const link = new OnEnd(run);
  source.attach(link);
  return () => source.detach(link);
}

/**
 * Why `ctx` ended: the cause given to its cancel function or deadline, or to those of the context above that brought it
 * down; `ctx.err()` if none was given; `undefined` while it has not ended.
 */
export function cause(ctx: Cancel): unknown {
  const c = contextOf(ctx);
  const inner = c.value(SOURCE_OF);
  const above = inner instanceof Source ? inner.poll()?.cause() : undefined;
  return above ?? c.err(); // The end of somebody else's context in between is its own cause.
}

/** Makes a key for {@link withValue}. Two keys of one description are different keys. */
export function contextKey<T>(description: string): ContextKey<T> {
  return { description };
}

/**
 * The context that `signal` stands for: it ends when the signal is aborted, with {@link DeadlineExceeded} if the reason
 * is a TimeoutError and {@link Canceled} otherwise, and has the reason as its cause. A signal that a context handed out
 * gives that context: `fromSignal(ctx.signal) === ctx`.
 *
 * The signal carries one listener, while anything hangs on the context. There is nothing to cancel.
 */
export function fromSignal(signal: AbortSignal): Context {
  if (!isSignal(signal)) throw new TypeError(`signal must be an AbortSignal, got ${show(signal)}`);
  let ctx = contexts.get(signal);
  if (ctx === undefined) {
    ctx = new SignalContext(signal);
    contexts.set(signal, ctx);
  }
  return ctx;
}

/** Whether `err`, or anything along its chain of `cause`s, is of the class: `is(err, DeadlineExceeded)`. Go's errors.Is. */
export function is(err: unknown, target: abstract new (...args: never[]) => Error): boolean {
  const seen = new Set<unknown>(); // A chain of causes may be a circle.
  let e = err;
  while (e instanceof Error && !seen.has(e)) {
    seen.add(e);
    const next: unknown = e.cause;
    if (e instanceof target) return true;
    e = next;
  }
  return false;
}

function contextOf(parent: Cancel): Context {
  if (parent === undefined || parent === null) throw new TypeError("cannot create context from nil parent");
  if (isContext(parent)) return parent;
  if (isSignal(parent)) return fromSignal(parent);
  throw new TypeError(`parent must be a Context or an AbortSignal, got ${show(parent)}`);
}

/** The pair and its disposer. A true array: an iterable class costs as much again to take apart. */
function scopeOf(ctx: CancelContext): CancelScope {
  const cancel: CancelFunc = (cause) => {
    if (ctx.ending === undefined) ctx.finish(new Cancellation(Canceled, cause));
  };
  ctx.open(cancel);
  const scope = [ctx, cancel] as unknown as { ctx: Context; cancel: CancelFunc; [Symbol.dispose]: CancelFunc };
  scope.ctx = ctx;
  scope.cancel = cancel;
  if (Symbol.dispose !== undefined) scope[Symbol.dispose] = cancel;
  return scope as unknown as CancelScope;
}
