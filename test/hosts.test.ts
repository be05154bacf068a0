/** Hosts that lack what Node has: no `setImmediate`, no `MessageChannel`, errors that have no stack. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { node, type Project, project } from "./support/hosts.ts";

let home: Project;

beforeAll(() => {
  home = project();
});
afterAll(() => home.remove());

let programs = 0;

/** Runs a program after what changes the host, which stands before the package is loaded. */
function run(host: string, program: string) {
  const file = home.write(
    `program-${++programs}.mjs`,
    `const host = { setImmediate, MessageChannel, setTimeout, Error };
    ${host}
    const { after, Channel, context, go, leak, rate, select, semaphore, time } = await import("gopark");
    const bg = context.background();
    /** Hands n values over, each in microtasks alone but for the turns that the library takes. */
    async function handOff(n) {
      const ch = new Channel();
      void go(async () => {
        for (let i = 0; i < n; i++) await ch.send(i);
        ch.close();
      });
      let sum = 0;
      for await (const i of ch) sum += i;
      return sum;
    }
    ${program}
    console.log("end");`,
  );
  return node(home.path, file);
}

const ENDED = { status: 0, out: "end\n", err: "" };

const COUNTED = `
    globalThis.channels = 0;
    globalThis.MessageChannel = class extends host.MessageChannel {
      constructor() {
        super();
        channels++;
      }
    };`;

const HOSTS = {
  "without setImmediate": "delete globalThis.setImmediate;",
  "without setImmediate and MessageChannel": "delete globalThis.setImmediate; delete globalThis.MessageChannel;",
} as const;

describe.each(Object.entries(HOSTS))("%s", (_, host) => {
  test("channels, deadlines and selects work", async () => {
    const program = `
      if ((await handOff(20_000)) !== 199_990_000) throw new Error("values were lost");
      const { ctx } = context.withTimeout(bg, 1);
      const err = await new Channel().receive(ctx).catch((err) => err);
      if (!context.is(err, context.DeadlineExceeded)) throw err;
      const s = await select({ never: new Channel(), late: after(1) });
      if (s.case !== "late") throw new Error(s.case);`;
    expect(await run(host, program)).toEqual(ENDED);
  });

  test.each([
    ["that only loads the package", ""],
    ["that has handed values over for many turns", "await handOff(50_000);"],
    ["that stops amid a turn", "void handOff(50_000); await time.sleep(1); await handOff(100);"],
    ["whose waits nobody can end", "await handOff(50_000); void new Channel().receive(); void select({});"],
    ["that armed a timer nobody waits for", "await handOff(50_000); new time.Timer(3_600_000);"],
  ])("a process exits by itself: one %s", async (_, program) => {
    expect(await run(host, program)).toEqual(ENDED);
  });

  test("a process stays alive while a completion is held over to the next turn", async () => {
    // The program's own await stands on nothing but the library's turns.
    expect(await run(host, "for (let i = 0; i < 30; i++) await handOff(1_000);")).toEqual(ENDED);
  });

  // A million rounds take some hundred milliseconds at least. The process need not end by itself here.
  test.each([
    ["a loop that hands values over", "await ch.receive();", "await ch.send(1);"],
    ["a loop of selects", "await select({ ch });", "await select({ sent: ch.sending(1) });"],
    ["a loop that takes and gives units", "await sem.acquire(bg); sem.release();", "break;"],
  ])("%s leaves the host's timers their turns", async (_, round, other) => {
    const program = `
      let ticks = 0;
      setInterval(() => ticks++, 1);
      const ch = new Channel();
      const sem = new semaphore.Weighted(1);
      void go(async () => { for (;;) { ${other} } });
      for (let n = 0; ticks < 5; n++) {
        ${round}
        if (n === 1_000_000) throw new Error(ticks + " ticks");
      }
      console.log("end");
      process.exit();`;
    expect(await run(host, program)).toEqual(ENDED);
  });

  test("a busy loop ends at its deadline", async () => {
    const program = `
      const { ctx } = context.withTimeout(bg, 5);
      const ch = new Channel();
      void go(async () => { for (;;) await ch.send(1, ctx); }).catch(() => {});
      const err = await (async () => { for await (const _ of ch.values(ctx)); })().catch((err) => err);
      if (!context.is(err, context.DeadlineExceeded)) throw err;`;
    expect(await run(host, program)).toEqual(ENDED);
  });

  test("fake timers set later do not stop the turns", async () => {
    const program = `
      globalThis.setTimeout = () => { throw new Error("a fake timer"); };
      await handOff(50_000);
      globalThis.setTimeout = host.setTimeout;`;
    expect(await run(host, program)).toEqual(ENDED);
  });
});

describe("a MessageChannel", () => {
  test("is not made before a turn needs it", async () => {
    const program = `
      await new Channel(1).send(1);
      new semaphore.Weighted(1).tryAcquire();
      if (channels !== 0) throw new Error(channels + " made");`;
    expect(await run(`delete globalThis.setImmediate; ${COUNTED}`, program)).toEqual(ENDED);
  });

  test("is made once for all turns", async () => {
    const program = `
      await handOff(50_000);
      if (channels > 1) throw new Error(channels + " made");`;
    expect(await run(`delete globalThis.setImmediate; ${COUNTED}`, program)).toEqual(ENDED);
  });

  test("is not made at all where there is setImmediate", async () => {
    const program = `
      await handOff(50_000);
      if (channels !== 0) throw new Error(channels + " made");`;
    expect(await run(COUNTED, program)).toEqual(ENDED);
  });
});

describe("an error made without a stack", () => {
  // As Safari and Bun do it: no frames allowed, no property.
  const HOST = `
    globalThis.Error = new Proxy(host.Error, {
      construct(target, args, newTarget) {
        const error = Reflect.construct(target, args, newTarget);
        if (target.stackTraceLimit === 0) delete error.stack;
        return error;
      },
    });
    { // What the simulation is for.
      Error.stackTraceLimit = 0;
      class Derived extends Error {}
      if (new Derived().stack !== undefined) throw new Error("the host's errors have stacks");
      Error.stackTraceLimit = 10;
    }`;

  const PRELUDE = `
      const say = (err) => {
        if (err.stack !== err.name + ": " + err.message) throw new TypeError("the stack is " + err.stack);
        for (const line of err.stack.split("\\n")) console.log(line);
      };
      const closed = new Channel();
      const parked = closed.send(1).catch((err) => err);`;

  test.each([
    [
      "a context that was cancelled",
      "const { ctx, cancel } = context.withCancel(bg); cancel(); say(ctx.err());",
      "AbortError: context canceled",
    ],
    [
      "a wait that was cancelled",
      `const { ctx, cancel } = context.withCancel(bg);
      const wait = new Channel().receive(ctx);
      cancel(new RangeError("why"));
      say(await wait.catch((err) => err));`,
      "AbortError: context canceled",
    ],
    [
      "a deadline that has passed",
      "say(await time.sleep(60_000, context.withTimeout(bg, 1).ctx).catch((err) => err));",
      "TimeoutError: context deadline exceeded",
    ],
    [
      "a context that stands on a signal",
      "say(context.withCancel(AbortSignal.abort()).ctx.err());",
      "AbortError: context canceled",
    ],
    [
      "a channel closed under a send",
      "closed.close(); say(await parked);",
      "ClosedChannelError: send on closed channel",
    ],
    [
      "a channel that was closed before",
      "closed.close(); await parked; say(await closed.send(2).catch((err) => err));",
      "ClosedChannelError: send on closed channel",
    ],
  ])("has `name: message` for one, and nothing else: %s", async (_, program, stack) => {
    expect(await run(HOST, PRELUDE + program)).toEqual({ status: 0, out: `${stack}\nend\n`, err: "" });
  });
});
