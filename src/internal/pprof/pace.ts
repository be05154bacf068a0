/** Long work in slices, between which the event loop gets a turn. */
import { realNow } from "../host/host.ts";
import { macrotask } from "../time/turn.ts";
import type { Source } from "../wait/source.ts";

// In milliseconds.
const SLICE = 5;

// The clock is read once in this many steps: reading it costs more than most of them.
const STEPS = 32;

/** The slices of one piece of work. */
export class Pace {
  private sliceBeganAt = realNow();
  private stepsLeft = STEPS;
  private readonly source: Source | undefined;

  /** The work ends when `source` has ended. */
  constructor(source?: Source) {
    this.source = source;
  }

  /**
   * To be asked at each step: undefined while the slice lasts, else a promise to await. That is for the next turn, and
   * rejects with the error of the source if it has ended by then.
   */
  due(): Promise<void> | undefined {
    if (--this.stepsLeft > 0) return undefined;
    this.stepsLeft = STEPS;
    return realNow() - this.sliceBeganAt < SLICE ? undefined : this.pause();
  }

  private async pause(): Promise<void> {
    await new Promise<void>(macrotask);
    const ending = this.source?.poll();
    if (ending !== undefined) throw ending.error();
    this.sliceBeganAt = realNow();
  }
}
