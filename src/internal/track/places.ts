/** Where what is alive was made: how many of each kind at each place, counted or estimated. */
import { allKinds, allRecords, currentLevel, type Kind, PROVED, type Site, sitesOf, sitesOfProved } from "./tracker.ts";

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
  const recorded = sites.reduce((sum, { units }) => sum + units, 0);
  const weight = weightOf(kind, recorded);
  const places: Place[] = [];
  // Rounding what stands for all so far, not each count, keeps the sum right.
  let units = 0;
  let counted = 0;
  for (const site of sites) {
    units += site.units;
    const count = Math.round(units * weight) - counted;
    counted += count;
    places.push({ kind, stack: site.stack, count, oldestAt: oldestAt(site) });
  }
  if (kind.live > counted) places.push({ kind, stack: undefined, count: kind.live - counted, oldestAt: undefined });
  return places;
}

/** How many of the kind each recorded unit stands for. */
function weightOf(kind: Kind, recorded: number): number {
  const level = currentLevel();
  if (level.name !== "sampled" || recorded === 0 || kind === PROVED) return 1;
  const weight = kind.live / recorded;
  return kind.sampledInPart ? Math.min(weight, level.every) : weight;
}
