/**
 * Maps too large for the ordinary benchmarks: the longest pause while one grows to 8 million string keys, and the
 * memory of an entry at 16 and 40 million integers, a ShardMap compared with a Map. Needs 8 GB of memory and some
 * minutes; writes its table into docs/shardmap.md.
 *
 *   npm run bench:large
 */
import { fork } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

interface Growth {
  worstMs: number;
  totalMs: number;
}

interface Filling {
  entries: number;
  bytes: number;
  /** The error with which the map refused further entries. */
  refused?: string;
}

const kinds = ["Map", "ShardMap"] as const;
const page = "docs/shardmap.md";

function child<T>(file: string, kind: string, count: number): Promise<T> {
  console.error(`${file} ${kind} ${count.toLocaleString("en")} ...`);
  const execArgv = ["--max-old-space-size=8000", "--expose-gc"];
  return new Promise((resolve, reject) => {
    const process = fork(new URL(`./${file}.js`, import.meta.url), [kind, String(count)], { execArgv });
    let answer: T | undefined;
    process.on("message", (message) => {
      answer = message as T;
    });
    process.on("exit", (code) => {
      if (answer === undefined) reject(new Error(`${file} ${kind} ${count} ended with ${code}`));
      else resolve(answer);
    });
  });
}

async function row<T>(file: string, count: number, cell: (answer: T) => string): Promise<string> {
  const cells: string[] = [];
  for (const kind of kinds) cells.push(cell(await child<T>(file, kind, count)));
  return cells.join(" | ");
}

const growth: Growth[] = [];
const pause = await row<Growth>("grow", 8_000_000, (answer) => {
  growth.push(answer);
  return `${answer.worstMs.toFixed(0)} ms`;
});
const filled = ({ entries, bytes, refused }: Filling): string =>
  refused === undefined ? `${bytes.toFixed(0)} bytes` : `${refused} at ${entries.toLocaleString("en")}`;

const text = [
  "<!-- figures:begin -->",
  `| measured on Node ${process.versions.node}, by \`npm run bench:large\` | Map | ShardMap |`,
  "|---|---:|---:|",
  `| growing to 8 000 000 string keys: the longest pause of one \`set\`, without collections | ${pause} |`,
  `| the same, the total time | ${growth.map(({ totalMs }) => `${(totalMs / 1000).toFixed(1)} s`).join(" | ")} |`,
  `| an entry of 16 000 000 integers | ${await row("fill", 16_000_000, filled)} |`,
  `| an entry of 40 000 000 integers | ${await row("fill", 40_000_000, filled)} |`,
  "<!-- figures:end -->",
].join("\n");
console.log(text);
const old = readFileSync(page, "utf8");
writeFileSync(
  page,
  old.replace(/<!-- figures:begin -->[\s\S]*<!-- figures:end -->/, () => text),
);

const [map, sharded] = growth as [Growth, Growth];
if (sharded.worstMs > map.worstMs / 20) {
  console.error(`the longest pause is over a twentieth of Map's: ${sharded.worstMs} of ${map.worstMs} ms`);
  process.exitCode = 1;
}
