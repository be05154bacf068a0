/**
 * Calls a server that fails in every way, many thousand times, and checks that nothing is left behind.
 *
 *   npm run soak                 200 000 calls, some minutes
 *   npm run soak -- 20000        as many
 *   npm run soak -- 20000 7      from a seed
 *
 * The server runs in a thread of its own: it answers, hangs, resets, sends garbage, stops in the body. Callers cancel
 * at random, read the body in all ways or not at all. At the end no slot is held, no call waits, no context, timer or
 * wait of the library is left, no rejection was unhandled, no socket is open, and the heap is not larger than after the
 * first tenth of the calls.
 */
import { createServer } from "node:http";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { background, withTimeout } from "gopark/context";
import { CallError, SafeCaller } from "gopark/http";
import { counters } from "gopark/leak";

/** Seeded pseudo-random numbers (mulberry32). */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const FAULTS = {
  hang: () => {},
  reset: (req) => req.socket.resetAndDestroy(),
  garbage: (req) => req.socket.end("not HTTP\r\n\r\n"),
  stall: (_, res) => res.write("some"),
  resetbody: (req, res) =>
    res.writeHead(200, { "content-length": 100 }).write("some", () => req.socket.resetAndDestroy()),
  short: (req, res) => res.writeHead(200, { "content-length": 100 }).write("some", () => req.socket.end()),
  badchunk: (req) => req.socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nxyz\r\n"),
  busy: (_, res) => res.writeHead(503).end("busy"),
  broken: (_, res) => res.writeHead(500).end("broken"),
  nocontent: (_, res) => res.writeHead(204).end(),
  redirect: (_, res) => res.writeHead(302, { location: "/fine" }).end(),
  large: (_, res) => res.end(Buffer.alloc(200_000, "x")),
  slow: (_, res) => setTimeout(() => res.end("slow"), 20),
};

function serve() {
  const server = createServer((req, res) => {
    const fault = FAULTS[req.url.slice(1)];
    if (fault === undefined) res.end('{"ok":true}');
    else fault(req, res);
  });
  server.keepAliveTimeout = 1000;
  server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));
  parentPort.on("message", (message) => {
    if (message === "count") server.getConnections((_, count) => parentPort.postMessage(count));
    else process.exit(0);
  });
}

function ask(worker, message) {
  return new Promise((resolve) => {
    worker.once("message", resolve);
    if (message !== undefined) worker.postMessage(message);
  });
}

/** What callers do with an answer. */
const USES = [
  (response) => response.text(),
  (response) => response.json(),
  (response) => response.arrayBuffer(),
  (response) => Promise.all([response.clone().text(), response.text()]),
  async (response) => {
    for await (const _ of response.body ?? []);
  },
  async (response) => {
    for await (const _ of response.body ?? []) break;
  },
  (response) => response.body?.cancel(),
  () => {}, // Never read: the deadline or the collector ends it.
];

async function main(calls, seed) {
  const worker = new Worker(new URL(import.meta.url));
  const base = `http://127.0.0.1:${await ask(worker)}`;
  const random = randomOf(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const faults = Object.keys(FAULTS);
  const unhandled = [];
  process.on("unhandledRejection", (reason) => unhandled.push(reason));
  const caller = new SafeCaller({
    timeout: 250,
    perHost: 64,
    queue: 1000,
    key: (url) => url.pathname, // A fault must not take the slots of the others.
    retry: { base: 5 },
    hedge: { after: 50 },
  });
  const outcomes = new Map();

  async function one() {
    const path = random() < 0.7 ? "fine" : pick(faults);
    const controller = new AbortController();
    const timer = random() < 0.1 ? setTimeout(() => controller.abort(), random() * 40) : undefined;
    const [ctx, cancel] = withTimeout(background(), 10 + random() * 500);
    let outcome = "served";
    try {
      const method = pick(["GET", "GET", "GET", "POST", "PUT"]);
      const response = await caller.fetch(`${base}/${path}`, { method, ctx, signal: controller.signal });
      await pick(USES)(response);
    } catch (error) {
      if (!(error instanceof CallError || error instanceof SyntaxError)) throw error;
      outcome = error.name;
    } finally {
      clearTimeout(timer);
      cancel();
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }

  const started = performance.now();
  let left = calls;
  let heapAtTenth;
  const lane = async () => {
    while (left-- > 0) {
      await one();
      if (heapAtTenth === undefined && left < calls * 0.9) heapAtTenth = heapNow();
    }
  };
  await Promise.all(Array.from({ length: 100 }, lane));
  const seconds = (performance.now() - started) / 1000;

  await sleep(1000); // Longer than every deadline.
  const heapAtEnd = heapNow();
  const { running, queued } = caller.stats();
  // The server closes an idle connection after a second, and fetch one that it dialled and had no use for after four.
  let sockets = await ask(worker, "count");
  for (let second = 0; sockets > 0 && second < 10; second++) {
    await sleep(1000);
    sockets = await ask(worker, "count");
  }
  const counted = Object.entries(counters()).filter(([, n]) => n > 0);
  await caller.close();

  const total = [...outcomes.values()].reduce((a, b) => a + b, 0);
  const shown = [...outcomes].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${name} ${n}`);
  console.log(`seed ${seed}: ${total} calls in ${seconds.toFixed(0)} s: ${shown.join(", ")}`);
  console.log(`heap after a tenth ${mib(heapAtTenth)}, at the end ${mib(heapAtEnd)}`);
  const wrong = [
    total !== calls && `${calls - total} calls have not ended`,
    running + queued > 0 && `${running} requests run and ${queued} calls wait`,
    sockets > 0 && `${sockets} sockets are open`,
    counted.length > 0 && `left in the library: ${counted.map(([kind, n]) => `${n} ${kind}`).join(", ")}`,
    unhandled.length > 0 && `${unhandled.length} unhandled rejections, the first: ${unhandled[0]}`,
    heapAtEnd > heapAtTenth * 1.2 + 4 * 2 ** 20 && "the heap has grown",
  ].filter(Boolean);
  for (const line of wrong) console.log(`WRONG: ${line}`);
  if (wrong.length === 0) console.log("nothing is left: no slot, call, socket, context, timer or wait");
  process.exitCode = wrong.length === 0 ? 0 : 1;
  worker.postMessage("stop");
}

function heapNow() {
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

function mib(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function sleep(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

if (isMainThread) await main(Number(process.argv[2] ?? 200_000), Number(process.argv[3] ?? Date.now() % 1e9));
else serve();
