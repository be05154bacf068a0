/**
 * Slots: n units, handed out first come, first served. What semaphores, and groups under a limit, stand on.
 */
import type { Kind } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { Waiters } from "./wait.ts";

/** What a waiter asks for. */
export interface Asked<T> {
  /** How many units. */
  readonly n: number;
  /** Called when they are granted, synchronously; returns what the wait resolves to. Runs no user code. */
  granted(): T;
}

export class Slots<T> {
  // Between any two calls:
  //   held counts the units handed out; it is over `size` only after a resize;
  //   if anyone waits, the front waiter does not fit: front.n > size - held. (One of 0 units, when all are held, may
  //   have come to the front by the cancel of the one before it; as in Go it waits for the next `give`.)
  //   free = size - held, or less while anyone waits: nobody overtakes, and one comparison tells whether n units can be
  //   taken. After a cancel it stays so until everyone knows: what was given up must not be granted to a waiter that the
  //   same cancel is about to end.
  held = 0;
  free: number;
  size: number;
  readonly waiters: Waiters<T, Asked<T>>;

  constructor(kind: Kind, size: number) {
    this.size = size;
    this.free = size;
    this.waiters = new Waiters<T, Asked<T>>(kind, this);
  }

  /** Takes n units; the caller has checked that n <= free. */
  take(n: number): void {
    this.held += n;
    this.free -= n;
  }

  /** Waits for what is not free. */
  park(source: Source | undefined, asked: Asked<T>, kind?: Kind): Promise<T> {
    this.free = -1;
    return this.waiters.park(source, asked, kind);
  }

  /** Gives n held units back and admits, in order, the waiters that now fit. */
  give(n: number): void {
    this.held -= n;
    if (this.waiters.size > 0) this.admit();
    else this.free += n;
  }

  /** Sets how many units there are. Takes nothing back: what is held beyond the size is given back in its time. */
  resize(size: number): void {
    this.size = size;
    this.admit();
  }

  /** The front waiter may have been cancelled: those behind it may fit. */
  abandoned(): void {
    if (this.held < this.size) this.admit();
    else if (this.waiters.size === 0) this.free = this.size - this.held;
  }

  private admit(): void {
    const { waiters } = this;
    for (let w = waiters.front; w !== undefined; w = waiters.front) {
      const asked = w.value;
      // Stop at the first waiter that does not fit, though a smaller one behind it might. Take a semaphore used as a
      // read-write lock: readers acquire 1, the writer acquires `size`. If readers could overtake, there would always
      // be a unit out and the writer would wait forever.
      if (asked.n > this.size - this.held) return;
      waiters.remove(w);
      this.held += asked.n;
      w.resolve(asked.granted());
    }
    this.free = this.size - this.held;
  }
}
