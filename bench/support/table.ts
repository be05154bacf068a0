/** The table of the comparison, for the terminal and for the docs. */
import { judge, type Series } from "./growth.ts";
import type { LevelRow } from "./measureLevels.ts";
import { bestPeer, type MemoryResult, type RowResult, type StepCost, type Target } from "./results.ts";
import type { Ratio } from "./stats.ts";
import { BOUND_US, BUSY_US, type TickRow } from "./ticks.ts";

/** Three significant digits: `83.1 ns`, `5.42 µs`, `1.20 ms`. */
export function time(ns: number | undefined): string {
  if (ns === undefined || Number.isNaN(ns)) return "";
  const [value, unit] = ns < 1e3 ? [ns, "ns"] : ns < 1e6 ? [ns / 1e3, "µs"] : [ns / 1e6, "ms"];
  return `${digits(value)} ${unit}`;
}

/** Three significant digits. */
export function digits(value: number): string {
  if (Math.abs(value) >= 99.95) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 9.995 ? 1 : 2);
}

/** `0.84 [0.80, 0.91]`: the median and the quartiles. */
export function spread(ratio: Ratio | undefined): string {
  return ratio === undefined ? "" : `${digits(ratio.median)} [${digits(ratio.low)}, ${digits(ratio.high)}]`;
}

/** `≤ 1.15 floor: met`. */
function target({ against, most, found, met }: Target): string {
  return `≤ ${most} ${against === "go" ? "Go" : against}: ${met ? "met" : `MISSED (${digits(found)})`}`;
}

const HEADS = [
  "row",
  "ours",
  "floor",
  "Go, 1 proc",
  "Go, all",
  "best peer",
  "ours ÷ floor",
  "ours ÷ Go, 1 proc",
  "ours ÷ Go, all",
  "ours ÷ best peer",
  "target",
];

function cells(row: RowResult): string[] {
  const { id, ns, ratios, targets, errors } = row;
  const cell = (name: string) => (errors[name] === undefined ? time(ns[name]) : "failed");
  const peer = bestPeer(ns);
  return [
    id,
    cell("ours"),
    cell("floor"),
    cell("go1"),
    cell("goN"),
    peer === undefined ? "" : `${time(ns[peer])} (${peer})`,
    spread(ratios.floor),
    spread(ratios.go1),
    spread(ratios.goN),
    peer === undefined ? "" : spread(ratios[peer]),
    targets.map(target).join("; "),
  ];
}

function bytes(value: number | undefined): string {
  return value === undefined ? "" : value.toFixed(0);
}

/** For each row with `beyond`: how much more it takes than the row that does a part of its work. */
export function excessLines(rows: readonly RowResult[]): string[] {
  return rows.flatMap(({ id, beyond, ns }) => {
    const part = rows.find((row) => row.id === beyond)?.ns.ours;
    if (part === undefined || ns.ours === undefined) return [];
    return [`${id} is at ${time(ns.ours)}, ${beyond} at ${time(part)}: it takes ${time(ns.ours - part)} beyond it`];
  });
}

const MEMORY_HEADS = ["row", "what", "ours", "floor", "Go", "peers", "target"];

function memoryCells({ id, what, bytes: of, most }: MemoryResult): string[] {
  const peers = Object.entries(of).filter(([name]) => !["ours", "floor", "go1"].includes(name));
  return [
    id,
    what,
    bytes(of.ours),
    bytes(of.floor),
    bytes(of.go1),
    peers.map(([name, value]) => `${bytes(value)} (${name})`).join(", "),
    most === undefined || of.ours === undefined ? "" : `≤ ${most}: ${of.ours <= most ? "met" : "MISSED"}`,
  ];
}

/** Columns padded to their widest cell. */
export function columns(heads: readonly string[], lines: readonly (readonly string[])[]): string {
  const all = [heads, ...lines];
  const widths = heads.map((_, i) => Math.max(...all.map((line) => (line[i] ?? "").length)));
  return all
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** A Markdown table, with all columns but the first aligned to the right. */
export function markdown(heads: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (all: readonly string[]) => `| ${all.join(" | ")} |`;
  return [line(heads), line(heads.map((_, i) => (i === 0 ? "---" : "---:"))), ...lines.map(line)].join("\n");
}

export function table(rows: readonly RowResult[]): string {
  return columns(HEADS, rows.map(cells));
}

export function tableMarkdown(rows: readonly RowResult[]): string {
  return markdown(HEADS, rows.map(cells));
}

export function memoryTable(rows: readonly MemoryResult[]): string {
  return columns(MEMORY_HEADS, rows.map(memoryCells));
}

export function memoryMarkdown(rows: readonly MemoryResult[]): string {
  return markdown(MEMORY_HEADS, rows.map(memoryCells));
}

const GROWTH_HEADS = ["cost of", "as a function of", "from", "to", "exponent", "floor's", "verdict"];

function growthCells(series: Series): string[] {
  const { fit, floor, defect } = judge(series);
  const [first, last] = [series.ours[0], series.ours.at(-1)];
  return [
    `${series.title}: ${series.operation}`,
    series.size,
    `${time(first?.[1])} at ${first?.[0]}`,
    `${time(last?.[1])} at ${last?.[0]}`,
    `${fit.exponent.toFixed(2)} ± ${fit.error.toFixed(2)}`,
    floor === undefined ? "" : `${floor.exponent.toFixed(2)} (${series.floorIs})`,
    defect ? "DEFECT" : "sound",
  ];
}

export function growthTable(series: readonly Series[]): string {
  return columns(GROWTH_HEADS, series.map(growthCells));
}

export function growthMarkdown(series: readonly Series[]): string {
  return markdown(GROWTH_HEADS, series.map(growthCells));
}

const STEP_HEADS = ["what the step adds to the line above", "a value", "÷ the first", "a round trip", "÷ the first"];

function stepCells({ adds, value, roundTrip }: StepCost): string[] {
  return [adds, time(value.ns), spread(value.ratio), time(roundTrip.ns), spread(roundTrip.ratio)];
}

export function stepTable(steps: readonly StepCost[]): string {
  return columns(STEP_HEADS, steps.map(stepCells));
}

export function stepMarkdown(steps: readonly StepCost[]): string {
  return markdown(STEP_HEADS, steps.map(stepCells));
}

const LEVEL_HEADS = ["one operation", "level", "time", "÷ counters", "target"];

function levelCells({ what, costs }: LevelRow): string[][] {
  return costs.map(({ level, ns, ratio, most }) => [
    what,
    level,
    time(ns),
    spread(ratio),
    most === undefined ? "" : `≤ ${most}: ${ratio !== undefined && ratio.median <= most ? "met" : "MISSED"}`,
  ]);
}

export function levelTable(rows: readonly LevelRow[]): string {
  return columns(LEVEL_HEADS, rows.flatMap(levelCells));
}

export function levelMarkdown(rows: readonly LevelRow[]): string {
  return markdown(LEVEL_HEADS, rows.flatMap(levelCells));
}

const TICK_HEADS = [
  "busy work for each item",
  ...BUSY_US.map((us) => (us === 0 ? "none" : time(us * 1e3))),
  `target at ${time(BOUND_US * 1e3)}`,
];

/** `94 % (12 ms)`: the share of the due ticks that came, and the longest gap. */
function tickCells({ what, least, counts }: TickRow): string[] {
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  const found = counts[BUSY_US.indexOf(BOUND_US)]?.share ?? 0;
  return [
    what,
    ...counts.map(({ share, longestMs }) => `${percent(share)} (${longestMs.toFixed(0)} ms)`),
    least === undefined ? "" : `≥ ${percent(least)}: ${found >= least ? "met" : "MISSED"}`,
  ];
}

export function tickTable(rows: readonly TickRow[]): string {
  return columns(TICK_HEADS, rows.map(tickCells));
}

export function tickMarkdown(rows: readonly TickRow[]): string {
  return markdown(TICK_HEADS, rows.map(tickCells));
}

/** The failures, a line each. */
export function failures(rows: readonly (RowResult | MemoryResult)[]): string[] {
  return rows.flatMap(({ id, errors }) => Object.entries(errors).map(([name, error]) => `${id} of ${name}: ${error}`));
}
