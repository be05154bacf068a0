/**
 * What a call costs: `SafeCaller` beside the `fetch` that a careful program would write without it, by processor time.
 *
 * Each contender has a process of its own: in one process they would share what V8 knows of a Response, and one would
 * pay for the timers that another left. They take turns, batch by batch, so that what slows the machine down for a
 * while slows all.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { median, quantile } from "../support/stats.ts";

/** The contenders, by their names in contender.ts; each is compared with the one named in `to`. */
const CONTENDERS: Record<string, { readonly title: string; readonly to: string }> = {
  signal: { title: "fetch + AbortSignal.timeout", to: "signal" },
  again: { title: "the same again", to: "signal" },
  bare: { title: "bare fetch", to: "signal" },
  safe: { title: "SafeCaller", to: "signal" },
  more: { title: "SafeCaller, with retry, breaker and rate", to: "signal" },
  phases: { title: "SafeCaller, with phases", to: "signal" },
  signalStream: { title: "fetch + AbortSignal.timeout, body as a stream", to: "signalStream" },
  safeStream: { title: "SafeCaller, body as a stream", to: "signalStream" },
};

const WARM_UP = 4;

async function ask(child: ChildProcess): Promise<number> {
  child.send("run");
  const [micros] = (await once(child, "message")) as [number];
  return micros;
}

export interface Cost {
  readonly title: string;
  /** Microseconds of processor time for a call. */
  readonly micros: number;
  /** What it is compared with. */
  readonly to: string;
  /** Round by round, divided by what it is compared with: the median and the quartiles. */
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}

/** Measures all contenders, in so many rounds. */
export async function costs(rounds: number): Promise<Cost[]> {
  const server = fork(new URL("./upstream.js", import.meta.url));
  const children = new Map<string, ChildProcess>();
  try {
    const [port] = (await once(server, "message")) as [number];
    for (const name of Object.keys(CONTENDERS)) {
      const child = fork(new URL("./contender.js", import.meta.url), [name, `http://127.0.0.1:${port}/`]);
      children.set(name, child);
      await once(child, "message");
    }
    const figures = new Map<string, number[]>([...children.keys()].map((name) => [name, []]));
    const order = [...children];
    for (let round = -WARM_UP; round < rounds; round++) {
      order.push(order.shift() as (typeof order)[number]); // Each round begins with another one.
      for (const [name, child] of order) {
        const micros = await ask(child);
        if (round >= 0) figures.get(name)?.push(micros);
      }
    }
    return Object.entries(CONTENDERS).map(([name, { title, to }]) => {
      const its = figures.get(name) as number[];
      const ratios = its.map((micros, i) => micros / (figures.get(to)?.[i] as number));
      return {
        title,
        to: CONTENDERS[to]?.title as string,
        micros: median(its),
        ratio: median(ratios),
        low: quantile(ratios, 0.25),
        high: quantile(ratios, 0.75),
      };
    });
  } finally {
    for (const child of [server, ...children.values()]) child.disconnect();
  }
}
