/**
 * The numbers of the replay: what the upstream can carry, what is sent to it, and what the cured gateway allows.
 *
 * Rates follow from the upstream's capacity, so that the ratios of the post-mortem hold whatever the numbers are:
 * normal traffic is 60 % of the capacity, the surge is six times normal traffic and so 3.6 times what the upstream can
 * carry.
 */
import { parseArgs } from "node:util";

/**
 * By how much all rates and limits are multiplied: `--scale` of `npm start`, which checks it and hands it to the child
 * processes, since all load this file.
 */
export const scale = Number(parseArgs({ options: { scale: { type: "string" } }, strict: false }).values.scale ?? 1);

export type Variant = "naive" | "gopark";
export type PhaseName = "normal" | "surge" | "recovery";

export const variants: readonly Variant[] = ["naive", "gopark"];
export const phaseNames: readonly PhaseName[] = ["normal", "surge", "recovery"];

/** The upstream: `slots` calls at once, each taking `serviceMs` on average. */
export const model = {
  slots: 6 * scale,
  serviceMs: 25,
  /** A call's own service time is drawn from serviceMs * (1 ± jitter). */
  jitter: 0.2,
  /** Above `slowFrom` waiting calls every call slows down, linearly, up to twice as long at `slowFrom + slowOver`. */
  slowFrom: 48 * scale,
  slowOver: 1000 * scale,
  /** Share of calls that are never answered; such a call keeps its slot until the caller hangs up, at most `hangMs`. */
  hang: 0.0005,
  hangMs: 1000,
  /** Share of calls answered 500, and what is added to it while more than `saturated` calls wait. */
  fail: 0.001,
  failSaturated: 0.02,
  saturated: 120 * scale,
} as const;

/** One order costs the upstream two prices, one inventory check and one payment. */
export const callsPerOrder = 4;

/** Orders per second the upstream can carry while it does not saturate: slots / service time / calls per order. */
export const capacity: number = (model.slots * 1000) / model.serviceMs / callsPerOrder;

export const normalRate: number = capacity * 0.6;
export const surgeFactor = 6;

/**
 * Connections that the generator opens beforehand, as a load balancer keeps them. A busy Node process accepts one
 * connection for each turn of its event loop: without them the replay would measure that.
 */
export const connections: number = 256 * scale;

/** What the cured gateway allows. */
export const limits = {
  /** Time an admitted order has, including its wait for a turn. */
  deadlineMs: 1500,
  /** Time one call to the upstream has once it is sent, and how often it is tried. */
  tryMs: 500,
  tries: 3,
  /** Orders in progress at once, and orders that may wait for one of them to end. */
  orders: 16 * scale,
  queue: 6 * scale,
  /**
   * Calls to the upstream at once. Those beyond its slots (26 of 32) wait in the upstream's queue, 108 ms of work, so
   * that no slot is idle while the gateway pauses.
   */
  calls: 32 * scale,
  /** Admitted orders per second: above the capacity, so that the queue never runs dry, and well below the surge. */
  rate: capacity * 1.25,
  burst: 16 * scale,
} as const;

/** How long the naive gateway waits for a payment: its only timeout. */
export const naivePaymentMs = 2000;

export const skus = 200;
/** The share of orders for the one article of which there is not enough. */
export const scarceShare = 0.05;
export const scarceSku = "sku-0";

/** Sends at a constant rate between two instants, in milliseconds from the start of the run. */
export interface Span {
  from: number;
  to: number;
  /** Orders per second. */
  rate: number;
}

export interface Phase extends Span {
  name: PhaseName;
}

export interface Plan {
  quick: boolean;
  seed: number;
  /** A client that has waited this long for an answer hangs up. */
  patienceMs: number;
  /** Ends at 0. It counts in the records, but not in the figures: a process that has just started is busy compiling. */
  warmUp: Span;
  phases: Phase[];
  /** Units of the scarce article at the start: sold out early in the surge. */
  scarceStock: number;
}

/** Lays the three phases end to end. */
export function plan(quick: boolean, seed: number): Plan {
  const seconds = quick ? [1, 3, 1.2] : [5, 10, 8];
  const warmUp = { from: quick ? -400 : -1500, to: 0, rate: normalRate };
  const rates = [normalRate, normalRate * surgeFactor, normalRate];
  const phases: Phase[] = [];
  let from = 0;
  for (const [i, name] of phaseNames.entries()) {
    const to = from + (seconds[i] ?? 0) * 1000;
    phases.push({ name, from, to, rate: rates[i] ?? 0 });
    from = to;
  }
  // Enough for normal traffic and the first second of the surge.
  const enoughFor = normalRate * ((seconds[0] ?? 0) - warmUp.from / 1000) + capacity;
  return {
    quick,
    seed,
    patienceMs: quick ? 1800 : 3000,
    warmUp,
    phases,
    scarceStock: Math.round(enoughFor * scarceShare),
  };
}

/** When the plan's last phase ends. */
export function planned(of: Plan): number {
  return of.phases.at(-1)?.to ?? 0;
}

/** When each order of the span should be sent. */
export function arrivals({ from, to, rate }: Span): number[] {
  return Array.from({ length: Math.floor(((to - from) / 1000) * rate) }, (_, i) => from + (i * 1000) / rate);
}
