/** A flame graph, as SVG: what called what, the callers on top, each as wide as the number of stacks through it. */
import { escaped, r } from "./svg.ts";

/** How many have this stack; the frames from the outermost to the innermost. */
export interface Frames {
  readonly count: number;
  readonly frames: readonly Frame[];
}

interface Frame {
  readonly name: string;
  /** Where it stands: file and line. */
  readonly at: string;
}

interface Node extends Frame {
  count: number;
  readonly children: Map<string, Node>;
}

const ROW = 19;
/** The width of a character of the text, about. */
const CHARACTER = 6.2;

/** The total of the stacks. */
export function total(stacks: readonly Frames[]): number {
  return stacks.reduce((sum, { count }) => sum + count, 0);
}

/**
 * Draws the stacks within `width`, with a row `root` for all of them. The colours are the page's: each box has the
 * class `flame`, and `--tint` between 0 and 1, so that neighbours differ and a function looks the same everywhere.
 */
export function flame(stacks: readonly Frames[], root: string, width: number): { height: number; parts: string[] } {
  const all = tree(stacks, root);
  const parts: string[] = [];
  let rows = 0;
  const draw = (node: Node, left: number, row: number): void => {
    const wide = (node.count / all.count) * width;
    // What is narrower than a pixel would only be a shadow.
    if (!(wide >= 1)) return;
    rows = Math.max(rows, row + 1);
    parts.push(box(node, left, row * ROW, wide, all.count));
    let at = left;
    for (const child of [...node.children.values()].sort((a, b) => b.count - a.count)) {
      draw(child, at, row + 1);
      at += (child.count / all.count) * width;
    }
  };
  draw(all, 0, 0);
  return { height: rows * ROW, parts };
}

function tree(stacks: readonly Frames[], root: string): Node {
  const all: Node = { name: root, at: "", count: 0, children: new Map() };
  for (const { count, frames } of stacks) {
    let node = all;
    node.count += count;
    for (const frame of frames) {
      // The lines of one function are one box.
      const key = nameOf(frame);
      const child = node.children.get(key) ?? { ...frame, count: 0, children: new Map() };
      node.children.set(key, child);
      child.count += count;
      node = child;
    }
  }
  return all;
}

/** Functions without a name are called by their place. */
function nameOf({ name, at }: Frame): string {
  return name.startsWith("<") ? at : name;
}

function box(node: Node, left: number, top: number, wide: number, of: number): string {
  const { name, at, count } = node;
  const share = `${count.toLocaleString("en")}, ${((100 * count) / of).toFixed(0)} %`;
  const fits = Math.floor((wide - 6) / CHARACTER);
  const label = `${nameOf(node)} ${count.toLocaleString("en")}`;
  const text = label.length <= fits ? label : fits < 3 ? "" : `${label.slice(0, fits - 1)}…`;
  return [
    `<g><title>${escaped(at === "" ? name : `${name} (${at})`)}: ${share}</title>`,
    `<rect class="flame" style="--tint: ${tint(name)}" x="${r(left)}" y="${r(top)}" width="${r(wide - 0.5)}" `,
    `height="${ROW - 1}"/>`,
    text === "" ? "" : `<text class="frame" x="${r(left + 4)}" y="${r(top + 13)}">${escaped(text)}</text>`,
    "</g>",
  ].join("");
}

/** A number between 0 and 1 from a name. */
function tint(name: string): string {
  let hash = 0;
  for (const c of name) hash = (hash * 31 + (c.codePointAt(0) ?? 0)) % 997;
  return (hash / 997).toFixed(2);
}
