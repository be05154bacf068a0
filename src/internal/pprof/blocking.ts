/** How long waits were parked, by place: the profiles `block` and `mutex`. */
import { now } from "../time/clock.ts";
import { type LeakRecord, stackNow } from "../track/records.ts";
import { addObserver, type Kind, type Observer } from "../track/tracker.ts";
import { framesAt } from "./counts.ts";
import type { Sample } from "./encode.ts";

/** Waits of one kind that parked at one place, and have ended. */
interface Place {
  readonly kind: Kind;
  readonly stack: string;
  ended: number;
  /** The sum of how long they were parked, in milliseconds. */
  delay: number;
}

// Kept for ever, as in Go: as many as there are places in the program that wait.
const places = new Map<string, Place>();

/** A wait that is parked. */
interface Parked {
  readonly place: Place;
  readonly since: number;
}

const observer: Observer = {
  parked(kind, record): Parked {
    return { place: placeOf(kind, record), since: now() };
  },
  unparked(_, token) {
    const { place, since } = token as Parked;
    place.ended++;
    place.delay += Math.max(0, now() - since); // Below 0 only if a mocked clock came or went.
  },
};

function placeOf(kind: Kind, record: LeakRecord | undefined): Place {
  const stack = record?.stack ?? stackNow(kind.entryPoints);
  const key = `${kind.name}\n${stack}`;
  let place = places.get(key);
  if (place === undefined) {
    place = { kind, stack, ended: 0, delay: 0 };
    places.set(key, place);
  }
  return place;
}

// How many calls of `startRecording` have not been taken back, and what takes the observer away.
let recorders = 0;
let removeObserver: (() => void) | undefined;

/** Records each wait that parks from now on; returns what takes that back. */
export function startRecording(): () => void {
  recorders++;
  removeObserver ??= addObserver(observer);
  let started = true;
  return () => {
    if (!started) return;
    started = false;
    recorders--;
    if (recorders > 0) return;
    removeObserver?.();
    removeObserver = undefined;
  };
}

/** Whether waits are being recorded. */
export function isRecording(): boolean {
  return recorders > 0;
}

/** The kinds of waits for a lock or for a semaphore: those of the profile `mutex`. */
export const MUTEX_KINDS: ReadonlySet<string> = new Set([
  "mutex lock",
  "rwmutex lock",
  "rwmutex rLock",
  "keyedmutex lock",
  "semaphore acquire",
  "semaphore permit",
  "redis lock",
  "redis permit",
]);

/** How many waits have ended at each place, and for how many nanoseconds they were parked in all. */
export function contentionSamples(isWanted: (kind: Kind) => boolean): Sample[] {
  return [...places.values()]
    .filter(({ kind, ended }) => ended > 0 && isWanted(kind))
    .map(({ kind, stack, ended, delay }) => ({
      frames: framesAt(stack),
      values: [ended, Math.round(delay * 1e6)],
      labels: { kind: kind.name },
    }));
}
