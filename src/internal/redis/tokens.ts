/** The tokens of one key, which the limiters of a fleet share. */
import { now } from "../time/clock.ts";
import type { Kind } from "../track/tracker.ts";
import type { Source } from "../wait/source.ts";
import { type CancelHooks, type Wait, Waiters } from "../wait/wait.ts";
import type { Answer, Link } from "./link.ts";
import { GIVE_BACK, TAKE } from "./scripts.ts";

/** The longest wait that is asked for, in nanoseconds: 285 years, which the server can still answer. */
const LONGEST = 9e18;

/** Requests in one call at most: while a script runs, the server answers nobody else. */
const MOST_REQUESTS = 256;

/** A rate, and the key of the bucket. */
export interface Bucket {
  readonly link: Link;
  readonly key: string;
  readonly limit: number;
  readonly burst: number;
}

/** What has been taken. */
export interface Taken {
  readonly n: number;
  /** How long to wait before acting, in nanoseconds. */
  readonly wait: number;
  /** When to act, by the clock of this process: counted from when the answer came, so never too early. */
  readonly timeToAct: number;
  /** When it was taken, by the clock of the server. */
  readonly serverTime: number;
}

/** How long the caller is ready to wait. */
export interface Patience {
  /** The latest time to act. One that has passed stands for the time at which Redis is asked. */
  readonly latest: number;
  /** Beyond this nothing is taken, even if it has passed. */
  readonly deadline: number;
}

interface Request {
  readonly n: number;
  readonly patience: Patience;
  /** Set when its caller has left while the call was out. */
  left: boolean;
}

/**
 * Requests of one turn for one bucket, which one call asks. Each waits for the answer, and resolves to undefined if
 * nothing was taken.
 */
class Batch implements CancelHooks<Wait<Taken | undefined, Request>> {
  private readonly bucket: Bucket;
  private readonly until: number;
  private readonly waiters: Waiters<Taken | undefined, Request>;

  // Once it is sent, those that were asked for.
  private requests: Request[] = [];

  constructor(bucket: Bucket, kind: Kind) {
    this.bucket = bucket;
    this.until = now() + bucket.link.timeout;
    this.waiters = new Waiters<Taken | undefined, Request>(kind, this);
  }

  isFull(): boolean {
    return this.requests.length >= MOST_REQUESTS;
  }

  add(source: Source | undefined, n: number, patience: Patience): Promise<Taken | undefined> {
    const request: Request = { n, patience, left: false };
    this.requests.push(request);
    return this.waiters.park(source, request);
  }

  onCancel({ value }: Wait<Taken | undefined, Request>): void {
    value.left = true;
  }

  send(): void {
    const { link, key, limit, burst } = this.bucket;
    this.requests = this.requests.filter((request) => !request.left);
    if (this.requests.length === 0) return;
    const t = now();
    const args = [String(limit), String(burst)];
    for (const { n, patience } of this.requests) {
      const longest = Math.min(Math.max(patience.latest - t, 0), patience.deadline - t);
      args.push(String(n), String(Math.min(Math.floor(longest * 1e6), LONGEST)));
    }
    const late = (answer: Answer) => this.giveBackAll(answer);
    link.call(TAKE, [key], args, { until: this.until, late }).then(
      (answer) => this.settle(answer),
      (error) => this.waiters.rejectAll(error),
    );
  }

  /** Settles the requests whose callers still wait, which are the waiters, in the same order. */
  private settle(answer: Answer): void {
    for (const [i, request] of this.requests.entries()) {
      const taken = this.takenBy(request, i, answer);
      if (!request.left) this.waiters.wakeOne(taken);
      else if (taken !== undefined) giveBack(this.bucket, taken, true);
    }
  }

  /** The callers have been told that there was no answer. */
  private giveBackAll(answer: Answer): void {
    for (const [i, request] of this.requests.entries()) {
      const taken = this.takenBy(request, i, answer);
      if (taken !== undefined) giveBack(this.bucket, taken, true);
    }
  }

  private takenBy({ n }: Request, i: number, answer: Answer): Taken | undefined {
    const wait = answer[i + 1] as number;
    if (wait < 0) return undefined;
    return { n, wait, timeToAct: now() + wait / 1e6, serverTime: answer[0] as number };
  }
}

// The batches that are to be sent in the next macrotask, by link, and there by bucket.
const batches = new WeakMap<Link, Map<string, Batch>>();

/**
 * Takes n tokens, at most `burst`, if the time to act is within the patience; resolves to undefined otherwise, with
 * nothing taken. Rejects with UnavailableError, and when the source ends, which has been polled. Nothing is taken then,
 * or it is given back.
 */
export function take(
  bucket: Bucket,
  kind: Kind,
  source: Source | undefined,
  n: number,
  patience: Patience,
): Promise<Taken | undefined> {
  const { link, key, limit, burst } = bucket;
  const pending = batches.get(link) ?? new Map<string, Batch>();
  batches.set(link, pending);
  const id = `${limit} ${burst} ${key}`;
  const found = pending.get(id);
  if (found !== undefined && !found.isFull()) return found.add(source, n, patience);
  const batch = new Batch(bucket, kind);
  pending.set(id, batch);
  link.post(() => {
    if (pending.get(id) === batch) pending.delete(id);
    batch.send();
  });
  return batch.add(source, n, patience);
}

/**
 * Gives back what will not be used. `unused`: it has certainly not been used, even if its time to act has passed. What
 * later requests depend on is lost.
 */
export function giveBack({ link, key, limit, burst }: Bucket, taken: Taken, unused: boolean): void {
  const { n, wait, serverTime } = taken;
  if (n === 0) return;
  const args = [limit, burst, n, serverTime, wait, Number(unused)].map(String);
  link.post(() => {
    // If Redis cannot be asked, the tokens are lost: the fleet does less than it might, never more.
    link.call(GIVE_BACK, [key, `${key}:${link.nextId()}`], args, { anyTime: true }).catch(() => {});
  });
}
