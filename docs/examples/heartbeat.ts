/**
 * A worker that sends heartbeats, and a supervisor that replaces it when they stop.
 *
 * Rules of thumb: send the heartbeat from the loop that does the work. A timer beside it would go on sending while the
 * work hangs. Send it when idle too, by a ticker, so that silence always means trouble. And never wait for the
 * receiver: a heartbeat is dropped if the last one has not been received.
 *
 * `npm run example heartbeat` runs it.
 */
import { after, Channel, context, go, select, time } from "gopark";
import type { ReceiveChannel, SendChannel } from "gopark/channel";
import type { Context } from "gopark/context";

const BEAT = 20;
const PATIENCE = 200;

/** Stands for the work. One job hangs, like a call to a server that never answers. */
async function run(ctx: Context, job: string): Promise<void> {
  await time.sleep(job === "hang" ? Number.POSITIVE_INFINITY : 5, ctx);
}

/** Works until there are no more jobs, or fails with ctx. Closes `beats` when it ends. */
async function work(ctx: Context, jobs: ReceiveChannel<string>, beats: Channel<void>): Promise<void> {
  using ticker = new time.Ticker(BEAT);
  try {
    for (;;) {
      const s = await select({ job: jobs, tick: ticker.c, stop: ctx });
      beat(beats);
      if (s.case === "stop") throw s.value;
      if (s.case === "tick") continue;
      if (!s.ok) return;
      await run(ctx, s.value);
      console.log("done:", s.value);
    }
  } finally {
    beats.close();
  }
}

function beat(beats: SendChannel<void>): void {
  beats.trySend(undefined);
}

/** Runs one worker after another, until one ends by itself. Returns how many it took. */
async function supervise(ctx: Context, jobs: ReceiveChannel<string>): Promise<number> {
  for (let workers = 1; ; workers++) {
    using life = context.withCancel(ctx);
    const beats = new Channel<void>(1);
    const worker = go(() => work(life.ctx, jobs, beats));
    if (await listen(beats)) {
      await worker;
      return workers;
    }
    life.cancel(new Error(`silent for ${PATIENCE} ms`));
    // It must have ended before the next one starts: two workers would do the same things.
    await worker.catch(() => {});
    console.log("replaced:", String(context.cause(life.ctx)));
  }
}

/** Listens to a worker. True once it has ended, false if it falls silent. */
async function listen(beats: ReceiveChannel<void>): Promise<boolean> {
  for (;;) {
    const s = await select({ beat: beats, silence: after(PATIENCE) });
    if (s.case === "silence") return false;
    if (!s.ok) return true;
  }
}

using scope = context.withTimeout(context.background(), 2000);
const { ctx } = scope;
const jobs = new Channel<string>();
const supervisor = go(() => supervise(ctx, jobs));
await jobs.send("build", ctx);
await time.sleep(2 * PATIENCE, ctx); // The worker is idle, and not silent.
for (const job of ["test", "hang", "ship"]) await jobs.send(job, ctx);
jobs.close();
console.log("workers:", await supervisor);
// Output:
// done: build
// done: test
// replaced: Error: silent for 200 ms
// done: ship
// workers: 2
