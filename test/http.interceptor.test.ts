/** The interceptor, over a dispatcher that the test answers by hand; handlers of both of undici's styles. */
import { Readable } from "node:stream";
import {
  BreakerOpenError,
  CallTimeoutError,
  type InterceptorOptions,
  interceptor,
  NetworkError,
  QueueFullError,
  QueueTimeoutError,
} from "gopark/http";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { counters } from "../src/leak.ts";
import { collectReported } from "./support/reported.ts";
import { turn } from "./support/turn.ts";
import { errorOf } from "./support/upstream.ts";

type Style = "old" | "new";
type Callbacks = Record<string, (...args: unknown[]) => unknown>;

/** A request that has reached the dispatcher. */
class Dispatched {
  readonly options: object;
  readonly handler: Callbacks;
  readonly style: Style;
  readonly log: unknown[] = [];

  // Of the new style.
  readonly controller = {
    abort: (reason: unknown) => this.log.push(["abort", reason]),
    pause: () => this.log.push("pause"),
    resume: () => this.log.push("resume"),
    rawHeaders: ["a", "b"],
    rawTrailers: ["c", "d"],
  };

  constructor(options: object, handler: Callbacks, style: Style) {
    this.options = options;
    this.handler = handler;
    this.style = style;
  }

  private call(oldName: string, newName: string, ...args: unknown[]): unknown {
    return this.style === "old" ? this.handler[oldName]?.(...args) : this.handler[newName]?.(this.controller, ...args);
  }

  start(context: object = { history: [] }): void {
    if (this.style === "old") this.handler.onConnect?.(this.controller.abort, context);
    else this.handler.onRequestStart?.(this.controller, context);
  }

  headers(status = 200): unknown {
    return this.call("onHeaders", "onResponseStart", status, [], "text");
  }

  data(): unknown {
    return this.call("onData", "onResponseData", "chunk");
  }

  end(): void {
    this.call("onComplete", "onResponseEnd", []);
  }

  fail(error: unknown): void {
    this.call("onError", "onResponseError", error);
  }

  answer(status = 200): void {
    this.start();
    this.headers(status);
    this.end();
  }
}

/** A dispatcher behind an interceptor, and what handlers of a style have seen. */
function made(style: Style, options: InterceptorOptions = {}) {
  const arrived: Dispatched[] = [];
  const dispatch = interceptor(options)((request: object, handler: object) => {
    arrived.push(new Dispatched(request, handler as Callbacks, style));
    return true;
  });
  const send = (options: object = { origin: "http://stock.example", path: "/tea", method: "GET" }) => {
    const seen: unknown[] = [];
    let abort = (_?: unknown): void => {};
    let given: Record<string, unknown> & { pause(): void; resume(): void } = {} as never;
    const note =
      (name: string, result?: unknown) =>
      (...args: unknown[]) => {
        seen.push([name, ...args.filter((arg) => arg !== given)]);
        return result;
      };
    const handler =
      style === "old"
        ? {
            onConnect: (by: typeof abort, context: object) => {
              abort = by;
              seen.push(["start", context]);
            },
            onHeaders: note("headers", true),
            onData: note("data", false),
            onComplete: note("end"),
            onError: note("error"),
            onUpgrade: note("upgrade"),
            onBodySent: note("sent"),
          }
        : {
            onRequestStart: (controller: typeof given & { abort: typeof abort }, context: object) => {
              given = controller;
              abort = (reason) => controller.abort(reason);
              seen.push(["start", context]);
            },
            onResponseStart: note("headers"),
            onResponseData: note("data"),
            onResponseEnd: note("end"),
            onResponseError: note("error"),
            onRequestUpgrade: note("upgrade"),
            onBodySent: note("sent"),
          };
    expect(dispatch(options as never, handler as never)).toBe(true);
    return {
      seen,
      names: () => seen.map((entry) => (entry as unknown[])[0]),
      error: () => (seen.find((entry) => (entry as unknown[])[0] === "error") as unknown[] | undefined)?.[1],
      abort: (reason?: unknown) => abort(reason),
      controller: () => given,
    };
  };
  return { arrived, send, dispatch };
}

beforeEach(() => {
  vi.useFakeTimers();
});

const held = () => [counters().context, counters()["semaphore unit"]];

describe.each(["old", "new"] as const)("a handler of the %s style", (style) => {
  test("is started at once, sees what undici does, and the request counts until its end", async () => {
    const { arrived, send } = made(style, { perHost: 1 });
    const first = send();
    const second = send();
    expect([first.names(), second.names()]).toEqual([["start"], ["start"]]);
    await turn();
    expect(arrived.length).toBe(1);
    arrived[0]?.start();
    arrived[0]?.handler.onBodySent?.("part");
    expect(arrived[0]?.headers()).toBe(style === "old" ? true : undefined);
    expect(arrived[0]?.data()).toBe(style === "old" ? false : undefined);
    await turn();
    expect(arrived.length).toBe(1);
    arrived[0]?.end();
    expect(first.names()).toEqual(["start", "sent", "headers", "data", "end"]);
    expect(first.seen[0]).toEqual(["start", { history: [] }]);
    expect(first.seen[2]).toEqual(["headers", 200, [], "text"]);
    await turn();
    expect(arrived.length).toBe(2);
    arrived[1]?.answer();
    expect(second.names()).toEqual(["start", "headers", "end"]);
    expect(held()).toEqual([0, 0]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that aborts in the queue leaves it, and those behind it go on", async () => {
    const { arrived, send } = made(style, { perHost: 1 });
    send();
    const second = send();
    const third = send();
    await turn();
    const reason = new Error("no longer wanted");
    second.abort(reason);
    expect(second.error()).toBe(reason);
    second.abort(new Error("again"));
    arrived[0]?.answer();
    await turn();
    expect(arrived.length).toBe(2);
    arrived[1]?.answer();
    expect(third.names()).toEqual(["start", "headers", "end"]);
    expect(second.names()).toEqual(["start", "error"]);
    expect(held()).toEqual([0, 0]);
  });

  test("that aborts as it is started is never sent", async () => {
    const dispatch = vi.fn((_options: object, _handler: object) => true);
    const errors: unknown[] = [];
    const handler =
      style === "old"
        ? {
            onConnect: (abort: (reason: unknown) => void) => abort("at once"),
            onError: (error: unknown) => errors.push(error),
          }
        : {
            onRequestStart: (controller: { abort(reason: unknown): void }) => controller.abort("at once"),
            onResponseError: (_: unknown, error: unknown) => errors.push(error),
          };
    interceptor()(dispatch)({ origin: "http://a.example", path: "/" }, handler);
    await turn();
    expect([errors, dispatch.mock.calls.length, held()]).toEqual([["at once"], 0, [0, 0]]);
  });

  test("that aborts later: undici's request is aborted, now or when it starts, and holds its slot until it has ended", async () => {
    for (const started of [true, false]) {
      const { arrived, send } = made(style);
      const one = send();
      await turn();
      if (started) arrived[0]?.start();
      one.abort("why");
      expect(one.error()).toBe("why");
      expect(counters()["semaphore unit"]).toBe(2);
      if (!started) arrived[0]?.start();
      expect(arrived[0]?.log).toEqual([["abort", "why"]]);
      arrived[0]?.fail("why");
      expect(one.names()).toEqual(["start", "error"]);
      expect(held()).toEqual([0, 0]);
    }
  });

  test("gets the time-out with its phase", async () => {
    for (const phase of ["queue", "connect", "headers", "early hints", "body"] as const) {
      const { arrived, send } = made(style, { timeout: 1000, queueTimeout: 5000, perHost: 1 });
      const blocker = phase === "queue" ? send() : undefined;
      const one = send();
      await turn();
      const its = arrived.at(-1);
      if (phase === "headers" || phase === "early hints" || phase === "body") its?.start();
      if (phase === "early hints") its?.headers(103);
      if (phase === "body") its?.headers();
      await vi.advanceTimersByTimeAsync(1000);
      const error = one.error() as CallTimeoutError;
      expect(error).toBeInstanceOf(CallTimeoutError);
      const sent = { queue: "no", connect: "no", headers: "maybe", "early hints": "maybe", body: "yes" }[phase];
      expect(error).toMatchObject({ phase: phase === "early hints" ? "headers" : phase, sent, host: "stock.example" });
      expect(error).toMatchObject({ method: "GET", path: "/tea" });
      if (its !== undefined) its.fail(error);
      expect(one.names().filter((name) => name === "error").length).toBe(1);
      expect(blocker === undefined || blocker.error() instanceof CallTimeoutError).toBe(true);
      expect(held()).toEqual([0, 0]);
    }
  });

  test("gets the refusals of the queue and the breaker", async () => {
    const { arrived, send } = made(style, {
      perHost: 1,
      queue: 1,
      queueTimeout: 100,
      breaker: { readyToTrip: () => true },
    });
    const first = send();
    const second = send();
    const third = send();
    await turn();
    expect(third.error()).toBeInstanceOf(QueueFullError);
    await vi.advanceTimersByTimeAsync(100);
    expect(second.error()).toBeInstanceOf(QueueTimeoutError);
    arrived[0]?.answer(503);
    expect(first.names()).toEqual(["start", "headers", "end"]);
    const fourth = send();
    await turn();
    expect(fourth.error()).toBeInstanceOf(BreakerOpenError);
    expect(arrived.length).toBe(1);
    expect(held()).toEqual([0, 0]);
  });

  test("the breaker counts errors and time-outs, and no aborts; provisional answers are none", async () => {
    const breaker = { readyToTrip: () => true };
    for (const [how, opens] of [
      ["error", true],
      ["timeout", true],
      ["abort", false],
      ["404", false],
      ["103", false],
    ] as const) {
      const { arrived, send } = made(style, { breaker, timeout: 1000 });
      const one = send();
      await turn();
      arrived[0]?.start();
      if (how === "error") arrived[0]?.fail(new Error("reset"));
      else if (how === "timeout") await vi.advanceTimersByTimeAsync(1000);
      else if (how === "abort") one.abort("why");
      else arrived[0]?.headers(Number(how));
      if (how === "timeout" || how === "abort") arrived[0]?.fail("why");
      if (how === "404" || how === "103") arrived[0]?.end();
      const next = send();
      await turn();
      expect([how, next.error() instanceof BreakerOpenError]).toEqual([how, opens]);
      if (!opens) arrived[1]?.answer();
      expect(held()).toEqual([0, 0]);
    }
  });

  const tripping = { breaker: { readyToTrip: () => true } };

  /** Whether the breaker has opened by what was sent. */
  async function hasOpened({ send, arrived }: ReturnType<typeof made>): Promise<boolean> {
    const { length } = arrived;
    const next = send();
    await turn();
    if (arrived.length > length) arrived.at(-1)?.answer();
    return next.error() instanceof BreakerOpenError;
  }

  test("gets a failure of the network with its phase, and undici's error as the cause", async () => {
    for (const [phase, sent] of [
      ["connect", "no"],
      ["headers", "maybe"],
      ["body", "yes"],
    ] as const) {
      const its = made(style, tripping);
      const one = its.send();
      await turn();
      if (phase !== "connect") its.arrived[0]?.start();
      if (phase === "body") its.arrived[0]?.headers();
      const cause = Object.assign(new Error("no"), { code: "ECONNRESET" });
      its.arrived[0]?.fail(cause);
      expect(one.error()).toBeInstanceOf(NetworkError);
      expect(one.error()).toMatchObject({ phase, sent, cause, code: "ECONNRESET", host: "stock.example" });
      expect(await hasOpened(its)).toBe(true);
      expect(held()).toEqual([0, 0]);
    }
  });

  test.each([
    ["an argument", { code: "UND_ERR_INVALID_ARG" }, false],
    ["a value that it was returned", { code: "UND_ERR_INVALID_RETURN_VALUE" }, false],
    ["a client that is closed", { code: "UND_ERR_DESTROYED" }, false],
    ["an answer that is an error of another interceptor", { code: "UND_ERR_RESPONSE", statusCode: 404 }, false],
    ["a failure of the server that is such an error", { code: "UND_ERR_RESPONSE", statusCode: 500 }, true],
  ])("gets undici's error for %s as it is", async (_, fields, opens) => {
    const its = made(style, tripping);
    const one = its.send();
    await turn();
    const error = Object.assign(new Error("of undici"), fields);
    its.arrived[0]?.fail(error);
    expect(one.error()).toBe(error);
    expect(await hasOpened(its)).toBe(opens);
  });

  test("gets what it has thrown itself as it is, and that is no failure of the server", async () => {
    const its = made(style, tripping);
    const oops = new Error("oops");
    const errors: unknown[] = [];
    const throwing = (): never => {
      throw oops;
    };
    const onEnd = (error: unknown) => errors.push(error);
    for (const part of ["headers", "data"] as const) {
      const handler =
        style === "old"
          ? { onConnect() {}, [part === "headers" ? "onHeaders" : "onData"]: throwing, onError: onEnd }
          : {
              onRequestStart() {},
              [part === "headers" ? "onResponseStart" : "onResponseData"]: throwing,
              onResponseError: (_: unknown, error: unknown) => onEnd(error),
            };
      its.dispatch({ origin: "http://stock.example", path: "/" } as never, handler as never);
      await turn();
      const request = its.arrived.at(-1);
      request?.start();
      if (part === "data") request?.headers();
      expect(() => request?.[part]()).toThrow(oops);
      request?.fail(oops); // As undici does then.
    }
    expect(errors).toEqual([oops, oops]);
    expect([await hasOpened(its), held()]).toEqual([false, [0, 0]]);
  });

  test("whose own body fails: the server is not to blame", async () => {
    const oops = new Error("broken off");
    const bodies = [
      async function* () {
        yield "part";
        throw oops;
      },
      () => new ReadableStream({ start: (controller) => controller.error(oops) }),
      () => new Readable({ read() {} }).on("error", () => {}).destroy(oops),
    ];
    for (const body of bodies) {
      const its = made(style, tripping);
      const one = its.send({ origin: "http://stock.example", path: "/", method: "PUT", body: body() });
      await turn();
      its.arrived[0]?.start();
      const { body: sent } = (its.arrived[0] as Dispatched).options as { body: AsyncIterable<unknown> };
      const error = await errorOf(
        (async () => {
          for await (const _ of sent);
        })(),
      );
      its.arrived[0]?.fail(error);
      expect(one.error()).toMatchObject({ name: "NetworkError", cause: oops, sent: "maybe" });
      expect(await hasOpened(its)).toBe(false);
    }
  });

  test("whose body undici has destroyed with an error of the network: the server is to blame", async () => {
    const its = made(style, tripping);
    const body = new Readable({ read() {} }).on("error", () => {});
    its.send({ origin: "http://stock.example", path: "/", method: "PUT", body });
    await turn();
    its.arrived[0]?.start();
    const error = Object.assign(new Error("reset"), { code: "ECONNRESET", syscall: "read" });
    body.destroy(error);
    its.arrived[0]?.fail(error);
    expect(await hasOpened(its)).toBe(true);
  });

  test("an upgrade ends what the request holds", async () => {
    const { arrived, send } = made(style);
    const one = send();
    await turn();
    arrived[0]?.start();
    if (style === "old") arrived[0]?.handler.onUpgrade?.(101, [], "socket");
    else arrived[0]?.handler.onRequestUpgrade?.(arrived[0].controller, 101, {}, "socket");
    expect(one.names()).toEqual(["start", "upgrade"]);
    expect(held()).toEqual([0, 0]);
  });

  test("a dispatcher that throws, and a handler that throws as it is started", async () => {
    const oops = new Error("oops");
    const errors: unknown[] = [];
    const throwing = (_options: object, _handler: object): boolean => {
      throw oops;
    };
    const handler =
      style === "old"
        ? { onConnect: () => {}, onError: (error: unknown) => errors.push(error) }
        : { onRequestStart: () => {}, onResponseError: (_: unknown, error: unknown) => errors.push(error) };
    interceptor()(throwing)({ origin: "http://a.example" } as never, handler as never);
    await turn();
    const name = style === "old" ? "onConnect" : "onRequestStart";
    interceptor()(throwing)({ origin: "http://a.example" } as never, { ...handler, [name]: throwing } as never);
    await turn();
    expect([errors, held()]).toEqual([
      [oops, oops],
      [0, 0],
    ]);
  });

  test("a handler that throws when it hears of its error: that is reported", async () => {
    const reported = collectReported();
    const oops = new Error("oops");
    const throwing = (): never => {
      throw oops;
    };
    const handler =
      style === "old" ? { onConnect() {}, onError: throwing } : { onRequestStart() {}, onResponseError: throwing };
    const broken = (_options: object, _handler: object): boolean => {
      throw new Error("broken");
    };
    interceptor()(broken)({ origin: "http://a.example" } as never, handler as never);
    await turn();
    expect([reported, held()]).toEqual([[oops], [0, 0]]);
  });
});

test("the controller of the new style pauses and shows headers as undici's does", async () => {
  const { arrived, send } = made("new");
  const one = send();
  const controller = one.controller();
  expect([controller.rawHeaders, controller.rawTrailers, controller.paused]).toEqual([null, null, false]);
  controller.pause();
  await turn();
  arrived[0]?.start();
  controller.resume();
  controller.pause();
  expect(arrived[0]?.log).toEqual(["pause", "resume", "pause"]);
  expect([controller.rawHeaders, controller.rawTrailers, controller.paused]).toEqual([["a", "b"], ["c", "d"], true]);
  expect([controller.aborted, controller.reason]).toEqual([false, null]);
  one.abort();
  expect([controller.aborted, (controller.reason as Error).name]).toEqual([true, "AbortError"]);
  arrived[0]?.fail(controller.reason);
  expect(held()).toEqual([0, 0]);
});

test("hosts by the origin, and each client that names none; all of one interceptor share the limits", async () => {
  const limits = interceptor({ perHost: 1, queue: 0 });
  const arrived: Dispatched[] = [];
  const errors: unknown[] = [];
  const base = (request: object, handler: object) => {
    arrived.push(new Dispatched(request, handler as Callbacks, "old"));
    return true;
  };
  const handler = { onConnect() {}, onError: (error: { host: string }) => errors.push(error.host) };
  const [one, two] = [limits(base), limits(base)];
  for (const origin of ["http://a.example.", new URL("http://a.example"), undefined, undefined, null]) {
    one({ origin, path: "/?x" } as never, handler as never);
    two({ origin, path: "/" } as never, handler as never);
  }
  await turn();
  const [first, second] = ["client-1.invalid", "client-2.invalid"];
  expect(errors).toEqual(["a.example", "a.example", "a.example", first, second, first, second]);
  expect(arrived.length).toBe(3);
  for (const request of arrived) request.answer();
  expect(() => one({ origin: "http://a.example" } as never, 5 as never)).toThrow(
    new TypeError("interceptor: handler must be an object, got 5"),
  );
  expect(held()).toEqual([0, 0]);
});

test("a server that is down closes only its own pool off", async () => {
  const limits = interceptor({ breaker: { readyToTrip: () => true } });
  const errors: unknown[] = [];
  const base = (status: number) => (request: object, handler: object) => {
    new Dispatched(request, handler as Callbacks, "new").answer(status);
    return true;
  };
  const [down, up] = [limits(base(500)), limits(base(200))];
  const handler = { onRequestStart() {}, onResponseError: (_: unknown, error: Error) => errors.push(error.name) };
  down({ path: "/" } as never, handler as never);
  await turn();
  up({ path: "/" } as never, handler as never);
  await turn();
  expect(errors).toEqual([]);
  down({ path: "/" } as never, handler as never);
  await turn();
  expect(errors).toEqual(["BreakerOpenError"]);
});

test.each([
  ["//victim.example/x?y=1", "http://a.example//victim.example/x?y=1"],
  ["//", "http://a.example//"],
  ["//[/", "http://a.example//[/"],
  ["/a?b?c=//d", "http://a.example/a?b?c=//d"],
  ["*", "http://a.example/*"],
  ["http://victim.example/x", "http://a.example/http://victim.example/x"],
  ["b.example:443", "http://a.example/b.example:443"],
  ["", "http://a.example/"],
])("the path %s is one of the host that it is sent to", async (path, wanted) => {
  const seen: string[] = [];
  const { arrived, send } = made("new", { key: (url) => String(seen.push(url.href)) });
  send({ origin: "http://a.example", path });
  await turn();
  expect([seen, arrived.map(({ options }) => options)]).toEqual([[wanted], [{ origin: "http://a.example", path }]]);
  arrived[0]?.answer();
});

test.each(["no url", "localhost:80", ""])("the origin %o is undici's to refuse", async (origin) => {
  const seen: string[] = [];
  const { arrived, send } = made("new", { key: (url) => String(seen.push(url.href)) });
  send({ origin, path: "/" });
  await turn();
  expect([seen, arrived.length]).toEqual([["http://client-1.invalid/"], 1]);
  arrived[0]?.answer();
});
