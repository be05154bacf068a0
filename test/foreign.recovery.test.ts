/**
 * Foreign objects that failed once work again, and code that runs at the worst moment, such as a getter or a formatter
 * of stacks, breaks nothing.
 */
import { Channel, type ReceiveChannel } from "gopark/channel";
import { background, Canceled, cause, fromSignal, withCancel } from "gopark/context";
import { select } from "gopark/select";
import { afterEach, describe, expect, test } from "vitest";
import { foreign } from "./support/foreign.ts";
import { turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const doom = new Error("doom");

/** A signal of the host, one of whose parts throws while `broken`. */
function breakable(part: "addEventListener" | "aborted"): { signal: AbortSignal; abort(): void; broken: boolean } {
  const controller = new AbortController();
  const { signal } = controller;
  const self = { signal, broken: false, abort: () => controller.abort(doom) };
  if (part === "aborted") {
    Object.defineProperty(signal, "aborted", {
      configurable: true,
      get() {
        if (self.broken) throw doom;
        return Object.getOwnPropertyDescriptor(AbortSignal.prototype, "aborted")?.get?.call(signal);
      },
    });
  } else {
    signal.addEventListener = (...args: unknown[]) => {
      if (self.broken) throw doom;
      return (EventTarget.prototype.addEventListener as (...args: unknown[]) => void).apply(signal, args);
    };
  }
  return self;
}

describe("a signal that throws once", () => {
  test("while a wait begins to listen fails that wait, and no later one on its context", async () => {
    const s = breakable("addEventListener");
    const ctx = fromSignal(s.signal);
    const ch = new Channel<number>();
    s.broken = true;
    await expect(ch.receive(ctx)).rejects.toBe(doom);
    s.broken = false;
    expect(ctx.err()).toBeUndefined();
    const second = watch(ch.receive(ctx));
    await turns(1);
    expect(second.state).toBe("pending");
    s.abort();
    await turns(1);
    expect(second.reason).toBeInstanceOf(Canceled);
  });

  test("while its context is asked is that look's error, and ends nothing", async () => {
    const s = breakable("aborted");
    const ctx = fromSignal(s.signal);
    const waiting = watch(new Channel<number>().receive(ctx));
    s.broken = true;
    expect(ctx.err()).toBe(doom);
    s.broken = false;
    await turns(1);
    expect([ctx.err(), waiting.state]).toEqual([undefined, "pending"]);
    s.abort();
    await turns(1);
    expect(waiting.reason).toBe(ctx.err());
  });

  test("while the done channel of its context is made leaves that channel alive", async () => {
    const s = breakable("aborted");
    const ctx = fromSignal(s.signal);
    s.broken = true;
    const done = ctx.done();
    s.broken = false;
    const received = watch(done?.receive() as Promise<unknown>);
    await turns(1);
    expect(received.state).toBe("pending");
    s.abort();
    await turns(1);
    expect(received.state).toBe("fulfilled");
  });
});

test("a look that finds the end of a signal, of which no event has told, has the error of the waits", async () => {
  const signal = { aborted: false, reason: undefined as unknown, addEventListener() {}, removeEventListener() {} };
  const ctx = fromSignal(signal as unknown as AbortSignal);
  const waiting = [new Channel<number>().receive(ctx), new Channel<number>().receive(withCancel(ctx).ctx)].map(watch);
  Object.assign(signal, { aborted: true, reason: doom });
  const error = ctx.err();
  await turns(1);
  expect(error).toBeInstanceOf(Canceled);
  for (const { reason } of waiting) expect(reason).toBe(error);
  expect(ctx.err()).toBe(error);
});

test("a receive, a select and an iterator of done reject when its signal cannot be listened to", async () => {
  const s = breakable("addEventListener");
  s.broken = true;
  const done = fromSignal(s.signal).done() as ReceiveChannel<never>;
  await expect(done.receive()).rejects.toBe(doom);
  await expect(select({ done })).rejects.toBe(doom);
  await expect(done.values().next()).rejects.toBe(doom);
  s.broken = false;
  const second = watch(done.receive());
  await turns(1);
  expect(second.state).toBe("pending");
  s.abort();
  await turns(1);
  expect(second.value).toEqual({ value: undefined, ok: false });
});

test("a receive from done of a context that ended by what a foreign one threw rejects with that, then and later", async () => {
  const parent = foreign();
  const { ctx } = withCancel(parent);
  const done = ctx.done() as ReceiveChannel<never>;
  const received = watch(done.receive());
  parent.err = () => {
    throw doom;
  };
  for (const callBack of parent.listeners) callBack();
  await turns(1);
  expect([received.reason, ctx.err(), cause(ctx)]).toEqual([doom, doom, doom]);
  await expect(done.receive()).rejects.toBe(doom);
});

test("a receive from done, whose source cancels the receive's own context when it is asked, rejects and does not hang", async () => {
  const { ctx, cancel } = withCancel(background());
  const s = breakable("aborted");
  const done = fromSignal(s.signal).done();
  Object.defineProperty(s.signal, "aborted", {
    get() {
      cancel();
      return false;
    },
  });
  await expect(done?.receive(ctx)).rejects.toBeInstanceOf(Canceled);
  await expect(done?.values(ctx).next()).rejects.toBeInstanceOf(Canceled);
});

describe("a formatter of stacks, which full tracking runs while a wait parks,", () => {
  const { prepareStackTrace } = Error;
  afterEach(() => {
    Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
  });

  /** Runs `act` at the first stack that is formatted during `park`. */
  function during<R>(act: () => unknown, park: () => R): R {
    let acted = false;
    Error.prepareStackTrace = (error) => {
      if (!acted) {
        acted = true;
        act();
      }
      return String(error);
    };
    try {
      return park();
    } finally {
      Error.prepareStackTrace = prepareStackTrace as typeof Error.prepareStackTrace;
      expect(acted).toBe(true);
    }
  }

  test("may cancel the wait's context: the wait ends", async () => {
    const { ctx, cancel } = withCancel(background());
    const ch = new Channel<number>();
    await expect(during(cancel, () => ch.receive(ctx))).rejects.toBeInstanceOf(Canceled);
    expect(ch.trySend(1)).toBe(false);
  });

  test("may send what the wait is for: the value arrives", async () => {
    const ch = new Channel<number>();
    const values = ch.values();
    expect(
      await during(
        () => ch.trySend(1),
        () => ch.receive(),
      ),
    ).toEqual({ value: 1, ok: true });
    expect(
      await during(
        () => ch.trySend(2),
        () => values.next(),
      ),
    ).toEqual({ value: 2, done: false });
  });

  test("may park another: the first to park is served first", async () => {
    const ch = new Channel<number>();
    let second: Promise<unknown> | undefined;
    const first = during(
      () => {
        second = ch.receive();
      },
      () => ch.receive(),
    );
    ch.trySend(1);
    ch.trySend(2);
    expect([await first, await second]).toEqual([
      { value: 1, ok: true },
      { value: 2, ok: true },
    ]);
  });
});
