/** Single flight: work that runs once for all callers that ask for the same key while it runs. */
import { guarded } from "../host/async.ts";
import { completed } from "../time/turn.ts";
import { enter, exit, isObserved, type Kind, runTask } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { type CancelHooks, type Wait, Waiters } from "./wait.ts";

/**
 * Whose wait it is: a caller's, or that of the work itself, which ends when the work is cancelled. The work's own wait
 * does not keep the work going.
 */
type Role = "caller" | "work";

// The flights whose work is being cancelled, in order. Empty between any two calls.
const cancelling: { cancelNow(): void }[] = [];

/**
 * The work for a key, which resolves to a V, and its callers, which are answered with an A. The subclass says what
 * runs, how that is told that nobody waits any more, and what becomes of the result.
 */
export abstract class Flight<K, V, A> implements CancelHooks<Wait<A, Role>> {
  // Between any two calls:
  //   while anyone waits, the work has not ended;
  //   until the work has ended, `callers` is how many callers wait; while it is not 0, the flight is not cancelled;
  //   once it is cancelled, it is not in its Flights.
  // Exception: from a cancel to `afterCancels`, the flight may have no callers and not be cancelled. An abort listener
  // that joins it then keeps it going.
  private readonly flights: Flights<K, V, A>;
  private readonly waiters: Waiters<A, Role>;

  // How many calls have joined, those by the work among them.
  private joined = 0;
  private callers = 0;

  // Set when the last caller has been cancelled.
  private cancelled = false;

  // What the caller that was cancelled last was rejected with.
  private reason: unknown = undefined;

  readonly key: K;

  constructor(flights: Flights<K, V, A>, key: K) {
    this.flights = flights;
    this.key = key;
    this.waiters = new Waiters<A, Role>(flights.waitKind, this);
  }

  /** Begins the work. Called once, in the first caller's async context, unless all callers have left before. */
  protected abstract begin(): V | PromiseLike<V>;

  /**
   * Tells the work, if it has begun, that the last caller has left. Runs no user code. `reason` is what that one was
   * rejected with.
   */
  protected abstract cancelWork(reason: unknown): void;

  /** Whether a wait on this source ends when the work is cancelled. False before the work has begun. */
  protected abstract endsWithWork(source: Source): boolean;

  /** Called with a result that is still wanted, before anybody is answered. */
  protected abstract store(value: V): void;

  /** What a caller is answered with. `shared`: whether more than one has joined. */
  protected abstract answer(value: V, shared: boolean): A;

  /** Waits for the work's end. `source` has not ended. */
  join(source: Source | undefined): Promise<A> {
    const byWork = source !== undefined && this.endsWithWork(source);
    this.joined++;
    if (!byWork) this.callers++;
    return this.waiters.park(source, byWork ? "work" : "caller");
  }

  /** Runs the work, and answers the waiters. Called once, before the first of them joins, in the same turn. */
  async run(): Promise<void> {
    const { flights } = this;
    const record = enter(flights.workKind);
    this.waiters.addHolder(record);
    let failed = false;
    let result: unknown;
    try {
      await completed();
      if (this.cancelled) return; // Before the work began.
      const value = await (isObserved() ? runTask(() => this.begin(), record) : this.begin());
      if (flights.isCurrent(this)) this.store(value);
      result = value;
    } catch (error) {
      failed = true;
      result = error;
    } finally {
      exit(flights.workKind, record);
      this.waiters.removeHolder(record);
    }
    // Outside the `try`, so that nothing that is thrown here is taken for an error of the work. When the callers are
    // woken, the work is no longer counted, and its key is free for new work.
    flights.forgetFlight(this);
    if (failed) this.waiters.rejectAll(result);
    else this.answerAll(result as V);
  }

  private answerAll(value: V): void {
    const shared = this.joined > 1;
    for (let w = this.waiters.shift(); w !== undefined; w = this.waiters.shift()) w.resolve(this.answer(value, shared));
  }

  onCancel(wait: Wait<A, Role>, reason: unknown): void {
    if (wait.value === "work") return;
    this.callers--;
    this.reason = reason;
  }

  afterCancels(): void {
    if (this.callers > 0 || this.cancelled) return;
    this.cancelled = true;
    this.flights.forgetFlight(this);
    // The end of this work may end the last caller of other work, and come back here. A list, not recursion: a chain of
    // flights may be of any depth.
    cancelling.push(this);
    if (cancelling.length > 1) return;
    for (const flight of cancelling) guarded(() => flight.cancelNow());
    cancelling.length = 0;
  }

  /** @internal */
  cancelNow(): void {
    this.cancelWork(this.reason);
  }
}

/** The flights of one owner, by key. */
export class Flights<K, V, A> {
  // The flights whose results are wanted. A key that is forgotten is not in it, though its work may go on.
  private readonly current = new Map<K, Flight<K, V, A>>();

  /** Counts the waits. */
  readonly waitKind: Kind;

  /** Counts the running work. */
  readonly workKind: Kind;

  constructor(waitKind: Kind, workKind: Kind) {
    this.waitKind = waitKind;
    this.workKind = workKind;
  }

  /** The flight that a caller of the key joins; undefined if there is none, and the caller starts one. */
  get(key: K): Flight<K, V, A> | undefined {
    return this.current.get(key);
  }

  /** Starts a flight, whose key has none, and joins it. `source` has not ended. */
  start(flight: Flight<K, V, A>, source: Source | undefined): Promise<A> {
    this.current.set(flight.key, flight);
    void flight.run();
    return flight.join(source);
  }

  /** The next caller for the key starts new work. The callers that wait now still get the result of the old. */
  forget(key: K): void {
    if (this.current.size > 0) this.current.delete(key);
  }

  /** Forgets every key. */
  clear(): void {
    this.current.clear();
  }

  isCurrent(flight: Flight<K, V, A>): boolean {
    return this.current.get(flight.key) === flight;
  }

  /** Forgets the flight's key, unless that has been forgotten and may have another flight now. */
  forgetFlight(flight: Flight<K, V, A>): void {
    if (this.isCurrent(flight)) this.current.delete(flight.key);
  }
}
