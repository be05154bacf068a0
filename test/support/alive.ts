import { counters } from "gopark/leak";

/** The differences of the counters from an earlier reading of `counters()`, without the zeros. */
export function aliveSince(before: Readonly<Record<string, number>>): Record<string, number> {
  const differences = Object.entries(counters()).map(([kind, n]) => [kind, n - (before[kind] ?? 0)] as const);
  return Object.fromEntries(differences.filter(([, n]) => n !== 0));
}
