/**
 * One request on its way through the steps of an adapter, and on to the end of its answer.
 *
 * The steps run in their order. As long as each answers at once, nothing is awaited: a request that is admitted at once
 * costs no promise. The first that refuses ends the exchange. If none does, the handler runs, and the exchange ends
 * with the answer, or when the client has gone. The end cancels the request's context and calls each `done` of a
 * verdict once. It is looked for only if there is a context or a `done`.
 */
import { afterFunc, type CancelScope, type Context } from "../../context.ts";
import { isObject, isThenable, show } from "../data/args.ts";
import { guarded } from "../host/async.ts";
import { brand, withoutStack } from "../host/errors.ts";
import { macrotask } from "../time/turn.ts";
import { DeadlineExceeded, isContextError } from "../wait/endings.ts";

/** What a {@link Check} sees of a request. */
export interface RequestInfoLite {
  /** "GET", "POST", ... */
  readonly method: string;
  /** Path and query, as the client sent them. */
  readonly url: string;
  /** The address that the request came from: of the client, or of the last proxy. Empty if it is not known. */
  readonly address: string;
  /**
   * The value of a header field, whatever the case of the name. Several fields of one name are as the host joins them:
   * most by commas, cookies by semicolons; of some, such as Authorization, Node keeps the first.
   */
  header(name: string): string | undefined;
  /**
   * Ends when the answer has ended or the client has gone, and at the deadline, if there is one. Made when it is first
   * read: read it only where something waits.
   */
  readonly ctx: Context;
}

/** What a {@link Check} says of a request. */
export interface Verdict {
  readonly admit: boolean;
  /** The status of a refusal. 503 if left out. */
  readonly status?: number | undefined;
  /** For the answer, also if the request is admitted. Two checks that give one field give the items of a list. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * Called once, if the request was admitted, when its answer has ended or the client has gone, or when a later check
   * has refused it. `ok`: the answer was sent to its end, with a status below 500. What it throws is reported as an
   * uncaught error.
   */
  readonly done?: ((ok: boolean) => void) | undefined;
}

/** Decides whether a request is served. Write your own for other rules. */
export interface Check {
  /**
   * Must be quick, or wait under `r.ctx`. What it throws or rejects with fails the request. One that does not answer
   * by the deadline of an earlier step is not waited for any longer: the answer is 504, and a verdict that comes later
   * is given back.
   */
  check(r: RequestInfoLite): Verdict | Promise<Verdict>;
}

/** Gives each request a context. Made by `deadline`. */
export interface RequestScope {
  /**
   * The context of the request, below `parent` if an earlier step has made one. Cancelled at the end of the request.
   */
  open(r: RequestInfoLite, parent: Context | undefined): CancelScope;
}

/** A step of an adapter: a check, or a scope. */
export type Step = Check | RequestScope;

/** The cause with which the context of a request ends when its client has gone before the end of the answer. */
export class ClientGoneError extends Error {
  static {
    brand(this, "ClientGoneError");
  }

  constructor() {
    super("the client has gone");
  }
}

/** How a refused request is answered. */
export interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The property that holds the context of a request, on all objects under which a handler may know it. (A WeakMap would
 * cost more than the context: each request would be an entry for the collector.)
 */
const CONTEXT: unique symbol = Symbol.for("gopark.v1.requestContext");

interface Known {
  [CONTEXT]?: Context;
}

/** The context of a request; undefined if no step has made one. */
export function contextOfRequest(request: object): Context | undefined {
  return (request as Known)[CONTEXT];
}

const ADMITTED: Verdict = { admit: true };

const NO_HEADERS: Readonly<Record<string, string>> = {};

/** What is decided when the client has gone, or the answer has ended, before the steps had decided. */
export const UNANSWERED: Refusal = { status: 499, headers: NO_HEADERS };

/** Returns the steps. Throws TypeError if one is neither a check nor a scope. `what` is the adapter. */
export function validSteps(steps: readonly Step[], what: string): Step[] {
  if (!Array.isArray(steps)) throw new TypeError(`${what}: steps must be an array, got ${show(steps)}`);
  for (const [i, step] of steps.entries()) {
    const { check, open } = isObject(step) ? (step as Partial<Check & RequestScope>) : {};
    if (typeof check === "function" || typeof open === "function") continue;
    throw new TypeError(`${what}: step ${i + 1} must be a check or a scope, such as shed(), got ${show(step)}`);
  }
  return [...steps];
}

/** One request. Its subclasses know the request, the answer and their events. */
export abstract class Exchange implements RequestInfoLite {
  /** Whether the answer has ended, the client has gone, or a step has refused or failed. Nothing is held then. */
  ended = false;

  /** Whether the client went before the end of the answer. */
  gone = false;

  // The context that the steps have made last, and the cancel function of the first, which ends those below it too.
  protected current: Context | undefined = undefined;
  private cancel: CancelScope["cancel"] | undefined = undefined;

  // What verdicts want to be told of the end. Most requests have at most one.
  private done: Verdict["done"] = undefined;
  private moreDone: NonNullable<Verdict["done"]>[] | undefined = undefined;

  // Whether the end is being looked for.
  private watching = false;

  private readonly newScope: (parent: Context | undefined) => CancelScope;

  /** `newScope` makes the context that a check reads where no step has made one. */
  constructor(newScope: (parent: Context | undefined) => CancelScope) {
    this.newScope = newScope;
  }

  abstract readonly method: string;
  abstract readonly url: string;
  abstract readonly address: string;
  abstract header(name: string): string | undefined;

  /** The objects under which a handler may know the request. */
  protected abstract readonly handles: readonly object[];

  /** Begins to look for the end of the answer and of the client, to call {@link end}. Called at most once. */
  protected abstract watch(): void;

  /** Adds a header to the answer. */
  protected abstract addHeader(name: string, value: string): void;

  get ctx(): Context {
    return this.current ?? this.hold(this.newScope(this.contextSoFar()));
  }

  /**
   * Runs the steps until one refuses. Returns the refusal, or undefined if the request is admitted; a promise if a step
   * had to wait. Throws or rejects if a step failed, with nothing held.
   */
  decide(steps: readonly Step[]): Refusal | undefined | Promise<Refusal | undefined> {
    try {
      for (let i = 0; i < steps.length; i++) {
        const answer = this.ask(steps[i] as Step);
        if (isThenable(answer)) {
          this.lookForEnd(); // The client may go while the step waits.
          return this.decideLater(steps, i, answer as Promise<Verdict>);
        }
        const refusal = this.apply(answer as Verdict);
        if (refusal !== undefined) return refusal;
      }
      return undefined;
    } catch (error) {
      this.end(false);
      throw error;
    }
  }

  /**
   * Ends the exchange, once: cancels its context and calls what waits for its end. `gone`: the client has gone before
   * the end of the answer.
   */
  end(ok: boolean, gone = false): void {
    if (this.ended) return;
    this.ended = true;
    this.gone = gone;
    const { cancel, done, moreDone } = this;
    this.cancel = this.done = this.moreDone = undefined;
    cancel?.(gone ? withoutStack(() => new ClientGoneError()) : undefined);
    if (done !== undefined) guarded(() => done(ok));
    for (const more of moreDone ?? []) guarded(() => more(ok));
  }

  /** Whether something has to know the end. */
  protected get isHeld(): boolean {
    return this.watching && !this.ended;
  }

  private async decideLater(
    steps: readonly Step[],
    first: number,
    answer: Promise<Verdict>,
  ): Promise<Refusal | undefined> {
    try {
      let refusal = this.apply(await this.inTime(answer));
      for (let i = first + 1; i < steps.length && refusal === undefined; i++) {
        refusal = this.apply(await this.inTime(this.ask(steps[i] as Step)));
      }
      return refusal;
    } catch (error) {
      if (this.gone && isContextError(error)) return UNANSWERED; // A check that waited under the context.
      this.end(false);
      throw error;
    }
  }

  /** What a check answers; a refusal, if the request's time is up before. */
  private inTime(answer: Verdict | Promise<Verdict>): Verdict | Promise<Verdict> {
    const ctx = this.current;
    if (ctx === undefined || !isThenable(answer)) return answer;
    return new Promise((resolve, reject) => {
      let isLate = false;
      const giveUp = () => {
        isLate = true;
        resolve({ admit: false, status: ctx.err() instanceof DeadlineExceeded ? 504 : 503 });
      };
      // One that waits under the context has a turn to answer by itself.
      const stop = afterFunc(ctx, () => macrotask(giveUp));
      // It may be a promise of another implementation.
      Promise.resolve(answer).then(
        (verdict) => {
          stop();
          const { admit, done } = verdict ?? {};
          if (isLate && admit && done !== undefined) guarded(() => done(false));
          resolve(verdict);
        },
        (error) => {
          stop();
          reject(error);
        },
      );
    });
  }

  /** Asks a check, or enters a scope. */
  private ask(step: Step): Verdict | Promise<Verdict> {
    if ("check" in step) return step.check(this);
    const ctx = this.hold(step.open(this, this.contextSoFar()));
    for (const handle of this.handles) (handle as Known)[CONTEXT] = ctx;
    const err = ctx.err();
    return err === undefined ? ADMITTED : { admit: false, status: err instanceof DeadlineExceeded ? 504 : 503 };
  }

  /** Does what a verdict says; returns the refusal, if it is one. */
  private apply(verdict: Verdict): Refusal | undefined {
    if (typeof verdict?.admit !== "boolean") {
      throw new TypeError(`check: must return { admit: boolean }, got ${show(verdict)}`);
    }
    const { admit, status = 503, headers = NO_HEADERS, done } = verdict;
    if (admit && done !== undefined) this.callAtEnd(done);
    if (this.ended) return UNANSWERED;
    if (!admit) {
      if (!(Number.isInteger(status) && status >= 200 && status <= 599)) {
        throw new RangeError(`check: status must be from 200 to 599, got ${show(status)}`);
      }
      this.end(false);
      return { status, headers };
    }
    if (headers !== NO_HEADERS) for (const name of Object.keys(headers)) this.addHeader(name, headers[name] as string);
    return undefined;
  }

  private callAtEnd(done: NonNullable<Verdict["done"]>): void {
    if (this.ended) {
      guarded(() => done(false)); // The client went while the check was waiting.
      return;
    }
    if (this.done === undefined) {
      this.done = done;
    } else {
      this.moreDone ??= [];
      this.moreDone.push(done);
    }
    this.lookForEnd();
  }

  /** The context that an earlier step made, or that another adapter has made for the same request. */
  private contextSoFar(): Context | undefined {
    if (this.current !== undefined) return this.current;
    for (const handle of this.handles) {
      const ctx = contextOfRequest(handle);
      if (ctx !== undefined) return ctx;
    }
    return undefined;
  }

  /** Makes the context of a scope that of the request from now on. */
  private hold({ ctx, cancel }: CancelScope): Context {
    this.current = ctx;
    if (this.ended) {
      cancel();
      return ctx;
    }
    this.cancel ??= cancel;
    this.lookForEnd();
    return ctx;
  }

  private lookForEnd(): void {
    if (this.watching) return;
    this.watching = true;
    this.watch();
  }
}
