/**
 * What ends a wait early: the sources behind contexts and abort signals, and how an end spreads through them.
 *
 * Every `Cancel` leads to one {@link Source}. What hangs on it, parked waits and child contexts alike, is linked into
 * the source's list, so that joining and leaving are O(1), and a foreign signal carries one listener however many wait.
 */
import type { Context } from "../../context.ts";
import { type Element, List } from "../data/list.ts";
import { guarded } from "../host/async.ts";
import { timersAreMocked } from "../host/host.ts";
import { now } from "../time/clock.ts";
import { refTimer, unrefTimer } from "../time/timers.ts";
import type { Ending } from "./endings.ts";
import {
  ABORT,
  ADMIT,
  type Aftermath,
  DEQUEUE,
  ENQUEUE,
  NOTHING,
  type Outcome,
  type Parked,
  REACT,
  READY,
  TAKE,
} from "./waitable.ts";

/** What can end a wait early, wherever one is taken. */
export type Cancel = Context | AbortSignal;

/** Something that hangs on a source. */
export interface Dependent extends Element {
  /**
   * Called once, already unlinked, when the source has ended. Others in the tree may not know it yet, so this calls no
   * user code and wakes nobody but its own wait. Says what remains to be done when all of them know, by {@link settle}.
   */
  ended(ending: Ending): Aftermath;

  /**
   * Called after everything in the tree has ended, if `ended` asked for it. `inside` says whether that is inside the
   * call that ended the tree, and so on that caller's behalf; otherwise user code is to run in a later microtask.
   */
  settle?(ending: Ending, inside: boolean): void;
}

/** A source that ends at an instant of its own. */
export interface DeadlineSource {
  /** Epoch milliseconds. */
  readonly when: number;
  /** The nearest deadline above, which is not earlier. */
  readonly aboveDeadline: DeadlineSource | undefined;
  /** Ends the source because its instant has come. Does nothing if it has ended. */
  expire(): void;
}

/** The key of an own context's source. Foreign contexts and signals have none. */
export const SOURCE: unique symbol = Symbol("gopark.source");

/** Something that can end, with what hangs on it. Being a dependent, it can hang on another: a child context. */
export class Source implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  // Made for the first dependent. Empty once `ending` is set: nothing joins an ended source.
  protected dependents: List<Dependent> | undefined = undefined;

  /** Set once, when the source ends. */
  ending: Ending | undefined = undefined;

  /** The earliest deadline here or above; undefined if there is none. Set when the source is made. */
  deadlineSource: DeadlineSource | undefined = undefined;

  /** How the source ended; undefined while it has not. A deadline that has passed is seen without the event loop. */
  poll(): Ending | undefined {
    if (this.ending === undefined && this.deadlineSource !== undefined) pollDeadline(this.deadlineSource);
    return this.ending;
  }

  /** Links a wait, for which the process stays alive if a deadline is going to end it. Then comes {@link listen}. */
  join(d: Dependent): void {
    this.attach(d);
    if (this.deadlineSource !== undefined) refTimer();
  }

  /** Ends what {@link join} began, whether or not the source has ended. */
  leave(d: Dependent): void {
    this.detach(d);
    if (this.deadlineSource !== undefined) unrefTimer();
  }

  /** Links a dependent. The source must not have ended. Then comes {@link listen}. */
  attach(d: Dependent): void {
    this.dependents ??= new List();
    this.dependents.push(d);
  }

  /** Unlinks a dependent; false if it was not linked here. Runs no foreign code. */
  detach(d: Dependent): boolean {
    return this.dependents?.remove(d) ?? false;
  }

  /**
   * To be called when a dependent has been linked wherever it belongs: where the source is behind something foreign,
   * this begins to listen to it, which runs foreign code. That may call back in, and end the dependent.
   */
  listen(): void {}

  /** How many hang on this source. */
  get size(): number {
    return this.dependents === undefined ? 0 : this.dependents.size;
  }

  /** Marks this source as ended, being a dependent of another. */
  ended(ending: Ending): Aftermath {
    this.ending = ending;
    return NOTHING;
  }

  /** Ends this source, which has not ended, and everything below it. For `inside`, see {@link Dependent.settle}. */
  end(ending: Ending, inside: boolean): void {
    this.ended(ending);
    if (this.dependents !== undefined) spread(this, ending, inside);
  }

  /** The dependent that is linked first, unlinked; undefined if there is none. */
  shift(): Dependent | undefined {
    return this.dependents?.shift();
  }

  // A source speaks the protocol of waitables: as a case it is ready when it has ended. It does not ask what is
  // outside: select has polled when it read its cases, and runs no foreign code after that.

  /** @internal */
  [READY](): boolean {
    return this.ending !== undefined;
  }

  /** @internal */
  [TAKE](key: string): Outcome {
    return { case: key, value: this.ending?.error() };
  }

  /** @internal */
  [ENQUEUE](parked: Parked): void {
    this.join(parked);
  }

  /** @internal */
  [DEQUEUE](parked: Parked): void {
    this.leave(parked);
  }
}

/** Spreads an ending through everything below a source. */
export function spread(top: Source, topEnding: Ending, inside: boolean): void {
  // 1. Tell everyone: mark every source, claim every wait. A worklist, not recursion: a chain may be of any depth.
  const sources = [top];
  const endings = [topEnding];
  let rest: { readonly d: Dependent; readonly ending: Ending; readonly aftermath: Aftermath }[] | undefined;
  for (const [i, source] of sources.entries()) {
    const ending = endings[i] as Ending;
    for (let d = source.shift(); d !== undefined; d = source.shift()) {
      const aftermath = d.ended(ending);
      if (d instanceof Source) {
        sources.push(d);
        endings.push(d.ending ?? ending);
      }
      if (aftermath === NOTHING) continue;
      rest ??= [];
      rest.push({ d, ending, aftermath });
    }
  }
  if (rest === undefined) return;
  // 2. Abort the signals, whose listeners are user code. 3. Admit the waiters that were held back; not before the
  // signals are aborted, for one of those may end a waiter that would be granted what it is about to be refused. 4.
  // Queue what reacts.
  for (const step of [ABORT, ADMIT, REACT]) {
    for (const { d, ending, aftermath } of rest) {
      if (aftermath === step) guarded(() => d.settle?.(ending, inside));
    }
  }
}

/** The source of what never ends. It keeps nothing, and so leaks nothing, of what is linked to it. */
class Never extends Source {
  // A dependent counts as linked while its `list` is this.
  override attach(d: Dependent): void {
    d.list = this;
  }

  override detach(d: Dependent): boolean {
    const attached = d.list === this;
    d.list = undefined;
    return attached;
  }
}

export const NEVER: Source = new Never();

// Deadlines are seen by polling too: a loop that asks `ctx.err()` and never lets the event loop turn would not end. The
// clock costs more than a poll, so polls of one deadline are counted, and the clock is looked at every so many: at most
// twice as many as before, at most as many as took a millisecond at the last pace, and at most half of those that are
// left before the deadline. The first poll of another deadline looks at once.
const MOST_POLLS = 8;
let polled: DeadlineSource | undefined;
let pollsLeft = 0;
let polls = 1;
let lookedAt = 0;

function pollDeadline(deadline: DeadlineSource): void {
  if (deadline === polled && --pollsLeft > 0 && !timersAreMocked()) return;
  const t = now();
  if (deadline === polled && !timersAreMocked()) {
    const took = t - lookedAt;
    const remaining = deadline.when - t;
    polls = Math.max(1, Math.floor(Math.min(2 * polls, MOST_POLLS, polls / took, (polls * remaining) / (2 * took))));
  } else {
    polls = 1;
  }
  polled = deadline;
  pollsLeft = polls;
  lookedAt = t;
  if (t < deadline.when) return;
  polled = undefined;
  // Of equal instants, the one above was armed first.
  let due = deadline;
  for (let above = due.aboveDeadline; above !== undefined && above.when <= t; above = above.aboveDeadline) {
    if (above.when <= due.when) due = above;
  }
  due.expire();
}

/** The deadline will not be polled again: nothing here keeps it. */
export function forgetDeadline(deadline: DeadlineSource): void {
  if (polled === deadline) polled = undefined;
}
