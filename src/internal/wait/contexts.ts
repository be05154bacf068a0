/**
 * The contexts: the roots, the ones with a cancel function or a deadline, the ones with a value; and the walks over
 * chains of them.
 *
 * A program has many contexts, so each field is bytes per request. Their fields are plain, and methods that write to
 * the context do so through `this[SOURCE]` or `this.self`: an object made by `Object.create(ctx)` works as ctx does,
 * and gets no field of its own. The walks are loops: a chain may be of any depth.
 */
import type { ReceiveChannel } from "../../channel.ts";
import type { CancelFunc, Context, ContextKey } from "../../context.ts";
import { show } from "../data/args.ts";
import { now } from "../time/clock.ts";
import { type Alarm, arm, disarm, fireNow } from "../time/timers.ts";
import type { LeakRecord } from "../track/records.ts";
import { exit, isDue, Kind, makeRecord, type PublicFunction } from "../track/tracker.ts";
import { DoneChannel, signalOf } from "./dependents.ts";
import { Canceled, Cancellation, DeadlineExceeded, type Ending } from "./endings.ts";
import { recognised, SOURCE_KEY, sourceOf } from "./foreign.ts";
import { type DeadlineSource, forgetDeadline, NEVER, SOURCE, Source } from "./source.ts";
import type { Phase } from "./waitable.ts";

const CONTEXT = new Kind("context", "resource");

const NONE: readonly Source[] = [];

/** A context that never ends: background and todo, or the values of a parent without its end. */
export class Root implements Context {
  /** @internal */
  readonly [SOURCE]: Source = NEVER;

  /** The context whose values it has; undefined for background and todo. */
  readonly parent: Context | undefined;

  /** What was added to its parent, or its own name, as a context's string shows it. */
  readonly name: string;

  readonly self: this = this;
  lazySignal: AbortSignal | undefined = undefined;

  constructor(name: string, parent?: Context) {
    this.name = name;
    this.parent = parent;
  }

  deadline(): undefined {}

  done(): null {
    return null;
  }

  err(): undefined {}

  value(key: unknown): unknown {
    return key === SOURCE_KEY || this.parent === undefined ? undefined : lookUp(this.parent, key);
  }

  get signal(): AbortSignal {
    const { self } = this;
    self.lazySignal ??= signalOf(self, NEVER);
    return self.lazySignal;
  }

  toString(): string {
    return this.parent === undefined ? this.name : describe(this);
  }
}

/** What `background()` returns: `undefined` stands for it where a context is required. */
export const BACKGROUND: Root = new Root("context.Background");

/** What most contexts never need: `signal` and `done` are made when first asked for, `record` under full tracking. */
interface Extras {
  signal: AbortSignal | undefined;
  done: ReceiveChannel<never> | undefined;
  record: LeakRecord | undefined;
}

/** A context that ends by its cancel function or with its parent. */
export class CancelContext extends Source implements Context {
  /** @internal */
  readonly [SOURCE]: this = this;
  readonly parent: Context;
  protected readonly parentSource: Source;

  /**
   * The nearest context, here or above, that determines `deadline()` by itself: one with a deadline, a root, the
   * context of a signal, a foreign one. Of a merged context, the owner of its earliest deadline.
   */
  deadlineOwner: Context;
  private extras: Extras | undefined = undefined;

  // Whether it counts as live until it ends. Set by `count`.
  private counted = false;

  constructor(parent: Context) {
    super();
    this.parent = parent;
    this.parentSource = sourceOf(parent);
    this.deadlineOwner = deadlineOwnerOf(parent);
    this.nearestDeadline = this.parentSource.nearestDeadline;
    const ending = this.parentSource.poll();
    if (ending?.failed === true) throw ending.error();
    this.ending = ending;
  }

  /** Links the context to its parent, unless one of them has ended. A foreign parent may call back here. */
  linkToParent(): void {
    if (this.ending !== undefined) return;
    this.parentSource.link(this);
    this.parentSource.listen();
  }

  /**
   * Counts the context as live until it ends. `entryPoints` are the public functions that may have made it. If the
   * collector takes `cancel`, that proves a leak where nothing else can end the context, and is noted in the record
   * where something can. There it is proved when the collector has taken the context, or that too can end no more.
   */
  count(cancel: CancelFunc, entryPoints: () => readonly PublicFunction[]): void {
    if (this.ending !== undefined) return;
    this.counted = true;
    CONTEXT.live++;
    if (isDue()) this.record(cancel, entryPoints);
  }

  private record(cancel: CancelFunc, entryPoints: () => readonly PublicFunction[]): void {
    const parents = [this.parentSource, ...this.otherParents()].filter((parent) => !isNever(parent));
    const hasDeadline = this.nearestDeadline !== undefined;
    const byCancelAlone = parents.length === 0 && !hasDeadline;
    // What else can end it refers to it. So if the collector takes the context itself, that is gone as well.
    const record = makeRecord(CONTEXT, 1, byCancelAlone ? cancel : this, entryPoints);
    this.ensureExtras().record = record;
    if (byCancelAlone) return;
    const [parent] = parents;
    const isUnderOne = parents.length === 1 && !hasDeadline && parent instanceof CancelContext;
    record.noteLostCancel(cancel, this, isUnderOne ? parent.extras?.record : undefined);
  }

  /** Whether it was proved that nothing can end it. */
  isProved(): boolean {
    const record = this.extras?.record;
    return record !== undefined && this.ending === undefined && !record.isAlive();
  }

  /** What its string adds to that of its parent. */
  addition(): string {
    return ".WithCancel";
  }

  /** What the cancel function does. */
  cancelByFunction(cause?: unknown): void {
    if (this.ending === undefined) this.end(new Cancellation(Canceled, cause), true);
  }

  override ended(ending: Ending): Phase {
    this.parentSource.unlink(this);
    if (this.counted) exit(CONTEXT, this.extras?.record);
    return super.ended(ending);
  }

  /** Whether this is `above`, or derived from it by contexts of ours, so that it ends when that does. */
  isUnder(above: Source): boolean {
    // The other parents of merged contexts on the way up; `rest` walks over them while they are added. A set, as many
    // ways may lead to one. Most contexts have none.
    let others: Set<Source> | undefined;
    let rest: Iterator<Source, undefined> | undefined;
    for (let source: Source | undefined = this; source !== above; ) {
      if (source === undefined) return false;
      if (source instanceof CancelContext) {
        for (const other of source.otherParents()) {
          others ??= new Set();
          others.add(other);
          rest ??= others.values();
        }
        source = source.parentSource;
      } else {
        source = rest?.next().value;
      }
    }
    return true;
  }

  /** The sources with which it ends, besides that of its parent. */
  protected otherParents(): readonly Source[] {
    return NONE;
  }

  /** The nearest deadline above. */
  get parentDeadline(): DeadlineSource | undefined {
    return this.parentSource.nearestDeadline;
  }

  deadline(): number | undefined {
    return this.deadlineOwner.deadline();
  }

  done(): ReceiveChannel<never> {
    const extras = this[SOURCE].ensureExtras();
    extras.done ??= new DoneChannel(this[SOURCE]);
    return extras.done;
  }

  err(): Error | undefined {
    const source = this[SOURCE];
    return (source.ending ?? source.poll())?.error() as Error | undefined;
  }

  value(key: unknown): unknown {
    return key === SOURCE_KEY ? this[SOURCE] : lookUp(this.parent, key);
  }

  get signal(): AbortSignal {
    const extras = this[SOURCE].ensureExtras();
    extras.signal ??= signalOf(this[SOURCE], this[SOURCE]);
    return extras.signal;
  }

  override toString(): string {
    return describe(this);
  }

  private ensureExtras(): Extras {
    this.extras ??= { signal: undefined, done: undefined, record: undefined };
    return this.extras;
  }
}

/** Whether nothing can end a source. */
function isNever(source: Source): boolean {
  return source === NEVER || (source instanceof CancelContext && source.isProved());
}

/** A cancel context that also ends at an instant. */
export class DeadlineContext extends CancelContext implements Alarm, DeadlineSource {
  readonly when: number;
  index = -1;
  private readonly cause: unknown;

  constructor(parent: Context, when: number, cause: unknown) {
    super(parent);
    this.when = when;
    this.cause = cause;
    this.nearestDeadline = this;
    this.deadlineOwner = this;
  }

  /** Arms the deadline, or ends the context if it has passed. The time is t. */
  armOrExpire(t: number): void {
    if (this.ending !== undefined) return;
    if (this.when > t) {
      arm(this);
      return;
    }
    // One above of the same instant holds, though its timer may be late.
    const above = this.parentDeadline;
    if (above?.when === this.when) above.expire();
    this.fire();
  }

  override deadline(): number {
    return this.when;
  }

  override addition(): string {
    const at = Math.abs(this.when) <= 8.64e15 ? new Date(this.when).toISOString() : this.when;
    return `.WithDeadline(${at} [${Math.round(this.when - now())}ms])`;
  }

  fire(): void {
    if (this.ending === undefined) this.end(new Cancellation(DeadlineExceeded, this.cause), false);
  }

  expire(): void {
    fireNow(this);
  }

  override ended(ending: Ending): Phase {
    disarm(this);
    forgetDeadline(this);
    return super.ended(ending);
  }
}

/** A context that adds one value to its parent. */
export class ValueContext implements Context {
  /** @internal */
  readonly [SOURCE]: Source;
  readonly parent: Context;
  readonly key: unknown;
  readonly val: unknown;
  readonly self: this = this;

  /** The nearest context above that is not a ValueContext. */
  private readonly nonValueParent: Context;
  readonly deadlineOwner: Context;

  constructor(parent: Context, key: unknown, val: unknown) {
    this[SOURCE] = recognised(parent);
    this.parent = parent;
    this.key = key;
    this.val = val;
    this.nonValueParent = parent instanceof ValueContext && parent.self === parent ? parent.nonValueParent : parent;
    this.deadlineOwner = deadlineOwnerOf(parent);
  }

  deadline(): number | undefined {
    return this.deadlineOwner.deadline();
  }

  done(): ReceiveChannel<never> | null {
    return this.nonValueParent.done();
  }

  err(): Error | undefined {
    return this.nonValueParent.err();
  }

  value(key: unknown): unknown {
    return key === this.key ? this.val : lookUp(this.parent, key);
  }

  // The parent's: a signal of its own would stay linked to the parent until that one ends.
  get signal(): AbortSignal {
    return this.nonValueParent.signal;
  }

  toString(): string {
    return describe(this);
  }
}

/**
 * Looks a key up from `from` on: in a loop through contexts of ours, and by `value` from the first other one on. An
 * object derived from one of ours may have methods of its own, so it does not count as ours.
 */
function lookUp(from: Context, key: unknown): unknown {
  let ctx = from;
  for (;;) {
    if (ctx instanceof ValueContext && ctx.self === ctx) {
      if (ctx.key === key) return ctx.val;
      ctx = ctx.parent;
    } else if (ctx instanceof CancelContext && ctx[SOURCE] === ctx) {
      if (key === SOURCE_KEY) return ctx;
      ctx = ctx.parent;
    } else if (ctx instanceof Root && ctx.self === ctx) {
      if (key === SOURCE_KEY || ctx.parent === undefined) return undefined;
      ctx = ctx.parent;
    } else return ctx.value(key);
  }
}

/** See `deadlineOwner` of {@link CancelContext}. */
export function deadlineOwnerOf(ctx: Context): Context {
  const own =
    (ctx instanceof CancelContext && ctx[SOURCE] === ctx) || (ctx instanceof ValueContext && ctx.self === ctx);
  return own ? ctx.deadlineOwner : ctx;
}

/** The string of a context: that of its root, and what was added on the way down. */
function describe(from: Context): string {
  const added: string[] = [];
  let ctx = from;
  for (;;) {
    if (ctx instanceof CancelContext) added.push(ctx.addition());
    else if (ctx instanceof ValueContext) added.push(`.WithValue(${shown(ctx.key)}, ${shown(ctx.val)})`);
    else if (ctx instanceof Root && ctx.parent !== undefined) added.push(ctx.name);
    else return [String(ctx), ...added.reverse()].join("");
    ctx = ctx.parent as Context;
  }
}

/** A key or value as a context's string shows it. */
function shown(value: unknown): string {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return "<nil>";
  const { description } = value as Partial<ContextKey<unknown>>;
  return typeof description === "string" ? description : show(value);
}
