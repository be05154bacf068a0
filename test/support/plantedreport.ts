/** What test/support/plantedleaks.mjs prints, and what is wrong with it. */

export interface Planted {
  readonly reachable: Record<string, Found>;
  readonly unreachable: Record<string, Found>;
  /** What was proved of the slow waits, by sort. */
  readonly slow: Record<string, string[]>;
}

interface Found {
  readonly found: number;
  readonly proved: number;
  /** Whether each has a stack that begins in the program. */
  readonly named: boolean;
  readonly provable: boolean;
}

const EACH = 50;

/** The sorts of leaks of which one is not found, has no line, or is not proved though nothing can end it. */
export function strange(sorts: Record<string, Found>): Record<string, Found> {
  const all = Object.entries(sorts).filter(
    ([, { found, proved, named, provable }]) => found !== EACH || !named || proved !== (provable ? EACH : 0),
  );
  return Object.fromEntries(all);
}

/** The sorts of slow waits of which one was proved. */
export function accused(slow: Planted["slow"]): Planted["slow"] {
  return Object.fromEntries(Object.entries(slow).filter(([, proved]) => proved.length > 0));
}
