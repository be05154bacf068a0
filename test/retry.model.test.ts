/**
 * Retrying: random programs of several callers with one budget, against a reference that computes from a script when
 * each attempt begins.
 */
import { background, type CancelScope, type Context, withCancel, withDeadline } from "gopark/context";
import { Budget, permanent, retry } from "gopark/retry";
import { now } from "gopark/time";
import { expect, test, vi } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";
import { type Watched, watch } from "./support/watch.ts";

const t0 = 1_700_000_000_000;

/** How an attempt goes: how many milliseconds it takes, and how it ends. */
interface Attempt {
  readonly takes: number;
  readonly ends: "ok" | "error" | "permanent" | "range" | "no";
  readonly after: number;
  readonly part: number;
}

interface Caller {
  readonly begins: number;
  readonly script: readonly Attempt[];
  readonly attempts: number;
  readonly base: number;
  readonly cap: number;
  readonly total: number;
  readonly cancelAt: number;
  readonly deadline: number;
}

/** What happens to a caller: when its attempts begin, and with what it ends. */
interface Story {
  readonly starts: number[];
  end: string;
}

/** The callers one after the other in time: events of one instant come in the order of the callers. */
function reference(callers: readonly Caller[], tokens: number, ratio: number): [Story[], number] {
  const stories: Story[] = callers.map(() => ({ starts: [], end: "" }));
  let left = tokens;
  const events = callers.map((c, i) => ({ at: c.begins, i, attempt: 1, is: "start" as "start" | "end" | "cancelled" }));
  for (;;) {
    events.sort((a, b) => a.at - b.at || a.i - b.i);
    const event = events.shift();
    if (event === undefined) return [stories, left];
    const { at, i, attempt } = event;
    const c = callers[i] as Caller;
    const story = stories[i] as Story;
    const step = c.script[attempt - 1] as Attempt;
    if (event.is === "cancelled") {
      story.end = "cancelled";
      left = Math.min(100, left + 1);
    } else if (event.is === "start") {
      story.starts.push(at);
      events.push({ at: at + step.takes, i, attempt, is: "end" });
    } else if (step.ends === "ok") {
      story.end = "ok";
      left = Math.min(100, left + ratio);
    } else {
      story.end = `error ${attempt}`;
      const wait = step.part * Math.min(c.cap, c.base * 2 ** (attempt - 1)) + Math.max(step.after, 0);
      const next = at + wait;
      const last = Math.min(c.begins + c.total, c.deadline);
      if (step.ends !== "error" || attempt >= c.attempts || at >= c.cancelAt || at >= c.deadline) continue;
      if (next >= last || left < 1) continue;
      left -= 1;
      if (c.cancelAt < next) events.push({ at: c.cancelAt, i, attempt, is: "cancelled" });
      else events.push({ at: next, i, attempt: attempt + 1, is: "start" });
    }
  }
}

/** Instants are multiples of 8 and callers are shifted against each other, so that no two events share an instant. */
function program(rnd: Random, callers: number): Caller[] {
  return Array.from({ length: callers }, (_, i) => {
    const begins = 8 * rnd.int(0, 20) + i;
    const attempts = rnd.int(1, 5);
    const script = Array.from({ length: attempts }, () => ({
      takes: 8 * rnd.int(1, 6),
      ends: rnd.pick(["ok", "error", "error", "error", "error", "permanent", "range", "no"] as const),
      after: rnd.bool(0.2) ? 8 * rnd.int(-1, 40) : 0,
      part: rnd.pick([0.5, 1]),
    }));
    return {
      begins,
      script,
      attempts,
      base: 16 * rnd.int(1, 4),
      cap: 16 * rnd.int(1, 12),
      total: rnd.bool(0.5) ? 8 * rnd.int(1, 60) : Number.POSITIVE_INFINITY,
      cancelAt: rnd.bool(0.3) ? begins + 8 * rnd.int(1, 60) + 4 : Number.POSITIVE_INFINITY,
      deadline: rnd.bool(0.3) ? begins + 8 * rnd.int(1, 100) : Number.POSITIVE_INFINITY,
    };
  });
}

function ended({ state, reason }: Watched): string {
  if (state === "fulfilled") return "ok";
  const { message } = reason as Error;
  return message === "context canceled" ? "cancelled" : message;
}

async function run(rnd: Random): Promise<void> {
  vi.useFakeTimers({ now: t0 });
  const callers = program(rnd, 4);
  const ratio = rnd.pick([0.25, 0.5]);
  const min = rnd.int(0, 6);
  const [wanted, left] = reference(callers, min, ratio);
  const budget = new Budget({ ratio, min });
  const ours: Story[] = callers.map(() => ({ starts: [], end: "" }));
  const scopes: CancelScope[] = [];
  const watched: Watched[] = [];

  const begin = (c: Caller, i: number): void => {
    const scope = withCancel(background());
    const timed = Number.isFinite(c.deadline) ? withDeadline(scope.ctx, t0 + c.deadline) : scope;
    scopes[i] = scope;
    let number = 0;
    const fn = async (_: Context, attempt: number): Promise<void> => {
      ours[i]?.starts.push(Math.round(now() - t0));
      number = attempt;
      const step = c.script[attempt - 1] as Attempt;
      await new Promise<void>((resolve) => setTimeout(resolve, step.takes));
      if (step.ends === "ok") return;
      const error = step.ends === "range" ? new RangeError(`error ${attempt}`) : new Error(`error ${attempt}`);
      throw step.ends === "permanent" ? permanent(error) : error;
    };
    const { attempts, base, cap, total, script } = c;
    const step = () => script[number - 1] as Attempt;
    const options = {
      attempts,
      base,
      cap,
      total,
      budget,
      random: () => step().part,
      retryAfter: () => step().after,
      retryIf: (_: unknown, attempt: number) => attempt === number && step().ends !== "no",
    };
    watched[i] = watch(retry(timed.ctx, fn, options));
  };

  for (let t = 0; t < 3000; t++) {
    for (const [i, c] of callers.entries()) {
      if (c.begins === t) begin(c, i);
      if (c.cancelAt === t) scopes[i]?.cancel();
    }
    await turn();
    if (watched.filter((w) => w.state !== "pending").length === callers.length) break;
    await vi.advanceTimersByTimeAsync(1);
  }
  for (const [i, w] of watched.entries()) (ours[i] as Story).end = ended(w);
  for (const scope of scopes) scope.cancel();
  await turn();
  expect(ours).toEqual(wanted);
  expect(budget.tokens()).toBe(left);
}

test.each(seeds(60))("a random program ends as the model says, SEED=%d", (seed) => run(random(seed)));
