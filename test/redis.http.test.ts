/** The limits of a fleet where SafeCaller and the admission steps take those of a process. */
import { type Check, rateLimit } from "gopark/admission";
import { background, withCancel } from "gopark/context";
import { CallCanceledError, RateLimitedError, SafeCaller } from "gopark/http";
import { connect, Limiter, UnavailableError, Weighted } from "gopark/redis";
import { beforeEach, expect, test, vi } from "vitest";
import { FakeRedis } from "./support/fakeredis.ts";
import { requestOf } from "./support/requests.ts";
import { turns } from "./support/turn.ts";
import { errorOf, Upstream } from "./support/upstream.ts";
import { watch } from "./support/watch.ts";

const URL = "http://stock.example/tea";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
});

function made() {
  const redis = new FakeRedis();
  const upstream = new Upstream();
  upstream.script = (arrived) => arrived.answer("fine");
  return { redis, upstream, link: connect(redis, { subscriber: redis, timeout: 100 }) };
}

test("SafeCaller: a Limiter refuses, and where it cannot be asked the call fails as that", async () => {
  const { redis, upstream, link } = made();
  const caller = new SafeCaller({ fetch: upstream.fetch, rate: new Limiter(link, "stock", 10, 5) });
  redis.script = () => [0];
  expect(await (await caller.fetch(URL)).text()).toBe("fine");
  redis.script = () => [-1];
  expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(RateLimitedError);
  redis.script = () => {
    throw new Error("down");
  };
  expect(await errorOf(caller.fetch(URL))).toBeInstanceOf(UnavailableError);
  expect(upstream.arrived).toHaveLength(1);
  await caller.close();
});

test("SafeCaller: the units of a Weighted are held while a request runs, for all hosts and for each", async () => {
  const { redis, upstream, link } = made();
  const all = new Weighted(link, "all", 2);
  const each = new Map<string, Weighted>();
  const perHost = (host: string) => {
    const sem = new Weighted(link, host, 1);
    each.set(host, sem);
    return sem;
  };
  const caller = new SafeCaller({ fetch: upstream.fetch, concurrency: all, perHost, timeout: 5000 });
  redis.script = ({ name }) => (name === "acquire" ? [1, 3] : [1]);
  upstream.script = undefined;
  const call = watch(caller.fetch(URL).then((response) => response.text()));
  await turns(6);
  expect([upstream.arrived.length, all.held(), each.get("stock.example")?.held()]).toEqual([1, 1, 1]);
  upstream.last.answer("fine");
  await turns(6);
  expect([call.value, all.held(), each.get("stock.example")?.held()]).toEqual(["fine", 0, 0]);
  expect(redis.names().filter((name) => name === "release")).toHaveLength(2);

  // A call that is cancelled while it waits for a unit leaves the queue of the fleet.
  redis.script = ({ name }) => (name === "acquire" ? [0, -1] : [0]);
  const { ctx, cancel } = withCancel(background());
  const waiting = errorOf(caller.fetch(URL, { ctx }));
  await turns(6);
  expect(each.get("stock.example")?.waiting()).toBe(1);
  cancel();
  expect(await waiting).toBeInstanceOf(CallCanceledError);
  await turns(4);
  expect([redis.names().at(-1), each.get("stock.example")?.waiting()]).toEqual(["release", 0]);

  // Redis is gone: the call fails as that, and what was held is given back without an error that nobody handles.
  redis.script = ({ name }) => {
    if (name === "acquire") return [1, 3];
    throw new Error("down");
  };
  upstream.script = (arrived) => arrived.answer("fine");
  expect(await (await caller.fetch(URL)).text()).toBe("fine");
  await turns(4);
  redis.script = () => {
    throw new Error("down");
  };
  const failed = errorOf(caller.fetch(URL));
  await vi.advanceTimersByTimeAsync(200);
  expect(await failed).toBeInstanceOf(UnavailableError);
  redis.script = () => [1];
  await vi.advanceTimersByTimeAsync(20_000);
  await caller.close();
});

const verdict = async (check: Check, address: string) => check.check(requestOf({ address }));

test("rateLimit: a Limiter with a key for each client; an error admits, or refuses with 503, and is never a 429", async () => {
  const { redis, link } = made();
  const limiter = new Limiter(link, "clients", 1, 2);
  const errors: unknown[] = [];
  const report = (error: unknown) => errors.push(error);
  const given = { limit: 2, window: 2000, limits: limiter, report };
  const [open, closed] = [rateLimit(given), rateLimit({ ...given, onError: "closed" })];
  redis.script = ({ key }) => (key.includes("1.1.1.1") ? [0] : [-1]);
  expect([await verdict(open, "1.1.1.1"), await verdict(open, "2.2.2.2")]).toMatchObject([
    { admit: true },
    { admit: false, status: 429 },
  ]);
  expect(redis.calls.map(({ key }) => key)).toContain("{gopark:rates:7:clients:1.1.1.1}");
  redis.script = () => {
    throw new Error("down");
  };
  expect([await verdict(open, "2.2.2.2"), await verdict(closed, "1.1.1.1")]).toMatchObject([
    { admit: true },
    { admit: false, status: 503 },
  ]);
  expect(errors.map(String)).toEqual(Array(2).fill("UnavailableError: redis: down"));
});
