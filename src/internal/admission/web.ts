/**
 * Exchanges over the Request and Response of the web.
 *
 * The client has gone when the request's signal is aborted, or the host cancels the body of the response. The answer
 * has ended when its body has been read to the end; one without a body, when the handler has returned it. To know the
 * end of a body, it is handed on by a stream of ours. That is done only if something waits for the end. A body that is
 * not read to its end by then ends with the request's deadline, if it has one.
 */
import { afterFunc, type CancelScope, type Context } from "../../context.ts";
import { isObject } from "../data/args.ts";
import { Exchange, type Refusal } from "./exchange.ts";
import { listOf, TEXT_TYPE, textOf } from "./node.ts";

type Body = NonNullable<Response["body"]>;

export class WebExchange extends Exchange {
  readonly address: string;
  protected readonly handles: readonly object[];
  private readonly request: Request;

  // What the steps want to be in the answer.
  private readonly added: Record<string, string> = {};
  private unlisten: (() => void) | undefined = undefined;

  constructor(
    newScope: (parent: Context | undefined) => CancelScope,
    request: Request,
    address: string,
    handles: readonly object[],
  ) {
    super(newScope);
    this.request = request;
    this.address = address;
    this.handles = handles;
  }

  get method(): string {
    return this.request.method;
  }

  get url(): string {
    return pathOf(this.request.url);
  }

  header(name: string): string | undefined {
    return this.request.headers.get(name) ?? undefined;
  }

  override end(ok: boolean, gone?: boolean): void {
    this.unlisten?.();
    this.unlisten = undefined;
    super.end(ok, gone);
  }

  protected watch(): void {
    const { signal } = this.request;
    const onAbort = () => this.end(false, true);
    signal.addEventListener("abort", onAbort);
    this.unlisten = () => signal.removeEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  }

  protected addHeader(name: string, value: string): void {
    this.added[name] = listOf(this.added[name], value);
  }

  /** The answer of a handler, with what the steps have added. */
  finish(response: Response): Response {
    const names = Object.keys(this.added);
    const ends = this.isHeld;
    if (!ends && names.length === 0) return response;
    const ok = response.status < 500;
    if (response.status < 200) {
      this.end(ok); // The connection is no longer one of HTTP, and such a response cannot be made again.
      return response;
    }
    let { body } = response;
    if (ends) {
      // The body of an answer to HEAD is never read.
      if (body === null || this.request.method === "HEAD") this.end(ok);
      else body = this.toItsEnd(body, ok);
    }
    const answer = new Response(body, response);
    for (const name of names) answer.headers.append(name, this.added[name] as string);
    return answer;
  }

  /** The answer to a request that was refused. */
  refusal(refusal: Refusal): Response {
    return responseOf(refusal, this.added);
  }

  /** The same bytes. The exchange ends with them, or when the host stops reading. */
  private toItsEnd(body: Body, ok: boolean): Body {
    const reader = body.getReader();
    if (this.current !== undefined) afterFunc(this.current, () => this.end(false));
    return new ReadableStream(
      {
        pull: async (controller) => {
          try {
            const { value, done } = await reader.read();
            if (!done) {
              controller.enqueue(value);
              return;
            }
            controller.close();
            this.end(ok);
          } catch (error) {
            this.end(false);
            throw error;
          }
        },
        cancel: (reason) => {
          this.end(false, true);
          return reader.cancel(reason);
        },
      },
      { highWaterMark: 0 },
    );
  }
}

/** The answer to a request that was refused, with headers that are to be in any answer. */
export function responseOf({ status, headers }: Refusal, added: Readonly<Record<string, string>> = {}): Response {
  const all = new Headers(added);
  for (const [name, value] of Object.entries(headers)) all.append(name, value);
  all.set("content-type", TEXT_TYPE);
  return new Response(textOf(status), { status, headers: all });
}

/** Path and query of a URL. */
function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  if (start < 0) return "/";
  const hash = url.indexOf("#", start);
  return hash < 0 ? url.slice(start) : url.slice(start, hash);
}

/** The address that a server hands on beside a request: Deno's information, Bun's server; empty if there is none. */
export function addressOf(request: Request, ...[beside]: readonly unknown[]): string {
  if (!isObject(beside)) return "";
  const { remoteAddr } = beside as { remoteAddr?: { hostname?: unknown } };
  if (typeof remoteAddr?.hostname === "string") return remoteAddr.hostname;
  const bun = ((beside as { server?: BunServer }).server ?? beside) as Partial<BunServer>;
  return typeof bun.requestIP === "function" ? (bun.requestIP(request)?.address ?? "") : "";
}

interface BunServer {
  requestIP(request: Request): { readonly address: string } | null;
}
