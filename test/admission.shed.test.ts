/** shed: how much runs at once, who waits, who is refused, and a limit that finds itself. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Check, nodeHandler, type ShedOptions, shed, type Verdict } from "gopark/admission";
import { background, withCancel, withTimeout } from "gopark/context";
import { counters } from "gopark/leak";
import { prometheusText } from "gopark/metrics";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { armed } from "../src/internal/time/timers.ts";
import { requestOf } from "./support/requests.ts";
import { Client, close, listen, request, until } from "./support/sockets.ts";
import { turn } from "./support/turn.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const fixed: ShedOptions = { adaptive: false };
const ctx = background();

/** What the check says at once; undefined if the request waits. */
function now(check: Check): Verdict | undefined {
  const verdict = check.check(requestOf({ ctx }));
  if (!(verdict instanceof Promise)) return verdict;
  verdict.then((late) => late.done?.(true));
  return undefined;
}

const refused = { admit: false, status: 503, headers: { "retry-after": expect.stringMatching(/^[123]$/) } };

describe("slots", () => {
  test("as many requests run as there are; with no queue the next is refused at once", () => {
    const check = shed({ ...fixed, max: 2, queue: 0 });
    const running = [now(check), now(check)];
    expect(running.map((verdict) => verdict?.admit)).toEqual([true, true]);
    expect(now(check)).toEqual(refused);
    running[0]?.done?.(true);
    const next = now(check);
    expect(next?.admit).toBe(true);
    expect(now(check)).toEqual(refused);
    running[1]?.done?.(false);
    next?.done?.(true);
  });

  test("those in the queue get a slot in the order of their arrival; one more than fits is refused in the same turn", async () => {
    const check = shed({ ...fixed, max: 1, queue: 2 });
    const first = now(check);
    const order: number[] = [];
    const waiting = [1, 2].map(async (n) => {
      const verdict = await check.check(requestOf({ ctx }));
      order.push(n);
      return verdict;
    });
    expect(now(check)).toEqual(refused);
    first?.done?.(true);
    const second = await waiting[0];
    await turn();
    expect(order).toEqual([1]);
    second?.done?.(true);
    (await waiting[1])?.done?.(true);
    expect(order).toEqual([1, 2]);
  });

  test("one that has waited for queueTimeout is refused, and its place is free again", async () => {
    const check = shed({ ...fixed, max: 1, queue: 1, queueTimeout: 50 });
    const first = now(check);
    const late = check.check(requestOf({ ctx }));
    await vi.advanceTimersByTimeAsync(49);
    expect(now(check)).toEqual(refused);
    await vi.advanceTimersByTimeAsync(1);
    expect(await late).toEqual(refused);
    const other = check.check(requestOf({ ctx }));
    first?.done?.(true);
    const verdict = await other;
    expect(verdict.admit).toBe(true);
    verdict.done?.(true);
  });

  test("one whose client goes, or whose deadline passes, leaves the queue; those behind it keep their order", async () => {
    const check = shed({ ...fixed, max: 1, queue: 3, queueTimeout: 1000 });
    const first = now(check);
    const [gone, go] = withCancel(undefined);
    const [late, end] = withTimeout(undefined, 10);
    const leavers = [gone, late].map((ctx) => check.check(requestOf({ ctx })));
    const stays = check.check(requestOf({ ctx }));
    go();
    await vi.advanceTimersByTimeAsync(10);
    for (const leaver of leavers) expect(await leaver).toEqual(refused);
    first?.done?.(true);
    const verdict = await stays;
    expect(verdict.admit).toBe(true);
    verdict.done?.(true);
    end();
  });

  test("a request whose context has ended already does not wait", async () => {
    const check = shed({ ...fixed, max: 1 });
    const first = now(check);
    const [gone, go] = withCancel(undefined);
    go();
    expect(await check.check(requestOf({ ctx: gone }))).toEqual(refused);
    first?.done?.(true);
  });

  test("have the metrics of a semaphore, by their name", () => {
    const check = shed({ ...fixed, max: 3, name: "orders" });
    const verdict = now(check);
    const text = prometheusText();
    for (const line of ["size 3", "held 1", "waiting 0"]) {
      const [what, value] = line.split(" ");
      expect(text).toContain(`gopark_semaphore_${what}{name="orders"} ${value}\n`);
    }
    verdict?.done?.(true);
  });

  test("an idle check holds nothing that is counted, and no timer is armed", async () => {
    const before = [counters(), armed(), vi.getTimerCount()];
    const check = shed();
    expect([counters(), armed(), vi.getTimerCount()]).toEqual(before);
    const verdict = now(check);
    expect(armed()).toBe((before[1] as number) + 1);
    verdict?.done?.(true);
    expect([counters(), armed(), vi.getTimerCount()]).toEqual(before);
  });

  test("Retry-After is any of 1, 2 and 3", () => {
    const check = shed({ ...fixed, max: 1, queue: 0 });
    const first = now(check);
    const random = vi.spyOn(Math, "random");
    const seen = [0, 0.3, 0.34, 0.6, 0.67, 0.999].map((value) => {
      random.mockReturnValue(value);
      return now(check)?.headers?.["retry-after"];
    });
    expect(seen).toEqual(["1", "1", "2", "2", "3", "3"]);
    first?.done?.(true);
  });
});

describe("a loop that is late", () => {
  /** Lets time pass in which no timer fires, as while a function runs. */
  const block = (ms: number) => {
    const before = performance.now();
    vi.spyOn(performance, "now").mockImplementation(() => before + ms);
  };

  test("while the block goes on the next request is refused, with the timer still to come", () => {
    const check = shed({ ...fixed });
    const first = now(check);
    block(221);
    expect(now(check)).toEqual(refused);
    first?.done?.(true);
  });

  test.each([
    [219, true],
    [220, true],
    [221, false],
  ])("a block of %i ms, of which 20 are the tick's: admitted %s", (ms, admitted) => {
    const check = shed({ ...fixed });
    const first = now(check);
    block(ms);
    const second = now(check);
    expect(second?.admit).toBe(admitted);
    for (const verdict of [first, second]) verdict?.done?.(true);
  });

  test("also when the request in which it was has ended meanwhile, for one tick", () => {
    const check = shed({ ...fixed });
    const first = now(check);
    block(300);
    first?.done?.(true);
    expect(now(check)).toEqual(refused);
    block(20);
    expect(now(check)).toEqual(refused);
    block(1);
    const next = now(check);
    expect(next?.admit).toBe(true);
    next?.done?.(true);
  });

  test("after the tick that came late it is over with the next one", async () => {
    const check = shed({ ...fixed });
    const first = now(check);
    block(500);
    vi.runOnlyPendingTimers();
    expect(now(check)).toEqual(refused);
    vi.restoreAllMocks();
    await vi.advanceTimersByTimeAsync(1000);
    const next = now(check);
    expect(next?.admit).toBe(true);
    for (const verdict of [first, next]) verdict?.done?.(true);
  });

  test("a loop that is on time admits, however long requests run", async () => {
    const check = shed({ ...fixed, maxLoopDelay: 1 });
    const running: (Verdict | undefined)[] = [];
    for (let i = 0; i < 100; i++) {
      running.push(now(check));
      await vi.advanceTimersByTimeAsync(33);
    }
    expect(running.every((verdict) => verdict?.admit)).toBe(true);
    for (const verdict of running) verdict?.done?.(true);
  });

  test("the timer stops after a second in which no request came or went, and goes on with the next one", async () => {
    const before = armed();
    const check = shed({ ...fixed });
    const first = now(check);
    await vi.advanceTimersByTimeAsync(1000);
    expect(armed()).toBe(before + 1);
    await vi.advanceTimersByTimeAsync(20);
    expect(armed()).toBe(before);
    block(1000);
    const second = now(check); // Nobody has looked: as if there had been no request before.
    expect([second?.admit, armed()]).toEqual([true, before + 1]);
    block(300);
    expect(now(check)).toEqual(refused);
    for (const verdict of [first, second]) verdict?.done?.(true);
    expect(armed()).toBe(before);
  });

  test("with Infinity nothing is looked at, and there is no timer", () => {
    const before = armed();
    const check = shed({ ...fixed, maxLoopDelay: Number.POSITIVE_INFINITY });
    const first = now(check);
    expect(armed()).toBe(before);
    block(1e6);
    const second = now(check);
    expect(second?.admit).toBe(true);
    for (const verdict of [first, second]) verdict?.done?.(true);
  });

  test("over connections: requests that come during a block of 300 ms are refused, and later ones are not", async () => {
    vi.useRealTimers();
    const server = createServer(
      nodeHandler([shed()], (req: IncomingMessage, res: ServerResponse) => {
        if (req.url === "/block") {
          for (const start = performance.now(); performance.now() - start < 300; );
        }
        res.end();
      }),
    );
    const port = await listen(server);
    const clients = await Promise.all([1, 2].map(() => Client.to(port)));
    for (const client of clients) await client.ask(request("GET /first"));
    // Both are there before the loop polls again: the first blocks, and the second is seen next.
    clients[0]?.send(request("GET /block"));
    clients[1]?.send(request("GET /next"));
    await until(() => clients.every((client) => client.answers().length === 2));
    expect(clients.map((client) => client.answers()[1]?.status)).toEqual([200, 503]);
    let status = 503;
    while (status === 503) status = (await (clients[1] as Client).ask(request("GET /later"))).status;
    expect(status).toBe(200);
    for (const client of clients) client.destroy();
    await close(server);
  });
});
