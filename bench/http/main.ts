/**
 * The benchmarks of the HTTP modules.
 *
 *   npm run bench:http                 all
 *   npm run bench:http -- cost         the processor time of a call, beside that of `fetch` with a time-out
 *   npm run bench:http -- storm        an outage under several ways of retrying, and its chart, docs/http-storm.svg
 *   npm run bench:http -- requests     the processor time of a request behind the steps; about three minutes
 *   npm run bench:http -- limits       four limits on a simulated service, and its chart, docs/admission.svg
 *
 * The last two write their figures into docs/admission.md.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { costs } from "./cost.ts";
import { limitChart } from "./limitChart.ts";
import { limitTable, simulateLimits } from "./limits.ts";
import { measureRequests, requestTable } from "./requests.ts";
import { storm } from "./storm.ts";
import { stormChart } from "./stormChart.ts";

const PAGE = "docs/admission.md";

/** Writes lines into the block of figures that stands below a heading or a picture which has `mark`. */
function write(mark: string, lines: readonly string[]): void {
  console.log(lines.join("\n"));
  const page = readFileSync(PAGE, "utf8");
  const from = page.indexOf("<!-- figures:begin -->", page.indexOf(mark));
  const to = page.indexOf("<!-- figures:end -->", from);
  if (page.indexOf(mark) < 0 || from < 0 || to < 0) throw new Error(`${PAGE} has no figures below ${mark}`);
  writeFileSync(PAGE, `${page.slice(0, from)}<!-- figures:begin -->\n${lines.join("\n")}\n${page.slice(to)}`);
}

const benches: Readonly<Record<string, () => void | Promise<void>>> = {
  async cost() {
    console.log("processor time of a call");
    for (const { title, micros, to, ratio, low, high } of await costs(40)) {
      const quartiles = `quartiles ${low.toFixed(2)} to ${high.toFixed(2)}`;
      const beside = title === to ? "" : `  ${ratio.toFixed(2)} × ${to} (${quartiles})`;
      console.log(`${title.padEnd(46)} ${micros.toFixed(1).padStart(7)} µs${beside}`);
    }
  },
  async storm() {
    console.log("an outage of 60 seconds");
    const runs = await storm();
    for (const { name, load, recovery } of runs) {
      const recovered = recovery === Number.POSITIVE_INFINITY ? "never" : `after ${recovery} s`;
      console.log(`${name.padEnd(42)} load ${load.toFixed(2)} ×, served again ${recovered}`);
    }
    writeFileSync("docs/http-storm.svg", stormChart(runs));
  },
  async requests() {
    const rows = await measureRequests(8, 12);
    write("## Costs", [
      `Node ${process.versions.node}, by \`npm run bench:http -- requests\`, on a shared machine of two cores:`,
      "",
      ...requestTable(rows),
    ]);
  },
  limits() {
    const runs = simulateLimits();
    writeFileSync("docs/admission.svg", limitChart(runs));
    write("(admission.svg)", limitTable(runs));
  },
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in benches));
if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(", ")}; there are ${Object.keys(benches).join(", ")}`);
for (const name of asked.length > 0 ? asked : Object.keys(benches)) await benches[name]?.();
