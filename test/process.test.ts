/** Whole processes, on the built package: what keeps one alive, what lets it exit, and what it reports. */
import { describe, expect, test } from "vitest";
import { run } from "./support/run.ts";

const IMPORT = 'import { after, Channel, context, go, rate, select, semaphore, time } from "gopark";';

// A process that lived for these would run into the test's timeout.
const HOUR = 3_600_000;

describe("a process exits at once", () => {
  test.each([
    ["holding a context without a wait", `context.withTimeout(context.background(), ${HOUR});`],
    ["holding a timer and a ticker", `new time.Timer(${HOUR}); new time.Ticker(${HOUR});`],
    [
      "when the wait on a deadline is over",
      `
      const { ctx } = context.withTimeout(context.background(), ${HOUR});
      const ch = new Channel();
      const r = ch.receive(ctx);
      await ch.send(1);
      await r;`,
    ],
    ["with only waits that nothing can end", "void new Channel().receive();"],
    ...Object.entries({
      "a sleep": "time.sleep(1, ctx)",
      "a wait for a limiter": "(limiter.allow(), limiter.wait(ctx))",
      "a receive": "new Channel().receive(ctx)",
      "an acquire": "new semaphore.Weighted(0).acquire(ctx, 0).then(() => new Channel().receive(ctx))",
      "a receive from a ticker": `new time.Ticker(${HOUR}).c.receive(ctx)`,
    }).map(([what, wait]) => [
      `when ${what} was cancelled`,
      `
      context.withTimeout(context.background(), ${HOUR});
      const limiter = new rate.Limiter(1, 1);
      const [ctx, cancel] = context.withCancel(context.background());
      const waiting = ${wait}.catch(() => {});
      cancel();
      await waiting;`,
    ]),
  ])("%s", async (_, code) => {
    expect(await run(`${IMPORT}${code}; console.log("end")`)).toEqual({ status: 0, out: "end\n", err: "" });
  });
});

describe("a process lives on for", () => {
  test.each([
    ["a sleep", "await time.sleep(20);"],
    [
      "a wait on a context with a deadline",
      `
      const { ctx } = context.withTimeout(context.background(), 20);
      await new Channel().receive(ctx).catch(() => {});`,
    ],
    [
      "a wait on the child of such a context",
      `
      const { ctx: parent } = context.withTimeout(context.background(), 20);
      const { ctx } = context.withCancel(context.withValue(parent, "k", 1));
      await new semaphore.Weighted(1).acquire(ctx).then(() => new Channel().receive(ctx)).catch(() => {});`,
    ],
    [
      "a wait for its done channel",
      `
      const { ctx } = context.withTimeout(context.background(), 20);
      await ctx.done().receive();`,
    ],
    [
      "a select on it",
      `
      const { ctx } = context.withTimeout(context.background(), 20);
      await select({ ctx, never: new Channel() });`,
    ],
    ["a select with a timeout", "await select({ late: after(20), never: new Channel() });"],
    ["a receive from a timer", "await new time.Timer(20).c.receive();"],
    ["a sleep after a timer has woken a waiter", "await new time.Timer(1).c.receive(); await time.sleep(20);"],
    ["a sleep after a select has timed out", "await select({ late: after(1) }); await time.sleep(20);"],
    [
      "a sleep after a wait for a ticker was cancelled",
      `
      const ticker = new time.Ticker(${HOUR});
      const [ctx, cancel] = context.withCancel(context.background());
      const tick = ticker.c.receive(ctx).catch(() => {});
      cancel();
      await tick;
      await time.sleep(20);`,
    ],
  ])("%s", async (_, code) => {
    expect(await run(`${IMPORT}${code}; console.log("end")`)).toEqual({ status: 0, out: "end\n", err: "" });
  });
});

test("the mock timers of node:test drive deadlines, once they move the clock too", async () => {
  const code = `${IMPORT}
    import { mock } from "node:test";
    mock.timers.enable({ apis: ["setTimeout", "Date"] });
    const { ctx } = context.withTimeout(context.background(), ${HOUR});
    const wait = new Channel().receive(ctx).catch((err) => console.log(String(err)));
    mock.timers.tick(${HOUR} - 1);
    console.log(ctx.err());
    mock.timers.tick(1);
    await wait;`;
  const { status, out } = await run(code);
  expect([status, out]).toEqual([0, "undefined\nTimeoutError: context deadline exceeded\n"]);
});

test("an unhandled error of a task is reported like any other", async () => {
  const { status, err } = await run(`${IMPORT} void go(() => { throw new Error("nobody cares"); });`);
  expect(status).toBe(1);
  expect(err).toContain("nobody cares");
});

test("two copies of the package know each other's errors and contexts", async () => {
  const code = `
    import * as one from "./dist/index.js";
    import * as two from "./dist/index.js?copy";
    import * as errors from "./dist/context.js?copy";
    const { ctx, cancel } = one.context.withCancel(one.context.background());
    cancel(new Error("why"));
    console.log(ctx.err() instanceof errors.Canceled, ctx.err() instanceof errors.DeadlineExceeded);
    console.log(errors.withCancel(ctx).ctx.err() === ctx.err(), errors.cause(errors.withCancel(ctx).ctx).message);
    const later = one.context.withCancel(one.context.background());
    const child = errors.withCancel(later.ctx).ctx;
    later.cancel();
    await new Promise((resolve) => setImmediate(resolve));
    console.log(String(child.err()));`;
  const { out, err } = await run(code);
  expect(err).toBe("");
  expect(out).toBe("true false\ntrue why\nAbortError: context canceled\n");
});

test("all deadlines share one host timer, and cancelling never touches it", async () => {
  const code = `
    let calls = 0;
    for (const name of ["setTimeout", "clearTimeout"]) {
      const real = globalThis[name];
      globalThis[name] = (...args) => { calls++; return real(...args); };
    }
    const { context } = await import("gopark");
    const first = context.withTimeout(context.background(), 1000);
    const before = calls;
    for (let i = 0; i < 100; i++) context.withTimeout(context.background(), 1001 + i).cancel();
    first.cancel();
    console.log(before, calls);`;
  expect(await run(code)).toEqual({ status: 0, out: "1 1\n", err: "" });
});

test("a sleep wakes although the host's timers were mocked for a moment in between", async () => {
  const code = `
    import { context, time } from "gopark";
    const { setTimeout: real, clearTimeout: realClear } = globalThis;
    const slept = time.sleep(60);
    Object.assign(globalThis, { setTimeout: () => ({}), clearTimeout: () => {} });
    context.withTimeout(context.background(), 5).cancel();
    setImmediate(() => Object.assign(globalThis, { setTimeout: real, clearTimeout: realClear }));
    await slept;
    console.log("awake");`;
  expect(await run(code)).toEqual({ status: 0, out: "awake\n", err: "" });
});
