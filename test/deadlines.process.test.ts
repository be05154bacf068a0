/** Waits that can never end do not keep a process alive; those that a timer can still end do. */
import { describe, expect, test } from "vitest";
import { BOUND, IMPORT, run } from "./support/run.ts";

const HOUR = 3_600_000;

describe("a process exits at once with", () => {
  test.each([
    ["a receive from a stopped timer", `const t = new time.Timer(${HOUR}); t.stop(); void t.c.receive();`],
    ["a receive from a timer that is stopped then", `const t = new time.Timer(${HOUR}); void t.c.receive(); t.stop();`],
    [
      "a receive from a timer that never fires, while another is armed",
      `new time.Timer(${HOUR}); void new time.Timer(Infinity).c.receive();`,
    ],
    [
      "a receive from a timer that was reset to never",
      `const t = new time.Timer(${HOUR}); void t.c.receive(); t.reset(Infinity);`,
    ],
    [
      "a second receive from a timer that has fired, while another is armed",
      `new time.Timer(${HOUR}); const t = new time.Timer(1); await t.c.receive(); void t.c.receive();`,
    ],
    ["a receive from a stopped ticker", `const t = new time.Ticker(${HOUR}); void t.c.receive(); t.stop();`],
    ["a select on a stopped timer", `const t = new time.Timer(${HOUR}); void select({ t: t.c }); t.stop();`],
    ["an iteration over a stopped timer", `const t = new time.Timer(${HOUR}); void t.c.values().next(); t.stop();`],
    [
      "waits of Infinity, while a timer is armed",
      `new time.Timer(${HOUR}); void time.sleep(Infinity); void select({ late: after(Infinity) });`,
    ],
    [
      "a wait on a source that outlives a deadline",
      `const { ctx } = context.withTimeout(context.background(), ${HOUR});
       void new Channel().receive(context.withoutCancel(ctx));`,
    ],
    [
      "a wait on a context without a deadline, beside one with",
      `context.withTimeout(context.background(), ${HOUR});
       void context.withTimeout(context.background(), Infinity).ctx.done().receive();`,
    ],
  ])("%s", async (_, code) => {
    expect(await run(`${IMPORT}${BOUND}${code} console.log("end");`)).toEqual({ status: 0, out: "end\n", err: "" });
  });
});

describe("a process lives on for", () => {
  test.each([
    [
      "a receive from a stopped timer that is reset",
      `const t = new time.Timer(${HOUR}); t.stop();
       void t.c.receive().then(({ ok }) => console.log("received", ok));
       t.reset(10);`,
    ],
    [
      "a receive from a timer of Infinity that is reset",
      `const t = new time.Timer(Infinity);
       void t.c.receive().then(({ ok }) => console.log("received", ok));
       t.reset(10);`,
    ],
    [
      "a select on a ticker that is reset",
      `const t = new time.Ticker(${HOUR}); t.stop();
       void select({ t: t.c }).then(({ ok }) => { console.log("received", ok); t.stop(); });
       t.reset(10);`,
    ],
  ])("%s", async (_, code) => {
    expect(await run(`${IMPORT}${code}`)).toEqual({ status: 0, out: "received true\n", err: "" });
  });
});
