/** The bytes per object of each memory row, for each contender. */
import { spawnSync } from "node:child_process";
import type { Answer } from "./contender.ts";
import type { Contenders } from "./contenders.ts";
import type { MemoryResult } from "./results.ts";
import { median } from "./stats.ts";

interface MemoryRow {
  readonly id: string;
  readonly what: string;
  readonly floor: boolean;
  /** The most bytes that ours may take. */
  readonly most?: number;
}

const ROWS: readonly MemoryRow[] = [
  { id: "memory.wait", what: "a task parked in receive (floor: on a bare promise)", floor: true, most: 650 },
  {
    id: "memory.ctx",
    what: "a context and its cancel function, below a common parent (floor: AbortController)",
    floor: true,
    most: 280,
  },
  {
    id: "memory.deadline",
    what: "the same with a deadline in an hour (floor: the host's timer, setTimeout)",
    floor: true,
    most: 320,
  },
  { id: "memory.chan", what: "an unbuffered channel", floor: false },
  { id: "memory.chan16", what: "a channel with a buffer of 16, empty", floor: false },
  {
    id: "memory.keyed",
    what: "a key of a KeyedLimiter (floor: an entry of a Map, with an object of one field)",
    floor: true,
  },
];

/** Measures ours or the floor in a process of its own. */
function measureOnce(id: string, side: string): Answer {
  const args = ["--expose-gc", ".build/bench/memory.js", id, side];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  return status === 0 ? { bytes: Number(stdout) } : { error: stderr.trim().split("\n").at(-1) ?? `status ${status}` };
}

/** Measures each contender three times and takes the median. */
export async function memory(contenders: Contenders): Promise<MemoryResult[]> {
  const results: MemoryResult[] = [];
  for (const { id, what, floor, most } of ROWS) {
    const bytes: Record<string, number> = {};
    const errors: Record<string, string> = {};
    const take = async (name: string, once: () => Answer | Promise<Answer>) => {
      const taken: number[] = [];
      for (let i = 0; i < 3; i++) {
        const { bytes: value, error } = await once();
        if (value === undefined) errors[name] = error ?? "no figure";
        else taken.push(value);
      }
      if (!(name in errors)) bytes[name] = median(taken);
    };
    await take("ours", () => measureOnce(id, "ours"));
    if (floor) await take("floor", () => measureOnce(id, "floor"));
    const { go1, peers } = contenders;
    if (go1 !== undefined && (go1.hello.rows as readonly string[]).includes(id))
      await take("go1", () => go1.ask(`${id} 0`));
    for (const peer of contenders.peersOf(id)) {
      if (peers !== undefined) await take(peer, () => peers.ask(`${id} ${peer} 0`));
    }
    results.push({ id, what, bytes, ...(most !== undefined && { most }), errors });
  }
  return results;
}
