/**
 * The processor time of a request: a bare handler of `node:http`, and the same one behind the steps of
 * `gopark/admission`. The servers are processes that take short turns, so that what else runs on the machine slows down
 * all of them. They are started again and again, since one process may be faster than another of the same program by
 * a fifth, as long as it lives. There are two bare ones: their mean is compared with, and their difference says how far
 * to trust the rest.
 */
import { type ChildProcess, fork } from "node:child_process";
import { connect, type Socket } from "node:net";
import { median } from "../support/stats.ts";
import type { What } from "./server.ts";

const CONNECTIONS = 16;
const REQUEST = "GET /orders?item=tea HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/** What is compared with a bare handler. */
const COMPARED: Readonly<Partial<Record<What, string>>> = {
  again: "nothing, a second time",
  headers: "two headers of this length, set by the handler",
  rateLimit: "`rateLimit`",
  shed: "`shed`",
  both: "`rateLimit`, `shed`",
  deadline: "`deadline`",
  all: "`deadline`, `rateLimit`, `shed`",
};

interface Message {
  readonly port?: number;
  readonly used?: number;
}

class Server {
  readonly what: What;
  private readonly child: ChildProcess;
  private readonly sockets: Socket[] = [];

  private constructor(what: What, child: ChildProcess) {
    this.what = what;
    this.child = child;
  }

  static async start(what: What): Promise<Server> {
    const child = fork(new URL("./server.js", import.meta.url), [what]);
    const server = new Server(what, child);
    const { port } = await server.message();
    for (let i = 0; i < CONNECTIONS; i++) {
      const socket = connect(port as number, "127.0.0.1");
      await new Promise((resolve) => socket.once("connect", resolve));
      server.sockets.push(socket);
    }
    return server;
  }

  /** Sends so many requests; returns the processor time of one, in microseconds. */
  async measure(requests: number): Promise<number> {
    const before = await this.used();
    await Promise.all(this.sockets.map((socket) => ask(socket, requests / CONNECTIONS)));
    return ((await this.used()) - before) / requests;
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.child.disconnect();
  }

  private async used(): Promise<number> {
    const answer = this.message();
    this.child.send("used");
    return (await answer).used as number;
  }

  private message(): Promise<Message> {
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null) => reject(new Error(`the server ${this.what} ended with ${code}`));
      this.child.once("exit", onExit);
      this.child.once("message", (message) => {
        this.child.off("exit", onExit);
        resolve(message as Message);
      });
    });
  }
}

/** Sends n requests one after the other. An answer ends with its body, "ok". */
function ask(socket: Socket, n: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = n;
    const onData = (chunk: Buffer) => {
      if (!chunk.includes(" 200 OK\r\n")) reject(new Error(`answered ${chunk.toString().slice(0, 40)}`));
      if (--left > 0) {
        socket.write(REQUEST);
        return;
      }
      socket.off("data", onData);
      resolve();
    };
    socket.on("data", onData);
    socket.write(REQUEST);
  });
}

/** One row: microseconds, and the ratio to the bare handler. */
export interface RequestRow {
  readonly what: string;
  readonly us: number;
  readonly ratio: number;
}

/** Starts the servers anew so many times, and lets each of them take so many turns of 800 requests. */
export async function measureRequests(starts: number, turns: number): Promise<RequestRow[]> {
  const names = ["bare", ...Object.keys(COMPARED)] as What[];
  const costs = new Map<What, number[]>(names.map((name) => [name, []]));
  for (let start = 0; start < starts; start++) {
    // Each comes first, second, ... in turn.
    const order = names.map((_, i) => names[(i + start) % names.length] as What);
    for (const [name, cost] of await measureOnce(order, turns)) costs.get(name)?.push(cost);
  }
  const of = (name: What) => costs.get(name) as number[];
  const bare = of("bare").map((us, i) => (us + (of("again")[i] as number)) / 2);
  return names.map((name) => {
    const ratio = median(of(name).map((us, i) => us / (bare[i] as number)));
    return { what: COMPARED[name] ?? "nothing", us: median(of(name)), ratio };
  });
}

/** What a request costs in each server, in microseconds: the median of its turns. */
async function measureOnce(names: readonly What[], turns: number): Promise<[What, number][]> {
  const REQUESTS = 800;
  const servers: Server[] = [];
  try {
    for (const name of names) servers.push(await Server.start(name));
    for (const server of servers) await server.measure(15 * REQUESTS);
    const times = servers.map((server) => ({ server, us: [] as number[] }));
    for (let turn = 0; turn < turns; turn++) {
      for (const { server, us } of times) us.push(await server.measure(REQUESTS));
      times.reverse();
    }
    return times.map(({ server, us }) => [server.what, median(us)]);
  } finally {
    for (const server of servers) server.stop();
  }
}

export function requestTable(rows: readonly RequestRow[]): string[] {
  return [
    "| before the handler | processor time of a request | compared with a bare handler |",
    "| --- | ---: | ---: |",
    ...rows.map(({ what, us, ratio }) => `| ${what} | ${us.toFixed(1)} µs | ${ratio.toFixed(2)} |`),
  ];
}
