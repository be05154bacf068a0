/** gopark/metrics with Prometheus itself: promtool checks text and rules, the server scrapes and fires the alerts. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { CircuitBreaker } from "../../src/breaker.ts";
import { prometheusText } from "../../src/metrics.ts";
import { Pool } from "../../src/pool.ts";
import { Inf, KeyedLimiter, Limiter } from "../../src/rate.ts";
import { Weighted } from "../../src/semaphore.ts";
import { Workers } from "../../src/workers.ts";
import { ROOT } from "../support/examples.ts";

const RULES = join(ROOT, "docs/alerts.yml");

const isInstalled = (program: string) => spawnSync(program, ["--version"]).status === 0;

function promtool(args: string[], input = ""): { status: number | null; printed: string } {
  const { status, stdout, stderr } = spawnSync("promtool", args, { input, cwd: ROOT, encoding: "utf8" });
  return { status, printed: `${stdout}${stderr}` };
}

describe.runIf(isInstalled("promtool"))("promtool", () => {
  test("finds nothing to say about the metrics", () => {
    const names = ["plain", 'a "quoted" \\ name\nof two lines 😀'];
    const kept = names.flatMap((name) => [
      new Weighted(3, { name }),
      new Limiter(Inf, 3, { name }),
      new KeyedLimiter(1, 3, { name }),
      new CircuitBreaker({ name }),
      new Pool({ create: () => ({}), reset: () => {}, name }),
      new Workers(Number.POSITIVE_INFINITY, { name }),
    ]);
    expect(promtool(["check", "metrics"], prometheusText())).toEqual({ status: 0, printed: "" });
    expect(kept).toHaveLength(12);
  });

  test("passes the tests of the alert rules", () => {
    expect(promtool(["check", "rules", RULES]).printed).toContain("SUCCESS: 6 rules found");
    const { status, printed } = promtool(["test", "rules", "test/observe/alerts.test.yml"]);
    expect(printed).toContain("SUCCESS");
    expect(status).toBe(0);
  });
});

// Starts 12 000 tasks, and 100 more each 50 ms.
const SERVICE = `
  import { createServer } from "node:http";
  import { go } from "gopark";
  import * as metrics from "gopark/metrics";
  const never = new Promise(() => {});
  const start = (n) => { for (let i = 0; i < n; i++) void go(() => never); };
  start(12000);
  setInterval(() => start(100), 50);
  const server = createServer((req, res) => {
    res.setHeader("content-type", metrics.contentType).end(metrics.prometheusText());
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
`;

interface Alert {
  readonly labels: { readonly alertname: string };
  readonly state: string;
}

describe.runIf(isInstalled("prometheus"))("Prometheus", () => {
  const folder = mkdtempSync(join(tmpdir(), "gopark-prometheus-"));
  const running: ChildProcess[] = [];
  afterEach(() => {
    for (const child of running.splice(0)) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  const start = (program: string, args: string[]) => {
    const child = spawn(program, args, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
    running.push(child);
    return child;
  };

  test("scrapes a service, and fires the alerts for its tasks", async () => {
    const service = start(process.execPath, ["--input-type=module", "-e", SERVICE]);
    const port = await new Promise<string>((resolve) =>
      service.stdout?.once("data", (data) => resolve(`${data}`.trim())),
    );

    // The windows of the rules are made short, so that the test need not last for minutes.
    const rules = readFileSync(RULES, "utf8").replaceAll("for: 1m", "for: 1s").replaceAll("[1m]", "[5s]");
    writeFileSync(join(folder, "rules.yml"), rules);
    const config = `
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [rules.yml]
scrape_configs: [{ job_name: service, static_configs: [{ targets: ["127.0.0.1:${port}"] }] }]
`;
    writeFileSync(join(folder, "prometheus.yml"), config);
    const address = `127.0.0.1:${await freePort()}`;
    start("prometheus", [
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=${address}`,
      "--log.level=error",
    ]);

    const wanted = ["GoparkManyTasks", "GoparkTasksGrow"];
    let firing: string[] = [];
    while (!wanted.every((name) => firing.includes(name))) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      const answer = await fetch(`http://${address}/api/v1/alerts`).catch(() => undefined);
      if (answer?.ok !== true) continue; // It is starting.
      const { data } = (await answer.json()) as { data: { alerts: Alert[] } };
      firing = data.alerts.filter(({ state }) => state === "firing").map(({ labels }) => labels.alertname);
    }
    expect([...new Set(firing)].sort()).toEqual(wanted);
  });
});

/** A port that is free now. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
