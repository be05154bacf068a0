/**
 * The chart of the retry storm: for each way of retrying, requests at the server and calls served, second by second.
 */
import { escaped, r, svg } from "../support/svg.ts";
import { DOWN, type Run } from "./storm.ts";

const PANEL = { width: 440, height: 210, left: 46, right: 16, top: 52, bottom: 36 };
const COLUMNS = 2;

function panel(run: Run, most: number): string {
  const { width, height, left, right, top, bottom } = PANEL;
  const foot = height - bottom;
  const seconds = run.sent.length;
  const x = (second: number): number => left + (second / seconds) * (width - left - right);
  const y = (n: number): number => foot - (n / most) * (foot - top);
  const line = (values: readonly number[], kind: string): string => {
    const points = values.map((n, second) => `${r(x(second + 0.5))},${r(y(n))}`).join(" ");
    return `<polyline class="line ${kind}" style="fill:none" points="${points}"/>`;
  };
  const recovery = run.recovery === Number.POSITIVE_INFINITY ? "never" : `after ${run.recovery} s`;
  const parts = [
    `<text class="title" x="${left}" y="20">${escaped(run.name)}</text>`,
    `<text class="soft" x="${left}" y="38">load in the outage ${run.load.toFixed(2)} ×, served again ${recovery}</text>`,
    `<rect class="grid" style="fill-opacity:0.35" fill="currentColor" x="${r(x(DOWN.from))}" y="${top}" width="${r(x(DOWN.to) - x(DOWN.from))}" height="${foot - top}" opacity="0.2"/>`,
  ];
  for (let n = 0; n <= most; n += 60) {
    parts.push(
      `<line class="grid" x1="${left}" x2="${width - right}" y1="${r(y(n))}" y2="${r(y(n))}"/>`,
      `<text class="soft end" x="${left - 6}" y="${r(y(n) + 4)}">${n}</text>`,
    );
  }
  for (let second = 0; second <= seconds; second += 30) {
    parts.push(`<text class="soft middle" x="${r(x(second))}" y="${foot + 16}">${second}</text>`);
  }
  parts.push(
    `<text class="soft middle" x="${r((left + width - right) / 2)}" y="${height - 6}">seconds; grey: the outage</text>`,
    line(run.sent, "go"),
    line(run.served, "ours"),
  );
  return parts.join("\n");
}

export function stormChart(runs: readonly Run[]): string {
  const { width, height } = PANEL;
  const most = Math.ceil(Math.max(...runs.flatMap(({ sent }) => sent)) / 60) * 60;
  const panels = runs.map((run, i) => {
    const at = `translate(${(i % COLUMNS) * width} ${Math.floor(i / COLUMNS) * height})`;
    return `<g transform="${at}">\n${panel(run, most)}\n</g>`;
  });
  const rows = Math.ceil(runs.length / COLUMNS);
  const legend =
    `<text class="soft" x="${PANEL.left}" y="${rows * height + 16}">` +
    `<tspan class="go" style="stroke:none">■</tspan> requests a second at the server   ` +
    `<tspan class="ours" style="stroke:none">■</tspan> calls a second that were served</text>`;
  const label = "Requests at a server and calls served during and after an outage, for four ways of retrying";
  return svg(COLUMNS * width, rows * height + 26, label, [...panels, legend]);
}
