/**
 * Measures its own process: memory, collector, event loop, processor, what is parked, and whether orders read or
 * overwrite each other's data. Both gateways use it.
 */
import { type IntervalHistogram, monitorEventLoopDelay, PerformanceObserver, performance } from "node:perf_hooks";
import { sendReport, type Vitals } from "./ipc.ts";
import type { Scratch } from "./order.ts";
import { peak, quantile } from "./stats.ts";

const sampleMs = 250;
// Parked tasks come and go faster than samples are taken.
const peakMs = 10;
const resolution = 5;

/** Epoch milliseconds on the monotonic clock, the same for all processes of the replay. */
export function clock(): number {
  return performance.timeOrigin + performance.now();
}

export class Probe {
  readonly #parked: () => number;
  // One histogram is reset at each sample, the other at each phase: the quantile of a phase cannot be computed from
  // those of its samples.
  readonly #moment: IntervalHistogram = monitorEventLoopDelay({ resolution });
  readonly #phase: IntervalHistogram = monitorEventLoopDelay({ resolution });
  #pauses: number[] = [];
  #peakParked = 0;
  #peakRss = 0;
  #dirtyScratches = 0;
  #lostUpdates = 0;
  #phaseStart = { at: clock(), cpu: process.cpuUsage() };
  #sampleStart = { at: clock(), cpu: process.cpuUsage() };

  constructor(parked: () => number) {
    this.#parked = parked;
    this.#moment.enable();
    this.#phase.enable();
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) this.#pauses.push(entry.duration);
    }).observe({ entryTypes: ["gc"] });
    setInterval(() => this.#sample(), sampleMs).unref();
    setInterval(() => this.#watch(), peakMs).unref();
  }

  /** To be called with each scratch that an order takes. */
  took({ quotes }: Scratch): void {
    if (quotes.length > 0) this.#dirtyScratches++;
  }

  /**
   * To be called before each write to the stock: `read` is the value it is computed from, `current` what it overwrites.
   */
  writes(read: number, current: number): void {
    if (read !== current) this.#lostUpdates++;
  }

  /** Ends the current phase, starts the next and returns what was measured during the ended one. */
  phase(): Vitals {
    this.#watch();
    this.#peakRss = Math.max(this.#peakRss, process.memoryUsage.rss());
    const vitals: Vitals = {
      peakParked: this.#peakParked,
      peakRss: this.#peakRss,
      gcP99: this.#pauses.length === 0 ? 0 : quantile(this.#pauses, 0.99),
      gcMax: peak(this.#pauses),
      loopP99: delay(this.#phase.percentile(99)),
      loopMax: delay(this.#phase.max),
      cpu: share(this.#phaseStart),
      dirtyScratches: this.#dirtyScratches,
      lostUpdates: this.#lostUpdates,
    };
    this.#phase.reset();
    this.#pauses = [];
    this.#peakParked = this.#peakRss = this.#dirtyScratches = this.#lostUpdates = 0;
    this.#phaseStart = { at: clock(), cpu: process.cpuUsage() };
    return vitals;
  }

  #watch(): number {
    const parked = this.#parked();
    this.#peakParked = Math.max(this.#peakParked, parked);
    return parked;
  }

  #sample(): void {
    const parked = this.#watch();
    const rss = process.memoryUsage.rss();
    this.#peakRss = Math.max(this.#peakRss, rss);
    sendReport("sample", {
      at: clock(),
      parked,
      rss,
      loopP99: delay(this.#moment.percentile(99)),
      cpu: share(this.#sampleStart),
    });
    this.#moment.reset();
    this.#sampleStart = { at: clock(), cpu: process.cpuUsage() };
  }
}

/** The delay in ms. The histogram's nanoseconds include the timer's own interval. */
function delay(ns: number): number {
  return Math.max(0, ns / 1e6 - resolution);
}

function share(since: { at: number; cpu: NodeJS.CpuUsage }): number {
  const used = process.cpuUsage(since.cpu);
  return (used.user + used.system) / 1000 / Math.max(1, clock() - since.at);
}
