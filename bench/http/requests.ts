/**
 * The processor time of a request: a bare handler of `node:http`, and the same one behind the steps of
 * `gopark/admission`. The servers are processes that take turns in short slices. What else runs on the machine makes a
 * slice slower and never faster, so the fastest twentieth of them counts.
 */
import { type ChildProcess, fork } from "node:child_process";
import { connect, type Socket } from "node:net";
import { quantile } from "../support/stats.ts";
import type { What } from "./server.ts";

const CONNECTIONS = 16;
const REQUEST = "GET /orders?item=tea HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/** What is compared, beside a bare handler. */
const COMPARED: Readonly<Partial<Record<What, string>>> = {
  headers: "a bare handler that sets two headers of this length",
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

export async function measureRequests(rounds: number, requests: number): Promise<RequestRow[]> {
  const names = ["bare", ...Object.keys(COMPARED)] as What[];
  const servers: Server[] = [];
  try {
    for (const name of names) servers.push(await Server.start(name));
    for (const server of servers) await server.measure(10 * requests);
    const times = new Map<What, number[]>(names.map((name) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      // From either end in turn, so that none always comes first.
      const order = round % 2 === 0 ? servers : [...servers].reverse();
      for (const server of order) times.get(server.what)?.push(await server.measure(requests));
    }
    const cost = (name: What) => quantile(times.get(name) as number[], 0.05);
    return names.map((name) => {
      return { what: COMPARED[name] ?? "a bare handler", us: cost(name), ratio: cost(name) / cost("bare") };
    });
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
