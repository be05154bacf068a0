/**
 * Programs with a fault of order: each passes in the order in which tasks are woken, and fails in some other. Each call
 * makes all its state anew.
 */
import { Channel } from "gopark/channel";
import { background, type Context } from "gopark/context";
import { withContext } from "gopark/errgroup";
import { go } from "gopark/go";
import { Weighted } from "gopark/semaphore";
import { Mutex, WaitGroup } from "gopark/sync";

/** Both withdrawals find the money there, if the second looks between the first one's look and its act. */
async function checkThenAct(): Promise<void> {
  let balance = 100;
  const journal = new Channel<string>(10);
  const withdraw = async (name: string) => {
    if (balance < 100) return;
    await journal.send(name);
    balance -= 100;
  };
  const open = new Channel<void>();
  await Promise.all([
    go(async () => {
      await withdraw("first");
      open.close();
    }),
    go(async () => {
      await journal.send("second comes");
      await journal.send("second waits in the queue");
      await withdraw("second");
      await open.receive();
    }),
  ]);
  if (balance < 0) throw new Error(`overdrawn: ${balance}`);
}

/** Takes for granted that the tasks end in the order in which they were started. */
async function inStartOrder(): Promise<void> {
  const results: number[] = [];
  const sem = new Weighted(3);
  const [group, ctx] = withContext(background());
  for (const n of [1, 2, 3]) {
    await group.go(() =>
      sem.withPermit(ctx, () => {
        results.push(n);
      }),
    );
  }
  await group.wait();
  if (results.join() !== "1,2,3") throw new Error(`results in the order ${results}`);
}

/** Two locks, taken in one order here and in the other there. */
async function crossedLocks(ctx: Context): Promise<void> {
  const from = new Mutex();
  const to = new Mutex();
  const log = new Channel<string>(10);
  const transfer = go(() => from.withLock(() => to.withLock(() => log.send("transferred"), ctx), ctx));
  const back = go(async () => {
    for (const line of ["asked", "checked", "allowed", "booked"]) await log.send(line);
    await to.withLock(() => from.withLock(() => log.send("transferred back"), ctx), ctx);
  });
  await Promise.all([transfer, back]);
}

/** Each worker says that it is done before it sends its result, and the channel is closed when all have said so. */
async function closedTooEarly(): Promise<void> {
  const results = new Channel<number>(3);
  const wg = new WaitGroup();
  const log = new Channel<string>(10);
  const work = async (n: number) => {
    wg.done();
    await log.send(`${n} is done`);
    await results.send(n);
  };
  wg.add(3);
  const tasks = [1, 2, 3].map((n) => go(work, n));
  const closer = go(async () => {
    await wg.wait();
    for (const line of ["all are done", "closing"]) await log.send(line);
    results.close();
  });
  await Promise.all([...tasks, closer]);
}

/** By name, with what the failure says. A program that may never end takes a context that ends it. */
export const PLANTED: Record<string, { readonly run: (ctx: Context) => Promise<void>; readonly says: RegExp }> = {
  "a check, and after an await the act": { run: checkThenAct, says: /^overdrawn: -100$/ },
  "results taken to be in the order of the starts": { run: inStartOrder, says: /^results in the order/ },
  "two locks in opposite orders": { run: crossedLocks, says: /^deadlock: all goroutines in bubble are blocked/ },
  "a channel closed before the last send": { run: closedTooEarly, says: /^send on closed channel$/ },
};
