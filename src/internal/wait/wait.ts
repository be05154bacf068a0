/**
 * The wait core: the one place where anything in this library waits.
 *
 * Whatever waits, waits in a {@link Wait}, as in Go a goroutine waits in a sudog: a receive, an acquire, a sleep, a
 * select. Whatever is waited for has a queue of them, {@link Waiters}. Channels, semaphores and the rest hold state and
 * policy only: what a wait waits for, and who is next.
 *
 * *Park.* An operation first asks whether its `cancel` has ended, then looks at its own state, and if it cannot go on
 * it makes a wait. The wait is linked into at most two lists: the queue of what it waits for, and the dependents of the
 * source behind `cancel`. Both are intrusive, so both links are undone in O(1) from either side. Parking counts one
 * more of the wait's kind; that, a promise and the wait itself are all that it costs.
 *
 * *Claim.* Exactly one of three claims a wait: who grants what it waits for (`resolve`), who closes it (`reject`), or
 * the end of its source (`ended`, by cancel or deadline). A claim is synchronous and takes the wait out of both lists,
 * so a queue never holds a wait that is over, and nobody can come between the grant and the code that awaits it. The
 * first claim is final: a cancel that comes later, in the same turn even, changes nothing.
 *
 * *Settle.* Claiming settles the promise, and the awaiting code resumes in a microtask of its own, in its own async
 * context. Each settlement is charged to the turn's budget (../time/turn.ts); over budget it is handed out in a later
 * turn, in the order of the claims. That defers the resumption, not the claim.
 *
 * *Cancel.* A source ends for a whole tree at once (source.ts). First everything below is marked and every wait
 * claimed; only then others are woken. So a wait that leaves a queue does not wake whoever it held back: its queue's
 * `resource` is told at once by `cancelled`, to correct its books, and by `abandoned`, when everyone knows, to admit
 * others.
 *
 * *Foreign code* (contexts and signals of others, user functions, formatters of stacks) may throw, call back in, or
 * never return. It runs before an operation looks at its own state, or after its wait is linked in both lists, never
 * between, and never inside a claim (foreign.ts). So what it does is done to queues in order, and what it throws is the
 * error of its own wait.
 *
 * Invariants, between any two calls:
 *
 * - a wait is in its queue exactly as long as nobody has claimed it;
 * - a wait with a `cancel` is among its source's dependents exactly as long, and then the source has not ended;
 * - `kind.live` is the number of unclaimed waits of the kind.
 */
import { type Element, List } from "../data/list.ts";
import { charge, defer } from "../time/turn.ts";
import { isWatching, type Kind, showPlace, unwatch, type Watch, watch } from "../track/tracker.ts";
import { type Ending, isContextError } from "./endings.ts";
import type { Dependent, Source } from "./source.ts";
import { ADMIT, type Aftermath, NOTHING } from "./waitable.ts";

/** What stands in a queue. Both calls claim it; the caller has unlinked it. */
export interface Waiter<T, V = undefined> extends Element {
  /** What it brings with it: a send its value, an acquire its units. */
  readonly value: V;
  resolve(value: T): void;
  reject(reason: unknown): void;
}

/** What a queue belongs to, if a wait that is cancelled matters to it. */
export interface Resource<W> {
  /** A wait has been cancelled and unlinked. Others may not know of the end yet, so this wakes nobody. */
  cancelled?(wait: W, reason: unknown): void;
  /** Everyone knows now. Called once for each wait cancelled; for queues in which waits hold others back. */
  abandoned?(): void;
}

/** A queue of waiters, in the order of their arrival. */
export class Waiters<T, V = undefined> extends List<Waiter<T, V>> {
  readonly kind: Kind;
  readonly resource: Resource<Wait<T, V>> | undefined;

  constructor(kind: Kind, resource?: Resource<Wait<T, V>>) {
    super();
    this.kind = kind;
    this.resource = resource;
  }

  /** Parks a wait at the end of the queue. `source` has been polled and has not ended. */
  park(source: Source | undefined, value: V, kind: Kind = this.kind): Promise<T> {
    const wait = new Wait<T, V>(kind, source, value);
    this.push(wait);
    wait.link?.start();
    return wait.promise;
  }

  /** Grants `value` to the first waiter; says whether there was one. */
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

  /** Rejects all waiters. */
  failAll(reason: unknown): void {
    for (let waiter = this.shift(); waiter !== undefined; waiter = this.shift()) waiter.reject(reason);
  }
}

// The hottest object of the library. One class without a base or heirs, with plain fields assigned in the constructor,
// and a closure for each promise: with #private or defined fields, one shared executor, or a family of classes a
// hand-off took longer, and so did every queue in a process that used many of them.
export class Wait<T, V = undefined> implements Waiter<T, V> {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  /** What the caller awaits. */
  readonly promise: Promise<T>;

  readonly kind: Kind;

  value: V;

  private succeed!: (value: T) => void;
  private fail!: (reason: unknown) => void;

  /** The wait's tie to its source, and to what watches it; undefined for a wait with neither. */
  readonly link: Link | undefined;

  /**
   * Begins a wait. `source`, if any, has been polled and has not ended. The caller links the wait into its queue, with
   * no other call in between, and then starts its link.
   */
  constructor(kind: Kind, source: Source | undefined, value: V) {
    this.promise = new Promise((resolve, reject) => {
      this.succeed = resolve;
      this.fail = reject;
    });
    this.kind = kind;
    this.value = value;
    kind.live++;
    this.link = source === undefined && !isWatching() ? undefined : new Link(this as never, source);
  }

  /** Claims the wait for success. The caller has unlinked it from its queue. */
  resolve(value: T): void {
    this.link?.cut();
    this.kind.live--;
    if (charge()) this.succeed(value);
    else defer(this.succeed, value);
  }

  /** Claims the wait for failure. The caller has unlinked it from its queue. */
  reject(reason: unknown): void {
    this.link?.cut();
    this.kind.live--;
    if (charge()) this.fail(reason);
    else defer(this.fail, reason);
  }
}

/** A wait's place among the dependents of its source. And what watches it. */
class Link implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  private readonly wait: Wait<never, unknown>;
  private readonly source: Source | undefined;
  private watched: Watch | undefined = undefined;
  private claimed = false;

  // The wait's queue, from the cancel to `settle`.
  private queue: Waiters<never, unknown> | undefined = undefined;

  constructor(wait: Wait<never, unknown>, source: Source | undefined) {
    this.wait = wait;
    this.source = source;
    source?.join(this);
  }

  /**
   * To be called when the wait stands in its queue: this runs code of observers, of stack formatters, and foreign code.
   */
  start(): void {
    const watched = watch(this.wait.kind, this.wait);
    if (!this.claimed) this.watched = watched;
    else if (watched !== undefined) unwatch(this.wait.kind, watched);
    if (!this.claimed) this.source?.listen();
  }

  /** Where the wait was parked; undefined unless that is recorded. */
  get stack(): string | undefined {
    return this.watched?.entry?.stack;
  }

  /** Ends the wait's ties to its source and to who watches it. */
  cut(): void {
    this.claimed = true;
    this.source?.leave(this);
    if (this.watched !== undefined) unwatch(this.wait.kind, this.watched);
  }

  ended(ending: Ending): Aftermath {
    const { wait, watched } = this;
    const queue = wait.list as Waiters<never, unknown>;
    const reason = ending.error();
    queue.remove(wait);
    queue.resource?.cancelled?.(wait, reason);
    if (watched?.entry !== undefined && isContextError(reason)) showPlace(reason as Error, watched.entry);
    wait.reject(reason);
    if (queue.resource?.abandoned === undefined) return NOTHING;
    this.queue = queue;
    return ADMIT;
  }

  settle(): void {
    this.queue?.resource?.abandoned?.();
  }
}
