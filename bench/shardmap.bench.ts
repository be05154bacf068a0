/** The sharded map, compared with a raw Map. */
import { shardmap } from "gopark";
import { check, type Row } from "./support/row.ts";

const KEYS = 65_536;
const UPDATES = 5_000;
const COUNTERS = 100;
const DONE = Promise.resolve();
const keys = Array.from({ length: KEYS }, (_, i) => `user:${i}`);
// Not the order of insertion, so that the order of the map does not help the caches.
const asked = keys.map((_, i) => keys[(i * 40_503) % KEYS] as string);

const sharded = new shardmap.ShardMap<string, number>(keys.map((key, i) => [key, i]));
const raw = new Map<string, number>(keys.map((key, i) => [key, i]));
const written = new shardmap.ShardMap<string, number>(sharded);
const writtenFloor = new Map<string, number>(raw);
const SUM = (KEYS * (KEYS - 1)) / 2;

function get(): void {
  let sum = 0;
  for (let i = 0; i < KEYS; i++) sum += sharded.get(asked[i] as string) as number;
  check(sum, SUM);
}

function getFloor(): void {
  let sum = 0;
  for (let i = 0; i < KEYS; i++) sum += raw.get(asked[i] as string) as number;
  check(sum, SUM);
}

function set(): void {
  for (let i = 0; i < KEYS; i++) written.set(asked[i] as string, i);
  check(written.size, KEYS);
  check(written.get(asked[7] as string), 7);
}

function setFloor(): void {
  for (let i = 0; i < KEYS; i++) writtenFloor.set(asked[i] as string, i);
  check(writtenFloor.size, KEYS);
  check(writtenFloor.get(asked[7] as string), 7);
}

const increment = (n = 0) => n + 1;

async function update(): Promise<void> {
  const map = new shardmap.ShardMap<string, number>();
  for (let i = 0; i < UPDATES; i++) await map.update(keys[i % COUNTERS] as string, increment);
  let sum = 0;
  for (const count of map.values()) sum += count;
  check(map.size, COUNTERS);
  check(sum, UPDATES);
}

async function updateFloor(): Promise<void> {
  const map = new Map<string, number>();
  for (let i = 0; i < UPDATES; i++) {
    const key = keys[i % COUNTERS] as string;
    await DONE;
    map.set(key, increment(map.get(key)));
  }
  let sum = 0;
  for (const count of map.values()) sum += count;
  check(map.size, COUNTERS);
  check(sum, UPDATES);
}

export const rows: readonly Row[] = [
  {
    id: "map.get64k",
    what: "get from a ShardMap with 65 536 string keys: one look-up",
    ops: KEYS,
    ours: get,
    floor: getFloor,
    floorIs: "a raw Map",
    targets: { go: 1 },
  },
  {
    id: "map.set64k",
    what: "set each of the 65 536 keys of a ShardMap again: one key",
    ops: KEYS,
    ours: set,
    floor: setFloor,
    floorIs: "a raw Map",
  },
  {
    id: "map.update",
    what: "increment 100 counters in turn, each by an awaited update: one update",
    ops: UPDATES,
    ours: update,
    floor: updateFloor,
    floorIs: "one bare await, get and set of a raw Map",
    targets: { floor: 2.5 },
    next: {
      targets: { floor: 4 },
      why: "The function runs in a microtask of its own, so two things are awaited; and the key is marked as busy meanwhile.",
    },
  },
];
