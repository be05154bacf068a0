/**
 * Fault 6: a map that tasks change without synchronisation. JavaScript has no data races, but between a look and a
 * write there may be an `await`: two tasks look, both find the same, and one overwrites what the other wrote. A plain
 * test passes, as it sees one order only.
 *
 * The tool: `explore` of `gopark/synctest`. It runs the program in one order for each seed, until one fails. The seed
 * replays that order, in a debugger too.
 *
 * The cure: `update` of a `ShardMap`, which holds the key from the look to the write.
 *
 * `npm run example faults/unsynchronised-map` runs it.
 */
import { Channel, errgroup, shardmap } from "gopark";
import { ExploreError, explore, test } from "gopark/synctest";

/** Two orders of one tea each. The second has more steps before it. */
async function twoOrders(audit: Channel<string>, add: (key: string) => Promise<unknown>): Promise<void> {
  await errgroup.scope(undefined, async (orders) => {
    await orders.go(() => add("tea"));
    await orders.go(async () => {
      for (const step of ["arrived", "checked", "paid"]) await audit.send(step);
      await add("tea");
    });
  });
}

async function faulty(): Promise<void> {
  const audit = new Channel<string>(10);
  const sold = new Map<string, number>();
  await twoOrders(audit, async (key) => {
    const before = sold.get(key) ?? 0;
    await audit.send(`sold ${key}`);
    sold.set(key, before + 1);
  });
  if (sold.get("tea") !== 2) throw new Error(`two teas, and the map says ${sold.get("tea")}`);
}

async function cured(): Promise<void> {
  const audit = new Channel<string>(10);
  const sold = new shardmap.ShardMap<string, number>();
  await twoOrders(audit, (key) =>
    sold.update(key, async (before = 0) => {
      await audit.send(`sold ${key}`);
      return before + 1;
    }),
  );
  if (sold.get("tea") !== 2) throw new Error(`two teas, and the map says ${sold.get("tea")}`);
}

await faulty();
console.log("a plain test passes");

const found = await explore(faulty, { seeds: 100 }).catch((err: unknown) => err);
if (!(found instanceof ExploreError)) throw new Error("no seed of 100 found it");
console.log("the fault:", (found.cause as Error).message);
const again = await test(faulty, { seed: found.seed }).catch((err: Error) => err.message);
console.log("its seed again:", again);

await explore(cured, { seeds: 100 });
console.log("the cure: no order of 100 fails");
// Output:
// a plain test passes
// the fault: two teas, and the map says 1
// its seed again: two teas, and the map says 1
// the cure: no order of 100 fails
