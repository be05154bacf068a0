/** A TCP proxy in front of a server, whose connections can be cut, or be silent for a while. No byte is dropped. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>) {
    this.port = (server.address() as { port: number }).port;
    this.#server = server;
    this.#sockets = sockets;
  }

  static async start(target: number): Promise<TcpProxy> {
    const sockets = new Set<Socket>();
    const listener = createServer((downstream) => {
      const upstream = connect(target, "127.0.0.1");
      for (const [from, to] of [
        [downstream, upstream],
        [upstream, downstream],
      ] as const) {
        sockets.add(from);
        from.setNoDelay();
        from.pipe(to);
        from
          .on("error", () => {})
          .on("close", () => {
            sockets.delete(from);
            to.destroy();
          });
      }
    }).listen(0, "127.0.0.1");
    await once(listener, "listening");
    return new TcpProxy(listener, sockets);
  }

  /** Cuts every connection; new ones are let through. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async end(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, "close");
  }
}
