/** Servers of Redis, each on ports and in a folder of its own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";

/** Whether there is a server to test with. `npm run redis` says so if not. */
export const hasRedis: boolean = spawnSync("redis-server", ["--version"]).status === 0;

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** What tests set of a client. */
export interface ClientOptions {
  readonly keyPrefix?: string;
  readonly username?: string;
  readonly password?: string;
}

export class Server {
  readonly port: number;
  readonly #folder = mkdtempSync(join(tmpdir(), "gopark-redis-"));
  readonly #options: readonly string[];
  readonly #clients: { disconnect(): void }[] = [];
  #process: ChildProcess | undefined = undefined;

  private constructor(port: number, options: readonly string[]) {
    this.port = port;
    this.#options = options;
  }

  /** Starts a server that keeps nothing on disk, unless the options say so. */
  static async start(...options: string[]): Promise<Server> {
    const server = new Server(await freePort(), options);
    await server.run();
    return server;
  }

  /** Starts it again, on the same port and in the same folder. */
  async run(): Promise<void> {
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.#folder, "--save", ""];
    const child = spawn("redis-server", [...args, ...this.#options], { stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    const said: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      said.push(line);
      if (line.includes("Ready to accept connections")) break;
    }
    if (!said.at(-1)?.includes("Ready")) throw new Error(`redis-server does not start:\n${said.join("\n")}`);
    child.stdout.resume();
  }

  /** A client that connects again soon, and says nothing of errors. `disconnect` is called at the end. */
  client(options: ClientOptions = {}): Redis {
    return this.clientAt(this.port, options);
  }

  clientAt(port: number, options: ClientOptions = {}): Redis {
    const client = new Redis(port, "127.0.0.1", { retryStrategy: () => 20, ...options });
    client.on("error", () => {});
    this.#clients.push(client);
    return client;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  /** Ends it at once, as a failure of the machine would. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
