/** What is alive in the library, by place: the profiles `goroutine`, `task` and `goroutineleak`. */
import { realNow } from "../host/host.ts";
import { type Frame, framesOf } from "../track/frames.ts";
import { apportion, shownByRecords } from "../track/places.ts";
import { allRecords, type LeakRecord, type Site, sitesOf, sitesOfProved } from "../track/records.ts";
import { allKinds, currentLevel, type Kind, type KindClass, PROVED } from "../track/tracker.ts";
import type { Labels, Sample } from "./encode.ts";
import type { Pace } from "./pace.ts";

// The ages that are told apart, in seconds: from each of them to the next.
const AGES = [0, 1, 10, 60, 600, 3600, 86_400] as const;

/** The kinds of a class; of the proved leaks, only {@link proved} knows their class. */
export function kindsOf(kindClass: KindClass): Kind[] {
  return allKinds().filter((kind) => kind.class === kindClass && kind !== PROVED);
}

/**
 * The live things of a class, by kind, stack and age, and what was proved to be leaked of them. The numbers are of one
 * instant, and exact for each kind. The ages come from a walk through the records before it, in slices of the pace.
 *
 * Under sampled tracking the number of a kind is divided among the stacks of its recorded ones. Otherwise those without
 * a record are one sample, whose frame says why there is no stack.
 */
export async function liveSamples(kindClass: KindClass, pace: Pace): Promise<Sample[]> {
  const kinds = kindsOf(kindClass);
  const ages = await agesBySite(new Set(kinds), pace);
  return [...kinds.flatMap((kind) => samplesOfKind(kind, ages)), ...provedSamples(kindClass)];
}

/** What was proved to be leaked, by kind and stack; of one class, or of all. */
export function provedSamples(kindClass?: KindClass): Sample[] {
  return [...sitesOfProved()]
    .filter(({ kind }) => kindClass === undefined || kind.class === kindClass)
    .map(({ kind, stack, units }) => sampleOf(stack, units, { kind: kind.name, leak: "proved" }));
}

function samplesOfKind(kind: Kind, ages: ReadonlyMap<Site, number[]>): Sample[] {
  const places: { readonly stack: string; readonly age: number; readonly weight: number }[] = [];
  for (const site of sitesOf(kind)) {
    const { stack } = site;
    // What was made or ended since the walk has the ages of the others there.
    const weights = apportion(site.estimate, ages.get(site) ?? [1]);
    for (const [age, weight] of weights.entries()) if (weight > 0) places.push({ stack, age, weight });
  }
  const share = shownByRecords(kind);
  const counts = apportion(
    share,
    places.map(({ weight }) => weight),
  );
  const samples = places.flatMap(({ stack, age }, i) => {
    const n = counts[i] as number;
    const labels = { kind: kind.name, age: { value: AGES[age] as number, unit: "s" } };
    return n === 0 ? [] : [sampleOf(stack, n, labels)];
  });
  const rest = kind.live - share;
  if (rest > 0) {
    const frames = [currentLevel().name === "sampled" ? NONE_SAMPLED : UNTRACKED];
    samples.push({ frames, values: [rest], labels: { kind: kind.name } });
  }
  return samples;
}

/** How many each site's records stand for, of each of {@link AGES}, as a walk through the records finds them. */
async function agesBySite(kinds: ReadonlySet<Kind>, pace: Pace): Promise<Map<Site, number[]>> {
  const found = new Map<Site, number[]>();
  const now = realNow();
  for (const record of recordsUntil(now)) {
    if (kinds.has(record.kind)) {
      let weights = found.get(record.site);
      if (weights === undefined) {
        weights = AGES.map(() => 0);
        found.set(record.site, weights);
      }
      (weights[bucketOf(now - record.madeAt)] as number) += record.units * record.each;
    }
    const pause = pace.due();
    if (pause !== undefined) await pause;
  }
  return found;
}

/**
 * The records that were made until now, by the clock of {@link LeakRecord.madeAt}. Others may be made while this is
 * iterated: it ends all the same.
 */
export function* recordsUntil(now: number): Generator<LeakRecord> {
  for (const record of allRecords()) {
    if (record.madeAt > now) return;
    yield record;
  }
}

/** The place in {@link AGES} of an age in milliseconds. */
function bucketOf(age: number): number {
  return AGES.findLastIndex((from) => age >= 1000 * from);
}

/** A frame that says something instead of being one. */
function saying(fn: string): Frame {
  return { fn, file: "", line: 0, column: 0 };
}

const UNTRACKED = saying("[no stack: made while tracking was off]");
const NONE_SAMPLED = saying("[no stack: not sampled]");
const NO_STACK = saying("[no stack: the host gave none]");

/** A sample of one value at a stack. */
export function sampleOf(stack: string, value: number, labels: Labels): Sample {
  return { frames: framesAt(stack), values: [value], labels };
}

/** The frames of a stack; one that says so if it has none. */
export function framesAt(stack: string): readonly Frame[] {
  const frames = framesOf(stack);
  return frames.length > 0 ? frames : [NO_STACK];
}
