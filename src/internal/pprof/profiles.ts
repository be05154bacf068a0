/** The profiles by name: what each shows, and how it is taken. */
import { now } from "../time/clock.ts";
import { Kind } from "../track/tracker.ts";
import type { Source } from "../wait/source.ts";
import { TimedWaiters } from "../wait/timed.ts";
import { contentionSamples, MUTEX_KINDS } from "./blocking.ts";
import { kindsOf, liveSamples, provedSamples } from "./counts.ts";
import { encode, type Profile, type Sample } from "./encode.ts";
import { recordCpu, recordHeap } from "./inspector.ts";
import { Pace } from "./pace.ts";
import { dump, inPieces, listing } from "./text.ts";

/** The profiles that show what the library has counted when they are taken; they have a text, too. */
export type TextName = "goroutine" | "task" | "goroutineleak" | "block" | "mutex";

/** The profiles that are recorded for some seconds. */
export type RecordedName = "heap" | "profile";

/** The names of the profiles. */
export type ProfileName = TextName | RecordedName;

/** How a profile of the library's counts is made. */
const COUNTED: Record<TextName, (pace: Pace) => Promise<Profile>> = {
  goroutine: async (pace) => countProfile("goroutine", await liveSamples("wait", pace)),
  task: async (pace) => countProfile("task", await liveSamples("task", pace)),
  goroutineleak: async () => countProfile("goroutineleak", provedSamples()),
  block: async () => contentionProfile(contentionSamples(() => true)),
  mutex: async () => contentionProfile(contentionSamples(({ name }) => MUTEX_KINDS.has(name))),
};

function countProfile(type: string, samples: readonly Sample[]): Profile {
  const counted = { type, unit: "count" };
  const period = { ...counted, value: 1 };
  return { types: [counted], defaultType: type, period, startedAt: now(), duration: 0, samples };
}

function contentionProfile(samples: readonly Sample[]): Profile {
  const contentions = { type: "contentions", unit: "count" };
  return {
    types: [contentions, { type: "delay", unit: "nanoseconds" }],
    defaultType: "delay",
    period: { ...contentions, value: 1 },
    startedAt: now(),
    duration: 0,
    samples,
  };
}

/** How the profiles are recorded that V8 makes. */
const RECORDED = { heap: recordHeap, profile: recordCpu };

/** For how many seconds they are recorded if that is left out. */
export const USUAL_SECONDS: Readonly<Record<RecordedName, number>> = { heap: 1, profile: 30 };

export const TEXT_NAMES = Object.keys(COUNTED) as readonly TextName[];

export const PROFILE_NAMES: readonly ProfileName[] = [...TEXT_NAMES, ...(Object.keys(RECORDED) as RecordedName[])];

export function isTextName(name: unknown): name is TextName {
  return (TEXT_NAMES as readonly unknown[]).includes(name);
}

export function isProfileName(name: unknown): name is ProfileName {
  return (PROFILE_NAMES as readonly unknown[]).includes(name);
}

// Waits for the end of a recording.
const recording = new TimedWaiters<undefined>(new Kind("pprof recording", "wait"));

/** Takes a profile, encoded. `seconds` is for those that are recorded. `source` has been polled, and ends it early. */
export async function takeProfile(
  name: ProfileName,
  seconds: number | undefined,
  source: Source | undefined,
): Promise<Uint8Array> {
  const pace = new Pace(source);
  if (isTextName(name)) return encode(await COUNTED[name](pace), pace);
  const wait = () => recording.parkUntil(now() + 1000 * (seconds ?? USUAL_SECONDS[name]), source, undefined);
  return encode(await RECORDED[name](wait), pace);
}

/** The text of a profile in pieces: by place, or one by one where `level` is 2 and that is possible. */
export async function* takeText(name: TextName, level: 1 | 2): AsyncGenerator<string, void, undefined> {
  const pace = new Pace();
  const oneByOne = level === 2 && (name === "goroutine" || name === "task");
  const kinds = oneByOne ? kindsOf(name === "goroutine" ? "wait" : "task") : [];
  yield* inPieces(oneByOne ? dump(kinds) : listing(name, await COUNTED[name](pace)), pace);
}
