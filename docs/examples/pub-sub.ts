/**
 * A publisher whose subscribers are slower than it: what each of them gets, and what that costs the others.
 *
 * Rules of thumb: decide for each subscriber what happens when it is slow. One that needs every message blocks, and
 * then all go at its pace. One that needs the newest state drops the oldest message. One that must finish what it has
 * accepted drops the newest. A buffer is for bursts; it does not help a subscriber that is always slow.
 *
 * `npm run example pub-sub` runs it.
 */
import { context, errgroup, pipeline, time } from "gopark";
import type { Context } from "gopark/context";
import type { Stage, SubscribeOptions } from "gopark/pipeline";

const PRICES = 8;
const EVERY = 50;
const SLOW = 130;

/** Stands for a feed: a price every 50 ms, or later if a subscriber holds it back. */
async function* prices(ctx: Context): AsyncGenerator<number> {
  using ticker = new time.Ticker(EVERY);
  for (let price = 1; price <= PRICES; price++) {
    await ticker.c.receive(ctx);
    yield price;
  }
}

/** Reads at most `most` prices, working `work` ms on each. */
async function read(ctx: Context, name: string, stage: Stage<number>, work: number, most = PRICES): Promise<void> {
  const got: number[] = [];
  for await (const price of stage) {
    got.push(price);
    if (got.length === most) break; // From here on it holds up nobody.
    await time.sleep(work, ctx); // Stands for the work.
  }
  console.log(`  ${name}: ${got.join(" ")}`);
}

/** A slow subscriber. */
interface Slow {
  readonly name: string;
  readonly options: SubscribeOptions;
  readonly most?: number;
}

/** Publishes the prices to a ledger, which is quick, and to some slow subscribers. */
async function publish(what: string, ...slow: Slow[]): Promise<void> {
  console.log(`${what}:`);
  using scope = context.withTimeout(context.background(), 5000);
  await errgroup.scope(scope.ctx, async (group, ctx) => {
    const feed = pipeline.broadcast(ctx, prices(ctx));
    // All subscribe before any reads: a subscriber gets only what comes after its call.
    const ledger = feed.subscribe();
    const stages = slow.map(({ name, options, most }) => ({ name, most, stage: feed.subscribe(options) }));

    for (const { name, stage, most } of stages) await group.go(() => read(ctx, name, stage, SLOW, most));
    const started = time.now();
    await read(ctx, "ledger", ledger, 1);
    const late = time.now() - started > 1.5 * PRICES * EVERY;
    console.log(late ? "  the ledger was held up" : "  the ledger was on time");
  });
}

await publish(
  "slow subscribers that drop",
  { name: "chart, drops the oldest", options: { slow: "dropOldest" } },
  { name: "mailer, drops the newest", options: { slow: "dropNewest", buffer: 2 } },
);
await publish("one that blocks", { name: "auditor", options: { slow: "block" } });
await publish("one that blocks, and leaves", { name: "visitor", options: { slow: "block" }, most: 2 });
// Output:
// slow subscribers that drop:
//   ledger: 1 2 3 4 5 6 7 8
//   the ledger was on time
//   chart, drops the oldest: 1 3 6 8
//   mailer, drops the newest: 1 2 3 4 7
// one that blocks:
//   ledger: 1 2 3 4 5 6 7 8
//   the ledger was held up
//   auditor: 1 2 3 4 5 6 7 8
// one that blocks, and leaves:
//   visitor: 1 2
//   ledger: 1 2 3 4 5 6 7 8
//   the ledger was on time
