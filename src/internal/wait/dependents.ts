/** The dependents of a context: its done channel, its signal, and the calls that `afterFunc` has prepared. */

import type { Received } from "../../channel.ts";
import type { Context } from "../../context.ts";
import type { Element } from "../data/list.ts";
import { reaction } from "../host/async.ts";
import type { Ending } from "./endings.ts";
import { setSource } from "./foreign.ts";
import { InternalChannel } from "./receive.ts";
import type { Dependent, Source } from "./source.ts";
import { PHASE_ABORT, PHASE_NONE, PHASE_REACT, type Phase } from "./waitable.ts";

/** A call that `afterFunc` has prepared. `queue` queues it, and runs no user code itself. */
export class AfterFuncCall implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly afterEnd: () => void;

  // Set while the source is being listened to for this call, and cleared after.
  private listening = true;
  private failure: Ending | undefined = undefined;

  constructor(queue: () => void) {
    this.afterEnd = queue;
  }

  /** Links the call to a source that has not ended. Throws what foreign code threw while it was being listened to. */
  linkTo(source: Source): void {
    source.link(this);
    source.listen();
    this.listening = false;
    if (this.failure !== undefined) throw this.failure.error();
  }

  ended(ending: Ending): Phase {
    if (!(this.listening && ending.failed === true)) return PHASE_REACT;
    this.failure = ending;
    return PHASE_NONE;
  }
}

/**
 * Aborts a signal when its source has ended: inside the call that ended it, or in a later microtask, in the async
 * context that first read the signal.
 */
class Abort implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly controller: AbortController = new AbortController();
  readonly #abortLater: () => void;
  #ending: Ending | undefined = undefined;

  constructor() {
    this.#abortLater = reaction(() => this.#abort());
  }

  ended(ending: Ending): Phase {
    this.#ending = ending;
    return PHASE_ABORT;
  }

  afterEnd(_: Ending, byCaller: boolean): void {
    if (byCaller) this.#abort();
    else this.#abortLater();
  }

  #abort(): void {
    this.controller.abort(this.#ending?.error());
  }
}

// The context behind each signal: the one that handed it out, or the one that fromSignal made of it.
export const contextBySignal: WeakMap<AbortSignal, Context> = new WeakMap();

/** A signal that is aborted when `source` ends. */
export function signalOf(ctx: Context, source: Source): AbortSignal {
  source.poll(); // A failed poll is no ending, so what it returns does not count.
  const { ending } = source;
  const abort = new Abort();
  const { signal } = abort.controller;
  contextBySignal.set(signal, ctx);
  setSource(signal, source);
  if (ending !== undefined) abort.controller.abort(ending.error());
  else source.link(abort); // Needs no `listen`: the source is NEVER, or a context that is linked to its parent.
  return signal;
}

/**
 * A channel that is closed when its source ends. A receive keeps the process alive if the source has a deadline, unless
 * it is that of a foreign context.
 */
export class DoneChannel extends InternalChannel<never> implements Dependent {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;
  readonly #source: Source;

  // Why the last attempt to listen failed, if it did.
  #failure: Ending | undefined = undefined;

  constructor(source: Source) {
    super();
    this.#source = source;
    this.receivers.setRef(source.nearestDeadline !== undefined);
    this.poll();
  }

  ended(ending: Ending): Phase {
    if (ending.failed === true) {
      this.#failure = ending;
      this.receivers.rejectAll(ending.error());
    } else {
      // Not `wakeAll`, for the reason that `close` of a channel gives.
      for (let r = this.receivers.shift(); r !== undefined; r = this.receivers.shift()) {
        r.resolve({ value: undefined, ok: false });
      }
    }
    return PHASE_NONE;
  }

  /** Polls the source. Links the channel to it, again where an attempt to listen failed and unlinked it. */
  override poll(): Ending | undefined {
    const source = this.#source;
    const ending = source.poll();
    if (ending !== undefined) return ending.failed === true ? ending : undefined;
    if (this.list !== undefined) return undefined;
    this.#failure = undefined;
    source.link(this);
    source.listen();
    return this.#failure;
  }

  receiveNow(): Received<never> | undefined {
    return this.#source.ending === undefined ? undefined : { value: undefined, ok: false };
  }

  protected override hasValue(): boolean {
    return this.#source.ending !== undefined;
  }
}
