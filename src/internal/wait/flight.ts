/** Single flight: work that runs once for all callers that ask for the same key while it runs. */
import { reaction } from "../host/async.ts";
import { completed } from "../time/turn.ts";
import { enter, exit, type Kind } from "../track/tracker.ts";
import { sourceOf } from "./foreign.ts";
import type { Source } from "./source.ts";
import { type CancelHooks, type Wait, Waiters } from "./wait.ts";

/** The work for a key. The signal aborts when nobody waits for it any more. */
export type Work<V> = (signal: AbortSignal) => V | PromiseLike<V>;

/**
 * Whose wait it is: a caller's, or that of the work itself, which waits under its own signal. The work's own wait does
 * not keep the work going.
 */
type Role = "caller" | "work";

class Flight<V> implements CancelHooks<Wait<V, Role>> {
  readonly waiters: Waiters<V, Role>;
  readonly controller: AbortController = new AbortController();

  // How many callers have joined and not been cancelled.
  callers = 0;

  /** Set when the last caller has been cancelled. */
  cancelled = false;

  private readonly forget: () => void;
  private readonly abort: () => void;
  private reason: unknown = undefined;

  constructor(kind: Kind, forget: () => void) {
    this.waiters = new Waiters<V, Role>(kind, this);
    this.forget = forget;
    // Abort listeners run in the async context of the first caller, not of the last one to be cancelled.
    this.abort = reaction(() => this.controller.abort(this.reason));
  }

  join(source: Source | undefined): Promise<V> {
    const byWork = source !== undefined && source === sourceOf(this.controller.signal);
    if (!byWork) this.callers++;
    return this.waiters.park(source, byWork ? "work" : "caller");
  }

  onCancel(wait: Wait<V, Role>, reason: unknown): void {
    if (wait.value === "work") return;
    this.callers--;
    this.reason = reason;
  }

  afterCancels(): void {
    if (this.callers > 0 || this.cancelled) return;
    this.cancelled = true;
    this.forget();
    this.abort();
  }
}

/** The work that runs now, at most one piece of work that is wanted for each key. */
export class Flights<K, V> {
  // The flights whose results are wanted. A key that is forgotten is not in it, though its work may go on.
  readonly #flights = new Map<K, Flight<V>>();
  readonly #waitKind: Kind;
  readonly #workKind: Kind;
  readonly #store: (key: K, value: V) => void;

  /** `waitKind` counts the callers, `workKind` the running work; `store` gets each result that is still wanted. */
  constructor(waitKind: Kind, workKind: Kind, store: (key: K, value: V) => void) {
    this.#waitKind = waitKind;
    this.#workKind = workKind;
    this.#store = store;
  }

  /** Waits for the work of the key, which is started if it is not running. `source` has not ended. */
  join(key: K, work: Work<V>, source: Source | undefined): Promise<V> {
    let flight = this.#flights.get(key);
    if (flight !== undefined) return flight.join(source);
    flight = new Flight<V>(this.#waitKind, () => this.#forgetIfCurrent(key, flight as Flight<V>));
    this.#flights.set(key, flight);
    const joined = flight.join(source);
    void this.#run(flight, key, work);
    return joined;
  }

  /** The next caller for the key starts new work. The callers that wait now still get the result of the old. */
  forget(key: K): void {
    if (this.#flights.size > 0) this.#flights.delete(key);
  }

  /** Forgets every key. */
  clear(): void {
    this.#flights.clear();
  }

  #forgetIfCurrent(key: K, flight: Flight<V>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }

  async #run(flight: Flight<V>, key: K, work: Work<V>): Promise<void> {
    const record = enter(this.#workKind);
    // Called last: when the callers are woken, the work is no longer counted, and its key is free for new work. Outside
    // the `try`, so that nothing that it throws is taken for an error of the work.
    let deliver: () => void;
    try {
      await completed();
      if (flight.cancelled) return; // Before the work began.
      const value = await work(flight.controller.signal);
      deliver = () => flight.waiters.wakeAll(value);
      if (this.#flights.get(key) === flight) this.#store(key, value);
    } catch (error) {
      deliver = () => flight.waiters.rejectAll(error);
    } finally {
      exit(this.#workKind, record);
    }
    this.#forgetIfCurrent(key, flight);
    deliver();
  }
}
