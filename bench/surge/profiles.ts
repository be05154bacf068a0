/** What the gateways tell of themselves: read as a person would, from `/debug/pprof/` and `/metrics`. */
import type { Frames } from "../support/flame.ts";

/** A gateway at one moment. */
export interface Snapshot {
  /** Running tasks, by the stack that started them. */
  tasks: Frames[];
  /** Waits parked in the library, by stack; what they wait for is the last frame. */
  waits: Frames[];
  /** The profile of the tasks for `go tool pprof`. */
  file: Uint8Array;
  /** The answer of `/metrics`. */
  metrics: string;
}

export async function snapshot(port: number): Promise<Snapshot> {
  const get = async (path: string): Promise<Response> => {
    const res = await fetch(`http://127.0.0.1:${port}${path}`);
    if (!res.ok) throw new Error(`${path}: ${res.status} ${await res.text()}`);
    return res;
  };
  const text = async (path: string): Promise<string> => (await get(path)).text();
  return {
    tasks: framesOf(await text("/debug/pprof/task?debug=1")),
    waits: framesOf(await text("/debug/pprof/goroutine?debug=1")),
    file: new Uint8Array(await (await get("/debug/pprof/task")).arrayBuffer()),
    metrics: await text("/metrics"),
  };
}

/**
 * Reads a profile's listing (`?debug=1`): for each place a line with the count, one with the labels, and a line for
 * each frame, the innermost first. Node's own frames are left out.
 */
export function framesOf(listing: string): Frames[] {
  const [head = "", ...places] = listing.split(/\n(?=\d+ @\n)/);
  if (!/^\w+ profile: total \d+\n?$/.test(head)) throw new Error(`not a profile: ${head.slice(0, 100)}`);
  return places.map((place) => {
    const [count = "", labels = "", ...lines] = place.trimEnd().split("\n");
    const { kind = "" } = JSON.parse(labels.replace(/^# labels: /, ""));
    const frames = lines
      .filter((line) => !line.includes("\tnode:"))
      .map((line) => {
        const [, name = "", at = ""] = line.split("\t");
        return { name, at: at.replace(/^.*\//, "") };
      });
    // A task is what its stack says; a wait is for something.
    if (kind !== "task") frames.unshift({ name: `[${kind}]`, at: "" });
    return { count: Number.parseInt(count, 10), frames: frames.reverse() };
  });
}
