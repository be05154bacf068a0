/**
 * A worker pool that is overloaded, and then shut down: it refuses what it cannot queue, lets urgent jobs go first, and
 * at the shutdown drops what waits and finishes what runs.
 *
 * Rules of thumb: bound the queue, and answer a refusal at once, so that the caller can go elsewhere. At the shutdown
 * wait for the jobs that run, and not for ever.
 *
 * `npm run example worker-pool` runs it.
 */
import { context, time, workers } from "gopark";
import type { Context } from "gopark/context";

const pool = new workers.Workers(2, { maxWaiting: 3 });

/** Answers for one image: what the client of a service would see. */
async function thumbnail(ctx: Context, name: string, priority = 0): Promise<void> {
  const shrink = async () => {
    console.log(`${name}: begins`);
    await time.sleep(20); // Stands for the work, which nothing can stop.
    return `${name}.small`;
  };
  try {
    console.log(`${name}: 200 ${await pool.submit(shrink, { priority, cancel: ctx })}`);
  } catch (err) {
    if (err instanceof workers.QueueFullError) console.log(`${name}: 503 busy`);
    else if (err instanceof workers.PoolClosedError) console.log(`${name}: 503 shutting down`);
    else console.log(`${name}: 504 too late`);
  }
}

using patient = context.withTimeout(context.background(), 1000);
using impatient = context.withTimeout(context.background(), 10);
const answers = [
  thumbnail(patient.ctx, "a"),
  thumbnail(impatient.ctx, "b"), // It runs when its time is up: the slot is not free before it has ended.
  thumbnail(impatient.ctx, "c"), // It waits when its time is up: it never begins.
  thumbnail(patient.ctx, "d"),
  thumbnail(patient.ctx, "urgent", 1),
  thumbnail(patient.ctx, "e"),
];
await time.sleep(15);
console.log(`${pool.running()} run, ${pool.waiting()} wait`);
answers.push(thumbnail(patient.ctx, "f"));
await time.sleep(15);

console.log("shutting down"); // In a service: process.once("SIGTERM", ...).
using grace = context.withTimeout(context.background(), 5000);
await pool.release(grace.ctx);
await Promise.all(answers);
console.log(`${pool.running()} run, ${pool.waiting()} wait`);
// Output:
// a: begins
// b: begins
// e: 503 busy
// b: 504 too late
// c: 504 too late
// 2 run, 2 wait
// urgent: begins
// a: 200 a.small
// d: begins
// shutting down
// f: 503 shutting down
// urgent: 200 urgent.small
// d: 200 d.small
// 0 run, 0 wait
