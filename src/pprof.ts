/**
 * Profiles in the format that `go tool pprof` reads: where waits are parked, where tasks run, what was proved to be
 * leaked, how long waits took, where memory and processor time went. And a handler that serves them under
 * `/debug/pprof/`.
 *
 * Rules of use:
 *
 * - Most services should call `listen(6060)` of `gopark/pprof/node`, and nothing else: it serves this machine alone.
 * - `handler` is for other runtimes and for a server of your own. Its `allow` decides who may see the profiles. They
 *   show file names and functions, and taking one costs time.
 * - Counts are always there. Stacks need tracking: `leak.track("sampled")` in production, `leak.track("full")` in
 *   tests and development.
 * - `block` and `mutex` show what has ended since {@link recordBlocking}, `heap` what is alive of what was allocated
 *   since {@link recordHeap}, or else during some seconds.
 *
 * ```ts
 * import { Channel, leak } from "gopark";
 * import * as pprof from "gopark/pprof";
 *
 * leak.track("full");
 * const orders = new Channel<string>();
 * function waitForOrder() {
 *   return orders.receive();
 * }
 * const waiting = [1, 2].map(waitForOrder);
 *
 * let listing = "";
 * for await (const piece of pprof.text(1)) listing += piece;
 * const [total, count, labels, frame = ""] = listing.split("\n");
 * console.log(`${total}\n${count}\n${labels}\n${frame.split("\t")[1]}`);
 *
 * const bytes = await pprof.profile("goroutine"); // For a file that go tool pprof reads.
 * console.log(bytes instanceof Uint8Array);
 *
 * orders.close();
 * await Promise.all(waiting);
 * leak.track("counters");
 * // Output:
 * // goroutine profile: total 2
 * // 2 @
 * // # labels: {"kind":"chan receive","age":"from 0 s"}
 * // waitForOrder
 * // true
 * ```
 *
 * Ports net/http/pprof and runtime/pprof. Differences from Go:
 *
 * - `goroutine` shows waits parked in this library: a bare `new Promise(() => {})` is in no profile. Running tasks are
 *   in a profile of their own, `task`, because a task that waits would count twice.
 * - Samples have the labels `kind` ("chan receive") and `age`, which is the lower bound of a range: 0, 1, 10 seconds,
 *   1, 10 minutes, an hour, a day.
 * - Without tracking there are no stacks. Such waits are counted in a frame that says so. Under sampled tracking the
 *   number of each kind is exact, and its division among the stacks is an estimate.
 * - `goroutineleak` shows what the garbage collector has proved to be leaked, of any kind: contexts, permits and locks
 *   too. Only what is recorded can be proved: everything under full tracking, some of it under sampled tracking.
 *   `goroutine` and `task` show these again, with the label `leak`. Go looks for them when the profile is taken; here
 *   they are found when the collector runs.
 * - `block` and `mutex` are recorded from `recordBlocking()` on, every wait, without a rate. `mutex` shows waits for
 *   locks and semaphores where they waited. Go shows where the lock was unlocked.
 * - `heap` shows objects in use only. Without `recordHeap()` it shows those allocated during `seconds`, 1 if left out.
 *   The number of objects is that of the sampled ones, the number of bytes an estimate. It forces a full garbage
 *   collection, for which the process stands still.
 * - `profile` samples every millisecond. Go samples every 10 milliseconds.
 * - There are no profiles `allocs` and `threadcreate`, no `cmdline`, `symbol` and `trace`, and no deltas: only `heap`
 *   and `profile` take `seconds`.
 * - Profiles are not compressed. `go tool pprof` reads both.
 * - Nothing is registered by importing the package. The handler needs an `allow`, and at most two profiles of one name
 *   are taken at once.
 */

import { callable, optionsOf, show, wholeNumber } from "./internal/data/args.ts";
import { startRecording } from "./internal/pprof/blocking.ts";
import { namesThisMachine, respond } from "./internal/pprof/http.ts";
import { keepSampling } from "./internal/pprof/inspector.ts";
import {
  isProfileName,
  isTextName,
  PROFILE_NAMES,
  type ProfileName,
  TEXT_NAMES,
  type TextName,
  takeProfile,
  takeText,
} from "./internal/pprof/profiles.ts";
import { optionalSource } from "./internal/wait/foreign.ts";
import type { Cancel } from "./internal/wait/source.ts";

export type { ProfileName, TextName } from "./internal/pprof/profiles.ts";

/** For how long a profile is recorded, and what ends that early. */
export interface ProfileOptions {
  /**
   * For `heap` and `profile` alone: for how long to record, in seconds; above 0 and finite. 1 for `heap` and 30 for
   * `profile` if left out. `heap` does not wait if allocations are being sampled: by {@link recordHeap}, or by others
   * (`node --heap-prof`).
   */
  readonly seconds?: number | undefined;
  /** A context or signal that ends the recording. */
  readonly signal?: Cancel | undefined;
}

/**
 * Takes a profile: a protocol buffer that `go tool pprof` reads, not compressed. Write it to a file to keep it.
 *
 * `goroutine`, `task`, `goroutineleak`, `block` and `mutex` show what is there now. Long lists are read in slices of
 * some milliseconds, with a turn of the event loop between them. `heap` and `profile` are recorded for some seconds, by
 * V8. Taking `heap` forces a full garbage collection: a second or more for a large heap, for which nothing else runs.
 *
 * Rejects, with nothing being recorded any more, with
 * - TypeError, for another name or for options of another type;
 * - RangeError, if `seconds` is out of its range, or given for a profile that is not recorded;
 * - the context's error or the signal's reason, if `signal` has ended or ends before the profile is taken;
 * - an Error that says so, if the runtime cannot record it: `heap` and `profile` need Node 20.16 or later.
 */
export async function profile(name: ProfileName, options?: ProfileOptions): Promise<Uint8Array> {
  if (!isProfileName(name)) throw notAName(name, "profile", PROFILE_NAMES);
  const { seconds, signal } = optionsOf(options, "profile: options");
  if (seconds !== undefined) {
    positive(seconds, "profile: seconds");
    if (isTextName(name)) throw new RangeError(`profile: seconds is for heap and profile, got ${name}`);
  }
  const source = optionalSource(signal);
  const ending = source?.poll();
  if (ending !== undefined) throw ending.error();
  return takeProfile(name, seconds, source);
}

/**
 * A profile as text, for people, in pieces that follow one another. With 1: stacks, with how many there are at each,
 * the most first. With 2, for `goroutine` and `task`: each of them, the oldest first, with its age and stack, and with
 * the call that blocks it, where one is known (`heldAt` of a leak). Each piece is made when it is asked for and takes
 * some milliseconds, so that the event loop keeps turning; stop asking to end it.
 *
 * Throws TypeError for another level or name.
 */
export function text(level: 1 | 2, name: TextName = "goroutine"): AsyncGenerator<string, void, undefined> {
  if (level !== 1 && level !== 2) throw new TypeError(`text: level must be 1 or 2, got ${show(level)}`);
  if (!isTextName(name)) throw notAName(name, "text", TEXT_NAMES);
  return takeText(name, level);
}

/**
 * Records from now on how long each wait is parked, and where, for the profiles `block` and `mutex`. What has been
 * recorded stays. Costs a stack for each wait that parks, some microseconds, and memory for each place in the program.
 *
 * Returns a function that ends it. It stays on until every call has been ended.
 */
export function recordBlocking(): () => void {
  return startRecording();
}

/**
 * Lets V8 sample allocations from now on, for the profile `heap`: one of `interval` bytes, 524 288 if left out. It
 * costs little at that interval. If it is on already, the interval stays as it is.
 *
 * Resolves, when it is on, to a function that ends it. It stays on until every call has been ended. Rejects with
 * TypeError or RangeError if `interval` is not a whole number above 0, and with an Error that says so if the runtime
 * cannot do it: it needs Node 20.16 or later.
 */
export async function recordHeap(options?: { readonly interval?: number }): Promise<() => void> {
  const { interval = 524_288 } = optionsOf(options, "recordHeap: options");
  return keepSampling(wholeNumber(interval, "recordHeap: interval", 1));
}

/** Whether a request may see the profiles. */
export type Allow = (request: Request) => boolean | PromiseLike<boolean>;

/** What a handler may do, and for whom. */
export interface HandlerOptions {
  /**
   * Asked for each request, before anything else is done: only `true`, or a promise of it, lets the request in. Any
   * other answer is 403.
   */
  readonly allow: Allow;
  /** The longest recording that a request may ask for, in seconds; above 0 and finite. 60 if left out. */
  readonly maxSeconds?: number | undefined;
}

/**
 * A handler of requests for `/debug/pprof/`, under any prefix, for servers whose handlers return a `Response`: a page
 * that lists the profiles, and below it each by its name, with the parameters `seconds`, for `heap` and `profile`, and
 * `debug`: 1 or 2 for {@link text}.
 *
 * It answers 403 to what `allow` does not let in, 404 to other paths, 405 to other methods than GET and HEAD, 400 to
 * parameters out of their range, 429 if two requests are taking the same profile already, and 501 if the runtime cannot
 * record it. When the request's `signal` is aborted, a recording ends. It rejects with what `allow` throws.
 *
 * Throws TypeError if `allow` is not a function or `maxSeconds` is not a number, RangeError if that is out of its
 * range.
 */
export function handler(options: HandlerOptions): (request: Request) => Promise<Response> {
  const { allow, maxSeconds = 60 } = optionsOf(options, "handler: options");
  const rules = {
    allow: callable(allow, "handler: allow"),
    maxSeconds: positive(maxSeconds, "handler: maxSeconds"),
  };
  return (request) => respond(request, rules);
}

/**
 * Whether a request names this machine as its host (`localhost`, `127.0.0.1` or `[::1]`), and no page of another site
 * has sent it: an `allow` for a port that only this machine can reach. There it keeps out the pages in a browser, whose
 * host can be made to lead to this machine. It is not enough for a port that others reach, also by way of a proxy: they
 * may name any host.
 */
export function isLocal(request: Request): boolean {
  return namesThisMachine(request);
}

function positive(n: number, what: string): number {
  if (typeof n !== "number") throw new TypeError(`${what} must be a number, got ${show(n)}`);
  if (n > 0 && n < Number.POSITIVE_INFINITY) return n;
  throw new RangeError(`${what} must be above 0 and finite, got ${n}`);
}

function notAName(name: unknown, what: string, names: readonly string[]): TypeError {
  return new TypeError(`${what}: name must be one of ${names.join(", ")}, got ${show(name)}`);
}
