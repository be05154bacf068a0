/** The traces of x/time/rate: their steps, instants in nanoseconds from the first. */
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
