/** Servers and clients on loopback, where each test decides what goes over the connection, and when it breaks. */
import type { Server } from "node:http";
import { connect, type Socket } from "node:net";
import { turn } from "./turn.ts";

const realNow = performance.now.bind(performance);

/** Lets the event loop turn until it is so; fails if that takes too long. */
export async function until(done: () => boolean, what = "what the test waits for"): Promise<void> {
  for (const start = realNow(); !done(); await turn()) {
    if (realNow() - start > 10_000) throw new Error(`did not come: ${what}`);
  }
}

/** Listens on any free port of loopback; returns it. */
export async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as { port: number }).port;
}

/** Closes a server with all its connections. */
export async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}

/** The text of a request: its first line, headers and body. */
export function request(line: string, headers: Readonly<Record<string, string>> = {}, body = ""): string {
  const all = { Host: "test", ...(body !== "" && { "Content-Length": String(body.length) }), ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${line} HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}

/** An answer as it came over the connection. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A connection. */
export class Client {
  readonly socket: Socket;
  closed = false;
  private text = "";

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => {
      this.text += chunk;
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
    });
  }

  static async to(port: number): Promise<Client> {
    const client = new Client(connect(port, "127.0.0.1"));
    await new Promise<void>((resolve) => client.socket.once("connect", resolve));
    return client;
  }

  send(text: string): void {
    this.socket.write(text);
  }

  /** Breaks the connection off. */
  destroy(): void {
    this.socket.destroy();
  }

  /** The answers that have come whole. (Those of the tests have a length, or none and no body.) */
  answers(): Answer[] {
    const found: Answer[] = [];
    for (let rest = this.text; ; ) {
      const end = rest.indexOf("\r\n\r\n");
      if (end < 0) return found;
      const [first = "", ...lines] = rest.slice(0, end).split("\r\n");
      const headers = Object.fromEntries(lines.map((line) => splitAt(line, ": ")));
      const length = Number(headers["content-length"] ?? 0);
      if (rest.length < end + 4 + length) return found;
      found.push({ status: Number(first.split(" ")[1]), headers, body: rest.slice(end + 4, end + 4 + length) });
      rest = rest.slice(end + 4 + length);
    }
  }

  /** Sends a request and waits for its answer. */
  async ask(text: string): Promise<Answer> {
    const before = this.answers().length;
    this.send(text);
    await until(() => this.closed || this.answers().length > before, "an answer");
    const answer = this.answers()[before];
    if (answer === undefined) throw new Error("the connection was closed without an answer");
    return answer;
  }
}

function splitAt(line: string, mark: string): [string, string] {
  const at = line.indexOf(mark);
  return [line.slice(0, at).toLowerCase(), line.slice(at + mark.length)];
}
