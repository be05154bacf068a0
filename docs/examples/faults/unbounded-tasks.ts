/**
 * Fault 4: a task for each request, without a bound. In a surge there are more and more of them, each holds its memory,
 * and all become slow together.
 *
 * The tool: the gauge `gopark_tasks` of `gopark/metrics`, with the alert rules in docs/alerts.yml. And `leak.watch`,
 * which says from within the process which place has many and gets more.
 *
 * The cure: a pool of workers with a queue of a bounded length. What does not fit is refused at once.
 *
 * `npm run example faults/unbounded-tasks` runs it.
 */
import { Channel, go, workers } from "gopark";
import { prometheusText } from "gopark/metrics";

const gauge = () => prometheusText().match(/^gopark_tasks\{kind="task"\} \d+$/m)?.[0];

// Stands for an upstream that has become slow.
let upstream = new Channel<void>();
const handle = async () => void (await upstream.receive());

const requests = Array.from({ length: 10_000 }, () => go(handle));
console.log("the fault:", gauge());
upstream.close();
await Promise.all(requests);

upstream = new Channel<void>();
const pool = new workers.Workers(10, { maxWaiting: 100 });
let refused = 0;
for (let request = 0; request < 10_000; request++) {
  pool.submit(handle).catch((err: Error) => {
    if (err instanceof workers.QueueFullError) refused++;
  });
}
while (pool.waiting() + refused < 9990) await new Promise((resolve) => setImmediate(resolve));
console.log("the cure:", gauge(), `${pool.waiting()} wait, ${refused} were refused at once`);
upstream.close();
await pool.release();
// Output:
// the fault: gopark_tasks{kind="task"} 10000
// the cure: gopark_tasks{kind="task"} 10 100 wait, 9890 were refused at once
