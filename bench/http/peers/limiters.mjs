/**
 * Limiters side by side, each in a process of its own, behind one proxy: `node bench/http/peers/limiters.mjs`. Prints
 * a table: the processor time of a request under autocannon, how many of a burst at the edge of a window are admitted,
 * and the memory that a client takes.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import autocannon from "autocannon";
import { names } from "./limiter.mjs";

const ROUNDS = 9;
const CLIENTS = 50_000;
const LIMIT = 100;

/** Calls `use` with the port of a server, and a function that asks it what it has cost. */
async function served(name, limit, window, use) {
  const server = fork(new URL("limiter.mjs", import.meta.url), [name, String(limit), String(window)], {
    execArgv: ["--expose-gc"],
  });
  try {
    const [{ port }] = await once(server, "message");
    return await use(port, async () => {
      server.send("stats");
      return (await once(server, "message"))[0];
    });
  } finally {
    server.kill();
  }
}

/** Sends requests of these clients on one connection, all at once, and counts the statuses. */
async function send(port, clients) {
  const socket = connect(port, "127.0.0.1");
  const head = (client) => `GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: ${client}\r\n\r\n`;
  const counts = {};
  let rest = "";
  let left = clients.length;
  socket.write(clients.map(head).join(""));
  for await (const chunk of socket.setEncoding("latin1")) {
    rest += chunk;
    const found = [...rest.matchAll(/HTTP\/1\.1 (\d{3}) /g)];
    for (const [, status] of found) counts[status] = (counts[status] ?? 0) + 1;
    left -= found.length;
    if (left === 0) break;
    // A status line may come in two pieces.
    if (found.length > 0) rest = rest.slice(found.at(-1).index + 1);
  }
  socket.destroy();
  return counts;
}

/** The processor time of a request in microseconds. */
function cost(name) {
  return served(name, 1e6, 1000, async (port, stats) => {
    const load = (duration) =>
      autocannon({
        url: `http://127.0.0.1:${port}`,
        connections: 20,
        duration,
        headers: { "x-forwarded-for": "1.2.3.4" },
      });
    await load(2); // Until it is compiled.
    const before = await stats();
    const { requests } = await load(4);
    return (((await stats()).cpu - before.cpu) / requests.total) * 1000;
  });
}

/**
 * Of 200 requests of one client within 200 ms, at the edge of a window that its first request began: those admitted.
 */
function edge(name) {
  return served(name, LIMIT, 1000, async (port) => {
    const burst = (n) => send(port, Array(n).fill("1.2.3.4"));
    await send(port, Array(50).fill("5.6.7.8"));
    await burst(1);
    await sleep(900);
    const early = await burst(LIMIT - 1);
    await sleep(150);
    const late = await burst(LIMIT);
    return (early[200] ?? 0) + (late[200] ?? 0);
  });
}

/** The bytes that a client takes in memory, for as long as an hour. */
function memory(name) {
  return served(name, LIMIT, 3_600_000, async (port, stats) => {
    const from = (first, n) =>
      Array.from({ length: n }, (_, i) => `10.${(first + i) >> 16}.${((first + i) >> 8) & 255}.${(first + i) & 255}`);
    await send(port, from(1 << 20, 2000));
    const before = await stats();
    for (let i = 0; i < CLIENTS; i += 1000) await send(port, from(i, 1000));
    return ((await stats()).heap - before.heap) / CLIENTS;
  });
}

const quantile = (all, share) => all.toSorted((a, b) => a - b)[Math.floor((all.length - 1) * share)];
const costs = new Map(names.map((name) => [name, []]));
for (let round = 1; round <= ROUNDS; round++) {
  for (const name of names) {
    console.error(`processor time, round ${round} of ${ROUNDS}: ${name}`);
    costs.get(name).push(await cost(name));
  }
}
const lines = [
  [
    "limiter",
    "processor time of a request (quartiles)",
    "admitted of a burst, limit 100 a second",
    "memory of a client",
  ],
];
lines.push(lines[0].map(() => "---"));
for (const name of names) {
  console.error(`edges and memory: ${name}`);
  const [low, median, high] = [0.25, 0.5, 0.75].map((share) => quantile(costs.get(name), share).toFixed(1));
  const micros = `${median} µs (${low} to ${high})`;
  lines.push(
    name.endsWith("no limiter")
      ? [name, micros, "all", "–"]
      : [name, micros, `${await edge(name)} of 199`, `${Math.round(await memory(name))} bytes`],
  );
}
console.log(lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n"));
