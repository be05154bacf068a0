/** Seeded pseudo-random numbers (mulberry32), so that a failing random test can be repeated. */
export interface Random {
  readonly seed: number;
  /** In [0, 1). */
  next(): number;
  /** A whole number from `low` to `high`, both included. */
  int(low: number, high: number): number;
  /** True with probability p. */
  bool(p: number): boolean;
  pick<T>(items: readonly T[]): T;
  /** Shuffles in place, and returns the same array. */
  shuffle<T>(items: T[]): T[];
}

export function random(seed: number): Random {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (low: number, high: number) => low + Math.floor(next() * (high - low + 1));
  return {
    seed,
    next,
    int,
    bool: (p) => next() < p,
    pick: <T>(items: readonly T[]) => items[int(0, items.length - 1)] as T,
    shuffle(items) {
      for (let i = items.length - 1; i > 0; i--) {
        const j = int(0, i);
        [items[i], items[j]] = [items[j] as never, items[i] as never];
      }
      return items;
    },
  };
}

/** The seeds of n random programs: 1 to n, or only the one that the environment variable SEED names. */
export function seeds(n: number): number[] {
  const { SEED } = (globalThis as { process?: NodeJS.Process }).process?.env ?? {}; // A page has none.
  return SEED === undefined ? Array.from({ length: n }, (_, i) => i + 1) : [Number(SEED)];
}
