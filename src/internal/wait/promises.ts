/**
 * Native promises as cases of selects.
 *
 * A promise cannot take a reaction back. So each promise gets one, when a select first sees it, however many selects
 * wait for it and however often. The reaction keeps one {@link PromiseCases} alive, where parked cases are linked and
 * unlinked in O(1). (`Promise.race` adds a reaction in each call, and a promise that lives long keeps them all.)
 */
import { List } from "../data/list.ts";
import { inRootContext } from "../host/async.ts";
import { isFull } from "../track/tracker.ts";
import { type Ending, Failed } from "./endings.ts";
import { RECEIVE } from "./receive.ts";
import { kindOfWait } from "./wait.ts";
import { type CaseResult, DEQUEUE, ENQUEUE, type Parked, READY, TAKE, type Waitable } from "./waitable.ts";

/** How a promise was settled, or the cases that wait for it. Does not refer to the promise. */
class PromiseCases implements Waitable {
  // Made for the first case that parks. Between any two calls it is empty once `ending` is set.
  private parked: List<Parked> | undefined = undefined;

  // Set once, by the reaction: a Failed for a rejection, else an ending whose `error` is the value.
  private ending: Ending | undefined = undefined;

  /** Claims every select that is parked on the promise. */
  settle(ending: Ending): void {
    this.ending = ending;
    for (let c = this.parked?.shift(); c !== undefined; c = this.parked?.shift()) c.ended(ending);
  }

  [READY](): boolean {
    return this.ending !== undefined;
  }

  [TAKE](key: string): CaseResult {
    const ending = this.ending as Ending;
    if (ending.failed === true) throw ending.error();
    return { case: key, value: ending.error() };
  }

  [ENQUEUE](parked: Parked): void {
    this.parked ??= new List();
    this.parked.push(parked);
  }

  [DEQUEUE](parked: Parked): void {
    this.parked?.remove(parked);
  }
}

const casesOf = new WeakMap<object, PromiseCases>();

// Of this realm, as it was when the library was loaded. It works on the promises of any realm, and on nothing else.
const { then } = Promise.prototype;

/**
 * The waitable of a native promise; undefined if `it` is something else. A promise that was not seen before gets its
 * reaction here. Its own `then` is not called; if it is of a subclass, the constructor is, as in any `then` of the
 * language, and what that throws is thrown. Throws TypeError for an object that only inherits from Promise.
 */
export function waitableOfPromise(it: unknown): Waitable | undefined {
  const known = casesOf.get(it as object);
  if (known !== undefined) return known;
  const cases = new PromiseCases();
  try {
    inRootContext(() => react(it, cases));
  } catch (error) {
    if (it instanceof Promise) throw error;
    return undefined;
  }
  casesOf.set(it as object, cases);
  return cases;
}

/** A function of its own, so that the reaction's closures capture the cases alone: not the promise, nor its caller. */
function react(promise: unknown, cases: PromiseCases): void {
  void then.call(
    promise,
    (value: unknown) => cases.settle({ error: () => value, cause: () => value }),
    (reason: unknown) => cases.settle(new Failed(reason)),
  );
}

/**
 * Whether `it` is the promise of a receive that has waited: if another case won, the receive would stay parked, and
 * take a value that nobody gets. Known under full tracking only.
 */
export function isReceiving(it: unknown): boolean {
  return isFull() && kindOfWait(it) === RECEIVE;
}

/** What to pass instead of a thenable. */
export function hintForThenable(it: unknown): string {
  try {
    if (typeof (it as { then?: unknown }).then === "function") return ": pass Promise.resolve(it)";
  } catch {
    // A getter that throws: there is no hint then.
  }
  return "";
}
