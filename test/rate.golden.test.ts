/**
 * Replays what golang.org/x/time/rate did, every case and every step.
 *
 * Everything is compared exactly except the cases marked `big`, in which Go's own arithmetic leaves 2^53: tokens and
 * delays are compared there with a tolerance. Differences on purpose, counted where they are adapted:
 *
 * - forever: the delay of an event that can never happen is Infinity and stays so. Go's InfDuration is 292 years, and
 *   counts down in `delay`.
 * - remembered: after a wait was cancelled we know what the last event was before it, where Go computes it, or leaves
 *   it as it is. So a reservation that is cancelled later gives back other tokens than in Go: mostly more, and fewer
 *   where the recorded time went back, and Go gives back more than was taken. From there on the two buckets differ, and
 *   the rest of the case says nothing: its steps are counted as left.
 */
import { track } from "gopark/leak";
import { every, Limiter, type Reservation, Sometimes } from "gopark/rate";
import { beforeAll, expect, test, vi } from "vitest";
import { type Case, Deadlined, type Num, number, rateTraces, type Step, type Wait } from "./support/ratetraces.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

// Tens of thousands of steps: counted is enough, a stack for each wait would take most of the time.
beforeAll(() => track("counters"));

const data = rateTraces;
const t0 = data.meta.t0ms;
const adapted = { forever: 0, remembered: 0, left: 0 };

/** A cancelled reservation has given back tokens by the remembered event, and not those that Go computes. */
class Remembered extends Error {}

/** Starts a new clock at t: the recorded waits also go back in time. */
function startClock(t: number): void {
  vi.useRealTimers();
  vi.useFakeTimers({ now: t0 + t, toFake: ["performance", "setTimeout", "clearTimeout"] });
}

class Replay {
  readonly limiter: Limiter;
  readonly reservations: Reservation[] = [];
  readonly contexts: Deadlined[] = [];
  readonly big: boolean;
  what = "";
  waitCancelled = false;

  constructor(c: Case) {
    startClock(0);
    this.limiter = new Limiter(number(c.limit), c.burst);
    this.big = c.big === true;
  }

  /** Compares exactly. Asserts of a mismatch only: a hundred thousand passing assertions take seconds. */
  equal(ours: unknown, gos: unknown): void {
    if (ours !== gos) expect(ours, this.what).toBe(gos);
  }

  /** Compares milliseconds with Go's nanoseconds. */
  duration(ms: number, ns: Num): void {
    if (ns === "inf") {
      this.equal(ms, Number.POSITIVE_INFINITY);
    } else if (number(ns) > 9.2e18) {
      adapted.forever++;
      this.equal(ms, Number.POSITIVE_INFINITY);
    } else if (this.big) {
      expect(Math.abs(ms * 1e6 - number(ns)), this.what).toBeLessThanOrEqual(1 + number(ns) * 1e-9);
    } else {
      this.equal(Math.round(ms * 1e6), ns);
    }
  }

  tokens(t: number, tokens: number): void {
    const ours = this.limiter.tokens(t0 + t);
    if (this.big) expect(Math.abs(ours - tokens), this.what).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(tokens)));
    else this.equal(ours, tokens);
  }

  async step(step: Step): Promise<void> {
    const { limiter, reservations } = this;
    switch (step[0]) {
      case "allow": {
        const [, t, n, ok, tokens] = step;
        this.equal(limiter.allow(n, t0 + t), ok);
        return this.tokens(t, tokens);
      }
      case "reserve": {
        const [, id, t, n, ok, delay, tokens] = step;
        const reservation = limiter.reserve(n, t0 + t);
        reservations[id] = reservation;
        this.equal(reservation.ok, ok);
        this.duration(reservation.delay(t0 + t), delay);
        return this.tokens(t, tokens);
      }
      case "delay": {
        const [, id, t, delay, tokens] = step;
        this.duration(reservations[id]?.delay(t0 + t) as number, delay);
        return this.tokens(t, tokens);
      }
      case "cancel": {
        const [, id, t, tokens] = step;
        reservations[id]?.cancel(t0 + t);
        if (this.waitCancelled && limiter.tokens(t0 + t) !== tokens) throw new Remembered();
        return this.tokens(t, tokens);
      }
      case "setLimit": {
        const [, t, limit, tokens] = step;
        limiter.setLimit(number(limit), t0 + t);
        return this.tokens(t, tokens);
      }
      case "setBurst": {
        const [, t, burst, tokens] = step;
        limiter.setBurst(burst, t0 + t);
        return this.tokens(t, tokens);
      }
      case "tokens":
        return this.tokens(step[1], step[2]);
      case "wait":
        await this.wait(step);
        return this.tokens(step[1], step[7]);
    }
  }

  async wait([, t, n, deadline, cancel, error, delay]: Wait): Promise<void> {
    startClock(t);
    const ctx = new Deadlined(deadline);
    this.contexts.push(ctx);
    if (cancel === "pre") ctx.scope.cancel();
    const waiting = watch(this.limiter.wait(ctx, n));
    await turn();
    if (delay !== null) {
      this.equal(waiting.state, "pending");
      if (error === null && delay === "inf") return; // Ended by the tear-down.
      if (error === null) await this.pass(number(delay), waiting);
      else {
        vi.advanceTimersByTime((cancel as number) - t);
        await turn();
        this.equal(waiting.state, "pending");
        ctx.scope.cancel();
        await turn();
        this.waitCancelled = true;
      }
    }
    this.equal(waiting.state, error === null ? "fulfilled" : "rejected");
    if (error !== null) this.equal((waiting.reason as Error).message, error);
  }

  /** Lets the wait's time pass; it must not end a millisecond early. */
  async pass(ns: number, waiting: { state: string }): Promise<void> {
    const ms = Math.ceil(ns / 1e6);
    const early = this.big ? Math.floor(ms * (1 - 1e-9)) - 1 : ms - 1;
    const late = this.big ? Math.ceil(ms * (1 + 1e-9)) + 1 : ms;
    vi.advanceTimersByTime(early);
    await turn();
    this.equal(waiting.state, "pending");
    vi.advanceTimersByTime(late - early);
    await turn();
  }

  async tearDown(): Promise<void> {
    for (const ctx of this.contexts) ctx.scope.cancel();
    await turn();
  }
}

test("the limiter does what Go's did", { timeout: 30_000 }, async () => {
  for (const c of data.cases) {
    const run = new Replay(c);
    for (const [j, step] of c.steps.entries()) {
      run.what = `case ${c.i}, step ${j} ${step[0]}`;
      try {
        await run.step(step);
      } catch (error) {
        if (!(error instanceof Remembered)) throw error;
        adapted.remembered++;
        adapted.left += c.steps.length - j - 1;
        break;
      }
    }
    await run.tearDown();
  }

  expect(data.cases).toHaveLength(3000);
  expect(data.cases.filter((c) => c.big)).toHaveLength(144);
  expect(data.cases.reduce((sum, c) => sum + c.steps.length, 0)).toBe(37_964);
  expect(adapted).toEqual({ forever: 8, remembered: 6, left: 31 });
});

test("every() answers what Go's does", () => {
  for (const [ns, limit] of data.every) expect(every(ns / 1e6), `${ns} ns`).toBe(number(limit));
  expect(data.every).toHaveLength(208);
});

test("the time that tokens take is Go's to the nanosecond", () => {
  for (const [limit, tokens, ns] of data.durationFromTokens) {
    // Make a bucket owe exactly `tokens`: emptied at t0, it earns what is missing to the next whole number in a second,
    // and lends that number. Every step is exact for tokens >= 0.5; fewer are scaled by a power of two, and the limit
    // with them, which changes no bit of the quotient.
    const scale = tokens < 0.5 ? 2 ** Math.floor(-Math.log2(tokens)) : 1;
    const owed = tokens * scale;
    const whole = Math.ceil(owed);
    const limiter = new Limiter(whole - owed, 1000);
    expect(limiter.allow(1000, t0)).toBe(true);
    limiter.setLimit(limit * scale, t0 + 1000);
    const delay = limiter.reserve(whole, t0 + 1000).delay(t0 + 1000);
    expect(limiter.tokens(t0 + 1000)).toBe(-owed);
    expect(Math.round(delay * 1e6), `${tokens} tokens at ${limit}`).toBe(ns);
  }
  expect(data.durationFromTokens).toHaveLength(400);
});

test("the tokens that come in a time are Go's to the last bit", () => {
  for (const [limit, ns, tokens] of data.tokensFromDuration) {
    const burst = Math.ceil(tokens);
    const limiter = new Limiter(limit, burst);
    // Instants near 0: fractions of a millisecond are exact there to the nanosecond.
    expect(limiter.allow(burst, 0)).toBe(true);
    expect(limiter.tokens(ns / 1e6), `${ns} ns at ${limit}`).toBe(tokens);
  }
  expect(data.tokensFromDuration).toHaveLength(400);
});

test("Sometimes does what Go's did", () => {
  let steps = 0;
  for (const [i, c] of data.sometimes.entries()) {
    const sometimes = new Sometimes({ first: c.first, every: c.every, interval: c.intervalMs });
    startClock(0);
    let elapsed = 0;
    for (const [t, ran] of c.steps) {
      vi.advanceTimersByTime(t - elapsed);
      elapsed = t;
      let runs = 0;
      sometimes.do(() => runs++);
      expect(runs, `case ${i} at ${t}`).toBe(ran);
      steps++;
    }
  }
  expect(data.sometimes).toHaveLength(400);
  expect(steps).toBe(5600);
});
