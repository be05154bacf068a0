/**
 * A simulated service under load, behind a limit on how much runs at once. Time is virtual and chance is seeded, so a
 * run is the same each time.
 *
 * The service does `lanes` things at once, each in a random time around `takes`; what is beyond waits inside it, first
 * come, first served. So its capacity is `lanes / takes`. Requests arrive at random (a Poisson process). What the limit
 * does not let through is refused.
 */

/** A limit on how much runs at once. */
export interface Limit {
  /** How much may run now. */
  readonly value: number;
  /** Told of each that has ended: when it began and ended, and how much ran then, this included. */
  add(start: number, end: number, running: number, ok: boolean): void;
}

/** A part of a run. */
export interface Phase {
  /** Milliseconds. */
  readonly lasts: number;
  /** Requests a second. */
  readonly rate: number;
  /** Milliseconds that one takes on average when nothing waits. */
  readonly takes: number;
}

/** What was seen in one interval. */
export interface Interval {
  /** Its end, in milliseconds. */
  readonly at: number;
  readonly offered: number;
  readonly served: number;
  /** Latencies, in milliseconds; 0 if nothing was served. */
  readonly p50: number;
  readonly p99: number;
  /** The limit at the end. */
  readonly limit: number;
}

/** Random numbers from 0 up to 1, always the same for one seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Events in the order of their time. */
class Agenda {
  private readonly heap: { readonly at: number; readonly run: () => void }[] = [];

  push(at: number, run: () => void): void {
    const { heap } = this;
    let i = heap.length;
    for (let up = (i - 1) >> 1; i > 0 && (heap[up]?.at as number) > at; up = (i - 1) >> 1) {
      heap[i] = heap[up] as (typeof heap)[0];
      i = up;
    }
    heap[i] = { at, run };
  }

  pop(): { readonly at: number; readonly run: () => void } {
    const { heap } = this;
    const first = heap[0] as (typeof heap)[0];
    const last = heap.pop() as (typeof heap)[0];
    if (heap.length === 0) return first;
    let i = 0;
    for (let down = 1; down < heap.length; down = 2 * i + 1) {
      if (down + 1 < heap.length && (heap[down + 1]?.at as number) < (heap[down]?.at as number)) down++;
      if ((heap[down]?.at as number) >= last.at) break;
      heap[i] = heap[down] as (typeof heap)[0];
      i = down;
    }
    heap[i] = last;
    return first;
  }
}

export interface Settings {
  readonly lanes: number;
  /** Milliseconds of an interval. */
  readonly every: number;
  readonly random: () => number;
}

/** Runs the phases one after the other, and returns what was seen. */
export function simulate(limit: Limit, phases: readonly Phase[], { lanes, every, random }: Settings): Interval[] {
  const agenda = new Agenda();
  const seen: Interval[] = [];
  const inside: number[] = []; // When each that waits inside the service began.
  let now = 0;
  let phase = phases[0] as Phase;
  let busy = 0;
  let running = 0;
  let offered = 0;
  let latencies: number[] = [];

  const serve = () => {
    while (busy < lanes && inside.length > 0) {
      const start = inside.shift() as number;
      busy++;
      agenda.push(now + phase.takes * (0.5 + random()), () => {
        busy--;
        limit.add(start, now, running--, true);
        latencies.push(now - start);
        serve();
      });
    }
  };
  const arrive = () => {
    offered++;
    if (running < limit.value) {
      running++;
      inside.push(now);
      serve();
    }
    agenda.push(now - (Math.log(1 - random()) * 1000) / phase.rate, arrive);
  };
  const look = () => {
    const sorted = latencies.sort((a, b) => a - b);
    const quantile = (q: number) => sorted[Math.floor(q * (sorted.length - 1))] ?? 0;
    const p50 = quantile(0.5);
    seen.push({ at: now, offered, served: sorted.length, p50, p99: quantile(0.99), limit: limit.value });
    offered = 0;
    latencies = [];
    agenda.push(now + every, look);
  };

  agenda.push(0, arrive);
  agenda.push(every, look);
  let end = 0;
  for (phase of phases) {
    end += phase.lasts;
    for (let next = agenda.pop(); ; next = agenda.pop()) {
      if (next.at > end) {
        agenda.push(next.at, next.run);
        break;
      }
      now = next.at;
      next.run();
    }
  }
  return seen;
}
