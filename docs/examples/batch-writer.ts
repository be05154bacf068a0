/**
 * A writer that gathers records into batches, and writes no faster than its store allows.
 *
 * A batch goes out when it is full or when its first record has waited long enough, whichever comes first. The last one
 * goes out when there are no more records. A token bucket spaces the writes. While the writer waits for a token, at
 * most two more batches and one record are taken. Then the source of the records waits too, and nothing piles up.
 *
 * Rules of thumb: measure the age from the first record of a batch. Measured from the last one, records that come
 * steadily would never be written. Take the token before the write, not after it.
 *
 * `npm run example batch-writer` runs it.
 */
import { context, pipeline, rate, time } from "gopark";
import type { Context } from "gopark/context";

const SIZE = 3;
const AGE = 100;

/** Stands for the source of the records: a burst, and then a trickle, in which g is AGE old before i comes. */
async function* records(ctx: Context): AsyncGenerator<string> {
  yield* ["a", "b", "c", "d", "e", "f"];
  for (const record of ["g", "h", "i"]) {
    yield record;
    await time.sleep(60, ctx);
  }
}

/** Stands for a database, which refuses a write that comes less than 20 ms after the last. */
class Store {
  #last = Number.NEGATIVE_INFINITY;

  write(records: readonly string[]): void {
    const now = time.now();
    if (now - this.#last < 20) throw new Error(`429: too many writes (${records.join(" ")})`);
    this.#last = now;
  }
}

using scope = context.withTimeout(context.background(), 2000);
const { ctx } = scope;
const store = new Store();
const limiter = new rate.Limiter(rate.every(40), 1); // One write every 40 ms.

for await (const batch of pipeline.batch(ctx, records(ctx), SIZE, AGE)) {
  await limiter.wait(ctx);
  store.write(batch);
  console.log(batch.join(" "));
}
console.log("all written");
// Output:
// a b c
// d e f
// g h
// i
// all written
