/** What a limit within this process and one that a fleet shares have in common. */
import type { Cancel } from "../wait/source.ts";

/** A rate: a `Limiter` of `gopark/rate`, or one that other processes share. */
export interface Limits {
  /**
   * Whether n events, 1 if left out, may happen now; if so, they are counted. A promise that rejects, or a call that
   * throws, says that the limit could not be asked, which is no refusal.
   */
  allow(n?: number): boolean | Promise<boolean>;

  /** Reserves n events, as soon as they may happen. */
  reserve?(n?: number): unknown;
}

/** Units to hold for a while: a `Weighted` of `gopark/semaphore`, or one that other processes share. */
export interface Permits {
  /**
   * Takes n units, 1 if left out, as soon as they are free. Rejects, holding nothing, when `ctx` ends first. The units
   * are held until `release`, which may be called more than once. If `release` throws or rejects, that ends no call:
   * the error is a warning of the process (`process.on("warning")`).
   */
  permit(ctx: Cancel, n?: number): Promise<{ release(): void | Promise<unknown> }>;
}
