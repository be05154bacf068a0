/**
 * User code where select least expects it: getters among the cases, and contexts that call back at once, throw or lie.
 */
import { Channel } from "gopark/channel";
import { background, type Context, withCancel } from "gopark/context";
import { counters } from "gopark/leak";
import { type Selectable, select, trySelect } from "gopark/select";
import { describe, expect, test } from "vitest";
import { turn, turns } from "./support/turn.ts";

/** A context of the user's own type that ends when `end` is called; the test gives `afterFunc`. */
class Custom implements Context {
  private readonly channel = new Channel<never>();
  private error: Error | undefined;
  readonly signal = new AbortController().signal;
  readonly afterFunc: (fn: () => void) => () => boolean;

  constructor(afterFunc: (this: Custom, fn: () => void) => () => boolean) {
    this.afterFunc = afterFunc;
  }

  deadline(): undefined {}

  done() {
    return this.channel;
  }

  err(): Error | undefined {
    return this.error;
  }

  value(): undefined {}

  end(error: Error): void {
    this.error = error;
    this.channel.close();
  }
}

describe("a getter that acts on another case runs before any case is looked at", () => {
  const withGetter = (first: Record<string, Selectable>, act: () => unknown): Record<string, Selectable> =>
    Object.defineProperty(first, "getter", {
      enumerable: true,
      get() {
        act();
        return null;
      },
    });

  test("and takes the place a send had: the send waits, and is not lost", async () => {
    const ch = new Channel<number>(1);
    const s = select(withGetter({ sent: ch.sending(1) }, () => ch.trySend(0)));
    expect(ch.tryReceive()).toEqual({ value: 0, ok: true });
    expect(await s).toEqual({ case: "sent" });
    expect(ch.tryReceive()).toEqual({ value: 1, ok: true });
  });

  test("and takes the value a receive had: nothing is received", () => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    expect(trySelect(withGetter({ ch }, () => ch.tryReceive()))).toBeUndefined();
  });

  test("and sends to a case that was empty: it is seen", async () => {
    const ch = new Channel<number>(1);
    expect(await select(withGetter({ ch }, () => ch.trySend(1)))).toEqual({ case: "ch", value: 1, ok: true });
  });
});

describe("a context whose afterFunc", () => {
  const doom = new Error("doom");
  const throws = () =>
    new Custom(() => {
      throw doom;
    });

  test("throws ends what waits on it with that error, and leaves no ghost in a queue", async () => {
    const ch = new Channel<number>();
    await expect(ch.receive(throws())).rejects.toBe(doom);
    await expect(select({ ch, stop: throws() })).rejects.toBe(doom);
    expect(ch.trySend(7)).toBe(false);
    const { ctx } = withCancel(throws());
    await turns(2);
    expect(ctx.err()).toBe(doom);
    expect(Object.values(counters()).filter((n) => n !== 0)).toEqual([]);
  });

  test("calls back at once, because it has just ended, ends the wait once and loses no value", async () => {
    const endsNow = () =>
      new Custom(function (fn) {
        this.end(doom);
        fn();
        return () => false;
      });
    const ch = new Channel<number>();
    const receive = ch.receive(endsNow()).catch((error) => error);
    const stopped = select({ stop: endsNow(), ch });
    expect([await receive, await stopped]).toEqual([doom, { case: "stop", value: doom }]);
    await turn();
    expect(ch.trySend(7)).toBe(false);
    expect(Object.values(counters()).filter((n) => n !== 0)).toEqual([]);
  });
});

test("a context of the user's own type that has ended is a ready case at once, even at its first use", () => {
  const doom = new Error("doom");
  const over = new Custom(() => () => false);
  over.end(doom);
  expect(trySelect({ never: new Channel(), over })).toEqual({ case: "over", value: doom });
});

test("inherited properties of the cases are not cases", () => {
  const inherited = new Channel<number>(1);
  inherited.trySend(1);
  expect(trySelect(Object.assign(Object.create({ inherited }), { own: new Channel<number>() }))).toBeUndefined();
  expect(inherited.len()).toBe(1);
});

describe("select of an argument that is not an object of cases", () => {
  test.each([
    ["undefined", undefined, "undefined"],
    ["null", null, "null"],
    ["a number", 5, "5"],
    ["a function", () => {}, "function (anonymous)"],
    ["a channel by itself", new Channel(), "an object (Channel)"],
    ["a Map", new Map(), "an object (Map)"],
    ["an array", [new Channel()], "an object (Array)"],
    ["a signal by itself", new AbortController().signal, "an object (AbortSignal)"],
    ["a context by itself", background(), "an object (Root)"],
    ["a promise by itself", Promise.resolve(1), "an object (Promise)"],
    ["a thenable by itself", { then: () => {} }, "an object (Object)"],
  ])("%s is refused", async (_, cases, shown) => {
    const message = `select: cases must be an object, as in select({ name: channel }), got ${shown}`;
    await expect(select(cases as never)).rejects.toThrow(new TypeError(message));
    expect(() => trySelect(cases as never)).toThrow(new TypeError(message));
  });
});

test("a capacity of -0 is 0", () => {
  expect(new Channel(-0).cap()).toBe(0);
});
