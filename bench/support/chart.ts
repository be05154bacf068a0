/** The chart of the comparison: a line for each row, a dot for each contender, time on a horizontal log scale. */
import { bestPeer, type RowResult } from "./results.ts";
import { escaped, logAxis, r, shortTime, svg } from "./svg.ts";
import { time } from "./table.ts";

interface Dot {
  readonly kind: "ours" | "floor" | "go" | "go hollow" | "peer";
  readonly name: string;
  readonly ns: number;
}

const KEY: readonly (readonly [Dot["kind"], string])[] = [
  ["ours", "gopark"],
  ["floor", "floor"],
  ["go", "Go, 1 processor"],
  ["go hollow", "Go, all processors"],
  ["peer", "best peer"],
];

/** Ours is last, so that it is drawn above the others. */
function dots({ ns }: RowResult): Dot[] {
  const peer = bestPeer(ns);
  const all: [Dot["kind"], string, number | undefined][] = [
    ["floor", "floor", ns.floor],
    ["go hollow", "Go, all processors", ns.goN],
    ["go", "Go, 1 processor", ns.go1],
    ["peer", peer ?? "", peer === undefined ? undefined : ns[peer]],
    ["ours", "gopark", ns.ours],
  ];
  return all.flatMap(([kind, name, value]) => (value === undefined ? [] : [{ kind, name, ns: value }]));
}

const WIDTH = 900;
const LEFT = 130;
const RIGHT = 24;
const TOP = 64;
const LINE = 20;

function circle({ kind, name, ns }: Dot, x: number, y: number, radius: number): string {
  const title = `<title>${escaped(name)}: ${time(ns)}</title>`;
  return `<circle class="${kind}" cx="${r(x)}" cy="${r(y)}" r="${radius}">${title}</circle>`;
}

export function chart(rows: readonly RowResult[]): string {
  const lines = rows.map((row) => ({ id: row.id, dots: dots(row) })).filter((line) => line.dots.length > 0);
  const foot = TOP + lines.length * LINE;
  const x = logAxis(
    lines.flatMap((line) => line.dots.map(({ ns }) => ns)),
    LEFT,
    WIDTH - RIGHT,
  );
  const parts: string[] = [];
  for (const [i, [kind, name]] of KEY.entries()) {
    const at = LEFT + i * 150;
    parts.push(
      `<circle class="${kind}" cx="${at}" cy="20" r="5"/>`,
      `<text x="${at + 11}" y="24">${escaped(name)}</text>`,
    );
  }
  for (const tick of x.ticks) {
    const at = r(x.place(tick));
    parts.push(
      `<line class="grid" x1="${at}" x2="${at}" y1="${TOP - 8}" y2="${foot}"/>`,
      `<text class="soft middle" x="${at}" y="${TOP - 14}">${shortTime(tick)}</text>`,
      `<text class="soft middle" x="${at}" y="${foot + 16}">${shortTime(tick)}</text>`,
    );
  }
  for (const [i, line] of lines.entries()) {
    const y = TOP + (i + 0.5) * LINE;
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${r(y)}" y2="${r(y)}"/>`,
      `<text class="end" x="${LEFT - 10}" y="${r(y + 4)}">${escaped(line.id)}</text>`,
      ...line.dots.map((dot) => circle(dot, x.place(dot.ns), y, dot.kind === "ours" ? 5.5 : 4.5)),
    );
  }
  const label = "Time per operation of gopark, its floor, Go and the best peer, row by row, on a log scale";
  return svg(WIDTH, foot + 28, label, parts);
}
