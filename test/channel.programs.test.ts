/** Programs of Go's own test suite that are made of nothing but channels. */
import { Channel } from "gopark/channel";
import { background, type Context, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { select } from "gopark/select";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { turns } from "./support/turn.ts";

let ctx: Context;
let cancel: () => void;

beforeEach(() => {
  // Hundreds of tasks that run until the context ends.
  track("counters");
  [ctx, cancel] = withCancel(background());
});

afterEach(async () => {
  cancel();
  await turns(2);
  track("full");
});

/** Starts a task that the end of the context ends. */
function start(task: () => Promise<void>): void {
  go(task).catch((error: unknown) => {
    if (error !== ctx.err()) throw error;
  });
}

async function take<T>(ch: Channel<T>): Promise<T> {
  const { value, ok } = await ch.receive(ctx);
  if (!ok) throw new Error("closed");
  return value;
}

/** Power series as streams of coefficients on demand, after M. D. McIlroy, "Squinting at power series". */
describe("powser1", () => {
  type Rational = readonly [numerator: bigint, denominator: bigint];

  const rational = (n: bigint, d = 1n): Rational => {
    const g = gcd(n, d) * (d < 0n ? -1n : 1n);
    return [n / g, d / g];
  };
  const gcd = (a: bigint, b: bigint): bigint => (b === 0n ? (a < 0n ? -a : a) : gcd(b, a % b));
  const plus = ([a, b]: Rational, [c, d]: Rational) => rational(a * d + c * b, b * d);
  const times = ([a, b]: Rational, [c, d]: Rational) => rational(a * c, b * d);
  const zero = rational(0n);
  const one = rational(1n);

  /** Nothing is computed before it is requested, so that a series may be defined by itself. */
  class Series {
    readonly ask = new Channel<void>();
    readonly give = new Channel<Rational>();

    async get(): Promise<Rational> {
      await this.ask.send(undefined, ctx);
      return take(this.give);
    }

    /** Answers the next request. */
    async put(coefficient: () => Rational | Promise<Rational>): Promise<void> {
      await take(this.ask);
      await this.give.send(await coefficient(), ctx);
    }

    async copy(from: Series): Promise<never> {
      for (;;) await this.put(() => from.get());
    }
  }

  function series(body: (out: Series) => Promise<void>): Series {
    const out = new Series();
    start(() => body(out));
    return out;
  }

  const repeat = (c: Rational): Series =>
    series(async (out) => {
      for (;;) await out.put(() => c);
    });

  const polynomial = (...cs: Rational[]): Series =>
    series(async (out) => {
      for (let n = 0; ; n++) await out.put(() => cs[n] ?? zero);
    });

  const add = (u: Series, v: Series): Series =>
    series(async (out) => {
      for (;;) await out.put(async () => plus(...(await Promise.all([u.get(), v.get()]))));
    });

  const scale = (c: Rational, u: Series): Series =>
    series(async (out) => {
      for (;;) await out.put(async () => times(c, await u.get()));
    });

  const derivative = (u: Series): Series =>
    series(async (out) => {
      await u.get();
      for (let n = 1n; ; n++) await out.put(async () => times(rational(n), await u.get()));
    });

  const integral = (c: Rational, u: Series): Series =>
    series(async (out) => {
      await out.put(() => c);
      for (let n = 1n; ; n++) await out.put(async () => times(rational(1n, n), await u.get()));
    });

  /** (u + xU)(v + xV) = uv + x(uV + vU) + x²UV. */
  const multiply = (left: Series, right: Series): Series =>
    series(async (out) => {
      await take(out.ask);
      const [u, v] = await Promise.all([left.get(), right.get()]);
      await out.give.send(times(u, v), ctx);
      const [U, UU] = split(left);
      const [V, VV] = split(right);
      const uVvU = add(scale(u, V), scale(v, U));
      await out.put(() => uVvU.get());
      await out.copy(add(uVvU, multiply(UU, VV)));
    });

  /** Two copies of a series, either of which may be any number of coefficients ahead of the other. */
  function split(from: Series): [Series, Series] {
    const outs: [Series, Series] = [new Series(), new Series()];
    start(async () => {
      const asked = [false, false];
      const due: [Rational[], Rational[]] = [[], []];
      let fetching = false;
      for (;;) {
        const [a, b] = due.map((queue, i) => (asked[i] ? queue[0] : undefined));
        const lacking = due.some((queue, i) => asked[i] && queue.length === 0);
        const s = await select({
          askedByA: asked[0] ? null : outs[0].ask,
          askedByB: asked[1] ? null : outs[1].ask,
          givenToA: a === undefined ? null : outs[0].give.sending(a),
          givenToB: b === undefined ? null : outs[1].give.sending(b),
          ask: lacking && !fetching ? from.ask.sending(undefined) : null,
          got: fetching ? from.give : null,
          stop: ctx,
        });
        switch (s.case) {
          case "askedByA":
          case "askedByB":
            asked[s.case === "askedByA" ? 0 : 1] = true;
            break;
          case "givenToA":
          case "givenToB": {
            const to = s.case === "givenToA" ? 0 : 1;
            asked[to] = false;
            due[to].shift();
            break;
          }
          case "ask":
            fetching = true;
            break;
          case "got":
            fetching = false;
            for (const queue of due) queue.push(s.value as Rational);
            break;
          case "stop":
            return;
        }
      }
    });
    return outs;
  }

  /** A series defined by itself: `fixpoint((z) => integral(one, z))` is exp(x). */
  function fixpoint(define: (itself: Series) => Series): Series {
    const z = new Series();
    const [result, itself] = split(z);
    const defined = define(itself);
    start(() => z.copy(defined));
    return result;
  }

  const exp = (u: Series): Series => fixpoint((z) => integral(one, multiply(z, derivative(u))));

  const tan = (): Series =>
    fixpoint((z) => {
      const [left, right] = split(z);
      return integral(zero, add(polynomial(one), multiply(left, right)));
    });

  const table: [string, () => Series, string][] = [
    ["1 + 1", () => add(repeat(one), repeat(one)), "2 2 2 2 2 2"],
    ["1/(1-x)²", () => multiply(repeat(one), repeat(one)), "1 2 3 4 5 6 7 8 9 10"],
    ["its derivative", () => derivative(multiply(repeat(one), repeat(one))), "2 6 12 20 30 42"],
    ["e^x, by itself", () => fixpoint((z) => integral(one, z)), "1 1 1/2 1/6 1/24 1/120 1/720 1/5040"],
    ["e^(x/(1-x))", () => exp(repeat(one)), "1 1 3/2 13/6 73/24 167/40 4051/720 37633/5040"],
    ["tan x", tan, "0 1 0 1/3 0 2/15 0 17/315 0 62/2835"],
  ];

  test.each(table)("%s", async (_, make, expected) => {
    const it = make();
    const coefficients: string[] = [];
    for (const _ of expected.split(" ")) {
      const [n, d] = await it.get();
      coefficients.push(d === 1n ? `${n}` : `${n}/${d}`);
    }
    expect(coefficients.join(" ")).toBe(expected);
  });
});

/** The sieve that merges the multiples of the primes found so far, and is fed with those primes itself. */
describe("sieve2", () => {
  function generate(body: (out: Channel<number>) => Promise<void>): Channel<number> {
    const out = new Channel<number>(10);
    start(() => body(out));
    return out;
  }

  const odds = (from: number, step: number): Channel<number> =>
    generate(async (out) => {
      for (let n = from; ; n += step) await out.send(n, ctx);
    });

  /** A channel without a bound: takes whatever comes, while what it has waits to be taken. */
  function proxy(out: Channel<number>): Channel<number> {
    const into = new Channel<number>();
    const queue: number[] = [];
    start(async () => {
      for (;;) {
        const [oldest] = queue;
        const s = await select({
          came: into,
          went: oldest === undefined ? null : out.sending(oldest),
          stop: ctx,
        });
        if (s.case === "stop") return;
        if (s.case === "went") queue.shift();
        else queue.push(s.value as number);
      }
    });
    return into;
  }

  /** The odd composites in order, each as often as it has small enough factors. Requests the next prime in time. */
  const composites = (primes: Channel<number>): Channel<number> =>
    generate(async (out) => {
      const streams: { head: number; rest: Channel<number> }[] = [];
      const admit = async () => {
        const prime = await take(primes);
        streams.push({ head: prime * prime, rest: odds(prime * (prime + 2), 2 * prime) });
        return prime * prime;
      };
      let newest = await admit();
      for (;;) {
        const first = streams.reduce((a, b) => (b.head < a.head ? b : a));
        await out.send(first.head, ctx);
        // The next prime's multiples begin at its square, which is beyond the newest one's.
        if (first.head === newest) newest = await admit();
        first.head = await take(first.rest);
      }
    });

  test("the first 200 primes", async () => {
    const feedback = new Channel<number>(10);
    const toComposites = proxy(feedback);
    const primes = generate(async (out) => {
      const composite = composites(feedback);
      const candidates = odds(3, 2);
      await out.send(2, ctx);
      await toComposites.send(3, ctx);
      let next = await take(composite);
      for (;;) {
        const n = await take(candidates);
        while (next < n) next = await take(composite);
        if (n === next) continue;
        await out.send(n, ctx);
        if (n > 3) await toComposites.send(n, ctx);
      }
    });

    const found: number[] = [];
    while (found.length < 200) found.push(await take(primes));
    const isPrime = (n: number) => !Array.from({ length: n - 2 }, (_, i) => i + 2).some((d) => n % d === 0);
    expect(found).toEqual(Array.from({ length: 1222 }, (_, i) => i + 2).filter(isPrime));
  });
});

/** Work is counted, not timed: how often a link between two of those that wait is followed. */
describe("chanlinear: the work grows as the number of those that wait", () => {
  /** Waiters have their links in plain fields, and so inherit these while the body runs. */
  async function linksFollowed(body: () => Promise<unknown>): Promise<number> {
    const links = new WeakMap<object, unknown>();
    let followed = 0;
    Object.defineProperty(Object.prototype, "next", {
      configurable: true,
      get() {
        if ("list" in this) followed++;
        return links.get(this);
      },
      set(next: unknown) {
        links.set(this, next);
      },
    });
    try {
      await body();
      return followed;
    } finally {
      Reflect.deleteProperty(Object.prototype, "next");
    }
  }

  /** The even numbers below n, then the odd ones. */
  const everyOther = (n: number) => Array.from({ length: n }, (_, i) => (i * 2 < n ? i * 2 : (i * 2 - n) | 1));

  const programs: Record<string, (n: number) => Promise<unknown>> = {
    "selects that leave a shared queue, from its middle": async (n) => {
      const shared = new Channel<number>();
      const own = Array.from({ length: n }, () => new Channel<number>());
      const waiting = own.map((ch) => select({ ch, shared }));
      for (const i of everyOther(n)) own[i]?.trySend(i);
      await Promise.all(waiting);
      expect(shared.trySend(0)).toBe(false);
    },
    "selects whose sends leave a shared queue": async (n) => {
      const shared = new Channel<number>();
      const own = Array.from({ length: n }, () => new Channel<number>());
      const waiting = own.map((ch, i) => select({ shared: shared.sending(i), ch: ch.sending(i) }));
      for (const i of everyOther(n)) own[i]?.tryReceive();
      await Promise.all(waiting);
      expect(shared.tryReceive()).toBeUndefined();
    },
    "senders that a receiver serves": async (n) => {
      const ch = new Channel<number>();
      const waiting = Array.from({ length: n }, (_, i) => ch.send(i));
      for (let i = 0; i < n; i++) ch.tryReceive();
      await Promise.all(waiting);
    },
    "receives that their contexts end": async (n) => {
      const ch = new Channel<number>();
      const scopes = Array.from({ length: n }, () => withCancel(background()));
      const waiting = scopes.map((scope) => ch.receive(scope.ctx));
      for (const i of everyOther(n)) scopes[i]?.cancel();
      await Promise.allSettled(waiting);
    },
    "selects under one context, which outlives them": async (n) => {
      const own = Array.from({ length: n }, () => new Channel<number>());
      const waiting = own.map((ch) => select({ ch, stop: ctx }));
      for (const i of everyOther(n)) own[i]?.trySend(i);
      await Promise.all(waiting);
    },
  };

  test.each(Object.keys(programs))("%s", async (name) => {
    const program = programs[name] as (n: number) => Promise<unknown>;
    const followed = await linksFollowed(() => program(1000));
    expect(followed).toBeGreaterThanOrEqual(1000);
    // Were a queue searched for each that leaves, it would be over a hundred thousand.
    expect(followed).toBeLessThanOrEqual(4000);
  });
});
