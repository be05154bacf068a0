/** What a check leaves out: kinds, creators, functions on the stack; and for how long it looks again. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { current, find, LeakError, onLostCancel, onProved, Scope, scoped, track, verifyNone } from "gopark/leak";
import { sleep, Timer } from "gopark/time";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

beforeEach(() => track("full"));
afterEach(() => track("full"));

class Poller {
  readonly ch = new Channel<number>();

  poll(): void {
    void this.ch.receive();
  }

  start(): void {
    this.poll();
  }
}

function pollAgain(poller: Poller): void {
  void poller.ch.receive();
}

/** An expression that stands somewhere. */
function usedBefore(expression: RegExp): RegExp {
  expression.lastIndex = 3;
  return expression;
}

/** Two parked receives, of two functions. */
function twoPollers(): Poller {
  const poller = new Poller();
  poller.start();
  pollAgain(poller);
  return poller;
}

describe("a check leaves out", () => {
  test.each<[string, object, number]>([
    ["nothing by itself", {}, 2],
    ["a method by its name", { creators: ["poll"] }, 1],
    ["a method by its class and name", { creators: ["Poller.poll"] }, 1],
    ["no function that only ends in the name", { creators: ["oll"] }, 2],
    ["no function that only begins with the name", { creators: ["pollA"] }, 2],
    ["functions by a regular expression", { creators: [/poll/] }, 0],
    ["functions by their file", { creators: [/leak\.options\.test/] }, 0],
    ["the same, by an expression that remembers where it was", { creators: [/poll/g] }, 0],
    ["the same, by one that has found something before", { creators: [usedBefore(/poll/g)] }, 0],
    ["the same, by one that would look only there", { creators: [usedBefore(/poll/y)] }, 0],
    ["the same, by expressions that cannot remember", { creators: [Object.freeze(/poll/g)] }, 0],
    ["the same, by one of them that has been used", { creators: [Object.freeze(usedBefore(/poll/))] }, 0],
    ["functions on the stack by such expressions", { anyFunction: [Object.freeze(usedBefore(/POLL/giy))] }, 0],
    ["no function further down, by `creators`", { creators: ["start"] }, 2],
    ["every function on the stack, by `anyFunction`", { anyFunction: ["start"] }, 1],
    ["what any of several names", { creators: ["nobody", "pollAgain", "poll"] }, 0],
    ["a kind", { kinds: ["chan receive"] }, 0],
    ["no other kind", { kinds: ["chan send", "timer"] }, 2],
  ])("%s", async (_, options, left) => {
    const { ch } = twoPollers();
    expect(find(options)).toHaveLength(left);
    ch.close();
  });

  test("a kind without records", () => {
    track("counters");
    const timer = new Timer(60_000);
    expect(find({ kinds: ["timer"] })).toEqual([]);
    expect(find({ kinds: ["ticker"] })).toMatchObject([{ kind: "timer", count: 1 }]);
    timer.stop();
  });
});

describe("verifyNone looks again", () => {
  test("not at all with a timeout of 0", async () => {
    const ch = new Channel<number>();
    void ch.receive();
    const verified = verifyNone({ timeout: 0 });
    ch.close();
    await expect(verified).rejects.toThrow("found unexpected leaks: 1 chan receive");
  });

  test("until nothing is left", async () => {
    const ch = new Channel<number>();
    void ch.receive();
    const verified = verifyNone({ timeout: Number.POSITIVE_INFINITY });
    setImmediate(() => ch.close());
    await verified;
  });
});

test("ages are as of one instant: what was made in one millisecond has one age", () => {
  const ch = new Channel<number>();
  for (let i = 0; i < 1000; i++) void ch.receive();
  const ages = find().map(({ ageMs }) => ageMs as number);
  expect(ages).toEqual(ages.toSorted((a, b) => b - a)); // The oldest first.
  ch.close();
});

test("each look again ends at the first leak", async () => {
  const ch = new Channel<number>();
  for (let i = 0; i < 100; i++) void ch.receive();
  let looks = 0;
  const tried = /never/;
  tried.test = () => looks++ < 0;
  await expect(verifyNone({ creators: [tried], timeout: 20 })).rejects.toThrow("100 chan receive");
  expect(looks).toBeGreaterThan(100);
  expect(looks).toBeLessThan(200); // The 100 of the report, and one for each look before it.
  ch.close();
});

test("a report groups what was made at one place, the oldest place first", async () => {
  const [ctx, cancel] = withCancel(background());
  const ch = new Channel<number>();
  for (const place of ["twice", "once", "twice"]) {
    if (place === "twice") void ch.receive();
    else void ch.receive();
  }
  sleep(60_000, ctx).catch(() => {});
  const error = await verifyNone({ timeout: 0 }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LeakError);
  const groups = (error as LeakError).message.split("\n\n").map((group) => group.split(",")[0]);
  expect(groups).toEqual([
    "found unexpected leaks: 1 context",
    "1 context",
    "2 chan receive",
    "1 chan receive",
    "1 sleep",
  ]);
  expect((error as LeakError).leaks).toHaveLength(5);
  cancel();
  ch.close();
});

describe("refuses", () => {
  const cases: [string, unknown, string][] = [
    ["kinds", "timer", 'kinds must be an array of strings, got "timer"'],
    ["kinds", [1], "kinds must be an array of strings, got 1"],
    ["creators", [undefined], "creators must be an array of strings and regular expressions, got undefined"],
    ["anyFunction", /poll/, "anyFunction must be an array of strings and regular expressions, got an object (RegExp)"],
    ["ignore", 1, "ignore must be a Snapshot, which current() returns, got 1"],
    ["ignore", current, "ignore must be a Snapshot, which current() returns, got function current"],
    ["ignore", {}, "ignore must be a Snapshot, which current() returns, got an object (Object)"],
    ["ignore", null, "ignore must be a Snapshot, which current() returns, got null"],
    ...[
      { unrecorded: new Map(), entries: new Set() },
      { unrecorded: new Map(), proved: new Set() },
      { entries: new Set(), proved: new Set() },
    ].map((part): [string, unknown, string] => [
      "ignore",
      part,
      "ignore must be a Snapshot, which current() returns, got an object (Object)",
    ]),
    ["scope", {}, "scope must be a Scope, got an object (Object)"],
    ["timeout", "1", 'timeout must be a number of milliseconds, got "1"'],
    ["timeout", Number.NaN, "timeout must be a number of milliseconds, got NaN"],
    ["timeout", -1, "timeout must be at least 0, got -1"],
  ];
  test.each(cases)("%s: %j", async (name, value, message) => {
    const options = { [name]: value } as never;
    expect(() => find(options)).toThrow(`find: ${message}`);
    await expect(verifyNone(options)).rejects.toThrow(`verifyNone: ${message}`);
    await expect(scoped(() => {}, options)).rejects.toThrow(`scoped: ${message}`);
  });

  test("options that are none", async () => {
    expect(() => find(1 as never)).toThrow("find: options must be an object, got 1");
    await expect(verifyNone("x" as never)).rejects.toThrow('verifyNone: options must be an object, got "x"');
  });

  test("functions that are none", async () => {
    expect(() => onProved(1 as never)).toThrow("onProved: fn must be a function, got 1");
    expect(() => onLostCancel({} as never)).toThrow("onLostCancel: fn must be a function, got an object (Object)");
    await expect(scoped(1 as never)).rejects.toThrow("scoped: fn must be a function, got 1");
    expect(() => new Scope().run({} as never)).toThrow("run: fn must be a function, got an object (Object)");
  });
});
