/** Go's tests and examples of AfterFunc. */
import { Channel } from "gopark/channel";
import { afterFunc, background, type Context, cause, withCancel, withTimeout } from "gopark/context";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { foreign } from "./support/foreign.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

describe("afterFunc", () => {
  test("CalledAfterCancel, asynchronously and once; stop then says it came too late", async () => {
    const { ctx, cancel } = withCancel(background());
    let calls = 0;
    const stop = afterFunc(ctx, () => calls++);
    await turn();
    expect(calls).toBe(0);
    cancel();
    expect([calls, stop()]).toEqual([0, false]);
    await turn();
    expect(calls).toBe(1);
  });

  test("CalledAfterTimeout", async () => {
    const { ctx } = withTimeout(background(), 10);
    let calls = 0;
    afterFunc(ctx, () => calls++);
    vi.advanceTimersByTime(10);
    await turn();
    expect(calls).toBe(1);
  });

  test("CalledImmediately for a context that has ended, but not inside the call", async () => {
    const { ctx, cancel } = withCancel(background());
    cancel();
    let calls = 0;
    const stop = afterFunc(ctx, () => calls++);
    expect([calls, stop()]).toEqual([0, false]);
    await turn();
    expect(calls).toBe(1);
  });

  test("NotCalledAfterStop: the first stop says it came in time, the second that there is nothing to stop", async () => {
    const { ctx, cancel } = withCancel(background());
    let calls = 0;
    const stop = afterFunc(ctx, () => calls++);
    expect([stop(), stop()]).toEqual([true, false]);
    cancel();
    await turn();
    expect(calls).toBe(0);
  });

  test.each(["background", "a context"])("on %s, a stop in time says so once", (name) => {
    const { ctx, cancel } = withCancel(background());
    const fn = vi.fn();
    const stop = afterFunc(name === "background" ? background() : ctx, fn);
    expect([stop(), stop()]).toEqual([true, false]);
    cancel();
  });

  test("one that throws is reported, and keeps no other from running", async () => {
    const { ctx, cancel } = withCancel(background());
    const doom = new Error("doom");
    const ran: number[] = [];
    const seen = await unhandledDuring(async () => {
      afterFunc(ctx, () => ran.push(1));
      afterFunc(ctx, () => {
        throw doom;
      });
      afterFunc(ctx, () => ran.push(2));
      cancel();
      await turn();
    });
    expect([ran, seen]).toEqual([[1, 2], [doom]]);
  });

  test("the example of the merged contexts: cancelled by the one or the other, with its cause", async () => {
    const merge = (ctx: Context, other: Context): [Context, () => void] => {
      const { ctx: merged, cancel } = withCancel(ctx);
      const stop = afterFunc(other, () => cancel(cause(other)));
      return [
        merged,
        () => {
          stop();
          cancel();
        },
      ];
    };
    const one = withCancel(background());
    const two = withCancel(background());
    const [merged, end] = merge(one.ctx, two.ctx);
    const why = new Error("two");
    two.cancel(why);
    await turn();
    expect(cause(merged)).toBe(why);
    end();
    one.cancel();
  });

  test("the example of the connection: a read is interrupted by the context's end", async () => {
    const { ctx, cancel } = withCancel(background());
    const connection = new Channel<string>();
    const stop = afterFunc(ctx, () => connection.close());
    const read = connection.receive();
    cancel();
    expect(await read).toEqual({ value: undefined, ok: false });
    expect(stop()).toBe(false);
  });
});

test("bad input, and a context that throws when it is asked, are errors of the call, and nothing runs", async () => {
  const boom = new Error("boom");
  const fn = vi.fn();
  const asked = foreign({
    err: () => {
      throw boom;
    },
  });
  expect(() => afterFunc(asked, fn)).toThrow(boom);
  expect(() => afterFunc(background(), "fn" as never)).toThrow('afterFunc: fn must be a function, got "fn"');
  expect(() => afterFunc("ctx" as never, fn)).toThrow("expected a Context or an AbortSignal");
  await turn();
  expect([fn.mock.calls.length, asked.listeners.size]).toEqual([0, 0]);
});

test("a context that cannot be listened to is an error of the call, and the function does not run", async () => {
  const boom = new Error("boom");
  const fn = vi.fn();
  const deaf = foreign({
    afterFunc: () => {
      throw boom;
    },
  });
  expect(() => afterFunc(deaf, fn)).toThrow(boom);
  await turn();
  expect(fn).not.toHaveBeenCalled();
});

test("a context that ends while it begins to be listened to has the function run", async () => {
  const fn = vi.fn();
  const ending = foreign({
    afterFunc: () => {
      ending.end(new Error("ended"));
      return () => true;
    },
  });
  const stop = afterFunc(ending, fn);
  expect(stop()).toBe(false);
  await turn();
  expect(fn).toHaveBeenCalledTimes(1);
});

test("a context that throws when it has called back has ended, and the function runs", async () => {
  const fn = vi.fn();
  const ctx = foreign();
  afterFunc(ctx, fn);
  ctx.err = () => {
    throw new Error("boom");
  };
  for (const callBack of ctx.listeners) callBack();
  await turn();
  expect(fn).toHaveBeenCalledTimes(1);
});
