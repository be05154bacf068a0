/**
 * The run over time: as an HTML page without dependencies (inline SVG, light and dark), and as the picture in the docs.
 */
import { svg } from "../support/svg.ts";
import { capacity, type Plan, planned, type Variant } from "./config.ts";
import { errorOutcomes, type Run } from "./figures.ts";
import { flameStyle, flames, taskPicture } from "./flames.ts";
import { columns, type Results, rows, table } from "./report.ts";
import { quantile } from "./stats.ts";
import type { Judged } from "./verdict.ts";

type Point = readonly [seconds: number, value: number];

interface Plot {
  title: string;
  unit: string;
  scale: "linear" | "log";
  /** A level to draw across the plot. */
  mark?: { at: number; label: string };
  points(run: Run): Point[];
}

const bucketMs = 500;

/** Splits the run into buckets and applies `value` to the orders whose `when` falls into each. */
function bucketed(
  run: Run,
  when: (order: Run["sent"][number]) => number,
  value: (orders: Run["sent"]) => number,
): Point[] {
  const buckets: Run["sent"][] = Array.from({ length: Math.ceil(planned(run.plan) / bucketMs) }, () => []);
  for (const order of run.sent) buckets[Math.floor(when(order) / bucketMs)]?.push(order);
  return buckets.map((orders, i) => [((i + 0.5) * bucketMs) / 1000, value(orders)]);
}

function sampled(run: Run, value: (sample: Run["samples"][number]) => number): Point[] {
  const inPlan = run.samples.filter(({ at }) => at >= run.start && at <= run.start + planned(run.plan));
  return inPlan.map((sample) => [(sample.at - run.start) / 1000, value(sample)]);
}

const perSecond = (count: number): number => (count * 1000) / bucketMs;
const sentAt = ({ at }: Run["sent"][number]): number => at;
const endedAt = ({ at, took }: Run["sent"][number]): number => at + took;

const plots: readonly Plot[] = [
  {
    title: "Orders served",
    unit: "per second",
    scale: "linear",
    mark: { at: capacity, label: "upstream capacity" },
    points: (run) =>
      bucketed(run, endedAt, (orders) => perSecond(orders.filter(({ outcome }) => outcome === "served").length)),
  },
  {
    title: "P99 of served orders",
    unit: "ms, by when they should have been sent",
    scale: "log",
    points: (run) =>
      bucketed(run, sentAt, (orders) =>
        quantile(
          orders.filter(({ outcome }) => outcome === "served").map(({ took }) => took),
          0.99,
        ),
      ),
  },
  { title: "Parked tasks", unit: "count", scale: "log", points: (run) => sampled(run, ({ parked }) => parked) },
  { title: "Memory (RSS)", unit: "MB", scale: "linear", points: (run) => sampled(run, ({ rss }) => rss / 2 ** 20) },
  {
    title: "Event-loop delay, P99",
    unit: "ms",
    scale: "log",
    points: (run) => sampled(run, ({ loopP99 }) => loopP99),
  },
  {
    title: "Rejected at once",
    unit: "per second",
    scale: "linear",
    points: (run) =>
      bucketed(run, endedAt, (orders) => perSecond(orders.filter(({ outcome }) => outcome === "rejected").length)),
  },
  {
    title: "Errors of admitted orders",
    unit: "per second",
    scale: "linear",
    points: (run) =>
      bucketed(run, endedAt, (orders) => perSecond(orders.filter((o) => errorOutcomes.includes(o.outcome)).length)),
  },
  { title: "CPU", unit: "% of one core", scale: "linear", points: (run) => sampled(run, ({ cpu }) => cpu * 100) },
];

const box = { width: 560, height: 250, left: 58, right: 12, top: 22, bottom: 40 };

function plot(what: Plot, plan: Plan, runs: readonly Run[]): string {
  return [
    `<figure><figcaption><b>${what.title}</b> <span>${unitOf(what)}</span></figcaption>`,
    `<svg viewBox="0 0 ${box.width} ${box.height}" role="img" aria-label="${what.title} over time">${drawing(what, plan, runs)}</svg></figure>`,
  ].join("");
}

function unitOf({ unit, scale }: Plot): string {
  return scale === "log" ? `${unit}, log scale` : unit;
}

/** A plot without its title. */
function drawing(what: Plot, plan: Plan, runs: readonly Run[]): string {
  const series = runs.map((run) => ({ variant: run.variant, points: what.points(run) }));
  const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter((value) => value > 0);
  const axis = what.scale === "log" ? logAxis(values) : linearAxis([...values, what.mark?.at ?? 0]);
  const end = planned(plan) / 1000;
  const x = (seconds: number): number => box.left + (seconds / end) * (box.width - box.left - box.right);
  const y = (value: number): number =>
    box.top + (1 - Math.min(1, Math.max(0, axis.place(value)))) * (box.height - box.top - box.bottom);
  const foot = box.height - box.bottom;
  const parts: string[] = [];
  for (const { name, from, to } of plan.phases) {
    const [left, right] = [x(from / 1000), x(to / 1000)];
    parts.push(
      `<rect class="phase ${name}" x="${r(left)}" y="${box.top}" width="${r(right - left)}" height="${foot - box.top}"/>`,
      `<text class="phase-name" x="${r((left + right) / 2)}" y="${box.top - 7}">${name}</text>`,
    );
  }
  for (const tick of axis.ticks) {
    parts.push(
      `<line class="grid" x1="${box.left}" x2="${box.width - box.right}" y1="${r(y(tick))}" y2="${r(y(tick))}"/>`,
      `<text class="tick-y" x="${box.left - 6}" y="${r(y(tick) + 4)}">${tick.toLocaleString("en")}</text>`,
    );
  }
  for (const tick of linearAxis([end]).ticks.filter((tick) => tick <= end)) {
    parts.push(`<text class="tick-x" x="${r(x(tick))}" y="${foot + 15}">${tick}</text>`);
  }
  parts.push(
    `<text class="tick-x" x="${r((box.left + box.width - box.right) / 2)}" y="${box.height - 6}">seconds</text>`,
  );
  if (what.mark !== undefined) {
    const at = r(y(what.mark.at));
    parts.push(
      `<line class="mark" x1="${box.left}" x2="${box.width - box.right}" y1="${at}" y2="${at}"/>`,
      `<text class="mark-name" x="${box.width - box.right - 4}" y="${r(y(what.mark.at) - 5)}">${what.mark.label}</text>`,
    );
  }
  for (const { variant, points } of series) parts.push(`<path class="line ${variant}" d="${path(points, x, y)}"/>`);
  return parts.join("");
}

/** A line with a gap wherever there was nothing to measure. A point between two gaps becomes a dot. */
function path(points: readonly Point[], x: (seconds: number) => number, y: (value: number) => number): string {
  let d = "";
  let pen = "M";
  for (const [seconds, value] of points) {
    if (Number.isNaN(value)) {
      pen = "M";
      continue;
    }
    d += pen === "M" ? `M${r(x(seconds))} ${r(y(value))}h0` : `L${r(x(seconds))} ${r(y(value))}`;
    pen = "L";
  }
  return d;
}

interface Axis {
  ticks: number[];
  /** 0 at the foot, 1 at the top. */
  place(value: number): number;
}

function linearAxis(values: readonly number[]): Axis {
  const top = Math.max(1, ...values) * 1.1;
  const step = [1, 2, 5, 10].map((n) => n * 10 ** Math.floor(Math.log10(top / 5))).find((n) => n * 6 >= top) ?? top;
  return {
    ticks: Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step),
    place: (value) => value / top,
  };
}

function logAxis(values: readonly number[]): Axis {
  const low = 0;
  const high = Math.ceil(Math.log10(Math.max(10, ...values) * 1.1));
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
    place: (value) => (Math.log10(Math.max(10 ** low, value)) - low) / (high - low),
  };
}

const r = (value: number): string => value.toFixed(1);
const escaped = (text: string): string =>
  text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c] ?? c);

const light = `--ink: #1c2127; --soft: #5b6672; --paper: #fff; --grid: #d8dee4; --normal: #eef3f7; --surge: #fde9d9;
  --recovery: #eaf5ec; --naive: #c8420f; --gopark: #0b6e99; --mark: #5b6672;`;
const dark = `--ink: #e3e8ed; --soft: #98a4b0; --paper: #15191d; --grid: #323a42; --normal: #1b2228; --surge: #34261b;
  --recovery: #1b2a20; --naive: #ff8a5c; --gopark: #5cc3ee; --mark: #98a4b0;`;

/** For a picture that is a file of its own. */
const colours = `svg { ${light} } @media (prefers-color-scheme: dark) { svg { ${dark} } }`;

/** The style of a {@link drawing}. */
const drawn = `
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } .phase.normal { fill: var(--normal); }
.phase.surge { fill: var(--surge); } .phase.recovery { fill: var(--recovery); } .grid { stroke: var(--grid); }
.phase-name, .tick-x { text-anchor: middle; } .tick-y, .mark-name { text-anchor: end; }
.mark { stroke: var(--mark); stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.naive { stroke: var(--naive); } .line.gopark { stroke: var(--gopark); }`;

const style = `
:root { color-scheme: light dark; ${light} }
@media (prefers-color-scheme: dark) { :root { ${dark} } }
body { margin: 2rem auto; max-width: 1180px; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; } figcaption span, .soft { color: var(--soft); } svg { width: 100%; height: auto; display: block; }
${drawn}
.key { display: inline-block; width: 1.6em; height: 3px; vertical-align: middle; margin: 0 .35em 0 1em; }
.key.naive { background: var(--naive); } .key.gopark { background: var(--gopark); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child { text-align: left; font-weight: normal; } thead th { font-weight: 600; }
td.naive { color: var(--naive); border-left: 1px solid var(--grid); } td.gopark { color: var(--gopark); }
ul { padding-left: 1.2rem; } .broken { color: var(--naive); font-weight: 600; }${flameStyle}`;

/** The picture in the docs: orders served and parked tasks over time, side by side, as a file of its own. */
export function picture(results: Results): string {
  const plan = results[0]?.run.plan;
  if (plan === undefined) return "";
  const runs = results.map(({ run }) => run);
  const shown = plots.filter(({ title }) => title === "Orders served" || title === "Parked tasks");
  const head = 46;
  const parts = [
    `<style>${colours}${drawn}`,
    "svg .title { font-size: 13px; font-weight: 600; fill: var(--ink); } svg .key { fill: var(--ink); }</style>",
  ];
  for (const [i, { variant }] of runs.entries()) {
    const at = box.left + i * 90;
    parts.push(
      `<path class="line ${variant}" d="M${at} 14h22"/>`,
      `<text class="key" x="${at + 28}" y="18">${variant}</text>`,
    );
  }
  for (const [i, what] of shown.entries()) {
    parts.push(
      `<g transform="translate(${i * box.width} 0)">`,
      `<text class="title" x="${box.left}" y="${head - 6}">${what.title}, ${unitOf(what)}</text>`,
      `<g transform="translate(0 ${head})">${drawing(what, plan, runs)}</g></g>`,
    );
  }
  const label =
    "The surge replay: orders served and parked tasks over time, the naive gateway beside the one with gopark";
  return svg(shown.length * box.width, head + box.height, label, parts);
}

/** The second picture in the docs: what is unfinished as the surge ends. */
export function pictureOfTasks(results: Results): string {
  return taskPicture(
    results.map(({ run }) => run),
    colours,
  );
}

export function page(results: Results, checks: readonly Judged[], notes: readonly string[]): string {
  const plan = results[0]?.run.plan;
  if (plan === undefined) return "";
  const runs = results.map(({ run }) => run);
  const key = (variant: Variant): string => `<span class="key ${variant}"></span>${variant}`;
  const phases = plan.phases.map(({ name, from, to, rate }) => `${name} ${(to - from) / 1000} s at ${rate} orders/s`);
  const head = columns.map(({ title }) => `<th colspan="${runs.length}" scope="colgroup">${title}</th>`);
  const body = rows.map(({ label, cell }) => {
    const cells = columns.flatMap(({ phase }) =>
      results.map(({ run, figures }) => `<td class="${run.variant}">${cell(figures[phase])}</td>`),
    );
    return `<tr><th scope="row">${label}</th>${cells.join("")}</tr>`;
  });
  const verdict = checks.map(({ promise, found, verdict }) => {
    const mark = verdict === "broken" ? ' class="broken"' : "";
    return `<li${mark}>${verdict}: ${escaped(promise)}: ${escaped(found)}</li>`;
  });
  const other = notes.filter((line) => /^(naive|gopark):/.test(line)).map((line) => `<li>${escaped(line)}</li>`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>gopark: the surge replay</title><style>${style}</style></head>
<body>
<h1>The surge replay${runs.map((run) => key(run.variant)).join("")}</h1>
<p class="soft">${phases.join(", ")}; the upstream carries ${capacity} orders/s; seed ${plan.seed}.</p>
<div class="plots">${plots.map((what) => plot(what, plan, runs)).join("\n")}</div>
${flames(runs)}
<h2>In figures</h2>
<div class="scroll"><table><thead><tr><th></th>${head.join("")}</tr></thead><tbody>${body.join("\n")}</tbody></table></div>
<h2>Promises of the cured gateway, and the records of both sides</h2><ul>${verdict.join("\n")}</ul>
<h2>Notes</h2><ul>${other.join("\n")}</ul>
<!--
${escaped(table(results))}
-->
</body></html>
`;
}
