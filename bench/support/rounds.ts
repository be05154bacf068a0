/** Measures the contenders of one row in turn, so that the drift of the machine cancels. */
import type { Answer } from "./contender.ts";

/** One contender of one row. */
export interface RowContender {
  /** `ours`, `floor`, `go1`, `goN`, or a peer's name. */
  readonly name: string;
  /** Whether it must run before the first round, for V8 to compile it. Go's contender warms up by itself. */
  readonly warm: boolean;
  ask(ms: number): Promise<Answer>;
}

export interface Effort {
  /** How many sets of fresh processes. */
  readonly sets: number;
  /** Rounds for each row and set. */
  readonly rounds: number;
  /** How long each contender runs in a round. */
  readonly ms: number;
  /** How long it runs before the first round. */
  readonly warmMs: number;
  /** After this time a row gets no further round, except the first two. */
  readonly shareMs: number;
}

export interface RowRounds {
  readonly rounds: Record<string, number[]>;
  readonly errors: Record<string, string>;
}

/** Every second round is in reverse order. A contender that fails is not asked again, and its figures are dropped. */
export async function measureRow(contenders: readonly RowContender[], effort: Effort): Promise<RowRounds> {
  const rounds: Record<string, number[]> = {};
  const errors: Record<string, string> = {};
  const ask = async (contender: RowContender, ms: number): Promise<number | undefined> => {
    if (contender.name in errors) return undefined;
    const { ns, error } = await contender.ask(ms);
    if (ns === undefined || !(ns > 0)) errors[contender.name] = error ?? `no figure, but ${ns}`;
    return ns;
  };
  for (const contender of contenders) if (contender.warm) await ask(contender, effort.warmMs);
  const begin = performance.now();
  for (let round = 0; round < effort.rounds; round++) {
    if (round >= 2 && performance.now() - begin > effort.shareMs) break;
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const ns = await ask(contender, effort.ms);
      if (ns === undefined || contender.name in errors) continue;
      rounds[contender.name] ??= [];
      rounds[contender.name]?.push(ns);
    }
  }
  for (const name of Object.keys(errors)) delete rounds[name];
  return { rounds, errors };
}
