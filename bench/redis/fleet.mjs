/**
 * Four gateways in front of an upstream that bears 12 requests at one time and 170 in any second. They share a limit of
 * 12, and of 100 a second with a burst of 20. (A call is counted first, and may then wait half a second for a slot. So
 * in one second there may be those that were counted in one and a half: 20 + 150.) Three times as many come. One
 * gateway is killed in the middle of its calls, and Redis stops for longer than a lease.
 *
 * Prints a table, and writes .build/fleet.html. Exits with 1 if the upstream saw more than it bears.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import { fileURLToPath } from "node:url";
import { page } from "./page.mjs";
import { startRedis } from "./server.mjs";

const AT_ONCE = 12;
const A_SECOND = 170;
const LIMITS = { atOnce: AT_ONCE, perSecond: 100, burst: 20, lease: 1000 };
const OFFERED = 300; // Requests a second, over all gateways.
const PHASES = [
  { name: "four gateways", until: 4000 },
  { name: "one is killed", until: 8000 },
  { name: "Redis is stopped", until: 11_000 },
  { name: "Redis is back", until: 15_000 },
];

let began = 0;
const at = () => performance.now() - began;

// The upstream: what it sees.
const arrivals = [];
const running = []; // [when, how many] at each change.
let inFlight = 0;
const upstream = createServer((_, res) => {
  arrivals.push(at());
  running.push([at(), ++inFlight]);
  const timer = setTimeout(() => res.end("fine"), 60 + Math.random() * 40);
  res.on("close", () => {
    clearTimeout(timer);
    running.push([at(), --inFlight]);
  });
}).listen(0, "127.0.0.1");
await once(upstream, "listening");

const redis = await startRedis();
const job = { redis: redis.port, upstream: `http://127.0.0.1:${upstream.address().port}/`, ...LIMITS };
const gateways = await Promise.all(
  [0, 1, 2, 3].map(async () => {
    const child = fork(fileURLToPath(new URL("gateway.mjs", import.meta.url)), [JSON.stringify(job)]);
    const [port] = await once(child, "message");
    return { child, port };
  }),
);

// The load: what becomes of each request.
const answers = [];
const agent = new Agent({ keepAlive: true, maxSockets: 500 });
function ask({ port }) {
  const sentAt = at();
  const req = request({ port, agent }, (res) => {
    res.resume();
    res.on("end", () => answers.push({ sentAt, what: String(res.statusCode) }));
    res.on("error", () => answers.push({ sentAt, what: "failed" }));
  });
  req.on("error", () => answers.push({ sentAt, what: "failed" })).end();
}

// The processes get warm on a third of the load, which does not count.
for (let i = 0; i < 300; i++) {
  ask(gateways[i % 4]);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
while (inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 20));
for (const list of [arrivals, running, answers]) list.length = 0;

began = performance.now();
const events = [
  [PHASES[0].until, () => gateways[0].child.kill("SIGKILL")],
  [PHASES[1].until, () => redis.child.kill("SIGSTOP")],
  [PHASES[2].until, () => redis.child.kill("SIGCONT")],
];
const last = PHASES.at(-1).until;
await new Promise((resolve) => {
  let sent = 0;
  const timer = setInterval(() => {
    for (const [when, what] of events.splice(0)) {
      if (at() >= when) what();
      else events.push([when, what]);
    }
    for (; sent < (Math.min(at(), last) / 1000) * OFFERED; sent++) ask(gateways[sent % 4]);
    if (at() < last) return;
    clearInterval(timer);
    resolve();
  }, 5);
});
while (inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 20));
await new Promise((resolve) => setTimeout(resolve, 200));
for (const { child } of gateways) child.kill();
redis.child.kill();
agent.destroy();
upstream.close();

/** The most that came in any second from `from` to `to`. */
function mostInASecond(from, to) {
  let most = 0;
  let first = 0;
  for (const [i, time] of arrivals.entries()) {
    while (arrivals[first] <= time - 1000) first++;
    if (time >= from && time < to) most = Math.max(most, i - first + 1);
  }
  return most;
}

const rows = PHASES.map(({ name, until }, i) => {
  const from = PHASES[i - 1]?.until ?? 0;
  const of = answers.filter(({ sentAt }) => sentAt >= from && sentAt < until);
  const count = (what) => of.filter((it) => it.what === what).length;
  return {
    phase: name,
    seconds: (until - from) / 1000,
    requests: of.length,
    served: count("200"),
    "refused (429)": count("429"),
    "unavailable (503)": count("503"),
    failed: count("failed"),
    "most at one time": Math.max(0, ...running.filter(([t]) => t >= from && t < until).map(([, n]) => n)),
    "most in a second": mostInASecond(from, until),
  };
});

const head = Object.keys(rows[0]);
const widths = head.map((name) => Math.max(name.length, ...rows.map((row) => String(row[name]).length)));
const line = (cells) =>
  cells.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i]))).join("  ");
console.log([line(head), ...rows.map((row) => line(Object.values(row)))].join("\n"));

const most = Math.max(...rows.map((row) => row["most at one time"]));
const mostRate = Math.max(...rows.map((row) => row["most in a second"]));
const held = most <= AT_ONCE && mostRate <= A_SECOND;
const verdict = `the upstream saw at most ${most} requests at one time (it bears ${AT_ONCE}) and ${mostRate} in a second (it bears ${A_SECOND})`;
console.log(`\n${held ? "The limit held" : "THE LIMIT BROKE"}: ${verdict}.`);

mkdirSync(new URL("../../.build/", import.meta.url), { recursive: true });
const file = fileURLToPath(new URL("../../.build/fleet.html", import.meta.url));
writeFileSync(
  file,
  page({
    rows,
    head,
    verdict,
    held,
    phases: PHASES,
    last,
    arrivals,
    running,
    answers,
    atOnce: AT_ONCE,
    aSecond: A_SECOND,
  }),
);
console.log(`The page: ${file}`);
process.exitCode = held ? 0 : 1;
