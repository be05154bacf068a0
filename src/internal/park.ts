/**
 * The heart: one pending operation, as Go's sudog is one waiting goroutine.
 *
 * Whatever waits in this library waits in a {@link Park}. It is linked into the queue of what it waits for and, if the
 * caller gave a `Cancel`, into that source's list. Exactly one of grant, cancel and close claims it. Claiming is
 * synchronous and unlinks it from both, so a queue never holds a wait that is over; the awaiting code runs later.
 */
import { type Cancel, Dependent, type Ending, type Source, sourceOf } from "./cancel.ts";
import { Element, unlink } from "./list.ts";
import { close, type Entry, isFull, type Kind, record } from "./tracker.ts";
import { charge, defer } from "./turn.ts";

/**
 * What ties a wait to more than its queue: the source that can end it, in whose list this stands, and its entry under
 * full tracking. Most waits have none.
 */
class Ties extends Dependent {
  private readonly park: Park<never>;
  private readonly source: Source | undefined;
  private readonly entry: Entry | undefined;

  constructor(park: Park<never>, kind: Kind, cancel: Cancel | undefined) {
    super();
    this.park = park;
    this.source = cancel === undefined ? undefined : sourceOf(cancel);
    this.entry = isFull() ? record(kind, 1, park) : undefined;
    this.source?.join(this);
  }

  /** Cuts the ties of a wait that is over; false if the collector had counted it as lost. */
  cut(): boolean {
    this.source?.leave(this);
    return this.entry === undefined || close(this.entry);
  }

  override end(ending: Ending): boolean {
    return this.park.cancelled(ending.error());
  }

  override settle(): void {
    this.park.abandoned();
  }
}

// The hottest object of the library: plain fields, assigned in the constructor. With #private or defined ones a hand-off
// took a quarter longer, and with one shared executor for all promises half as long again.
export class Park<T> extends Element {
  /** What the caller awaits. */
  readonly promise: Promise<T>;

  private succeed!: (value: T) => void;
  private fail!: (reason: unknown) => void;
  private readonly kind: Kind;
  private readonly ties: Ties | undefined;

  /** Parks an operation of the kind. `cancel` must not be done. The caller then links the park into its queue. */
  constructor(kind: Kind, cancel: Cancel | undefined) {
    super();
    this.promise = new Promise((resolve, reject) => {
      this.succeed = resolve;
      this.fail = reject;
    });
    this.kind = kind;
    kind.live++;
    this.ties = cancel === undefined && !isFull() ? undefined : new Ties(this as unknown as Park<never>, kind, cancel);
  }

  /** Claims the wait for success. The caller has unlinked it from its queue. */
  resolve(value: T): void {
    if (this.ties === undefined || this.ties.cut()) this.kind.live--;
    if (charge()) this.succeed(value);
    else defer(this.succeed, value);
  }

  /** Claims the wait for failure. The caller has unlinked it from its queue. */
  reject(reason: unknown): void {
    if (this.ties === undefined || this.ties.cut()) this.kind.live--;
    if (charge()) this.fail(reason);
    else defer(this.fail, reason);
  }

  /** Claims the wait for its cancel. Returns true to have {@link abandoned} called when everyone has been told. */
  cancelled(reason: unknown): boolean {
    unlink(this);
    this.reject(reason);
    return false;
  }

  /** For waits that hold others back: lets them through. */
  abandoned(): void {}
}
