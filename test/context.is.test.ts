/** `context.is`: what an error is, through all wrappers, and no further than a context's error. */
import { setTimeout as delay } from "node:timers/promises";
import { Channel, ClosedChannelError } from "gopark/channel";
import { background, Canceled, DeadlineExceeded, is, withCancel, withTimeout } from "gopark/context";
import { describe, expect, test } from "vitest";

/** Both answers: whether the error is a cancel, and whether it is a deadline. */
function kindOf(err: unknown): [canceled: boolean, exceeded: boolean] {
  return [is(err, Canceled), is(err, DeadlineExceeded)];
}

const CANCELED = [true, false];
const EXCEEDED = [false, true];
const NEITHER = [false, false];

const wrap = (cause: unknown) => new Error("request failed", { cause });
const several = (...errors: unknown[]) => new AggregateError(errors, "all failed");

/** The error with which a promise rejects. */
async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  const [outcome] = await Promise.allSettled([promise]);
  if (outcome?.status !== "rejected") throw new Error("the promise was not rejected");
  return outcome.reason;
}

describe("looks through", () => {
  test.each([
    ["the error itself", new Canceled(), CANCELED],
    ["a cause", wrap(new DeadlineExceeded()), EXCEEDED],
    ["a cause of causes", wrap(wrap(wrap(new Canceled()))), CANCELED],
    ["several errors", several(new TypeError(), new DeadlineExceeded()), EXCEEDED],
    ["several errors of different kinds", several(new Canceled(), new DeadlineExceeded()), [true, true]],
    ["several errors in several errors", several(several(new TypeError()), several(wrap(new Canceled()))), CANCELED],
    ["the cause of one of several", several(wrap(new DeadlineExceeded()), new TypeError()), EXCEEDED],
    ["several errors as a cause", wrap(several(new DeadlineExceeded())), EXCEEDED],
    ["the cause beside several", Object.assign(several(new TypeError()), { cause: new Canceled() }), CANCELED],
    ["several of none", several(), NEITHER],
    ["values that are no errors", several("x", undefined, null, 1, wrap("y"), wrap(null)), NEITHER],
    ["an error of another kind", wrap(new RangeError()), NEITHER],
  ])("%s", (_, err, wanted) => {
    expect(kindOf(err)).toEqual(wanted);
  });

  test("any class of error", () => {
    class Refused extends Error {}
    const err = several(new Error("x"), wrap(new Refused()), new ClosedChannelError(1));
    expect([Refused, ClosedChannelError, AggregateError, Error, TypeError].map((cls) => is(err, cls))).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
  });

  test("long chains and wide trees", () => {
    let chain: Error = new Canceled();
    for (let i = 0; i < 20_000; i++) chain = wrap(chain);
    expect(kindOf(chain)).toEqual(CANCELED);
    let nest: Error = new DeadlineExceeded();
    for (let i = 0; i < 20_000; i++) nest = several(nest);
    expect(kindOf(nest)).toEqual(EXCEEDED);
  });

  // Each level leads twice to the one below, so that there are 2 ** 100 ways to the bottom.
  test("an error that is reachable in several ways, once", () => {
    let twice: Error = new TypeError();
    for (let i = 0; i < 100; i++) twice = several(twice, wrap(twice));
    expect(kindOf(twice)).toEqual(NEITHER);
    expect(is(twice, TypeError)).toBe(true);
  });

  test("circles, once around", () => {
    const own = new Error("own") as Error & { cause: unknown };
    own.cause = own;
    const pair = wrap(undefined) as Error & { cause: unknown };
    pair.cause = wrap(pair);
    const errors: Error[] = [];
    const circle = new AggregateError(errors);
    circle.errors.push(circle, wrap(circle), new Canceled());
    expect([own, pair, circle].map(kindOf)).toEqual([NEITHER, NEITHER, CANCELED]);
  });

  test("an AggregateError of more errors than a call can have arguments", () => {
    const errors = Array.from({ length: 200_000 }, () => wrap("x"));
    expect(
      kindOf(several(...errors.slice(0, 9), Object.assign(several(), { errors: [...errors, new Canceled()] }))),
    ).toEqual(CANCELED);
  });

  test("an AggregateError whose `errors` is no list", () => {
    const odd = [undefined, null, 7, {}, "Canceled"].map((errors) => Object.assign(several(), { errors }));
    expect(odd.map(kindOf)).toEqual(odd.map(() => NEITHER));
  });
});

test("an error without a name is of its own class alone", () => {
  class Other extends Error {}
  expect([Other, Error].map((cls) => is(Object.assign(new Error("x"), { name: undefined }), cls))).toEqual([
    false,
    true,
  ]);
});

describe("never looks behind a Canceled or DeadlineExceeded", () => {
  class Refused extends Error {}

  test.each([
    ["a cancel because of a time-out", new Canceled(new DeadlineExceeded()), CANCELED],
    ["a deadline whose cause is a cancel", new DeadlineExceeded(new Canceled()), EXCEEDED],
    ["a cancel because of a wrapped time-out", new Canceled(wrap(new DeadlineExceeded())), CANCELED],
    ["a cancel because of several errors", new Canceled(several(new DeadlineExceeded())), CANCELED],
    ["a wrapped cancel", wrap(new Canceled(new DeadlineExceeded())), CANCELED],
    ["one of several", several(new TypeError(), new Canceled(new DeadlineExceeded())), CANCELED],
    ["a cancel because of the host's time-out", new Canceled(new DOMException("late", "TimeoutError")), CANCELED],
  ])("%s", (_, err, wanted) => {
    expect(kindOf(err)).toEqual(wanted);
  });

  test("for any class", () => {
    const err = wrap(new Canceled(new Refused()));
    expect([Refused, Canceled, Error].map((cls) => is(err, cls))).toEqual([false, true, true]);
  });

  test("in the errors of a context: its cause is asked by `cause`", async () => {
    const [ctx, cancel] = withCancel(background());
    const waiting = reasonOf(new Channel().receive(ctx));
    cancel(withTimeout(background(), 0).ctx.err());
    expect([ctx.err(), wrap(await waiting)].map(kindOf)).toEqual([CANCELED, CANCELED]);
  });
});

describe("an error of the host", () => {
  // A DOMException takes a cause as an option in Node; its type here knows only the name.
  const host = (name: string, cause?: unknown): Error => {
    const err = new DOMException("by the host", name);
    return cause === undefined ? err : Object.assign(err, { cause });
  };

  test.each([
    ["an AbortError", host("AbortError"), CANCELED],
    ["a TimeoutError", host("TimeoutError"), EXCEEDED],
    ["the reason of an aborted signal", AbortSignal.abort().reason, CANCELED],
    ["wrapped", wrap(host("TimeoutError")), EXCEEDED],
    ["among several", several(new TypeError(), host("AbortError")), CANCELED],
    ["an AbortError because of a deadline", host("AbortError", new DeadlineExceeded()), EXCEEDED],
    ["a TimeoutError because of a cancel", host("TimeoutError", new Canceled()), CANCELED],
    [
      "an AbortError because of a cancel because of a deadline",
      host("AbortError", new Canceled(new DeadlineExceeded())),
      CANCELED,
    ],
    ["an AbortError because of a wrapped deadline", host("AbortError", wrap(new DeadlineExceeded())), EXCEEDED],
    ["an AbortError because of something else", host("AbortError", new RangeError()), CANCELED],
    ["another DOMException", host("DataCloneError"), NEITHER],
  ])("counts as what it stands for, unless a context's error is its cause: %s", (_, err, wanted) => {
    expect(kindOf(err)).toEqual(wanted);
  });

  test("counts as no other class", () => {
    class MyCanceled extends Canceled {}
    expect(is(host("AbortError"), MyCanceled)).toBe(false);
    expect(is(host("TimeoutError"), TypeError)).toBe(false);
  });

  test("of Node's own APIs, which wrap the reason of a context's signal", async () => {
    const [ctx, cancel] = withCancel(background());
    const waiting = reasonOf(delay(3_600_000, null, { signal: ctx.signal }));
    cancel();
    expect(kindOf(await waiting)).toEqual(CANCELED);
    const late = withTimeout(background(), 0).ctx;
    expect(kindOf(await reasonOf(delay(3_600_000, null, { signal: late.signal })))).toEqual(EXCEEDED);
  });

  test("of Node's own APIs, which wrap a foreign reason", async () => {
    const errors = [new RangeError("why"), host("TimeoutError"), undefined].map((reason) =>
      reasonOf(delay(3_600_000, null, { signal: AbortSignal.abort(reason) })),
    );
    const [other, late, none] = await Promise.all(errors);
    expect([kindOf(other), is(late, DeadlineExceeded), kindOf(none)]).toEqual([CANCELED, true, CANCELED]);
  });
});

describe("a target that is not a class", () => {
  test.each([
    ["a name", "Canceled", '"Canceled"'],
    ["nothing", undefined, "undefined"],
    ["null", null, "null"],
    ["an error", new Canceled(), "Canceled"],
    ["an object", {}, "Object"],
    ["a number", 7, "7"],
  ])("is a TypeError that says what was given: %s", (_, target, given) => {
    const ask = (err: unknown) => () => is(err, target as never);
    for (const err of [new Canceled(), wrap(new Error("x")), undefined, "x"]) {
      expect(ask(err)).toThrow(TypeError);
      expect(ask(err)).toThrow(given);
      expect(ask(err)).not.toThrow("Right-hand side");
    }
  });

  test("an arrow function is none, either", () => {
    expect(() => is(new Canceled(), (() => {}) as never)).toThrow(TypeError);
  });
});

test.each([undefined, null, "context canceled", 7, {}])("a value that is not an error matches nothing: %s", (err) => {
  expect(kindOf(err)).toEqual(NEITHER);
});
