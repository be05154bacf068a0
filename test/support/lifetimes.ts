/** Programs that must end at once, and programs that must live until they have printed "end", in every runtime. */

export const IMPORT = 'import { after, Channel, context, go, rate, select, semaphore, time } from "gopark";';

// A process that lived for these would run into the test's timeout.
export const HOUR = 3_600_000;

/** By what they have done, each of them ends at once. */
export const EXITS: readonly (readonly [what: string, code: string])[] = [
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
  }).map(([what, wait]): [string, string] => [
    `when ${what} was cancelled`,
    `
    context.withTimeout(context.background(), ${HOUR});
    const limiter = new rate.Limiter(1, 1);
    const [ctx, cancel] = context.withCancel(context.background());
    const waiting = ${wait}.catch(() => {});
    cancel();
    await waiting;`,
  ]),
];

/** By what they wait for. */
export const LIVES: readonly (readonly [what: string, code: string])[] = [
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
];
