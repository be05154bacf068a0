/** rateLimit: whom a request counts for, what is allowed, what clients are told, and what hostile ones cannot do. */
import { createServer } from "node:http";
import { type Check, nodeHandler, type RateLimitOptions, rateLimit, type Verdict } from "gopark/admission";
import { prometheusText } from "gopark/metrics";
import { Limiter } from "gopark/rate";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { bytesInUse } from "./support/heap.ts";
import { type Given, requestOf } from "./support/requests.ts";
import { Client, close, listen, request } from "./support/sockets.ts";

const minute = { limit: 2, window: 60_000 };

/** The verdict on a request of a check that answers at once. */
function ask(check: Check, given?: Given): Verdict {
  const verdict = check.check(requestOf(given));
  if (verdict instanceof Promise) throw new Error("the check has to wait");
  return verdict;
}

const admits = (check: Check, given?: Given) => ask(check, given).admit;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("what is allowed", () => {
  test("`limit` requests at once, and then one in each `limit`th of the window", () => {
    const check = rateLimit({ limit: 3, window: 30_000 });
    const times: number[] = [];
    for (let t = 0; t <= 30_000; t += 1000) {
      while (admits(check)) times.push(t);
      vi.advanceTimersByTime(1000);
    }
    expect(times).toEqual([0, 0, 0, 10_000, 20_000, 30_000]);
  });

  test("each address for itself; IPv4 in IPv6 is the same; an IPv6 network of 64 bits is one client", () => {
    const check = rateLimit({ limit: 1, window: 60_000 });
    const seen = ["1.2.3.4", "1.2.3.4", "::ffff:1.2.3.4", "1.2.3.5", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"];
    expect(seen.map((address) => admits(check, { address }))).toEqual([true, false, false, true, true, false, true]);
  });

  test("ipv6Prefix says how many bits make a client", () => {
    const check = rateLimit({ limit: 1, window: 60_000, ipv6Prefix: 48 });
    const seen = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1"];
    expect(seen.map((address) => admits(check, { address }))).toEqual([true, false, true]);
  });

  test("a forged X-Forwarded-For changes nothing; with trust, the client behind the proxies counts", () => {
    const direct = rateLimit({ limit: 1, window: 60_000 });
    const forged = ["9.9.9.1", "9.9.9.2"].map((ip) => ({ headers: { "x-forwarded-for": ip } }));
    expect(forged.map((given) => admits(direct, given))).toEqual([true, false]);

    const proxied = rateLimit({ limit: 1, window: 60_000, trust: ["1.2.3.0/24"] });
    const behind = ["9.9.9.1", "9.9.9.2", "6.6.6.6, 9.9.9.1", "7.7.7.7, 9.9.9.1"];
    expect(behind.map((list) => admits(proxied, { headers: { "x-forwarded-for": list } }))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    const one = rateLimit({ limit: 1, window: 60_000, trust: 1 });
    expect(behind.map((list) => admits(one, { headers: { "x-forwarded-for": list } }))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  test("`global`: one bucket for all", () => {
    const check = rateLimit({ ...minute, key: "global" });
    expect(["1.1.1.1", "2.2.2.2", "3.3.3.3", ""].map((address) => admits(check, { address }))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  test("a key of one's own gets the address of the client; without a key, that counts", () => {
    const seen: string[] = [];
    const check = rateLimit({
      limit: 1,
      window: 60_000,
      trust: 1,
      key: (r, address) => {
        seen.push(address);
        return r.header("x-key");
      },
    });
    const forwarded = { "x-forwarded-for": "9.9.9.9" };
    expect(admits(check, { headers: { "x-key": "a", ...forwarded } })).toBe(true);
    expect(admits(check, { headers: { "x-key": "a" }, address: "8.8.8.8" })).toBe(false);
    expect(admits(check, { headers: { "x-key": "b", ...forwarded } })).toBe(true);
    expect(admits(check, { headers: forwarded })).toBe(true);
    expect(admits(check, { headers: forwarded })).toBe(false);
    expect(seen).toEqual(["9.9.9.9", "8.8.8.8", "9.9.9.9", "9.9.9.9", "9.9.9.9"]);
  });

  test("a key that looks like an address is not that of the address", () => {
    const check = rateLimit({ limit: 1, window: 60_000, key: (r) => r.header("x-key") });
    expect(admits(check, { headers: { "x-key": "1.2.3.4" } })).toBe(true);
    expect(admits(check, { headers: { "x-key": "global" } })).toBe(true);
    expect(admits(check)).toBe(true);
    expect(admits(check)).toBe(false);
  });

  test("a key of 512 characters counts, a longer one counts as none", () => {
    const check = rateLimit({ limit: 1, window: 60_000, key: (r) => r.header("x-key") });
    const keys = ["x".repeat(512), "y".repeat(513), "z".repeat(514), "w".repeat(512)];
    expect(keys.map((k) => admits(check, { headers: { "x-key": k } }))).toEqual([true, true, false, true]);
  });
});

describe("what clients are told", () => {
  const told = (check: Check, given?: Given) => {
    const { headers = {} } = ask(check, given);
    return [headers["ratelimit-policy"], headers.ratelimit, headers["retry-after"]];
  };

  test("the policy, what is left and for how long, and when to come back", () => {
    const check = rateLimit({ limit: 4, window: 60_000, name: "per client" });
    const policy = '"per client";q=4;w=60';
    expect(told(check)).toEqual([policy, '"per client";r=3;t=45', undefined]);
    expect(told(check)).toEqual([policy, '"per client";r=2;t=30', undefined]);
    vi.advanceTimersByTime(7500);
    expect(told(check)).toEqual([policy, '"per client";r=1;t=15', undefined]);
    expect(told(check)).toEqual([policy, '"per client";r=0;t=8', undefined]);
    expect(ask(check)).toEqual({
      admit: false,
      status: 429,
      headers: { "ratelimit-policy": policy, ratelimit: '"per client";r=0;t=8', "retry-after": "8" },
    });
    vi.advanceTimersByTime(7499);
    expect(told(check)).toEqual([policy, '"per client";r=0;t=1', "1"]);
    vi.advanceTimersByTime(1);
    expect(told(check)).toEqual([policy, '"per client";r=0;t=15', undefined]);
  });

  test("a client that comes back after Retry-After is admitted, and one that spreads r over t is never refused", () => {
    for (const [limit, window] of [
      [3, 1000],
      [7, 60_000],
      [100, 60_000],
      [1, 1],
      [1000, 3],
      [5, 86_400_000],
    ] as const) {
      const check = rateLimit({ limit, window });
      for (let i = 0; i < 3 * limit && i < 300; i++) {
        const [, state = "", after] = told(check);
        const [, r, t] = /;r=(\d+);t=(\d+)$/.exec(state) ?? [];
        expect([limit, window, Number(t) >= 1]).toEqual([limit, window, true]);
        if (after !== undefined) {
          expect(after).toBe(t);
          vi.advanceTimersByTime(Number(after) * 1000);
          expect(admits(check)).toBe(true);
        } else if (Number(r) > 0 && i % 5 === 0) {
          for (let n = Number(r); n > 0; n--) {
            vi.advanceTimersByTime((Number(t) * 1000) / Number(r));
            expect(admits(check)).toBe(true);
          }
        }
      }
    }
  });

  test.each([
    ["a window below a second is told as one second", { limit: 5, window: 250 }, '"default";q=5;w=1'],
    ["a broken second is rounded up", { limit: 5, window: 1001 }, '"default";q=5;w=2'],
    ["quotes and backslashes", { limit: 1, window: 1000, name: 'a "b" \\c' }, '"a \\"b\\" \\\\c";q=1;w=1'],
    ["a great limit", { limit: 999_999_999_999_999, window: 1000 }, '"default";q=999999999999999;w=1'],
  ])("%s", (_, options, policy) => {
    expect(told(rateLimit(options))[0]).toBe(policy);
  });

  test("the numbers are integers of structured fields at any limit", () => {
    const integer = /^"default";r=\d{1,15};t=\d{1,15}$/;
    for (const limit of [1, 3, 999_999_999_999_999]) {
      for (const window of [1, 1.5, 1e12]) {
        const check = rateLimit({ limit, window });
        for (let i = 0; i < 3; i++) expect(told(check)[1]).toMatch(integer);
      }
    }
  });
});

describe("a limiter that fails", () => {
  const broken = () => {
    throw new Error("down");
  };
  const failing: [string, Partial<RateLimitOptions>][] = [
    ["a key throws", { key: broken }],
    ["a key is no string", { key: (() => 7) as never }],
    ["a key is a promise", { key: (async () => "x") as never }],
    ["`at` throws", { limits: { at: broken } }],
    ["`at` returns nothing", { limits: { at: () => undefined as never } }],
    ["`allow` throws", { limits: { at: () => ({ allow: broken }) } }],
    ["`allow` rejects", { limits: { at: () => ({ allow: () => Promise.reject(new Error("down")) }) } }],
  ];

  test.each(failing)("%s: open admits, closed refuses with 503, and both report", async (_, options) => {
    const reported: unknown[] = [];
    const report = (error: unknown) => reported.push(error);
    expect(await rateLimit({ ...minute, ...options, report }).check(requestOf())).toEqual({ admit: true });
    expect(await rateLimit({ ...minute, ...options, report, onError: "open" }).check(requestOf())).toEqual({
      admit: true,
    });
    expect(await rateLimit({ ...minute, ...options, report, onError: "closed" }).check(requestOf())).toEqual({
      admit: false,
      status: 503,
      headers: { "retry-after": expect.stringMatching(/^[123]$/) },
    });
    expect(reported.every((error) => error instanceof Error)).toBe(true);
    expect(reported).toHaveLength(3);
  });

  test("the address is not known: the error says what to set", () => {
    const reported: unknown[] = [];
    const report = (error: unknown) => reported.push(error);
    // Text with a dot, as a forged header has, is no IPv4 address for that.
    const unknown = ["", "unknown", "x.y", "01.2.3.4", "1.2.3.4, 9.9.9.9", "1.2.3.256", `1.2.3.${"4".repeat(1000)}`];
    for (const address of unknown) expect(admits(rateLimit({ ...minute, report }), { address })).toBe(true);
    expect(reported.map(String)).toEqual(
      new Array(unknown.length).fill(
        "Error: rateLimit: the address of the client is not known: set `key`, or the `address` of the adapter",
      ),
    );
  });

  test("without `report`, errors are warnings of the process, one in ten seconds", () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const check = rateLimit({ ...minute, key: broken });
    const other = rateLimit({ ...minute, key: () => Promise.reject(new Error("text")) as never });
    for (let i = 0; i < 5; i++) admits(check);
    expect(warned.mock.calls.map(([w]) => String(w))).toEqual(["Error: down"]);
    vi.advanceTimersByTime(10_000);
    for (let i = 0; i < 5; i++) admits(check);
    expect(warned).toHaveBeenCalledTimes(2);
    admits(other);
    expect(warned).toHaveBeenCalledTimes(3);
  });

  test("a `report` that throws fails the request", () => {
    const check = rateLimit({ ...minute, key: broken, report: broken });
    expect(() => ask(check)).toThrow("down");
  });
});

describe("limits of one's own", () => {
  test("are asked by the key; only a refusal says what is left", async () => {
    const keys: string[] = [];
    const answers = [true, Promise.resolve(true), false, Promise.resolve(false)];
    const check = rateLimit({
      limit: 4,
      window: 10_000,
      key: (r) => r.header("x-key"),
      limits: {
        at: (key) => (keys.push(key) > 0 ? { allow: () => answers.shift() as boolean } : (undefined as never)),
      },
    });
    const policy = '"default";q=4;w=10';
    const refused = {
      admit: false,
      status: 429,
      headers: { "ratelimit-policy": policy, ratelimit: '"default";r=0;t=3', "retry-after": "3" },
    };
    const admitted = { admit: true, headers: { "ratelimit-policy": policy } };
    const wanted = [admitted, admitted, refused, refused];
    for (const verdict of wanted) expect(await check.check(requestOf({ headers: { "x-key": "k" } }))).toEqual(verdict);
    expect(keys).toEqual(new Array(4).fill("key:k"));
    answers.push(true, true);
    await check.check(requestOf({ address: "::ffff:9.9.9.9" }));
    expect(keys.at(-1)).toBe("9.9.9.9");
  });

  test("a Limiter of gopark/rate is one, and an answer that is not true is none", () => {
    const limiter = new Limiter(1, 1);
    const check = rateLimit({ ...minute, key: "global", limits: { at: () => limiter } });
    expect([admits(check), admits(check)]).toEqual([true, false]);
    expect(admits(rateLimit({ ...minute, limits: { at: () => ({ allow: () => "yes" as never }) } }))).toBe(false);
  });
});

describe("hostile clients", () => {
  test("a million keys: at most maxKeys buckets, a key that is refused stays refused, the rest share one bucket", () => {
    const check = rateLimit({ limit: 2, window: 1e9, maxKeys: 1000, name: "flood" });
    const victim = { address: "9.9.9.9" };
    expect([admits(check, victim), admits(check, victim), admits(check, victim)]).toEqual([true, true, false]);
    let admitted = 0;
    for (let i = 0; i < 1_000_000; i++) {
      const address = `${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}.1`;
      if (admits(check, { address })) admitted++;
    }
    expect(admitted).toBe(999 + 2);
    expect(prometheusText()).toContain('gopark_keyed_limiter_keys{name="flood"} 1000\n');
    expect(admits(check, victim)).toBe(false);
  });

  test("keys that are parts of long headers do not keep the headers alive", async () => {
    const check = rateLimit({ limit: 1, window: 1e9, key: (r) => r.header("x-key")?.slice(0, 40), trust: 1 });
    const before = await bytesInUse();
    for (let i = 0; i < 5000; i++) {
      const padded = (text: string) => Buffer.from(text.padEnd(8000, "x")).toString("latin1");
      admits(check, { headers: { "x-key": padded(`${i} `) } });
      admits(check, { headers: { "x-forwarded-for": `${padded("")}, ${i >> 8}.${i & 255}.100.100` } });
    }
    expect((await bytesInUse()) - before).toBeLessThan(5000 * 2 * 500);
    expect(admits(check, { headers: { "x-key": `0 ${"x".repeat(100)}` } })).toBe(false);
  });

  test("over a connection: forged and oversized headers are answered, and nothing throws", async () => {
    vi.useRealTimers();
    const server = createServer(
      { maxHeaderSize: 1 << 20 },
      nodeHandler([rateLimit({ limit: 4, window: 60_000, trust: 1 })], (_, res) => res.end("ok")),
    );
    const port = await listen(server);
    const client = await Client.to(port);
    const headers: Record<string, string>[] = [
      { "X-Forwarded-For": "xx" },
      { "X-Forwarded-For": "6.6.6.6, ".repeat(8000) },
      { "X-Forwarded-For": "9".repeat(500_000) },
      { "x-forwarded-for": ",,,,", constructor: "x", __proto__: "x" },
      { "X-Forwarded-For": "" },
      { "X-Forwarded-For": "9.9.9.9" },
    ];
    const statuses: number[] = [];
    for (const one of headers) statuses.push((await client.ask(request("GET /", one))).status);
    expect(statuses).toEqual([200, 200, 200, 200, 429, 200]);
    client.destroy();
    await close(server);
  });
});
