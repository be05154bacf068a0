/** What is unfinished in each gateway as the surge ends, as flame graphs: for the page, and the picture in the docs. */
import { type Frames, flame, total } from "../support/flame.ts";
import { svg } from "../support/svg.ts";
import type { Variant } from "./config.ts";
import type { Run } from "./figures.ts";

const WIDTH = 560;

/** The style of the boxes; --naive and --gopark are the page's. */
export const flameStyle = `
.flames.naive { --flame: var(--naive); } .flames.gopark { --flame: var(--gopark); }
.flame { fill: var(--flame); fill-opacity: calc(.22 + .4 * var(--tint)); } svg text.frame { fill: var(--ink); font-size: 11px; }`;

/** For each run a graph of its tasks and one of its waits, as HTML. */
export function flames(runs: readonly Run[]): string {
  const tasks = runs.map(({ variant, snapshot }) =>
    figure(variant, "tasks", "by the stack that started them", snapshot.tasks),
  );
  const waits = runs.map(({ variant, snapshot }) =>
    figure(
      variant,
      "waits",
      total(snapshot.waits) > 0 ? "by their stack" : "its tasks wait for bare promises, which nobody can see",
      snapshot.waits,
    ),
  );
  const files = runs.map(
    ({ variant }) =>
      `<a href="${taskFile(variant)}">${taskFile(variant)}</a>, <a href="${metricsFile(variant)}">${metricsFile(variant)}</a>`,
  );
  return `<h2>Unfinished as the surge ends</h2>
<p class="soft">From <code>/debug/pprof/</code> of each gateway; callers above what they call. For <code>go tool pprof</code>, and
what <code>/metrics</code> said: ${files.join(", ")}.</p>
<div class="plots">${[...tasks, ...waits].join("\n")}</div>`;
}

export const taskFile = (variant: Variant): string => `surge-${variant}.tasks.pb`;
export const metricsFile = (variant: Variant): string => `surge-${variant}.metrics.txt`;

function figure(variant: Variant, what: string, note: string, stacks: readonly Frames[]): string {
  const { height, parts } = flame(stacks, `all ${what}`, WIDTH);
  const title = `${variant}: ${total(stacks).toLocaleString("en")} ${what}`;
  return [
    `<figure class="flames ${variant}"><figcaption><b>${title}</b> <span>${note}</span></figcaption>`,
    height === 0
      ? ""
      : `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title} ${note}">${parts.join("")}</svg>`,
    "</figure>",
  ].join("");
}

/** The picture in the docs: the tasks of each run, side by side. `style`: the colours. */
export function taskPicture(runs: readonly Run[], style: string): string {
  const head = 28;
  const drawn = runs.map(({ snapshot }) => flame(snapshot.tasks, "all tasks", WIDTH - 16));
  const parts = [`<style>${style}${flameStyle} svg .title { font-weight: 600; fill: var(--ink); }</style>`];
  for (const [i, { variant, snapshot }] of runs.entries()) {
    parts.push(
      `<g class="flames ${variant}" transform="translate(${i * WIDTH + 8} 0)">`,
      `<text class="title" x="0" y="18">${variant}: ${total(snapshot.tasks).toLocaleString("en")} tasks</text>`,
      `<g transform="translate(0 ${head})">${drawn[i]?.parts.join("") ?? ""}</g></g>`,
    );
  }
  const height = head + Math.max(...drawn.map(({ height }) => height)) + 8;
  const label = "Unfinished tasks as the surge ends, by the stack that started them, the naive gateway beside gopark";
  return svg(runs.length * WIDTH, height, label, parts);
}
