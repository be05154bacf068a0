/** The handler of requests for profiles: what it answers, and to whom. */
import { Channel } from "gopark/channel";
import { type Allow, type HandlerOptions, handler, isLocal } from "gopark/pprof";
import { afterEach, describe, expect, test, vi } from "vitest";
import { readProfile } from "./support/profile.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";

const BASE = "http://localhost:6060/debug/pprof/";

const everyone: Allow = () => true;

/** Answers a request for a path below /debug/pprof/. */
function ask(path: string, init?: RequestInit, options: Partial<HandlerOptions> = {}): Promise<Response> {
  return handler({ allow: everyone, ...options })(new Request(`${BASE}${path}`, init));
}

const statusOf = async (path: string, init?: RequestInit) => (await ask(path, init)).status;

describe("allow", () => {
  test.each([
    ["false", () => false, 403],
    ["a promise of false", async () => false, 403],
    ["nothing", () => undefined, 403],
    ["a truthy value that is not true", () => "yes", 403],
    ["a promise of such a value", async () => ({ user: "ada" }), 403],
    ["true", () => true, 200],
    ["a promise of true", async () => true, 200],
    ["a thenable of true", () => ({ then: (resolve: (value: boolean) => void) => resolve(true) }), 200],
  ])("%s", async (_, allow, status) => {
    const answer = await ask("", undefined, { allow: allow as never });
    expect(answer.status).toBe(status);
    if (status === 403) expect(await answer.text()).toBe("forbidden\n");
  });

  test("is asked before anything else, with the request", async () => {
    const asked: string[] = [];
    const allow = (request: Request) => {
      asked.push(`${request.method} ${request.url}`);
      return false;
    };
    for (const [path, init] of [["heap?seconds=x"], ["", { method: "POST" }], ["nothing"]] as const) {
      expect((await ask(path, init, { allow })).status).toBe(403);
    }
    expect(asked).toEqual([`GET ${BASE}heap?seconds=x`, `POST ${BASE}`, `GET ${BASE}nothing`]);
  });

  test("that throws or rejects rejects the answer with its error", async () => {
    const boom = new Error("boom");
    const throwing = () => {
      throw boom;
    };
    await expect(ask("", undefined, { allow: throwing })).rejects.toBe(boom);
    await expect(ask("", undefined, { allow: () => Promise.reject(boom) })).rejects.toBe(boom);
    expect(await statusOf("")).toBe(200);
  });
});

describe("isLocal", () => {
  const request = (url: string, headers?: Record<string, string>) => new Request(url, headers ? { headers } : {});

  test.each([
    ["http://localhost:6060/", undefined, true],
    ["http://localhost/", undefined, true],
    ["http://127.0.0.1:6060/", undefined, true],
    ["http://[::1]:6060/", undefined, true],
    ["http://LOCALHOST:6060/", undefined, true],
    ["http://127.0.0.1:6060/", { host: "localhost:1" }, true],
    ["http://127.0.0.1:6060/", { "sec-fetch-site": "same-origin" }, true],
    ["http://127.0.0.1:6060/", { "sec-fetch-site": "none" }, true],
    ["http://evil.example/", undefined, false],
    ["http://localhost.evil.example/", undefined, false],
    ["http://127.0.0.1.evil.example/", undefined, false],
    ["http://localhost@evil.example/", undefined, false],
    ["http://10.0.0.1:6060/", undefined, false],
    ["http://0.0.0.0:6060/", undefined, false],
    ["http://[::2]:6060/", undefined, false],
    ["http://127.0.0.1:6060/", { host: "evil.example" }, false],
    ["http://127.0.0.1:6060/", { host: "evil.example:6060" }, false],
    ["http://127.0.0.1:6060/", { host: "localhost@evil.example" }, false],
    ["http://127.0.0.1:6060/", { host: "" }, false],
    ["http://127.0.0.1:6060/", { host: "local host" }, false],
    ["http://evil.example/", { host: "localhost" }, false],
    ["http://127.0.0.1:6060/", { "sec-fetch-site": "cross-site" }, false],
  ])("%s %o: %o", (url, headers, local) => {
    // As fetch would not send what a stranger can.
    const it = { url, headers: new Headers(headers as Record<string, string> | undefined) } as Request;
    expect(isLocal(it)).toBe(local);
    if (!url.includes("@")) expect(isLocal(request(url, headers as Record<string, string>))).toBe(local);
  });
});

describe("paths", () => {
  test("the page lists every profile, with links that lead to it", async () => {
    const answer = await ask("");
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const page = await answer.text();
    const links = [...page.matchAll(/href="([^"]+)"/g)].map(([, to]) => to as string);
    for (const name of ["goroutine", "task", "goroutineleak", "block", "mutex", "heap", "profile"]) {
      expect(links).toContain(name);
    }
    expect(page).toContain("full garbage collection");
    expect(page).toContain("Tracking: full.");
    for (const to of links.filter((link) => !["heap", "profile"].includes(link))) {
      expect([to, (await handler({ allow: everyone })(new Request(new URL(to, BASE)))).status]).toEqual([to, 200]);
    }
  });

  test("the page counts what there is", async () => {
    const ch = new Channel<number>();
    const wait = ch.receive();
    expect(await (await ask("")).text()).toContain("<td>goroutine</td><td>1</td>");
    ch.close();
    await wait;
    expect(await (await ask("")).text()).toContain("<td>goroutine</td><td>0</td>");
  });

  test("without the last slash, it leads to the page", async () => {
    const answer = await handler({ allow: everyone })(new Request("http://localhost/x/debug/pprof?a=1"));
    const location = answer.headers.get("location") as string;
    expect([answer.status, new URL(location, answer.url || "http://localhost/x/debug/pprof").href]).toEqual([
      308,
      "http://localhost/x/debug/pprof/?a=1",
    ]);
  });

  test("any prefix will do", async () => {
    const answer = await handler({ allow: everyone })(new Request("https://h/admin/x/debug/pprof/task"));
    expect(readProfile(new Uint8Array(await answer.arrayBuffer())).types).toEqual(["task/count"]);
  });

  test.each([
    "allocs",
    "trace",
    "Goroutine",
    "goroutine/",
    "goroutine/x",
    "__proto__",
    "toString",
    "%67oroutine",
    "<b>",
  ])("%s is not found", async (path) => {
    const answer = await ask(path);
    expect(answer.status).toBe(404);
    expect(await answer.text()).not.toContain("<");
  });

  test("other paths are not found", async () => {
    for (const path of ["/", "/debug/", "/debug/pprofx/heap", "/pprof/heap"]) {
      expect((await handler({ allow: everyone })(new Request(`http://localhost${path}`))).status).toBe(404);
    }
  });
});

describe("methods", () => {
  test.each(["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])("%s is refused", async (method) => {
    const answer = await ask("goroutine", { method });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  test.each(["", "goroutine", "goroutine?debug=1", "heap", "profile?seconds=60"])(
    "HEAD of %o takes nothing",
    async (path) => {
      const answer = await ask(path, { method: "HEAD" });
      expect([answer.status, answer.body]).toEqual([200, null]);
      const type =
        path === "" ? /^text\/html/ : path.includes("debug") ? /^text\/plain/ : /^application\/octet-stream$/;
      expect(answer.headers.get("content-type")).toMatch(type);
    },
  );
});

describe("answers", () => {
  test("a profile is a file to download, which nobody stores", async () => {
    const ch = new Channel<number>();
    const wait = ch.receive();
    const answer = await ask("goroutine");
    expect(Object.fromEntries(answer.headers)).toEqual({
      "cache-control": "no-store",
      "content-disposition": 'attachment; filename="goroutine.pb"',
      "content-type": "application/octet-stream",
      "x-content-type-options": "nosniff",
    });
    const { samples } = readProfile(new Uint8Array(await answer.arrayBuffer()));
    expect(samples).toMatchObject([{ values: [1], labels: { kind: "chan receive" } }]);
    ch.close();
    await wait;
  });

  test("debug=1 and debug=2 are texts, debug=0 is the profile", async () => {
    const ch = new Channel<number>();
    const wait = ch.receive();
    const one = await ask("goroutine?debug=1");
    expect(one.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(await one.text()).toMatch(/^goroutine profile: total 1\n1 @\n/);
    expect(await (await ask("goroutine?debug=2")).text()).toMatch(/^goroutine 1 \[chan receive\]:\n/);
    expect((await ask("goroutine?debug=0")).headers.get("content-type")).toBe("application/octet-stream");
    ch.close();
    await wait;
  });

  test("a text is made only as it is read, and not any further when its reader leaves", async () => {
    const ch = new Channel<number>();
    const waits = Array.from({ length: 30_000 }, () => ch.receive());
    const { body } = await ask("goroutine?debug=2");
    const reader = (body as ReadableStream<Uint8Array>).getReader();
    const { value } = await reader.read();
    expect(value?.length).toBeGreaterThan(0);
    await reader.cancel();
    expect(await reader.read()).toEqual({ value: undefined, done: true });
    ch.close();
    await Promise.all(waits);
  });
});

describe("parameters", () => {
  test.each([
    ["goroutine?debug=3", "debug must be 0, 1 or 2"],
    ["goroutine?debug=-1", "debug must be 0, 1 or 2"],
    ["goroutine?debug=", "debug must be 0, 1 or 2"],
    ["goroutine?debug=1.0", "debug must be 0, 1 or 2"],
    ["goroutine?debug=%00", "debug must be 0, 1 or 2"],
    ["goroutine?debug=1&debug=2", "debug and seconds may be given once"],
    ["heap?debug=1", "debug must be 0 for heap"],
    ["profile?debug=2", "debug must be 0 for profile"],
    ["goroutine?seconds=1", "seconds is for heap and profile: goroutine shows what is there now"],
    ["block?seconds=5&debug=1", "seconds is for heap and profile: block shows what is there now"],
    ...["0", "-1", "abc", "", "1e3", "Infinity", "NaN", "0x10", "60.5", "61", "9".repeat(400), "1%20", "%2B1"].map(
      (it) => [`profile?seconds=${it}`, "seconds must be a number above 0, at most 60"],
    ),
    ["profile?seconds=1&seconds=2", "debug and seconds may be given once"],
  ])("%s: %s", async (path, message) => {
    const answer = await ask(path);
    expect([answer.status, await answer.text()]).toEqual([400, `${message}\n`]);
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  });

  test("others are ignored", async () => {
    expect(await statusOf("goroutine?gc=1&x=%ff&debug=0")).toBe(200);
  });

  test("maxSeconds bounds what may be asked for", async () => {
    const answer = await ask("profile?seconds=3", undefined, { maxSeconds: 2.5 });
    expect([answer.status, await answer.text()]).toEqual([400, "seconds must be a number above 0, at most 2.5\n"]);
  });
});

describe("options", () => {
  test.each([
    [{}, TypeError, "handler: allow must be a function, got undefined"],
    [{ allow: true }, TypeError, "handler: allow must be a function, got true"],
    [{ allow: everyone, maxSeconds: "5" }, TypeError, 'handler: maxSeconds must be a number, got "5"'],
    [{ allow: everyone, maxSeconds: 0 }, RangeError, "handler: maxSeconds must be above 0 and finite, got 0"],
    [
      { allow: everyone, maxSeconds: Number.NaN },
      RangeError,
      "handler: maxSeconds must be above 0 and finite, got NaN",
    ],
    [
      { allow: everyone, maxSeconds: 1 / 0 },
      RangeError,
      "handler: maxSeconds must be above 0 and finite, got Infinity",
    ],
  ])("%o", (options, type, message) => {
    expect(() => handler(options as never)).toThrow(type);
    expect(() => handler(options as never)).toThrow(message);
  });
});

describe("recordings", () => {
  afterEach(() => vi.useRealTimers());

  test("a third of one profile at a time is refused; others are not, and a place becomes free", async () => {
    vi.useFakeTimers();
    const running = [ask("profile?seconds=10"), ask("profile?seconds=20")];
    for (let i = 0; i < 5; i++) await turn();
    const third = await ask("profile?seconds=1");
    expect([third.status, third.headers.get("retry-after")]).toEqual([429, "1"]);
    expect(await third.text()).toBe("2 requests are taking profile already\n");
    expect(await statusOf("goroutine")).toBe(200);
    await vi.advanceTimersByTimeAsync(10_000);
    expect((await running[0])?.status).toBe(200);
    const next = ask("profile?seconds=1");
    await vi.advanceTimersByTimeAsync(10_000);
    expect([(await next).status, (await running[1])?.status]).toEqual([200, 200]);
  });

  test("ends when the client leaves, and gives its place back", async () => {
    vi.useFakeTimers();
    const seen = await unhandledDuring(async () => {
      for (let i = 0; i < 3; i++) {
        const left = [new AbortController(), new AbortController()];
        const answers = left.map(({ signal }) => ask("profile?seconds=60", { signal }));
        for (let n = 0; n < 5; n++) await turn();
        for (const controller of left) controller.abort();
        expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([499, 499]);
      }
    });
    expect(seen).toEqual([]);
  });

  test("does not begin for a client that has left", async () => {
    expect(await statusOf("profile", { signal: AbortSignal.abort() })).toBe(499);
  });

  test("lasts at most maxSeconds where seconds is left out", async () => {
    vi.useFakeTimers();
    const answer = ask("profile", undefined, { maxSeconds: 2 });
    for (let n = 0; n < 5; n++) await turn();
    await vi.advanceTimersByTimeAsync(2000);
    expect((await answer).status).toBe(200);
  });
});
