/** Waiters in the order of their priorities and, among equals, of their arrival. */
import { Heap, type HeapItem } from "../data/heap.ts";
import { Holder, type Kind } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { type CancelHooks, type Wait, type Waiter, Waiters } from "./wait.ts";

/** The priority whose level is kept while nobody waits in it: most callers give none. */
const USUAL = 0;

/** Those that wait with one priority. */
class Level<T, V> implements HeapItem, CancelHooks<Wait<T, V>> {
  readonly priority: number;
  readonly when: number;
  index = -1;
  readonly waiters: Waiters<T, V>;
  private readonly queue: PriorityWaiters<T, V>;

  constructor(queue: PriorityWaiters<T, V>, kind: Kind, priority: number) {
    this.queue = queue;
    this.priority = priority;
    this.when = -priority; // The heap's front is the lowest.
    this.waiters = new Waiters<T, V>(kind, this, queue.holder);
  }

  onCancel(): void {
    this.queue.left(this);
  }

  afterCancels(): void {
    this.queue.afterCancels();
  }
}

/**
 * A queue of waiters with priorities, higher ones first. To park, to take the first and to unlink any one of them is
 * O(log p) in the number of different priorities that wait.
 */
export class PriorityWaiters<T, V = undefined> {
  // Between any two calls:
  //   size is the number of those that wait in all levels;
  //   order has the levels in which somebody waits;
  //   levels has these and the usual one, by priority.
  size = 0;
  private readonly levels = new Map<number, Level<T, V>>();
  private readonly order = new Heap<Level<T, V>>();
  private readonly kind: Kind;

  /** The holders of what is waited for here, where they are known; one that lets go is enough to end a wait. */
  readonly holder: Holder = new Holder("one");

  /** See {@link CancelHooks.afterCancels}. */
  readonly afterCancels: () => void;

  constructor(kind: Kind, afterCancels: () => void) {
    this.kind = kind;
    this.afterCancels = afterCancels;
  }

  /** Parks a wait behind all of its priority; see {@link Waiters.park}. `priority` is not NaN. */
  park(source: Source | undefined, value: V, priority: number): Promise<T> {
    return this.join(priority).park(source, value);
  }

  /** Links a wait that is in no queue behind all of its priority. The caller then calls its `dependent.listen()`. */
  push(wait: Wait<T, V>, priority: number): void {
    this.join(priority).push(wait);
  }

  /** Unlinks and returns the first of the highest priority. */
  shift(): Waiter<T, V> | undefined {
    const level = this.order.front;
    if (level === undefined) return undefined;
    const waiter = level.waiters.shift();
    this.left(level);
    return waiter;
  }

  /** Rejects all waiters, in the order in which they would have been served. */
  rejectAll(reason: unknown): void {
    for (let waiter = this.shift(); waiter !== undefined; waiter = this.shift()) waiter.reject(reason);
  }

  /** A waiter has left the level. */
  left(level: Level<T, V>): void {
    this.size--;
    if (level.waiters.size > 0) return;
    this.order.remove(level);
    if (level.priority !== USUAL) this.levels.delete(level.priority);
  }

  /** Counts one that is about to be linked, and returns its queue. */
  private join(priority: number): Waiters<T, V> {
    let level = this.levels.get(priority);
    if (level === undefined) {
      level = new Level(this, this.kind, priority);
      this.levels.set(priority, level);
    }
    if (level.waiters.size === 0) this.order.push(level);
    this.size++;
    return level.waiters;
  }
}
