/**
 * A pipeline that leaks when its reader leaves early, and two cures.
 *
 * Each stage of the leaky one sends without a context. The reader takes what it needs and goes. Then nothing receives
 * any more, and every stage waits in `send` for ever. No error is thrown. Only the counters of `leak` show it.
 *
 * Rules of thumb: a function that starts stages also ends them, and waits for them. Give every send the context of the
 * stages, and end it when the reader leaves. Or make the stages with `pipeline`, which does all that. Check in your
 * tests that nothing is left.
 *
 * `npm run example leaky-pipeline` runs it.
 */
import { Channel, context, errgroup, go, leak, pipeline, time } from "gopark";
import type { ReceiveChannel } from "gopark/channel";
import type { Context } from "gopark/context";

/** Sends 1, 2, 3 and so on. */
async function count(out: Channel<number>, ctx?: Context): Promise<void> {
  for (let n = 1; ; n++) await out.send(n, ctx);
}

async function square(input: ReceiveChannel<number>, out: Channel<number>, ctx?: Context): Promise<void> {
  for await (const n of input.values(ctx)) await out.send(n * n, ctx);
}

/** Reads up to the first square above 50, and leaves. */
async function firstAbove50(squares: AsyncIterable<number>): Promise<number | undefined> {
  for await (const n of squares) if (n > 50) return n;
  return undefined;
}

// Known outside only so that this program can end.
const leaky = [new Channel<number>(), new Channel<number>()] as const;

async function leakyPipeline(): Promise<number | undefined> {
  const [numbers, squares] = leaky;
  go(() => count(numbers)).catch(() => {});
  go(() => square(numbers, squares)).catch(() => {});
  return firstAbove50(squares);
}

/** The group owns the stages. Leaving this function cancels the context of their sends, and waits for them. */
async function withAGroup(parent: Context): Promise<number | undefined> {
  const [stages, ctx] = errgroup.withContext(parent);
  await using _ = stages;
  const numbers = new Channel<number>();
  const squares = new Channel<number>();
  await stages.go(() => count(numbers, ctx));
  await stages.go(() => square(numbers, squares, ctx));
  return await firstAbove50(squares);
}

/** The stages are pulled by the reader. Leaving its loop stops them, and waits for them. */
function withStages(ctx: Context): Promise<number | undefined> {
  function* numbers() {
    for (let n = 1; ; n++) yield n;
  }
  return firstAbove50(pipeline.map(ctx, numbers(), async (n) => n * n, { concurrency: 3 }));
}

async function report(what: string, run: (ctx: Context) => Promise<number | undefined>): Promise<void> {
  using scope = context.withTimeout(context.background(), 1000);
  const before = leak.counters();
  const found = await run(scope.ctx);
  await time.sleep(10);
  const left = Object.entries(leak.counters()).flatMap(([kind, n]) => {
    const more = n - (before[kind] ?? 0);
    return more > 0 ? [`${more} ${kind}`] : [];
  });
  console.log(`${what}: found ${found}, left behind: ${left.join(", ") || "nothing"}`);
}

await report("leaky", leakyPipeline);
for (const channel of leaky) channel.close();
await report("a group and a context", withAGroup);
await report("stages", withStages);
// Output:
// leaky: found 64, left behind: 2 task, 2 chan send
// a group and a context: found 64, left behind: nothing
// stages: found 64, left behind: nothing
