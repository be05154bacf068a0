/**
 * The async context of a deadline's end: that of the call that listens to it, not that of the call that armed a timer.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { afterFunc, background, type Context, withCancel, withTimeout } from "gopark/context";
import { sleep } from "gopark/time";
import { describe, expect, test, vi } from "vitest";
import { IMPORT, run } from "./support/run.ts";
import { turn, turns } from "./support/turn.ts";

const request = new AsyncLocalStorage<string>();
const trace = new AsyncLocalStorage<number>();

const alice = <T>(fn: () => T): T => request.run("alice", () => trace.run(1, fn));
const bob = <T>(fn: () => T): T => request.run("bob", () => trace.run(2, fn));
const where = (): string => `${request.getStore()} ${trace.getStore()}`;

describe("an abort listener runs where the signal was first read", () => {
  /** The ways in which other code notices that a deadline has passed. */
  const notices: Record<string, (ctx: Context) => unknown> = {
    "by the host's timer": () => vi.advanceTimersByTime(10),
    "by a look": (ctx) => {
      vi.spyOn(performance, "now").mockReturnValue(performance.now() + 10);
      vi.spyOn(Date, "now").mockReturnValue(Date.now() + 10);
      return ctx.err();
    },
  };

  describe.each(Object.keys(notices))("when the deadline's end is noticed %s", (how) => {
    const notice = (ctx: Context) => (notices[how] as (ctx: Context) => unknown)(ctx);

    test("on the context itself, on its child, and on both together", async () => {
      vi.useFakeTimers();
      const seen: string[] = [];
      const scope = withTimeout(background(), 10);
      const child = withCancel(scope.ctx);
      const listen = (ctx: Context, name: string) =>
        ctx.signal.addEventListener("abort", () => seen.push(`${name} ${where()}`));
      alice(() => listen(scope.ctx, "parent"));
      bob(() => listen(child.ctx, "child"));
      await turn();
      request.run("carol", () => {
        notice(scope.ctx);
        expect(seen, "on the stack of the call that noticed").toEqual([]);
      });
      await turns(2);
      expect(seen.sort()).toEqual(["child bob 2", "parent alice 1"]);
    });

    test("though the listener was added elsewhere, as it is with an AbortController", async () => {
      vi.useFakeTimers();
      const seen: string[] = [];
      const { ctx } = withTimeout(background(), 10);
      const signal = alice(() => ctx.signal);
      bob(() => signal.addEventListener("abort", () => seen.push(where())));
      bob(() => notice(ctx));
      await turns(2);
      expect(seen).toEqual(["alice 1"]);
    });

    test("and an afterFunc where it was asked for", async () => {
      vi.useFakeTimers();
      const seen: string[] = [];
      const { ctx } = withTimeout(background(), 10);
      alice(() => afterFunc(ctx, () => seen.push(where())));
      bob(() => notice(ctx));
      await turns(2);
      expect(seen).toEqual(["alice 1"]);
    });
  });

  test("on the machine's clock, where another call's deadline armed the timer", async () => {
    const heard: Promise<string>[] = [];
    const hear = (ms: number) => {
      let { signal } = withTimeout(background(), ms).ctx;
      // On a slow machine the deadline may pass before the signal is read.
      for (let longer = 2 * ms; signal.aborted; longer *= 2) ({ signal } = withTimeout(background(), longer).ctx);
      heard.push(new Promise((resolve) => signal.addEventListener("abort", () => resolve(where()))));
    };
    alice(() => hear(6));
    bob(() => hear(3));
    alice(() => hear(9));
    await turn();
    const outside = sleep(12);
    expect(await Promise.all(heard)).toEqual(["alice 1", "bob 2", "alice 1"]);
    await outside;
  });

  test("inside cancel(), on the stack and in the async context of its caller", () => {
    const seen: string[] = [];
    const { ctx, cancel } = withTimeout(background(), 10_000);
    alice(() => ctx.signal.addEventListener("abort", () => seen.push(where())));
    bob(() => {
      cancel();
      expect(seen).toEqual(["bob 2"]);
    });
  });
});

describe("the host's timer keeps no store alive", () => {
  const ticks = "for (let j = 0; j < 3; j++) await outside.c.receive();";
  const outside = "const outside = new time.Ticker(1);";

  test.each([
    ["of a request that started a ticker", "ticker = new time.Ticker(1); await ticker.c.receive();", outside, ticks],
    ["of a request that slept, while others tick", "await time.sleep(1);", outside, ticks],
    ["of a request that armed what is earliest", "scope = context.withTimeout(context.background(), 3e6);", "", ""],
    [
      "of a request that slept, with a far deadline armed next",
      "await time.sleep(1);",
      "context.withTimeout(context.background(), 3e6);",
      "",
    ],
  ])("%s", async (_, inRequest, beside, meanwhile) => {
    const code = `${IMPORT}
      import { AsyncLocalStorage } from "node:async_hooks";
      const request = new AsyncLocalStorage();
      const other = new AsyncLocalStorage();
      let ticker, scope;
      const refs = [];
      await (async () => {
        for (const storage of [request, other]) {
          const store = { payload: new Array(1000).fill(0) };
          refs.push(new WeakRef(store));
          await storage.run(store, async () => { ${inRequest} });
        }
      })();
      ${beside}
      for (let i = 0; i < 20 && refs.some((ref) => ref.deref() !== undefined); i++) {
        ${meanwhile}
        await new Promise((resolve) => setImmediate(resolve));
        gc();
      }
      console.log(refs.map((ref) => ref.deref() === undefined));
      process.exit(0);`;
    expect(await run(code, "--expose-gc")).toEqual({ status: 0, out: "[ true, true ]\n", err: "" });
  });
});
