/**
 * A writer that gathers records into batches, and writes no faster than its store allows.
 *
 * A batch goes out when it is full or when its first record has waited long enough, whichever comes first. The last one
 * goes out when there are no more records. A token bucket spaces the writes. While the writer waits for a token, the
 * channel has no receiver, so the task that makes the records waits too, and nothing piles up.
 *
 * Rules of thumb: make one `after` for each batch, when its first record comes. An `after` made anew for each record
 * would measure the time since the last record, and records that come steadily would never be written. Take the token
 * before the write, not after it.
 *
 * `npm run example batch-writer` runs it.
 */
import { after, Channel, context, errgroup, rate, select, time } from "gopark";
import type { ReceiveChannel } from "gopark/channel";
import type { Context } from "gopark/context";
import type { After } from "gopark/time";

const SIZE = 3;
const AGE = 100;

interface Batch {
  readonly records: string[];
  readonly why: "full" | "old" | "last";
}

/** The next batch, which may be empty if it is the last. */
async function gather(ctx: Context, input: ReceiveChannel<string>): Promise<Batch> {
  const records: string[] = [];
  let old: After | null = null; // Never ready, as long as there is nothing to write.
  while (records.length < SIZE) {
    const s = await select({ record: input, old, stop: ctx });
    if (s.case === "stop") throw s.value;
    if (s.case === "old") return { records, why: "old" };
    if (!s.ok) return { records, why: "last" };
    records.push(s.value);
    old ??= after(AGE);
  }
  return { records, why: "full" };
}

async function writeAll(ctx: Context, input: ReceiveChannel<string>, store: Store): Promise<void> {
  const limiter = new rate.Limiter(rate.every(40), 1); // One write every 40 ms.
  for (;;) {
    const { records, why } = await gather(ctx, input);
    if (records.length > 0) {
      await limiter.wait(ctx);
      store.write(records);
      console.log(`${why}: ${records.join(" ")}`);
    }
    if (why === "last") return;
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
await errgroup.scope(scope.ctx, async (group, ctx) => {
  const records = new Channel<string>();
  await group.go(() => writeAll(ctx, records, new Store()));
  for (const record of ["a", "b", "c", "d", "e", "f"]) await records.send(record, ctx); // A burst.
  for (const record of ["g", "h", "i"]) {
    await records.send(record, ctx); // A trickle: g is AGE old before i comes.
    await time.sleep(60, ctx);
  }
  records.close();
});
console.log("all written");
// Output:
// full: a b c
// full: d e f
// old: g h
// last: i
// all written
