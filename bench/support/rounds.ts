/** Measures the contenders of one row in turn, so that the drift of the machine cancels. */
import type { Answer } from "./contender.ts";

/** One contender of one row. */
export interface Seat {
  /** `ours`, `floor`, `go1`, `goN`, or a peer's name. */
  readonly who: string;
  /** Whether its code must be compiled and optimized before it is measured. Go warms itself up. */
  readonly warm: boolean;
  ask(ms: number): Promise<Answer>;
}

export interface Effort {
  /** Fresh sets of processes. */
  readonly sets: number;
  /** Rounds for each row and set. */
  readonly rounds: number;
  /** How long each contender runs in a round. */
  readonly ms: number;
  /** How long it runs before the first. */
  readonly warmMs: number;
  /** After so long a row gets no more rounds, however many it has had; a row of slow contenders has fewer. */
  readonly shareMs: number;
}

export interface RowRounds {
  readonly rounds: Record<string, number[]>;
  readonly errors: Record<string, string>;
}

/** Every second round goes backwards. A contender that fails is not asked again. */
export async function measureRow(seats: readonly Seat[], effort: Effort): Promise<RowRounds> {
  const rounds: Record<string, number[]> = {};
  const errors: Record<string, string> = {};
  const ask = async (seat: Seat, ms: number): Promise<number | undefined> => {
    if (seat.who in errors) return undefined;
    const { ns, error } = await seat.ask(ms);
    if (ns === undefined || !(ns > 0)) errors[seat.who] = error ?? `no figure, but ${ns}`;
    return ns;
  };
  for (const seat of seats) if (seat.warm) await ask(seat, effort.warmMs);
  const begin = performance.now();
  for (let round = 0; round < effort.rounds; round++) {
    if (round >= 2 && performance.now() - begin > effort.shareMs) break;
    for (const seat of round % 2 === 0 ? seats : seats.toReversed()) {
      const ns = await ask(seat, effort.ms);
      if (ns === undefined || seat.who in errors) continue;
      rounds[seat.who] ??= [];
      rounds[seat.who]?.push(ns);
    }
  }
  for (const who of Object.keys(errors)) delete rounds[who];
  return { rounds, errors };
}
