/**
 * HTTP calls with a deadline that covers everything, limits for each host, and errors that say what happened.
 *
 * A `SafeCaller` is a `fetch` that cannot hang, queue without end, or flood a server that is down. Its deadline runs
 * from the call to the last byte of the answer's body. At most `perHost` requests run to one host, and at most `queue`
 * calls wait for one; a further call is refused at once. A request counts until its body has been read to the end.
 *
 * Rules of use:
 *
 * - Make one caller at the start of the program, for all that it calls, and pass `caller.fetch` on: it has the type of
 *   `fetch`, and client libraries take it as their option `fetch`. Two callers have limits of their own.
 * - Read each body to its end, or cancel it: `await response.body?.cancel()`. A body that nobody reads keeps its slot
 *   until the deadline, or until the garbage collector takes the Response. Leak checks report it.
 * - Read the body inside the scope or the group whose context the call was given: `ctx` ends the call in its body too.
 *   Return `response.json()` from it, not the Response.
 * - Pass the context or the signal of the request that you are serving: `fetch(url, { ctx })`. When its client leaves,
 *   the calls made for it end.
 * - Retries, hedging and the breaker are off. Turn on retries for idempotent calls at one level only.
 * - A status is an answer and never an error: check `response.ok`, as with `fetch`.
 * - For undici's own functions (`request`, `stream`, `pipeline`), use `interceptor`.
 *
 * ```ts
 * import { CallTimeoutError, SafeCaller } from "gopark/http";
 * import { sleep } from "gopark/time";
 *
 * // So that this runs by itself. Leave it out, for the host's fetch.
 * async function fetch(url: unknown, init?: RequestInit): Promise<Response> {
 *   if (String(url).endsWith("/slow")) await sleep(60_000, init?.signal ?? undefined);
 *   return new Response("5");
 * }
 *
 * const caller = new SafeCaller({ fetch });
 * const response = await caller.fetch("https://stock.example/tea");
 * console.log(await response.text(), caller.stats().running);
 *
 * try {
 *   await caller.fetch("https://stock.example/slow", { timeout: 20 });
 * } catch (err) {
 *   if (err instanceof CallTimeoutError) console.log(err.name, err.host, err.phase, err.sent);
 * }
 * // Output:
 * // 5 0
 * // TimeoutError stock.example headers maybe
 * ```
 *
 * Does the job of a Go `http.Client` with a `Timeout` and a `Transport` with `MaxConnsPerHost`. Differences from Go:
 *
 * - The limits count requests, not connections. With the host's own `fetch`, an aborted request may leave its
 *   connection behind for a moment while the next request opens another.
 * - A call that would wait behind `queue` others is refused. In Go any number waits for a connection.
 * - Slots, the breaker and retries are counted by the host of the first URL. A redirect to another host keeps them.
 * - The errors are classes with fields, not a `url.Error` around others.
 * - Retries, budgets, hedging, the breaker and the rate are additions.
 */
import type { Settings, State } from "./breaker.ts";
import { Caller } from "./internal/http/caller.ts";
import { interceptorOf } from "./internal/http/interceptor.ts";
import type { Limits, Permits } from "./internal/http/limits.ts";
import { Policy } from "./internal/http/options.ts";
import { registerOuter } from "./internal/track/tracker.ts";
import type { Cancel } from "./internal/wait/source.ts";

export {
  AbandonedBodyError,
  BreakerOpenError,
  CallCanceledError,
  type CallDetails,
  CallError,
  CallTimeoutError,
  NetworkError,
  type Phase,
  QueueFullError,
  QueueTimeoutError,
  RateLimitedError,
  type Sent,
} from "./internal/http/errors.ts";
export type { Limits, Permits } from "./internal/http/limits.ts";
export type { Cancel } from "./internal/wait/source.ts";

// The public function at which the stack of a record begins.
registerOuter(() => [SafeCaller.prototype.close]);

/**
 * When the breaker of a host opens, and when it closes again: as in `gopark/breaker`, but that calls which find it
 * half-open, with no place for a further probe, wait in the queue for what the probe finds. What counts as a failure is
 * fixed: time-outs, network errors and answers of 500 and more. Cancelled and refused calls are not counted, nor those
 * whose own body, a stream, has failed. What `readyToTrip` throws is a warning of the process.
 */
export type BreakerOptions = Omit<Settings, "name" | "isSuccessful" | "isExcluded">;

/** What retries or hedges are paid from: each costs one token. */
export interface BudgetOptions {
  /** The tokens that a success earns, from 0 to 1. 0.1 if left out: up to a tenth of the calls. */
  readonly ratio?: number | undefined;
  /** The tokens at the beginning, a whole number. 10 if left out. */
  readonly min?: number | undefined;
}

/** When a call is made again. */
export interface RetryOptions {
  /** How many attempts are made at most, the first included. A whole number from 1; 2 if left out. */
  readonly attempts?: number | undefined;
  /**
   * The wait after the first attempt is a random part of this many milliseconds, the one after the second of twice as
   * many, and so on. Finite, 0 or more; 100 if left out.
   */
  readonly base?: number | undefined;
  /** The most milliseconds that a wait may last by `base`. 0 or more; 2000 if left out. */
  readonly cap?: number | undefined;
  /** The answers that are tried again. 429, 502, 503 and 504 if left out. */
  readonly statuses?: readonly number[] | undefined;
  /**
   * An answer whose `Retry-After` asks to wait for more than this many milliseconds is not tried again. 0 or more;
   * Infinity if left out: whatever the call's deadline leaves time for.
   */
  readonly maxRetryAfter?: number | undefined;
  /** Shared by all calls of the caller. */
  readonly budget?: BudgetOptions | undefined;
}

/**
 * When a call sends further requests while the first goes unanswered. The first answer counts that is good: one below
 * 500 that is none of the `statuses` of the retries; if there is none, the last.
 */
export interface HedgeOptions {
  /**
   * After this many milliseconds, and again after as many, also where there was no slot or token for one (if it is more
   * than 0). 0 or more. A good value is a high percentile of the latency.
   */
  readonly after: number;
  /** How many further requests there may be. A whole number from 1; 1 if left out. */
  readonly max?: number | undefined;
  /** Shared by all calls of the caller. */
  readonly budget?: BudgetOptions | undefined;
}

/** The limits of calls. Everything may be left out. */
export interface InterceptorOptions {
  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
  /**
   * How many milliseconds a call may take, from its beginning to the end of the answer's body, waits and retries
   * included. Above 0; Infinity for no limit. 10 000 if left out.
   */
  readonly timeout?: number | undefined;
  /**
   * How many of these milliseconds a call may wait for a slot. Above 0. Half of what is left of the call's time if left
   * out: a call that gets its slot later is hardly ever served, and its request is wasted.
   */
  readonly queueTimeout?: number | undefined;
  /**
   * How many requests may run at once, to all hosts, a whole number from 1, and not less than `perHost`. If left out,
   * 256 or `perHost`, whichever is more: eight hosts that hang use all of 256 by default. Or permits of your own: a
   * `Weighted` that other code uses too, or one that a fleet shares.
   */
  readonly concurrency?: number | Permits | undefined;
  /**
   * How many requests may run at once to one host, a whole number from 1; 32 if left out. Or a function that makes the
   * permits of a host, once for each.
   */
  readonly perHost?: number | ((host: string) => Permits) | undefined;
  /**
   * How many calls may wait for one host, a whole number from 0 or Infinity; calls that are tried again may wait beyond
   * that. Twice `perHost` if left out, or 64 if that is a function. Permits of your own have limits of their own
   * instead.
   */
  readonly queue?: number | undefined;
  /**
   * What calls to a URL are counted under. The host and port of the URL if left out: http and https of one name are one
   * host, since URLs leave out the ports that are their schemes' own. Called once for each call; it must
   * return a string.
   */
  readonly key?: ((url: URL) => string) | undefined;
  /**
   * How many hosts are known at once, a whole number from 1; 1000 if left out. When a further one comes, one that is
   * idle is forgotten. If none is, the further ones share one host, which has no breaker.
   */
  readonly maxHosts?: number | undefined;
  /** A circuit breaker for each host. None if false or left out. */
  readonly breaker?: BreakerOptions | false | undefined;
  /**
   * How many requests are let through: `limit` a second and `burst` at once, for each host. Or a limiter of your own,
   * which counts all of them. A call that exceeds it is refused at once. It is counted when it is let in: calls that
   * then wait for a slot may begin together. One that a full queue refuses at once is not counted.
   */
  readonly rate?: { readonly limit: number; readonly burst: number } | Limits | undefined;
}

/** How a {@link SafeCaller} calls. Everything may be left out. */
export interface SafeCallerOptions extends InterceptorOptions {
  /** What sends the requests. The host's `fetch` if left out, as it is when a call is made. */
  readonly fetch?: ((input: string | URL | Request, init?: RequestInit) => Promise<Response>) | undefined;
  /** Retries of calls that may be sent again: see {@link SafeCaller.fetch}. None if false or left out. */
  readonly retry?: RetryOptions | false | undefined;
  /** Hedging of GET, HEAD, OPTIONS and TRACE. None if false or left out. */
  readonly hedge?: HedgeOptions | false | undefined;
  /**
   * Whether errors tell a call that was still connecting from one that had been sent. Without it a failed connection is
   * surely not sent only with `redirect` other than "follow". Node only, with undici's `fetch`, its own or another
   * version, over HTTP/1. It slows down every promise of the process on Node 20 and 22. False if left out.
   */
  readonly phases?: boolean | undefined;
}

/** What {@link SafeCaller.fetch} takes: what `fetch` does, and more. */
export interface SafeInit extends RequestInit {
  /** Ends the call with it, as `signal` does. With both, the first to end does. */
  ctx?: Cancel | undefined;
  /** In place of the caller's `timeout`. */
  timeout?: number | undefined;
  /**
   * Whether the call may be sent again although the server may have carried it out. If left out: GET, HEAD, OPTIONS,
   * TRACE, PUT and DELETE may.
   */
  idempotent?: boolean | undefined;
  /** How many units of the permits it takes, a whole number from 1; 1 if left out. For calls that weigh more. */
  weight?: number | undefined;
}

/** What runs and waits for one host. */
export interface HostStats {
  /** Requests that hold a slot: unanswered, or with a body that has not ended. */
  readonly running: number;
  /** Calls that wait for a slot. */
  readonly queued: number;
  /** The state of its breaker; undefined without one. */
  readonly breaker: State | undefined;
}

/** What {@link SafeCaller.stats} returns. */
export interface Stats {
  readonly running: number;
  readonly queued: number;
  /** By the host and port of the URL, or by what the option `key` returned. */
  readonly hosts: Record<string, HostStats>;
}

/** Calls by HTTP under one deadline each, with limits for each host. See the header of the module for its use. */
export class SafeCaller {
  readonly #caller: Caller;

  /**
   * Throws RangeError for a number outside its range, TypeError for an option of another type, and an Error if `phases`
   * is asked for where the host cannot tell them.
   */
  constructor(options?: SafeCallerOptions) {
    const caller = new Caller(new Policy(options));
    this.#caller = caller;
    this.fetch = (input, init) => caller.fetch(input, init);
  }

  /**
   * Calls as the host's `fetch` does, within the limits. Resolves to the host's own Response when the headers of the
   * answer have come, whatever its status. The call, with its deadline and its slot, goes on until the body has ended:
   * read, failed or cancelled; one of a clone too. An answer without a body (to a HEAD, or with status 204 or 304, or a
   * `Content-Length` of 0) ends it at once. It is a function of its own: pass it on as it is. It sends its arguments as
   * they are at the call, even if it waits or is tried again.
   *
   * Before it is sent, a call waits while `perHost` requests to its host run, in the order of the calls. With `retry`,
   * it is sent again after an answer with one of the `statuses` and after a network error: if it is idempotent, or was
   * surely not sent; if its body is no stream; and if, as far as is known, the next attempt would be let in, before the
   * deadline. Otherwise the answer or the error is the caller's. The body of an answer that is tried again is cancelled
   * before the wait: if the next attempt is refused all the same, the call rejects with that refusal.
   *
   * Rejects, and so do the methods of the Response that read its body, with
   * - {@link CallTimeoutError}, if the call has not ended by its deadline, or by that of `ctx` or `signal`;
   * - {@link CallCanceledError}, if `ctx` or `signal` ends, even before the call, or {@link close} ends its waiting;
   * - {@link NetworkError}, if the network fails, or what comes is not HTTP, or the stream that it sends fails.
   *
   * Rejects, with nothing sent by this attempt, with
   * - {@link QueueFullError}, at once, if its first attempt would have to wait and `queue` calls for its host do;
   * - {@link QueueTimeoutError}, if it has waited for `queueTimeout`;
   * - {@link BreakerOpenError}, at once, if its host's breaker is open, and {@link RateLimitedError}, if it would
   *   exceed the `rate`;
   * - TypeError, if the caller is closed, and TypeError or RangeError for a bad argument;
   * - what `key`, `perHost` and permits or limiters of your own throw or reject with, and the error of a mistake in the
   *   code of a `fetch` of your own, such as a ReferenceError.
   *
   * All but the last two are a {@link CallError}. A body that is not JSON rejects with the host's SyntaxError, and one
   * that has been used with its TypeError.
   */
  readonly fetch: (input: string | URL | Request, init?: SafeInit) => Promise<Response>;

  /** What runs and waits now. Costs O(hosts). */
  stats(): Stats {
    return this.#caller.stats();
  }

  /**
   * Lets no call in any more, and resolves when no request runs. Calls that wait, for a slot or between two attempts,
   * reject at once with a {@link CallCanceledError}, later calls with TypeError. Requests that run have until their own
   * deadlines. `cancel` ends only the waiting for them: if it has ended already, or ends while requests run, rejects
   * with the context's error or the signal's reason; the caller is closed all the same, and what runs goes on. If it is
   * neither a context nor a signal, rejects with TypeError, and the caller is open. May be called again.
   */
  close(cancel?: Cancel): Promise<void> {
    return this.#caller.close(cancel);
  }
}

/** The `dispatch` of an undici dispatcher, of any version. */
export type DispatchLike = (options: never, handler: never) => boolean;

/**
 * The same limits for what is sent by undici's dispatchers, of undici 6, 7 and 8: `agent.compose(interceptor())`. All
 * dispatchers that are composed with what one call returns share its limits. The request counts, and its deadline runs,
 * until undici has ended it. Requests of a `Client` or a `Pool` name no origin: those of each that is composed are
 * counted under a host of its own, `client-1.invalid`, `client-2.invalid` and so on, and the option `key` gets that
 * URL.
 *
 * Its handler gets the errors that {@link SafeCaller.fetch} rejects with: a failure of the network is a
 * {@link NetworkError}, with undici's `code`. As they are it gets the reason with which it aborts, what it throws
 * itself, undici's errors for arguments and for a dispatcher that is closed, and answers of which other interceptors
 * have made errors. `fetch` over such a dispatcher rejects with them as the `cause` of its TypeError. There are no
 * retries and no hedges: undici has interceptors of its own for that. A request that is upgraded counts until its
 * upgrade.
 *
 * Throws RangeError for a number outside its range, TypeError for an option of another type.
 */
export function interceptor(options?: InterceptorOptions): <D extends DispatchLike>(dispatch: D) => D {
  return interceptorOf(options) as <D extends DispatchLike>(dispatch: D) => D;
}
