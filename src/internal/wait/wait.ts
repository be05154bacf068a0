/**
 * The wait core: the one place where a task parks until another one, a timer or an end lets it go on.
 *
 * Everything that parks is a {@link Wait}, Go's sudog: a receive, an acquire, a sleep, a select. Everything that can be
 * waited for has a queue of waits, {@link Waiters}. Channels, semaphores and the rest hold state and policy only: the
 * condition of a wait, and the order of the waits.
 *
 * *Park.* An operation first polls the source behind its `cancel`, then looks at its own state, and if it cannot go on,
 * it makes a wait and links it into its queue. A wait with a `cancel` has a second node, {@link WaitDependent}, among
 * the dependents of the source. Both lists are intrusive, so both nodes are unlinked in O(1). So a wait costs a
 * promise with its two functions, the wait, and with a `cancel` the second node. A select is one wait that is
 * in no queue; its cases are the nodes. A parked `next` of a channel's iterator has one more node: that stands in the
 * channel's queue, and the wait in the iterator's own.
 *
 * *Claim.* Exactly one of three claims a wait: its success (`resolve`: what it waits for is granted), its failure
 * (`reject`: a close, the error of a group or of a load), or the end of its source (`ended`, by cancel or deadline). A
 * claim is synchronous and unlinks both nodes, so nobody can come between the grant and the code that awaits it. The
 * first claim is final: a cancel that comes later, even in the same turn, changes nothing.
 *
 * *Settle.* A claim settles the promise, and the awaiting code resumes in a microtask of its own, in its own async
 * context. Each settlement is charged to the turn's budget (../time/turn.ts). Over budget it is deferred, in the order
 * of the claims, until later in this turn or until the next. That defers the resumption, not the claim.
 *
 * *Cancel.* A source ends for a whole tree at once (source.ts). First everything below it is marked and every wait is
 * claimed; only then are others woken. So a wait that is cancelled does not wake those behind it: the queue's hooks are
 * called, `onCancel` at once, to correct the counts, and `afterCancels` when the whole tree is marked, to admit others.
 *
 * *Foreign code* (contexts and signals of others, user functions) may throw, call back in, or never return. It runs
 * before an operation looks at its own state, or after its wait is linked in both lists, never between, and never
 * inside a claim (foreign.ts). So it always finds the queues in order, and an error that it throws is the error of its
 * own wait. Some user code may run inside a claim all the same, and must not call the library: the `unparked` of an
 * observer, a `prepareStackTrace`, the functions of fake timers, a `then` getter of a value that is granted, and the
 * getters and proxy traps of an abort reason.
 *
 * Invariants, between any two calls:
 *
 * - a wait is in its queue exactly as long as nobody has claimed it (a select's wait is in none, its cases are);
 * - a wait with a `cancel` is among its source's dependents exactly as long (NEVER links without keeping), and then the
 *   source has no `ending`, though its deadline may have passed;
 * - `kind.live` is the number of unclaimed waits of the kind, except those that the collector took under full tracking.
 */
import { type Element, List } from "../data/list.ts";
import { charge, defer } from "../time/turn.ts";
import type { LeakRecord } from "../track/records.ts";
import { Holder, type Kind, toWatch, unwatch, unwatchCanceled, type Watch, watch } from "../track/tracker.ts";
import { type Ending, isContextError } from "./endings.ts";
import type { Dependent, Source } from "./source.ts";
import { PHASE_ADMIT, PHASE_NONE, type Phase } from "./waitable.ts";

/**
 * An entry of a queue: a wait, a case of a select, a parked `next`. Both calls claim it; the caller has unlinked it.
 */
export interface Waiter<T, V = undefined> extends Element {
  /** What the owner of the queue keeps with it: a send's value, the request of an acquire, the alarm of a sleep. */
  readonly value: V;
  resolve(value: T): void;
  reject(reason: unknown): void;
}

/** What the owner of a queue does when a wait in it is cancelled. */
export interface CancelHooks<W> {
  /**
   * A wait has been unlinked and is about to be rejected. The rest of the tree may not be marked yet, so this wakes
   * nobody. It must not throw.
   */
  onCancel?(wait: W, reason: unknown): void;
  /**
   * Every wait that this end cancels has been claimed, and the signals are aborted. Called once for each cancelled
   * wait. For queues in which a wait keeps others waiting.
   */
  afterCancels?(): void;
}

/** What a wait stands in. */
export interface WaitQueue<W> {
  readonly hooks: CancelHooks<W> | undefined;
  /** The holder of what a wait waits for, where that is known: reports show it. */
  readonly holder?: Holder | undefined;
  /** Unlinks the wait, which stands here. */
  remove(wait: W): void;
}

/** A queue of waiters, in the order of their arrival. */
export class Waiters<T, V = undefined> extends List<Waiter<T, V>> implements WaitQueue<Wait<T, V>> {
  readonly kind: Kind;
  readonly hooks: CancelHooks<Wait<T, V>> | undefined;

  /** Given to the constructor, or made by {@link addHolder}. */
  holder: Holder | undefined;

  constructor(kind: Kind, hooks?: CancelHooks<Wait<T, V>>, holder?: Holder) {
    super();
    this.kind = kind;
    this.hooks = hooks;
    this.holder = holder;
  }

  /** Parks a wait at the end of the queue. `source` has been polled and has not ended. */
  park(source: Source | undefined, value: V, kind: Kind = this.kind): Promise<T> {
    const wait = new Wait<T, V>(kind, source, value);
    this.push(wait);
    wait.dependent?.listen();
    return wait.promise;
  }

  /** Grants `value` to the first waiter; reports whether there was one. */
  wakeOne(value: T): boolean {
    const waiter = this.shift();
    if (waiter === undefined) return false;
    waiter.resolve(value);
    return true;
  }

  /** Grants `value` to all waiters. */
  wakeAll(value: T): void {
    while (this.wakeOne(value));
  }

  /**
   * Says, before anybody waits, that what is waited for here is held by what this record is of, if it is recorded.
   * `enough`: how many such holders must let go to end a wait.
   */
  addHolder(record: LeakRecord | undefined, enough: Holder["enough"] = "all"): void {
    if (record === undefined) return;
    this.holder ??= new Holder(enough);
    this.holder.records.add(record);
  }

  /** Takes back {@link addHolder}. */
  removeHolder(record: LeakRecord | undefined): void {
    if (record !== undefined) this.holder?.records.delete(record);
  }

  /** Rejects all waiters. */
  rejectAll(reason: unknown): void {
    for (let waiter = this.shift(); waiter !== undefined; waiter = this.shift()) waiter.reject(reason);
  }
}

/** A parked operation: its promise, its place in a queue, and its node among the dependents of its source. */
export class Wait<T, V = undefined> implements Waiter<T, V> {
  // The hottest object of the library. One class without a base or heirs, with plain fields assigned in the
  // constructor, and a closure for each promise: with #private or defined fields, one shared executor, or several
  // classes, the engine's call sites see more than one shape, and every hand-off in the process becomes slower.

  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  /** What the caller awaits. */
  readonly promise: Promise<T>;

  readonly kind: Kind;

  /** See {@link Waiter.value}. */
  readonly value: V;

  private succeed!: (value: T) => void;
  private fail!: (reason: unknown) => void;

  /** Its node among the dependents of its source, which also knows its record; undefined for a wait with neither. */
  readonly dependent: WaitDependent | undefined;

  /**
   * Makes a wait. `source`, if any, has been polled and has not ended. The caller links the wait into its queue, with
   * no other call in between, and then calls `dependent.listen()`. {@link Waiters.park} does it all; the channel's hot
   * paths do it themselves, as a method that all kinds of queues share would be slower there.
   */
  constructor(kind: Kind, source: Source | undefined, value: V) {
    this.promise = new Promise((resolve, reject) => {
      this.succeed = resolve;
      this.fail = reject;
    });
    this.kind = kind;
    this.value = value;
    kind.live++;
    const due = toWatch();
    this.dependent =
      source === undefined && due === undefined ? undefined : new WaitDependent(this as never, source, due);
  }

  /** Claims the wait for success. The caller has unlinked it from its queue. */
  resolve(value: T): void {
    this.dependent?.onClaim();
    this.kind.live--;
    if (charge()) this.succeed(value);
    else defer(this.succeed, value);
  }

  /** Claims the wait for failure. The caller has unlinked it from its queue. */
  reject(reason: unknown): void {
    this.dependent?.onClaim();
    this.kind.live--;
    if (charge()) this.fail(reason);
    else defer(this.fail, reason);
  }
}

// The kinds of waits, by their promises. Filled under full tracking only.
const kindsOfWaits = new WeakMap<Promise<unknown>, Kind>();

/** The kind of the wait that `it` is the promise of, if that was recorded. */
export function kindOfWait(it: unknown): Kind | undefined {
  return kindsOfWaits.get(it as Promise<unknown>);
}

/** A wait's node among the dependents of its source, and its record. */
class WaitDependent implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  private readonly wait: Wait<never, unknown>;
  private readonly source: Source | undefined;

  // What observers know of the wait, from `listen` on; before it, that the wait is to be watched.
  private watch: Watch | undefined;

  // Set by the claim.
  private claimed = false;

  // The wait's queue, which it has left. Set by a cancel, for `afterEnd`.
  private queue: WaitQueue<Wait<never, unknown>> | undefined = undefined;

  constructor(wait: Wait<never, unknown>, source: Source | undefined, due: Watch | undefined) {
    this.wait = wait;
    this.source = source;
    this.watch = due;
    source?.linkWait(this);
  }

  /**
   * To be called when the wait stands in its queue: this runs code of observers, of stack formatters, and foreign code.
   */
  listen(): void {
    if (this.watch !== undefined) {
      const queue = this.wait.list as WaitQueue<Wait<never, unknown>> | undefined;
      const watched = watch(this.watch, this.wait.kind, this.wait, queue?.holder);
      if (this.claimed) {
        // The code that just ran has claimed the wait.
        unwatch(this.wait.kind, watched);
        return;
      }
      this.watch = watched;
      if (watched.record !== undefined) kindsOfWaits.set(this.wait.promise, this.wait.kind);
    }
    this.source?.listen();
  }

  /** The wait's record, if it has one. */
  get record(): LeakRecord | undefined {
    return this.watch?.record;
  }

  /** Where the wait was parked; undefined unless that is recorded. */
  get stack(): string | undefined {
    return this.record?.stack;
  }

  /** The wait has been claimed: unlinks this node and erases the record. */
  onClaim(): void {
    this.claimed = true;
    this.source?.unlinkWait(this);
    if (this.watch !== undefined) unwatch(this.wait.kind, this.watch);
  }

  ended(ending: Ending): Phase {
    const { wait } = this;
    const record = this.watch?.record;
    const queue = wait.list as unknown as WaitQueue<Wait<never, unknown>>;
    const reason = ending.error();
    queue.remove(wait);
    queue.hooks?.onCancel?.(wait, reason);
    if (record !== undefined && isContextError(reason)) record.showWaitStack(reason as Error);
    if (this.watch !== undefined) this.watch = unwatchCanceled(wait.kind, this.watch);
    wait.reject(reason);
    if (queue.hooks?.afterCancels === undefined) return PHASE_NONE;
    this.queue = queue;
    return PHASE_ADMIT;
  }

  afterEnd(): void {
    this.queue?.hooks?.afterCancels?.();
  }
}
