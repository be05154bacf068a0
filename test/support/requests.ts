/** Requests as checks see them, without a server. */
import type { RequestInfoLite } from "gopark/admission";
import { background, type Context } from "gopark/context";

export interface Given {
  readonly method?: string;
  readonly url?: string;
  readonly address?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly ctx?: Context;
}

export function requestOf({
  method = "GET",
  url = "/",
  address = "1.2.3.4",
  headers = {},
  ctx,
}: Given = {}): RequestInfoLite {
  return { method, url, address, ctx: ctx ?? background(), header: (name) => headers[name.toLowerCase()] };
}
