/** Hosts that are not as Node is: no `setImmediate`, no `MessageChannel`, errors that have no stack, a frozen Error. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { node, type Project, project } from "./support/hosts.ts";

let home: Project;

beforeAll(() => {
  home = project();
});
afterAll(() => home.remove());

let programs = 0;

/** Runs a program on a changed host: the code that changes it runs before the package is loaded. */
function run(host: string, program: string) {
  const file = home.write(
    `program-${++programs}.mjs`,
    `const host = { setImmediate, MessageChannel, setTimeout, Error };
    ${host}
    const { after, breaker, Channel, context, go, leak, rate, retry, select, semaphore, sync, time, workers } =
      await import("gopark");
    const bg = context.background();
    /** Hands n values over, each in microtasks alone, except for the turns that the library takes. */
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
  test("channels, deadlines and selects work, and fake timers set later do not stop the turns", async () => {
    const program = `
      if ((await handOff(20_000)) !== 199_990_000) throw new Error("values were lost");

      const { ctx } = context.withTimeout(bg, 1);
      const err = await new Channel().receive(ctx).catch((err) => err);
      if (!context.is(err, context.DeadlineExceeded)) throw err;
      const s = await select({ never: new Channel(), late: after(1) });
      if (s.case !== "late") throw new Error(s.case);

      globalThis.setTimeout = () => { throw new Error("a fake timer"); };
      await handOff(50_000);
      globalThis.setTimeout = host.setTimeout;`;
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

  test.each([
    ["that only loads the package", ""],
    ["that has handed values over for many turns", "for (let i = 0; i < 30; i++) await handOff(2_000);"],
    ["that stops amid a turn", "void handOff(50_000); await time.sleep(1); await handOff(100);"],
    [
      "that leaves waits that nothing can end, and a timer without a wait",
      "await handOff(50_000); void new Channel().receive(); void select({}); new time.Timer(3_600_000);",
    ],
  ])("a process exits by itself, and not before its work is done: one %s", async (_, program) => {
    expect(await run(host, program)).toEqual(ENDED);
  });

  // A million rounds take some hundred milliseconds at least. The process need not end by itself here.
  test("busy loops leave the host's timers their turns", async () => {
    const program = `
      let ticks = 0;
      setInterval(() => ticks++, 1);
      const ch = new Channel();
      const sem = new semaphore.Weighted(1);
      const loops = {
        "hand-offs": () => ch.receive(),
        selects: () => select({ ch }),
        units: async () => { await sem.acquire(bg); sem.release(); },
      };
      void go(async () => { for (;;) await ch.send(1); });
      for (const [name, round] of Object.entries(loops)) {
        ticks = 0;
        for (let n = 0; ticks < 5 && n < 1_000_000; n++) await round();
        console.log(name, ticks < 5 ? ticks + " ticks" : "ticks");
      }
      console.log("end");
      process.exit();`;
    expect(await run(host, program)).toEqual({ ...ENDED, out: "hand-offs ticks\nselects ticks\nunits ticks\nend\n" });
  });
});

describe("a MessageChannel", () => {
  test("is not made before a turn needs it, and does not outlive it", async () => {
    const program = `
      await new Channel(1).send(1);
      new semaphore.Weighted(1).tryAcquire();
      if (channels !== 0) throw new Error(channels + " made before any turn");
      await handOff(50_000);
      if (channels === 0) throw new Error("none made");`; // The process ends by itself.
    expect(await run(`delete globalThis.setImmediate; ${COUNTED}`, program)).toEqual(ENDED);
  });

  test("is not made at all where there is setImmediate", async () => {
    const program = `
      await handOff(50_000);
      if (channels !== 0) throw new Error(channels + " made");`;
    expect(await run(COUNTED, program)).toEqual(ENDED);
  });
});

// As in browsers, and in a context of node:vm that was given little.
test.each([
  ["without the host's modules", "process.getBuiltinModule = undefined;"],
  ["without AbortSignal", "delete globalThis.AbortSignal;"],
  ["without either", "process.getBuiltinModule = undefined; delete globalThis.AbortSignal;"],
])("%s an abort ends a wait, and a wait leaves no listener", async (_, host) => {
  const program = `
    const { signal } = controller;
    let listeners = 0;
    for (const [name, change] of [["addEventListener", 1], ["removeEventListener", -1]]) {
      const method = signal[name];
      signal[name] = (...args) => { listeners += change; method.apply(signal, args); };
    }
    const ch = new Channel();
    const granted = ch.receive(signal);
    ch.trySend(1);
    await granted;
    await new Promise((resolve) => setImmediate(resolve));
    if (listeners !== 0) throw new Error(listeners + " listeners");
    const waiting = ch.receive(signal).catch((err) => err);
    const { ctx } = context.withCancel(signal);
    controller.abort("why");
    console.log(await waiting, context.cause(ctx));`;
  const wanted = { ...ENDED, out: "why why\nend\n" };
  expect(await run(`const controller = new AbortController(); ${host}`, program)).toEqual(wanted);
});

// As Safari and Bun do it: where no frames are allowed, there is no property.
test("an error made without a stack has `name: message` for one, where the host's errors then have none", async () => {
  const patched = `
    globalThis.Error = new Proxy(host.Error, {
      construct(target, args, newTarget) {
        const error = Reflect.construct(target, args, newTarget);
        if (target.stackTraceLimit === 0) delete error.stack;
        return error;
      },
    });
    { // The purpose of the simulation.
      Error.stackTraceLimit = 0;
      class Derived extends Error {}
      if (new Derived().stack !== undefined) throw new Error("the host's errors have stacks");
      Error.stackTraceLimit = 10;
    }`;
  const program = `
    const reasonOf = (promise) => promise.then(() => { throw new TypeError("not rejected"); }, (err) => err);
    const end = (parent = bg) => {
      const scope = context.withCancel(parent);
      scope.cancel(new RangeError("why"));
      return scope.ctx;
    };
    const { ctx, cancel } = context.withCancel(bg);
    const waiting = reasonOf(new Channel().receive(ctx));
    cancel();
    const closed = new Channel();
    const parked = [reasonOf(closed.send(1)), reasonOf(select({ sent: closed.sending(1) }))];
    closed.close();
    const errors = {
      "a context that was cancelled": end().err(),
      "a context on a signal": context.withCancel(AbortSignal.abort()).ctx.err(),
      "a wait that was cancelled": await waiting,
      "a wait of a context that had ended": await reasonOf(time.sleep(1, end())),
      "a deadline": await reasonOf(time.sleep(60_000, context.withTimeout(bg, 1).ctx)),
      "a send under which the channel was closed": await parked[0],
      "a select under which the channel was closed": await parked[1],
      "a send to a closed channel": await reasonOf(closed.send(2)),
    };
    for (const [what, err] of Object.entries(errors)) {
      if (err.stack !== err.name + ": " + err.message) console.log(what + ": " + err.name, typeof err.stack, err.stack);
    }`;
  expect(await run(patched, program)).toEqual(ENDED);
});

/** As of node --frozen-intrinsics and of SES: neither its stackTraceLimit nor its prepareStackTrace can be set. */
const FREEZE = "Object.freeze(Error); Object.freeze(Error.prototype);";

describe.each(["full", "counters"])("where Error is frozen, tracking %s", (level) => {
  const refusals = `
    leak.track("${level}");
    const seen = [];
    const note = (promise) => promise.then(() => seen.push("resolved"), (err) => {
      if (typeof err.stack !== "string" || !(err instanceof Error)) seen.push("strange", err);
      seen.push(err.name + ": " + err.message);
    });
    const mu = new sync.Mutex();
    await mu.lock();
    const late = context.withTimeout(bg, 1);
    await note(mu.lock(late.ctx));
    const scope = context.withCancel(bg);
    const waits = [mu.guard(scope.ctx), time.sleep(60_000, scope.ctx)].map(note);
    scope.cancel();
    await Promise.all(waits);
    const closed = new Channel();
    const send = note(closed.send(1));
    closed.close();
    await send;
    const sem = new semaphore.Weighted(1, { maxWaiting: 0 });
    await sem.acquire(bg);
    await note(sem.acquire(bg));
    sem.release();
    const pool = new workers.Workers(1);
    await pool.release();
    await note(pool.submit(() => 1));
    const cb = new breaker.CircuitBreaker({ readyToTrip: () => true });
    await note(cb.execute(() => Promise.reject(new Error("down"))));
    await note(cb.execute(() => 1));
    await note(retry(bg, () => Promise.reject(retry.permanent(new Error("gone")))));
    const limiter = new rate.Limiter(1, 1);
    limiter.allow();
    const soon = context.withTimeout(bg, 100);
    await note(limiter.wait(soon.ctx));
    soon.cancel();
    mu.unlock();
    const wanted = [
      "TimeoutError: context deadline exceeded",
      "AbortError: context canceled",
      "AbortError: context canceled",
      "ClosedChannelError: send on closed channel",
      "QueueFullError: queue full: maxWaiting is 0",
      "PoolClosedError: pool closed",
      "Error: down",
      "OpenStateError: circuit breaker is open",
      "Error: gone",
      "Error: rate: Wait(n=1) would exceed context deadline",
    ];
    if (JSON.stringify(seen) !== JSON.stringify(wanted)) console.log(seen);
    await leak.verifyNone();
    void new Channel().receive(bg);
    const report = await leak.verifyNone().catch((err) => err.message);
    if (!report.includes("1 chan receive")) console.log(report);
    if ("${level}" === "full" && !report.includes("program-")) console.log(report);`;

  test.each([
    ["before the package is loaded", FREEZE, refusals],
    ["afterwards", "", `${FREEZE}\n${refusals}`],
  ])(
    "%s: every error is the one that is documented, and leaks are found with their place",
    async (_, host, program) => {
      expect(await run(host, program)).toEqual(ENDED);
    },
  );
});
