/** Computes the rows of the post-mortem's table from what was recorded. */
import { type PhaseName, type Plan, phaseNames, type Variant } from "./config.ts";
import type { Drained, Ledger, Outcome, Sample, Sent, Vitals } from "./ipc.ts";
import type { Snapshot } from "./profiles.ts";
import { quantile, tally } from "./stats.ts";

/** Everything recorded of one variant. */
export interface Run {
  variant: Variant;
  plan: Plan;
  /** Epoch ms of the plan's 0. */
  start: number;
  sent: Sent[];
  samples: Sample[];
  vitals: Record<PhaseName, Vitals>;
  /** How many processors other programs used, on average over the phase. */
  others: Record<PhaseName, number>;
  drained: Drained;
  ledger: Ledger;
  /** The gateway as the surge ended. */
  snapshot: Snapshot;
}

/** One variant in one phase. Rates per second, times in ms, shares of 1; NaN where there was nothing to measure. */
export interface Figures extends Vitals {
  offered: number;
  /** Right answers per second that arrived within the phase. */
  served: number;
  p50: number;
  p99: number;
  p999: number;
  admitted: number;
  errors: number;
  errorRate: number;
  rejected: number;
  rejectP99: number;
  /** Parked tasks: the median of the samples in the phase's second half. */
  settledParked: number;
}

/** Outcomes of an order that was admitted and then failed. */
export const errorOutcomes: readonly Outcome[] = ["wrong", "deadline", "failed", "gaveUp", "broken"];

export type PhaseFigures = Record<PhaseName, Figures>;

export function figuresOf(run: Run): PhaseFigures {
  return Object.fromEntries(phaseNames.map((name) => [name, figuresIn(run, name)])) as PhaseFigures;
}

function figuresIn(run: Run, name: PhaseName): Figures {
  const phase = run.plan.phases.find((phase) => phase.name === name);
  if (phase === undefined) throw new Error(`no phase ${name}`);
  const { from, to } = phase;
  const seconds = (to - from) / 1000;
  // Latencies, errors and refusals belong to the phase an order should have been sent in; throughput to the phase its
  // answer arrived in.
  const sent = run.sent.filter(({ at }) => at >= from && at < to);
  const counts = tally(sent.map(({ outcome }) => outcome));
  const errors = errorOutcomes.reduce((sum, outcome) => sum + (counts.get(outcome) ?? 0), 0);
  const admitted = errors + (counts.get("served") ?? 0);
  const arrived = run.sent.filter(({ at, took, outcome }) => {
    return outcome === "served" && at + took >= from && at + took < to;
  });
  const took = sent.filter(({ outcome }) => outcome === "served").map((order) => order.took);
  const refusals = sent.filter(({ outcome }) => outcome === "rejected").map((order) => order.took);
  const late = run.samples.filter(({ at }) => at - run.start >= (from + to) / 2 && at - run.start < to);
  return {
    ...run.vitals[name],
    offered: sent.length / seconds,
    served: arrived.length / seconds,
    p50: quantile(took, 0.5),
    p99: quantile(took, 0.99),
    p999: quantile(took, 0.999),
    admitted,
    errors,
    errorRate: admitted === 0 ? Number.NaN : errors / admitted,
    rejected: refusals.length / seconds,
    rejectP99: quantile(refusals, 0.99),
    settledParked: quantile(
      late.map(({ parked }) => parked),
      0.5,
    ),
  };
}

/** The records of the upstream and of the generator, compared order by order. */
export interface RecordComparison {
  accepted: number;
  /** Accepted, and the client holds the receipt. */
  answered: number;
  /** Accepted, and cut off by a deadline: the client got a 504, or gave up. */
  cutOff: number;
  /** Accepted, and the client got another answer than a receipt or a 504, or no record of the order exists. */
  unaccounted: number;
  /** The client holds a receipt for an order that was never accepted. */
  unbacked: number;
  oversold: number;
  wrong: number;
  /** Examples of the mismatches, for the console. */
  examples: string[];
}

export function compareRecords({ sent, ledger, plan }: Run): RecordComparison {
  const outcomes = new Map(sent.map(({ outcome }, i) => [`order-${i}`, outcome]));
  const records: RecordComparison = {
    accepted: ledger.accepted.length,
    answered: 0,
    cutOff: 0,
    unaccounted: 0,
    unbacked: 0,
    oversold: Math.max(0, ledger.scarceSold - plan.scarceStock),
    wrong: sent.filter(({ outcome }) => outcome === "wrong").length,
    examples: [],
  };
  for (const id of ledger.accepted) {
    const outcome = outcomes.get(id);
    if (outcome === "served" || outcome === "wrong") records.answered++;
    else if (outcome === "deadline" || outcome === "gaveUp") records.cutOff++;
    else {
      records.unaccounted++;
      records.examples.push(`${id} was accepted upstream, but its client recorded ${outcome ?? "never sent"}`);
    }
  }
  const accepted = new Set(ledger.accepted);
  for (const [id, outcome] of outcomes) {
    if ((outcome !== "served" && outcome !== "wrong") || accepted.has(id)) continue;
    records.unbacked++;
    records.examples.push(`${id} was answered as ${outcome}, but the upstream never accepted it`);
  }
  return records;
}

/** How late the generator sent its orders, in ms. */
export function lateness({ sent }: Run): { p99: number; max: number } {
  const late = sent.map((order) => order.late);
  return { p99: quantile(late, 0.99), max: quantile(late, 1) };
}
