/**
 * Admission: decides which requests a server takes on, and gives each of them one deadline.
 *
 * A server that takes on more than it can do serves nobody: each request waits behind the others until its client has
 * given up. `rateLimit` bounds how often one client may ask, `shed` bounds how much runs at once and refuses the rest
 * at once, and `deadline` gives each request a context that ends when its time is up, or when its client has gone. An
 * adapter installs them: `nodeHandler` for `node:http`, `express`, `fastify`, `hono`, and `web` for functions from
 * Request to Response.
 *
 * Rules of use:
 *
 * - Install `deadline` first, then `rateLimit`, then `shed`: then the deadline covers the time in the queue, and a
 *   client that asks too often takes no slot.
 * - Install them before anything that reads bodies: an upload that is refused, or breaks off, costs nothing then.
 * - Pass `contextOf(req)` to all that the handler waits for. Nothing stops a handler that does not look at its context.
 * - Behind a proxy, set `trust`. Without it all clients of one proxy are one client. With too much of it, a client
 *   chooses its address itself.
 * - Leave long answers (event streams, downloads) out of `shed`: they hold a slot for as long as they last.
 *
 * ```ts
 * import { createServer } from "node:http";
 * import { contextOf, deadline, nodeHandler, rateLimit, shed } from "gopark/admission";
 * import { time } from "gopark";
 *
 * const steps = [
 *   deadline({ timeout: 5000 }),
 *   rateLimit({ limit: 2, window: 60_000 }),
 *   shed({ max: 500, maxLoopDelay: 2000 }),
 * ];
 * const server = createServer(
 *   nodeHandler(steps, async (req, res) => {
 *     await time.sleep(1, contextOf(req)); // Stands for a call: fetch(url, { signal: contextOf(req).signal }).
 *     res.end("done");
 *   }),
 * );
 * await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
 *
 * const { port } = server.address() as { port: number };
 * for (let i = 0; i < 3; i++) {
 *   const answer = await fetch(`http://127.0.0.1:${port}/`);
 *   console.log(answer.status, (await answer.text()).trim(), answer.headers.get("ratelimit-policy"));
 * }
 * server.close();
 * server.closeAllConnections();
 * // Output:
 * // 200 done "default";q=2;w=60
 * // 200 done "default";q=2;w=60
 * // 429 Too Many Requests "default";q=2;w=60
 * ```
 *
 * Does the job of the middleware that Go services put around `net/http` handlers (`http.TimeoutHandler`, x/time/rate,
 * Netflix's concurrency-limits). Differences from Go:
 *
 * - The context of a request is asked for by `contextOf(req)`, since requests here have no place for one. It ends when
 *   the answer has been sent, as that of `net/http` does, or when the client has gone; then its cause is a
 *   ClientGoneError.
 * - A deadline answers nothing by itself. In Go `http.TimeoutHandler` answers 503 while the handler still runs.
 *   `nodeHandler` and `web` answer 504 if the handler fails with DeadlineExceeded.
 * - A handler that has failed is answered with 500, and its error is told to `report`, or is a warning of the process.
 *   In Go the connection is closed and the panic is logged.
 */
import { Canceled, type CancelScope, type Context, DeadlineExceeded, is, withCancel, withTimeout } from "./context.ts";
import { AdaptiveLimit, type AdaptiveOptions } from "./internal/admission/adaptive.ts";
import {
  type Check,
  contextOfRequest,
  type RequestInfoLite,
  type RequestScope,
  type Step,
  type Verdict,
  validSteps,
} from "./internal/admission/exchange.ts";
import { FastifyExchange, type FastifyReply, type FastifyRequest } from "./internal/admission/fastify.ts";
import { fieldString, MAX_INTEGER, RateFields } from "./internal/admission/headers.ts";
import { type HonoContext, HonoNodeExchange, nodeOf } from "./internal/admission/hono.ts";
import { type KeyFn, keyFunction } from "./internal/admission/keys.ts";
import { LoopDelay } from "./internal/admission/loop.ts";
import { errorOf, type NodeRequest, type NodeResponse, refuse, ServedExchange } from "./internal/admission/node.ts";
import { addressOf, WebExchange } from "./internal/admission/web.ts";
import {
  callable,
  duration,
  isObject,
  isThenable,
  optionsOf,
  show,
  validName,
  wholeNumber,
} from "./internal/data/args.ts";
import { warn } from "./internal/host/async.ts";
import type { Limits } from "./internal/http/limits.ts";
import { someError } from "./internal/wait/endings.ts";
import { KeyedLimiter, Sometimes } from "./rate.ts";
import { QueueFullError, Weighted } from "./semaphore.ts";
import { now } from "./time.ts";

export type { AdaptiveOptions } from "./internal/admission/adaptive.ts";
export {
  type Check,
  ClientGoneError,
  type RequestInfoLite,
  type RequestScope,
  type Step,
  type Verdict,
} from "./internal/admission/exchange.ts";
export type { FastifyReply, FastifyRequest } from "./internal/admission/fastify.ts";
export type { HonoContext } from "./internal/admission/hono.ts";
export type { KeyFn } from "./internal/admission/keys.ts";
export type { NodeRequest, NodeResponse, NodeSocket } from "./internal/admission/node.ts";
export type { Limits } from "./internal/http/limits.ts";

/** What a {@link rateLimit} allows. */
export interface RateLimitOptions {
  /** The name of the policy in the header fields, in printable ASCII, and in metrics. "default" if left out. */
  readonly name?: string | undefined;

  /** How many requests a key may make at once, and in each `window`: a whole number from 1. */
  readonly limit: number;

  /** In how many milliseconds a bucket that was emptied is full again. From 1 to 10¹². */
  readonly window: number;

  /** Whom a request counts for: one bucket for each key, or one for all with "global". The address if left out. */
  readonly key?: KeyFn | "global" | undefined;

  /**
   * Which part of `X-Forwarded-For` to believe: how many proxies stand in front of the server, or their addresses and
   * networks (`["10.0.0.0/8", "2001:db8::1"]`). 0 if left out: the header is not read.
   */
  readonly trust?: readonly string[] | number | undefined;

  /** How many bits of an IPv6 address make a client: a whole number from 1 to 128. 64 if left out. */
  readonly ipv6Prefix?: number | undefined;

  /**
   * How many keys have a bucket of their own at most: see `KeyedLimiter` of `gopark/rate`. 100 000 if left out, for
   * which an address takes some 160 to 180 bytes.
   */
  readonly maxKeys?: number | undefined;

  /**
   * What becomes of a request whose key or limit fails, as a limiter across the network may: "open" admits it, "closed"
   * refuses it with 503. "open" if left out.
   */
  readonly onError?: "open" | "closed" | undefined;

  /**
   * Told of each such error. If left out, errors are warnings of the process, at most one in ten seconds. What it
   * throws fails the request.
   */
  readonly report?: ((error: unknown) => void) | undefined;

  /**
   * The limits of keys, instead of those of this process: `limit` and `window` are only what clients are told then.
   * `at` gets an address, or "key:" and what `key` has returned, or "global".
   */
  readonly limits?: { at(key: string): Limits } | undefined;
}

/** In milliseconds: 31 years. */
const MAX_WINDOW = 1e12;

/**
 * Bounds how often each client may ask. Over the limit a request is answered with 429, with a `Retry-After`.
 *
 * Each key has a bucket of `limit` tokens that gains `limit` tokens in each `window`, evenly. So a client that was idle
 * may make `limit` requests at once, and more as tokens come. Answers carry `RateLimit-Policy` and `RateLimit`, by
 * draft-ietf-httpapi-ratelimit-headers-11: with limits of your own, `RateLimit` only on a refusal.
 *
 * A request costs two lookups in a Map and two header fields. No timer. Throws RangeError or TypeError for an option
 * outside its range or of another type.
 */
export function rateLimit(options: RateLimitOptions): Check {
  const given = optionsOf(options, "rateLimit: options");
  const { name = "default", ipv6Prefix = 64, maxKeys = 100_000, onError = "open", limits } = given;
  const limit = wholeNumber(given.limit as number, "rateLimit: limit", 1);
  const window = duration(given.window as number, "rateLimit: window");
  if (!(window >= 1 && window <= MAX_WINDOW)) {
    throw new RangeError(`rateLimit: window must be from 1 to ${MAX_WINDOW} milliseconds, got ${window}`);
  }
  if (limit > MAX_INTEGER) throw new RangeError(`rateLimit: limit must be at most ${MAX_INTEGER}, got ${limit}`);
  if (wholeNumber(ipv6Prefix, "rateLimit: ipv6Prefix", 1) > 128) {
    throw new RangeError(`rateLimit: ipv6Prefix must be at most 128, got ${ipv6Prefix}`);
  }
  wholeNumber(maxKeys, "rateLimit: maxKeys", 1);
  if (onError !== "open" && onError !== "closed") {
    throw new RangeError(`rateLimit: onError must be "open" or "closed", got ${show(onError)}`);
  }
  const fields = new RateFields(fieldString(name, "rateLimit: name"), limit, window);
  const keyOf = keyFunction(given.key, given.trust ?? 0, ipv6Prefix);
  const report = reporter(given.report, "rateLimit");
  const onFailure = (error: unknown): Verdict => {
    report(error);
    return onError === "open" ? { admit: true } : unavailable();
  };
  const refusal = (tokens: number): Verdict => ({
    admit: false,
    status: 429,
    headers: {
      "ratelimit-policy": fields.policy,
      ratelimit: fields.state(tokens),
      "retry-after": String(fields.wait(tokens)),
    },
  });

  if (limits !== undefined) {
    callable(limits?.at, "rateLimit: limits.at");
    const told: Verdict = { admit: true, headers: { "ratelimit-policy": fields.policy } };
    const verdictOf = (allowed: boolean) => (allowed === true ? told : refusal(0));
    return {
      check(r) {
        try {
          const allowed = limits.at(keyOf(r)).allow();
          return isThenable(allowed) ? Promise.resolve(allowed).then(verdictOf).catch(onFailure) : verdictOf(allowed);
        } catch (error) {
          return onFailure(error);
        }
      },
    };
  }

  const limiter = new KeyedLimiter((limit * 1000) / window, limit, { maxKeys, name: given.name });
  return {
    check(r) {
      let key: string;
      try {
        key = keyOf(r);
      } catch (error) {
        return onFailure(error);
      }
      const at = now();
      const admit = limiter.allow(key, 1, at);
      const tokens = limiter.tokens(key, at);
      if (!admit) return refusal(tokens);
      return { admit, headers: { "ratelimit-policy": fields.policy, ratelimit: fields.state(tokens) } };
    },
  };
}

/** Returns the function, or one that warns now and then. `what` is the function whose option it is. */
function reporter(report: ((error: unknown) => void) | undefined, what: string): (error: unknown) => void {
  if (report !== undefined) return callable(report, `${what}: report`);
  const sometimes = new Sometimes({ interval: 10_000 });
  return (error) => sometimes.do(() => warn(error, what));
}

/** What a {@link shed} lets through. Everything may be left out. */
export interface ShedOptions {
  /** A label of the metrics of its slots, as of a semaphore (`gopark/metrics`). Without one it has none. */
  readonly name?: string | undefined;

  /** How many requests may run at once at most: a whole number from 1. 1000 if left out. */
  readonly max?: number | undefined;

  /** How many requests may wait for a slot: a whole number from 0, or Infinity. 50 if left out. */
  readonly queue?: number | undefined;

  /** How many milliseconds a request waits for a slot at most. Above 0; 100 if left out. */
  readonly queueTimeout?: number | undefined;

  /** How the limit finds itself, up to `max`; false for a limit of `max` that does not change. */
  readonly adaptive?: AdaptiveOptions | false | undefined;

  /**
   * While the event loop is late by more than this many milliseconds, every request is refused. Above 0, Infinity for
   * never; 200 if left out.
   */
  readonly maxLoopDelay?: number | undefined;
}

/**
 * Bounds how much runs at once, and refuses the rest at once, with 503 and a `Retry-After` of 1 to 3 seconds, at
 * random, so that clients do not come back together.
 *
 * A request holds a slot from its admission until its answer has been sent, or its client has gone. If there is none,
 * it waits in a short queue, in the order of arrival. Unless `adaptive` is false, the number of slots finds itself: it
 * grows while it is used up and answers come as fast as ever, and falls when they come later. So use one `shed` for
 * each class of requests that take about the same time. See docs/admission.md for the algorithm.
 *
 * An idle check has no timer. While requests come and go, a timer ticks every 20 milliseconds, unless `maxLoopDelay` is
 * Infinity. A request costs two readings of the clock. Throws RangeError or TypeError for an option outside its range
 * or of another type.
 */
export function shed(options?: ShedOptions): Check {
  const { name, max = 1000, queue = 50, adaptive = {}, ...rest } = optionsOf(options, "shed: options");
  const { queueTimeout = 100, maxLoopDelay = 200 } = rest;
  if (name !== undefined) validName(name, "shed: name");
  wholeNumber(max, "shed: max", 1);
  if (queue !== Number.POSITIVE_INFINITY) wholeNumber(queue, "shed: queue");
  positive(queueTimeout, "shed: queueTimeout");
  positive(maxLoopDelay, "shed: maxLoopDelay");
  const limit = adaptive === false ? undefined : AdaptiveLimit.of(adaptive, max);
  const slots = new Weighted(limit?.value ?? max, { maxWaiting: queue, name });
  const loop = maxLoopDelay === Number.POSITIVE_INFINITY ? undefined : new LoopDelay();

  const admitted = (start: number): Verdict => {
    loop?.enter(start);
    return {
      admit: true,
      done(ok) {
        const end = now();
        loop?.leave(end);
        if (limit !== undefined) {
          limit.add(start, end, slots.held(), ok);
          if (limit.value !== slots.size()) slots.setSize(limit.value);
        }
        slots.release();
      },
    };
  };
  const queued = async (r: RequestInfoLite): Promise<Verdict> => {
    const { ctx, cancel } = withTimeout(r.ctx, queueTimeout);
    try {
      await slots.acquire(ctx);
    } catch (error) {
      if (error instanceof QueueFullError || ctx.err() !== undefined) return unavailable();
      throw error;
    } finally {
      cancel();
    }
    return admitted(now());
  };
  return {
    check(r) {
      const t = now();
      if (loop !== undefined && loop.delay(t) > maxLoopDelay) return unavailable();
      if (slots.tryAcquire()) return admitted(t);
      return slots.waiting() >= queue ? unavailable() : queued(r);
    },
  };
}

/** A refusal, with the advice to come back in 1 to 3 seconds. */
function unavailable(): Verdict {
  return { admit: false, status: 503, headers: { "retry-after": String(1 + Math.floor(Math.random() * 3)) } };
}

/** The time that a {@link deadline} gives. */
export interface DeadlineOptions {
  /** How many milliseconds a request has, from its arrival at this step. Above 0. Infinity: only until its end. */
  readonly timeout: number;

  /**
   * The name of a header field in which a caller may say how many milliseconds it waits, as a whole number. Less than
   * `timeout` holds; anything else is ignored.
   */
  readonly header?: string | undefined;
}

/**
 * Gives each request a context: {@link contextOf}. It ends with DeadlineExceeded when the time is up, and with Canceled
 * when the answer has been sent, or when the client has gone; then its cause is a {@link ClientGoneError}. It has the
 * values and the end of a context that an earlier step has made for the request.
 *
 * A request whose caller says that no time is left is answered with 504. Costs a context for each request; a signal
 * only if `ctx.signal` is read. Throws RangeError or TypeError for an option outside its range or of another type.
 */
export function deadline(options: DeadlineOptions): RequestScope {
  const { timeout, header } = optionsOf(options, "deadline: options");
  const most = positive(timeout as number, "deadline: timeout");
  if (header !== undefined && !(typeof header === "string" && /^[\w!#$%&'*+.^`|~-]+$/.test(header))) {
    throw new TypeError(`deadline: header must be the name of a header field, got ${show(header)}`);
  }
  return {
    open(r: RequestInfoLite, parent: Context | undefined): CancelScope {
      const said = header === undefined ? undefined : r.header(header);
      const ms = said !== undefined && /^\d{1,10}$/.test(said) ? Math.min(Number(said), most) : most;
      return withTimeout(parent, ms);
    },
  };
}

/**
 * The context that {@link deadline} has given a request. `req` is what the handler knows the request by: the request of
 * `node:http`, Express or Fastify, the context of Hono or its `req.raw`, the Request of the web.
 *
 * Throws an Error if there is none.
 */
export function contextOf(req: object): Context {
  const ctx = isObject(req) ? contextOfRequest(req) : undefined;
  if (ctx === undefined) throw new Error("contextOf: no context for this request: install admission.deadline first");
  return ctx;
}

/** How a {@link nodeHandler} tells what its handler has failed with. */
export interface HandlerOptions {
  /**
   * Told of each error that is answered with 500. If left out, errors are warnings of the process, at most one in ten
   * seconds. What it throws is thrown, or an unhandled rejection.
   */
  readonly report?: ((error: unknown) => void) | undefined;
}

/**
 * A handler of `node:http`, `node:https`, or `node:http2` with its compatible requests:
 * `createServer(nodeHandler(...))`.
 *
 * `handler` is called if all steps admit the request. If it throws or rejects, with
 * - DeadlineExceeded, its own or that of a call: the answer is 504;
 * - Canceled, when the client has gone, or the error of an upload that has broken off: nothing is left to answer;
 * - Canceled, when the answer has been sent: the context of the request has ended with it. Work that is to outlive the
 *   answer needs another context;
 * - anything else, as also a check that fails: the answer is 500, and `report` is told.
 *
 * An answer that has begun is cut off instead. Throws TypeError if a step is none, or `handler` or `report` is not a
 * function.
 *
 * The arguments of a handler without types have what all of those have in common: write
 * `(req: IncomingMessage, res: ServerResponse)` for more.
 */
export function nodeHandler<Req extends NodeRequest, Res extends NodeResponse>(
  steps: readonly Step[],
  handler: (req: Req, res: Res) => unknown,
  options?: HandlerOptions,
): (req: Req, res: Res) => void {
  const valid = validSteps(steps, "nodeHandler");
  callable(handler, "nodeHandler: handler");
  const report = reporter(optionsOf(options, "nodeHandler: options").report, "nodeHandler");
  return (req, res) => new HandlerExchange(req, res, handler, report).serve(valid);
}

class HandlerExchange<Req extends NodeRequest, Res extends NodeResponse> extends ServedExchange {
  readonly #handler: (req: Req, res: Res) => unknown;
  readonly #report: (error: unknown) => void;

  constructor(req: Req, res: Res, handler: (req: Req, res: Res) => unknown, report: (error: unknown) => void) {
    super(withCancel, req, res, [req]);
    this.#handler = handler;
    this.#report = report;
  }

  protected admitted(): void {
    try {
      const result = this.#handler(this.req as Req, this.res as Res);
      if (isThenable(result)) void Promise.resolve(result).catch((error) => this.failed(error));
    } catch (error) {
      this.failed(error);
    }
  }

  protected failed(error: unknown): void {
    const { req, res } = this;
    if (this.ended && is(error, Canceled)) return;
    if (someError(error, (e) => e === req.errored)) return; // The upload has broken off.
    const late = is(error, DeadlineExceeded);
    if (!res.headersSent) refuse(res, { status: late ? 504 : 500, headers: {} });
    else if (!res.writableEnded) res.destroy();
    if (!late) this.#report(error);
  }
}

/**
 * A middleware of Express 5 and 4: `app.use(express(deadline({ timeout: 2000 }), shed()))`, before all others. What a
 * check throws goes to the error handlers. Throws TypeError if a step is none.
 */
export function express(
  ...steps: readonly Step[]
): (req: NodeRequest, res: NodeResponse, next: (error?: unknown) => void) => void {
  const valid = validSteps(steps, "express");
  return (req, res, next) => new ExpressExchange(req, res, next).serve(valid);
}

class ExpressExchange extends ServedExchange {
  readonly #next: (error?: unknown) => void;

  constructor(req: NodeRequest, res: NodeResponse, next: (error?: unknown) => void) {
    super(withCancel, req, res, [req]);
    this.#next = next;
  }

  protected admitted(): void {
    this.#next();
  }

  protected failed(error: unknown): void {
    this.#next(errorOf(error));
  }
}

/**
 * A hook of Fastify 5: `app.addHook("onRequest", fastify(deadline({ timeout: 2000 }), shed()))`, or the `onRequest` of
 * a route. What a check throws goes to the error handler. Throws TypeError if a step is none.
 */
export function fastify(
  ...steps: readonly Step[]
): (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void {
  const valid = validSteps(steps, "fastify");
  return (request, reply, done) => new FastifyExchange(withCancel, request, reply, done).serve(valid);
}

/**
 * A middleware of Hono 4: `app.use(hono(deadline({ timeout: 2000 }), shed()))`, before all others. On Node with
 * @hono/node-server, on Deno and on Bun it finds the address of the client. What a check throws goes to `app.onError`.
 * Throws TypeError if a step is none.
 */
export function hono(
  ...steps: readonly Step[]
): (c: HonoContext, next: () => Promise<void>) => Promise<Response | undefined> {
  const valid = validSteps(steps, "hono");
  return async (c, next) => {
    const request = c.req.raw;
    const handles = [c, request];
    const node = nodeOf(c.env);
    const exchange =
      node === undefined
        ? new WebExchange(withCancel, request, addressOf(request, c.env), handles)
        : new HonoNodeExchange(withCancel, node.incoming, node.outgoing, handles);
    const refusal = await exchange.decide(valid);
    if (refusal !== undefined) return exchange.refusal(refusal);
    try {
      await next();
      if (!(exchange instanceof WebExchange)) return undefined;
      const { res } = c;
      c.res = undefined; // Otherwise the headers of the old one would replace those of the new one.
      c.res = exchange.finish(res as Response);
      return undefined;
    } catch (error) {
      exchange.end(false);
      throw error;
    }
  };
}

/** What {@link web} may be told. */
export interface WebOptions<Args extends readonly unknown[]> {
  /**
   * The address of the client, or of the last proxy. If left out, it is found in the second argument of Deno's and of
   * Bun's servers.
   */
  readonly address?: (request: Request, ...args: Args) => string | undefined;
}

/**
 * A function from Request to Response with the steps before it, for Deno, Bun, Cloudflare and all that speak the web's
 * types: `Deno.serve(web(steps, handler))`. Further arguments are handed on.
 *
 * Rejects with what a check, `address` or the handler throws; only a DeadlineExceeded of the handler is answered with
 * 504. Throws TypeError if a step is none, or `handler` or `address` is not a function.
 */
export function web<Args extends readonly unknown[]>(
  steps: readonly Step[],
  handler: (request: Request, ...args: Args) => Response | Promise<Response>,
  options?: WebOptions<Args>,
): (request: Request, ...args: Args) => Promise<Response> {
  const valid = validSteps(steps, "web");
  callable(handler, "web: handler");
  const { address = addressOf } = optionsOf(options, "web: options");
  callable(address, "web: address");
  return async (request, ...args) => {
    const exchange = new WebExchange(withCancel, request, address(request, ...args) ?? "", [request]);
    const refusal = await exchange.decide(valid);
    if (refusal !== undefined) return exchange.refusal(refusal);
    try {
      return exchange.finish(await handler(request, ...args));
    } catch (error) {
      exchange.end(false);
      if (is(error, DeadlineExceeded)) return exchange.refusal({ status: 504, headers: {} });
      throw error;
    }
  };
}

/** Returns the milliseconds if they are above 0. */
function positive(ms: number, what: string): number {
  if (duration(ms, what) > 0) return ms;
  throw new RangeError(`${what} must be above 0, got ${ms}`);
}
