/**
 * The upstream of the comparison: `node upstream.mjs`, with a channel to its parent. It prints nothing; it sends its
 * port, and answers the message "stats" with what it has seen.
 *
 * It works on 24 calls at once, 20 ms each, and queues the rest; it drops a queued call whose client has left. Of the
 * calls 1 in 100 is never answered, 1 in 100 reset, 1 in 200 stops within its body, 1 in 50 is answered 503. From the
 * third to the fifth second after the first call it is fifty times as slow: the outage.
 */
import { createServer } from "node:http";

const SLOTS = 24;
const SERVICE = 20;
const OUTAGE = { from: 3000, to: 5000, slowdown: 50 };

let calls = 0;
let connections = 0;
let sockets = 0;
let dropped = 0;
let running = 0;
let first;
const queue = [];
/** Calls that have neither been answered nor left by their client. */
const unanswered = new Set();

/** A number in [0, 1) for the n-th call: the same faults for each contender, as far as it sends the same calls. */
function chance(n) {
  let x = (n * 0x9e3779b1) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0;
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
}

const server = createServer({ keepAliveTimeout: 60_000 }, (req, res) => {
  first ??= performance.now();
  const fault = chance(++calls);
  unanswered.add(res);
  res.on("close", () => unanswered.delete(res));
  if (fault < 0.01) return; // Never answered.
  if (fault < 0.02) {
    req.socket.destroy();
    return;
  }
  queue.push({ res, fault });
  next();
});
server.on("connection", (socket) => {
  connections++;
  sockets++;
  socket.on("close", () => sockets--);
});

function next() {
  while (running < SLOTS && queue.length > 0) {
    const { res, fault } = queue.shift();
    if (res.destroyed) {
      dropped++;
      continue;
    }
    running++;
    const at = performance.now() - first;
    const slow = at >= OUTAGE.from && at < OUTAGE.to ? OUTAGE.slowdown : 1;
    setTimeout(() => {
      running--;
      answer(res, fault);
      next();
    }, SERVICE * slow);
  }
}

function answer(res, fault) {
  if (fault < 0.04) {
    res.writeHead(503).end("unavailable");
  } else if (fault < 0.045) {
    res.writeHead(200, { "content-length": "2" }).write("o"); // And no more.
  } else {
    res.writeHead(200, { "content-length": "2" }).end("ok");
  }
}

process.on("message", () => process.send({ calls, connections, sockets, dropped, unanswered: unanswered.size }));
process.on("disconnect", () => process.exit());
server.listen(0, "127.0.0.1", 4096, () => process.send({ port: server.address().port }));
