/**
 * The heart: one pending operation, as Go's sudog is one waiting goroutine.
 *
 * Whatever waits in this library waits in a {@link Park}. It is linked into the queue of what it waits for and, if the
 * caller gave a `Cancel`, into that source's list. Exactly one of grant, cancel and close claims it. Claiming is
 * synchronous and unlinks it from both, so a queue never holds a wait that is over; the awaiting code runs later.
 */
import { type Cancel, Dependent, type Ending, type Source, sourceOf } from "./cancel.ts";
import { Element, unlink } from "./list.ts";
import { closed, type Entry, type Kind, opened } from "./tracker.ts";
import { charge, defer } from "./turn.ts";

/** The place of a wait in the list of the source that can end it. */
class CancelLink extends Dependent {
  readonly source: Source;
  private readonly park: Park<never>;

  constructor(source: Source, park: Park<never>) {
    super();
    this.source = source;
    this.park = park;
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
  private readonly entry: Entry | undefined;
  private link: CancelLink | undefined;

  /** Parks an operation of the kind. `cancel` must not be done. The caller then links the park into its queue. */
  constructor(kind: Kind, cancel: Cancel | undefined) {
    super();
    this.promise = new Promise((resolve, reject) => {
      this.succeed = resolve;
      this.fail = reject;
    });
    this.kind = kind;
    this.entry = opened(kind, this);
    this.link = cancel === undefined ? undefined : this.join(sourceOf(cancel));
  }

  /** Claims the wait for success. The caller has unlinked it from its queue. */
  resolve(value: T): void {
    this.claim();
    if (charge()) this.succeed(value);
    else defer(this.succeed, value);
  }

  /** Claims the wait for failure. The caller has unlinked it from its queue. */
  reject(reason: unknown): void {
    this.claim();
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

  private join(source: Source): CancelLink {
    const link = new CancelLink(source, this as unknown as Park<never>);
    source.join(link);
    return link;
  }

  private claim(): void {
    closed(this.kind, this.entry);
    const { link } = this;
    if (link === undefined) return;
    this.link = undefined;
    link.source.leave(link);
  }
}
