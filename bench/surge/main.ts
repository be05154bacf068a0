/**
 * The surge replay: `npm start`, and after `--`: `--quick`, `--seed 7`, `--only gopark`, `--scale 10`.
 *
 * Runs each gateway through normal traffic, a six-fold surge and recovery, in three processes that share no event loop:
 * the upstream, the gateway and the load generator. Prints the table of the post-mortem, writes the same over time to
 * bench/results/surge.html, and exits with 1 if the cured gateway breaks a promise or if the upstream's and the
 * generator's records of the orders differ.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { model, type PhaseName, type Plan, plan, planned, scale, type Variant, variants } from "./config.ts";
import { compareRecords, figuresOf, type Run } from "./figures.ts";
import { metricsFile, taskFile } from "./flames.ts";
import { Child, gatewayFile, type Progress, type Sample, type Vitals } from "./ipc.ts";
import { page, picture, pictureOfTasks } from "./page.ts";
import { clock } from "./probe.ts";
import { Others } from "./processors.ts";
import { type Snapshot, snapshot } from "./profiles.ts";
import { aftermath, carries, conclusion, generator, type Results, table, verdicts } from "./report.ts";
import { exitCodes, type Judged, judged, machineBusy, promises, recordsAgree, verdictOf } from "./verdict.ts";

const file = (name: string): URL => new URL(`./${name}.js`, import.meta.url);
const until = (at: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.max(0, at - clock())));

/** Runs `body` with a fresh process for each file, and ends the processes in any case. */
async function withProcesses<K extends string, T>(
  files: Record<K, URL>,
  body: (children: Record<K, Child>) => Promise<T>,
): Promise<T> {
  const children = {} as Record<K, Child>;
  for (const name of Object.keys(files) as K[]) children[name] = new Child(name, files[name]);
  try {
    return await body(children);
  } finally {
    await Promise.all(Object.values<Child>(children).map((child) => child.kill()));
  }
}

async function calibrate(plan: Plan): Promise<number> {
  return withProcesses({ upstream: file("upstream"), load: file("load") }, async ({ upstream, load }) => {
    const port = await upstream.request("listen", { plan, upstreamPort: 0, faults: false });
    return load.request("calibrate", { port, callers: model.slots * 2, ms: 1000 });
  });
}

async function replay(variant: Variant, plan: Plan): Promise<Run> {
  const files = { upstream: file("upstream"), gateway: gatewayFile(variant), load: file("load") };
  return withProcesses(files, async ({ upstream, gateway, load }) => {
    const upstreamPort = await upstream.request("listen", { plan, upstreamPort: 0, faults: true });
    const port = await gateway.request("listen", { plan, upstreamPort, faults: true });
    const samples: Sample[] = [];
    const line = new ProgressLine(variant, plan);
    gateway.on("sample", (sample) => {
      samples.push(sample);
      line.sample = sample;
    });
    load.on("progress", (progress) => line.show(progress, clock() - start));

    await load.request("connect", { port });
    const start = clock() + 100 - plan.warmUp.from;
    const sending = load.request("run", { plan, port, start });
    // Awaited below; a failure before that must not count as unhandled.
    sending.catch(() => {});
    const vitals: Partial<Record<PhaseName, Vitals>> = {};
    const others: Partial<Record<PhaseName, number>> = {};
    const processors = new Others([upstream, gateway, load]);
    let surgeEnd: Promise<Snapshot> | undefined;
    await until(start);
    await gateway.request("phase", null);
    await processors.next();
    for (const phase of plan.phases) {
      await until(start + phase.to);
      if (phase.name === "surge") {
        surgeEnd = snapshot(port);
        surgeEnd.catch(() => {}); // Awaited below.
      }
      vitals[phase.name] = await gateway.request("phase", null);
      others[phase.name] = await processors.next();
    }
    const sent = await sending;
    const taken = await (surgeEnd as Promise<Snapshot>);
    const drained = await gateway.request("drain", null);
    const ledger = await upstream.request("ledger", null);
    line.end();
    const measured = {
      samples,
      vitals: vitals as Record<PhaseName, Vitals>,
      others: others as Record<PhaseName, number>,
      snapshot: taken,
    };
    return { variant, plan, start, sent, ...measured, drained, ledger };
  });
}

/** A run with its checks. */
interface Measured {
  readonly result: Results[number];
  readonly checks: readonly Judged[];
}

/** Replays, and once more if that was inconclusive. A run that leaked, or whose records differ, is never repeated. */
async function measure(variant: Variant, plan: Plan): Promise<Measured> {
  for (let repeated = false; ; repeated = true) {
    const run = await replay(variant, plan);
    const figures = figuresOf(run);
    const result = { run, figures };
    const checks = judged(
      [...(variant === "gopark" ? promises(run, figures) : []), recordsAgree(run)],
      machineBusy(run),
    );
    if (verdictOf(checks) !== "inconclusive" || repeated) return { result, checks };
    console.log(`${generator([result])} The machine was busy elsewhere, and the run is repeated.`);
  }
}

/**
 * The progress of a run in one line: on a terminal it is rewritten in place, elsewhere it is printed every two seconds.
 */
class ProgressLine {
  readonly #variant: Variant;
  readonly #plan: Plan;
  readonly #tty = process.stdout.isTTY === true;
  #shown = Number.NEGATIVE_INFINITY;
  sample: Sample | undefined;

  constructor(variant: Variant, plan: Plan) {
    this.#variant = variant;
    this.#plan = plan;
  }

  show({ sent, waiting, served, rejected, lost }: Progress, at: number): void {
    if (!this.#tty && at - this.#shown < 2000) return;
    this.#shown = at;
    const phase = at < 0 ? "warm-up" : (this.#plan.phases.find(({ to }) => at < to)?.name ?? "draining");
    const of = (planned(this.#plan) / 1000).toFixed(0);
    const text = [
      `${this.#variant.padEnd(6)} ${phase.padEnd(8)} ${Math.max(0, at / 1000)
        .toFixed(0)
        .padStart(2)}/${of} s`,
      `sent ${sent}, served ${served}, rejected ${rejected}, lost ${lost}, waiting ${waiting}`,
      `parked ${this.sample?.parked ?? 0}, RSS ${((this.sample?.rss ?? 0) / 2 ** 20).toFixed(0)} MB`,
    ].join("  ");
    process.stdout.write(this.#tty ? `\r\x1b[2K${text}` : `${text}\n`);
  }

  end(): void {
    if (this.#tty) process.stdout.write("\r\x1b[2K");
  }
}

async function main(): Promise<number> {
  const { values: options } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      seed: { type: "string", default: "1" },
      only: { type: "string" },
      scale: { type: "string", default: "1" },
    },
  });
  const seed = Number(options.seed);
  if (!Number.isSafeInteger(seed)) throw new RangeError(`--seed takes an integer, not ${options.seed}`);
  if (!(Number.isSafeInteger(scale) && scale >= 1)) {
    throw new RangeError(`--scale takes a whole number from 1, not ${options.scale}`);
  }
  if (options.only !== undefined && !variants.includes(options.only as Variant)) {
    throw new RangeError(`--only takes ${variants.join(" or ")}, not ${options.only}`);
  }
  const what = plan(options.quick, seed);

  console.log(what.phases.map(({ name, from, to, rate }) => `${name} ${(to - from) / 1000} s at ${rate}/s`).join(", "));
  const measured = what.quick ? undefined : await calibrate(what);
  console.log(`${carries(model.slots, model.serviceMs, measured)}; seed ${seed}\n`);

  const measurements: Measured[] = [];
  for (const variant of variants) {
    if (options.only !== undefined && options.only !== variant) continue;
    measurements.push(await measure(variant, what));
  }

  const results: Results = measurements.map(({ result }) => result);
  // The cured gateway's first.
  const checks = measurements.toReversed().flatMap((measured) => measured.checks);
  const verdict = verdictOf(checks);
  const lines = [...generator(results), "", ...aftermath(results), "", ...verdicts(checks)];
  console.log(`\n${table(results)}\n\n${lines.join("\n")}`);
  for (const { run } of results)
    for (const example of compareRecords(run).examples.slice(0, 5)) console.log(`  ${example}`);

  const folder = new URL("../../../bench/results/", import.meta.url);
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL("surge.html", folder), page(results, checks, lines));
  writeFileSync(new URL("surge.svg", folder), picture(results));
  writeFileSync(new URL("surge-tasks.svg", folder), pictureOfTasks(results));
  for (const { run } of results) {
    writeFileSync(new URL(taskFile(run.variant), folder), run.snapshot.file);
    writeFileSync(new URL(metricsFile(run.variant), folder), run.snapshot.metrics);
  }
  const figures = results.map(({ run, figures }) => ({ variant: run.variant, figures, records: compareRecords(run) }));
  writeFileSync(
    new URL("surge.json", folder),
    JSON.stringify({ seed, quick: what.quick, scale, measured, figures, checks, verdict }, null, 2),
  );
  console.log(`\nplots over time, and what was unfinished: ${fileURLToPath(new URL("surge.html", folder))}`);
  console.log(`\n${conclusion(verdict)}`);
  return exitCodes[verdict];
}

// The children end with this process: their channel to it closes.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
process.exitCode = await main().catch((err: unknown) => {
  console.error(`\n${err instanceof Error ? err.message : String(err)}`);
  return 1;
});
