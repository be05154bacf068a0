/** The page docs/performance.md, written from a run's results. */
import { MOST } from "./growth.ts";
import type { Results, RowResult } from "./results.ts";
import {
  beyonds,
  digits,
  failures,
  growthMarkdown,
  markdown,
  memoryMarkdown,
  stepMarkdown,
  tableMarkdown,
  tickMarkdown,
  time,
} from "./table.ts";
import { BOUND_US, PERIOD_MS, SPAN_MS } from "./ticks.ts";

function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join("\n");
}

function described({ id, what, floorIs }: RowResult): string {
  return `\`${id}\`: ${what}${floorIs === undefined ? "" : ` (floor: ${floorIs})`}`;
}

/** Where another contender is faster: named, so that nobody has to look for it in the table. */
function losses(rows: readonly RowResult[]): string[] {
  return rows.flatMap(({ id, ratios }) => {
    const faster = Object.entries(ratios).filter(([who, { low }]) => who !== "floor" && low > 1);
    if (faster.length === 0) return [];
    const names = { go1: "Go, 1 processor", goN: "Go, all" } as Record<string, string>;
    return [
      `\`${id}\`: ${faster.map(([who, { median }]) => `${names[who] ?? who} by ${median.toFixed(2)} ×`).join(", ")}`,
    ];
  });
}

function called(against: string): string {
  return against === "go" ? "Go" : against;
}

/**
 * What the floor leaves of each missed target: where it alone takes more, or nearly as much, nothing can be done. Then
 * what is aimed at instead.
 */
function misses(rows: readonly RowResult[]): string[] {
  return rows.flatMap(({ id, floorIs, ns, targets, next }) => {
    const lines = targets
      .filter(({ met }) => !met)
      .map(({ against, most, found }) => {
        const other = ns[against === "go" ? "go1" : against];
        const line = `\`${id}\`: ${digits(found)} × ${called(against)} instead of ${most}`;
        if (against === "floor" || ns.floor === undefined || other === undefined) return line;
        return `${line}; the floor${floorIs === undefined ? "" : ` (${floorIs})`} alone is at ${digits(ns.floor / other)}`;
      });
    if (lines.length === 0 || next === undefined) return lines;
    const bounds = next.targets.map(
      ({ against, most, found, met }) =>
        `≤ ${most} × ${called(against)}, ${met ? "met" : "MISSED too"} (${digits(found)})`,
    );
    return [...lines, `\`${id}\`, next best: ${bounds.join("; ")}. ${next.why}`];
  });
}

export function page(results: Results): string {
  const { versions, machine, method, absent, rows, memory, growth, steps, ticks, modules, noSizes } = results;
  const all = rows.flatMap(({ targets }) => targets);
  const met = all.filter((target) => target.met).length;
  const lost = losses(rows);
  const missed = misses(rows);
  const failed = [...failures(rows), ...failures(memory)];
  const sections = [
    "# Performance",
    "<!-- Written by scripts/performance.mjs from the last full `npm run bench`: do not edit. -->",
    `gopark beside its floor (the same hand-off with bare promises, or the host's own means, in the same process), beside Go,
and beside the npm packages that do the same. ${met} of ${all.length} targets are met. Where gopark loses, the row says so like the others; where a target is
out of reach, a next best is set beside what forbids it.`,
    "![Time per operation, row by row](performance.svg)",
    "```sh\nnpm run bench                 # everything, in under ten minutes\nnpm run bench -- --quick      # the rows alone, in under a minute\nnpm run bench -- chan         # some rows\nnpm run bench -- --guard      # compares with this page, fails on a regression beyond noise\nnpm run bench -- --against ../other chan   # compares with another checkout by pairs of processes, fails if a row is slower\n```",
    "## How it is measured",
    bullets([
      `Machine: ${machine}.`,
      `Versions: ${Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(", ")}.`,
      ...Object.entries(absent).map(([who, why]) => `Without ${who}: ${why}.`),
      `The contenders of a row take turns, about ${method.ms} ms each, in up to ${method.rounds} rounds, every second one backwards, so that what slows the machine down for a while slows all of them. Rows whose contenders are slow get fewer rounds.`,
      `All of that ${method.sets} times, with fresh processes. A figure is the median over processes of the median over rounds. A ratio is taken round by round, then the median in the same way; in brackets the quartiles of all rounds.`,
      "A round's figure is the mean over its calls and over the turns of the event loop between them, the collector's pauses included: V8 collects between turns where it can, and each contender pays for its own garbage.",
      "Go runs in two processes, one with `GOMAXPROCS=1`, which is what one JavaScript thread compares with, one with all processors. Targets against Go mean the former.",
      "Each JavaScript contender runs before the first round until it is compiled. Calls follow one another for a millisecond, then the event loop turns. Each contender checks its results, and a wrong one fails the run.",
      "A target with no bound of its own: no slower than the best peer.",
    ]),
    "## Time per operation",
    tableMarkdown(rows),
    "What one operation is:",
    bullets(rows.map(described)),
    ...(beyonds(rows).length === 0 ? [] : [`Apart:\n\n${bullets(beyonds(rows))}`]),
    "### Where others are faster",
    lost.length === 0 ? "Nowhere, by the quartiles." : `Beyond the quartiles of the rounds:\n\n${bullets(lost)}`,
    "### Targets missed",
    missed.length === 0 ? "None." : bullets(missed),
    "### From a bare promise to a channel",
    `The floor of a row hands over between two who know each other, and nothing can fail, leave or starve the event loop. What
it costs to promise more, for an unbuffered stream and a ping-pong, each step in processes of its own:`,
    stepMarkdown(steps),
    "## Memory",
    "Bytes each, of 100 000, in a fresh process after full collections.",
    memoryMarkdown(memory),
    "## Growth with size",
    `The cost of one operation against the size of what it works on; the exponent is fitted over all sizes, 0 is constant. One
clearly above ${MOST} (and above the floor's, which pays for the same caches and collector) would mean that the whole grows faster
than its size, and is marked a defect.`,
    "![Cost against size](growth.svg)",
    growthMarkdown(growth),
    "## Ticks of the event loop",
    `Tasks work through items without a pause, beside an interval of ${PERIOD_MS} ms, for ${SPAN_MS} ms, each cell in a process of its own: the
share of the ticks that come, of those that are due, and the longest time without one. A cell with fewer than nine ticks in ten is
counted up to three times, and the best count stands: other processes only take ticks away. The bounds are for ${time(BOUND_US * 1e3)} of busy work an
item. The last line is what the host's own turns leave of the interval.`,
    tickMarkdown(ticks),
    "## Import and size",
    noSizes === undefined
      ? `A cold import in a fresh process (median of seven), and the size with all it imports, bundled and minified by rolldown and compressed with gzip.`
      : `A cold import in a fresh process (median of seven). No sizes: ${noSizes}.`,
    markdown(
      ["module", "import, ms", "gzip, bytes"],
      modules.map(({ name, importMs, gzip }) => [name, importMs.toFixed(1), gzip === undefined ? "" : `${gzip}`]),
    ),
    ...(failed.length === 0 ? [] : ["## Failed", bullets(failed)]),
  ];
  return `${sections.join("\n\n")}\n`;
}
