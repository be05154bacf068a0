/** Whole processes, on the built package: what keeps one alive, what lets it exit, and what it reports. */
import { describe, expect, test } from "vitest";
import { EXITS, HOUR, IMPORT, LIVES } from "./support/lifetimes.ts";
import { run } from "./support/run.ts";

describe("a process exits at once", () => {
  test.each(EXITS)("%s", async (_, code) => {
    expect(await run(`${IMPORT}${code}; console.log("end")`)).toEqual({ status: 0, out: "end\n", err: "" });
  });
});

describe("a process lives on for", () => {
  test.each(LIVES)("%s", async (_, code) => {
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
