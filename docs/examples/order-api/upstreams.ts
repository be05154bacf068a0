/**
 * Two flaky upstreams. Each works on a few requests at once and queues the rest; 1 in 100 it never answers, 1 in 50 it
 * answers 503, and 1 in 200 it cuts off.
 */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Something that can be closed, and its URL. */
export interface Upstream {
  readonly url: string;
  close(): void;
}

/** `random`: numbers from 0 up to 1, for the faults. */
export async function upstreams(
  random: () => number = Math.random,
): Promise<{ warehouse: Upstream; payments: Upstream }> {
  const [warehouse, payments] = await Promise.all([
    flaky(12, 15, () => ({ cents: 1990 }), random),
    flaky(6, 25, () => ({ paid: true }), random),
  ]);
  return { warehouse, payments };
}

/** Listens: `slots` requests at once, each for `ms` milliseconds. */
async function flaky(slots: number, ms: number, answer: () => object, random: () => number): Promise<Upstream> {
  const waiting: ServerResponse[] = [];
  let running = 0;

  const end = (res: ServerResponse) => {
    const fault = random();
    if (fault < 0.005) res.destroy();
    else if (fault < 0.025) res.writeHead(503).end("{}");
    else res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer()));
  };
  const next = () => {
    while (running < slots) {
      const res = waiting.shift();
      if (res === undefined) return;
      if (res.destroyed) continue; // Its client has hung up.
      running++;
      setTimeout(() => {
        running--;
        end(res);
        next();
      }, ms);
    }
  };
  const server = createServer((req, res) => {
    req.resume();
    if (random() < 0.01) return; // Never answered.
    waiting.push(res);
    next();
  });
  await listening(server);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listening(server: Server): Promise<void> {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
}
