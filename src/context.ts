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
 * - Abort listeners run inside `cancel()`, before the waiters that were held back are admitted; functions of
 *   `afterFunc` run later. After a deadline, abort listeners run a microtask later too, in the async context that first
 *   read `ctx.signal`.
 * - `is` looks through `cause` and `AggregateError.errors`, but not behind the error of a context.
 * - A context that is done wins at the call: operations on it reject even where they could complete.
 */
import type { ReceiveChannel, Received } from "./channel.ts";
import { callable, duration, instant, show } from "./internal/data/args.ts";
import type { Element } from "./internal/data/list.ts";
import { reaction } from "./internal/host/async.ts";
import { now } from "./internal/time/clock.ts";
import { type Alarm, arm, disarm, fireNow } from "./internal/time/timers.ts";
import { charge, defer } from "./internal/time/turn.ts";
import { type Entry, enter, exit, Kind, noteLoss } from "./internal/track/tracker.ts";
import {
  Canceled,
  Cancellation,
  causeOf,
  DeadlineExceeded,
  type Ending,
  Failed,
  findError,
  isContextError,
} from "./internal/wait/endings.ts";
import { ASK_SOURCE, adopt, isContext, isSignal, sourceOf } from "./internal/wait/foreign.ts";
import { InternalChannel } from "./internal/wait/receive.ts";
import {
  type Cancel,
  type DeadlineSource,
  type Dependent,
  forgetDeadline,
  NEVER,
  SOURCE,
  Source,
} from "./internal/wait/source.ts";
import { ABORT, type Aftermath, NOTHING, REACT } from "./internal/wait/waitable.ts";

export { Canceled, DeadlineExceeded } from "./internal/wait/endings.ts";
export type { Cancel } from "./internal/wait/source.ts";

/**
 * Deadline, cancellation and values, for a call and all it calls. Safe to pass to any number of tasks.
 *
 * Own implementations work as parents and wherever a context is taken. One that wraps another and hands out the same
 * `done()` costs nothing extra; one with an `afterFunc` method is attached through it; any other is watched by
 * `done()`.
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
  /**
   * Aborted, with `err()` as its reason, when the context ends. Made when first read. The one of {@link fromSignal} is
   * the signal it was given, with that one's reason, and the one of {@link withValue} is its parent's.
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

const CONTEXT = new Kind("context", "resource", () => [withCancel, withTimeout, withDeadline]);

/** Triggers a reaction when its source has ended. */
class OnEnd implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly settle: () => void;

  /** Whether the source is about to be listened to, and if that has failed, how. */
  beginning = false;
  failed: Failed | undefined = undefined;

  constructor(trigger: () => void) {
    this.settle = trigger;
  }

  ended(ending: Ending): Aftermath {
    if (!(this.beginning && ending instanceof Failed)) return REACT;
    this.failed = ending;
    return NOTHING;
  }
}

/**
 * Aborts a signal when its source has ended: inside the call that ended it, or later, in the reader's async context.
 */
class Abort implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly controller: AbortController = new AbortController();
  readonly #abortLater: () => void;
  #ending: Ending | undefined = undefined;

  constructor() {
    this.#abortLater = reaction(() => this.#abort());
  }

  ended(ending: Ending): Aftermath {
    this.#ending = ending;
    return ABORT;
  }

  settle(_: Ending, inside: boolean): void {
    if (inside) this.#abort();
    else this.#abortLater();
  }

  #abort(): void {
    this.controller.abort(this.#ending?.error());
  }
}

// The context behind each signal: the one that handed it out, or the one that fromSignal made of it.
const contexts = new WeakMap<AbortSignal, Context>();

/** A signal that is aborted when `source` ends. */
function signalOf(ctx: Context, source: Source): AbortSignal {
  source.poll();
  const { ending } = source;
  const abort = new Abort();
  const { signal } = abort.controller;
  contexts.set(signal, ctx);
  adopt(signal, source);
  if (ending !== undefined) abort.controller.abort(ending.error());
  else {
    source.attach(abort);
    source.listen(abort);
  }
  return signal;
}

/** A channel that is closed when its source ends. A receive keeps the process alive if the source has a deadline. */
class Done extends InternalChannel<never> implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly #source: Source;

  constructor(source: Source) {
    super();
    this.#source = source;
    this.receivers.setRef(source.deadlineSource !== undefined);
    this.poll();
  }

  ended(ending: Ending): Aftermath {
    if (ending instanceof Failed) this.receivers.failAll(ending.error());
    else this.receivers.wakeAll({ value: undefined, ok: false });
    return NOTHING;
  }

  /**
   * Asks the source, and links the channel to it, unless it is: a source that could not be listened to has let go of
   * it.
   */
  override poll(): void {
    const source = this.#source;
    source.poll();
    if (this.list !== undefined || source.ending !== undefined) return;
    source.attach(this);
    source.listen(this);
  }

  take(): Received<never> | undefined {
    return this.#source.ending === undefined ? undefined : { value: undefined, ok: false };
  }

  protected override ready(): boolean {
    return this.#source.ending !== undefined;
  }
}

/** Background and todo: never ends, has no deadline and no values. */
class Empty implements Context {
  readonly [SOURCE]: Source = NEVER;
  readonly name: string;
  private readonly self: this = this;
  lazySignal: AbortSignal | undefined = undefined;

  constructor(name: string) {
    this.name = name;
  }

  deadline(): undefined {}

  done(): null {
    return null;
  }

  err(): undefined {}

  value(): undefined {}

  get signal(): AbortSignal {
    const { self } = this;
    self.lazySignal ??= signalOf(self, NEVER);
    return self.lazySignal;
  }

  toString(): string {
    return this.name;
  }
}

/** What a context has only if it is asked for, or if full tracking is on. */
interface Extras {
  signal: AbortSignal | undefined;
  done: ReceiveChannel<never> | undefined;
  entry: Entry | undefined;
}

// A program has many of these: each field is bytes per request. Plain fields, and methods that go through [SOURCE], so
// that an object made by Object.create(ctx) works as ctx does.
class CancelContext extends Source implements Context {
  readonly [SOURCE]: this = this;
  readonly parent: Context;
  private readonly above: Source;

  /** The nearest context above that has an answer of its own to `deadline()`, or the root. */
  readonly deadlineBase: Context;
  private extras: Extras | undefined = undefined;

  // Whether it counts as live: set by `open`, cleared at the end.
  private counted = false;

  constructor(parent: Context) {
    super();
    this.parent = parent;
    this.above = sourceOf(parent);
    this.deadlineBase = deadlineBaseOf(parent);
    this.deadlineSource = this.above.deadlineSource;
    const ending = this.above.poll();
    if (ending instanceof Failed) throw ending.error();
    this.ending = ending;
  }

  /**
   * Links it to what is above, as long as neither has ended. Apart, for a parent may call back when it is listened to.
   */
  link(): void {
    if (this.ending !== undefined) return;
    this.above.attach(this);
    this.above.listen(this);
  }

  /** Counts the context as live from now to its end. Where nothing above can end it, only `cancel` can. */
  open(cancel: CancelFunc): void {
    if (this.ending !== undefined) return;
    this.counted = true;
    const provable = this.above === NEVER && this.deadlineSource === undefined;
    const entry = enter(CONTEXT, provable ? cancel : undefined);
    if (entry === undefined) return;
    this.extra().entry = entry;
    if (!provable) noteLoss(entry, cancel);
  }

  /** Ends the context by its cancel function. */
  endByHand(cause?: unknown): void {
    if (this.ending === undefined) this.end(new Cancellation(Canceled, cause), true);
  }

  override ended(ending: Ending): Aftermath {
    this.above.detach(this);
    if (this.counted) exit(CONTEXT, this.extras?.entry);
    this.counted = false;
    return super.ended(ending);
  }

  /** The nearest deadline above. */
  get aboveDeadline(): DeadlineSource | undefined {
    return this.above.deadlineSource;
  }

  deadline(): number | undefined {
    return this.deadlineBase.deadline();
  }

  done(): ReceiveChannel<never> {
    const extras = this[SOURCE].extra();
    extras.done ??= new Done(this[SOURCE]);
    return extras.done;
  }

  err(): Error | undefined {
    return this[SOURCE].poll()?.error() as Error | undefined;
  }

  value(key: unknown): unknown {
    return key === ASK_SOURCE ? this[SOURCE] : lookUp(this.parent, key);
  }

  get signal(): AbortSignal {
    const extras = this[SOURCE].extra();
    extras.signal ??= signalOf(this[SOURCE], this[SOURCE]);
    return extras.signal;
  }

  override toString(): string {
    return describe(this);
  }

  private extra(): Extras {
    this.extras ??= { signal: undefined, done: undefined, entry: undefined };
    return this.extras;
  }
}

class DeadlineContext extends CancelContext implements Alarm, DeadlineSource {
  readonly when: number;
  index = -1;
  private readonly cause: unknown;

  constructor(parent: Context, when: number, cause: unknown) {
    super(parent);
    this.when = when;
    this.cause = cause;
    this.deadlineSource = this;
  }

  /** Arms the deadline, or ends the context if it has passed. */
  start(t: number): void {
    if (this.ending !== undefined) return;
    if (this.when <= t) this.fire();
    else arm(this);
  }

  override deadline(): number {
    return this.when;
  }

  fire(): void {
    if (this.ending === undefined) this.end(new Cancellation(DeadlineExceeded, this.cause), false);
  }

  expire(): void {
    fireNow(this);
  }

  override ended(ending: Ending): Aftermath {
    disarm(this);
    forgetDeadline(this);
    return super.ended(ending);
  }
}

/** A context made of a signal, on whose source it hangs only while something hangs on it. */
class SignalContext extends Source implements Context {
  readonly [SOURCE]: this = this;
  readonly signal: AbortSignal;
  private readonly above: Source;
  lazyDone: ReceiveChannel<never> | undefined = undefined;

  constructor(signal: AbortSignal) {
    super();
    this.signal = signal;
    this.above = sourceOf(signal);
  }

  override poll(): Ending | undefined {
    if (this.ending === undefined) {
      const ending = this.above.poll();
      if (ending instanceof Failed) return ending;
      // Asking may have called back.
      if (ending !== undefined && this.ending === undefined) this.end(ending, false);
    }
    return this.ending;
  }

  override attach(d: Dependent): void {
    super.attach(d);
    if (this.list === undefined) this.above.attach(this);
  }

  override detach(d: Dependent): boolean {
    const detached = super.detach(d);
    if (this.size === 0) this.above.detach(this);
    return detached;
  }

  override listen(): void {
    this.above.listen(this);
  }

  override ended(ending: Ending): Aftermath {
    this.above.detach(this);
    // One that cannot be listened to has not ended: the next who waits on it may have more luck.
    return ending instanceof Failed ? NOTHING : super.ended(contextEnding(ending.error()));
  }

  deadline(): undefined {}

  done(): ReceiveChannel<never> {
    const ctx = this[SOURCE];
    ctx.lazyDone ??= new Done(ctx);
    return ctx.lazyDone;
  }

  err(): Error | undefined {
    return this[SOURCE].poll()?.error() as Error | undefined;
  }

  value(key: unknown): unknown {
    return key === ASK_SOURCE ? this[SOURCE] : undefined;
  }

  override toString(): string {
    return "context.fromSignal";
  }
}

/** The end of a context by a signal's reason. */
function contextEnding(reason: unknown): Ending {
  if (isContextError(reason)) return { error: () => reason, cause: () => causeOf(reason) };
  const late = (reason as { name?: unknown } | null | undefined)?.name === "TimeoutError";
  return new Cancellation(late ? DeadlineExceeded : Canceled, reason);
}

/** Everything as the parent's, and one value more. */
class ValueContext implements Context {
  readonly [SOURCE]: Source;
  readonly parent: Context;
  readonly key: unknown;
  readonly val: unknown;

  /** The nearest context above that is more than a value: a chain may be of any depth. */
  private readonly base: Context;
  readonly deadlineBase: Context;

  constructor(parent: Context, key: unknown, val: unknown) {
    this[SOURCE] = sourceOf(parent);
    this.parent = parent;
    this.key = key;
    this.val = val;
    this.base = isPlain(parent, ValueContext) ? parent.base : parent;
    this.deadlineBase = deadlineBaseOf(parent);
  }

  deadline(): number | undefined {
    return this.deadlineBase.deadline();
  }

  done(): ReceiveChannel<never> | null {
    return this.base.done();
  }

  err(): Error | undefined {
    return this.base.err();
  }

  value(key: unknown): unknown {
    return key === this.key ? this.val : lookUp(this.parent, key);
  }

  // The parent's: a signal of its own would hang on a parent that may live for ever, and nothing would take it off.
  get signal(): AbortSignal {
    return this.base.signal;
  }

  toString(): string {
    return describe(this);
  }
}

/** The parent's values alone. */
class Detached implements Context {
  readonly [SOURCE]: Source = NEVER;
  readonly parent: Context;
  private readonly self: this = this;
  lazySignal: AbortSignal | undefined = undefined;

  constructor(parent: Context) {
    this.parent = parent;
  }

  deadline(): undefined {}

  done(): null {
    return null;
  }

  err(): undefined {}

  value(key: unknown): unknown {
    return key === ASK_SOURCE ? undefined : lookUp(this.parent, key);
  }

  get signal(): AbortSignal {
    const { self } = this;
    self.lazySignal ??= signalOf(self, NEVER);
    return self.lazySignal;
  }

  toString(): string {
    return describe(this);
  }
}

/** Whether `ctx` is of the class itself: not an object derived from one, which may have methods of its own. */
function isPlain<T extends object>(ctx: object, cls: abstract new (...args: never[]) => T): ctx is T {
  return Object.getPrototypeOf(ctx) === cls.prototype;
}

/** Whether what is asked for may be looked up at its parent. */
function isCancelContext(ctx: Context): ctx is CancelContext {
  return isPlain(ctx, CancelContext) || isPlain(ctx, DeadlineContext);
}

/** Walks up for a key, in a loop as far as the contexts are ours: a chain may be of any depth. */
function lookUp(from: Context, key: unknown): unknown {
  let ctx = from;
  for (;;) {
    if (isPlain(ctx, ValueContext)) {
      if (ctx.key === key) return ctx.val;
      ctx = ctx.parent;
    } else if (isCancelContext(ctx)) {
      if (key === ASK_SOURCE) return ctx;
      ctx = ctx.parent;
    } else if (isPlain(ctx, Detached)) {
      if (key === ASK_SOURCE) return undefined;
      ctx = ctx.parent;
    } else return ctx.value(key);
  }
}

/** Which context, from this one up, has an answer of its own to `deadline()`: one with a deadline, or a foreign one. */
function deadlineBaseOf(ctx: Context): Context {
  return isPlain(ctx, CancelContext) || isPlain(ctx, ValueContext) ? ctx.deadlineBase : ctx;
}

/** The string of a context: that of its root, and what was added on the way down. */
function describe(from: Context): string {
  const added: string[] = [];
  let ctx = from;
  for (;;) {
    if (ctx instanceof DeadlineContext) {
      const at = Math.abs(ctx.when) <= 8.64e15 ? new Date(ctx.when).toISOString() : ctx.when;
      added.push(`.WithDeadline(${at} [${Math.round(ctx.when - now())}ms])`);
    } else if (ctx instanceof CancelContext) added.push(".WithCancel");
    else if (ctx instanceof ValueContext) added.push(`.WithValue(${name(ctx.key)}, ${name(ctx.val)})`);
    else if (ctx instanceof Detached) added.push(".WithoutCancel");
    else return [String(ctx), ...added.reverse()].join("");
    ctx = ctx.parent;
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
 * `cancel(cause)` sets the cause too (Go's WithCancelCause). Throws TypeError if `parent` is no context. Costs less
 * than a tenth of an AbortController.
 */
export function withCancel(parent: Cancel): CancelScope {
  return begin(new CancelContext(contextOf(parent)));
}

/**
 * A child of `parent` that also ends `ms` milliseconds from now, with {@link DeadlineExceeded}. See {@link
 * withDeadline}.
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
    return begin(new CancelContext(parent));
  }
  const ctx = new DeadlineContext(parent, when, cause);
  const scope = begin(ctx);
  ctx.start(t);
  return scope;
}

/**
 * A child of `parent` that answers `val` for `key`. Keys are compared by `===`; make them by {@link contextKey}, so
 * that packages cannot collide. Throws TypeError if `key` is undefined or null.
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
 * `fn` never runs inside `cancel()`: it runs as a reaction of the caller of `afterFunc`, in that one's async context.
 * An error it throws is reported as an unhandled rejection.
 */
export function afterFunc(ctx: Cancel, fn: () => unknown): () => boolean {
  callable(fn, "afterFunc's function");
  const source = sourceOf(contextOf(ctx));
  const ending = source.poll();
  if (ending instanceof Failed) throw ending.error();
  const run = reaction(() => fn());
  // Charged: a loop that only ends contexts must not starve the event loop either.
  const trigger = () => (charge() ? run() : defer(run, undefined));
  if (ending !== undefined) {
    trigger();
    return () => false;
  }
  const link = new OnEnd(trigger);
  source.attach(link);
  link.beginning = true;
  source.listen(link);
  link.beginning = false;
  if (link.failed !== undefined) throw link.failed.error();
  return () => source.detach(link);
}

/**
 * Why `ctx` ended: the cause given to its cancel function or deadline, or to those of the context above that brought it
 * down; `ctx.err()` if none was given; `undefined` while it has not ended.
 */
export function cause(ctx: Cancel): unknown {
  const c = contextOf(ctx);
  const inner = c.value(ASK_SOURCE);
  const above = inner instanceof Source ? inner.poll()?.cause() : undefined;
  return above ?? causeOf(c.err()); // The end of somebody else's context in between is its own cause.
}

/** Makes a key for {@link withValue}. Two keys of one description are different keys. */
export function contextKey<T>(description: string): ContextKey<T> {
  return { description };
}

/**
 * The context that `signal` stands for: it ends when the signal is aborted, with {@link DeadlineExceeded} if the reason
 * is a TimeoutError and {@link Canceled} otherwise, and has the reason as its cause. A signal that a context has made
 * gives that context: `fromSignal(ctx.signal) === ctx`, but for a context of {@link withValue}, whose signal is its
 * parent's.
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

/**
 * Whether `err` is of the class, or was caused by an error that is: `is(err, DeadlineExceeded)`. Go's errors.Is. Node's
 * own APIs wrap a signal's reason, so it looks through `cause`, and through the errors of an AggregateError; but not
 * behind a {@link Canceled} or {@link DeadlineExceeded}, whose cause is asked by {@link cause}: what was cancelled
 * because a sibling timed out has not timed out. A host's own AbortError counts as Canceled, and its TimeoutError as
 * DeadlineExceeded, unless an error of a context is its cause. Throws TypeError if `target` is no class.
 */
export function is(err: unknown, target: abstract new (...args: never[]) => Error): boolean {
  callable(target, "target");
  return findError(err, (e) => e instanceof target || isHostsOwn(e, target));
}

/** Whether `e` is what the host itself makes of an abort or time-out, and so counts as one of `target`. */
function isHostsOwn(e: Error, target: unknown): boolean {
  const name = target === Canceled ? "AbortError" : target === DeadlineExceeded ? "TimeoutError" : undefined;
  return e.name === name && !isContextError(e) && !findError(e.cause, isContextError);
}

function contextOf(parent: Cancel): Context {
  if (parent === undefined || parent === null) throw new TypeError("cannot create context from nil parent");
  if (isContext(parent)) return parent;
  if (isSignal(parent)) return fromSignal(parent);
  throw new TypeError(`parent must be a Context or an AbortSignal, got ${show(parent)}`);
}

/** Links a new context and counts it; the answer is the pair that goes to the caller, and its disposer. */
function begin(ctx: CancelContext): CancelScope {
  ctx.link();
  // A bound function takes half the bytes of a closure.
  const cancel: CancelFunc = ctx.endByHand.bind(ctx);
  ctx.open(cancel);
  // A true array: an iterable class, or a prototype of its own, would cost more than the context.
  const scope = [ctx, cancel] as unknown as { ctx: Context; cancel: CancelFunc; [Symbol.dispose]: CancelFunc };
  scope.ctx = ctx;
  scope.cancel = cancel;
  if (Symbol.dispose !== undefined) scope[Symbol.dispose] = cancel;
  return scope as unknown as CancelScope;
}
