/**
 * A link to Redis: what all limits of a process that ask one client have in common.
 *
 * 1. Calls are sent in the next macrotask, in their order. So requests that begin in one turn can share a call, and no
 *    code of the client runs inside a claim, nor on the stack or in the async context of the caller.
 * 2. A call settles within `timeout`, whatever the client does. It tells the server until when it may be executed,
 *    `notAfter`: a client keeps commands while it has no connection, and sends them when nobody waits for them any
 *    more. For that the server's clock must be known. Each answer begins with it. A call that is refused as too late,
 *    as the first one is, has learned it, and is sent again.
 * 3. After a call without an answer the link is *silent*: one call in `retry` milliseconds is sent, to find out, and
 *    all others fail at once. An answer in time ends that. A call that fails in another way, as at a refused
 *    connection, fails at once by itself, and does not make the link silent.
 * 4. The server tells waiters on a channel that they have been granted. The link has one channel. Messages may be lost;
 *    waiters ask, too.
 */
import { duration, optionsOf, validName } from "../data/args.ts";
import { guarded, inRootContext } from "../host/async.ts";
import { withoutStack } from "../host/errors.ts";
import { host } from "../host/host.ts";
import { now } from "../time/clock.ts";
import { type Alarm, arm, disarm, refTimer, unrefTimer } from "../time/timers.ts";
import { macrotask } from "../time/turn.ts";
import { giveName, type LinkTotals, totalsOf } from "../track/named.ts";
import {
  type Client,
  checkSubscriber,
  isUnknownScript,
  type Runner,
  runnerOf,
  type Subscriber,
  subscribe,
} from "./client.ts";
import { UnavailableError } from "./errors.ts";
import { EPOCH, type Script } from "./scripts.ts";

/** How a link asks, and what it is called. Everything may be left out. */
export interface LinkOptions {
  /** How many milliseconds a call may take: above 0, at most a minute. 250 if left out. */
  readonly timeout?: number | undefined;

  /**
   * After a call without an answer, one call is sent in so many milliseconds, and others fail at once: above 0, at most
   * a minute. 500 if left out.
   */
  readonly retry?: number | undefined;

  /**
   * A second connection, on which semaphores and locks are told at once that they have been granted, in the order in
   * which they asked. Without one they ask again and again, in no order.
   */
  readonly subscriber?: Subscriber | undefined;

  /** A label of its metrics (`gopark/metrics`): well-formed Unicode. Without one it has no metrics of its own. */
  readonly name?: string | undefined;
}

/** An answer: the time of the server, in microseconds since 2025, and more. */
export type Answer = readonly number[];

/** How a call is made. */
interface CallOptions {
  /** Until when it is to be answered. From now on, `timeout` milliseconds, if left out. */
  readonly until?: number;
  /** Whether it keeps the process alive. True if left out. */
  readonly holds?: boolean;
  /** Whether it may be executed at any time, as what gives something back may: it is sent even by a silent link. */
  readonly anyTime?: boolean;
  /** Told of an answer that comes when the call has failed for want of it, and of when it was sent. */
  readonly late?: (answer: Answer, sentAt: number) => void;
}

/** What waits or holds by a link, and ends with it. */
export interface Closable {
  close(error: Error): void;
}

/** A waiter that the server may tell of a grant. `expiresAt` is by the clock of this process. */
export interface Granted extends Closable {
  pushed(fence: number, expiresAt: number): void;
  /** The subscription has begun: a message may have been missed. */
  askSoon(): void;
}

const LONGEST = 60_000;

/** A connection to Redis or Valkey, shared by any number of limiters, semaphores and locks. Made by `connect`. */
export class Link {
  /**
   * The one of this link in the whole fleet, drawn at random: the ids of its leases and places begin with it, and its
   * channel ends with it. Log it at the start, to know later who holds what.
   */
  readonly id: string;

  /** @internal */
  readonly timeout: number;

  /** @internal */
  readonly retry: number;

  /** @internal The waiters that the server may tell, by their ids. */
  readonly waiting: Map<string, Granted> = new Map();

  /** @internal What holds a lease. */
  readonly holding: Set<Closable> = new Set();

  /** @internal For tests: the clock that scripts are given. */
  serverClock: (() => string) | undefined = undefined;

  readonly #runner: Runner;
  readonly #subscriber: Subscriber | undefined;
  #subscription: "none" | "begun" | "there" = "none";
  #unsubscribe: (() => Promise<unknown>) | undefined = undefined;

  // What is to be sent in the next macrotask, in order. Not empty while that is on its way.
  #posted: (() => void)[] = [];

  // The calls that are out.
  readonly #calls = new Set<Call>();

  // How many milliseconds the server's clock is ahead of ours, at least, by the newest answer; and at most, by the
  // smallest bound that no later answer has contradicted.
  #leastAhead = Number.NEGATIVE_INFINITY;
  #mostAhead = Number.POSITIVE_INFINITY;

  // While the link is silent: what others fail with, and when the next call may be sent.
  #silence: UnavailableError | undefined = undefined;
  #probeAt = 0;

  #ids = 0;
  #closing: TypeError | undefined = undefined;
  #closed: Promise<void> | undefined = undefined;

  // For metrics: what this link has done, and what all links of its name have.
  #sent = 0;
  #failed = 0;
  readonly #totals: LinkTotals;

  /** @internal */
  constructor(client: Client, options: LinkOptions | undefined) {
    const { timeout = 250, retry = 500, subscriber, name } = optionsOf(options, "connect: options");
    this.#runner = runnerOf(client, "connect: client");
    this.timeout = shortDuration(timeout, "connect: timeout");
    this.retry = shortDuration(retry, "connect: retry");
    if (subscriber !== undefined) checkSubscriber(subscriber, "connect: subscriber");
    this.#subscriber = subscriber;
    if (name !== undefined) validName(name, "connect: name");
    this.id = newId();
    giveName("redisLink", this, name, "connect: name");
    this.#totals = totalsOf(name);
  }

  /**
   * Whether calls have an answer in time. True before the first, and where they fail at once: {@link failures} counts
   * those.
   */
  available(): boolean {
    return this.#silence === undefined;
  }

  /** How many calls have been sent to the server. */
  calls(): number {
    return this.#sent;
  }

  /** How many calls have failed, those that were not sent among them. */
  failures(): number {
    return this.#failed;
  }

  /**
   * Gives back every lease that is held by this link, whose contexts end with a LostError as their cause, and ends
   * every wait for one with TypeError, as every later call fails. Resolves when Redis has been told, or did not answer
   * in time: then close the client, which this does not do. Never rejects.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing = new TypeError("the link is closed");
    for (const waiter of [...this.waiting.values()]) waiter.close(this.#closing);
    for (const holder of [...this.holding]) holder.close(this.#closing);
    // What they have posted is sent, and what is out is answered: each call settles in time. Then what is given back of
    // those answers, as the lease of a request that had left when it was granted.
    do {
      await new Promise<void>((resolve) => this.post(resolve));
      await Promise.all([...this.#calls].map((call) => call.ended));
    } while (this.#posted.length > 0);
    this.#endSubscription();
  }

  #endSubscription(): void {
    // Not awaited: a client may keep it for as long as it has no connection, and then the subscription is gone, too.
    void this.#unsubscribe?.().catch(() => {});
    this.#unsubscribe = undefined;
  }

  /** @internal */
  isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /** @internal Throws TypeError once the link is closed. */
  checkOpen(): void {
    if (this.#closing !== undefined) throw this.#closing;
  }

  /** @internal An id that no other link gives, in this process or another. */
  nextId(): string {
    return `${this.id}:${++this.#ids}`;
  }

  /** @internal Calls `send` in the next macrotask, outside of all async contexts. */
  post(send: () => void): void {
    if (this.#posted.push(send) === 1) inRootContext(this.#flushLater);
  }

  readonly #flush = (): void => {
    const posted = this.#posted;
    this.#posted = [];
    for (const send of posted) guarded(send);
  };

  readonly #flushLater = (): void => macrotask(this.#flush);

  /**
   * @internal
   * Runs a script. To be called in a function that was {@link post}ed. Rejects with UnavailableError, and with nothing
   * else.
   */
  call(script: Script, keys: string[], args: string[], options: CallOptions = {}): Promise<Answer> {
    const refusal = options.anyTime ? undefined : this.#refusal();
    if (refusal !== undefined) {
      this.#noteFailure();
      return Promise.reject(refusal);
    }
    const call = new Call(this, script, keys, args, options);
    this.#calls.add(call);
    arm(call);
    if (call.holds) refTimer();
    void this.#run(call);
    return call.answer;
  }

  /** What a call fails with that would begin now; undefined if it may be sent. */
  #refusal(): UnavailableError | undefined {
    if (this.#silence === undefined) return undefined;
    const t = now();
    if (t < this.#probeAt) return this.#silence;
    this.#probeAt = t + Math.max(this.retry, this.timeout);
    return undefined;
  }

  /** @internal Whether a call that failed with this was not sent, as the link is silent. */
  isRefusal(error: unknown): boolean {
    return error === this.#silence;
  }

  /** Sends a call, once more where the server finds it too late. */
  async #run(call: Call): Promise<void> {
    for (;;) {
      const sentAt = now();
      this.#sent++;
      this.#totals.calls++;
      let answer: number[];
      try {
        answer = numbersOf(await this.#execute(call));
      } catch (error) {
        this.#end(call, unavailable(error));
        return;
      }
      this.#learn((answer[0] as number) / 1000 + EPOCH, sentAt, now());
      const isOut = this.#calls.has(call);
      const isTooLate = answer.length === 1;
      if (isTooLate && isOut) continue;
      if (isOut) {
        this.#silence = undefined;
        this.#end(call, answer);
      } else if (!isTooLate) call.options.late?.(answer, sentAt);
      return;
    }
  }

  async #execute({ script, keys, args, when, options }: Call): Promise<unknown> {
    const notAfter = options.anyTime ? 1e300 : Math.floor((when + this.#leastAhead - EPOCH) * 1000);
    const all = [this.serverClock?.() ?? "", String(Math.max(notAfter, -1e300)), ...args];
    try {
      return await this.#runner.byHash(script.sha, keys, all);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      return await this.#runner.byText(script.text, keys, all);
    }
  }

  /** @internal A call has had no answer in time. */
  timedOut(call: Call): void {
    if (!this.#calls.has(call)) return;
    const error = withoutStack(() => new UnavailableError(`redis: no answer within ${this.timeout} ms`));
    if (this.#silence === undefined) {
      const message = `redis: not asked, as a call before had no answer within ${this.timeout} ms`;
      this.#silence = withoutStack(() => new UnavailableError(message));
      this.#probeAt = now() + this.retry;
    }
    this.#end(call, error);
  }

  #end(call: Call, result: Answer | UnavailableError): void {
    if (!this.#calls.delete(call)) return;
    disarm(call);
    if (call.holds) unrefTimer();
    if (result instanceof Error) {
      this.#noteFailure();
      call.fail(result);
    } else call.succeed(result);
  }

  #noteFailure(): void {
    this.#failed++;
    this.#totals.failures++;
  }

  /** The server's clock showed `serverTime` between two instants of ours. */
  #learn(serverTime: number, sentAt: number, receivedAt: number): void {
    this.#leastAhead = serverTime - receivedAt;
    const most = serverTime - sentAt;
    // If it is further ahead than it could be, it has been set forward.
    this.#mostAhead = this.#leastAhead > this.#mostAhead ? most : Math.min(this.#mostAhead, most);
  }

  /**
   * @internal
   * The channel on which waiters are told; undefined without a subscriber. Subscribes to it at the first call, and
   * again at later ones where that has failed.
   */
  channel(): string | undefined {
    if (this.#subscriber === undefined) return undefined;
    const channel = `gopark:${this.id}`;
    if (this.#subscription === "none") {
      this.#subscription = "begun";
      const subscriber = this.#subscriber;
      this.post(() => void this.#subscribe(subscriber, channel));
    }
    return channel;
  }

  /** @internal Whether waiters are told. */
  tells(): boolean {
    return this.#subscription === "there";
  }

  async #subscribe(subscriber: Subscriber, channel: string): Promise<void> {
    try {
      this.#unsubscribe = await subscribe(subscriber, channel, (message) => this.#receive(message));
    } catch {
      this.#subscription = "none"; // The waiters ask by themselves meanwhile, and the next one tries again.
      return;
    }
    this.#subscription = "there";
    if (this.#closing !== undefined) this.#endSubscription();
    for (const waiter of [...this.waiting.values()]) waiter.askSoon();
  }

  #receive(message: string): void {
    const [id = "", fence, expiry] = message.split("|");
    // By the server's clock it expires no earlier than this; and no later than a whole lease from now, which the waiter
    // sees to.
    this.waiting.get(id)?.pushed(Number(fence), Number(expiry) / 1000 + EPOCH - this.#mostAhead);
  }
}

/** A call that is out, and the alarm that ends it. */
class Call implements Alarm {
  readonly when: number;
  index = -1;
  readonly script: Script;
  readonly keys: string[];
  readonly args: string[];
  readonly options: CallOptions;
  readonly holds: boolean;
  readonly answer: Promise<Answer>;
  succeed!: (answer: Answer) => void;
  fail!: (error: Error) => void;
  private readonly link: Link;

  constructor(link: Link, script: Script, keys: string[], args: string[], options: CallOptions) {
    this.link = link;
    this.script = script;
    this.keys = keys;
    this.args = args;
    this.options = options;
    this.holds = options.holds !== false;
    this.when = options.until ?? now() + link.timeout;
    this.answer = new Promise((succeed, fail) => {
      this.succeed = succeed;
      this.fail = fail;
    });
  }

  /** Resolves when it has an answer, or none in time. */
  get ended(): Promise<unknown> {
    return this.answer.catch(() => {});
  }

  fire(): void {
    // After a long block of the event loop the answer may be there, and not have been read: timers come before I/O.
    inRootContext(() => macrotask(() => this.link.timedOut(this)));
  }
}

/** The numbers of an answer. Throws TypeError if it is not one of our scripts'. */
function numbersOf(reply: unknown): number[] {
  // Number makes 0 of null and of an empty text, which would be a grant.
  const numbers = Array.isArray(reply) ? reply.map((it) => (it === null || it === "" ? Number.NaN : Number(it))) : [];
  if (numbers.length > 0 && !numbers.some(Number.isNaN)) return numbers;
  throw new TypeError("the client's answer is not that of the script");
}

function unavailable(cause: unknown): UnavailableError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return withoutStack(() => new UnavailableError(`redis: ${why}`, { cause }));
}

/** Returns the milliseconds if they are above 0 and at most a minute. */
function shortDuration(ms: number, what: string): number {
  if (duration(ms, what) > 0 && ms <= LONGEST) return ms;
  throw new RangeError(`${what} must be above 0 and at most ${LONGEST} milliseconds, got ${ms}`);
}

/** 60 random bits: enough for every link of a fleet to have its own. */
function newId(): string {
  return host.crypto.randomUUID().replaceAll("-", "").slice(0, 16);
}
