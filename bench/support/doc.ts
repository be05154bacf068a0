/** The page docs/performance.md, written from a run's results. */
import { MAX_EXPONENT } from "./growth.ts";
import type { Results, RowResult } from "./results.ts";
import {
  digits,
  excessLines,
  failures,
  growthMarkdown,
  levelMarkdown,
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

function description({ id, what, floorIs }: RowResult): string {
  return `\`${id}\`: ${what}${floorIs === undefined ? "" : ` (floor: ${floorIs})`}`;
}

/** The rows in which another contender is faster, so that a reader need not search the table. */
function losses(rows: readonly RowResult[]): string[] {
  return rows.flatMap(({ id, ratios }) => {
    const faster = Object.entries(ratios).filter(([name, { low }]) => name !== "floor" && low > 1);
    if (faster.length === 0) return [];
    const names = { go1: "Go, 1 processor", goN: "Go, all" } as Record<string, string>;
    return [
      `\`${id}\`: ${faster.map(([name, { median }]) => `${names[name] ?? name} by ${median.toFixed(2)} ×`).join(", ")}`,
    ];
  });
}

function displayName(against: string): string {
  return against === "go" ? "Go" : against;
}

/**
 * The missed targets, each with the floor's own ratio: where that is as high as the target, or nearly, no improvement
 * can meet it. Then the next best target.
 */
function misses(rows: readonly RowResult[]): string[] {
  return rows.flatMap(({ id, floorIs, ns, targets, next }) => {
    const lines = targets
      .filter(({ met }) => !met)
      .map(({ against, most, found }) => {
        const other = ns[against === "go" ? "go1" : against];
        const line = `\`${id}\`: ${digits(found)} × ${displayName(against)} instead of ${most}`;
        if (against === "floor" || ns.floor === undefined || other === undefined) return line;
        return `${line}; the floor${floorIs === undefined ? "" : ` (${floorIs})`} alone is at ${digits(ns.floor / other)}`;
      });
    if (lines.length === 0 || next === undefined) return lines;
    const bounds = next.targets.map(
      ({ against, most, found, met }) =>
        `≤ ${most} × ${displayName(against)}, ${met ? "met" : "MISSED too"} (${digits(found)})`,
    );
    return [...lines, `\`${id}\`, next best: ${bounds.join("; ")}. ${next.why}`];
  });
}

function runs(sets: number): string {
  if (sets === 1) return "Each row runs once, in processes of its own.";
  return `The rows run ${sets} times, each time in processes of their own; the slowest run once.`;
}

export function page(results: Results): string {
  const { versions, machine, method, absent, rows, memory, growth, steps, levels, ticks, modules } = results;
  const all = rows.flatMap(({ targets }) => targets);
  const met = all.filter((target) => target.met).length;
  const lost = losses(rows);
  const missed = misses(rows);
  const failed = [...failures(rows), ...failures(memory)];
  const sections = [
    "# Performance",
    "<!-- Written by scripts/performance.mjs from the last full `npm run bench`: do not edit. -->",
    `gopark compared with its floor (the same hand-off with bare promises, or the host's own means, in the same process), with
Go, and with the npm packages that do the same. ${met} of ${all.length} targets are met. Rows in which gopark is slower are listed like the
others. Where a target is out of reach, the page says why and sets a next best.`,
    "![Time per operation, row by row](performance.svg)",
    "```sh\nnpm run bench                 # everything, in under ten minutes\nnpm run bench -- --quick      # the rows alone, in under a minute\nnpm run bench -- chan         # some rows\nnpm run bench -- --guard      # compares with this page, fails on a regression beyond the noise\nnpm run bench -- --against ../other chan   # compares with another checkout by pairs of processes, fails if a row is slower\n```",
    "## How it is measured",
    bullets([
      `Machine: ${machine}.`,
      `Versions: ${Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(", ")}.`,
      ...Object.entries(absent).map(([name, why]) => `Without ${name}: ${why}.`),
      `The contenders of a row take turns, about ${method.ms} ms each, in up to ${method.rounds} rounds, every second one in reverse order, so that what slows the machine down for a while slows all of them. Rows with slow contenders get fewer rounds.`,
      `${runs(method.sets)} A figure is the median over processes of the median over rounds. A ratio is computed round by round, then the median is taken in the same way; in brackets stand the quartiles of all rounds.`,
      "A round's figure is the mean over its calls and over the turns of the event loop between them, including the collector's pauses: V8 collects between turns where it can, and each contender's figure includes its own garbage.",
      "Go runs in two processes: one with `GOMAXPROCS=1`, which compares with one JavaScript thread, and one with all processors. Targets against Go mean the former.",
      "Each JavaScript contender runs before the first round, so that V8 compiles it. Calls follow one another for a millisecond, then the event loop turns. Each contender checks its results, and a wrong result fails the run.",
      "Besides its own targets, each row has one more: no slower than the best peer.",
    ]),
    "## Time per operation",
    tableMarkdown(rows),
    "One operation of each row:",
    bullets(rows.map(description)),
    ...(excessLines(rows).length === 0 ? [] : [`One row beyond another:\n\n${bullets(excessLines(rows))}`]),
    "### Where others are faster",
    lost.length === 0
      ? "In no row, by the quartiles."
      : `In these rows the lower quartile of the ratio is above 1:\n\n${bullets(lost)}`,
    "### Targets missed",
    missed.length === 0 ? "None." : bullets(missed),
    "### From a bare promise to a channel",
    `The floor of a row hands values from one sender to one receiver. No wait can fail or be cancelled, and it may starve the
event loop. The table has the cost of each further guarantee, for an unbuffered stream and a ping-pong, each step in processes of its own:`,
    stepMarkdown(steps),
    "## Memory",
    "Bytes per object, with 100 000 of them, in a fresh process after full collections.",
    memoryMarkdown(memory),
    "## Growth with size",
    `The cost of one operation against the size of what it works on; the exponent is fitted over all sizes, 0 is constant. An
exponent clearly above ${MAX_EXPONENT} (and above the floor's, which has the same caches and collector) means that the cost of the whole grows
faster than its size, and is marked as a defect.`,
    "![Cost against size](growth.svg)",
    growthMarkdown(growth),
    ...(levels === undefined
      ? []
      : [
          "## What tracking costs",
          `Two rows under each level of [\`leak.track\`](leak.md#when-to-use-which-level), in processes that take turns. "sampled" records one of
8192, "full" all. The level "counters" is always on.`,
          levelMarkdown(levels),
        ]),
    "## Ticks of the event loop",
    `Tasks work through items without a pause, beside an interval of ${PERIOD_MS} ms, for ${SPAN_MS} ms, each cell in a process of its own. A cell
has the share of the due ticks that came, and the longest time without one. A cell with fewer than nine ticks in ten is counted up to
three times, and the best count is shown, because other processes can only take ticks away. The bounds are for ${time(BOUND_US * 1e3)} of busy work
an item. The last line has the ticks that an interval gets if the event loop turns after each item.`,
    tickMarkdown(ticks),
    "## Import and size",
    `A cold import in a fresh process (median of seven), and the size with all imports, bundled and minified by rolldown and compressed with gzip.`,
    markdown(
      ["module", "import, ms", "gzip, bytes"],
      modules.map(({ name, importMs, gzip }) => [name, importMs.toFixed(1), gzip === undefined ? "" : `${gzip}`]),
    ),
    ...(failed.length === 0 ? [] : ["## Failed", bullets(failed)]),
  ];
  return `${sections.join("\n\n")}\n`;
}
