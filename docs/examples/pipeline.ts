/**
 * A pipeline of three stages: a belt that never ends, three inspectors that share its parts (fan-out) and report to one
 * channel (fan-in), and a reader that leaves as soon as it has enough.
 *
 * Rules of thumb: a stage closes its output when it ends, on every path. Where several tasks send on one channel, close
 * it when the last of them has ended. And give every send the context: when the reader has left, only the end of the
 * context can end the sends of the stages behind it.
 *
 * `npm run example pipeline` runs it.
 */
import { Channel, context, errgroup, time } from "gopark";
import type { ReceiveChannel, SendChannel } from "gopark/channel";
import type { Context } from "gopark/context";

/** The source: parts 1, 2, 3 and so on, until its context ends. */
async function runBelt(ctx: Context, parts: Channel<number>): Promise<void> {
  try {
    for (let part = 1; ; part++) await parts.send(part, ctx);
  } finally {
    parts.close();
    console.log("the belt has stopped");
  }
}

/** One of several workers: takes a part, looks at it, and reports it if it is flawed. */
async function inspect(ctx: Context, parts: ReceiveChannel<number>, flaws: SendChannel<number>): Promise<void> {
  for await (const part of parts.values(ctx)) {
    await time.sleep(10, ctx); // Stands for the work.
    if (part === 25) throw new Error("part 25 broke the scale");
    if (part % 7 === 0) await flaws.send(part, ctx);
  }
}

/** All workers. They share both channels, so none of them closes one. This function does, when the last has ended. */
async function inspectAll(parent: Context, parts: ReceiveChannel<number>, flaws: Channel<number>): Promise<void> {
  try {
    await errgroup.scope(parent, async (workers, ctx) => {
      for (let i = 0; i < 3; i++) await workers.go(() => inspect(ctx, parts, flaws));
    });
  } finally {
    flaws.close();
    console.log("the inspectors have stopped");
  }
}

/** The first `n` flawed parts. */
async function findFlaws(parent: Context, n: number): Promise<number[]> {
  const [stages, ctx] = errgroup.withContext(parent);
  // The early stop: leaving this function cancels ctx, waits until every stage has ended, and throws the error of one
  // that has failed.
  await using _ = stages;

  const parts = new Channel<number>();
  const flaws = new Channel<number>();
  await stages.go(() => runBelt(ctx, parts));
  await stages.go(() => inspectAll(ctx, parts, flaws));

  const found: number[] = [];
  for await (const part of flaws) {
    found.push(part);
    if (found.length === n) break;
  }
  return found;
}

using scope = context.withTimeout(context.background(), 1000);
console.log("flawed:", ...(await findFlaws(scope.ctx, 3)));
console.log("flawed:", await findFlaws(scope.ctx, 4).catch(String));
// Output:
// the belt has stopped
// the inspectors have stopped
// flawed: 7 14 21
// the inspectors have stopped
// the belt has stopped
// flawed: Error: part 25 broke the scale
