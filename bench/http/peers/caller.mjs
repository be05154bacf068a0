/**
 * Sends calls at a constant rate through one of the callers, and prints what became of them, as JSON:
 * `node caller.mjs NAME URL`. Open loop: a call is sent when it is due, whether or not earlier ones have ended.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { callers } from "./callers.mjs";

const RATE = 400;
const SECONDS = 8;
/** A caller that waits longer has lost interest. */
const PATIENCE = 1100;

const [name, url] = process.argv.slice(2);
const call = await callers[name]();
const took = [];
const outcomes = { served: 0, refused: 0, failed: 0, late: 0 };
const errors = {};
let inFlight = 0;
let unhandled = 0;
process.on("unhandledRejection", () => unhandled++);

async function one() {
  const began = performance.now();
  inFlight++;
  try {
    const text = await call(url);
    if (text !== "ok") throw new Error(`answered ${text}`);
    const ms = performance.now() - began;
    if (ms <= PATIENCE) took.push(ms);
    outcomes[ms <= PATIENCE ? "served" : "late"]++;
  } catch (err) {
    // Refused at once is not a failure that somebody has waited for.
    outcomes[performance.now() - began < 10 ? "refused" : "failed"]++;
    const key = err?.name ?? String(err);
    errors[key] = (errors[key] ?? 0) + 1;
  } finally {
    inFlight--;
  }
}

const cpu = process.cpuUsage();
const began = performance.now();
for (let sent = 0; sent < RATE * SECONDS; ) {
  const due = Math.min(RATE * SECONDS, Math.floor(((performance.now() - began) / 1000) * RATE) + 1);
  while (sent < due) {
    void one();
    sent++;
  }
  await sleep(1);
}
await sleep(2500);
const used = process.cpuUsage(cpu);
took.sort((a, b) => a - b);
const timers = process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
console.log(
  JSON.stringify({
    offered: RATE * SECONDS,
    ...outcomes,
    errors,
    p99: took[Math.ceil(took.length * 0.99) - 1],
    cpu: (used.user + used.system) / 1000 / (RATE * SECONDS),
    inFlight,
    timers,
    unhandled,
  }),
);
process.disconnect?.();
process.exit();
