/** The traces of x/time/rate: their steps, instants in nanoseconds from the first; and what every replay needs. */
import { background, type CancelScope, type Context, withCancel } from "../../src/context.ts";
import { golden } from "./golden.ts";

export type Num = number | string;
export type Step =
  | [op: "allow", t: number, n: number, ok: boolean, tokens: number]
  | [op: "reserve", id: number, t: number, n: number, ok: boolean, delay: Num, tokens: number]
  | [op: "delay", id: number, t: number, delay: Num, tokens: number]
  | [op: "cancel", id: number, t: number, tokens: number]
  | [op: "setLimit", t: number, limit: Num, tokens: number]
  | [op: "setBurst", t: number, burst: number, tokens: number]
  | [op: "tokens", t: number, tokens: number]
  | Wait;
export type Wait = [
  op: "wait",
  t: number,
  n: number,
  deadline: number | null,
  cancel: number | "pre" | null,
  error: string | null,
  delay: Num | null,
  tokens: number,
];

export interface Case {
  i: number;
  limit: Num;
  burst: number;
  big?: boolean;
  steps: Step[];
}

interface Golden {
  meta: { t0ms: number };
  cases: Case[];
  every: [ns: number, limit: Num][];
  durationFromTokens: [limit: number, tokens: number, ns: number][];
  tokensFromDuration: [limit: number, ns: number, tokens: number][];
  sometimes: { first: number; every: number; intervalMs: number; steps: [t: number, ran: 0 | 1][] }[];
}

export const rateTraces = golden<Golden>("rate");

const t0 = rateTraces.meta.t0ms;

export const number = (x: Num): number => (x === "inf" ? Number.POSITIVE_INFINITY : Number(x));

/** A context with a deadline that ends by its cancel alone, like the recorder's: the test controls its timer. */
export class Deadlined implements Context {
  readonly scope: CancelScope = withCancel(background());
  readonly #deadline: number | undefined;

  constructor(deadline: number | null) {
    this.#deadline = deadline === null ? undefined : t0 + deadline;
  }

  get signal(): AbortSignal {
    return this.scope.ctx.signal;
  }

  deadline(): number | undefined {
    return this.#deadline;
  }

  done(): ReturnType<Context["done"]> {
    return this.scope.ctx.done();
  }

  err(): Error | undefined {
    return this.scope.ctx.err();
  }

  value(): undefined {
    return undefined;
  }
}
