/** Exchanges over the requests and replies of Fastify. */
import type { CancelScope, Context } from "../../context.ts";
import type { Refusal } from "./exchange.ts";
import { errorOf, listOf, type NodeRequest, type NodeResponse, ServedExchange, TEXT_TYPE, textOf } from "./node.ts";

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

export class FastifyExchange extends ServedExchange {
  private readonly reply: FastifyReply;
  private readonly hookDone: (error?: Error) => void;

  constructor(
    newScope: (parent: Context | undefined) => CancelScope,
    request: FastifyRequest,
    reply: FastifyReply,
    done: (error?: Error) => void,
  ) {
    super(newScope, request.raw, reply.raw, [request, request.raw]);
    this.reply = reply;
    this.hookDone = done;
  }

  /** By the reply, so that hooks and handlers see it there. */
  protected override addHeader(name: string, value: string): void {
    const { reply } = this;
    if (!reply.raw.headersSent) reply.header(name, listOf(reply.getHeader(name), value));
  }

  protected admitted(): void {
    this.hookDone();
  }

  protected failed(error: unknown): void {
    this.hookDone(errorOf(error));
  }

  protected override refused({ status, headers }: Refusal): void {
    for (const [name, value] of Object.entries(headers)) this.addHeader(name, value);
    this.reply.code(status);
    this.reply.header("content-type", TEXT_TYPE);
    this.reply.send(textOf(status));
  }
}
