/** Exchanges over the requests and replies of Fastify. */
import type { CancelScope, Context } from "../../context.ts";
import type { Refusal } from "./exchange.ts";
import { listOf, NodeExchange, type NodeRequest, type NodeResponse, TEXT_TYPE, textOf } from "./node.ts";

/** Fastify's request, as far as it is needed. */
export interface FastifyRequest {
  readonly raw: NodeRequest;
}

/** Fastify's reply, as far as it is needed. */
export interface FastifyReply {
  readonly raw: NodeResponse;
  code(status: number): unknown;
  getHeader(name: string): unknown;
  header(name: string, value: string): unknown;
  send(text: string): unknown;
}

export class FastifyExchange extends NodeExchange {
  private readonly reply: FastifyReply;

  constructor(newScope: (parent: Context | undefined) => CancelScope, request: FastifyRequest, reply: FastifyReply) {
    super(newScope, request.raw, reply.raw, [request, request.raw]);
    this.reply = reply;
  }

  /** By the reply, so that hooks and handlers see it there. */
  protected override addHeader(name: string, value: string): void {
    const { reply } = this;
    if (!reply.raw.headersSent) reply.header(name, listOf(reply.getHeader(name), value));
  }

  /** Answers a request that was refused. */
  refuse({ status, headers }: Refusal): void {
    for (const [name, value] of Object.entries(headers)) this.addHeader(name, value);
    this.reply.code(status);
    this.reply.header("Content-Type", TEXT_TYPE);
    this.reply.send(textOf(status));
  }
}
