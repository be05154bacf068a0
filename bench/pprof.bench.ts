/** Profiles, compared with one walk through as many records. */
import { Channel, leak } from "gopark";
import * as pprof from "gopark/pprof";
import { check, type Row } from "./support/row.ts";

const N = 100_000;
const PLACES = 40;

// The parked waits, made at the first call and kept. Each place is a function of its own.
let parked: Channel<number> | undefined;

function park(): void {
  if (parked !== undefined) return;
  const ch = new Channel<number>();
  parked = ch;
  const makers = Array.from({ length: PLACES }, (_, i) => {
    return new Function("ch", `return function place${i}() { void ch.receive(); }`)(ch) as () => void;
  });
  leak.track("full");
  for (let i = 0; i < N; i++) makers[i % PLACES]?.();
  leak.track("counters");
}

async function goroutine(): Promise<void> {
  park();
  const { length } = await pprof.profile("goroutine");
  check(length > 0 && length < 100 * N, true);
}

const records = new Set(Array.from({ length: N }, (_, i) => ({ place: `place${i % PLACES}`, madeAt: i })));

function walk(): void {
  const places = new Map<string, number>();
  let oldest = N;
  for (const { place, madeAt } of records) {
    places.set(place, (places.get(place) ?? 0) + 1);
    oldest = Math.min(oldest, madeAt);
  }
  check(places.size + oldest, PLACES);
}

export const rows: readonly Row[] = [
  {
    id: "pprof.goroutine",
    what: `the profile of ${N} parked waits at ${PLACES} places, with their ages: one wait`,
    ops: N,
    ours: goroutine,
    floor: walk,
    floorIs: "one walk through as many records, counted by place",
  },
];
