/**
 * Writes those parts of the docs that are copied from elsewhere, between the comments that mark them, and fills the
 * paragraphs to 120 columns. With `--check` it changes nothing, names each file that it would change, and exits with 1.
 *
 *   npm run docs
 *
 * - `differences from Go`: in the page of each module, the list in the header of its source.
 * - `links to the differences`: in README.md and docs/go-to-typescript.md, a link to each of these lists.
 * - `bench rows`: a table of the rows that the comment names, from docs/performance.json.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, relative } from "node:path";

const COLUMNS = 120;
const PERFORMANCE = "docs/performance.json";

// docs/performance.md is written as a whole by scripts/performance.mjs.
const folders = ["docs", "docs/examples", "bench/go", "bench/peers"];
const files = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ...folders.flatMap(markdownIn)];

const { exports } = JSON.parse(readFileSync("package.json", "utf8"));
const modules = Object.keys(exports).flatMap((subpath) => /^\.\/(\w+)$/.exec(subpath)?.[1] ?? []);
const { rows } = JSON.parse(readFileSync(PERFORMANCE, "utf8"));

try {
  const stale = files.filter((file) => {
    const old = readFileSync(file, "utf8");
    const text = filled(copied(file, old));
    if (text !== old && !process.argv.includes("--check")) writeFileSync(file, text);
    return text !== old;
  });
  const says = process.argv.includes("--check") ? "is out of date: run `npm run docs`" : "written";
  for (const file of stale) console.log(`${file} ${says}`);
  if (process.argv.includes("--check") && stale.length > 0) process.exitCode = 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

function markdownIn(folder) {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(".md") && name !== "performance.md");
  return names.sort().map((name) => `${folder}/${name}`);
}

/** The text with its marked parts rewritten. */
function copied(file, text) {
  const parts = { "differences from Go": differences, "links to the differences": links, "bench rows": benchRows };
  if (modules.some((name) => file === `docs/${name}.md`) && !text.includes("<!-- differences from Go: begin -->")) {
    throw new Error(`${file}: put <!-- differences from Go: begin --> and <!-- differences from Go: end --> into it`);
  }
  let result = text;
  for (const [name, write] of Object.entries(parts)) {
    const marked = new RegExp(`(<!-- ${name}: begin(.*?) -->\n)[\\s\\S]*?(<!-- ${name}: end -->)`, "g");
    result = result.replace(marked, (_, begin, rest, end) => `${begin}${write(file, rest.trim())}\n${end}`);
  }
  return result;
}

/** The differences from Go in the header of a module: its list, or the paragraph that stands in place of a list. */
function differences(page) {
  const source = page.replace(/^docs\/(\w+)\.md$/, "src/$1.ts");
  const comment = /\/\*\*([\s\S]*?)\*\//.exec(readFileSync(source, "utf8"))?.[1] ?? "";
  const header = comment.replaceAll(/^ *\* ?/gm, "").replaceAll(/\{@link ([^}]+)\}/g, "`$1`");
  const found = /\bDifferences\s+from\s[^:]*:/.exec(header);
  if (found === null) throw new Error(`${source}: its header must have a list after "Differences from Go:"`);
  const lines = header
    .slice(found.index + found[0].length)
    .replace(/^ *\n+/, "")
    .split("\n");
  const isItem = (line) => /^- /.test(line);
  const isMore = isItem(lines[0]) ? (line) => /^(- | {2}|$)/.test(line) : (line) => line.trim() !== "";
  const after = lines.findIndex((line) => !isMore(line));
  const text = (after === -1 ? lines : lines.slice(0, after)).join("\n").trim();
  return filled(isItem(text) ? text.replaceAll(/\n{2,}/g, "\n") : text[0].toUpperCase() + text.slice(1));
}

function links(file) {
  const each = modules.map((name) => {
    return `[${name}](${relative(dirname(file), `docs/${name}.md`)}#differences-from-go)`;
  });
  return filled(`${each.join(", ")}.`);
}

/**
 * The named rows beside their floor, Go and the fastest peer. An empty column is left out.
 */
function benchRows(file, names) {
  const table = names.split(/\s+/).map((id) => {
    const row = rows.find((row) => row.id === id);
    if (row === undefined) throw new Error(`${file}: ${PERFORMANCE} has no row ${id}`);
    const { ours, floor, go1, goN: _, ...peers } = row.ns;
    const [peer] = Object.entries(peers).sort(([, a], [, b]) => a - b);
    const fastest = peer === undefined ? "" : `${time(peer[1])} (${peer[0]})`;
    return [`\`${id}\``, row.what, time(ours), time(floor), time(go1), fastest];
  });
  const head = ["row", "one operation", "gopark", "floor", "Go, 1 processor", "fastest other"];
  const used = head.map((_, i) => table.some((cells) => cells[i] !== ""));
  const line = (cells) => `| ${cells.filter((_, i) => used[i]).join(" | ")} |`;
  const rule = head.map((_, i) => (i < 2 ? "---" : "---:"));
  return [head, rule, ...table].map(line).join("\n");
}

function time(ns) {
  if (ns === undefined) return "";
  const [value, unit] = ns >= 1e6 ? [ns / 1e6, "ms"] : ns >= 1e3 ? [ns / 1e3, "µs"] : [ns, "ns"];
  return `${value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(value))))} ${unit}`;
}

/** The text with its paragraphs and list items filled. Code, tables, headings and comments stay as they are. */
function filled(text) {
  const result = [];
  let paragraph;
  let fence;
  let figures = false; // Other scripts write these.
  const close = () => {
    if (paragraph !== undefined) result.push(...wrapped(paragraph));
    paragraph = undefined;
  };
  for (const line of text.split("\n")) {
    const [, indent = "", mark = "", rest = ""] = /^( *)((?:[-*]|\d+\.) +)?(.*)$/.exec(line) ?? [];
    if (/<!-- figures:(begin|end) -->/.test(line)) figures = line.includes("begin");
    const opens = /^`{3,}/.exec(rest)?.[0];
    const verbatim = fence !== undefined || figures || opens !== undefined || /^(\||#|<|!\[|$)/.test(rest);
    if (verbatim || mark !== "" || (paragraph !== undefined && indent.length < paragraph.indent)) close();
    if (verbatim) result.push(line);
    else if (paragraph === undefined)
      paragraph = { first: `${indent}${mark}`, indent: (indent + mark).length, text: rest };
    else paragraph.text += ` ${rest}`;
    if (fence === undefined) fence = opens;
    else if (opens === fence) fence = undefined;
  }
  close();
  return result.join("\n");
}

/**
 * A paragraph in lines. Code in backquotes and links are not broken. No line begins with a word that would make it a
 * list or a heading, such as the year that ends a sentence.
 */
function wrapped({ first, indent, text }) {
  const words = [];
  for (const word of text.match(/(?:`[^`]*`|\[[^\]`]*(?:`[^`]*`[^\]`]*)*\]\([^)]*\)|\S)+/g) ?? []) {
    if (words.length > 0 && /^([-+*>]|#+|\d+[.)])$/.test(word)) words.push(`${words.pop()} ${word}`);
    else words.push(word);
  }
  const lines = [];
  let line = first;
  let empty = true;
  for (const word of words) {
    if (!empty && line.length + 1 + word.length > COLUMNS) {
      lines.push(line);
      line = " ".repeat(indent);
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...lines, line];
}
