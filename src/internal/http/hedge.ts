/** Hedging: a further attempt is sent while the first goes unanswered, and the first good answer counts. */
import { type CancelScope, type Context, withCancel } from "../../context.ts";
import { afterFunc, type FuncTimer } from "../../time.ts";
import type { Attempt } from "./attempt.ts";
import type { Call } from "./call.ts";
import { CallCanceledError, CallError } from "./errors.ts";
import type { Entry } from "./gate.ts";
import { NOT_COUNTED } from "./hosts.ts";
import type { HedgePolicy } from "./options.ts";

/** An attempt that has been sent, and what it resolves or rejects with: see {@link Attempt.send}. */
export type Begun = [Attempt, Promise<Attempt>];

/** What a hedged call needs to know. */
export interface Hedging {
  readonly call: Call;
  readonly policy: HedgePolicy;
  /** Whether an answer with this status ends the call while other attempts run. */
  isGood(status: number): boolean;
  /**
   * What a further attempt needs: undefined where there is no slot for one, or the budget or the rate has no token.
   * Waits for limits that have to be asked, until `ctx` ends. Never rejects.
   */
  enter(ctx: Context): Promise<Entry | undefined>;
  /** Begins a further attempt. */
  begin(entry: Entry): Begun;
  /** Gives back what an attempt needs that is not begun. */
  leave(entry: Entry): void;
}

/**
 * Resolves to the first attempt whose answer is good, or else to the last one that was answered; the other attempts are
 * aborted. If none is answered, rejects with the first error, or with a later one that is surer of the server having
 * seen the request.
 */
export function hedged(hedging: Hedging, first: Begun): Promise<Attempt> {
  return new Promise((resolve, reject) => new Race(hedging, resolve, reject).add(first));
}

/** The attempts of a call that run side by side. */
class Race {
  private readonly hedging: Hedging;
  private readonly resolve: (winner: Attempt) => void;
  private readonly reject: (error: unknown) => void;

  // Those that have not ended. When the last one has, or when one has won, the race is over.
  private readonly running = new Set<Attempt>();
  private begun = 0;
  private timer: FuncTimer | undefined = undefined;

  // What a further attempt waits in, from the first that is due. Cancelled with the end of the race.
  private waiting: CancelScope | undefined = undefined;

  // What the call gets if no answer is good.
  private answered: Attempt | undefined = undefined;
  private error: unknown = undefined;

  constructor(hedging: Hedging, resolve: (winner: Attempt) => void, reject: (error: unknown) => void) {
    this.hedging = hedging;
    this.resolve = resolve;
    this.reject = reject;
  }

  add([attempt, answer]: Begun): void {
    this.running.add(attempt);
    answer.then(
      () => this.onAnswer(attempt),
      (error) => this.onError(attempt, error),
    );
    this.begun++;
    this.arm();
  }

  private arm(): void {
    const { policy } = this.hedging;
    if (this.begun <= policy.max) this.timer = afterFunc(policy.after, () => void this.addAnother());
  }

  private async addAnother(): Promise<void> {
    const { hedging } = this;
    if (this.running.size === 0) return;
    this.waiting ??= withCancel(hedging.call.ctx);
    const entry = await hedging.enter(this.waiting.ctx);
    const isOver = this.running.size === 0;
    if (entry === undefined) {
      // After no time at all it would ask again and again.
      if (!isOver && hedging.policy.after > 0) this.arm();
    } else if (isOver) {
      hedging.leave(entry);
    } else {
      this.add(hedging.begin(entry));
    }
  }

  private onAnswer(attempt: Attempt): void {
    if (!this.running.delete(attempt)) {
      attempt.drop(); // It was answered in the turn in which it lost.
      return;
    }
    this.answered?.drop();
    this.answered = attempt;
    if (this.running.size === 0 || this.hedging.isGood(attempt.response.status)) this.finish();
  }

  private onError(attempt: Attempt, error: unknown): void {
    if (!this.running.delete(attempt)) return;
    // One that was surely not sent must not speak for another that perhaps was.
    if (this.error === undefined || (wasNotSent(this.error) && !wasNotSent(error))) this.error = error;
    if (this.running.size === 0) this.finish();
  }

  private finish(): void {
    this.timer?.stop();
    this.waiting?.cancel();
    const { call } = this.hedging;
    for (const attempt of this.running) attempt.abort(lost(call), NOT_COUNTED);
    this.running.clear();
    if (this.answered === undefined) this.reject(this.error);
    else this.resolve(this.answered);
  }
}

function wasNotSent(error: unknown): boolean {
  return error instanceof CallError && error.sent === "no";
}

function lost(call: Call): CallCanceledError {
  const cause = new Error("another attempt was answered first");
  const message = `call to ${call.host}: ${cause.message}`;
  return call.error("headers", "maybe", (details) => new CallCanceledError(message, details), cause);
}
