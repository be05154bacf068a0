/**
 * How many turns the event loop gets while tasks work through items: a process that runs the named work,
 * `node ticks.js <work> <microseconds>`, with that much busy work for each item, beside an interval of 10 ms, and
 * prints the ticks of the interval as JSON.
 */
import { Channel, context, errgroup, select, semaphore } from "gopark";
import { PERIOD_MS, SPAN_MS, type TickCount, type TickWork } from "./support/ticks.ts";

const [work = "", busyUs] = process.argv.slice(2);
const busyMs = Number(busyUs) / 1000;
const ctx = context.withCancel(context.background()).ctx;

let items = 0;
let end = 0;

/** An item's work. False when the time is over: the tasks read the clock, because they may starve a timer. */
function item(): boolean {
  items++;
  if (busyMs > 0) for (const until = performance.now() + busyMs; performance.now() < until; );
  return performance.now() < end;
}

/** Sends until the channel is closed, which rejects a parked send. */
async function produce(ch: Channel<number>): Promise<void> {
  try {
    for (let i = 0; ; i++) await ch.send(i);
  } catch (error) {
    if (performance.now() < end) throw error;
  }
}

const works: Readonly<Record<TickWork, () => Promise<unknown>>> = {
  async channel() {
    const ch = new Channel<number>();
    const producing = produce(ch);
    for await (const _ of ch) if (!item()) break;
    ch.close();
    await producing;
  },

  async select() {
    const [a, b] = [new Channel<number>(), new Channel<number>()];
    const producing = [produce(a), produce(b)];
    do await select({ a, b });
    while (item());
    a.close();
    b.close();
    await Promise.all(producing);
  },

  async semaphore() {
    const sem = new semaphore.Weighted(1);
    const task = async () => {
      for (let more = true; more; sem.release()) {
        await sem.acquire(ctx);
        more = item();
      }
    };
    await Promise.all([task(), task()]);
  },

  async errgroup() {
    let more = true;
    function* numbers() {
      while (more) yield 0;
    }
    const work = async () => {
      more = item() && more;
    };
    await errgroup.map(ctx, numbers(), work, { limit: 4 });
  },

  /** No primitive, and a turn after each item: the most ticks that an interval can get beside such items. */
  async immediate() {
    do await new Promise((resolve) => setImmediate(resolve));
    while (item());
  },
};

const run = works[work as TickWork];
if (run === undefined || !(busyMs >= 0)) throw new Error(`no work for "${work} ${busyUs}"`);

let ticks = 0;
let longestMs = 0;
let last = performance.now();
const tick = () => {
  const now = performance.now();
  longestMs = Math.max(longestMs, now - last);
  last = now;
};
end = last + SPAN_MS;
const interval = setInterval(() => {
  tick();
  if (last < end) ticks++;
}, PERIOD_MS);
await run();
tick(); // The gap up to the end counts too.
clearInterval(interval);
console.log(JSON.stringify({ share: ticks / (SPAN_MS / PERIOD_MS), longestMs, items } satisfies TickCount));
