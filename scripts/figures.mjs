/** Writes the figures of the last full replay (`npm start`) into docs/surge.md, and its pictures beside it. */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { columns, rows } from "../.build/bench/surge/report.js";

const { seed, quick, scale, figures, checks, verdict } = JSON.parse(
  readFileSync("bench/results/surge.json", "utf8"),
  (_, value) => {
    return value === null ? Number.NaN : value; // JSON has no NaN.
  },
);
if (quick || scale !== 1) throw new Error("the last replay was a quick or scaled one: run `npm start` first");
if (verdict === "inconclusive") throw new Error("the last replay was inconclusive: run `npm start` again");

const row = (cells) => `| ${cells.join(" | ")} |`;
const heads = columns.flatMap(({ title }) => figures.map(({ variant }) => `${title}: ${variant}`));
const text = [
  "<!-- figures:begin -->",
  `One run with seed ${seed}, on Node ${process.versions.node} and a shared machine of two cores; written by \`scripts/figures.mjs\`.`,
  "",
  row(["", ...heads]),
  row(["---", ...heads.map(() => "---:")]),
  ...rows.map(({ label, cell }) =>
    row([label, ...columns.flatMap(({ phase }) => figures.map((f) => cell(f.figures[phase])))]),
  ),
  "",
  ...checks.map(({ promise, found, kept }) => `- ${kept ? "Kept" : "BROKEN"}: ${promise}: ${found}.`),
  "<!-- figures:end -->",
].join("\n");

const page = readFileSync("docs/surge.md", "utf8");
writeFileSync(
  "docs/surge.md",
  page.replace(/<!-- figures:begin -->[\s\S]*<!-- figures:end -->/, () => text),
);
for (const picture of ["surge.svg", "surge-tasks.svg"]) copyFileSync(`bench/results/${picture}`, `docs/${picture}`);
