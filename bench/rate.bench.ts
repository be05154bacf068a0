/** The token bucket, compared with one reading of the clock. */
import { rate } from "gopark";
import { check, type Row } from "./support/row.ts";

const N = 20_000;

/** Two limiters in turn: one with a token for every call, one whose only token is spent. */
function allow(): void {
  const open = new rate.Limiter(1e6, 1e9);
  const shut = new rate.Limiter(1e-12, 1);
  check(shut.allow(), true);
  let allowed = 0;
  for (let i = 0; i < N / 2; i++) {
    if (open.allow()) allowed++;
    if (shut.allow()) allowed++;
  }
  check(allowed, N / 2);
}

function clock(): void {
  let last = 0;
  for (let i = 0; i < N; i++) last = Math.max(last, performance.now());
  check(last > 0, true);
}

const KEYS = 1_000_000;

let keys: readonly string[] | undefined;

/** A million keys, in an order that is not that of their memory. */
function shuffledKeys(): readonly string[] {
  keys ??= Array.from({ length: KEYS }, (_, i) => `client ${(i * 514_229) % KEYS}`);
  return keys;
}

let keyed: rate.KeyedLimiter | undefined;

function allowByKey(): void {
  keyed ??= new rate.KeyedLimiter(1e-9, 2 ** 40, { maxKeys: KEYS });
  let allowed = 0;
  for (const key of shuffledKeys()) if (keyed.allow(key)) allowed++;
  check(allowed, KEYS);
}

let counts: Map<string, { n: number }> | undefined;

function allowAndLookUp(): void {
  counts ??= new Map(shuffledKeys().map((key) => [key, { n: 0 }]));
  const limiter = new rate.Limiter(1e-9, 2 ** 40);
  let allowed = 0;
  for (const key of shuffledKeys()) if (counts.get(key) !== undefined && limiter.allow()) allowed++;
  check(allowed, KEYS);
}

export const rows: readonly Row[] = [
  {
    id: "rate.allow",
    what: "allow of a limiter with tokens and of one without, in turn: one call",
    ops: N,
    ours: allow,
    floor: clock,
    floorIs: "one reading of the clock",
    targets: { go: 0.8 },
    next: {
      targets: { floor: 2.4 },
      why: "The tokens are Go's to the nanosecond, which takes three divisions, and the clock is looked up at each reading, so that fake timers work.",
    },
  },
  {
    id: "rate.keyed",
    what: "KeyedLimiter.allow of each of a million keys: one call",
    ops: KEYS,
    ours: allowByKey,
    floor: allowAndLookUp,
    floorIs: "Map.get of the key, and allow of one Limiter",
    targets: { floor: 1.3 },
  },
];
