/** The table on the console: naive beside gopark, before, during and after the surge. */
import { cpus } from "node:os";
import { arrivals, capacity, type PhaseName, type Variant } from "./config.ts";
import { compareRecords, type Figures, lateness, type PhaseFigures, type Run } from "./figures.ts";
import { type Judged, keptUp, percent, type Verdict } from "./verdict.ts";

export interface Row {
  label: string;
  cell(figures: Figures): string;
}

const ms = (value: number): string => {
  if (Number.isNaN(value)) return "–";
  return value < 10 ? `${value.toFixed(1)} ms` : `${value.toFixed(0)} ms`;
};
const perSecond = (value: number): string => `${value.toFixed(0)}/s`;
const times = (value: number): string => value.toLocaleString("en");
const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;

/** The rows of the post-mortem. */
export const rows: readonly Row[] = [
  { label: "orders offered", cell: ({ offered }) => perSecond(offered) },
  { label: "orders served", cell: ({ served }) => perSecond(served) },
  { label: "P50 of served", cell: ({ p50 }) => ms(p50) },
  { label: "P99 of served", cell: ({ p99 }) => ms(p99) },
  { label: "P99.9 of served", cell: ({ p999 }) => ms(p999) },
  { label: "errors of admitted", cell: ({ errorRate }) => percent(errorRate) },
  { label: "rejected at once", cell: ({ rejected }) => perSecond(rejected) },
  { label: "P99 of rejections", cell: ({ rejectP99 }) => ms(rejectP99) },
  { label: "scratch found dirty", cell: ({ dirtyScratches }) => times(dirtyScratches) },
  { label: "stock updates lost", cell: ({ lostUpdates }) => times(lostUpdates) },
  { label: "parked tasks, peak", cell: ({ peakParked }) => times(peakParked) },
  { label: "RSS, peak", cell: ({ peakRss }) => megabytes(peakRss) },
  { label: "GC pause P99", cell: ({ gcP99 }) => ms(gcP99) },
  { label: "event-loop delay P99", cell: ({ loopP99 }) => ms(loopP99) },
  { label: "CPU (of one core)", cell: ({ cpu }) => percent(cpu) },
];

/** The columns: each phase, naive beside gopark. */
export const columns: readonly { phase: PhaseName; title: string }[] = [
  { phase: "normal", title: "normal" },
  { phase: "surge", title: "surge" },
  { phase: "recovery", title: "after it" },
];

export type Results = { run: Run; figures: PhaseFigures }[];

export function table(results: Results): string {
  const width = 10;
  const head = Math.max(...rows.map(({ label }) => label.length));
  const group = results.length * (width + 1);
  const lines = [
    `${"".padEnd(head)}${columns.map(({ title }) => ` │${centre(title, group)}`).join("")}`,
    `${"".padEnd(head)}${columns
      .map(() => ` │${results.map(({ run }) => run.variant.padStart(width + 1)).join("")}`)
      .join("")}`,
    `${"─".repeat(head)}${columns.map(() => `─┼${"─".repeat(group)}`).join("")}`,
  ];
  for (const { label, cell } of rows) {
    const cells = columns.map(({ phase }) => {
      return ` │${results.map(({ figures }) => cell(figures[phase]).padStart(width + 1)).join("")}`;
    });
    lines.push(`${label.padEnd(head)}${cells.join("")}`);
  }
  return lines.join("\n");
}

function centre(text: string, width: number): string {
  const left = Math.floor((width - text.length) / 2);
  return `${" ".repeat(left)}${text}${" ".repeat(width - text.length - left)}`;
}

/** What the table has no row for: the damage done by the faults, and what was left behind. */
export function aftermath(results: Results): string[] {
  return results.map(({ run }) => {
    const { drained, ledger } = run;
    const { oversold, wrong, cutOff } = compareRecords(run);
    const left = Object.entries(drained.kinds)
      .filter(([, count]) => count > 0)
      .map(([kind, count]) => `${count.toLocaleString("en")} ${kind}`);
    const parts = [
      `${drained.parkedAtEnd.toLocaleString("en")} tasks still parked at the end${left.length > 0 ? ` (${left.join(", ")})` : ""}`,
      `${cutOff.toLocaleString("en")} customers charged without an answer`,
      `${oversold} units oversold`,
      `${wrong} wrong totals`,
      `upstream queue up to ${ledger.peakWaiting.toLocaleString("en")}`,
    ];
    return `${name(run.variant)} ${parts.join("; ")}.`;
  });
}

/** Whether the generator kept up, and what other programs used, a line for each run. */
export function generator(results: Results): string[] {
  return results.map(({ run }) => {
    const { p99, max } = lateness(run);
    const due = [run.plan.warmUp, ...run.plan.phases].flatMap(arrivals).length;
    const kept = run.sent.length === due && keptUp(run);
    const others = Math.max(...Object.values(run.others)).toFixed(1);
    return (
      `${name(run.variant)} the generator sent ${run.sent.length} of ${due} orders, ${ms(p99)} late at P99, ` +
      `${ms(max)} at worst: ${kept ? "it kept up" : "IT DID NOT KEEP UP, the machine was busy elsewhere"}. ` +
      `Other programs used up to ${others} of ${cpus().length} processors.`
    );
  });
}

export function verdicts(checks: readonly Judged[]): string[] {
  const marks = { kept: "kept  ", broken: "BROKEN", inconclusive: "?     " };
  return checks.map(({ promise, found, verdict }) => `${marks[verdict]}  ${promise}: ${found}`);
}

/** The last line of a replay. */
export function conclusion(verdict: Verdict): string {
  const conclusions: Record<Verdict, string> = {
    kept: "verdict: kept",
    broken: "verdict: BROKEN",
    inconclusive: "verdict: inconclusive: the machine was busy elsewhere, twice. Nothing was shown, try again",
  };
  return conclusions[verdict];
}

/** The upstream's capacity by arithmetic and, if it was measured, by a closed loop. */
export function carries(slots: number, serviceMs: number, measured: number | undefined): string {
  const calls = `upstream: ${slots} slots x ${serviceMs} ms = ${(slots * 1000) / serviceMs} calls/s = ${capacity} orders/s`;
  return measured === undefined ? calls : `${calls} (measured: ${measured.toFixed(0)} calls/s)`;
}

function name(variant: Variant): string {
  return `${variant}:`.padEnd(7);
}
