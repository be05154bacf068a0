/** The rules of trace events, as far as the library's traces use the format. */
import type { TraceEvent } from "../../src/trace.ts";

const PHASES = ["b", "e", "X", "s", "f", "C", "M"];

/** What breaks the rules in a trace; empty if nothing does. */
export function faultsOf(events: readonly TraceEvent[]): string[] {
  const faults: string[] = [];
  const fault = (event: TraceEvent, what: string) => faults.push(`${what}: ${JSON.stringify(event)}`);
  const open = new Map<string, TraceEvent[]>(); // The async slices by category and id, the outer ones first.
  const arrows = new Map<string, "begun" | "ended">();
  const slices = new Map<number, [from: number, to: number][]>(); // Of the threads.
  const names = new Set<number>();
  // As readers do it: by time, and at one instant in the order of the file.
  for (const event of [...events].sort((a, b) => a.ts - b.ts)) {
    const { ph, name, pid, tid, ts, cat, id, dur, bp, args } = event;
    const key = `${cat}|${id}`;
    if (!PHASES.includes(ph)) fault(event, "unknown phase");
    if (typeof name !== "string" || name === "" || typeof cat !== "string") fault(event, "no name or category");
    if (!Number.isInteger(pid) || !Number.isInteger(tid) || pid < 1 || tid < 1) fault(event, "bad process or thread");
    if (!Number.isFinite(ts) || ts < 0) fault(event, "bad time");
    if ("besf".includes(ph) !== (typeof id === "string")) fault(event, "an id where none is due, or none");
    if (ph === "b") open.set(key, [...(open.get(key) ?? []), event]);
    if (ph === "e" && open.get(key)?.pop()?.name !== name) fault(event, "ends what is not innermost");
    if (ph === "X") {
      if (!(Number.isFinite(dur) && Number(dur) >= 0)) fault(event, "bad length");
      slices.set(tid, [...(slices.get(tid) ?? []), [ts, ts + Number(dur)]]);
    }
    if (ph === "s" || ph === "f") {
      if (!slices.get(tid)?.some(([from, to]) => from <= ts && ts <= to))
        fault(event, "an arrow without a slice around it");
      if (arrows.get(key) !== (ph === "s" ? undefined : "begun")) fault(event, "an arrow that begins or ends twice");
      if (ph === "f" && bp !== "e") fault(event, "bound to the next slice");
      arrows.set(key, ph === "s" ? "begun" : "ended");
    }
    if (ph === "C" && !Object.values(args ?? {}).every((n) => typeof n === "number" && n >= 0)) {
      fault(event, "a counter without a number");
    }
    if (ph === "M" && name === "thread_name") names.add(tid);
  }
  for (const left of open.values()) for (const event of left) fault(event, "not ended");
  for (const [key, state] of arrows) if (state === "begun") faults.push(`an arrow without an end: ${key}`);
  for (const tid of slices.keys()) if (!names.has(tid)) faults.push(`a thread without a name: ${tid}`);
  return faults;
}
