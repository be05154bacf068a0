/**
 * What ends a wait early: the sources behind contexts and abort signals, and how an end spreads through them.
 *
 * Every `Cancel` leads to one {@link Source}. Its dependents, parked waits and child contexts alike, are linked into
 * the source's list: linking and unlinking are O(1), and a foreign signal carries one listener of this copy of the
 * package, however many wait. An end costs O(n) for n dependents in the whole tree.
 */
import type { Context } from "../../context.ts";
import { type Element, List } from "../data/list.ts";
import { guarded } from "../host/async.ts";
import { timersAreReplaced } from "../host/host.ts";
import { now } from "../time/clock.ts";
import { refTimer, unrefTimer } from "../time/timers.ts";
import type { Ending } from "./endings.ts";
import {
  type CaseResult,
  DEQUEUE,
  ENQUEUE,
  type Parked,
  PHASE_ABORT,
  PHASE_ADMIT,
  PHASE_NONE,
  PHASE_REACT,
  type Phase,
  READY,
  TAKE,
} from "./waitable.ts";

/**
 * What can end a wait early. Where one is required, it is the first parameter, called `ctx`, or `parent` if a context
 * is made from it; `undefined` stands for `background()` there. Where it is optional, it is the last, called `cancel`.
 * Every function that takes one fails with TypeError for anything else, and with what a foreign one throws when it is
 * asked.
 */
export type Cancel = Context | AbortSignal;

/** Something that is linked to a source, and ends with it. */
export interface Dependent extends Element {
  /**
   * Called, with the dependent unlinked, when the source has ended, or when it could not be listened to. In the second
   * case the source has not ended, and the dependent may be linked again. Other parts of the tree may not be marked
   * yet. So it claims its own waits and nothing else, runs no user code, and must not throw. Returns the phase in which
   * {@link afterEnd} is to be called.
   */
  ended(ending: Ending): Phase;

  /**
   * Called in its phase, when everything in the tree has been marked. `byCaller`: a cancel function, an abort event
   * or the callback of a foreign context has ended the tree, and abort listeners run inside that call. Otherwise (a
   * timer, a poll or a failed listen found the end) they run in a later microtask.
   */
  afterEnd?(ending: Ending, byCaller: boolean): void;
}

/** A source that ends at an instant of its own. */
export interface DeadlineSource {
  /** Epoch milliseconds. */
  readonly when: number;
  /** The nearest deadline above, which is not earlier. */
  readonly parentDeadline: DeadlineSource | undefined;
  /** Its instant has come: ends the source, unless it has ended. A foreign one is asked, and may not have ended. */
  expire(): void;
}

/** The property of a context of ours that holds its source. Foreign contexts and signals have none. */
export const SOURCE: unique symbol = Symbol("gopark.source");

/**
 * The method of iterators of channels of this copy that does what `next` does, and whose wait ends with a source,
 * unless the iterator was made with a `cancel`. Iterators of others have none.
 */
export const NEXT_UNTIL: unique symbol = Symbol("gopark.nextUntil");

/** Something that can end, with its dependents. It is a dependent too, so that a child can be linked to its parent. */
export class Source implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  /**
   * Made for the first dependent. Between any two calls it is empty once `ending` is set: nothing is linked to a source
   * that has ended.
   */
  dependents: List<Dependent> | undefined = undefined;

  /** Set once, when the source ends. */
  ending: Ending | undefined = undefined;

  /**
   * The nearest deadline, here or above; undefined if there is none. It is the earliest too: a child's deadline is
   * never after its parent's. Set when the source is made.
   */
  nearestDeadline: DeadlineSource | undefined = undefined;

  /**
   * How the source ended; undefined while it has not. A deadline that has passed is seen here even if the event loop
   * does not run, at the latest by the MAX_POLLS-th poll after it.
   */
  poll(): Ending | undefined {
    if (this.ending === undefined && this.nearestDeadline !== undefined) pollDeadline(this.nearestDeadline);
    return this.ending;
  }

  /**
   * Links a wait. The process stays alive for it if there is a deadline to end it, unless it is that of a foreign
   * context. The caller then calls {@link listen}.
   */
  linkWait(d: Dependent): void {
    this.link(d);
    if (this.nearestDeadline !== undefined) refTimer();
  }

  /** Takes {@link linkWait} back, whether or not the source has ended. */
  unlinkWait(d: Dependent): void {
    this.unlink(d);
    if (this.nearestDeadline !== undefined) unrefTimer();
  }

  /** Links a dependent. The source must not have ended. The caller then calls {@link listen}. */
  link(d: Dependent): void {
    this.dependents ??= new List();
    this.dependents.push(d);
  }

  /** Unlinks a dependent; false if it was not linked here. Runs no foreign code. */
  unlink(d: Dependent): boolean {
    return this.dependents?.remove(d) ?? false;
  }

  /**
   * To be called when a dependent has been linked wherever it belongs, before the source ends. Where something foreign
   * can end the source, this begins to listen to it, which runs foreign code. That may call back in, and end the
   * dependent.
   */
  listen(): void {}

  /** How many dependents it has. */
  get size(): number {
    return this.dependents === undefined ? 0 : this.dependents.size;
  }

  /** Marks this source as ended: as the top of the tree that ends, or as a dependent in it. */
  ended(ending: Ending): Phase {
    this.ending = ending;
    return PHASE_NONE;
  }

  /** Ends this source, which has not ended, and everything below it. For `byCaller`, see {@link Dependent.afterEnd}. */
  end(ending: Ending, byCaller: boolean): void {
    this.ended(ending);
    if (this.dependents !== undefined) spread(this, ending, byCaller);
  }

  // As a waitable, a source is ready when it has ended. READY does not poll: select has done so.

  /** @internal */
  [READY](): boolean {
    return this.ending !== undefined;
  }

  /** @internal */
  [TAKE](key: string): CaseResult {
    return { case: key, value: this.ending?.error() };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    this.linkWait(parked);
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    this.unlinkWait(parked);
  }
}

/**
 * Spreads an ending through everything below a source: its own ending, or what it failed with. (A method of Source
 * would make every cancel slower.)
 */
export function spread(top: Source, topEnding: Ending, byCaller: boolean): void {
  // 1. Mark every source and claim every wait. No user code runs, but for the exceptions that wait.ts names. A
  // worklist, not recursion: a chain may be of any depth.
  const sources = [top];
  let rest: { readonly d: Dependent; readonly ending: Ending; readonly phase: Phase }[] | undefined;
  for (let i = 0; i < sources.length; i++) {
    const source = sources[i] as Source;
    // If the top could not be listened to, it has not ended, nor has the context of a signal below it. They pass on the
    // failure.
    const ending = source.ending ?? topEnding;
    const { dependents } = source;
    for (let d = dependents?.shift(); d !== undefined; d = dependents?.shift()) {
      const phase = d.ended(ending);
      if (d instanceof Source && d.dependents !== undefined) sources.push(d);
      if (phase === PHASE_NONE) continue;
      rest ??= [];
      rest.push({ d, ending, phase });
    }
  }
  if (rest === undefined) return;
  // 2. Abort the signals, whose listeners are user code. Then admit the waiters behind cancelled ones: not earlier, as
  // an abort listener may cancel one of those waiters, and a waiter that is to be cancelled must not be granted units.
  // Then queue reactions.
  for (const current of [PHASE_ABORT, PHASE_ADMIT, PHASE_REACT]) {
    for (const { d, ending, phase } of rest) {
      if (phase === current) guarded(() => d.afterEnd?.(ending, byCaller));
    }
  }
}

/** The source of what never ends. It keeps nothing of what is linked to it, so nothing can leak there. */
class Never extends Source {
  // A dependent counts as linked while its `list` is this.
  override link(d: Dependent): void {
    d.list = this;
  }

  override unlink(d: Dependent): boolean {
    const linked = d.list === this;
    d.list = undefined;
    return linked;
  }
}

export const NEVER: Source = new Never();

// Deadlines are seen by polls too: a loop that asks `ctx.err()` and never lets the event loop run would not end.
// Reading the clock costs more than a poll, so only every k-th poll of one deadline reads it. After each reading k is
// set again, to the least of: twice the old k; MAX_POLLS; the polls that fit in one millisecond; half of the polls that
// fit in the time left. The last two are estimated from the pace since the reading before. So a loop that slows down
// suddenly sees its deadline up to MAX_POLLS - 1 polls late. The first poll of another deadline reads the clock.
const MAX_POLLS = 8;
let polled: DeadlineSource | undefined;
let pollsLeft = 0;
let k = 1;
let readAt = 0;

function pollDeadline(deadline: DeadlineSource): void {
  if (deadline === polled && --pollsLeft > 0 && !timersAreReplaced()) return;
  const t = now();
  if (deadline === polled && !timersAreReplaced()) {
    const took = t - readAt;
    const remaining = deadline.when - t;
    k = Math.max(1, Math.floor(Math.min(2 * k, MAX_POLLS, k / took, (k * remaining) / (2 * took))));
  } else {
    k = 1;
  }
  polled = deadline;
  pollsLeft = k;
  readAt = t;
  if (t < deadline.when) return;
  polled = undefined;
  expire(deadline);
}

/** Expires a deadline that has passed, after those above it with the same instant, as they would fire. */
function expire(deadline: DeadlineSource): void {
  // The uppermost was armed first, and ends those below. A foreign one was not armed, and may not have ended when it is
  // asked: then the next one below ends by itself.
  const due = [deadline];
  for (let above = deadline.parentDeadline; above?.when === deadline.when; above = above.parentDeadline) {
    due.push(above);
  }
  for (let d = due.pop(); d !== undefined; d = due.pop()) d.expire();
}

/**
 * Says that the deadline will not be polled again, so that nothing here keeps it. (A foreign one does not say so, and
 * is kept until another deadline is polled.)
 */
export function forgetDeadline(deadline: DeadlineSource): void {
  if (polled === deadline) polled = undefined;
}
