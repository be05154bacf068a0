/** A TCP proxy in front of a server, whose connections can be cut, or go to another server. No byte is dropped. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  readonly #target: { port: number };

  private constructor(server: Server, sockets: Set<Socket>, target: { port: number }) {
    this.port = (server.address() as { port: number }).port;
    this.#server = server;
    this.#sockets = sockets;
    this.#target = target;
  }

  static async start(port: number): Promise<TcpProxy> {
    const sockets = new Set<Socket>();
    const target = { port };
    const listener = createServer((downstream) => {
      const upstream = connect(target.port, "127.0.0.1");
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
    return new TcpProxy(listener, sockets, target);
  }

  /** Cuts every connection; new ones go to the server on this port. */
  moveTo(port: number): void {
    this.#target.port = port;
    this.cut();
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
