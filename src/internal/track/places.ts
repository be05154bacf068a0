/** Where what is alive was made: how many of each kind at each place, counted or estimated. */
import { allRecords, type Site, sitesOf, sitesOfProved } from "./records.ts";
import { allKinds, currentLevel, type Kind, PROVED } from "./tracker.ts";

/** How many of a kind were made at one place and are alive. */
export interface Place {
  readonly kind: Kind;
  /** The stack; undefined for those of which no record says where they were made. */
  readonly stack: string | undefined;
  /** Under sampled tracking an estimate, whose sum over the places of a kind is the kind's exact count. */
  readonly count: number;
  /** The time of the oldest record by the real clock, in milliseconds. */
  readonly oldestAt: number | undefined;
}

/**
 * All places, by kind. Costs a step for each place, and one for each record, for their ages. What the collector has
 * proved to be leaked is there under {@link PROVED}, without ages.
 */
export function placesNow(): Place[] {
  const oldest = new Map<Site, number>();
  // The oldest of a place comes first.
  for (const { site, madeAt } of allRecords()) if (!oldest.has(site)) oldest.set(site, madeAt);
  return allKinds().flatMap((kind) => placesOf(kind, (site) => oldest.get(site)));
}

/** The places of one kind. */
function placesOf(kind: Kind, oldestAt: (site: Site) => number | undefined): Place[] {
  const sites = [...(kind === PROVED ? sitesOfProved() : sitesOf(kind))];
  const shown = shownByRecords(kind);
  const counts = apportion(
    shown,
    sites.map((site) => site.estimate),
  );
  const places: Place[] = sites.map((site, i) => {
    return { kind, stack: site.stack, count: counts[i] as number, oldestAt: oldestAt(site) };
  });
  if (kind.live > shown) places.push({ kind, stack: undefined, count: kind.live - shown, oldestAt: undefined });
  return places;
}

/**
 * How many of a kind its records stand for: those that were sampled, for more than they are of. While sampling goes on
 * this is all of the kind that it has seen.
 */
export function shownByRecords(kind: Kind): number {
  if (kind === PROVED) return kind.live;
  let recorded = 0;
  let estimate = 0;
  for (const site of sitesOf(kind)) {
    recorded += site.units;
    estimate += site.estimate;
  }
  if (estimate === recorded) return recorded; // None is sampled.
  const isExact = currentLevel().name === "sampled" && !kind.sampledInPart;
  const seen = isExact ? kind.live - kind.unsampled : 0;
  return Math.min(Math.max(estimate, seen), kind.live);
}

/** Whole numbers that sum to `total` and are to each other as the weights are, as nearly as may be. */
export function apportion(total: number, weights: readonly number[]): number[] {
  const all = sum(weights);
  let seen = 0;
  let given = 0;
  return weights.map((weight) => {
    seen += weight;
    const part = Math.round((total * seen) / all) - given;
    given += part;
    return part;
  });
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
