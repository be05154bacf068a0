/** SafeCaller: a call sends its arguments as they were when it was made, however late, and in each attempt. */
import { SafeCaller, type SafeInit } from "gopark/http";
import { expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { fetchFailed, Upstream } from "./support/upstream.ts";

const BASE = "http://stock.example/tea";

/** What each of these would have sent. */
async function sentBy(requests: readonly { input: unknown; init: RequestInit }[]) {
  const sent: Sent[] = [];
  for (const { input, init } of requests) {
    const request = new Request(input as Request, { duplex: "half", ...init });
    sent.push({ url: request.url, tenant: request.headers.get("x-tenant"), body: await request.text() });
  }
  return sent;
}

const PUT = { method: "PUT" };
const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** Makes arguments, and what changes them later. */
type Case = () => [input: string | URL | Request, init: SafeInit | undefined, change: () => void];

function ofBody<B extends NonNullable<SafeInit["body"]>>(make: () => B, change: (body: B) => void): Case {
  return () => {
    const body = make();
    return [BASE, { ...PUT, body }, () => change(body)];
  };
}

interface Sent {
  readonly url: string;
  readonly tenant: string | null;
  readonly body: string;
}

const cases: [what: string, made: Case, sent: Partial<Sent>][] = [
  [
    "a URL",
    () => {
      const url = new URL(BASE);
      return [url, undefined, () => url.searchParams.set("for", "another")];
    },
    {},
  ],
  [
    "Headers",
    () => {
      const headers = new Headers({ "X-Tenant": "one" });
      return [BASE, { headers }, () => headers.set("x-tenant", "another")];
    },
    { tenant: "one" },
  ],
  [
    "a record of headers",
    () => {
      const headers: Record<string, string> = { "x-tenant": "one" };
      return [BASE, { headers }, () => Object.assign(headers, { "x-tenant": "another" })];
    },
    { tenant: "one" },
  ],
  [
    "a list of headers",
    () => {
      const headers: [string, string][] = [["x-tenant", "one"]];
      const change = () => {
        (headers[0] as [string, string])[1] = "another";
        headers.push(["x-tenant", "third"]);
      };
      return [BASE, { headers }, change];
    },
    { tenant: "one" },
  ],
  [
    "a Map of headers",
    () => {
      const headers = new Map([["x-tenant", "one"]]);
      return [BASE, { headers: headers as never }, () => headers.set("x-tenant", "another")];
    },
    { tenant: "one" },
  ],
  [
    "the headers of a Request",
    () => {
      const request = new Request(BASE, { ...PUT, headers: { "x-tenant": "one" }, body: "all of it" });
      return [request, undefined, () => request.headers.set("x-tenant", "another")];
    },
    { tenant: "one", body: "all of it" },
  ],
  [
    "a Uint8Array",
    ofBody(
      () => bytes("one"),
      (array) => array.fill(120),
    ),
    { body: "one" },
  ],
  [
    "a Buffer",
    ofBody(
      () => Buffer.from("one"),
      (buffer) => buffer.fill(120),
    ),
    { body: "one" },
  ],
  [
    "a Uint16Array",
    ofBody(
      () => new Uint16Array([0x6161]),
      (array) => array.fill(0x7878),
    ),
    { body: "aa" },
  ],
  [
    "an ArrayBuffer",
    ofBody(
      () => bytes("one").buffer,
      (buffer) => new Uint8Array(buffer).fill(120),
    ),
    { body: "one" },
  ],
  [
    "a DataView",
    ofBody(
      () => new DataView(bytes("zone").buffer, 1, 2),
      (view) => view.setInt8(0, 120),
    ),
    { body: "on" },
  ],
  [
    "URLSearchParams",
    ofBody(
      () => new URLSearchParams("a=1"),
      (params) => params.append("b", "2"),
    ),
    { body: "a=1" },
  ],
  [
    "a FormData",
    () => {
      const body = new FormData();
      body.append("a", "one");
      body.append("file", new File(["two"], "two.txt"));
      return [BASE, { ...PUT, body }, () => body.set("a", "another")];
    },
    { body: expect.stringMatching(/"a"\s+one\s.*"file"; filename="two\.txt"\s.*\stwo\s/s) },
  ],
  [
    "a text",
    ofBody(
      () => "one",
      () => {},
    ),
    { body: "one" },
  ],
  [
    "a Blob",
    ofBody(
      () => new Blob(["one"]),
      () => {},
    ),
    { body: "one" },
  ],
  [
    "an object of another kind",
    ofBody(
      () => ({ toString: () => "one" }) as never,
      () => {},
    ),
    { body: "one" },
  ],
];

test.each(cases)("%s", async (_, made, wanted) => {
  for (const how of ["queued", "tried again"]) {
    const upstream = new Upstream();
    const caller = new SafeCaller({ fetch: upstream.fetch, perHost: 1, retry: { base: 0 } });
    const blocker = how === "queued" ? caller.fetch("http://stock.example/coffee") : undefined;
    const [input, init, change] = made();
    const call = caller.fetch(input, init);
    change();
    await turn();
    if (how === "queued") upstream.last.answer(null);
    else upstream.last.fail(fetchFailed("ECONNRESET"));
    await blocker;
    upstream.script = (request) => request.answer(null);
    await call;
    const [, sent] = await sentBy(upstream.arrived);
    expect([how, sent]).toEqual([how, { url: BASE, tenant: null, body: "", ...wanted }]);
  }
});

test("headers keep how their names are written, and types of other packages stay what they are", async () => {
  class Foreign extends Map<string, string> {
    append(name: string, value: string): void {
      this.set(name, value);
    }
    override get [Symbol.toStringTag](): string {
      return "FormData";
    }
  }
  class Derived extends Headers {
    constructor(tenant: string) {
      super({ "x-tenant": tenant });
    }
  }
  const upstream = new Upstream();
  upstream.script = (request) => request.answer(null);
  const caller = new SafeCaller({ fetch: upstream.fetch });
  const body = new Foreign([["a", "1"]]);
  await caller.fetch(BASE, { ...PUT, headers: new Derived("one"), body: body as never });
  const { init } = upstream.last;
  expect(init.body).toBeInstanceOf(Foreign);
  expect(init.body).not.toBe(body);
  expect(init.body).toEqual(body);
  expect([...(init.headers as Headers)]).toEqual([["x-tenant", "one"]]);
  await caller.fetch(BASE, { headers: { "X-Tenant": "one" } });
  expect(upstream.last.init.headers).toEqual({ "X-Tenant": "one" });
  await caller.fetch(BASE);
  expect(Object.keys(upstream.last.init)).toEqual(["signal"]);
  await caller.fetch(BASE, { ...PUT, body: Buffer.from("one") as never });
  expect(upstream.last.init.body).toBeInstanceOf(Buffer);
});
