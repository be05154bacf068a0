/**
 * Callers side by side under the same faults: `node bench/http/peers/main.mjs`. Each in a process of its own, with an
 * upstream of its own. Prints a table.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { callers } from "./callers.mjs";

const file = (name) => new URL(name, import.meta.url);

async function measure(name) {
  const upstream = fork(file("upstream.mjs"));
  try {
    const [{ port }] = await once(upstream, "message");
    const caller = fork(file("caller.mjs"), [name, `http://127.0.0.1:${port}/`], {
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    let out = "";
    caller.stdout.on("data", (chunk) => (out += chunk));
    // As the caller ends, before its sockets are closed with it.
    await once(caller, "disconnect");
    upstream.send("stats");
    const [stats] = await once(upstream, "message");
    if (caller.exitCode === null) await once(caller, "exit");
    return { name, ...JSON.parse(out), upstream: stats };
  } finally {
    upstream.kill();
  }
}

const results = [];
for (const name of Object.keys(callers)) {
  console.error(`${name} (${results.length + 1} of ${Object.keys(callers).length}, 11 s)`);
  results.push(await measure(name));
}

const percent = (n, of) => `${((100 * n) / of).toFixed(1)} %`;
const rows = results.map((r) => [
  r.name,
  percent(r.served, r.offered),
  percent(r.refused, r.offered),
  percent(r.failed + r.late, r.offered),
  `${Math.round(r.p99)} ms`,
  (r.upstream.calls / r.offered).toFixed(2),
  `${r.upstream.connections}`,
  `${r.cpu.toFixed(2)} ms`,
  `${r.inFlight} calls, ${r.upstream.unanswered} at the upstream`,
]);
const head = [
  "caller",
  "served",
  "refused at once",
  "failed",
  "P99 of served",
  "calls to the upstream for each",
  "connections dialled",
  "processor time for each",
  "left after 2.5 s",
];
console.log([head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n"));
writeFileSync(file("../../results/http-peers.json"), JSON.stringify(results, null, 2));
