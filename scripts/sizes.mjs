/**
 * What importing costs in a bundle: writes the table of docs/size.md. Needs a build. With `--check` it changes nothing,
 * and fails if a figure is more than a twentieth off, or a module is missing.
 *
 *   npm run sizes
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { ESM_ONLY, modules } from "./manifest.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const PAGE = join(root, "docs/size.md");
const TOLERANCE = 0.05;

/** What is bundled, by the name of its row: from the whole module, or a part of it. */
const rows = [
  ["`Weighted` of `gopark/semaphore` alone", "semaphore", "{ Weighted }"],
  ["`Channel` of `gopark/channel` alone", "channel", "{ Channel }"],
  ["`Limiter` of `gopark/rate` alone", "rate", "{ Limiter }"],
  ...modules()
    .filter((module) => !ESM_ONLY.includes(module))
    .map((module) => [module === "index" ? "all of `gopark`" : `\`gopark/${module}\``, module, "*"]),
];

/** The bytes of what is exported, with all that it needs, minified and compressed. */
async function sizeOf(module, names) {
  const ENTRY = "\0entry";
  const built = await rolldown({
    input: ENTRY,
    platform: "neutral",
    external: /^node:/,
    plugins: [
      {
        name: "entry",
        resolveId: (id) => (id === ENTRY ? id : undefined),
        load: (id) =>
          id === ENTRY ? `export ${names} from ${JSON.stringify(join(root, `dist/${module}.js`))};` : undefined,
      },
    ],
  });
  const { output } = await built.generate({ format: "esm", minify: true });
  await built.close();
  const code = output.map((chunk) => chunk.code).join("");
  return { minified: code.length, gzip: gzipSync(code, { level: 9 }).length };
}

const kB = (bytes) => (bytes / 1000).toFixed(1);
const old = readFileSync(PAGE, "utf8");
const marked = /(<!-- sizes: begin -->\n)([\s\S]*?)(<!-- sizes: end -->)/;
const lines = ["| import | minified, kB | and gzip, kB |", "| --- | ---: | ---: |"];
const wrong = [];
for (const [name, module, names] of rows) {
  const { minified, gzip } = await sizeOf(module, names);
  lines.push(`| ${name} | ${kB(minified)} | ${kB(gzip)} |`);
  const row = old.split("\n").find((line) => line.startsWith(`| ${name} |`));
  const [, , ...said] = row?.split("|").map(Number) ?? [];
  for (const [i, bytes] of [minified, gzip].entries()) {
    if (Math.abs(said[i] * 1000 - bytes) <= Math.max(TOLERANCE * bytes, 51)) continue;
    wrong.push(`${name}: the page says ${said[i]} kB, it is ${kB(bytes)} kB`);
  }
}
const rowsOf = (text) => text.split("\n").filter((line) => /^\| (?!import|---)/.test(line)).length;
const table = marked.exec(old);
if (table === null) throw new Error("docs/size.md: the comments that mark the table are not there");
if (rowsOf(table[2]) !== rows.length) wrong.push(`the page has ${rowsOf(table[2])} rows, want ${rows.length}`);

if (!process.argv.includes("--check")) {
  writeFileSync(
    PAGE,
    old.replace(marked, (_, begin, __, end) => `${begin}${lines.join("\n")}\n${end}`),
  );
} else if (wrong.length > 0) {
  console.error(`docs/size.md is out of date, npm run sizes:\n${wrong.join("\n")}`);
  process.exitCode = 1;
}
