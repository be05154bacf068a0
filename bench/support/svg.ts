/** What the charts share: log axes, colours for light and dark, short numbers. */

/** The colours are the page's own where it embeds the file; an image follows the reader's system. */
export const STYLE = `<style>
svg { --ink: #1c2127; --soft: #5b6672; --paper: #fff; --grid: #d8dee4; --ours: #0b6e99; --floor: #8a949e; --go: #c8420f;
  --peer: #7a4fb5; --bad: #c01c28; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { svg { --ink: #e3e8ed; --soft: #98a4b0; --paper: #15191d; --grid: #323a42;
  --ours: #5cc3ee; --floor: #98a4b0; --go: #ff8a5c; --peer: #b998f0; --bad: #ff6b6b; } }
.paper { fill: var(--paper); } text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.soft { fill: var(--soft); font-size: 11px; } .grid { stroke: var(--grid); } .end { text-anchor: end; }
.middle { text-anchor: middle; } .title { font-weight: 600; font-size: 13px; } .bad { fill: var(--bad); }
.ours { fill: var(--ours); stroke: var(--ours); } .floor { fill: var(--floor); stroke: var(--floor); }
.go { fill: var(--go); stroke: var(--go); } .peer { fill: var(--peer); stroke: var(--peer); }
.line { fill: none; stroke-width: 2; } .hollow { fill: var(--paper); stroke-width: 1.5; }
</style>`;

export interface Axis {
  /** The powers of ten, including both ends. */
  readonly ticks: readonly number[];
  place(value: number): number;
}

/** A log axis from the power of ten below the least value to the one above the greatest, between two coordinates. */
export function logAxis(values: readonly number[], from: number, to: number): Axis {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
    place: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from),
  };
}

/** `100 ns`, `1 µs`, `10 ms`. */
export function shortTime(ns: number): string {
  if (ns >= 1e9) return `${ns / 1e9} s`;
  if (ns >= 1e6) return `${ns / 1e6} ms`;
  return ns >= 1e3 ? `${ns / 1e3} µs` : `${ns} ns`;
}

/** `1`, `10 k`, `1 M`. */
export function shortCount(n: number): string {
  return n >= 1e6 ? `${n / 1e6} M` : n >= 1e4 ? `${n / 1e3} k` : `${n}`;
}

export const r = (value: number): string => value.toFixed(1);

export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? c);
}

/** A whole file, with a background. */
export function svg(width: number, height: number, label: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(label)}">`,
    STYLE,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}
