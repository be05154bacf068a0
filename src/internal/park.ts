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
  readonly #park: Park<never>;

  constructor(source: Source, park: Park<never>) {
    super();
    this.source = source;
    this.#park = park;
  }

  override end(ending: Ending): boolean {
    return this.#park.cancelled(ending.error());
  }

  override settle(): void {
    this.#park.abandoned();
  }
}

let resolver: (value: never) => void;
let rejecter: (reason: unknown) => void;

// One executor for all: a closure for each promise would be one more allocation per wait.
function executor(resolve: (value: never) => void, reject: (reason: unknown) => void): void {
  resolver = resolve;
  rejecter = reject;
}

export class Park<T> extends Element {
  /** What the caller awaits. */
  readonly promise: Promise<T>;

  readonly #resolve: (value: T) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #kind: Kind;
  readonly #entry: Entry | undefined;
  #link: CancelLink | undefined = undefined;

  /** Parks an operation of the kind. `cancel` must not be done. The caller then links the park into its queue. */
  constructor(kind: Kind, cancel: Cancel | undefined) {
    super();
    this.promise = new Promise<T>(executor);
    this.#resolve = resolver as (value: T) => void;
    this.#reject = rejecter;
    this.#kind = kind;
    this.#entry = opened(kind, this);
    if (cancel !== undefined) this.#attach(sourceOf(cancel));
  }

  /** Claims the wait for success. The caller has unlinked it from its queue. */
  resolve(value: T): void {
    this.#claim();
    if (charge()) this.#resolve(value);
    else defer(this.#resolve, value);
  }

  /** Claims the wait for failure. The caller has unlinked it from its queue. */
  reject(reason: unknown): void {
    this.#claim();
    if (charge()) this.#reject(reason);
    else defer(this.#reject, reason);
  }

  /** Claims the wait for its cancel. Returns true to have {@link abandoned} called when everyone has been told. */
  cancelled(reason: unknown): boolean {
    unlink(this);
    this.reject(reason);
    return false;
  }

  /** For waits that hold others back: lets them through. */
  abandoned(): void {}

  #attach(source: Source): void {
    this.#link = new CancelLink(source, this as unknown as Park<never>);
    source.join(this.#link);
  }

  #claim(): void {
    closed(this.#kind, this.#entry);
    const link = this.#link;
    if (link === undefined) return;
    this.#link = undefined;
    link.source.leave(link);
  }
}
