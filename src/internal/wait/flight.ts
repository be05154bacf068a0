/** Single flight: work that is done once for all who ask for the same key meanwhile. */
import { reaction } from "../host/async.ts";
import { completed } from "../time/turn.ts";
import { enter, exit, type Kind } from "../track/tracker.ts";
import { sourceOf } from "./foreign.ts";
import type { Source } from "./source.ts";
import { type Resource, type Wait, Waiters } from "./wait.ts";

/** The work for a key. The signal aborts when nobody waits for it any more. */
export type Work<V> = (signal: AbortSignal) => V | PromiseLike<V>;

/** How a caller waits. One that the work itself has called, by its own signal, does not count as a caller. */
type Caller = "outside" | "inside";

class Flight<V> implements Resource<Wait<V, Caller>> {
  readonly waiters: Waiters<V, Caller>;
  readonly controller: AbortController = new AbortController();

  // Of the waiters, those that are outside.
  callers = 0;

  /** Set when the last caller has left. */
  givenUp = false;

  private readonly forget: () => void;
  private readonly abort: () => void;
  private reason: unknown = undefined;

  constructor(kind: Kind, forget: () => void) {
    this.waiters = new Waiters<V, Caller>(kind, this);
    this.forget = forget;
    // Abort listeners run in the async context of whoever asked first, not of whoever leaves last.
    this.abort = reaction(() => this.controller.abort(this.reason));
  }

  join(source: Source | undefined): Promise<V> {
    const inside = source !== undefined && source === sourceOf(this.controller.signal);
    if (!inside) this.callers++;
    return this.waiters.park(source, inside ? "inside" : "outside");
  }

  cancelled(wait: Wait<V, Caller>, reason: unknown): void {
    if (wait.value === "inside") return;
    this.callers--;
    this.reason = reason;
  }

  abandoned(): void {
    if (this.callers > 0 || this.givenUp) return;
    this.givenUp = true;
    this.forget();
    this.abort();
  }
}

export class Flights<K, V> {
  // Those whose results are wanted; a key that is forgotten is not in it, though its work may go on.
  readonly #flights = new Map<K, Flight<V>>();
  readonly #waiting: Kind;
  readonly #working: Kind;
  readonly #land: (key: K, value: V) => void;

  /** `waiting` and `working` count callers and running work; `land` gets each result that is still wanted. */
  constructor(waiting: Kind, working: Kind, land: (key: K, value: V) => void) {
    this.#waiting = waiting;
    this.#working = working;
    this.#land = land;
  }

  /** Waits for the work of the key, which is begun if it is not going on. `source` has not ended. */
  join(key: K, work: Work<V>, source: Source | undefined): Promise<V> {
    let flight = this.#flights.get(key);
    if (flight !== undefined) return flight.join(source);
    flight = new Flight<V>(this.#waiting, () => this.#forget(key, flight as Flight<V>));
    this.#flights.set(key, flight);
    const joined = flight.join(source);
    void this.#fly(flight, key, work);
    return joined;
  }

  /** Whoever asks for the key from now on begins new work. Those who wait still get the result of the old. */
  forget(key: K): void {
    if (this.#flights.size > 0) this.#flights.delete(key);
  }

  /** Forgets every key. */
  clear(): void {
    this.#flights.clear();
  }

  #forget(key: K, flight: Flight<V>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }

  async #fly(flight: Flight<V>, key: K, work: Work<V>): Promise<void> {
    const entry = enter(this.#working);
    let settle: () => void;
    try {
      await completed();
      if (flight.givenUp) return; // Before the work began.
      const value = await work(flight.controller.signal);
      settle = () => flight.waiters.wakeAll(value);
      if (this.#flights.get(key) === flight) this.#land(key, value);
    } catch (error) {
      settle = () => flight.waiters.failAll(error);
    } finally {
      exit(this.#working, entry);
    }
    this.#forget(key, flight);
    settle();
  }
}
