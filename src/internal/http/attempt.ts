/**
 * One request of a call: it holds a slot from its sending until its fetch has settled and its body has ended.
 *
 * It is in one of four states. *Sent*: the promise of `fetch` is pending (`isFetching`). *Answered*: it has resolved,
 * and the call has not decided yet whether to keep the `answer`. *Delivered*: the caller has the Response, and its
 * `body` is watched. *Ended*: the `slot` is released. An abort, by the end of the call's context or by the loser's fate
 * in a hedge, ends it from any of them, for a `reason`; but while a fetch ignores that, its slot stays taken.
 */

import type { Request as BreakerRequest } from "../breaker/machine.ts";
import type { Element } from "../data/list.ts";
import { guarded, reaction } from "../host/async.ts";
import type { Ending } from "../wait/endings.ts";
import { sourceOf } from "../wait/foreign.ts";
import type { Dependent } from "../wait/source.ts";
import { type Phase as EndPhase, PHASE_ABORT } from "../wait/waitable.ts";
import { Body, type BodyEnd, type BodyOwner, discard, isWatchable } from "./body.ts";
import type { Call } from "./call.ts";
import { AbandonedBodyError, type CallError, type NetworkError, type Phase, type Sent } from "./errors.ts";
import type { Slot } from "./gate.ts";
import { type Host, NOT_COUNTED } from "./hosts.ts";
import { failureOf, isMistake, networkError } from "./network.ts";
import type { Outgoing } from "./outgoing.ts";
import { type Sending, whileObserved } from "./phases.ts";
import type { Upload } from "./upload.ts";

/** How an attempt is sent. */
export interface Transport {
  /** Calls `fetch`. */
  callFetch(input: string | URL | Request, init: RequestInit): unknown;
  readonly phases: boolean;
}

type Settle = { resolve(answered: Attempt): void; reject(reason: unknown): void };

/** A request that has been let through by its host's breaker and holds a slot. */
export class Attempt implements Dependent, BodyOwner {
  list: object | undefined = undefined;
  prev: Element | undefined = undefined;
  next: Element | undefined = undefined;

  /** Set by an abort. */
  reason: CallError | undefined = undefined;

  // From the answer until it is delivered or dropped. Not longer: the collector must be able to take it.
  private answer: Response | undefined = undefined;

  private readonly call: Call;
  private readonly host: Host;
  private readonly controller = new AbortController();
  private readonly abortLater = reaction(() => this.abortByContext());

  // Cleared when the slot is released, and when the breaker has been told how the request ended.
  private slot: Slot | undefined;
  private counted: BreakerRequest | undefined;

  private isFetching = false;
  private settle: Settle | undefined = undefined;

  private sending: Sending | undefined = undefined;
  private followsRedirects = true;
  private upload: Upload | undefined = undefined;
  private body: Body | undefined = undefined;

  constructor(call: Call, host: Host, slot: Slot, counted: BreakerRequest | undefined) {
    this.call = call;
    this.host = host;
    this.slot = slot;
    this.counted = counted;
  }

  /**
   * Calls `fetch`. Resolves to itself when it has an answer, whatever its status; then call {@link deliver} or
   * {@link drop}. Rejects, with nothing held but the slot of a fetch that ignores its signal, with a CallError, with
   * the TypeError of a bad argument, or with the error of a mistake in the code of `fetch`. Nothing is sent if the call
   * has ended.
   */
  send(outgoing: Outgoing, isLast: boolean, transport: Transport): Promise<Attempt> {
    if (this.call.hasEnded()) {
      this.end(NOT_COUNTED);
      return Promise.reject(this.call.endError("queue", "no"));
    }
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
      this.isFetching = true;
      this.followsRedirects = outgoing.followsRedirects;
      sourceOf(this.call.ctx).link(this);
      let answer: unknown;
      try {
        const [input, init] = outgoing.next(this.controller.signal, isLast);
        this.upload = outgoing.upload;
        const send = () => transport.callFetch(input, init);
        answer = transport.phases ? this.observed(send) : send();
      } catch (error) {
        answer = Promise.reject(error);
      }
      Promise.resolve(answer).then(
        (response) => this.answered(response),
        (error) => this.failed(error, outgoing),
      );
    });
  }

  private observed<R>(fn: () => R): R {
    this.sending = { isConnecting: false, hasSent: false };
    return whileObserved(this.sending, fn);
  }

  private answered(given: unknown): void {
    this.isFetching = false;
    const response = given as Response;
    const status = statusOf(response);
    if (status === undefined) {
      this.end(NOT_COUNTED);
      this.settle?.reject(new TypeError("SafeCaller: fetch must resolve to a Response"));
    } else if (this.reason === undefined) {
      this.call.noteSent("yes");
      this.answer = response;
      if (status >= 500) this.count(response);
      this.settle?.resolve(this);
    } else {
      discard(response);
      this.release();
    }
  }

  private failed(error: unknown, outgoing: Outgoing): void {
    if (this.reason !== undefined) {
      this.isFetching = false;
      this.release();
      return;
    }
    const isOfCaller = isMistake(error) || outgoing.refuses(error);
    const shown = isOfCaller ? error : this.networkError(error); // While it is sent: the error says how far it was.
    this.isFetching = false;
    this.end(isOfCaller || this.upload?.hasFailed(error) === true ? NOT_COUNTED : shown);
    this.settle?.reject(shown);
  }

  /** The answer, until it is delivered or dropped. */
  get response(): Response {
    return this.answer as Response;
  }

  /** Hands the answer to the caller, with its body watched. Throws the reason if the attempt has been aborted. */
  deliver(): Response {
    const { response } = this;
    this.answer = undefined;
    if (this.reason !== undefined) {
      discard(response);
      throw this.reason;
    }
    try {
      if (isWatchable(response)) {
        const body = new Body(this);
        body.addBranch(response);
        this.body = body;
        return response;
      }
    } catch {
      // One that is frozen, or that some test has made of parts of one. It counts as one without a body.
    }
    this.end(undefined);
    this.call.finish();
    return response;
  }

  /** Gives the answer up. */
  drop(): void {
    discard(this.response);
    this.answer = undefined;
    this.end(undefined);
  }

  /** Aborts the request; does nothing if it has ended. `end` is what the breaker is told. */
  abort(reason: CallError, end: unknown): void {
    if (this.slot === undefined) return;
    this.reason = reason;
    this.count(end);
    guarded(() => this.controller.abort(reason));
    this.settle?.reject(reason);
    this.body?.abort(reason);
    this.release();
  }

  // As what depends on the context of the call.

  ended(_: Ending): EndPhase {
    return PHASE_ABORT;
  }

  afterEnd(_: Ending, byCaller: boolean): void {
    if (byCaller) this.abortByContext();
    else this.abortLater();
  }

  private abortByContext(): void {
    if (this.slot === undefined) return; // It has ended meanwhile.
    const { phase, sent } = this.progress();
    const error = this.call.endError(phase, sent);
    // The service is to blame if somebody waited for it, and the deadline has passed.
    const isTimeout = error.name === "TimeoutError";
    const isWaiting = phase !== "body" || this.body?.isBeingRead() === true;
    this.abort(error, isTimeout ? (isWaiting ? error : undefined) : NOT_COUNTED);
    if (phase === "body") this.call.finish();
  }

  // As the owner of a body.

  bodyError(error: unknown): unknown {
    return this.networkError(error);
  }

  bodyEnded(end: BodyEnd): void {
    this.body = undefined;
    if (end === "collected") {
      const message = `call to ${this.call.host}: its Response was dropped with the body unread`;
      this.abort(
        this.call.error("body", "yes", (details) => new AbandonedBodyError(message, details)),
        undefined,
      );
    } else {
      this.end(end !== "failed" ? undefined : this.upload?.hasFailed() === true ? NOT_COUNTED : end);
    }
    this.call.finish();
  }

  private progress(): { phase: Phase; sent: Sent } {
    if (!this.isFetching) return { phase: "body", sent: "yes" }; // It has an answer.
    const { sending } = this;
    if (sending === undefined) return { phase: "headers", sent: "maybe" };
    const sent = sending.hasSent || !sending.isConnecting ? "maybe" : "no";
    return { phase: sending.isConnecting ? "connect" : "headers", sent };
  }

  private networkError(error: unknown): NetworkError {
    const failure = failureOf(error);
    let { phase, sent } = this.progress();
    // What the request's own body has failed with may look the same.
    if (phase !== "body" && failure.beforeSending && this.upload?.hasFailed(error) !== true) {
      phase = "connect";
      // It may be the connection of a redirect, to which the first server has sent us: then that one has seen it.
      if (!this.followsRedirects && this.sending?.hasSent !== true) sent = "no";
    }
    return networkError(this.call, phase, sent, failure, error);
  }

  /** Tells the breaker how the request ended, once: undefined for a success. */
  private count(end: unknown): void {
    const { counted } = this;
    this.counted = undefined;
    if (counted !== undefined) this.host.count(counted, end);
  }

  private end(end: unknown): void {
    this.count(end);
    this.release();
  }

  private release(): void {
    const { slot } = this;
    if (this.isFetching || slot === undefined) return;
    this.slot = undefined;
    sourceOf(this.call.ctx).unlink(this);
    slot.release();
  }
}

/** The status of what `fetch` has resolved to; undefined if that is no Response. */
function statusOf(response: Response | null | undefined): number | undefined {
  try {
    const status: unknown = response?.status;
    return typeof status === "number" ? status : undefined;
  } catch {
    return undefined;
  }
}
