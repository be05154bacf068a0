/**
 * Single flight: callers that ask for the same key at the same time share one run of the work.
 *
 * Rules of use:
 *
 * - One group for each sort of work, shared by all of its callers. Keys are compared as those of a Map are.
 * - Pass the work's own context on: `group.do(id, (ctx) => load(id, ctx), cancel)`. It ends when the last caller has
 *   left. The caller's `cancel` ends one caller's waiting only.
 * - Give the work a deadline of its own, by `context.withTimeout(ctx, ms)`. The context of the work has none, and work
 *   that hangs blocks its key as long as callers keep coming.
 * - All callers get the very same value. Copy it before you change it; `shared` says whether others may have it.
 * - A group keeps nothing: the next caller after the work has ended starts it again. To keep results, use `getOrLoad`
 *   of a ShardMap.
 *
 * ```ts
 * import { singleflight } from "gopark";
 *
 * const users = new singleflight.Group<number, string>();
 * let runs = 0;
 * const load = async () => `user ${++runs}`;
 * const [a, b] = await Promise.all([users.do(7, load), users.do(7, load)]);
 * console.log(a.value, b.value, b.shared);
 * console.log((await users.do(7, load)).value);
 * // Output:
 * // user 1 user 1 true
 * // user 2
 * ```
 *
 * Ports golang.org/x/sync/singleflight. Differences from Go:
 *
 * - `do` takes a `cancel` of the caller's, which ends that caller's waiting. In Go a caller of `Do` waits for the work,
 *   whatever happens; `DoChan` is how to stop waiting. So there is no `DoChan`: `do` returns a promise.
 * - The work is given a context, which is cancelled when its last caller has left, and its key is forgotten then. In Go
 *   nothing ends the work.
 * - `do` resolves to `{ value, shared }`, and rejects with what the work throws or rejects with: all callers with the
 *   same object. `shared` is lost then.
 * - Work that throws has failed as work that rejects has. In Go a panic goes through every `Do`, wrapped, and ends the
 *   program if there is a `DoChan`.
 * - If nobody waits any more when the work fails, its error is dropped.
 * - Keys may be of any type. Objects are compared by identity, `NaN` is equal to `NaN`, and 0 to -0. In Go they are
 *   strings.
 */
import { background, type Cancel, type Context, withoutCancel } from "./context.ts";
import { failedWith, notAFunction } from "./internal/time/turn.ts";
import { Kind, type PublicFunction } from "./internal/track/tracker.ts";
import { CancelContext } from "./internal/wait/contexts.ts";
import { Canceled, Cancellation } from "./internal/wait/endings.ts";
import { Flight, Flights } from "./internal/wait/flight.ts";
import { optionalSource } from "./internal/wait/foreign.ts";
import type { Source } from "./internal/wait/source.ts";

// The public functions at which the stack of a record begins.
const entryPoints = (): PublicFunction[] => [Group.prototype.do];
const DO = new Kind("singleflight do", "wait", entryPoints);
const WORK = new Kind("singleflight work", "task", entryPoints);

/** What {@link Group.do} resolves to: the value, and whether more than one call has asked for it. */
export interface Result<V> {
  readonly value: V;
  /** Whether other calls have joined the same run, even if they have left since. */
  readonly shared: boolean;
}

/** What {@link Group.do} runs. `ctx` ends when nobody waits for the result any more. */
export type Work<V> = (ctx: Context) => V | PromiseLike<V>;

/** One run of the work. Its end is a context. */
class WorkFlight<K, V> extends Flight<K, V, Result<V>> {
  private readonly work: Work<V>;

  // Has the first caller's values.
  private readonly values: Context;

  // Set when the work begins. Nothing holds it but the work: it is not counted as a context that someone must cancel.
  private ctx: CancelContext | undefined = undefined;

  constructor(flights: Flights<K, V, Result<V>>, key: K, work: Work<V>, values: Context) {
    super(flights, key);
    this.work = work;
    this.values = values;
  }

  protected override begin(): V | PromiseLike<V> {
    const { values, work } = this;
    this.ctx = new CancelContext(values);
    return work(this.ctx);
  }

  protected override cancelWork(reason: unknown): void {
    // Not by the caller: abort listeners of the work run in its own async context, not in that of the last to leave.
    this.ctx?.end(new Cancellation(Canceled, reason), false);
  }

  protected override endsWithWork(source: Source): boolean {
    return this.ctx !== undefined && source instanceof CancelContext && source.isUnder(this.ctx);
  }

  protected override store(): void {}

  protected override answer(value: V, shared: boolean): Result<V> {
    return { value, shared };
  }
}

/** A namespace of keys, in which each key's work runs once at a time. */
export class Group<K, V> {
  readonly #flights = new Flights<K, V, Result<V>>(DO, WORK);

  /**
   * Calls `fn` and resolves to its result, unless work for the key is running: then it waits for that, and `fn` is not
   * called. `fn` starts in a microtask, never inside this call, and runs in the async context of the first caller. The
   * value is the same object for all callers.
   *
   * `fn` is given a context with the values of the first caller's `cancel`, and without its deadline and its end. It is
   * cancelled when the last caller has left, with that caller's error as its cause, and stays live if `fn` has ended
   * before: its result, a stream say, may go on using it. If all callers leave before `fn` has started, it is not
   * called.
   *
   * Rejects, while other callers go on waiting, with the context's error or the signal's reason, if `cancel` has ended
   * (then no work is started or joined) or ends while waiting; and with TypeError if `fn` is not a function. Rejects
   * with the error of `fn`, if that throws or rejects; so do all calls that wait for it, with the same object. The next
   * caller starts new work in either case.
   *
   * Work whose callers have all left may still be running when the next caller starts it again: it should listen to its
   * context. Work that never ends is counted as `singleflight work`.
   *
   * An `fn` that awaits `do` of its own key waits for itself, for ever. If it passes its context, or one derived from
   * that, as `cancel`, the wait ends when all callers from outside have left. An `fn` that forgets its key first starts
   * new work. Two works that await each other's keys wait for ever, too.
   */
  do(key: K, fn: Work<V>, cancel?: Cancel): Promise<Result<V>> {
    if (typeof fn !== "function") return notAFunction(fn, "do: fn");
    const source = optionalSource(cancel);
    const ending = source?.poll();
    if (ending !== undefined) return failedWith(ending.error());
    const running = this.#flights.get(key);
    if (running !== undefined) return running.join(source);
    let values: Context;
    try {
      values = cancel === undefined ? background() : withoutCancel(cancel);
    } catch (error) {
      return failedWith(error); // A foreign context that throws fails its own call, not those that join.
    }
    // That asked a foreign context what it is, which may have called back in.
    if (source?.ending !== undefined || this.#flights.get(key) !== undefined) return this.do(key, fn, cancel);
    return this.#flights.start(new WorkFlight(this.#flights, key, fn, values), source);
  }

  /**
   * Lets the next caller of the key start new work, even if work for it is running. That goes on, and the calls that
   * wait for it get its result. Does nothing if there is none. O(1).
   */
  forget(key: K): void {
    this.#flights.forget(key);
  }
}
