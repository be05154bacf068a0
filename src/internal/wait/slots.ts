/** Slots: `size` units, granted first come, first served. Semaphores and limited groups are built on it. */
import type { Kind } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { type Wait, type Waiter, Waiters } from "./wait.ts";

/** What a waiter asks for. */
export interface UnitRequest<T> {
  /** How many units. */
  readonly n: number;
  /**
   * Called when they are granted, synchronously; returns what the wait resolves to. Runs no user code. `stack` is where
   * the wait was parked, if that was recorded: the caller at the grant is another task.
   */
  granted(stack?: string): T;
}

/** The units, and the queue of requests for them. T is what a request resolves to. */
export class Slots<T> {
  // Between any two calls:
  //   held counts the units handed out; it is over `size` only after a resize;
  //   if anyone waits, the front waiter does not fit: front.n > size - held;
  //   free = size - held, or -1 while anyone waits, so that nobody overtakes: one comparison decides whether n units
  //   can be taken.
  // Exceptions:
  //   a waiter of 0 units, while all are held, may come to the front by the cancel of the one before it; as in Go it
  //   waits for the next `give`;
  //   from a cancel to `afterCancels`, the front waiter may fit although it is not admitted yet: the same end may be
  //   about to cancel it.
  held = 0;
  free: number;
  size: number;
  readonly waiters: Waiters<T, UnitRequest<T>>;

  constructor(kind: Kind, size: number) {
    this.size = size;
    this.free = size;
    this.waiters = new Waiters<T, UnitRequest<T>>(kind, this);
  }

  /** Takes n units; the caller has checked that n <= free. */
  take(n: number): void {
    this.held += n;
    this.free -= n;
  }

  /** Parks a request that cannot be granted now. */
  park(source: Source | undefined, request: UnitRequest<T>, kind?: Kind): Promise<T> {
    this.free = -1;
    return this.waiters.park(source, request, kind);
  }

  /** Takes n off `held`: for `granted` alone, where the units that it grants will not be given back. */
  uncount(n: number): void {
    this.held -= n;
  }

  /** Gives n held units back and admits, in order, the waiters that now fit. */
  give(n: number): void {
    this.held -= n;
    if (this.waiters.size > 0) this.admit();
    else this.free += n;
  }

  /**
   * Sets how many units there are. Takes nothing back: what is held beyond the size is given back by its holders. With
   * `errorOf`, requests of more than the size are rejected with what it makes.
   */
  resize(size: number, errorOf?: (request: UnitRequest<T>) => Error): void {
    this.size = size;
    if (errorOf !== undefined) this.rejectLarger(size, errorOf);
    this.admit();
  }

  /** A waiter has been cancelled. If none is left, a later call overtakes nobody, and may take what is free. */
  onCancel(): void {
    if (this.waiters.size === 0) this.free = this.size - this.held;
  }

  /** The front waiter may have been cancelled: those behind it may fit. */
  afterCancels(): void {
    if (this.held < this.size) this.admit();
  }

  private rejectLarger(size: number, errorOf: (request: UnitRequest<T>) => Error): void {
    let next: Waiter<T, UnitRequest<T>> | undefined;
    for (let w = this.waiters.front; w !== undefined; w = next) {
      next = w.next as typeof next;
      if (w.value.n <= size) continue;
      this.waiters.remove(w);
      w.reject(errorOf(w.value));
    }
  }

  private admit(): void {
    const { waiters } = this;
    for (let w = waiters.front; w !== undefined; w = waiters.front) {
      const request = w.value;
      // Stop at the first waiter that does not fit, though a smaller one behind it might. Take a semaphore used as a
      // read-write lock: readers acquire 1, the writer acquires `size`. If readers could overtake, there would always
      // be a unit out and the writer would wait forever.
      if (request.n > this.size - this.held) return;
      waiters.remove(w);
      this.held += request.n;
      w.resolve(request.granted((w as Partial<Wait<T, UnitRequest<T>>>).dependent?.stack));
    }
    this.free = this.size - this.held;
  }
}
