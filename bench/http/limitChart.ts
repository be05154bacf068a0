/** The chart of the limits: three panels over one axis of time, a line for each limit. */
import { type Axis, escaped, logAxis, r, svg } from "../support/svg.ts";
import { PARTS, type Run } from "./limits.ts";
import type { Interval } from "./simulation.ts";

const WIDTH = 880;
const LEFT = 64;
const RIGHT = 20;
const TOP = 78;
const HEIGHT = 150;
const GAP = 46;

/** Each point is the mean of so many intervals. */
const SMOOTH = 5;

interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly of: (interval: Interval) => number;
}

const PANELS: readonly Panel[] = [
  { title: "Requests served a second", unit: "", of: ({ served }) => served },
  { title: "P99 latency", unit: " ms", of: ({ p99 }) => p99 },
  { title: "Limit", unit: "", of: ({ limit }) => limit },
];

function points(seen: readonly Interval[], of: Panel["of"]): [at: number, value: number][] {
  const found: [number, number][] = [];
  for (let i = 0; i + SMOOTH <= seen.length; i += SMOOTH) {
    const values = seen.slice(i, i + SMOOTH).map(of);
    const at = (seen[i + SMOOTH - 1] as Interval).at;
    found.push([at, Math.max(values.reduce((sum, value) => sum + value, 0) / SMOOTH, 1)]);
  }
  return found;
}

function panel({ title, unit, of }: Panel, runs: readonly Run[], top: number, place: (at: number) => number): string[] {
  const lines = runs.map((run) => ({ ...run, points: points(run.seen, of) }));
  const all = lines.flatMap((line) => line.points.map(([, value]) => value));
  const y: Axis = logAxis(all, top + HEIGHT, top);
  const parts = [`<text class="title" x="${LEFT}" y="${top - 10}">${escaped(title)}</text>`];
  for (const tick of y.ticks) {
    const at = y.place(tick);
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${r(at)}" y2="${r(at)}"/>`,
      `<text class="soft end" x="${LEFT - 7}" y="${r(at + 4)}">${tick}${unit}</text>`,
    );
  }
  // Ours last, above the others.
  for (const { kind, points } of [...lines].reverse()) {
    const path = points.map(([at, value]) => `${r(place(at))},${r(y.place(value))}`).join(" ");
    parts.push(`<polyline class="line ${kind}" style="fill:none" points="${path}"/>`);
  }
  return parts;
}

export function limitChart(runs: readonly Run[]): string {
  const end = PARTS.reduce((sum, { lasts }) => sum + lasts, 0);
  const place = (at: number) => LEFT + (at / end) * (WIDTH - LEFT - RIGHT);
  const bottom = TOP + PANELS.length * (HEIGHT + GAP) - GAP;
  const parts: string[] = [];
  runs.forEach(({ name, kind }, i) => {
    const x = LEFT + i * 150;
    parts.push(
      `<line class="line ${kind}" x1="${x}" x2="${x + 22}" y1="18" y2="18"/>`,
      `<text x="${x + 28}" y="22">${escaped(name)}</text>`,
    );
  });
  let at = 0;
  for (const { name, lasts } of PARTS) {
    const [from, to] = [place(at), place(at + lasts)];
    if (name !== "normal load") {
      parts.push(
        `<rect class="grid" style="opacity:0.35;fill:var(--grid);stroke:none" x="${r(from)}" width="${r(to - from)}" y="${TOP - 26}" height="${bottom - TOP + 26}"/>`,
        `<text class="soft middle" x="${r((from + to) / 2)}" y="${TOP - 32}">${escaped(name)}</text>`,
      );
    }
    at += lasts;
  }
  PANELS.forEach((it, i) => {
    parts.push(...panel(it, runs, TOP + i * (HEIGHT + GAP), place));
  });
  for (let minute = 0; minute * 60_000 <= end; minute += 2) {
    parts.push(`<text class="soft middle" x="${r(place(minute * 60_000))}" y="${bottom + 17}">${minute} min</text>`);
  }
  const label = "Four limits on a simulated service of 500 requests a second: served, P99 latency and limit over time";
  return svg(WIDTH, bottom + 30, label, parts);
}
