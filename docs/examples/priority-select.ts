/**
 * A priority select: the stop comes before alarms, and alarms before orders.
 *
 * A select that finds several cases ready takes one of them at random, so that none starves. Where one case must come
 * first, ask for it alone, without waiting. Only if it is not ready, wait for all of them.
 *
 * Rule of thumb: rank by asking one after the other, not by the order of the cases. Use it for what is rare: an urgent
 * channel that is never empty starves the others.
 *
 * `npm run example priority-select` runs it.
 */
import { Channel, context, go, select, time, trySelect } from "gopark";
import type { ReceiveChannel } from "gopark/channel";
import type { Context } from "gopark/context";

interface Desk {
  readonly alarms: ReceiveChannel<string>;
  readonly orders: ReceiveChannel<string>;
}

/** The next thing to do, or undefined once ctx has ended. */
async function next(ctx: Context, { alarms, orders }: Desk): Promise<string | undefined> {
  if (ctx.err() !== undefined) return undefined;
  // Anything that comes while this waits ends the wait, so an alarm waits for one order at most.
  const s = trySelect({ alarm: alarms }) ?? (await select({ alarm: alarms, order: orders, stop: ctx }));
  return s.case === "stop" || !s.ok ? undefined : `${s.case} ${s.value}`;
}

/** Works until ctx ends. A job that has begun is finished. */
async function work(ctx: Context, desk: Desk, run: (job: string) => Promise<void>): Promise<void> {
  for (let job = await next(ctx, desk); job !== undefined; job = await next(ctx, desk)) {
    console.log(job);
    await run(job);
  }
  console.log("stopped");
}

const alarms = new Channel<string>(8);
const orders = new Channel<string>(8);
const { ctx, cancel } = context.withCancel(context.background());

/** Stands for the work, and for what happens meanwhile. */
async function run(job: string): Promise<void> {
  await time.sleep(10, ctx);
  if (job === "order one") await alarms.send("fire", ctx);
  if (job === "order two") {
    await alarms.send("flood", ctx);
    cancel();
  }
}

try {
  for (const order of ["one", "two", "three", "four"]) await orders.send(order, ctx);
  for (const alarm of ["smoke", "water"]) await alarms.send(alarm, ctx);
  await go(() => work(ctx, { alarms, orders }, run));
  console.log(`left: ${alarms.len()} alarm, ${orders.len()} orders`);
} finally {
  cancel();
}
// Output:
// alarm smoke
// alarm water
// order one
// alarm fire
// order two
// stopped
// left: 1 alarm, 2 orders
