/** A call's way: through the gate, out by `fetch`, and again where retries are allowed; with hedges, twice at once. */

import type { Context } from "../../context.ts";
import type { HostStats, SafeInit, Stats } from "../../http.ts";
import { retry } from "../../retry.ts";
import { optionsOf, wholeNumber } from "../data/args.ts";
import { now } from "../time/clock.ts";
import { budgetWait } from "../time/turn.ts";
import type { Cancel } from "../wait/source.ts";
import { Attempt, type Transport } from "./attempt.ts";
import { Call } from "./call.ts";
import { NetworkError } from "./errors.ts";
import { type Entry, Gate } from "./gate.ts";
import { hedged } from "./hedge.ts";
import type { Host } from "./hosts.ts";
import { type HedgePolicy, type Policy, positive, type RetryPolicy } from "./options.ts";
import { Outgoing, plainInit, sourcesOf } from "./outgoing.ts";
import { observeSending } from "./phases.ts";
import { retryAfterOf } from "./retryafter.ts";

/** What all attempts of a call share. */
interface Job {
  readonly call: Call;
  readonly host: Host;
  readonly outgoing: Outgoing;
  readonly weight: number;
}

/** An answer that would be tried again, thrown so that `retry` decides. */
class RetryableAnswer {
  readonly attempt: Attempt;

  constructor(attempt: Attempt) {
    this.attempt = attempt;
  }
}

/** What a SafeCaller does. */
export class Caller implements Transport {
  private readonly policy: Policy;
  private readonly gate: Gate;

  constructor(policy: Policy) {
    this.policy = policy;
    this.gate = new Gate(policy);
    if (policy.phases) observeSending();
  }

  get phases(): boolean {
    return this.policy.phases;
  }

  callFetch(input: string | URL | Request, init: RequestInit): unknown {
    const { fetch } = this.policy;
    // The host's is looked up now: tests replace it.
    return fetch === undefined ? globalThis.fetch(input, init) : fetch(input, init);
  }

  async fetch(given: string | URL | Request, givenInit: SafeInit | undefined): Promise<Response> {
    this.gate.checkOpen();
    const [input, init] = plainInit(given, optionsOf(givenInit, "fetch: init"));
    const { timeout = this.policy.timeout, weight = 1 } = init;
    positive(timeout, "fetch: timeout");
    wholeNumber(weight, "fetch: weight", 1);
    const outgoing = new Outgoing(input, init);
    const host = this.gate.hosts.at(outgoing.url);
    const call = new Call(host.key, outgoing, sourcesOf(input, init), timeout);
    let response: Response;
    host.users++;
    try {
      if (call.hasEnded()) throw call.endError("queue", "no");
      const job = { call, host, outgoing, weight };
      const attempt = await (this.policy.retry === undefined ? this.attempt(job, true) : this.withRetries(job));
      response = attempt.deliver();
    } catch (error) {
      call.finish(); // Aborts an attempt that is left: its answer, say, where a function that decides on it has failed.
      const turn = budgetWait();
      if (turn !== undefined) await turn;
      throw error;
    } finally {
      host.users--;
    }
    if (response.status < 500) this.policy.hedge?.budget.earn();
    const turn = budgetWait();
    if (turn !== undefined) await turn;
    return response;
  }

  stats(): Stats {
    const hosts: [string, HostStats][] = [];
    for (const host of this.gate.hosts.all()) {
      hosts.push([host.key, { running: host.running, queued: host.queued, breaker: host.breaker?.peekState() }]);
    }
    return { running: this.gate.running, queued: this.gate.waiting(), hosts: Object.fromEntries(hosts) };
  }

  close(cancel: Cancel | undefined): Promise<void> {
    return this.gate.close(cancel);
  }

  private async withRetries(job: Job): Promise<Attempt> {
    const { call, outgoing } = job;
    const policy = this.policy.retry as RetryPolicy;
    const { attempts, base, cap, budget } = policy;
    const { statuses } = this.policy;
    let isBetween = false; // Two attempts.
    try {
      return await retry(
        call.ctx,
        async (_, n) => {
          isBetween = false;
          this.gate.unpark(call);
          call.attempt = n;
          const attempt = await this.attempt(job, n === attempts || !outgoing.isReplayable);
          // Thrown even if it is the last one: it must not count as a success for the budget.
          if (statuses.has(attempt.response.status)) throw new RetryableAnswer(attempt);
          return attempt;
        },
        {
          attempts: outgoing.isReplayable ? attempts : 1,
          base,
          cap,
          budget,
          retryIf: (error) => mayRetry(error, outgoing) && !this.refuses(job),
          retryAfter: (error) => retryAfter(error, policy),
          onRetry: (error, _, delay) => {
            if (!this.gate.hosts.hasTokenIn(job.host, delay)) throw error; // The answer that there is counts.
            isBetween = true;
            this.gate.park(call);
            if (error instanceof RetryableAnswer) error.attempt.drop();
          },
        },
      );
    } catch (error) {
      if (error instanceof RetryableAnswer) return error.attempt; // It has given up: the answer is the caller's.
      if (error !== call.ctx.err()) throw error;
      throw call.endError(isBetween ? "backoff" : "queue", "no");
    } finally {
      this.gate.unpark(call);
    }
  }

  /** Whether a further attempt would be refused at once: then the answer that there is counts. */
  private refuses({ host }: Job): boolean {
    return this.gate.isClosed() || host.breaker?.state() === "open";
  }

  /**
   * Makes an attempt. Throws, or rejects, as the gate and `send` do; no async function, as most calls go through it.
   */
  private attempt(job: Job, isLast: boolean): Promise<Attempt> {
    const entered = this.gate.enter(job.call, job.host, job.weight);
    if (entered instanceof Promise) return entered.then((entry) => this.send(job, entry, isLast));
    return this.send(job, entered, isLast);
  }

  private send(job: Job, entry: Entry, isLast: boolean): Promise<Attempt> {
    const { hedge } = this.policy;
    const attempt = this.begin(job, entry);
    if (hedge === undefined || !job.outgoing.isSafe || !job.outgoing.isReplayable) {
      return attempt.send(job.outgoing, isLast, this);
    }
    const answer = attempt.send(job.outgoing, false, this);
    return hedged(
      {
        call: job.call,
        policy: hedge,
        isGood: (status) => status < 500 && !this.policy.statuses.has(status),
        enter: (ctx) => this.enterAgain(job, hedge, ctx),
        begin: (another) => {
          const further = this.begin(job, another);
          return [further, further.send(job.outgoing, false, this)];
        },
        leave: (another) => {
          hedge.budget.giveBack();
          this.gate.leave(job.host, another);
        },
      },
      [attempt, answer],
    );
  }

  /** What an attempt beside another needs, if there is a slot and a token for it. */
  private async enterAgain(job: Job, { budget }: HedgePolicy, ctx: Context): Promise<Entry | undefined> {
    if (!budget.spend()) return undefined;
    let entry: Entry | undefined;
    try {
      entry = await this.gate.tryEnter(ctx, job.host, job.weight);
    } catch {
      // Of a limit that cannot be asked, or that is asked no longer. The call has an attempt, whose end counts.
    }
    if (entry === undefined) budget.giveBack();
    return entry;
  }

  private begin({ call, host }: Job, { slot, counted }: Entry): Attempt {
    return new Attempt(call, host, slot, counted);
  }
}

/** Whether what failed may be sent again: it was not sent, or doing it twice does no harm. */
function mayRetry(error: unknown, outgoing: Outgoing): boolean {
  if (error instanceof RetryableAnswer) return outgoing.isIdempotent;
  return error instanceof NetworkError && (error.sent === "no" || outgoing.isIdempotent);
}

function retryAfter(error: unknown, { maxRetryAfter }: RetryPolicy): number | undefined {
  if (!(error instanceof RetryableAnswer)) return undefined;
  const ms = retryAfterOf(headerOf(error.attempt.response), now());
  return ms !== undefined && ms > maxRetryAfter ? Number.POSITIVE_INFINITY : ms;
}

/** The header; null also for an answer that some test has made without headers. */
function headerOf({ headers }: { readonly headers?: Headers }): string | null {
  return headers?.get("retry-after") ?? null;
}
