/**
 * The dining philosophers: five tasks around a table, each of which needs the fork on its left and the one on its
 * right. When each takes the left one first, all of them wait for ever. There are two ways out.
 *
 * Rules of thumb: give all locks one order, and take them in that order. Where no order is known, do not wait for one
 * lock while you hold another: try, and give back what you hold when that fails. Give every wait a context, so that a
 * deadlock ends in an error instead of silence.
 *
 * `npm run example dining-philosophers` runs it.
 */
import { context, errgroup, sync, time } from "gopark";
import type { Context } from "gopark/context";

const SEATS = 5;
const MEALS = 3;

/** Takes two forks, calls `eat`, and gives them back. */
type Take = (ctx: Context, left: number, right: number, eat: () => Promise<void>) => Promise<void>;

const forks = Array.from({ length: SEATS }, () => new sync.Mutex());
const fork = (i: number) => forks[i] as sync.Mutex;

const leftFirst: Take = async (ctx, left, right, eat) => {
  using _l = await fork(left).guard(ctx);
  await time.sleep(1, ctx); // Now everybody holds the left one.
  using _r = await fork(right).guard(ctx);
  await eat();
};

/** The philosopher between the last fork and the first takes the first one first, so there is no circle of waits. */
const inOrder: Take = (ctx, left, right, eat) => leftFirst(ctx, Math.min(left, right), Math.max(left, right), eat);

/** Holds one fork and tries the other. If that is taken, gives the first back, and then waits for the one it lacked. */
const giveWay: Take = async (ctx, left, right, eat) => {
  for (let [first, second] = [left, right]; ; [first, second] = [second, first]) {
    using _ = await fork(first).guard(ctx);
    await time.sleep(1, ctx);
    if (!fork(second).tryLock()) continue;
    try {
      return await eat();
    } finally {
      fork(second).unlock();
    }
  }
};

/** Lets all of them eat, and prints how that went. */
async function dinner(way: string, take: Take): Promise<void> {
  const meals = new Array<number>(SEATS).fill(0);
  let eating = 0;
  let most = 0;
  using scope = context.withTimeout(context.background(), 1000);
  const outcome = errgroup.forEach(
    scope.ctx,
    meals.keys(),
    async (seat, ctx) => {
      for (let meal = 0; meal < MEALS; meal++) {
        await take(ctx, seat, (seat + 1) % SEATS, async () => {
          most = Math.max(most, ++eating);
          await time.sleep(10, ctx);
          eating--;
          meals[seat] = meal + 1;
        });
      }
    },
    { limit: SEATS },
  );
  const end = await outcome.then(() => `at most ${most} at once`, String);
  console.log(`${way}: meals ${meals.join(" ")}; ${end}`);
}

await dinner("left first", leftFirst);
await dinner("in order", inOrder);
await dinner("give way", giveWay);
// Output:
// left first: meals 0 0 0 0 0; TimeoutError: context deadline exceeded
// in order: meals 3 3 3 3 3; at most 2 at once
// give way: meals 3 3 3 3 3; at most 2 at once
