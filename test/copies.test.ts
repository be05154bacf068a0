/**
 * Two copies of the package in one process, as two dependencies bring them, or import and require on an older Node:
 * what one makes works in the other.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answer, install, type Project, project } from "./support/hosts.ts";

/**
 * Bodies of async functions in which `one` and `two` are the copies, each with what it must return. All of them run at
 * once, in one process.
 */
const CASES: Record<string, [program: string, wanted: unknown]> = {
  "the copies are two": [
    "return [one.Channel === two.Channel, one.context.background === two.context.background];",
    [false, false],
  ],

  "a channel with a value is a ready case": [
    `const ch = new one.Channel(1);
    ch.trySend(7);
    return [await two.select({ ch }), ch.len()];`,
    [{ case: "ch", value: 7, ok: true }, 0],
  ],
  "a parked select receives from a channel": [
    `const ch = new one.Channel();
    const waiting = two.select({ never: new two.Channel(), ch });
    await ch.send(7);
    return [await waiting, ch.trySend(8)];`,
    [{ case: "ch", value: 7, ok: true }, false],
  ],
  "a parked select learns that a channel was closed": [
    "const ch = new one.Channel(); const waiting = two.select({ ch }); ch.close(); return waiting;",
    { case: "ch", ok: false },
  ],
  "a send case is ready": [
    `const ch = new one.Channel(1);
    return [await two.select({ sent: ch.sending(7) }), await ch.receive()];`,
    [{ case: "sent" }, { value: 7, ok: true }],
  ],
  "a parked select sends": [
    `const ch = new one.Channel();
    const waiting = two.select({ never: new two.Channel(), sent: ch.sending(7) });
    return [await ch.receive(), await waiting];`,
    [{ value: 7, ok: true }, { case: "sent" }],
  ],
  "a select's send to a closed channel rejects": [
    `const ch = new one.Channel();
    const waiting = two.select({ sent: ch.sending(7) });
    ch.close();
    const errors = [await caught(waiting), await caught(two.select({ sent: ch.sending(8) }))];
    return errors.map((err) => [err instanceof one.channel.ClosedChannelError, err.value]);`,
    [
      [true, 7],
      [true, 8],
    ],
  ],
  "a breaker's refusal is an instance of either copy's class": [
    `const cb = new one.breaker.CircuitBreaker({ readyToTrip: () => true });
    await caught(cb.execute(() => Promise.reject(1)));
    const err = await caught(cb.execute(() => 1));
    return [err instanceof two.breaker.OpenStateError, err instanceof two.breaker.TooManyRequestsError];`,
    [true, false],
  ],
  "a full queue's error and a closed pool's are instances of either copy's classes": [
    `const pool = new one.workers.Workers(1, { maxWaiting: 0 });
    const running = pool.submit(() => Promise.resolve());
    const full = await caught(pool.submit(() => 1));
    await running;
    await pool.release();
    const closed = await caught(pool.submit(() => 1));
    return [full, closed].map((err) => [err instanceof two.workers.QueueFullError, err instanceof two.workers.PoolClosedError]);`,
    [
      [true, false],
      [false, true],
    ],
  ],
  "a retry knows the other copy's permanent error, and takes its budget": [
    `let calls = 0;
    const fail = (err) => () => { calls++; throw err; };
    const budget = new two.retry.Budget({ min: 1 });
    const gone = await caught(one.retry(bg, fail(two.retry.permanent("gone")), { budget }));
    const down = await caught(one.retry(two.context.background(), fail("down"), { budget, base: 0 }));
    return [gone, down, calls, budget.tokens()];`,
    ["gone", "down", 3, 0],
  ],
  "a parked select hears the abort of a signal whose context is the other copy's": [
    `const controller = new AbortController();
    const waiting = two.select({ stop: one.context.fromSignal(controller.signal), never: new two.Channel() });
    controller.abort("enough");
    const { case: which, value } = await waiting;
    return [which, value.cause];`,
    ["stop", "enough"],
  ],
  "a parked select learns of the end of a context of the other copy, below a foreign one": [
    `const [parent, cancel] = one.context.withCancel(one.context.background());
    const foreign = { deadline: () => undefined, done: () => parent.done(), err: () => parent.err(), value: () => undefined };
    const [ctx] = one.context.withCancel(foreign);
    const waiting = two.select({ stop: ctx, never: new two.Channel() });
    cancel();
    return (await waiting).value.name;`,
    "AbortError",
  ],
  "what a foreign context throws is the error of the other copy's select": [
    `const foreign = { deadline: () => undefined, done: () => new one.Channel(), err: () => undefined, value: () => undefined,
      afterFunc: () => { throw new RangeError("no"); } };
    const ctx = one.context.fromSignal(Object.assign(new AbortController().signal, { addEventListener: () => { throw new RangeError("no"); } }));
    return [(await caught(two.select({ stop: ctx, never: new two.Channel() }))).message];`,
    ["no"],
  ],
  "selects of two copies talk to each other": [
    `const ch = new one.Channel();
    const receiving = two.select({ got: ch });
    const sending = one.select({ sent: ch.sending(7) });
    return [await receiving, await sending];`,
    [{ case: "got", value: 7, ok: true }, { case: "sent" }],
  ],
  "a select over both copies lets one case happen, and leaves the other channel alone": [
    `const [a, b] = [new one.Channel(), new two.Channel()];
    const waiting = two.select({ a, b });
    const sent = [a.trySend(1), b.trySend(2)];
    return [await waiting, sent, a.trySend(3), b.trySend(4)];`,
    [{ case: "a", value: 1, ok: true }, [true, false], false, false],
  ],
  "a losing send case of the other copy sends nothing": [
    `const [a, b] = [new one.Channel(), new two.Channel()];
    const waiting = two.select({ a: a.sending(1), b: b.sending(2) });
    const got = b.tryReceive();
    return [await waiting, got, a.tryReceive() === undefined];`,
    [{ case: "b" }, { value: 2, ok: true }, true],
  ],
  "trySelect receives, sends, and finds nothing": [
    `const ch = new one.Channel(1);
    const full = two.trySelect({ sent: ch.sending(7) });
    const none = two.trySelect({ sent: ch.sending(8) });
    return [full, none === undefined, two.trySelect({ ch }), two.trySelect({ ch }) === undefined];`,
    [{ case: "sent" }, true, { case: "ch", value: 7, ok: true }, true],
  ],
  "`after` in a parked select": [
    `const s = await two.select({ late: one.after(5), never: new two.Channel() });
    return [s.case, typeof s.value];`,
    ["late", "number"],
  ],
  "`after` in trySelect, and one that loses": [
    `const ch = new two.Channel(1);
    ch.trySend(7);
    return [two.trySelect({ late: one.after(3_600_000) }) === undefined, await two.select({ ch, late: one.after(3_600_000) })];`,
    [true, { case: "ch", value: 7, ok: true }],
  ],
  "a timer's channel, a ticker's, and a context's done": [
    `const ticker = new one.time.Ticker(5);
    const answers = [
      await two.select({ timer: new one.time.Timer(5).c }),
      await two.select({ ticker: ticker.c }),
      await two.select({ done: one.context.withTimeout(bg, 5).ctx.done() }),
    ];
    ticker.stop();
    return answers.map((s) => s.case);`,
    ["timer", "ticker", "done"],
  ],
  "a context is a case, parked and ready": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    const waiting = two.select({ stop: ctx, never: new two.Channel() });
    cancel();
    const answers = [await waiting, await two.select({ stop: ctx }), two.trySelect({ stop: ctx })];
    return answers.map((s) => [s.case, s.value === ctx.err()]);`,
    [
      ["stop", true],
      ["stop", true],
      ["stop", true],
    ],
  ],

  "a parent of the other copy ends its children, with its error and cause": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    const child = two.context.withCancel(two.context.withValue(ctx, "k", 1)).ctx;
    const cause = new Error("why");
    cancel(cause);
    await turns();
    return [child.err() === ctx.err(), two.context.cause(child) === cause, one.context.cause(child) === cause];`,
    [true, true, true],
  ],
  "a chain of contexts through both copies ends, waits and all": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    const below = two.context.withCancel(ctx);
    const bottom = one.context.withCancel(below.ctx);
    const waiting = caught(new two.Channel().receive(bottom.ctx));
    cancel();
    const err = await waiting;
    return [err === ctx.err(), bottom.ctx.err() === ctx.err()];`,
    [true, true],
  ],
  "a child's end leaves its parent": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    const child = two.context.withCancel(ctx);
    child.cancel();
    await turns();
    return [child.ctx.err() instanceof one.context.Canceled, ctx.err() === undefined, cancel()];`,
    [true, true, null],
  ],
  "a parent's deadline and values hold below": [
    `const key = one.context.contextKey("k");
    const parent = one.context.withTimeout(one.context.withValue(bg, key, 7), 3_600_000).ctx;
    const child = two.context.withTimeout(parent, 7_200_000).ctx;
    return [child.deadline() === parent.deadline(), child.value(key)];`,
    [true, 7],
  ],
  "every wait ends by a context of the other copy": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    const ch = new two.Channel();
    const sem = new two.semaphore.Weighted(1);
    const limiter = new two.rate.Limiter(1e-6, 1);
    sem.tryAcquire();
    limiter.allow();
    const waits = [
      ch.receive(ctx), new two.Channel().send(1, ctx), ch.values(ctx).next(), two.time.sleep(3_600_000, ctx),
      sem.acquire(ctx), sem.permit(ctx), limiter.wait(ctx),
    ].map(caught);
    cancel();
    const errors = await Promise.all(waits);
    return [errors.every((err) => err === ctx.err()), ch.trySend(1), sem.waiting()];`,
    [true, false, 0],
  ],
  "a context of the other copy that has ended wins at the call": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    cancel();
    const ch = new two.Channel(1);
    ch.trySend(7);
    return [(await caught(ch.receive(ctx))) === ctx.err(), ch.len()];`,
    [true, 1],
  ],
  "a deadline of the other copy ends a wait": [
    `const err = await caught(two.time.sleep(3_600_000, one.context.withTimeout(bg, 5).ctx));
    return [err instanceof two.context.DeadlineExceeded, two.time.now() >= 0];`,
    [true, true],
  ],
  "a deadline of the other copy ends a loop that never waits": [
    `const errors = [];
    for (let i = 0; i < 20; i++) {
      const sem = new two.semaphore.Weighted(1);
      const ctx = one.context.withTimeout(bg, 2).ctx;
      const loop = async () => {
        for (;;) {
          await sem.acquire(ctx);
          sem.release();
        }
      };
      errors.push(await caught(loop()));
    }
    return errors.map((err) => err.message).filter((message) => message !== "context deadline exceeded");`,
    [],
  ],
  "a limiter fails early by a deadline of the other copy": [
    `const limiter = new two.rate.Limiter(1e-6, 1);
    limiter.allow();
    const err = await caught(limiter.wait(one.context.withTimeout(bg, 3_600_000).ctx));
    return [err.message, one.context.is(err, one.context.DeadlineExceeded)];`,
    ["rate: Wait(n=1) would exceed context deadline", true],
  ],
  "afterFunc on a context of the other copy": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    const log = [];
    two.context.afterFunc(ctx, () => log.push("ran"));
    const stop = two.context.afterFunc(ctx, () => log.push("stopped"));
    log.push(stop());
    cancel();
    await turns();
    return log;`,
    [true, "ran"],
  ],
  "groups and maps take contexts and channels of the other copy": [
    `const ch = new one.Channel(3);
    for (const i of [1, 2, 3]) ch.trySend(i);
    ch.close();
    const { ctx, cancel } = one.context.withCancel(bg);
    const doubled = await two.errgroup.map(ctx, ch, (i) => 2 * i, { limit: 2 });
    cancel();
    return doubled;`,
    [2, 4, 6],
  ],

  "errors of one copy are of the other's classes": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    cancel();
    const late = one.context.withTimeout(bg, 0).ctx.err();
    const closed = new one.Channel();
    closed.close();
    const errors = [ctx.err(), late, await caught(closed.send(1))];
    const classes = [two.context.Canceled, two.context.DeadlineExceeded, two.channel.ClosedChannelError];
    return errors.map((err) => classes.map((cls) => err instanceof cls));`,
    [
      [true, false, false],
      [false, true, false],
      [false, false, true],
    ],
  ],
  "context.is looks through errors of the other copy, and stops at them": [
    `const { ctx, cancel } = one.context.withCancel(bg);
    cancel(new one.context.DeadlineExceeded());
    const wrapped = new AggregateError([new Error("request", { cause: ctx.err() })]);
    return [two.context.is(wrapped, two.context.Canceled), two.context.is(wrapped, two.context.DeadlineExceeded)];`,
    [true, false],
  ],
};

/** How two copies come into one process: the program that runs the cases, and the flags of Node. */
const WAYS: Record<string, { program: string; flags: readonly string[] }> = {
  "two installed packages": { program: "two.mjs", flags: [] },
  // As before Node 20.19 and 22.12, which cannot require an ES module.
  "import and require": { program: "required.mjs", flags: ["--no-experimental-require-module"] },
};

const answers: Record<string, Record<string, unknown>> = {};
let home: Project;

beforeAll(async () => {
  home = project("one");
  install(join(home.path, "two"));
  for (const place of ["one.mjs", "two/two.mjs"]) {
    home.write(place, 'export * from "gopark";\nexport { trySelect } from "gopark/select";\n');
  }
  home.write("two.mjs", 'import * as two from "./two/two.mjs";\nimport run from "./run.mjs";\nvoid run(two);\n');
  home.write(
    "required.mjs",
    `
    import { createRequire } from "node:module";
    import run from "./run.mjs";
    const require = createRequire(import.meta.url);
    void run({ ...require("gopark"), trySelect: require("gopark/select").trySelect });`,
  );
  home.write(
    "run.mjs",
    `
    import * as one from "./one.mjs";
    const bg = one.context.background();
    const caught = (promise) => promise.then((value) => { throw new Error("not rejected"); }, (err) => err);
    const turns = async () => { for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve)); };
    export default async function run(two) {
      const cases = {
        ${Object.entries(CASES)
          .map(([name, [text]]) => `${JSON.stringify(name)}: async () => { ${text} },`)
          .join("\n")}
      };
      const answers = { unhandled: [] };
      process.on("unhandledRejection", (err) => answers.unhandled.push(String(err)));
      const all = Object.entries(cases).map(async ([name, run]) => {
        answers[name] = "never ended";
        answers[name] = await run().then((value) => value ?? null, String);
      });
      // A case that hangs must not hide the results of the others.
      await Promise.race([Promise.all(all), new Promise((resolve) => setTimeout(resolve, 10_000))]);
      console.log(JSON.stringify(answers));
      process.exit();
    }`,
  );
  for (const [way, { program, flags }] of Object.entries(WAYS)) {
    answers[way] = await answer(home.path, ...flags, program);
  }
}, 60_000);
afterAll(() => home.remove());

describe.each(Object.keys(WAYS))("%s", (way) => {
  test.each(Object.keys(CASES))("%s", (name) => {
    const [, wanted] = CASES[name] as [string, unknown];
    expect(answers[way]?.[name]).toEqual(wanted);
  });

  test("none of this left an unhandled error", () => {
    expect(answers[way]?.unhandled).toEqual([]);
  });
});
