/**
 * The heart: one pending operation, as Go's sudog is one waiting goroutine.
 *
 * Whatever waits in this library waits in a {@link Park}. It is linked into the queue of what it waits for and, if the
 * caller gave a `Cancel`, into that source's list. Exactly one of grant, cancel and close claims it. Claiming is
 * synchronous and unlinks it from both, so a queue never holds a wait that is over; the awaiting code runs later.
 */
import { type Cancel, type Dependent, type Ending, type Source, sourceOf } from "./cancel.ts";
import { type Element, unlink } from "./list.ts";
import { close, type Entry, isFull, type Kind, record } from "./tracker.ts";
import { charge, defer } from "./turn.ts";

/** Who has more to do, when a cancel ends a wait, than to take it out of its queue. */
export interface Owner {
  /** Called before the wait rejects. Others may not know of the end yet, so this calls no user code and wakes nobody. */
  cancelled?(reason: unknown): void;
  /** Called when everyone has been told: for waits that hold others back, to let them through. */
  abandoned?(): void;
}

/**
 * What ties a wait to more than its queue: the source that can end it, in whose list this stands, and its entry under
 * full tracking. Most waits have none.
 */
class Ties implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  private readonly park: Park<never, unknown>;
  private readonly owner: Owner | undefined;
  private readonly source: Source | undefined;
  private readonly entry: Entry | undefined;

  constructor(park: Park<never, unknown>, cancel: Cancel | undefined, owner: Owner | undefined) {
    this.park = park;
    this.owner = owner;
    this.source = cancel === undefined ? undefined : sourceOf(cancel);
    this.entry = isFull() ? record(park.kind, 1, park) : undefined;
    this.source?.join(this);
  }

  /** Cuts the ties of a wait that is over. Who claims a wait has it in hand, so the collector has not taken it before. */
  cut(): void {
    this.source?.leave(this);
    if (this.entry !== undefined) close(this.entry);
  }

  end(ending: Ending): boolean {
    const reason = ending.error();
    unlink(this.park);
    this.owner?.cancelled?.(reason);
    this.park.reject(reason);
    return this.owner?.abandoned !== undefined;
  }

  settle(): void {
    this.owner?.abandoned?.();
  }
}

// The hottest object of the library: plain fields, assigned in the constructor. With #private or defined ones a hand-off
// took a quarter longer, and with one shared executor for all promises half as long again. And one class without a base
// or heirs, what differs being with the owner: as a family of classes with constructors three deep, a hand-off took an
// eighth longer alone, and where a process used many of them, a contended semaphore a quarter longer and a fan-in a tenth.
export class Park<T, V = undefined> implements Element {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  /** What the caller awaits. */
  readonly promise: Promise<T>;

  /** The sort of wait. */
  readonly kind: Kind;

  /** What it brings with it for whoever claims it: a send its value, an acquire its units. */
  value: V;

  private succeed!: (value: T) => void;
  private fail!: (reason: unknown) => void;
  private readonly ties: Ties | undefined;

  /** Parks an operation of the kind. `cancel` must not be done. The caller then links the park into its queue. */
  constructor(kind: Kind, cancel: Cancel | undefined, value?: V, owner?: Owner) {
    this.promise = new Promise((resolve, reject) => {
      this.succeed = resolve;
      this.fail = reject;
    });
    this.kind = kind;
    this.value = value as V;
    kind.live++;
    this.ties = cancel === undefined && !isFull() ? undefined : new Ties(this as never, cancel, owner);
  }

  /** Claims the wait for success. The caller has unlinked it from its queue. */
  resolve(value: T): void {
    this.ties?.cut();
    this.kind.live--;
    if (charge()) this.succeed(value);
    else defer(this.succeed, value);
  }

  /** Claims the wait for failure. The caller has unlinked it from its queue. */
  reject(reason: unknown): void {
    this.ties?.cut();
    this.kind.live--;
    if (charge()) this.fail(reason);
    else defer(this.fail, reason);
  }
}
