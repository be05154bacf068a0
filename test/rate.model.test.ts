/**
 * Token bucket limiter: random programs against a bucket that is filled tick by tick.
 *
 * Limits are powers of two and the clock moves in ticks of 1/8 s, so that every quantity is exact in binary and the
 * comparison needs no tolerance. That holds as long as no program both changes its limit and cancels.
 */
import { background, type CancelScope, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { Limiter, type Reservation } from "gopark/rate";
import { beforeAll, expect, test, vi } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";
import { type Watched, watch } from "./support/watch.ts";

const t0 = 1_700_000_000_000;
const TICK = 125;
const LIMITS = [0.5, 1, 2, 4, 8, 16];

beforeAll(() => track("counters"));

/** A reservation: n events at the instant `act`. */
interface Promised {
  readonly n: number;
  readonly act: number;
  readonly limit: number;
}

/** The reference: tokens are added tick by tick; a call that takes more than there are makes the count negative. */
class Model {
  t = t0;
  last = Number.NEGATIVE_INFINITY;
  tokens: number;
  limit: number;
  burst: number;

  constructor(limit: number, burst: number) {
    this.limit = limit;
    this.burst = burst;
    this.tokens = burst;
  }

  tick(): void {
    this.t += TICK;
    this.tokens = Math.min(this.burst, this.tokens + this.limit / 8);
  }

  setBurst(burst: number): void {
    this.burst = burst;
    this.tokens = Math.min(this.tokens, burst);
  }

  /** Promises n events within `most` milliseconds; undefined, with nothing changed, if they would come later. */
  promise(n: number, most: number): Promised | undefined {
    const owed = n - this.tokens;
    const delay = owed > 0 ? (owed / this.limit) * 1000 : 0;
    if (n > this.burst || delay > most) return undefined;
    this.tokens -= n;
    this.last = this.t + delay;
    return { n, act: this.last, limit: this.limit };
  }

  /** The tokens added between this reservation and the last one, which stay spent. */
  cancel({ n, act, limit }: Promised): void {
    const restored = n - (limit * (this.last - act)) / 1000;
    if (n === 0 || act < this.t || restored <= 0) return;
    this.tokens = Math.min(this.burst, this.tokens + restored);
    const previous = act - (n / limit) * 1000;
    if (act === this.last && previous >= this.t) this.last = previous;
  }
}

/** A pending wait, and when the model ends it. */
interface Waiting {
  readonly promised: Promised;
  readonly scope: CancelScope;
  readonly watched: Watched;
}

async function program(rnd: Random): Promise<void> {
  vi.useFakeTimers({ now: t0 });
  const limit = rnd.pick(LIMITS);
  const burst = rnd.int(1, 6);
  const changesLimit = rnd.bool(0.5);
  const limiter = new Limiter(limit, burst);
  const model = new Model(limit, burst);
  const reservations: [Reservation, Promised][] = [];
  let waits: Waiting[] = [];

  const wait = async (n: number): Promise<void> => {
    const tooMany = n > model.burst;
    const scope = withCancel(background());
    const watched = watch(limiter.wait(scope.ctx, n));
    const promised = model.promise(n, Number.POSITIVE_INFINITY);
    await turn();
    expect(watched.state === "rejected").toBe(tooMany);
    if (promised !== undefined && promised.act > model.t) waits.push({ promised, scope, watched });
    else scope.cancel();
  };
  const step = async (): Promise<void> => {
    const n = rnd.int(0, rnd.bool(0.1) ? 8 : 3);
    switch (rnd.int(0, 8)) {
      case 0:
      case 1:
        expect(limiter.allow(n)).toBe(model.promise(n, 0) !== undefined);
        break;
      case 2:
      case 3: {
        const ours = limiter.reserve(n);
        const promised = model.promise(n, Number.POSITIVE_INFINITY);
        expect(ours.delay()).toBe(promised === undefined ? Number.POSITIVE_INFINITY : promised.act - model.t);
        if (promised !== undefined) reservations.push([ours, promised]);
        break;
      }
      case 4: {
        const [reserved] = reservations.splice(rnd.int(0, 5), 1);
        if (reserved === undefined || changesLimit) break;
        reserved[0].cancel();
        model.cancel(reserved[1]);
        break;
      }
      case 5:
        await wait(n);
        break;
      case 6: {
        const waiting = waits[rnd.int(0, 3)];
        if (waiting === undefined || changesLimit) break;
        waits = waits.filter((w) => w !== waiting);
        waiting.scope.cancel();
        model.cancel(waiting.promised);
        await turn();
        expect(waiting.watched.state).toBe("rejected");
        break;
      }
      case 7:
        if (!changesLimit) break;
        model.limit = rnd.pick(LIMITS);
        limiter.setLimit(model.limit);
        break;
      case 8:
        model.setBurst(rnd.int(1, 6));
        limiter.setBurst(model.burst);
        break;
    }
    expect(limiter.tokens()).toBe(model.tokens);
  };

  for (let round = 0; round < 40; round++) {
    for (let ops = rnd.int(0, 4); ops > 0; ops--) await step();
    vi.advanceTimersByTime(TICK);
    model.tick();
    await turn();
    expect(limiter.tokens()).toBe(model.tokens);
    // A host timer counts whole milliseconds: what is due within this tick's last one may end in the next.
    for (const { promised, watched } of waits) {
      expect(watched.state).toBe(Math.ceil(promised.act) <= model.t ? "fulfilled" : "pending");
    }
    for (const { scope } of waits.filter((w) => w.watched.state === "fulfilled")) scope.cancel();
    waits = waits.filter((w) => w.watched.state === "pending");
  }
  for (const { scope } of waits) scope.cancel();
  await turn();
}

test.each(seeds(60))("a random program ends as the model does, SEED=%d", (seed) => program(random(seed)));

test("a look at the tokens of long ago changes nothing: later instants count to the nanosecond all the same", () => {
  const [looked, fresh] = [new Limiter(10, 1), new Limiter(10, 1)];
  expect(looked.tokens(0)).toBe(1);
  expect([looked.allow(1, t0), fresh.allow(1, t0)]).toEqual([true, true]);
  const later = t0 + 2 ** -10; // 977 ns, which a double has here.
  expect(looked.tokens(later)).toBe(fresh.tokens(later));
  expect(fresh.tokens(later)).toBeCloseTo(977e-9 * 10, 12);
});
