/** Servers of Redis, each on ports and in a folder of its own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
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

/** Starts a server; resolves when it has said `ready`. */
async function started(args: readonly string[], ready: string): Promise<ChildProcess> {
  const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] });
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line);
    if (line.includes(ready)) break;
  }
  if (!said.at(-1)?.includes(ready)) throw new Error(`redis-server does not start:\n${said.join("\n")}`);
  child.stdout.resume();
  return child;
}

/** Ends it at once, as a failure of the machine would. */
async function killed(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
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
    this.#process = await started([...args, ...this.#options], "Ready to accept connections");
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
    if (child !== undefined) await killed(child);
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A sentinel that watches over one server and its replicas, under a name, and is enough for a failover by itself. */
export class Sentinel {
  readonly port: number;
  readonly #folder: string;
  readonly #process: ChildProcess;

  private constructor(port: number, folder: string, process: ChildProcess) {
    this.port = port;
    this.#folder = folder;
    this.#process = process;
  }

  /** Starts it. A server that is silent for `downAfter` milliseconds is taken to be down. */
  static async start(name: string, main: Server, downAfter: number): Promise<Sentinel> {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), "gopark-sentinel-"));
    const config = join(folder, "sentinel.conf"); // The sentinel writes it anew.
    writeFileSync(
      config,
      [
        `port ${port}`,
        "bind 127.0.0.1",
        `dir ${folder}`,
        `sentinel monitor ${name} 127.0.0.1 ${main.port} 1`,
        `sentinel down-after-milliseconds ${name} ${downAfter}`,
        `sentinel failover-timeout ${name} 5000`,
        "",
      ].join("\n"),
    );
    return new Sentinel(port, folder, await started([config, "--sentinel"], "+monitor"));
  }

  async end(): Promise<void> {
    await killed(this.#process);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
