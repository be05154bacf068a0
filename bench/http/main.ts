/**
 * The benchmarks of the HTTP modules. Each writes its figures into docs/admission.md.
 *
 *   npm run bench:http                 both
 *   npm run bench:http -- requests     the processor time of a request behind the steps; under two minutes
 *   npm run bench:http -- limits       the simulation of four limits, and its chart, docs/admission.svg
 */
import { readFileSync, writeFileSync } from "node:fs";
import { limitChart } from "./limitChart.ts";
import { limitTable, simulateLimits } from "./limits.ts";
import { measureRequests, requestTable } from "./requests.ts";

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
  async requests() {
    const rows = await measureRequests(200, 480);
    write("## Costs", [
      `Node ${process.versions.node}, by \`npm run bench:http -- requests\`:`,
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
