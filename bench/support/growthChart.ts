/** The charts of growth: cost of one operation against size, both on log scales, a panel for each series. */
import { judge, type Points, type Series } from "./growth.ts";
import { type Axis, escaped, logAxis, r, shortCount, shortTime, svg } from "./svg.ts";

const PANEL = { width: 440, height: 270, left: 60, right: 20, top: 58, bottom: 44 };
const COLUMNS = 2;

function line(kind: string, points: Points, x: Axis, y: Axis): string {
  const at = points.map(([size, ns]) => [r(x.place(size)), r(y.place(ns))] as const);
  return [
    `<polyline class="line ${kind}" style="fill:none" points="${at.map(([cx, cy]) => `${cx},${cy}`).join(" ")}"/>`,
    ...at.map(([cx, cy]) => `<circle class="${kind}" cx="${cx}" cy="${cy}" r="3.5"/>`),
  ].join("");
}

function panel(series: Series): string {
  const { width, height, left, right, top, bottom } = PANEL;
  const foot = height - bottom;
  const all = [...series.ours, ...(series.floor ?? [])];
  const sizes = all.map(([size]) => size);
  const x = logAxis(sizes, left, width - right);
  const y = logAxis(
    all.map(([, ns]) => ns),
    foot,
    top,
  );
  const { fit, floor, defect } = judge(series);
  const exponent = `cost ∝ size^${fit.exponent.toFixed(2)} ± ${fit.error.toFixed(2)}`;
  const beside = floor === undefined ? "" : `; ${series.floorIs}: ${floor.exponent.toFixed(2)}`;
  const parts = [
    `<text class="title" x="${left}" y="20">${escaped(`${series.title}: ${series.operation}`)}</text>`,
    `<text class="${defect ? "bad" : "soft"}" x="${left}" y="38">${escaped(exponent + beside)}${defect ? " DEFECT" : ""}</text>`,
  ];
  for (const tick of y.ticks) {
    const at = y.place(tick);
    parts.push(
      `<line class="grid" x1="${left}" x2="${width - right}" y1="${r(at)}" y2="${r(at)}"/>`,
      `<text class="soft end" x="${left - 7}" y="${r(at + 4)}">${shortTime(tick)}</text>`,
    );
  }
  for (const tick of x.ticks) {
    parts.push(`<text class="soft middle" x="${r(x.place(tick))}" y="${foot + 17}">${shortCount(tick)}</text>`);
  }
  parts.push(
    `<text class="soft middle" x="${r((left + width - right) / 2)}" y="${height - 8}">${escaped(series.size)}</text>`,
  );
  if (series.floor !== undefined) parts.push(line("floor", series.floor, x, y));
  parts.push(line("ours", series.ours, x, y));
  return parts.join("\n");
}

export function growthChart(all: readonly Series[]): string {
  const { width, height } = PANEL;
  const panels = all.map((series, i) => {
    const [column, row] = [i % COLUMNS, Math.floor(i / COLUMNS)];
    return `<g transform="translate(${column * width} ${row * height})">\n${panel(series)}\n</g>`;
  });
  const label = "Cost of one operation against size, for each primitive, on log scales";
  return svg(COLUMNS * width, Math.ceil(all.length / COLUMNS) * height, label, panels);
}
